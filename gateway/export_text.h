// SPDX-License-Identifier: Apache-2.0
// Numbers and texts into room that is known to be enough: what a row of an export is made of. For gateway/export*.c only. Pure.
#ifndef GW_EXPORT_TEXT_H
#define GW_EXPORT_TEXT_H

#include "gateway/record.h"

#define EXPORT_DAY_US INT64_C(86400000000)

static inline char *
export_bytes(char *to, const void *at, size_t len)
{
	if (len > 0) // an empty span has no address
		memcpy(to, at, len);
	return to + len;
}

#define export_literal(to, text) export_bytes(to, text, sizeof(text) - 1)

static inline char *
export_text(char *to, const char *text)
{
	return export_bytes(to, text, strlen(text));
}

static inline char *
export_two(char *to, unsigned value)
{
	to[0] = (char)('0' + value / 10);
	to[1] = (char)('0' + value % 10);
	return to + 2;
}

static inline char *
export_unsigned(char *to, uint64_t value)
{
	char digits[20], *at = digits + sizeof(digits);

	if (value < 10) {
		*to = (char)('0' + value);
		return to + 1;
	}
	for (; value > UINT32_MAX; value /= 10)
		*--at = (char)('0' + value % 10);
	for (uint32_t rest = (uint32_t)value; rest > 0; rest /= 10)
		*--at = (char)('0' + rest % 10);
	return export_bytes(to, at, (size_t)(digits + sizeof(digits) - at));
}

static inline char *
export_number(char *to, int64_t value)
{
	if (value < 0)
		*to++ = '-';
	return export_unsigned(to, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

// As gw_decimal_text(), at most 48 bytes; nearly all numbers have few places.
static inline char *
export_decimal(char *to, struct gw_decimal value)
{
	static const uint32_t powers[] = { 1, 10, 100, 1000, 10000, 100000, 1000000 };
	uint32_t rest, whole, digits;

	if (value.exponent < -6 || value.exponent > 0 || value.mantissa >= 1000000000 || value.mantissa <= -1000000000)
		return to + gw_decimal_text(value, to);
	if (value.mantissa < 0)
		*to++ = '-';
	rest = (uint32_t)(value.mantissa < 0 ? -value.mantissa : value.mantissa);
	whole = rest / powers[-value.exponent];
	rest %= powers[-value.exponent];
	to = export_unsigned(to, whole);
	if (value.exponent == 0)
		return to;
	*to++ = '.';
	digits = (uint32_t)-value.exponent;
	for (uint32_t i = digits; i-- > 0; rest /= 10)
		to[i] = (char)('0' + rest % 10);
	return to + digits;
}

// "2026-11-20T" of the day that was last asked for.
struct export_day {
	int64_t first_us;
	size_t len; // 0: none yet
	char text[40];
};
void export_day_set(struct export_day *day, int64_t us);

// As gw_time_format(): at most 40 bytes.
static inline char *
export_time(struct export_day *day, char *to, int64_t us)
{
	uint64_t of_day = (uint64_t)us - (uint64_t)day->first_us;
	uint32_t second, part;

	if (of_day >= (uint64_t)EXPORT_DAY_US || day->len == 0) {
		export_day_set(day, us);
		of_day = (uint64_t)us - (uint64_t)day->first_us;
	}
	second = (uint32_t)(of_day / 1000000);
	part = (uint32_t)(of_day - (uint64_t)second * 1000000);
	to = export_bytes(to, day->text, day->len);
	to = export_two(to, second / 3600);
	*to++ = ':';
	to = export_two(to, second / 60 % 60);
	*to++ = ':';
	to = export_two(to, second % 60);
	if (part != 0) {
		*to++ = '.';
		to = export_two(to, part / 10000);
		*to++ = (char)('0' + part / 1000 % 10);
		if ((part %= 1000) != 0) {
			to = export_two(to, part / 10);
			*to++ = (char)('0' + part % 10);
		}
	}
	*to++ = 'Z';
	return to;
}

// A JSON string: at most 6 * len + 2 bytes.
char *export_json(char *to, struct gw_span text);
// A cell of CSV, quoted where it has to be: at most 2 * len + 3 bytes. One that a spreadsheet would take for a formula stands behind an apostrophe.
char *export_cell(char *to, struct gw_span text);

#endif
