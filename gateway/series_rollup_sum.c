// SPDX-License-Identifier: Apache-2.0
// Summing up: readings of chunks, and rows of the finer level where there are some, to blocks of a level. Whoever has the transaction.
#include "gateway/series_rollup.h"

#include <stdlib.h>

#define LOOKED_MIN 16

bool
gw_rollup_pays(const struct gw_rollup_sum *sum)
{
	return sum->looked >= LOOKED_MIN && sum->looked * 2 >= (uint64_t)sum->block.count * 7;
}

// ---- Into the block ----

static void
end_row(struct gw_rollup_sum *sum)
{
	if (sum->row.count > 0)
		sum->block.rows[sum->block.count++] = sum->row;
	sum->row.count = 0;
}

static void
end_block(struct gw_rollup_sum *sum)
{
	end_row(sum);
	if (sum->any && sum->error == GW_OK)
		sum->error = sum->done(sum->arg, sum);
	sum->any = false;
	sum->row_end_us = INT64_MIN;
}

static void
widen(struct gw_rollup_block *block, int64_t least_us, int64_t most_us)
{
	block->delay_least = least_us < block->delay_least ? least_us : block->delay_least;
	block->delay_most = most_us > block->delay_most ? most_us : block->delay_most;
}

// The row, and the block if it is another, in which us lies.
static void
begin_row(struct gw_rollup_sum *sum, int64_t us)
{
	if (sum->any && us >= sum->block_end_us)
		end_block(sum);
	end_row(sum);
	if (!sum->any) {
		sum->any = true;
		sum->looked = 0;
		sum->block.count = 0;
		sum->block.from_us = gw_rollup_floor(us, sum->block_us);
		sum->block.delay_least = sum->delay_least;
		sum->block.delay_most = sum->delay_most;
		if (sum->silent && sum->silent_us == sum->block.from_us)
			widen(&sum->block, sum->silent_least, sum->silent_most);
		sum->silent = false;
		sum->block_end_us = sum->block.from_us + sum->block_us;
	}
	sum->row_end_us = gw_rollup_floor(us, sum->unit_us) + sum->unit_us;
}

static inline void
add(struct gw_rollup_sum *sum, int64_t time_us, double value, uint16_t flags)
{
	if (time_us >= sum->row_end_us)
		begin_row(sum, time_us);
	sum->looked++;
	gw_rollup_add(&sum->row, sum->unit_us, time_us, value, flags);
}

static void
note_delays(struct gw_rollup_sum *sum, int64_t least_us, int64_t most_us)
{
	sum->delay_least = least_us;
	sum->delay_most = most_us;
	if (sum->any)
		widen(&sum->block, least_us, most_us);
}

// ---- Readings ----

// A reading waits until it is known that no revision of it follows.
static void
settle(struct gw_rollup_sum *sum)
{
	if (sum->pending)
		add(sum, sum->item.time_us, sum->item.value, sum->item.flags);
	sum->pending = false;
}

static void
add_reading(struct gw_rollup_sum *sum, const struct gw_reading *reading)
{
	bool revised = sum->pending && reading->time_us == sum->item.time_us && reading->revision > sum->item.revision &&
	    (sum->item.any_sequence || reading->sequence == sum->item.sequence);

	if (!revised)
		settle(sum);
	sum->item.time_us = reading->time_us;
	sum->item.value = gw_rollup_number(reading);
	sum->item.flags = reading->flags;
	sum->item.sequence = reading->sequence;
	sum->item.revision = reading->revision;
	sum->item.any_sequence = false;
	sum->pending = true;
}

// A chunk without revisions; what comes behind it may be a revision of its last.
static void
add_columns(struct gw_rollup_sum *sum, const struct gw_chunk_columns *columns, int64_t from_us, int64_t to_us)
{
	uint32_t i = 0, end = columns->count;

	settle(sum);
	while (i < end && columns->times_us[i] < from_us)
		i++;
	while (end > i && columns->times_us[end - 1] >= to_us)
		end--;
	for (; i + 1 < end; i++)
		add(sum, columns->times_us[i], columns->values[i], columns->flags[i]);
	if (i < end) {
		sum->item.time_us = columns->times_us[i];
		sum->item.value = columns->values[i];
		sum->item.flags = columns->flags[i];
		sum->item.revision = 0;
		sum->item.any_sequence = true;
		sum->pending = true;
	}
}

static enum gw_error
add_chunk(struct gw_rollup_sum *sum, struct gw_span chunk, int64_t from_us, int64_t to_us)
{
	struct gw_chunk_columns columns;
	struct gw_point point;
	int64_t least_us, most_us;
	enum gw_error error;

	if ((error = gw_chunk_open(sum->reader, chunk, NULL)) != GW_OK || (error = gw_chunk_columns(sum->reader, &columns, NULL)) != GW_OK ||
	    (error = gw_chunk_delays(sum->reader, &least_us, &most_us, NULL)) != GW_OK)
		return error;
	note_delays(sum, least_us, most_us);
	if (columns.revisions == NULL)
		add_columns(sum, &columns, from_us, to_us);
	else
		while (gw_chunk_next(sum->reader, &point, &error))
			if (point.reading.time_us >= from_us && point.reading.time_us < to_us)
				add_reading(sum, &point.reading);
	return error;
}

// A copy: what done() writes may move LMDB's own.
static enum gw_error
copy_chunk(struct gw_rollup_sum *sum, struct gw_span *chunk)
{
	if (chunk->len > sum->copy_cap) {
		uint8_t *copy = realloc(sum->copy, chunk->len * 2);

		if (copy == NULL)
			return GW_E_MEMORY;
		sum->copy = copy;
		sum->copy_cap = chunk->len * 2;
	}
	memcpy(sum->copy, chunk->at, chunk->len);
	chunk->at = sum->copy;
	return GW_OK;
}

// What cannot be read is left out, as for every reader.
static enum gw_error
add_filed(struct gw_rollup_sum *sum, MDB_val key, MDB_val value, int64_t from_us, int64_t to_us)
{
	struct gw_filed filed;
	enum gw_error error;

	if (!gw_filed_get(key, value, &filed)) {
		sum->damaged = true;
		return GW_OK;
	}
	if (filed.last.time_us < from_us)
		return GW_OK;
	if ((sum->work += filed.count) > sum->work_max)
		return GW_E_STOPPING;
	if ((error = copy_chunk(sum, &filed.chunk)) == GW_OK)
		error = add_chunk(sum, filed.chunk, from_us, to_us);
	if (error == GW_OK || error == GW_E_MEMORY)
		return error;
	sum->damaged = true;
	return GW_OK;
}

static enum gw_error
add_readings(struct gw_rollup_sum *sum, MDB_cursor *chunks, int64_t from_us, int64_t to_us)
{
	enum gw_error error = GW_OK;
	MDB_val key, value;
	int rc = gw_series_seek(chunks, sum->block.id, (struct gw_place){ from_us, 0, 0 }, &key, &value);

	while (rc == 0 && error == GW_OK && sum->error == GW_OK && key.mv_size == GW_CHUNK_KEY && gw_chunk_key_id(key.mv_data) == sum->block.id &&
	    gw_chunk_key_place(key.mv_data).time_us < to_us) {
		error = add_filed(sum, key, value, from_us, to_us);
		rc = mdb_cursor_get(chunks, &key, &value, MDB_NEXT);
	}
	settle(sum);
	return error != GW_OK || rc == MDB_NOTFOUND ? error : gw_series_error(rc);
}

// ---- Rows of the finer level ----

// Readings that are no numbers, in units without rows: they have bounds, too.
static void
note_silent(struct gw_rollup_sum *sum)
{
	const struct gw_rollup_block *finer = &sum->finer;
	int64_t from_us = gw_rollup_floor(finer->from_us, sum->block_us);

	if (sum->any && from_us == sum->block.from_us)
		widen(&sum->block, finer->delay_least, finer->delay_most);
	else if (sum->silent && sum->silent_us == from_us) {
		sum->silent_least = finer->delay_least < sum->silent_least ? finer->delay_least : sum->silent_least;
		sum->silent_most = finer->delay_most > sum->silent_most ? finer->delay_most : sum->silent_most;
	} else {
		sum->silent = true;
		sum->silent_us = from_us;
		sum->silent_least = finer->delay_least;
		sum->silent_most = finer->delay_most;
	}
}

static void
add_rows(struct gw_rollup_sum *sum, const struct gw_rollup_piece *piece)
{
	sum->work += piece->count;
	if (piece->count > 0)
		note_delays(sum, sum->finer.delay_least, sum->finer.delay_most);
	else
		note_silent(sum);
	for (uint32_t i = 0; i < piece->count; i++) {
		const struct gw_rollup_row *row = &sum->finer.rows[piece->first + i];

		if (row->from_us >= sum->row_end_us)
			begin_row(sum, row->from_us);
		sum->looked++;
		gw_rollup_join(&sum->row, sum->unit_us, row);
	}
}

static enum gw_error
add_pieces(struct gw_rollup_sum *sum, MDB_cursor *chunks, MDB_cursor *rollups, int64_t from_us, int64_t to_us)
{
	struct gw_rollup_ask ask = { .id = sum->block.id, .level = sum->block.level - 1, .from_us = from_us, .to_us = to_us, .late_us = INT64_MAX };
	struct gw_rollup_piece piece;
	enum gw_error error = GW_OK;

	for (; ask.from_us < to_us && error == GW_OK && sum->error == GW_OK; ask.from_us = piece.to_us) {
		if ((error = gw_rollup_look(sum->store, rollups, &ask, &sum->finer, &piece)) != GW_OK)
			break;
		if (piece.rows)
			add_rows(sum, &piece);
		else
			error = add_readings(sum, chunks, ask.from_us, piece.to_us);
	}
	return error;
}

enum gw_error
gw_rollup_sum(struct gw_rollup_sum *sum, uint32_t id, uint8_t level, int64_t from_us, int64_t to_us)
{
	MDB_cursor *chunks, *rollups;
	enum gw_error error;

	sum->block.id = id;
	sum->block.level = level;
	sum->unit_us = gw_rollup_levels[level].unit_us;
	sum->block_us = gw_rollup_levels[level].block_us;
	sum->row_end_us = INT64_MIN;
	sum->row.count = 0;
	sum->any = sum->pending = sum->damaged = sum->silent = false;
	sum->error = GW_OK;
	if ((error = gw_series_error(mdb_cursor_open(sum->txn, sum->store->tables[GW_S_CHUNKS], &chunks))) != GW_OK)
		return error;
	if ((error = gw_series_error(mdb_cursor_open(sum->txn, sum->store->tables[GW_S_ROLLUPS], &rollups))) == GW_OK) {
		error = level > 0 ? add_pieces(sum, chunks, rollups, from_us, to_us) : add_readings(sum, chunks, from_us, to_us);
		mdb_cursor_close(rollups);
	}
	mdb_cursor_close(chunks);
	if (error == GW_OK)
		end_block(sum);
	return error != GW_OK ? error : sum->error;
}
