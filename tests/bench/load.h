// SPDX-License-Identifier: Apache-2.0
// The load generator's shared types: one process, one thread, one epoll loop, many MQTT/TLS or
// CoAP/DTLS clients. It is written to cost much less than the server that it drives: every packet
// is rendered once per connection and only digits are patched afterwards, one read and one write
// per wake-up, no allocation after the connections stand. Used by tests/bench/bench.py.
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/socket.h>

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/ssl.h>

enum {
	LOAD_NAME_MAX = 128,      // device name, identity, user, with the terminating zero
	LOAD_TEXT_MAX = 4096,     // a payload or a topic
	LOAD_WINDOW_MAX = 1000,   // messages in flight on one connection
	LOAD_PATCHES_MAX = 8,
	LOAD_CONNECTIONS_MAX = 60000,
};

// ---- options ----------------------------------------------------------------------------------

struct load_options {
	bool mqtt, coap;
	const char *host;
	unsigned port;
	unsigned connections, window, refill, active, handshakes;
	double seconds, warmup, idle, connect_timeout, keep_alive;
	uint64_t count, rate;
	const char *ca, *cert, *key, *ca_key;
	const char *psk_identity, *psk_keys, *psk_key;
	const char *user, *password;
	const char *device;                   // pattern such as bench-%05d
	unsigned device_first;
	const char *tls_min, *tls_max, *suite;
	bool cid, plain, quick_ack;
	const char *payload;                  // file
	const char *topic;                    // topic or path, {device} is replaced
	const char *method;                   // CoAP: POST or PUT
	int content_format;                   // CoAP; -1 none
	unsigned qos, mqtt_version;
	bool persistent;                      // MQTT: keep the session
	uint64_t base_ms;                     // device time of the first message of each connection
	unsigned step_ms;
	unsigned seq_first;                   // sequence number of each connection's first message
	const char *ledger;                   // file: what was sent and what was acknowledged
	int server_pid;
	bool wait, quiet, poll;
};

// Parses the command line; on error says what is wrong and exits with 2.
void load_options_parse(struct load_options *o, int argc, char **argv);

// Writes `pattern` with its %d or %0Nd replaced by `number`. False if it does not fit.
bool load_pattern(char *to, size_t room, const char *pattern, unsigned number);

// ---- frames -----------------------------------------------------------------------------------

struct load_patch {
	uint32_t at;
	uint8_t kind;
};

// A payload template: the file as it is, or, when the file's name ends in .hex, hexadecimal bytes
// with binary fields. See payloads/README.md for the fields.
struct load_template {
	char *text;
	size_t size;
	bool hex;
};

// A packet of one connection: constant bytes and the places where a message differs.
struct load_frame {
	uint8_t *bytes;
	size_t size;
	unsigned patches;
	struct load_patch patch[LOAD_PATCHES_MAX];
};

bool load_template_read(struct load_template *t, const char *path);

// Renders the template for a device behind `used` bytes of `to`; adds the places to `f`.
// Gives the new length, 0 if something does not fit or a field is unknown.
size_t load_template_render(const struct load_template *t, const char *device, uint8_t *to,
                            size_t used, size_t room, struct load_frame *f);

// Replaces {device} in a topic or path. False if it does not fit.
bool load_text_render(char *to, size_t room, const char *text, const char *device);

// Writes sequence, time and value of message `seq` into a copy of the frame's bytes.
void load_frame_stamp(const struct load_frame *f, uint8_t *bytes, uint64_t seq, uint64_t ms);

// ---- latencies --------------------------------------------------------------------------------

enum { LOAD_BUCKETS = 64 * 32 };

// Counts in buckets of 1/32 of a power of two: 3 % wide. Nanoseconds.
struct load_latency {
	uint64_t count, max_ns;
	uint64_t bucket[LOAD_BUCKETS];
};

void load_latency_add(struct load_latency *h, uint64_t ns);
double load_latency_ms(const struct load_latency *h, double share);

// ---- the server's process ---------------------------------------------------------------------

struct load_server {
	double cpu_s, system_s;
	uint64_t rss_kb, anonymous_kb;
};

// CPU of all threads (utime + stime) and resident memory of `pid`; zeros when it is not there.
struct load_server load_server_sample(int pid);

// ---- connections ------------------------------------------------------------------------------

struct load_credentials {
	mbedtls_entropy_context entropy;
	mbedtls_ctr_drbg_context random;
	mbedtls_x509_crt ca, cert;
	mbedtls_pk_context key, issuer_key;
	mbedtls_ssl_config shared;
	int suites[2];
	struct load_psk *psk;
	size_t psk_count;
	uint8_t psk_one[64];
	size_t psk_one_size;
};

struct load_link {
	int fd;
	bool datagram, plain, dry;            // dry: the socket has nothing until epoll says so
	mbedtls_ssl_context ssl;
	struct load_own *own;                 // credentials of its own, or NULL
	uint8_t *rx;
	uint32_t rx_at, rx_end;
	uint64_t timer_intermediate_ns, timer_final_ns;
};

enum load_step { LOAD_STEP_DONE, LOAD_STEP_READ, LOAD_STEP_WRITE, LOAD_STEP_FAILED };

bool load_credentials_open(struct load_credentials *k, const struct load_options *o);
void load_credentials_close(struct load_credentials *k);

bool load_link_open(struct load_link *k, struct load_credentials *c, const struct load_options *o,
                    const struct sockaddr *to, socklen_t to_size, unsigned number);
enum load_step load_link_handshake(struct load_link *k);
bool load_link_timer_expired(const struct load_link *k);
// More than zero: bytes; 0: nothing now; -1: closed or broken.
int load_link_read(struct load_link *k, uint8_t *to, size_t room);
// Bytes taken (0: the socket is full, call again with the very same bytes), -1: broken.
int load_link_write(struct load_link *k, const uint8_t *from, size_t size);
// Acknowledges what TCP has received now, instead of waiting for data to carry it.
void load_link_quick_ack(struct load_link *k);
void load_link_close(struct load_link *k);

enum load_state { LOAD_IDLE, LOAD_CONNECTING, LOAD_LOGIN, LOAD_READY, LOAD_CLOSED };
enum load_wait { LOAD_WAIT_ACK, LOAD_WAIT_RESPONSE, LOAD_WAIT_COMPLETE };

struct load_slot {
	uint64_t sent_ns, due_ns;
	uint32_t seq;
	uint16_t mid;
	uint8_t wait, tries;
	bool used;
};

struct load_conn {
	struct load_link link;
	enum load_state state;
	unsigned number;
	bool queued, wants_out;
	uint32_t seq;                         // of the next message
	uint16_t mid;
	unsigned window, refill, free_count;
	uint16_t *free;                       // stack of free slots
	struct load_slot *slot;
	struct load_frame frame;
	uint32_t pid_at;
	uint8_t *pending;                     // bytes that the socket did not take
	size_t pending_at, pending_size;
	uint64_t started_ns, hold_ns;         // hold: the server asked to wait until then
	uint8_t in_stage, in_type, in_shift;  // MQTT: packet being read
	uint32_t in_left, in_have;
	uint8_t in_body[64];
	char device[LOAD_NAME_MAX];
};

struct load_counts {
	uint64_t sent, acked, refused, lost, disconnects, retransmissions, separate;
};

struct load;

struct load_protocol {
	const char *name;
	// Renders the connection's packets.
	bool (*prepare)(struct load *l, struct load_conn *c);
	// The handshake is done: log in. False if that failed.
	bool (*login)(struct load *l, struct load_conn *c);
	// The socket has something. False if the connection is over.
	bool (*readable)(struct load *l, struct load_conn *c);
	// Sends `n` new messages, n <= c->free_count. False if the connection is over.
	bool (*send)(struct load *l, struct load_conn *c, unsigned n);
	// Ten times a second, for connections that are ready: retransmission, keep-alive.
	bool (*tick)(struct load *l, struct load_conn *c);
	void (*leave)(struct load *l, struct load_conn *c);
};

extern const struct load_protocol load_mqtt, load_coap;

enum load_phase { LOAD_PHASE_CONNECT, LOAD_PHASE_IDLE, LOAD_PHASE_WARMUP, LOAD_PHASE_WINDOW,
                  LOAD_PHASE_DRAIN, LOAD_PHASE_END };

struct load {
	struct load_options o;
	struct load_credentials credentials;
	struct load_template payload;
	const struct load_protocol *protocol;
	struct sockaddr_storage to;
	socklen_t to_size;
	int epoll;
	uint64_t now_ns;
	enum load_phase phase;
	uint64_t phase_ns, tick_ns, progress_ns;
	struct load_conn *conn;
	unsigned next, connecting, ready, failed;
	unsigned *queue, queue_at, queue_count;
	uint64_t in_flight, rate_from_ns, rate_sent;
	bool sending;
	char first_error[160];
	struct load_counts total, from, to_counts;
	struct load_latency latency;
	struct load_server at_start, at_idle, at_from, at_to, at_ready;
	uint64_t connect_ns, from_ns, to_ns;
	double own_from_s, own_to_s;
	uint64_t progress_acked;
	FILE *ledger;
};

uint64_t load_now_ns(void);
void load_report(const struct load *l);
void load_first_error(struct load *l, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

// For the protocols: the connection may send now.
void load_ready(struct load *l, struct load_conn *c);
// Sets the window of a connection that has nothing in flight.
void load_window(struct load_conn *c, unsigned window, unsigned refill);
// Takes a free slot for a message that goes out now.
struct load_slot *load_slot_take(struct load *l, struct load_conn *c);
uint64_t load_message_ms(const struct load *l, uint32_t seq);
enum load_outcome { LOAD_ACKED, LOAD_REFUSED, LOAD_LOST };
void load_slot_done(struct load *l, struct load_conn *c, struct load_slot *s, enum load_outcome how);
// Writes, keeping what the socket does not take. False if the connection is broken.
bool load_write(struct load *l, struct load_conn *c, const uint8_t *bytes, size_t size);

#endif
