// SPDX-License-Identifier: Apache-2.0
// A connection's bytes: read once a round, written once a round. The door's thread.
#include "adapters/hl7/in.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER_LEAST = 4096, BUFFER_KEPT = 16384 };

// ---- Life ----

struct gw_hl7_conn *
gw_hl7_conn_new(struct gw_hl7_door *door, int fd, bool tls)
{
	struct gw_hl7_conn *conn = calloc(1, sizeof(*conn));

	if (conn == NULL)
		goto fail;
	if (tls && (conn->tls = gw_tls_conn_new(door->tls, fd)) == NULL)
		goto fail;
	conn->door = door;
	conn->fd = fd;
	conn->state = tls ? GW_HL7_SHAKING : GW_HL7_SERVED;
	conn->events = EPOLLIN;
	conn->began_us = conn->heard_us = door->now_us;
	conn->prev = door->last;
	if (door->last != NULL)
		door->last->next = conn;
	else
		door->first = conn;
	door->last = conn;
	atomic_fetch_add(&door->connections, 1);
	return conn;

fail:
	free(conn);
	close(fd);
	return NULL;
}

static void
set_memory(struct gw_hl7_conn *conn, size_t before, size_t now)
{
	conn->door->memory_bytes += now;
	conn->door->memory_bytes -= before;
}

static void
leave_lists(struct gw_hl7_conn *conn)
{
	struct gw_hl7_door *door = conn->door;

	if (conn->prev != NULL)
		conn->prev->next = conn->next;
	else
		door->first = conn->next;
	if (conn->next != NULL)
		conn->next->prev = conn->prev;
	else
		door->last = conn->prev;
	if (conn->waits) {
		struct gw_hl7_conn **at = &door->waiting;

		while (*at != conn)
			at = &(*at)->waiting_next;
		if ((*at = conn->waiting_next) == NULL)
			door->waiting_end = at;
		conn->waits = false;
	}
}

void
gw_hl7_conn_close(struct gw_hl7_conn *conn)
{
	struct gw_hl7_door *door = conn->door;

	if (conn->state == GW_HL7_CLOSED)
		return;
	if (conn->tls != NULL && !conn->blocked && !conn->eof)
		gw_tls_bye(conn->tls);
	if (conn->peer != NULL)
		atomic_fetch_sub(&conn->counts->connections, 1);
	else
		gw_crowd_leave(&door->strangers, gw_span(&conn->from, sizeof(conn->from)));
	leave_lists(conn);
	conn->state = GW_HL7_CLOSED;
	shutdown(conn->fd, SHUT_WR);
	close(conn->fd);
	conn->fd = -1;
	if (conn->tickets == 0 && !conn->dirty) {
		conn->dirty_next = door->dead;
		door->dead = conn;
	}
}

void
gw_hl7_conn_free(struct gw_hl7_conn *conn)
{
	set_memory(conn, conn->mllp.cap + conn->rest_len, 0);
	atomic_fetch_sub(&conn->door->connections, 1);
	gw_tls_conn_free(conn->tls);
	gw_hl7_out_fini(&conn->out);
	free(conn->mllp.buf);
	free(conn->rest);
	free(conn);
}

void
gw_hl7_conn_watch(struct gw_hl7_conn *conn)
{
	struct epoll_event event = { .data.ptr = conn };

	event.events = (conn->blocked ? EPOLLOUT : 0) | (conn->stalled || conn->eof || (conn->blocked && conn->tls != NULL) ? 0 : EPOLLIN);
	if (event.events != conn->events && epoll_ctl(conn->door->epoll, EPOLL_CTL_MOD, conn->fd, &event) == 0)
		conn->events = event.events;
}

// ---- In ----

static size_t
read_tls(struct gw_hl7_conn *conn, bool turn)
{
	struct gw_hl7_door *door = conn->door;
	enum gw_tls_step step;
	size_t at = 0, len;

	if (turn)
		gw_tls_turn(conn->tls, &door->ahead);
	do {
		step = gw_tls_read(conn->tls, door->plain + at, GW_HL7_PLAIN_BYTES - at, &len);
		at += len;
	} while (step == GW_TLS_DONE && at < GW_HL7_PLAIN_BYTES);
	conn->eof = step == GW_TLS_CLOSED || step == GW_TLS_FAILED;
	return at;
}

static size_t
read_plain(struct gw_hl7_conn *conn)
{
	ssize_t n = recv(conn->fd, conn->door->plain, GW_HL7_READ_BYTES, 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	conn->eof = n <= 0;
	return n > 0 ? (size_t)n : 0;
}

size_t
gw_hl7_conn_read(struct gw_hl7_conn *conn, bool turn)
{
	return conn->tls != NULL ? read_tls(conn, turn) : read_plain(conn);
}

// ---- Buffers ----

bool
gw_hl7_conn_room(struct gw_hl7_conn *conn, size_t len)
{
	struct gw_hl7_door *door = conn->door;
	size_t max = door->settings.message_bytes_max, need = conn->mllp.len + len, cap = conn->mllp.cap > 0 ? conn->mllp.cap : BUFFER_LEAST;
	uint8_t *buf;

	if (need > max)
		need = max;
	while (cap < need)
		cap *= 2;
	if (cap > max)
		cap = max;
	if (cap == conn->mllp.cap)
		return true;
	if (door->memory_bytes + cap - conn->mllp.cap > door->settings.memory_bytes_max || (buf = realloc(conn->mllp.buf, cap)) == NULL)
		return false;
	set_memory(conn, conn->mllp.cap, cap);
	conn->mllp.buf = buf;
	conn->mllp.cap = cap;
	return true;
}

void
gw_hl7_conn_shrink(struct gw_hl7_conn *conn)
{
	if (conn->mllp.cap <= BUFFER_KEPT || conn->mllp.len > 0)
		return;
	set_memory(conn, conn->mllp.cap, 0);
	free(conn->mllp.buf);
	conn->mllp.buf = NULL;
	conn->mllp.cap = 0;
}

// rest may lie in what was kept before.
bool
gw_hl7_conn_keep(struct gw_hl7_conn *conn, struct gw_span rest)
{
	uint8_t *kept = NULL;

	if (rest.len > 0 && rest.len == conn->rest_len && rest.at == conn->rest)
		return true;
	if (rest.len > 0 && (kept = malloc(rest.len)) == NULL)
		return false;
	if (rest.len > 0)
		memcpy(kept, rest.at, rest.len);
	set_memory(conn, conn->rest_len, rest.len);
	free(conn->rest);
	conn->rest = kept;
	conn->rest_len = rest.len;
	return conn->door->memory_bytes <= conn->door->settings.memory_bytes_max;
}

// ---- Out ----

static bool
send_plain(struct gw_hl7_conn *conn, size_t *at)
{
	while (*at < conn->out.len) {
		ssize_t n = send(conn->fd, conn->out.at + *at, conn->out.len - *at, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			conn->blocked = errno == EAGAIN;
			return conn->blocked;
		}
		*at += (size_t)n;
	}
	return true;
}

static bool
send_tls(struct gw_hl7_conn *conn, size_t *at)
{
	while (*at < conn->out.len) {
		size_t len = conn->offered > 0 ? conn->offered : conn->out.len - *at, taken;
		enum gw_tls_step step = gw_tls_write(conn->tls, conn->out.at + *at, len, &taken);

		if (step == GW_TLS_DONE) {
			conn->offered = 0;
			*at += taken;
			continue;
		}
		conn->offered = len; // the very same bytes again
		conn->blocked = step == GW_TLS_WANT_WRITE;
		return conn->blocked;
	}
	return true;
}

bool
gw_hl7_conn_flush(struct gw_hl7_conn *conn)
{
	size_t at = 0;
	bool good;

	conn->blocked = false;
	good = conn->tls != NULL ? send_tls(conn, &at) : send_plain(conn, &at);
	if (at > 0 && at < conn->out.len)
		memmove(conn->out.at, conn->out.at + at, conn->out.len - at);
	conn->out.len -= at;
	if (conn->out.len == 0 && conn->out.cap > BUFFER_KEPT)
		gw_hl7_out_fini(&conn->out);
	if (good)
		gw_hl7_conn_watch(conn);
	return good;
}
