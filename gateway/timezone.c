// SPDX-License-Identifier: Apache-2.0
// Zones: the transitions of a TZif file, then the POSIX rule of its footer. Pure after opening; any thread.
#include "gateway/timezone.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX (1u << 20)
#define NAME_MAX_ 120
#define DAY 86400

// "M3.5.0/2": the fifth (last) Sunday of March at 02:00 local; also "J60" and "59" as POSIX has them.
struct change {
	char form; // 'M', 'J' or 'N' (plain day number)
	int month, week, day;
	int32_t time_s;
};

struct rule {
	int32_t standard, summer; // seconds east
	bool has_summer;
	struct change to_summer, to_standard;
};

struct transition {
	int64_t at;
	int32_t offset; // from then on
};

struct gw_zone {
	struct transition *transitions;
	size_t count;
	int32_t first; // before the first transition
	struct rule rule;
	bool has_rule;
};

int64_t
gw_days_from_civil(int year, int month, int day)
{
	// Years begin in March, so that the leap day is the last of its year; 400 years are 146,097 days.
	int64_t y = month <= 2 ? (int64_t)year - 1 : year;
	int64_t era = (y >= 0 ? y : y - 399) / 400;
	int64_t of_era = y - era * 400;
	int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;

	return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int
year_of(int64_t utc_s)
{
	int64_t days = utc_s / DAY - (utc_s % DAY < 0);
	int year = (int)(1970 + days / 366);

	while (gw_days_from_civil(year + 1, 1, 1) <= days)
		year++;
	while (gw_days_from_civil(year, 1, 1) > days)
		year--;
	return year;
}

static bool
leap(int year)
{
	return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

// The local second of a change in a year.
static int64_t
change_local(const struct change *change, int year)
{
	int64_t first = gw_days_from_civil(year, 1, 1), day;
	int weekday;

	if (change->form == 'N')
		return (first + change->day) * DAY + change->time_s;
	if (change->form == 'J') // 1..365, 29 February is never counted
		return (first + change->day - 1 + (leap(year) && change->day >= 60)) * DAY + change->time_s;
	first = gw_days_from_civil(year, change->month, 1);
	weekday = (int)(((first + 4) % 7 + 7) % 7); // 1970-01-01 was a Thursday
	day = first + (change->day - weekday + 7) % 7 + 7 * (change->week - 1);
	while (day >= gw_days_from_civil(change->month == 12 ? year + 1 : year, change->month == 12 ? 1 : change->month + 1, 1))
		day -= 7;
	return day * DAY + change->time_s;
}

static int32_t
rule_offset(const struct rule *rule, int64_t utc_s)
{
	int64_t begins, ends;
	int year;

	if (!rule->has_summer)
		return rule->standard;
	year = year_of(utc_s + rule->standard);
	begins = change_local(&rule->to_summer, year) - rule->standard;
	ends = change_local(&rule->to_standard, year) - rule->summer;
	if (begins < ends)
		return utc_s >= begins && utc_s < ends ? rule->summer : rule->standard;
	return utc_s >= begins || utc_s < ends ? rule->summer : rule->standard;
}

int32_t
gw_zone_offset(const struct gw_zone *zone, int64_t utc_s)
{
	size_t low = 0, high = zone->count;

	while (low < high) { // the first transition after utc_s
		size_t middle = (low + high) / 2;
		if (zone->transitions[middle].at <= utc_s)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == zone->count && zone->has_rule)
		return rule_offset(&zone->rule, utc_s);
	return low == 0 ? zone->first : zone->transitions[low - 1].offset;
}

int64_t
gw_zone_to_utc(const struct gw_zone *zone, int64_t local_s, int64_t near_s)
{
	// Offsets that hold a day before and a day after are the only ones that can hold here.
	int64_t before = local_s - gw_zone_offset(zone, local_s - DAY), after = local_s - gw_zone_offset(zone, local_s + DAY);
	bool before_holds = local_s - gw_zone_offset(zone, before) == before;
	bool after_holds = local_s - gw_zone_offset(zone, after) == after;

	if (before_holds && after_holds)
		return llabs(before - near_s) <= llabs(after - near_s) ? before : after;
	return after_holds ? after : before;
}

// ---- the POSIX rule ----

static bool
rule_name(const char **at)
{
	const char *from = *at;

	if (**at == '<') {
		*at += strcspn(*at, ">");
		return *(*at)++ == '>';
	}
	while (isalpha((unsigned char)**at))
		(*at)++;
	return *at - from >= 3;
}

static bool
rule_number(const char **at, int low, int high, int *out)
{
	char *end;
	long value;

	if (!isdigit((unsigned char)**at))
		return false;
	value = strtol(*at, &end, 10);
	*at = end;
	*out = (int)value;
	return value >= low && value <= high;
}

// "[+-]hh[:mm[:ss]]" in seconds.
static bool
rule_time(const char **at, int32_t *out)
{
	int sign = **at == '-' ? -1 : 1, part[3] = { 0, 0, 0 };

	if (**at == '-' || **at == '+')
		(*at)++;
	if (!rule_number(at, 0, 167, &part[0]))
		return false;
	for (int i = 1; i < 3 && **at == ':'; i++) {
		(*at)++;
		if (!rule_number(at, 0, 59, &part[i]))
			return false;
	}
	*out = sign * (part[0] * 3600 + part[1] * 60 + part[2]);
	return true;
}

static bool
rule_change(const char **at, struct change *change)
{
	bool ok;

	if (*(*at)++ != ',')
		return false;
	change->time_s = 7200;
	change->form = **at == 'M' || **at == 'J' ? *(*at)++ : 'N';
	if (change->form == 'M')
		ok = rule_number(at, 1, 12, &change->month) && *(*at)++ == '.' && rule_number(at, 1, 5, &change->week) && *(*at)++ == '.' &&
		    rule_number(at, 0, 6, &change->day);
	else
		ok = rule_number(at, change->form == 'J', 365, &change->day);
	if (ok && **at == '/') {
		(*at)++;
		ok = rule_time(at, &change->time_s);
	}
	return ok;
}

// "CET-1CEST,M3.5.0,M10.5.0/3". POSIX counts west of UTC as positive.
static bool
rule_parse(const char *text, struct rule *rule)
{
	const char *at = text;
	int32_t west;

	memset(rule, 0, sizeof(*rule));
	if (!rule_name(&at) || !rule_time(&at, &west))
		return false;
	rule->standard = -west;
	if (*at == '\0')
		return true;
	rule->summer = rule->standard + 3600;
	rule->has_summer = true;
	if (!rule_name(&at))
		return false;
	if (*at != ',') {
		if (!rule_time(&at, &west))
			return false;
		rule->summer = -west;
	}
	return rule_change(&at, &rule->to_summer) && rule_change(&at, &rule->to_standard) && *at == '\0';
}

// ---- the file ----

static uint32_t
be32(const uint8_t *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static int64_t
be64(const uint8_t *at)
{
	return (int64_t)((uint64_t)be32(at) << 32 | be32(at + 4));
}

struct tzif { // counts of a header, and where its data begins
	uint32_t isut, isstd, leap, time, type, chars;
	size_t data;
};

static bool
tzif_header(const uint8_t *file, size_t len, size_t at, struct tzif *out)
{
	const uint8_t *h = file + at;

	if (len - at < 44 || memcmp(h, "TZif", 4) != 0)
		return false;
	*out = (struct tzif){ be32(h + 20), be32(h + 24), be32(h + 28), be32(h + 32), be32(h + 36), be32(h + 40), at + 44 };
	return out->time < 10000 && out->type > 0 && out->type < 256 && out->chars < 10000 && out->leap < 1000 && out->isut < 256 && out->isstd < 256;
}

static size_t
tzif_size(const struct tzif *t, size_t width)
{
	return t->time * (width + 1) + t->type * 6 + t->chars + t->leap * (width + 4) + t->isstd + t->isut;
}

static bool
tzif_transitions(struct gw_zone *zone, const uint8_t *file, const struct tzif *t)
{
	const uint8_t *times = file + t->data, *kinds = times + t->time * 8, *types = kinds + t->time;

	zone->first = (int32_t)be32(types);
	zone->transitions = calloc(t->time + 1, sizeof(*zone->transitions));
	if (zone->transitions == NULL)
		return false;
	for (uint32_t i = 0; i < t->time; i++) {
		if (kinds[i] >= t->type)
			return false;
		zone->transitions[i] = (struct transition){ be64(times + 8 * i), (int32_t)be32(types + 6 * kinds[i]) };
	}
	zone->count = t->time;
	return true;
}

// Version 2 and later hold 64-bit data after the 32-bit data, then the rule between two newlines.
static bool
tzif_parse(struct gw_zone *zone, const uint8_t *file, size_t len)
{
	struct tzif t;
	char footer[128];
	size_t at, n;

	if (!tzif_header(file, len, 0, &t) || file[4] < '2' || t.data + tzif_size(&t, 4) > len)
		return false;
	if (!tzif_header(file, len, t.data + tzif_size(&t, 4), &t) || t.data + tzif_size(&t, 8) > len)
		return false;
	if (!tzif_transitions(zone, file, &t))
		return false;
	at = t.data + tzif_size(&t, 8);
	if (at + 2 > len || file[at] != '\n')
		return false;
	for (n = 0, at++; at < len && file[at] != '\n' && n < sizeof(footer) - 1; at++)
		footer[n++] = (char)file[at];
	footer[n] = '\0';
	zone->has_rule = n > 0 && rule_parse(footer, &zone->rule);
	return n == 0 || zone->has_rule;
}

static bool
name_ok(const char *name)
{
	return *name != '\0' && *name != '/' && strlen(name) < NAME_MAX_ && strstr(name, "..") == NULL;
}

static FILE *
zone_file(const char *name)
{
	static const char *const dirs[] = { "/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo" };
	char path[NAME_MAX_ + 40];

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		FILE *file;
		snprintf(path, sizeof(path), "%s/%s", dirs[i], name);
		file = fopen(path, "rbe");
		if (file != NULL)
			return file;
	}
	return NULL;
}

static bool
zone_read(struct gw_zone *zone, const char *name)
{
	FILE *file = name_ok(name) ? zone_file(name) : NULL;
	uint8_t *bytes;
	size_t len;
	bool ok;

	if (file == NULL)
		return false;
	bytes = malloc(FILE_MAX);
	len = bytes != NULL ? fread(bytes, 1, FILE_MAX, file) : 0;
	fclose(file);
	ok = len > 0 && tzif_parse(zone, bytes, len);
	free(bytes);
	return ok;
}

enum gw_error
gw_zone_open(const char *name, struct gw_zone **out, struct gw_why *why)
{
	struct gw_zone *zone = calloc(1, sizeof(*zone));

	if (zone == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	zone->has_rule = strcmp(name, "UTC") == 0 || rule_parse(name, &zone->rule);
	if (zone->has_rule || zone_read(zone, name)) {
		*out = zone;
		return GW_OK;
	}
	gw_zone_free(zone);
	return gw_fail(why, GW_E_CONFIG,
	    "no zone \"%s\": an IANA name of the tz database (install tzdata) or a POSIX rule such as CET-1CEST,M3.5.0,M10.5.0/3", name);
}

void
gw_zone_free(struct gw_zone *zone)
{
	if (zone == NULL)
		return;
	free(zone->transitions);
	free(zone);
}
