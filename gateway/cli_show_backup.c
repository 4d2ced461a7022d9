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
	if (yyjson_obj_get(progress, "done") != NULL) {
		bool of = yyjson_obj_get(progress, "of") != NULL;

		fprintf(stderr, "%s: %s%s%s\n", gw_show_string(progress, "name"), gw_show_text(progress, "done", done, sizeof(done)), of ? " of " : "",
		    of ? gw_show_text(progress, "of", total, sizeof(total)) : "");
		return true;
	}
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
	char a[64], b[64];

	if (line == NULL || show_progress(line))
		return;
	if (yyjson_obj_get(line, "damaged") != NULL) {
		fprintf(show->out, "damaged: %s\n", gw_show_string(line, "damaged"));
		return;
	}
	if (yyjson_obj_get(line, "difference") != NULL) {
		fprintf(show->out, "differs: %s\n", gw_show_string(line, "difference"));
		return;
	}
	fprintf(show->out, "%s in %s (positions %llu to %llu), ", gw_show_count(number(line, "readings"), "reading", a), gw_show_count(number(line, "records"), "record", b),
	    (unsigned long long)number(line, "first_position"), (unsigned long long)number(line, "last_position"));
	fprintf(show->out, "%llu entries of the index, %s, %s in quarantine; ", (unsigned long long)number(line, "index_entries"), gw_show_count(number(line, "rows"), "row", a),
	    gw_show_count(number(line, "quarantined"), "frame", b));
	if (number(line, "chunks") > 0)
		fprintf(show->out, "series: %s in %s: ", gw_show_count(number(line, "chunk_readings"), "reading", a), gw_show_count(number(line, "chunks"), "chunk", b));
	else
		fputs("series: nothing in chunks yet: ", show->out);
	if (number(line, "damaged_places") == 0)
		fputs("all whole\n", show->out);
	else
		fprintf(show->out, "%s\n", gw_show_count(number(line, "damaged_places"), "damaged place", a));
	if (yyjson_obj_get(line, "compared_readings") == NULL)
		return;
	fprintf(show->out, "journal and series: %s compared, %llu in the journal alone, %llu in the series alone",
	    gw_show_count(number(line, "compared_readings"), "reading", a), (unsigned long long)number(line, "missing_readings"), (unsigned long long)number(line, "extra_readings"));
	if (number(line, "left_out_readings") + number(line, "retired_readings") > 0)
		fprintf(show->out, " (beside %llu in recorded gaps and %llu gone by retention)", (unsigned long long)number(line, "left_out_readings"),
		    (unsigned long long)number(line, "retired_readings"));
	fputc('\n', show->out);
}

void
gw_show_rebuild(struct gw_show *show, yyjson_val *line)
{
	char a[64], b[64], c[64];

	if (line == NULL || show_progress(line))
		return;
	if (yyjson_obj_get(line, "damaged") != NULL) {
		fprintf(show->out, "damaged: %s\n", gw_show_string(line, "damaged"));
		return;
	}
	if (number(line, "rebuilt_chunks") == 0)
		fputs("there is nothing to put into chunks; ", show->out);
	else
		fprintf(show->out, "%s in %s; ", gw_show_count(number(line, "rebuilt_readings"), "reading", a), gw_show_count(number(line, "rebuilt_chunks"), "chunk", b));
	if (number(line, "journal_readings") > 0)
		fprintf(show->out, "%s of the journal taken again, %llu of them were missing; ", gw_show_count(number(line, "journal_readings"), "reading", a),
		    (unsigned long long)number(line, "journal_added"));
	if (number(line, "salvaged_chunks") + number(line, "salvaged_damaged") > 0)
		fprintf(show->out, "%s in %s taken over from the store before, where %s could not be read; ", gw_show_count(number(line, "salvaged_readings"), "reading", a),
		    gw_show_count(number(line, "salvaged_chunks"), "chunk", b), gw_show_count(number(line, "salvaged_damaged"), "place", c));
	fprintf(show->out, "%s\n", gw_show_count(number(line, "damaged_places"), "damaged place", a));
	if (yyjson_obj_get(line, "kept") != NULL)
		fprintf(show->out, "the store before is kept in %s: remove it when nobody needs it any more (it holds patients' readings)\n", gw_show_string(line, "kept"));
}
