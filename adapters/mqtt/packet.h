// SPDX-License-Identifier: Apache-2.0
// MQTT control packets, 3.1.1 (OASIS 2014) and 5.0 (OASIS 2019): bytes to structs and back. Pure: no I/O, no allocation, no clock; any thread.
// Spans point into the packet. What is wrong with a packet is a reason code of MQTT 5 section 2.4, also for 3.1.1 clients (who are not told).
#ifndef GW_MQTT_PACKET_H
#define GW_MQTT_PACKET_H

#include "gateway/span.h"

#include <stdbool.h>
#include <stdint.h>

enum gw_mqtt_type {
	GW_MQTT_CONNECT = 1, GW_MQTT_CONNACK, GW_MQTT_PUBLISH, GW_MQTT_PUBACK, GW_MQTT_PUBREC, GW_MQTT_PUBREL, GW_MQTT_PUBCOMP,
	GW_MQTT_SUBSCRIBE, GW_MQTT_SUBACK, GW_MQTT_UNSUBSCRIBE, GW_MQTT_UNSUBACK, GW_MQTT_PINGREQ, GW_MQTT_PINGRESP,
	GW_MQTT_DISCONNECT, GW_MQTT_AUTH,
};

// Reason codes (MQTT 5, table 2-6).
enum gw_mqtt_reason {
	GW_MQTT_SUCCESS = 0x00,
	GW_MQTT_WITH_WILL = 0x04,
	GW_MQTT_NO_SUBSCRIPTION = 0x11,
	GW_MQTT_UNSPECIFIED = 0x80,
	GW_MQTT_MALFORMED = 0x81,
	GW_MQTT_PROTOCOL_ERROR = 0x82,
	GW_MQTT_VERSION = 0x84,
	GW_MQTT_CLIENT_ID = 0x85,
	GW_MQTT_BAD_CREDENTIALS = 0x86,
	GW_MQTT_NOT_AUTHORIZED = 0x87,
	GW_MQTT_UNAVAILABLE = 0x88,
	GW_MQTT_BUSY = 0x89,
	GW_MQTT_SHUTTING_DOWN = 0x8B,
	GW_MQTT_BAD_METHOD = 0x8C,
	GW_MQTT_KEEP_ALIVE = 0x8D,
	GW_MQTT_TAKEN_OVER = 0x8E,
	GW_MQTT_TOPIC_FILTER = 0x8F,
	GW_MQTT_TOPIC_NAME = 0x90,
	GW_MQTT_ID_IN_USE = 0x91,
	GW_MQTT_ID_NOT_FOUND = 0x92,
	GW_MQTT_RECEIVE_MAXIMUM = 0x93,
	GW_MQTT_ALIAS_INVALID = 0x94,
	GW_MQTT_TOO_LARGE = 0x95,
	GW_MQTT_QUOTA = 0x97,
	GW_MQTT_ADMINISTRATIVE = 0x98,
	GW_MQTT_PAYLOAD_FORMAT = 0x99,
	GW_MQTT_SHARED = 0x9E,
	GW_MQTT_SUBSCRIPTION_ID = 0xA1,
};

#define GW_MQTT_CLIENT_ID_MAX 256

// ---- Reading: a cursor that keeps its first error; reads past the end give zeros. ----

struct gw_mqtt_cursor {
	const uint8_t *at, *end;
	uint8_t bad; // reason code, 0 while all is well
};

static inline size_t
gw_mqtt_left(const struct gw_mqtt_cursor *c)
{
	return (size_t)(c->end - c->at);
}

void gw_mqtt_bad(struct gw_mqtt_cursor *c, uint8_t reason);
uint8_t gw_mqtt_u8(struct gw_mqtt_cursor *c);
uint16_t gw_mqtt_u16(struct gw_mqtt_cursor *c);
uint32_t gw_mqtt_u32(struct gw_mqtt_cursor *c);
uint32_t gw_mqtt_varint(struct gw_mqtt_cursor *c);
struct gw_span gw_mqtt_binary(struct gw_mqtt_cursor *c);
// Checked: well-formed UTF-8 without U+0000 (section 1.5.4).
struct gw_span gw_mqtt_text(struct gw_mqtt_cursor *c);
bool gw_mqtt_utf8(struct gw_span text);

// A packet in a stream: its first byte and its body.
struct gw_mqtt_frame {
	uint8_t type, flags;
	struct gw_span body;
	size_t size; // of the whole packet
};
enum gw_mqtt_framing { GW_MQTT_WHOLE, GW_MQTT_MORE, GW_MQTT_BROKEN, GW_MQTT_OVERSIZE };
// max: largest whole packet. MORE: incomplete, frame->size tells the need where it is known already, else 0.
enum gw_mqtt_framing gw_mqtt_frame(struct gw_span stream, size_t max, struct gw_mqtt_frame *frame);

// ---- Properties of MQTT 5 (section 2.2.2). What was absent has its default. ----

struct gw_mqtt_properties {
	uint64_t seen; // bit n: property n was there
	uint32_t message_expiry_s, session_expiry_s, will_delay_s, packet_bytes_max, subscription_id;
	uint16_t receive_maximum, alias_max, alias;
	uint8_t payload_utf8, problem_info, response_info;
	struct gw_span content_type, response_topic, correlation, method, auth_data, reason;
};
// Where a property may stand.
enum gw_mqtt_place {
	GW_MQTT_IN_CONNECT = 1, GW_MQTT_IN_WILL = 2, GW_MQTT_IN_PUBLISH = 4, GW_MQTT_IN_ACK = 8, GW_MQTT_IN_SUBSCRIBE = 16,
	GW_MQTT_IN_UNSUBSCRIBE = 32, GW_MQTT_IN_DISCONNECT = 64, GW_MQTT_IN_AUTH = 128,
};
void gw_mqtt_properties(struct gw_mqtt_cursor *c, enum gw_mqtt_place place, struct gw_mqtt_properties *p);

// ---- Packets from clients ----

struct gw_mqtt_connect {
	uint8_t version; // 3, 4 or 5: what the client asked for; 0: none that is known
	bool clean, has_will, has_user, has_password;
	uint8_t will_qos;
	bool will_retain;
	uint16_t keep_alive_s;
	struct gw_span client_id, will_topic, will_payload, user, password;
	struct gw_mqtt_properties properties, will;
};
// 0, or the reason to refuse it; version is set as far as it was read.
uint8_t gw_mqtt_read_connect(struct gw_span body, struct gw_mqtt_connect *out);

struct gw_mqtt_publish {
	uint8_t qos;
	bool dup, retain;
	uint16_t id; // 0 for QoS 0
	struct gw_span topic, payload;
	struct gw_mqtt_properties properties;
};
uint8_t gw_mqtt_read_publish(uint8_t version, uint8_t flags, struct gw_span body, struct gw_mqtt_publish *out);

// PUBACK, PUBREC, PUBREL, PUBCOMP.
uint8_t gw_mqtt_read_ack(uint8_t version, struct gw_span body, uint16_t *id, uint8_t *reason);

// SUBSCRIBE and UNSUBSCRIBE: head first, then one filter after the other until none is left.
struct gw_mqtt_filter {
	struct gw_span topic;
	uint8_t options; // bits of section 3.8.3.1; 0 in UNSUBSCRIBE
};
uint8_t gw_mqtt_read_filters(uint8_t version, bool subscribe, struct gw_span body, uint16_t *id, struct gw_mqtt_properties *p, struct gw_mqtt_cursor *filters);
bool gw_mqtt_next_filter(struct gw_mqtt_cursor *filters, uint8_t version, bool subscribe, struct gw_mqtt_filter *out);

uint8_t gw_mqtt_read_disconnect(uint8_t version, struct gw_span body, uint8_t *reason, struct gw_mqtt_properties *p);

// ---- Packets to clients: bytes written to out; 0 where cap does not suffice. ----

struct gw_mqtt_connack {
	bool session_present;
	uint8_t reason;              // MQTT 5 code; 3.1.1 gets the return code that fits
	uint16_t receive_maximum, alias_max;
	uint32_t packet_bytes_max;
	bool tell_session_expiry, tell_keep_alive;
	uint32_t session_expiry_s;
	uint16_t keep_alive_s;
	struct gw_span assigned_id;  // empty: the client chose
	struct gw_span why;          // reason string; empty: none
};
size_t gw_mqtt_write_connack(uint8_t version, const struct gw_mqtt_connack *a, uint8_t *out, size_t cap);
// CONNACK return code of 3.1.1 (table 3.1) for a reason code.
uint8_t gw_mqtt_return_code(uint8_t reason);

// PUBACK, PUBREC, PUBREL, PUBCOMP. 3.1.1 has neither reason nor why.
size_t gw_mqtt_write_ack(uint8_t version, enum gw_mqtt_type type, uint16_t id, uint8_t reason, struct gw_span why, uint8_t *out, size_t cap);
// SUBACK, UNSUBACK (3.1.1's UNSUBACK has no codes).
size_t gw_mqtt_write_codes(uint8_t version, enum gw_mqtt_type type, uint16_t id, const uint8_t *codes, size_t count, uint8_t *out, size_t cap);
// MQTT 5 only.
size_t gw_mqtt_write_disconnect(uint8_t reason, struct gw_span why, uint8_t *out, size_t cap);

#endif
