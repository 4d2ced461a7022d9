// SPDX-License-Identifier: Apache-2.0
// Chunks, reading: columns for plots and roll-ups, and whole readings one by one. Pure; one reader by one thread at a time.
#include "gateway/record.h"
#include "gateway/series_chunk_reader.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

static const double pow10_exact[23] = { 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
	1e21, 1e22 };

// One operation on two exact numbers is rounded correctly; the rest goes through text.
static double
to_double(struct gw_decimal value)
{
	char text[40];

	if (llabs(value.mantissa / 2) <= INT64_C(1) << 52) {
		if (value.exponent <= 0 && value.exponent >= -22)
			return (double)value.mantissa / pow10_exact[-value.exponent];
		if (value.exponent > 0 && value.exponent <= 22)
			return (double)value.mantissa * pow10_exact[value.exponent];
	}
	snprintf(text, sizeof(text), "%llde%d", (long long)value.mantissa, value.exponent);
	return strtod(text, NULL);
}

// ---- decimals ----

static struct gw_decimal
trimmed(int64_t number, int exponent)
{
	for (; exponent < 0 && number % 10 == 0; exponent++)
		number /= 10;
	return (struct gw_decimal){ number, (int16_t)exponent };
}

static struct gw_decimal
number_at(const struct gw_chunk_reader *r, uint32_t i)
{
	int64_t number = r->columns[COLUMN_NUMBER][i], up;

	if (r->exponents == EXPONENTS_TRIMMED)
		return trimmed(number, r->exponent);
	if (r->exponents == EXPONENTS_SAME)
		return (struct gw_decimal){ number, r->exponent };
	up = r->columns[COLUMN_EXPONENT][i];
	return (struct gw_decimal){ number / chunk_pow10[up], (int16_t)(r->exponent + up) };
}

static bool
apart_at(const struct gw_chunk_reader *r, uint32_t at, struct gw_decimal *out)
{
	int64_t exponent = r->columns[COLUMN_APART_EXPONENT][at];

	*out = (struct gw_decimal){ r->columns[COLUMN_APART][at], (int16_t)exponent };
	return exponent >= INT16_MIN && exponent <= INT16_MAX;
}

static bool
convert(struct gw_chunk_reader *r, uint8_t conversion, struct gw_decimal said, struct gw_decimal *out)
{
	struct chunk_converted *c = &r->converted[((uint64_t)said.mantissa ^ conversion) % CHUNK_CONVERTED];

	if (c->conversion != conversion || c->said.mantissa != said.mantissa || c->said.exponent != said.exponent) {
		if (abs(said.exponent) > CONVERT_EXPONENT_MAX || gw_conversion_apply(&r->conversions[conversion], said, &c->canonical) != GW_OK) {
			c->conversion = 0;
			return false;
		}
		c->said = said;
		c->conversion = conversion;
	}
	*out = c->canonical;
	return true;
}

// The number as said and the canonical one; apart: entries of that column before this reading.
static bool
decimals_at(struct gw_chunk_reader *r, uint32_t i, const struct chunk_form *form, uint32_t apart, struct gw_decimal *said, struct gw_decimal *canonical)
{
	if ((form->bits & FORM_NUMBER_APART) == 0)
		*said = number_at(r, i);
	else if (!apart_at(r, apart++, said))
		return false;
	*canonical = *said;
	if ((form->bits & FORM_CANONICAL_APART) != 0)
		return apart_at(r, apart, canonical);
	return form->conversion == 0 || convert(r, form->conversion, *said, canonical);
}

static const struct chunk_form *
form_at(const struct gw_chunk_reader *r, uint32_t i)
{
	return &r->forms[r->columns[COLUMN_FORM][i]];
}

static enum gw_error
load_columns(struct gw_chunk_reader *r, struct gw_why *why)
{
	enum gw_error error;

	if ((error = chunk_load_forms(r, why)) != GW_OK || (error = chunk_load_times(r, why)) != GW_OK)
		return error;
	return chunk_load_decimals(r, why);
}

enum gw_error
gw_chunk_decimals(struct gw_chunk_reader *r, struct gw_decimal *out, struct gw_why *why)
{
	struct chunk_counts done = { 0 };
	struct gw_decimal said;
	enum gw_error error;

	if ((error = load_columns(r, why)) != GW_OK)
		return error;
	for (uint32_t i = 0; i < r->head.count; i++) {
		const struct chunk_form *form = form_at(r, i);
		out[i] = (struct gw_decimal){ 0, 0 };
		if (form->type == GW_VALUE_DECIMAL && !decimals_at(r, i, form, done.apart, &said, &out[i]))
			return chunk_corrupt(why, "a number cannot be");
		chunk_count(&done, form);
	}
	return GW_OK;
}

// ---- whole readings by columns ----

// Of a common size: its text is digits and a point, which read back as the same number.
static bool
is_common(int exponent)
{
	return exponent >= -18 && exponent <= 0;
}

// All of them said alike: no form has a number of its own.
static void
said_numbers(struct gw_chunk_reader *r)
{
	const int64_t *numbers = r->columns[COLUMN_NUMBER], *up = r->columns[COLUMN_EXPONENT];

	if (r->exponents == EXPONENTS_TRIMMED)
		for (uint32_t i = 0; i < r->head.count; i++)
			r->said[i] = trimmed(numbers[i], r->exponent);
	else if (r->exponents == EXPONENTS_SAME)
		for (uint32_t i = 0; i < r->head.count; i++)
			r->said[i] = (struct gw_decimal){ numbers[i], r->exponent };
	else
		for (uint32_t i = 0; i < r->head.count; i++)
			r->said[i] = (struct gw_decimal){ up[i] == 0 ? numbers[i] : numbers[i] / chunk_pow10[up[i]], (int16_t)(r->exponent + up[i]) };
}

static bool
said_one_by_one(struct gw_chunk_reader *r)
{
	struct chunk_counts done = { 0 };

	for (uint32_t i = 0; i < r->head.count; i++) {
		const struct chunk_form *form = form_at(r, i);

		if (form->type == GW_VALUE_DECIMAL) {
			if (!decimals_at(r, i, form, done.apart, &r->said[i], &r->canonical[i]))
				return false;
			if (!is_common(r->said[i].exponent) || r->said[i].mantissa == INT64_MIN)
				r->plain[r->columns[COLUMN_FORM][i]] = false;
		}
		chunk_count(&done, form);
	}
	return true;
}

// What the exponents of the column add at most.
static int
most_up(const struct gw_chunk_reader *r)
{
	int64_t most = 0;

	for (uint32_t i = 0; i < r->head.count; i++)
		most = r->columns[COLUMN_EXPONENT][i] > most ? r->columns[COLUMN_EXPONENT][i] : most;
	return (int)most;
}

// The least of all integers, whose digits alone are no number.
static bool
has_least(const struct gw_chunk_reader *r)
{
	bool has = false;

	for (uint32_t i = 0; i < r->head.count; i++)
		has |= r->columns[COLUMN_NUMBER][i] == INT64_MIN;
	return has;
}

// *converted: the canonical numbers are others than those that were said.
static enum gw_error
whole_numbers(struct gw_chunk_reader *r, bool *converted, struct gw_why *why)
{
	bool common = is_common(r->exponent) && is_common(r->exponent + (r->exponents == EXPONENTS_COLUMN ? most_up(r) : 0)) && !has_least(r);

	*converted = false;
	if (!chunk_room(&r->plain, &r->plain_room, r->forms_list.count, sizeof(*r->plain)) ||
	    (r->said == NULL && (r->said = malloc(GW_CHUNK_POINTS_MAX * sizeof(*r->said))) == NULL) ||
	    (r->canonical == NULL && (r->canonical = malloc(GW_CHUNK_POINTS_MAX * sizeof(*r->canonical))) == NULL))
		return gw_fail(why, GW_E_MEMORY, "no memory for a chunk's numbers");
	for (uint32_t i = 0; i < r->forms_list.count; i++) {
		const struct chunk_form *form = &r->forms[i];

		r->plain[i] = common && form->type == GW_VALUE_DECIMAL && (form->bits & SAID_MASK) != SAID_WORD;
		*converted |= form->bits > SAID_MASK || form->conversion != 0;
	}
	if (!*converted)
		said_numbers(r);
	return !*converted || said_one_by_one(r) ? GW_OK : chunk_corrupt(why, "a number cannot be");
}

enum gw_error
gw_chunk_whole(struct gw_chunk_reader *r, struct gw_chunk_whole *whole, struct gw_why *why)
{
	bool converted;
	enum gw_error error = r->head.count == 0 ? chunk_corrupt(why, "none is open") : chunk_load_whole(r, why);

	if (error != GW_OK || (error = whole_numbers(r, &converted, why)) != GW_OK)
		return error;
	*whole = (struct gw_chunk_whole){ .count = r->head.count, .times_us = r->columns[COLUMN_TIME], .delays = r->columns[COLUMN_RECEIVED],
		.delay_unit_us = chunk_pow10[r->head.received_places], .sequences = r->columns[COLUMN_SEQUENCE], .revisions = r->columns[COLUMN_REVISION],
		.forms = r->columns[COLUMN_FORM], .origins = r->columns[COLUMN_ORIGIN], .plain = r->plain, .samples = r->counts.samples > 0, .said = r->said, .canonical = converted ? r->canonical : r->said };
	return GW_OK;
}

// ---- columns ----

// The numbers as they lie in their column. Returns false where a double cannot hold all of them exactly.
static bool
plain_values(struct gw_chunk_reader *r)
{
	const int64_t *numbers = r->columns[COLUMN_NUMBER];
	double by = pow10_exact[abs(r->exponent) <= 22 ? abs(r->exponent) : 0];
	uint64_t large = 0;

	for (uint32_t i = 0; i < r->head.count; i++)
		large |= (uint64_t)(numbers[i] < 0 ? ~numbers[i] : numbers[i]);
	if (r->exponent < 0)
		for (uint32_t i = 0; i < r->head.count; i++)
			r->values[i] = (double)numbers[i] / by;
	else
		for (uint32_t i = 0; i < r->head.count; i++)
			r->values[i] = (double)numbers[i] * by;
	return large >> 53 == 0 && abs(r->exponent) <= 22;
}

static bool
is_plain(const struct chunk_form *form)
{
	return form->type == GW_VALUE_DECIMAL && form->bits <= SAID_MASK && form->conversion == 0;
}

// A reading that is no plain number of its column; *apart: entries of that column before it.
static bool
special_value(struct gw_chunk_reader *r, uint32_t i, const struct chunk_form *form, uint32_t *apart)
{
	struct chunk_counts counts = { .apart = *apart };
	struct gw_decimal said, canonical;

	r->values[i] = NAN;
	if (form->type != GW_VALUE_DECIMAL)
		return true;
	if (!decimals_at(r, i, form, *apart, &said, &canonical))
		return false;
	r->values[i] = to_double(canonical);
	chunk_count(&counts, form);
	*apart = counts.apart;
	return true;
}

static bool
special_values(struct gw_chunk_reader *r, bool plain)
{
	uint32_t apart = 0;

	for (uint32_t i = 0; i < r->head.count; i++) {
		const struct chunk_form *form = form_at(r, i);
		r->flags[i] = form->flags;
		if ((!plain || !is_plain(form)) && !special_value(r, i, form, &apart))
			return false;
	}
	return true;
}

static bool
only_form_is_plain(const struct gw_chunk_reader *r)
{
	return r->forms_list.count == 1 && is_plain(&r->forms[0]);
}

enum gw_error
gw_chunk_columns(struct gw_chunk_reader *r, struct gw_chunk_columns *columns, struct gw_why *why)
{
	enum gw_error error;
	bool plain;

	if ((error = load_columns(r, why)) != GW_OK || (error = chunk_load(r, COLUMN_REVISION, r->head.count, why)) != GW_OK)
		return error;
	plain = plain_values(r);
	if (plain && only_form_is_plain(r))
		for (uint32_t i = 0; i < r->head.count; i++)
			r->flags[i] = r->forms[0].flags;
	else if (!special_values(r, plain))
		return chunk_corrupt(why, "a number cannot be");
	for (uint32_t i = 0; i < r->head.count && r->bytes[COLUMN_REVISION].len > 0; i++)
		r->revisions[i] = (uint16_t)r->columns[COLUMN_REVISION][i];
	*columns = (struct gw_chunk_columns){ r->head.count, r->columns[COLUMN_TIME], r->values, r->flags,
		r->bytes[COLUMN_REVISION].len > 0 ? r->revisions : NULL };
	return GW_OK;
}

enum gw_error
gw_chunk_delays(struct gw_chunk_reader *r, int64_t *least_us, int64_t *most_us, struct gw_why *why)
{
	enum gw_error error = chunk_load(r, COLUMN_RECEIVED, r->head.count, why);
	int64_t least = INT64_MAX, most = INT64_MIN, step = chunk_pow10[r->head.received_places];

	if (error != GW_OK)
		return error;
	for (uint32_t i = 0; i < r->head.count; i++) {
		int64_t steps = r->columns[COLUMN_RECEIVED][i];
		least = steps < least ? steps : least;
		most = steps > most ? steps : most;
	}
	if (__builtin_mul_overflow(least, step, least_us))
		*least_us = INT64_MIN;
	if (__builtin_mul_overflow(most, step, most_us))
		*most_us = INT64_MAX;
	return GW_OK;
}

// ---- readings ----

static bool
take_decimal(struct gw_chunk_reader *r, const struct chunk_form *form, struct gw_reading *reading)
{
	char *text = r->text + (size_t)r->next * CHUNK_TEXT;
	struct gw_decimal said;

	if (!decimals_at(r, r->next, form, r->done.apart, &said, &reading->decimal))
		return false;
	if ((form->bits & SAID_MASK) == SAID_RENDERED)
		reading->received = gw_span(text, gw_decimal_text(said, text));
	return true;
}

static bool
take_word(const struct gw_chunk_reader *r, const struct chunk_form *form, struct gw_reading *reading)
{
	struct gw_span word = r->words.words[r->columns[COLUMN_VALUE][r->done.values]];

	if (form->type == GW_VALUE_TEXT)
		reading->text = word;
	else if (word.len == 4)
		reading->code = gw_get32(word.at);
	else
		return false;
	if ((form->bits & SAID_MASK) == SAID_RENDERED)
		reading->received = word;
	return true;
}

static bool
take_samples(struct gw_chunk_reader *r, const struct chunk_form *form, struct gw_reading *reading)
{
	uint32_t i = r->done.samples;

	reading->samples = (struct gw_samples){ r->columns[COLUMN_PERIOD][i], (uint32_t)r->columns[COLUMN_SAMPLE_COUNT][i],
		(int16_t)r->columns[COLUMN_SAMPLE_EXPONENT][i], r->samples + r->samples_done * 4 };
	return true;
}

static bool
take_value(struct gw_chunk_reader *r, const struct chunk_form *form, struct gw_reading *reading)
{
	switch ((enum gw_value_type)form->type) {
	case GW_VALUE_DECIMAL:
		return take_decimal(r, form, reading);
	case GW_VALUE_CODE:
	case GW_VALUE_TEXT:
		return take_word(r, form, reading);
	case GW_VALUE_SAMPLES:
		return take_samples(r, form, reading);
	case GW_VALUE_NONE:
		break;
	}
	return true;
}

static bool
take_point(struct gw_chunk_reader *r, const struct chunk_form *form, struct gw_point *point)
{
	uint32_t i = r->next;
	int64_t time = r->columns[COLUMN_TIME][i];
	uint64_t steps = (uint64_t)r->columns[COLUMN_RECEIVED][i];
	struct gw_reading *reading = &point->reading;

	*reading = (struct gw_reading){ .time_us = time, .sequence = (uint32_t)r->columns[COLUMN_SEQUENCE][i],
		.revision = (uint16_t)r->columns[COLUMN_REVISION][i], .flags = form->flags, .kind = form->kind, .type = form->type, .unit = form->unit };
	point->received_us = (int64_t)((uint64_t)time + steps * (uint64_t)chunk_pow10[r->head.received_places]);
	point->origin = r->origins[r->columns[COLUMN_ORIGIN][i]];
	if (form->unit_word > 0)
		reading->unit_received = r->words.words[form->unit_word - 1];
	if ((form->bits & SAID_MASK) == SAID_WORD)
		reading->received = r->words.words[r->columns[COLUMN_SAID][r->done.said]];
	return take_value(r, form, reading);
}

static void
step(struct gw_chunk_reader *r, const struct chunk_form *form)
{
	if (form->type == GW_VALUE_SAMPLES)
		r->samples_done += (size_t)r->columns[COLUMN_SAMPLE_COUNT][r->done.samples];
	chunk_count(&r->done, form);
	r->next++;
}

bool
gw_chunk_next(struct gw_chunk_reader *r, struct gw_point *point, enum gw_error *error)
{
	const struct chunk_form *form;
	enum gw_error result = r->head.count == 0 ? GW_E_CORRUPT : chunk_load_whole(r, NULL);

	if (error != NULL)
		*error = result;
	if (result != GW_OK || r->next == r->head.count)
		return false;
	form = form_at(r, r->next);
	if (!take_point(r, form, point)) {
		if (error != NULL)
			*error = GW_E_CORRUPT;
		return false;
	}
	step(r, form);
	return true;
}

enum gw_error
gw_chunk_seek(struct gw_chunk_reader *r, uint32_t index, struct gw_why *why)
{
	enum gw_error error = chunk_load_whole(r, why);

	if (error != GW_OK)
		return error;
	if (index > r->head.count)
		return gw_fail(why, GW_E_ARGUMENT, "the chunk has no reading %u", index);
	if (index < r->next) {
		r->done = (struct chunk_counts){ 0 };
		r->samples_done = 0;
		r->next = 0;
	}
	while (r->next < index)
		step(r, form_at(r, r->next));
	return GW_OK;
}

enum gw_error
gw_chunk_find(struct gw_chunk_reader *r, int64_t time_us, uint32_t *index, struct gw_why *why)
{
	uint32_t low = 0, high = r->head.count;
	enum gw_error error;

	if (r->head.count == 0)
		return chunk_corrupt(why, "none is open");
	if ((error = chunk_load_times(r, why)) != GW_OK)
		return error;
	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (r->columns[COLUMN_TIME][middle] < time_us)
			low = middle + 1;
		else
			high = middle;
	}
	*index = low;
	return GW_OK;
}
