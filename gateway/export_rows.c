// SPDX-License-Identifier: Apache-2.0
// Rows of a whole stretch of a series, from a chunk's columns (gateway/export.h). Pure; one writer by one thread at a time.
//
// What a row looks like is told in one place only, the format's own row(). It marks which bytes vary from one reading to the next; a row of a form that was not seen in this
// chunk yet is written by it, and becomes the shape of those that follow: the bytes between the marks are copied, and what is marked is written anew. Readings that are more
// than a number (texts, codes, samples, none), revisions and numbered ones are written by row() each.
#include "gateway/export_internal.h"

#include <string.h>

#define COPY_BYTES 32 // at a time, also beyond the end: shapes and rooms have so many to spare

// ---- Shapes ----

void
gw_export_stretch(struct gw_export_writer *writer, const struct gw_export_row *like)
{
	writer->like = *like;
	for (size_t i = 0; i < EXPORT_SHAPES; i++)
		writer->shapes[i].made = false;
}

static bool
is_same_form(const struct gw_chunk_whole *whole, uint32_t i, int64_t form, int64_t origin)
{
	return whole->forms[i] == form && whole->origins[i] == origin && (whole->sequences[i] | whole->revisions[i]) == 0;
}

static uint32_t
end_of_form(const struct gw_chunk_whole *whole, uint32_t i, uint32_t end, int64_t form, int64_t origin)
{
	const int64_t *forms = whole->forms, *origins = whole->origins, *sequences = whole->sequences, *revisions = whole->revisions;

	while (i < end && ((forms[i] ^ form) | (origins[i] ^ origin) | sequences[i] | revisions[i]) == 0)
		i++;
	return i;
}

// Where the shape of readings like this is, or will be; NULL: they have none.
static struct export_shape *
shape_of(struct gw_export_writer *writer, const struct gw_chunk_whole *whole, uint32_t i)
{
	int64_t form = whole->forms[i], origin = whole->origins[i];
	struct export_shape *shape = &writer->shapes[(uint64_t)(form + origin) % EXPORT_SHAPES];

	if (!whole->plain[form] || !is_same_form(whole, i, form, origin) || (writer->format->same_numbers && whole->said != whole->canonical))
		return NULL;
	if (shape->made && (shape->form != form || shape->origin != origin))
		shape->made = false;
	shape->form = form;
	shape->origin = origin;
	return shape;
}

// Of the row that was just written: [from, to) and its marks.
static void
make_shape(struct export_shape *shape, const struct export_trace *trace, const char *from, const char *to)
{
	const char *at = from;

	if (to == from || trace->count > EXPORT_MARKS || to - from > EXPORT_SHAPE_BYTES)
		return;
	memcpy(shape->text, from, (size_t)(to - from));
	for (unsigned i = 0; i <= trace->count; i++) {
		const char *end = i < trace->count ? trace->marks[i].from : to;

		shape->parts[i].at = (uint16_t)(at - from);
		shape->parts[i].len = (uint16_t)(end - at);
		if (i < trace->count) {
			shape->parts[i].vary = trace->marks[i].vary;
			at = trace->marks[i].to;
		}
	}
	shape->count = trace->count;
	shape->room = EXPORT_SHAPE_BYTES + EXPORT_MARKS * EXPORT_VARY_BYTES + COPY_BYTES;
	shape->made = true;
}

// ---- What varies ----

static inline char *
copy_text(char *to, const char *from, size_t len)
{
	memcpy(to, from, COPY_BYTES);
	for (size_t done = COPY_BYTES; done < len; done += COPY_BYTES)
		memcpy(to + done, from + done, COPY_BYTES);
	return to + len;
}

static __attribute__((noinline)) char *
put_new_number(struct export_number *number, char *to, struct gw_decimal value)
{
	char *end = export_decimal(to, value);

	if ((size_t)(end - to) <= sizeof(number->text)) {
		number->value = value;
		number->len = (uint8_t)(end - to);
		memcpy(number->text, to, number->len);
	}
	return end;
}

// Vital signs take few values: the text of most was made already.
static inline char *
put_number(struct gw_export_writer *writer, char *to, struct gw_decimal value)
{
	struct export_number *number = &writer->numbers[(uint64_t)value.mantissa % EXPORT_NUMBERS];

	if (__builtin_expect(number->value.mantissa != value.mantissa || number->value.exponent != value.exponent || number->len == 0, 0))
		return put_new_number(number, to, value);
	memcpy(to, number->text, sizeof(number->text));
	return to + number->len;
}

static char *
put_id(const struct gw_export_writer *writer, char *to, int64_t time_us)
{
	const struct gw_series_info *series = writer->like.series;
	const struct gw_reading reading = { .signal = series->signal, .instance = series->instance, .time_us = time_us };

	return to + gw_reading_id(writer->options.incarnation, gw_span_text(series->device), &reading, to);
}

// A shape as the loop below wants it: nothing that is written can be a part of it, as far as the compiler is concerned.
struct alike {
	const char *text;
	size_t len;
	unsigned vary;
};

static inline char *
put_vary(struct gw_export_writer *writer, unsigned vary, const struct gw_chunk_whole *whole, uint32_t i, char *to)
{
	switch ((enum export_vary)vary) {
	case EXPORT_VARY_TIME:
		return export_time(&writer->minute, to, whole->times_us[i]);
	case EXPORT_VARY_RECEIVED:
		return export_time(&writer->received_minute, to, (int64_t)((uint64_t)whole->times_us[i] + (uint64_t)whole->delays[i] * (uint64_t)whole->delay_unit_us));
	case EXPORT_VARY_SECONDS:
		return export_seconds(to, whole->times_us[i]);
	case EXPORT_VARY_VALUE:
		return put_number(writer, to, whole->canonical[i]);
	case EXPORT_VARY_SAID:
		return put_number(writer, to, whole->said[i]);
	case EXPORT_VARY_ID:
		return put_id(writer, to, whole->times_us[i]);
	}
	return to;
}

// ---- Rows ----

// Those from `i` on that have this shape, before `end`. Returns the one behind the last.
static __attribute__((noinline)) uint32_t
put_alike(struct gw_export_writer *writer, const struct export_shape *shape, const struct gw_chunk_whole *from, uint32_t i, uint32_t end, struct gw_text_out *out)
{
	const struct gw_chunk_whole whole = *from;
	char *to = out->at + out->len, *last;
	struct alike parts[EXPORT_MARKS + 1];
	unsigned count = shape->count;
	uint32_t first = i;

	end = end_of_form(from, i, end, shape->form, shape->origin);

	if (out->len > out->cap || out->cap - out->len < shape->room)
		return i;
	for (unsigned p = 0; p <= count; p++)
		parts[p] = (struct alike){ shape->text + shape->parts[p].at, shape->parts[p].len, shape->parts[p].vary };
	last = out->at + out->cap - shape->room;
	for (; i < end && to <= last; i++) {
		for (unsigned p = 0; p < count; p++) {
			to = copy_text(to, parts[p].text, parts[p].len);
			to = put_vary(writer, parts[p].vary, &whole, i, to);
		}
		to = copy_text(to, parts[count].text, parts[count].len);
	}
	out->len = (size_t)(to - out->at);
	if (i > first)
		export_count(writer, i - first, whole.times_us[first], whole.times_us[i - 1]);
	return i;
}

// One, as row() has it; *need as gw_export_row().
static enum gw_error
put_one(struct gw_export_writer *writer, struct export_shape *shape, const struct gw_series_run *run, uint32_t i, struct gw_text_out *out, size_t *need)
{
	struct gw_export_row row = writer->like;
	struct export_trace trace = { 0 };
	struct gw_point point;
	size_t from = out->len;
	enum gw_error error = gw_chunk_seek(run->chunk, i, NULL);

	if (error != GW_OK || !gw_chunk_next(run->chunk, &point, &error))
		return error != GW_OK ? error : GW_E_CORRUPT;
	point.reading.signal = row.series->signal;
	point.reading.instance = row.series->instance;
	row.point = &point;
	if (shape != NULL && writer->counts.rows > 0) // a file's first row may look otherwise
		writer->trace = &trace;
	*need = gw_export_row(writer, &row, out);
	if (writer->trace != NULL && *need == 0)
		make_shape(shape, &trace, out->at + from, out->at + out->len);
	writer->trace = NULL;
	return GW_OK;
}

enum gw_error
gw_export_rows(struct gw_export_writer *writer, const struct gw_series_run *run, uint32_t most, struct gw_text_out *out, uint32_t *written, size_t *need)
{
	const struct gw_chunk_whole *whole = &run->whole;
	uint32_t i = run->at, end = run->at + (run->count < most ? run->count : most);
	enum gw_error error = GW_OK;

	for (*need = 0; i < end && *need == 0 && error == GW_OK;) {
		struct export_shape *shape = shape_of(writer, whole, i);
		uint32_t from = i;

		if (shape != NULL && shape->made) {
			i = put_alike(writer, shape, whole, i, end, out);
			*need = i == from ? shape->room : 0;
		} else if ((error = put_one(writer, shape, run, i, out, need)) == GW_OK && *need == 0)
			i++;
	}
	*written = i - run->at;
	return error;
}
