// SPDX-License-Identifier: Apache-2.0
// TLS 1.2 and 1.3 for every door that serves a stream (MQTT, HL7, HTTP): one shared server, one connection per socket, no waiting anywhere.
//
// Who the peer is comes from the handshake alone: a verified client certificate (as trust.h makes a device of its names), or the PSK identity whose key it
// proved. A certificate that does not verify ends the handshake; so does an unknown PSK identity.
//
// Sessions are resumed by tickets (RFC 5077 for TLS 1.2, RFC 8446 section 2.2 for 1.3), which say who was proved and by what (ticket_keys.h): what is resumed is
// what a whole handshake with the same credential would give now, or nothing. So a ticket is no good once the certificate has expired, was revoked or lost its
// authority, once the rules for names are others, once its PSK is another, once nobody goes by that name; nor for longer than a week after the credential itself
// was last shown; nor over another version of TLS (Mbed TLS would take a ticket of 1.3 for one of 1.2 whose master secret is all zeros). In TLS 1.3 only together
// with a key exchange of its own (psk_dhe_ke), and never with early data.
//
// Trust is taken up anew while connections live (gw_tls_server_renew): each holds what it began with until it ends.
//
// Memory per connection: 16.7 KB for input (a peer may send records of 16 KB), 4.4 KB for output, 1.5 KB (PSK, TLS 1.2) to 7 KB (certificate,
// TLS 1.3) of state. Resident per idle MQTT connection, all told: 16.6 KB and 21.5 KB, since an input buffer's pages are touched only by large records.
//
// Threads: a connection belongs to one thread at a time. Handshakes of one server run on one thread (TLS 1.3 in Mbed TLS uses PSA, whose
// functions other than key management are not tested for several; links of tls_client.h wait for each other and for these). Reading and writing may go on elsewhere afterwards.
#ifndef GW_TLS_H
#define GW_TLS_H

#include "adapters/tls/trust.h"

#include <yyjson.h>

#define GW_TLS_PSK_MAX 64

struct gw_tls_options {
	struct gw_trust_options trust; // certificate and key are needed; without ca no certificates are asked for
	bool only_1_3;
	uint32_t ticket_s;             // life of session tickets, a week at most; 0: none
	const char *ticket_file;       // where their keys are kept
	const char *door;              // whose tickets they are; both only with ticket_s
	// Writes the key of a PSK identity and returns its length; 0: nobody's. NULL: no PSK. Called during handshakes.
	size_t (*psk)(void *arg, struct gw_span identity, uint8_t key[GW_TLS_PSK_MAX]);
	gw_trust_subject_fn *subject; // as for gw_trust_identify()
	void *arg;
};

struct gw_tls_server;

// Reads the files, checks that key and certificate belong together. why says which file and what to do; with GW_OK it has what ought to be known all the same.
enum gw_error gw_tls_server_open(const struct gw_tls_options *options, struct gw_tls_server **server, struct gw_why *why);
// Reads the files again: handshakes that begin from now on use them; on failure everything stays as it was. Any thread, one at a time.
enum gw_error gw_tls_server_renew(struct gw_tls_server *server, const struct gw_trust_options *trust, struct gw_why *why);
// What handshakes use now; the caller's to drop. Any thread.
struct gw_trust *gw_tls_server_trust(struct gw_tls_server *server);
// Adds "credentials" to an object: what is shown and believed, since when, and why newer files were refused, if they were. Any thread; NULL adds nothing.
void gw_tls_server_status(struct gw_tls_server *server, yyjson_mut_doc *doc, yyjson_mut_val *object);
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
bool gw_tls_resumed(const struct gw_tls_conn *conn);
// After DONE: whether the peer's certificate still holds by what is believed now. GW_REFUSED_NONE, or why not. Compares two numbers where nothing has changed since it was
// last asked; to be asked about twice a second. now_s: seconds since 1970. The thread that owns the connection.
enum gw_refused gw_tls_lapsed(struct gw_tls_conn *conn, int64_t now_s);

// DONE with *len > 0 bytes, or WANT_READ (*len 0), CLOSED, FAILED.
enum gw_tls_step gw_tls_read(struct gw_tls_conn *conn, void *buf, size_t cap, size_t *len);
// DONE: *taken > 0 bytes are on their way (at most one record's worth). WANT_WRITE: call again with the very same bytes when the socket is
// writable.
enum gw_tls_step gw_tls_write(struct gw_tls_conn *conn, const void *bytes, size_t len, size_t *taken);
// close_notify, as far as the socket takes it now.
void gw_tls_bye(struct gw_tls_conn *conn);

#endif
