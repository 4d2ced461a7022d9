// SPDX-License-Identifier: Apache-2.0
// The time-first index. Entries are kept in memory and put in sorted, some thousands at once, mostly at the table's end: with every commit they would cost
// it a copy of each leaf that they fall into. Meta "indexed" is the position up to which the table is whole; readers walk the records after it.
// The writer's thread.
#include "gateway/journal_internal.h"

#include <stdlib.h>

#define PENDING_MAX 65536
#define PENDING_DUE 2048
#define BEHIND_DUE (2u << 20) // bytes of records that readers have to walk

void
gw_index_key(const struct gw_index_entry *entry, uint8_t key[GW_INDEX_KEY])
{
	uint64_t words[3] = { htobe64(entry->time), htobe64(entry->device), htobe64(entry->position) };
	memcpy(key, words, sizeof(words));
}

struct gw_index_entry
gw_index_entry(const uint8_t key[GW_INDEX_KEY])
{
	uint64_t words[3];

	memcpy(words, key, sizeof(words));
	return (struct gw_index_entry){ be64toh(words[0]), be64toh(words[1]), be64toh(words[2]) };
}

int
gw_index_compare(const void *left, const void *right)
{
	const struct gw_index_entry *a = left, *b = right;

	if (a->time != b->time)
		return a->time < b->time ? -1 : 1;
	if (a->device != b->device)
		return a->device < b->device ? -1 : 1;
	return (a->position > b->position) - (a->position < b->position);
}

// A page lies at one address before it is copied, and where malloc put it afterwards, across two 4 KB there: it may be counted thrice, no more
// unless others push it out.
void
gw_index_touch(struct gw_journal *journal, const void *key)
{
	uintptr_t page = (uintptr_t)key >> 12;
	uintptr_t *slot = &journal->touched_pages[page * UINT64_C(0x9E3779B97F4A7C15) >> 54];

	journal->copies += *slot != page;
	*slot = page;
}

enum gw_error
gw_index_cursor(struct gw_journal *journal, MDB_cursor **cursor)
{
	int rc = 0;

	if (journal->index == NULL)
		rc = mdb_cursor_open(journal->txn, journal->tables[GW_T_INDEX], &journal->index);
	*cursor = journal->index;
	return gw_store_error(rc);
}

enum gw_error
gw_index_add(struct gw_journal *journal, uint64_t device, int64_t time_us, uint64_t position)
{
	enum gw_error error;

	// The record itself has not all its entries yet.
	if (journal->txn != NULL && journal->pending_count - journal->pending_put >= PENDING_MAX && (error = gw_index_flush(journal, position - 1)) != GW_OK)
		return error;
	if (journal->pending_count == journal->pending_cap) {
		size_t cap = journal->pending_cap > 0 ? journal->pending_cap * 2 : 1024;
		struct gw_index_entry *bigger = realloc(journal->pending, cap * sizeof(*bigger));
		if (bigger == NULL)
			return GW_E_MEMORY;
		journal->pending = bigger;
		journal->pending_cap = cap;
	}
	journal->pending[journal->pending_count++] = (struct gw_index_entry){ gw_index_time(time_us), device, position };
	return GW_OK;
}

static enum gw_error
find_last(struct gw_journal *journal, MDB_cursor *cursor)
{
	MDB_val key, data;
	int rc = mdb_cursor_get(cursor, &key, &data, MDB_LAST);

	if (rc != 0 && rc != MDB_NOTFOUND)
		return gw_store_error(rc);
	journal->index_any = rc == 0;
	if (rc == 0)
		journal->index_last = gw_index_entry(key.mv_data);
	journal->index_last_known = true;
	return GW_OK;
}

static int
put(struct gw_journal *journal, MDB_cursor *cursor, const struct gw_index_entry *entry)
{
	uint8_t bytes[GW_INDEX_KEY] = { 0 };
	MDB_val key = gw_val(bytes, sizeof(bytes)), data = gw_val("", 0);
	bool end = !journal->index_any || gw_index_compare(entry, &journal->index_last) > 0;
	int rc;

	// At the end entries fill page after page; elsewhere each page that they fall into needs a new copy.
	journal->bytes += 48;
	gw_index_key(entry, bytes);
	rc = mdb_cursor_put(cursor, &key, &data, end ? MDB_APPEND : 0);
	if (rc == 0 && !end && (rc = mdb_cursor_get(cursor, &key, &data, MDB_GET_CURRENT)) == 0)
		gw_index_touch(journal, key.mv_data);
	if (rc == 0 && end) {
		journal->index_last = *entry;
		journal->index_any = true;
	}
	return rc;
}

static enum gw_error
put_all(struct gw_journal *journal, struct gw_index_entry *entries, size_t count)
{
	MDB_cursor *cursor;
	enum gw_error error = gw_index_cursor(journal, &cursor);
	bool sorted = true;
	int rc = 0;

	if (error != GW_OK || (!journal->index_last_known && (error = find_last(journal, cursor)) != GW_OK))
		return error;
	for (size_t i = 1; sorted && i < count; i++)
		sorted = gw_index_compare(&entries[i - 1], &entries[i]) < 0;
	if (!sorted)
		qsort(entries, count, sizeof(*entries), gw_index_compare);
	for (size_t i = 0; rc == 0 && i < count; i++)
		if (i == 0 || gw_index_compare(&entries[i - 1], &entries[i]) != 0)
			rc = put(journal, cursor, &entries[i]);
	return gw_store_error(rc);
}

enum gw_error
gw_index_flush(struct gw_journal *journal, uint64_t upto)
{
	enum gw_error error;

	if (journal->pending_count == journal->pending_put && journal->behind == 0)
		return GW_OK;
	error = put_all(journal, journal->pending + journal->pending_put, journal->pending_count - journal->pending_put);
	if (error == GW_OK)
		error = gw_meta_put(journal, journal->txn, "indexed", upto);
	journal->pending_put = journal->pending_count;
	journal->behind = 0;
	return error;
}

enum gw_error
gw_index_tend(struct gw_journal *journal)
{
	size_t most = journal->room.starved ? PENDING_DUE / 8 : PENDING_DUE; // where the file cannot grow, small commits
	bool due = journal->pending_count >= most || journal->behind >= BEHIND_DUE;

	return journal->plain && due ? gw_index_flush(journal, journal->next - 1) : GW_OK;
}

void
gw_index_committed(struct gw_journal *journal)
{
	journal->pending_count -= journal->pending_put;
	if (journal->pending_put > 0 && journal->pending_count > 0)
		memmove(journal->pending, journal->pending + journal->pending_put, journal->pending_count * sizeof(*journal->pending));
	journal->pending_put = 0;
}

void
gw_index_aborted(struct gw_journal *journal)
{
	uint64_t last = atomic_load_explicit(&journal->last, memory_order_relaxed);
	size_t kept = 0;

	for (size_t i = 0; i < journal->pending_count; i++)
		if (journal->pending[i].position <= last)
			journal->pending[kept++] = journal->pending[i];
	journal->pending_count = kept;
	journal->pending_put = 0;
	journal->behind = journal->behind_before;
}

enum gw_error
gw_index_record(struct gw_journal *journal, uint64_t position, struct gw_span bytes)
{
	struct gw_record record;
	struct gw_batch batch;
	struct gw_reading reading;
	enum gw_error error = GW_OK;
	int64_t last = 0;

	if (gw_record_open(position, bytes, &record, NULL) != GW_OK || record.type != GW_RECORD_READINGS ||
	    gw_batch_open(&record, &batch, NULL) != GW_OK)
		return GW_OK;
	while (error == GW_OK && gw_batch_next(&batch, &reading)) {
		if (batch.done == 1 || reading.time_us != last)
			error = gw_index_add(journal, gw_name_hash(batch.head.device), reading.time_us, position);
		last = reading.time_us;
	}
	return error;
}

enum gw_error
gw_index_open(struct gw_journal *journal, MDB_txn *txn)
{
	struct gw_walk walk;
	struct gw_span record;
	uint64_t position, indexed;
	enum gw_error error = gw_meta_get(journal, txn, "indexed", &indexed);
	int rc;

	if (error != GW_OK)
		return error;
	if ((rc = gw_walk_open(&walk, journal, txn)) == 0)
		rc = gw_walk_from(&walk, indexed + 1);
	while (rc == 0 && error == GW_OK && (rc = gw_walk_next(&walk, &position, &record)) == 0) {
		journal->behind += record.len;
		error = gw_index_record(journal, position, record);
	}
	gw_walk_close(&walk);
	return error != GW_OK || rc == MDB_NOTFOUND ? error : gw_store_error(rc);
}
