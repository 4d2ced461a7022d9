// SPDX-License-Identifier: Apache-2.0
// Erasing readings in place: the one way in which a record that was committed changes. Value and texts go; key, place in the record and the record's position
// stay, so that "once", cursors, the index and the ledger hold. The block is written anew under its key, shorter than before; LMDB's copy of the old one is a
// free page from the commit on, and overwritten as free pages are used again. The writer's thread.
#include "gateway/bytes.h"
#include "gateway/journal_internal.h"
#include "gateway/record_layout.h"

#include <stdlib.h>

// The block without the readings, in *out, which the caller frees. NULL and GW_OK: nothing is to be changed.
static enum gw_error
without(struct gw_block block, const struct gw_op_erase *erase, uint8_t **out, size_t *len)
{
	struct gw_span bytes = block.rest, span; // without the seal, which is made anew
	struct gw_record record;
	uint64_t position, last = block.last;
	size_t erased = 0, rest, at, made;
	uint8_t *copy;

	*out = NULL;
	while (gw_block_next(&block, &position, &span) && position < erase->position) {}
	if (span.len == 0 || position != erase->position || gw_record_open(position, span, &record, NULL) != GW_OK)
		return GW_OK;
	if ((copy = malloc(bytes.len + GW_SEAL_BYTES)) == NULL)
		return GW_E_MEMORY;
	at = (size_t)(span.at - bytes.at);
	made = gw_record_erase(&record, erase->places, erase->count, copy + at, &erased);
	if (made == 0 || erased == 0) {
		free(copy);
		return GW_OK;
	}
	rest = bytes.len - at - span.len;
	memcpy(copy, bytes.at, at);
	memcpy(copy + at + made, span.at + span.len, rest);
	gw_block_seal(last, copy, at + made + rest);
	*out = copy;
	*len = at + made + rest + GW_SEAL_BYTES;
	return GW_OK;
}

// Where the lengths in it cannot be, what follows is not known: such a block stays as it is.
static enum gw_error
rewrite(struct gw_journal *journal, MDB_cursor *cursor, MDB_val key, MDB_val data, const struct gw_op_erase *erase)
{
	struct gw_block block = gw_block_of(gw_val_u64(key), gw_val_span(data));
	uint64_t last = gw_val_u64(key);
	MDB_val value = { 0 };
	uint8_t *bytes;
	enum gw_error error;
	int rc;

	if (!block.sound || block.first > erase->position)
		return GW_OK;
	if ((error = without(block, erase, &bytes, &value.mv_size)) != GW_OK || bytes == NULL)
		return error;
	value.mv_data = bytes;
	key = gw_val(&last, sizeof(last));
	// Not in place of the old one: of a run that was written in this transaction LMDB would keep all pages.
	if ((rc = mdb_cursor_del(cursor, 0)) == 0 && (rc = mdb_cursor_put(cursor, &key, &value, 0)) == 0)
		gw_room_run(journal, value.mv_size);
	journal->copies++;
	free(bytes);
	return gw_store_error(rc);
}

enum gw_error
gw_erase_readings(struct gw_journal *journal, const struct gw_op *op)
{
	const struct gw_op_erase *erase = (const struct gw_op_erase *)(const void *)gw_op_body(op);
	uint64_t position = erase->position;
	MDB_val key = gw_val(&position, sizeof(position)), data;
	MDB_cursor *cursor;
	enum gw_error error;
	int rc = mdb_cursor_open(journal->txn, journal->tables[GW_T_JOURNAL], &cursor);

	if (rc != 0)
		return gw_store_error(rc);
	rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);
	error = rc == 0 ? rewrite(journal, cursor, key, data, erase) : rc == MDB_NOTFOUND ? GW_OK : gw_store_error(rc);
	mdb_cursor_close(cursor);
	return error;
}
