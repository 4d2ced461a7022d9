// SPDX-License-Identifier: Apache-2.0
// A serving thread. A round reads top to bottom: sockets are read and their messages become tickets; all of them are submitted; tickets that came
// back are answered; what is to be sent is sent, one TLS record and one system call a connection. Nothing here allocates or locks for a message.
#include "adapters/mqtt/serve.h"

#include "adapters/mqtt/answer.h"
#include "gateway/clock.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { EVENTS = 512, TICK_MS = 500, STOP_S = 10 };

// Kinds of tickets beside the link's.
enum { PASS_ARRIVE = 100, PASS_LEAVE };

void
gw_mqtt_wake(int event_fd)
{
	uint64_t one = 1;

	(void)!write(event_fd, &one, sizeof(one));
}

void
gw_mqtt_worker_wake(struct gw_mqtt_worker *worker)
{
	gw_mqtt_wake(worker->wake_fd);
}

// ---- Ending ----

static void
unlink_conn(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn)
{
	if (conn->prev != NULL)
		conn->prev->next = conn->next;
	else
		worker->conns = conn->next;
	if (conn->next != NULL)
		conn->next->prev = conn->prev;
	conn->prev = conn->next = NULL;
}

static void
unlink_starved(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn)
{
	struct gw_mqtt_conn **at = &worker->starved;

	if (!conn->starved)
		return;
	while (*at != conn)
		at = &(*at)->starved_next;
	*at = conn->starved_next;
	if (*at == NULL)
		worker->starved_end = at;
	conn->starved = false;
}

// Nothing of it is under way any more: the session is free, the connection goes at the end of the round.
static void
release(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn)
{
	struct gw_mqtt_will *will = conn->link.graceful || worker->stop_us != 0 ? NULL : conn->will;

	if (will != NULL)
		conn->will = NULL;
	gw_mqtt_sessions_release(conn->mqtt->sessions, conn->link.session, will);
	conn->link.session = NULL;
	conn->starved_next = worker->dead; // in the list of dirty ones it stays: others come behind it there
	worker->dead = conn;
}

// The session's row learns when it ended, or goes. Without a ticket now: at a later round.
static void
leave(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn)
{
	static const struct gw_mqtt_pass pass = { PASS_LEAVE, 0, 0, 0 };
	struct gw_mqtt_session *session = conn->link.session;
	struct gw_ticket *ticket;

	if (!session->stored || worker->stop_us != 0) {
		release(worker, conn);
		return;
	}
	ticket = gw_mqtt_ticket_get(worker, conn, &pass);
	if (ticket == NULL) {
		conn->inbox_next = worker->leaving;
		worker->leaving = conn;
		return;
	}
	session->ended_us = gw_clock_wall_us();
	ticket->essential = true;
	if (session->durable && session->expiry_s != 0)
		ticket->verdict = gw_mqtt_session_put(ticket, session);
	else
		ticket->verdict = gw_mqtt_session_drop(ticket, session);
	conn->leaving = true;
	gw_mqtt_ticket_queue(worker, conn, ticket);
}

static void
end(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn)
{
	if (conn->state == GW_MQTT_ENDING)
		return;
	conn->state = GW_MQTT_ENDING;
	if (conn->out_len > 0 && !conn->eof)
		(void)gw_mqtt_conn_flush(conn);
	gw_mqtt_conn_shut(conn);
	conn->link.closed = true;
	unlink_starved(worker, conn);
	unlink_conn(worker, conn);
	atomic_fetch_sub(&worker->load, 1);
	if (conn->link.reason != GW_MQTT_SUCCESS)
		gw_diag(GW_INFO, "mqtt.closed", "peer=%s principal=%s reason=0x%02x", conn->peer, conn->principal, conn->link.reason);
	else
		gw_diag(GW_DEBUG, "mqtt.closed", "peer=%s principal=%s graceful=%d", conn->peer, conn->principal, conn->link.graceful);
	if (conn->tickets == 0)
		leave(worker, conn);
}

static void
end_with(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn, uint8_t reason)
{
	if (conn->state == GW_MQTT_ENDING)
		return;
	(void)gw_mqtt_link_end(&conn->link, reason, NULL);
	end(worker, conn);
}

// ---- Input ----

static void
stall(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn)
{
	conn->stalled = true;
	if (worker->no_ticket && !conn->starved) {
		conn->starved = true;
		conn->starved_next = NULL;
		*worker->starved_end = conn;
		worker->starved_end = &conn->starved_next;
	}
	worker->no_ticket = false;
	gw_mqtt_conn_watch(conn);
}

// Takes whole packets; returns how many bytes they were. step: why it stopped.
static size_t
take_packets(struct gw_mqtt_conn *conn, const uint8_t *bytes, size_t len, enum gw_mqtt_step *step)
{
	struct gw_mqtt_frame frame;
	size_t at = 0;

	for (*step = GW_MQTT_NEXT; *step == GW_MQTT_NEXT; at += *step == GW_MQTT_NEXT ? frame.size : 0) {
		switch (gw_mqtt_frame(gw_span(bytes + at, len - at), conn->mqtt->limits.packet_bytes_max, &frame)) {
		case GW_MQTT_MORE: return at;
		case GW_MQTT_BROKEN: *step = gw_mqtt_link_end(&conn->link, GW_MQTT_MALFORMED, NULL); return at;
		case GW_MQTT_OVERSIZE: *step = gw_mqtt_link_end(&conn->link, GW_MQTT_TOO_LARGE, NULL); return at;
		case GW_MQTT_WHOLE: *step = gw_mqtt_link_packet(&conn->link, &frame); break;
		}
	}
	return at;
}

static void
process(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn, const uint8_t *bytes, size_t len)
{
	enum gw_mqtt_step step;
	size_t used;

	worker->wall_us = gw_clock_wall_us();
	used = take_packets(conn, bytes, len, &step);
	if (step == GW_MQTT_CLOSE || (conn->eof && step == GW_MQTT_NEXT)) {
		end(worker, conn);
		return;
	}
	if ((used < len || conn->in != NULL) && !gw_mqtt_conn_keep(conn, bytes + used, len - used)) {
		end_with(worker, conn, GW_MQTT_QUOTA);
		return;
	}
	if (step == GW_MQTT_AGAIN)
		stall(worker, conn);
}

static void
readable(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn)
{
	bool open = gw_mqtt_conn_read(conn);

	conn->heard_us = worker->now_us;
	if (open && conn->io->plain_len == conn->in_len)
		return;
	process(worker, conn, conn->io->plain, conn->io->plain_len);
}

// What was kept while there was no room.
static void
resume(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn)
{
	size_t len = conn->in_len;

	if (worker->stop_us != 0)
		return;
	conn->stalled = false;
	conn->heard_us = worker->now_us;
	memcpy(worker->io.plain, conn->in, len);
	process(worker, conn, worker->io.plain, len);
	if (conn->state == GW_MQTT_SERVED)
		gw_mqtt_conn_watch(conn);
}

static void
on_event(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn, uint32_t events)
{
	if (conn->state != GW_MQTT_SERVED)
		return;
	if (conn->blocked) {
		if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0 && !gw_mqtt_conn_flush(conn))
			end(worker, conn);
		return;
	}
	if (conn->stalled) { // only errors are told then; what came before is taken all the same
		conn->eof = true;
		(void)epoll_ctl(conn->epoll, EPOLL_CTL_DEL, conn->fd, NULL);
		return;
	}
	readable(worker, conn);
}

// ---- Outcomes ----

static void
count_outcome(struct gw_mqtt_worker *worker, const struct gw_ticket *ticket, const struct gw_mqtt_pass *pass)
{
	enum gw_error error = gw_mqtt_outcome(ticket->result, ticket->verdict);

	if (pass->kind != GW_MQTT_PASS_MESSAGE)
		return;
	if (error == GW_OK) {
		gw_mqtt_add(&worker->counts.acked, 1);
		return;
	}
	gw_mqtt_add(&worker->counts.refused, 1);
	if ((unsigned)error < GW_ERROR_COUNT)
		gw_mqtt_add(&worker->counts.by_error[error], 1);
}

static enum gw_mqtt_step
arrive_done(struct gw_mqtt_conn *conn, enum gw_error error)
{
	if (error == GW_OK)
		return GW_MQTT_NEXT;
	conn->link.session->stored = false;
	return gw_mqtt_link_end(&conn->link, gw_mqtt_answer(error).disconnect, gw_error_text(error));
}

static void
ticket_done(struct gw_mqtt_worker *worker, struct gw_ticket *ticket)
{
	struct gw_mqtt_conn *conn = ticket->owner;
	struct gw_mqtt_pass pass = gw_mqtt_pass_of(ticket);
	enum gw_error error = gw_mqtt_outcome(ticket->result, ticket->verdict);
	enum gw_mqtt_step step = GW_MQTT_NEXT;

	conn->tickets--;
	count_outcome(worker, ticket, &pass);
	if (pass.kind == PASS_LEAVE)
		conn->link.session->stored = error != GW_OK || (conn->link.session->durable && conn->link.session->expiry_s != 0);
	else if (pass.kind == PASS_ARRIVE)
		step = arrive_done(conn, error);
	else
		step = gw_mqtt_link_done(&conn->link, &pass, ticket->result, ticket->verdict, &ticket->why);
	gw_ticket_release(ticket);
	if (conn->state == GW_MQTT_ENDING) {
		if (conn->tickets == 0 && conn->leaving)
			release(worker, conn);
		else if (conn->tickets == 0)
			leave(worker, conn);
	} else if (step == GW_MQTT_CLOSE) {
		end(worker, conn);
	} else if (conn->stalled && !conn->starved && !conn->resumed) {
		conn->resumed = true;
		conn->resumed_next = NULL;
		*worker->resumed_end = conn;
		worker->resumed_end = &conn->resumed_next;
	}
}

// Once for all of its tickets that came back together, not once for each.
static void
resume_all(struct gw_mqtt_worker *worker)
{
	struct gw_mqtt_conn *conn, *list = worker->resumed;

	worker->resumed = NULL;
	worker->resumed_end = &worker->resumed;
	while ((conn = list) != NULL) {
		list = conn->resumed_next;
		conn->resumed = false;
		if (conn->state == GW_MQTT_SERVED && conn->stalled && !conn->starved)
			resume(worker, conn);
	}
}

static void
take_tickets(struct gw_mqtt_worker *worker)
{
	struct gw_ticket *ticket, *next;
	uint64_t count = 0;

	if (!worker->told && atomic_load_explicit(&worker->source.done, memory_order_relaxed) == NULL)
		return; // spares a system call
	worker->told = false;
	ticket = gw_source_take(&worker->source);
	for (; ticket != NULL; ticket = next) {
		next = ticket->next;
		ticket_done(worker, ticket);
		count++;
	}
	resume_all(worker);
	gw_mqtt_add(&worker->counts.tickets, count);
}

// Those whom a ticket was missing, first come first served, until one finds none again.
static void
feed_starved(struct gw_mqtt_worker *worker)
{
	struct gw_mqtt_conn *conn;
	bool again = false;

	while ((conn = worker->starved) != NULL && !again) {
		unlink_starved(worker, conn);
		resume(worker, conn);
		again = conn->starved;
	}
}

// ---- Arrivals ----

// A device that was disabled, removed, or made anew has no business here any more, nor has a key that another took the place of.
static bool
is_registered(const struct gw_snapshot *snapshot, const struct gw_mqtt_conn *conn)
{
	const struct gw_device *device = gw_snapshot_device(snapshot, gw_span_text(conn->principal));

	if (device == NULL || device->disabled || device->created_us != conn->principal_created_us)
		return false;
	return device->changed_us == conn->principal_changed_us || gw_device_proves(device, conn->auth, conn->proof);
}

// What this thread saw of the registry may be newer than what admission saw; it looks at its connections only when that changes.
static bool
arrives_too_late(const struct gw_mqtt_worker *worker, const struct gw_mqtt_conn *conn)
{
	const struct gw_snapshot *snapshot;
	bool late;

	if (conn->generation == worker->generation)
		return false;
	snapshot = gw_snapshot_get(worker->mqtt->core->registry);
	late = !is_registered(snapshot, conn);
	gw_snapshot_put(snapshot);
	return late;
}

// Rows of a lasting session are on their way before any of its frames.
static bool
store_session(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn)
{
	static const struct gw_mqtt_pass pass = { PASS_ARRIVE, 0, 0, 0 };
	struct gw_mqtt_session *session = conn->link.session;
	struct gw_ticket *ticket;

	if (!session->purge && !session->durable && !session->stored)
		return true;
	ticket = gw_mqtt_ticket_get(worker, conn, &pass);
	if (ticket == NULL)
		return false;
	ticket->essential = true;
	if (session->purge || !session->durable)
		ticket->verdict = gw_mqtt_session_drop(ticket, session);
	if (session->durable && ticket->verdict == GW_OK)
		ticket->verdict = gw_mqtt_session_put(ticket, session);
	session->purge = false;
	session->stored = session->durable;
	gw_mqtt_ticket_queue(worker, conn, ticket);
	return true;
}

static void
send_connack(struct gw_mqtt_conn *conn)
{
	uint8_t packet[640];

	gw_mqtt_conn_write(conn, packet, gw_mqtt_write_connack(conn->link.version, conn->connack, packet, sizeof(packet)));
	free(conn->connack);
	free(conn->assigned_id);
	conn->connack = NULL;
	conn->assigned_id = NULL;
}

static bool
serve(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn)
{
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = conn };

	if (!store_session(worker, conn))
		return false;
	conn->state = GW_MQTT_SERVED;
	conn->worker = worker;
	conn->io = &worker->io;
	conn->epoll = worker->epoll;
	conn->events = EPOLLIN;
	conn->heard_us = worker->now_us;
	conn->prev = NULL;
	conn->next = worker->conns;
	if (conn->next != NULL)
		conn->next->prev = conn;
	worker->conns = conn;
	conn->link.host = &gw_mqtt_serving_host;
	conn->link.arg = conn;
	send_connack(conn);
	gw_mqtt_add(&worker->counts.connections, 1);
	if (epoll_ctl(worker->epoll, EPOLL_CTL_ADD, conn->fd, &event) != 0)
		end(worker, conn);
	else if (conn->kicked != 0)
		end_with(worker, conn, conn->kicked);
	else if (arrives_too_late(worker, conn))
		end_with(worker, conn, GW_MQTT_ADMINISTRATIVE);
	else if (conn->in_len > 0)
		resume(worker, conn);
	return true;
}

static void
take_inbox(struct gw_mqtt_worker *worker)
{
	struct gw_mqtt_conn **end_of = &worker->arrived, *conn;

	pthread_mutex_lock(&worker->inbox_lock);
	while (*end_of != NULL)
		end_of = &(*end_of)->inbox_next;
	while ((conn = worker->inbox) != NULL) { // newest first there
		worker->inbox = conn->inbox_next;
		conn->inbox_next = *end_of;
		*end_of = conn;
	}
	pthread_mutex_unlock(&worker->inbox_lock);
}

static void
serve_arrived(struct gw_mqtt_worker *worker)
{
	struct gw_mqtt_conn *conn;

	while ((conn = worker->arrived) != NULL) {
		struct gw_mqtt_conn *next = conn->inbox_next;

		if (!serve(worker, conn))
			return;
		worker->arrived = next;
	}
}

static void
try_leaving(struct gw_mqtt_worker *worker)
{
	struct gw_mqtt_conn *conn, *list = worker->leaving;

	worker->leaving = NULL;
	while ((conn = list) != NULL) {
		list = conn->inbox_next;
		leave(worker, conn);
	}
}

void
gw_mqtt_worker_give(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn)
{
	atomic_fetch_add(&worker->load, 1);
	pthread_mutex_lock(&worker->inbox_lock);
	conn->inbox_next = worker->inbox;
	worker->inbox = conn;
	pthread_mutex_unlock(&worker->inbox_lock);
	gw_mqtt_worker_wake(worker);
}

// ---- Housekeeping ----

static void
end_kicked(struct gw_mqtt_worker *worker)
{
	struct gw_mqtt_conn *conn = worker->conns, *next;

	for (; conn != NULL; conn = next) {
		next = conn->next;
		if (conn->kicked != 0)
			end_with(worker, conn, conn->kicked);
	}
}

static void
check_registry(struct gw_mqtt_worker *worker)
{
	struct gw_registry *registry = worker->mqtt->core->registry;
	struct gw_mqtt_conn *conn = worker->conns, *next;
	const struct gw_snapshot *snapshot;

	if (gw_registry_generation(registry) == worker->generation)
		return;
	snapshot = gw_snapshot_get(registry);
	worker->generation = gw_snapshot_generation(snapshot);
	for (; conn != NULL; conn = next) {
		next = conn->next;
		if (!is_registered(snapshot, conn))
			end_with(worker, conn, GW_MQTT_ADMINISTRATIVE);
	}
	gw_snapshot_put(snapshot);
}

static void
check_keep_alive(struct gw_mqtt_worker *worker)
{
	struct gw_mqtt_conn *conn = worker->conns, *next;

	for (; conn != NULL; conn = next) {
		next = conn->next;
		if (conn->stalled) // we do not listen: not its fault
			conn->heard_us = worker->now_us;
		else if (worker->now_us - conn->heard_us > conn->keep_alive_s * INT64_C(1500000))
			end_with(worker, conn, GW_MQTT_KEEP_ALIVE);
	}
}

// On record, as a refusal of what was let in before.
static void
tell_lapsed(const struct gw_mqtt_conn *conn, enum gw_refused why)
{
	struct gw_attempt attempt = { .door = GW_DOOR_MQTT, .auth = GW_AUTH_CERTIFICATE, .protocol = GW_PROTOCOL_MQTTS, .reason = why, .peer = conn->at,
		.device = gw_span_text(conn->principal) };
	struct gw_tls_identity identity;

	gw_tls_identity(conn->tls, &identity);
	attempt.claimed = gw_span_text(identity.name);
	gw_refusals_tell(conn->mqtt->core->refusals, &attempt);
}

// What a certificate proved must go on being so: it may have expired, or other files been taken up since.
static void
check_certificates(struct gw_mqtt_worker *worker)
{
	struct gw_mqtt_conn *conn = worker->conns, *next;
	int64_t now_s = gw_clock_wall_us() / 1000000;
	enum gw_refused why;

	for (; conn != NULL; conn = next) {
		next = conn->next;
		if ((why = gw_tls_lapsed(conn->tls, now_s)) == GW_REFUSED_NONE)
			continue;
		tell_lapsed(conn, why);
		end_with(worker, conn, GW_MQTT_ADMINISTRATIVE);
	}
}

static void
tick(struct gw_mqtt_worker *worker)
{
	if (worker->now_us < worker->tick_us)
		return;
	worker->tick_us = worker->now_us + TICK_MS * 1000;
	check_keep_alive(worker);
	check_certificates(worker);
}

static void
flush_dirty(struct gw_mqtt_worker *worker)
{
	struct gw_mqtt_conn *conn;

	while ((conn = worker->dirty) != NULL) {
		worker->dirty = conn->dirty_next;
		conn->dirty = false;
		if (conn->state != GW_MQTT_SERVED)
			continue;
		if (conn->eof || (!conn->blocked && !gw_mqtt_conn_flush(conn)))
			end(worker, conn);
	}
}

static void
bury(struct gw_mqtt_worker *worker)
{
	struct gw_mqtt_conn *conn;

	while ((conn = worker->dead) != NULL) {
		worker->dead = conn->starved_next;
		gw_mqtt_conn_free(conn);
	}
}

// Stopping: what is under way is committed and answered first, then everybody is told.
static bool
stopped(struct gw_mqtt_worker *worker)
{
	if (!atomic_load_explicit(&worker->mqtt->door_closed, memory_order_acquire))
		return false;
	if (worker->stop_us == 0)
		worker->stop_us = worker->now_us + STOP_S * INT64_C(1000000);
	take_inbox(worker);
	for (struct gw_mqtt_conn *conn = worker->conns, *next; conn != NULL; conn = next) {
		next = conn->next;
		if (conn->tickets == 0 || worker->now_us > worker->stop_us)
			end_with(worker, conn, GW_MQTT_SHUTTING_DOWN);
		else
			stall(worker, conn);
	}
	flush_dirty(worker);
	bury(worker);
	return worker->conns == NULL && worker->arrived == NULL && worker->leaving == NULL;
}

static void
dispatch(struct gw_mqtt_worker *worker, const struct epoll_event *events, int count)
{
	uint64_t ignored;

	for (int i = 0; i < count; i++) {
		void *who = events[i].data.ptr;

		if (who == &worker->source) {
			worker->told = true; // taken after all sockets: group commits grow with what is read first
		} else if (who == worker) {
			(void)!read(worker->wake_fd, &ignored, sizeof(ignored));
			take_inbox(worker);
			end_kicked(worker);
		} else {
			on_event(worker, who, events[i].events);
		}
	}
}

static void
settle(struct gw_mqtt_worker *worker)
{
	gw_mqtt_tickets_submit(worker);
	take_tickets(worker);
	feed_starved(worker);
	serve_arrived(worker);
	try_leaving(worker);
	tick(worker);
	flush_dirty(worker);
	gw_mqtt_tickets_submit(worker);
	bury(worker);
}

// What is still with the writer comes back: the source may go only then.
static void
wait_for_tickets(struct gw_mqtt_worker *worker, struct epoll_event *events)
{
	while (worker->source.tickets > 0) {
		struct gw_ticket *ticket = worker->source.free;
		uint32_t home = 0;

		for (; ticket != NULL; ticket = ticket->next)
			home++;
		if (home == worker->source.tickets)
			return;
		(void)epoll_wait(worker->epoll, events, EVENTS, 100);
		settle(worker);
	}
}

static void *
run(void *arg)
{
	struct gw_mqtt_worker *worker = arg;
	struct epoll_event events[EVENTS];
	int count;

	for (;;) {
		count = epoll_wait(worker->epoll, events, EVENTS, TICK_MS);
		worker->now_us = gw_clock_mono_us();
		gw_mqtt_add(&worker->counts.rounds, 1);
		check_registry(worker); // before any packet is taken
		dispatch(worker, events, count);
		settle(worker);
		if (stopped(worker))
			break;
	}
	wait_for_tickets(worker, events);
	return NULL;
}

// ---- Start and end ----

static enum gw_error
open_worker(struct gw_mqtt_worker *worker, struct gw_why *why)
{
	struct gw_core *core = worker->mqtt->core;
	struct gw_line_options line = { .registry = core->registry, .profiles = core->profiles, .refusals = core->refusals,
		.refused_claims_per_min = (uint32_t)core->config->store_refused_claims_per_min,
		.payload_bytes_max = worker->mqtt->limits.packet_bytes_max };
	struct epoll_event wake = { .events = EPOLLIN, .data.ptr = worker }, done = { .events = EPOLLIN, .data.ptr = &worker->source };
	enum gw_error error;

	worker->line = gw_line_new(&line);
	if (worker->line == NULL || !gw_mqtt_io_init(&worker->io, worker->mqtt->limits.packet_bytes_max))
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	worker->epoll = epoll_create1(EPOLL_CLOEXEC);
	worker->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (worker->epoll < 0 || worker->wake_fd < 0)
		return gw_fail(why, GW_E_SYSTEM, "%s", strerror(errno));
	error = gw_source_init(&worker->source, core->intake, worker->mqtt->tickets_max);
	if (error != GW_OK)
		return gw_fail(why, error, "%s", strerror(errno));
	if (epoll_ctl(worker->epoll, EPOLL_CTL_ADD, worker->wake_fd, &wake) != 0 ||
	    epoll_ctl(worker->epoll, EPOLL_CTL_ADD, worker->source.event_fd, &done) != 0)
		return gw_fail(why, GW_E_SYSTEM, "%s", strerror(errno));
	return GW_OK;
}

static void
close_worker(struct gw_mqtt_worker *worker)
{
	if (worker->source.intake != NULL)
		gw_source_fini(&worker->source);
	if (worker->wake_fd >= 0)
		close(worker->wake_fd);
	if (worker->epoll >= 0)
		close(worker->epoll);
	gw_mqtt_io_fini(&worker->io);
	gw_line_free(worker->line);
	pthread_mutex_destroy(&worker->inbox_lock);
}

enum gw_error
gw_mqtt_worker_start(struct gw_mqtt_worker *worker, struct gw_mqtt *mqtt, unsigned number, struct gw_why *why)
{
	enum gw_error error;
	char name[16];
	int rc;

	worker->mqtt = mqtt;
	worker->number = number;
	worker->epoll = worker->wake_fd = -1;
	worker->batch_end = &worker->batch;
	worker->starved_end = &worker->starved;
	worker->resumed_end = &worker->resumed;
	pthread_mutex_init(&worker->inbox_lock, NULL);
	error = open_worker(worker, why);
	if (error == GW_OK && (rc = pthread_create(&worker->thread, NULL, run, worker)) != 0)
		error = gw_fail(why, GW_E_SYSTEM, "no thread: %s", strerror(rc));
	if (error != GW_OK) {
		close_worker(worker);
		return error;
	}
	snprintf(name, sizeof(name), "vg-mqtt-%u", number);
	pthread_setname_np(worker->thread, name);
	return GW_OK;
}

void
gw_mqtt_worker_join(struct gw_mqtt_worker *worker)
{
	pthread_join(worker->thread, NULL);
	close_worker(worker);
}
