// SPDX-License-Identifier: Apache-2.0
// The newest reading of a series is the one that was taken last: whatever devices' clocks say, however late readings come, over restarts and erasures. Told cases, and any mixture
// of them against a look at all readings.
#include "series_help.h"

#include <stdlib.h>

#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define YEAR (INT64_C(31557600) * SECOND)
#define FAR (T0 + 74 * YEAR) // 2100, about

static struct gw_series_store *store;
static uint64_t seed;

static uint64_t
draw(uint64_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (seed >> 33) % below;
}

// ---- What comes ----

static struct gw_reading
reading(uint32_t signal, int64_t time_us, int64_t value)
{
	return (struct gw_reading){ .signal = signal, .time_us = time_us, .type = GW_VALUE_DECIMAL, .unit = 9, .decimal = { value, -1 } };
}

static void
comes(int64_t received_us, uint32_t signal, int64_t time_us, int64_t value)
{
	struct gw_reading one = reading(signal, time_us, value);

	record_add("d", received_us, &one, 1);
	series_take_rest(store);
}

// Live frames of a signal every 10 s, from the first time to before the second by the hub's clock; the device's is ahead by so much. value: seconds since T0.
static void
live(uint32_t signal, int64_t from_us, int64_t to_us, int64_t ahead_us)
{
	for (int64_t us = from_us; us < to_us; us += 10 * SECOND)
		comes(us + SECOND / 10, signal, us + ahead_us, (us - T0) / SECOND);
}

static void
again(bool flushed)
{
	if (flushed)
		series_flush(store, 0);
	gw_series_close(store);
	store = series_open();
	series_take_rest(store);
}

static int64_t
newest_value(uint32_t signal)
{
	struct gw_series_value value = { 0 };
	int64_t number;

	assert_int_equal(gw_series_last(store, series_id(store, "d", signal), &value), GW_OK);
	number = value.point.reading.decimal.mantissa;
	gw_series_value_free(&value);
	return number;
}

// Now, after a restart before and after everything is in chunks.
#define ASSERT_NEWEST(signal, want) \
	do { \
		assert_int_equal(newest_value(signal), want); \
		again(false); \
		assert_int_equal(newest_value(signal), want); \
		series_flush(store, 0); \
		assert_int_equal(newest_value(signal), want); \
		again(true); \
		assert_int_equal(newest_value(signal), want); \
	} while (0)

// ---- Told cases ----

static void
one_reading_from_2100(void **state)
{
	(void)state;
	live(1, T0, T0 + HOUR, 0);
	comes(T0 + HOUR, 1, FAR, 111111);
	assert_int_equal(newest_value(1), 111111); // it came last
	live(1, T0 + HOUR + 10 * SECOND, T0 + 2 * HOUR, 0);
	ASSERT_NEWEST(1, 7190);
}

static void
a_year_in_2100(void **state)
{
	(void)state;
	live(1, T0, T0 + 3 * HOUR, FAR - T0);
	ASSERT_NEWEST(1, 3 * 3600 - 10);
	live(1, T0 + 3 * HOUR, T0 + 4 * HOUR, 0); // somebody set it right
	ASSERT_NEWEST(1, 4 * 3600 - 10);
}

// What is measured seldom, in the minute in which nobody can tell whether the clock was set back, is the newest once that is known.
static void
a_clock_that_is_set_back(void **state)
{
	(void)state;
	live(1, T0, T0 + HOUR, 0);
	comes(T0 + HOUR - 5 * SECOND, 2, T0 + HOUR - 5 * SECOND, 1);
	live(1, T0 + HOUR, T0 + HOUR + 20 * SECOND, -HOUR);
	comes(T0 + HOUR + 25 * SECOND, 2, T0 + 25 * SECOND, 2);
	live(1, T0 + HOUR + 30 * SECOND, T0 + HOUR + 20 * MINUTE, -HOUR);
	ASSERT_NEWEST(1, 3600 + 1190);
	ASSERT_NEWEST(2, 2);
}

static void
a_device_that_comes_up_in_1970(void **state)
{
	(void)state;
	live(1, T0, T0 + HOUR, 0);
	comes(T0 + HOUR, 1, 12 * SECOND, 70);
	assert_int_equal(newest_value(1), 70);
	live(1, T0 + HOUR + 10 * SECOND, T0 + 2 * HOUR, -T0);
	ASSERT_NEWEST(1, 7190);
	live(1, T0 + 2 * HOUR, T0 + 2 * HOUR + 30 * SECOND, 0); // time from the network
	ASSERT_NEWEST(1, 7220);
}

static void
late_ones_are_not_the_newest(void **state)
{
	(void)state;
	live(1, T0, T0 + HOUR, 0);
	live(1, T0 + 2 * HOUR, T0 + 3 * HOUR, 0);
	for (int64_t us = T0 + HOUR; us < T0 + 2 * HOUR; us += 10 * SECOND) // what was stored, at once
		comes(T0 + 3 * HOUR + SECOND, 1, us, -1);
	ASSERT_NEWEST(1, 3 * 3600 - 10);
	live(1, T0 + 3 * HOUR + 10 * SECOND, T0 + 3 * HOUR + 30 * SECOND, 0);
	ASSERT_NEWEST(1, 3 * 3600 + 20);
}

// A hub that was an hour ahead while it read its own clock: what came then hides nothing for that hour.
static void
the_hub_s_own_clock_goes_back(void **state)
{
	(void)state;
	live(1, T0, T0 + HOUR, 0);
	for (int64_t us = T0 + HOUR; us < T0 + HOUR + 30 * MINUTE; us += 10 * SECOND)
		comes(us + HOUR, 1, us, (us - T0) / SECOND);
	live(1, T0 + HOUR + 30 * MINUTE, T0 + HOUR + 31 * MINUTE, 0);
	ASSERT_NEWEST(1, 3600 + 1850);
	live(1, T0 + HOUR + 31 * MINUTE, T0 + HOUR + 50 * MINUTE, 0);
	ASSERT_NEWEST(1, 3600 + 2990);
}

static void
a_revision_replaces_and_an_erasure_falls_back(void **state)
{
	struct gw_reading revised = reading(1, T0 + HOUR - 10 * SECOND, 5);
	uint64_t erased;

	(void)state;
	live(1, T0, T0 + HOUR, 0);
	comes(T0 + HOUR, 1, FAR, 111111);
	revised.revision = 1;
	revised.flags = GW_FLAG_REVISION;
	record_add("d", T0 + HOUR + SECOND, &revised, 1);
	series_take_rest(store);
	ASSERT_NEWEST(1, 111111);
	assert_int_equal(gw_series_erase(store, gw_span_text("d"), FAR, FAR + 1, &erased), GW_OK);
	assert_int_equal(erased, 1);
	ASSERT_NEWEST(1, 5);
	assert_int_equal(gw_series_erase(store, gw_span_text("d"), T0 + HOUR - 10 * SECOND, FAR, &erased), GW_OK);
	ASSERT_NEWEST(1, 3600 - 20);
	assert_int_equal(gw_series_erase(store, gw_span_text("d"), INT64_MIN, INT64_MAX, &erased), GW_OK);
	for (int i = 0; i < 2; i++, again(true)) {
		struct gw_series_value value = { 0 };

		assert_int_equal(gw_series_last(store, series_id(store, "d", 1), &value), GW_E_NOT_FOUND);
	}
	comes(T0 + 2 * HOUR, 1, T0 + 2 * HOUR, 7);
	ASSERT_NEWEST(1, 7);
}

// ---- Any mixture ----

#define SIGNALS 3

// A device: its clock, and what it has not sent yet.
struct device {
	char name[8];
	int64_t ahead_us, offline_until_us;
	struct gw_reading stored[64];
	size_t stored_count;
};
static struct device devices[3];
static int64_t hub_us, values;

static void
step_clock(struct device *device)
{
	static const int64_t ahead[] = { 0, 0, 0, HOUR, -HOUR, 3 * MINUTE, -30 * SECOND, 74 * YEAR, -T0 - 5 * MINUTE, -400 * 24 * HOUR, 2 * 24 * HOUR };

	device->ahead_us = ahead[draw(sizeof(ahead) / sizeof(ahead[0]))];
}

static void
send_stored(struct device *device)
{
	size_t at = 0, count;

	for (; at < device->stored_count; at += count) {
		count = 1 + draw(20);
		count = count < device->stored_count - at ? count : device->stored_count - at;
		record_add(device->name, hub_us += (int64_t)draw(SECOND), device->stored + at, count);
	}
	device->stored_count = 0;
}

static void
measure(struct device *device)
{
	struct gw_reading frame[SIGNALS];
	size_t count = 0;
	int64_t time_us = hub_us + device->ahead_us;

	for (uint32_t signal = 0; signal < SIGNALS; signal++)
		if (draw(signal * signal * 5 + 1) == 0)
			frame[count++] = reading(100 + signal, draw(80) == 0 ? (draw(2) == 0 ? FAR + (int64_t)draw(1000) : (int64_t)draw(1000)) : time_us - (int64_t)draw(2 * SECOND),
			    values++);
	if (hub_us < device->offline_until_us) {
		for (size_t i = 0; i < count && device->stored_count < 64; i++)
			device->stored[device->stored_count++] = frame[i];
		return;
	}
	if (device->stored_count > 0)
		send_stored(device);
	if (draw(60) == 0 && count > 0) { // said again, otherwise: it came a moment ago
		record_add(device->name, hub_us, frame, count);
		for (size_t i = 0; i < count; i++) {
			frame[i].revision = 1;
			frame[i].flags = GW_FLAG_REVISION;
			frame[i].decimal.mantissa = values++;
		}
	}
	if (count > 0)
		record_add(device->name, hub_us + (int64_t)draw(400000), frame, count);
}

struct best {
	int64_t moment_us, value;
	uint64_t count;
};

// Of all readings that there are.
static struct best
look_at_all(const char *device, uint32_t id)
{
	struct gw_series_cursor *cursor;
	struct gw_clock_pieces pieces;
	const struct gw_point *point;
	struct gw_reading held = { 0 };
	struct best best = { 0 };

	(void)gw_series_clock(store, gw_span_text(device), &pieces);
	assert_int_equal(gw_series_read(store, id, INT64_MIN, INT64_MAX, &cursor), GW_OK);
	while (gw_series_next(cursor, &point) == GW_OK) {
		struct gw_clock_guess guess;
		bool same = point->reading.time_us == held.time_us && point->reading.sequence == held.sequence;
		int64_t us;

		gw_clock_pieces_guess(&pieces, point->received_us, &guess);
		us = gw_clock_moment(&guess, &point->reading, point->received_us);
		if (best.count++ > 0 && !same && us < best.moment_us)
			continue;
		best.moment_us = best.count > 1 && same && us < best.moment_us ? best.moment_us : us;
		best.value = point->reading.decimal.mantissa;
		held = point->reading;
	}
	gw_series_end(cursor);
	return best;
}

static uint64_t compared;

static void
check(void)
{
	for (size_t i = 0; i < 3; i++)
		for (uint32_t signal = 100; signal < 100 + SIGNALS; signal++) {
			struct gw_series_value value = { 0 };
			struct gw_series_info info;
			struct best best;
			enum gw_error error;

			if (!gw_series_find(store, gw_span_text(devices[i].name), signal, 0, &info))
				continue;
			best = look_at_all(devices[i].name, info.id);
			error = gw_series_last(store, info.id, &value);
			assert_int_equal(error, best.count > 0 ? GW_OK : GW_E_NOT_FOUND);
			// What is kept may lag behind what is measured of a clock by as much as makes no step.
			if (best.count > 0 && value.point.reading.decimal.mantissa != best.value && llabs(value.taken_us - best.moment_us) > SECOND)
				fail_msg("device %s, signal %u: value %lld of %lld, not %lld of %lld", devices[i].name, signal, (long long)value.point.reading.decimal.mantissa,
				    (long long)value.taken_us, (long long)best.value, (long long)best.moment_us);
			compared++;
			gw_series_value_free(&value);
		}
}

static void
erase_some(const struct device *device)
{
	int64_t at_us = draw(3) == 0 ? FAR : hub_us + device->ahead_us;
	uint64_t erased;
	enum gw_error error = gw_series_erase(store, gw_span_text(device->name), at_us - (int64_t)draw(20) * MINUTE, at_us + MINUTE, &erased);

	assert_true(error == GW_OK || error == GW_E_NOT_FOUND);
}

// The same answers before and after.
static void
restart(void)
{
	int64_t before[3][SIGNALS], after_us = 0;
	struct gw_series_info info;

	for (int pass = 0; pass < 2; pass++) {
		for (size_t i = 0; i < 3; i++)
			for (uint32_t signal = 0; signal < SIGNALS; signal++) {
				struct gw_series_value value = { 0 };

				after_us = -1;
				if (gw_series_find(store, gw_span_text(devices[i].name), 100 + signal, 0, &info) && gw_series_last(store, info.id, &value) == GW_OK)
					after_us = value.point.reading.decimal.mantissa;
				gw_series_value_free(&value);
				if (pass == 0)
					before[i][signal] = after_us;
				else
					assert_int_equal(after_us, before[i][signal]);
			}
		if (pass == 0)
			again(draw(2) == 0);
	}
}

static void
go_on(char pass)
{
	for (size_t i = 0; i < 3; i++)
		devices[i] = (struct device){ .name = { (char)('a' + i), pass } };
	for (int round = 0; round < 4000; round++) {
		struct device *device = &devices[draw(3)];

		hub_us += (int64_t)draw(20 * SECOND);
		if (draw(900) == 0)
			hub_us -= (int64_t)draw(HOUR);
		if (draw(120) == 0)
			step_clock(device);
		if (draw(150) == 0)
			device->offline_until_us = hub_us + (int64_t)draw(30 * MINUTE);
		measure(device);
		series_take_rest(store);
		if (draw(150) == 0)
			series_flush(store, draw(2) == 0 ? 0 : -1);
		if (draw(300) == 0)
			erase_some(device);
		if (draw(25) == 0)
			check();
		if (draw(150) == 0)
			restart();
	}
	check();
}

static void
whatever_clocks_do(void **state)
{
	(void)state;
	hub_us = T0;
	compared = 0;
	for (char pass = 0; pass < 5; pass++) {
		seed = 31 + (uint64_t)pass;
		go_on((char)('0' + pass));
	}
	assert_true(compared > 5000);
}

// ---- The whole ward ----

struct walked {
	char last[GW_ID_MAX + 1];
	uint32_t signal;
	size_t count, stop_at;
};

static bool
walk(void *arg, const struct gw_series_info *series, const struct gw_point *point, int64_t taken_us)
{
	struct walked *walked = arg;
	int order = strcmp(series->device, walked->last);

	assert_true(walked->count == 0 || order > 0 || (order == 0 && series->signal > walked->signal));
	assert_int_equal(point->reading.signal, series->signal);
	assert_int_equal(taken_us, T0 + SECOND);
	assert_true(gw_span_is(point->origin.principal, series->device));
	if (point->reading.type == GW_VALUE_TEXT) {
		assert_int_equal(point->reading.text.len, 1000 + series->signal * 3);
		assert_true(gw_span_equal(point->reading.text, point->reading.received));
	} else {
		assert_int_equal(point->reading.decimal.mantissa, series->signal);
	}
	strcpy(walked->last, series->device);
	walked->signal = series->signal;
	return ++walked->count != walked->stop_at;
}

// In order, whatever comes; also where a reading is larger than what is copied at once.
static void
all_in_order(void **state)
{
	static char text[GW_RECORD_MAX / 2];
	char names[2][GW_ID_MAX + 1] = { "d-3", "nobody" };
	struct walked walked = { 0 };

	(void)state;
	memset(text, 'x', sizeof(text));
	for (int pass = 0; pass < 2; pass++)
		for (int i = 40; i > 0; i--) {
			struct gw_reading frame[20];
			char name[16];

			snprintf(name, sizeof(name), "d-%d", i);
			for (uint32_t s = 0; s < 20; s++) {
				frame[s] = reading(20 - s, T0 + pass * SECOND, 20 - s);
				if (i == 7)
					frame[s].type = GW_VALUE_TEXT, frame[s].text = frame[s].received = gw_span(text, 1000 + (20 - s) * 3);
			}
			record_add(name, T0 + pass * SECOND, frame, 20);
		}
	series_take_rest(store);
	for (int pass = 0; pass < 3; pass++) {
		walked = (struct walked){ 0 };
		assert_int_equal(gw_series_newest(store, NULL, 0, walk, &walked), GW_OK);
		assert_int_equal(walked.count, 800);
		walked = (struct walked){ .stop_at = 130 };
		assert_int_equal(gw_series_newest(store, NULL, 0, walk, &walked), GW_OK);
		assert_int_equal(walked.count, 130);
		walked = (struct walked){ 0 };
		assert_int_equal(gw_series_newest(store, (const char (*)[GW_ID_MAX + 1])names, 2, walk, &walked), GW_OK);
		assert_int_equal(walked.count, 20);
		again(pass == 0);
	}
}

static int
setup(void **state)
{
	if (series_make(state) != 0)
		return -1;
	seed = 11;
	store = series_open();
	return 0;
}

static int
finish(void **state)
{
	gw_series_close(store);
	return series_finish(state);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_reading_from_2100, setup, finish),
		cmocka_unit_test_setup_teardown(a_year_in_2100, setup, finish),
		cmocka_unit_test_setup_teardown(a_clock_that_is_set_back, setup, finish),
		cmocka_unit_test_setup_teardown(a_device_that_comes_up_in_1970, setup, finish),
		cmocka_unit_test_setup_teardown(late_ones_are_not_the_newest, setup, finish),
		cmocka_unit_test_setup_teardown(the_hub_s_own_clock_goes_back, setup, finish),
		cmocka_unit_test_setup_teardown(a_revision_replaces_and_an_erasure_falls_back, setup, finish),
		cmocka_unit_test_setup_teardown(whatever_clocks_do, setup, finish),
		cmocka_unit_test_setup_teardown(all_in_order, setup, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
