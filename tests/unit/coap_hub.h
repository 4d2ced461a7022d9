// SPDX-License-Identifier: Apache-2.0
// What test_coap_part.c stands on: the adapter with a real store behind it, and datagrams in clear and over DTLS. Included by that file alone.
#ifndef COAP_HUB_H
#define COAP_HUB_H

#include "gateway/clock.h"
#include "gateway/core.h"
#include "gateway/daemon.h"

#include <arpa/inet.h>
#include <lmdb.h>
#include <mbedtls/ctr_drbg.h>
#include <mbedtls/entropy.h>
#include <mbedtls/ssl.h>
#include <mbedtls/timing.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { CON, NON, ACK, RST };
enum { GET = 1, POST = 2, PUT = 3, DELETE = 4 };
enum { IF_MATCH = 1, URI_PATH = 11, CONTENT_FORMAT = 12, ACCEPT = 17, BLOCK2 = 23, BLOCK1 = 27, SIZE1 = 60, NO_RESPONSE = 258 };

#define KEY "0123456789abcdef"

static struct hub {
	char dir[64];
	struct gw_config *config;
	struct gw_core core;
	void *part;
	pid_t holder;
	int holder_pipe;
	int socket;
	uint16_t mid;
} hub;

// ---- the hub ----

static int
bound_socket(uint16_t *port)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	*port = ntohs(at.sin_port);
	return fd;
}

static int
socket_to(int64_t port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	uint16_t own;
	int fd = bound_socket(&own);

	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static void
add_device(const char *id, const char *profile)
{
	struct gw_device device = { 0 };
	struct gw_why why;

	snprintf(device.id, sizeof(device.id), "%s", id);
	snprintf(device.profile, sizeof(device.profile), "%s", profile);
	snprintf(device.psk_identity, sizeof(device.psk_identity), "psk-%s", id);
	memcpy(device.psk, KEY, sizeof(KEY) - 1);
	device.psk_len = sizeof(KEY) - 1;
	assert_int_equal(gw_registry_add(hub.core.registry, &device, &why), GW_OK);
}

static void
replace(char **text, const char *with)
{
	free(*text);
	*text = strdup(with);
}

// Ports that were free a moment ago.
static void
choose_ports(void)
{
	uint16_t plain, dtls;
	int probes[2] = { bound_socket(&plain), bound_socket(&dtls) };

	close(probes[0]);
	close(probes[1]);
	hub.config->coap_plain_port = plain;
	hub.config->coap_port = dtls;
}

static void
start_part(void)
{
	struct gw_why why = { 0 };
	enum gw_error error;
	int tries = 0;

	do {
		choose_ports();
		error = gw_coap_part.start(&hub.core, &hub.part, &why);
	} while (error == GW_E_SYSTEM && ++tries < 10);
	if (error != GW_OK)
		fail_msg("%s", why.text);
	hub.socket = socket_to(hub.config->coap_plain_port);
}

static void
stop_part(void)
{
	gw_coap_part.stop(hub.part);
	gw_coap_part.close(hub.part);
	close(hub.socket);
}

// ---- a store that is busy ----

// A process of its own that takes LMDB's lock for writers when told to, so that no commit ends until it lets go. A byte from the other end is a request,
// a byte back says that it is done.
static void
run_holder(int fd, const char *store)
{
	MDB_env *env = NULL;
	MDB_txn *txn = NULL;
	char byte;

	while (read(fd, &byte, 1) == 1) {
		if (byte == 'h' && (mdb_env_create(&env) != 0 || mdb_env_open(env, store, 0, 0600) != 0 || mdb_txn_begin(env, NULL, 0, &txn) != 0))
			_exit(1);
		if (byte == 'r') {
			mdb_txn_abort(txn);
			mdb_env_close(env);
		}
		if (write(fd, &byte, 1) != 1)
			break;
	}
	_exit(0);
}

static void
start_holder(const char *store)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	hub.holder = fork();
	assert_true(hub.holder >= 0);
	if (hub.holder == 0) {
		close(ends[0]);
		run_holder(ends[1], store);
	}
	close(ends[1]);
	hub.holder_pipe = ends[0];
}

// 'h': hold, 'r': release.
static void
tell_holder(char what)
{
	char done = 0;

	assert_int_equal(write(hub.holder_pipe, &what, 1), 1);
	assert_int_equal(read(hub.holder_pipe, &done, 1), 1);
	assert_int_equal(done, what);
}

static int
start_hub(void **state)
{
	struct gw_why why = { 0 };
	char store[128];

	(void)state;
	gw_diag_open(false, GW_ERROR);
	snprintf(hub.dir, sizeof(hub.dir), "/tmp/vg-coap-XXXXXX");
	assert_non_null(mkdtemp(hub.dir));
	snprintf(store, sizeof(store), "%s/store", hub.dir);
	start_holder(store);
	assert_int_equal(gw_config_load(NULL, &hub.config, &why), GW_OK);
	replace(&hub.config->store_dir, store);
	hub.config->store_budget_mb = 64;
	hub.config->store_reserve_mb = 8;
	hub.config->store_disk_reserve_mb = 0;
	replace(&hub.config->coap_address, "127.0.0.1");
	replace(&hub.config->coap_plain_principal, "monitor-7");
	hub.config->coap_plain_enabled = true;
	hub.config->coap_payload_bytes_max = 8192;
	if (gw_core_open(hub.config, NULL, NULL, &hub.core, &why) != GW_OK)
		fail_msg("%s", why.text);
	if (gw_refusals_open(hub.core.intake, &hub.core.refusals, &why) != GW_OK)
		fail_msg("%s", why.text);
	add_device("monitor-7", "senml");
	add_device("monitor-8", "senml");
	add_device("monitor-9", "senml");
	start_part();
	return 0;
}

static int
stop_hub(void **state)
{
	char command[128];

	(void)state;
	stop_part();
	close(hub.holder_pipe);
	waitpid(hub.holder, NULL, 0);
	gw_refusals_close(hub.core.refusals);
	gw_core_close(&hub.core);
	gw_config_free(hub.config);
	snprintf(command, sizeof(command), "rm -r %s", hub.dir);
	return system(command);
}

static struct gw_journal_stats
stats(void)
{
	struct gw_journal_stats now;

	gw_journal_stats(hub.core.journal, &now);
	return now;
}

// ---- datagrams ----

struct message {
	uint8_t bytes[2048];
	size_t len;
	uint16_t last_option;
};

static struct message
message(unsigned type, unsigned code, uint16_t mid, const char *token)
{
	struct message out = { .len = 4 + strlen(token) };

	out.bytes[0] = (uint8_t)(0x40 | type << 4 | strlen(token));
	out.bytes[1] = (uint8_t)code;
	out.bytes[2] = (uint8_t)(mid >> 8);
	out.bytes[3] = (uint8_t)mid;
	memcpy(out.bytes + 4, token, strlen(token));
	return out;
}

static size_t
put_nibble(struct message *out, size_t at, unsigned value)
{
	if (value < 13)
		return value;
	if (value < 269) {
		out->bytes[at] = (uint8_t)(value - 13);
		return 13;
	}
	out->bytes[at] = (uint8_t)((value - 269) >> 8);
	out->bytes[at + 1] = (uint8_t)(value - 269);
	return 14;
}

static size_t
extended(size_t nibble)
{
	return nibble < 13 ? 0 : nibble - 12;
}

static void
option(struct message *out, uint16_t number, const void *value, size_t len)
{
	size_t head = out->len, delta, size;

	delta = put_nibble(out, head + 1, (unsigned)(number - out->last_option));
	size = put_nibble(out, head + 1 + extended(delta), (unsigned)len);
	out->bytes[head] = (uint8_t)(delta << 4 | size);
	out->len = head + 1 + extended(delta) + extended(size);
	memcpy(out->bytes + out->len, value, len);
	out->len += len;
	out->last_option = number;
}

static void
option_uint(struct message *out, uint16_t number, uint32_t value)
{
	uint8_t bytes[4];
	size_t len = 0;

	for (int shift = 24; shift >= 0; shift -= 8)
		if (len > 0 || value >> shift != 0)
			bytes[len++] = (uint8_t)(value >> shift);
	option(out, number, bytes, len);
}

static void
payload(struct message *out, const void *at, size_t len)
{
	out->bytes[out->len++] = 0xff;
	memcpy(out->bytes + out->len, at, len);
	out->len += len;
}

struct answer {
	uint8_t bytes[2048];
	unsigned type, code, mid;
	char token[9];
	uint32_t options[300]; // as numbers; UINT32_MAX: not there
	const char *payload;   // terminated
	size_t payload_len;
};

static unsigned
get_extended(const uint8_t **at, unsigned nibble)
{
	if (nibble < 13)
		return nibble;
	if (nibble == 13)
		return *(*at)++ + 13u;
	*at += 2;
	return (unsigned)((*at)[-2] << 8 | (*at)[-1]) + 269u;
}

static void
parse(struct answer *out, size_t len)
{
	const uint8_t *at = out->bytes + 4, *end = out->bytes + len;
	unsigned number = 0;

	out->type = out->bytes[0] >> 4 & 3;
	out->code = out->bytes[1] >> 5 << 8 | (out->bytes[1] & 31);
	out->mid = (unsigned)(out->bytes[2] << 8 | out->bytes[3]);
	memcpy(out->token, at, out->bytes[0] & 15);
	at += out->bytes[0] & 15;
	memset(out->options, 0xff, sizeof(out->options));
	while (at < end && *at != 0xff) {
		uint8_t head = *at++;
		unsigned size;
		number += get_extended(&at, head >> 4);
		size = get_extended(&at, head & 15);
		assert_true(number < 300);
		out->options[number] = 0;
		for (; size > 0; size--)
			out->options[number] = out->options[number] << 8 | *at++;
	}
	out->payload = at < end ? (const char *)at + 1 : "";
	out->payload_len = at < end ? (size_t)(end - at - 1) : 0;
}

static void
send_message(const struct message *out)
{
	assert_int_equal(send(hub.socket, out->bytes, out->len, 0), (ssize_t)out->len);
}

static void
receive(struct answer *out)
{
	struct pollfd readable = { .fd = hub.socket, .events = POLLIN };
	ssize_t len;

	memset(out, 0, sizeof(*out));
	assert_int_equal(poll(&readable, 1, 10000), 1);
	len = recv(hub.socket, out->bytes, sizeof(out->bytes) - 1, 0);
	assert_true(len >= 4);
	parse(out, (size_t)len);
}

static void
exchange(const struct message *out, struct answer *in)
{
	send_message(out);
	receive(in);
}

// Nothing has come but the answer to a question asked now.
static void
expect_silence(void)
{
	struct message out = message(CON, GET, ++hub.mid, "z");
	struct answer in;

	option(&out, URI_PATH, "time", 4);
	exchange(&out, &in);
	assert_string_equal(in.token, "z");
	assert_int_equal(in.mid, hub.mid);
}

// ---- DTLS ----

static struct peer {
	int fd;
	mbedtls_ssl_context ssl;
	mbedtls_ssl_config conf;
	mbedtls_entropy_context entropy;
	mbedtls_ctr_drbg_context random;
	mbedtls_timing_delay_context timer;
} peer;

static int
peer_write(void *arg, const unsigned char *at, size_t len)
{
	struct peer *p = arg;

	return (int)send(p->fd, at, len, 0);
}

static int
peer_read(void *arg, unsigned char *at, size_t len, uint32_t timeout_ms)
{
	struct peer *p = arg;
	struct pollfd readable = { .fd = p->fd, .events = POLLIN };

	return poll(&readable, 1, timeout_ms != 0 ? (int)timeout_ms : -1) == 1 ? (int)recv(p->fd, at, len, 0) : MBEDTLS_ERR_SSL_TIMEOUT;
}

// The handshake's result. The list of suites is Mbed TLS's own.
static int
peer_open(const char *identity)
{
	peer.fd = socket_to(hub.config->coap_port);
	mbedtls_ssl_init(&peer.ssl);
	mbedtls_ssl_config_init(&peer.conf);
	mbedtls_entropy_init(&peer.entropy);
	mbedtls_ctr_drbg_init(&peer.random);
	assert_int_equal(mbedtls_ctr_drbg_seed(&peer.random, mbedtls_entropy_func, &peer.entropy, NULL, 0), 0);
	assert_int_equal(mbedtls_ssl_config_defaults(&peer.conf, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_DATAGRAM, MBEDTLS_SSL_PRESET_DEFAULT), 0);
	mbedtls_ssl_conf_rng(&peer.conf, mbedtls_ctr_drbg_random, &peer.random);
	mbedtls_ssl_conf_read_timeout(&peer.conf, 10000);
	assert_int_equal(mbedtls_ssl_conf_psk(&peer.conf, (const unsigned char *)KEY, sizeof(KEY) - 1, (const unsigned char *)identity,
	    strlen(identity)), 0);
	assert_int_equal(mbedtls_ssl_setup(&peer.ssl, &peer.conf), 0);
	mbedtls_ssl_set_bio(&peer.ssl, &peer, peer_write, NULL, peer_read);
	mbedtls_ssl_set_timer_cb(&peer.ssl, &peer.timer, mbedtls_timing_set_delay, mbedtls_timing_get_delay);
	return mbedtls_ssl_handshake(&peer.ssl);
}

static void
peer_close(void)
{
	mbedtls_ssl_close_notify(&peer.ssl);
	mbedtls_ssl_free(&peer.ssl);
	mbedtls_ssl_config_free(&peer.conf);
	mbedtls_ctr_drbg_free(&peer.random);
	mbedtls_entropy_free(&peer.entropy);
	close(peer.fd);
}

static void
peer_exchange(const struct message *out, struct answer *in)
{
	int len;

	memset(in, 0, sizeof(*in));
	assert_int_equal(mbedtls_ssl_write(&peer.ssl, out->bytes, out->len), (int)out->len);
	len = mbedtls_ssl_read(&peer.ssl, in->bytes, sizeof(in->bytes) - 1);
	assert_true(len >= 4);
	parse(in, (size_t)len);
}

#endif
