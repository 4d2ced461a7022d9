// SPDX-License-Identifier: Apache-2.0
// Putting readings into chunks past the journal (gateway/series_mend.h): a batch is one transaction with `write` held.
#include "gateway/series_mend.h"
#include "gateway/series_rollup.h"

#include <stdlib.h>

#define BATCH_BYTES (4u << 20)
#define BATCH_PUTS 1024

struct gw_adopt {
	struct gw_series_store *store;
	bool open;                        // a transaction, with `write`
	uint64_t added, readings_before;
	struct gw_series *touched[BATCH_PUTS];
	size_t touched_count;
};

enum gw_error
gw_adopt_begin(struct gw_series_store *store, struct gw_adopt **out)
{
	*out = calloc(1, sizeof(**out));
	if (*out == NULL)
		return GW_E_MEMORY;
	(*out)->store = store;
	return store->options.read_only ? GW_E_ARGUMENT : GW_OK;
}

static enum gw_error
open_batch(struct gw_adopt *adopt)
{
	struct gw_series_store *store = adopt->store;
	enum gw_error error;

	if (adopt->open)
		return GW_OK;
	pthread_mutex_lock(&store->write);
	(void)gw_series_tick(store);
	if ((error = gw_series_room(store, BATCH_BYTES)) == GW_OK)
		error = gw_series_begin(store);
	if (error != GW_OK) {
		pthread_mutex_unlock(&store->write);
		return error;
	}
	adopt->open = true;
	adopt->readings_before = store->totals.readings;
	store->replaced = 0;
	adopt->touched_count = 0;
	return GW_OK;
}

static enum gw_error
end_batch(struct gw_adopt *adopt, enum gw_error error)
{
	struct gw_series_store *store = adopt->store;

	if (!adopt->open)
		return error;
	adopt->open = false;
	store->error = error;
	if (error == GW_OK && store->put_bytes == 0) {
		gw_series_abort(store); // all of it was there
	} else {
		uint64_t readings = store->totals.readings + store->replaced;

		error = gw_series_commit(store, store->cursor);
		adopt->added += error == GW_OK && readings > adopt->readings_before ? readings - adopt->readings_before : 0;
		for (size_t i = 0; i < adopt->touched_count; i++) {
			adopt->touched[i]->stored |= error == GW_OK;
			gw_series_forget(store, adopt->touched[i]);
		}
	}
	pthread_mutex_unlock(&store->write);
	return error;
}

static struct gw_series *
find_or_make(struct gw_series_store *store, const struct gw_series_info *info)
{
	struct gw_series_device *device;
	struct gw_series *series = NULL;

	pthread_mutex_lock(&store->lock);
	device = gw_series_device_make(store, gw_span_text(info->device));
	if (device != NULL && (series = gw_series_lookup(store, device, info->signal, info->instance)) == NULL &&
	    (series = gw_series_make(store, device, info->signal, info->instance, 0)) != NULL) {
		series->waveform = info->waveform;
		series->due = GW_CHUNK_POINTS_MAX / 2;
	}
	pthread_mutex_unlock(&store->lock);
	return series;
}

static enum gw_error
put(struct gw_adopt *adopt, const struct gw_series_info *info, const struct gw_point *points, size_t count)
{
	struct gw_series_store *store = adopt->store;
	struct gw_series *series = find_or_make(store, info);
	size_t put_before = store->put_bytes;
	enum gw_error error;

	if (series == NULL)
		return GW_E_MEMORY;
	if ((error = gw_rollup_touch_newest(store, series)) == GW_OK && (error = gw_series_put_late(store, series, points, count)) == GW_OK)
		error = gw_rollup_settle(store, series, count);
	if (error != GW_OK || store->put_bytes == put_before)
		return error;
	adopt->touched[adopt->touched_count++] = series;
	return series->stored ? GW_OK : gw_series_row_put(store, store->txn, series);
}

enum gw_error
gw_adopt_put(struct gw_adopt *adopt, const struct gw_series_info *series, const struct gw_point *points, size_t count, int64_t filed_us)
{
	struct gw_series_store *store = adopt->store;
	enum gw_error error;

	if (count == 0)
		return GW_OK;
	if ((error = open_batch(adopt)) != GW_OK)
		return error;
	store->filing_us = filed_us;
	error = put(adopt, series, points, count);
	store->filing_us = 0;
	if (error != GW_OK || store->put_bytes >= BATCH_BYTES || adopt->touched_count == BATCH_PUTS)
		return end_batch(adopt, error);
	return GW_OK;
}

enum gw_error
gw_adopt_pause(struct gw_adopt *adopt)
{
	return end_batch(adopt, GW_OK);
}

void
gw_adopt_drop(struct gw_adopt *adopt, uint64_t *added)
{
	if (adopt != NULL)
		*added += adopt->added;
	free(adopt);
}

enum gw_error
gw_adopt_end(struct gw_adopt *adopt, uint64_t *added)
{
	enum gw_error error;

	if (adopt == NULL)
		return GW_E_MEMORY;
	error = end_batch(adopt, GW_OK);
	*added += adopt->added;
	free(adopt);
	return error;
}
