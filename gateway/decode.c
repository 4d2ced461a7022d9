// SPDX-License-Identifier: Apache-2.0
// decode: which format a payload is in, then that format's decoder; and plain text, the smallest of them. Pure; any thread with its own scratch.
#include "gateway/decode_impl.h"

#include <stdio.h>
#include <stdlib.h>

struct gw_decode_scratch *
gw_decode_scratch_new(void)
{
	struct gw_decode_scratch *scratch = calloc(1, sizeof(*scratch));

	if (scratch == NULL)
		return NULL;
	// Large and touched only as far as frames need them: untouched pages cost nothing.
	scratch->readings = calloc(GW_RECORD_READINGS_MAX, sizeof(*scratch->readings));
	scratch->arena = calloc(GW_ARENA_BYTES, 1);
	scratch->seen = calloc(GW_RULES_MAX, sizeof(*scratch->seen));
	if (scratch->readings == NULL || scratch->arena == NULL || scratch->seen == NULL) {
		gw_decode_scratch_free(scratch);
		return NULL;
	}
	return scratch;
}

void
gw_decode_scratch_free(struct gw_decode_scratch *scratch)
{
	if (scratch == NULL)
		return;
	free(scratch->readings);
	free(scratch->arena);
	free(scratch->seen);
	free(scratch->pool);
	free(scratch);
}

// ---- plain text: one value, perhaps a blank and its unit ----

static struct gw_span
trimmed(struct gw_span text)
{
	while (text.len > 0 && (text.at[0] == ' ' || (text.at[0] >= '\t' && text.at[0] <= '\r')))
		text.at++, text.len--;
	while (text.len > 0 && (text.at[text.len - 1] == ' ' || (text.at[text.len - 1] >= '\t' && text.at[text.len - 1] <= '\r')))
		text.len--;
	return text;
}

// "36.6 Cel": the number and what follows the first blank; only where the part before it is a number.
static struct gw_span
split_unit(struct gw_span *value)
{
	const uint8_t *blank = memchr(value->at, ' ', value->len);
	struct gw_decimal number;
	struct gw_span unit, head;

	if (blank == NULL)
		return (struct gw_span){ NULL, 0 };
	head = gw_span(value->at, (size_t)(blank - value->at));
	if (!gw_decimal_parse(head, &number))
		return (struct gw_span){ NULL, 0 };
	unit = trimmed(gw_span(blank, value->len - head.len));
	*value = head;
	return unit;
}

enum gw_error
gw_decode_text(struct gw_decoding *d, struct gw_why *why)
{
	struct gw_span value = trimmed(d->in->payload), unit = { NULL, 0 }, name, place;
	const struct gw_entry *entry;
	struct gw_reading *reading;
	uint16_t instance = 0;

	name = gw_match_capture(d->in->match, "field");
	if (name.len == 0)
		name = gw_match_capture(d->in->match, "signal");
	if (name.len == 0)
		name = gw_span_text("value");
	place = gw_match_capture(d->in->match, "instance");
	if (value.len == 0)
		return gw_fail(why, GW_E_EMPTY, "the payload is empty");
	if (!gw_utf8_valid(value))
		return gw_fail(why, GW_E_FORMAT, "the payload is no UTF-8 text");
	entry = gw_entry_find(d->profile, GW_ROOT, name);
	if (entry != NULL && entry->what == GW_WHAT_IGNORE)
		return GW_OK;
	if (entry == NULL || entry->what != GW_WHAT_FIELD || (place.len > 0 && !gw_instance_parse(place, &instance))) {
		gw_refuse(d, name, entry != NULL ? "the instance in its route is no number" : "the profile does not know it");
		return GW_OK;
	}
	if (d->profile->rules[entry->index].signal->type == GW_VALUE_DECIMAL)
		unit = split_unit(&value);
	reading = gw_take_value(d, &d->profile->rules[entry->index], name, (struct gw_raw){ GW_RAW_TEXT, value }, unit);
	if (reading != NULL && place.len > 0)
		reading->instance = instance;
	return GW_OK;
}

// ---- formats ----

typedef enum gw_error decoder(struct gw_decoding *d, struct gw_why *why);

// An array of CBOR, or its tag, as the first byte; JSON never begins so.
static bool
looks_like_cbor(struct gw_span payload)
{
	return payload.len > 0 && ((payload.at[0] & 0xE0) == 0x80 || payload.at[0] == 0xD9);
}

// NULL: the content format is not one that the profile takes. JSON and octets without a meaning of their own are looked at.
static decoder *
decoder_for(const struct gw_profile *profile, const struct gw_decode_input *in)
{
	uint32_t format = in->content_format;
	bool untold = format == GW_CF_NONE || format == GW_CF_OCTETS;

	switch (profile->format) {
	case GW_FORMAT_JSON:
		return untold || format == GW_CF_JSON || format == GW_CF_TEXT ? gw_decode_json : NULL;
	case GW_FORMAT_TEXT:
		return untold || format == GW_CF_TEXT ? gw_decode_text : NULL;
	case GW_FORMAT_SENML:
		if (untold)
			return looks_like_cbor(in->payload) ? gw_decode_senml_cbor : gw_decode_senml_json;
		if (format == GW_CF_SENML_CBOR || format == GW_CF_CBOR)
			return gw_decode_senml_cbor;
		return format == GW_CF_SENML_JSON || format == GW_CF_JSON ? gw_decode_senml_json : NULL;
	}
	return NULL;
}

// Readings of one frame that have no device time share the receive time: the sequence keeps those of one series apart. Slots are shared by several
// series at times, which makes numbers larger and never equal.
static void
number_timeless(struct gw_decoding *d)
{
	uint16_t next[256] = { 0 };

	for (size_t i = 0; i < d->count; i++) {
		struct gw_reading *reading = &d->scratch->readings[i].reading;
		if ((reading->flags & GW_FLAG_NO_DEVICE_TIME) != 0 && reading->sequence == 0)
			reading->sequence = next[gw_hash_mix((uint64_t)reading->signal << 16 | reading->instance) % 256]++;
	}
}

static void
tell_partial(const struct gw_decoding *d, struct gw_decode_output *out)
{
	size_t len;

	out->partial = d->refused > 0 ? d->error : GW_OK;
	if (d->refused == 0)
		return;
	out->partial_why = d->why;
	len = strlen(out->partial_why.text);
	if (d->refused > 1)
		snprintf(out->partial_why.text + len, sizeof(out->partial_why.text) - len, " (and %zu more)", d->refused - 1);
}

enum gw_error
gw_decode(struct gw_decode_scratch *scratch, const struct gw_decode_input *in, struct gw_decode_output *out, struct gw_why *why)
{
	struct gw_decoding d = { .scratch = scratch, .in = in, .profile = in->match->profile, .flags = in->test ? GW_FLAG_TEST : 0 };
	decoder *decode = decoder_for(d.profile, in);
	enum gw_error error;

	out->readings = scratch->readings;
	out->count = 0;
	out->partial = GW_OK;
	scratch->arena_used = 0;
	scratch->frame++;
	if (in->payload.len == 0)
		return gw_fail(why, GW_E_EMPTY, "the payload is empty");
	if (decode == NULL)
		return gw_fail(why, GW_E_CONTENT_FORMAT, "content format %u is not one that profile %s takes", in->content_format, d.profile->name);
	error = decode(&d, why);
	if (error != GW_OK)
		return error;
	if (d.count > 1)
		number_timeless(&d);
	tell_partial(&d, out);
	out->count = d.count;
	if (d.count > 0)
		return GW_OK;
	return d.refused > 0 ? gw_fail(why, out->partial, "%s", out->partial_why.text) : gw_fail(why, GW_E_EMPTY, "there is no reading in it");
}
