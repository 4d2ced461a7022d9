// SPDX-License-Identifier: Apache-2.0
// Effective time (design, promise 5): when was a reading taken, by the hub's clock? The device's time corrected by the device's measured clock
// offset, or the receive time for devices without a usable clock; with an uncertainty.
//
// Pure and deterministic: fed with (receive time, device times) of a device's frames in journal order it says the same again, whenever it is asked and by
// whomever; it has no clock of its own. State per device is small and can be stored and loaded (a row of the outlet that keeps it).
//
// What makes it hard: "received - device time" is offset plus latency, and for stored readings that a device sends later (backfill) latency is hours.
// A live device's difference stays the same while time goes on; a backfill's shrinks as it catches up. A step of the clock (set by hand, reset to 1970,
// daylight saving on a device that knows no zone) moves it at once, and stays.
#ifndef GW_DEVICE_CLOCK_H
#define GW_DEVICE_CLOCK_H

#include "gateway/error.h"
#include "gateway/reading.h"

#include <stdbool.h>
#include <stdint.h>

struct gw_device_clock; // of one device

struct gw_effective {
	int64_t us;             // by the hub's clock
	int64_t uncertainty_us; // the true moment lies within us -+ this
	int64_t offset_us;      // hub's clock less device's, that was used
	uint32_t epoch;         // rises with every step of the device's clock: a group of readings never spans two
	bool by_device;         // from the device's time; else the receive time
};

#endif
