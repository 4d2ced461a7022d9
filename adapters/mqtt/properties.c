// SPDX-License-Identifier: Apache-2.0
// Properties of MQTT 5, section 2.2.2: one table says how each is written, where it may stand and where its value goes. Pure.
#include "adapters/mqtt/packet.h"

enum wire { NONE, BYTE, TWO, FOUR, VARINT, TEXT, BINARY, PAIR };

struct row {
	uint8_t wire;
	uint8_t places;
	bool repeats;
	uint8_t zero; // reason code where 0 is not allowed
	uint16_t to;  // offset of the field; UINT16_MAX: read and left
};

#define TO(field) offsetof(struct gw_mqtt_properties, field)
#define NOWHERE UINT16_MAX
#define ALL_PLACES 0xFF

static const struct row rows[0x2B] = {
	[0x01] = { BYTE, GW_MQTT_IN_PUBLISH | GW_MQTT_IN_WILL, false, 0, TO(payload_utf8) },
	[0x02] = { FOUR, GW_MQTT_IN_PUBLISH | GW_MQTT_IN_WILL, false, 0, TO(message_expiry_s) },
	[0x03] = { TEXT, GW_MQTT_IN_PUBLISH | GW_MQTT_IN_WILL, false, 0, TO(content_type) },
	[0x08] = { TEXT, GW_MQTT_IN_PUBLISH | GW_MQTT_IN_WILL, false, 0, TO(response_topic) },
	[0x09] = { BINARY, GW_MQTT_IN_PUBLISH | GW_MQTT_IN_WILL, false, 0, TO(correlation) },
	// Clients may send it in SUBSCRIBE only (section 3.3.4).
	[0x0B] = { VARINT, GW_MQTT_IN_SUBSCRIBE, false, GW_MQTT_PROTOCOL_ERROR, TO(subscription_id) },
	[0x11] = { FOUR, GW_MQTT_IN_CONNECT | GW_MQTT_IN_DISCONNECT, false, 0, TO(session_expiry_s) },
	[0x15] = { TEXT, GW_MQTT_IN_CONNECT | GW_MQTT_IN_AUTH, false, 0, TO(method) },
	[0x16] = { BINARY, GW_MQTT_IN_CONNECT | GW_MQTT_IN_AUTH, false, 0, TO(auth_data) },
	[0x17] = { BYTE, GW_MQTT_IN_CONNECT, false, 0, TO(problem_info) },
	[0x18] = { FOUR, GW_MQTT_IN_WILL, false, 0, TO(will_delay_s) },
	[0x19] = { BYTE, GW_MQTT_IN_CONNECT, false, 0, TO(response_info) },
	[0x1F] = { TEXT, GW_MQTT_IN_ACK | GW_MQTT_IN_DISCONNECT | GW_MQTT_IN_AUTH, false, 0, TO(reason) },
	[0x21] = { TWO, GW_MQTT_IN_CONNECT, false, GW_MQTT_PROTOCOL_ERROR, TO(receive_maximum) },
	[0x22] = { TWO, GW_MQTT_IN_CONNECT, false, 0, TO(alias_max) },
	[0x23] = { TWO, GW_MQTT_IN_PUBLISH, false, GW_MQTT_ALIAS_INVALID, TO(alias) },
	[0x26] = { PAIR, ALL_PLACES, true, 0, NOWHERE },
	[0x27] = { FOUR, GW_MQTT_IN_CONNECT, false, GW_MQTT_PROTOCOL_ERROR, TO(packet_bytes_max) },
};

static void
store_number(struct gw_mqtt_cursor *c, const struct row *row, uint32_t value, struct gw_mqtt_properties *p)
{
	uint8_t *to = (uint8_t *)p + row->to;

	if (value == 0 && row->zero != 0)
		gw_mqtt_bad(c, row->zero);
	else if (row->wire == BYTE && value > 1) // every byte that a client may send is a yes or no
		gw_mqtt_bad(c, GW_MQTT_PROTOCOL_ERROR);
	else if (row->wire == BYTE)
		*to = (uint8_t)value;
	else if (row->wire == TWO)
		memcpy(to, &(uint16_t){ (uint16_t)value }, 2);
	else
		memcpy(to, &value, 4);
}

static void
read_value(struct gw_mqtt_cursor *c, const struct row *row, struct gw_mqtt_properties *p)
{
	struct gw_span span;

	switch (row->wire) {
	case BYTE: store_number(c, row, gw_mqtt_u8(c), p); return;
	case TWO: store_number(c, row, gw_mqtt_u16(c), p); return;
	case FOUR: store_number(c, row, gw_mqtt_u32(c), p); return;
	case VARINT: store_number(c, row, gw_mqtt_varint(c), p); return;
	case PAIR:
		(void)gw_mqtt_text(c);
		(void)gw_mqtt_text(c);
		return;
	default:
		span = row->wire == TEXT ? gw_mqtt_text(c) : gw_mqtt_binary(c);
		memcpy((uint8_t *)p + row->to, &span, sizeof(span));
		return;
	}
}

static void
read_property(struct gw_mqtt_cursor *c, enum gw_mqtt_place place, struct gw_mqtt_properties *p)
{
	uint32_t id = gw_mqtt_varint(c);
	const struct row *row;

	if (c->bad != 0)
		return;
	if (id >= sizeof(rows) / sizeof(rows[0]) || rows[id].wire == NONE) {
		gw_mqtt_bad(c, GW_MQTT_MALFORMED);
		return;
	}
	row = &rows[id];
	if ((row->places & place) == 0 || (!row->repeats && (p->seen >> id & 1) != 0)) {
		gw_mqtt_bad(c, GW_MQTT_PROTOCOL_ERROR);
		return;
	}
	p->seen |= UINT64_C(1) << id;
	read_value(c, row, p);
}

void
gw_mqtt_properties(struct gw_mqtt_cursor *c, enum gw_mqtt_place place, struct gw_mqtt_properties *p)
{
	struct gw_mqtt_cursor inner;
	uint32_t len;

	memset(p, 0, sizeof(*p));
	p->problem_info = 1;
	p->receive_maximum = UINT16_MAX;
	p->packet_bytes_max = UINT32_MAX;
	len = gw_mqtt_varint(c);
	if (len > gw_mqtt_left(c))
		gw_mqtt_bad(c, GW_MQTT_MALFORMED);
	if (len == 0 || c->bad != 0)
		return;
	inner = (struct gw_mqtt_cursor){ c->at, c->at + len, 0 };
	while (inner.at < inner.end)
		read_property(&inner, place, p);
	c->at += len;
	if (inner.bad != 0)
		gw_mqtt_bad(c, inner.bad);
}
