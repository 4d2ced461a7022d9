// SPDX-License-Identifier: Apache-2.0
// A query's inside, for series_query.c (open, pause, readings) and series_query_steps.c (steps) only. The caller's thread.
#ifndef GW_SERIES_QUERY_INTERNAL_H
#define GW_SERIES_QUERY_INTERNAL_H

#include "gateway/series_rollup.h"
#include "gateway/series_whose.h"

#define GW_QUERY_LOOK_MAX 65536 // readings without a row, until the caller hears of it

// What a step is made of. A number waits until it is known that no revision of it follows.
struct item {
	int64_t time_us;
	double value; // NaN: none
	uint32_t sequence;
	uint16_t flags, revision;
	bool any_sequence; // not known
};

struct gw_series_query {
	struct gw_series_store *store; // NULL: paused
	struct gw_series_want want;    // spans are not used after open
	struct gw_series_whose whose;
	struct gw_series_infos series;
	size_t at;                     // of the series
	struct gw_series_cursor *cursor;
	struct gw_series_query_stats stats;

	// Where a paused query goes on.
	bool given;                    // the last that was looked at one by one:
	int64_t given_us;
	uint32_t given_sequence;
	uint16_t given_revision;
	int64_t step_next_us;          // with steps: all before it were given
	bool step_given;
	bool kept;                     // a step that is not whole is, and goes on at on_us; placed: behind `place`
	bool placed;
	int64_t on_us;
	struct gw_place place;

	// Stretches.
	struct gw_series_run walk;     // what is left of one that has to be asked about reading by reading
	struct gw_point walked;

	// Steps.
	struct gw_chunk_reader *reader;
	struct gw_series_block block;
	struct gw_chunk_columns columns;
	size_t block_at;               // of count
	enum { IN_NONE, IN_COLUMNS, IN_CHUNK, IN_POINTS } in;
	bool doubtful;                 // owners of the block's readings have to be asked for one by one
	size_t looked;                 // at readings and rows since the caller heard of something
	struct item ahead;             // taken out of the source, and not into anything
	bool has_ahead;
	struct item pending;
	bool has_pending;
	struct gw_rollup_row row;      // the present step
	struct gw_series_step out;

	// Roll-ups.
	int level;                     // the coarsest that divides the step; -1: none does
	struct gw_rollup_ask ask;      // from_us: where the next piece begins
	int64_t doubt_us[GW_ROLLUP_LEVELS]; // up to here a unit of this level is not all of one owner, or may not be
	bool reading;                  // the present piece, by the cursor:
	int64_t piece_from_us, piece_to_us; // what of a chunk belongs to it
	struct gw_rollup_block *rolled;
	uint32_t rolled_at, rolled_end; // its rows that are not in the step yet
};

// A reading's owner is asked for by its receive time, which columns do not have.
static inline bool
gw_query_is_owned(const struct gw_series_query *query)
{
	return query->whose.patient != 0 || query->whose.bed[0] != '\0';
}

// ---- gateway/series_query.c ----

// The cursor of the series at `at`, from where it was left. GW_E_NOT_FOUND: no series is left.
enum gw_error gw_query_open_series(struct gw_series_query *query);
void gw_query_end_series(struct gw_series_query *query);
// Whether it is asked for. *unsure: it may be.
bool gw_query_is_wanted(struct gw_series_query *query, const struct gw_point *point, bool *unsure);

// ---- gateway/series_query_steps.c ----

// For steps: what they are made of.
enum gw_error gw_query_steps_prepare(struct gw_series_query *query);
void gw_query_steps_free(struct gw_series_query *query);
// The cursor is that of a series now, from from_us on; or goes on with what was kept of it.
void gw_query_steps_begin(struct gw_series_query *query, uint32_t id, int64_t from_us);
// The store goes: a step that is not whole stays if it is kept, else it will be begun again.
void gw_query_steps_pause(struct gw_series_query *query);
enum gw_error gw_query_steps_next(struct gw_series_query *query, struct gw_series_row *row);

#endif
