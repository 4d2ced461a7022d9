// SPDX-License-Identifier: Apache-2.0
// Local time to UTC, with the rules of one zone: an IANA name ("Europe/Berlin", read from the system's tz database once, TZif of RFC 8536) or a
// POSIX rule ("CET-1CEST,M3.5.0,M10.5.0/3"), which needs no file. Constant after opening; any thread; no libc time state.
#ifndef GW_TIMEZONE_H
#define GW_TIMEZONE_H

#include "gateway/error.h"

#include <stdint.h>

struct gw_zone;

enum gw_error gw_zone_open(const char *name, struct gw_zone **zone, struct gw_why *why);
void gw_zone_free(struct gw_zone *zone);

// Seconds east of UTC at a moment (seconds since 1970 UTC).
int32_t gw_zone_offset(const struct gw_zone *zone, int64_t utc_s);

// local_s: seconds since 1970-01-01T00:00:00 on the wall. The hour that stands twice in autumn is told apart by near_s (UTC): the candidate nearer to
// it is taken. An hour that spring leaves out is read with the offset before the change.
int64_t gw_zone_to_utc(const struct gw_zone *zone, int64_t local_s, int64_t near_s);

// Days since 1970-01-01 of a day of the proleptic Gregorian calendar.
int64_t gw_days_from_civil(int year, int month, int day);

#endif
