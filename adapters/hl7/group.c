// SPDX-License-Identifier: Apache-2.0
// Grouping of readings into messages. The destination's thread; nothing here is shared.
//
// Each device has at most one open group of each class. Devices with something that the store does not know yet are listed by the first record that it
// concerns: the list's head holds the least position.
#include "adapters/hl7/group_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define SAVE_US INT64_C(60000000)      // a device without messages is stored after so long
#define UNCERTAINTY_STEP_US 250000     // asked about in such steps, upwards: then one answer serves for many moments

// One moment of the record under work.
struct work {
	struct gw_hl7_grouper *grouper;
	struct device *device;
	const struct gw_record *record;
	const struct gw_batch_head *head;
	const struct gw_clock_view *view;
	const struct entry *run; // its readings
	size_t count, from;      // and the first one's place in order of time
	uint64_t moment;
};

// ---- Devices ----

static struct device **
slot_of(struct device **table, size_t slots, struct gw_span id)
{
	size_t i = (size_t)gw_name_hash(id) & (slots - 1);

	while (table[i] != NULL && !gw_span_is(id, table[i]->id))
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
			*slot_of(table, slots, gw_span_text(grouper->table[i]->id)) = grouper->table[i];
	free(grouper->table);
	grouper->table = table;
	grouper->slots = slots;
	return true;
}

static struct device *
new_device(struct gw_hl7_grouper *grouper, struct gw_span id)
{
	const struct gw_hl7_settings *settings = grouper->options.settings;
	struct device *device = calloc(1, sizeof(*device) + grouper->class_count * sizeof(struct slot));

	if (device == NULL)
		return NULL;
	memcpy(device->id, id.at, id.len);
	device->wanted = settings->devices == NULL || gw_hl7_any_matches(settings->devices, settings->device_count, id);
	for (size_t i = 0; i < grouper->class_count; i++) {
		device->slots[i].device = device;
		device->slots[i].class = (uint8_t)i;
		memcpy(device->slots[i].group.device, id.at, id.len);
	}
	grouper->devices++;
	return device;
}

static struct device *
device_of(struct gw_hl7_grouper *grouper, struct gw_span id)
{
	struct device **slot;

	if (id.len > GW_ID_MAX || (grouper->devices * 4 >= grouper->slots * 3 && !grow(grouper)))
		return NULL;
	slot = slot_of(grouper->table, grouper->slots, id);
	if (*slot == NULL)
		*slot = new_device(grouper, id);
	return *slot;
}

// ---- What the store does not know yet ----

static void
saved_out(struct gw_hl7_grouper *grouper, struct device *device)
{
	if (device->unsaved == 0)
		return;
	*(device->before != NULL ? &device->before->after : &grouper->first) = device->after;
	*(device->after != NULL ? &device->after->before : &grouper->last) = device->before;
	device->before = device->after = NULL;
	device->unsaved = 0;
}

static void
unsaved_from(struct gw_hl7_grouper *grouper, struct device *device, uint64_t position, int64_t now_us)
{
	struct device *before = grouper->last;

	while (before != NULL && before->unsaved > position)
		before = before->before;
	device->unsaved = position;
	device->unsaved_us = now_us;
	device->before = before;
	device->after = before != NULL ? before->after : grouper->first;
	*(before != NULL ? &before->after : &grouper->first) = device;
	*(device->after != NULL ? &device->after->before : &grouper->last) = device;
}

static struct gw_span
state_of(struct gw_hl7_grouper *grouper, struct device *device, int64_t now_us)
{
	uint64_t needed;
	struct gw_span state = gw_hl7_state_of(grouper, device, &needed);

	saved_out(grouper, device);
	if (needed <= device->progress.position)
		unsaved_from(grouper, device, needed, now_us);
	return state;
}

// ---- Whose? ----

static bool
same_text(const char *a, const char *b)
{
	return a[0] == b[0] && strcmp(a, b) == 0;
}

bool
gw_hl7_same_owner(const struct gw_owner *a, const struct gw_owner *b)
{
	return a->whose == b->whose && a->patient == b->patient && same_text(a->bed, b->bed) && same_text(a->visit, b->visit) && same_text(a->order, b->order) &&
	    same_text(a->order_authority, b->order_authority) && same_text(a->patient_class, b->patient_class);
}

// A bed's name begins with its ward (PV1-3.1, point of care). One component alone may be a ward without beds, or a bed as the registry calls it.
static uint64_t
generation_of(const struct gw_hl7_grouper *grouper)
{
	return grouper->options.generation != NULL ? grouper->options.generation(grouper->options.arg) : 0;
}

// Sets device->owner for a span of time; asks only where the last answer may not hold.
static void
ask(struct gw_hl7_grouper *grouper, struct device *device, const struct gw_effective *effective, int64_t span_us)
{
	int64_t middle_us = effective->us + span_us / 2, uncertainty_us = effective->uncertainty_us + span_us / 2;
	uint64_t generation = generation_of(grouper);

	if (device->answer != 0 && device->owner_generation == generation && device->owner.whose != GW_WHOSE_UNSURE &&
	    uncertainty_us <= device->owner_uncertainty_us && middle_us >= device->owner.from_us && middle_us < device->owner.to_us)
		return;
	uncertainty_us += UNCERTAINTY_STEP_US - uncertainty_us % UNCERTAINTY_STEP_US;
	device->owner = (struct gw_owner){ .from_us = INT64_MIN, .to_us = GW_TIME_OPEN };
	if (grouper->options.owner != NULL)
		grouper->options.owner(grouper->options.arg, gw_span_text(device->id), middle_us, uncertainty_us, &device->owner);
	device->owner_uncertainty_us = uncertainty_us;
	device->owner_generation = generation;
	device->answer = ++grouper->answers;
	device->ward_wanted = gw_hl7_ward_wanted(grouper->options.settings, gw_span_text(device->id), device->owner.bed, grouper->options.ward, grouper->options.arg);
}

// ---- Closing ----

// Of items[from..), those that belong to whom the first one does come to the front; returns how many.
static size_t
gather(struct gw_hl7_grouper *grouper, struct slot *slot, size_t from)
{
	struct gw_hl7_group *group = &slot->group;
	size_t kept = from;

	for (size_t i = from; i < group->count; i++) {
		struct gw_hl7_item item = group->items[i];

		ask(grouper, slot->device, &item.effective, gw_hl7_span_us(&item.reading));
		if (i == from)
			group->owner = slot->device->owner;
		else if (!gw_hl7_same_owner(&group->owner, &slot->device->owner))
			continue;
		memmove(&group->items[kept + 1], &group->items[kept], (i - kept) * sizeof(item));
		group->items[kept++] = item;
	}
	return kept - from;
}

// Associations changed while it was open. What is of another ward now is left out.
static void
tell_parted(struct gw_hl7_grouper *grouper, struct slot *slot)
{
	struct gw_hl7_group *group = &slot->group, part;
	bool told = false;

	for (size_t from = 0, count; from < group->count; from += count) {
		count = gather(grouper, slot, from);
		part = *group;
		part.items = group->items + from;
		part.count = count;
		part.more = from + count < group->count;
		ask(grouper, slot->device, &part.items->effective, gw_hl7_span_us(&part.items->reading));
		if (slot->device->ward_wanted)
			grouper->options.closed(grouper->options.arg, &part);
		else
			grouper->stats.filtered += count;
		told |= slot->device->ward_wanted;
	}
	if (!told && grouper->options.save != NULL)
		grouper->options.save(grouper->options.arg, slot->device->id, group->state);
}

static void
unlist(struct gw_hl7_grouper *grouper, struct slot *slot)
{
	struct class *class = &grouper->classes[slot->class];

	*(slot->before != NULL ? &slot->before->after : &class->first) = slot->after;
	*(slot->after != NULL ? &slot->after->before : &class->last) = slot->before;
	slot->before = slot->after = NULL;
	slot->open = false;
	grouper->open--;
}

static void
close_group(struct gw_hl7_grouper *grouper, struct slot *slot, int64_t now_us)
{
	if (!slot->open)
		return;
	unlist(grouper, slot);
	slot->taken = slot->device->progress;
	slot->group.state = state_of(grouper, slot->device, now_us);
	slot->group.more = false;
	if (slot->generation == generation_of(grouper))
		grouper->options.closed(grouper->options.arg, &slot->group);
	else
		tell_parted(grouper, slot);
	gw_hl7_items_clear(&slot->group);
}

// ---- Opening ----

static int64_t
floor_to(int64_t us, int64_t interval_us)
{
	int64_t rest = us % interval_us;

	return us - rest - (rest < 0 ? interval_us : 0);
}

static void
open_group(const struct work *work, struct slot *slot, const struct gw_hl7_item *item)
{
	struct gw_hl7_grouper *grouper = work->grouper;
	struct class *class = &grouper->classes[slot->class];
	struct gw_hl7_group *group = &slot->group;

	group->from_us = class->interval_us > 0 ? floor_to(item->effective.us, class->interval_us) : item->effective.us;
	group->to_us = group->from_us + class->interval_us;
	group->hub_time = item->reading.flags & GW_FLAG_NO_DEVICE_TIME;
	group->sure = item->effective.sure;
	group->epoch = item->effective.epoch;
	group->owner = work->device->owner;
	slot->effective = item->effective;
	slot->answer = work->device->answer;
	slot->generation = work->device->owner_generation;
	group->opened_us = work->record->received_us;
	group->first_position = work->record->position;
	group->has_clock = false;
	group->bytes += HEAD_BYTES;
	snprintf(group->profile, sizeof(group->profile), "%.*s", GW_SPAN_FMT(work->head->profile));
	slot->clock = work->device->clock_before;
	slot->before = class->last;
	*(class->last != NULL ? &class->last->after : &class->first) = slot;
	class->last = slot;
	slot->open = true;
	grouper->open++;
}

static bool
fits(const struct work *work, struct slot *slot, const struct gw_hl7_item *item)
{
	const struct gw_hl7_group *group = &slot->group;
	int64_t interval_us = work->grouper->classes[slot->class].interval_us;

	if (interval_us > 0 && (item->effective.us < group->from_us || item->effective.us >= group->to_us))
		return false;
	if (interval_us == 0 && item->effective.us - group->from_us >= GW_HL7_SPAN_US)
		return false;
	if (group->hub_time != !!(item->reading.flags & GW_FLAG_NO_DEVICE_TIME) || !gw_effective_together(&slot->effective, &item->effective))
		return false;
	if (slot->answer != work->device->answer && !gw_hl7_same_owner(&group->owner, &work->device->owner))
		return false;
	slot->answer = work->device->answer;
	return true;
}

// Of readings that are all taken, the whole moment; most of one in which the last or first counts replaces what is there.
static bool
is_full(const struct work *work, const struct slot *slot, const struct gw_hl7_item *item, size_t i)
{
	size_t bytes = slot->group.bytes, count = slot->group.count;

	if (item->reading.type == GW_VALUE_SAMPLES) {
		bytes += gw_hl7_cost(&item->reading, true);
	} else if (item->own_time) {
		bytes += OBR_BYTES;
		count += work->count - i;
		for (; i < work->count && bytes <= GW_HL7_BYTES_USUAL; i++)
			if (work->run[i].reading.type != GW_VALUE_SAMPLES)
				bytes += gw_hl7_cost(&work->run[i].reading, true);
	}
	return count > GW_HL7_ITEMS_MAX || bytes > GW_HL7_BYTES_USUAL;
}

// ---- A record ----

static bool
left_out(struct gw_hl7_grouper *grouper, const struct gw_reading *reading, const struct choice *choice)
{
	struct gw_hl7_grouper_stats *stats = &grouper->stats;
	uint64_t *why = NULL;

	if (choice->class == LEFT_SAMPLES)
		why = &stats->samples;
	else if ((reading->flags & GW_FLAG_TEST) && grouper->options.settings->production)
		why = &stats->test;
	else if (choice->class == LEFT_UNKNOWN)
		why = &stats->unknown;
	else if ((reading->type == GW_VALUE_TEXT && reading->text.len > GW_HL7_READING_TEXT_MAX) || reading->received.len > GW_HL7_READING_TEXT_MAX ||
	    reading->unit_received.len > GW_HL7_READING_TEXT_MAX ||
	    (reading->type == GW_VALUE_SAMPLES && gw_hl7_cost(reading, true) + HEAD_BYTES > GW_HL7_BYTES_MAX))
		why = &stats->too_long;
	else if (choice->class == LEFT_FILTERED)
		why = &stats->filtered;
	if (why != NULL)
		(*why)++;
	return why != NULL;
}

static bool
any_valid(const struct work *work, const struct gw_reading *reading)
{
	uint64_t choice = gw_hl7_choice_of(reading);

	if (gw_hl7_valid(reading))
		return true;
	for (size_t i = 0; i < work->count; i++)
		if (gw_hl7_choice_of(&work->run[i].reading) == choice && gw_hl7_valid(&work->run[i].reading))
			return true;
	return false;
}

// What the device showed when the hub's clock showed what.
static void
disclose_clock(const struct work *work, struct gw_hl7_group *group, const struct gw_hl7_item *item)
{
	if (group->hub_time || (group->has_clock && group->device_us > item->reading.time_us))
		return;
	group->has_clock = true;
	group->device_us = item->reading.time_us;
	group->hub_us = item->effective.sure ? item->effective.us : work->record->received_us;
}

// The i-th reading of the moment into its group.
static enum gw_error
take_reading(const struct work *work, struct slot *slot, const struct choice *choice, struct gw_hl7_item *item, size_t i)
{
	struct gw_hl7_grouper *grouper = work->grouper;
	struct device *device = work->device;
	bool samples = item->reading.type == GW_VALUE_SAMPLES;
	enum gw_error error;

	if ((samples || slot->moment != work->moment) && slot->open && (!fits(work, slot, item) || is_full(work, slot, item, i))) {
		if (samples)
			device->progress = (struct gw_hl7_taken){ work->record->position, (uint32_t)(work->from + i) };
		close_group(grouper, slot, work->record->received_us);
	}
	slot->moment = work->moment;
	if (slot->open)
		disclose_clock(work, &slot->group, item);
	if (slot->open && slot->group.bytes + gw_hl7_cost(&item->reading, item->own_time) > GW_HL7_BYTES_MAX) {
		device->progress = (struct gw_hl7_taken){ work->record->position, (uint32_t)(work->from + i) };
		close_group(grouper, slot, work->record->received_us);
	}
	if (slot->open && !item->own_time) {
		error = gw_hl7_items_compete(&slot->group, item, any_valid(work, &item->reading), choice->select);
		grouper->stats.reduced += error == GW_E_EXISTS;
		return error == GW_E_EXISTS ? GW_OK : error;
	}
	if (!slot->open) { // what was closed may have been asked about since
		ask(grouper, device, &item->effective, gw_hl7_span_us(&item->reading));
		if (!device->ward_wanted) {
			grouper->stats.filtered++;
			return GW_OK;
		}
	}
	if ((error = gw_hl7_items_append(&slot->group, item)) != GW_OK)
		return error;
	if (!slot->open) {
		open_group(work, slot, item);
		disclose_clock(work, &slot->group, item);
	}
	if (item->own_time && (slot->group.count == 1 || slot->group.items[slot->group.count - 2].moment != work->moment))
		slot->group.bytes += OBR_BYTES;
	return GW_OK;
}

// One moment: readings of one record with one time.
static enum gw_error
take_moment(const struct work *work)
{
	struct gw_hl7_grouper *grouper = work->grouper;
	struct gw_hl7_item item = { .position = work->record->position, .moment = work->moment };
	enum gw_error error;

	gw_clock_view_effective(work->view, work->run->reading.time_us, work->run->reading.flags, &item.effective);
	for (size_t i = 0; i < work->count; i++) {
		const struct choice *choice = gw_hl7_choose(grouper, &work->run[i].reading);
		struct slot *slot;

		if (gw_reading_is_erased(&work->run[i].reading))
			continue;
		grouper->stats.readings++;
		if (left_out(grouper, &work->run[i].reading, choice))
			continue;
		slot = &work->device->slots[choice->class];
		if (slot->taken.position > item.position || (slot->taken.position == item.position && work->from + i < slot->taken.count))
			continue; // in a message of an earlier run
		item.reading = work->run[i].reading;
		item.index = work->run[i].order;
		item.own_time = choice->own_time;
		item.choice = gw_hl7_choice_of(&item.reading);
		ask(grouper, work->device, &item.effective, gw_hl7_span_us(&item.reading));
		if (!work->device->ward_wanted) {
			grouper->stats.filtered++;
			continue;
		}
		if ((error = take_reading(work, slot, choice, &item, i)) != GW_OK)
			return error;
	}
	return GW_OK;
}

static int
by_time(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->reading.time_us != y->reading.time_us)
		return x->reading.time_us < y->reading.time_us ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

static bool
reserve(struct gw_hl7_grouper *grouper, size_t count)
{
	struct entry *larger;

	if (count <= grouper->entries_cap)
		return true;
	if ((larger = realloc(grouper->entries, count * sizeof(*larger))) == NULL)
		return false;
	grouper->entries = larger;
	grouper->entries_cap = count;
	return true;
}

static void
sort(struct gw_hl7_grouper *grouper, size_t count)
{
	qsort(grouper->entries, count, sizeof(*grouper->entries), by_time);
	for (size_t i = 0; i < count; i++) { // those that lay in the entry itself have moved with it
		struct entry *entry = &grouper->entries[i];
		const uint8_t *at = entry->reading.received.at;

		if (at >= (const uint8_t *)grouper->entries && at < (const uint8_t *)(grouper->entries + grouper->entries_cap))
			entry->reading.received.at = (const uint8_t *)entry->received;
	}
}

// The record's readings in order of time, each with a `received` that lasts.
static enum gw_error
collect(struct gw_hl7_grouper *grouper, struct gw_batch *batch, size_t *count, struct gw_why *why)
{
	bool sorted = true;
	size_t n = 0;

	if (!reserve(grouper, batch->count))
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	for (struct entry *entry; n < grouper->entries_cap && gw_batch_next(batch, &(entry = &grouper->entries[n])->reading); n++) {
		const char *received = (const char *)entry->reading.received.at;

		if (entry->reading.received.len <= sizeof(entry->received) && received >= batch->text && received < batch->text + sizeof(batch->text)) {
			memcpy(entry->received, received, entry->reading.received.len);
			entry->reading.received.at = (const uint8_t *)entry->received;
		}
		entry->order = (uint32_t)n;
		sorted = sorted && (n == 0 || entry[-1].reading.time_us <= entry->reading.time_us);
	}
	if (!sorted)
		sort(grouper, n);
	*count = n;
	return batch->bad ? gw_fail(why, GW_E_CORRUPT, "a reading of the record is damaged") : GW_OK;
}

// Each record is given to the device's clock once, in order.
static void
take_clock(struct work *work, const struct entry *entries, size_t count, struct gw_clock_view *view)
{
	struct device *device = work->device;
	int64_t newest_us = GW_CLOCK_NO_TIME;

	for (size_t i = 0; i < count; i++) {
		int64_t us = gw_reading_newest(&entries[i].reading);

		newest_us = us > newest_us ? us : newest_us;
	}
	device->clock_before = device->clock;
	gw_device_clock_take(&device->clock, work->record->received_us, newest_us, view);
	device->progress = (struct gw_hl7_taken){ work->record->position, 0 };
	if (device->unsaved == 0)
		unsaved_from(work->grouper, device, work->record->position, work->record->received_us);
}

static enum gw_error
take_moments(struct work *work, const struct entry *entries, size_t count)
{
	enum gw_error error;

	for (size_t from = 0, to; from < count; from = to) {
		for (to = from + 1; to < count && entries[to].reading.time_us == entries[from].reading.time_us &&
		    !((entries[to].reading.flags ^ entries[from].reading.flags) & GW_FLAG_NO_DEVICE_TIME);)
			to++;
		work->run = entries + from;
		work->count = to - from;
		work->from = from;
		work->moment = ++work->grouper->moment;
		if ((error = take_moment(work)) != GW_OK)
			return error;
		work->device->progress = (struct gw_hl7_taken){ work->record->position, (uint32_t)to };
	}
	return GW_OK;
}

enum gw_error
gw_hl7_grouper_take(struct gw_hl7_grouper *grouper, const struct gw_record *record, struct gw_why *why)
{
	struct gw_clock_view view;
	struct gw_batch batch;
	struct work work = { .grouper = grouper, .record = record, .view = &view };
	size_t count = 0;
	enum gw_error error, damage;

	if ((error = gw_batch_open(record, &batch, why)) != GW_OK)
		return error;
	if ((work.device = device_of(grouper, batch.head.device)) == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	if (!work.device->wanted || record->position < work.device->clock_next)
		return GW_OK;
	damage = collect(grouper, &batch, &count, why);
	if (damage == GW_E_MEMORY)
		return damage;
	work.head = &batch.head;
	take_clock(&work, grouper->entries, count, &view);
	if ((error = take_moments(&work, grouper->entries, count)) != GW_OK)
		return gw_fail(why, error, "out of memory");
	work.device->progress.count = GW_HL7_ALL;
	for (size_t i = 0; i < grouper->class_count; i++)
		if (grouper->classes[i].interval_us == 0)
			close_group(grouper, &work.device->slots[i], record->received_us);
	return damage;
}

// ---- Time ----

static void
save(struct gw_hl7_grouper *grouper, int64_t now_us)
{
	struct device *device = grouper->first;
	uint64_t least = device->unsaved;
	struct gw_span state = state_of(grouper, device, now_us);

	if (device->unsaved != least && grouper->options.save != NULL)
		grouper->options.save(grouper->options.arg, device->id, state);
}

void
gw_hl7_grouper_tick(struct gw_hl7_grouper *grouper, int64_t now_us)
{
	// A hub's clock that was set back by more than an interval closes as well: nothing waits for hours.
	for (size_t i = 0; i < grouper->class_count; i++) {
		struct class *class = &grouper->classes[i];

		while (class->first != NULL && (now_us - class->first->group.opened_us >= class->interval_us ||
		    class->first->group.opened_us - now_us > class->interval_us))
			close_group(grouper, class->first, now_us);
	}
	for (struct device *head = NULL; grouper->first != NULL && grouper->first != head &&
	    (now_us - grouper->first->unsaved_us >= SAVE_US || grouper->first->unsaved_us - now_us > SAVE_US);) {
		head = grouper->first;
		save(grouper, now_us);
	}
}

uint64_t
gw_hl7_grouper_least(const struct gw_hl7_grouper *grouper)
{
	return grouper->first != NULL ? grouper->first->unsaved : 0;
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

bool
gw_hl7_grouper_resolve(struct gw_hl7_grouper *grouper, struct gw_span id, int64_t received_us, int64_t time_us, struct gw_effective *effective)
{
	struct device *device = id.len <= GW_ID_MAX ? *slot_of(grouper->table, grouper->slots, id) : NULL;

	return device != NULL && gw_device_clock_resolve(&device->clock, received_us, time_us, effective);
}

// ---- New, free, restore ----

struct gw_hl7_grouper *
gw_hl7_grouper_new(const struct gw_hl7_grouper_options *options)
{
	struct gw_hl7_grouper *grouper = calloc(1, sizeof(*grouper));

	if (grouper == NULL)
		return NULL;
	grouper->options = *options;
	if (gw_hl7_classes_of(options->settings, grouper->classes, &grouper->class_count, NULL) != GW_OK || !grow(grouper) ||
	    (grouper->choices = calloc(CHOICES, sizeof(*grouper->choices))) == NULL) {
		gw_hl7_grouper_free(grouper);
		return NULL;
	}
	return grouper;
}

static void
free_device(const struct gw_hl7_grouper *grouper, struct device *device)
{
	if (device == NULL)
		return;
	for (size_t i = 0; i < grouper->class_count; i++) {
		gw_hl7_items_clear(&device->slots[i].group);
		free(device->slots[i].group.items);
	}
	free(device);
}

void
gw_hl7_grouper_free(struct gw_hl7_grouper *grouper)
{
	if (grouper == NULL)
		return;
	for (size_t i = 0; i < grouper->slots; i++)
		free_device(grouper, grouper->table[i]);
	free(grouper->table);
	free(grouper->choices);
	free(grouper->entries);
	free(grouper);
}

enum gw_error
gw_hl7_grouper_restore(struct gw_hl7_grouper *grouper, struct gw_span id, struct gw_span state)
{
	struct device *device = device_of(grouper, id);

	return device != NULL ? gw_hl7_state_load(grouper, device, state) : GW_E_MEMORY;
}
