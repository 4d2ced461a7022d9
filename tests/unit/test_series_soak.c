// SPDX-License-Identifier: Apache-2.0
// What the series' file comes to: under constant load and retention, under a budget, with readers that died.
#include "series_help.h"

#include "../bench/series_soak.h"

#include "gateway/series_internal.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t
most(const uint64_t *bytes, int from, int to)
{
	uint64_t greatest = 0;

	for (int i = from; i < to; i++)
		greatest = bytes[i] > greatest ? bytes[i] : greatest;
	return greatest;
}

static void
the_file_reaches_a_size_and_stays_there(void **state)
{
	struct soak soak = { .dir = store_dir, .budget_bytes = 256 * MB, .beds = 2, .periods = 12, .numerics_s = 1200, .waveforms_s = 300 };
	struct soak_result *result = malloc(sizeof(*result));
	uint64_t early, late;

	(void)state;
	assert_non_null(result);
	soak_all(&soak, result);
	early = most(result->file_bytes, 2, 6);
	late = most(result->file_bytes, 6, 12);
	print_message("  %llu readings, %llu chunks deleted; %.2f MB, later %.2f MB\n", (unsigned long long)result->readings,
	    (unsigned long long)result->deleted, (double)early / 1e6, (double)late / 1e6);
	assert_true(result->deleted > 100 && result->full == 0);
	assert_true(late <= early + early / 20);
	assert_true(result->stats.readings < result->readings / 4); // and what was to go is gone
	free(result);
}

static void
and_within_a_budget(void **state)
{
	struct soak soak = { .dir = store_dir, .budget_bytes = 8 * MB, .beds = 4, .periods = 4 };
	struct soak_result *result = malloc(sizeof(*result));

	(void)state;
	assert_non_null(result);
	soak_all(&soak, result);
	assert_true(result->deleted > 100);
	assert_true(most(result->file_bytes, 0, 4) <= 8 * MB);
	assert_true(most(result->used_bytes, 2, 4) > 4 * MB); // the room is used
	free(result);
}

// ---- A reader that died ----

static void
reads_until_killed(int told)
{
	struct gw_series_store *store;
	MDB_txn *txn;

	series_options.read_only = true;
	if (gw_series_open(&series_options, &store, NULL) != GW_OK || gw_series_reader(store, &txn) != GW_OK || write(told, "r", 1) != 1)
		_exit(1);
	for (;;)
		pause();
}

static uint64_t
churn(struct gw_series_store *store, int rounds)
{
	struct gw_series_retention retention = { 1, 1 };
	struct gw_series_stats stats;
	struct gw_reading readings[1000];
	bool more;

	for (int round = 0; round < rounds; round++) {
		for (int i = 0; i < 1000; i++)
			readings[i] = reading_of(100, T0 + (int64_t)(records_last * 1000 + (uint64_t)i) * 1000000, (int64_t)(gw_hash_mix(records_last * 1000 + (uint64_t)i) % 100000));
		record_add("d", T0, readings, 1000);
		series_take_rest(store);
		series_flush(store, 0);
		do
			assert_int_equal(gw_series_retain(store, &retention, &more), GW_OK);
		while (more);
	}
	gw_series_stats(store, &stats);
	return stats.file_bytes;
}

static void
a_reader_that_died_keeps_nothing(void **state)
{
	struct gw_series_store *store = series_open();
	uint64_t before, pinned, after;
	int pipe_of[2], status;
	char byte;
	pid_t child;

	(void)state;
	(void)churn(store, 30);
	assert_int_equal(pipe(pipe_of), 0);
	if ((child = fork()) == 0)
		reads_until_killed(pipe_of[1]);
	assert_int_equal(read(pipe_of[0], &byte, 1), 1);
	before = churn(store, 1);
	pinned = churn(store, 60); // what it reads stays, so the file grows
	assert_true(pinned > before + 30 * 4096);
	assert_int_equal(kill(child, SIGKILL), 0);
	assert_int_equal(waitpid(child, &status, 0), child);
	store->counted_us = 0; // as after a minute
	(void)churn(store, 3);
	after = churn(store, 150);
	assert_true(after <= pinned + 40 * 4096);
	gw_series_close(store);
	close(pipe_of[0]), close(pipe_of[1]);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, series_make, series_finish)
		TEST(the_file_reaches_a_size_and_stays_there), TEST(and_within_a_budget), TEST(a_reader_that_died_keeps_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
