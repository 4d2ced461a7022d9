// SPDX-License-Identifier: Apache-2.0
// The adapter as it runs in the program, with a real store behind it, spoken to in clear CoAP by datagrams made here: what is answered, with what, and
// what lies in the journal by then. DTLS is the scenarios' matter.
#include "gateway/clock.h"
#include "gateway/core.h"
#include "gateway/daemon.h"

#include <arpa/inet.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { CON, NON, ACK, RST };
enum { GET = 1, POST = 2, PUT = 3, DELETE = 4 };
enum { IF_MATCH = 1, URI_PATH = 11, CONTENT_FORMAT = 12, ACCEPT = 17, BLOCK2 = 23, BLOCK1 = 27, SIZE1 = 60, NO_RESPONSE = 258 };

static struct hub {
	char dir[64];
	struct gw_config *config;
	struct gw_core core;
	void *part;
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

static void
add_device(const char *id, const char *profile)
{
	struct gw_device device = { 0 };
	struct gw_why why;

	snprintf(device.id, sizeof(device.id), "%s", id);
	snprintf(device.profile, sizeof(device.profile), "%s", profile);
	assert_int_equal(gw_registry_add(hub.core.registry, &device, &why), GW_OK);
}

static void
replace(char **text, const char *with)
{
	free(*text);
	*text = strdup(with);
}

static void
start_part(void)
{
	struct gw_why why = { 0 };
	uint16_t port;
	int probe = bound_socket(&port);
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };

	close(probe);
	hub.config->coap_plain_port = port;
	if (gw_coap_part.start(&hub.core, &hub.part, &why) != GW_OK)
		fail_msg("%s", why.text);
	to.sin_port = htons(port);
	hub.socket = bound_socket(&port);
	assert_int_equal(connect(hub.socket, (struct sockaddr *)&to, sizeof(to)), 0);
}

static void
stop_part(void)
{
	gw_coap_part.stop(hub.part);
	gw_coap_part.close(hub.part);
	close(hub.socket);
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
	assert_int_equal(gw_config_load(NULL, &hub.config, &why), GW_OK);
	replace(&hub.config->store_dir, store);
	hub.config->store_budget_mb = 64;
	hub.config->store_reserve_mb = 8;
	hub.config->store_disk_reserve_mb = 0;
	replace(&hub.config->coap_address, "127.0.0.1");
	replace(&hub.config->coap_plain_principal, "monitor-7");
	hub.config->coap_port = 0;
	hub.config->coap_plain_enabled = true;
	hub.config->coap_payload_bytes_max = 8192;
	if (gw_core_open(hub.config, NULL, NULL, &hub.core, &why) != GW_OK)
		fail_msg("%s", why.text);
	add_device("monitor-7", "senml");
	add_device("monitor-8", "senml");
	start_part();
	return 0;
}

static int
stop_hub(void **state)
{
	char command[128];

	(void)state;
	stop_part();
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

// A request for /readings, with a SenML payload.
static struct message
post(unsigned type, const char *text)
{
	struct message out = message(type, POST, ++hub.mid, "t1");

	option(&out, URI_PATH, "readings", 8);
	option_uint(&out, CONTENT_FORMAT, GW_CF_SENML_JSON);
	payload(&out, text, strlen(text));
	return out;
}

#define READING(time, value) "[{\"n\":\"heart_rate\",\"u\":\"beat/min\",\"t\":" time ",\"v\":" value "}]"
#define CODE(class, detail) ((class) << 8 | (detail))

// ---- taking readings ----

static void
test_the_answer_is_the_requests_own_ack_after_the_commit(void **state)
{
	struct message out = post(CON, READING("1700000000", "71"));
	uint64_t before = stats().readings;
	struct answer in;
	int64_t told_us;

	(void)state;
	exchange(&out, &in);
	assert_int_equal(stats().readings, before + 1);
	assert_int_equal(in.type, ACK);
	assert_int_equal(in.mid, hub.mid);
	assert_string_equal(in.token, "t1");
	assert_int_equal(in.code, CODE(2, 4));
	assert_int_equal(in.options[CONTENT_FORMAT], GW_CF_TEXT);
	assert_int_equal(gw_time_parse(in.payload, &told_us), 0);
	assert_true(llabs(told_us - gw_clock_wall_us()) < 10000000);
	expect_silence();
}

static void
test_a_copy_gets_the_same_answer_and_is_not_taken(void **state)
{
	struct message out = post(CON, READING("1700000001", "71"));
	struct answer first, copy;
	uint64_t duplicates;

	(void)state;
	exchange(&out, &first);
	duplicates = stats().duplicates;
	exchange(&out, &copy);
	assert_int_equal(copy.code, CODE(2, 4));
	assert_int_equal(copy.type, ACK);
	assert_int_equal(copy.mid, first.mid);
	assert_string_equal(copy.payload, first.payload);
	assert_int_equal(stats().duplicates, duplicates);
}

// However the copies fall around the commit: what comes is one answer, perhaps more than once.
static void
test_copies_at_once_are_taken_once(void **state)
{
	struct message out = post(CON, READING("1700000002", "71")), time = message(CON, GET, ++hub.mid, "z");
	uint64_t before = stats().readings, duplicates = stats().duplicates;
	struct answer in, first = { 0 };
	bool told_time = false;

	(void)state;
	option(&time, URI_PATH, "time", 4);
	for (int copies = 0; copies < 3; copies++)
		send_message(&out);
	send_message(&time);
	while (!told_time || first.code == 0) {
		receive(&in);
		if (strcmp(in.token, "z") == 0) {
			told_time = true;
			continue;
		}
		assert_int_equal(in.code, CODE(2, 4));
		if (first.code != 0)
			assert_string_equal(in.payload, first.payload);
		first = in;
		first.payload = (const char *)first.bytes + (in.payload - (const char *)in.bytes);
	}
	assert_int_equal(stats().readings, before + 1);
	assert_int_equal(stats().duplicates, duplicates);
	expect_silence();
}

static void
test_the_same_message_id_with_other_content_is_another_request(void **state)
{
	struct message out = post(CON, READING("1700000003", "71"));
	uint64_t before = stats().readings;
	struct answer in;

	(void)state;
	exchange(&out, &in);
	hub.mid--;
	out = post(CON, READING("1700000004", "71"));
	exchange(&out, &in);
	assert_int_equal(in.code, CODE(2, 4));
	assert_int_equal(stats().readings, before + 2);
}

static void
test_a_non_is_answered_by_a_non_after_the_commit(void **state)
{
	struct message out = post(NON, READING("1700000005", "71"));
	uint64_t before = stats().readings;
	struct answer in;

	(void)state;
	exchange(&out, &in);
	assert_int_equal(stats().readings, before + 1);
	assert_int_equal(in.type, NON);
	assert_int_equal(in.code, CODE(2, 4));
	assert_string_equal(in.token, "t1");
}

static void
test_who_wants_no_answer_gets_only_the_ack(void **state)
{
	struct message out = message(CON, PUT, ++hub.mid, "t1");
	uint64_t before = stats().readings;
	struct answer in;

	(void)state;
	option(&out, URI_PATH, "readings", 8);
	option_uint(&out, CONTENT_FORMAT, GW_CF_SENML_JSON);
	option_uint(&out, NO_RESPONSE, 2);
	payload(&out, READING("1700000006", "71"), strlen(READING("1700000006", "71")));
	exchange(&out, &in);
	assert_int_equal(in.type, ACK);
	assert_int_equal(in.code, 0);
	assert_int_equal(in.payload_len, 0);
	assert_int_equal(stats().readings, before + 1);
}

// ---- refusals ----

static void
test_bad_content_is_quarantined_and_told(void **state)
{
	struct message out = post(CON, "[{\"n\":\"heart_rate\",");
	uint64_t before = stats().quarantine_count;
	struct answer first, copy;

	(void)state;
	exchange(&out, &first);
	assert_int_equal(first.code, CODE(4, 0));
	assert_true(first.payload_len > 0);
	assert_int_equal(first.options[CONTENT_FORMAT], UINT32_MAX);
	assert_int_equal(stats().quarantine_count, before + 1);
	exchange(&out, &copy);
	assert_string_equal(copy.payload, first.payload);
	assert_int_equal(stats().quarantine_count, before + 1);
}

static void
test_an_unknown_path_is_quarantined_and_told(void **state)
{
	struct message out = message(CON, POST, ++hub.mid, "");
	uint64_t before = stats().quarantine_count;
	struct answer in;

	(void)state;
	option(&out, URI_PATH, "nobody", 6);
	option(&out, URI_PATH, "knows", 5);
	payload(&out, "x", 1);
	exchange(&out, &in);
	assert_int_equal(in.code, CODE(4, 4));
	assert_int_equal(stats().quarantine_count, before + 1);
}

static void
test_another_devices_path_is_forbidden(void **state)
{
	struct message out = message(CON, POST, ++hub.mid, "");
	uint64_t before = stats().readings;
	struct answer in;

	(void)state;
	option(&out, URI_PATH, "readings", 8);
	option(&out, URI_PATH, "monitor-8", 9);
	option_uint(&out, CONTENT_FORMAT, GW_CF_SENML_JSON);
	payload(&out, READING("1700000007", "71"), strlen(READING("1700000007", "71")));
	exchange(&out, &in);
	assert_int_equal(in.code, CODE(4, 3));
	assert_int_equal(stats().readings, before);
}

static void
test_a_content_format_that_nobody_takes(void **state)
{
	struct message out = message(CON, POST, ++hub.mid, "");
	struct answer in;

	(void)state;
	option(&out, URI_PATH, "readings", 8);
	option_uint(&out, CONTENT_FORMAT, 41); // XML
	payload(&out, "<x/>", 4);
	exchange(&out, &in);
	assert_int_equal(in.code, CODE(4, 15));
}

static void
test_methods_and_conditions_that_make_no_sense(void **state)
{
	struct message out = message(CON, DELETE, ++hub.mid, "");
	struct answer in;

	(void)state;
	option(&out, URI_PATH, "readings", 8);
	exchange(&out, &in);
	assert_int_equal(in.code, CODE(4, 5));
	out = message(CON, POST, ++hub.mid, "");
	option(&out, IF_MATCH, "e", 1);
	option(&out, URI_PATH, "readings", 8);
	exchange(&out, &in);
	assert_int_equal(in.code, CODE(4, 12));
}

// ---- blocks ----

// Block `num` of a body in blocks of 64 bytes.
static void
exchange_block(const char *body, uint32_t num, uint32_t size1, struct answer *in)
{
	size_t at = num * 64, left = strlen(body) - at;
	struct message out = message(CON, POST, ++hub.mid, "t1");

	option(&out, URI_PATH, "readings", 8);
	option_uint(&out, CONTENT_FORMAT, GW_CF_SENML_JSON);
	option_uint(&out, BLOCK1, num << 4 | (left > 64 ? 8 : 0) | 2);
	if (size1 != 0)
		option_uint(&out, SIZE1, size1);
	payload(&out, body + at, left > 64 ? 64 : left);
	exchange(&out, in);
}

#define PACK "[{\"bt\":1700000100,\"n\":\"heart_rate\",\"u\":\"beat/min\",\"v\":71},{\"n\":\"heart_rate\",\"u\":\"beat/min\",\"t\":1,\"v\":72}," \
	"{\"n\":\"heart_rate\",\"u\":\"beat/min\",\"t\":2,\"v\":73}]"

static void
test_a_body_in_blocks_is_one_frame(void **state)
{
	uint64_t before = stats().readings;
	uint32_t last = (uint32_t)(strlen(PACK) - 1) / 64;
	struct answer in;

	(void)state;
	for (uint32_t num = 0; num < last; num++) {
		exchange_block(PACK, num, 0, &in);
		assert_int_equal(in.code, CODE(2, 31));
		assert_int_equal(in.options[BLOCK1], num << 4 | 8 | 2);
		assert_int_equal(stats().readings, before);
	}
	exchange_block(PACK, last, 0, &in);
	assert_int_equal(in.code, CODE(2, 4));
	assert_int_equal(in.options[BLOCK1], last << 4 | 2);
	assert_int_equal(stats().readings, before + 3);
}

static void
test_a_missing_block_is_told(void **state)
{
	struct answer in;

	(void)state;
	exchange_block(PACK, 0, 0, &in);
	assert_int_equal(in.code, CODE(2, 31));
	exchange_block(PACK, 2, 0, &in);
	assert_int_equal(in.code, CODE(4, 8));
}

static void
test_a_body_beyond_the_limit_is_refused_at_its_first_block(void **state)
{
	struct answer in;

	(void)state;
	exchange_block(PACK, 0, 8193, &in);
	assert_int_equal(in.code, CODE(4, 13));
	assert_int_equal(in.options[SIZE1], 8192);
}

// ---- GET ----

static void
get(const char *path, uint32_t block2, struct answer *in)
{
	struct message out = message(CON, GET, ++hub.mid, "g");
	char copy[64], *rest = copy, *segment;

	snprintf(copy, sizeof(copy), "%s", path);
	while ((segment = strsep(&rest, "/")) != NULL)
		option(&out, URI_PATH, segment, strlen(segment));
	if (block2 != 0)
		option_uint(&out, BLOCK2, block2);
	exchange(&out, in);
}

static void
test_a_device_reads_its_latest_readings(void **state)
{
	struct message out = post(CON, READING("1700009000", "83"));
	struct answer in;

	(void)state;
	exchange(&out, &in);
	assert_int_equal(in.code, CODE(2, 4));
	out = post(CON, READING("1700008000", "12")); // older than the latest
	exchange(&out, &in);
	get("readings", 0, &in);
	assert_int_equal(in.code, CODE(2, 5));
	assert_int_equal(in.options[CONTENT_FORMAT], GW_CF_SENML_JSON);
	assert_non_null(strstr(in.payload, "monitor-7"));
	assert_non_null(strstr(in.payload, "heart_rate"));
	assert_non_null(strstr(in.payload, "83"));
	assert_null(strstr(in.payload, "\"v\":12"));
}

static void
test_an_answer_in_blocks_is_the_whole_answer(void **state)
{
	struct answer whole, block;
	char body[2048];
	size_t len = 0;
	uint32_t num = 0;

	(void)state;
	get(".well-known/core", 0, &whole);
	assert_int_equal(whole.code, CODE(2, 5));
	assert_int_equal(whole.options[CONTENT_FORMAT], 40);
	do {
		get(".well-known/core", num << 4 | 1, &block); // 32 bytes
		assert_int_equal(block.code, CODE(2, 5));
		assert_int_equal(block.options[BLOCK2] >> 4, num);
		memcpy(body + len, block.payload, block.payload_len);
		len += block.payload_len;
		num++;
	} while ((block.options[BLOCK2] & 8) != 0);
	assert_int_equal(len, whole.payload_len);
	assert_memory_equal(body, whole.payload, len);
	get(".well-known/core", 500 << 4 | 1, &block);
	assert_int_equal(block.code, CODE(4, 0));
}

static void
test_what_is_not_there(void **state)
{
	struct answer in;

	(void)state;
	get("nobody/knows", 0, &in);
	assert_int_equal(in.code, CODE(4, 4));
	get("sensors/monitor-7/heart_rate", 0, &in);
	assert_int_equal(in.code, CODE(4, 5));
}

// ---- the end ----

static void
test_the_adapter_starts_again(void **state)
{
	struct message out = post(CON, READING("1700010000", "71"));
	struct answer in;

	(void)state;
	stop_part();
	start_part();
	exchange(&out, &in);
	assert_int_equal(in.code, CODE(2, 4));
}

// Nobody has a credential any more: the last test.
static void
test_a_disabled_principal_is_refused(void **state)
{
	struct message out = post(CON, READING("1700020000", "71"));
	uint64_t before = stats().readings;
	struct answer in;

	(void)state;
	assert_int_equal(gw_registry_set_disabled(hub.core.registry, gw_span_text("monitor-7"), true, NULL), GW_OK);
	exchange(&out, &in);
	assert_int_equal(in.code, CODE(4, 1));
	assert_int_equal(stats().readings, before);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_answer_is_the_requests_own_ack_after_the_commit),
		cmocka_unit_test(test_a_copy_gets_the_same_answer_and_is_not_taken),
		cmocka_unit_test(test_copies_at_once_are_taken_once),
		cmocka_unit_test(test_the_same_message_id_with_other_content_is_another_request),
		cmocka_unit_test(test_a_non_is_answered_by_a_non_after_the_commit),
		cmocka_unit_test(test_who_wants_no_answer_gets_only_the_ack),
		cmocka_unit_test(test_bad_content_is_quarantined_and_told),
		cmocka_unit_test(test_an_unknown_path_is_quarantined_and_told),
		cmocka_unit_test(test_another_devices_path_is_forbidden),
		cmocka_unit_test(test_a_content_format_that_nobody_takes),
		cmocka_unit_test(test_methods_and_conditions_that_make_no_sense),
		cmocka_unit_test(test_a_body_in_blocks_is_one_frame),
		cmocka_unit_test(test_a_missing_block_is_told),
		cmocka_unit_test(test_a_body_beyond_the_limit_is_refused_at_its_first_block),
		cmocka_unit_test(test_a_device_reads_its_latest_readings),
		cmocka_unit_test(test_an_answer_in_blocks_is_the_whole_answer),
		cmocka_unit_test(test_what_is_not_there),
		cmocka_unit_test(test_the_adapter_starts_again),
		cmocka_unit_test(test_a_disabled_principal_is_refused),
	};

	return cmocka_run_group_tests(tests, start_hub, stop_hub);
}
