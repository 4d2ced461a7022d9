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

#define STORE_LEAST 32 // most texts are shorter: then one serves for all that come to its place

// Copies item to *place, which has room for texts (or none yet: store NULL).
static enum gw_error
put_item(struct gw_hl7_item *place, const struct gw_hl7_item *item)
{
	const struct gw_reading *from = &item->reading;
	size_t samples = from->type == GW_VALUE_SAMPLES ? 4 * (size_t)from->samples.count : 0, cap = place->store_cap;
	size_t need = from->received.len + from->unit_received.len + (from->type == GW_VALUE_TEXT ? from->text.len : 0) + samples;
	uint8_t *store = place->store, *at;

	if (store == NULL || need > cap) {
		cap = need > STORE_LEAST ? need : STORE_LEAST;
		if ((at = realloc(store, cap)) == NULL)
			return GW_E_MEMORY;
		store = at;
	}
	*place = *item;
	place->store = at = store;
	place->store_cap = cap;
	put_span(&at, &place->reading.received);
	put_span(&at, &place->reading.unit_received);
	if (from->type == GW_VALUE_TEXT)
		put_span(&at, &place->reading.text);
	if (samples > 0) {
		memcpy(at, from->samples.at, samples);
		place->reading.samples.at = at;
	}
	return GW_OK;
}

enum gw_error
gw_hl7_items_append(struct gw_hl7_group *group, const struct gw_hl7_item *item)
{
	enum gw_error error;

	if (!make_room(group))
		return GW_E_MEMORY;
	group->items[group->count].store = NULL;
	if ((error = put_item(&group->items[group->count], item)) != GW_OK)
		return error;
	group->count++;
	group->bytes += gw_hl7_cost(&item->reading, item->own_time);
	return GW_OK;
}

void
gw_hl7_items_clear(struct gw_hl7_group *group)
{
	while (group->count > 0)
		free(group->items[--group->count].store);
	group->bytes = 0;
}

// ---- Made again ----

static enum gw_error
reading_at(struct gw_batch *batch, uint32_t index, struct gw_reading *reading)
{
	for (uint32_t i = 0; gw_batch_next(batch, reading); i++)
		if (i == index)
			return gw_reading_is_erased(reading) ? GW_E_NOT_FOUND : GW_OK;
	return batch->bad ? GW_E_CORRUPT : GW_E_NOT_FOUND;
}

enum gw_error
gw_hl7_group_add(struct gw_hl7_group *group, const struct gw_hl7_settings *settings, const struct gw_record *record, uint32_t index, int64_t effective_us)
{
	struct gw_hl7_item item = { .position = record->position, .index = index, .effective.us = effective_us };
	struct gw_hl7_selection selection;
	const struct gw_signal *signal;
	struct gw_batch batch;
	enum gw_error error;

	if ((error = gw_batch_open(record, &batch, NULL)) != GW_OK || (error = reading_at(&batch, index, &item.reading)) != GW_OK)
		return error;
	if ((signal = gw_signal_by_code(item.reading.signal)) == NULL)
		return GW_E_NOT_FOUND;
	if (settings->production && (item.reading.flags & GW_FLAG_TEST))
		return GW_E_FORBIDDEN;
	gw_hl7_select(settings, signal, item.reading.kind, item.reading.type, &selection);
	item.own_time = selection.own_time;
	return gw_hl7_items_append(group, &item);
}

void
gw_hl7_group_fini(struct gw_hl7_group *group)
{
	gw_hl7_items_clear(group);
	free(group->items);
	*group = (struct gw_hl7_group){ 0 };
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

	return item->choice == other->choice && item->moment != other->moment && !item->own_time && (a->signal == b->signal || !same_measurement(a, b));
}

// What a reading meets in its group.
struct field {
	size_t first, count; // of its rivals
	bool valid;          // one of them is
	bool later, earlier; // one of them was
};

static struct field
field_of(const struct gw_hl7_group *group, const struct gw_hl7_item *item)
{
	struct field field = { .count = 0 };

	for (size_t i = 0; i < group->count; i++) {
		const struct gw_hl7_item *other = &group->items[i];

		if (other->choice != item->choice || !rivals(other, item))
			continue;
		field.first = field.count++ == 0 ? i : field.first;
		field.valid |= gw_hl7_valid(&other->reading);
		field.later |= other->effective.us > item->effective.us;
		field.earlier |= other->effective.us < item->effective.us;
	}
	return field;
}

static bool
wins(const struct field *field, bool valid, enum gw_hl7_select select)
{
	if (field->count == 0 || field->valid != valid)
		return field->count == 0 || valid;
	return select == GW_HL7_FIRST ? !field->earlier : !field->later;
}

static void
remove_rivals(struct gw_hl7_group *group, const struct gw_hl7_item *item)
{
	size_t kept = 0;

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
}

enum gw_error
gw_hl7_items_compete(struct gw_hl7_group *group, const struct gw_hl7_item *item, bool valid, enum gw_hl7_select select)
{
	struct field field = field_of(group, item);
	struct gw_hl7_item *rival = &group->items[field.first];
	size_t cost;

	if (!wins(&field, valid, select))
		return GW_E_EXISTS;
	if (field.count == 1 && rival->reading.signal == item->reading.signal) {
		cost = gw_hl7_cost(&rival->reading, rival->own_time);
		group->bytes += gw_hl7_cost(&item->reading, item->own_time) - cost;
		return put_item(rival, item);
	}
	if (field.count > 0)
		remove_rivals(group, item);
	return gw_hl7_items_append(group, item);
}
