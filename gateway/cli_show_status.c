// SPDX-License-Identifier: Apache-2.0
// `status` for people: the few figures that matter first, then each part (cli_show_parts.c). Single-threaded.
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
show_store(FILE *out, yyjson_val *store)
{
	uint64_t budget = number(store, "budget_bytes"), used = number(store, "used_bytes");
	char a[32], b[32], c[32];

	fprintf(out, "store      %s\n", gw_show_string(store, "dir"));
	gw_show_words(out, "", "{records_kept:record} (position {first_position} to {last_position}), {series} series", store);
	fprintf(out, "           %s of %s used (%.1f %%), %s free on disk\n", gw_show_bytes(used, a), gw_show_bytes(budget, b),
	    budget > 0 ? 100.0 * (double)used / (double)budget : 0, gw_show_bytes(number(store, "disk_free_bytes"), c));
	gw_show_words(out, "", "[{full:if}FULL: nothing new is taken: {full_why}]", store);
	gw_show_words(out, "quarantine", "{quarantined:frame}, {quarantined_bytes:bytes}", store);
	gw_show_words(out, "", "[NO ROOM for {quarantine_left_out} copies of partly understood frames (their readings were taken)]", store);
	gw_show_words(out, "", "[DAMAGED ROWS were met {rows_damaged} times: `vitalgate verify` names them, `vitalgate salvage` makes the store whole]", store);
}

static void
show_intake(FILE *out, yyjson_val *intake)
{
	gw_show_words(out, "intake", "{readings:reading} since the start, {duplicates} sent again, {revisions:revision}; {tickets_refused:request} refused, "
	    "{tickets_waiting} waiting", intake);
	gw_show_words(out, "", "{commits:commit} ({commits_per_s:rate}), {commit_us_mean:ms} each, {commit_us_max:ms} at most", intake);
}

static void
show_patients(FILE *out, yyjson_val *patients)
{
	gw_show_words(out, "patients", "{kept} known, {beds_taken:bed} taken; {events:event} since the start", patients);
	gw_show_words(out, "", "[{conflicts:CONFLICT}: readings are held back until somebody resolves them (vitalgate patient conflicts)]", patients);
}

void
gw_show_status(struct gw_show *show, yyjson_val *line)
{
	FILE *out = show->out;

	if (line == NULL)
		return;
	gw_show_words(out, "vitalgate", "{version}, [{running:if}running since {started:date}][{running:unless}not running]", line);
	show_store(out, yyjson_obj_get(line, "store"));
	if (yyjson_is_true(yyjson_obj_get(line, "running")))
		show_intake(out, yyjson_obj_get(line, "intake"));
	gw_show_words(out, "devices", "{devices} registered[, {disabled} disabled][, {test} for tests]", yyjson_obj_get(line, "registry"));
	show_patients(out, yyjson_obj_get(line, "patients"));
	gw_show_words(out, "refused", "[{attempts:attempt} since the start, the last {last.at:date} from {last.from} as \"{last.claimed}\": {last.reason} (vitalgate events --kind refused)]", yyjson_obj_get(line, "refused"));
	gw_show_parts(out, yyjson_obj_get(line, "parts"));
}
