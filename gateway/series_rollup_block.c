// SPDX-License-Identifier: Apache-2.0
// A block of roll-ups and its bytes (schemas/series-format.md). Columns of integers, packed as a chunk's: numbers as mantissas of a common exponent, where every one of
// them comes back bit by bit, else the bits of doubles. Pure; any thread.
#include "gateway/series_rollup.h"

#include "gateway/hash.h"
#include "gateway/record.h"
#include "gateway/series_chunk_layout.h"

#include <stdlib.h>

#define VERSION 1
#define PLACES_MAX 9
#define RAW 255 // places: the bits of doubles

// Little-endian.
enum { BLOCK_CRC = 0, BLOCK_VERSION = 4, BLOCK_PLACES = 5, BLOCK_SUM_PLACES = 6, BLOCK_COUNT = 7, BLOCK_HEAD = 8 };
enum column { C_AT, C_COUNT, C_QUESTIONABLE, C_TEST, C_FIRST_AFTER, C_LAST_BEFORE, C_MIN, C_MAX, C_FIRST, C_LAST, C_SUM, COLUMNS };

#define MINUTE INT64_C(60000000)
const struct gw_rollup_level gw_rollup_levels[GW_ROLLUP_LEVELS] = {
	{ MINUTE, 240 * MINUTE }, { 15 * MINUTE, 192 * 15 * MINUTE }, { 60 * MINUTE, 192 * 60 * MINUTE },
};

static const double powers[PLACES_MAX + 1] = { 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9 };

double
gw_rollup_number(const struct gw_reading *reading)
{
	struct gw_decimal value = reading->decimal;
	char text[48];

	if (reading->type != GW_VALUE_DECIMAL)
		return NAN;
	if (value.exponent <= 0 && value.exponent >= -PLACES_MAX && llabs(value.mantissa) < INT64_C(1) << 53)
		return (double)value.mantissa / powers[-value.exponent];
	gw_decimal_text(value, text);
	return strtod(text, NULL);
}

// ---- Keys ----

void
gw_rollup_key(uint32_t id, uint8_t level, int64_t from_us, uint8_t key[GW_ROLLUP_KEY])
{
	uint32_t big_id = htobe32(id);
	uint64_t time = htobe64((uint64_t)from_us ^ UINT64_C(1) << 63);

	memcpy(key, &big_id, 4);
	key[4] = level;
	memcpy(key + 5, &time, 8);
}

bool
gw_rollup_key_take(MDB_val key, uint32_t *id, uint8_t *level, int64_t *from_us)
{
	const uint8_t *at = key.mv_data;
	uint64_t time;

	if (key.mv_size != GW_ROLLUP_KEY || at[4] >= GW_ROLLUP_LEVELS)
		return false;
	memcpy(id, at, 4);
	*id = be32toh(*id);
	*level = at[4];
	memcpy(&time, at + 5, 8);
	*from_us = (int64_t)(be64toh(time) ^ UINT64_C(1) << 63);
	return true;
}

static uint32_t
crc_of(const void *key, const uint8_t *value, size_t len)
{
	return gw_crc32c(gw_crc32c(0, key, GW_ROLLUP_KEY), value + BLOCK_VERSION, len - BLOCK_VERSION);
}

// ---- Numbers ----

static int64_t
bits_of(double value)
{
	int64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static double
from_bits(int64_t bits)
{
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static int64_t
to_integer(double value, uint8_t places)
{
	return places == RAW ? bits_of(value) : llround(value * powers[places]);
}

static double
to_number(int64_t integer, uint8_t places)
{
	return places == RAW ? from_bits(integer) : (double)integer / powers[places];
}

// The places with which the value comes back exactly, at least so many.
static uint8_t
places_of(double value, uint8_t least)
{
	for (uint8_t places = least; places <= PLACES_MAX; places++) {
		double scaled = value * powers[places];

		if (!(fabs(scaled) < 0x1p53))
			return RAW;
		if (bits_of((double)llround(scaled) / powers[places]) == bits_of(value))
			return places;
	}
	return RAW;
}

static uint8_t
block_places(const struct gw_rollup_block *block)
{
	uint8_t places = 0;

	for (uint32_t i = 0; i < block->count; i++) {
		const double values[] = { block->rows[i].min, block->rows[i].max, block->rows[i].first, block->rows[i].last };

		for (size_t k = 0; k < 4; k++)
			if ((places = places_of(values[k], places)) == RAW)
				return RAW;
	}
	return places;
}

// A sum of numbers of so many places is a whole number of their unit, but for rounding: within that it is taken for it.
static bool
is_whole(const struct gw_rollup_row *row, uint8_t places)
{
	double n = (double)row->count, most = fmax(fabs(row->min), fabs(row->max)) * powers[places], rounding = n * n * most * 0x1p-52;
	double scaled = row->sum * powers[places];

	return rounding < 0.05 && fabs(scaled) < 0x1p53 && fabs(scaled - nearbyint(scaled)) <= rounding;
}

static uint8_t
sum_places_of(const struct gw_rollup_block *block, uint8_t least)
{
	uint8_t places = least == RAW ? 0 : least;

	for (uint32_t i = 0; i < block->count; i++)
		while (!is_whole(&block->rows[i], places))
			if (++places > PLACES_MAX)
				return RAW;
	return places;
}

// ---- Writing ----

static int64_t
less(int64_t a, int64_t b)
{
	return (int64_t)((uint64_t)a - (uint64_t)b);
}

// Each against what it is near.
static void
row_to_integers(const struct gw_rollup_block *block, uint32_t i, uint8_t places, uint8_t sum_places, int64_t out[COLUMNS])
{
	const struct gw_rollup_row *row = &block->rows[i];
	const struct gw_rollup_level *level = &gw_rollup_levels[block->level];
	int64_t min = to_integer(row->min, places);

	out[C_AT] = (row->from_us - block->from_us) / level->unit_us;
	out[C_COUNT] = (int64_t)row->count;
	out[C_QUESTIONABLE] = (int64_t)row->questionable;
	out[C_TEST] = (int64_t)row->test;
	out[C_FIRST_AFTER] = row->first_us - row->from_us;
	out[C_LAST_BEFORE] = row->from_us + level->unit_us - row->last_us;
	out[C_MIN] = min;
	out[C_MAX] = less(to_integer(row->max, places), min);
	out[C_FIRST] = less(to_integer(row->first, places), min);
	out[C_LAST] = less(to_integer(row->last, places), min);
	out[C_SUM] = to_integer(row->sum, sum_places);
	if (sum_places == places && places != RAW)
		out[C_SUM] = less(out[C_SUM], (int64_t)(row->count * (uint64_t)min));
}

static void
put_column(struct chunk_out *out, const int64_t *values, uint32_t count)
{
	uint8_t bytes[GW_ROLLUP_ROWS_MAX * 12 + 64];
	struct chunk_out column = { bytes, 0, sizeof(bytes), false };

	chunk_pack(&column, values, count);
	chunk_put_varint(out, column.len);
	chunk_put(out, bytes, column.len);
}

size_t
gw_rollup_encode(const struct gw_rollup_block *block, uint8_t *bytes)
{
	static const uint8_t pad[CHUNK_PAD];
	struct chunk_out out = { bytes, BLOCK_HEAD, GW_ROLLUP_BYTES_MAX, false };
	int64_t columns[COLUMNS][GW_ROLLUP_ROWS_MAX], row[COLUMNS];
	uint8_t places = block_places(block), sum_places = sum_places_of(block, places), key[GW_ROLLUP_KEY];

	for (uint32_t i = 0; i < block->count; i++) {
		row_to_integers(block, i, places, sum_places, row);
		for (int c = 0; c < COLUMNS; c++)
			columns[c][i] = row[c];
	}
	bytes[BLOCK_VERSION] = VERSION;
	bytes[BLOCK_PLACES] = places;
	bytes[BLOCK_SUM_PLACES] = sum_places;
	bytes[BLOCK_COUNT] = (uint8_t)block->count;
	chunk_put_varint(&out, chunk_zigzag(block->delay_least));
	chunk_put_varint(&out, chunk_zigzag(block->delay_most));
	for (int c = 0; c < COLUMNS; c++)
		put_column(&out, columns[c], block->count);
	chunk_put(&out, pad, sizeof(pad));
	gw_rollup_key(block->id, block->level, block->from_us, key);
	gw_put32(bytes + BLOCK_CRC, crc_of(key, bytes, out.len));
	return out.len;
}

// ---- Reading ----

#define COLUMN_ROOM (GW_ROLLUP_ROWS_MAX + PACK_BLOCK + 8)

static void
row_from_integers(struct gw_rollup_block *block, uint32_t i, uint8_t places, uint8_t sum_places, int64_t columns[COLUMNS][COLUMN_ROOM])
{
	const struct gw_rollup_level *level = &gw_rollup_levels[block->level];
	struct gw_rollup_row *row = &block->rows[i];
	uint64_t min = (uint64_t)columns[C_MIN][i], sum = (uint64_t)columns[C_SUM][i];

	row->from_us = (int64_t)((uint64_t)block->from_us + (uint64_t)columns[C_AT][i] * (uint64_t)level->unit_us);
	row->count = (uint64_t)columns[C_COUNT][i];
	row->questionable = (uint64_t)columns[C_QUESTIONABLE][i];
	row->test = (uint64_t)columns[C_TEST][i];
	row->first_us = (int64_t)((uint64_t)row->from_us + (uint64_t)columns[C_FIRST_AFTER][i]);
	row->last_us = (int64_t)((uint64_t)row->from_us + (uint64_t)level->unit_us - (uint64_t)columns[C_LAST_BEFORE][i]);
	row->min = to_number((int64_t)min, places);
	row->max = to_number((int64_t)(min + (uint64_t)columns[C_MAX][i]), places);
	row->first = to_number((int64_t)(min + (uint64_t)columns[C_FIRST][i]), places);
	row->last = to_number((int64_t)(min + (uint64_t)columns[C_LAST][i]), places);
	if (sum_places == places && places != RAW)
		sum += row->count * min;
	row->sum = to_number((int64_t)sum, sum_places);
}

// Whatever a checksum says: rows lie in the block, in order, and count something.
static bool
is_possible(const struct gw_rollup_block *block)
{
	const struct gw_rollup_level *level = &gw_rollup_levels[block->level];
	int64_t before_us = block->from_us - level->unit_us;

	for (uint32_t i = 0; i < block->count; i++) {
		const struct gw_rollup_row *row = &block->rows[i];

		if (row->from_us <= before_us || row->from_us >= block->from_us + level->block_us || row->count == 0 || row->first_us < row->from_us ||
		    row->last_us < row->first_us || row->last_us >= row->from_us + level->unit_us)
			return false;
		before_us = row->from_us;
	}
	return true;
}

static bool
is_places(uint8_t places)
{
	return places <= PLACES_MAX || places == RAW;
}

bool
gw_rollup_decode(MDB_val key, MDB_val value, struct gw_rollup_block *block)
{
	const uint8_t *bytes = value.mv_data;
	int64_t columns[COLUMNS][COLUMN_ROOM];
	struct chunk_in in;
	uint8_t places, sum_places;

	if (!gw_rollup_key_take(key, &block->id, &block->level, &block->from_us) || value.mv_size < BLOCK_HEAD + CHUNK_PAD ||
	    gw_get32(bytes + BLOCK_CRC) != crc_of(key.mv_data, bytes, value.mv_size))
		return false;
	places = bytes[BLOCK_PLACES];
	sum_places = bytes[BLOCK_SUM_PLACES];
	block->count = bytes[BLOCK_COUNT];
	if (bytes[BLOCK_VERSION] != VERSION || !is_places(places) || !is_places(sum_places) || block->count > GW_ROLLUP_ROWS_MAX ||
	    block->from_us % gw_rollup_levels[block->level].block_us != 0 || block->from_us < -2 * GW_ROLLUP_TIME_MAX ||
	    block->from_us > 2 * GW_ROLLUP_TIME_MAX)
		return false;
	in = (struct chunk_in){ bytes + BLOCK_HEAD, bytes + value.mv_size - CHUNK_PAD, false };
	block->delay_least = chunk_unzigzag(chunk_take_varint(&in));
	block->delay_most = chunk_unzigzag(chunk_take_varint(&in));
	for (int c = 0; c < COLUMNS; c++)
		if (!chunk_unpack_all(chunk_take(&in, chunk_take_varint(&in)), columns[c], block->count))
			return false;
	if (in.bad || in.at != in.end)
		return false;
	for (uint32_t i = 0; i < block->count; i++)
		row_from_integers(block, i, places, sum_places, columns);
	return is_possible(block);
}
