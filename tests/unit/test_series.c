// SPDX-License-Identifier: Apache-2.0
// The series store against a naive model: readings in any order, twice, late, revised, over restarts and kills, give back exactly the set.
#include "series_help.h"

#include "gateway/clock.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

// ---- The model: per series an array in order, each place once ----

#define DEVICES 3
#define SIGNALS 3
#define MODEL_MAX 60000

struct kept {
	int64_t time_us, value, received_us;
	uint32_t sequence;
	uint16_t revision;
	char text[16];
};
static struct kept model[DEVICES * SIGNALS][MODEL_MAX];
static size_t model_count[DEVICES * SIGNALS];
static uint64_t seed;

static uint64_t
draw(uint64_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (seed >> 33) % below;
}

static int
compare_kept(const void *left, const void *right)
{
	const struct kept *a = left, *b = right;

	if (a->time_us != b->time_us)
		return a->time_us < b->time_us ? -1 : 1;
	if (a->sequence != b->sequence)
		return a->sequence < b->sequence ? -1 : 1;
	return (a->revision > b->revision) - (a->revision < b->revision);
}

// What the journal does: a value that is known changes nothing, another one is the next revision. False: nothing new.
static bool
model_add(size_t which, struct kept *add)
{
	struct kept *at = model[which];

	for (size_t i = 0; i < model_count[which]; i++) {
		if (at[i].time_us != add->time_us || at[i].sequence != add->sequence)
			continue;
		if (at[i].value == add->value)
			return false;
		if (at[i].revision >= add->revision)
			add->revision = at[i].revision + 1;
	}
	assert_true(model_count[which] < MODEL_MAX);
	at[model_count[which]++] = *add;
	return true;
}

static void
device_name(size_t which, char name[16])
{
	snprintf(name, 16, "device-%c", (char)('a' + which / SIGNALS));
}

static void
check_point(const struct kept *want, const struct gw_point *point, const char *device)
{
	const struct gw_reading *reading = &point->reading;

	assert_int_equal(reading->time_us, want->time_us);
	assert_int_equal(reading->sequence, want->sequence);
	assert_int_equal(reading->revision, want->revision);
	assert_int_equal(reading->type, GW_VALUE_DECIMAL);
	assert_int_equal(reading->decimal.mantissa, want->value);
	assert_int_equal(reading->decimal.exponent, -1);
	assert_int_equal(point->received_us, gw_chunk_received(want->time_us, want->received_us, GW_CHUNK_RECEIVED_PLACES));
	assert_true(gw_span_is(reading->received, want->text));
	assert_true(gw_span_is(reading->unit_received, "bpm"));
	assert_true(gw_span_is(point->origin.principal, device));
	assert_true(gw_span_is(point->origin.route, "bedside/readings"));
	assert_int_equal(point->origin.auth, GW_AUTH_PASSWORD);
}

static void
check_range(struct gw_series_store *store, size_t which, int64_t from_us, int64_t to_us)
{
	struct gw_series_cursor *cursor;
	const struct gw_point *point;
	struct gw_series_info info;
	size_t i = 0;
	char device[16];

	device_name(which, device);
	if (model_count[which] == 0)
		return;
	assert_true(gw_series_find(store, gw_span_text(device), 100 + (uint32_t)(which % SIGNALS), 0, &info));
	assert_int_equal(gw_series_read(store, info.id, from_us, to_us, &cursor), GW_OK);
	for (; i < model_count[which] && model[which][i].time_us < from_us; i++) {}
	for (; i < model_count[which] && model[which][i].time_us < to_us; i++) {
		assert_int_equal(gw_series_next(cursor, &point), GW_OK);
		check_point(&model[which][i], point, device);
	}
	assert_int_equal(gw_series_next(cursor, &point), GW_E_NOT_FOUND);
	gw_series_end(cursor);
}

static int64_t
moment_of(struct gw_clock_pieces *pieces, const struct kept *kept)
{
	struct gw_reading reading = { .time_us = kept->time_us };
	int64_t received_us = gw_chunk_received(kept->time_us, kept->received_us, GW_CHUNK_RECEIVED_PLACES);
	struct gw_clock_guess guess;

	gw_clock_pieces_guess(pieces, received_us, &guess);
	return gw_clock_moment(&guess, &reading, received_us);
}

// Of all of them that with the latest moment, and of that the last revision.
static const struct kept *
model_newest(size_t which, struct gw_clock_pieces *pieces)
{
	const struct kept *all = model[which], *best = &all[0];
	int64_t best_us = moment_of(pieces, best);

	for (size_t i = 1; i < model_count[which]; i++) {
		int64_t us = moment_of(pieces, &all[i]);

		if (us < best_us && (all[i].time_us != best->time_us || all[i].sequence != best->sequence))
			continue;
		best = &all[i];
		best_us = us > best_us ? us : best_us;
	}
	return best;
}

static void
check_last(struct gw_series_store *store, size_t which)
{
	struct gw_series_value value = { 0 };
	struct gw_clock_pieces pieces;
	char device[16];

	device_name(which, device);
	if (model_count[which] == 0)
		return;
	(void)gw_series_clock(store, gw_span_text(device), &pieces);
	assert_int_equal(gw_series_last(store, series_id(store, device, 100 + (uint32_t)(which % SIGNALS)), &value), GW_OK);
	check_point(model_newest(which, &pieces), &value.point, device);
	gw_series_value_free(&value);
}

static void
check_all(struct gw_series_store *store)
{
	for (size_t which = 0; which < DEVICES * SIGNALS; which++) {
		qsort(model[which], model_count[which], sizeof(struct kept), compare_kept);
		check_range(store, which, INT64_MIN, INT64_MAX);
		check_last(store, which);
		for (int i = 0; i < 5 && model_count[which] > 0; i++) {
			int64_t from_us = model[which][draw(model_count[which])].time_us + (int64_t)draw(3) - 1;

			check_range(store, which, from_us, from_us + (int64_t)draw(3000000000));
		}
	}
}

static void
check_sound(struct gw_series_store *store)
{
	struct gw_series_verified verified;
	struct gw_series_stats stats;

	assert_int_equal(gw_series_verify(store, NULL, NULL, &verified), GW_OK);
	gw_series_stats(store, &stats);
	assert_int_equal(verified.damaged, 0);
	assert_int_equal(verified.chunks, stats.chunks);
	assert_int_equal(verified.readings, stats.readings);
	assert_int_equal(verified.bytes, stats.bytes);
}

// ---- What comes ----

static int64_t now_us[DEVICES * SIGNALS];

// A record of a few readings of one series: mostly the next, now and then late, twice, with an equal time or another value.
static void
add_record(void)
{
	size_t which = (size_t)draw(DEVICES * SIGNALS), count = 1 + (size_t)draw(draw(10) == 0 ? 300 : 4), n = 0;
	struct gw_reading readings[300];
	static char texts[300][16];
	char device[16];
	bool late = draw(8) == 0;
	int64_t at_us = late ? T0 + (int64_t)draw(20000) * 1000000 : now_us[which];
	int64_t received_us = now_us[which] + (int64_t)draw(2000000);

	device_name(which, device);
	for (size_t i = 0; i < count; i++) {
		struct kept add = { .time_us = at_us, .value = 700 + (int64_t)draw(late ? 3 : 50), .received_us = received_us,
			.sequence = draw(20) == 0 ? (uint32_t)draw(3) : 0 };

		at_us += draw(6) == 0 ? 0 : 1000000 + (draw(4) == 0 ? (int64_t)draw(1000) : 0);
		if (!model_add(which, &add))
			continue;
		snprintf(texts[n], sizeof(texts[n]), draw(9) == 0 ? "%g" : "%.1f", (double)add.value / 10);
		memcpy(model[which][model_count[which] - 1].text, texts[n], sizeof(texts[n]));
		readings[n] = (struct gw_reading){ .signal = 100 + (uint32_t)(which % SIGNALS), .time_us = add.time_us, .sequence = add.sequence,
			.revision = add.revision, .flags = add.revision > 0 ? GW_FLAG_REVISION : 0, .type = GW_VALUE_DECIMAL, .unit = 9,
			.decimal = { add.value, -1 }, .received = gw_span_text(texts[n]), .unit_received = gw_span_text("bpm") };
		n++;
	}
	if (!late && at_us > now_us[which])
		now_us[which] = at_us;
	if (n > 0)
		record_add(device, received_us, readings, n);
}

static void
begin(uint64_t with)
{
	seed = with;
	memset(model_count, 0, sizeof(model_count));
	for (size_t i = 0; i < DEVICES * SIGNALS; i++)
		now_us[i] = T0;
}

static void
any_order_over_restarts(void **state)
{
	struct gw_series_store *store = series_open();

	(void)state;
	begin(1);
	for (int round = 0; round < 60; round++) {
		for (int i = 0; i < 200; i++)
			add_record();
		series_take_rest(store);
		if (draw(2) == 0)
			series_flush(store, draw(2) == 0 ? 0 : -1);
		if (round % 10 == 9)
			check_all(store);
		if (draw(3) == 0) {
			gw_series_close(store);
			store = series_open();
			series_take_rest(store);
		}
		// The same again, which a crash between two stores can bring.
		if (draw(5) == 0 && records_last > 300)
			series_take_upto(store, records_last - 300, records_last);
	}
	check_all(store);
	series_flush(store, 0);
	check_all(store);
	check_sound(store);
	assert_int_equal(gw_series_cursor(store), records_last);
	gw_series_close(store);
	store = series_open();
	check_all(store);
	gw_series_close(store);
}

static void
takes_until_killed(void)
{
	struct gw_series_store *store = series_open();
	bool more;

	for (uint64_t at = gw_series_cursor(store) + 1;; at++) {
		if (at > records_last)
			pause();
		series_take_upto(store, at, at);
		if (at % 100 == 0 && gw_series_flush(store, at % 300 == 0 ? 0 : -1, &more) != GW_OK)
			_exit(1);
	}
}

static void
kills_lose_nothing(void **state)
{
	struct gw_series_store *store;

	(void)state;
	begin(2);
	for (int i = 0; i < 6000; i++)
		add_record();
	for (int round = 0; round < 25; round++) {
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0)
			takes_until_killed();
		usleep((useconds_t)(1000 + draw(40000)));
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
	}
	store = series_open();
	series_take_rest(store);
	check_all(store);
	series_flush(store, 0);
	check_all(store);
	check_sound(store);
	gw_series_close(store);
}

static void
cursor_waits_for_tails(void **state)
{
	struct gw_series_store *store = series_open();
	struct gw_reading reading = reading_of(100, T0, 1);
	bool more;

	(void)state;
	record_add("slow", gw_clock_wall_us(), &reading, 1);
	for (int i = 0; i < 6000; i++) {
		reading = reading_of(101, T0 + i * INT64_C(1000000), i % 7);
		record_add("fast", gw_clock_wall_us(), &reading, 1);
	}
	series_take_rest(store);
	assert_int_equal(gw_series_flush(store, -1, &more), GW_OK);
	assert_int_equal(gw_series_cursor(store), 0); // the slow one's reading is in no chunk yet
	series_flush(store, 0);
	assert_int_equal(gw_series_cursor(store), records_last);
	gw_series_close(store);
}

static void
another_journal_brings_the_same(void **state)
{
	struct gw_series_store *store = series_open();

	(void)state;
	begin(3);
	for (int i = 0; i < 1000; i++)
		add_record();
	series_take_rest(store);
	series_flush(store, 0);
	gw_series_close(store);
	records_incarnation++;
	store = series_open();
	assert_int_equal(gw_series_cursor(store), 0);
	series_take_rest(store);
	series_flush(store, 0);
	check_all(store);
	check_sound(store);
	gw_series_close(store);
}

// The journal had forgotten the first value when the second came: both are kept.
static void
forgotten_values_become_revisions(void **state)
{
	struct gw_series_store *store = series_open();
	struct gw_series_cursor *cursor;
	const struct gw_point *point;
	struct gw_reading reading;

	(void)state;
	for (int pass = 0; pass < 2; pass++)
		for (int64_t value = 5; value < 8; value++) {
			reading = reading_of(100, T0, value);
			record_add("d", T0, &reading, 1);
			series_take_rest(store);
			if (value != 6)
				series_flush(store, 0);
		}
	assert_int_equal(gw_series_read(store, series_id(store, "d", 100), T0, T0 + 1, &cursor), GW_OK);
	for (int64_t value = 5; value < 8; value++) {
		assert_int_equal(gw_series_next(cursor, &point), GW_OK);
		assert_int_equal(point->reading.decimal.mantissa, value);
		assert_int_equal(point->reading.revision, value - 5);
		assert_int_equal(point->reading.flags, value > 5 ? GW_FLAG_REVISION : 0);
	}
	assert_int_equal(gw_series_next(cursor, &point), GW_E_NOT_FOUND);
	gw_series_end(cursor);
	gw_series_close(store);
}

// Days that come late, behind readings of today, cost about as much as in order.
static void
backfill_is_not_quadratic(void **state)
{
	struct gw_series_store *store = series_open();
	struct gw_reading readings[1000];
	struct gw_series_stats stats;

	(void)state;
	readings[0] = reading_of(100, T0 + INT64_C(86400000000) * 30, 1);
	record_add("d", T0, readings, 1);
	series_take_rest(store);
	series_flush(store, 0);
	for (int i = 0; i < 300; i++) {
		for (int k = 0; k < 1000; k++)
			readings[k] = reading_of(100, T0 + (i * INT64_C(1000) + k) * 1000000, k % 90);
		record_add("d", T0, readings, 1000);
		series_take_rest(store);
		series_flush(store, -1);
	}
	series_flush(store, 0);
	gw_series_stats(store, &stats);
	assert_int_equal(stats.readings, 300001);
	assert_true(stats.merged <= 300); // a chunk is merged with once or twice, not with every record
	assert_int_equal(series_count(store, series_id(store, "d", 100), INT64_MIN, INT64_MAX), 300001);
	check_sound(store);
	gw_series_close(store);
}

static void
every_kind_of_value(void **state)
{
	struct gw_series_store *store = series_open();
	int32_t samples[250];
	struct gw_reading kinds[5] = {
		{ .signal = 1, .time_us = T0, .type = GW_VALUE_SAMPLES, .samples = { 4000000, 250, -3, (const uint8_t *)samples } },
		{ .signal = 2, .time_us = T0, .type = GW_VALUE_TEXT, .text = gw_span_text("\xc3\xa4rztlich"), .received = gw_span_text("\xc3\xa4rztlich") },
		{ .signal = 3, .time_us = T0, .type = GW_VALUE_CODE, .code = 196614, .received = gw_span_text("on") },
		{ .signal = 4, .time_us = T0, .type = GW_VALUE_NONE, .flags = GW_FLAG_NOT_AVAILABLE, .received = gw_span_text("-999") },
		{ .signal = 5, .time_us = INT64_MIN, .type = GW_VALUE_DECIMAL, .decimal = { INT64_MIN, 7 }, .sequence = UINT32_MAX, .kind = GW_KIND_SETTING },
	};

	(void)state;
	for (int i = 0; i < 250; i++)
		samples[i] = i == 7 ? GW_SAMPLE_MISSING : i * i;
	record_add("d", T0, kinds, 5);
	series_take_rest(store);
	for (int pass = 0; pass < 3; pass++) {
		for (uint32_t i = 0; i < 5; i++) {
			struct gw_series_value value = { 0 };
			struct gw_reading *got = &value.point.reading;

			assert_int_equal(gw_series_last(store, series_id(store, "d", kinds[i].signal), &value), GW_OK);
			assert_true(gw_reading_same_value(got, &kinds[i]));
			assert_true(gw_span_equal(got->received, kinds[i].received));
			assert_int_equal(got->time_us, kinds[i].time_us);
			assert_int_equal(got->sequence, kinds[i].sequence);
			assert_int_equal(got->kind, kinds[i].kind);
			assert_int_equal(got->flags, kinds[i].flags);
			gw_series_value_free(&value);
			assert_int_equal(series_count(store, series_id(store, "d", kinds[i].signal), INT64_MIN, INT64_MAX), 1);
		}
		if (pass == 0)
			series_flush(store, 0);
		if (pass == 1) {
			gw_series_close(store);
			store = series_open();
		}
	}
	gw_series_close(store);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, series_make, series_finish)
		TEST(every_kind_of_value), TEST(forgotten_values_become_revisions), TEST(cursor_waits_for_tails), TEST(backfill_is_not_quadratic),
		TEST(another_journal_brings_the_same), TEST(any_order_over_restarts), TEST(kills_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
