// SPDX-License-Identifier: Apache-2.0
// Restoring a backup (gateway/restore.h): check all of it, make the new store beside the old one, let it count.
#include "gateway/restore.h"

#include "gateway/bytes.h"
#include "gateway/clock.h"
#include "gateway/intake.h"
#include "gateway/journal_copy.h"
#include "gateway/ledger.h"
#include "gateway/patients.h"
#include "gateway/restore_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <unistd.h>

#define MAP_MORE (64u << 20) // for the new incarnation and its record

// Where an environment goes back to. A folder of its own: its name before the '/'.
static const struct { const char *name, *place; } places[] = {
	{ "journal", "data.mdb" },
	{ "series", "series/data.mdb" },
};

struct restore {
	const struct gw_restore_options *options;
	struct gw_restored *restored;
	struct gw_why *why;
	int from_fd;
	struct gw_stage stage;
	struct gw_backup_key key;
	uint64_t done, total;
	int64_t told_us;
	const char *name; // of the file under way
};

static bool
progress(void *arg, uint64_t bytes)
{
	struct restore *restore = arg;
	int64_t now = gw_clock_mono_us();

	restore->done += bytes;
	if (restore->options->progress == NULL || (now - restore->told_us < 200000 && restore->done < restore->total))
		return true;
	restore->told_us = now;
	return restore->options->progress(restore->options->arg, restore->name, restore->done, restore->total);
}

// ---- The backup ----

enum gw_error
gw_restore_key(int folder_fd, const struct gw_manifest *manifest, const char *passphrase_file, const char *key_file, struct gw_backup_key *key,
    struct gw_why *why)
{
	enum gw_error error;

	*key = (struct gw_backup_key){ 0 };
	if (manifest->cipher == GW_BACKUP_PLAIN)
		return GW_OK;
	if ((error = gw_backup_field(folder_fd, &manifest->files[0], key, why)) != GW_OK)
		return error;
	if (key->cipher != manifest->cipher)
		return gw_fail(why, GW_E_CORRUPT, GW_BACKUP_MANIFEST " and %s tell different encryptions", manifest->files[0].file);
	if (manifest->cipher == GW_BACKUP_PASSPHRASE)
		return passphrase_file != NULL ? gw_backup_key_passphrase(passphrase_file, false, key, why) :
		    gw_fail(why, GW_E_ARGUMENT, "the backup is encrypted with a passphrase: give its file with --passphrase-file");
	return key_file != NULL ? gw_backup_key_open(key_file, key, why) :
	    gw_fail(why, GW_E_ARGUMENT, "the backup is encrypted to a public key: give the secret key's file with --key-file");
}

static const char *
place_of(const struct gw_backup_file *file)
{
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (strcmp(places[i].name, file->name) == 0)
			return places[i].place;
	return NULL;
}

static enum gw_error
open_backup(struct restore *restore)
{
	struct gw_manifest *manifest = &restore->restored->manifest;
	const char *from = restore->options->from;
	bool journal = false;
	enum gw_error error;

	restore->from_fd = open(from, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (restore->from_fd < 0)
		return gw_fail(restore->why, GW_E_NOT_FOUND, "cannot open %.120s: %s", from, strerror(errno));
	if ((error = gw_manifest_read(restore->from_fd, manifest, restore->why)) != GW_OK)
		return error;
	for (size_t i = 0; i < manifest->file_count; i++) {
		if (place_of(&manifest->files[i]) == NULL)
			return gw_fail(restore->why, GW_E_VERSION, "the backup holds \"%s\", which this program does not know: use a newer one",
			    manifest->files[i].name);
		journal |= strcmp(manifest->files[i].name, "journal") == 0;
		restore->total += 2 * manifest->files[i].bytes;
	}
	if (!journal)
		return gw_fail(restore->why, GW_E_CORRUPT, "the backup holds no journal");
	return gw_restore_key(restore->from_fd, manifest, restore->options->passphrase_file, restore->options->key_file, &restore->key, restore->why);
}

static enum gw_error
check_backup(struct restore *restore)
{
	const struct gw_manifest *manifest = &restore->restored->manifest;
	enum gw_error error = GW_OK;

	for (size_t i = 0; error == GW_OK && i < manifest->file_count; i++) {
		restore->name = manifest->files[i].name;
		error = gw_backup_check(restore->from_fd, &manifest->files[i], progress, restore, restore->why);
	}
	return error;
}

static enum gw_error
extract(struct restore *restore, const struct gw_backup_file *file)
{
	const char *place = place_of(file);
	int fd = openat(restore->stage.fd, place, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	enum gw_error error;

	if (fd < 0)
		return gw_fail(restore->why, GW_E_SYSTEM, "cannot make %.100s/%s: %s", restore->stage.path, place, strerror(errno));
	restore->name = file->name;
	error = gw_backup_extract(restore->from_fd, file, &restore->key, restore->restored->manifest.id, fd, progress, restore, restore->why);
	if (error == GW_OK && fsync(fd) != 0)
		error = gw_fail(restore->why, GW_E_SYNC, "cannot sync %.100s/%s: %s", restore->stage.path, place, strerror(errno));
	close(fd);
	return error;
}

// ---- A new incarnation ----

// Who restored what stands in the journal, with the incarnation before and the time of the backup (u64, i64).
static enum gw_error
describe(const struct restore *restore, struct gw_journal *journal, struct gw_ticket *ticket)
{
	const struct gw_manifest *manifest = &restore->restored->manifest;
	struct gw_event event = { .received_us = gw_clock_wall_us(), .door = GW_DOOR_COMMAND, .principal = gw_span_text(restore->options->who) };
	char text[200], made[40];
	uint8_t data[16];

	snprintf(text, sizeof(text), "restored from the backup of %s; incarnation before: %016" PRIx64 ", last position then: %" PRIu64,
	    gw_time_format(manifest->made_us, made), gw_journal_incarnation(journal), gw_journal_last(journal));
	gw_put64(data, gw_journal_incarnation(journal));
	gw_put64(data + 8, (uint64_t)manifest->made_us);
	event.text = gw_span_text(text);
	event.data = gw_span(data, sizeof(data));
	if (event.principal.len > GW_ID_MAX)
		event.principal.len = GW_ID_MAX;
	return gw_ticket_event(ticket, GW_RECORD_COMMAND, &event);
}

static enum gw_error
begin_anew(struct restore *restore, struct gw_journal *journal)
{
	struct gw_source source;
	struct gw_ticket *ticket;
	enum gw_error error;

	if ((error = gw_source_init(&source, NULL, 1)) != GW_OK)
		return gw_fail(restore->why, error, "%s", gw_error_text(error));
	if ((ticket = gw_ticket_get(&source)) == NULL)
		error = GW_E_MEMORY;
	else if ((error = describe(restore, journal, ticket)) == GW_OK && (error = gw_patients_begin_anew(journal, ticket)) == GW_OK)
		error = gw_journal_begin_anew(journal, ticket);
	if (ticket != NULL)
		gw_ticket_release(ticket);
	gw_source_fini(&source);
	return error == GW_OK ? GW_OK : gw_fail(restore->why, error, "the restored store cannot be given a new incarnation: %s", gw_error_text(error));
}

static enum gw_error
renew(struct restore *restore)
{
	struct gw_journal *journal;
	enum gw_error error = gw_stage_journal(&restore->stage, restore->total + MAP_MORE, &journal, restore->why);

	if (error != GW_OK)
		return error;
	restore->restored->before = gw_journal_incarnation(journal);
	restore->restored->first = gw_journal_first(journal);
	restore->restored->last = gw_journal_last(journal);
	if ((error = gw_restore_erasures(restore->options, journal, restore->restored, restore->why)) == GW_OK &&
	    (error = begin_anew(restore, journal)) == GW_OK && restore->options->outlet != NULL)
		(void)gw_outlets_each(journal, restore->options->outlet, restore->options->arg);
	restore->restored->incarnation = gw_journal_incarnation(journal);
	gw_journal_close(journal);
	return error;
}

static enum gw_error
restore_all(struct restore *restore)
{
	const struct gw_manifest *manifest = &restore->restored->manifest;
	enum gw_error error;

	if ((error = gw_restore_check_erasures(restore->options, restore->why)) != GW_OK || (error = open_backup(restore)) != GW_OK ||
	    (error = gw_stage_open(&restore->stage, restore->options->to, restore->why)) != GW_OK)
		return error;
	if (!restore->options->replace && faccessat(restore->stage.store_fd, "data.mdb", F_OK, 0) == 0)
		return gw_fail(restore->why, GW_E_EXISTS, "there is a store in %.120s: restore to another folder, or move it aside with --replace", restore->options->to);
	if ((error = check_backup(restore)) != GW_OK || (error = gw_stage_room(&restore->stage, restore->total / 2, restore->why)) != GW_OK ||
	    (error = gw_stage_make(&restore->stage, true, restore->why)) != GW_OK)
		return error;
	for (size_t i = 0; error == GW_OK && i < manifest->file_count; i++)
		error = extract(restore, &manifest->files[i]);
	if (error == GW_OK && (error = renew(restore)) == GW_OK)
		error = gw_stage_count(&restore->stage, restore->why);
	if (error != GW_OK)
		gw_stage_drop(&restore->stage);
	else
		snprintf(restore->restored->aside, sizeof(restore->restored->aside), "%s", restore->stage.aside);
	return error;
}

enum gw_error
gw_restore(const struct gw_restore_options *options, struct gw_restored *restored, struct gw_why *why)
{
	struct restore restore = { .options = options, .restored = restored, .why = why, .from_fd = -1 };
	enum gw_error error;

	*restored = (struct gw_restored){ 0 };
	gw_stage_init(&restore.stage);
	error = restore_all(&restore);
	gw_stage_fini(&restore.stage);
	if (restore.from_fd >= 0)
		close(restore.from_fd);
	sodium_memzero(&restore.key, sizeof(restore.key));
	return error;
}
