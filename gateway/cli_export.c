// SPDX-License-Identifier: Apache-2.0
// Where `export` goes: a child process of the command line takes the bytes out of a pipe, with the rights of who asks, and writes them to standard output or
// to a file that gets its name when all was well. The gateway, or this process where none runs, has the pipe's other end. Single-threaded.
#include "gateway/cli_export.h"

#include "gateway/export_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIPE_BYTES (1 << 20)

// ---- The child ----

struct taker {
	int data_fd, verdict_fd;
	struct gw_export_file *file;
	char *buf;
	bool no_splice;
};

// Moves some of the pipe's bytes. 1: there may be more, 0: all came, -1: failed.
static int
move(struct taker *taker, struct gw_why *why)
{
	int to = gw_export_file_fd(taker->file);
	ssize_t got = -1;

	if (to >= 0 && !taker->no_splice) {
		got = splice(taker->data_fd, NULL, to, NULL, PIPE_BYTES, SPLICE_F_MOVE);
		taker->no_splice = got < 0 && errno == EINVAL; // not every file takes them so
		if (got < 0 && !taker->no_splice && errno != EINTR) {
			(void)gw_fail(why, GW_E_SYSTEM, "cannot write: %s", strerror(errno));
			return -1;
		}
		return got != 0;
	}
	got = read(taker->data_fd, taker->buf, PIPE_BYTES);
	if (got < 0)
		return errno == EINTR || errno == EAGAIN ? 1 : -1;
	return got == 0 ? 0 : gw_export_file_write(taker->file, taker->buf, (size_t)got, why) == GW_OK ? 1 : -1;
}

// Until all came, or the parent is gone.
static bool
take_all(struct taker *taker, struct gw_why *why)
{
	struct pollfd fds[2] = { { .fd = taker->data_fd, .events = POLLIN }, { .fd = taker->verdict_fd, .events = POLLIN } };
	int state = 1;

	while (state > 0) {
		if (poll(fds, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return false;
		}
		if (fds[0].revents != 0)
			state = move(taker, why);
		else if ((fds[1].revents & POLLHUP) != 0 && (fds[1].revents & POLLIN) == 0)
			return false;
		if (fds[1].revents & POLLIN)
			fds[1].fd = -1; // the verdict is there; the rest of the bytes comes first
	}
	return state == 0;
}

static int
child(struct taker *taker)
{
	struct gw_export_filed filed;
	struct gw_why why = { "" };
	char verdict = 'n';
	bool good;

	signal(SIGINT, SIG_IGN); // whoever interrupts ends the parent, and that ends this
	signal(SIGTERM, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	good = (taker->buf = malloc(PIPE_BYTES)) != NULL && take_all(taker, &why);
	close(taker->data_fd); // who writes is not to wait for more
	if (good && read(taker->verdict_fd, &verdict, 1) == 1 && verdict == 'y') {
		good = gw_export_file_finish(taker->file, &filed, &why) == GW_OK;
	} else {
		gw_export_file_drop(taker->file);
		good = false;
	}
	free(taker->buf);
	if (!good && why.text[0] != '\0')
		fprintf(stderr, "vitalgate export: %s\n", why.text);
	return good ? 0 : GW_EXIT_START;
}

// ---- The parent ----

static enum gw_error
open_output(const struct gw_cli *cli, struct gw_export_file **file, struct gw_why *why)
{
	const char *output = gw_cli_argument(cli, "output");
	struct gw_export_file_options options = { .gzip = gw_cli_given(cli, "gzip"), .mode = 0600 };
	enum gw_error error = GW_E_MEMORY;
	char *dir, *base;
	int folder_fd;

	if (output == NULL)
		return gw_export_file_onto(STDOUT_FILENO, &options, file, why);
	dir = strdup(output);
	base = strdup(output);
	if (dir != NULL && base != NULL) {
		folder_fd = open(dirname(dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (folder_fd < 0)
			error = gw_fail(why, GW_E_ARGUMENT, "--output: its folder cannot be opened: %s", strerror(errno));
		else
			error = gw_export_file_open(folder_fd, basename(base), &options, file, why); // the descriptor is the child's to its end
	}
	free(dir);
	free(base);
	return error;
}

static bool
start_child(struct gw_cli_export *sink, struct gw_export_file *file)
{
	int data[2], verdict[2];

	if (pipe2(data, O_CLOEXEC) != 0)
		return false;
	if (pipe2(verdict, O_CLOEXEC) != 0) {
		close(data[0]);
		close(data[1]);
		return false;
	}
	(void)fcntl(data[1], F_SETPIPE_SZ, PIPE_BYTES); // a smaller one is only slower
	fflush(NULL);
	if ((sink->child = fork()) == 0) {
		close(data[1]);
		close(verdict[1]);
		_exit(child(&(struct taker){ .data_fd = data[0], .verdict_fd = verdict[0], .file = file }));
	}
	close(data[0]);
	close(verdict[0]);
	sink->data_fd = data[1];
	sink->verdict_fd = verdict[1];
	return sink->child > 0;
}

bool
gw_cli_export_is(const struct gw_cli *cli)
{
	return strcmp(cli->command->name, "export") == 0;
}

bool
gw_cli_export_open(const struct gw_cli *cli, struct gw_cli_export *sink)
{
	struct gw_export_file *file = NULL;
	struct gw_why why = { "" };
	enum gw_error error;

	*sink = (struct gw_cli_export){ .data_fd = -1, .verdict_fd = -1 };
	if (!gw_cli_export_is(cli))
		return true;
	if (gw_cli_argument(cli, "output") == NULL && isatty(STDOUT_FILENO) && gw_cli_given(cli, "gzip"))
		error = gw_fail(&why, GW_E_ARGUMENT, "--gzip onto a terminal: give --output FILE");
	else
		error = open_output(cli, &file, &why);
	if (error == GW_OK && start_child(sink, file)) {
		gw_export_file_forget(file);
		return true;
	}
	gw_export_file_drop(file);
	fprintf(stderr, "vitalgate export: %s\n", why.text[0] != '\0' ? why.text : "out of memory, processes or descriptors");
	return false;
}

bool
gw_cli_export_send(const struct gw_cli_export *sink, int socket, char first)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { { 0 } };
	struct iovec part = { &first, 1 };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	ssize_t sent;

	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(head), &sink->data_fd, sizeof(int));
	while ((sent = sendmsg(socket, &message, MSG_NOSIGNAL)) < 0 && errno == EINTR)
		;
	return sent == 1;
}

void
gw_cli_export_sent(struct gw_cli_export *sink)
{
	if (sink->data_fd >= 0)
		close(sink->data_fd);
	sink->data_fd = -1;
}

int
gw_cli_export_close(struct gw_cli_export *sink, int code)
{
	int status = 0;

	gw_cli_export_sent(sink);
	if (sink->verdict_fd < 0)
		return code;
	(void)!write(sink->verdict_fd, code == 0 ? "y" : "n", 1);
	close(sink->verdict_fd);
	while (waitpid(sink->child, &status, 0) < 0 && errno == EINTR)
		;
	return code != 0 ? code : WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : GW_EXIT_START;
}
