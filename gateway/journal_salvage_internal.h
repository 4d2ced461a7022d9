// SPDX-License-Identifier: Apache-2.0
// Between journal_salvage.c and journal_salvage_strays.c only.
#ifndef GW_JOURNAL_SALVAGE_INTERNAL_H
#define GW_JOURNAL_SALVAGE_INTERNAL_H

#include "gateway/journal_salvage.h"

// Records back to back that no tree leads to: the longest run of whole ones from the value's start.
struct gw_stray {
	uint64_t first, last;   // positions; last 0: not known
	uint64_t offset;        // in the file
	uint32_t len, count;
	int64_t received_us;    // of its first record
	uint64_t base;          // the first one's position, as entries of the index say; 0: none does
	uint32_t votes;
	bool keyed, sealed;     // an entry leads to it; its seal tells whether a position is its own
	uint32_t seal[2];
};
// What trees lead to, in order.
struct gw_stretch { uint64_t first, last; int64_t first_us, last_us; };

struct gw_strays {
	struct gw_stray *at;
	size_t count, cap;
	struct gw_stretch *have;
	size_t have_count, have_cap;
	bool known;             // pages that are free are known, so that no stray is an old state of something
	bool head_lost;         // there may be some before the first of `have`; else those were trimmed
};

enum gw_error gw_strays_add(struct gw_strays *strays, struct gw_span value, uint64_t last, uint64_t offset);
enum gw_error gw_strays_have(struct gw_strays *strays, uint64_t first, uint64_t last, int64_t first_us, int64_t last_us);
// Gives each its place; those without any go. What is left is in order; `next` is the position after all that was ever given, for those that come behind.
enum gw_error gw_strays_settle(struct gw_strays *strays, int fd, uint64_t *next, uint64_t *moved);
void gw_strays_free(struct gw_strays *strays);

#endif
