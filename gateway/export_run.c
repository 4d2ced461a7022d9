// SPDX-License-Identifier: Apache-2.0
// Runs an export (gateway/export_run.h). The caller's thread.
#include "gateway/export_run.h"

#include "gateway/clock.h"

#include <stdlib.h>

#define PIECE_BYTES (256u * 1024)      // offered to whoever takes them
#define GATHER_BYTES (2u * 1024 * 1024) // gathered while they cannot, before the query is paused: going on decodes a chunk again
#define HOLD_US 100000                 // a part that is to end waits for no longer than about this
#define TICK_US 250000
#define LOOK_ROWS 1024                 // rows between looks at the clock

struct run {
	const struct gw_export_io *io;
	const struct gw_export_ask *ask;
	struct gw_export_writer *writer;
	struct gw_series_query *query;
	char *buf;
	size_t from, len, cap;  // what is to be written is buf[from..len)
	uint64_t bytes, unsure, doubted, rows_left;
	int64_t held_us, tick_us;
	size_t at;              // of the wants
	uint32_t looked, given; // rows since the clock was looked at; of the last piece
	// For telling how far it is within a series
	const struct gw_series_info *series;
	uint32_t signal;
	int64_t first_us, last_us;
};

// ---- Bytes ----

static bool
make_room(struct run *run, size_t need)
{
	size_t cap = run->cap;
	char *more;

	while (cap - run->len < need)
		cap *= 2;
	if ((more = realloc(run->buf, cap)) == NULL)
		return false;
	run->buf = more;
	run->cap = cap;
	return true;
}

// Offers what there is; with wait all of it is gone after that.
static enum gw_error
offer(struct run *run, bool wait)
{
	enum gw_error error = GW_OK;
	size_t taken = 0;

	if (run->from < run->len)
		error = run->io->write(run->io->arg, run->buf + run->from, run->len - run->from, wait, &taken);
	run->from += taken;
	run->bytes += taken;
	if (run->from == run->len)
		run->from = run->len = 0;
	return error;
}

// One of begin, row, end: makes room until it fits.
static enum gw_error
put(struct run *run, size_t (*fn)(struct gw_export_writer *writer, struct gw_text_out *out), const struct gw_export_row *row)
{
	for (;;) {
		struct gw_text_out out = { run->buf, run->cap, run->len };
		size_t need = row != NULL ? gw_export_row(run->writer, row, &out) : fn(run->writer, &out);

		run->len = out.len;
		if (need == 0)
			return GW_OK;
		if (!make_room(run, need))
			return GW_E_MEMORY;
	}
}

// ---- How far ----

static double
part_of(const struct run *run)
{
	const struct gw_series_want *want = &run->ask->wants[run->at];
	struct gw_series_query_stats stats = { 0 };
	int64_t now_us = gw_clock_wall_us(), to_us = want->to_us < now_us ? want->to_us : now_us;
	double inner = 0;

	if (run->query != NULL)
		gw_series_query_stats(run->query, &stats);
	if (run->series != NULL && to_us > run->first_us)
		inner = (double)(run->last_us - run->first_us) / (double)(to_us - run->first_us);
	inner = inner > 1 ? 1 : inner;
	if (stats.series > 0)
		inner = ((double)stats.series_done + (stats.series_done < stats.series ? inner : 0)) / (double)stats.series;
	return ((double)run->at + inner) / (double)run->ask->count;
}

static bool
tick(struct run *run)
{
	struct gw_export_counts counts;
	struct gw_export_progress progress;
	int64_t now_us = gw_clock_mono_us();

	if (now_us - run->tick_us < TICK_US)
		return true;
	run->tick_us = now_us;
	gw_export_counts(run->writer, &counts);
	progress = (struct gw_export_progress){ counts.rows, run->bytes, part_of(run) };
	return run->io->tick(run->io->arg, &progress);
}

// ---- Rows ----

static enum gw_error
hold(struct run *run, struct gw_series_store **store)
{
	enum gw_error error = run->io->hold(run->io->arg, store);

	run->held_us = gw_clock_mono_us();
	return error;
}

// Lets go of everything for a moment: writes, tells, goes on.
static enum gw_error
pause_query(struct run *run, bool wait)
{
	struct gw_series_store *store;
	enum gw_error error;

	gw_series_query_pause(run->query);
	run->io->release(run->io->arg);
	error = offer(run, wait);
	if (error == GW_OK && !tick(run))
		error = GW_E_STOPPING;
	if (error == GW_OK && (error = hold(run, &store)) == GW_OK)
		gw_series_query_resume(run->query, store);
	return error;
}

// After so many rows. *paused: what the query gave is gone.
static enum gw_error
keep_up(struct run *run, uint32_t count, bool *paused)
{
	enum gw_error error;

	*paused = false;
	if (run->len - run->from >= PIECE_BYTES && (error = offer(run, false)) != GW_OK)
		return error;
	if (run->len >= GATHER_BYTES) {
		*paused = true;
		return pause_query(run, true);
	}
	if ((run->looked += count) < LOOK_ROWS && run->len > 0)
		return GW_OK;
	run->looked = 0;
	*paused = gw_clock_mono_us() - run->held_us >= HOLD_US;
	return *paused ? pause_query(run, false) : GW_OK;
}

static void
see(struct run *run, const struct gw_series_info *series, int64_t us)
{
	if (series != run->series) {
		run->series = series;
		run->first_us = us;
	}
	run->last_us = us;
}

static struct gw_export_row
row_of(const struct run *run, const struct gw_series_info *series, bool unsure)
{
	return (struct gw_export_row){ .series = series, .unsure = unsure, .bed = run->ask->bed, .patient = run->ask->patient };
}

static enum gw_error
give_point(struct run *run, const struct gw_series_run *from, const struct gw_point *point)
{
	struct gw_export_row row = row_of(run, from->series, from->unsure);

	row.point = point;
	if (run->io->whose != NULL)
		run->io->whose(run->io->arg, &row);
	return put(run, NULL, &row);
}

// The next of a chunk, where each has its own bed and patient.
static enum gw_error
give_next(struct run *run, const struct gw_series_run *from)
{
	struct gw_point point;
	enum gw_error error = gw_chunk_seek(from->chunk, from->at, NULL);

	if (error != GW_OK || !gw_chunk_next(from->chunk, &point, &error))
		return error != GW_OK ? error : GW_E_CORRUPT;
	point.reading.signal = from->series->signal;
	point.reading.instance = from->series->instance;
	return give_point(run, from, &point);
}

static enum gw_error
give_many(struct run *run, const struct gw_series_run *from, uint32_t *count)
{
	struct gw_text_out out = { run->buf, run->cap, run->len };
	size_t need;
	enum gw_error error = gw_export_rows(run->writer, from, LOOK_ROWS, &out, count, &need);

	run->len = out.len;
	return error == GW_OK && need > 0 && *count == 0 && !make_room(run, need) ? GW_E_MEMORY : error;
}

// Some of the stretch.
static enum gw_error
give_some(struct run *run, struct gw_series_run *from)
{
	uint32_t count = 0;
	enum gw_error error;

	see(run, from->series, from->chunk != NULL ? from->whole.times_us[from->at] : from->points[from->at].reading.time_us);
	if (from->chunk != NULL && run->io->whose == NULL)
		error = give_many(run, from, &count);
	else {
		error = from->chunk == NULL ? give_point(run, from, &from->points[from->at]) : give_next(run, from);
		count = error == GW_OK;
	}
	run->given = count;
	gw_series_query_used(run->query, from, count);
	if (error != GW_E_CORRUPT)
		return error;
	gw_series_query_damaged(run->query, from, error);
	return GW_OK;
}

// Readings.
static enum gw_error
stretches(struct run *run)
{
	struct gw_series_run stretch;
	bool paused;
	enum gw_error error;

	while ((error = gw_series_query_next_run(run->query, &stretch)) == GW_OK) {
		struct gw_export_row like = row_of(run, stretch.series, stretch.unsure);

		if (stretch.series == NULL && (error = keep_up(run, LOOK_ROWS, &paused)) != GW_OK)
			return error;
		gw_export_stretch(run->writer, &like);
		for (paused = false; stretch.count > 0 && !paused;)
			if ((error = give_some(run, &stretch)) != GW_OK || (error = keep_up(run, run->given, &paused)) != GW_OK)
				return error;
	}
	return error;
}

static enum gw_error
steps(struct run *run)
{
	struct gw_series_row row;
	enum gw_error error;
	bool paused;

	while ((error = gw_series_query_next(run->query, &row)) == GW_OK) {
		struct gw_export_row out = row_of(run, row.series, row.unsure);

		out.step = row.step;
		if (row.series != NULL) {
			see(run, row.series, row.step->from_us);
			if ((error = put(run, NULL, &out)) != GW_OK)
				return error;
		}
		if ((error = keep_up(run, row.series != NULL ? 1 : LOOK_ROWS, &paused)) != GW_OK)
			return error;
	}
	return error;
}

static void
end_query(struct run *run)
{
	struct gw_series_query_stats stats;

	gw_series_query_stats(run->query, &stats);
	run->unsure += stats.left_out;
	run->doubted += stats.doubted;
	if (run->rows_left > 0)
		run->rows_left -= stats.rows < run->rows_left ? stats.rows : run->rows_left;
	gw_series_query_close(run->query);
	run->query = NULL;
	run->series = NULL;
}

// One question, from hold to release.
static enum gw_error
ask(struct run *run, struct gw_why *why)
{
	struct gw_series_want want = run->ask->wants[run->at];
	struct gw_series_store *store;
	enum gw_error error;

	want.limit = run->rows_left;
	if ((error = hold(run, &store)) != GW_OK)
		return error;
	error = gw_series_query_open(store, run->ask->patients, &want, &run->query, why);
	if (error == GW_OK) {
		error = want.step_us > 0 ? steps(run) : stretches(run);
		if (error == GW_E_NOT_FOUND)
			error = GW_OK;
		end_query(run);
	}
	run->io->release(run->io->arg);
	if (error == GW_OK && run->len >= PIECE_BYTES)
		error = offer(run, true);
	return error == GW_OK && !tick(run) ? GW_E_STOPPING : error;
}

enum gw_error
gw_export_run(const struct gw_export_io *io, const struct gw_export_ask *asked, struct gw_export_writer *writer, struct gw_export_done *done, struct gw_why *why)
{
	struct run run = { .io = io, .ask = asked, .writer = writer, .cap = GATHER_BYTES + GW_EXPORT_ROOM, .rows_left = asked->limit };
	enum gw_error error = (run.buf = malloc(run.cap)) != NULL ? put(&run, gw_export_begin, NULL) : GW_E_MEMORY;

	run.tick_us = gw_clock_mono_us();
	for (run.at = 0; run.at < asked->count && error == GW_OK && (asked->limit == 0 || run.rows_left > 0); run.at++)
		error = ask(&run, why);
	if (error == GW_OK)
		error = put(&run, gw_export_end, NULL);
	if (error == GW_OK)
		error = offer(&run, true);
	done->bytes = run.bytes;
	done->unsure = run.unsure;
	done->doubted = run.doubted;
	gw_export_counts(writer, &done->counts);
	free(run.buf);
	return error == GW_OK || (why != NULL && why->text[0] != '\0') ? error : gw_fail(why, error, "%s", gw_error_text(error));
}
