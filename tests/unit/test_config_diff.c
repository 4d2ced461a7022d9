// SPDX-License-Identifier: Apache-2.0
// What differs between two configurations: every option of the table by itself, items of lists by their names; and one made of sections of both.
#include "gateway/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/vitalgate-diff-XXXXXX";
static char file[64];

static struct gw_config *
load(const char *text)
{
	struct gw_config *config;
	struct gw_why why;
	FILE *out = fopen(file, "w");

	assert_non_null(out);
	fputs(text, out);
	assert_int_equal(fclose(out), 0);
	if (gw_config_load(file, &config, &why) != GW_OK)
		fail_msg("%s", why.text);
	return config;
}

// "section.option[item]+ " for each.
static void
note(void *arg, const struct gw_config_change *change)
{
	char *words = arg;
	size_t used = strlen(words);

	snprintf(words + used, 512 - used, "%s.%s%s%s%s%c ", change->option->section, change->option->name, change->item != NULL ? "[" : "",
	    change->item != NULL ? change->item : "", change->item != NULL ? "]" : "", "=+-"[change->how]);
}

static void
assert_diff(const char *from, const char *to, const char *section, const char *wanted)
{
	struct gw_config *a = load(from), *b = load(to);
	char words[512] = "", backwards[512] = "";
	size_t count = gw_config_diff(a, b, section, note, words);

	assert_string_equal(words, wanted);
	assert_int_equal(gw_config_diff(b, a, section, note, backwards), count);
	assert_int_equal(gw_config_diff(a, a, section, NULL, NULL), 0);
	gw_config_free(a);
	gw_config_free(b);
}

static void
test_values(void **state)
{
	(void)state;
	assert_diff("", "", NULL, "");
	assert_diff("bus:\n  prefix: a\n", "\n\nbus: {prefix: \"a\"} # elsewhere in the file\n", NULL, "");
	assert_diff("", "bus:\n  prefix: a\n  parked_max: 3\nlog:\n  json: true\n", NULL, "log.json= bus.prefix= bus.parked_max= ");
	assert_diff("", "bus:\n  prefix: a\nlog:\n  json: true\n", "bus", "bus.prefix= ");
	assert_diff("", "hl7_in:\n  port: 1\n", "hl7", ""); // a section's name, not its beginning
	assert_diff("log:\n  level: debug\n", "log:\n  level: error\n", NULL, "log.level= ");
	assert_diff("hl7_in:\n  fields: {bed: a}\n", "hl7_in:\n  fields: {bed: b}\n", NULL, "hl7_in.fields= ");
	assert_diff("hl7_in:\n  fields: {bed: a}\n", "hl7_in:\n  fields: {bed: a, visit: b}\n", NULL, "hl7_in.fields= ");
}

#define TO(items) "hl7:\n  destinations: [" items "]\n"
static void
test_items(void **state)
{
	(void)state;
	assert_diff(TO("{name: a, host: x}"), TO("{name: a, host: x}, {name: b}"), NULL, "hl7.destinations[b]+ ");
	assert_diff(TO("{name: a}, {name: b}"), TO("{name: b}"), NULL, "hl7.destinations[a]- ");
	assert_diff(TO("{name: a}, {name: b, port: 1}, {name: c}"), TO("{name: d}, {name: b, port: 2}, {name: c}"), NULL,
	    "hl7.destinations[d]+ hl7.destinations[b]= hl7.destinations[a]- ");
	assert_diff(TO("{name: a}, {name: b}"), TO("{name: b}, {name: a}"), NULL, "hl7.destinations= "); // their order
	// Lists within an item: of texts, of names with values, of items.
	assert_diff(TO("{name: a, wards: [x, y]}"), TO("{name: a, wards: [y, x]}"), NULL, "hl7.destinations[a]= ");
	assert_diff(TO("{name: a, overrides: {MSH-5: x}}"), TO("{name: a, overrides: {MSH-5: y}}"), NULL, "hl7.destinations[a]= ");
	assert_diff(TO("{name: a, rules: [{signal: x, interval_s: 1}]}"), TO("{name: a, rules: [{signal: x, interval_s: 2}]}"), NULL, "hl7.destinations[a]= ");
	assert_diff(TO("{name: a, rules: [{signal: x}]}"), TO("{name: a}"), NULL, "hl7.destinations[a]= ");
	assert_diff("hl7_in:\n  peers: [{name: p, zone: UTC}]\n", "hl7_in:\n  peers: [{name: p, zone: UTC, addresses: [10.1.2.3]}]\n", NULL, "hl7_in.peers[p]= ");
}

// Another value for each option of the table is seen, whatever its type.
static void
test_every_option(void **state)
{
	const struct gw_option *option;
	char text[256], wanted[128];

	(void)state;
	for (size_t i = 0; (option = gw_option_at(i)) != NULL; i++) {
		switch (option->type) {
		case GW_OPTION_BOOL: snprintf(text, sizeof(text), "%s", option->number ? "false" : "true"); break;
		case GW_OPTION_INT: snprintf(text, sizeof(text), "%lld", (long long)(option->number == option->low ? option->high : option->low)); break;
		case GW_OPTION_CHOICE:
			snprintf(text, sizeof(text), "%.*s", (int)strcspn(option->choices, "|"), option->choices);
			if (strcmp(text, option->text) == 0)
				snprintf(text, sizeof(text), "%s", strrchr(option->choices, '|') + 1);
			break;
		case GW_OPTION_TEXTS: snprintf(text, sizeof(text), "[x]"); break;
		case GW_OPTION_PAIRS: snprintf(text, sizeof(text), "{x: y}"); break;
		case GW_OPTION_LIST: snprintf(text, sizeof(text), "[{%s: x}]", option->items->options[0].name); break;
		default: snprintf(text, sizeof(text), "/another"); break;
		}
		char whole[400];

		snprintf(whole, sizeof(whole), "%s:\n  %s: %s\n", option->section, option->name, text);
		snprintf(wanted, sizeof(wanted), "%s.%s%s ", option->section, option->name, option->type == GW_OPTION_LIST && strcmp(option->items->options[0].name, "name") == 0 ? "[x]+" : "=");
		assert_diff("", whole, NULL, wanted);
	}
}

static void
test_taken_sections(void **state)
{
	static const char *const sections[] = { "bus", "hl7", NULL };
	struct gw_config *a = load("bus:\n  prefix: a\nmqtt:\n  port: 1\n");
	struct gw_config *b = load("bus:\n  prefix: b\nmqtt:\n  port: 2\n" TO("{name: d}"));
	struct gw_config both = *a;
	char words[512] = "";

	(void)state;
	gw_config_take(&both, b, sections);
	assert_string_equal(both.bus_prefix, "b");
	assert_int_equal(both.hl7_destinations.count, 1);
	assert_int_equal(both.mqtt_port, 1);
	gw_config_diff(&both, b, NULL, note, words);
	assert_string_equal(words, "mqtt.port= ");
	both = *a;
	gw_config_take(&both, b, NULL); // none
	assert_int_equal(gw_config_diff(a, &both, NULL, NULL, NULL), 0);
	gw_config_free(a);
	gw_config_free(b);
}

static int
set_up(void **state)
{
	(void)state;
	if (mkdtemp(folder) == NULL)
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
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_items),
		cmocka_unit_test(test_every_option),
		cmocka_unit_test(test_taken_sections),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
