// SPDX-License-Identifier: Apache-2.0
// What sessions cost, where they are, and when they end. A name says which patch its test needs (p02: patches/libcoap/
// 02-...); a test named contract_ holds as released too, and guards behaviour that the gateway builds on.
#include <arpa/inet.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "fixture.h"

// One wake-up takes a burst, up to its bound, and nothing is lost beyond it.
static void p01_drain(void **state)
{
	struct server s;
	uint8_t buf[DATAGRAM];
	server_open(&s, NULL);
	int fd = udp_socket(0, s.udp_port);
	for (uint16_t mid = 0; mid < 150; mid++)
		assert_true(send(fd, buf, post(buf, mid), 0) > 0);
	server_step(&s);
	assert_in_range(s.requests, 40, 64);
	assert_true(server_until(&s, &s.requests, 150));
	close(fd);
	server_close(&s);
}

static void many_sessions(struct server *s, unsigned count)
{
	uint8_t buf[DATAGRAM];
	unsigned requests = s->requests;
	for (unsigned i = 1; i <= count; i++) {
		int fd = udp_socket(0, s->udp_port);
		assert_true(send(fd, buf, post(buf, 1), 0) > 0);
		close(fd);
		if (i % 32 == 0 || i == count)
			assert_true(server_until(s, &s->requests, requests + i));
	}
}

static double cpu_s(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + 1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

// The least CPU time of several rounds of requests from one socket.
static double round_cost(struct server *s, int fd)
{
	uint8_t buf[DATAGRAM];
	double least = 1e9;
	for (int round = 0; round < 7; round++) {
		double start = cpu_s();
		for (uint16_t mid = 0; mid < 300; mid++) {
			assert_true(send(fd, buf, post(buf, mid), 0) > 0);
			server_step(s);
			while (recv(fd, buf, sizeof(buf), 0) > 0)
				;
		}
		double cost = cpu_s() - start;
		least = cost < least ? cost : least;
	}
	return least;
}

// 4,000 sessions cost a request not much more than 10.
static void p02_scale(void **state)
{
	struct server s;
	server_open(&s, NULL);
	int fd = udp_socket(0, s.udp_port);
	many_sessions(&s, 10);
	double few = round_cost(&s, fd);
	many_sessions(&s, 4000);
	assert_in_range(server_sessions(&s), 3000, 4011);
	double many = round_cost(&s, fd);
	if (many > 2.5 * few)
		fail_msg("300 requests: %.0f us with 10 sessions, %.0f us with 4,000", few * 1e6, many * 1e6);
	close(fd);
	server_close(&s);
}

// max_idle_sessions is never exceeded, and the session idle longest goes first.
static void contract_max_idle(void **state)
{
	struct server s;
	uint8_t buf[DATAGRAM];
	server_open(&s, &(struct server_options){ .max_idle = 10 });
	int first = udp_socket(0, s.udp_port);
	assert_true(send(first, buf, post(buf, 1), 0) > 0);
	server_step(&s);
	many_sessions(&s, 5);
	assert_true(send(first, buf, post(buf, 2), 0) > 0);
	server_step(&s);
	many_sessions(&s, 40);
	assert_int_equal(server_sessions(&s), 10);
	close(first);
	server_close(&s);
}

// Junk from anywhere takes nobody's session away.
static void p02_junk_evicts_nobody(void **state)
{
	struct server s;
	struct peer p;
	static const uint8_t junk[64] = { 22, 0xfe, 0xfd };
	server_open(&s, &(struct server_options){ .max_idle = 1 });
	peer_open(&p, &s, "one", false, 0);
	assert_int_equal(peer_handshake(&p), 0);
	int fd = udp_socket(0, s.dtls_port);
	assert_true(send(fd, junk, sizeof(junk), 0) > 0);
	server_step(&s);
	assert_int_equal(s.sessions_del, 0);
	close(fd);
	peer_close(&p);
	server_close(&s);
}

// Idle sessions end after their time, without any traffic.
static void contract_idle_timeout(void **state)
{
	struct server s;
	server_open(&s, &(struct server_options){ .session_timeout_s = 1 });
	many_sessions(&s, 100);
	assert_true(s.sessions_new > 50); // a port may come twice
	assert_true(server_until(&s, &s.sessions_del, s.sessions_new));
	server_close(&s);
}

// The clock is set forward by an hour: nobody's session ends.
static void p15_clock(void **state)
{
	struct server s;
	struct peer p;
	uint8_t buf[DATAGRAM];
	server_open(&s, NULL);
	peer_open(&p, &s, "one", false, 0);
	assert_int_equal(peer_handshake(&p), 0);
	clock_ahead_s = 3600;
	int fd = udp_socket(0, s.udp_port);
	assert_true(send(fd, buf, post(buf, 1), 0) > 0);
	assert_true(server_until(&s, &s.requests, 1));
	server_step(&s);
	clock_ahead_s = 0;
	assert_int_equal(s.sessions_del, 0);
	close(fd);
	peer_close(&p);
	server_close(&s);
}

// ---- Connection ID ----
static uint16_t peer_port_at_server(const struct server *s)
{
	return coap_address_get_port(coap_session_get_addr_remote(s->session));
}

// A peer with a Connection ID, whose session has had one request.
static void open_with_cid(struct server *s, struct peer *p)
{
	uint8_t buf[DATAGRAM];
	int enabled = MBEDTLS_SSL_CID_DISABLED;
	server_open(s, NULL);
	peer_open(p, s, "one", true, 0);
	assert_int_equal(peer_handshake(p), 0);
	assert_int_equal(mbedtls_ssl_get_peer_cid(&p->ssl, &enabled, NULL, NULL), 0);
	assert_int_equal(enabled, MBEDTLS_SSL_CID_ENABLED);
	peer_send(p, buf, post(buf, 1));
	assert_true(peer_receive(p, buf, 5000) > 0);
	assert_int_equal(peer_port_at_server(s), udp_port(p->fd));
}

static void close_with_cid(struct server *s, struct peer *p)
{
	peer_close(p);
	server_close(s);
}

static void from_elsewhere(struct server *s, const uint8_t *datagram, size_t len)
{
	int fd = udp_socket(0, s->dtls_port);
	assert_true(send(fd, datagram, len, 0) == (ssize_t)len);
	server_step(s);
	server_step(s);
	close(fd);
}

static void p03_cid_broken_tag(void **state)
{
	struct server s;
	struct peer p;
	uint8_t buf[DATAGRAM];
	open_with_cid(&s, &p);
	p.hold = true;
	peer_send(&p, buf, post(buf, 2));
	p.hold = false;
	p.held[p.held_len - 1] ^= 1;
	from_elsewhere(&s, p.held, p.held_len);
	assert_int_equal(s.requests, 1);
	assert_int_equal(peer_port_at_server(&s), udp_port(p.fd));
	// nor did it use up the number of the record that it was made from
	p.held[p.held_len - 1] ^= 1;
	assert_true(send(p.fd, p.held, p.held_len, 0) > 0);
	assert_true(peer_receive(&p, buf, 5000) > 0);
	assert_int_equal(s.requests, 2);
	close_with_cid(&s, &p);
}

static void p03_cid_replay(void **state)
{
	struct server s;
	struct peer p;
	uint8_t buf[DATAGRAM];
	open_with_cid(&s, &p);
	p.hold = true;
	peer_send(&p, buf, post(buf, 2));
	p.hold = false;
	assert_true(send(p.fd, p.held, p.held_len, 0) > 0);
	assert_true(peer_receive(&p, buf, 5000) > 0);
	from_elsewhere(&s, p.held, p.held_len);
	assert_int_equal(s.requests, 2);
	assert_int_equal(peer_port_at_server(&s), udp_port(p.fd));
	close_with_cid(&s, &p);
}

// An old record, held back on the way, is taken but does not move the session (RFC 9146 section 6: newer).
static void p03_cid_late(void **state)
{
	struct server s;
	struct peer p;
	uint8_t buf[DATAGRAM];
	open_with_cid(&s, &p);
	p.hold = true;
	peer_send(&p, buf, post(buf, 2));
	p.hold = false;
	peer_send(&p, buf, post(buf, 3));
	assert_true(peer_receive(&p, buf, 5000) > 0);
	from_elsewhere(&s, p.held, p.held_len);
	assert_int_equal(s.requests, 3);
	assert_int_equal(peer_port_at_server(&s), udp_port(p.fd));
	close_with_cid(&s, &p);
}

// Even into the address of another session.
static void p03_cid_address_of_another(void **state)
{
	struct server s;
	struct peer p, q;
	uint8_t buf[DATAGRAM];
	open_with_cid(&s, &p);
	peer_open(&q, &s, "two", true, 0);
	assert_int_equal(peer_handshake(&q), 0);
	int fd = p.fd;
	p.fd = q.fd;
	peer_send(&p, buf, post(buf, 2));
	assert_true(peer_receive(&p, buf, 5000) > 0);
	assert_string_equal(s.identity, "one");
	peer_move(&q); // closes the socket that p used
	peer_send(&q, buf, post(buf, 9));
	assert_true(peer_receive(&q, buf, 5000) > 0);
	assert_string_equal(s.identity, "two");
	p.fd = fd;
	peer_close(&q);
	close_with_cid(&s, &p);
}

static void contract_cid_move(void **state)
{
	struct server s;
	struct peer p;
	uint8_t buf[DATAGRAM];
	open_with_cid(&s, &p);
	for (uint16_t mid = 2; mid < 6; mid++) {
		peer_move(&p);
		peer_send(&p, buf, post(buf, mid));
		assert_true(peer_receive(&p, buf, 5000) > 0);
		assert_int_equal(message_id(buf), mid);
		assert_int_equal(peer_port_at_server(&s), udp_port(p.fd));
	}
	assert_int_equal(s.sessions_new, 1);
	close_with_cid(&s, &p);
}

// ---- Memory ----
// Beyond Mbed TLS's two record buffers, an established session has less than 9.5 KB.
static void p05_memory(void **state)
{
	enum { COUNT = 40 };
	static struct peer peers[COUNT];
	struct server s;
	server_open(&s, NULL);
	for (unsigned i = 0; i < COUNT; i++) {
		peer_open(&peers[i], &s, "one", false, 0);
		assert_int_equal(peer_handshake(&peers[i]), 0);
	}
	assert_int_equal(server_sessions(&s), COUNT);
	for (unsigned i = 0; i < COUNT; i++)
		peer_close(&peers[i]);
	size_t before = heap_in_use();
	server_close(&s);
	size_t bytes = (before - heap_in_use()) / COUNT;
	if (bytes > MBEDTLS_SSL_IN_CONTENT_LEN + MBEDTLS_SSL_OUT_CONTENT_LEN + 9500)
		fail_msg("%zu bytes per session", bytes);
	print_message("%zu bytes per session\n", bytes);
}

// 400 devices that speak while the server is busy are all heard.
static void p17_receive_buffer(void **state)
{
	struct server s;
	uint8_t buf[DATAGRAM];
	server_open(&s, NULL);
	int fd = udp_socket(0, s.udp_port);
	for (unsigned i = 0; i < 400; i++)
		assert_true(send(fd, buf, request(buf, COAP_MESSAGE_NON, (uint16_t)i, -1, "1", 1), 0) > 0);
	assert_true(server_until(&s, &s.requests, 400));
	close(fd);
	server_close(&s);
}

// A second server on the same port is told so, and does not take the first one's datagrams.
static void p17_port_taken(void **state)
{
	struct server s;
	server_open(&s, NULL);
	coap_address_t address;
	coap_address_init(&address);
	address.size = sizeof(address.addr.sin);
	address.addr.sin.sin_family = AF_INET;
	address.addr.sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	address.addr.sin.sin_port = htons(s.udp_port);
	assert_null(coap_new_endpoint(s.context, &address, COAP_PROTO_UDP));
	server_close(&s);
}

const struct CMUnitTest session_tests[] = {
	cmocka_unit_test(p01_drain),
	cmocka_unit_test(p02_scale),
	cmocka_unit_test(p02_junk_evicts_nobody),
	cmocka_unit_test(contract_max_idle),
	cmocka_unit_test(contract_idle_timeout),
	cmocka_unit_test(p03_cid_broken_tag),
	cmocka_unit_test(p03_cid_replay),
	cmocka_unit_test(p03_cid_late),
	cmocka_unit_test(p03_cid_address_of_another),
	cmocka_unit_test(contract_cid_move),
	cmocka_unit_test(p05_memory),
	cmocka_unit_test(p15_clock),
	cmocka_unit_test(p17_receive_buffer),
	cmocka_unit_test(p17_port_taken),
	{ 0 },
};
