// SPDX-License-Identifier: Apache-2.0
// Opens one state that a power cut could have left and holds it against what had been acknowledged.
// Usage: powercut_verify DIR, then for each source: numbers acknowledged and numbers submitted (counts, not last numbers).
// Says on standard output what is wrong; exit status 1 then.
#include "load.h"

#include <stdarg.h>
#include <string.h>

static struct gw_journal *journal;
static uint64_t lowest[LOAD_SOURCES], next[LOAD_SOURCES]; // of the readings found: first, and last + 1
static bool any[LOAD_SOURCES];

__attribute__((format(printf, 1, 2), noreturn)) static void
wrong(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	printf("\n");
	exit(1);
}

#define N(x) (unsigned long long)(x)

static void
see(const struct gw_record *record)
{
	struct gw_batch batch;
	struct gw_reading reading;
	uint64_t source, n = 0;
	unsigned count = 0;

	if (record->type == 0 || gw_batch_open(record, &batch, NULL) != GW_OK)
		wrong("record %llu is damaged", N(record->position));
	source = (uint64_t)(batch.head.device.at[batch.head.device.len - 1] - '0');
	while (gw_batch_next(&batch, &reading))
		if (reading.signal == 1) {
			count++;
			n = (uint64_t)reading.decimal.mantissa;
		}
	if (batch.bad || count != 1 || source >= LOAD_SOURCES)
		wrong("record %llu is not what was sent", N(record->position));
	if (any[source] && n != next[source])
		wrong("source %llu: reading %llu stands where %llu should", N(source), N(n), N(next[source]));
	if (!any[source])
		lowest[source] = n;
	any[source] = true;
	next[source] = n + 1;
}

static void
read_all(void)
{
	static uint8_t buf[2 * GW_RECORD_MAX];
	uint64_t from = gw_journal_first(journal), expected = from;
	struct gw_record record;
	size_t used;

	do {
		if (gw_journal_read(journal, from, buf, sizeof(buf), &used, &from) != GW_OK)
			wrong("the journal cannot be read");
		struct gw_span rest = gw_span(buf, used);
		while (gw_journal_step(&rest, &record)) {
			if (record.position != expected++)
				wrong("position %llu is missing", N(expected - 1));
			see(&record);
		}
	} while (used > 0);
}

static uint64_t
row(const char *key, uint64_t missing)
{
	uint64_t value;
	size_t len;

	if (gw_journal_get(journal, gw_span_text(key), &value, sizeof(value), &len) != GW_OK)
		return missing;
	return value;
}

static void
check_source(uint64_t source, uint64_t acknowledged, uint64_t submitted)
{
	char key[24];
	uint64_t stored;

	snprintf(key, sizeof(key), "load/%llu", N(source));
	stored = row(key, UINT64_MAX) + 1;
	if (stored < acknowledged)
		wrong("source %llu: %llu acknowledged, %llu stored", N(source), N(acknowledged), N(stored));
	if (stored > submitted)
		wrong("source %llu: %llu stored, only %llu submitted", N(source), N(stored), N(submitted));
	if (any[source] && next[source] != stored)
		wrong("source %llu: its row tells %llu, its readings %llu", N(source), N(stored), N(next[source]));
	if (gw_journal_first(journal) <= 1 && stored > 0 && (!any[source] || lowest[source] != 0))
		wrong("source %llu: its first readings are missing", N(source));
}

static bool
see_entry(void *arg, const struct gw_quarantined *entry)
{
	++*(uint64_t *)arg;
	return entry->payload.len == 700;
}

static void
check_quarantine(void)
{
	uint64_t found = 0, expected = 0;

	for (size_t i = 0; i < LOAD_SOURCES; i++) {
		char key[24];
		snprintf(key, sizeof(key), "load/%zu", i);
		expected += (row(key, UINT64_MAX) + 1) / 100;
	}
	if (gw_quarantine_each(journal, 0, see_entry, &found) != GW_OK || found != expected)
		wrong("%llu frames in quarantine, %llu expected", N(found), N(expected));
}

// What is there is known when it is sent again, and what follows is new: all in one transaction.
static void
check_taking(struct gw_source *source, uint64_t number)
{
	struct gw_ticket *ticket = gw_ticket_get(source);
	uint64_t from = lowest[number] + 60 < next[number] ? next[number] - 60 : lowest[number];

	for (uint64_t n = from; n <= next[number]; n++) {
		bool is_new = n == next[number];
		if (n % 100 == 99 && !is_new) // its frame would lie in quarantine twice
			continue;
		ticket->ops_len = 0;
		load_fill(ticket, number, n);
		if (gw_journal_apply(journal, ticket) != GW_OK || ticket->result != GW_OK)
			wrong("source %llu: reading %llu is not taken", N(number), N(n));
		if ((ticket->stored == 0) == is_new)
			wrong("source %llu: reading %llu was %s", N(number), N(n), is_new ? "not stored" : "stored twice");
	}
	gw_ticket_release(ticket);
}

int
main(int argc, char **argv)
{
	struct gw_journal_options options = load_options(argc > 1 ? argv[1] : "");
	struct gw_source source = { .event_fd = -1, .tickets_max = 1 };
	struct gw_why why = { "" };
	uint64_t cursor;

	if (argc != 2 + 2 * LOAD_SOURCES) {
		fprintf(stderr, "usage: powercut_verify DIR ACKNOWLEDGED SUBMITTED ...\n");
		return 2;
	}
	if (gw_journal_open(&options, &journal, &why) != GW_OK)
		wrong("does not open: %s", why.text);
	read_all();
	cursor = row("outlet/bus/cursor", UINT64_MAX);
	if (cursor != UINT64_MAX && gw_journal_first(journal) > cursor + 1)
		wrong("trimmed to %llu, above the cursor at %llu", N(gw_journal_first(journal)), N(cursor));
	for (uint64_t i = 0; i < LOAD_SOURCES; i++)
		check_source(i, strtoull(argv[2 + 2 * i], NULL, 10), strtoull(argv[3 + 2 * i], NULL, 10));
	check_quarantine();
	if (gw_journal_begin(journal) != GW_OK)
		wrong("takes nothing new");
	for (uint64_t i = 0; i < LOAD_SOURCES; i++)
		check_taking(&source, i);
	if (gw_journal_commit(journal) != GW_OK)
		wrong("commits nothing new");
	gw_source_fini(&source);
	gw_journal_close(journal);
	return 0;
}
