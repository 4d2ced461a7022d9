// SPDX-License-Identifier: Apache-2.0
// Following the journal: what every outlet has in common. An outlet is a thread that steps through records from its own durable cursor at its own
// pace. Moving a cursor is a ticket that rides on a commit, a second later at most; a crash gives the same records again.
#ifndef GW_FOLLOW_H
#define GW_FOLLOW_H

#include "gateway/intake.h"
#include "gateway/journal.h"

struct gw_follow;

struct gw_follow_options {
	struct gw_journal *journal;
	struct gw_intake *intake;
	const char *name;          // "bus", "hl7/pdms": the cursor's row is outlet/<name>/cursor
	const char *gap_name;      // the outlet whose gaps it records, where that is not its own name (a further cursor, "<name>~<what>"); NULL: name
	int64_t backlog_us_max;    // older undelivered records are left out with a recorded gap (design, promise 3); 0: no limit
	uint64_t backlog_bytes_max; // bytes of the store that undelivered records may take (estimated from their number); 0: no limit
	int64_t passed_keep_us;    // when what was passed: rows of gateway/ledger.h, at most one a second, kept so long (gw_ledger_keep_us); 0: none. Gaps have
	                           // rows in any case, as long as their records are there
};

// Loads the cursor, or makes it: a new outlet begins at the journal's end (its cursor is durable before this returns).
enum gw_error gw_follow_open(const struct gw_follow_options *options, struct gw_follow **follow, struct gw_why *why);
void gw_follow_close(struct gw_follow *follow);

// The next record, or false after timeout_ms without one, or after gw_follow_stop(). Valid until the next call. Own thread only.
bool gw_follow_next(struct gw_follow *follow, int timeout_ms, struct gw_record *record);
// Everything up to position is taken by the far side (or lies in the outlet's own durable table). Committed within a second, by the thread that calls next.
void gw_follow_done(struct gw_follow *follow, uint64_t position);
// Puts the move of the cursor to position into a ticket of the caller's, so that it is atomic with its other operations.
// The ticket must be submitted: from this call on the cursor counts as moved, also backwards.
enum gw_error gw_follow_move(struct gw_follow *follow, struct gw_ticket *ticket, uint64_t position);
// Goes on reading after position (not durable by itself): after a reconnect, or a rewind. Own thread only.
void gw_follow_seek(struct gw_follow *follow, uint64_t position);
// Commits a cursor's move that is due. For an outlet that does not call next for a while. Own thread only.
void gw_follow_tend(struct gw_follow *follow);
// Records beyond the limit of age or bytes that were not yet given by next: leaves them out, records the gap (durable when this returns) and
// gives the last position left out, up to which the outlet may move its cursor; 0 where there is none. To be called while the far side is away.
uint64_t gw_follow_limit(struct gw_follow *follow);

void gw_follow_stop(struct gw_follow *follow); // any thread
uint64_t gw_follow_cursor(const struct gw_follow *follow); // any thread
uint64_t gw_follow_lag(const struct gw_follow *follow, int64_t *lag_us_max); // records behind, and the age of the oldest of them

// Outlets that have a cursor and do not run (taken out of the configuration) would keep the journal from being trimmed for ever. To be called at start
// and every hour or so (a running outlet's further cursors, "<name>~<what>", are its own affair): moves the cursors of those that are not among `running` up to records younger than backlog_us_max and records the gap.
// Waits for its commit.
enum gw_error gw_follow_absent(struct gw_journal *journal, struct gw_intake *intake, const char *const *running, size_t count, int64_t backlog_us_max);

#endif
