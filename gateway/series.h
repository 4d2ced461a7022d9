// SPDX-License-Identifier: Apache-2.0
// The time-series store: readings by series (device, instance, signal), compressed in chunks, in an LMDB environment of its own. It follows the
// journal; what is older than the journal is here alone. LMDB stays in series_*.c; nothing that it lends leaves them.
//
// What has come and is not yet in a chunk lies in memory, in its series' tail, and in the journal: the durable cursor, committed with the chunks, stays
// below the oldest reading that is in no chunk. After a restart the tails are made again from there. Readers see chunks and tails as one.
//
// One thread takes records (gw_series_take, gw_series_flush, gw_series_retain); erasing may come from another. Readers are any number of any threads.
// Reading never holds a transaction while the caller works, so that a reader that sleeps keeps no page.
#ifndef GW_SERIES_H
#define GW_SERIES_H

#include "gateway/record.h"
#include "gateway/series_chunk.h"
#include "gateway/series_clocks.h"

struct gw_series_store;

struct gw_series_options {
	const char *dir;             // made if missing, mode 0700; holds data.mdb and lock.mdb
	uint64_t budget_bytes;       // LMDB's map: fixed for this run, sparse; a sixteenth of it is kept for retention
	uint64_t disk_reserve_bytes; // below this the file does not grow
	int64_t hold_us;             // a reading is in a chunk after this time at the latest; 0: two days
	uint64_t tail_bytes_max;     // all tails; beyond, all are written; 0: 256 MB
	bool read_only;              // for commands where no gateway runs: takes and reads, never writes
	bool check;                  // looks at all pages first, as is done anyway where the store was not closed in order (gateway/pages.h)
};

// Opens or creates. GW_E_NOT_FOUND where it is read-only and there is none; GW_E_VERSION for a newer format; GW_E_CORRUPT where it cannot be trusted.
enum gw_error gw_series_open(const struct gw_series_options *options, struct gw_series_store **store, struct gw_why *why);
// NULL does nothing. All cursors must be closed. What is in tails only is not written: the journal has it.
void gw_series_close(struct gw_series_store *store);

// ---- The writer's side ----

// Which journal is followed. Where it is another than before (a restored backup), positions begin anew; what is here stays, and what comes again
// from the new journal changes nothing. To be called before the first take.
enum gw_error gw_series_follow(struct gw_series_store *store, uint64_t incarnation);
// All records up to here are in chunks, durably. The journal may be trimmed up to here; after a restart, take begins behind it.
uint64_t gw_series_cursor(const struct gw_series_store *store);

// The readings of a record go to their series' tails; what is not a record of readings is passed. Positions rise. GW_E_MEMORY: nothing of it was taken, or
// a part that a second take completes (the same reading again changes nothing).
enum gw_error gw_series_take(struct gw_series_store *store, const struct gw_record *record);

// Writes what is due: tails that fill a chunk, and those that hold a reading for hold_us (at most `hold_us` here; negative: the option's). One
// transaction, of a bounded size; *more tells whether something due is left.
// GW_E_FULL: budget or disk; nothing is lost, retention has to make room. GW_E_SYNC: nothing is written any more by this process.
enum gw_error gw_series_flush(struct gw_series_store *store, int64_t hold_us, bool *more);
// Whether a flush would find a tail that fills a chunk, and enough of them for a transaction of their own. Cheap.
bool gw_series_full_tails(const struct gw_series_store *store);

// It can only be closed: a write or a sync failed, or damage was met in what LMDB follows.
bool gw_series_broken(const struct gw_series_store *store);

// How long readings are kept, by class. 0: for ever, within the budget.
struct gw_series_retention {
	int64_t numerics_us, waveforms_us;
};
// Deletes chunks that are older, at most a bounded piece a call; *more tells whether this sweep has more to look at. Under pressure (7/8 of the budget, or a
// file that cannot grow) all ages are shortened by the same part, as far as needed.
//
// Age is not by the wall clock: a chunk's is the time since something was last put into it by the store's own clock, which follows the wall clock forward
// but never faster than the monotonic clock by more than a sixteenth, and never runs backward. A hub whose clock jumps by a year deletes nothing sooner.
// It stands still while the gateway does not run, and catches up by that sixteenth: readings are kept somewhat longer then.
enum gw_error gw_series_retain(struct gw_series_store *store, const struct gw_series_retention *retention, bool *more);

// Roll-ups (by the minute, the quarter of an hour and the hour) are kept with the chunks by whatever changes these. This makes those of a store that was written without
// any; anew: all of them from the chunks. A bounded piece a call; *more tells whether something is left. Until they are made, steps are summed up from readings.
enum gw_error gw_series_rollup(struct gw_series_store *store, bool anew, bool *more);
bool gw_series_rolled_up(const struct gw_series_store *store);

// Erases all readings of a device with from_us <= device time < to_us, in tails and chunks, durably when this returns; on an error perhaps some of
// them: to be called again. What the journal gives later is taken: whoever erases waits until gw_series_taken() is past what is to go. *erased counts
// readings. Pages that held them are free for use and overwritten as they are used again. Any thread.
enum gw_error gw_series_erase(struct gw_series_store *store, struct gw_span device, int64_t from_us, int64_t to_us, uint64_t *erased);
// The same of those readings of the device for which fn says so; it is asked once or more for each, under the store's locks: it must not use the store. Readings in a
// damaged chunk cannot be asked about: such a chunk stays, and is counted in *damaged (may be NULL). dry: they are counted, and stay.
struct gw_series_info;
typedef bool gw_series_erase_fn(void *arg, const struct gw_series_info *series, const struct gw_point *point);
enum gw_error gw_series_erase_where(struct gw_series_store *store, struct gw_span device, gw_series_erase_fn *fn, void *arg, bool dry, uint64_t *erased,
    uint64_t *damaged);

// ---- The readers' side: any thread ----

// Last position taken.
uint64_t gw_series_taken(const struct gw_series_store *store);

struct gw_series_info {
	uint32_t id;       // of this store, never reused
	uint32_t signal;
	uint16_t instance;
	bool waveform;     // its readings are blocks of samples
	char device[GW_ID_MAX + 1];
};
bool gw_series_find(struct gw_series_store *store, struct gw_span device, uint32_t signal, uint16_t instance, struct gw_series_info *info);
// Calls back for every series of a device (empty: of all devices, in order of id). No lock is held while fn runs. fn returns false to stop.
typedef bool gw_series_fn(void *arg, const struct gw_series_info *info);
enum gw_error gw_series_each(struct gw_series_store *store, struct gw_span device, gw_series_fn *fn, void *arg);

// A reading with the storage that its spans point into; zeroed at first, used again for the next, and freed by gw_series_value_free().
struct gw_series_value {
	struct gw_point point;
	int64_t taken_us;
	uint8_t *buf;
	size_t cap;
};
// The newest reading of a series: which was taken last (its last revision), as far as can be told (gw_clock_moment() in gateway/series_clocks.h), and not which has the
// latest device time. taken_us: when that was, by the hub's clock. GW_E_NOT_FOUND where it has none.
enum gw_error gw_series_last(struct gw_series_store *store, uint32_t id, struct gw_series_value *value);
void gw_series_value_free(struct gw_series_value *value);
// The same of all series of devices (NULL: of all devices, in order of their names), each device's in order of signal and instance. No lock is held while fn runs; info and point
// are fn's until it returns. False: no more.
typedef bool gw_series_newest_fn(void *arg, const struct gw_series_info *series, const struct gw_point *point, int64_t taken_us);
enum gw_error gw_series_newest(struct gw_series_store *store, const char (*devices)[GW_ID_MAX + 1], size_t count, gw_series_newest_fn *fn, void *arg);

// What is known of a device's clock: gw_clock_pieces_offset() says of a receive time what the offset was. False: nothing.
bool gw_series_clock(struct gw_series_store *store, struct gw_span device, struct gw_clock_pieces *pieces);

// Readings of a series with from_us <= device time < to_us, in order of time, sequence, revision; each once, as of when its part is read.
struct gw_series_cursor;
enum gw_error gw_series_read(struct gw_series_store *store, uint32_t id, int64_t from_us, int64_t to_us, struct gw_series_cursor **cursor);
// A piece of them: a whole chunk's bytes, all of it within the range (for those who decode by column), or points in order. Valid until the next call.
struct gw_series_block {
	struct gw_span chunk;  // empty: see points
	const struct gw_point *points;
	size_t count;          // of either
};
// GW_E_NOT_FOUND at the end. Damaged chunks are logged, counted and passed over.
enum gw_error gw_series_next_block(struct gw_series_cursor *cursor, struct gw_series_block *block);
// One after the other, whatever they lie in. Not to be mixed with blocks. Valid until the next call.
enum gw_error gw_series_next(struct gw_series_cursor *cursor, const struct gw_point **point);
void gw_series_end(struct gw_series_cursor *cursor); // NULL does nothing

// Walks all chunks: every one decodes, its checksums match, it lies where it belongs; and all histories of clocks (info has no signal then). Calls back (may be
// NULL) with words for each that does not.
struct gw_series_verified {
	uint64_t chunks, readings, bytes, clocks, damaged; // damaged: chunks, clocks and roll-ups
	uint64_t rollups, rollup_bytes; // blocks of them
};
typedef void gw_series_damage_fn(void *arg, const struct gw_series_info *info, int64_t first_us, const char *words);
enum gw_error gw_series_verify(struct gw_series_store *store, gw_series_damage_fn *fn, void *arg, struct gw_series_verified *verified);

struct gw_series_stats {
	uint64_t series, devices;
	uint64_t chunks, readings, bytes;    // in chunks; bytes of them
	uint64_t tail_readings, tail_bytes;
	uint64_t taken, cursor;              // positions
	uint64_t duplicates, renumbered, merged, deleted, refused, damaged; // since it was opened: readings, readings, chunks, chunks, readings, chunks
	uint64_t commits, commit_us_max;
	uint64_t budget_bytes, file_bytes, free_bytes; // file_bytes: of the file in use or free for use; free_bytes: of them free
	int64_t clock_us, oldest_us;         // the store's clock, and when the oldest chunk that the last sweep left was filed (0: none)
	bool full, broken;
};
void gw_series_stats(struct gw_series_store *store, struct gw_series_stats *stats);

#endif
