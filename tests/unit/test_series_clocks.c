// SPDX-License-Identifier: Apache-2.0
// Whose a stored reading is when the device's clock is wrong: devices whose every reading was taken at a known moment, and what queries say of them.
// A reading's value is its number; moments[] has the truth.
#include "tests/unit/patients_help.h"

#include "series_help.h"

#include "gateway/series_query.h"
#include "gateway/series_whose.h"

#include <lmdb.h>
#include <stdio.h>

#define SECOND INT64_C(1000000)
#define HOUR (3600 * SECOND)
#define SIGNAL 147842
#define MOMENTS_MAX 60000

static int64_t moments[MOMENTS_MAX];
static size_t moment_count;
static struct gw_series_store *store;
static uint64_t seed;

// The device: the hub's clock less its own, now.
static int64_t offset_us;

static uint64_t
draw(uint64_t below)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (seed >> 33) % below;
}

static int
open_all(void **state)
{
	static char dir[600];

	if (hub_open(state) != 0)
		return -1;
	snprintf(dir, sizeof(dir), "%s/series", store_dir);
	series_options = (struct gw_series_options){ .dir = dir, .budget_bytes = 256 * MB };
	records_last = 0;
	moment_count = 0;
	seed = 1;
	store = series_open();
	return 0;
}

static int
close_all(void **state)
{
	gw_series_close(store);
	for (uint64_t i = 1; i <= records_last; i++)
		free((void *)(uintptr_t)records[i].at);
	return hub_close(state);
}

// ---- The device ----

static void
frame_of(const char *device, int64_t moment_us, int64_t received_us, uint16_t flags)
{
	struct gw_reading reading = { .signal = SIGNAL, .time_us = moment_us - offset_us, .flags = flags, .type = GW_VALUE_DECIMAL,
		.decimal = { (int64_t)moment_count, 0 } };

	if (flags & GW_FLAG_NO_DEVICE_TIME)
		reading.time_us = received_us;
	assert_true(moment_count < MOMENTS_MAX);
	moments[moment_count++] = moment_us;
	record_add(device, received_us, &reading, 1);
}

// Live: with a latency of up to a second.
static void
tick(int64_t moment_us)
{
	frame_of("m1", moment_us, moment_us + 50000 + (int64_t)draw(900000), 0);
}

static void
ticks(int64_t from_us, int64_t to_us, int64_t every_us)
{
	for (int64_t us = from_us; us < to_us; us += every_us)
		tick(us);
}

// ---- The patients, and who has what ----

// Patients 0, 1, 2... one after the other in the bed where m1 stands.
static int64_t changes[64];
static size_t change_count;

static void
told_patients(const int64_t *minutes, size_t count)
{
	static char names[64][24];

	told(EVENT(PLACE, 0, DEVICE("m1"), BED("B3")));
	for (size_t i = 0; i < count; i++) {
		snprintf(names[i], sizeof(names[i]), "%zu", i);
		changes[i] = at(minutes[i]);
		if (i > 0)
			told(EVENT(DISCHARGE, minutes[i], WHO(names[i - 1])));
		told(EVENT(ADMIT, minutes[i], WHO(names[i]), BED("B3")));
	}
	change_count = count;
}

static int
patient_at(int64_t us)
{
	int patient = -1;

	for (size_t i = 0; i < change_count; i++)
		patient = us >= changes[i] ? (int)i : patient;
	return patient;
}

static int64_t
away_from_a_change(int64_t us)
{
	int64_t least = INT64_MAX;

	for (size_t i = 0; i < change_count; i++)
		least = llabs(us - changes[i]) < least ? llabs(us - changes[i]) : least;
	return least;
}

static struct gw_series_query_stats
readings_of(int patient, int8_t *whose)
{
	struct gw_series_want want = { .from_us = INT64_MIN, .to_us = INT64_MAX };
	struct gw_identifier identifier = { 0 };
	struct gw_series_query_stats stats;
	struct gw_series_query *query;
	struct gw_series_row row;
	struct gw_why why = { "" };
	char name[24];

	snprintf(name, sizeof(name), "%d", patient);
	identifier.id = gw_span_text(name);
	assert_int_equal(gw_patients_find(hub.patients, &identifier, &want.patient, &why), GW_OK);
	assert_int_equal(gw_series_query_open(store, hub.patients, &want, &query, &why), GW_OK);
	while (gw_series_query_next(query, &row) == GW_OK) {
		size_t i;

		if (row.series == NULL)
			continue;
		i = (size_t)row.point->reading.decimal.mantissa;
		assert_int_equal(whose[i], -1); // nothing is two patients'
		whose[i] = (int8_t)patient;
	}
	gw_series_query_stats(query, &stats);
	gw_series_query_close(query);
	return stats;
}

// Nobody gets what was measured of another; and all that was measured farther than margin_us from a change is given. Returns how many are nobody's.
static size_t
check_all(int64_t margin_us)
{
	static int8_t whose[MOMENTS_MAX];
	size_t missing = 0;

	memset(whose, -1, sizeof(whose));
	for (size_t p = 0; p < change_count; p++)
		(void)readings_of((int)p, whose);
	for (size_t i = 0; i < moment_count; i++) {
		if (whose[i] >= 0 && whose[i] != patient_at(moments[i]))
			fail_msg("reading %zu of minute %.3f was measured of %d and given to %d", i, (double)(moments[i] - T0) / 60e6, patient_at(moments[i]), whose[i]);
		if (whose[i] < 0 && patient_at(moments[i]) >= 0) {
			missing++;
			if (away_from_a_change(moments[i]) > margin_us)
				fail_msg("reading %zu of minute %.3f is nobody's", i, (double)(moments[i] - T0) / 60e6);
		}
	}
	return missing;
}

// ---- Clocks ----

static void
three_hours_off(void **state)
{
	static const int64_t at_minutes[] = { 10, 300, 600 };

	(void)state;
	told_patients(at_minutes, 3);
	offset_us = 3 * HOUR; // behind
	ticks(at(200), at(450), 2 * SECOND);
	offset_us = -3 * HOUR; // ahead
	ticks(at(460), at(700), 2 * SECOND);
	series_take_rest(store);
	assert_in_range(check_all(3 * SECOND), 1, 6);
	series_flush(store, 0);
	assert_in_range(check_all(3 * SECOND), 1, 6);
	gw_series_close(store);
	store = series_open();
	assert_in_range(check_all(3 * SECOND), 1, 6);
}

// The first frames are not sure as they come, and are after a minute; also where a change lies within that minute.
static void
what_came_first_becomes_sure(void **state)
{
	static const int64_t at_minutes[] = { 10, 300 };
	struct gw_series_query_stats stats;
	static int8_t whose[MOMENTS_MAX];

	(void)state;
	told_patients(at_minutes, 2);
	offset_us = 3 * HOUR;
	ticks(at(300) - 20 * SECOND, at(300) + 20 * SECOND, SECOND);
	series_take_rest(store);
	memset(whose, -1, sizeof(whose));
	stats = readings_of(0, whose);
	assert_int_equal(stats.left_out, 20); // came after the change, and whenever measured
	assert_int_equal(stats.doubted, 20);
	ticks(at(300) + 20 * SECOND, at(301), SECOND);
	series_take_rest(store);
	assert_in_range(check_all(7 * SECOND), 1, 14);
	memset(whose, -1, sizeof(whose));
	stats = readings_of(0, whose);
	assert_true(stats.left_out > 0);
	assert_int_equal(stats.doubted, 0);
}

// A device that lost its clock, and is set again: two epochs, and a change of patient in each and between them.
static void
reset_to_1970_and_set_again(void **state)
{
	static const int64_t at_minutes[] = { 10, 250, 300, 350 };

	(void)state;
	told_patients(at_minutes, 4);
	ticks(at(200), at(220), 5 * SECOND);
	offset_us = at(220) - 1000 * SECOND; // 1970, and some minutes
	ticks(at(220), at(300), 5 * SECOND);
	offset_us = 0;
	ticks(at(300) + 2 * SECOND, at(400), 5 * SECOND);
	series_take_rest(store);
	assert_in_range(check_all(3 * SECOND), 1, 6);
}

static void
no_device_time(void **state)
{
	static const int64_t at_minutes[] = { 10, 300 };
	struct gw_clock_pieces pieces;

	(void)state;
	told_patients(at_minutes, 2);
	for (int64_t us = at(200); us < at(400); us += SECOND)
		frame_of("m1", us, us + 100000, GW_FLAG_NO_DEVICE_TIME);
	series_take_rest(store);
	assert_in_range(check_all(7 * SECOND), 1, 14);
	assert_false(gw_series_clock(store, gw_span_text("m1"), &pieces));
}

// 100 ppm for a week: a minute. Few pieces, and it is always known to some seconds.
static void
a_clock_that_drifts(void **state)
{
	int64_t at_minutes[13];
	struct gw_clock_pieces pieces;

	(void)state;
	for (int i = 0; i < 13; i++)
		at_minutes[i] = 10 + i * 200;
	told_patients(at_minutes, 13);
	for (int64_t us = at(0), end = at(2700); us < end; us += 5 * SECOND) {
		offset_us = (us - at(0)) / 10000 - 2 * HOUR;
		tick(us);
	}
	series_take_rest(store);
	assert_in_range(check_all(5 * SECOND), 1, 13 * 2);
	assert_true(gw_series_clock(store, gw_span_text("m1"), &pieces));
	assert_in_range(pieces.count, 2, GW_CLOCK_PIECES_MAX);
	for (size_t i = 0; i < pieces.count; i++)
		assert_true(pieces.at[i].spread_us < 4 * SECOND && !pieces.at[i].loose);
}

// What a device stored while it was away, over a change of patient.
static void
a_backfill_over_a_change(void **state)
{
	static const int64_t at_minutes[] = { 10, 300, 330 };

	(void)state;
	told_patients(at_minutes, 3);
	offset_us = 90 * 60 * SECOND;
	ticks(at(200), at(290), 5 * SECOND);
	for (int64_t i = 0; i < 600; i++) // an hour, ten times as fast
		frame_of("m1", at(290) + i * 6 * SECOND, at(350) + i * SECOND / 2, 0);
	ticks(at(355), at(400), 5 * SECOND);
	series_take_rest(store);
	assert_in_range(check_all(6 * SECOND), 1, 8);
}

// ---- Too many steps ----

static void
a_clock_that_jumps_all_the_time(void **state)
{
	static const int64_t at_minutes[] = { 10, 300, 700, 1100, 1500, 1900 };
	struct gw_clock_pieces pieces;
	size_t missing;

	(void)state;
	told_patients(at_minutes, 6);
	for (int64_t minute = 5, next; minute < 2200; minute = next) {
		next = minute + 3 + (int64_t)draw(25);
		offset_us = (int64_t)draw(8) * HOUR - 4 * HOUR;
		ticks(at(minute), at(next), 15 * SECOND);
	}
	series_take_rest(store);
	assert_true(gw_series_clock(store, gw_span_text("m1"), &pieces));
	assert_in_range(pieces.count, GW_CLOCK_PIECES_MAX - 4, GW_CLOCK_PIECES_MAX);
	assert_true(pieces.at[0].loose);
	for (size_t i = 1; i < pieces.count; i++)
		assert_true(pieces.at[i].from_us > pieces.at[i - 1].to_us);
	missing = check_all(INT64_MAX); // bounds have to do for long ago, but nothing is anybody else's
	assert_true(missing > 0 && missing < moment_count / 10 * 9);
}

// Another clock in every frame: nothing is ever known, and nothing is kept.
static void
a_clock_that_says_anything(void **state)
{
	static const int64_t at_minutes[] = { 10, 300 };
	struct gw_clock_pieces pieces;

	(void)state;
	told_patients(at_minutes, 2);
	for (int64_t us = at(200); us < at(400); us += 5 * SECOND) {
		offset_us = (int64_t)draw(1000) * 60 * SECOND - 30000 * SECOND;
		frame_of("m1", us, us + 100000, 0);
	}
	series_take_rest(store);
	(void)gw_series_clock(store, gw_span_text("m1"), &pieces);
	assert_in_range(pieces.count, 0, 4);
}

// The pieces of a straight drift fit one line, however they were joined; what is joined covers both, and no true offset leaves it.
static void
joined_pieces_cover_what_they_are_made_of(void **state)
{
	static struct gw_clock_history history;
	static struct { int64_t received_us, offset_us; } truth[40000];
	struct gw_clock_pieces pieces;
	struct gw_clock_offset offset;
	double bend = 0;
	size_t count = 0;

	(void)state;
	history = (struct gw_clock_history){ 0 };
	seed = 5;
	for (int64_t us = T0; count < 40000; us += 30 * SECOND, count++) {
		int64_t received = us + 20000 + (int64_t)draw(500000);

		bend += ((double)draw(1000) - 500) * 20; // some 10 ms a frame
		bend = bend > 3e9 ? 3e9 : bend;
		truth[count].received_us = received;
		truth[count].offset_us = HOUR + (us - T0) / 20000 + (int64_t)bend;
		gw_clock_history_take(&history, count + 1, received, us - truth[count].offset_us);
	}
	gw_clock_history_copy(&history, &pieces);
	assert_in_range(pieces.count, 4, GW_CLOCK_PIECES_MAX);
	for (size_t i = 0; i < count; i++) {
		assert_true(gw_clock_pieces_offset(&pieces, truth[i].received_us, &offset));
		assert_true(offset.sure);
		assert_true(llabs(offset.us - truth[i].offset_us) <= offset.spread_us);
		assert_true(offset.spread_us < 30 * SECOND);
	}
}

// ---- The hub's clock ----

// Receive times come twice: what was said of them is not said any more.
static void
the_hub_s_clock_goes_back(void **state)
{
	static struct gw_clock_history history;
	struct gw_clock_pieces pieces;
	struct gw_clock_offset offset;
	uint64_t position = 0;

	(void)state;
	history = (struct gw_clock_history){ 0 };
	for (int64_t us = T0; us < T0 + 2 * HOUR; us += 10 * SECOND)
		gw_clock_history_take(&history, ++position, us + 100000, us);
	for (int64_t us = T0 + 2 * HOUR; us < T0 + 5 * HOUR; us += 10 * SECOND) // an hour back
		gw_clock_history_take(&history, ++position, us + 100000 - HOUR, us);
	gw_clock_history_copy(&history, &pieces);
	assert_true(gw_clock_pieces_offset(&pieces, T0 + HOUR / 2, &offset) && offset.sure && offset.us == 0);
	assert_true(gw_clock_pieces_offset(&pieces, T0 + HOUR + HOUR / 2, &offset) && !offset.sure);
	assert_true(offset.low_us < -HOUR / 2 && offset.high_us >= 0);
	assert_true(gw_clock_pieces_offset(&pieces, T0 + 3 * HOUR, &offset) && offset.sure && llabs(offset.us + HOUR) < 2 * SECOND);
}

// ---- Kept ----

static void
assert_same(const struct gw_clock_pieces *a, const struct gw_clock_pieces *b)
{
	assert_int_equal(a->count, b->count);
	assert_true(a->most_us == b->most_us);
	for (size_t i = 0; i < a->count; i++) {
		const struct gw_clock_piece *x = &a->at[i], *y = &b->at[i];

		assert_true(x->from_us == y->from_us && x->to_us == y->to_us && x->offset_us[0] == y->offset_us[0] && x->offset_us[1] == y->offset_us[1] &&
		    x->spread_us == y->spread_us && x->epoch == y->epoch && x->loose == y->loose);
	}
}

// What a frame was, for a history beside the store's.
static void
take_beside(struct gw_clock_history *history, uint64_t position)
{
	struct gw_reading reading;
	struct gw_record record;
	struct gw_batch batch;

	assert_int_equal(gw_record_open(position, records[position], &record, NULL), GW_OK);
	assert_int_equal(gw_batch_open(&record, &batch, NULL), GW_OK);
	assert_true(gw_batch_next(&batch, &reading));
	gw_clock_history_take(history, position, record.received_us, reading.time_us);
}

static void
draw_frames(int64_t *us)
{
	static bool away;

	if (draw(30) == 0)
		offset_us = draw(2) == 0 ? 0 : (int64_t)draw(100) * 60 * SECOND - HOUR;
	away = draw(20) == 0 ? !away : away;
	for (size_t i = 1 + draw(60); i > 0; i--, *us += 4 * SECOND) {
		if (away) // late, and catching up
			frame_of("m1", *us - 1800 * SECOND, *us - (int64_t)draw(2) * 700000, 0);
		else
			tick(*us);
	}
}

// Killed at any moment: what was measured is measured again from the journal, or was stored, and is the same.
static void
a_restart_changes_nothing(void **state)
{
	static struct gw_clock_history history;
	struct gw_clock_pieces beside, stored;
	uint64_t done = 0;
	int64_t us = at(0);

	(void)state;
	history = (struct gw_clock_history){ 0 };
	for (int round = 0; round < 300; round++) {
		draw_frames(&us);
		if (draw(3) > 0)
			series_take_rest(store);
		if (draw(4) == 0)
			series_flush(store, draw(2) == 0 ? 0 : 600 * SECOND);
		if (draw(4) == 0) {
			gw_series_close(store);
			store = series_open();
		}
		if (draw(10) > 0)
			continue;
		series_take_rest(store);
		while (done < records_last)
			take_beside(&history, ++done);
		gw_clock_history_copy(&history, &beside);
		(void)gw_series_clock(store, gw_span_text("m1"), &stored);
		assert_same(&beside, &stored);
	}
	assert_true(beside.count > 8);
}

// Every history that is measured is the same after it was stored and read; damaged ones are known as such.
static void
the_stored_form(void **state)
{
	static struct gw_clock_history history, again;
	uint8_t bytes[GW_CLOCK_HISTORY_BYTES], second[GW_CLOCK_HISTORY_BYTES];
	uint64_t incarnation;
	int64_t us = at(0);
	size_t len;

	(void)state;
	history = (struct gw_clock_history){ 0 };
	for (uint64_t done = 0; done < 20000;) {
		draw_frames(&us);
		while (done < records_last)
			take_beside(&history, ++done);
		len = gw_clock_history_save(&history, 99, bytes);
		assert_int_equal(gw_clock_history_load(gw_span(bytes, len), &again, &incarnation), GW_OK);
		assert_int_equal(incarnation, 99);
		assert_int_equal(gw_clock_history_save(&again, 99, second), len);
		assert_memory_equal(bytes, second, len);
	}
	assert_int_equal(gw_clock_history_load(gw_span(bytes, len - 1), &again, &incarnation), GW_E_CORRUPT);
	assert_int_equal(gw_clock_history_load(gw_span(bytes, 0), &again, &incarnation), GW_E_CORRUPT);
	for (int i = 0; i < 20000; i++) { // whatever it says, it can be used or is refused
		struct gw_clock_pieces pieces;
		struct gw_clock_offset offset;

		memcpy(second, bytes, len);
		for (size_t n = 1 + draw(4); n > 0; n--)
			second[draw(len)] = (uint8_t)draw(256);
		if (gw_clock_history_load(gw_span(second, len), &again, &incarnation) != GW_OK)
			continue;
		gw_clock_history_copy(&again, &pieces);
		(void)gw_clock_pieces_offset(&pieces, us - (int64_t)draw(1u << 30) * 1000, &offset);
		gw_clock_history_take(&again, UINT64_MAX - 1, us, us);
	}
	bytes[0] = 2;
	assert_int_equal(gw_clock_history_load(gw_span(bytes, len), &again, &incarnation), GW_E_VERSION);
}

// A restored backup follows a journal that tells some of it again.
static void
another_journal(void **state)
{
	struct gw_clock_pieces before, after;

	(void)state;
	offset_us = HOUR;
	ticks(at(100), at(160), 5 * SECOND);
	series_take_rest(store);
	series_flush(store, 0);
	assert_true(gw_series_clock(store, gw_span_text("m1"), &before));
	gw_series_close(store);
	records_incarnation++;
	store = series_open();
	assert_int_equal(gw_series_cursor(store), 0);
	series_take_upto(store, 1, records_last / 2);
	gw_series_close(store);
	store = series_open(); // and killed while it does
	series_take_upto(store, 1, records_last);
	assert_true(gw_series_clock(store, gw_span_text("m1"), &after));
	assert_same(&before, &after);
	ticks(at(160), at(170), 5 * SECOND);
	series_take_upto(store, gw_series_taken(store) + 1, records_last);
	assert_true(gw_series_clock(store, gw_span_text("m1"), &after));
	assert_int_equal(after.count, before.count);
	assert_true(after.at[0].to_us > at(169));
}

// ---- Looked after ----

static void
change_row(bool drop)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi table;
	MDB_val key = { 2, "m1" }, value;
	uint8_t row[2048];

	gw_series_close(store);
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 8), 0);
	assert_int_equal(mdb_env_open(env, series_options.dir, 0, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "clocks", 0, &table), 0);
	assert_int_equal(mdb_get(txn, table, &key, &value), 0);
	memcpy(row, value.mv_data, value.mv_size);
	row[100] ^= 4;
	value.mv_data = row;
	assert_int_equal(drop ? mdb_drop(txn, table, 1) : mdb_put(txn, table, &key, &value, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static void
note_damage(void *arg, const struct gw_series_info *info, int64_t first_us, const char *words)
{
	(void)first_us;
	assert_string_equal(info->device, "m1");
	assert_non_null(strstr(words, "clock"));
	++*(int *)arg;
}

static void
a_damaged_row_is_found_and_begins_anew(void **state)
{
	static const int64_t at_minutes[] = { 10, 300 };
	struct gw_series_verified verified;
	struct gw_clock_pieces pieces;
	struct gw_why why = { "" };
	int damaged = 0;

	(void)state;
	told_patients(at_minutes, 2);
	offset_us = 3 * HOUR;
	ticks(at(250), at(350), 5 * SECOND);
	series_take_rest(store);
	series_flush(store, 0);
	assert_int_equal(gw_series_verify(store, note_damage, &damaged, &verified), GW_OK);
	assert_int_equal(verified.clocks, 1);
	assert_int_equal(verified.damaged + (uint64_t)damaged, 0);
	change_row(false);
	store = series_open();
	assert_int_equal(gw_series_verify(store, note_damage, &damaged, &verified), GW_OK);
	assert_int_equal(verified.damaged, 1);
	assert_int_equal(damaged, 1);
	assert_false(gw_series_clock(store, gw_span_text("m1"), &pieces));
	assert_in_range(check_all(4 * HOUR), 600, 601); // bounds have to do: all that came after the change
	ticks(at(350), at(360), 5 * SECOND);
	series_take_rest(store);
	series_flush(store, 0);
	assert_int_equal(gw_series_verify(store, note_damage, &damaged, &verified), GW_OK);
	assert_int_equal(verified.damaged, 0);
	// A store of before, which nobody writes to.
	change_row(true);
	series_options.read_only = true;
	assert_int_equal(gw_series_open(&series_options, &store, &why), GW_OK);
	assert_int_equal(gw_series_verify(store, note_damage, &damaged, &verified), GW_OK);
	assert_int_equal(verified.clocks, 0);
	assert_false(gw_series_clock(store, gw_span_text("m1"), &pieces));
}

// A device of which nothing is left has no history either.
static void
retention_takes_the_history_along(void **state)
{
	struct gw_series_retention forever = { 0, 0 }, shortly = { 1, 1 };
	struct gw_series_verified verified;
	struct gw_clock_pieces pieces;
	bool more;

	(void)state;
	offset_us = 3 * HOUR;
	ticks(at(100), at(120), 5 * SECOND);
	series_take_rest(store);
	series_flush(store, 0);
	assert_int_equal(gw_series_retain(store, &forever, &more), GW_OK);
	assert_true(gw_series_clock(store, gw_span_text("m1"), &pieces));
	gw_clock_fake_wall(NOW + HOUR);
	do {
		assert_int_equal(gw_series_retain(store, &shortly, &more), GW_OK);
		assert_int_equal(gw_series_verify(store, NULL, NULL, &verified), GW_OK);
		assert_int_equal(verified.clocks, verified.chunks > 0);
	} while (verified.chunks > 0);
	assert_false(gw_series_clock(store, gw_span_text("m1"), &pieces));
}

// Neither has one of which everything was erased; of one that has more it stays.
static void
an_erasure_takes_the_history_along(void **state)
{
	struct gw_series_verified verified;
	struct gw_clock_pieces pieces;
	uint64_t erased;

	(void)state;
	offset_us = 3 * HOUR;
	ticks(at(100), at(120), 5 * SECOND);
	series_take_rest(store);
	series_flush(store, 0);
	assert_int_equal(gw_series_erase(store, gw_span_text("m1"), at(100) + 100 * HOUR, INT64_MAX, &erased), GW_OK);
	assert_true(gw_series_clock(store, gw_span_text("m1"), &pieces));
	assert_int_equal(gw_series_erase(store, gw_span_text("m1"), INT64_MIN, INT64_MAX, &erased), GW_OK);
	assert_false(gw_series_clock(store, gw_span_text("m1"), &pieces));
	assert_int_equal(gw_series_verify(store, NULL, NULL, &verified), GW_OK);
	assert_int_equal(verified.chunks + verified.clocks, 0);
	gw_series_close(store);
	store = series_open();
	assert_false(gw_series_clock(store, gw_span_text("m1"), &pieces));
}

// What is older than all readings goes with the next row.
static void
old_pieces_are_forgotten(void **state)
{
	static struct gw_clock_history history;
	struct gw_clock_pieces pieces;
	struct gw_clock_offset offset;
	int64_t us = at(0);
	uint64_t done = 0;

	(void)state;
	history = (struct gw_clock_history){ 0 };
	for (int i = 0; i < 60; i++)
		draw_frames(&us);
	while (done < records_last)
		take_beside(&history, ++done);
	gw_clock_history_copy(&history, &pieces);
	assert_true(pieces.count > 2);
	gw_clock_history_trim(&history, pieces.at[1].to_us + 1);
	assert_int_equal(history.count, pieces.count - 2);
	assert_true(history.pieces[0].from_us == pieces.at[2].from_us);
	gw_clock_history_trim(&history, INT64_MAX);
	assert_int_equal(history.count, 0);
	// The clock is still known, and the epoch goes on: of long ago only as far as drift allows.
	history = (struct gw_clock_history){ 0 };
	for (us = at(0), done = 0; us < at(2000); us += 20 * SECOND)
		gw_clock_history_take(&history, ++done, us + 100000, us);
	gw_clock_history_trim(&history, INT64_MAX);
	for (int i = 0; i < 2; i++, us += 20 * SECOND)
		gw_clock_history_take(&history, ++done, us + 100000, us);
	gw_clock_history_copy(&history, &pieces);
	assert_true(gw_clock_pieces_offset(&pieces, at(1), &offset) && offset.sure && offset.spread_us > at(1990) / 4000 - at(0) / 4000);
	assert_true(gw_clock_pieces_offset(&pieces, us - 20 * SECOND + 100000, &offset) && offset.sure && offset.spread_us < 3 * SECOND);
}

// ---- Parts ----

// Pieces of any kind, side by side or not.
static void
draw_pieces(struct gw_clock_pieces *pieces)
{
	int64_t us = T0;

	*pieces = (struct gw_clock_pieces){ .count = draw(GW_CLOCK_PIECES_MAX + 1) };
	for (size_t i = 0; i < pieces->count; i++) {
		struct gw_clock_piece *piece = &pieces->at[i];

		piece->from_us = us + (draw(2) == 0 ? 0 : (int64_t)draw(3000));
		piece->to_us = piece->from_us + (int64_t)draw(draw(2) == 0 ? 5000 : (uint64_t)HOUR);
		piece->offset_us[0] = (int64_t)draw(2000000) - 1000000;
		piece->offset_us[1] = draw(2) == 0 ? piece->offset_us[0] : (int64_t)draw(2000000) - 1000000;
		piece->spread_us = (int64_t)draw(1000000);
		piece->loose = draw(5) == 0;
		us = piece->to_us + 1;
	}
	pieces->most_us = us;
}

static void
check_part(struct gw_clock_pieces *pieces, const struct gw_clock_part *part)
{
	for (int i = 0; i < 8; i++) {
		int64_t us = i == 0 ? part->from_us : i == 1 ? part->to_us : part->from_us + (int64_t)draw((uint64_t)(part->to_us - part->from_us) + 1);
		struct gw_clock_offset offset;

		assert_true(gw_clock_pieces_offset(pieces, us, &offset));
		assert_int_equal(offset.sure, part->sure);
		if (offset.sure)
			assert_true(offset.us >= part->least_us && offset.us <= part->most_us && offset.spread_us == part->spread_us);
		else
			assert_true(offset.low_us == part->low_us && offset.high_us == part->high_us);
	}
}

// Parts lie side by side, and say of all in them what is said of each moment.
static void
parts_say_what_each_moment_does(void **state)
{
	static struct gw_clock_pieces pieces;
	struct gw_clock_part part;

	(void)state;
	for (int i = 0; i < 1500; i++) {
		int64_t from_us, to_us;

		draw_pieces(&pieces);
		from_us = T0 - 2000 + (int64_t)draw((uint64_t)(pieces.most_us - T0) + 4000);
		to_us = from_us + (int64_t)draw(draw(2) == 0 ? 2000 : (uint64_t)(20 * HOUR));
		assert_int_equal(gw_clock_pieces_part(&pieces, from_us, to_us, &part), pieces.count > 0);
		while (pieces.count > 0 && from_us <= to_us) {
			assert_true(gw_clock_pieces_part(&pieces, from_us, to_us, &part));
			assert_true(part.from_us == from_us && part.to_us >= from_us && part.to_us <= to_us);
			check_part(&pieces, &part);
			from_us = part.to_us + 1;
		}
	}
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, open_all, close_all)
	const struct CMUnitTest tests[] = {
		TEST(three_hours_off), TEST(what_came_first_becomes_sure), TEST(reset_to_1970_and_set_again), TEST(no_device_time), TEST(a_clock_that_drifts),
		TEST(a_backfill_over_a_change), TEST(a_clock_that_jumps_all_the_time), TEST(a_clock_that_says_anything),
		TEST(joined_pieces_cover_what_they_are_made_of), TEST(the_hub_s_clock_goes_back), TEST(a_restart_changes_nothing), TEST(the_stored_form),
		TEST(another_journal), TEST(a_damaged_row_is_found_and_begins_anew), TEST(retention_takes_the_history_along), TEST(an_erasure_takes_the_history_along), TEST(old_pieces_are_forgotten),
		TEST(parts_say_what_each_moment_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
