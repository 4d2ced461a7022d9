// SPDX-License-Identifier: Apache-2.0
// A sticky cursor that writes text and JSON into a caller's buffer: writes what fits, counts what is needed. Any thread.
#ifndef GW_TEXT_OUT_H
#define GW_TEXT_OUT_H

#include "gateway/span.h"

#include <stdint.h>

struct gw_text_out {
	char *at;   // may be NULL with cap 0
	size_t cap;
	size_t len; // needed so far, also beyond cap
};

static inline void
gw_put_span(struct gw_text_out *out, struct gw_span text)
{
	if (text.len > 0 && out->len <= out->cap && text.len <= out->cap - out->len)
		memcpy(out->at + out->len, text.at, text.len);
	out->len += text.len;
}

static inline void
gw_put_text(struct gw_text_out *out, const char *text)
{
	gw_put_span(out, gw_span_text(text));
}

void gw_put_number(struct gw_text_out *out, int64_t value);
// A JSON string with its quotes (RFC 8259); bytes that are no UTF-8 become U+FFFD.
void gw_put_json(struct gw_text_out *out, struct gw_span text);

#endif
