// SPDX-License-Identifier: Apache-2.0
// What a device may send on purpose: other values for times that were told before, times thousands of years apart, ever more of one hour. The store stays in order,
// and what roll-ups cost stays in proportion.
#include "series_help.h"

#include "gateway/series_query.h"
#include "gateway/series_rollup.h"

#include <time.h>

#define SECOND INT64_C(1000000)
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)

static struct gw_series_store *store;

static int
open_all(void **state)
{
	if (series_make(state) != 0)
		return -1;
	store = series_open();
	return 0;
}

static int
close_all(void **state)
{
	gw_series_close(store);
	return series_finish(state);
}

static void
send(const struct gw_reading *readings, size_t count)
{
	record_add("d", T0, readings, count);
}

// Readings from from_us on, of one revision.
static void
send_run(int64_t from_us, int64_t every_us, size_t count, uint16_t revision, int64_t value)
{
	struct gw_reading readings[500];
	size_t filled = 0;

	for (size_t i = 0; i < count; i++) {
		readings[filled] = reading_of(100, from_us + (int64_t)i * every_us, value + (int64_t)(i % 100));
		readings[filled].flags |= revision > 0 ? GW_FLAG_REVISION : 0;
		readings[filled++].revision = revision;
		if (filled == 500 || i + 1 == count) {
			send(readings, filled);
			filled = 0;
		}
	}
	series_take_rest(store);
}

static void
check_sound(void)
{
	struct gw_series_verified verified;

	assert_int_equal(gw_series_verify(store, NULL, NULL, &verified), GW_OK);
	assert_int_equal(verified.damaged, 0);
}

static size_t
count_all(void)
{
	return series_count(store, series_id(store, "d", 100), INT64_MIN, INT64_MAX);
}

// ---- Revisions of one reading, wherever chunks end ----

// The journal has forgotten the keys: what comes again with other values becomes the next revision.
static void
revise_all(uint16_t first, uint16_t second)
{
	for (size_t count = 2000; count < 9000; count += 711) {
		int64_t from_us = T0 + (int64_t)count * DAY;
		size_t before = count_all();

		send_run(from_us, SECOND, count, first, 1000);
		series_flush(store, 0);
		send_run(from_us, SECOND, count, second, 5000);
		series_flush(store, 0);
		check_sound();
		assert_int_equal(count_all(), before + 2 * count);
		send_run(from_us, SECOND, count, 0, 20000);
		series_flush(store, 0);
		check_sound();
		assert_int_equal(count_all(), before + 3 * count);
	}
}

static void
revisions_stay_in_one_chunk(void **state)
{
	(void)state;
	send_run(T0, SECOND, 1, 0, 1);
	revise_all(0, 1);
}

static void
what_was_revised_comes_after_its_revision(void **state)
{
	(void)state;
	send_run(T0, SECOND, 1, 0, 1);
	revise_all(1, 0);
}

// ---- Times far apart ----

static double
cpu_s(void)
{
	return (double)clock() / CLOCKS_PER_SEC;
}

// One chunk reaches over as many years as there are.
static void
far_readings_cost_no_more_to_roll_up(void **state)
{
	double began_s;
	bool more = true;

	(void)state;
	send_run(T0, SECOND, 3000, 0, 1000);
	send_run(T0 + (INT64_C(1) << 60), SECOND, 3, 0, 1000);
	send_run(-(INT64_C(1) << 60), SECOND, 3, 0, 1000);
	send_run(INT64_MAX - 5, 1, 3, 0, 1000);
	series_flush(store, 0);
	began_s = cpu_s();
	for (bool anew = true; more; anew = false)
		assert_int_equal(gw_series_rollup(store, anew, &more), GW_OK);
	assert_true(cpu_s() - began_s < 3);
	check_sound();
}

// Each reading in a week of its own.
static void
sparse_readings_are_rolled_up_by_the_chunk(void **state)
{
	double began_s;
	bool more = true;

	(void)state;
	send_run(T0, 9 * DAY, 20000, 0, 1000);
	series_flush(store, 0);
	began_s = cpu_s();
	for (bool anew = true; more; anew = false)
		assert_int_equal(gw_series_rollup(store, anew, &more), GW_OK);
	assert_true(cpu_s() - began_s < 3);
	check_sound();
}

// ---- Ever more of one hour ----

static double
flush_late(int64_t from_us, int count)
{
	double began_s = cpu_s();

	for (int i = 0; i < count; i++) {
		send_run(from_us + i * 1000, SECOND, 1, 0, 70000);
		series_flush(store, 0);
	}
	return cpu_s() - began_s;
}

static uint64_t
count_by_steps(void)
{
	struct gw_series_want want = { .device = gw_span_text("d"), .from_us = INT64_MIN, .to_us = INT64_MAX, .step_us = DAY };
	struct gw_series_query *query;
	struct gw_series_row row;
	struct gw_why why;
	uint64_t count = 0;

	assert_int_equal(gw_series_query_open(store, NULL, &want, &query, &why), GW_OK);
	while (gw_series_query_next(query, &row) == GW_OK)
		count += row.series != NULL ? row.step->count : 0;
	gw_series_query_close(query);
	return count;
}

// The first blocks are made anew for each late reading; beyond what the readings are worth there is none.
static void
late_readings_in_a_dense_hour_become_cheap(void **state)
{
	double dear_s, cheap_s;

	(void)state;
	send_run(T0, 3000, 1000000, 0, 1000);
	send_run(T0 + 30 * DAY, SECOND, 1, 0, 1000);
	series_flush(store, 0);
	dear_s = flush_late(T0 + 7, 20);
	(void)flush_late(T0 + 8, 40);
	cheap_s = flush_late(T0 + 9, 20);
	assert_true(cheap_s < dear_s / 2);
	assert_int_equal(count_by_steps(), 1000000 + 1 + 80);
	check_sound();
}

// The first and the last time that there is.
static void
steps_reach_over_all_times(void **state)
{
	(void)state;
	send_run(INT64_MIN, SECOND, 2, 0, 1);
	send_run(T0, SECOND, 2, 0, 1);
	send_run(INT64_MAX, SECOND, 1, 0, 1);
	assert_int_equal(count_by_steps(), 4); // the end of a range does not belong to it
	series_flush(store, 0);
	assert_int_equal(count_by_steps(), 4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
		TEST(revisions_stay_in_one_chunk), TEST(what_was_revised_comes_after_its_revision), TEST(far_readings_cost_no_more_to_roll_up),
		TEST(sparse_readings_are_rolled_up_by_the_chunk), TEST(late_readings_in_a_dense_hour_become_cheap),
		TEST(steps_reach_over_all_times),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
