// SPDX-License-Identifier: Apache-2.0
// Grouping of readings into messages. The destination's thread; nothing here is shared.
//
// Each device has at most one open group. Open groups are listed in the order in which they opened, which is the journal's: the list's head is the
// first to close by the clock and holds the least position.
#include "adapters/hl7/group.h"

#include "gateway/nomenclature.h"

#include <stdio.h>
#include <stdlib.h>

struct device {
	struct gw_hl7_group group;
	struct device *before, *after; // open groups
	bool open;
	struct gw_hl7_taken fixed; // in messages of an earlier run
	bool seen;                 // the two below are valid
	int64_t newest_us, received_us; // of the last record with a device time
};

// A reading of the record under work: its own copy of what would not last.
struct entry {
	struct gw_reading reading;
	uint32_t order;
	char received[64];
};

struct gw_hl7_grouper {
	struct gw_hl7_grouper_options options;
	struct device **table; // open addressing by the id's hash
	size_t slots, devices;
	struct device *first, *last; // open groups
	size_t open;
	struct entry *entries;
	size_t entries_cap;
	uint64_t moment;
	struct gw_hl7_grouper_stats stats;
};

bool
gw_hl7_valid(const struct gw_reading *reading)
{
	return reading->type != GW_VALUE_NONE && !(reading->flags & (GW_FLAG_NOT_AVAILABLE | GW_FLAG_INVALID));
}

// ---- Devices ----

static struct device **
slot_of(struct device **table, size_t slots, struct gw_span id)
{
	size_t i = (size_t)gw_name_hash(id) & (slots - 1);

	while (table[i] != NULL && !gw_span_is(id, table[i]->group.device))
		i = (i + 1) & (slots - 1);
	return &table[i];
}

static bool
grow(struct gw_hl7_grouper *grouper)
{
	size_t slots = grouper->slots > 0 ? grouper->slots * 2 : 64;
	struct device **table = calloc(slots, sizeof(struct device *));

	if (table == NULL)
		return false;
	for (size_t i = 0; i < grouper->slots; i++)
		if (grouper->table[i] != NULL)
			*slot_of(table, slots, gw_span_text(grouper->table[i]->group.device)) = grouper->table[i];
	free(grouper->table);
	grouper->table = table;
	grouper->slots = slots;
	return true;
}

static struct device *
device_of(struct gw_hl7_grouper *grouper, struct gw_span id)
{
	struct device **slot;

	if (id.len > GW_ID_MAX || (grouper->devices * 4 >= grouper->slots * 3 && !grow(grouper)))
		return NULL;
	slot = slot_of(grouper->table, grouper->slots, id);
	if (*slot == NULL && (*slot = calloc(1, sizeof(struct device))) != NULL) {
		memcpy((*slot)->group.device, id.at, id.len);
		grouper->devices++;
	}
	return *slot;
}

// ---- A group's items ----

// Bytes of one item in a message, about; an escaped character has five at most. An OBR of its own comes with the device's rows.
#define ITEM_BYTES 260
#define OBR_BYTES 600
static size_t
cost_of(const struct gw_reading *reading)
{
	return ITEM_BYTES + (reading->kind == GW_KIND_EVENT ? OBR_BYTES : 0) + 5 * (reading->received.len + reading->unit_received.len + (reading->type == GW_VALUE_TEXT ? reading->text.len : 0));
}

static void
put_span(uint8_t **at, struct gw_span *span)
{
	if (span->len > 0)
		memcpy(*at, span->at, span->len);
	span->at = *at;
	*at += span->len;
}

static bool
append(struct gw_hl7_group *group, const struct gw_reading *reading, uint64_t moment)
{
	struct gw_hl7_item item = { .reading = *reading, .moment = moment };
	bool text = reading->type == GW_VALUE_TEXT;
	uint8_t *at;

	if (group->count == group->cap) {
		size_t cap = group->cap > 0 ? group->cap * 2 : 16;
		struct gw_hl7_item *larger = realloc(group->items, cap * sizeof(*larger));

		if (larger == NULL)
			return false;
		group->items = larger;
		group->cap = cap;
	}
	item.store = at = malloc(reading->received.len + reading->unit_received.len + (text ? reading->text.len : 0) + 1);
	if (at == NULL)
		return false;
	put_span(&at, &item.reading.received);
	put_span(&at, &item.reading.unit_received);
	if (text)
		put_span(&at, &item.reading.text);
	group->items[group->count++] = item;
	group->bytes += cost_of(reading);
	return true;
}

static void
clear(struct gw_hl7_group *group)
{
	while (group->count > 0)
		free(group->items[--group->count].store);
	group->bytes = 0;
}

// ---- Opening and closing ----

static void
unlist(struct gw_hl7_grouper *grouper, struct device *device)
{
	*(device->before != NULL ? &device->before->after : &grouper->first) = device->after;
	*(device->after != NULL ? &device->after->before : &grouper->last) = device->before;
	device->before = device->after = NULL;
	device->open = false;
	grouper->open--;
}

static void
close_group(struct gw_hl7_grouper *grouper, struct device *device)
{
	if (!device->open)
		return;
	grouper->options.closed(grouper->options.arg, &device->group);
	clear(&device->group);
	unlist(grouper, device);
}

static void
open_group(struct gw_hl7_grouper *grouper, struct device *device, const struct gw_record *record, const struct gw_batch_head *head, int64_t window_us,
    bool hub_time)
{
	struct gw_hl7_group *group = &device->group;

	group->from_us = window_us;
	group->to_us = window_us + grouper->options.interval_us;
	group->hub_time = hub_time;
	group->opened_us = record->received_us;
	group->first_position = record->position;
	group->has_clock = false;
	snprintf(group->profile, sizeof(group->profile), "%.*s", GW_SPAN_FMT(head->profile));
	device->before = grouper->last;
	*(grouper->last != NULL ? &grouper->last->after : &grouper->first) = device;
	grouper->last = device;
	device->open = true;
	grouper->open++;
}

// ---- The last valid one ----

// Pressures: systolic, diastolic and mean follow their unspecified form in steps of one (IEEE 11073-10101, terms 0x4A00 to 0x4BFF of partition 2).
static uint32_t
choice_of(uint32_t signal)
{
	return signal >> 16 == 2 && (signal & 0xffff) >= 0x4a00 && (signal & 0xffff) < 0x4c00 ? signal & ~3u : signal;
}

static bool
same_choice(const struct gw_reading *a, const struct gw_reading *b)
{
	return a->instance == b->instance && a->kind != GW_KIND_EVENT && b->kind != GW_KIND_EVENT && choice_of(a->signal) == choice_of(b->signal);
}

// Whether a moment's readings of one choice beat what the group has of it; what is beaten is removed.
static bool
beats(struct gw_hl7_group *group, const struct gw_reading *reading, bool valid, uint64_t moment)
{
	bool held_valid = false, later = false;
	size_t kept = 0;

	for (size_t i = 0; i < group->count; i++) {
		const struct gw_hl7_item *item = &group->items[i];

		if (item->moment == moment || !same_choice(&item->reading, reading))
			continue;
		held_valid |= gw_hl7_valid(&item->reading);
		later |= item->reading.time_us > reading->time_us;
	}
	if ((held_valid && !valid) || (later && held_valid == valid))
		return false;
	for (size_t i = 0; i < group->count; i++) {
		if (group->items[i].moment != moment && same_choice(&group->items[i].reading, reading)) {
			group->bytes -= cost_of(&group->items[i].reading);
			free(group->items[i].store);
		} else {
			group->items[kept++] = group->items[i];
		}
	}
	group->count = kept;
	return true;
}

static bool
any_valid(const struct entry *run, size_t count, const struct gw_reading *reading)
{
	for (size_t i = 0; i < count; i++)
		if (same_choice(&run[i].reading, reading) && gw_hl7_valid(&run[i].reading))
			return true;
	return false;
}

// ---- A record ----

static bool
left_out(struct gw_hl7_grouper *grouper, const struct gw_reading *reading)
{
	uint64_t *why = NULL;

	if (reading->type == GW_VALUE_SAMPLES)
		why = &grouper->stats.samples;
	else if ((reading->flags & GW_FLAG_TEST) && grouper->options.production)
		why = &grouper->stats.test;
	else if (gw_signal_by_code(reading->signal) == NULL)
		why = &grouper->stats.unknown;
	else if ((reading->type == GW_VALUE_TEXT && reading->text.len > GW_HL7_TEXT_MAX) || reading->received.len > GW_HL7_TEXT_MAX ||
	    reading->unit_received.len > GW_HL7_TEXT_MAX)
		why = &grouper->stats.too_long;
	if (why != NULL)
		(*why)++;
	return why != NULL;
}

static int64_t
floor_to(int64_t us, int64_t interval_us)
{
	int64_t rest = us % interval_us;

	return us - rest - (rest < 0 ? interval_us : 0);
}

// One moment: readings of one record with one time, the record's from `from` on in order of time.
static enum gw_error
take_moment(struct gw_hl7_grouper *grouper, struct device *device, const struct gw_record *record, const struct gw_batch_head *head,
    const struct entry *run, size_t count, size_t from)
{
	struct gw_hl7_group *group = &device->group;
	bool hub_time = run->reading.flags & GW_FLAG_NO_DEVICE_TIME, full;
	int64_t window_us = floor_to(run->reading.time_us, grouper->options.interval_us);
	uint64_t moment = ++grouper->moment;

	// Most of a moment replaces what is there, unless all are taken.
	full = grouper->options.all ? group->count + count > GW_HL7_ITEMS_MAX || group->bytes + count * ITEM_BYTES > GW_HL7_BYTES_USUAL
	    : group->count > GW_HL7_ITEMS_MAX || group->bytes > GW_HL7_BYTES_USUAL;
	if (device->open && (full || group->from_us != window_us || group->hub_time != hub_time))
		close_group(grouper, device);
	for (size_t i = 0; i < count; i++) {
		const struct gw_reading *reading = &run[i].reading;

		grouper->stats.readings++;
		if (left_out(grouper, reading))
			continue;
		if (!grouper->options.all && reading->kind != GW_KIND_EVENT && device->open &&
		    !beats(group, reading, any_valid(run, count, reading), moment)) {
			grouper->stats.reduced++;
			continue;
		}
		if (device->open && group->bytes + cost_of(reading) > GW_HL7_BYTES_MAX) {
			group->taken = (struct gw_hl7_taken){ record->position, (uint32_t)(from + i) };
			close_group(grouper, device);
		}
		if (!append(group, reading, moment))
			return GW_E_MEMORY;
		if (!device->open)
			open_group(grouper, device, record, head, window_us, hub_time);
	}
	if (device->open && grouper->options.all)
		group->bytes += OBR_BYTES;
	if (device->open && !hub_time) {
		group->has_clock = true;
		group->device_us = run->reading.time_us;
		group->hub_us = record->received_us;
	}
	return GW_OK;
}

// A backward step; or a step ahead: more device time than hub time has passed, and the reading was not simply buffered when the last record came.
static bool
clock_stepped(const struct device *device, int64_t newest_us, int64_t received_us)
{
	if (!device->seen)
		return false;
	if (newest_us < device->newest_us - GW_HL7_STEP_US)
		return true;
	return newest_us - device->newest_us > received_us - device->received_us + GW_HL7_STEP_US && newest_us > device->received_us;
}

static void
watch_clock(struct gw_hl7_grouper *grouper, struct device *device, const struct entry *entries, size_t count, int64_t received_us)
{
	int64_t newest_us = INT64_MIN;

	for (size_t i = 0; i < count; i++)
		if (!(entries[i].reading.flags & GW_FLAG_NO_DEVICE_TIME) && entries[i].reading.time_us > newest_us)
			newest_us = entries[i].reading.time_us;
	if (newest_us == INT64_MIN)
		return;
	if (clock_stepped(device, newest_us, received_us))
		close_group(grouper, device);
	device->seen = true;
	device->newest_us = newest_us;
	device->received_us = received_us;
}

static int
by_time(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->reading.time_us != y->reading.time_us)
		return x->reading.time_us < y->reading.time_us ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

// The record's readings in order of time, each with a `received` that lasts.
static enum gw_error
collect(struct gw_hl7_grouper *grouper, struct gw_batch *batch, size_t *count, struct gw_why *why)
{
	bool sorted = true;
	size_t n = 0;

	if (batch->count > grouper->entries_cap) {
		struct entry *larger = realloc(grouper->entries, batch->count * sizeof(*larger));

		if (larger == NULL)
			return gw_fail(why, GW_E_MEMORY, "out of memory");
		grouper->entries = larger;
		grouper->entries_cap = batch->count;
	}
	for (struct entry *entry; n < grouper->entries_cap && gw_batch_next(batch, &(entry = &grouper->entries[n])->reading); n++) {
		const char *received = (const char *)entry->reading.received.at;

		if (entry->reading.received.len <= sizeof(entry->received) && received >= batch->text && received < batch->text + sizeof(batch->text)) {
			memcpy(entry->received, received, entry->reading.received.len);
			entry->reading.received.at = (const uint8_t *)entry->received;
		}
		entry->order = (uint32_t)n;
		sorted = sorted && (n == 0 || entry[-1].reading.time_us <= entry->reading.time_us);
	}
	if (!sorted) {
		qsort(grouper->entries, n, sizeof(*grouper->entries), by_time);
		for (size_t i = 0; i < n; i++) { // those that lay in the entry itself have moved with it
			struct entry *entry = &grouper->entries[i];
			const uint8_t *at = entry->reading.received.at;

			if (at >= (const uint8_t *)grouper->entries && at < (const uint8_t *)(grouper->entries + grouper->entries_cap))
				entry->reading.received.at = (const uint8_t *)entry->received;
		}
	}
	*count = n;
	return batch->bad ? gw_fail(why, GW_E_CORRUPT, "a reading of the record is damaged") : GW_OK;
}

enum gw_error
gw_hl7_grouper_take(struct gw_hl7_grouper *grouper, const struct gw_record *record, struct gw_why *why)
{
	struct gw_batch batch;
	struct device *device;
	const struct entry *entries;
	size_t count = 0, from, to;
	enum gw_error error, damage;

	if ((error = gw_batch_open(record, &batch, why)) != GW_OK)
		return error;
	if ((device = device_of(grouper, batch.head.device)) == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	if (record->position < device->fixed.position)
		return GW_OK;
	damage = collect(grouper, &batch, &count, why);
	if (damage == GW_E_MEMORY)
		return damage;
	entries = grouper->entries;
	from = record->position == device->fixed.position ? device->fixed.count : 0;
	if (from < count)
		watch_clock(grouper, device, entries + from, count - from, record->received_us);
	for (; from < count; from = to) {
		for (to = from + 1; to < count && entries[to].reading.time_us == entries[from].reading.time_us &&
		    !((entries[to].reading.flags ^ entries[from].reading.flags) & GW_FLAG_NO_DEVICE_TIME);)
			to++;
		if ((error = take_moment(grouper, device, record, &batch.head, entries + from, to - from, from)) != GW_OK)
			return gw_fail(why, error, "out of memory");
		device->group.taken = (struct gw_hl7_taken){ record->position, to < count ? (uint32_t)to : GW_HL7_ALL };
	}
	return damage;
}

void
gw_hl7_grouper_tick(struct gw_hl7_grouper *grouper, int64_t now_us)
{
	int64_t interval_us = grouper->options.interval_us;

	// A hub's clock that was set back by more than an interval closes as well: nothing waits for hours.
	while (grouper->first != NULL && (now_us - grouper->first->group.opened_us >= interval_us || grouper->first->group.opened_us - now_us > interval_us))
		close_group(grouper, grouper->first);
}

uint64_t
gw_hl7_grouper_least(const struct gw_hl7_grouper *grouper)
{
	return grouper->first != NULL ? grouper->first->group.first_position : 0;
}

size_t
gw_hl7_grouper_open(const struct gw_hl7_grouper *grouper)
{
	return grouper->open;
}

const struct gw_hl7_grouper_stats *
gw_hl7_grouper_stats(const struct gw_hl7_grouper *grouper)
{
	return &grouper->stats;
}

// ---- New, free, restore ----

struct gw_hl7_grouper *
gw_hl7_grouper_new(const struct gw_hl7_grouper_options *options)
{
	struct gw_hl7_grouper *grouper = calloc(1, sizeof(*grouper));

	if (grouper == NULL || !grow(grouper)) {
		free(grouper);
		return NULL;
	}
	grouper->options = *options;
	return grouper;
}

void
gw_hl7_grouper_free(struct gw_hl7_grouper *grouper)
{
	if (grouper == NULL)
		return;
	for (size_t i = 0; i < grouper->slots; i++) {
		if (grouper->table[i] == NULL)
			continue;
		clear(&grouper->table[i]->group);
		free(grouper->table[i]->group.items);
		free(grouper->table[i]);
	}
	free(grouper->table);
	free(grouper->entries);
	free(grouper);
}

enum gw_error
gw_hl7_grouper_restore(struct gw_hl7_grouper *grouper, struct gw_span id, const struct gw_hl7_taken *taken)
{
	struct device *device = device_of(grouper, id);

	if (device == NULL)
		return GW_E_MEMORY;
	device->fixed = *taken;
	return GW_OK;
}
