// SPDX-License-Identifier: Apache-2.0
// A query: one series after the other, one chunk at a time. Steps of whole minutes are put together from roll-ups, piece by piece, where there are some and no
// reading in memory falls into them; between them from a chunk's columns. Readings whose owner has to be asked for are walked one by one. The caller's thread.
#include "gateway/series_rollup.h"
#include "gateway/series_whose.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MAX 65536 // readings without a row, until the caller hears of it
#define RUN_US UINT64_C(600000000) // readings in memory that lie so near to each other are read in one piece

// What a step is made of. A number waits until it is known that no revision of it follows.
struct item {
	int64_t time_us;
	double value; // NaN: none
	uint32_t sequence;
	uint16_t flags, revision;
	bool any_sequence; // not known
};

struct gw_series_query {
	struct gw_series_store *store; // NULL: paused
	struct gw_series_want want;    // spans are not used after open
	struct gw_series_whose whose;
	struct gw_series_infos series;
	size_t at;                     // of the series
	struct gw_series_cursor *cursor;
	struct gw_series_query_stats stats;

	// Where a paused query goes on.
	bool given;                    // the last that was looked at one by one:
	int64_t given_us;
	uint32_t given_sequence;
	uint16_t given_revision;
	int64_t step_next_us;          // with steps: all before it were given
	bool step_given;

	// Steps.
	struct gw_chunk_reader *reader;
	struct gw_series_block block;
	struct gw_chunk_columns columns;
	size_t block_at;               // of count
	enum { IN_NONE, IN_COLUMNS, IN_CHUNK, IN_POINTS } in;
	struct item ahead;             // taken out of the source, and not into anything
	bool has_ahead;
	struct item pending;
	bool has_pending;
	struct gw_rollup_row row;      // the present step
	struct gw_series_step out;

	// Roll-ups.
	int level;                     // the coarsest that divides the step; -1: none does
	struct gw_rollup_ask ask;      // from_us: where the next piece begins
	bool reading;                  // the present piece, by the cursor:
	int64_t piece_from_us, piece_to_us; // what of a chunk belongs to it
	struct gw_rollup_block *rolled;
	uint32_t rolled_at, rolled_end; // its rows that are not in the step yet
};

// ---- Open and close ----

static enum gw_error
check(const struct gw_series_want *want, struct gw_patients *patients, struct gw_why *why)
{
	if ((want->device.len > 0) + (want->bed.len > 0) + (want->patient != 0) != 1)
		return gw_fail(why, GW_E_ARGUMENT, "one of a device, a bed and a patient");
	if (want->from_us >= want->to_us)
		return gw_fail(why, GW_E_ARGUMENT, "the range ends before it begins");
	if (want->step_us < 0)
		return gw_fail(why, GW_E_ARGUMENT, "a step is longer than nothing");
	if (want->device.len == 0 && patients == NULL)
		return gw_fail(why, GW_E_ARGUMENT, "nothing is known of beds and patients");
	return gw_series_signals_check(want->signals, why);
}

// A reading's owner is asked for by its receive time, which columns do not have.
static bool
is_owned(const struct gw_series_query *query)
{
	return query->whose.patient != 0 || query->whose.bed[0] != '\0';
}

// For steps: what they are made of.
static enum gw_error
prepare_steps(struct gw_series_query *query)
{
	query->level = -1;
	if (query->want.step_us == 0)
		return GW_OK;
	if ((query->reader = gw_chunk_reader_new()) == NULL || (query->rolled = malloc(sizeof(*query->rolled))) == NULL)
		return GW_E_MEMORY;
	while (query->level + 1 < GW_ROLLUP_LEVELS && query->want.step_us % gw_rollup_levels[query->level + 1].unit_us == 0)
		query->level++;
	if (is_owned(query))
		query->level = -1;
	return GW_OK;
}

static enum gw_error
list_devices(struct gw_series_query *query, const struct gw_series_want *want, struct gw_series_devices *devices)
{
	if (want->patient != 0)
		return gw_series_devices_of_patient(devices, query->whose.patients, query->whose.patient);
	return gw_series_devices_of_bed(devices, query->whose.patients, want->bed, INT64_MIN, GW_TIME_OPEN);
}

static enum gw_error
list_series(struct gw_series_query *query, const struct gw_series_want *want)
{
	struct gw_series_devices devices = { 0 };
	enum gw_error error = GW_OK;

	query->series.signals = want->signals;
	query->series.numbers_only = want->step_us > 0;
	if (want->device.len > 0)
		error = gw_series_infos_add(&query->series, query->store, want->device);
	else if ((error = list_devices(query, want, &devices)) == GW_OK) {
		gw_series_devices_sort(&devices);
		for (size_t i = 0; i < devices.count && error == GW_OK; i++)
			error = gw_series_infos_add(&query->series, query->store, gw_span_text(devices.at[i]));
	}
	free(devices.at);
	gw_series_infos_sort(&query->series);
	query->stats.series = query->series.count;
	return error;
}

enum gw_error
gw_series_query_open(struct gw_series_store *store, struct gw_patients *patients, const struct gw_series_want *want, struct gw_series_query **query,
    struct gw_why *why)
{
	struct gw_series_query *made;
	enum gw_error error = check(want, patients, why);

	if (error != GW_OK)
		return error;
	if ((made = calloc(1, sizeof(*made))) == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	made->store = store;
	made->want = *want;
	made->whose.patients = patients;
	made->whose.store = store;
	if (want->patient != 0)
		made->whose.patient = gw_patients_resolve(patients, want->patient);
	if (want->patient != 0 && made->whose.patient == 0)
		error = gw_fail(why, GW_E_NOT_FOUND, "the patient is not known any more");
	else if (want->bed.len > 0 && gw_bed_name(want->bed, made->whose.bed) > GW_BED_MAX)
		error = gw_fail(why, GW_E_ARGUMENT, "a bed's name has at most %d bytes", GW_BED_MAX);
	else if (want->bed.len > 0 && made->whose.bed[0] == '\0')
		error = gw_fail(why, GW_E_ARGUMENT, "a bed has a name");
	else if ((error = list_series(made, want)) == GW_OK)
		error = prepare_steps(made);
	if (error == GW_OK)
		*query = made;
	else {
		(void)gw_fail(why, error, "%s", why->text[0] != '\0' ? why->text : gw_error_text(error));
		gw_series_query_close(made);
	}
	return error;
}

void
gw_series_query_pause(struct gw_series_query *query)
{
	gw_series_end(query->cursor);
	query->cursor = NULL;
	query->store = query->whose.store = NULL;
	query->in = IN_NONE;
	query->has_ahead = query->has_pending = false;
	query->row.count = 0;
	query->rolled_at = query->rolled_end = 0;
}

void
gw_series_query_resume(struct gw_series_query *query, struct gw_series_store *store)
{
	query->store = query->whose.store = store;
}

void
gw_series_query_close(struct gw_series_query *query)
{
	if (query == NULL)
		return;
	gw_series_query_pause(query);
	gw_chunk_reader_free(query->reader);
	free(query->rolled);
	free(query->series.at);
	free(query);
}

void
gw_series_query_stats(const struct gw_series_query *query, struct gw_series_query_stats *stats)
{
	*stats = query->stats;
	stats->series_done = query->at;
}

// ---- One series ----

// The cursor of the series at `at`, from where it was left. GW_E_NOT_FOUND: no series is left.
static enum gw_error
open_series(struct gw_series_query *query)
{
	const struct gw_series_want *want = &query->want;

	while (query->at < query->series.count) {
		struct gw_series_info *info = &query->series.at[query->at], now;
		int64_t from_us = want->from_us;
		enum gw_error error;

		if (query->given && want->step_us == 0)
			from_us = query->given_us;
		if (query->step_given && query->step_next_us > from_us)
			from_us = query->step_next_us;
		if (from_us < want->to_us && gw_series_find(query->store, gw_span_text(info->device), info->signal, info->instance, &now)) {
			error = gw_series_read(query->store, now.id, from_us, want->to_us, &query->cursor);
			query->reading = query->level < 0;
			query->piece_from_us = from_us;
			query->piece_to_us = want->to_us;
			query->ask = (struct gw_rollup_ask){ .id = now.id, .level = query->level, .from_us = from_us, .to_us = want->to_us };
			if (error != GW_E_NOT_FOUND)
				return error;
		}
		query->at++;
		query->given = query->step_given = false;
	}
	return GW_E_NOT_FOUND;
}

static void
end_series(struct gw_series_query *query)
{
	gw_series_end(query->cursor);
	query->cursor = NULL;
	query->at++;
	query->given = query->step_given = false;
	query->in = IN_NONE;
}

// Whether it was looked at before the pause.
static bool
was_given(const struct gw_series_query *query, const struct gw_reading *reading)
{
	if (!query->given || reading->time_us != query->given_us)
		return query->given && reading->time_us < query->given_us;
	if (reading->sequence != query->given_sequence)
		return reading->sequence < query->given_sequence;
	return reading->revision <= query->given_revision;
}

static void
set_given(struct gw_series_query *query, const struct gw_reading *reading)
{
	query->given = true;
	query->given_us = reading->time_us;
	query->given_sequence = reading->sequence;
	query->given_revision = reading->revision;
}

// Whether it is asked for. *unsure: it may be.
static bool
is_wanted(struct gw_series_query *query, const struct gw_point *point, bool *unsure)
{
	enum gw_belongs belongs = gw_series_belongs(&query->whose, query->series.at[query->at].device, point);

	*unsure = belongs == GW_BELONGS_UNSURE;
	if (!was_given(query, &point->reading)) { // steps look at some again after a pause
		set_given(query, &point->reading);
		query->stats.readings++;
		query->stats.left_out += *unsure && !query->want.unsure;
		query->stats.doubted += *unsure && !query->want.unsure && query->whose.doubted;
	}
	return belongs == GW_BELONGS || (*unsure && query->want.unsure);
}

// ---- Readings themselves ----

static enum gw_error
next_point(struct gw_series_query *query, struct gw_series_row *row)
{
	const struct gw_point *point;
	enum gw_error error;
	bool unsure;

	for (size_t looked = 0; looked < LOOK_MAX; looked++) {
		if (query->cursor == NULL && (error = open_series(query)) != GW_OK)
			return error;
		if ((error = gw_series_next(query->cursor, &point)) == GW_E_NOT_FOUND) {
			end_series(query);
			continue;
		}
		if (error != GW_OK)
			return error;
		if (was_given(query, &point->reading))
			continue;
		if (!is_wanted(query, point, &unsure))
			continue;
		*row = (struct gw_series_row){ .series = &query->series.at[query->at], .point = point, .unsure = unsure };
		return GW_OK;
	}
	return GW_OK;
}

// ---- The same by stretches ----

// What of the chunk is wanted, and was not looked at before a pause. The times are there: finding cannot fail.
static void
narrow_run(const struct gw_series_query *query, struct gw_series_run *run)
{
	const struct gw_chunk_whole *whole = &run->whole;
	uint32_t end = whole->count;

	(void)gw_chunk_find(run->chunk, query->piece_from_us, &run->at, NULL);
	if (whole->times_us[end - 1] >= query->piece_to_us)
		(void)gw_chunk_find(run->chunk, query->piece_to_us, &end, NULL);
	while (run->at < end && was_given(query, &(struct gw_reading){ .time_us = whole->times_us[run->at], .sequence = (uint32_t)whole->sequences[run->at],
	    .revision = (uint16_t)whole->revisions[run->at] }))
		run->at++;
	run->count = end > run->at ? end - run->at : 0;
}

static enum gw_error
enter_run(struct gw_series_query *query, struct gw_series_run *run)
{
	enum gw_error error;

	if (query->block.chunk.len == 0) {
		run->points = query->block.points;
		run->count = (uint32_t)query->block.count;
		for (; run->count > 0 && was_given(query, &run->points[run->at].reading); run->count--)
			run->at++;
		return GW_OK;
	}
	if (query->reader == NULL && (query->reader = gw_chunk_reader_new()) == NULL)
		return GW_E_MEMORY;
	run->chunk = query->reader;
	if ((error = gw_chunk_open(query->reader, query->block.chunk, NULL)) == GW_OK && (error = gw_chunk_whole(query->reader, &run->whole, NULL)) == GW_OK)
		narrow_run(query, run);
	if (error == GW_OK || error == GW_E_MEMORY)
		return error;
	gw_series_cursor_damaged(query->cursor, error);
	return GW_OK;
}

static enum gw_error
next_run(struct gw_series_query *query, struct gw_series_run *run)
{
	enum gw_error error = GW_OK;

	while (run->count == 0 && error == GW_OK) {
		if (query->cursor == NULL) {
			if ((error = open_series(query)) != GW_OK)
				break;
			gw_series_cursor_turn(query->cursor, query->piece_from_us, query->piece_to_us);
		}
		*run = (struct gw_series_run){ .series = &query->series.at[query->at] };
		if ((error = gw_series_next_block(query->cursor, &query->block)) == GW_OK)
			error = enter_run(query, run);
		else if (error == GW_E_NOT_FOUND) {
			end_series(query);
			error = GW_OK;
		}
	}
	return error;
}

enum gw_error
gw_series_query_next_run(struct gw_series_query *query, struct gw_series_run *run)
{
	uint64_t left = query->want.limit - query->stats.rows;
	struct gw_series_row row = { 0 };
	enum gw_error error;

	*run = (struct gw_series_run){ 0 };
	if (query->want.limit > 0 && left == 0)
		return GW_E_NOT_FOUND;
	if (is_owned(query)) {
		error = next_point(query, &row);
		*run = (struct gw_series_run){ .series = row.series, .points = row.point, .count = row.series != NULL, .unsure = row.unsure };
	} else
		error = next_run(query, run);
	if (query->want.limit > 0 && run->count > left)
		run->count = (uint32_t)left;
	return error;
}

void
gw_series_query_damaged(struct gw_series_query *query, struct gw_series_run *run, enum gw_error error)
{
	gw_series_cursor_damaged(query->cursor, error);
	run->count = 0;
}

void
gw_series_query_used(struct gw_series_query *query, struct gw_series_run *run, uint32_t count)
{
	uint32_t last = run->at + count - 1;

	if (count == 0)
		return;
	if (run->chunk != NULL)
		set_given(query, &(struct gw_reading){ .time_us = run->whole.times_us[last], .sequence = (uint32_t)run->whole.sequences[last],
			.revision = (uint16_t)run->whole.revisions[last] });
	else
		set_given(query, &run->points[last].reading);
	if (!is_owned(query))
		query->stats.readings += count;
	query->stats.rows += count;
	run->at += count;
	run->count -= count;
}

// ---- Steps ----

static bool
in_step(const struct gw_series_query *query, int64_t us)
{
	return query->row.count == 0 || us < query->row.from_us || (uint64_t)us - (uint64_t)query->row.from_us < (uint64_t)query->want.step_us;
}

static bool
give_step(struct gw_series_query *query, struct gw_series_row *row)
{
	const struct gw_rollup_row *step = &query->row;
	struct gw_series_step *out = &query->out;

	if (step->count == 0)
		return false;
	*out = (struct gw_series_step){ .from_us = step->from_us, .first_us = step->first_us, .last_us = step->last_us, .count = step->count,
		.questionable = step->questionable, .test = step->test, .min = step->min, .max = step->max, .first = step->first, .last = step->last };
	// Rounding may carry the mean of equal values past them.
	out->mean = step->sum / (double)step->count;
	out->mean = out->mean < out->min ? out->min : out->mean > out->max ? out->max : out->mean;
	query->row.count = 0;
	query->step_given = true;
	if (__builtin_add_overflow(out->from_us, query->want.step_us, &query->step_next_us))
		query->step_next_us = INT64_MAX;
	*row = (struct gw_series_row){ .series = &query->series.at[query->at], .step = out };
	return true;
}

static struct item
item_of(const struct gw_reading *reading)
{
	struct item item = { .time_us = reading->time_us, .value = NAN, .sequence = reading->sequence, .flags = reading->flags, .revision = reading->revision };

	return item;
}

// A chunk may reach beyond the piece.
static void
narrow(struct gw_series_query *query)
{
	struct gw_chunk_columns *columns = &query->columns;
	uint32_t first = 0;

	// The times are there: finding cannot fail.
	(void)gw_chunk_find(query->reader, query->piece_from_us, &first, NULL);
	if (columns->times_us[columns->count - 1] >= query->piece_to_us)
		(void)gw_chunk_find(query->reader, query->piece_to_us, &columns->count, NULL);
	query->block_at = first;
	query->stats.readings += columns->count - first;
	if (query->in == IN_CHUNK && first > 0)
		(void)gw_chunk_seek(query->reader, first, NULL);
}

// A chunk: by columns where it has no revisions, else reading by reading.
static enum gw_error
enter_chunk(struct gw_series_query *query)
{
	enum gw_error error = gw_chunk_open(query->reader, query->block.chunk, NULL);

	if (error == GW_OK)
		error = gw_chunk_columns(query->reader, &query->columns, NULL);
	if (error != GW_OK)
		return error;
	query->in = query->columns.revisions == NULL ? IN_COLUMNS : IN_CHUNK;
	query->block_at = 0;
	narrow(query);
	return GW_OK;
}

static enum gw_error
next_block(struct gw_series_query *query)
{
	enum gw_error error;

	query->in = IN_NONE;
	query->block_at = 0;
	if ((error = gw_series_next_block(query->cursor, &query->block)) != GW_OK)
		return error;
	if (query->block.chunk.len > 0)
		return enter_chunk(query);
	query->stats.readings += query->block.count;
	query->in = IN_POINTS;
	return GW_OK;
}

// The next that belongs, where owners are asked for.
static enum gw_error
next_owned(struct gw_series_query *query, const struct gw_point **point)
{
	enum gw_error error;
	bool unsure;

	while ((error = gw_series_next(query->cursor, point)) == GW_OK && !is_wanted(query, *point, &unsure))
		;
	return error;
}

// The next of the block; NULL at its end.
static const struct gw_reading *
next_of_block(struct gw_series_query *query, struct gw_point *storage)
{
	if (query->in == IN_CHUNK)
		return query->block_at++ < query->columns.count && gw_chunk_next(query->reader, storage, NULL) ? &storage->reading : NULL;
	if (query->in == IN_POINTS && query->block_at < query->block.count)
		return &query->block.points[query->block_at++].reading;
	return NULL;
}

static void
set_ahead(struct gw_series_query *query, const struct gw_reading *reading)
{
	query->ahead = item_of(reading);
	query->ahead.value = gw_rollup_number(reading);
	query->has_ahead = true;
}

static void
ahead_of_columns(struct gw_series_query *query)
{
	const struct gw_chunk_columns *columns = &query->columns;
	size_t i = query->block_at++;

	query->ahead = (struct item){ .time_us = columns->times_us[i], .value = columns->values[i], .flags = columns->flags[i], .any_sequence = true };
	query->has_ahead = true;
}

static enum gw_error
take_ahead(struct gw_series_query *query)
{
	const struct gw_reading *reading;
	const struct gw_point *point;
	struct gw_point storage;
	enum gw_error error;

	if (is_owned(query)) {
		if ((error = next_owned(query, &point)) == GW_OK)
			set_ahead(query, &point->reading);
		return error;
	}
	while (!query->has_ahead) {
		if (query->in == IN_COLUMNS && query->block_at < query->columns.count)
			ahead_of_columns(query);
		else if ((reading = next_of_block(query, &storage)) != NULL)
			set_ahead(query, reading);
		else if ((error = next_block(query)) != GW_OK)
			return error;
	}
	return GW_OK;
}

// Whether `ahead` says the pending reading anew.
static bool
is_revised(const struct gw_series_query *query)
{
	const struct item *old = &query->pending, *now = &query->ahead;

	return query->has_pending && now->time_us == old->time_us && now->revision > old->revision && (old->any_sequence || now->sequence == old->sequence);
}

// The pending one goes into its step. False: that is another than the present one, which has to go out first.
static bool
settle(struct gw_series_query *query)
{
	if (!query->has_pending)
		return true;
	if (!in_step(query, query->pending.time_us))
		return false;
	gw_rollup_add(&query->row, query->want.step_us, query->pending.time_us, query->pending.value, query->pending.flags);
	query->has_pending = false;
	return true;
}

// Readings of the columns that lie in the present step, but for the chunk's last, which may be revised in the next one.
static void
run_columns(struct gw_series_query *query)
{
	const struct gw_chunk_columns *columns = &query->columns;
	size_t i = query->block_at;

	while (i + 1 < columns->count && in_step(query, columns->times_us[i])) {
		gw_rollup_add(&query->row, query->want.step_us, columns->times_us[i], columns->values[i], columns->flags[i]);
		i++;
	}
	query->block_at = i;
}

// The end of a series. False: nothing is left of it.
static bool
give_rest(struct gw_series_query *query, struct gw_series_row *row)
{
	if (!settle(query) || query->row.count > 0)
		return give_step(query, row);
	end_series(query);
	return false;
}

// ---- Pieces of a series: rows of roll-ups, or readings ----

// Readings in memory near the end of a piece of readings belong to it.
static int64_t
end_of_run(const struct gw_series_query *query, int64_t to_us)
{
	int64_t unit_us = gw_rollup_levels[0].unit_us, late_us;

	while (to_us < query->want.to_us && (late_us = gw_series_cursor_late(query->cursor, to_us)) != INT64_MAX &&
	    (uint64_t)late_us - (uint64_t)to_us < RUN_US)
		if (__builtin_add_overflow(gw_rollup_floor(late_us, unit_us), unit_us, &to_us) || to_us > query->want.to_us)
			to_us = query->want.to_us;
	return to_us;
}

// GW_E_NOT_FOUND: that was the last.
static enum gw_error
next_piece(struct gw_series_query *query)
{
	struct gw_rollup_ask *ask = &query->ask;
	struct gw_rollup_piece piece;
	enum gw_error error;

	if (query->level < 0 || ask->from_us >= ask->to_us)
		return GW_E_NOT_FOUND;
	ask->late_us = gw_series_cursor_late(query->cursor, ask->from_us);
	if ((error = gw_rollup_look_once(query->store, ask, query->rolled, &piece)) != GW_OK)
		return error;
	if (piece.rows) {
		query->rolled_at = piece.first;
		query->rolled_end = piece.first + piece.count;
	} else {
		piece.to_us = end_of_run(query, piece.to_us);
		gw_series_cursor_turn(query->cursor, ask->from_us, piece.to_us);
		query->piece_from_us = ask->from_us;
		query->piece_to_us = piece.to_us;
		query->in = IN_NONE;
		query->reading = true;
	}
	ask->from_us = piece.to_us;
	return GW_OK;
}

// False: the next row is of another step, which has to wait.
static bool
run_rows(struct gw_series_query *query)
{
	for (; query->rolled_at < query->rolled_end; query->rolled_at++) {
		const struct gw_rollup_row *row = &query->rolled->rows[query->rolled_at];

		if (!in_step(query, row->from_us))
			return false;
		gw_rollup_join(&query->row, query->want.step_us, row);
	}
	return true;
}

// Readings of the piece, until it is at its end or the step. False: the step has to go out.
static bool
run_readings(struct gw_series_query *query, enum gw_error *error)
{
	if (!query->has_ahead && query->in == IN_COLUMNS && query->block_at + 1 < query->columns.count) {
		if (!settle(query))
			return false;
		run_columns(query);
	}
	if (!query->has_ahead && (*error = take_ahead(query)) == GW_E_NOT_FOUND) {
		if (!settle(query))
			return false;
		query->reading = false;
		*error = GW_OK;
		return true;
	} else if (!query->has_ahead)
		return true;
	if (!is_revised(query) && !settle(query))
		return false;
	query->pending = query->ahead;
	query->has_pending = true;
	query->has_ahead = false;
	return true;
}

static enum gw_error
next_step(struct gw_series_query *query, struct gw_series_row *row)
{
	enum gw_error error = GW_OK;

	if (query->cursor == NULL && (error = open_series(query)) != GW_OK)
		return error;
	while (error == GW_OK)
		if (!run_rows(query) || (query->reading && !run_readings(query, &error))) {
			(void)give_step(query, row);
			return GW_OK;
		} else if (error == GW_OK && !query->reading)
			error = next_piece(query);
	if (error != GW_E_NOT_FOUND)
		return error;
	(void)give_rest(query, row);
	return GW_OK;
}

enum gw_error
gw_series_query_next(struct gw_series_query *query, struct gw_series_row *row)
{
	enum gw_error error;

	*row = (struct gw_series_row){ 0 };
	if (query->want.limit > 0 && query->stats.rows == query->want.limit)
		return GW_E_NOT_FOUND;
	error = query->want.step_us > 0 ? next_step(query, row) : next_point(query, row);
	query->stats.rows += row->series != NULL;
	return error;
}
