// SPDX-License-Identifier: Apache-2.0
// `status` for people: the few figures that matter first, then each part as it tells its state. Single-threaded.
#include "gateway/cli_handlers.h"
#include "gateway/cli_show.h"

#include <stdlib.h>
#include <string.h>

static uint64_t
number(yyjson_val *object, const char *key)
{
	char text[32];

	return strtoull(gw_show_text(object, key, text, sizeof(text)), NULL, 10);
}

static void
show_store(FILE *out, yyjson_val *root)
{
	yyjson_val *store = yyjson_obj_get(root, "store");
	uint64_t budget = number(store, "budget_bytes"), used = number(store, "used_bytes");
	char a[32], b[32], c[32];

	fprintf(out, "store      %s\n", gw_show_string(store, "dir"));
	fprintf(out, "           %llu records (position %llu to %llu), %llu series\n", (unsigned long long)number(store, "records_kept"),
	    (unsigned long long)number(store, "first_position"), (unsigned long long)number(store, "last_position"),
	    (unsigned long long)number(store, "series"));
	fprintf(out, "           %s of %s used (%.1f %%), %s free on disk\n", gw_show_bytes(used, a), gw_show_bytes(budget, b),
	    budget > 0 ? 100.0 * (double)used / (double)budget : 0, gw_show_bytes(number(store, "disk_free_bytes"), c));
	if (yyjson_is_true(yyjson_obj_get(store, "full")))
		fprintf(out, "           FULL: nothing new is taken: %s\n", gw_show_string(store, "full_why"));
	fprintf(out, "quarantine %llu frames, %s\n", (unsigned long long)number(store, "quarantined"), gw_show_bytes(number(store, "quarantined_bytes"), a));
}

static void
show_intake(FILE *out, yyjson_val *root)
{
	yyjson_val *intake = yyjson_obj_get(root, "intake");
	char rate[32];

	fprintf(out, "intake     %llu readings since the start, %llu sent again, %llu revisions; %llu requests refused, %llu waiting\n",
	    (unsigned long long)number(intake, "readings"), (unsigned long long)number(intake, "duplicates"),
	    (unsigned long long)number(intake, "revisions"), (unsigned long long)number(intake, "tickets_refused"),
	    (unsigned long long)number(intake, "tickets_waiting"));
	fprintf(out, "           %llu commits (%.1f/s), %.1f ms each, %.1f ms at most\n", (unsigned long long)number(intake, "commits"),
	    strtod(gw_show_text(intake, "commits_per_s", rate, sizeof(rate)), NULL), (double)number(intake, "commit_us_mean") / 1000,
	    (double)number(intake, "commit_us_max") / 1000);
}

// Members side by side, wrapped: "connections 3, refused 0".
static void
show_part(FILE *out, const char *name, yyjson_val *state)
{
	yyjson_val *key, *value;
	char text[512], item[640];
	size_t i, max, column = 11;

	fprintf(out, "%-10s ", name);
	yyjson_obj_foreach(state, i, max, key, value) {
		size_t len;

		if (yyjson_is_obj(value) && yyjson_obj_size(value) == 0)
			continue;
		len = (size_t)snprintf(item, sizeof(item), "%s %s", yyjson_get_str(key), gw_show_text(state, yyjson_get_str(key), text, sizeof(text)));

		if (i > 0 && column + len > 110) {
			fprintf(out, ",\n%11s", "");
			column = 11;
		}
		fprintf(out, "%s%s", column > 11 ? ", " : "", item);
		column += len + 2;
	}
	fputc('\n', out);
}

void
gw_show_status(struct gw_show *show, yyjson_val *line)
{
	yyjson_val *registry = yyjson_obj_get(line, "registry"), *key, *value;
	FILE *out = show->out;
	size_t i, max;

	if (line == NULL)
		return;
	fprintf(out, "vitalgate  %s, %s %s\n", gw_show_string(line, "version"),
	    yyjson_is_true(yyjson_obj_get(line, "running")) ? "running since" : "not running; the store was opened at", gw_show_string(line, "started"));
	show_store(out, line);
	show_intake(out, line);
	fprintf(out, "devices    %llu (%llu disabled, %llu for test)\n", (unsigned long long)number(registry, "devices"),
	    (unsigned long long)number(registry, "disabled"), (unsigned long long)number(registry, "test"));
	yyjson_obj_foreach(yyjson_obj_get(line, "parts"), i, max, key, value)
		show_part(out, yyjson_get_str(key), value);
}
