// SPDX-License-Identifier: Apache-2.0
// One TLS connection on one non-blocking socket: handshake, identity, read, write. The thread that owns the connection.
// The socket is read at most once a turn, for header and body of all records that have come; the handshake's small messages leave together.
#include "adapters/tls/tls_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include <mbedtls/error.h>

static pthread_mutex_t shake = PTHREAD_MUTEX_INITIALIZER;

void
gw_tls_shake_lock(void)
{
	pthread_mutex_lock(&shake);
}

void
gw_tls_shake_unlock(void)
{
	pthread_mutex_unlock(&shake);
}

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
	struct gw_tls_conn *conn = arg;
	ssize_t n = send(conn->fd, bytes, len, MSG_NOSIGNAL | MSG_DONTWAIT | (conn->shaking ? MSG_MORE : 0));

	return n >= 0 ? (int)n : socket_error(MBEDTLS_ERR_SSL_WANT_WRITE);
}

// Fills the thread's buffer once a turn.
static int
fill(struct gw_tls_conn *conn)
{
	struct gw_tls_ahead *ahead = conn->ahead;
	ssize_t n;

	if (ahead == NULL || ahead->dry)
		return MBEDTLS_ERR_SSL_WANT_READ;
	ahead->dry = true;
	n = recv(conn->fd, ahead->buf, ahead->cap, MSG_DONTWAIT);
	if (n <= 0)
		return n == 0 ? 0 : socket_error(MBEDTLS_ERR_SSL_WANT_READ);
	ahead->at = 0;
	ahead->end = (size_t)n;
	return 1;
}

static int
on_receive(void *arg, unsigned char *buf, size_t cap)
{
	struct gw_tls_conn *conn = arg;
	struct gw_tls_ahead *ahead = conn->ahead;
	size_t len;
	int rc;

	if (ahead == NULL || ahead->at == ahead->end) {
		rc = fill(conn);
		if (rc <= 0)
			return rc;
	}
	len = ahead->end - ahead->at;
	if (len > cap)
		len = cap;
	memcpy(buf, ahead->buf + ahead->at, len);
	ahead->at += len;
	return (int)len;
}

struct gw_tls_conn *
gw_tls_conn_new(struct gw_tls_server *server, int fd)
{
	struct gw_tls_conn *conn = calloc(1, sizeof(*conn));

	if (conn == NULL)
		return NULL;
	conn->server = server;
	conn->setup = gw_tls_setup_hold(server);
	conn->check.trust = conn->setup->trust;
	conn->looked = conn->setup->generation;
	conn->fd = fd;
	conn->shaking = true;
	mbedtls_ssl_init(&conn->ssl);
	if (mbedtls_ssl_setup(&conn->ssl, &conn->setup->config) != 0) {
		gw_tls_conn_free(conn);
		return NULL;
	}
	mbedtls_ssl_set_user_data_p(&conn->ssl, conn);
	mbedtls_ssl_set_verify(&conn->ssl, gw_trust_verify, &conn->check);
	mbedtls_ssl_set_bio(&conn->ssl, conn, on_send, on_receive, NULL);
	return conn;
}

void
gw_tls_conn_free(struct gw_tls_conn *conn)
{
	if (conn == NULL)
		return;
	mbedtls_ssl_free(&conn->ssl);
	gw_tls_ticket_forget(conn);
	gw_tls_setup_drop(conn->setup);
	free(conn);
}

void
gw_tls_turn(struct gw_tls_conn *conn, struct gw_tls_ahead *ahead)
{
	conn->ahead = ahead;
	ahead->at = ahead->end = 0;
	ahead->dry = false;
}

enum gw_tls_step
gw_tls_step_of(int rc, int *error)
{
	switch (rc) {
	case MBEDTLS_ERR_SSL_WANT_READ:
	case MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET:
		return GW_TLS_WANT_READ;
	case MBEDTLS_ERR_SSL_WANT_WRITE:
		return GW_TLS_WANT_WRITE;
	case 0:
	case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY:
	case MBEDTLS_ERR_SSL_CONN_EOF:
		*error = MBEDTLS_ERR_SSL_CONN_EOF;
		return GW_TLS_CLOSED;
	default:
		*error = rc;
		return GW_TLS_FAILED;
	}
}

void
gw_tls_identify(struct gw_tls_conn *conn, const mbedtls_x509_crt *crt)
{
	const struct gw_tls_options *o = &conn->server->options;

	if (!conn->identified)
		gw_trust_identify(conn->setup->trust, crt, o->subject, o->arg, &conn->identity);
	conn->identified = true;
}

// In TLS 1.2 only a PSK suite uses it, in TLS 1.3 see choose_certificate() in tls_server.c.
bool
gw_tls_psk_was_used(struct gw_tls_conn *conn, int suite)
{
	if (!conn->psk_proved)
		return false;
	return mbedtls_ssl_get_version_number(&conn->ssl) == MBEDTLS_SSL_VERSION_TLS1_3 || gw_tls_suite_is_psk(suite);
}

static enum gw_tls_step
refuse_certificate(struct gw_tls_conn *conn, uint32_t flags)
{
	conn->refused_flags = flags;
	conn->error = MBEDTLS_ERR_X509_CERT_VERIFY_FAILED;
	(void)mbedtls_ssl_send_alert_message(&conn->ssl, MBEDTLS_SSL_ALERT_LEVEL_FATAL,
	    (flags & MBEDTLS_X509_BADCERT_EXPIRED) != 0 ? MBEDTLS_SSL_ALERT_MSG_CERT_EXPIRED : MBEDTLS_SSL_ALERT_MSG_BAD_CERT);
	return GW_TLS_FAILED;
}

static enum gw_tls_step
identify(struct gw_tls_conn *conn)
{
	const mbedtls_x509_crt *crt = mbedtls_ssl_get_peer_cert(&conn->ssl);

	if (crt != NULL) {
		uint32_t flags = mbedtls_ssl_get_verify_result(&conn->ssl);

		gw_tls_identify(conn, crt);
		if (flags != 0)
			return refuse_certificate(conn, flags);
	} else if (!conn->resumed) {
		memset(&conn->identity, 0, sizeof(conn->identity));
		if (gw_tls_psk_was_used(conn, mbedtls_ssl_get_ciphersuite_id_from_ssl(&conn->ssl))) {
			conn->identity.auth = GW_AUTH_PSK;
			conn->identity.known = true;
		}
		snprintf(conn->identity.name, sizeof(conn->identity.name), "%s", conn->psk_name);
	}
	return GW_TLS_DONE;
}

// Lets go what MSG_MORE held back.
static void
push(struct gw_tls_conn *conn)
{
	int on = 1;

	setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

enum gw_tls_step
gw_tls_handshake(struct gw_tls_conn *conn)
{
	enum gw_tls_step step;
	int rc;

	gw_tls_shake_lock();
	gw_tls_shaking = conn;
	rc = mbedtls_ssl_handshake(&conn->ssl);
	gw_tls_shaking = NULL;
	gw_tls_shake_unlock();
	if (rc == 0 || (rc == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED && mbedtls_ssl_get_peer_cert(&conn->ssl) != NULL)) {
		step = identify(conn);
		gw_tls_ticket_forget(conn);
		conn->shaking = false;
	} else {
		step = gw_tls_step_of(rc, &conn->error);
	}
	push(conn);
	return step;
}

void
gw_tls_identity(struct gw_tls_conn *conn, struct gw_tls_identity *identity)
{
	*identity = conn->identity;
}

const char *
gw_tls_reason(const struct gw_tls_conn *conn, struct gw_tls_identity *refused)
{
	struct gw_tls_conn *mine = (struct gw_tls_conn *)conn;

	memset(refused, 0, sizeof(*refused));
	if (conn->refused_flags != 0) {
		*refused = conn->identity;
		mbedtls_x509_crt_verify_info(mine->reason, sizeof(mine->reason), "", conn->refused_flags);
		mine->reason[strcspn(mine->reason, "\n")] = '\0';
		return conn->reason;
	}
	if (conn->psk_name[0] != '\0' && conn->shaking) {
		refused->auth = GW_AUTH_PSK;
		snprintf(refused->name, sizeof(refused->name), "%s", conn->psk_name);
	}
	if (conn->error == MBEDTLS_ERR_SSL_CONN_EOF)
		return "closed by the peer";
	mbedtls_strerror(conn->error, mine->reason, sizeof(mine->reason));
	return conn->reason;
}

enum gw_refused
gw_tls_refused(const struct gw_tls_conn *conn)
{
	if (conn->refused_flags != 0)
		return gw_trust_refused(conn->refused_flags);
	if (conn->psk_name[0] == '\0' || !conn->shaking || conn->error == MBEDTLS_ERR_SSL_CONN_EOF)
		return GW_REFUSED_NONE;
	return conn->psk_proved ? GW_REFUSED_PSK_WRONG : GW_REFUSED_PSK_UNKNOWN;
}

const char *
gw_tls_version(const struct gw_tls_conn *conn)
{
	return mbedtls_ssl_get_version(&conn->ssl);
}

bool
gw_tls_resumed(const struct gw_tls_conn *conn)
{
	return conn->resumed;
}

enum gw_refused
gw_tls_lapsed(struct gw_tls_conn *conn, int64_t now_s)
{
	uint64_t generation = atomic_load_explicit(&conn->server->generation, memory_order_acquire);
	struct gw_tls_setup *setup;
	enum gw_refused why;

	if (conn->identity.auth != GW_AUTH_CERTIFICATE || (generation == conn->looked && now_s <= conn->check.proof.until_s))
		return GW_REFUSED_NONE;
	setup = gw_tls_setup_hold(conn->server);
	why = gw_trust_lapsed(setup->trust, &conn->check.proof, now_s);
	if (why == GW_REFUSED_NONE)
		conn->looked = setup->generation;
	gw_tls_setup_drop(setup);
	return why;
}

enum gw_tls_step
gw_tls_read(struct gw_tls_conn *conn, void *buf, size_t cap, size_t *len)
{
	int rc = mbedtls_ssl_read(&conn->ssl, buf, cap);

	*len = rc > 0 ? (size_t)rc : 0;
	return rc > 0 ? GW_TLS_DONE : gw_tls_step_of(rc, &conn->error);
}

enum gw_tls_step
gw_tls_write(struct gw_tls_conn *conn, const void *bytes, size_t len, size_t *taken)
{
	int rc = mbedtls_ssl_write(&conn->ssl, bytes, len);

	*taken = rc > 0 ? (size_t)rc : 0;
	return rc > 0 ? GW_TLS_DONE : gw_tls_step_of(rc, &conn->error);
}

void
gw_tls_bye(struct gw_tls_conn *conn)
{
	if (!conn->shaking && conn->error == 0)
		(void)mbedtls_ssl_close_notify(&conn->ssl);
}
