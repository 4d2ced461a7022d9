// SPDX-License-Identifier: Apache-2.0
// Exports: the writer of rows, and what its formats share (gateway/export.h). Pure; one writer by one thread at a time.
#include "gateway/export_internal.h"

#include "gateway/clock.h"
#include "gateway/decode.h"
#include "gateway/nomenclature.h"

#include <stdio.h>
#include <stdlib.h>

#define DAY_US INT64_C(86400000000)
#define ROW_BYTES 2560 // of what is not a text of the reading: the prefix, numbers, times, names

static const struct export_format *const formats[] = { [GW_EXPORT_CSV] = &gw_export_csv, [GW_EXPORT_JSONL] = &gw_export_jsonl,
	[GW_EXPORT_SENML] = &gw_export_senml };

bool
gw_export_format_parse(const char *name, enum gw_export_format *format)
{
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
		if (strcmp(name, formats[i]->name) == 0) {
			*format = (enum gw_export_format)i;
			return true;
		}
	}
	return false;
}

const char *
gw_export_format_name(enum gw_export_format format)
{
	return formats[format]->name;
}

const char *
gw_export_suffix(enum gw_export_format format)
{
	return formats[format]->suffix;
}

// ---- What formats share ----

const char export_digits[201] = "00010203040506070809" "10111213141516171819" "20212223242526272829" "30313233343536373839" "40414243444546474849"
    "50515253545556575859" "60616263646566676869" "70717273747576777879" "80818283848586878889" "90919293949596979899";

#define TEN(tens) "." tens "0" "." tens "1" "." tens "2" "." tens "3" "." tens "4" "." tens "5" "." tens "6" "." tens "7" "." tens "8" "." tens "9"
#define HUNDRED(h) TEN(h "0") TEN(h "1") TEN(h "2") TEN(h "3") TEN(h "4") TEN(h "5") TEN(h "6") TEN(h "7") TEN(h "8") TEN(h "9")
const char export_thousandths[4001] = HUNDRED("0") HUNDRED("1") HUNDRED("2") HUNDRED("3") HUNDRED("4") HUNDRED("5") HUNDRED("6") HUNDRED("7") HUNDRED("8") HUNDRED("9");

void
export_minute_set(struct export_minute *minute, int64_t us)
{
	int64_t rest = us % EXPORT_MINUTE_US, of_day = us % DAY_US;
	uint64_t after = (uint64_t)us - (uint64_t)minute->day_us;

	if (after < DAY_US && minute->len > 0) { // of the same day: "HH:MM:" are other ones
		uint32_t number = (uint32_t)(after / EXPORT_MINUTE_US);

		minute->first_us = (int64_t)((uint64_t)minute->day_us + (uint64_t)number * EXPORT_MINUTE_US);
		export_two(minute->text + minute->len - 6, number / 60);
		export_two(minute->text + minute->len - 3, number % 60);
		return;
	}
	minute->day_us = (int64_t)((uint64_t)us - (uint64_t)(of_day < 0 ? of_day + DAY_US : of_day));

	// The minute in which time begins has no beginning; what is said of it is right all the same.
	minute->first_us = (int64_t)((uint64_t)us - (uint64_t)(rest < 0 ? rest + EXPORT_MINUTE_US : rest));
	minute->len = (size_t)(strrchr(gw_time_format(us, minute->text), ':') - minute->text) + 1;
}

char *
export_json(char *to, struct gw_span text)
{
	struct gw_text_out out = { to, 6 * text.len + 2, 0 };

	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] < 0x20 || text.at[i] >= 0x7F || text.at[i] == '"' || text.at[i] == '\\') {
			gw_put_json(&out, text);
			return to + out.len;
		}
	}
	*to++ = '"';
	to = export_bytes(to, text.at, text.len);
	*to++ = '"';
	return to;
}

// The rule of gw_csv_formula(), for bytes with a length.
static bool
is_formula(struct gw_span text)
{
	struct gw_decimal number;
	size_t at = 0;

	while (at < text.len && text.at[at] == '\'')
		at++;
	if (at == text.len || memchr("=@\t\r+-", text.at[at], 6) == NULL)
		return false;
	if (text.at[at] != '+' && text.at[at] != '-')
		return true;
	return text.len - at > 1 && !gw_decimal_parse(gw_span(text.at + at, text.len - at), &number);
}

static char *
put_quoted(char *to, struct gw_span text, bool formula)
{
	*to++ = '"';
	if (formula)
		*to++ = '\'';
	for (size_t i = 0; i < text.len; i++) {
		if (text.at[i] == '"')
			*to++ = '"';
		*to++ = (char)text.at[i];
	}
	*to++ = '"';
	return to;
}

char *
export_cell(char *to, struct gw_span text)
{
	bool quoted = false, formula;

	for (size_t i = 0; i < text.len; i++) {
		uint8_t byte = text.at[i];

		to[i] = (char)byte;
		quoted |= byte < '-' && (byte == ',' || byte == '"' || byte == '\r' || byte == '\n');
	}
	if (text.len == 0 || ((unsigned)(text.at[0] - '0') < 10 && !quoted))
		return to + text.len;
	formula = is_formula(text);
	return quoted || formula ? put_quoted(to, text, formula) : to + text.len;
}

bool
export_form_is(struct export_form *form, const struct gw_reading *reading)
{
	const struct gw_span *said = &reading->unit_received;

	if (form->made && form->flags == reading->flags && form->kind == reading->kind && form->type == reading->type && form->unit == reading->unit &&
	    form->unit_said_len == said->len && (said->len == 0 || memcmp(form->unit_said, said->at, said->len) == 0))
		return true;
	*form = (struct export_form){ .made = said->len <= sizeof(form->unit_said), .flags = reading->flags, .kind = reading->kind, .type = reading->type,
		.unit = reading->unit, .unit_said_len = said->len };
	if (form->made && said->len > 0)
		memcpy(form->unit_said, said->at, said->len);
	return false;
}

const char *
export_signal_name(uint32_t code, char spare[16])
{
	const struct gw_signal *signal = gw_signal_by_code(code);

	if (signal != NULL)
		return signal->name;
	snprintf(spare, 16, "%u", code); // of a newer nomenclature
	return spare;
}

const char *
export_unit(uint32_t code)
{
	const struct gw_unit *unit = gw_unit_by_code(code);

	return unit != NULL ? unit->ucum : "";
}

const char *
export_kind(uint8_t kind)
{
	static const char *const kinds[] = { "measurement", "setting", "event" };

	return kind < 3 ? kinds[kind] : "unknown";
}

char *
export_flags(char *to, uint16_t flags, const char *between, char quote)
{
	static const struct { uint16_t flag; const char *name; } names[] = { { GW_FLAG_QUESTIONABLE, "questionable" },
		{ GW_FLAG_NOT_AVAILABLE, "not_available" }, { GW_FLAG_TEST, "test" }, { GW_FLAG_NO_DEVICE_TIME, "no_device_time" },
		{ GW_FLAG_REVISION, "revision" }, { GW_FLAG_INVALID, "invalid" } };
	bool first = true;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if ((flags & names[i].flag) == 0)
			continue;
		if (!first)
			to = export_text(to, between);
		if (quote != 0)
			*to++ = quote;
		to = export_text(to, names[i].name);
		if (quote != 0)
			*to++ = quote;
		first = false;
	}
	return to;
}

char *
export_float(char *to, double value)
{
	char text[32];

	return export_bytes(to, text, gw_decimal_from_float(value, 64, text));
}

char *
export_mean(char *to, double value)
{
	return to + snprintf(to, 40, "%.9g", value);
}

// ---- The writer ----

struct gw_export_writer *
gw_export_writer_new(const struct gw_export_options *options)
{
	struct gw_export_writer *writer = calloc(1, sizeof(*writer));

	if (writer != NULL) {
		writer->options = *options;
		writer->format = formats[options->format];
		if (writer->format->choose_all != NULL && options->columns.count == 0)
			writer->format->choose_all(&writer->options);
	}
	return writer;
}

void
gw_export_writer_free(struct gw_export_writer *writer)
{
	free(writer);
}

static size_t
lacking(const struct gw_text_out *out, size_t need)
{
	return out->len <= out->cap && out->cap - out->len >= need ? 0 : need;
}

size_t
gw_export_begin(struct gw_export_writer *writer, struct gw_text_out *out)
{
	size_t need = lacking(out, GW_EXPORT_ROOM);

	if (need == 0)
		out->len = (size_t)(writer->format->begin(writer, out->at + out->len) - out->at);
	return need;
}

size_t
gw_export_end(struct gw_export_writer *writer, struct gw_text_out *out)
{
	size_t need = lacking(out, GW_EXPORT_ROOM);

	if (need == 0)
		out->len = (size_t)(writer->format->end(writer, out->at + out->len) - out->at);
	return need;
}

// The series' own words, where they are not those of the last row.
static void
set_series(struct gw_export_writer *writer, const struct gw_series_info *series)
{
	if (writer->any_series && writer->series.signal == series->signal && writer->series.instance == series->instance &&
	    strcmp(writer->series.device, series->device) == 0)
		return;
	writer->series = *series;
	writer->any_series = true;
	writer->format->series(writer, series);
}

// What a row takes at most.
static size_t
room_for(struct gw_export_writer *writer, const struct export_format *format, const struct gw_export_row *row)
{
	const struct gw_point *point = row->point;
	size_t texts = row->bed.len + row->patient.len, need = ROW_BYTES;

	if (point != NULL) {
		const struct gw_reading *reading = &point->reading;

		texts += reading->received.len + reading->unit_received.len + point->origin.principal.len + point->origin.profile.len;
		if (reading->type == GW_VALUE_TEXT)
			texts += reading->text.len;
		else if (reading->type == GW_VALUE_SAMPLES)
			need += reading->samples.count * format->sample_room(writer, reading);
	}
	return need + 6 * texts;
}

void
export_count(struct gw_export_writer *writer, uint64_t rows, int64_t first_us, int64_t last_us)
{
	struct gw_export_counts *counts = &writer->counts;

	if (counts->rows == 0 || first_us < counts->first_us)
		counts->first_us = first_us;
	if (counts->rows == 0 || last_us > counts->last_us)
		counts->last_us = last_us;
	counts->rows += rows;
}

size_t
gw_export_row(struct gw_export_writer *writer, const struct gw_export_row *row, struct gw_text_out *out)
{
	const struct export_format *format = writer->format;
	char *from = out->at + out->len, *to;
	size_t need;
	int64_t time_us = row->step != NULL ? row->step->from_us : row->point->reading.time_us;

	set_series(writer, row->series);
	if ((need = lacking(out, room_for(writer, format, row))) > 0)
		return need;
	to = row->step != NULL ? format->step(writer, row, from) : format->row(writer, row, from);
	if (to == from)
		writer->counts.left_out++;
	else
		export_count(writer, 1, time_us, time_us);
	out->len += (size_t)(to - from);
	return 0;
}

void
gw_export_counts(const struct gw_export_writer *writer, struct gw_export_counts *counts)
{
	*counts = writer->counts;
}
