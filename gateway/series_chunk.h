// SPDX-License-Identifier: Apache-2.0
// A chunk: the readings of one series (device, instance, signal) over a stretch of time, compressed, lossless to the digit as received. Pure functions: no
// I/O, no clock; any thread. The format is documented byte by byte in schemas/series-format.md and never changes its meaning: it is versioned.
//
// Order: by device time, then sequence, then revision; each key once. Column by column, each with the coding that its data earn: times by delta of
// delta, receive times against device times, decimals as integers of their own exponent (as received: "7.50" comes back with both places), samples
// of waveforms by delta, codes and texts by a dictionary, flags, kinds, revisions, units and origins by runs. A CRC-32C over all of it.
#ifndef GW_SERIES_CHUNK_H
#define GW_SERIES_CHUNK_H

#include "gateway/error.h"
#include "gateway/reading.h"

#include <stdbool.h>
#include <stdint.h>

#define GW_CHUNK_POINTS_MAX 4096    // readings in one chunk
#define GW_CHUNK_BYTES_MAX (1u << 20)

// How a reading came. Spans are borrowed.
struct gw_origin {
	uint8_t door, auth; // enum gw_door, enum gw_auth
	struct gw_span principal, route, profile;
};

// A reading of a series with what the record knew of it. signal and instance of `reading` are the series'.
struct gw_point {
	struct gw_reading reading;
	int64_t received_us;
	struct gw_origin origin;
};

// What a chunk holds, from its head alone.
struct gw_chunk_head {
	uint32_t count;
	int64_t first_us, last_us;   // device times
	uint64_t first_position, last_position; // journal positions of what is in it: least and greatest; 0: not known
	uint8_t version;
};

#endif
