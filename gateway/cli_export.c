// SPDX-License-Identifier: Apache-2.0
// Where `export` and `patient export` go: a child process of the command line takes the bytes out of a pipe, with the rights of who asks, and writes them to standard output or
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIPE_BYTES (1 << 20)

// ---- Where it goes ----

// What is renamed takes the place of what was there: that has to be a file.
static enum gw_error
check_output(const char *output, struct gw_why *why)
{
	size_t len = strlen(output);
	struct stat at;

	if (len == 0)
		return gw_fail(why, GW_E_ARGUMENT, "--output wants the name of a file");
	if (output[len - 1] == '/' || (stat(output, &at) == 0 && S_ISDIR(at.st_mode)))
		return gw_fail(why, GW_E_ARGUMENT, "--output: %.120s is a folder", output);
	if (stat(output, &at) == 0 && !S_ISREG(at.st_mode))
		return gw_fail(why, GW_E_ARGUMENT, "--output: %.120s is no file; leave --output out and use > or |", output);
	return GW_OK;
}

static bool
is_standard_output(const char *output)
{
	return output == NULL || strcmp(output, "-") == 0;
}

static enum gw_error
open_output(const struct gw_cli *cli, struct gw_export_file **file, struct gw_why *why)
{
	const char *output = gw_cli_argument(cli, "output");
	struct gw_export_file_options options = { .gzip = gw_cli_given(cli, "gzip"), .mode = 0600 };
	enum gw_error error;
	char *dir, *base;
	int folder_fd;

	if (is_standard_output(output) && options.gzip && isatty(STDOUT_FILENO))
		return gw_fail(why, GW_E_ARGUMENT, "--gzip onto a terminal: give --output FILE");
	if (is_standard_output(output))
		return gw_export_file_onto(STDOUT_FILENO, &options, file, why);
	if ((error = check_output(output, why)) != GW_OK)
		return error;
	error = GW_E_MEMORY;
	dir = strdup(output);
	base = strdup(output);
	if (dir != NULL && base != NULL) {
		folder_fd = open(dirname(dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (folder_fd < 0)
			error = gw_fail(why, GW_E_ARGUMENT, "--output: its folder cannot be opened: %s", strerror(errno));
		else
			error = gw_export_file_open(folder_fd, basename(base), &options, file, why); // the folder's descriptor is this process' to its end
	}
	free(dir);
	free(base);
	return error;
}

// ---- The child ----

struct taker {
	int data_fd, verdict_fd;
	const char *command;
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
		taker->no_splice = got < 0 && (errno == EINVAL || errno == EAGAIN); // not every file takes them so
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

// Takes all that comes; the file has its name if the parent says that all was well.
static int
take(struct taker *taker)
{
	struct gw_export_filed filed;
	struct gw_why why = { "" };
	char verdict = 'n';
	bool good;

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
		fprintf(stderr, "vitalgate %s: %s\n", taker->command, why.text);
	return good ? 0 : GW_EXIT_START;
}

// Whoever made the file ends it: a parent that is killed leaves nothing of it.
static int
child(const struct gw_cli *cli, struct taker *taker, int ready_fd)
{
	struct gw_why why = { "" };

	signal(SIGINT, SIG_IGN); // whoever interrupts ends the parent, and that ends this
	signal(SIGTERM, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGQUIT, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if (open_output(cli, &taker->file, &why) != GW_OK) {
		fprintf(stderr, "vitalgate %s: %s\n", taker->command, why.text[0] != '\0' ? why.text : "out of memory");
		return GW_EXIT_START;
	}
	if (write(ready_fd, "y", 1) != 1) {
		gw_export_file_drop(taker->file);
		return GW_EXIT_START;
	}
	close(ready_fd);
	return take(taker);
}

// ---- The parent ----

// *told: it is running, or has said why it is not.
static bool
start_child(const struct gw_cli *cli, struct gw_cli_export *sink, bool *told)
{
	int fds[3][2] = { { -1, -1 }, { -1, -1 }, { -1, -1 } }, *data = fds[0], *verdict = fds[1], *ready = fds[2];
	char byte;

	*told = false;
	if (pipe2(data, O_CLOEXEC) != 0 || pipe2(verdict, O_CLOEXEC) != 0 || pipe2(ready, O_CLOEXEC) != 0)
		goto failed;
	(void)fcntl(data[1], F_SETPIPE_SZ, PIPE_BYTES); // a smaller one is only slower
	fflush(NULL);
	if ((sink->child = fork()) == 0) {
		close(data[1]);
		close(verdict[1]);
		close(ready[0]);
		_exit(child(cli, &(struct taker){ .data_fd = data[0], .verdict_fd = verdict[0], .command = cli->command->name }, ready[1]));
	}
	if (sink->child < 0)
		goto failed;
	close(ready[1]);
	ready[1] = -1;
	*told = true;
	if (read(ready[0], &byte, 1) != 1) {
		(void)waitpid(sink->child, NULL, 0);
		goto failed;
	}
	close(ready[0]);
	close(data[0]);
	close(verdict[0]);
	sink->data_fd = data[1];
	sink->verdict_fd = verdict[1];
	return true;
failed:
	for (size_t i = 0; i < 6; i++)
		if (fds[i / 2][i % 2] >= 0)
			close(fds[i / 2][i % 2]);
	return false;
}

bool
gw_cli_export_is(const struct gw_cli *cli)
{
	return strcmp(cli->command->name, "export") == 0 ||
	    (strcmp(cli->command->name, "patient export") == 0 && (gw_cli_given(cli, "output") || gw_cli_given(cli, "gzip") || gw_cli_given(cli, "progress")));
}

bool
gw_cli_export_open(const struct gw_cli *cli, struct gw_cli_export *sink)
{
	bool told = false;

	*sink = (struct gw_cli_export){ .data_fd = -1, .verdict_fd = -1 };
	if (!gw_cli_export_is(cli) || start_child(cli, sink, &told))
		return true;
	if (!told)
		fprintf(stderr, "vitalgate %s: out of memory, processes or descriptors\n", cli->command->name);
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
