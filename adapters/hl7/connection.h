// SPDX-License-Identifier: Apache-2.0
// One MLLP connection as a client, over TCP or over TLS: connect, send a message, wait for an answer. Every wait, also that
// for the look-up of a host's name, has a deadline and ends at once when stop_fd becomes readable. The destination's thread.
#ifndef GW_HL7_CONNECTION_H
#define GW_HL7_CONNECTION_H

#include "adapters/hl7/mllp.h"
#include "adapters/tls/tls_client.h"
#include "gateway/error.h"

#include <stdatomic.h>

#define GW_HL7_ANSWER_MAX 65536 // bytes of an acknowledgement

struct gw_hl7_peer {
	const char *host;
	int port;
	bool tls;
	struct gw_tls_client_options files; // with tls: what it must prove, and what we show
};

struct gw_hl7_connection {
	int fd; // -1: none
	int stop_fd;
	const atomic_bool *hurry; // while true no wait takes longer than 2 s more; NULL: never
	struct gw_hl7_lookup *lookup; // of the host's name, under way; NULL: none
	struct gw_tls_link *tls; // NULL: plain
	struct gw_hl7_mllp mllp;
	uint8_t message[GW_HL7_ANSWER_MAX];
	uint8_t bytes[4096];
	struct gw_span rest; // of bytes: read and not yet looked at
	uint8_t *frame;      // TLS: a message with its framing, so that it goes in as few records as it can
	size_t frame_cap;
	char reason[192];    // why TLS ended the connection; empty where it did not
};

void gw_hl7_connection_init(struct gw_hl7_connection *connection, int stop_fd);
void gw_hl7_connection_close(struct gw_hl7_connection *connection);
void gw_hl7_connection_fini(struct gw_hl7_connection *connection);

// With the TLS handshake. GW_E_CLOSED or GW_E_CONFIG (a file) with words; GW_E_TIMEOUT; GW_E_STOPPING.
enum gw_error gw_hl7_connection_open(struct gw_hl7_connection *connection, const struct gw_hl7_peer *peer, int timeout_ms, struct gw_why *why);
// Framed. GW_E_CLOSED, GW_E_TIMEOUT, GW_E_MEMORY, GW_E_STOPPING: the connection should be closed.
enum gw_error gw_hl7_connection_send(struct gw_hl7_connection *connection, struct gw_span message, int timeout_ms);
// The same without MLLP's framing: the bytes as they are, for other protocols over the same kind of connection.
enum gw_error gw_hl7_connection_write(struct gw_hl7_connection *connection, struct gw_span bytes, int timeout_ms);
// The next message from the peer; valid until the next call. timeout_ms 0: only what is there already. As above, and GW_E_TOO_LARGE.
enum gw_error gw_hl7_connection_receive(struct gw_hl7_connection *connection, int timeout_ms, struct gw_span *message);

#endif
