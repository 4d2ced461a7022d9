// SPDX-License-Identifier: Apache-2.0
// The server side of the fixture.
#include <arpa/inet.h>
#include <malloc.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "fixture.h"

static const uint8_t psk[] = "secretPSK";
static const coap_bin_const_t psk_key = { sizeof(psk) - 1, psk };

long clock_ahead_s;

int clock_gettime(clockid_t id, struct timespec *t)
{
	int rc = (int)syscall(SYS_clock_gettime, id, t);
	if (rc == 0 && id == CLOCK_REALTIME)
		t->tv_sec += clock_ahead_s;
	return rc;
}

// ---- The libraries' memory, counted: the linker leads their calls here (--wrap) ----
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void __real_free(void *p);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
void __wrap_free(void *p);

static size_t in_use;
unsigned long allocations;

static void *counted(void *p)
{
	allocations++;
	in_use += malloc_usable_size(p);
	return p;
}

void *__wrap_malloc(size_t size)
{
	return counted(__real_malloc(size));
}

void *__wrap_calloc(size_t count, size_t size)
{
	return counted(__real_calloc(count, size));
}

void *__wrap_realloc(void *old, size_t size)
{
	size_t before = malloc_usable_size(old);
	void *p = __real_realloc(old, size);
	if (p)
		in_use += malloc_usable_size(p) - before;
	return p;
}

void __wrap_free(void *p)
{
	in_use -= malloc_usable_size(p);
	__real_free(p);
}

size_t heap_in_use(void)
{
	return in_use;
}

static struct server *server_of(const coap_session_t *session)
{
	return coap_get_app_data(coap_session_get_context(session));
}

static int on_event(coap_session_t *session, const coap_event_t event)
{
	struct server *s = server_of(session);
	switch (event) {
	case COAP_EVENT_SERVER_SESSION_NEW: s->sessions_new++; break;
	case COAP_EVENT_SERVER_SESSION_DEL: s->sessions_del++; break;
	case COAP_EVENT_DTLS_CONNECTED: s->connected++; break;
	case COAP_EVENT_DTLS_CLOSED: s->closed++; break;
	case COAP_EVENT_DTLS_ERROR: s->failed++; break;
	default: break;
	}
	return 0;
}

static const coap_bin_const_t *on_identity(coap_bin_const_t *identity, coap_session_t *session, void *arg)
{
	return identity->length >= 3 && memcmp(identity->s, "bad", 3) == 0 ? NULL : &psk_key;
}

static int on_certificate(const char *cn, const uint8_t *der, size_t len, coap_session_t *session, unsigned depth,
	int valid, void *arg)
{
	if (depth == 0 && valid)
		server_of(session)->certificates++;
	return 1;
}

static void on_request(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *req,
	const coap_string_t *query, coap_pdu_t *resp)
{
	struct server *s = server_of(session);
	const coap_bin_const_t *id = coap_session_get_psk_identity(session);
	coap_bin_const_t token = coap_pdu_get_token(req);
	const uint8_t *data;
	size_t offset, total;

	s->requests++;
	s->session = session;
	s->body_len = 0;
	coap_get_data_large(req, &s->body_len, &data, &offset, &total);
	snprintf(s->identity, sizeof(s->identity), "%.*s", id && id->s ? (int)id->length : 0,
		id && id->s ? (const char *)id->s : "");
	if (s->answering == ANSWER_AT_ONCE) {
		coap_pdu_set_code(resp, COAP_RESPONSE_CODE_CHANGED);
		return;
	}
	s->mid = coap_pdu_get_mid(req);
	s->token_len = token.length;
	memcpy(s->token, token.s, token.length);
	coap_session_reference(session);
	coap_pdu_set_type(resp, COAP_MESSAGE_NON); // with code 0.00: libcoap sends nothing
}

void later_answer(struct server *s)
{
	coap_pdu_t *pdu = coap_pdu_init(COAP_MESSAGE_ACK, COAP_RESPONSE_CODE_CHANGED, (coap_mid_t)s->mid,
		coap_session_max_pdu_size(s->session));
	assert_non_null(pdu);
	coap_add_token(pdu, s->token_len, s->token);
	assert_int_not_equal(coap_send(s->session, pdu), COAP_INVALID_MID);
	coap_session_release(s->session);
}

static void use_psk(struct server *s)
{
	coap_dtls_spsk_t setup = { .version = COAP_DTLS_SPSK_SETUP_VERSION };
	setup.validate_id_call_back = on_identity;
	setup.psk_info.key = psk_key;
	setup.psk_info.hint = psk_key;
	assert_true(coap_context_set_psk2(s->context, &setup));
}

static void use_certificates(struct server *s, bool broken_ca)
{
	coap_dtls_pki_t setup = { .version = COAP_DTLS_PKI_SETUP_VERSION };
	setup.verify_peer_cert = setup.check_common_ca = setup.cert_chain_validation = 1;
	setup.cert_chain_verify_depth = 2;
	setup.validate_cn_call_back = on_certificate;
	setup.pki_key.key_type = COAP_PKI_KEY_PEM_BUF;
	coap_pki_key_pem_buf_t *pem = &setup.pki_key.key.pem_buf;
	pem->ca_cert = (const uint8_t *)(broken_ca ? "broken" : certs_pem(CERT_CA));
	pem->public_cert = (const uint8_t *)certs_pem(CERT_SERVER);
	pem->private_key = (const uint8_t *)keys_pem(CERT_SERVER);
	pem->ca_cert_len = strlen((const char *)pem->ca_cert) + 1;
	pem->public_cert_len = strlen((const char *)pem->public_cert) + 1;
	pem->private_key_len = strlen((const char *)pem->private_key) + 1;
	assert_true(coap_context_set_pki(s->context, &setup));
}

static uint16_t endpoint(struct server *s, coap_proto_t proto)
{
	coap_address_t address;
	for (int tries = 0; tries < 20; tries++) {
		int fd = udp_socket(0, 9);
		uint16_t port = udp_port(fd);
		close(fd);
		coap_address_init(&address);
		address.size = sizeof(address.addr.sin);
		address.addr.sin.sin_family = AF_INET;
		address.addr.sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		address.addr.sin.sin_port = htons(port);
		if (coap_new_endpoint(s->context, &address, proto))
			return port;
	}
	fail_msg("no port for an endpoint");
	return 0;
}

void server_open(struct server *s, const struct server_options *options)
{
	static const struct server_options none;
	if (!options)
		options = &none;
	*s = (struct server){ 0 };
	coap_startup();
	coap_set_log_level(COAP_LOG_EMERG);
	s->context = coap_new_context(NULL);
	assert_non_null(s->context);
	coap_set_app_data(s->context, s);
	coap_register_event_handler(s->context, on_event);
	use_psk(s);
	if (options->certificates || options->broken_ca)
		use_certificates(s, options->broken_ca);
	if (options->max_handshakes)
		coap_context_set_max_handshake_sessions(s->context, options->max_handshakes);
	if (options->max_idle)
		coap_context_set_max_idle_sessions(s->context, options->max_idle);
	if (options->session_timeout_s)
		coap_context_set_session_timeout(s->context, options->session_timeout_s);
	if (options->single_body)
		coap_context_set_block_mode(s->context, COAP_BLOCK_USE_LIBCOAP | COAP_BLOCK_SINGLE_BODY);
	s->udp_port = endpoint(s, COAP_PROTO_UDP);
	s->dtls_port = endpoint(s, COAP_PROTO_DTLS);
	coap_resource_t *x = coap_resource_init(coap_make_str_const("x"), 0);
	coap_register_request_handler(x, COAP_REQUEST_POST, on_request);
	coap_add_resource(s->context, x);
}

void server_close(struct server *s)
{
	coap_free_context(s->context);
	s->context = NULL;
	coap_cleanup();
}

void server_step(struct server *s)
{
	coap_io_process(s->context, COAP_IO_NO_WAIT);
}

unsigned server_sessions(const struct server *s)
{
	return s->sessions_new - s->sessions_del;
}

bool server_until(struct server *s, const unsigned *counter, unsigned least)
{
	struct timespec now, start;
	clock_gettime(CLOCK_MONOTONIC, &start);
	do {
		coap_io_process(s->context, *counter < least ? 1 : COAP_IO_NO_WAIT);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (*counter < least && now.tv_sec - start.tv_sec < 10);
	return *counter >= least;
}
