// SPDX-License-Identifier: Apache-2.0
// Conversion is exact: against long arithmetic done here, and there and back.
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

static int
open_tables(void **state)
{
	return gw_nomenclature_open(NULL) == GW_OK ? 0 : -1;
}

static const struct gw_unit *
unit(const char *name)
{
	const struct gw_unit *found = gw_unit_by_ucum(gw_span_text(name));

	if (found == NULL)
		fail_msg("no unit %s", name);
	return found;
}

static void
converts(const char *value, const char *from, const char *to, const char *wanted)
{
	struct gw_decimal in, out;
	char text[48];

	assert_true(gw_decimal_parse(gw_span_text(value), &in));
	assert_int_equal(gw_unit_convert(in, unit(from), unit(to), &out), GW_OK);
	gw_decimal_text(out, text);
	assert_string_equal(text, wanted);
}

static void
test_known(void **state)
{
	converts("98.6", "[degF]", "Cel", "37.0");
	converts("-40", "[degF]", "Cel", "-40");
	converts("-40", "Cel", "[degF]", "-40");
	converts("36.6", "Cel", "[degF]", "97.88");
	converts("310.15", "K", "Cel", "37.00");
	converts("100.0", "[degF]", "Cel", "37.7778"); // three digits finer, half to even
	converts("16.0", "kPa", "mm[Hg]", "120.0102");
	converts("120", "mm[Hg]", "kPa", "15.999");
	converts("250", "mL/h", "L/s", "0.000069444"); // not 0.000
	converts("5", "mbar", "cm[H2O]", "5.099");
	converts("0.97", "1", "%", "97");
	converts("0.005", "1", "%", "0.5");
	converts("97", "%", "1", "0.97");
	converts("3450", "g", "kg", "3.450");
	converts("0.45", "L", "mL", "450");
	converts("1.50", "L/min", "mL/h", "90000");
	converts("1200", "[ppm]", "%", "0.1200");
	converts("72.5", "{beat}/min", "/min", "72.5");
	converts("101325", "Pa", "mm[Hg]", "760.00210"); // UCUM's conventional metre of mercury
}

static void
test_refused(void **state)
{
	struct gw_decimal out;

	assert_int_equal(gw_unit_convert((struct gw_decimal){ 1, 0 }, unit("mmHg"), unit("Cel"), &out), GW_E_FIELD);
	assert_int_equal(gw_unit_convert((struct gw_decimal){ INT64_MAX, 0 }, unit("L"), unit("mL/h"), &out), GW_E_FIELD);
	assert_int_equal(gw_unit_convert((struct gw_decimal){ INT64_MAX, 20 }, unit("[degF]"), unit("Cel"), &out), GW_E_FIELD);
	assert_int_equal(gw_unit_convert((struct gw_decimal){ INT64_MAX, 0 }, unit("kPa"), unit("mm[Hg]"), &out), GW_E_FIELD);
}

static void
test_molar_mass(void **state)
{
	const struct gw_signal *glucose = gw_signal_by_name(gw_span_text("glucose_unspecified")), *spo2 = gw_signal_by_name(gw_span_text("spo2"));
	struct gw_conversion conversion;
	struct gw_decimal out;

	assert_int_equal(gw_conversion_for(glucose, unit("mmol/L"), &conversion), GW_OK);
	assert_int_equal(gw_conversion_apply(&conversion, (struct gw_decimal){ 10, 0 }, &out), GW_OK);
	assert_int_equal(gw_decimal_compare(out, (struct gw_decimal){ 180156, -3 }), 0);
	assert_int_equal(gw_conversion_for(glucose, unit("g/L"), &conversion), GW_OK);
	assert_int_equal(gw_conversion_for(spo2, unit("mmol/L"), &conversion), GW_E_FIELD);
}

static double
number(struct gw_decimal value)
{
	return (double)value.mantissa * pow(10, value.exponent);
}

// Every unit to every other of its dimension: near what floating point says, and back to where it came from.
static void
test_there_and_back(void **state)
{
	static const char *const names[] = { "mm[Hg]", "kPa", "hPa", "cm[H2O]", "mbar", "Pa", "bar", "Cel", "[degF]", "K", "kg", "g", "[lb_av]", "[oz_av]", "cm", "m", "[in_i]",
		"[ft_i]", "s", "min", "h", "mL/h", "L/min", "mL/min", "1", "%", "mg/h", "ug/min", "ug/kg/min", "mg/kg/h", "J", "cal" };
	const struct gw_decimal value = { 123456, -3 };
	int pairs = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++) {
			const struct gw_unit *a = unit(names[i]), *b = unit(names[k]);
			struct gw_decimal there, back;
			double wanted = ((double)a->factor_num / (double)a->factor_den * 123.456 + (double)a->offset_num / (double)a->offset_den -
			    (double)b->offset_num / (double)b->offset_den) * (double)b->factor_den / (double)b->factor_num;
			if (gw_unit_convert(value, a, b, &there) != GW_OK)
				continue;
			assert_true(fabs(number(there) - wanted) <= fabs(wanted) * 1e-6);
			assert_int_equal(gw_unit_convert(there, b, a, &back), GW_OK);
			assert_true(fabs(number(back) - 123.456) < 1e-4);
			pairs++;
		}
	assert_in_range(pairs, 100, 1000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_known), cmocka_unit_test(test_refused), cmocka_unit_test(test_molar_mass),
		cmocka_unit_test(test_there_and_back) };

	return cmocka_run_group_tests(tests, open_tables, NULL);
}
