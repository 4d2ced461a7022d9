// SPDX-License-Identifier: Apache-2.0
// Scores of addresses in a small set-associative table. Pure; one thread.
#include "gateway/guard.h"

#include "gateway/hash.h"

#include <math.h>
#include <stddef.h>

static double
score_at(const struct gw_guard_entry *entry, int64_t now_us)
{
	return entry->score * exp2((double)(entry->score_us - now_us) / (GW_GUARD_HALF_S * 1e6));
}

static struct gw_guard_entry *
set_of(struct gw_guard *guard, uint64_t address)
{
	return guard->entries[gw_hash_mix(address) % GW_GUARD_SETS];
}

static struct gw_guard_entry *
find(struct gw_guard *guard, uint64_t address)
{
	struct gw_guard_entry *set = set_of(guard, address);

	for (size_t i = 0; i < GW_GUARD_WAYS; i++)
		if (set[i].address == address)
			return &set[i];
	return NULL;
}

void
gw_guard_failed(struct gw_guard *guard, uint64_t address, int64_t now_us)
{
	struct gw_guard_entry *entry, *set = set_of(guard, address);

	if (address == 0)
		return;
	if ((entry = find(guard, address)) == NULL) {
		entry = set;
		for (size_t i = 1; i < GW_GUARD_WAYS; i++)
			if (score_at(&set[i], now_us) < score_at(entry, now_us))
				entry = &set[i];
		*entry = (struct gw_guard_entry){ .address = address, .score_us = now_us };
	}
	entry->score = score_at(entry, now_us) + 1;
	entry->score_us = now_us;
}

int64_t
gw_guard_wait_us(struct gw_guard *guard, uint64_t address, int64_t now_us)
{
	struct gw_guard_entry *entry = guard->slowed_per_s != 0 && address != 0 ? find(guard, address) : NULL;
	double over;

	if (entry == NULL || (over = score_at(entry, now_us) - guard->free) <= 0)
		return 0;
	if (entry->next_us > now_us)
		return entry->next_us - now_us;
	over = over < 4.0 * guard->free ? over / (4.0 * guard->free) : 1;
	entry->next_us = now_us + (int64_t)(1e6 / guard->slowed_per_s * over);
	return 0;
}
