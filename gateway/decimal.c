// SPDX-License-Identifier: Apache-2.0
// Decimals: text to mantissa and exponent, comparison, addition, and binary floating point to its shortest decimal. Pure; any thread.
// Digits are kept as they were said: 7.50 is not 7.5.
#include "gateway/nomenclature.h"
#include "gateway/record.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 64 // a longer number is not one that a device means

static const int64_t pow10_64[19] = { 1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000, 10000000000,
	100000000000, 1000000000000, 10000000000000, 100000000000000, 1000000000000000, 10000000000000000, 100000000000000000,
	1000000000000000000 };

// Adds a run of digits to *mantissa; false where it overflows. *digits counts them.
static bool
take_digits(const uint8_t **at, const uint8_t *end, uint64_t *mantissa, int *digits)
{
	const uint8_t *from = *at;

	for (; *at < end && **at >= '0' && **at <= '9'; (*at)++) {
		if (*mantissa > ((uint64_t)INT64_MAX - 9) / 10) {
			uint64_t digit = (uint64_t)(**at - '0');
			if (*mantissa > (uint64_t)INT64_MAX / 10 || *mantissa * 10 > (uint64_t)INT64_MAX - digit)
				return false;
		}
		*mantissa = *mantissa * 10 + (uint64_t)(**at - '0');
	}
	*digits = (int)(*at - from);
	return true;
}

// "e+12": its value, clamped; false where no digits follow.
static bool
take_exponent(const uint8_t **at, const uint8_t *end, int *exponent)
{
	bool negative = false;
	const uint8_t *from;
	int value = 0;

	if (*at == end || (**at | 0x20) != 'e')
		return true;
	(*at)++;
	if (*at < end && (**at == '+' || **at == '-'))
		negative = *(*at)++ == '-';
	for (from = *at; *at < end && **at >= '0' && **at <= '9'; (*at)++)
		if (value < 10000)
			value = value * 10 + (**at - '0');
	*exponent = negative ? -value : value;
	return *at > from;
}

static struct gw_span
trimmed(struct gw_span text)
{
	while (text.len > 0 && (text.at[0] == ' ' || (text.at[0] >= '\t' && text.at[0] <= '\r')))
		text.at++, text.len--;
	while (text.len > 0 && (text.at[text.len - 1] == ' ' || (text.at[text.len - 1] >= '\t' && text.at[text.len - 1] <= '\r')))
		text.len--;
	return text;
}

bool
gw_decimal_parse(struct gw_span text, struct gw_decimal *out)
{
	struct gw_span number = trimmed(text);
	const uint8_t *at = number.at, *end;
	uint64_t mantissa = 0;
	int whole = 0, places = 0, exponent = 0;
	bool negative = false;

	if (number.len == 0 || number.len > TEXT_MAX)
		return false;
	end = at + number.len;
	if (*at == '-' || *at == '+')
		negative = *at++ == '-';
	if (!take_digits(&at, end, &mantissa, &whole))
		return false;
	if (at < end && *at == '.') {
		at++;
		if (!take_digits(&at, end, &mantissa, &places))
			return false;
	}
	if (whole + places == 0 || !take_exponent(&at, end, &exponent) || at != end)
		return false;
	exponent -= places;
	if (mantissa == 0 && exponent > 0)
		exponent = 0;
	if (exponent < GW_EXPONENT_MIN || exponent > GW_EXPONENT_MAX)
		return false;
	out->mantissa = negative ? -(int64_t)mantissa : (int64_t)mantissa;
	out->exponent = (int16_t)exponent;
	return true;
}

// value / 10^n towards zero, and whether anything was cut off.
static int64_t
shifted_down(int64_t value, int n, bool *cut)
{
	int64_t divisor = n < 19 ? pow10_64[n] : 0;

	*cut = divisor == 0 ? value != 0 : value % divisor != 0;
	return divisor == 0 ? 0 : value / divisor;
}

int
gw_decimal_compare(struct gw_decimal a, struct gw_decimal b)
{
	bool cut;
	int64_t down;

	if (a.exponent == b.exponent || a.mantissa == 0 || b.mantissa == 0)
		return (a.mantissa > b.mantissa) - (a.mantissa < b.mantissa);
	if (a.exponent > b.exponent)
		return -gw_decimal_compare(b, a);
	// a has the finer exponent: cut it down to b's; what is cut off decides only between equals.
	down = shifted_down(a.mantissa, b.exponent - a.exponent, &cut);
	if (down != b.mantissa)
		return down > b.mantissa ? 1 : -1;
	return cut ? (a.mantissa > 0 ? 1 : -1) : 0;
}

bool
gw_decimal_add(struct gw_decimal a, struct gw_decimal b, struct gw_decimal *out)
{
	struct gw_decimal fine = a.exponent <= b.exponent ? a : b, coarse = a.exponent <= b.exponent ? b : a;
	int shift = coarse.exponent - fine.exponent;
	int64_t scaled = 0;

	if (coarse.mantissa != 0 && (shift > 18 || __builtin_mul_overflow(coarse.mantissa, pow10_64[shift], &scaled)))
		return false;
	out->exponent = fine.exponent;
	return !__builtin_add_overflow(scaled, fine.mantissa, &out->mantissa);
}

bool
gw_decimal_micros(struct gw_decimal value, int64_t *out)
{
	int shift = value.exponent + 6;
	bool cut;

	if (shift >= 0)
		return value.mantissa == 0 ? (*out = 0, true) : shift <= 18 && !__builtin_mul_overflow(value.mantissa, pow10_64[shift], out);
	*out = shifted_down(value.mantissa, -shift, &cut);
	if (cut && value.mantissa < 0)
		*out -= 1;
	return true;
}

// Half the distance to the neighbours of a number of 16 or 32 bits: a decimal nearer than that reads back as the same.
static double
half_step(double value, int bits)
{
	int digits = bits == 16 ? 11 : 24, least = bits == 16 ? -24 : -149, exponent;

	if (fabs(frexp(value, &exponent)) == 0.5)
		exponent--; // the neighbour below a power of two is nearer
	exponent -= digits;
	return ldexp(0.4999, exponent > least ? exponent : least);
}

static bool
reads_back(double candidate, double value, int bits)
{
	return bits == 64 ? candidate == value : fabs(candidate - value) < half_step(value, bits);
}

static size_t
put_scaled(int64_t mantissa, int places, char out[32])
{
	struct gw_decimal value = { mantissa, (int16_t)-places };
	char text[48];
	size_t len;

	if (places == 0)
		return (size_t)snprintf(out, 32, "%lld", (long long)mantissa);
	len = (size_t)snprintf(text, sizeof(text), "%0*lld", places + 1 + (value.mantissa < 0), (long long)mantissa);
	return (size_t)snprintf(out, 32, "%.*s.%s", (int)len - places, text, text + len - places);
}

// "3.5e-11" without its exponent where that is short enough.
static size_t
plain(char out[32])
{
	struct gw_decimal value;
	char text[48];
	size_t len = strlen(out);

	if (gw_decimal_parse(gw_span(out, len), &value) && gw_decimal_text(value, text) < 32)
		len = (size_t)snprintf(out, 32, "%s", text);
	return len;
}

size_t
gw_decimal_from_float(double value, int bits, char out[32])
{
	static const double pow10_d[] = { 1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9 };

	if (!isfinite(value))
		return 0;
	// What sensors send has few decimals. m / 10^k with both exact is rounded correctly, so equality is proof.
	for (int places = 0; places < 10; places++) {
		double scaled = nearbyint(value * pow10_d[places]);
		if (fabs(scaled) >= 9007199254740992.0)
			break;
		if (reads_back(scaled / pow10_d[places], value, bits))
			return put_scaled((int64_t)scaled, places, out);
	}
	for (int digits = 1; digits < 17; digits++) {
		snprintf(out, 32, "%.*e", digits - 1, value);
		if (reads_back(strtod(out, NULL), value, bits))
			return plain(out);
	}
	snprintf(out, 32, "%.16e", value);
	return plain(out);
}
