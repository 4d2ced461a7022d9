// SPDX-License-Identifier: Apache-2.0
// A recorded electrocardiogram (MIT-BIH record 208: artefacts, ectopic beats) through the store, as blocks of half a second: every sample comes back, in less than a byte. tests/bench/ecg.py makes its file:
//   recorded_ecg FILE
#include "series_help.h"

#include "gateway/nomenclature.h"

#include <stdio.h>

#define RATE 360
#define BLOCK 180
#define SAMPLES_MAX 200000

static uint8_t samples[SAMPLES_MAX * 4];
static uint32_t blocks;

static int64_t
block_us(uint32_t block)
{
	return INT64_C(1795132800000000) + block * INT64_C(500000);
}

static void
fill(uint32_t code)
{
	for (uint32_t i = 0; i < blocks; i++) {
		struct gw_reading reading = { .signal = code, .time_us = block_us(i), .type = GW_VALUE_SAMPLES,
			.samples = { 1000000000 / RATE, BLOCK, 0, samples + (size_t)i * BLOCK * 4 } };
		record_add("ecg", reading.time_us + 530000 + i % 7 * 1000, &reading, 1);
	}
}

static void
test_recording(void **state)
{
	struct gw_series_store *store = series_open();
	const struct gw_signal *signal;
	struct gw_series_cursor *cursor;
	const struct gw_point *point;
	struct gw_series_stats stats;
	double each;
	uint32_t n = 0;

	assert_int_equal(gw_nomenclature_open(NULL), GW_OK);
	assert_non_null(signal = gw_signal_by_name(gw_span_text("ecg_lead_ii")));
	fill(signal->code);
	series_take_rest(store);
	series_flush(store, 0);
	assert_int_equal(gw_series_read(store, series_id(store, "ecg", signal->code), INT64_MIN, INT64_MAX, &cursor), GW_OK);
	for (; gw_series_next(cursor, &point) == GW_OK; n++) {
		assert_int_equal(point->reading.time_us, block_us(n));
		assert_int_equal(point->reading.samples.count, BLOCK);
		assert_int_equal(point->reading.samples.period_ns, 1000000000 / RATE);
		assert_memory_equal(point->reading.samples.at, samples + (size_t)n * BLOCK * 4, BLOCK * 4);
	}
	assert_int_equal(n, blocks);
	gw_series_end(cursor);
	gw_series_stats(store, &stats);
	each = (double)stats.bytes / (blocks * BLOCK);
	print_message("%u samples of a recorded ECG: %.3f bytes each, heads and times included\n", blocks * BLOCK, each);
	assert_true(each < 0.85);
	gw_series_close(store);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(test_recording, series_make, series_finish) };
	FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;

	if (file == NULL || (blocks = (uint32_t)(fread(samples, 4, SAMPLES_MAX, file) / BLOCK)) < 500) {
		fprintf(stderr, "usage: recorded_ecg FILE of at least 90,000 samples\n");
		return 2;
	}
	fclose(file);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
