// SPDX-License-Identifier: Apache-2.0
// Packets to clients. A writer that remembers that it did not fit; lengths are put in last. Pure.
#include "adapters/mqtt/packet.h"

// Fixed header of up to five bytes stands before the body, so the body is written at out + 5 and moved.
enum { HEAD = 5 };

struct writer {
	uint8_t *at, *end;
	bool full;
};

static void
put(struct writer *w, const void *bytes, size_t len)
{
	if (w->full || (size_t)(w->end - w->at) < len) {
		w->full = true;
		return;
	}
	if (len > 0)
		memcpy(w->at, bytes, len);
	w->at += len;
}

static void
put_u8(struct writer *w, uint8_t value)
{
	put(w, &value, 1);
}

static void
put_u16(struct writer *w, uint16_t value)
{
	put(w, (uint8_t[]){ (uint8_t)(value >> 8), (uint8_t)value }, 2);
}

static void
put_u32(struct writer *w, uint32_t value)
{
	put_u16(w, (uint16_t)(value >> 16));
	put_u16(w, (uint16_t)value);
}

static size_t
varint(uint8_t out[4], size_t value)
{
	size_t len = 0;

	do {
		out[len] = (uint8_t)(value & 0x7F) | (value > 0x7F ? 0x80 : 0);
		value >>= 7;
		len++;
	} while (value > 0 && len < 4);
	return len;
}

static void
put_text(struct writer *w, uint8_t property, struct gw_span text)
{
	if (text.len == 0 || text.len > UINT16_MAX)
		return;
	put_u8(w, property);
	put_u16(w, (uint16_t)text.len);
	put(w, text.at, text.len);
}

static struct writer
writer_of(uint8_t *out, size_t cap)
{
	return (struct writer){ out + (cap < HEAD ? cap : HEAD), out + cap, cap < HEAD };
}

// Puts type and length before the body.
static size_t
finish(struct writer *w, uint8_t *out, uint8_t first)
{
	uint8_t length[4];
	size_t body, used;

	if (w->full)
		return 0;
	body = (size_t)(w->at - (out + HEAD));
	used = varint(length, body);
	memmove(out + 1 + used, out + HEAD, body);
	out[0] = first;
	memcpy(out + 1, length, used);
	return 1 + used + body;
}

// The reason string as the only property.
static void
put_why(struct writer *w, struct gw_span why)
{
	uint8_t length[4];

	put(w, length, varint(length, why.len > 0 ? why.len + 3 : 0));
	put_text(w, 0x1F, why);
}

static const struct { uint8_t reason, code; } return_codes[] = {
	{ GW_MQTT_VERSION, 1 },
	{ GW_MQTT_CLIENT_ID, 2 },
	{ GW_MQTT_BAD_CREDENTIALS, 4 },
	{ GW_MQTT_NOT_AUTHORIZED, 5 },
	{ GW_MQTT_BAD_METHOD, 5 },
};

uint8_t
gw_mqtt_return_code(uint8_t reason)
{
	if (reason == GW_MQTT_SUCCESS)
		return 0;
	for (size_t i = 0; i < sizeof(return_codes) / sizeof(return_codes[0]); i++)
		if (return_codes[i].reason == reason)
			return return_codes[i].code;
	return 3; // server unavailable
}

// Section 3.2.2.3. RETAIN is accepted, so Retain Available keeps its default; so do Maximum QoS and wildcards. There are no shared
// subscriptions and no subscription identifiers.
static void
connack_properties(struct writer *w, const struct gw_mqtt_connack *a)
{
	put_text(w, 0x1F, a->why);
	if (a->reason != GW_MQTT_SUCCESS)
		return;
	put_u8(w, 0x21);
	put_u16(w, a->receive_maximum);
	put_u8(w, 0x27);
	put_u32(w, a->packet_bytes_max);
	put_u8(w, 0x22);
	put_u16(w, a->alias_max);
	put(w, (uint8_t[]){ 0x29, 0, 0x2A, 0 }, 4);
	if (a->tell_session_expiry) {
		put_u8(w, 0x11);
		put_u32(w, a->session_expiry_s);
	}
	if (a->tell_keep_alive) {
		put_u8(w, 0x13);
		put_u16(w, a->keep_alive_s);
	}
	put_text(w, 0x12, a->assigned_id);
}

size_t
gw_mqtt_write_connack(uint8_t version, const struct gw_mqtt_connack *a, uint8_t *out, size_t cap)
{
	struct writer w = writer_of(out, cap), inner;
	uint8_t properties[512], length[4];

	put_u8(&w, a->session_present && a->reason == GW_MQTT_SUCCESS);
	put_u8(&w, version == 5 ? a->reason : gw_mqtt_return_code(a->reason));
	if (version == 5) {
		inner = (struct writer){ properties, properties + sizeof(properties), false };
		connack_properties(&inner, a);
		w.full = w.full || inner.full;
		put(&w, length, varint(length, (size_t)(inner.at - properties)));
		put(&w, properties, (size_t)(inner.at - properties));
	}
	return finish(&w, out, GW_MQTT_CONNACK << 4);
}

size_t
gw_mqtt_write_ack(uint8_t version, enum gw_mqtt_type type, uint16_t id, uint8_t reason, struct gw_span why, uint8_t *out, size_t cap)
{
	struct writer w = writer_of(out, cap);

	put_u16(&w, id);
	if (version == 5 && (reason != GW_MQTT_SUCCESS || why.len > 0)) {
		put_u8(&w, reason);
		if (why.len > 0)
			put_why(&w, why);
	}
	return finish(&w, out, (uint8_t)(type << 4 | (type == GW_MQTT_PUBREL ? 2 : 0)));
}

size_t
gw_mqtt_write_codes(uint8_t version, enum gw_mqtt_type type, uint16_t id, const uint8_t *codes, size_t count, uint8_t *out, size_t cap)
{
	struct writer w = writer_of(out, cap);

	put_u16(&w, id);
	if (version == 5)
		put_u8(&w, 0);
	if (version == 5 || type == GW_MQTT_SUBACK)
		put(&w, codes, count);
	return finish(&w, out, (uint8_t)(type << 4));
}

size_t
gw_mqtt_write_disconnect(uint8_t reason, struct gw_span why, uint8_t *out, size_t cap)
{
	struct writer w = writer_of(out, cap);

	put_u8(&w, reason);
	if (why.len > 0)
		put_why(&w, why);
	return finish(&w, out, GW_MQTT_DISCONNECT << 4);
}
