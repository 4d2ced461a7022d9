// SPDX-License-Identifier: Apache-2.0
// Journal records: writing them. Pure; any thread. Encoders check room before each piece and never write beyond cap.
#include "gateway/record.h"
#include "gateway/record_layout.h"

#include <sodium.h>

// SipHash-2-4 keys. On disk by what they hash: never change.
static const uint8_t name_key[crypto_shorthash_KEYBYTES] = "vitalgate name 1";
static const uint8_t series_key[crypto_shorthash_KEYBYTES] = "vitalgate seri 1";

static uint64_t
siphash(const uint8_t *at, size_t len, const uint8_t *key)
{
	uint8_t hash[crypto_shorthash_BYTES];

	crypto_shorthash(hash, at, len, key);
	return gw_get64(hash);
}

uint64_t
gw_name_hash(struct gw_span name)
{
	return siphash(name.at, name.len, name_key);
}

uint64_t
gw_series_hash(uint64_t device_hash, uint32_t signal, uint16_t instance)
{
	uint8_t series[14];

	gw_put64(series, device_hash);
	gw_put32(series + 8, signal);
	gw_put16(series + 12, instance);
	return siphash(series, sizeof(series), series_key);
}

void
gw_record_seal(uint8_t *record, size_t len)
{
	gw_put32(record + RECORD_CRC, gw_crc32c(0, record + RECORD_LEN, len - RECORD_LEN));
}

static void
put_head(uint8_t *out, enum gw_record_type type, uint8_t door, uint8_t auth, int64_t received_us)
{
	out[RECORD_TYPE] = (uint8_t)type;
	out[RECORD_VERSION_AT] = RECORD_VERSION;
	out[RECORD_DOOR] = door;
	out[RECORD_AUTH] = auth;
	gw_put64(out + RECORD_RECEIVED, (uint64_t)received_us);
}

static size_t
finish(uint8_t *out, size_t len)
{
	gw_put32(out + RECORD_LEN, (uint32_t)len);
	gw_record_seal(out, len);
	return len;
}

static size_t
value_size(const struct gw_reading *reading)
{
	switch ((enum gw_value_type)reading->type) {
	case GW_VALUE_DECIMAL:
		return 10;
	case GW_VALUE_CODE:
		return 4;
	case GW_VALUE_TEXT:
		return 4 + reading->text.len;
	case GW_VALUE_SAMPLES:
		return 14 + (size_t)reading->samples.count * 4;
	case GW_VALUE_NONE:
		break;
	}
	return 0;
}

size_t
gw_record_readings_bound(const struct gw_batch_head *head, const struct gw_reading *readings, size_t count)
{
	size_t bound = BATCH_TEXTS + head->device.len + head->principal.len + head->route.len + head->profile.len;

	for (size_t i = 0; i < count; i++)
		bound += READING_VALUE + value_size(&readings[i]) + readings[i].received.len + readings[i].unit_received.len;
	return bound;
}

// Whether the value renders to the very characters that were received.
static bool
is_canonical(const struct gw_reading *reading)
{
	char text[48];

	if (reading->received.len == 0)
		return false;
	if (reading->type == GW_VALUE_TEXT)
		return gw_span_equal(reading->text, reading->received);
	if (reading->type != GW_VALUE_DECIMAL || reading->received.len >= sizeof(text))
		return false;
	return gw_span_equal(gw_span(text, gw_decimal_text(reading->decimal, text)), reading->received);
}

static uint8_t *
put_value(uint8_t *at, const struct gw_reading *reading)
{
	switch ((enum gw_value_type)reading->type) {
	case GW_VALUE_DECIMAL:
		gw_put64(at, (uint64_t)reading->decimal.mantissa);
		gw_put16(at + 8, (uint16_t)reading->decimal.exponent);
		return at + 10;
	case GW_VALUE_CODE:
		gw_put32(at, reading->code);
		return at + 4;
	case GW_VALUE_TEXT:
		gw_put32(at, (uint32_t)reading->text.len);
		return gw_put_bytes(at + 4, reading->text.at, reading->text.len);
	case GW_VALUE_SAMPLES:
		gw_put64(at, (uint64_t)reading->samples.period_ns);
		gw_put32(at + 8, reading->samples.count);
		gw_put16(at + 12, (uint16_t)reading->samples.exponent);
		return gw_put_bytes(at + 14, reading->samples.at, (size_t)reading->samples.count * 4);
	case GW_VALUE_NONE:
		break;
	}
	return at;
}

// Writes one reading where it fits in room; returns its size or 0.
static size_t
put_reading(uint8_t *out, size_t room, const struct gw_reading *reading)
{
	bool canonical = is_canonical(reading);
	size_t received = canonical ? 0 : reading->received.len;
	uint8_t *at;

	if (received >= READING_CANONICAL || reading->unit_received.len > UINT8_MAX || reading->type > GW_VALUE_SAMPLES ||
	    (reading->type == GW_VALUE_TEXT && reading->text.len > GW_RECORD_MAX) ||
	    READING_VALUE + value_size(reading) + received + reading->unit_received.len > room)
		return 0;
	gw_put32(out + READING_SIGNAL, reading->signal);
	gw_put64(out + READING_TIME, (uint64_t)reading->time_us);
	gw_put32(out + READING_SEQUENCE, reading->sequence);
	gw_put32(out + READING_UNIT, reading->unit);
	gw_put16(out + READING_INSTANCE, reading->instance);
	gw_put16(out + READING_REVISION, reading->revision);
	gw_put16(out + READING_FLAGS, reading->flags);
	out[READING_KIND] = reading->kind;
	out[READING_TYPE] = reading->type;
	gw_put16(out + READING_RECEIVED, canonical ? READING_CANONICAL : (uint16_t)received);
	out[READING_UNIT_LEN] = (uint8_t)reading->unit_received.len;
	at = put_value(out + READING_VALUE, reading);
	at = gw_put_bytes(at, reading->received.at, received);
	at = gw_put_bytes(at, reading->unit_received.at, reading->unit_received.len);
	gw_put32(out + READING_SIZE, (uint32_t)(at - out));
	return (size_t)(at - out);
}

static bool
head_fits(const struct gw_batch_head *head)
{
	return head->device.len >= 1 && head->device.len <= GW_ID_MAX && head->principal.len <= GW_ID_MAX &&
	    head->route.len <= GW_ROUTE_MAX && head->profile.len <= GW_ID_MAX;
}

static size_t
put_batch_head(uint8_t *out, const struct gw_batch_head *head, size_t count)
{
	const struct gw_span texts[] = { head->device, head->principal, head->route, head->profile };
	uint8_t *at = out + BATCH_TEXTS;

	put_head(out, GW_RECORD_READINGS, head->door, head->auth, head->received_us);
	gw_put16(out + BATCH_COUNT, (uint16_t)count);
	for (size_t i = 0; i < 4; i++) {
		out[BATCH_LENS + i] = (uint8_t)texts[i].len;
		at = gw_put_bytes(at, texts[i].at, texts[i].len);
	}
	return (size_t)(at - out);
}

enum gw_error
gw_record_readings(const struct gw_batch_head *head, const struct gw_reading *readings, size_t count, uint8_t *out,
    size_t cap, size_t *len, struct gw_key *keys)
{
	uint64_t device = gw_name_hash(head->device);
	size_t at, size;

	if (count == 0)
		return GW_E_EMPTY;
	if (cap > GW_RECORD_MAX)
		cap = GW_RECORD_MAX;
	if (count > GW_RECORD_READINGS_MAX || !head_fits(head) || gw_record_readings_bound(head, NULL, 0) > cap)
		return GW_E_TOO_LARGE;
	at = put_batch_head(out, head, count);
	for (size_t i = 0; i < count; i++, at += size) {
		const struct gw_reading *reading = &readings[i];
		if ((size = put_reading(out + at, cap - at, reading)) == 0)
			return GW_E_TOO_LARGE;
		keys[i] = (struct gw_key){
			.series = gw_series_hash(device, reading->signal, reading->instance),
			.time_us = reading->time_us,
			.sequence = reading->sequence,
			.at = (uint32_t)at,
			.flags = reading->flags,
		};
	}
	*len = finish(out, at);
	return GW_OK;
}

static bool
tells_who(const struct gw_event *event)
{
	return event->reason != 0 || event->more != 0 || event->protocol != 0 || event->peer.len != 0 || event->claimed.len != 0;
}

static bool
event_fits(const struct gw_event *event, size_t cap, size_t texts)
{
	return event->device.len <= GW_ID_MAX && event->principal.len <= GW_ID_MAX && event->route.len <= GW_ROUTE_MAX &&
	    event->claimed.len <= GW_CLAIMED_MAX && event->peer.len <= sizeof(event->peer.address) && event->text.len <= cap && event->data.len <= cap &&
	    texts + event->device.len + event->principal.len + event->route.len + event->peer.len + event->claimed.len + event->text.len + event->data.len <= cap;
}

// Version 2's own: numbers, and the texts that come behind the route.
static uint8_t *
put_who(uint8_t *out, uint8_t *at, const struct gw_event *event)
{
	out[RECORD_VERSION_AT] = EVENT_VERSION;
	gw_put16(out + EVENT_REASON, event->reason);
	gw_put32(out + EVENT_MORE, event->more);
	out[EVENT_PROTOCOL] = event->protocol;
	gw_put16(out + EVENT_PORT, event->peer.port);
	out[EVENT_PEER_LENS] = event->peer.len;
	out[EVENT_PEER_LENS + 1] = (uint8_t)event->claimed.len;
	at = gw_put_bytes(at, event->peer.address, event->peer.len);
	return gw_put_bytes(at, event->claimed.at, event->claimed.len);
}

enum gw_error
gw_record_event(enum gw_record_type type, const struct gw_event *event, uint8_t *out, size_t cap, size_t *len)
{
	const struct gw_span texts[] = { event->device, event->principal, event->route };
	bool who = type == GW_RECORD_DEVICE_EVENT && tells_who(event);
	uint8_t *at = out + (who ? EVENT_PEER_TEXTS : EVENT_TEXTS);

	if (cap > GW_RECORD_MAX)
		cap = GW_RECORD_MAX;
	if (!event_fits(event, cap, who ? EVENT_PEER_TEXTS : EVENT_TEXTS))
		return GW_E_TOO_LARGE;
	put_head(out, type, event->door, event->auth, event->received_us);
	gw_put16(out + EVENT_CODE, event->code);
	gw_put32(out + EVENT_TEXT_LEN, (uint32_t)event->text.len);
	for (size_t i = 0; i < 3; i++) {
		out[EVENT_LENS + i] = (uint8_t)texts[i].len;
		at = gw_put_bytes(at, texts[i].at, texts[i].len);
	}
	if (who)
		at = put_who(out, at, event);
	at = gw_put_bytes(at, event->text.at, event->text.len);
	at = gw_put_bytes(at, event->data.at, event->data.len);
	*len = finish(out, (size_t)(at - out));
	return GW_OK;
}

void
gw_record_set_revision(uint8_t *record, size_t len, uint32_t at, uint16_t revision)
{
	uint16_t flags = gw_get16(record + at + READING_FLAGS);

	flags = (uint16_t)(revision > 0 ? flags | GW_FLAG_REVISION : flags & ~GW_FLAG_REVISION);
	gw_put16(record + at + READING_FLAGS, flags);
	gw_put16(record + at + READING_REVISION, revision);
	gw_record_seal(record, len);
}
