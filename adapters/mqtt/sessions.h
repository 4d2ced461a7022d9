// SPDX-License-Identifier: Apache-2.0
// The table of sessions of all threads, their rows in the journal, and wills that wait. One lock, taken when a connection begins or ends, never
// for a message. A session has one owner at a time; it is handed from one connection to the next only when nothing of the first is under way.
//
// Rows: "mqtt/session/<key>" holds gw_mqtt_session_encode(); "mqtt/qos2/<key>/<id in 5 digits>" is an identifier for which PUBREC was or may have been
// sent: u8 1, or u8 2 and u64 gw_mqtt_content_hash() of what it was used for, little-endian. <key>: BLAKE2b-128 of principal, 0, client identifier, in hex.
#ifndef GW_MQTT_SESSIONS_H
#define GW_MQTT_SESSIONS_H

#include "adapters/mqtt/session.h"
#include "gateway/intake.h"
#include "gateway/journal.h"

struct gw_mqtt_sessions;

// What a will becomes: a device event. Owned by whoever holds it.
struct gw_mqtt_will {
	struct gw_mqtt_will *next;
	struct gw_mqtt_session *session; // of the connection that left it; only compared
	int64_t due_us;                  // monotonic
	uint32_t delay_s;
	uint8_t auth;
	char principal[GW_ID_MAX + 1];
	uint16_t topic_len;
	uint32_t payload_len;
	uint8_t bytes[];                 // topic, payload
};

struct gw_mqtt_sessions_options {
	uint32_t sessions_max;        // that outlive their connection
	// Of one principal: when there is one more, the one that ended longest ago is thrown away (firmware that makes up a client identifier at
	// each start must not lock itself or others out).
	uint32_t sessions_of_one;
	uint32_t connections_of_one;  // of one principal
	uint32_t session_expiry_s_max;
	int wake_fd;                  // eventfd, written when a session that is wanted is free, or a will was left
};

// Reads the rows.
enum gw_error gw_mqtt_sessions_open(const struct gw_mqtt_sessions_options *options, struct gw_journal *journal, struct gw_mqtt_sessions **sessions, struct gw_why *why);
void gw_mqtt_sessions_close(struct gw_mqtt_sessions *sessions);

// What a CONNECT asks of the table.
struct gw_mqtt_claim {
	struct gw_span principal, client_id;
	bool clean;
	uint32_t expiry_s;   // 0: ends with its connection
	void *owner;
	bool present;        // out: the session was there and goes on
	bool crowded;        // out: why GW_E_QUOTA: connections_of_one have one already
};
// GW_OK: *session is owner's. GW_E_BUSY: another connection has it: take_over was called for it (under the lock), ask again when woken.
// GW_E_QUOTA: too many lasting sessions, or connections of that principal; GW_E_MEMORY.
enum gw_error gw_mqtt_sessions_claim(struct gw_mqtt_sessions *sessions, struct gw_mqtt_claim *claim, void (*take_over)(void *owner),
    struct gw_mqtt_session **session);
// The connection is over and nothing of it is under way. The session goes on or is gone: do not touch it any more. will: NULL or what is left to be
// made an event (owned by the table now). Its row, if it has one, was brought up to date before.
void gw_mqtt_sessions_release(struct gw_mqtt_sessions *sessions, struct gw_mqtt_session *session, struct gw_mqtt_will *will);
// A will without a session that could wait, or any: due at will->due_us.
void gw_mqtt_sessions_leave_will(struct gw_mqtt_sessions *sessions, struct gw_mqtt_will *will);

// Wills that are due, a list; free each. The door's thread, at least once a second.
struct gw_mqtt_will *gw_mqtt_sessions_wills(struct gw_mqtt_sessions *sessions, int64_t now_us);
// Puts the deletion of up to `most` expired sessions' rows on the ticket; returns how many.
unsigned gw_mqtt_sessions_expire(struct gw_mqtt_sessions *sessions, int64_t wall_us, struct gw_ticket *ticket, unsigned most);

uint32_t gw_mqtt_sessions_count(struct gw_mqtt_sessions *sessions);

// Operations for rows, on the owner's thread.
enum gw_error gw_mqtt_session_put(struct gw_ticket *ticket, const struct gw_mqtt_session *session);
enum gw_error gw_mqtt_session_drop(struct gw_ticket *ticket, const struct gw_mqtt_session *session); // its row and its identifiers'
enum gw_error gw_mqtt_session_drop_ids(struct gw_ticket *ticket, const struct gw_mqtt_session *session);
enum gw_error gw_mqtt_session_put_id(struct gw_ticket *ticket, const struct gw_mqtt_session *session, uint16_t id);
enum gw_error gw_mqtt_session_drop_id(struct gw_ticket *ticket, const struct gw_mqtt_session *session, uint16_t id);

#endif
