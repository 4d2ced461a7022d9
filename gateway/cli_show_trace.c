// SPDX-License-Identifier: Apache-2.0
// The ledger of a reading as a small timeline, one step a line. Single-threaded.
#include "gateway/cli_handlers.h"
#include "gateway/cli_show.h"

#include <string.h>

#define TIME_WIDTH 28
#define STEP_WIDTH 14

// A member as text without what a terminal would take for a command: a route may hold anything. Out of a few buffers that go round.
static const char *
text(yyjson_val *line, const char *key)
{
	static char texts[6][300];
	static unsigned next;
	char *out = texts[next++ % 6];

	return gw_show_text(line, key, out, sizeof(texts[0]));
}

// A step's beginning; what follows is its words.
static void
step(struct gw_show *show, const char *time, const char *name)
{
	fprintf(show->out, "  %-*s %-*s ", TIME_WIDTH, time, STEP_WIDTH, name);
}

static void
show_head(struct gw_show *show, yyjson_val *line)
{
	bool own = yyjson_get_bool(yyjson_obj_get(line, "device_time"));

	fprintf(show->out, "%s%s %s of %s, %s %s\n", show->lines++ > 0 ? "\n" : "", text(line, "id"),
	    text(line, yyjson_obj_get(line, "signal") != NULL ? "signal" : "mdc"), text(line, "device"), text(line, "time"),
	    own ? "by the device's clock" : "(the device told no time)");
}

static void
show_arrival(struct gw_show *show, yyjson_val *line)
{
	const char *by;

	step(show, text(line, "received"), "received");
	fprintf(show->out, "by %s from %s (%s), %s, profile %s\n", text(line, "door"), text(line, "principal"), text(line, "auth"), text(line, "route"),
	    text(line, "profile"));
	step(show, by = text(line, "committed_by"), "committed");
	fprintf(show->out, "journal position %s, reading %s of %s%s\n", text(line, "position"), text(line, "place"), text(line, "readings"),
	    by[0] != '\0' ? "; by then" : "");
}

// A message: when it was made, and what was answered.
static void
show_message(struct gw_show *show, yyjson_val *one)
{
	const char *patient = text(one, "patient"), *answer, *state, *words;

	step(show, text(one, "made"), text(one, "outlet"));
	if (patient[0] != '\0')
		fprintf(show->out, "message %s made, for patient %s\n", text(one, "message"), patient);
	else
		fprintf(show->out, "message %s made, for nobody: %s\n", text(one, "message"), text(one, "whose"));
	step(show, text(one, "answered"), text(one, "outlet"));
	answer = text(one, "answer");
	state = text(one, "state");
	words = text(one, "words");
	if (answer[0] != '\0')
		fprintf(show->out, "answered %s: ", answer);
	fputs(strcmp(state, "made") == 0 ? "not acknowledged yet" : state, show->out);
	fprintf(show->out, "%s%s\n", words[0] != '\0' ? "; " : "", words);
}

static void
show_outlet(struct gw_show *show, yyjson_val *one)
{
	static const char *const keys[] = { "words", "again" };

	if (yyjson_obj_get(one, "message") != NULL) {
		show_message(show, one);
		return;
	}
	step(show, text(one, "at"), text(one, "outlet"));
	fputs(text(one, "state"), show->out);
	for (size_t i = 0; i < 2; i++)
		if (yyjson_obj_get(one, keys[i]) != NULL)
			fprintf(show->out, "; %s", text(one, keys[i]));
	fputc('\n', show->out);
}

void
gw_show_trace(struct gw_show *show, yyjson_val *line)
{
	yyjson_val *outlets = yyjson_obj_get(line, "outlets"), *one;
	size_t i, max;

	if (line == NULL) {
		if (show->lines == 0)
			fputs("no such readings; without --from and --id those of the last 15 minutes by the device's clock are looked for\n", show->out);
		return;
	}
	show_head(show, line);
	show_arrival(show, line);
	yyjson_arr_foreach(outlets, i, max, one)
		show_outlet(show, one);
}
