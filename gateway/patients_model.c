// SPDX-License-Identifier: Apache-2.0
// What the model is made of: beds, devices, patients and their facts, each found through its table. Whoever holds both locks of
// gateway/patients_internal.h for changing; any of them for finding.
#include "gateway/patients_internal.h"

#include "gateway/hash.h"

#include <sodium.h>
#include <stddef.h>
#include <stdlib.h>

uint64_t
gw_patients_hash(const struct gw_patients *patients, struct gw_span a, struct gw_span b)
{
	uint8_t bytes[256], hash[crypto_shorthash_BYTES];
	size_t len = 0;
	uint64_t out;

	if (a.len > 127)
		a.len = 127;
	if (b.len > 127)
		b.len = 127;
	bytes[len++] = (uint8_t)a.len;
	if (a.len > 0)
		memcpy(bytes + len, a.at, a.len);
	len += a.len;
	if (b.len > 0)
		memcpy(bytes + len, b.at, b.len);
	len += b.len;
	crypto_shorthash(hash, bytes, len, patients->hash_key);
	memcpy(&out, hash, sizeof(out));
	return out;
}

// Doubles an array of pointers when it is full.
static bool
room(void *array, uint32_t count, uint32_t *cap)
{
	void **at = *(void ***)array, **more;

	if (count < *cap)
		return true;
	more = realloc(at, (size_t)(*cap == 0 ? 4 : *cap * 2) * sizeof(*more));
	if (more == NULL)
		return false;
	*(void ***)array = more;
	*cap = *cap == 0 ? 4 : *cap * 2;
	return true;
}

// ---- Notes ----

struct gw_span
gw_note_text(const struct note *note, enum note_text which)
{
	const uint8_t *at = note != NULL ? note->bytes : NULL;

	if (at == NULL)
		return gw_span(NULL, 0);
	for (unsigned i = 0; i < which; i++)
		at += 1 + at[0];
	return gw_span(at + 1, at[0]);
}

bool
gw_note_equal(const struct note *a, const struct note *b)
{
	return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

struct note *
gw_note_new(const struct gw_span texts[NOTE_COUNT])
{
	struct note *note;
	size_t len = 0;
	uint8_t *at;

	for (int i = 0; i < NOTE_COUNT; i++)
		len += 1 + texts[i].len;
	note = malloc(sizeof(*note) + len);
	if (note == NULL)
		return NULL;
	note->len = (uint16_t)len;
	at = note->bytes;
	for (int i = 0; i < NOTE_COUNT; i++) {
		*at++ = (uint8_t)texts[i].len;
		if (texts[i].len > 0)
			memcpy(at, texts[i].at, texts[i].len);
		at += texts[i].len;
	}
	return note;
}

// ---- Beds ----

static bool
is_bed(const void *item, const void *key)
{
	const struct bed *bed = item;

	return gw_span_equal(gw_span(bed->name, bed->len), *(const struct gw_span *)key);
}

struct bed *
gw_bed_find(const struct gw_patients *patients, struct gw_span name)
{
	return gw_table_find(&patients->by_bed, gw_patients_hash(patients, name, gw_span(NULL, 0)), is_bed, &name);
}

struct bed *
gw_bed_get(struct gw_patients *patients, struct gw_span name)
{
	uint64_t hash = gw_patients_hash(patients, name, gw_span(NULL, 0));
	struct bed *bed = gw_table_find(&patients->by_bed, hash, is_bed, &name);

	if (bed == NULL && name.len <= GW_BED_MAX) {
		bed = calloc(1, sizeof(*bed));
		if (bed == NULL || !gw_table_add(&patients->by_bed, hash, bed)) {
			free(bed);
			bed = NULL;
		} else {
			bed->hash = hash;
			bed->len = (uint8_t)name.len;
			memcpy(bed->name, name.at, name.len);
		}
	}
	if (bed == NULL)
		patients->failed = true;
	else
		bed->references++;
	return bed;
}

void
gw_bed_put(struct gw_patients *patients, struct bed *bed)
{
	if (bed == NULL || --bed->references > 0)
		return;
	gw_table_remove(&patients->by_bed, bed->hash, bed);
	free(bed->stays.at);
	free(bed);
}

// ---- Devices ----

static bool
is_device(const void *item, const void *key)
{
	const struct device *device = item;

	return gw_span_equal(gw_span(device->id, device->len), *(const struct gw_span *)key);
}

struct device *
gw_tracked_find(const struct gw_patients *patients, struct gw_span id)
{
	return gw_table_find(&patients->by_device, gw_patients_hash(patients, id, gw_span(NULL, 0)), is_device, &id);
}

struct device *
gw_tracked_get(struct gw_patients *patients, struct gw_span id)
{
	struct device *device = gw_tracked_find(patients, id);

	if (device != NULL)
		return device;
	device = id.len <= GW_ID_MAX ? calloc(1, sizeof(*device)) : NULL;
	if (device == NULL || !room(&patients->devices, patients->device_count, &patients->device_cap))
		goto fail;
	device->hash = gw_patients_hash(patients, id, gw_span(NULL, 0));
	device->first_us = GW_TIME_OPEN;
	device->len = (uint8_t)id.len;
	memcpy(device->id, id.at, id.len);
	if (!gw_table_add(&patients->by_device, device->hash, device))
		goto fail;
	device->slot = patients->device_count;
	patients->devices[patients->device_count++] = device;
	return device;
fail:
	free(device);
	patients->failed = true;
	return NULL;
}

static void
facts_fini(struct gw_patients *patients, struct facts *facts)
{
	while (facts->count > 0)
		gw_fact_drop(patients, facts, facts->count - 1);
	free(facts->at);
	*facts = (struct facts){ 0 };
}

void
gw_tracked_forget(struct gw_patients *patients, struct device *device)
{
	struct device *last = patients->devices[--patients->device_count];

	patients->devices[device->slot] = last;
	last->slot = device->slot;
	for (uint32_t i = 0; i < patients->count; i++) {
		struct patient *patient = patients->all[i];

		for (uint32_t j = 0; patient->device_count > 0 && j < patient->device_count; j++) {
			if (patient->devices[j] == device)
				patient->devices[j--] = patient->devices[--patient->device_count];
		}
	}
	gw_table_remove(&patients->by_device, device->hash, device);
	facts_fini(patients, &device->facts);
	free(device->places.at);
	free(device->directs.at);
	free(device);
}

// ---- Patients ----

static bool
is_number(const void *item, const void *key)
{
	return ((const struct patient *)item)->number == *(const uint64_t *)key;
}

struct patient *
gw_patient_find(const struct gw_patients *patients, uint64_t number)
{
	return gw_table_find(&patients->by_number, gw_hash_mix(number), is_number, &number);
}

// Merges make no cycles (gateway/patients_apply.c), a damaged store might.
struct patient *
gw_patient_root(struct patient *patient)
{
	for (int i = 0; patient != NULL && patient->into != NULL && i < 1000; i++)
		patient = patient->into;
	return patient;
}

static bool
has_identifier(const void *item, const void *key)
{
	const struct patient *patient = item;
	const struct gw_identifier *wanted = key;
	struct person person;

	gw_person_unpack(gw_span(patient->person, patient->person_len), &person);
	for (size_t i = 0; i < person.identifier_count; i++) {
		if (gw_span_equal(person.identifiers[i].id, wanted->id) && gw_span_equal(person.identifiers[i].authority, wanted->authority))
			return true;
	}
	return false;
}

struct patient *
gw_patient_by_identifier(const struct gw_patients *patients, const struct gw_identifier *identifier)
{
	return gw_table_find(&patients->by_identifier, gw_patients_hash(patients, identifier->id, identifier->authority), has_identifier, identifier);
}

struct patient *
gw_patient_add(struct gw_patients *patients, uint64_t number)
{
	struct patient *patient = calloc(1, sizeof(*patient));

	if (patient == NULL || !room(&patients->all, patients->count, &patients->cap) ||
	    !gw_table_add(&patients->by_number, gw_hash_mix(number), patient)) {
		free(patient);
		patients->failed = true;
		return NULL;
	}
	patient->number = number;
	patient->contested_us = GW_TIME_OPEN;
	patient->slot = patients->count;
	patients->all[patients->count++] = patient;
	return patient;
}

bool
gw_patient_add_device(struct patient *patient, struct device *device)
{
	for (uint32_t i = 0; i < patient->device_count; i++) {
		if (patient->devices[i] == device)
			return true;
	}
	if (!room(&patient->devices, patient->device_count, &patient->device_cap))
		return false;
	patient->devices[patient->device_count++] = device;
	return true;
}

static bool
names(const struct device *device, struct patient *patient)
{
	for (uint32_t i = 0; i < device->facts.count; i++) {
		if (gw_patient_root(device->facts.at[i].patient) == patient)
			return true;
	}
	return false;
}

uint32_t
gw_patient_devices(struct patient *patient)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < patient->device_count; i++) {
		if (names(patient->devices[i], patient))
			patient->devices[kept++] = patient->devices[i];
	}
	return patient->device_count = kept;
}

static void
patient_free(struct patient *patient)
{
	free(patient->moves.at);
	free(patient->stays.at);
	free(patient->turns);
	free(patient->devices);
	free(patient->clashes);
	free(patient->person);
	free(patient);
}

// Nothing may name it any more: no fact of a device, no patient that was merged into it.
void
gw_patient_forget(struct gw_patients *patients, struct patient *patient)
{
	struct patient *last = patients->all[--patients->count];

	patients->all[patient->slot] = last;
	last->slot = patient->slot;
	for (uint32_t i = 0; i < patient->stays.count; i++) {
		struct interval stay = patient->stays.at[i];
		struct bed *bed = stay.what;

		stay.what = patient;
		gw_line_remove(&bed->stays, &stay);
	}
	(void)gw_person_index(patients, patient, false);
	gw_table_remove(&patients->by_number, gw_hash_mix(patient->number), patient);
	gw_clashes_forget(patients, patient);
	if (patient->into != NULL)
		patient->into->members--;
	facts_fini(patients, &patient->moves);
	patient_free(patient);
}

void
gw_patients_empty(struct gw_patients *patients)
{
	struct table *tables[] = { &patients->by_number, &patients->by_identifier, &patients->by_bed, &patients->by_device, &patients->by_filler };

	// Devices first: their facts name patients.
	for (uint32_t i = 0; i < patients->device_count; i++) {
		facts_fini(patients, &patients->devices[i]->facts);
		free(patients->devices[i]->places.at);
		free(patients->devices[i]->directs.at);
		free(patients->devices[i]);
	}
	for (uint32_t i = 0; i < patients->count; i++) {
		facts_fini(patients, &patients->all[i]->moves);
		patient_free(patients->all[i]);
	}
	while (patients->range_count > 0)
		gw_bed_put(patients, patients->ranges[--patients->range_count].bed);
	gw_graves_empty(patients);
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		free(tables[i]->slots);
		*tables[i] = (struct table){ 0 };
	}
	patients->count = patients->device_count = 0;
	patients->dirty_patient_count = patients->dirty_device_count = 0;
	patients->failed = patients->numbers = false;
}

// ---- Facts ----

// What was told at once takes effect in this order. An end for everybody comes before a begin: who was let go and who is taken are two.
static int
rank(const struct fact *fact)
{
	static const uint8_t ranks[FACT_KINDS] = {
		[FACT_SEEN] = 1, [FACT_ADMIT] = 2, [FACT_TRANSFER] = 3, [FACT_LEAVE] = 6, [FACT_DISCHARGE] = 7, [FACT_UNPLACE] = 1, [FACT_PLACE] = 2,
		[FACT_BEGIN] = 2, [FACT_RESUME] = 2, [FACT_END] = 3, [FACT_VOID] = 4, [FACT_ORDER] = 4, [FACT_ORDER_END] = 5, [FACT_FROM] = 1,
		[FACT_CANCEL_ADMIT] = 8, [FACT_CANCEL_TRANSFER] = 8, [FACT_CANCEL_DISCHARGE] = 8,
	};

	return fact->kind == FACT_END && fact->patient == NULL ? 1 : ranks[fact->kind];
}

// The last tie is broken by what is the same wherever it comes from.
static bool
before(const struct fact *a, const struct fact *b)
{
	int order;

	if (a->time_us != b->time_us)
		return a->time_us < b->time_us;
	if (a->told_us != b->told_us)
		return a->told_us < b->told_us;
	if (rank(a) != rank(b))
		return rank(a) < rank(b);
	if (a->bed != NULL && b->bed != NULL && a->bed != b->bed)
		return strcmp(a->bed->name, b->bed->name) < 0;
	order = a->note->len != b->note->len ? (int)a->note->len - (int)b->note->len : memcmp(a->note->bytes, b->note->bytes, a->note->len);
	return order < 0;
}

// Of a patient's facts what was told under another number is another: the two were merged only later.
static bool
is_of_one(const struct fact *a, const struct fact *b)
{
	bool device = a->kind == FACT_PLACE || a->kind == FACT_UNPLACE || a->kind == FACT_BEGIN || a->kind == FACT_END || a->kind == FACT_VOID || a->kind == FACT_RESUME;

	return device ? a->patient == b->patient : a->number == b->number;
}

static bool
same(const struct fact *a, const struct fact *b)
{
	return a->time_us == b->time_us && a->kind == b->kind && a->bed == b->bed && is_of_one(a, b) &&
	    gw_span_equal(gw_note_text(a->note, NOTE_ORDER), gw_note_text(b->note, NOTE_ORDER)) &&
	    (a->kind != FACT_DISCHARGE || gw_span_equal(gw_note_text(a->note, NOTE_VISIT), gw_note_text(b->note, NOTE_VISIT))) &&
	    ((a->kind != FACT_VOID && a->kind != FACT_RESUME && a->kind != FACT_BEGIN) || gw_span_equal(gw_note_text(a->note, NOTE_FILLER), gw_note_text(b->note, NOTE_FILLER)));
}

// Cancels of the same thing that were told at different times are two: it may have been done again in between.
static bool
is_cancel(const struct fact *fact)
{
	return fact->kind >= FACT_CANCEL_ADMIT && fact->kind <= FACT_CANCEL_DISCHARGE;
}

// Intervals that were derived from a fact point to its note and bed, until they are derived anew. Out of memory: they stay, unused.
static void
bury(struct gw_patients *patients, const struct fact *fact)
{
	uint32_t cap = patients->grave_cap == 0 ? 64 : patients->grave_cap * 2;
	struct fact *more;

	if (patients->grave_count == patients->grave_cap) {
		if ((more = realloc(patients->graves, cap * sizeof(*more))) == NULL) {
			patients->failed = true;
			return;
		}
		patients->graves = more;
		patients->grave_cap = cap;
	}
	patients->graves[patients->grave_count++] = *fact;
}

void
gw_graves_empty(struct gw_patients *patients)
{
	while (patients->grave_count > 0) {
		const struct fact *fact = &patients->graves[--patients->grave_count];

		free(fact->note);
		gw_bed_put(patients, fact->bed);
	}
	free(patients->graves);
	patients->graves = NULL;
	patients->grave_cap = 0;
}

static bool
is_report(const struct fact *fact)
{
	return fact->kind == FACT_BEGIN || fact->kind == FACT_END || fact->kind == FACT_VOID || fact->kind == FACT_RESUME;
}

// The device that is found by the association's identifier for the sake of this fact and of no other; NULL: none.
static struct device *
reported(struct facts *facts, const struct fact *fact)
{
	struct gw_span filler = is_report(fact) ? gw_note_text(fact->note, NOTE_FILLER) : gw_span(NULL, 0);

	if (filler.len == 0)
		return NULL;
	for (uint32_t i = 0; i < facts->count; i++) {
		if (&facts->at[i] != fact && is_report(&facts->at[i]) && gw_span_equal(gw_note_text(facts->at[i].note, NOTE_FILLER), filler))
			return NULL;
	}
	return (struct device *)(void *)((char *)facts - offsetof(struct device, facts));
}

static uint64_t
filler_hash(const struct gw_patients *patients, const struct fact *fact)
{
	return gw_patients_hash(patients, gw_note_text(fact->note, NOTE_FILLER), gw_span(NULL, 0));
}

void
gw_fact_drop(struct gw_patients *patients, struct facts *facts, uint32_t at)
{
	struct fact *fact = &facts->at[at];
	struct device *device = reported(facts, fact);

	if (device != NULL)
		gw_table_remove(&patients->by_filler, filler_hash(patients, fact), device);
	if (fact->patient != NULL)
		fact->patient->direct--;
	bury(patients, fact);
	memmove(fact, fact + 1, (facts->count - at - 1) * sizeof(*fact));
	facts->count--;
	patients->facts--;
}

bool
gw_fact_insert(struct gw_patients *patients, struct facts *facts, const struct fact *fact)
{
	struct device *device = reported(facts, fact);
	uint32_t at = facts->count;

	if (facts->count == facts->cap) {
		uint32_t cap = facts->cap == 0 ? 2 : facts->cap * 2;
		struct fact *more = realloc(facts->at, cap * sizeof(*more));

		if (more == NULL)
			return false;
		facts->at = more;
		facts->cap = cap;
	}
	if (device != NULL && !gw_table_add(&patients->by_filler, filler_hash(patients, fact), device))
		return false;
	for (; at > 0 && before(fact, &facts->at[at - 1]); at--)
		facts->at[at] = facts->at[at - 1];
	facts->at[at] = *fact;
	facts->count++;
	patients->facts++;
	if (fact->kind == FACT_PLACE && fact->bed != NULL)
		fact->bed->placed++;
	return true;
}

// The same was told already. When it was told last is what counts: a cancel that was told before that does not concern it.
static bool
told_again(struct gw_patients *patients, struct facts *facts, uint32_t at, struct fact *fact)
{
	bool newer = fact->kind == FACT_MERGE ? fact->told_us < facts->at[at].told_us : fact->told_us > facts->at[at].told_us;

	if (newer) {
		fact->number = facts->at[at].number;
		gw_fact_drop(patients, facts, at);
		if (fact->patient != NULL)
			fact->patient->direct++;
		(void)gw_fact_insert(patients, facts, fact); // there is room
		return true;
	}
	free(fact->note);
	gw_bed_put(patients, fact->bed);
	return false;
}

bool
gw_fact_add(struct gw_patients *patients, struct facts *facts, struct fact *fact)
{
	// The same has the same time of effect.
	for (uint32_t i = facts->count; i-- > 0 && facts->at[i].time_us >= fact->time_us;) {
		if (same(&facts->at[i], fact) && (!is_cancel(fact) || facts->at[i].told_us == fact->told_us))
			return told_again(patients, facts, i, fact);
	}
	if (!gw_fact_insert(patients, facts, fact)) {
		patients->failed = true;
		free(fact->note);
		gw_bed_put(patients, fact->bed);
		return false;
	}
	if (fact->patient != NULL)
		fact->patient->direct++;
	return true;
}
