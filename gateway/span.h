// SPDX-License-Identifier: Apache-2.0
// Borrowed bytes: a pointer and a length, owned by somebody else, valid for the call unless a contract says longer.
#ifndef GW_SPAN_H
#define GW_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct gw_span {
	const uint8_t *at;
	size_t len;
};

static inline struct gw_span
gw_span(const void *at, size_t len)
{
	return (struct gw_span){ at, len };
}

// Of a terminated string, without its terminator. NULL gives the empty span.
static inline struct gw_span
gw_span_text(const char *text)
{
	return (struct gw_span){ (const uint8_t *)text, text != NULL ? strlen(text) : 0 };
}

static inline bool
gw_span_equal(struct gw_span a, struct gw_span b)
{
	return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

static inline bool
gw_span_is(struct gw_span a, const char *text)
{
	return gw_span_equal(a, gw_span_text(text));
}

// For printf's "%.*s".
#define GW_SPAN_FMT(span) (int)(span).len, (const char *)(span).at

#endif
