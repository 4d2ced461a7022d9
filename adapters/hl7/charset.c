// SPDX-License-Identifier: Apache-2.0
// Character sets of HL7: our own conversion for the trivial ones, iconv(3) for the others. Any thread, each with its own decoder.
#include "adapters/hl7/charset.h"

#include "gateway/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <iconv.h>

enum kind { UTF8, ASCII, LATIN1, LATIN9, ICONV };

struct gw_hl7_charset {
	const char *key;   // what find() makes of a name
	const char *name;  // table 0211
	enum kind kind;
	const char *iconv;
};

// ISO IR87 and IR159 are two bytes per character between escape sequences (ISO 2022), as MSH-18 "~ISO IR87" has it: one conversion knows them all.
static const struct gw_hl7_charset sets[] = {
	{ "UNICODEUTF8", "UNICODE UTF-8", UTF8, NULL },
	{ "88591", "8859/1", LATIN1, NULL },
	{ "885915", "8859/15", LATIN9, NULL },
	{ "ASCII", "ASCII", ASCII, NULL },
	{ "UTF8", "UNICODE UTF-8", UTF8, NULL },
	{ "UNICODE", "UNICODE UTF-8", UTF8, NULL },
	{ "LATIN1", "8859/1", LATIN1, NULL },
	{ "LATIN9", "8859/15", LATIN9, NULL },
	{ "USASCII", "ASCII", ASCII, NULL },
	{ "IR6", "ASCII", ASCII, NULL },
	{ "88592", "8859/2", ICONV, "ISO-8859-2" },
	{ "88593", "8859/3", ICONV, "ISO-8859-3" },
	{ "88594", "8859/4", ICONV, "ISO-8859-4" },
	{ "88595", "8859/5", ICONV, "ISO-8859-5" },
	{ "88596", "8859/6", ICONV, "ISO-8859-6" },
	{ "88597", "8859/7", ICONV, "ISO-8859-7" },
	{ "88598", "8859/8", ICONV, "ISO-8859-8" },
	{ "88599", "8859/9", ICONV, "ISO-8859-9" },
	{ "IR13", "ISO IR13", ICONV, "ISO-2022-JP-3" },
	{ "IR14", "ISO IR14", ICONV, "ISO-2022-JP" },
	{ "IR87", "ISO IR87", ICONV, "ISO-2022-JP" },
	{ "IR159", "ISO IR159", ICONV, "ISO-2022-JP-2" },
	{ "GB180302000", "GB 18030-2000", ICONV, "GB18030" },
	{ "KSX1001", "KS X 1001", ICONV, "EUC-KR" },
	{ "CNS116431992", "CNS 11643-1992", ICONV, "EUC-TW" },
	{ "BIG5", "BIG-5", ICONV, "BIG5" },
};

// 8859/15 is 8859/1 but for these.
static const struct { uint8_t byte; uint16_t point; } latin9[] = {
	{ 0xA4, 0x20AC }, { 0xA6, 0x160 }, { 0xA8, 0x161 }, { 0xB4, 0x17D }, { 0xB8, 0x17E }, { 0xBC, 0x152 }, { 0xBD, 0x153 }, { 0xBE, 0x178 },
};

#define LATIN9_COUNT (sizeof(latin9) / sizeof(latin9[0]))

const struct gw_hl7_charset *
gw_hl7_charset_find(struct gw_span name)
{
	char key[24];
	size_t len = 0;

	for (size_t i = 0; i < name.len; i++) {
		if (strchr(" -_/", name.at[i]) != NULL && name.at[i] != '\0')
			continue;
		if (len + 1 == sizeof(key))
			return NULL;
		key[len++] = (char)toupper(name.at[i]);
	}
	key[len] = '\0';
	for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++)
		if (strcmp(key, sets[i].key) == 0 || (strncmp(key, "ISO", 3) == 0 && strcmp(key + 3, sets[i].key) == 0))
			return &sets[i];
	return NULL;
}

const char *
gw_hl7_charset_name(const struct gw_hl7_charset *charset)
{
	return charset->name;
}

const struct gw_hl7_charset *
gw_hl7_charset_utf8(void)
{
	return &sets[0];
}

const struct gw_hl7_charset *
gw_hl7_charset_latin1(void)
{
	return &sets[1];
}

bool
gw_hl7_charset_writes(const struct gw_hl7_charset *charset)
{
	return charset->kind != ICONV;
}

bool
gw_hl7_charset_is_utf8(const struct gw_hl7_charset *charset)
{
	return charset->kind == UTF8;
}

// ---- In ----

void
gw_hl7_decoder_fini(struct gw_hl7_decoder *decoder)
{
	if (decoder->iconv != NULL)
		iconv_close(decoder->iconv);
	*decoder = (struct gw_hl7_decoder){ 0 };
}

bool
gw_hl7_utf8_valid(struct gw_span bytes, bool *ascii)
{
	bool low = true;

	for (size_t i = 0; i < bytes.len;) {
		uint64_t eight;

		if (bytes.len - i >= 8 && (memcpy(&eight, bytes.at + i, 8), (eight & UINT64_C(0x8080808080808080)) == 0)) {
			i += 8;
			continue;
		}
		low = low && bytes.at[i] < 0x80;
		if (gw_utf8_next(bytes, &i) < 0)
			return false;
	}
	if (ascii != NULL)
		*ascii = low;
	return true;
}

static size_t
put_point(uint8_t *out, uint32_t point)
{
	if (point < 0x80) {
		out[0] = (uint8_t)point;
		return 1;
	}
	if (point < 0x800) {
		out[0] = (uint8_t)(0xC0 | point >> 6);
		out[1] = (uint8_t)(0x80 | (point & 0x3F));
		return 2;
	}
	out[0] = (uint8_t)(0xE0 | point >> 12);
	out[1] = (uint8_t)(0x80 | (point >> 6 & 0x3F));
	out[2] = (uint8_t)(0x80 | (point & 0x3F));
	return 3;
}

static uint32_t
point_of(enum kind kind, uint8_t byte, uint32_t *invalid)
{
	if (byte < 0x80)
		return byte;
	if (kind == ASCII) {
		(*invalid)++;
		return 0xFFFD;
	}
	for (size_t i = 0; kind == LATIN9 && i < LATIN9_COUNT; i++)
		if (latin9[i].byte == byte)
			return latin9[i].point;
	return byte;
}

static size_t
decode_single(enum kind kind, struct gw_span bytes, uint8_t *out, uint32_t *invalid)
{
	size_t len = 0;

	for (size_t i = 0; i < bytes.len;) {
		uint64_t eight;

		if (bytes.len - i >= 8 && (memcpy(&eight, bytes.at + i, 8), (eight & UINT64_C(0x8080808080808080)) == 0)) {
			memcpy(out + len, &eight, 8);
			i += 8;
			len += 8;
		} else {
			len += put_point(out + len, point_of(kind, bytes.at[i++], invalid));
		}
	}
	return len;
}

static size_t
decode_utf8(struct gw_span bytes, uint8_t *out, uint32_t *invalid)
{
	size_t len = 0, i = 0;

	while (i < bytes.len) {
		size_t from = i;

		if (gw_utf8_next(bytes, &i) >= 0) {
			memcpy(out + len, bytes.at + from, i - from);
			len += i - from;
		} else {
			// A byte at a time: what follows a bad byte may be the separator that ends the field.
			i = from + 1;
			len += put_point(out + len, 0xFFFD);
			(*invalid)++;
		}
	}
	return len;
}

static bool
open_iconv(struct gw_hl7_decoder *decoder, const struct gw_hl7_charset *charset)
{
	iconv_t opened;

	if (decoder->charset == charset)
		return decoder->iconv != NULL;
	gw_hl7_decoder_fini(decoder);
	opened = iconv_open("UTF-8", charset->iconv);
	decoder->charset = charset;
	decoder->iconv = opened != (iconv_t)-1 ? opened : NULL;
	return decoder->iconv != NULL;
}

static size_t
decode_iconv(iconv_t iconv_, struct gw_span bytes, uint8_t *out, uint32_t *invalid)
{
	char *in = (char *)(uintptr_t)bytes.at, *to = (char *)out; // iconv(3) is declared without const and writes nothing there
	size_t left = bytes.len, room = GW_HL7_DECODE_MAX(bytes.len);

	iconv(iconv_, NULL, NULL, NULL, NULL);
	while (left > 0 && iconv(iconv_, &in, &left, &to, &room) == (size_t)-1) {
		if (errno == E2BIG || left == 0 || room < 3)
			break;
		to += put_point((uint8_t *)to, 0xFFFD);
		room -= 3;
		in++;
		left--;
		(*invalid)++;
	}
	return (size_t)((uint8_t *)to - out);
}

size_t
gw_hl7_decode(struct gw_hl7_decoder *decoder, const struct gw_hl7_charset *charset, struct gw_span bytes, uint8_t *out, uint32_t *invalid)
{
	if (charset->kind == UTF8)
		return decode_utf8(bytes, out, invalid);
	if (charset->kind != ICONV)
		return decode_single(charset->kind, bytes, out, invalid);
	if (open_iconv(decoder, charset))
		return decode_iconv(decoder->iconv, bytes, out, invalid);
	return decode_single(LATIN1, bytes, out, invalid);
}

// ---- Out ----

// The byte for a code point above 7F; 0: there is none.
static uint8_t
byte_of(enum kind kind, int32_t point)
{
	if (kind == ASCII || point < 0x80)
		return 0;
	if (kind == LATIN9) {
		for (size_t i = 0; i < LATIN9_COUNT; i++) {
			if (latin9[i].point == point)
				return latin9[i].byte;
			if (latin9[i].byte == point)
				return 0;
		}
	}
	return point <= 0xFF ? (uint8_t)point : 0;
}

static void
put_escaped(struct gw_hl7_out *out, struct gw_span bytes, uint8_t escape)
{
	gw_hl7_putf(out, "%cX", escape);
	for (size_t i = 0; i < bytes.len; i++)
		gw_hl7_putf(out, "%02X", bytes.at[i]);
	gw_hl7_put_bytes(out, gw_span(&escape, 1));
}

size_t
gw_hl7_charset_put(struct gw_hl7_out *out, const struct gw_hl7_charset *charset, struct gw_span utf8, uint8_t escape)
{
	size_t from = 0, escaped = 0;

	if (charset->kind == UTF8) {
		gw_hl7_put_bytes(out, utf8);
		return 0;
	}
	for (size_t i = 0; i < utf8.len;) {
		size_t at = i;
		int32_t point;
		uint8_t byte;

		if (utf8.at[i] < 0x80) {
			i++;
			continue;
		}
		gw_hl7_put_bytes(out, gw_span(utf8.at + from, at - from));
		point = gw_utf8_next(utf8, &i);
		byte = byte_of(charset->kind, point);
		if (byte != 0)
			gw_hl7_put_bytes(out, gw_span(&byte, 1));
		else
			put_escaped(out, gw_span(utf8.at + at, i - at), escape);
		escaped += byte == 0;
		from = i;
	}
	gw_hl7_put_bytes(out, gw_span(utf8.at + from, utf8.len - from));
	return escaped;
}
