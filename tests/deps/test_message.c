// SPDX-License-Identifier: Apache-2.0
// Messages: block-wise, cut off, answered later; and small things with a CVE. Names as in test_session.c.
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"

int coap_pdu_resize(coap_pdu_t *pdu, size_t new_size); // not in libcoap's public headers

// Two ordinary blocks without Size1, then the last one.
static void p09_block1(void **state)
{
	struct server s;
	uint8_t buf[DATAGRAM], payload[64] = { 0 };
	server_open(&s, &(struct server_options){ .single_body = true });
	int fd = udp_socket(0, s.udp_port);
	for (uint16_t num = 0; num < 3; num++) {
		int option = num << 4 | (num < 2 ? 8 : 0) | 2; // blocks of 64 bytes
		size_t len = request(buf, COAP_MESSAGE_CON, (uint16_t)(100 + num), option, payload, num < 2 ? 64 : 10);
		assert_true(send(fd, buf, len, 0) > 0);
		assert_true(udp_receive(&s, fd, buf, 5000) >= 4);
		assert_int_equal(buf[1], num < 2 ? 0x5f : 0x44); // 2.31 Continue, then 2.04
		assert_int_equal(s.requests, num < 2 ? 0 : 1);
	}
	assert_int_equal(s.body_len, 138);
	close(fd);
	server_close(&s);
}

static void p10_long_host_name(void **state)
{
	static char name[4000];
	coap_str_const_t host = { sizeof(name), (const uint8_t *)name };
	memset(name, 'a', sizeof(name));
	coap_startup();
	coap_set_log_level(COAP_LOG_EMERG);
	assert_null(coap_resolve_address_info(&host, 5683, 5684, 0, 0, 0, 1 << COAP_URI_SCHEME_COAP,
		COAP_RESOLVE_TYPE_REMOTE));
	coap_cleanup();
}

// A cache entry of a request without a payload has none either.
static coap_cache_entry_t *cached;

static void cache_request(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *req,
	const coap_string_t *query, coap_pdu_t *resp)
{
	cached = coap_new_cache_entry(session, req, COAP_CACHE_RECORD_PDU, COAP_CACHE_NOT_SESSION_BASED, 0);
	coap_pdu_set_code(resp, COAP_RESPONSE_CODE_CHANGED);
}

static void p11_cache_without_payload(void **state)
{
	struct server s;
	uint8_t buf[DATAGRAM];
	size_t len;
	const uint8_t *data;
	server_open(&s, NULL);
	coap_resource_t *x = coap_get_resource_from_uri_path(s.context, coap_make_str_const("x"));
	coap_register_request_handler(x, COAP_REQUEST_POST, cache_request);
	int fd = udp_socket(0, s.udp_port);
	assert_true(send(fd, buf, request(buf, COAP_MESSAGE_CON, 1, -1, NULL, 0), 0) > 0);
	assert_true(udp_receive(&s, fd, buf, 5000) > 0);
	assert_non_null(cached);
	assert_int_equal(coap_get_data(coap_cache_get_pdu(cached), &len, &data), 0);
	close(fd);
	server_close(&s);
}

static void p12_no_session(void **state)
{
	assert_non_null(coap_session_str(NULL));
}

// A message of ours is sent again although the peer's NON request has the same message ID.
static void p13_non_mid(void **state)
{
	struct server s;
	uint8_t buf[DATAGRAM];
	server_open(&s, NULL);
	int fd = udp_socket(0, s.udp_port);
	assert_true(send(fd, buf, post(buf, 1), 0) > 0);
	assert_true(udp_receive(&s, fd, buf, 5000) > 0);
	coap_session_set_ack_timeout(s.session, (coap_fixed_point_t){ 1, 0 });
	coap_session_set_ack_random_factor(s.session, (coap_fixed_point_t){ 1, 0 });
	coap_pdu_t *pdu = coap_pdu_init(COAP_MESSAGE_CON, COAP_RESPONSE_CODE_CHANGED, 77, 64);
	assert_int_equal(coap_send(s.session, pdu), 77);
	assert_true(udp_receive(&s, fd, buf, 5000) > 0);
	assert_int_equal(message_id(buf), 77);

	assert_true(send(fd, buf, request(buf, COAP_MESSAGE_NON, 77, -1, "1", 1), 0) > 0);
	assert_true(udp_receive(&s, fd, buf, 5000) > 0); // its answer
	assert_true(udp_receive(&s, fd, buf, 5000) > 0);
	assert_int_equal(message_id(buf), 77);
	close(fd);
	server_close(&s);
}

// Nor do messages without sense: our message is sent again, and once it is acknowledged the next one has its turn.
static void p13_broken_code(void **state)
{
	static const uint8_t codes[] = { 0x20, COAP_RESPONSE_CODE_CHANGED, 0xdf };
	struct server s;
	uint8_t buf[DATAGRAM];
	server_open(&s, NULL);
	int fd = udp_socket(0, s.udp_port);
	assert_true(send(fd, buf, post(buf, 1), 0) > 0);
	assert_true(udp_receive(&s, fd, buf, 5000) > 0);
	coap_session_set_ack_timeout(s.session, (coap_fixed_point_t){ 1, 0 });
	coap_session_set_ack_random_factor(s.session, (coap_fixed_point_t){ 1, 0 });
	for (uint16_t mid = 77; mid < 79; mid++)
		assert_int_equal(coap_send(s.session, coap_pdu_init(COAP_MESSAGE_CON, COAP_RESPONSE_CODE_CHANGED, mid, 64)), mid);
	assert_true(udp_receive(&s, fd, buf, 5000) > 0);
	assert_int_equal(message_id(buf), 77);
	for (size_t i = 0; i < sizeof(codes); i++) {
		const uint8_t message[] = { 0x51, codes[i], 0, 77, 9 }; // NON, with a token
		assert_true(send(fd, message, sizeof(message), 0) > 0);
	}
	do // a reset may come first
		assert_true(udp_receive(&s, fd, buf, 5000) > 0);
	while (buf[0] >> 4 != 4);
	assert_int_equal(message_id(buf), 77);
	// an acknowledgement with a code that means nothing
	assert_true(send(fd, (const uint8_t[]){ 0x60, 0x20, 0, 77 }, 4, 0) > 0);
	do
		assert_true(udp_receive(&s, fd, buf, 5000) > 0);
	while (message_id(buf) != 78);
	close(fd);
	server_close(&s);
}

static void p25_unknown_method(void **state)
{
	struct server s;
	uint8_t buf[DATAGRAM];
	server_open(&s, NULL);
	int fd = udp_socket(0, s.udp_port);
	for (uint8_t code = 8; code < 32; code++) {
		const uint8_t message[] = { 0x40, code, 0, code, 0xb1, 'y' }; // /y is not there
		assert_true(send(fd, message, sizeof(message), 0) > 0);
		assert_true(udp_receive(&s, fd, buf, 5000) > 0);
		assert_int_equal(buf[1], COAP_RESPONSE_CODE(405));
	}
	close(fd);
	server_close(&s);
}

// What does not fit the buffer is not taken for a shorter message.
static void p14_cut_off(void **state)
{
	struct server s;
	uint8_t buf[DATAGRAM], payload[1900];
	memset(payload, '1', sizeof(payload));
	server_open(&s, NULL);
	int fd = udp_socket(0, s.udp_port);
	assert_true(send(fd, buf, request(buf, COAP_MESSAGE_NON, 1, -1, payload, sizeof(payload)), 0) > 0);
	assert_true(send(fd, buf, post(buf, 2), 0) > 0);
	assert_true(udp_receive(&s, fd, buf, 5000) > 0);
	assert_int_equal(message_id(buf), 2);
	assert_int_equal(s.requests, 1);
	close(fd);
	server_close(&s);
}

// The answer after the commit: nothing leaves before, and then one datagram with the request's message ID and token.
static void contract_deferred_answer(void **state)
{
	struct server s;
	struct peer p;
	uint8_t buf[DATAGRAM];
	server_open(&s, NULL);
	s.answering = ANSWER_LATER;
	peer_open(&p, &s, "one", false, 0);
	assert_int_equal(peer_handshake(&p), 0);
	peer_send(&p, buf, post(buf, 4321));
	assert_true(server_until(&s, &s.requests, 1));
	assert_int_equal(peer_receive(&p, buf, 20), MBEDTLS_ERR_SSL_WANT_READ);
	later_answer(&s);
	assert_int_equal(peer_receive(&p, buf, 5000), 5);
	assert_int_equal(buf[0], 0x61); // ACK with a token of one byte
	assert_int_equal(buf[1], 0x44); // 2.04
	assert_int_equal(message_id(buf), 4321);
	assert_int_equal(buf[4], (uint8_t)4321);
	assert_int_equal(peer_receive(&p, buf, 20), MBEDTLS_ERR_SSL_WANT_READ);
	peer_close(&p);
	server_close(&s);
}

static void answer_any(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *req, const coap_string_t *query,
	coap_pdu_t *resp)
{
	coap_pdu_set_code(resp, COAP_RESPONSE_CODE_CHANGED);
}

// Where one resource takes every path, a request costs the two messages and nothing else.
static void p18_path_not_built(void **state)
{
	struct server s;
	uint8_t buf[DATAGRAM];
	coap_str_const_t x = { 1, (const uint8_t *)"x" };
	server_open(&s, NULL);
	coap_resource_t *any = coap_resource_unknown_init2(answer_any, COAP_RESOURCE_HANDLE_WELLKNOWN_CORE);
	assert_non_null(any);
	coap_register_request_handler(any, COAP_REQUEST_POST, answer_any);
	coap_add_resource(s.context, any);
	coap_delete_resource(NULL, coap_get_resource_from_uri_path(s.context, &x));
	coap_context_set_block_mode(s.context, 0);
	int fd = udp_socket(0, s.udp_port);
	for (uint16_t mid = 0; mid < 3; mid++) { // the first one makes the session
		unsigned long before = allocations;
		assert_true(send(fd, buf, post(buf, mid), 0) > 0);
		assert_true(udp_receive(&s, fd, buf, 5000) >= 4);
		assert_int_equal(buf[1], 0x44);
		if (mid > 0)
			assert_in_range(allocations - before, 1, 4);
	}
	close(fd);
	server_close(&s);
}

static double cpu_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// The least CPU time of several rounds of looking for an option.
static double lookup_cost(const coap_pdu_t *pdu, coap_option_num_t number, bool there)
{
	coap_opt_iterator_t it;
	double least = 1e9;
	for (int round = 0; round < 5; round++) {
		double start = cpu_s();
		for (int i = 0; i < 500; i++)
			assert_int_equal(coap_check_option(pdu, number, &it) != NULL, there);
		double cost = cpu_s() - start;
		least = cost < least ? cost : least;
	}
	return least;
}

// An option above all that a message has costs nothing to miss, however many those are.
static void p19_absent_option(void **state)
{
	coap_startup();
	coap_pdu_t *pdu = coap_pdu_init(COAP_MESSAGE_CON, COAP_REQUEST_CODE_POST, 1, 1024);
	for (int i = 0; i < 300; i++)
		assert_true(coap_add_option(pdu, COAP_OPTION_URI_PATH, 1, (const uint8_t *)"x") > 0);
	assert_true(coap_add_option(pdu, COAP_OPTION_URI_QUERY, 1, (const uint8_t *)"y") > 0);
	double last = lookup_cost(pdu, COAP_OPTION_URI_QUERY, true);
	double absent = lookup_cost(pdu, COAP_OPTION_NORESPONSE, false);
	if (absent > last / 4)
		fail_msg("%.0f us to find the last option, %.0f us to miss one above it", last * 1e6, absent * 1e6);
	coap_delete_pdu(pdu);
	coap_cleanup();
}

// How many datagrams had been read from any socket when the first request was handled.
static unsigned read_so_far, read_at_first;

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	ssize_t n = syscall(SYS_recvmsg, fd, message, flags);
	read_so_far += n > 0;
	return n;
}

static void note_reads(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *req, const coap_string_t *query,
	coap_pdu_t *resp)
{
	if (read_at_first == 0)
		read_at_first = read_so_far;
	coap_pdu_set_code(resp, COAP_RESPONSE_CODE_CHANGED);
}

// A burst is read before its first request is handled, and every one of it is answered.
static void p20_read_before_handled(void **state)
{
	enum { COUNT = 40 };
	struct server s;
	uint8_t buf[DATAGRAM];
	int fds[COUNT];
	coap_str_const_t x = { 1, (const uint8_t *)"x" };
	server_open(&s, NULL);
	coap_register_request_handler(coap_get_resource_from_uri_path(s.context, &x), COAP_REQUEST_POST, note_reads);
	read_so_far = read_at_first = 0;
	for (uint16_t i = 0; i < COUNT; i++) {
		fds[i] = udp_socket(0, s.udp_port);
		assert_true(send(fds[i], buf, post(buf, i), 0) > 0);
	}
	for (uint16_t i = 0; i < COUNT; i++) {
		assert_true(udp_receive(&s, fds[i], buf, 5000) >= 4);
		assert_int_equal(message_id(buf), i);
		close(fds[i]);
	}
	assert_in_range(read_at_first, 2, COUNT);
	server_close(&s);
}

const struct CMUnitTest message_tests[] = {
	cmocka_unit_test(p09_block1),
	cmocka_unit_test(p10_long_host_name),
	cmocka_unit_test(p11_cache_without_payload),
	cmocka_unit_test(p12_no_session),
	cmocka_unit_test(p13_non_mid),
	cmocka_unit_test(p13_broken_code),
	cmocka_unit_test(p14_cut_off),
	cmocka_unit_test(contract_deferred_answer),
	cmocka_unit_test(p18_path_not_built),
	cmocka_unit_test(p19_absent_option),
	cmocka_unit_test(p20_read_before_handled),
	cmocka_unit_test(p25_unknown_method),
	{ 0 },
};
