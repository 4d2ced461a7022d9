// SPDX-License-Identifier: Apache-2.0
// Who may send: addresses, certificates, and a configuration that is wrong.
#include "tests/unit/hl7_in_help.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static void
test_networks(void **state)
{
	static const char *const good[] = { "10.1.2.3", "10.0.0.0/8", "0.0.0.0/0", "10.1.2.3/32", "fd00::/8", "::1", "::/0", "192.168.4.128/25" };
	static const char *const bad[] = { "", "10.1.2", "10.1.2.3/33", "10.1.2.3/8", "10.0.0.0/", "10.0.0.0/8x", "10.0.0.0/-1", "10.0.0.0/ 8", "host", "fd00::1/8", "::/129",
		"1111:1111:1111:1111:1111:1111:1111:1111:1111:1111:1111", "10.0.0.0/+8" };
	struct gw_hl7_network network;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(gw_hl7_network_parse(good[i], &network));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(gw_hl7_network_parse(bad[i], &network));
}

static const struct sockaddr *
at(const char *text)
{
	static struct sockaddr_in6 six;
	static struct sockaddr_in four;

	four = (struct sockaddr_in){ .sin_family = AF_INET };
	if (inet_pton(AF_INET, text, &four.sin_addr) == 1)
		return (const struct sockaddr *)&four;
	six = (struct sockaddr_in6){ .sin6_family = AF_INET6 };
	assert_int_equal(inet_pton(AF_INET6, text, &six.sin6_addr), 1);
	return (const struct sockaddr *)&six;
}

static const char *
who(const struct gw_hl7_in_settings *settings, const char *from, const char *certificate)
{
	const struct gw_hl7_peer *peer = gw_hl7_peer_find(settings, at(from), certificate);

	return peer != NULL ? peer->name : "nobody";
}

static void
test_who_it_is(void **state)
{
	struct gw_hl7_in_settings settings;
	struct gw_why why = { "" };

	(void)state;
	if (hub_load(HUB_YAML("    - {name: plain, zone: UTC, addresses: [10.1.0.0/16, 'fd00::/8']}\n    - {name: proved, zone: UTC, addresses: [10.0.0.0/8], certificate: adt.example}\n"
	    "    - {name: later, zone: UTC, addresses: [10.1.2.0/24]}\n", "  tls_port: 2576\n") "tls:\n  certificate: a\n  key: a\n  ca: a\n", &why) != GW_OK ||
	    gw_hl7_in_settings_make(hub_config, &settings, &why) != GW_OK)
		fail_msg("%s", why.text);
	assert_string_equal(who(&settings, "10.1.2.3", ""), "plain");
	assert_string_equal(who(&settings, "::ffff:10.1.2.3", ""), "plain");
	assert_string_equal(who(&settings, "fd00::77", ""), "plain");
	assert_string_equal(who(&settings, "10.2.2.3", ""), "nobody");
	assert_string_equal(who(&settings, "11.1.2.3", ""), "nobody");
	assert_string_equal(who(&settings, "fe80::1", ""), "nobody");
	assert_string_equal(who(&settings, "10.2.2.3", "adt.example"), "proved");
	assert_string_equal(who(&settings, "10.1.2.3", "adt.example"), "proved");
	assert_string_equal(who(&settings, "10.1.2.3", "other.example"), "plain");
	assert_string_equal(who(&settings, "11.1.2.3", "adt.example"), "nobody");
	assert_true(gw_hl7_peer_expected(&settings, at("10.2.2.3"), true));
	assert_false(gw_hl7_peer_expected(&settings, at("10.2.2.3"), false));
	assert_false(gw_hl7_peer_expected(&settings, at("11.1.2.3"), true));
	gw_hl7_in_settings_fini(&settings);
	gw_config_free(hub_config);
}

static void
test_what_is_wrong_is_said(void **state)
{
	static const struct { const char *yaml, *words; } table[] = {
		{ "hl7_in:\n  enabled: true\n", "nobody may send" },
		{ HUB_YAML("    - {name: a b, zone: UTC, addresses: [10.1.1.1]}\n", ""), "a peer's name" },
		{ HUB_YAML("    - {name: a, zone: UTC, addresses: [10.1.1.1]}\n    - {name: a, zone: UTC, addresses: [10.1.1.2]}\n", ""), "two peers are called a" },
		{ HUB_YAML("    - {name: a, zone: UTC}\n", ""), "from where" },
		{ HUB_YAML("    - {name: a, zone: UTC, addresses: [10.1.1.1/8]}\n", ""), "10.1.1.1/8" },
		{ HUB_YAML("    - {name: a, zone: UTC, addresses: [10.1.1.1], charset: klingon}\n", ""), "klingon" },
		{ HUB_YAML("    - {name: a, addresses: [10.1.1.1]}\n", ""), "in which zone" },
		{ HUB_YAML("    - {name: a, addresses: [10.1.1.1], zone: Mars/Olympus}\n", ""), "a.zone" },
		{ HUB_YAML("    - {name: a, zone: UTC, addresses: [10.1.1.1], fields: {patent: PID-3}}\n", ""), "patent" },
		{ HUB_YAML("    - {name: a, zone: UTC, addresses: [10.1.1.1], fields: {patient: PID}}\n", ""), "patient" },
		{ HUB_YAML("    - {name: a, zone: UTC, addresses: [10.1.1.1], certificate: x}\n", ""), "tls_port" },
		{ HUB_YAML("    - {name: a, zone: UTC, addresses: [10.1.1.1]}\n", "  port: 0\n"), "nothing to listen on" },
		{ HUB_YAML("    - {name: a, zone: UTC, addresses: [10.1.1.1]}\n", "  tls_port: 2575\n"), "both 2575" },
		{ HUB_YAML("    - {name: a, zone: UTC, addresses: [10.1.1.1]}\n", "  fields: {bed_needs: 9}\n"), "bed_needs" },
	};
	struct gw_hl7_in_settings settings;
	struct gw_why why;

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		why.text[0] = '\0';
		assert_int_equal(hub_load(table[i].yaml, &why), GW_OK);
		assert_int_equal(gw_hl7_in_settings_make(hub_config, &settings, &why), GW_E_CONFIG);
		if (strstr(why.text, table[i].words) == NULL)
			fail_msg("\"%s\" does not say \"%s\"", why.text, table[i].words);
		gw_config_free(hub_config);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_networks),
		cmocka_unit_test_setup_teardown(test_who_it_is, hub_make_dir, hub_remove_dir),
		cmocka_unit_test_setup_teardown(test_what_is_wrong_is_said, hub_make_dir, hub_remove_dir),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
