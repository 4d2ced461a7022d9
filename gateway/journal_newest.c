// SPDX-License-Identifier: Apache-2.0
// The checkpoint of newest times. Rows hold at least everything up to the position in meta "checkpoint"; what came after is read
// from the journal's end when the store is opened. The writer's thread; opening and closing before and after it.
#include "gateway/journal_internal.h"
#include "gateway/bytes.h"
#include "gateway/clock.h"
#include "gateway/diag.h"

#define ROW_SIZE 16 // time_us, position: little-endian
#define SWEEP_EVERY_US 10000000
#define SWEEP_EVERY_RECORDS 200000
#define PIECE_MIN 128    // rows with one commit, or a quarter of what it adds
#define PIECE_STARVED 48 // where the file cannot grow
#define SCAN_SLOTS 16384 // looked at with one commit

// ---- Opening ----

static enum gw_error
load_rows(struct gw_journal *journal, MDB_txn *txn)
{
	MDB_cursor *cursor;
	MDB_val key, data;
	enum gw_error error = GW_OK;
	uint64_t damaged = 0;
	int rc = mdb_cursor_open(txn, journal->tables[GW_T_NEWEST], &cursor);

	if (rc != 0)
		return gw_store_error(rc);
	while (error == GW_OK && (rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0) {
		struct gw_span row;
		if (data.mv_size == ROW_SIZE) // older rows have no checksum
			row = gw_val_span(data);
		else if (!gw_sum_open(true, gw_val_span(key), gw_val_span(data), &row) || row.len != ROW_SIZE) {
			damaged++;
			continue;
		}
		error = gw_newest_load(&journal->newest, gw_val_u64(key), (int64_t)gw_get64(row.at), gw_get64(row.at + 8), false);
	}
	mdb_cursor_close(cursor);
	if (damaged > 0) { // and what they were of is not known: all that the journal still holds tells it again
		gw_diag(GW_ERROR, "store.damaged", "%llu newest times of series do not match their checksums: all records are read for them", (unsigned long long)damaged);
		atomic_fetch_add(&journal->rows_damaged, damaged);
		journal->checkpoint = 0;
	}
	return error != GW_OK || rc == MDB_NOTFOUND ? error : gw_store_error(rc);
}

enum gw_error
gw_newest_record(struct gw_journal *journal, uint64_t position, struct gw_span bytes)
{
	struct gw_record record;
	struct gw_batch batch;
	struct gw_reading reading;
	enum gw_error error = GW_OK;
	uint64_t device;

	// A damaged record has no times to tell; those who follow the journal report it.
	if (gw_record_open(position, bytes, &record, NULL) != GW_OK || record.type != GW_RECORD_READINGS ||
	    gw_batch_open(&record, &batch, NULL) != GW_OK)
		return GW_OK;
	device = gw_name_hash(batch.head.device);
	while (error == GW_OK && gw_batch_next(&batch, &reading))
		error = gw_newest_load(&journal->newest, gw_series_hash(device, reading.signal, reading.instance), reading.time_us,
		    position, true);
	return error;
}

static enum gw_error
replay(struct gw_journal *journal, MDB_txn *txn)
{
	struct gw_walk walk;
	struct gw_span record;
	uint64_t position;
	enum gw_error error = GW_OK;
	int rc = gw_walk_open(&walk, journal, txn);

	if (rc == 0)
		rc = gw_walk_from(&walk, journal->checkpoint + 1);
	while (rc == 0 && error == GW_OK && (rc = gw_walk_next(&walk, &position, &record)) == 0)
		error = gw_newest_record(journal, position, record);
	gw_walk_close(&walk);
	return error != GW_OK || rc == MDB_NOTFOUND ? error : gw_store_error(rc);
}

// What does not match its checksum may stand under any key: it would stay.
static enum gw_error
drop_damaged(struct gw_journal *journal)
{
	struct gw_span row;
	MDB_cursor *cursor;
	MDB_val key, data;
	MDB_txn *txn;
	int rc = mdb_txn_begin(journal->env, NULL, 0, &txn);

	if (rc != 0)
		return gw_store_error(rc);
	if ((rc = mdb_cursor_open(txn, journal->tables[GW_T_NEWEST], &cursor)) == 0) {
		while ((rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0)
			if (data.mv_size != ROW_SIZE && !gw_sum_open(true, gw_val_span(key), gw_val_span(data), &row) && (rc = mdb_cursor_del(cursor, 0)) != 0)
				break;
		mdb_cursor_close(cursor);
	}
	if (rc == MDB_NOTFOUND && (rc = gw_meta_put(journal, txn, "checkpoint", 0) == GW_OK ? 0 : MDB_MAP_FULL) == 0)
		return gw_store_error(mdb_txn_commit(txn));
	mdb_txn_abort(txn);
	return gw_store_error(rc);
}

enum gw_error
gw_newest_open(struct gw_journal *journal, struct gw_why *why)
{
	MDB_txn *txn;
	enum gw_error error = gw_reader_begin(journal, &txn);

	if (error == GW_OK) {
		error = load_rows(journal, txn);
		journal->room.newest_rows = journal->newest.count;
		if (error == GW_OK)
			error = replay(journal, txn);
		gw_reader_end(journal, txn);
		if (error == GW_OK && atomic_load(&journal->rows_damaged) > 0 && (error = drop_damaged(journal)) == GW_E_FULL)
			error = GW_OK; // the next start finds them again
	}
	journal->sweep.done_us = gw_clock_mono_us();
	atomic_store(&journal->series, journal->newest.count);
	return error == GW_OK ? GW_OK : gw_fail(why, error, "cannot read the newest times in %s", journal->dir);
}

// ---- Writing ----

static enum gw_error
put_row(struct gw_journal *journal, const struct gw_newest *entry)
{
	uint8_t row[ROW_SIZE];

	gw_put64(row, (uint64_t)entry->time_us);
	gw_put64(row + 8, entry->position);
	journal->bytes += 32;
	journal->copies++;
	return gw_store_error(gw_sum_put(journal->txn, journal->tables[GW_T_NEWEST], gw_span(&entry->series, sizeof(entry->series)), gw_span(row, sizeof(row)), 0));
}

bool
gw_sweep_due(struct gw_journal *journal)
{
	struct gw_sweep *sweep = &journal->sweep;
	uint64_t behind = atomic_load(&journal->last) - journal->checkpoint;

	if (sweep->active || behind == 0)
		return sweep->active;
	return behind >= SWEEP_EVERY_RECORDS || gw_clock_mono_us() - sweep->done_us >= SWEEP_EVERY_US ||
	    gw_room_pressure(journal);
}

static void
start(struct gw_journal *journal)
{
	struct gw_sweep *sweep = &journal->sweep;

	sweep->active = true;
	sweep->at = sweep->at_before = 0;
	sweep->epoch = journal->newest.epoch;
	sweep->upto = atomic_load(&journal->last);
}

static enum gw_error
write_piece(struct gw_journal *journal, size_t rows_max, size_t slots_max)
{
	struct gw_sweep *sweep = &journal->sweep;
	struct gw_newest_map *map = &journal->newest;
	enum gw_error error;

	if (sweep->epoch != map->epoch) { // slots have moved
		sweep->epoch = map->epoch;
		sweep->at = sweep->at_before = 0;
	}
	for (; sweep->at <= map->mask && sweep->cleaned_count < rows_max && slots_max > 0; sweep->at++, slots_max--) {
		struct gw_newest *entry = &map->slots[sweep->at];
		if (entry->series == 0 || !entry->dirty)
			continue;
		if ((error = put_row(journal, entry)) != GW_OK)
			return error;
		entry->dirty = false;
		map->dirty--;
		sweep->cleaned[sweep->cleaned_count++] = entry->series;
	}
	if (sweep->at <= map->mask)
		return GW_OK;
	sweep->finishing = true;
	return gw_meta_put(journal, journal->txn, "checkpoint", sweep->upto);
}

enum gw_error
gw_sweep_piece(struct gw_journal *journal)
{
	// Each row may take a new page until the old one comes free: a quarter of the reserve at most.
	size_t rows = journal->records / 4 > PIECE_MIN ? journal->records / 4 : PIECE_MIN;
	size_t rows_max = journal->options.reserve_bytes / 4 / journal->page_size + 1;

	if (rows_max > GW_SWEEP_ROWS)
		rows_max = GW_SWEEP_ROWS;
	if (journal->room.starved && rows_max > PIECE_STARVED)
		rows_max = PIECE_STARVED;
	// On a full disk nothing may make an essential commit larger; trimming may wait.
	if (!gw_sweep_due(journal) || (journal->room.starved && !journal->trimming))
		return GW_OK;
	if (!journal->sweep.active)
		start(journal);
	journal->sweep.at_before = journal->sweep.at;
	return write_piece(journal, journal->plain && rows < rows_max ? rows : rows_max, SCAN_SLOTS);
}

void
gw_sweep_committed(struct gw_journal *journal)
{
	struct gw_sweep *sweep = &journal->sweep;

	sweep->cleaned_count = 0;
	sweep->at_before = sweep->at;
	if (!sweep->finishing)
		return;
	journal->checkpoint = sweep->upto;
	journal->room.newest_rows = journal->newest.count; // about: those made since come in with the next count or sweep
	sweep->done_us = gw_clock_mono_us();
	sweep->active = sweep->finishing = false;
}

void
gw_sweep_aborted(struct gw_journal *journal)
{
	struct gw_sweep *sweep = &journal->sweep;

	for (; sweep->cleaned_count > 0; sweep->cleaned_count--) {
		struct gw_newest *entry = gw_newest_find(&journal->newest, sweep->cleaned[sweep->cleaned_count - 1]);
		if (entry != NULL && !entry->dirty) {
			entry->dirty = true;
			journal->newest.dirty++;
		}
	}
	sweep->finishing = false;
	sweep->at = sweep->at_before;
}

enum gw_error
gw_sweep_all(struct gw_journal *journal)
{
	struct gw_sweep *sweep = &journal->sweep;
	enum gw_error error = GW_OK;

	sweep->active = atomic_load(&journal->last) != journal->checkpoint;
	sweep->at = 0;
	sweep->upto = atomic_load(&journal->last);
	sweep->epoch = journal->newest.epoch;
	while (error == GW_OK && sweep->active) {
		if ((error = gw_journal_begin(journal)) != GW_OK)
			break;
		journal->touched = true; // the commit writes a piece as well
		for (int i = 0; error == GW_OK && i < 8 && !sweep->finishing; i++) {
			sweep->cleaned_count = 0; // an abort here ends the closing: the map is not needed any more
			error = write_piece(journal, GW_SWEEP_ROWS, SIZE_MAX);
		}
		sweep->cleaned_count = 0;
		if (error == GW_OK)
			error = gw_journal_commit(journal);
		else
			gw_journal_abort(journal);
	}
	return error;
}
