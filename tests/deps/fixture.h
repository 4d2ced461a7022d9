// SPDX-License-Identifier: Apache-2.0
// A libcoap server and DTLS clients in one thread, stepped by the tests that show what the patches to libcoap do.
// Everything happens on 127.0.0.1. Nothing sleeps: a step of the server is one coap_io_process().
#ifndef TESTS_DEPS_FIXTURE_H
#define TESTS_DEPS_FIXTURE_H

#include <stdarg.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

#include <coap3/coap.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/ssl.h>
#include <mbedtls/timing.h>

// ---- Server ----
enum answering {
	ANSWER_AT_ONCE, // 2.04 in the handler
	ANSWER_LATER,   // nothing in the handler; later_answer() sends the piggy-backed response
};

struct server {
	coap_context_t *context;
	uint16_t udp_port, dtls_port;
	enum answering answering;
	// what happened
	unsigned requests;
	unsigned sessions_new, sessions_del, connected, closed, failed;
	unsigned certificates; // times that the CN callback was called for a valid certificate at depth 0
	size_t body_len;       // of the last request
	char identity[32];     // PSK identity of the last request's session
	coap_session_t *session; // of the last request; may be gone
	// of the last request, for later_answer()
	coap_mid_t mid;
	uint8_t token[8];
	size_t token_len;
};

// How a server is to differ from one with PSK only.
struct server_options {
	bool certificates;   // PKI as well, from certs_pem()
	bool broken_ca;      // PKI whose CA cannot be parsed
	bool single_body;    // COAP_BLOCK_SINGLE_BODY
	unsigned max_handshakes, max_idle, session_timeout_s; // 0: libcoap's default
};

void server_open(struct server *s, const struct server_options *options);
void server_close(struct server *s);
void server_step(struct server *s);
unsigned server_sessions(const struct server *s); // there now
// Steps until *counter is at least `least`, for 10 s at most; whether it got there.
bool server_until(struct server *s, const unsigned *counter, unsigned least);
void later_answer(struct server *s);

// ---- Clients ----
#define DATAGRAM 2048

// A DTLS client whose datagrams can be held back.
struct peer {
	struct server *server;
	int fd;
	unsigned sent;       // datagrams
	bool hold;           // keep the next datagram in `held` instead of sending it
	uint8_t held[DATAGRAM];
	size_t held_len;
	mbedtls_ssl_context ssl;
	mbedtls_ssl_config conf;
	mbedtls_timing_delay_context timer;
};

int udp_socket(uint16_t from_port, uint16_t to_port); // non-blocking, connected
uint16_t udp_port(int fd);
// Waits for a datagram while the server is stepped; its length, or 0 if none came in `ms`.
size_t udp_receive(struct server *s, int fd, uint8_t buf[DATAGRAM], int ms);

void peer_open(struct peer *p, struct server *s, const char *identity, bool cid, uint16_t from_port);
void peer_use_certificate(struct peer *p); // instead of the PSK
int peer_handshake(struct peer *p);        // 0, or Mbed TLS's error
void peer_send(struct peer *p, const uint8_t *data, size_t len);
int peer_receive(struct peer *p, uint8_t buf[DATAGRAM], int ms); // length, or Mbed TLS's error
void peer_move(struct peer *p);            // to another port
void peer_close(struct peer *p);           // without a word to the server

// ---- Messages ----
// A request for /x with the given payload; its length. block1: the option's value, or -1.
size_t request(uint8_t buf[DATAGRAM], coap_pdu_type_t type, uint16_t mid, int block1, const void *payload, size_t len);
size_t post(uint8_t buf[DATAGRAM], uint16_t mid); // confirmable, small
uint16_t message_id(const uint8_t *message);

// ---- Certificates ----
enum { CERT_CA, CERT_SERVER, CERT_CLIENT, CERTS };
const char *certs_pem(int which);
size_t crl_of_client(uint8_t der[DATAGRAM]); // an authority's list in which the client is revoked; its length
const char *keys_pem(int which);
void certs_make(void);

// ---- Rest ----
size_t heap_in_use(void);
extern unsigned long allocations; // that the libraries made so far // by the libraries, in bytes
int random_bytes(void *unused, unsigned char *buf, size_t len);
// What the fixture's real-time clock is ahead of the machine's, in seconds.
extern long clock_ahead_s;

// The tests, one table per file, ended by a row without a name.
extern const struct CMUnitTest session_tests[], handshake_tests[], message_tests[], attack_tests[];

#endif
