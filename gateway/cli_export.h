// SPDX-License-Identifier: Apache-2.0
// Where `export` goes, and `patient export` where it is to be a file. Inside the command line only; single-threaded.
#ifndef GW_CLI_EXPORT_H
#define GW_CLI_EXPORT_H

#include "gateway/cli.h"

#include <sys/types.h>

struct gw_cli_export {
	int data_fd;    // where the bytes are to be written; -1: another command
	int verdict_fd;
	pid_t child;
};

bool gw_cli_export_is(const struct gw_cli *cli);
// Opens the output and starts what takes the bytes; says why not and returns false. Nothing to do for other commands: here and below.
bool gw_cli_export_open(const struct gw_cli *cli, struct gw_cli_export *sink);
// Sends the first byte of a request, and with it where the bytes are to be written.
bool gw_cli_export_send(const struct gw_cli_export *sink, int socket, char first);
// Whoever writes has the descriptor now, or has written all.
void gw_cli_export_sent(struct gw_cli_export *sink);
// Once the command is done: the file gets its name where code is 0. Returns the exit code.
int gw_cli_export_close(struct gw_cli_export *sink, int code);

#endif
