// SPDX-License-Identifier: Apache-2.0
// `query` and `latest`: readings out of the series store, with a running daemon from its store, without one from a store that is opened for reading.
// Output is gathered by the piece while the parts are held, and written when they are not: who reads slowly keeps no part from ending.
// A line of a reading is the document of `readings`. Lines {"note": ...} and {"series_done": ...} are for whoever looks on. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/clock.h"
#include "gateway/command_patient.h"
#include "gateway/command_series.h"
#include "gateway/decode.h"
#include "gateway/nomenclature.h"
#include "gateway/text_out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES (256u * 1024)
#define PROGRESS_EVERY_US 500000

// Lines that are to be written, each behind its length.
struct piece {
	char *at;
	size_t len, cap;
};

struct work {
	struct gw_call *call;
	struct gw_held_series series;
	bool senml;
	bool brief;  // what a table shows
	struct piece piece;
	uint64_t incarnation;
};

// ---- Lines ----

static bool
room(struct piece *piece, size_t need)
{
	size_t cap = piece->cap;
	char *more;

	if (need <= cap - piece->len)
		return true;
	while (cap - piece->len < need)
		cap = cap == 0 ? PIECE_BYTES * 2 : cap * 2;
	if ((more = realloc(piece->at, cap)) == NULL)
		return false;
	piece->at = more;
	piece->cap = cap;
	return true;
}

// Writes what was gathered; false: nobody reads any more.
static bool
flush(struct work *work)
{
	struct gw_call *call = work->call;
	bool wanted = true;
	uint32_t len;

	for (size_t at = 0; at < work->piece.len && wanted; at += sizeof(len) + len) {
		memcpy(&len, work->piece.at + at, sizeof(len));
		wanted = call->line(call->arg, work->piece.at + at + sizeof(len), len) && !gw_call_ending(call);
	}
	work->piece.len = 0;
	return wanted;
}

// Where the next line's text begins, and what it may have.
static struct gw_text_out
line_out(struct work *work)
{
	struct piece *piece = &work->piece;
	size_t used = piece->len + sizeof(uint32_t);

	return used < piece->cap ? (struct gw_text_out){ piece->at + used, piece->cap - used, 0 } : (struct gw_text_out){ NULL, 0, 0 };
}

// True: the line is there. False with *error GW_OK: there is more room now, and it has to be made again.
static bool
line_end(struct work *work, const struct gw_text_out *out, enum gw_error *error)
{
	uint32_t len = (uint32_t)out->len;

	if (out->len > out->cap) {
		*error = room(&work->piece, sizeof(len) + out->len) ? GW_OK : GW_E_MEMORY;
		return *error != GW_OK;
	}
	memcpy(work->piece.at + work->piece.len, &len, sizeof(len));
	work->piece.len += sizeof(len) + len;
	*error = GW_OK;
	return true;
}

// The members that every line of a reading has; open at its end.
static void
put_point(struct work *work, struct gw_text_out *out, const struct gw_series_info *series, const struct gw_point *point)
{
	const struct gw_origin *origin = &point->origin;
	struct gw_batch_head head = { .received_us = point->received_us, .door = origin->door, .auth = origin->auth, .device = gw_span_text(series->device),
		.principal = origin->principal, .route = origin->route, .profile = origin->profile };

	out->len = gw_bus_encode(work->incarnation, &head, &point->reading, out->at, out->cap) - 1; // the closing brace comes later
	gw_put_text(out, ",\"principal\":");
	gw_put_json(out, origin->principal);
	gw_put_text(out, ",\"door\":");
	gw_put_json(out, gw_span_text(gw_door_name(origin->door)));
	gw_put_text(out, ",\"auth\":");
	gw_put_json(out, gw_span_text(gw_auth_name(origin->auth)));
	gw_put_text(out, ",\"profile\":");
	gw_put_json(out, origin->profile);
}

// The same of those that a table shows.
static void
put_brief(struct gw_text_out *out, const struct gw_series_info *series, const struct gw_point *point, const char *bed)
{
	struct gw_batch_head head = { .received_us = point->received_us, .device = gw_span_text(series->device) };
	bool room_left;

	gw_put_text(out, "{\"bed\":");
	gw_put_json(out, gw_span_text(bed));
	room_left = out->len < out->cap;
	out->len += gw_row_encode(&head, &point->reading, room_left ? out->at + out->len : NULL, room_left ? out->cap - out->len : 0);
}

static void
put_key(struct gw_text_out *out, const char *key)
{
	gw_put_text(out, ",\"");
	gw_put_text(out, key);
	gw_put_text(out, "\":");
}

static void
put_float(struct gw_text_out *out, const char *key, double value)
{
	char text[32];

	put_key(out, key);
	text[gw_decimal_from_float(value, 64, text)] = '\0';
	gw_put_text(out, text);
}

static void
put_mean(struct gw_text_out *out, double value)
{
	char text[40];

	put_key(out, "mean");
	snprintf(text, sizeof(text), "%.9g", value);
	gw_put_text(out, text);
}

static void
put_when(struct gw_text_out *out, const char *key, int64_t us)
{
	char text[40];

	put_key(out, key);
	gw_put_json(out, gw_span_text(gw_time_format(us, text)));
}

static void
put_count(struct gw_text_out *out, const char *key, uint64_t count)
{
	put_key(out, key);
	gw_put_number(out, (int64_t)count);
}

static void
put_step(struct gw_text_out *out, const struct gw_series_info *series, const struct gw_series_step *step)
{
	const struct gw_signal *signal = gw_signal_by_code(series->signal);
	char text[40];

	gw_put_text(out, "{\"time\":");
	gw_put_json(out, gw_span_text(gw_time_format(step->from_us, text)));
	put_key(out, "device");
	gw_put_json(out, gw_span_text(series->device));
	snprintf(text, sizeof(text), "%u", series->signal);
	put_key(out, "signal");
	gw_put_json(out, gw_span_text(signal != NULL ? signal->name : text));
	put_count(out, "mdc", series->signal);
	put_count(out, "instance", series->instance);
	put_count(out, "count", step->count);
	put_float(out, "min", step->min);
	put_float(out, "max", step->max);
	put_mean(out, step->mean);
	put_float(out, "first", step->first);
	put_float(out, "last", step->last);
	put_when(out, "first_time", step->first_us);
	put_when(out, "last_time", step->last_us);
	if (signal != NULL && signal->unit != NULL) {
		put_key(out, "unit");
		gw_put_json(out, gw_span_text(signal->unit->ucum));
	}
	if (step->questionable > 0)
		put_count(out, "questionable", step->questionable);
	if (step->test > 0)
		put_count(out, "test", step->test);
	gw_put_text(out, "}");
}

static enum gw_error
put_row(struct work *work, const struct gw_series_row *row)
{
	struct gw_text_out out;
	enum gw_error error;

	do {
		out = line_out(work);
		if (row->step != NULL)
			put_step(&out, row->series, row->step);
		else if (work->senml)
			out.len = gw_senml_encode(gw_span_text(row->series->device), &row->point->reading, 1, out.at, out.cap);
		else {
			put_point(work, &out, row->series, row->point);
			gw_put_text(&out, row->unsure ? ",\"unsure\":true}" : "}");
		}
	} while (!line_end(work, &out, &error));
	return error;
}

static void
work_begin(struct work *work)
{
	work->incarnation = gw_journal_incarnation(work->call->core->journal);
	gw_held_series_init(&work->series, work->call);
}

static void
finish(struct work *work, enum gw_error error)
{
	gw_held_series_fini(&work->series, error == GW_OK);
	free(work->piece.at);
}

// ---- query ----

// Durable before anything is shown.
static enum gw_error
record_want(struct gw_call *call, const struct gw_series_want *want)
{
	char what[160];

	if (want->patient != 0)
		snprintf(what, sizeof(what), "query: patient number %llu", (unsigned long long)want->patient);
	else if (want->bed.len > 0)
		snprintf(what, sizeof(what), "query: bed %.120s", gw_call_text(call, "bed"));
	else
		snprintf(what, sizeof(what), "query: device %.120s", gw_call_text(call, "device"));
	return gw_call_record_reading(call, want->device.len <= GW_ID_MAX ? want->device : gw_span("", 0), what);
}

static bool
progress(struct gw_call *call, const struct gw_series_query *query, int64_t *said_us)
{
	struct gw_series_query_stats stats;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;
	int64_t now_us = gw_clock_mono_us();

	if (!gw_call_flag(call, "progress") || now_us - *said_us < PROGRESS_EVERY_US || (doc = gw_call_object(&object)) == NULL)
		return true;
	*said_us = now_us;
	gw_series_query_stats(query, &stats);
	yyjson_mut_obj_add_uint(doc, object, "series_done", stats.series_done);
	yyjson_mut_obj_add_uint(doc, object, "series", stats.series);
	yyjson_mut_obj_add_uint(doc, object, "readings", stats.readings);
	yyjson_mut_obj_add_uint(doc, object, "rows", stats.rows);
	return gw_call_emit(call, doc);
}

// Rows until the piece is full, or much was looked at for none. GW_E_NOT_FOUND at the end.
static enum gw_error
gather(struct work *work, struct gw_series_query *query)
{
	struct gw_series_row row;
	enum gw_error error;

	while ((error = gw_series_query_next(query, &row)) == GW_OK && row.series != NULL)
		if ((error = put_row(work, &row)) != GW_OK || work->piece.len >= PIECE_BYTES)
			break;
	return error;
}

static enum gw_error
run(struct work *work, struct gw_series_query *query)
{
	int64_t said_us = gw_clock_mono_us();
	enum gw_error error;
	bool wanted = true;

	for (;;) {
		error = gather(work, query);
		gw_series_query_pause(query);
		gw_held_series_release(&work->series);
		if (error != GW_OK)
			said_us -= PROGRESS_EVERY_US; // the end is told in any case
		wanted = flush(work) && !gw_call_ending(work->call) && progress(work->call, query, &said_us);
		if (error != GW_OK || !wanted)
			break;
		if ((error = gw_held_series_hold(&work->series)) != GW_OK)
			return error;
		gw_series_query_resume(query, work->series.store);
	}
	return error == GW_OK || error == GW_E_NOT_FOUND ? GW_OK : gw_fail(work->call->why, error, "the series cannot be read: %s", gw_error_text(error));
}

enum gw_error
gw_command_query(struct gw_call *call)
{
	const char *format = gw_call_text(call, "format");
	struct work work = { .call = call, .senml = format != NULL && strcmp(format, "senml") == 0 };
	struct gw_series_query *query = NULL;
	struct gw_series_query_stats stats;
	struct gw_series_want want;
	enum gw_error error = gw_call_want(call, true, &want);

	if (error == GW_OK && work.senml && want.step_us > 0)
		error = gw_fail(call->why, GW_E_ARGUMENT, "SenML has readings, not steps: leave out --step or --format senml");
	if (error != GW_OK)
		return error;
	work_begin(&work); // before the record: the store need not follow to that
	if ((error = record_want(call, &want)) == GW_OK && (error = gw_held_series_hold(&work.series)) == GW_OK &&
	    (error = gw_series_query_open(work.series.store, call->core->patients, &want, &query, call->why)) == GW_OK)
		error = run(&work, query);
	if (error == GW_OK)
		gw_series_query_stats(query, &stats);
	if (error == GW_OK)
		gw_call_note_unsure(call, stats.left_out, stats.doubted);
	if (error == GW_OK && stats.rows + stats.left_out == 0)
		gw_call_note_nothing(call);
	gw_series_query_close(query);
	finish(&work, error);
	return error;
}

// ---- latest ----

struct gathered {
	struct work *work;
	enum gw_error error;
	uint64_t count;
};

// By more than latency makes of it.
static bool
is_off(int64_t a_us, int64_t b_us)
{
	return (a_us > b_us ? (uint64_t)a_us - (uint64_t)b_us : (uint64_t)b_us - (uint64_t)a_us) > (uint64_t)GW_DEVICE_CLOCK_STEP_US;
}

// gw_series_latest_fn
static bool
put_latest(void *arg, const struct gw_series_info *series, const struct gw_point *point, int64_t taken_us, const char *bed, bool unsure)
{
	struct gathered *gathered = arg;
	struct work *work = gathered->work;
	struct gw_text_out out;

	do {
		out = line_out(work);
		if (work->brief) {
			put_brief(&out, series, point, bed);
		} else {
			put_point(work, &out, series, point);
			put_key(&out, "bed");
			gw_put_json(&out, gw_span_text(bed));
		}
		if (unsure)
			gw_put_text(&out, ",\"unsure\":true");
		if (is_off(point->reading.time_us, taken_us))
			put_when(&out, "taken", taken_us);
		gw_put_text(&out, "}");
	} while (!line_end(work, &out, &gathered->error));
	gathered->count++;
	return gathered->error == GW_OK && !gw_call_ending(work->call);
}

static enum gw_error
take_latest(struct work *work, const struct gw_series_latest *want, uint64_t *count, uint64_t *left_out)
{
	struct gw_core *core = work->call->core;
	struct gathered gathered = { .work = work };
	enum gw_error error = gw_series_latest(work->series.store, core->patients, core->registry, want, put_latest, &gathered, left_out, work->call->why);

	*count = gathered.count;
	if (error == GW_OK && gathered.error != GW_OK)
		error = gw_fail(work->call->why, gathered.error, "%s", gw_error_text(gathered.error));
	return error;
}

enum gw_error
gw_command_latest(struct gw_call *call)
{
	const char *device = gw_call_text(call, "device"), *bed = gw_call_text(call, "bed"), *ward = gw_call_text(call, "ward");
	struct gw_series_latest want = { .device = gw_span_text(device), .bed = gw_span_text(bed), .ward = gw_span_text(ward),
		.signals = gw_span_text(gw_call_text(call, "signal")), .unsure = gw_call_flag(call, "unsure") };
	struct work work = { .call = call, .brief = gw_call_flag(call, "brief") };
	struct gw_recording recording;
	uint64_t count = 0, left_out = 0;
	char what[160];
	enum gw_error error = gw_call_named(call), recorded;

	if (error != GW_OK)
		return error;
	if ((device != NULL) + (bed != NULL) + (ward != NULL) > 1)
		return gw_fail(call->why, GW_E_ARGUMENT, "one of --device, --bed and --ward");
	snprintf(what, sizeof(what), "latest: %s%.120s", device != NULL ? "device " : bed != NULL ? "bed " : ward != NULL ? "ward " : "all devices",
	    device != NULL ? device : bed != NULL ? bed : ward != NULL ? ward : "");
	work_begin(&work); // before the record: the store need not follow to that
	gw_recording_begin_reading(&recording, call, want.device.len <= GW_ID_MAX ? want.device : gw_span("", 0), what);
	if ((error = gw_held_series_hold(&work.series)) == GW_OK)
		error = take_latest(&work, &want, &count, &left_out);
	gw_held_series_release(&work.series);
	if ((recorded = gw_recording_end(&recording)) != GW_OK)
		error = recorded;
	if (error == GW_OK && flush(&work) && left_out > 0)
		gw_call_note_aside(call, left_out, "signals were left out: their newest reading may have been measured at another bed (--unsure shows it)");
	if (error == GW_OK && count + left_out == 0)
		gw_call_note_nothing(call);
	finish(&work, error);
	return error;
}
