// SPDX-License-Identifier: Apache-2.0
// Does one command: asks the running daemon over its socket, or, where none runs, opens the store in this process and runs the same handler. Both
// give JSON lines; gateway/cli_show*.c makes them readable as they come. Single-threaded (the store's own threads apart).
#include "gateway/cli_export.h"
#include "gateway/cli_show.h"

#include "gateway/command.h"
#include "gateway/control.h"
#include "gateway/erase.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define STREAM_BYTES 65536

// ---- Through the daemon ----

static bool
send_all(int fd, const char *at, size_t len)
{
	while (len > 0) {
		ssize_t sent = send(fd, at, len, MSG_NOSIGNAL);

		if (sent < 0 && errno != EINTR)
			return false;
		if (sent > 0) {
			at += sent;
			len -= (size_t)sent;
		}
	}
	return true;
}

static int
failed(const struct gw_cli *cli, const char *error, const char *why)
{
	if (why == NULL || why[0] == '\0')
		why = error != NULL ? error : "it failed";
	fprintf(stderr, "vitalgate %s: %s\n", cli->command->name, why);
	return GW_EXIT_START;
}

// Takes lines until the one that says "end"; returns the exit code.
static int
take_reply(const struct gw_cli *cli, FILE *stream, struct gw_show *show)
{
	char *line = NULL;
	size_t cap = 0;
	int code = -1;
	ssize_t len;

	while (code < 0 && (len = getline(&line, &cap, stream)) > 0) {
		yyjson_doc *doc = NULL;
		yyjson_val *root;

		// Only the last line begins so: every other is an object of a command, or an array.
		if (strncmp(line, "{\"end\":true", 11) != 0) {
			if (!gw_show_line(show, line, (size_t)len - (line[len - 1] == '\n')))
				break; // nobody reads our output any more
			continue;
		}
		doc = yyjson_read(line, (size_t)len, 0);
		root = yyjson_doc_get_root(doc);
		gw_show_end(show, yyjson_equals_str(yyjson_obj_get(root, "error"), "GW_OK"));
		code = yyjson_equals_str(yyjson_obj_get(root, "error"), "GW_OK") ? 0 :
		    failed(cli, yyjson_get_str(yyjson_obj_get(root, "error")), yyjson_get_str(yyjson_obj_get(root, "why")));
		yyjson_doc_free(doc);
	}
	free(line);
	if (code < 0 && !ferror(stdout))
		return failed(cli, "", "the gateway ended before it had answered");
	return code < 0 ? GW_EXIT_START : code;
}

static int
ask_daemon(const struct gw_cli *cli, int fd, const char *request, size_t len, struct gw_cli_export *sink, struct gw_show *show)
{
	FILE *stream;
	size_t sent = sink->data_fd >= 0;
	int code;

	if ((sent > 0 && !gw_cli_export_send(sink, fd, request[0])) || !send_all(fd, request + sent, len - sent) || !send_all(fd, "\n", 1)) {
		close(fd);
		return failed(cli, "", "the gateway closed the connection");
	}
	gw_cli_export_sent(sink);
	stream = fdopen(fd, "r");
	if (stream == NULL) {
		close(fd);
		return failed(cli, "", "out of memory");
	}
	setvbuf(stream, NULL, _IOFBF, STREAM_BYTES);
	code = take_reply(cli, stream, show);
	fclose(stream);
	return code;
}

// ---- In this process ----

static bool
local_line(void *arg, const char *text, size_t len)
{
	return gw_show_line(arg, text, len);
}

static void
who_am_i(char who[GW_ID_MAX + 1])
{
	const struct passwd *entry = getpwuid(geteuid());

	snprintf(who, GW_ID_MAX + 1, "uid %u%s%.40s%s", (unsigned)geteuid(), entry != NULL ? " (" : "", entry != NULL ? entry->pw_name : "",
	    entry != NULL ? ")" : "");
}

// root works on the store as its owner, so that no file in it becomes root's and locks the gateway out.
static bool
become_owner(const char *dir)
{
	struct stat at;

	if (geteuid() != 0 || stat(dir, &at) != 0 || at.st_uid == 0)
		return true;
	return setgroups(0, NULL) == 0 && setgid(at.st_gid) == 0 && setuid(at.st_uid) == 0;
}

static void
store_failed(void *arg, enum gw_error error)
{
	(void)arg;
	fprintf(stderr, "vitalgate: %s\n", gw_error_text(error));
	_exit(GW_EXIT_SYNC);
}

static int
do_here(const struct gw_cli *cli, const struct gw_config *config, const char *request, size_t len, struct gw_cli_export *sink, struct gw_show *show)
{
	struct gw_why why = { "" };
	char who[GW_ID_MAX + 1];
	struct gw_call call = { .who = who, .line = local_line, .arg = show, .has_data_fd = sink->data_fd >= 0,
		.data_fd = sink->data_fd, .why = &why };
	struct gw_core core;
	yyjson_doc *doc;
	enum gw_error error;

	umask(077);
	gw_diag_open(false, GW_WARNING);
	if (access(config->store_dir, F_OK) != 0 && strncmp(cli->command->name, "device", 6) != 0 &&
	    strncmp(cli->command->name, "cert", 4) != 0)
		return failed(cli, "", "no gateway runs, and there is no store yet: start one with `vitalgate run`");
	who_am_i(who);
	if (!become_owner(config->store_dir))
		return failed(cli, "", "cannot work as the store's owner");
	error = gw_core_open(config, store_failed, NULL, &core, &why);
	if (error != GW_OK)
		return failed(cli, gw_error_text(error), why.text);
	core.parts = cli->parts;
	core.part_count = cli->part_count;
	gw_erase_again(&core);
	doc = yyjson_read(request, len, 0);
	call.core = &core;
	call.arguments = yyjson_doc_get_root(doc);
	fprintf(stderr, "vitalgate: no gateway runs: working on the store in %s itself\n", config->store_dir);
	error = gw_command_do(&call);
	gw_cli_export_sent(sink);
	gw_show_end(show, error == GW_OK);
	yyjson_doc_free(doc);
	gw_core_close(&core);
	return error == GW_OK ? 0 : failed(cli, gw_error_text(error), why.text);
}

int
gw_cli_request(struct gw_cli *cli, const struct gw_config *config)
{
	struct gw_cli_export sink;
	struct gw_show show;
	char *request;
	size_t len;
	int fd, code;

	if (!gw_show_init(&show, cli))
		return GW_EXIT_USAGE;
	if (show.format != GW_SHOW_JSON && strcmp(cli->command->name, "latest") == 0) { // no more than is shown, and all at once
		if (!isatty(STDOUT_FILENO))
			setvbuf(stdout, NULL, _IOFBF, STREAM_BYTES);
		yyjson_mut_obj_add_bool(cli->request, cli->arguments, "brief", true);
	}
	request = yyjson_mut_write(cli->request, 0, &len);
	if (request == NULL) {
		gw_show_fini(&show);
		return failed(cli, "", "an argument is no UTF-8");
	}
	if (!gw_cli_export_open(cli, &sink)) {
		gw_show_fini(&show);
		free(request);
		return GW_EXIT_START;
	}
	signal(SIGPIPE, SIG_IGN);
	fd = gw_control_connect(config->control_socket);
	if (fd >= 0)
		code = ask_daemon(cli, fd, request, len, &sink, &show);
	else if (errno != EACCES && errno != EPERM && strcmp(cli->command->name, "reload") == 0)
		code = failed(cli, "", "no gateway answers at control.socket: one that runs reads its configuration anew on SIGHUP, too");
	else if (errno != EACCES && errno != EPERM && strcmp(cli->command->name, "cert reload") == 0)
		code = failed(cli, "", "no gateway answers at control.socket: one reads its files when it starts");
	else if (errno == EACCES || errno == EPERM)
		code = failed(cli, "", "the gateway's socket is not for this user: ask its group, or use sudo");
	else
		code = do_here(cli, config, request, len, &sink, &show);
	code = gw_cli_export_close(&sink, code);
	free(request);
	gw_show_fini(&show);
	if (fflush(stdout) != 0 || ferror(stdout))
		return code != 0 ? code : GW_EXIT_START;
	return code;
}
