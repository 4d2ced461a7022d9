// SPDX-License-Identifier: Apache-2.0
// A store in a fresh temporary directory, and readings to put in. For the tests of journal and intake.
#ifndef STORE_HELP_H
#define STORE_HELP_H

#include "gateway/intake.h"
#include "gateway/journal.h"

#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define T0 INT64_C(1795162500000000)
#define MB (1u << 20)

static char store_dir[512];
static struct gw_journal_options store_options;

static int
remove_one(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
	(void)stat, (void)type, (void)ftw;
	return remove(path);
}

static inline int
store_remove(void **state)
{
	(void)state;
	nftw(store_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	return 0;
}

static inline int
store_make(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	snprintf(store_dir, sizeof(store_dir), "%s/store-test-XXXXXX", tmp != NULL ? tmp : P_tmpdir);
	if (mkdtemp(store_dir) == NULL)
		return -1;
	store_options = (struct gw_journal_options){
		.dir = store_dir, .budget_bytes = 256 * MB, .reserve_bytes = 4 * MB, .disk_reserve_bytes = 0,
		.retention_us = INT64_C(3600000000), .retention_full_us = INT64_C(60000000), .quarantine_bytes = MB,
		.quarantine_share_percent = 50, .series_max = 100000,
	};
	return 0;
}

static inline struct gw_journal *
store_open(void)
{
	struct gw_journal *journal;
	struct gw_why why = { "" };

	if (gw_journal_open(&store_options, &journal, &why) != GW_OK)
		fail_msg("%s", why.text);
	return journal;
}

static inline struct gw_reading
reading_of(uint32_t signal, int64_t time_us, int64_t value)
{
	return (struct gw_reading){ .signal = signal, .time_us = time_us, .type = GW_VALUE_DECIMAL, .unit = 1, .decimal = { value, 0 } };
}

static inline void
add_readings(struct gw_ticket *ticket, const char *device, int64_t received_us, const struct gw_reading *readings, size_t count)
{
	struct gw_batch_head head = { .received_us = received_us, .door = GW_DOOR_MQTT, .device = gw_span_text(device),
		.principal = gw_span_text(device), .route = gw_span_text("a/b"), .profile = gw_span_text("p") };

	assert_int_equal(gw_ticket_readings(ticket, &head, readings, count), GW_OK);
}

static inline void
add_cursor(struct gw_ticket *ticket, const char *name, uint64_t position)
{
	char key[64];

	snprintf(key, sizeof(key), GW_CURSOR_KEY_FMT, name);
	ticket->essential = true;
	assert_int_equal(gw_ticket_put(ticket, gw_span_text(key), gw_span(&position, sizeof(position))), GW_OK);
}

// Calls back for every reading in the journal, in its order; checks that positions rise by one.
typedef void store_fn(void *arg, const struct gw_record *record, const struct gw_batch_head *head, const struct gw_reading *reading);
static inline void
store_each(struct gw_journal *journal, store_fn *fn, void *arg)
{
	static uint8_t buf[GW_RECORD_MAX + 16];
	uint64_t from = gw_journal_first(journal), expected = from;
	size_t used;

	for (;;) {
		assert_int_equal(gw_journal_read(journal, from, buf, sizeof(buf), &used, &from), GW_OK);
		struct gw_span rest = gw_span(buf, used);
		struct gw_record record;
		if (used == 0)
			break;
		while (gw_journal_step(&rest, &record)) {
			struct gw_batch batch;
			struct gw_reading reading;
			assert_int_equal(record.position, expected++);
			if (record.type != GW_RECORD_READINGS)
				continue;
			assert_int_equal(gw_batch_open(&record, &batch, NULL), GW_OK);
			while (gw_batch_next(&batch, &reading))
				fn(arg, &record, &batch.head, &reading);
			assert_false(batch.bad);
		}
		assert_int_equal(rest.len, 0);
	}
	assert_int_equal(expected, gw_journal_last(journal) + (gw_journal_last(journal) > 0 || expected > 0));
}

#endif
