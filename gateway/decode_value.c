// SPDX-License-Identifier: Apache-2.0
// Normalising: one value as it came to one reading: sentinels, units, `%`, plausible range, kind; the received digits and unit beside it.
// Pure; any thread.
#include "gateway/decode_impl.h"

#include <stdio.h>

char *
gw_printable(struct gw_span text, char out[64])
{
	size_t len = text.len < 60 ? text.len : 60;

	for (size_t i = 0; i < len; i++)
		out[i] = text.at[i] >= 0x20 && text.at[i] < 0x7F ? (char)text.at[i] : '?';
	memcpy(out + len, text.len > 60 ? "..." : "", text.len > 60 ? 4 : 1);
	return out;
}

void
gw_refuse(struct gw_decoding *d, struct gw_span field, const char *words)
{
	char name[64];

	if (d->refused++ > 0)
		return;
	d->error = gw_fail(&d->why, GW_E_FIELD, "field \"%s\": %s", gw_printable(field, name), words);
}

bool
gw_has_room(const struct gw_decoding *d)
{
	return d->count < GW_RECORD_READINGS_MAX;
}

uint8_t *
gw_arena(struct gw_decoding *d, size_t len)
{
	uint8_t *at = d->scratch->arena + d->scratch->arena_used;

	if (len > GW_ARENA_BYTES - d->scratch->arena_used)
		return NULL;
	d->scratch->arena_used += len;
	return at;
}

// RFC 3629: shortest forms, no surrogates, nothing above U+10FFFF.
bool
gw_utf8_valid(struct gw_span text)
{
	const uint8_t *at = text.at, *end = text.at + text.len;

	while (at < end) {
		uint8_t lead = *at++, low = 0x80, high = 0xBF;
		int more = lead < 0x80 ? 0 : lead < 0xC2 ? -1 : lead < 0xE0 ? 1 : lead < 0xF0 ? 2 : lead < 0xF5 ? 3 : -1;
		if (more < 0 || end - at < more)
			return false;
		if (lead == 0xE0)
			low = 0xA0;
		else if (lead == 0xED)
			high = 0x9F;
		else if (lead == 0xF0)
			low = 0x90;
		else if (lead == 0xF4)
			high = 0x8F;
		for (; more > 0; more--, low = 0x80, high = 0xBF)
			if (*at < low || *at++ > high)
				return false;
	}
	return true;
}

// A number, or a text that is one, is compared by value (-999 is -999.0); anything else by its bytes.
static bool
is_sentinel(const struct gw_decoding *d, const struct gw_rule *rule, struct gw_raw raw, bool numeric, struct gw_decimal number)
{
	const struct gw_sentinel *s = d->profile->sentinels + rule->sentinels;

	for (uint32_t i = 0; i < rule->sentinels_count; i++, s++)
		if (numeric && s->numeric ? gw_decimal_compare(s->number, number) == 0 : gw_span_equal(s->text, raw.text))
			return true;
	return false;
}

static const struct gw_value_map *
mapped(const struct gw_decoding *d, const struct gw_rule *rule, struct gw_raw raw, bool numeric, struct gw_decimal number)
{
	const struct gw_value_map *v = d->profile->values + rule->values;
	struct gw_decimal is;

	for (uint32_t i = 0; i < rule->values_count; i++, v++)
		if (gw_span_equal(v->is, raw.text) || (numeric && gw_decimal_parse(v->is, &is) && gw_decimal_compare(is, number) == 0))
			return v;
	return NULL;
}

// The conversion from a unit that came with the value. NULL: not known, or of another dimension.
static const struct gw_conversion *
conversion_from(struct gw_decoding *d, const struct gw_rule *rule, struct gw_span unit)
{
	const struct gw_unit *from = gw_unit_by_ucum(rule->ratio && gw_span_is(unit, "%") ? gw_span("1", 1) : unit);
	uint64_t slot = gw_hash_mix((uint64_t)(uintptr_t)from ^ (uint64_t)(uintptr_t)rule->signal << 7) % GW_UNIT_CACHE;

	if (from == NULL)
		return NULL;
	if (d->scratch->units[slot].unit != from || d->scratch->units[slot].signal != rule->signal) {
		struct gw_conversion conversion;
		if (gw_conversion_for(rule->signal, from, &conversion) != GW_OK)
			return NULL;
		d->scratch->units[slot].unit = from;
		d->scratch->units[slot].signal = rule->signal;
		d->scratch->units[slot].conversion = conversion;
	}
	return &d->scratch->units[slot].conversion;
}

static const char *
set_decimal(struct gw_decoding *d, const struct gw_rule *rule, struct gw_decimal number, struct gw_span unit, struct gw_reading *reading)
{
	const struct gw_signal *signal = rule->signal;
	const struct gw_conversion *conversion = unit.len == 0 ? &rule->conversion : conversion_from(d, rule, unit);

	if (conversion == NULL)
		return "its unit is not known, or does not fit the signal";
	if (conversion->same)
		reading->decimal = number;
	else if (gw_conversion_apply(conversion, number, &reading->decimal) != GW_OK)
		return "the number is too large or too fine";
	if (signal->ranged && (gw_decimal_compare(reading->decimal, signal->low) < 0 || gw_decimal_compare(reading->decimal, signal->high) > 0))
		reading->flags |= GW_FLAG_QUESTIONABLE;
	reading->type = GW_VALUE_DECIMAL;
	return NULL;
}

// Codes and texts: a known code's number or REFID is a code; other words are kept as text (IHE DEV TF sends ECG rhythm so).
static const char *
set_word(const struct gw_rule *rule, struct gw_raw raw, bool numeric, struct gw_decimal number, struct gw_reading *reading)
{
	uint32_t code = 0;

	if (raw.text.len > GW_TEXT_VALUE_MAX || (raw.text.len > 0 && memchr(raw.text.at, 0, raw.text.len) != NULL))
		return "the text is too long, or has a zero byte";
	if (rule->signal->type == GW_VALUE_CODE && raw.type == GW_RAW_TEXT)
		code = gw_code_by_refid(raw.text);
	if (rule->signal->type == GW_VALUE_CODE && numeric && number.exponent == 0 && number.mantissa > 0 && number.mantissa <= UINT32_MAX &&
	    gw_code_refid((uint32_t)number.mantissa) != NULL)
		code = (uint32_t)number.mantissa;
	reading->type = code != 0 ? GW_VALUE_CODE : GW_VALUE_TEXT;
	if (code != 0)
		reading->code = code;
	else
		reading->text = raw.text;
	return NULL;
}

static const char *
set_mapped(const struct gw_value_map *map, struct gw_reading *reading)
{
	reading->type = map->code != 0 ? GW_VALUE_CODE : GW_VALUE_TEXT;
	if (map->code != 0)
		reading->code = map->code;
	else
		reading->text = map->text;
	return NULL;
}

// NULL, or what is wrong.
static const char *
set_value(struct gw_decoding *d, const struct gw_rule *rule, struct gw_raw raw, struct gw_span unit, struct gw_reading *reading)
{
	struct gw_decimal number = { 0, 0 };
	bool numeric = raw.type <= GW_RAW_TEXT && gw_decimal_parse(raw.text, &number);
	const struct gw_value_map *map;

	if (raw.type == GW_RAW_OTHER)
		return "its value is of a wrong type";
	if (raw.type == GW_RAW_NULL || is_sentinel(d, rule, raw, numeric, number)) {
		reading->type = GW_VALUE_NONE;
		reading->flags |= GW_FLAG_NOT_AVAILABLE;
		return NULL;
	}
	map = rule->values_count > 0 ? mapped(d, rule, raw, numeric, number) : NULL;
	if (map != NULL)
		return set_mapped(map, reading);
	if (rule->signal->type == GW_VALUE_DECIMAL)
		return numeric ? set_decimal(d, rule, number, unit, reading) : "not a number, or one with too many digits";
	return rule->values_count > 0 ? "not one of the profile's values" : set_word(rule, raw, numeric, number, reading);
}

struct gw_reading *
gw_take_value(struct gw_decoding *d, const struct gw_rule *rule, struct gw_span field, struct gw_raw raw, struct gw_span unit)
{
	struct gw_decoded *decoded = &d->scratch->readings[d->count];
	struct gw_reading *reading = &decoded->reading;
	const char *wrong;

	*reading = (struct gw_reading){
		.signal = rule->signal->code,
		.instance = rule->instance,
		.time_us = d->in->received_us,
		.flags = d->flags | GW_FLAG_NO_DEVICE_TIME,
		.kind = rule->kind,
		.received = raw.text,
		.unit_received = unit,
	};
	decoded->device = (struct gw_span){ NULL, 0 };
	wrong = set_value(d, rule, raw, unit, reading);
	if (wrong != NULL) {
		gw_refuse(d, field, wrong);
		return NULL;
	}
	if (reading->type == GW_VALUE_DECIMAL || reading->type == GW_VALUE_NONE)
		reading->unit = rule->signal->unit != NULL ? rule->signal->unit->code : 0;
	if (raw.text.len > GW_TEXT_VALUE_MAX || unit.len > GW_NAME_TEXT_MAX) {
		gw_refuse(d, field, "its text is too long");
		return NULL;
	}
	d->count++;
	return reading;
}
