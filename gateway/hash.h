// SPDX-License-Identifier: Apache-2.0
// A fast hash for tables in memory whose keys the program itself chose (signal names, fields of profiles). Not for the disk (gw_name_hash), nor
// for tables that a stranger can fill. Any thread.
#ifndef GW_HASH_H
#define GW_HASH_H

#include "gateway/span.h"

static inline uint64_t
gw_hash_mix(uint64_t x)
{
	x ^= x >> 32;
	x *= 0x9E3779B97F4A7C15u;
	x ^= x >> 29;
	x *= 0xBF58476D1CE4E5B9u;
	return x ^ x >> 32;
}

static inline uint64_t
gw_hash_bytes(uint64_t seed, struct gw_span key)
{
	const uint8_t *at = key.at;
	size_t left = key.len;
	uint64_t hash = (seed + 0x9E3779B97F4A7C15u) * (key.len + 1), word;

	for (; left >= 8; at += 8, left -= 8) {
		memcpy(&word, at, 8);
		hash = (hash ^ word) * 0xFF51AFD7ED558CCDu;
		hash ^= hash >> 32;
	}
	word = 0;
	for (size_t i = 0; i < left; i++)
		word |= (uint64_t)at[i] << (8 * i);
	return gw_hash_mix(hash ^ word);
}

#endif
