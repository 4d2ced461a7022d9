// SPDX-License-Identifier: Apache-2.0
// What the series store loses and what it must not: damage, retention, pressure, erasure, sleeping readers, clocks that jump.
#include "series_help.h"

#include "gateway/clock.h"
#include "gateway/hash.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND INT64_C(1000000)
#define DAY (86400 * SECOND)
#define NOISY(i) ((int64_t)(gw_hash_mix((uint64_t)(i) + 1) % 1000))

static void
add_seconds(const char *device, uint32_t signal, int64_t from_us, int count)
{
	struct gw_reading readings[1000];

	for (int done = 0, n; done < count; done += n) {
		n = count - done < 1000 ? count - done : 1000;
		for (int i = 0; i < n; i++)
			readings[i] = reading_of(signal, from_us + (done + i) * SECOND, NOISY(done + i));
		record_add(device, gw_clock_wall_us(), readings, (size_t)n);
	}
}

static uint64_t
file_bytes(void)
{
	char path[600];
	struct stat stat_of;

	snprintf(path, sizeof(path), "%s/data.mdb", store_dir);
	assert_int_equal(stat(path, &stat_of), 0);
	return (uint64_t)stat_of.st_size;
}

// ---- Damage ----

static void
flip(uint64_t at)
{
	char path[600];
	uint8_t byte;
	int fd;

	snprintf(path, sizeof(path), "%s/data.mdb", store_dir);
	assert_true((fd = open(path, O_RDWR)) >= 0);
	assert_int_equal(pread(fd, &byte, 1, (off_t)at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
	close(fd);
}

// Pages that begin a chunk of their own (LMDB's flag for them), as offsets in the file.
static size_t
chunk_pages(uint64_t *at, size_t cap)
{
	char path[600];
	uint8_t head[16];
	size_t count = 0;
	int fd;

	snprintf(path, sizeof(path), "%s/data.mdb", store_dir);
	assert_true((fd = open(path, O_RDONLY)) >= 0);
	for (uint64_t page = 2; pread(fd, head, sizeof(head), (off_t)(page * 4096)) == (ssize_t)sizeof(head); page++)
		if ((gw_get16(head + 10) & 0x04) != 0 && gw_get64(head) == page && count < cap)
			at[count++] = page * 4096;
	close(fd);
	return count;
}

static void
note_damage(void *arg, const struct gw_series_info *info, int64_t first_us, const char *words)
{
	(void)first_us, (void)words;
	assert_string_equal(info->device, "d");
	++*(size_t *)arg;
}

static void
damage_stays_where_it_is(void **state)
{
	static const uint64_t places[] = { 16 + 2, 16 + 20, 16 + 40, 16 + 500, 16 + 3000 }; // head and chunk
	struct gw_series_store *store = series_open();
	struct gw_series_verified verified;
	struct gw_series_stats stats;
	uint64_t at[64];
	size_t named = 0, served;
	uint32_t id;

	(void)state;
	add_seconds("d", 100, T0, 40000);
	series_take_rest(store);
	series_flush(store, 0);
	gw_series_close(store);
	assert_true(chunk_pages(at, 64) >= 10);
	for (size_t i = 0; i < 5; i++)
		flip(at[2 * i] + places[i]);
	store = series_open();
	assert_int_equal(gw_series_verify(store, note_damage, &named, &verified), GW_OK);
	assert_int_equal(verified.damaged, 5);
	assert_int_equal(named, 5);
	id = series_id(store, "d", 100);
	served = series_count(store, id, INT64_MIN, INT64_MAX);
	assert_int_equal(served, verified.readings);
	assert_true(served < 40000 && served > 20000);
	gw_series_stats(store, &stats);
	assert_int_equal(stats.damaged, 5);
	// What is late for a damaged chunk is taken all the same, and what follows too.
	for (int i = 0; i < 40; i++)
		record_add("d", T0, &(struct gw_reading){ .signal = 100, .time_us = T0 + i * 1000 * SECOND + 1, .type = GW_VALUE_CODE, .code = 1 }, 1);
	add_seconds("d", 100, T0 + 50000 * SECOND, 3000);
	series_take_rest(store);
	assert_int_equal(series_count(store, id, INT64_MIN, INT64_MAX), served + 3040);
	series_flush(store, 0);
	assert_int_equal(series_count(store, id, INT64_MIN, INT64_MAX), served + 3040);
	gw_series_close(store);
}

// ---- Retention ----

static void
sweep_all(struct gw_series_store *store, int64_t numerics_us, int64_t waveforms_us)
{
	struct gw_series_retention retention = { numerics_us, waveforms_us };
	bool more = true;

	while (more)
		assert_int_equal(gw_series_retain(store, &retention, &more), GW_OK);
}

static int
clock_back(void **state)
{
	gw_clock_fake_wall(INT64_MIN);
	gw_clock_fake_mono(INT64_MIN);
	return series_finish(state);
}

// Time goes by as fast as the test does.
static void
pass_time(int64_t us)
{
	gw_clock_fake_wall(gw_clock_wall_us() + us);
	gw_clock_fake_mono(gw_clock_mono_us() + us);
}

static void
a_jump_of_the_clock_deletes_nothing(void **state)
{
	struct gw_series_store *store;
	uint32_t id;

	(void)state;
	gw_clock_fake_wall(T0);
	store = series_open();
	add_seconds("d", 100, T0 - 20000 * SECOND, 20000);
	series_take_rest(store);
	series_flush(store, 0);
	id = series_id(store, "d", 100);
	for (int64_t jump = -10; jump <= 10; jump += 5) { // years
		gw_clock_fake_wall(T0 + jump * 365 * DAY);
		sweep_all(store, DAY, DAY);
		add_seconds("d", 100, T0 + (jump + 20) * 1000 * SECOND, 1);
		series_take_rest(store);
		series_flush(store, 0);
		gw_series_close(store);
		store = series_open();
		sweep_all(store, DAY, DAY);
	}
	assert_int_equal(series_count(store, id, INT64_MIN, INT64_MAX), 20005);
	gw_series_close(store);
}

// By age, each class by its own; device times of any kind do not keep a chunk for ever.
static void
old_chunks_go(void **state)
{
	static const int64_t begins[] = { T0, T0 - 40 * 365 * DAY, T0 + 40 * 365 * DAY };
	struct gw_series_store *store = series_open();
	struct gw_series_value value = { 0 };
	int32_t sample = 7;
	struct gw_reading block = { .signal = 200, .time_us = T0, .type = GW_VALUE_SAMPLES, .samples = { 1000, 1, 0, (const uint8_t *)&sample } };
	struct gw_series_stats stats;

	(void)state;
	for (size_t i = 0; i < 3; i++)
		add_seconds("d", 100, begins[i], 10000);
	record_add("d", T0, &block, 1);
	series_take_rest(store);
	series_flush(store, 0);
	sweep_all(store, DAY, DAY);
	assert_int_equal(series_count(store, series_id(store, "d", 100), INT64_MIN, INT64_MAX), 30000);
	sweep_all(store, 0, 1); // waveforms only
	assert_int_equal(series_count(store, series_id(store, "d", 100), INT64_MIN, INT64_MAX), 30000);
	for (gw_series_stats(store, &stats); stats.readings > 30000; gw_series_stats(store, &stats))
		sweep_all(store, 0, 1);
	assert_int_equal(gw_series_last(store, series_id(store, "d", 200), &value), GW_E_NOT_FOUND);
	for (; stats.readings > 0; gw_series_stats(store, &stats))
		sweep_all(store, 1, 1);
	assert_int_equal(series_count(store, series_id(store, "d", 100), INT64_MIN, INT64_MAX), 0);
	assert_int_equal(gw_series_last(store, series_id(store, "d", 100), &value), GW_E_NOT_FOUND);
	assert_int_equal(stats.chunks, 0);
	assert_int_equal(stats.bytes, 0);
	gw_series_close(store);
	gw_series_value_free(&value);
}

#define SAMPLES 64

// Samples that nothing compresses.
static void
add_samples(const char *device, int64_t from_us, int count)
{
	static uint32_t samples[1000][SAMPLES];
	struct gw_reading readings[1000];

	for (int i = 0; i < count; i++) {
		for (int k = 0; k < SAMPLES; k++)
			samples[i][k] = (uint32_t)gw_hash_mix((uint64_t)(from_us + i * SAMPLES + k)) >> 4;
		readings[i] = (struct gw_reading){ .signal = 200, .time_us = from_us + i * SECOND, .type = GW_VALUE_SAMPLES,
			.samples = { SECOND * 1000 / SAMPLES, SAMPLES, 0, (const uint8_t *)samples[i] } };
	}
	record_add(device, gw_clock_wall_us(), readings, (size_t)count);
}

// Constant load, far more than the budget: full at times, the file stays within it, and what is new is there.
static void
load_beyond_the_budget(void **state)
{
	struct gw_series_cursor *sleeping = NULL;
	struct gw_series_store *store;
	const struct gw_point *point;
	struct gw_series_stats stats;
	uint64_t bytes_half = 0;
	bool more;

	(void)state;
	series_options.budget_bytes = 16 * MB;
	store = series_open();
	for (int i = 0; i < 30; i++) {
		for (int device = 0; device < 8; device++) {
			char name[8] = { 'd', (char)('0' + device), 0 };

			add_samples(name, T0 + i * 1000 * SECOND, 1000);
		}
		pass_time(1000 * SECOND);
		series_take_rest(store);
		while (gw_series_flush(store, -1, &more) != GW_OK || more) {
			pass_time(SECOND);
			sweep_all(store, 0, 0);
		}
		if (i == 4) { // somebody who begins to read and then sleeps
			assert_int_equal(gw_series_read(store, series_id(store, "d0", 200), INT64_MIN, INT64_MAX, &sleeping), GW_OK);
			assert_int_equal(gw_series_next(sleeping, &point), GW_OK);
		}
		gw_series_stats(store, &stats);
		bytes_half = i == 15 ? stats.bytes : bytes_half;
	}
	assert_true(stats.deleted > 1000);
	assert_true(file_bytes() <= 16 * MB);
	assert_true(stats.bytes > 5 * MB && bytes_half > 5 * MB); // and the room is used
	assert_int_equal(series_count(store, series_id(store, "d3", 200), T0 + 29 * 1000 * SECOND, INT64_MAX), 1000);
	while (gw_series_next(sleeping, &point) == GW_OK) {}
	gw_series_end(sleeping);
	gw_series_close(store);
}

// ---- Erasure ----

static void
erased_is_gone(void **state)
{
	struct gw_series_store *store = series_open();
	int64_t from_us = T0 + 3333 * SECOND, to_us = T0 + 17777 * SECOND;
	struct gw_series_verified verified;
	uint64_t erased;

	(void)state;
	add_seconds("d", 100, T0, 20000);
	add_seconds("d", 101, T0, 10000);
	add_seconds("other", 100, T0, 20000);
	series_take_upto(store, 1, 5);
	series_flush(store, -1);
	series_take_rest(store);
	assert_int_equal(gw_series_erase(store, gw_span_text("nobody"), from_us, to_us, &erased), GW_E_NOT_FOUND);
	assert_int_equal(gw_series_erase(store, gw_span_text("d"), from_us, to_us, &erased), GW_OK);
	assert_int_equal(erased, 17777 - 3333 + 10000 - 3333);
	for (int pass = 0; pass < 2; pass++) {
		assert_int_equal(series_count(store, series_id(store, "d", 100), from_us, to_us), 0);
		assert_int_equal(series_count(store, series_id(store, "d", 100), INT64_MIN, from_us), 3333);
		assert_int_equal(series_count(store, series_id(store, "d", 100), to_us, INT64_MAX), 20000 - 17777);
		assert_int_equal(series_count(store, series_id(store, "d", 101), INT64_MIN, INT64_MAX), 3333);
		assert_int_equal(series_count(store, series_id(store, "other", 100), INT64_MIN, INT64_MAX), 20000);
		gw_series_close(store);
		store = series_open();
		series_take_rest(store); // nothing comes back
	}
	assert_int_equal(gw_series_verify(store, NULL, NULL, &verified), GW_OK);
	assert_int_equal(verified.damaged, 0);
	gw_series_close(store);
}

// ---- Without a gateway ----

static void
read_only_has_the_tails_too(void **state)
{
	struct gw_series_store *store = series_open();
	bool more;

	(void)state;
	add_seconds("d", 100, T0, 7000);
	series_take_rest(store);
	assert_int_equal(gw_series_flush(store, -1, &more), GW_OK);
	gw_series_close(store);
	series_options.read_only = true;
	store = series_open();
	assert_true(gw_series_cursor(store) < records_last);
	series_take_rest(store);
	assert_int_equal(series_count(store, series_id(store, "d", 100), INT64_MIN, INT64_MAX), 7000);
	assert_int_equal(gw_series_flush(store, 0, &more), GW_E_ARGUMENT);
	gw_series_close(store);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, series_make, series_finish)
		TEST(damage_stays_where_it_is), TEST(old_chunks_go), TEST(erased_is_gone), TEST(read_only_has_the_tails_too),
		cmocka_unit_test_setup_teardown(load_beyond_the_budget, series_make, clock_back),
		cmocka_unit_test_setup_teardown(a_jump_of_the_clock_deletes_nothing, series_make, clock_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
