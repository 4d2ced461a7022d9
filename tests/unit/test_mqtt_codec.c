// SPDX-License-Identifier: Apache-2.0
// MQTT packets: bytes to structs and back, and every way of being malformed that the specifications name.
#include "adapters/mqtt/packet.h"

#include "adapters/mqtt/answer.h"
#include "adapters/mqtt/link.h"
#include "gateway/decode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define BYTES(text) gw_span(text, sizeof(text) - 1)

// In memory of exactly its size, so that a sanitizer sees a read beyond it.
static struct gw_span
exact(struct gw_span bytes)
{
	uint8_t *at = malloc(bytes.len > 0 ? bytes.len : 1);

	assert_non_null(at);
	if (bytes.len > 0)
		memcpy(at, bytes.at, bytes.len);
	return gw_span(at, bytes.len);
}

// ---- Framing ----

static void
test_framing(void **state)
{
	static const struct { struct gw_span stream; size_t max; enum gw_mqtt_framing framing; size_t size; } cases[] = {
		{ { (const uint8_t *)"", 0 }, 100, GW_MQTT_MORE, 0 },
		{ { (const uint8_t *)"\xC0", 1 }, 100, GW_MQTT_MORE, 0 },
		{ { (const uint8_t *)"\xC0\x00", 2 }, 100, GW_MQTT_WHOLE, 2 },
		{ { (const uint8_t *)"\x30\x03" "ab", 4 }, 100, GW_MQTT_MORE, 5 },
		{ { (const uint8_t *)"\x30\x80", 2 }, 100, GW_MQTT_MORE, 0 },
		{ { (const uint8_t *)"\x30\x80\x01", 3 }, 1000, GW_MQTT_MORE, 131 },
		{ { (const uint8_t *)"\x30\x80\x01", 3 }, 130, GW_MQTT_OVERSIZE, 131 },
		{ { (const uint8_t *)"\x30\xFF\xFF\xFF\x7F", 5 }, 65536, GW_MQTT_OVERSIZE, 268435460 },
		{ { (const uint8_t *)"\x30\xFF\xFF\xFF\xFF\x01", 6 }, 65536, GW_MQTT_BROKEN, 0 },
		{ { (const uint8_t *)"\x30\x80\x00", 3 }, 100, GW_MQTT_BROKEN, 0 },
	};
	struct gw_mqtt_frame frame;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(gw_mqtt_frame(cases[i].stream, cases[i].max, &frame), cases[i].framing);
		assert_int_equal(frame.size, cases[i].size);
	}
	assert_int_equal(gw_mqtt_frame(BYTES("\x3D\x02xy\xC0"), 100, &frame), GW_MQTT_WHOLE);
	assert_int_equal(frame.type, GW_MQTT_PUBLISH);
	assert_int_equal(frame.flags, 0x0D);
	assert_true(gw_span_is(frame.body, "xy"));
}

static void
test_utf8(void **state)
{
	static const char *const good[] = { "", "ward/icu", "\xC3\xBC", "\xE2\x82\xAC", "\xF0\x9F\x92\x93", "\xEF\xBF\xBF", "\xF4\x8F\xBF\xBF" };
	static const char *const bad[] = { "\x80", "\xC0\xAF", "\xC1\xBF", "\xC3", "\xE0\x80\x80", "\xE2\x82", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "a\xC3z" };

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		assert_true(gw_mqtt_utf8(gw_span_text(good[i])));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(gw_mqtt_utf8(gw_span_text(bad[i])));
	assert_false(gw_mqtt_utf8(BYTES("a\0b")));
}

// ---- CONNECT ----

static uint8_t
connect_reason(struct gw_span body, struct gw_mqtt_connect *out)
{
	struct gw_span copy = exact(body);
	uint8_t reason = gw_mqtt_read_connect(copy, out);

	free((void *)copy.at);
	return reason;
}

static void
test_connect_311(void **state)
{
	static const char body[] = "\0\4MQTT\4\xEE\0\x3C\0\2c1\0\1w\0\4gone\0\1u\0\1p";
	struct gw_mqtt_connect c;

	(void)state;
	assert_int_equal(gw_mqtt_read_connect(BYTES(body), &c), 0);
	assert_int_equal(c.version, 4);
	assert_true(c.clean && c.has_will && c.has_user && c.has_password && c.will_retain);
	assert_int_equal(c.will_qos, 1);
	assert_int_equal(c.keep_alive_s, 60);
	assert_true(gw_span_is(c.client_id, "c1"));
	assert_true(gw_span_is(c.will_topic, "w"));
	assert_true(gw_span_is(c.will_payload, "gone"));
	assert_true(gw_span_is(c.user, "u"));
	assert_true(gw_span_is(c.password, "p"));
}

static void
test_connect_5(void **state)
{
	static const char body[] = "\0\4MQTT\5\x06\0\0" // clean, will
	    "\x14\x11\0\0\0\x3C\x21\0\x0A\x27\0\0\2\0\x22\0\5\x17\0\x19\1" // six properties
	    "\0\0" // no client identifier
	    "\x0A\x18\0\0\0\x1E\3\0\2tp" // will delay, content type
	    "\0\1w\0\0";
	struct gw_mqtt_connect c;

	(void)state;
	assert_int_equal(gw_mqtt_read_connect(BYTES(body), &c), 0);
	assert_int_equal(c.version, 5);
	assert_int_equal(c.properties.session_expiry_s, 60);
	assert_int_equal(c.properties.receive_maximum, 10);
	assert_int_equal(c.properties.packet_bytes_max, 512);
	assert_int_equal(c.properties.alias_max, 5);
	assert_int_equal(c.properties.problem_info, 0);
	assert_int_equal(c.properties.response_info, 1);
	assert_int_equal(c.will.will_delay_s, 30);
	assert_true(gw_span_is(c.will.content_type, "tp"));
	assert_int_equal(c.client_id.len, 0);
}

static void
test_connect_refused(void **state)
{
	static const struct { struct gw_span body; uint8_t reason, version; } cases[] = {
#define CASE(text, reason, version) { { (const uint8_t *)text, sizeof(text) - 1 }, reason, version }
		CASE("", GW_MQTT_MALFORMED, 0),
		CASE("\0\4MQTT", GW_MQTT_MALFORMED, 0),
		CASE("\0\4mqtt\4\2\0\0\0\0", GW_MQTT_VERSION, 0),
		CASE("\0\4MQTT\6\2\0\0\0\0", GW_MQTT_VERSION, 0),
		CASE("\0\6MQIsdp\3\2\0\0\0\1a", GW_MQTT_VERSION, 3),
		CASE("\0\4MQTT\4\3\0\0\0\1a", GW_MQTT_MALFORMED, 4),            // reserved flag
		CASE("\0\4MQTT\4\x1E\0\0\0\1a\0\1w\0\0", GW_MQTT_MALFORMED, 4), // will QoS 3
		CASE("\0\4MQTT\4\x0A\0\0\0\1a", GW_MQTT_MALFORMED, 4),          // will QoS without will
		CASE("\0\4MQTT\4\x22\0\0\0\1a", GW_MQTT_MALFORMED, 4),          // will retain without will
		CASE("\0\4MQTT\4\x42\0\0\0\1a\0\1p", GW_MQTT_MALFORMED, 4),     // password without user
		CASE("\0\4MQTT\4\2\0\0\0\1a!", GW_MQTT_MALFORMED, 4),           // something behind it
		CASE("\0\4MQTT\4\2\0\0\0\2a", GW_MQTT_MALFORMED, 4),            // cut off
		CASE("\0\4MQTT\4\2\0\0\0\2a\0", GW_MQTT_MALFORMED, 4),          // U+0000
		CASE("\0\4MQTT\4\6\0\0\0\1a\0\1#\0\0", GW_MQTT_TOPIC_NAME, 4),  // wildcard in the will's topic
		CASE("\0\4MQTT\5\2\0\0\3\x21\0\0\0\1a", GW_MQTT_PROTOCOL_ERROR, 5),       // receive maximum 0
		CASE("\0\4MQTT\5\2\0\0\5\x27\0\0\0\0\0\1a", GW_MQTT_PROTOCOL_ERROR, 5),   // maximum packet size 0
		CASE("\0\4MQTT\5\2\0\0\2\x17\2\0\1a", GW_MQTT_PROTOCOL_ERROR, 5),         // neither 0 nor 1
		CASE("\0\4MQTT\5\2\0\0\4\x17\1\x17\1\0\1a", GW_MQTT_PROTOCOL_ERROR, 5),   // twice
		CASE("\0\4MQTT\5\2\0\0\2\x01\1\0\1a", GW_MQTT_PROTOCOL_ERROR, 5),         // a will's property
		CASE("\0\4MQTT\5\2\0\0\2\x7E\1\0\1a", GW_MQTT_MALFORMED, 5),              // unknown property
		CASE("\0\4MQTT\5\2\0\0\x09\x17\1\0\1a", GW_MQTT_MALFORMED, 5),            // longer than the packet
		CASE("\0\4MQTT\5\2\0\0\4\x16\0\1x\0\1a", GW_MQTT_PROTOCOL_ERROR, 5),      // data without a method
#undef CASE
	};
	struct gw_mqtt_connect c;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(connect_reason(cases[i].body, &c), cases[i].reason);
		assert_int_equal(c.version, cases[i].version);
	}
	assert_int_equal(connect_reason(BYTES("\0\4MQTT\5\x42\0\0\0\0\1a\0\1p"), &c), 0); // allowed in 5.0
}

// Every prefix of a good packet is malformed, none is read beyond.
static void
test_connect_cut(void **state)
{
	static const char body[] = "\0\4MQTT\5\xC6\0\x0A\5\x11\0\0\0\x3C\0\2c1\5\x18\0\0\0\x1E\0\1w\0\4gone\0\1u\0\1p";
	struct gw_mqtt_connect c;

	(void)state;
	for (size_t len = 0; len < sizeof(body) - 1; len++)
		assert_int_not_equal(connect_reason(gw_span(body, len), &c), 0);
	assert_int_equal(connect_reason(BYTES(body), &c), 0);
}

// ---- PUBLISH ----

static void
test_publish(void **state)
{
	struct gw_mqtt_publish p;

	(void)state;
	assert_int_equal(gw_mqtt_read_publish(4, 0x0B, BYTES("\0\3a/b\1\2xyz"), &p), 0);
	assert_true(p.dup && p.retain);
	assert_int_equal(p.qos, 1);
	assert_int_equal(p.id, 0x0102);
	assert_true(gw_span_is(p.topic, "a/b"));
	assert_true(gw_span_is(p.payload, "xyz"));
	assert_int_equal(gw_mqtt_read_publish(5, 0x00, BYTES("\0\0\x16\x23\0\7\3\0\x10" "application/json" "x"), &p), 0);
	assert_int_equal(p.properties.alias, 7);
	assert_true(gw_span_is(p.properties.content_type, "application/json"));
	assert_true(gw_span_is(p.payload, "x"));
}

static void
test_publish_refused(void **state)
{
	static const struct { uint8_t version, flags; struct gw_span body; uint8_t reason; } cases[] = {
#define CASE(version, flags, text, reason) { version, flags, { (const uint8_t *)text, sizeof(text) - 1 }, reason }
		CASE(4, 6, "\0\1a\0\1x", GW_MQTT_MALFORMED),  // QoS 3
		CASE(4, 8, "\0\1ax", GW_MQTT_MALFORMED),      // DUP with QoS 0
		CASE(4, 2, "\0\1a\0\0x", GW_MQTT_PROTOCOL_ERROR),
		CASE(4, 0, "\0\0x", GW_MQTT_MALFORMED),       // no topic
		CASE(5, 0, "\0\0\0x", GW_MQTT_PROTOCOL_ERROR),
		CASE(4, 0, "\0\3a/+x", GW_MQTT_TOPIC_NAME),
		CASE(4, 0, "\0\1#x", GW_MQTT_TOPIC_NAME),
		CASE(4, 0, "\0\3a\0bx", GW_MQTT_MALFORMED),
		CASE(4, 2, "\0\1a\0", GW_MQTT_MALFORMED),
		CASE(5, 0, "\0\1a\3\x23\0\0x", GW_MQTT_ALIAS_INVALID),
		CASE(5, 0, "\0\1a\2\x0B\1x", GW_MQTT_PROTOCOL_ERROR), // a subscription identifier from a client
		CASE(5, 0, "\0\1a\4\x08\0\1#x", GW_MQTT_PROTOCOL_ERROR),
		CASE(5, 0, "\0\1a\x80\0x", GW_MQTT_MALFORMED),        // a length longer than needed
#undef CASE
	};
	struct gw_mqtt_publish p;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct gw_span body = exact(cases[i].body);

		assert_int_equal(gw_mqtt_read_publish(cases[i].version, cases[i].flags, body, &p), cases[i].reason);
		free((void *)body.at);
	}
}

// ---- The rest ----

static void
test_filters(void **state)
{
	static const struct { uint8_t version; struct gw_span body; unsigned count; uint8_t bad; } cases[] = {
#define CASE(version, text, count, bad) { version, { (const uint8_t *)text, sizeof(text) - 1 }, count, bad }
		CASE(4, "\0\1\0\1a\1\0\3b/#\2", 2, 0),
		CASE(5, "\0\1\0\0\5a/+/b\x2E", 1, 0),
		CASE(4, "\0\1\0\1a\3", 0, GW_MQTT_MALFORMED),
		CASE(4, "\0\1\0\1a\4", 0, GW_MQTT_MALFORMED),
		CASE(5, "\0\1\0\0\1a\x40", 0, GW_MQTT_MALFORMED),
		CASE(5, "\0\1\0\0\1a\x30", 0, GW_MQTT_MALFORMED),
		CASE(4, "\0\1\0\2a#\0", 0, GW_MQTT_MALFORMED),
		CASE(4, "\0\1\0\4#/aa\0", 0, GW_MQTT_MALFORMED),
		CASE(4, "\0\1\0\3a+b\0", 0, GW_MQTT_MALFORMED),
		CASE(4, "\0\1\0\0\0", 0, GW_MQTT_MALFORMED),
		CASE(4, "\0\1\0\1a", 0, GW_MQTT_MALFORMED),
#undef CASE
	};
	struct gw_mqtt_properties p;
	struct gw_mqtt_cursor filters;
	struct gw_mqtt_filter f;
	uint16_t id;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned count = 0;

		assert_int_equal(gw_mqtt_read_filters(cases[i].version, true, cases[i].body, &id, &p, &filters), 0);
		while (gw_mqtt_next_filter(&filters, cases[i].version, true, &f))
			count++;
		assert_int_equal(count, cases[i].count);
		assert_int_equal(filters.bad, cases[i].bad);
	}
	assert_int_equal(gw_mqtt_read_filters(4, true, BYTES("\0\1"), &id, &p, &filters), GW_MQTT_PROTOCOL_ERROR);
	assert_int_equal(gw_mqtt_read_filters(4, true, BYTES("\0\0\0\1a\0"), &id, &p, &filters), GW_MQTT_PROTOCOL_ERROR);
}

static void
test_acks(void **state)
{
	struct gw_mqtt_properties p;
	uint16_t id;
	uint8_t reason;

	(void)state;
	assert_int_equal(gw_mqtt_read_ack(4, BYTES("\0\7"), &id, &reason), 0);
	assert_int_equal(id, 7);
	assert_int_equal(gw_mqtt_read_ack(4, BYTES("\0\7\0"), &id, &reason), GW_MQTT_MALFORMED);
	assert_int_equal(gw_mqtt_read_ack(5, BYTES("\0\7\x92"), &id, &reason), 0);
	assert_int_equal(reason, GW_MQTT_ID_NOT_FOUND);
	assert_int_equal(gw_mqtt_read_ack(5, BYTES("\0\7\x92\4\x1F\0\1a"), &id, &reason), 0);
	assert_int_equal(gw_mqtt_read_ack(5, BYTES("\0\0"), &id, &reason), GW_MQTT_PROTOCOL_ERROR);
	assert_int_equal(gw_mqtt_read_disconnect(5, BYTES("\4\5\x11\0\0\0\1"), &reason, &p), 0);
	assert_int_equal(reason, GW_MQTT_WITH_WILL);
	assert_int_equal(p.session_expiry_s, 1);
	assert_int_equal(gw_mqtt_read_disconnect(4, BYTES("\0"), &reason, &p), GW_MQTT_MALFORMED);
}

static void
test_write(void **state)
{
	struct gw_mqtt_connack a = { .session_present = true, .receive_maximum = 64, .alias_max = 16, .packet_bytes_max = 65536 };
	uint8_t out[640], codes[200];
	size_t len;

	(void)state;
	assert_int_equal(gw_mqtt_write_connack(4, &a, out, sizeof(out)), 4);
	assert_memory_equal(out, "\x20\2\1\0", 4);
	len = gw_mqtt_write_connack(5, &a, out, sizeof(out));
	assert_memory_equal(out, "\x20\x12\1\0\x0F\x21\0\x40\x27\0\1\0\0\x22\0\x10\x29\0\x2A\0", 20);
	assert_int_equal(len, 20);
	a.reason = GW_MQTT_BAD_CREDENTIALS;
	assert_int_equal(gw_mqtt_write_connack(4, &a, out, sizeof(out)), 4);
	assert_memory_equal(out, "\x20\2\0\4", 4); // no session present beside a refusal
	assert_int_equal(gw_mqtt_write_connack(5, &a, out, sizeof(out)), 5);
	assert_memory_equal(out, "\x20\3\0\x86\0", 5);
	assert_int_equal(gw_mqtt_write_connack(3, &(struct gw_mqtt_connack){ .reason = GW_MQTT_VERSION }, out, sizeof(out)), 4);
	assert_memory_equal(out, "\x20\2\0\1", 4);
	assert_int_equal(gw_mqtt_write_ack(5, GW_MQTT_PUBACK, 0x0102, GW_MQTT_PAYLOAD_FORMAT, gw_span_text("no"), out, sizeof(out)), 11);
	assert_memory_equal(out, "\x40\x09\1\2\x99\5\x1F\0\2no", 11);
	assert_int_equal(gw_mqtt_write_ack(5, GW_MQTT_PUBREL, 3, GW_MQTT_ID_NOT_FOUND, gw_span(NULL, 0), out, sizeof(out)), 5);
	assert_memory_equal(out, "\x62\3\0\3\x92", 5);
	assert_int_equal(gw_mqtt_write_ack(4, GW_MQTT_PUBACK, 3, GW_MQTT_PAYLOAD_FORMAT, gw_span_text("no"), out, sizeof(out)), 4);
	assert_int_equal(gw_mqtt_write_disconnect(GW_MQTT_QUOTA, gw_span(NULL, 0), out, sizeof(out)), 3);
	assert_memory_equal(out, "\xE0\1\x97", 3);
	memset(codes, 1, sizeof(codes));
	assert_int_equal(gw_mqtt_write_codes(4, GW_MQTT_SUBACK, 1, codes, sizeof(codes), out, sizeof(out)), 205);
	assert_memory_equal(out, "\x90\xCA\1\0\1\1", 6); // a length of two bytes
	assert_int_equal(gw_mqtt_write_codes(4, GW_MQTT_UNSUBACK, 1, codes, 1, out, sizeof(out)), 4);
	for (size_t cap = 0; cap < 11; cap++) // never beyond what there is
		assert_int_equal(gw_mqtt_write_ack(5, GW_MQTT_PUBACK, 1, GW_MQTT_PAYLOAD_FORMAT, gw_span_text("no"), out, cap), 0);
}

static void
test_content_types(void **state)
{
	(void)state;
	assert_int_equal(gw_mqtt_content_format(gw_span_text("application/senml+json")), GW_CF_SENML_JSON);
	assert_int_equal(gw_mqtt_content_format(gw_span_text("application/senml+cbor")), GW_CF_SENML_CBOR);
	assert_int_equal(gw_mqtt_content_format(gw_span_text("application/json; charset=utf-8")), GW_CF_JSON);
	assert_int_equal(gw_mqtt_content_format(gw_span_text("text/plain ;charset=utf-8")), GW_CF_TEXT);
	assert_int_equal(gw_mqtt_content_format(gw_span_text("image/png")), GW_CF_NONE);
	assert_int_equal(gw_mqtt_content_format(gw_span_text("")), GW_CF_NONE);
}

// Every error has an answer, and none that says "later" acknowledges.
static void
test_answers(void **state)
{
	(void)state;
	for (unsigned e = 0; e < GW_ERROR_COUNT; e++) {
		struct gw_mqtt_answer answer = gw_mqtt_answer((enum gw_error)e);

		switch (gw_error_verdict((enum gw_error)e)) {
		case GW_VERDICT_OK:
			assert_true(answer.ack == 0 && answer.disconnect == 0 && !answer.v3_closes);
			break;
		case GW_VERDICT_REJECT:
			assert_true(answer.ack >= 0x80 && answer.disconnect == 0);
			break;
		default:
			assert_true(answer.disconnect >= 0x80 && answer.v3_closes);
			break;
		}
	}
	assert_int_equal(gw_mqtt_answer(GW_E_FULL).disconnect, GW_MQTT_QUOTA);
	assert_int_equal(gw_mqtt_answer(GW_E_STOPPING).disconnect, GW_MQTT_SHUTTING_DOWN);
	assert_int_equal(gw_mqtt_return_code(gw_mqtt_connect_reason(GW_E_FULL)), 3);
	assert_int_equal(gw_mqtt_connect_reason(GW_E_FULL), GW_MQTT_QUOTA);
	assert_int_equal(gw_mqtt_return_code(gw_mqtt_connect_reason(GW_E_UNAUTHENTICATED)), 5);
	assert_int_equal(gw_mqtt_return_code(gw_mqtt_connect_reason(GW_E_FORBIDDEN)), 4);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_framing),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_connect_311),
		cmocka_unit_test(test_connect_5),
		cmocka_unit_test(test_connect_refused),
		cmocka_unit_test(test_connect_cut),
		cmocka_unit_test(test_publish),
		cmocka_unit_test(test_publish_refused),
		cmocka_unit_test(test_filters),
		cmocka_unit_test(test_acks),
		cmocka_unit_test(test_write),
		cmocka_unit_test(test_content_types),
		cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
