// SPDX-License-Identifier: Apache-2.0
// A session: what outlives a connection (MQTT 5 section 4.1). Belongs to (principal, client identifier) and to at most one connection at a time; that
// connection's thread alone touches the state below. Pure: no I/O; allocation only when a session grows.
#ifndef GW_MQTT_SESSION_H
#define GW_MQTT_SESSION_H

#include "gateway/error.h"
#include "gateway/span.h"

#include <stdbool.h>
#include <stdint.h>

// QoS 2 identifiers of the client: taken but not yet committed, committed (PUBREC sent), PUBREL under way.
enum gw_mqtt_held { GW_MQTT_HELD_NOT, GW_MQTT_HELD_PENDING, GW_MQTT_HELD_COMMITTED, GW_MQTT_HELD_RELEASING };

struct gw_mqtt_qos2 {
	uint64_t hash; // of what it was used for; 0: not known
	uint16_t id;
	uint8_t state; // enum gw_mqtt_held
	bool old;      // of an earlier connection: it does not count against this one's receive maximum (section 4.9)
};

// The QoS 1 message for which an identifier was used last, committed and acknowledged: that identifier with the same content and DUP is the same
// message. Of identifiers that share a slot the last one counts: clients that count upwards have as many as
// there are slots.
struct gw_mqtt_recent {
	uint64_t hash;
	uint16_t id;
};

struct gw_mqtt_subscription {
	uint8_t options;
	struct gw_span filter; // owned
};

#define GW_MQTT_SESSION_KEY 32 // hex digits

struct gw_mqtt_session {
	// The table's (sessions.c).
	struct gw_mqtt_session *next, *same_next; // slot of its name; lasting ones in the slot of their principal
	uint64_t hash;
	void *owner;                 // its connection
	bool wanted;                 // another connection waits for it
	bool stored;                 // a row for it is in the journal, or on its way
	int64_t ended_us;            // wall clock when its last connection ended; 0 while it has one

	char key[GW_MQTT_SESSION_KEY + 1]; // of its rows
	struct gw_span principal, client_id; // owned, terminated
	_Atomic uint32_t expiry_s;   // after its connection; UINT32_MAX: never. The table looks at it while its connection may change it
	bool durable;                // outlives its connection, so what it holds commits
	bool purge;                  // rows of a former session of this name are to be deleted before anything is put

	struct gw_mqtt_qos2 *qos2;
	uint16_t qos2_count, qos2_cap, qos2_old;
	struct gw_mqtt_recent *recent; // by identifier, NULL until needed
	uint16_t recent_slots;
	struct gw_mqtt_subscription *subscriptions;
	uint16_t subscription_count;
};

// Copies both names. NULL: out of memory.
struct gw_mqtt_session *gw_mqtt_session_new(struct gw_span principal, struct gw_span client_id);
void gw_mqtt_session_free(struct gw_mqtt_session *session);
// Forgets what clean start forgets.
void gw_mqtt_session_clear(struct gw_mqtt_session *session);

// A new connection has it: what is held by now is of an earlier one.
void gw_mqtt_session_begin(struct gw_mqtt_session *session);

enum gw_mqtt_held gw_mqtt_session_held(const struct gw_mqtt_session *session, uint16_t id);
// NOT removes it. GW_E_MEMORY.
enum gw_error gw_mqtt_session_hold(struct gw_mqtt_session *session, uint16_t id, enum gw_mqtt_held state);
// What an identifier that is held was used for. A device that lost its state (a reboot) begins to count anew while we still hold identifiers: what
// comes under one of them with other content is no redelivery, and dropping it would lose it.
uint64_t gw_mqtt_session_held_hash(const struct gw_mqtt_session *session, uint16_t id);
void gw_mqtt_session_set_hash(struct gw_mqtt_session *session, uint16_t id, uint64_t hash);

bool gw_mqtt_session_knows(const struct gw_mqtt_session *session, uint16_t id, uint64_t hash);
// slots: how many to have, if there are none yet.
void gw_mqtt_session_remember(struct gw_mqtt_session *session, uint16_t id, uint64_t hash, uint16_t slots);
// Of topic and payload; never 0. Stored with QoS 2 identifiers: another function would take redeliveries after an upgrade for new.
uint64_t gw_mqtt_content_hash(struct gw_span topic, struct gw_span payload);

// Replaces the options where it exists. GW_E_QUOTA beyond max, GW_E_MEMORY.
enum gw_error gw_mqtt_session_subscribe(struct gw_mqtt_session *session, struct gw_span filter, uint8_t options, unsigned max);
// Whether there was one.
bool gw_mqtt_session_unsubscribe(struct gw_mqtt_session *session, struct gw_span filter);

// The session as a row's value, and back. Version 1: u8 version, u32 expiry, i64 ended, u16 length and principal, u16 length and client identifier,
// u16 count, then per subscription u8 options, u16 length and filter; little-endian. encode returns the bytes it needs, writes if cap suffices.
size_t gw_mqtt_session_encode(const struct gw_mqtt_session *session, uint8_t *out, size_t cap);
// NULL where the row is damaged or of a newer version, or out of memory.
struct gw_mqtt_session *gw_mqtt_session_decode(struct gw_span row);

#endif
