// SPDX-License-Identifier: Apache-2.0
// Which of a range's figures lie in a block, the coarsest first. Any thread; the transaction is the caller's.
#include "gateway/series_rollup.h"

#include "gateway/clock.h"
#include "gateway/diag.h"

// The block in which us lies: true, with its bytes. Else where the next one of its level begins (INT64_MAX: nowhere).
static enum gw_error
find(MDB_cursor *cursor, uint32_t id, uint8_t level, int64_t us, MDB_val *key, MDB_val *value, bool *found, int64_t *next_us)
{
	int64_t from_us = gw_rollup_floor(us, gw_rollup_levels[level].block_us);
	uint8_t at[GW_ROLLUP_KEY], got_level;
	uint32_t got_id;
	int rc;

	gw_rollup_key(id, level, from_us, at);
	*key = gw_series_val(at, sizeof(at));
	*found = false;
	*next_us = INT64_MAX;
	if ((rc = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE)) != 0)
		return rc == MDB_NOTFOUND ? GW_OK : gw_series_error(rc);
	if (!gw_rollup_key_take(*key, &got_id, &got_level, next_us) || got_id != id || got_level != level)
		*next_us = INT64_MAX;
	*found = *next_us == from_us;
	return GW_OK;
}

// Named once, however often it is met.
static void
report(struct gw_series_store *store, struct gw_rollup_ask *ask, uint8_t level, int64_t from_us)
{
	static struct gw_diag_limit limit;
	char time[40];

	if (ask->bad_any && ask->bad_level == level && ask->bad_us == from_us)
		return;
	ask->bad_any = true;
	ask->bad_level = level;
	ask->bad_us = from_us;
	atomic_fetch_add_explicit(&store->damaged, 1, memory_order_relaxed);
	gw_diag_limited(&limit, 1, GW_ERROR, "series.damaged", "series=%u level=%u roll-up=%s: checksum or layout: the readings are summed up instead", ask->id, level,
	    gw_time_format(from_us, time));
}

static int64_t
least_of(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

// Rows of the block that lie within.
static void
choose(const struct gw_rollup_block *block, int64_t from_us, int64_t to_us, struct gw_rollup_piece *piece)
{
	uint32_t first = 0, end;

	while (first < block->count && block->rows[first].from_us < from_us)
		first++;
	for (end = first; end < block->count && block->rows[end].from_us < to_us;)
		end++;
	*piece = (struct gw_rollup_piece){ .rows = true, .to_us = to_us, .first = first, .count = end - first };
}

// One level: rows from from_us on; or where it may have some next.
static enum gw_error
look_at(struct gw_series_store *store, MDB_cursor *cursor, struct gw_rollup_ask *ask, uint8_t level, struct gw_rollup_block *block,
    struct gw_rollup_piece *piece, int64_t *next_us)
{
	const struct gw_rollup_level *l = &gw_rollup_levels[level];
	int64_t end_us, bound_us;
	MDB_val key, value;
	bool found;
	enum gw_error error = find(cursor, ask->id, level, ask->from_us, &key, &value, &found, next_us);

	if (error != GW_OK || !found)
		return error;
	end_us = *next_us + l->block_us;
	if (!gw_rollup_decode(key, value, block)) {
		report(store, ask, level, *next_us);
		*next_us = end_us;
		return GW_OK;
	}
	bound_us = gw_rollup_floor(least_of(ask->to_us, ask->late_us), l->unit_us);
	if (ask->from_us % l->unit_us == 0 && ask->from_us < bound_us)
		choose(block, ask->from_us, least_of(end_us, bound_us), piece);
	*next_us = gw_rollup_floor(ask->from_us, l->unit_us) + l->unit_us;
	return GW_OK;
}

enum gw_error
gw_rollup_look(struct gw_series_store *store, MDB_cursor *cursor, struct gw_rollup_ask *ask, struct gw_rollup_block *block, struct gw_rollup_piece *piece)
{
	enum gw_error error = GW_OK;

	*piece = (struct gw_rollup_piece){ .to_us = ask->to_us };
	for (int level = ask->level; level >= 0 && error == GW_OK && !piece->rows; level--) {
		int64_t next_us;

		error = look_at(store, cursor, ask, (uint8_t)level, block, piece, &next_us);
		if (!piece->rows)
			piece->to_us = least_of(piece->to_us, next_us);
	}
	return error;
}

enum gw_error
gw_rollup_look_once(struct gw_series_store *store, struct gw_rollup_ask *ask, struct gw_rollup_block *block, struct gw_rollup_piece *piece)
{
	MDB_cursor *cursor;
	MDB_txn *txn;
	enum gw_error error;

	*piece = (struct gw_rollup_piece){ .to_us = ask->to_us };
	if (!store->has_rollups)
		return GW_OK;
	if ((error = gw_series_reader(store, &txn)) != GW_OK)
		return error;
	if ((error = gw_series_error(mdb_cursor_open(txn, store->tables[GW_S_ROLLUPS], &cursor))) == GW_OK) {
		error = gw_rollup_look(store, cursor, ask, block, piece);
		mdb_cursor_close(cursor);
	}
	gw_series_reader_end(store, txn);
	return error;
}
