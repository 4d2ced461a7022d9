// SPDX-License-Identifier: Apache-2.0
// The time-first index: entries of a transaction are kept in memory, sorted, and put in at once, mostly at the table's end.
// The writer's thread.
#include "gateway/journal_internal.h"

#include <stdlib.h>

#define PENDING_MAX 65536

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

static int
compare(const struct gw_index_entry *a, const struct gw_index_entry *b)
{
	if (a->time != b->time)
		return a->time < b->time ? -1 : 1;
	if (a->device != b->device)
		return a->device < b->device ? -1 : 1;
	return (a->position > b->position) - (a->position < b->position);
}

static int
compare_void(const void *a, const void *b)
{
	return compare(a, b);
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

	if (journal->pending_count == PENDING_MAX && (error = gw_index_flush(journal)) != GW_OK)
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
	bool end = !journal->index_any || compare(entry, &journal->index_last) > 0;
	int rc;

	// At the end entries fill page after page; elsewhere each one may need a new copy of its page.
	journal->bytes += 48;
	journal->copies += !end;
	gw_index_key(entry, bytes);
	rc = mdb_cursor_put(cursor, &key, &data, end ? MDB_APPEND : 0);
	if (rc == 0 && end) {
		journal->index_last = *entry;
		journal->index_any = true;
	}
	return rc;
}

enum gw_error
gw_index_flush(struct gw_journal *journal)
{
	struct gw_index_entry *entries = journal->pending;
	size_t count = journal->pending_count;
	MDB_cursor *cursor;
	enum gw_error error;
	bool sorted = true;
	int rc = 0;

	if (count == 0)
		return GW_OK;
	if ((error = gw_index_cursor(journal, &cursor)) != GW_OK)
		return error;
	if (!journal->index_last_known && (error = find_last(journal, cursor)) != GW_OK)
		return error;
	for (size_t i = 1; sorted && i < count; i++)
		sorted = compare(&entries[i - 1], &entries[i]) < 0;
	if (!sorted)
		qsort(entries, count, sizeof(*entries), compare_void);
	for (size_t i = 0; rc == 0 && i < count; i++)
		if (i == 0 || compare(&entries[i - 1], &entries[i]) != 0)
			rc = put(journal, cursor, &entries[i]);
	journal->pending_count = 0;
	return gw_store_error(rc);
}
