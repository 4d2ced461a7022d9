// SPDX-License-Identifier: Apache-2.0
// The client side of the fixture: plain UDP sockets, DTLS on them, and the bytes of a few requests.
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"

int random_bytes(void *unused, unsigned char *buf, size_t len)
{
	return coap_prng(buf, len) ? 0 : -1;
}

// ---- UDP ----
static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

int udp_socket(uint16_t from_port, uint16_t to_port)
{
	struct sockaddr_in from = loopback(from_port), to = loopback(to_port);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof(from)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

uint16_t udp_port(int fd)
{
	struct sockaddr_in me;
	socklen_t len = sizeof(me);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&me, &len), 0);
	return ntohs(me.sin_port);
}

static int64_t now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

size_t udp_receive(struct server *s, int fd, uint8_t buf[DATAGRAM], int ms)
{
	int64_t end = now_ms() + ms;
	do {
		coap_io_process(s->context, 1);
		ssize_t n = recv(fd, buf, DATAGRAM, 0);
		if (n > 0)
			return (size_t)n;
	} while (now_ms() < end);
	return 0;
}

// ---- DTLS ----
static int bio_send(void *arg, const unsigned char *data, size_t len)
{
	struct peer *p = arg;
	p->sent++;
	if (p->hold) {
		assert_true(len <= sizeof(p->held));
		memcpy(p->held, data, len);
		p->held_len = len;
		return (int)len;
	}
	ssize_t n = send(p->fd, data, len, 0);
	return n < 0 ? MBEDTLS_ERR_SSL_WANT_WRITE : (int)n;
}

static int bio_recv(void *arg, unsigned char *data, size_t len)
{
	struct peer *p = arg;
	ssize_t n = recv(p->fd, data, len, 0);
	return n < 0 ? MBEDTLS_ERR_SSL_WANT_READ : (int)n;
}

static void configure(struct peer *p)
{
	mbedtls_ssl_config_init(&p->conf);
	assert_int_equal(mbedtls_ssl_config_defaults(&p->conf, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_DATAGRAM,
		MBEDTLS_SSL_PRESET_DEFAULT), 0);
	mbedtls_ssl_conf_rng(&p->conf, random_bytes, NULL);
	mbedtls_ssl_conf_authmode(&p->conf, MBEDTLS_SSL_VERIFY_NONE);
	mbedtls_ssl_conf_cid(&p->conf, 0, MBEDTLS_SSL_UNEXPECTED_CID_IGNORE);
}

void peer_open(struct peer *p, struct server *s, const char *identity, bool cid, uint16_t from_port)
{
	memset(p, 0, sizeof(*p));
	p->server = s;
	p->fd = udp_socket(from_port, s->dtls_port);
	configure(p);
	static const int psk_suites[] = { MBEDTLS_TLS_PSK_WITH_AES_128_CCM_8, 0 };
	if (identity) {
		mbedtls_ssl_conf_ciphersuites(&p->conf, psk_suites);
		assert_int_equal(mbedtls_ssl_conf_psk(&p->conf, (const unsigned char *)"secretPSK", 9,
			(const unsigned char *)identity, strlen(identity)), 0);
	}
	mbedtls_ssl_init(&p->ssl);
	assert_int_equal(mbedtls_ssl_setup(&p->ssl, &p->conf), 0);
	mbedtls_ssl_set_bio(&p->ssl, p, bio_send, bio_recv, NULL);
	mbedtls_ssl_set_timer_cb(&p->ssl, &p->timer, mbedtls_timing_set_delay, mbedtls_timing_get_delay);
	if (cid)
		assert_int_equal(mbedtls_ssl_set_cid(&p->ssl, MBEDTLS_SSL_CID_ENABLED, NULL, 0), 0);
}

static bool wants_more(int rc)
{
	return rc == MBEDTLS_ERR_SSL_WANT_READ || rc == MBEDTLS_ERR_SSL_WANT_WRITE;
}

int peer_handshake(struct peer *p)
{
	int64_t end = now_ms() + 8000;
	int rc;
	while (wants_more(rc = mbedtls_ssl_handshake(&p->ssl)) && now_ms() < end)
		coap_io_process(p->server->context, 1);
	for (int i = 0; i < 3; i++) // the server's side of it
		server_step(p->server);
	return rc;
}

void peer_send(struct peer *p, const uint8_t *data, size_t len)
{
	assert_int_equal(mbedtls_ssl_write(&p->ssl, data, len), (int)len);
}

int peer_receive(struct peer *p, uint8_t buf[DATAGRAM], int ms)
{
	int64_t end = now_ms() + ms;
	int rc;
	do {
		if (p->server->context)
			coap_io_process(p->server->context, 1);
		rc = mbedtls_ssl_read(&p->ssl, buf, DATAGRAM);
	} while (wants_more(rc) && now_ms() < end);
	return rc;
}

void peer_move(struct peer *p)
{
	int fd = udp_socket(0, p->server->dtls_port);
	close(p->fd);
	p->fd = fd;
}

void peer_close(struct peer *p)
{
	mbedtls_ssl_free(&p->ssl);
	mbedtls_ssl_config_free(&p->conf);
	close(p->fd);
}

// ---- Messages ----
size_t request(uint8_t buf[DATAGRAM], coap_pdu_type_t type, uint16_t mid, int block1, const void *payload, size_t len)
{
	uint8_t *p = buf;
	*p++ = (uint8_t)(0x40 | type << 4 | 1); // version 1, token of one byte
	*p++ = 2;                               // POST
	*p++ = (uint8_t)(mid >> 8);
	*p++ = (uint8_t)mid;
	*p++ = (uint8_t)mid;
	*p++ = 0xb1; // Uri-Path
	*p++ = 'x';
	if (block1 >= 0) {
		*p++ = 0xd1; // Block1: 27 = 11 + 13 + 3
		*p++ = 3;
		*p++ = (uint8_t)block1;
	}
	if (len > 0) {
		*p++ = 0xff;
		memcpy(p, payload, len);
	}
	return (size_t)(p - buf) + len;
}

size_t post(uint8_t buf[DATAGRAM], uint16_t mid)
{
	return request(buf, COAP_MESSAGE_CON, mid, -1, "1", 1);
}

uint16_t message_id(const uint8_t *message)
{
	return (uint16_t)(message[2] << 8 | message[3]);
}
