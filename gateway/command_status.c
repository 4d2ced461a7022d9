// SPDX-License-Identifier: Apache-2.0
// `status`: one object with the state of everything. Each part tells its own. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/clock.h"

static yyjson_mut_val *
add_object(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key)
{
	return yyjson_mut_obj_add_obj(doc, object, key);
}

static void
add_store(const struct gw_core *core, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
	yyjson_mut_val *store = add_object(doc, root, "store");
	struct gw_journal_stats stats;
	char text[24];

	gw_journal_stats(core->journal, &stats);
	yyjson_mut_obj_add_strcpy(doc, store, "dir", core->config->store_dir);
	snprintf(text, sizeof(text), "%016llx", (unsigned long long)stats.incarnation);
	yyjson_mut_obj_add_strcpy(doc, store, "incarnation", text);
	yyjson_mut_obj_add_uint(doc, store, "first_position", stats.first);
	yyjson_mut_obj_add_uint(doc, store, "last_position", stats.last);
	yyjson_mut_obj_add_uint(doc, store, "records_kept", stats.last >= stats.first && stats.first > 0 ? stats.last - stats.first + 1 : 0);
	yyjson_mut_obj_add_uint(doc, store, "series", stats.series);
	yyjson_mut_obj_add_uint(doc, store, "budget_bytes", stats.budget_bytes);
	yyjson_mut_obj_add_uint(doc, store, "used_bytes", stats.used_bytes);
	yyjson_mut_obj_add_uint(doc, store, "disk_free_bytes", stats.disk_free_bytes);
	yyjson_mut_obj_add_bool(doc, store, "full", stats.full);
	if (stats.full)
		yyjson_mut_obj_add_strcpy(doc, store, "full_why", stats.full_why);
	yyjson_mut_obj_add_uint(doc, store, "quarantined", stats.quarantine_count);
	yyjson_mut_obj_add_uint(doc, store, "quarantined_bytes", stats.quarantine_bytes);
	yyjson_mut_obj_add_uint(doc, store, "quarantine_left_out", stats.quarantine_left_out);
	if (stats.rows_damaged > 0)
		yyjson_mut_obj_add_uint(doc, store, "rows_damaged", stats.rows_damaged);
}

// Since start.
static void
add_intake(const struct gw_core *core, int64_t up_us, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
	yyjson_mut_val *intake = add_object(doc, root, "intake");
	struct gw_journal_stats journal;
	struct gw_intake_stats stats;

	gw_journal_stats(core->journal, &journal);
	gw_intake_stats(core->intake, &stats);
	yyjson_mut_obj_add_uint(doc, intake, "records", journal.records);
	yyjson_mut_obj_add_uint(doc, intake, "readings", journal.readings);
	yyjson_mut_obj_add_uint(doc, intake, "duplicates", journal.duplicates);
	yyjson_mut_obj_add_uint(doc, intake, "revisions", journal.revisions);
	yyjson_mut_obj_add_uint(doc, intake, "tickets_submitted", stats.submitted);
	yyjson_mut_obj_add_uint(doc, intake, "tickets_committed", stats.committed);
	yyjson_mut_obj_add_uint(doc, intake, "tickets_refused", stats.refused);
	yyjson_mut_obj_add_uint(doc, intake, "tickets_waiting", stats.waiting);
	yyjson_mut_obj_add_uint(doc, intake, "commits", journal.commits);
	yyjson_mut_obj_add_real(doc, intake, "commits_per_s", up_us > 0 ? (double)journal.commits * 1e6 / (double)up_us : 0);
	yyjson_mut_obj_add_uint(doc, intake, "commit_us_mean", journal.commits > 0 ? journal.commit_us_total / journal.commits : 0);
	yyjson_mut_obj_add_uint(doc, intake, "commit_us_max", journal.commit_us_max);
	yyjson_mut_obj_add_bool(doc, intake, "full", stats.full);
}

static void
add_registry(const struct gw_core *core, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
	const struct gw_snapshot *snapshot = gw_snapshot_get(core->registry);
	yyjson_mut_val *registry = add_object(doc, root, "registry");
	size_t devices = 0, disabled = 0, test = 0;
	const struct gw_device *device;

	for (; (device = gw_snapshot_at(snapshot, devices)) != NULL; devices++) {
		disabled += device->disabled;
		test += device->test;
	}
	gw_snapshot_put(snapshot);
	yyjson_mut_obj_add_uint(doc, registry, "devices", devices);
	yyjson_mut_obj_add_uint(doc, registry, "disabled", disabled);
	yyjson_mut_obj_add_uint(doc, registry, "test", test);
}

static void
add_patients(const struct gw_core *core, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
	yyjson_mut_val *patients = add_object(doc, root, "patients");
	struct gw_patients_stats stats;

	gw_patients_stats(core->patients, &stats);
	yyjson_mut_obj_add_uint(doc, patients, "kept", stats.patients);
	yyjson_mut_obj_add_uint(doc, patients, "beds_taken", stats.in_beds);
	yyjson_mut_obj_add_uint(doc, patients, "beds", stats.beds);
	yyjson_mut_obj_add_uint(doc, patients, "devices", stats.devices);
	yyjson_mut_obj_add_uint(doc, patients, "conflicts", stats.conflicts);
	yyjson_mut_obj_add_uint(doc, patients, "events", stats.events);
	yyjson_mut_obj_add_uint(doc, patients, "contradictions", stats.contradictions);
}

static void
add_refused(const struct gw_core *core, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
	if (core->refusals != NULL)
		gw_refusals_status(core->refusals, doc, add_object(doc, root, "refused"));
}

static void
add_parts(const struct gw_call *call, yyjson_mut_doc *doc, yyjson_mut_val *root)
{
	yyjson_mut_val *parts = add_object(doc, root, "parts");

	gw_parts_hold(call->parts);
	for (size_t i = 0; call->parts != NULL && i < call->parts->count; i++) {
		const struct gw_part *part = call->parts->slots[i].part;

		part->status(call->parts->slots[i].instance, doc, add_object(doc, parts, part->name));
	}
	gw_parts_release(call->parts);
}

enum gw_error
gw_command_status(struct gw_call *call)
{
	int64_t now = gw_clock_wall_us();
	yyjson_mut_val *root;
	yyjson_mut_doc *doc = gw_call_object(&root);

	if (doc == NULL)
		return gw_fail(call->why, GW_E_MEMORY, "out of memory");
	yyjson_mut_obj_add_str(doc, root, "version", VITALGATE_VERSION);
	yyjson_mut_obj_add_bool(doc, root, "running", call->parts != NULL);
	gw_json_time(doc, root, "time", now);
	gw_json_time(doc, root, "started", call->core->started_us);
	add_store(call->core, doc, root);
	add_intake(call->core, now - call->core->started_us, doc, root);
	add_registry(call->core, doc, root);
	add_patients(call->core, doc, root);
	add_refused(call->core, doc, root);
	add_parts(call, doc, root);
	(void)gw_call_emit(call, doc);
	return GW_OK;
}
