// SPDX-License-Identifier: Apache-2.0
// Blocks: the records of one commit lie in the journal's table as few values, back to back, each filed under the position of its last record. One
// value takes pages side by side and one insertion, where a value for each record would scatter them over the tree's leaves and cost a commit
// several writes more. Writing: the writer's thread; walking: whoever holds the transaction.
#include "gateway/journal_internal.h"
#include "gateway/record_layout.h"

#include <stdlib.h>

// ---- Writing ----

enum gw_error
gw_block_flush(struct gw_journal *journal)
{
	uint64_t last = journal->next - 1;
	MDB_val key = gw_val(&last, sizeof(last)), data = gw_val(NULL, journal->block_len);
	int rc;

	if (journal->block_len == 0)
		return GW_OK;
	rc = mdb_put(journal->txn, journal->tables[GW_T_JOURNAL], &key, &data, MDB_APPEND | MDB_RESERVE);
	if (rc != 0)
		return gw_store_error(rc);
	memcpy(data.mv_data, journal->block, journal->block_len);
	// Above 2022 bytes LMDB gives a value pages of its own.
	if (journal->block_len <= 2022)
		journal->bytes += journal->block_len + 16;
	else
		gw_room_run(journal, journal->block_len);
	journal->block_len = 0;
	return GW_OK;
}

static enum gw_error
make_room(struct gw_journal *journal, size_t len)
{
	size_t cap = len > GW_BLOCK_BYTES ? len : GW_BLOCK_BYTES;
	enum gw_error error;
	uint8_t *bigger;

	if (journal->block_len + len > GW_BLOCK_BYTES && (error = gw_block_flush(journal)) != GW_OK)
		return error;
	if (journal->block_len + len <= journal->block_cap)
		return GW_OK;
	if ((bigger = realloc(journal->block, cap)) == NULL)
		return GW_E_MEMORY;
	journal->block = bigger;
	journal->block_cap = cap;
	return GW_OK;
}

enum gw_error
gw_journal_append(struct gw_journal *journal, struct gw_span record)
{
	enum gw_error error = make_room(journal, record.len);

	if (error != GW_OK)
		return error;
	memcpy(journal->block + journal->block_len, record.at, record.len);
	journal->block_len += record.len;
	journal->behind += record.len;
	journal->next++;
	journal->records++;
	return GW_OK;
}

// ---- Walking ----

// The record at the start of rest; where its length cannot be, all the rest is one damaged record.
static struct gw_span
first_of(struct gw_span rest, bool *sound)
{
	uint32_t len = rest.len >= RECORD_HEAD ? gw_get32(rest.at + RECORD_LEN) : 0;

	*sound = len >= RECORD_HEAD && len <= rest.len;
	return gw_span(rest.at, *sound ? len : rest.len);
}

static struct gw_span
behind(struct gw_span rest, struct gw_span record)
{
	return gw_span(rest.at + record.len, rest.len - record.len);
}

struct gw_block
gw_block_of(uint64_t last, struct gw_span bytes)
{
	struct gw_block block = { .first = last, .last = last, .rest = bytes, .sound = true };

	for (struct gw_span rest = bytes; rest.len > 0;) {
		rest = behind(rest, first_of(rest, &block.sound));
		block.count++;
	}
	if (block.count > 0 && block.count <= last)
		block.first = last - block.count + 1;
	return block;
}

bool
gw_block_next(struct gw_block *block, uint64_t *position, struct gw_span *record)
{
	bool sound;

	if (block->rest.len == 0)
		return false;
	*position = block->first++;
	*record = first_of(block->rest, &sound);
	block->rest = behind(block->rest, *record);
	return true;
}

// The block under the cursor. Where it is damaged how many records it held is known by the block before it.
static int
open_block(struct gw_walk *walk, MDB_val key, MDB_val data)
{
	MDB_val before, none;
	int rc;

	walk->block = gw_block_of(gw_val_u64(key), gw_val_span(data));
	if (walk->block.sound)
		return 0;
	rc = mdb_cursor_get(walk->cursor, &before, &none, MDB_PREV);
	if (rc == MDB_NOTFOUND)
		return mdb_cursor_get(walk->cursor, &key, &data, MDB_FIRST);
	if (rc != 0)
		return rc;
	walk->block.first = gw_val_u64(before) + 1;
	return mdb_cursor_get(walk->cursor, &key, &data, MDB_NEXT);
}

int
gw_walk_open(struct gw_walk *walk, struct gw_journal *journal, MDB_txn *txn)
{
	*walk = (struct gw_walk){ 0 };
	return mdb_cursor_open(txn, journal->tables[GW_T_JOURNAL], &walk->cursor);
}

void
gw_walk_close(struct gw_walk *walk)
{
	if (walk->cursor != NULL)
		mdb_cursor_close(walk->cursor);
	walk->cursor = NULL;
}

int
gw_walk_from(struct gw_walk *walk, uint64_t position)
{
	MDB_val key = gw_val(&position, sizeof(position)), data;
	int rc = mdb_cursor_get(walk->cursor, &key, &data, MDB_SET_RANGE);

	walk->from = position;
	walk->block = (struct gw_block){ 0 };
	return rc == 0 ? open_block(walk, key, data) : rc;
}

int
gw_walk_next(struct gw_walk *walk, uint64_t *position, struct gw_span *record)
{
	MDB_val key, data;
	int rc;

	for (;;) {
		while (gw_block_next(&walk->block, position, record))
			if (*position >= walk->from)
				return 0;
		if ((rc = mdb_cursor_get(walk->cursor, &key, &data, MDB_NEXT)) != 0 || (rc = open_block(walk, key, data)) != 0)
			return rc;
	}
}

int
gw_walk_find(struct gw_walk *walk, uint64_t position, struct gw_span *record)
{
	uint64_t found;
	int rc = gw_walk_from(walk, position);

	if (rc == 0)
		rc = gw_walk_next(walk, &found, record);
	return rc == 0 && found != position ? MDB_NOTFOUND : rc;
}

int
gw_block_pending(const struct gw_journal *journal, uint64_t position, struct gw_span *record)
{
	struct gw_block block = gw_block_of(journal->next - 1, gw_span(journal->block, journal->block_len));
	uint64_t at;

	while (gw_block_next(&block, &at, record))
		if (at == position)
			return 0;
	return MDB_NOTFOUND;
}
