// SPDX-License-Identifier: Apache-2.0
// Erasures, and who did what, as text. Single-threaded.
#include "gateway/cli_handlers.h"
#include "gateway/cli_show.h"

#include <stdlib.h>
#include <string.h>

static const struct {
	const char *key, *words, *unsure;
} rows[] = {
	{ "journal", "readings in the journal", "journal_unsure" }, { "series", "readings in the series", "series_unsure" },
	{ "messages", "messages that waited or were parked", NULL }, { "held", "groups of readings that were held", NULL },
	{ "ledger", "rows about messages that were sent", NULL }, { "bus", "parked messages of the bus", NULL },
	{ "quarantine", "frames and messages in quarantine", "quarantine_unsure" },
};

static uint64_t
count_of(yyjson_val *counts, const char *key)
{
	char text[32]; // numbers come as they were written

	return key != NULL ? strtoull(gw_show_text(counts, key, text, sizeof(text)), NULL, 10) : 0;
}

static void
show_counts(FILE *out, yyjson_val *counts, bool dry)
{
	uint64_t damaged = count_of(counts, "journal_damaged") + count_of(counts, "series_damaged");

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		fprintf(out, "  %10llu %s", (unsigned long long)count_of(counts, rows[i].key), rows[i].words);
		if (count_of(counts, rows[i].unsure) > 0)
			fprintf(out, "; %llu more may be another's and %s (--unsure)", (unsigned long long)count_of(counts, rows[i].unsure), dry ? "would stay" : "stayed");
		fputc('\n', out);
	}
	if (damaged > 0)
		fprintf(out, "  %10llu damaged records and chunks of these devices could not be read, and stay: see vitalgate verify\n", (unsigned long long)damaged);
}

void
gw_show_erasure(struct gw_show *show, yyjson_val *line)
{
	yyjson_val *windows, *window;
	FILE *out = show->out;
	size_t i, max;
	bool dry;

	if (line == NULL) {
		if (show->lines == 0)
			fputs("nothing was erased so far\n", out);
		return;
	}
	show->lines++;
	dry = strcmp(gw_show_string(line, "state"), "dry run") == 0;
	if (dry)
		fputs("nothing was erased; with --yes it would be:\n", out);
	else
		fprintf(out, "erasure %s  %s  begun %s by %s%s%s\n  reason: %s\n", gw_show_string(line, "erasure"), gw_show_string(line, "state"),
		    gw_show_string(line, "begun"), gw_show_string(line, "who"), gw_show_string(line, "done")[0] != '\0' ? ", done " : "", gw_show_string(line, "done"),
		    gw_show_string(line, "reason"));
	if (gw_show_string(line, "again")[0] != '\0')
		fprintf(out, "  the backup that was restored %s had it all again: %s\n", gw_show_string(line, "again"),
		    strcmp(gw_show_string(line, "state"), "done") == 0 ? "done once more since" : "it is to be done once more");
	show_counts(out, yyjson_obj_get(line, "counts"), dry);
	yyjson_arr_foreach(yyjson_obj_get(line, "aside"), i, max, window)
		fprintf(out, "  %s in the store's folder was moved aside and still has what was there then: delete it\n", yyjson_get_str(window));
	windows = yyjson_obj_get(line, "windows");
	yyjson_arr_foreach(windows, i, max, window)
		fprintf(out, "  %-27s to %-27s  device %s%s\n", gw_show_string(window, "from"), gw_show_string(window, "to"), gw_show_string(window, "device"),
		    yyjson_is_true(yyjson_obj_get(window, "unsure")) ? "  (associations contradict each other)" : "");
}

void
gw_show_audit(struct gw_show *show, yyjson_val *line)
{
	static const struct gw_column columns[] = { { .key = "at", .title = "AT" }, { .key = "who", .title = "WHO" }, { .key = "what", .title = "WHAT" },
		{ .key = "device", .title = "DEVICE" } };

	gw_show_row(show, columns, sizeof(columns) / sizeof(columns[0]), line);
}

// Lines as they are: for a file.
void
gw_show_document(struct gw_show *show, yyjson_val *line)
{
	char *text = line != NULL ? yyjson_val_write(line, YYJSON_WRITE_ALLOW_INVALID_UNICODE, NULL) : NULL;

	if (text != NULL)
		fprintf(show->out, "%s\n", text);
	free(text);
}
