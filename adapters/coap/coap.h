// SPDX-License-Identifier: Apache-2.0
// CoAP from devices: what the files of this folder share. One libcoap context, one thread, one loop: everything here belongs to that thread unless it
// says otherwise. Sources: RFC 7252, 7959 (blocks), 7967 (No-Response), 9146 (Connection ID), 9175 (Request-Tag), 6690 (.well-known/core).
//
// What a device can rely on:
// - POST and PUT to a route of a profile: 2.04 after the commit, as the request's own ACK; where the commit takes longer than a second, an empty ACK and
//   then a message of its own (confirmable, up to coap.late_answers_per_min). A non-confirmable request gets a non-confirmable answer, after the commit
//   too. The payload of 2.04 is the gateway's time as text, seconds since 1970 with three decimals, for devices without a clock. No-Response is obeyed.
// - The same request again (message ID, token, content) within 247 s gets the same answer and is not taken twice, whether or not it has one already.
// - Refusals carry a diagnostic payload (RFC 7252 section 5.5.2): 4.00 content, 4.01 credential, 4.03 another's device, 4.04 path, 4.05 method, 4.08 block
//   missing, 4.12 If-Match, 4.13 size (with Size1), 4.15 Content-Format, 4.29 quota. "Later" is 5.03 with Max-Age.
// - Block1 up to coap.payload_bytes_max, blocks in order, of 16 to 1024 bytes; Block2 in answers.
// - GET of /, /time, /.well-known/core, and over DTLS /readings: the principal's own latest.
// A message that cannot be taken for a moment waits in the socket. Messages to groups are not answered.
#ifndef GW_COAP_H
#define GW_COAP_H

#include "adapters/coap/recent.h"
#include "adapters/coap/route.h"
#include "adapters/coap/upload.h"
#include "adapters/tls/ticket_keys.h"
#include "gateway/core.h"

#include <coap3/coap.h>
#include <mbedtls/ssl.h>

#include <pthread.h>
#include <stdatomic.h>

struct gw_coap_session;
struct gw_coap_request;

// Counters: written by the thread, read by any.
typedef _Atomic uint64_t gw_coap_count;
static inline void
gw_coap_add(gw_coap_count *count, uint64_t n)
{
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + n, memory_order_relaxed);
}
static inline uint64_t
gw_coap_get(gw_coap_count *count)
{
	return atomic_load_explicit(count, memory_order_relaxed);
}

#define GW_COAP_SERIAL_MAX 32 // bytes of a serial number (RFC 5280 section 4.1.2.2: 20)

// What a session's DTLS refers to, and what it proved; goes with it.
struct gw_coap_held {
	struct gw_coap *coap;
	coap_session_t *session;
	struct gw_trust *trust;
	struct gw_trust_check check;     // of its certificate, or what the ticket says of it
	struct gw_tls_identity identity; // likewise
	uint32_t flags; // of all certificates that were looked at
	bool looked;    // at the peer's own: the next is of another handshake
	bool resumed;
	uint8_t serial_len, serial[GW_COAP_SERIAL_MAX];
	int64_t proved_us; // when the certificate itself was shown, where it was resumed
};

// Which certificate handshakes show, and whom they believe.
struct gw_coap_credentials {
	pthread_mutex_t lock; // of the next four
	struct gw_trust *trust; // NULL: no certificates
	int64_t taken_us, refused_us; // wall clock; 0: none was refused since
	struct gw_why refused;
	_Atomic uint64_t generation; // trust's
	uint64_t looked; // generation by which live sessions were last looked at
	int64_t look_s;  // when the first of them expires, seconds since 1970
};

struct gw_coap {
	const struct gw_core *core;
	const struct gw_config *config;
	coap_context_t *context;
	struct gw_line *line;
	struct gw_source source;
	const struct gw_snapshot *snapshot;
	uint64_t generation; // of the snapshot
	struct gw_coap_credentials credentials;
	struct gw_ticket_keys *tickets; // NULL: none
	int epoll_fd, stop_fd;
	pthread_t thread;
	bool stopping;

	int64_t now_us; // monotonic, of this turn of the loop
	int64_t stamp_ms; // what stamp_text says: answers of one commit have one time
	char stamp_text[32];
	size_t stamp_len;
	int64_t swept_us;

	struct gw_coap_session *sessions; // those that have a state
	// Those of DTLS, newest first: by principal once it is proved, by address until then. A device has coap.sessions_of_one at most, an address
	// coap.handshakes_of_one: beyond, its oldest is closed. One that comes back from another port each time and closes nothing, or means harm, does
	// not push out the others' (coap.sessions_max and coap.handshakes_max are for all of them).
	struct gw_coap_session **principals, **addresses;
	size_t group_mask, handshakes_of_one;
	bool any_doomed;

	// Requests under way, oldest first.
	struct gw_coap_request *oldest, *newest;
	struct gw_coap_request *unacked; // the first whose device has heard nothing yet
	struct gw_coap_request *spare;
	size_t under_way;
	size_t tickets_out; // with those that only record something
	struct gw_ticket *batch, **batch_end; // filled in this turn, not yet submitted

	struct gw_coap_uploads uploads;
	struct {
		gw_coap_count opened, closed, proved, resumed, refused, requests, duplicates, late, unsent, uploads, uploads_lost, crowded, pauses, bad_packets;
		gw_coap_count states, shaking, under_way, uploads_now;
		gw_coap_count shakes_dropped, of_one_dropped;
		gw_coap_count answers[256]; // by code
	} counts;
};

// ---- session.c: who is at the other end ----

// What every request looks at comes first, in one line of memory.
struct gw_coap_session {
	struct gw_coap_recent recent;
	uint64_t generation; // of the registry, when the principal was checked
	uint8_t auth;        // enum gw_auth
	bool known;          // principal is somebody
	bool doomed;         // to be closed at the end of this turn
	bool uploads;        // has sent blocks
	bool shaking;        // its handshake is under way
	uint8_t doubt;       // enum gw_refused: why, where the handshake fails now
	struct gw_coap_held *held; // of its certificate; NULL: none can be
	char principal[GW_ID_MAX + 1]; // until it is known: who it says it is
	uint16_t late_answers; // confirmable ones since late_since_us
	int64_t late_since_us;
	coap_session_t *session;
	struct gw_coap_session *next, **link;
	struct gw_coap_session *same_next, **same_link; // in principals or addresses; NULL: not there
	uint64_t from;       // its address, while shaking (gateway/crowd.h)
};

// PSK by identity (libcoap's callback). NULL: nobody's; recorded.
const coap_bin_const_t *gw_coap_psk(coap_bin_const_t *identity, coap_session_t *session, void *arg);
// Who the peer says it is, while its handshake is under way, and why it is refused if that fails now.
void gw_coap_claim(coap_session_t *session, enum gw_auth auth, struct gw_span name, enum gw_refused doubt);
// The registry as it is now; good until this is called again.
const struct gw_snapshot *gw_coap_snapshot(struct gw_coap *coap);
// The session's state with its principal proved and up to date, or NULL: refused, recorded, and about to be closed.
struct gw_coap_session *gw_coap_principal(struct gw_coap *coap, coap_session_t *session);
// libcoap's events: counts sessions, frees states.
int gw_coap_event(coap_session_t *session, coap_event_t event);
// Takes up changes of the registry and of what certificates are believed: sessions whose principal is gone, disabled or no longer proved are closed.
void gw_coap_sessions_check(struct gw_coap *coap);
// Closes those that are doomed, with close_notify.
void gw_coap_sessions_reap(struct gw_coap *coap);

// ---- credentials.c: certificates ----

// Parts of gw_coap_part's check, files, renew and status. main's thread; status: any.
enum gw_error gw_coap_credentials_check(const struct gw_config *config, struct gw_why *why);
void gw_coap_credentials_files(const struct gw_config *config, gw_file_fn *fn, void *arg);
enum gw_error gw_coap_credentials_renew(struct gw_coap *coap, struct gw_why *why);
void gw_coap_credentials_status(struct gw_coap *coap, yyjson_mut_doc *doc, yyjson_mut_val *object);
// Once the context is there. GW_OK also where no certificates are wanted.
enum gw_error gw_coap_credentials_open(struct gw_coap *coap, struct gw_why *why);
void gw_coap_credentials_close(struct gw_coap *coap); // after the context
// Whose it is by what is believed now (certificate NULL: the session was resumed); NULL: nobody's, and why says what is wrong with it, or NONE: only that no device goes by its names.
const struct gw_device *gw_coap_by_certificate(struct gw_coap *coap, struct gw_coap_session *state, const mbedtls_x509_crt *certificate,
    struct gw_tls_identity *identity, enum gw_refused *why);
// Whether live sessions are to be looked at again: other files were taken up since, or a certificate has expired.
bool gw_coap_credentials_look(struct gw_coap *coap);

// ---- resume.c: session tickets ----

enum gw_error gw_coap_tickets_open(struct gw_coap *coap, struct gw_why *why);
// For Mbed TLS, arg is the struct gw_coap_held.
int gw_coap_ticket_write(void *arg, const mbedtls_ssl_session *session, unsigned char *start, const unsigned char *end, size_t *len, uint32_t *life);
int gw_coap_ticket_parse(void *arg, mbedtls_ssl_session *session, unsigned char *buf, size_t len);

// ---- options.c: what a request asks for ----

struct gw_coap_ask {
	struct gw_span route;
	uint32_t content_format, accept;  // UINT32_MAX: not told
	uint32_t block1, block2, size1;   // option values; valid where has_*
	uint64_t tag_hash;                // of Request-Tag options
	bool has_block1, has_block2;
	bool precondition;                // If-Match or If-None-Match
	bool bad;                         // an option's value cannot be
	uint8_t no_response;
};

// route is the caller's memory for ask->route.
void gw_coap_ask_read(const coap_pdu_t *request, struct gw_coap_ask *ask, struct gw_coap_route *route);

// ---- request.c: from a datagram to a ticket ----

struct gw_coap_request {
	struct gw_coap_request *next, *prev;
	coap_session_t *session;          // a reference is held; NULL: nobody waits any more
	struct gw_coap_session *state;
	int64_t came_us;                  // monotonic
	uint32_t handle;                  // in state->recent
	uint32_t block1;
	uint16_t mid;
	uint8_t type, token_len, no_response;
	bool has_block1, acked;
	uint8_t token[8];
};

// libcoap's handler for every path and method.
void gw_coap_handle(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request, const coap_string_t *query, coap_pdu_t *response);

// ---- answer.c: from a result to a datagram ----

struct gw_coap_answer {
	uint8_t code;
	int64_t stamp_us;       // 2.04: the time in the payload
	struct gw_span text;    // diagnostic payload
	uint32_t max_age;       // 0: no option
	bool has_block1;
	uint32_t block1, size1; // size1 0: no option
};

// The one table from errors to answers.
struct gw_coap_answer gw_coap_answer_of(enum gw_error error);
void gw_coap_fill(struct gw_coap *coap, coap_pdu_t *pdu, const struct gw_coap_answer *answer);
// Says that nothing is to be sent now (RFC 7252 section 5.2.2: the answer comes later).
void gw_coap_defer(coap_pdu_t *response);
// Answers the tickets that are back.
void gw_coap_answer_done(struct gw_coap *coap);
// Nobody is answered any more: lets go of the sessions.
void gw_coap_answer_none(struct gw_coap *coap);
// Empty ACKs for requests that have waited for a second; returns the milliseconds until the next is due, -1 for none.
int gw_coap_answer_late(struct gw_coap *coap);

// ---- resources.c: GET ----

void gw_coap_get_resource(struct gw_coap *coap, struct gw_coap_session *state, const struct gw_coap_ask *ask, coap_pdu_t *response);

// ---- context.c: libcoap and its keys ----

enum gw_error gw_coap_context_open(struct gw_coap *coap, struct gw_why *why);
void gw_coap_context_close(struct gw_coap *coap);

// ---- loop.c ----

void *gw_coap_loop(void *arg);
// The ticket goes to the journal with the others of this turn of the loop.
void gw_coap_queue(struct gw_coap *coap, struct gw_ticket *ticket);

#endif
