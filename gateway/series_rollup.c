// SPDX-License-Identifier: Apache-2.0
// Keeping roll-ups in step with the chunks: whoever changes chunks says which times it touched, and before the commit the blocks there are made anew from what the
// transaction then holds. Only blocks that the series has passed are made: a block that still fills costs nothing. With `write` held.
#include "gateway/series_rollup.h"

#include <stdlib.h>

#define PIECE_BYTES (1u << 20)   // written by one transaction of a rebuild
#define PIECE_WORK (1u << 20)    // readings and rows looked at
#define WORK_FREE (1u << 16)     // readings of a range that are always read: some a second for the time of a block
#define WORK_EACH 64             // read for each that is put
#define WORK_MAX (1u << 25)      // read for a range at most
#define NEAR_US INT64_C(3600000000)

struct gw_rollup_writer {
	struct gw_rollup_sum sum;
	uint8_t bytes[GW_ROLLUP_BYTES_MAX];
};

static enum gw_error put_block(void *arg, struct gw_rollup_sum *sum);

enum gw_error
gw_rollup_open(struct gw_series_store *store)
{
	if ((store->rollup = calloc(1, sizeof(*store->rollup))) == NULL)
		return GW_E_MEMORY;
	store->rebuild_us = -GW_ROLLUP_TIME_MAX;
	store->rollup->sum.store = store;
	store->rollup->sum.reader = store->reader;
	store->rollup->sum.done = put_block;
	store->rollup->sum.arg = store->rollup;
	return GW_OK;
}

void
gw_rollup_close(struct gw_series_store *store)
{
	if (store->rollup != NULL)
		free(store->rollup->sum.copy);
	free(store->rollup);
	free(store->touched);
}

// ---- What was touched ----

static int64_t
within(int64_t us)
{
	return us < -GW_ROLLUP_TIME_MAX ? -GW_ROLLUP_TIME_MAX : us > GW_ROLLUP_TIME_MAX ? GW_ROLLUP_TIME_MAX : us;
}

void
gw_rollup_touch(struct gw_series_store *store, int64_t first_us, int64_t last_us)
{
	struct gw_touched touched = { within(first_us), within(last_us) }, *before;

	if (store->touched_count > 0) {
		before = &store->touched[store->touched_count - 1];
		if (touched.first_us >= before->first_us && touched.first_us <= before->last_us + NEAR_US) {
			before->last_us = touched.last_us > before->last_us ? touched.last_us : before->last_us;
			return;
		}
	}
	if (store->touched_count == store->touched_cap) {
		size_t cap = store->touched_cap > 0 ? store->touched_cap * 2 : 64;
		struct gw_touched *more = realloc(store->touched, cap * sizeof(*more));

		if (more == NULL) { // all of it
			store->touched_failed = true;
			return;
		}
		store->touched = more;
		store->touched_cap = cap;
	}
	store->touched[store->touched_count++] = touched;
}

static int
by_first(const void *left, const void *right)
{
	const struct gw_touched *a = left, *b = right;

	return (a->first_us > b->first_us) - (a->first_us < b->first_us);
}

// ---- Making ----

static enum gw_error
put_block(void *arg, struct gw_rollup_sum *sum)
{
	struct gw_rollup_writer *writer = arg;
	struct gw_series_store *store = sum->store;
	uint8_t at[GW_ROLLUP_KEY];
	MDB_val key = gw_series_val(at, sizeof(at)), value;

	if (!gw_rollup_pays(sum))
		return GW_OK;
	gw_rollup_key(sum->block.id, sum->block.level, sum->block.from_us, at);
	value = gw_series_val(writer->bytes, gw_rollup_encode(&sum->block, writer->bytes));
	store->put_bytes += value.mv_size + 128;
	return gw_series_error(mdb_put(store->txn, store->tables[GW_S_ROLLUPS], &key, &value, 0));
}

static enum gw_error
delete_blocks(struct gw_series_store *store, MDB_cursor *cursor, uint32_t id, uint8_t level, int64_t from_us, int64_t to_us)
{
	uint8_t at[GW_ROLLUP_KEY], got_level;
	MDB_val key = gw_series_val(at, sizeof(at)), value;
	uint32_t got_id;
	int64_t got_us;
	int rc;

	gw_rollup_key(id, level, from_us, at);
	while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE)) == 0) {
		if (!gw_rollup_key_take(key, &got_id, &got_level, &got_us) || got_id != id || got_level != level || got_us >= to_us)
			return GW_OK;
		if ((rc = mdb_cursor_del(cursor, 0)) != 0)
			break;
		store->put_bytes += 128;
		key = gw_series_val(at, sizeof(at));
	}
	return rc == 0 || rc == MDB_NOTFOUND ? GW_OK : gw_series_error(rc);
}

// The newest reading in chunks. False: there is none.
static enum gw_error
newest_of(struct gw_series_store *store, uint32_t id, bool *any, int64_t *newest_us)
{
	static const struct gw_place end = { INT64_MAX, UINT32_MAX, UINT16_MAX };
	struct gw_filed filed = { 0 };
	MDB_cursor *cursor;
	MDB_val key, value;
	int rc = mdb_cursor_open(store->txn, store->tables[GW_S_CHUNKS], &cursor);

	if (rc != 0)
		return gw_series_error(rc);
	rc = gw_series_seek(cursor, id, end, &key, &value);
	if ((*any = rc == 0)) {
		(void)gw_filed_get(key, value, &filed);
		*newest_us = within(filed.last.time_us);
	}
	mdb_cursor_close(cursor);
	return rc == 0 || rc == MDB_NOTFOUND ? GW_OK : gw_series_error(rc);
}

enum gw_error
gw_rollup_touch_newest(struct gw_series_store *store, const struct gw_series *series)
{
	int64_t newest_us = 0;
	bool any;
	enum gw_error error = newest_of(store, series->id, &any, &newest_us);

	if (error == GW_OK && any)
		gw_rollup_touch(store, newest_us, newest_us);
	return error;
}

struct settling {
	struct gw_series_store *store;
	MDB_cursor *cursor;
	struct gw_series *series;
	bool make, always;
	int64_t newest_us;
};

// As far as it may. What it was too much for has none.
static enum gw_error
make(struct settling *s, uint8_t level, int64_t from_us, int64_t to_us)
{
	struct gw_rollup_sum *sum = &s->store->rollup->sum;
	uint64_t before = sum->work, used;
	enum gw_error error;

	sum->txn = s->store->txn;
	sum->work_max = before + (s->always ? WORK_MAX : WORK_FREE + WORK_MAX - s->series->rolled);
	error = gw_rollup_sum(sum, s->series->id, level, from_us, to_us);
	used = sum->work - before;
	if (!s->always && used > WORK_FREE)
		s->series->rolled = used - WORK_FREE < WORK_MAX - s->series->rolled ? s->series->rolled + (uint32_t)(used - WORK_FREE) : WORK_MAX;
	return error == GW_E_STOPPING ? GW_OK : error;
}

static enum gw_error
settle_range(struct settling *s, uint8_t level, int64_t from_us, int64_t to_us)
{
	int64_t passed_us = gw_rollup_floor(s->newest_us, gw_rollup_levels[level].block_us);
	enum gw_error error = delete_blocks(s->store, s->cursor, s->series->id, level, from_us, to_us);

	to_us = to_us < passed_us ? to_us : passed_us;
	return error == GW_OK && s->make && from_us < to_us ? make(s, level, from_us, to_us) : error;
}

// Whole blocks, each once.
static enum gw_error
settle_level(struct settling *s, uint8_t level)
{
	int64_t block_us = gw_rollup_levels[level].block_us;
	enum gw_error error = GW_OK;

	for (size_t i = 0, next; i < s->store->touched_count && error == GW_OK; i = next) {
		const struct gw_touched *touched = s->store->touched;
		int64_t from_us = gw_rollup_floor(touched[i].first_us, block_us), to_us = gw_rollup_floor(touched[i].last_us, block_us) + block_us;

		for (next = i + 1; next < s->store->touched_count && touched[next].first_us < to_us; next++) {
			int64_t end_us = gw_rollup_floor(touched[next].last_us, block_us) + block_us;

			to_us = end_us > to_us ? end_us : to_us;
		}
		error = settle_range(s, level, from_us, to_us);
	}
	return error;
}

static enum gw_error
settle(struct gw_series_store *store, struct gw_series *series, size_t put)
{
	struct settling s = { .store = store, .series = series, .always = put == GW_ROLLUP_ALWAYS };
	enum gw_error error = newest_of(store, series->id, &s.make, &s.newest_us);

	s.make &= put > 0;
	if (store->touched_failed) {
		store->touched_count = 1; // one fits, or memory is out for all
		if (store->touched == NULL)
			return GW_E_MEMORY;
		store->touched[0] = (struct gw_touched){ -GW_ROLLUP_TIME_MAX, GW_ROLLUP_TIME_MAX };
	}
	qsort(store->touched, store->touched_count, sizeof(*store->touched), by_first);
	if (error == GW_OK)
		error = gw_series_error(mdb_cursor_open(store->txn, store->tables[GW_S_ROLLUPS], &s.cursor));
	if (error != GW_OK)
		return error;
	for (uint8_t level = 0; level < GW_ROLLUP_LEVELS && error == GW_OK; level++)
		error = settle_level(&s, level);
	mdb_cursor_close(s.cursor);
	return error;
}

enum gw_error
gw_rollup_settle(struct gw_series_store *store, struct gw_series *series, size_t put)
{
	enum gw_error error = GW_OK;

	if (put != GW_ROLLUP_ALWAYS)
		series->rolled = put < series->rolled / WORK_EACH ? series->rolled - (uint32_t)put * WORK_EACH : 0;
	if (!series->waveform && (store->touched_count > 0 || store->touched_failed))
		error = settle(store, series, put);
	store->touched_count = 0;
	store->touched_failed = false;
	return error;
}

// ---- All of them ----

// Where the series goes on at or after us, and where the chunk there ends.
static enum gw_error
next_chunk(struct gw_series_store *store, uint32_t id, int64_t us, bool *any, int64_t *at_us, int64_t *end_us)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	struct gw_filed filed;
	int rc = mdb_cursor_open(store->txn, store->tables[GW_S_CHUNKS], &cursor);

	*any = false;
	if (rc != 0)
		return gw_series_error(rc);
	for (rc = gw_series_seek(cursor, id, (struct gw_place){ us, 0, 0 }, &key, &value);
	    rc == 0 && key.mv_size == GW_CHUNK_KEY && gw_chunk_key_id(key.mv_data) == id; rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))
		if (gw_filed_get(key, value, &filed) && filed.last.time_us >= us) {
			*any = true;
			*at_us = within(filed.first.time_us > us ? filed.first.time_us : us);
			*end_us = within(filed.last.time_us);
			break;
		}
	mdb_cursor_close(cursor);
	return rc == 0 || rc == MDB_NOTFOUND ? GW_OK : gw_series_error(rc);
}

// A block's time of the coarsest level; or as many as a chunk reaches over, whose readings may lie thousands of years apart.
static enum gw_error
rebuild_some(struct gw_series_store *store)
{
	int64_t block_us = gw_rollup_levels[GW_ROLLUP_LEVELS - 1].block_us, at_us = 0, end_us = 0, from_us;
	struct gw_series *series = store->series[store->rebuild_at];
	bool any = false;
	enum gw_error error = GW_OK;

	if (series != NULL && series->stored && !series->waveform && store->rebuild_us < GW_ROLLUP_TIME_MAX)
		error = next_chunk(store, series->id, store->rebuild_us, &any, &at_us, &end_us);
	if (error != GW_OK || !any || at_us >= GW_ROLLUP_TIME_MAX) {
		store->rebuild_at++;
		store->rebuild_us = -GW_ROLLUP_TIME_MAX;
		return error;
	}
	from_us = gw_rollup_floor(at_us, block_us);
	store->rebuild_us = gw_rollup_floor(end_us, block_us) + block_us;
	gw_rollup_touch(store, from_us, store->rebuild_us - 1);
	return gw_rollup_settle(store, series, GW_ROLLUP_ALWAYS);
}

static enum gw_error
rebuild_piece(struct gw_series_store *store)
{
	uint64_t before = store->rollup->sum.work;
	enum gw_error error = GW_OK;

	while (store->rebuild_at < store->ids && error == GW_OK && store->put_bytes < PIECE_BYTES && store->rollup->sum.work - before < PIECE_WORK)
		error = rebuild_some(store);
	return error;
}

enum gw_error
gw_series_rollup(struct gw_series_store *store, bool anew, bool *more)
{
	size_t at;
	int64_t us;
	enum gw_error error = GW_OK;

	*more = false;
	if (store->options.read_only)
		return GW_E_ARGUMENT;
	pthread_mutex_lock(&store->write);
	at = store->rebuild_at;
	us = store->rebuild_us;
	if ((anew || !store->rolled_up) && (error = gw_series_room(store, PIECE_BYTES)) == GW_OK && (error = gw_series_begin(store)) == GW_OK) {
		if (anew) {
			store->rebuild_at = 0;
			store->rebuild_us = -GW_ROLLUP_TIME_MAX;
			error = gw_series_error(mdb_drop(store->txn, store->tables[GW_S_ROLLUPS], 0));
		}
		if (error == GW_OK)
			error = rebuild_piece(store);
		*more = store->rebuild_at < store->ids;
		if (error == GW_OK)
			error = gw_series_meta_put(store, store->txn, "rolled up", !*more);
		store->error = error;
		if ((error = gw_series_commit(store, store->cursor)) == GW_OK)
			store->rolled_up = !*more;
		else {
			store->rebuild_at = at;
			store->rebuild_us = us;
		}
	}
	pthread_mutex_unlock(&store->write);
	return error;
}

bool
gw_series_rolled_up(const struct gw_series_store *store)
{
	return store->rolled_up;
}
