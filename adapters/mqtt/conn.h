// SPDX-License-Identifier: Apache-2.0
// What the adapter's threads share, and one connection. The door (door.c) accepts, shakes hands, admits; then a connection belongs to one of the
// serving threads (serve.c) for the rest of its life.
//
// | shared | by whom | how |
// | --- | --- | --- |
// | sessions | door, serving threads | its own lock, when connections begin and end |
// | worker->inbox | door puts, worker takes | inbox_lock, once a connection |
// | conn->kicked | claims of other connections | atomic, under the sessions' lock |
// | counts | status reads | relaxed atomics, one writer each |
#ifndef GW_MQTT_CONN_H
#define GW_MQTT_CONN_H

#include "adapters/mqtt/link.h"
#include "adapters/mqtt/sessions.h"
#include "adapters/tls/tls.h"
#include "gateway/core.h"

#include <pthread.h>
#include <stdatomic.h>

// One writer, any reader.
typedef _Atomic uint64_t gw_mqtt_count;
static inline void
gw_mqtt_add(gw_mqtt_count *count, uint64_t n)
{
	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + n, memory_order_relaxed);
}
static inline uint64_t
gw_mqtt_read(gw_mqtt_count *count)
{
	return atomic_load_explicit(count, memory_order_relaxed);
}

// Buffers of one thread, lent to a connection for its turn; a connection at rest has none.
enum { GW_MQTT_OUT_BYTES = 512, GW_MQTT_AHEAD_BYTES = 32 * 1024 };
struct gw_mqtt_chunk {
	struct gw_mqtt_chunk *next;
	uint8_t bytes[GW_MQTT_OUT_BYTES - sizeof(void *)];
};
struct gw_mqtt_io {
	struct gw_tls_ahead ahead;
	uint8_t *plain; // what was read: bytes kept from before, then new ones
	size_t plain_cap, plain_len;
	struct gw_mqtt_chunk *spare;
};
bool gw_mqtt_io_init(struct gw_mqtt_io *io, size_t packet_bytes_max);
void gw_mqtt_io_fini(struct gw_mqtt_io *io);

struct gw_mqtt;
struct gw_mqtt_worker;

enum gw_mqtt_state {
	GW_MQTT_SHAKING,  // the door's: TLS handshake
	GW_MQTT_WAITS_CONNECT,
	GW_MQTT_CHECKING, // a password is being checked
	GW_MQTT_WAITING,  // for the session that another connection still has
	GW_MQTT_SERVED,
	GW_MQTT_ENDING,   // closed; some of its tickets are under way
};

struct gw_mqtt_conn {
	struct gw_mqtt_conn *prev, *next;  // of its thread's list
	struct gw_mqtt_conn *inbox_next, *dirty_next, *starved_next, *resumed_next;
	struct gw_mqtt *mqtt;
	struct gw_mqtt_worker *worker;
	struct gw_mqtt_io *io;             // its thread's
	struct gw_tls_conn *tls;
	int fd, epoll;
	uint32_t events;                   // asked of epoll
	uint8_t state;                     // enum gw_mqtt_state
	bool dirty, starved, stalled, blocked, eof;
	bool resumed;                      // in the list of those to be resumed once all tickets of this round are taken
	bool talked;                       // the door's: TLS has taken something of it
	bool slowed;                       // and: it waits for its handshake to begin
	bool checked, password_right;
	bool abandoned;                    // under the door's lock while its password is checked
	uint64_t user_hash;                // whose password
	bool leaving;                      // its session's last row is under way
	_Atomic uint8_t kicked;            // reason to end it, from another thread
	uint32_t tickets;                  // under way
	struct gw_mqtt_link link;
	uint8_t auth;                      // enum gw_auth
	uint16_t keep_alive_s;             // told or held to
	int64_t heard_us, began_us;        // monotonic
	int64_t principal_created_us, principal_changed_us;
	uint64_t proof;                    // gw_device_proof()
	uint64_t began_generation, generation; // of the registry: when the connection began, when it was admitted
	int64_t began_wall_us;
	char principal[GW_ID_MAX + 1];
	uint8_t *in;                       // bytes not parsed yet, NULL mostly
	uint32_t in_len;
	uint8_t *out;                      // a chunk, or memory of its own once out_cap is above a chunk's
	uint32_t out_len, out_cap, out_offered; // offered: TLS wants these again
	struct gw_mqtt_will *will;
	struct gw_mqtt_connack *connack;   // from admission until it is served
	char (*assigned_id)[40];
	uint64_t from;                     // the address's number among handshakes under way (gateway/crowd.h)
	char peer[56];                     // address, for diagnostics
	struct gw_peer at;                 // and for the record
};

struct gw_mqtt_conn *gw_mqtt_conn_new(struct gw_mqtt *mqtt, struct gw_mqtt_io *io, int epoll, int fd);
// Closes the socket and frees; session and list are the caller's business.
void gw_mqtt_conn_free(struct gw_mqtt_conn *conn);
// Ends the stream: close_notify, close.
void gw_mqtt_conn_shut(struct gw_mqtt_conn *conn);
// Watches for input unless stalled or blocked, for room to write while blocked.
void gw_mqtt_conn_watch(struct gw_mqtt_conn *conn);
// One turn: io->plain gets what was kept and what has come. false: the stream has ended (what came before is there all the same).
bool gw_mqtt_conn_read(struct gw_mqtt_conn *conn);
// The same within a turn that has begun: what the handshake's last read brought along is still in the thread's buffer.
bool gw_mqtt_conn_read_on(struct gw_mqtt_conn *conn);
// Keeps what is not parsed yet. false: out of memory.
bool gw_mqtt_conn_keep(struct gw_mqtt_conn *conn, const uint8_t *bytes, size_t len);
// Appends to what goes out at the end of the round.
void gw_mqtt_conn_write(struct gw_mqtt_conn *conn, const uint8_t *bytes, size_t len);
// Sends as much as the socket takes. false: broken.
bool gw_mqtt_conn_flush(struct gw_mqtt_conn *conn);

struct gw_mqtt_counts {
	gw_mqtt_count messages, acked, refused, bytes, connections, rounds, tickets;
	gw_mqtt_count by_error[GW_ERROR_COUNT]; // messages refused, and why
};

struct gw_mqtt_worker {
	struct gw_mqtt *mqtt;
	pthread_t thread;
	unsigned number;
	int epoll, wake_fd;
	struct gw_source source;
	struct gw_line *line;
	struct gw_mqtt_io io;
	struct gw_mqtt_conn *conns, *dirty, *starved, **starved_end, *dead, *leaving, *resumed, **resumed_end;
	struct gw_ticket *batch, **batch_end; // filled in this round
	bool no_ticket;             // the last submit found none
	bool told;                  // tickets are back
	uint64_t generation;        // of the registry, as last looked at
	int64_t now_us, wall_us, tick_us, stop_us;
	pthread_mutex_t inbox_lock;
	struct gw_mqtt_conn *inbox, *arrived;
	_Atomic uint32_t load;      // connections it has or is about to get
	struct gw_mqtt_counts counts;
};

struct gw_mqtt_door_counts {
	gw_mqtt_count accepted, slowed, handshakes, handshakes_failed, admitted, refused, dropped, full, crowded, crowd_dropped, wills;
	gw_mqtt_count pending;
};

struct gw_mqtt_door;

struct gw_mqtt {
	struct gw_core *core;
	struct gw_mqtt_limits limits;
	uint32_t connections_max, handshakes_max, handshakes_of_one, admit_s_max, tickets_max;
	uint32_t connect_bytes_max, unsent_bytes_max, password_checks_of_one, password_checks_of_address, refusal_records_per_min;
	struct gw_tls_server *tls;
	struct gw_mqtt_sessions *sessions;
	struct gw_mqtt_worker *workers;
	unsigned worker_count;
	struct gw_mqtt_door *door;
	struct gw_mqtt_door_counts door_counts;
	_Atomic bool stopping, door_closed;
	_Atomic uint32_t connections;
	int door_fd;   // eventfd that wakes the door
};

enum gw_error gw_mqtt_worker_start(struct gw_mqtt_worker *worker, struct gw_mqtt *mqtt, unsigned number, struct gw_why *why);
void gw_mqtt_worker_wake(struct gw_mqtt_worker *worker);
void gw_mqtt_worker_join(struct gw_mqtt_worker *worker);
// The door's thread: hands an admitted connection over.
void gw_mqtt_worker_give(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn);

enum gw_error gw_mqtt_door_start(struct gw_mqtt *mqtt, struct gw_why *why);
void gw_mqtt_door_join(struct gw_mqtt *mqtt);
void gw_mqtt_wake(int event_fd);

#endif
