// SPDX-License-Identifier: Apache-2.0
// Packets from clients: one function per packet type (MQTT 3.1.1 and 5.0 chapter 3). Pure.
#include "adapters/mqtt/packet.h"

static struct gw_mqtt_cursor
cursor_of(struct gw_span body)
{
	return (struct gw_mqtt_cursor){ body.at, body.at + body.len, 0 };
}

// Defaults of a packet that has no properties at all.
static void
no_properties(struct gw_mqtt_properties *p)
{
	memset(p, 0, sizeof(*p));
	p->problem_info = 1;
	p->receive_maximum = UINT16_MAX;
	p->packet_bytes_max = UINT32_MAX;
}

static bool
has_wildcard(struct gw_span topic)
{
	return memchr(topic.at, '+', topic.len) != NULL || memchr(topic.at, '#', topic.len) != NULL;
}

// ---- CONNECT, section 3.1 ----

enum { RESERVED = 0x01, CLEAN = 0x02, WILL = 0x04, WILL_QOS = 0x18, WILL_RETAIN = 0x20, PASSWORD = 0x40, USER = 0x80 };

static void
read_version(struct gw_mqtt_cursor *c, struct gw_mqtt_connect *out)
{
	struct gw_span name = gw_mqtt_text(c);
	uint8_t level = gw_mqtt_u8(c);

	if (c->bad != 0)
		return;
	if (gw_span_is(name, "MQTT") && (level == 4 || level == 5))
		out->version = level;
	else if (gw_span_is(name, "MQIsdp") && level == 3)
		out->version = 3; // MQTT 3.1: known, not spoken
	if (out->version < 4)
		gw_mqtt_bad(c, GW_MQTT_VERSION);
}

static void
read_connect_flags(struct gw_mqtt_cursor *c, struct gw_mqtt_connect *out)
{
	uint8_t flags = gw_mqtt_u8(c);

	out->clean = (flags & CLEAN) != 0;
	out->has_will = (flags & WILL) != 0;
	out->will_qos = (flags & WILL_QOS) >> 3;
	out->will_retain = (flags & WILL_RETAIN) != 0;
	out->has_user = (flags & USER) != 0;
	out->has_password = (flags & PASSWORD) != 0;
	if ((flags & RESERVED) != 0 || out->will_qos == 3)
		gw_mqtt_bad(c, GW_MQTT_MALFORMED);
	if (!out->has_will && (flags & (WILL_QOS | WILL_RETAIN)) != 0)
		gw_mqtt_bad(c, GW_MQTT_MALFORMED);
	if (out->version == 4 && out->has_password && !out->has_user) // [MQTT-3.1.2-22]; allowed in 5.0
		gw_mqtt_bad(c, GW_MQTT_MALFORMED);
}

static void
read_will(struct gw_mqtt_cursor *c, struct gw_mqtt_connect *out)
{
	if (out->version == 5)
		gw_mqtt_properties(c, GW_MQTT_IN_WILL, &out->will);
	out->will_topic = gw_mqtt_text(c);
	out->will_payload = gw_mqtt_binary(c);
	if (c->bad == 0 && (out->will_topic.len == 0 || has_wildcard(out->will_topic)))
		gw_mqtt_bad(c, GW_MQTT_TOPIC_NAME);
}

uint8_t
gw_mqtt_read_connect(struct gw_span body, struct gw_mqtt_connect *out)
{
	struct gw_mqtt_cursor c = cursor_of(body);

	memset(out, 0, sizeof(*out));
	no_properties(&out->properties);
	no_properties(&out->will);
	read_version(&c, out);
	if (c.bad != 0)
		return c.bad;
	read_connect_flags(&c, out);
	out->keep_alive_s = gw_mqtt_u16(&c);
	if (out->version == 5)
		gw_mqtt_properties(&c, GW_MQTT_IN_CONNECT, &out->properties);
	out->client_id = gw_mqtt_text(&c);
	if (out->has_will)
		read_will(&c, out);
	if (out->has_user)
		out->user = gw_mqtt_text(&c);
	if (out->has_password)
		out->password = gw_mqtt_binary(&c);
	if (c.bad == 0 && c.at != c.end)
		gw_mqtt_bad(&c, GW_MQTT_MALFORMED);
	if (c.bad == 0 && out->properties.auth_data.at != NULL && out->properties.method.at == NULL)
		gw_mqtt_bad(&c, GW_MQTT_PROTOCOL_ERROR); // section 3.1.2.11.10
	return c.bad;
}

// ---- PUBLISH, section 3.3 ----

uint8_t
gw_mqtt_read_publish(uint8_t version, uint8_t flags, struct gw_span body, struct gw_mqtt_publish *out)
{
	struct gw_mqtt_cursor c = cursor_of(body);

	out->qos = flags >> 1 & 3;
	out->dup = (flags & 8) != 0;
	out->retain = (flags & 1) != 0;
	if (out->qos == 3 || (out->dup && out->qos == 0))
		return GW_MQTT_MALFORMED;
	out->topic = gw_mqtt_text(&c);
	out->id = out->qos > 0 ? gw_mqtt_u16(&c) : 0;
	if (version == 5)
		gw_mqtt_properties(&c, GW_MQTT_IN_PUBLISH, &out->properties);
	else
		no_properties(&out->properties);
	if (c.bad != 0)
		return c.bad;
	out->payload = gw_span(c.at, gw_mqtt_left(&c));
	if (out->qos > 0 && out->id == 0)
		return GW_MQTT_PROTOCOL_ERROR;
	if (has_wildcard(out->topic))
		return GW_MQTT_TOPIC_NAME;
	if (out->properties.response_topic.at != NULL && has_wildcard(out->properties.response_topic))
		return GW_MQTT_PROTOCOL_ERROR;
	if (out->topic.len == 0 && out->properties.alias == 0)
		return version == 5 ? GW_MQTT_PROTOCOL_ERROR : GW_MQTT_MALFORMED;
	return 0;
}

// ---- PUBACK, PUBREC, PUBREL, PUBCOMP, sections 3.4 to 3.7 ----

uint8_t
gw_mqtt_read_ack(uint8_t version, struct gw_span body, uint16_t *id, uint8_t *reason)
{
	struct gw_mqtt_cursor c = cursor_of(body);
	struct gw_mqtt_properties p;

	*id = gw_mqtt_u16(&c);
	*reason = GW_MQTT_SUCCESS;
	if (version == 5 && c.at != c.end)
		*reason = gw_mqtt_u8(&c);
	if (version == 5 && c.at != c.end)
		gw_mqtt_properties(&c, GW_MQTT_IN_ACK, &p);
	if (c.bad == 0 && c.at != c.end)
		return GW_MQTT_MALFORMED;
	if (c.bad == 0 && *id == 0)
		return GW_MQTT_PROTOCOL_ERROR;
	return c.bad;
}

// ---- SUBSCRIBE and UNSUBSCRIBE, sections 3.8 and 3.10 ----

uint8_t
gw_mqtt_read_filters(uint8_t version, bool subscribe, struct gw_span body, uint16_t *id, struct gw_mqtt_properties *p, struct gw_mqtt_cursor *filters)
{
	struct gw_mqtt_cursor c = cursor_of(body);

	*id = gw_mqtt_u16(&c);
	if (version == 5)
		gw_mqtt_properties(&c, subscribe ? GW_MQTT_IN_SUBSCRIBE : GW_MQTT_IN_UNSUBSCRIBE, p);
	else
		no_properties(p);
	*filters = c;
	if (c.bad == 0 && (*id == 0 || c.at == c.end))
		return GW_MQTT_PROTOCOL_ERROR;
	return c.bad;
}

// Bits that have no meaning must be 0; QoS 3 and retain handling 3 do not exist.
static bool
options_are_valid(uint8_t version, uint8_t options)
{
	if ((options & 3) == 3)
		return false;
	if (version == 5)
		return (options & 0xC0) == 0 && (options & 0x30) != 0x30;
	return (options & 0xFC) == 0;
}

// Section 4.7: '#' only last and a level of its own, '+' a level of its own.
static bool
filter_is_valid(struct gw_span topic)
{
	for (size_t i = 0; i < topic.len; i++) {
		bool begins = i == 0 || topic.at[i - 1] == '/', ends = i + 1 == topic.len || topic.at[i + 1] == '/';

		if (topic.at[i] == '+' && !(begins && ends))
			return false;
		if (topic.at[i] == '#' && !(begins && i + 1 == topic.len))
			return false;
	}
	return topic.len > 0;
}

bool
gw_mqtt_next_filter(struct gw_mqtt_cursor *filters, uint8_t version, bool subscribe, struct gw_mqtt_filter *out)
{
	if (filters->bad != 0 || filters->at == filters->end)
		return false;
	out->topic = gw_mqtt_text(filters);
	out->options = subscribe ? gw_mqtt_u8(filters) : 0;
	if (filters->bad == 0 && (!options_are_valid(version, out->options) || !filter_is_valid(out->topic)))
		gw_mqtt_bad(filters, GW_MQTT_MALFORMED);
	return filters->bad == 0;
}

// ---- DISCONNECT, section 3.14 ----

uint8_t
gw_mqtt_read_disconnect(uint8_t version, struct gw_span body, uint8_t *reason, struct gw_mqtt_properties *p)
{
	struct gw_mqtt_cursor c = cursor_of(body);

	*reason = GW_MQTT_SUCCESS;
	no_properties(p);
	if (version == 5 && c.at != c.end)
		*reason = gw_mqtt_u8(&c);
	if (version == 5 && c.at != c.end)
		gw_mqtt_properties(&c, GW_MQTT_IN_DISCONNECT, p);
	if (c.bad == 0 && c.at != c.end)
		return GW_MQTT_MALFORMED;
	return c.bad;
}
