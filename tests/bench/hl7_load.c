// SPDX-License-Identifier: Apache-2.0
// Load for the inbound HL7 door: connections that each send an ADT message, wait for its answer, and send the next. Writes one JSON object: messages, what was answered,
// latency. One thread, one message under way a connection, as interface engines do it; --ahead sends more.
//   bench_hl7_load --port N [--connections 8] [--seconds 10] [--ahead 1] [--patients 2000]
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS_MAX = 256, AHEAD_MAX = 64, BUCKETS = 200000 }; // latency in steps of 10 us

struct conn {
	int fd;
	unsigned under_way;
	int64_t sent_us[AHEAD_MAX]; // a ring: answers come in order
	unsigned first;
	char in[65536];
	size_t len;
};

static struct {
	unsigned port, connections, seconds, ahead, patients;
} options = { 0, 8, 10, 1, 2000 };
static struct conn conns[CONNECTIONS_MAX];
static uint64_t sent, answered, accepted;
static uint32_t buckets[BUCKETS];
static unsigned run_id;

static int64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static _Noreturn void
die(const char *what)
{
	fprintf(stderr, "bench_hl7_load: %s: %s\n", what, strerror(errno));
	exit(1);
}

// A patient's days: admitted, moved, updated, discharged, and again.
static size_t
make(char *out, size_t cap, uint64_t n)
{
	static const char *const triggers[] = { "A01", "A02", "A08", "A03" };
	unsigned patient = (unsigned)(n % options.patients), turn = (unsigned)(n / options.patients), bed = (patient + turn / 2 * 7) % options.patients;
	time_t wall = time(NULL);
	struct tm tm;
	char at[32];

	gmtime_r(&wall, &tm);
	strftime(at, sizeof(at), "%Y%m%d%H%M%S+0000", &tm);
	return (size_t)snprintf(out, cap, "\x0bMSH|^~\\&|ADT1|KLINIK|VG|HUB|%s||ADT^%s^ADT_A01|%x.%llu|P|2.5\rEVN|%s|%s\r"
	    "PID|1||%u^^^KLINIK^PI~%u^^^KLINIK^AN||Muster%u^Max^^^Dr.||19600101|M|||Hauptstr. 1^^Musterstadt^^12345^DE\r"
	    "PV1|1|I|ICU%u^^%u^KLINIK|||ICU0^^1^KLINIK|||||||||||||V%u||||||||||||||||||||||||%s\rZBE|%llu|%s||INSERT\r\x1c\r",
	    at, triggers[turn % 4], run_id, (unsigned long long)n, triggers[turn % 4], at, patient + 1, patient + 1000000, patient, bed % 20, bed, patient, at,
	    (unsigned long long)n, at);
}

static void
send_some(struct conn *conn)
{
	char message[2048];

	while (conn->under_way < options.ahead) {
		size_t len = make(message, sizeof(message), sent++);

		conn->sent_us[(conn->first + conn->under_way++) % AHEAD_MAX] = now_us();
		if (send(conn->fd, message, len, MSG_NOSIGNAL) != (ssize_t)len)
			die("send");
	}
}

static void
count(struct conn *conn, const char *frame, size_t len)
{
	int64_t us = (now_us() - conn->sent_us[conn->first]) / 10;

	conn->first = (conn->first + 1) % AHEAD_MAX;
	conn->under_way--;
	buckets[us < BUCKETS ? us : BUCKETS - 1]++;
	answered++;
	accepted += memmem(frame, len, "\rMSA|AA|", 8) != NULL;
}

static void
receive(struct conn *conn)
{
	ssize_t n = recv(conn->fd, conn->in + conn->len, sizeof(conn->in) - conn->len, 0);
	char *at = conn->in, *end;

	if (n <= 0)
		die("the gateway closed a connection");
	conn->len += (size_t)n;
	while ((end = memmem(at, (size_t)(conn->in + conn->len - at), "\x1c\r", 2)) != NULL) {
		count(conn, at, (size_t)(end - at));
		at = end + 2;
	}
	conn->len = (size_t)(conn->in + conn->len - at);
	memmove(conn->in, at, conn->len);
}

static void
dial(struct conn *conn, int epoll)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons((uint16_t)options.port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = conn };
	int on = 1;

	conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (conn->fd < 0 || connect(conn->fd, (struct sockaddr *)&to, sizeof(to)) != 0)
		die("connect");
	setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (epoll_ctl(epoll, EPOLL_CTL_ADD, conn->fd, &event) != 0)
		die("epoll");
}

static double
percentile(double part)
{
	uint64_t below = 0;

	for (size_t i = 0; i < BUCKETS; i++)
		if ((below += buckets[i]) >= (uint64_t)(part * (double)answered))
			return (double)i / 100;
	return 0;
}

static void
read_options(int argc, char **argv)
{
	static const struct { const char *name; unsigned *value, max; } table[] = {
		{ "--port", &options.port, 65535 }, { "--connections", &options.connections, CONNECTIONS_MAX }, { "--seconds", &options.seconds, 3600 },
		{ "--ahead", &options.ahead, AHEAD_MAX }, { "--patients", &options.patients, 1000000 },
	};

	for (int i = 1; i + 1 < argc; i += 2)
		for (size_t k = 0; k < sizeof(table) / sizeof(table[0]); k++)
			if (strcmp(argv[i], table[k].name) == 0)
				*table[k].value = (unsigned)strtoul(argv[i + 1], NULL, 10);
	for (size_t k = 0; k < sizeof(table) / sizeof(table[0]); k++)
		if (*table[k].value == 0 || *table[k].value > table[k].max) {
			fprintf(stderr, "bench_hl7_load: %s 1 to %u\n", table[k].name, table[k].max);
			exit(2);
		}
}

int
main(int argc, char **argv)
{
	struct epoll_event events[CONNECTIONS_MAX];
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	int64_t began, until;

	read_options(argc, argv);
	run_id = (unsigned)time(NULL);
	for (unsigned i = 0; i < options.connections; i++)
		dial(&conns[i], epoll);
	began = now_us();
	until = began + options.seconds * INT64_C(1000000);
	for (unsigned i = 0; i < options.connections; i++)
		send_some(&conns[i]);
	while (answered < sent) {
		int n = epoll_wait(epoll, events, CONNECTIONS_MAX, 10000);

		if (n <= 0 && errno != EINTR)
			die("no answer for 10 s");
		for (int i = 0; i < n; i++) {
			receive(events[i].data.ptr);
			if (now_us() < until)
				send_some(events[i].data.ptr);
		}
	}
	printf("{\"messages\": %llu, \"accepted\": %llu, \"seconds\": %.3f, \"per_s\": %.0f, \"p50_ms\": %.2f, \"p99_ms\": %.2f, \"max_ms\": %.2f}\n",
	    (unsigned long long)answered, (unsigned long long)accepted, (double)(now_us() - began) / 1e6, (double)answered * 1e6 / (double)(now_us() - began),
	    percentile(0.5), percentile(0.99), percentile(1));
	return accepted == answered ? 0 : 1;
}
