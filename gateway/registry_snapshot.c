// SPDX-License-Identifier: Apache-2.0
// An immutable picture of the registry: devices sorted by id, and a hash table per way of finding one. Built on the thread that makes a change,
// read by any; it goes when its last reference does. Devices are shared between snapshots.
#include "gateway/registry_row.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

struct gw_owned *
gw_owned_new(void)
{
	struct gw_owned *owned = calloc(1, sizeof(*owned));

	if (owned != NULL)
		atomic_init(&owned->references, 1);
	return owned;
}

struct gw_owned *
gw_owned_copy(const struct gw_device *device)
{
	struct gw_owned *owned = gw_owned_new();
	size_t size = device->speaks_for_count * sizeof(*device->speaks_for);

	if (owned == NULL)
		return NULL;
	owned->device = *device;
	atomic_init(&owned->next_used, false);
	owned->device.speaks_for = NULL;
	if (size == 0)
		return owned;
	owned->device.speaks_for = malloc(size);
	if (owned->device.speaks_for == NULL) {
		free(owned);
		return NULL;
	}
	memcpy(owned->device.speaks_for, device->speaks_for, size);
	return owned;
}

void
gw_owned_put(struct gw_owned *owned)
{
	if (owned == NULL || atomic_fetch_sub(&owned->references, 1) != 1)
		return;
	gw_device_fini(&owned->device);
	free(owned);
}

static int
by_id(const void *a, const void *b)
{
	const struct gw_owned *const *left = a, *const *right = b;

	return strcmp((*left)->device.id, (*right)->device.id);
}

static const char *
name_of(const struct gw_device *device, int by)
{
	switch (by) {
	case GW_BY_ID:
		return device->id;
	case GW_BY_PSK:
		return device->psk_identity;
	case GW_BY_SUBJECT:
		return device->subject;
	default:
		return device->user;
	}
}

// A device has up to two PSK identities; one of everything else.
static const char *
second_of(const struct gw_device *device, int by)
{
	return by == GW_BY_PSK ? device->next_identity : "";
}

static const struct gw_device *
find(const struct gw_snapshot *snapshot, int by, struct gw_span name)
{
	const struct gw_table *table = &snapshot->tables[by];

	if (name.len == 0)
		return NULL;
	for (uint32_t at = (uint32_t)gw_name_hash(name) & table->mask; table->places[at] != 0; at = (at + 1) & table->mask) {
		const struct gw_device *device = &snapshot->devices[table->places[at] - 1]->device;

		if (gw_span_is(name, name_of(device, by)) || gw_span_is(name, second_of(device, by)))
			return device;
	}
	return NULL;
}

static enum gw_error
table_add(struct gw_snapshot *snapshot, int by, size_t index, const char *name, struct gw_why *why)
{
	static const char *const words[] = { "id", "PSK identity", "certificate subject", "user" };
	struct gw_table *table = &snapshot->tables[by];
	const struct gw_device *other;
	uint32_t at;

	if (name[0] == '\0')
		return GW_OK;
	if ((other = find(snapshot, by, gw_span_text(name))) != NULL)
		return by == GW_BY_ID ? gw_fail(why, GW_E_EXISTS, "device \"%s\" exists already", name) :
		    gw_fail(why, GW_E_EXISTS, "%s \"%.64s\" belongs to device \"%s\" already", words[by], name,
			other->created_us <= snapshot->devices[index]->device.created_us ? other->id : snapshot->devices[index]->device.id);
	at = (uint32_t)gw_name_hash(gw_span_text(name)) & table->mask;
	while (table->places[at] != 0)
		at = (at + 1) & table->mask;
	table->places[at] = (uint32_t)index + 1;
	return GW_OK;
}

static enum gw_error
table_fill(struct gw_snapshot *snapshot, int by, struct gw_why *why)
{
	struct gw_table *table = &snapshot->tables[by];
	enum gw_error error = GW_OK;
	size_t size = 8;

	while (size < snapshot->count * (by == GW_BY_PSK ? 4 : 2))
		size *= 2;
	table->mask = (uint32_t)size - 1;
	table->places = calloc(size, sizeof(*table->places));
	if (table->places == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	for (size_t i = 0; i < snapshot->count && error == GW_OK; i++)
		if ((error = table_add(snapshot, by, i, name_of(&snapshot->devices[i]->device, by), why)) == GW_OK)
			error = table_add(snapshot, by, i, second_of(&snapshot->devices[i]->device, by), why);
	return error;
}

enum gw_error
gw_snapshot_new(struct gw_owned **devices, size_t count, uint64_t generation, struct gw_snapshot **out, struct gw_why *why)
{
	struct gw_snapshot *snapshot = calloc(1, sizeof(*snapshot));
	enum gw_error error = GW_OK;

	*out = NULL;
	if (snapshot == NULL) {
		for (size_t i = 0; i < count; i++)
			gw_owned_put(devices[i]);
		free(devices);
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	}
	atomic_init(&snapshot->references, 1);
	snapshot->generation = generation;
	snapshot->devices = devices;
	snapshot->count = count;
	if (count > 1)
		qsort(devices, count, sizeof(struct gw_owned *), by_id);
	for (int by = 0; by < GW_BY_COUNT && error == GW_OK; by++)
		error = table_fill(snapshot, by, why);
	if (error == GW_OK)
		*out = snapshot;
	else
		gw_snapshot_put(snapshot);
	return error;
}

void
gw_snapshot_put(const struct gw_snapshot *borrowed)
{
	struct gw_snapshot *snapshot = (struct gw_snapshot *)(uintptr_t)borrowed; // readers see it constant; the count is ours

	if (snapshot == NULL || atomic_fetch_sub(&snapshot->references, 1) != 1)
		return;
	for (size_t i = 0; i < snapshot->count; i++)
		gw_owned_put(snapshot->devices[i]);
	for (int by = 0; by < GW_BY_COUNT; by++)
		free(snapshot->tables[by].places);
	free(snapshot->devices);
	free(snapshot);
}

size_t
gw_snapshot_place(const struct gw_snapshot *snapshot, struct gw_span id)
{
	size_t low = 0, high = snapshot->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const char *at = snapshot->devices[middle]->device.id;
		size_t len = strlen(at), both = len < id.len ? len : id.len;
		int order = memcmp(at, id.at, both);

		if (order < 0 || (order == 0 && len < id.len))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

uint64_t
gw_snapshot_generation(const struct gw_snapshot *snapshot)
{
	return snapshot->generation;
}

const struct gw_device *
gw_snapshot_device(const struct gw_snapshot *snapshot, struct gw_span id)
{
	return find(snapshot, GW_BY_ID, id);
}

const struct gw_device *
gw_snapshot_at(const struct gw_snapshot *snapshot, size_t i)
{
	return i < snapshot->count ? &snapshot->devices[i]->device : NULL;
}

const struct gw_device *
gw_snapshot_by_psk(const struct gw_snapshot *snapshot, struct gw_span identity)
{
	return find(snapshot, GW_BY_PSK, identity);
}

const struct gw_device *
gw_snapshot_by_subject(const struct gw_snapshot *snapshot, struct gw_span subject)
{
	return find(snapshot, GW_BY_SUBJECT, subject);
}

const struct gw_device *
gw_snapshot_by_user(const struct gw_snapshot *snapshot, struct gw_span user)
{
	return find(snapshot, GW_BY_USER, user);
}

bool
gw_snapshot_may_speak(const struct gw_device *principal, const struct gw_device *device)
{
	if (principal == NULL || device == NULL || principal->disabled || device->disabled)
		return false;
	if (strcmp(principal->id, device->id) == 0)
		return true;
	for (size_t i = 0; i < principal->speaks_for_count; i++) {
		if (strcmp(principal->speaks_for[i], device->id) == 0)
			return true;
	}
	return false;
}
