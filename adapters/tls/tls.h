// SPDX-License-Identifier: Apache-2.0
// TLS 1.2 and 1.3 for every door that serves a stream (MQTT, HL7, HTTP): one shared server, one connection per socket, no waiting anywhere.
//
// Who the peer is comes from the handshake alone: a verified client certificate (its subject's common name or a DNS name of its SAN that the
// caller knows), or the PSK identity whose key it proved. A certificate that does not verify ends the handshake; so does an unknown PSK identity.
// Session tickets (RFC 5077, key rotated every half lifetime) resume certificate and anonymous sessions of TLS 1.2; the certificate
// travels inside the sealed ticket, so the identity of a resumed session is again the certificate's, checked again by the caller.
// TLS 1.3 and PSK get none: their tickets would not say who the peer was (and a PSK handshake is cheaper than a resumption).
//
// Memory per connection: 16.7 KB for input (a peer may send records of 16 KB), 4.4 KB for output, 1.5 KB (PSK, TLS 1.2) to 7 KB (certificate,
// TLS 1.3) of state. Resident per idle MQTT connection, all told: 16.6 KB and 21.5 KB, since an input buffer's pages are touched only by large records.
//
// Threads: a connection belongs to one thread at a time. Handshakes of one server run on one thread (TLS 1.3 in Mbed TLS uses PSA, whose
// functions other than key management are not tested for several; links of tls_client.h wait for each other and for these). Reading and writing may go on elsewhere afterwards.
#ifndef GW_TLS_H
#define GW_TLS_H

#include "gateway/error.h"
#include "gateway/record.h"
#include "gateway/span.h"

#include <stdbool.h>
#include <stdint.h>

#define GW_TLS_NAME_MAX 128
#define GW_TLS_PSK_MAX 64

struct gw_tls_options {
	const char *certificate, *key; // PEM files; both needed
	const char *ca;                // PEM file of authorities for client certificates; NULL or empty: none are asked for
	uint32_t ticket_s;             // life of session tickets; 0: none
	// Writes the key of a PSK identity and returns its length; 0: nobody's. NULL: no PSK. Called during handshakes.
	size_t (*psk)(void *arg, struct gw_span identity, uint8_t key[GW_TLS_PSK_MAX]);
	// Whether a name of a verified certificate is somebody's. The first that is becomes the identity. NULL: the common name is.
	bool (*subject)(void *arg, struct gw_span name);
	void *arg;
};

struct gw_tls_server;

// Reads the files, checks that key and certificate belong together. why says which file and what to do.
enum gw_error gw_tls_server_open(const struct gw_tls_options *options, struct gw_tls_server **server, struct gw_why *why);
// All connections must be gone. NULL does nothing.
void gw_tls_server_close(struct gw_tls_server *server);

// What the socket gave and TLS has not yet taken: one per thread, lent to a connection for its turn. A turn reads the socket once and
// goes on until WANT_READ: then nothing of it is left, and no connection starves another.
struct gw_tls_ahead {
	uint8_t *buf;
	size_t cap, at, end;
	bool dry; // the socket was read in this turn
};

enum gw_tls_step { GW_TLS_DONE, GW_TLS_WANT_READ, GW_TLS_WANT_WRITE, GW_TLS_CLOSED, GW_TLS_FAILED };

// Who the peer proved to be. NONE: it proved nothing (a door may then ask for a password); name is then the unknown PSK identity that it
// gave in TLS 1.3, or empty: for the record only. known is false for a certificate in which no name is anybody's: name is its common name then.
struct gw_tls_identity {
	enum gw_auth auth; // GW_AUTH_NONE, _CERTIFICATE, _PSK
	bool known;
	char name[GW_TLS_NAME_MAX + 1];
};

struct gw_tls_conn;

// fd stays the caller's (non-blocking). NULL: out of memory.
struct gw_tls_conn *gw_tls_conn_new(struct gw_tls_server *server, int fd);
void gw_tls_conn_free(struct gw_tls_conn *conn);

// Begins a turn: the connection reads the socket at most once, into ahead. At its end (before another connection's) call read until
// WANT_READ, CLOSED or FAILED.
void gw_tls_turn(struct gw_tls_conn *conn, struct gw_tls_ahead *ahead);

// DONE, WANT_*, CLOSED or FAILED (gw_tls_reason says why). Sends alerts itself.
enum gw_tls_step gw_tls_handshake(struct gw_tls_conn *conn);
// After DONE.
void gw_tls_identity(struct gw_tls_conn *conn, struct gw_tls_identity *identity);
// What went wrong, for diagnostics; for a PSK identity or certificate that was refused `name` is it, else empty. Valid as long as conn.
const char *gw_tls_reason(const struct gw_tls_conn *conn, struct gw_tls_identity *refused);
// Which credential was at fault, for the record: GW_REFUSED_NONE where none was (a scan, a cut line, no suite in common).
enum gw_refused gw_tls_refused(const struct gw_tls_conn *conn);
const char *gw_tls_version(const struct gw_tls_conn *conn);

// DONE with *len > 0 bytes, or WANT_READ (*len 0), CLOSED, FAILED.
enum gw_tls_step gw_tls_read(struct gw_tls_conn *conn, void *buf, size_t cap, size_t *len);
// DONE: *taken > 0 bytes are on their way (at most one record's worth). WANT_WRITE: call again with the very same bytes when the socket is
// writable.
enum gw_tls_step gw_tls_write(struct gw_tls_conn *conn, const void *bytes, size_t len, size_t *taken);
// close_notify, as far as the socket takes it now.
void gw_tls_bye(struct gw_tls_conn *conn);

#endif
