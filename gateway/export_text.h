// SPDX-License-Identifier: Apache-2.0
// Numbers and texts into room that is known to be enough: what a row of an export is made of. For gateway/export*.c only. Pure.
#ifndef GW_EXPORT_TEXT_H
#define GW_EXPORT_TEXT_H

#include "gateway/record.h"

#define EXPORT_MINUTE_US 60000000

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

extern const char export_digits[201]; // "00" to "99"

// Below 100.
static inline char *
export_two(char *to, unsigned value)
{
	memcpy(to, export_digits + 2 * (size_t)value, 2);
	return to + 2;
}

extern const char export_thousandths[4001]; // ".000" to ".999"

static inline char *
export_unsigned(char *to, uint64_t value)
{
	char digits[20], *at = digits + sizeof(digits);
	uint32_t rest;

	if (value < 10) {
		*to = (char)('0' + value);
		return to + 1;
	}
	for (; value > UINT32_MAX; value /= 100)
		(void)export_two(at -= 2, (unsigned)(value % 100));
	for (rest = (uint32_t)value; rest >= 10; rest /= 100)
		(void)export_two(at -= 2, rest % 100);
	if (rest > 0)
		*--at = (char)('0' + rest);
	return export_bytes(to, at, (size_t)(digits + sizeof(digits) - at));
}

static inline char *
export_number(char *to, int64_t value)
{
	if (value < 0)
		*to++ = '-';
	return export_unsigned(to, value < 0 ? 0 - (uint64_t)value : (uint64_t)value);
}

// At most 48 bytes.
static inline char *
export_decimal(char *to, struct gw_decimal value)
{
	return to + gw_decimal_text(value, to);
}

// "2026-11-20T12:00:" of the minute that was last asked for.
struct export_minute {
	int64_t first_us;
	size_t len; // 0: none yet
	char text[40];
	int64_t day_us; // when the day of it began; where any
};
void export_minute_set(struct export_minute *minute, int64_t us);

// Thousandths and millionths of a second, where they are not nothing: three places or six.
static inline char *
export_part(char *to, uint32_t thousandths, uint32_t millionths)
{
	if ((thousandths | millionths) == 0)
		return to;
	memcpy(to, export_thousandths + 4 * (size_t)thousandths, 4);
	if (millionths == 0)
		return to + 4;
	memcpy(to + 4, export_thousandths + 4 * (size_t)millionths + 1, 3);
	return to + 7;
}

// As gw_time_format(): at most 40 bytes.
static inline __attribute__((always_inline)) char *
export_time(struct export_minute *minute, char *to, int64_t us)
{
	uint64_t after = (uint64_t)us - (uint64_t)minute->first_us;
	uint32_t thousandths, second;

	if (__builtin_expect(after >= EXPORT_MINUTE_US || minute->len == 0, 0)) {
		export_minute_set(minute, us);
		after = (uint64_t)us - (uint64_t)minute->first_us;
	}
	thousandths = (uint32_t)after / 1000;
	second = thousandths / 1000;
	memcpy(to, minute->text, 24); // most years have four digits
	if (__builtin_expect(minute->len > 24, 0))
		memcpy(to, minute->text, minute->len);
	to = export_two(to + minute->len, second);
	to = export_part(to, thousandths - second * 1000, (uint32_t)after - thousandths * 1000);
	*to++ = 'Z';
	return to;
}

// Seconds since 1970, with as many places as they need: none, three or six. us >= 0.
static inline char *
export_seconds(char *to, int64_t us)
{
	uint64_t thousandths = (uint64_t)us / 1000, second = thousandths / 1000;

	return export_part(export_unsigned(to, second), (uint32_t)(thousandths - second * 1000), (uint32_t)((uint64_t)us - thousandths * 1000));
}

// A JSON string: at most 6 * len + 2 bytes.
char *export_json(char *to, struct gw_span text);
// A cell of CSV, quoted where it has to be: at most 2 * len + 3 bytes. One that a spreadsheet would take for a formula stands behind an apostrophe.
char *export_cell(char *to, struct gw_span text);

#endif
