// SPDX-License-Identifier: Apache-2.0
// Exports as JSON lines: a reading is the document of the bus (schemas/bus-reading.schema.json), byte for byte, with who it came from behind it. Pure.
#include "gateway/export_internal.h"

#include "gateway/nomenclature.h"

#include <stdio.h>

static char *
begin(struct gw_export_writer *writer, char *to)
{
	return to;
}

// ,"device":"...","signal":"...","instance":0,"mdc":149530,"refid":"..."
static void
set_series(struct gw_export_writer *writer, const struct gw_series_info *series)
{
	const char *refid = gw_code_refid(series->signal);
	char spare[16], *to = writer->prefix.at;

	to = export_literal(to, ",\"device\":");
	to = export_json(to, gw_span_text(series->device));
	to = export_literal(to, ",\"signal\":\"");
	to = export_text(to, export_signal_name(series->signal, spare));
	to = export_literal(to, "\",\"instance\":");
	to = export_unsigned(to, series->instance);
	to = export_literal(to, ",\"mdc\":");
	to = export_unsigned(to, series->signal);
	if (refid != NULL && !writer->options.steps) {
		to = export_literal(to, ",\"refid\":\"");
		to = export_text(to, refid);
		*to++ = '"';
	}
	writer->prefix.len = (size_t)(to - writer->prefix.at);
}

// ,"unit":"%","unit_mdc":262688,"received":{"value":   and   ,"unit":"%"},"flags":[],"kind":"measurement","time":"
static void
set_form(struct gw_export_writer *writer, const struct gw_reading *reading)
{
	char *to = writer->unit.at;

	if (reading->unit != 0) {
		to = export_literal(to, ",\"unit\":\"");
		to = export_text(to, export_unit(reading->unit));
		to = export_literal(to, "\",\"unit_mdc\":");
		to = export_unsigned(to, reading->unit);
	}
	to = export_literal(to, ",\"received\":{\"value\":");
	writer->unit.len = (size_t)(to - writer->unit.at);
	to = writer->tail.at;
	if (writer->form.made && reading->unit_received.len > 0) {
		to = export_literal(to, ",\"unit\":");
		to = export_json(to, reading->unit_received);
	}
	to = export_literal(to, "},\"flags\":[");
	to = export_flags(to, reading->flags, ",", '"');
	to = export_literal(to, "],\"kind\":\"");
	to = export_text(to, export_kind(reading->kind));
	to = export_literal(to, "\",\"time\":\"");
	writer->tail.len = (size_t)(to - writer->tail.at);
}

static bool
same_text(struct gw_span text, const char *kept, const struct gw_span *kept_text)
{
	return text.len == kept_text->len && (text.len == 0 || memcmp(text.at, kept, text.len) == 0);
}

// ,"principal":"...","door":"mqtt","auth":"psk","profile":"..."
static void
set_origin(struct gw_export_writer *writer, const struct gw_origin *origin)
{
	char *to = writer->from.at;

	writer->origin = *origin;
	if (origin->principal.len <= GW_ID_MAX && origin->profile.len <= GW_ID_MAX) {
		memcpy(writer->origin_texts, origin->principal.len > 0 ? (const char *)origin->principal.at : "", origin->principal.len);
		memcpy(writer->origin_texts + GW_ID_MAX, origin->profile.len > 0 ? (const char *)origin->profile.at : "", origin->profile.len);
	} else
		writer->origin.door = UINT8_MAX; // is made again for each
	to = export_literal(to, ",\"principal\":");
	to = export_json(to, gw_span(origin->principal.at, origin->principal.len <= GW_ID_MAX ? origin->principal.len : GW_ID_MAX));
	to = export_literal(to, ",\"door\":\"");
	to = export_text(to, gw_door_name(origin->door));
	to = export_literal(to, "\",\"auth\":\"");
	to = export_text(to, gw_auth_name(origin->auth));
	to = export_literal(to, "\",\"profile\":");
	to = export_json(to, gw_span(origin->profile.at, origin->profile.len <= GW_ID_MAX ? origin->profile.len : GW_ID_MAX));
	writer->from.len = (size_t)(to - writer->from.at);
}

static bool
origin_is(const struct gw_export_writer *writer, const struct gw_origin *origin)
{
	return writer->from.len > 0 && origin->door == writer->origin.door && origin->auth == writer->origin.auth &&
	    same_text(origin->principal, writer->origin_texts, &writer->origin.principal) &&
	    same_text(origin->profile, writer->origin_texts + GW_ID_MAX, &writer->origin.profile);
}

static char *
put_samples(char *to, const struct gw_samples *samples)
{
	to = export_literal(to, "{\"period_ns\":");
	to = export_number(to, samples->period_ns);
	to = export_literal(to, ",\"exponent\":");
	to = export_number(to, samples->exponent);
	to = export_literal(to, ",\"samples\":[");
	for (uint32_t i = 0; i < samples->count; i++) {
		int32_t sample = export_sample(samples, i);

		if (i > 0)
			*to++ = ',';
		to = sample == GW_SAMPLE_MISSING ? export_literal(to, "null") : export_number(to, sample);
	}
	return export_literal(to, "]}");
}

static char *
put_code(char *to, uint32_t code)
{
	const char *refid = gw_code_refid(code);

	to = export_literal(to, "{\"code\":");
	to = export_unsigned(to, code);
	if (refid != NULL) {
		to = export_literal(to, ",\"refid\":\"");
		to = export_text(to, refid);
		*to++ = '"';
	}
	*to++ = '}';
	return to;
}

// A number stands between two quotes as it came.
static char *
put_said(struct gw_export_writer *writer, char *to, struct gw_span received)
{
	char *end = export_json(to, received);

	if (received.len > 0)
		(void)export_mark(writer, EXPORT_VARY_SAID, to + 1, end - 1);
	return end;
}

static char *
put_value(struct gw_export_writer *writer, char *to, const struct gw_reading *reading)
{
	to = export_literal(to, ",\"value\":");
	switch ((enum gw_value_type)reading->type) {
	case GW_VALUE_DECIMAL:
		return export_mark(writer, EXPORT_VARY_VALUE, to, export_decimal(to, reading->decimal));
	case GW_VALUE_CODE:
		return put_code(to, reading->code);
	case GW_VALUE_TEXT:
		return export_json(to, reading->text);
	case GW_VALUE_SAMPLES:
		return put_samples(to, &reading->samples);
	case GW_VALUE_NONE:
		break;
	}
	return export_literal(to, "null");
}

static char *
put_more(struct gw_export_writer *writer, const struct gw_export_row *row, char *to)
{
	if (writer->options.with_bed) {
		to = export_literal(to, ",\"bed\":");
		to = export_json(to, row->bed);
	}
	if (writer->options.with_patient) {
		to = export_literal(to, ",\"patient\":");
		to = export_json(to, row->patient);
	}
	if (row->unsure)
		to = export_literal(to, ",\"unsure\":true");
	return export_literal(to, "}\n");
}

static char *
put_times(struct gw_export_writer *writer, const struct gw_point *point, char *to)
{
	to = export_mark(writer, EXPORT_VARY_TIME, to, export_time(&writer->minute, to, point->reading.time_us));
	to = export_literal(to, "\",\"received_time\":\"");
	to = export_mark(writer, EXPORT_VARY_RECEIVED, to, export_time(&writer->received_minute, to, point->received_us));
	*to++ = '"';
	if (point->reading.sequence > 0) {
		to = export_literal(to, ",\"sequence\":");
		to = export_unsigned(to, point->reading.sequence);
	}
	to = export_literal(to, ",\"revision\":");
	return export_unsigned(to, point->reading.revision);
}

static size_t
sample_room(struct gw_export_writer *writer, const struct gw_reading *reading)
{
	return 12;
}

static char *
put_row(struct gw_export_writer *writer, const struct gw_export_row *row, char *to)
{
	const struct gw_reading *reading = &row->point->reading;
	char id[GW_READING_ID_MAX];

	if (!export_form_is(&writer->form, reading))
		set_form(writer, reading);
	if (!origin_is(writer, &row->point->origin))
		set_origin(writer, &row->point->origin);
	to = export_literal(to, "{\"id\":\"");
	to = export_mark(writer, EXPORT_VARY_ID, to, export_bytes(to, id, gw_reading_id(writer->options.incarnation, gw_span_text(row->series->device), reading, id)));
	*to++ = '"';
	to = export_bytes(to, writer->prefix.at, writer->prefix.len);
	to = put_value(writer, to, reading);
	to = export_bytes(to, writer->unit.at, writer->unit.len);
	to = put_said(writer, to, reading->received);
	if (!writer->form.made) {
		to = export_literal(to, ",\"unit\":");
		to = export_json(to, reading->unit_received);
	}
	to = export_bytes(to, writer->tail.at, writer->tail.len);
	to = put_times(writer, row->point, to);
	to = export_bytes(to, writer->from.at, writer->from.len);
	return put_more(writer, row, to);
}

static char *
put_figures(const struct gw_series_step *step, char *to)
{
	static const char *const names[] = { ",\"min\":", ",\"max\":", ",\"mean\":", ",\"first\":", ",\"last\":" };
	const double figures[] = { step->min, step->max, step->mean, step->first, step->last };

	for (size_t i = 0; i < 5; i++) {
		to = export_text(to, names[i]);
		to = i == 2 ? export_mean(to, figures[i]) : export_float(to, figures[i]);
	}
	return to;
}

static char *
put_step(struct gw_export_writer *writer, const struct gw_export_row *row, char *to)
{
	const struct gw_signal *signal = gw_signal_by_code(row->series->signal);
	const struct gw_series_step *step = row->step;

	to = export_literal(to, "{\"time\":\"");
	to = export_time(&writer->minute, to, step->from_us);
	*to++ = '"';
	to = export_bytes(to, writer->prefix.at, writer->prefix.len);
	to = export_literal(to, ",\"count\":");
	to = export_unsigned(to, step->count);
	to = put_figures(step, to);
	to = export_literal(to, ",\"first_time\":\"");
	to = export_time(&writer->received_minute, to, step->first_us);
	to = export_literal(to, "\",\"last_time\":\"");
	to = export_time(&writer->received_minute, to, step->last_us);
	*to++ = '"';
	if (signal != NULL && signal->unit != NULL) {
		to = export_literal(to, ",\"unit\":\"");
		to = export_text(to, signal->unit->ucum);
		*to++ = '"';
	}
	if (step->questionable > 0)
		to = export_unsigned(export_literal(to, ",\"questionable\":"), step->questionable);
	if (step->test > 0)
		to = export_unsigned(export_literal(to, ",\"test\":"), step->test);
	return put_more(writer, row, to);
}

static char *
end(struct gw_export_writer *writer, char *to)
{
	return to;
}

const struct export_format gw_export_jsonl = { .name = "jsonl", .suffix = ".jsonl", .series = set_series, .begin = begin, .row = put_row, .step = put_step,
	.end = end, .sample_room = sample_room };
