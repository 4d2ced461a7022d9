// SPDX-License-Identifier: Apache-2.0
// Decoding at its limits: sizes, depths, counts, hostile packs, times, encodings. What ordinary payloads become is told by the golden examples.
#include "gateway/clock.h"
#include "gateway/decode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <string.h>

#define RECEIVED INT64_C(1795162502500000)

static struct gw_profiles *profiles;
static struct gw_decode_scratch *scratch;
static struct gw_decode_output out;
static struct gw_why why;

static int
start(void **state)
{
	scratch = gw_decode_scratch_new();
	return gw_profiles_load(NULL, &profiles, &why) == GW_OK && scratch != NULL ? 0 : -1;
}

static int
end(void **state)
{
	gw_decode_scratch_free(scratch);
	gw_profiles_free(profiles);
	return 0;
}

static enum gw_error
decode_bytes(const char *profile, const void *bytes, size_t len, uint32_t format)
{
	struct gw_match match = { .profile = gw_profile_by_name(profiles, gw_span_text(profile)), .device = gw_span_text("d") };
	struct gw_decode_input in = { &match, gw_span(bytes, len), format, RECEIVED, false };
	// A copy of exactly that size: a sanitizer sees the first byte beyond.
	uint8_t *copy = malloc(len > 0 ? len : 1);
	static struct gw_decoded *kept;
	enum gw_error error;

	memcpy(copy, bytes, len);
	in.payload.at = copy;
	error = gw_decode(scratch, &in, &out, &why);
	free(kept);
	kept = malloc((out.count + 1) * sizeof(*kept)); // readings outlive the payload here; their spans are not looked at
	memcpy(kept, out.readings, out.count * sizeof(*kept));
	out.readings = kept;
	free(copy);
	return error;
}

static enum gw_error
decode(const char *profile, const char *text)
{
	return decode_bytes(profile, text, strlen(text), GW_CF_NONE);
}

// "[" item, item... "]"
static char *
many(const char *open, const char *item, size_t count, const char *close)
{
	size_t len = strlen(item);
	char *text = malloc(strlen(open) + count * (len + 1) + strlen(close) + 1), *at = text;

	at = stpcpy(at, open);
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			*at++ = ',';
		at = stpcpy(at, item);
	}
	strcpy(at, close);
	return text;
}

static void
test_counts(void **state)
{
	char *text = many("[", "{\"n\":\"heart_rate\",\"v\":72}", GW_RECORD_READINGS_MAX, "]");

	assert_int_equal(decode("senml", text), GW_OK);
	assert_int_equal(out.count, GW_RECORD_READINGS_MAX);
	for (size_t i = 0; i < out.count; i++) // no device time: told apart by the sequence
		assert_int_equal(out.readings[i].reading.sequence, i);
	free(text);
	text = many("[", "{\"n\":\"heart_rate\",\"v\":72}", GW_RECORD_READINGS_MAX + 1, "]");
	assert_int_equal(decode("senml", text), GW_E_TOO_LARGE);
	free(text);
	text = many("[", "{\"bn\":\"d/\"}", 20000, "]");
	assert_int_equal(decode("senml", text), GW_E_EMPTY);
	free(text);
	text = many("[", "{\"n\":\"nobody_knows\",\"v\":1}", 20000, "]");
	assert_int_equal(decode("senml", text), GW_E_FIELD);
	assert_non_null(strstr(why.text, "(and 19999 more)"));
	free(text);
	text = many("{\"hr\":1,", "\"hr\":2", 20000, "}");
	assert_int_equal(decode("bedside-json", text), GW_OK);
	assert_int_equal(out.count, 1);
	assert_int_equal(out.partial, GW_E_FIELD);
	free(text);
}

static void
test_depths(void **state)
{
	size_t depth = 60000;
	char *text = malloc(depth + 64);
	enum gw_error error;

	memset(text, '[', depth);
	strcpy(text + depth, "]");
	assert_int_equal(decode("senml", text), GW_E_FORMAT);
	assert_int_equal(decode("bedside-json", text), GW_E_FORMAT);
	memset(text, 0x81, depth); // CBOR arrays in arrays
	error = decode_bytes("senml", text, depth, GW_CF_SENML_CBOR);
	assert_int_equal(error, GW_E_FORMAT);
	memset(text, 0xC6, depth); // tags of tags
	memcpy(text, "\x81\xA1\x02", 3);
	assert_int_equal(decode_bytes("senml", text, depth, GW_CF_SENML_CBOR), GW_E_FORMAT);
	memset(text, 0x9F, depth); // open arrays as a value that is skipped
	memcpy(text, "\x81\xA1\x61x", 4);
	assert_int_equal(decode_bytes("senml", text, depth, GW_CF_SENML_CBOR), GW_E_FORMAT);
	free(text);
}

static void
test_cbor_lies(void **state)
{
	static const struct { const char *bytes; size_t len; } packs[] = {
		{ "\x9B\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 9 },         // an array of 2^64-1 records
		{ "\x9B\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xA0", 10 },
		{ "\x81\xBB\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 10 },    // a map as large
		{ "\x81\xA1\x00\x7B\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF", 12 }, // a text as large
		{ "\x81\xA1\x00\x7F\x61x\xFF", 7 },                    // a text in pieces
		{ "\x81\xA1\xF5\x01", 4 },                             // a label that is true
		{ "\xFF", 1 }, { "\x81", 1 }, { "\x80\x80", 2 }, { "\xA0", 1 }, { "\xD9\xD9\xF7", 3 }, { "\x81\xA1\x02\xC4\x82\x00", 6 }, { "\x81\xFF", 2 },
		{ "\x81\xA1\x02\xFC", 4 },                             // reserved
	};

	for (size_t i = 0; i < sizeof(packs) / sizeof(packs[0]); i++)
		assert_int_equal(decode_bytes("senml", packs[i].bytes, packs[i].len, GW_CF_SENML_CBOR), GW_E_FORMAT);
	assert_int_equal(decode_bytes("senml", "\x80", 1, GW_CF_SENML_CBOR), GW_E_EMPTY);
	assert_int_equal(decode_bytes("senml", "\x9F\xFF", 2, GW_CF_NONE), GW_E_EMPTY);
	assert_int_equal(decode_bytes("senml", "\xD9\xD9\xF7\x81\xA2\x00\x64spo2\x02\x18\x61", 14, GW_CF_NONE), GW_OK); // "this is CBOR"
	assert_int_equal(out.readings[0].reading.decimal.mantissa, 97);
	// A decimal fraction whose parts are wrong costs the field, not the pack.
	assert_int_equal(decode_bytes("senml", "\x82\xA2\x00\x64spo2\x02\x18\x61\xA2\x00\x64spo2\x02\xC4\x82\x61x\x01", 24, GW_CF_NONE), GW_OK);
	assert_int_equal(out.count, 1);
	assert_int_equal(out.partial, GW_E_FIELD);
	// Text that is no UTF-8 makes no name.
	assert_int_equal(decode_bytes("senml", "\x81\xA2\x00\x62\xC3\x28\x02\x01", 8, GW_CF_NONE), GW_E_FORMAT);
}

static void
test_base_fields_of_wrong_type(void **state)
{
	static const char *const packs[] = { "[{\"bn\":1,\"n\":\"spo2\",\"v\":1}]", "[{\"bt\":\"now\",\"n\":\"spo2\",\"v\":1}]", "[{\"n\":5,\"v\":1}]", "[{\"n\":\"spo2\",\"u\":null,\"v\":1}]",
		"[{\"bver\":\"10\",\"n\":\"spo2\",\"v\":1}]", "[{\"bver\":10.5,\"n\":\"spo2\",\"v\":1}]", "[{\"n\":\"spo2\",\"n\":\"cpp\",\"v\":1}]", "[{\"bv\":true,\"n\":\"spo2\",\"v\":1}]",
		"[1]", "[[]]", "[{\"n\":\"spo2\",\"v\":1},2]", "[{\"n\":\"spo2\",\"v\":1,\"a_\":0}]", "[{\"bt\":1e99,\"n\":\"spo2\",\"v\":1}]" };

	for (size_t i = 0; i < sizeof(packs) / sizeof(packs[0]); i++)
		if (decode("senml", packs[i]) != GW_E_FORMAT)
			fail_msg("%s must be refused as a whole", packs[i]);
	assert_int_equal(decode("senml", "[{\"bver\":10,\"n\":\"spo2\",\"v\":97}]"), GW_OK);
}

static void
test_times(void **state)
{
	static const struct { const char *t; int64_t time_us; bool absolute; } times[] = {
		{ "268435456", 268435456000000, true }, { "268435455", RECEIVED + 268435455000000, false }, { "0", RECEIVED, false }, { "-0.25", RECEIVED - 250000, false },
		{ "1795162500.1234567", 1795162500123456, true }, { "1.7951625e9", 1795162500000000, true },
	};

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		char pack[128];
		snprintf(pack, sizeof(pack), "[{\"n\":\"spo2\",\"v\":97,\"t\":%s}]", times[i].t);
		assert_int_equal(decode("senml", pack), GW_OK);
		assert_true(out.readings[0].reading.time_us == times[i].time_us);
		assert_int_equal((out.readings[0].reading.flags & GW_FLAG_NO_DEVICE_TIME) == 0, times[i].absolute);
	}
	assert_int_equal(decode("senml", "[{\"n\":\"spo2\",\"v\":97,\"t\":-268435457}]"), GW_E_FIELD);
	assert_int_equal(decode("senml", "[{\"n\":\"spo2\",\"v\":97,\"t\":253402300801}]"), GW_E_FIELD);
	assert_int_equal(decode("senml", "[{\"n\":\"spo2\",\"v\":97,\"t\":\"1\"}]"), GW_E_FIELD);
}

static void
test_iso_times(void **state)
{
	static const struct { const char *text; const char *utc; } good[] = {
		{ "2026-11-20T08:15:00Z", "2026-11-20T08:15:00Z" }, { "2026-11-20 09:15:00.5+01:00", "2026-11-20T08:15:00.500Z" }, { "20261120T081500Z", "2026-11-20T08:15:00Z" },
		{ "20261120091500+0100", "2026-11-20T08:15:00Z" }, { "2024-02-29T23:59:60Z", "2024-02-29T23:59:59Z" }, { "2026-11-20t08:15:00,123456789z", "2026-11-20T08:15:00.123456Z" },
		{ "2026-11-19T22:15:00-10", "2026-11-20T08:15:00Z" },
	};
	static const char *const bad[] = { "2026-11-20", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-11-20T24:00:00Z", "2026-11-20T08:15:00", "2026-11-20T08:15:00Zx",
		"2026-11-20T08:15:00.Z", "2026-11-20T08:15Z", "2026-1-2T08:15:00Z", "", "T", "2026-11-20T08:15:00+25:00", "2026-11-20T0815:00Z" };
	char text[128], time[40];

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(text, sizeof(text), "{\"time\":\"%s\",\"hr\":72}", good[i].text);
		assert_int_equal(decode("bedside-json", text), GW_OK);
		assert_int_equal(out.partial, GW_OK);
		assert_string_equal(gw_time_format(out.readings[0].reading.time_us, time), good[i].utc);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		snprintf(text, sizeof(text), "{\"time\":\"%s\",\"hr\":72}", bad[i]);
		assert_int_equal(decode("bedside-json", text), GW_OK);
		if (out.partial != GW_E_FIELD || (out.readings[0].reading.flags & GW_FLAG_NO_DEVICE_TIME) == 0)
			fail_msg("\"%s\" is no time", bad[i]);
	}
}

static void
test_texts(void **state)
{
	char text[2048], long_text[1400];

	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	snprintf(text, sizeof(text), "{\"hr\":72,\"infusion_drug_name\":\"%s\"}", long_text);
	assert_int_equal(decode("bedside-json", text), GW_OK);
	assert_int_equal(out.count, 1);
	snprintf(text, sizeof(text), "{\"hr\":72,\"infusion_drug_name\":\"%.1024s\"}", long_text);
	assert_int_equal(decode("bedside-json", text), GW_OK);
	assert_int_equal(out.count, 2);
	assert_int_equal(decode("bedside-json", "{\"infusion_drug_name\":\"a\\u0000b\"}"), GW_E_FIELD);
	assert_int_equal(decode("bedside-json", "{\"infusion_drug_name\":\"\xC3\x28\"}"), GW_E_FORMAT);
	assert_int_equal(decode("plain-text", "\xFF\xFE"), GW_E_FORMAT);
	snprintf(text, sizeof(text), "[{\"bn\":\"%.300s\",\"n\":\"spo2\",\"v\":1}]", long_text); // a name that is too long
	assert_int_equal(decode("senml", text), GW_E_FIELD);
	snprintf(text, sizeof(text), "[{\"n\":\"spo2\",\"u\":\"%.100s\",\"v\":1}]", long_text);
	assert_int_equal(decode("senml", text), GW_E_FIELD);
}

static void
test_content_formats(void **state)
{
	static const uint32_t formats[] = { GW_CF_TEXT, GW_CF_OCTETS, GW_CF_JSON, GW_CF_CBOR, GW_CF_SENML_JSON, GW_CF_SENML_CBOR, 11542, GW_CF_NONE };
	static const struct { const char *profile, *payload; const char *taken; } rows[] = {
		{ "senml", "[{\"n\":\"spo2\",\"v\":97}]", "01101001" }, { "senml", "\x81\xA2\x00\x64spo2\x02\x18\x61", "01010101" }, { "bedside-json", "{\"hr\":72}", "11100001" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		for (size_t k = 0; k < sizeof(formats) / sizeof(formats[0]); k++) {
			size_t len = i == 1 ? 11 : strlen(rows[i].payload);
			bool taken = decode_bytes(rows[i].profile, rows[i].payload, len, formats[k]) == GW_OK;
			if (taken != (rows[i].taken[k] == '1'))
				fail_msg("%s, format %u", rows[i].profile, formats[k]);
		}
	assert_int_equal(decode_bytes("senml", "", 0, GW_CF_NONE), GW_E_EMPTY);
	assert_int_equal(decode_bytes("senml", "[]", 2, 11542), GW_E_CONTENT_FORMAT);
}

static void
test_flags_and_scratch(void **state)
{
	struct gw_match match = { .profile = gw_profile_by_name(profiles, gw_span_text("bedside-json")) };
	struct gw_decode_input in = { &match, gw_span_text("{\"hr\":500,\"spo2\":null}"), GW_CF_NONE, RECEIVED, true };
	char *large = many("{\"hr\":1,\"firmware\":[", "\"0123456789\"", 80000, "]}"); // a megabyte: more memory for one frame, given back after it

	assert_int_equal(gw_decode(scratch, &in, &out, &why), GW_OK);
	assert_int_equal(out.readings[0].reading.flags, GW_FLAG_QUESTIONABLE | GW_FLAG_TEST | GW_FLAG_NO_DEVICE_TIME);
	assert_int_equal(out.readings[1].reading.flags, GW_FLAG_NOT_AVAILABLE | GW_FLAG_TEST | GW_FLAG_NO_DEVICE_TIME);
	in.payload = gw_span_text(large);
	in.test = false;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(gw_decode(scratch, &in, &out, &why), GW_OK);
		assert_int_equal(out.count, 1);
		assert_int_equal(decode("bedside-json", "{\"hr\":72}"), GW_OK);
	}
	free(large);
}

static void
test_topics(void **state)
{
	struct gw_reading reading = { .signal = 150456 };
	char topic[128];

	topic[gw_bus_topic("vitals", gw_span_text("a/b+c#d%e\nf$"), &reading, topic, sizeof(topic) - 1)] = '\0';
	assert_string_equal(topic, "vitals/a%2Fb%2Bc%23d%25e%0Af$/spo2");
	assert_int_equal(gw_bus_topic("vitals", gw_span_text("a"), &reading, topic, 12), 0);
	assert_int_equal(gw_bus_topic("vitals", gw_span_text("a"), &reading, topic, 13), 13);
}

static void
test_bus_document(void **state)
{
	struct gw_batch_head head = { .received_us = RECEIVED, .device = gw_span_text("mon\"7\\") };
	struct gw_reading reading = { .signal = 150456, .time_us = RECEIVED - 2500000, .type = GW_VALUE_DECIMAL, .decimal = { 9650, -2 }, .unit = 262688,
		.flags = GW_FLAG_QUESTIONABLE | GW_FLAG_TEST, .received = gw_span_text("0.9650"), .unit_received = gw_span_text("/") };
	char text[1024];
	size_t len = gw_bus_encode(1, &head, &reading, text, sizeof(text) - 1);

	assert_in_range(len, 100, sizeof(text) - 1);
	text[len] = '\0';
	assert_non_null(strstr(text, ",\"device\":\"mon\\\"7\\\\\",\"signal\":\"spo2\",\"instance\":0,\"mdc\":150456,\"refid\":\"MDC_PULS_OXIM_SAT_O2\",\"value\":96.50,"
	    "\"unit\":\"%\",\"unit_mdc\":262688,\"received\":{\"value\":\"0.9650\",\"unit\":\"/\"},\"flags\":[\"questionable\",\"test\"],\"kind\":\"measurement\","
	    "\"time\":\"2026-11-20T08:15:00Z\",\"received_time\":\"2026-11-20T08:15:02.500Z\",\"revision\":0}"));
	assert_int_equal(gw_bus_encode(1, &head, &reading, text, 10), len);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_counts), cmocka_unit_test(test_depths), cmocka_unit_test(test_cbor_lies),
		cmocka_unit_test(test_base_fields_of_wrong_type), cmocka_unit_test(test_times), cmocka_unit_test(test_iso_times), cmocka_unit_test(test_texts),
		cmocka_unit_test(test_content_formats), cmocka_unit_test(test_flags_and_scratch), cmocka_unit_test(test_topics), cmocka_unit_test(test_bus_document) };

	return cmocka_run_group_tests(tests, start, end);
}
