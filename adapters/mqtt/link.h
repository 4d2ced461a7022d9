// SPDX-License-Identifier: Apache-2.0
// The protocol of one admitted connection, without I/O: packets in, effects out through a host (the serving thread, a test, a fuzzer).
// Belongs to one thread at a time. After CONNECT; that is connect.h's.
//
// Promises: PUBACK, PUBREC and PUBCOMP are written only by gw_mqtt_link_done(), that is after the host's commit, or for what had been committed
// before; in the order in which the packets came, provided that the host calls it in the order of submission.
#ifndef GW_MQTT_LINK_H
#define GW_MQTT_LINK_H

#include "adapters/mqtt/packet.h"
#include "adapters/mqtt/session.h"
#include "gateway/error.h"

struct gw_mqtt_limits {
	uint32_t packet_bytes_max;
	uint16_t receive_maximum, alias_max, subscriptions_max;
	uint16_t filters_max;         // of one SUBSCRIBE or UNSUBSCRIBE
	uint16_t alias_bytes_max;     // of one topic behind an alias
	uint16_t qos2_max;            // identifiers held for a 3.1.1 client, which knows no receive maximum
	uint16_t keep_alive_s_max;
	uint32_t session_expiry_s_max;
};

// What the host keeps with a request and gives back with its outcome.
enum gw_mqtt_pass_kind {
	GW_MQTT_PASS_MESSAGE, // a PUBLISH
	GW_MQTT_PASS_FENCE,   // nothing: an answer that has to wait for its turn
	GW_MQTT_PASS_RELEASE, // PUBREL: the identifier's row is to be deleted
	GW_MQTT_PASS_KEEP,    // the session's row is to be written
};
struct gw_mqtt_pass {
	uint8_t kind, qos;
	uint16_t id;
	uint64_t hash;
};

struct gw_mqtt_message {
	struct gw_span topic, payload;
	uint32_t content_format; // GW_CF_*
};

struct gw_mqtt_host {
	// Takes a request, for which gw_mqtt_link_done() will be called. message only for PASS_MESSAGE, borrowed for the call.
	// GW_E_BUSY: nothing was taken, no room now; the packet will be given again. Nothing else.
	enum gw_error (*submit)(void *arg, const struct gw_mqtt_pass *pass, const struct gw_mqtt_message *message);
	// Bytes to the client, in order.
	void (*write)(void *arg, const uint8_t *bytes, size_t len);
	// A topic filter that is not the device's own was refused. May be NULL.
	void (*foreign)(void *arg, struct gw_span filter);
};

struct gw_mqtt_alias {
	uint8_t *topic; // owned
	size_t len;
};

struct gw_mqtt_link {
	const struct gw_mqtt_host *host;
	void *arg;
	const struct gw_mqtt_limits *limits;
	struct gw_mqtt_session *session;
	uint8_t version;        // 4 or 5
	bool problem_info;      // the client wants reasons
	bool closed;            // nothing more is written
	bool graceful;          // the client said DISCONNECT: no will
	uint8_t reason;         // why it ended; GW_MQTT_SUCCESS where the client ended it
	uint32_t packet_bytes_max; // the client's
	uint32_t connect_expiry_s; // session expiry of CONNECT
	uint16_t under_way;     // requests with the host
	uint16_t quota_used;    // of them QoS 1 messages
	struct gw_mqtt_alias *aliases; // limits->alias_max of them, NULL until one is used
	uint8_t *codes;         // of the SUBACK or UNSUBACK that waits for its commit
	uint16_t codes_count;
	bool codes_subscribe;
};

void gw_mqtt_link_init(struct gw_mqtt_link *link, const struct gw_mqtt_host *host, void *arg, const struct gw_mqtt_limits *limits);
void gw_mqtt_link_fini(struct gw_mqtt_link *link);

enum gw_mqtt_step {
	GW_MQTT_NEXT,  // done with this packet
	GW_MQTT_AGAIN, // cannot be taken now: the same packet again after gw_mqtt_link_done() or when the host has room
	GW_MQTT_CLOSE, // the connection ends (link->reason, link->graceful)
};
enum gw_mqtt_step gw_mqtt_link_packet(struct gw_mqtt_link *link, const struct gw_mqtt_frame *frame);

// The outcome of a request: result of the commit, verdict on the frame, words for the client.
enum gw_mqtt_step gw_mqtt_link_done(struct gw_mqtt_link *link, const struct gw_mqtt_pass *pass, enum gw_error result, enum gw_error verdict,
    const struct gw_why *why);

// Ends it from our side: DISCONNECT with the reason to MQTT 5 clients. Always GW_MQTT_CLOSE.
enum gw_mqtt_step gw_mqtt_link_end(struct gw_mqtt_link *link, uint8_t reason, const char *why);

// Whether filter is one of this device's own downlink topics: "downlink/<device>/" and what follows.
bool gw_mqtt_own_downlink(struct gw_span filter, struct gw_span device);

// GW_CF_* of an MQTT 5 content type; GW_CF_NONE for none or one that is not known (the profile's format decides then).
uint32_t gw_mqtt_content_format(struct gw_span content_type);

#endif
