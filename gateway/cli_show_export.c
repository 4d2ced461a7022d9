// SPDX-License-Identifier: Apache-2.0
// What `export` and `patient export` say on standard error: how far they are, and what it was. Single-threaded.
#include "gateway/cli_export.h"
#include "gateway/cli_handlers.h"
#include "gateway/cli_show.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BAR 24

static double
number(yyjson_val *object, const char *key)
{
	char text[40];

	return strtod(gw_show_text(object, key, text, sizeof(text)), NULL); // numbers come as they were written
}

static void
show_left(double part, double seconds)
{
	double left = part > 0.001 ? seconds / part - seconds : -1;

	if (left < 0 || left > 360000)
		return;
	if (left < 90)
		fprintf(stderr, ", %.0f s left", left);
	else
		fprintf(stderr, ", %.0f min left", left / 60);
}

static void
show_progress(yyjson_val *progress)
{
	bool terminal = isatty(STDERR_FILENO);
	double part = number(progress, "part"), rows = number(progress, "rows"), seconds = number(progress, "took_ms") / 1000;
	int full = (int)(part * BAR);
	char bytes[32];

	fprintf(stderr, "%s%3.0f%% ", terminal ? "\r" : "", part * 100);
	if (terminal)
		fprintf(stderr, "[%.*s%.*s] ", full, "########################", BAR - full, "                        ");
	fprintf(stderr, "%.0f rows, %s, %.0f rows/s", rows, gw_show_bytes((uint64_t)number(progress, "bytes"), bytes), seconds > 0 ? rows / seconds : 0);
	show_left(part, seconds);
	fputs(terminal ? "\033[K" : "\n", stderr);
}

static void
show_done(const struct gw_show *show, yyjson_val *exported)
{
	double rows = number(exported, "rows"), seconds = number(exported, "took_ms") / 1000;
	char bytes[32], count[64];

	if (gw_cli_given(show->cli, "progress") && isatty(STDERR_FILENO))
		fputs("\r\033[K", stderr);
	if (!gw_cli_given(show->cli, "progress") && !gw_cli_given(show->cli, "output"))
		return;
	fprintf(stderr, "%s, %s of %s", gw_show_count((uint64_t)rows, "row", count), gw_show_bytes((uint64_t)number(exported, "bytes"), bytes), gw_show_string(exported, "format"));
	if (rows == 1)
		fprintf(stderr, ", of %s", gw_show_string(exported, "first_time"));
	else if (rows > 0)
		fprintf(stderr, ", %s to %s", gw_show_string(exported, "first_time"), gw_show_string(exported, "last_time"));
	fprintf(stderr, ", in %.1f s\n", seconds);
}

void
gw_show_export(struct gw_show *show, yyjson_val *line)
{
	if (line == NULL)
		return;
	if (yyjson_obj_get(line, "progress") != NULL)
		show_progress(yyjson_obj_get(line, "progress"));
	else if (yyjson_obj_get(line, "exported") != NULL)
		show_done(show, yyjson_obj_get(line, "exported"));
}

static void
show_lines(const struct gw_show *show, yyjson_val *figures, bool done)
{
	bool terminal = isatty(STDERR_FILENO), progress = gw_cli_given(show->cli, "progress");
	char bytes[32], count[64];

	if (!progress && !gw_cli_given(show->cli, "output"))
		return;
	fprintf(stderr, "%s%s, %s, in %.1f s%s", terminal && progress ? "\r\033[K" : "", gw_show_count((uint64_t)number(figures, "lines"), "line", count),
	    gw_show_bytes((uint64_t)number(figures, "bytes"), bytes), number(figures, "took_ms") / 1000, terminal && !done ? "" : "\n");
}

// Lines of the file as they are; figures where these go into a pipe of their own.
void
gw_show_patient_export(struct gw_show *show, yyjson_val *line)
{
	if (!gw_cli_export_is(show->cli))
		gw_show_document(show, line);
	else if (line != NULL && yyjson_obj_get(line, "progress") != NULL)
		show_lines(show, yyjson_obj_get(line, "progress"), false);
	else if (line != NULL && yyjson_obj_get(line, "exported") != NULL)
		show_lines(show, yyjson_obj_get(line, "exported"), true);
}
