// SPDX-License-Identifier: Apache-2.0
// The inbound door: HL7 v2 over MLLP, plain and inside TLS, from the systems that the configuration names. Its inside, shared by in.c (part, thread, accepting),
// in_conn.c (bytes in and out), in_serve.c (messages and tickets) and in_record.c (what is put on record, status).
//
// One thread for all of it. A round reads top to bottom: sockets are read and their messages become tickets, under gw_patients_lock() from the first of them until
// all are submitted, so that tickets are in the order of changes; tickets that came back are answered; answers are sent, one system call a connection.
// Messages of one connection are answered in their order, because tickets of one source come back in order.
#ifndef GW_HL7_IN_H
#define GW_HL7_IN_H

#include "adapters/hl7/in_take.h"
#include "adapters/hl7/mllp.h"
#include "adapters/tls/tls.h"

#include "gateway/core.h"
#include "gateway/crowd.h"

#include <pthread.h>
#include <stdatomic.h>

enum { GW_HL7_READ_BYTES = 65536, GW_HL7_PLAIN_BYTES = 2 * GW_HL7_READ_BYTES };

struct gw_hl7_door;

// Of one peer. Counted by the thread, read by status.
struct gw_hl7_peer_state {
	_Atomic uint64_t connections, accepted, messages, kinds[GW_HL7_KINDS], junk_bytes, oversized, beyond_limit;
	_Atomic int64_t last_us;
	int64_t refused_us;     // under the door's lock
	struct gw_why refused;  // why a message was refused last
};

enum gw_hl7_conn_state { GW_HL7_SHAKING, GW_HL7_SERVED, GW_HL7_CLOSED };

struct gw_hl7_conn {
	struct gw_hl7_conn *prev, *next; // the door's list, by age
	struct gw_hl7_conn *dirty_next;  // has answers to be sent
	struct gw_hl7_conn *waiting_next; // has bytes and waits for tickets
	struct gw_hl7_door *door;
	int fd;
	enum gw_hl7_conn_state state;
	struct gw_tls_conn *tls;         // NULL: plain
	enum gw_auth proved;
	const struct gw_hl7_peer *peer;  // NULL while it is not known
	struct gw_hl7_peer_state *counts;
	uint64_t from;                   // gw_crowd_address()
	struct gw_peer at;               // where it comes from, for the record
	bool by_tls;
	char where[64];                  // address and port, for people
	uint32_t events;                 // watched
	bool eof;                        // nothing comes any more
	bool blocked;                    // the socket takes no bytes now
	bool stalled;                    // not read: too much is under way
	bool waits, dirty;               // in the door's lists
	bool skipping;                   // the rest of a message that is too large
	uint32_t tickets;                // under way
	int64_t began_us, heard_us;      // connected; last byte
	int64_t frame_us;                // the message that is half there began; 0: none is
	struct gw_hl7_mllp mllp;         // buf: owned
	uint64_t junk, junk_before;      // of mllp.skipped that was counted; when the last frame ended
	uint8_t *rest;                   // read and not yet looked at
	size_t rest_len;
	struct gw_hl7_out out;
	size_t offered;                  // TLS holds a record of so many of its bytes
};

struct gw_hl7_door {
	struct gw_core *core;
	struct gw_hl7_in_settings settings;
	struct gw_hl7_peer_state *states; // of settings.peers
	struct gw_hl7_seen *seen;
	struct gw_hl7_take *take;
	struct gw_tls_server *tls;
	pthread_t thread;
	bool running;
	_Atomic bool stopping;
	pthread_mutex_t lock;             // guards peers' last refusals
	int wake_fd, epoll, listener, tls_listener; // -1: none
	bool listening;
	struct gw_source source;
	struct gw_crowd strangers;        // addresses of connections whose peer is not known yet
	struct gw_tls_ahead ahead;
	uint8_t *plain;                   // GW_HL7_PLAIN_BYTES
	int64_t now_us, tick_us;

	struct gw_hl7_conn *first, *last, *dead, *dirty, *waiting, **waiting_end;
	_Atomic uint32_t connections;
	uint64_t memory_bytes;            // of connections' buffers
	struct gw_hl7_request *spare;
	struct gw_ticket *batch, **batch_end;
	bool locked;                      // gw_patients_lock() is held
	bool reload;                      // a change was not stored
	uint32_t under_way, batch_count;

	_Atomic uint64_t refused, full, handshakes_failed, rounds, seen_count, under_way_now;
	struct gw_diag_limit said_failed, said_full, said_files, said_message, said_reload;
};

static inline void
gw_hl7_count(_Atomic uint64_t *count, uint64_t n)
{
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + n, memory_order_relaxed);
}

// ---- in_conn.c ----

// NULL: out of memory. The descriptor is the connection's from here on.
struct gw_hl7_conn *gw_hl7_conn_new(struct gw_hl7_door *door, int fd, bool tls);
// Out of the door's list; its memory goes at the round's end, or when its last ticket is back.
void gw_hl7_conn_close(struct gw_hl7_conn *conn);
void gw_hl7_conn_free(struct gw_hl7_conn *conn);
void gw_hl7_conn_watch(struct gw_hl7_conn *conn);
// Reads what the socket has, once, into door->plain; returns how many bytes. conn->eof where it ended.
size_t gw_hl7_conn_read(struct gw_hl7_conn *conn, bool turn);
// Sends what it takes. False: it is broken.
bool gw_hl7_conn_flush(struct gw_hl7_conn *conn);
// Room for what a message may need of the connection's buffer; false: beyond the limits.
bool gw_hl7_conn_room(struct gw_hl7_conn *conn, size_t len);
void gw_hl7_conn_shrink(struct gw_hl7_conn *conn); // gives back a large buffer that holds nothing
bool gw_hl7_conn_keep(struct gw_hl7_conn *conn, struct gw_span rest);

// ---- in_serve.c ----

void gw_hl7_serve_bytes(struct gw_hl7_conn *conn, struct gw_span bytes);
// Ends the connection when all that came was answered.
void gw_hl7_serve_eof(struct gw_hl7_conn *conn);
void gw_hl7_serve_submit(struct gw_hl7_door *door);
void gw_hl7_serve_tickets(struct gw_hl7_door *door);
void gw_hl7_serve_waiting(struct gw_hl7_door *door);
void gw_hl7_serve_flush(struct gw_hl7_door *door);

// ---- in_record.c ----

// Tells of somebody who is no peer. text NULL: the reason's own words.
void gw_hl7_door_refused(struct gw_hl7_door *door, const struct gw_hl7_conn *conn, enum gw_auth auth, enum gw_refused why, const char *name, const char *text);
void gw_hl7_door_status(void *part, yyjson_mut_doc *doc, yyjson_mut_val *object);
// {"action": "replay", "id": "12"}: a message out of quarantine, once more. A command's thread.
enum gw_error gw_hl7_door_command(void *part, yyjson_val *arguments, struct gw_why *reply);

#endif
