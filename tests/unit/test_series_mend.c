// SPDX-License-Identifier: Apache-2.0
// Series and journal side by side: whether they agree is told truly, what one lost is put back, and a store that cannot be trusted is replaced.
#include "intake_help.h"

#include "gateway/clock.h"
#include "gateway/hash.h"
#include "gateway/series_internal.h"
#include "gateway/series_mend.h"
#include "gateway/series_outlet.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECOND INT64_C(1000000)

static struct gw_config *config;
static struct gw_core core;
static void *part;

static int
begin(void **state)
{
	if (intake_begin(state) != 0 || gw_config_load(NULL, &config, NULL) != GW_OK)
		return -1;
	free(config->store_dir);
	config->store_dir = strdup(store_dir);
	config->store_series_budget_mb = 32;
	core = (struct gw_core){ .config = config, .journal = journal, .intake = intake };
	return 0;
}

static int
finish(void **state)
{
	gw_config_free(config);
	return intake_finish(state);
}

static void
part_start(void)
{
	struct gw_why why = { "" };

	if (gw_series_part.start(&core, &part, &why) != GW_OK)
		fail_msg("%s", why.text);
}

static void
part_stop(void)
{
	gw_series_part.stop(part);
	gw_series_part.close(part);
}

static void
commit(const char *device, int64_t received_us, const struct gw_reading *readings, size_t count)
{
	struct gw_ticket *ticket = gw_ticket_get(&source);

	assert_non_null(ticket);
	add_readings(ticket, device, received_us, readings, count);
	ticket_commit(ticket);
}

// Seconds of two signals, some late, some again with another value, some again with the same, and a waveform.
static void
fill(const char *device, int64_t from_us, int count)
{
	static int32_t samples[50];
	struct gw_reading readings[100];

	for (int done = 0; done < count; done += 50) {
		for (int i = 0; i < 50; i++) {
			int64_t at = from_us + (done + i) * SECOND;

			if (i % 7 == 3)
				at -= 3000 * SECOND; // late
			readings[2 * i] = reading_of(100, at, (int64_t)(gw_hash_mix((uint64_t)at) % 200));
			readings[2 * i + 1] = reading_of(101, at, (int64_t)(gw_hash_mix((uint64_t)at + 1) % 100));
		}
		commit(device, from_us + (done + 50) * SECOND, readings, 100);
		if (done % 500 == 0) {
			readings[0].decimal.mantissa++; // a revision
			commit(device, from_us + (done + 51) * SECOND, readings, 2);
		}
		for (int i = 0; i < 50; i++)
			samples[i] = (int32_t)(gw_hash_mix((uint64_t)(done + i)) % 1000);
		readings[0] = (struct gw_reading){ .signal = 200, .time_us = from_us + done * SECOND, .type = GW_VALUE_SAMPLES,
			.samples = { SECOND * 1000 / 50, 50, 0, (const uint8_t *)samples } };
		commit(device, from_us + (done + 50) * SECOND, readings, 1);
	}
}

static void
wait_taken(void)
{
	for (int ms = 0; gw_series_running() == NULL || gw_series_taken(gw_series_running()) < gw_journal_last(journal); ms++) {
		assert_true(ms < 20000);
		usleep(1000);
	}
}

static void
flush_all(void)
{
	bool more = true;

	while (more)
		assert_int_equal(gw_series_flush(gw_series_running(), 0, &more), GW_OK);
}

static const struct gw_series_retention keep_all = { 0, 0 };

static void
count_place(void *arg, const char *words)
{
	assert_non_null(strstr(words, "series "));
	++*(size_t *)arg;
}

static struct gw_series_agreed
agree(uint64_t damaged)
{
	size_t places = 0;
	const struct gw_series_watch watch = { .place = count_place, .arg = &places };
	struct gw_series_verified chunks;
	struct gw_series_agreed agreed;

	assert_int_equal(gw_series_agree(gw_series_running(), journal, &keep_all, &watch, NULL, NULL, &chunks, &agreed), GW_OK);
	assert_int_equal(chunks.damaged, damaged);
	assert_int_equal(places, agreed.missing + agreed.extra);
	return agreed;
}

static struct gw_series_retaken
retake(void)
{
	struct gw_series_retaken retaken;

	assert_int_equal(gw_series_retake(gw_series_running(), journal, gw_journal_last(journal), &keep_all, NULL, &retaken), GW_OK);
	return retaken;
}

static size_t
count_of(const char *device, uint32_t signal)
{
	struct gw_series_cursor *cursor;
	const struct gw_point *point;
	struct gw_series_info info;
	size_t count = 0;

	if (!gw_series_find(gw_series_running(), gw_span_text(device), signal, 0, &info))
		return 0;
	assert_int_equal(gw_series_read(gw_series_running(), info.id, INT64_MIN, INT64_MAX, &cursor), GW_OK);
	while (gw_series_next(cursor, &point) == GW_OK)
		count++;
	gw_series_end(cursor);
	return count;
}

static void
they_agree(void **state)
{
	struct gw_series_agreed agreed;

	(void)state;
	part_start();
	fill("a", T0, 2000);
	fill("b", T0, 1000);
	wait_taken();
	agreed = agree(0);
	assert_true(agreed.journal == agreed.series && agreed.journal > 6000);
	assert_int_equal(agreed.missing + agreed.extra, 0);
	flush_all();
	fill("a", T0 + 2000 * SECOND, 500); // some in chunks, some in tails
	wait_taken();
	assert_int_equal(agree(0).missing, 0);
	// Nothing is missing, so nothing is written.
	assert_int_equal(retake().added, 0);
	assert_int_equal(agree(0).extra, 0);
	part_stop();
}

static void
what_is_missing_is_told_and_put_back(void **state)
{
	struct gw_series_agreed agreed;
	uint64_t erased, second;
	size_t before;

	(void)state;
	part_start();
	fill("a", T0, 3000);
	fill("b", T0, 500);
	wait_taken();
	flush_all();
	before = count_of("a", 100);
	assert_int_equal(gw_series_erase(gw_series_running(), gw_span_text("a"), T0 + 700 * SECOND, T0 + 1300 * SECOND, &erased), GW_OK);
	assert_int_equal(gw_series_erase(gw_series_running(), gw_span_text("b"), INT64_MIN, INT64_MAX, &second), GW_OK);
	assert_true(erased > 1000 && second > 1000);
	agreed = agree(0);
	assert_int_equal(agreed.missing, erased + second);
	assert_int_equal(agreed.extra, 0);
	assert_int_equal(retake().added, erased + second);
	assert_int_equal(agree(0).missing, 0);
	assert_int_equal(count_of("a", 100), before);
	part_stop();
}

static void
what_the_journal_never_had_is_told(void **state)
{
	struct gw_series_info info = { .signal = 100, .device = "a" };
	struct gw_point point = { .reading = reading_of(100, T0 + 10 * SECOND + 1, 42), .received_us = T0 + 100 * SECOND };
	struct gw_adopt *adopt;
	uint64_t added = 0;

	(void)state;
	part_start();
	fill("a", T0, 500);
	wait_taken();
	flush_all();
	assert_int_equal(gw_adopt_begin(gw_series_running(), &adopt), GW_OK);
	assert_int_equal(gw_adopt_put(adopt, &info, &point, 1, 0), GW_OK);
	assert_int_equal(gw_adopt_end(adopt, &added), GW_OK);
	assert_int_equal(added, 1);
	assert_int_equal(agree(0).extra, 1);
	part_stop();
}

// ---- Damage ----

static void
path_of(char path[600])
{
	snprintf(path, 600, "%s/series/data.mdb", store_dir);
}

// One bit in each chunk that has pages of its own; how many that were.
static size_t
damage_chunks(void)
{
	char path[600];
	uint8_t head[16], byte;
	size_t count = 0;
	int fd;

	path_of(path);
	assert_true((fd = open(path, O_RDWR)) >= 0);
	for (off_t page = 2; pread(fd, head, sizeof(head), page * 4096) == (ssize_t)sizeof(head); page++) {
		uint64_t number;

		memcpy(&number, head, 8);
		if ((head[10] & 0x04) == 0 || number != (uint64_t)page)
			continue;
		assert_int_equal(pread(fd, &byte, 1, page * 4096 + 200), 1);
		byte ^= 0x10;
		assert_int_equal(pwrite(fd, &byte, 1, page * 4096 + 200), 1);
		count++;
	}
	close(fd);
	return count;
}

static void
damaged_chunks_are_made_anew(void **state)
{
	size_t before, waves;
	struct gw_series_verified verified;

	(void)state;
	part_start();
	fill("a", T0, 4000);
	wait_taken();
	flush_all();
	before = count_of("a", 100);
	waves = count_of("a", 200);
	part_stop();
	assert_true(damage_chunks() > 4);
	part_start();
	wait_taken();
	assert_int_equal(gw_series_verify(gw_series_running(), NULL, NULL, &verified), GW_OK);
	assert_true(verified.damaged > 2);
	assert_true(agree(verified.damaged).missing > 1000);
	assert_true(retake().added > 1000);
	assert_int_equal(agree(0).missing, 0);
	assert_int_equal(count_of("a", 100), before);
	assert_int_equal(count_of("a", 200), waves);
	part_stop();
}

// ---- A store that cannot be opened ----

static void
break_tree(void)
{
	char path[600];
	uint8_t head[16], zeros[512] = { 0 };
	int fd;

	path_of(path);
	assert_true((fd = open(path, O_RDWR)) >= 0);
	for (off_t page = 2; pread(fd, head, sizeof(head), page * 4096) == (ssize_t)sizeof(head); page++)
		if ((head[10] & 0x03) != 0)
			assert_int_equal(pwrite(fd, zeros, sizeof(zeros), page * 4096), (ssize_t)sizeof(zeros));
	close(fd);
	snprintf(path, sizeof(path), "%s/series/open", store_dir); // as a gateway that was killed leaves it
	assert_true((fd = open(path, O_WRONLY | O_CREAT, 0600)) >= 0);
	close(fd);
}

static const char *
state_of(char text[32])
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *object = yyjson_mut_obj(doc);

	gw_series_part.status(part, doc, object);
	snprintf(text, 32, "%s", yyjson_mut_get_str(yyjson_mut_obj_get(object, "state")));
	yyjson_mut_doc_free(doc);
	return text;
}

static enum gw_error
remove_file(void *arg, struct gw_why *why)
{
	char path[600];

	(void)why;
	assert_null(gw_series_running());
	path_of(path);
	++*(int *)arg;
	return unlink(path) == 0 ? GW_OK : GW_E_SYSTEM;
}

static void
a_damaged_store_stops_nothing(void **state)
{
	struct gw_why why = { "" };
	char text[32];
	size_t before;
	int done = 0;

	(void)state;
	part_start();
	fill("a", T0, 1000);
	wait_taken();
	flush_all();
	before = count_of("a", 100);
	part_stop();
	break_tree();
	part_start(); // it starts all the same
	assert_null(gw_series_running());
	assert_string_equal(state_of(text), "damaged");
	fill("a", T0 + 1000 * SECOND, 100);
	assert_int_equal(gw_series_outside(remove_file, &done, &why), GW_OK);
	assert_int_equal(done, 1);
	wait_taken();
	assert_string_equal(state_of(text), "running");
	assert_true(count_of("a", 100) > before);
	assert_int_equal(agree(0).missing, 0);
	part_stop();
	assert_int_equal(gw_series_outside(remove_file, &done, &why), GW_E_NOT_FOUND);
}

// A file with damaged chunks and a damaged leaf gives the rest.
static void
what_can_be_read_is_salvaged(void **state)
{
	struct gw_series_salvaged salvaged;
	struct gw_series_verified verified;
	char path[600], aside[600];
	struct gw_why why = { "" };
	size_t before, damaged;
	int done = 0, fd;

	(void)state;
	part_start();
	fill("a", T0, 2000);
	fill("b", T0, 2000);
	wait_taken();
	flush_all();
	before = count_of("a", 100) + count_of("b", 100) + count_of("a", 101) + count_of("b", 101) + count_of("a", 200) + count_of("b", 200);
	part_stop();
	path_of(path);
	snprintf(aside, sizeof(aside), "%s/aside.mdb", store_dir);
	assert_int_equal(rename(path, aside), 0);
	part_start();
	// An empty store that does not follow: what is salvaged is seen alone.
	wait_taken();
	assert_int_equal(gw_series_outside(remove_file, &done, &why), GW_OK);
	wait_taken();
	assert_true((fd = open(aside, O_RDONLY)) >= 0);
	assert_int_equal(gw_series_verify_file(fd, NULL, &verified, &why), GW_OK);
	close(fd);
	assert_int_equal(verified.readings, before);
	assert_int_equal(verified.damaged, 0);
	assert_int_equal(gw_series_salvage(gw_series_running(), aside, NULL, &salvaged, &why), GW_OK);
	assert_int_equal(salvaged.readings, before);
	flush_all();
	assert_int_equal(agree(0).missing + agree(0).extra, 0);
	// And damaged.
	assert_int_equal(rename(aside, path), 0);
	damaged = damage_chunks();
	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(gw_series_salvage(gw_series_running(), aside, NULL, &salvaged, &why), GW_OK);
	assert_true(salvaged.damaged > 0 && salvaged.damaged <= damaged + 1);
	part_stop();
}

#define OVERLAP 300

// Readings [first, first + count), a second each, as a chunk of their own, whatever is there.
static void
file_chunk(struct gw_series_store *store, struct gw_series *series, int first, int count)
{
	static struct gw_point points[OVERLAP];

	for (int i = 0; i < count; i++)
		points[i] = (struct gw_point){ .reading = { .signal = 7, .time_us = T0 + (first + i) * SECOND, .type = GW_VALUE_DECIMAL, .unit = 1,
			.kind = GW_KIND_MEASUREMENT, .decimal = { first + i, 0 } }, .received_us = T0 + (first + i) * SECOND };
	assert_int_equal(gw_series_put(store, series, points, (size_t)count, NULL), GW_OK);
}

// Chunks that overlap are a fault of whoever wrote them; what is in them was received all the same.
static void
overlapping_chunks_are_taken_over_whole(void **state)
{
	const struct gw_series_options one = { .dir = store_dir, .budget_bytes = 32u << 20 };
	struct gw_series_salvaged salvaged;
	struct gw_series_verified verified;
	struct gw_series_store *store;
	struct gw_series_cursor *cursor;
	const struct gw_point *point;
	struct gw_series_info info;
	struct gw_series *series;
	char path[600], aside[600];
	struct gw_why why = { "" };
	int seen = 0, fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/over", store_dir);
	assert_int_equal(mkdir(path, 0700), 0);
	struct gw_series_options options = one;
	options.dir = path;
	assert_int_equal(gw_series_open(&options, &store, &why), GW_OK);
	pthread_mutex_lock(&store->write);
	assert_int_equal(gw_series_begin(store), GW_OK);
	pthread_mutex_lock(&store->lock);
	series = gw_series_make(store, gw_series_device_make(store, gw_span_text("o")), 7, 0, 0);
	pthread_mutex_unlock(&store->lock);
	assert_non_null(series);
	assert_int_equal(gw_series_row_put(store, store->txn, series), GW_OK);
	file_chunk(store, series, 0, OVERLAP);
	file_chunk(store, series, OVERLAP / 2, OVERLAP);
	assert_int_equal(gw_series_commit(store, 0), GW_OK);
	pthread_mutex_unlock(&store->write);
	gw_series_close(store);
	snprintf(aside, sizeof(aside), "%s/over/data.mdb", store_dir);
	assert_true((fd = open(aside, O_RDONLY)) >= 0);
	assert_int_equal(gw_series_verify_file(fd, NULL, &verified, &why), GW_OK);
	close(fd);
	assert_int_equal(verified.damaged, 1); // it is told where nothing is mended
	part_start();
	assert_int_equal(gw_series_salvage(gw_series_running(), aside, NULL, &salvaged, &why), GW_OK);
	assert_int_equal(salvaged.damaged, 0);
	assert_int_equal(salvaged.added, OVERLAP / 2 * 3);
	assert_true(gw_series_find(gw_series_running(), gw_span_text("o"), 7, 0, &info));
	assert_int_equal(gw_series_read(gw_series_running(), info.id, INT64_MIN, INT64_MAX, &cursor), GW_OK);
	for (; gw_series_next(cursor, &point) == GW_OK; seen++)
		assert_int_equal(point->reading.decimal.mantissa, seen);
	gw_series_end(cursor);
	assert_int_equal(seen, OVERLAP / 2 * 3);
	part_stop();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)
		TEST(they_agree), TEST(what_is_missing_is_told_and_put_back), TEST(what_the_journal_never_had_is_told), TEST(damaged_chunks_are_made_anew),
		TEST(a_damaged_store_stops_nothing), TEST(what_can_be_read_is_salvaged), TEST(overlapping_chunks_are_taken_over_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
