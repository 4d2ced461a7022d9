// SPDX-License-Identifier: Apache-2.0
// The command socket: one thread takes connections, each is served by a thread of its own, control.commands_max at once; more are told to come again. Sockets
// never block: every wait is a poll that the stop of the daemon also ends. A request has a size limit, its reply a limit of patience.
#include "gateway/control.h"

#include "gateway/clock.h"
#include "gateway/command.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define REQUEST_BYTES_MAX (32u << 20) // an import of 10,000 devices is about 3 MB
#define REQUEST_MS_MAX 15000
#define REPLY_MS_MAX 120000           // somebody pages through the output
#define FAREWELL_MS_MAX 500           // for the rest of a reply once the daemon stops
#define OUT_BYTES 32768
#define OUT_US_MAX 200000             // how old the output that waits for more may be

enum slot_state { SLOT_FREE, SLOT_RUNNING, SLOT_DONE };

struct slot {
	struct gw_control *control;
	pthread_t thread;
	atomic_int state;
	int fd;
	int data_fd; // came with the request; -1: none
	char who[GW_ID_MAX + 1];
	// Output on its way; broken once somebody failed to take it.
	char out[OUT_BYTES];
	size_t out_len;
	int64_t sent_us; // when output was last sent: what comes slowly goes out at once
	bool broken;
};

struct gw_control {
	struct gw_control_options options;
	char *path;
	int listen_fd, stop_fd;
	atomic_bool stopping;
	pthread_t thread;
	struct slot *slots;
	size_t slot_count;
	struct gw_config_texts users; // of the configuration that the program began with
};

// ---- One connection ----

// Waits for events on the connection. False: time is up, or the daemon stops (a reply gets a little more time).
static bool
wait_for(struct slot *slot, short events, int timeout_ms)
{
	struct pollfd fds[2] = { { .fd = slot->fd, .events = events }, { .fd = slot->control->stop_fd, .events = POLLIN } };

	if (atomic_load(&slot->control->stopping)) {
		if (events == POLLIN)
			return false;
		return poll(fds, 1, FAREWELL_MS_MAX) > 0;
	}
	while (poll(fds, 2, timeout_ms) < 0) {
		if (errno != EINTR)
			return false;
	}
	return fds[0].revents != 0;
}

static bool
send_all(struct slot *slot, const char *at, size_t len)
{
	ssize_t sent;

	while (len > 0 && !slot->broken) {
		sent = send(slot->fd, at, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent > 0) {
			at += sent;
			len -= (size_t)sent;
		} else if (sent == 0 || (errno != EAGAIN && errno != EINTR) ||
		    (!wait_for(slot, POLLOUT, REPLY_MS_MAX) && !wait_for(slot, POLLOUT, 0))) {
			slot->broken = true;
		}
	}
	return !slot->broken;
}

static bool
flush(struct slot *slot)
{
	bool sent = send_all(slot, slot->out, slot->out_len);

	slot->out_len = 0;
	slot->sent_us = gw_clock_mono_us();
	return sent;
}

// gw_call.line
static bool
put_line(void *arg, const char *text, size_t len)
{
	struct slot *slot = arg;

	if (slot->out_len + len + 1 > OUT_BYTES && !flush(slot))
		return false;
	if (len + 1 > OUT_BYTES)
		return send_all(slot, text, len) && send_all(slot, "\n", 1);
	memcpy(slot->out + slot->out_len, text, len);
	slot->out[slot->out_len + len] = '\n';
	slot->out_len += len + 1;
	if (gw_clock_mono_us() - slot->sent_us > OUT_US_MAX)
		return flush(slot);
	return !slot->broken;
}

static void
put_end(struct slot *slot, enum gw_error error, const char *why)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *end = yyjson_mut_obj(doc);
	size_t len;
	char *text;

	yyjson_mut_doc_set_root(doc, end);
	yyjson_mut_obj_add_bool(doc, end, "end", true);
	yyjson_mut_obj_add_str(doc, end, "error", gw_error_name(error));
	gw_json_span(doc, end, "why", gw_span_text(error != GW_OK && why[0] == '\0' ? gw_error_text(error) : why));
	text = yyjson_mut_write(doc, 0, &len);
	if (text != NULL)
		(void)put_line(slot, text, len);
	free(text);
	yyjson_mut_doc_free(doc);
	(void)flush(slot);
}

// Keeps the descriptor that came beside the bytes; further ones are not wanted.
static void
take_descriptors(struct slot *slot, struct msghdr *message)
{
	for (struct cmsghdr *at = CMSG_FIRSTHDR(message); at != NULL; at = CMSG_NXTHDR(message, at)) {
		size_t count = at->cmsg_level == SOL_SOCKET && at->cmsg_type == SCM_RIGHTS ? (at->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0;

		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(at) + i * sizeof(int), sizeof(fd));
			if (slot->data_fd < 0)
				slot->data_fd = fd;
			else
				close(fd);
		}
	}
}

static ssize_t
receive(struct slot *slot, char *at, size_t room)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec part = { at, room };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes) };
	ssize_t got = recvmsg(slot->fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (got >= 0)
		take_descriptors(slot, &message);
	return got;
}

// A request's line without its newline; NULL where none came in time or it is too long. The caller frees it.
static char *
read_request(struct slot *slot, size_t *len)
{
	size_t cap = 8192, used = 0;
	char *text = malloc(cap + YYJSON_PADDING_SIZE), *more, *end = NULL;
	ssize_t got;

	while (text != NULL && end == NULL) {
		if (used == cap) {
			more = cap < REQUEST_BYTES_MAX ? realloc(text, cap * 2 + YYJSON_PADDING_SIZE) : NULL;
			if (more == NULL)
				goto fail;
			text = more;
			cap *= 2;
		}
		got = receive(slot, text + used, cap - used);
		if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
			goto fail;
		if (got < 0 && !wait_for(slot, POLLIN, REQUEST_MS_MAX))
			goto fail;
		if (got > 0) {
			end = memchr(text + used, '\n', (size_t)got);
			used += (size_t)got;
		}
	}
	if (text != NULL)
		*len = (size_t)(end - text);
	return text;

fail:
	free(text);
	return NULL;
}

// text is read in place: what it holds of secrets lies nowhere else.
static void
do_request(struct slot *slot, char *text, size_t len)
{
	const struct gw_control_options *options = &slot->control->options;
	struct gw_why why = { "" };
	struct gw_core core;
	struct gw_call call = {
		.core = &core, .parts = options->parts, .reload = options->reload, .who = slot->who,
		.stopping = &slot->control->stopping, .line = put_line, .arg = slot,
		.has_data_fd = slot->data_fd >= 0, .data_fd = slot->data_fd, .why = &why,
	};
	yyjson_doc *doc;
	enum gw_error error;

	memset(text + len, 0, YYJSON_PADDING_SIZE);
	doc = yyjson_read_opts(text, len, YYJSON_READ_INSITU, NULL, NULL);
	gw_parts_hold(options->parts);
	core = *options->core;
	gw_parts_release(options->parts);
	call.arguments = yyjson_doc_get_root(doc);
	error = gw_command_do(&call);
	put_end(slot, error, why.text);
	yyjson_doc_free(doc);
}

static void *
slot_main(void *arg)
{
	struct slot *slot = arg;
	size_t len = 0;
	char *request;

	request = read_request(slot, &len);
	if (request != NULL) {
		do_request(slot, request, len);
		explicit_bzero(request, len);
	}
	free(request);
	explicit_bzero(slot->out, sizeof(slot->out)); // new credentials, maybe
	if (slot->data_fd >= 0)
		close(slot->data_fd);
	close(slot->fd);
	atomic_store(&slot->state, SLOT_DONE);
	return NULL;
}

// ---- Who may ----

// "alice" or "1000"
static bool
is_user(const char *given, uid_t uid, const char *name)
{
	char number[16];

	snprintf(number, sizeof(number), "%u", (unsigned)uid);
	return strcmp(given, number) == 0 || (name != NULL && strcmp(given, name) == 0);
}

static bool
may_ask(const struct gw_config_texts *users, uid_t uid, const char *name)
{
	if (users->count == 0 || uid == 0 || uid == geteuid())
		return true;
	for (size_t i = 0; i < users->count; i++)
		if (is_user(users->at[i].text, uid, name))
			return true;
	return false;
}

// "uid 1000 (alice)". False: who is not to give commands.
static bool
learn_who(struct slot *slot)
{
	struct passwd entry, *found = NULL;
	socklen_t len = sizeof(struct ucred);
	struct ucred peer;
	char buf[1024];

	if (getsockopt(slot->fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) != 0) {
		snprintf(slot->who, sizeof(slot->who), "unknown");
		return may_ask(&slot->control->users, (uid_t)-1, NULL);
	}
	(void)getpwuid_r(peer.uid, &entry, buf, sizeof(buf), &found);
	if (found != NULL)
		snprintf(slot->who, sizeof(slot->who), "uid %u (%.40s)", (unsigned)peer.uid, found->pw_name);
	else
		snprintf(slot->who, sizeof(slot->who), "uid %u", (unsigned)peer.uid);
	return may_ask(&slot->control->users, peer.uid, found != NULL ? found->pw_name : NULL);
}

// ---- The thread that takes connections ----

static struct slot *
free_slot(struct gw_control *control)
{
	for (size_t i = 0; i < control->slot_count; i++) {
		struct slot *slot = &control->slots[i];

		if (atomic_load(&slot->state) == SLOT_DONE) {
			pthread_join(slot->thread, NULL);
			atomic_store(&slot->state, SLOT_FREE);
		}
		if (atomic_load(&slot->state) == SLOT_FREE)
			return slot;
	}
	return NULL;
}

static void
refuse(int fd)
{
	static const char busy[] = "{\"end\":true,\"error\":\"GW_E_BUSY\",\"why\":\"too many commands at once: try again\"}\n";

	(void)!send(fd, busy, sizeof(busy) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

static void
refuse_user(struct gw_control *control, int fd, const char *who)
{
	static const char no[] = "{\"end\":true,\"error\":\"GW_E_FORBIDDEN\",\"why\":\"you may give no commands (control.users)\"}\n";
	const struct gw_attempt attempt = { .door = GW_DOOR_COMMAND, .protocol = GW_PROTOCOL_UNIX, .reason = GW_REFUSED_COMMAND_USER, .claimed = gw_span_text(who) };

	gw_refusals_tell(control->options.core->refusals, &attempt);
	(void)!send(fd, no, sizeof(no) - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
	close(fd);
}

static void
take_connection(struct gw_control *control)
{
	int fd = accept4(control->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct slot *slot;

	if (fd < 0) { // no descriptors left, most likely: it stays readable, so do not run in circles
		(void)poll(&(struct pollfd){ .fd = control->stop_fd, .events = POLLIN }, 1, 100);
		return;
	}
	slot = free_slot(control);
	if (slot == NULL) {
		refuse(fd);
		return;
	}
	slot->control = control;
	slot->fd = fd;
	slot->data_fd = -1;
	slot->out_len = 0;
	slot->sent_us = gw_clock_mono_us();
	slot->broken = false;
	if (!learn_who(slot)) {
		refuse_user(control, fd, slot->who);
		return;
	}
	atomic_store(&slot->state, SLOT_RUNNING);
	if (pthread_create(&slot->thread, NULL, slot_main, slot) != 0) {
		atomic_store(&slot->state, SLOT_FREE);
		refuse(fd);
	}
}

static void *
control_main(void *arg)
{
	struct gw_control *control = arg;
	struct pollfd fds[2] = { { .fd = control->listen_fd, .events = POLLIN }, { .fd = control->stop_fd, .events = POLLIN } };

	while (!atomic_load(&control->stopping)) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			break;
		if (fds[0].revents != 0)
			take_connection(control);
	}
	return NULL;
}

// ---- Addresses. A path that is too long for sockaddr_un goes by its folder's descriptor. ----

struct address {
	struct sockaddr_un un;
	int folder_fd;
};

static bool
address_of(struct address *address, const char *path)
{
	char *copy, *name;
	int len = -1;

	address->un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	address->folder_fd = -1;
	if (strlen(path) < sizeof(address->un.sun_path)) {
		memcpy(address->un.sun_path, path, strlen(path) + 1);
		return true;
	}
	if ((copy = strdup(path)) == NULL)
		return false;
	address->folder_fd = open(dirname(copy), O_PATH | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	if ((copy = strdup(path)) == NULL)
		return false;
	name = basename(copy);
	if (address->folder_fd >= 0)
		len = snprintf(address->un.sun_path, sizeof(address->un.sun_path), "/proc/self/fd/%d/%s", address->folder_fd, name);
	free(copy);
	if (len < 0)
		return false;
	errno = ENAMETOOLONG;
	return (size_t)len < sizeof(address->un.sun_path);
}

static void
address_fini(struct address *address)
{
	int saved = errno;

	if (address->folder_fd >= 0)
		close(address->folder_fd);
	errno = saved;
}

int
gw_control_connect(const char *path)
{
	struct address address;
	int fd = -1, saved;

	if (!address_of(&address, path))
		goto out;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address.un, sizeof(address.un)) != 0) {
		saved = errno;
		close(fd);
		fd = -1;
		errno = saved;
	}
out:
	address_fini(&address);
	return fd;
}

// The old socket of a daemon that died goes; anything else with that name stays.
static bool
clear_path(const char *path)
{
	struct stat at;

	if (lstat(path, &at) != 0)
		return errno == ENOENT;
	if (S_ISSOCK(at.st_mode))
		return unlink(path) == 0;
	errno = EEXIST;
	return false;
}

static bool
bind_path(struct gw_control *control, const char *path)
{
	struct address address;
	bool bound = false;

	if (address_of(&address, path) && clear_path(path)) {
		control->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		bound = control->listen_fd >= 0 && bind(control->listen_fd, (struct sockaddr *)&address.un, sizeof(address.un)) == 0 &&
		    chmod(path, 0660) == 0 && listen(control->listen_fd, 64) == 0;
	}
	address_fini(&address);
	return bound;
}

enum gw_error
gw_control_open(const struct gw_control_options *options, struct gw_control **out, struct gw_why *why)
{
	struct gw_control *control = calloc(1, sizeof(*control));
	enum gw_error error;

	*out = NULL;
	if (control == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	control->options = *options;
	control->users = options->core->config->control_users;
	control->listen_fd = -1;
	control->slot_count = options->commands_max;
	control->slots = calloc(control->slot_count, sizeof(*control->slots));
	control->path = strdup(options->path);
	control->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (control->slots == NULL || control->path == NULL || control->stop_fd < 0) {
		error = gw_fail(why, GW_E_MEMORY, "out of memory or descriptors");
		goto fail;
	}
	if (!bind_path(control, options->path)) {
		error = gw_fail(why, GW_E_SYSTEM, "control.socket: cannot make %.110s: %s", options->path, strerror(errno));
		goto fail;
	}
	if (pthread_create(&control->thread, NULL, control_main, control) != 0) {
		error = gw_fail(why, GW_E_SYSTEM, "cannot start the thread for commands");
		unlink(options->path);
		goto fail;
	}
	*out = control;
	return GW_OK;

fail:
	if (control->listen_fd >= 0)
		close(control->listen_fd);
	if (control->stop_fd >= 0)
		close(control->stop_fd);
	free(control->slots);
	free(control->path);
	free(control);
	return error;
}

void
gw_control_stop(struct gw_control *control)
{
	uint64_t one = 1;

	if (control == NULL)
		return;
	atomic_store(&control->stopping, true);
	(void)!write(control->stop_fd, &one, sizeof(one));
}

void
gw_control_close(struct gw_control *control)
{
	if (control == NULL)
		return;
	gw_control_stop(control);
	pthread_join(control->thread, NULL);
	for (size_t i = 0; i < control->slot_count; i++) {
		if (atomic_load(&control->slots[i].state) != SLOT_FREE)
			pthread_join(control->slots[i].thread, NULL);
	}
	unlink(control->path);
	close(control->listen_fd);
	close(control->stop_fd);
	free(control->slots);
	free(control->path);
	free(control);
}
