// SPDX-License-Identifier: Apache-2.0
// The ledger of a reading as a small timeline, one step a line. Single-threaded.
#include "gateway/cli_handlers.h"
#include "gateway/cli_show.h"

#include <string.h>

#define TIME_WIDTH 28
#define STEP_WIDTH 14

// A step's beginning; what follows is its words.
static void
step(struct gw_show *show, const char *time, const char *name)
{
	fprintf(show->out, "  %-*s %-*s ", TIME_WIDTH, time, STEP_WIDTH, name);
}

static const char *
number(yyjson_val *line, const char *key, char out[32])
{
	return gw_show_text(line, key, out, 32);
}

static void
show_head(struct gw_show *show, yyjson_val *line)
{
	char mdc[32];
	const char *signal = gw_show_string(line, "signal");
	bool own = yyjson_get_bool(yyjson_obj_get(line, "device_time"));

	fprintf(show->out, "%s%s %s of %s, %s %s\n", show->lines++ > 0 ? "\n" : "", gw_show_string(line, "id"),
	    signal[0] != '\0' ? signal : number(line, "mdc", mdc), gw_show_string(line, "device"), gw_show_string(line, "time"),
	    own ? "by the device's clock" : "(the device told no time)");
}

static void
show_arrival(struct gw_show *show, yyjson_val *line)
{
	const char *by = gw_show_string(line, "committed_by");
	char one[32], two[32], three[32];

	step(show, gw_show_string(line, "received"), "received");
	fprintf(show->out, "by %s from %s (%s), %s, profile %s\n", gw_show_string(line, "door"), gw_show_string(line, "principal"), gw_show_string(line, "auth"),
	    gw_show_string(line, "route"), gw_show_string(line, "profile"));
	step(show, by, "committed");
	fprintf(show->out, "journal position %s, reading %s of %s%s\n", number(line, "position", one), number(line, "place", two), number(line, "readings", three),
	    by[0] != '\0' ? "; by then" : "");
}

// A message: when it was made, and what was answered.
static void
show_message(struct gw_show *show, yyjson_val *one)
{
	const char *outlet = gw_show_string(one, "outlet"), *answer = gw_show_string(one, "answer"), *state = gw_show_string(one, "state");
	char patient[32];

	step(show, gw_show_string(one, "made"), outlet);
	fprintf(show->out, "message %s made, ", gw_show_string(one, "message"));
	if (number(one, "patient", patient)[0] != '\0')
		fprintf(show->out, "for patient %s\n", patient);
	else
		fprintf(show->out, "for nobody (%s)\n", gw_show_string(one, "whose"));
	step(show, gw_show_string(one, "answered"), outlet);
	if (answer[0] != '\0')
		fprintf(show->out, "answered %s: %s", answer, state);
	else
		fputs(strcmp(state, "made") == 0 ? "to be sent, or not answered yet" : state, show->out);
	if (gw_show_string(one, "words")[0] != '\0')
		fprintf(show->out, "; %s", gw_show_string(one, "words"));
	fputc('\n', show->out);
}

static void
show_outlet(struct gw_show *show, yyjson_val *one)
{
	static const char *const keys[] = { "words", "again" };

	if (gw_show_string(one, "message")[0] != '\0') {
		show_message(show, one);
		return;
	}
	step(show, gw_show_string(one, "at"), gw_show_string(one, "outlet"));
	fputs(gw_show_string(one, "state"), show->out);
	for (size_t i = 0; i < 2; i++)
		if (gw_show_string(one, keys[i])[0] != '\0')
			fprintf(show->out, "; %s", gw_show_string(one, keys[i]));
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
