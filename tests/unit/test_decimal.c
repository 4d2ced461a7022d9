// SPDX-License-Identifier: Apache-2.0
// Decimals: what is a number and what is not, digits kept, comparison, sums, and binary numbers to the shortest text that reads back equal.
#include "gateway/nomenclature.h"
#include "gateway/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <math.h>
#include <string.h>

static void
test_parse(void **state)
{
	static const struct { const char *text; int64_t mantissa; int exponent; } good[] = {
		{ "0", 0, 0 }, { "7.50", 750, -2 }, { "-3", -3, 0 }, { "+3", 3, 0 }, { "1e3", 1, 3 }, { "1E+3", 1, 3 }, { "12e-1", 12, -1 }, { "-0.0", 0, -1 },
		{ " 36.6\t", 366, -1 }, { ".5", 5, -1 }, { "5.", 5, 0 }, { "007", 7, 0 }, { "9223372036854775807", INT64_MAX, 0 },
		{ "-9223372036854775807", -INT64_MAX, 0 }, { "0e19", 0, 0 }, { "0.0000000000000000000000000000000000000001", 1, -40 }, { "1e20", 1, 20 },
	};
	static const char *const bad[] = { "", " ", "-", ".", "e5", "1e", "1e+", "1.2.3", "1,5", "0x10", "NaN", "Infinity", "-inf", "1 2", "--1", "1e21", "1e-41",
		"9223372036854775808", "0.12345678901234567890", "12 %", "1e99999999999999999999",
		"0.00000000000000000000000000000000000000000000000000000000000000000001" };
	struct gw_decimal value;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		if (!gw_decimal_parse(gw_span_text(good[i].text), &value))
			fail_msg("\"%s\" is a number", good[i].text);
		assert_true(value.mantissa == good[i].mantissa && value.exponent == good[i].exponent);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (gw_decimal_parse(gw_span_text(bad[i]), &value))
			fail_msg("\"%s\" is no number", bad[i]);
}

static struct gw_decimal
d(const char *text)
{
	struct gw_decimal value;

	assert_true(gw_decimal_parse(gw_span_text(text), &value));
	return value;
}

static void
test_compare(void **state)
{
	static const char *const rising[] = { "-9223372036854775807", "-1e18", "-7.51", "-7.5", "-1e-40", "0", "1e-40", "0.1", "0.11", "7.5", "7.51", "1e1", "11", "1e20" };
	const size_t count = sizeof(rising) / sizeof(rising[0]);

	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < count; k++)
			assert_int_equal(gw_decimal_compare(d(rising[i]), d(rising[k])), (i > k) - (i < k));
	assert_int_equal(gw_decimal_compare(d("7.5"), d("7.500")), 0);
	assert_int_equal(gw_decimal_compare(d("-999"), d("-999.0")), 0);
	assert_int_equal(gw_decimal_compare(d("0"), d("-0.000")), 0);
}

static void
test_add(void **state)
{
	struct gw_decimal sum;
	int64_t us;

	assert_true(gw_decimal_add(d("30.05"), d("6.6"), &sum) && sum.mantissa == 3665 && sum.exponent == -2);
	assert_true(gw_decimal_add(d("1795162500"), d("-0.5"), &sum) && sum.mantissa == 17951624995 && sum.exponent == -1);
	assert_false(gw_decimal_add(d("9223372036854775807"), d("1"), &sum));
	assert_false(gw_decimal_add(d("1e20"), d("1e-20"), &sum));
	assert_true(gw_decimal_add(d("0"), d("1e-20"), &sum) && sum.mantissa == 1);
	assert_true(gw_decimal_micros(d("1795162500.25"), &us) && us == 1795162500250000);
	assert_true(gw_decimal_micros(d("0.0000019"), &us) && us == 1);
	assert_true(gw_decimal_micros(d("-0.0000019"), &us) && us == -2);
	assert_true(gw_decimal_micros(d("1e-40"), &us) && us == 0);
	assert_false(gw_decimal_micros(d("1e20"), &us));
}

static void
from_float(double value, int bits, const char *wanted)
{
	char text[32];

	text[gw_decimal_from_float(value, bits, text)] = '\0';
	assert_string_equal(text, wanted);
}

static void
test_from_float(void **state)
{
	from_float(36.6, 64, "36.6");
	from_float(36.6f, 32, "36.6");
	from_float(36.59375, 16, "36.6"); // 36.6 in 16 bits
	from_float(36.59375, 64, "36.59375");
	from_float(0, 64, "0");
	from_float(-72, 64, "-72");
	from_float(-0.05, 64, "-0.05");
	from_float(0.1 + 0.2, 64, "0.30000000000000004");
	from_float(16777216.0f, 32, "16777216");
	from_float(65504, 16, "65504");
	assert_int_equal(gw_decimal_from_float(NAN, 64, (char[32]){ 0 }), 0);
	assert_int_equal(gw_decimal_from_float(-INFINITY, 32, (char[32]){ 0 }), 0);
}

static void
test_floats_read_back(void **state)
{
	uint64_t seed = 88172645463325252u;

	for (int i = 0; i < 100000; i++) {
		char text[33];
		float single;
		double value;
		uint32_t bits;
		seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
		bits = (uint32_t)seed;
		memcpy(&single, &bits, sizeof(single));
		memcpy(&value, &seed, sizeof(value));
		if (isfinite(single)) {
			text[gw_decimal_from_float((double)single, 32, text)] = '\0';
			assert_true(strtof(text, NULL) == single);
		}
		if (isfinite(value)) {
			text[gw_decimal_from_float(value, 64, text)] = '\0';
			assert_true(strtod(text, NULL) == value);
		}
	}
}

// Every length of short numbers, against the C library's digits.
static void
test_text_of_short_numbers(void **state)
{
	static const int64_t edges[] = { 0, 1, 9, 10, 99, 100, 999, 1000, 9999, 10000, 99999, 100000, 999999, 1000000, 1000001, 123456789 };

	for (size_t i = 0; i < sizeof(edges) / sizeof(edges[0]); i++) {
		for (int places = 0; places <= 6; places++) {
			for (int sign = -1; sign <= 1; sign += 2) {
				int64_t scale = 1, mantissa = edges[i] * sign;
				char expected[48], text[48];

				for (int p = 0; p < places; p++)
					scale *= 10;
				if (places == 0)
					snprintf(expected, sizeof(expected), "%s%lld", mantissa < 0 ? "-" : "", (long long)edges[i]);
				else
					snprintf(expected, sizeof(expected), "%s%lld.%0*lld", mantissa < 0 ? "-" : "", (long long)(edges[i] / scale), places,
					    (long long)(edges[i] % scale));
				assert_int_equal(gw_decimal_text((struct gw_decimal){ mantissa, (int16_t)-places }, text), strlen(expected));
				assert_string_equal(text, expected);
			}
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_parse), cmocka_unit_test(test_compare), cmocka_unit_test(test_add),
		cmocka_unit_test(test_from_float), cmocka_unit_test(test_text_of_short_numbers), cmocka_unit_test(test_floats_read_back) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
