// SPDX-License-Identifier: Apache-2.0
// Following: what an outlet is given, what its cursor says after a restart, and what is left out beyond its limits.
#include "gateway/follow.h"
#include "store_help.h"

#include "gateway/clock.h"
#include "gateway/diag.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>

static struct gw_journal *journal;
static struct gw_intake *intake;
static struct gw_follow *follow;

static void
sync_failed(void *arg, enum gw_error error)
{
	(void)arg;
	fail_msg("%s", gw_error_text(error));
}

static int
begin(void **state)
{
	struct gw_intake_options options = { .group_bytes_max = 8 * MB, .group_tickets_max = 1000, .failed = sync_failed };

	if (store_make(state) != 0)
		return -1;
	journal = store_open();
	options.journal = journal;
	return gw_intake_open(&options, &intake, NULL) == GW_OK ? 0 : -1;
}

static int
finish(void **state)
{
	gw_clock_fake_wall(INT64_MIN);
	gw_intake_stop(intake);
	gw_intake_close(intake);
	gw_journal_close(journal);
	return store_remove(state);
}

static void
open_limited(int64_t backlog_us_max, uint64_t backlog_bytes_max)
{
	const struct gw_follow_options options = { .journal = journal, .intake = intake, .name = "x", .backlog_us_max = backlog_us_max,
		.backlog_bytes_max = backlog_bytes_max };
	struct gw_why why = { "" };

	if (gw_follow_open(&options, &follow, &why) != GW_OK)
		fail_msg("%s", why.text);
}

static int64_t device_us = T0;

// One record, of `count` readings, received at a given time.
static void
give(int64_t received_us, size_t count)
{
	static struct gw_reading readings[GW_RECORD_READINGS_MAX];
	struct gw_source source;
	struct gw_ticket *ticket;

	for (size_t i = 0; i < count; i++)
		readings[i] = reading_of(150456, device_us += 1000, (int64_t)i);
	assert_int_equal(gw_source_init(&source, intake, 1), GW_OK);
	ticket = gw_ticket_get(&source);
	add_readings(ticket, "d", received_us, readings, count);
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
	gw_source_fini(&source);
}

// Takes records until there is none; expects positions from..to.
static void
take(uint64_t from, uint64_t to)
{
	struct gw_record record;

	while (from <= to && gw_follow_next(follow, 2000, &record))
		assert_int_equal(record.position, from++);
	assert_int_equal(from, to + 1);
	assert_false(gw_follow_next(follow, 0, &record));
}

static uint64_t
stored_cursor(void)
{
	uint64_t position = 0;
	size_t len;

	assert_int_equal(gw_journal_get(journal, gw_span_text("outlet/x/cursor"), &position, sizeof(position), &len), GW_OK);
	return position;
}

static void
test_a_new_outlet_begins_at_the_end(void **state)
{
	(void)state;
	give(T0, 1);
	give(T0, 1);
	open_limited(0, 0);
	assert_int_equal(stored_cursor(), 2);
	give(T0, 1);
	take(3, 3);
	gw_follow_close(follow);
	assert_int_equal(stored_cursor(), 2); // nothing was done with it
}

static void
test_the_cursor_says_where_to_go_on(void **state)
{
	int64_t lag_us;

	(void)state;
	open_limited(0, 0);
	for (int i = 0; i < 5; i++)
		give(gw_clock_wall_us() - 1000000, 3);
	take(1, 5);
	gw_follow_done(follow, 3);
	assert_int_equal(gw_follow_lag(follow, &lag_us), 2);
	assert_true(lag_us >= 1000000 && lag_us < 60000000);
	gw_follow_close(follow); // commits what is done
	open_limited(0, 0);
	assert_int_equal(gw_follow_cursor(follow), 3);
	take(4, 5);
	gw_follow_done(follow, 5);
	gw_follow_done(follow, 4); // never backwards
	assert_int_equal(gw_follow_lag(follow, &lag_us), 0);
	// Within a second or so it is durable, by the one who calls next.
	for (int i = 0; i < 300 && stored_cursor() != 5; i++) {
		struct gw_record record;

		assert_false(gw_follow_next(follow, 50, &record));
	}
	assert_int_equal(stored_cursor(), 5);
	assert_int_equal(gw_follow_cursor(follow), 5);
	gw_follow_close(follow);
}

static void
test_nothing_moved_no_ticket(void **state)
{
	struct gw_intake_stats before, after;
	struct gw_record record;

	(void)state;
	open_limited(0, 0);
	gw_intake_stats(intake, &before);
	for (int i = 0; i < 50; i++)
		assert_false(gw_follow_next(follow, 1, &record));
	gw_follow_close(follow);
	gw_intake_stats(intake, &after);
	assert_int_equal(after.submitted, before.submitted);
}

static void
test_seek_and_move(void **state)
{
	struct gw_source source;
	struct gw_ticket *ticket;

	(void)state;
	open_limited(0, 0);
	for (int i = 0; i < 4; i++)
		give(T0, 1);
	take(1, 4);
	gw_follow_done(follow, 4);
	gw_follow_seek(follow, 1);
	take(2, 4);
	assert_int_equal(gw_source_init(&source, intake, 1), GW_OK);
	ticket = gw_ticket_get(&source);
	assert_int_equal(gw_follow_move(follow, ticket, 2), GW_OK);
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
	gw_source_fini(&source);
	assert_int_equal(stored_cursor(), 2);
	gw_follow_close(follow); // does not move it on again
	open_limited(0, 0);
	take(3, 4);
	gw_follow_close(follow);
}

static void
test_records_larger_than_the_buffer(void **state)
{
	(void)state;
	open_limited(0, 0);
	for (int i = 0; i < 6; i++)
		give(T0, i % 2 ? 4096 : 1);
	take(1, 6);
	gw_follow_close(follow);
}

static void *
stop_soon(void *arg)
{
	(void)arg;
	poll(NULL, 0, 20);
	gw_follow_stop(follow);
	return NULL;
}

static void
test_stop_ends_a_wait(void **state)
{
	struct gw_record record;
	pthread_t thread;
	int64_t before = gw_clock_mono_us();

	(void)state;
	open_limited(0, 0);
	assert_int_equal(pthread_create(&thread, NULL, stop_soon, NULL), 0);
	assert_false(gw_follow_next(follow, 60000, &record));
	assert_true(gw_clock_mono_us() - before < 30000000);
	pthread_join(thread, NULL);
	give(T0, 1);
	assert_false(gw_follow_next(follow, 60000, &record)); // stopped for good
	gw_follow_close(follow);
}

// The text of the only gap in the journal.
static void
only_gap(char *text, size_t cap)
{
	static uint8_t buf[GW_RECORD_MAX + 16];
	uint64_t next;
	size_t used, gaps = 0;
	struct gw_record record;
	struct gw_event event;

	assert_int_equal(gw_journal_read(journal, 1, buf, sizeof(buf), &used, &next), GW_OK);
	for (struct gw_span rest = gw_span(buf, used); gw_journal_step(&rest, &record);) {
		if (record.type != GW_RECORD_DEVICE_EVENT)
			continue;
		assert_int_equal(gw_event_open(&record, &event, NULL), GW_OK);
		assert_int_equal(event.code, GW_EVENT_GAP);
		assert_true(gw_span_is(event.route, "outlet/x"));
		snprintf(text, cap, "%.*s", GW_SPAN_FMT(event.text));
		gaps++;
	}
	assert_int_equal(gaps, 1);
}

static void
test_older_than_the_limit_is_left_out_and_recorded(void **state)
{
	char text[256];

	(void)state;
	open_limited(INT64_C(3600000000), 0);
	for (int i = 0; i < 5; i++)
		give(T0 + i * INT64_C(600000000), 1); // every ten minutes
	gw_clock_fake_wall(T0 + INT64_C(3000000000));
	assert_int_equal(gw_follow_limit(follow), 0); // all within an hour
	gw_clock_fake_wall(T0 + INT64_C(4900000000)); // the first three are older
	assert_int_equal(gw_follow_limit(follow), 3);
	only_gap(text, sizeof(text));
	assert_string_equal(text, "journal records 1 to 3 left out: older than the outlet's limit");
	take(4, 6); // and the event of the gap itself
	assert_int_equal(gw_follow_limit(follow), 0);
	gw_follow_close(follow);
}

// A hub without a clock of its own begins in 1970 until it is told the time: that must not make what came before look old.
static void
test_a_clock_that_stood_wrong_for_a_while(void **state)
{
	(void)state;
	open_limited(INT64_C(3600000000), 0);
	for (int i = 0; i < 10; i++)
		give(T0, 1);
	for (int i = 0; i < 100; i++)
		give(1000000, 1);
	for (int i = 0; i < 10; i++)
		give(T0, 1);
	gw_clock_fake_wall(T0 + INT64_C(1800000000));
	assert_int_equal(gw_follow_limit(follow), 0);
	gw_clock_fake_wall(T0 + INT64_C(3700000000));
	assert_int_equal(gw_follow_limit(follow), 120);
	gw_follow_close(follow);
}

static void
test_more_than_the_limit_is_left_out_and_recorded(void **state)
{
	char text[256];
	uint64_t left_out;

	(void)state;
	open_limited(0, 200000);
	for (int i = 0; i < 2000; i++)
		give(T0, 10);
	left_out = gw_follow_limit(follow);
	assert_true(left_out > 0 && left_out < 2000);
	only_gap(text, sizeof(text));
	assert_non_null(strstr(text, "more than the outlet's limit of bytes"));
	take(left_out + 1, 2001);
	gw_follow_close(follow);
}

static void
test_an_outlet_that_does_not_run(void **state)
{
	const char *const running[] = { "x" };
	struct gw_intake_stats before, after;
	char text[256];

	(void)state;
	open_limited(0, 0);
	gw_follow_close(follow);
	for (int i = 0; i < 5; i++)
		give(T0 + i * INT64_C(600000000), 1); // every ten minutes
	gw_clock_fake_wall(T0 + INT64_C(4900000000)); // the first three are older than an hour
	gw_intake_stats(intake, &before);
	assert_int_equal(gw_follow_absent(journal, intake, running, 1, INT64_C(3600000000)), GW_OK); // it runs: its own affair
	gw_intake_stats(intake, &after);
	assert_int_equal(after.submitted, before.submitted);
	assert_int_equal(gw_follow_absent(journal, intake, NULL, 0, INT64_C(3600000000)), GW_OK);
	assert_int_equal(stored_cursor(), 3);
	only_gap(text, sizeof(text));
	assert_string_equal(text, "journal records 1 to 3 left out: the outlet does not run, and they are older than its limit");
	assert_int_equal(gw_follow_absent(journal, intake, NULL, 0, INT64_C(3600000000)), GW_OK);
	only_gap(text, sizeof(text)); // still the only one
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_a_new_outlet_begins_at_the_end, begin, finish),
		cmocka_unit_test_setup_teardown(test_the_cursor_says_where_to_go_on, begin, finish),
		cmocka_unit_test_setup_teardown(test_nothing_moved_no_ticket, begin, finish),
		cmocka_unit_test_setup_teardown(test_seek_and_move, begin, finish),
		cmocka_unit_test_setup_teardown(test_records_larger_than_the_buffer, begin, finish),
		cmocka_unit_test_setup_teardown(test_stop_ends_a_wait, begin, finish),
		cmocka_unit_test_setup_teardown(test_older_than_the_limit_is_left_out_and_recorded, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_clock_that_stood_wrong_for_a_while, begin, finish),
		cmocka_unit_test_setup_teardown(test_more_than_the_limit_is_left_out_and_recorded, begin, finish),
		cmocka_unit_test_setup_teardown(test_an_outlet_that_does_not_run, begin, finish),
	};

	gw_diag_open(false, GW_ERROR + 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
