// SPDX-License-Identifier: Apache-2.0
// Building the keys of rows, some for every message: into the caller's array, never beyond its end. Any thread.
#ifndef GW_HL7_ROW_KEY_H
#define GW_HL7_ROW_KEY_H

#include "gateway/bytes.h"

// As much of the text as fits before end, without terminator; returns the place after it.
static inline uint8_t *
gw_hl7_key_text(uint8_t *at, const uint8_t *end, const char *text)
{
	size_t len = strlen(text), room = (size_t)(end - at);

	return gw_put_bytes(at, text, len < room ? len : room);
}

// 16 digits, as %016llx writes them, where all of them fit.
static inline uint8_t *
gw_hl7_key_number(uint8_t *at, const uint8_t *end, uint64_t number)
{
	if (end - at < 16)
		return at;
	for (int shift = 60; shift >= 0; shift -= 4)
		*at++ = (uint8_t)"0123456789abcdef"[number >> shift & 15];
	return at;
}

#endif
