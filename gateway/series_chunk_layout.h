// SPDX-License-Identifier: Apache-2.0
// What lies in a chunk (schemas/series-format.md), for series_chunk*.c only. Little-endian. Pure; any thread.
#ifndef GW_SERIES_CHUNK_LAYOUT_H
#define GW_SERIES_CHUNK_LAYOUT_H

#include "gateway/bytes.h"
#include "gateway/nomenclature.h"
#include "gateway/series_chunk.h"

#define CHUNK_VERSION 1

enum {
	CHUNK_CRC = 0,      // u32 CRC-32C of all bytes after it
	CHUNK_VERSION_AT = 4, // u8
	CHUNK_PLACES = 5,   // u8
	CHUNK_COUNT = 6,    // u16
	CHUNK_FIRST = 8,    // i64
	CHUNK_HEAD = 16,    // then varints: last - first, first position, last position - first position, columns, and each column's bytes
	CHUNK_PAD = 8,      // zero bytes at the end, so that a column's last bits are read eight bytes at a time
};

// Columns in the order in which they lie. One that is not there is all zeros, or of no entries. On disk.
enum chunk_column {
	COLUMN_CONVERSIONS,   // from the number as said to the canonical one
	COLUMN_TIME,          // of each reading, less the first's
	COLUMN_RECEIVED,      // steps after the device's time
	COLUMN_SEQUENCE,
	COLUMN_REVISION,
	COLUMN_FORM,          // index
	COLUMN_ORIGIN,        // index
	COLUMN_NUMBER,        // of each reading; where it is no decimal the one before it. First style (u8) and exponent (i16)
	COLUMN_EXPONENT,      // of each reading, above NUMBER's
	COLUMN_APART,         // decimals that are no part of NUMBER: mantissas
	COLUMN_APART_EXPONENT,
	COLUMN_VALUE,         // words: of each code and text
	COLUMN_SAID,          // words: of each reading that was received with characters of its own
	COLUMN_PERIOD,        // of each block of samples
	COLUMN_SAMPLE_EXPONENT,
	COLUMN_SAMPLE_COUNT,
	COLUMN_HOLES,         // run lengths in varints: samples, holes, samples...
	COLUMN_SAMPLES,       // of all blocks; a hole is the sample before it
	COLUMN_FORMS,         // dictionary
	COLUMN_ORIGINS,       // dictionary
	COLUMN_WORDS,         // dictionary
	COLUMN_COUNT,
};

// How the numbers' exponents are known.
enum chunk_exponents { EXPONENTS_SAME = 0, EXPONENTS_TRIMMED = 1, EXPONENTS_COLUMN = 2 };

// Form: bits on disk.
enum chunk_said { SAID_RENDERED = 0, SAID_NOTHING = 1, SAID_WORD = 2, SAID_MASK = 3, FORM_NUMBER_APART = 4, FORM_CANONICAL_APART = 8, FORM_BITS = 15 };

#define CONVERSIONS_MAX 16 // the first is "none" and not stored
#define CONVERT_EXPONENT_MAX 64

struct chunk_form {
	uint16_t flags;
	uint8_t kind, type;
	uint8_t bits; // enum chunk_said
	uint8_t conversion;
	uint32_t unit;
	uint32_t unit_word; // 0: none; else 1 + word
};

// ---- bytes ----

// Writes until `cap`, and remembers that it was not enough.
struct chunk_out {
	uint8_t *at;
	size_t len, cap;
	bool full;
};

static inline void
chunk_put(struct chunk_out *out, const void *from, size_t len)
{
	if (len > out->cap - out->len) {
		out->full = true;
		return;
	}
	gw_put_bytes(out->at + out->len, from, len);
	out->len += len;
}

static inline void
chunk_put8(struct chunk_out *out, uint8_t byte)
{
	chunk_put(out, &byte, 1);
}

static inline void
chunk_put_varint(struct chunk_out *out, uint64_t value)
{
	uint8_t bytes[10];
	size_t n = 0;

	for (; value >= 0x80; value >>= 7)
		bytes[n++] = (uint8_t)(value | 0x80);
	bytes[n++] = (uint8_t)value;
	chunk_put(out, bytes, n);
}

static inline uint64_t
chunk_zigzag(int64_t value)
{
	return (uint64_t)value << 1 ^ (uint64_t)(value >> 63);
}

static inline int64_t
chunk_unzigzag(uint64_t value)
{
	return (int64_t)(value >> 1 ^ (0 - (value & 1)));
}

// Reads until the end; then gives zeros and remembers.
struct chunk_in {
	const uint8_t *at, *end;
	bool bad;
};

static inline uint8_t
chunk_take8(struct chunk_in *in)
{
	if (in->at == in->end) {
		in->bad = true;
		return 0;
	}
	return *in->at++;
}

static inline uint64_t
chunk_take_varint(struct chunk_in *in)
{
	uint64_t value = 0;

	for (int shift = 0; shift < 70; shift += 7) {
		uint8_t byte = chunk_take8(in);
		value |= (uint64_t)(byte & 0x7F) << shift;
		if (byte < 0x80) {
			in->bad |= shift == 63 && byte > 1;
			return value;
		}
	}
	in->bad = true;
	return 0;
}

static inline struct gw_span
chunk_take(struct chunk_in *in, uint64_t len)
{
	struct gw_span span = { in->at, (size_t)len };

	if (len > (uint64_t)(in->end - in->at)) {
		in->bad = true;
		return (struct gw_span){ in->end, 0 };
	}
	in->at += len;
	return span;
}

// ---- columns of numbers (series_chunk_pack.c, series_chunk_unpack.c) ----

#define PACK_BLOCK 128
#define PACK_SCALE_MAX 15

// A column's first byte. On disk.
enum pack_kind { PACK_CONSTANT = 0, PACK_BLOCKS = 7 };

// Predictors. On disk.
enum pack_predictor { PACK_VALUE = 0, PACK_DELTA = 1, PACK_DELTA_OF_DELTA = 2, PACK_PREDICTORS = 3 };

extern const int64_t chunk_pow10[19];

// Writes n values.
void chunk_pack(struct chunk_out *out, const int64_t *values, size_t n);

// Reads them block by block. bytes is followed by CHUNK_PAD readable bytes.
struct chunk_unpack {
	struct chunk_in in;
	size_t left;
	uint64_t value, delta;
	int64_t constant;
	uint8_t kind; // enum pack_kind
};
bool chunk_unpack_open(struct chunk_unpack *u, struct gw_span bytes, size_t n);
// The next block, at most PACK_BLOCK values, to out, which has room for that many and eight more. 0 at the end and on damage (u->in.bad).
size_t chunk_unpack_block(struct chunk_unpack *u, int64_t *out);
// All of it. out has room for n and PACK_BLOCK more.
bool chunk_unpack_all(struct gw_span bytes, int64_t *out, size_t n);

// ---- dictionaries (series_chunk_words.c) ----

struct chunk_words {
	uint8_t *at;       // the words, back to back
	size_t len, cap;
	uint32_t *ends;    // where each ends
	uint32_t count, room;
	uint32_t *slots;   // 1 + index by hash
	uint32_t slots_mask;
	bool failed;       // out of memory, or past GW_CHUNK_BYTES_MAX
};
void chunk_words_clear(struct chunk_words *words);
void chunk_words_fini(struct chunk_words *words);
uint32_t chunk_words_add(struct chunk_words *words, struct gw_span word); // its index, old or new
void chunk_words_put(const struct chunk_words *words, struct chunk_out *out);

struct chunk_word_list {
	struct gw_span *words;
	uint32_t count, room;
};
// False on damage; *memory: for want of memory. The words point into in's bytes.
bool chunk_word_list_take(struct chunk_word_list *list, struct chunk_in *in, bool *memory);

#endif
