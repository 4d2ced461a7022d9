// SPDX-License-Identifier: Apache-2.0
// Which hours or days were exported on schedule, as of when, and which have to be once more. In memory, and as a row each ("outlet/export/at/hour/<start>",
// schemas/journal-format.md) laid into the ticket that moves the outlet's cursor: what a crash leaves is what was committed. One thread.
#ifndef GW_EXPORT_PERIODS_H
#define GW_EXPORT_PERIODS_H

#include "gateway/intake.h"
#include "gateway/journal.h"

#define GW_EXPORT_ROWS "outlet/export/at/"
#define GW_EXPORT_AGAIN "outlet/export/again/"
#define GW_EXPORT_AGAIN_MAX 64 // requests that are taken at once
#define GW_EXPORT_PERIODS_MAX 20000 // the oldest beyond are forgotten: their files stay as they are

struct gw_export_period {
	int64_t from_us;
	uint64_t upto;      // the journal's position up to which the series were in the last export, at least
	int64_t dirty_us;   // when something came later, by the wall clock; 0: nothing did
	uint32_t revision;  // of the file; 0: none was written yet, the period was empty
	bool changed;       // not laid into a ticket yet
};

struct gw_export_periods {
	struct gw_export_period *at; // by from_us
	size_t count, cap;
	int64_t length_us;           // of a period
	size_t found;                // where the last one was found
	struct { int64_t from_us, to_us; } again[GW_EXPORT_AGAIN_MAX]; // requests that were taken: their rows go with the next save
	size_t again_count;
};

// Reads the rows of periods of this length.
enum gw_error gw_export_periods_open(struct gw_export_periods *periods, struct gw_journal *journal, int64_t length_us);
void gw_export_periods_close(struct gw_export_periods *periods);

int64_t gw_export_period_of(const struct gw_export_periods *periods, int64_t us); // where the period begins in which `us` lies
struct gw_export_period *gw_export_periods_find(struct gw_export_periods *periods, int64_t from_us); // NULL: never exported
// Makes one that was not there. NULL: out of memory.
struct gw_export_period *gw_export_periods_add(struct gw_export_periods *periods, int64_t from_us);
// What happened at `position` concerns the moment `us`: exported periods that did not have it yet are to be exported again.
void gw_export_periods_mark(struct gw_export_periods *periods, int64_t us, uint64_t position, int64_t now_us);
// All exported periods that overlap [from, to), whatever they had.
void gw_export_periods_mark_range(struct gw_export_periods *periods, int64_t from_us, int64_t to_us, int64_t now_us);

// Takes what gw_export_again() asked for: those periods are due at once.
enum gw_error gw_export_periods_take_again(struct gw_export_periods *periods, struct gw_journal *journal);

// The next period that is due: the oldest since back_us that was never exported and is over for delay_us, else the oldest that is to be exported again and was
// left alone for delay_us. False: none. *due counts all of them.
bool gw_export_periods_due(const struct gw_export_periods *periods, int64_t now_us, int64_t back_us, int64_t delay_us, int64_t *from_us, size_t *due);

bool gw_export_periods_changed(const struct gw_export_periods *periods);
// Lays rows of what changed into a ticket; they count as changed until it is said that it was committed.
enum gw_error gw_export_periods_save(struct gw_export_periods *periods, struct gw_ticket *ticket);
void gw_export_periods_saved(struct gw_export_periods *periods);

#endif
