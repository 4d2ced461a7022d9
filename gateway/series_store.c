// SPDX-License-Identifier: Apache-2.0
// The series' LMDB environment: making it, opening it, rows, spare read transactions. What is made is made in one transaction of an empty file: a power cut
// leaves a store or an empty one, which is made again.
#include "gateway/clock.h"
#include "gateway/diag.h"
#include "gateway/pages.h"
#include "gateway/series_rollup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOLD_US INT64_C(172800000000) // a page of readings that come once a minute
#define TAIL_BYTES (256u << 20)
#define DUE_FIRST 2048 // readings that are taken to fill a chunk until one has been written

// A series' row. Little-endian; its key is the id, u32 big-endian. Behind the device's id a CRC-32C of key and row.
enum { ROW_SIGNAL = 0, ROW_INSTANCE = 4, ROW_WAVEFORM = 6, ROW_DEVICE_LEN = 7, ROW_UPTO = 8, ROW_DEVICE = 16, ROW_CRC = 4, ROW_MAX = ROW_DEVICE + GW_ID_MAX + ROW_CRC };
// A number of `meta`: u64, and a CRC-32C of its name and of it.
enum { META_CRC = 8, META_BYTES = 12 };
#define OPEN_MARK "open" // a file that is there while the store is open for writing: who finds it looks at all pages first

static const struct { const char *name; unsigned flags; } tables[GW_S_COUNT] = {
	[GW_S_META] = { "meta", 0 },
	[GW_S_SERIES] = { "series", 0 },
	[GW_S_CHUNKS] = { "chunks", 0 },
	[GW_S_CLOCKS] = { "clocks", 0 },
	[GW_S_ROLLUPS] = { "rollups", 0 },
};

enum gw_error
gw_series_error(int rc)
{
	switch (rc) {
	case MDB_SUCCESS:
		return GW_OK;
	case MDB_NOTFOUND:
		return GW_E_NOT_FOUND;
	case MDB_MAP_FULL:
	case MDB_TXN_FULL:
	case ENOSPC:
	case EDQUOT:
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

// ---- Rows ----

enum gw_error
gw_series_meta_put(struct gw_series_store *store, MDB_txn *txn, const char *name, uint64_t value)
{
	uint8_t bytes[META_BYTES];
	MDB_val key = gw_series_val(name, strlen(name)), data = gw_series_val(bytes, sizeof(bytes));

	gw_put64(bytes, value);
	gw_put32(bytes + META_CRC, gw_crc32c(gw_crc32c(0, name, strlen(name)), bytes, META_CRC));
	return gw_series_error(mdb_put(txn, store->tables[GW_S_META], &key, &data, 0));
}

static uint64_t
meta_get(struct gw_series_store *store, MDB_txn *txn, const char *name)
{
	MDB_val key = gw_series_val(name, strlen(name)), data;

	if (mdb_get(txn, store->tables[GW_S_META], &key, &data) != 0 || (data.mv_size != META_CRC && data.mv_size != META_BYTES))
		return 0;
	if (data.mv_size == META_BYTES &&
	    gw_get32((uint8_t *)data.mv_data + META_CRC) != gw_crc32c(gw_crc32c(0, name, strlen(name)), data.mv_data, META_CRC)) {
		gw_diag(GW_ERROR, "series.damaged", "%s: the number \"%s\" does not match its checksum: it counts as 0", store->dir, name);
		return 0;
	}
	return gw_get64(data.mv_data);
}

enum gw_error
gw_series_row_put(struct gw_series_store *store, MDB_txn *txn, const struct gw_series *series)
{
	uint8_t row[ROW_MAX], id[4] = { 0 };
	size_t len = ROW_DEVICE + (size_t)series->device->len;
	MDB_val key = gw_series_val(id, sizeof(id)), data = gw_series_val(row, len + ROW_CRC);
	uint32_t big = htobe32(series->id);

	memcpy(id, &big, sizeof(id));
	gw_put32(row + ROW_SIGNAL, series->signal);
	gw_put16(row + ROW_INSTANCE, series->instance);
	row[ROW_WAVEFORM] = series->waveform;
	row[ROW_DEVICE_LEN] = series->device->len;
	gw_put64(row + ROW_UPTO, series->upto);
	memcpy(row + ROW_DEVICE, series->device->name, series->device->len);
	gw_put32(row + len, gw_crc32c(gw_crc32c(0, id, sizeof(id)), row, len));
	return gw_series_error(mdb_put(txn, store->tables[GW_S_SERIES], &key, &data, 0));
}

// Older rows have no checksum.
static bool
row_is_sound(MDB_val key, MDB_val data)
{
	const uint8_t *row = data.mv_data;
	size_t len;

	if (key.mv_size != 4 || data.mv_size < ROW_DEVICE || row[ROW_DEVICE_LEN] > GW_ID_MAX)
		return false;
	len = ROW_DEVICE + (size_t)row[ROW_DEVICE_LEN];
	return data.mv_size == len || (data.mv_size == len + ROW_CRC && gw_get32(row + len) == gw_crc32c(gw_crc32c(0, key.mv_data, key.mv_size), row, len));
}

// A damaged row's chunks belong to nobody; its id is not given again.
enum gw_error
gw_series_row_load(struct gw_series_store *store, MDB_val key, MDB_val data)
{
	const uint8_t *row = data.mv_data;
	struct gw_series_device *device;
	struct gw_series *series;
	uint32_t id = 0;

	if (key.mv_size == sizeof(id))
		memcpy(&id, key.mv_data, sizeof(id));
	id = be32toh(id);
	if (id == 0 || id > store->ids + (1u << 24))
		return GW_E_CORRUPT;
	if (!gw_series_reserve(store, id))
		return GW_E_MEMORY;
	device = row_is_sound(key, data) ? gw_series_device_make(store, gw_span(row + ROW_DEVICE, row[ROW_DEVICE_LEN])) : NULL;
	if (device == NULL && row_is_sound(key, data))
		return GW_E_MEMORY;
	if (device == NULL || gw_series_lookup(store, device, gw_get32(row + ROW_SIGNAL), gw_get16(row + ROW_INSTANCE)) != NULL) {
		gw_diag(GW_ERROR, "series.damaged", "%s: the row of series %u does not match its checksum: its readings are left out", store->dir != NULL ? store->dir : "a copy", id);
		atomic_fetch_add(&store->damaged, 1);
		return GW_OK;
	}
	if ((series = gw_series_make(store, device, gw_get32(row + ROW_SIGNAL), gw_get16(row + ROW_INSTANCE), id)) == NULL)
		return GW_E_MEMORY;
	series->waveform = row[ROW_WAVEFORM] != 0;
	series->upto = gw_get64(row + ROW_UPTO);
	series->due = DUE_FIRST;
	series->stored = true;
	gw_latest_forget(store, series);
	return GW_OK;
}

static enum gw_error
load_rows(struct gw_series_store *store, MDB_txn *txn)
{
	MDB_cursor *cursor;
	MDB_val key, data;
	enum gw_error error = GW_OK;
	int rc = mdb_cursor_open(txn, store->tables[GW_S_SERIES], &cursor);

	if (rc != 0)
		return gw_series_error(rc);
	while (error == GW_OK && (rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0)
		error = gw_series_row_load(store, key, data);
	mdb_cursor_close(cursor);
	return error != GW_OK || rc == MDB_NOTFOUND ? error : gw_series_error(rc);
}

static void
load_meta(struct gw_series_store *store, MDB_txn *txn)
{
	uint64_t clock_us = meta_get(store, txn, "clock");

	store->incarnation = meta_get(store, txn, "incarnation");
	store->cursor = store->taken = meta_get(store, txn, "cursor");
	store->totals.chunks = meta_get(store, txn, "chunks");
	store->totals.readings = meta_get(store, txn, "readings");
	store->totals.bytes = meta_get(store, txn, "bytes");
	store->total_chunks = store->totals.chunks;
	store->total_readings = store->totals.readings;
	store->total_bytes = store->totals.bytes;
	store->rolled_up = meta_get(store, txn, "rolled up") != 0;
	store->clock_us = clock_us != 0 ? (int64_t)clock_us : gw_clock_wall_us();
}

// ---- Readers ----

enum gw_error
gw_series_reader(struct gw_series_store *store, MDB_txn **txn)
{
	int rc;

	pthread_mutex_lock(&store->pool_lock);
	*txn = store->spare_count > 0 ? store->spare[--store->spare_count] : NULL;
	pthread_mutex_unlock(&store->pool_lock);
	if (*txn == NULL)
		return gw_series_error(mdb_txn_begin(store->env, NULL, MDB_RDONLY, txn));
	if ((rc = mdb_txn_renew(*txn)) != 0) {
		mdb_txn_abort(*txn);
		*txn = NULL;
	}
	return gw_series_error(rc);
}

void
gw_series_reader_end(struct gw_series_store *store, MDB_txn *txn)
{
	bool kept;

	mdb_txn_reset(txn);
	pthread_mutex_lock(&store->pool_lock);
	if ((kept = store->spare_count < GW_SERIES_READERS_SPARE))
		store->spare[store->spare_count++] = txn;
	pthread_mutex_unlock(&store->pool_lock);
	if (!kept)
		mdb_txn_abort(txn);
}

// ---- Opening ----

static enum gw_error
fail(struct gw_why *why, int rc, const char *what, const char *dir)
{
	enum gw_error error = rc > 0 && rc != ENOMEM && rc != ENOSPC ? GW_E_SYSTEM : gw_series_error(rc);

	return gw_fail(why, error, "cannot %s the series store in %s: %s", what, dir, mdb_strerror(rc));
}

// LMDB follows whatever a damaged page says. Where the store was not closed in order, all pages are looked at before it is let near them: else a page that
// ended the process would end the next one as well.
static enum gw_error
check_pages(struct gw_series_store *store, struct gw_why *why)
{
	struct gw_why damage = { "" };
	char path[4096], mark[4096];
	int fd;
	enum gw_error error = GW_OK;

	snprintf(path, sizeof(path), "%s/data.mdb", store->dir);
	snprintf(mark, sizeof(mark), "%s/" OPEN_MARK, store->dir);
	if (access(mark, F_OK) == 0 || store->options.check)
		error = gw_pages_check(path, &damage);
	if (error == GW_E_CORRUPT)
		return gw_fail(why, error, "the series store in %.40s is damaged (%.70s): `vitalgate rebuild --fresh` makes a new one", store->dir, damage.text);
	if (error != GW_OK)
		return gw_fail(why, error, "%s", damage.text);
	if (store->options.read_only)
		return GW_OK;
	if ((fd = open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600)) < 0)
		return errno == ENOSPC ? GW_OK : gw_fail(why, GW_E_SYSTEM, "cannot make %.120s: %s", mark, strerror(errno));
	close(fd);
	store->marked = true;
	return GW_OK;
}

// Only what ended in order is not looked at the next time.
static void
remove_mark(struct gw_series_store *store)
{
	char mark[4096];

	snprintf(mark, sizeof(mark), "%s/" OPEN_MARK, store->dir);
	if (store->marked && !store->broken)
		unlink(mark);
}

static enum gw_error
open_env(struct gw_series_store *store, struct gw_why *why)
{
	const struct gw_series_options *options = &store->options;
	uint64_t budget = options->budget_bytes & ~UINT64_C(4095);
	unsigned flags = MDB_NOTLS | MDB_NORDAHEAD | (options->read_only ? MDB_RDONLY : 0);
	int rc = mdb_env_create(&store->env), dead;

	if (rc != 0)
		return fail(why, rc, "open", store->dir);
	if ((rc = mdb_env_set_mapsize(store->env, options->read_only ? 0 : budget)) != 0 || (rc = mdb_env_set_maxdbs(store->env, GW_S_COUNT)) != 0 ||
	    (rc = mdb_env_open(store->env, store->dir, flags, 0600)) != 0 || (rc = mdb_reader_check(store->env, &dead)) != 0)
		return rc == ENOENT ? gw_fail(why, GW_E_NOT_FOUND, "there is no series store in %s", store->dir) : fail(why, rc, "open", store->dir);
	return GW_OK;
}

// A program that knows no roll-ups would change chunks without them: it has to refuse.
static enum gw_error
put_format(struct gw_series_store *store, MDB_txn *txn, bool rolled_up)
{
	enum gw_error error = gw_series_error(mdb_drop(txn, store->tables[GW_S_ROLLUPS], 0));

	if (error == GW_OK)
		error = gw_series_meta_put(store, txn, "format", GW_SERIES_FORMAT);
	return error == GW_OK ? gw_series_meta_put(store, txn, "rolled up", rolled_up) : error;
}

static enum gw_error
check_format(struct gw_series_store *store, MDB_txn *txn, struct gw_why *why)
{
	MDB_stat stat;
	uint64_t format = meta_get(store, txn, "format");

	if (format == 0 && mdb_stat(txn, store->tables[GW_S_META], &stat) == 0 && stat.ms_entries == 0 && !store->options.read_only)
		return put_format(store, txn, true);
	if (format > GW_SERIES_FORMAT)
		return gw_fail(why, GW_E_VERSION, "the series store in %s is of format %llu, this program knows %d: use a newer one", store->dir,
		    (unsigned long long)format, GW_SERIES_FORMAT);
	if (format == GW_SERIES_FORMAT_PLAIN && !store->options.read_only)
		return put_format(store, txn, false);
	store->has_rollups &= format != GW_SERIES_FORMAT_PLAIN;
	return format != 0 ? GW_OK : gw_fail(why, GW_E_CORRUPT, "%s holds no series store", store->dir);
}

static enum gw_error
open_tables(struct gw_series_store *store, struct gw_why *why)
{
	bool read_only = store->options.read_only;
	enum gw_error error = GW_OK;
	MDB_txn *txn;
	int rc = mdb_txn_begin(store->env, NULL, read_only ? MDB_RDONLY : 0, &txn);

	if (rc != 0)
		return fail(why, rc, "open", store->dir);
	for (size_t i = 0; i < GW_S_COUNT && error == GW_OK; i++) {
		rc = mdb_dbi_open(txn, tables[i].name, tables[i].flags | (read_only ? 0 : MDB_CREATE), &store->tables[i]);
		if (i == GW_S_ROLLUPS)
			store->has_rollups = rc == 0;
		if (rc == MDB_NOTFOUND && read_only && i > GW_S_CHUNKS) // came later than format 1
			store->tables[i] = GW_SERIES_NO_TABLE;
		else if (rc != 0)
			error = fail(why, rc, "open a table of", store->dir);
	}
	if (error == GW_OK)
		error = check_format(store, txn, why);
	if (error == GW_OK && (error = load_rows(store, txn)) != GW_OK)
		error = gw_fail(why, error, "the table of series in %s: %s", store->dir, gw_error_text(error));
	if (error != GW_OK) {
		mdb_txn_abort(txn);
		return error;
	}
	load_meta(store, txn);
	if ((error = gw_series_clocks_load(store, txn)) != GW_OK) {
		mdb_txn_abort(txn);
		return gw_fail(why, error, "the table of clocks in %s: %s", store->dir, gw_error_text(error));
	}
	rc = mdb_txn_commit(txn);
	return rc == 0 ? GW_OK : fail(why, rc, "write to", store->dir);
}

static enum gw_error
make_dir(const char *dir, struct gw_why *why)
{
	char parent[4200];
	int fd, rc;

	if (mkdir(dir, 0700) != 0)
		return errno == EEXIST ? GW_OK : gw_fail(why, GW_E_SYSTEM, "cannot make the directory %s: %s", dir, strerror(errno));
	snprintf(parent, sizeof(parent), "%s/..", dir);
	if ((fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot open %s: %s", parent, strerror(errno));
	rc = fsync(fd);
	close(fd);
	return rc == 0 ? GW_OK : gw_fail(why, GW_E_SYNC, "cannot sync %s: %s", parent, strerror(errno));
}

static void
set_defaults(struct gw_series_options *options)
{
	if (options->hold_us == 0)
		options->hold_us = HOLD_US;
	if (options->tail_bytes_max == 0)
		options->tail_bytes_max = TAIL_BYTES;
}

static enum gw_error
open_store(struct gw_series_store *store, struct gw_why *why)
{
	MDB_stat stat;
	enum gw_error error;

	if (strlen(store->dir) > 3900)
		return gw_fail(why, GW_E_CONFIG, "the store's path is too long");
	if (!store->options.read_only && (error = make_dir(store->dir, why)) != GW_OK)
		return error;
	if ((error = check_pages(store, why)) != GW_OK || (error = open_env(store, why)) != GW_OK)
		return error;
	if ((error = open_tables(store, why)) != GW_OK)
		return error;
	mdb_env_stat(store->env, &stat);
	store->page_size = stat.ms_psize;
	store->clock_mono_us = gw_clock_mono_us();
	return gw_series_room_open(store, why);
}

enum gw_error
gw_series_open(const struct gw_series_options *options, struct gw_series_store **out, struct gw_why *why)
{
	struct gw_series_store *store = calloc(1, sizeof(*store));
	enum gw_error error;

	if (store == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	store->options = *options;
	set_defaults(&store->options);
	pthread_mutex_init(&store->write, NULL);
	pthread_mutex_init(&store->lock, NULL);
	pthread_mutex_init(&store->pool_lock, NULL);
	store->dir = strdup(options->dir);
	store->reader = gw_chunk_reader_new();
	store->encoder = gw_chunk_encoder_new();
	if (store->dir == NULL || store->reader == NULL || store->encoder == NULL || gw_rollup_open(store) != GW_OK)
		error = gw_fail(why, GW_E_MEMORY, "out of memory");
	else
		error = open_store(store, why);
	if (error != GW_OK) {
		store->broken = true; // the mark stays
		gw_series_close(store);
	} else
		*out = store;
	return error;
}

struct gw_series_store *
gw_series_memory(void)
{
	struct gw_series_store *store = calloc(1, sizeof(*store));

	if (store == NULL)
		return NULL;
	pthread_mutex_init(&store->write, NULL);
	pthread_mutex_init(&store->lock, NULL);
	pthread_mutex_init(&store->pool_lock, NULL);
	return store;
}

void
gw_series_close(struct gw_series_store *store)
{
	if (store == NULL)
		return;
	while (store->spare_count > 0)
		mdb_txn_abort(store->spare[--store->spare_count]);
	if (store->env != NULL)
		mdb_env_close(store->env);
	if (store->dir != NULL)
		remove_mark(store);
	gw_series_table_free(store);
	gw_rollup_close(store);
	gw_points_free(&store->points);
	gw_points_free(&store->old);
	gw_points_free(&store->merged);
	gw_chunk_reader_free(store->reader);
	gw_chunk_encoder_free(store->encoder);
	pthread_mutex_destroy(&store->write);
	pthread_mutex_destroy(&store->lock);
	pthread_mutex_destroy(&store->pool_lock);
	free(store->flushed);
	free(store->copy);
	free(store->dir);
	free(store);
}
