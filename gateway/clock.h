// SPDX-License-Identifier: Apache-2.0
// Time for the whole program, so that tests own it. Any thread.
#ifndef GW_CLOCK_H
#define GW_CLOCK_H

#include <stddef.h>
#include <stdint.h>

// Microseconds since 1970-01-01T00:00:00Z (CLOCK_REALTIME, leap seconds as the system smears or steps them).
int64_t gw_clock_wall_us(void);

// Microseconds of CLOCK_MONOTONIC: for intervals and timeouts only.
int64_t gw_clock_mono_us(void);

// Tests: replaces the wall clock by a fixed time until called with INT64_MIN.
void gw_clock_fake_wall(int64_t us);
// The same for the monotonic clock: for programs of one thread that go through days in a moment.
void gw_clock_fake_mono(int64_t us);

// RFC 3339 in UTC with microseconds as far as they are not zero: "2026-11-20T08:15:00.250Z". out holds 40 bytes.
char *gw_time_format(int64_t us, char out[40]);

// RFC 3339 date-time (zone required), or a date alone (midnight UTC), or seconds since 1970 with decimals, or "now",
// or "-15m" (s, m, h, d before now). Returns 0, or -1 where the text is none of these.
int gw_time_parse(const char *text, int64_t *us);

#endif
