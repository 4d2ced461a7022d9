// SPDX-License-Identifier: Apache-2.0
// What backup and verify say: progress on standard error, the rest on standard output. Single-threaded.
#include "gateway/cli_handlers.h"
#include "gateway/cli_show.h"

#include <stdlib.h>

// Whether the line was one of progress.
static bool
show_progress(yyjson_val *line)
{
	yyjson_val *progress = yyjson_obj_get(line, "progress");
	char done[32], total[32];

	if (progress == NULL)
		return false;
	// Numbers come as they were written.
	gw_show_text(progress, "bytes", done, sizeof(done));
	gw_show_text(progress, "of_about", total, sizeof(total));
	gw_show_bytes(strtoull(done, NULL, 10), done);
	gw_show_bytes(strtoull(total, NULL, 10), total);
	fprintf(stderr, "%s: %s of about %s\n", gw_show_string(progress, "name"), done, total);
	return true;
}

static uint64_t
number(yyjson_val *line, const char *key)
{
	char text[32];

	return strtoull(gw_show_text(line, key, text, sizeof(text)), NULL, 10);
}

void
gw_show_backup(struct gw_show *show, yyjson_val *line)
{
	char bytes[32];

	if (line == NULL || show_progress(line))
		return;
	fprintf(show->out, "%s: %s, encryption: %s, everything up to position %llu of incarnation %s, made at %s in %.1f s\n",
	    gw_show_string(line, "backup"), gw_show_bytes(number(line, "bytes"), bytes), gw_show_string(line, "encryption"),
	    (unsigned long long)number(line, "last_position"), gw_show_string(line, "incarnation"), gw_show_string(line, "made"),
	    (double)number(line, "took_ms") / 1000);
}

void
gw_show_verify(struct gw_show *show, yyjson_val *line)
{
	if (line == NULL || show_progress(line))
		return;
	if (yyjson_obj_get(line, "damaged") != NULL) {
		fprintf(show->out, "damaged: %s\n", gw_show_string(line, "damaged"));
		return;
	}
	fprintf(show->out, "%llu readings in %llu records (positions %llu to %llu), %llu entries of the index, %llu rows, %llu frames in quarantine; "
	    "%llu chunks of series with %llu readings: ",
	    (unsigned long long)number(line, "readings"), (unsigned long long)number(line, "records"), (unsigned long long)number(line, "first_position"),
	    (unsigned long long)number(line, "last_position"), (unsigned long long)number(line, "index_entries"), (unsigned long long)number(line, "rows"),
	    (unsigned long long)number(line, "quarantined"), (unsigned long long)number(line, "chunks"), (unsigned long long)number(line, "chunk_readings"));
	if (number(line, "damaged_places") == 0)
		fputs("all whole\n", show->out);
	else
		fprintf(show->out, "%llu damaged places\n", (unsigned long long)number(line, "damaged_places"));
}
