// SPDX-License-Identifier: Apache-2.0
// One TLS connection or DTLS session on a non-blocking socket. Reads of a stream are buffered here,
// because Mbed TLS asks for a record's five header bytes first and would cost a system call more.
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mbedtls/net_sockets.h>

#include "credentials.h"
#include "load.h"

enum { RX_BYTES = 4096 };

static int
stream_receive(void *arg, unsigned char *to, size_t room)
{
	struct load_link *k = arg;

	if (k->rx_at == k->rx_end) {
		if (k->dry)
			return MBEDTLS_ERR_SSL_WANT_READ;
		ssize_t n = recv(k->fd, k->rx, RX_BYTES, 0);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? MBEDTLS_ERR_SSL_WANT_READ
			                                         : MBEDTLS_ERR_NET_RECV_FAILED;
		if (n == 0)
			return 0;
		k->dry = n < RX_BYTES;
		k->rx_at = 0;
		k->rx_end = (uint32_t)n;
	}
	size_t n = k->rx_end - k->rx_at;
	if (n > room)
		n = room;
	memcpy(to, k->rx + k->rx_at, n);
	k->rx_at += (uint32_t)n;
	return (int)n;
}

static int
datagram_receive(void *arg, unsigned char *to, size_t room)
{
	struct load_link *k = arg;
	ssize_t n = recv(k->fd, to, room, 0);

	if (n >= 0)
		return (int)n;
	return errno == EAGAIN || errno == EINTR ? MBEDTLS_ERR_SSL_WANT_READ
	                                         : MBEDTLS_ERR_NET_RECV_FAILED;
}

static int
transmit(void *arg, const unsigned char *from, size_t size)
{
	struct load_link *k = arg;
	ssize_t n = send(k->fd, from, size, MSG_NOSIGNAL);

	if (n >= 0)
		return (int)n;
	return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? MBEDTLS_ERR_SSL_WANT_WRITE
	                                                             : MBEDTLS_ERR_NET_SEND_FAILED;
}

static void
timer_set(void *arg, uint32_t intermediate_ms, uint32_t final_ms)
{
	struct load_link *k = arg;
	uint64_t now = final_ms ? load_now_ns() : 0;

	k->timer_intermediate_ns = final_ms ? now + intermediate_ms * 1000000ULL : 0;
	k->timer_final_ns = final_ms ? now + final_ms * 1000000ULL : 0;
}

static int
timer_get(void *arg)
{
	const struct load_link *k = arg;

	if (k->timer_final_ns == 0)
		return -1;
	uint64_t now = load_now_ns();
	return now >= k->timer_final_ns ? 2 : now >= k->timer_intermediate_ns ? 1 : 0;
}

bool
load_link_timer_expired(const struct load_link *k)
{
	return k->timer_final_ns != 0 && load_now_ns() >= k->timer_final_ns;
}

static bool
socket_open(struct load_link *k, const struct sockaddr *to, socklen_t to_size)
{
	int yes = 1;

	k->fd = socket(to->sa_family, (k->datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK
	               | SOCK_CLOEXEC, 0);
	if (k->fd < 0)
		return false;
	if (!k->datagram)
		setsockopt(k->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
	return connect(k->fd, to, to_size) == 0 || errno == EINPROGRESS;
}

static mbedtls_ssl_config *
configuration(struct load_link *k, struct load_credentials *c, const struct load_options *o,
              unsigned number)
{
	if (o->psk_identity == NULL && o->ca_key == NULL)
		return &c->shared;
	k->own = calloc(1, sizeof *k->own);
	if (k->own == NULL)
		return NULL;
	mbedtls_x509_crt_init(&k->own->cert);
	if (!load_credentials_configure(c, o, &k->own->conf))
		return NULL;
	if (o->psk_identity != NULL && !load_credentials_psk(c, o, &k->own->conf, number))
		return NULL;
	if (o->ca_key != NULL && (!load_issue(c, o, &k->own->cert, number) ||
	    mbedtls_ssl_conf_own_cert(&k->own->conf, &k->own->cert, &c->key) != 0))
		return NULL;
	return &k->own->conf;
}

static bool
tls_open(struct load_link *k, struct load_credentials *c, const struct load_options *o,
         unsigned number)
{
	mbedtls_ssl_config *conf = configuration(k, c, o, number);

	if (conf == NULL || mbedtls_ssl_setup(&k->ssl, conf) != 0 ||
	    mbedtls_ssl_set_hostname(&k->ssl, "localhost") != 0)
		return false;
	if (o->cid && mbedtls_ssl_set_cid(&k->ssl, MBEDTLS_SSL_CID_ENABLED, NULL, 0) != 0)
		return false;
	mbedtls_ssl_set_bio(&k->ssl, k, transmit, k->datagram ? datagram_receive : stream_receive,
	                    NULL);
	if (k->datagram)
		mbedtls_ssl_set_timer_cb(&k->ssl, k, timer_set, timer_get);
	return true;
}

bool
load_link_open(struct load_link *k, struct load_credentials *c, const struct load_options *o,
               const struct sockaddr *to, socklen_t to_size, unsigned number)
{
	memset(k, 0, sizeof *k);
	k->fd = -1;
	k->datagram = o->coap;
	k->plain = o->plain;
	mbedtls_ssl_init(&k->ssl);
	if (!k->datagram && (k->rx = malloc(RX_BYTES)) == NULL)
		return false;
	return socket_open(k, to, to_size) && (k->plain || tls_open(k, c, o, number));
}

enum load_step
load_link_handshake(struct load_link *k)
{
	int error = 0;
	socklen_t size = sizeof error;

	if (getsockopt(k->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0)
		return LOAD_STEP_FAILED;
	if (k->plain)
		return LOAD_STEP_DONE;
	k->dry = false;
	switch (mbedtls_ssl_handshake(&k->ssl)) {
	case 0:                            return LOAD_STEP_DONE;
	case MBEDTLS_ERR_SSL_WANT_READ:    return LOAD_STEP_READ;
	case MBEDTLS_ERR_SSL_WANT_WRITE:   return LOAD_STEP_WRITE;
	default:                           return LOAD_STEP_FAILED;
	}
}

static int
plain_read(struct load_link *k, uint8_t *to, size_t room)
{
	int n = k->datagram ? datagram_receive(k, to, room) : stream_receive(k, to, room);

	return n == MBEDTLS_ERR_SSL_WANT_READ ? 0 : n <= 0 ? -1 : n;
}

int
load_link_read(struct load_link *k, uint8_t *to, size_t room)
{
	if (k->plain)
		return plain_read(k, to, room);
	for (;;) {
		int n = mbedtls_ssl_read(&k->ssl, to, room);
		if (n > 0)
			return n;
		if (n == MBEDTLS_ERR_SSL_WANT_READ || n == MBEDTLS_ERR_SSL_WANT_WRITE)
			return 0;
		if (n != MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET)
			return -1;
	}
}

int
load_link_write(struct load_link *k, const uint8_t *from, size_t size)
{
	int n = k->plain ? transmit(k, from, size) : mbedtls_ssl_write(&k->ssl, from, size);

	if (n >= 0)
		return n;
	return n == MBEDTLS_ERR_SSL_WANT_WRITE || n == MBEDTLS_ERR_SSL_WANT_READ ? 0 : -1;
}

void
load_link_quick_ack(struct load_link *k)
{
	int yes = 1;

	setsockopt(k->fd, IPPROTO_TCP, TCP_QUICKACK, &yes, sizeof yes);
}

void
load_link_close(struct load_link *k)
{
	if (k->fd >= 0) {
		if (!k->plain && mbedtls_ssl_is_handshake_over(&k->ssl))
			mbedtls_ssl_close_notify(&k->ssl);
		close(k->fd);
	}
	k->fd = -1;
	mbedtls_ssl_free(&k->ssl);
	if (k->own != NULL) {
		mbedtls_ssl_config_free(&k->own->conf);
		mbedtls_x509_crt_free(&k->own->cert);
	}
	free(k->own);
	free(k->rx);
	k->own = NULL;
	k->rx = NULL;
}
