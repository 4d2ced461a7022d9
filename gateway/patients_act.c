// SPDX-License-Identifier: Apache-2.0
// What all events have in common: checks, who is meant, facts that are added. Under both locks of gateway/patients_internal.h.
#include "gateway/patients_act.h"

#include <stdlib.h>

// ---- What is asked ----

static enum gw_error
check_person(const struct gw_person *person, struct gw_why *why)
{
	if (person->identifier_count > GW_IDENTIFIERS_MAX)
		return gw_fail(why, GW_E_TOO_LARGE, "more than %d identifiers of one patient", GW_IDENTIFIERS_MAX);
	for (size_t i = 0; i < person->identifier_count; i++) {
		const struct gw_identifier *one = &person->identifiers[i];

		if (one->id.len == 0 || one->id.len > 64 || one->authority.len > 64)
			return gw_fail(why, one->id.len == 0 ? GW_E_ARGUMENT : GW_E_TOO_LARGE, "a patient's identifier has 1 to 64 bytes, its authority at most 64");
	}
	return GW_OK;
}

static bool
take_bed(struct act *act, struct gw_span text, int which, struct gw_span *out)
{
	size_t len = gw_bed_name(text, act->bed_text[which]);

	*out = gw_span(act->bed_text[which], len);
	return len <= GW_BED_MAX;
}

static enum gw_error
check_times(struct act *act)
{
	const struct gw_patient_event *event = act->event;

	act->until_us = event->until_us == 0 ? GW_TIME_OPEN : event->until_us;
	if (event->time_us <= 0 || event->time_us >= TIME_MAX_US)
		return gw_fail(act->why, GW_E_ARGUMENT, "the time at which it took effect is missing or impossible");
	if (act->until_us != GW_TIME_OPEN && (act->until_us <= event->time_us || act->until_us >= TIME_MAX_US))
		return gw_fail(act->why, GW_E_ARGUMENT, "it would end before it begins");
	return GW_OK;
}

enum gw_error
gw_act_prepare(struct act *act)
{
	const struct gw_patient_event *event = act->event;
	enum gw_error error = check_times(act);

	if (error == GW_OK)
		error = check_person(&event->person, act->why);
	if (error == GW_OK)
		error = check_person(&event->other, act->why);
	if (error != GW_OK)
		return error;
	if (!take_bed(act, event->bed, 0, &act->bed) || !take_bed(act, event->prior_bed, 1, &act->prior) || !take_bed(act, event->other_bed, 2, &act->other_bed))
		return gw_fail(act->why, GW_E_TOO_LARGE, "a bed's name has at most %d bytes", GW_BED_MAX);
	if (event->device.len > GW_ID_MAX || event->visit.len > 64 || event->order.len > 64 || event->order_authority.len > 64 || event->filler.len > 64)
		return gw_fail(act->why, GW_E_TOO_LARGE, "a device's id, a visit, an order and an association's identifier have at most 64 bytes");
	act->told_us = event->told_us != 0 ? event->told_us : act->patients->now_us;
	act->note[NOTE_VISIT] = event->visit;
	act->note[NOTE_CLASS] = gw_span(event->patient_class.at, event->patient_class.len < 8 ? event->patient_class.len : 8);
	act->note[NOTE_ORDER] = event->order;
	act->note[NOTE_ORDER_AUTHORITY] = event->order_authority;
	act->note[NOTE_FILLER] = event->filler;
	act->note[NOTE_SOURCE] = gw_span(event->source.at, event->source.len < 96 ? event->source.len : 96);
	return GW_OK;
}

bool
gw_act_fails(struct act *act, enum gw_error error, const char *words)
{
	act->error = gw_fail(act->why, error, "%s", words);
	return false;
}

// ---- What changes ----

void
gw_act_dirty_patient(struct act *act, struct patient *patient)
{
	struct gw_patients *patients = act->patients;

	if (patient->dirty)
		return;
	if (patients->dirty_patient_count == DIRTY_MAX) {
		patients->failed = true;
		return;
	}
	patient->dirty = true;
	patient->touched_us = patients->now_us;
	patients->dirty_patients[patients->dirty_patient_count++] = patient;
}

void
gw_act_dirty_device(struct act *act, struct device *device)
{
	struct gw_patients *patients = act->patients;

	if (device->dirty)
		return;
	if (patients->dirty_device_count == DIRTY_MAX) {
		patients->failed = true;
		return;
	}
	device->dirty = true;
	patients->dirty_devices[patients->dirty_device_count++] = device;
}

void
gw_act_derive(struct act *act, struct patient *patient)
{
	gw_derive_patient(act->patients, patient);
	if (gw_moves_prune(act->patients, patient))
		gw_derive_patient(act->patients, patient);
	for (uint32_t i = 0; i < patient->device_count; i++)
		gw_derive_device(act->patients, patient->devices[i]);
}

void
gw_act_derive_device(struct act *act, struct device *device)
{
	gw_derive_device(act->patients, device);
	if (gw_tracked_prune(act->patients, device, act->ticket))
		gw_derive_device(act->patients, device);
	gw_act_dirty_device(act, device);
}

bool
gw_act_room_for(struct act *act, uint32_t count, uint32_t max)
{
	if (act->patients->facts >= (uint64_t)act->patients->options.patients_max * FACTS_MEAN)
		return gw_act_fails(act, GW_E_QUOTA, "too much was told of all patients within the time that is kept (patients.max, patients.keep_h)");
	return count <= max - 4 ? true : gw_act_fails(act, GW_E_QUOTA, "too much was told of this patient or device within the time that is kept");
}

// The number under which the patient is told of, before merges.
static uint64_t
number_of(const struct act *act, const struct gw_person *person, const struct patient *patient)
{
	for (size_t i = 0; i < person->identifier_count; i++) {
		struct patient *one = gw_patient_by_identifier(act->patients, &person->identifiers[i]);

		if (one != NULL && gw_patient_root(one) == patient)
			return one->number;
	}
	return 0;
}

uint64_t
gw_act_number(const struct act *act, const struct patient *patient)
{
	uint64_t number = number_of(act, &act->event->person, patient);

	if (number == 0)
		number = number_of(act, &act->event->other, patient);
	return number != 0 ? number : patient->number;
}

bool
gw_act_add_move(struct act *act, struct patient *patient, enum fact_kind kind, int64_t time_us, struct gw_span bed)
{
	struct fact fact = { .kind = (uint8_t)kind, .time_us = time_us, .told_us = act->told_us, .number = gw_act_number(act, patient) };

	fact.note = gw_note_new(act->note);
	fact.bed = bed.len > 0 ? gw_bed_get(act->patients, bed) : NULL;
	if (fact.note == NULL || (bed.len > 0 && fact.bed == NULL)) {
		free(fact.note);
		act->patients->failed = true;
		return false;
	}
	if (!gw_fact_add(act->patients, &patient->moves, &fact))
		return false;
	gw_act_dirty_patient(act, patient);
	return true;
}

bool
gw_act_add_device_fact(struct act *act, struct device *device, enum fact_kind kind, int64_t time_us, struct patient *patient, struct gw_span bed)
{
	struct fact fact = { .kind = (uint8_t)kind, .time_us = time_us, .told_us = act->told_us, .patient = patient };

	fact.note = gw_note_new(act->note);
	fact.bed = bed.len > 0 ? gw_bed_get(act->patients, bed) : NULL;
	if (fact.note == NULL || (bed.len > 0 && fact.bed == NULL) || (patient != NULL && !gw_patient_add_device(patient, device))) {
		free(fact.note);
		act->patients->failed = true;
		return false;
	}
	return gw_fact_add(act->patients, &device->facts, &fact);
}

// ---- Who ----

// The patient that a message means, by the first of its identifiers that is known.
struct patient *
gw_act_known(const struct act *act, const struct gw_person *person)
{
	struct patient *found = NULL;

	for (size_t i = 0; i < person->identifier_count && found == NULL; i++)
		found = gw_patient_root(gw_patient_by_identifier(act->patients, &person->identifiers[i]));
	return found;
}

// An identifier that leads elsewhere is a contradiction: the first one decides what is told of whom, people are told, and both are held.
static void
look_for_others(struct act *act, const struct gw_person *person, struct patient *patient)
{
	for (size_t i = 0; i < person->identifier_count; i++) {
		struct patient *other = gw_patient_root(gw_patient_by_identifier(act->patients, &person->identifiers[i]));

		if (other != NULL && other != patient)
			gw_act_clash(act, patient, other, &person->identifiers[i]);
	}
}

// Whether gw_act_get() will succeed, memory permitting: asked before anything is changed.
bool
gw_act_ready(struct act *act, const struct gw_person *person)
{
	const struct patient *patient = gw_act_known(act, person);

	if (person->identifier_count == 0)
		return gw_act_fails(act, GW_E_ARGUMENT, "the patient's identifier is missing");
	if (patient == NULL && act->patients->count + 2 > act->patients->options.patients_max)
		return gw_act_fails(act, GW_E_QUOTA, "more patients than patients.max are kept");
	return gw_act_room_for(act, patient != NULL ? patient->moves.count : 0, FACTS_MAX);
}

static uint64_t
new_number(struct gw_patients *patients)
{
	if (patients->next_number == patients->numbers_end) {
		patients->numbers_end += 256;
		patients->numbers = true;
	}
	return patients->next_number++;
}

// The patient, made where it is new; what the message says of the person is taken in. NULL: act->error, or out of memory.
struct patient *
gw_act_get(struct act *act, const struct gw_person *person)
{
	struct patient *patient;
	bool newer;

	if (!gw_act_ready(act, person))
		return NULL;
	patient = gw_act_known(act, person);
	if (patient == NULL && (patient = gw_patient_add(act->patients, new_number(act->patients))) == NULL)
		return NULL;
	look_for_others(act, person, patient);
	newer = act->told_us >= patient->person_told_us;
	if (gw_person_take(act->patients, patient, person, newer)) {
		patient->person_told_us = newer ? act->told_us : patient->person_told_us;
		gw_act_dirty_patient(act, patient);
	}
	return act->patients->failed ? NULL : patient;
}

struct bed *
gw_act_bed_at(const struct patient *patient, int64_t us)
{
	struct look look;

	gw_line_look(&patient->stays, us, &look);
	return look.last != NULL ? look.last->what : NULL;
}

bool
gw_act_is_in(const struct patient *patient, int64_t us, struct gw_span bed)
{
	const struct bed *at = gw_act_bed_at(patient, us);

	return at != NULL && gw_span_equal(gw_span(at->name, at->len), bed);
}

// Says so where somebody else lies in the bed, too.
void
gw_act_look_for_clash(struct act *act, struct gw_span name)
{
	const struct bed *bed = gw_bed_find(act->patients, name);
	struct look look = { 0 };

	if (bed != NULL)
		gw_line_look(&bed->stays, act->event->time_us, &look);
	if (look.clash)
		act->contradiction = true;
}
