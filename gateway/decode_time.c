// SPDX-License-Identifier: Apache-2.0
// Times as devices write them, to microseconds since 1970 UTC. Pure; any thread.
#include "gateway/decode_impl.h"

#define SECOND 1000000ll

struct cursor {
	const uint8_t *at, *end;
	bool bad; // sticky
};

static bool
skip(struct cursor *c, char wanted)
{
	if (c->at == c->end || *c->at != (uint8_t)wanted)
		return false;
	c->at++;
	return true;
}

static int
digits(struct cursor *c, int count)
{
	int value = 0;

	for (; count > 0 && !c->bad; count--) {
		if (c->at == c->end || *c->at < '0' || *c->at > '9')
			c->bad = true;
		else
			value = value * 10 + (*c->at++ - '0');
	}
	return value;
}

// ".250" or ",25" in microseconds; further digits are cut off.
static int64_t
fraction(struct cursor *c)
{
	int64_t us = 0, worth = SECOND / 10;

	if (!skip(c, '.') && !skip(c, ','))
		return 0;
	if (c->at == c->end || *c->at < '0' || *c->at > '9')
		c->bad = true;
	for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++, worth /= 10)
		us += (*c->at - '0') * worth;
	return us;
}

// "Z", "+02:00", "+0200", "+02": seconds east. False where none stands.
static bool
offset(struct cursor *c, int64_t *seconds)
{
	int sign, hours, minutes = 0;

	*seconds = 0;
	if (skip(c, 'Z') || skip(c, 'z'))
		return true;
	if (c->at == c->end || (*c->at != '+' && *c->at != '-'))
		return false;
	sign = *c->at++ == '-' ? -1 : 1;
	hours = digits(c, 2);
	if (skip(c, ':') || c->at < c->end)
		minutes = digits(c, 2);
	c->bad |= hours > 23 || minutes > 59;
	*seconds = sign * (hours * 3600 + minutes * 60);
	return true;
}

static int
month_days(int year, int month)
{
	static const uint8_t days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };

	return month == 2 && ((year % 4 == 0 && year % 100 != 0) || year % 400 == 0) ? 29 : days[month - 1];
}

// "2026-11-20T08:15:00" or "20261120T081500" or "20261120081500"; a blank may stand for the T. Local seconds.
static int64_t
date_time(struct cursor *c)
{
	int year = digits(c, 4), month, day, hour, minute, second;
	bool extended = skip(c, '-');

	month = digits(c, 2);
	if (extended && !skip(c, '-'))
		c->bad = true;
	day = digits(c, 2);
	if (!skip(c, 'T') && !skip(c, 't') && !skip(c, ' ') && extended)
		c->bad = true;
	hour = digits(c, 2);
	if (skip(c, ':') != extended)
		c->bad = true;
	minute = digits(c, 2);
	if (skip(c, ':') != extended)
		c->bad = true;
	second = digits(c, 2);
	if (c->bad || month < 1 || month > 12 || day < 1 || day > month_days(year, month) || hour > 23 || minute > 59 || second > 60) {
		c->bad = true;
		return 0;
	}
	return gw_days_from_civil(year, month, day) * 86400 + hour * 3600 + minute * 60 + (second == 60 ? 59 : second);
}

bool
gw_iso_parse(struct gw_span text, const struct gw_zone *zone, int64_t near_us, int64_t *us)
{
	struct cursor c = { text.at, text.at + text.len, false };
	int64_t seconds = date_time(&c), part = c.bad ? 0 : fraction(&c), east;

	if (c.bad)
		return false;
	if (offset(&c, &east))
		seconds -= east;
	else if (zone != NULL)
		seconds = gw_zone_to_utc(zone, seconds, near_us / SECOND);
	else
		return false;
	*us = seconds * SECOND + part;
	return !c.bad && c.at == c.end;
}

int
gw_time_value(const struct gw_decoding *d, struct gw_raw raw, int64_t *us)
{
	static const int8_t exponents[] = { [GW_TIME_UNIX_S] = 0, [GW_TIME_UNIX_MS] = -3, [GW_TIME_UNIX_US] = -6 };
	const struct gw_profile *profile = d->profile;
	struct gw_decimal value;

	if (raw.type == GW_RAW_NULL)
		return 0;
	if (profile->time_format == GW_TIME_ISO8601 || profile->time_format == GW_TIME_LOCAL) {
		if (raw.type != GW_RAW_TEXT || !gw_iso_parse(raw.text, profile->zone, d->in->received_us, us))
			return -1;
	} else {
		if (raw.type > GW_RAW_TEXT || !gw_decimal_parse(raw.text, &value))
			return -1;
		value.exponent = (int16_t)(value.exponent + exponents[profile->time_format]);
		if (!gw_decimal_micros(value, us))
			return -1;
	}
	if (*us > GW_TIME_US_MAX)
		return -1;
	return *us >= GW_RELATIVE_S * SECOND;
}
