// SPDX-License-Identifier: Apache-2.0
// A chunk: the readings of one series (device, instance, signal) over a stretch of time, compressed, lossless to the digit as received. Pure functions: no
// I/O, no clock; any thread, one encoder or reader by one thread at a time. The format is documented byte by byte in schemas/series-format.md and never
// changes its meaning: it is versioned.
//
// Order: by device time, then sequence, then revision; each key once. Column by column: times, receive times against device times, the number as it
// was said ("7.50" comes back with both places, 98.6 [degF] beside its 37.0), sequences and revisions are packed by blocks against what went before; flags, kind, type,
// unit and conversion are one dictionary of forms, origins another, codes and texts a third. A CRC-32C over all of it.
//
// Exact: everything but the receive time, which is kept to 10^received_places microseconds counted from the device's time (gw_chunk_received(); exact with 0,
// and where the device gave no time). Encoding what was decoded gives the same again.
#ifndef GW_SERIES_CHUNK_H
#define GW_SERIES_CHUNK_H

#include "gateway/error.h"
#include "gateway/reading.h"

#include <stdbool.h>
#include <stdint.h>

#define GW_CHUNK_POINTS_MAX 4096         // readings in one chunk
#define GW_CHUNK_SAMPLES_MAX (1u << 19)  // samples of all waveform blocks in one chunk; a single reading of the journal always fits
#define GW_CHUNK_BYTES_MAX (1u << 21)
#define GW_CHUNK_RECEIVED_PLACES 3       // the usual choice: milliseconds. schemas/series-format.md has the figures

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
	uint8_t received_places;     // receive times are kept to 10^this microseconds; 0..6
};

// The receive time as a chunk keeps it: whole steps after (or before) the device's time, rounded down.
int64_t gw_chunk_received(int64_t time_us, int64_t received_us, uint8_t received_places);

// ---- encoding ----

struct gw_chunk_encoder; // scratch and the bytes last encoded; reuse it
struct gw_chunk_encoder *gw_chunk_encoder_new(void); // NULL: out of memory
void gw_chunk_encoder_free(struct gw_chunk_encoder *encoder);

struct gw_chunk_options {
	uint64_t first_position, last_position;
	uint8_t received_places; // 0: exact
	// Stop before this many bytes (at least one point is always taken); 0: take all. LMDB puts values of more than about 2,000 bytes on pages of their own, 4096 * n - 16
	// bytes: a chunk that just fills them wastes nothing.
	uint32_t fit_bytes;
};

// points[0..count) in order, count 1..GW_CHUNK_POINTS_MAX. The nomenclature is open and reading.signal set: by them a converted unit is recognised and costs nothing (98.6 [degF]
// and its 37.0); a canonical value that they do not explain is kept beside, at some bytes. An origin's texts are at most 1,000 bytes together. *out belongs to the encoder and lives until the next call. *taken (may be NULL without fit_bytes): how many
// points are in it. GW_E_ARGUMENT: not in order, or a value of no known type; GW_E_TOO_LARGE: past a limit above: encode fewer (one point of the journal always
// fits); GW_E_MEMORY.
enum gw_error gw_chunk_encode(struct gw_chunk_encoder *encoder, const struct gw_point *points, uint32_t count,
    const struct gw_chunk_options *options, uint32_t *taken, struct gw_span *out, struct gw_why *why);

// ---- decoding ----

// The head alone, checksum not checked.
enum gw_error gw_chunk_peek(struct gw_span bytes, struct gw_chunk_head *head, struct gw_why *why);

struct gw_chunk_reader; // some hundred kB of columns, and what the samples need; reuse it
struct gw_chunk_reader *gw_chunk_reader_new(void); // NULL: out of memory
void gw_chunk_reader_free(struct gw_chunk_reader *reader);

// Checks checksum and layout; decodes nothing yet (what is damaged under a checksum that fits is found by what decodes it; times are always in order). bytes must outlive all use of what is read; whatever the reader gives lives until the next gw_chunk_open(), and points
// into bytes or the reader. GW_E_CORRUPT, GW_E_VERSION.
enum gw_error gw_chunk_open(struct gw_chunk_reader *reader, struct gw_span bytes, struct gw_why *why);
const struct gw_chunk_head *gw_chunk_head(const struct gw_chunk_reader *reader);

// What a plot or a roll-up needs, by columns of head.count entries each; decodes those only.
struct gw_chunk_columns {
	uint32_t count;
	const int64_t *times_us;
	const double *values;      // canonical decimals, correctly rounded (exponents of -22..22 and 53 bits; beyond that to the last bit or so); NaN where the reading is none
	const uint16_t *flags;     // enum gw_flag
	const uint16_t *revisions; // NULL: all 0
};
enum gw_error gw_chunk_columns(struct gw_chunk_reader *reader, struct gw_chunk_columns *columns, struct gw_why *why);
// Bounds of the receive times less the device times.
enum gw_error gw_chunk_delays(struct gw_chunk_reader *reader, int64_t *least_us, int64_t *most_us, struct gw_why *why);
// The canonical decimals, exactly; {0, 0} where the reading is none. out holds head.count.
enum gw_error gw_chunk_decimals(struct gw_chunk_reader *reader, struct gw_decimal *out, struct gw_why *why);

// Whole readings by columns of head.count entries each, for rows of text. A reading whose form is plain is a decimal that came as its digits say (or without any), of a common size: there is
// no more to it than what stands here and what it has in common with others of its form and origin. The others are for gw_chunk_seek() and gw_chunk_next().
struct gw_chunk_whole {
	uint32_t count;
	const int64_t *times_us, *delays; // received: delay_unit_us times so many after the device's time
	int64_t delay_unit_us;
	const int64_t *sequences, *revisions, *forms, *origins; // indexes, the last two
	const bool *plain;                // by form
	bool samples;                     // some are blocks of samples
	const struct gw_decimal *said, *canonical; // of plain ones; the same array where no unit was converted
};
enum gw_error gw_chunk_whole(struct gw_chunk_reader *reader, struct gw_chunk_whole *whole, struct gw_why *why);

// Walks whole readings: gw_chunk_next() gives the next one; false at the end and on damage (*error, which may be NULL). signal and instance are the
// caller's: they are not in the chunk and come as 0.
bool gw_chunk_next(struct gw_chunk_reader *reader, struct gw_point *point, enum gw_error *error);
// The next one will be that with this index (to head.count: the end).
enum gw_error gw_chunk_seek(struct gw_chunk_reader *reader, uint32_t index, struct gw_why *why);
// The index of the first reading at or after time_us; head.count where there is none.
enum gw_error gw_chunk_find(struct gw_chunk_reader *reader, int64_t time_us, uint32_t *index, struct gw_why *why);

#endif
