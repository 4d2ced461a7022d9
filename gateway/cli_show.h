// SPDX-License-Identifier: Apache-2.0
// Output of commands: JSON lines in, a table, CSV, JSON or text for people out, as they come. Inside the command line only; single-threaded.
#ifndef GW_CLI_SHOW_H
#define GW_CLI_SHOW_H

#include "gateway/cli.h"

enum gw_show_format { GW_SHOW_TABLE, GW_SHOW_CSV, GW_SHOW_JSON, GW_SHOW_SENML };

// A column of a table: a member of each line, by its key ("received.value": a member's member).
struct gw_column {
	const char *key, *title;
	const char *name; // in CSV, where it is not the key
	bool right;    // numbers
	bool csv_only; // too much for a table
	bool maybe;    // left out of a table as long as nothing is in it
};

struct gw_table;

struct gw_show {
	const struct gw_cli *cli;
	enum gw_show_format format;
	FILE *out;
	struct gw_table *table; // made at the first row
	uint64_t lines;
};

// Reads --format and --json; says what is wrong with them and returns false.
bool gw_show_init(struct gw_show *show, const struct gw_cli *cli);
void gw_show_fini(struct gw_show *show);
// One line of output; false: the output is closed.
bool gw_show_line(struct gw_show *show, const char *text, size_t len);
// After the last line; good: the command did not fail.
void gw_show_end(struct gw_show *show, bool good);

// A row of a table or of CSV, from a line's members; NULL: the last row was given. Widths come from the first rows, which are held back until then.
void gw_show_row(struct gw_show *show, const struct gw_column *columns, size_t count, yyjson_val *line);

// The same as a table; where there is no row, words instead of a head without anything below.
void gw_show_row_or(struct gw_show *show, const struct gw_column *columns, size_t count, yyjson_val *line, const char *words);

// A member as text: strings as they are, lists with blanks between, "" for none. out holds what fits.
const char *gw_show_text(yyjson_val *line, const char *key, char *out, size_t cap);
// A string member, or "".
const char *gw_show_string(yyjson_val *line, const char *key);
// "1 reading", "2 readings"
const char *gw_show_count(uint64_t count, const char *what, char out[64]);
// "1.5 GiB"
const char *gw_show_bytes(uint64_t bytes, char out[32]);
// A line "label  words" with an object's members in its words (cli_show_parts.c tells how); false: nothing was left of them, and none was written.
bool gw_show_words(FILE *out, const char *label, const char *words, yyjson_val *object);
// The parts' states, as `status` has them, in such lines.
void gw_show_parts(FILE *out, yyjson_val *parts);

#endif
