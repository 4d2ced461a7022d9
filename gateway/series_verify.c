// SPDX-License-Identifier: Apache-2.0
// Looking at all chunks, and the figures. Any thread.
#include "gateway/series_rollup.h"

#include <errno.h>
#include <stdlib.h>

struct verify {
	struct gw_series_store *store;
	gw_series_damage_fn *fn;
	void *arg;
	struct gw_series_verified *verified;
	gw_series_points_fn *points_fn;
	void *points_arg;
	struct gw_chunk_reader *reader;
	struct gw_points points;
	uint8_t *bytes;           // a copy of key and value
	size_t len, cap;
	uint8_t key[GW_CHUNK_KEY];
	bool any;
	uint32_t id;              // of the chunk before
	struct gw_place last;
};

// The next value, copied.
static enum gw_error
copy_next(struct verify *verify)
{
	MDB_val key = gw_series_val(verify->key, sizeof(verify->key)), value;
	MDB_cursor *cursor;
	MDB_txn *txn;
	enum gw_error error = gw_series_reader(verify->store, &txn);
	int rc;

	if (error != GW_OK)
		return error;
	if ((rc = mdb_cursor_open(txn, verify->store->tables[GW_S_CHUNKS], &cursor)) == 0) {
		rc = verify->any ? mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE) : mdb_cursor_get(cursor, &key, &value, MDB_FIRST);
		if (rc == 0 && verify->any && memcmp(key.mv_data, verify->key, key.mv_size < GW_CHUNK_KEY ? key.mv_size : GW_CHUNK_KEY) == 0)
			rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
		if (rc == 0 && (key.mv_size != GW_CHUNK_KEY))
			rc = MDB_CORRUPTED;
		if (rc == 0 && value.mv_size > verify->cap) {
			uint8_t *bytes = realloc(verify->bytes, value.mv_size);

			rc = bytes == NULL ? ENOMEM : 0;
			verify->bytes = bytes != NULL ? bytes : verify->bytes;
			verify->cap = bytes != NULL ? value.mv_size : verify->cap;
		}
		if (rc == 0) {
			memcpy(verify->key, key.mv_data, GW_CHUNK_KEY);
			memcpy(verify->bytes, value.mv_data, verify->len = value.mv_size);
			verify->any = true;
		}
		mdb_cursor_close(cursor);
	}
	gw_series_reader_end(verify->store, txn);
	return gw_series_error(rc);
}

// What is wrong with it; NULL: nothing.
static const char *
look(struct verify *verify, const struct gw_series *series, struct gw_filed *filed)
{
	struct gw_points *points = &verify->points;
	MDB_val key = gw_series_val(verify->key, sizeof(verify->key)), value = gw_series_val(verify->bytes, verify->len);

	if (!gw_filed_get(key, value, filed))
		return "its head does not match its checksum";
	if (series == NULL)
		return "it belongs to no series";
	if (gw_series_decode(verify->reader, series, filed->chunk, points) != GW_OK)
		return "it does not match its checksum, or cannot be decoded";
	if (points->count != filed->count || points->count == 0 || gw_place_compare(gw_place_of(&points->at[0]), filed->first) != 0 ||
	    gw_place_compare(gw_place_of(&points->at[points->count - 1]), filed->last) != 0)
		return "it is not the chunk that its key says";
	for (size_t i = 1; i < points->count; i++)
		if (gw_place_compare(gw_place_of(&points->at[i - 1]), gw_place_of(&points->at[i])) >= 0)
			return "its readings are not in order";
	if (verify->id == filed->id && gw_place_compare(verify->last, filed->first) >= 0)
		return "it overlaps the one before";
	return NULL;
}

static void
report(struct verify *verify, const struct gw_series *series, int64_t first_us, const char *words)
{
	struct gw_series_info info = { 0 };

	verify->verified->damaged++;
	if (series != NULL) {
		info = (struct gw_series_info){ .id = series->id, .signal = series->signal, .instance = series->instance, .waveform = series->waveform };
		memcpy(info.device, series->device->name, sizeof(info.device));
	}
	if (verify->fn != NULL)
		verify->fn(verify->arg, &info, first_us, words);
}

// A device each; they are few, and small.
static enum gw_error
look_at_clocks(struct verify *verify)
{
	struct gw_series_store *store = verify->store;
	struct gw_clock_history history;
	MDB_val key, value;
	MDB_cursor *cursor;
	MDB_txn *txn;
	uint64_t incarnation;
	enum gw_error error;
	int rc;

	if (store->tables[GW_S_CLOCKS] == GW_SERIES_NO_TABLE)
		return GW_OK;
	if ((error = gw_series_reader(store, &txn)) != GW_OK)
		return error;
	if ((rc = mdb_cursor_open(txn, store->tables[GW_S_CLOCKS], &cursor)) == 0) {
		while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
			struct gw_series_device device = { 0 };
			struct gw_series series = { .device = &device };

			verify->verified->clocks++;
			if (gw_series_clock_row(key, value, &history, &incarnation) == GW_OK)
				continue;
			memcpy(device.name, key.mv_data, key.mv_size <= GW_ID_MAX ? key.mv_size : 0);
			report(verify, &series, 0, "the history of its clock does not match its checksum");
		}
		mdb_cursor_close(cursor);
	}
	gw_series_reader_end(store, txn);
	return rc == MDB_NOTFOUND ? GW_OK : gw_series_error(rc);
}

enum gw_error
gw_series_walk(struct gw_series_store *store, gw_series_damage_fn *fn, void *arg, gw_series_points_fn *points_fn, void *points_arg,
    struct gw_series_verified *verified)
{
	struct verify verify = { .store = store, .fn = fn, .arg = arg, .points_fn = points_fn, .points_arg = points_arg, .verified = verified,
		.reader = gw_chunk_reader_new() };
	enum gw_error error = verify.reader != NULL ? GW_OK : GW_E_MEMORY;

	*verified = (struct gw_series_verified){ 0 };
	while (error == GW_OK && (error = copy_next(&verify)) == GW_OK) {
		struct gw_filed filed = { 0 };
		const struct gw_series *series;
		const char *words;
		uint32_t id = gw_chunk_key_id(verify.key);

		pthread_mutex_lock(&store->lock);
		series = id > 0 && id <= store->ids ? store->series[id - 1] : NULL;
		pthread_mutex_unlock(&store->lock);
		if ((words = look(&verify, series, &filed)) != NULL) {
			report(&verify, series, filed.first.time_us, words);
			continue;
		}
		verify.id = filed.id;
		verify.last = filed.last;
		verified->chunks++;
		verified->readings += filed.count;
		verified->bytes += verify.len;
		if (points_fn != NULL && !points_fn(points_arg, series, &verify.points))
			error = GW_E_STOPPING;
	}
	if (error == GW_E_NOT_FOUND)
		error = look_at_clocks(&verify);
	gw_chunk_reader_free(verify.reader);
	gw_points_free(&verify.points);
	free(verify.bytes);
	if (error == GW_OK)
		error = gw_rollup_verify(store, fn, arg, points_fn, points_arg, verified);
	return error;
}

enum gw_error
gw_series_verify(struct gw_series_store *store, gw_series_damage_fn *fn, void *arg, struct gw_series_verified *verified)
{
	return gw_series_walk(store, fn, arg, NULL, NULL, verified);
}

void
gw_series_stats(struct gw_series_store *store, struct gw_series_stats *stats)
{
	*stats = (struct gw_series_stats){
		.series = store->total_series, .chunks = store->total_chunks, .readings = store->total_readings, .bytes = store->total_bytes,
		.tail_readings = store->tail_readings, .tail_bytes = store->tail_bytes, .taken = store->taken, .cursor = store->cursor,
		.duplicates = store->duplicates, .renumbered = store->renumbered, .merged = store->merged_chunks, .deleted = store->deleted,
		.refused = store->refused, .damaged = store->damaged, .commits = store->commits, .commit_us_max = store->commit_us_max,
		.budget_bytes = store->options.budget_bytes, .file_bytes = store->file_bytes, .free_bytes = store->free_bytes,
		.clock_us = store->clock_now_us, .oldest_us = store->oldest_us, .full = store->full_now, .broken = store->broken,
	};
	pthread_mutex_lock(&store->lock);
	stats->devices = store->device_count;
	pthread_mutex_unlock(&store->lock);
}
