// SPDX-License-Identifier: Apache-2.0
// Session tickets between the module and a real client (Mbed TLS): what is resumed is what a whole handshake with the same credential would give now, or nothing.
// And which certificates and suites devices may come with.
#include "adapters/tls/ticket_keys.h"
#include "adapters/tls/tls.h"

#include "gateway/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include <cmocka.h>

#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/ssl.h>
#include <psa/crypto.h>

#include "tls_pki.h"

#define HOUR_US INT64_C(3600000000)

static mbedtls_entropy_context entropy;
static mbedtls_ctr_drbg_context random_source;
static struct pki_made root, other_root, gateway, gateway_rsa, gateway_p384, device, device_rsa, device_p384, short_lived;
static char keys[160], crl[160];
static const uint16_t *groups; // of the client; NULL: Mbed TLS's own
static const mbedtls_ssl_protocol_version versions[] = { MBEDTLS_SSL_VERSION_TLS1_2, MBEDTLS_SSL_VERSION_TLS1_3 };

static int
set_up(void **state)
{
	(void)state;
	assert_int_equal(psa_crypto_init(), PSA_SUCCESS);
	mbedtls_entropy_init(&entropy);
	mbedtls_ctr_drbg_init(&random_source);
	assert_int_equal(mbedtls_ctr_drbg_seed(&random_source, mbedtls_entropy_func, &entropy, NULL, 0), 0);
	assert_non_null(mkdtemp(pki_folder));
	snprintf(keys, sizeof(keys), "%s/ticket-keys", pki_folder);
	snprintf(crl, sizeof(crl), "%s/root.crl", pki_folder);
	pki_make(&root, "root", NULL, (struct pki_wish){ .ca = true });
	pki_make(&other_root, "other", NULL, (struct pki_wish){ .ca = true });
	pki_make(&gateway, "gateway", &root, (struct pki_wish){ .san = "DNS:localhost" });
	pki_make(&gateway_rsa, "gateway-rsa", &root, (struct pki_wish){ .kind = "RSA", .san = "DNS:localhost" });
	pki_make(&gateway_p384, "gateway-p384", &root, (struct pki_wish){ .kind = "P-384", .san = "DNS:localhost" });
	pki_make(&device, "mon1", &root, (struct pki_wish){ .san = "DNS:mon1.ward" });
	pki_make(&device_rsa, "mon1-rsa", &root, (struct pki_wish){ .kind = "RSA", .cn = "mon1" });
	pki_make(&device_p384, "mon1-p384", &root, (struct pki_wish){ .kind = "P-384", .cn = "mon1" });
	pki_make(&short_lived, "mon1-short", &root, (struct pki_wish){ .cn = "mon1", .until_s = 7200 });
	return 0;
}

static int
tear_down(void **state)
{
	struct pki_made *const all[] = { &root, &other_root, &gateway, &gateway_rsa, &gateway_p384, &device, &device_rsa, &device_p384, &short_lived };

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		pki_free(all[i]);
	mbedtls_ctr_drbg_free(&random_source);
	mbedtls_entropy_free(&entropy);
	pki_remove();
	return 0;
}

static int
fresh(void **state)
{
	(void)state;
	unlink(keys);
	gw_clock_fake_wall(INT64_MIN);
	groups = NULL;
	return 0;
}

// ---- The server's side ----

static unsigned char psk[16];
static const char *subject;

static size_t
find_psk(void *arg, struct gw_span identity, uint8_t key[GW_TLS_PSK_MAX])
{
	(void)arg;
	if (!gw_span_is(identity, "mon1-psk"))
		return 0;
	memcpy(key, psk, sizeof(psk));
	return sizeof(psk);
}

static bool
find_subject(void *arg, struct gw_span name)
{
	(void)arg;
	return gw_span_is(name, subject);
}

static struct gw_tls_options
usual(void)
{
	subject = "mon1";
	memcpy(psk, "0123456789abcde", sizeof(psk));
	return (struct gw_tls_options){ .trust = { .certificate = gateway.file, .key = gateway.key_file, .ca = root.file },
		.ticket_s = 86400, .ticket_file = keys, .door = "test", .psk = find_psk, .subject = find_subject };
}

static struct gw_tls_server *
open_server(struct gw_tls_options options)
{
	struct gw_tls_server *server;
	struct gw_why why = { "" };

	if (gw_tls_server_open(&options, &server, &why) != GW_OK)
		fail_msg("%s", why.text);
	return server;
}

// ---- A client, and both together ----

struct meeting {
	mbedtls_ssl_config config;
	mbedtls_ssl_context ssl;
	mbedtls_x509_crt crt, authorities;
	mbedtls_pk_context key;
	int fd[2]; // the server's, the client's
	struct gw_tls_conn *conn;
	struct gw_tls_ahead ahead;
	uint8_t buf[32768];
	enum gw_tls_step step;
	int rc;
	struct gw_tls_identity identity;
};

enum with { NOTHING, CERTIFICATE, PSK };

static int
client_send(void *arg, const unsigned char *bytes, size_t len)
{
	ssize_t n = send(*(int *)arg, bytes, len, MSG_NOSIGNAL);

	return n >= 0 ? (int)n : errno == EAGAIN ? MBEDTLS_ERR_SSL_WANT_WRITE : MBEDTLS_ERR_SSL_CONN_EOF;
}

static int
client_receive(void *arg, unsigned char *bytes, size_t len)
{
	ssize_t n = recv(*(int *)arg, bytes, len, 0);

	return n >= 0 ? (int)n : errno == EAGAIN ? MBEDTLS_ERR_SSL_WANT_READ : MBEDTLS_ERR_SSL_CONN_EOF;
}

static void
begin(struct meeting *m, struct gw_tls_server *server, mbedtls_ssl_protocol_version version, enum with with, struct pki_made *who)
{
	memset(m, 0, sizeof(*m));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, m->fd), 0);
	m->ahead = (struct gw_tls_ahead){ .buf = m->buf, .cap = sizeof(m->buf) };
	m->conn = gw_tls_conn_new(server, m->fd[0]);
	assert_non_null(m->conn);
	mbedtls_ssl_config_init(&m->config);
	mbedtls_ssl_init(&m->ssl);
	mbedtls_x509_crt_init(&m->crt);
	mbedtls_x509_crt_init(&m->authorities);
	mbedtls_pk_init(&m->key);
	assert_int_equal(mbedtls_ssl_config_defaults(&m->config, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM, MBEDTLS_SSL_PRESET_DEFAULT), 0);
	mbedtls_ssl_conf_min_tls_version(&m->config, version);
	mbedtls_ssl_conf_max_tls_version(&m->config, version);
	mbedtls_ssl_conf_rng(&m->config, mbedtls_ctr_drbg_random, &random_source);
	if (groups != NULL)
		mbedtls_ssl_conf_groups(&m->config, groups); // before setup, which copies the list
	mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(&m->config, MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
	assert_int_equal(mbedtls_x509_crt_parse_file(&m->authorities, root.file), 0);
	mbedtls_ssl_conf_ca_chain(&m->config, &m->authorities, NULL);
	if (with == CERTIFICATE) {
		assert_int_equal(mbedtls_x509_crt_parse_file(&m->crt, who->file), 0);
		assert_int_equal(mbedtls_pk_parse_keyfile(&m->key, who->key_file, NULL, mbedtls_ctr_drbg_random, &random_source), 0);
		assert_int_equal(mbedtls_ssl_conf_own_cert(&m->config, &m->crt, &m->key), 0);
	} else if (with == PSK) {
		assert_int_equal(mbedtls_ssl_conf_psk(&m->config, psk, sizeof(psk), (const unsigned char *)"mon1-psk", 8), 0);
	}
	assert_int_equal(mbedtls_ssl_setup(&m->ssl, &m->config), 0);
	assert_int_equal(mbedtls_ssl_set_hostname(&m->ssl, "localhost"), 0);
	mbedtls_ssl_set_bio(&m->ssl, &m->fd[1], client_send, client_receive, NULL);
}

static void
shake(struct meeting *m)
{
	m->step = GW_TLS_WANT_READ;
	m->rc = MBEDTLS_ERR_SSL_WANT_READ;
	for (int i = 0; i < 50 && (m->step == GW_TLS_WANT_READ || m->rc == MBEDTLS_ERR_SSL_WANT_READ); i++) {
		if (m->rc == MBEDTLS_ERR_SSL_WANT_READ)
			m->rc = mbedtls_ssl_handshake(&m->ssl);
		if (m->step == GW_TLS_WANT_READ) {
			gw_tls_turn(m->conn, &m->ahead);
			m->step = gw_tls_handshake(m->conn);
		}
		if (m->step == GW_TLS_FAILED || m->step == GW_TLS_CLOSED)
			shutdown(m->fd[0], SHUT_WR);
	}
	gw_tls_identity(m->conn, &m->identity);
}

static void
end(struct meeting *m)
{
	gw_tls_bye(m->conn);
	gw_tls_conn_free(m->conn);
	mbedtls_ssl_free(&m->ssl);
	mbedtls_ssl_config_free(&m->config);
	mbedtls_x509_crt_free(&m->crt);
	mbedtls_x509_crt_free(&m->authorities);
	mbedtls_pk_free(&m->key);
	close(m->fd[0]);
	close(m->fd[1]);
	free(m);
}

static struct meeting *
meet(struct gw_tls_server *server, mbedtls_ssl_protocol_version version, enum with with, struct pki_made *who, const mbedtls_ssl_session *session)
{
	struct meeting *m = malloc(sizeof(*m));

	assert_non_null(m);
	begin(m, server, version, with, who);
	if (session != NULL)
		assert_int_equal(mbedtls_ssl_set_session(&m->ssl, session), 0);
	shake(m);
	return m;
}

// Mbed TLS tells of it with the read after that which got it.
static void
receive_ticket(struct meeting *m)
{
	unsigned char byte;
	int rc = MBEDTLS_ERR_SSL_WANT_READ;

	for (int i = 0; i < 4 && rc == MBEDTLS_ERR_SSL_WANT_READ; i++)
		rc = mbedtls_ssl_read(&m->ssl, &byte, 1);
	assert_int_equal(rc, MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET);
}

// A whole handshake, and the session that its ticket gives.
static void
first_session(struct gw_tls_server *server, mbedtls_ssl_protocol_version version, enum with with, struct pki_made *who, mbedtls_ssl_session *session)
{
	struct meeting *m = meet(server, version, with, who, NULL);

	assert_int_equal(m->step, GW_TLS_DONE);
	assert_false(gw_tls_resumed(m->conn));
	if (version == MBEDTLS_SSL_VERSION_TLS1_3)
		receive_ticket(m);
	mbedtls_ssl_session_init(session);
	assert_int_equal(mbedtls_ssl_get_session(&m->ssl, session), 0);
	end(m);
}

static void
assert_meets(struct gw_tls_server *server, mbedtls_ssl_protocol_version version, const mbedtls_ssl_session *session, bool resumed, enum gw_auth auth, const char *name)
{
	// Without a certificate: only the ticket can say who it is. A PSK is offered again, since TLS 1.2 resumes a suite only where it is offered.
	enum with with = auth == GW_AUTH_PSK ? PSK : NOTHING;
	struct meeting *m = meet(server, version, with, NULL, session);

	assert_int_equal(m->step, GW_TLS_DONE);
	assert_int_equal(m->rc, 0);
	assert_int_equal(gw_tls_resumed(m->conn), resumed);
	assert_int_equal(m->identity.auth, auth);
	assert_string_equal(m->identity.name, name);
	assert_int_equal(gw_tls_lapsed(m->conn, gw_clock_wall_us() / 1000000), GW_REFUSED_NONE);
	end(m);
}

// ---- What is resumed ----

static void
test_resumed(void **state)
{
	static const struct { enum with with; enum gw_auth auth; const char *name; } cases[] = {
		{ CERTIFICATE, GW_AUTH_CERTIFICATE, "mon1" }, { PSK, GW_AUTH_PSK, "mon1-psk" }, { NOTHING, GW_AUTH_NONE, "" },
	};
	mbedtls_ssl_session session;

	(void)state;
	for (size_t v = 0; v < 2; v++) {
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			struct gw_tls_server *server = open_server(usual());

			first_session(server, versions[v], cases[i].with, &device, &session);
			assert_meets(server, versions[v], &session, true, cases[i].auth, cases[i].name);
			// The gateway starts again, and its files are read again; the keys of tickets are the same.
			gw_tls_server_close(server);
			server = open_server(usual());
			assert_meets(server, versions[v], &session, true, cases[i].auth, cases[i].name);
			mbedtls_ssl_session_free(&session);
			gw_tls_server_close(server);
		}
	}
}

// An authority more, or a list that concerns others, makes no ticket bad.
static void
test_resumed_though_trust_changed(void **state)
{
	struct gw_tls_options options = usual();
	struct gw_tls_server *server = open_server(options);
	struct pki_made *const both[] = { &other_root, &root };
	mbedtls_ssl_session session;
	struct gw_why why;
	char bundle[160];

	(void)state;
	snprintf(bundle, sizeof(bundle), "%s/bundle.pem", pki_folder);
	pki_bundle(bundle, both, 2);
	pki_crl(crl, &root, &device_rsa, 86400);
	first_session(server, versions[1], CERTIFICATE, &device, &session);
	options.trust.ca = bundle;
	options.trust.crl = crl;
	options.trust.certificate = gateway_p384.file;
	options.trust.key = gateway_p384.key_file;
	assert_int_equal(gw_tls_server_renew(server, &options.trust, &why), GW_OK);
	assert_meets(server, versions[1], &session, true, GW_AUTH_CERTIFICATE, "mon1");
	mbedtls_ssl_session_free(&session);
	gw_tls_server_close(server);
}

// ---- What is not ----

typedef struct gw_tls_options change_fn(struct gw_tls_options options);

static struct gw_tls_options
authority_gone(struct gw_tls_options options)
{
	options.trust.ca = other_root.file;
	return options;
}

static struct gw_tls_options
revoked(struct gw_tls_options options)
{
	pki_crl(crl, &root, &device, 86400);
	options.trust.crl = crl;
	return options;
}

static struct gw_tls_options
list_past_its_time(struct gw_tls_options options)
{
	pki_crl(crl, &root, NULL, -60);
	options.trust.crl = crl;
	options.trust.crl_expired_refused = true;
	return options;
}

static struct gw_tls_options
other_rules(struct gw_tls_options options)
{
	static char from[] = "cn", match[] = "(mon1)";
	static struct gw_config_mapping rule = { .from = from, .match = match };
	static const struct gw_config_list list = { &rule, 1 };

	options.trust.identities = &list;
	return options;
}

static struct gw_tls_options
subject_gone(struct gw_tls_options options)
{
	subject = "mon2";
	return options;
}

static struct gw_tls_options
other_door(struct gw_tls_options options)
{
	options.door = "another";
	return options;
}

static struct gw_tls_options
keys_lost(struct gw_tls_options options)
{
	unlink(keys);
	return options;
}

static struct gw_tls_options
keys_read_by_others(struct gw_tls_options options)
{
	assert_int_equal(chmod(keys, 0644), 0);
	return options;
}

static struct gw_tls_options
keys_damaged(struct gw_tls_options options)
{
	assert_int_equal(truncate(keys, 40), 0);
	return options;
}

static struct gw_tls_options
tickets_off(struct gw_tls_options options)
{
	options.ticket_s = 0;
	return options;
}

static struct gw_tls_options
a_day_later(struct gw_tls_options options)
{
	gw_clock_fake_wall(gw_clock_wall_us() + 25 * HOUR_US);
	return options;
}

static struct gw_tls_options
psk_changed(struct gw_tls_options options)
{
	psk[0] ^= 1;
	return options;
}

static void
test_no_good(void **state)
{
	static const struct { enum with with; change_fn *change; } cases[] = {
		{ CERTIFICATE, authority_gone }, { CERTIFICATE, revoked }, { CERTIFICATE, list_past_its_time }, { CERTIFICATE, other_rules }, { CERTIFICATE, subject_gone },
		{ CERTIFICATE, other_door }, { CERTIFICATE, keys_lost }, { CERTIFICATE, keys_read_by_others }, { CERTIFICATE, keys_damaged }, { CERTIFICATE, tickets_off },
		{ CERTIFICATE, a_day_later }, { PSK, psk_changed }, { PSK, other_door },
	};
	mbedtls_ssl_session session;

	(void)state;
	for (size_t v = 0; v < 2; v++) {
		for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			struct gw_tls_server *server = open_server(usual());

			first_session(server, versions[v], cases[i].with, &device, &session);
			gw_tls_server_close(server);
			server = open_server(cases[i].change(usual()));
			if (cases[i].with == PSK)
				assert_meets(server, versions[v], &session, false, GW_AUTH_PSK, "mon1-psk");
			else
				assert_meets(server, versions[v], &session, false, GW_AUTH_NONE, "");
			mbedtls_ssl_session_free(&session);
			gw_tls_server_close(server);
			fresh(NULL);
		}
	}
}

// The certificate's end is the ticket's, also where the ticket itself would live longer; and a session that lives is told.
static void
test_certificate_ends(void **state)
{
	(void)state;
	for (size_t v = 0; v < 2; v++) {
		struct gw_tls_server *server = open_server(usual());
		mbedtls_ssl_session session;
		struct meeting *m;

		first_session(server, versions[v], CERTIFICATE, &short_lived, &session);
		m = meet(server, versions[v], NOTHING, NULL, &session);
		assert_true(gw_tls_resumed(m->conn));
		assert_int_equal(gw_tls_lapsed(m->conn, gw_clock_wall_us() / 1000000 + 7300), GW_REFUSED_CERTIFICATE_EXPIRED);
		end(m);
		gw_clock_fake_wall(gw_clock_wall_us() + 3 * HOUR_US);
		assert_meets(server, versions[v], &session, false, GW_AUTH_NONE, "");
		mbedtls_ssl_session_free(&session);
		gw_tls_server_close(server);
		fresh(NULL);
	}
}

// Resuming makes new tickets, but does not prove the credential: after a week it is asked for.
static void
test_a_week_at_most(void **state)
{
	struct gw_tls_server *server = open_server(usual());
	int64_t began_us = gw_clock_wall_us();
	mbedtls_ssl_session session;
	int hours = 0;

	(void)state;
	first_session(server, versions[1], CERTIFICATE, &device, &session);
	for (bool resumed = true; resumed; hours += 20) {
		struct meeting *m = meet(server, versions[1], NOTHING, NULL, &session);

		resumed = gw_tls_resumed(m->conn);
		assert_int_equal(m->identity.auth, resumed ? GW_AUTH_CERTIFICATE : GW_AUTH_NONE);
		receive_ticket(m);
		mbedtls_ssl_session_free(&session);
		mbedtls_ssl_session_init(&session);
		assert_int_equal(mbedtls_ssl_get_session(&m->ssl, &session), 0);
		end(m);
		gw_clock_fake_wall(began_us + (hours + 20) * HOUR_US);
	}
	assert_in_range(hours, 7 * 24, 8 * 24 + 20);
	mbedtls_ssl_session_free(&session);
	gw_tls_server_close(server);
}

// A live session is asked of the newest trust, once it has changed.
static void
test_lapsed(void **state)
{
	(void)state;
	for (size_t v = 0; v < 2; v++) {
		struct gw_tls_options options = usual();
		struct gw_tls_server *server = open_server(options);
		struct meeting *m = meet(server, versions[v], CERTIFICATE, &device, NULL), *other = meet(server, versions[v], CERTIFICATE, &device_p384, NULL);
		struct meeting *by_psk = meet(server, versions[v], PSK, NULL, NULL);
		int64_t now_s = gw_clock_wall_us() / 1000000;
		struct gw_why why = { "" };

		assert_int_equal(gw_tls_lapsed(m->conn, now_s), GW_REFUSED_NONE);
		options.trust.key = gateway_rsa.key_file; // a bad pair changes nothing
		assert_int_equal(gw_tls_server_renew(server, &options.trust, &why), GW_E_CONFIG);
		assert_non_null(strstr(why.text, "does not belong"));
		assert_int_equal(gw_tls_lapsed(m->conn, now_s), GW_REFUSED_NONE);
		options = revoked(usual());
		assert_int_equal(gw_tls_server_renew(server, &options.trust, &why), GW_OK);
		assert_int_equal(gw_tls_lapsed(m->conn, now_s), GW_REFUSED_CERTIFICATE_REVOKED);
		assert_int_equal(gw_tls_lapsed(other->conn, now_s), GW_REFUSED_NONE);
		options = authority_gone(usual());
		assert_int_equal(gw_tls_server_renew(server, &options.trust, &why), GW_OK);
		assert_int_equal(gw_tls_lapsed(other->conn, now_s), GW_REFUSED_CERTIFICATE_FOREIGN);
		assert_int_equal(gw_tls_lapsed(by_psk->conn, now_s), GW_REFUSED_NONE);
		end(m);
		end(other);
		end(by_psk);
		gw_tls_server_close(server);
		fresh(NULL);
	}
}

// A ticket of TLS 1.3 goes over the line in the clear when it is used. Mbed TLS would take it for one of 1.2 with a master secret of zeros, which anybody knows.
static void
test_ticket_of_another_version(void **state)
{
	struct gw_tls_server *server = open_server(usual());
	mbedtls_ssl_session seen, forged, own;

	(void)state;
	first_session(server, versions[1], CERTIFICATE, &device, &seen);
	first_session(server, versions[0], NOTHING, NULL, &own);
	mbedtls_ssl_session_init(&forged);
	forged = own;
	forged.MBEDTLS_PRIVATE(ticket) = seen.MBEDTLS_PRIVATE(ticket);
	forged.MBEDTLS_PRIVATE(ticket_len) = seen.MBEDTLS_PRIVATE(ticket_len);
	memset(forged.MBEDTLS_PRIVATE(master), 0, sizeof(forged.MBEDTLS_PRIVATE(master)));
	assert_meets(server, versions[0], &forged, false, GW_AUTH_NONE, "");
	// Nor the other way round.
	mbedtls_ssl_session_free(&seen);
	mbedtls_ssl_session_free(&own);
	first_session(server, versions[0], CERTIFICATE, &device, &seen);
	first_session(server, versions[1], NOTHING, NULL, &own);
	forged = own;
	forged.MBEDTLS_PRIVATE(ticket) = seen.MBEDTLS_PRIVATE(ticket);
	forged.MBEDTLS_PRIVATE(ticket_len) = seen.MBEDTLS_PRIVATE(ticket_len);
	assert_meets(server, versions[1], &forged, false, GW_AUTH_NONE, "");
	mbedtls_ssl_session_free(&seen);
	mbedtls_ssl_session_free(&own);
	gw_tls_server_close(server);
}

// Whoever has a ticket but not its secret gets nowhere.
static void
test_ticket_without_its_secret(void **state)
{
	(void)state;
	for (size_t v = 0; v < 2; v++) {
		struct gw_tls_server *server = open_server(usual());
		mbedtls_ssl_session session;
		struct meeting *m;

		first_session(server, versions[v], CERTIFICATE, &device, &session);
		session.MBEDTLS_PRIVATE(master)[0] ^= 1;
		session.MBEDTLS_PRIVATE(resumption_key)[0] ^= 1;
		m = meet(server, versions[v], NOTHING, NULL, &session);
		assert_int_equal(m->step, GW_TLS_FAILED);
		end(m);
		mbedtls_ssl_session_free(&session);
		gw_tls_server_close(server);
		fresh(NULL);
	}
}

// ---- Tickets by themselves ----

static void
test_every_bit_counts(void **state)
{
	struct gw_ticket_claim claim = { .identity = { .auth = GW_AUTH_PSK, .known = true, .name = "mon1" }, .version = 0x0303 }, out;
	struct gw_ticket_keys *sealer;
	struct gw_why why = { "" };
	uint8_t ticket[512], copy[512];
	struct gw_span session;
	size_t len;

	(void)state;
	assert_int_equal(gw_ticket_keys_open(keys, "test", 3600, &sealer, &why), GW_OK);
	assert_string_equal(why.text, "");
	assert_int_equal(gw_ticket_seal(sealer, &claim, gw_span("session", 7), ticket, 100, &len), GW_E_TOO_LARGE);
	assert_int_equal(gw_ticket_seal(sealer, &claim, gw_span("session", 7), ticket, sizeof(ticket), &len), GW_OK);
	assert_true(gw_ticket_is_one(gw_span(ticket, len)));
	memcpy(copy, ticket, len);
	assert_true(gw_ticket_unseal(sealer, copy, len, &out, &session));
	assert_true(gw_span_is(session, "session") && strcmp(out.identity.name, "mon1") == 0 && gw_ticket_of_this_boot(sealer, &out));
	for (size_t bit = 0; bit < len * 8; bit++) {
		memcpy(copy, ticket, len);
		copy[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_false(gw_ticket_unseal(sealer, copy, len, &out, &session));
	}
	for (size_t short_len = 0; short_len < len; short_len++) {
		memcpy(copy, ticket, len);
		assert_false(gw_ticket_unseal(sealer, copy, short_len, &out, &session));
	}
	gw_ticket_keys_close(sealer);
}

// A key seals for a ticket's life and opens for another; the file has never more than two.
static void
test_generations(void **state)
{
	struct gw_ticket_claim claim = { .version = 0x0303 }, out;
	struct gw_ticket_keys *sealer;
	int64_t began_us = gw_clock_wall_us();
	uint8_t first[512], second[512], copy[512];
	struct gw_span session;
	struct gw_why why;
	struct stat st;
	size_t len;

	(void)state;
	gw_clock_fake_wall(began_us);
	assert_int_equal(gw_ticket_keys_open(keys, "test", 3600, &sealer, &why), GW_OK);
	gw_clock_fake_wall(began_us + HOUR_US - 1000000);
	assert_int_equal(gw_ticket_seal(sealer, &claim, gw_span("s", 1), first, sizeof(first), &len), GW_OK);
	gw_clock_fake_wall(began_us + HOUR_US + 1000000);
	assert_int_equal(gw_ticket_seal(sealer, &claim, gw_span("s", 1), second, sizeof(second), &len), GW_OK);
	assert_memory_not_equal(first + 5, second + 5, 8); // the key's name
	gw_ticket_keys_close(sealer);
	assert_int_equal(gw_ticket_keys_open(keys, "test", 3600, &sealer, &why), GW_OK);
	gw_clock_fake_wall(began_us + 2 * HOUR_US - 2000000);
	memcpy(copy, first, len);
	assert_true(gw_ticket_unseal(sealer, copy, len, &out, &session));
	gw_clock_fake_wall(began_us + 2 * HOUR_US);
	memcpy(copy, first, len);
	assert_false(gw_ticket_unseal(sealer, copy, len, &out, &session)); // past its life
	memcpy(copy, second, len);
	assert_true(gw_ticket_unseal(sealer, copy, len, &out, &session));
	gw_clock_fake_wall(began_us - HOUR_US); // the clock was set back: from the future
	memcpy(copy, second, len);
	assert_false(gw_ticket_unseal(sealer, copy, len, &out, &session));
	assert_int_equal(stat(keys, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	gw_ticket_keys_close(sealer);
}

static void
test_keys_that_cannot_be_kept(void **state)
{
	struct gw_ticket_claim claim = { .version = 0x0303 }, out;
	struct gw_ticket_keys *sealer;
	struct gw_why why = { "" };
	struct gw_span session;
	uint8_t ticket[512];
	size_t len;

	(void)state;
	assert_int_equal(gw_ticket_keys_open("/nowhere/keys", "test", 3600, &sealer, &why), GW_OK);
	assert_non_null(strstr(why.text, "/nowhere/keys"));
	assert_int_equal(gw_ticket_seal(sealer, &claim, gw_span("s", 1), ticket, sizeof(ticket), &len), GW_OK);
	assert_true(gw_ticket_unseal(sealer, ticket, len, &out, &session));
	gw_ticket_keys_close(sealer);
}

// ---- Kinds of certificates, versions, suites ----

static void
test_kinds(void **state)
{
	struct pki_made *const shown[] = { &gateway, &gateway_rsa, &gateway_p384 }, *const guests[] = { &device, &device_rsa, &device_p384 };

	(void)state;
	for (size_t s = 0; s < 3; s++) {
		struct gw_tls_options options = usual();
		struct gw_tls_server *server;

		options.trust.certificate = shown[s]->file;
		options.trust.key = shown[s]->key_file;
		server = open_server(options);
		for (size_t v = 0; v < 2; v++)
			for (size_t g = 0; g < 3; g++) {
				struct meeting *m = meet(server, versions[v], CERTIFICATE, guests[g], NULL);

				assert_int_equal(m->step, GW_TLS_DONE);
				assert_true(m->identity.known);
				assert_string_equal(m->identity.name, "mon1");
				end(m);
			}
		gw_tls_server_close(server);
	}
}

static void
test_only_1_3(void **state)
{
	struct gw_tls_options options = usual();
	struct gw_tls_server *server;
	struct meeting *m;

	(void)state;
	options.only_1_3 = true;
	server = open_server(options);
	m = meet(server, versions[0], CERTIFICATE, &device, NULL);
	assert_int_equal(m->step, GW_TLS_FAILED);
	end(m);
	m = meet(server, versions[1], CERTIFICATE, &device, NULL);
	assert_int_equal(m->step, GW_TLS_DONE);
	end(m);
	gw_tls_server_close(server);
}

// What small devices have is taken; nothing with CBC, SHA-1, RSA key exchange or finite fields.
static void
test_suites(void **state)
{
	static const struct { int suite; enum with with; bool taken; } cases[] = {
		{ MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, CERTIFICATE, true }, { MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8, CERTIFICATE, true },
		{ MBEDTLS_TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256, PSK, true }, { MBEDTLS_TLS_PSK_WITH_AES_128_CCM_8, PSK, true },
		{ MBEDTLS_TLS_PSK_WITH_AES_128_GCM_SHA256, PSK, true }, { MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, CERTIFICATE, false },
		{ MBEDTLS_TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA, CERTIFICATE, false }, { MBEDTLS_TLS_PSK_WITH_AES_128_CBC_SHA256, PSK, false },
		{ MBEDTLS_TLS_ECDHE_PSK_WITH_AES_128_CBC_SHA256, PSK, false }, { MBEDTLS_TLS_DHE_PSK_WITH_AES_128_GCM_SHA256, PSK, false },
	};
	struct gw_tls_server *server = open_server(usual());

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const int suites[] = { cases[i].suite, 0 };
		struct meeting *m = malloc(sizeof(*m));

		assert_non_null(m);
		begin(m, server, versions[0], cases[i].with, &device);
		mbedtls_ssl_conf_ciphersuites(&m->config, suites);
		shake(m);
		assert_int_equal(m->step == GW_TLS_DONE, cases[i].taken);
		end(m);
	}
	gw_tls_server_close(server);
}

// Elliptic curves alone. Whoever begins with something else is asked to begin again, and may resume all the same.
static void
test_groups(void **state)
{
	static const uint16_t fields[] = { MBEDTLS_SSL_IANA_TLS_GROUP_FFDHE2048, MBEDTLS_SSL_IANA_TLS_GROUP_NONE };
	static const uint16_t both[] = { MBEDTLS_SSL_IANA_TLS_GROUP_FFDHE2048, MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1, MBEDTLS_SSL_IANA_TLS_GROUP_NONE };
	struct gw_tls_server *server = open_server(usual());
	mbedtls_ssl_session session;

	(void)state;
	first_session(server, versions[1], CERTIFICATE, &device, &session);
	for (int i = 0; i < 3; i++) {
		struct meeting *m;

		groups = i == 0 ? fields : both;
		m = meet(server, versions[1], i == 2 ? NOTHING : CERTIFICATE, &device, i == 2 ? &session : NULL);
		assert_int_equal(m->step == GW_TLS_DONE, i > 0);
		assert_int_equal(m->identity.auth, i > 0 ? GW_AUTH_CERTIFICATE : GW_AUTH_NONE);
		assert_int_equal(gw_tls_resumed(m->conn), i == 2);
		end(m);
	}
	mbedtls_ssl_session_free(&session);
	gw_tls_server_close(server);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_resumed, fresh),
		cmocka_unit_test_setup(test_resumed_though_trust_changed, fresh),
		cmocka_unit_test_setup(test_no_good, fresh),
		cmocka_unit_test_setup(test_certificate_ends, fresh),
		cmocka_unit_test_setup(test_a_week_at_most, fresh),
		cmocka_unit_test_setup(test_lapsed, fresh),
		cmocka_unit_test_setup(test_ticket_of_another_version, fresh),
		cmocka_unit_test_setup(test_ticket_without_its_secret, fresh),
		cmocka_unit_test_setup(test_every_bit_counts, fresh),
		cmocka_unit_test_setup(test_generations, fresh),
		cmocka_unit_test_setup(test_keys_that_cannot_be_kept, fresh),
		cmocka_unit_test_setup(test_kinds, fresh),
		cmocka_unit_test_setup(test_only_1_3, fresh),
		cmocka_unit_test_setup(test_suites, fresh),
		cmocka_unit_test_setup(test_groups, fresh),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
