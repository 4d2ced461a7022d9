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
	// When it is known how many there are, and every now and then: pages of trees looked at, of about so many. False: stop. May be NULL.
	bool (*progress)(void *arg, uint64_t pages, uint64_t total);
	// To save what can be saved; NULL otherwise. The entries of all tables, as `entry`.
	bool (*each)(void *arg, const char *table, struct gw_span key, struct gw_span value);
	// Keys from low on and below high may have been in what could not be read; empty: no bound. "tables": of every table.
	void (*lost)(void *arg, const char *table, struct gw_span low, struct gw_span high);
	// Where pages are damaged: what lies in pages that no tree leads to any more, though they are not free. An entry of a leaf; or, with an empty key, a long
	// value without its entry, up to the end of its pages. Of which table, and whether it is whole, the caller has to find out.
	bool (*stray)(void *arg, struct gw_span key, struct gw_span value, uint64_t offset); // of the value, in the file
	const uint64_t *shunned; // pages that two places lead to, as an earlier walk found: neither is followed, they are strays
	size_t shunned_count;
	void *arg;
	bool contents;     // long values are read to their ends, so that what the disk cannot give is found
	bool deep;         // also the heads of long values' pages, which are most of a file. Without it a walk reads about a hundredth
};
#define GW_PAGES_TWICE 64
struct gw_pages_seen {
	uint64_t twice[GW_PAGES_TWICE]; // pages that two places lead to, the first ones
	size_t twice_count;
	uint64_t pages, entries, damaged;
	uint64_t pages_free, pages_lost; // lost: neither in a tree nor free; they cost room alone
	bool older;      // one of the file's two heads is damaged: what is seen may be the state before the last. Strays are looked for in free pages as well
	bool free_known; // else strays may be of older states
};

// Every page of every tree, and the list of free pages: numbers within the file, kinds and sizes that fit, keys in order, nothing twice, counts as told.
// GW_OK also where damage was found; GW_E_CORRUPT: not even the file's head can be read; GW_E_STOPPING; GW_E_MEMORY.
enum gw_error gw_pages_walk(int fd, const struct gw_pages_walk *walk, struct gw_pages_seen *seen, struct gw_why *why);

// Whether LMDB may be let near the file at PATH: GW_E_CORRUPT with words about the first damage. A file that is empty or not there is fine.
enum gw_error gw_pages_check(const char *path, struct gw_why *why);

#endif
