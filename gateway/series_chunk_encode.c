// SPDX-License-Identifier: Apache-2.0
// Chunks, writing: a survey of the points (what was said, and how it became canonical), dictionaries, columns, head. Pure; one encoder by one thread at a time.
#include "gateway/record.h"
#include "gateway/series_chunk_layout.h"

#include <stdlib.h>

#define HEAD_ROOM 512    // the head is written last, in front of the columns
#define LEARN_MAX 32     // points of a chunk whose conversion is looked for anew
#define APART_SHARE 50   // one number in so many may be finer than the rest's exponent
#define FIT_TRIES 5

struct gw_chunk_encoder {
	const struct gw_point *points;
	uint32_t count;
	struct chunk_words forms, origins, words;
	struct gw_conversion conversions[CONVERSIONS_MAX];
	uint8_t conversions_count, learnt, conversion_last;
	int16_t exponent; // of NUMBER
	enum chunk_exponents exponents;

	// Of each point
	struct gw_decimal said[GW_CHUNK_POINTS_MAX];
	struct chunk_form form[GW_CHUNK_POINTS_MAX];

	int64_t column[2 * GW_CHUNK_POINTS_MAX]; // the one being written
	int64_t *samples;
	size_t samples_room;
	uint8_t *out;
};

struct gw_chunk_encoder *
gw_chunk_encoder_new(void)
{
	struct gw_chunk_encoder *e = calloc(1, sizeof(*e));

	if (e == NULL || (e->out = malloc(HEAD_ROOM + GW_CHUNK_BYTES_MAX)) == NULL) {
		free(e);
		return NULL;
	}
	return e;
}

void
gw_chunk_encoder_free(struct gw_chunk_encoder *e)
{
	if (e == NULL)
		return;
	chunk_words_fini(&e->forms);
	chunk_words_fini(&e->origins);
	chunk_words_fini(&e->words);
	free(e->samples);
	free(e->out);
	free(e);
}

// Rounded down. Where the distance does not fit, it is kept exactly: *exact.
static int64_t
steps_after(int64_t time_us, int64_t received_us, int64_t step, bool *exact)
{
	int64_t after, steps, whole;

	if (__builtin_sub_overflow(received_us, time_us, &after))
		return *exact = true, 0;
	steps = after / step - (after % step < 0);
	if (__builtin_mul_overflow(steps, step, &whole) || __builtin_add_overflow(time_us, whole, &whole))
		*exact = true;
	return steps;
}

int64_t
gw_chunk_received(int64_t time_us, int64_t received_us, uint8_t places)
{
	bool exact = false;
	int64_t step = chunk_pow10[places], steps = steps_after(time_us, received_us, step, &exact);

	return exact ? received_us : time_us + steps * step;
}

// ---- the survey ----

static bool
in_order(const struct gw_reading *a, const struct gw_reading *b)
{
	if (a->time_us != b->time_us)
		return a->time_us < b->time_us;
	if (a->sequence != b->sequence)
		return a->sequence < b->sequence;
	return a->revision < b->revision;
}

static bool
same_decimal(struct gw_decimal a, struct gw_decimal b)
{
	return a.mantissa == b.mantissa && a.exponent == b.exponent;
}

static bool
converts(const struct gw_conversion *c, struct gw_decimal said, struct gw_decimal canonical)
{
	struct gw_decimal result;

	return abs(said.exponent) <= CONVERT_EXPONENT_MAX && gw_conversion_apply(c, said, &result) == GW_OK && same_decimal(result, canonical);
}

// Keeps a conversion that does what was done.
static bool
learn(struct gw_chunk_encoder *e, const struct gw_conversion *c, struct gw_decimal said, struct gw_decimal canonical)
{
	if (abs(c->shift) > CONVERT_EXPONENT_MAX || !converts(c, said, canonical))
		return false;
	e->conversion_last = e->conversions_count++;
	e->conversions[e->conversion_last] = *c;
	return true;
}

// From the unit that came; where none came the profile supplied it: a shift of the point, or one of the units that are usual.
static bool
learn_some(struct gw_chunk_encoder *e, const struct gw_reading *reading, struct gw_decimal said)
{
	static const char *const usual[] = { "[degF]", "kPa", "mmol/L", "K", "mm[Hg]", "Cel", "[psi]", "cm[H2O]", "mbar", "[lb_av]", "[in_i]", "g/L", "umol/L", "L/min", "g", "%" };
	const struct gw_signal *signal = gw_signal_by_code(reading->signal);
	const struct gw_unit *from = gw_unit_by_ucum(reading->unit_received);
	struct gw_conversion c = { .num = 1, .den = 1, .offset_den = 1, .shift = (int16_t)(reading->decimal.exponent - said.exponent) };

	if (learn(e, &c, said, reading->decimal))
		return true;
	if (signal == NULL)
		return false;
	if (from != NULL && gw_conversion_for(signal, from, &c) == GW_OK)
		return learn(e, &c, said, reading->decimal);
	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
		from = gw_unit_by_ucum(gw_span_text(usual[i]));
		if (from != NULL && gw_conversion_for(signal, from, &c) == GW_OK && learn(e, &c, said, reading->decimal))
			return true;
	}
	return false;
}

// Which conversion makes the canonical value of what was said. False: none that is known.
static bool
find_conversion(struct gw_chunk_encoder *e, const struct gw_reading *reading, struct gw_decimal said, uint8_t *which)
{
	*which = 0;
	if (same_decimal(said, reading->decimal))
		return true;
	*which = e->conversion_last;
	if (*which > 0 && converts(&e->conversions[*which], said, reading->decimal))
		return true;
	for (*which = 1; *which < e->conversions_count; ++*which)
		if (converts(&e->conversions[*which], said, reading->decimal)) {
			e->conversion_last = *which;
			return true;
		}
	if (e->conversions_count == CONVERSIONS_MAX || e->learnt++ >= LEARN_MAX) {
		e->learnt = LEARN_MAX;
		return false;
	}
	*which = e->conversions_count;
	return learn_some(e, reading, said);
}

static bool
renders(struct gw_decimal value, struct gw_span text)
{
	char rendered[48];

	return text.len < sizeof(rendered) && gw_span_equal(gw_span(rendered, gw_decimal_text(value, rendered)), text);
}

// The number as it was said and how it became canonical; where the characters are not simply that number's, the canonical one.
static void
survey_decimal(struct gw_chunk_encoder *e, uint32_t i)
{
	const struct gw_reading *reading = &e->points[i].reading;
	struct chunk_form *form = &e->form[i];
	struct gw_decimal said;

	e->said[i] = reading->decimal;
	if (reading->received.len == 0)
		form->bits = SAID_NOTHING;
	else if (renders(reading->decimal, reading->received))
		form->bits = SAID_RENDERED;
	else if (gw_decimal_parse(reading->received, &said) && renders(said, reading->received)) {
		form->bits = SAID_RENDERED;
		e->said[i] = said;
		if (!find_conversion(e, reading, said, &form->conversion)) {
			form->conversion = 0;
			form->bits |= FORM_CANONICAL_APART;
		}
	} else
		form->bits = SAID_WORD;
}

static void
survey(struct gw_chunk_encoder *e, uint32_t i)
{
	const struct gw_reading *reading = &e->points[i].reading;
	struct chunk_form *form = &e->form[i];

	*form = (struct chunk_form){ .flags = reading->flags, .kind = reading->kind, .type = reading->type, .unit = reading->unit };
	if (reading->unit_received.len > 0)
		form->unit_word = 1 + chunk_words_add(&e->words, reading->unit_received);
	if (reading->type == GW_VALUE_DECIMAL)
		survey_decimal(e, i);
	else if (reading->received.len == 0)
		form->bits = SAID_NOTHING;
	else
		form->bits = reading->type == GW_VALUE_TEXT && gw_span_equal(reading->text, reading->received) ? SAID_RENDERED : SAID_WORD;
}

// ---- exponents ----

static bool
is_number(const struct gw_chunk_encoder *e, uint32_t i)
{
	return e->form[i].type == GW_VALUE_DECIMAL && (e->form[i].bits & FORM_NUMBER_APART) == 0;
}

// In units of 10^e->exponent.
static bool
scaled(const struct gw_chunk_encoder *e, struct gw_decimal value, int64_t *out)
{
	int up = value.exponent - e->exponent;

	return up >= 0 && up <= 18 && !__builtin_mul_overflow(value.mantissa, chunk_pow10[up], out);
}

// The least exponent, but for a few numbers finer than the rest (36.599999999999994 among 36.6), which go apart.
static void
choose_exponent(struct gw_chunk_encoder *e)
{
	uint32_t by_exponent[2 * CONVERT_EXPONENT_MAX + 1] = { 0 }, seen = 0;
	int64_t number;
	int least = 0;

	for (uint32_t i = 0; i < e->count; i++)
		if (is_number(e, i) && abs(e->said[i].exponent) <= CONVERT_EXPONENT_MAX) {
			by_exponent[e->said[i].exponent + CONVERT_EXPONENT_MAX]++;
			seen++;
		}
	for (uint32_t finer = seen > 0 ? by_exponent[0] : 0; seen > 0 && finer <= seen / APART_SHARE; finer += by_exponent[++least])
		continue;
	e->exponent = (int16_t)(least - CONVERT_EXPONENT_MAX);
	for (uint32_t i = 0; i < e->count; i++)
		if (is_number(e, i) && !scaled(e, e->said[i], &number))
			e->form[i].bits |= FORM_NUMBER_APART;
}

static struct gw_decimal
trimmed(int64_t number, int exponent)
{
	for (; exponent < 0 && number % 10 == 0; exponent++)
		number /= 10;
	return (struct gw_decimal){ number, (int16_t)exponent };
}

static void
choose_exponents(struct gw_chunk_encoder *e)
{
	bool same = true, trim = true;
	int64_t number;

	for (uint32_t i = 0; i < e->count && (same || trim); i++)
		if (is_number(e, i) && scaled(e, e->said[i], &number)) {
			same = same && e->said[i].exponent == e->exponent;
			trim = trim && same_decimal(trimmed(number, e->exponent), e->said[i]);
		}
	e->exponents = same ? EXPONENTS_SAME : trim ? EXPONENTS_TRIMMED : EXPONENTS_COLUMN;
}

// ---- columns ----

static void
put_conversions(struct gw_chunk_encoder *e, struct chunk_out *out)
{
	for (uint8_t i = 1; i < e->conversions_count; i++) {
		const struct gw_conversion *c = &e->conversions[i];
		const int64_t parts[] = { c->num, c->den, c->offset_num, c->offset_den, c->shift, c->finer };
		for (size_t part = 0; part < sizeof(parts) / sizeof(parts[0]); part++)
			chunk_put_varint(out, chunk_zigzag(parts[part]));
	}
}

static uint32_t
add_form(struct gw_chunk_encoder *e, const struct chunk_form *form)
{
	uint8_t bytes[32];
	struct chunk_out out = { bytes, 0, sizeof(bytes), false };

	chunk_put8(&out, form->bits);
	chunk_put8(&out, form->type);
	chunk_put8(&out, form->kind);
	chunk_put8(&out, form->conversion);
	chunk_put_varint(&out, form->flags);
	chunk_put_varint(&out, form->unit);
	chunk_put_varint(&out, form->unit_word);
	return chunk_words_add(&e->forms, gw_span(bytes, out.len));
}

static uint32_t
add_origin(struct gw_chunk_encoder *e, const struct gw_origin *origin)
{
	const struct gw_span *texts[] = { &origin->principal, &origin->route, &origin->profile };
	uint8_t bytes[1024];
	struct chunk_out out = { bytes, 0, sizeof(bytes), false };

	chunk_put8(&out, origin->door);
	chunk_put8(&out, origin->auth);
	for (size_t i = 0; i < 3; i++) {
		chunk_put_varint(&out, texts[i]->len);
		chunk_put(&out, texts[i]->at, texts[i]->len);
	}
	e->origins.failed |= out.full;
	return chunk_words_add(&e->origins, gw_span(bytes, out.len));
}

static bool
same_origin(const struct gw_origin *a, const struct gw_origin *b)
{
	return a->door == b->door && a->auth == b->auth && gw_span_equal(a->principal, b->principal) && gw_span_equal(a->route, b->route) &&
	    gw_span_equal(a->profile, b->profile);
}

// All zeros need no column.
static void
put_unless_zero(struct gw_chunk_encoder *e, struct chunk_out *out, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (e->column[i] != 0) {
			chunk_pack(out, e->column, n);
			return;
		}
}

static void
put_times(struct gw_chunk_encoder *e, struct chunk_out *out)
{
	for (uint32_t i = 0; i < e->count; i++)
		e->column[i] = (int64_t)((uint64_t)e->points[i].reading.time_us - (uint64_t)e->points[0].reading.time_us);
	put_unless_zero(e, out, e->count);
}

// *places: 0 where a distance does not fit the step.
static void
put_received(struct gw_chunk_encoder *e, struct chunk_out *out, uint8_t *places)
{
	bool exact = false;

	for (uint32_t i = 0; i < e->count; i++)
		e->column[i] = steps_after(e->points[i].reading.time_us, e->points[i].received_us, chunk_pow10[*places], &exact);
	if (exact) {
		*places = 0;
		for (uint32_t i = 0; i < e->count; i++)
			e->column[i] = (int64_t)((uint64_t)e->points[i].received_us - (uint64_t)e->points[i].reading.time_us);
	}
	put_unless_zero(e, out, e->count);
}

static void
put_sequences(struct gw_chunk_encoder *e, struct chunk_out *out)
{
	for (uint32_t i = 0; i < e->count; i++)
		e->column[i] = e->points[i].reading.sequence;
	put_unless_zero(e, out, e->count);
}

static void
put_revisions(struct gw_chunk_encoder *e, struct chunk_out *out)
{
	for (uint32_t i = 0; i < e->count; i++)
		e->column[i] = e->points[i].reading.revision;
	put_unless_zero(e, out, e->count);
}

static void
put_form_indexes(struct gw_chunk_encoder *e, struct chunk_out *out)
{
	for (uint32_t i = 0; i < e->count; i++)
		e->column[i] = add_form(e, &e->form[i]);
	put_unless_zero(e, out, e->count);
}

static void
put_origin_indexes(struct gw_chunk_encoder *e, struct chunk_out *out)
{
	for (uint32_t i = 0; i < e->count; i++)
		e->column[i] = i > 0 && same_origin(&e->points[i].origin, &e->points[i - 1].origin) ? e->column[i - 1] : add_origin(e, &e->points[i].origin);
	put_unless_zero(e, out, e->count);
}

// What is no number of this column repeats the one before it, or the first.
static void
put_numbers(struct gw_chunk_encoder *e, struct chunk_out *out)
{
	uint8_t exponent[2];
	int64_t last = 0;
	uint32_t first = 0;

	while (first < e->count && !is_number(e, first))
		first++;
	if (first == e->count)
		return;
	(void)scaled(e, e->said[first], &last);
	for (uint32_t i = 0; i < e->count; i++) {
		if (is_number(e, i))
			(void)scaled(e, e->said[i], &last);
		e->column[i] = last;
	}
	gw_put16(exponent, (uint16_t)e->exponent);
	chunk_put8(out, (uint8_t)e->exponents);
	chunk_put(out, exponent, 2);
	chunk_pack(out, e->column, e->count);
}

static void
put_exponents(struct gw_chunk_encoder *e, struct chunk_out *out)
{
	int64_t last = 0;

	if (e->exponents != EXPONENTS_COLUMN)
		return;
	for (uint32_t i = 0; i < e->count; i++) {
		if (is_number(e, i))
			last = e->said[i].exponent - e->exponent;
		e->column[i] = last;
	}
	chunk_pack(out, e->column, e->count);
}

static size_t
gather_apart(struct gw_chunk_encoder *e, bool mantissas)
{
	size_t n = 0;

	for (uint32_t i = 0; i < e->count; i++) {
		const struct gw_decimal *canonical = &e->points[i].reading.decimal;
		if ((e->form[i].bits & FORM_NUMBER_APART) != 0)
			e->column[n++] = mantissas ? e->said[i].mantissa : e->said[i].exponent;
		if ((e->form[i].bits & FORM_CANONICAL_APART) != 0)
			e->column[n++] = mantissas ? canonical->mantissa : canonical->exponent;
	}
	return n;
}

static void
put_apart(struct gw_chunk_encoder *e, struct chunk_out *out)
{
	chunk_pack(out, e->column, gather_apart(e, true));
}

static void
put_apart_exponents(struct gw_chunk_encoder *e, struct chunk_out *out)
{
	chunk_pack(out, e->column, gather_apart(e, false));
}

static void
put_values(struct gw_chunk_encoder *e, struct chunk_out *out)
{
	uint8_t code[4];
	size_t n = 0;

	for (uint32_t i = 0; i < e->count; i++) {
		const struct gw_reading *reading = &e->points[i].reading;
		if (reading->type == GW_VALUE_TEXT)
			e->column[n++] = chunk_words_add(&e->words, reading->text);
		else if (reading->type == GW_VALUE_CODE) {
			gw_put32(code, reading->code);
			e->column[n++] = chunk_words_add(&e->words, gw_span(code, 4));
		}
	}
	chunk_pack(out, e->column, n);
}

static void
put_said(struct gw_chunk_encoder *e, struct chunk_out *out)
{
	size_t n = 0;

	for (uint32_t i = 0; i < e->count; i++)
		if ((e->form[i].bits & SAID_MASK) == SAID_WORD)
			e->column[n++] = chunk_words_add(&e->words, e->points[i].reading.received);
	chunk_pack(out, e->column, n);
}

enum sample_part { SAMPLE_PERIOD, SAMPLE_EXPONENT, SAMPLE_COUNT };

static void
put_sample_part(struct gw_chunk_encoder *e, struct chunk_out *out, enum sample_part part)
{
	size_t n = 0;

	for (uint32_t i = 0; i < e->count; i++) {
		const struct gw_samples *samples = &e->points[i].reading.samples;
		if (e->form[i].type == GW_VALUE_SAMPLES)
			e->column[n++] = part == SAMPLE_PERIOD ? samples->period_ns : part == SAMPLE_EXPONENT ? samples->exponent : (int64_t)samples->count;
	}
	chunk_pack(out, e->column, n);
}

static void
put_sample_periods(struct gw_chunk_encoder *e, struct chunk_out *out)
{
	put_sample_part(e, out, SAMPLE_PERIOD);
}

static void
put_sample_exponents(struct gw_chunk_encoder *e, struct chunk_out *out)
{
	put_sample_part(e, out, SAMPLE_EXPONENT);
}

static void
put_sample_counts(struct gw_chunk_encoder *e, struct chunk_out *out)
{
	put_sample_part(e, out, SAMPLE_COUNT);
}

// All samples of all blocks to e->samples; returns how many.
static size_t
gather_samples(struct gw_chunk_encoder *e)
{
	size_t n = 0;

	for (uint32_t i = 0; i < e->count; i++) {
		const struct gw_samples *samples = &e->points[i].reading.samples;
		for (uint32_t k = 0; e->form[i].type == GW_VALUE_SAMPLES && k < samples->count; k++)
			e->samples[n++] = (int32_t)gw_get32(samples->at + (size_t)k * 4);
	}
	return n;
}

static void
put_holes(struct gw_chunk_encoder *e, struct chunk_out *out)
{
	size_t n = gather_samples(e), run = 0;
	bool hole = false, any = false;

	for (size_t i = 0; i < n && !any; i++)
		any = e->samples[i] == GW_SAMPLE_MISSING;
	for (size_t i = 0; i < n && any; i++, run++)
		if ((e->samples[i] == GW_SAMPLE_MISSING) != hole) {
			chunk_put_varint(out, run);
			run = 0;
			hole = !hole;
		}
	if (any)
		chunk_put_varint(out, run);
}

static void
put_samples(struct gw_chunk_encoder *e, struct chunk_out *out)
{
	size_t n = gather_samples(e);
	int64_t last = 0;

	for (size_t i = 0; i < n; i++)
		last = e->samples[i] = e->samples[i] == GW_SAMPLE_MISSING ? last : e->samples[i];
	chunk_pack(out, e->samples, n);
}

// ---- the whole ----

static enum gw_error
check(const struct gw_chunk_encoder *e, struct gw_why *why)
{
	if (e->count == 0 || e->count > GW_CHUNK_POINTS_MAX)
		return gw_fail(why, GW_E_ARGUMENT, "a chunk has 1 to %d readings", GW_CHUNK_POINTS_MAX);
	for (uint32_t i = 0; i < e->count; i++) {
		const struct gw_reading *reading = &e->points[i].reading;
		if (reading->type > GW_VALUE_SAMPLES)
			return gw_fail(why, GW_E_ARGUMENT, "reading %u is of no known type", i);
		if (i > 0 && !in_order(&e->points[i - 1].reading, reading))
			return gw_fail(why, GW_E_ARGUMENT, "reading %u is not in order", i);
	}
	return GW_OK;
}

static enum gw_error
make_room_for_samples(struct gw_chunk_encoder *e, struct gw_why *why)
{
	int64_t *samples;
	size_t n = 0;

	for (uint32_t i = 0; i < e->count; i++)
		if (e->points[i].reading.type == GW_VALUE_SAMPLES)
			n += e->points[i].reading.samples.count;
	if (n > GW_CHUNK_SAMPLES_MAX)
		return gw_fail(why, GW_E_TOO_LARGE, "too many samples for one chunk");
	if (n <= e->samples_room)
		return GW_OK;
	if ((samples = realloc(e->samples, n * sizeof(*samples))) == NULL)
		return gw_fail(why, GW_E_MEMORY, "no memory for %zu samples", n);
	e->samples = samples;
	e->samples_room = n;
	return GW_OK;
}

static void
put_columns(struct gw_chunk_encoder *e, struct chunk_out *out, uint8_t *places, size_t lens[COLUMN_COUNT])
{
	// The dictionaries come last: the columns before them add to them.
	static void (*const puts[COLUMN_COUNT])(struct gw_chunk_encoder *, struct chunk_out *) = {
		[COLUMN_CONVERSIONS] = put_conversions, [COLUMN_TIME] = put_times, [COLUMN_SEQUENCE] = put_sequences, [COLUMN_REVISION] = put_revisions,
		[COLUMN_FORM] = put_form_indexes, [COLUMN_ORIGIN] = put_origin_indexes, [COLUMN_NUMBER] = put_numbers, [COLUMN_EXPONENT] = put_exponents,
		[COLUMN_APART] = put_apart, [COLUMN_APART_EXPONENT] = put_apart_exponents, [COLUMN_VALUE] = put_values, [COLUMN_SAID] = put_said,
		[COLUMN_PERIOD] = put_sample_periods, [COLUMN_SAMPLE_EXPONENT] = put_sample_exponents, [COLUMN_SAMPLE_COUNT] = put_sample_counts,
		[COLUMN_HOLES] = put_holes, [COLUMN_SAMPLES] = put_samples,
	};

	for (int c = 0; c < COLUMN_COUNT; c++) {
		size_t from = out->len;
		if (c == COLUMN_RECEIVED)
			put_received(e, out, places);
		else if (c == COLUMN_FORMS)
			chunk_words_put(&e->forms, out);
		else if (c == COLUMN_ORIGINS)
			chunk_words_put(&e->origins, out);
		else if (c == COLUMN_WORDS && e->words.count > 0)
			chunk_words_put(&e->words, out);
		else if (puts[c] != NULL)
			puts[c](e, out);
		lens[c] = out->len - from;
	}
	chunk_put(out, (const uint8_t[CHUNK_PAD]){ 0 }, CHUNK_PAD);
}

static size_t
make_head(const struct gw_chunk_encoder *e, const struct gw_chunk_options *options, uint8_t places, const size_t lens[COLUMN_COUNT], uint8_t *head)
{
	struct chunk_out out = { head, CHUNK_HEAD, HEAD_ROOM, false };
	int64_t first = e->points[0].reading.time_us, last = e->points[e->count - 1].reading.time_us;
	uint32_t columns = 0;

	head[CHUNK_VERSION_AT] = CHUNK_VERSION;
	head[CHUNK_PLACES] = places;
	gw_put16(head + CHUNK_COUNT, (uint16_t)e->count);
	gw_put64(head + CHUNK_FIRST, (uint64_t)first);
	chunk_put_varint(&out, (uint64_t)last - (uint64_t)first);
	chunk_put_varint(&out, options->first_position);
	chunk_put_varint(&out, options->last_position - options->first_position);
	for (int c = 0; c < COLUMN_COUNT; c++)
		columns |= lens[c] > 0 ? (uint32_t)1 << c : 0;
	chunk_put_varint(&out, columns);
	for (int c = 0; c < COLUMN_COUNT; c++)
		if (lens[c] > 0)
			chunk_put_varint(&out, lens[c]);
	return out.len;
}

static enum gw_error
encode(struct gw_chunk_encoder *e, const struct gw_chunk_options *options, struct gw_span *chunk, struct gw_why *why)
{
	struct chunk_out out = { e->out + HEAD_ROOM, 0, GW_CHUNK_BYTES_MAX - HEAD_ROOM, false };
	uint8_t places = options->received_places, head[HEAD_ROOM];
	size_t lens[COLUMN_COUNT], len;
	enum gw_error error;

	if ((error = make_room_for_samples(e, why)) != GW_OK)
		return error;
	chunk_words_clear(&e->forms);
	chunk_words_clear(&e->origins);
	chunk_words_clear(&e->words);
	e->conversions_count = 1;
	e->learnt = e->conversion_last = 0;
	for (uint32_t i = 0; i < e->count; i++)
		survey(e, i);
	choose_exponent(e);
	choose_exponents(e);
	put_columns(e, &out, &places, lens);
	if (out.full || e->forms.failed || e->origins.failed || e->words.failed)
		return gw_fail(why, GW_E_TOO_LARGE, "too many bytes for one chunk");
	len = make_head(e, options, places, lens, head);
	memcpy(e->out + HEAD_ROOM - len, head, len);
	*chunk = gw_span(e->out + HEAD_ROOM - len, len + out.len);
	gw_put32(e->out + HEAD_ROOM - len, gw_crc32c(0, chunk->at + 4, chunk->len - 4));
	return GW_OK;
}

// A count between what fits and what does not, by proportion; 0: there is nothing between that is worth a try.
static uint32_t
next_count(const struct gw_chunk_encoder *e, uint32_t fits, uint32_t too_many, size_t len, uint32_t fit_bytes)
{
	uint64_t next = (uint64_t)e->count * fit_bytes / (len > 0 ? len : 2 * (uint64_t)fit_bytes);

	if (too_many - fits <= 1 || (e->count == fits && len >= fit_bytes - fit_bytes / 32))
		return 0;
	next -= next / 128;
	return next <= fits ? fits + 1 : next >= too_many ? too_many - 1 : (uint32_t)next;
}

// Finds how many readings just fill fit_bytes.
static enum gw_error
encode_fitting(struct gw_chunk_encoder *e, const struct gw_chunk_options *options, struct gw_span *out, struct gw_why *why)
{
	uint32_t fits = 0, too_many = e->count + 1, next = e->count;
	enum gw_error error = GW_OK;

	for (int try = 0; next > 0; try++) {
		e->count = next;
		error = encode(e, options, out, why);
		if (error != GW_OK && error != GW_E_TOO_LARGE)
			return error;
		if (error == GW_OK && out->len <= options->fit_bytes)
			fits = e->count;
		else
			too_many = e->count;
		next = fits > 0 && try >= FIT_TRIES ? 0 : next_count(e, fits, too_many, error == GW_OK ? out->len : 0, options->fit_bytes);
	}
	if (e->count == fits)
		return GW_OK;
	e->count = fits > 0 ? fits : 1;
	return encode(e, options, out, why);
}

enum gw_error
gw_chunk_encode(struct gw_chunk_encoder *e, const struct gw_point *points, uint32_t count, const struct gw_chunk_options *options, uint32_t *taken,
    struct gw_span *out, struct gw_why *why)
{
	enum gw_error error;

	e->points = points;
	e->count = count;
	if (options->received_places > 6 || options->last_position < options->first_position)
		return gw_fail(why, GW_E_ARGUMENT, "options of a chunk");
	if ((error = check(e, why)) != GW_OK)
		return error;
	error = options->fit_bytes > 0 ? encode_fitting(e, options, out, why) : encode(e, options, out, why);
	if (taken != NULL)
		*taken = e->count;
	return error;
}
