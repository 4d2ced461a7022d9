// SPDX-License-Identifier: Apache-2.0
// Which devices an export of a ward, or of everything, is about. The caller's thread.
#include "gateway/export_run.h"
#include "gateway/series_whose.h"

#include "gateway/clock.h"

#include <stdlib.h>

struct found {
	struct gw_series_devices devices;
	enum gw_error error;
};

// gw_series_each: those of one device mostly come one after the other.
static bool
add_of_series(void *arg, const struct gw_series_info *info)
{
	struct found *found = arg;
	struct gw_series_devices *devices = &found->devices;

	if (devices->count == 0 || strcmp(devices->at[devices->count - 1], info->device) != 0)
		found->error = gw_series_devices_add(devices, info->device);
	return found->error == GW_OK;
}

static bool
is_in_ward(struct gw_patients *patients, const struct gw_device *device, struct gw_span ward)
{
	struct gw_owner owner;

	if (gw_span_equal(gw_span_text(device->ward), ward))
		return true;
	if (patients == NULL)
		return false;
	gw_patients_owner(patients, gw_span_text(device->id), gw_clock_wall_us(), 0, &owner);
	return gw_span_equal(gw_span(owner.bed, strcspn(owner.bed, "^")), ward);
}

static enum gw_error
add_of_ward(struct gw_series_devices *devices, struct gw_patients *patients, struct gw_registry *registry, struct gw_span ward)
{
	const struct gw_snapshot *snapshot = gw_snapshot_get(registry);
	const struct gw_device *device;
	enum gw_error error = GW_OK;

	for (size_t i = 0; error == GW_OK && (device = gw_snapshot_at(snapshot, i)) != NULL; i++)
		if (is_in_ward(patients, device, ward))
			error = gw_series_devices_add(devices, device->id);
	gw_snapshot_put(snapshot);
	return error;
}

enum gw_error
gw_export_devices(struct gw_series_store *store, struct gw_patients *patients, struct gw_registry *registry, struct gw_span ward,
    char (**ids)[GW_ID_MAX + 1], size_t *count)
{
	struct found found = { 0 };
	enum gw_error error;

	if (ward.len > 0)
		error = add_of_ward(&found.devices, patients, registry, ward);
	else if ((error = gw_series_each(store, gw_span("", 0), add_of_series, &found)) == GW_OK)
		error = found.error;
	if (error != GW_OK) {
		free(found.devices.at);
		return error;
	}
	gw_series_devices_sort(&found.devices);
	*ids = found.devices.at;
	*count = found.devices.count;
	return GW_OK;
}
