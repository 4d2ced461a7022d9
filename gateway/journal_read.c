// SPDX-License-Identifier: Apache-2.0
// The journal's readers. Any thread. Every call is one short read transaction, or several one after the other, and copies out.
#include "gateway/bytes.h"
#include "gateway/journal_internal.h"

#include <errno.h>
#include <stdlib.h>

#define ENTRY_HEAD 12 // u64 position, u32 length

// Copies records until one does not fit. MDB_NOTFOUND at the journal's end.
static int
copy_records(struct gw_walk *walk, uint8_t *buf, size_t cap, size_t *used, uint64_t *next)
{
	struct gw_span record;
	uint64_t position;
	int rc;

	while ((rc = gw_walk_next(walk, &position, &record)) == 0 && ENTRY_HEAD + record.len <= cap - *used) {
		uint32_t len = (uint32_t)record.len;
		memcpy(buf + *used, &position, 8);
		memcpy(buf + *used + 8, &len, 4);
		memcpy(buf + *used + ENTRY_HEAD, record.at, record.len);
		*used += ENTRY_HEAD + record.len;
		*next = position + 1;
	}
	return rc;
}

enum gw_error
gw_journal_read(struct gw_journal *journal, uint64_t from, uint8_t *buf, size_t cap, size_t *used, uint64_t *next)
{
	struct gw_walk walk;
	MDB_txn *txn;
	enum gw_error error = gw_reader_begin(journal, &txn);
	int rc;

	*used = 0;
	*next = from;
	if (error != GW_OK)
		return error;
	if ((rc = gw_walk_open(&walk, journal, txn)) == 0 && (rc = gw_walk_from(&walk, from)) == 0)
		rc = copy_records(&walk, buf, cap, used, next);
	gw_walk_close(&walk);
	gw_reader_end(journal, txn);
	if (rc == 0 && *used == 0)
		return GW_E_TOO_LARGE;
	return rc == MDB_NOTFOUND ? GW_OK : gw_store_error(rc);
}

enum gw_error
gw_journal_one(struct gw_journal *journal, uint64_t position, uint8_t *buf, size_t cap, struct gw_record *record)
{
	struct gw_span bytes = gw_span(NULL, 0);
	struct gw_walk walk;
	MDB_txn *txn;
	enum gw_error error = gw_reader_begin(journal, &txn);
	int rc;

	if (error != GW_OK)
		return error;
	if ((rc = gw_walk_open(&walk, journal, txn)) == 0 && (rc = gw_walk_find(&walk, position, &bytes)) == 0 && bytes.len <= cap)
		memcpy(buf, bytes.at, bytes.len);
	gw_walk_close(&walk);
	gw_reader_end(journal, txn);
	if (rc != 0)
		return gw_store_error(rc);
	return bytes.len > cap ? GW_E_TOO_LARGE : gw_record_open(position, gw_span(buf, bytes.len), record, NULL);
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
received_at(struct gw_walk *walk, uint64_t *position, int64_t *received_us)
{
	struct gw_record record;
	struct gw_span bytes;
	uint64_t at;
	int rc = gw_walk_from(walk, *position);

	while (rc == 0 && (rc = gw_walk_next(walk, &at, &bytes)) == 0)
		if (gw_record_open(at, bytes, &record, NULL) == GW_OK) {
			*position = at;
			*received_us = record.received_us;
			return 0;
		}
	return rc;
}

static int
search(struct gw_walk *walk, uint64_t low, uint64_t high, int64_t received_us, uint64_t *found)
{
	while (low < high) { // what is wanted lies in [low, high]
		uint64_t middle = low + (high - low) / 2, at = middle;
		int64_t time;
		int rc = received_at(walk, &at, &time);
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
	uint64_t first = gw_journal_first(journal), last = gw_journal_last(journal);
	struct gw_walk walk;
	MDB_txn *txn;
	enum gw_error error;
	int rc;

	*position = 1;
	if (last == 0)
		return GW_OK;
	if ((error = gw_reader_begin(journal, &txn)) != GW_OK)
		return error;
	if ((rc = gw_walk_open(&walk, journal, txn)) == 0)
		rc = search(&walk, first, last + 1, received_us, position);
	gw_walk_close(&walk);
	gw_reader_end(journal, txn);
	return gw_store_error(rc);
}

// ---- A device's readings by time ----

#define RANGE_ENTRIES 4096     // index entries looked at in one transaction
#define RANGE_BYTES (256u << 10)

// Entries of records that were not in the index when the walk began, and of those that came since, sorted.
struct tail {
	uint64_t indexed; // the index was whole up to here; what it has of later records is left out
	uint64_t seen;    // records up to here were looked into; 0: none yet
	struct gw_index_entry *entries;
	size_t count, cap, at;
};

struct range {
	struct tail tail;
	uint64_t device, end;      // end: time with its sign flipped, exclusive
	struct gw_index_entry at;  // where the next transaction goes on (inclusive)
	bool done;
	uint8_t *buf;              // [i64 time][u64 position][u32 length][record]...
	size_t used, cap;
};

// False where the record does not fit any more.
static bool
copy_record(struct range *range, const struct gw_index_entry *entry, struct gw_span record)
{
	size_t need = range->used + 20 + record.len;
	int64_t time_us = (int64_t)(entry->time ^ (UINT64_C(1) << 63));
	uint32_t len = (uint32_t)record.len;
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
	memcpy(at + 20, record.at, record.len);
	range->used = need;
	return true;
}

static bool
add_to_tail(struct tail *tail, const struct gw_index_entry *entry)
{
	if (tail->count == tail->cap) {
		size_t cap = tail->cap > 0 ? tail->cap * 2 : 256;
		struct gw_index_entry *bigger = realloc(tail->entries, cap * sizeof(*bigger));
		if (bigger == NULL)
			return false;
		tail->entries = bigger;
		tail->cap = cap;
	}
	tail->entries[tail->count++] = *entry;
	return true;
}

static bool
look_into(struct tail *tail, const struct range *range, uint64_t position, struct gw_span bytes)
{
	struct gw_index_entry entry = { .device = range->device, .position = position };
	struct gw_record record;
	struct gw_batch batch;
	struct gw_reading reading;
	int64_t last = 0;

	if (gw_record_open(position, bytes, &record, NULL) != GW_OK || record.type != GW_RECORD_READINGS ||
	    gw_batch_open(&record, &batch, NULL) != GW_OK || gw_name_hash(batch.head.device) != range->device)
		return true;
	while (gw_batch_next(&batch, &reading)) {
		if (batch.done > 1 && reading.time_us == last)
			continue;
		last = reading.time_us;
		entry.time = gw_index_time(last);
		if (gw_index_compare(&entry, &range->at) >= 0 && entry.time < range->end && !add_to_tail(tail, &entry))
			return false;
	}
	return true;
}

// Sorted, each one once (a record's readings of one time need not stand side by side), without those that were given already.
static void
sort_tail(struct tail *tail, const struct gw_index_entry *from)
{
	size_t kept = 0;

	if (tail->count > 1)
		qsort(tail->entries, tail->count, sizeof(*tail->entries), gw_index_compare);
	for (size_t i = 0; i < tail->count; i++)
		if (gw_index_compare(&tail->entries[i], from) >= 0 &&
		    (kept == 0 || gw_index_compare(&tail->entries[i], &tail->entries[kept - 1]) != 0))
			tail->entries[kept++] = tail->entries[i];
	tail->count = kept;
	tail->at = 0;
}

// Every record is walked once however many transactions there are.
static int
fill_tail(struct gw_walk *walk, struct range *range)
{
	struct tail *tail = &range->tail;
	struct gw_span bytes;
	uint64_t position;
	int rc = gw_walk_from(walk, tail->seen + 1);

	while (rc == 0 && (rc = gw_walk_next(walk, &position, &bytes)) == 0) {
		if (!look_into(tail, range, position, bytes))
			return ENOMEM;
		tail->seen = position;
	}
	sort_tail(tail, &range->at);
	return rc == MDB_NOTFOUND ? 0 : rc;
}

// The index's next entry of the device from the cursor's key on, or where the look at it ends for this transaction; an entry of another device then.
static int
next_of_index(MDB_cursor *cursor, MDB_val *key, const struct range *range, int *looked, struct gw_index_entry *entry)
{
	MDB_val data;
	int rc;

	for (;;) {
		*entry = gw_index_entry(key->mv_data);
		if (entry->time >= range->end)
			return MDB_NOTFOUND;
		if ((entry->device == range->device && entry->position <= range->tail.indexed) || ++*looked > RANGE_ENTRIES)
			return 0;
		if ((rc = mdb_cursor_get(cursor, key, &data, MDB_NEXT)) != 0)
			return rc;
	}
}

// Copies records in the order of both lists, until the buffer is full or enough was looked at.
static int
scan(MDB_cursor *cursor, struct gw_walk *walk, struct range *range)
{
	struct tail *tail = &range->tail;
	uint8_t bytes[GW_INDEX_KEY] = { 0 };
	MDB_val key = gw_val(bytes, sizeof(bytes)), data;
	struct gw_index_entry entry = { 0 };
	struct gw_span record;
	int rc, got, looked = 0;

	gw_index_key(&range->at, bytes);
	rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);
	for (;;) {
		if (rc == 0)
			rc = next_of_index(cursor, &key, range, &looked, &entry);
		if (rc != 0 && rc != MDB_NOTFOUND)
			return rc;
		bool late = tail->at < tail->count && (rc != 0 || gw_index_compare(&tail->entries[tail->at], &entry) < 0);
		if ((range->done = !late && rc != 0))
			return 0;
		range->at = late ? tail->entries[tail->at++] : entry;
		if (!late && (looked > RANGE_ENTRIES))
			return 0;
		got = gw_walk_find(walk, range->at.position, &record);
		if (got != 0 && got != MDB_NOTFOUND)
			return got;
		if (got == 0 && !copy_record(range, &range->at, record))
			return range->used > 0 ? 0 : ENOMEM;
		if (!late) {
			looked++;
			rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT);
		}
	}
}

static enum gw_error
begin_tail(struct gw_journal *journal, MDB_txn *txn, struct tail *tail)
{
	enum gw_error error = tail->seen == 0 ? gw_meta_get(journal, txn, "indexed", &tail->indexed) : GW_OK;

	if (tail->seen == 0)
		tail->seen = tail->indexed;
	return error;
}

static enum gw_error
fill(struct gw_journal *journal, struct range *range)
{
	struct gw_walk walk = { 0 };
	MDB_cursor *cursor = NULL;
	MDB_txn *txn;
	enum gw_error error = gw_reader_begin(journal, &txn);
	int rc = 0;

	if (error != GW_OK)
		return error;
	range->used = 0;
	if ((error = begin_tail(journal, txn, &range->tail)) == GW_OK &&
	    (rc = mdb_cursor_open(txn, journal->tables[GW_T_INDEX], &cursor)) == 0 && (rc = gw_walk_open(&walk, journal, txn)) == 0 &&
	    (rc = fill_tail(&walk, range)) == 0)
		rc = scan(cursor, &walk, range);
	gw_walk_close(&walk);
	if (cursor != NULL)
		mdb_cursor_close(cursor);
	gw_reader_end(journal, txn);
	return error == GW_OK ? gw_store_error(rc) : error;
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
	free(range.tail.entries);
	return error;
}
