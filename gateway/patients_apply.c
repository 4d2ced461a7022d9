// SPDX-License-Identifier: Apache-2.0
// One event: becomes facts of a patient or a device, from which intervals are derived again; then rows and records go into the ticket, and a few entries that
// nothing needs any more are forgotten with it, so that what makes the model grow also makes it shrink. Under gw_patients_lock(), any thread.
#include "gateway/patients_internal.h"

#include "gateway/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define SWEEP_PATIENTS 4 // looked at with each event
#define SWEEP_DEVICES 2
#define TIME_MAX_US INT64_C(7258118400000000) // the year 2200

struct act {
	struct gw_patients *patients;
	const struct gw_patient_event *event;
	struct gw_ticket *ticket;
	struct gw_why *why;
	enum gw_error error;
	int64_t told_us, until_us;
	struct gw_span bed, prior, other_bed; // trimmed
	char bed_text[3][GW_BED_MAX + 1];
	struct gw_span note[NOTE_COUNT];
	const char *done; // what happened, in words
	bool contradiction;
};

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

static enum gw_error
prepare(struct act *act)
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

static bool
fails(struct act *act, enum gw_error error, const char *words)
{
	act->error = gw_fail(act->why, error, "%s", words);
	return false;
}

// ---- What changes ----

static void
dirty_patient(struct act *act, struct patient *patient)
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

static void
dirty_device(struct act *act, struct device *device)
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

static void
derive(struct act *act, struct patient *patient)
{
	gw_derive_patient(act->patients, patient);
	if (gw_moves_prune(act->patients, patient))
		gw_derive_patient(act->patients, patient);
	for (uint32_t i = 0; i < patient->device_count; i++)
		gw_derive_device(act->patients, patient->devices[i]);
}

static void
derive_device(struct act *act, struct device *device)
{
	gw_derive_device(act->patients, device);
	if (gw_tracked_prune(act->patients, device, act->ticket))
		gw_derive_device(act->patients, device);
	dirty_device(act, device);
}

static bool
room_for(struct act *act, uint32_t count, uint32_t max)
{
	if (act->patients->facts >= (uint64_t)act->patients->options.patients_max * FACTS_MEAN)
		return fails(act, GW_E_QUOTA, "too much was told of all patients within the time that is kept (patients.max, patients.keep_h)");
	return count <= max - 4 ? true : fails(act, GW_E_QUOTA, "too much was told of this patient or device within the time that is kept");
}

static bool
add_move(struct act *act, struct patient *patient, enum fact_kind kind, int64_t time_us, struct gw_span bed)
{
	struct fact fact = { .kind = (uint8_t)kind, .time_us = time_us, .told_us = act->told_us, .number = patient->number };

	fact.note = gw_note_new(act->note);
	fact.bed = bed.len > 0 ? gw_bed_get(act->patients, bed) : NULL;
	if (fact.note == NULL || (bed.len > 0 && fact.bed == NULL)) {
		free(fact.note);
		act->patients->failed = true;
		return false;
	}
	if (!gw_fact_add(act->patients, &patient->moves, &fact))
		return false;
	dirty_patient(act, patient);
	return true;
}

static bool
add_device_fact(struct act *act, struct device *device, enum fact_kind kind, int64_t time_us, struct patient *patient, struct gw_span bed)
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
static struct patient *
known(const struct act *act, const struct gw_person *person)
{
	struct patient *found = NULL;

	for (size_t i = 0; i < person->identifier_count && found == NULL; i++)
		found = gw_patient_root(gw_patient_by_identifier(act->patients, &person->identifiers[i]));
	return found;
}

// An identifier that leads elsewhere is a contradiction: the first one decides, and people are told.
static void
look_for_others(struct act *act, const struct gw_person *person, struct patient *patient)
{
	for (size_t i = 0; i < person->identifier_count; i++) {
		struct patient *other = gw_patient_root(gw_patient_by_identifier(act->patients, &person->identifiers[i]));

		if (other == NULL || other == patient || patient->clash == other->number)
			continue;
		patient->clash = other->number;
		patient->clash_us = act->event->time_us;
		act->contradiction = true;
		dirty_patient(act, patient);
	}
}

// Whether get() will succeed, memory permitting: asked before anything is changed.
static bool
ready(struct act *act, const struct gw_person *person)
{
	const struct patient *patient = known(act, person);

	if (person->identifier_count == 0)
		return fails(act, GW_E_ARGUMENT, "the patient's identifier is missing");
	if (patient == NULL && act->patients->count + 2 > act->patients->options.patients_max)
		return fails(act, GW_E_QUOTA, "more patients than patients.max are kept");
	return room_for(act, patient != NULL ? patient->moves.count : 0, FACTS_MAX);
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
static struct patient *
get(struct act *act, const struct gw_person *person)
{
	struct patient *patient;
	bool newer;

	if (!ready(act, person))
		return NULL;
	patient = known(act, person);
	if (patient == NULL && (patient = gw_patient_add(act->patients, new_number(act->patients))) == NULL)
		return NULL;
	look_for_others(act, person, patient);
	newer = act->told_us >= patient->person_told_us;
	if (gw_person_take(act->patients, patient, person, newer)) {
		patient->person_told_us = newer ? act->told_us : patient->person_told_us;
		dirty_patient(act, patient);
	}
	return act->patients->failed ? NULL : patient;
}

static struct bed *
bed_at(const struct patient *patient, int64_t us)
{
	struct look look;

	gw_line_look(&patient->stays, us, &look);
	return look.last != NULL ? look.last->what : NULL;
}

static bool
is_in(const struct patient *patient, int64_t us, struct gw_span bed)
{
	const struct bed *at = bed_at(patient, us);

	return at != NULL && gw_span_equal(gw_span(at->name, at->len), bed);
}

// Says so where somebody else lies in the bed, too.
static void
look_for_clash(struct act *act, struct gw_span name)
{
	const struct bed *bed = gw_bed_find(act->patients, name);
	struct look look = { 0 };

	if (bed != NULL)
		gw_line_look(&bed->stays, act->event->time_us, &look);
	if (look.clash)
		act->contradiction = true;
}

// ---- One function a verb ----

static void
do_admit(struct act *act)
{
	struct patient *patient;

	if (act->bed.len == 0) {
		act->done = "admitted without a bed: nothing to associate";
		if (known(act, &act->event->person) != NULL)
			(void)get(act, &act->event->person);
		return;
	}
	act->done = "admitted before, to the same bed at the same time";
	if ((patient = get(act, &act->event->person)) == NULL || !add_move(act, patient, FACT_ADMIT, act->event->time_us, act->bed))
		return;
	derive(act, patient);
	look_for_clash(act, act->bed);
	act->done = "admitted";
}

static void
do_transfer(struct act *act)
{
	struct patient *patient;
	const struct bed *from;

	act->done = "transferred before, to the same bed at the same time";
	if (act->bed.len == 0) {
		(void)fails(act, GW_E_ARGUMENT, "the bed to which the patient was transferred is missing");
		return;
	}
	if ((patient = get(act, &act->event->person)) == NULL)
		return;
	from = bed_at(patient, act->event->time_us - 1);
	if (from != NULL && act->prior.len > 0 && !gw_span_equal(gw_span(from->name, from->len), act->prior) && !is_in(patient, act->event->time_us - 1, act->bed))
		act->contradiction = true;
	if (!add_move(act, patient, FACT_TRANSFER, act->event->time_us, act->bed)) {
		act->contradiction = false;
		return;
	}
	derive(act, patient);
	look_for_clash(act, act->bed);
	act->done = "transferred";
}

// Moves that need no more than their kind: the bed only tells which is meant.
static void
do_move(struct act *act, enum fact_kind kind, const char *done, const char *again)
{
	struct patient *patient;

	act->done = again;
	if ((patient = get(act, &act->event->person)) == NULL || !add_move(act, patient, kind, act->event->time_us, kind == FACT_DISCHARGE ? gw_span(NULL, 0) : act->bed))
		return;
	derive(act, patient);
	act->done = done;
}

static void
do_discharge(struct act *act)
{
	do_move(act, FACT_DISCHARGE, "discharged", "discharged before, at the same time");
}

static void
do_cancel_admit(struct act *act)
{
	do_move(act, FACT_CANCEL_ADMIT, "admission cancelled", "cancelled before");
}

static void
do_cancel_transfer(struct act *act)
{
	do_move(act, FACT_CANCEL_TRANSFER, "transfer cancelled", "cancelled before");
}

static void
do_cancel_discharge(struct act *act)
{
	do_move(act, FACT_CANCEL_DISCHARGE, "discharge cancelled", "cancelled before");
}

static bool
was_told_before(const struct patient *patient, int64_t us)
{
	return patient->moves.count > 0 && patient->moves.at[0].time_us <= us;
}

static void
do_update(struct act *act)
{
	struct patient *patient = known(act, &act->event->person);

	act->done = "the patient is in no bed that is known";
	if (patient == NULL && act->bed.len == 0)
		return;
	if ((patient = get(act, &act->event->person)) == NULL)
		return;
	act->done = patient->dirty ? "person updated" : "nothing new";
	if (act->bed.len == 0 || was_told_before(patient, act->event->time_us) || !add_move(act, patient, FACT_SEEN, act->event->time_us, act->bed))
		return;
	derive(act, patient);
	look_for_clash(act, act->bed);
	act->done = "not known before: taken to be in the bed from now on";
}

// A bed that the message does not name is the one in which the other patient lay.
static struct gw_span
swapped_into(const struct act *act, struct gw_span told, const struct gw_person *other)
{
	const struct patient *patient = known(act, other);
	const struct bed *bed = told.len == 0 && patient != NULL ? bed_at(patient, act->event->time_us - 1) : NULL;

	return bed != NULL ? gw_span(bed->name, bed->len) : told;
}

static void
do_swap(struct act *act)
{
	struct gw_span to_one = swapped_into(act, act->bed, &act->event->other), to_two = swapped_into(act, act->other_bed, &act->event->person);
	struct patient *one, *two;
	bool changed;

	act->done = "swapped before, at the same time";
	if (!ready(act, &act->event->person) || !ready(act, &act->event->other))
		return;
	if (to_one.len == 0 || to_two.len == 0) {
		(void)fails(act, GW_E_ARGUMENT, "the beds are neither told nor known");
		return;
	}
	one = known(act, &act->event->person);
	if (one != NULL && one == known(act, &act->event->other)) {
		(void)fails(act, GW_E_ARGUMENT, "a patient cannot be swapped with itself");
		return;
	}
	if ((one = get(act, &act->event->person)) == NULL || (two = get(act, &act->event->other)) == NULL)
		return;
	changed = add_move(act, one, FACT_TRANSFER, act->event->time_us, to_one);
	changed |= add_move(act, two, FACT_TRANSFER, act->event->time_us, to_two);
	if (!changed)
		return;
	derive(act, one);
	derive(act, two);
	look_for_clash(act, to_one);
	look_for_clash(act, to_two);
	act->done = "swapped beds";
}

static bool
lies(const struct patient *patient, int64_t us)
{
	return bed_at(patient, us) != NULL;
}

// `gone` means `stays` from now on; what was told of it stays what was told of it.
static void
merge(struct act *act, struct patient *gone, struct patient *stays)
{
	struct facts moves = gone->moves;

	if (lies(gone, act->patients->now_us) && lies(stays, act->patients->now_us) &&
	    bed_at(gone, act->patients->now_us) != bed_at(stays, act->patients->now_us))
		act->contradiction = true;
	gone->moves = (struct facts){ 0 };
	act->patients->facts -= moves.count;
	gw_derive_patient(act->patients, gone);
	for (uint32_t i = 0; i < moves.count; i++)
		(void)gw_fact_add(act->patients, &stays->moves, &moves.at[i]);
	free(moves.at);
	gone->into = stays;
	stays->members++;
	for (uint32_t i = 0; i < gone->device_count; i++) {
		if (!gw_patient_add_device(stays, gone->devices[i]))
			act->patients->failed = true;
	}
	dirty_patient(act, gone);
	dirty_patient(act, stays);
	derive(act, stays);
}

// The patient of one of the identifiers that are merged into another; NULL: not known, or the other itself.
static struct patient *
merged_by(const struct act *act, size_t identifier, const struct patient *stays)
{
	struct patient *patient = gw_patient_root(gw_patient_by_identifier(act->patients, &act->event->other.identifiers[identifier]));

	return patient != stays ? patient : NULL;
}

static bool
merge_fits(struct act *act, const struct patient *stays)
{
	uint32_t count = stays != NULL ? stays->moves.count : 0;

	for (size_t i = 0; i < act->event->other.identifier_count; i++) {
		const struct patient *gone = merged_by(act, i, stays);

		count += gone != NULL ? gone->moves.count : 0;
	}
	return room_for(act, count, FACTS_MAX);
}

static void
do_merge(struct act *act)
{
	struct patient *stays = known(act, &act->event->person), *gone;
	bool contradiction;

	act->done = "merged before";
	if (!ready(act, &act->event->person) || !ready(act, &act->event->other) || !merge_fits(act, stays) ||
	    (stays = get(act, &act->event->person)) == NULL)
		return;
	contradiction = act->contradiction;
	// What nobody has is kept with a patient of its own: a late message may still name it.
	if (known(act, &act->event->other) == NULL && get(act, &act->event->other) == NULL)
		return;
	for (size_t i = 0; i < act->event->other.identifier_count && !act->patients->failed; i++) {
		if ((gone = merged_by(act, i, stays)) == NULL)
			continue;
		act->contradiction = contradiction && stays->clash != gone->number;
		merge(act, gone, stays);
		act->done = "merged";
	}
}

static void
do_change_id(struct act *act)
{
	struct patient *patient = known(act, &act->event->other), *taken = known(act, &act->event->person), *holder;

	act->done = "the identifier is not known";
	if (act->event->person.identifier_count == 0 || act->event->other.identifier_count == 0) {
		(void)fails(act, GW_E_ARGUMENT, "a change of identifier needs the old and the new one");
		return;
	}
	if (patient == NULL)
		return;
	if (taken != NULL && taken != patient) {
		(void)fails(act, GW_E_EXISTS, "the new identifier means another patient: a merge is needed");
		return;
	}
	for (size_t i = 0; i < act->event->other.identifier_count; i++) {
		const struct gw_identifier *old = &act->event->other.identifiers[i];

		holder = gw_patient_by_identifier(act->patients, old);
		if (holder != NULL && gw_patient_root(holder) == patient && gw_person_drop(act->patients, holder, old))
			dirty_patient(act, holder);
	}
	if (gw_person_take(act->patients, patient, &act->event->person, act->told_us >= patient->person_told_us))
		dirty_patient(act, patient);
	act->done = "identifier changed";
}

// ---- Devices ----

static struct device *
device_of(struct act *act)
{
	const struct gw_snapshot *snapshot = gw_snapshot_get(act->patients->registry);
	bool exists = gw_snapshot_device(snapshot, act->event->device) != NULL;
	struct device *device;

	gw_snapshot_put(snapshot);
	device = gw_tracked_find(act->patients, act->event->device);
	if (!exists && device == NULL) {
		act->error = gw_fail(act->why, GW_E_NOT_FOUND, "device \"%.*s\" is not in the registry", GW_SPAN_FMT(act->event->device));
		return NULL;
	}
	if (device == NULL)
		device = gw_tracked_get(act->patients, act->event->device);
	if (device == NULL)
		return NULL;
	if (device->facts.count > DEVICE_FACTS_MAX - 4 && gw_tracked_prune(act->patients, device, act->ticket))
		gw_derive_device(act->patients, device);
	return room_for(act, device->facts.count, DEVICE_FACTS_MAX) ? device : NULL;
}

static void
associate_bed(struct act *act, struct patient *patient)
{
	bool ordered = act->event->order.len > 0, changed = add_move(act, patient, ordered ? FACT_ORDER : FACT_ADMIT, act->event->time_us, act->bed);

	if (act->until_us != GW_TIME_OPEN)
		changed |= add_move(act, patient, ordered ? FACT_ORDER_END : FACT_LEAVE, act->until_us, act->bed);
	if (!changed)
		return;
	derive(act, patient);
	look_for_clash(act, act->bed);
	act->done = ordered && act->bed.len > 0 && !is_in(patient, act->event->time_us, act->bed) ? "order taken; the patient is in another bed" :
	    "associated";
	act->contradiction |= act->done[0] == 'o';
}

static void
do_associate(struct act *act)
{
	struct device *device = NULL;
	struct patient *patient;
	struct look look;
	bool changed;

	act->done = "associated before";
	if (act->event->device.len == 0 && act->bed.len == 0 && act->event->order.len == 0) {
		(void)fails(act, GW_E_ARGUMENT, "which device or bed?");
		return;
	}
	if (act->event->device.len > 0 && (device = device_of(act)) == NULL)
		return;
	if ((patient = get(act, &act->event->person)) == NULL)
		return;
	if (device == NULL) {
		associate_bed(act, patient);
		return;
	}
	changed = add_device_fact(act, device, FACT_BEGIN, act->event->time_us, patient, gw_span(NULL, 0));
	if (act->until_us != GW_TIME_OPEN)
		changed |= add_device_fact(act, device, FACT_END, act->until_us, patient, gw_span(NULL, 0));
	if (!changed)
		return;
	derive_device(act, device);
	gw_line_look(&device->directs, act->event->time_us, &look);
	act->contradiction |= look.clash;
	act->done = "associated";
}

static void
end_bed(struct act *act)
{
	struct bed *bed = gw_bed_find(act->patients, act->bed);
	struct patient *patients[DIRTY_MAX / 2], *patient;
	uint32_t count = 0;

	if (act->event->person.identifier_count > 0) {
		if ((patient = get(act, &act->event->person)) != NULL)
			patients[count++] = patient;
	} else {
		for (uint32_t i = 0; bed != NULL && i < bed->stays.count && count < DIRTY_MAX / 2; i++) {
			if (bed->stays.at[i].from_us < act->event->time_us && bed->stays.at[i].to_us > act->event->time_us)
				patients[count++] = bed->stays.at[i].what;
		}
	}
	act->done = "nobody is in the bed at that time";
	for (uint32_t i = 0; i < count; i++) {
		if (!room_for(act, patients[i]->moves.count, FACTS_MAX))
			return;
		act->done = "dissociated before";
	}
	for (uint32_t i = 0; i < count; i++) {
		if (!add_move(act, patients[i], FACT_LEAVE, act->event->time_us, act->bed))
			continue;
		derive(act, patients[i]);
		act->done = "dissociated";
	}
}

static bool
has_order(const struct act *act, const struct device *device)
{
	for (uint32_t i = 0; i < device->facts.count; i++) {
		if (device->facts.at[i].kind == FACT_BEGIN && gw_span_equal(gw_note_text(device->facts.at[i].note, NOTE_ORDER), act->event->order))
			return true;
	}
	return false;
}

// An order that ends without naming a device: all that it began.
static void
end_order(struct act *act)
{
	struct patient *patient = get(act, &act->event->person);

	if (patient == NULL)
		return;
	for (uint32_t i = 0; i < patient->device_count; i++) {
		struct device *device = patient->devices[i];

		if (!has_order(act, device) || device->facts.count >= DEVICE_FACTS_MAX)
			continue;
		if (!add_device_fact(act, device, FACT_END, act->event->time_us, patient, gw_span(NULL, 0)))
			continue;
		derive_device(act, device);
		act->done = "dissociated";
	}
	if (!add_move(act, patient, FACT_ORDER_END, act->event->time_us, gw_span(NULL, 0)))
		return;
	derive(act, patient);
	act->done = "dissociated";
}

static void
do_dissociate(struct act *act)
{
	struct patient *patient = NULL;
	struct device *device;

	act->done = "dissociated before";
	if (act->event->device.len == 0) {
		if (act->event->order.len > 0)
			end_order(act);
		else if (act->bed.len > 0)
			end_bed(act);
		else
			(void)fails(act, GW_E_ARGUMENT, "which device, bed or order?");
		return;
	}
	if ((device = device_of(act)) == NULL)
		return;
	if (act->event->person.identifier_count > 0 && (patient = get(act, &act->event->person)) == NULL)
		return;
	if (!add_device_fact(act, device, FACT_END, act->event->time_us, patient, gw_span(NULL, 0)))
		return;
	derive_device(act, device);
	act->done = "dissociated";
}

static void
do_place(struct act *act)
{
	bool place = act->event->verb == GW_PATIENT_PLACE;
	struct device *device;

	act->done = "so it was told before";
	if (place && act->bed.len == 0) {
		(void)fails(act, GW_E_ARGUMENT, "which bed?");
		return;
	}
	if ((device = device_of(act)) == NULL)
		return;
	if (!add_device_fact(act, device, place ? FACT_PLACE : FACT_UNPLACE, act->event->time_us, NULL, place ? act->bed : gw_span(NULL, 0)))
		return;
	if (place && act->until_us != GW_TIME_OPEN)
		(void)add_device_fact(act, device, FACT_UNPLACE, act->until_us, NULL, gw_span(NULL, 0));
	derive_device(act, device);
	act->done = place ? "placed" : "taken from its bed";
}

static const struct {
	const char *name;
	void (*run)(struct act *act);
} verbs[] = {
	[GW_PATIENT_ADMIT] = { "admit", do_admit },
	[GW_PATIENT_TRANSFER] = { "transfer", do_transfer },
	[GW_PATIENT_DISCHARGE] = { "discharge", do_discharge },
	[GW_PATIENT_UPDATE] = { "update", do_update },
	[GW_PATIENT_CANCEL_ADMIT] = { "cancel admit", do_cancel_admit },
	[GW_PATIENT_CANCEL_TRANSFER] = { "cancel transfer", do_cancel_transfer },
	[GW_PATIENT_CANCEL_DISCHARGE] = { "cancel discharge", do_cancel_discharge },
	[GW_PATIENT_SWAP] = { "swap", do_swap },
	[GW_PATIENT_MERGE] = { "merge", do_merge },
	[GW_PATIENT_CHANGE_ID] = { "change identifier", do_change_id },
	[GW_PATIENT_ASSOCIATE] = { "associate", do_associate },
	[GW_PATIENT_DISSOCIATE] = { "dissociate", do_dissociate },
	[GW_PATIENT_PLACE] = { "place", do_place },
	[GW_PATIENT_UNPLACE] = { "unplace", do_place },
};

// ---- Forgetting ----

// Whether nothing of it matters any more: it lies nowhere and has not for as long as is kept. Who never lay anywhere goes after three days.
static bool
expired(const struct gw_patients *patients, const struct patient *patient)
{
	const struct line *stays = &patient->stays;

	if (patient->direct > 0 || patient->dirty)
		return false;
	if (stays->count == 0)
		return patient->touched_us < patients->now_us - 72 * HOUR_US || patient->touched_us < patients->horizon_us;
	return patient->touched_us < patients->horizon_us && stays->at[stays->count - 1].to_us < patients->horizon_us;
}

static enum gw_error
sweep_patient(struct gw_patients *patients, struct patient *patient, struct gw_ticket *ticket)
{
	enum gw_error error;

	if (patient->members > 0 || !expired(patients, patient) || !expired(patients, gw_patient_root(patient)))
		return GW_OK;
	error = gw_patient_del(patient->number, ticket);
	if (error == GW_OK)
		gw_patient_forget(patients, patient);
	return error;
}

static enum gw_error
sweep_device(struct gw_patients *patients, struct device *device, struct gw_ticket *ticket)
{
	const struct gw_snapshot *snapshot;
	enum gw_error error = GW_OK;
	bool registered;

	if (device->dirty)
		return GW_OK;
	if (gw_tracked_prune(patients, device, ticket)) {
		gw_derive_device(patients, device);
		error = gw_tracked_put(device, ticket);
	}
	if (device->facts.count > 1 || device->directs.count > 0 || device->places.count > 0)
		return error;
	snapshot = gw_snapshot_get(patients->registry);
	registered = gw_snapshot_device(snapshot, gw_span(device->id, device->len)) != NULL;
	gw_snapshot_put(snapshot);
	if (error == GW_OK && (device->facts.count == 0 ? !device->pruned : !registered && device->facts.at[0].time_us < patients->horizon_us)) {
		error = gw_tracked_del(device, ticket);
		gw_tracked_forget(patients, device);
	}
	return error;
}

static enum gw_error
sweep(struct gw_patients *patients, struct gw_ticket *ticket)
{
	enum gw_error error = GW_OK;

	for (int i = 0; i < SWEEP_PATIENTS && patients->count > 0 && error == GW_OK; i++) {
		patients->sweep_patient = patients->sweep_patient + 1 < patients->count ? patients->sweep_patient + 1 : 0;
		error = sweep_patient(patients, patients->all[patients->sweep_patient], ticket);
	}
	for (int i = 0; i < SWEEP_DEVICES && patients->device_count > 0 && error == GW_OK; i++) {
		patients->sweep_device = patients->sweep_device + 1 < patients->device_count ? patients->sweep_device + 1 : 0;
		error = sweep_device(patients, patients->devices[patients->sweep_device], ticket);
	}
	return error;
}

// ---- Rows and records ----

static enum gw_error
put_rows(struct gw_patients *patients, struct gw_ticket *ticket)
{
	enum gw_error error = GW_OK;
	uint64_t end = htole64(patients->numbers_end);

	for (uint32_t i = 0; i < patients->dirty_patient_count && error == GW_OK; i++)
		error = gw_patient_put(patients->dirty_patients[i], ticket);
	for (uint32_t i = 0; i < patients->dirty_device_count && error == GW_OK; i++)
		error = gw_tracked_put(patients->dirty_devices[i], ticket);
	if (patients->numbers && error == GW_OK)
		error = gw_ticket_put(ticket, gw_span_text(PATIENT_NEXT_ROW), gw_span(&end, sizeof(end)));
	return error;
}

static enum gw_error
put_records(struct act *act, struct gw_ticket *ticket)
{
	uint8_t record[512];
	char text[224];
	enum gw_error error = GW_OK;
	size_t len;
	int words = snprintf(text, sizeof(text), "%s: %s%s; %.*s", verbs[act->event->verb].name, act->done, act->contradiction ? " (contradiction)" : "",
	    GW_SPAN_FMT(act->note[NOTE_SOURCE]));

	for (uint32_t i = 0; i < act->patients->range_count && error == GW_OK; i++) {
		const struct range *range = &act->patients->ranges[i];
		struct gw_association_change change = { .received_us = act->patients->now_us, .from_us = range->from_us, .to_us = range->to_us,
			.text = gw_span(text, (size_t)words) };

		if (range->bed != NULL)
			change.bed = gw_span(range->bed->name, range->bed->len);
		if (range->device != NULL)
			change.device = gw_span(range->device->id, range->device->len);
		error = gw_association_encode(&change, record, sizeof(record), &len);
		if (error == GW_OK)
			error = gw_ticket_record(ticket, gw_span(record, len));
	}
	return error;
}

static void
event_end(struct gw_patients *patients)
{
	while (patients->dirty_patient_count > 0)
		patients->dirty_patients[--patients->dirty_patient_count]->dirty = false;
	while (patients->dirty_device_count > 0)
		patients->dirty_devices[--patients->dirty_device_count]->dirty = false;
	while (patients->range_count > 0)
		gw_bed_put(patients, patients->ranges[--patients->range_count].bed);
	patients->numbers = false;
}

static enum gw_error
do_event(struct act *act, struct gw_ticket *ticket)
{
	struct gw_patients *patients = act->patients;
	enum gw_error error;

	verbs[act->event->verb].run(act);
	if (patients->failed)
		return gw_fail(act->why, GW_E_MEMORY, "out of memory");
	if (act->error != GW_OK) {
		patients->failed = patients->dirty_patient_count > 0 || patients->dirty_device_count > 0; // refusals come before changes
		return act->error;
	}
	error = put_rows(patients, ticket);
	if (error == GW_OK)
		error = put_records(act, ticket);
	if (error == GW_OK)
		error = sweep(patients, ticket);
	if (error != GW_OK)
		patients->failed = true; // what memory has and the ticket has not must not stay
	return error != GW_OK ? gw_fail(act->why, error, "%s", gw_error_text(error)) : GW_OK;
}

enum gw_error
gw_patients_do(struct gw_patients *patients, const struct gw_patient_event *event, struct gw_ticket *ticket, struct gw_why *why)
{
	struct act act = { .patients = patients, .event = event, .ticket = ticket, .why = why };
	uint32_t ops_len = ticket->ops_len;
	enum gw_error error;

	if (event->verb < GW_PATIENT_ADMIT || event->verb > GW_PATIENT_UNPLACE)
		return gw_fail(why, GW_E_ARGUMENT, "there is no such event");
	patients->now_us = gw_clock_wall_us();
	patients->horizon_us = patients->now_us - patients->options.keep_us;
	error = prepare(&act);
	if (error != GW_OK)
		return error;
	pthread_rwlock_wrlock(&patients->lines);
	error = do_event(&act, ticket);
	if (patients->dirty_patient_count > 0 || patients->dirty_device_count > 0 || patients->range_count > 0)
		atomic_fetch_add_explicit(&patients->generation, 1, memory_order_release);
	event_end(patients);
	patients->events++;
	patients->contradictions += act.contradiction;
	pthread_rwlock_unlock(&patients->lines);
	if (patients->failed)
		ticket->ops_len = ops_len;
	ticket->essential = true;
	if (error == GW_OK)
		(void)gw_fail(why, GW_OK, "%s%s", act.done, act.contradiction ? "; CONTRADICTION: see vitalgate patient conflicts" : "");
	return error;
}
