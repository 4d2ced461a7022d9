// SPDX-License-Identifier: Apache-2.0
// Which hours of exports are written again after an erasure: all in which something went, in order, in a bounded list.
#include "gateway/erase.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

#define HOUR_US INT64_C(3600000000)
#define HOURS 4000

static bool
covered(const struct gw_erasure *erasure, int64_t us)
{
	for (size_t i = 0; i < erasure->export_count; i++)
		if (us >= erasure->exports[i].from_us && us < erasure->exports[i].to_us)
			return true;
	return false;
}

static void
check(const struct gw_erasure *erasure, const bool *noted, bool exact)
{
	assert_in_range(erasure->export_count, 1, GW_ERASURE_EXPORTS_MAX);
	for (size_t i = 0; i < erasure->export_count; i++) {
		assert_true(erasure->exports[i].from_us < erasure->exports[i].to_us);
		assert_true(i == 0 || erasure->exports[i - 1].to_us < erasure->exports[i].from_us);
	}
	for (int hour = 0; hour < HOURS; hour++) {
		bool in = covered(erasure, (hour - HOURS / 2) * HOUR_US) && covered(erasure, (hour - HOURS / 2) * HOUR_US + HOUR_US - 1);

		assert_true(in || !noted[hour]);
		assert_true(!exact || in == noted[hour]);
	}
}

// count: of a few the list tells exactly, of many at least all.
static void
note_some(int count, unsigned seed)
{
	struct gw_erasure *erasure = calloc(1, sizeof(*erasure));
	bool noted[HOURS] = { false };

	assert_non_null(erasure);
	for (int i = 0; i < count; i++) {
		int hour;

		seed = seed * 1103515245 + 12345;
		hour = (int)(seed >> 8) % HOURS;
		noted[hour] = true;
		gw_erasure_export_note(erasure, (hour - HOURS / 2) * HOUR_US + (int64_t)(seed % HOUR_US));
		if (i % 64 == 63 || i + 1 == count)
			check(erasure, noted, count < GW_ERASURE_EXPORTS_MAX);
	}
	free(erasure);
}

static void
test_notes(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed < 6; seed++) {
		note_some(200, seed);
		note_some(1200, seed * 77);
	}
}

static void
test_ends_of_time(void **state)
{
	struct gw_erasure *erasure = calloc(1, sizeof(*erasure));

	(void)state;
	assert_non_null(erasure);
	gw_erasure_export_note(erasure, INT64_MIN);
	gw_erasure_export_note(erasure, INT64_MAX);
	assert_int_equal(erasure->export_count, 0);
	gw_erasure_export_note(erasure, -1);
	gw_erasure_export_note(erasure, 0);
	assert_int_equal(erasure->export_count, 1);
	assert_true(erasure->exports[0].from_us == -HOUR_US && erasure->exports[0].to_us == HOUR_US);
	free(erasure);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_notes), cmocka_unit_test(test_ends_of_time) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
