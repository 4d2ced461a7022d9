// SPDX-License-Identifier: Apache-2.0
// Handshakes: what strangers can make the server do, who is let in, and as whom. Names as in test_session.c.
#include <sys/socket.h>
#include <unistd.h>

#include <mbedtls/x509_crl.h>

#include "fixture.h"

// Not there without the patch.
int coap_context_set_dtls_configure(coap_context_t *context, int (*configure)(void *conf, coap_session_t *session, void *arg, void **held),
	void (*release)(void *held), void *arg) __attribute__((weak));

// The bytes of a first ClientHello.
static size_t bare_hello(struct server *s, uint8_t hello[DATAGRAM])
{
	struct peer p;
	peer_open(&p, s, "stranger", false, 0);
	p.hold = true;
	assert_int_equal(mbedtls_ssl_handshake(&p.ssl), MBEDTLS_ERR_SSL_WANT_READ);
	memcpy(hello, p.held, p.held_len);
	peer_close(&p);
	return p.held_len;
}

static void send_hellos(struct server *s, const uint8_t *hello, size_t len, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		int fd = udp_socket(0, s->dtls_port);
		assert_true(send(fd, hello, len, 0) > 0);
		close(fd);
		if (i % 16 == 15)
			server_step(s);
	}
	server_step(s);
}

// Up to the ClientHello with the cookie, and no further.
static void half_open(struct server *s, struct peer *p)
{
	peer_open(p, s, "halfway", false, 0);
	for (int steps = 0; p->sent < 2; steps++) {
		assert_in_range(steps, 0, 1000); // else nobody asks for a cookie
		assert_int_equal(mbedtls_ssl_handshake(&p->ssl), MBEDTLS_ERR_SSL_WANT_READ);
		server_step(s);
	}
	server_step(s);
}

static void expect_in(struct server *s)
{
	struct peer p;
	uint8_t buf[DATAGRAM];
	peer_open(&p, s, "device", false, 0);
	assert_int_equal(peer_handshake(&p), 0);
	peer_send(&p, buf, post(buf, 7));
	assert_true(peer_receive(&p, buf, 5000) > 0);
	assert_string_equal(s->identity, "device");
	peer_close(&p);
}

// 1,000 ClientHellos with invented senders leave nothing behind and keep nobody out.
static void p07_bare_hellos(void **state)
{
	struct server s;
	uint8_t hello[DATAGRAM];
	server_open(&s, NULL);
	size_t len = bare_hello(&s, hello);
	send_hellos(&s, hello, len, 10);
	size_t before = heap_in_use();
	send_hellos(&s, hello, len, 1000);
	assert_int_equal(s.sessions_new, 0);
	assert_true(heap_in_use() <= before + 1024);
	expect_in(&s);
	server_close(&s);
}

// Cut off, with lengths that point outside, with a wrong cookie: no state, no crash.
static void p07_broken_hellos(void **state)
{
	struct server s;
	uint8_t hello[DATAGRAM], broken[DATAGRAM];
	server_open(&s, NULL);
	size_t len = bare_hello(&s, hello);
	for (size_t cut = 1; cut < len; cut++)
		send_hellos(&s, hello, cut, 1);
	for (size_t at = 0; at < 96 && at < len; at++) {
		memcpy(broken, hello, len);
		broken[at] = 0xff;
		send_hellos(&s, broken, len, 1);
	}
	assert_int_equal(s.sessions_new, 0);
	expect_in(&s);
	server_close(&s);
}

// 150 peers that return the cookie and then fall silent: each makes room for the next.
static void p02_half_open(void **state)
{
	enum { COUNT = 150, MAX = 100 };
	static struct peer peers[COUNT];
	struct server s;
	server_open(&s, &(struct server_options){ .max_handshakes = MAX });
	for (int i = 0; i < COUNT; i++)
		half_open(&s, &peers[i]);
	assert_in_range(server_sessions(&s), 1, MAX);
	expect_in(&s);
	for (int i = 0; i < COUNT; i++)
		peer_close(&peers[i]);
	server_close(&s);
}

// A peer that is refused holds no place.
static void p07_refused_leaves(void **state)
{
	struct server s;
	struct peer p;
	server_open(&s, NULL);
	peer_open(&p, &s, "bad", false, 0);
	assert_int_equal(peer_handshake(&p), MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE);
	server_step(&s);
	assert_int_equal(s.sessions_new, 1);
	assert_int_equal(server_sessions(&s), 0);
	peer_close(&p);
	server_close(&s);
}

static void p04_connected_event(void **state)
{
	struct server s;
	struct peer p;
	uint8_t buf[DATAGRAM];
	server_open(&s, NULL);
	peer_open(&p, &s, "one", false, 0);
	assert_int_equal(peer_handshake(&p), 0);
	assert_int_equal(s.connected, 1);
	peer_send(&p, buf, post(buf, 1));
	assert_true(peer_receive(&p, buf, 5000) > 0);
	assert_int_equal(s.connected, 1);
	peer_close(&p);
	server_close(&s);
}

static void p04_certificate_callback(void **state)
{
	struct server s;
	struct peer p;
	server_open(&s, &(struct server_options){ .certificates = true });
	peer_open(&p, &s, NULL, false, 0);
	peer_use_certificate(&p);
	assert_int_equal(peer_handshake(&p), 0);
	assert_int_equal(s.certificates, 1);
	peer_close(&p);
	server_close(&s);
}

// Without a certificate nobody gets in by that door, and a PSK still does.
static void contract_certificate_required(void **state)
{
	struct server s;
	struct peer p;
	server_open(&s, &(struct server_options){ .certificates = true });
	peer_open(&p, &s, NULL, false, 0);
	assert_int_not_equal(peer_handshake(&p), 0);
	peer_close(&p);
	expect_in(&s);
	server_close(&s);
}

// ClientHellos while the CA's file is broken cost no memory.
static void p06_broken_credentials(void **state)
{
	struct server s;
	uint8_t hello[DATAGRAM];
	server_open(&s, &(struct server_options){ .broken_ca = true });
	size_t before = 0;
	for (int i = 0; i < 40; i++) {
		struct peer p;
		size_t len;
		if (i == 10)
			before = heap_in_use();
		// with a cookie, if the server asks for one without keeping state
		peer_open(&p, &s, "one", false, 0);
		assert_int_equal(mbedtls_ssl_handshake(&p.ssl), MBEDTLS_ERR_SSL_WANT_READ);
		server_step(&s);
		assert_int_equal(mbedtls_ssl_handshake(&p.ssl), MBEDTLS_ERR_SSL_WANT_READ);
		server_step(&s);
		len = udp_receive(&s, p.fd, hello, 0);
		assert_int_equal(len, 0);
		peer_close(&p);
	}
	assert_true(heap_in_use() <= before + 8192);
	server_close(&s);
}

// ---- The same address again ----
// Another device gets the address of one that went away without a word: it is not taken for that one.
static void p08_another_peer(void **state)
{
	struct server s;
	struct peer p, q;
	uint8_t buf[DATAGRAM];
	server_open(&s, NULL);
	peer_open(&p, &s, "one", false, 0);
	assert_int_equal(peer_handshake(&p), 0);
	peer_send(&p, buf, post(buf, 1));
	assert_true(peer_receive(&p, buf, 5000) > 0);
	uint16_t port = udp_port(p.fd);
	peer_close(&p);

	peer_open(&q, &s, "two", false, port);
	assert_int_equal(peer_handshake(&q), 0);
	peer_send(&q, buf, post(buf, 1));
	assert_true(peer_receive(&q, buf, 5000) > 0);
	assert_string_equal(s.identity, "two");
	assert_int_equal(s.sessions_new, 2);
	assert_int_equal(s.sessions_del, 1);
	assert_int_equal(s.connected, 2);
	peer_close(&q);
	server_close(&s);
}

// Also while the application still holds the old session.
static void p08_while_busy(void **state)
{
	struct server s;
	struct peer p, q;
	uint8_t buf[DATAGRAM];
	server_open(&s, NULL);
	s.answering = ANSWER_LATER;
	peer_open(&p, &s, "one", false, 0);
	assert_int_equal(peer_handshake(&p), 0);
	peer_send(&p, buf, post(buf, 1));
	assert_true(server_until(&s, &s.requests, 1));
	coap_session_t *held = s.session;
	uint16_t port = udp_port(p.fd);
	peer_close(&p);

	s.answering = ANSWER_AT_ONCE;
	peer_open(&q, &s, "two", false, port);
	assert_int_equal(peer_handshake(&q), 0);
	peer_send(&q, buf, post(buf, 2));
	assert_true(peer_receive(&q, buf, 5000) > 0);
	assert_string_equal(s.identity, "two");
	assert_int_equal(s.sessions_del, 0);
	coap_session_release(held);
	server_step(&s);
	assert_int_equal(s.sessions_del, 1);
	peer_send(&q, buf, post(buf, 3));
	assert_true(peer_receive(&q, buf, 5000) > 0);
	peer_close(&q);
	server_close(&s);
}

// A ClientHello without the cookie, with an invented sender, ends nobody's session.
static void contract_spoofed_restart(void **state)
{
	struct server s;
	struct peer p;
	uint8_t buf[DATAGRAM], hello[DATAGRAM];
	server_open(&s, NULL);
	size_t len = bare_hello(&s, hello);
	peer_open(&p, &s, "one", false, 0);
	assert_int_equal(peer_handshake(&p), 0);
	for (int i = 0; i < 3; i++) {
		assert_true(send(p.fd, hello, len, 0) > 0);
		server_step(&s);
	}
	peer_send(&p, buf, post(buf, 1));
	assert_true(peer_receive(&p, buf, 5000) > 0);
	assert_int_equal(s.sessions_del, 0);
	peer_close(&p);
	server_close(&s);
}

// A session that the application ends: its peer is told, and the session is gone after the next step.
static void contract_disconnect(void **state)
{
	struct server s;
	struct peer p;
	uint8_t buf[DATAGRAM];
	server_open(&s, NULL);
	peer_open(&p, &s, "one", false, 0);
	assert_int_equal(peer_handshake(&p), 0);
	peer_send(&p, buf, post(buf, 1));
	assert_true(peer_receive(&p, buf, 5000) > 0);
	coap_session_disconnected(s.session, COAP_NACK_TLS_FAILED);
	assert_int_equal(peer_receive(&p, buf, 5000), MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY);
	assert_int_equal(s.closed, 1);
	assert_int_equal(s.sessions_del, 1);
	peer_close(&p);
	server_close(&s);
}

// On close every peer is told.
static void contract_close_notify(void **state)
{
	enum { COUNT = 3 };
	struct server s;
	struct peer peers[COUNT];
	uint8_t buf[DATAGRAM];
	server_open(&s, NULL);
	for (int i = 0; i < COUNT; i++) {
		peer_open(&peers[i], &s, "one", i == 1, 0);
		assert_int_equal(peer_handshake(&peers[i]), 0);
	}
	server_close(&s);
	for (int i = 0; i < COUNT; i++) {
		assert_int_equal(peer_receive(&peers[i], buf, 2000), MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY);
		peer_close(&peers[i]);
	}
}

// A device with a key and Mbed TLS's usual list of suites gets in, although the server has certificates as well.
static void p16_psk_before_certificates(void **state)
{
	struct server s;
	struct peer p;
	uint8_t buf[DATAGRAM];
	server_open(&s, &(struct server_options){ .certificates = true });
	peer_open(&p, &s, "device", false, 0);
	mbedtls_ssl_conf_ciphersuites(&p.conf, mbedtls_ssl_list_ciphersuites());
	assert_int_equal(peer_handshake(&p), 0);
	peer_send(&p, buf, post(buf, 7));
	assert_true(peer_receive(&p, buf, 5000) > 0);
	assert_string_equal(s.identity, "device");
	peer_close(&p);
	server_close(&s);
}

// ---- What the application configures ----
struct material {
	mbedtls_x509_crt chain, ca;
	mbedtls_x509_crl list;
	mbedtls_pk_context key;
	bool revoked; // the client
	unsigned given, back;
};

static void material_init(struct material *m, bool revoked)
{
	uint8_t der[DATAGRAM];
	memset(m, 0, sizeof(*m));
	mbedtls_x509_crt_init(&m->chain);
	mbedtls_x509_crt_init(&m->ca);
	mbedtls_x509_crl_init(&m->list);
	mbedtls_pk_init(&m->key);
	m->revoked = revoked;
	assert_int_equal(mbedtls_x509_crt_parse(&m->chain, (const unsigned char *)certs_pem(CERT_SERVER), strlen(certs_pem(CERT_SERVER)) + 1), 0);
	assert_int_equal(mbedtls_x509_crt_parse(&m->ca, (const unsigned char *)certs_pem(CERT_CA), strlen(certs_pem(CERT_CA)) + 1), 0);
	assert_int_equal(mbedtls_pk_parse_key(&m->key, (const unsigned char *)keys_pem(CERT_SERVER), strlen(keys_pem(CERT_SERVER)) + 1, NULL, 0,
		random_bytes, NULL), 0);
	if (revoked)
		assert_int_equal(mbedtls_x509_crl_parse_der(&m->list, der, crl_of_client(der)), 0);
}

static void material_fini(struct material *m)
{
	assert_int_equal(m->given, m->back);
	mbedtls_x509_crt_free(&m->chain);
	mbedtls_x509_crt_free(&m->ca);
	mbedtls_x509_crl_free(&m->list);
	mbedtls_pk_free(&m->key);
	memset(m, 0xA5, sizeof(*m)); // whoever still looks finds nothing
}

static int use_material(void *conf, coap_session_t *session, void *arg, void **held)
{
	struct material *m = arg;
	*held = m;
	m->given++;
	mbedtls_ssl_conf_ca_chain(conf, &m->ca, m->revoked ? &m->list : NULL);
	mbedtls_ssl_conf_authmode(conf, MBEDTLS_SSL_VERIFY_REQUIRED);
	return mbedtls_ssl_conf_own_cert(conf, &m->chain, &m->key) == 0;
}

static void give_back(void *held)
{
	((struct material *)held)->back++;
}

static void configured_server(struct server *s, struct material *m)
{
	assert_non_null(coap_context_set_dtls_configure);
	server_open(s, NULL);
	assert_true(coap_context_set_dtls_configure(s->context, use_material, give_back, m));
}

static int certificate_handshake(struct peer *p, struct server *s)
{
	peer_open(p, s, NULL, false, 0);
	peer_use_certificate(p);
	return peer_handshake(p);
}

static void p26_configured(void **state)
{
	struct material m;
	struct server s;
	struct peer p;
	uint8_t buf[DATAGRAM];
	material_init(&m, false);
	configured_server(&s, &m);
	assert_int_equal(certificate_handshake(&p, &s), 0);
	peer_send(&p, buf, post(buf, 7));
	assert_true(peer_receive(&p, buf, 5000) > 0);
	assert_int_equal(m.given, 1);
	assert_int_equal(m.back, 0);
	peer_close(&p);
	expect_in(&s); // by its key
	server_close(&s);
	assert_int_equal(m.given, 2);
	material_fini(&m);
}

static void p26_revoked(void **state)
{
	struct material m;
	struct server s;
	struct peer p;
	material_init(&m, true);
	configured_server(&s, &m);
	// The client is through before the server has looked at its certificate, or hears the alert.
	(void)certificate_handshake(&p, &s);
	assert_true(server_until(&s, &s.failed, 1));
	assert_int_equal(s.connected, 0);
	peer_close(&p);
	server_close(&s);
	material_fini(&m);
}

// What a session began with stays until it is gone; who comes later gets the new.
static void p26_configured_anew(void **state)
{
	struct material old, new;
	struct server s;
	struct peer p, later;
	uint8_t buf[DATAGRAM];
	material_init(&old, false);
	material_init(&new, false);
	configured_server(&s, &old);
	assert_int_equal(certificate_handshake(&p, &s), 0);
	assert_true(coap_context_set_dtls_configure(s.context, use_material, give_back, &new));
	assert_int_equal(certificate_handshake(&later, &s), 0);
	assert_int_equal(old.given, 1);
	assert_int_equal(new.given, 1);
	peer_send(&p, buf, post(buf, 7));
	assert_true(peer_receive(&p, buf, 5000) > 0);
	assert_int_equal(mbedtls_ssl_close_notify(&p.ssl), 0);
	assert_true(server_until(&s, &old.back, 1));
	material_fini(&old);
	peer_send(&later, buf, post(buf, 8));
	assert_true(peer_receive(&later, buf, 5000) > 0);
	assert_int_equal(new.back, 0);
	peer_close(&p);
	peer_close(&later);
	server_close(&s);
	material_fini(&new);
}

const struct CMUnitTest handshake_tests[] = {
	cmocka_unit_test(p02_half_open),
	cmocka_unit_test(p04_connected_event),
	cmocka_unit_test(p04_certificate_callback),
	cmocka_unit_test(contract_certificate_required),
	cmocka_unit_test(p06_broken_credentials),
	cmocka_unit_test(p07_bare_hellos),
	cmocka_unit_test(p07_broken_hellos),
	cmocka_unit_test(p07_refused_leaves),
	cmocka_unit_test(p08_another_peer),
	cmocka_unit_test(p08_while_busy),
	cmocka_unit_test(contract_spoofed_restart),
	cmocka_unit_test(contract_disconnect),
	cmocka_unit_test(contract_close_notify),
	cmocka_unit_test(p16_psk_before_certificates),
	cmocka_unit_test(p26_configured),
	cmocka_unit_test(p26_revoked),
	cmocka_unit_test(p26_configured_anew),
	{ 0 },
};
