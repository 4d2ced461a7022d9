// SPDX-License-Identifier: Apache-2.0
// Roll-ups: what the numbers of a series come to by the minute, the quarter of an hour and the hour, in blocks beside the chunks (schemas/series-format.md). For
// series_*.c only.
//
// A block that is there says exactly what the chunks say: it is written and deleted in the transaction that changes them. One that is not there is summed up from the
// next finer level, or from the readings. So a store without any is whole, only slower; a damaged block is passed over; and what is still being filled (the
// newest hours of a series) has none.
#ifndef GW_SERIES_ROLLUP_H
#define GW_SERIES_ROLLUP_H

#include "gateway/series_internal.h"

#include <math.h>

#define GW_ROLLUP_LEVELS 3
#define GW_ROLLUP_ROWS_MAX 240
#define GW_ROLLUP_BYTES_MAX 32768
#define GW_ROLLUP_TIME_MAX (INT64_C(1) << 61) // what lies farther from 1970 is not rolled up

struct gw_rollup_level {
	int64_t unit_us, block_us; // of a row; of a block of rows
};
extern const struct gw_rollup_level gw_rollup_levels[GW_ROLLUP_LEVELS]; // the finest first

// What was measured in a unit: as struct gw_series_step, with the sum.
struct gw_rollup_row {
	int64_t from_us, first_us, last_us;
	uint64_t count, questionable, test;
	double min, max, sum, first, last;
};

// Rounded down to a multiple, as far as there is one.
static inline int64_t
gw_rollup_floor(int64_t us, int64_t unit_us)
{
	int64_t rest = us % unit_us;

	if (rest < 0)
		rest += unit_us;
	return us < INT64_MIN + rest ? INT64_MIN : us - rest;
}

// A reading, later than those that are in it. NaN, and what is not available or invalid, leaves the figures alone.
static inline void
gw_rollup_add(struct gw_rollup_row *row, int64_t unit_us, int64_t time_us, double value, uint16_t flags)
{
	if (isnan(value) || (flags & (GW_FLAG_INVALID | GW_FLAG_NOT_AVAILABLE)))
		return;
	if (row->count++ == 0)
		*row = (struct gw_rollup_row){ .from_us = gw_rollup_floor(time_us, unit_us), .first_us = time_us, .count = 1, .min = value, .max = value,
			.first = value };
	row->min = value < row->min ? value : row->min;
	row->max = value > row->max ? value : row->max;
	row->last = value;
	row->last_us = time_us;
	row->questionable += (flags & GW_FLAG_QUESTIONABLE) != 0;
	row->test += (flags & GW_FLAG_TEST) != 0;
	row->sum += value;
}

// A row of a finer unit, later than what is in it.
static inline void
gw_rollup_join(struct gw_rollup_row *row, int64_t unit_us, const struct gw_rollup_row *part)
{
	if (row->count == 0) {
		*row = *part;
		row->from_us = gw_rollup_floor(part->from_us, unit_us);
		return;
	}
	row->count += part->count;
	row->questionable += part->questionable;
	row->test += part->test;
	row->min = part->min < row->min ? part->min : row->min;
	row->max = part->max > row->max ? part->max : row->max;
	row->sum += part->sum;
	row->last = part->last;
	row->last_us = part->last_us;
}

// A reading's number, correctly rounded, as gw_chunk_columns() gives it; NaN: it is none.
double gw_rollup_number(const struct gw_reading *reading);

// ---- Blocks: gateway/series_rollup_block.c. Pure ----

// Key: series u32, level u8, begin (sign flipped) u64: big-endian.
#define GW_ROLLUP_KEY 13
struct gw_rollup_block {
	uint32_t id;
	uint8_t level;
	int64_t from_us;                   // a multiple of its level's block_us
	int64_t delay_least, delay_most;   // bounds of receive time less device time of all readings in it, numbers or not
	uint32_t count;
	struct gw_rollup_row rows[GW_ROLLUP_ROWS_MAX]; // in order; units without numbers have none
};
void gw_rollup_key(uint32_t id, uint8_t level, int64_t from_us, uint8_t key[GW_ROLLUP_KEY]);
// False where it is none.
bool gw_rollup_key_take(MDB_val key, uint32_t *id, uint8_t *level, int64_t *from_us);
// Writes a value to out, which has GW_ROLLUP_BYTES_MAX. Returns its length.
size_t gw_rollup_encode(const struct gw_rollup_block *block, uint8_t *out);
// False where it is damaged.
bool gw_rollup_decode(MDB_val key, MDB_val value, struct gw_rollup_block *block);

// ---- Looking: gateway/series_rollup_look.c ----

// What is asked for of a series: [from, to), rows of at most this level's unit. late_us: where the next reading lies that is in no chunk; rows that it falls into do not count.
struct gw_rollup_ask {
	uint32_t id;
	int level;
	int64_t from_us, to_us, late_us;
	// Damaged blocks that were reported.
	bool bad_any;
	uint8_t bad_level;
	int64_t bad_us;
};
// Rows [first, first + count) of the block say all of [from, to); or, where there is no block, these are readings.
struct gw_rollup_piece {
	bool rows;
	int64_t to_us;
	uint32_t first, count;
};
// A piece from from_us on. The cursor is one of the roll-ups; nothing of LMDB's is kept.
enum gw_error gw_rollup_look(struct gw_series_store *store, MDB_cursor *cursor, struct gw_rollup_ask *ask, struct gw_rollup_block *block,
    struct gw_rollup_piece *piece);
// The same in a read transaction of its own.
enum gw_error gw_rollup_look_once(struct gw_series_store *store, struct gw_rollup_ask *ask, struct gw_rollup_block *block, struct gw_rollup_piece *piece);

// ---- Summing up: gateway/series_rollup_sum.c ----

// Blocks of one level are made from what a transaction sees, one after the other; done() gets each with at least one reading.
struct gw_rollup_sum {
	struct gw_series_store *store;
	MDB_txn *txn;
	struct gw_chunk_reader *reader;
	enum gw_error (*done)(void *arg, struct gw_rollup_sum *sum);
	void *arg;
	bool damaged;                // a chunk could not be read, and was left out
	uint64_t work, work_max;     // readings decoded and rows looked at, of all calls; where it would become more readings, a sum ends with GW_E_STOPPING
	uint64_t looked;             // readings, or rows of the finer level, in this block
	struct gw_rollup_block block, finer;
	// Within
	int64_t unit_us, block_us, row_end_us, block_end_us;
	struct gw_rollup_row row;
	bool any, pending;
	int64_t delay_least, delay_most; // of the present source
	bool silent;                     // sources without a number came before the first of its block, which begins at silent_us
	int64_t silent_us, silent_least, silent_most;
	struct { int64_t time_us; double value; uint32_t sequence; uint16_t flags, revision; bool any_sequence; } item;
	uint8_t *copy;
	size_t copy_cap;
	enum gw_error error;
};
// of [from, to), multiples of the level's block.
enum gw_error gw_rollup_sum(struct gw_rollup_sum *sum, uint32_t id, uint8_t level, int64_t from_us, int64_t to_us);
// Whether a block is so much shorter than what it is made of that it is kept.
bool gw_rollup_pays(const struct gw_rollup_sum *sum);

// ---- Keeping: gateway/series_rollup.c, with `write` held ----

enum gw_error gw_rollup_open(struct gw_series_store *store); // the writer's memory
void gw_rollup_close(struct gw_series_store *store);
// Readings of this range of device times have been put into chunks or taken out.
void gw_rollup_touch(struct gw_series_store *store, int64_t first_us, int64_t last_us);
// Before something is put behind it: it ends blocks that this one was still filling.
enum gw_error gw_rollup_touch_newest(struct gw_series_store *store, const struct gw_series *series);
// Blocks of what was touched are deleted, and made anew in the same transaction as far as that is in proportion to the readings that were put: who sends
// more and more of one time, or late into a dense one, makes nobody read all of it again and again. GW_ROLLUP_ALWAYS: on request. 0: none is made.
#define GW_ROLLUP_ALWAYS SIZE_MAX
enum gw_error gw_rollup_settle(struct gw_series_store *store, struct gw_series *series, size_t put);

// ---- Verifying: gateway/series_rollup_verify.c ----

enum gw_error gw_rollup_verify(struct gw_series_store *store, gw_series_damage_fn *fn, void *arg, gw_series_points_fn *go_on, void *go_on_arg,
    struct gw_series_verified *verified);

#endif
