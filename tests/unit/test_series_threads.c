// SPDX-License-Identifier: Apache-2.0
// Readers while the writer takes, writes and erases: what moves from a tail into a chunk is never missing and never twice.
#include "series_help.h"

#include <pthread.h>

#define SECOND INT64_C(1000000)
#define COUNT 60000
#define READERS 2

static struct gw_series_store *store;
static _Atomic bool done;

// Readings are a second apart from the first on, and no fewer than the last time.
// Of what is there, one that is not older; of what is erased all the time, one that is whole.
static bool
is_newest(void *arg, const struct gw_series_info *series, const struct gw_point *point, int64_t taken_us)
{
	const size_t *count = arg;

	if (!gw_span_is(point->origin.principal, series->device) || taken_us != point->reading.time_us || point->reading.decimal.mantissa != (taken_us - T0) / SECOND % 100)
		abort();
	if (series->signal == 100 && taken_us < T0 + ((int64_t)*count - 1) * SECOND)
		abort();
	return true;
}

static void
read_once(uint32_t id, size_t *least)
{
	struct gw_series_value value = { 0 };
	struct gw_series_cursor *cursor;
	struct gw_clock_pieces pieces;
	struct gw_clock_offset offset;
	const struct gw_point *point;
	size_t count = 0;

	if (gw_series_read(store, id, INT64_MIN, INT64_MAX, &cursor) != GW_OK)
		abort();
	while (gw_series_next(cursor, &point) == GW_OK) {
		if (point->reading.time_us != T0 + (int64_t)count * SECOND || point->reading.decimal.mantissa != (int64_t)count % 100)
			abort();
		count++;
	}
	gw_series_end(cursor);
	if (count < *least)
		abort();
	*least = count;
	// Of what is there, the clock is known.
	if (count > 0 && (!gw_series_clock(store, gw_span_text("d"), &pieces) || !gw_clock_pieces_offset(&pieces, T0 + ((int64_t)count - 1) * SECOND, &offset) ||
	    !offset.sure || offset.us != 0))
		abort();
	if (gw_series_last(store, id, &value) != GW_OK || value.point.reading.time_us < T0 + ((int64_t)count - 1) * SECOND)
		abort();
	gw_series_value_free(&value);
	if (gw_series_newest(store, NULL, 0, is_newest, &count) != GW_OK)
		abort();
}

static void *
reads(void *arg)
{
	struct gw_series_info info;
	size_t least = 0;

	(void)arg;
	while (!gw_series_find(store, gw_span_text("d"), 100, 0, &info)) {}
	while (!done)
		read_once(info.id, &least);
	read_once(info.id, &least);
	return (void *)(uintptr_t)least;
}

static void *
erases(void *arg)
{
	uint64_t erased;

	(void)arg;
	while (!done)
		if (gw_series_erase(store, gw_span_text("x"), T0 - 10 * SECOND, INT64_MAX, &erased) == GW_E_SYNC)
			abort();
	return NULL;
}

// What readers found beside erasures was not kept where it went meanwhile.
static void
newest_is_there(uint32_t id)
{
	struct gw_series_value value = { 0 };
	int64_t time_us;

	if (gw_series_last(store, id, &value) != GW_OK) {
		assert_int_equal(series_count(store, id, INT64_MIN, INT64_MAX), 0);
		return;
	}
	time_us = value.point.reading.time_us;
	assert_int_equal(series_count(store, id, time_us, INT64_MAX), 1);
	gw_series_value_free(&value);
}

static void
readers_see_each_reading_once(void **state)
{
	pthread_t threads[READERS], eraser;
	struct gw_reading reading;
	void *least;
	bool more;

	(void)state;
	store = series_open();
	for (int i = 0; i < READERS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, reads, NULL), 0);
	assert_int_equal(pthread_create(&eraser, NULL, erases, NULL), 0);
	for (int i = 0; i < COUNT; i++) {
		reading = reading_of(100, T0 + i * SECOND, i % 100);
		record_add("d", reading.time_us, &reading, 1);
		reading.signal = 7;
		record_add("x", reading.time_us, &reading, 1);
		if (i % 50 == 0)
			series_take_rest(store);
		if (i % 5000 == 0)
			assert_int_equal(gw_series_flush(store, i % 10000 == 0 ? 0 : -1, &more), GW_OK);
	}
	series_take_rest(store);
	series_flush(store, 0);
	done = true;
	pthread_join(eraser, NULL);
	for (int i = 0; i < READERS; i++) {
		pthread_join(threads[i], &least);
		assert_int_equal((uintptr_t)least, COUNT);
	}
	newest_is_there(series_id(store, "x", 7));
	gw_series_close(store);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(readers_see_each_reading_once, series_make, series_finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
