// SPDX-License-Identifier: Apache-2.0
// The table of small durable rows. Written by the writer's thread within its transaction; read by any thread.
#include "gateway/bytes.h"
#include "gateway/journal_internal.h"

#include <stdlib.h>

static MDB_val
op_key(const struct gw_op *op)
{
	return gw_val(op + 1, op->key_len);
}

enum gw_error
gw_rows_put(struct gw_journal *journal, const struct gw_op *op)
{
	journal->bytes += op->key_len + 32;
	if (op->body_len <= 1500)
		journal->bytes += op->body_len;
	else
		gw_room_run(journal, op->body_len + GW_SUM_BYTES);
	journal->copies++;
	return gw_store_error(gw_sum_put(journal->txn, journal->tables[GW_T_ROWS], gw_span(op + 1, op->key_len), gw_span(gw_op_body(op), op->body_len), 0));
}

enum gw_error
gw_rows_del(struct gw_journal *journal, const struct gw_op *op)
{
	MDB_val key = op_key(op);
	int rc = mdb_del(journal->txn, journal->tables[GW_T_ROWS], &key, NULL);

	journal->copies++;
	return rc == MDB_NOTFOUND ? GW_OK : gw_store_error(rc);
}

static bool
has_prefix(MDB_val key, struct gw_span prefix)
{
	return key.mv_size >= prefix.len && memcmp(key.mv_data, prefix.at, prefix.len) == 0;
}

enum gw_error
gw_rows_del_prefix(struct gw_journal *journal, const struct gw_op *op)
{
	struct gw_span prefix = gw_span(op + 1, op->key_len);
	MDB_cursor *cursor;
	MDB_val key, data;
	int rc = mdb_cursor_open(journal->txn, journal->tables[GW_T_ROWS], &cursor);

	if (rc != 0)
		return gw_store_error(rc);
	for (;;) {
		key = op_key(op);
		rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);
		if (rc != 0 || !has_prefix(key, prefix))
			break;
		if ((rc = mdb_cursor_del(cursor, 0)) != 0)
			break;
		journal->copies++;
	}
	mdb_cursor_close(cursor);
	return rc == MDB_NOTFOUND ? GW_OK : gw_store_error(rc);
}

struct gw_span
gw_cursor_name(struct gw_span key)
{
	static const char head[] = "outlet/", tail[] = "/cursor";
	const size_t before = sizeof(head) - 1, after = sizeof(tail) - 1;
	struct gw_span name;
	size_t slashes = 0;

	if (key.len <= before + after || memcmp(key.at, head, before) != 0 || memcmp(key.at + key.len - after, tail, after) != 0)
		return gw_span(NULL, 0);
	name = gw_span(key.at + before, key.len - before - after);
	for (size_t i = 0; i < name.len; i++)
		slashes += name.at[i] == '/';
	return slashes <= 1 ? name : gw_span(NULL, 0);
}

// Below outlet/a/b/ nothing but outlet/a/b/cursor can be a cursor, and there may be millions of rows: the key to go on from. 0: the next row.
static size_t
skip_table(MDB_val key, uint8_t to[GW_ROW_KEY_MAX + 8])
{
	static const char cursor[] = "cursor";
	const uint8_t *at = key.mv_data, *end = at + key.mv_size, *tail = at + sizeof("outlet/") - 1;
	size_t len;
	int order;

	for (int slashes = 0; slashes < 2; slashes++)
		if ((tail = memchr(tail, '/', (size_t)(end - tail))) == NULL || ++tail == end)
			return 0;
	len = (size_t)(end - tail) < sizeof(cursor) - 1 ? (size_t)(end - tail) : sizeof(cursor) - 1;
	if ((order = memcmp(tail, cursor, len)) == 0 && len < sizeof(cursor) - 1)
		order = -1;
	memcpy(to, at, (size_t)(tail - at));
	len = (size_t)(tail - at);
	if (order < 0) {
		memcpy(to + len, cursor, sizeof(cursor) - 1);
		return len + sizeof(cursor) - 1;
	}
	to[len] = 0xFF; // no text has this byte
	return len + 1;
}

enum gw_error
gw_rows_least_cursor(struct gw_journal *journal, MDB_txn *txn, uint64_t *position)
{
	struct gw_span prefix = gw_span_text("outlet/");
	uint8_t to[GW_ROW_KEY_MAX + 8];
	MDB_cursor *cursor;
	MDB_val key = gw_val(prefix.at, prefix.len), data;
	size_t len;
	int rc = mdb_cursor_open(txn, journal->tables[GW_T_ROWS], &cursor);

	*position = UINT64_MAX;
	if (rc != 0)
		return gw_store_error(rc);
	rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);
	while (rc == 0 && has_prefix(key, prefix)) {
		if (gw_cursor_name(gw_val_span(key)).len > 0) {
			// A cursor that cannot be read holds everything back.
			struct gw_span value;
			uint64_t at = gw_row_open(journal, key, data, &value) && value.len == 8 ? gw_get64(value.at) : 0;
			if (at < *position)
				*position = at;
			len = 0;
		} else
			len = skip_table(key, to);
		if (len > 0)
			key = gw_val(to, len);
		rc = mdb_cursor_get(cursor, &key, &data, len > 0 ? MDB_SET_RANGE : MDB_NEXT);
	}
	mdb_cursor_close(cursor);
	return rc == 0 || rc == MDB_NOTFOUND ? GW_OK : gw_store_error(rc);
}

enum gw_error
gw_journal_get(struct gw_journal *journal, struct gw_span key, void *buf, size_t cap, size_t *len)
{
	MDB_val k = gw_val(key.at, key.len), data;
	struct gw_span value;
	MDB_txn *txn;
	enum gw_error error;

	if (key.len == 0 || key.len > GW_ROW_KEY_MAX)
		return GW_E_ARGUMENT;
	if ((error = gw_reader_begin(journal, &txn)) != GW_OK)
		return error;
	error = gw_store_error(mdb_get(txn, journal->tables[GW_T_ROWS], &k, &data));
	if (error == GW_OK && !gw_row_open(journal, k, data, &value))
		error = GW_E_CORRUPT;
	if (error == GW_OK) {
		*len = value.len;
		if (value.len > cap)
			error = GW_E_TOO_LARGE;
		else if (value.len > 0)
			memcpy(buf, value.at, value.len);
	}
	gw_reader_end(journal, txn);
	return error;
}

// ---- Walking: rows are copied out a block at a time, then given without a transaction ----

#define BLOCK (64u << 10)
#define DAMAGED (1u << 31)

struct walk {
	struct gw_span prefix;
	uint8_t last[GW_ROW_KEY_MAX]; // the last key that was copied
	size_t last_len;
	uint8_t *block;               // [u32 key_len, its highest bit: damaged][u32 value_len][key][value]...
	bool gives_damaged, full;     // full: not one row could be taken
	size_t used, cap;
	bool end;
};

// False where the row does not fit any more.
static bool
copy_row(struct gw_journal *journal, struct walk *walk, MDB_val key, MDB_val data)
{
	size_t need = walk->used + 8 + key.mv_size + data.mv_size;
	struct gw_span value;
	bool sound;

	if (need > walk->cap) {
		uint8_t *bigger = walk->used == 0 ? realloc(walk->block, need) : NULL;
		if (bigger == NULL)
			return false;
		walk->block = bigger;
		walk->cap = need;
	}
	sound = gw_row_open(journal, key, data, &value);
	if (!sound)
		value = gw_val_span(data);
	if (sound || walk->gives_damaged) {
		gw_put32(walk->block + walk->used, (uint32_t)key.mv_size | (sound ? 0 : DAMAGED));
		gw_put32(walk->block + walk->used + 4, (uint32_t)value.len);
		gw_put_bytes(gw_put_bytes(walk->block + walk->used + 8, key.mv_data, key.mv_size), value.at, value.len);
		walk->used += 8 + key.mv_size + value.len;
	}
	walk->full = false;
	walk->last_len = key.mv_size;
	memcpy(walk->last, key.mv_data, key.mv_size);
	return true;
}

static enum gw_error
copy_block(struct gw_journal *journal, struct walk *walk)
{
	bool after = walk->last_len > 0;
	MDB_val key = after ? gw_val(walk->last, walk->last_len) : gw_val(walk->prefix.at, walk->prefix.len), data;
	MDB_cursor *cursor;
	MDB_txn *txn;
	enum gw_error error = gw_reader_begin(journal, &txn);
	int rc;

	if (error != GW_OK)
		return error;
	walk->used = 0;
	walk->full = true;
	if ((rc = mdb_cursor_open(txn, journal->tables[GW_T_ROWS], &cursor)) == 0) {
		rc = key.mv_size > 0 ? mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE) : mdb_cursor_get(cursor, &key, &data, MDB_FIRST);
		if (rc == 0 && after && key.mv_size == walk->last_len && memcmp(key.mv_data, walk->last, walk->last_len) == 0)
			rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT);
		for (; rc == 0; rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) {
			if ((walk->end = !has_prefix(key, walk->prefix)) || !copy_row(journal, walk, key, data))
				break;
		}
		walk->end |= rc == MDB_NOTFOUND;
		mdb_cursor_close(cursor);
	}
	gw_reader_end(journal, txn);
	if (rc == 0 && !walk->end && walk->full)
		return GW_E_MEMORY;
	return rc == MDB_NOTFOUND ? GW_OK : gw_store_error(rc);
}

static bool
give_block(const struct walk *walk, gw_row_fn *fn, gw_row_fn *damaged, void *arg)
{
	const uint8_t *at = walk->block, *end = at + walk->used;

	while (at < end) {
		size_t key_len = gw_get32(at) & ~DAMAGED, value_len = gw_get32(at + 4);
		bool sound = (gw_get32(at) & DAMAGED) == 0;
		at += 8;
		if (!(sound ? fn : damaged)(arg, gw_span(at, key_len), gw_span(at + key_len, value_len)))
			return false;
		at += key_len + value_len;
	}
	return true;
}

enum gw_error
gw_rows_each(struct gw_journal *journal, struct gw_span prefix, struct gw_span after, gw_row_fn *fn, gw_row_fn *damaged, void *arg)
{
	struct walk walk = { .prefix = prefix, .cap = BLOCK, .last_len = after.len, .gives_damaged = damaged != NULL };
	enum gw_error error = GW_OK;

	if (prefix.len > GW_ROW_KEY_MAX || after.len > GW_ROW_KEY_MAX)
		return GW_E_ARGUMENT;
	// Before the prefix is before its first row.
	if (after.len > 0 && prefix.len > 0 && memcmp(after.at, prefix.at, after.len < prefix.len ? after.len : prefix.len) < 0)
		walk.last_len = 0;
	gw_put_bytes(walk.last, after.at, walk.last_len);
	if ((walk.block = malloc(walk.cap)) == NULL)
		return GW_E_MEMORY;
	while (error == GW_OK && !walk.end)
		if ((error = copy_block(journal, &walk)) == GW_OK && !give_block(&walk, fn, damaged, arg))
			break;
	free(walk.block);
	return error;
}

enum gw_error
gw_journal_each(struct gw_journal *journal, struct gw_span prefix, struct gw_span after, gw_row_fn *fn, void *arg)
{
	return gw_rows_each(journal, prefix, after, fn, NULL, arg);
}
