// SPDX-License-Identifier: Apache-2.0
// What tls_server.c, tls_conn.c and tls_client.c share. Included by nobody else.
#ifndef GW_TLS_INTERNAL_H
#define GW_TLS_INTERNAL_H

#include "adapters/tls/tls.h"

#include "adapters/tls/ticket_keys.h"

#include <pthread.h>
#include <stdatomic.h>

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ciphersuites.h>
#include <mbedtls/x509_crt.h>

// What handshakes of one generation use. Constant; the server and each connection that began with it hold it.
struct gw_tls_setup {
	_Atomic uint32_t references;
	uint64_t generation;
	struct gw_trust *trust;
	mbedtls_ssl_config config;
};

struct gw_tls_server {
	struct gw_tls_options options; // callbacks; the file names are not kept alive
	mbedtls_entropy_context entropy;
	mbedtls_ctr_drbg_context random; // locked by Mbed TLS
	struct gw_ticket_keys *tickets;  // the handshakes' thread; NULL: none
	pthread_mutex_t lock;            // of what follows
	struct gw_tls_setup *setup;
	int64_t taken_us, refused_us;    // wall clock; 0: none was refused since
	struct gw_why refused;
	_Atomic uint64_t generation;     // setup's
};

// A ticket that was taken for good in this handshake.
struct gw_tls_resumed {
	struct gw_ticket_claim claim;
	uint8_t key[64];                 // TLS 1.3: the PSK that it stands for
	size_t key_len;
};

struct gw_tls_conn {
	mbedtls_ssl_context ssl;
	struct gw_tls_server *server;
	struct gw_tls_setup *setup;
	struct gw_tls_ahead *ahead; // this turn's, NULL between turns
	struct gw_tls_resumed *ticket; // during the handshake
	int fd;
	int error;                  // Mbed TLS's code, 0 where there is none
	uint32_t refused_flags;     // why a certificate did not verify
	bool shaking, psk_proved, resumed, identified;
	struct gw_tls_identity identity;
	struct gw_trust_check check; // proof: of the certificate, or what the ticket says of it
	uint64_t looked;            // generation by which the proof was last looked at
	int64_t proved_us;
	char psk_name[GW_TLS_NAME_MAX + 1];
	char reason[96];
};

struct gw_tls_setup *gw_tls_setup_hold(struct gw_tls_server *server);
void gw_tls_setup_drop(struct gw_tls_setup *setup);

// ---- tls_ticket.c: for Mbed TLS, arg is the server ----

int gw_tls_ticket_write(void *arg, const mbedtls_ssl_session *session, unsigned char *start, const unsigned char *end, size_t *len, uint32_t *life);
int gw_tls_ticket_parse(void *arg, mbedtls_ssl_session *session, unsigned char *buf, size_t len);
// TLS 1.3, once the ClientHello is understood: whether it was the ticket's key that was proved.
bool gw_tls_ticket_taken(struct gw_tls_conn *conn);
void gw_tls_ticket_forget(struct gw_tls_conn *conn);
// The connection whose handshake this thread is at: Mbed TLS does not tell those callbacks.
extern _Thread_local struct gw_tls_conn *gw_tls_shaking;

// Who it is, by the certificate of this session.
void gw_tls_identify(struct gw_tls_conn *conn, const mbedtls_x509_crt *crt);
// Whether the key named in psk_name was proved.
bool gw_tls_psk_was_used(struct gw_tls_conn *conn, int suite);

bool gw_tls_suite_is_psk(int suite);

// Around each step of a handshake: TLS 1.3 uses PSA, of which Mbed TLS 3.6 vouches for key management only when several threads use it.
void gw_tls_shake_lock(void);
void gw_tls_shake_unlock(void);

// What a call of Mbed TLS means for whoever drives the connection; *error is set where it has ended.
enum gw_tls_step gw_tls_step_of(int rc, int *error);

#endif
