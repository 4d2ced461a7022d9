// SPDX-License-Identifier: Apache-2.0
// `export`: readings out of the series store as a file's bytes, which go into a pipe that came with the request (gw_call.data_fd); the reply's lines are for
// whoever looks on. Nothing is held while the pipe is full. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/clock.h"
#include "gateway/command_patient.h"
#include "gateway/command_pipe.h"
#include "gateway/command_series.h"
#include "gateway/export_run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct exporting {
	struct gw_call *call;
	struct gw_held_series series;
	struct gw_export_options options;
	struct gw_series_want want;
	char (*ids)[GW_ID_MAX + 1];
	struct gw_series_want *wants;
	size_t count;
	int64_t began_us;
	bool tell;
};

// ---- The pipe ----

static enum gw_error
hold(void *arg, struct gw_series_store **store)
{
	struct exporting *exporting = arg;
	enum gw_error error = gw_held_series_hold(&exporting->series);

	*store = exporting->series.store;
	return error;
}

static void
release(void *arg)
{
	gw_held_series_release(&((struct exporting *)arg)->series);
}

static enum gw_error
write_pipe(void *arg, const char *at, size_t len, bool wait, size_t *taken)
{
	return gw_call_pipe_write(((struct exporting *)arg)->call, at, len, wait, taken);
}

// ---- What is told ----

static yyjson_mut_doc *
figures(const struct exporting *exporting, const char *key, uint64_t rows, uint64_t bytes, yyjson_mut_val **object)
{
	yyjson_mut_val *root;
	yyjson_mut_doc *doc = gw_call_object(&root);

	if (doc == NULL)
		return NULL;
	*object = yyjson_mut_obj_add_obj(doc, root, key);
	yyjson_mut_obj_add_uint(doc, *object, "rows", rows);
	yyjson_mut_obj_add_uint(doc, *object, "bytes", bytes);
	yyjson_mut_obj_add_uint(doc, *object, "took_ms", (uint64_t)(gw_clock_mono_us() - exporting->began_us) / 1000);
	return doc;
}

static bool
tick(void *arg, const struct gw_export_progress *progress)
{
	struct exporting *exporting = arg;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;

	if (gw_call_ending(exporting->call))
		return false;
	if (!exporting->tell || (doc = figures(exporting, "progress", progress->rows, progress->bytes, &object)) == NULL)
		return true;
	yyjson_mut_obj_add_real(doc, object, "part", progress->part);
	return gw_call_emit(exporting->call, doc);
}

static void
tell_done(struct exporting *exporting, const struct gw_export_done *done)
{
	const struct gw_export_counts *counts = &done->counts;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = figures(exporting, "exported", counts->rows, done->bytes, &object);

	if (doc != NULL) {
		yyjson_mut_obj_add_str(doc, object, "format", gw_export_format_name(exporting->options.format));
		if (counts->rows > 0) {
			gw_json_time(doc, object, "first_time", counts->first_us);
			gw_json_time(doc, object, "last_time", counts->last_us);
		}
		(void)gw_call_emit(exporting->call, doc);
	}
	gw_call_note_unsure(exporting->call, done->unsure, done->doubted);
	if (counts->rows + counts->left_out + done->unsure == 0)
		gw_call_note_nothing(exporting->call);
	if (counts->left_out > 0)
		gw_call_note_aside(exporting->call, counts->left_out, "readings were left out: SenML has no word for device times before July 1978, nor for blocks without a single sample");
}

// ---- What is asked for ----

static enum gw_error
take_format(struct gw_call *call, struct exporting *exporting)
{
	const char *format = gw_call_text(call, "format"), *columns = gw_call_text(call, "columns");
	const struct gw_series_want *want = &exporting->want;
	struct gw_export_options *options = &exporting->options;

	*options = (struct gw_export_options){ .steps = want->step_us > 0, .with_bed = want->bed.len > 0, .with_patient = want->patient != 0,
		.with_unsure = want->unsure, .incarnation = gw_journal_incarnation(call->core->journal) };
	if (format != NULL && !gw_export_format_parse(format, &options->format))
		return gw_fail(call->why, GW_E_ARGUMENT, "--format has no \"%.40s\": csv, jsonl or senml", format);
	if (options->format == GW_EXPORT_SENML && want->step_us > 0)
		return gw_fail(call->why, GW_E_ARGUMENT, "SenML has readings, not steps: leave out --step or take another format");
	return columns != NULL ? gw_export_columns_parse(columns, options, call->why) : GW_OK;
}

// Durable before anything is given.
static enum gw_error
record(struct gw_call *call, const struct gw_series_want *want)
{
	const char *device = gw_call_text(call, "device"), *bed = gw_call_text(call, "bed"), *ward = gw_call_text(call, "ward");
	char what[160];

	if (want->patient != 0)
		snprintf(what, sizeof(what), "export: patient number %llu", (unsigned long long)want->patient);
	else
		snprintf(what, sizeof(what), "export: %s%.120s", device != NULL ? "device " : bed != NULL ? "bed " : ward != NULL ? "ward " : "all devices",
		    device != NULL ? device : bed != NULL ? bed : ward != NULL ? ward : "");
	return gw_call_record_reading(call, want->device.len <= GW_ID_MAX ? want->device : gw_span("", 0), what);
}

// A question for each device of the ward, or of all.
static enum gw_error
list_wants(struct exporting *exporting)
{
	struct gw_core *core = exporting->call->core;
	struct gw_span ward = gw_span_text(gw_call_text(exporting->call, "ward"));
	enum gw_error error = gw_held_series_hold(&exporting->series);

	if (error == GW_OK)
		error = gw_export_devices(exporting->series.store, core->patients, core->registry, ward, &exporting->ids, &exporting->count);
	gw_held_series_release(&exporting->series);
	if (error == GW_OK && (exporting->wants = calloc(exporting->count + 1, sizeof(*exporting->wants))) == NULL)
		error = GW_E_MEMORY;
	for (size_t i = 0; i < exporting->count && error == GW_OK; i++) {
		exporting->wants[i] = exporting->want;
		exporting->wants[i].device = gw_span_text(exporting->ids[i]);
	}
	return error;
}

static enum gw_error
take(struct exporting *exporting)
{
	struct gw_call *call = exporting->call;
	struct gw_series_want *want = &exporting->want;
	enum gw_error error = gw_call_want(call, false, want);

	if (error == GW_OK && gw_call_text(call, "ward") != NULL && (want->device.len > 0 || want->bed.len > 0 || want->patient != 0))
		error = gw_fail(call->why, GW_E_ARGUMENT, "one of --device, --bed, --ward and --patient");
	if (error != GW_OK || (error = take_format(call, exporting)) != GW_OK)
		return error;
	if ((error = gw_call_pipe(call)) == GW_OK)
		error = record(call, want);
	return error;
}

static enum gw_error
run(struct exporting *exporting, struct gw_export_writer *writer)
{
	struct gw_call *call = exporting->call;
	const struct gw_export_io io = { .arg = exporting, .hold = hold, .release = release, .write = write_pipe, .tick = tick };
	struct gw_series_want *want = &exporting->want;
	bool one = want->device.len > 0 || want->bed.len > 0 || want->patient != 0;
	struct gw_export_ask ask = { .wants = want, .count = 1, .limit = want->limit, .bed = want->bed, .patient = gw_span_text(gw_call_text(call, "patient")),
		.patients = call->core->patients };
	struct gw_export_done done;
	enum gw_error error = one ? GW_OK : list_wants(exporting);

	if (error != GW_OK)
		return error;
	if (!one) {
		ask.wants = exporting->wants;
		ask.count = exporting->count;
	}
	if ((error = gw_export_run(&io, &ask, writer, &done, call->why)) == GW_OK)
		tell_done(exporting, &done);
	return error;
}

enum gw_error
gw_command_export(struct gw_call *call)
{
	struct exporting exporting = { .call = call, .began_us = gw_clock_mono_us(), .tell = gw_call_flag(call, "progress") };
	struct gw_export_writer *writer;
	enum gw_error error = take(&exporting);

	if (error != GW_OK)
		return error;
	gw_held_series_init(&exporting.series, call);
	error = (writer = gw_export_writer_new(&exporting.options)) != NULL ? run(&exporting, writer) : GW_E_MEMORY;
	gw_held_series_fini(&exporting.series, error == GW_OK);
	gw_export_writer_free(writer);
	free(exporting.wants);
	free(exporting.ids);
	return error;
}
