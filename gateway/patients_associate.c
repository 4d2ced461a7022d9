// SPDX-License-Identifier: Apache-2.0
// Devices and orders: direct associations, placements, and beds by hand. Under both locks of gateway/patients_internal.h.
#include "gateway/patients_act.h"

#define BED_PATIENTS_MAX 256 // whom one command takes out of a bed

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
	return gw_act_room_for(act, device->facts.count, DEVICE_FACTS_MAX) ? device : NULL;
}

static void
associate_bed(struct act *act, struct patient *patient)
{
	bool ordered = act->event->order.len > 0, changed = gw_act_add_move(act, patient, ordered ? FACT_ORDER : FACT_ADMIT, act->event->time_us, act->bed);

	if (act->until_us != GW_TIME_OPEN)
		changed |= gw_act_add_move(act, patient, ordered ? FACT_ORDER_END : FACT_LEAVE, act->until_us, act->bed);
	if (!changed)
		return;
	gw_act_derive(act, patient);
	gw_act_look_for_clash(act, act->bed);
	act->done = ordered && act->bed.len > 0 && !gw_act_is_in(patient, act->event->time_us, act->bed) ? "order taken; the patient is in another bed" :
	    "associated";
}

static bool
has_room_for_device(struct act *act, const struct device *device)
{
	struct patient *patient = gw_act_known(act, &act->event->person);

	if (device == NULL || patient == NULL || patient->device_count < PATIENT_DEVICES_MAX || gw_patient_devices(patient) < PATIENT_DEVICES_MAX)
		return true;
	for (uint32_t i = 0; i < patient->device_count; i++) {
		if (patient->devices[i] == device)
			return true;
	}
	return gw_act_fails(act, GW_E_QUOTA, "the patient was associated with too many devices within the time that is kept");
}

void
gw_do_associate(struct act *act)
{
	struct device *device = NULL;
	struct patient *patient;
	struct look look;
	bool changed, replaced = false;

	act->done = "associated before";
	if (act->event->device.len == 0 && act->bed.len == 0 && act->event->order.len == 0) {
		(void)gw_act_fails(act, GW_E_ARGUMENT, "which device or bed?");
		return;
	}
	if (act->event->device.len > 0 && (device = device_of(act)) == NULL)
		return;
	if (device != NULL && !gw_act_is_latest(act)) {
		act->done = "a later report of this association is known";
		return;
	}
	if (!has_room_for_device(act, device) || (patient = gw_act_get(act, &act->event->person)) == NULL)
		return;
	if (device == NULL) {
		associate_bed(act, patient);
		return;
	}
	replaced = gw_act_replace(act, device);
	changed = gw_act_add_device_fact(act, device, FACT_BEGIN, act->event->time_us, patient, gw_span(NULL, 0));
	if (act->until_us != GW_TIME_OPEN)
		changed |= gw_act_add_device_fact(act, device, FACT_END, act->until_us, patient, gw_span(NULL, 0));
	if (!changed && !replaced)
		return;
	gw_act_derive_device(act, device);
	gw_line_look(&device->directs, act->event->time_us, &look);
	act->contradiction |= look.clash;
	act->done = replaced ? "associated, in place of what was told of it before" : "associated";
}

static void
end_bed(struct act *act)
{
	struct bed *bed = gw_bed_find(act->patients, act->bed);
	struct patient *patients[BED_PATIENTS_MAX], *patient;
	uint32_t count = 0;

	if (act->event->person.identifier_count > 0) {
		if ((patient = gw_act_get(act, &act->event->person)) != NULL)
			patients[count++] = patient;
	} else {
		for (uint32_t i = 0; bed != NULL && i < bed->stays.count && count < BED_PATIENTS_MAX; i++) {
			if (bed->stays.at[i].from_us < act->event->time_us && bed->stays.at[i].to_us > act->event->time_us)
				patients[count++] = bed->stays.at[i].what;
		}
	}
	act->done = "nobody is in the bed at that time";
	for (uint32_t i = 0; i < count; i++) {
		if (!gw_act_room_for(act, patients[i]->moves.count, FACTS_MAX))
			return;
		act->done = "dissociated before";
	}
	for (uint32_t i = 0; i < count; i++) {
		if (!gw_act_add_move(act, patients[i], FACT_LEAVE, act->event->time_us, act->bed))
			continue;
		gw_act_derive(act, patients[i]);
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
	struct patient *patient = gw_act_get(act, &act->event->person);

	if (patient == NULL)
		return;
	for (uint32_t i = 0; i < patient->device_count; i++) {
		struct device *device = patient->devices[i];

		if (!has_order(act, device) || device->facts.count >= DEVICE_FACTS_MAX)
			continue;
		if (!gw_act_add_device_fact(act, device, FACT_END, act->event->time_us, patient, gw_span(NULL, 0)))
			continue;
		gw_act_derive_device(act, device);
		act->done = "dissociated";
	}
	if (!gw_act_add_move(act, patient, FACT_ORDER_END, act->event->time_us, gw_span(NULL, 0)))
		return;
	gw_act_derive(act, patient);
	act->done = "dissociated";
}

void
gw_do_dissociate(struct act *act)
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
			(void)gw_act_fails(act, GW_E_ARGUMENT, "which device, bed or order?");
		return;
	}
	if ((device = device_of(act)) == NULL)
		return;
	if (act->event->person.identifier_count > 0 && (patient = gw_act_get(act, &act->event->person)) == NULL)
		return;
	if (gw_act_add_report(act, device, FACT_END, patient))
		act->done = "dissociated";
}

// Where nothing is known of the association by its identifier, it ends as it is said to have begun.
void
gw_do_revoke(struct act *act)
{
	struct patient *patient = NULL;
	struct device *device;
	bool began = gw_act_began(act), changed;

	act->done = "told before";
	if (act->event->filler.len == 0) {
		(void)gw_act_fails(act, GW_E_ARGUMENT, "which association?");
		return;
	}
	if ((device = device_of(act)) == NULL)
		return;
	if (act->event->person.identifier_count > 0 && (patient = gw_act_get(act, &act->event->person)) == NULL)
		return;
	changed = gw_act_add_report(act, device, FACT_VOID, NULL);
	act->note[NOTE_FILLER] = gw_span(NULL, 0);
	if (!began && gw_act_add_device_fact(act, device, FACT_END, act->event->time_us, patient, gw_span(NULL, 0))) {
		gw_act_derive_device(act, device);
		changed = true;
	}
	if (changed)
		act->done = "the association never was";
}

void
gw_do_resume(struct act *act)
{
	struct patient *patient;
	struct device *device;

	act->done = "told before";
	if (act->event->filler.len == 0) {
		(void)gw_act_fails(act, GW_E_ARGUMENT, "which association?");
		return;
	}
	if ((device = device_of(act)) == NULL || !has_room_for_device(act, device) || (patient = gw_act_get(act, &act->event->person)) == NULL)
		return;
	if (gw_act_add_report(act, device, FACT_RESUME, patient))
		act->done = "the association goes on";
}

void
gw_do_place(struct act *act)
{
	bool place = act->event->verb == GW_PATIENT_PLACE;
	struct device *device;

	act->done = "so it was told before";
	if (place && act->bed.len == 0) {
		(void)gw_act_fails(act, GW_E_ARGUMENT, "which bed?");
		return;
	}
	if ((device = device_of(act)) == NULL)
		return;
	if (!gw_act_add_device_fact(act, device, place ? FACT_PLACE : FACT_UNPLACE, act->event->time_us, NULL, place ? act->bed : gw_span(NULL, 0)))
		return;
	if (place && act->until_us != GW_TIME_OPEN)
		(void)gw_act_add_device_fact(act, device, FACT_UNPLACE, act->until_us, NULL, gw_span(NULL, 0));
	gw_act_derive_device(act, device);
	act->done = place ? "placed" : "taken from its bed";
}
