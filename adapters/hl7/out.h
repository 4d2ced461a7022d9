// SPDX-License-Identifier: Apache-2.0
// Writing HL7 v2 (chapter 2: segments, fields, escapes) into a buffer that grows. The first failure sticks: the code that writes a message reads
// as a list of what is in it, and checks once.
#ifndef GW_HL7_OUT_H
#define GW_HL7_OUT_H

#include "gateway/span.h"

struct gw_hl7_out {
	uint8_t *at;
	size_t len, cap;
	bool failed; // out of memory
};

void gw_hl7_out_fini(struct gw_hl7_out *out);
// Text that holds its own separators.
static inline void gw_hl7_put(struct gw_hl7_out *out, const char *text);
static inline void gw_hl7_put_bytes(struct gw_hl7_out *out, struct gw_span bytes);
void gw_hl7_put_number(struct gw_hl7_out *out, uint64_t number);
void gw_hl7_putf(struct gw_hl7_out *out, const char *format, ...) __attribute__((format(printf, 2, 3)));
// Text of the world: | ^ & ~ \ become escape sequences, control characters \Xhh\ (section 2.7).
void gw_hl7_put_text(struct gw_hl7_out *out, struct gw_span text);
// DTM in UTC with zone and as many fraction digits as are not zero, at most four: 20261120081500.25+0000 (section 2A, DTM). Years 0 to 9999.
void gw_hl7_put_time(struct gw_hl7_out *out, int64_t us);
// 16 digits, upper case.
void gw_hl7_put_eui64(struct gw_hl7_out *out, uint64_t eui64);

// ---- Most of a message is short texts ----

// The slow way: there may be no room, or nothing to put.
void gw_hl7_out_grow_and_put(struct gw_hl7_out *out, struct gw_span bytes);

static inline void
gw_hl7_put_bytes(struct gw_hl7_out *out, struct gw_span bytes)
{
	if (bytes.len >= out->cap - out->len) {
		gw_hl7_out_grow_and_put(out, bytes);
		return;
	}
	memcpy(out->at + out->len, bytes.at, bytes.len);
	out->len += bytes.len;
}

static inline void
gw_hl7_put(struct gw_hl7_out *out, const char *text)
{
	gw_hl7_put_bytes(out, gw_span(text, strlen(text)));
}

#endif
