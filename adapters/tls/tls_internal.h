// SPDX-License-Identifier: Apache-2.0
// What tls_server.c, tls_conn.c and tls_client.c share. Included by nobody else.
#ifndef GW_TLS_INTERNAL_H
#define GW_TLS_INTERNAL_H

#include "adapters/tls/tls.h"

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/platform_util.h>
#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ciphersuites.h>
#include <mbedtls/ssl_ticket.h>
#include <mbedtls/x509_crt.h>

struct gw_tls_server {
	struct gw_tls_options options; // callbacks; the file names are not kept alive
	mbedtls_entropy_context entropy;
	mbedtls_ctr_drbg_context random; // locked by Mbed TLS
	mbedtls_x509_crt chain, authorities;
	mbedtls_pk_context key;
	mbedtls_ssl_config shared;
	mbedtls_ssl_ticket_context tickets;
};

struct gw_tls_conn {
	mbedtls_ssl_context ssl;
	struct gw_tls_server *server;
	struct gw_tls_ahead *ahead; // this turn's, NULL between turns
	int fd;
	int error;                  // Mbed TLS's code, 0 where there is none
	uint32_t refused_flags;     // why a certificate did not verify
	bool shaking, psk_proved;
	struct gw_tls_identity identity;
	char psk_name[GW_TLS_NAME_MAX + 1];
	char reason[96];
};

bool gw_tls_suite_is_psk(int suite);

// Around each step of a handshake: TLS 1.3 uses PSA, of which Mbed TLS 3.6 vouches for key management only when several threads use it.
void gw_tls_shake_lock(void);
void gw_tls_shake_unlock(void);

// What a call of Mbed TLS means for whoever drives the connection; *error is set where it has ended.
enum gw_tls_step gw_tls_step_of(int rc, int *error);

#endif
