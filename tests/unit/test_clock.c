// SPDX-License-Identifier: Apache-2.0
// Times as text, both ways.
#include "gateway/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void
formats(void **state)
{
	static const struct { int64_t us; const char *text; } rows[] = {
		{ 0, "1970-01-01T00:00:00Z" },
		{ INT64_C(1795162500250000), "2026-11-20T08:15:00.250Z" },
		{ INT64_C(1795162500250001), "2026-11-20T08:15:00.250001Z" },
		{ -1, "1969-12-31T23:59:59.999999Z" },
		{ INT64_C(951782400000000), "2000-02-29T00:00:00Z" },
		{ INT64_C(4107542399999000), "2100-02-28T23:59:59.999Z" },
		{ INT64_C(4107542400000000), "2100-03-01T00:00:00Z" },
	};
	char text[40];
	int64_t back;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_string_equal(gw_time_format(rows[i].us, text), rows[i].text);
		assert_int_equal(gw_time_parse(rows[i].text, &back), 0);
		assert_int_equal(back, rows[i].us);
	}
	gw_time_format(INT64_MIN, text); // far, but within the 40 bytes
	gw_time_format(INT64_MAX, text);
}

static void
parses(void **state)
{
	static const struct { const char *text; int64_t us; } rows[] = {
		{ "2026-11-20", INT64_C(1795132800000000) },
		{ "2026-11-20T09:15:00+01:00", INT64_C(1795162500000000) },
		{ "2026-11-20t02:45:00.5-05:30", INT64_C(1795162500500000) },
		{ "2026-11-20 08:15:00z", INT64_C(1795162500000000) },
		{ "2016-12-31T23:59:60Z", INT64_C(1483228800000000) },
		{ "0", 0 },
		{ "1795162500.25", INT64_C(1795162500250000) },
		{ "1.0000019", 1000001 },
		{ "now", INT64_C(5000000000) },
		{ "-15m", INT64_C(5000000000) - 15 * INT64_C(60000000) },
		{ "-1h", INT64_C(5000000000) - INT64_C(3600000000) },
		{ "-2d", INT64_C(5000000000) - 2 * INT64_C(86400000000) },
		{ "-0s", INT64_C(5000000000) },
	};
	int64_t us;

	(void)state;
	gw_clock_fake_wall(INT64_C(5000000000));
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		assert_int_equal(gw_time_parse(rows[i].text, &us), 0);
		assert_int_equal(us, rows[i].us);
	}
	gw_clock_fake_wall(INT64_MIN);
	assert_true(gw_clock_wall_us() > INT64_C(1700000000000000));
}

static void
refuses(void **state)
{
	static const char *const rows[] = { "", "-", "-15", "-m", "-15x", "-15mm", "2026-13-01", "2026-02-29", "2026-11-20T08:15:00",
		"2026-11-20T24:00:00Z", "2026-11-20T08:60:00Z", "2026-11-20T08:15:61Z", "2026-11-20T08:15Z", "2026-11-20T08:15:00.Z",
		"2026-11-20T08:15:00Zx", "2026-11-20T08:15:00+1:00", "yesterday", "1.", ".5", "1e9", "99999999999999999999", "-999999999999d",
		"2026-1-2", "1900-02-29", "+5", " 1", "2026-" };
	int64_t us;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (gw_time_parse(rows[i], &us) != -1)
			fail_msg("\"%s\" was taken", rows[i]);
}

// Every day of 400 years and more, both ways.
static void
days(void **state)
{
	char text[40];
	int64_t back;

	(void)state;
	for (int64_t day = -200000; day < 300000; day += 3) {
		int64_t us = day * INT64_C(86400000000) + 12345678;
		gw_time_format(us, text);
		assert_int_equal(gw_time_parse(text, &back), 0);
		assert_int_equal(back, us);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(formats), cmocka_unit_test(parses), cmocka_unit_test(refuses),
		cmocka_unit_test(days) };
	return cmocka_run_group_tests(tests, NULL, NULL);
}
