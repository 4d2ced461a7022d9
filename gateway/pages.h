// SPDX-License-Identifier: Apache-2.0
// An LMDB data file page by page, without trusting any of it: LMDB itself follows whatever a page says, and a page that was damaged on its way to or
// from the disk makes it read or write anywhere. Here every number is checked before it is followed, so that damage is words. Reads only, through a
// descriptor of the caller's (an I/O error is damage, too). Any thread, one walk by one thread.
//
// A live file: with a read transaction of LMDB's open meanwhile its newest state stays where it is. The format is that of LMDB 0.9, 64 bits.
#ifndef GW_PAGES_H
#define GW_PAGES_H

#include "gateway/error.h"
#include "gateway/reading.h"

#include <stdbool.h>
#include <stdint.h>

struct gw_pages_walk {
	// One damaged place: the page, the table where it is known (else ""), words. May be NULL.
	void (*damage)(void *arg, uint64_t page, const char *table, const char *words);
	const char *table; // whose entries are given; NULL: no table's
	// An entry; borrowed for the call. False: stop. Entries of pages that are whole are given in order, also where others are damaged.
	bool (*entry)(void *arg, struct gw_span key, struct gw_span value);
	// Every now and then: pages looked at, of about so many. False: stop. May be NULL.
	bool (*progress)(void *arg, uint64_t pages, uint64_t total);
	void *arg;
	bool deep;         // also the heads of long values' pages, which are most of a file. Without it a walk reads about a hundredth
};
struct gw_pages_seen {
	uint64_t pages, entries, damaged;
	uint64_t pages_free, pages_lost; // lost: neither in a tree nor free; they cost room alone
};

// Every page of every tree, and the list of free pages: numbers within the file, kinds and sizes that fit, keys in order, nothing twice, counts as told.
// GW_OK also where damage was found; GW_E_CORRUPT: not even the file's head can be read; GW_E_STOPPING; GW_E_MEMORY.
enum gw_error gw_pages_walk(int fd, const struct gw_pages_walk *walk, struct gw_pages_seen *seen, struct gw_why *why);

// Whether LMDB may be let near the file at PATH: GW_E_CORRUPT with words about the first damage. A file that is empty or not there is fine.
enum gw_error gw_pages_check(const char *path, struct gw_why *why);

#endif
