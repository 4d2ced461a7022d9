// SPDX-License-Identifier: Apache-2.0
// TCP or TLS with MLLP framing. A non-blocking socket and poll(2): the destination's thread waits nowhere else.
#include "adapters/hl7/connection.h"

#include "gateway/clock.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define LOOK_US 200000     // between looks whether somebody is in a hurry
#define HURRIED_US 2000000 // what a peer is given then

void
gw_hl7_connection_init(struct gw_hl7_connection *connection, int stop_fd)
{
	connection->fd = -1;
	connection->stop_fd = stop_fd;
	connection->rest = gw_span(connection->bytes, 0);
	gw_hl7_mllp_init(&connection->mllp, connection->message, sizeof(connection->message));
}

void
gw_hl7_connection_close(struct gw_hl7_connection *connection)
{
	gw_tls_link_close(connection->tls);
	connection->tls = NULL;
	if (connection->fd >= 0)
		close(connection->fd);
	connection->fd = -1;
	connection->rest = gw_span(connection->bytes, 0);
	gw_hl7_mllp_reset(&connection->mllp);
}

// Waits for the socket until the deadline (monotonic).
static enum gw_error
await(struct gw_hl7_connection *connection, short events, int64_t until_us)
{
	struct pollfd fds[2] = { { .fd = connection->fd, .events = events }, { .fd = connection->stop_fd, .events = POLLIN } };
	int64_t left_us, slice_us;
	bool hurried = false;
	int n;

	do {
		if (!hurried && connection->hurry != NULL && atomic_load_explicit(connection->hurry, memory_order_relaxed)) {
			hurried = true;
			left_us = gw_clock_mono_us() + HURRIED_US;
			until_us = left_us < until_us ? left_us : until_us;
		}
		left_us = until_us - gw_clock_mono_us();
		slice_us = connection->hurry != NULL && left_us > LOOK_US ? LOOK_US : left_us;
		n = poll(fds, 2, slice_us > 0 ? (int)((slice_us + 999) / 1000) : 0);
	} while ((n < 0 && errno == EINTR) || (n == 0 && left_us > slice_us));
	if (n < 0)
		return GW_E_SYSTEM;
	if (fds[1].revents != 0)
		return GW_E_STOPPING;
	return fds[0].revents != 0 ? GW_OK : GW_E_TIMEOUT;
}

static enum gw_error
connect_to(struct gw_hl7_connection *connection, const struct addrinfo *address, int64_t until_us, int *code)
{
	socklen_t len = sizeof(*code);
	enum gw_error error;

	connection->fd = socket(address->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connection->fd < 0) {
		*code = errno;
		return GW_E_CLOSED;
	}
	setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	setsockopt(connection->fd, SOL_SOCKET, SO_KEEPALIVE, &(int){ 1 }, sizeof(int));
	*code = 0;
	if (connect(connection->fd, address->ai_addr, address->ai_addrlen) != 0) {
		*code = errno;
		error = errno == EINPROGRESS ? await(connection, POLLOUT, until_us) : GW_E_CLOSED;
		if (error == GW_OK && getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, code, &len) == 0 && *code != 0)
			error = GW_E_CLOSED;
		if (error != GW_OK) {
			gw_hl7_connection_close(connection);
			return error;
		}
	}
	return GW_OK;
}

// ---- TLS ----

static enum gw_error
tls_failed(struct gw_hl7_connection *connection)
{
	snprintf(connection->reason, sizeof(connection->reason), "%s", gw_tls_link_reason(connection->tls));
	return GW_E_CLOSED;
}

// After a step that is not done: waits for what it wants.
static enum gw_error
tls_wait(struct gw_hl7_connection *connection, enum gw_tls_step step, int64_t until_us)
{
	switch (step) {
	case GW_TLS_WANT_READ: return await(connection, POLLIN, until_us);
	case GW_TLS_WANT_WRITE: return await(connection, POLLOUT, until_us);
	default: return tls_failed(connection);
	}
}

static enum gw_error
tls_open(struct gw_hl7_connection *connection, const struct gw_hl7_peer *peer, int64_t until_us, struct gw_why *why)
{
	enum gw_tls_step step;
	enum gw_error error;

	if ((error = gw_tls_link_open(&peer->files, connection->fd, &connection->tls, why)) != GW_OK)
		return error;
	while ((step = gw_tls_link_handshake(connection->tls)) != GW_TLS_DONE)
		if ((error = tls_wait(connection, step, until_us)) != GW_OK)
			return gw_fail(why, error, "%s port %d: %s", peer->host, peer->port, connection->reason[0] != '\0' ? connection->reason
			    : "no TLS handshake in time (does it speak TLS?)");
	return GW_OK;
}

// ---- Connecting ----

// A look-up of a name in a thread of its own, which ends when the C library pleases. Whoever comes last of the two frees it. One that was given up is
// waited for again by the next attempt: a dead name server makes one of them and no more.
enum { RUNNING, DONE, LEFT };

struct gw_hl7_lookup {
	_Atomic int state;
	int code; // getaddrinfo's
	struct addrinfo *list;
	char host[256], service[8];
};

static void
free_lookup(struct gw_hl7_lookup *lookup)
{
	if (lookup->list != NULL)
		freeaddrinfo(lookup->list);
	free(lookup);
}

static void *
run_lookup(void *arg)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	struct gw_hl7_lookup *lookup = arg;

	pthread_setname_np(pthread_self(), "hl7-name");
	lookup->code = getaddrinfo(lookup->host, lookup->service, &hints, &lookup->list);
	if (lookup->code != 0)
		lookup->list = NULL;
	if (atomic_exchange(&lookup->state, DONE) == LEFT)
		free_lookup(lookup);
	return NULL;
}

static enum gw_error
start_lookup(struct gw_hl7_connection *connection, const char *host, const char *service)
{
	struct gw_hl7_lookup *lookup = calloc(1, sizeof(*lookup));
	pthread_attr_t attributes;
	pthread_t thread;
	int rc;

	if (lookup == NULL)
		return GW_E_MEMORY;
	snprintf(lookup->host, sizeof(lookup->host), "%s", host);
	snprintf(lookup->service, sizeof(lookup->service), "%s", service);
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	rc = pthread_create(&thread, &attributes, run_lookup, lookup);
	pthread_attr_destroy(&attributes);
	if (rc != 0) {
		free(lookup);
		return GW_E_SYSTEM;
	}
	connection->lookup = lookup;
	return GW_OK;
}

static void
end_lookup(struct gw_hl7_connection *connection)
{
	struct gw_hl7_lookup *lookup = connection->lookup;

	connection->lookup = NULL;
	if (lookup != NULL && atomic_exchange(&lookup->state, LEFT) == DONE)
		free_lookup(lookup);
}

// *code is getaddrinfo's; the list is the caller's.
static enum gw_error
look_up(struct gw_hl7_connection *connection, const char *host, const char *service, int64_t until_us, struct addrinfo **list, int *code)
{
	struct pollfd stop = { .fd = connection->stop_fd, .events = POLLIN };
	enum gw_error error;
	int wait_ms = 1;

	if (connection->lookup == NULL && (error = start_lookup(connection, host, service)) != GW_OK)
		return error;
	while (atomic_load(&connection->lookup->state) == RUNNING) {
		if (poll(&stop, 1, wait_ms) > 0)
			return GW_E_STOPPING;
		if (gw_clock_mono_us() >= until_us)
			return GW_E_TIMEOUT;
		wait_ms = wait_ms < 64 ? 2 * wait_ms : 64;
	}
	*code = connection->lookup->code;
	*list = connection->lookup->list;
	connection->lookup->list = NULL;
	end_lookup(connection);
	return *code == 0 ? GW_OK : GW_E_CLOSED;
}

// An address needs no look-up.
static enum gw_error
resolve(struct gw_hl7_connection *connection, const struct gw_hl7_peer *peer, int64_t until_us, struct addrinfo **list, struct gw_why *why)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICHOST };
	enum gw_error error;
	char service[8];
	int code = 0;

	snprintf(service, sizeof(service), "%d", peer->port);
	if (getaddrinfo(peer->host, service, &hints, list) == 0)
		return GW_OK;
	error = look_up(connection, peer->host, service, until_us, list, &code);
	if (error == GW_OK)
		return GW_OK;
	return gw_fail(why, error, "%s: %s", peer->host, code != 0 ? gai_strerror(code) : error == GW_E_TIMEOUT ? "its name is not resolved in time" : gw_error_text(error));
}

static enum gw_error
tcp_open(struct gw_hl7_connection *connection, const struct gw_hl7_peer *peer, int64_t until_us, struct gw_why *why)
{
	struct addrinfo *list;
	int code = 0, left = 0;
	enum gw_error error = resolve(connection, peer, until_us, &list, why);

	if (error != GW_OK)
		return error;
	error = GW_E_CLOSED;
	for (const struct addrinfo *at = list; at != NULL; at = at->ai_next)
		left++;
	// Each address gets its share of the time: one that does not answer leaves the next one some.
	for (const struct addrinfo *at = list; at != NULL && error != GW_OK && error != GW_E_STOPPING; at = at->ai_next, left--)
		error = connect_to(connection, at, until_us - (until_us - gw_clock_mono_us()) / left * (left - 1), &code);
	freeaddrinfo(list);
	if (error == GW_E_CLOSED)
		return gw_fail(why, error, "%s port %d: %s", peer->host, peer->port, strerror(code));
	return error == GW_OK ? GW_OK : gw_fail(why, error, "%s port %d: %s", peer->host, peer->port, gw_error_text(error));
}

void
gw_hl7_connection_fini(struct gw_hl7_connection *connection)
{
	gw_hl7_connection_close(connection);
	end_lookup(connection);
	free(connection->frame);
	connection->frame = NULL;
}

enum gw_error
gw_hl7_connection_open(struct gw_hl7_connection *connection, const struct gw_hl7_peer *peer, int timeout_ms, struct gw_why *why)
{
	int64_t until_us = gw_clock_mono_us() + (int64_t)timeout_ms * 1000;
	enum gw_error error;

	gw_hl7_connection_close(connection);
	connection->reason[0] = '\0';
	error = tcp_open(connection, peer, until_us, why);
	if (error == GW_OK && peer->tls)
		error = tls_open(connection, peer, until_us, why);
	if (error != GW_OK)
		gw_hl7_connection_close(connection);
	return error;
}

// ---- Sending ----

static enum gw_error
tcp_send(struct gw_hl7_connection *connection, struct gw_span message, int64_t until_us)
{
	uint8_t start = GW_HL7_MLLP_START, end[2] = { GW_HL7_MLLP_END, GW_HL7_MLLP_CR };
	struct iovec parts[3] = { { &start, 1 }, { (void *)(uintptr_t)message.at, message.len }, { end, 2 } };
	struct msghdr header = { .msg_iov = parts, .msg_iovlen = 3 };
	enum gw_error error;

	while (header.msg_iovlen > 0) {
		ssize_t n = sendmsg(connection->fd, &header, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			if ((error = await(connection, POLLOUT, until_us)) != GW_OK)
				return error;
			continue;
		}
		if (n < 0)
			return GW_E_CLOSED;
		while (header.msg_iovlen > 0 && (size_t)n >= header.msg_iov->iov_len) {
			n -= (ssize_t)header.msg_iov->iov_len;
			header.msg_iov++;
			header.msg_iovlen--;
		}
		if (header.msg_iovlen > 0) {
			header.msg_iov->iov_base = (uint8_t *)header.msg_iov->iov_base + n;
			header.msg_iov->iov_len -= (size_t)n;
		}
	}
	return GW_OK;
}

static bool
make_frame(struct gw_hl7_connection *connection, struct gw_span message)
{
	size_t len = message.len + 3;

	if (len > connection->frame_cap) {
		uint8_t *grown = realloc(connection->frame, len);

		if (grown == NULL)
			return false;
		connection->frame = grown;
		connection->frame_cap = len;
	}
	connection->frame[0] = GW_HL7_MLLP_START;
	memcpy(connection->frame + 1, message.at, message.len);
	connection->frame[len - 2] = GW_HL7_MLLP_END;
	connection->frame[len - 1] = GW_HL7_MLLP_CR;
	return true;
}

static enum gw_error
tls_write(struct gw_hl7_connection *connection, struct gw_span bytes, int64_t until_us)
{
	size_t done = 0, taken;
	enum gw_tls_step step;
	enum gw_error error;

	while (done < bytes.len) {
		step = gw_tls_link_write(connection->tls, bytes.at + done, bytes.len - done, &taken);
		done += taken;
		if (step != GW_TLS_DONE && (error = tls_wait(connection, step, until_us)) != GW_OK)
			return error;
	}
	return GW_OK;
}

static enum gw_error
tls_send(struct gw_hl7_connection *connection, struct gw_span message, int64_t until_us)
{
	if (!make_frame(connection, message))
		return GW_E_MEMORY;
	return tls_write(connection, gw_span(connection->frame, message.len + 3), until_us);
}

static enum gw_error
tcp_write(struct gw_hl7_connection *connection, struct gw_span bytes, int64_t until_us)
{
	size_t done = 0;
	enum gw_error error;

	while (done < bytes.len) {
		ssize_t n = send(connection->fd, bytes.at + done, bytes.len - done, MSG_NOSIGNAL);

		if (n > 0)
			done += (size_t)n;
		else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
			if ((error = await(connection, POLLOUT, until_us)) != GW_OK)
				return error;
		} else if (errno != EINTR) {
			return GW_E_CLOSED;
		}
	}
	return GW_OK;
}

enum gw_error
gw_hl7_connection_write(struct gw_hl7_connection *connection, struct gw_span bytes, int timeout_ms)
{
	int64_t until_us = gw_clock_mono_us() + (int64_t)timeout_ms * 1000;

	return connection->tls != NULL ? tls_write(connection, bytes, until_us) : tcp_write(connection, bytes, until_us);
}

enum gw_error
gw_hl7_connection_send(struct gw_hl7_connection *connection, struct gw_span message, int timeout_ms)
{
	int64_t until_us = gw_clock_mono_us() + (int64_t)timeout_ms * 1000;

	return connection->tls != NULL ? tls_send(connection, message, until_us) : tcp_send(connection, message, until_us);
}

// ---- Receiving ----

// Some bytes; 0 where the socket has to be asked again. until_us 0: what is there already.
static enum gw_error
tcp_fetch(struct gw_hl7_connection *connection, int64_t until_us, size_t *len)
{
	enum gw_error error = until_us != 0 ? await(connection, POLLIN, until_us) : GW_OK;
	ssize_t n;

	*len = 0;
	if (error != GW_OK)
		return error;
	n = recv(connection->fd, connection->bytes, sizeof(connection->bytes), 0);
	if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return until_us != 0 ? GW_OK : GW_E_TIMEOUT;
	if (n == 0 || (n < 0 && errno != EINTR))
		return GW_E_CLOSED;
	*len = n > 0 ? (size_t)n : 0;
	return GW_OK;
}

// A record may be there already, in memory: it is asked for before the socket is waited for.
static enum gw_error
tls_fetch(struct gw_hl7_connection *connection, int64_t until_us, size_t *len)
{
	enum gw_tls_step step = gw_tls_link_read(connection->tls, connection->bytes, sizeof(connection->bytes), len);

	return step == GW_TLS_DONE ? GW_OK : tls_wait(connection, step, until_us);
}

enum gw_error
gw_hl7_connection_receive(struct gw_hl7_connection *connection, int timeout_ms, struct gw_span *message)
{
	int64_t until_us = timeout_ms > 0 ? gw_clock_mono_us() + (int64_t)timeout_ms * 1000 : 0;
	enum gw_error error;
	size_t idle = 0, len;

	for (;;) {
		switch (gw_hl7_mllp_feed(&connection->mllp, &connection->rest, message)) {
		case GW_HL7_MLLP_FRAME:
			return GW_OK;
		case GW_HL7_MLLP_TOO_LARGE:
			return GW_E_TOO_LARGE;
		case GW_HL7_MLLP_MORE:
			break;
		}
		// A peer that never ceases to send has bytes there whatever the time.
		if (idle > 2 * GW_HL7_ANSWER_MAX)
			return GW_E_TOO_LARGE;
		error = connection->tls != NULL ? tls_fetch(connection, until_us, &len) : tcp_fetch(connection, until_us, &len);
		if (error != GW_OK)
			return error;
		connection->rest = gw_span(connection->bytes, len);
		idle += len;
	}
}
