// SPDX-License-Identifier: Apache-2.0
// Exports: every kind of value in every format against golden files; JSON lines are the bus's document byte for byte; rows end where room ends; what a
// device may have said stays in its cell.
#include "gateway/export.h"

#include "gateway/clock.h"
#include "gateway/decode.h"
#include "gateway/nomenclature.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define NOON_US INT64_C(1795176000000000) // 2026-11-20T12:00:00Z

static char buf[1 << 20];
static const uint8_t wave[] = { 1, 0, 0, 0, 254, 255, 255, 255, 0, 0, 0, 128, 12, 0, 0, 0 }; // 1, -2, a hole, 12

static uint32_t
code_of(const char *name)
{
	const struct gw_signal *signal = gw_signal_by_name(gw_span_text(name));

	assert_non_null(signal);
	return signal->code;
}

static struct gw_series_info
series_of(const char *device, const char *signal, uint16_t instance)
{
	struct gw_series_info info = { .id = 1, .signal = code_of(signal), .instance = instance };

	snprintf(info.device, sizeof(info.device), "%s", device);
	return info;
}

static struct gw_point
point_of(const struct gw_series_info *info, int64_t after_us, struct gw_decimal value, const char *received, const char *unit)
{
	struct gw_point point = { .received_us = NOON_US + after_us + 250000, .origin = { .door = GW_DOOR_MQTT, .auth = GW_AUTH_PASSWORD,
		.principal = gw_span_text("hub \"7\""), .route = gw_span_text("x"), .profile = gw_span_text("senml") } };
	const struct gw_signal *signal = gw_signal_by_code(info->signal);

	point.reading = (struct gw_reading){ .signal = info->signal, .instance = info->instance, .time_us = NOON_US + after_us, .type = GW_VALUE_DECIMAL,
		.unit = signal->unit != NULL ? signal->unit->code : 0, .decimal = value, .received = gw_span_text(received), .unit_received = gw_span_text(unit) };
	return point;
}

struct sample {
	struct gw_series_info info;
	struct gw_point point;
	bool unsure;
};

// What there can be: digits, converted units, a revision, a sequence, a code with and without a name, texts that hurt, none, samples with a hole.
static size_t
make_samples(struct sample out[16])
{
	struct sample *s = out;

	memset(out, 0, 16 * sizeof(*out));

	s->info = series_of("monitor-1", "heart_rate", 0);
	s->point = point_of(&s->info, 0, (struct gw_decimal){ 72, 0 }, "72", "");
	s[1] = s[0];
	s[1].point = point_of(&s->info, 1000000, (struct gw_decimal){ 7250, -2 }, "72.50", "bpm");
	s[1].point.reading.flags = GW_FLAG_QUESTIONABLE | GW_FLAG_TEST;
	s[2] = s[1];
	s[2].point.reading.flags |= GW_FLAG_REVISION;
	s[2].point.reading.revision = 1;
	s[2].point.reading.sequence = 3;
	s[2].unsure = true;
	s[3] = s[0];
	s[3].point = point_of(&s->info, 2000001, (struct gw_decimal){ 0, 0 }, "-999", "");
	s[3].point.reading.type = GW_VALUE_NONE;
	s[3].point.reading.flags = GW_FLAG_NOT_AVAILABLE;
	s += 4;
	s->info = series_of("a/b, \"c\"", "temperature", 2);
	s->point = point_of(&s->info, INT64_C(43200000000), (struct gw_decimal){ 370, -1 }, "98.6", "[degF]");
	s++;
	s->info = series_of("=cmd", "temperature", 0);
	s->point = point_of(&s->info, -500, (struct gw_decimal){ -5, -2 }, "-0.05", "a unit of more than thirty-two bytes, with a comma");
	s++;
	s->info = series_of("monitor-1", "ecg_lead_ii", 0);
	s->point = point_of(&s->info, 0, (struct gw_decimal){ 0, 0 }, "", "");
	s->point.reading.type = GW_VALUE_SAMPLES;
	s->point.reading.samples = (struct gw_samples){ .period_ns = 4000000, .count = 4, .exponent = -3, .at = wave };
	s++;
	s->info = series_of("monitor-1", "ecg_lead_ii", 0);
	s->point = point_of(&s->info, 5000, (struct gw_decimal){ 0, 0 }, "=SUM(A1)\r\n\"x\"", "");
	s->point.reading.type = GW_VALUE_TEXT;
	s->point.reading.kind = GW_KIND_EVENT;
	s->point.reading.text = s->point.reading.received;
	s++;
	s->info = series_of("monitor-1", "ecg_lead_ii", 0);
	s->point = point_of(&s->info, 6000, (struct gw_decimal){ 0, 0 }, "x", "");
	s->point.reading.type = GW_VALUE_CODE;
	s->point.reading.code = code_of("heart_rate");
	s[1] = s[0];
	s[1].point.reading.time_us += 1000;
	s[1].point.reading.code = 4294967295u;
	return (size_t)(s + 2 - out);
}

static size_t
write_all(const struct gw_export_options *options)
{
	struct gw_export_writer *writer = gw_export_writer_new(options);
	struct gw_text_out out = { buf, sizeof(buf), 0 };
	struct sample samples[16];
	size_t count = make_samples(samples);

	assert_int_equal(gw_export_begin(writer, &out), 0);
	for (size_t i = 0; i < count; i++) {
		struct gw_export_row row = { .series = &samples[i].info, .point = &samples[i].point, .unsure = samples[i].unsure, .bed = gw_span_text("ICU^1"),
			.patient = gw_span_text("4711^^^KIS") };

		assert_int_equal(gw_export_row(writer, &row, &out), 0);
	}
	assert_int_equal(gw_export_end(writer, &out), 0);
	gw_export_writer_free(writer);
	return out.len;
}

static void
compare(const char *name, size_t len)
{
	static char golden[1 << 16];
	char path[256];
	FILE *file;
	size_t got;

	snprintf(path, sizeof(path), "%s/tests/golden/export/%s", VITALGATE_SOURCE, name);
	if (getenv("VITALGATE_GOLDEN_WRITE") != NULL) {
		assert_non_null(file = fopen(path, "wb"));
		assert_int_equal(fwrite(buf, 1, len, file), len);
		assert_int_equal(fclose(file), 0);
	}
	assert_non_null(file = fopen(path, "rb"));
	got = fread(golden, 1, sizeof(golden), file);
	fclose(file);
	assert_int_equal(got, len);
	assert_memory_equal(golden, buf, len);
}

static void
test_golden(void **state)
{
	static const char *const names[] = { "readings.csv", "readings.jsonl", "readings.senml.json" };

	for (int format = GW_EXPORT_CSV; format <= GW_EXPORT_SENML; format++)
		compare(names[format], write_all(&(struct gw_export_options){ .format = (enum gw_export_format)format, .incarnation = 7, .with_unsure = true }));
	compare("patient.csv", write_all(&(struct gw_export_options){ .format = GW_EXPORT_CSV, .with_bed = true, .with_patient = true }));
	compare("patient.jsonl", write_all(&(struct gw_export_options){ .format = GW_EXPORT_JSONL, .with_bed = true, .with_patient = true }));
}

static void
test_steps(void **state)
{
	struct gw_series_info info = series_of("monitor-1", "heart_rate", 0);
	struct gw_series_step step = { .from_us = NOON_US, .first_us = NOON_US, .last_us = NOON_US + 59250000, .count = 60, .questionable = 2, .min = 60, .max = 72.5,
		.mean = 66.33333333333333, .first = 61, .last = 0.1 };
	struct gw_export_row row = { .series = &info, .step = &step };
	static const char *const names[] = { "steps.csv", "steps.jsonl" };

	for (int format = GW_EXPORT_CSV; format <= GW_EXPORT_JSONL; format++) {
		struct gw_export_writer *writer = gw_export_writer_new(&(struct gw_export_options){ .format = (enum gw_export_format)format, .steps = true });
		struct gw_text_out out = { buf, sizeof(buf), 0 };

		assert_int_equal(gw_export_begin(writer, &out) + gw_export_row(writer, &row, &out) + gw_export_end(writer, &out), 0);
		gw_export_writer_free(writer);
		compare(names[format], out.len);
	}
}

// The members that both have are the same bytes.
static void
check_bus(struct gw_export_writer *writer, const struct sample *sample)
{
	static char bus[1 << 16];
	struct gw_export_row row = { .series = &sample->info, .point = &sample->point };
	struct gw_text_out out = { buf, sizeof(buf), 0 };
	struct gw_batch_head head = { .received_us = sample->point.received_us, .device = gw_span_text(sample->info.device) };
	size_t len = gw_bus_encode(7, &head, &sample->point.reading, bus, sizeof(bus));

	assert_int_equal(gw_export_row(writer, &row, &out), 0);
	assert_true(out.len > len);
	assert_memory_equal(buf, bus, len - 1);
	assert_memory_equal(buf + len - 1, ",\"principal\":", 13);
	assert_int_equal(buf[out.len - 1], '\n');
}

static uint64_t
chance(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static void
test_same_as_bus(void **state)
{
	struct gw_export_writer *writer = gw_export_writer_new(&(struct gw_export_options){ .format = GW_EXPORT_JSONL, .incarnation = 7 });
	uint64_t seed = 88172645463325252u;
	struct sample samples[16];
	size_t count = make_samples(samples);

	for (size_t i = 0; i < count; i++)
		check_bus(writer, &samples[i]);
	for (int i = 0; i < 20000; i++) {
		struct sample *sample = &samples[chance(&seed) % count];
		struct gw_reading *reading = &sample->point.reading;
		static const struct gw_decimal edges[] = { { INT64_MIN, -18 }, { INT64_MAX, 20 }, { -1, -40 }, { 999999999, -6 }, { -1000000000, -6 }, { 5, -6 } };

		reading->time_us = (int64_t)(chance(&seed) % 253402300799000000);
		sample->point.received_us = reading->time_us + (int64_t)(chance(&seed) % 2000000) - 1000000;
		if (reading->type == GW_VALUE_DECIMAL)
			reading->decimal = i % 7 == 0 ? edges[chance(&seed) % 6] :
			    (struct gw_decimal){ (int64_t)chance(&seed) >> chance(&seed) % 64, (int16_t)(chance(&seed) % 10) - 8 };
		reading->flags = (uint16_t)(chance(&seed) % 64);
		check_bus(writer, sample);
	}
	gw_export_writer_free(writer);
}

// Whatever room there is: either the row is there whole, or nothing of it, and what is asked for is enough.
static void
test_room(void **state)
{
	static char small[4096];

	for (int format = GW_EXPORT_CSV; format <= GW_EXPORT_SENML; format++) {
		struct gw_export_options options = { .format = (enum gw_export_format)format, .incarnation = 7 };
		struct gw_export_writer *writer = gw_export_writer_new(&options);
		struct gw_text_out out = { buf, sizeof(buf), 0 };
		size_t whole = write_all(&options), at = 0, count, need;
		struct sample samples[16];
		static char expected[1 << 16];

		memcpy(expected, buf, whole);
		count = make_samples(samples);
		assert_true(gw_export_begin(writer, &(struct gw_text_out){ small, sizeof(small), 0 }) > sizeof(small));
		assert_int_equal(gw_export_begin(writer, &out), 0);
		for (at = 0; at < count; at++) {
			struct gw_export_row row = { .series = &samples[at].info, .point = &samples[at].point, .unsure = samples[at].unsure,
				.bed = gw_span_text("ICU^1"), .patient = gw_span_text("4711^^^KIS") };
			struct gw_text_out tight = { small, 100, 100 };

			need = gw_export_row(writer, &row, &tight);
			assert_true(need > 0 && need <= sizeof(small) * 2);
			assert_int_equal(tight.len, 100);
			out.cap = out.len + need;
			assert_int_equal(gw_export_row(writer, &row, &out), 0);
		}
		out.cap = sizeof(buf);
		assert_int_equal(gw_export_end(writer, &out), 0);
		gw_export_writer_free(writer);
		assert_int_equal(out.len, whole);
		assert_memory_equal(buf, expected, whole);
	}
}

static void
test_what_senml_cannot_say(void **state)
{
	struct gw_export_writer *writer = gw_export_writer_new(&(struct gw_export_options){ .format = GW_EXPORT_SENML });
	struct gw_text_out out = { buf, sizeof(buf), 0 };
	struct sample samples[16];
	struct gw_export_counts counts;
	struct gw_export_row row = { .series = &samples[0].info, .point = &samples[0].point };

	make_samples(samples);
	samples[0].point.reading.time_us = 1000000; // a clock that was never set: SenML would take it for "a second from now"
	assert_int_equal(gw_export_begin(writer, &out), 0);
	assert_int_equal(gw_export_row(writer, &row, &out), 0);
	assert_int_equal(gw_export_end(writer, &out), 0);
	gw_export_counts(writer, &counts);
	assert_int_equal(counts.rows, 0);
	assert_int_equal(counts.left_out, 1);
	assert_int_equal(out.len, 4);
	assert_memory_equal(buf, "[\n]\n", 4);
	gw_export_writer_free(writer);
}

static void
test_formats(void **state)
{
	enum gw_export_format format;

	assert_true(gw_export_format_parse("jsonl", &format));
	assert_int_equal(format, GW_EXPORT_JSONL);
	assert_string_equal(gw_export_suffix(format), ".jsonl");
	assert_false(gw_export_format_parse("json", &format));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden), cmocka_unit_test(test_steps), cmocka_unit_test(test_same_as_bus), cmocka_unit_test(test_room),
		cmocka_unit_test(test_what_senml_cannot_say), cmocka_unit_test(test_formats),
	};

	if (gw_nomenclature_open(NULL) != GW_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
