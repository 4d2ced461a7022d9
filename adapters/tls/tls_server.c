// SPDX-License-Identifier: Apache-2.0
// The shared side of TLS: trust, suites, tickets. What handshakes use is made whole, then only read; a newer one takes its place.
#include "adapters/tls/tls_internal.h"

#include "gateway/clock.h"

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

// Elliptic curves alone: an exchange in a finite field of 8192 bits, which anybody may ask for in TLS 1.3, costs what hundreds of these do.
static const uint16_t groups[] = {
	MBEDTLS_SSL_IANA_TLS_GROUP_X25519,
	MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1,
	MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1,
	MBEDTLS_SSL_IANA_TLS_GROUP_X448,
	MBEDTLS_SSL_IANA_TLS_GROUP_SECP521R1,
	MBEDTLS_SSL_IANA_TLS_GROUP_NONE,
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

// RFC 4279 and RFC 8446 section 4.2.11. In TLS 1.3 this runs before it is known whether the PSK is used at all; choose_certificate closes that gap.
static int
find_psk(void *arg, mbedtls_ssl_context *ssl, const unsigned char *identity, size_t len)
{
	struct gw_tls_server *server = arg;
	struct gw_tls_conn *conn = mbedtls_ssl_get_user_data_p(ssl);
	uint8_t key[GW_TLS_PSK_MAX];
	size_t key_len, kept = len < GW_TLS_NAME_MAX ? len : GW_TLS_NAME_MAX;
	int rc;

	if (gw_ticket_is_one(gw_span(identity, len))) // that is no good any more: nobody's name
		return MBEDTLS_ERR_SSL_UNKNOWN_IDENTITY;
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

// Called once the ClientHello is understood. Whoever named a PSK in TLS 1.3, or has a ticket that was taken, gets no certificate: then the handshake can only end
// well by proving that key, and the name may be believed. (Naming somebody's PSK and falling back to a certificate handshake would otherwise do.)
static int
choose_certificate(mbedtls_ssl_context *ssl)
{
	struct gw_tls_conn *conn = mbedtls_ssl_get_user_data_p(ssl);
	struct gw_trust_shown shown;

	mbedtls_ssl_set_hs_own_cert(ssl, NULL, NULL);
	if (!gw_trust_shows(conn->setup->trust, &shown))
		return 0;
	if (mbedtls_ssl_get_version_number(ssl) == MBEDTLS_SSL_VERSION_TLS1_3 && (conn->psk_proved || conn->resumed || gw_tls_ticket_taken(conn)))
		return 0;
	return mbedtls_ssl_set_hs_own_cert(ssl, shown.chain, shown.key);
}

// ---- Set-up ----

static void
set_tickets(struct gw_tls_server *server, mbedtls_ssl_config *c)
{
	bool on = server->tickets != NULL;

	mbedtls_ssl_conf_new_session_tickets(c, on ? 1 : 0); // TLS 1.3
	mbedtls_ssl_conf_session_tickets(c, on ? MBEDTLS_SSL_SESSION_TICKETS_ENABLED : MBEDTLS_SSL_SESSION_TICKETS_DISABLED);
	if (on)
		mbedtls_ssl_conf_session_tickets_cb(c, gw_tls_ticket_write, gw_tls_ticket_parse, server);
}

static void
configure(struct gw_tls_server *server, struct gw_tls_setup *setup)
{
	mbedtls_x509_crt *authorities = gw_trust_authorities(setup->trust);
	mbedtls_ssl_config *c = &setup->config;

	mbedtls_ssl_conf_min_tls_version(c, server->options.only_1_3 ? MBEDTLS_SSL_VERSION_TLS1_3 : MBEDTLS_SSL_VERSION_TLS1_2);
	mbedtls_ssl_conf_max_tls_version(c, MBEDTLS_SSL_VERSION_TLS1_3);
	mbedtls_ssl_conf_ciphersuites(c, suites);
	mbedtls_ssl_conf_groups(c, groups);
	mbedtls_ssl_conf_tls13_key_exchange_modes(c, MBEDTLS_SSL_TLS1_3_KEY_EXCHANGE_MODE_ALL);
	mbedtls_ssl_conf_rng(c, mbedtls_ctr_drbg_random, &server->random);
	mbedtls_ssl_conf_cert_cb(c, choose_certificate);
#if defined(MBEDTLS_SSL_RENEGOTIATION)
	mbedtls_ssl_conf_renegotiation(c, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
#endif
	if (server->options.psk != NULL)
		mbedtls_ssl_conf_psk_cb(c, find_psk, server);
	// Optional: a device may come with a PSK or a password instead. One that does present a certificate is held to it (tls_conn.c).
	mbedtls_ssl_conf_authmode(c, authorities != NULL ? MBEDTLS_SSL_VERIFY_OPTIONAL : MBEDTLS_SSL_VERIFY_NONE);
	if (authorities != NULL)
		mbedtls_ssl_conf_ca_chain(c, authorities, gw_trust_lists(setup->trust));
	set_tickets(server, c);
}

void
gw_tls_setup_drop(struct gw_tls_setup *setup)
{
	if (setup == NULL || atomic_fetch_sub_explicit(&setup->references, 1, memory_order_acq_rel) > 1)
		return;
	mbedtls_ssl_config_free(&setup->config);
	gw_trust_drop(setup->trust);
	free(setup);
}

struct gw_tls_setup *
gw_tls_setup_hold(struct gw_tls_server *server)
{
	struct gw_tls_setup *setup;

	pthread_mutex_lock(&server->lock);
	setup = server->setup;
	atomic_fetch_add_explicit(&setup->references, 1, memory_order_relaxed);
	pthread_mutex_unlock(&server->lock);
	return setup;
}

static enum gw_error
make_setup(struct gw_tls_server *server, const struct gw_trust_options *files, struct gw_tls_setup **out, struct gw_why *why)
{
	struct gw_tls_setup *setup = calloc(1, sizeof(*setup));
	struct gw_trust_shown shown;
	enum gw_error error;

	*out = NULL;
	if (setup == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	atomic_store(&setup->references, 1);
	mbedtls_ssl_config_init(&setup->config);
	if ((error = gw_trust_load(files, &setup->trust, why)) == GW_OK && !gw_trust_shows(setup->trust, &shown))
		error = gw_fail(why, GW_E_CONFIG, "tls.certificate and tls.key must name files: a door on TLS needs both");
	if (error == GW_OK && mbedtls_ssl_config_defaults(&setup->config, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT) != 0)
		error = gw_fail(why, GW_E_MEMORY, "out of memory");
	if (error != GW_OK) {
		gw_tls_setup_drop(setup);
		return error;
	}
	configure(server, setup);
	*out = setup;
	return GW_OK;
}

enum gw_error
gw_tls_server_renew(struct gw_tls_server *server, const struct gw_trust_options *files, struct gw_why *why)
{
	struct gw_tls_setup *setup, *old;
	struct gw_why words = { "" };
	enum gw_error error = make_setup(server, files, &setup, &words);

	if (error != GW_OK) {
		pthread_mutex_lock(&server->lock);
		server->refused_us = gw_clock_wall_us();
		server->refused = words;
		pthread_mutex_unlock(&server->lock);
		return gw_fail(why, error, "%s", words.text);
	}
	(void)!gw_fail(why, GW_OK, "%s", gw_trust_warning(setup->trust));
	pthread_mutex_lock(&server->lock);
	server->taken_us = gw_clock_wall_us();
	server->refused_us = 0;
	old = server->setup;
	server->setup = setup;
	setup->generation = atomic_load(&server->generation) + 1;
	atomic_store_explicit(&server->generation, setup->generation, memory_order_release);
	pthread_mutex_unlock(&server->lock);
	gw_tls_setup_drop(old);
	return GW_OK;
}

struct gw_trust *
gw_tls_server_trust(struct gw_tls_server *server)
{
	struct gw_tls_setup *setup = gw_tls_setup_hold(server);
	struct gw_trust *trust = gw_trust_hold(setup->trust);

	gw_tls_setup_drop(setup);
	return trust;
}

void
gw_tls_server_status(struct gw_tls_server *server, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	yyjson_mut_val *row;
	struct gw_trust *trust;
	char words[192], text[40];

	if (server == NULL)
		return;
	row = yyjson_mut_obj_add_obj(doc, object, "credentials");
	trust = gw_tls_server_trust(server);
	gw_trust_words(trust, words, sizeof(words));
	yyjson_mut_obj_add_strcpy(doc, row, "in_use", words);
	if (gw_trust_warning(trust)[0] != '\0')
		yyjson_mut_obj_add_strcpy(doc, row, "warning", gw_trust_warning(trust));
	gw_trust_drop(trust);
	pthread_mutex_lock(&server->lock);
	yyjson_mut_obj_add_strcpy(doc, row, "since", gw_time_format(server->taken_us, text));
	if (server->refused_us != 0) {
		yyjson_mut_obj_add_strcpy(doc, row, "refused_at", gw_time_format(server->refused_us, text));
		yyjson_mut_obj_add_strcpy(doc, row, "refused", server->refused.text);
	}
	pthread_mutex_unlock(&server->lock);
}

// ---- Open and close ----

static enum gw_error
seed(struct gw_tls_server *server, struct gw_why *why)
{
	int rc;

	if (psa_crypto_init() != PSA_SUCCESS)
		return gw_fail(why, GW_E_SYSTEM, "psa_crypto_init failed: no source of randomness?");
	if ((rc = mbedtls_ctr_drbg_seed(&server->random, mbedtls_entropy_func, &server->entropy, NULL, 0)) != 0)
		return mbed_failed(why, GW_E_SYSTEM, rc, "random", "generator");
	return GW_OK;
}

static enum gw_error
open_tickets(struct gw_tls_server *server, const struct gw_tls_options *o, struct gw_why *why)
{
	struct gw_why words = { "" };
	enum gw_error error;

	if (o->ticket_s == 0)
		return GW_OK;
	error = gw_ticket_keys_open(o->ticket_file, o->door, o->ticket_s, &server->tickets, &words);
	if (words.text[0] != '\0')
		(void)!gw_fail(why, GW_OK, "%s", words.text);
	return error;
}

enum gw_error
gw_tls_server_open(const struct gw_tls_options *options, struct gw_tls_server **out, struct gw_why *why)
{
	struct gw_tls_server *server = calloc(1, sizeof(*server));
	enum gw_error error;

	*out = NULL;
	if (server == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	server->options = *options;
	pthread_mutex_init(&server->lock, NULL);
	mbedtls_entropy_init(&server->entropy);
	mbedtls_ctr_drbg_init(&server->random);
	if ((error = seed(server, why)) == GW_OK && (error = open_tickets(server, options, why)) == GW_OK)
		error = gw_tls_server_renew(server, &options->trust, why);
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
	gw_tls_setup_drop(server->setup);
	gw_ticket_keys_close(server->tickets);
	mbedtls_ctr_drbg_free(&server->random);
	mbedtls_entropy_free(&server->entropy);
	pthread_mutex_destroy(&server->lock);
	free(server);
}
