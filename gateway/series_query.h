// SPDX-License-Identifier: Apache-2.0
// Questions to the series store: readings of a device, of a bed or of a patient, one after the other or summed up by steps; and the newest of many devices.
// One way for the command line, the page and exports.
//
// Streaming: a query keeps the list of its series and one chunk. No transaction is held between two calls. gw_series_query_pause() lets go of the store
// itself, so that whoever waits for a slow reader holds nothing.
//
// Order: series after series (by device, signal, instance), in each by device time, sequence, revision. from_us and to_us are device times.
//
// Whose a reading is. Its effective time is asked for (gateway/device_clock.h): the device's time, corrected by what the device's clock was measured to be off
// when the reading came, or what was measured since (gateway/series_clocks.h); with an uncertainty. A reading is a patient's or a bed's only where the answer of
// gw_patients_owner() is the same within all of it: then it is what an HL7 destination says, too. Where the clock was not sure, or nothing is kept of it, bounds
// have to do: it is not after the receive time, and not before the device's time unless that is ahead of the hub's clock. Where the answer is not the same
// the reading is unsure: left out and counted, or given with a mark. Like gw_patients_owner(), this says nothing of what lies longer ago than
// associations are kept.
//
// One thread a query.
#ifndef GW_SERIES_QUERY_H
#define GW_SERIES_QUERY_H

#include "gateway/patients.h"
#include "gateway/series.h"

struct gw_series_want {
	struct gw_span device, bed;  // exactly one of these
	uint64_t patient;            // or this
	struct gw_span signals;      // names and patterns (* and ?), comma between; empty: all
	int64_t from_us, to_us;      // device time, [from, to)
	int64_t step_us;             // 0: readings themselves
	uint64_t limit;              // rows; 0: all
	bool unsure;                 // also what may be another's
};

// What was measured in [from_us, from_us + step_us): steps begin at multiples of step_us since 1970 UTC. Numbers only, of each the last revision; what is not
// available or invalid does not count. Steps without any are not given.
struct gw_series_step {
	int64_t from_us, first_us, last_us; // device times of the first and the last
	uint64_t count, questionable, test; // questionable ones are in the figures, and so are those of test devices
	double min, max, mean, first, last;
};

struct gw_series_row {
	const struct gw_series_info *series;
	const struct gw_point *point;      // without steps
	const struct gw_series_step *step; // with steps
	bool unsure;                       // may be another's: point only
};

struct gw_series_query;
// patients may be NULL for a query by device. GW_E_ARGUMENT, GW_E_NOT_FOUND (a name of no signal) with words. What does not exist has no rows.
enum gw_error gw_series_query_open(struct gw_series_store *store, struct gw_patients *patients, const struct gw_series_want *want, struct gw_series_query **query,
    struct gw_why *why);
// The next row, valid until the next call. row->series NULL: none so far, but much was looked at: a moment to see whether anybody still waits.
// GW_E_NOT_FOUND at the end.
enum gw_error gw_series_query_next(struct gw_series_query *query, struct gw_series_row *row);
// The same without steps by stretches, for who takes millions: not to be mixed with gw_series_query_next().
struct gw_series_run {
	const struct gw_series_info *series;
	struct gw_chunk_reader *chunk;     // open, `whole` is of it; signal and instance of its points are the series'. NULL: points
	struct gw_chunk_whole whole;
	const struct gw_point *points;
	uint32_t at;                       // what is next of either,
	uint32_t count;                    // and how many
	bool unsure;                       // may be another's: of all
};
// The next stretch, valid until the next call; what was left of the last one is passed over. run->series NULL and GW_E_NOT_FOUND as above.
enum gw_error gw_series_query_next_run(struct gw_series_query *query, struct gw_series_run *run);
// So many of it were used: run goes on behind them, and so does the query after a pause.
void gw_series_query_used(struct gw_series_query *query, struct gw_series_run *run, uint32_t count);
// What follows in it cannot be decoded (GW_E_CORRUPT of its chunk): it is told, counted and passed over.
void gw_series_query_damaged(struct gw_series_query *query, struct gw_series_run *run, enum gw_error error);
// After a row: the store may be closed. Goes on, with the same store or one that was opened instead, after resume. The last row is gone.
void gw_series_query_pause(struct gw_series_query *query);
void gw_series_query_resume(struct gw_series_query *query, struct gw_series_store *store);
void gw_series_query_close(struct gw_series_query *query); // NULL does nothing

struct gw_series_query_stats {
	size_t series, series_done;
	uint64_t rows, readings; // given, looked at (of steps some twice, after a pause)
	uint64_t left_out;       // unsure
	uint64_t doubted;        // of them those by a clock that was not sure; the others lie too near to a change
};
void gw_series_query_stats(const struct gw_series_query *query, struct gw_series_query_stats *stats);

// ---- The newest reading of each series ----

// Devices that are asked about, one after the other; names as in gw_series_want.
struct gw_series_latest {
	struct gw_span device, bed;  // bed: what stands there now, measured there
	struct gw_span ward;         // registry's ward, or the first part of the bed's name where the device stands
	struct gw_span signals;      // all three empty: all devices
	bool unsure;                 // also what may have been measured at another bed
};
// The reading that was taken last (gw_series_newest() in gateway/series.h), when that was by the hub's clock, and the bed where its device stands now (empty: not known); unsure: may
// have been measured at another. False: no more.
typedef bool gw_series_latest_fn(void *arg, const struct gw_series_info *series, const struct gw_point *point, int64_t taken_us, const char *bed, bool unsure);
// By device, signal, instance; devices of the registry, and where none is named also those that were removed. No lock is held while fn runs.
// *left_out counts series whose newest reading may be of another bed.
enum gw_error gw_series_latest(struct gw_series_store *store, struct gw_patients *patients, struct gw_registry *registry, const struct gw_series_latest *want,
    gw_series_latest_fn *fn, void *arg, uint64_t *left_out, struct gw_why *why);

#endif
