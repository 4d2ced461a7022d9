// SPDX-License-Identifier: Apache-2.0
// Inside the registry only: rows "device/<id>" as JSON, and snapshots.
#ifndef GW_REGISTRY_ROW_H
#define GW_REGISTRY_ROW_H

#include "gateway/registry.h"

#define GW_DEVICE_ROW_PREFIX "device/"
#define GW_DEVICE_ROW_VERSION 2 // of rows with a rotation; others are written as version 1, which older programs read

// The row as JSON, without terminator; the caller frees it. NULL: out of memory.
char *gw_device_row_write(const struct gw_device *device, size_t *len);
// *device is the caller's to gw_device_fini(), also on error.
enum gw_error gw_device_row_read(struct gw_span row, struct gw_device *device, struct gw_why *why);

// A device shared by the snapshots that hold it.
struct gw_owned {
	atomic_uint references;
	atomic_bool next_used; // the key that takes the other's place was proved
	struct gw_device device;
};
struct gw_owned *gw_owned_new(void); // one reference, empty; NULL: out of memory
struct gw_owned *gw_owned_copy(const struct gw_device *device);
void gw_owned_put(struct gw_owned *owned);

enum { GW_BY_ID, GW_BY_PSK, GW_BY_SUBJECT, GW_BY_USER, GW_BY_COUNT };

// Wakes whoever tends (gw_registry_tend_fd).
void gw_registry_wake(struct gw_registry *registry);

// ---- Rotation of a PSK (gateway/registry_rotate.c) ----

enum gw_error gw_rotation_begin(struct gw_device *device, const struct gw_snapshot *now, struct gw_rotation *rotation, struct gw_why *why);
void gw_rotation_end(struct gw_device *device);

// Open addressing: an index + 1 of a device, 0 for a free place; size is a power of two, at most half full.
struct gw_table {
	uint32_t *places;
	uint32_t mask;
};

struct gw_snapshot {
	atomic_uint references;
	uint64_t generation;
	struct gw_owned **devices; // sorted by id
	size_t count;
	struct gw_table tables[GW_BY_COUNT];
};

// Takes over the references in devices (and the array); sorts it. On error they are all given back. GW_E_EXISTS with words where two share
// an id or a credential.
enum gw_error gw_snapshot_new(struct gw_owned **devices, size_t count, uint64_t generation, struct gw_snapshot **snapshot, struct gw_why *why);
// Index of the first device whose id is not below id.
size_t gw_snapshot_place(const struct gw_snapshot *snapshot, struct gw_span id);

#endif
