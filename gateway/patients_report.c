// SPDX-License-Identifier: Apache-2.0
// Reports of one association, known by its identifier (IHE PCIM: OBR-3, in updates OBR-29.2). The report that was told last says with which devices, which
// patient and since when; what earlier ones said of that goes. Its end, that the end was wrong, and that it never was are told by themselves, and hold for
// whichever device it turns out to be. In whatever order they come. Under both locks of gateway/patients_internal.h.
#include "gateway/patients_act.h"

#include <stdlib.h>

#define FOUND_MAX 64 // devices that reports of one association ever named

static bool
is_of(const struct act *act, const struct fact *fact)
{
	return fact->kind != FACT_PLACE && fact->kind != FACT_UNPLACE && gw_span_equal(gw_note_text(fact->note, NOTE_FILLER), act->event->filler);
}

// Events of one message have one time of telling and one source.
static bool
is_of_message(const struct fact *fact, int64_t told_us, struct gw_span source)
{
	return fact->told_us == told_us && gw_span_equal(gw_note_text(fact->note, NOTE_SOURCE), source);
}

static bool
begins(const struct act *act, const struct device *device)
{
	if (act->event->filler.len == 0)
		return false;
	for (uint32_t i = 0; i < device->facts.count; i++) {
		if (device->facts.at[i].kind == FACT_BEGIN && is_of(act, &device->facts.at[i]))
			return true;
	}
	return false;
}

static uint32_t
find(const struct act *act, struct device *found[FOUND_MAX])
{
	void *items[FOUND_MAX];
	uint32_t count;

	if (act->event->filler.len == 0)
		return 0;
	count = gw_table_all(&act->patients->by_filler, gw_patients_hash(act->patients, act->event->filler, gw_span(NULL, 0)), items, FOUND_MAX);
	for (uint32_t i = 0; i < count; i++)
		found[i] = items[i];
	return count;
}

bool
gw_act_is_latest(const struct act *act)
{
	struct device *found[FOUND_MAX];
	uint32_t count = find(act, found);

	for (uint32_t i = 0; i < count; i++) {
		for (uint32_t j = 0; j < found[i]->facts.count; j++) {
			const struct fact *fact = &found[i]->facts.at[j];

			if (fact->kind == FACT_BEGIN && is_of(act, fact) && fact->told_us > act->told_us)
				return false;
		}
	}
	return true;
}

static void
drop(struct act *act, struct device *device, uint32_t at)
{
	if (gw_tracked_del_fact(device, &device->facts.at[at], act->ticket) != GW_OK)
		act->patients->failed = true;
	gw_fact_drop(act->patients, &device->facts, at);
}

// Whether an earlier report said it: what began, with the end that it told, or that it never was.
static bool
is_earlier_report(const struct act *act, const struct device *device, const struct fact *fact)
{
	struct gw_span source = gw_note_text(fact->note, NOTE_SOURCE);

	if (fact->kind == FACT_PLACE || fact->kind == FACT_UNPLACE || (gw_note_text(fact->note, NOTE_FILLER).len > 0 && !is_of(act, fact)) ||
	    is_of_message(fact, act->told_us, act->note[NOTE_SOURCE]))
		return false;
	for (uint32_t i = 0; i < device->facts.count; i++) {
		const struct fact *other = &device->facts.at[i];

		if ((other->kind == FACT_BEGIN || (other->kind == FACT_VOID && other->told_us <= act->told_us)) && is_of(act, other) &&
		    is_of_message(fact, other->told_us, source))
			return fact->kind != FACT_RESUME;
	}
	return false;
}

static bool
has_earlier_report(const struct act *act, const struct device *device)
{
	for (uint32_t i = 0; i < device->facts.count; i++) {
		const struct fact *fact = &device->facts.at[i];

		if ((fact->kind == FACT_BEGIN || fact->kind == FACT_VOID) && is_of(act, fact) && !is_of_message(fact, act->told_us, act->note[NOTE_SOURCE]))
			return true;
	}
	return false;
}

// What began goes last: what came with it is known by it.
static bool
drop_earlier(struct act *act, struct device *device)
{
	bool dropped = false;

	if (!has_earlier_report(act, device))
		return false;
	for (int pass = 0; pass < 2; pass++) {
		for (uint32_t i = device->facts.count; i > 0; i--) {
			const struct fact *fact = &device->facts.at[i - 1];

			if ((fact->kind == FACT_END) != (pass == 0) || !is_earlier_report(act, device, fact))
				continue;
			drop(act, device, i - 1);
			dropped = true;
		}
	}
	return dropped;
}

static void
copy_fact(struct act *act, const struct fact *from, struct device *to)
{
	struct fact fact = *from;

	fact.stored = false;
	fact.note = malloc(sizeof(*fact.note) + from->note->len);
	if (fact.note == NULL || (fact.patient != NULL && !gw_patient_add_device(gw_patient_root(fact.patient), to))) {
		free(fact.note);
		act->patients->failed = true;
		return;
	}
	fact.note->len = from->note->len;
	memcpy(fact.note->bytes, from->note->bytes, from->note->len);
	(void)gw_fact_add(act->patients, &to->facts, &fact);
}

// What was told of the association under a device with which it did not begin. That it never was and that it goes on say nothing of that device.
static void
carry(struct act *act, struct device *from, struct device *to)
{
	for (uint32_t i = from->facts.count; i > 0; i--) {
		const struct fact *fact = &from->facts.at[i - 1];

		if (!is_of(act, fact) || fact->kind == FACT_BEGIN || to->facts.count >= DEVICE_FACTS_MAX)
			continue;
		copy_fact(act, fact, to);
		if (fact->kind != FACT_END)
			drop(act, from, i - 1);
	}
}

bool
gw_act_replace(struct act *act, struct device *device)
{
	struct device *found[FOUND_MAX];
	uint32_t count = find(act, found);
	bool replaced = false;

	for (uint32_t i = 0; i < count; i++)
		replaced |= drop_earlier(act, found[i]);
	for (uint32_t i = 0; i < count && !act->patients->failed; i++) {
		if (found[i] != device && !begins(act, found[i]))
			carry(act, found[i], device);
		gw_act_derive_device(act, found[i]);
	}
	return replaced;
}

bool
gw_act_add_report(struct act *act, struct device *device, enum fact_kind kind, struct patient *patient)
{
	struct device *found[FOUND_MAX];
	uint32_t count = find(act, found);
	bool changed = false, known = begins(act, device);

	if (known) {
		found[0] = device;
		count = 1;
	}
	for (uint32_t i = 0; i < count; i++) {
		if (!begins(act, found[i]) || found[i]->facts.count >= DEVICE_FACTS_MAX)
			continue;
		known |= kind != FACT_END;
		if (!gw_act_add_device_fact(act, found[i], kind, act->event->time_us, patient, gw_span(NULL, 0)))
			continue;
		gw_act_derive_device(act, found[i]);
		changed = true;
	}
	if (!known && gw_act_add_device_fact(act, device, kind, act->event->time_us, patient, gw_span(NULL, 0))) {
		gw_act_derive_device(act, device);
		changed = true;
	}
	return changed;
}

bool
gw_act_began(const struct act *act)
{
	struct device *found[FOUND_MAX];
	uint32_t count = find(act, found);

	for (uint32_t i = 0; i < count; i++) {
		if (begins(act, found[i]))
			return true;
	}
	return false;
}
