// SPDX-License-Identifier: Apache-2.0
// Where patients go, and who they are: admissions, transfers, discharges, their cancels, swaps and merges. Under both locks of gateway/patients_internal.h.
#include "gateway/patients_act.h"

#include <stdlib.h>

void
gw_do_admit(struct act *act)
{
	struct patient *patient;

	if (act->bed.len == 0) {
		act->done = "admitted without a bed: nothing to associate";
		if (gw_act_known(act, &act->event->person) != NULL)
			(void)gw_act_get(act, &act->event->person);
		return;
	}
	act->done = "admitted before, to the same bed at the same time";
	if ((patient = gw_act_get(act, &act->event->person)) == NULL || !gw_act_add_move(act, patient, FACT_ADMIT, act->event->time_us, act->bed))
		return;
	gw_act_derive(act, patient);
	gw_act_look_for_clash(act, act->bed);
	act->done = "admitted";
}

void
gw_do_transfer(struct act *act)
{
	struct patient *patient;
	bool changed;

	act->done = "transferred before, to the same bed at the same time";
	if ((patient = gw_act_get(act, &act->event->person)) == NULL)
		return;
	changed = gw_act_add_move(act, patient, FACT_TRANSFER, act->event->time_us, act->bed);
	if (act->prior.len > 0)
		changed |= gw_act_add_move(act, patient, FACT_FROM, act->event->time_us, act->prior);
	if (!changed)
		return;
	gw_act_derive(act, patient);
	gw_act_look_for_clash(act, act->bed);
	act->done = act->bed.len > 0 ? "transferred" : "transferred, to no bed that is told: the old one has ended";
}

// Moves that need no more than their kind: the bed only tells which is meant.
static void
do_move(struct act *act, enum fact_kind kind, const char *done, const char *again)
{
	struct patient *patient;

	act->done = again;
	if ((patient = gw_act_get(act, &act->event->person)) == NULL || !gw_act_add_move(act, patient, kind, act->event->time_us, kind == FACT_DISCHARGE ? gw_span(NULL, 0) : act->bed))
		return;
	gw_act_derive(act, patient);
	act->done = done;
}

void
gw_do_discharge(struct act *act)
{
	do_move(act, FACT_DISCHARGE, "discharged", "discharged before, at the same time");
}

void
gw_do_cancel_admit(struct act *act)
{
	do_move(act, FACT_CANCEL_ADMIT, "admission cancelled", "cancelled before");
}

void
gw_do_cancel_transfer(struct act *act)
{
	do_move(act, FACT_CANCEL_TRANSFER, "transfer cancelled", "cancelled before");
}

void
gw_do_cancel_discharge(struct act *act)
{
	do_move(act, FACT_CANCEL_DISCHARGE, "discharge cancelled", "cancelled before");
}

// Whether an admission, a transfer, a discharge or the like is known from before; an order says little of where somebody is.
static bool
was_told_before(const struct patient *patient, int64_t us)
{
	for (uint32_t i = 0; i < patient->moves.count && patient->moves.at[i].time_us <= us; i++) {
		if (patient->moves.at[i].kind < FACT_ORDER)
			return true;
	}
	return false;
}

void
gw_do_update(struct act *act)
{
	struct patient *patient = gw_act_known(act, &act->event->person);

	act->done = "the patient is in no bed that is known";
	if (patient == NULL && act->bed.len == 0)
		return;
	if ((patient = gw_act_get(act, &act->event->person)) == NULL)
		return;
	act->done = patient->dirty ? "person updated" : "nothing new";
	if (act->bed.len == 0 || was_told_before(patient, act->event->time_us) || !gw_act_add_move(act, patient, FACT_SEEN, act->event->time_us, act->bed))
		return;
	gw_act_derive(act, patient);
	gw_act_look_for_clash(act, act->bed);
	act->done = "not known before: taken to be in the bed from now on";
}

// A bed that the message does not name is the one in which the other patient lay.
static struct gw_span
swapped_into(const struct act *act, struct gw_span told, const struct gw_person *other)
{
	const struct patient *patient = gw_act_known(act, other);
	const struct bed *bed = told.len == 0 && patient != NULL ? gw_act_bed_at(patient, act->event->time_us - 1) : NULL;

	return bed != NULL ? gw_span(bed->name, bed->len) : told;
}

void
gw_do_swap(struct act *act)
{
	struct gw_span to_one = swapped_into(act, act->bed, &act->event->other), to_two = swapped_into(act, act->other_bed, &act->event->person);
	struct patient *one, *two;
	bool changed;

	act->done = "swapped before, at the same time";
	if (!gw_act_ready(act, &act->event->person) || !gw_act_ready(act, &act->event->other))
		return;
	if (to_one.len == 0 || to_two.len == 0) {
		(void)gw_act_fails(act, GW_E_ARGUMENT, "the beds are neither told nor known");
		return;
	}
	one = gw_act_known(act, &act->event->person);
	if (one != NULL && one == gw_act_known(act, &act->event->other)) {
		(void)gw_act_fails(act, GW_E_ARGUMENT, "a patient cannot be swapped with itself");
		return;
	}
	if ((one = gw_act_get(act, &act->event->person)) == NULL || (two = gw_act_get(act, &act->event->other)) == NULL)
		return;
	changed = gw_act_add_move(act, one, FACT_TRANSFER, act->event->time_us, to_one);
	changed |= gw_act_add_move(act, two, FACT_TRANSFER, act->event->time_us, to_two);
	if (!changed)
		return;
	gw_act_derive(act, one);
	gw_act_derive(act, two);
	gw_act_look_for_clash(act, to_one);
	gw_act_look_for_clash(act, to_two);
	act->done = "swapped beds";
}

// `gone` means `stays` from now on; what was told of it stays what was told of it.
static void
merge(struct act *act, struct patient *gone, struct patient *stays)
{
	struct facts moves = gone->moves;

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
	gw_act_dirty_patient(act, gone);
	gw_act_dirty_patient(act, stays);
	gw_act_derive(act, stays);
	gw_act_merge_clashes(act, gone, stays);
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
	uint32_t count = (stays != NULL ? stays->moves.count : 0) + (uint32_t)act->event->other.identifier_count, devices = stays != NULL ? stays->device_count : 0;

	for (size_t i = 0; i < act->event->other.identifier_count; i++) {
		const struct patient *gone = merged_by(act, i, stays);

		count += gone != NULL ? gone->moves.count : 0;
		devices += gone != NULL ? gone->device_count : 0;
	}
	if (devices > 2 * PATIENT_DEVICES_MAX)
		return gw_act_fails(act, GW_E_QUOTA, "the patients were associated with too many devices within the time that is kept");
	return gw_act_room_for(act, count, FACTS_MAX);
}

// From this message on what is told of either counts for both. True: it is new.
static bool
add_link(struct act *act, size_t identifier, struct patient *stays)
{
	const struct patient *other = gw_patient_by_identifier(act->patients, &act->event->other.identifiers[identifier]);
	uint64_t number = gw_act_number(act, stays);
	struct gw_span was = act->note[NOTE_ORDER];
	char text[33];
	bool added;

	if (other == NULL || other->number == number)
		return false;
	gw_merge_text(number, other->number, text);
	act->note[NOTE_ORDER] = gw_span_text(text);
	added = gw_act_add_move(act, stays, FACT_MERGE, act->event->time_us, gw_span(NULL, 0));
	act->note[NOTE_ORDER] = was;
	return added;
}

void
gw_do_merge(struct act *act)
{
	struct patient *stays = gw_act_known(act, &act->event->person), *gone;
	bool linked = false;

	act->done = "merged before";
	if (!gw_act_ready(act, &act->event->person) || !gw_act_ready(act, &act->event->other) || !merge_fits(act, stays) ||
	    (stays = gw_act_get(act, &act->event->person)) == NULL)
		return;
	// What nobody has is kept with a patient of its own: a late message may still name it.
	if (gw_act_known(act, &act->event->other) == NULL && gw_act_get(act, &act->event->other) == NULL)
		return;
	for (size_t i = 0; i < act->event->other.identifier_count && !act->patients->failed; i++) {
		linked |= add_link(act, i, stays);
		if ((gone = merged_by(act, i, stays)) == NULL)
			continue;
		merge(act, gone, stays);
		act->done = "merged";
		linked = false;
	}
	if (linked)
		gw_act_derive(act, stays);
}

void
gw_do_change_id(struct act *act)
{
	struct patient *patient = gw_act_known(act, &act->event->other), *taken = gw_act_known(act, &act->event->person), *holder;

	act->done = "the identifier is not known";
	if (act->event->person.identifier_count == 0 || act->event->other.identifier_count == 0) {
		(void)gw_act_fails(act, GW_E_ARGUMENT, "a change of identifier needs the old and the new one");
		return;
	}
	if (patient == NULL)
		return;
	if (taken != NULL && taken != patient) {
		(void)gw_act_fails(act, GW_E_EXISTS, "the new identifier means another patient: a merge is needed");
		return;
	}
	for (size_t i = 0; i < act->event->other.identifier_count; i++) {
		const struct gw_identifier *old = &act->event->other.identifiers[i];

		holder = gw_patient_by_identifier(act->patients, old);
		if (holder != NULL && gw_patient_root(holder) == patient && gw_person_drop(act->patients, holder, old))
			gw_act_dirty_patient(act, holder);
	}
	if (gw_person_take(act->patients, patient, &act->event->person, act->told_us >= patient->person_told_us))
		gw_act_dirty_patient(act, patient);
	gw_act_settle(act, patient);
	act->done = "identifier changed";
}
