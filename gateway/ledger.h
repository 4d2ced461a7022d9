// SPDX-License-Identifier: Apache-2.0
// What became of journal positions at each outlet, and when: rows behind `vitalgate trace`. gateway/follow.c writes them in tickets that it submits anyway;
// any thread reads. Rows (<p>: 16 hexadecimal digits of a journal position; numbers little-endian; every value begins with the hub's wall clock):
//
//   outlet/<name>/passed/<p>   i64 time: everything up to p that was not passed before was by then. At most one a second
//   outlet/<name>/gap/<p>      i64 time, u64 first position, u8 reason: these up to p were left out
//   outlet/<name>/refused/<p>..., outlet/<name>/left/<p>   as the outlet says (adapters/mqtt/bus.h)
//
// Rows are deleted a few at a time when they are old, or when the records that they are about have been trimmed.
#ifndef GW_LEDGER_H
#define GW_LEDGER_H

#include "gateway/config.h"
#include "gateway/intake.h"
#include "gateway/journal.h"

// Why positions were left out. On disk.
enum gw_gap_reason {
	GW_GAP_AGE = 1, // older than the outlet's limit
	GW_GAP_BYTES,   // more than the outlet's limit
	GW_GAP_DAMAGED, // the record could not be read
	GW_GAP_ABSENT,  // the outlet did not run, and they were older than its limit
	GW_GAP_BEFORE,  // the outlet began after them
};
const char *gw_gap_words(enum gw_gap_reason reason); // "older than the outlet's limit"

// How long to keep: store.ledger_h; less where that could take more than a hundredth of the store's budget (rows of one outlet, one a second).
int64_t gw_ledger_keep_us(const struct gw_config *config);

// ---- Operations for a ticket: name is the outlet's, "bus" or "hl7/pdms" ----

enum gw_error gw_ledger_passed(struct gw_ticket *ticket, const char *name, uint64_t position, int64_t now_us);
// Left out from `from` to `to`. A gap that ends right before is made one with it.
enum gw_error gw_ledger_gap(struct gw_journal *journal, struct gw_ticket *ticket, const char *name, uint64_t from, uint64_t to, enum gw_gap_reason reason,
    int64_t now_us);
// Deletes of each table at most `limit` rows whose time is before before_us (or a day and more after now_us: a clock that stood wrong), or whose
// records are trimmed. Looks at the first rows only: they are in the order of positions.
enum gw_error gw_ledger_sweep(struct gw_journal *journal, struct gw_ticket *ticket, const char *name, int64_t before_us, int64_t now_us, size_t limit);

// ---- Reading ----

enum gw_ledger_state {
	GW_LEDGER_WAITING,  // not passed yet
	GW_LEDGER_PASSED,   // at_us: by when
	GW_LEDGER_LEFT_OUT, // at_us: when that was recorded; reason
	GW_LEDGER_UNKNOWN,  // passed or left out before what the ledger still knows
};
struct gw_ledger_entry {
	enum gw_ledger_state state;
	int64_t at_us;
	enum gw_gap_reason reason;
	uint64_t cursor;
};
// GW_E_NOT_FOUND: there is no such outlet.
enum gw_error gw_ledger_find(struct gw_journal *journal, const char *name, uint64_t position, struct gw_ledger_entry *entry);

// When something was left out last, of what is still there; 0: never. What was there before the outlet began does not count.
enum gw_error gw_ledger_last_gap(struct gw_journal *journal, const char *name, int64_t *at_us);

// Every outlet that has a cursor, by name, with the cursor's value as it is stored. Does not walk the outlets' other rows, of which there may be millions.
typedef bool gw_outlet_fn(void *arg, const char *name, struct gw_span cursor);
enum gw_error gw_outlets_each(struct gw_journal *journal, gw_outlet_fn *fn, void *arg);

#endif
