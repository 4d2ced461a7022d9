// SPDX-License-Identifier: Apache-2.0
// One period's export (gateway/export_write.h). The caller's thread.
//
// The order: the file under its name, synced; the manifest under its name, synced; then what they supersede goes. Whoever looks in between sees whole files, and
// a manifest that tells which of them counts.
#include "gateway/export_write.h"

#include "gateway/clock.h"
#include "gateway/export_folder.h"
#include "gateway/series_whose.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SYNC_BYTES (16u << 20)

struct writing {
	const struct gw_export_plan *plan;
	int64_t from_us, to_us;
	int folder_fd;               // -1: not needed yet
	struct gw_export_writer *writer;
	struct gw_export_file *file; // NULL: no row so far
	char name[GW_EXPORT_NAME_MAX];
	uint64_t checked_bytes;
	struct gw_series_whose clocks; // asked when a row was measured
	// Whose the last row was
	struct gw_owner owner;
	char device[GW_ID_MAX + 1], patient[160];
	bool kept;
	struct gw_why why;
};

// ---- Bytes ----

static enum gw_error
check_room(struct writing *writing)
{
	struct statvfs at;

	if (fstatvfs(writing->plan->dir_fd, &at) == 0 && (uint64_t)at.f_bavail * at.f_frsize < writing->plan->reserve_bytes)
		return gw_fail(&writing->why, GW_E_FULL, "the file system of export.dir has less than store.disk_reserve_mb left");
	return GW_OK;
}

static enum gw_error
open_file(struct writing *writing)
{
	const struct gw_export_plan *plan = writing->plan;
	struct gw_export_file_options options = { .gzip = plan->gzip, .hash = true, .sync_bytes = SYNC_BYTES, .mode = 0600 };
	enum gw_error error = check_room(writing);

	if (error == GW_OK)
		error = gw_export_folder_open(plan->dir_fd, writing->from_us, plan->hours, &writing->folder_fd, &writing->why);
	return error == GW_OK ? gw_export_file_open(writing->folder_fd, writing->name, &options, &writing->file, &writing->why) : error;
}

// Nothing is opened for a header alone.
static enum gw_error
write_bytes(void *arg, const char *at, size_t len, bool wait, size_t *taken)
{
	struct writing *writing = arg;
	struct gw_export_counts counts;
	enum gw_error error = GW_OK;

	*taken = 0;
	if (!wait)
		return GW_OK;
	*taken = len;
	gw_export_counts(writing->writer, &counts);
	if (counts.rows == 0)
		return GW_OK;
	if (writing->file == NULL && (error = open_file(writing)) != GW_OK)
		return error;
	if (gw_export_file_bytes(writing->file) - writing->checked_bytes >= SYNC_BYTES) {
		writing->checked_bytes = gw_export_file_bytes(writing->file);
		error = check_room(writing);
	}
	return error == GW_OK ? gw_export_file_write(writing->file, at, len, &writing->why) : error;
}

static enum gw_error
hold(void *arg, struct gw_series_store **store)
{
	struct writing *writing = arg;
	enum gw_error error = writing->plan->hold(writing->plan->arg, store);

	writing->clocks.store = error == GW_OK ? *store : NULL;
	return error;
}

static void
release(void *arg)
{
	const struct gw_export_plan *plan = ((struct writing *)arg)->plan;

	plan->release(plan->arg);
}

static bool
tick(void *arg, const struct gw_export_progress *progress)
{
	const struct gw_export_plan *plan = ((struct writing *)arg)->plan;

	return plan->tick(plan->arg, progress);
}

// ---- Whose ----

static void
set_patient(struct writing *writing)
{
	struct gw_patient patient;

	writing->patient[0] = '\0';
	if (writing->owner.whose == GW_WHOSE_PATIENT && gw_patients_get(writing->plan->core->patients, writing->owner.patient, &patient) &&
	    patient.identifier_count > 0)
		snprintf(writing->patient, sizeof(writing->patient), "%s^^^%s", patient.identifiers[0].id, patient.identifiers[0].authority);
}

// Only where the answer is the same for all moments at which it may have been measured; see gateway/series_query.h.
static void
say_whose(void *arg, struct gw_export_row *row)
{
	struct writing *writing = arg;
	struct gw_patients *patients = writing->plan->core->patients;
	int64_t first_us, last_us;

	(void)gw_series_when(&writing->clocks, row->series->device, row->point, &first_us, &last_us);
	if (!writing->kept || first_us < writing->owner.from_us || first_us >= writing->owner.to_us || strcmp(writing->device, row->series->device) != 0 ||
	    writing->owner.generation != gw_patients_generation(patients)) {
		gw_patients_owner(patients, gw_span_text(row->series->device), first_us, 0, &writing->owner);
		snprintf(writing->device, sizeof(writing->device), "%s", row->series->device);
		writing->kept = true;
		set_patient(writing);
	}
	row->unsure = last_us >= writing->owner.to_us || writing->owner.whose == GW_WHOSE_CONFLICT || writing->owner.whose == GW_WHOSE_UNSURE;
	if (last_us >= writing->owner.to_us)
		return;
	row->bed = gw_span_text(writing->owner.bed); // also where it is not sure who lies there
	if (!row->unsure)
		row->patient = gw_span_text(writing->patient);
}

// ---- Rows ----

static bool
is_chosen(const struct gw_export_plan *plan, const char *id)
{
	const char *at = plan->devices;
	char pattern[128];

	if (at[0] == '\0')
		return true;
	while (*at != '\0') {
		size_t len = strcspn(at, ",");

		snprintf(pattern, sizeof(pattern), "%.*s", (int)(len < 120 ? len : 120), at);
		if (fnmatch(pattern, id, 0) == 0)
			return true;
		at += len + (at[len] == ',');
	}
	return false;
}

static enum gw_error
list(struct writing *writing, struct gw_series_want **wants, char (**ids)[GW_ID_MAX + 1], size_t *count)
{
	const struct gw_export_plan *plan = writing->plan;
	struct gw_series_store *store;
	size_t kept = 0;
	enum gw_error error = plan->hold(plan->arg, &store);

	*wants = NULL;
	*ids = NULL;
	*count = 0;
	if (error == GW_OK)
		error = gw_export_devices(store, NULL, NULL, gw_span("", 0), ids, count);
	plan->release(plan->arg);
	if (error != GW_OK)
		return error;
	if ((*wants = calloc(*count + 1, sizeof(**wants))) == NULL)
		return GW_E_MEMORY;
	for (size_t i = 0; i < *count; i++)
		if (is_chosen(plan, (*ids)[i]))
			(*wants)[kept++] = (struct gw_series_want){ .device = gw_span_text((*ids)[i]), .signals = gw_span_text(plan->signals), .from_us = writing->from_us,
				.to_us = writing->to_us };
	*count = kept;
	return GW_OK;
}

static enum gw_error
write_rows(struct writing *writing, struct gw_export_done *done)
{
	const struct gw_export_plan *plan = writing->plan;
	const struct gw_export_io io = { .arg = writing, .hold = hold, .release = release, .write = write_bytes, .tick = tick,
		.whose = plan->patients ? say_whose : NULL };
	struct gw_export_ask ask = { .patients = plan->core->patients };
	struct gw_series_want *wants;
	char (*ids)[GW_ID_MAX + 1];
	enum gw_error error = list(writing, &wants, &ids, &ask.count);

	ask.wants = wants;
	if (error == GW_OK)
		error = gw_export_run(&io, &ask, writing->writer, done, &writing->why);
	free(wants);
	free(ids);
	return error;
}

// ---- The manifest ----

static void
put_time(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, int64_t us)
{
	char text[40];

	yyjson_mut_obj_add_strcpy(doc, object, key, gw_time_format(us, text));
}

static void
put_file(yyjson_mut_doc *doc, yyjson_mut_val *object, const struct writing *writing, const struct gw_exported *exported)
{
	char hash[2 * GW_EXPORT_SHA256 + 1];

	if (exported->counts.rows == 0) {
		yyjson_mut_obj_add_null(doc, object, "file");
		return;
	}
	yyjson_mut_obj_add_strcpy(doc, object, "file", writing->name);
	yyjson_mut_obj_add_uint(doc, object, "bytes", exported->filed.bytes);
	yyjson_mut_obj_add_strcpy(doc, object, "sha256", sodium_bin2hex(hash, sizeof(hash), exported->filed.sha256, GW_EXPORT_SHA256));
	put_time(doc, object, "first_time", exported->counts.first_us);
	put_time(doc, object, "last_time", exported->counts.last_us);
}

static char *
make_manifest(const struct writing *writing, const struct gw_exported *exported, const struct gw_export_files *before, uint64_t upto, size_t *len)
{
	const struct gw_export_plan *plan = writing->plan;
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *root = yyjson_mut_obj(doc), *old = yyjson_mut_arr(doc);
	char incarnation[20], *text;

	yyjson_mut_doc_set_root(doc, root);
	put_file(doc, root, writing, exported);
	yyjson_mut_obj_add_uint(doc, root, "rows", exported->counts.rows);
	put_time(doc, root, "from", writing->from_us);
	put_time(doc, root, "to", writing->to_us);
	yyjson_mut_obj_add_uint(doc, root, "revision", exported->revision);
	for (size_t i = 0; i < before->count; i++)
		if (strcmp(before->names[i], exported->counts.rows > 0 ? writing->name : "") != 0)
			yyjson_mut_arr_add_strcpy(doc, old, before->names[i]);
	yyjson_mut_obj_add_val(doc, root, "supersedes", old);
	yyjson_mut_obj_add_str(doc, root, "format", gw_export_format_name(plan->format));
	yyjson_mut_obj_add_uint(doc, root, "format_version", GW_EXPORT_VERSION);
	yyjson_mut_obj_add_str(doc, root, "compression", plan->gzip ? "gzip" : "none");
	yyjson_mut_obj_add_strcpy(doc, root, "signals", plan->signals);
	yyjson_mut_obj_add_strcpy(doc, root, "devices", plan->devices);
	yyjson_mut_obj_add_bool(doc, root, "patients", plan->patients);
	if (exported->counts.left_out > 0)
		yyjson_mut_obj_add_uint(doc, root, "left_out", exported->counts.left_out);
	snprintf(incarnation, sizeof(incarnation), "%016" PRIx64, gw_journal_incarnation(plan->core->journal));
	yyjson_mut_obj_add_strcpy(doc, root, "incarnation", incarnation);
	yyjson_mut_obj_add_uint(doc, root, "position", upto);
	put_time(doc, root, "created", gw_clock_wall_us());
	yyjson_mut_obj_add_str(doc, root, "made_by", "vitalgate " VITALGATE_VERSION);
	text = yyjson_mut_write(doc, YYJSON_WRITE_PRETTY | YYJSON_WRITE_NEWLINE_AT_END, len);
	yyjson_mut_doc_free(doc);
	return text;
}

static enum gw_error
write_manifest(struct writing *writing, const struct gw_exported *exported, const struct gw_export_files *before, uint64_t upto)
{
	struct gw_export_file_options options = { .mode = 0600 };
	struct gw_export_filed filed;
	struct gw_export_file *file;
	size_t len = 0;
	char *text = make_manifest(writing, exported, before, upto, &len);
	enum gw_error error = text != NULL ? gw_export_file_open(writing->folder_fd, GW_EXPORT_MANIFEST, &options, &file, &writing->why) : GW_E_MEMORY;

	if (error == GW_OK) {
		if ((error = gw_export_file_write(file, text, len, &writing->why)) == GW_OK)
			error = gw_export_file_finish(file, &filed, &writing->why);
		else
			gw_export_file_drop(file);
	}
	free(text);
	return error;
}

// ---- All of it ----

static void
remove_superseded(const struct writing *writing, const struct gw_exported *exported, const struct gw_export_files *before)
{
	for (size_t i = 0; i < before->count; i++)
		if (exported->counts.rows == 0 || strcmp(before->names[i], writing->name) != 0)
			(void)unlinkat(writing->folder_fd, before->names[i], 0);
	(void)fsync(writing->folder_fd);
}

static enum gw_error
settle(struct writing *writing, struct gw_exported *exported, const struct gw_export_files *before, uint64_t upto)
{
	const struct gw_export_plan *plan = writing->plan;
	char path[GW_EXPORT_NAME_MAX];
	enum gw_error error = GW_OK;

	if (writing->file != NULL) {
		error = gw_export_file_finish(writing->file, &exported->filed, &writing->why);
		writing->file = NULL;
	} else if (before->count == 0) { // nothing, as before
		exported->revision = 0;
		return GW_OK;
	} else
		error = gw_export_folder_open(plan->dir_fd, writing->from_us, plan->hours, &writing->folder_fd, &writing->why);
	if (error != GW_OK || (error = write_manifest(writing, exported, before, upto)) != GW_OK)
		return error;
	remove_superseded(writing, exported, before);
	gw_export_path(writing->from_us, plan->hours, path);
	if (exported->counts.rows > 0)
		snprintf(exported->path, sizeof(exported->path), "%s/%s", path, writing->name);
	return GW_OK;
}

// What an interrupted attempt made is not worth a revision of its own.
static uint32_t
next_revision(uint32_t known, const struct gw_export_files *before)
{
	if (known == 0)
		return before->revision <= 1 ? 1 : before->revision + 1;
	return (before->revision > known + 1 ? before->revision : known) + 1;
}

enum gw_error
gw_export_write(const struct gw_export_plan *plan, int64_t from_us, int64_t to_us, uint32_t revision, uint64_t upto, struct gw_exported *exported,
    struct gw_why *why)
{
	struct gw_export_options options = { .format = plan->format, .with_bed = plan->patients, .with_patient = plan->patients, .with_unsure = plan->patients,
		.incarnation = gw_journal_incarnation(plan->core->journal) };
	struct writing *writing = calloc(1, sizeof(*writing));
	struct gw_export_files before;
	struct gw_export_done done;
	enum gw_error error;

	*exported = (struct gw_exported){ 0 };
	if (writing == NULL || (writing->writer = gw_export_writer_new(&options)) == NULL) {
		free(writing);
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	}
	writing->plan = plan;
	writing->from_us = from_us;
	writing->to_us = to_us;
	writing->folder_fd = -1;
	gw_export_folder_list(plan->dir_fd, from_us, plan->hours, &before);
	exported->revision = next_revision(revision, &before);
	gw_export_name(exported->revision, gw_export_suffix(plan->format), plan->gzip, writing->name);
	if ((error = write_rows(writing, &done)) == GW_OK) {
		exported->counts = done.counts;
		error = settle(writing, exported, &before, upto);
	}
	if (error != GW_OK)
		(void)gw_fail(why, error, "%s", writing->why.text[0] != '\0' ? writing->why.text : gw_error_text(error));
	gw_export_file_drop(writing->file);
	if (writing->folder_fd >= 0)
		close(writing->folder_fd);
	gw_export_writer_free(writing->writer);
	free(writing);
	return error;
}
