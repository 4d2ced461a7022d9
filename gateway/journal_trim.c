// SPDX-License-Identifier: Apache-2.0
// Trimming: the journal's oldest blocks go once every outlet is past them, they are old enough, and the checkpoint of newest times
// holds what they told. The last record always stays, so that positions never begin anew. The writer's thread.
#include "gateway/bytes.h"
#include "gateway/clock.h"
#include "gateway/journal_internal.h"

#include <stdlib.h>

#define PIECE_MIN 500
#define PIECE_MAX 5000
#define COPIES_FEW 48 // pages of the index that one piece may change where the file cannot grow
#define READERS_EVERY_US 30000000

// An entry that is not there is none: readings of one time need not stand side by side, and a piece before this may have come so far.
static int
delete_entry(struct gw_journal *journal, MDB_cursor *cursor, const struct gw_index_entry *entry)
{
	uint8_t bytes[GW_INDEX_KEY] = { 0 };
	MDB_val key = gw_val(bytes, sizeof(bytes)), data;
	int rc;

	gw_index_key(entry, bytes);
	if ((rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_KEY)) != 0)
		return rc == MDB_NOTFOUND ? 0 : rc;
	journal->bytes += 32;
	gw_index_touch(journal, key.mv_data);
	return mdb_cursor_del(cursor, 0);
}

// A piece of few pages ends before it has passed that: within a block if it must.
static enum gw_error
delete_index(struct gw_journal *journal, uint64_t position, const struct gw_record *record, size_t copies_max)
{
	struct gw_batch batch;
	struct gw_reading reading;
	struct gw_index_entry entry = { .position = position };
	MDB_cursor *cursor;
	enum gw_error error = gw_index_cursor(journal, &cursor);
	bool any = false;
	int rc = 0;

	if (error != GW_OK || record->type != GW_RECORD_READINGS || gw_batch_open(record, &batch, NULL) != GW_OK)
		return error;
	entry.device = gw_name_hash(batch.head.device);
	while (rc == 0 && journal->copies < copies_max && gw_batch_next(&batch, &reading)) {
		if (any && entry.time == gw_index_time(reading.time_us))
			continue;
		any = true;
		entry.time = gw_index_time(reading.time_us);
		rc = delete_entry(journal, cursor, &entry);
	}
	return gw_store_error(rc);
}

struct trim {
	uint64_t upto;      // positions up to this one may go
	int64_t before_us;  // receive times before this
	int64_t beyond_us;  // and those from this on: the clock was wrong, and they would hold back all that came after them
	int64_t left;       // records that this piece may still take
	size_t copies_max;  // pages that it may change
	uint64_t first;
	bool done;          // the oldest block stays
	bool behind;        // more could go if the checkpoint were further
	uint8_t *copy;      // of the block, GW_RECORD_MAX bytes: LMDB lends its own only until the next change
};

// Whether every record of the block is old enough. A damaged one tells no time and is in nobody's way.
static bool
may_go(const struct trim *trim, struct gw_block block)
{
	struct gw_record record;
	struct gw_span bytes;
	uint64_t position;

	if (block.last > trim->upto)
		return false;
	while (gw_block_next(&block, &position, &bytes))
		if (gw_record_open(position, bytes, &record, NULL) == GW_OK && record.received_us >= trim->before_us &&
		    record.received_us < trim->beyond_us)
			return false;
	return true;
}

// The index entries of damaged records stay and lead nowhere. Entries that wait are put in only where some of them may be the block's: trimming
// makes room, so it must not need much itself.
static enum gw_error
delete_entries(struct gw_journal *journal, struct gw_block block, size_t copies_max)
{
	struct gw_record record;
	struct gw_span bytes;
	uint64_t position, indexed;
	enum gw_error error = gw_meta_get(journal, journal->txn, "indexed", &indexed);

	if (error == GW_OK && block.last > indexed)
		error = gw_index_flush(journal, journal->next - 1);
	while (error == GW_OK && gw_block_next(&block, &position, &bytes))
		if (gw_record_open(position, bytes, &record, NULL) == GW_OK)
			error = delete_index(journal, position, &record, copies_max);
	return error;
}

// Deletes the oldest block where it may go.
static enum gw_error
trim_block(struct gw_journal *journal, MDB_cursor *cursor, struct trim *trim)
{
	struct gw_block block;
	MDB_val key, data;
	enum gw_error error;
	int rc = mdb_cursor_get(cursor, &key, &data, MDB_FIRST);

	if (rc != 0)
		return gw_store_error(rc);
	block = gw_block_of(gw_val_u64(key), gw_val_span(data));
	if (!block.sound && trim->first <= block.last)
		block.first = trim->first; // how many records it held is not known from itself
	trim->first = block.first;
	if ((trim->done = !may_go(trim, block)))
		return GW_OK;
	if (block.rest.len > GW_RECORD_MAX)
		block.rest.len = 0; // nothing of ours is as long
	block.rest.at = memcpy(trim->copy, block.rest.at, block.rest.len);
	if ((error = delete_entries(journal, block, trim->copies_max)) != GW_OK)
		return error;
	if (journal->copies >= trim->copies_max) { // the next piece goes on where this one ends
		trim->left = 0;
		journal->touched = true;
		return GW_OK;
	}
	if ((error = gw_audit_keep(journal, block)) != GW_OK)
		return error;
	if ((rc = mdb_cursor_get(cursor, &key, &data, MDB_FIRST)) != 0 || (rc = mdb_cursor_del(cursor, 0)) != 0)
		return gw_store_error(rc);
	trim->first = block.last + 1;
	trim->left -= block.count;
	journal->touched = true;
	return GW_OK;
}

static enum gw_error
trim_piece(struct gw_journal *journal, struct trim *trim)
{
	MDB_cursor *cursor;
	enum gw_error error = GW_OK;
	int rc = mdb_cursor_open(journal->txn, journal->tables[GW_T_JOURNAL], &cursor);

	if (rc != 0)
		return gw_store_error(rc);
	while (error == GW_OK && !trim->done && trim->left > 0)
		error = trim_block(journal, cursor, trim);
	mdb_cursor_close(cursor);
	return error;
}

static int64_t
piece_size(struct gw_journal *journal)
{
	uint64_t records = journal->appended_since_trim * 2; // never slower than what comes in

	if (journal->room.starved) // trimming itself must fit in what is left
		return PIECE_MIN;
	return (int64_t)(records < PIECE_MIN ? PIECE_MIN : records > PIECE_MAX ? PIECE_MAX : records);
}

static enum gw_error
find_limits(struct gw_journal *journal, int64_t now_us, struct trim *trim)
{
	uint64_t last = atomic_load(&journal->last), cursor, indexed;
	bool pressure = gw_room_pressure(journal);
	int64_t keep = pressure ? journal->options.retention_full_us : journal->options.retention_us;
	enum gw_error error = gw_rows_least_cursor(journal, journal->txn, &cursor);

	trim->upto = last > 0 ? last - 1 : 0;
	if (cursor < trim->upto)
		trim->upto = cursor;
	if (journal->checkpoint < trim->upto) {
		trim->upto = journal->checkpoint;
		trim->behind = gw_sweep_due(journal);
	}
	// Putting the last entries into the index may take more room than there is; they come with new records.
	if (journal->room.starved && gw_meta_get(journal, journal->txn, "indexed", &indexed) == GW_OK && indexed < trim->upto)
		trim->upto = indexed;
	trim->before_us = now_us - keep;
	trim->beyond_us = pressure && now_us < INT64_MAX - keep ? now_us + keep : INT64_MAX;
	trim->left = piece_size(journal);
	if (journal->room.starved)
		trim->copies_max = COPIES_FEW;
	return error;
}

static enum gw_error
trim_and_commit(struct gw_journal *journal, int64_t now_us, struct trim *trim, bool *more)
{
	enum gw_error error;
	bool over = false;

	if ((error = find_limits(journal, now_us, trim)) == GW_OK)
		error = trim_piece(journal, trim);
	if (error == GW_OK)
		error = gw_audit_expire(journal, now_us, &over);
	if (error != GW_OK) {
		gw_journal_abort(journal);
		return error;
	}
	journal->trimming = true;
	journal->touched |= trim->behind; // a commit takes the checkpoint on even if nothing could be deleted
	*more = !trim->done || trim->behind || over;
	if ((error = gw_journal_commit(journal)) != GW_OK)
		return error;
	journal->appended_since_trim = 0;
	atomic_store(&journal->first, trim->first);
	journal->room.counted_us = 0; // count the free pages anew
	return GW_OK;
}

// A program that read along and died within a transaction would keep every page from then on from being used again.
static void
clear_readers(struct gw_journal *journal)
{
	int64_t now = gw_clock_mono_us();
	int dead;

	if (journal->readers_us != 0 && now - journal->readers_us < READERS_EVERY_US)
		return;
	journal->readers_us = now;
	(void)mdb_reader_check(journal->env, &dead);
}

enum gw_error
gw_journal_trim(struct gw_journal *journal, int64_t now_us, bool *more)
{
	struct trim trim = { .first = atomic_load(&journal->first), .copies_max = SIZE_MAX };
	enum gw_error error;

	*more = false;
	clear_readers(journal);
	if (trim.first == 0 || atomic_load(&journal->holds) > 0)
		return GW_OK;
	if ((trim.copy = malloc(GW_RECORD_MAX)) == NULL)
		return GW_E_MEMORY;
	if ((error = gw_journal_begin(journal)) == GW_OK)
		error = trim_and_commit(journal, now_us, &trim, more);
	if (error == GW_E_FULL && trim.copies_max != COPIES_FEW) { // for a small piece there may be room
		trim = (struct trim){ .first = atomic_load(&journal->first), .copies_max = COPIES_FEW, .copy = trim.copy };
		if ((error = gw_journal_begin(journal)) == GW_OK)
			error = trim_and_commit(journal, now_us, &trim, more);
	}
	free(trim.copy);
	return error;
}
