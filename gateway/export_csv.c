// SPDX-License-Identifier: Apache-2.0
// Exports as CSV (RFC 4180): a header, then a line for each reading or step: all columns, or those that were chosen. schemas/export-format.md names them. Pure.
#include "gateway/export_internal.h"

#include "gateway/nomenclature.h"

#include <stdio.h>

enum column {
	COLUMN_TIME, COLUMN_RECEIVED_TIME, COLUMN_DEVICE, COLUMN_SIGNAL, COLUMN_INSTANCE, COLUMN_MDC, COLUMN_VALUE, COLUMN_COUNT, COLUMN_MIN, COLUMN_MAX, COLUMN_MEAN, COLUMN_FIRST,
	COLUMN_LAST, COLUMN_UNIT, COLUMN_VALUE_RECEIVED, COLUMN_UNIT_RECEIVED, COLUMN_FLAGS, COLUMN_KIND, COLUMN_TYPE, COLUMN_REVISION, COLUMN_SEQUENCE, COLUMN_CODE, COLUMN_PERIOD,
	COLUMN_FIRST_TIME, COLUMN_LAST_TIME, COLUMN_QUESTIONABLE, COLUMN_TEST, COLUMN_BED, COLUMN_PATIENT, COLUMN_UNSURE, COLUMNS
};

// In the order in which they stand where none were chosen.
static const struct {
	const char *name;
	bool reading, step; // of which rows
} columns[COLUMNS] = {
	[COLUMN_TIME] = { "time", true, true }, [COLUMN_RECEIVED_TIME] = { "received_time", true, false }, [COLUMN_DEVICE] = { "device", true, true },
	[COLUMN_SIGNAL] = { "signal", true, true }, [COLUMN_INSTANCE] = { "instance", true, true }, [COLUMN_MDC] = { "mdc", true, true }, [COLUMN_VALUE] = { "value", true, false },
	[COLUMN_COUNT] = { "count", false, true }, [COLUMN_MIN] = { "min", false, true }, [COLUMN_MAX] = { "max", false, true }, [COLUMN_MEAN] = { "mean", false, true },
	[COLUMN_FIRST] = { "first", false, true }, [COLUMN_LAST] = { "last", false, true }, [COLUMN_UNIT] = { "unit", true, true },
	[COLUMN_VALUE_RECEIVED] = { "value_received", true, false }, [COLUMN_UNIT_RECEIVED] = { "unit_received", true, false }, [COLUMN_FLAGS] = { "flags", true, false },
	[COLUMN_KIND] = { "kind", true, false }, [COLUMN_TYPE] = { "type", true, false }, [COLUMN_REVISION] = { "revision", true, false },
	[COLUMN_SEQUENCE] = { "sequence", true, false }, [COLUMN_CODE] = { "code", true, false }, [COLUMN_PERIOD] = { "period_ns", true, false },
	[COLUMN_FIRST_TIME] = { "first_time", false, true }, [COLUMN_LAST_TIME] = { "last_time", false, true }, [COLUMN_QUESTIONABLE] = { "questionable", false, true },
	[COLUMN_TEST] = { "test", false, true }, [COLUMN_BED] = { "bed", true, true }, [COLUMN_PATIENT] = { "patient", true, true }, [COLUMN_UNSURE] = { "unsure", true, true },
};
_Static_assert(COLUMNS <= GW_EXPORT_COLUMNS_MAX, "room for all columns");

// ---- Which ----

static bool
is_there(const struct gw_export_options *options, enum column column)
{
	if (column == COLUMN_BED || column == COLUMN_PATIENT || column == COLUMN_UNSURE)
		return column == COLUMN_BED ? options->with_bed : column == COLUMN_PATIENT ? options->with_patient : options->with_unsure;
	return options->steps ? columns[column].step : columns[column].reading;
}

static void
choose_all(struct gw_export_options *options)
{
	for (int i = 0; i < COLUMNS; i++)
		if (is_there(options, (enum column)i))
			options->columns.at[options->columns.count++] = (uint8_t)i;
}

// The one of this name; COLUMNS: none.
static enum column
find_column(const struct gw_export_options *options, struct gw_span name)
{
	int i = 0;

	while (i < COLUMNS && !(is_there(options, (enum column)i) && gw_span_is(name, columns[i].name)))
		i++;
	return (enum column)i;
}

static enum gw_error
refuse_column(const struct gw_export_options *options, struct gw_span name, struct gw_why *why)
{
	char names[400] = "";
	size_t len = 0;

	for (int i = 0; i < COLUMNS; i++)
		if (is_there(options, (enum column)i))
			len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", len > 0 ? ", " : "", columns[i].name);
	return gw_fail(why, GW_E_ARGUMENT, "there is no column %.*s here; there are %s", (int)(name.len < 32 ? name.len : 32), (const char *)name.at, names);
}

enum gw_error
gw_export_columns_parse(const char *names, struct gw_export_options *options, struct gw_why *why)
{
	struct gw_export_columns *chosen = &options->columns;

	if (options->format != GW_EXPORT_CSV)
		return gw_fail(why, GW_E_ARGUMENT, "columns can be chosen of CSV only");
	for (chosen->count = 0;; names++) {
		size_t len = strcspn(names, ",");
		struct gw_span name = gw_span(names, len);
		enum column column = find_column(options, name);

		if (column == COLUMNS)
			return refuse_column(options, name, why);
		if (memchr(chosen->at, (int)column, chosen->count) != NULL)
			return gw_fail(why, GW_E_ARGUMENT, "the column %s is named twice", columns[column].name);
		chosen->at[chosen->count++] = (uint8_t)column;
		if (*(names += len) == '\0')
			return GW_OK;
	}
}

// ---- Cells ----

static char *
begin(struct gw_export_writer *writer, char *to)
{
	const struct gw_export_columns *chosen = &writer->options.columns;

	for (unsigned i = 0; i < chosen->count; i++) {
		if (i > 0)
			*to++ = ',';
		to = export_text(to, columns[chosen->at[i]].name);
	}
	return export_literal(to, "\r\n");
}

// Keeps what was written from the last cell's end on as this one.
static void
keep_cell(struct gw_export_writer *writer, struct export_words *words, enum column column, const char *end)
{
	size_t len = (size_t)(end - words->at) - words->len;

	writer->cells[column] = gw_span(words->at + words->len, len);
	words->len += len;
}

static void
set_series(struct gw_export_writer *writer, const struct gw_series_info *series)
{
	struct export_words *words = &writer->prefix;
	char spare[16];

	words->len = 0;
	keep_cell(writer, words, COLUMN_DEVICE, export_cell(words->at, gw_span_text(series->device)));
	keep_cell(writer, words, COLUMN_SIGNAL, export_text(words->at + words->len, export_signal_name(series->signal, spare)));
	keep_cell(writer, words, COLUMN_INSTANCE, export_unsigned(words->at + words->len, series->instance));
	keep_cell(writer, words, COLUMN_MDC, export_unsigned(words->at + words->len, series->signal));
}

// A unit as it was said that is too long to be kept is written by the row.
static void
set_form(struct gw_export_writer *writer, const struct gw_reading *reading)
{
	static const char *const types[] = { "none", "decimal", "code", "text", "samples" };
	struct export_words *words = &writer->tail;

	words->len = 0;
	keep_cell(writer, words, COLUMN_UNIT, export_text(words->at, export_unit(reading->unit)));
	if (writer->form.made)
		keep_cell(writer, words, COLUMN_UNIT_RECEIVED, export_cell(words->at + words->len, reading->unit_received));
	keep_cell(writer, words, COLUMN_FLAGS, export_flags(words->at + words->len, reading->flags, " ", 0));
	keep_cell(writer, words, COLUMN_KIND, export_text(words->at + words->len, export_kind(reading->kind)));
	keep_cell(writer, words, COLUMN_TYPE, export_text(words->at + words->len, reading->type < 5 ? types[reading->type] : "none"));
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

static size_t
sample_room(struct gw_export_writer *writer, const struct gw_reading *reading)
{
	return 49;
}

// Of whatever row.
static char *
put_kept(struct gw_export_writer *writer, const struct gw_export_row *row, enum column column, char *to)
{
	switch (column) {
	case COLUMN_BED:
		return export_cell(to, row->bed);
	case COLUMN_PATIENT:
		return export_cell(to, row->patient);
	case COLUMN_UNSURE:
		return row->unsure ? export_literal(to, "true") : to;
	default:
		return export_bytes(to, writer->cells[column].at, writer->cells[column].len);
	}
}

static char *
put_cell(struct gw_export_writer *writer, const struct gw_export_row *row, enum column column, char *to)
{
	const struct gw_reading *reading = &row->point->reading;

	switch (column) {
	case COLUMN_TIME:
		return export_mark(writer, EXPORT_VARY_TIME, to, export_time(&writer->minute, to, reading->time_us));
	case COLUMN_RECEIVED_TIME:
		return export_mark(writer, EXPORT_VARY_RECEIVED, to, export_time(&writer->received_minute, to, row->point->received_us));
	case COLUMN_VALUE:
		return export_mark(writer, EXPORT_VARY_VALUE, to, put_value(to, reading));
	case COLUMN_VALUE_RECEIVED:
		return reading->received.len > 0 ? export_mark(writer, EXPORT_VARY_SAID, to, export_cell(to, reading->received)) : to;
	case COLUMN_UNIT_RECEIVED:
		return writer->form.made ? put_kept(writer, row, column, to) : export_cell(to, reading->unit_received);
	case COLUMN_REVISION:
		return export_unsigned(to, reading->revision);
	case COLUMN_SEQUENCE:
		return export_unsigned(to, reading->sequence);
	case COLUMN_CODE:
		return reading->type == GW_VALUE_CODE ? export_unsigned(to, reading->code) : to;
	case COLUMN_PERIOD:
		return reading->type == GW_VALUE_SAMPLES ? export_number(to, reading->samples.period_ns) : to;
	default:
		return put_kept(writer, row, column, to);
	}
}

static char *
put_row(struct gw_export_writer *writer, const struct gw_export_row *row, char *to)
{
	const struct gw_export_columns *chosen = &writer->options.columns;

	if (!export_form_is(&writer->form, &row->point->reading))
		set_form(writer, &row->point->reading);
	for (unsigned i = 0; i < chosen->count; i++) {
		if (i > 0)
			*to++ = ',';
		to = put_cell(writer, row, (enum column)chosen->at[i], to);
	}
	return export_literal(to, "\r\n");
}

static char *
put_figure(struct gw_export_writer *writer, const struct gw_export_row *row, enum column column, char *to)
{
	const struct gw_signal *signal = gw_signal_by_code(row->series->signal);
	const struct gw_series_step *step = row->step;

	switch (column) {
	case COLUMN_TIME:
		return export_time(&writer->minute, to, step->from_us);
	case COLUMN_COUNT:
		return export_unsigned(to, step->count);
	case COLUMN_MIN:
		return export_float(to, step->min);
	case COLUMN_MAX:
		return export_float(to, step->max);
	case COLUMN_MEAN:
		return export_mean(to, step->mean);
	case COLUMN_FIRST:
		return export_float(to, step->first);
	case COLUMN_LAST:
		return export_float(to, step->last);
	case COLUMN_UNIT:
		return signal != NULL && signal->unit != NULL ? export_text(to, signal->unit->ucum) : to;
	case COLUMN_FIRST_TIME:
		return export_time(&writer->received_minute, to, step->first_us);
	case COLUMN_LAST_TIME:
		return export_time(&writer->received_minute, to, step->last_us);
	case COLUMN_QUESTIONABLE:
		return export_unsigned(to, step->questionable);
	case COLUMN_TEST:
		return export_unsigned(to, step->test);
	default:
		return put_kept(writer, row, column, to);
	}
}

static char *
put_step(struct gw_export_writer *writer, const struct gw_export_row *row, char *to)
{
	const struct gw_export_columns *chosen = &writer->options.columns;

	for (unsigned i = 0; i < chosen->count; i++) {
		if (i > 0)
			*to++ = ',';
		to = put_figure(writer, row, (enum column)chosen->at[i], to);
	}
	return export_literal(to, "\r\n");
}

static char *
end(struct gw_export_writer *writer, char *to)
{
	return to;
}

const struct export_format gw_export_csv = { .name = "csv", .suffix = ".csv", .series = set_series, .begin = begin, .row = put_row, .step = put_step, .end = end,
	.sample_room = sample_room, .choose_all = choose_all };
