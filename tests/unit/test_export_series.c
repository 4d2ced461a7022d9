// SPDX-License-Identifier: Apache-2.0
// Exports by stretches: whatever lies in the store and however slowly it is taken, the same bytes leave as when each reading is written by itself.
#include "series_help.h"

#include "gateway/export_run.h"
#include "gateway/nomenclature.h"
#include "tests/bench/physio.h"

#include <stdio.h>

#define START_US INT64_C(1795132800000000)
#define DEVICES 3

static uint64_t seed;
static char *expected, *got;
static size_t expected_len, got_len, bytes_cap;

static uint32_t
below(uint32_t n)
{
	return (uint32_t)(physio_random(&seed) % n);
}

static int
make(void **state)
{
	seed = 20261120;
	bytes_cap = (size_t)64 << 20;
	expected = malloc(bytes_cap);
	got = malloc(bytes_cap);
	return expected == NULL || got == NULL ? -1 : series_make(state);
}

static int
finish(void **state)
{
	free(expected);
	free(got);
	return series_finish(state);
}

// ---- Readings ----

static const char *const signals[] = { "heart_rate", "temperature", "spo2", "ecg_lead_ii" };

static uint32_t
code_of(const char *name)
{
	const struct gw_signal *signal = gw_signal_by_name(gw_span_text(name));

	assert_non_null(signal);
	return signal->code;
}

struct texts {
	char received[64];
	uint8_t samples[64];
};

static void
set_number(struct gw_reading *reading, struct texts *texts, struct gw_decimal value)
{
	reading->type = GW_VALUE_DECIMAL;
	reading->decimal = value;
	reading->received = gw_span(texts->received, gw_decimal_text(value, texts->received));
}

// Now and then what is more than a number, or one that looks strange.
static void
set_odd(struct gw_reading *reading, struct texts *texts)
{
	static const struct gw_decimal edges[] = { { INT64_MIN, -18 }, { INT64_MAX, 20 }, { -1, -40 }, { 999999999, -6 }, { -5, 41 }, { 0, -2 }, { -12, 0 } };

	switch (below(8)) {
	case 0:
		set_number(reading, texts, edges[below(7)]);
		return;
	case 1:
		*reading = (struct gw_reading){ .signal = reading->signal, .time_us = reading->time_us, .flags = GW_FLAG_NOT_AVAILABLE, .received = gw_span_text("-999") };
		return;
	case 2:
		reading->type = GW_VALUE_TEXT;
		reading->text = reading->received = gw_span_text("=SUM(A1), \"x\"\r\n");
		return;
	case 3:
		reading->type = GW_VALUE_CODE;
		reading->code = below(2) == 0 ? code_of("heart_rate") : 4000000000u;
		reading->received = gw_span_text("on");
		return;
	case 4:
		set_number(reading, texts, (struct gw_decimal){ 72, 0 });
		reading->received = gw_span_text("+72.");
		return;
	case 5:
		set_number(reading, texts, (struct gw_decimal){ 7250, -2 });
		reading->received = gw_span_text("");
		return;
	case 6:
		for (size_t i = 0; i < sizeof(texts->samples); i++)
			texts->samples[i] = (uint8_t)physio_random(&seed);
		reading->type = GW_VALUE_SAMPLES;
		reading->samples = (struct gw_samples){ .period_ns = 4000000, .count = below(17), .exponent = -3, .at = texts->samples };
		return;
	default:
		reading->sequence = below(3);
		reading->unit_received = gw_span_text(below(2) == 0 ? "bpm, \"said\"" : "a unit of more than thirty-two bytes, with a comma");
	}
}

// As a device of some habit says it.
static void
set_reading(struct gw_reading *reading, struct texts *texts, int manner)
{
	static const struct gw_decimal warm[] = { { 370, -1 }, { 3700, -2 }, { -400, -1 } };
	static const char *const warm_said[] = { "98.6", "98.60", "-40.0" };
	unsigned which = below(3);

	reading->unit = gw_signal_by_code(reading->signal)->unit != NULL ? gw_signal_by_code(reading->signal)->unit->code : 0;
	set_number(reading, texts, (struct gw_decimal){ (int64_t)below(300) - (manner == 3 ? 150 : 0), (int16_t)-(manner % 3) });
	if (manner == 2 && below(2) == 0) // "37" beside "36.9"
		set_number(reading, texts, (struct gw_decimal){ 37, 0 });
	if (manner == 4) {
		reading->decimal = warm[which];
		reading->received = gw_span_text(warm_said[which]);
		reading->unit_received = gw_span_text("[degF]");
	}
	reading->flags = below(9) == 0 ? GW_FLAG_QUESTIONABLE : 0;
	if (below(manner == 5 ? 3 : 40) == 0)
		set_odd(reading, texts);
}

static int64_t
step_of(int clock)
{
	static const int64_t steps[] = { 1000000, 60000000, 1000001, 4000 };

	return clock == 4 ? (int64_t)below(2000000) : steps[clock] + (clock == 0 && below(3) == 0 ? (int64_t)below(9) * 1000 : 0);
}

static void
add_records(unsigned count)
{
	static struct texts texts[60];
	static struct gw_reading readings[60];
	char device[32];
	int64_t us = START_US + (int64_t)below(86400) * 1000000 * (below(4) == 0 ? -20000 : 1); // also long before 1970
	int manner = (int)below(6), clock = (int)below(5);
	uint32_t signal = code_of(signals[below(4)]);

	snprintf(device, sizeof(device), "%s%u", below(2) == 0 ? "monitor-" : "=a,\"b", below(DEVICES));
	for (unsigned i = 0; i < count; i++) {
		unsigned n = 1 + below(60);

		for (unsigned k = 0; k < n; k++) {
			us += step_of(clock);
			readings[k] = (struct gw_reading){ .signal = signal, .time_us = below(300) == 0 ? us - (int64_t)below(100) * 1000000 : us };
			set_reading(&readings[k], &texts[k], manner);
		}
		record_add(device, us + (int64_t)below(2000000), readings, n);
	}
}

// ---- The two ways ----

static void
expect(struct gw_text_out *out, size_t need)
{
	assert_int_equal(need, 0);
	expected_len = out->len;
	assert_true(bytes_cap - out->len > 1 << 20);
}

static void
write_slowly(struct gw_series_store *store, const struct gw_export_ask *ask, const struct gw_export_options *options, uint64_t *rows)
{
	struct gw_export_writer *writer = gw_export_writer_new(options);
	struct gw_text_out out = { expected, bytes_cap, 0 };
	struct gw_export_counts counts;
	struct gw_series_query *query;
	struct gw_series_row row;
	struct gw_why why = { "" };
	uint64_t left = ask->limit;

	expect(&out, gw_export_begin(writer, &out));
	for (size_t i = 0; i < ask->count && (ask->limit == 0 || left > 0); i++) {
		struct gw_series_want want = ask->wants[i];
		struct gw_series_query_stats stats;

		want.limit = left;
		assert_int_equal(gw_series_query_open(store, NULL, &want, &query, &why), GW_OK);
		while (gw_series_query_next(query, &row) == GW_OK)
			if (row.series != NULL)
				expect(&out, gw_export_row(writer, &(struct gw_export_row){ .series = row.series, .point = row.point }, &out));
		gw_series_query_stats(query, &stats);
		left -= stats.rows < left ? stats.rows : left;
		gw_series_query_close(query);
	}
	expect(&out, gw_export_end(writer, &out));
	gw_export_counts(writer, &counts);
	*rows = counts.rows;
	gw_export_writer_free(writer);
}

struct taker {
	struct gw_series_store *store;
	unsigned manner; // how it takes: 0 all, 1 some, 2 nothing until it has to
	bool held, told;
	unsigned holds;
};

static enum gw_error
hold(void *arg, struct gw_series_store **store)
{
	struct taker *taker = arg;

	assert_false(taker->held);
	taker->held = true;
	taker->holds++;
	*store = taker->store;
	return GW_OK;
}

static void
release(void *arg)
{
	((struct taker *)arg)->held = false;
}

static enum gw_error
take(void *arg, const char *at, size_t len, bool wait, size_t *taken)
{
	struct taker *taker = arg;

	assert_false(wait && taker->held);
	*taken = wait || taker->manner == 0 ? len : taker->manner == 1 ? below((uint32_t)len + 1) : 0;
	assert_true(bytes_cap - got_len >= *taken);
	memcpy(got + got_len, at, *taken);
	got_len += *taken;
	return GW_OK;
}

static bool
tick(void *arg, const struct gw_export_progress *progress)
{
	((struct taker *)arg)->told = progress->part >= 0 && progress->part <= 1;
	return true;
}

static void
check(struct gw_series_store *store, const struct gw_export_ask *ask, const struct gw_export_options *options, unsigned manner)
{
	struct taker taker = { .store = store, .manner = manner };
	const struct gw_export_io io = { .arg = &taker, .hold = hold, .release = release, .write = take, .tick = tick };
	struct gw_export_writer *writer = gw_export_writer_new(options);
	struct gw_export_done done;
	struct gw_why why = { "" };
	uint64_t rows;
	size_t i = 0;

	write_slowly(store, ask, options, &rows);
	got_len = 0;
	assert_int_equal(gw_export_run(&io, ask, writer, &done, &why), GW_OK);
	gw_export_writer_free(writer);
	assert_int_equal(done.bytes, got_len);
	assert_int_equal(done.counts.rows, rows);
	while (i < got_len && i < expected_len && got[i] == expected[i])
		i++;
	if (i < got_len || i < expected_len) {
		size_t from = i > 150 ? i - 150 : 0;

		fail_msg("%s: from byte %zu on (%zu, not %zu)\n%.*s\nis not\n%.*s", gw_export_format_name(options->format), i, got_len, expected_len,
		    (int)(got_len - from < 300 ? got_len - from : 300), got + from, (int)(expected_len - from < 300 ? expected_len - from : 300), expected + from);
	}
}

// Every format, also with columns of its own; all there is, or a part.
static void
check_all(struct gw_series_store *store)
{
	struct gw_series_want wants[2 * DEVICES + 1], *want;
	char (*ids)[GW_ID_MAX + 1];
	struct gw_export_ask ask = { .wants = wants };
	size_t count;

	assert_int_equal(gw_export_devices(store, NULL, NULL, gw_span("", 0), &ids, &count), GW_OK);
	assert_true(count <= 2 * DEVICES);
	for (size_t i = 0; i < count; i++)
		wants[i] = (struct gw_series_want){ .device = gw_span_text(ids[i]), .from_us = INT64_MIN, .to_us = INT64_MAX };
	ask.count = count;
	for (int format = 0; format <= 3 && count > 0; format++) {
		struct gw_export_options options = { .format = format == 3 ? GW_EXPORT_CSV : (enum gw_export_format)format, .incarnation = 7 };

		if (format == 3)
			assert_int_equal(gw_export_columns_parse("value_received,flags,time,device,value", &options, NULL), GW_OK);
		want = &wants[below((uint32_t)count)];
		ask.limit = below(2) == 0 ? 0 : 1 + below(20000);
		if (below(2) == 0) {
			want->from_us = START_US + (int64_t)below(86400) * 1000000;
			want->to_us = want->from_us + 1 + (int64_t)below(864000) * 1000000;
		}
		check(store, &ask, &options, below(3));
	}
	free(ids);
}

static void
test_same_bytes(void **state)
{
	struct gw_series_store *store = series_open();

	for (int round = 0; round < 40; round++) {
		add_records(1 + below(round % 8 == 0 ? 400 : 20));
		series_take_rest(store);
		if (below(2) == 0)
			series_flush(store, below(3) == 0 ? 0 : -1);
		check_all(store);
	}
	gw_series_close(store);
}

// A day by the second: chunks that are full, and who takes it so slowly that it is paused again and again in their midst.
static void
test_a_day_taken_slowly(void **state)
{
	struct gw_series_store *store = series_open();
	struct gw_series_want want = { .device = gw_span_text("m"), .from_us = INT64_MIN, .to_us = INT64_MAX };
	struct gw_export_ask ask = { .wants = &want, .count = 1 };
	struct gw_export_options options = { .format = GW_EXPORT_JSONL, .incarnation = 1 };
	static struct gw_reading readings[60];
	static struct texts texts[60];

	for (int64_t at = 0; at < 40000; at += 60) {
		for (int k = 0; k < 60; k++) {
			readings[k] = (struct gw_reading){ .signal = code_of("heart_rate"), .time_us = START_US + (at + k) * 1000000 };
			set_number(&readings[k], &texts[k], (struct gw_decimal){ 60 + (int64_t)below(40), 0 });
		}
		record_add("m", START_US + (at + 60) * 1000000, readings, 60);
	}
	series_take_rest(store);
	series_flush(store, 0);
	for (unsigned manner = 0; manner < 3; manner++)
		check(store, &ask, &options, manner);
	want.from_us = START_US + 1234567890;
	want.to_us = START_US + 33333333333;
	for (options.format = GW_EXPORT_CSV; options.format <= GW_EXPORT_SENML; options.format++)
		check(store, &ask, &options, 2);
	gw_series_close(store);
}

static void
test_columns(void **state)
{
	struct gw_export_options options = { .format = GW_EXPORT_CSV };
	struct gw_why why = { "" };
	static const char *const wrong[] = { "", "time,", ",time", "time,time", "value,Time", "bed", "count", "time, value", "nothing" };

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		why.text[0] = '\0';
		assert_int_equal(gw_export_columns_parse(wrong[i], &options, &why), GW_E_ARGUMENT);
		assert_true(why.text[0] != '\0');
	}
	assert_non_null(strstr(why.text, "nothing"));
	assert_int_equal(gw_export_columns_parse("value,time", &options, &why), GW_OK);
	assert_int_equal(options.columns.count, 2);
	options.with_bed = options.steps = true;
	assert_int_equal(gw_export_columns_parse("time,bed,count", &options, &why), GW_OK);
	assert_int_equal(gw_export_columns_parse("value", &options, &why), GW_E_ARGUMENT);
	options = (struct gw_export_options){ .format = GW_EXPORT_JSONL };
	assert_int_equal(gw_export_columns_parse("time", &options, &why), GW_E_ARGUMENT);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_same_bytes, make, finish), cmocka_unit_test_setup_teardown(test_a_day_taken_slowly, make, finish),
		cmocka_unit_test(test_columns),
	};

	if (gw_nomenclature_open(NULL) != GW_OK)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
