// SPDX-License-Identifier: Apache-2.0
// Events as RFC 5424 has them: head, structured data with its escapes, words; framed by length. What is nobody's business stays out.
#include "adapters/syslog/syslog.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char message[GW_SYSLOG_MESSAGE_MAX + 8];
static const struct gw_syslog_origin origin = { .facility = 10, .hostname = "hub-1", .sd_id = "vitalgate@32473", .process = 77, .incarnation = 5 };

// The message without its frame, which is checked.
static const char *
format(const struct gw_event *event)
{
	size_t len = gw_syslog_format(&origin, event, message, sizeof(message));
	char *end;
	unsigned long framed = strtoul(message, &end, 10);

	assert_int_equal(*end, ' ');
	assert_int_equal(strlen(message), len);
	assert_int_equal(framed, strlen(end + 1));
	assert_true(framed <= GW_SYSLOG_MESSAGE_MAX);
	return end + 1;
}

static void
test_who_was_refused(void **state)
{
	struct gw_event event = { .received_us = INT64_C(1795000000123456), .door = GW_DOOR_MQTT, .auth = GW_AUTH_PSK, .code = GW_EVENT_REFUSED_CREDENTIAL,
		.protocol = GW_PROTOCOL_MQTTS, .reason = GW_REFUSED_PSK_WRONG, .peer = { .len = 4, .port = 4711, .address = { 10, 0, 0, 7 } },
		.claimed = gw_span_text("a\"b\\c]d"), .text = gw_span_text("words"), .route = gw_span_text("ward/w/secret"), .data = gw_span_text("72 bpm") };
	const char *text = format(&event);

	(void)state;
	assert_ptr_equal(strstr(text, "<84>1 2026-11-18T11:06:40.123456Z hub-1 vitalgate 77 refused-credential [vitalgate@32473 id=\""), text);
	assert_non_null(strstr(text, " event=\"refused-credential\" reason=\"wrong-psk\" door=\"mqtt\" protocol=\"mqtts\" from=\"10.0.0.7\" port=\"4711\" "
	    "claimed=\"a\\\"b\\\\c\\]d\"] words"));
	assert_null(strstr(text, "ward/w"));
	assert_null(strstr(text, "bpm"));
	event.code = GW_EVENT_REFUSED_MORE;
	event.more = 312;
	assert_non_null(strstr(format(&event), " more=\"312\""));
}

static void
test_words_that_are_not_ascii(void **state)
{
	struct gw_event event = { .code = GW_EVENT_REFUSED_CLAIM, .text = gw_span_text("für \x1b[31m\n") , .claimed = gw_span_text("\xff\xfe") };
	const char *text = format(&event);

	(void)state;
	assert_non_null(strstr(text, "] \xEF\xBB\xBF" "für ?[31m?"));
	assert_non_null(strstr(text, "claimed=\"??\""));
}

static void
test_the_longest(void **state)
{
	static char quotes[300];
	struct gw_syslog_origin long_origin = origin;
	struct gw_event event = { .received_us = INT64_MAX / 2, .door = GW_DOOR_HL7, .code = GW_EVENT_REFUSED_CREDENTIAL, .reason = GW_REFUSED_CERTIFICATE_FUTURE,
		.protocol = GW_PROTOCOL_MLLPS, .peer = { .len = 16, .port = 65535, .address = { 0xfe, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 } }, .more = UINT32_MAX };
	size_t len;

	(void)state;
	memset(quotes, '"', sizeof(quotes));
	event.claimed = gw_span(quotes, GW_CLAIMED_MAX);
	event.device = gw_span(quotes, GW_ID_MAX);
	event.text = gw_span(quotes, sizeof(quotes));
	memset(long_origin.hostname, 'h', GW_SYSLOG_HOST_MAX);
	len = gw_syslog_format(&long_origin, &event, message, sizeof(message));
	assert_true(len > 900 && len < GW_SYSLOG_MESSAGE_MAX);
	assert_int_equal(message[len - 1], '"'); // nothing was cut
}

static void
test_what_goes_to_a_collector(void **state)
{
	const struct { uint16_t code; uint8_t door; enum gw_syslog_class class; } rows[] = {
		{ GW_EVENT_REFUSED_CLAIM, GW_DOOR_COAP, GW_SYSLOG_SECURITY }, { GW_EVENT_REFUSED_CREDENTIAL, GW_DOOR_COMMAND, GW_SYSLOG_SECURITY },
		{ GW_EVENT_REFUSED_MORE, GW_DOOR_MQTT, GW_SYSLOG_SECURITY }, { GW_EVENT_GAP, GW_DOOR_NONE, GW_SYSLOG_OPERATIONAL },
		{ GW_EVENT_GAP, GW_DOOR_HL7, GW_SYSLOG_OPERATIONAL }, { GW_EVENT_STORE, GW_DOOR_NONE, GW_SYSLOG_OPERATIONAL }, { GW_EVENT_OUTLET, GW_DOOR_HL7, GW_SYSLOG_NONE },
		{ GW_EVENT_WILL, GW_DOOR_MQTT, GW_SYSLOG_NONE }, { GW_EVENT_DEVICE, GW_DOOR_MQTT, GW_SYSLOG_NONE }, { GW_EVENT_UNUSED, GW_DOOR_HL7, GW_SYSLOG_NONE }, { 0, 0, GW_SYSLOG_NONE },
	};
	struct gw_event gap = { .code = GW_EVENT_GAP, .door = GW_DOOR_HL7, .text = gw_span_text("3 readings of Müller") };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(gw_syslog_class_of(&(struct gw_event){ .code = rows[i].code, .door = rows[i].door }), rows[i].class);
	assert_null(strstr(format(&gap), "ller")); // a destination's own words stay here
	assert_non_null(strstr(message, "an outlet left something out"));
}

static void
test_names(void **state)
{
	char host[GW_SYSLOG_HOST_MAX + 1];

	(void)state;
	assert_int_equal(gw_syslog_facility("auth"), 4);
	assert_int_equal(gw_syslog_facility("authpriv"), 10);
	assert_int_equal(gw_syslog_facility("local7"), 23);
	assert_int_equal(gw_syslog_facility("nonsense"), -1);
	gw_syslog_hostname("hub 1\n", host);
	assert_string_equal(host, "hub?1?");
	gw_syslog_hostname("", host);
	assert_string_equal(host, "-");
	assert_true(gw_syslog_sd_id("vitalgate@32473"));
	assert_false(gw_syslog_sd_id("") || gw_syslog_sd_id("a b") || gw_syslog_sd_id("a]") || gw_syslog_sd_id("a=b") || gw_syslog_sd_id("a\"") ||
	    gw_syslog_sd_id("123456789012345678901234567890123"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_was_refused),
		cmocka_unit_test(test_words_that_are_not_ascii),
		cmocka_unit_test(test_the_longest),
		cmocka_unit_test(test_what_goes_to_a_collector),
		cmocka_unit_test(test_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
