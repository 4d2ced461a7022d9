// SPDX-License-Identifier: Apache-2.0
// How many of each name there are: connections of a principal, handshakes of an address. Pure: no I/O, no clock; one thread, or under its owner's lock.
// Memory: one entry for each name that is there at least once; whoever joins is bounded by something else.
#ifndef GW_CROWD_H
#define GW_CROWD_H

#include "gateway/error.h"
#include "gateway/span.h"

#include <stdint.h>

struct sockaddr;

struct gw_crowd_entry;
struct gw_crowd {
	struct gw_crowd_entry **slots;
	size_t mask;
};

// names: about how many different ones to expect. false: out of memory.
bool gw_crowd_init(struct gw_crowd *crowd, size_t names);
void gw_crowd_fini(struct gw_crowd *crowd);
// One more of that name. GW_E_MEMORY.
enum gw_error gw_crowd_join(struct gw_crowd *crowd, struct gw_span name);
// One less; there was one.
void gw_crowd_leave(struct gw_crowd *crowd, struct gw_span name);
uint32_t gw_crowd_count(const struct gw_crowd *crowd, struct gw_span name);

// Addresses that one sender may have are one: all ports of an IPv4 address (also where it is written as IPv6), an IPv6 network of 64 bits.
// 0 for other families.
uint64_t gw_crowd_address(const struct sockaddr *address);

#endif
