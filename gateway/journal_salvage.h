// SPDX-License-Identifier: Apache-2.0
// A new journal out of whatever can be read of a damaged one's file, without LMDB (gateway/pages.h): records by their checksums, also those that no tree leads
// to any more; rows, newest times and frames in quarantine by theirs. Nobody may have the file open. The caller's thread.
//
// Records keep their positions: the index of times tells those of blocks whose own entry is damaged, or what is missing between neighbours has exactly their
// number. Where neither is so they come behind all others, so that outlets take them again. No position is given twice.
#ifndef GW_JOURNAL_SALVAGE_H
#define GW_JOURNAL_SALVAGE_H

#include "gateway/journal.h"

#define GW_SALVAGE_GAPS 256
#define GW_SALVAGE_OUTLETS 80
#define GW_SALVAGE_ROW "salvage/" // and 16 hexadecimal digits of the last position that is missing: i64 time of the salvage, u64 the first

struct gw_salvage_options {
	void (*place)(void *arg, const char *words); // what is damaged or lost; may be NULL
	bool (*progress)(void *arg, const char *what, uint64_t done, uint64_t total); // false: end with GW_E_STOPPING; may be NULL
	void *arg;
	const char *const *outlets; // that the configuration has
	size_t outlet_count;
};

// Positions that are missing, and when records before and after them were received (0: there is none).
// open: nobody knows how many there were; positions go on beyond all that may have been given.
struct gw_salvage_gap { uint64_t first, last; int64_t after_us, before_us; bool open; };

struct gw_salvaged {
	uint64_t pages_damaged, records, rows, quarantined;
	uint64_t strays, moved;         // of the records: found where no tree led to them; and of those, at new positions
	uint64_t records_damaged, rows_damaged, missing; // missing: positions
	bool rows_lost, head_lost, tail_lost; // rows that nobody knows of may be gone; the oldest records may be, the newest
	uint64_t first, last, next;     // next: the position from which the journal goes on
	uint64_t before, incarnation;   // before: 0 where it could not be read
	struct gw_salvage_gap gaps[GW_SALVAGE_GAPS];
	size_t gap_count;               // the first ones
	char outlets[GW_SALVAGE_OUTLETS][GW_ID_MAX + 8]; // that begin again with the oldest record
	size_t outlet_count;
	char aside[40];                 // gw_salvage(): where the damaged store is
};

// Into a journal that was just made. Its incarnation is the old one where nothing of records and rows is missing, else its own: identifiers could be given twice.
// The journal's counts and times are right when it was closed and opened again.
enum gw_error gw_journal_salvage(struct gw_journal *into, int fd, const struct gw_salvage_options *options, struct gw_salvaged *salvaged, struct gw_why *why);

#endif
