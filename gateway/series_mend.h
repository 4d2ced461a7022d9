// SPDX-License-Identifier: Apache-2.0
// The series store beside its journal: what it should hold, and putting back what it lost. Any thread, while the store is in use; each call is one caller's.
#ifndef GW_SERIES_MEND_H
#define GW_SERIES_MEND_H

#include "gateway/journal.h"
#include "gateway/series.h"

struct gw_series_watch {
	// What is being done, how much of about how much. False: end with GW_E_STOPPING. Nothing of the store is open or locked meanwhile, but for "pages of series";
	// after false it is not touched any more.
	bool (*progress)(void *arg, const char *what, uint64_t done, uint64_t total);
	// A damaged or differing place, in words.
	void (*place)(void *arg, const char *words);
	void *arg;
};

// ---- Putting back ----

// Readings of a series in order of place, which are not to come from the journal any more, or again: late readings that are in chunks at once. What is there
// already changes nothing. A batch of them is one transaction; the store's other writer waits for it.
struct gw_adopt;
enum gw_error gw_adopt_begin(struct gw_series_store *store, struct gw_adopt **adopt);
// filed_us: when they were filed, by which retention goes; 0: now. GW_E_FULL: nothing of this batch is in.
enum gw_error gw_adopt_put(struct gw_adopt *adopt, const struct gw_series_info *series, const struct gw_point *points, size_t count, int64_t filed_us);
// Commits what is there by now, so that nothing is open while the caller does something else.
enum gw_error gw_adopt_pause(struct gw_adopt *adopt);
// Frees without touching the store, which may be gone; after a pause. NULL does nothing.
void gw_adopt_drop(struct gw_adopt *adopt, uint64_t *added);
// Commits what is left and frees, also after an error. *added counts readings that were not there.
enum gw_error gw_adopt_end(struct gw_adopt *adopt, uint64_t *added);

struct gw_series_retaken {
	uint64_t records, readings, added, passed; // passed: older than their class is kept
};
// Takes all that the journal holds up to `upto` once more: what is missing is put in, what is damaged replaced where all of it comes again.
enum gw_error gw_series_retake(struct gw_series_store *store, struct gw_journal *journal, uint64_t upto, const struct gw_series_retention *retention,
    const struct gw_series_watch *watch, struct gw_series_retaken *retaken);

struct gw_series_salvaged {
	uint64_t series, chunks, readings, added, damaged; // damaged: pages, rows and chunks that could not be read
};
// Puts in whatever can be read of another store's file, damaged as it may be (gateway/pages.h); nobody may have it open.
enum gw_error gw_series_salvage(struct gw_series_store *store, const char *path, const struct gw_series_watch *watch, struct gw_series_salvaged *salvaged,
    struct gw_why *why);
// The histories of devices' clocks out of such a file, into a store that has none yet and is not followed yet: what is measured from the journal comes on top.
enum gw_error gw_series_take_clocks(struct gw_series_store *store, const char *path, uint64_t *taken);
// Decodes all of such a file, of a backup say.
enum gw_error gw_series_verify_file(int fd, const struct gw_series_watch *watch, struct gw_series_verified *verified, struct gw_why *why);

// gw_series_verify() that can be ended, and tells how far it is.
enum gw_error gw_series_verify_watched(struct gw_series_store *store, gw_series_damage_fn *damage, void *arg, const struct gw_series_watch *watch,
    struct gw_series_verified *verified);
// The pages of the store's own file, without LMDB: it is in use meanwhile. Damage is given as places and counted.
enum gw_error gw_series_pages(struct gw_series_store *store, const struct gw_series_watch *watch, uint64_t *damaged, struct gw_why *why);

// ---- Comparing ----

struct gw_series_agreed {
	uint64_t journal, series;    // readings compared on either side
	uint64_t missing, extra;     // in the journal alone; in the series alone, though the journal holds what was received then
	uint64_t left_out, retired;  // in the journal alone: in a gap that was recorded; gone by retention
};
// Every reading of the journal that the store has taken is in the store to the digit, and of what was received in the journal's time the store holds nothing
// else. Two passes of sums for each series, then those that differ reading by reading. `chunks` gets what gw_series_verify() tells: it is the second pass.
enum gw_error gw_series_agree(struct gw_series_store *store, struct gw_journal *journal, const struct gw_series_retention *retention,
    const struct gw_series_watch *watch, gw_series_damage_fn *damage, void *arg, struct gw_series_verified *chunks, struct gw_series_agreed *agreed);

#endif
