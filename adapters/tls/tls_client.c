// SPDX-License-Identifier: Apache-2.0
// The client's role: files, verification of the server, handshake, read, write. The thread that owns the link.
#include "adapters/tls/tls_client.h"
#include "adapters/tls/tls_internal.h"
#include "adapters/tls/trust_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <psa/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <mbedtls/error.h>

struct gw_tls_link {
	mbedtls_ssl_context ssl;
	mbedtls_ssl_config config;
	mbedtls_entropy_context entropy;
	mbedtls_ctr_drbg_context random;
	mbedtls_x509_crt chain, authorities;
	mbedtls_pk_context key;
	int fd, error;
	uint32_t refused_flags; // why the server's certificate did not verify
	bool shaking, address;  // address: an IP address is expected, which must not stand in SNI (RFC 6066 section 3)
	char name[GW_TLS_NAME_MAX + 128], ca[192], reason[192];
};

// With forward secrecy and authenticated encryption; certificates only.
static const int suites[] = {
	MBEDTLS_TLS1_3_AES_128_GCM_SHA256,
	MBEDTLS_TLS1_3_AES_256_GCM_SHA384,
	MBEDTLS_TLS1_3_CHACHA20_POLY1305_SHA256,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
	MBEDTLS_TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
	MBEDTLS_TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	MBEDTLS_TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
	MBEDTLS_TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	MBEDTLS_TLS_DHE_RSA_WITH_AES_128_GCM_SHA256,
	MBEDTLS_TLS_DHE_RSA_WITH_AES_256_GCM_SHA384,
	0,
};

// ---- Files ----

static bool
given(const char *text)
{
	return text != NULL && text[0] != '\0';
}

// The end of a long path says more than its beginning.
static const char *
tail(const char *path)
{
	size_t len = strlen(path);

	return len > 80 ? path + len - 80 : path;
}

static enum gw_error
file_failed(struct gw_why *why, int code, const char *what, const char *file)
{
	char text[96];

	mbedtls_strerror(code, text, sizeof(text));
	return gw_fail(why, GW_E_CONFIG, "%s %s: %s", what, tail(file), code > 0 ? "some of its certificates cannot be read" : text);
}

static enum gw_error
read_files(struct gw_tls_link *link, const struct gw_tls_client_options *o, struct gw_why *why)
{
	struct gw_trust_bytes key;
	enum gw_error error;
	int rc;

	if ((rc = mbedtls_x509_crt_parse_file(&link->authorities, o->ca)) != 0)
		return file_failed(why, rc, "ca", o->ca);
	if (!given(o->certificate))
		return GW_OK;
	if ((rc = mbedtls_x509_crt_parse_file(&link->chain, o->certificate)) != 0)
		return file_failed(why, rc, "certificate", o->certificate);
	if (mbedtls_x509_time_is_past(&link->chain.valid_to))
		return gw_fail(why, GW_E_CONFIG, "certificate %s: it has expired: renew it", tail(o->certificate));
	if ((error = gw_trust_read_secret("key", o->key, &key, why)) != GW_OK)
		return error;
	rc = mbedtls_pk_parse_key(&link->key, key.at, key.len + 1, NULL, 0, mbedtls_ctr_drbg_random, &link->random);
	gw_trust_bytes_fini(&key);
	if (rc != 0)
		return file_failed(why, rc, "key", o->key);
	if (mbedtls_pk_check_pair(&link->chain.pk, &link->key, mbedtls_ctr_drbg_random, &link->random) != 0)
		return gw_fail(why, GW_E_CONFIG, "key %s does not belong to the certificate", tail(o->key));
	return GW_OK;
}

// ---- The socket ----

static int
socket_error(int want)
{
	if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)
		return want;
	return MBEDTLS_ERR_SSL_CONN_EOF;
}

static int
on_send(void *arg, const unsigned char *bytes, size_t len)
{
	struct gw_tls_link *link = arg;
	ssize_t n = send(link->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT);

	return n >= 0 ? (int)n : socket_error(MBEDTLS_ERR_SSL_WANT_WRITE);
}

static int
on_receive(void *arg, unsigned char *buf, size_t cap)
{
	struct gw_tls_link *link = arg;
	ssize_t n = recv(link->fd, buf, cap, MSG_DONTWAIT);

	return n >= 0 ? (int)n : socket_error(MBEDTLS_ERR_SSL_WANT_READ);
}

// ---- Open, close ----

static int
set_up(struct gw_tls_link *link, const struct gw_tls_client_options *o)
{
	struct in6_addr at;
	int rc;

	if ((rc = mbedtls_ssl_config_defaults(&link->config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT)) != 0)
		return rc;
	mbedtls_ssl_conf_min_tls_version(&link->config, MBEDTLS_SSL_VERSION_TLS1_2);
	mbedtls_ssl_conf_max_tls_version(&link->config, MBEDTLS_SSL_VERSION_TLS1_3);
	mbedtls_ssl_conf_ciphersuites(&link->config, suites);
	mbedtls_ssl_conf_rng(&link->config, mbedtls_ctr_drbg_random, &link->random);
	mbedtls_ssl_conf_session_tickets(&link->config, MBEDTLS_SSL_SESSION_TICKETS_DISABLED);
#if defined(MBEDTLS_SSL_RENEGOTIATION)
	mbedtls_ssl_conf_renegotiation(&link->config, MBEDTLS_SSL_RENEGOTIATION_DISABLED);
#endif
	mbedtls_ssl_conf_authmode(&link->config, MBEDTLS_SSL_VERIFY_REQUIRED);
	mbedtls_ssl_conf_ca_chain(&link->config, &link->authorities, NULL);
	if (given(o->certificate) && (rc = mbedtls_ssl_conf_own_cert(&link->config, &link->chain, &link->key)) != 0)
		return rc;
	if ((rc = mbedtls_ssl_setup(&link->ssl, &link->config)) != 0)
		return rc;
	link->address = inet_pton(AF_INET, link->name, &at) == 1 || inet_pton(AF_INET6, link->name, &at) == 1;
	mbedtls_ssl_set_bio(&link->ssl, link, on_send, on_receive, NULL);
	return mbedtls_ssl_set_hostname(&link->ssl, link->address ? NULL : link->name);
}

static struct gw_tls_link *
link_new(const struct gw_tls_client_options *o, int fd)
{
	struct gw_tls_link *link = calloc(1, sizeof(*link));

	if (link == NULL)
		return NULL;
	link->fd = fd;
	link->shaking = true;
	snprintf(link->name, sizeof(link->name), "%s", o->name != NULL ? o->name : "");
	snprintf(link->ca, sizeof(link->ca), "%s", tail(o->ca));
	mbedtls_ssl_init(&link->ssl);
	mbedtls_ssl_config_init(&link->config);
	mbedtls_entropy_init(&link->entropy);
	mbedtls_ctr_drbg_init(&link->random);
	mbedtls_x509_crt_init(&link->chain);
	mbedtls_x509_crt_init(&link->authorities);
	mbedtls_pk_init(&link->key);
	return link;
}

enum gw_error
gw_tls_link_open(const struct gw_tls_client_options *options, int fd, struct gw_tls_link **out, struct gw_why *why)
{
	struct gw_tls_link *link = link_new(options, fd);
	enum gw_error error;

	*out = NULL;
	if (link == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	if (psa_crypto_init() != PSA_SUCCESS || mbedtls_ctr_drbg_seed(&link->random, mbedtls_entropy_func, &link->entropy, NULL, 0) != 0)
		error = gw_fail(why, GW_E_SYSTEM, "no source of randomness for TLS");
	else if ((error = read_files(link, options, why)) == GW_OK && set_up(link, options) != 0)
		error = gw_fail(why, GW_E_MEMORY, "TLS could not be set up: out of memory?");
	if (error != GW_OK) {
		gw_tls_link_close(link);
		return error;
	}
	*out = link;
	return GW_OK;
}

enum gw_error
gw_tls_client_check(const struct gw_tls_client_options *options, struct gw_why *why)
{
	struct gw_tls_link *link;
	enum gw_error error = gw_tls_link_open(options, -1, &link, why);

	gw_tls_link_close(link);
	return error;
}

void
gw_tls_link_close(struct gw_tls_link *link)
{
	if (link == NULL)
		return;
	if (!link->shaking && link->error == 0)
		(void)mbedtls_ssl_close_notify(&link->ssl);
	mbedtls_ssl_free(&link->ssl);
	mbedtls_ssl_config_free(&link->config);
	mbedtls_pk_free(&link->key);
	mbedtls_x509_crt_free(&link->authorities);
	mbedtls_x509_crt_free(&link->chain);
	mbedtls_ctr_drbg_free(&link->random);
	mbedtls_entropy_free(&link->entropy);
	free(link);
}

// ---- Steps ----

// An address is not in SNI, so Mbed TLS was not told of it: the certificate is verified once more with it.
static enum gw_tls_step
check_address(struct gw_tls_link *link)
{
	mbedtls_x509_crt *crt = (mbedtls_x509_crt *)(uintptr_t)mbedtls_ssl_get_peer_cert(&link->ssl); // not changed by verifying
	uint32_t flags = 0;

	if (crt != NULL && mbedtls_x509_crt_verify(crt, &link->authorities, NULL, link->name, &flags, NULL, NULL) == 0)
		return GW_TLS_DONE;
	link->refused_flags = flags != 0 ? flags : MBEDTLS_X509_BADCERT_MISSING;
	link->error = MBEDTLS_ERR_X509_CERT_VERIFY_FAILED;
	(void)mbedtls_ssl_send_alert_message(&link->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL, MBEDTLS_SSL_ALERT_MSG_BAD_CERT);
	return GW_TLS_FAILED;
}

enum gw_tls_step
gw_tls_link_handshake(struct gw_tls_link *link)
{
	enum gw_tls_step step = GW_TLS_DONE;
	int rc;

	gw_tls_shake_lock();
	rc = mbedtls_ssl_handshake(&link->ssl);
	gw_tls_shake_unlock();
	if (rc != 0) {
		if (rc == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED)
			link->refused_flags = mbedtls_ssl_get_verify_result(&link->ssl);
		return gw_tls_step_of(rc, &link->error);
	}
	if (link->address)
		step = check_address(link);
	link->shaking = step != GW_TLS_DONE;
	return step;
}

enum gw_tls_step
gw_tls_link_read(struct gw_tls_link *link, void *buf, size_t cap, size_t *len)
{
	int rc = mbedtls_ssl_read(&link->ssl, buf, cap);

	*len = rc > 0 ? (size_t)rc : 0;
	return rc > 0 ? GW_TLS_DONE : gw_tls_step_of(rc, &link->error);
}

enum gw_tls_step
gw_tls_link_write(struct gw_tls_link *link, const void *bytes, size_t len, size_t *taken)
{
	int rc = mbedtls_ssl_write(&link->ssl, bytes, len);

	*taken = rc > 0 ? (size_t)rc : 0;
	return rc > 0 ? GW_TLS_DONE : gw_tls_step_of(rc, &link->error);
}

// ---- Words ----

static const char *
refused_words(struct gw_tls_link *link)
{
	uint32_t flags = link->refused_flags;

	if ((flags & MBEDTLS_X509_BADCERT_EXPIRED) != 0)
		snprintf(link->reason, sizeof(link->reason), "its certificate has expired");
	else if ((flags & MBEDTLS_X509_BADCERT_FUTURE) != 0)
		snprintf(link->reason, sizeof(link->reason), "its certificate is not valid yet: is this host's clock right?");
	else if ((flags & MBEDTLS_X509_BADCERT_NOT_TRUSTED) != 0)
		snprintf(link->reason, sizeof(link->reason), "its certificate is of no authority in %.100s (ca)", link->ca);
	else if ((flags & MBEDTLS_X509_BADCERT_CN_MISMATCH) != 0)
		snprintf(link->reason, sizeof(link->reason), "its certificate is not for \"%.80s\" (server_name)", link->name);
	else {
		mbedtls_x509_crt_verify_info(link->reason, sizeof(link->reason), "", flags);
		link->reason[strcspn(link->reason, "\n")] = '\0';
	}
	return link->reason;
}

const char *
gw_tls_link_reason(const struct gw_tls_link *link)
{
	struct gw_tls_link *mine = (struct gw_tls_link *)(uintptr_t)link; // the words are kept in it

	if (link->refused_flags != 0)
		return refused_words(mine);
	if (link->error == MBEDTLS_ERR_SSL_CONN_EOF)
		return link->shaking ? "closed by the peer during the TLS handshake (does it speak TLS?)" : "closed by the peer";
	if (link->error == MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE)
		return "the peer refused the TLS connection (does it want a client certificate, or know ours?)";
	mbedtls_strerror(link->error, mine->reason, sizeof(mine->reason));
	return link->reason;
}

const char *
gw_tls_link_version(const struct gw_tls_link *link)
{
	return mbedtls_ssl_get_version(&link->ssl);
}
