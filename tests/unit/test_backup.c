// SPDX-License-Identifier: Apache-2.0
// Backup, restore and verify without a daemon: copies while the store is written, encryption against damage, restores that are killed, damage that is named.
#include "gateway/backup.h"
#include "gateway/bytes.h"
#include "gateway/clock.h"
#include "gateway/journal_copy.h"
#include "gateway/restore.h"
#include "gateway/restore_internal.h"
#include "gateway/series_copy.h"
#include "gateway/verify_row.h"
#include "store_help.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static struct gw_source spare = { .tickets_max = 100000, .event_fd = -1 };
static char backup_dir[560], new_dir[560];
static const struct gw_backup_key no_key = { .cipher = GW_BACKUP_PLAIN };

static int
make(void **state)
{
	if (store_make(state) != 0)
		return -1;
	snprintf(backup_dir, sizeof(backup_dir), "%s-backup", store_dir);
	snprintf(new_dir, sizeof(new_dir), "%s-new", store_dir);
	return 0;
}

static int
clear(void **state)
{
	nftw(backup_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	nftw(new_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
	return store_remove(state);
}

// One record of 8 readings at second `at`.
static enum gw_error
add(struct gw_journal *journal, int64_t at)
{
	struct gw_ticket *ticket = gw_ticket_get(&spare);
	struct gw_reading readings[8];
	enum gw_error error;

	for (uint32_t i = 0; i < 8; i++)
		readings[i] = reading_of(i + 1, T0 + at * 1000000, at);
	add_readings(ticket, "m1", T0 + at * 1000000, readings, 8);
	if ((error = gw_journal_begin(journal)) == GW_OK && (error = gw_journal_apply(journal, ticket)) == GW_OK)
		error = gw_journal_commit(journal);
	gw_ticket_release(ticket);
	return error;
}

static void
fill(struct gw_journal *journal, int64_t from, int64_t to)
{
	for (int64_t at = from; at < to; at++)
		assert_int_equal(add(journal, at), GW_OK);
}

// ---- The journal as a source ----

static enum gw_error
copy(void *arg, int fd)
{
	return gw_journal_copy(arg, fd);
}

static uint64_t
bytes(void *arg)
{
	return gw_journal_copy_bytes(arg);
}

static uint64_t
extent(void *arg)
{
	return gw_journal_extent(arg);
}

static bool
strains(void *arg, uint64_t before)
{
	return gw_journal_copy_strains(arg, before);
}

static enum gw_error
backup_watched(struct gw_journal *journal, const struct gw_backup_key *key, gw_backup_watch_fn *watch, void *arg, struct gw_manifest *manifest,
    struct gw_why *why)
{
	const struct gw_backup_source source = { .name = "journal", .arg = journal, .copy = copy, .bytes = bytes, .extent = extent, .strains = strains };
	const struct gw_backup_options options = { .dir = backup_dir, .sources = &source, .source_count = 1, .key = key, .watch = watch, .arg = arg };

	*manifest = (struct gw_manifest){ .incarnation = gw_journal_incarnation(journal), .last = gw_journal_last(journal) };
	return gw_backup_make(&options, manifest, why);
}

static enum gw_error
backup(struct gw_journal *journal, const struct gw_backup_key *key, struct gw_manifest *manifest)
{
	struct gw_why why = { "" };
	enum gw_error error = backup_watched(journal, key, NULL, NULL, manifest, &why);

	if (error != GW_OK)
		print_message("%s\n", why.text);
	return error;
}

static size_t damages;
static char first_damage[256];

static void
note_damage(void *arg, const char *what)
{
	(void)arg;
	if (damages++ == 0)
		snprintf(first_damage, sizeof(first_damage), "%s", what);
}

static struct gw_verified
verify(struct gw_journal *journal)
{
	const struct gw_verify how = { .damage = note_damage, .row = gw_verify_row };
	struct gw_verified seen;

	damages = 0;
	assert_int_equal(gw_journal_verify(journal, &how, &seen), GW_OK);
	assert_int_equal(seen.damaged, damages);
	return seen;
}

static bool
in_backup(const char *name)
{
	char path[700];

	snprintf(path, sizeof(path), "%s/%s", backup_dir, name);
	return access(path, F_OK) == 0;
}

static int
backup_fd(void)
{
	int fd = open(backup_dir, O_RDONLY | O_DIRECTORY);

	assert_true(fd >= 0);
	return fd;
}

// Verifies an unencrypted backup's journal; how many records it holds.
static uint64_t
records_of_backup(void)
{
	char path[700];
	struct gw_journal *journal;
	struct gw_why why = { "" };
	struct gw_verified seen;

	snprintf(path, sizeof(path), "%s/journal.mdb", backup_dir);
	if (gw_journal_open_copy(path, &journal, &why) != GW_OK)
		fail_msg("%s", why.text);
	seen = verify(journal);
	gw_journal_close(journal);
	assert_int_equal(damages, 0);
	return seen.records;
}

// ---- Backups ----

struct writer {
	struct gw_journal *journal;
	atomic_bool stop;
	int64_t at;
};

static void *
write_on(void *arg)
{
	struct writer *writer = arg;

	while (!atomic_load(&writer->stop))
		if (add(writer->journal, writer->at++) != GW_OK)
			abort();
	return NULL;
}

static void
a_copy_while_it_is_written(void **state)
{
	struct gw_journal *journal = store_open();
	struct writer writer = { .journal = journal, .at = 3000 };
	struct gw_manifest manifest, read;
	struct gw_why why = { "" };
	uint64_t records;
	pthread_t thread;
	int fd;

	(void)state;
	fill(journal, 0, 3000);
	assert_int_equal(pthread_create(&thread, NULL, write_on, &writer), 0);
	while (gw_journal_last(journal) < 3010)
		usleep(1000);
	assert_int_equal(backup(journal, &no_key, &manifest), GW_OK);
	atomic_store(&writer.stop, true);
	pthread_join(thread, NULL);
	assert_true(manifest.last >= 3010);

	fd = backup_fd();
	assert_int_equal(gw_manifest_read(fd, &read, &why), GW_OK);
	assert_memory_equal(&read, &manifest, sizeof(read.id));
	assert_int_equal(read.incarnation, gw_journal_incarnation(journal));
	assert_int_equal(read.last, manifest.last);
	assert_int_equal(gw_backup_check(fd, &read.files[0], NULL, NULL, &why), GW_OK);
	close(fd);
	records = records_of_backup();
	assert_true(records >= manifest.last && records <= gw_journal_last(journal));
	assert_int_equal(backup_watched(journal, &no_key, NULL, NULL, &manifest, &why), GW_E_EXISTS);
	assert_int_equal(verify(journal).records, gw_journal_last(journal));
	gw_journal_close(journal);
}

static bool
refuse(void *arg, const char *name, uint64_t done, uint64_t total)
{
	(void)arg, (void)name, (void)done, (void)total;
	return false;
}

static void
one_that_is_stopped_leaves_nothing(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_manifest manifest;
	struct gw_why why = { "" };

	(void)state;
	fill(journal, 0, 500);
	assert_int_equal(backup_watched(journal, &no_key, refuse, NULL, &manifest, &why), GW_E_STOPPING);
	assert_false(in_backup("journal.mdb.part") || in_backup("journal.mdb") || in_backup(GW_BACKUP_MANIFEST));
	fill(journal, 500, 510);
	assert_int_equal(backup(journal, &no_key, &manifest), GW_OK);
	gw_journal_close(journal);
}

// A target that takes nothing any more, as far as a process can bring it about without rights: a limit of the size of files.
static void
a_target_that_is_full(void **state)
{
	struct gw_journal *journal = store_open();
	struct rlimit before, small;
	struct gw_manifest manifest;
	struct gw_why why = { "" };

	(void)state;
	fill(journal, 0, 2000);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = 100000;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	assert_int_not_equal(backup_watched(journal, &no_key, NULL, NULL, &manifest, &why), GW_OK);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	assert_non_null(strstr(why.text, "cannot write journal.mdb.part"));
	assert_false(in_backup("journal.mdb.part") || in_backup("journal.mdb") || in_backup(GW_BACKUP_MANIFEST));
	fill(journal, 2000, 2010);
	assert_int_equal(verify(journal).records, 2010);
	assert_int_equal(damages, 0);
	gw_journal_close(journal);
}

// The store's budget is small and the target is never read: the copy gives way, intake goes on.
static bool
write_more(void *arg, const char *name, uint64_t done, uint64_t total)
{
	struct writer *writer = arg;

	(void)name, (void)done, (void)total;
	for (int i = 0; i < 200; i++)
		assert_int_equal(add(writer->journal, writer->at++), GW_OK);
	return true;
}

static enum gw_error
copy_never(void *arg, int fd)
{
	static const uint8_t zeros[65536];

	(void)arg;
	while (write(fd, zeros, sizeof(zeros)) > 0)
		usleep(1000);
	return GW_E_CLOSED;
}

static void
a_copy_that_takes_too_long_gives_way(void **state)
{
	struct gw_journal *journal;
	struct writer writer = { .at = 100 };
	struct gw_backup_source source = { .name = "journal", .copy = copy_never, .bytes = bytes, .extent = extent, .strains = strains };
	struct gw_backup_options options = { .dir = backup_dir, .sources = &source, .source_count = 1, .key = &no_key, .watch = write_more, .arg = &writer };
	struct gw_manifest manifest = { 0 };
	struct gw_why why = { "" };

	(void)state;
	signal(SIGPIPE, SIG_IGN);
	store_options.budget_bytes = 32 * MB;
	journal = store_open();
	fill(journal, 0, 100);
	source.arg = writer.journal = journal;
	assert_int_equal(gw_backup_make(&options, &manifest, &why), GW_E_TIMEOUT);
	assert_non_null(strstr(why.text, "too slowly"));
	assert_false(in_backup("journal.mdb.part") || in_backup(GW_BACKUP_MANIFEST));
	assert_int_equal(add(journal, writer.at), GW_OK);
	gw_journal_close(journal);
}

// ---- Encryption ----

static struct gw_backup_key
some_key(void)
{
	struct gw_backup_key key = { .cipher = GW_BACKUP_PUBLIC_KEY };

	randombytes_buf(key.key, sizeof(key.key));
	randombytes_buf(key.field, sizeof(key.field));
	return key;
}

static enum gw_error
extract(const struct gw_backup_file *file, const struct gw_backup_key *key, const uint8_t id[GW_BACKUP_ID], const char *to)
{
	int fd = backup_fd(), out = to != NULL ? open(to, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
	struct gw_why why = { "" };
	enum gw_error error = gw_backup_extract(fd, file, key, id, out, NULL, NULL, &why);

	assert_true(error == GW_OK || why.text[0] != '\0');
	close(fd);
	if (out >= 0)
		close(out);
	return error;
}

static void
flip(const char *path, off_t at)
{
	int fd = open(path, O_RDWR);
	uint8_t byte;

	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

static void
encrypted_and_damaged_in_every_way(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_backup_key key = some_key(), other = some_key();
	struct gw_manifest manifest;
	struct gw_backup_file file;
	uint8_t id[GW_BACKUP_ID] = { 1 };
	struct gw_why why = { "" };
	char path[700];
	int fd;

	(void)state;
	fill(journal, 0, 2000);
	assert_int_equal(backup(journal, &key, &manifest), GW_OK);
	gw_journal_close(journal);
	file = manifest.files[0];
	assert_string_equal(file.file, "journal.mdb.enc");
	snprintf(path, sizeof(path), "%s/journal.mdb.enc", backup_dir);
	assert_int_equal(extract(&file, &key, manifest.id, new_dir), GW_OK);
	assert_int_equal(gw_journal_open_copy(new_dir, &journal, &why), GW_OK);
	assert_int_equal(verify(journal).records, 2000);
	gw_journal_close(journal);
	unlink(new_dir);

	assert_int_equal(extract(&file, &other, manifest.id, NULL), GW_E_UNAUTHENTICATED);
	assert_int_equal(extract(&file, &key, id, NULL), GW_E_CORRUPT); // of another backup
	fd = backup_fd();
	for (int i = 0; i < 64; i++) {
		off_t at = i < 32 ? rand() % 300 : (off_t)(randombytes_uniform((uint32_t)file.bytes));
		flip(path, at);
		assert_int_equal(gw_backup_check(fd, &file, NULL, NULL, &why), GW_E_CORRUPT);
		assert_int_not_equal(extract(&file, &key, manifest.id, NULL), GW_OK);
		flip(path, at);
	}
	assert_int_equal(gw_backup_check(fd, &file, NULL, NULL, &why), GW_OK);
	close(fd);
}

// What was encrypted is cut off at every end of a chunk, the longest first.
static void
cut_off_at_every_chunk(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_backup_key key = some_key();
	struct gw_manifest manifest;
	struct gw_backup_file file;
	char path[700];

	(void)state;
	fill(journal, 0, 2000);
	assert_int_equal(backup(journal, &key, &manifest), GW_OK);
	gw_journal_close(journal);
	snprintf(path, sizeof(path), "%s/journal.mdb.enc", backup_dir);
	file = manifest.files[0];
	for (uint64_t chunks = (file.bytes - 201) / (GW_BACKUP_CHUNK + 17); chunks > 0; chunks--) {
		file.bytes = 201 + chunks * (GW_BACKUP_CHUNK + 17);
		if (file.bytes == manifest.files[0].bytes)
			continue;
		assert_int_equal(truncate(path, (off_t)file.bytes), 0);
		assert_int_equal(extract(&file, &key, manifest.id, NULL), GW_E_CORRUPT);
	}
}

static void
keys_of_people(void **state)
{
	struct gw_backup_key key, again;
	struct gw_why why = { "" };
	char path[600], other[600], name[620];
	FILE *out;

	(void)state;
	snprintf(path, sizeof(path), "%s/key", store_dir);
	snprintf(other, sizeof(other), "%s/other", store_dir);
	snprintf(name, sizeof(name), "%s.pub", path);
	assert_int_equal(gw_backup_key_make(path, &why), GW_OK);
	assert_int_not_equal(gw_backup_key_make(path, &why), GW_OK); // never over another
	assert_int_equal(gw_backup_key_make(other, &why), GW_OK);
	assert_int_equal(gw_backup_key_seal(name, &key, &why), GW_OK);
	again = (struct gw_backup_key){ .cipher = key.cipher };
	memcpy(again.field, key.field, sizeof(key.field));
	assert_int_equal(gw_backup_key_open(other, &again, &why), GW_E_UNAUTHENTICATED);
	assert_int_equal(gw_backup_key_open(path, &again, &why), GW_OK);
	assert_memory_equal(again.key, key.key, GW_BACKUP_KEY);

	snprintf(path, sizeof(path), "%s/pass", store_dir);
	out = fopen(path, "w");
	fputs("short\n", out);
	fclose(out);
	assert_int_equal(gw_backup_key_passphrase(path, true, &key, &why), GW_E_ARGUMENT);
	out = fopen(path, "w");
	fputs("correct horse battery\n", out);
	fclose(out);
	assert_int_equal(gw_backup_key_passphrase(path, true, &key, &why), GW_OK);
	again = (struct gw_backup_key){ .cipher = key.cipher };
	memcpy(again.field, key.field, sizeof(key.field));
	assert_int_equal(gw_backup_key_passphrase(path, false, &again, &why), GW_OK);
	assert_memory_equal(again.key, key.key, GW_BACKUP_KEY);
	gw_put64(again.field + 8, UINT64_C(1) << 40); // a head that asks for a terabyte
	assert_int_equal(gw_backup_key_passphrase(path, false, &again, &why), GW_E_CORRUPT);
}

// ---- Restoring ----

static enum gw_error
restore(const char *to, bool replace, struct gw_restored *restored)
{
	const struct gw_restore_options options = { .from = backup_dir, .to = to, .replace = replace, .who = "uid 0 (root)" };
	struct gw_why why = { "" };
	enum gw_error error = gw_restore(&options, restored, &why);

	assert_true(error == GW_OK || why.text[0] != '\0');
	return error;
}

static struct gw_journal *
open_dir(const char *dir)
{
	struct gw_journal_options options = store_options;
	struct gw_journal *journal;
	struct gw_why why = { "" };

	options.dir = dir;
	if (gw_journal_open(&options, &journal, &why) != GW_OK)
		fail_msg("%s", why.text);
	return journal;
}

static void
a_restored_store_goes_on(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_manifest manifest;
	struct gw_restored restored;
	struct gw_record record;
	struct gw_ticket *ticket;
	struct gw_reading again = reading_of(3, T0 + 17 * 1000000, 17);
	uint8_t buf[4096];

	(void)state;
	fill(journal, 0, 300);
	assert_int_equal(backup(journal, &no_key, &manifest), GW_OK);
	fill(journal, 300, 310);
	assert_int_equal(restore(store_dir, true, &restored), GW_E_BUSY); // it is open
	gw_journal_close(journal);
	assert_int_equal(restore(store_dir, false, &restored), GW_E_EXISTS);
	assert_int_equal(restore(new_dir, false, &restored), GW_OK);
	assert_int_equal(restored.last, 300);
	assert_int_equal(restored.before, manifest.incarnation);

	journal = open_dir(new_dir);
	assert_int_equal(gw_journal_incarnation(journal), restored.incarnation);
	assert_int_not_equal(restored.incarnation, manifest.incarnation);
	assert_int_equal(gw_journal_last(journal), 301);
	assert_int_equal(gw_journal_one(journal, 301, buf, sizeof(buf), &record), GW_OK);
	assert_int_equal(record.type, GW_RECORD_COMMAND);
	assert_non_null(memmem(record.bytes.at, record.bytes.len, "restored from the backup", 24));
	ticket = gw_ticket_get(&spare);
	add_readings(ticket, "m1", T0, &again, 1);
	assert_int_equal(gw_journal_begin(journal), GW_OK);
	assert_int_equal(gw_journal_apply(journal, ticket), GW_OK);
	assert_int_equal(ticket->duplicates, 1);
	assert_int_equal(gw_journal_commit(journal), GW_OK);
	gw_ticket_release(ticket);
	fill(journal, 300, 320);
	(void)verify(journal);
	assert_int_equal(damages, 0);
	gw_journal_close(journal);

	assert_int_equal(restore(store_dir, true, &restored), GW_OK);
	assert_true(restored.aside[0] != '\0');
	snprintf((char *)buf, sizeof(buf), "%s/%s", store_dir, restored.aside);
	journal = open_dir((char *)buf); // the old one is whole
	assert_int_equal(gw_journal_last(journal), 310);
	assert_int_equal(gw_journal_incarnation(journal), manifest.incarnation);
	gw_journal_close(journal);
}

// ---- The series store beside it ----

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
series_strains(void *arg, uint64_t before)
{
	return gw_series_copy_strains(arg, before);
}

static struct gw_series_store *
open_series(const char *dir)
{
	char path[600];
	const struct gw_series_options options = { .dir = path, .budget_bytes = 64 * MB };
	struct gw_series_store *store;
	struct gw_why why = { "" };

	snprintf(path, sizeof(path), "%s/series", dir);
	if (gw_series_open(&options, &store, &why) != GW_OK)
		fail_msg("%s", why.text);
	return store;
}

// All records of the journal after the store's cursor, into chunks.
static void
catch_up(struct gw_series_store *store, struct gw_journal *journal)
{
	static uint8_t buf[GW_RECORD_MAX + 16];
	uint64_t from;
	size_t used = 1;
	bool more = true;

	assert_int_equal(gw_series_follow(store, gw_journal_incarnation(journal)), GW_OK);
	from = gw_series_cursor(store) + 1;
	while (used > 0) {
		struct gw_record record;
		assert_int_equal(gw_journal_read(journal, from, buf, sizeof(buf), &used, &from), GW_OK);
		for (struct gw_span rest = gw_span(buf, used); gw_journal_step(&rest, &record);)
			assert_int_equal(gw_series_take(store, &record), GW_OK);
	}
	while (more)
		assert_int_equal(gw_series_flush(store, 0, &more), GW_OK);
}

static struct gw_series_verified
verify_series(struct gw_series_store *store)
{
	struct gw_series_verified seen = { 0 };

	assert_int_equal(gw_series_verify(store, NULL, NULL, &seen), GW_OK);
	assert_int_equal(seen.damaged, 0);
	return seen;
}

static void
series_come_along(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_series_store *series = open_series(store_dir);
	struct gw_backup_source sources[2] = {
		{ .name = "series", .arg = series, .copy = copy_series, .bytes = series_bytes, .extent = series_extent, .strains = series_strains },
		{ .name = "journal", .arg = journal, .copy = copy, .bytes = bytes, .extent = extent, .strains = strains },
	};
	const struct gw_backup_options options = { .dir = backup_dir, .sources = sources, .source_count = 2, .key = &no_key };
	struct gw_manifest manifest = { .incarnation = gw_journal_incarnation(journal) };
	struct gw_restored restored;
	struct gw_why why = { "" };

	(void)state;
	fill(journal, 0, 400);
	catch_up(series, journal);
	assert_int_equal(verify_series(series).readings, 3200);
	fill(journal, 400, 500); // the journal is ahead
	assert_int_equal(gw_backup_make(&options, &manifest, &why), GW_OK);
	assert_int_equal(manifest.file_count, 2);
	fill(journal, 500, 510);
	catch_up(series, journal);
	gw_series_close(series);
	gw_journal_close(journal);

	assert_int_equal(restore(store_dir, true, &restored), GW_OK); // over both
	journal = store_open();
	series = open_series(store_dir);
	assert_int_equal(verify_series(series).readings, 3200);
	catch_up(series, journal); // all of the journal again, under its new incarnation: each reading is there once
	assert_int_equal(verify_series(series).readings, 4000);
	gw_series_close(series);
	gw_journal_close(journal);
}

// A backup without series over a store with some: those belong to the store that was there.
static void
series_of_the_old_store_go_aside(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_series_store *series;
	struct gw_manifest manifest;
	struct gw_restored restored;
	char path[700];

	(void)state;
	fill(journal, 0, 100);
	assert_int_equal(backup(journal, &no_key, &manifest), GW_OK);
	series = open_series(store_dir);
	catch_up(series, journal);
	gw_series_close(series);
	gw_journal_close(journal);
	assert_int_equal(restore(store_dir, true, &restored), GW_OK);
	snprintf(path, sizeof(path), "%s/series", store_dir);
	assert_int_equal(access(path, F_OK), -1);
	snprintf(path, sizeof(path), "%s/%s", store_dir, restored.aside);
	series = open_series(path);
	assert_int_equal(verify_series(series).readings, 800);
	gw_series_close(series);
}

static void
a_damaged_backup_changes_nothing(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_manifest manifest;
	struct gw_restored restored;
	char path[700];

	(void)state;
	fill(journal, 0, 300);
	assert_int_equal(backup(journal, &no_key, &manifest), GW_OK);
	gw_journal_close(journal);
	snprintf(path, sizeof(path), "%s/journal.mdb", backup_dir);
	flip(path, 20000);
	assert_int_equal(restore(store_dir, true, &restored), GW_E_CORRUPT);
	flip(path, 20000);
	snprintf(path, sizeof(path), "%s/" GW_BACKUP_MANIFEST, backup_dir);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(restore(store_dir, true, &restored), GW_E_NOT_FOUND);
	journal = store_open();
	assert_int_equal(gw_journal_incarnation(journal), manifest.incarnation);
	assert_int_equal(verify(journal).records, 300);
	gw_journal_close(journal);
}

// Kills a child some time after it began (0: at once; negative: lets it end); true where it ended by itself.
static bool
killed_after(pid_t pid, int64_t us)
{
	int status;

	if (us > 0)
		usleep((useconds_t)us);
	if (us >= 0)
		kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void
killed_while_restoring(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_manifest manifest;
	struct gw_restored restored;
	uint64_t incarnation, records;
	int64_t began, took;
	size_t old = 0, new = 0;

	(void)state;
	fill(journal, 0, 300);
	assert_int_equal(backup(journal, &no_key, &manifest), GW_OK);
	incarnation = gw_journal_incarnation(journal);
	gw_journal_close(journal);
	began = gw_clock_mono_us();
	assert_int_equal(restore(new_dir, false, &restored), GW_OK);
	took = gw_clock_mono_us() - began;
	records = 300;
	for (int i = 0; i < 60; i++) {
		pid_t pid = fork();

		if (pid == 0)
			_exit(restore(store_dir, true, &restored) == GW_OK ? 0 : 1);
		bool done = killed_after(pid, i % 20 == 19 ? -1 : took * (i % 20) / 12);
		journal = store_open();
		if (gw_journal_incarnation(journal) == incarnation) {
			assert_false(done);
			assert_int_equal(gw_journal_last(journal), records);
			old++;
		} else {
			assert_int_equal(gw_journal_last(journal), 301);
			new++;
		}
		incarnation = gw_journal_incarnation(journal);
		records = gw_journal_last(journal);
		(void)verify(journal);
		assert_int_equal(damages, 0);
		gw_journal_close(journal);
	}
	print_message("killed: the old store %zu times, the new one %zu times\n", old, new);
	assert_true(old > 0 && new > 0);
}

// A restore that counts but was cut off after `moves` of its last renames is gone on with at the next opening.
static void
cut_off_between_the_last_moves(void **state)
{
	for (int moves = 0; moves <= 3; moves++) {
		struct gw_journal *journal = store_open();
		struct gw_manifest manifest;
		struct gw_restored restored;
		char ready[700], aside[760], from[800], to[800];

		fill(journal, 0, 100);
		assert_int_equal(backup(journal, &no_key, &manifest), GW_OK);
		fill(journal, 100, 120);
		gw_journal_close(journal);
		assert_int_equal(restore(new_dir, false, &restored), GW_OK);
		snprintf(ready, sizeof(ready), "%s/" GW_RESTORE_READY, store_dir);
		snprintf(aside, sizeof(aside), "%s/" GW_RESTORE_ASIDE "then", ready);
		assert_int_equal(mkdir(ready, 0700) | mkdir(aside, 0700), 0);
		snprintf(from, sizeof(from), "%s/series", ready);
		assert_int_equal(mkdir(from, 0700), 0);
		snprintf(from, sizeof(from), "%s/data.mdb", new_dir);
		snprintf(to, sizeof(to), "%s/data.mdb", ready);
		assert_int_equal(rename(from, to), 0);
		// By hand what gw_restore_finish() does, so far.
		snprintf(from, sizeof(from), "%s/series", ready);
		snprintf(to, sizeof(to), "%s/series", store_dir);
		assert_true(moves < 1 || rename(from, to) == 0);
		snprintf(from, sizeof(from), "%s/data.mdb", store_dir);
		snprintf(to, sizeof(to), "%s/data.mdb", aside);
		assert_true(moves < 2 || rename(from, to) == 0);
		snprintf(from, sizeof(from), "%s/data.mdb", ready);
		snprintf(to, sizeof(to), "%s/data.mdb", store_dir);
		assert_true(moves < 3 || rename(from, to) == 0);

		journal = store_open();
		assert_int_equal(gw_journal_incarnation(journal), restored.incarnation);
		assert_int_equal(gw_journal_last(journal), 101);
		gw_journal_close(journal);
		assert_int_equal(access(ready, F_OK), -1);
		snprintf(aside, sizeof(aside), "%s/" GW_RESTORE_ASIDE "then", store_dir);
		journal = open_dir(aside);
		assert_int_equal(gw_journal_last(journal), 120);
		gw_journal_close(journal);
		clear(state);
		assert_int_equal(make(state), 0);
	}
}

static void
killed_while_backing_up(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_manifest manifest;
	struct gw_why why = { "" };
	int64_t began, took;
	size_t whole = 0, none = 0;

	(void)state;
	fill(journal, 0, 2000);
	began = gw_clock_mono_us();
	assert_int_equal(backup(journal, &no_key, &manifest), GW_OK);
	took = gw_clock_mono_us() - began;
	gw_journal_close(journal);
	for (int i = 0; i < 30; i++) {
		nftw(backup_dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
		pid_t pid = fork();
		if (pid == 0) {
			journal = store_open();
			_exit(backup(journal, &no_key, &manifest) == GW_OK ? 0 : 1);
		}
		bool done = killed_after(pid, i % 15 == 14 ? -1 : took * (i % 15) / 5);
		int fd = open(backup_dir, O_RDONLY | O_DIRECTORY);
		if (fd >= 0 && gw_manifest_read(fd, &manifest, &why) == GW_OK) {
			assert_int_equal(gw_backup_check(fd, &manifest.files[0], NULL, NULL, &why), GW_OK);
			assert_int_equal(records_of_backup(), 2000);
			whole++;
		} else {
			assert_false(done);
			none++;
		}
		if (fd >= 0)
			close(fd);
		journal = store_open();
		assert_int_equal(gw_journal_last(journal), 2000);
		gw_journal_close(journal);
	}
	print_message("killed: %zu whole backups, %zu times none\n", whole, none);
	assert_true(none > 0 && whole > 0);
}

// ---- Verify ----

static void
damage_is_named(void **state)
{
	struct gw_journal *journal = store_open();
	char path[600];
	uint8_t *file;
	struct gw_record record;
	uint8_t buf[4096];
	struct gw_verified seen;
	struct stat at;
	uint8_t *place;
	int fd;

	(void)state;
	fill(journal, 0, 3000);
	assert_int_equal(gw_journal_one(journal, 1234, buf, sizeof(buf), &record), GW_OK);
	seen = verify(journal);
	assert_int_equal(damages, 0);
	assert_int_equal(seen.records, 3000);
	assert_int_equal(seen.readings, 24000);
	assert_true(seen.index_entries > 0);
	gw_journal_close(journal);

	snprintf(path, sizeof(path), "%s/data.mdb", store_dir);
	fd = open(path, O_RDWR);
	assert_int_equal(fstat(fd, &at), 0);
	file = malloc((size_t)at.st_size);
	assert_int_equal(pread(fd, file, (size_t)at.st_size, 0), at.st_size);
	place = memmem(file, (size_t)at.st_size, record.bytes.at, record.bytes.len);
	assert_non_null(place);
	place[60] ^= 4;
	assert_int_equal(pwrite(fd, place + 60, 1, place - file + 60), 1);
	close(fd);
	free(file);

	journal = store_open();
	seen = verify(journal);
	assert_int_equal(damages, 1);
	assert_non_null(strstr(first_damage, "record 1234:"));
	assert_int_equal(seen.records, 3000);
	assert_int_equal(seen.readings, 23992);
	gw_journal_close(journal);
}

static void
rows_are_looked_at(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_ticket *ticket = gw_ticket_get(&spare);

	(void)state;
	fill(journal, 0, 10);
	add_cursor(ticket, "bus", 10);
	add_cursor(ticket, "hl7/pdms", 11); // beyond the end
	assert_int_equal(gw_ticket_put(ticket, gw_span_text("device/m1"), gw_span_text("{nonsense")), GW_OK);
	assert_int_equal(gw_ticket_put(ticket, gw_span_text("outlet/hl7/pdms/outbox/0000000000000001"), gw_span_text("x")), GW_OK);
	assert_int_equal(gw_journal_begin(journal), GW_OK);
	assert_int_equal(gw_journal_apply(journal, ticket), GW_OK);
	assert_int_equal(gw_journal_commit(journal), GW_OK);
	gw_ticket_release(ticket);
	assert_int_equal(verify(journal).rows, 4);
	assert_int_equal(damages, 3);
	gw_journal_close(journal);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, clear)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_copy_while_it_is_written), TEST(one_that_is_stopped_leaves_nothing), TEST(a_target_that_is_full),
		TEST(a_copy_that_takes_too_long_gives_way), TEST(encrypted_and_damaged_in_every_way), TEST(cut_off_at_every_chunk), TEST(keys_of_people),
		TEST(a_restored_store_goes_on), TEST(series_come_along), TEST(series_of_the_old_store_go_aside),
		TEST(a_damaged_backup_changes_nothing), TEST(killed_while_restoring), TEST(cut_off_between_the_last_moves),
		TEST(killed_while_backing_up), TEST(damage_is_named), TEST(rows_are_looked_at),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
