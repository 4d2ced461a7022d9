// SPDX-License-Identifier: Apache-2.0
// What readings need beside their bytes: identifiers, the digits of a decimal, equality of values. Pure; any thread.
#include "gateway/reading.h"
#include "gateway/bytes.h"
#include "gateway/record.h"

#include <sodium.h>
#include <stdio.h>

static uint64_t
most_significant_first(const uint8_t at[8])
{
	uint64_t value = 0;

	for (int i = 0; i < 8; i++)
		value = value << 8 | at[i];
	return value;
}

// 128 bits, most significant first, as 26 digits of Crockford's base32 (the first digit holds 3 bits).
static void
base32(const uint8_t bytes[16], char *out)
{
	static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";
	uint64_t high = most_significant_first(bytes), low = most_significant_first(bytes + 8);

	for (int i = 0; i < 13; i++)
		out[i] = digits[high >> (61 - 5 * i) & 31];
	out[13] = digits[(high << 4 & 16) | low >> 60];
	for (int i = 14; i < 26; i++)
		out[i] = digits[low >> (125 - 5 * i) & 31];
}

size_t
gw_reading_id(uint64_t incarnation, struct gw_span device, const struct gw_reading *reading, char out[GW_READING_ID_MAX])
{
	uint8_t key[8 + 4 + 2 + 8 + 4 + GW_ID_MAX], hash[16];
	size_t len = device.len <= GW_ID_MAX ? device.len : GW_ID_MAX;

	gw_put64(key, incarnation);
	gw_put32(key + 8, reading->signal);
	gw_put16(key + 12, reading->instance);
	gw_put64(key + 14, (uint64_t)reading->time_us);
	gw_put32(key + 22, reading->sequence);
	gw_put_bytes(key + 26, device.at, len);
	crypto_generichash(hash, sizeof(hash), key, 26 + len, NULL, 0);
	base32(hash, out);
	out[26] = '\0';
	if (reading->revision == 0)
		return 26;
	return 26 + (size_t)snprintf(out + 26, GW_READING_ID_MAX - 26, ".%u", reading->revision);
}

// Digits of the mantissa without its sign; returns how many.
static int
mantissa_digits(int64_t mantissa, char out[24])
{
	uint64_t rest = mantissa < 0 ? 0 - (uint64_t)mantissa : (uint64_t)mantissa;
	char reversed[24];
	int n = 0;

	do {
		reversed[n++] = (char)('0' + rest % 10);
		rest /= 10;
	} while (rest > 0);
	for (int i = 0; i < n; i++)
		out[i] = reversed[n - 1 - i];
	return n;
}

static size_t
long_text(struct gw_decimal value, char out[48])
{
	char digits[24], *at = out;
	int n = mantissa_digits(value.mantissa, digits), places = -value.exponent;

	if (value.mantissa < 0)
		*at++ = '-';
	if (places < -20 || places > 40) // would not fit as plain digits
		return (size_t)(at - out) + (size_t)sprintf(at, "%.*se%d", n, digits, value.exponent);
	if (places <= 0) {
		at = memcpy(at, digits, (size_t)n);
		at += n;
		if (value.mantissa != 0)
			for (; places < 0; places++)
				*at++ = '0';
	} else {
		if (n <= places) {
			*at++ = '0';
			*at++ = '.';
			for (int zeros = places - n; zeros > 0; zeros--)
				*at++ = '0';
			at = (char *)memcpy(at, digits, (size_t)n) + n;
		} else {
			at = (char *)memcpy(at, digits, (size_t)(n - places)) + (n - places);
			*at++ = '.';
			at = (char *)memcpy(at, digits + (n - places), (size_t)places) + places;
		}
	}
	*at = '\0';
	return (size_t)(at - out);
}

// What nearly all readings are: a few digits, at most four places. Returns the length, without a terminator.
static inline size_t
short_text(struct gw_decimal value, char *out)
{
	static const uint32_t powers[] = { 1, 10, 100, 1000, 10000 };
	uint32_t rest = (uint32_t)(value.mantissa < 0 ? -value.mantissa : value.mantissa), places = (uint32_t)-value.exponent;
	uint32_t whole = rest / powers[places], part = rest - whole * powers[places];
	int len = (value.mantissa < 0) + (whole < 10 ? 1 : whole < 100 ? 2 : whole < 1000 ? 3 : whole < 10000 ? 4 : whole < 100000 ? 5 : 6), at = len;

	out[0] = '-';
	do
		out[--at] = (char)('0' + whole % 10);
	while ((whole /= 10) > 0);
	if (places == 0)
		return (size_t)len;
	out[len] = '.';
	for (at = len + (int)places; at > len; part /= 10)
		out[at--] = (char)('0' + part % 10);
	return (size_t)len + 1 + places;
}

size_t
gw_decimal_text(struct gw_decimal value, char out[48])
{
	if (value.exponent <= 0 && value.exponent >= -4 && value.mantissa < 1000000 && value.mantissa > -1000000) {
		size_t len = short_text(value, out);

		out[len] = '\0';
		return len;
	}
	return long_text(value, out);
}

// 7.50 and 7.5 are one value: a device may say it in two formats with other digits.
static struct gw_decimal
stripped(struct gw_decimal value)
{
	if (value.mantissa == 0)
		return (struct gw_decimal){ 0, 0 };
	while (value.mantissa % 10 == 0 && value.exponent < INT16_MAX) {
		value.mantissa /= 10;
		value.exponent++;
	}
	return value;
}

static bool
same_decimal(struct gw_decimal a, struct gw_decimal b)
{
	if (a.exponent == b.exponent)
		return a.mantissa == b.mantissa;
	a = stripped(a);
	b = stripped(b);
	return a.mantissa == b.mantissa && a.exponent == b.exponent;
}

static bool
same_samples(const struct gw_samples *a, const struct gw_samples *b)
{
	return a->period_ns == b->period_ns && a->count == b->count && a->exponent == b->exponent &&
	    gw_span_equal(gw_span(a->at, (size_t)a->count * 4), gw_span(b->at, (size_t)b->count * 4));
}

bool
gw_reading_same_value(const struct gw_reading *a, const struct gw_reading *b)
{
	// Whether a device counts as under test is the registry's affair and may change between two sendings.
	static const uint16_t state = GW_FLAG_QUESTIONABLE | GW_FLAG_NOT_AVAILABLE | GW_FLAG_INVALID;

	if (a->type != b->type || a->unit != b->unit || a->kind != b->kind || ((a->flags ^ b->flags) & state) != 0)
		return false;
	switch ((enum gw_value_type)a->type) {
	case GW_VALUE_DECIMAL:
		return same_decimal(a->decimal, b->decimal);
	case GW_VALUE_CODE:
		return a->code == b->code;
	case GW_VALUE_TEXT:
		return gw_span_equal(a->text, b->text);
	case GW_VALUE_SAMPLES:
		return same_samples(&a->samples, &b->samples);
	case GW_VALUE_NONE:
		break;
	}
	return true;
}
