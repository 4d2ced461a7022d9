// SPDX-License-Identifier: Apache-2.0
// An MQTT 5 broker of a hundred lines that answers PUBLISH with QoS 1 as it is told, for the tests of the bus. One connection at a time.
#ifndef FAKE_BROKER_H
#define FAKE_BROKER_H

#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

enum { SILENT = 0x100, CLOSE = 0x101, MUTE = 0x102 }; // beside reason codes

struct broker {
	int listener, port;
	pthread_t thread;
	_Atomic bool stopping;
	_Atomic unsigned connections, messages;
	_Atomic int connack;
	int (*_Atomic answer)(unsigned index); // for the message with this number (from 1, status messages not counted)
	void (*_Atomic taken)(const char *topic, size_t topic_len, const char *payload, size_t payload_len); // NULL: nobody looks; not for refused ones
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
take_publish(struct broker *broker, int fd, const uint8_t *body, size_t len)
{
	size_t topic_len = (size_t)body[0] << 8 | body[1];
	const uint8_t *id = body + 2 + topic_len;
	int answer = 0;

	if (topic_len < 7 || memcmp(body + 2, "vitals-", 7) != 0)
		answer = broker->answer(++broker->messages);
	if (answer == CLOSE)
		return false;
	if (broker->taken != NULL && answer < 0x80 && (topic_len < 7 || memcmp(body + 2, "vitals-", 7) != 0))
		broker->taken((const char *)body + 2, topic_len, (const char *)id + 3, len - topic_len - 5); // no properties
	if (answer == SILENT) {
		memcpy(broker->held[broker->held_count], id, 2);
		broker->held_count++;
	} else if (answer == MUTE) {
		return true; // and never will be answered
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
			if (!take_publish(broker, fd, body, len))
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

static inline int
accept_all(unsigned index)
{
	(void)index;
	return 0;
}

static inline void
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

static inline void
broker_stop(struct broker *broker)
{
	broker->stopping = true;
	pthread_join(broker->thread, NULL);
	close(broker->listener);
}

#endif
