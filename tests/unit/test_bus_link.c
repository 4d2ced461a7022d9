// SPDX-License-Identifier: Apache-2.0
// The bus's connection against a broker of a hundred lines that answers as told: what is acknowledged, refused, answered out of order or not at all.
#include "adapters/mqtt/bus_link.h"

#include "gateway/clock.h"

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

// ---- The broker ----

enum { SILENT = 0x100, CLOSE = 0x101 }; // beside reason codes

struct broker {
	int listener, port;
	pthread_t thread;
	_Atomic bool stopping;
	_Atomic unsigned connections, messages;
	_Atomic int connack;
	int (*_Atomic answer)(unsigned index); // for the message with this number (from 1, status messages not counted)
	uint8_t held[16][2];           // packet identifiers not yet answered
	_Atomic unsigned held_count, release;
};

static void
send_all(int fd, const uint8_t *bytes, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		bytes += n;
		len -= (size_t)n;
	}
}

static bool
read_all(struct broker *broker, int fd, uint8_t *bytes, size_t len)
{
	while (len > 0) {
		struct pollfd poll_fd = { .fd = fd, .events = POLLIN };
		ssize_t n;

		if (broker->stopping)
			return false;
		if (broker->release > 0) { // what was held goes out, newest first
			for (unsigned i = broker->held_count; i-- > 0;)
				send_all(fd, (const uint8_t[]){ 0x40, 2, broker->held[i][0], broker->held[i][1] }, 4);
			broker->held_count = 0;
			broker->release = 0;
		}
		if (poll(&poll_fd, 1, 5) <= 0)
			continue;
		if ((n = recv(fd, bytes, len, 0)) <= 0)
			return false;
		bytes += n;
		len -= (size_t)n;
	}
	return true;
}

static bool
read_packet(struct broker *broker, int fd, uint8_t *type, uint8_t *body, size_t cap, size_t *len)
{
	uint8_t byte;

	if (!read_all(broker, fd, type, 1))
		return false;
	*len = 0;
	for (int shift = 0;; shift += 7) {
		if (!read_all(broker, fd, &byte, 1))
			return false;
		*len |= (size_t)(byte & 0x7f) << shift;
		if (!(byte & 0x80))
			break;
	}
	return *len <= cap && read_all(broker, fd, body, *len);
}

static bool
take_publish(struct broker *broker, int fd, const uint8_t *body)
{
	size_t topic_len = (size_t)body[0] << 8 | body[1];
	const uint8_t *id = body + 2 + topic_len;
	int answer = 0;

	if (topic_len < 7 || memcmp(body + 2, "vitals-", 7) != 0)
		answer = broker->answer(++broker->messages);
	if (answer == CLOSE)
		return false;
	if (answer == SILENT) {
		memcpy(broker->held[broker->held_count], id, 2);
		broker->held_count++;
	} else if (answer == 0) {
		send_all(fd, (const uint8_t[]){ 0x40, 2, id[0], id[1] }, 4);
	} else {
		send_all(fd, (const uint8_t[]){ 0x40, 4, id[0], id[1], (uint8_t)answer, 0 }, 6);
	}
	return true;
}

static void
serve(struct broker *broker, int fd)
{
	uint8_t type, body[4096];
	size_t len;

	while (read_packet(broker, fd, &type, body, sizeof(body), &len)) {
		if (type >> 4 == 1) {
			send_all(fd, (const uint8_t[]){ 0x20, 3, 0, (uint8_t)broker->connack, 0 }, 5);
			broker->connections++;
		} else if (type >> 4 == 3) {
			if (!take_publish(broker, fd, body))
				return;
		} else if (type >> 4 == 12) {
			send_all(fd, (const uint8_t[]){ 0xd0, 0 }, 2);
		} else if (type >> 4 == 14) {
			return;
		}
	}
}

static void *
broker_run(void *arg)
{
	struct broker *broker = arg;

	while (!broker->stopping) {
		struct pollfd fd = { .fd = broker->listener, .events = POLLIN };
		int client;

		if (poll(&fd, 1, 5) <= 0 || (client = accept(broker->listener, NULL, NULL)) < 0)
			continue;
		serve(broker, client);
		close(client);
	}
	return NULL;
}

static int
accept_all(unsigned index)
{
	(void)index;
	return 0;
}

static void
broker_start(struct broker *broker, int (*answer)(unsigned))
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(address);

	memset(broker, 0, sizeof(*broker));
	broker->answer = answer;
	broker->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(broker->listener, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(listen(broker->listener, 8), 0);
	assert_int_equal(getsockname(broker->listener, (struct sockaddr *)&address, &len), 0);
	broker->port = ntohs(address.sin_port);
	assert_int_equal(pthread_create(&broker->thread, NULL, broker_run, broker), 0);
}

static void
broker_stop(struct broker *broker)
{
	broker->stopping = true;
	pthread_join(broker->thread, NULL);
	close(broker->listener);
}

// ---- The link ----

static char uri[64];
static char client_id[] = "test", prefix[] = "vitals", empty[] = "";
static struct gw_config config;

static struct gw_bus_link *
link_new(const struct broker *broker, int window)
{
	struct gw_bus_link *link;
	struct gw_why why = { "" };

	snprintf(uri, sizeof(uri), "mqtt://127.0.0.1:%d", broker->port);
	config = (struct gw_config){ .bus_uri = uri, .bus_client_id = client_id, .bus_prefix = prefix, .bus_user = empty, .bus_password_file = empty,
		.bus_ca = empty, .bus_certificate = empty, .bus_key = empty, .bus_in_flight_max = window };
	if (gw_bus_link_new(&config, &link, &why) != GW_OK)
		fail_msg("%s", why.text);
	return link;
}

static void
connect_link(struct gw_bus_link *link)
{
	struct gw_why why = { "" };

	if (gw_bus_link_connect(link, &why) != GW_OK)
		fail_msg("%s", why.text);
	assert_true(gw_bus_link_up(link));
	assert_int_equal(gw_bus_link_pending(link), 0);
}

static void
publish(struct gw_bus_link *link, uint64_t position)
{
	assert_int_equal(gw_bus_link_publish(link, "vitals/d/s", gw_span_text("{}"), &(struct gw_bus_ref){ .position = position }), GW_OK);
	assert_true(gw_bus_link_covers(link, position));
}

struct seen {
	uint64_t position;
	struct gw_bus_settled settled[32];
	size_t count;
};

static void
settle(struct gw_bus_link *link, struct seen *seen)
{
	seen->count += gw_bus_link_settle(link, &seen->position, seen->settled + seen->count, 32 - seen->count);
}

// Until everything up to `position` is answered.
static void
settle_until(struct gw_bus_link *link, struct seen *seen, uint64_t position)
{
	int64_t until = gw_clock_mono_us() + 20000000;

	while (seen->position < position && gw_clock_mono_us() < until) {
		gw_bus_link_wait(link, 20);
		settle(link, seen);
	}
	assert_int_equal(seen->position, position);
}

static void
test_acknowledged_in_order(void **state)
{
	struct broker broker;
	struct gw_bus_link *link;
	struct seen seen = { 0 };
	struct gw_bus_link_stats stats;

	(void)state;
	broker_start(&broker, accept_all);
	link = link_new(&broker, 4);
	connect_link(link);
	assert_false(gw_bus_link_covers(link, 1)); // nothing under way: done already
	for (uint64_t i = 1; i <= 100; i++) {
		while (gw_bus_link_room(link) == 0) {
			gw_bus_link_wait(link, 1000);
			settle(link, &seen);
		}
		assert_true(gw_bus_link_pending(link) < 4);
		publish(link, i);
	}
	settle_until(link, &seen, 100);
	assert_int_equal(seen.count, 0);
	gw_bus_link_stats(link, &stats);
	assert_int_equal(stats.published, 100);
	assert_int_equal(stats.acknowledged, 100);
	gw_bus_link_close(link, true);
	gw_bus_link_free(link);
	broker_stop(&broker);
}

static int
refuse_some(unsigned index)
{
	return index == 2 ? 0x87 : index == 3 ? 0x10 : index == 5 ? 0x97 : 0;
}

static void
test_a_refusal_is_told_and_passed(void **state)
{
	struct broker broker;
	struct gw_bus_link *link;
	struct seen seen = { 0 };

	(void)state;
	broker_start(&broker, refuse_some);
	link = link_new(&broker, 10);
	connect_link(link);
	for (uint64_t i = 1; i <= 6; i++)
		publish(link, i);
	settle_until(link, &seen, 6);
	assert_int_equal(seen.count, 2); // 0x10, no subscribers, is success
	assert_int_equal(seen.settled[0].ref.position, 2);
	assert_int_equal(seen.settled[0].reason, 0x87);
	assert_int_equal(seen.settled[1].ref.position, 5);
	assert_int_equal(seen.settled[1].reason, 0x97);
	assert_true(gw_bus_link_up(link));
	gw_bus_link_free(link);
	broker_stop(&broker);
}

static int
hold_three(unsigned index)
{
	return index <= 3 ? SILENT : 0;
}

static void
test_nothing_passes_an_unanswered_one(void **state)
{
	struct broker broker;
	struct gw_bus_link *link;
	struct seen seen = { 0 };
	struct gw_bus_link_stats stats;

	(void)state;
	broker_start(&broker, hold_three);
	link = link_new(&broker, 5);
	connect_link(link);
	for (uint64_t i = 1; i <= 5; i++)
		publish(link, i);
	do {
		gw_bus_link_stats(link, &stats);
	} while (stats.acknowledged < 2); // those behind the three
	settle(link, &seen);
	assert_int_equal(seen.position, 0);
	assert_int_equal(gw_bus_link_room(link), 0);
	assert_int_equal(gw_bus_link_publish(link, "vitals/d/s", gw_span_text("{}"), &(struct gw_bus_ref){ .position = 6 }), GW_E_BUSY);
	broker.release = 1;
	settle_until(link, &seen, 5);
	assert_int_equal(gw_bus_link_room(link), 5);
	gw_bus_link_free(link);
	broker_stop(&broker);
}

static int
close_at_three(unsigned index)
{
	return index == 3 ? CLOSE : index < 3 ? 0 : SILENT;
}

static void
test_an_ended_connection_is_no_refusal(void **state)
{
	struct broker broker;
	struct gw_bus_link *link;
	struct seen seen = { 0 };
	int64_t until = gw_clock_mono_us() + 20000000;

	(void)state;
	broker_start(&broker, close_at_three);
	link = link_new(&broker, 10);
	connect_link(link);
	for (uint64_t i = 1; i <= 3; i++)
		publish(link, i);
	while (gw_bus_link_up(link) && gw_clock_mono_us() < until)
		gw_bus_link_wait(link, 20);
	assert_false(gw_bus_link_up(link));
	settle(link, &seen);
	assert_int_equal(seen.position, 2);
	assert_int_equal(seen.count, 0);
	assert_int_equal(gw_bus_link_publish(link, "vitals/d/s", gw_span_text("{}"), &(struct gw_bus_ref){ .position = 4 }), GW_E_CLOSED);
	// The next connection begins with an empty window.
	broker.answer = accept_all;
	connect_link(link);
	publish(link, 3);
	settle_until(link, &seen, 3);
	assert_int_equal(broker.connections, 2);
	gw_bus_link_free(link);
	broker_stop(&broker);
}

static void
test_a_broker_that_refuses_us(void **state)
{
	struct broker broker;
	struct gw_bus_link *link;
	struct gw_why why = { "" };

	(void)state;
	broker_start(&broker, accept_all);
	broker.connack = 0x87; // not authorized
	link = link_new(&broker, 10);
	assert_int_equal(gw_bus_link_connect(link, &why), GW_E_CLOSED);
	assert_non_null(strstr(why.text, "Not authorized"));
	assert_false(gw_bus_link_up(link));
	gw_bus_link_free(link);
	broker_stop(&broker);
}

static void
test_nobody_listens(void **state)
{
	struct broker broker;
	struct gw_bus_link *link;
	struct gw_why why = { "" };

	(void)state;
	broker_start(&broker, accept_all);
	broker_stop(&broker);
	link = link_new(&broker, 10);
	assert_int_equal(gw_bus_link_connect(link, &why), GW_E_CLOSED);
	assert_true(why.text[0] != '\0');
	gw_bus_link_free(link);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_acknowledged_in_order),
		cmocka_unit_test(test_a_refusal_is_told_and_passed),
		cmocka_unit_test(test_nothing_passes_an_unanswered_one),
		cmocka_unit_test(test_an_ended_connection_is_no_refusal),
		cmocka_unit_test(test_a_broker_that_refuses_us),
		cmocka_unit_test(test_nobody_listens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
