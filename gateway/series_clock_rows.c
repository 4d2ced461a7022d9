// SPDX-License-Identifier: Apache-2.0
// Histories of devices' clocks in the series store: in memory with the device, and in the table `clocks`. The writer's thread; readers copy.
//
// A row is written by the commit whose cursor passes a record that the row does not know: about as often as a device's tails are. What came later is measured
// again from the journal after a restart, with the same result.
#include "gateway/diag.h"
#include "gateway/series_internal.h"

#include <stdlib.h>

#define DAY_US INT64_C(86400000000)
#define CRC_BYTES 4
#define ROW_MAX (CRC_BYTES + GW_CLOCK_HISTORY_BYTES)

// LMDB puts longer ones on pages of their own: key, row and its node's head are to stay below half a page of 4,096 bytes.
_Static_assert(ROW_MAX + GW_ID_MAX + 8 <= 2036, "a row lies in a leaf");

static uint32_t
row_crc(MDB_val key, const uint8_t *row, size_t len)
{
	return gw_crc32c(gw_crc32c(0, key.mv_data, key.mv_size), row + CRC_BYTES, len - CRC_BYTES);
}

enum gw_error
gw_series_clock_row(MDB_val key, MDB_val value, struct gw_clock_history *history, uint64_t *incarnation)
{
	const uint8_t *row = value.mv_data;

	if (key.mv_size > GW_ID_MAX || value.mv_size < CRC_BYTES || gw_get32(row) != row_crc(key, row, value.mv_size))
		return GW_E_CORRUPT;
	return gw_clock_history_load(gw_span(row + CRC_BYTES, value.mv_size - CRC_BYTES), history, incarnation);
}

// ---- Loading ----

static enum gw_error
load_row(struct gw_series_store *store, MDB_val key, MDB_val value)
{
	struct gw_series_device *device;
	uint64_t incarnation;
	enum gw_error error;

	if (key.mv_size > GW_ID_MAX)
		return GW_E_CORRUPT;
	if ((device = gw_series_device_make(store, gw_span(key.mv_data, key.mv_size))) == NULL)
		return GW_E_MEMORY;
	if (device->clock == NULL && (device->clock = malloc(sizeof(*device->clock))) == NULL)
		return GW_E_MEMORY;
	if ((error = gw_series_clock_row(key, value, device->clock, &incarnation)) != GW_OK) {
		free(device->clock);
		device->clock = NULL;
		return error;
	}
	if (incarnation != store->incarnation)
		gw_clock_history_again(device->clock);
	return GW_OK;
}

enum gw_error
gw_series_clocks_load(struct gw_series_store *store, MDB_txn *txn)
{
	enum gw_error error = GW_OK;
	MDB_cursor *cursor;
	MDB_val key, value;
	int rc;

	if (store->tables[GW_S_CLOCKS] == GW_SERIES_NO_TABLE)
		return GW_OK;
	if ((rc = mdb_cursor_open(txn, store->tables[GW_S_CLOCKS], &cursor)) != 0)
		return gw_series_error(rc);
	while (error == GW_OK && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
		if ((error = load_row(store, key, value)) != GW_E_CORRUPT && error != GW_E_VERSION)
			continue;
		gw_diag(GW_ERROR, "series.clock", "device=%.*s: the history of its clock cannot be read: %s: it begins anew",
		    (int)(key.mv_size <= GW_ID_MAX ? key.mv_size : 0), (const char *)key.mv_data, gw_error_text(error));
		error = GW_OK;
	}
	mdb_cursor_close(cursor);
	return error != GW_OK || rc == MDB_NOTFOUND ? error : gw_series_error(rc);
}

// ---- Measuring ----

enum gw_error
gw_series_clock_take(struct gw_series_device *device, const struct gw_record *record, int64_t newest_us)
{
	if (newest_us == GW_CLOCK_NO_TIME)
		return GW_OK;
	if (device->clock == NULL && (device->clock = calloc(1, sizeof(*device->clock))) == NULL)
		return GW_E_MEMORY;
	gw_clock_history_take(device->clock, record->position, record->received_us, newest_us);
	return GW_OK;
}

void
gw_series_clocks_again(struct gw_series_store *store)
{
	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; store->by_device != NULL && i <= store->device_mask; i++)
		for (struct gw_series_device *device = store->by_device[i]; device != NULL; device = device->next)
			if (device->clock != NULL)
				gw_clock_history_again(device->clock);
	pthread_mutex_unlock(&store->lock);
}

// ---- Rows ----

static bool
is_due(const struct gw_series_device *device, uint64_t cursor)
{
	return device->clock != NULL && !device->clock_leaves && device->clock->unsaved != 0 && device->clock->unsaved <= cursor;
}

static enum gw_error
put_row(struct gw_series_store *store, struct gw_series_device *device)
{
	uint8_t row[ROW_MAX];
	MDB_val key = gw_series_val(device->name, device->len), value = gw_series_val(row, CRC_BYTES);

	if (store->clocks_keep_us > 0) {
		pthread_mutex_lock(&store->lock);
		gw_clock_history_trim(device->clock, store->clock_us - store->clocks_keep_us - DAY_US);
		pthread_mutex_unlock(&store->lock);
	}
	value.mv_size += gw_clock_history_save(device->clock, store->incarnation, row + CRC_BYTES);
	gw_put32(row, row_crc(key, row, value.mv_size));
	store->put_bytes += value.mv_size + 128;
	return gw_series_error(mdb_put(store->txn, store->tables[GW_S_CLOCKS], &key, &value, 0));
}

enum gw_error
gw_series_clocks_put(struct gw_series_store *store, uint64_t cursor)
{
	enum gw_error error = GW_OK;

	for (size_t i = 0; store->by_device != NULL && i <= store->device_mask && error == GW_OK; i++)
		for (struct gw_series_device *device = store->by_device[i]; device != NULL && error == GW_OK; device = device->next)
			if (is_due(device, cursor))
				error = put_row(store, device);
	return error;
}

static void
forget(struct gw_series_store *store, struct gw_series_device *device)
{
	pthread_mutex_lock(&store->lock);
	free(device->clock);
	device->clock = NULL;
	device->clock_leaves = false;
	pthread_mutex_unlock(&store->lock);
}

void
gw_series_clocks_saved(struct gw_series_store *store, uint64_t cursor)
{
	for (size_t i = 0; store->by_device != NULL && i <= store->device_mask; i++)
		for (struct gw_series_device *device = store->by_device[i]; device != NULL; device = device->next)
			if (device->clock_leaves)
				forget(store, device);
			else if (is_due(device, cursor))
				device->clock->unsaved = 0;
}

void
gw_series_clocks_stay(struct gw_series_store *store)
{
	for (size_t i = 0; store->by_device != NULL && i <= store->device_mask; i++)
		for (struct gw_series_device *device = store->by_device[i]; device != NULL; device = device->next)
			device->clock_leaves = false;
}

static enum gw_error
has_any(struct gw_series_store *store, const struct gw_series_device *device, bool *any)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	int rc = mdb_cursor_open(store->txn, store->tables[GW_S_CHUNKS], &cursor);

	*any = true;
	if (rc != 0)
		return gw_series_error(rc);
	rc = MDB_NOTFOUND;
	for (const struct gw_series *series = device->series; series != NULL && rc == MDB_NOTFOUND; series = series->next)
		rc = series->tail.count > 0 ? 0 : gw_series_seek(cursor, series->id, (struct gw_place){ INT64_MIN, 0, 0 }, &key, &value);
	mdb_cursor_close(cursor);
	*any = rc != MDB_NOTFOUND;
	return rc == 0 || rc == MDB_NOTFOUND ? GW_OK : gw_series_error(rc);
}

enum gw_error
gw_series_clock_left(struct gw_series_store *store, struct gw_series_device *device)
{
	MDB_val key = gw_series_val(device->name, device->len);
	enum gw_error error = GW_OK;
	bool any = true;
	int rc;

	if (device->clock == NULL || (error = has_any(store, device, &any)) != GW_OK || any)
		return error;
	device->clock_leaves = true;
	rc = mdb_del(store->txn, store->tables[GW_S_CLOCKS], &key, NULL);
	return rc == MDB_NOTFOUND ? GW_OK : gw_series_error(rc);
}

// ---- For readers ----

bool
gw_series_clock(struct gw_series_store *store, struct gw_span name, struct gw_clock_pieces *pieces)
{
	const struct gw_series_device *device;

	pieces->count = 0;
	pieces->most_us = pieces->now_us = INT64_MAX;
	pthread_mutex_lock(&store->lock);
	if ((device = gw_series_device(store, name)) != NULL && device->clock != NULL)
		gw_clock_history_copy(device->clock, pieces);
	pthread_mutex_unlock(&store->lock);
	return pieces->count > 0;
}
