// SPDX-License-Identifier: Apache-2.0
// Clocks and RFC 3339 texts. Any thread. Civil dates are counted in the proleptic Gregorian calendar, without the C
// library's time zone.
#include "gateway/clock.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define SECOND INT64_C(1000000)
#define DAY (86400 * SECOND)

static _Atomic int64_t fake_us = INT64_MIN, fake_mono_us = INT64_MIN;

static int64_t
read_clock(clockid_t id)
{
	struct timespec now;

	clock_gettime(id, &now);
	return (int64_t)now.tv_sec * SECOND + now.tv_nsec / 1000;
}

int64_t
gw_clock_wall_us(void)
{
	int64_t fake = atomic_load_explicit(&fake_us, memory_order_relaxed);

	return fake != INT64_MIN ? fake : read_clock(CLOCK_REALTIME);
}

int64_t
gw_clock_mono_us(void)
{
	int64_t fake = atomic_load_explicit(&fake_mono_us, memory_order_relaxed);

	return fake != INT64_MIN ? fake : read_clock(CLOCK_MONOTONIC);
}

void
gw_clock_fake_mono(int64_t us)
{
	atomic_store_explicit(&fake_mono_us, us, memory_order_relaxed);
}

void
gw_clock_fake_wall(int64_t us)
{
	atomic_store_explicit(&fake_us, us, memory_order_relaxed);
}

// Days since 1970-01-01 to year, month, day. Years start in March here, so that the leap day comes last.
static void
civil_of(int64_t days, int64_t *year, int *month, int *day)
{
	int64_t since = days + 719468; // from 0000-03-01
	int64_t era = (since >= 0 ? since : since - 146096) / 146097;
	int64_t of_era = since - era * 146097;
	int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
	int64_t shifted = (5 * of_year + 2) / 153;

	*day = (int)(of_year - (153 * shifted + 2) / 5 + 1);
	*month = (int)(shifted < 10 ? shifted + 3 : shifted - 9);
	*year = year_of_era + era * 400 + (*month <= 2);
}

static int64_t
days_of(int64_t year, int month, int day)
{
	int64_t y = year - (month <= 2);
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era_year = y - era * 400;
	int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;

	return era * 146097 + of_era_year * 365 + of_era_year / 4 - of_era_year / 100 + of_year - 719468;
}

// So many digits of a number that has no more.
static char *
put_digits(char *at, unsigned value, int n)
{
	for (int i = n; i-- > 0; value /= 10)
		at[i] = (char)('0' + value % 10);
	return at + n;
}

// "2026-11-20T12:00:00"
static char *
put_second(char *at, int64_t year, int month, int day, unsigned second)
{
	if (year >= 0 && year <= 9999)
		at = put_digits(at, (unsigned)year, 4);
	else
		at += sprintf(at, "%04lld", (long long)year);
	*at++ = '-';
	at = put_digits(at, (unsigned)month, 2);
	*at++ = '-';
	at = put_digits(at, (unsigned)day, 2);
	*at++ = 'T';
	at = put_digits(at, second / 3600, 2);
	*at++ = ':';
	at = put_digits(at, second / 60 % 60, 2);
	*at++ = ':';
	return put_digits(at, second % 60, 2);
}

char *
gw_time_format(int64_t us, char out[40])
{
	int64_t days = us / DAY, rest = us % DAY, year;
	unsigned part;
	int month, day;
	char *at;

	if (rest < 0) {
		days--;
		rest += DAY;
	}
	civil_of(days, &year, &month, &day);
	at = put_second(out, year, month, day, (unsigned)(rest / SECOND));
	part = (unsigned)(rest % SECOND);
	if (part != 0)
		*at++ = '.';
	if (part % 1000 != 0)
		at = put_digits(at, part, 6);
	else if (part != 0)
		at = put_digits(at, part / 1000, 3);
	*at++ = 'Z';
	*at = '\0';
	return out;
}

// Exactly n digits; -1 where they are not there.
static int
digits(const char **at, int n)
{
	int value = 0;

	for (; n > 0; n--, (*at)++) {
		if (**at < '0' || **at > '9')
			return -1;
		value = value * 10 + (**at - '0');
	}
	return value;
}

static bool
skip(const char **at, char c)
{
	if (**at != c)
		return false;
	(*at)++;
	return true;
}

// ".250" to microseconds; digits beyond the sixth are read and dropped.
static bool
fraction(const char **at, int64_t *us)
{
	int64_t unit = SECOND;

	*us = 0;
	if (!skip(at, '.'))
		return true;
	if (**at < '0' || **at > '9')
		return false;
	for (; **at >= '0' && **at <= '9'; (*at)++) {
		unit /= 10;
		*us += unit * (**at - '0');
	}
	return true;
}

static bool
zone(const char **at, int64_t *offset_us)
{
	int sign, hour, minute;

	*offset_us = 0;
	if (skip(at, 'Z') || skip(at, 'z'))
		return true;
	sign = **at == '-' ? -1 : 1;
	if (!skip(at, '+') && !skip(at, '-'))
		return false;
	hour = digits(at, 2);
	if (hour < 0 || hour > 23 || !skip(at, ':'))
		return false;
	minute = digits(at, 2);
	if (minute < 0 || minute > 59)
		return false;
	*offset_us = sign * (hour * 3600 + minute * 60) * SECOND;
	return true;
}

static bool
date(const char **at, int64_t *days)
{
	static const int lengths[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
	int year, month, day;

	if ((year = digits(at, 4)) < 0 || !skip(at, '-') || (month = digits(at, 2)) < 1 || month > 12 || !skip(at, '-') ||
	    (day = digits(at, 2)) < 1 || day > lengths[month - 1])
		return false;
	if (month == 2 && day == 29 && (year % 4 != 0 || (year % 100 == 0 && year % 400 != 0)))
		return false;
	*days = days_of(year, month, day);
	return true;
}

static int
parse_date_time(const char *at, int64_t *us)
{
	int64_t days, part, offset;
	int hour, minute, second;

	if (!date(&at, &days))
		return -1;
	if (*at == '\0') {
		*us = days * DAY;
		return 0;
	}
	if (!skip(&at, 'T') && !skip(&at, 't') && !skip(&at, ' '))
		return -1;
	// A leap second (60) counts as the second after it, as POSIX time does.
	if ((hour = digits(&at, 2)) < 0 || hour > 23 || !skip(&at, ':') || (minute = digits(&at, 2)) < 0 || minute > 59 ||
	    !skip(&at, ':') || (second = digits(&at, 2)) < 0 || second > 60)
		return -1;
	if (!fraction(&at, &part) || !zone(&at, &offset) || *at != '\0')
		return -1;
	*us = days * DAY + (hour * 3600 + minute * 60 + second) * SECOND + part - offset;
	return 0;
}

static bool
whole(const char **at, int64_t max, int64_t *value)
{
	const char *start = *at;

	for (*value = 0; **at >= '0' && **at <= '9'; (*at)++) {
		if (*value > max / 10)
			return false;
		*value = *value * 10 + (**at - '0');
	}
	return *at != start && *value <= max;
}

static int
parse_before_now(const char *at, int64_t *us)
{
	static const struct { char unit; int64_t us; } units[] = { { 's', SECOND }, { 'm', 60 * SECOND }, { 'h', 3600 * SECOND },
		{ 'd', DAY } };
	int64_t count;

	if (!whole(&at, 1000000000, &count))
		return -1;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (at[0] == units[i].unit && at[1] == '\0') {
			if (count > INT64_C(4000000000000000000) / units[i].us)
				return -1;
			*us = gw_clock_wall_us() - count * units[i].us;
			return 0;
		}
	return -1;
}

static int
parse_seconds(const char *at, int64_t *us)
{
	int64_t seconds, part;

	if (!whole(&at, INT64_C(9000000000000), &seconds) || !fraction(&at, &part) || *at != '\0')
		return -1;
	*us = seconds * SECOND + part;
	return 0;
}

int
gw_time_parse(const char *text, int64_t *us)
{
	if (strcmp(text, "now") == 0) {
		*us = gw_clock_wall_us();
		return 0;
	}
	if (text[0] == '-')
		return parse_before_now(text + 1, us);
	if (strlen(text) > 4 && text[4] == '-')
		return parse_date_time(text, us);
	return parse_seconds(text, us);
}
