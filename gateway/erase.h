// SPDX-License-Identifier: Apache-2.0
// Erasing one patient's data (GDPR Article 17): what was measured of him, wherever it lies here, and what is known of the person.
//
// What is the patient's: readings that were surely taken while a device was his, by the rule of queries (gateway/series_query.h). What may be another's is unsure: it
// stays and is counted, unless whoever asks says that it goes as well. Messages of an HL7 destination are his where they name him, whatever is in them.
//
// An erasure is a durable job, the row "erasure/<16 hexadecimal digits>" (JSON), which is done once in this order and begun again where it was interrupted:
//   1. begun      the times ("windows") in which devices were his are fixed; the journal's readings are erased in place, then the series', then each outlet's own
//                 rows and memory, then the quarantine. From now on nothing that reads the journal again can bring them back.
//   2. forgotten  one commit: the person is forgotten, and GW_RECORD_ERASURE says which devices and times were erased. From now on nothing new is made for him.
//   3. done       the same once more for what came in between; files of exports on schedule are asked for again (gateway/export_part.h). The row stays, without anything that names the patient, to be told when a backup is restored.
// Each step can be done again and then changes nothing. One erasure at a time in a process. While a store that was moved aside is still to be taken over (`rebuild`, cut
// off) none is begun: it would come back.
//
// Threads: a command's, or the one of gw_erase_resume_open(); parts do their share when asked (gw_part.erase).
#ifndef GW_ERASE_H
#define GW_ERASE_H

#include "gateway/daemon.h"
#include "gateway/series_chunk.h"
#include "gateway/series_whose.h"

#define GW_ERASURE_PREFIX "erasure/"
#define GW_ERASURE_WINDOWS_MAX 10000
#define GW_ERASURE_REASON_MAX 500
#define GW_ERASURE_EXPORTS_MAX 256

// AGAIN: a backup was restored that has all of it again. What is known there of the patient is older than what the row says, so the row's windows count; what the restored
// store says besides counts for times of which nothing was known any more when the row was written.
enum gw_erasure_state { GW_ERASURE_BEGUN = 1, GW_ERASURE_FORGOTTEN, GW_ERASURE_DONE, GW_ERASURE_AGAIN };

// A device was the patient's in [from, to), by the hub's clock. unsure: it may have been (associations contradict each other).
struct gw_erasure_window {
	char device[GW_ID_MAX + 1];
	int64_t from_us, to_us;
	bool unsure;
};

// Of device times.
struct gw_erasure_range { int64_t from_us, to_us; };

struct gw_erasure_counts {
	uint64_t journal, journal_unsure, journal_damaged; // readings; records
	uint64_t series, series_unsure, series_damaged;    // readings; chunks
	uint64_t messages;       // of HL7 destinations: waiting, parked
	uint64_t held;           // groups of readings that waited for somebody to be associated
	uint64_t ledger;         // rows that tell what was sent
	uint64_t bus;            // parked messages
	uint64_t quarantine, quarantine_unsure; // frames and messages
};

struct gw_erasure {
	uint64_t number;
	enum gw_erasure_state state;
	bool unsure;             // what may be another's goes as well
	bool dry;                // only counts
	int64_t begun_us, done_us;
	int64_t again_us;        // when the last such backup was restored; 0: none was
	char who[GW_ID_MAX + 1];
	char reason[GW_ERASURE_REASON_MAX + 1];
	uint64_t patient;        // while the person is known: into whom all others were merged
	uint64_t *patients;      // all numbers
	size_t patient_count;
	struct gw_erasure_window *windows; // by device, then time
	size_t window_count;
	uint64_t scanned;        // the journal is done up to here
	struct gw_erasure_range exports[GW_ERASURE_EXPORTS_MAX + 1]; // whole hours in which readings went: files of theirs are written again
	size_t export_count;
	struct gw_erasure_counts counts;

	// Of this run
	struct gw_core *core;
	const struct gw_parts *parts;      // NULL: no daemon runs
	const atomic_bool *stopping;       // may be NULL
	bool exports_changed;              // since its row was written
	struct { char id[65], authority[65]; } *identifiers; // in memory: for what came until he was forgotten
	size_t identifier_count;
	int64_t forgotten_us;              // of this run; 0: he is not
	struct gw_series_whose whose;      // patients NULL: the person is not known any more; store: while it is held
};

void gw_erasure_fini(struct gw_erasure *erasure);
static inline bool
gw_erasure_ending(const struct gw_erasure *erasure)
{
	return erasure->stopping != NULL && atomic_load_explicit(erasure->stopping, memory_order_relaxed);
}

// ---- gateway/erase_windows.c: what is his ----

// Numbers, identifiers and windows of a patient as they are known now. *present (may be NULL): where he is now, or that it is in question who he is, in words; empty: neither.
enum gw_error gw_erasure_look(struct gw_erasure *erasure, uint64_t patient, struct gw_why *present, struct gw_why *why);
bool gw_erasure_is_patient(const struct gw_erasure *erasure, uint64_t number);
// The windows of a device: from *at on, as many as are returned.
size_t gw_erasure_device(const struct gw_erasure *erasure, struct gw_span device, size_t *at);
// Whose a reading is, of a device that has windows.
enum gw_belongs gw_erasure_belongs(struct gw_erasure *erasure, const char *device, const struct gw_point *point);
// Whether it goes. What is unsure goes as long as associations tell how unsure it is.
static inline bool
gw_erasure_takes(const struct gw_erasure *erasure, enum gw_belongs belongs)
{
	return belongs == GW_BELONGS || (belongs == GW_BELONGS_UNSURE && erasure->unsure && erasure->whose.patients != NULL);
}
// Whether a moment lies in one of the device's windows (unsure ones too, where these go as well).
bool gw_erasure_covers(const struct gw_erasure *erasure, struct gw_span device, int64_t us);
// Whether an HL7 message names him: by one of his identifiers in PID-2 to PID-4, or as a prior one in MRG. Where it has neither segment, what its text says:
// TOLD: an identifier with its authority, or a long one; MENTIONED: any, which may be a number like others. UNNAMED where his identifiers are not known any more.
enum gw_erasure_naming { GW_ERASURE_UNNAMED, GW_ERASURE_MENTIONED, GW_ERASURE_TOLD, GW_ERASURE_NAMED };
enum gw_erasure_naming gw_erasure_names(const struct gw_erasure *erasure, struct gw_span message);

// ---- gateway/erase_journal.c, gateway/erase_quarantine.c ----

// From behind `scanned` on, for a moment: it tells how far. Where it stays the same there is no more.
enum gw_error gw_erasure_journal(struct gw_erasure *erasure);
enum gw_error gw_erasure_quarantine(struct gw_erasure *erasure);
// Whose an entry is.
enum gw_belongs gw_erasure_quarantined(const struct gw_erasure *erasure, const struct gw_quarantined *entry);

// Commits a ticket of `source`'s and gets the next one; for those who delete many rows: *ticket as gw_ticket_get() gave it, or NULL at first.
enum gw_error gw_erasure_commit(struct gw_source *source, struct gw_ticket **ticket);

// ---- gateway/erase_exports.c ----

// A reading of this device time is about to go.
void gw_erasure_export_note(struct gw_erasure *erasure, int64_t time_us);
// Whether there may be files that have it.
bool gw_erasure_exports(const struct gw_erasure *erasure);
// Has the files of all windows and notes written again: durable when this returns.
enum gw_error gw_erasure_export_again(struct gw_erasure *erasure);

// ---- gateway/erase_row.c ----

enum gw_error gw_erasure_put(const struct gw_erasure *erasure, struct gw_ticket *ticket);
// GW_E_CORRUPT. Free it with gw_erasure_fini() in any case.
enum gw_error gw_erasure_read(struct gw_span key, struct gw_span value, struct gw_erasure *erasure);
yyjson_mut_doc *gw_erasure_document(const struct gw_erasure *erasure); // for people and for the row

// ---- gateway/erase_again.c ----

// Erasures that a restored backup has undone, whoever opens a core, before anything comes in or goes out: the person is forgotten as of then, and messages and frames
// that name him go. What is left is as after any erasure that was cut off: gw_erase_pending(). One that cannot be done stays as it is, and is told in the log.
void gw_erase_again(struct gw_core *core);
// One of them.
enum gw_error gw_erasure_again(struct gw_erasure *erasure, struct gw_why *why);

// ---- gateway/erase.c ----

// GW_RECORD_ERASURE of all windows.
enum gw_error gw_erasure_put_notes(const struct gw_erasure *erasure, struct gw_ticket *ticket);

// A new erasure (number 0, patient, who, reason, unsure, dry are the caller's), from its row to its end; dry: counts only, and has no row. One that has failed once it
// was begun (the number is there) goes on by itself.
enum gw_error gw_erase_run(struct gw_erasure *erasure, struct gw_why *why);
// Whoever puts readings back from what was read before (`rebuild`) and an erasure wait for each other. GW_E_STOPPING; stopping may be NULL.
enum gw_error gw_erase_lock(const atomic_bool *stopping);
void gw_erase_unlock(void);
// Erasures that are not done, one after the other.
enum gw_error gw_erase_pending(struct gw_core *core, const struct gw_parts *parts, const atomic_bool *stopping);

// Of a running daemon: looks for such erasures now and then.
struct gw_erase_resume;
enum gw_error gw_erase_resume_open(const struct gw_core *core, const struct gw_parts *parts, struct gw_erase_resume **resume, struct gw_why *why);
void gw_erase_resume_stop(struct gw_erase_resume *resume); // returns at once; NULL does nothing, here and below
void gw_erase_resume_close(struct gw_erase_resume *resume);

#endif
