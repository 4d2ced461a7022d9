// SPDX-License-Identifier: Apache-2.0
// A hash table of pointers with linear probing; hashes are made with a key of this process (gw_patients_hash), so that no feed can choose them.
// Whoever holds the lock of gateway/patients_internal.h.
#include "gateway/patients_internal.h"

#include <stdlib.h>

static void
place(struct table *table, uint64_t hash, void *item)
{
	uint32_t at = (uint32_t)hash & (table->cap - 1);

	while (table->slots[at].item != NULL)
		at = (at + 1) & (table->cap - 1);
	table->slots[at].hash = hash;
	table->slots[at].item = item;
}

static bool
grow(struct table *table)
{
	struct table bigger = { .cap = table->cap == 0 ? 64 : table->cap * 2, .count = table->count };

	bigger.slots = calloc(bigger.cap, sizeof(*bigger.slots));
	if (bigger.slots == NULL)
		return false;
	for (uint32_t i = 0; i < table->cap; i++) {
		if (table->slots[i].item != NULL)
			place(&bigger, table->slots[i].hash, table->slots[i].item);
	}
	free(table->slots);
	*table = bigger;
	return true;
}

bool
gw_table_add(struct table *table, uint64_t hash, void *item)
{
	if (table->count + 1 > table->cap / 4 * 3 && !grow(table))
		return false;
	place(table, hash, item);
	table->count++;
	return true;
}

void
gw_table_remove(struct table *table, uint64_t hash, const void *item)
{
	uint32_t mask = table->cap - 1, at = (uint32_t)hash & mask, hole;

	if (table->cap == 0)
		return;
	while (table->slots[at].item != NULL && (table->slots[at].hash != hash || table->slots[at].item != item))
		at = (at + 1) & mask;
	if (table->slots[at].item == NULL)
		return;
	// What was pushed on by the one that goes moves up, so that no probe ends too early.
	for (hole = at, at = (at + 1) & mask; table->slots[at].item != NULL; at = (at + 1) & mask) {
		uint32_t home = (uint32_t)table->slots[at].hash & mask;

		if (((at - home) & mask) >= ((at - hole) & mask)) {
			table->slots[hole] = table->slots[at];
			hole = at;
		}
	}
	table->slots[hole].item = NULL;
	table->count--;
}

uint32_t
gw_table_all(const struct table *table, uint64_t hash, void **items, uint32_t max)
{
	uint32_t mask = table->cap - 1, count = 0, i;

	if (table->cap == 0)
		return 0;
	for (uint32_t at = (uint32_t)hash & mask; table->slots[at].item != NULL && count < max; at = (at + 1) & mask) {
		if (table->slots[at].hash != hash)
			continue;
		for (i = 0; i < count && items[i] != table->slots[at].item; i++)
			;
		if (i == count)
			items[count++] = table->slots[at].item;
	}
	return count;
}

void *
gw_table_find(const struct table *table, uint64_t hash, gw_table_match_fn *match, const void *key)
{
	uint32_t mask = table->cap - 1;

	if (table->cap == 0)
		return NULL;
	for (uint32_t at = (uint32_t)hash & mask; table->slots[at].item != NULL; at = (at + 1) & mask) {
		if (table->slots[at].hash == hash && match(table->slots[at].item, key))
			return table->slots[at].item;
	}
	return NULL;
}
