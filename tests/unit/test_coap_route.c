// SPDX-License-Identifier: Apache-2.0
// Paths to routes, numbers in options, times as text; and a request's options read in one pass from datagrams as they come.
#include "adapters/coap/coap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void
test_segments_are_joined(void **state)
{
	struct gw_coap_route route = { 0 };

	(void)state;
	assert_true(gw_coap_route_add(&route, gw_span_text("ward")));
	assert_true(gw_coap_route_add(&route, gw_span_text("bed 7")));
	assert_true(gw_coap_route_add(&route, gw_span_text("vitals")));
	assert_true(gw_span_is(gw_span(route.text, route.len), "ward/bed 7/vitals"));
}

// One segment must not pass for two: that would be another device's route.
static void
test_a_slash_in_a_segment_stays_one_segment(void **state)
{
	struct gw_coap_route route = { 0 };

	(void)state;
	assert_true(gw_coap_route_add(&route, gw_span_text("a/b")));
	assert_true(gw_coap_route_add(&route, gw_span_text("50%\n\x7f")));
	assert_true(gw_span_is(gw_span(route.text, route.len), "a%2Fb/50%25%0A%7F"));
}

static void
test_letters_of_every_language_stay(void **state)
{
	struct gw_coap_route route = { 0 };

	(void)state;
	assert_true(gw_coap_route_add(&route, gw_span_text("st\xc3\xa4tion")));
	assert_true(gw_span_is(gw_span(route.text, route.len), "st\xc3\xa4tion"));
}

static void
test_a_path_without_end_is_refused(void **state)
{
	static struct gw_coap_route route;
	uint8_t segment[255];
	int added = 0;

	(void)state;
	memset(segment, '/', sizeof(segment));
	while (gw_coap_route_add(&route, gw_span(segment, sizeof(segment))))
		added++;
	assert_int_equal(added, GW_COAP_ROUTE_CAP / (3 * 255 + 1));
	assert_true(route.len <= sizeof(route.text));
}

static void
test_option_numbers(void **state)
{
	uint32_t number;

	(void)state;
	assert_true(gw_coap_uint(gw_span("", 0), &number));
	assert_int_equal(number, 0);
	assert_true(gw_coap_uint(gw_span("\x01\x02", 2), &number));
	assert_int_equal(number, 0x102);
	assert_true(gw_coap_uint(gw_span("\xff\xff\xff\xff", 4), &number));
	assert_int_equal(number, UINT32_MAX);
	assert_false(gw_coap_uint(gw_span("\0\0\0\0\0", 5), &number));
}

static void
test_times_as_text(void **state)
{
	char text[32];

	(void)state;
	assert_true(gw_span_is(gw_span(text, gw_coap_time_text(INT64_C(1795161600250999), text)), "1795161600.250"));
	assert_true(gw_span_is(gw_span(text, gw_coap_time_text(1000, text)), "0.001"));
	assert_true(gw_span_is(gw_span(text, gw_coap_time_text(0, text)), "0.000"));
	assert_true(gw_span_is(gw_span(text, gw_coap_time_text(-1, text)), "0.000"));
	assert_true(gw_span_is(gw_span(text, gw_coap_time_text(INT64_MAX, text)), "9223372036854.775"));
}

// ---- datagrams ----

static void
ask(const void *datagram, size_t len, struct gw_coap_ask *out, struct gw_coap_route *route)
{
	coap_pdu_t *pdu = coap_pdu_init(COAP_MESSAGE_CON, COAP_EMPTY_CODE, 0, 2048);

	assert_true(coap_pdu_parse(COAP_PROTO_UDP, datagram, len, pdu));
	gw_coap_ask_read(pdu, out, route);
	coap_delete_pdu(pdu);
}

#define ASK(text, out, route) ask(text, sizeof(text) - 1, out, route)

static void
test_a_plain_post(void **state)
{
	struct gw_coap_route route;
	struct gw_coap_ask out;

	(void)state;
	// CON POST, token "t", Uri-Path "readings", Content-Format 110, payload "x"
	ASK("\x41\x02\x12\x34t\xb8" "readings\x11\x6e\xffx", &out, &route);
	assert_true(gw_span_is(out.route, "readings"));
	assert_int_equal(out.content_format, 110);
	assert_int_equal(out.accept, UINT32_MAX);
	assert_false(out.has_block1 || out.has_block2 || out.bad || out.precondition);
}

static void
test_nothing_told_is_not_text(void **state)
{
	struct gw_coap_route route;
	struct gw_coap_ask out;

	(void)state;
	ASK("\x40\x01\x12\x34", &out, &route);
	assert_int_equal(out.route.len, 0);
	assert_int_equal(out.content_format, GW_CF_NONE);
	// Content-Format of length 0 is number 0: text
	ASK("\x40\x02\x12\x34\xb1" "a\x10", &out, &route);
	assert_int_equal(out.content_format, GW_CF_TEXT);
}

static void
test_a_slash_at_the_end_names_the_same(void **state)
{
	struct gw_coap_route route;
	struct gw_coap_ask out;

	(void)state;
	ASK("\x40\x02\x12\x34\xb1" "a\x01" "b\x00", &out, &route);
	assert_true(gw_span_is(out.route, "a/b"));
}

static void
test_blocks_and_what_goes_with_them(void **state)
{
	struct gw_coap_route route;
	struct gw_coap_ask out, other;

	(void)state;
	// Uri-Path "a", Block1 1/M/1024, Size1 5000, No-Response 26, Request-Tag 01
	ASK("\x40\x02\x12\x34\xb1" "a\xd1\x03\x1e\xd2\x14\x13\x88\xd1\xb9\x1a\xd1\x15\x01", &out, &route);
	assert_true(out.has_block1);
	assert_int_equal(out.block1, 0x1e);
	assert_int_equal(out.size1, 5000);
	assert_int_equal(out.no_response, 26);
	ASK("\x40\x02\x12\x34\xb1" "a\xd1\x03\x1e\xd2\x14\x13\x88\xd1\xb9\x1a\xd1\x15\x02", &other, &route);
	assert_true(out.tag_hash != other.tag_hash);
}

static void
test_a_path_that_does_not_fit_is_told(void **state)
{
	struct gw_coap_route route;
	struct gw_coap_ask out;
	uint8_t datagram[2000] = { 0x40, 0x02, 0x12, 0x34 };
	size_t len = 4;

	(void)state;
	for (int i = 0; i < 7; i++) {
		const uint8_t head[2] = { (uint8_t)(i == 0 ? 0xbd : 0x0d), 255 - 13 };
		memcpy(datagram + len, head, 2);
		memset(datagram + len + 2, '/', 255);
		len += 2 + 255;
	}
	ask(datagram, len, &out, &route);
	assert_true(out.bad);
	assert_true(out.route.len <= sizeof(route.text));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_segments_are_joined),
		cmocka_unit_test(test_a_slash_in_a_segment_stays_one_segment),
		cmocka_unit_test(test_letters_of_every_language_stay),
		cmocka_unit_test(test_a_path_without_end_is_refused),
		cmocka_unit_test(test_option_numbers),
		cmocka_unit_test(test_times_as_text),
		cmocka_unit_test(test_a_plain_post),
		cmocka_unit_test(test_nothing_told_is_not_text),
		cmocka_unit_test(test_a_slash_at_the_end_names_the_same),
		cmocka_unit_test(test_blocks_and_what_goes_with_them),
		cmocka_unit_test(test_a_path_that_does_not_fit_is_told),
	};

	coap_startup();
	coap_set_log_level(COAP_LOG_EMERG);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
