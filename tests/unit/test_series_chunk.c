// SPDX-License-Identifier: Apache-2.0
// The chunk codec: whatever goes in comes out, to the digit; columns are what the readings say; damage is an error; the format stays; sizes stay within the aim.
#include "gateway/bytes.h"
#include "gateway/nomenclature.h"
#include "gateway/record.h"
#include "gateway/series_chunk.h"
#include "tests/bench/physio.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define ARENA (1u << 22)

static struct gw_chunk_encoder *encoder;
static struct gw_chunk_reader *reader;
static struct gw_point points[GW_CHUNK_POINTS_MAX];
static uint8_t arena[ARENA];
static size_t used;
static uint64_t seed;

static int
setup(void **state)
{
	assert_int_equal(gw_nomenclature_open(NULL), GW_OK);
	encoder = gw_chunk_encoder_new();
	reader = gw_chunk_reader_new();
	return encoder != NULL && reader != NULL ? 0 : -1;
}

static int
teardown(void **state)
{
	gw_chunk_encoder_free(encoder);
	gw_chunk_reader_free(reader);
	gw_chunk_encoder_free(NULL);
	gw_chunk_reader_free(NULL);
	return 0;
}

// ---- comparing ----

static void
assert_span(struct gw_span a, struct gw_span b, const char *what, uint32_t i)
{
	if (!gw_span_equal(a, b))
		fail_msg("reading %u: %s \"%.*s\", not \"%.*s\"", i, what, GW_SPAN_FMT(b), GW_SPAN_FMT(a));
}

static void
assert_value(const struct gw_reading *a, const struct gw_reading *b, uint32_t i)
{
	switch ((enum gw_value_type)a->type) {
	case GW_VALUE_DECIMAL:
		if (a->decimal.mantissa != b->decimal.mantissa || a->decimal.exponent != b->decimal.exponent)
			fail_msg("reading %u: %llde%d, not %llde%d", i, (long long)b->decimal.mantissa, b->decimal.exponent, (long long)a->decimal.mantissa, a->decimal.exponent);
		break;
	case GW_VALUE_CODE:
		assert_int_equal(a->code, b->code);
		break;
	case GW_VALUE_TEXT:
		assert_span(a->text, b->text, "text", i);
		break;
	case GW_VALUE_SAMPLES:
		assert_int_equal(a->samples.period_ns, b->samples.period_ns);
		assert_int_equal(a->samples.count, b->samples.count);
		assert_int_equal(a->samples.exponent, b->samples.exponent);
		assert_span(gw_span(a->samples.at, (size_t)a->samples.count * 4), gw_span(b->samples.at, (size_t)b->samples.count * 4), "samples", i);
		break;
	case GW_VALUE_NONE:
		break;
	}
}

static void
assert_point(const struct gw_point *a, const struct gw_point *b, uint8_t places, uint32_t i)
{
	const struct gw_reading *x = &a->reading, *y = &b->reading;

	assert_true(x->time_us == y->time_us);
	assert_true(gw_chunk_received(x->time_us, a->received_us, places) == b->received_us);
	assert_int_equal(x->sequence, y->sequence);
	assert_int_equal(x->revision, y->revision);
	assert_int_equal(x->flags, y->flags);
	assert_int_equal(x->kind, y->kind);
	assert_int_equal(x->type, y->type);
	assert_int_equal(x->unit, y->unit);
	assert_value(x, y, i);
	assert_span(x->received, y->received, "received", i);
	assert_span(x->unit_received, y->unit_received, "unit received", i);
	assert_int_equal(a->origin.door, b->origin.door);
	assert_int_equal(a->origin.auth, b->origin.auth);
	assert_span(a->origin.principal, b->origin.principal, "principal", i);
	assert_span(a->origin.route, b->origin.route, "route", i);
	assert_span(a->origin.profile, b->origin.profile, "profile", i);
}

static double
double_of(const struct gw_reading *reading)
{
	char text[40];

	if (reading->type != GW_VALUE_DECIMAL)
		return NAN;
	snprintf(text, sizeof(text), "%llde%d", (long long)reading->decimal.mantissa, reading->decimal.exponent);
	return strtod(text, NULL);
}

static void
assert_columns(const struct gw_point *in, uint32_t count)
{
	static struct gw_decimal decimals[GW_CHUNK_POINTS_MAX];
	struct gw_chunk_columns columns;

	assert_int_equal(gw_chunk_columns(reader, &columns, NULL), GW_OK);
	assert_int_equal(gw_chunk_decimals(reader, decimals, NULL), GW_OK);
	assert_int_equal(columns.count, count);
	for (uint32_t i = 0; i < count; i++) {
		double expected = double_of(&in[i].reading);
		assert_true(columns.times_us[i] == in[i].reading.time_us);
		assert_int_equal(columns.flags[i], in[i].reading.flags);
		assert_int_equal(columns.revisions == NULL ? 0 : columns.revisions[i], in[i].reading.revision);
		assert_true(isnan(expected) ? isnan(columns.values[i]) : columns.values[i] == expected);
		if (in[i].reading.type == GW_VALUE_DECIMAL)
			assert_true(decimals[i].mantissa == in[i].reading.decimal.mantissa && decimals[i].exponent == in[i].reading.decimal.exponent);
		else
			assert_true(decimals[i].mantissa == 0 && decimals[i].exponent == 0);
	}
}

static void
assert_whole(const struct gw_point *in, uint32_t count, uint8_t places)
{
	struct gw_chunk_whole whole;
	char text[48];

	assert_int_equal(gw_chunk_whole(reader, &whole, NULL), GW_OK);
	assert_int_equal(whole.count, count);
	for (uint32_t i = 0; i < count; i++) {
		const struct gw_reading *reading = &in[i].reading;

		assert_true(whole.times_us[i] == reading->time_us);
		assert_true((int64_t)((uint64_t)whole.times_us[i] + (uint64_t)whole.delays[i] * (uint64_t)whole.delay_unit_us) ==
		    gw_chunk_received(reading->time_us, in[i].received_us, places));
		assert_int_equal(whole.sequences[i], reading->sequence);
		assert_int_equal(whole.revisions[i], reading->revision);
		if (!whole.plain[whole.forms[i]])
			continue;
		assert_int_equal(reading->type, GW_VALUE_DECIMAL);
		assert_true(whole.canonical[i].mantissa == reading->decimal.mantissa && whole.canonical[i].exponent == reading->decimal.exponent);
		if (reading->received.len > 0)
			assert_span(reading->received, gw_span(text, gw_decimal_text(whole.said[i], text)), "received", i);
	}
}

// The chunk on the heap, exactly as long as it is: a sanitizer sees the first byte beyond.
static struct gw_span
copy_of(struct gw_span span)
{
	uint8_t *copy = malloc(span.len);

	assert_non_null(copy);
	memcpy(copy, span.at, span.len);
	return gw_span(copy, span.len);
}

static size_t
round_trip(const struct gw_point *in, uint32_t count, uint8_t places)
{
	struct gw_chunk_options options = { .first_position = 7, .last_position = UINT64_MAX, .received_places = places };
	const struct gw_chunk_head *head;
	enum gw_error error;
	struct gw_point point;
	struct gw_span out;
	struct gw_why why = { "" };
	uint32_t taken;

	if (gw_chunk_encode(encoder, in, count, &options, &taken, &out, &why) != GW_OK)
		fail_msg("%s", why.text);
	assert_int_equal(taken, count);
	out = copy_of(out);
	if (gw_chunk_open(reader, out, &why) != GW_OK)
		fail_msg("%s", why.text);
	head = gw_chunk_head(reader);
	assert_true(head->count == count && head->first_position == 7 && head->last_position == UINT64_MAX);
	assert_true(head->first_us == in[0].reading.time_us && head->last_us == in[count - 1].reading.time_us);
	for (uint32_t i = 0; i < count; i++) {
		assert_true(gw_chunk_next(reader, &point, &error));
		assert_point(&in[i], &point, head->received_places, i);
	}
	assert_false(gw_chunk_next(reader, &point, &error));
	assert_int_equal(error, GW_OK);
	assert_columns(in, count);
	assert_whole(in, count, head->received_places);
	free((void *)out.at);
	return out.len;
}

// ---- days ----

static void
test_days(void **state)
{
	for (int signal = 0; signal < PHYSIO_SIGNALS; signal++)
		for (int clock = PHYSIO_CLOCK_SECONDS; clock <= PHYSIO_CLOCK_NONE; clock++) {
			struct physio_series *series = physio_make((enum physio_signal)signal, (enum physio_clock)clock, 3, 40000 / (signal == PHYSIO_ECG ? 100 : 1));
			assert_non_null(series);
			for (uint32_t at = 0; at < series->count; at += 3600)
				round_trip(series->points + at, series->count - at < 3600 ? series->count - at : 3600, (uint8_t)(clock * 3));
			physio_free(series);
		}
}

// Bytes per reading that must hold, receive times in milliseconds: a change of the encoder that costs room is seen here.
static void
test_sizes(void **state)
{
	static const double most[PHYSIO_SIGNALS] = { [PHYSIO_HEART_RATE] = 1.4, [PHYSIO_SPO2] = 1.2, [PHYSIO_RESPIRATION] = 1.25, [PHYSIO_PERFUSION] = 1.85, [PHYSIO_ABP_SYSTOLIC] = 1.5,
		[PHYSIO_TEMPERATURE] = 1.2, [PHYSIO_FAHRENHEIT] = 1.7, [PHYSIO_NIBP] = 4, [PHYSIO_RHYTHM] = 1.6, [PHYSIO_ECG] = 250 * 0.65 };

	for (int signal = 0; signal < PHYSIO_SIGNALS; signal++) {
		struct physio_series *series = physio_make((enum physio_signal)signal, PHYSIO_CLOCK_SECONDS, 5, signal == PHYSIO_ECG ? 900 : 86400);
		uint32_t n = series->count < 3600 ? series->count : 3600;
		double size = (double)round_trip(series->points, n, GW_CHUNK_RECEIVED_PLACES) / n;
		if (size > most[signal])
			fail_msg("%s: %.3f bytes per reading", physio_name((enum physio_signal)signal), size);
		physio_free(series);
	}
}

// ---- adversaries ----

static uint32_t
below(uint32_t n)
{
	return (uint32_t)(physio_random(&seed) % n);
}

// Any size, small ones more often.
static uint64_t
any_bits(void)
{
	uint32_t bits = below(65);

	return bits == 0 ? 0 : physio_random(&seed) >> (64 - bits);
}

static int64_t
any_number(void)
{
	static const int64_t ends[] = { INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX };
	int64_t value = (int64_t)any_bits();

	if (below(12) == 0)
		return ends[below(7)];
	return below(2) == 0 ? value : (int64_t)(0 - (uint64_t)value);
}

static struct gw_span
any_bytes(uint32_t most)
{
	uint32_t len = below(most + 1);
	uint8_t *at = arena + used;

	if (len > ARENA - used)
		return gw_span(NULL, 0);
	used += len;
	for (uint32_t i = 0; i < len; i++)
		at[i] = (uint8_t)physio_random(&seed);
	return gw_span(at, len);
}

__attribute__((format(printf, 1, 2))) static struct gw_span
printed(const char *format, ...)
{
	char *at = (char *)arena + used;
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(at, 256, format, args);
	va_end(args);
	used += (size_t)len;
	return gw_span(at, (size_t)len);
}

static void
any_decimal(struct gw_reading *reading, uint32_t manner)
{
	static const char *const odd[] = { "+7.5", "1e3", "007", "7.50", "36.599999999999994", "-0", "0", "0.0", " 5", ".5", "5.", "98.6", "-99.9", "1E-3", "nan", "9223372036854775807" };
	char text[48];

	reading->decimal = manner % 3 == 0 ? (struct gw_decimal){ any_number(), (int16_t)physio_random(&seed) } :
	    (struct gw_decimal){ (int64_t)below(4000) - 2000, (int16_t)(-(int)below(manner % 5 + 1)) };
	if (below(3) == 0) {
		reading->received = printed("%s", odd[below(16)]);
		if (below(2) == 0)
			(void)gw_decimal_parse(reading->received, &reading->decimal);
	} else if (below(4) == 0)
		reading->received = any_bytes(70);
	else if (below(8) > 0) {
		gw_decimal_text(reading->decimal, text);
		reading->received = printed("%s", text);
	}
}

static void
any_samples(struct gw_samples *samples, uint32_t most)
{
	int32_t value = (int32_t)physio_random(&seed);
	uint32_t n = below(most + 1), noise = 1u << below(32);
	uint8_t *at = arena + used;

	if ((size_t)n * 4 > ARENA - used)
		n = 0;
	used += (size_t)n * 4;
	for (uint32_t i = 0; i < n; i++) {
		value = (int32_t)((uint32_t)value + below(noise));
		gw_put32(at + i * 4, below(9) == 0 ? (uint32_t)GW_SAMPLE_MISSING : (uint32_t)value);
	}
	*samples = (struct gw_samples){ any_number(), n, (int16_t)physio_random(&seed), at };
}

static void
any_reading(struct gw_reading *reading, uint32_t manner)
{
	reading->flags = manner % 2 == 0 ? (uint16_t)physio_random(&seed) : (uint16_t)below(3);
	reading->kind = (uint8_t)(below(10) == 0 ? physio_random(&seed) : 0);
	reading->type = (uint8_t)(manner % 7 == 0 ? below(5) : below(9) == 0 ? GW_VALUE_NONE : manner % 4 + 1);
	reading->unit = (uint32_t)(below(10) == 0 ? physio_random(&seed) : 262688);
	reading->unit_received = below(5) == 0 ? any_bytes(255) : gw_span_text("%");
	switch ((enum gw_value_type)reading->type) {
	case GW_VALUE_DECIMAL:
		any_decimal(reading, manner);
		return;
	case GW_VALUE_CODE:
		reading->code = below(2) == 0 ? below(5) : (uint32_t)physio_random(&seed);
		break;
	case GW_VALUE_TEXT:
		reading->text = any_bytes(below(3) == 0 ? 300 : 2);
		break;
	case GW_VALUE_SAMPLES:
		any_samples(&reading->samples, 400);
		break;
	case GW_VALUE_NONE:
		break;
	}
	reading->received = reading->type == GW_VALUE_TEXT && below(2) == 0 ? reading->text : any_bytes(below(4) == 0 ? 60 : 0);
}

static int
by_key(const void *a, const void *b)
{
	const struct gw_reading *x = &((const struct gw_point *)a)->reading, *y = &((const struct gw_point *)b)->reading;

	if (x->time_us != y->time_us)
		return x->time_us < y->time_us ? -1 : 1;
	if (x->sequence != y->sequence)
		return x->sequence < y->sequence ? -1 : 1;
	return (x->revision > y->revision) - (x->revision < y->revision);
}

static uint32_t
any_points(uint32_t count, uint32_t manner)
{
	struct gw_origin origin = { 0 };
	uint32_t kept = 0;

	used = 0;
	for (uint32_t i = 0; i < count; i++) {
		struct gw_point *point = &points[i];
		*point = (struct gw_point){ .reading = { .time_us = manner % 3 == 0 ? any_number() : INT64_C(1795132800000000) + below(count * 2) * INT64_C(1000000),
			.sequence = below(3) == 0 ? (uint32_t)any_bits() : 0, .revision = below(5) == 0 ? (uint16_t)any_bits() : 0 } };
		point->received_us = manner % 5 == 0 ? any_number() : (int64_t)((uint64_t)point->reading.time_us + below(100000));
		if (i == 0 || below(20) == 0)
			origin = (struct gw_origin){ (uint8_t)physio_random(&seed), (uint8_t)below(3), any_bytes(64), any_bytes(255), any_bytes(64) };
		point->origin = origin;
		any_reading(&point->reading, manner);
	}
	qsort(points, count, sizeof(*points), by_key);
	for (uint32_t i = 0; i < count; i++)
		if (kept == 0 || by_key(&points[kept - 1], &points[i]) < 0)
			points[kept++] = points[i];
	return kept;
}

static void
test_adversaries(void **state)
{
	for (uint64_t n = 1; n <= 600; n++) {
		seed = n;
		round_trip(points, any_points(1 + below(n % 50 == 0 ? 2000 : 200), (uint32_t)n), (uint8_t)(n % 7));
	}
}

static void
test_full_chunk(void **state)
{
	seed = 99;
	for (uint32_t i = 0; i < GW_CHUNK_POINTS_MAX; i++) {
		points[i] = (struct gw_point){ .reading = { .time_us = (int64_t)i - 2000, .type = GW_VALUE_DECIMAL, .flags = (uint16_t)physio_random(&seed) } };
		points[i].reading.decimal = (struct gw_decimal){ any_number(), (int16_t)physio_random(&seed) };
		points[i].received_us = any_number();
	}
	round_trip(points, GW_CHUNK_POINTS_MAX, 0);
	round_trip(points, GW_CHUNK_POINTS_MAX, 6);
	round_trip(points, 1, 3);
}

static void
test_empty_samples(void **state)
{
	struct gw_chunk_reader *fresh = gw_chunk_reader_new(), *used_before = reader;

	assert_non_null(fresh);
	reader = fresh;
	points[0] = points[1] = (struct gw_point){ .reading = { .type = GW_VALUE_SAMPLES, .samples = { 2000000, 0, -1, NULL } } };
	points[1].reading.sequence = 1;
	round_trip(points, 2, 3);
	reader = used_before;
	gw_chunk_reader_free(fresh);
}

// ---- what was said ----

static void
test_said(void **state)
{
	static const char *const texts[] = { "7.50", "+7.5", "1e3", "007", "7.5", "-0.0", "0", "1200", ".5", "5.", "36.599999999999994", "", "98.6" };
	const struct gw_signal *signal = gw_signal_by_name(gw_span_text("temperature"));
	struct gw_conversion fahrenheit;
	uint32_t n = 0;

	assert_int_equal(gw_conversion_for(signal, gw_unit_by_ucum(gw_span_text("[degF]")), &fahrenheit), GW_OK);
	for (; n < 2 * sizeof(texts) / sizeof(texts[0]); n++) {
		struct gw_reading *reading = &points[n].reading;
		points[n] = (struct gw_point){ .reading = { .signal = signal->code, .type = GW_VALUE_DECIMAL, .time_us = n, .unit = signal->unit->code,
			.received = gw_span_text(texts[n / 2]), .unit_received = gw_span_text(n % 2 == 0 ? "[degF]" : "") } };
		if (gw_decimal_parse(reading->received, &reading->decimal) && n % 2 == 0)
			assert_int_equal(gw_conversion_apply(&fahrenheit, reading->decimal, &reading->decimal), GW_OK);
	}
	round_trip(points, n, 0);
}

// 98.6 [degF] is 37.0: both come back, and the second costs nothing. The profile's own unit (none in the frame) as well, and a ratio given in percent.
static void
converted(const char *name, const char *from, bool sent, int places, double first, double step)
{
	const struct gw_signal *signal = gw_signal_by_name(gw_span_text(name));
	const struct gw_unit *unit = gw_unit_by_ucum(gw_span_text(from));
	struct gw_conversion conversion;
	size_t converted_size, plain_size;

	assert_non_null(signal);
	assert_int_equal(gw_conversion_for(signal, unit, &conversion), GW_OK);
	used = 0;
	for (uint32_t i = 0; i < 1000; i++) {
		struct gw_reading *reading = &points[i].reading;
		points[i] = (struct gw_point){ .reading = { .signal = signal->code, .type = GW_VALUE_DECIMAL, .time_us = i * INT64_C(1000000), .unit = signal->unit->code,
			.received = printed("%.*f", places, first + step * (i % 8)), .unit_received = gw_span_text(sent ? from : "") }, .received_us = i * INT64_C(1000000) };
		assert_true(gw_decimal_parse(reading->received, &reading->decimal));
	}
	plain_size = round_trip(points, 1000, 0);
	for (uint32_t i = 0; i < 1000; i++)
		assert_int_equal(gw_conversion_apply(&conversion, points[i].reading.decimal, &points[i].reading.decimal), GW_OK);
	converted_size = round_trip(points, 1000, 0);
	assert_in_range(converted_size, plain_size, plain_size + 16);
}

static void
test_conversions(void **state)
{
	converted("temperature", "[degF]", true, 1, 97.3, 0.2);
	converted("temperature", "[degF]", false, 1, 97.3, 0.2);
	converted("nibp_systolic", "kPa", true, 2, 15.31, 0.07);
	converted("nibp_systolic", "kPa", false, 2, 15.31, 0.07);
	converted("spo2", "1", true, 3, 0.951, 0.004);
	converted("spo2", "1", false, 3, 0.951, 0.004);
}

// A unit converted by a rule that the codec does not know: kept beside.
static void
test_unknown_conversion(void **state)
{
	used = 0;
	for (uint32_t i = 0; i < 500; i++) {
		points[i] = (struct gw_point){ .reading = { .type = GW_VALUE_DECIMAL, .time_us = i, .received = printed("%u", i), .unit_received = gw_span_text("furlong"),
			.decimal = { (int64_t)i * i, -3 } } };
	}
	round_trip(points, 500, 0);
}

// ---- times ----

static void
test_extreme_times(void **state)
{
	static const int64_t times[] = { INT64_MIN, INT64_MIN + 1, -1, 0, 1, INT64_MAX - 1, INT64_MAX };

	for (uint32_t k = 0; k < 49; k++) {
		for (uint32_t i = 0; i < 7; i++)
			points[i] = (struct gw_point){ .reading = { .time_us = times[i] }, .received_us = times[(i + k) % 7] };
		for (uint8_t places = 0; places <= 6; places++)
			round_trip(points, 7, places);
		round_trip(points + k / 7, 1, (uint8_t)(k % 7));
	}
}

static void
test_received(void **state)
{
	assert_int_equal(gw_chunk_received(1000, 4999, 3), 4000);
	assert_int_equal(gw_chunk_received(1000, 999, 3), 0); // before the device's time: down as well
	assert_int_equal(gw_chunk_received(1001, 1001, 3), 1001); // no device time: exact
	assert_int_equal(gw_chunk_received(1000, 4999, 0), 4999);
}

// What was decoded encodes to the same bytes.
static void
test_again(void **state)
{
	struct physio_series *series = physio_make(PHYSIO_HEART_RATE, PHYSIO_CLOCK_MILLIS, 2, 5000);
	struct gw_chunk_options options = { .received_places = 3 };
	struct gw_span first, second;
	uint32_t n = 0;

	assert_int_equal(gw_chunk_encode(encoder, series->points, 3600, &options, NULL, &first, NULL), GW_OK);
	first = copy_of(first);
	assert_int_equal(gw_chunk_open(reader, first, NULL), GW_OK);
	for (; gw_chunk_next(reader, &points[n], NULL); n++)
		points[n].reading.signal = series->points[0].reading.signal;
	assert_int_equal(gw_chunk_encode(encoder, points, n, &options, NULL, &second, NULL), GW_OK);
	assert_int_equal(first.len, second.len);
	assert_memory_equal(first.at, second.at, first.len);
	free((void *)first.at);
	physio_free(series);
}

static void
test_seek(void **state)
{
	struct gw_chunk_options options = { 0 };
	struct gw_span out;
	struct gw_point point;
	uint32_t n, at;

	seed = 21;
	n = any_points(500, 14); // all types; times that repeat
	assert_int_equal(gw_chunk_encode(encoder, points, n, &options, NULL, &out, NULL), GW_OK);
	assert_int_equal(gw_chunk_open(reader, out, NULL), GW_OK);
	for (uint32_t i = 0; i < 300; i++) {
		at = below(n);
		assert_int_equal(gw_chunk_seek(reader, at, NULL), GW_OK);
		assert_true(gw_chunk_next(reader, &point, NULL));
		assert_point(&points[at], &point, 0, at);
	}
	assert_int_equal(gw_chunk_seek(reader, n, NULL), GW_OK);
	assert_false(gw_chunk_next(reader, &point, NULL));
	assert_int_equal(gw_chunk_seek(reader, n + 1, NULL), GW_E_ARGUMENT);
	for (uint32_t i = 0; i < n; i++) {
		assert_int_equal(gw_chunk_find(reader, points[i].reading.time_us, &at, NULL), GW_OK);
		assert_true(at <= i && points[at].reading.time_us == points[i].reading.time_us && (at == 0 || points[at - 1].reading.time_us < points[i].reading.time_us));
	}
	assert_int_equal(gw_chunk_find(reader, points[n - 1].reading.time_us + 1, &at, NULL), GW_OK);
	assert_int_equal(at, n);
}

// ---- the format ----

// One of each kind; 98.6 [degF] among them.
static uint32_t
kept_points(void)
{
	static const uint8_t samples[] = { 10, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0x80, 9, 0, 0, 0 };
	static const struct gw_origin one = { GW_DOOR_MQTT, GW_AUTH_CERTIFICATE, { (const uint8_t *)"m1", 2 }, { (const uint8_t *)"ward/m1", 7 }, { (const uint8_t *)"p", 1 } };
	const struct gw_reading readings[] = {
		{ .type = GW_VALUE_DECIMAL, .unit = 268192, .decimal = { 370, -1 }, .received = gw_span_text("98.6"), .unit_received = gw_span_text("[degF]") },
		{ .type = GW_VALUE_DECIMAL, .unit = 268192, .decimal = { 370, -1 }, .received = gw_span_text("98.60"), .unit_received = gw_span_text("[degF]") },
		{ .type = GW_VALUE_DECIMAL, .unit = 268192, .decimal = { 372, -1 }, .received = gw_span_text("37.2"), .flags = GW_FLAG_TEST },
		{ .type = GW_VALUE_DECIMAL, .unit = 268192, .decimal = { 75, -1 }, .received = gw_span_text("+7.5") },
		{ .type = GW_VALUE_NONE, .flags = GW_FLAG_NOT_AVAILABLE, .received = gw_span_text("-999") },
		{ .type = GW_VALUE_CODE, .code = 8389632, .received = gw_span_text("sinus") },
		{ .type = GW_VALUE_TEXT, .text = gw_span_text("clear"), .received = gw_span_text("clear"), .kind = GW_KIND_EVENT },
		{ .type = GW_VALUE_SAMPLES, .samples = { 2000000, 4, -3, samples } },
		{ .type = GW_VALUE_DECIMAL, .decimal = { 371, -1 }, .received = gw_span_text("37.1"), .sequence = 2, .revision = 1, .flags = GW_FLAG_REVISION },
	};
	uint32_t n = sizeof(readings) / sizeof(readings[0]);

	for (uint32_t i = 0; i < n; i++) {
		points[i] = (struct gw_point){ .reading = readings[i], .origin = one };
		points[i].reading.time_us = INT64_C(1795132800000000) + i * INT64_C(1000000);
		points[i].received_us = points[i].reading.time_us + 34567 - (int64_t)i * 10000;
	}
	points[n - 1].origin.door = GW_DOOR_COAP;
	return n;
}

// What was once written is read for ever. (An encoder may come to write other bytes; a reader must not come to read these otherwise.)
static void
test_kept_bytes(void **state)
{
	static const uint8_t kept[] = {
		0x1b, 0xac, 0x44, 0xd1, 0x01, 0x03, 0x09, 0x00, 0x00, 0x60, 0xde, 0xec, 0xa9, 0x60, 0x06, 0x00, 0x80, 0xa4, 0xe8, 0x03,
		0x28, 0x07, 0xff, 0xff, 0x7f, 0x07, 0x06, 0x07, 0x07, 0x06, 0x06, 0x06, 0x14, 0x06, 0x03, 0x02, 0x04, 0x05, 0x05, 0x02,
		0x02, 0x03, 0x05, 0x51, 0x21, 0x23, 0x0a, 0x12, 0xbf, 0x02, 0x12, 0x00, 0x06, 0x07, 0x01, 0x19, 0x00, 0xfe, 0x01, 0x07,
		0x80, 0x01, 0x13, 0x01, 0x00, 0x58, 0x07, 0x80, 0x00, 0x00, 0x01, 0x08, 0x04, 0x07, 0x01, 0x00, 0x00, 0x00, 0x01, 0x07,
		0x01, 0x01, 0x00, 0xfe, 0x01, 0x07, 0x01, 0x00, 0x00, 0x00, 0x01, 0x02, 0xfe, 0xff, 0x07, 0x0a, 0x04, 0x96, 0x01, 0x8f,
		0x3f, 0x9e, 0x12, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x28, 0x01, 0x07, 0x01, 0x00, 0x00, 0xfd, 0x01, 0x00, 0xe4, 0x05,
		0x00, 0x01, 0x07, 0x00, 0x01, 0x02, 0x07, 0x02, 0x00, 0x06, 0x24, 0x00, 0x80, 0x92, 0xf4, 0x01, 0x00, 0x05, 0x00, 0x08,
		0x02, 0x01, 0x01, 0x07, 0x02, 0x00, 0x12, 0x29, 0x09, 0x09, 0x09, 0x09, 0x09, 0x07, 0x07, 0x07, 0x07, 0x07, 0x00, 0x01,
		0x00, 0x01, 0x00, 0xa0, 0xaf, 0x10, 0x01, 0x08, 0x01, 0x00, 0x00, 0x00, 0xa0, 0xaf, 0x10, 0x01, 0x00, 0x01, 0x00, 0x00,
		0x04, 0xa0, 0xaf, 0x10, 0x00, 0x02, 0x01, 0x00, 0x00, 0x00, 0xa0, 0xaf, 0x10, 0x00, 0x02, 0x00, 0x00, 0x00, 0x02, 0x00,
		0x00, 0x02, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x02, 0x00, 0x00, 0x00, 0x00, 0x01, 0x04, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x10, 0x00, 0x00, 0x02, 0x0f, 0x0f, 0x01, 0x01, 0x02, 0x6d, 0x31, 0x07, 0x77, 0x61,
		0x72, 0x64, 0x2f, 0x6d, 0x31, 0x01, 0x70, 0x02, 0x01, 0x02, 0x6d, 0x31, 0x07, 0x77, 0x61, 0x72, 0x64, 0x2f, 0x6d, 0x31,
		0x01, 0x70, 0x06, 0x06, 0x04, 0x05, 0x04, 0x04, 0x05, 0x5b, 0x64, 0x65, 0x67, 0x46, 0x5d, 0x00, 0x04, 0x80, 0x00, 0x63,
		0x6c, 0x65, 0x61, 0x72, 0x2b, 0x37, 0x2e, 0x35, 0x2d, 0x39, 0x39, 0x39, 0x73, 0x69, 0x6e, 0x75, 0x73, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00,
	};
	struct gw_span bytes = copy_of(gw_span(kept, sizeof(kept)));
	uint32_t n = kept_points();
	struct gw_point point;
	struct gw_why why = { "" };

	if (gw_chunk_open(reader, bytes, &why) != GW_OK)
		fail_msg("%s", why.text);
	assert_int_equal(gw_chunk_head(reader)->count, n);
	assert_true(gw_chunk_head(reader)->first_position == 40 && gw_chunk_head(reader)->last_position == 47 && gw_chunk_head(reader)->received_places == 3);
	for (uint32_t i = 0; i < n; i++) {
		assert_true(gw_chunk_next(reader, &point, NULL));
		assert_point(&points[i], &point, 3, i);
	}
	assert_false(gw_chunk_next(reader, &point, NULL));
	round_trip(points, n, 3);
	free((void *)bytes.at);
}

// ---- limits ----

static void
test_refused(void **state)
{
	struct gw_chunk_options options = { 0 }, backward = { .first_position = 2, .last_position = 1 }, fine = { .received_places = 7 };
	struct gw_span out;

	points[0] = points[1] = (struct gw_point){ .reading = { .time_us = 5 } };
	assert_int_equal(gw_chunk_encode(encoder, points, 0, &options, NULL, &out, NULL), GW_E_ARGUMENT);
	assert_int_equal(gw_chunk_encode(encoder, points, GW_CHUNK_POINTS_MAX + 1, &options, NULL, &out, NULL), GW_E_ARGUMENT);
	assert_int_equal(gw_chunk_encode(encoder, points, 2, &options, NULL, &out, NULL), GW_E_ARGUMENT); // the same key
	points[1].reading.time_us = 4;
	assert_int_equal(gw_chunk_encode(encoder, points, 2, &options, NULL, &out, NULL), GW_E_ARGUMENT);
	points[0].reading.type = 5;
	assert_int_equal(gw_chunk_encode(encoder, points, 1, &options, NULL, &out, NULL), GW_E_ARGUMENT);
	points[0].reading.type = 0;
	assert_int_equal(gw_chunk_encode(encoder, points, 1, &backward, NULL, &out, NULL), GW_E_ARGUMENT);
	assert_int_equal(gw_chunk_encode(encoder, points, 1, &fine, NULL, &out, NULL), GW_E_ARGUMENT);
}

// The largest readings that the journal takes, at their worst, and several of them together.
static void
test_large(void **state)
{
	struct gw_chunk_options options = { 0 };
	struct gw_span out;
	uint32_t n = (GW_RECORD_MAX - 100) / 4;

	seed = 4;
	for (size_t i = 0; i < GW_RECORD_MAX; i++)
		arena[i] = (uint8_t)physio_random(&seed);
	for (uint32_t i = 0; i < 3; i++)
		points[i] = (struct gw_point){ .reading = { .time_us = i, .type = GW_VALUE_SAMPLES, .samples = { 1, n, 0, arena } } };
	round_trip(points, 1, 0);
	assert_int_equal(gw_chunk_encode(encoder, points, 3, &options, NULL, &out, NULL), GW_E_TOO_LARGE);
	for (uint32_t i = 0; i < 3; i++)
		points[i] = (struct gw_point){ .reading = { .time_us = i, .type = GW_VALUE_TEXT, .text = gw_span(arena + i, GW_RECORD_MAX - 100) } };
	round_trip(points, 1, 0);
	assert_int_equal(gw_chunk_encode(encoder, points, 3, &options, NULL, &out, NULL), GW_E_TOO_LARGE);
	round_trip(points, 1, 0); // the encoder is none the worse for it
}

static void
test_fit(void **state)
{
	struct physio_series *series = physio_make(PHYSIO_HEART_RATE, PHYSIO_CLOCK_SECONDS, 8, 30000);
	struct gw_chunk_options options = { .received_places = 3, .fit_bytes = 4080 };
	uint32_t taken, chunks = 0;
	struct gw_span out;

	for (uint32_t at = 0; series->count - at >= GW_CHUNK_POINTS_MAX; at += taken, chunks++) {
		assert_int_equal(gw_chunk_encode(encoder, series->points + at, GW_CHUNK_POINTS_MAX, &options, &taken, &out, NULL), GW_OK);
		assert_in_range(out.len, 3800, 4080);
		assert_int_equal(gw_chunk_open(reader, out, NULL), GW_OK);
		assert_int_equal(gw_chunk_head(reader)->count, taken);
	}
	assert_true(chunks > 5);
	options.fit_bytes = 10; // less than any: one at least
	assert_int_equal(gw_chunk_encode(encoder, series->points, 100, &options, &taken, &out, NULL), GW_OK);
	assert_int_equal(taken, 1);
	physio_free(series);
	for (uint32_t i = 0; i < 10; i++) // more than any chunk holds: what fits
		points[i] = (struct gw_point){ .reading = { .time_us = i, .type = GW_VALUE_SAMPLES, .samples = { 1, 1u << 18, 0, arena } } };
	options.fit_bytes = GW_CHUNK_BYTES_MAX;
	assert_int_equal(gw_chunk_encode(encoder, points, 4, &options, &taken, &out, NULL), GW_OK);
	assert_in_range(taken, 1, 2);
}

// ---- damage ----

// Reads all there is; whatever it says, it must not crash.
static void
read_all(struct gw_span bytes)
{
	static struct gw_decimal decimals[GW_CHUNK_POINTS_MAX];
	struct gw_chunk_columns columns;
	struct gw_point point;
	uint32_t index;

	if (gw_chunk_open(reader, bytes, NULL) != GW_OK)
		return;
	if (gw_chunk_columns(reader, &columns, NULL) == GW_OK)
		assert_int_equal(columns.count, gw_chunk_head(reader)->count);
	(void)!gw_chunk_decimals(reader, decimals, NULL);
	(void)!gw_chunk_find(reader, 0, &index, NULL);
	while (gw_chunk_next(reader, &point, NULL))
		for (size_t i = 0; i < point.reading.received.len; i++)
			assert_true(point.reading.received.at[i] <= UINT8_MAX);
}

static void
test_damage(void **state)
{
	struct gw_chunk_options options = { .received_places = 3 };
	struct gw_chunk_head head;
	struct gw_point point;
	struct gw_span out;
	uint8_t *bytes;

	seed = 12;
	assert_int_equal(gw_chunk_encode(encoder, points, any_points(60, 14), &options, NULL, &out, NULL), GW_OK);
	out = copy_of(out);
	bytes = (uint8_t *)out.at;
	for (size_t bit = 0; bit < out.len * 8; bit++) {
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_int_equal(gw_chunk_open(reader, out, NULL), GW_E_CORRUPT);
		assert_false(gw_chunk_next(reader, &point, NULL));
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	for (size_t len = 0; len < out.len; len++) {
		struct gw_span cut = copy_of(gw_span(out.at, len));
		assert_int_equal(gw_chunk_open(reader, cut, NULL), GW_E_CORRUPT);
		(void)!gw_chunk_peek(cut, &head, NULL);
		free((void *)cut.at);
	}
	bytes[4] = 2; // a newer version
	gw_put32(bytes, gw_crc32c(0, bytes + 4, out.len - 4));
	assert_int_equal(gw_chunk_open(reader, out, NULL), GW_E_VERSION);
	assert_int_equal(gw_chunk_peek(out, &head, NULL), GW_E_VERSION);
	free(bytes);
}

// Damage under a checksum that fits.
static void
test_forged(void **state)
{
	struct gw_chunk_options options = { .received_places = 3 };
	struct gw_span out, forged;
	uint8_t *bytes;

	for (uint64_t n = 0; n < 40; n++) {
		seed = n;
		assert_int_equal(gw_chunk_encode(encoder, points, any_points(1 + below(80), (uint32_t)n), &options, NULL, &out, NULL), GW_OK);
		out = copy_of(out);
		for (int round = 0; round < 200; round++) {
			forged = copy_of(gw_span(out.at, below(4) == 0 ? 4 + below((uint32_t)out.len - 4) : out.len));
			bytes = (uint8_t *)forged.at;
			for (uint32_t flips = 1 + below(4); flips > 0 && forged.len > 4; flips--)
				bytes[4 + below((uint32_t)forged.len - 4)] = (uint8_t)physio_random(&seed);
			gw_put32(bytes, gw_crc32c(0, bytes + 4, forged.len - 4));
			read_all(forged);
			free(bytes);
		}
		free((void *)out.at);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_days),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_adversaries),
		cmocka_unit_test(test_full_chunk),
		cmocka_unit_test(test_empty_samples),
		cmocka_unit_test(test_said),
		cmocka_unit_test(test_conversions),
		cmocka_unit_test(test_unknown_conversion),
		cmocka_unit_test(test_extreme_times),
		cmocka_unit_test(test_received),
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_seek),
		cmocka_unit_test(test_kept_bytes),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_large),
		cmocka_unit_test(test_fit),
		cmocka_unit_test(test_damage),
		cmocka_unit_test(test_forged),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
