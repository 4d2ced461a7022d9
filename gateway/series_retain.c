// SPDX-License-Identifier: Apache-2.0
// What goes by age and under pressure: whole chunks, in pieces, on the outlet's thread. On request: gateway/series_erase.c.
//
// A sweep goes from series to series and looks at their chunks from the front as far as device times are old, and from the back as long as they lie in the
// future (device clocks may say anything). Whether a chunk goes is decided by when it was filed, by the store's clock.
#include "gateway/series_rollup.h"

#define PIECE_SERIES 2048
#define PIECE_CHUNKS 2000
#define FOREVER_US (INT64_C(20) * 365 * 86400 * 1000000) // under pressure nothing is kept for ever: it counts as this
#define SHORTER (31.0 / 32) // of what a sweep left, under pressure
#define FUTURE_US INT64_C(86400000000)

struct sweep {
	struct gw_series_store *store;
	MDB_cursor *cursor;
	int64_t keep_us;   // of this series' class
	size_t deleted;
};

// How much of its time a chunk has had.
static double
used_up(const struct sweep *sweep, const struct gw_filed *filed)
{
	double keep_us = (double)(sweep->keep_us > 0 ? sweep->keep_us : FOREVER_US);

	return (double)(sweep->store->clock_us - filed->filed_us) / keep_us;
}

static bool
may_go(const struct sweep *sweep, const struct gw_filed *filed)
{
	double used = used_up(sweep, filed);

	return used >= sweep->store->sweep_limit && (sweep->keep_us > 0 || sweep->store->sweep_limit < 1);
}

// What stays says how old the oldest is.
static void
note_stays(struct sweep *sweep, const struct gw_filed *filed)
{
	struct gw_series_store *store = sweep->store;
	double used = used_up(sweep, filed);

	if (used > store->sweep_worst) {
		store->sweep_worst = used;
		store->sweep_worst_us = store->clock_us - filed->filed_us;
	}
	if (store->sweep_oldest_us == 0 || filed->filed_us < store->sweep_oldest_us)
		store->sweep_oldest_us = filed->filed_us;
}

static enum gw_error
look_at(struct sweep *sweep, MDB_val key, MDB_val value, struct gw_filed *filed, bool *gone)
{
	enum gw_error error;

	*gone = false;
	// A damaged head tells no age: the device's time has to do, twice as long.
	if (!gw_filed_get(key, value, filed))
		*gone = sweep->keep_us > 0 && filed->first.time_us < sweep->store->clock_us - 2 * sweep->keep_us;
	else if (!(*gone = may_go(sweep, filed)))
		note_stays(sweep, filed);
	if (!*gone)
		return GW_OK;
	sweep->deleted++;
	gw_rollup_touch(sweep->store, filed->first.time_us, filed->last.time_us);
	if ((error = gw_series_delete(sweep->store, sweep->cursor, filed)) == GW_OK)
		atomic_fetch_add_explicit(&sweep->store->deleted, 1, memory_order_relaxed);
	return error;
}

static bool
is_of(MDB_val key, uint32_t id)
{
	return key.mv_size == GW_CHUNK_KEY && gw_chunk_key_id(key.mv_data) == id;
}

static enum gw_error
sweep_front(struct sweep *sweep, const struct gw_series *series)
{
	int64_t before_us = sweep->store->clock_us - (sweep->keep_us > 0 ? sweep->keep_us : FOREVER_US);
	struct gw_filed filed = { 0 };
	enum gw_error error = GW_OK;
	MDB_val key, value;
	bool gone = false;
	int rc = gw_series_seek(sweep->cursor, series->id, (struct gw_place){ INT64_MIN, 0, 0 }, &key, &value);

	while (rc == 0 && error == GW_OK && is_of(key, series->id) && sweep->deleted < PIECE_CHUNKS) {
		filed = (struct gw_filed){ 0 };
		if ((error = look_at(sweep, key, value, &filed, &gone)) != GW_OK || (!gone && filed.first.time_us >= before_us))
			break;
		rc = mdb_cursor_get(sweep->cursor, &key, &value, MDB_NEXT);
	}
	return error != GW_OK || rc == MDB_NOTFOUND ? error : gw_series_error(rc);
}

static enum gw_error
sweep_back(struct sweep *sweep, const struct gw_series *series)
{
	static const struct gw_place end = { INT64_MAX, UINT32_MAX, UINT16_MAX };
	struct gw_filed filed = { 0 };
	enum gw_error error = GW_OK;
	MDB_val key, value;
	bool gone = false;
	int rc = gw_series_seek(sweep->cursor, series->id, end, &key, &value);

	while (rc == 0 && error == GW_OK && is_of(key, series->id) && sweep->deleted < PIECE_CHUNKS &&
	    gw_chunk_key_place(key.mv_data).time_us > sweep->store->clock_us + FUTURE_US) {
		struct gw_place at = gw_chunk_key_place(key.mv_data);

		filed = (struct gw_filed){ 0 };
		if ((error = look_at(sweep, key, value, &filed, &gone)) != GW_OK)
			break;
		rc = gone ? gw_series_seek(sweep->cursor, series->id, at, &key, &value) : mdb_cursor_get(sweep->cursor, &key, &value, MDB_PREV);
	}
	return error != GW_OK || rc == MDB_NOTFOUND ? error : gw_series_error(rc);
}

void
gw_series_forget(struct gw_series_store *store, struct gw_series *series)
{
	pthread_mutex_lock(&store->lock);
	series->looked = series->disk_known = false;
	gw_latest_forget(store, series);
	pthread_mutex_unlock(&store->lock);
}

static void
forget_old(struct gw_series_store *store, struct gw_series *series)
{
	pthread_mutex_lock(&store->lock);
	series->looked = series->disk_known = false;
	gw_latest_forget_old(store, series);
	pthread_mutex_unlock(&store->lock);
}

static enum gw_error
sweep_series(struct sweep *sweep, struct gw_series *series, const struct gw_series_retention *retention)
{
	size_t before = sweep->deleted;
	enum gw_error error;

	sweep->keep_us = series->waveform ? retention->waveforms_us : retention->numerics_us;
	if ((error = sweep_front(sweep, series)) == GW_OK)
		error = sweep_back(sweep, series);
	if (error == GW_OK) // what is left of a block is summed up from the readings, or from finer ones
		error = gw_rollup_settle(sweep->store, series, 0);
	if (sweep->deleted > before)
		forget_old(sweep->store, series);
	if (sweep->deleted > before && error == GW_OK)
		error = gw_series_clock_left(sweep->store, series->device);
	return error;
}

static void
begin_sweep(struct gw_series_store *store, const struct gw_series_retention *retention)
{
	double worst = store->sweep_worst;
	// What the last sweep saw has grown older since: where that matters this one only looks, and the next deletes.
	bool stale = store->clock_us - store->sweep_ended_us > store->sweep_worst_us / 64;

	atomic_store_explicit(&store->oldest_us, store->sweep_oldest_us, memory_order_relaxed);
	store->sweep_at = 0;
	store->clocks_keep_us = retention->numerics_us > retention->waveforms_us ? retention->numerics_us : retention->waveforms_us;
	if (retention->numerics_us == 0 || retention->waveforms_us == 0)
		store->clocks_keep_us = 0;
	store->sweep_worst = 0;
	store->sweep_oldest_us = 0;
	store->sweep_limit = 1;
	if (gw_series_pressure(store) && !stale && worst > 0 && worst * SHORTER < 1)
		store->sweep_limit = worst * SHORTER;
}

static enum gw_error
sweep_piece(struct sweep *sweep, const struct gw_series_retention *retention)
{
	struct gw_series_store *store = sweep->store;
	enum gw_error error = gw_series_error(mdb_cursor_open(store->txn, store->tables[GW_S_CHUNKS], &sweep->cursor));
	size_t end = store->sweep_at + PIECE_SERIES;

	if (error != GW_OK)
		return error;
	for (; store->sweep_at < store->ids && store->sweep_at < end && sweep->deleted < PIECE_CHUNKS && error == GW_OK; store->sweep_at++) {
		struct gw_series *series = store->series[store->sweep_at];

		if (series != NULL && series->stored)
			error = sweep_series(sweep, series, retention);
		if (sweep->deleted >= PIECE_CHUNKS)
			break; // the same again
	}
	mdb_cursor_close(sweep->cursor);
	return error;
}

enum gw_error
gw_series_retain(struct gw_series_store *store, const struct gw_series_retention *retention, bool *more)
{
	struct sweep sweep = { .store = store };
	enum gw_error error;

	*more = false;
	pthread_mutex_lock(&store->write);
	(void)gw_series_tick(store);
	if (store->sweep_at == 0)
		begin_sweep(store, retention);
	if ((error = gw_series_begin(store)) == GW_OK) {
		error = sweep_piece(&sweep, retention);
		store->error = error;
		if (error == GW_OK && sweep.deleted == 0)
			gw_series_abort(store);
		else
			error = gw_series_commit(store, store->cursor);
		if (sweep.deleted > 0)
			store->counted_us = 0; // more is free than was counted: the next sweep must not take it for full
	}
	if ((*more = store->sweep_at < store->ids) == false) {
		store->sweep_at = 0;
		store->sweep_ended_us = store->clock_us;
	}
	pthread_mutex_unlock(&store->write);
	return error;
}
