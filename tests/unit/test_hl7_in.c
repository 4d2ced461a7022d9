// SPDX-License-Identifier: Apache-2.0
// The inbound door over sockets: bytes in any pieces, answers in order, limits, strangers, an orderly end.
#include "tests/unit/hl7_in_help.h"

#include "gateway/core.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { WAIT_MS = 20000 };

static void *door;
static int port;

static int
free_port(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(at);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	close(fd);
	return ntohs(at.sin_port);
}

static void
open_door(const char *peers, const char *more)
{
	char yaml[2048];
	struct gw_why why = { "" };

	port = free_port();
	snprintf(yaml, sizeof(yaml), HUB_YAML("%s", "  port: %d\n%s"), port, more, peers);
	hub_open(yaml);
	if (gw_hl7_in_part.start(&hub, &door, &why) != GW_OK)
		fail_msg("%s", why.text);
}

static void
close_door(void)
{
	gw_hl7_in_part.stop(door);
	gw_hl7_in_part.close(door);
	hub_close();
}

#define PEER "    - {name: adt, zone: UTC, addresses: [127.0.0.1]}\n"

static int
dial(void)
{
	struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1;

	assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static void
put(int fd, const char *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

		assert_true(n > 0);
		bytes += n;
		len -= (size_t)n;
	}
}

static void
say(int fd, const char *text)
{
	put(fd, text, strlen(text));
}

// One answer's MSA ("AA|4711"), in a buffer of its own until the next; empty: the connection ended.
static const char *
hear(int fd)
{
	static char msa[64];
	char answer[8192], *at;
	size_t len = 0;

	while (len < sizeof(answer) - 1) {
		struct pollfd wait = { .fd = fd, .events = POLLIN };
		ssize_t n;

		assert_int_equal(poll(&wait, 1, WAIT_MS), 1);
		if ((n = recv(fd, answer + len, 1, 0)) <= 0) {
			assert_int_equal(len, 0);
			return "";
		}
		len++;
		if (len > 1 && answer[len - 1] == '\r' && answer[len - 2] == 0x1c)
			break;
	}
	answer[len] = '\0';
	assert_int_equal(answer[0], 0x0b);
	at = strstr(answer, "\rMSA|");
	assert_non_null(at);
	snprintf(msa, sizeof(msa), "%.*s", (int)strcspn(at + 5, "\r"), at + 5);
	return msa;
}

#define FRAME(message) "\x0b" message "\x1c\r"
#define ADT(id) MSH("ADT^A01", id) PID(id) PV1("3")

static uint64_t
number(const char *peer, const char *name)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *object = yyjson_mut_obj(doc), *row;
	uint64_t value;

	gw_hl7_in_part.status(door, doc, object);
	row = peer != NULL ? yyjson_mut_obj_get(yyjson_mut_obj_get(object, "peers"), peer) : object;
	assert_non_null(yyjson_mut_obj_get(row, name));
	value = yyjson_mut_get_uint(yyjson_mut_obj_get(row, name));
	yyjson_mut_doc_free(doc);
	return value;
}

static void
wait_until(const char *peer, const char *name, uint64_t wanted)
{
	for (int i = 0; number(peer, name) != wanted; i++) {
		if (i > WAIT_MS)
			fail_msg("%s is %llu, not %llu", name, (unsigned long long)number(peer, name), (unsigned long long)wanted);
		usleep(1000);
	}
}

static void
test_bytes_in_any_pieces(void **state)
{
	static const char one[] = "\r\njunk" FRAME(ADT("1"));
	int fd;

	(void)state;
	open_door(PEER, "");
	fd = dial();
	for (size_t i = 0; i < sizeof(one) - 1; i++) // byte by byte
		put(fd, one + i, 1);
	assert_string_equal(hear(fd), "AA|1");
	say(fd, FRAME(ADT("2")) FRAME(ADT("3")) "\x0b"); // two in one write, and the beginning of another
	assert_string_equal(hear(fd), "AA|2");
	assert_string_equal(hear(fd), "AA|3");
	say(fd, ADT("4") "\x1c"); // without its last byte
	assert_string_equal(hear(fd), "AA|4");
	say(fd, "\r" FRAME("MSH|^~\\&|A|B|C|D|20261120||ADT^A01|5|P|2.3\nPID|||5^^^K^PI\nPV1||I|ICU^^3\n"));
	assert_string_equal(hear(fd), "AA|5");
	say(fd, FRAME("MSH|^~\\&|A|B|C|D|20261120||ADT^A01|6|P|2.3\r\nPID|||5^^^K^PI\r\nPV1||I|ICU^^3\r\n"));
	assert_string_equal(hear(fd), "AA|6");
	say(fd, "\x0b" "MSH|half" FRAME(ADT("7"))); // given up and begun anew
	assert_string_equal(hear(fd), "AA|7");
	assert_int_equal(number("adt", "bytes_outside_of_frames"), 4);
	assert_int_equal(number("adt", "taken"), 7);
	close(fd);
	wait_until(NULL, "connections", 0);
	close_door();
}

// Far more than may be under way; each is answered, in order.
static void
test_many_ahead_are_answered_in_order(void **state)
{
	enum { COUNT = 600 };
	char *bytes = malloc(COUNT * 512), wanted[16];
	size_t len = 0;
	int fd;

	(void)state;
	assert_non_null(bytes);
	open_door(PEER, "  pending_of_one: 7\n  pending_max: 16\n");
	fd = dial();
	for (int i = 0; i < COUNT; i++)
		len += (size_t)snprintf(bytes + len, 512, "\x0bMSH|^~\\&|A|B|C|D|20261120||%s|%d|P|2.5\rPID|1||%d^^^K^PI\rPV1|1|I|ICU^^%d\r\x1c\r",
		    i % 3 == 1 ? "ADT^A60" : "ADT^A01", i, i, i);
	put(fd, bytes, len);
	for (int i = 0; i < COUNT; i++) {
		snprintf(wanted, sizeof(wanted), "AA|%d", i);
		assert_string_equal(hear(fd), wanted);
	}
	free(bytes);
	close(fd);
	close_door();
}

static void
test_what_came_before_the_end_is_answered(void **state)
{
	int fd;

	(void)state;
	open_door(PEER, "  pending_of_one: 1\n");
	fd = dial();
	say(fd, FRAME(ADT("1")) FRAME(ADT("2")) FRAME(ADT("3")));
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	assert_string_equal(hear(fd), "AA|1");
	assert_string_equal(hear(fd), "AA|2");
	assert_string_equal(hear(fd), "AA|3");
	assert_string_equal(hear(fd), "");
	close(fd);
	// Gone at once: taken all the same.
	fd = dial();
	say(fd, FRAME(ADT("4")) FRAME(ADT("5")));
	close(fd);
	wait_until("adt", "taken", 5);
	wait_until(NULL, "connections", 0);
	close_door();
}

static enum gw_error
replay(const char *id, struct gw_why *reply)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *object = yyjson_mut_obj(doc);
	yyjson_doc *arguments;
	enum gw_error error;

	yyjson_mut_doc_set_root(doc, object);
	yyjson_mut_obj_add_str(doc, object, "action", "replay");
	yyjson_mut_obj_add_str(doc, object, "id", id);
	arguments = yyjson_mut_doc_imut_copy(doc, NULL);
	error = gw_hl7_in_part.command(door, yyjson_doc_get_root(arguments), reply);
	yyjson_doc_free(arguments);
	yyjson_mut_doc_free(doc);
	return error;
}

static void
test_a_large_message_blocks_no_feed(void **state)
{
	char filler[4096];
	struct gw_why why = { "" };
	int fd;

	(void)state;
	memset(filler, 'x', sizeof(filler));
	open_door(PEER, "  message_bytes_max: 2048\n");
	fd = dial();
	say(fd, "\x0b" MSH("MDM^T02", "1") "\rOBX|1|ED|||");
	for (int i = 0; i < 50; i++)
		put(fd, filler, sizeof(filler));
	say(fd, "\r\x1c\r" FRAME(ADT("2")) "\x0b" MSH("ADT^A01", "3") "\rNTE|");
	assert_string_equal(hear(fd), "AA|1");
	assert_string_equal(hear(fd), "AA|2");
	put(fd, filler, sizeof(filler));
	say(fd, "\r\x1c\r" FRAME(ADT("4")));
	assert_true(strncmp(hear(fd), "AR|3", 4) == 0);
	assert_string_equal(hear(fd), "AA|4");
	assert_int_equal(number("adt", "too_large"), 2);
	// What is kept of it is never taken for the whole.
	assert_int_equal(replay("1", &why), GW_E_TOO_LARGE);
	assert_non_null(strstr(why.text, "only its beginning"));
	assert_int_equal(replay("2", &why), GW_E_NOT_FOUND);
	assert_int_equal(replay("x", &why), GW_E_ARGUMENT);
	close(fd);
	close_door();
}

static void
test_no_mllp_no_connection(void **state)
{
	char filler[4096];
	int fd;

	(void)state;
	memset(filler, 'x', sizeof(filler));
	open_door(PEER, "");
	fd = dial();
	for (int i = 0; i < 17; i++)
		put(fd, filler, sizeof(filler));
	assert_string_equal(hear(fd), "");
	close(fd);
	close_door();
}

static void
test_strangers_are_closed_and_recorded_once(void **state)
{
	uint64_t last;

	(void)state;
	open_door("    - {name: adt, zone: UTC, addresses: [127.0.0.2, 10.0.0.0/8]}\n", "");
	for (int i = 0; i < 5; i++) {
		int fd = dial();
		char byte;

		assert_true(recv(fd, &byte, 1, 0) <= 0);
		close(fd);
	}
	wait_until(NULL, "refused_strangers", 5);
	for (int i = 0; (last = gw_journal_last(hub.journal)) == 0 && i < WAIT_MS; i++)
		usleep(1000);
	close_door();
	assert_int_equal(last, 1);
}

static void
test_connections_of_one_peer_are_limited(void **state)
{
	int first, second, third;

	(void)state;
	open_door(PEER, "  connections_of_one: 2\n");
	first = dial();
	second = dial();
	say(first, FRAME(ADT("1")));
	say(second, FRAME(ADT("2")));
	assert_string_equal(hear(first), "AA|1");
	assert_string_equal(hear(second), "AA|2");
	// With one more the one goes that has been quiet for longest.
	third = dial();
	assert_string_equal(hear(first), "");
	close(first);
	say(third, "\x0b");
	say(second, FRAME(ADT("3")) "\x0b");
	assert_string_equal(hear(second), "AA|3");
	assert_int_equal(number("adt", "connections_beyond_limit_of_one"), 1);
	// Where all of them are busy it is the new one.
	// (third's byte came before second's message, which is answered.)
	first = dial();
	assert_string_equal(hear(first), "");
	assert_int_equal(number("adt", "connections_beyond_limit_of_one"), 2);
	say(third, ADT("4") "\x1c\r");
	assert_string_equal(hear(third), "AA|4");
	close(first);
	close(second);
	close(third);
	close_door();
}

static void
test_memory_is_limited(void **state)
{
	enum { COUNT = 4 };
	char *filler = malloc(614400);
	int fds[COUNT], closed = 0;

	(void)state;
	assert_non_null(filler);
	memset(filler, 'x', 614400);
	open_door(PEER, "  memory_mb_max: 1\n");
	for (int i = 0; i < COUNT; i++) {
		fds[i] = dial();
		say(fds[i], "\x0bMSH|");
		for (size_t at = 0; at < 614400; at += 4096)
			if (send(fds[i], filler + at, 4096, MSG_NOSIGNAL) < 0)
				break;
	}
	// Not all of them can be half there at once.
	for (int i = 0; closed == 0 && i < WAIT_MS; i++) {
		closed = number(NULL, "connections") < COUNT;
		usleep(1000);
	}
	assert_int_equal(closed, 1);
	for (int i = 0; i < COUNT; i++)
		close(fds[i]);
	free(filler);
	wait_until(NULL, "connections", 0);
	// All of it is given back.
	fds[0] = dial();
	say(fds[0], FRAME(ADT("1")));
	assert_string_equal(hear(fds[0]), "AA|1");
	close(fds[0]);
	close_door();
}

static void
test_slow_and_silent_ones_end(void **state)
{
	int slow, silent;

	(void)state;
	open_door(PEER, "  message_s_max: 1\n  idle_s_max: 2\n");
	silent = dial();
	slow = dial();
	say(slow, "\x0bMSH|");
	assert_string_equal(hear(slow), "");
	assert_string_equal(hear(silent), "");
	close(slow);
	close(silent);
	close_door();
}

// It stops while messages are under way: what was stored is answered, or not told at all; what was answered is stored.
static void
test_an_orderly_end(void **state)
{
	char bytes[512], msa[16];
	int fd, answered = 0;

	(void)state;
	open_door(PEER, "");
	fd = dial();
	say(fd, FRAME(ADT("0")));
	assert_string_equal(hear(fd), "AA|0");
	for (int i = 1; i <= 200; i++) {
		snprintf(bytes, sizeof(bytes), "\x0bMSH|^~\\&|A|B|C|D|20261120||ADT^A01|%d|P|2.5\rPID|1||%d^^^K^PI\rPV1|1|I|ICU^^%d\r\x1c\r", i, i, i);
		say(fd, bytes);
	}
	gw_hl7_in_part.stop(door);
	gw_hl7_in_part.close(door);
	for (;; answered++) {
		snprintf(msa, sizeof(msa), "AA|%d", answered + 1);
		if (strcmp(hear(fd), msa) != 0)
			break;
	}
	close(fd);
	for (int i = 0; i < answered; i++) {
		struct gw_patient patient;

		assert_true(gw_patients_get(hub.patients, (uint64_t)i + 1, &patient));
	}
	hub_close();
}

int
main(void)
{
#define DOOR_TEST(f) cmocka_unit_test_setup_teardown(f, hub_make_dir, hub_remove_dir)
	const struct CMUnitTest tests[] = {
		DOOR_TEST(test_bytes_in_any_pieces),
		DOOR_TEST(test_many_ahead_are_answered_in_order),
		DOOR_TEST(test_what_came_before_the_end_is_answered),
		DOOR_TEST(test_a_large_message_blocks_no_feed),
		DOOR_TEST(test_no_mllp_no_connection),
		DOOR_TEST(test_strangers_are_closed_and_recorded_once),
		DOOR_TEST(test_connections_of_one_peer_are_limited),
		DOOR_TEST(test_memory_is_limited),
		DOOR_TEST(test_slow_and_silent_ones_end),
		DOOR_TEST(test_an_orderly_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
