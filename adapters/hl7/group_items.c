// SPDX-License-Identifier: Apache-2.0
// What a group holds: items with copies of their texts and samples, and which of them stay. The destination's thread.
#include "adapters/hl7/group_impl.h"

#include "gateway/bytes.h"

#include <stdlib.h>

bool
gw_hl7_valid(const struct gw_reading *reading)
{
	return reading->type != GW_VALUE_NONE && !(reading->flags & (GW_FLAG_NOT_AVAILABLE | GW_FLAG_INVALID));
}

int64_t
gw_hl7_span_us(const struct gw_reading *reading)
{
	int64_t span_ns;

	if (reading->type != GW_VALUE_SAMPLES || reading->samples.period_ns <= 0)
		return 0;
	return __builtin_mul_overflow(reading->samples.period_ns, (int64_t)reading->samples.count, &span_ns) ? INT64_MAX / 1000 : span_ns / 1000;
}

// Characters of a sample as it is written, with its separator.
static size_t
sample_bytes(int32_t sample, int16_t exponent)
{
	int64_t size = sample < 0 ? -(int64_t)sample : sample;
	size_t digits = 1, zeros = exponent > 0 ? (size_t)exponent : 0;

	while ((size /= 10) > 0)
		digits++;
	if (exponent < 0 && digits <= (size_t)-exponent)
		digits = (size_t)-exponent + 1;
	return digits + zeros + 1 + (sample < 0) + (exponent < 0);
}

static size_t
samples_bytes(const struct gw_samples *samples)
{
	size_t bytes = 800;

	for (uint32_t i = 0; i < samples->count; i++)
		bytes += sample_bytes((int32_t)gw_get32(samples->at + 4 * (size_t)i), samples->exponent);
	return bytes;
}

size_t
gw_hl7_cost(const struct gw_reading *reading, bool own_time)
{
	size_t bytes = ITEM_BYTES + 5 * (reading->received.len + reading->unit_received.len);

	if (own_time && (reading->kind == GW_KIND_EVENT || reading->type == GW_VALUE_SAMPLES))
		bytes += OBR_BYTES;
	if (reading->type == GW_VALUE_TEXT)
		bytes += 5 * reading->text.len;
	return reading->type == GW_VALUE_SAMPLES ? bytes + samples_bytes(&reading->samples) : bytes;
}

// ---- Append ----

static void
put_span(uint8_t **at, struct gw_span *span)
{
	if (span->len > 0)
		memcpy(*at, span->at, span->len);
	span->at = *at;
	*at += span->len;
}

static bool
make_room(struct gw_hl7_group *group)
{
	size_t cap = group->cap > 0 ? group->cap * 2 : 16;
	struct gw_hl7_item *larger;

	if (group->count < group->cap)
		return true;
	if ((larger = realloc(group->items, cap * sizeof(*larger))) == NULL)
		return false;
	group->items = larger;
	group->cap = cap;
	return true;
}

bool
gw_hl7_items_append(struct gw_hl7_group *group, const struct gw_hl7_item *item)
{
	struct gw_hl7_item copy = *item;
	struct gw_reading *reading = &copy.reading;
	size_t samples = reading->type == GW_VALUE_SAMPLES ? 4 * (size_t)reading->samples.count : 0;
	uint8_t *at;

	if (!make_room(group))
		return false;
	copy.store = at = malloc(reading->received.len + reading->unit_received.len + (reading->type == GW_VALUE_TEXT ? reading->text.len : 0) + samples + 1);
	if (at == NULL)
		return false;
	put_span(&at, &reading->received);
	put_span(&at, &reading->unit_received);
	if (reading->type == GW_VALUE_TEXT)
		put_span(&at, &reading->text);
	if (samples > 0) {
		memcpy(at, reading->samples.at, samples);
		reading->samples.at = at;
	}
	group->items[group->count++] = copy;
	group->bytes += gw_hl7_cost(reading, copy.own_time);
	return true;
}

void
gw_hl7_items_clear(struct gw_hl7_group *group)
{
	while (group->count > 0)
		free(group->items[--group->count].store);
	group->bytes = 0;
}

// ---- The last valid one, or the first ----

// Signals of one measurement may come in frames of their own: with the device's time they have the same, without they come within a second.
#define TOGETHER_US 1000000
static bool
same_measurement(const struct gw_reading *a, const struct gw_reading *b)
{
	int64_t apart_us = a->time_us > b->time_us ? a->time_us - b->time_us : b->time_us - a->time_us;

	return apart_us <= (a->flags & b->flags & GW_FLAG_NO_DEVICE_TIME ? TOGETHER_US : 0);
}

static bool
rivals(const struct gw_hl7_item *item, const struct gw_hl7_item *other)
{
	const struct gw_reading *a = &item->reading, *b = &other->reading;

	return item->moment != other->moment && !item->own_time && gw_hl7_same_choice(a, b) && (a->signal == b->signal || !same_measurement(a, b));
}

static bool
replaces(const struct gw_hl7_group *group, const struct gw_hl7_item *item, bool valid, enum gw_hl7_select select)
{
	bool held = false, held_valid = false, later = false, earlier = false;

	for (size_t i = 0; i < group->count; i++) {
		const struct gw_hl7_item *other = &group->items[i];

		if (!rivals(other, item))
			continue;
		held = true;
		held_valid |= gw_hl7_valid(&other->reading);
		later |= other->effective.us > item->effective.us;
		earlier |= other->effective.us < item->effective.us;
	}
	if (!held || held_valid != valid)
		return !held || valid;
	return select == GW_HL7_FIRST ? !earlier : !later;
}

bool
gw_hl7_items_beat(struct gw_hl7_group *group, const struct gw_hl7_item *item, bool valid, enum gw_hl7_select select)
{
	size_t kept = 0;

	if (!replaces(group, item, valid, select))
		return false;
	for (size_t i = 0; i < group->count; i++) {
		if (rivals(&group->items[i], item)) {
			group->bytes -= gw_hl7_cost(&group->items[i].reading, group->items[i].own_time);
			free(group->items[i].store);
		} else {
			if (kept != i)
				group->items[kept] = group->items[i];
			kept++;
		}
	}
	group->count = kept;
	return true;
}
