// SPDX-License-Identifier: Apache-2.0
// Timelines of patients, beds and devices as text: one line an association, the times in front. Single-threaded.
#include "gateway/cli_handlers.h"
#include "gateway/cli_show.h"

#include <string.h>

static void
part(FILE *out, yyjson_val *line, const char *key, const char *words)
{
	const char *text = gw_show_string(line, key);

	if (text[0] != '\0')
		fprintf(out, "%s%s", words, text);
}

static void
show_person(FILE *out, yyjson_val *line)
{
	char text[1200];

	fprintf(out, "patient  %s\n", gw_show_text(line, "identifiers", text, sizeof(text)));
	if (gw_show_string(line, "name")[0] == '\0' && gw_show_string(line, "birth")[0] == '\0')
		return;
	fputs("        ", out);
	part(out, line, "name", " ");
	part(out, line, "birth", "  born ");
	part(out, line, "sex", "  sex ");
	part(out, line, "account", "  account ");
	fputc('\n', out);
}

// "device m1 with 12^^^K (Müller, Ada)"
static void
show_what(FILE *out, const char *kind, yyjson_val *line)
{
	bool readings = strcmp(kind, "readings") == 0, identifiers = strcmp(kind, "identifiers") == 0, beds = strcmp(kind, "beds") == 0;

	if (beds)
		part(out, line, "bed", "beds ");
	else if (identifiers)
		fputs("identifiers of one message lead to", out);
	else if (strcmp(kind, "stay") != 0)
		part(out, line, "device", readings ? "readings of " : "device ");
	else
		part(out, line, "bed", "bed ");
	if (strcmp(kind, "place") == 0 || readings)
		part(out, line, "bed", readings ? " at bed " : " stands at bed ");
	part(out, line, "other_bed", beds ? " and " : " or bed ");
	part(out, line, "patient", identifiers ? " " : readings ? " belong to " : strcmp(kind, "direct") == 0 ? " with " : ": ");
	if (readings && gw_show_string(line, "patient")[0] == '\0')
		fputs(" belong to nobody", out);
	if (gw_show_string(line, "name")[0] != '\0')
		fprintf(out, " (%s)", gw_show_string(line, "name"));
}

void
gw_show_timeline(struct gw_show *show, yyjson_val *line)
{
	const char *kind = line != NULL ? gw_show_string(line, "kind") : "", *to;
	FILE *out = show->out;

	if (line == NULL) {
		if (show->lines == 0)
			fputs("nothing\n", out);
		return;
	}
	show->lines++;
	if (strcmp(kind, "person") == 0) {
		show_person(out, line);
		return;
	}
	to = gw_show_string(line, "to");
	fprintf(out, "%-27s to %-27s  ", gw_show_string(line, "from"), to[0] != '\0' ? to : "now");
	show_what(out, kind, line);
	part(out, line, "visit", "  visit ");
	part(out, line, "order", "  order ");
	if (yyjson_is_true(yyjson_obj_get(line, "conflict"))) {
		part(out, line, "other", strcmp(kind, "identifiers") == 0 ? " and " : "  CONFLICT with ");
		fputs(gw_show_string(line, "other")[0] != '\0' ? "" : "  CONFLICT", out);
	}
	if (yyjson_is_true(yyjson_obj_get(line, "flagged")))
		fputs("  LOOK: the patient has moved since", out);
	part(out, line, "source", "  [");
	fputs(gw_show_string(line, "source")[0] != '\0' ? "]\n" : "\n", out);
}

void
gw_show_census(struct gw_show *show, yyjson_val *line)
{
	char number[24];

	if (line == NULL)
		return;
	if (yyjson_obj_get(line, "error") != NULL)
		fprintf(show->out, "line %s: %s\n", gw_show_text(line, "line", number, sizeof(number)), gw_show_string(line, "error"));
	else
		fprintf(show->out, "%s\n", gw_show_string(line, "done"));
}
