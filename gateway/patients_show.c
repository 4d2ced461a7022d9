// SPDX-License-Identifier: Apache-2.0
// Timelines, conflicts and figures for people: copied out under the read lock, so that nobody who reads slowly holds anything. Any thread.
#include "gateway/patients_internal.h"

#include "gateway/clock.h"

#include <stdlib.h>

#define CONTESTED_MAX 16 // patients of one timeline

struct list {
	struct gw_timeline *at;
	size_t count, cap;
	int64_t from_us, to_us;
	bool failed;
};

static void
copy(struct gw_span text, char *out, size_t cap)
{
	size_t len = text.len < cap ? text.len : cap - 1;

	if (len > 0)
		memcpy(out, text.at, len);
	out[len] = '\0';
}

// A new entry, or NULL where it lies outside of what is asked for, or beyond the limit.
static struct gw_timeline *
add(struct list *list, enum gw_timeline_kind kind, int64_t from_us, int64_t to_us)
{
	struct gw_timeline *more;

	if (to_us <= list->from_us || from_us >= list->to_us || list->count == GW_TIMELINE_MAX || list->failed)
		return NULL;
	if (list->count == list->cap) {
		list->cap = list->cap == 0 ? 16 : list->cap * 2;
		more = realloc(list->at, list->cap * sizeof(*more));
		if (more == NULL) {
			list->failed = true;
			return NULL;
		}
		list->at = more;
	}
	more = &list->at[list->count++];
	*more = (struct gw_timeline){ .kind = kind, .from_us = from_us, .to_us = to_us };
	return more;
}

static void
add_texts(struct gw_timeline *entry, const struct interval *interval)
{
	copy(gw_note_text(interval->note, NOTE_VISIT), entry->visit, sizeof(entry->visit));
	copy(gw_note_text(interval->order, NOTE_ORDER), entry->order, sizeof(entry->order));
	copy(gw_note_text(interval->note, NOTE_FILLER), entry->filler, sizeof(entry->filler));
	copy(gw_note_text(interval->note, NOTE_SOURCE), entry->source, sizeof(entry->source));
	entry->flagged = interval->flagged;
}

// Another one of the line that leads elsewhere and holds at the same time: the first such.
static const struct interval *
rival_of(const struct line *line, const struct interval *one, const void *what)
{
	for (uint32_t i = 0; i < line->count && line->at[i].from_us < one->to_us; i++) {
		if (line->at[i].what != what && line->at[i].to_us > one->from_us)
			return &line->at[i];
	}
	return NULL;
}

static void
set_rival(struct gw_timeline *entry, const struct interval *rival)
{
	entry->conflict = rival != NULL;
	entry->other = rival != NULL ? ((struct patient *)rival->what)->number : 0;
}

static struct gw_span
name_of(const void *what)
{
	const struct bed *bed = what;

	return gw_span(bed->name, bed->len);
}

// Of a stay that is disputed: the first other bed.
static void
set_other_bed(struct gw_timeline *entry, const struct patient *patient, const struct bed *bed, const struct interval *stay)
{
	for (uint32_t i = 0; stay->disputed && i < patient->stays.count && entry->other_bed[0] == '\0'; i++) {
		const struct interval *other = &patient->stays.at[i];

		if (other->what == bed || other->from_us >= stay->to_us || other->to_us <= stay->from_us)
			continue;
		copy(name_of(other->what), entry->other_bed, sizeof(entry->other_bed));
		entry->conflict = true;
	}
}

static void
add_stays(struct list *list, const struct patient *patient)
{
	for (uint32_t i = 0; i < patient->stays.count; i++) {
		const struct interval *stay = &patient->stays.at[i];
		const struct bed *bed = stay->what;
		struct gw_timeline *entry = add(list, GW_TIMELINE_STAY, stay->from_us, stay->to_us);

		if (entry == NULL)
			continue;
		entry->patient = patient->number;
		copy(gw_span(bed->name, bed->len), entry->bed, sizeof(entry->bed));
		add_texts(entry, stay);
		set_rival(entry, rival_of(&bed->stays, stay, patient));
		set_other_bed(entry, patient, bed, stay);
	}
}

// Each two beds in which the patient is said to be at once. Of somebody who was erased nobody can say any more.
static void
add_two_beds(struct list *list, const struct patient *patient)
{
	const struct line *stays = &patient->stays;

	for (uint32_t i = 0; i < stays->count; i++) {
		for (uint32_t j = i; stays->at[i].disputed && patient->person_len > 0 && j-- > 0 && stays->at[j].max_to_us > stays->at[i].from_us;) {
			const struct interval *claim = &stays->at[j], *stay = &stays->at[i];
			struct gw_timeline *entry;

			if (claim->what == stay->what || claim->to_us <= stay->from_us)
				continue;
			entry = add(list, GW_TIMELINE_BEDS, stay->from_us, claim->to_us < stay->to_us ? claim->to_us : stay->to_us);
			if (entry == NULL)
				continue;
			entry->patient = patient->number;
			entry->conflict = true;
			copy(name_of(stay->what), entry->bed, sizeof(entry->bed));
			copy(name_of(claim->what), entry->other_bed, sizeof(entry->other_bed));
			copy(gw_note_text(claim->note, NOTE_ORDER), entry->order, sizeof(entry->order));
			copy(gw_note_text(claim->note, NOTE_SOURCE), entry->source, sizeof(entry->source));
		}
	}
}

static void
add_bed(struct list *list, const struct bed *bed)
{
	for (uint32_t i = 0; i < bed->stays.count; i++) {
		const struct interval *stay = &bed->stays.at[i];
		struct gw_timeline *entry = add(list, GW_TIMELINE_STAY, stay->from_us, stay->to_us);

		if (entry == NULL)
			continue;
		entry->patient = ((struct patient *)stay->what)->number;
		copy(gw_span(bed->name, bed->len), entry->bed, sizeof(entry->bed));
		add_texts(entry, stay);
		set_rival(entry, rival_of(&bed->stays, stay, stay->what));
		set_other_bed(entry, stay->what, bed, stay);
	}
}

// only: a patient's or a bed's part of it; NULL: all.
static void
add_directs(struct list *list, const struct device *device, const struct patient *only)
{
	for (uint32_t i = 0; i < device->directs.count; i++) {
		const struct interval *direct = &device->directs.at[i];
		struct gw_timeline *entry;

		if ((only != NULL && direct->what != only) || (entry = add(list, GW_TIMELINE_DIRECT, direct->from_us, direct->to_us)) == NULL)
			continue;
		entry->patient = ((struct patient *)direct->what)->number;
		copy(gw_span(device->id, device->len), entry->device, sizeof(entry->device));
		add_texts(entry, direct);
		set_rival(entry, rival_of(&device->directs, direct, direct->what));
	}
}

static void
add_places(struct list *list, const struct device *device, const struct bed *only)
{
	for (uint32_t i = 0; i < device->places.count; i++) {
		const struct interval *place = &device->places.at[i];
		const struct bed *bed = place->what;
		struct gw_timeline *entry;

		if ((only != NULL && bed != only) || (entry = add(list, GW_TIMELINE_PLACE, place->from_us, place->to_us)) == NULL)
			continue;
		copy(gw_span(device->id, device->len), entry->device, sizeof(entry->device));
		copy(gw_span(bed->name, bed->len), entry->bed, sizeof(entry->bed));
		add_texts(entry, place);
	}
}

// With each patient once. after: only with those who have a higher number, so that each pair comes once.
static void
add_clashes(struct list *list, const struct gw_patients *patients, const struct patient *patient, bool after)
{
	for (uint32_t i = 0; i < patient->clash_count; i++) {
		const struct clash *clash = &patient->clashes[i];
		const struct patient *other = gw_patient_root(gw_patient_find(patients, clash->other));
		int64_t from_us = clash->from_us;
		struct gw_timeline *entry;
		bool told = false;

		for (uint32_t j = 0; j < patient->clash_count; j++) {
			const struct clash *same = &patient->clashes[j];

			if (gw_patient_root(gw_patient_find(patients, same->other)) != other)
				continue;
			told |= j < i;
			from_us = same->from_us < from_us ? same->from_us : from_us;
		}
		if (clash->apart || told || other == NULL || (after && other->number < patient->number) ||
		    (entry = add(list, GW_TIMELINE_CLASH, from_us, GW_TIME_OPEN)) == NULL)
			continue;
		entry->patient = patient->number;
		entry->other = other->number;
		entry->conflict = true;
	}
}

// Before the first placement: by the registry.
static void
add_standing(struct list *list, const struct device *device, struct gw_span id, const struct standing *standing)
{
	int64_t to_us = device != NULL ? device->first_us : GW_TIME_OPEN;
	struct gw_timeline *entry;

	if (standing->bed[0] == '\0' || standing->since_us >= to_us || (device != NULL && device->pruned) ||
	    (entry = add(list, GW_TIMELINE_PLACE, standing->since_us, to_us)) == NULL)
		return;
	copy(id, entry->device, sizeof(entry->device));
	copy(gw_span_text(standing->bed), entry->bed, sizeof(entry->bed));
	copy(gw_span_text("registry"), entry->source, sizeof(entry->source));
}

static void
note_contested(const struct patient *contested[CONTESTED_MAX], uint32_t *count, const struct patient *patient)
{
	for (uint32_t i = 0; i < *count; i++) {
		if (contested[i] == patient)
			return;
	}
	if (patient != NULL && *count < CONTESTED_MAX)
		contested[(*count)++] = patient;
}

// What readings of the device get, piece by piece; pieces with the same answer are joined. And why they are nobody's where it is in question who is who.
static void
add_owners(struct list *list, const struct gw_patients *patients, const struct device *device, struct gw_span id, const struct standing *standing)
{
	const struct patient *contested[CONTESTED_MAX];
	uint32_t contested_count = 0;
	struct gw_timeline *last = NULL;
	struct owned owned;

	for (int64_t us = list->from_us; us < list->to_us; us = owned.to_us) {
		uint64_t number;

		gw_owner_look(patients, device, standing, us, &owned);
		number = owned.patient != NULL ? owned.patient->number : 0;
		note_contested(contested, &contested_count, owned.contested);
		if (last != NULL && last->whose == owned.whose && last->patient == number && last->flagged == owned.flagged)
			last->to_us = owned.to_us;
		else if (owned.whose == GW_WHOSE_NOBODY)
			last = NULL;
		else if ((last = add(list, GW_TIMELINE_OWNER, owned.from_us, owned.to_us)) != NULL) {
			last->whose = owned.whose;
			last->patient = number;
			last->flagged = owned.flagged;
			last->conflict = owned.whose == GW_WHOSE_CONFLICT;
			copy(id, last->device, sizeof(last->device));
			copy(owned.bed, last->bed, sizeof(last->bed));
		}
		if (owned.to_us == GW_TIME_OPEN)
			break;
	}
	for (uint32_t i = 0; i < contested_count; i++)
		add_clashes(list, patients, contested[i], false);
}

static int
by_time(const void *a, const void *b)
{
	const struct gw_timeline *x = a, *y = b;

	if (x->kind == GW_TIMELINE_OWNER || y->kind == GW_TIMELINE_OWNER)
		return x->kind != y->kind ? (x->kind == GW_TIMELINE_OWNER) - (y->kind == GW_TIMELINE_OWNER) : (x->from_us > y->from_us) - (x->from_us < y->from_us);
	return x->from_us != y->from_us ? (x->from_us > y->from_us) - (x->from_us < y->from_us) : (int)x->kind - (int)y->kind;
}

static enum gw_error
give(struct list *list, struct gw_timeline **entries, size_t *count)
{
	*entries = NULL;
	*count = 0;
	if (list->failed) {
		free(list->at);
		return GW_E_MEMORY;
	}
	if (list->count > 0)
		qsort(list->at, list->count, sizeof(*list->at), by_time);
	*entries = list->at;
	*count = list->count;
	return GW_OK;
}

static void
add_patient(struct list *list, const struct gw_patients *patients, uint64_t number)
{
	struct patient *patient = gw_patient_root(gw_patient_find(patients, number));

	if (patient == NULL)
		return;
	add_stays(list, patient);
	for (uint32_t i = 0; i < patient->device_count; i++)
		add_directs(list, patient->devices[i], patient);
	add_clashes(list, patients, patient, false);
}

enum gw_error
gw_patients_timeline(struct gw_patients *patients, const struct gw_timeline_query *query, struct gw_timeline **entries, size_t *count)
{
	struct list list = { .from_us = query->from_us, .to_us = query->to_us };
	char name[GW_BED_MAX + 1];
	const struct device *device;
	struct standing standing;
	const struct bed *bed;

	if (query->device.len > 0)
		gw_standing_get(patients, query->device, &standing);
	pthread_rwlock_rdlock(&patients->lines);
	if (query->patient != 0)
		add_patient(&list, patients, query->patient);
	else if (query->device.len > 0) {
		device = gw_tracked_find(patients, query->device);
		add_standing(&list, device, query->device, &standing);
		if (device != NULL) {
			add_places(&list, device, NULL);
			add_directs(&list, device, NULL);
		}
		add_owners(&list, patients, device, query->device, &standing);
	} else if (gw_bed_name(query->bed, name) <= GW_BED_MAX && (bed = gw_bed_find(patients, gw_span_text(name))) != NULL) {
		add_bed(&list, bed);
		for (uint32_t i = 0; i < patients->device_count; i++)
			add_places(&list, patients->devices[i], bed);
	}
	pthread_rwlock_unlock(&patients->lines);
	return give(&list, entries, count);
}

// ---- Devices of a bed ----

struct ids {
	char (*at)[GW_ID_MAX + 1];
	size_t count, cap;
	bool failed;
};

static void
add_id(struct ids *ids, const char *id)
{
	if (ids->count == ids->cap) {
		size_t cap = ids->cap == 0 ? 8 : ids->cap * 2;
		void *more = realloc(ids->at, cap * sizeof(*ids->at));

		if (more == NULL) {
			ids->failed = true;
			return;
		}
		ids->at = more;
		ids->cap = cap;
	}
	strcpy(ids->at[ids->count++], id);
}

static int
by_id(const void *a, const void *b)
{
	return strcmp(a, b);
}

static void
add_placed(const struct gw_patients *patients, struct gw_span name, int64_t from_us, int64_t to_us, struct ids *ids)
{
	const struct bed *bed = gw_bed_find(patients, name);

	for (uint32_t i = 0; bed != NULL && i < patients->device_count; i++) {
		const struct line *places = &patients->devices[i]->places;

		for (uint32_t j = 0; j < places->count; j++) {
			if (places->at[j].what != bed || places->at[j].from_us >= to_us || places->at[j].to_us <= from_us)
				continue;
			add_id(ids, patients->devices[i]->id);
			break;
		}
	}
}

// Before their first placement, where the registry says.
static void
add_registered(const struct gw_patients *patients, struct gw_span name, int64_t from_us, int64_t to_us, struct ids *ids)
{
	const struct gw_snapshot *snapshot = gw_snapshot_get(patients->registry);
	const struct gw_device *device;
	char bed[GW_BED_MAX + 1];

	for (size_t i = 0; (device = gw_snapshot_at(snapshot, i)) != NULL; i++) {
		const struct device *tracked;

		if (device->bed[0] == '\0' || device->created_us - GW_REGISTRY_BEFORE_US >= to_us || gw_bed_name(gw_span_text(device->bed), bed) != name.len || memcmp(bed, name.at, name.len) != 0)
			continue;
		tracked = gw_tracked_find(patients, gw_span_text(device->id));
		if (tracked == NULL || (!tracked->pruned && tracked->first_us > from_us))
			add_id(ids, device->id);
	}
	gw_snapshot_put(snapshot);
}

enum gw_error
gw_patients_devices(struct gw_patients *patients, struct gw_span bed, int64_t from_us, int64_t to_us, char (**out)[GW_ID_MAX + 1], size_t *count)
{
	struct ids ids = { 0 };
	char name[GW_BED_MAX + 1];
	size_t len = gw_bed_name(bed, name), kept = 0;

	*out = NULL;
	*count = 0;
	if (len == 0 || len > GW_BED_MAX)
		return GW_OK;
	pthread_rwlock_rdlock(&patients->lines);
	add_placed(patients, gw_span(name, len), from_us, to_us, &ids);
	add_registered(patients, gw_span(name, len), from_us, to_us, &ids);
	pthread_rwlock_unlock(&patients->lines);
	if (ids.failed) {
		free(ids.at);
		return GW_E_MEMORY;
	}
	if (ids.count > 0)
		qsort(ids.at, ids.count, sizeof(*ids.at), by_id);
	for (size_t i = 0; i < ids.count; i++) {
		if (kept == 0 || strcmp(ids.at[i], ids.at[kept - 1]) != 0)
			memmove(ids.at[kept++], ids.at[i], sizeof(*ids.at));
	}
	*out = ids.at;
	*count = kept;
	return GW_OK;
}

// ---- Conflicts ----

// Each pair that holds at once, for the time for which it does. Who may lie elsewhere is told by that.
static void
add_rivals(struct list *list, const struct line *line, struct gw_span bed, struct gw_span device)
{
	for (uint32_t i = 0; i < line->count; i++) {
		for (uint32_t j = i; j-- > 0 && line->at[j].max_to_us > line->at[i].from_us;) {
			const struct interval *a = &line->at[j], *b = &line->at[i];
			struct gw_timeline *entry;

			if (a->what == b->what || a->to_us <= b->from_us || a->disputed || b->disputed)
				continue;
			entry = add(list, device.len > 0 ? GW_TIMELINE_DIRECT : GW_TIMELINE_STAY, b->from_us, a->to_us < b->to_us ? a->to_us : b->to_us);
			if (entry == NULL)
				continue;
			entry->patient = ((struct patient *)a->what)->number;
			entry->other = ((struct patient *)b->what)->number;
			entry->conflict = true;
			copy(bed, entry->bed, sizeof(entry->bed));
			copy(device, entry->device, sizeof(entry->device));
			copy(gw_note_text(b->note, NOTE_SOURCE), entry->source, sizeof(entry->source));
		}
	}
}

enum gw_error
gw_patients_conflicts(struct gw_patients *patients, int64_t since_us, struct gw_timeline **entries, size_t *count)
{
	struct list list = { .from_us = since_us, .to_us = GW_TIME_OPEN };

	pthread_rwlock_rdlock(&patients->lines);
	for (uint32_t i = 0; i < patients->by_bed.cap; i++) {
		const struct bed *bed = patients->by_bed.slots[i].item;

		if (bed != NULL)
			add_rivals(&list, &bed->stays, gw_span(bed->name, bed->len), gw_span(NULL, 0));
	}
	for (uint32_t i = 0; i < patients->device_count; i++)
		add_rivals(&list, &patients->devices[i]->directs, gw_span(NULL, 0), gw_span(patients->devices[i]->id, patients->devices[i]->len));
	for (uint32_t i = 0; i < patients->count; i++)
		add_clashes(&list, patients, patients->all[i], true);
	for (uint32_t i = 0; i < patients->count; i++)
		add_two_beds(&list, patients->all[i]);
	pthread_rwlock_unlock(&patients->lines);
	return give(&list, entries, count);
}

static bool
is_disputed(const struct patient *patient)
{
	for (uint32_t i = 0; i < patient->stays.count; i++) {
		if (patient->stays.at[i].disputed)
			return true;
	}
	return false;
}

// With the patients of whom it has the lower number, and of two beds.
static uint64_t
clashes_of(const struct gw_patients *patients, const struct patient *patient, int64_t since_us)
{
	struct list list = { .from_us = since_us, .to_us = GW_TIME_OPEN };

	if (patient->clash_count == 0 && !is_disputed(patient))
		return 0;
	add_clashes(&list, patients, patient, true);
	add_two_beds(&list, patient);
	free(list.at);
	return list.count;
}

void
gw_patients_stats(struct gw_patients *patients, struct gw_patients_stats *stats)
{
	int64_t now = gw_clock_wall_us();
	struct look look;

	*stats = (struct gw_patients_stats){ 0 };
	pthread_rwlock_rdlock(&patients->lines);
	stats->patients = patients->count;
	stats->beds = patients->by_bed.count;
	stats->devices = patients->device_count;
	stats->events = patients->events;
	stats->contradictions = patients->contradictions;
	for (uint32_t i = 0; i < patients->count; i++)
		stats->conflicts += clashes_of(patients, patients->all[i], now - GW_CONFLICTS_US);
	for (uint32_t i = 0; i < patients->by_bed.cap; i++) {
		const struct bed *bed = patients->by_bed.slots[i].item;

		if (bed == NULL)
			continue;
		gw_line_look(&bed->stays, now, &look);
		stats->in_beds += look.last != NULL;
		stats->conflicts += look.clash;
	}
	for (uint32_t i = 0; i < patients->device_count; i++) {
		gw_line_look(&patients->devices[i]->directs, now, &look);
		stats->conflicts += look.clash;
	}
	pthread_rwlock_unlock(&patients->lines);
}
