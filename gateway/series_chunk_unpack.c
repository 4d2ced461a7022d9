// SPDX-License-Identifier: Apache-2.0
// Columns of numbers, reading: the inner loops of every plot. Nothing is believed: a damaged column ends with in.bad, and never reads more than CHUNK_PAD bytes
// beyond it nor writes beyond the block. Pure; any thread.
#include "gateway/series_chunk_layout.h"

#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC optimize("O3")
#endif

// Eight values of `width` bits lie in `width` bytes: one load gives them all up to a byte each.
static inline void
unpack_bytes(const uint8_t *at, unsigned width, size_t n, uint64_t *out)
{
	uint64_t mask = ((uint64_t)1 << width) - 1;

	for (size_t i = 0; i < n; i += 8, at += width) {
		uint64_t word = gw_get64(at);
		for (unsigned j = 0; j < 8; j++)
			out[i + j] = word >> (j * width) & mask;
	}
}

static inline void
unpack_words(const uint8_t *at, unsigned width, size_t n, uint64_t *out)
{
	uint64_t mask = ((uint64_t)1 << width) - 1;
	size_t bit = 0;

	for (size_t i = 0; i < n; i++, bit += width)
		out[i] = gw_get64(at + (bit >> 3)) >> (bit & 7) & mask;
}

static void
unpack_wide(const uint8_t *at, unsigned width, size_t n, uint64_t *out)
{
	uint64_t mask = width == 64 ? UINT64_MAX : ((uint64_t)1 << width) - 1;
	size_t bit = 0;

	for (size_t i = 0; i < n; i++, bit += width) {
		unsigned odd = bit & 7;
		uint64_t word = gw_get64(at + (bit >> 3)) >> odd;
		if (odd > 0)
			word |= (uint64_t)at[(bit >> 3) + 8] << (64 - odd);
		out[i] = word & mask;
	}
}

static void
unpack_bits(const uint8_t *at, unsigned width, size_t n, uint64_t *out)
{
	switch (width) {
	case 0:
		memset(out, 0, n * sizeof(*out));
		return;
#define FIXED(w) case w: unpack_bytes(at, w, n, out); return;
	FIXED(1) FIXED(2) FIXED(3) FIXED(4) FIXED(5) FIXED(6) FIXED(7) FIXED(8)
#undef FIXED
	default:
		(width <= 57 ? unpack_words : unpack_wide)(at, width, n, out);
	}
}

// Replaces what the exceptions' places hold (out NULL: passes over them); false where they are none.
static bool
take_exceptions(struct chunk_in *in, size_t n, uint64_t *out)
{
	unsigned count = chunk_take8(in);
	struct gw_span places = { 0 };

	if (count > n)
		return false;
	places = chunk_take(in, count);
	for (size_t i = 0; i < places.len; i++) {
		uint64_t value = (uint64_t)chunk_unzigzag(chunk_take_varint(in));

		if (places.at[i] >= n)
			return false;
		if (out != NULL)
			out[places.at[i]] = value;
	}
	return !in->bad;
}

// Adds the base, multiplies, and undoes the predictor. Nearly all columns are scaled by 1.
static inline __attribute__((always_inline)) void
undo(struct chunk_unpack *u, enum pack_predictor predictor, uint64_t base, uint64_t by, uint64_t *out, size_t n)
{
	uint64_t value = u->value, delta = u->delta;

	if (predictor == PACK_VALUE) {
		for (size_t i = 0; i < n; i++)
			out[i] = (out[i] + base) * by;
		u->delta = out[n - 1] - (n > 1 ? out[n - 2] : u->value);
		u->value = out[n - 1];
		return;
	}
	if (predictor == PACK_DELTA)
		for (size_t i = 0; i < n; i++) {
			delta = (out[i] + base) * by;
			out[i] = value += delta;
		}
	else
		for (size_t i = 0; i < n; i++) {
			delta += (out[i] + base) * by;
			out[i] = value += delta;
		}
	u->value = value;
	u->delta = delta;
}

static bool
take_block(struct chunk_unpack *u, uint64_t *out, size_t n)
{
	uint8_t first = chunk_take8(&u->in), second = chunk_take8(&u->in);
	unsigned width = first & 0x7F, predictor = second & 3, scale = second >> 2;
	uint64_t base = (uint64_t)chunk_unzigzag(chunk_take_varint(&u->in));
	struct chunk_in exceptions = u->in;
	struct gw_span packed;

	if (u->in.bad || width > 64 || predictor >= PACK_PREDICTORS || scale > PACK_SCALE_MAX)
		return false;
	if ((first & 0x80) != 0 && !take_exceptions(&u->in, n, NULL))
		return false;
	packed = chunk_take(&u->in, (n * width + 7) / 8);
	if (u->in.bad)
		return false;
	unpack_bits(packed.at, width, n, out);
	if ((first & 0x80) != 0)
		(void)take_exceptions(&exceptions, n, out);
	if (scale == 0)
		undo(u, (enum pack_predictor)predictor, base, 1, out, n);
	else
		undo(u, (enum pack_predictor)predictor, base, (uint64_t)chunk_pow10[scale], out, n);
	return true;
}

bool
chunk_unpack_open(struct chunk_unpack *u, struct gw_span bytes, size_t n)
{
	*u = (struct chunk_unpack){ .in = { bytes.at, bytes.at + bytes.len, false }, .left = n };
	if (n == 0)
		return bytes.len == 0;
	u->kind = chunk_take8(&u->in);
	if (u->kind == PACK_CONSTANT)
		u->constant = chunk_unzigzag(chunk_take_varint(&u->in));
	else if (u->kind != PACK_BLOCKS)
		u->in.bad = true;
	return !u->in.bad;
}

size_t
chunk_unpack_block(struct chunk_unpack *u, int64_t *out)
{
	size_t n = u->left < PACK_BLOCK ? u->left : PACK_BLOCK;

	if (u->in.bad || n == 0)
		return 0;
	if (u->kind == PACK_CONSTANT)
		for (size_t i = 0; i < n; i++)
			out[i] = u->constant;
	else if (!take_block(u, (uint64_t *)out, n))
		u->in.bad = true;
	u->left -= n;
	if (u->left == 0 && u->in.at != u->in.end)
		u->in.bad = true;
	return u->in.bad ? 0 : n;
}

bool
chunk_unpack_all(struct gw_span bytes, int64_t *out, size_t n)
{
	struct chunk_unpack u;
	size_t got;

	if (!chunk_unpack_open(&u, bytes, n))
		return false;
	while ((got = chunk_unpack_block(&u, out)) > 0)
		out += got;
	return !u.in.bad && u.left == 0;
}
