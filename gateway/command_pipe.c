// SPDX-License-Identifier: Apache-2.0
// The pipe that comes with a request (gateway/command_pipe.h). The command's thread.
#include "gateway/command_pipe.h"

#include "gateway/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define PATIENCE_US INT64_C(120000000) // with somebody who takes nothing
#define POLL_MS 200

static enum gw_error
gone(const struct gw_call *call)
{
	return gw_fail(call->why, GW_E_STOPPING, "nobody takes the export any more");
}

static enum gw_error
wait_for_room(const struct gw_call *call, int64_t since_us)
{
	struct pollfd fd = { .fd = call->data_fd, .events = POLLOUT };

	if (gw_call_ending(call))
		return gw_fail(call->why, GW_E_STOPPING, "the gateway stops");
	if (gw_clock_mono_us() - since_us > PATIENCE_US)
		return gone(call);
	(void)poll(&fd, 1, POLL_MS);
	return GW_OK;
}

// Does not wait whatever the other end has made of the descriptor since: both have the same. Kernels before 6.4 go by the descriptor:
// there a pipe that has room at all takes PIPE_BUF bytes at once.
static ssize_t
put_some(int fd, const char *at, size_t len)
{
	struct iovec part = { (void *)(uintptr_t)at, len };
	ssize_t put = pwritev2(fd, &part, 1, -1, RWF_NOWAIT);

	if (put >= 0 || errno != EOPNOTSUPP)
		return put;
	errno = EAGAIN;
	return poll(&(struct pollfd){ .fd = fd, .events = POLLOUT }, 1, 0) > 0 ? write(fd, at, len < PIPE_BUF ? len : PIPE_BUF) : -1;
}

enum gw_error
gw_call_pipe_write(struct gw_call *call, const char *at, size_t len, bool wait, size_t *taken)
{
	int64_t since_us = gw_clock_mono_us();
	enum gw_error error;

	for (*taken = 0; *taken < len;) {
		ssize_t put = put_some(call->data_fd, at + *taken, len - *taken);

		if (put > 0) {
			*taken += (size_t)put;
			since_us = wait ? gw_clock_mono_us() : since_us;
		} else if (put < 0 && errno != EAGAIN && errno != EINTR)
			return gone(call);
		else if (!wait)
			return GW_OK;
		else if ((error = wait_for_room(call, since_us)) != GW_OK)
			return error;
	}
	return GW_OK;
}

enum gw_error
gw_call_pipe(struct gw_call *call)
{
	struct stat at;
	int flags;

	if (!call->has_data_fd)
		return gw_fail(call->why, GW_E_ARGUMENT, "an export needs a pipe that it is written into");
	if (fstat(call->data_fd, &at) != 0 || !S_ISFIFO(at.st_mode) || (flags = fcntl(call->data_fd, F_GETFL)) < 0 ||
	    fcntl(call->data_fd, F_SETFL, flags | O_NONBLOCK) != 0)
		return gw_fail(call->why, GW_E_ARGUMENT, "what an export is written into has to be a pipe");
	return GW_OK;
}
