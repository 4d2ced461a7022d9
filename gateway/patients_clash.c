// SPDX-License-Identifier: Apache-2.0
// Identifiers of one message that lead to two patients. Either both are one person whom nobody has merged, or one of the identifiers is wrong: then what was told
// under it is the other's. So from the earliest time at which a message said so, readings of both are nobody's, until it is resolved: by a merge, by the
// identifier that no longer leads to the other, or by somebody who says that they are two. What was told before that time is not in question.
// A contradiction lies with both patients; its row with the one whom the message meant. Under both locks of gateway/patients_internal.h.
#include "gateway/patients_act.h"

#include <stdlib.h>

#define CLASHES_MAX 32 // of one patient; he is held by these already, and the message is a contradiction all the same

static struct patient *
other_of(const struct gw_patients *patients, const struct clash *clash)
{
	return gw_patient_root(gw_patient_find(patients, clash->other));
}

static struct gw_identifier
identifier_of(const struct clash *clash)
{
	return (struct gw_identifier){ .id = gw_span(clash->text, clash->id_len), .authority = gw_span(clash->text + clash->id_len, clash->authority_len) };
}

// Whether the identifier still leads where it led. Of what a program stored that did not keep it, only a merge and people tell the end.
static bool
still_leads(const struct gw_patients *patients, const struct patient *patient, const struct clash *clash)
{
	struct gw_identifier identifier = identifier_of(clash);
	const struct patient *holder;

	if (clash->id_len == 0)
		return true;
	holder = gw_patient_root(gw_patient_by_identifier(patients, &identifier));
	return holder == (clash->mirror ? patient : other_of(patients, clash));
}

static bool
is_over(const struct gw_patients *patients, struct patient *patient, const struct clash *clash)
{
	const struct patient *other = other_of(patients, clash);

	return other == NULL || other == patient || (!clash->apart && !still_leads(patients, patient, clash));
}

// While rows are read, numbers may not lead anywhere yet.
static bool
same_other(const struct gw_patients *patients, const struct clash *a, const struct clash *b)
{
	const struct patient *other = other_of(patients, a);

	return a->other == b->other || (other != NULL && other == other_of(patients, b));
}

static struct clash *
find(const struct gw_patients *patients, const struct patient *patient, const struct clash *like)
{
	for (uint32_t i = 0; i < patient->clash_count; i++) {
		struct clash *one = &patient->clashes[i];

		if (same_other(patients, one, like) && one->mirror == like->mirror && one->id_len == like->id_len &&
		    one->authority_len == like->authority_len && memcmp(one->text, like->text, (size_t)one->id_len + one->authority_len) == 0)
			return one;
	}
	return NULL;
}

// True: it is new, or from earlier on than was known.
static bool
put(struct gw_patients *patients, struct patient *patient, const struct clash *clash)
{
	struct clash *one = find(patients, patient, clash), *more;

	if (one != NULL) {
		bool earlier = clash->from_us < one->from_us;

		one->from_us = earlier ? clash->from_us : one->from_us;
		return earlier;
	}
	if (patient->clash_count == CLASHES_MAX)
		return false;
	more = realloc(patient->clashes, (patient->clash_count + 1) * sizeof(*more));
	if (more == NULL) {
		patients->failed = true;
		return false;
	}
	patient->clashes = more;
	more[patient->clash_count++] = *clash;
	return true;
}

static bool
put_both(struct gw_patients *patients, struct patient *patient, const struct clash *clash)
{
	struct clash mirror = *clash;

	mirror.other = patient->number;
	mirror.mirror = true;
	(void)put(patients, other_of(patients, clash), &mirror);
	return put(patients, patient, clash);
}

// ---- From when on a patient is in question ----

// Whatever the patient's readings come from.
static void
add_ranges(struct gw_patients *patients, const struct patient *patient, int64_t from_us, int64_t to_us)
{
	for (uint32_t i = 0; i < patient->stays.count; i++) {
		const struct interval *stay = &patient->stays.at[i];

		gw_range_add(patients, stay->what, NULL, stay->from_us > from_us ? stay->from_us : from_us, stay->to_us < to_us ? stay->to_us : to_us);
	}
	for (uint32_t i = 0; i < patient->device_count; i++) {
		const struct line *directs = &patient->devices[i]->directs;

		for (uint32_t j = 0; j < directs->count; j++) {
			const struct interval *direct = &directs->at[j];

			if (direct->what == patient)
				gw_range_add(patients, NULL, patient->devices[i], direct->from_us > from_us ? direct->from_us : from_us,
				    direct->to_us < to_us ? direct->to_us : to_us);
		}
	}
}

static void
set_contested(struct gw_patients *patients, struct patient *patient)
{
	int64_t from_us = GW_TIME_OPEN, was_us = patient->contested_us;

	for (uint32_t i = 0; i < patient->clash_count; i++) {
		if (!patient->clashes[i].apart && patient->clashes[i].from_us < from_us)
			from_us = patient->clashes[i].from_us;
	}
	patient->contested_us = from_us;
	add_ranges(patients, patient, from_us < was_us ? from_us : was_us, from_us < was_us ? was_us : from_us);
}

// What is over goes. True: of the patient's row.
static bool
drop_over(struct gw_patients *patients, struct patient *patient)
{
	uint32_t kept = 0;
	bool rows = false;

	for (uint32_t i = 0; i < patient->clash_count; i++) {
		if (!is_over(patients, patient, &patient->clashes[i]))
			patient->clashes[kept++] = patient->clashes[i];
		else
			rows |= !patient->clashes[i].mirror;
	}
	patient->clash_count = kept;
	return rows;
}

static void
settle_one(struct act *act, struct patient *patient)
{
	if (drop_over(act->patients, patient))
		gw_act_dirty_patient(act, patient);
	set_contested(act->patients, patient);
}

void
gw_act_settle(struct act *act, struct patient *patient)
{
	struct patient *others[CLASHES_MAX];
	uint32_t count = patient->clash_count;

	for (uint32_t i = 0; i < count; i++)
		others[i] = other_of(act->patients, &patient->clashes[i]);
	settle_one(act, patient);
	for (uint32_t i = 0; i < count; i++) {
		if (others[i] != NULL)
			settle_one(act, others[i]);
	}
}

// ---- Telling ----

static bool
are_apart(const struct gw_patients *patients, const struct patient *patient, const struct patient *other)
{
	for (uint32_t i = 0; i < patient->clash_count; i++) {
		if (patient->clashes[i].apart && other_of(patients, &patient->clashes[i]) == other)
			return true;
	}
	return false;
}

void
gw_act_clash(struct act *act, struct patient *patient, struct patient *other, const struct gw_identifier *identifier)
{
	struct clash clash = { .other = other->number, .from_us = act->event->time_us, .id_len = (uint8_t)identifier->id.len,
		.authority_len = (uint8_t)identifier->authority.len };

	bool known, changed;

	if (are_apart(act->patients, patient, other))
		return;
	memcpy(clash.text, identifier->id.at, clash.id_len);
	if (clash.authority_len > 0)
		memcpy(clash.text + clash.id_len, identifier->authority.at, clash.authority_len);
	known = find(act->patients, patient, &clash) != NULL;
	changed = put_both(act->patients, patient, &clash);
	if (known && !changed)
		return;
	act->clash_other = other;
	act->clash_of = patient;
	gw_act_dirty_patient(act, patient);
	set_contested(act->patients, patient);
	set_contested(act->patients, other);
}

bool
gw_act_clashes(const struct act *act)
{
	const struct patient *one = gw_patient_root(act->clash_of), *other = gw_patient_root(act->clash_other);

	return one != NULL && one != other;
}

void
gw_act_merge_clashes(struct act *act, struct patient *gone, struct patient *stays)
{
	struct patient *others[CLASHES_MAX];
	uint32_t count = gone->clash_count;

	for (uint32_t i = 0; i < count; i++) {
		others[i] = other_of(act->patients, &gone->clashes[i]);
		(void)put(act->patients, stays, &gone->clashes[i]);
	}
	gone->clash_count = 0;
	gone->contested_us = GW_TIME_OPEN; // all that lay with it lies with the other now
	gw_act_settle(act, stays);
	for (uint32_t i = 0; i < count; i++) {
		if (others[i] != NULL)
			settle_one(act, others[i]);
	}
}

void
gw_do_distinct(struct act *act)
{
	struct patient *one = gw_act_known(act, &act->event->person), *two = gw_act_known(act, &act->event->other), *sides[] = { one, two };
	bool found = false;

	if (one == NULL || two == NULL) {
		(void)gw_act_fails(act, GW_E_NOT_FOUND, "one of the patients is not known");
		return;
	}
	for (int s = 0; s < 2 && one != two; s++) {
		for (uint32_t i = 0; i < sides[s]->clash_count; i++) {
			struct clash *clash = &sides[s]->clashes[i];

			if (other_of(act->patients, clash) == sides[1 - s])
				clash->apart = found = true;
		}
	}
	if (!found) {
		(void)gw_act_fails(act, GW_E_NOT_FOUND, "no message said that they are one");
		return;
	}
	gw_act_dirty_patient(act, one);
	gw_act_dirty_patient(act, two);
	gw_act_settle(act, one);
	act->done = "they are two, whatever a message says";
}

// ---- From rows, and forgetting ----

void
gw_clash_load(struct gw_patients *patients, struct patient *patient, const struct clash *clash)
{
	(void)put(patients, patient, clash);
}

void
gw_clashes_link(struct gw_patients *patients)
{
	for (uint32_t i = 0; i < patients->count; i++) {
		struct patient *patient = patients->all[i];

		(void)drop_over(patients, patient);
		for (uint32_t j = 0; j < patient->clash_count; j++) {
			struct clash clash = patient->clashes[j]; // the list may move

			if (!clash.mirror)
				(void)put_both(patients, patient, &clash);
		}
	}
	for (uint32_t i = 0; i < patients->count; i++)
		set_contested(patients, patients->all[i]);
}

void
gw_clashes_forget(struct gw_patients *patients, struct patient *gone)
{
	for (uint32_t i = 0; i < gone->clash_count; i++) {
		struct patient *other = other_of(patients, &gone->clashes[i]);

		if (other == NULL)
			continue;
		(void)drop_over(patients, other); // its row goes on naming nobody
		set_contested(patients, other);
	}
}

bool
gw_clash_keeps(struct gw_patients *patients, const struct patient *patient, bool (*expired)(struct gw_patients *, const struct patient *))
{
	for (uint32_t i = 0; i < patient->clash_count; i++) {
		const struct patient *other = other_of(patients, &patient->clashes[i]);

		if (!patient->clashes[i].apart && other != NULL && !expired(patients, other))
			return true;
	}
	return false;
}
