// SPDX-License-Identifier: Apache-2.0
// Forgetting: a few patients and devices with every event, so that what makes the model grow also makes it shrink. Under both locks of
// gateway/patients_internal.h.
#include "gateway/patients_internal.h"

#include <stdlib.h>

#define SWEEP_PATIENTS 4 // looked at with each event
#define SWEEP_DEVICES 2

static bool
is_there(const void *item, const void *key)
{
	(void)item, (void)key;
	return true;
}

// The beds of the registry's devices, collected once for each change of the registry.
static void
collect_beds(struct gw_patients *patients)
{
	const struct gw_snapshot *snapshot = gw_snapshot_get(patients->registry);
	const struct gw_device *device;
	char name[GW_BED_MAX + 1];

	if (patients->registered_generation != gw_snapshot_generation(snapshot)) {
		free(patients->registered.slots);
		patients->registered = (struct table){ 0 };
		patients->registered_generation = gw_snapshot_generation(snapshot);
		for (size_t i = 0; (device = gw_snapshot_at(snapshot, i)) != NULL; i++) {
			uint64_t hash = gw_patients_hash(patients, gw_span(name, gw_bed_name(gw_span_text(device->bed), name)), gw_span(NULL, 0));

			if (gw_table_find(&patients->registered, hash, is_there, NULL) == NULL && !gw_table_add(&patients->registered, hash, patients))
				patients->registered_generation = 0;
		}
	}
	gw_snapshot_put(snapshot);
}

static bool
has_device(struct gw_patients *patients, const struct bed *bed)
{
	if (bed->placed > 0)
		return true;
	collect_beds(patients);
	return patients->registered_generation == 0 || gw_table_find(&patients->registered, bed->hash, is_there, NULL) != NULL;
}

// Whether nothing of it matters any more: it lies nowhere and has not for as long as is kept. Who never lay anywhere goes after three days. Who was never
// discharged from a bed without devices goes, too: feeds tell of clinics where everybody arrives and nobody leaves.
static bool
expired(struct gw_patients *patients, const struct patient *patient)
{
	const struct line *stays = &patient->stays;

	if (patient->direct > 0 || patient->dirty)
		return false;
	if (stays->count == 0)
		return patient->touched_us < patients->now_us - 72 * HOUR_US || patient->touched_us < patients->horizon_us;
	if (patient->touched_us >= patients->horizon_us || stays->at[stays->count - 1].from_us >= patients->horizon_us)
		return false;
	for (uint32_t i = 0; i < stays->count; i++) {
		const struct interval *stay = &stays->at[i];

		if (stay->to_us >= patients->horizon_us && (stay->to_us != GW_TIME_OPEN || has_device(patients, stay->what)))
			return false;
	}
	return true;
}

static enum gw_error
sweep_patient(struct gw_patients *patients, struct patient *patient, struct gw_ticket *ticket)
{
	enum gw_error error;

	if (patient->members > 0 || !expired(patients, patient) || !expired(patients, gw_patient_root(patient)) ||
	    gw_clash_keeps(patients, gw_patient_root(patient), expired))
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

enum gw_error
gw_patients_sweep(struct gw_patients *patients, struct gw_ticket *ticket)
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
