// SPDX-License-Identifier: Apache-2.0
// Damage of any kind anywhere in the series' file: it is found and named, what is served is what was measured, and nothing ends the process.
// DAMAGES=n makes it longer, SEED=n repeats a run.
#include "series_help.h"

#include "gateway/hash.h"
#include "gateway/pages.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECOND INT64_C(1000000)
#define SERIES 24
#define EACH 3000
#define FOUND 3  // the child's word: the store was not opened
#define NAMED 4  // it was, and damage was named
#define WHOLE 5  // nothing was found, and nothing is missing

static uint64_t seed;

static uint64_t
random_of(uint64_t below)
{
	return gw_hash_mix(seed++) % below;
}

static int64_t
value_of(uint32_t series, int64_t i)
{
	return (int64_t)(gw_hash_mix((uint64_t)i * SERIES + series) % 900);
}

static void
fill(struct gw_series_store *store)
{
	struct gw_reading readings[SERIES];
	char device[8] = "dev-0";

	for (int64_t i = 0; i < EACH; i++)
		for (char which = '0'; which < '3'; which++) {
			device[4] = which;
			for (uint32_t k = 0; k < SERIES / 3; k++)
				readings[k] = reading_of(100 + k, T0 + i * SECOND, value_of((uint32_t)(which - '0') * (SERIES / 3) + k, i));
			record_add(device, T0 + i * SECOND, readings, SERIES / 3);
			series_take_rest(store);
			if (i % 1000 == 999) // several chunks of each, merged and moved
				series_flush(store, 0);
		}
}

static void
path_of(char path[600])
{
	snprintf(path, 600, "%s/data.mdb", store_dir);
}

static uint8_t *
read_whole(size_t *len)
{
	char path[600];
	struct stat at;
	uint8_t *bytes;
	int fd;

	path_of(path);
	assert_true((fd = open(path, O_RDONLY)) >= 0);
	assert_int_equal(fstat(fd, &at), 0);
	*len = (size_t)at.st_size;
	assert_non_null(bytes = malloc(*len));
	assert_int_equal(read(fd, bytes, *len), (ssize_t)*len);
	close(fd);
	// Up to the last page in use: blocks that were allocated ahead are nothing's.
	*len = (size_t)((gw_get64(bytes + 136) > gw_get64(bytes + 4096 + 136) ? gw_get64(bytes + 136) : gw_get64(bytes + 4096 + 136)) + 1) * 4096;
	return bytes;
}

static void
write_whole(const uint8_t *bytes, size_t len)
{
	char path[600];
	int fd;

	path_of(path);
	assert_true((fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600)) >= 0);
	assert_int_equal(write(fd, bytes, len), (ssize_t)len);
	close(fd);
}

// One bit, some bytes, a sector of zeros, a page where another belongs, an older page, an end that is missing.
static size_t
damage(uint8_t *bytes, size_t len, const uint8_t *older, size_t older_len)
{
	size_t pages = len / 4096, page = random_of(pages);

	switch (random_of(8)) {
	default: // a bit, mostly where it hurts: heads and the small entries behind them
		bytes[page * 4096 + random_of(random_of(2) == 0 ? 48 : 4096)] ^= (uint8_t)(1u << random_of(8));
		return len;
	case 1:
		for (int i = 0; i < 8; i++)
			bytes[page * 4096 + random_of(4096)] = (uint8_t)random_of(256);
		return len;
	case 2:
		memset(bytes + page * 4096 + random_of(8) * 512, 0, 512);
		return len;
	case 3:
		memmove(bytes + page * 4096, bytes + random_of(pages) * 4096, 4096);
		return len;
	case 4:
		if (page < older_len / 4096)
			memcpy(bytes + page * 4096, older + page * 4096, 4096);
		return len;
	case 5:
		return len - random_of(len / 2);
	}
}

static void
count_named(void *arg, const struct gw_series_info *info, int64_t first_us, const char *words)
{
	(void)info, (void)first_us, (void)words;
	++*(size_t *)arg;
}

struct reading_all {
	struct gw_series_store *store;
	size_t count;
	bool wrong;
};

static bool
read_series(void *arg, const struct gw_series_info *info)
{
	struct reading_all *all = arg;
	struct gw_series_cursor *cursor;
	const struct gw_point *point;
	uint32_t series = (uint32_t)(info->device[4] - '0') * (SERIES / 3) + info->signal - 100;

	if (gw_series_read(all->store, info->id, INT64_MIN, INT64_MAX, &cursor) != GW_OK)
		return true;
	while (gw_series_next(cursor, &point) == GW_OK) {
		int64_t i = (point->reading.time_us - T0) / SECOND;

		all->count++;
		all->wrong |= series >= SERIES || i < 0 || i >= EACH || point->reading.decimal.mantissa != value_of(series, i);
	}
	gw_series_end(cursor);
	return true;
}

// What a gateway would do with it: open, serve, verify, take more, sweep.
static int
use(void)
{
	struct gw_series_retention retention = { 1, 1 };
	struct gw_series_verified verified = { 0 };
	struct gw_series_store *store;
	struct gw_series_stats stats;
	struct reading_all all = { 0 };
	size_t named = 0;
	bool more;

	series_options.check = true;
	if (gw_series_open(&series_options, &store, NULL) != GW_OK)
		return FOUND;
	all.store = store;
	if (gw_series_verify(store, count_named, &named, &verified) != GW_OK || gw_series_each(store, gw_span("", 0), read_series, &all) != GW_OK)
		return 20;
	if (all.wrong)
		return 21;
	gw_series_stats(store, &stats);
	named += stats.damaged;
	if (all.count != (size_t)SERIES * EACH && named == 0)
		return 22;
	// Whatever it says: nothing of it may end the process.
	if (gw_series_follow(store, records_incarnation) == GW_OK) {
		for (uint64_t at = 1; at <= records_last; at++) {
			struct gw_record record;

			if (gw_record_open(at, records[at], &record, NULL) == GW_OK)
				(void)gw_series_take(store, &record);
		}
		(void)gw_series_flush(store, 0, &more);
		(void)gw_series_retain(store, &retention, &more);
		(void)gw_series_flush(store, 0, &more);
	}
	gw_series_close(store);
	return named > 0 ? NAMED : WHOLE;
}

static void
any_damage_is_found_and_survived(void **state)
{
	size_t count = getenv("DAMAGES") != NULL ? strtoul(getenv("DAMAGES"), NULL, 10) : 150, found = 0, named = 0, whole = 0;
	struct gw_series_store *store = series_open();
	uint8_t *bytes, *older, *copy;
	size_t len, older_len, now;

	(void)state;
	seed = getenv("SEED") != NULL ? strtoull(getenv("SEED"), NULL, 10) : (uint64_t)getpid() << 20;
	print_message("  %zu damages, SEED=%llu\n", count, (unsigned long long)seed);
	fill(store);
	older = read_whole(&older_len);
	series_flush(store, 0);
	gw_series_close(store);
	bytes = read_whole(&len);
	assert_non_null(copy = malloc(len));
	for (size_t i = 0; i < count; i++) {
		uint64_t before = seed;
		pid_t child;
		int status;

		memcpy(copy, bytes, len);
		now = damage(copy, len, older, older_len);
		write_whole(copy, now);
		if ((child = fork()) == 0)
			_exit(use());
		assert_true(child > 0 && waitpid(child, &status, 0) == child);
		if (!WIFEXITED(status) || WEXITSTATUS(status) < FOUND || WEXITSTATUS(status) > WHOLE) {
			if (getenv("DAMAGES") == NULL)
				fail_msg("SEED=%llu DAMAGES=1: status 0x%x", (unsigned long long)before, (unsigned)status);
			print_message("SEED=%llu: status 0x%x\n", (unsigned long long)before, (unsigned)status);
		}
		found += WEXITSTATUS(status) == FOUND;
		named += WEXITSTATUS(status) == NAMED;
		whole += WEXITSTATUS(status) == WHOLE;
	}
	print_message("  %zu found at the start, %zu chunks or rows named, %zu hit nothing that counts\n", found, named, whole);
	assert_true(found > 0 && named > 0);
	free(bytes), free(older), free(copy);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(any_damage_is_found_and_survived, series_make, series_finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
