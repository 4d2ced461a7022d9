// SPDX-License-Identifier: Apache-2.0
// What goes on request: what a device said in a time, or what the caller names reading by reading. Any thread; between two transactions the outlet's thread may
// write. What is erased is gone from chunks and tails durably when a call returns, and comes back only out of a journal that still has it.
#include "gateway/series_rollup.h"

#include <stdio.h>

#define ERASE_BYTES (4u << 20) // of one transaction
#define ERASE_CHUNKS 512       // looked at in one transaction

struct erasing {
	struct gw_series_store *store;
	int64_t from_us, to_us;
	gw_series_erase_fn *fn; // NULL: all between these
	void *arg;
	bool dry;
	struct gw_series_info info;
	uint64_t erased, damaged;
	// One series'
	struct gw_place at;     // where the next transaction goes on
	bool done;
};

static bool
is_of(MDB_val key, uint32_t id)
{
	return key.mv_size == GW_CHUNK_KEY && gw_chunk_key_id(key.mv_data) == id;
}

static bool
goes(const struct erasing *erasing, const struct gw_point *point)
{
	if (point->reading.time_us < erasing->from_us || point->reading.time_us >= erasing->to_us)
		return false;
	return erasing->fn == NULL || erasing->fn(erasing->arg, &erasing->info, point);
}

// The readings that stay move to the front; how many they are.
static size_t
sift(struct erasing *erasing, struct gw_points *points)
{
	size_t kept = 0;

	for (size_t i = 0; i < points->count; i++)
		if (!goes(erasing, &points->at[i]))
			points->at[kept++] = points->at[i];
	return kept;
}

// Cuts out of a chunk what goes.
static enum gw_error
cut(struct erasing *erasing, struct gw_series *series, MDB_cursor *cursor, const struct gw_filed *filed)
{
	struct gw_series_store *store = erasing->store;
	struct gw_points *old = &store->old;
	bool inside = filed->first.time_us >= erasing->from_us && filed->last.time_us < erasing->to_us && erasing->fn == NULL;
	size_t kept = 0;
	enum gw_error error = inside ? GW_OK : gw_series_load(store, series, filed->chunk, old);

	if (error == GW_E_CORRUPT && erasing->fn != NULL) {
		erasing->damaged++;
		return GW_OK;
	}
	if (error == GW_E_CORRUPT) { // what cannot be cut goes whole: it is to be gone
		gw_series_damaged(store, series, filed->first, "erased whole");
		inside = true;
	} else if (error != GW_OK)
		return error;
	if (!inside && (kept = sift(erasing, old)) == old->count)
		return GW_OK;
	erasing->erased += inside ? filed->count : old->count - kept;
	if (erasing->dry)
		return GW_OK;
	gw_rollup_touch(store, filed->first.time_us, filed->last.time_us);
	if ((error = gw_series_delete(store, cursor, filed)) != GW_OK || inside)
		return error;
	return gw_series_put(store, series, old->at, kept, NULL);
}

// A chunk whose head is damaged: where everything goes it goes, too.
static enum gw_error
cut_damaged(struct erasing *erasing, MDB_cursor *cursor, const struct gw_filed *filed, int64_t first_us)
{
	erasing->damaged++;
	if (erasing->fn != NULL || erasing->dry || first_us < erasing->from_us)
		return GW_OK;
	return gw_series_delete(erasing->store, cursor, filed);
}

static struct gw_place
behind(struct gw_place place)
{
	place.revision++;
	if (place.revision == 0 && ++place.sequence == 0)
		place.time_us++;
	return place;
}

// From erasing->at on, as far as one transaction goes.
static enum gw_error
erase_some(struct erasing *erasing, struct gw_series *series)
{
	struct gw_series_store *store = erasing->store;
	struct gw_filed filed;
	MDB_cursor *cursor;
	MDB_val key, value;
	enum gw_error error = gw_series_error(mdb_cursor_open(store->txn, store->tables[GW_S_CHUNKS], &cursor));
	uint8_t next[GW_CHUNK_KEY];
	size_t looked = 0;
	int rc;

	if (error != GW_OK)
		return error;
	for (rc = gw_series_seek(cursor, series->id, erasing->at, &key, &value); rc == 0 && error == GW_OK && store->put_bytes < ERASE_BYTES &&
	    looked < ERASE_CHUNKS; looked++) {
		struct gw_place first;

		if ((erasing->done = !is_of(key, series->id) || gw_chunk_key_place(key.mv_data).time_us >= erasing->to_us))
			break;
		first = gw_chunk_key_place(key.mv_data);
		filed = (struct gw_filed){ 0 };
		if (!gw_filed_get(key, value, &filed))
			error = cut_damaged(erasing, cursor, &filed, first.time_us);
		else if (filed.count > 0 && filed.last.time_us >= erasing->from_us)
			error = cut(erasing, series, cursor, &filed);
		// On from behind where it began: what is left of it there stays.
		if (error == GW_OK) {
			erasing->at = behind(first);
			gw_chunk_key(series->id, erasing->at, next);
			key = gw_series_val(next, sizeof(next));
			rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
		}
	}
	mdb_cursor_close(cursor);
	erasing->done |= rc == MDB_NOTFOUND;
	if (erasing->done && erasing->fn == NULL && !erasing->dry) // also what no chunk tells of any more
		gw_rollup_touch(store, erasing->from_us, erasing->to_us - 1);
	if (error == GW_OK && (rc == 0 || rc == MDB_NOTFOUND))
		error = gw_rollup_settle(store, series, GW_ROLLUP_ALWAYS);
	return error != GW_OK || rc == MDB_NOTFOUND ? error : gw_series_error(rc);
}

static enum gw_error
piece(struct erasing *erasing, struct gw_series *series)
{
	struct gw_series_store *store = erasing->store;
	enum gw_error error = gw_series_begin(store);

	if (error != GW_OK)
		return error;
	// What is in the tail first: then it does not come back after a restart.
	if ((error = gw_series_flush_one(store, series, true)) == GW_OK)
		error = erase_some(erasing, series);
	return gw_series_flush_end(store, error);
}

// Other writers come in between the pieces.
static enum gw_error
erase_series(struct erasing *erasing, struct gw_series *series)
{
	struct gw_series_store *store = erasing->store;
	enum gw_error error = GW_OK;

	erasing->info = (struct gw_series_info){ .id = series->id, .signal = series->signal, .instance = series->instance, .waveform = series->waveform };
	snprintf(erasing->info.device, sizeof(erasing->info.device), "%.*s", (int)series->device->len, series->device->name);
	erasing->at = (struct gw_place){ erasing->from_us, 0, 0 };
	for (erasing->done = false; !erasing->done && error == GW_OK;) {
		error = piece(erasing, series);
		gw_series_forget(store, series);
		pthread_mutex_unlock(&store->write);
		pthread_mutex_lock(&store->write);
	}
	return error;
}

// What its clock was worth tells nothing where nothing is left of a device.
static enum gw_error
let_clock_go(struct gw_series_store *store, struct gw_series_device *device)
{
	enum gw_error error = gw_series_begin(store);

	return error == GW_OK ? gw_series_flush_end(store, gw_series_clock_left(store, device)) : error;
}

static enum gw_error
erase(struct erasing *erasing, struct gw_span name)
{
	struct gw_series_store *store = erasing->store;
	struct gw_series_device *device;
	enum gw_error error = GW_OK;

	if (store->options.read_only)
		return GW_E_ARGUMENT;
	pthread_mutex_lock(&store->write);
	if ((device = gw_series_device(store, name)) == NULL)
		error = GW_E_NOT_FOUND;
	for (struct gw_series *series = device != NULL ? device->series : NULL; series != NULL && error == GW_OK; series = series->next)
		error = erase_series(erasing, series);
	if (error == GW_OK && erasing->fn == NULL)
		error = let_clock_go(store, device);
	pthread_mutex_unlock(&store->write);
	return error;
}

enum gw_error
gw_series_erase(struct gw_series_store *store, struct gw_span name, int64_t from_us, int64_t to_us, uint64_t *erased)
{
	struct erasing erasing = { .store = store, .from_us = from_us, .to_us = to_us };
	enum gw_error error = erase(&erasing, name);

	*erased = erasing.erased;
	return error;
}

enum gw_error
gw_series_erase_where(struct gw_series_store *store, struct gw_span name, gw_series_erase_fn *fn, void *arg, bool dry, uint64_t *erased, uint64_t *damaged)
{
	struct erasing erasing = { .store = store, .from_us = INT64_MIN, .to_us = INT64_MAX, .fn = fn, .arg = arg, .dry = dry };
	enum gw_error error = erase(&erasing, name);

	*erased = erasing.erased;
	if (damaged != NULL)
		*damaged = erasing.damaged;
	return error;
}
