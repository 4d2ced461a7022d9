// SPDX-License-Identifier: Apache-2.0
// Exports as CSV (RFC 4180): a header, then a line for each reading or step; schemas/export-format.md names the columns. Pure.
#include "gateway/export_internal.h"

#include "gateway/nomenclature.h"

static char *
begin(struct gw_export_writer *writer, char *to)
{
	if (writer->options.steps)
		to = export_literal(to, "time,device,signal,instance,mdc,count,min,max,mean,first,last,unit,first_time,last_time,questionable,test");
	else
		to = export_literal(to, "time,received_time,device,signal,instance,mdc,value,unit,value_received,unit_received,flags,kind,type,revision,sequence,"
		    "code,period_ns");
	if (writer->options.with_bed)
		to = export_literal(to, ",bed");
	if (writer->options.with_patient)
		to = export_literal(to, ",patient");
	if (writer->options.with_unsure)
		to = export_literal(to, ",unsure");
	return export_literal(to, "\r\n");
}

// ",device,signal,instance,mdc,"
static void
set_series(struct gw_export_writer *writer, const struct gw_series_info *series)
{
	char spare[16], *to = writer->prefix.at;

	*to++ = ',';
	to = export_cell(to, gw_span_text(series->device));
	*to++ = ',';
	to = export_text(to, export_signal_name(series->signal, spare));
	*to++ = ',';
	to = export_unsigned(to, series->instance);
	*to++ = ',';
	to = export_unsigned(to, series->signal);
	*to++ = ',';
	writer->prefix.len = (size_t)(to - writer->prefix.at);
}

// ",unit," and ",unit_received,flags,kind,type,"; a unit as it was said that is too long to be kept is written by the row.
static void
set_form(struct gw_export_writer *writer, const struct gw_reading *reading)
{
	static const char *const types[] = { "none", "decimal", "code", "text", "samples" };
	char *to = writer->unit.at;

	*to++ = ',';
	to = export_text(to, export_unit(reading->unit));
	*to++ = ',';
	writer->unit.len = (size_t)(to - writer->unit.at);
	to = writer->tail.at;
	*to++ = ',';
	if (writer->form.made) {
		to = export_cell(to, reading->unit_received);
		*to++ = ',';
	}
	to = export_flags(to, reading->flags, " ", 0);
	*to++ = ',';
	to = export_text(to, export_kind(reading->kind));
	*to++ = ',';
	to = export_text(to, reading->type < 5 ? types[reading->type] : "none");
	*to++ = ',';
	writer->tail.len = (size_t)(to - writer->tail.at);
}

// With their places, a blank between; a hole is "-".
static char *
put_samples(char *to, const struct gw_samples *samples)
{
	for (uint32_t i = 0; i < samples->count; i++) {
		int32_t sample = export_sample(samples, i);

		if (i > 0)
			*to++ = ' ';
		if (sample == GW_SAMPLE_MISSING)
			*to++ = '-';
		else
			to = export_decimal(to, (struct gw_decimal){ sample, samples->exponent });
	}
	return to;
}

static char *
put_value(char *to, const struct gw_reading *reading)
{
	const char *refid;

	switch ((enum gw_value_type)reading->type) {
	case GW_VALUE_DECIMAL:
		return export_decimal(to, reading->decimal);
	case GW_VALUE_CODE:
		refid = gw_code_refid(reading->code);
		return refid != NULL ? export_text(to, refid) : export_unsigned(to, reading->code);
	case GW_VALUE_TEXT:
		return export_cell(to, reading->text);
	case GW_VALUE_SAMPLES:
		return put_samples(to, &reading->samples);
	case GW_VALUE_NONE:
		break;
	}
	return to;
}

static char *
put_more(struct gw_export_writer *writer, const struct gw_export_row *row, char *to)
{
	if (writer->options.with_bed) {
		*to++ = ',';
		to = export_cell(to, row->bed);
	}
	if (writer->options.with_patient) {
		*to++ = ',';
		to = export_cell(to, row->patient);
	}
	if (writer->options.with_unsure)
		to = row->unsure ? export_literal(to, ",true") : export_literal(to, ",");
	return export_literal(to, "\r\n");
}

// "revision,sequence,code,period_ns"
static char *
put_numbers(char *to, const struct gw_reading *reading)
{
	if (reading->revision == 0 && reading->sequence == 0 && reading->type <= GW_VALUE_DECIMAL)
		return export_literal(to, "0,0,,");
	to = export_unsigned(to, reading->revision);
	*to++ = ',';
	to = export_unsigned(to, reading->sequence);
	*to++ = ',';
	if (reading->type == GW_VALUE_CODE)
		to = export_unsigned(to, reading->code);
	*to++ = ',';
	return reading->type == GW_VALUE_SAMPLES ? export_number(to, reading->samples.period_ns) : to;
}

static size_t
sample_room(struct gw_export_writer *writer, const struct gw_reading *reading)
{
	return 49;
}

static char *
put_row(struct gw_export_writer *writer, const struct gw_export_row *row, char *to)
{
	const struct gw_reading *reading = &row->point->reading;

	if (!export_form_is(&writer->form, reading))
		set_form(writer, reading);
	to = export_time(&writer->minute, to, reading->time_us);
	*to++ = ',';
	to = export_time(&writer->received_minute, to, row->point->received_us);
	to = export_bytes(to, writer->prefix.at, writer->prefix.len);
	to = put_value(to, reading);
	to = export_bytes(to, writer->unit.at, writer->unit.len);
	to = export_cell(to, reading->received);
	if (!writer->form.made) {
		*to++ = ',';
		to = export_cell(to, reading->unit_received);
	}
	to = export_bytes(to, writer->tail.at, writer->tail.len);
	to = put_numbers(to, reading);
	return put_more(writer, row, to);
}

static char *
put_step(struct gw_export_writer *writer, const struct gw_export_row *row, char *to)
{
	const struct gw_signal *signal = gw_signal_by_code(row->series->signal);
	const struct gw_series_step *step = row->step;
	const double figures[] = { step->min, step->max, step->mean, step->first, step->last };

	to = export_time(&writer->minute, to, step->from_us);
	to = export_bytes(to, writer->prefix.at, writer->prefix.len);
	to = export_unsigned(to, step->count);
	for (size_t i = 0; i < 5; i++) {
		*to++ = ',';
		to = i == 2 ? export_mean(to, figures[i]) : export_float(to, figures[i]);
	}
	*to++ = ',';
	if (signal != NULL && signal->unit != NULL)
		to = export_text(to, signal->unit->ucum);
	*to++ = ',';
	to = export_time(&writer->received_minute, to, step->first_us);
	*to++ = ',';
	to = export_time(&writer->received_minute, to, step->last_us);
	*to++ = ',';
	to = export_unsigned(to, step->questionable);
	*to++ = ',';
	to = export_unsigned(to, step->test);
	return put_more(writer, row, to);
}

static char *
end(struct gw_export_writer *writer, char *to)
{
	return to;
}

const struct export_format gw_export_csv = { .name = "csv", .suffix = ".csv", .series = set_series, .begin = begin, .row = put_row, .step = put_step, .end = end,
	.sample_room = sample_room };
