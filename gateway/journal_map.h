// SPDX-License-Identifier: Apache-2.0
// Newest time of every series, in memory. The writer changes it within a transaction and can take that back; readers
// look up under the same lock. Slots are in the order of the series' hash, so that a sweep writes rows in key order.
#ifndef GW_JOURNAL_MAP_H
#define GW_JOURNAL_MAP_H

#include "gateway/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gw_newest {
	uint64_t series;   // 0: free
	int64_t time_us;
	uint64_t position;
	bool dirty;        // newer than its row in the store
};

struct gw_newest_undo {
	uint64_t series;
	int64_t time_us;
	uint64_t position;
	bool made;         // was not there before
};

struct gw_newest_map {
	struct gw_newest *slots;
	size_t mask, count, max, dirty;
	unsigned shift;
	uint64_t epoch; // counts rebuilds and removals: slot numbers are only good within one
	struct gw_newest_undo *undo;
	size_t undo_count, undo_cap;
};

enum gw_error gw_newest_init(struct gw_newest_map *map, size_t max);
void gw_newest_fini(struct gw_newest_map *map);

// The series, or NULL. 0 is taken as 1 throughout.
struct gw_newest *gw_newest_find(const struct gw_newest_map *map, uint64_t series);

// Room for so many more changes, all of which may make a series, without allocation: GW_E_MEMORY.
enum gw_error gw_newest_reserve(struct gw_newest_map *map, size_t changes);

// Sets a series after gw_newest_reserve(); remembers what was there. entry: what gw_newest_find() gave for it.
void gw_newest_set(struct gw_newest_map *map, struct gw_newest *entry, uint64_t series, int64_t time_us, uint64_t position);

// Takes changes back down to a mark (undo_count as it was); forgets all of them.
void gw_newest_rollback(struct gw_newest_map *map, size_t mark);
void gw_newest_settle(struct gw_newest_map *map);

// Without undo, for loading: raises the series to time_us. dirty says whether the store lacks it.
enum gw_error gw_newest_load(struct gw_newest_map *map, uint64_t series, int64_t time_us, uint64_t position, bool dirty);

#endif
