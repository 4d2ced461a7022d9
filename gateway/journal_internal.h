// SPDX-License-Identifier: Apache-2.0
// What the journal's files share; nobody else includes this. LMDB is seen here and in journal_*.c only.
//
// Locks: `lock` guards the map of newest times and the quarantine's totals between the writer and readers; `pool_lock` the spare read
// transactions. All else that is not atomic belongs to the writer's thread.
#ifndef GW_JOURNAL_INTERNAL_H
#define GW_JOURNAL_INTERNAL_H

#include "gateway/journal.h"
#include "gateway/journal_map.h"
#include "gateway/journal_rows.h"
#include "gateway/ticket.h"

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#define GW_STORE_FORMAT 3
#define GW_AUDIT_OVERHEAD 48  // bytes of a row of the audit beside its value: the key and LMDB's own
#define GW_SUM_BYTES 4        // CRC-32C over key and value, behind every small value: gw_sum()
#define GW_SEAL_BYTES 8     // behind a block's records: that they are those of these positions
#define GW_BLOCK_BYTES (16384 - 16 - GW_SEAL_BYTES) // of records that lie together: four of LMDB's pages
#define GW_INDEX_KEY 24     // time (sign flipped), device's hash, position: big-endian u64 each
#define GW_READERS_SPARE 32
#define GW_TOUCHED 1024
#define GW_SWEEP_ROWS 1024  // rows of newest times written with one commit, at most

_Static_assert(sizeof(size_t) == 8, "LMDB's integer keys are size_t; positions are 64 bits");

enum gw_table { GW_T_META, GW_T_JOURNAL, GW_T_INDEX, GW_T_NEWEST, GW_T_ROWS, GW_T_QUARANTINE, GW_T_COUNT };

struct gw_index_entry {
	uint64_t time, device, position; // time with its sign flipped
};

// Writing newest times to the store, a few rows with every commit.
struct gw_sweep {
	bool active, finishing;  // finishing: the transaction under way holds the last piece
	size_t at, at_before;    // slot; where the transaction under way began
	uint64_t epoch, upto;    // the checkpoint's position when the sweep is through
	uint64_t cleaned[GW_SWEEP_ROWS];
	size_t cleaned_count;    // of the transaction under way
	int64_t done_us;         // when the last one was through
};

struct gw_room {
	uint64_t limit_pages, pressure_pages, free_pages, since_pages; // pages taken since free_pages was counted
	uint64_t newest_rows;    // in the store, when free_pages was counted
	int64_t counted_us, looked_us;
	uint64_t allocated;      // bytes of the data file known to have blocks
	uint64_t zeroed;         // and of those, as far as they were written: see zero_ahead()
	bool fallocate_missing;
	uint64_t settled_pages, taken_pages; // free pages that nobody can read any more, when counted; taken since
	uint64_t mark_txn, settled_txn;
	int64_t mark_us;
	bool disk_short;         // the file system is below its reserve
	bool starved;            // or has no blocks: the file cannot grow
	bool map_full, disk_full;
};

struct gw_once; // gateway/journal_once.c: memory of the slow way, made when first needed

struct gw_journal {
	struct gw_journal_options options;
	char *dir;
	int lock_fd;
	bool marked, opened;    // STORE/open is there; all of it could be opened
	bool summed;            // every row has its checksum: since format 3, once older ones were given theirs
	MDB_env *env;
	MDB_dbi tables[GW_T_COUNT];
	uint64_t incarnation;
	uint64_t page_size;
	_Atomic uint64_t first, last;

	// The transaction under way
	MDB_txn *txn;
	MDB_cursor *index;
	uint8_t *block;         // records that are not in the table yet, see gateway/journal_block.c
	size_t block_len, block_cap;
	enum gw_error error;
	bool broken;            // a commit failed: nothing is written any more
	uint64_t next;          // position of the next record
	bool touched, plain;    // something was written; not only essential tickets
	size_t bytes, runs;     // about what it adds; and of that what needs pages side by side
	size_t copies;          // pages elsewhere of which it may need new copies
	uintptr_t touched_pages[GW_TOUCHED]; // of the index, by their addresses: see gw_index_touch()
	bool trimming;
	uint64_t records, readings, duplicates, revisions, quarantine_left_out;
	struct gw_index_entry *pending;
	size_t pending_count, pending_cap, pending_put; // put: of those in the table with the transaction under way
	size_t behind, behind_before; // bytes of records after meta "indexed"; when the transaction began
	struct gw_index_entry index_last;
	bool index_last_known, index_any;
	uint64_t quarantine_id, quarantine_id_before;
	int64_t quarantine_bytes_before, quarantine_count_before;

	pthread_mutex_t lock;
	struct gw_newest_map newest;
	struct gw_newest_map shares; // principal's hash -> bytes in quarantine (as time_us)
	struct gw_newest_map makers; // device's hash -> series that it made since the store was opened (as time_us)
	struct gw_sweep sweep;
	uint64_t checkpoint;    // newest rows hold everything up to this position
	uint64_t appended_since_trim;
	int64_t readers_us;     // when dead readers were looked for
	struct gw_once *once;
	struct gw_room room;

	_Atomic int holds;      // while above 0 nothing is trimmed
	_Atomic uint64_t rows_damaged; // met since start
	_Atomic int64_t row_told_us;   // when one was named last

	pthread_mutex_t pool_lock;
	MDB_txn *spare[GW_READERS_SPARE];
	size_t spare_count;

	// For gw_journal_stats()
	_Atomic uint64_t records_total, readings_total, duplicates_total, revisions_total;
	_Atomic uint64_t commits, commit_us_total, commit_us_max;
	_Atomic uint64_t used_bytes, disk_free_bytes;
	_Atomic int64_t quarantine_bytes, quarantine_count;
	_Atomic uint64_t series;
	_Atomic int full; // enum gw_full
};

enum gw_full { GW_FULL_NOT, GW_FULL_MAP, GW_FULL_DISK };

// ---- gateway/journal_store.c ----
enum gw_error gw_store_open(struct gw_journal *journal, struct gw_why *why);
void gw_store_close(struct gw_journal *journal);
// Tables, incarnation, first and last of an environment that was opened to be read only.
enum gw_error gw_store_open_tables(struct gw_journal *journal, struct gw_why *why);
// LMDB's return code in our words: GW_E_FULL, GW_E_NOT_FOUND, GW_E_CORRUPT, GW_E_VERSION, GW_E_MEMORY or GW_E_SYNC.
enum gw_error gw_store_error(int rc);
// A read transaction of the newest state. Give it back soon.
enum gw_error gw_reader_begin(struct gw_journal *journal, MDB_txn **txn);
void gw_reader_end(struct gw_journal *journal, MDB_txn *txn);

static inline MDB_val
gw_val(const void *at, size_t len)
{
	return (MDB_val){ len, (void *)(uintptr_t)at };
}

static inline struct gw_span
gw_val_span(MDB_val val)
{
	return gw_span(val.mv_data, val.mv_size);
}

static inline uint64_t
gw_val_u64(MDB_val val)
{
	uint64_t v = 0;
	memcpy(&v, val.mv_data, val.mv_size < sizeof(v) ? val.mv_size : sizeof(v));
	return v;
}

// ---- gateway/journal_look.c ----
// Before LMDB is let near the store, whose lock is held: its pages, where it was not closed in order, or where that is done at once. GW_E_CORRUPT names the
// first damage and what to do. Then marks it as open.
enum gw_error gw_store_look(struct gw_journal *journal, struct gw_why *why);
// It is closed in order.
void gw_store_unmark(struct gw_journal *journal);

// ---- gateway/journal_sum.c: checksums of small values ----
uint32_t gw_sum(struct gw_span key, struct gw_span value);
// The value without its checksum; false where it does not match. Where not all have one (`all` false), what does not match has none.
bool gw_sum_open(bool all, struct gw_span key, struct gw_span stored, struct gw_span *value);
// Puts value and checksum into a table of the transaction.
int gw_sum_put(MDB_txn *txn, MDB_dbi table, struct gw_span key, struct gw_span value, unsigned flags);
// A row as it lies in the table. False: it is damaged, which was counted and named.
bool gw_row_open(struct gw_journal *journal, MDB_val key, MDB_val stored, struct gw_span *value);
// Gives older rows their checksums, some thousands in a transaction; where there is no room the next start goes on. Before anybody else uses the store.
enum gw_error gw_rows_sum(struct gw_journal *journal);

// ---- gateway/journal_index.c ----
static inline uint64_t
gw_index_time(int64_t time_us)
{
	return (uint64_t)time_us ^ (UINT64_C(1) << 63);
}
void gw_index_key(const struct gw_index_entry *entry, uint8_t key[GW_INDEX_KEY]);
struct gw_index_entry gw_index_entry(const uint8_t key[GW_INDEX_KEY]);
// By time, device, position; for qsort as well.
int gw_index_compare(const void *left, const void *right);
// At opening: the entries of records after meta "indexed".
enum gw_error gw_index_open(struct gw_journal *journal, MDB_txn *txn);
// Remembers an entry; in the table after gw_index_flush(), which says that it then holds all records up to `upto`.
// The entries of a record; none where it is damaged.
enum gw_error gw_index_record(struct gw_journal *journal, uint64_t position, struct gw_span bytes);
enum gw_error gw_index_add(struct gw_journal *journal, uint64_t device, int64_t time_us, uint64_t position);
enum gw_error gw_index_flush(struct gw_journal *journal, uint64_t upto);
// Before a commit: flushes where enough have come together. After it, or after an abort.
enum gw_error gw_index_tend(struct gw_journal *journal);
void gw_index_committed(struct gw_journal *journal);
void gw_index_aborted(struct gw_journal *journal);
// Counts the index's page in which this key lies as a copy, unless it was just counted.
void gw_index_touch(struct gw_journal *journal, const void *key);
enum gw_error gw_index_cursor(struct gw_journal *journal, MDB_cursor **cursor);

// ---- gateway/journal_once.c ----
// Readings of which at least one is not later than its series' newest: looks what is there already.
enum gw_error gw_once_apply(struct gw_journal *journal, struct gw_ticket *ticket, const struct gw_op *op);
void gw_once_free(struct gw_once *once);
// Counts new series of a device.
enum gw_error gw_series_made(struct gw_journal *journal, uint64_t device, size_t made);

// ---- gateway/journal_block.c ----
// Appends a record at journal->next; in the table after gw_block_flush().
enum gw_error gw_journal_append(struct gw_journal *journal, struct gw_span record);
enum gw_error gw_block_flush(struct gw_journal *journal);
// A record that was appended since the last flush, or MDB_NOTFOUND. Valid until the next append.
int gw_block_pending(const struct gw_journal *journal, uint64_t position, struct gw_span *record);

// The records of one value; first and rest move on with gw_block_next().
struct gw_block {
	uint64_t first, last;
	uint32_t count;
	bool sound; // it is what was put there, but for the insides of records; else all of it counts as one record
	size_t gap_rest, gap_len; // where so much is left a record is of that length, whatever it says
	struct gw_span rest;
};
// Puts the seal behind len bytes of whole records. Of such records: what the seal of that position would be.
void gw_block_seal(uint64_t last, uint8_t *bytes, size_t len);
uint32_t gw_block_seal_of(uint64_t last, struct gw_span records);
struct gw_block gw_block_of(uint64_t last, struct gw_span bytes);
bool gw_block_next(struct gw_block *block, uint64_t *position, struct gw_span *record);

// Record after record, in order. Functions return LMDB's codes; MDB_NOTFOUND at the end. Records are borrowed from the transaction.
struct gw_walk {
	MDB_cursor *cursor;
	struct gw_block block;
	uint64_t from;
};
int gw_walk_open(struct gw_walk *walk, struct gw_journal *journal, MDB_txn *txn);
void gw_walk_close(struct gw_walk *walk);
int gw_walk_from(struct gw_walk *walk, uint64_t position);
int gw_walk_next(struct gw_walk *walk, uint64_t *position, struct gw_span *record);
int gw_walk_find(struct gw_walk *walk, uint64_t position, struct gw_span *record);

// ---- gateway/journal_audit.c ----
// A block that is about to be trimmed: its records of commands become rows. Then a few of the oldest rows go where they are over.
enum gw_error gw_audit_keep(struct gw_journal *journal, struct gw_block block);
enum gw_error gw_audit_expire(struct gw_journal *journal, int64_t now_us, bool *more);

// ---- gateway/journal_erase.c ----
// Readings of one record; the block's other records stay as they are.
enum gw_error gw_erase_readings(struct gw_journal *journal, const struct gw_op *op);

// ---- gateway/journal_newest.c ----
enum gw_error gw_newest_open(struct gw_journal *journal, struct gw_why *why);
// The times of a record come into the map.
enum gw_error gw_newest_record(struct gw_journal *journal, uint64_t position, struct gw_span bytes);
// Whether newest times wait to be written; then every commit takes a piece of them along.
bool gw_sweep_due(struct gw_journal *journal);
enum gw_error gw_sweep_piece(struct gw_journal *journal);
void gw_sweep_committed(struct gw_journal *journal);
void gw_sweep_aborted(struct gw_journal *journal);
// Writes all that is left; the writer has ended.
enum gw_error gw_sweep_all(struct gw_journal *journal);

// ---- gateway/journal_room.c ----
enum gw_error gw_room_open(struct gw_journal *journal, struct gw_why *why);
// Before a commit: blocks of the file for what the transaction may write.
enum gw_error gw_room_prepare(struct gw_journal *journal);
void gw_room_committed(struct gw_journal *journal);
// Counts a value that needs pages of its own, side by side.
static inline void
gw_room_run(struct gw_journal *journal, size_t len)
{
	size_t run = (len + 16 + journal->page_size - 1) / journal->page_size * journal->page_size;

	journal->bytes += run;
	journal->runs += run;
}
bool gw_room_pressure(struct gw_journal *journal);

// ---- gateway/journal_rows.c, gateway/quarantine.c ----
enum gw_error gw_rows_put(struct gw_journal *journal, const struct gw_op *op);
enum gw_error gw_rows_del(struct gw_journal *journal, const struct gw_op *op);
enum gw_error gw_rows_del_prefix(struct gw_journal *journal, const struct gw_op *op);
// The least of the outlets' cursors; UINT64_MAX where there is none.
enum gw_error gw_rows_least_cursor(struct gw_journal *journal, MDB_txn *txn, uint64_t *position);
enum gw_error gw_quarantine_open(struct gw_journal *journal, struct gw_why *why);
enum gw_error gw_quarantine_check(struct gw_journal *journal, const struct gw_ticket *ticket);
enum gw_error gw_quarantine_put(struct gw_journal *journal, const struct gw_op *op);
enum gw_error gw_quarantine_del(struct gw_journal *journal, const struct gw_op *op);

// ---- gateway/journal_meta (journal_store.c): small numbers by name ----
enum gw_error gw_meta_put(struct gw_journal *journal, MDB_txn *txn, const char *name, uint64_t value);
enum gw_error gw_meta_get(struct gw_journal *journal, MDB_txn *txn, const char *name, uint64_t *value);

#endif
