// SPDX-License-Identifier: Apache-2.0
// The command line's side of backups: keys out of files, restore, and checking a backup. Single-threaded.
#include "gateway/cli_handlers.h"

#include "gateway/backup.h"
#include "gateway/cli_show.h"
#include "gateway/clock.h"
#include "gateway/erase.h"
#include "gateway/journal_copy.h"
#include "gateway/pages.h"
#include "gateway/restore.h"
#include "gateway/series_mend.h"
#include "gateway/verify_row.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pwd.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int
failed(const struct gw_cli *cli, enum gw_error error, const struct gw_why *why)
{
	fprintf(stderr, "vitalgate %s: %s\n", cli->command->name, why->text[0] != '\0' ? why->text : gw_error_text(error));
	return GW_EXIT_START;
}

// ---- backup ----

static enum gw_error
make_absolute(struct gw_cli *cli, struct gw_why *why)
{
	const char *dir = gw_cli_argument(cli, "dir");
	char here[4096], path[8400];

	if (dir == NULL || dir[0] == '\0')
		return gw_fail(why, GW_E_ARGUMENT, "DIR is empty");
	if (dir[0] == '/')
		return GW_OK;
	if (getcwd(here, sizeof(here)) == NULL || strlen(dir) > 4000)
		return gw_fail(why, GW_E_ARGUMENT, "give the folder as an absolute path");
	snprintf(path, sizeof(path), "%s/%s", here, dir);
	yyjson_mut_obj_put(cli->arguments, yyjson_mut_str(cli->request, "dir"), yyjson_mut_strcpy(cli->request, path));
	return GW_OK;
}

static void
put_hex(struct gw_cli *cli, const char *name, const uint8_t *at, size_t len)
{
	char hex[2 * GW_BACKUP_FIELD + 1];

	sodium_bin2hex(hex, sizeof(hex), at, len);
	yyjson_mut_obj_put(cli->arguments, yyjson_mut_str(cli->request, name), yyjson_mut_strcpy(cli->request, hex));
	sodium_memzero(hex, sizeof(hex));
}

enum gw_error
gw_cli_prepare_backup(struct gw_cli *cli, struct gw_why *why)
{
	const char *passphrase = gw_cli_argument(cli, "passphrase-file"), *to = gw_cli_argument(cli, "encrypt-to");
	struct gw_backup_key key;
	enum gw_error error = make_absolute(cli, why);

	if (error != GW_OK || (passphrase == NULL && to == NULL))
		return error;
	if (passphrase != NULL && to != NULL)
		return gw_fail(why, GW_E_ARGUMENT, "either --passphrase-file or --encrypt-to");
	if (sodium_init() < 0)
		return gw_fail(why, GW_E_SYSTEM, "libsodium cannot be used");
	error = passphrase != NULL ? gw_backup_key_passphrase(passphrase, true, &key, why) : gw_backup_key_seal(to, &key, why);
	if (error != GW_OK)
		return error;
	put_hex(cli, "key", key.key, sizeof(key.key));
	put_hex(cli, "key_field", key.field, sizeof(key.field));
	yyjson_mut_obj_put(cli->arguments, yyjson_mut_str(cli->request, "cipher"), yyjson_mut_str(cli->request, gw_backup_cipher_name(key.cipher)));
	sodium_memzero(&key, sizeof(key));
	return GW_OK;
}

int
gw_cli_backup_key(struct gw_cli *cli)
{
	const char *path = gw_cli_argument(cli, "file");
	struct gw_why why = { "" };
	enum gw_error error = sodium_init() < 0 ? GW_E_SYSTEM : gw_backup_key_make(path, &why);

	if (error != GW_OK)
		return failed(cli, error, &why);
	printf("%s: secret; keep it away from the hub, without it no backup can be read\n%s.pub: for vitalgate backup DIR --encrypt-to %s.pub\n", path, path,
	    path);
	return 0;
}

// ---- restore ----

struct outlets {
	size_t count;
	char lines[64][160];
};

static bool
take_outlet(void *arg, const char *name, struct gw_span cursor)
{
	struct outlets *outlets = arg;
	uint64_t position = 0;

	if (strcmp(name, "series") == 0) // inside the hub: the same reading again changes nothing there
		return true;
	for (size_t i = 0; i < 8 && i < cursor.len; i++)
		position |= (uint64_t)cursor.at[i] << (8 * i);
	if (outlets->count < 64)
		snprintf(outlets->lines[outlets->count++], sizeof(outlets->lines[0]), "outlet %.100s: goes on after position %" PRIu64, name, position);
	return true;
}

static bool
show_progress(void *arg, const char *name, uint64_t done, uint64_t total)
{
	char has[32], all[32];

	(void)arg;
	fprintf(stderr, "%s: %s of %s checked and copied\n", name, gw_show_bytes(done / 2, has), gw_show_bytes(total / 2, all));
	return true;
}

static void
take_erasure(void *arg, const struct gw_erasure *erasure)
{
	char done[40];

	(void)arg;
	printf("to be erased again: erasure %016" PRIx64 " of %s, patient number %" PRIu64 ", %s\n", erasure->number, gw_time_format(erasure->begun_us, done),
	    erasure->patient_count > 0 ? erasure->patients[0] : 0, erasure->reason);
}

static void
say_erasures(const struct gw_restored *restored, const char *list)
{
	static const char by_list[] = "restore once more with --erasures FILE (what `vitalgate patient erasures --json` said), or erase them again";

	if (restored->erasures > 0)
		puts("What was erased since the backup is in it. It is erased again when a gateway starts on this store: `vitalgate patient erasures` tells when that is done.");
	if (restored->erasures_damaged > 0)
		printf("The store that was there is damaged where its list of erasures is: there may have been more%s.\n", list != NULL ? " than in your list" : "");
	else if (restored->aside[0] != '\0' && !restored->erasures_read)
		printf("Which patients were erased since cannot be read from the store that was there: %s%s%s\n", restored->erasures_why.text,
		    list != NULL ? "; your list was taken" : ". They are here again: ", list != NULL ? "" : by_list);
	else if (restored->aside[0] == '\0' && list == NULL)
		printf("Patients who were erased after the backup are here again, as no store tells who they are: %s.\n", by_list);
}

static void
say_restored(const char *to, const struct gw_restored *restored, const struct outlets *outlets, const char *list)
{
	char begun[40];

	gw_time_format(restored->manifest.begun_us, begun);
	printf("%s: restored, positions %" PRIu64 " to %" PRIu64 ", from the backup of %s\n", to, restored->first, restored->last, begun);
	printf("incarnation %016" PRIx64 " (before: %016" PRIx64 "): identifiers of what comes from now on are new ones\n", restored->incarnation,
	    restored->before);
	if (restored->aside[0] != '\0')
		printf("the store that was there is in %s/%s\n", to, restored->aside);
	printf("What was received after %s is missing here, though devices were told that it is safe%s.\n", begun,
	    restored->aside[0] != '\0' ? "; the store moved aside may hold it" : "");
	for (size_t i = 0; i < outlets->count; i++)
		puts(outlets->lines[i]);
	if (outlets->count > 0)
		puts("What was delivered after the backup will be delivered again, under new identifiers: tell those who receive it.");
	say_erasures(restored, list);
}

static const char *
who_am_i(char *out, size_t cap)
{
	const struct passwd *entry = getpwuid(geteuid());

	snprintf(out, cap, "uid %u%s%.40s%s", (unsigned)geteuid(), entry != NULL ? " (" : "", entry != NULL ? entry->pw_name : "", entry != NULL ? ")" : "");
	return out;
}

int
gw_cli_restore(struct gw_cli *cli)
{
	struct outlets *outlets = calloc(1, sizeof(*outlets));
	struct gw_config *config = NULL;
	struct gw_restored restored;
	struct gw_why why = { "" };
	char who[80];
	struct gw_restore_options options = {
		.from = gw_cli_argument(cli, "dir"), .to = gw_cli_argument(cli, "to"), .replace = gw_cli_given(cli, "replace"),
		.passphrase_file = gw_cli_argument(cli, "passphrase-file"), .key_file = gw_cli_argument(cli, "key-file"), .who = who_am_i(who, sizeof(who)),
		.progress = gw_cli_given(cli, "progress") ? show_progress : NULL, .outlet = take_outlet, .erasures = gw_cli_argument(cli, "erasures"), .erasure = take_erasure,
		.arg = outlets,
	};
	enum gw_error error;

	umask(077);
	gw_diag_open(false, GW_WARNING);
	if (options.to == NULL && (config = gw_cli_config(cli)) == NULL) {
		free(outlets);
		return GW_EXIT_START;
	}
	if (options.to == NULL)
		options.to = config->store_dir;
	error = outlets == NULL || sodium_init() < 0 ? GW_E_MEMORY : gw_restore(&options, &restored, &why);
	if (error == GW_OK)
		say_restored(options.to, &restored, outlets, options.erasures);
	gw_config_free(config);
	free(outlets);
	return error == GW_OK ? 0 : failed(cli, error, &why);
}

// ---- verify DIR ----

struct backup_check {
	struct gw_cli *cli;
	struct gw_manifest manifest;
	int folder_fd;
	uint64_t damaged;
	struct gw_why why;
};

// A line for people, or with --json an object with that line as `key`.
static void __attribute__((format(printf, 3, 4)))
say(const struct backup_check *check, const char *key, const char *format, ...)
{
	yyjson_mut_doc *doc = gw_cli_given(check->cli, "json") ? yyjson_mut_doc_new(NULL) : NULL;
	char text[512], *json;
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (doc == NULL) {
		printf("%s%s%s\n", strcmp(key, "damaged") == 0 ? key : "", strcmp(key, "damaged") == 0 ? ": " : "", text);
		return;
	}
	yyjson_mut_doc_set_root(doc, yyjson_mut_obj(doc));
	yyjson_mut_obj_add_str(doc, yyjson_mut_doc_get_root(doc), key, text);
	if ((json = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, NULL)) != NULL)
		puts(json);
	free(json);
	yyjson_mut_doc_free(doc);
}

static void
name_damage(void *arg, const char *what)
{
	struct backup_check *check = arg;

	check->damaged++;
	say(check, "damaged", "%s", what);
}

static bool
check_progress(void *arg, uint64_t bytes)
{
	(void)arg, (void)bytes;
	return true;
}

static bool
walk_progress(void *arg, const struct gw_verified *seen)
{
	struct backup_check *check = arg;

	if (gw_cli_given(check->cli, "progress"))
		fprintf(stderr, "journal: %" PRIu64 " records checked\n", seen->records);
	return true;
}

// The records of a journal. LMDB is let near it when its pages are whole.
static enum gw_error
walk_journal(struct backup_check *check, const char *path)
{
	struct gw_verify verify = { .damage = name_damage, .progress = walk_progress, .row = gw_verify_row, .arg = check };
	struct gw_verified seen;
	struct gw_journal *journal;
	enum gw_error error = gw_pages_check(path, &check->why);

	if (error == GW_E_CORRUPT) {
		name_damage(check, check->why.text);
		return GW_OK;
	}
	if (error != GW_OK || (error = gw_journal_open_copy(path, &journal, &check->why)) != GW_OK)
		return error;
	if ((error = gw_journal_verify(journal, &verify, &seen)) == GW_OK)
		say(check, "journal", "%" PRIu64 " readings in %" PRIu64 " records (positions %" PRIu64 " to %" PRIu64 "), %" PRIu64 " entries of the index, %" PRIu64
		    " rows, %" PRIu64 " frames in quarantine", seen.readings, seen.records, seen.first, seen.last, seen.index_entries, seen.rows,
		    seen.quarantined);
	if (error == GW_OK && gw_journal_incarnation(journal) != check->manifest.incarnation)
		name_damage(check, "the manifest tells another incarnation than the journal");
	gw_journal_close(journal);
	return error;
}

static bool
series_progress(void *arg, const char *what, uint64_t done, uint64_t total)
{
	struct backup_check *check = arg;

	(void)total;
	if (gw_cli_given(check->cli, "progress"))
		fprintf(stderr, "%s: %" PRIu64 " pages checked\n", what, done);
	return true;
}

// Every chunk of a series store is decoded.
static enum gw_error
walk_series(struct backup_check *check, const char *path)
{
	const struct gw_series_watch watch = { series_progress, name_damage, check };
	struct gw_series_verified seen;
	char readings[64], chunks[64];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	enum gw_error error;

	if (fd < 0)
		return gw_fail(&check->why, GW_E_SYSTEM, "cannot open %.120s: %s", path, strerror(errno));
	error = gw_series_verify_file(fd, &watch, &seen, &check->why);
	close(fd);
	if (error == GW_E_CORRUPT) {
		name_damage(check, check->why.text);
		return GW_OK;
	}
	if (error == GW_OK)
		say(check, "series", "%s in %s, %" PRIu64 " bytes", gw_show_count(seen.readings, "reading", readings), gw_show_count(seen.chunks, "chunk", chunks), seen.bytes);
	return error;
}

static enum gw_error
walk(struct backup_check *check, const struct gw_backup_file *file, const char *path)
{
	if (strcmp(file->name, "journal") == 0)
		return walk_journal(check, path);
	return strcmp(file->name, "series") == 0 ? walk_series(check, path) : GW_OK;
}

// What is in an encrypted file lies for the check in a file without a name, of whose space nothing is left afterwards.
static enum gw_error
walk_sealed(struct backup_check *check, const struct gw_backup_file *file, const struct gw_backup_key *key)
{
	const char *folder = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/var/tmp";
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	char path[40];
	enum gw_error error;

	if (fd < 0)
		return gw_fail(&check->why, GW_E_SYSTEM, "cannot make a file in %.100s (see $TMPDIR): %s", folder, strerror(errno));
	error = gw_backup_extract(check->folder_fd, file, key, check->manifest.id, fd, check_progress, check, &check->why);
	if (error == GW_OK) {
		say(check, "file", "%s: opens with this key, to its end", file->file);
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		error = walk(check, file, path);
	}
	close(fd);
	return error;
}

static enum gw_error
check_file(struct backup_check *check, const struct gw_backup_file *file, const struct gw_backup_key *key)
{
	char path[4200];
	enum gw_error error = gw_backup_check(check->folder_fd, file, check_progress, check, &check->why);

	if (error == GW_E_CORRUPT)
		name_damage(check, check->why.text);
	else if (error == GW_OK)
		say(check, "file", "%s: %" PRIu64 " bytes, the hash is right", file->file, file->bytes);
	if (error != GW_OK)
		return error == GW_E_CORRUPT ? GW_OK : error;
	if (key != NULL)
		return walk_sealed(check, file, key);
	snprintf(path, sizeof(path), "%.4000s/%s", gw_cli_argument(check->cli, "dir"), file->file);
	return check->manifest.cipher == GW_BACKUP_PLAIN ? walk(check, file, path) : GW_OK;
}

static enum gw_error
check_backup(struct backup_check *check)
{
	const char *passphrase = gw_cli_argument(check->cli, "passphrase-file"), *key_file = gw_cli_argument(check->cli, "key-file");
	bool keyed = false;
	struct gw_backup_key key = { 0 };
	char begun[40];
	enum gw_error error = gw_manifest_read(check->folder_fd, &check->manifest, &check->why);

	if (error != GW_OK)
		return error;
	say(check, "backup", "backup of %s, incarnation %016" PRIx64 ", everything up to position %" PRIu64 ", encryption: %s",
	    gw_time_format(check->manifest.begun_us, begun), check->manifest.incarnation, check->manifest.last, gw_backup_cipher_name(check->manifest.cipher));
	if (check->manifest.cipher != GW_BACKUP_PLAIN && (passphrase != NULL || key_file != NULL)) {
		if ((error = gw_restore_key(check->folder_fd, &check->manifest, passphrase, key_file, &key, &check->why)) != GW_OK)
			return error;
		keyed = true;
	}
	for (size_t i = 0; error == GW_OK && i < check->manifest.file_count; i++)
		error = check_file(check, &check->manifest.files[i], keyed ? &key : NULL);
	sodium_memzero(&key, sizeof(key));
	if (error == GW_OK && check->damaged > 0)
		return gw_fail(&check->why, GW_E_CORRUPT, "%" PRIu64 " places are damaged: this backup cannot be relied on", check->damaged);
	return error;
}

int
gw_cli_verify_backup(struct gw_cli *cli)
{
	struct backup_check check = { .cli = cli };
	const char *dir = gw_cli_argument(cli, "dir");
	enum gw_error error;

	gw_diag_open(false, GW_WARNING);
	check.folder_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (check.folder_fd < 0)
		error = gw_fail(&check.why, GW_E_NOT_FOUND, "cannot open %.120s: %s", dir, strerror(errno));
	else
		error = sodium_init() < 0 ? GW_E_SYSTEM : check_backup(&check);
	if (check.folder_fd >= 0)
		close(check.folder_fd);
	return error == GW_OK ? 0 : failed(cli, error, &check.why);
}
