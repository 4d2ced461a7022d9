// SPDX-License-Identifier: Apache-2.0
// TCP with MLLP framing. A non-blocking socket and poll(2): the destination's thread waits nowhere else.
#include "adapters/hl7/connection.h"

#include "gateway/clock.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

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
	int64_t left_us;
	int n;

	do {
		left_us = until_us - gw_clock_mono_us();
		n = poll(fds, 2, left_us > 0 ? (int)((left_us + 999) / 1000) : 0);
	} while (n < 0 && errno == EINTR);
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

enum gw_error
gw_hl7_connection_open(struct gw_hl7_connection *connection, const char *host, int port, int timeout_ms, struct gw_why *why)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG };
	int64_t until_us = gw_clock_mono_us() + (int64_t)timeout_ms * 1000;
	struct addrinfo *list;
	char service[8];
	int code;
	enum gw_error error = GW_E_CLOSED;

	gw_hl7_connection_close(connection);
	snprintf(service, sizeof(service), "%d", port);
	if ((code = getaddrinfo(host, service, &hints, &list)) != 0)
		return gw_fail(why, GW_E_CLOSED, "%s: %s", host, gai_strerror(code));
	for (const struct addrinfo *at = list; at != NULL && error != GW_OK && error != GW_E_STOPPING; at = at->ai_next)
		error = connect_to(connection, at, until_us, &code);
	freeaddrinfo(list);
	if (error == GW_E_CLOSED)
		return gw_fail(why, error, "%s port %d: %s", host, port, strerror(code));
	return error == GW_OK ? GW_OK : gw_fail(why, error, "%s port %d: %s", host, port, gw_error_text(error));
}

enum gw_error
gw_hl7_connection_send(struct gw_hl7_connection *connection, struct gw_span message, int timeout_ms)
{
	uint8_t start = GW_HL7_MLLP_START, end[2] = { GW_HL7_MLLP_END, GW_HL7_MLLP_CR };
	struct iovec parts[3] = { { &start, 1 }, { (void *)(uintptr_t)message.at, message.len }, { end, 2 } };
	struct msghdr header = { .msg_iov = parts, .msg_iovlen = 3 };
	int64_t until_us = gw_clock_mono_us() + (int64_t)timeout_ms * 1000;
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

enum gw_error
gw_hl7_connection_receive(struct gw_hl7_connection *connection, int timeout_ms, struct gw_span *message)
{
	int64_t until_us = gw_clock_mono_us() + (int64_t)timeout_ms * 1000;
	enum gw_error error;
	size_t idle = 0;
	ssize_t n;

	for (;;) {
		switch (gw_hl7_mllp_feed(&connection->mllp, &connection->rest, message)) {
		case GW_HL7_MLLP_FRAME:
			return GW_OK;
		case GW_HL7_MLLP_TOO_LARGE:
			return GW_E_TOO_LARGE;
		case GW_HL7_MLLP_MORE:
			break;
		}
		if ((error = await(connection, POLLIN, until_us)) != GW_OK)
			return error;
		// A peer that never ceases to send has bytes there whatever the time.
		if (idle > 2 * GW_HL7_ANSWER_MAX)
			return GW_E_TOO_LARGE;
		n = recv(connection->fd, connection->bytes, sizeof(connection->bytes), 0);
		if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN && errno != EWOULDBLOCK))
			return GW_E_CLOSED;
		connection->rest = gw_span(connection->bytes, n > 0 ? (size_t)n : 0);
		idle += connection->rest.len;
	}
}
