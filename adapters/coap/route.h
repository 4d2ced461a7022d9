// SPDX-License-Identifier: Apache-2.0
// A request's path as a route ("ward/bed-7/vitals"), and numbers in options. Pure; any thread.
#ifndef GW_COAP_ROUTE_H
#define GW_COAP_ROUTE_H

#include "gateway/span.h"

#include <stdint.h>

// A route being built in the caller's memory. A path can't be longer than this in one datagram: each byte may become three.
#define GW_COAP_ROUTE_CAP 4608
struct gw_coap_route {
	size_t len;
	char text[GW_COAP_ROUTE_CAP];
};

// Adds one Uri-Path segment. A slash, '%' or control character inside of a segment becomes %XX, so that no segment can pass for two and nobody
// can claim another device's route by quoting. What does not fit any more is left out and makes the call return false.
bool gw_coap_route_add(struct gw_coap_route *route, struct gw_span segment);

// An option's unsigned integer (RFC 7252 section 3.2), at most 4 bytes: false where it is longer.
bool gw_coap_uint(struct gw_span value, uint32_t *number);

// A time as devices get it: seconds since 1970 with three decimals, "1795161600.250". Returns its length; out holds 32 bytes.
size_t gw_coap_time_text(int64_t us, char out[32]);

#endif
