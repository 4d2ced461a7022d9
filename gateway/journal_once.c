// SPDX-License-Identifier: Apache-2.0
// "Once", the slow way: a record with readings that are not later than their series' newest. Each reading is compared with the
// stored ones of its time and with the earlier ones of its own record; duplicates are left out, other values of the same key become
// revisions, readings without a device time get a free sequence number. The writer's thread.
//
// Work is bounded whatever a device sends: so many index entries, stored records and readings are looked at for one record.
// Beyond that a reading counts as new: stored twice at worst, never lost.
#include "gateway/journal_internal.h"
#include "gateway/record_layout.h"

#include <stdlib.h>

#define SAME_TIME_MAX 64        // stored records of one device and time that are compared, newest first
#define ENTRIES_MAX 32768       // index entries in all
#define RECORDS_MAX 8192        // stored records in all
#define STEPS_MAX 1048576       // comparisons with stored readings in all
#define CHAIN_MAX 512           // readings of one key within the record
#define BUCKETS 8192
#define VISITED 16384

struct item {
	struct gw_reading reading;
	uint32_t at, size;
	int32_t before;     // the reading before it in this record with the same signal, instance and time
	uint32_t sequence_max;
	uint32_t revision;
	bool exists, duplicate;
};

struct gw_once {
	struct item items[GW_RECORD_READINGS_MAX];
	int32_t buckets[BUCKETS]; // newest item, or -1
	struct { uint64_t position, turn; } visited[VISITED]; // good where turn is the present one
	uint64_t turn;
	size_t count, entries, records, steps;
	bool again;
	struct gw_span device;
	uint8_t record[GW_RECORD_MAX];
};

void
gw_once_free(struct gw_once *once)
{
	free(once);
}

static bool
same_place(const struct gw_reading *a, const struct gw_reading *b)
{
	return a->signal == b->signal && a->instance == b->instance && a->time_us == b->time_us;
}

static int32_t *
bucket_of(struct gw_once *once, const struct gw_reading *reading)
{
	uint64_t mixed = (uint64_t)reading->time_us * UINT64_C(0x9E3779B97F4A7C15);

	mixed ^= ((uint64_t)reading->signal << 16 | reading->instance) * UINT64_C(0xC2B2AE3D27D4EB4F);
	mixed *= UINT64_C(0x9E3779B97F4A7C15);
	return &once->buckets[mixed >> 51 & (BUCKETS - 1)];
}

static enum gw_error
load_items(struct gw_once *once, const struct gw_op *op)
{
	struct gw_record record;
	struct gw_batch batch;
	enum gw_error error = gw_record_open(0, gw_span(gw_op_body(op), op->body_len), &record, NULL);

	if (error != GW_OK || (error = gw_batch_open(&record, &batch, NULL)) != GW_OK)
		return error;
	for (size_t i = 0; i < once->count; i++) // of the record before
		*bucket_of(once, &once->items[i].reading) = -1;
	once->turn++;
	once->count = once->entries = once->records = once->steps = 0;
	once->device = batch.head.device;
	for (;;) {
		struct item *item = &once->items[once->count];
		*item = (struct item){ .at = (uint32_t)batch.at };
		if (!gw_batch_next(&batch, &item->reading))
			break;
		item->size = (uint32_t)batch.at - item->at;
		int32_t *bucket = bucket_of(once, &item->reading);
		item->before = *bucket;
		*bucket = (int32_t)once->count;
		if (++once->count == GW_RECORD_READINGS_MAX)
			break;
	}
	return batch.bad ? GW_E_CORRUPT : GW_OK;
}

// ---- Comparing with what is stored ----

// True the first time that a position comes.
static bool
visit(struct gw_once *once, uint64_t position)
{
	size_t at = (size_t)(position * UINT64_C(0x9E3779B97F4A7C15) >> 50);

	for (; once->visited[at].turn == once->turn; at = (at + 1) % VISITED)
		if (once->visited[at].position == position)
			return false;
	once->visited[at].position = position;
	once->visited[at].turn = once->turn;
	once->records++;
	return true;
}

static void
compare_stored(const struct gw_once *once, struct item *item, const struct gw_reading *stored)
{
	if ((item->reading.flags & GW_FLAG_NO_DEVICE_TIME) != 0) {
		if (once->again && gw_reading_same_value(stored, &item->reading))
			item->duplicate = true;
		if (!item->exists || stored->sequence > item->sequence_max)
			item->sequence_max = stored->sequence;
		item->exists = true;
	} else if (stored->sequence == item->reading.sequence) {
		// What it was is not known any more where it was erased: it must not come back.
		if (gw_reading_is_erased(stored) || gw_reading_same_value(stored, &item->reading))
			item->duplicate = true;
		else if (stored->revision >= item->revision)
			item->revision = stored->revision + 1u;
	}
}

static void
walk_stored(struct gw_once *once, uint64_t position, struct gw_span bytes)
{
	struct gw_record record;
	struct gw_batch batch;
	struct gw_reading stored;

	if (gw_record_open(position, bytes, &record, NULL) != GW_OK || record.type != GW_RECORD_READINGS ||
	    gw_batch_open(&record, &batch, NULL) != GW_OK || !gw_span_equal(batch.head.device, once->device))
		return;
	while (once->steps < STEPS_MAX && gw_batch_next(&batch, &stored)) {
		int chain = 0;
		for (int32_t i = *bucket_of(once, &stored); i >= 0 && chain < CHAIN_MAX; i = once->items[i].before, chain++)
			if (same_place(&once->items[i].reading, &stored))
				compare_stored(once, &once->items[i], &stored);
		once->steps += 1 + (size_t)chain;
	}
}

// Of the transaction under way or before it.
static bool
find_record(struct gw_journal *journal, uint64_t position, struct gw_span *record)
{
	struct gw_walk walk;
	int rc = gw_block_pending(journal, position, record);

	if (rc != 0 && (rc = gw_walk_open(&walk, journal, journal->txn)) == 0) {
		rc = gw_walk_find(&walk, position, record);
		gw_walk_close(&walk);
	}
	return rc == 0;
}

static enum gw_error
look_at_time(struct gw_journal *journal, uint64_t device, int64_t time_us)
{
	struct gw_once *once = journal->once;
	struct gw_index_entry entry = { gw_index_time(time_us), device, UINT64_MAX };
	uint8_t bytes[GW_INDEX_KEY] = { 0 };
	MDB_val key = gw_val(bytes, sizeof(bytes)), data;
	struct gw_span record;
	MDB_cursor *cursor;
	enum gw_error error = gw_index_cursor(journal, &cursor);
	int rc;

	if (error != GW_OK)
		return error;
	gw_index_key(&entry, bytes);
	rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);
	rc = mdb_cursor_get(cursor, &key, &data, rc == MDB_NOTFOUND ? MDB_LAST : MDB_PREV);
	for (int i = 0; rc == 0 && i < SAME_TIME_MAX && once->entries < ENTRIES_MAX; i++, once->entries++) {
		entry = gw_index_entry(key.mv_data);
		if (entry.time != gw_index_time(time_us) || entry.device != device || once->records >= RECORDS_MAX ||
		    once->steps >= STEPS_MAX)
			break;
		if (visit(once, entry.position) && find_record(journal, entry.position, &record))
			walk_stored(once, entry.position, record);
		rc = mdb_cursor_get(cursor, &key, &data, MDB_PREV);
	}
	return rc == 0 || rc == MDB_NOTFOUND ? GW_OK : gw_store_error(rc);
}

static enum gw_error
look(struct gw_journal *journal, const struct gw_op *op)
{
	struct gw_once *once = journal->once;
	const struct gw_key *keys = gw_op_keys(op);
	enum gw_error error = gw_index_flush(journal, journal->next - 1);
	int64_t seen = 0;
	bool any = false;

	for (size_t i = 0; error == GW_OK && i < once->count; i++) {
		const struct gw_newest *newest = gw_newest_find(&journal->newest, keys[i].series);
		int64_t time = keys[i].time_us;
		if (newest == NULL || time > newest->time_us || (any && time == seen))
			continue;
		error = look_at_time(journal, op->number, time);
		seen = time;
		any = true;
	}
	return error;
}

// ---- Comparing within the record, and what becomes of each reading ----

static void
settle_untimed(struct item *item, const struct item *other)
{
	if (!item->exists || other->reading.sequence > item->sequence_max)
		item->sequence_max = other->reading.sequence;
	item->exists = true;
}

static void
settle(struct gw_once *once, struct item *item)
{
	bool untimed = (item->reading.flags & GW_FLAG_NO_DEVICE_TIME) != 0;
	int chain = 0;

	for (int32_t i = item->before; i >= 0 && chain < CHAIN_MAX; i = once->items[i].before, chain++) {
		const struct item *other = &once->items[i];
		if (!same_place(&other->reading, &item->reading))
			continue;
		if (untimed)
			settle_untimed(item, other);
		else if (other->reading.sequence != item->reading.sequence || other->duplicate)
			continue;
		else if (gw_reading_same_value(&other->reading, &item->reading))
			item->duplicate = true;
		else if (other->revision >= item->revision)
			item->revision = other->revision + 1;
	}
	if (untimed && item->exists)
		item->reading.sequence = item->sequence_max + 1;
	if (item->revision > UINT16_MAX)
		item->revision = UINT16_MAX; // kept all the same
}

// Copies the readings that stay behind the record's head; returns the new record's length, 0 where none stays.
static size_t
rebuild(struct gw_once *once, const struct gw_op *op, struct gw_ticket *ticket)
{
	const uint8_t *from = gw_op_body(op);
	size_t at = once->items[0].at, kept = 0;

	memcpy(once->record, from, at);
	for (size_t i = 0; i < once->count; i++) {
		struct item *item = &once->items[i];
		settle(once, item);
		if (item->duplicate) {
			ticket->duplicates++;
			continue;
		}
		memcpy(once->record + at, from + item->at, item->size);
		gw_put32(once->record + at + READING_SEQUENCE, item->reading.sequence);
		if (item->revision > 0) {
			gw_put16(once->record + at + READING_REVISION, (uint16_t)item->revision);
			gw_put16(once->record + at + READING_FLAGS, item->reading.flags | GW_FLAG_REVISION);
			ticket->revisions++;
		}
		at += item->size;
		kept++;
	}
	ticket->stored += (uint32_t)kept;
	gw_put16(once->record + BATCH_COUNT, (uint16_t)kept);
	gw_put32(once->record + RECORD_LEN, (uint32_t)at);
	gw_record_seal(once->record, at);
	return kept > 0 ? at : 0;
}

static enum gw_error
store(struct gw_journal *journal, const struct gw_op *op, size_t len)
{
	struct gw_once *once = journal->once;
	const struct gw_key *keys = gw_op_keys(op);
	uint64_t position = journal->next;
	size_t before = journal->newest.count;
	enum gw_error error = gw_journal_append(journal, gw_span(once->record, len));
	int64_t indexed = 0;
	bool any = false;

	for (size_t i = 0; error == GW_OK && i < once->count; i++) {
		if (once->items[i].duplicate)
			continue;
		struct gw_newest *entry = gw_newest_find(&journal->newest, keys[i].series);
		if (entry == NULL || keys[i].time_us >= entry->time_us)
			gw_newest_set(&journal->newest, entry, keys[i].series, keys[i].time_us, position);
		if (!any || keys[i].time_us != indexed)
			error = gw_index_add(journal, op->number, keys[i].time_us, position);
		indexed = keys[i].time_us;
		any = true;
	}
	return error == GW_OK ? gw_series_made(journal, op->number, journal->newest.count - before) : error;
}

static struct gw_once *
make(void)
{
	struct gw_once *once = calloc(1, sizeof(*once));

	if (once != NULL)
		memset(once->buckets, 0xFF, sizeof(once->buckets));
	return once;
}

enum gw_error
gw_once_apply(struct gw_journal *journal, struct gw_ticket *ticket, const struct gw_op *op)
{
	enum gw_error error;
	size_t len;

	if (journal->once == NULL && (journal->once = make()) == NULL)
		return GW_E_MEMORY;
	journal->once->again = ticket->again;
	if ((error = load_items(journal->once, op)) != GW_OK || (error = look(journal, op)) != GW_OK)
		return error;
	len = rebuild(journal->once, op, ticket);
	return len > 0 ? store(journal, op, len) : GW_OK;
}
