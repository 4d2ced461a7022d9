// SPDX-License-Identifier: Apache-2.0
// Bodies that come in blocks (Block1, RFC 7959 section 2.5), put together under limits. Pure: no I/O, no clock; the adapter's thread.
//
// An upload belongs to (owner, key): the session, and a hash of method, route and Request-Tag (RFC 9175 section 3). Blocks come in order; block 0 begins anew.
// Memory: at most `max` bodies of at most `bytes_max` each. An owner has `of_one` at most: the one that was silent longest makes way, so that
// a device that begins and never ends takes nobody else's place.
#ifndef GW_COAP_UPLOAD_H
#define GW_COAP_UPLOAD_H

#include "gateway/span.h"

#include <stdint.h>

#define GW_COAP_UPLOAD_BUCKETS 256

struct gw_coap_upload;
struct gw_coap_uploads {
	struct gw_coap_upload *buckets[GW_COAP_UPLOAD_BUCKETS];
	size_t count, max, of_one;
	size_t bytes_max;
	int64_t idle_us_max; // an upload without a block for so long is given up
};

// A Block1 option's value (RFC 7959 section 2.2) and what came with it.
struct gw_coap_block {
	uint32_t num;
	bool more;
	uint8_t szx;          // block size is 16 << szx; 7 is not allowed here
	uint32_t size1;       // the body's size as the client told it, 0 if not
	struct gw_span payload;
};

enum gw_coap_block_result {
	GW_COAP_BLOCK_CONTINUE,   // 2.31: send the next one
	GW_COAP_BLOCK_COMPLETE,   // that was the last one
	GW_COAP_BLOCK_INCOMPLETE, // 4.08: one is missing, begin again
	GW_COAP_BLOCK_TOO_LARGE,  // 4.13
	GW_COAP_BLOCK_BAD,        // 4.00
	GW_COAP_BLOCK_BUSY,       // 5.03: too many uploads under way, or out of memory
};

// Any result but CONTINUE ends the upload. On COMPLETE *body is the caller's to free().
enum gw_coap_block_result gw_coap_upload_block(struct gw_coap_uploads *uploads, const void *owner, uint64_t key,
    const struct gw_coap_block *block, int64_t now_us, uint8_t **body, size_t *body_len);
// Of an owner that is gone; of everybody where owner is NULL.
void gw_coap_uploads_drop(struct gw_coap_uploads *uploads, const void *owner);
// Those that were silent for too long; returns how many.
size_t gw_coap_uploads_expire(struct gw_coap_uploads *uploads, int64_t now_us);

#endif
