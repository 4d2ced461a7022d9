// SPDX-License-Identifier: Apache-2.0
// Whole copies of a journal: making one while the journal is written, opening one, giving one a new incarnation, checking one. Any thread, but for
// gw_journal_begin_anew() and gw_journal_go_on(): the writer's.
#ifndef GW_JOURNAL_COPY_H
#define GW_JOURNAL_COPY_H

#include "gateway/journal.h"

// Writes a compact copy of the newest state (LMDB's data file: pages in use only) to fd, as fast as fd takes it. For as long as that takes pages
// that the writer frees cannot be used again: the file grows meanwhile by about what is written to it. See gw_journal_copy_strains().
// GW_E_CLOSED where the far end of fd was closed; GW_E_CORRUPT where the tree does not add up.
enum gw_error gw_journal_copy(struct gw_journal *journal, int fd);
// About how long that copy will be.
uint64_t gw_journal_copy_bytes(struct gw_journal *journal);
// How far the data file is used now; later: whether it grew from there so much that a copy has to give way to intake (an eighth of the budget; a
// quarter of the reserve where the store refuses new data).
uint64_t gw_journal_extent(struct gw_journal *journal);
bool gw_journal_copy_strains(struct gw_journal *journal, uint64_t extent_before);

// While held, nothing is trimmed: so that a copy of what follows the journal, made before the journal's own, meets no gap. Counted.
void gw_journal_hold(struct gw_journal *journal);
void gw_journal_release(struct gw_journal *journal);

// Opens a copy (one file) to read and to check, not to write; no lock is taken and nothing is made. gw_journal_close() as usual.
enum gw_error gw_journal_open_copy(const char *path, struct gw_journal **journal, struct gw_why *why);

// The value of a row as it lies in the table "rows" of a file that is read without LMDB; where its checksum does not match, all of it, which whoever reads it finds out.
struct gw_span gw_journal_row_value(struct gw_span key, struct gw_span stored);

// A journal that goes on from a copy: a new incarnation, so that no identifier is given twice, in one commit with the ticket's operations.
enum gw_error gw_journal_begin_anew(struct gw_journal *journal, struct gw_ticket *ticket);

// A journal goes on at a later position, in one commit with the ticket's operations: none that may have been given before is given again.
enum gw_error gw_journal_go_on(struct gw_journal *journal, struct gw_ticket *ticket, uint64_t position);

// What a check has seen. Counts of damage; the first places are given one by one.
struct gw_verified {
	uint64_t blocks, records, readings, index_entries, rows, quarantined;
	uint64_t bytes, bytes_total; // of blocks; about how many in all
	uint64_t first, last;
	uint64_t damaged;            // places that were given to `damage`
};
struct gw_verify {
	// One damaged place, in words: "record 17: ...". Borrowed for the call.
	void (*damage)(void *arg, const char *what);
	// Every now and then; false: end with GW_E_STOPPING. May be NULL.
	bool (*progress)(void *arg, const struct gw_verified *seen);
	// Whether the file's own pages are looked at first, without LMDB (gateway/pages.h): where they are damaged nothing else is. GW_E_CORRUPT then.
	bool pages;
	// Whether a small row can be read; words where not. May be NULL.
	bool (*row)(void *arg, struct gw_span key, struct gw_span value, struct gw_why *why);
	void *arg;
};
// Every record's length, CRC and readings; that positions follow each other; that the index leads to every record's first reading and to nothing
// that was never there; rows; quarantine. Short transactions: works while the journal is written, and trimmed.
enum gw_error gw_journal_verify(struct gw_journal *journal, const struct gw_verify *verify, struct gw_verified *seen);

#endif
