// SPDX-License-Identifier: Apache-2.0
// The newest reading of each series of a device, a bed, a ward or all, as gateway/series_newest.c has them. The caller's thread.
#include "gateway/series_whose.h"

#include "gateway/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct latest {
	struct gw_patients *patients;
	const struct gw_series_latest *want;
	struct gw_series_whose whose; // where a bed is asked about
	struct gw_owner owner;        // of the device of the series before
	char device[GW_ID_MAX + 1];
	gw_series_latest_fn *fn;
	void *arg;
	uint64_t left_out;
};

// Where the device stands now.
static const char *
bed_of(struct latest *latest, const char *device)
{
	if (latest->patients == NULL)
		return "";
	if (strcmp(device, latest->device) != 0) {
		gw_patients_owner(latest->patients, gw_span_text(device), gw_clock_wall_us(), 0, &latest->owner);
		strcpy(latest->device, device);
	}
	return latest->owner.bed;
}

static bool
is_in_ward(struct latest *latest, const struct gw_device *device, struct gw_span ward)
{
	const char *bed;

	if (gw_span_equal(gw_span_text(device->ward), ward))
		return true;
	bed = bed_of(latest, device->id);
	return gw_span_equal(gw_span(bed, strcspn(bed, "^")), ward);
}

static enum gw_error
devices_of_ward(struct latest *latest, struct gw_registry *registry, struct gw_span ward, struct gw_series_devices *devices)
{
	const struct gw_snapshot *snapshot = gw_snapshot_get(registry);
	const struct gw_device *device;
	enum gw_error error = GW_OK;

	for (size_t i = 0; error == GW_OK && (device = gw_snapshot_at(snapshot, i)) != NULL; i++)
		if (is_in_ward(latest, device, ward))
			error = gw_series_devices_add(devices, device->id);
	gw_snapshot_put(snapshot);
	return error;
}

// All devices: none are listed.
static enum gw_error
list(struct latest *latest, struct gw_registry *registry, struct gw_series_devices *devices)
{
	const struct gw_series_latest *want = latest->want;
	int64_t now_us = gw_clock_wall_us();
	char id[GW_ID_MAX + 1];

	if (want->bed.len > 0)
		return gw_series_devices_of_bed(devices, latest->patients, want->bed, now_us, now_us + 1);
	if (want->ward.len > 0)
		return devices_of_ward(latest, registry, want->ward, devices);
	if (want->device.len == 0 || want->device.len > GW_ID_MAX)
		return GW_OK;
	snprintf(id, sizeof(id), "%.*s", (int)want->device.len, (const char *)want->device.at);
	return gw_series_devices_add(devices, id);
}

// gw_series_newest_fn
static bool
give(void *arg, const struct gw_series_info *info, const struct gw_point *point, int64_t taken_us)
{
	struct latest *latest = arg;
	enum gw_belongs belongs;

	if (!gw_series_signal_fits(latest->want->signals, info->signal))
		return true;
	belongs = gw_series_belongs(&latest->whose, info->device, point);
	if (belongs == GW_BELONGS_UNSURE && !latest->want->unsure)
		latest->left_out++;
	else if (belongs != GW_BELONGS_NOT)
		return latest->fn(latest->arg, info, point, taken_us, bed_of(latest, info->device), belongs == GW_BELONGS_UNSURE);
	return true;
}

enum gw_error
gw_series_latest(struct gw_series_store *store, struct gw_patients *patients, struct gw_registry *registry, const struct gw_series_latest *want,
    gw_series_latest_fn *fn, void *arg, uint64_t *left_out, struct gw_why *why)
{
	struct latest latest = { .patients = patients, .want = want, .whose = { .patients = patients, .store = store }, .fn = fn, .arg = arg };
	struct gw_series_devices devices = { 0 };
	bool all = want->device.len + want->bed.len + want->ward.len == 0;
	enum gw_error error = gw_series_signals_check(want->signals, why);

	*left_out = 0;
	if (error != GW_OK)
		return error;
	if ((want->device.len > 0) + (want->bed.len > 0) + (want->ward.len > 0) > 1)
		return gw_fail(why, GW_E_ARGUMENT, "one of a device, a bed and a ward");
	if (want->bed.len > 0 && gw_bed_name(want->bed, latest.whose.bed) > GW_BED_MAX)
		return gw_fail(why, GW_E_ARGUMENT, "a bed's name has at most %d bytes", GW_BED_MAX);
	if ((error = list(&latest, registry, &devices)) == GW_OK && (all || devices.count > 0)) {
		gw_series_devices_sort(&devices);
		error = gw_series_newest(store, all ? NULL : devices.at, devices.count, give, &latest);
	}
	*left_out = latest.left_out;
	free(devices.at);
	return error == GW_OK ? GW_OK : gw_fail(why, error, "the series cannot be read: %s", gw_error_text(error));
}
