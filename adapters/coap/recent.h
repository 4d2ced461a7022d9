// SPDX-License-Identifier: Apache-2.0
// The requests that one session sent last, so that a copy of a request is answered as the first one was and not taken twice
// (RFC 7252 section 4.2). Pure: no I/O, no clock; the adapter's thread.
//
// Two requests are the same where message ID and hash (of token, method, route, options and payload) are the same. A fast client may come round
// to a message ID within the exchange lifetime; its content then tells that it is another request.
#ifndef GW_COAP_RECENT_H
#define GW_COAP_RECENT_H

#include "gateway/span.h"

#include <stdint.h>

#define GW_COAP_EXCHANGE_S 247    // EXCHANGE_LIFETIME, RFC 7252 section 4.8.2
#define GW_COAP_RECENT_USUAL 16   // answers remembered where fewer are under way

struct gw_coap_remembered {
	uint64_t hash;
	int64_t stamp_us;  // what the adapter put into the answer
	char *text;        // its diagnostic payload, NULL for none
	uint32_t came_s;
	uint8_t state;     // enum gw_coap_seen: 0 (nothing here), pending or answered
	uint8_t code;      // the answer's
};

// Zeroed is empty; nothing is allocated before the first request.
struct gw_coap_recent {
	uint16_t *mids; // cap of them, together, so that a look touches few lines of memory
	struct gw_coap_remembered *entries; // behind them in the same piece of memory
	uint32_t next;  // handle of the next request; its place is the handle modulo cap
	uint32_t cap;   // power of two
	uint32_t pending;
};

enum gw_coap_seen { GW_COAP_SEEN_NEW, GW_COAP_SEEN_PENDING, GW_COAP_SEEN_ANSWERED, GW_COAP_SEEN_CROWDED };

// NEW: remembered as pending under *handle until answered or forgotten. PENDING, ANSWERED: a copy of the request of *handle. CROWDED: pending_max are
// under way (or memory is out); not remembered.
enum gw_coap_seen gw_coap_recent_look(struct gw_coap_recent *recent, uint16_t mid, uint64_t hash, uint32_t now_s,
    uint32_t pending_max, uint32_t *handle);
// What is remembered of a handle that look gave; valid until the next look.
const struct gw_coap_remembered *gw_coap_recent_at(const struct gw_coap_recent *recent, uint32_t handle);
// text is copied (empty: none); out of memory, the answer is remembered without it.
void gw_coap_recent_answered(struct gw_coap_recent *recent, uint32_t handle, uint8_t code, int64_t stamp_us, struct gw_span text);
// A copy shall be taken as new: nothing was stored.
void gw_coap_recent_forget(struct gw_coap_recent *recent, uint32_t handle);
void gw_coap_recent_fini(struct gw_coap_recent *recent);

// Hash for the above: fast, not cryptographic; a session can only confuse itself.
uint64_t gw_coap_hash(uint64_t seed, const void *at, size_t len);

#endif
