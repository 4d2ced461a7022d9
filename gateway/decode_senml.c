// SPDX-License-Identifier: Apache-2.0
// SenML (RFC 8428): records of either representation resolved to readings: base fields, names, relative times, units. Pure; any thread.
#include "gateway/decode_impl.h"

#include <yyjson.h>

#define VERSION 10 // RFC 8428 section 4.4

// A label's characters as one number, the first lowest.
#define LABEL(a, b, c, d) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

enum gw_senml_label
gw_senml_label(struct gw_span name)
{
	static const struct { uint32_t key; enum gw_senml_label label; } labels[] = {
		{ LABEL('n', 0, 0, 0), GW_SENML_N }, { LABEL('v', 0, 0, 0), GW_SENML_V }, { LABEL('u', 0, 0, 0), GW_SENML_U }, { LABEL('t', 0, 0, 0), GW_SENML_T },
		{ LABEL('b', 'n', 0, 0), GW_SENML_BN }, { LABEL('b', 't', 0, 0), GW_SENML_BT }, { LABEL('b', 'u', 0, 0), GW_SENML_BU },
		{ LABEL('v', 's', 0, 0), GW_SENML_VS }, { LABEL('v', 'b', 0, 0), GW_SENML_VB }, { LABEL('v', 'd', 0, 0), GW_SENML_VD },
		{ LABEL('b', 'v', 0, 0), GW_SENML_BV }, { LABEL('b', 's', 0, 0), GW_SENML_BS }, { LABEL('s', 0, 0, 0), GW_SENML_S },
		{ LABEL('u', 't', 0, 0), GW_SENML_UT }, { LABEL('b', 'v', 'e', 'r'), GW_SENML_BVER },
	};
	uint32_t key = 0;

	if (name.len == 0 || name.len > 4 || name.at[name.len - 1] == 0) // a zero byte at the end would not show in the number
		return GW_SENML_OTHER;
	for (size_t i = 0; i < name.len; i++)
		key |= (uint32_t)name.at[i] << (8 * i);
	for (size_t i = 0; i < sizeof(labels) / sizeof(labels[0]); i++)
		if (labels[i].key == key)
			return labels[i].label;
	return GW_SENML_OTHER;
}

static void
set_number(struct gw_senml_number *number, struct gw_raw raw)
{
	number->bad = number->present || raw.type != GW_RAW_NUMBER; // a label that stands twice is as bad
	number->present = true;
	number->text = raw.text;
}

static void
set_text(struct gw_senml_record *record, bool *present, struct gw_span *text, struct gw_raw raw)
{
	record->wrong |= *present || raw.type != GW_RAW_TEXT;
	*present = true;
	*text = raw.text;
}

static void
set_value(struct gw_senml_record *record, enum gw_senml_label label, struct gw_raw raw)
{
	static const enum gw_raw_type wanted[] = { [GW_SENML_V] = GW_RAW_NUMBER, [GW_SENML_VS] = GW_RAW_TEXT, [GW_SENML_VB] = GW_RAW_BOOL,
		[GW_SENML_VD] = GW_RAW_TEXT };

	record->values++;
	record->data |= label == GW_SENML_VD;
	record->value = raw;
	if (raw.type != wanted[label] && raw.type != GW_RAW_NULL)
		record->value.type = GW_RAW_OTHER;
}

void
gw_senml_field(struct gw_senml_record *record, enum gw_senml_label label, struct gw_span name, struct gw_raw raw)
{
	switch (label) {
	case GW_SENML_BN:
		set_text(record, &record->has_base_name, &record->base_name, raw);
		return;
	case GW_SENML_BU:
		set_text(record, &record->has_base_unit, &record->base_unit, raw);
		return;
	case GW_SENML_N:
		set_text(record, &record->has_name, &record->name, raw);
		return;
	case GW_SENML_U:
		set_text(record, &record->has_unit, &record->unit, raw);
		return;
	case GW_SENML_BT:
		set_number(&record->base_time, raw);
		return;
	case GW_SENML_T:
		set_number(&record->time, raw);
		return;
	case GW_SENML_BV:
		set_number(&record->base_value, raw);
		return;
	case GW_SENML_BS:
		set_number(&record->base_sum, raw);
		return;
	case GW_SENML_S:
		set_number(&record->sum, raw);
		return;
	case GW_SENML_UT:
		set_number(&record->update, raw);
		return;
	case GW_SENML_BVER:
		set_number(&record->base_version, raw);
		return;
	case GW_SENML_V:
	case GW_SENML_VS:
	case GW_SENML_VB:
	case GW_SENML_VD:
		set_value(record, label, raw);
		return;
	case GW_SENML_OTHER: // section 4.4: unknown labels are ignored, unless they end in an underscore
		if (name.len > 0 && name.at[name.len - 1] == '_')
			record->must_understand = name;
		return;
	}
}

// ---- base fields: an error here makes all that follows wrong, so the pack is refused as a whole ----

static bool
base_number(const struct gw_senml_number *number, struct gw_decimal *out)
{
	return !number->present || (!number->bad && gw_decimal_parse(number->text, out));
}

static enum gw_error
take_base(struct gw_senml_base *base, const struct gw_senml_record *r, struct gw_why *why)
{
	struct gw_decimal version = { VERSION, 0 };
	char label[64];

	if (r->must_understand.len > 0)
		return gw_fail(why, GW_E_FORMAT, "record %zu: label %s must be understood and is not", base->record, gw_printable(r->must_understand, label));
	if (r->wrong || !base_number(&r->base_time, &base->time) || !base_number(&r->base_value, &base->value))
		return gw_fail(why, GW_E_FORMAT, "record %zu: a base field, name or unit is of a wrong type or stands twice", base->record);
	if (!base_number(&r->base_version, &version) || version.exponent != 0 || version.mantissa != VERSION)
		return gw_fail(why, GW_E_FORMAT, "record %zu: SenML version is not %d", base->record, VERSION);
	base->has_value |= r->base_value.present;
	if (r->has_base_name)
		base->name = r->base_name;
	if (r->has_base_unit)
		base->unit = r->base_unit;
	return GW_OK;
}

// ---- names ----

// Base name and name joined. false: too long, or none.
static bool
resolve_name(struct gw_decoding *d, const struct gw_senml_base *base, struct gw_span name, struct gw_span *out)
{
	uint8_t *at;

	if (base->name.len + name.len == 0 || base->name.len + name.len > GW_RESOLVED_MAX)
		return false;
	if (base->name.len == 0 || name.len == 0) {
		*out = base->name.len == 0 ? name : base->name;
		return true;
	}
	at = gw_arena(d, base->name.len + name.len);
	if (at == NULL)
		return false;
	memcpy(at, base->name.at, base->name.len);
	memcpy(at + base->name.len, name.at, name.len);
	*out = gw_span(at, base->name.len + name.len);
	return true;
}

static const struct gw_entry *
find_field(const struct gw_profile *profile, struct gw_span name, struct gw_name_match *match)
{
	for (size_t i = 0; i < profile->names_count; i++) {
		const struct gw_entry *entry;
		if (!gw_name_match(&profile->names[i], name, match))
			continue;
		entry = gw_entry_find(profile, GW_ROOT, match->field);
		if (entry != NULL)
			return entry;
	}
	return NULL;
}

// ---- values ----

// v + bv (section 4.1: what is missing counts as zero), digits of the sum where both stand.
static bool
resolve_value(struct gw_decoding *d, const struct gw_senml_base *base, const struct gw_senml_record *r, struct gw_raw *raw)
{
	struct gw_decimal value, sum;
	char text[48], *at;
	size_t len;

	*raw = r->value;
	if (!base->has_value || (r->values == 1 && raw->type != GW_RAW_NUMBER))
		return r->values == 1;
	value = (struct gw_decimal){ 0, 0 };
	if (r->values == 1 && !gw_decimal_parse(raw->text, &value))
		return true; // refused as a value
	if (!gw_decimal_add(value, base->value, &sum))
		return false;
	len = gw_decimal_text(sum, text);
	at = (char *)gw_arena(d, len);
	if (at == NULL)
		return false;
	*raw = (struct gw_raw){ GW_RAW_NUMBER, gw_span(memcpy(at, text, len), len) };
	return true;
}

// bt + t. 1: absolute; 0: relative to the receive time, which it then is; -1: wrong.
static int
resolve_time(const struct gw_decoding *d, const struct gw_senml_base *base, const struct gw_senml_number *number, int64_t *us)
{
	struct gw_decimal time = { 0, 0 };

	if (number->present && (number->bad || !gw_decimal_parse(number->text, &time)))
		return -1;
	if (!gw_decimal_add(time, base->time, &time) || !gw_decimal_micros(time, us) || *us > GW_TIME_US_MAX)
		return -1;
	if (*us >= GW_RELATIVE_S * 1000000ll)
		return 1;
	if (*us < -GW_RELATIVE_S * 1000000ll)
		return -1;
	*us += d->in->received_us;
	return 0;
}

static bool
only_base(const struct gw_senml_record *r)
{
	return r->values == 0 && !r->sum.present && !r->has_name && !r->time.present && !r->has_unit;
}

static void
take_reading(struct gw_decoding *d, const struct gw_senml_base *base, const struct gw_senml_record *r, struct gw_span name)
{
	struct gw_name_match match;
	const struct gw_entry *entry = find_field(d->profile, name, &match);
	struct gw_reading *reading;
	struct gw_raw raw;
	int64_t time_us = 0;
	int absolute = d->profile->has_time ? resolve_time(d, base, &r->time, &time_us) : 0;

	if (entry == NULL || (entry->what != GW_WHAT_FIELD && entry->what != GW_WHAT_IGNORE)) {
		if (d->profile->unknown == GW_UNKNOWN_QUARANTINE)
			gw_refuse(d, name, "the profile does not know it");
		return;
	}
	if (entry->what == GW_WHAT_IGNORE)
		return;
	if (absolute < 0 || r->data || r->sum.present || !resolve_value(d, base, r, &raw)) {
		gw_refuse(d, name, absolute < 0 ? "its time is not a number that fits" : r->data ? "data (vd) is not taken" :
		    r->sum.present ? "a sum (s) is not taken" : "one of v, vs, vb is needed");
		return;
	}
	reading = gw_take_value(d, &d->profile->rules[entry->index], name, raw, r->has_unit ? r->unit : base->unit);
	if (reading == NULL)
		return;
	d->scratch->readings[d->count - 1].device = match.device;
	if (match.has_instance)
		reading->instance = match.instance;
	if (d->profile->has_time)
		reading->time_us = time_us;
	if (absolute > 0)
		reading->flags &= (uint16_t)~GW_FLAG_NO_DEVICE_TIME;
}

enum gw_error
gw_senml_record(struct gw_decoding *d, struct gw_senml_base *base, const struct gw_senml_record *record, struct gw_why *why)
{
	size_t arena = d->scratch->arena_used, count = d->count;
	enum gw_error error = take_base(base, record, why);
	struct gw_span name;

	if (error != GW_OK)
		return error;
	if (!only_base(record)) {
		if (!gw_has_room(d))
			return gw_fail(why, GW_E_TOO_LARGE, "more than %d readings in one pack", GW_RECORD_READINGS_MAX);
		if (!resolve_name(d, base, record->name, &name))
			gw_refuse(d, record->name, "no name, or one that is too long");
		else
			take_reading(d, base, record, name);
		if (d->count == count) // nothing points there
			d->scratch->arena_used = arena;
	}
	base->record++;
	return GW_OK;
}

// ---- the JSON representation (section 5) ----

static enum gw_error
json_record(struct gw_decoding *d, struct gw_senml_base *base, yyjson_val *object, struct gw_why *why)
{
	struct gw_senml_record record = { 0 };
	size_t i, count;
	yyjson_val *key, *value;

	if (!yyjson_is_obj(object))
		return gw_fail(why, GW_E_FORMAT, "record %zu is no object", base->record);
	yyjson_obj_foreach(object, i, count, key, value) {
		struct gw_span name = gw_span(yyjson_get_str(key), yyjson_get_len(key));
		gw_senml_field(&record, gw_senml_label(name), name, gw_json_raw(value));
	}
	return gw_senml_record(d, base, &record, why);
}

enum gw_error
gw_decode_senml_json(struct gw_decoding *d, struct gw_why *why)
{
	struct gw_senml_base base = { 0 };
	enum gw_error error = GW_OK;
	yyjson_val *root = gw_json_root(d, &error, why), *record;
	size_t i, count;

	if (root == NULL)
		return error;
	if (!yyjson_is_arr(root))
		return gw_fail(why, GW_E_FORMAT, "a SenML pack is an array of records: put [ ] around it");
	yyjson_arr_foreach(root, i, count, record) {
		error = json_record(d, &base, record, why);
		if (error != GW_OK)
			return error;
	}
	return GW_OK;
}
