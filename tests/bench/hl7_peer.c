// SPDX-License-Identifier: Apache-2.0
// A fast HL7 receiver for benchmarks: answers every message at once (CA where MSH-15 is AL, else AA), checks that no MSH-10 comes a second time, and tells what it has
// seen. One thread, plain MLLP. Each line that it reads from its standard input (or its end) is answered with one JSON object about the time since the line before:
//   messages, bytes, duplicates (of all), first and last (seconds since 1970), gap_ms_max (the longest pause between two messages), and of the messages that contain
//   --live TEXT: how many, and how long after their OBR-7 they came, in milliseconds.
//   bench_hl7_peer [--live TEXT]      its first line of output is its port
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { IN_MAX = 1 << 20, LIVE_MAX = 1 << 16 };

static struct {
	uint64_t messages, bytes;
	int64_t first_us, last_us, gap_us;
	double live_ms[LIVE_MAX];
	size_t live;
} seen;
static uint64_t duplicates;
static const char *live_text = "";
static char in[IN_MAX];
static size_t in_len;
static uint64_t *ids; // open addressing by hash; 0: free
static size_t ids_cap, ids_count;

static _Noreturn void
die(const char *what)
{
	fprintf(stderr, "bench_hl7_peer: %s: %s\n", what, strerror(errno));
	exit(1);
}

static int64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

// ---- MSH-10 that came ----

static uint64_t
hash_of(const char *at, size_t len)
{
	uint64_t hash = 14695981039346656037u;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ (uint8_t)at[i]) * 1099511628211u;
	hash ^= hash >> 31;
	return hash != 0 ? hash : 1;
}

static bool
insert(uint64_t hash)
{
	size_t at = hash & (ids_cap - 1);

	for (; ids[at] != 0; at = (at + 1) & (ids_cap - 1))
		if (ids[at] == hash)
			return false;
	ids[at] = hash;
	ids_count++;
	return true;
}

static void
remember(uint64_t hash)
{
	uint64_t *old = ids;
	size_t old_cap = ids_cap;

	if (2 * ids_count >= ids_cap) {
		ids_cap = ids_cap > 0 ? 2 * ids_cap : 1 << 16;
		ids_count = 0;
		if ((ids = calloc(ids_cap, sizeof(*ids))) == NULL)
			die("memory");
		for (size_t i = 0; i < old_cap; i++)
			if (old[i] != 0)
				insert(old[i]);
		free(old);
	}
	duplicates += !insert(hash);
}

// ---- Messages ----

// Field n of a segment (MSH-2 counts as 2), from its first byte on.
static const char *
field(const char *segment, const char *end, int n, size_t *len)
{
	const char *at = segment, *next;

	*len = 0;
	for (; n > 0; n--, at = next + 1)
		if ((next = memchr(at, '|', (size_t)(end - at))) == NULL)
			return NULL;
	next = at;
	while (next < end && *next != '|' && *next != '\r')
		next++;
	*len = (size_t)(next - at);
	return at;
}

// YYYYMMDDHHMMSS[.F...]+0000
static int64_t
time_of(const char *at, size_t len)
{
	struct tm tm = { 0 };
	int64_t us = 0, unit = 100000;

	if (len < 14 || sscanf(at, "%4d%2d%2d%2d%2d%2d", &tm.tm_year, &tm.tm_mon, &tm.tm_mday, &tm.tm_hour, &tm.tm_min, &tm.tm_sec) != 6)
		return 0;
	tm.tm_year -= 1900;
	tm.tm_mon -= 1;
	if (len > 14 && at[14] == '.')
		for (size_t i = 15; i < len && at[i] >= '0' && at[i] <= '9'; i++, unit /= 10)
			us += (at[i] - '0') * unit;
	return timegm(&tm) * INT64_C(1000000) + us;
}

static void
look_at_live(const char *message, const char *end, int64_t now)
{
	const char *obr = memmem(message, (size_t)(end - message), "\rOBR|", 5), *at;
	size_t len;

	if (obr == NULL || seen.live == LIVE_MAX || (at = field(obr + 1, end, 7, &len)) == NULL)
		return;
	seen.live_ms[seen.live++] = (double)(now - time_of(at, len)) / 1000;
}

static void
answer(int fd, const char *message, size_t message_len)
{
	const char *end = message + message_len, *id, *accept;
	size_t id_len, accept_len;
	int64_t now = now_us();
	char text[512];
	int len;

	if ((id = field(message, end, 9, &id_len)) == NULL || id_len > 100)
		die("a message without MSH-10");
	accept = field(message, end, 14, &accept_len);
	len = snprintf(text, sizeof(text), "\x0bMSH|^~\\&|PEER||||20260101||ACK|%.*s|P|2.6\rMSA|%s|%.*s\r\x1c\r", (int)id_len, id,
	    accept != NULL && accept_len == 2 && memcmp(accept, "AL", 2) == 0 ? "CA" : "AA", (int)id_len, id);
	if (send(fd, text, (size_t)len, MSG_NOSIGNAL) != len)
		die("send");
	remember(hash_of(id, id_len));
	if (seen.messages++ == 0)
		seen.first_us = now;
	else if (now - seen.last_us > seen.gap_us)
		seen.gap_us = now - seen.last_us;
	seen.last_us = now;
	seen.bytes += message_len;
	if (live_text[0] != '\0' && memmem(message, message_len, live_text, strlen(live_text)) != NULL)
		look_at_live(message, end, now);
}

static bool
receive(int fd)
{
	ssize_t n = recv(fd, in + in_len, sizeof(in) - in_len, 0);
	char *at = in, *end;

	if (n <= 0)
		return false;
	in_len += (size_t)n;
	while ((end = memmem(at, (size_t)(in + in_len - at), "\x1c\r", 2)) != NULL) {
		answer(fd, at + 1, (size_t)(end - at - 1));
		at = end + 2;
	}
	in_len = (size_t)(in + in_len - at);
	memmove(in, at, in_len);
	return true;
}

// ---- Telling ----

static int
by_size(const void *a, const void *b)
{
	return (*(const double *)a > *(const double *)b) - (*(const double *)a < *(const double *)b);
}

static double
live_at(double part)
{
	return seen.live > 0 ? seen.live_ms[(size_t)((double)(seen.live - 1) * part)] : 0;
}

static void
report(void)
{
	qsort(seen.live_ms, seen.live, sizeof(*seen.live_ms), by_size);
	printf("{\"messages\": %llu, \"bytes\": %llu, \"duplicates\": %llu, \"first\": %.6f, \"last\": %.6f, \"gap_ms_max\": %.1f, \"live\": %zu, \"live_p50_ms\": %.1f, "
	    "\"live_p99_ms\": %.1f, \"live_max_ms\": %.1f}\n", (unsigned long long)seen.messages, (unsigned long long)seen.bytes, (unsigned long long)duplicates,
	    (double)seen.first_us / 1e6, (double)seen.last_us / 1e6, (double)seen.gap_us / 1e3, seen.live, live_at(0.5), live_at(0.99), live_at(1));
	fflush(stdout);
	memset(&seen, 0, sizeof(seen));
}

static int
listen_here(void)
{
	struct sockaddr_in here = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(here);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&here, sizeof(here)) != 0 || listen(fd, 4) != 0 || getsockname(fd, (struct sockaddr *)&here, &len) != 0)
		die("listen");
	printf("%u\n", ntohs(here.sin_port));
	fflush(stdout);
	return fd;
}

int
main(int argc, char **argv)
{
	struct pollfd fds[3] = { { .fd = STDIN_FILENO, .events = POLLIN }, { .events = POLLIN }, { .fd = -1, .events = POLLIN } };
	char line[64];

	if (argc == 3 && strcmp(argv[1], "--live") == 0)
		live_text = argv[2];
	fds[1].fd = listen_here();
	for (;;) {
		if (poll(fds, 3, -1) < 0 && errno != EINTR)
			die("poll");
		if (fds[2].fd >= 0 && fds[2].revents != 0 && !receive(fds[2].fd)) {
			close(fds[2].fd);
			fds[2].fd = -1;
			in_len = 0;
		}
		if (fds[1].revents != 0 && fds[2].fd < 0 && (fds[2].fd = accept(fds[1].fd, NULL, NULL)) >= 0)
			setsockopt(fds[2].fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		if (fds[0].revents != 0) {
			ssize_t n = read(STDIN_FILENO, line, sizeof(line));

			report();
			if (n <= 0)
				return 0;
		}
	}
}
