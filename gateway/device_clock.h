// SPDX-License-Identifier: Apache-2.0
// Effective time (design, promise 5): when was a reading taken, by the hub's clock? The device's time corrected by the device's measured clock
// offset, or the receive time for devices without a usable clock; with an uncertainty.
//
// Pure and deterministic: fed with a device's frames in journal order it says the same again, whenever it is asked and by whomever; it has no clock of
// its own, allocates nothing, and any input is safe. State per device is a small struct of the caller's, all zero at first; one thread at a time.
//
// What is measured. "Received less newest device time of the frame" is offset plus latency, and latency is never negative: the offset is at most the least
// difference. A live device's least difference stays the same while the hub's time goes on; a backfill's shrinks as it catches up; a step of the clock (set
// by hand, daylight saving on a device that knows no zone, reset) moves it at once, and it stays there. So what is held to be the device's present offset
// is always something that stayed while GW_DEVICE_CLOCK_PACE_US of the hub's time passed, over three frames or more.
//
// What is made of each case:
// - First frame, within 10 s of the hub's clock: right and live, known at once (uncertain by a minute for the first minute).
// - First frames otherwise: not sure. Live with a clock that is off, or stored by a clock that is right, or both: until the difference has stayed for a minute
//   the uncertainty covers a latency from none to GW_DEVICE_CLOCK_STORED_US, and the clock being right. The best guess is the device's own time; the receive
//   time where the device's lies ahead of the hub's clock, or before the year 2000 (never set).
// - Live: least difference of the last 10 to 20 minutes (slow devices: two hours). The offset used moves only where it must, and is zero where that is
//   possible: readings do not shake with the latency. Uncertain by the latency that was seen, two seconds at least, and by drift since.
// - Late, after the offset is known: stored, or the clock was set back. Not sure, the whole span from the one to the other: a clock that stopped while a device
//   was off looks exactly like the first frames of a backfill, that is when devices change patients, and the frames after it may be late by a stalled
//   link. Sure by the known offset once the difference has shrunk by an eighth, a minute at least: a part of the way into a backfill, also where live
//   frames come in between.
// - Ahead of what is possible: the clock was set forward, or one frame's time is nonsense. Not sure, from the newest reading so far to the receive time.
// - A step is accepted after three frames and a minute in which the new difference stayed; 10 minutes where the device's time never went back (then it may
//   be stored data sent at the pace of life). epoch rises, and all is sure again. Frames that fit the known offset cancel it: single outliers and mixed
//   backfills are no steps.
// - Differences below 10 s, and 250 ppm of drift, are latency and drift, never a step. A clock set back by less is followed within the window.
// - No device time (GW_FLAG_NO_DEVICE_TIME): the receive time, uncertain by the usual latency. What such a device stores and sends late nobody can tell.
// - Times before 2000 show differences inside the frame and, once live, an offset as any other; the clock is never taken to be right.
// - The hub's clock goes back: not learnt from. What follows is a step of the device's clock against the hub's, and is accepted as one.
// - The doubled hour of autumn is resolved by the decoder by the receive time; a device that knows no zone makes a step of one hour.
// What cannot be told from these numbers: a clock that is ahead by as much as the device's very first frame is late; a backlog sent at 1.0 to 1.15 times the
// pace of life from the first frame on; a latency that never changes (it counts as offset); a step inside an outage as long as the backfill lasts (it shows
// when live frames follow).
//
// The same again. us is always time_us + offset_us (times beyond 2^59 us either way count as that). What left the hub is corrected later by what it was given
// then: keep offset_us, uncertainty_us and epoch with what was sent (outbox, ledger), and take them again for records that are read again from the
// journal; do not feed a state twice with a record. A state that is saved with a cursor says the same again of all records after the cursor.
// Readings that were not sure may be asked about again with gw_device_clock_resolve() while they are held: nothing of them has left yet.
#ifndef GW_DEVICE_CLOCK_H
#define GW_DEVICE_CLOCK_H

#include "gateway/error.h"
#include "gateway/reading.h"

#include <stdbool.h>
#include <stdint.h>

#define GW_DEVICE_CLOCK_STEP_US INT64_C(10000000)      // less is not a step
#define GW_DEVICE_CLOCK_LATENCY_US INT64_C(6000000)    // of a live device, as long as little of it was seen
#define GW_DEVICE_CLOCK_FLOOR_US INT64_C(2000000)      // latency that is always reckoned with
#define GW_DEVICE_CLOCK_PACE_US INT64_C(60000000)      // a difference that stays as long is live
#define GW_DEVICE_CLOCK_PACE_LATE_US INT64_C(600000000) // and without other signs of a step
#define GW_DEVICE_CLOCK_STORED_US (INT64_C(73) * 3600 * 1000000)       // how old a device's readings may be when they come
#define GW_DEVICE_CLOCK_GARBAGE_US (INT64_C(30) * 86400 * 1000000)     // later by more is no stored reading
#define GW_DEVICE_CLOCK_UNSET_US (INT64_C(946684800) * 1000000)        // 2000-01-01: a clock before it was never set
#define GW_DEVICE_CLOCK_DRIFT 4000                     // one part of so many: 250 ppm, 21.6 s a day

// Of one device. Read and written by gateway/device_clock.c only; 128 bytes.
struct gw_device_clock {
	int64_t received_us, newest_us;    // last frame; newest device time of this epoch
	int64_t offset_us;                 // in use
	int64_t from_us;                   // receive time of the epoch's first frame
	int64_t live_us;                   // receive time of the last frame that was learnt from
	int64_t start_us[2], least_us[2];  // windows of live frames: this one, the one before
	int64_t anchor_us, anchor_least_us; // the difference that is being watched
	int64_t before_offset_us;          // of the epoch before
	uint32_t before_ms, before_end_ms; // how long before from_us that one began, and its last live frame came
	uint32_t anchor_range_us;
	uint32_t late_ms;                  // from where a backfill has to shrink
	uint32_t epoch;
	uint16_t range_ms[2];              // of the differences in each window
	uint8_t count[2];                  // of live frames in each window; these stop at 255
	uint8_t anchor_count, anchor_kind, anchor_missed;
	uint8_t state;
};

struct gw_effective {
	int64_t us;             // by the hub's clock
	int64_t uncertainty_us; // the true moment lies within us -+ this
	int64_t offset_us;      // hub's clock less device's, that was used: us = time_us + offset_us
	uint32_t epoch;         // rises with every step of the device's clock
	bool by_device;         // from the device's time; else from the receive time
	bool sure;              // by a measured offset, or without device time; else gw_device_clock_resolve() may know more later.
};

// Whether two readings may stand in one group: no step of the clock lies between them, and what is known of their times is of one kind.
bool gw_effective_together(const struct gw_effective *a, const struct gw_effective *b);

// What a frame's readings have in common.
struct gw_clock_view {
	int64_t received_us;
	int64_t offset_us, spread_us;
	int64_t measured_from_us, measured_to_us; // when the offset was measured: drift is reckoned from there
	uint32_t epoch;
	bool by_device, sure;
};

// The next frame (record of readings) of the device, in journal order. newest_us: the newest device time of those of its readings that have one;
// GW_CLOCK_NO_TIME where none has. The view serves for all readings of this frame.
#define GW_CLOCK_NO_TIME INT64_MIN
void gw_device_clock_take(struct gw_device_clock *clock, int64_t received_us, int64_t newest_us, struct gw_clock_view *view);
// One reading of that frame: its time_us and flags. Pure.
void gw_clock_view_effective(const struct gw_clock_view *view, int64_t time_us, uint16_t flags, struct gw_effective *effective);

// The newest moment of a reading by the device's clock: its time, the end of a block of samples; GW_CLOCK_NO_TIME where it has none. The greatest of a frame
// is newest_us for gw_device_clock_take().
int64_t gw_reading_newest(const struct gw_reading *reading);
// The same of readings side by side.
int64_t gw_device_clock_newest(const struct gw_reading *readings, size_t count);

// A reading that was not sure, asked about again later: true, and *effective by the offset that was measured since, where its epoch (the present one, or the
// one before) is known by now: live frames came after it. Told by its receive time; false for what is older, for times that are nonsense by that offset, and
// while a step is suspected. Not to be used across a step of the hub's own clock: receive times tell nothing then.
bool gw_device_clock_resolve(const struct gw_device_clock *clock, int64_t received_us, int64_t time_us, struct gw_effective *effective);

// What is measured now, for whoever keeps a history: readings that were received in [from_us, to_us] have this offset (what gw_device_clock_resolve() says of
// the present epoch, in another form). False: nothing is.
struct gw_clock_known {
	int64_t from_us, to_us;  // receive times of the epoch's first frame, and of the last live one
	int64_t offset_us;       // hub's clock less device's
	int64_t uncertainty_us;  // of it at to_us
	uint32_t epoch;
};
bool gw_device_clock_known(const struct gw_device_clock *clock, struct gw_clock_known *known);

// For people: the present figures.
struct gw_clock_shown {
	bool known;              // else the rest but epoch and received is 0
	bool doubted;            // the last frames did not fit
	int64_t offset_us, uncertainty_us;
	uint32_t epoch;
	int64_t received_us;     // last frame with a device time; 0: none
};
void gw_device_clock_shown(const struct gw_device_clock *clock, struct gw_clock_shown *shown);

// Stored form, version 1: the byte 1, then the struct's fields in their order (arrays element by element), little-endian, without padding.
#define GW_DEVICE_CLOCK_BYTES 127
void gw_device_clock_save(const struct gw_device_clock *clock, uint8_t out[GW_DEVICE_CLOCK_BYTES]);
// GW_E_CORRUPT for another length, version or impossible contents: the clock is then all zero, which is a device not seen before.
enum gw_error gw_device_clock_load(struct gw_span bytes, struct gw_device_clock *clock);

#endif
