// SPDX-License-Identifier: Apache-2.0
// Checking a journal (gateway/journal_copy.h): a few MB in one read transaction, then the next, so that a check of hours holds no page for long. Any thread.
#include "gateway/journal_copy.h"

#include "gateway/bytes.h"
#include "gateway/journal_internal.h"
#include "gateway/journal_salvage.h"
#include "gateway/pages.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#define TXN_BYTES (4u << 20)
#define TXN_ENTRIES 16384

struct check {
	struct gw_journal *journal;
	const struct gw_verify *verify;
	struct gw_verified *seen;
	MDB_txn *txn;       // under way
	uint64_t after;     // the key of the block that was checked last
	uint64_t indexed;   // with this transaction
	uint64_t first_key; // of the table, with this transaction: entries of the oldest block may be gone before it
	uint8_t entry[GW_INDEX_KEY]; // the index's key that was looked at last
	bool any;
};

static void __attribute__((format(printf, 2, 3)))
damage(struct check *check, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	check->seen->damaged++;
	check->verify->damage(check->verify->arg, text);
}

static enum gw_error
tell(const struct check *check)
{
	const struct gw_verify *verify = check->verify;

	return verify->progress == NULL || verify->progress(verify->arg, check->seen) ? GW_OK : GW_E_STOPPING;
}

// ---- Records ----

static void
check_index(struct check *check, uint64_t position, const struct gw_batch *batch, const struct gw_reading *reading)
{
	struct gw_index_entry entry = { gw_index_time(reading->time_us), gw_name_hash(batch->head.device), position };
	uint8_t bytes[GW_INDEX_KEY];
	MDB_val key = gw_val(bytes, sizeof(bytes)), data;

	gw_index_key(&entry, bytes);
	if (mdb_get(check->txn, check->journal->tables[GW_T_INDEX], &key, &data) != 0)
		damage(check, "record %" PRIu64 ": the index does not lead to it", position);
}

static void
check_readings(struct check *check, const struct gw_record *record, bool in_index)
{
	struct gw_why why = { "" };
	struct gw_batch batch;
	struct gw_reading reading;

	if (gw_batch_open(record, &batch, &why) != GW_OK) {
		damage(check, "record %" PRIu64 ": %s", record->position, why.text);
		return;
	}
	for (bool first = true; gw_batch_next(&batch, &reading); first = false) {
		check->seen->readings++;
		if (first && in_index)
			check_index(check, record->position, &batch, &reading);
	}
	if (batch.bad)
		damage(check, "record %" PRIu64 ": reading %u of %u cannot be read", record->position, (unsigned)batch.done + 1, (unsigned)batch.count);
}

static void
check_record(struct check *check, uint64_t position, struct gw_span bytes, bool in_index)
{
	struct gw_why why = { "" };
	struct gw_record record;

	check->seen->records++;
	if (gw_record_open(position, bytes, &record, &why) != GW_OK)
		damage(check, "record %" PRIu64 ": %s", position, why.text[0] != '\0' ? why.text : gw_error_text(GW_E_CORRUPT));
	else if (record.type == GW_RECORD_READINGS)
		check_readings(check, &record, in_index);
}

// Positions that a salvage found missing, and said so.
static bool
is_known_gap(const struct check *check, uint64_t first, uint64_t last)
{
	char name[64];
	struct gw_span key = gw_span(name, (size_t)snprintf(name, sizeof(name), GW_SALVAGE_ROW "%016" PRIx64, last)), value;
	MDB_val k = gw_val(key.at, key.len), data;

	return mdb_get(check->txn, check->journal->tables[GW_T_ROWS], &k, &data) == 0 && gw_row_open(check->journal, k, data, &value) && value.len == 16 &&
	    gw_get64(value.at + 8) <= first;
}

static void
check_block(struct check *check, uint64_t last, struct gw_span bytes)
{
	struct gw_block block = gw_block_of(last, bytes);
	bool in_index = last <= check->indexed && last != check->first_key;
	uint64_t expected = check->after + 1, position;
	struct gw_span record;

	if (check->seen->blocks == 0)
		check->seen->first = block.first;
	else if (!block.sound)
		block.first = expected; // how many there were is not known any more
	else if (block.first < expected)
		damage(check, "records %" PRIu64 " to %" PRIu64 ": there twice", block.first, expected - 1);
	else if (block.first > expected && last != check->first_key && !is_known_gap(check, expected, block.first - 1)) // else trimming has overtaken us
		damage(check, "records %" PRIu64 " to %" PRIu64 ": missing", expected, block.first - 1);
	while (gw_block_next(&block, &position, &record))
		check_record(check, position, record, in_index);
	check->seen->blocks++;
	check->seen->bytes += bytes.len;
	check->seen->last = last;
	check->after = last;
}

// Some blocks; MDB_NOTFOUND after the last one.
static int
some_blocks(struct check *check, MDB_cursor *cursor)
{
	uint64_t from = check->after + 1, until = check->seen->bytes + TXN_BYTES;
	MDB_val key, data;
	int rc = mdb_cursor_get(cursor, &key, &data, MDB_FIRST);

	if (rc != 0)
		return rc;
	check->first_key = gw_val_u64(key);
	if (gw_meta_get(check->journal, check->txn, "indexed", &check->indexed) != GW_OK)
		check->indexed = 0;
	key = gw_val(&from, sizeof(from));
	rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);
	while (rc == 0 && check->seen->bytes < until) {
		check_block(check, gw_val_u64(key), gw_val_span(data));
		rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT);
	}
	return rc;
}

// ---- The index ----

static int
some_entries(struct check *check, MDB_cursor *cursor)
{
	uint64_t last = 0;
	MDB_val key, data;
	MDB_cursor *journal;
	int rc = mdb_cursor_open(check->txn, check->journal->tables[GW_T_JOURNAL], &journal);

	if (rc != 0)
		return rc;
	if (mdb_cursor_get(journal, &key, &data, MDB_LAST) == 0)
		last = gw_val_u64(key);
	mdb_cursor_close(journal);
	key = gw_val(check->entry, sizeof(check->entry));
	rc = mdb_cursor_get(cursor, &key, &data, check->any ? MDB_SET_RANGE : MDB_FIRST);
	for (int i = 0; rc == 0 && i < TXN_ENTRIES; i++) {
		bool again = check->any && key.mv_size == GW_INDEX_KEY && memcmp(key.mv_data, check->entry, GW_INDEX_KEY) == 0;
		if (key.mv_size != GW_INDEX_KEY) {
			damage(check, "index: an entry of %zu bytes; what follows was not looked at", key.mv_size);
			return MDB_NOTFOUND;
		}
		if (!again) {
			uint64_t position = gw_index_entry(key.mv_data).position;
			memcpy(check->entry, key.mv_data, GW_INDEX_KEY);
			check->any = true;
			check->seen->index_entries++;
			if (position == 0 || position > last)
				damage(check, "index: an entry leads to record %" PRIu64 ", which was never there", position);
		}
		rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT);
	}
	return rc;
}

// ---- Quarantine ----

static int
some_quarantine(struct check *check, MDB_cursor *cursor)
{
	uint64_t from = check->after + 1;
	MDB_val key = gw_val(&from, sizeof(from)), data;
	struct gw_quarantined entry;
	size_t bytes = 0;
	int rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE);

	while (rc == 0 && bytes < TXN_BYTES) {
		check->after = gw_val_u64(key);
		check->seen->quarantined++;
		bytes += data.mv_size;
		if (!gw_quarantine_decode(gw_val_span(data), check->after, &entry))
			damage(check, "quarantine %" PRIu64 ": the entry cannot be read", check->after);
		rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT);
	}
	return rc;
}

// A table piece by piece, each in a transaction of its own.
static enum gw_error
check_table(struct check *check, enum gw_table table, int (*some)(struct check *, MDB_cursor *))
{
	MDB_cursor *cursor;
	enum gw_error error;
	int rc = 0;

	while (rc == 0) {
		if ((error = gw_reader_begin(check->journal, &check->txn)) != GW_OK)
			return error;
		if ((rc = mdb_cursor_open(check->txn, check->journal->tables[table], &cursor)) == 0) {
			rc = some(check, cursor);
			mdb_cursor_close(cursor);
		}
		gw_reader_end(check->journal, check->txn);
		if ((error = tell(check)) != GW_OK)
			return error;
	}
	return rc == MDB_NOTFOUND ? GW_OK : gw_store_error(rc);
}

// ---- Rows ----

static bool
check_row(void *arg, struct gw_span key, struct gw_span value)
{
	struct check *check = arg;
	struct gw_why why = { "" };
	bool cursor = gw_cursor_name(key).len > 0;

	check->seen->rows++;
	if (cursor && value.len != 8)
		damage(check, "row %.*s: a cursor of %zu bytes", GW_SPAN_FMT(key), value.len);
	else if (cursor && gw_get64(value.at) > gw_journal_last(check->journal))
		damage(check, "row %.*s: the cursor is beyond the journal's end", GW_SPAN_FMT(key));
	else if (check->verify->row != NULL && !check->verify->row(check->verify->arg, key, value, &why))
		damage(check, "row %.*s: %s", GW_SPAN_FMT(key), why.text);
	return check->seen->rows % 4096 != 0 || tell(check) == GW_OK;
}

static bool
row_damaged(void *arg, struct gw_span key, struct gw_span value)
{
	struct check *check = arg;

	(void)value;
	check->seen->rows++;
	damage(check, "row %.*s: it does not match its checksum", GW_SPAN_FMT(key));
	return true;
}

// ---- Pages ----

static void
page_damaged(void *arg, uint64_t page, const char *table, const char *words)
{
	damage(arg, "journal: page %" PRIu64 "%s%s: %s", page, table[0] != '\0' ? " of " : "", table, words);
}

static bool
page_progress(void *arg, uint64_t pages, uint64_t total)
{
	(void)pages, (void)total;
	return tell(arg) == GW_OK;
}

// LMDB would follow whatever a damaged page says.
static enum gw_error
check_pages(struct check *check)
{
	struct gw_pages_walk walk = { .damage = page_damaged, .progress = page_progress, .arg = check };
	struct gw_pages_seen seen;
	struct gw_why why = { "" };
	int fd, copy = -1;
	enum gw_error error;

	if (mdb_env_get_fd(check->journal->env, &fd) != 0 || (copy = fcntl(fd, F_DUPFD_CLOEXEC, 3)) < 0)
		return GW_E_SYSTEM;
	if ((error = gw_reader_begin(check->journal, &check->txn)) == GW_OK) { // so that the newest state stays where it is
		error = gw_pages_walk(copy, &walk, &seen, &why);
		gw_reader_end(check->journal, check->txn);
	}
	close(copy);
	if (error == GW_E_CORRUPT)
		damage(check, "journal: %s", why.text);
	return error == GW_OK && check->seen->damaged > 0 ? GW_E_CORRUPT : error;
}

enum gw_error
gw_journal_verify(struct gw_journal *journal, const struct gw_verify *verify, struct gw_verified *seen)
{
	struct check check = { .journal = journal, .verify = verify, .seen = seen };
	enum gw_error error;

	*seen = (struct gw_verified){ .bytes_total = gw_journal_copy_bytes(journal) };
	if (verify->pages && (error = check_pages(&check)) != GW_OK)
		return error;
	if ((error = check_table(&check, GW_T_JOURNAL, some_blocks)) != GW_OK || (error = check_table(&check, GW_T_INDEX, some_entries)) != GW_OK)
		return error;
	check.after = 0;
	if ((error = check_table(&check, GW_T_QUARANTINE, some_quarantine)) != GW_OK)
		return error;
	return gw_rows_each(journal, gw_span("", 0), gw_span("", 0), check_row, row_damaged, &check);
}
