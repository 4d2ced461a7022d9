// SPDX-License-Identifier: Apache-2.0
// What the series store's files share; nobody else includes this. LMDB is seen here and in series_*.c only.
//
// Locks, in this order: `write` is held by whoever changes anything (the outlet's thread, an erasure); `lock` guards what is in memory between it and
// readers, held for a copy at most; `pool_lock` the spare read transactions.
#ifndef GW_SERIES_INTERNAL_H
#define GW_SERIES_INTERNAL_H

#include "gateway/bytes.h"
#include "gateway/series.h"
#include "gateway/series_clocks.h"

#include <limits.h>
#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>

#define GW_SERIES_FORMAT 2
#define GW_SERIES_FORMAT_PLAIN 1 // without roll-ups
#define GW_SERIES_READERS_SPARE 16

// ---- Keys ----

// Where a reading stands within its series.
struct gw_place {
	int64_t time_us;
	uint32_t sequence;
	uint16_t revision;
};

static inline struct gw_place
gw_place_of(const struct gw_point *point)
{
	return (struct gw_place){ point->reading.time_us, point->reading.sequence, point->reading.revision };
}

static inline int
gw_place_compare(struct gw_place a, struct gw_place b)
{
	if (a.time_us != b.time_us)
		return a.time_us < b.time_us ? -1 : 1;
	if (a.sequence != b.sequence)
		return a.sequence < b.sequence ? -1 : 1;
	return (a.revision > b.revision) - (a.revision < b.revision);
}

// Key of a chunk: series u32, then its first reading's time (sign flipped) u64, sequence u32, revision u16: big-endian.
#define GW_CHUNK_KEY 18
void gw_chunk_key(uint32_t id, struct gw_place first, uint8_t key[GW_CHUNK_KEY]);
struct gw_place gw_chunk_key_place(const uint8_t key[GW_CHUNK_KEY]);
uint32_t gw_chunk_key_id(const uint8_t key[GW_CHUNK_KEY]);

// What stands before a chunk's bytes in its value. Little-endian; schemas/series-format.md.
enum {
	FILED_CRC = 0,      // u32 CRC-32C of the key and of all of this after it
	FILED_US = 4,       // i64 the store's clock when something was last put in
	FILED_LAST_US = 12, // i64 device time of its last reading
	FILED_LAST_SEQUENCE = 20, // u32
	FILED_LAST_REVISION = 24, // u16
	FILED_COUNT = 26,   // u16
	FILED_HEAD = 28,
};
struct gw_filed {
	int64_t filed_us;
	struct gw_place first, last;
	uint32_t id, count;
	struct gw_span chunk;
};
void gw_filed_put(const struct gw_filed *filed, const uint8_t key[GW_CHUNK_KEY], uint8_t head[FILED_HEAD]);
// False where it is damaged.
bool gw_filed_get(MDB_val key, MDB_val value, struct gw_filed *filed);

// ---- Memory of many small things: gateway/series_tail.c ----

struct gw_arena_block;
struct gw_arena {
	struct gw_arena_block *blocks;
};
void *gw_arena_get(struct gw_arena *arena, size_t len);
void gw_arena_reset(struct gw_arena *arena); // keeps a block
void gw_arena_free(struct gw_arena *arena);

// Points in order or not, with the memory that they point into.
struct gw_points {
	struct gw_point *at;
	size_t count, cap;
	struct gw_arena arena;
};
enum gw_error gw_points_reserve(struct gw_points *points, size_t count);
void gw_points_free(struct gw_points *points);
// In order of place; of equal ones the one that came first stays first.
enum gw_error gw_points_sort(struct gw_points *points);

// ---- Tails: gateway/series_tail.c ----

// What the next reading is told against.
struct gw_tail_state {
	int64_t time_us, step_us, lag_us, mantissa, period_ns;
	uint32_t unit, code, origin_at, unit_at; // *_at: 1 + offset of its bytes; 0: none yet
	int16_t exponent;
	uint16_t flags;
	uint8_t kind, type, unit_len;
};

struct gw_tail {
	uint8_t *bytes;
	uint32_t len, cap, count;
	struct gw_tail_state state;
	int64_t least_us, most_us;               // device times
	uint64_t first_position;                 // of the record of its oldest reading
	uint64_t *marks;                         // that position for every GW_TAIL_MARK readings
	int64_t since_us;                        // monotonic: when its oldest reading was taken
	int64_t received_us;                     // and when the hub had it
	struct gw_place newest;                  // where the last one stands
	bool shuffled;                           // not each later than the one before
};
#define GW_TAIL_MARK 64
// Appends. canonical: received is what the value renders to. GW_E_MEMORY: as before.
enum gw_error gw_tail_add(struct gw_tail *tail, const struct gw_point *point, bool canonical, uint64_t position);
// Adds all of them to points, in the order in which they came. Spans point into tail->bytes and the points' arena.
enum gw_error gw_tail_points(const struct gw_tail *tail, uint32_t signal, uint16_t instance, struct gw_points *points);
void gw_tail_free(struct gw_tail *tail);

// ---- The store ----

struct gw_series_device {
	uint64_t hash;
	struct gw_series *series; // the first of its list
	bool shuffled; // that is not in order of signal and instance
	struct gw_series_device *next; // of equal slot
	struct gw_clock_history *clock; // NULL: no reading with a device time came
	bool clock_leaves; // with the transaction under way
	uint8_t len;
	char name[GW_ID_MAX + 1];
};

struct gw_series {
	uint32_t id, signal; // what is looked at on the way to others comes first
	uint16_t instance;
	bool waveform;
	struct gw_series_device *device;
	struct gw_series *next; // of the device
	bool stored;         // has a row
	bool looked;         // `disk` holds what the store has
	bool queued;         // in the list of full tails
	bool flushing;       // its tail is being written by the transaction under way
	bool disk_known;
	struct gw_tail tail;
	uint32_t due;        // readings that about fill a chunk
	float bytes_each;    // of a reading in the last chunk; 0: not known
	uint32_t rolled;     // readings read for roll-ups beyond what its own were worth: gateway/series_rollup.c
	uint64_t upto;       // what came up to this position is in chunks
	struct gw_place disk; // last in chunks
};

// The newest reading of a series: gateway/series_newest.c.
enum gw_latest_state { GW_LATEST_NONE, GW_LATEST_UNKNOWN, GW_LATEST_KNOWN };
struct gw_latest_origin;
struct gw_latest {
	int64_t moment_us, time_us, received_us;
	int64_t number;      // mantissa, code or period
	struct gw_latest_origin *origin;
	uint8_t *words;      // len bytes, where they are more than brief holds
	uint32_t cap, len, said_len, sequence, unit;
	uint32_t changes;    // counts what may make another reading the newest
	int16_t exponent;
	uint16_t revision, flags;
	uint8_t kind, type, unit_len, state; // enum gw_latest_state
	bool canonical;      // received is what the value renders to
	uint8_t brief[13];
};

// A tail that is being written, and what stays of it.
struct gw_flushed {
	struct gw_series *series;
	struct gw_tail rest;
};

enum gw_series_table { GW_S_META, GW_S_SERIES, GW_S_CHUNKS, GW_S_CLOCKS, GW_S_ROLLUPS, GW_S_COUNT };
#define GW_SERIES_NO_TABLE UINT_MAX // a store of before, opened for reading

// Device times whose readings were put or taken out.
struct gw_touched {
	int64_t first_us, last_us;
};

struct gw_series_totals {
	uint64_t chunks, readings, bytes;
};

struct gw_series_store {
	struct gw_series_options options;
	char *dir;
	MDB_env *env;
	MDB_dbi tables[GW_S_COUNT];
	uint64_t page_size;

	pthread_mutex_t write, lock, pool_lock;
	MDB_txn *spare[GW_SERIES_READERS_SPARE];
	size_t spare_count;

	// Series by id - 1, and by hash; devices by hash. Guarded by `lock`.
	struct gw_series **series;
	struct gw_latest *newest;
	size_t series_count, series_cap;
	struct gw_series_device **sorted; // by name, as many as there were
	size_t sorted_count;
	struct gw_series **by_key;
	struct gw_series_device **by_device;
	size_t key_mask, device_mask, device_count;
	uint32_t ids;         // last id given to a row

	// The writer's.
	MDB_txn *txn;
	enum gw_error error;
	bool writing_failed;
	uint64_t replaced;    // readings of damaged chunks that others took the place of
	int64_t filing_us;    // what is put now was filed then; 0: now
	bool marked;          // see OPEN_MARK
	struct gw_series **full; // series whose tails fill a chunk
	size_t full_cap;
	_Atomic size_t full_count; // gw_series_full_tails() looks at these two without a lock
	struct gw_points points, old, merged;
	struct gw_chunk_reader *reader;
	struct gw_chunk_encoder *encoder;
	uint8_t *copy;           // of a chunk: LMDB lends its own only until the next change
	size_t copy_cap;
	size_t put_bytes;
	_Atomic bool crowded;    // a tail is much longer than a chunk
	struct gw_flushed *flushed;
	size_t flushed_count, flushed_cap;
	int64_t stream_us;       // when the hub had the last record that was taken
	int64_t cursor_us;       // monotonic: when the cursor was last committed
	struct gw_series_totals totals, totals_before;
	uint64_t incarnation;
	// Roll-ups: gateway/series_rollup.h
	struct gw_rollup_writer *rollup;
	struct gw_touched *touched;  // of the series under way
	size_t touched_count, touched_cap;
	bool touched_failed;         // anything
	bool has_rollups;            // a table of them
	size_t rebuild_at;           // series
	int64_t rebuild_us;
	_Atomic bool rolled_up;      // whatever is in chunks
	// Retention
	size_t sweep_at;         // series
	double sweep_worst, sweep_limit;
	int64_t sweep_oldest_us;
	int64_t sweep_worst_us;  // age of the chunk that sweep_worst tells of
	int64_t sweep_ended_us;  // by the store's clock
	int64_t clocks_keep_us;  // histories of clocks: as long as any reading is kept; 0: for ever
	// The store's clock
	int64_t clock_us, clock_mono_us;
	// Room
	uint64_t limit_pages, pressure_pages, free_pages;
	int64_t counted_us, looked_us;
	uint64_t allocated;      // bytes of the file that are known to have blocks
	bool disk_short, starved, fallocate_missing; // starved: the disk had no blocks for it

	_Atomic uint64_t cursor, taken;
	_Atomic uint64_t tail_bytes, tail_readings;
	_Atomic uint64_t duplicates, renumbered, merged_chunks, deleted, refused, damaged;
	_Atomic uint64_t total_chunks, total_readings, total_bytes, total_series, commits, commit_us_max;
	_Atomic uint64_t file_bytes, free_bytes;
	_Atomic int64_t clock_now_us, oldest_us;
	_Atomic bool full_now, broken;
};

static inline MDB_val
gw_series_val(const void *at, size_t len)
{
	return (MDB_val){ len, (void *)(uintptr_t)at };
}

// ---- gateway/series_store.c ----
enum gw_error gw_series_error(int rc);
enum gw_error gw_series_reader(struct gw_series_store *store, MDB_txn **txn);
void gw_series_reader_end(struct gw_series_store *store, MDB_txn *txn);
enum gw_error gw_series_meta_put(struct gw_series_store *store, MDB_txn *txn, const char *name, uint64_t value);
enum gw_error gw_series_row_put(struct gw_series_store *store, MDB_txn *txn, const struct gw_series *series);
// Puts a row into the table in memory. A damaged one is logged and counted, and GW_OK; GW_E_CORRUPT: its id cannot be.
enum gw_error gw_series_row_load(struct gw_series_store *store, MDB_val key, MDB_val data);
// A store without a file: series and tails, nothing else. NULL: out of memory.
struct gw_series_store *gw_series_memory(void);

// ---- gateway/series_table.c: with `lock` held ----
struct gw_series_device *gw_series_device(const struct gw_series_store *store, struct gw_span name);
struct gw_series *gw_series_lookup(const struct gw_series_store *store, const struct gw_series_device *device, uint32_t signal, uint16_t instance);
// Makes what is not there. NULL: out of memory. id 0: the next.
struct gw_series_device *gw_series_device_make(struct gw_series_store *store, struct gw_span name);
struct gw_series *gw_series_make(struct gw_series_store *store, struct gw_series_device *device, uint32_t signal, uint16_t instance, uint32_t id);
// An id that is taken, by whomever. False: out of memory.
bool gw_series_reserve(struct gw_series_store *store, uint32_t id);
void gw_series_table_free(struct gw_series_store *store);
// All devices in order of their names; the caller frees it. NULL: out of memory.
struct gw_series_device **gw_series_devices_sorted(struct gw_series_store *store, size_t *count);
// The first of a device's series; they are in order then.
struct gw_series *gw_series_of_device(struct gw_series_device *device);

// ---- gateway/series_newest.c: with `lock` held ----
// A reading was taken. shared: NULL before a record's first. GW_E_MEMORY: it is looked for when it is asked for.
enum gw_error gw_latest_take(struct gw_series_store *store, const struct gw_series *series, const struct gw_point *point, bool canonical,
    const struct gw_clock_guess *guess, struct gw_latest_origin **shared);
// It has to be looked for.
void gw_latest_forget(struct gw_series_store *store, const struct gw_series *series);
// The same, where it is not in the tail.
void gw_latest_forget_old(struct gw_series_store *store, const struct gw_series *series);
// What was known of a device's clock before a frame, and what the frame made of that.
struct gw_latest_clock {
	int64_t offset_us;
	uint32_t changes;
	bool open, any, behind; // behind: the hub's own clock went back
};
struct gw_latest_clock gw_latest_clock(const struct gw_series_device *device);
void gw_latest_clock_taken(struct gw_series_store *store, const struct gw_series_device *device, const struct gw_latest_clock *before);
void gw_latest_fini(struct gw_latest *newest);

// ---- gateway/series_merge.c ----
// Both in order; out gets both in order, each once. *changed: out is not just `old`. Equal readings are dropped, different ones of equal place renumbered
// (counted, where store is not NULL).
enum gw_error gw_series_merge(struct gw_series_store *store, const struct gw_points *old, const struct gw_point *add, size_t add_count,
    struct gw_points *out, bool *changed);

// ---- gateway/series_write.c: with `write` held ----
enum gw_error gw_series_begin(struct gw_series_store *store);
// Commits with the cursor; or aborts what had an error, which it returns.
enum gw_error gw_series_commit(struct gw_series_store *store, uint64_t cursor);
void gw_series_abort(struct gw_series_store *store);
// Puts points in order into chunks. kept not NULL: as many at the end as do not fill one stay out, and *kept is their number.
enum gw_error gw_series_put(struct gw_series_store *store, struct gw_series *series, const struct gw_point *points, size_t count, size_t *kept);
// The same in even shares, where one chunk cannot hold them: what comes later finds room in each.
enum gw_error gw_series_put_shares(struct gw_series_store *store, struct gw_series *series, const struct gw_point *points, size_t count);
// Deletes the chunk at which the cursor stands.
enum gw_error gw_series_delete(struct gw_series_store *store, MDB_cursor *cursor, const struct gw_filed *filed);
// Copies a chunk of LMDB's and decodes it to points. GW_E_CORRUPT.
enum gw_error gw_series_load(struct gw_series_store *store, const struct gw_series *series, struct gw_span chunk, struct gw_points *points);
// The newest reading in chunks, as it stands in txn.
enum gw_error gw_series_look(struct gw_series_store *store, MDB_txn *txn, struct gw_series *series);
// A damaged chunk was met: counted, logged.
void gw_series_damaged(struct gw_series_store *store, const struct gw_series *series, struct gw_place first, const char *words);
// Bytes that fill the pages of one chunk.
#define GW_CHUNK_PAGES_LARGE 4
static inline uint32_t
gw_series_fit(unsigned pages)
{
	return pages * 4096 - 16 - FILED_HEAD;
}

// ---- gateway/series_flush.c: with `write` held ----
// Puts a whole tail into chunks (all), or as much as fills some.
enum gw_error gw_series_flush_one(struct gw_series_store *store, struct gw_series *series, bool all);
// Merges points in order into the chunks where they belong.
enum gw_error gw_series_put_late(struct gw_series_store *store, struct gw_series *series, const struct gw_point *points, size_t count);
// Ends the transaction with the cursor that it allows; the tails are then what is left of them.
enum gw_error gw_series_flush_end(struct gw_series_store *store, enum gw_error error);

// ---- gateway/series_clock_rows.c ----
// At the open: what is damaged is logged, and begins anew.
enum gw_error gw_series_clocks_load(struct gw_series_store *store, MDB_txn *txn);
// With `write` and `lock` held: a record's newest device time, once for each record, in order. GW_E_MEMORY.
enum gw_error gw_series_clock_take(struct gw_series_device *device, const struct gw_record *record, int64_t newest_us);
// With `write` held: into the transaction go the histories that a cursor there needs; what a commit made of it.
enum gw_error gw_series_clocks_put(struct gw_series_store *store, uint64_t cursor);
void gw_series_clocks_saved(struct gw_series_store *store, uint64_t cursor);
// The transaction came to nothing: what it would have taken away stays.
void gw_series_clocks_stay(struct gw_series_store *store);
// Another journal is followed.
void gw_series_clocks_again(struct gw_series_store *store);
// A device's chunks were deleted: where none is left, nothing is kept of its clock.
enum gw_error gw_series_clock_left(struct gw_series_store *store, struct gw_series_device *device);
// The row of a device as it is stored.
enum gw_error gw_series_clock_row(MDB_val key, MDB_val value, struct gw_clock_history *history, uint64_t *incarnation);

// ---- gateway/series_retain.c: with `write` held ----
// What is kept in memory of chunks and of the newest reading is looked up again.
void gw_series_forget(struct gw_series_store *store, struct gw_series *series);

// ---- gateway/series_room.c ----
enum gw_error gw_series_room_open(struct gw_series_store *store, struct gw_why *why);
// Whether so many bytes more may be put: GW_OK or GW_E_FULL.
enum gw_error gw_series_room(struct gw_series_store *store, size_t bytes);
bool gw_series_pressure(struct gw_series_store *store);
// Moves the store's clock, and gives it.
int64_t gw_series_tick(struct gw_series_store *store);

// ---- gateway/series_verify.c ----
// gw_series_verify(), and every sound chunk's readings for points_fn (may be NULL; false: stop).
typedef bool gw_series_points_fn(void *arg, const struct gw_series *series, const struct gw_points *points);
enum gw_error gw_series_walk(struct gw_series_store *store, gw_series_damage_fn *fn, void *arg, gw_series_points_fn *points_fn, void *points_arg,
    struct gw_series_verified *verified);

// ---- gateway/series_read.c ----
enum gw_error gw_series_decode(struct gw_chunk_reader *reader, const struct gw_series *series, struct gw_span chunk, struct gw_points *points);
// Where the next reading that was in no chunk when the cursor was opened lies, from from_us on; INT64_MAX: nowhere.
int64_t gw_series_cursor_late(const struct gw_series_cursor *cursor, int64_t from_us);
// The next readings are those of this part of what it was opened for. Blocks may then be chunks that reach beyond it.
void gw_series_cursor_turn(struct gw_series_cursor *cursor, int64_t from_us, int64_t to_us);
// The chunk that was given last cannot be decoded: it is told and counted, and the next block is what follows it.
void gw_series_cursor_damaged(struct gw_series_cursor *cursor, enum gw_error error);
// The place of the last reading of what was given (all before it was, too). False: nothing was since it turned.
bool gw_series_cursor_given(const struct gw_series_cursor *cursor, struct gw_place *place);
// Of what it turned to, only what lies behind a place.
void gw_series_cursor_pass(struct gw_series_cursor *cursor, struct gw_place place);
// To the chunk that begins at or before place, or where there is none to the series' first. MDB_NOTFOUND: it has none.
int gw_series_seek(MDB_cursor *cursor, uint32_t id, struct gw_place place, MDB_val *key, MDB_val *value);

#endif
