// SPDX-License-Identifier: Apache-2.0
// Exports as one SenML JSON pack (RFC 8428 section 5), written piece by piece: records without base fields, each with its whole name, device/signal or
// device/signal/instance, so that they can be cut into packs anywhere. The profile `senml` takes them in again. A block of samples is a record each. Pure.
#include "gateway/export_internal.h"

#include "gateway/nomenclature.h"

#include <stdio.h>

#define RELATIVE_US (INT64_C(268435456) * 1000000) // section 4.5.3: times below are relative

static char *
begin(struct gw_export_writer *writer, char *to)
{
	*to++ = '[';
	return to;
}

// {"n":"device/signal/1"
static void
set_series(struct gw_export_writer *writer, const struct gw_series_info *series)
{
	char name[GW_ID_MAX + 128], spare[16], *to = writer->prefix.at;
	int len = snprintf(name, sizeof(name), "%s/%.96s", series->device, export_signal_name(series->signal, spare));

	if (series->instance > 0)
		len += snprintf(name + len, sizeof(name) - (size_t)len, "/%u", series->instance);
	to = export_literal(to, "{\"n\":");
	to = export_json(to, gw_span(name, (size_t)len));
	writer->prefix.len = (size_t)(to - writer->prefix.at);
}

// SenML's own names (RFC 8428 section 12.1, RFC 8798), where they differ from UCUM; "%" would mean a ratio.
static const char *
senml_unit(uint32_t code)
{
	static const struct { const char *ucum, *senml; } names[] = { { "%", "/100" }, { "1", "/" }, { "{beat}/min", "beat/min" }, { "/min", "1/min" },
		{ "/s", "1/s" }, { "{breath}/min", "1/min" } };
	const char *ucum = export_unit(code);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(names[i].ucum, ucum) == 0)
			return names[i].senml;
	return ucum;
}

// ,"u":"beat/min","t":   and   ,"received_unit":"...","flags":"questionable test"
static void
set_form(struct gw_export_writer *writer, const struct gw_reading *reading)
{
	char *to = writer->unit.at;

	if (reading->unit != 0) {
		to = export_literal(to, ",\"u\":\"");
		to = export_text(to, senml_unit(reading->unit));
		*to++ = '"';
	}
	to = export_literal(to, ",\"t\":");
	writer->unit.len = (size_t)(to - writer->unit.at);
	to = writer->tail.at;
	if (writer->form.made && reading->unit_received.len > 0 && !gw_span_is(reading->unit_received, senml_unit(reading->unit))) {
		to = export_literal(to, ",\"received_unit\":");
		to = export_json(to, reading->unit_received);
	}
	if (reading->flags != 0) {
		to = export_literal(to, ",\"flags\":\"");
		to = export_flags(to, reading->flags, " ", 0);
		*to++ = '"';
	}
	writer->tail.len = (size_t)(to - writer->tail.at);
}

// What was said, where the value does not say it.
static char *
put_received(char *to, const struct gw_reading *reading, struct gw_span value)
{
	if (reading->received.len == 0 || gw_span_equal(reading->received, value))
		return to;
	to = export_literal(to, ",\"received\":");
	return export_json(to, reading->received);
}

static char *
put_value(struct gw_export_writer *writer, char *to, const struct gw_reading *reading)
{
	const char *refid;
	char *from;

	switch ((enum gw_value_type)reading->type) {
	case GW_VALUE_DECIMAL:
		from = to = export_literal(to, ",\"v\":");
		to = export_mark(writer, EXPORT_VARY_VALUE, to, export_decimal(to, reading->decimal));
		return put_received(to, reading, gw_span(from, (size_t)(to - from)));
	case GW_VALUE_CODE:
		refid = gw_code_refid(reading->code);
		from = to = export_literal(to, ",\"vs\":\"");
		to = refid != NULL ? export_text(to, refid) : export_unsigned(to, reading->code);
		*to++ = '"';
		return put_received(to, reading, gw_span(from, (size_t)(to - from) - 1));
	case GW_VALUE_TEXT:
		to = export_literal(to, ",\"vs\":");
		to = export_json(to, reading->text);
		return put_received(to, reading, reading->text);
	case GW_VALUE_SAMPLES:
	case GW_VALUE_NONE:
		break;
	}
	to = export_literal(to, ",\"vs\":\"not-available\""); // a record has a value; the profile takes this one for none
	return put_received(to, reading, gw_span("", 0));
}

static char *
put_more(struct gw_export_writer *writer, const struct gw_export_row *row, char *to)
{
	const struct gw_reading *reading = &row->point->reading;

	if (!writer->form.made) {
		to = export_literal(to, ",\"received_unit\":");
		to = export_json(to, reading->unit_received);
	}
	to = export_bytes(to, writer->tail.at, writer->tail.len);
	if (reading->revision > 0)
		to = export_unsigned(export_literal(to, ",\"revision\":"), reading->revision);
	if (reading->sequence > 0)
		to = export_unsigned(export_literal(to, ",\"sequence\":"), reading->sequence);
	to = export_literal(to, ",\"received_time\":\"");
	to = export_mark(writer, EXPORT_VARY_RECEIVED, to, export_time(&writer->received_minute, to, row->point->received_us));
	*to++ = '"';
	if (writer->options.with_bed)
		to = export_json(export_literal(to, ",\"bed\":"), row->bed);
	if (writer->options.with_patient)
		to = export_json(export_literal(to, ",\"patient\":"), row->patient);
	if (row->unsure)
		to = export_literal(to, ",\"unsure\":true");
	*to++ = '}';
	return to;
}

// A record's beginning, up to its time.
static char *
put_head(struct gw_export_writer *writer, char *to, int64_t us, bool first)
{
	to = first ? export_literal(to, "\n") : export_literal(to, ",\n");
	to = export_bytes(to, writer->prefix.at, writer->prefix.len);
	to = export_bytes(to, writer->unit.at, writer->unit.len);
	return export_mark(writer, EXPORT_VARY_SECONDS, to, export_seconds(to, us));
}

// Rounded down; a block's count is far below what would overflow.
static int64_t
sample_after_us(const struct gw_samples *samples, uint32_t i)
{
	return samples->period_ns / 1000 * i + samples->period_ns % 1000 * i / 1000;
}

static char *
put_samples(struct gw_export_writer *writer, const struct gw_export_row *row, char *to, bool first)
{
	const struct gw_reading *reading = &row->point->reading;
	const struct gw_samples *samples = &reading->samples;

	for (uint32_t i = 0; i < samples->count; i++) {
		int32_t sample = export_sample(samples, i);

		if (sample == GW_SAMPLE_MISSING)
			continue;
		to = put_head(writer, to, reading->time_us + sample_after_us(samples, i), first);
		to = export_literal(to, ",\"v\":");
		to = export_decimal(to, (struct gw_decimal){ sample, samples->exponent });
		to = export_bytes(to, writer->tail.at, writer->tail.len);
		*to++ = '}';
		first = false;
	}
	return to;
}

static size_t
sample_room(struct gw_export_writer *writer, const struct gw_reading *reading)
{
	if (!export_form_is(&writer->form, reading))
		set_form(writer, reading);
	return writer->prefix.len + writer->unit.len + writer->tail.len + 6 * reading->unit_received.len + 96;
}

static char *
put_row(struct gw_export_writer *writer, const struct gw_export_row *row, char *to)
{
	const struct gw_reading *reading = &row->point->reading;
	bool first = writer->counts.rows == 0;

	if (reading->time_us < RELATIVE_US)
		return to;
	if (!export_form_is(&writer->form, reading))
		set_form(writer, reading);
	if (reading->type == GW_VALUE_SAMPLES)
		return put_samples(writer, row, to, first);
	to = put_head(writer, to, reading->time_us, first);
	to = put_value(writer, to, reading);
	return put_more(writer, row, to);
}

// Steps are no SenML: whoever asks for them is told so before.
static char *
put_step(struct gw_export_writer *writer, const struct gw_export_row *row, char *to)
{
	return to;
}

static char *
end(struct gw_export_writer *writer, char *to)
{
	return export_literal(to, "\n]\n");
}

const struct export_format gw_export_senml = { .name = "senml", .suffix = ".senml.json", .series = set_series, .begin = begin, .row = put_row,
	.step = put_step, .end = end, .sample_room = sample_room, .same_numbers = true };
