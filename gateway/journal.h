// SPDX-License-Identifier: Apache-2.0
// The journal: the durable append-only log in LMDB, the source of truth for intake and outlets, with the small tables that must be
// atomic with it. LMDB stays in journal*.c; nothing that it lends leaves them.
//
// Promises: gw_journal_commit() returning GW_OK means that everything applied since gw_journal_begin() is on stable storage
// (page data by fdatasync, the meta page through an O_DSYNC descriptor; no NOSYNC, NOMETASYNC or WRITEMAP). Anything else but
// GW_E_FULL must end the process: after a failed sync the kernel may have dropped the pages and would report a later sync as good.
//
// "Once": newest time per series in memory (hash of series -> newest time and position); a reading later than that is new without a
// look-up. Otherwise the time-first index (time, device hash, position) is searched and the record compared (the newest 64 records of
// one device and time at most, so that a clock that stands still cannot stop the writer). What has been trimmed is not known any more:
// a reading sent again after that and not later than its series' newest is stored again, under the same identifier. Newest times are
// written as a checkpoint every now and then and brought up to date from the journal's end when it is opened.
#ifndef GW_JOURNAL_H
#define GW_JOURNAL_H

#include "gateway/error.h"
#include "gateway/record.h"

#include <stdbool.h>
#include <stdint.h>

struct gw_journal;
struct gw_ticket;

struct gw_journal_options {
	const char *dir;          // made if missing, mode 0700; holds data.mdb and lock.mdb
	uint64_t budget_bytes;    // LMDB's map: fixed for this run, sparse
	uint64_t reserve_bytes;   // room kept for cursors and trimming: intake stops at budget - reserve; at least 1 MB below the budget
	uint64_t disk_reserve_bytes; // below this the file does not grow: intake goes on only within what has been trimmed
	int64_t retention_us;     // delivered records older than this are trimmed
	int64_t retention_full_us; // and under pressure (4/5 of the budget, or a file that cannot grow) those older than this
	uint64_t quarantine_bytes; // all frames in quarantine
	uint32_t quarantine_share_percent; // of that for one principal
	uint32_t series_max;      // distinct series; a new one beyond is refused with GW_E_QUOTA, as one beyond a device's share (see journal.c)
	uint32_t series_share_percent; // of that for one device, in one run; 0: 25
	int64_t audit_us;         // records of commands that are trimmed are kept as rows for so long since they were made; 0: they are not
	uint64_t audit_bytes;     // and as many of them at most
};

// Opens or creates. One process only: GW_E_BUSY names the one that has it open. GW_E_VERSION for a newer format.
enum gw_error gw_journal_open(const struct gw_journal_options *options, struct gw_journal **journal, struct gw_why *why);
// Writes the checkpoint and closes. NULL does nothing. All readers must be done.
void gw_journal_close(struct gw_journal *journal);

// Random 64-bit number made when the store was made (a restored backup gets a new one). Never 0.
uint64_t gw_journal_incarnation(const struct gw_journal *journal);

// ---- The writer's side: one thread (gateway/intake.c) ----

// One write transaction: begin, apply tickets, commit or abort. Errors are sticky until the next begin.
enum gw_error gw_journal_begin(struct gw_journal *journal);
// Applies one ticket's operations in order. Sets ticket->stored, ->duplicates, ->revisions. A ticket's own refusal (quota)
// is set as ticket->result and leaves no trace of that ticket; a returned error concerns the transaction. A quarantine that is full never costs
// readings: a partly understood frame's copy is then left out, counted, and ticket->quarantined cleared.
enum gw_error gw_journal_apply(struct gw_journal *journal, struct gw_ticket *ticket);
// GW_OK: durable. GW_E_FULL: nothing of it is stored, the journal is as before. GW_E_SYNC: end the process.
enum gw_error gw_journal_commit(struct gw_journal *journal);
void gw_journal_abort(struct gw_journal *journal);

// Whether new data may come in: GW_OK or GW_E_FULL. Cheap. Looks again at disk and map when asked after a while.
enum gw_error gw_journal_room(struct gw_journal *journal);

// Trims in its own transaction what is delivered (below the least cursor, see gw_journal_cursor) and old; at most a bounded
// piece a call; *more tells whether there is more to do.
enum gw_error gw_journal_trim(struct gw_journal *journal, int64_t now_us, bool *more);

// A row each: what who did, out of records that were trimmed; the position in 16 hexadecimal digits behind it, the record's bytes as value.
#define GW_AUDIT_PREFIX "audit/"

// ---- The readers' side: any thread; every call is one short read transaction and copies out ----

// Positions: the oldest record kept and the newest committed (both 0 where there is none).
uint64_t gw_journal_first(const struct gw_journal *journal);
uint64_t gw_journal_last(const struct gw_journal *journal);

// Copies whole records from position `from` on into buf as [u64 position][u32 length][record bytes]..., native endian.
// *used = bytes written; *next = the position to go on from. 0 bytes used and GW_OK: nothing there yet.
// GW_E_TOO_LARGE where not even one record fits in cap (cap >= GW_RECORD_MAX + 16 is always enough).
enum gw_error gw_journal_read(struct gw_journal *journal, uint64_t from, uint8_t *buf, size_t cap, size_t *used, uint64_t *next);
// Copies one record. GW_E_NOT_FOUND where it was trimmed, GW_E_CORRUPT where it is damaged, GW_E_TOO_LARGE. record->bytes point into buf.
enum gw_error gw_journal_one(struct gw_journal *journal, uint64_t position, uint8_t *buf, size_t cap, struct gw_record *record);
// Steps through such a buffer: false at its end. A damaged record is given with type 0 and logged by the caller.
bool gw_journal_step(struct gw_span *buf, struct gw_record *record);

// First position whose receive time is at or after us (receive times are taken as rising), or last + 1.
enum gw_error gw_journal_seek(struct gw_journal *journal, int64_t received_us, uint64_t *position);

// Position of the record with the newest reading of a series, 0 for none; *time_us its device time.
uint64_t gw_journal_newest(struct gw_journal *journal, uint64_t series, int64_t *time_us);

// Readings of one device with from_us <= device time < to_us, in order of device time, then of position: calls back for
// each record that may hold some (the caller filters); a record may be given once for each distinct time in it, with that time.
// No transaction is open while fn runs. fn returns false to stop.
typedef bool gw_journal_fn(void *arg, int64_t time_us, const struct gw_record *record);
enum gw_error gw_journal_range(struct gw_journal *journal, struct gw_span device, int64_t from_us, int64_t to_us,
    gw_journal_fn *fn, void *arg);

// The table of small durable rows: keys of 1..500 bytes, by prefix ("device/", "mqtt/session/", "outlet/bus/cursor",
// "outbox/..."); written by tickets only. Copies the value out: GW_E_NOT_FOUND,
// GW_E_TOO_LARGE (*len then tells the need), GW_E_CORRUPT where it does not match its checksum.
enum gw_error gw_journal_get(struct gw_journal *journal, struct gw_span key, void *buf, size_t cap, size_t *len);
// Calls back for every row whose key begins with prefix, in key order, from key `after` (exclusive; empty: from the start). No transaction is open
// while fn runs; rows that change meanwhile are seen or not. Damaged rows are left out, named in diagnostics and counted.
typedef bool gw_row_fn(void *arg, struct gw_span key, struct gw_span value);
enum gw_error gw_journal_each(struct gw_journal *journal, struct gw_span prefix, struct gw_span after, gw_row_fn *fn, void *arg);

// Quarantine: frames refused for their content, whole. Same rules as above; newest last.
struct gw_quarantined {
	uint64_t id;
	int64_t received_us;
	uint8_t door, auth;
	uint16_t error;          // enum gw_error's name is stored as text as well
	uint32_t content_format; // CoAP Content-Format, or 0xFFFFFFFF
	struct gw_span principal, route, reason, payload;
};
typedef bool gw_quarantine_fn(void *arg, const struct gw_quarantined *entry);
enum gw_error gw_quarantine_each(struct gw_journal *journal, uint64_t from_id, gw_quarantine_fn *fn, void *arg);

struct gw_journal_stats {
	uint64_t first, last, incarnation;
	uint64_t records, readings, duplicates, revisions; // since start
	uint64_t commits, commit_us_total, commit_us_max;  // of this run
	uint64_t budget_bytes, used_bytes, disk_free_bytes;
	uint64_t quarantine_count, quarantine_bytes, series;
	uint64_t quarantine_left_out; // copies of partly understood frames for which there was no room; their readings were taken
	uint64_t rows_damaged; // small rows that did not match their checksums, as often as they were met
	bool full;
	char full_why[96];
};
void gw_journal_stats(struct gw_journal *journal, struct gw_journal_stats *stats);

// Keeps trimming above the cursors: the rows "outlet/<name>/cursor" (u64 little-endian: the last position that needs no more).
#define GW_CURSOR_KEY_FMT "outlet/%s/cursor"
// The outlet's name where a row is a cursor; else an empty span. A name holds one '/' at most: what an outlet files under a device's id is no
// cursor, whatever the device is called.
struct gw_span gw_cursor_name(struct gw_span key);

#endif
