// SPDX-License-Identifier: Apache-2.0
// The command line: finds the command, parses its arguments by the grammar of its row in gateway/commands.def, and does it here, through the running
// daemon, or in this process when none runs. Single-threaded.
#ifndef GW_CLI_H
#define GW_CLI_H

#include "gateway/daemon.h"

#include <stdio.h>
#include <yyjson.h>

// The whole program after main's table of parts. Returns the exit code: 0, GW_EXIT_START for a command that failed, GW_EXIT_USAGE.
int gw_cli_main(int argc, char **argv, const struct gw_part *const *parts, size_t part_count);

// ---- Inside the command line only ----

struct gw_cli;
struct gw_show;
typedef int gw_cli_fn(struct gw_cli *cli);
// One line of a command's output, NULL after the last.
typedef void gw_show_fn(struct gw_show *show, yyjson_val *line);

struct gw_cli_command {
	const char *name, *arguments, *help;
	gw_cli_fn *local; // NULL: the daemon's
	gw_show_fn *show;
};
const struct gw_cli_command *gw_cli_command_at(size_t i); // NULL past the end

struct gw_cli {
	const struct gw_part *const *parts;
	size_t part_count;
	const char *config_path; // as given or found; NULL: none
	const struct gw_cli_command *command;
	yyjson_mut_doc *request; // {"command": ..., arguments}
	yyjson_mut_val *arguments;
};

// Parses what stands behind the command's name into cli->arguments; on a mistake says so with the command's usage and returns false.
bool gw_cli_parse(struct gw_cli *cli, int argc, char **argv, struct gw_why *why);
const char *gw_cli_argument(const struct gw_cli *cli, const char *name); // NULL: not given, or without a value
bool gw_cli_given(const struct gw_cli *cli, const char *name);
// "vitalgate device show ID [--json]"
void gw_cli_usage(const struct gw_cli_command *command, FILE *out);

// The configuration that -c names or that is found; NULL after having said why not.
struct gw_config *gw_cli_config(struct gw_cli *cli);

// What `backup` needs of this side: an absolute folder, and the key out of the files that were named. GW_OK where the command is another.
enum gw_error gw_cli_prepare_backup(struct gw_cli *cli, struct gw_why *why);
// `verify DIR`: here, with the rights of who asks, and so that a damaged file cannot harm the gateway.
int gw_cli_verify_backup(struct gw_cli *cli);

// Does cli->command through the daemon or in process; returns the exit code.
int gw_cli_request(struct gw_cli *cli, const struct gw_config *config);

// A CSV file (RFC 4180; header row) as the array "rows" of objects with a member per column and "line".
enum gw_error gw_cli_read_csv(const char *path, yyjson_mut_doc *doc, yyjson_mut_val *arguments, struct gw_why *why);

// Whether a spreadsheet would take a cell for a formula: such a cell stands behind an apostrophe in CSV. A number with a sign is none.
bool gw_csv_formula(const char *text);

#endif
