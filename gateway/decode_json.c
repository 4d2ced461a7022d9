// SPDX-License-Identifier: Apache-2.0
// JSON objects through a profile's fields (JSON Pointers, RFC 6901). yyjson parses with numbers left as text, so that digits survive.
// Pure; any thread with its own scratch.
#include "gateway/decode_impl.h"

#include <stdio.h>
#include <stdlib.h>
#include <yyjson.h>

#define POOL_KEEP (1u << 20) // a larger buffer is not kept from frame to frame
#define READ_FLAGS (YYJSON_READ_NUMBER_AS_RAW | YYJSON_READ_ALLOW_INF_AND_NAN)

// The pool holds the largest tree that a payload of this size can make.
static bool
pool_ready(struct gw_decode_scratch *scratch, size_t len)
{
	size_t need = yyjson_read_max_memory_usage(len, READ_FLAGS) + 256;

	if (need <= scratch->pool_cap && (scratch->pool_cap <= POOL_KEEP || need > POOL_KEEP))
		return true;
	free(scratch->pool);
	scratch->pool_cap = need < (64u << 10) ? 64u << 10 : need;
	scratch->pool = malloc(scratch->pool_cap);
	if (scratch->pool == NULL)
		scratch->pool_cap = 0;
	return scratch->pool != NULL;
}

struct yyjson_val *
gw_json_root(struct gw_decoding *d, enum gw_error *error, struct gw_why *why)
{
	struct gw_span payload = d->in->payload;
	yyjson_read_err failure;
	yyjson_alc alc;
	yyjson_doc *doc;

	if (!pool_ready(d->scratch, payload.len) || !yyjson_alc_pool_init(&alc, d->scratch->pool, d->scratch->pool_cap)) {
		*error = gw_fail(why, GW_E_MEMORY, "out of memory");
		return NULL;
	}
	doc = yyjson_read_opts((char *)(uintptr_t)payload.at, payload.len, READ_FLAGS, &alc, &failure); // not in situ: the payload stays as it is
	if (doc == NULL) {
		*error = gw_fail(why, GW_E_FORMAT, "no JSON at byte %zu: %s", failure.pos, failure.msg);
		return NULL;
	}
	return yyjson_doc_get_root(doc);
}

struct gw_raw
gw_json_raw(struct yyjson_val *value)
{
	switch (yyjson_get_type(value)) {
	case YYJSON_TYPE_RAW:
		return (struct gw_raw){ GW_RAW_NUMBER, gw_span(yyjson_get_raw(value), yyjson_get_len(value)) };
	case YYJSON_TYPE_STR:
		return (struct gw_raw){ GW_RAW_TEXT, gw_span(yyjson_get_str(value), yyjson_get_len(value)) };
	case YYJSON_TYPE_BOOL:
		return (struct gw_raw){ GW_RAW_BOOL, gw_span_text(yyjson_get_bool(value) ? "true" : "false") };
	case YYJSON_TYPE_NULL:
		return (struct gw_raw){ GW_RAW_NULL, gw_span_text("null") };
	default:
		return (struct gw_raw){ GW_RAW_OTHER, { NULL, 0 } };
	}
}

// The walk through one document.
struct walk {
	struct gw_decoding *d;
	yyjson_val *root;
	bool too_many;
	int time_state; // as gw_time_value; 0 at first
	int64_t time_us;
	bool has_time, has_sequence;
	uint32_t sequence;
};

static struct gw_span
unit_at(struct walk *w, struct gw_span pointer)
{
	yyjson_val *value = pointer.len > 0 ? yyjson_ptr_getn(w->root, (const char *)pointer.at, pointer.len) : NULL;

	return yyjson_is_str(value) ? gw_span(yyjson_get_str(value), yyjson_get_len(value)) : (struct gw_span){ NULL, 0 };
}

static void
take_field(struct walk *w, uint32_t index, struct gw_span key, yyjson_val *value)
{
	struct gw_decoding *d = w->d;
	const struct gw_rule *rule = &d->profile->rules[index];

	if (d->scratch->seen[index] == d->scratch->frame) {
		gw_refuse(d, key, "it stands twice");
		return;
	}
	d->scratch->seen[index] = d->scratch->frame;
	if (!gw_has_room(d))
		w->too_many = true;
	else
		gw_take_value(d, rule, key, gw_json_raw(value), unit_at(w, rule->unit_pointer));
}

static void
take_time(struct walk *w, struct gw_span key, yyjson_val *value)
{
	if (w->has_time) {
		gw_refuse(w->d, key, "it stands twice");
		return;
	}
	w->has_time = true;
	w->time_state = gw_time_value(w->d, gw_json_raw(value), &w->time_us);
	if (w->time_state < 0)
		gw_refuse(w->d, key, "not a time in the profile's format");
}

static void
take_sequence(struct walk *w, struct gw_span key, yyjson_val *value)
{
	struct gw_raw raw = gw_json_raw(value);
	struct gw_decimal number;

	if (w->has_sequence || raw.type > GW_RAW_TEXT || !gw_decimal_parse(raw.text, &number) || number.exponent != 0 || number.mantissa < 0) {
		gw_refuse(w->d, key, "not a whole number, or it stands twice");
		return;
	}
	w->has_sequence = true;
	w->sequence = (uint32_t)number.mantissa; // counters wrap; the low bits still tell readings of equal time apart
}

static void walk_container(struct walk *w, yyjson_val *container, uint32_t number);

static void
take_member(struct walk *w, uint32_t parent, struct gw_span key, yyjson_val *value)
{
	const struct gw_entry *entry = gw_entry_find(w->d->profile, parent, key);

	switch (entry != NULL ? (enum gw_what)entry->what : GW_WHAT_NOTHING) {
	case GW_WHAT_FIELD:
		take_field(w, entry->index, key, value);
		return;
	case GW_WHAT_CONTAINER:
		if (yyjson_is_ctn(value))
			walk_container(w, value, entry->index);
		else
			gw_refuse(w->d, key, "an object is needed here");
		return;
	case GW_WHAT_TIME:
		take_time(w, key, value);
		return;
	case GW_WHAT_SEQUENCE:
		take_sequence(w, key, value);
		return;
	case GW_WHAT_UNIT:
	case GW_WHAT_IGNORE:
		return;
	case GW_WHAT_NOTHING:
		break;
	}
	if (w->d->profile->unknown == GW_UNKNOWN_QUARANTINE && !yyjson_is_null(value)) // null says nothing that could be lost
		gw_refuse(w->d, key, "the profile does not know it");
}

// As deep as the profile's pointers at most.
static void
walk_container(struct walk *w, yyjson_val *container, uint32_t number)
{
	size_t i, count;
	yyjson_val *key, *value;

	if (yyjson_is_obj(container)) {
		yyjson_obj_foreach(container, i, count, key, value)
			take_member(w, number, gw_span(yyjson_get_str(key), yyjson_get_len(key)), value);
		return;
	}
	yyjson_arr_foreach(container, i, count, value) {
		char name[24];
		int len = snprintf(name, sizeof(name), "%zu", i);
		take_member(w, number, gw_span(name, (size_t)len), value);
	}
}

enum gw_error
gw_decode_json(struct gw_decoding *d, struct gw_why *why)
{
	enum gw_error error = GW_OK;
	struct walk w = { .d = d };

	w.root = gw_json_root(d, &error, why);
	if (w.root == NULL)
		return error;
	if (!yyjson_is_ctn(w.root))
		return gw_fail(why, GW_E_FORMAT, "a JSON object is needed");
	walk_container(&w, w.root, GW_ROOT);
	if (w.too_many)
		return gw_fail(why, GW_E_TOO_LARGE, "more than %d readings in one frame", GW_RECORD_READINGS_MAX);
	for (size_t i = 0; i < d->count; i++) {
		struct gw_reading *reading = &d->scratch->readings[i].reading;
		reading->sequence = w.sequence;
		if (w.time_state > 0) {
			reading->time_us = w.time_us;
			reading->flags &= (uint16_t)~GW_FLAG_NO_DEVICE_TIME;
		}
	}
	return GW_OK;
}
