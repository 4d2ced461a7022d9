// SPDX-License-Identifier: Apache-2.0
// Which series there are: in memory, all of them. The writer's thread adds; readers look up under the same lock. Hashes are keyed (gw_name_hash), so that
// nobody can choose names that fall together.
#include "gateway/series_internal.h"

#include <stdlib.h>

static size_t
slot_of(uint64_t hash, size_t mask)
{
	return (size_t)(hash >> 20) & mask;
}

struct gw_series_device *
gw_series_device(const struct gw_series_store *store, struct gw_span name)
{
	uint64_t hash = gw_name_hash(name);
	struct gw_series_device *device = store->device_count > 0 ? store->by_device[slot_of(hash, store->device_mask)] : NULL;

	while (device != NULL && (device->hash != hash || !gw_span_equal(gw_span(device->name, device->len), name)))
		device = device->next;
	return device;
}

// Open addressing, at most half full.
static struct gw_series **
key_slot(struct gw_series **slots, size_t mask, const struct gw_series_device *device, uint32_t signal, uint16_t instance)
{
	size_t at = slot_of(gw_series_hash(device->hash, signal, instance), mask);

	while (slots[at] != NULL && (slots[at]->device != device || slots[at]->signal != signal || slots[at]->instance != instance))
		at = (at + 1) & mask;
	return &slots[at];
}

struct gw_series *
gw_series_lookup(const struct gw_series_store *store, const struct gw_series_device *device, uint32_t signal, uint16_t instance)
{
	if (device == NULL || store->series_count == 0)
		return NULL;
	return *key_slot(store->by_key, store->key_mask, device, signal, instance);
}

static bool
grow_devices(struct gw_series_store *store)
{
	size_t mask = store->by_device == NULL ? 255 : store->device_mask * 2 + 1;
	struct gw_series_device **slots, *device, *next;

	if (store->by_device != NULL && store->device_count <= store->device_mask)
		return true;
	if ((slots = calloc(mask + 1, sizeof(struct gw_series_device *))) == NULL)
		return false;
	for (size_t i = 0; store->by_device != NULL && i <= store->device_mask; i++)
		for (device = store->by_device[i]; device != NULL; device = next) {
			next = device->next;
			device->next = slots[slot_of(device->hash, mask)];
			slots[slot_of(device->hash, mask)] = device;
		}
	free(store->by_device);
	store->by_device = slots;
	store->device_mask = mask;
	return true;
}

struct gw_series_device *
gw_series_device_make(struct gw_series_store *store, struct gw_span name)
{
	struct gw_series_device *device = gw_series_device(store, name), **slot;

	if (device != NULL)
		return device;
	if (name.len > GW_ID_MAX || !grow_devices(store) || (device = calloc(1, sizeof(*device))) == NULL)
		return NULL;
	device->hash = gw_name_hash(name);
	device->len = (uint8_t)name.len;
	memcpy(device->name, name.at, name.len);
	slot = &store->by_device[slot_of(device->hash, store->device_mask)];
	device->next = *slot;
	*slot = device;
	store->device_count++;
	return device;
}

static bool
grow_keys(struct gw_series_store *store)
{
	size_t mask = store->by_key == NULL ? 1023 : store->key_mask * 2 + 1;
	struct gw_series **slots;

	if (store->by_key != NULL && (store->series_count + 1) * 2 <= store->key_mask + 1)
		return true;
	if ((slots = calloc(mask + 1, sizeof(struct gw_series *))) == NULL)
		return false;
	for (size_t i = 0; store->by_key != NULL && i <= store->key_mask; i++)
		if (store->by_key[i] != NULL)
			*key_slot(slots, mask, store->by_key[i]->device, store->by_key[i]->signal, store->by_key[i]->instance) = store->by_key[i];
	free(store->by_key);
	store->by_key = slots;
	store->key_mask = mask;
	return true;
}

// By id, with room for `count` and for the list of full tails.
static bool
grow_ids(struct gw_series_store *store, size_t count)
{
	size_t cap = store->series_cap > 0 ? store->series_cap : 1024;
	struct gw_series **series, **full;
	struct gw_latest *newest;

	if (count <= store->series_cap)
		return true;
	while (cap < count)
		cap *= 2;
	if ((series = realloc(store->series, cap * sizeof(struct gw_series *))) == NULL)
		return false;
	store->series = series;
	if ((full = realloc(store->full, cap * sizeof(struct gw_series *))) == NULL)
		return false;
	store->full = full;
	if ((newest = realloc(store->newest, cap * sizeof(*newest))) == NULL)
		return false;
	store->newest = newest;
	memset(newest + store->series_cap, 0, (cap - store->series_cap) * sizeof(*newest));
	memset(series + store->series_cap, 0, (cap - store->series_cap) * sizeof(struct gw_series *));
	store->series_cap = cap;
	return true;
}

bool
gw_series_reserve(struct gw_series_store *store, uint32_t id)
{
	if (!grow_ids(store, id))
		return false;
	store->ids = id > store->ids ? id : store->ids;
	return true;
}

struct gw_series *
gw_series_make(struct gw_series_store *store, struct gw_series_device *device, uint32_t signal, uint16_t instance, uint32_t id)
{
	struct gw_series *series;
	uint32_t number = id != 0 ? id : store->ids + 1;

	if (number == 0 || !grow_keys(store) || !grow_ids(store, number) || (series = calloc(1, sizeof(*series))) == NULL)
		return NULL;
	device->shuffled = device->series != NULL;
	*series = (struct gw_series){ .id = number, .signal = signal, .instance = instance, .device = device, .next = device->series };
	device->series = series;
	*key_slot(store->by_key, store->key_mask, device, signal, instance) = series;
	store->series[number - 1] = series;
	store->series_count++;
	atomic_store_explicit(&store->total_series, store->series_count, memory_order_relaxed);
	if (number > store->ids)
		store->ids = number;
	return series;
}

void
gw_series_table_free(struct gw_series_store *store)
{
	struct gw_series_device *device, *next;

	for (size_t i = 0; i < store->ids; i++)
		if (store->series[i] != NULL) {
			gw_tail_free(&store->series[i]->tail);
			gw_latest_fini(&store->newest[i]);
			free(store->series[i]);
		}
	for (size_t i = 0; store->by_device != NULL && i <= store->device_mask; i++)
		for (device = store->by_device[i]; device != NULL; device = next) {
			next = device->next;
			free(device->clock);
			free(device);
		}
	free(store->series);
	free(store->newest);
	free(store->sorted);
	free(store->full);
	free(store->by_key);
	free(store->by_device);
}

// ---- In order ----

static int
by_name(const void *left, const void *right)
{
	return strcmp((*(struct gw_series_device *const *)left)->name, (*(struct gw_series_device *const *)right)->name);
}

static bool
sort_devices(struct gw_series_store *store)
{
	struct gw_series_device **sorted = realloc(store->sorted, (store->device_count + 1) * sizeof(struct gw_series_device *));

	if (sorted == NULL)
		return false;
	store->sorted = sorted;
	store->sorted_count = 0;
	for (size_t i = 0; store->by_device != NULL && i <= store->device_mask; i++)
		for (struct gw_series_device *device = store->by_device[i]; device != NULL; device = device->next)
			sorted[store->sorted_count++] = device;
	qsort(sorted, store->sorted_count, sizeof(struct gw_series_device *), by_name);
	return true;
}

struct gw_series_device **
gw_series_devices_sorted(struct gw_series_store *store, size_t *count)
{
	struct gw_series_device **copy = malloc((store->device_count + 1) * sizeof(struct gw_series_device *));

	if (copy == NULL || (store->sorted_count != store->device_count && !sort_devices(store))) {
		free(copy);
		return NULL;
	}
	*count = store->sorted_count;
	if (*count > 0)
		memcpy(copy, store->sorted, *count * sizeof(struct gw_series_device *));
	return copy;
}

static int
by_signal(const void *left, const void *right)
{
	const struct gw_series *a = *(struct gw_series *const *)left, *b = *(struct gw_series *const *)right;

	if (a->signal != b->signal)
		return a->signal < b->signal ? -1 : 1;
	return (a->instance > b->instance) - (a->instance < b->instance);
}

static void
sort_series(struct gw_series_device *device)
{
	struct gw_series **all, *series;
	size_t count = 0;

	for (series = device->series; series != NULL; series = series->next)
		count++;
	if ((all = malloc(count * sizeof(struct gw_series *))) == NULL)
		return; // as they came, this time
	count = 0;
	for (series = device->series; series != NULL; series = series->next)
		all[count++] = series;
	qsort(all, count, sizeof(struct gw_series *), by_signal);
	for (size_t i = 0; i < count; i++)
		all[i]->next = i + 1 < count ? all[i + 1] : NULL;
	device->series = all[0];
	device->shuffled = false;
	free(all);
}

struct gw_series *
gw_series_of_device(struct gw_series_device *device)
{
	if (device->shuffled)
		sort_series(device);
	return device->series;
}

// ---- For readers ----

static void
fill(const struct gw_series *series, struct gw_series_info *info)
{
	*info = (struct gw_series_info){ .id = series->id, .signal = series->signal, .instance = series->instance, .waveform = series->waveform };
	memcpy(info->device, series->device->name, sizeof(info->device));
}

bool
gw_series_find(struct gw_series_store *store, struct gw_span device, uint32_t signal, uint16_t instance, struct gw_series_info *info)
{
	struct gw_series *series;

	pthread_mutex_lock(&store->lock);
	series = gw_series_lookup(store, gw_series_device(store, device), signal, instance);
	if (series != NULL)
		fill(series, info);
	pthread_mutex_unlock(&store->lock);
	return series != NULL;
}

// Copies those of a device, or the next of all.
static size_t
copy_infos(struct gw_series_store *store, struct gw_span name, struct gw_series_info *infos, size_t cap, size_t *at)
{
	const struct gw_series_device *device = name.len > 0 ? gw_series_device(store, name) : NULL;
	size_t count = 0, i = 0;

	if (name.len == 0)
		for (; *at < store->ids && count < cap; ++*at)
			if (store->series[*at] != NULL)
				fill(store->series[*at], &infos[count++]);
	for (const struct gw_series *series = device != NULL ? device->series : NULL; series != NULL; series = series->next, i++)
		if (i >= *at && count < cap) {
			fill(series, &infos[count++]);
		}
	if (name.len > 0)
		*at += count;
	return count;
}

#define EACH_COUNT 128

enum gw_error
gw_series_each(struct gw_series_store *store, struct gw_span device, gw_series_fn *fn, void *arg)
{
	struct gw_series_info *infos = malloc(EACH_COUNT * sizeof(*infos));
	size_t at = 0, count;
	bool more = true;

	if (infos == NULL)
		return GW_E_MEMORY;
	do {
		pthread_mutex_lock(&store->lock);
		count = copy_infos(store, device, infos, EACH_COUNT, &at);
		pthread_mutex_unlock(&store->lock);
		for (size_t i = 0; more && i < count; i++)
			more = fn(arg, &infos[i]);
	} while (more && count == EACH_COUNT);
	free(infos);
	return GW_OK;
}
