// SPDX-License-Identifier: Apache-2.0
// Messages and tickets: from a connection's bytes to requests, and from what came back to answers. The door's thread.
#include "adapters/hl7/in.h"

#include "gateway/clock.h"

#include <stdlib.h>

enum { JUNK_MAX = 65536, UNSENT_MAX = 262144, BATCH_MOST = 256 };

// ---- Requests ----

static struct gw_hl7_request *
request_get(struct gw_hl7_door *door)
{
	struct gw_hl7_request *request = door->spare;

	if (request == NULL)
		return calloc(1, sizeof(*request));
	door->spare = request->next;
	request->next = NULL;
	return request;
}

static void
request_put(struct gw_hl7_door *door, struct gw_hl7_request *request)
{
	gw_hl7_request_reset(request);
	request->next = door->spare;
	door->spare = request;
}

// ---- Submitting ----

static void
lock(struct gw_hl7_door *door)
{
	if (!door->locked)
		gw_patients_lock(door->core->patients);
	door->locked = true;
}

void
gw_hl7_serve_submit(struct gw_hl7_door *door)
{
	struct gw_ticket *first = door->batch;

	door->batch = NULL;
	door->batch_end = &door->batch;
	door->batch_count = 0;
	if (first != NULL)
		gw_intake_submit_all(first);
	atomic_store_explicit(&door->seen_count, gw_hl7_seen_count(door->seen), memory_order_relaxed);
	if (door->locked)
		gw_patients_unlock(door->core->patients);
	door->locked = false;
}

// request: NULL where its outcome is that of another ticket.
static void
queue(struct gw_hl7_door *door, struct gw_hl7_conn *conn, struct gw_ticket *ticket, struct gw_hl7_request *request)
{
	ticket->owner = request;
	if (request != NULL) {
		request->owner = conn;
		conn->tickets++;
	}
	door->under_way++;
	ticket->next = NULL;
	*door->batch_end = ticket;
	door->batch_end = &ticket->next;
	door->batch_count++;
}

// ---- One message ----

// What the message needs: two tickets and a request, or nothing.
struct supplies {
	struct gw_ticket *ticket, *after;
	struct gw_hl7_request *request;
};

static bool
may_take(const struct gw_hl7_conn *conn)
{
	const struct gw_hl7_door *door = conn->door;

	return conn->tickets < door->settings.pending_of_one && conn->out.len <= UNSENT_MAX && !door->reload &&
	    door->under_way + 2 <= door->settings.pending_max;
}

static bool
supply(struct gw_hl7_conn *conn, struct supplies *s)
{
	struct gw_hl7_door *door = conn->door;

	*s = (struct supplies){ 0 };
	if (!may_take(conn))
		return false;
	s->ticket = gw_ticket_get(&door->source);
	s->after = s->ticket != NULL ? gw_ticket_get(&door->source) : NULL;
	s->request = s->after != NULL ? request_get(door) : NULL;
	if (s->request != NULL)
		return true;
	if (s->after != NULL)
		gw_ticket_release(s->after);
	if (s->ticket != NULL)
		gw_ticket_release(s->ticket);
	return false;
}

static void
take_message(struct gw_hl7_conn *conn, struct gw_span message, bool head, struct supplies *s)
{
	struct gw_hl7_door *door = conn->door;
	int64_t now_us = gw_clock_wall_us();

	if (head)
		gw_hl7_take_read_head(door->take, conn->peer, conn->proved, message, now_us);
	else
		gw_hl7_take_read(door->take, conn->peer, conn->proved, message, now_us);
	lock(door);
	if (gw_hl7_take_apply(door->take, s->request, s->ticket, s->after)) {
		queue(door, conn, s->ticket, NULL);
		queue(door, conn, s->after, s->request);
	} else {
		gw_ticket_release(s->after);
		queue(door, conn, s->ticket, s->request);
	}
	gw_hl7_count(&conn->counts->messages, 1);
	atomic_store_explicit(&conn->counts->last_us, now_us, memory_order_relaxed);
	if (door->batch_count >= BATCH_MOST) // others want the lock, too
		gw_hl7_serve_submit(door);
}

// ---- Framing ----

static void
wait_for_room(struct gw_hl7_conn *conn)
{
	struct gw_hl7_door *door = conn->door;

	conn->stalled = true;
	if (!conn->waits) {
		conn->waits = true;
		conn->waiting_next = NULL;
		*door->waiting_end = conn;
		door->waiting_end = &conn->waiting_next;
	}
	gw_hl7_conn_watch(conn);
}

static void
broken(struct gw_hl7_conn *conn, const char *words)
{
	gw_diag_limited(&conn->door->said_message, 1, GW_WARNING, "hl7_in.closed", "peer=%s from=%s: %s", conn->peer->name, conn->where, words);
	gw_hl7_conn_close(conn);
}

// To the end of a message that is too large.
static bool
skip_rest(struct gw_hl7_conn *conn, struct gw_span *in)
{
	const uint8_t *end = memchr(in->at, GW_HL7_MLLP_END, in->len);

	if (end == NULL) {
		*in = gw_span(in->at + in->len, 0);
		return false;
	}
	*in = gw_span(end + 1, in->len - (size_t)(end + 1 - in->at));
	conn->skipping = false;
	conn->frame_us = 0;
	return true;
}

// One larger than the limit: its beginning is enough to answer it; it is not taken whatever comes, so that is done at once.
static void
too_large(struct gw_hl7_conn *conn, struct gw_span head, struct supplies *s)
{
	head.len = head.len < GW_HL7_HEAD_BYTES ? head.len : GW_HL7_HEAD_BYTES;
	gw_hl7_count(&conn->counts->oversized, 1);
	conn->skipping = true;
	if (conn->frame_us == 0)
		conn->frame_us = conn->door->now_us;
	take_message(conn, head, true, s);
}

static void
release(struct gw_hl7_door *door, struct supplies *s)
{
	gw_ticket_release(s->ticket);
	gw_ticket_release(s->after);
	request_put(door, s->request);
}

static void
count_junk(struct gw_hl7_conn *conn)
{
	gw_hl7_count(&conn->counts->junk_bytes, conn->mllp.skipped - conn->junk);
	conn->junk = conn->mllp.skipped;
}

// One frame, or all bytes. False: no more now.
static bool
take_frame(struct gw_hl7_conn *conn, struct gw_span *in)
{
	struct gw_span message, before = gw_span(conn->mllp.buf, conn->mllp.len);
	struct supplies s;

	if (conn->skipping && !skip_rest(conn, in))
		return false;
	if (in->len == 0)
		return false;
	if (!supply(conn, &s)) {
		wait_for_room(conn);
		return false;
	}
	switch (gw_hl7_mllp_feed(&conn->mllp, in, &message)) {
	case GW_HL7_MLLP_FRAME:
		conn->frame_us = 0;
		conn->junk_before = conn->mllp.skipped;
		take_message(conn, message, false, &s);
		return true;
	case GW_HL7_MLLP_TOO_LARGE:
		too_large(conn, before.len > 0 ? before : *in, &s);
		return true;
	case GW_HL7_MLLP_MORE:
		break;
	}
	release(conn->door, &s);
	if (conn->mllp.inside && conn->frame_us == 0)
		conn->frame_us = conn->door->now_us;
	return false;
}

void
gw_hl7_serve_bytes(struct gw_hl7_conn *conn, struct gw_span bytes)
{
	struct gw_span in = bytes;

	if (!gw_hl7_conn_room(conn, bytes.len)) {
		broken(conn, "no memory for its message: hl7_in.memory_mb_max is reached");
		return;
	}
	while (take_frame(conn, &in))
		;
	count_junk(conn);
	gw_hl7_conn_shrink(conn);
	if ((in.len > 0 || conn->rest != NULL) && !gw_hl7_conn_keep(conn, in))
		broken(conn, "no memory for what it sent ahead: hl7_in.memory_mb_max is reached");
	else if (conn->mllp.skipped - conn->junk_before > JUNK_MAX)
		broken(conn, "it does not speak MLLP");
	else
		gw_hl7_serve_eof(conn);
}

void
gw_hl7_serve_eof(struct gw_hl7_conn *conn)
{
	if (conn->state == GW_HL7_SERVED && conn->eof && conn->tickets == 0 && conn->rest == NULL && conn->out.len == 0)
		gw_hl7_conn_close(conn);
}

// ---- Outcomes ----

static void
say(struct gw_hl7_door *door, const struct gw_hl7_conn *conn, const struct gw_hl7_request *request)
{
	if (request->kind != GW_HL7_REFUSED && request->kind != GW_HL7_LATER)
		return;
	pthread_mutex_lock(&door->lock);
	conn->counts->refused_us = gw_clock_wall_us();
	conn->counts->refused = request->why;
	pthread_mutex_unlock(&door->lock);
	gw_diag_limited(&door->said_message, 1, GW_WARNING, "hl7_in.message", "peer=%s from=%s: %s", request->peer->name, conn->where, request->why.text);
}

static void
answer(struct gw_hl7_conn *conn, const struct gw_hl7_request *request)
{
	struct gw_hl7_door *door = conn->door;

	gw_hl7_put_bytes(&conn->out, gw_span(request->answer.at, request->answer.len));
	if (conn->dirty)
		return;
	conn->dirty = true;
	conn->dirty_next = door->dirty;
	door->dirty = conn;
}

static void
request_done(struct gw_hl7_door *door, struct gw_hl7_request *request, enum gw_error result)
{
	struct gw_hl7_conn *conn = request->owner;
	bool reload, good = gw_hl7_take_done(door->take, request, result, &reload);

	conn->tickets--;
	door->reload |= reload;
	gw_hl7_count(&conn->counts->kinds[request->kind], 1);
	say(door, conn, request);
	if (conn->state == GW_HL7_CLOSED) {
		if (conn->tickets == 0 && !conn->dirty) {
			conn->dirty_next = door->dead;
			door->dead = conn;
		}
	} else if (!good) {
		gw_hl7_conn_close(conn);
	} else {
		answer(conn, request);
	}
	request_put(door, request);
}

// What is in memory and was not stored goes, when nothing is under way any more that was built on it.
static void
reload_patients(struct gw_hl7_door *door)
{
	if (!door->reload || door->under_way > 0)
		return;
	gw_diag_limited(&door->said_reload, 60, GW_WARNING, "hl7_in.reload", "a change was not stored: patients and associations are read again");
	(void)gw_patients_reload(door->core->patients);
	door->reload = false;
}

void
gw_hl7_serve_tickets(struct gw_hl7_door *door)
{
	struct gw_ticket *ticket = gw_source_take(&door->source), *next;

	for (; ticket != NULL; ticket = next) {
		struct gw_hl7_request *request = ticket->owner;
		enum gw_error result = ticket->result;

		next = ticket->next;
		door->under_way--;
		gw_ticket_release(ticket);
		if (request != NULL)
			request_done(door, request, result);
		else
			door->reload |= result != GW_OK;
	}
	atomic_store_explicit(&door->under_way_now, door->under_way, memory_order_relaxed);
	reload_patients(door);
}

// Those that have bytes and found no ticket, first come first served.
void
gw_hl7_serve_waiting(struct gw_hl7_door *door)
{
	struct gw_hl7_conn *list = door->waiting, *conn;

	door->waiting = NULL;
	door->waiting_end = &door->waiting;
	for (conn = list; conn != NULL; conn = conn->waiting_next)
		conn->waits = false;
	while ((conn = list) != NULL) {
		list = conn->waiting_next;
		if (!may_take(conn)) {
			wait_for_room(conn);
			continue;
		}
		conn->stalled = false;
		gw_hl7_serve_bytes(conn, gw_span(conn->rest, conn->rest_len));
		if (conn->state == GW_HL7_SERVED && !conn->eof)
			gw_hl7_conn_watch(conn);
	}
}

void
gw_hl7_serve_flush(struct gw_hl7_door *door)
{
	struct gw_hl7_conn *conn;

	while ((conn = door->dirty) != NULL) {
		door->dirty = conn->dirty_next;
		conn->dirty = false;
		if (conn->state == GW_HL7_CLOSED) {
			if (conn->tickets == 0) {
				conn->dirty_next = door->dead;
				door->dead = conn;
			}
			continue;
		}
		if (conn->out.failed || !gw_hl7_conn_flush(conn))
			gw_hl7_conn_close(conn);
		else
			gw_hl7_serve_eof(conn);
	}
}
