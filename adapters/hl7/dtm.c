// SPDX-License-Identifier: Apache-2.0
// Reading DTM. Any thread.
#include "adapters/hl7/dtm.h"

#include <ctype.h>

// `digits` digits at *at as a number in [low, high]; -1 where they are not that.
static int
take_number(struct gw_span text, size_t *at, size_t digits, int low, int high)
{
	int value = 0;

	if (text.len - *at < digits)
		return -1;
	for (size_t i = 0; i < digits; i++) {
		uint8_t c = text.at[(*at)++];

		if (!isdigit(c))
			return -1;
		value = 10 * value + c - '0';
	}
	return value >= low && value <= high ? value : -1;
}

static bool
more_digits(struct gw_span text, size_t at)
{
	return at < text.len && isdigit(text.at[at]);
}

static bool
take_fraction(struct gw_span text, size_t *at, struct gw_hl7_dtm *dtm)
{
	int64_t unit = 100000, us = 0;

	if (*at >= text.len || text.at[*at] != '.')
		return true;
	(*at)++;
	for (; more_digits(text, *at); (*at)++, unit /= 10)
		us += (text.at[*at] - '0') * unit;
	dtm->us = us;
	dtm->precision = GW_HL7_FRACTION;
	return text.at[*at - 1] != '.';
}

// Seconds east, where a zone is told.
static bool
take_zone(struct gw_span text, size_t *at, bool *zoned, int *east)
{
	int sign, hours, minutes;

	*zoned = *at < text.len && (text.at[*at] == '+' || text.at[*at] == '-');
	if (!*zoned)
		return true;
	sign = text.at[(*at)++] == '-' ? -1 : 1;
	hours = take_number(text, at, 2, 0, 23);
	minutes = hours >= 0 ? take_number(text, at, 2, 0, 59) : -1;
	*east = sign * (hours * 3600 + minutes * 60);
	return minutes >= 0;
}

bool
gw_hl7_dtm_parse(struct gw_span text, const struct gw_zone *zone, int64_t near_us, struct gw_hl7_dtm *dtm)
{
	static const struct { int digits, low, high; } parts[] = { { 4, 1, 9999 }, { 2, 1, 12 }, { 2, 1, 31 }, { 2, 0, 23 }, { 2, 0, 59 }, { 2, 0, 60 } };
	int value[6] = { 0, 1, 1, 0, 0, 0 }, east = 0;
	int64_t days, local;
	size_t at = 0;

	*dtm = (struct gw_hl7_dtm){ 0 };
	for (size_t i = 0; i < 6 && (i == 0 || more_digits(text, at)); i++) {
		if ((value[i] = take_number(text, &at, (size_t)parts[i].digits, parts[i].low, parts[i].high)) < 0)
			return false;
		dtm->precision = (enum gw_hl7_precision)(i + 1);
	}
	if (dtm->precision == GW_HL7_SECOND && !take_fraction(text, &at, dtm))
		return false;
	if (!take_zone(text, &at, &dtm->zoned, &east) || at != text.len)
		return false;
	days = gw_days_from_civil(value[0], value[1], value[2]);
	if (value[2] > 28 && days >= gw_days_from_civil(value[1] == 12 ? value[0] + 1 : value[0], value[1] % 12 + 1, 1))
		return false; // 31 June
	local = days * 86400 + value[3] * 3600 + value[4] * 60 + value[5];
	if (dtm->zoned || zone == NULL)
		local -= east;
	else
		local = gw_zone_to_utc(zone, local, near_us / 1000000);
	dtm->us += local * 1000000;
	return true;
}
