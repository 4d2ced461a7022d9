// SPDX-License-Identifier: Apache-2.0
// Writing HL7 v2. Any thread, each with its own buffer.
#include "adapters/hl7/out.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void
gw_hl7_out_fini(struct gw_hl7_out *out)
{
	free(out->at);
	*out = (struct gw_hl7_out){ 0 };
}

static bool
make_room(struct gw_hl7_out *out, size_t more)
{
	size_t cap = out->cap > 0 ? out->cap : 4096;
	uint8_t *larger;

	if (out->failed || out->len + more <= out->cap)
		return !out->failed;
	while (cap < out->len + more)
		cap *= 2;
	if ((larger = realloc(out->at, cap)) == NULL) {
		out->failed = true;
		return false;
	}
	out->at = larger;
	out->cap = cap;
	return true;
}

void
gw_hl7_out_grow_and_put(struct gw_hl7_out *out, struct gw_span bytes)
{
	if (bytes.len == 0 || !make_room(out, bytes.len))
		return;
	memcpy(out->at + out->len, bytes.at, bytes.len);
	out->len += bytes.len;
}

static inline void
put_bytes(struct gw_hl7_out *out, const void *bytes, size_t len)
{
	gw_hl7_put_bytes(out, gw_span(bytes, len));
}

void
gw_hl7_put_number(struct gw_hl7_out *out, uint64_t number)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + number % 10);
	while ((number /= 10) > 0);
	put_bytes(out, digits + at, sizeof(digits) - at);
}

void
gw_hl7_putf(struct gw_hl7_out *out, const char *format, ...)
{
	char text[256];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (len < 0 || len >= (int)sizeof(text))
		out->failed = true;
	else
		put_bytes(out, text, (size_t)len);
}

void
gw_hl7_put_eui64(struct gw_hl7_out *out, uint64_t eui64)
{
	char digits[16];

	for (size_t i = 0; i < sizeof(digits); i++)
		digits[i] = "0123456789ABCDEF"[eui64 >> (60 - 4 * i) & 15];
	put_bytes(out, digits, sizeof(digits));
}

static const char *
escape_of(uint8_t byte)
{
	switch (byte) {
	case '|': return "\\F\\";
	case '^': return "\\S\\";
	case '&': return "\\T\\";
	case '~': return "\\R\\";
	case '\\': return "\\E\\";
	default: return NULL;
	}
}

void
gw_hl7_put_text(struct gw_hl7_out *out, struct gw_span text)
{
	size_t from = 0;

	for (size_t i = 0; i < text.len; i++) {
		uint8_t byte = text.at[i];
		const char *escape = escape_of(byte);

		if (escape == NULL && byte >= 0x20 && byte != 0x7f)
			continue;
		put_bytes(out, text.at + from, i - from);
		if (escape != NULL)
			gw_hl7_put(out, escape);
		else
			gw_hl7_putf(out, "\\X%02X\\", byte);
		from = i + 1;
	}
	if (from < text.len)
		put_bytes(out, text.at + from, text.len - from);
}

// ---- Time ----

static void
put_digits(char *at, unsigned value, unsigned digits)
{
	for (; digits > 0; value /= 10)
		at[--digits] = (char)('0' + value % 10);
}

// Year, month and day of a day since 1970, proleptic Gregorian: eras of 400 years that begin in March.
static void
put_day(char *at, int64_t days)
{
	int64_t shifted = days + 719468, era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
	unsigned of_era = (unsigned)(shifted - era * 146097);
	unsigned year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	unsigned of_year = of_era - (365 * year + year / 4 - year / 100), march = (5 * of_year + 2) / 153;
	unsigned month = march < 10 ? march + 3 : march - 9;
	int64_t full = era * 400 + year + (month <= 2);

	put_digits(at, full < 0 ? 0 : full > 9999 ? 9999 : (unsigned)full, 4);
	put_digits(at + 4, month, 2);
	put_digits(at + 6, of_year - (153 * march + 2) / 5 + 1, 2);
}

static int64_t
floor_by(int64_t value, int64_t by)
{
	return value / by - (value % by < 0);
}

void
gw_hl7_put_time(struct gw_hl7_out *out, int64_t us)
{
	int64_t seconds = floor_by(us, 1000000), days = floor_by(seconds, 86400);
	unsigned of_day = (unsigned)(seconds - days * 86400), fraction = (unsigned)(us - seconds * 1000000) / 100;
	char text[32];
	size_t len = 14;

	put_day(text, days);
	put_digits(text + 8, of_day / 3600, 2);
	put_digits(text + 10, of_day / 60 % 60, 2);
	put_digits(text + 12, of_day % 60, 2);
	if (fraction > 0) {
		text[len++] = '.';
		put_digits(text + len, fraction, 4);
		len += 4;
		while (text[len - 1] == '0')
			len--;
	}
	memcpy(text + len, "+0000", 5);
	put_bytes(out, text, len + 5);
}
