// SPDX-License-Identifier: Apache-2.0
// Newest times: open addressing with linear probing, at most 3/4 full, grown by doubling. The writer's thread changes it;
// journal.c holds the lock where readers could see.
#include "gateway/journal_map.h"

#include <stdlib.h>

enum gw_error
gw_newest_init(struct gw_newest_map *map, size_t max)
{
	*map = (struct gw_newest_map){ .mask = 1023, .shift = 64 - 10, .max = max };
	map->slots = calloc(map->mask + 1, sizeof(*map->slots));
	return map->slots != NULL ? GW_OK : GW_E_MEMORY;
}

void
gw_newest_fini(struct gw_newest_map *map)
{
	free(map->slots);
	free(map->undo);
	*map = (struct gw_newest_map){ 0 };
}

static uint64_t
normal(uint64_t series)
{
	return series != 0 ? series : 1;
}

static struct gw_newest *
slot_of(const struct gw_newest_map *map, uint64_t series)
{
	size_t at = (size_t)(series >> map->shift);

	while (map->slots[at].series != series && map->slots[at].series != 0)
		at = (at + 1) & map->mask;
	return &map->slots[at];
}

struct gw_newest *
gw_newest_find(const struct gw_newest_map *map, uint64_t series)
{
	struct gw_newest *slot = slot_of(map, normal(series));
	return slot->series != 0 ? slot : NULL;
}

static enum gw_error
grow(struct gw_newest_map *map, size_t need)
{
	struct gw_newest_map bigger = *map;

	while (need > (bigger.mask + 1) / 4 * 3) {
		bigger.mask = bigger.mask * 2 + 1;
		bigger.shift--;
	}
	if (bigger.mask == map->mask)
		return GW_OK;
	bigger.slots = calloc(bigger.mask + 1, sizeof(*bigger.slots));
	if (bigger.slots == NULL)
		return GW_E_MEMORY;
	for (size_t i = 0; i <= map->mask; i++)
		if (map->slots[i].series != 0)
			*slot_of(&bigger, map->slots[i].series) = map->slots[i];
	free(map->slots);
	bigger.epoch++;
	*map = bigger;
	return GW_OK;
}

static enum gw_error
grow_undo(struct gw_newest_map *map, size_t changes)
{
	size_t cap = map->undo_cap > 0 ? map->undo_cap : 1024;
	struct gw_newest_undo *undo;

	if (map->undo_count + changes <= map->undo_cap)
		return GW_OK;
	while (cap < map->undo_count + changes)
		cap *= 2;
	if ((undo = realloc(map->undo, cap * sizeof(*undo))) == NULL)
		return GW_E_MEMORY;
	map->undo = undo;
	map->undo_cap = cap;
	return GW_OK;
}

enum gw_error
gw_newest_reserve(struct gw_newest_map *map, size_t changes)
{
	enum gw_error error = grow_undo(map, changes);

	return error == GW_OK ? grow(map, map->count + changes) : error;
}

static struct gw_newest *
add(struct gw_newest_map *map, uint64_t series)
{
	struct gw_newest *slot = slot_of(map, normal(series));

	slot->series = normal(series);
	slot->dirty = false;
	map->count++;
	return slot;
}

static void
mark_dirty(struct gw_newest_map *map, struct gw_newest *slot)
{
	map->dirty += !slot->dirty;
	slot->dirty = true;
}

void
gw_newest_set(struct gw_newest_map *map, struct gw_newest *entry, uint64_t series, int64_t time_us, uint64_t position)
{
	bool made = entry == NULL;

	if (made)
		entry = add(map, series);
	map->undo[map->undo_count++] = (struct gw_newest_undo){ entry->series, entry->time_us, entry->position, made };
	entry->time_us = time_us;
	entry->position = position;
	mark_dirty(map, entry);
}

// Removes a slot; those behind it that would no longer be found move up.
static void
take_out(struct gw_newest_map *map, struct gw_newest *slot)
{
	size_t hole = (size_t)(slot - map->slots), at = hole;

	map->dirty -= slot->dirty;
	map->count--;
	for (;;) {
		at = (at + 1) & map->mask;
		if (map->slots[at].series == 0)
			break;
		size_t home = (size_t)(map->slots[at].series >> map->shift);
		if (((at - home) & map->mask) >= ((at - hole) & map->mask)) {
			map->slots[hole] = map->slots[at];
			hole = at;
		}
	}
	map->slots[hole] = (struct gw_newest){ 0 };
	map->epoch++;
}

void
gw_newest_rollback(struct gw_newest_map *map, size_t mark)
{
	while (map->undo_count > mark) {
		const struct gw_newest_undo *undo = &map->undo[--map->undo_count];
		struct gw_newest *slot = slot_of(map, undo->series);
		if (undo->made) {
			take_out(map, slot);
		} else {
			slot->time_us = undo->time_us;
			slot->position = undo->position;
		}
	}
}

void
gw_newest_settle(struct gw_newest_map *map)
{
	map->undo_count = 0;
}

enum gw_error
gw_newest_load(struct gw_newest_map *map, uint64_t series, int64_t time_us, uint64_t position, bool dirty)
{
	struct gw_newest *slot = gw_newest_find(map, series);
	enum gw_error error;

	if (slot == NULL) {
		// What is stored was within the limit once: a lower limit now refuses new series only.
		if ((error = grow(map, map->count + 1)) != GW_OK)
			return error;
		slot = add(map, series);
	} else if (slot->time_us > time_us) {
		return GW_OK;
	}
	slot->time_us = time_us;
	slot->position = position;
	if (dirty)
		mark_dirty(map, slot);
	return GW_OK;
}
