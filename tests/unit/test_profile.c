// SPDX-License-Identifier: Apache-2.0
// Profiles: what is accepted, what is refused with which words, routes and names, and zones.
#include "gateway/profile.h"
#include "gateway/profile_table.h"
#include "gateway/timezone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <string.h>

#define HEAD "profile: p\nroutes: { mqtt: [ \"a/{device}/b\" ] }\n"

static struct gw_profiles *
load(const char *yaml)
{
	struct gw_profiles *profiles;
	struct gw_why why;

	if (gw_profiles_load_text("p.yaml", gw_span_text(yaml), &profiles, &why) != GW_OK)
		fail_msg("%s\n%s", yaml, why.text);
	return profiles;
}

static void
refused(const char *yaml, const char *words)
{
	struct gw_profiles *profiles;
	struct gw_why why = { "" };

	if (gw_profiles_load_text("p.yaml", gw_span_text(yaml), &profiles, &why) != GW_E_CONFIG || strstr(why.text, words) == NULL ||
	    strncmp(why.text, "p.yaml:", 7) != 0)
		fail_msg("%s\nwanted: %s\nsaid: %s", yaml, words, why.text);
}

static void
test_builtin(void **state)
{
	static const char *const names[] = { "senml", "senml-percent", "bedside-json", "plain-text" };
	struct gw_profiles *profiles;
	const struct gw_signal *signal;
	struct gw_why why;
	uint16_t instance;

	if (gw_profiles_load(NULL, &profiles, &why) != GW_OK)
		fail_msg("%s", why.text);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const struct gw_profile *profile = gw_profile_by_name(profiles, gw_span_text(names[i]));
		assert_non_null(profile);
		assert_string_equal(gw_profile_name(profile), names[i]);
		assert_non_null(gw_profile_route(profile, GW_DOOR_MQTT, 0));
		assert_non_null(gw_profile_route(profile, GW_DOOR_COAP, 0));
		assert_true(gw_profile_signal(profile, 0, &signal, &instance));
		assert_true(strlen(gw_profile_description(profile)) > 0);
	}
	assert_null(gw_profile_at(profiles, 4));
	assert_null(gw_profile_by_name(profiles, gw_span_text("none")));
	gw_profiles_free(profiles);
}

static void
test_refusals(void **state)
{
	refused("", "");
	refused("profile: p\n", "Missing required mapping field");
	refused(HEAD "format: json\nfields: []\n", "Insufficient entries");
	refused(HEAD "format: jason\nfields: [ { field: /hr, signal: heart_rate } ]\n", "jason");
	refused(HEAD "format: json\nfeilds: [ { field: /hr, signal: heart_rate } ]\n", "did you mean \"fields\"");
	refused(HEAD "format: json\nfields:\n  - { field: /hr, sginal: heart_rate }\n", "p.yaml:5:");
	refused(HEAD "format: json\nfields:\n  - { field: /hr, signal: heart_rat }\n", "p.yaml:5: no signal \"heart_rat\" in the nomenclature; did you mean \"heart_rate\"");
	refused(HEAD "format: json\nfields: [ { field: hr, signal: heart_rate } ]\n", "no JSON Pointer");
	refused(HEAD "format: json\nfields: [ { field: /h~2r, signal: heart_rate } ]\n", "no JSON Pointer");
	refused(HEAD "format: json\nfields: [ { field: /hr } ]\n", "needs a signal");
	refused(HEAD "format: json\nfields: [ { field: /hr, signal: heart_rate, unit: mmHg } ]\n", "does not fit signal heart_rate");
	refused(HEAD "format: json\nfields: [ { field: /hr, signal: heart_rate, unit: hops } ]\n", "unit \"hops\" is not known");
	refused(HEAD "format: json\nfields: [ { field: /hr, signal: heart_rate }, { field: /hr, signal: pulse_rate } ]\n", "stands twice");
	refused(HEAD "format: json\nfields: [ { field: /a, signal: heart_rate }, { field: /a/b, signal: pulse_rate } ]\n", "lies inside another field");
	refused(HEAD "format: json\nignore: [ /hr ]\nfields: [ { field: /hr, signal: heart_rate } ]\n", "stands twice");
	refused(HEAD "format: json\nfields: [ { field: /w, signal: ecg_lead_ii } ]\n", "is a waveform");
	refused(HEAD "format: json\ntime: { from: /t, format: local }\nfields: [ { field: /hr, signal: heart_rate } ]\n", "needs a zone");
	refused(HEAD "format: json\ntime: { from: /t, zone: Mars/Olympus }\nfields: [ { field: /hr, signal: heart_rate } ]\n", "no zone \"Mars/Olympus\"");
	refused(HEAD "format: text\ntime: { from: /t }\nfields: [ { field: x, signal: heart_rate } ]\n", "time from");
	refused(HEAD "format: senml\nnames: [ \"{device}{field}\" ]\nfields: [ { field: x, signal: heart_rate } ]\n", "literals between captures");
	refused(HEAD "format: senml\nnames: [ \"x\" ]\nfields: [ { field: x, signal: heart_rate } ]\n", "one {field}");
	refused(HEAD "format: json\nfields: [ { field: /r, signal: ecg_rhythm_status, values: [ { is: a } ] } ]\n", "needs either code or text");
	refused(HEAD "format: json\nfields: [ { field: /r, signal: ecg_rhythm_status, values: [ { is: a, code: MDC_NO_SUCH } ] } ]\n", "is no code");
	refused(HEAD "format: json\nfields: [ { field: /r, signal: heart_rate, instance: 65536 } ]\n", "65536");
	refused("profile: p\nroutes: { mqtt: [ \"a/x{device}\" ] }\nformat: json\nfields: [ { field: /hr, signal: heart_rate } ]\n", "levels are literal or one {capture}");
	refused("profile: p\nroutes: { mqtt: [ \"a/+\" ] }\nformat: json\nfields: [ { field: /hr, signal: heart_rate } ]\n", "levels are literal or one {capture}");
	refused(HEAD "format: json\nfields: &x [ { field: /hr, signal: heart_rate } ]\nignore: *x\n", "");
}

static size_t
match(const struct gw_profiles *profiles, enum gw_door door, const char *route, struct gw_match out[4])
{
	return gw_profiles_match(profiles, door, gw_span_text(route), out, 4);
}

static void
test_routes(void **state)
{
	struct gw_profiles *p = load("profile: p\nroutes:\n  mqtt: [ \"{a}/{device}/x\", \"w/{device}/x\", \"w/d/x\", \"w\" ]\n  coap: [ \"v/{device}\" ]\nformat: json\n"
	    "fields: [ { field: /hr, signal: heart_rate } ]\n");
	struct gw_match m[4];

	assert_int_equal(match(p, GW_DOOR_MQTT, "w/d/x", m), 3);
	assert_int_equal(m[0].count, 0); // literal before captures
	assert_int_equal(m[1].count, 1);
	assert_true(gw_span_is(m[1].device, "d") && gw_span_is(gw_match_capture(&m[2], "a"), "w"));
	assert_int_equal(match(p, GW_DOOR_MQTT, "w/d2/x", m), 2);
	assert_int_equal(match(p, GW_DOOR_MQTT, "w//x", m), 0); // an empty level names nothing
	assert_int_equal(match(p, GW_DOOR_MQTT, "w/d/x/", m), 0);
	assert_int_equal(match(p, GW_DOOR_MQTT, "/w/d/x", m), 0);
	assert_int_equal(match(p, GW_DOOR_MQTT, "w", m), 1);
	assert_int_equal(match(p, GW_DOOR_MQTT, "", m), 0);
	assert_int_equal(match(p, GW_DOOR_MQTT, "1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17/18", m), 0);
	assert_int_equal(match(p, GW_DOOR_COAP, "w", m), 0);
	assert_int_equal(match(p, GW_DOOR_COAP, "v/d", m), 1);
	assert_int_equal(gw_match_capture(&m[0], "none").len, 0);
	gw_profiles_free(p);
}

static bool
name_is(const char *pattern, const char *name, const char *device, const char *field, int instance)
{
	struct gw_name_pattern compiled;
	struct gw_name_match found;

	assert_true(gw_name_compile(pattern, &compiled));
	return gw_name_match(&compiled, gw_span_text(name), &found) && gw_span_is(found.device, device) && gw_span_is(found.field, field) &&
	    (instance < 0 ? !found.has_instance : found.has_instance && found.instance == instance);
}

static void
test_names(void **state)
{
	assert_true(name_is("{field}", "heart_rate", "", "heart_rate", -1));
	assert_true(name_is("{field}/{instance}", "temperature/2", "", "temperature", 2));
	assert_false(name_is("{field}/{instance}", "temperature/x", "", "temperature", 0));
	assert_false(name_is("{field}/{instance}", "temperature/02", "", "temperature", 2));
	assert_false(name_is("{field}/{instance}", "temperature/65536", "", "temperature", 0));
	assert_true(name_is("{device}:{field}", "urn:dev:mac:0024befffe804ff1:temp", "urn:dev:mac:0024befffe804ff1", "temp", -1));
	assert_true(name_is("urn:dev:{device}:{field}", "urn:dev:mac:00:temp", "mac:00", "temp", -1));
	assert_true(name_is("{device}/{field}/{instance}", "a/b/c/7", "a/b", "c", 7));
	assert_true(name_is("x-{field}-y", "x-z-y", "", "z", -1));
	assert_false(name_is("x-{field}-y", "x--y", "", "", -1));
	assert_false(name_is("{device}:{field}", ":temp", "", "temp", -1));
	assert_false(name_is("{device}:{field}", "temp:", "temp", "", -1));
	assert_false(name_is("{field}", "", "", "", -1));
}

static void
test_zones(void **state)
{
	static const char *const names[] = { "Europe/Berlin", "CET-1CEST,M3.5.0,M10.5.0/3" };
	const int64_t autumn = gw_days_from_civil(2026, 10, 25) * 86400, spring = gw_days_from_civil(2026, 3, 29) * 86400;
	struct gw_zone *zone;

	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(gw_zone_open(names[i], &zone, NULL), GW_OK);
		assert_true(gw_zone_to_utc(zone, autumn + 9000, autumn + 1800) == autumn + 1800);  // 02:30 the first time: 00:30Z
		assert_true(gw_zone_to_utc(zone, autumn + 9000, autumn + 5400) == autumn + 5400);  // and the second: 01:30Z
		assert_true(gw_zone_to_utc(zone, autumn + 7200, autumn + 86400) == autumn + 3600); // 02:00 late: the nearer one
		assert_true(gw_zone_to_utc(zone, spring + 9000, spring) == spring + 5400);         // left out: the offset before
		assert_true(gw_zone_to_utc(zone, spring + 3600, spring) == spring);
		assert_true(gw_zone_to_utc(zone, spring + 10800, spring) == spring + 3600);
		assert_int_equal(gw_zone_offset(zone, gw_days_from_civil(2055, 7, 1) * 86400), 7200); // beyond the file's table
		assert_int_equal(gw_zone_offset(zone, gw_days_from_civil(2055, 12, 1) * 86400), 3600);
		gw_zone_free(zone);
	}
	assert_int_equal(gw_zone_open("Australia/Sydney", &zone, NULL), GW_OK); // summer over the turn of the year
	assert_int_equal(gw_zone_offset(zone, gw_days_from_civil(2040, 1, 1) * 86400), 39600);
	assert_int_equal(gw_zone_offset(zone, gw_days_from_civil(2040, 7, 1) * 86400), 36000);
	gw_zone_free(zone);
	assert_int_equal(gw_zone_open("Asia/Kolkata", &zone, NULL), GW_OK);
	assert_int_equal(gw_zone_offset(zone, 1795162500), 19800);
	gw_zone_free(zone);
	assert_int_equal(gw_zone_open("UTC", &zone, NULL), GW_OK);
	assert_int_equal(gw_zone_offset(zone, 1795162500), 0);
	gw_zone_free(zone);
	assert_int_equal(gw_zone_open("../../etc/passwd", &zone, NULL), GW_E_CONFIG);
	assert_int_equal(gw_zone_open("/etc/localtime", &zone, NULL), GW_E_CONFIG);
	assert_int_equal(gw_zone_open("CET-1CEST,M13.5.0,M10.5.0", &zone, NULL), GW_E_CONFIG);
	assert_int_equal(gw_zone_open("", &zone, NULL), GW_E_CONFIG);
	assert_true(gw_days_from_civil(1970, 1, 1) == 0 && gw_days_from_civil(2000, 3, 1) == 11017 && gw_days_from_civil(1969, 12, 31) == -1);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_builtin), cmocka_unit_test(test_refusals), cmocka_unit_test(test_routes),
		cmocka_unit_test(test_names), cmocka_unit_test(test_zones) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
