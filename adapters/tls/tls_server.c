// SPDX-License-Identifier: Apache-2.0
// The shared side of TLS: certificate, key, authorities, suites, tickets. Written when it is opened, read-only afterwards.
#include "adapters/tls/tls_internal.h"

#include <psa/crypto.h>
#include <stdlib.h>
#include <string.h>

#include <mbedtls/error.h>
#include <mbedtls/version.h>

// In order of preference. A client that offers PSK suites has a PSK, so these come first: with forward secrecy where the client can, then
// what AES-NI makes fast and small devices have. Then certificates, elliptic curves only.
static const int suites[] = {
	MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
	MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
	MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
	MBEDTLS_TLS1_3_AES_128_CCM_SHA256,
	MBEDTLS_TLS1_3_AES_128_CCM_8_SHA256,
	MBEDTLS_TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256,
	MBEDTLS_TLS_PSK_WITH_AES_128_GCM_SHA256,
	MBEDTLS_TLS_PSK_WITH_AES_128_CCM,
	MBEDTLS_TLS_PSK_WITH_AES_128_CCM_8,
	MBEDTLS_TLS_PSK_WITH_AES_256_GCM_SHA384,
	MBEDTLS_TLS_PSK_WITH_CHACHA20_POLY1305_SHA256,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_CCM,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	0,
};

static enum gw_error
mbed_failed(struct gw_why *why, enum gw_error error, int code, const char *what, const char *file)
{
	char text[96];

	mbedtls_strerror(code, text, sizeof(text));
	return gw_fail(why, error, "%s %s: %s", what, file, text);
}

bool
gw_tls_suite_is_psk(int suite)
{
	const char *name = mbedtls_ssl_get_ciphersuite_name(suite);

	return name != NULL && strstr(name, "PSK") != NULL;
}

// A ticket only where the session itself says who the peer is: see tls.h.
static int
ticket_write(void *arg, const mbedtls_ssl_session *session, unsigned char *start, const unsigned char *end, size_t *len, uint32_t *life)
{
	struct gw_tls_server *server = arg;

	*len = 0;
	*life = 0;
	if (gw_tls_suite_is_psk(mbedtls_ssl_session_get_ciphersuite_id(session)))
		return MBEDTLS_ERR_SSL_FEATURE_UNAVAILABLE;
	return mbedtls_ssl_ticket_write(&server->tickets, session, start, end, len, life);
}

static int
ticket_parse(void *arg, mbedtls_ssl_session *session, unsigned char *buf, size_t len)
{
	struct gw_tls_server *server = arg;

	return mbedtls_ssl_ticket_parse(&server->tickets, session, buf, len);
}

// RFC 4279 and RFC 8446 section 4.2.11. In TLS 1.3 this runs before it is known whether the PSK is used at all; choose_certificate closes that gap.
static int
find_psk(void *arg, mbedtls_ssl_context *ssl, const unsigned char *identity, size_t len)
{
	struct gw_tls_server *server = arg;
	struct gw_tls_conn *conn = mbedtls_ssl_get_user_data_p(ssl);
	uint8_t key[GW_TLS_PSK_MAX];
	size_t key_len, kept = len < GW_TLS_NAME_MAX ? len : GW_TLS_NAME_MAX;
	int rc;

	memcpy(conn->psk_name, identity, kept);
	conn->psk_name[kept] = '\0';
	conn->psk_proved = false;
	if (memchr(identity, 0, len) != NULL || len > GW_TLS_NAME_MAX)
		return MBEDTLS_ERR_SSL_UNKNOWN_IDENTITY;
	key_len = server->options.psk(server->options.arg, gw_span(identity, len), key);
	if (key_len == 0)
		return MBEDTLS_ERR_SSL_UNKNOWN_IDENTITY;
	rc = mbedtls_ssl_set_hs_psk(ssl, key, key_len);
	mbedtls_platform_zeroize(key, sizeof(key));
	conn->psk_proved = rc == 0; // holds only if the handshake ends well
	return rc;
}

// Called once the ClientHello is understood. Whoever named a PSK in TLS 1.3 gets no certificate: then the handshake can only end well by
// proving that key, and the name may be believed. (Naming somebody's PSK and falling back to a certificate handshake would otherwise do.)
static int
choose_certificate(mbedtls_ssl_context *ssl)
{
	struct gw_tls_conn *conn = mbedtls_ssl_get_user_data_p(ssl);

	mbedtls_ssl_set_hs_own_cert(ssl, NULL, NULL);
	if (conn->psk_proved)
		return 0;
	return mbedtls_ssl_set_hs_own_cert(ssl, &conn->server->chain, &conn->server->key);
}

static enum gw_error
read_files(struct gw_tls_server *server, const struct gw_tls_options *o, struct gw_why *why)
{
	int rc;

	if (o->certificate == NULL || o->certificate[0] == '\0' || o->key == NULL || o->key[0] == '\0')
		return gw_fail(why, GW_E_CONFIG, "tls.certificate and tls.key must name PEM files: a door on TLS needs both");
	if ((rc = mbedtls_x509_crt_parse_file(&server->chain, o->certificate)) != 0)
		return mbed_failed(why, GW_E_CONFIG, rc, "tls.certificate", o->certificate);
	if ((rc = mbedtls_pk_parse_keyfile(&server->key, o->key, NULL, mbedtls_ctr_drbg_random, &server->random)) != 0)
		return mbed_failed(why, GW_E_CONFIG, rc, "tls.key", o->key);
	if ((rc = mbedtls_pk_check_pair(&server->chain.pk, &server->key, mbedtls_ctr_drbg_random, &server->random)) != 0)
		return mbed_failed(why, GW_E_CONFIG, rc, "tls.key does not belong to tls.certificate:", o->key);
	if (o->ca != NULL && o->ca[0] != '\0' && (rc = mbedtls_x509_crt_parse_file(&server->authorities, o->ca)) != 0)
		return mbed_failed(why, GW_E_CONFIG, rc, "tls.ca", o->ca);
	return GW_OK;
}

static void
set_suites(struct gw_tls_server *server, const struct gw_tls_options *o)
{
	mbedtls_ssl_config *c = &server->shared;

	mbedtls_ssl_conf_min_tls_version(c, MBEDTLS_SSL_VERSION_TLS1_2);
	mbedtls_ssl_conf_max_tls_version(c, MBEDTLS_SSL_VERSION_TLS1_3);
	mbedtls_ssl_conf_ciphersuites(c, suites);
	mbedtls_ssl_conf_tls13_key_exchange_modes(c, MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_ALL);
	mbedtls_ssl_conf_rng(c, mbedtls_ctr_drbg_random, &server->random);
	mbedtls_ssl_conf_cert_cb(c, choose_certificate);
#if defined(MBEDTLS_SSL_RENEGOTIATION)
	mbedtls_ssl_conf_renegotiation(c, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
#endif
	if (o->psk != NULL)
		mbedtls_ssl_conf_psk_cb(c, find_psk, server);
	// Optional: a device may come with a PSK or a password instead. One that does present a certificate is held to it (tls_conn.c).
	mbedtls_ssl_conf_authmode(c, server->authorities.version != 0 ? MBEDTLS_SSL_VERIFY_OPTIONAL : MBEDTLS_SSL_VERIFY_NONE);
	if (server->authorities.version != 0)
		mbedtls_ssl_conf_ca_chain(c, &server->authorities, NULL);
}

static enum gw_error
set_tickets(struct gw_tls_server *server, uint32_t life_s, struct gw_why *why)
{
	int rc;

	mbedtls_ssl_conf_new_session_tickets(&server->shared, 0); // TLS 1.3: none
	mbedtls_ssl_conf_session_tickets(&server->shared, life_s != 0 ? MBEDTLS_SSL_SESSION_TICKETS_ENABLED : MBEDTLS_SSL_SESSION_TICKETS_DISABLED);
	if (life_s == 0)
		return GW_OK;
	rc = mbedtls_ssl_ticket_setup(&server->tickets, mbedtls_ctr_drbg_random, &server->random, MBEDTLS_CIPHER_AES_256_GCM, life_s);
	if (rc != 0)
		return mbed_failed(why, GW_E_SYSTEM, rc, "TLS session", "tickets");
	mbedtls_ssl_conf_session_tickets_cb(&server->shared, ticket_write, ticket_parse, server);
	return GW_OK;
}

static struct gw_tls_server *
server_new(const struct gw_tls_options *options)
{
	struct gw_tls_server *server = calloc(1, sizeof(*server));

	if (server == NULL)
		return NULL;
	server->options = *options;
	mbedtls_entropy_init(&server->entropy);
	mbedtls_ctr_drbg_init(&server->random);
	mbedtls_x509_crt_init(&server->chain);
	mbedtls_x509_crt_init(&server->authorities);
	mbedtls_pk_init(&server->key);
	mbedtls_ssl_config_init(&server->shared);
	mbedtls_ssl_ticket_init(&server->tickets);
	return server;
}

enum gw_error
gw_tls_server_open(const struct gw_tls_options *options, struct gw_tls_server **out, struct gw_why *why)
{
	struct gw_tls_server *server = server_new(options);
	enum gw_error error;
	int rc;

	*out = NULL;
	if (server == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	if (psa_crypto_init() != PSA_SUCCESS)
		error = gw_fail(why, GW_E_SYSTEM, "psa_crypto_init failed: no source of randomness?");
	else if ((rc = mbedtls_ctr_drbg_seed(&server->random, mbedtls_entropy_func, &server->entropy, NULL, 0)) != 0)
		error = mbed_failed(why, GW_E_SYSTEM, rc, "random", "generator");
	else if ((rc = mbedtls_ssl_config_defaults(&server->shared, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT)) != 0)
		error = mbed_failed(why, GW_E_MEMORY, rc, "TLS", "configuration");
	else
		error = read_files(server, options, why);
	if (error == GW_OK) {
		set_suites(server, options);
		error = set_tickets(server, options->ticket_s, why);
	}
	if (error != GW_OK) {
		gw_tls_server_close(server);
		return error;
	}
	*out = server;
	return GW_OK;
}

void
gw_tls_server_close(struct gw_tls_server *server)
{
	if (server == NULL)
		return;
	mbedtls_ssl_config_free(&server->shared);
	mbedtls_ssl_ticket_free(&server->tickets);
	mbedtls_pk_free(&server->key);
	mbedtls_x509_crt_free(&server->authorities);
	mbedtls_x509_crt_free(&server->chain);
	mbedtls_ctr_drbg_free(&server->random);
	mbedtls_entropy_free(&server->entropy);
	free(server);
}
