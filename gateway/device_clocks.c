// SPDX-License-Identifier: Apache-2.0
// Figures of devices' clocks. Sources' threads and commands'. Places are given once and never taken back, so finding one needs no lock: a slot of the index is
// published after its place is filled. A place's figures are guarded by its own flag, which nobody waits for but a person's command.
#include "gateway/device_clocks.h"

#include "gateway/hash.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#define SLOTS (2 * GW_DEVICE_CLOCKS_MAX) // never more than half full
#define TRIES 10000

struct place {
	uint64_t name; // its hash: names are the registry's, not strangers'
	atomic_flag busy;
	struct gw_device_clock clock;
};

struct gw_device_clocks {
	_Atomic uint16_t index[SLOTS]; // 1 and up: the place before it
	pthread_mutex_t adding;        // guards count
	size_t count;
	struct place places[GW_DEVICE_CLOCKS_MAX]; // touched as they are given
};

_Static_assert(GW_DEVICE_CLOCKS_MAX < UINT16_MAX, "places are told by 16 bits");

struct gw_device_clocks *
gw_device_clocks_new(void)
{
	struct gw_device_clocks *clocks = calloc(1, sizeof(*clocks));

	if (clocks != NULL)
		pthread_mutex_init(&clocks->adding, NULL);
	return clocks;
}

void
gw_device_clocks_free(struct gw_device_clocks *clocks)
{
	if (clocks == NULL)
		return;
	pthread_mutex_destroy(&clocks->adding);
	free(clocks);
}

// The name's place, or NULL and the free slot where it would stand.
static struct place *
find(struct gw_device_clocks *clocks, uint64_t name, size_t *slot)
{
	uint16_t at;

	for (*slot = name % SLOTS; (at = atomic_load_explicit(&clocks->index[*slot], memory_order_acquire)) != 0; *slot = (*slot + 1) % SLOTS)
		if (clocks->places[at - 1].name == name)
			return &clocks->places[at - 1];
	return NULL;
}

static struct place *
add(struct gw_device_clocks *clocks, uint64_t name)
{
	struct place *place;
	size_t slot;

	pthread_mutex_lock(&clocks->adding);
	place = find(clocks, name, &slot);
	if (place == NULL && clocks->count < GW_DEVICE_CLOCKS_MAX) {
		place = &clocks->places[clocks->count++];
		place->name = name;
		atomic_flag_clear(&place->busy);
		atomic_store_explicit(&clocks->index[slot], (uint16_t)clocks->count, memory_order_release);
	}
	pthread_mutex_unlock(&clocks->adding);
	return place;
}

void
gw_device_clocks_take(struct gw_device_clocks *clocks, struct gw_span device, int64_t received_us, const struct gw_reading *readings, size_t count)
{
	int64_t newest_us = gw_device_clock_newest(readings, count);
	struct gw_clock_view view;
	struct place *place;
	uint64_t name;
	size_t slot;

	if (newest_us == GW_CLOCK_NO_TIME)
		return;
	name = gw_hash_bytes(0, device);
	if ((place = find(clocks, name, &slot)) == NULL && (place = add(clocks, name)) == NULL)
		return;
	if (atomic_flag_test_and_set_explicit(&place->busy, memory_order_acquire))
		return;
	gw_device_clock_take(&place->clock, received_us, newest_us, &view);
	atomic_flag_clear_explicit(&place->busy, memory_order_release);
}

bool
gw_device_clocks_shown(struct gw_device_clocks *clocks, struct gw_span device, struct gw_clock_shown *shown)
{
	size_t slot;
	struct place *place = find(clocks, gw_hash_bytes(0, device), &slot);

	for (unsigned i = 0; place != NULL && i < TRIES; i++, sched_yield()) {
		if (atomic_flag_test_and_set_explicit(&place->busy, memory_order_acquire))
			continue;
		gw_device_clock_shown(&place->clock, shown);
		atomic_flag_clear_explicit(&place->busy, memory_order_release);
		return true;
	}
	return false;
}
