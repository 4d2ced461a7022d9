// SPDX-License-Identifier: Apache-2.0
// What people on the network try on purpose: other people's cookies, records hidden behind records, crowds. Names as in test_session.c.
#include <arpa/inet.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"

// A peer whose second ClientHello, the one with the cookie, was made and not sent.
static void with_cookie(struct server *s, struct peer *p, const char *identity, uint16_t from_port)
{
	peer_open(p, s, identity, false, from_port);
	assert_int_equal(mbedtls_ssl_handshake(&p->ssl), MBEDTLS_ERR_SSL_WANT_READ);
	p->hold = true;
	for (int steps = 0; p->sent < 2; steps++) {
		assert_in_range(steps, 0, 1000); // else nobody asks for a cookie
		server_step(s);
		assert_int_equal(mbedtls_ssl_handshake(&p->ssl), MBEDTLS_ERR_SSL_WANT_READ);
	}
	p->hold = false;
}

static void send_held(struct server *s, struct peer *p, int fd)
{
	assert_true(send(fd, p->held, p->held_len, 0) == (ssize_t)p->held_len);
	server_step(s);
	server_step(s);
}

// Where a ClientHello has its message number, its random value, and the length of its session identifier; after that comes the cookie.
enum { HELLO_NUMBER = 17, HELLO_RANDOM = 27, HELLO_SESSION = 59 };

static void open_with_request(struct server *s, struct peer *p, const struct server_options *options)
{
	uint8_t buf[DATAGRAM];
	server_open(s, options);
	peer_open(p, s, "one", false, 0);
	assert_int_equal(peer_handshake(p), 0);
	peer_send(p, buf, post(buf, 1));
	assert_true(peer_receive(p, buf, 5000) > 0);
}

static void expect_answer(struct peer *p, uint16_t mid)
{
	uint8_t buf[DATAGRAM];
	peer_send(p, buf, post(buf, mid));
	assert_true(peer_receive(p, buf, 5000) > 0);
	assert_int_equal(message_id(buf), mid);
}

// ---- Several records in one datagram ----
// Each is taken, and the next datagram is not lost (RFC 6347 section 4.1.1).
static void p21_two_records(void **state)
{
	struct server s;
	struct peer p;
	uint8_t buf[DATAGRAM], both[2 * DATAGRAM];
	open_with_request(&s, &p, NULL);
	p.hold = true;
	peer_send(&p, buf, post(buf, 2));
	size_t first = p.held_len;
	memcpy(both, p.held, first);
	peer_send(&p, buf, post(buf, 3));
	memcpy(both + first, p.held, p.held_len);
	p.hold = false;
	assert_true(send(p.fd, both, first + p.held_len, 0) > 0);
	for (uint16_t mid = 2; mid < 4; mid++) {
		assert_true(peer_receive(&p, buf, 2000) > 0);
		assert_int_equal(message_id(buf), mid);
	}
	expect_answer(&p, 4);
	assert_int_equal(s.requests, 4);
	peer_close(&p);
	server_close(&s);
}

// A ClientHello behind a record that means nothing does not begin a handshake inside somebody's session.
static void p08_restart_behind_a_record(void **state)
{
	static const uint8_t nothing[] = { 21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 1, 0 };
	struct server s;
	struct peer p, q;
	uint8_t buf[DATAGRAM];
	open_with_request(&s, &p, NULL);
	uint16_t port = udp_port(p.fd);
	peer_close(&p);

	with_cookie(&s, &q, "two", port);
	memmove(q.held + sizeof(nothing), q.held, q.held_len);
	memcpy(q.held, nothing, sizeof(nothing));
	q.held_len += sizeof(nothing);
	send_held(&s, &q, q.fd);
	send_held(&s, &q, q.fd); // the first may have been kept for later
	if (udp_receive(&s, q.fd, buf, 100) > 0)
		fail_msg("a session of another peer answered the ClientHello");
	// Without the detour it is let in, in a session of its own.
	send_held(&s, &q, q.fd);
	assert_int_equal(peer_handshake(&q), 0);
	expect_answer(&q, 1);
	assert_string_equal(s.identity, "two");
	assert_int_equal(s.sessions_new, 2);
	peer_close(&q);
	server_close(&s);
}

// ---- Cookies ----
// Somebody reads a cookie on the way, and begins a handshake with it in the device's name: its session stays.
static void contract_cookie_of_another(void **state)
{
	struct server s;
	struct peer p;
	server_open(&s, NULL);
	with_cookie(&s, &p, "one", 0);
	send_held(&s, &p, p.fd);
	assert_int_equal(peer_handshake(&p), 0);
	send_held(&s, &p, p.fd); // a copy
	p.held[HELLO_RANDOM] ^= 1;
	send_held(&s, &p, p.fd);
	expect_answer(&p, 1);
	assert_int_equal(s.sessions_del, 0);
	peer_close(&p);
	server_close(&s);
}

// A device that makes the same random value each time that it is switched on comes back all the same.
static void p24_same_random(void **state)
{
	struct server s;
	struct peer p;
	uint8_t answer[DATAGRAM], hello[DATAGRAM];
	server_open(&s, NULL);
	with_cookie(&s, &p, "one", 0);
	send_held(&s, &p, p.fd);
	assert_int_equal(peer_handshake(&p), 0);

	// the first ClientHello again: without the cookie
	size_t at = HELLO_SESSION + 1u + p.held[HELLO_SESSION], cookie_len = p.held[at], len = p.held_len - cookie_len;
	memcpy(hello, p.held, at);
	hello[at] = 0;
	memcpy(hello + at + 1, p.held + at + 1 + cookie_len, p.held_len - at - 1 - cookie_len);
	hello[12] = (uint8_t)(len - 13);
	hello[16] = hello[24] = (uint8_t)(len - 25);
	hello[HELLO_NUMBER + 1] = 0;
	// cookies change each second
	const uint8_t *cookie = answer + 28;
	time_t end = time(NULL) + 10;
	do {
		assert_true(send(p.fd, hello, len, 0) > 0);
		assert_true(udp_receive(&s, p.fd, answer, 5000) > 0);
		assert_int_equal(answer[13], 3); // HelloVerifyRequest
	} while (memcmp(cookie, p.held + at + 1, cookie_len) == 0 && time(NULL) < end);
	memcpy(p.held + at + 1, cookie, cookie_len);
	assert_true(send(p.fd, p.held, p.held_len, 0) > 0);
	assert_true(udp_receive(&s, p.fd, answer, 5000) > 0);
	assert_int_equal(answer[0], 22);
	assert_int_equal(answer[13], 2); // ServerHello
	assert_int_equal(s.sessions_new, 2);
	peer_close(&p);
	server_close(&s);
}

// ---- Crowds ----
// Who has not proved anything takes nobody's place, also where all are taken.
static void p22_strangers_take_no_place(void **state)
{
	enum { COUNT = 5 };
	struct server s;
	struct peer p, strangers[COUNT];
	open_with_request(&s, &p, &(struct server_options){ .max_idle = 1 });
	for (int i = 0; i < COUNT; i++) {
		with_cookie(&s, &strangers[i], "stranger", 0);
		send_held(&s, &strangers[i], strangers[i].fd);
	}
	assert_int_equal(s.sessions_del, 0);
	expect_answer(&p, 2);
	for (int i = 0; i < COUNT; i++)
		peer_close(&strangers[i]);
	peer_close(&p);
	server_close(&s);
}

// Nor do handshakes that were begun while there was room make the limit pass.
static void p22_limit_holds(void **state)
{
	enum { COUNT = 8, MAX = 3 };
	struct server s;
	struct peer peers[COUNT];
	server_open(&s, &(struct server_options){ .max_idle = MAX });
	for (int i = 0; i < COUNT; i++) {
		with_cookie(&s, &peers[i], "one", 0);
		send_held(&s, &peers[i], peers[i].fd);
	}
	for (int i = 0; i < COUNT; i++)
		assert_int_equal(peer_handshake(&peers[i]), 0);
	assert_int_equal(server_sessions(&s), MAX);
	for (int i = COUNT - MAX; i < COUNT; i++)
		expect_answer(&peers[i], 1);
	for (int i = 0; i < COUNT; i++)
		peer_close(&peers[i]);
	server_close(&s);
}

static void move_to_address(struct peer *p, uint32_t address)
{
	struct sockaddr_in from = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(address) };
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(p->server->dtls_port) };
	close(p->fd);
	p->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_true(p->fd >= 0);
	assert_int_equal(bind(p->fd, (struct sockaddr *)&from, sizeof(from)), 0);
	assert_int_equal(connect(p->fd, (struct sockaddr *)&to, sizeof(to)), 0);
}

// One address that begins handshake after handshake pushes out its own, and not that of a slow device elsewhere.
static void p23_crowd_of_one_address(void **state)
{
	enum { COUNT = 60, MAX = 10 };
	static struct peer crowd[COUNT];
	struct server s;
	struct peer slow;
	server_open(&s, &(struct server_options){ .max_handshakes = MAX });
	for (int i = 0; i < COUNT; i++) {
		with_cookie(&s, &crowd[i], "crowd", 0);
		send_held(&s, &crowd[i], crowd[i].fd);
		if (i != MAX)
			continue;
		peer_open(&slow, &s, "slow", false, 0);
		move_to_address(&slow, INADDR_LOOPBACK + 1);
		for (int steps = 0; slow.sent < 2; steps++) {
			assert_in_range(steps, 0, 1000);
			assert_int_equal(mbedtls_ssl_handshake(&slow.ssl), MBEDTLS_ERR_SSL_WANT_READ);
			server_step(&s);
		}
	}
	assert_int_equal(peer_handshake(&slow), 0);
	expect_answer(&slow, 1);
	assert_int_equal(slow.sent, 4); // two ClientHellos, the last flight in one datagram, the request
	for (int i = 0; i < COUNT; i++)
		peer_close(&crowd[i]);
	peer_close(&slow);
	server_close(&s);
}

const struct CMUnitTest attack_tests[] = {
	cmocka_unit_test(p08_restart_behind_a_record),
	cmocka_unit_test(p21_two_records),
	cmocka_unit_test(p22_strangers_take_no_place),
	cmocka_unit_test(p22_limit_holds),
	cmocka_unit_test(p23_crowd_of_one_address),
	cmocka_unit_test(contract_cookie_of_another),
	cmocka_unit_test(p24_same_random),
	{ 0 },
};
