// SPDX-License-Identifier: Apache-2.0
// Reading series: any thread. A cursor copies the tail when it is opened and then one chunk at a time, each in a transaction of its own that ends before
// the caller gets anything. The tail is copied first, so that what moves from it into a chunk meanwhile is seen in both, and merged into one.
#include "gateway/series_internal.h"

#include <stdlib.h>

struct gw_series_cursor {
	struct gw_series_store *store;
	struct gw_series series;    // what identifies it
	struct gw_place at;         // the next readings are at or after this
	struct gw_place last;       // and of what has been given, the last
	bool any;                   // something has been given
	bool parts;                 // a chunk may be given of which only a part is wanted
	bool end;                   // of the chunks
	struct gw_place bad;        // where a damaged chunk begins, behind which reading goes on
	bool bad_any;
	int64_t to_us;

	struct gw_tail tail;        // a copy
	struct gw_points late;      // its readings, in order
	size_t late_at, late_end;   // those that are still to come

	uint8_t *bytes;             // the chunk's copy
	size_t len, cap;
	struct gw_filed filed;
	bool loaded;                // a chunk that was not given yet
	struct gw_chunk_reader *reader;
	struct gw_points old, merged;

	struct gw_series_block block; // for gw_series_next()
	size_t block_at;
};

// ---- What else uses ----

int
gw_series_seek(MDB_cursor *cursor, uint32_t id, struct gw_place place, MDB_val *key, MDB_val *value)
{
	uint8_t at[GW_CHUNK_KEY];
	int rc;

	gw_chunk_key(id, place, at);
	*key = gw_series_val(at, sizeof(at));
	rc = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
	if (rc == 0 && key->mv_size == sizeof(at) && memcmp(key->mv_data, at, sizeof(at)) == 0)
		return 0;
	if (rc == 0)
		rc = mdb_cursor_get(cursor, key, value, MDB_PREV);
	else if (rc == MDB_NOTFOUND)
		rc = mdb_cursor_get(cursor, key, value, MDB_LAST);
	if (rc == 0 && key->mv_size == GW_CHUNK_KEY && gw_chunk_key_id(key->mv_data) == id)
		return 0;
	// None begins so early: the series' first.
	if (rc != 0 && rc != MDB_NOTFOUND)
		return rc;
	gw_chunk_key(id, (struct gw_place){ INT64_MIN, 0, 0 }, at);
	*key = gw_series_val(at, sizeof(at));
	rc = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
	return rc != 0 || (key->mv_size == GW_CHUNK_KEY && gw_chunk_key_id(key->mv_data) == id) ? rc : MDB_NOTFOUND;
}

enum gw_error
gw_series_decode(struct gw_chunk_reader *reader, const struct gw_series *series, struct gw_span chunk, struct gw_points *points)
{
	enum gw_error error = gw_chunk_open(reader, chunk, NULL);

	points->count = 0;
	if (error != GW_OK || (error = gw_points_reserve(points, gw_chunk_head(reader)->count)) != GW_OK)
		return error;
	while (points->count < points->cap && gw_chunk_next(reader, &points->at[points->count], &error)) {
		points->at[points->count].reading.signal = series->signal;
		points->at[points->count++].reading.instance = series->instance;
	}
	return error != GW_OK ? error : points->count == gw_chunk_head(reader)->count ? GW_OK : GW_E_CORRUPT;
}

// ---- A cursor ----

static enum gw_error
copy_tail(struct gw_series_cursor *cursor, const struct gw_tail *tail, int64_t from_us)
{
	if (tail->count == 0 || tail->most_us < from_us || tail->least_us >= cursor->to_us)
		return GW_OK;
	cursor->tail = *tail;
	cursor->tail.marks = NULL;
	if ((cursor->tail.bytes = malloc(tail->len)) == NULL)
		return GW_E_MEMORY;
	memcpy(cursor->tail.bytes, tail->bytes, tail->len);
	return GW_OK;
}

static enum gw_error
sort_tail(struct gw_series_cursor *cursor, int64_t from_us)
{
	struct gw_points *late = &cursor->late;
	size_t kept = 0;
	enum gw_error error = gw_tail_points(&cursor->tail, cursor->series.signal, cursor->series.instance, late);

	if (error != GW_OK)
		return error;
	for (size_t i = 0; i < late->count; i++)
		if (late->at[i].reading.time_us >= from_us && late->at[i].reading.time_us < cursor->to_us)
			late->at[kept++] = late->at[i];
	late->count = cursor->late_end = kept;
	return gw_points_sort(late);
}

enum gw_error
gw_series_read(struct gw_series_store *store, uint32_t id, int64_t from_us, int64_t to_us, struct gw_series_cursor **out)
{
	struct gw_series_cursor *cursor = calloc(1, sizeof(*cursor));
	const struct gw_series *series = NULL;
	enum gw_error error = GW_E_NOT_FOUND;

	if (cursor == NULL)
		return GW_E_MEMORY;
	cursor->store = store;
	cursor->at = (struct gw_place){ from_us, 0, 0 };
	cursor->to_us = to_us;
	pthread_mutex_lock(&store->lock);
	if (id > 0 && id <= store->ids && (series = store->series[id - 1]) != NULL) {
		cursor->series = (struct gw_series){ .id = id, .signal = series->signal, .instance = series->instance, .device = series->device };
		error = copy_tail(cursor, &series->tail, from_us);
	}
	pthread_mutex_unlock(&store->lock);
	if (error == GW_OK && cursor->tail.count > 0)
		error = sort_tail(cursor, from_us);
	if (error == GW_OK && (cursor->reader = gw_chunk_reader_new()) == NULL)
		error = GW_E_MEMORY;
	if (error != GW_OK)
		gw_series_end(cursor);
	else
		*out = cursor;
	return error;
}

// Of the tail's readings the first at or after us.
static size_t
find_late(const struct gw_series_cursor *cursor, int64_t us)
{
	size_t low = 0, high = cursor->late.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (cursor->late.at[middle].reading.time_us < us)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int64_t
gw_series_cursor_late(const struct gw_series_cursor *cursor, int64_t from_us)
{
	size_t at = find_late(cursor, from_us);

	return at < cursor->late.count ? cursor->late.at[at].reading.time_us : INT64_MAX;
}

void
gw_series_cursor_turn(struct gw_series_cursor *cursor, int64_t from_us, int64_t to_us)
{
	cursor->at = (struct gw_place){ from_us, 0, 0 };
	cursor->to_us = to_us;
	cursor->parts = true;
	cursor->any = cursor->end = cursor->bad_any = cursor->loaded = false;
	cursor->late_at = find_late(cursor, from_us);
	cursor->late_end = find_late(cursor, to_us);
	cursor->block.count = cursor->block_at = 0;
}

bool
gw_series_cursor_given(const struct gw_series_cursor *cursor, struct gw_place *place)
{
	*place = cursor->last;
	return cursor->any;
}

void
gw_series_cursor_pass(struct gw_series_cursor *cursor, struct gw_place place)
{
	cursor->any = true;
	cursor->last = place;
	while (cursor->late_at < cursor->late_end && gw_place_compare(gw_place_of(&cursor->late.at[cursor->late_at]), place) <= 0)
		cursor->late_at++;
}

void
gw_series_end(struct gw_series_cursor *cursor)
{
	if (cursor == NULL)
		return;
	gw_tail_free(&cursor->tail);
	gw_points_free(&cursor->late);
	gw_points_free(&cursor->old);
	gw_points_free(&cursor->merged);
	gw_chunk_reader_free(cursor->reader);
	free(cursor->bytes);
	free(cursor);
}

// Of the place behind what was given.
static bool
wanted(const struct gw_series_cursor *cursor, struct gw_place place)
{
	return cursor->any ? gw_place_compare(place, cursor->last) > 0 : gw_place_compare(place, cursor->at) >= 0;
}

static enum gw_error
copy_chunk(struct gw_series_cursor *cursor, const struct gw_filed *filed)
{
	uint8_t *bytes;

	if (filed->chunk.len > cursor->cap) {
		if ((bytes = realloc(cursor->bytes, filed->chunk.len)) == NULL)
			return GW_E_MEMORY;
		cursor->bytes = bytes;
		cursor->cap = filed->chunk.len;
	}
	memcpy(cursor->bytes, filed->chunk.at, cursor->len = filed->chunk.len);
	cursor->filed = *filed;
	cursor->filed.chunk = gw_span(cursor->bytes, cursor->len);
	return GW_OK;
}

// The next chunk that holds something wanted, from the one on in which `at` lies. Others may have been cut, merged or deleted since the last one.
static enum gw_error
find_next(struct gw_series_cursor *cursor, MDB_cursor *chunks)
{
	struct gw_place at = cursor->any ? cursor->last : cursor->at;
	struct gw_filed filed;
	MDB_val key, value;
	int rc = gw_series_seek(chunks, cursor->series.id, at, &key, &value);

	for (; rc == 0; rc = mdb_cursor_get(chunks, &key, &value, MDB_NEXT)) {
		if (key.mv_size != GW_CHUNK_KEY || gw_chunk_key_id(key.mv_data) != cursor->series.id ||
		    gw_chunk_key_place(key.mv_data).time_us >= cursor->to_us)
			return GW_E_NOT_FOUND;
		if (!gw_filed_get(key, value, &filed)) {
			if (wanted(cursor, filed.first))
				gw_series_damaged(cursor->store, &cursor->series, filed.first, "checksum of its head");
			continue;
		}
		if (wanted(cursor, filed.last) && !(cursor->bad_any && gw_place_compare(filed.first, cursor->bad) <= 0))
			return copy_chunk(cursor, &filed);
	}
	return gw_series_error(rc);
}

static enum gw_error
fetch(struct gw_series_cursor *cursor)
{
	MDB_cursor *chunks;
	MDB_txn *txn;
	enum gw_error error;

	if (cursor->loaded || cursor->end)
		return GW_OK;
	if ((error = gw_series_reader(cursor->store, &txn)) != GW_OK)
		return error;
	if ((error = gw_series_error(mdb_cursor_open(txn, cursor->store->tables[GW_S_CHUNKS], &chunks))) == GW_OK) {
		error = find_next(cursor, chunks);
		mdb_cursor_close(chunks);
	}
	gw_series_reader_end(cursor->store, txn);
	if (error == GW_E_CORRUPT)
		atomic_store(&cursor->store->broken, true); // the tree, not a chunk: it is opened again, and looked at
	cursor->end = error == GW_E_NOT_FOUND;
	cursor->loaded = error == GW_OK;
	return cursor->end ? GW_OK : error;
}

static void
given(struct gw_series_cursor *cursor, struct gw_place last)
{
	cursor->last = last;
	cursor->any = true;
	// The tail's own of the same place are what a chunk has by now.
	while (cursor->late_at < cursor->late_end && !wanted(cursor, gw_place_of(&cursor->late.at[cursor->late_at])))
		cursor->late_at++;
}

// Readings of the tail before `end` (NULL: all).
static enum gw_error
give_late(struct gw_series_cursor *cursor, const struct gw_place *end, struct gw_series_block *block)
{
	const struct gw_point *from = &cursor->late.at[cursor->late_at];
	size_t count = 0, most = cursor->late_end - cursor->late_at;
	bool changed;
	enum gw_error error;

	while (count < most && (end == NULL || gw_place_compare(gw_place_of(&from[count]), *end) < 0))
		count++;
	if ((error = gw_series_merge(NULL, NULL, from, count, &cursor->merged, &changed)) != GW_OK)
		return error;
	*block = (struct gw_series_block){ .points = cursor->merged.at, .count = cursor->merged.count };
	cursor->late_at += count;
	given(cursor, gw_place_of(&cursor->merged.at[cursor->merged.count - 1]));
	return GW_OK;
}

// The part of a run that is wanted.
static void
narrow(const struct gw_series_cursor *cursor, struct gw_series_block *block)
{
	while (block->count > 0 && !wanted(cursor, gw_place_of(&block->points[0]))) {
		block->points++;
		block->count--;
	}
	while (block->count > 0 && block->points[block->count - 1].reading.time_us >= cursor->to_us)
		block->count--;
}

// The chunk by its readings, with those of the tail that lie in it.
static enum gw_error
give_merged(struct gw_series_cursor *cursor, struct gw_series_block *block)
{
	struct gw_place last = cursor->filed.last;
	const struct gw_point *from = cursor->late.at + cursor->late_at;
	size_t count = 0, most = cursor->late_end - cursor->late_at;
	bool changed;
	enum gw_error error = gw_series_decode(cursor->reader, &cursor->series, cursor->filed.chunk, &cursor->old);

	if (error != GW_OK)
		return error;
	while (count < most && gw_place_compare(gw_place_of(&from[count]), last) <= 0)
		count++;
	if ((error = gw_series_merge(NULL, &cursor->old, from, count, &cursor->merged, &changed)) != GW_OK)
		return error;
	*block = (struct gw_series_block){ .points = cursor->merged.at, .count = cursor->merged.count };
	cursor->late_at += count;
	narrow(cursor, block);
	given(cursor, gw_place_compare(gw_place_of(&cursor->merged.at[cursor->merged.count - 1]), last) > 0 ?
	    gw_place_of(&cursor->merged.at[cursor->merged.count - 1]) : last);
	return GW_OK;
}

static bool
is_whole(const struct gw_series_cursor *cursor)
{
	bool late = cursor->late_at < cursor->late_end &&
	    gw_place_compare(gw_place_of(&cursor->late.at[cursor->late_at]), cursor->filed.last) <= 0;

	if (!late && cursor->parts && !cursor->any)
		return true;
	return !late && wanted(cursor, cursor->filed.first) && (cursor->parts || cursor->filed.last.time_us < cursor->to_us);
}

static enum gw_error
give_chunk(struct gw_series_cursor *cursor, struct gw_series_block *block)
{
	enum gw_error error = GW_OK;

	cursor->loaded = false;
	if (is_whole(cursor)) {
		if ((error = gw_chunk_open(cursor->reader, cursor->filed.chunk, NULL)) == GW_OK) {
			*block = (struct gw_series_block){ .chunk = cursor->filed.chunk, .count = cursor->filed.count };
			given(cursor, cursor->filed.last);
		}
	} else
		error = give_merged(cursor, block);
	if (error != GW_OK && error != GW_E_MEMORY) {
		gw_series_damaged(cursor->store, &cursor->series, cursor->filed.first, gw_error_text(error));
		cursor->bad = cursor->filed.first; // what the tail has within stays wanted
		cursor->bad_any = true;
		error = GW_OK;
	}
	return error;
}

enum gw_error
gw_series_next_block(struct gw_series_cursor *cursor, struct gw_series_block *block)
{
	enum gw_error error = GW_OK;

	for (*block = (struct gw_series_block){ 0 }; error == GW_OK && block->count == 0;) {
		bool late = cursor->late_at < cursor->late_end;

		if ((error = fetch(cursor)) != GW_OK)
			break;
		if (late && (!cursor->loaded || gw_place_compare(gw_place_of(&cursor->late.at[cursor->late_at]), cursor->filed.first) < 0))
			error = give_late(cursor, cursor->loaded ? &cursor->filed.first : NULL, block);
		else if (cursor->loaded)
			error = give_chunk(cursor, block);
		else
			error = GW_E_NOT_FOUND;
	}
	return error;
}

void
gw_series_cursor_damaged(struct gw_series_cursor *cursor, enum gw_error error)
{
	gw_series_damaged(cursor->store, &cursor->series, cursor->filed.first, gw_error_text(error));
}

enum gw_error
gw_series_next(struct gw_series_cursor *cursor, const struct gw_point **point)
{
	enum gw_error error;

	while (cursor->block_at >= cursor->block.count) {
		cursor->block_at = 0;
		if ((error = gw_series_next_block(cursor, &cursor->block)) != GW_OK)
			return error;
		if (cursor->block.chunk.len == 0)
			continue;
		if ((error = gw_series_decode(cursor->reader, &cursor->series, cursor->block.chunk, &cursor->old)) == GW_E_MEMORY)
			return error;
		if (error != GW_OK)
			gw_series_cursor_damaged(cursor, error);
		cursor->block.points = cursor->old.at;
		cursor->block.count = error == GW_OK ? cursor->old.count : 0;
	}
	*point = &cursor->block.points[cursor->block_at++];
	return GW_OK;
}
