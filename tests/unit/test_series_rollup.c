// SPDX-License-Identifier: Apache-2.0
// Roll-ups: steps put together from them are those that the readings themselves come to, whatever came, came late, was revised, erased, retained or damaged.
#include "series_help.h"

#include "gateway/clock.h"
#include "gateway/nomenclature.h"
#include "gateway/series_query.h"
#include "gateway/series_rollup.h"

#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECOND INT64_C(1000000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define POINTS_MAX 400000

static struct gw_series_store *store;
static uint32_t signal_code;
static uint64_t seed;

static uint64_t
draw(uint64_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (seed >> 33) % below;
}

static int
open_all(void **state)
{
	struct gw_why why = { "" };

	if (series_make(state) != 0 || gw_nomenclature_open(&why) != GW_OK)
		return -1;
	signal_code = gw_signal_by_name(gw_span_text("heart_rate"))->code;
	store = series_open();
	return 0;
}

static int
close_all(void **state)
{
	gw_series_close(store);
	return series_finish(state);
}

// ---- What comes ----

static int64_t now_us; // where the series is

static struct gw_reading
reading_at(int64_t time_us)
{
	static const uint16_t flags[] = { 0, 0, 0, 0, 0, GW_FLAG_QUESTIONABLE, GW_FLAG_NOT_AVAILABLE, GW_FLAG_INVALID, GW_FLAG_TEST };
	struct gw_reading reading = { .signal = signal_code, .time_us = time_us, .type = GW_VALUE_DECIMAL, .decimal = { 600 + (int64_t)draw(80), -1 } };

	reading.flags = draw(5) == 0 ? flags[draw(9)] : 0;
	if (reading.flags & GW_FLAG_NOT_AVAILABLE)
		reading.type = GW_VALUE_NONE;
	if (draw(500) == 0)
		reading.decimal = (struct gw_decimal){ (int64_t)draw(1000000) - 500000, (int16_t)-(int)draw(5) };
	return reading;
}

static void
send(struct gw_reading *readings, size_t count)
{
	record_add("d", readings[count - 1].time_us + (int64_t)draw(3) * SECOND, readings, count);
}

// A run of readings, every few seconds.
static int64_t
add_run(int64_t from_us, int64_t every_us, int count)
{
	struct gw_reading readings[500];
	int filled = 0;

	for (int i = 0; i < count; i++, from_us += every_us) {
		readings[filled++] = reading_at(from_us + (draw(20) == 0 ? (int64_t)draw((uint64_t)every_us) : 0));
		if (filled == 500 || i + 1 == count) {
			send(readings, (size_t)filled);
			filled = 0;
		}
	}
	return from_us;
}

static void
add_late(void)
{
	for (uint64_t i = draw(20); i > 0; i--) {
		struct gw_reading reading = reading_at(T0 + (int64_t)draw((uint64_t)(now_us - T0)));

		reading.sequence = draw(4) == 0;
		send(&reading, 1);
	}
}

// Of readings that are there, as the journal numbers them.
static void
add_revisions(void)
{
	for (uint64_t i = draw(6); i > 0; i--) {
		struct gw_reading reading = reading_at(T0 + (int64_t)draw((uint64_t)((now_us - T0) / (10 * SECOND))) * 10 * SECOND);

		reading.revision = (uint16_t)(1 + draw(3));
		reading.flags |= GW_FLAG_REVISION;
		send(&reading, 1);
	}
}

static void
again(void)
{
	for (uint64_t i = draw(3); i > 0 && records_last > 0; i--) {
		struct gw_span old = records[1 + draw(records_last)];
		uint8_t *copy = malloc(old.len);

		memcpy(copy, old.at, old.len);
		records[++records_last] = gw_span(copy, old.len);
	}
}

// ---- What must come out ----

static struct gw_series_step steps[POINTS_MAX];

// By the readings, as the store gives them one by one.
static size_t
model_steps(int64_t from_us, int64_t to_us, int64_t step_us)
{
	struct gw_series_cursor *cursor;
	const struct gw_point *point;
	struct gw_reading last = { 0 };
	bool any = false;
	size_t count = 0;
	long double sum = 0;
	enum gw_error error;

	assert_int_equal(gw_series_read(store, series_id(store, "d", signal_code), from_us, to_us, &cursor), GW_OK);
	do {
		error = gw_series_next(cursor, &point);
		bool revised = error == GW_OK && any && point->reading.time_us == last.time_us && point->reading.sequence == last.sequence;

		if (any && !revised && last.type == GW_VALUE_DECIMAL && !(last.flags & (GW_FLAG_NOT_AVAILABLE | GW_FLAG_INVALID))) {
			double value = gw_rollup_number(&last);
			struct gw_series_step *step = &steps[count - (count > 0)];
			int64_t begin_us = gw_rollup_floor(last.time_us, step_us);

			if (count == 0 || step->from_us != begin_us) {
				step = &steps[count++];
				*step = (struct gw_series_step){ .from_us = begin_us, .first_us = last.time_us, .min = value, .max = value, .first = value };
				sum = 0;
			}
			step->count++;
			step->min = fmin(step->min, value);
			step->max = fmax(step->max, value);
			step->last = value;
			step->last_us = last.time_us;
			step->questionable += (last.flags & GW_FLAG_QUESTIONABLE) != 0;
			step->test += (last.flags & GW_FLAG_TEST) != 0;
			sum += (long double)value;
			step->mean = (double)(sum / (long double)step->count);
		}
		if (error == GW_OK) {
			last = point->reading;
			any = true;
		}
	} while (error == GW_OK);
	assert_int_equal(error, GW_E_NOT_FOUND);
	gw_series_end(cursor);
	return count;
}

static void
same_step(const struct gw_series_step *got, const struct gw_series_step *want)
{
	assert_true(got->from_us == want->from_us);
	assert_int_equal(got->count, want->count);
	assert_int_equal(got->questionable, want->questionable);
	assert_int_equal(got->test, want->test);
	assert_true(got->first_us == want->first_us && got->last_us == want->last_us);
	assert_true(got->min == want->min && got->max == want->max && got->first == want->first && got->last == want->last);
	assert_true(fabs(got->mean - want->mean) <= 1e-12 * fmax(fabs(want->min), fabs(want->max)));
}

static uint64_t
check_query(int64_t from_us, int64_t to_us, int64_t step_us)
{
	struct gw_series_want want = { .device = gw_span_text("d"), .from_us = from_us, .to_us = to_us, .step_us = step_us };
	size_t count = model_steps(from_us, to_us, step_us), at = 0;
	struct gw_series_query_stats stats;
	struct gw_series_query *query;
	struct gw_series_row row;
	struct gw_why why = { "" };
	enum gw_error error;

	if (gw_series_query_open(store, NULL, &want, &query, &why) != GW_OK)
		fail_msg("%s", why.text);
	while ((error = gw_series_query_next(query, &row)) == GW_OK) {
		if (row.series != NULL) {
			assert_true(at < count);
			same_step(row.step, &steps[at++]);
		}
		if (draw(50) == 0) {
			gw_series_query_pause(query);
			gw_series_query_resume(query, store);
		}
	}
	assert_int_equal(error, GW_E_NOT_FOUND);
	assert_int_equal(at, count);
	gw_series_query_stats(query, &stats);
	gw_series_query_close(query);
	return stats.readings;
}

static void
check_queries(int count)
{
	static const int64_t lens[] = { MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, DAY };

	for (int i = 0; i < count; i++) {
		int64_t step_us = lens[draw(6)], from_us = INT64_MIN, to_us = INT64_MAX;

		if (draw(3) > 0)
			from_us = T0 + (int64_t)draw((uint64_t)(now_us - T0));
		if (draw(3) > 0)
			to_us = (from_us == INT64_MIN ? T0 : from_us) + 1 + (int64_t)draw((uint64_t)(4 * DAY));
		if (draw(4) == 0 && from_us != INT64_MIN)
			from_us = gw_rollup_floor(from_us, step_us);
		check_query(from_us, to_us, step_us);
	}
}

static void
print_damage(void *arg, const struct gw_series_info *info, int64_t first_us, const char *words)
{
	(void)arg;
	print_message("%s: at %lld h: %s\n", info->device, (long long)((first_us - T0) / HOUR), words);
}

static uint64_t
check_sound(void)
{
	struct gw_series_verified verified;

	assert_int_equal(gw_series_verify(store, print_damage, NULL, &verified), GW_OK);
	assert_int_equal(verified.damaged, 0);
	return verified.rollups;
}

// ---- Anything in any order ----

static void
erase_some(void)
{
	int64_t from_us = T0 + (int64_t)draw((uint64_t)(now_us - T0)), to_us = from_us + (int64_t)draw((uint64_t)(draw(4) == 0 ? 2 * DAY : HOUR));
	uint64_t erased;

	if (draw(8) == 0)
		to_us = INT64_MAX; // also the newest
	assert_int_equal(gw_series_erase(store, gw_span_text("d"), from_us, to_us, &erased), GW_OK);
}

// The older half goes, by when it was filed.
static void
retain_some(void)
{
	struct gw_series_retention retention = { 0 };
	struct gw_series_stats stats;
	bool more;

	assert_int_equal(gw_series_retain(store, &retention, &more), GW_OK);
	assert_int_equal(gw_series_retain(store, &retention, &more), GW_OK);
	gw_series_stats(store, &stats);
	if (stats.oldest_us == 0 || stats.clock_us - stats.oldest_us < 100)
		return;
	retention.numerics_us = (stats.clock_us - stats.oldest_us) * 2 / 3;
	assert_int_equal(gw_series_retain(store, &retention, &more), GW_OK);
}

static void
reopen(void)
{
	gw_series_close(store);
	store = series_open();
	series_take_rest(store);
}

static void
step_of_life(void)
{
	switch (draw(14)) {
	case 0: case 1: case 2: case 3: case 4: case 5:
		now_us = add_run(now_us, (2 + (int64_t)draw(4) * 3) * SECOND, 1 + (int)draw(6000));
		break;
	case 6:
		now_us += (int64_t)draw((uint64_t)(draw(5) == 0 ? 3 * DAY : 5 * HOUR));
		break;
	case 7: case 8:
		add_late();
		break;
	case 9:
		add_revisions();
		break;
	case 10:
		add_run(T0 + (int64_t)draw((uint64_t)(now_us - T0)), 3 * SECOND, (int)draw(2000) + 1);
		break;
	case 11:
		again();
		break;
	case 12:
		if (draw(4) == 0)
			erase_some();
		break;
	default:
		reopen();
	}
}

static void
steps_are_what_the_readings_come_to(void **state)
{
	uint64_t most = 0;

	(void)state;
	for (uint64_t life = 1; life <= 2; life++) {
		seed = life;
		now_us = T0 + SECOND;
		now_us = add_run(now_us, 5 * SECOND, 1000);
		for (int i = 0; i < 75; i++) {
			step_of_life();
			series_take_rest(store);
			if (draw(2) == 0)
				series_flush(store, draw(3) == 0 ? 0 : -1);
			if (draw(40) == 0)
				retain_some();
			if (i % 15 == 14) {
				uint64_t rollups = check_sound();

				most = rollups > most ? rollups : most;
				check_queries(4);
			}
		}
		check_query(INT64_MIN, INT64_MAX, HOUR);
		gw_series_close(store);
		series_finish(state);
		assert_int_equal(series_make(state), 0);
		store = series_open();
	}
	assert_true(most > 30); // of all levels, or nothing was shown
}

// ---- They are used ----

static void
fill_days(int days)
{
	now_us = T0;
	for (int i = 0; i < days * 24; i++) {
		now_us = add_run(now_us, 5 * SECOND, 720);
		series_take_rest(store);
		series_flush(store, -1);
	}
	series_flush(store, 0);
}

static void
long_ranges_look_at_few_readings(void **state)
{
	(void)state;
	seed = 7;
	fill_days(11);
	assert_true(check_sound() > 50);
	assert_true(check_query(INT64_MIN, INT64_MAX, HOUR) < 6000); // the last hours; of 190,080
	assert_true(check_query(T0 + 3 * DAY + 7, T0 + 9 * DAY + 11, MINUTE) < 6000);
	// Whatever is late is in the next answer, from memory at first.
	for (int i = 0; i < 10; i++) {
		struct gw_reading reading = reading_at(T0 + (i + 1) * DAY - 77);

		reading.type = GW_VALUE_DECIMAL;
		reading.flags = 0;
		reading.decimal = (struct gw_decimal){ 9999, 0 };
		send(&reading, 1);
	}
	series_take_rest(store);
	assert_true(check_query(INT64_MIN, INT64_MAX, DAY) < 60000);
	series_flush(store, 0);
	assert_true(check_query(INT64_MIN, INT64_MAX, DAY) < 6000);
	check_sound();
}

// ---- Damage ----

enum change { FLIP, COUNT_ONE_MORE, DELETE };

// Every n-th block, where the store is closed.
static size_t
change_blocks(enum change change, size_t every)
{
	static struct gw_rollup_block block;
	static uint8_t bytes[GW_ROLLUP_BYTES_MAX];
	uint8_t at[GW_ROLLUP_KEY]; // what lies in the page moves
	size_t seen = 0, changed = 0;
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi table;

	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 8), 0);
	assert_int_equal(mdb_env_open(env, store_dir, MDB_NOSYNC, 0600), 0);
	assert_int_equal(mdb_env_set_mapsize(env, 256 * MB), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "rollups", 0, &table), 0);
	assert_int_equal(mdb_cursor_open(txn, table, &cursor), 0);
	while (mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		if (seen++ % every != 0)
			continue;
		changed++;
		memcpy(bytes, value.mv_data, value.mv_size);
		memcpy(at, key.mv_data, sizeof(at));
		assert_true(gw_rollup_decode(key, value, &block));
		if (change == DELETE) {
			assert_int_equal(mdb_cursor_del(cursor, 0), 0);
			continue;
		}
		if (change == FLIP)
			bytes[draw(value.mv_size)] ^= (uint8_t)(1 << draw(8));
		else if (block.count > 0) {
			block.rows[draw(block.count)].count++;
			value.mv_size = gw_rollup_encode(&block, bytes);
		}
		value.mv_data = bytes;
		key.mv_data = at;
		assert_int_equal(mdb_cursor_put(cursor, &key, &value, MDB_CURRENT), 0);
	}
	mdb_cursor_close(cursor);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	return changed;
}

static void
note_damage(void *arg, const struct gw_series_info *info, int64_t first_us, const char *words)
{
	(void)first_us;
	assert_string_equal(info->device, "d");
	assert_non_null(strstr(words, "roll-up"));
	++*(size_t *)arg;
}

static void
damaged_ones_are_not_served(void **state)
{
	struct gw_series_verified verified;
	struct gw_series_stats stats;
	size_t changed, named = 0;
	bool more = true;

	(void)state;
	seed = 8;
	fill_days(9);
	gw_series_close(store);
	changed = change_blocks(FLIP, 3);
	store = series_open();
	check_queries(5);
	gw_series_stats(store, &stats);
	assert_true(stats.damaged > 0);
	assert_int_equal(gw_series_verify(store, note_damage, &named, &verified), GW_OK);
	assert_int_equal(verified.damaged, changed);
	assert_int_equal(named, changed);
	// Made anew, all is well.
	for (bool anew = true; more; anew = false)
		assert_int_equal(gw_series_rollup(store, anew, &more), GW_OK);
	assert_int_equal(check_sound(), verified.rollups);
	gw_series_close(store);
	changed = change_blocks(COUNT_ONE_MORE, 4);
	store = series_open();
	assert_int_equal(gw_series_verify(store, note_damage, &named, &verified), GW_OK);
	assert_true(verified.damaged >= changed);
}

// A store of the time before roll-ups: whole at once, and made up for.
static void
older_stores_are_taken_over(void **state)
{
	uint64_t rollups, readings;
	bool more = true;

	(void)state;
	seed = 9;
	fill_days(9);
	rollups = check_sound();
	assert_true(gw_series_rolled_up(store));
	gw_series_close(store);
	change_blocks(DELETE, 1);
	store = series_open();
	assert_int_equal(check_sound(), 0);
	readings = check_query(INT64_MIN, INT64_MAX, HOUR);
	assert_true(readings > 80000);
	for (bool anew = true; more; anew = false)
		assert_int_equal(gw_series_rollup(store, anew, &more), GW_OK);
	assert_int_equal(check_sound(), rollups);
	assert_true(check_query(INT64_MIN, INT64_MAX, HOUR) < 6000);
	assert_true(gw_series_rolled_up(store));
}

static void
set_format(uint64_t format)
{
	uint8_t bytes[8];
	MDB_val key = { 6, (void *)(uintptr_t)"format" }, value = { 8, bytes };
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi table;

	gw_put64(bytes, format);
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 8), 0);
	assert_int_equal(mdb_env_open(env, store_dir, MDB_NOSYNC, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "meta", 0, &table), 0);
	assert_int_equal(mdb_put(txn, table, &key, &value, 0), 0);
	assert_int_equal(mdb_dbi_open(txn, "rollups", 0, &table), 0);
	assert_int_equal(mdb_drop(txn, table, format == 1), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static void
format_1_is_read_and_taken_over(void **state)
{
	bool more = true;

	(void)state;
	seed = 10;
	fill_days(3);
	gw_series_close(store);
	set_format(1);
	series_options.read_only = true;
	store = series_open();
	assert_int_equal(check_sound(), 0);
	check_queries(3);
	gw_series_close(store);
	series_options.read_only = false;
	store = series_open();
	assert_false(gw_series_rolled_up(store));
	check_queries(3);
	while (more)
		assert_int_equal(gw_series_rollup(store, false, &more), GW_OK);
	assert_true(gw_series_rolled_up(store));
	assert_true(check_sound() > 10);
	check_queries(3);
}

// ---- Kills ----

static void
child(void)
{
	store = series_open();
	series_take_rest(store);
	for (;;) {
		now_us = add_run(now_us, 2 * SECOND, 2000);
		add_late();
		series_take_rest(store);
		series_flush(store, draw(2) == 0 ? 0 : -1);
		if (draw(6) == 0)
			erase_some();
	}
}

// What was killed anywhere: roll-ups say what the chunks say.
static void
kills_leave_both_or_neither(void **state)
{
	(void)state;
	seed = 11;
	fill_days(4);
	gw_series_close(store);
	for (int i = 0; i < 6; i++) {
		pid_t pid = fork();

		if (pid == 0) {
			seed = 100 + (uint64_t)i;
			child();
		}
		assert_true(pid > 0);
		usleep((useconds_t)(30000 + draw(250000)));
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		store = series_open();
		check_sound();
		now_us = T0 + 20 * DAY;
		check_query(INT64_MIN, INT64_MAX, HOUR);
		check_query(INT64_MIN, INT64_MAX, MINUTE);
		now_us = T0 + 4 * DAY + (i + 1) * DAY;
		gw_series_close(store);
	}
	store = series_open();
}

// ---- Bounds of when it was received ----

static void
add_hours(int64_t from_us, int hours, bool numbers, int64_t delay_us)
{
	struct gw_reading readings[90];

	for (int64_t us = from_us; us < from_us + hours * HOUR; us += 90 * 10 * SECOND) {
		for (int i = 0; i < 90; i++) {
			readings[i] = (struct gw_reading){ .signal = signal_code, .time_us = us + i * 10 * SECOND, .type = GW_VALUE_DECIMAL, .decimal = { 70 + i % 7, 0 } };
			if (!numbers)
				readings[i] = (struct gw_reading){ .signal = signal_code, .time_us = readings[i].time_us, .flags = GW_FLAG_NOT_AVAILABLE };
		}
		record_add("d", readings[89].time_us + delay_us, readings, 90);
	}
	series_take_rest(store);
	series_flush(store, -1);
}

// Blocks that are made of finer ones, whose units without numbers have no rows.
static void
bounds_hold_what_is_no_number(void **state)
{
	static struct gw_rollup_block block;
	int64_t from_us = gw_rollup_floor(T0, gw_rollup_levels[2].block_us) + gw_rollup_levels[2].block_us;
	struct gw_rollup_piece piece;

	(void)state;
	add_hours(from_us, 12, true, SECOND);
	add_hours(from_us + 12 * HOUR, 12, false, SECOND);
	add_hours(from_us + 24 * HOUR, 12, false, 5 * HOUR);
	add_hours(from_us + 36 * HOUR, 24, false, SECOND);
	add_hours(from_us + 60 * HOUR, 8 * 24, true, SECOND);
	series_flush(store, 0);
	for (int level = 1; level < GW_ROLLUP_LEVELS; level++) {
		struct gw_rollup_ask ask = { .id = series_id(store, "d", signal_code), .level = level, .from_us = from_us, .to_us = from_us + DAY, .late_us = INT64_MAX };

		assert_int_equal(gw_rollup_look_once(store, &ask, &block, &piece), GW_OK);
		assert_true(piece.rows && block.level == level && block.from_us == from_us);
		assert_true(block.delay_least <= SECOND && block.delay_most >= 5 * HOUR);
	}
	check_sound();
}

// ---- Blocks by themselves ----

static double
odd_number(void)
{
	static const double odd[] = { 0.0, -0.0, 1e300, -1e300, 1e-300, 0.1, 1.0 / 3, 36.9, 9007199254740993.0, 123456789.987654321 };

	return draw(3) == 0 ? odd[draw(10)] : (double)((int64_t)draw(2000000) - 1000000) / 1000;
}

static void
blocks_come_back(void **state)
{
	static struct gw_rollup_block block, back;
	static uint8_t bytes[GW_ROLLUP_BYTES_MAX];
	uint8_t at[GW_ROLLUP_KEY];

	(void)state;
	seed = 12;
	for (int i = 0; i < 3000; i++) {
		bool tame = draw(2) == 0;
		const struct gw_rollup_level *level = &gw_rollup_levels[block.level = (uint8_t)draw(3)];
		uint64_t rows = (uint64_t)(level->block_us / level->unit_us);
		MDB_val key = { sizeof(at), at }, value = { 0, bytes };

		block.id = (uint32_t)draw(1u << 31);
		block.from_us = ((int64_t)draw(2000) - 1000) * level->block_us;
		block.delay_least = -(int64_t)draw(1000000);
		block.delay_most = (int64_t)draw(1000000000);
		block.count = 0;
		for (uint64_t r = draw(rows); r < rows; r += 1 + draw(5)) {
			struct gw_rollup_row *row = &block.rows[block.count++];

			*row = (struct gw_rollup_row){ .from_us = block.from_us + (int64_t)r * level->unit_us, .count = 1 + draw(4000), .questionable = draw(3),
				.test = draw(3) };
			row->first_us = row->from_us + (int64_t)draw((uint64_t)level->unit_us);
			row->last_us = row->first_us + (int64_t)draw((uint64_t)(row->from_us + level->unit_us - row->first_us));
			row->min = tame ? (double)(300 + draw(50)) / 10 : odd_number();
			row->max = tame ? row->min + 2 : odd_number();
			row->first = tame ? row->max : odd_number();
			row->last = tame ? row->min : odd_number();
			row->sum = tame ? (double)(row->count * 330) / 10 : odd_number();
		}
		value.mv_size = gw_rollup_encode(&block, bytes);
		gw_rollup_key(block.id, block.level, block.from_us, at);
		assert_true(gw_rollup_decode(key, value, &back));
		assert_int_equal(back.count, block.count);
		assert_true(back.delay_least == block.delay_least && back.delay_most == block.delay_most);
		for (uint32_t r = 0; r < block.count; r++)
			if (tame)
				assert_memory_equal(&back.rows[r], &block.rows[r], offsetof(struct gw_rollup_row, min));
			else // but for the sum of numbers that are none of its own
				assert_memory_equal(&back.rows[r].min, &block.rows[r].min, 16);
		bytes[draw(value.mv_size)] ^= (uint8_t)(1 << draw(8));
		assert_false(gw_rollup_decode(key, value, &back));
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(blocks_come_back),
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
		TEST(steps_are_what_the_readings_come_to), TEST(long_ranges_look_at_few_readings), TEST(damaged_ones_are_not_served),
		TEST(older_stores_are_taken_over), TEST(format_1_is_read_and_taken_over), TEST(kills_leave_both_or_neither), TEST(bounds_hold_what_is_no_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
