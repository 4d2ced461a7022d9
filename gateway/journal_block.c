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
	MDB_val key = gw_val(&last, sizeof(last)), data = gw_val(NULL, journal->block_len + GW_SEAL_BYTES);
	int rc;

	if (journal->block_len == 0)
		return GW_OK;
	rc = mdb_put(journal->txn, journal->tables[GW_T_JOURNAL], &key, &data, MDB_APPEND | MDB_RESERVE);
	if (rc != 0)
		return gw_store_error(rc);
	memcpy(data.mv_data, journal->block, journal->block_len);
	gw_block_seal(last, data.mv_data, journal->block_len);
	// Above 2022 bytes LMDB gives a value pages of its own.
	if (data.mv_size <= 2022)
		journal->bytes += data.mv_size + 16;
	else
		gw_room_run(journal, data.mv_size);
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

// ---- Seals ----
//
// A record's checksum tells that it is whole, not that it is the one of its position: a disk that loses a write, or puts it elsewhere, leaves whole records of
// another time. So behind a block's records stands a checksum over its position and those of its records; and the same with all bits turned, so that damage of
// the seal alone costs nothing.

static uint32_t
seal_begin(uint64_t last)
{
	uint8_t position[8];

	gw_put64(position, last);
	return gw_crc32c(0, position, sizeof(position));
}

uint32_t
gw_block_seal_of(uint64_t last, struct gw_span records)
{
	uint32_t seal = seal_begin(last);
	bool sound;

	while (records.len >= RECORD_HEAD) {
		seal = gw_crc32c(seal, records.at + RECORD_CRC, 4);
		records = behind(records, first_of(records, &sound));
	}
	return seal;
}

void
gw_block_seal(uint64_t last, uint8_t *bytes, size_t len)
{
	uint32_t seal = gw_block_seal_of(last, gw_span(bytes, len));

	gw_put32(bytes + len, seal);
	gw_put32(bytes + len + 4, ~seal);
}

// Of a record's checksum and its contents either may be damaged: the seal tells which.
static uint32_t
mended_seal(uint64_t last, const struct gw_block *block)
{
	struct gw_block walk = *block;
	uint32_t seal = seal_begin(last);
	struct gw_span record;
	uint64_t position;
	uint8_t crc[4];

	while (gw_block_next(&walk, &position, &record)) {
		if (record.len <= 4)
			return 0;
		gw_put32(crc, gw_crc32c(0, record.at + 4, record.len - 4));
		seal = gw_crc32c(seal, crc, sizeof(crc));
	}
	return seal;
}

static uint32_t
stored_seal(uint64_t last, const struct gw_block *block)
{
	struct gw_block walk = *block;
	uint32_t seal = seal_begin(last);
	struct gw_span record;
	uint64_t position;

	while (gw_block_next(&walk, &position, &record))
		seal = gw_crc32c(seal, record.at, record.len < 4 ? record.len : 4);
	return seal;
}

static bool
seal_fits(uint64_t last, const struct gw_block *block, struct gw_span seal)
{
	uint32_t one = gw_get32(seal.at), other = ~gw_get32(seal.at + 4), found = stored_seal(last, block);

	if (found == one || found == other)
		return true;
	found = mended_seal(last, block);
	return found == one || found == other;
}

// Whether whole records follow each other to the end.
static bool
leads_to_end(struct gw_span rest)
{
	struct gw_record record;
	bool sound = rest.len > 0;

	while (sound && rest.len > 0) {
		struct gw_span first = first_of(rest, &sound);

		if (!sound || gw_record_open(1, first, &record, NULL) != GW_OK)
			return false;
		rest = behind(rest, first);
	}
	return sound;
}

// A record whose length is damaged ends where whole ones follow to the block's end, or there.
static size_t
length_to_next(struct gw_span rest)
{
	for (size_t len = RECORD_HEAD; len < rest.len && rest.len <= GW_BLOCK_BYTES; len++)
		if (leads_to_end(gw_span(rest.at + len, rest.len - len)))
			return len;
	return rest.len;
}

// ---- Blocks ----

// checked: a record is what matches its checksum, not what its length says.
static void
count_records(struct gw_block *block, bool mend, bool checked)
{
	struct gw_record whole;

	block->sound = true;
	block->count = 0;
	block->gap_len = 0;
	for (struct gw_span rest = block->rest; rest.len > 0; block->count++) {
		struct gw_span record = first_of(rest, &block->sound);

		if ((!block->sound || (checked && gw_record_open(1, record, &whole, NULL) != GW_OK)) && mend && block->gap_len == 0) {
			block->gap_rest = rest.len;
			block->gap_len = length_to_next(rest);
			record = gw_span(rest.at, block->gap_len);
			block->sound = true;
		}
		rest = behind(rest, record);
	}
}

struct gw_block
gw_block_of(uint64_t last, struct gw_span bytes)
{
	struct gw_block block = { .first = last, .last = last, .rest = bytes };
	struct gw_span seal = gw_span(NULL, 0);
	bool sealed = bytes.len > GW_SEAL_BYTES && gw_get32(bytes.at + bytes.len - 8) == ~gw_get32(bytes.at + bytes.len - 4);

	if (bytes.len > GW_SEAL_BYTES)
		seal = gw_span(bytes.at + bytes.len - GW_SEAL_BYTES, GW_SEAL_BYTES);
	if (sealed)
		block.rest.len -= GW_SEAL_BYTES;
	count_records(&block, sealed, false);
	if (!sealed && !block.sound && seal.at != NULL) { // it is damaged itself; older ones have none
		struct gw_block without = block;

		without.rest.len = bytes.len - GW_SEAL_BYTES;
		count_records(&without, false, false);
		if (without.sound && seal_fits(last, &without, seal))
			block = without;
	}
	if (sealed && !(block.sound && seal_fits(last, &block, seal))) {
		sealed = !leads_to_end(bytes); // else an older block, whose last record ends with what looks like a seal
		block.rest = sealed ? block.rest : bytes;
		count_records(&block, sealed, sealed);
	}
	if (!block.sound || (sealed && !seal_fits(last, &block, seal))) {
		block.sound = false;
		block.rest = bytes;
		block.count = 1;
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
	if (!block->sound)
		*record = block->rest;
	else if (block->gap_len > 0 && block->rest.len == block->gap_rest)
		*record = gw_span(block->rest.at, block->gap_len);
	else
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
	struct gw_span rest = gw_span(journal->block, journal->block_len);
	uint64_t at = journal->next;
	bool sound;

	for (struct gw_span left = rest; left.len > 0; at--) // it was made here: its lengths are right
		left = behind(left, first_of(left, &sound));
	for (; rest.len > 0; at++) {
		*record = first_of(rest, &sound);
		if (at == position)
			return 0;
		rest = behind(rest, *record);
	}
	return MDB_NOTFOUND;
}
