// SPDX-License-Identifier: Apache-2.0
// The built-in tables: complete, consistent, and wide enough for patients.
#include "gateway/nomenclature.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <string.h>

static int
open_tables(void **state)
{
	return gw_nomenclature_open(NULL) == GW_OK ? 0 : -1;
}

static void
test_signals(void **state)
{
	const struct gw_signal *signal;
	size_t count = 0;

	for (; (signal = gw_signal_at(count)) != NULL; count++) {
		assert_ptr_equal(gw_signal_by_name(gw_span_text(signal->name)), signal);
		assert_ptr_equal(gw_signal_by_code(signal->code), signal);
		assert_string_equal(gw_code_refid(signal->code), signal->refid);
		assert_int_equal(gw_code_by_refid(gw_span_text(signal->refid)), signal->code);
		assert_true(strncmp(signal->refid, "MDC_", 4) == 0);
		if (signal->unit != NULL)
			assert_ptr_equal(gw_unit_by_code(signal->unit->code), signal->unit);
		if (signal->channel_refid != NULL)
			assert_non_null(signal->vmd_refid);
		// In topics, names and columns: lower case, digits and underscores.
		assert_int_equal(strspn(signal->name, "abcdefghijklmnopqrstuvwxyz0123456789_"), strlen(signal->name));
	}
	assert_in_range(count, 100, 1000);
	assert_null(gw_signal_by_name(gw_span_text("no_such_signal")));
	assert_null(gw_signal_by_code(1));
	assert_null(gw_signal_by_code(262688)); // a unit's code is no signal's
	assert_null(gw_code_refid(1));
}

// IEEE 11073-10101: context-free code = partition * 65536 + term code.
static void
test_codes(void **state)
{
	static const struct { const char *name, *refid; uint32_t partition, term; const char *unit; } known[] = {
		{ "heart_rate", "MDC_ECG_HEART_RATE", 2, 16770, "{beat}/min" }, { "spo2", "MDC_PULS_OXIM_SAT_O2", 2, 19384, "%" },
		{ "pulse_rate_spo2", "MDC_PULS_OXIM_PULS_RATE", 2, 18458, "{beat}/min" }, { "respiration_rate", "MDC_RESP_RATE", 2, 20490, "{breath}/min" },
		{ "nibp_systolic", "MDC_PRESS_BLD_NONINV_SYS", 2, 18949, "mm[Hg]" }, { "temperature", "MDC_TEMP", 2, 19272, "Cel" },
	};

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		const struct gw_signal *signal = gw_signal_by_name(gw_span_text(known[i].name));
		assert_non_null(signal);
		assert_string_equal(signal->refid, known[i].refid);
		assert_int_equal(signal->code, known[i].partition * 65536 + known[i].term);
		assert_string_equal(signal->unit->ucum, known[i].unit);
	}
}

static bool
plausible(const char *name, const char *value)
{
	const struct gw_signal *signal = gw_signal_by_name(gw_span_text(name));
	struct gw_decimal number;

	assert_non_null(signal);
	assert_true(gw_decimal_parse(gw_span_text(value), &number));
	return !signal->ranged || (gw_decimal_compare(number, signal->low) >= 0 && gw_decimal_compare(number, signal->high) <= 0);
}

// Values that were measured in people who lived, or that devices give in ordinary use.
static void
test_ranges_hold_patients(void **state)
{
	static const struct { const char *name, *value; } real[] = {
		{ "heart_rate", "0" }, { "heart_rate", "320" },            // asystole; a newborn's tachycardia
		{ "temperature_core", "11.8" }, { "temperature", "46.5" }, // accidental hypothermia, heat stroke, survived
		{ "spo2", "0" }, { "spo2", "100" }, { "nibp_systolic", "370" }, { "nibp_diastolic", "0" },
		{ "abp_mean", "-5" }, { "cvp_mean", "-12" }, { "icp", "-10" }, { "icp", "120" },
		{ "glucose_unspecified", "5" }, { "glucose_unspecified", "2656" }, { "body_weight", "0.212" }, { "body_weight", "635" },
		{ "body_height", "24" }, { "body_height", "272" }, { "vent_resp_rate", "900" }, { "respiration_rate", "120" }, // oscillation; a newborn
		{ "fio2", "21" }, { "fio2", "100" }, { "vent_tidal_volume", "2" }, { "infusion_rate", "0.05" }, { "infusion_rate", "60000" },
		{ "temperature_skin", "15" }, { "ecg_rr_interval", "6000" }, { "etco2", "150" }, { "vent_peep", "0" },
	};

	for (size_t i = 0; i < sizeof(real) / sizeof(real[0]); i++)
		if (!plausible(real[i].name, real[i].value))
			fail_msg("%s %s is a patient", real[i].name, real[i].value);
	assert_false(plausible("spo2", "101"));
	assert_false(plausible("temperature", "98.6"));
	assert_false(plausible("heart_rate", "-1"));
}

static void
test_units(void **state)
{
	static const struct { const char *spelling, *ucum; } same[] = { { "bpm", "{beat}/min" }, { "beat/min", "{beat}/min" }, { "mmHg", "mm[Hg]" }, { "C", "Cel" },
		{ "°C", "Cel" }, { "degC", "Cel" }, { "°F", "[degF]" }, { "1/min", "/min" }, { "/", "1" }, { "/100", "%" }, { "%RH", "%" }, { "cmH2O", "cm[H2O]" }, { "ml", "mL" },
		{ "µg", "ug" }, { "μg", "ug" }, { "l/min", "L/min" } };

	for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
		const struct gw_unit *unit = gw_unit_by_ucum(gw_span_text(same[i].spelling));
		assert_non_null(unit);
		assert_string_equal(unit->ucum, same[i].ucum);
	}
	assert_null(gw_unit_by_ucum(gw_span_text("furlong")));
	assert_null(gw_unit_by_ucum(gw_span_text("")));
	assert_null(gw_unit_by_ucum(gw_span_text("MMhg"))); // UCUM is case-sensitive
	assert_int_equal(gw_unit_by_ucum(gw_span_text("mm[Hg]"))->code, 266016);
	assert_null(gw_unit_by_code(0));
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_signals), cmocka_unit_test(test_codes), cmocka_unit_test(test_ranges_hold_patients),
		cmocka_unit_test(test_units) };

	return cmocka_run_group_tests(tests, open_tables, NULL);
}
