// SPDX-License-Identifier: Apache-2.0
// How often refused claims are recorded: one a minute for each claim, and a few a minute for each principal, so that nobody fills the journal with
// them. Fixed memory; one thread's own.
#ifndef GW_LINE_LIMIT_H
#define GW_LINE_LIMIT_H

#include "gateway/hash.h"

#include <stdbool.h>

#define GW_LINE_LIMIT_SLOTS 512
#define GW_LINE_LIMIT_US (60 * 1000000ll)

struct gw_line_limit_slot {
	uint64_t key;
	int64_t since_us;
	uint32_t count;
};
struct gw_line_limit { // apart, so that many claims cannot push out who makes them
	struct gw_line_limit_slot claims[GW_LINE_LIMIT_SLOTS], principals[GW_LINE_LIMIT_SLOTS];
};

// Counts one more of key; false where max are reached within the time. Two keys that share a slot take turns.
static inline bool
gw_line_limit_count(struct gw_line_limit_slot *slots, int64_t now_us, uint64_t key, uint32_t max)
{
	struct gw_line_limit_slot *slot = &slots[key % GW_LINE_LIMIT_SLOTS];

	if (slot->key != key || now_us - slot->since_us >= GW_LINE_LIMIT_US || now_us < slot->since_us) {
		slot->key = key;
		slot->since_us = now_us;
		slot->count = 0;
	}
	return slot->count < max && ++slot->count > 0;
}

static inline bool
gw_line_limit_pass(struct gw_line_limit *limit, int64_t now_us, struct gw_span principal, struct gw_span claim, uint32_t principal_max)
{
	uint64_t who = gw_hash_bytes(1, principal);

	return gw_line_limit_count(limit->claims, now_us, gw_hash_bytes(who, claim), 1) &&
	    gw_line_limit_count(limit->principals, now_us, who, principal_max);
}

#endif
