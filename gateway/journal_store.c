// SPDX-License-Identifier: Apache-2.0
// The journal's LMDB environment: making it, opening it, one process only, spare read transactions. A new store is made under
// another name and renamed when it is whole and synced, so that a power cut leaves a store or none.
#include "gateway/journal_internal.h"
#include "gateway/bytes.h"
#include "gateway/restore.h"
#include "gateway/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_US_MAX 5000000 // how long another process may hold the store before ours gives up

static const struct { const char *name; unsigned flags; } tables[GW_T_COUNT] = {
	[GW_T_META] = { "meta", 0 },
	[GW_T_JOURNAL] = { "journal", MDB_INTEGERKEY },
	[GW_T_INDEX] = { "index", 0 },
	[GW_T_NEWEST] = { "newest", MDB_INTEGERKEY },
	[GW_T_ROWS] = { "rows", 0 },
	[GW_T_QUARANTINE] = { "quarantine", MDB_INTEGERKEY },
};

enum gw_error
gw_store_error(int rc)
{
	switch (rc) {
	case MDB_SUCCESS:
		return GW_OK;
	case MDB_NOTFOUND:
		return GW_E_NOT_FOUND;
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
		return GW_E_FULL;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INVALID:
		return GW_E_CORRUPT;
	case MDB_VERSION_MISMATCH:
		return GW_E_VERSION;
	case ENOMEM:
		return GW_E_MEMORY;
	default:
		return GW_E_SYNC;
	}
}

enum gw_error
gw_meta_put(struct gw_journal *journal, MDB_txn *txn, const char *name, uint64_t value)
{
	uint8_t bytes[8];

	gw_put64(bytes, value);
	return gw_store_error(gw_sum_put(txn, journal->tables[GW_T_META], gw_span_text(name), gw_span(bytes, sizeof(bytes)), 0));
}

enum gw_error
gw_meta_get(struct gw_journal *journal, MDB_txn *txn, const char *name, uint64_t *value)
{
	MDB_val key = gw_val(name, strlen(name)), data;
	struct gw_span number;
	int rc = mdb_get(txn, journal->tables[GW_T_META], &key, &data);

	if (rc != 0)
		return gw_store_error(rc);
	if (!gw_sum_open(data.mv_size != 8, gw_span_text(name), gw_val_span(data), &number) || number.len != 8) // older ones have no checksum
		return GW_E_CORRUPT;
	*value = gw_get64(number.at);
	return GW_OK;
}

// ---- Readers ----

enum gw_error
gw_reader_begin(struct gw_journal *journal, MDB_txn **txn)
{
	int rc;

	pthread_mutex_lock(&journal->pool_lock);
	*txn = journal->spare_count > 0 ? journal->spare[--journal->spare_count] : NULL;
	pthread_mutex_unlock(&journal->pool_lock);
	if (*txn == NULL)
		return gw_store_error(mdb_txn_begin(journal->env, NULL, MDB_RDONLY, txn));
	if ((rc = mdb_txn_renew(*txn)) != 0) {
		mdb_txn_abort(*txn);
		*txn = NULL;
	}
	return gw_store_error(rc);
}

void
gw_reader_end(struct gw_journal *journal, MDB_txn *txn)
{
	bool kept;

	mdb_txn_reset(txn);
	pthread_mutex_lock(&journal->pool_lock);
	if ((kept = journal->spare_count < GW_READERS_SPARE))
		journal->spare[journal->spare_count++] = txn;
	pthread_mutex_unlock(&journal->pool_lock);
	if (!kept)
		mdb_txn_abort(txn);
}

// ---- Opening ----

static enum gw_error
sync_dir(const char *path, struct gw_why *why)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc;

	if (fd < 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot open %s: %s", path, strerror(errno));
	rc = fsync(fd);
	close(fd);
	return rc == 0 ? GW_OK : gw_fail(why, GW_E_SYNC, "cannot sync %s: %s", path, strerror(errno));
}

static enum gw_error
make_dir(const char *dir, struct gw_why *why)
{
	char *parent;
	enum gw_error error;

	if (mkdir(dir, 0700) != 0)
		return errno == EEXIST ? GW_OK : gw_fail(why, GW_E_SYSTEM, "cannot make the directory %s: %s", dir, strerror(errno));
	if (asprintf(&parent, "%s/..", dir) < 0)
		return GW_E_MEMORY;
	error = sync_dir(parent, why);
	free(parent);
	return error;
}

// A command that ran without a gateway, or a gateway that is about to end, holds it for a moment only.
static bool
lock_in_time(int fd)
{
	int64_t end_us = gw_clock_mono_us() + LOCK_US_MAX;

	while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
		if (gw_clock_mono_us() > end_us)
			return false;
		usleep(20000);
	}
	return true;
}

static enum gw_error
take_lock(struct gw_journal *journal, struct gw_why *why)
{
	char path[4096], pid[32] = "";
	ssize_t n;

	snprintf(path, sizeof(path), "%s/vitalgate.lock", journal->dir);
	journal->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (journal->lock_fd < 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot open %s: %s", path, strerror(errno));
	if (!lock_in_time(journal->lock_fd)) {
		n = read(journal->lock_fd, pid, sizeof(pid) - 1);
		pid[n > 0 ? strcspn(pid, " \n") : 0] = '\0';
		return gw_fail(why, GW_E_BUSY, "the store in %s is in use by process %s: stop it first", journal->dir,
		    pid[0] != '\0' ? pid : "(unknown)");
	}
	// In place and always as long, so that a full disk is no reason not to start; it is only for people.
	n = snprintf(pid, sizeof(pid), "%-15ld\n", (long)getpid());
	if (pwrite(journal->lock_fd, pid, (size_t)n, 0) < 0)
		pid[0] = '\0';
	return GW_OK;
}

static enum gw_error
lmdb_fail(struct gw_why *why, int rc, const char *what, const char *path)
{
	enum gw_error error = rc > 0 && rc != ENOMEM ? GW_E_SYSTEM : gw_store_error(rc);
	return gw_fail(why, error, "cannot %s %s: %s", what, path, mdb_strerror(rc));
}

static enum gw_error
open_env(const struct gw_journal_options *options, const char *dir, MDB_env **env, struct gw_why *why)
{
	uint64_t budget = options->budget_bytes & ~UINT64_C(4095);
	int rc = mdb_env_create(env), dead;

	if (rc != 0)
		return lmdb_fail(why, rc, "open", dir);
	if ((rc = mdb_env_set_mapsize(*env, budget)) != 0 || (rc = mdb_env_set_maxdbs(*env, GW_T_COUNT)) != 0 ||
	    (rc = mdb_env_open(*env, dir, MDB_NOTLS, 0600)) != 0 || (rc = mdb_reader_check(*env, &dead)) != 0) {
		mdb_env_close(*env);
		*env = NULL;
		return lmdb_fail(why, rc, "open", dir);
	}
	return GW_OK;
}

// Without a checksum, as all versions have read it: an older program says that it knows no such format, not that there is no store.
static enum gw_error
put_format(struct gw_journal *journal, MDB_txn *txn)
{
	MDB_val key = gw_val("format", 6), data;
	uint8_t bytes[8];

	gw_put64(bytes, GW_STORE_FORMAT);
	if (mdb_get(txn, journal->tables[GW_T_META], &key, &data) == 0 && data.mv_size == sizeof(bytes) && memcmp(data.mv_data, bytes, sizeof(bytes)) == 0)
		return GW_OK;
	data = gw_val(bytes, sizeof(bytes));
	return gw_store_error(mdb_put(txn, journal->tables[GW_T_META], &key, &data, 0));
}

static enum gw_error
check_format(struct gw_journal *journal, MDB_txn *txn, bool make, struct gw_why *why)
{
	uint64_t format = 0, summed = 0;
	enum gw_error error;

	if (make) {
		randombytes_buf(&journal->incarnation, sizeof(journal->incarnation));
		journal->incarnation |= journal->incarnation == 0;
		if ((error = put_format(journal, txn)) != GW_OK ||
		    (error = gw_meta_put(journal, txn, "summed", 1)) != GW_OK ||
		    (error = gw_meta_put(journal, txn, "indexed", 0)) != GW_OK)
			return error;
		return gw_meta_put(journal, txn, "incarnation", journal->incarnation);
	}
	error = gw_meta_get(journal, txn, "format", &format);
	if (error != GW_OK)
		return gw_fail(why, GW_E_CORRUPT, "%s holds no store of Vitalgate's", journal->dir);
	if (format > GW_STORE_FORMAT)
		return gw_fail(why, GW_E_VERSION, "the store in %s is of format %llu, this program knows %d: use a newer one",
		    journal->dir, (unsigned long long)format, GW_STORE_FORMAT);
	error = gw_meta_get(journal, txn, "summed", &summed);
	if (error != GW_OK && error != GW_E_NOT_FOUND)
		return gw_fail(why, error, "a number of the store in %s does not match its checksum", journal->dir);
	journal->summed = error == GW_OK && summed != 0;
	error = gw_meta_get(journal, txn, "incarnation", &journal->incarnation);
	return error == GW_OK ? GW_OK : gw_fail(why, GW_E_CORRUPT, "the store in %s has lost its incarnation", journal->dir);
}

// Format 1 had a value for each record, which is a block of one, and all of them in the index, and no `indexed`: where that is there the number is damaged.
// Format 2 had no checksums of rows.
static enum gw_error
raise_format(struct gw_journal *journal, MDB_txn *txn)
{
	MDB_val key, data;
	MDB_cursor *cursor;
	uint64_t format, indexed;
	enum gw_error error = gw_meta_get(journal, txn, "format", &format);
	int rc;

	if (error != GW_OK)
		return error;
	if (format != 1 || gw_meta_get(journal, txn, "indexed", &indexed) != GW_E_NOT_FOUND)
		return put_format(journal, txn);
	if ((rc = mdb_cursor_open(txn, journal->tables[GW_T_JOURNAL], &cursor)) != 0)
		return gw_store_error(rc);
	rc = mdb_cursor_get(cursor, &key, &data, MDB_LAST);
	if (rc == 0 || rc == MDB_NOTFOUND)
		error = gw_meta_put(journal, txn, "indexed", rc == 0 ? gw_val_u64(key) : 0);
	else
		error = gw_store_error(rc);
	mdb_cursor_close(cursor);
	return error == GW_OK ? put_format(journal, txn) : error;
}

static enum gw_error
open_tables(struct gw_journal *journal, MDB_env *env, bool make, struct gw_why *why)
{
	MDB_txn *txn;
	enum gw_error error = GW_OK;
	int rc = mdb_txn_begin(env, NULL, 0, &txn);

	if (rc != 0)
		return lmdb_fail(why, rc, "begin in", journal->dir);
	for (size_t i = 0; i < GW_T_COUNT; i++) {
		rc = mdb_dbi_open(txn, tables[i].name, tables[i].flags | (make ? MDB_CREATE : 0), &journal->tables[i]);
		if (rc != 0) {
			mdb_txn_abort(txn);
			return lmdb_fail(why, rc, "open a table in", journal->dir);
		}
		if (i == GW_T_META && (error = check_format(journal, txn, make, why)) != GW_OK) {
			mdb_txn_abort(txn);
			return error;
		}
	}
	if ((error = raise_format(journal, txn)) != GW_OK) {
		mdb_txn_abort(txn);
		return gw_fail(why, error, "cannot raise the format of the store in %s", journal->dir);
	}
	rc = mdb_txn_commit(txn);
	return rc == 0 ? GW_OK : lmdb_fail(why, rc, "write to", journal->dir);
}

static enum gw_error
sync_file(MDB_env *env, const char *path, struct gw_why *why)
{
	int fd;

	if (mdb_env_get_fd(env, &fd) != 0 || fsync(fd) != 0)
		return gw_fail(why, GW_E_SYNC, "cannot sync %s: %s", path, strerror(errno));
	return GW_OK;
}

// A whole, synced, empty store at DIR/data.mdb, or nothing.
static enum gw_error
make_store(struct gw_journal *journal, const char *final, struct gw_why *why)
{
	char fresh[4096], data[4112], lock[4112];
	MDB_env *env = NULL;
	enum gw_error error;

	snprintf(fresh, sizeof(fresh), "%s/new", journal->dir);
	snprintf(data, sizeof(data), "%s/data.mdb", fresh);
	snprintf(lock, sizeof(lock), "%s/lock.mdb", fresh);
	unlink(data); // of an earlier try that was cut off
	if (mkdir(fresh, 0700) != 0 && errno != EEXIST)
		return gw_fail(why, GW_E_SYSTEM, "cannot make the directory %s: %s", fresh, strerror(errno));
	if ((error = open_env(&journal->options, fresh, &env, why)) == GW_OK &&
	    (error = open_tables(journal, env, true, why)) == GW_OK)
		error = sync_file(env, data, why);
	if (env != NULL)
		mdb_env_close(env);
	if (error == GW_OK && rename(data, final) != 0)
		error = gw_fail(why, GW_E_SYSTEM, "cannot rename %s: %s", data, strerror(errno));
	unlink(lock);
	unlink(data);
	rmdir(fresh);
	return error == GW_OK ? sync_dir(journal->dir, why) : error;
}

static void
load_ends(struct gw_journal *journal, MDB_txn *txn)
{
	MDB_cursor *cursor;
	MDB_val key, data;

	if (mdb_cursor_open(txn, journal->tables[GW_T_JOURNAL], &cursor) != 0)
		return;
	if (mdb_cursor_get(cursor, &key, &data, MDB_FIRST) == 0)
		atomic_store(&journal->first, gw_block_of(gw_val_u64(key), gw_val_span(data)).first);
	if (mdb_cursor_get(cursor, &key, &data, MDB_LAST) == 0)
		atomic_store(&journal->last, gw_val_u64(key));
	mdb_cursor_close(cursor);
}

// Ids are never given twice; where the number is damaged, those that are there are known.
static void
load_quarantine_id(struct gw_journal *journal, MDB_txn *txn)
{
	MDB_cursor *cursor;
	MDB_val key, data;

	if (gw_meta_get(journal, txn, "quarantine", &journal->quarantine_id) == GW_OK)
		return;
	journal->quarantine_id = 0;
	if (mdb_cursor_open(txn, journal->tables[GW_T_QUARANTINE], &cursor) != 0)
		return;
	if (mdb_cursor_get(cursor, &key, &data, MDB_LAST) == 0)
		journal->quarantine_id = gw_val_u64(key);
	mdb_cursor_close(cursor);
}

enum gw_error
gw_store_open_tables(struct gw_journal *journal, struct gw_why *why)
{
	MDB_stat stat;
	MDB_txn *txn;
	enum gw_error error = GW_OK;
	int rc = mdb_txn_begin(journal->env, NULL, MDB_RDONLY, &txn);

	if (rc != 0)
		return lmdb_fail(why, rc, "read", journal->dir);
	for (size_t i = 0; rc == 0 && i < GW_T_COUNT; i++)
		rc = mdb_dbi_open(txn, tables[i].name, tables[i].flags, &journal->tables[i]);
	if (rc != 0)
		error = gw_fail(why, GW_E_CORRUPT, "%s holds no journal of Vitalgate's", journal->dir);
	else if ((error = check_format(journal, txn, false, why)) == GW_OK)
		load_ends(journal, txn);
	mdb_env_stat(journal->env, &stat);
	journal->page_size = stat.ms_psize;
	rc = mdb_txn_commit(txn); // so that the tables' handles stay
	return error == GW_OK && rc != 0 ? lmdb_fail(why, rc, "read", journal->dir) : error;
}

enum gw_error
gw_store_open(struct gw_journal *journal, struct gw_why *why)
{
	char data[4096];
	MDB_stat stat;
	MDB_txn *txn;
	enum gw_error error;

	if (strlen(journal->dir) > 3900)
		return gw_fail(why, GW_E_CONFIG, "the store's path is too long");
	if ((error = make_dir(journal->dir, why)) != GW_OK || (error = take_lock(journal, why)) != GW_OK)
		return error;
	if ((error = gw_restore_finish(journal->dir, why)) != GW_OK)
		return error;
	snprintf(data, sizeof(data), "%s/data.mdb", journal->dir);
	if (access(data, F_OK) != 0 && (error = make_store(journal, data, why)) != GW_OK)
		return error;
	if ((error = gw_store_look(journal, why)) != GW_OK || (error = open_env(&journal->options, journal->dir, &journal->env, why)) != GW_OK ||
	    (error = open_tables(journal, journal->env, false, why)) != GW_OK)
		return error;
	if ((error = gw_rows_sum(journal)) != GW_OK)
		return gw_fail(why, error, "rows of the store in %s cannot be given their checksums", journal->dir);
	mdb_env_stat(journal->env, &stat);
	journal->page_size = stat.ms_psize;
	if ((error = gw_reader_begin(journal, &txn)) != GW_OK)
		return gw_fail(why, error, "cannot read the store in %s", journal->dir);
	load_ends(journal, txn);
	if (gw_meta_get(journal, txn, "checkpoint", &journal->checkpoint) != GW_OK || journal->checkpoint > atomic_load(&journal->last))
		journal->checkpoint = 0;
	load_quarantine_id(journal, txn);
	error = gw_index_open(journal, txn);
	gw_reader_end(journal, txn);
	return error == GW_OK ? GW_OK : gw_fail(why, error, "cannot read the journal's end in %s", journal->dir);
}

void
gw_store_close(struct gw_journal *journal)
{
	while (journal->spare_count > 0)
		mdb_txn_abort(journal->spare[--journal->spare_count]);
	if (journal->env != NULL)
		mdb_env_close(journal->env);
	if (journal->opened && !journal->broken)
		gw_store_unmark(journal);
	if (journal->lock_fd >= 0)
		close(journal->lock_fd);
}
