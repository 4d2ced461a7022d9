// SPDX-License-Identifier: Apache-2.0
// Writing: escapes, times, and the numbers of OBX-4.
#include "adapters/hl7/containment.h"
#include "adapters/hl7/out.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void
check(const struct gw_hl7_out *out, const char *expected)
{
	assert_false(out->failed);
	assert_int_equal(out->len, strlen(expected));
	assert_memory_equal(out->at, expected, out->len);
}

static void
check_text(const char *text, size_t len, const char *expected)
{
	struct gw_hl7_out out = { 0 };

	gw_hl7_put_text(&out, gw_span(text, len));
	check(&out, expected);
	gw_hl7_out_fini(&out);
}

static void
test_escapes(void **state)
{
	(void)state;
	check_text("plain", 5, "plain");
	check_text("a|b^c&d~e\\f", 11, "a\\F\\b\\S\\c\\T\\d\\R\\e\\E\\f");
	check_text("\\F\\", 3, "\\E\\F\\E\\");
	check_text("a\rb\nc", 5, "a\\X0D\\b\\X0A\\c");
	check_text("\x0b" "x" "\x1c" "\x7f\0", 5, "\\X0B\\x\\X1C\\\\X7F\\\\X00\\");
	check_text("\xc3\xbc \xe2\x84\x83", 6, "\xc3\xbc \xe2\x84\x83"); // UTF-8 goes as it is
	check_text("", 0, "");
}

static void
check_time(int64_t us, const char *expected)
{
	struct gw_hl7_out out = { 0 };

	gw_hl7_put_time(&out, us);
	check(&out, expected);
	gw_hl7_out_fini(&out);
}

static void
test_times(void **state)
{
	(void)state;
	check_time(0, "19700101000000+0000");
	check_time(INT64_C(1795162500000000), "20261120081500+0000");
	check_time(INT64_C(1795162500250000), "20261120081500.25+0000");
	check_time(INT64_C(1795162500000100), "20261120081500.0001+0000");
	check_time(INT64_C(1795162500000099), "20261120081500+0000"); // HL7 has four digits at most
	check_time(INT64_C(-1), "19691231235959.9999+0000");
}

static void
test_a_long_message(void **state)
{
	struct gw_hl7_out out = { 0 };

	(void)state;
	for (int i = 0; i < 10000; i++)
		gw_hl7_put(&out, "0123456789");
	assert_false(out.failed);
	assert_int_equal(out.len, 100000);
	assert_memory_equal(out.at + 99990, "0123456789", 10);
	gw_hl7_out_fini(&out);
}

static void
test_places_never_change(void **state)
{
	static const struct { uint32_t signal; uint16_t instance; uint32_t vmd, channel; } rows[] = {
		{ 147842, 0, 1, 3 },    // heart rate
		{ 150456, 0, 3, 4 },    // SpO2
		{ 149530, 0, 3, 5 },    // its pulse rate
		{ 150021, 0, 4, 6 },    // systolic, non-invasive
		{ 150037, 0, 5, 7 },    // systolic, arterial
		{ 150364, 0, 6, 8 },    // body temperature
		{ 150364, 1, 6, 108 },  // the second probe
		{ 151976, 0, 7, 0 },    // PEEP: no channel
		{ 157784, 0, 8, 9 },    // infusion rate
		{ 188736, 0, 0, 0 },    // body weight: the device itself
	};

	(void)state;
	assert_int_equal(gw_nomenclature_open(NULL), GW_OK);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct gw_hl7_place place;

		gw_hl7_place(rows[i].signal, rows[i].instance, &place);
		assert_int_equal(place.vmd, rows[i].vmd);
		assert_int_equal(place.channel, rows[i].channel);
		assert_int_equal(place.metric, rows[i].signal);
		assert_true((place.vmd == 0) == (place.vmd_code == 0));
		assert_true(place.vmd_code == 0 || place.vmd_refid != NULL);
		assert_true(place.channel_code == 0 || place.channel_refid != NULL);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_a_long_message),
		cmocka_unit_test(test_places_never_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
