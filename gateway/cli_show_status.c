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
	if (number(store, "quarantine_left_out") > 0)
		fprintf(out, "           NO ROOM for %llu copies of partly understood frames (their readings were taken)\n",
		    (unsigned long long)number(store, "quarantine_left_out"));
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

// Members side by side, wrapped: "connections 3, refused 0". An object among them gets lines of its own: "hl7/pdms".
static void
show_part(FILE *out, const char *name, yyjson_val *state)
{
	yyjson_val *key, *value;
	char text[512], item[640];
	size_t i, max, column = 0;

	yyjson_obj_foreach(state, i, max, key, value) {
		size_t len;

		if (yyjson_is_obj(value) || (yyjson_is_arr(value) && yyjson_arr_size(value) == 0))
			continue;
		len = (size_t)snprintf(item, sizeof(item), "%s %s", yyjson_get_str(key), gw_show_text(state, yyjson_get_str(key), text, sizeof(text)));
		if (column > 0 && column + len > 100) {
			fputs(",\n", out);
			column = 0;
			name = "";
		}
		if (column > 0)
			fprintf(out, ", %s", item);
		else
			fprintf(out, "%-10s %s", name, item);
		column += len + 2;
	}
	if (column > 0)
		fputc('\n', out);
}

static void
show_parts(FILE *out, const char *prefix, yyjson_val *parts)
{
	yyjson_val *key, *value;
	char name[64];
	size_t i, max;

	yyjson_obj_foreach(parts, i, max, key, value) {
		if (!yyjson_is_obj(value))
			continue;
		snprintf(name, sizeof(name), "%.30s%s%.30s", prefix, prefix[0] != '\0' ? "/" : "", yyjson_get_str(key));
		show_part(out, name, value);
		show_parts(out, name, value);
	}
}

static void
show_patients(FILE *out, yyjson_val *patients)
{
	fprintf(out, "patients   %llu, %llu beds taken; %llu events since the start\n", (unsigned long long)number(patients, "kept"),
	    (unsigned long long)number(patients, "beds_taken"), (unsigned long long)number(patients, "events"));
	if (number(patients, "conflicts") > 0)
		fprintf(out, "           %llu CONFLICTS: readings are held back until somebody resolves them (vitalgate patient conflicts)\n",
		    (unsigned long long)number(patients, "conflicts"));
}

void
gw_show_status(struct gw_show *show, yyjson_val *line)
{
	yyjson_val *registry = yyjson_obj_get(line, "registry");
	FILE *out = show->out;

	if (line == NULL)
		return;
	fprintf(out, "vitalgate  %s, %s %s\n", gw_show_string(line, "version"),
	    yyjson_is_true(yyjson_obj_get(line, "running")) ? "running since" : "not running; the store was opened at", gw_show_string(line, "started"));
	show_store(out, line);
	show_intake(out, line);
	fprintf(out, "devices    %llu (%llu disabled, %llu for test)\n", (unsigned long long)number(registry, "devices"),
	    (unsigned long long)number(registry, "disabled"), (unsigned long long)number(registry, "test"));
	show_patients(out, yyjson_obj_get(line, "patients"));
	show_parts(out, "", yyjson_obj_get(line, "parts"));
}
