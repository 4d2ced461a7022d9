// SPDX-License-Identifier: Apache-2.0
// The configuration: every kind of mistake is named with its line, what is printed parses back to itself, the shipped file agrees with the table.
#include "gateway/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/vitalgate-config-XXXXXX";
static char file[64];

static void
write_file(const char *text)
{
	FILE *out = fopen(file, "w");

	assert_non_null(out);
	fputs(text, out);
	assert_int_equal(fclose(out), 0);
}

static char *
printed(const struct gw_config *config)
{
	size_t len;
	char *text = NULL;
	FILE *out = open_memstream(&text, &len);

	gw_config_print(config, out);
	fclose(out);
	return text;
}

static struct gw_config *
load(const char *text)
{
	struct gw_config *config;
	struct gw_why why;

	write_file(text);
	if (gw_config_load(file, &config, &why) != GW_OK)
		fail_msg("%s", why.text);
	return config;
}

static void
test_mistakes_are_named(void **state)
{
	static const struct {
		const char *text, *line, *words;
	} cases[] = {
		{ "mqtt:\n  prot: 1\n", ":2:", "did you mean \"port\"" },
		{ "mqtt:\n  port: 1\nmtqt:\n  port: 1\n", ":3:", "did you mean \"mqtt\"" },
		{ "mqtt:\n  port: 65536\n", ":2:", "0 to 65535" },
		{ "mqtt:\n  port: -1\n", ":2:", "0 to 65535" },
		{ "mqtt:\n  port: 99999999999999999999999\n", ":2:", "0 to 65535" },
		{ "mqtt:\n  port: 12x\n", ":2:", "whole number" },
		{ "mqtt:\n  port:\n", ":2:", "whole number" },
		{ "\nmqtt:\n  enabled: yes\n", ":3:", "true or false" },
		{ "log:\n  level: loud\n", ":2:", "debug|info|notice|warning|error" },
		{ "mqtt:\n  port: [1]\n", ":2:", "one value" },
		{ "mqtt: 1\n", ":1:", "section" },
		{ "mqtt:\n  port: 1\n  port: 2\n", ":3:", "twice" },
		{ "mqtt:\n  port: 1\nmqtt:\n  port: 2\n", ":3:", "twice" },
		{ "- a\n", ":1:", "begins with a section" },
		{ "mqtt:\n  port: \"1\n", ":", "not YAML" },
		{ "bus:\n  uri: \"a\\0b\"\n", ":2:", "NUL" },
		{ "hl7:\n  destinations: pdms\n", ":2:", "is a list" },
		{ "hl7:\n  destinations:\n    name: pdms\n", ":3:", "is a list" },
		{ "hl7:\n  destinations:\n    - pdms\n", ":3:", "a destination has options, such as \"name: ...\"" },
		{ "hl7:\n  destinations:\n    - name: a\n      prot: 1\n", ":4:", "unknown option \"prot\" in destination; did you mean \"port\"" },
		{ "hl7:\n  destinations:\n    - name: a\n    - name: b\n      port: 0\n", ":5:", "destination.port is 1 to 65535" },
		{ "hl7:\n  destinations:\n    - name: a\n      name: b\n", ":4:", "twice" },
		{ "hl7:\n  destinations:\n    - select: all\n", ":3:", "last|first|every" },
		{ "hl7:\n  destinations:\n    - wards: 3a\n", ":3:", "is a list" },
		{ "hl7:\n  destinations:\n    - wards: [[3a]]\n", ":3:", "a text is wanted" },
		{ "hl7:\n  destinations:\n    - overrides: [MSH-5]\n", ":3:", "names with values" },
		{ "hl7:\n  destinations:\n    - overrides:\n        MSH-5: [1]\n", ":4:", "a text is wanted" },
		{ "hl7:\n  destinations:\n    - rules:\n      - signal: a\n        intervall_s: 1\n", ":5:", "in rule; did you mean \"interval_s\"" },
		{ "hl7:\n  port: 1\n", ":2:", "unknown option \"port\" in hl7" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct gw_config *config;
		struct gw_why why = { "" };

		write_file(cases[i].text);
		assert_int_equal(gw_config_load(file, &config, &why), GW_E_CONFIG);
		assert_null(config);
		if (strstr(why.text, file) == NULL || strstr(why.text, cases[i].line) == NULL || strstr(why.text, cases[i].words) == NULL)
			fail_msg("case %zu: %s", i, why.text);
	}
}

static void
test_bounds_of_every_number(void **state)
{
	const struct gw_option *option;
	struct gw_config *config;
	struct gw_why why;
	char text[160];

	(void)state;
	for (size_t i = 0; (option = gw_option_at(i)) != NULL; i++) {
		if (option->type != GW_OPTION_INT)
			continue;
		assert_in_range(option->number, option->low, option->high);
		for (int step = -1; step <= 1; step++) {
			for (int side = 0; side < 2; side++) {
				int64_t value = (side == 0 ? option->low : option->high) + step;
				bool good = value >= option->low && value <= option->high;

				snprintf(text, sizeof(text), "%s:\n  %s: %lld\n", option->section, option->name, (long long)value);
				write_file(text);
				assert_int_equal(gw_config_load(file, &config, &why), good ? GW_OK : GW_E_CONFIG);
				if (good)
					assert_int_equal(*(int64_t *)((char *)config + option->offset), value);
				gw_config_free(config);
			}
		}
	}
}

static void
test_lists_have_an_end(void **state)
{
	static char text[GW_CONFIG_ITEMS_MAX * 16 + 256];
	struct gw_config *config;
	struct gw_why why;

	(void)state;
	for (int more = 0; more < 2; more++) {
		strcpy(text, "hl7:\n  destinations:\n    - wards: [");
		for (int i = 0; i < GW_CONFIG_ITEMS_MAX + more; i++)
			strcat(text, i > 0 ? ", w" : "w");
		strcat(text, "]\n");
		write_file(text);
		assert_int_equal(gw_config_load(file, &config, &why), more ? GW_E_CONFIG : GW_OK);
		if (more)
			assert_non_null(strstr(why.text, ":3: destination.wards has more than"));
		gw_config_free(config);
	}
}

// Bounds of an item's numbers, through the table as well.
static void
test_bounds_in_items(void **state)
{
	const struct gw_option *list = NULL, *option;
	struct gw_config *config;
	struct gw_why why;
	char text[160];

	(void)state;
	for (size_t i = 0; (option = gw_option_at(i)) != NULL; i++)
		if (option->type == GW_OPTION_LIST && strcmp(option->name, "destinations") == 0)
			list = option;
	assert_non_null(list);
	for (size_t i = 0; i < list->items->count; i++) {
		option = &list->items->options[i];
		if (option->type != GW_OPTION_INT)
			continue;
		assert_in_range(option->number - option->low, 0, option->high - option->low);
		for (int high = 0; high < 2; high++) {
			for (int beyond = 0; beyond < 2; beyond++) {
				int64_t value = high ? option->high + beyond : option->low - beyond;

				snprintf(text, sizeof(text), "hl7:\n  destinations:\n    - %s: %lld\n", option->name, (long long)value);
				write_file(text);
				assert_int_equal(gw_config_load(file, &config, &why), beyond ? GW_E_CONFIG : GW_OK);
				if (!beyond)
					assert_int_equal(*(int64_t *)((char *)config->hl7_destinations.at + option->offset), value);
				gw_config_free(config);
			}
		}
	}
}

static void
test_print_parses_back(void **state)
{
	const struct gw_config_destination *destinations;
	const struct gw_config_rule *rules;
	struct gw_config *first, *second;
	char *a, *b;

	(void)state;
	first = load("store:\n  dir: some where\n  budget_mb: 100\nmqtt:\n  port: 0\n  enabled: false\nhl7:\n  destinations:\n"
	    "    - name: a\n      select: every\n      wards: [3a, \"4 b\"]\n      overrides:\n        MSH-5.1: ICU\n        PV1-3.4: \"x\"\n"
	    "      rules:\n        - signal: heart_rate\n          interval_s: 5\n        - {signal: \"nibp*\", select: every}\n"
	    "    -\n      name: b\n"
	    "      sending_facility: \"q\\\"uo\\\\te\\tt\\x01 \xC3\xA4: #\"\nbus:\n  user: 'yes'\n  client_id: \"123\"\n");
	a = printed(first);
	second = load(a);
	b = printed(second);
	assert_string_equal(a, b);
	destinations = second->hl7_destinations.at;
	rules = destinations[0].rules.at;
	assert_int_equal(second->hl7_destinations.count, 2);
	assert_string_equal(destinations[1].sending_facility, "q\"uo\\te\tt\x01 \xC3\xA4: #");
	assert_string_equal(destinations[0].select, "every");
	assert_string_equal(destinations[1].select, "last");
	assert_int_equal(destinations[1].port, 2575);
	assert_int_equal(destinations[0].wards.count, 2);
	assert_string_equal(destinations[0].wards.at[1].text, "4 b");
	assert_int_equal(destinations[0].overrides.count, 2);
	assert_string_equal(destinations[0].overrides.at[0].key, "MSH-5.1");
	assert_string_equal(destinations[0].overrides.at[0].value, "ICU");
	assert_int_equal(destinations[0].rules.count, 2);
	assert_int_equal(rules[0].interval_s, 5);
	assert_int_equal(rules[1].interval_s, -1);
	assert_string_equal(rules[1].signal, "nibp*");
	assert_int_equal(second->mqtt_port, 0);
	assert_false(second->mqtt_enabled);
	assert_string_equal(second->bus_user, "yes");
	gw_config_free(first);
	gw_config_free(second);
	free(a);
	free(b);
}

static void
test_paths_come_from_the_files_folder(void **state)
{
	struct gw_config *config = load("store:\n  dir: data\ntls:\n  ca: /abs/ca.pem\n");
	char wanted[80];

	(void)state;
	snprintf(wanted, sizeof(wanted), "%s/data", folder);
	assert_string_equal(config->store_dir, wanted);
	assert_string_equal(config->tls_ca, "/abs/ca.pem");
	assert_string_equal(config->tls_key, "");
	gw_config_free(config);
}

static void
test_defaults(void **state)
{
	struct gw_config *config = NULL, *empty = load("# nothing\n"), *commented = load("store:\n  # dir: x\nmqtt:\n");
	struct gw_why why;

	(void)state;
	assert_int_equal(gw_config_load(NULL, &config, &why), GW_OK);
	assert_int_equal(config->mqtt_port, 8883);
	assert_int_equal(empty->mqtt_port, 8883);
	assert_int_equal(commented->mqtt_port, 8883);
	assert_int_equal(config->hl7_destinations.count, 0);
	gw_config_free(config);
	gw_config_free(empty);
	gw_config_free(commented);
	assert_int_equal(gw_config_load("/nowhere/vitalgate.yaml", &config, &why), GW_E_CONFIG);
	assert_non_null(strstr(why.text, "No such file"));
}

// Options that belong together, and files. Every text is completed so that it would pass without its mistake.
static void
test_what_running_needs(void **state)
{
	static const struct {
		const char *text, *words; // NULL: good
	} cases[] = {
		{ "", NULL }, // then it makes its own certificate
		{ "tls:\n  local_ca: test.yaml\n", "tls.local_ca_key belong together" },
		{ "tls:\n  names: [gw.example, 10.0.0.1, \"fd00::1\", \"*.ward.example\"]\n", NULL },
		{ "tls:\n  names: [\"a b\"]\n", "line 2: tls.names" },
		{ "tls:\n  names: [\"\"]\n", "tls.names" },
		{ "tls:\n  certificate: test.yaml\n  key: test.yaml\n", NULL },
		{ "tls:\n  certificate: test.yaml\n", "tls.key is missing" },
		{ "tls:\n  certificate: test.yaml\n  key: gone.pem\n", "tls.key: cannot read" },
		{ "mqtt:\n  enabled: false\nstore:\n  budget_mb: 16\n", "more than half" },
		{ "mqtt:\n  enabled: false\nstore:\n  retention_h: 1\n", "retention_full_h" },
		{ "mqtt:\n  enabled: false\n  address: localhost\n", "mqtt.address" },
		{ "mqtt:\n  enabled: false\ncoap:\n  plain_enabled: true\n", "plain_principal" },
		{ "mqtt:\n  enabled: false\ncoap:\n  plain_enabled: true\n  plain_principal: x\n  plain_port: 5684\n", "both 5684" },
		{ "mqtt:\n  enabled: false\nbus:\n  uri: localhost:1883\n", "mqtt://host:port" },
		{ "mqtt:\n  enabled: false\nbus:\n  uri: mqtt://h:70000\n", "mqtt://host:port" },
		{ "mqtt:\n  enabled: false\nbus:\n  uri: mqtts://[::1]:8883\n", NULL },
		{ "mqtt:\n  enabled: false\nbus:\n  prefix: a/#\n", "bus.prefix" },
		{ "mqtt:\n  enabled: false\nbus:\n  password_file: gone\n", "bus.password_file" },
		{ "mqtt:\n  enabled: false\n  handshakes_max: 100\n  handshakes_of_one: 101\n", "mqtt.handshakes_max (100)" },
		{ "mqtt:\n  enabled: false\ncoap:\n  handshakes_max: 7\n  handshakes_of_one: 8\n", "coap.handshakes_max (7)" },
		{ "mqtt:\n  enabled: false\n  receive_maximum: 100\n  qos2_ids_max: 99\n", "mqtt.receive_maximum (100)" },
		{ "mqtt:\n  enabled: false\n  receive_maximum: 100\n  qos2_ids_max: 100\nbus:\n  enabled: false\n", NULL },
		{ "mqtt:\n  enabled: false\nbus:\n  enabled: false\n  password_file: gone\n", NULL },
		{ "mqtt:\n  enabled: false\nhl7:\n  gateway_eui64: 12\n", "16 hex digits" },
		{ "mqtt:\n  enabled: false\nhl7:\n  enabled: true\n", "without a destination" },
		{ "mqtt:\n  enabled: false\nhl7:\n  enabled: true\n  destinations: []\n", "without a destination" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct gw_config *config = load(cases[i].text);
		struct gw_why why = { "" };
		enum gw_error error = gw_config_check(config, &why);

		if (error != (cases[i].words != NULL ? GW_E_CONFIG : GW_OK) || (cases[i].words != NULL && strstr(why.text, cases[i].words) == NULL))
			fail_msg("case %zu: %s", i, why.text);
		gw_config_free(config);
	}
}

static bool
is_example(const char *line)
{
	return strncmp(line, "  #> ", 5) == 0;
}

// conf/vitalgate.yaml has every line of the table's own sample, or its option set to something else, and examples between; and it parses.
static void
test_shipped_file_agrees(void **state)
{
	char *sample = NULL, *save = NULL, shipped[160], line[512];
	struct gw_config *config;
	struct gw_why why;
	FILE *out, *in;
	size_t len;

	(void)state;
	out = open_memstream(&sample, &len);
	gw_config_sample(out);
	fclose(out);
	snprintf(shipped, sizeof(shipped), "%s/conf/vitalgate.yaml", VITALGATE_SOURCE);
	if (gw_config_load(shipped, &config, &why) != GW_OK)
		fail_msg("%s", why.text);
	gw_config_free(config);
	in = fopen(shipped, "r");
	assert_non_null(in);
	for (char *wanted = strtok_r(sample, "\n", &save); wanted != NULL; wanted = strtok_r(NULL, "\n", &save)) {
		size_t key = strncmp(wanted, "  #", 3) == 0 && wanted[3] != ' ' ? strcspn(wanted, ":") - 3 : 0;

		do
			assert_non_null(fgets(line, sizeof(line), in));
		while (line[0] == '\n' || is_example(line));
		line[strcspn(line, "\n")] = '\0';
		if (strcmp(line, wanted) != 0 && (key == 0 || strncmp(line, "  ", 2) != 0 || strncmp(line + 2, wanted + 3, key + 1) != 0))
			fail_msg("conf/vitalgate.yaml has \"%s\" where the table says \"%s\": see `vitalgate options --yaml`", line, wanted);
	}
	while (fgets(line, sizeof(line), in) != NULL)
		assert_true(line[0] == '\n' || is_example(line));
	fclose(in);
	free(sample);
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
		cmocka_unit_test(test_mistakes_are_named),
		cmocka_unit_test(test_bounds_of_every_number),
		cmocka_unit_test(test_bounds_in_items),
		cmocka_unit_test(test_lists_have_an_end),
		cmocka_unit_test(test_print_parses_back),
		cmocka_unit_test(test_paths_come_from_the_files_folder),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_what_running_needs),
		cmocka_unit_test(test_shipped_file_agrees),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
