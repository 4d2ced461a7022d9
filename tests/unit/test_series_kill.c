// SPDX-License-Identifier: Apache-2.0
// SIGKILL at random moments of everything that changes the series store: filling, merging, retention, erasing, putting back, taking over another file.
// Afterwards all pages and chunks are whole, and the readings are exactly those that they have to be. KILLS=n makes it longer, SEED=n repeats a run's moments.
#include "series_help.h"

#include "gateway/hash.h"
#include "gateway/pages.h"
#include "gateway/series_mend.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECOND INT64_C(1000000)
#define ADOPTED 30000
#define ERASED_FROM (T0 + 200 * SECOND)
#define ERASED_TO (T0 + 900 * SECOND)

static uint64_t seed;
static uint64_t kept_of_e, total_n;
static char aside[600];

static uint64_t
draw(uint64_t below)
{
	return gw_hash_mix(seed++) % below;
}

// Three devices: n keeps all, e loses a range, w's waveforms go by retention. Some readings come late.
static void
add_round(int round)
{
	static int32_t samples[40];
	struct gw_reading readings[60];

	for (int i = 0; i < 60; i++) {
		int64_t at = T0 + (round * 60 + (i % 5 == 2 ? i - 40 : i)) * SECOND + (i % 5 == 2);

		readings[i] = reading_of(100, at, (int64_t)(gw_hash_mix((uint64_t)at) % 1000));
	}
	record_add("n", T0 + round * 60 * SECOND, readings, 60);
	record_add("e", T0 + round * 60 * SECOND, readings, 60);
	total_n += 60;
	for (int i = 0; i < 60; i++)
		kept_of_e += readings[i].time_us < ERASED_FROM || readings[i].time_us >= ERASED_TO;
	for (int i = 0; i < 40; i++)
		samples[i] = (int32_t)(gw_hash_mix((uint64_t)(round * 40 + i)) % 5000);
	readings[0] = (struct gw_reading){ .signal = 200, .time_us = T0 + round * 60 * SECOND, .type = GW_VALUE_SAMPLES,
		.samples = { 25000000, 40, 0, (const uint8_t *)samples } };
	record_add("w", T0 + round * 60 * SECOND, readings, 1);
}

static enum gw_error
adopt_all(struct gw_series_store *store)
{
	struct gw_series_info info = { .signal = 100, .device = "x" };
	struct gw_adopt *adopt;
	uint64_t added = 0;
	enum gw_error error = gw_adopt_begin(store, &adopt), ended;

	for (int64_t i = 0; i < ADOPTED && error == GW_OK; i += 500) {
		struct gw_point points[500];

		for (int64_t k = 0; k < 500; k++)
			points[k] = (struct gw_point){ .reading = reading_of(100, T0 + (i + k) * SECOND, (int64_t)(gw_hash_mix((uint64_t)(i + k)) % 4000)), .received_us = T0 };
		error = gw_adopt_put(adopt, &info, points, 500, T0);
	}
	ended = gw_adopt_end(adopt, &added);
	return error != GW_OK ? error : ended;
}

static void
works_until_killed(void)
{
	struct gw_series_retention retention = { 0, 1 };
	struct gw_series_store *store = series_open();
	struct gw_series_salvaged salvaged;
	uint64_t at = gw_series_cursor(store), erased;
	bool more;

	for (uint64_t round = 0;; round++) {
		enum gw_error error = GW_OK;

		for (int i = 0; i < 150 && at < records_last; i++, at++)
			series_take_upto(store, at + 1, at + 1);
		switch (draw(6)) {
		case 0:
			error = gw_series_flush(store, 0, &more);
			break;
		case 1:
			error = gw_series_flush(store, -1, &more);
			break;
		case 2:
			error = gw_series_retain(store, &retention, &more);
			break;
		case 3:
			error = gw_series_erase(store, gw_span_text("e"), ERASED_FROM, ERASED_TO, &erased);
			error = error == GW_E_NOT_FOUND ? GW_OK : error;
			break;
		case 4:
			error = adopt_all(store);
			break;
		default:
			error = gw_series_salvage(store, aside, NULL, &salvaged, NULL);
		}
		if (error != GW_OK)
			_exit(10 + (int)error);
	}
}

static size_t
count_exactly(struct gw_series_store *store, const char *device, uint32_t signal)
{
	struct gw_series_cursor *cursor;
	const struct gw_point *point;
	struct gw_series_info info;
	size_t count = 0;

	if (!gw_series_find(store, gw_span_text(device), signal, 0, &info))
		return 0;
	assert_int_equal(gw_series_read(store, info.id, INT64_MIN, INT64_MAX, &cursor), GW_OK);
	for (; gw_series_next(cursor, &point) == GW_OK; count++) {
		assert_int_equal(point->reading.revision, 0);
		if (signal == 100 && device[0] != 'x')
			assert_int_equal(point->reading.decimal.mantissa, (int64_t)(gw_hash_mix((uint64_t)point->reading.time_us) % 1000));
	}
	gw_series_end(cursor);
	return count;
}

static void
check_all(void)
{
	struct gw_series_verified verified;
	struct gw_series_store *store;
	uint64_t erased;

	series_options.check = true;
	store = series_open(); // all pages are whole
	assert_int_equal(gw_series_verify(store, NULL, NULL, &verified), GW_OK);
	assert_int_equal(verified.damaged, 0);
	series_take_rest(store);
	assert_int_equal(count_exactly(store, "n", 100), total_n);
	assert_int_equal(gw_series_erase(store, gw_span_text("e"), ERASED_FROM, ERASED_TO, &erased), GW_OK);
	assert_int_equal(count_exactly(store, "e", 100), kept_of_e);
	assert_int_equal(adopt_all(store), GW_OK);
	assert_int_equal(count_exactly(store, "x", 100), ADOPTED);
	gw_series_close(store);
}

// Another store's file, with readings that are n's as well.
static void
make_aside(void)
{
	char path[600];
	struct gw_series_store *store = series_open();

	series_take_rest(store);
	series_flush(store, 0);
	gw_series_close(store);
	snprintf(path, sizeof(path), "%s/data.mdb", store_dir);
	snprintf(aside, sizeof(aside), "%s/aside.mdb", store_dir);
	assert_int_equal(rename(path, aside), 0);
}

static void
whenever_it_is_killed(void **state)
{
	int kills = getenv("KILLS") != NULL ? atoi(getenv("KILLS")) : 25, done = 0;

	(void)state;
	seed = getenv("SEED") != NULL ? strtoull(getenv("SEED"), NULL, 10) : (uint64_t)getpid() << 20;
	print_message("  %d kills, SEED=%llu\n", kills, (unsigned long long)seed);
	// What another store holds of e lies outside of what is erased.
	for (int round = 100; round < 130; round++, done++)
		add_round(round);
	make_aside();
	for (int round = 0; round < 100; round++)
		add_round(round);
	for (int kill_at = 0; kill_at < kills; kill_at++) {
		pid_t child;
		int status;

		for (int i = 0; i < 3; i++)
			add_round(130 + kill_at * 3 + i);
		if ((child = fork()) == 0)
			works_until_killed();
		usleep((useconds_t)(2000 + draw(80000)));
		seed += 1000;
		assert_int_equal(kill(child, SIGKILL), 0);
		assert_int_equal(waitpid(child, &status, 0), child);
		if (WIFEXITED(status))
			fail_msg("it ended by itself: %s", gw_error_text((enum gw_error)(WEXITSTATUS(status) - 10)));
		check_all();
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(whenever_it_is_killed, series_make, series_finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
