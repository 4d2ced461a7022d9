// SPDX-License-Identifier: Apache-2.0
// Looking at all roll-ups: each is what its key says, and what the chunks come to. One block and what it is made of are seen by one transaction. Any thread.
#include "gateway/series_rollup.h"

#include <stdlib.h>

struct verify {
	struct gw_rollup_sum sum;
	struct gw_rollup_block block; // as it is stored
	uint8_t key[GW_ROLLUP_KEY];
	bool any, same;
};

// Sums are rounded on different ways.
static bool
is_near(const struct gw_rollup_row *a, const struct gw_rollup_row *b)
{
	double most = fmax(fabs(a->min), fabs(a->max)) * (double)a->count;

	return a->sum == b->sum || fabs(a->sum - b->sum) <= 1e-9 * most || !isfinite(most);
}

static bool
is_same(const struct gw_rollup_row *a, const struct gw_rollup_row *b)
{
	return a->from_us == b->from_us && a->count == b->count && a->questionable == b->questionable && a->test == b->test && a->first_us == b->first_us &&
	    a->last_us == b->last_us && a->min == b->min && a->max == b->max && a->first == b->first && a->last == b->last && is_near(a, b);
}

static enum gw_error
compare(void *arg, struct gw_rollup_sum *sum)
{
	struct verify *verify = arg;

	verify->same = sum->block.count == verify->block.count;
	for (uint32_t i = 0; i < sum->block.count && verify->same; i++)
		verify->same = is_same(&sum->block.rows[i], &verify->block.rows[i]);
	return GW_OK;
}

// What is wrong with the block; NULL: nothing.
static const char *
look(struct verify *verify, const struct gw_series *series, MDB_val key, MDB_val value, enum gw_error *error)
{
	struct gw_rollup_block *block = &verify->block;

	if (!gw_rollup_decode(key, value, block))
		return "a roll-up does not match its checksum, or cannot be decoded";
	if (series == NULL)
		return "a roll-up belongs to no series";
	verify->same = false;
	*error = gw_rollup_sum(&verify->sum, block->id, block->level, block->from_us, block->from_us + gw_rollup_levels[block->level].block_us);
	// One whose chunk is damaged says what that held.
	return *error != GW_OK || verify->same || verify->sum.damaged ? NULL : "a roll-up is not what its readings come to";
}

static const struct gw_series *
series_of(struct gw_series_store *store, uint32_t id)
{
	const struct gw_series *series;

	pthread_mutex_lock(&store->lock);
	series = id > 0 && id <= store->ids ? store->series[id - 1] : NULL;
	pthread_mutex_unlock(&store->lock);
	return series;
}

static void
report(const struct gw_series *series, int64_t from_us, const char *words, gw_series_damage_fn *fn, void *arg)
{
	struct gw_series_info info = { 0 };

	if (fn == NULL)
		return;
	if (series != NULL) {
		info = (struct gw_series_info){ .id = series->id, .signal = series->signal, .instance = series->instance, .waveform = series->waveform };
		memcpy(info.device, series->device->name, sizeof(info.device));
	}
	fn(arg, &info, from_us, words);
}

// The next one's key and value.
static enum gw_error
find_next(struct verify *verify, MDB_cursor *cursor, MDB_val *key, MDB_val *value)
{
	int rc;

	*key = gw_series_val(verify->key, sizeof(verify->key));
	rc = mdb_cursor_get(cursor, key, value, verify->any ? MDB_SET_RANGE : MDB_FIRST);
	if (rc == 0 && verify->any && key->mv_size == GW_ROLLUP_KEY && memcmp(key->mv_data, verify->key, GW_ROLLUP_KEY) == 0)
		rc = mdb_cursor_get(cursor, key, value, MDB_NEXT);
	if (rc == 0 && (key->mv_size != GW_ROLLUP_KEY || (verify->any && memcmp(key->mv_data, verify->key, GW_ROLLUP_KEY) <= 0)))
		rc = MDB_CORRUPTED;
	if (rc == 0)
		memcpy(verify->key, key->mv_data, GW_ROLLUP_KEY);
	verify->any = true;
	return gw_series_error(rc);
}

static enum gw_error
verify_next(struct verify *verify, MDB_txn *txn, gw_series_damage_fn *fn, void *arg, struct gw_series_verified *verified)
{
	struct gw_series_store *store = verify->sum.store;
	const struct gw_series *series = NULL;
	const char *words = NULL;
	MDB_cursor *cursor;
	MDB_val key, value;
	enum gw_error error = gw_series_error(mdb_cursor_open(txn, store->tables[GW_S_ROLLUPS], &cursor));
	uint32_t id = 0;
	uint8_t level;
	int64_t from_us = 0;

	if (error != GW_OK)
		return error;
	verify->sum.txn = txn;
	if ((error = find_next(verify, cursor, &key, &value)) == GW_OK) {
		if (gw_rollup_key_take(key, &id, &level, &from_us))
			series = series_of(store, id);
		words = look(verify, series, key, value, &error);
	}
	mdb_cursor_close(cursor);
	if (error != GW_OK)
		return error;
	verified->rollups++;
	verified->rollup_bytes += value.mv_size + key.mv_size;
	if (words != NULL) {
		verified->damaged++;
		report(series, from_us, words, fn, arg);
	}
	return GW_OK;
}

enum gw_error
gw_rollup_verify(struct gw_series_store *store, gw_series_damage_fn *fn, void *arg, gw_series_points_fn *go_on, void *go_on_arg, struct gw_series_verified *verified)
{
	struct verify *verify;
	MDB_txn *txn;
	enum gw_error error = GW_OK;

	if (!store->has_rollups)
		return GW_OK;
	if ((verify = calloc(1, sizeof(*verify))) == NULL)
		return GW_E_MEMORY;
	verify->sum.store = store;
	verify->sum.done = compare;
	verify->sum.work_max = UINT64_MAX;
	verify->sum.arg = verify;
	if ((verify->sum.reader = gw_chunk_reader_new()) == NULL)
		error = GW_E_MEMORY;
	while (error == GW_OK && (error = gw_series_reader(store, &txn)) == GW_OK) {
		error = verify_next(verify, txn, fn, arg, verified);
		gw_series_reader_end(store, txn);
		if (error == GW_OK && go_on != NULL && !go_on(go_on_arg, NULL, NULL))
			error = GW_E_STOPPING;
	}
	gw_chunk_reader_free(verify->sum.reader);
	free(verify->sum.copy);
	free(verify);
	return error == GW_E_NOT_FOUND ? GW_OK : error;
}
