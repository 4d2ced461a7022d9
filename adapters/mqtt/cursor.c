// SPDX-License-Identifier: Apache-2.0
// The cursor over a packet's bytes, UTF-8, and the framing of the stream (MQTT 5 sections 1.5 and 2.1). Pure.
#include "adapters/mqtt/packet.h"

void
gw_mqtt_bad(struct gw_mqtt_cursor *c, uint8_t reason)
{
	if (c->bad == 0)
		c->bad = reason;
	c->at = c->end;
}

uint8_t
gw_mqtt_u8(struct gw_mqtt_cursor *c)
{
	if (c->at == c->end) {
		gw_mqtt_bad(c, GW_MQTT_MALFORMED);
		return 0;
	}
	return *c->at++;
}

uint16_t
gw_mqtt_u16(struct gw_mqtt_cursor *c)
{
	uint16_t value;

	if (gw_mqtt_left(c) < 2) {
		gw_mqtt_bad(c, GW_MQTT_MALFORMED);
		return 0;
	}
	value = (uint16_t)(c->at[0] << 8 | c->at[1]);
	c->at += 2;
	return value;
}

uint32_t
gw_mqtt_u32(struct gw_mqtt_cursor *c)
{
	uint32_t high = gw_mqtt_u16(c);

	return high << 16 | gw_mqtt_u16(c);
}

// Section 1.5.5: at most four bytes, and no longer than needed.
uint32_t
gw_mqtt_varint(struct gw_mqtt_cursor *c)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < 4; i++) {
		uint8_t byte = gw_mqtt_u8(c);

		value |= (uint32_t)(byte & 0x7F) << (7 * i);
		if ((byte & 0x80) == 0) {
			if (i > 0 && byte == 0)
				gw_mqtt_bad(c, GW_MQTT_MALFORMED);
			return c->bad == 0 ? value : 0;
		}
	}
	gw_mqtt_bad(c, GW_MQTT_MALFORMED);
	return 0;
}

struct gw_span
gw_mqtt_binary(struct gw_mqtt_cursor *c)
{
	size_t len = gw_mqtt_u16(c);
	struct gw_span span = { c->at, len };

	if (gw_mqtt_left(c) < len) {
		gw_mqtt_bad(c, GW_MQTT_MALFORMED);
		return gw_span(c->end, 0);
	}
	c->at += len;
	return span;
}

// Length of the well-formed sequence of two to four bytes at p, 0 for none (RFC 3629: no overlong forms, no surrogates).
static size_t
sequence(const uint8_t *p, size_t left)
{
	uint8_t low = 0x80, high = 0xBF;
	size_t len;

	if (p[0] < 0xC2 || p[0] > 0xF4)
		return 0;
	len = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
	if (p[0] == 0xE0)
		low = 0xA0;
	else if (p[0] == 0xED)
		high = 0x9F;
	else if (p[0] == 0xF0)
		low = 0x90;
	else if (p[0] == 0xF4)
		high = 0x8F;
	if (left < len || p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < len; i++)
		if ((p[i] & 0xC0) != 0x80)
			return 0;
	return len;
}

bool
gw_mqtt_utf8(struct gw_span text)
{
	for (size_t i = 0; i < text.len;) {
		size_t len = 1;

		if (text.at[i] >= 0x80)
			len = sequence(text.at + i, text.len - i);
		if (len == 0 || text.at[i] == 0)
			return false;
		i += len;
	}
	return true;
}

struct gw_span
gw_mqtt_text(struct gw_mqtt_cursor *c)
{
	struct gw_span text = gw_mqtt_binary(c);

	if (!gw_mqtt_utf8(text)) {
		gw_mqtt_bad(c, GW_MQTT_MALFORMED);
		return gw_span(c->end, 0);
	}
	return text;
}

enum gw_mqtt_framing
gw_mqtt_frame(struct gw_span stream, size_t max, struct gw_mqtt_frame *frame)
{
	uint32_t length = 0;
	size_t used = 1;

	frame->size = 0;
	if (stream.len < 2)
		return GW_MQTT_MORE;
	for (unsigned shift = 0;; shift += 7) {
		if (used == stream.len)
			return GW_MQTT_MORE;
		if (shift == 28)
			return GW_MQTT_BROKEN;
		length |= (uint32_t)(stream.at[used] & 0x7F) << shift;
		if ((stream.at[used++] & 0x80) == 0)
			break;
	}
	if (used > 2 && stream.at[used - 1] == 0)
		return GW_MQTT_BROKEN;
	frame->size = used + length;
	frame->type = stream.at[0] >> 4;
	frame->flags = stream.at[0] & 0x0F;
	frame->body = gw_span(stream.at + used, length);
	if (frame->size > max)
		return GW_MQTT_OVERSIZE;
	return frame->size <= stream.len ? GW_MQTT_WHOLE : GW_MQTT_MORE;
}
