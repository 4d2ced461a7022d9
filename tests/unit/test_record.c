// SPDX-License-Identifier: Apache-2.0
// Records: what goes in comes out, and damage is seen.
#include "gateway/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static uint8_t bytes[GW_RECORD_MAX];
static struct gw_key keys[GW_RECORD_READINGS_MAX + 1];

static struct gw_batch_head
head_of(const char *device)
{
	return (struct gw_batch_head){ .received_us = 1795162500250000, .door = GW_DOOR_COAP, .auth = GW_AUTH_PSK,
		.device = gw_span_text(device), .principal = gw_span_text("hub-7"), .route = gw_span_text("ward/3/vitals"),
		.profile = gw_span_text("senml") };
}

static struct gw_record
opened(size_t len)
{
	struct gw_record record;
	struct gw_why why;

	assert_int_equal(gw_record_open(9, gw_span(bytes, len), &record, &why), GW_OK);
	return record;
}

static size_t
encoded(const struct gw_batch_head *head, const struct gw_reading *readings, size_t count)
{
	size_t len = 0;

	assert_int_equal(gw_record_readings(head, readings, count, bytes, sizeof(bytes), &len, keys), GW_OK);
	return len;
}

static void
assert_span(struct gw_span a, struct gw_span b)
{
	assert_int_equal(a.len, b.len);
	if (a.len > 0)
		assert_memory_equal(a.at, b.at, a.len);
}

static void
assert_reading(const struct gw_reading *a, const struct gw_reading *b)
{
	assert_int_equal(a->signal, b->signal);
	assert_int_equal(a->instance, b->instance);
	assert_int_equal(a->time_us, b->time_us);
	assert_int_equal(a->sequence, b->sequence);
	assert_int_equal(a->revision, b->revision);
	assert_int_equal(a->flags, b->flags);
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->unit, b->unit);
	assert_int_equal(a->type, b->type);
	assert_true(gw_reading_same_value(a, b));
	if (a->type == GW_VALUE_DECIMAL) { // digits included
		assert_int_equal(a->decimal.mantissa, b->decimal.mantissa);
		assert_int_equal(a->decimal.exponent, b->decimal.exponent);
	}
	assert_span(a->received, b->received);
	assert_span(a->unit_received, b->unit_received);
}

#define DECIMAL(m, e, text, unit_text) { .signal = 150456, .instance = 1, .time_us = 1795162500000000, .sequence = 3, \
	.flags = GW_FLAG_QUESTIONABLE, .kind = GW_KIND_SETTING, .type = GW_VALUE_DECIMAL, .unit = 262688, .decimal = { m, e }, \
	.received = { (const uint8_t *)text, sizeof(text) - 1 }, .unit_received = { (const uint8_t *)unit_text, sizeof(unit_text) - 1 } }

static void
round_trip(void **state)
{
	static const uint8_t samples[12] = { 1, 0, 0, 0, 0, 0, 0, 128, 255, 255, 255, 255 };
	const struct gw_reading readings[] = {
		DECIMAL(750, -2, "7.50", "%"), DECIMAL(750, -2, "7.500", ""), DECIMAL(INT64_MIN, 0, "-9223372036854775808", "mmHg"),
		DECIMAL(INT64_MIN, INT16_MIN, "x", ""), DECIMAL(INT64_MAX, INT16_MAX, "", ""), DECIMAL(0, 0, "-0", ""), DECIMAL(0, 0, "0", ""),
		DECIMAL(5, -1, ".5", ""), DECIMAL(12, 2, "1200", "\xc2\xb0""C"),
		{ .signal = UINT32_MAX, .instance = UINT16_MAX, .time_us = INT64_MIN, .sequence = UINT32_MAX, .revision = UINT16_MAX,
		    .flags = UINT16_MAX, .kind = 255, .type = GW_VALUE_NONE, .unit = UINT32_MAX },
		{ .time_us = INT64_MAX, .type = GW_VALUE_CODE, .code = UINT32_MAX, .received = gw_span_text("apnoea") },
		{ .type = GW_VALUE_TEXT, .text = gw_span_text("lead off"), .received = gw_span_text("lead off") },
		{ .type = GW_VALUE_TEXT, .text = gw_span_text(""), .received = gw_span_text("") },
		{ .type = GW_VALUE_TEXT, .text = gw_span_text("a"), .received = gw_span_text("b") },
		{ .type = GW_VALUE_SAMPLES, .samples = { 4000000, 3, -3, samples } },
		{ .type = GW_VALUE_SAMPLES, .samples = { INT64_MAX, 0, INT16_MIN, NULL } },
	};
	size_t count = sizeof(readings) / sizeof(readings[0]);
	struct gw_batch_head head = head_of("monitor-1");
	struct gw_record record = opened(encoded(&head, readings, count));
	struct gw_batch batch;
	struct gw_reading reading;
	uint64_t device = gw_name_hash(head.device);

	(void)state;
	assert_int_equal(record.type, GW_RECORD_READINGS);
	assert_int_equal(record.received_us, head.received_us);
	assert_int_equal(gw_batch_open(&record, &batch, NULL), GW_OK);
	assert_span(batch.head.device, head.device);
	assert_span(batch.head.principal, head.principal);
	assert_span(batch.head.route, head.route);
	assert_span(batch.head.profile, head.profile);
	assert_int_equal(batch.head.door, head.door);
	assert_int_equal(batch.head.auth, head.auth);
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(keys[i].at, batch.at);
		assert_true(gw_batch_next(&batch, &reading));
		assert_reading(&reading, &readings[i]);
		assert_int_equal(keys[i].series, gw_series_hash(device, reading.signal, reading.instance));
		assert_int_equal(keys[i].time_us, reading.time_us);
		assert_int_equal(keys[i].sequence, reading.sequence);
		assert_int_equal(keys[i].flags, reading.flags);
	}
	assert_false(gw_batch_next(&batch, &reading));
	assert_false(batch.bad);
}

static void
canonical_text_is_stored_once(void **state)
{
	struct gw_reading same[] = { DECIMAL(750, -2, "7.50", "") }, other[] = { DECIMAL(750, -2, "7.5e0", "") };
	struct gw_batch_head head = head_of("d");
	size_t a = encoded(&head, same, 1), b = encoded(&head, other, 1);

	(void)state;
	assert_int_equal(b - a, 5);
}

static void
limits(void **state)
{
	static char long_text[70000];
	static struct gw_reading many[GW_RECORD_READINGS_MAX + 1];
	struct gw_reading reading = DECIMAL(1, 0, "1", "");
	struct gw_batch_head head = head_of("d"), bad;
	size_t len;

	(void)state;
	memset(long_text, 'x', sizeof(long_text));
	for (size_t i = 0; i <= GW_RECORD_READINGS_MAX; i++)
		many[i] = reading;
	assert_int_equal(gw_record_readings(&head, many, 0, bytes, sizeof(bytes), &len, keys), GW_E_EMPTY);
	assert_int_equal(gw_record_readings(&head, many, GW_RECORD_READINGS_MAX + 1, bytes, sizeof(bytes), &len, keys), GW_E_TOO_LARGE);
	encoded(&head, many, GW_RECORD_READINGS_MAX);
	bad = head, bad.device.len = 0;
	assert_int_equal(gw_record_readings(&bad, many, 1, bytes, sizeof(bytes), &len, keys), GW_E_TOO_LARGE);
	bad = head, bad.device = gw_span(long_text, GW_ID_MAX + 1);
	assert_int_equal(gw_record_readings(&bad, many, 1, bytes, sizeof(bytes), &len, keys), GW_E_TOO_LARGE);
	bad = head, bad.route = gw_span(long_text, GW_ROUTE_MAX + 1);
	assert_int_equal(gw_record_readings(&bad, many, 1, bytes, sizeof(bytes), &len, keys), GW_E_TOO_LARGE);
	reading.received = gw_span(long_text, 65535);
	assert_int_equal(gw_record_readings(&head, &reading, 1, bytes, sizeof(bytes), &len, keys), GW_E_TOO_LARGE);
	reading.received.len = 65534;
	encoded(&head, &reading, 1);
	reading.unit_received = gw_span(long_text, 256);
	assert_int_equal(gw_record_readings(&head, &reading, 1, bytes, sizeof(bytes), &len, keys), GW_E_TOO_LARGE);
	bad = (struct gw_batch_head){ .device = gw_span(long_text, GW_ID_MAX), .principal = gw_span(long_text, GW_ID_MAX),
		.route = gw_span(long_text, GW_ROUTE_MAX), .profile = gw_span(long_text, GW_ID_MAX) };
	opened(encoded(&bad, many, 1));
}

// With every room from 0 up to what is needed: refused until it fits, and nothing is written behind the room.
static void
room_is_kept(void **state)
{
	struct gw_reading readings[] = { DECIMAL(1, 0, "one", "u"), { .type = GW_VALUE_TEXT, .text = gw_span_text("text") } };
	struct gw_batch_head head = head_of("d");
	size_t need = encoded(&head, readings, 2), len;

	(void)state;
	for (size_t cap = 0; cap < need; cap++) {
		uint8_t *exact = malloc(cap); // sanitizers watch its end
		assert_int_equal(gw_record_readings(&head, readings, 2, exact, cap, &len, keys), GW_E_TOO_LARGE);
		free(exact);
	}
}

static void
walk(const struct gw_record *record)
{
	struct gw_batch batch;
	struct gw_reading reading;
	struct gw_event event;

	if (gw_batch_open(record, &batch, NULL) == GW_OK)
		while (gw_batch_next(&batch, &reading))
			;
	if (gw_event_open(record, &event, NULL) == GW_OK)
		assert_true(event.data.at + event.data.len == record->bytes.at + record->bytes.len);
}

static void
every_flipped_bit_is_seen(void **state)
{
	struct gw_reading readings[] = { DECIMAL(750, -2, "7.5", "%"), { .type = GW_VALUE_TEXT, .text = gw_span_text("text") } };
	struct gw_batch_head head = head_of("monitor-1");
	size_t len = encoded(&head, readings, 2);
	struct gw_record record;

	(void)state;
	for (size_t bit = 0; bit < len * 8; bit++) {
		uint8_t *copy = malloc(len);
		memcpy(copy, bytes, len);
		copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_int_equal(gw_record_open(1, gw_span(copy, len), &record, NULL), GW_E_CORRUPT);
		// Behind the checksum nothing is believed either.
		walk(&(struct gw_record){ .type = copy[8], .version = 1, .bytes = gw_span(copy, len) });
		free(copy);
	}
	for (size_t cut = 0; cut < len; cut++) {
		uint8_t *copy = malloc(cut);
		memcpy(copy, bytes, cut);
		assert_int_equal(gw_record_open(1, gw_span(copy, cut), &record, NULL), GW_E_CORRUPT);
		if (cut >= 20)
			walk(&(struct gw_record){ .type = GW_RECORD_READINGS, .version = 1, .bytes = gw_span(copy, cut) });
		free(copy);
	}
}

static void
random_bytes_never_crash(void **state)
{
	struct gw_reading readings[] = { DECIMAL(750, -2, "7.5", "%"), { .type = GW_VALUE_TEXT, .text = gw_span_text("text") },
		{ .type = GW_VALUE_SAMPLES, .samples = { 1, 1, 0, (const uint8_t *)"abcd" } } };
	struct gw_batch_head head = head_of("monitor-1");
	size_t len = encoded(&head, readings, 3);

	(void)state;
	srand(7);
	for (int i = 0; i < 200000; i++) {
		uint8_t *copy = malloc(len);
		memcpy(copy, bytes, len);
		for (int n = rand() % 8; n >= 0; n--)
			copy[20 + (size_t)rand() % (len - 20)] = (uint8_t)rand();
		walk(&(struct gw_record){ .type = (uint8_t)(1 + rand() % 2), .version = 1, .bytes = gw_span(copy, len) });
		free(copy);
	}
}

static void
events(void **state)
{
	struct gw_event event = { .received_us = -5, .door = GW_DOOR_MQTT, .auth = GW_AUTH_PASSWORD, .code = GW_EVENT_WILL,
		.device = gw_span_text("pump"), .principal = gw_span_text("user"), .route = gw_span_text("a/b"),
		.text = gw_span_text("gone"), .data = gw_span("\0\1\2", 3) }, back;
	struct gw_event empty = { 0 };
	struct gw_record record;
	size_t len;

	(void)state;
	assert_int_equal(gw_record_event(GW_RECORD_DEVICE_EVENT, &event, bytes, sizeof(bytes), &len), GW_OK);
	record = opened(len);
	assert_int_equal(record.type, GW_RECORD_DEVICE_EVENT);
	assert_int_equal(gw_event_open(&record, &back, NULL), GW_OK);
	assert_int_equal(back.received_us, -5);
	assert_int_equal(back.code, GW_EVENT_WILL);
	assert_span(back.device, event.device);
	assert_span(back.principal, event.principal);
	assert_span(back.route, event.route);
	assert_span(back.text, event.text);
	assert_span(back.data, event.data);
	assert_int_equal(gw_record_event(GW_RECORD_COMMAND, &empty, bytes, sizeof(bytes), &len), GW_OK);
	record = opened(len);
	assert_int_equal(gw_event_open(&record, &back, NULL), GW_OK);
	assert_int_equal(gw_record_event(GW_RECORD_COMMAND, &event, bytes, len, &len), GW_E_TOO_LARGE);
}

static void
events_of_who_was_refused(void **state)
{
	struct gw_event event = { .received_us = 7, .door = GW_DOOR_COAP, .auth = GW_AUTH_PSK, .code = GW_EVENT_REFUSED_CREDENTIAL, .route = gw_span_text("a/b"),
		.text = gw_span_text("words"), .data = gw_span("\0x", 2), .protocol = GW_PROTOCOL_COAPS, .reason = GW_REFUSED_PSK_WRONG, .more = 312,
		.peer = { .len = 16, .port = 40000, .address = "0123456789abcde" }, .claimed = gw_span_text("pump") }, back;
	struct gw_record record;
	char text[GW_PEER_TEXT];
	size_t len;

	(void)state;
	assert_int_equal(gw_record_event(GW_RECORD_DEVICE_EVENT, &event, bytes, sizeof(bytes), &len), GW_OK);
	record = opened(len);
	assert_int_equal(record.version, 2);
	assert_int_equal(gw_event_open(&record, &back, NULL), GW_OK);
	assert_int_equal(back.protocol, GW_PROTOCOL_COAPS);
	assert_int_equal(back.reason, GW_REFUSED_PSK_WRONG);
	assert_int_equal(back.more, 312);
	assert_int_equal(back.peer.port, 40000);
	assert_memory_equal(&back.peer.address, &event.peer.address, 16);
	assert_span(back.claimed, event.claimed);
	assert_span(back.route, event.route);
	assert_span(back.text, event.text);
	assert_span(back.data, event.data);
	// Whatever is cut off or changed: an error or other fields, never a look beyond the end.
	for (size_t cut = 0; cut < len; cut++)
		for (unsigned value = 0; value < 256; value += 51) {
			uint8_t *copy = malloc(len);

			memcpy(copy, bytes, len);
			copy[cut] = (uint8_t)value;
			(void)gw_event_open(&(struct gw_record){ .type = GW_RECORD_DEVICE_EVENT, .version = 2, .bytes = gw_span(copy, len - cut) }, &back, NULL);
			free(copy);
		}
	assert_int_equal(gw_record_event(GW_RECORD_DEVICE_EVENT, &event, bytes, len - 1, &len), GW_E_TOO_LARGE);
	assert_string_equal(gw_refused_name(GW_REFUSED_PSK_WRONG), "wrong-psk");
	assert_string_equal(gw_peer_text(&(struct gw_peer){ .len = 4, .address = { 10, 0, 0, 7 } }, text), "10.0.0.7");
	assert_string_equal(gw_peer_text(&(struct gw_peer){ .len = 0 }, text), "");
}

static void
newer_versions_are_told(void **state)
{
	struct gw_reading reading = DECIMAL(1, 0, "1", "");
	struct gw_batch_head head = head_of("d");
	size_t len = encoded(&head, &reading, 1);
	struct gw_record record;
	struct gw_batch batch;
	uint32_t crc;

	(void)state;
	bytes[9] = 2;
	crc = gw_crc32c(0, bytes + 4, len - 4);
	memcpy(bytes, &crc, 4);
	record = opened(len);
	assert_int_equal(gw_batch_open(&record, &batch, NULL), GW_E_VERSION);
}

static void
revisions(void **state)
{
	struct gw_reading readings[] = { DECIMAL(1, 0, "1", ""), DECIMAL(2, 0, "2", "") }, reading;
	struct gw_batch_head head = head_of("d");
	size_t len = encoded(&head, readings, 2);
	struct gw_record record;
	struct gw_batch batch;

	(void)state;
	gw_record_set_revision(bytes, len, keys[1].at, 4);
	record = opened(len);
	assert_int_equal(gw_batch_open(&record, &batch, NULL), GW_OK);
	assert_true(gw_batch_next(&batch, &reading));
	assert_int_equal(reading.revision, 0);
	assert_int_equal(reading.flags & GW_FLAG_REVISION, 0);
	assert_true(gw_batch_next(&batch, &reading));
	assert_int_equal(reading.revision, 4);
	assert_int_equal(reading.flags & GW_FLAG_REVISION, GW_FLAG_REVISION);
}

static void
same_values(void **state)
{
	struct gw_reading a = DECIMAL(750, -2, "7.50", "%"), b = DECIMAL(75, -1, "7.5", "");

	(void)state;
	assert_true(gw_reading_same_value(&a, &b));
	b.decimal.mantissa = 76;
	assert_false(gw_reading_same_value(&a, &b));
	b = a, b.unit = 1;
	assert_false(gw_reading_same_value(&a, &b));
	b = a, b.flags |= GW_FLAG_INVALID;
	assert_false(gw_reading_same_value(&a, &b));
	b = a, b.flags |= GW_FLAG_TEST | GW_FLAG_REVISION;
	assert_true(gw_reading_same_value(&a, &b));
	a.decimal = (struct gw_decimal){ 0, -3 }, b = a, b.decimal = (struct gw_decimal){ 0, 9 };
	assert_true(gw_reading_same_value(&a, &b));
}

static void
decimals(void **state)
{
	static const struct { struct gw_decimal value; const char *text; } rows[] = {
		{ { 750, -2 }, "7.50" }, { { -3, 0 }, "-3" }, { { 12, 2 }, "1200" }, { { 0, 0 }, "0" }, { { 0, -2 }, "0.00" }, { { 0, 5 }, "0" },
		{ { 5, -3 }, "0.005" }, { { -5, -1 }, "-0.5" }, { { 123, -3 }, "0.123" }, { { 1234, -3 }, "1.234" },
		{ { INT64_MIN, 0 }, "-9223372036854775808" }, { { INT64_MIN, -19 }, "-0.9223372036854775808" },
		{ { INT64_MIN, 20 }, "-922337203685477580800000000000000000000" }, { { 1, 21 }, "1e21" }, { { 1, -41 }, "1e-41" },
		{ { INT64_MIN, INT16_MIN }, "-9223372036854775808e-32768" }, { { -1, -40 }, "-0.0000000000000000000000000000000000000001" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char text[48];
		assert_int_equal(gw_decimal_text(rows[i].value, text), strlen(rows[i].text));
		assert_string_equal(text, rows[i].text);
	}
}

static void
checksum(void **state)
{
	uint8_t zeros[32] = { 0 };

	(void)state;
	// RFC 3720 B.4, and the usual check value.
	assert_int_equal(gw_crc32c(0, zeros, 32), 0x8A9136AA);
	assert_int_equal(gw_crc32c(0, "123456789", 9), 0xE3069283);
	assert_int_equal(gw_crc32c(gw_crc32c(0, "1234", 4), "56789", 5), 0xE3069283);
}

// Identifiers and hashes are outside or on disk: they may never change.
static void
fixed_for_ever(void **state)
{
	struct gw_reading reading = DECIMAL(750, -2, "7.50", "%"), other;
	char id[GW_READING_ID_MAX], again[GW_READING_ID_MAX];

	(void)state;
	assert_int_equal(gw_reading_id(1, gw_span_text("monitor-1"), &reading, id), 26);
	assert_string_equal(id, "40CDCVBVANEM55NDC7551PNP6E");
	assert_true(gw_name_hash(gw_span_text("monitor-1")) == UINT64_C(0x8485D509FC052567));
	assert_true(gw_series_hash(1, 150456, 1) == UINT64_C(0xB4020C575E445DED));
	other = reading, other.decimal.mantissa++, other.flags = 0, other.unit = 0; // not of the key
	gw_reading_id(1, gw_span_text("monitor-1"), &other, again);
	assert_string_equal(id, again);
	other.revision = 65535;
	assert_int_equal(gw_reading_id(1, gw_span_text("monitor-1"), &other, again), 32);
	assert_memory_equal(again, id, 26);
	assert_string_equal(again + 26, ".65535");
	other = reading, other.sequence++;
	gw_reading_id(1, gw_span_text("monitor-1"), &other, again);
	assert_string_not_equal(id, again);
	gw_reading_id(2, gw_span_text("monitor-1"), &reading, again);
	assert_string_not_equal(id, again);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trip), cmocka_unit_test(canonical_text_is_stored_once), cmocka_unit_test(limits),
		cmocka_unit_test(room_is_kept), cmocka_unit_test(every_flipped_bit_is_seen), cmocka_unit_test(random_bytes_never_crash),
		cmocka_unit_test(events_of_who_was_refused),
		cmocka_unit_test(events), cmocka_unit_test(newer_versions_are_told), cmocka_unit_test(revisions),
		cmocka_unit_test(same_values), cmocka_unit_test(decimals), cmocka_unit_test(checksum), cmocka_unit_test(fixed_for_ever),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
