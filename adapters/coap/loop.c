// SPDX-License-Identifier: Apache-2.0
// The thread's loop: datagrams, tickets that are back, late answers, changes of the registry, uploads that stopped. It ends when it was asked to and
// every request under way is answered, or a while later; every session then gets its close_notify.
#include "adapters/coap/coap.h"

#include "gateway/clock.h"

#include <poll.h>
#include <sys/epoll.h>
#include <unistd.h>

#define EVENTS 4
#define SPARE_TICKETS 256           // libcoap reads up to 64 datagrams of an endpoint in one go
#define TURN_MS_MAX 500             // a disabled device's session is closed within a second
#define SWEEP_US INT64_C(5000000)
#define STOP_US_MAX INT64_C(2000000) // main waits longer than this

void
gw_coap_queue(struct gw_coap *coap, struct gw_ticket *ticket)
{
	ticket->next = NULL;
	*coap->batch_end = ticket;
	coap->batch_end = &ticket->next;
}

static void
submit_batch(struct gw_coap *coap)
{
	struct gw_ticket *first = coap->batch;

	coap->batch = NULL;
	coap->batch_end = &coap->batch;
	if (first != NULL)
		gw_intake_submit_all(first); // together: one wake-up, one group
}

static int
turn_ms(int late_ms)
{
	return late_ms >= 0 && late_ms < TURN_MS_MAX ? late_ms : TURN_MS_MAX;
}

static void
read_stop(struct gw_coap *coap)
{
	uint64_t count;

	if (read(coap->stop_fd, &count, sizeof(count)) == (ssize_t)sizeof(count))
		coap->stopping = true;
}

static void
sweep(struct gw_coap *coap)
{
	size_t lost;

	if (coap->now_us - coap->swept_us < SWEEP_US)
		return;
	coap->swept_us = coap->now_us;
	lost = gw_coap_uploads_expire(&coap->uploads, coap->now_us);
	gw_coap_add(&coap->counts.uploads_lost, lost);
	atomic_store_explicit(&coap->counts.uploads_now, coap->uploads.count, memory_order_relaxed);
}

// Few tickets are left: datagrams wait in the socket until some are back, so that a burst is slowed down and not refused.
static bool
is_crowded(const struct gw_coap *coap)
{
	size_t max = (size_t)coap->config->coap_tickets_max, spare = max / 2 < SPARE_TICKETS ? max / 2 : SPARE_TICKETS;

	return coap->tickets_out + spare > max;
}

// Not with epoll, which would tell of the datagrams again and again.
static int
wait_for_tickets_or_stop(struct gw_coap *coap, struct epoll_event events[2], int timeout_ms)
{
	struct pollfd fds[2] = { { .fd = coap->stop_fd, .events = POLLIN }, { .fd = coap->source.event_fd, .events = POLLIN } };
	int count = 0;

	gw_coap_add(&coap->counts.pauses, 1);
	if (poll(fds, 2, timeout_ms) > 0)
		for (int i = 0; i < 2; i++)
			if (fds[i].revents != 0)
				events[count++].data.fd = fds[i].fd;
	return count;
}

static int
wait_for_work(struct gw_coap *coap, struct epoll_event events[EVENTS])
{
	int timeout_ms = turn_ms(gw_coap_answer_late(coap));
	int count;

	if (is_crowded(coap))
		return wait_for_tickets_or_stop(coap, events, timeout_ms);
	count = epoll_wait(coap->epoll_fd, events, EVENTS, timeout_ms);
	return count > 0 ? count : 0;
}

static void
turn(struct gw_coap *coap, const struct epoll_event *events, int count)
{
	bool io = false;

	coap->now_us = gw_clock_mono_us();
	for (int i = 0; i < count; i++) {
		if (events[i].data.fd == coap->stop_fd)
			read_stop(coap);
		else if (events[i].data.fd != coap->source.event_fd)
			io = true;
	}
	if (io)
		coap_io_process(coap->context, COAP_IO_NO_WAIT);
	submit_batch(coap);
	gw_coap_answer_done(coap);
	gw_coap_sessions_check(coap);
	gw_coap_sessions_reap(coap);
	submit_batch(coap); // what closing and checking left
	sweep(coap);
	atomic_store_explicit(&coap->counts.under_way, coap->under_way, memory_order_relaxed);
}

// Tickets that are not back yet belong to the journal's thread: whatever they wait for, they come back.
static void
wait_for_tickets(struct gw_coap *coap)
{
	while (coap->tickets_out > 0) {
		struct pollfd back = { .fd = coap->source.event_fd, .events = POLLIN };
		poll(&back, 1, -1);
		gw_coap_answer_done(coap);
	}
}

void *
gw_coap_loop(void *arg)
{
	struct gw_coap *coap = arg;
	struct epoll_event events[EVENTS];
	int64_t give_up_us = 0;

	pthread_setname_np(pthread_self(), "vg-coap");
	coap->now_us = gw_clock_mono_us();
	while (!coap->stopping || (coap->under_way > 0 && coap->now_us < give_up_us)) {
		int count = wait_for_work(coap, events);
		turn(coap, events, count);
		if (coap->stopping && give_up_us == 0)
			give_up_us = coap->now_us + STOP_US_MAX;
	}
	gw_coap_answer_none(coap);
	gw_coap_context_close(coap);
	submit_batch(coap);
	wait_for_tickets(coap);
	return NULL;
}
