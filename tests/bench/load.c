// SPDX-License-Identifier: Apache-2.0
// The generator's loop: connect, rest, warm up, measure, drain, report as one line of JSON.
// One thread; what is measured is counted between two samples taken by this same thread.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "load.h"

uint64_t
load_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static double
own_cpu_s(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (double)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) +
	       (double)(r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

void
load_first_error(struct load *l, const char *format, ...)
{
	va_list ap;

	if (l->first_error[0] != 0)
		return;
	va_start(ap, format);
	vsnprintf(l->first_error, sizeof l->first_error, format, ap);
	va_end(ap);
}

// ---- connections ------------------------------------------------------------------------------

static void
watch(struct load *l, struct load_conn *c, bool add, bool out)
{
	struct epoll_event e = { .events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c };

	if (!add && c->wants_out == out)
		return;
	c->wants_out = out;
	epoll_ctl(l->epoll, add ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, c->link.fd, &e);
}

static void
connection_end(struct load *l, struct load_conn *c, const char *why)
{
	if (c->state == LOAD_CLOSED)
		return;
	if (c->state == LOAD_READY) {
		l->ready--;
		l->total.disconnects++;
		load_first_error(l, "%s", why);
		for (unsigned i = 0; i < c->window; i++)
			if (c->slot[i].used)
				load_slot_done(l, c, &c->slot[i], LOAD_LOST);
	} else {
		l->connecting--;
		l->failed++;
		load_first_error(l, "connection %u: %s", c->number, why);
	}
	c->state = LOAD_CLOSED;
	load_link_close(&c->link);
}

void
load_window(struct load_conn *c, unsigned window, unsigned refill)
{
	c->window = c->free_count = window;
	c->refill = refill;
	for (unsigned i = 0; i < window; i++)
		c->free[i] = (uint16_t)(window - 1 - i);
}

static bool
connection_begin(struct load *l, struct load_conn *c)
{
	const struct load_options *o = &l->o;

	if (!load_pattern(c->device, sizeof c->device, o->device, c->number) ||
	    !l->protocol->prepare(l, c))
		return false;
	c->slot = calloc(o->window, sizeof *c->slot);
	c->free = calloc(o->window, sizeof *c->free);
	if (c->slot == NULL || c->free == NULL)
		return false;
	load_window(c, o->window, o->refill);
	return load_link_open(&c->link, &l->credentials, o, (struct sockaddr *)&l->to, l->to_size,
	                      c->number);
}

static void
shake(struct load *l, struct load_conn *c)
{
	switch (load_link_handshake(&c->link)) {
	case LOAD_STEP_READ:
		watch(l, c, false, false);
		return;
	case LOAD_STEP_WRITE:
		watch(l, c, false, true);
		return;
	case LOAD_STEP_FAILED:
		connection_end(l, c, "the handshake failed");
		return;
	case LOAD_STEP_DONE:
		break;
	}
	watch(l, c, false, false);
	c->state = LOAD_LOGIN;
	if (!l->protocol->login(l, c))
		connection_end(l, c, "the login failed");
}

static void
connect_more(struct load *l)
{
	while (l->next < l->o.connections && l->connecting < l->o.handshakes) {
		struct load_conn *c = &l->conn[l->next];
		c->number = l->o.device_first + l->next++;
		c->state = LOAD_CONNECTING;
		c->started_ns = l->now_ns;
		l->connecting++;
		if (!connection_begin(l, c)) {
			connection_end(l, c, strerror(errno));
			continue;
		}
		watch(l, c, true, !c->link.datagram);
		if (c->link.datagram)
			shake(l, c);
	}
}

void
load_ready(struct load *l, struct load_conn *c)
{
	if (c->state != LOAD_LOGIN)
		return;
	c->state = LOAD_READY;
	c->started_ns = l->now_ns;
	l->connecting--;
	l->ready++;
}

bool
load_write(struct load *l, struct load_conn *c, const uint8_t *bytes, size_t size)
{
	size_t done = 0;

	while (c->pending_size == 0 && done < size) {
		int n = load_link_write(&c->link, bytes + done, size - done);
		if (n < 0)
			return false;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	if (done == size)
		return true;
	// Kept behind what already waits; what Mbed TLS has begun must be offered again unchanged,
	// so a chunk is written with the size that it had when it came.
	uint8_t *grown = realloc(c->pending, c->pending_size + sizeof size + size - done);
	if (grown == NULL)
		return false;
	c->pending = grown;
	size -= done;
	memcpy(grown + c->pending_size, &size, sizeof size);
	memcpy(grown + c->pending_size + sizeof size, bytes + done, size);
	c->pending_size += sizeof size + size;
	watch(l, c, false, true);
	return true;
}

static bool
write_pending(struct load *l, struct load_conn *c)
{
	while (c->pending_at < c->pending_size) {
		size_t left;
		uint8_t *chunk = c->pending + c->pending_at;
		memcpy(&left, chunk, sizeof left);
		int n = load_link_write(&c->link, chunk + sizeof left, left);
		if (n <= 0)
			return n == 0;
		c->pending_at += (size_t)n;       // the rest of the chunk gets a head of its own
		left -= (size_t)n;
		if (left == 0)
			c->pending_at += sizeof left;
		else
			memcpy(c->pending + c->pending_at, &left, sizeof left);
	}
	c->pending_at = c->pending_size = 0;
	watch(l, c, false, false);
	return true;
}

// ---- messages ---------------------------------------------------------------------------------

uint64_t
load_message_ms(const struct load *l, uint32_t seq)
{
	return l->o.base_ms + (uint64_t)seq * l->o.step_ms;
}

struct load_slot *
load_slot_take(struct load *l, struct load_conn *c)
{
	struct load_slot *s = &c->slot[c->free[--c->free_count]];

	s->used = true;
	s->seq = c->seq++;
	s->sent_ns = l->now_ns;
	s->wait = LOAD_WAIT_ACK;
	if (l->ledger != NULL)
		fprintf(l->ledger, "S %s %u\n", c->device, s->seq);
	l->in_flight++;
	l->total.sent++;
	l->rate_sent++;
	return s;
}

void
load_slot_done(struct load *l, struct load_conn *c, struct load_slot *s, enum load_outcome how)
{
	if (how == LOAD_ACKED) {
		l->total.acked++;
		if (l->ledger != NULL)
			fprintf(l->ledger, "A %s %u\n", c->device, s->seq);
		if (l->phase == LOAD_PHASE_WINDOW)
			load_latency_add(&l->latency, l->now_ns - s->sent_ns);
	} else if (how == LOAD_REFUSED) {
		l->total.refused++;
	} else {
		l->total.lost++;
	}
	s->used = false;
	l->in_flight--;
	c->free[c->free_count++] = (uint16_t)(s - c->slot);
}

static uint64_t
budget(const struct load *l)
{
	uint64_t n = UINT64_MAX;

	if (!l->sending)
		return 0;
	if (l->o.active > 0)
		n = l->in_flight < l->o.active ? l->o.active - l->in_flight : 0;
	if (l->o.count > 0 && l->phase == LOAD_PHASE_WINDOW) {
		uint64_t left = l->o.count - (l->total.sent - l->from.sent);
		n = left < n ? left : n;
	}
	if (l->o.rate > 0) {
		uint64_t due = (uint64_t)((double)(l->now_ns - l->rate_from_ns) / 1e9 * (double)l->o.rate);
		uint64_t left = due > l->rate_sent ? due - l->rate_sent : 0;
		n = left < n ? left : n;
	}
	return n;
}

static void
enqueue(struct load *l, struct load_conn *c)
{
	if (c->queued)
		return;
	c->queued = true;
	l->queue[(l->queue_at + l->queue_count++) % l->o.connections] = (unsigned)(c - l->conn);
}

// Sends what the connection, and the limits over all connections, allow; queues for the rest.
// `turn`: it was at the head of the queue. A held connection comes back with the next tick.
static void
send_some(struct load *l, struct load_conn *c, bool turn)
{
	if (c->state != LOAD_READY || c->pending_size > 0 || c->hold_ns > l->now_ns ||
	    c->free_count < c->refill) {
		if (l->o.quick_ack && c->state == LOAD_READY)
			load_link_quick_ack(&c->link);
		return;
	}
	uint64_t n = budget(l);
	if (!turn && l->queue_count > 0 && (l->o.active > 0 || l->o.rate > 0))
		n = 0;                            // others wait already
	if (n > c->free_count)
		n = c->free_count;
	if (l->o.rate > 0 && n > 1)
		n = 1;                            // spread over the connections
	if (n > 0 && !l->protocol->send(l, c, (unsigned)n)) {
		connection_end(l, c, "sending failed");
		return;
	}
	if (c->free_count > 0 && l->sending)
		enqueue(l, c);
}

static void
send_queued(struct load *l)
{
	unsigned turns = l->queue_count;

	while (turns-- > 0 && budget(l) > 0) {
		struct load_conn *c = &l->conn[l->queue[l->queue_at]];
		l->queue_at = (l->queue_at + 1) % l->o.connections;
		l->queue_count--;
		c->queued = false;
		send_some(l, c, true);
	}
}

// ---- events -----------------------------------------------------------------------------------

static void
event(struct load *l, struct load_conn *c, uint32_t events)
{
	if (c->state == LOAD_CLOSED)
		return;
	c->link.dry = false;
	if (c->state == LOAD_CONNECTING) {
		shake(l, c);
		if (c->state != LOAD_LOGIN && c->state != LOAD_READY)
			return;
	}
	if ((events & EPOLLOUT) != 0 && !write_pending(l, c)) {
		connection_end(l, c, "sending failed");
		return;
	}
	if (!l->protocol->readable(l, c)) {
		connection_end(l, c, "the server closed the connection");
		return;
	}
	send_some(l, c, false);
}

// Ten times a second: handshake timers, retransmissions.
static void
tick(struct load *l)
{
	for (unsigned i = 0; i < l->next; i++) {
		struct load_conn *c = &l->conn[i];
		if (c->state == LOAD_CONNECTING && load_link_timer_expired(&c->link))
			shake(l, c);
		if (c->state != LOAD_READY)
			continue;
		if (!l->protocol->tick(l, c))
			connection_end(l, c, "sending failed");
		else if (c->free_count > 0 && l->sending && !c->queued)
			enqueue(l, c);
	}
}

static void
progress(struct load *l)
{
	static const char *const names[] = { "connecting", "idle", "warming up", "measuring",
	                                     "draining", "done" };
	uint64_t acked = l->total.acked - l->progress_acked;

	l->progress_acked = l->total.acked;
	if (!l->o.quiet)
		fprintf(stderr, "load: %-10s %u of %u connected, %llu acknowledged/s\n", names[l->phase],
		        l->ready, l->o.connections, (unsigned long long)acked);
}

// ---- phases -----------------------------------------------------------------------------------

static void
enter(struct load *l, enum load_phase phase)
{
	l->phase = phase;
	l->phase_ns = l->now_ns;
}

static void
start_sending(struct load *l)
{
	l->sending = true;
	l->rate_from_ns = l->now_ns;
	for (unsigned i = 0; i < l->next; i++)
		if (l->conn[i].state == LOAD_READY)
			enqueue(l, &l->conn[i]);
}

static void
window_begin(struct load *l)
{
	enter(l, LOAD_PHASE_WINDOW);
	l->from = l->total;
	l->from_ns = l->now_ns;
	l->at_from = load_server_sample(l->o.server_pid);
	l->own_from_s = own_cpu_s();
	if (!l->sending)
		start_sending(l);
}

static void
window_end(struct load *l)
{
	l->to_counts = l->total;
	l->to_ns = l->now_ns;
	l->at_to = load_server_sample(l->o.server_pid);
	l->own_to_s = own_cpu_s();
	l->sending = false;
	enter(l, LOAD_PHASE_DRAIN);
}

static void
connected(struct load *l)
{
	l->connect_ns = l->now_ns - l->phase_ns;
	l->at_ready = load_server_sample(l->o.server_pid);
	enter(l, LOAD_PHASE_IDLE);
}

static void
rested(struct load *l)
{
	char line[16];

	l->at_idle = load_server_sample(l->o.server_pid);
	if (l->o.wait) {
		fputs("ready\n", stderr);
		if (fgets(line, sizeof line, stdin) == NULL)
			l->ready = 0;
		l->now_ns = load_now_ns();
	}
	if (l->o.warmup <= 0 || l->o.count > 0) {
		window_begin(l);
		return;
	}
	enter(l, LOAD_PHASE_WARMUP);
	start_sending(l);
}

static void
advance(struct load *l)
{
	double phase_s = (double)(l->now_ns - l->phase_ns) / 1e9;
	uint64_t settled = l->total.acked + l->total.refused + l->total.lost -
	                   (l->from.acked + l->from.refused + l->from.lost);

	switch (l->phase) {
	case LOAD_PHASE_CONNECT:
		if (l->ready + l->failed == l->o.connections || phase_s > l->o.connect_timeout)
			connected(l);
		break;
	case LOAD_PHASE_IDLE:
		if (phase_s >= l->o.idle)
			rested(l);
		break;
	case LOAD_PHASE_WARMUP:
		if (phase_s >= l->o.warmup)
			window_begin(l);
		break;
	case LOAD_PHASE_WINDOW:
		if (l->o.count > 0 ? settled >= l->o.count : phase_s >= l->o.seconds)
			window_end(l);
		break;
	case LOAD_PHASE_DRAIN:
		if (l->in_flight == 0 || phase_s > 10)
			enter(l, LOAD_PHASE_END);
		break;
	case LOAD_PHASE_END:
		break;
	}
	if (l->phase > LOAD_PHASE_CONNECT && l->phase < LOAD_PHASE_DRAIN && l->ready == 0) {
		l->phase == LOAD_PHASE_WINDOW ? window_end(l) : (void)0;
		enter(l, LOAD_PHASE_END);
	}
}

static int
timeout_ms(const struct load *l)
{
	if (l->queue_count > 0 && budget(l) > 0)
		return 0;
	if (l->sending && l->o.poll)
		return 0;
	return l->o.rate > 0 ? 1 : 20;
}

static void
round_of_events(struct load *l)
{
	struct epoll_event e[512];
	int n = epoll_wait(l->epoll, e, 512, timeout_ms(l));

	for (int i = 0; i < n; i++) {
		l->now_ns = load_now_ns();
		event(l, e[i].data.ptr, e[i].events);
	}
	l->now_ns = load_now_ns();
	send_queued(l);
	if (l->phase == LOAD_PHASE_CONNECT)
		connect_more(l);
	if (l->now_ns - l->tick_ns >= 100000000) {
		l->tick_ns = l->now_ns;
		tick(l);
	}
	if (l->now_ns - l->progress_ns >= 1000000000) {
		l->progress_ns = l->now_ns;
		progress(l);
	}
	advance(l);
}

// ---- start and end ----------------------------------------------------------------------------

static bool
address(struct load *l)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)&l->to;
	struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&l->to;

	if (inet_pton(AF_INET, l->o.host, &v4->sin_addr) == 1) {
		v4->sin_family = AF_INET;
		v4->sin_port = htons((uint16_t)l->o.port);
		l->to_size = sizeof *v4;
	} else if (inet_pton(AF_INET6, l->o.host, &v6->sin6_addr) == 1) {
		v6->sin6_family = AF_INET6;
		v6->sin6_port = htons((uint16_t)l->o.port);
		l->to_size = sizeof *v6;
	} else {
		return fprintf(stderr, "load: --host must be a numeric address\n"), false;
	}
	return true;
}

static bool
files_enough(unsigned connections)
{
	struct rlimit r;

	getrlimit(RLIMIT_NOFILE, &r);
	r.rlim_cur = connections + 64;
	if (r.rlim_max < r.rlim_cur)
		r.rlim_max = r.rlim_cur;
	if (setrlimit(RLIMIT_NOFILE, &r) == 0)
		return true;
	fprintf(stderr, "load: cannot open %u files: raise the limit with ulimit -n\n", connections);
	return false;
}

static bool
open_all(struct load *l)
{
	if (!files_enough(l->o.connections) || !address(l) ||
	    !load_credentials_open(&l->credentials, &l->o) ||
	    !load_template_read(&l->payload, l->o.payload))
		return false;
	l->protocol = l->o.mqtt ? &load_mqtt : &load_coap;
	l->conn = calloc(l->o.connections, sizeof *l->conn);
	l->queue = calloc(l->o.connections, sizeof *l->queue);
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (l->o.base_ms == 0)
		l->o.base_ms = (uint64_t)(time(NULL) - 600) * 1000;
	for (unsigned i = 0; l->conn != NULL && i < l->o.connections; i++) {
		l->conn[i].link.fd = -1;
		l->conn[i].seq = l->o.seq_first;
	}
	if (l->o.ledger != NULL && (l->ledger = fopen(l->o.ledger, "ae")) == NULL) {
		fprintf(stderr, "load: cannot write %s\n", l->o.ledger);
		return false;
	}
	return l->conn != NULL && l->queue != NULL && l->epoll >= 0;
}

static void
close_all(struct load *l)
{
	for (unsigned i = 0; i < l->next; i++) {
		struct load_conn *c = &l->conn[i];
		if (c->state == LOAD_READY)
			l->protocol->leave(l, c);
		if (c->state != LOAD_CLOSED)
			load_link_close(&c->link);
		free(c->frame.bytes);
		free(c->slot);
		free(c->free);
		free(c->pending);
	}
	if (l->ledger != NULL)
		fclose(l->ledger);
	close(l->epoll);
	free(l->conn);
	free(l->queue);
	free(l->payload.text);
	load_credentials_close(&l->credentials);
}

static volatile sig_atomic_t asked_to_end;

static void
on_end(int number)
{
	(void)number;
	asked_to_end = 1;
}

int
main(int argc, char **argv)
{
	static struct load l;

	load_options_parse(&l.o, argc, argv);
	if (!open_all(&l))
		return 2;
	l.now_ns = l.tick_ns = l.progress_ns = load_now_ns();
	l.at_start = load_server_sample(l.o.server_pid);
	enter(&l, LOAD_PHASE_CONNECT);
	signal(SIGTERM, on_end);
	while (l.phase != LOAD_PHASE_END && !asked_to_end)
		round_of_events(&l);
	if (l.to_ns == 0)
		l.to_ns = l.from_ns = l.now_ns;
	load_report(&l);
	bool good = l.total.acked > 0 && l.failed == 0 && l.total.lost == 0;
	close_all(&l);
	return good ? 0 : 1;
}
