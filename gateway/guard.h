// SPDX-License-Identifier: Apache-2.0
// Who failed of late, by address, and how that slows down its next attempts. Only handshakes that have not begun are slowed, each by a bounded time, and those of
// other addresses never: behind one address may be a ward, and of its devices one that hammers.
//
// An address has a score: one for each failure, halved every GW_GUARD_HALF_S. Up to `free` nothing happens. Above, its handshakes begin one after the other, at an
// interval that grows with the score up to 1/slowed_per_s. Who proves a credential costs no score, so where most succeed the interval stays small by itself.
//
// Pure: no I/O, no clock; one thread. Memory is fixed: where more addresses fail than it holds, those with the smallest scores are forgotten.
#ifndef GW_GUARD_H
#define GW_GUARD_H

#include <stdint.h>

#define GW_GUARD_HALF_S 10
#define GW_GUARD_SETS 1024
#define GW_GUARD_WAYS 4

struct gw_guard_entry {
	uint64_t address;   // gw_crowd_address(); 0: free
	double score;       // as of score_us
	int64_t score_us;
	int64_t next_us;    // when its next handshake may begin
};
struct gw_guard {
	uint32_t free, slowed_per_s; // slowed_per_s 0: nobody is slowed
	struct gw_guard_entry entries[GW_GUARD_SETS][GW_GUARD_WAYS];
};

// Times are monotonic microseconds.
void gw_guard_failed(struct gw_guard *guard, uint64_t address, int64_t now_us);
// 0: a handshake of this address may begin now, and the next one after its interval. Else so many microseconds are to wait; nothing is taken.
int64_t gw_guard_wait_us(struct gw_guard *guard, uint64_t address, int64_t now_us);

#endif
