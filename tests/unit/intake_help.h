// SPDX-License-Identifier: Apache-2.0
// A store with an intake, and a ticket to fill: for the tests of what is filed in rows. See store_help.h.
#ifndef INTAKE_HELP_H
#define INTAKE_HELP_H

#include "store_help.h"

#include <string.h>

static struct gw_journal *journal;
static struct gw_intake *intake;
static struct gw_source source;

static inline void
sync_failed(void *arg, enum gw_error error)
{
	(void)arg;
	fail_msg("%s", gw_error_text(error));
}

static inline int
intake_open(void)
{
	struct gw_intake_options options = { .group_bytes_max = 8 * MB, .group_tickets_max = 1000, .failed = sync_failed };

	options.journal = journal = store_open();
	return gw_intake_open(&options, &intake, NULL) == GW_OK && gw_source_init(&source, intake, 1) == GW_OK ? 0 : -1;
}

static inline int
intake_begin(void **state)
{
	return store_make(state) == 0 ? intake_open() : -1;
}

static inline int
intake_finish(void **state)
{
	gw_source_fini(&source);
	gw_intake_stop(intake);
	gw_intake_close(intake);
	gw_journal_close(journal);
	return store_remove(state);
}

static inline struct gw_ticket *
ticket_get(void)
{
	struct gw_ticket *ticket = gw_ticket_get(&source);

	assert_non_null(ticket);
	ticket->essential = true;
	return ticket;
}

static inline void
ticket_commit(struct gw_ticket *ticket)
{
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
}

static inline void
row_put(const char *key, const void *value, size_t len)
{
	struct gw_ticket *ticket = ticket_get();

	assert_int_equal(gw_ticket_put(ticket, gw_span_text(key), gw_span(value, len)), GW_OK);
	ticket_commit(ticket);
}

static inline bool
count_one(void *arg, struct gw_span key, struct gw_span value)
{
	(void)key, (void)value;
	++*(size_t *)arg;
	return true;
}

static inline size_t
row_count(const char *prefix)
{
	size_t count = 0;

	assert_int_equal(gw_journal_each(journal, gw_span_text(prefix), gw_span(NULL, 0), count_one, &count), GW_OK);
	return count;
}

#endif
