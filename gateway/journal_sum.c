// SPDX-License-Identifier: Apache-2.0
// Checksums of small values: the CRC-32C over key and value lies behind the value, in the tables of rows, newest times and meta numbers. LMDB has none, and a
// bit that turned in a cursor, a credential or an association would be taken for what was written. Rows of format 2 have none until the store was raised.
#include "gateway/bytes.h"
#include "gateway/diag.h"
#include "gateway/journal_internal.h"

#include <stdlib.h>

#define RAISE_ROWS 2048 // in one transaction
#define RAISE_BYTES (1u << 20)

uint32_t
gw_sum(struct gw_span key, struct gw_span value)
{
	return gw_crc32c(gw_crc32c(0, key.at, key.len), value.at, value.len);
}

bool
gw_sum_open(bool all, struct gw_span key, struct gw_span stored, struct gw_span *value)
{
	*value = gw_span(stored.at, stored.len >= GW_SUM_BYTES ? stored.len - GW_SUM_BYTES : 0);
	if (stored.len >= GW_SUM_BYTES && gw_get32(stored.at + value->len) == gw_sum(key, *value))
		return true;
	*value = stored;
	return !all;
}

int
gw_sum_put(MDB_txn *txn, MDB_dbi table, struct gw_span key, struct gw_span value, unsigned flags)
{
	MDB_val k = gw_val(key.at, key.len), data = gw_val(NULL, value.len + GW_SUM_BYTES);
	int rc = mdb_put(txn, table, &k, &data, flags | MDB_RESERVE);

	if (rc == 0)
		gw_put32(gw_put_bytes(data.mv_data, value.at, value.len), gw_sum(key, value));
	return rc;
}

bool
gw_row_open(struct gw_journal *journal, MDB_val key, MDB_val stored, struct gw_span *value)
{
	static struct gw_diag_limit told;
	struct gw_span name = gw_val_span(key);

	if (gw_sum_open(journal->summed, name, gw_val_span(stored), value))
		return true;
	atomic_fetch_add(&journal->rows_damaged, 1);
	gw_diag_limited(&told, 10, GW_ERROR, "store.damaged", "the row %.*s does not match its checksum: it counts as not there", GW_SPAN_FMT(name));
	return false;
}

// ---- Older rows ----

struct raise {
	uint8_t key[GW_ROW_KEY_MAX + 12]; // the last one that was looked at
	size_t key_len;
	uint8_t *value;
	size_t cap;
	bool end;
};

static enum gw_error
raise_row(struct gw_journal *journal, MDB_txn *txn, struct raise *raise, MDB_val key, MDB_val data)
{
	struct gw_span value;
	uint8_t *bigger;

	if (key.mv_size > sizeof(raise->key))
		return GW_E_CORRUPT;
	memcpy(raise->key, key.mv_data, key.mv_size);
	raise->key_len = key.mv_size;
	if (gw_sum_open(true, gw_val_span(key), gw_val_span(data), &value))
		return GW_OK;
	if (value.len > raise->cap) {
		if ((bigger = realloc(raise->value, value.len)) == NULL)
			return GW_E_MEMORY;
		raise->value = bigger;
		raise->cap = value.len;
	}
	gw_put_bytes(raise->value, value.at, value.len);
	return gw_store_error(gw_sum_put(txn, journal->tables[GW_T_ROWS], gw_span(raise->key, raise->key_len), gw_span(raise->value, value.len), 0));
}

static enum gw_error
raise_some(struct gw_journal *journal, MDB_txn *txn, struct raise *raise)
{
	MDB_val key = gw_val(raise->key, raise->key_len), data;
	bool after = raise->key_len > 0;
	size_t bytes = 0;
	MDB_cursor *cursor;
	enum gw_error error = GW_OK;
	int rc = mdb_cursor_open(txn, journal->tables[GW_T_ROWS], &cursor);

	if (rc != 0)
		return gw_store_error(rc);
	rc = mdb_cursor_get(cursor, &key, &data, after ? MDB_SET_RANGE : MDB_FIRST);
	if (rc == 0 && after && key.mv_size == raise->key_len && memcmp(key.mv_data, raise->key, raise->key_len) == 0)
		rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT);
	for (int i = 0; rc == 0 && error == GW_OK && i < RAISE_ROWS && bytes < RAISE_BYTES; i++) {
		bytes += data.mv_size;
		if ((error = raise_row(journal, txn, raise, key, data)) != GW_OK)
			break;
		key = gw_val(raise->key, raise->key_len); // what was put may have moved it
		if ((rc = mdb_cursor_get(cursor, &key, &data, MDB_SET)) == 0)
			rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	raise->end = rc == MDB_NOTFOUND;
	return error == GW_OK && rc != 0 && !raise->end ? gw_store_error(rc) : error;
}

static enum gw_error
raise_piece(struct gw_journal *journal, struct raise *raise)
{
	MDB_txn *txn;
	enum gw_error error = gw_store_error(mdb_txn_begin(journal->env, NULL, 0, &txn));

	if (error != GW_OK)
		return error;
	if ((error = raise_some(journal, txn, raise)) == GW_OK && raise->end)
		error = gw_meta_put(journal, txn, "summed", 1);
	if (error == GW_OK)
		return gw_store_error(mdb_txn_commit(txn));
	mdb_txn_abort(txn);
	return error;
}

enum gw_error
gw_rows_sum(struct gw_journal *journal)
{
	struct raise raise = { .key_len = 0 };
	enum gw_error error = GW_OK;

	if (journal->summed)
		return GW_OK;
	while (error == GW_OK && !raise.end)
		error = raise_piece(journal, &raise);
	free(raise.value);
	journal->summed = error == GW_OK;
	return error == GW_E_FULL ? GW_OK : error;
}
