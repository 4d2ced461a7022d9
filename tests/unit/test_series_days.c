// SPDX-License-Identifier: Apache-2.0
// Hours of signals as bedside monitors send them (noise, artefacts, gaps, sensors off: tests/bench/physio.h) through the whole store: late, twice and in any order, with chunks written at any
// moment. What comes out is what went in, to the digit; hourly means are those of a naive sum.
#include "series_help.h"

#include "gateway/series_query.h"
#include "tests/bench/physio.h"

#include <math.h>

#define GROUP 12    // readings of a record
#define WINDOW 40   // records among which the order is lost
#define GROUPS_MAX 4000

static uint64_t seed;

static uint32_t
below(uint32_t n)
{
	return (uint32_t)(physio_random(&seed) % n);
}

static void
send_group(const struct physio_series *series, uint32_t group)
{
	struct gw_reading readings[GROUP];
	uint32_t at = group * GROUP, count = series->count - at < GROUP ? series->count - at : GROUP;

	for (uint32_t i = 0; i < count; i++)
		readings[i] = series->points[at + i].reading;
	record_add("bed", series->points[at + count - 1].received_us, readings, count);
}

// Records of a series: shuffled by the window, some twice, some not before the very end.
static void
send(const struct physio_series *series)
{
	static uint32_t order[GROUPS_MAX];
	static bool late[GROUPS_MAX];
	uint32_t groups = (series->count + GROUP - 1) / GROUP;

	assert_true(groups <= GROUPS_MAX);
	for (uint32_t i = 0; i < groups; i++) {
		order[i] = i;
		late[i] = below(30) == 0;
	}
	for (uint32_t i = 0; i < groups; i++) {
		uint32_t other = i + below(groups - i < WINDOW ? groups - i : WINDOW), kept = order[i];
		order[i] = order[other];
		order[other] = kept;
		if (late[order[i]])
			continue;
		send_group(series, order[i]);
		if (below(20) == 0)
			send_group(series, order[below(i + 1)]);
	}
	for (uint32_t i = 0; i < groups; i++)
		if (late[i])
			send_group(series, i);
}

static bool
same_value(const struct gw_reading *a, const struct gw_reading *b)
{
	switch (a->type) {
	case GW_VALUE_DECIMAL:
		return a->decimal.mantissa == b->decimal.mantissa && a->decimal.exponent == b->decimal.exponent;
	case GW_VALUE_CODE:
		return a->code == b->code;
	case GW_VALUE_SAMPLES:
		return a->samples.count == b->samples.count && a->samples.period_ns == b->samples.period_ns && memcmp(a->samples.at, b->samples.at, a->samples.count * 4) == 0;
	default:
		return true;
	}
}

static void
compare(struct gw_series_store *store, uint32_t id, const struct physio_series *series)
{
	struct gw_series_cursor *cursor;
	const struct gw_point *got;

	assert_int_equal(gw_series_read(store, id, INT64_MIN, INT64_MAX, &cursor), GW_OK);
	for (uint32_t i = 0; i < series->count; i++) {
		const struct gw_reading *want = &series->points[i].reading;
		assert_int_equal(gw_series_next(cursor, &got), GW_OK);
		assert_int_equal(got->reading.time_us, want->time_us);
		assert_int_equal(got->reading.flags, want->flags);
		assert_int_equal(got->reading.type, want->type);
		assert_true(same_value(&got->reading, want));
		assert_true(gw_span_equal(got->reading.received, want->received));
		assert_true(gw_span_equal(got->reading.unit_received, want->unit_received));
	}
	assert_int_equal(gw_series_next(cursor, &got), GW_E_NOT_FOUND);
	gw_series_end(cursor);
}

// Hour by hour, as anybody would.
static void
compare_hours(struct gw_series_store *store, const struct physio_series *series)
{
	const struct gw_series_want want = { .device = gw_span_text("bed"), .from_us = INT64_MIN, .to_us = INT64_MAX, .step_us = INT64_C(3600000000) };
	struct gw_series_query *query;
	struct gw_series_row row;
	struct gw_why why = { "" };
	uint64_t numbers = 0, summed = 0;
	uint32_t at = 0;

	for (uint32_t i = 0; i < series->count; i++)
		numbers += series->points[i].reading.type == GW_VALUE_DECIMAL;
	assert_int_equal(gw_series_query_open(store, NULL, &want, &query, &why), GW_OK);
	while (gw_series_query_next(query, &row) == GW_OK) {
		double sum = 0, least = INFINITY;
		uint64_t count = 0;
		if (row.step == NULL)
			continue;
		for (; at < series->count && series->points[at].reading.time_us < row.step->from_us + want.step_us; at++) {
			const struct gw_reading *reading = &series->points[at].reading;
			double value = (double)reading->decimal.mantissa * pow(10, reading->decimal.exponent);
			if (reading->type != GW_VALUE_DECIMAL)
				continue;
			assert_true(reading->time_us >= row.step->from_us);
			sum += value;
			least = fmin(least, value);
			count++;
		}
		assert_int_equal(row.step->count, count);
		summed += count;
		assert_true(fabs(row.step->mean - sum / (double)count) < 1e-9 * fabs(sum));
		assert_true(fabs(row.step->min - least) < 1e-9 * fabs(least));
	}
	assert_int_equal(summed, numbers);
	gw_series_query_close(query);
}

static void
through_the_store(enum physio_signal signal, enum physio_clock clock)
{
	struct physio_series *series = physio_make(signal, clock, 11, signal == PHYSIO_ECG ? 300 : 3 * 3600);
	uint32_t code = series->points[0].reading.signal;
	struct gw_series_store *store;

	assert_non_null(series);
	assert_int_equal(series_make(NULL), 0);
	store = series_open();
	send(series);
	for (uint64_t at = 1; at <= records_last;) {
		uint64_t upto = at + below(60);
		series_take_upto(store, at, upto < records_last ? upto : records_last);
		at = upto + 1;
		series_flush(store, below(3) == 0 ? 0 : -1);
	}
	compare(store, series_id(store, "bed", code), series); // tails and chunks
	series_flush(store, 0);
	compare(store, series_id(store, "bed", code), series);
	if (signal != PHYSIO_ECG && signal != PHYSIO_RHYTHM)
		compare_hours(store, series);
	gw_series_close(store);
	physio_free(series);
	series_finish(NULL);
}

static void
test_days(void **state)
{
	seed = 20261120;
	for (int signal = 0; signal < PHYSIO_SIGNALS; signal++)
		through_the_store((enum physio_signal)signal, (enum physio_clock)(signal % 3));
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_days) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
