// SPDX-License-Identifier: Apache-2.0
// A connection's bytes: one read and at most one write a round, buffers borrowed from the thread. The thread that owns the connection.
#include "adapters/mqtt/conn.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { CHUNK = sizeof(((struct gw_mqtt_chunk *)NULL)->bytes), RECORDS = 40 * 1024 };

// ---- Buffers ----

// What can be there at once: an incomplete packet, what TLS had of an incomplete record, and what one read of the socket brings.
bool
gw_mqtt_io_init(struct gw_mqtt_io *io, size_t packet_bytes_max)
{
	memset(io, 0, sizeof(*io));
	io->ahead.cap = GW_MQTT_AHEAD_BYTES;
	io->ahead.buf = malloc(io->ahead.cap);
	io->plain_cap = packet_bytes_max + GW_MQTT_AHEAD_BYTES + RECORDS;
	io->plain = malloc(io->plain_cap);
	return io->ahead.buf != NULL && io->plain != NULL;
}

void
gw_mqtt_io_fini(struct gw_mqtt_io *io)
{
	struct gw_mqtt_chunk *chunk;

	while ((chunk = io->spare) != NULL) {
		io->spare = chunk->next;
		free(chunk);
	}
	free(io->ahead.buf);
	free(io->plain);
	memset(io, 0, sizeof(*io));
}

static uint8_t *
borrow_chunk(struct gw_mqtt_io *io)
{
	struct gw_mqtt_chunk *chunk = io->spare;

	if (chunk != NULL)
		io->spare = chunk->next;
	else
		chunk = malloc(sizeof(*chunk));
	return chunk != NULL ? chunk->bytes : NULL;
}

static void
return_out(struct gw_mqtt_conn *conn)
{
	struct gw_mqtt_chunk *chunk;

	if (conn->out_cap > CHUNK) {
		free(conn->out);
	} else if (conn->out != NULL) {
		chunk = (struct gw_mqtt_chunk *)(void *)(conn->out - offsetof(struct gw_mqtt_chunk, bytes));
		chunk->next = conn->io->spare;
		conn->io->spare = chunk;
	}
	conn->out = NULL;
	conn->out_len = conn->out_cap = 0;
}

// It may be a CONNECT, with a password.
static void
forget_in(struct gw_mqtt_conn *conn)
{
	if (conn->in != NULL)
		explicit_bzero(conn->in, conn->in_len);
	free(conn->in);
	conn->in = NULL;
	conn->in_len = 0;
}

// ---- Life ----

struct gw_mqtt_conn *
gw_mqtt_conn_new(struct gw_mqtt *mqtt, struct gw_mqtt_io *io, int epoll, int fd)
{
	struct gw_mqtt_conn *conn = calloc(1, sizeof(*conn));

	if (conn == NULL)
		return NULL;
	conn->mqtt = mqtt;
	conn->io = io;
	conn->epoll = epoll;
	conn->fd = fd;
	conn->tls = gw_tls_conn_new(mqtt->tls, fd);
	if (conn->tls == NULL) {
		free(conn);
		return NULL;
	}
	atomic_fetch_add(&mqtt->connections, 1);
	return conn;
}

void
gw_mqtt_conn_shut(struct gw_mqtt_conn *conn)
{
	if (conn->fd < 0)
		return;
	if (!conn->blocked && !conn->eof)
		gw_tls_bye(conn->tls);
	shutdown(conn->fd, SHUT_WR);
	close(conn->fd);
	conn->fd = -1;
	gw_tls_conn_free(conn->tls);
	conn->tls = NULL;
	return_out(conn);
	forget_in(conn);
}

void
gw_mqtt_conn_free(struct gw_mqtt_conn *conn)
{
	gw_mqtt_conn_shut(conn);
	gw_mqtt_link_fini(&conn->link);
	atomic_fetch_sub(&conn->mqtt->connections, 1);
	free(conn->will);
	free(conn->connack);
	free(conn->assigned_id);
	free(conn);
}

void
gw_mqtt_conn_watch(struct gw_mqtt_conn *conn)
{
	struct epoll_event event = { .data.ptr = conn };

	if (conn->fd < 0)
		return;
	event.events = conn->blocked ? EPOLLOUT : conn->stalled ? 0 : EPOLLIN;
	if (event.events != conn->events && epoll_ctl(conn->epoll, EPOLL_CTL_MOD, conn->fd, &event) == 0)
		conn->events = event.events;
}

// ---- In ----

bool
gw_mqtt_conn_keep(struct gw_mqtt_conn *conn, const uint8_t *bytes, size_t len)
{
	uint8_t *kept = NULL;

	if (len > 0) {
		kept = malloc(len);
		if (kept == NULL)
			return false;
		memcpy(kept, bytes, len);
	}
	forget_in(conn);
	conn->in = kept;
	conn->in_len = (uint32_t)len;
	return true;
}

bool
gw_mqtt_conn_read(struct gw_mqtt_conn *conn)
{
	gw_tls_turn(conn->tls, &conn->io->ahead);
	return gw_mqtt_conn_read_on(conn);
}

bool
gw_mqtt_conn_read_on(struct gw_mqtt_conn *conn)
{
	struct gw_mqtt_io *io = conn->io;
	enum gw_tls_step step;
	size_t len;

	io->plain_len = conn->in_len;
	if (conn->in_len > 0)
		memcpy(io->plain, conn->in, conn->in_len);
	do {
		step = gw_tls_read(conn->tls, io->plain + io->plain_len, io->plain_cap - io->plain_len, &len);
		io->plain_len += len;
	} while (step == GW_TLS_DONE && io->plain_len < io->plain_cap);
	conn->eof = step == GW_TLS_CLOSED || step == GW_TLS_FAILED;
	return !conn->eof;
}

// ---- Out ----

static bool
grow_out(struct gw_mqtt_conn *conn, size_t need)
{
	uint32_t cap = conn->out_cap * 2;
	uint8_t *grown;

	while (cap < need)
		cap *= 2;
	if (cap > conn->mqtt->unsent_bytes_max)
		return false;
	grown = malloc(cap);
	if (grown == NULL)
		return false;
	need = conn->out_len;
	memcpy(grown, conn->out, need);
	return_out(conn);
	conn->out = grown;
	conn->out_len = (uint32_t)need;
	conn->out_cap = cap;
	return true;
}

static bool
make_room(struct gw_mqtt_conn *conn, size_t len)
{
	if (conn->out == NULL) {
		conn->out = borrow_chunk(conn->io);
		conn->out_cap = conn->out != NULL ? CHUNK : 0;
	}
	if (conn->out == NULL)
		return false;
	return conn->out_len + len <= conn->out_cap || grow_out(conn, conn->out_len + len);
}

void
gw_mqtt_conn_write(struct gw_mqtt_conn *conn, const uint8_t *bytes, size_t len)
{
	if (conn->fd < 0 || conn->eof)
		return;
	if (!make_room(conn, len)) {
		conn->eof = true; // it takes nothing and asks for more: broken
		return;
	}
	memcpy(conn->out + conn->out_len, bytes, len);
	conn->out_len += (uint32_t)len;
	if (!conn->dirty && conn->worker != NULL) {
		conn->dirty = true;
		conn->dirty_next = conn->worker->dirty;
		conn->worker->dirty = conn;
	}
}

bool
gw_mqtt_conn_flush(struct gw_mqtt_conn *conn)
{
	uint32_t at = 0;
	size_t taken;

	conn->blocked = false;
	while (at < conn->out_len && !conn->eof) {
		// After WANT_WRITE TLS holds a record of exactly so many bytes.
		uint32_t len = conn->out_offered > 0 ? conn->out_offered : conn->out_len - at;
		enum gw_tls_step step = gw_tls_write(conn->tls, conn->out + at, len, &taken);

		if (step == GW_TLS_DONE) {
			conn->out_offered = 0;
			at += (uint32_t)taken;
			continue;
		}
		if (step != GW_TLS_WANT_WRITE) {
			conn->eof = true;
			break;
		}
		conn->out_offered = len;
		conn->blocked = true;
		break;
	}
	if (conn->blocked && at > 0)
		memmove(conn->out, conn->out + at, conn->out_len - at);
	conn->out_len -= at;
	if (conn->out_len == 0 || conn->eof)
		return_out(conn);
	gw_mqtt_conn_watch(conn);
	return !conn->eof;
}
