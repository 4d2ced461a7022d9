// SPDX-License-Identifier: Apache-2.0
// Settings of destinations from a configuration: what is wrong is said with its line, the destination and what to do; what is right arrives.
#include "adapters/hl7/settings.h"
#include "gateway/nomenclature.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/vitalgate-settings-XXXXXX";
static char file[64];

static struct gw_config *
load(const char *text)
{
	FILE *out = fopen(file, "w");
	struct gw_config *config;
	struct gw_why why;

	assert_non_null(out);
	fputs(text, out);
	assert_int_equal(fclose(out), 0);
	if (gw_config_load(file, &config, &why) != GW_OK)
		fail_msg("%s", why.text);
	return config;
}

// Each stands below "- name: a" and "host: h", at line 5.
static void
test_mistakes_are_named(void **state)
{
	static const struct { const char *text, *words; } cases[] = {
		{ "", NULL },
		{ "host: \"a b\"", "host is a name" },
		{ "ca: x.pem", "say tls: true" },
		{ "tls: true", "tls needs ca" },
		{ "tls: true\n      ca: gone.pem", "ca" },
		{ "tls: true\n      ca: test.yaml", "ca" },
		{ "tls: true\n      ca: x\n      certificate: y", "key is missing" },
		{ "processing_id: D", "line 3: destination \"a\": processing_id D is for tests" },
		{ "production: false\n      processing_id: P", "would have tests charted" },
		{ "production: false\n      processing_id: T", NULL },
		{ "charset: EBCDIC", "charset is UNICODE UTF-8" },
		{ "charset: 8859/15", NULL },
		{ "charset: UNICODE UTF-16", "charset is" },
		{ "signals: [heart_rat]", "line 5: destination \"a\": no signal is called \"heart_rat\"; did you mean \"heart_rate\"" },
		{ "signals: [heart_rate, \"nibp*\"]", NULL },
		{ "signals: [\"zzz*\"]", "no signal" },
		{ "signals: [\"*rate\"]", "a beginning and *" },
		{ "wards: [\"3*a\"]", "wards" },
		{ "wards: [\"\"]", "wards" },
		{ "rules: [{signal: heart_rate}]", "neither select nor interval_s" },
		{ "rules: [{select: every}]", "has no signal" },
		{ "rules: [{signal: nosuch, select: every}]", "no signal is called" },
		{ "rules:\n      - {signal: heart_rate, select: every}\n      - {signal: heart_rate, interval_s: 3}", "line 7: destination \"a\": rules: line 6" },
		{ "decimals: 1", "values: canonical" },
		{ "decimals: 1\n      values: canonical", NULL },
		{ "backoff_ms_min: 5000\n      backoff_ms_max: 4000", "backoff_ms_min (5000)" },
		{ "overrides:\n        MSH-5.1: ICU\n        PV1-3: a^b^c\n        OBR-24: x", NULL },
		{ "overrides:\n        MSH5: ICU", "line 6: destination \"a\": overrides: a field is written" },
		{ "overrides:\n        MSH-5.: ICU", "a field is written" },
		{ "overrides:\n        MSH-0: ICU", "a field is written" },
		{ "overrides:\n        MSH-5.1.2: ICU", "a field is written" },
		{ "overrides:\n        ZZZ-5: ICU", "no \"ZZZ\"" },
		{ "overrides:\n        MSH-10: x", "it tells messages apart" },
		{ "overrides:\n        PID-3.1: x", "whose readings" },
		{ "overrides:\n        OBX-5: x", "the reading itself" },
		{ "overrides:\n        MSH-15: NE", "see acknowledgement" },
		{ "overrides:\n        MSH-5: \"a|b\"", "separators" },
		{ "overrides:\n        MSH-5.1: a^b", "separators" },
		{ "overrides:\n        MSH-5: \"a\\rEVN\"", "control characters" },
		{ "sending_facility: \"a\\nb\"", "sending_facility" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct gw_hl7_settings *settings = NULL;
		struct gw_why why = { "" };
		struct gw_config *config;
		char text[512];
		size_t count;
		enum gw_error error;

		snprintf(text, sizeof(text), "hl7:\n  destinations:\n    - name: a\n      %s\n      %s\n", strncmp(cases[i].text, "host", 4) == 0 ? "" : "host: h",
		    cases[i].text);
		config = load(text);
		error = gw_hl7_settings_make(config, 1, &settings, &count, &why);
		if (error != (cases[i].words != NULL ? GW_E_CONFIG : GW_OK) || (cases[i].words != NULL && strstr(why.text, cases[i].words) == NULL))
			fail_msg("case %zu: %s", i, why.text);
		gw_hl7_settings_free(settings, count);
		gw_config_free(config);
	}
}

static void
test_names(void **state)
{
	static const struct { const char *text, *words; } cases[] = {
		{ "[{name: a, host: h}, {name: b, host: h}]", NULL },
		{ "[{name: a, host: h}, {name: a, host: i}]", "has this name too" },
		{ "[{host: h}]", "it has no name" },
		{ "[{name: a/b, host: h}]", "name is 1 to 32" },
		{ "[{name: a123456789012345678901234567890123, host: h}]", "name is 1 to 32" },
		{ "[{name: a}]", "it has no host" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct gw_hl7_settings *settings = NULL;
		struct gw_why why = { "" };
		struct gw_config *config;
		char text[256];
		size_t count;
		enum gw_error error;

		snprintf(text, sizeof(text), "hl7:\n  destinations: %s\n", cases[i].text);
		config = load(text);
		error = gw_hl7_settings_make(config, 1, &settings, &count, &why);
		if (error != (cases[i].words != NULL ? GW_E_CONFIG : GW_OK) || (cases[i].words != NULL && strstr(why.text, cases[i].words) == NULL))
			fail_msg("case %zu: %s", i, why.text);
		gw_hl7_settings_free(settings, count);
		gw_config_free(config);
	}
}

static void
test_everything_arrives(void **state)
{
	struct gw_config *config = load("store:\n  budget_mb: 1000\nhl7:\n  gateway_eui64: 080019FFFE3ED02D\n  destinations:\n    - name: icu\n      host: pdms.example\n"
	    "      port: 2576\n      production: false\n      version: \"2.5.1\"\n      acknowledgement: original\n      charset: Latin1\n      select: first\n"
	    "      interval_s: 30\n      wards: [3a, \"4*\"]\n      devices: [bed-1]\n      signals: [heart_rate]\n      values: canonical\n      decimals: 2\n"
	    "      rules: [{signal: \"nibp*\", select: every}, {signal: temperature, interval_s: 0}]\n      waveforms: true\n"
	    "      overrides: {MSH-5.1: ICU, OBR-24: \"\"}\n      unassociated: send\n      corrections: resend\n      rejected: retry\n      answer_s_max: 7\n"
	    "      errors_max: 9\n      backlog_per_s: 3\n      backlog_h_max: 2\n      backlog_percent_max: 10\n    - name: other\n      host: h\n");
	struct gw_hl7_settings *settings;
	struct gw_why why = { "" };
	const struct gw_hl7_settings *s;
	size_t count;

	(void)state;
	if (gw_hl7_settings_make(config, 0xFFFFFFFFFFFFFFFF, &settings, &count, &why) != GW_OK)
		fail_msg("%s", why.text);
	s = &settings[0];
	assert_int_equal(count, 2);
	assert_string_equal(s->name, "icu");
	assert_int_equal(s->port, 2576);
	assert_false(s->production);
	assert_string_equal(s->processing_id, "D");
	assert_string_equal(s->version, "2.5.1");
	assert_string_equal(s->accept_ack, "");
	assert_string_equal(s->application_ack, "");
	assert_string_equal(gw_hl7_charset_name(s->charset), "8859/1");
	assert_true(s->eui64 == 0x080019FFFE3ED02D);
	assert_int_equal(s->select, GW_HL7_FIRST);
	assert_int_equal(s->interval_us, 30000000);
	assert_int_equal(s->ward_count, 2);
	assert_string_equal(s->wards[1], "4*");
	assert_int_equal(s->device_count, 1);
	assert_int_equal(s->signal_count, 1);
	assert_int_equal(s->values, GW_HL7_CANONICAL);
	assert_int_equal(s->decimals, 2);
	assert_true(s->waveforms);
	assert_int_equal(s->rule_count, 2);
	assert_true(s->rules[0].has_select && !s->rules[0].has_interval && s->rules[0].select == GW_HL7_EVERY);
	assert_true(!s->rules[1].has_select && s->rules[1].has_interval && s->rules[1].interval_us == 0);
	assert_int_equal(s->override_count, 2);
	assert_string_equal(s->overrides[0].segment, "MSH");
	assert_int_equal(s->overrides[0].field, 5);
	assert_int_equal(s->overrides[0].component, 1);
	assert_string_equal(s->overrides[0].value, "ICU");
	assert_int_equal(s->overrides[1].component, 0);
	assert_int_equal(s->unassociated, GW_HL7_SEND);
	assert_int_equal(s->corrections, GW_HL7_RESEND);
	assert_int_equal(s->rejected, GW_HL7_RETRY);
	assert_int_equal(s->answer_ms_max, 7000);
	assert_int_equal(s->errors_max, 9);
	assert_int_equal(s->backlog_per_s, 3);
	assert_true(s->backlog_us_max == 7200000000);
	assert_true(s->backlog_bytes_max == 1000ull * (1 << 20) / 100 * 10);
	// The other has all defaults: PCD-01's.
	s = &settings[1];
	assert_true(s->production);
	assert_string_equal(s->processing_id, "P");
	assert_string_equal(s->accept_ack, "AL");
	assert_string_equal(s->application_ack, "NE");
	assert_null(s->wards);
	assert_string_equal(gw_hl7_charset_name(s->charset), "UNICODE UTF-8");
	assert_int_equal(s->rejected, GW_HL7_PARK);
	gw_hl7_settings_free(settings, count);
	gw_config_free(config);
}

// Without an identifier that was assigned: the store's, marked as local, of one and not of a group.
static void
test_eui64_of_our_own(void **state)
{
	struct gw_config *config = load("hl7:\n  destinations: [{name: a, host: h}]\n");
	struct gw_hl7_settings *settings;
	size_t count;

	(void)state;
	assert_int_equal(gw_hl7_settings_make(config, 0xFDFFFFFFFFFFFFFF, &settings, &count, NULL), GW_OK);
	assert_true(settings[0].eui64 == 0xFEFFFFFFFFFFFFFF);
	gw_hl7_settings_free(settings, count);
	gw_config_free(config);
}

static int
set_up(void **state)
{
	struct gw_why why;

	(void)state;
	if (mkdtemp(folder) == NULL || gw_nomenclature_open(&why) != GW_OK)
		return -1;
	snprintf(file, sizeof(file), "%s/test.yaml", folder);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	return unlink(file) == 0 && rmdir(folder) == 0 ? 0 : -1;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_mistakes_are_named),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_everything_arrives),
		cmocka_unit_test(test_eui64_of_our_own),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
