// SPDX-License-Identifier: Apache-2.0
// What a device's clock was worth, through the years: a small history of measured offsets, so that it can be said long after when a stored reading was
// taken (gateway/device_clock.h measures; HL7 destinations say the same while readings are fresh). No byte a reading: tens of bytes for each time that an offset held.
//
// A piece holds for what was received in [from_us, to_us]: there the offset went from one value to the other in a line, and was never farther off than
// spread_us. A clock that is kept right has one piece for ever; one that drifts some more; a step makes a new one. What lies in no piece was not
// sure when it came and has not become so, or was the end of a backfill behind which a step showed. A better measurement counts back to where its piece begins, as far as drift allows.
//
// There are GW_CLOCK_PIECES_MAX pieces at most: neighbours whose lines fit are joined, with as much uncertainty as that takes; where even the best pair would be
// worse than GW_CLOCK_JOIN_US, the two oldest become a loose one, of which only is known between what their offsets were.
//
// The hub's own clock may go back: then receive times stand for two moments each until it is where it was, and nothing there lies in a piece.
//
// Pure but for the caller's storage; one thread at a time. Inside: microseconds; receive times within 2^59 us.
#ifndef GW_SERIES_CLOCKS_H
#define GW_SERIES_CLOCKS_H

#include "gateway/device_clock.h"

#define GW_CLOCK_PIECES_MAX 38 // a row stays in LMDB's leaf
#define GW_CLOCK_TOLERANCE_US INT64_C(500000)  // an offset that moves by less, or is less sure by less, makes no piece
#define GW_CLOCK_JOIN_US INT64_C(300000000)
#define GW_CLOCK_LIMIT_US (INT64_C(1) << 59)

struct gw_clock_piece {
	int64_t from_us, to_us;     // receive times, both included
	int64_t offset_us[2];       // hub's clock less device's: at from_us and at to_us; of a loose one the least and the greatest
	int64_t spread_us;
	uint32_t epoch;
	bool loose;
};

// The history, and what goes on measuring. All zero at first.
struct gw_clock_history {
	struct gw_device_clock clock;
	uint64_t upto;              // position of the last record that was taken
	uint64_t unsaved;           // and of the first that the stored row does not know; 0: none
	int64_t most_us;            // greatest receive time
	int64_t now_us;             // and that of the last frame
	int64_t barrier_us;         // receive times up to here stand for two moments, but for what pieces hold
	int64_t base_us;            // spread of the last piece as it began
	int64_t live_us;            // receive time of the last live frame
	int64_t again_us;           // records up to this receive time come a second time
	bool open;                  // the last frame is in the last piece
	bool gaps;                  // between pieces of one epoch
	uint16_t count;
	uint32_t changes;           // counts what changes moments of readings that came before by more than GW_CLOCK_TOLERANCE_US; not stored
	struct gw_clock_piece pieces[GW_CLOCK_PIECES_MAX];
};

// The next frame, in journal order: newest_us as for gw_device_clock_take(). Records at or below `upto` are passed.
void gw_clock_history_take(struct gw_clock_history *history, uint64_t position, int64_t received_us, int64_t newest_us);
// Another journal, in which what is known may come again: until later receive times come, nothing is taken.
void gw_clock_history_again(struct gw_clock_history *history);
// Forgets pieces that ended before.
void gw_clock_history_trim(struct gw_clock_history *history, int64_t before_us);

// A copy for readers, with the place where the last answer was found.
struct gw_clock_pieces {
	struct gw_clock_piece at[GW_CLOCK_PIECES_MAX];
	size_t count, found;
	int64_t most_us; // what was received later is not known here
	int64_t now_us;  // receive time of the device's last frame: the hub's clock, also where that went back. INT64_MAX: not known
};
void gw_clock_history_copy(const struct gw_clock_history *history, struct gw_clock_pieces *pieces);

struct gw_clock_offset {
	bool sure;
	int64_t us, spread_us;  // sure: the offset is us -+ spread_us
	int64_t low_us, high_us; // not sure: offsets of the times before and after lie between these
};
// Of what was received then, rounded down to GW_CHUNK_RECEIVED_PLACES. False: nothing is known.
bool gw_clock_pieces_offset(struct gw_clock_pieces *pieces, int64_t received_us, struct gw_clock_offset *offset);

// The same of a range of receive times, part by part: for all of [from_us, to_us], which begins where it was asked for, the answer is of one kind.
struct gw_clock_part {
	int64_t from_us, to_us;    // both included
	bool sure;
	int64_t least_us, most_us; // sure: us is never less, never more
	int64_t spread_us;
	int64_t low_us, high_us;   // not sure: as above
};
// The part in which from_us lies, as far as to_us. False: nothing is known.
bool gw_clock_pieces_part(struct gw_clock_pieces *pieces, int64_t from_us, int64_t to_us, struct gw_clock_part *part);

// Which of two readings is the newer: the one with the later moment. That is when it was most likely taken, by the hub's clock: by the measured offset; where that is not sure
// or makes nonsense of the time, the latest of what it may have been (the clock was right, off as before, or as after) that is not after the reading came. Of a time that
// says nothing (ahead of the hub's clock, never set): when it came. Never later than that, nor than now.
struct gw_clock_guess {
	int64_t offset_us[2], reach_us; // reach: not after this
	bool sure;                      // both offsets are the same, and measured
};
// Of what was received then.
void gw_clock_pieces_guess(struct gw_clock_pieces *pieces, int64_t received_us, struct gw_clock_guess *guess);
// Of a frame that comes now, before it is taken; NULL: nothing was measured.
void gw_clock_history_guess(const struct gw_clock_history *history, int64_t received_us, struct gw_clock_guess *guess);
int64_t gw_clock_moment(const struct gw_clock_guess *guess, const struct gw_reading *reading, int64_t received_us);
// The latest that any reading with such a device time can have.
int64_t gw_clock_pieces_bound(const struct gw_clock_pieces *pieces, int64_t time_us);

// Stored form: schemas/series-format.md. Without the checksum, which is the row's.
#define GW_CLOCK_HISTORY_HEAD (52 + GW_DEVICE_CLOCK_BYTES)
#define GW_CLOCK_PIECE_BYTES 45
#define GW_CLOCK_HISTORY_BYTES (GW_CLOCK_HISTORY_HEAD + GW_CLOCK_PIECES_MAX * GW_CLOCK_PIECE_BYTES)
size_t gw_clock_history_save(const struct gw_clock_history *history, uint64_t incarnation, uint8_t out[GW_CLOCK_HISTORY_BYTES]);
// GW_E_CORRUPT, GW_E_VERSION; the history is then all zero. incarnation: of the journal in which `upto` is a position.
enum gw_error gw_clock_history_load(struct gw_span bytes, struct gw_clock_history *history, uint64_t *incarnation);

#endif
