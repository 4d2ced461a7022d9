// SPDX-License-Identifier: Apache-2.0
// Character sets as MSH-18 names them (HL7 v2 section 2.15.9.18, table 0211), to and from UTF-8. Pure, but that a decoder keeps its conversion open;
// each decoder belongs to one thread.
//
// In: bytes that are none of the set become U+FFFD and are counted; never an error.
// Out: UTF-8, 8859/1, 8859/15, ASCII. A character that the set does not have is written \Xhh..\ (section 2.7.5) with the bytes of its UTF-8 form. The
// standard leaves the meaning of those bytes to the two sides; most receivers leave the sequence as it stands (HAPI does), others put the bytes into the
// text in their own set. UTF-8's bytes are all above 7F then, so that a name looks wrong where it is wrong: a code point's bytes (01 41 for a Polish L)
// or a transliteration would put another letter there that nobody doubts. Our own reading takes such bytes back for what they were.
#ifndef GW_HL7_CHARSET_H
#define GW_HL7_CHARSET_H

#include "gateway/error.h"
#include "gateway/span.h"

#include "adapters/hl7/out.h"

struct gw_hl7_charset;

// By its name in MSH-18, or as people write it ("UTF-8", "ISO-8859-15", "Latin1"): case, blanks, '-', '_' and '/' do not count. NULL: not known.
const struct gw_hl7_charset *gw_hl7_charset_find(struct gw_span name);
// As table 0211 has it: "8859/15", "UNICODE UTF-8"; ASCII's is "ASCII".
const char *gw_hl7_charset_name(const struct gw_hl7_charset *charset);
const struct gw_hl7_charset *gw_hl7_charset_utf8(void);
const struct gw_hl7_charset *gw_hl7_charset_latin1(void);
// Whether gw_hl7_charset_put() can write it.
bool gw_hl7_charset_writes(const struct gw_hl7_charset *charset);
bool gw_hl7_charset_is_utf8(const struct gw_hl7_charset *charset); // valid UTF-8 needs no conversion: ASCII and UTF-8

struct gw_hl7_decoder {
	const struct gw_hl7_charset *charset; // of `iconv`
	void *iconv;                          // kept from message to message
};
void gw_hl7_decoder_fini(struct gw_hl7_decoder *decoder);

// Bytes that UTF-8 may need for `len` bytes of any set.
#define GW_HL7_DECODE_MAX(len) (3 * (len) + 8)
// To UTF-8. out holds GW_HL7_DECODE_MAX(bytes.len); returns how many were written and adds what was not valid to *invalid. No conversion in this C
// library (its gconv modules are not installed): the bytes are taken for 8859/1.
size_t gw_hl7_decode(struct gw_hl7_decoder *decoder, const struct gw_hl7_charset *charset, struct gw_span bytes, uint8_t *out, uint32_t *invalid);

// Whether it is UTF-8 throughout; *ascii, where asked for: and below 80.
bool gw_hl7_utf8_valid(struct gw_span bytes, bool *ascii);

// UTF-8 to a set that gw_hl7_charset_writes(): whole messages or parts of them, with the escape character of the message. Returns how many characters
// were escaped. Errors stick in out.
size_t gw_hl7_charset_put(struct gw_hl7_out *out, const struct gw_hl7_charset *charset, struct gw_span utf8, uint8_t escape);

#endif
