// SPDX-License-Identifier: Apache-2.0
// A query: one series after the other, one chunk at a time; readings themselves. Steps: series_query_steps.c. The caller's thread.
#include "gateway/series_query_internal.h"

#include <stdlib.h>
#include <string.h>

#define LOOK_EACH 64 // what finding a block costs, in readings

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
		error = gw_query_steps_prepare(made);
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
	gw_query_steps_pause(query);
	gw_series_end(query->cursor);
	query->cursor = NULL;
	query->store = query->whose.store = NULL;
	query->walk.count = 0;
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
	gw_query_steps_free(query);
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

// Where the present series goes on.
static int64_t
from_of(const struct gw_series_query *query)
{
	int64_t from_us = query->want.from_us;

	if (query->given && query->want.step_us == 0)
		from_us = query->given_us;
	if (query->step_given && query->step_next_us > from_us)
		from_us = query->step_next_us;
	return query->kept ? query->on_us : from_us;
}

// What is kept of a series goes with it.
static void
leave_series(struct gw_series_query *query)
{
	query->at++;
	query->given = query->step_given = query->kept = false;
	gw_query_steps_pause(query);
}

enum gw_error
gw_query_open_series(struct gw_series_query *query)
{
	for (; query->at < query->series.count; leave_series(query)) {
		struct gw_series_info *info = &query->series.at[query->at], now;
		int64_t from_us = from_of(query);
		enum gw_error error;

		if (from_us >= query->want.to_us || !gw_series_find(query->store, gw_span_text(info->device), info->signal, info->instance, &now))
			continue;
		if ((error = gw_series_read(query->store, now.id, from_us, query->want.to_us, &query->cursor)) == GW_E_NOT_FOUND)
			continue;
		if (error == GW_OK && query->want.step_us > 0)
			gw_query_steps_begin(query, now.id, from_us);
		else if (error == GW_OK) {
			query->piece_from_us = from_us;
			query->piece_to_us = query->want.to_us;
		}
		return error;
	}
	return GW_E_NOT_FOUND;
}

void
gw_query_end_series(struct gw_series_query *query)
{
	gw_series_end(query->cursor);
	query->cursor = NULL;
	leave_series(query);
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

bool
gw_query_is_wanted(struct gw_series_query *query, const struct gw_point *point, bool *unsure)
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

	for (size_t looked = 0; looked < GW_QUERY_LOOK_MAX; looked++) {
		if (query->cursor == NULL && (error = gw_query_open_series(query)) != GW_OK)
			return error;
		if ((error = gw_series_next(query->cursor, &point)) == GW_E_NOT_FOUND) {
			gw_query_end_series(query);
			continue;
		}
		if (error != GW_OK)
			return error;
		if (was_given(query, &point->reading))
			continue;
		if (!gw_query_is_wanted(query, point, &unsure))
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

// Where a bed or a patient is asked for: the stretch stays as it is, goes whole, or its readings are asked about one by one.
static enum gw_error
ask_owner(struct gw_series_query *query, struct gw_series_run *run)
{
	uint32_t last = run->at + run->count - 1;
	enum gw_belongs belongs = GW_BELONGS_UNSURE;
	struct gw_series_span span;
	enum gw_error error;

	if (!gw_query_is_owned(query) || run->count == 0)
		return GW_OK;
	if (run->chunk != NULL && !run->whole.samples) {
		span.first_us = run->whole.times_us[run->at];
		span.last_us = run->whole.times_us[last];
		if ((error = gw_chunk_delays(run->chunk, &span.delay_least, &span.delay_most, NULL)) != GW_OK)
			return error;
		belongs = gw_series_belongs_all(&query->whose, run->series->device, &span);
	}
	if (belongs == GW_BELONGS)
		return GW_OK;
	if (belongs == GW_BELONGS_NOT) {
		set_given(query, &(struct gw_reading){ .time_us = span.last_us, .sequence = (uint32_t)run->whole.sequences[last],
			.revision = (uint16_t)run->whole.revisions[last] });
		query->stats.readings += run->count;
	} else
		query->walk = *run;
	run->count = 0;
	return GW_OK;
}

static const struct gw_point *
next_walked(struct gw_series_query *query)
{
	struct gw_series_run *walk = &query->walk;
	enum gw_error error;

	walk->count--;
	if (walk->chunk == NULL)
		return &walk->points[walk->at++];
	if ((error = gw_chunk_seek(walk->chunk, walk->at++, NULL)) == GW_OK && gw_chunk_next(walk->chunk, &query->walked, &error)) {
		query->walked.reading.signal = walk->series->signal;
		query->walked.reading.instance = walk->series->instance;
		return &query->walked;
	}
	gw_series_cursor_damaged(query->cursor, error != GW_OK ? error : GW_E_CORRUPT);
	walk->count = 0;
	return NULL;
}

// The next of it that belongs, if any.
static void
walk_on(struct gw_series_query *query, struct gw_series_run *run, size_t *looked)
{
	const struct gw_point *point;
	bool unsure;

	for (; run->count == 0 && query->walk.count > 0 && *looked < GW_QUERY_LOOK_MAX; ++*looked)
		if ((point = next_walked(query)) != NULL && gw_query_is_wanted(query, point, &unsure))
			*run = (struct gw_series_run){ .series = query->walk.series, .points = point, .count = 1, .unsure = unsure };
}

static enum gw_error
next_run(struct gw_series_query *query, struct gw_series_run *run)
{
	enum gw_error error = GW_OK;
	size_t looked = 0;

	while (run->count == 0 && error == GW_OK) {
		if (query->walk.count > 0 && looked < GW_QUERY_LOOK_MAX) {
			walk_on(query, run, &looked);
			continue;
		}
		if (looked >= GW_QUERY_LOOK_MAX) {
			run->series = NULL;
			break;
		}
		if (query->cursor == NULL) {
			if ((error = gw_query_open_series(query)) != GW_OK)
				break;
			gw_series_cursor_turn(query->cursor, query->piece_from_us, query->piece_to_us);
		}
		*run = (struct gw_series_run){ .series = &query->series.at[query->at] };
		if ((error = gw_series_next_block(query->cursor, &query->block)) == GW_OK)
			error = enter_run(query, run) == GW_OK ? ask_owner(query, run) : GW_E_MEMORY;
		else if (error == GW_E_NOT_FOUND) {
			gw_query_end_series(query);
			error = GW_OK;
		}
		looked += LOOK_EACH;
	}
	return error;
}

enum gw_error
gw_series_query_next_run(struct gw_series_query *query, struct gw_series_run *run)
{
	uint64_t left = query->want.limit - query->stats.rows;
	enum gw_error error;

	*run = (struct gw_series_run){ 0 };
	if (query->want.limit > 0 && left == 0)
		return GW_E_NOT_FOUND;
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
	if (run->chunk != NULL || !gw_query_is_owned(query))
		query->stats.readings += count;
	query->stats.rows += count;
	run->at += count;
	run->count -= count;
}

enum gw_error
gw_series_query_next(struct gw_series_query *query, struct gw_series_row *row)
{
	enum gw_error error;

	*row = (struct gw_series_row){ 0 };
	if (query->want.limit > 0 && query->stats.rows == query->want.limit)
		return GW_E_NOT_FOUND;
	error = query->want.step_us > 0 ? gw_query_steps_next(query, row) : next_point(query, row);
	query->stats.rows += row->series != NULL;
	return error;
}
