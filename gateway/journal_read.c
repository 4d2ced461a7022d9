// SPDX-License-Identifier: Apache-2.0
// The journal's readers. Any thread. Every call is one short read transaction, or several one after the other, and copies out.
#include "gateway/bytes.h"
#include "gateway/journal_internal.h"

#include <errno.h>
#include <stdlib.h>

#define ENTRY_HEAD 12 // u64 position, u32 length

enum gw_error
gw_journal_read(struct gw_journal *journal, uint64_t from, uint8_t *buf, size_t cap, size_t *used, uint64_t *next)
{
	MDB_val key = gw_val(&from, sizeof(from)), data;
	MDB_cursor *cursor;
	MDB_txn *txn;
	enum gw_error error = gw_reader_begin(journal, &txn);
	int rc;

	*used = 0;
	*next = from;
	if (error != GW_OK)
		return error;
	if ((rc = mdb_cursor_open(txn, journal->tables[GW_T_JOURNAL], &cursor)) == 0) {
		rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);
		for (; rc == 0; rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) {
			uint64_t position = gw_val_u64(key);
			uint32_t len = (uint32_t)data.mv_size;
			if (ENTRY_HEAD + data.mv_size > cap - *used)
				break;
			memcpy(buf + *used, &position, 8);
			memcpy(buf + *used + 8, &len, 4);
			memcpy(buf + *used + ENTRY_HEAD, data.mv_data, data.mv_size);
			*used += ENTRY_HEAD + data.mv_size;
			*next = position + 1;
		}
		mdb_cursor_close(cursor);
	}
	gw_reader_end(journal, txn);
	if (rc == 0 && *used == 0)
		return GW_E_TOO_LARGE;
	return rc == MDB_NOTFOUND ? GW_OK : gw_store_error(rc);
}

bool
gw_journal_step(struct gw_span *buf, struct gw_record *record)
{
	uint64_t position;
	uint32_t len;

	if (buf->len < ENTRY_HEAD)
		return false;
	memcpy(&position, buf->at, 8);
	memcpy(&len, buf->at + 8, 4);
	if (len > buf->len - ENTRY_HEAD)
		return false;
	struct gw_span bytes = gw_span(buf->at + ENTRY_HEAD, len);
	if (gw_record_open(position, bytes, record, NULL) != GW_OK)
		*record = (struct gw_record){ .position = position, .bytes = bytes };
	*buf = gw_span(bytes.at + len, buf->len - ENTRY_HEAD - len);
	return true;
}

// Receive time of the first record at or after *position that can be read; *position becomes its place.
static int
received_at(MDB_cursor *cursor, uint64_t *position, int64_t *received_us)
{
	struct gw_record record;
	MDB_val key = gw_val(position, sizeof(*position)), data;
	int rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);

	for (; rc == 0; rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT))
		if (gw_record_open(gw_val_u64(key), gw_val_span(data), &record, NULL) == GW_OK) {
			*position = record.position;
			*received_us = record.received_us;
			return 0;
		}
	return rc;
}

static int
search(MDB_cursor *cursor, uint64_t low, uint64_t high, int64_t received_us, uint64_t *found)
{
	while (low < high) { // what is wanted lies in [low, high]
		uint64_t middle = low + (high - low) / 2, at = middle;
		int64_t time;
		int rc = received_at(cursor, &at, &time);
		if (rc != 0 && rc != MDB_NOTFOUND)
			return rc;
		if (rc == 0 && at < high && time < received_us)
			low = at + 1;
		else
			high = middle;
	}
	*found = low;
	return 0;
}

enum gw_error
gw_journal_seek(struct gw_journal *journal, int64_t received_us, uint64_t *position)
{
	MDB_val key, data;
	MDB_cursor *cursor;
	MDB_txn *txn;
	uint64_t first, last;
	enum gw_error error = gw_reader_begin(journal, &txn);
	int rc;

	if (error != GW_OK)
		return error;
	*position = 1;
	if ((rc = mdb_cursor_open(txn, journal->tables[GW_T_JOURNAL], &cursor)) == 0) {
		if ((rc = mdb_cursor_get(cursor, &key, &data, MDB_FIRST)) == 0) {
			first = gw_val_u64(key);
			if ((rc = mdb_cursor_get(cursor, &key, &data, MDB_LAST)) == 0) {
				last = gw_val_u64(key);
				rc = search(cursor, first, last + 1, received_us, position);
			}
		}
		mdb_cursor_close(cursor);
	}
	gw_reader_end(journal, txn);
	return rc == MDB_NOTFOUND ? GW_OK : gw_store_error(rc);
}

// ---- A device's readings by time ----

#define RANGE_ENTRIES 4096     // index entries looked at in one transaction
#define RANGE_BYTES (256u << 10)

struct range {
	uint64_t device, end;      // end: time with its sign flipped, exclusive
	struct gw_index_entry at;  // where the next transaction goes on (inclusive)
	bool done;
	uint8_t *buf;              // [i64 time][u64 position][u32 length][record]...
	size_t used, cap;
};

// False where the record does not fit any more.
static bool
copy_record(struct range *range, const struct gw_index_entry *entry, MDB_val data)
{
	size_t need = range->used + 20 + data.mv_size;
	int64_t time_us = (int64_t)(entry->time ^ (UINT64_C(1) << 63));
	uint32_t len = (uint32_t)data.mv_size;
	uint8_t *at;

	if (need > range->cap) {
		uint8_t *bigger = range->used == 0 ? realloc(range->buf, need) : NULL;
		if (bigger == NULL)
			return false;
		range->buf = bigger;
		range->cap = need;
	}
	at = range->buf + range->used;
	memcpy(at, &time_us, 8);
	memcpy(at + 8, &entry->position, 8);
	memcpy(at + 16, &len, 4);
	memcpy(at + 20, data.mv_data, data.mv_size);
	range->used = need;
	return true;
}

static int
scan(struct gw_journal *journal, MDB_txn *txn, MDB_cursor *cursor, struct range *range)
{
	uint8_t bytes[GW_INDEX_KEY] = { 0 };
	MDB_val key = gw_val(bytes, sizeof(bytes)), data;
	int rc;

	gw_index_key(&range->at, bytes);
	rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);
	for (int i = 0; rc == 0; rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT), i++) {
		struct gw_index_entry entry = gw_index_entry(key.mv_data);
		range->at = entry;
		if ((range->done = entry.time >= range->end) || i == RANGE_ENTRIES)
			return 0;
		if (entry.device != range->device)
			continue;
		MDB_val at = gw_val(&entry.position, sizeof(entry.position));
		int got = mdb_get(txn, journal->tables[GW_T_JOURNAL], &at, &data);
		if (got != 0 && got != MDB_NOTFOUND)
			return got;
		if (got == 0 && !copy_record(range, &entry, data))
			return range->used > 0 ? 0 : ENOMEM;
	}
	range->done = rc == MDB_NOTFOUND;
	return range->done ? 0 : rc;
}

static enum gw_error
fill(struct gw_journal *journal, struct range *range)
{
	MDB_cursor *cursor;
	MDB_txn *txn;
	enum gw_error error = gw_reader_begin(journal, &txn);
	int rc;

	if (error != GW_OK)
		return error;
	range->used = 0;
	if ((rc = mdb_cursor_open(txn, journal->tables[GW_T_INDEX], &cursor)) == 0) {
		rc = scan(journal, txn, cursor, range);
		mdb_cursor_close(cursor);
	}
	gw_reader_end(journal, txn);
	return gw_store_error(rc);
}

static bool
give(const struct range *range, struct gw_span device, gw_journal_fn *fn, void *arg)
{
	for (size_t at = 0; at < range->used;) {
		struct gw_record record;
		struct gw_batch batch;
		int64_t time_us;
		uint64_t position;
		uint32_t len;

		memcpy(&time_us, range->buf + at, 8);
		memcpy(&position, range->buf + at + 8, 8);
		memcpy(&len, range->buf + at + 16, 4);
		if (gw_record_open(position, gw_span(range->buf + at + 20, len), &record, NULL) == GW_OK &&
		    gw_batch_open(&record, &batch, NULL) == GW_OK && gw_span_equal(batch.head.device, device) &&
		    !fn(arg, time_us, &record))
			return false;
		at += 20 + (size_t)len;
	}
	return true;
}

enum gw_error
gw_journal_range(struct gw_journal *journal, struct gw_span device, int64_t from_us, int64_t to_us, gw_journal_fn *fn,
    void *arg)
{
	struct range range = { .device = gw_name_hash(device), .end = gw_index_time(to_us), .cap = RANGE_BYTES };
	enum gw_error error = GW_OK;

	range.at.time = gw_index_time(from_us);
	if ((range.buf = malloc(range.cap)) == NULL)
		return GW_E_MEMORY;
	while (error == GW_OK && !range.done)
		if ((error = fill(journal, &range)) == GW_OK && !give(&range, device, fn, arg))
			break;
	free(range.buf);
	return error;
}
