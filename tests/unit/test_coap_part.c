// SPDX-License-Identifier: Apache-2.0
// The adapter as it runs in the program, with a real store behind it, spoken to by datagrams made here, in clear and over DTLS: what is answered, with
// what, and what lies in the journal by then.
#include "tests/unit/coap_hub.h"

// ---- requests ----

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

// After a second the device is told to wait (RFC 7252 section 5.2.2), and gets the answer as a message of its own.
static void
test_where_the_commit_takes_long_the_answer_comes_later(void **state)
{
	struct message out = post(CON, READING("1700000008", "71")), ack;
	uint64_t before = stats().readings;
	struct answer in;

	(void)state;
	tell_holder('h');
	exchange(&out, &in);
	assert_int_equal(in.type, ACK);
	assert_int_equal(in.code, 0);
	assert_int_equal(in.mid, hub.mid);
	assert_int_equal(stats().readings, before);
	tell_holder('r');
	receive(&in);
	assert_int_equal(in.type, CON);
	assert_int_equal(in.code, CODE(2, 4));
	assert_string_equal(in.token, "t1");
	assert_int_equal(stats().readings, before + 1);
	ack = message(ACK, 0, (uint16_t)in.mid, "");
	send_message(&ack);
	exchange(&out, &in);
	assert_int_equal(in.type, ACK);
	assert_int_equal(in.code, CODE(2, 4));
	assert_int_equal(stats().readings, before + 1);
	expect_silence();
}

// Beyond the limits of one session: a request is told to come again, an answer is not insisted on.
static void
test_limits_of_a_session_under_way(void **state)
{
	enum { UNDER_WAY = 3, CONFIRMABLE = 1 };
	struct message beyond;
	struct answer in;
	unsigned confirmable = 0;

	(void)state;
	stop_part();
	hub.config->coap_requests_of_one = UNDER_WAY;
	hub.config->coap_late_answers_per_min = CONFIRMABLE;
	start_part();
	tell_holder('h');
	for (int i = 0; i < UNDER_WAY; i++) {
		char reading[128];
		struct message out;

		snprintf(reading, sizeof(reading), READING("%d", "71"), 1700009000 + i);
		out = post(CON, reading);
		exchange(&out, &in);
		assert_int_equal(in.code, 0); // to wait
	}
	beyond = post(CON, READING("1700009010", "71"));
	exchange(&beyond, &in);
	assert_int_equal(in.code, CODE(5, 3));
	tell_holder('r');
	for (int i = 0; i < UNDER_WAY; i++) {
		receive(&in);
		assert_int_equal(in.code, CODE(2, 4));
		if (in.type == CON) {
			struct message ack = message(ACK, 0, (uint16_t)in.mid, "");

			confirmable++;
			send_message(&ack);
		}
	}
	assert_int_equal(confirmable, CONFIRMABLE);
	exchange(&beyond, &in);
	assert_int_equal(in.code, CODE(2, 4));
	stop_part();
	hub.config->coap_requests_of_one = 256;
	hub.config->coap_late_answers_per_min = 32;
	start_part();
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

static struct message
get_message(const char *path, uint32_t block2)
{
	struct message out = message(CON, GET, ++hub.mid, "g");
	char copy[64], *rest = copy, *segment;

	snprintf(copy, sizeof(copy), "%s", path);
	while ((segment = strsep(&rest, "/")) != NULL)
		option(&out, URI_PATH, segment, strlen(segment));
	if (block2 != 0)
		option_uint(&out, BLOCK2, block2);
	return out;
}

static void
get(const char *path, uint32_t block2, struct answer *in)
{
	struct message out = get_message(path, block2);

	exchange(&out, in);
}

static void
test_a_device_reads_its_latest_readings(void **state)
{
	struct message out = post(CON, READING("1700009000", "83"));
	struct answer in;

	(void)state;
	assert_int_equal(peer_open("psk-monitor-8"), 0);
	peer_exchange(&out, &in);
	assert_int_equal(in.code, CODE(2, 4));
	assert_int_equal(in.type, ACK);
	out = post(CON, READING("1700008000", "12")); // older than the latest
	peer_exchange(&out, &in);
	assert_int_equal(in.code, CODE(2, 4));
	out = get_message("readings", 0);
	peer_exchange(&out, &in);
	assert_int_equal(in.code, CODE(2, 5));
	assert_int_equal(in.options[CONTENT_FORMAT], GW_CF_SENML_JSON);
	assert_non_null(strstr(in.payload, "monitor-8"));
	assert_non_null(strstr(in.payload, "heart_rate"));
	assert_non_null(strstr(in.payload, "83"));
	assert_null(strstr(in.payload, "\"v\":12"));
	peer_close();
}

// Who has not proved who it is may send, but reads nothing.
static void
test_readings_are_not_shown_in_clear(void **state)
{
	struct answer in;

	(void)state;
	get("readings", 0, &in);
	assert_int_equal(in.code, CODE(4, 1));
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

// ---- credentials ----

static void
test_an_unknown_identity_is_refused_and_recorded(void **state)
{
	struct message out = post(CON, READING("1700010001", "71"));
	uint64_t before = stats().records;
	struct answer in;

	(void)state;
	assert_int_equal(peer_open("stranger"), MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE);
	peer_close();
	exchange(&out, &in);
	assert_int_equal(in.code, CODE(2, 4));
	for (int i = 0; stats().records < before + 2 && i < 10000; i++) // the reading, and beside it who was refused
		usleep(1000);
	assert_int_equal(stats().records, before + 2);
}

static void
test_a_disabled_device_is_told_good_bye(void **state)
{
	struct message out = post(CON, READING("1700010002", "71"));
	struct answer in;

	(void)state;
	assert_int_equal(peer_open("psk-monitor-9"), 0);
	peer_exchange(&out, &in);
	assert_int_equal(in.code, CODE(2, 4));
	assert_int_equal(gw_registry_set_disabled(hub.core.registry, gw_span_text("monitor-9"), true, NULL), GW_OK);
	assert_int_equal(mbedtls_ssl_read(&peer.ssl, in.bytes, sizeof(in.bytes)), MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY);
	peer_close();
	assert_int_equal(peer_open("psk-monitor-9"), MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE);
	peer_close();
}

static void
test_a_stop_says_good_bye(void **state)
{
	struct message out = get_message("time", 0);
	struct answer in;

	(void)state;
	assert_int_equal(peer_open("psk-monitor-8"), 0);
	peer_exchange(&out, &in);
	stop_part();
	assert_int_equal(mbedtls_ssl_read(&peer.ssl, in.bytes, sizeof(in.bytes)), MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY);
	peer_close();
	start_part();
}

// What was taken before the stop is answered before the good-bye.
static void
test_a_stop_waits_for_answers_under_way(void **state)
{
	struct message out = post(CON, READING("1700010003", "71"));
	struct answer in;

	(void)state;
	tell_holder('h');
	exchange(&out, &in);
	assert_int_equal(in.code, 0); // taken
	gw_coap_part.stop(hub.part);
	tell_holder('r');
	receive(&in);
	assert_int_equal(in.code, CODE(2, 4));
	gw_coap_part.close(hub.part);
	close(hub.socket);
	start_part();
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
		cmocka_unit_test(test_where_the_commit_takes_long_the_answer_comes_later),
		cmocka_unit_test(test_limits_of_a_session_under_way),
		cmocka_unit_test(test_bad_content_is_quarantined_and_told),
		cmocka_unit_test(test_an_unknown_path_is_quarantined_and_told),
		cmocka_unit_test(test_another_devices_path_is_forbidden),
		cmocka_unit_test(test_a_content_format_that_nobody_takes),
		cmocka_unit_test(test_methods_and_conditions_that_make_no_sense),
		cmocka_unit_test(test_a_body_in_blocks_is_one_frame),
		cmocka_unit_test(test_a_missing_block_is_told),
		cmocka_unit_test(test_a_body_beyond_the_limit_is_refused_at_its_first_block),
		cmocka_unit_test(test_a_device_reads_its_latest_readings),
		cmocka_unit_test(test_readings_are_not_shown_in_clear),
		cmocka_unit_test(test_an_answer_in_blocks_is_the_whole_answer),
		cmocka_unit_test(test_what_is_not_there),
		cmocka_unit_test(test_an_unknown_identity_is_refused_and_recorded),
		cmocka_unit_test(test_a_disabled_device_is_told_good_bye),
		cmocka_unit_test(test_a_stop_says_good_bye),
		cmocka_unit_test(test_a_stop_waits_for_answers_under_way),
		cmocka_unit_test(test_the_adapter_starts_again),
		cmocka_unit_test(test_a_disabled_principal_is_refused),
	};

	return cmocka_run_group_tests(tests, start_hub, stop_hub);
}
