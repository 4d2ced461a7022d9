// SPDX-License-Identifier: Apache-2.0
// UTF-8 (RFC 3629), one code point at a time. Pure; any thread.
#ifndef GW_UTF8_H
#define GW_UTF8_H

#include "gateway/span.h"

// The code point at *at, which moves behind it; -1 where the bytes are none (overlong forms, surrogates and what is above U+10FFFF included):
// then *at has moved by at least one byte. *at is below text.len.
static inline int32_t
gw_utf8_next(struct gw_span text, size_t *at)
{
	static const int32_t least[] = { 0, 0x80, 0x800, 0x10000 };
	uint8_t first = text.at[(*at)++];
	int more = first < 0x80 ? 0 : (first & 0xE0) == 0xC0 ? 1 : (first & 0xF0) == 0xE0 ? 2 : (first & 0xF8) == 0xF0 ? 3 : -1;
	int32_t point;

	if (more < 0 || text.len - *at < (size_t)more)
		return -1;
	point = more == 0 ? first : first & (0x3F >> more);
	for (int i = 0; i < more; i++) {
		if ((text.at[*at] & 0xC0) != 0x80)
			return -1;
		point = point << 6 | (text.at[(*at)++] & 0x3F);
	}
	return point < least[more] || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF) ? -1 : point;
}

#endif
