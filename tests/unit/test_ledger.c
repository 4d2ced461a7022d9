// SPDX-License-Identifier: Apache-2.0
// What became of journal positions at an outlet: passed, left out, waiting, not known any more; the sweep of old rows; the outlets' names.
#include "gateway/ledger.h"

#include "gateway/clock.h"
#include "gateway/diag.h"
#include "gateway/follow.h"
#include "intake_help.h"

#define SECOND INT64_C(1000000)
#define HOUR (3600 * SECOND)

static int
finish(void **state)
{
	gw_clock_fake_wall(INT64_MIN);
	return intake_finish(state);
}

static void
give(int64_t received_us)
{
	static int64_t device_us = T0;
	struct gw_reading reading = reading_of(150456, device_us += 1000, 1);
	struct gw_ticket *ticket = ticket_get();

	add_readings(ticket, "d", received_us, &reading, 1);
	ticket_commit(ticket);
}

static void
give_many(int count)
{
	for (int i = 0; i < count; i++)
		give(T0);
}

// Closing writes the checkpoint, above which nothing is trimmed.
static void
reopen(void)
{
	gw_source_fini(&source);
	gw_intake_stop(intake);
	gw_intake_close(intake);
	gw_journal_close(journal);
	assert_int_equal(intake_open(), 0);
}

static void
set_cursor(const char *name, uint64_t position)
{
	struct gw_ticket *ticket = ticket_get();

	add_cursor(ticket, name, position);
	ticket_commit(ticket);
}

static void
passed(uint64_t position, int64_t us)
{
	struct gw_ticket *ticket = ticket_get();

	assert_int_equal(gw_ledger_passed(ticket, "x", position, us), GW_OK);
	ticket_commit(ticket);
}

static void
gap(uint64_t from, uint64_t to, enum gw_gap_reason reason, int64_t us)
{
	struct gw_ticket *ticket = ticket_get();

	assert_int_equal(gw_ledger_gap(journal, ticket, "x", from, to, reason, us), GW_OK);
	ticket_commit(ticket);
}

static struct gw_ledger_entry
find(uint64_t position)
{
	struct gw_ledger_entry entry;

	assert_int_equal(gw_ledger_find(journal, "x", position, &entry), GW_OK);
	return entry;
}

static void
test_what_became_of_a_position(void **state)
{
	struct gw_ledger_entry entry;

	(void)state;
	assert_int_equal(gw_ledger_find(journal, "x", 1, &entry), GW_E_NOT_FOUND);
	set_cursor("x", 100);
	passed(20, T0);
	passed(40, T0 + SECOND);
	gap(51, 60, GW_GAP_AGE, T0 + 2 * SECOND);
	passed(60, T0 + 3 * SECOND); // the cursor moved over the gap
	for (uint64_t position = 1; position <= 110; position++) {
		entry = find(position);
		assert_int_equal(entry.state, position > 100 ? GW_LEDGER_WAITING : position > 60 ? GW_LEDGER_UNKNOWN :
		    position > 50 ? GW_LEDGER_LEFT_OUT : GW_LEDGER_PASSED);
		if (position <= 60)
			assert_true(entry.at_us == T0 + (position <= 20 ? 0 : position <= 40 ? 1 : position <= 50 ? 3 : 2) * SECOND);
		assert_int_equal(entry.cursor, 100);
	}
	assert_int_equal(find(55).reason, GW_GAP_AGE);
	set_cursor("x", 10); // rewound: it was passed all the same
	assert_int_equal(find(15).state, GW_LEDGER_PASSED);
	assert_int_equal(find(61).state, GW_LEDGER_WAITING);
}

static void
test_gaps_that_touch_become_one(void **state)
{
	int64_t last_us;

	(void)state;
	set_cursor("x", 100);
	gap(1, 9, GW_GAP_BEFORE, T0);
	assert_int_equal(gw_ledger_last_gap(journal, "x", &last_us), GW_OK);
	assert_int_equal(last_us, 0); // nothing that it should have sent
	gap(10, 20, GW_GAP_ABSENT, T0 + 1);
	gap(21, 30, GW_GAP_ABSENT, T0 + 2);
	gap(32, 32, GW_GAP_ABSENT, T0 + 3);
	assert_int_equal(row_count("outlet/x/gap/"), 3);
	assert_int_equal(gw_ledger_last_gap(journal, "x", &last_us), GW_OK);
	assert_int_equal(last_us, T0 + 3);
	assert_int_equal(find(1).reason, GW_GAP_BEFORE);
	assert_true(find(10).at_us == T0 + 2 && find(30).at_us == T0 + 2 && find(32).at_us == T0 + 3);
	assert_int_equal(find(31).state, GW_LEDGER_UNKNOWN);
}

static void
sweep(int64_t before_us, int64_t now_us, size_t limit)
{
	struct gw_ticket *ticket = ticket_get();

	assert_int_equal(gw_ledger_sweep(journal, ticket, "x", before_us, now_us, limit), GW_OK);
	ticket_commit(ticket);
}

static void
test_old_rows_are_swept_a_few_at_a_time(void **state)
{
	(void)state;
	set_cursor("x", 1000);
	for (int i = 1; i <= 100; i++)
		passed((uint64_t)i * 10, T0 + i * SECOND);
	gap(5, 9, GW_GAP_DAMAGED, T0);
	sweep(T0, T0 + HOUR, 100);
	assert_int_equal(row_count("outlet/x/"), 102); // and the cursor
	sweep(T0 + 51 * SECOND, T0 + HOUR, 20);
	assert_int_equal(row_count("outlet/x/passed/"), 80);
	assert_int_equal(row_count("outlet/x/gap/"), 0);
	sweep(T0 + 51 * SECOND, T0 + HOUR, 100);
	assert_int_equal(row_count("outlet/x/passed/"), 50);
	assert_int_equal(find(7).state, GW_LEDGER_PASSED); // by the time of the first that is left: it is true still
	// A hub whose clock stood at 2100 for a while: these would never grow old.
	for (int i = 0; i < 5; i++)
		passed((uint64_t)(i + 1), INT64_C(4102444800) * SECOND + i);
	sweep(T0, T0 + HOUR, 100);
	assert_int_equal(row_count("outlet/x/passed/"), 50);
}

static void
test_rows_of_trimmed_records_are_swept(void **state)
{
	bool more = true;

	(void)state;
	give_many(20);
	set_cursor("x", 20);
	reopen();
	while (more)
		assert_int_equal(gw_journal_trim(journal, T0 + 100 * HOUR, &more), GW_OK);
	assert_true(gw_journal_first(journal) > 1);
	for (uint64_t position = 1; position <= 20; position++)
		passed(position, T0);
	sweep(INT64_MIN, T0, 100);
	assert_int_equal(row_count("outlet/x/passed/"), 21 - gw_journal_first(journal));
}

static bool
list(void *arg, const char *name, struct gw_span cursor)
{
	char *text = arg;

	snprintf(text + strlen(text), 256 - strlen(text), "%s:%zu ", name, cursor.len);
	return strcmp(name, "last") != 0;
}

static void
test_outlets_by_name(void **state)
{
	static const char *const others[] = { "outlet/bus/parked/0000000000000001", "outlet/bus/parked/cursor/x", "outlet/hl7/a/device/cursor",
		"outlet/hl7/a/filed/cursor/8000000000000000/X", "outlet/hl7/b/outbox/0000000000000001", "outlet/", "outlet/x", "outlet//cursor", "outlet/hl7/",
		"outlets/z/cursor", "outlet/z/a/b/cursor", "outlet/zz/y" };
	char text[256] = "";
	uint64_t one = 1;

	(void)state;
	assert_int_equal(gw_outlets_each(journal, list, text), GW_OK);
	assert_string_equal(text, "");
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		row_put(others[i], &one, 8);
	set_cursor("bus", 1);
	set_cursor("hl7/a", 2);
	set_cursor("hl7/c", 2);
	row_put("outlet/hl7/d/cursor", "odd", 3);
	assert_int_equal(gw_outlets_each(journal, list, text), GW_OK);
	assert_string_equal(text, "bus:8 hl7/a:8 hl7/c:8 hl7/d:3 ");
	set_cursor("hl7", 1); // a name above others
	set_cursor("last", 1);
	set_cursor("zz", 1);
	text[0] = '\0';
	assert_int_equal(gw_outlets_each(journal, list, text), GW_OK);
	assert_string_equal(text, "bus:8 hl7:8 hl7/a:8 hl7/c:8 hl7/d:3 last:8 ");
}

static void
test_no_row_of_the_ledger_is_a_cursor(void **state)
{
	static const char *const rows[] = { "outlet/x/passed/0000000000000001", "outlet/hl7/x/gap/0000000000000001", "outlet/bus/refused/0000000000000001/0000",
		"outlet/bus/left/0000000000000001", "outlet/hl7/x/filed/cursor/8000000000000000/cursor", "outlet/hl7/x/filed/m/8000000000000000/held" };
	struct gw_journal_stats stats;
	bool more = true;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(gw_cursor_name(gw_span_text(rows[i])).len, 0);
	give_many(20);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		row_put(rows[i], "\0\0\0\0\0\0\0", 8);
	set_cursor("x", 20);
	reopen();
	while (more)
		assert_int_equal(gw_journal_trim(journal, T0 + 100 * HOUR, &more), GW_OK);
	gw_journal_stats(journal, &stats);
	assert_true(stats.first > 10); // nothing is held back
}

// ---- Written by those who follow ----

static struct gw_follow *
follow_open(int64_t keep_us)
{
	const struct gw_follow_options options = { .journal = journal, .intake = intake, .name = "x", .backlog_us_max = HOUR, .passed_keep_us = keep_us };
	struct gw_follow *follow;

	assert_int_equal(gw_follow_open(&options, &follow, NULL), GW_OK);
	return follow;
}

static void
take_all(struct gw_follow *follow)
{
	struct gw_record record;

	while (gw_follow_next(follow, 0, &record))
		gw_follow_done(follow, record.position);
}

static void
test_a_cursor_that_moves_says_when(void **state)
{
	struct gw_follow *follow;
	size_t rows;

	(void)state;
	gw_clock_fake_wall(T0);
	give_many(5);
	follow = follow_open(HOUR);
	assert_int_equal(find(5).state, GW_LEDGER_LEFT_OUT);
	assert_int_equal(find(5).reason, GW_GAP_BEFORE);
	give_many(5);
	assert_int_equal(find(6).state, GW_LEDGER_WAITING);
	gw_clock_fake_wall(T0 + 7);
	take_all(follow);
	gw_follow_close(follow);
	assert_int_equal(find(6).state, GW_LEDGER_PASSED);
	assert_true(find(10).at_us == T0 + 7);
	assert_in_range(rows = row_count("outlet/x/passed/"), 1, 2); // one by the way, one at the end
	// One that keeps no times still tells what it left out.
	follow = follow_open(0);
	give_many(5);
	gw_clock_fake_wall(T0 + 2 * HOUR);
	assert_int_equal(gw_follow_limit(follow), 15);
	gw_follow_done(follow, 15);
	gw_follow_close(follow);
	assert_int_equal(row_count("outlet/x/passed/"), rows);
	assert_int_equal(find(15).state, GW_LEDGER_LEFT_OUT);
	assert_int_equal(find(15).reason, GW_GAP_AGE);
	assert_int_equal(find(10).state, GW_LEDGER_PASSED);
}

static void
test_an_outlet_that_does_not_run(void **state)
{
	(void)state;
	gw_clock_fake_wall(T0);
	gw_follow_close(follow_open(HOUR));
	give_many(5);
	gw_clock_fake_wall(T0 + 2 * HOUR);
	assert_int_equal(gw_follow_absent(journal, intake, NULL, 0, HOUR), GW_OK);
	assert_int_equal(find(5).state, GW_LEDGER_LEFT_OUT);
	assert_int_equal(find(5).reason, GW_GAP_ABSENT);
	for (int i = 0; i < 3; i++) { // for as long as it takes: one row
		give(T0 + 2 * HOUR);
		gw_clock_fake_wall(T0 + (4 + 2 * i) * HOUR);
		assert_int_equal(gw_follow_absent(journal, intake, NULL, 0, HOUR), GW_OK);
	}
	assert_int_equal(row_count("outlet/x/gap/"), 1);
	assert_int_equal(find(1).reason, GW_GAP_ABSENT);
}

static void
test_rows_are_kept_for_a_while_and_within_the_budget(void **state)
{
	struct gw_config config = { .store_ledger_h = 168, .store_budget_mb = 16384 };

	(void)state;
	assert_true(gw_ledger_keep_us(&config) == 168 * HOUR);
	config.store_budget_mb = 16; // 160 KiB for a row each second
	assert_in_range(gw_ledger_keep_us(&config), 1000 * SECOND, 3000 * SECOND);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_what_became_of_a_position, intake_begin, finish),
		cmocka_unit_test_setup_teardown(test_gaps_that_touch_become_one, intake_begin, finish),
		cmocka_unit_test_setup_teardown(test_old_rows_are_swept_a_few_at_a_time, intake_begin, finish),
		cmocka_unit_test_setup_teardown(test_rows_of_trimmed_records_are_swept, intake_begin, finish),
		cmocka_unit_test_setup_teardown(test_outlets_by_name, intake_begin, finish),
		cmocka_unit_test_setup_teardown(test_no_row_of_the_ledger_is_a_cursor, intake_begin, finish),
		cmocka_unit_test_setup_teardown(test_a_cursor_that_moves_says_when, intake_begin, finish),
		cmocka_unit_test_setup_teardown(test_an_outlet_that_does_not_run, intake_begin, finish),
		cmocka_unit_test(test_rows_are_kept_for_a_while_and_within_the_budget),
	};

	gw_diag_open(false, GW_ERROR + 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
