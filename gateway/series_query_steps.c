// SPDX-License-Identifier: Apache-2.0
// Steps of a query: whole minutes are put together from roll-ups, piece by piece, where there are some and no reading in memory falls into them; between them from a
// chunk's columns. Where a bed or a patient is asked for, rows and chunks serve as they are, or not at all, as long as one answer holds for all that is in them: their
// times, bounds of when it was received, the clock's history and the associations say so (gw_series_belongs_all()). Elsewhere readings are walked one by one. The caller's thread.
#include "gateway/series_query_internal.h"

#include <math.h>
#include <stdlib.h>

#define RUN_US UINT64_C(600000000) // readings in memory, or of somebody else, that lie so near to each other are read in one piece
#define LOOK_EACH 64 // what finding a piece or a block costs, in readings

// ---- Begin, pause, end ----

enum gw_error
gw_query_steps_prepare(struct gw_series_query *query)
{
	query->level = -1;
	if (query->want.step_us == 0)
		return GW_OK;
	if ((query->reader = gw_chunk_reader_new()) == NULL || (query->rolled = malloc(sizeof(*query->rolled))) == NULL)
		return GW_E_MEMORY;
	while (query->level + 1 < GW_ROLLUP_LEVELS && query->want.step_us % gw_rollup_levels[query->level + 1].unit_us == 0)
		query->level++;
	return GW_OK;
}

void
gw_query_steps_free(struct gw_series_query *query)
{
	gw_chunk_reader_free(query->reader);
	free(query->rolled);
}

void
gw_query_steps_begin(struct gw_series_query *query, uint32_t id, int64_t from_us)
{
	query->ask.id = id;
	if (!query->kept) {
		query->ask = (struct gw_rollup_ask){ .id = id, .level = query->level, .from_us = from_us, .to_us = query->want.to_us };
		query->reading = query->level < 0;
		query->piece_from_us = from_us;
		query->piece_to_us = query->want.to_us;
		for (int level = 0; level < GW_ROLLUP_LEVELS; level++)
			query->doubt_us[level] = INT64_MIN;
	}
	if (query->reading)
		gw_series_cursor_turn(query->cursor, from_us, query->piece_to_us);
	if (query->reading && query->kept && query->placed)
		gw_series_cursor_pass(query->cursor, query->place);
}

void
gw_query_steps_pause(struct gw_series_query *query)
{
	query->in = IN_NONE;
	query->has_ahead = false;
	query->rolled_at = query->rolled_end = 0;
	if (query->kept)
		return;
	query->has_pending = query->reading = false;
	query->row.count = 0;
}

// Whether all that was read is in the step or pending.
static bool
is_between(const struct gw_series_query *query)
{
	size_t count = query->in == IN_POINTS ? query->block.count : query->in != IN_NONE ? query->columns.count : 0;

	return !query->has_ahead && query->rolled_at >= query->rolled_end && query->block_at >= count;
}

// Much was looked at for no step: it can be left here, and goes on even if the store is another one then. False: not here.
static bool
keep(struct gw_series_query *query)
{
	query->placed = query->reading && gw_series_cursor_given(query->cursor, &query->place);
	query->on_us = !query->reading ? query->ask.from_us : query->placed ? query->place.time_us : query->piece_from_us;
	query->kept = query->on_us < (query->reading ? query->piece_to_us : query->want.to_us);
	return query->kept;
}

// ---- The step ----

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

// ---- Readings ----

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
}

// Of the part that counts.
static enum gw_error
ask_owner(struct gw_series_query *query, enum gw_belongs *belongs)
{
	const struct gw_chunk_columns *columns = &query->columns;
	struct gw_series_span span;
	enum gw_error error;

	*belongs = GW_BELONGS;
	if (!gw_query_is_owned(query) || query->block_at >= columns->count)
		return GW_OK;
	if ((error = gw_chunk_delays(query->reader, &span.delay_least, &span.delay_most, NULL)) != GW_OK)
		return error;
	span.first_us = columns->times_us[query->block_at];
	span.last_us = columns->times_us[columns->count - 1];
	*belongs = gw_series_belongs_all(&query->whose, query->series.at[query->at].device, &span);
	return GW_OK;
}

// A chunk: by columns where it has no revisions and one owner, else reading by reading.
static enum gw_error
enter_chunk(struct gw_series_query *query)
{
	enum gw_belongs belongs;
	enum gw_error error = gw_chunk_open(query->reader, query->block.chunk, NULL);

	if (error == GW_OK)
		error = gw_chunk_columns(query->reader, &query->columns, NULL);
	if (error != GW_OK)
		return error;
	query->block_at = 0;
	narrow(query);
	if ((error = ask_owner(query, &belongs)) != GW_OK)
		return error;
	query->doubtful = belongs == GW_BELONGS_UNSURE;
	if (!query->doubtful)
		query->stats.readings += query->columns.count - query->block_at;
	if (belongs == GW_BELONGS_NOT)
		query->block_at = query->columns.count;
	query->in = query->columns.revisions == NULL && !query->doubtful ? IN_COLUMNS : IN_CHUNK;
	return query->in == IN_CHUNK && query->block_at > 0 ? gw_chunk_seek(query->reader, (uint32_t)query->block_at, NULL) : GW_OK;
}

// One that cannot be decoded is passed over.
static enum gw_error
next_block(struct gw_series_query *query)
{
	enum gw_error error;

	query->in = IN_NONE;
	query->block_at = 0;
	if ((error = gw_series_next_block(query->cursor, &query->block)) != GW_OK)
		return error;
	query->looked += query->block.count + LOOK_EACH;
	if (query->block.chunk.len == 0) {
		query->doubtful = gw_query_is_owned(query);
		query->stats.readings += query->doubtful ? 0 : query->block.count;
		query->in = IN_POINTS;
	} else if ((error = enter_chunk(query)) != GW_OK && error != GW_E_MEMORY) {
		gw_series_cursor_damaged(query->cursor, error);
		query->in = IN_NONE;
		query->block_at = 0;
		error = GW_OK;
	}
	return error;
}

// The next of the block; NULL at its end.
static const struct gw_point *
next_of_block(struct gw_series_query *query, struct gw_point *storage)
{
	if (query->in == IN_CHUNK && query->block_at < query->columns.count) {
		query->block_at++;
		if (gw_chunk_next(query->reader, storage, NULL))
			return storage;
		gw_series_cursor_damaged(query->cursor, GW_E_CORRUPT);
		query->block_at = query->columns.count;
	}
	if (query->in == IN_POINTS && query->block_at < query->block.count)
		return &query->block.points[query->block_at++];
	return NULL;
}

// What is passed by says where the pending reading ends: what revises the one is not said of the other.
static void
pass_by(struct gw_series_query *query, const struct gw_reading *reading)
{
	if (query->has_pending && query->pending.any_sequence && reading->time_us == query->pending.time_us && reading->revision == 0)
		query->pending.revision = UINT16_MAX;
}

// The next of the block that counts; NULL at its end.
static const struct gw_point *
next_wanted(struct gw_series_query *query, struct gw_point *storage)
{
	const struct gw_point *point;
	bool unsure;

	while ((point = next_of_block(query, storage)) != NULL && query->doubtful && !gw_query_is_wanted(query, point, &unsure))
		pass_by(query, &point->reading);
	return point;
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

// None, and GW_OK: much was looked at.
static enum gw_error
take_ahead(struct gw_series_query *query)
{
	const struct gw_point *point;
	struct gw_point storage;
	enum gw_error error;

	while (!query->has_ahead) {
		if (query->in == IN_COLUMNS && query->block_at < query->columns.count)
			ahead_of_columns(query);
		else if ((point = next_wanted(query, &storage)) != NULL)
			set_ahead(query, &point->reading);
		else if (query->looked >= GW_QUERY_LOOK_MAX)
			return GW_OK;
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
	gw_query_end_series(query);
	return false;
}

// ---- Pieces of a series: rows of roll-ups, or readings ----

// Those of the present block that lie in [from, to).
static enum gw_belongs
belongs_rows(struct gw_series_query *query, int64_t from_us, int64_t to_us)
{
	struct gw_series_span span = { from_us, to_us - 1, query->rolled->delay_least, query->rolled->delay_most };

	return gw_series_belongs_all(&query->whose, query->series.at[query->at].device, &span);
}

// How far one answer holds, by units of the block. from_us: not even for one.
static int64_t
end_of_answer(struct gw_series_query *query, int64_t from_us, int64_t to_us, enum gw_belongs *belongs)
{
	int64_t unit_us = gw_rollup_levels[query->rolled->level].unit_us, low = 1, high;

	if ((*belongs = belongs_rows(query, from_us, to_us)) != GW_BELONGS_UNSURE)
		return to_us;
	if ((*belongs = belongs_rows(query, from_us, from_us + unit_us)) == GW_BELONGS_UNSURE)
		return from_us;
	for (high = (to_us - from_us + unit_us - 1) / unit_us; low + 1 < high;) {
		int64_t middle = low + (high - low) / 2;

		if (belongs_rows(query, from_us, from_us + middle * unit_us) == *belongs)
			low = middle;
		else
			high = middle;
	}
	return from_us + low * unit_us;
}

// A unit that is not certain: neither this level nor, at this place, a coarser one can tell.
static void
doubt(struct gw_series_query *query)
{
	int64_t to_us = query->ask.from_us + gw_rollup_levels[query->rolled->level].unit_us;

	for (int level = query->rolled->level; level < GW_ROLLUP_LEVELS; level++)
		if (query->doubt_us[level] < to_us)
			query->doubt_us[level] = to_us;
}

// Rows that are all of whom is asked for, or all of somebody else: as far as the answer holds. False: not even the first, of which this or a finer level has to say it.
static bool
choose_owned(struct gw_series_query *query, struct gw_rollup_piece *piece)
{
	int64_t from_us = query->ask.from_us;
	enum gw_belongs belongs;

	piece->to_us = end_of_answer(query, from_us, piece->to_us, &belongs);
	if (belongs == GW_BELONGS_UNSURE) {
		doubt(query);
		return false;
	}
	while (piece->count > 0 && query->rolled->rows[piece->first + piece->count - 1].from_us >= piece->to_us)
		piece->count--;
	if (belongs == GW_BELONGS_NOT)
		piece->count = 0;
	return true;
}

// The coarsest level that may serve at from_us, and how far it may. -1: none does.
static void
set_level(struct gw_series_query *query)
{
	struct gw_rollup_ask *ask = &query->ask;

	ask->to_us = query->want.to_us;
	for (ask->level = query->level; ask->level >= 0 && ask->from_us < query->doubt_us[ask->level]; ask->level--)
		if (query->doubt_us[ask->level] < ask->to_us)
			ask->to_us = query->doubt_us[ask->level];
}

// Of roll-ups as many as there are; where owners are asked for, from the coarsest level that can tell.
static enum gw_error
look(struct gw_series_query *query, struct gw_rollup_piece *piece)
{
	struct gw_rollup_ask *ask = &query->ask;
	enum gw_error error = GW_OK;

	for (set_level(query); ask->level >= 0; set_level(query)) {
		query->looked += LOOK_EACH;
		if ((error = gw_rollup_look_once(query->store, ask, query->rolled, piece)) != GW_OK)
			return error;
		if (!piece->rows || !gw_query_is_owned(query) || choose_owned(query, piece))
			return GW_OK;
	}
	*piece = (struct gw_rollup_piece){ .to_us = ask->to_us };
	return GW_OK;
}

// A piece of readings that begins in doubt goes on as long as it is in doubt, by the bounds of the block there, which are of minutes then.
static int64_t
end_of_doubt(struct gw_series_query *query, int64_t to_us)
{
	int64_t end_us = query->rolled->from_us + gw_rollup_levels[0].block_us;

	while (to_us + (int64_t)RUN_US < end_us && to_us + (int64_t)RUN_US < query->want.to_us &&
	    belongs_rows(query, to_us, to_us + (int64_t)RUN_US) == GW_BELONGS_UNSURE)
		to_us += (int64_t)RUN_US;
	return to_us;
}

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

	if (query->level < 0 || ask->from_us >= query->want.to_us)
		return GW_E_NOT_FOUND;
	ask->late_us = gw_series_cursor_late(query->cursor, ask->from_us);
	if ((error = look(query, &piece)) != GW_OK)
		return error;
	if (piece.rows) {
		query->rolled_at = piece.first;
		query->rolled_end = piece.first + piece.count;
		query->looked += piece.count;
	} else {
		if (ask->level < 0)
			piece.to_us = end_of_doubt(query, piece.to_us);
		piece.to_us = end_of_run(query, piece.to_us);
		gw_series_cursor_turn(query->cursor, ask->from_us, piece.to_us);
		query->piece_from_us = ask->from_us;
		query->piece_to_us = piece.to_us;
		query->in = IN_NONE;
		query->block_at = 0;
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

enum gw_error
gw_query_steps_next(struct gw_series_query *query, struct gw_series_row *row)
{
	enum gw_error error = GW_OK;

	if (query->cursor == NULL && (error = gw_query_open_series(query)) != GW_OK)
		return error;
	query->kept = false;
	while (error == GW_OK) {
		if (query->looked >= GW_QUERY_LOOK_MAX && is_between(query)) {
			query->looked = 0;
			if (keep(query))
				return GW_OK;
		}
		if (!run_rows(query) || (query->reading && !run_readings(query, &error))) {
			query->looked = 0;
			(void)give_step(query, row);
			return GW_OK;
		} else if (error == GW_OK && !query->reading)
			error = next_piece(query);
	}
	if (error != GW_E_NOT_FOUND)
		return error;
	(void)give_rest(query, row);
	return GW_OK;
}
