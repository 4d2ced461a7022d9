// SPDX-License-Identifier: Apache-2.0
// Queries against a naive model: an array of all readings, gone through from end to end.
#include "tests/unit/patients_help.h"

#include "series_help.h"

#include "gateway/nomenclature.h"
#include "gateway/series_query.h"

#include <lmdb.h>
#include <math.h>

#define SECOND INT64_C(1000000)
#define DEVICES 2
#define SIGNALS 2
#define MODEL_MAX 40000
#define DAY_MINUTES (24 * 60)

struct kept {
	int64_t time_us, received_us, value; // tenths
	uint32_t sequence;
	uint16_t revision, flags;
};
static struct kept model[DEVICES][SIGNALS][MODEL_MAX];
static size_t counts[DEVICES][SIGNALS];
static const char *const device_names[DEVICES] = { "m1", "m2" };
static const char *const signal_names[SIGNALS] = { "heart_rate", "spo2" }; // in the order of their codes, see open
static uint32_t codes[SIGNALS];
static struct gw_series_store *store;
static uint64_t seed;
static uint64_t pause_every; // calls, on average

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
	struct gw_why why = { "" };

	if (hub_open(state) != 0 || gw_nomenclature_open(&why) != GW_OK)
		return -1;
	snprintf(dir, sizeof(dir), "%s/series", store_dir);
	series_options = (struct gw_series_options){ .dir = dir, .budget_bytes = 256 * MB };
	records_last = 0;
	memset(counts, 0, sizeof(counts));
	pause_every = 20;
	for (size_t s = 0; s < SIGNALS; s++)
		codes[s] = gw_signal_by_name(gw_span_text(signal_names[s]))->code;
	assert_true(codes[0] < codes[1]);
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

// ---- Filling ----

static int
compare(const void *left, const void *right)
{
	const struct kept *a = left, *b = right;

	if (a->time_us != b->time_us)
		return a->time_us < b->time_us ? -1 : 1;
	if (a->sequence != b->sequence)
		return a->sequence < b->sequence ? -1 : 1;
	return (a->revision > b->revision) - (a->revision < b->revision);
}

static void
add(size_t d, size_t s, struct kept kept)
{
	struct gw_reading reading = { .signal = codes[s], .time_us = kept.time_us, .sequence = kept.sequence, .revision = kept.revision,
		.flags = kept.flags | (kept.revision > 0 ? GW_FLAG_REVISION : 0), .type = GW_VALUE_DECIMAL, .decimal = { kept.value, -1 } };

	if (kept.flags & GW_FLAG_NOT_AVAILABLE)
		reading.type = GW_VALUE_NONE;
	assert_true(counts[d][s] < MODEL_MAX);
	model[d][s][counts[d][s]++] = kept;
	record_add(device_names[d], kept.received_us, &reading, 1);
}

static bool
is_known(size_t d, size_t s, int64_t time_us, uint32_t sequence, uint16_t *revision, int64_t *value)
{
	bool known = false;

	for (size_t i = 0; i < counts[d][s]; i++) {
		const struct kept *at_i = &model[d][s][i];

		if (at_i->time_us != time_us || at_i->sequence != sequence)
			continue;
		if (!known || at_i->revision > *revision) {
			*revision = at_i->revision;
			*value = at_i->value;
		}
		known = true;
	}
	return known;
}

// Readings of a day, some late, some revised, some without a value; parts of them in chunks, the rest in tails.
static void
fill(size_t count)
{
	static const uint16_t flags[] = { 0, 0, 0, 0, 0, 0, GW_FLAG_QUESTIONABLE, GW_FLAG_NOT_AVAILABLE, GW_FLAG_INVALID, GW_FLAG_TEST };

	for (size_t i = 0; i < count; i++) {
		size_t d = draw(DEVICES), s = draw(SIGNALS);
		int64_t second = draw(4) > 0 ? (int64_t)(i * DAY_MINUTES * 60 / count) : (int64_t)draw(DAY_MINUTES * 60);
		struct kept kept = { .time_us = T0 + second * SECOND + (int64_t)draw(2) * 500000, .sequence = draw(8) == 0, .value = 300 + (int64_t)draw(900),
			.flags = flags[draw(10)] };
		int64_t value = 0;

		if (draw(10) == 0 && counts[d][s] > 0) {
			kept.time_us = model[d][s][draw(counts[d][s])].time_us;
			kept.sequence = 0;
		}
		if (is_known(d, s, kept.time_us, kept.sequence, &kept.revision, &value)) {
			if (value == kept.value || s == 1) // a series without revisions is read by columns
				continue;
			kept.revision++;
		}
		kept.received_us = kept.time_us + (int64_t)(draw(20) == 0 ? draw(600) : draw(3)) * SECOND;
		add(d, s, kept);
		if (draw(count / 6 + 1) == 0) {
			series_take_rest(store);
			series_flush(store, 0);
		}
	}
	series_take_rest(store);
	for (size_t d = 0; d < DEVICES; d++)
		for (size_t s = 0; s < SIGNALS; s++)
			qsort(model[d][s], counts[d][s], sizeof(model[d][s][0]), compare);
}

// ---- Asking ----

// Readings are taken by stretches.
static bool by_runs;
static struct gw_series_query *run_of;
static struct gw_series_run run;

static struct gw_series_query *
ask(const struct gw_series_want *want)
{
	struct gw_series_query *query;
	struct gw_why why = { "" };

	if (gw_series_query_open(store, hub.patients, want, &query, &why) != GW_OK)
		fail_msg("%s", why.text);
	run_of = NULL;
	return query;
}

static void
pause_query(struct gw_series_query *query)
{
	gw_series_query_pause(query);
	if (draw(200) == 0) {
		gw_series_close(store);
		store = series_open();
		series_take_rest(store);
	}
	gw_series_query_resume(query, store);
}

// The next row; now and then the store is let go of before it.
static bool
next(struct gw_series_query *query, struct gw_series_row *row)
{
	enum gw_error error;

	do {
		if (draw(pause_every) == 0)
			pause_query(query);
		error = gw_series_query_next(query, row);
	} while (error == GW_OK && row->series == NULL);
	if (error != GW_OK)
		assert_int_equal(error, GW_E_NOT_FOUND);
	return error == GW_OK;
}

static void
take_of_run(struct gw_series_row *row)
{
	static struct gw_point point;

	*row = (struct gw_series_row){ .series = run.series, .unsure = run.unsure, .point = run.points };
	if (run.chunk == NULL) {
		row->point += run.at;
		return;
	}
	assert_int_equal(gw_chunk_seek(run.chunk, run.at, NULL), GW_OK);
	assert_true(gw_chunk_next(run.chunk, &point, NULL));
	row->point = &point;
}

static bool
next_reading(struct gw_series_query *query, struct gw_series_row *row)
{
	enum gw_error error = GW_OK;

	if (!by_runs)
		return next(query, row);
	if (run_of == query && draw(pause_every) == 0) {
		pause_query(query);
		run_of = NULL;
	}
	if (run_of != query || run.count == 0) {
		run_of = query;
		do
			error = gw_series_query_next_run(query, &run);
		while (error == GW_OK && run.series == NULL);
	}
	if (error != GW_OK) {
		assert_int_equal(error, GW_E_NOT_FOUND);
		return false;
	}
	take_of_run(row);
	gw_series_query_used(query, &run, 1);
	return true;
}

static void
check_series(const struct gw_series_row *row, size_t d, size_t s)
{
	assert_string_equal(row->series->device, device_names[d]);
	assert_int_equal(row->series->signal, codes[s]);
}

static void
check_point(const struct gw_series_row *row, const struct kept *kept)
{
	const struct gw_reading *reading = &row->point->reading;

	assert_true(reading->time_us == kept->time_us && reading->sequence == kept->sequence && reading->revision == kept->revision);
	assert_int_equal(reading->flags & ~GW_FLAG_REVISION, kept->flags);
	if (kept->flags & GW_FLAG_NOT_AVAILABLE)
		assert_int_equal(reading->type, GW_VALUE_NONE);
	else
		assert_true(reading->decimal.mantissa == kept->value && reading->decimal.exponent == -1);
}

// What the model says of one reading: 1 asked for, 0 not, -1 unsure.
typedef int belongs_fn(const struct kept *kept);

static int
all_belong(const struct kept *kept)
{
	(void)kept;
	return 1;
}

// Readings of device d that are asked for, in order, against the query's.
static uint64_t
check_points(struct gw_series_query *query, const struct gw_series_want *want, size_t d, bool wanted[SIGNALS], belongs_fn *belongs, uint64_t *left_out)
{
	struct gw_series_row row;
	uint64_t rows = 0;

	*left_out = 0;
	for (size_t s = 0; s < SIGNALS; s++) {
		for (size_t i = 0; wanted[s] && i < counts[d][s]; i++) {
			const struct kept *kept = &model[d][s][i];
			int said = belongs(kept);

			if (kept->time_us < want->from_us || kept->time_us >= want->to_us)
				continue;
			*left_out += said < 0 && !want->unsure;
			if (said == 0 || (said < 0 && !want->unsure))
				continue;
			if (want->limit > 0 && rows == want->limit)
				return rows;
			assert_true(next_reading(query, &row));
			rows++;
			check_series(&row, d, s);
			check_point(&row, kept);
			assert_int_equal(row.unsure, said < 0);
		}
	}
	return rows;
}

static void
draw_range(struct gw_series_want *want)
{
	want->from_us = INT64_MIN;
	want->to_us = INT64_MAX;
	if (draw(3) > 0)
		want->from_us = T0 + (int64_t)draw(DAY_MINUTES * 60) * SECOND;
	if (draw(3) > 0)
		want->to_us = (want->from_us == INT64_MIN ? T0 : want->from_us) + (int64_t)(1 + draw(DAY_MINUTES * 30)) * SECOND;
}

static void
readings_of_a_device(void **state)
{
	static const char *const signals[] = { "", "heart_rate", "spo2", "spo*, heart_r?te", "heart*", "temp*" };
	static const bool fits[][SIGNALS] = { { true, true }, { true, false }, { false, true }, { true, true }, { true, false }, { false, false } };
	struct gw_series_row row;
	uint64_t left_out;

	seed = 1;
	fill(6000);
	for (size_t done = 0; done < 200; done++) {
		size_t d = draw(DEVICES), pattern = draw(6);
		struct gw_series_want want = { .device = gw_span_text(device_names[d]), .signals = gw_span_text(signals[pattern]),
			.limit = draw(3) == 0 ? 1 + draw(200) : 0 };
		bool wanted[SIGNALS] = { fits[pattern][0], fits[pattern][1] };
		struct gw_series_query *query;

		draw_range(&want);
		query = ask(&want);
		(void)check_points(query, &want, d, wanted, all_belong, &left_out);
		assert_false(next_reading(query, &row));
		gw_series_query_close(query);
	}
	(void)state;
}

// ---- Steps ----

static bool
counts_for(const struct kept *at_i, const struct kept *end, const struct gw_series_want *want)
{
	bool revised = at_i + 1 < end && at_i[1].time_us == at_i->time_us && at_i[1].sequence == at_i->sequence;

	return !revised && !(at_i->flags & (GW_FLAG_NOT_AVAILABLE | GW_FLAG_INVALID)) && at_i->time_us >= want->from_us && at_i->time_us < want->to_us;
}

static int64_t
floor_to(int64_t us, int64_t step_us)
{
	return (us - (us % step_us + step_us) % step_us);
}

static void
model_step(size_t d, size_t s, const struct gw_series_want *want, belongs_fn *belongs, int64_t from_us, struct gw_series_step *step)
{
	const struct kept *end = model[d][s] + counts[d][s];
	double sum = 0;

	*step = (struct gw_series_step){ .from_us = from_us, .min = INFINITY, .max = -INFINITY };
	for (const struct kept *kept = model[d][s]; kept < end; kept++) {
		double value = (double)kept->value / 10;

		if (!counts_for(kept, end, want) || floor_to(kept->time_us, want->step_us) != from_us || belongs(kept) <= 0)
			continue;
		if (step->count++ == 0) {
			step->first = value;
			step->first_us = kept->time_us;
		}
		step->last = value;
		step->last_us = kept->time_us;
		step->min = fmin(step->min, value);
		step->max = fmax(step->max, value);
		step->questionable += (kept->flags & GW_FLAG_QUESTIONABLE) != 0;
		step->test += (kept->flags & GW_FLAG_TEST) != 0;
		sum += value;
	}
	step->mean = sum / (double)step->count;
}

static void
check_step(const struct gw_series_step *got, const struct gw_series_step *want)
{
	assert_true(got->from_us == want->from_us);
	assert_int_equal(got->count, want->count);
	assert_true(got->first_us == want->first_us && got->last_us == want->last_us);
	assert_true(got->min == want->min && got->max == want->max && got->first == want->first && got->last == want->last);
	assert_true(fabs(got->mean - want->mean) < 1e-9);
	assert_int_equal(got->questionable, want->questionable);
	assert_int_equal(got->test, want->test);
}

static void
check_steps(struct gw_series_query *query, const struct gw_series_want *want, size_t d, belongs_fn *belongs)
{
	struct gw_series_step step;
	struct gw_series_row row;

	for (size_t s = 0; s < SIGNALS; s++) {
		int64_t done_us = INT64_MIN;

		for (size_t i = 0; i < counts[d][s]; i++) {
			const struct kept *kept = &model[d][s][i];
			int64_t from_us = floor_to(kept->time_us, want->step_us);

			if (from_us <= done_us)
				continue;
			done_us = from_us;
			model_step(d, s, want, belongs, from_us, &step);
			if (step.count == 0)
				continue;
			assert_true(next(query, &row));
			check_series(&row, d, s);
			check_step(row.step, &step);
		}
	}
	assert_false(next(query, &row));
}

static void
steps_of_a_device(void **state)
{
	static const int64_t steps[] = { 60 * SECOND, 3600 * SECOND, 7 * SECOND, 86400 * SECOND };

	seed = 2;
	fill(9000);
	for (size_t done = 0; done < 24; done++) {
		size_t d = draw(DEVICES);
		struct gw_series_want want = { .device = gw_span_text(device_names[d]), .step_us = steps[done == 0 ? 2 : draw(done < 4 ? 4 : 2) & 1 ? 1 : draw(2) * 3] };
		struct gw_series_query *query;

		if (done == 12) // no tail lies over the chunks any more
			series_flush(store, 0);
		draw_range(&want);
		if (want.step_us < 3600 * SECOND) { // the model is slow
			want.from_us = T0 + (int64_t)draw(DAY_MINUTES) * MINUTE;
			want.to_us = want.from_us + 40 * MINUTE;
		}
		query = ask(&want);
		check_steps(query, &want, d, all_belong);
		gw_series_query_close(query);
	}
	(void)state;
}

// The chunk is summed up by columns, and what says its last reading anew comes behind it.
static void
a_chunk_s_last_reading_is_revised_behind_it(void **state)
{
	struct gw_series_want want = { .device = gw_span_text("m1"), .from_us = INT64_MIN, .to_us = INT64_MAX, .step_us = 600 * SECOND };
	struct gw_series_query *query;

	for (int i = 0; i < 3000; i++)
		add(0, 1, (struct kept){ .time_us = T0 + i * SECOND, .received_us = T0 + i * SECOND, .value = 900 + i % 50 });
	series_take_rest(store);
	series_flush(store, 0);
	query = ask(&want);
	check_steps(query, &want, 0, all_belong);
	gw_series_query_close(query);
	add(0, 1, (struct kept){ .time_us = T0 + 2999 * SECOND, .received_us = T0 + 3000 * SECOND, .value = 2000, .revision = 1 });
	add(0, 1, (struct kept){ .time_us = T0 + 2999 * SECOND, .received_us = T0 + 3000 * SECOND, .value = 3000, .sequence = 1 });
	series_take_rest(store);
	query = ask(&want);
	check_steps(query, &want, 0, all_belong);
	gw_series_query_close(query);
	(void)state;
}

// ---- Patients and beds ----

// m1 stands at B3 from minute 100 to 1000, where 1 lies from 200 to 500, 2 from 500 to 900.
static int
within(const struct kept *kept, int64_t from_minute, int64_t to_minute)
{
	int64_t first = kept->time_us - 2 * SECOND, last = kept->received_us;

	if (kept->received_us < kept->time_us)
		first = kept->received_us - 2 * SECOND;
	if (first >= at(from_minute) && last < at(to_minute))
		return 1;
	return last < at(from_minute) || first >= at(to_minute) ? 0 : -1;
}

static int
of_patient_1(const struct kept *kept)
{
	return within(kept, 200, 500);
}

static int
of_bed(const struct kept *kept)
{
	return within(kept, 100, 1000);
}

static void
set_the_scene(void)
{
	told(EVENT(PLACE, 100, DEVICE("m1"), BED("B3")));
	told(EVENT(PLACE, 1000, DEVICE("m1"), BED("B9")));
	told(EVENT(ADMIT, 200, WHO("1"), BED("B3")));
	told(EVENT(DISCHARGE, 500, WHO("1")));
	told(EVENT(ADMIT, 500, WHO("2"), BED("B3")));
	told(EVENT(DISCHARGE, 900, WHO("2")));
}

static uint64_t
number_of(const char *id)
{
	struct gw_identifier identifier = { .id = gw_span_text(id) };
	uint64_t number;

	assert_int_equal(gw_patients_find(hub.patients, &identifier, &number, &hub.why), GW_OK);
	return number;
}

static void
check_owned(struct gw_series_want want, belongs_fn *belongs)
{
	bool wanted[SIGNALS] = { true, true };
	struct gw_series_query *query = ask(&want);
	struct gw_series_query_stats stats;
	struct gw_series_row row;
	uint64_t left_out;

	assert_true(check_points(query, &want, 0, wanted, belongs, &left_out) > 100);
	assert_false(next_reading(query, &row));
	gw_series_query_stats(query, &stats);
	assert_int_equal(stats.left_out, left_out);
	assert_true(want.unsure || left_out > 0);
	gw_series_query_close(query);
	if (want.unsure)
		return;
	pause_every = 1;
	for (want.step_us = 10 * SECOND; want.step_us <= 3600 * SECOND; want.step_us *= 360) {
		query = ask(&want);
		if (want.step_us < 3600 * SECOND) // the model is slow
			while (next(query, &row))
				;
		else
			check_steps(query, &want, 0, belongs);
		gw_series_query_stats(query, &stats);
		assert_int_equal(stats.left_out, left_out);
		gw_series_query_close(query);
	}
	pause_every = 20;
}

// A store of before there were histories of clocks: bounds have to do.
static void
forget_clocks(void)
{
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi table;

	series_flush(store, 0);
	gw_series_close(store);
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 8), 0);
	assert_int_equal(mdb_env_open(env, series_options.dir, 0, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "clocks", 0, &table), 0);
	assert_int_equal(mdb_drop(txn, table, 1), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	store = series_open();
	assert_int_equal(gw_series_cursor(store), records_last);
}

static void
only_what_was_measured_while_associated(void **state)
{
	static const int64_t changes[] = { 100, 200, 500, 1000 };
	struct gw_series_want want = { .from_us = INT64_MIN, .to_us = INT64_MAX };

	seed = 3;
	set_the_scene();
	for (size_t i = 0; i < 4; i++) // one that came late over each change
		add(0, i % 2, (struct kept){ .time_us = at(changes[i]) - 30 * SECOND, .received_us = at(changes[i]) + 30 * SECOND, .sequence = 7, .value = 1 });
	fill(8000);
	forget_clocks();
	for (int unsure = 0; unsure < 2; unsure++) {
		want.unsure = unsure != 0;
		want.patient = number_of("1");
		check_owned(want, of_patient_1);
		want.patient = 0;
		want.bed = gw_span_text("B3^");
		check_owned(want, of_bed);
		want.bed = gw_span_text("");
	}
	(void)state;
}

static void
each_device_for_itself(void **state)
{
	struct gw_series_want want = { .from_us = INT64_MIN, .to_us = INT64_MAX };
	struct gw_series_query *query;
	struct gw_series_row row;

	set_the_scene();
	told(EVENT(ASSOCIATE, 300, DEVICE("m2"), WHO("1"), .until_us = at(350)));
	for (size_t d = 0; d < DEVICES; d++)
		for (int i = 0; i < 2; i++)
			add(d, 0, (struct kept){ .time_us = at(340 + i * 60), .received_us = at(340 + i * 60), .value = 600 });
	series_take_rest(store);
	want.patient = number_of("1");
	query = ask(&want);
	for (size_t i = 0; i < 3; i++) {
		assert_true(next(query, &row));
		check_series(&row, i / 2, 0);
		check_point(&row, &model[i / 2][0][i % 2]);
	}
	assert_false(next(query, &row));
	gw_series_query_close(query);
	(void)state;
}

// A clock that is an hour ahead: what it says is not when it was.
static void
a_clock_ahead_gives_nothing_to_the_wrong_patient(void **state)
{
	struct gw_series_want want = { .from_us = INT64_MIN, .to_us = INT64_MAX };
	struct gw_series_query_stats stats;
	struct gw_series_query *query;
	struct gw_series_row row;

	set_the_scene();
	add(0, 0, (struct kept){ .time_us = at(450), .received_us = at(390), .value = 600 });
	add(0, 0, (struct kept){ .time_us = at(530), .received_us = at(470), .value = 610 });
	series_take_rest(store);
	want.patient = number_of("2");
	query = ask(&want);
	assert_false(next(query, &row));
	gw_series_query_stats(query, &stats);
	assert_int_equal(stats.left_out, 0); // it was received before the patient came
	gw_series_query_close(query);
	want.patient = number_of("1");
	query = ask(&want);
	assert_false(next(query, &row));
	gw_series_query_stats(query, &stats);
	assert_int_equal(stats.left_out, 2);
	gw_series_query_close(query);
	(void)state;
}

static void
what_cannot_be_asked(void **state)
{
	struct gw_series_want want = { .device = gw_span_text("m1"), .bed = gw_span_text("B3"), .from_us = 0, .to_us = 1 };
	struct gw_series_query *query;
	struct gw_why why = { "" };

	assert_int_equal(gw_series_query_open(store, hub.patients, &want, &query, &why), GW_E_ARGUMENT);
	want.bed.len = 0;
	want.to_us = 0;
	assert_int_equal(gw_series_query_open(store, hub.patients, &want, &query, &why), GW_E_ARGUMENT);
	want.to_us = 1;
	want.signals = gw_span_text("spo2,heart_rat");
	assert_int_equal(gw_series_query_open(store, hub.patients, &want, &query, &why), GW_E_NOT_FOUND);
	assert_non_null(strstr(why.text, "heart_rate"));
	(void)state;
}

// ---- The newest ----

struct got {
	size_t count, unsure;
	char device[16][GW_ID_MAX + 1];
	int64_t time_us[16];
	char bed[16][GW_BED_MAX + 1];
};

static bool
take_latest(void *arg, const struct gw_series_info *series, const struct gw_point *point, int64_t taken_us, const char *bed, bool unsure)
{
	(void)taken_us;
	struct got *got = arg;

	got->unsure += unsure;
	assert_true(got->count < 16);
	strcpy(got->device[got->count], series->device);
	strcpy(got->bed[got->count], bed);
	got->time_us[got->count++] = point->reading.time_us;
	return true;
}

static struct got
latest(struct gw_series_latest want, uint64_t *left_out)
{
	struct got got = { 0 };
	struct gw_why why = { "" };

	if (gw_series_latest(store, hub.patients, hub.registry, &want, take_latest, &got, left_out, &why) != GW_OK)
		fail_msg("%s", why.text);
	return got;
}

static void
the_newest_of_a_ward(void **state)
{
	uint64_t left_out;
	struct got got;

	seed = 5;
	fill(3000);
	got = latest((struct gw_series_latest){ 0 }, &left_out);
	assert_int_equal(got.count, DEVICES * SIGNALS);
	for (size_t i = 0; i < got.count; i++)
		assert_true(got.time_us[i] == model[i / SIGNALS][i % SIGNALS][counts[i / SIGNALS][i % SIGNALS] - 1].time_us);
	told(EVENT(PLACE, 1, DEVICE("m1"), BED("ICU^^3")));
	told(EVENT(PLACE, 100, DEVICE("m2"), BED("WEST^^3")));
	got = latest((struct gw_series_latest){ .ward = gw_span_text("ICU") }, &left_out);
	assert_int_equal(got.count, SIGNALS);
	assert_string_equal(got.device[0], "m1");
	assert_string_equal(got.bed[0], "ICU^^3");
	got = latest((struct gw_series_latest){ .bed = gw_span_text("WEST^^3"), .signals = gw_span_text("spo2") }, &left_out);
	assert_int_equal(got.count, 1);
	assert_string_equal(got.device[0], "m2");
	// Since it was put elsewhere it has measured nothing.
	told(EVENT(PLACE, 2 * DAY_MINUTES - 1, DEVICE("m1"), BED("ICU^^4")));
	assert_int_equal(latest((struct gw_series_latest){ .bed = gw_span_text("ICU^^4") }, &left_out).count, 0);
	assert_int_equal(latest((struct gw_series_latest){ .device = gw_span_text("m1") }, &left_out).count, SIGNALS);
	(void)state;
}

static void
the_same_by_stretches(void **state)
{
	by_runs = true;
	readings_of_a_device(state);
	by_runs = false;
}

static void
the_same_of_patients_by_stretches(void **state)
{
	by_runs = true;
	only_what_was_measured_while_associated(state);
	by_runs = false;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(readings_of_a_device, open_all, close_all),
		cmocka_unit_test_setup_teardown(the_same_by_stretches, open_all, close_all),
		cmocka_unit_test_setup_teardown(the_same_of_patients_by_stretches, open_all, close_all),
		cmocka_unit_test_setup_teardown(steps_of_a_device, open_all, close_all),
		cmocka_unit_test_setup_teardown(a_chunk_s_last_reading_is_revised_behind_it, open_all, close_all),
		cmocka_unit_test_setup_teardown(only_what_was_measured_while_associated, open_all, close_all),
		cmocka_unit_test_setup_teardown(each_device_for_itself, open_all, close_all),
		cmocka_unit_test_setup_teardown(a_clock_ahead_gives_nothing_to_the_wrong_patient, open_all, close_all),
		cmocka_unit_test_setup_teardown(what_cannot_be_asked, open_all, close_all),
		cmocka_unit_test_setup_teardown(the_newest_of_a_ward, open_all, close_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
