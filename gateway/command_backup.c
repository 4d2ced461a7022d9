// SPDX-License-Identifier: Apache-2.0
// Commands on the store as a whole: backup and verify. Threads: as command.h says; a backup has two more of its own (gateway/backup.h).
#include "gateway/command_handlers.h"

#include "gateway/backup.h"
#include "gateway/clock.h"
#include "gateway/journal_copy.h"
#include "gateway/series_copy.h"
#include "gateway/series_lease.h"
#include "gateway/series_mend.h"
#include "gateway/series_outlet.h"
#include "gateway/verify_row.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define PROGRESS_US 500000
#define DAY_US INT64_C(86400000000)
#define DAMAGE_LINES 100 // places that are named

// ---- What there is to copy ----

static enum gw_error
copy_journal(void *arg, int fd)
{
	return gw_journal_copy(arg, fd);
}

static uint64_t
journal_bytes(void *arg)
{
	return gw_journal_copy_bytes(arg);
}

static uint64_t
journal_extent(void *arg)
{
	return gw_journal_extent(arg);
}

static bool
journal_strains(void *arg, uint64_t extent_before)
{
	return gw_journal_copy_strains(arg, extent_before);
}

static enum gw_error
copy_series(void *arg, int fd)
{
	return gw_series_copy(arg, fd);
}

static uint64_t
series_bytes(void *arg)
{
	return gw_series_copy_bytes(arg);
}

static uint64_t
series_extent(void *arg)
{
	return gw_series_extent(arg);
}

static bool
series_strains(void *arg, uint64_t extent_before)
{
	return gw_series_copy_strains(arg, extent_before);
}

// The series store: the running one, or opened for the command (then *opened is to be closed). NULL where there is none. The parts are held for as long
// as it is used: a reload would close it.
static enum gw_error
find_series(const struct gw_call *call, struct gw_series_store **store, struct gw_series_store **opened)
{
	enum gw_error error;

	*opened = NULL;
	if ((*store = gw_series_running()) != NULL)
		return GW_OK;
	if (call->parts != NULL && call->core->config->series_enabled)
		return gw_fail(call->why, GW_E_BUSY, "the series store is not open (see `vitalgate status`)");
	error = gw_series_open_config(call->core->config, true, opened, call->why);
	*store = *opened;
	return error == GW_E_NOT_FOUND ? GW_OK : error;
}

// Those that follow the journal first, the journal last. Returns how many.
static size_t
list_sources(const struct gw_core *core, struct gw_series_store *series, struct gw_backup_source sources[GW_BACKUP_FILES_MAX])
{
	size_t count = 0;

	if (series != NULL)
		sources[count++] = (struct gw_backup_source){ .name = "series", .arg = series, .copy = copy_series, .bytes = series_bytes,
			.extent = series_extent, .strains = series_strains };
	sources[count++] = (struct gw_backup_source){ .name = "journal", .arg = core->journal, .copy = copy_journal, .bytes = journal_bytes,
		.extent = journal_extent, .strains = journal_strains };
	return count;
}

// ---- backup ----

struct watching {
	struct gw_call *call;
	int64_t told_us;
	bool tell;
};

static bool
watch(void *arg, const char *name, uint64_t done, uint64_t total)
{
	struct watching *watching = arg;
	yyjson_mut_val *object, *progress;
	yyjson_mut_doc *doc;
	int64_t now = gw_clock_mono_us();

	if (gw_call_ending(watching->call))
		return false;
	if (!watching->tell || (now - watching->told_us < PROGRESS_US && done < total))
		return true;
	watching->told_us = now;
	if ((doc = gw_call_object(&object)) == NULL)
		return true;
	progress = yyjson_mut_obj_add_obj(doc, object, "progress");
	yyjson_mut_obj_add_strcpy(doc, progress, "name", name);
	yyjson_mut_obj_add_uint(doc, progress, "bytes", done);
	yyjson_mut_obj_add_uint(doc, progress, "of_about", total > done ? total : done);
	return gw_call_emit(watching->call, doc);
}

// The key comes made from whoever asks: see gateway/backup_key.c.
static enum gw_error
take_key(const struct gw_call *call, struct gw_backup_key *key)
{
	const char *hex = gw_call_text(call, "key"), *field = gw_call_text(call, "key_field"), *cipher = gw_call_text(call, "cipher");

	*key = (struct gw_backup_key){ .cipher = GW_BACKUP_PLAIN };
	if (hex == NULL && field == NULL && cipher == NULL) {
		if (gw_call_flag(call, "passphrase-file") || gw_call_flag(call, "encrypt-to"))
			return gw_fail(call->why, GW_E_ARGUMENT, "encryption was asked for, but no key was given");
		return GW_OK;
	}
	if (hex == NULL || field == NULL || cipher == NULL || strlen(hex) != 2 * GW_BACKUP_KEY || strlen(field) != 2 * GW_BACKUP_FIELD ||
	    sodium_hex2bin(key->key, GW_BACKUP_KEY, hex, strlen(hex), NULL, NULL, NULL) != 0 ||
	    sodium_hex2bin(key->field, GW_BACKUP_FIELD, field, strlen(field), NULL, NULL, NULL) != 0)
		return gw_fail(call->why, GW_E_ARGUMENT, "the key of a backup is damaged");
	key->cipher = strcmp(cipher, "passphrase") == 0 ? GW_BACKUP_PASSPHRASE : GW_BACKUP_PUBLIC_KEY;
	return GW_OK;
}

static void
emit_made(struct gw_call *call, const char *dir, const struct gw_manifest *manifest)
{
	char incarnation[20];
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = gw_call_object(&object);
	uint64_t bytes = 0;

	if (doc == NULL)
		return;
	for (size_t i = 0; i < manifest->file_count; i++)
		bytes += manifest->files[i].bytes;
	snprintf(incarnation, sizeof(incarnation), "%016" PRIx64, manifest->incarnation);
	gw_json_span(doc, object, "backup", gw_span_text(dir));
	gw_json_time(doc, object, "made", manifest->made_us);
	yyjson_mut_obj_add_uint(doc, object, "bytes", bytes);
	yyjson_mut_obj_add_uint(doc, object, "last_position", manifest->last);
	yyjson_mut_obj_add_strcpy(doc, object, "incarnation", incarnation);
	yyjson_mut_obj_add_str(doc, object, "encryption", gw_backup_cipher_name(manifest->cipher));
	yyjson_mut_obj_add_uint(doc, object, "took_ms", (uint64_t)((manifest->made_us - manifest->begun_us) / 1000));
	(void)gw_call_emit(call, doc);
}

// A copy of all that was measured leaves the store: who took it stands in the journal before it begins.
static enum gw_error
record(const struct gw_call *call, const char *dir)
{
	struct gw_source source;
	struct gw_ticket *ticket;
	enum gw_error error;

	if ((error = gw_source_init(&source, call->core->intake, 1)) != GW_OK)
		return gw_fail(call->why, error, "%s", gw_error_text(error));
	ticket = gw_ticket_get(&source);
	error = ticket != NULL ? gw_call_record(call, ticket, gw_span("", 0), "backup %s", dir) : GW_E_MEMORY;
	if (error == GW_OK) {
		ticket->essential = true;
		error = gw_intake_commit(ticket);
	}
	if (ticket != NULL)
		gw_ticket_release(ticket);
	gw_source_fini(&source);
	return error == GW_OK ? GW_OK : gw_fail(call->why, error, "nothing was copied: that it was asked for could not be recorded: %s", gw_error_text(error));
}

enum gw_error
gw_command_backup(struct gw_call *call)
{
	struct gw_journal *journal = call->core->journal;
	struct watching watching = { .call = call, .tell = gw_call_flag(call, "progress") };
	struct gw_backup_source sources[GW_BACKUP_FILES_MAX];
	struct gw_backup_key key;
	struct gw_backup_options options = { .dir = gw_call_text(call, "dir"), .sources = sources, .key = &key, .watch = watch, .arg = &watching };
	struct gw_series_store *series, *opened;
	struct gw_manifest manifest = { 0 };
	enum gw_error error;

	if (options.dir == NULL || options.dir[0] != '/')
		return gw_fail(call->why, GW_E_ARGUMENT, "a backup needs a folder, as an absolute path");
	if ((error = take_key(call, &key)) != GW_OK || (error = record(call, options.dir)) != GW_OK)
		return error;
	gw_parts_hold(call->parts);
	gw_journal_hold(journal);
	if ((error = find_series(call, &series, &opened)) == GW_OK) {
		options.source_count = list_sources(call->core, series, sources);
		manifest.incarnation = gw_journal_incarnation(journal);
		manifest.last = gw_journal_last(journal);
		error = gw_backup_make(&options, &manifest, call->why);
	}
	gw_series_close(opened);
	gw_journal_release(journal);
	gw_parts_release(call->parts);
	sodium_memzero(&key, sizeof(key));
	if (error == GW_OK)
		emit_made(call, options.dir, &manifest);
	gw_diag(error == GW_OK ? GW_NOTICE : GW_WARNING, error == GW_OK ? "backup.made" : "backup.failed", "%s%s%s", options.dir,
	    error == GW_OK ? "" : ": ", error == GW_OK ? "" : call->why->text);
	return error;
}

// ---- verify ----

struct verifying {
	struct gw_call *call;
	int64_t told_us;
	bool tell;
	uint64_t named, differing;
	struct gw_series_lease lease; // of a running store
};

static void
damaged(void *arg, const char *what)
{
	struct verifying *verifying = arg;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;

	if (verifying->named++ >= DAMAGE_LINES || (doc = gw_call_object(&object)) == NULL)
		return;
	gw_json_span(doc, object, "damaged", gw_span_text(what));
	(void)gw_call_emit(verifying->call, doc);
}

static bool
progress(void *arg, const struct gw_verified *seen)
{
	struct verifying *verifying = arg;
	yyjson_mut_val *object, *member;
	yyjson_mut_doc *doc;
	int64_t now = gw_clock_mono_us();

	if (gw_call_ending(verifying->call))
		return false;
	if (!verifying->tell || now - verifying->told_us < PROGRESS_US || (doc = gw_call_object(&object)) == NULL)
		return true;
	verifying->told_us = now;
	member = yyjson_mut_obj_add_obj(doc, object, "progress");
	yyjson_mut_obj_add_str(doc, member, "name", "journal");
	yyjson_mut_obj_add_uint(doc, member, "bytes", seen->bytes);
	yyjson_mut_obj_add_uint(doc, member, "of_about", seen->bytes_total > seen->bytes ? seen->bytes_total : seen->bytes);
	return gw_call_emit(verifying->call, doc);
}

static void
chunk_damaged(void *arg, const struct gw_series_info *info, int64_t first_us, const char *words)
{
	char text[256], first[40];

	if (info != NULL && info->id == 0 && info->device[0] != '\0')
		snprintf(text, sizeof(text), "series of %s: %.80s", info->device, words);
	else if (info != NULL)
		snprintf(text, sizeof(text), "series %s %u/%u, chunk from %s: %.80s", info->device, (unsigned)info->signal, (unsigned)info->instance,
		    gw_time_format(first_us, first), words);
	else
		snprintf(text, sizeof(text), "series: %.200s", words);
	damaged(arg, text);
}

static bool
series_progress(void *arg, const char *what, uint64_t done, uint64_t total)
{
	struct verifying *verifying = arg;
	yyjson_mut_val *object, *member;
	yyjson_mut_doc *doc;
	int64_t now = gw_clock_mono_us();

	if (gw_call_ending(verifying->call) || (strncmp(what, "pages", 5) != 0 && !gw_series_lease_breathe(&verifying->lease)))
		return false;
	if (!verifying->tell || now - verifying->told_us < PROGRESS_US || (doc = gw_call_object(&object)) == NULL)
		return true;
	verifying->told_us = now;
	member = yyjson_mut_obj_add_obj(doc, object, "progress");
	yyjson_mut_obj_add_strcpy(doc, member, "name", what);
	yyjson_mut_obj_add_uint(doc, member, "done", done);
	if (total > 0)
		yyjson_mut_obj_add_uint(doc, member, "of", total > done ? total : done);
	return gw_call_emit(verifying->call, doc);
}

static void
differs(void *arg, const char *words)
{
	struct verifying *verifying = arg;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;

	if (verifying->differing++ >= DAMAGE_LINES || (doc = gw_call_object(&object)) == NULL)
		return;
	gw_json_span(doc, object, "difference", gw_span_text(words));
	(void)gw_call_emit(verifying->call, doc);
}

// Pages first: LMDB follows whatever a damaged one says.
static enum gw_error
compare_series(struct gw_call *call, struct gw_series_store *series, struct verifying *verifying, struct gw_series_verified *seen,
    struct gw_series_agreed *agreed)
{
	const struct gw_config *config = call->core->config;
	const struct gw_series_retention retention = { config->series_numerics_d * DAY_US, config->series_waveforms_d * DAY_US };
	struct gw_series_watch pages = { series_progress, damaged, verifying }, watch = { series_progress, differs, verifying };
	enum gw_error error = gw_series_pages(series, &pages, &seen->damaged, call->why);

	if (error == GW_E_CORRUPT) {
		damaged(verifying, call->why->text);
		seen->damaged++;
	}
	if (error != GW_OK || seen->damaged > 0)
		return error == GW_E_CORRUPT ? GW_OK : error;
	return gw_series_agree(series, call->core->journal, &retention, &watch, chunk_damaged, verifying, seen, agreed);
}

// One that was closed meanwhile is looked at once more when it is open again.
static enum gw_error
compare_until_done(struct gw_call *call, struct gw_series_store *series, struct verifying *verifying, struct gw_series_verified *seen,
    struct gw_series_agreed *agreed)
{
	enum gw_error error = compare_series(call, series, verifying, seen, agreed);

	for (int tries = 1; error != GW_OK && verifying->lease.lost && !gw_call_ending(call) && tries < GW_SERIES_LEASE_TRIES; tries++) {
		*seen = (struct gw_series_verified){ 0 };
		if ((error = gw_series_lease_again(&verifying->lease)) == GW_OK)
			error = compare_series(call, verifying->lease.store, verifying, seen, agreed);
	}
	return error;
}

static enum gw_error
verify_series(struct gw_call *call, struct verifying *verifying, struct gw_series_verified *seen, struct gw_series_agreed *agreed)
{
	struct gw_series_store *series, *opened;
	enum gw_error error;

	*seen = (struct gw_series_verified){ 0 };
	*agreed = (struct gw_series_agreed){ 0 };
	gw_series_lease_hold(&verifying->lease, call);
	error = find_series(call, &series, &opened);
	if (error == GW_E_CORRUPT || error == GW_E_BUSY) { // named, and what else there is to say is said
		damaged(verifying, call->why->text);
		seen->damaged++;
		error = GW_OK;
	} else if (error == GW_OK && series != NULL) {
		if (opened != NULL)
			error = gw_series_catch_up(opened, call->core->journal, call->why);
		if (error == GW_OK && (error = compare_until_done(call, series, verifying, seen, agreed)) != GW_OK)
			error = gw_fail(call->why, error, "the series store could not be checked to its end: %s", gw_error_text(error));
	}
	gw_series_close(opened);
	gw_series_lease_release(&verifying->lease);
	return error;
}

static enum gw_error
verdict(const struct gw_call *call, uint64_t places, uint64_t differences)
{
	if (places > 0)
		return gw_fail(call->why, GW_E_CORRUPT, "%" PRIu64 " places are damaged; what is whole is served as before", places);
	if (differences > 0)
		return gw_fail(call->why, GW_E_CORRUPT, "series and journal differ in %" PRIu64 " readings: `vitalgate rebuild` takes what the journal holds once more",
		    differences);
	return GW_OK;
}

enum gw_error
gw_command_verify(struct gw_call *call)
{
	struct verifying verifying = { .call = call, .tell = gw_call_flag(call, "progress") };
	struct gw_verify verify = { .damage = damaged, .progress = progress, .row = gw_verify_row, .pages = true, .arg = &verifying };
	struct gw_series_verified chunks;
	struct gw_series_agreed agreed;
	struct gw_verified seen;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;
	enum gw_error error = gw_journal_verify(call->core->journal, &verify, &seen);

	if (error == GW_E_CORRUPT && seen.damaged > 0)
		return gw_fail(call->why, error, "%" PRIu64 " pages of the journal are damaged: nothing that they lead to was looked at; restore a backup", seen.damaged);
	if (error != GW_OK)
		return gw_fail(call->why, error, "the store could not be checked to its end: %s", gw_error_text(error));
	if ((error = verify_series(call, &verifying, &chunks, &agreed)) != GW_OK)
		return error;
	if ((doc = gw_call_object(&object)) == NULL)
		return gw_fail(call->why, GW_E_MEMORY, "out of memory");
	seen.damaged += chunks.damaged;
	yyjson_mut_obj_add_uint(doc, object, "chunks", chunks.chunks);
	yyjson_mut_obj_add_uint(doc, object, "chunk_readings", chunks.readings);
	yyjson_mut_obj_add_uint(doc, object, "clocks", chunks.clocks);
	yyjson_mut_obj_add_uint(doc, object, "rollups", chunks.rollups);
	yyjson_mut_obj_add_uint(doc, object, "compared_readings", agreed.journal);
	yyjson_mut_obj_add_uint(doc, object, "missing_readings", agreed.missing);
	yyjson_mut_obj_add_uint(doc, object, "extra_readings", agreed.extra);
	yyjson_mut_obj_add_uint(doc, object, "left_out_readings", agreed.left_out);
	yyjson_mut_obj_add_uint(doc, object, "retired_readings", agreed.retired);
	gw_verified_members(&seen, doc, object);
	(void)gw_call_emit(call, doc);
	return verdict(call, seen.damaged, agreed.missing + agreed.extra);
}
