// SPDX-License-Identifier: Apache-2.0
// Conversion between units with exact rationals in 128 bits. Pure; any thread.
#include "gateway/nomenclature.h"

#include <string.h>

__extension__ typedef __int128 wide;

#define FINER 3 // digits that a result without end gets beyond those that were given, at its size

static int64_t
gcd(int64_t a, int64_t b)
{
	if (a < 0)
		a = -a;
	if (b < 0)
		b = -b;
	while (b != 0) {
		int64_t rest = a % b;
		a = b;
		b = rest;
	}
	return a == 0 ? 1 : a;
}

// *num / *den times num / den, reduced; false where it does not fit.
static bool
multiply(int64_t *num, int64_t *den, int64_t by_num, int64_t by_den)
{
	int64_t g = gcd(*num, by_den), h = gcd(by_num, *den);

	return !__builtin_mul_overflow(*num / g, by_num / h, num) && !__builtin_mul_overflow(*den / h, by_den / g, den);
}

// A factor that is a whole number times a power of ten only moves the point, and so leaves the digits as they were said.
static void
move_point(struct gw_conversion *c)
{
	int64_t num = c->num, den = c->den;
	int shift = 0;

	for (; den % 10 == 0; shift--)
		den /= 10;
	if (den != 1)
		return;
	for (; num % 10 == 0 && num != 0; shift++)
		num /= 10;
	c->num = num;
	c->den = den;
	c->shift = (int16_t)shift;
}

// Through the dimension's default: value * from.factor + from.offset, less to.offset, over to.factor.
static bool
compose(const struct gw_unit *from, const struct gw_unit *to, int64_t by_num, int64_t by_den, struct gw_conversion *c)
{
	int64_t num, den, g;

	*c = (struct gw_conversion){ .num = from->factor_num, .den = from->factor_den, .offset_den = 1 };
	if (!multiply(&c->num, &c->den, by_num, by_den) || !multiply(&c->num, &c->den, to->factor_den, to->factor_num))
		return false;
	// offset = (from.offset - to.offset) / to.factor
	if (__builtin_mul_overflow(from->offset_den, to->offset_den, &den))
		return false;
	num = from->offset_num * to->offset_den - to->offset_num * from->offset_den;
	g = gcd(num, den);
	num /= g;
	den /= g;
	if (!multiply(&num, &den, to->factor_den, to->factor_num))
		return false;
	c->offset_num = num;
	c->offset_den = den;
	for (c->finer = FINER, num = c->num; num <= c->den / 10; num *= 10)
		c->finer++; // a number that gets ten times smaller needs a digit more
	move_point(c);
	c->same = c->num == 1 && c->den == 1 && c->shift == 0 && c->offset_num == 0;
	return true;
}

enum gw_error
gw_conversion_make(const struct gw_unit *from, const struct gw_unit *to, struct gw_conversion *conversion)
{
	if (from != to && strcmp(from->dimension, to->dimension) != 0)
		return GW_E_FIELD;
	return compose(from, to, 1, 1, conversion) ? GW_OK : GW_E_FIELD;
}

enum gw_error
gw_conversion_for(const struct gw_signal *signal, const struct gw_unit *from, struct gw_conversion *conversion)
{
	if (signal->unit == NULL)
		return GW_E_FIELD;
	if (signal->molar_num != 0 && strcmp(from->dimension, "substance_concentration") == 0) // mmol/L * g/mol = mg/L = mg/dL / 10
		return compose(from, signal->unit, signal->molar_num, signal->molar_den * 10, conversion) ? GW_OK : GW_E_FIELD;
	return gw_conversion_make(from, signal->unit, conversion);
}

static bool
scale10(wide *value, int n)
{
	for (; n > 0; n--)
		if (__builtin_mul_overflow(*value, (wide)10, value))
			return false;
	return true;
}

// num / den rounded half to even.
static wide
rounded(wide num, wide den)
{
	wide quotient = num / den, rest = num % den, twice = rest < 0 ? -rest * 2 : rest * 2;

	if (twice > den || (twice == den && quotient % 2 != 0))
		quotient += num < 0 ? -1 : 1;
	return quotient;
}

// The least number of further digits with which num / den is a whole number, at most max; -1 where it does not fit.
static int
finer_digits(wide *num, wide den, int max)
{
	int finer = 0;

	for (; finer < max && *num % den != 0; finer++)
		if (__builtin_mul_overflow(*num, (wide)10, num))
			return -1;
	return finer;
}

enum gw_error
gw_conversion_apply(const struct gw_conversion *c, struct gw_decimal value, struct gw_decimal *out)
{
	int exponent = value.exponent + c->shift, finer;
	wide num = value.mantissa, den = c->den, limit = (wide)1 << 100;

	if (c->same) {
		*out = value;
		return GW_OK;
	}
	// All of it as one fraction, in units of 10^exponent.
	num *= c->num;
	if (c->offset_num != 0) {
		wide offset = c->offset_num;
		if (exponent > 0) {
			if (!scale10(&num, exponent))
				return GW_E_FIELD;
			exponent = 0;
		}
		if (!scale10(&offset, -exponent) || __builtin_mul_overflow(offset, (wide)c->den, &offset) ||
		    __builtin_mul_overflow(num, (wide)c->offset_den, &num) || __builtin_add_overflow(num, offset, &num))
			return GW_E_FIELD;
		den *= c->offset_den;
	}
	if (num > limit || num < -limit || den > limit)
		return GW_E_FIELD;
	finer = finer_digits(&num, den, c->finer);
	exponent -= finer;
	num = rounded(num, den);
	if (finer < 0 || num > INT64_MAX || num < -(wide)INT64_MAX || exponent < GW_EXPONENT_MIN || exponent > GW_EXPONENT_MAX)
		return GW_E_FIELD;
	*out = (struct gw_decimal){ (int64_t)num, (int16_t)exponent };
	return GW_OK;
}

enum gw_error
gw_unit_convert(struct gw_decimal value, const struct gw_unit *from, const struct gw_unit *to, struct gw_decimal *out)
{
	struct gw_conversion conversion;
	enum gw_error error = gw_conversion_make(from, to, &conversion);

	return error == GW_OK ? gw_conversion_apply(&conversion, value, out) : error;
}
