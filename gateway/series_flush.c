// SPDX-License-Identifier: Apache-2.0
// From records to tails, and from tails to chunks. The outlet's thread, but for an erasure, which flushes what it cuts.
//
// What comes in order is cut into chunks that fill their pages; what is late is merged into the chunks where it belongs, all of one chunk at once. A tail
// is let go only after the commit: until then readers find it there, and afterwards in both, which reading makes one again.
#include "gateway/clock.h"
#include "gateway/diag.h"
#include "gateway/series_rollup.h"

#include <stdlib.h>

#define PUT_BYTES_MAX (4u << 20)     // of one transaction
#define FLUSHED_MAX 4096             // tails of one transaction
#define FULL_TAILS 256               // so many are worth one of their own
#define TAIL_BYTES_DUE (256u << 10)  // a tail of large readings
#define CURSOR_EVERY_US 10000000
#define DUE_FIRST 2048

// ---- Taking ----

static enum gw_error
look_once(struct gw_series_store *store, struct gw_series *series)
{
	MDB_txn *txn;
	enum gw_error error;

	if (series->looked)
		return GW_OK;
	if (!series->stored) {
		series->looked = true;
		return GW_OK;
	}
	if ((error = gw_series_reader(store, &txn)) != GW_OK)
		return error;
	error = gw_series_look(store, txn, series);
	gw_series_reader_end(store, txn);
	return error;
}

static struct gw_series *
series_of(struct gw_series_store *store, struct gw_series_device *device, const struct gw_reading *reading)
{
	struct gw_series *series = gw_series_lookup(store, device, reading->signal, reading->instance);

	if (series == NULL && (series = gw_series_make(store, device, reading->signal, reading->instance, 0)) != NULL) {
		series->waveform = reading->type == GW_VALUE_SAMPLES;
		series->due = DUE_FIRST;
	}
	return series != NULL && look_once(store, series) == GW_OK ? series : NULL;
}

// What a record's readings have in common.
struct taking {
	struct gw_series_store *store;
	struct gw_series_device *device;
	uint64_t position;
	struct gw_clock_guess guess;
	struct gw_latest_origin *origin;
};

static void
note_due(struct gw_series_store *store, struct gw_series *series)
{
	const struct gw_tail *tail = &series->tail;

	if (tail->count < series->due && tail->len < TAIL_BYTES_DUE)
		return;
	if (!series->queued) {
		series->queued = true;
		store->full[store->full_count++] = series;
	}
	if (tail->count >= 4 * GW_CHUNK_POINTS_MAX || tail->len >= 4 * TAIL_BYTES_DUE)
		store->crowded = true;
}

static enum gw_error
take_point(struct taking *taking, struct gw_point *point, bool canonical)
{
	struct gw_series_store *store = taking->store;
	struct gw_series *series = series_of(store, taking->device, &point->reading);
	uint32_t before;
	enum gw_error error;

	if (series == NULL)
		return GW_E_MEMORY;
	if (taking->position <= series->upto)
		return GW_OK;
	point->received_us = gw_chunk_received(point->reading.time_us, point->received_us, GW_CHUNK_RECEIVED_PLACES);
	before = series->tail.len;
	if (series->tail.count == 0) {
		series->tail.since_us = gw_clock_mono_us();
		series->tail.received_us = point->received_us;
	}
	if ((error = gw_tail_add(&series->tail, point, canonical, taking->position)) != GW_OK ||
	    (error = gw_latest_take(store, series, point, canonical, &taking->guess, &taking->origin)) != GW_OK)
		return error;
	atomic_fetch_add_explicit(&store->tail_bytes, series->tail.len - before, memory_order_relaxed);
	atomic_fetch_add_explicit(&store->tail_readings, 1, memory_order_relaxed);
	note_due(store, series);
	return GW_OK;
}

// Whether `received` is what the value renders to: gw_batch_next() renders into a place of its own, or points to the text.
static bool
is_canonical(const struct gw_batch *batch, const struct gw_reading *reading)
{
	return reading->received.at == (const uint8_t *)batch->text || (reading->type == GW_VALUE_TEXT && reading->received.at == reading->text.at);
}

static enum gw_error
take_readings(struct gw_series_store *store, const struct gw_record *record)
{
	struct taking taking = { .store = store, .position = record->position };
	struct gw_latest_clock before;
	struct gw_point point;
	struct gw_batch batch;
	int64_t newest_us = GW_CLOCK_NO_TIME;
	enum gw_error error = gw_batch_open(record, &batch, NULL);

	if (error != GW_OK) {
		gw_diag(GW_ERROR, "series.record", "record %llu is left out: %s", (unsigned long long)record->position, gw_error_text(error));
		return GW_OK;
	}
	if ((taking.device = gw_series_device_make(store, batch.head.device)) == NULL)
		return GW_E_MEMORY;
	before = gw_latest_clock(taking.device);
	gw_clock_history_guess(taking.device->clock, record->received_us, &taking.guess);
	point.origin = (struct gw_origin){ batch.head.door, batch.head.auth, batch.head.principal, batch.head.route, batch.head.profile };
	while (error == GW_OK && gw_batch_next(&batch, &point.reading)) {
		int64_t us = gw_reading_newest(&point.reading);

		newest_us = us > newest_us ? us : newest_us;
		if (gw_reading_is_erased(&point.reading))
			continue;
		point.received_us = batch.head.received_us;
		error = take_point(&taking, &point, is_canonical(&batch, &point.reading));
	}
	if (error == GW_OK && (error = gw_series_clock_take(taking.device, record, newest_us)) == GW_OK)
		gw_latest_clock_taken(store, taking.device, &before);
	return error;
}

enum gw_error
gw_series_take(struct gw_series_store *store, const struct gw_record *record)
{
	enum gw_error error = GW_OK;

	pthread_mutex_lock(&store->write);
	if (record->type == GW_RECORD_READINGS) {
		pthread_mutex_lock(&store->lock);
		error = take_readings(store, record);
		pthread_mutex_unlock(&store->lock);
	}
	if (error == GW_OK) {
		store->stream_us = record->received_us;
		atomic_store(&store->taken, record->position);
	}
	pthread_mutex_unlock(&store->write);
	return error;
}

uint64_t
gw_series_taken(const struct gw_series_store *store)
{
	return store->taken;
}

uint64_t
gw_series_cursor(const struct gw_series_store *store)
{
	return store->cursor;
}

bool
gw_series_broken(const struct gw_series_store *store)
{
	return store->broken;
}

bool
gw_series_full_tails(const struct gw_series_store *store)
{
	return store->full_count >= FULL_TAILS || store->crowded || store->tail_bytes > store->options.tail_bytes_max;
}

// ---- Late readings ----

static bool
same_group(struct gw_place a, struct gw_place b)
{
	return a.time_us == b.time_us && a.sequence == b.sequence;
}

// The chunk where a place belongs: which begins at or before it, or with its group (it may come before all of that), or the series' first.
static int
seek_chunk(MDB_cursor *cursor, uint32_t id, struct gw_place place, MDB_val *key, MDB_val *value)
{
	int rc = gw_series_seek(cursor, id, (struct gw_place){ place.time_us, place.sequence, UINT16_MAX }, key, value);
	struct gw_filed before;

	if (rc != 0 || gw_place_compare(gw_chunk_key_place(key->mv_data), place) <= 0)
		return rc;
	// A group that fills more than a chunk.
	if ((rc = mdb_cursor_get(cursor, key, value, MDB_PREV)) == 0 && gw_filed_get(*key, *value, &before) && before.id == id && same_group(before.last, place))
		return 0;
	return mdb_cursor_get(cursor, key, value, rc == 0 ? MDB_NEXT : MDB_FIRST);
}

// The chunk of the first of them; hi: where the next one's begin.
static int
find_chunk(MDB_cursor *cursor, uint32_t id, struct gw_place place, struct gw_filed *filed, bool *sound, struct gw_place *hi, bool *has_hi)
{
	MDB_val key, value, next_key, next;
	int rc = seek_chunk(cursor, id, place, &key, &value);

	*has_hi = false;
	if (rc != 0)
		return rc;
	*sound = gw_filed_get(key, value, filed);
	rc = mdb_cursor_get(cursor, &next_key, &next, MDB_NEXT);
	if (rc == 0 && next_key.mv_size == GW_CHUNK_KEY && gw_chunk_key_id(next_key.mv_data) == id) {
		*hi = gw_chunk_key_place(next_key.mv_data);
		if (!same_group(*hi, filed->last))
			hi->revision = 0;
		*has_hi = true;
	}
	if (rc == 0)
		rc = mdb_cursor_get(cursor, &key, &value, MDB_PREV);
	else if (rc == MDB_NOTFOUND)
		rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
	return rc;
}

// Merges what belongs to one chunk; gives how many that were.
static enum gw_error
merge_chunk(struct gw_series_store *store, struct gw_series *series, MDB_cursor *cursor, const struct gw_point *add, size_t count, size_t *done)
{
	struct gw_filed filed = { 0 };
	struct gw_place hi = { 0 };
	bool has_hi, sound = false, changed;
	enum gw_error error = GW_OK;
	int rc = find_chunk(cursor, series->id, gw_place_of(add), &filed, &sound, &hi, &has_hi);

	if (rc != 0 && rc != MDB_NOTFOUND)
		return gw_series_error(rc);
	for (*done = 1; *done < count && (!has_hi || gw_place_compare(gw_place_of(&add[*done]), hi) < 0); ++*done) {}
	store->old.count = 0;
	if (rc == 0 && sound)
		error = gw_series_load(store, series, filed.chunk, &store->old);
	if (error == GW_E_MEMORY)
		return error;
	if (rc == 0 && (!sound || error != GW_OK)) {
		gw_series_damaged(store, series, filed.first, "checksum or layout");
		sound = false;
		store->old.count = 0;
	}
	if ((error = gw_series_merge(store, &store->old, add, *done, &store->merged, &changed)) != GW_OK || !changed)
		return error;
	if (store->filing_us != 0 && sound && filed.filed_us > store->filing_us)
		store->filing_us = filed.filed_us; // together they are as young as the younger
	// A damaged one stays where it is, unless something new has its very key.
	if (rc == 0 && (sound || gw_place_compare(gw_place_of(&store->merged.at[0]), filed.first) == 0))
		error = gw_series_delete(store, cursor, &filed);
	if (rc == 0 && !sound) {
		store->replaced += filed.count;
		gw_rollup_touch(store, filed.first.time_us, filed.last.time_us);
	}
	atomic_fetch_add_explicit(&store->merged_chunks, 1, memory_order_relaxed);
	gw_rollup_touch(store, add[0].reading.time_us, add[*done - 1].reading.time_us);
	if (error != GW_OK)
		return error;
	if (!sound || gw_place_compare(gw_place_of(add), filed.last) > 0)
		return gw_series_put(store, series, store->merged.at, store->merged.count, NULL);
	return gw_series_put_shares(store, series, store->merged.at, store->merged.count);
}

enum gw_error
gw_series_put_late(struct gw_series_store *store, struct gw_series *series, const struct gw_point *points, size_t count)
{
	MDB_cursor *cursor;
	size_t done = 0;
	int64_t filing_us = store->filing_us;
	enum gw_error error = gw_series_error(mdb_cursor_open(store->txn, store->tables[GW_S_CHUNKS], &cursor));

	if (error != GW_OK)
		return error;
	for (size_t at = 0; at < count && error == GW_OK; at += done, store->filing_us = filing_us)
		error = merge_chunk(store, series, cursor, points + at, count - at, &done);
	mdb_cursor_close(cursor);
	return error;
}

// ---- A tail ----

// A last chunk that is not full takes more, rather than that each hour leaves a small one.
static bool
has_room(struct gw_series_store *store, struct gw_series *series, size_t count)
{
	struct gw_filed filed;
	MDB_cursor *cursor;
	MDB_val key, value;
	bool room = false;

	if (!series->disk_known || mdb_cursor_open(store->txn, store->tables[GW_S_CHUNKS], &cursor) != 0)
		return false;
	if (gw_series_seek(cursor, series->id, series->disk, &key, &value) == 0 && gw_filed_get(key, value, &filed))
		room = filed.chunk.len < gw_series_fit(series->waveform ? GW_CHUNK_PAGES_LARGE : 1) * 3 / 4 && filed.count + count <= GW_CHUNK_POINTS_MAX;
	mdb_cursor_close(cursor);
	return room;
}

static bool
renders_so(const struct gw_reading *reading)
{
	char text[48];

	return reading->type == GW_VALUE_DECIMAL && gw_span_equal(gw_span(text, gw_decimal_text(reading->decimal, text)), reading->received);
}

static enum gw_error
keep(struct gw_series_store *store, struct gw_series *series, const struct gw_point *points, size_t count, struct gw_tail *rest)
{
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < count && error == GW_OK; i++) {
		size_t index = series->tail.count - count + i; // it came in order

		error = gw_tail_add(rest, &points[i], renders_so(&points[i].reading), series->tail.marks[index / GW_TAIL_MARK]);
	}
	rest->since_us = count == series->tail.count ? series->tail.since_us : gw_clock_mono_us();
	rest->received_us = count > 0 ? points[0].received_us : 0;
	return error;
}

// Where those begin that are later than all in chunks, also than other revisions of the same.
static size_t
first_new(const struct gw_series *series, const struct gw_points *points)
{
	size_t low = 0, high = points->count;
	struct gw_place group = { series->disk.time_us, series->disk.sequence, UINT16_MAX };

	while (series->disk_known && low < high) {
		size_t middle = low + (high - low) / 2;

		if (gw_place_compare(gw_place_of(&points->at[middle]), group) <= 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static enum gw_error
put_tail(struct gw_series_store *store, struct gw_series *series, bool all, struct gw_tail *rest)
{
	struct gw_points *points = &store->points;
	size_t late = first_new(series, points), kept = 0;
	bool ordered = !series->tail.shuffled && late == 0, changed;
	enum gw_error error;

	// What is put behind all else ends the blocks of roll-ups that its newest was still filling.
	if (series->disk_known)
		gw_rollup_touch(store, series->disk.time_us, series->disk.time_us);
	if (!ordered || (all && has_room(store, series, points->count)))
		late = points->count > late && (ordered || has_room(store, series, points->count - late)) ? points->count : late;
	if (late > 0 && (error = gw_series_put_late(store, series, points->at, late)) != GW_OK)
		return error;
	if (late == points->count)
		return GW_OK;
	if (ordered && !all && series->tail.len < TAIL_BYTES_DUE) {
		if ((error = gw_series_put(store, series, points->at, points->count, &kept)) != GW_OK)
			return error;
		if (kept < points->count)
			gw_rollup_touch(store, points->at[0].reading.time_us, points->at[points->count - kept - 1].reading.time_us);
		return keep(store, series, points->at + points->count - kept, kept, rest);
	}
	if ((error = gw_series_merge(store, NULL, points->at + late, points->count - late, &store->merged, &changed)) != GW_OK)
		return error;
	gw_rollup_touch(store, points->at[late].reading.time_us, points->at[points->count - 1].reading.time_us);
	return gw_series_put(store, series, store->merged.at, store->merged.count, NULL);
}

static struct gw_flushed *
add_flushed(struct gw_series_store *store)
{
	if (store->flushed_count == store->flushed_cap) {
		size_t cap = store->flushed_cap > 0 ? store->flushed_cap * 2 : 64;
		struct gw_flushed *flushed = realloc(store->flushed, cap * sizeof(*flushed));

		if (flushed == NULL)
			return NULL;
		store->flushed = flushed;
		store->flushed_cap = cap;
	}
	return &store->flushed[store->flushed_count];
}

enum gw_error
gw_series_flush_one(struct gw_series_store *store, struct gw_series *series, bool all)
{
	struct gw_flushed *flushed;
	enum gw_error error;

	if (series->tail.count == 0 || series->flushing)
		return GW_OK;
	if ((flushed = add_flushed(store)) == NULL)
		return GW_E_MEMORY;
	*flushed = (struct gw_flushed){ .series = series };
	if (!series->looked) {
		pthread_mutex_lock(&store->lock);
		error = gw_series_look(store, store->txn, series);
		pthread_mutex_unlock(&store->lock);
		if (error != GW_OK)
			return error;
	}
	store->points.count = 0;
	gw_arena_reset(&store->points.arena);
	if ((error = gw_tail_points(&series->tail, series->signal, series->instance, &store->points)) != GW_OK ||
	    (error = gw_points_sort(&store->points)) != GW_OK)
		return error;
	if ((error = put_tail(store, series, all, &flushed->rest)) == GW_OK)
		error = gw_rollup_settle(store, series, store->points.count);
	if (error != GW_OK) {
		gw_tail_free(&flushed->rest);
		return error;
	}
	series->flushing = true;
	store->flushed_count++;
	return GW_OK;
}

// ---- Ending a transaction ----

static uint64_t
upto_of(const struct gw_series_store *store, const struct gw_tail *rest)
{
	return rest->count > 0 ? rest->first_position - 1 : store->taken;
}

// Below the oldest reading that is in no chunk when the transaction is committed.
static uint64_t
bound(const struct gw_series_store *store)
{
	uint64_t least = store->taken;

	for (size_t i = 0; i < store->ids; i++) {
		const struct gw_series *series = store->series[i];

		if (series != NULL && series->tail.count > 0 && !series->flushing && series->tail.first_position - 1 < least)
			least = series->tail.first_position - 1;
	}
	for (size_t i = 0; i < store->flushed_count; i++)
		if (upto_of(store, &store->flushed[i].rest) < least)
			least = upto_of(store, &store->flushed[i].rest);
	return least > store->cursor ? least : store->cursor;
}

static enum gw_error
put_rows(struct gw_series_store *store)
{
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < store->flushed_count && error == GW_OK; i++) {
		struct gw_series *series = store->flushed[i].series;
		uint64_t upto = series->upto;

		series->upto = upto_of(store, &store->flushed[i].rest);
		error = gw_series_row_put(store, store->txn, series);
		series->upto = upto;
	}
	return error;
}

static void
settle_one(struct gw_series_store *store, struct gw_flushed *flushed)
{
	struct gw_series *series = flushed->series;

	atomic_fetch_add_explicit(&store->tail_bytes, (uint64_t)flushed->rest.len - series->tail.len, memory_order_relaxed);
	atomic_fetch_add_explicit(&store->tail_readings, (uint64_t)flushed->rest.count - series->tail.count, memory_order_relaxed);
	series->upto = upto_of(store, &flushed->rest);
	gw_tail_free(&series->tail);
	series->tail = flushed->rest;
	series->stored = true;
	series->looked = false;
}

enum gw_error
gw_series_flush_end(struct gw_series_store *store, enum gw_error error)
{
	if (error == GW_OK)
		error = put_rows(store);
	store->error = error;
	error = gw_series_commit(store, bound(store));
	pthread_mutex_lock(&store->lock);
	for (size_t i = 0; i < store->flushed_count; i++) {
		struct gw_flushed *flushed = &store->flushed[i];

		flushed->series->flushing = false;
		if (error == GW_OK)
			settle_one(store, flushed);
		else
			gw_tail_free(&flushed->rest);
	}
	pthread_mutex_unlock(&store->lock);
	store->flushed_count = 0;
	return error;
}

// ---- Flushing ----

static bool
enough(const struct gw_series_store *store)
{
	return store->put_bytes >= PUT_BYTES_MAX || store->flushed_count >= FLUSHED_MAX;
}

// By the monotonic clock, for a device or a hub that fell silent; and by the receive times of what came after it, for what is read again after a restart
// or late: then an hour of the journal is an hour, however fast it goes by. A clock that jumps lets tails go somewhat early.
static bool
is_aged(const struct gw_series_store *store, const struct gw_tail *tail, int64_t now_us, int64_t hold_us)
{
	return now_us - tail->since_us >= hold_us || store->stream_us - tail->received_us >= hold_us;
}

static enum gw_error
flush_full(struct gw_series_store *store, int64_t hold_us, size_t *at)
{
	int64_t now_us = gw_clock_mono_us();
	enum gw_error error = GW_OK;

	for (; *at < store->full_count && !enough(store) && error == GW_OK; ++*at)
		error = gw_series_flush_one(store, store->full[*at], is_aged(store, &store->full[*at]->tail, now_us, hold_us));
	return error;
}

static enum gw_error
flush_aged(struct gw_series_store *store, int64_t hold_us, bool *more)
{
	int64_t now_us = gw_clock_mono_us();
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < store->ids && error == GW_OK; i++) {
		struct gw_series *series = store->series[i];

		if (series == NULL || series->tail.count == 0 || series->flushing || !is_aged(store, &series->tail, now_us, hold_us))
			continue;
		if ((*more = enough(store)))
			break;
		error = gw_series_flush_one(store, series, true);
	}
	return error;
}

// What was in the list of full tails and is now written is not any more.
static void
drop_full(struct gw_series_store *store, size_t done)
{
	if (done == 0)
		return;
	for (size_t i = 0; i < done; i++)
		store->full[i]->queued = false;
	memmove(store->full, store->full + done, (store->full_count - done) * sizeof(struct gw_series *));
	store->full_count -= done;
	store->crowded = store->crowded && store->full_count > 0;
}

static enum gw_error
flush(struct gw_series_store *store, int64_t hold_us, bool *more)
{
	size_t full = 0;
	enum gw_error error;

	if (store->tail_bytes > store->options.tail_bytes_max)
		hold_us = 0;
	if ((error = gw_series_room(store, PUT_BYTES_MAX / 2)) != GW_OK || (error = gw_series_begin(store)) != GW_OK)
		return error;
	error = flush_full(store, hold_us, &full);
	*more = full < store->full_count;
	if (error == GW_OK)
		error = flush_aged(store, hold_us, more);
	if (error == GW_OK && store->flushed_count == 0 &&
	    (bound(store) == store->cursor || (hold_us > 0 && gw_clock_mono_us() - store->cursor_us < CURSOR_EVERY_US))) {
		gw_series_abort(store); // nothing to say
		return GW_OK;
	}
	if ((error = gw_series_flush_end(store, error)) == GW_OK)
		drop_full(store, full);
	return error;
}

enum gw_error
gw_series_flush(struct gw_series_store *store, int64_t hold_us, bool *more)
{
	enum gw_error error;

	*more = false;
	if (store->options.read_only)
		return GW_E_ARGUMENT;
	pthread_mutex_lock(&store->write);
	(void)gw_series_tick(store);
	error = flush(store, hold_us < 0 || hold_us > store->options.hold_us ? store->options.hold_us : hold_us, more);
	pthread_mutex_unlock(&store->write);
	return error;
}

// ---- Another journal ----

enum gw_error
gw_series_follow(struct gw_series_store *store, uint64_t incarnation)
{
	enum gw_error error = GW_OK;

	pthread_mutex_lock(&store->write);
	if (store->incarnation != incarnation) {
		if (store->incarnation != 0)
			gw_diag(GW_NOTICE, "series.journal", "the journal is another than before: all of it is read again, what is here already stays as it is");
		store->incarnation = incarnation;
		atomic_store(&store->cursor, 0);
		atomic_store(&store->taken, 0);
		for (size_t i = 0; i < store->ids; i++)
			if (store->series[i] != NULL)
				store->series[i]->upto = 0;
		gw_series_clocks_again(store);
		if (!store->options.read_only && (error = gw_series_begin(store)) == GW_OK) {
			for (size_t i = 0; i < store->ids && error == GW_OK; i++)
				if (store->series[i] != NULL && store->series[i]->stored)
					error = gw_series_row_put(store, store->txn, store->series[i]);
			store->error = error;
			error = gw_series_commit(store, 0);
		}
	}
	pthread_mutex_unlock(&store->write);
	return error;
}
