// SPDX-License-Identifier: Apache-2.0
// The newest reading of each series of a device, a bed, a ward or all. The caller's thread.
#include "gateway/series_whose.h"

#include "gateway/clock.h"

#include <stdlib.h>
#include <string.h>

#define EXPECTED 32 // series that are looked at together

struct latest {
	struct gw_series_store *store;
	struct gw_patients *patients;
	struct gw_series_infos series;
	struct gw_series_whose whose; // where a bed is asked about
	struct gw_series_value value;
	struct gw_owner owner;        // of the device of the series before
	char device[GW_ID_MAX + 1];
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

static enum gw_error
list(struct latest *latest, struct gw_registry *registry, const struct gw_series_latest *want)
{
	struct gw_series_devices devices = { 0 };
	int64_t now_us = gw_clock_wall_us();
	enum gw_error error = GW_OK;

	latest->series.signals = want->signals;
	if (want->bed.len > 0)
		error = gw_series_devices_of_bed(&devices, latest->patients, want->bed, now_us, now_us + 1);
	else if (want->ward.len > 0)
		error = devices_of_ward(latest, registry, want->ward, &devices);
	else
		error = gw_series_infos_add(&latest->series, latest->store, want->device);
	gw_series_devices_sort(&devices);
	for (size_t i = 0; i < devices.count && error == GW_OK; i++)
		error = gw_series_infos_add(&latest->series, latest->store, gw_span_text(devices.at[i]));
	free(devices.at);
	gw_series_infos_sort(&latest->series);
	return error;
}

static enum gw_error
give(struct latest *latest, bool unsure, gw_series_latest_fn *fn, void *arg, uint64_t *left_out)
{
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < latest->series.count && error == GW_OK; i++) {
		const struct gw_series_info *info = &latest->series.at[i];
		enum gw_belongs belongs;

		if (i % EXPECTED == 0)
			gw_series_expect(latest->store, info, latest->series.count - i < EXPECTED ? latest->series.count - i : EXPECTED);
		if ((error = gw_series_last(latest->store, info->id, &latest->value)) == GW_OK) {
			belongs = gw_series_belongs(&latest->whose, info->device, &latest->value.point);
			if (belongs == GW_BELONGS_UNSURE && !unsure)
				++*left_out;
			else if (belongs != GW_BELONGS_NOT && !fn(arg, info, &latest->value.point, bed_of(latest, info->device), belongs == GW_BELONGS_UNSURE))
				break;
		} else if (error == GW_E_NOT_FOUND)
			error = GW_OK;
	}
	return error;
}

enum gw_error
gw_series_latest(struct gw_series_store *store, struct gw_patients *patients, struct gw_registry *registry, const struct gw_series_latest *want,
    gw_series_latest_fn *fn, void *arg, uint64_t *left_out, struct gw_why *why)
{
	struct latest latest = { .store = store, .patients = patients, .whose = { .patients = patients, .store = store } };
	enum gw_error error = gw_series_signals_check(want->signals, why);

	*left_out = 0;
	if (error != GW_OK)
		return error;
	if ((want->device.len > 0) + (want->bed.len > 0) + (want->ward.len > 0) > 1)
		return gw_fail(why, GW_E_ARGUMENT, "one of a device, a bed and a ward");
	if (want->bed.len > 0 && gw_bed_name(want->bed, latest.whose.bed) > GW_BED_MAX)
		return gw_fail(why, GW_E_ARGUMENT, "a bed's name has at most %d bytes", GW_BED_MAX);
	if ((error = list(&latest, registry, want)) == GW_OK)
		error = give(&latest, want->unsure, fn, arg, left_out);
	gw_series_value_free(&latest.value);
	free(latest.series.at);
	return error == GW_OK ? GW_OK : gw_fail(why, error, "the series cannot be read: %s", gw_error_text(error));
}
