// SPDX-License-Identifier: Apache-2.0
// Writing chunks: one transaction at a time, by whoever holds `write`. Errors are sticky until the transaction ends.
#include "gateway/clock.h"
#include "gateway/diag.h"
#include "gateway/series_internal.h"

#include <stdlib.h>

#define FEW_READINGS 256 // a page that holds fewer is too small for this series

// ---- Keys and heads ----

void
gw_chunk_key(uint32_t id, struct gw_place first, uint8_t key[GW_CHUNK_KEY])
{
	uint32_t big_id = htobe32(id), sequence = htobe32(first.sequence);
	uint64_t time = htobe64((uint64_t)first.time_us ^ UINT64_C(1) << 63);
	uint16_t revision = htobe16(first.revision);

	memcpy(key, &big_id, 4);
	memcpy(key + 4, &time, 8);
	memcpy(key + 12, &sequence, 4);
	memcpy(key + 16, &revision, 2);
}

uint32_t
gw_chunk_key_id(const uint8_t key[GW_CHUNK_KEY])
{
	uint32_t id;

	memcpy(&id, key, 4);
	return be32toh(id);
}

struct gw_place
gw_chunk_key_place(const uint8_t key[GW_CHUNK_KEY])
{
	uint64_t time;
	uint32_t sequence;
	uint16_t revision;

	memcpy(&time, key + 4, 8);
	memcpy(&sequence, key + 12, 4);
	memcpy(&revision, key + 16, 2);
	return (struct gw_place){ (int64_t)(be64toh(time) ^ UINT64_C(1) << 63), be32toh(sequence), be16toh(revision) };
}

static uint32_t
filed_crc(const uint8_t key[GW_CHUNK_KEY], const uint8_t *head)
{
	return gw_crc32c(gw_crc32c(0, key, GW_CHUNK_KEY), head + FILED_US, FILED_HEAD - FILED_US);
}

void
gw_filed_put(const struct gw_filed *filed, const uint8_t key[GW_CHUNK_KEY], uint8_t head[FILED_HEAD])
{
	gw_put64(head + FILED_US, (uint64_t)filed->filed_us);
	gw_put64(head + FILED_LAST_US, (uint64_t)filed->last.time_us);
	gw_put32(head + FILED_LAST_SEQUENCE, filed->last.sequence);
	gw_put16(head + FILED_LAST_REVISION, filed->last.revision);
	gw_put16(head + FILED_COUNT, (uint16_t)filed->count);
	gw_put32(head + FILED_CRC, filed_crc(key, head));
}

bool
gw_filed_get(MDB_val key, MDB_val value, struct gw_filed *filed)
{
	const uint8_t *head = value.mv_data;

	if (key.mv_size != GW_CHUNK_KEY)
		return false;
	filed->id = gw_chunk_key_id(key.mv_data);
	filed->first = filed->last = gw_chunk_key_place(key.mv_data);
	if (value.mv_size <= FILED_HEAD || gw_get32(head + FILED_CRC) != filed_crc(key.mv_data, head))
		return false;
	filed->filed_us = (int64_t)gw_get64(head + FILED_US);
	filed->last = (struct gw_place){ (int64_t)gw_get64(head + FILED_LAST_US), gw_get32(head + FILED_LAST_SEQUENCE), gw_get16(head + FILED_LAST_REVISION) };
	filed->count = gw_get16(head + FILED_COUNT);
	filed->chunk = gw_span(head + FILED_HEAD, value.mv_size - FILED_HEAD);
	return true;
}

void
gw_series_damaged(struct gw_series_store *store, const struct gw_series *series, struct gw_place first, const char *words)
{
	static struct gw_diag_limit limit;
	char time[40];

	atomic_fetch_add_explicit(&store->damaged, 1, memory_order_relaxed);
	gw_diag_limited(&limit, 1, GW_ERROR, "series.damaged", "device=%s signal=%u instance=%u chunk=%s: %s: left out", series->device->name, series->signal,
	    series->instance, gw_time_format(first.time_us, time), words);
}

// ---- The transaction ----

enum gw_error
gw_series_begin(struct gw_series_store *store)
{
	if (store->options.read_only)
		return GW_E_ARGUMENT;
	if (store->broken)
		return GW_E_SYNC;
	store->error = gw_series_error(mdb_txn_begin(store->env, NULL, 0, &store->txn));
	store->totals_before = store->totals;
	store->put_bytes = 0;
	store->touched_count = 0;
	store->touched_failed = false;
	if (store->error == GW_E_SYNC)
		store->broken = true;
	return store->error;
}

void
gw_series_abort(struct gw_series_store *store)
{
	mdb_txn_abort(store->txn);
	store->txn = NULL;
	store->totals = store->totals_before;
	gw_series_clocks_stay(store);
}

static enum gw_error
put_meta(struct gw_series_store *store, uint64_t cursor)
{
	const struct { const char *name; uint64_t value; } rows[] = {
		{ "cursor", cursor }, { "incarnation", store->incarnation }, { "clock", (uint64_t)store->clock_us }, { "chunks", store->totals.chunks },
		{ "readings", store->totals.readings }, { "bytes", store->totals.bytes },
	};
	enum gw_error error = GW_OK;

	for (size_t i = 0; error == GW_OK && i < sizeof(rows) / sizeof(rows[0]); i++)
		error = gw_series_meta_put(store, store->txn, rows[i].name, rows[i].value);
	return error;
}

static void
note_commit(struct gw_series_store *store, uint64_t cursor, int64_t began_us)
{
	uint64_t took_us;

	store->cursor_us = gw_clock_mono_us();
	took_us = (uint64_t)(store->cursor_us - began_us);
	if (took_us > store->commit_us_max)
		store->commit_us_max = took_us;
	atomic_fetch_add_explicit(&store->commits, 1, memory_order_relaxed);
	gw_series_clocks_saved(store, cursor);
	atomic_store(&store->cursor, cursor);
	atomic_store(&store->full_now, false);
	atomic_store_explicit(&store->total_chunks, store->totals.chunks, memory_order_relaxed);
	atomic_store_explicit(&store->total_readings, store->totals.readings, memory_order_relaxed);
	atomic_store_explicit(&store->total_bytes, store->totals.bytes, memory_order_relaxed);
}

enum gw_error
gw_series_commit(struct gw_series_store *store, uint64_t cursor)
{
	int64_t began_us = gw_clock_mono_us();
	enum gw_error error = store->error;

	if (error == GW_OK)
		error = gw_series_clocks_put(store, cursor);
	if (error == GW_OK)
		error = put_meta(store, cursor);
	if (error == GW_OK) {
		error = gw_series_error(mdb_txn_commit(store->txn));
		store->txn = NULL;
	}
	if (error == GW_OK) {
		note_commit(store, cursor, began_us);
		return GW_OK;
	}
	if (store->txn != NULL)
		mdb_txn_abort(store->txn);
	store->txn = NULL;
	store->totals = store->totals_before;
	gw_series_clocks_stay(store);
	if (error == GW_E_FULL)
		atomic_store(&store->full_now, true);
	// After a failed sync the kernel may have dropped the pages: a second one that succeeds would prove nothing.
	if (error == GW_E_SYNC || error == GW_E_CORRUPT)
		atomic_store(&store->broken, true);
	return error;
}

// ---- Chunks ----

static enum gw_error
put_one(struct gw_series_store *store, const struct gw_series *series, const struct gw_point *points, size_t count, struct gw_span chunk)
{
	struct gw_filed filed = { .filed_us = store->filing_us != 0 ? store->filing_us : store->clock_us, .last = gw_place_of(&points[count - 1]), .count = (uint32_t)count };
	uint8_t at[GW_CHUNK_KEY];
	MDB_val key = gw_series_val(at, sizeof(at)), value = { FILED_HEAD + chunk.len, NULL };
	int rc;

	gw_chunk_key(series->id, gw_place_of(&points[0]), at);
	if ((rc = mdb_put(store->txn, store->tables[GW_S_CHUNKS], &key, &value, MDB_RESERVE)) != 0)
		return gw_series_error(rc);
	gw_filed_put(&filed, at, value.mv_data);
	memcpy((uint8_t *)value.mv_data + FILED_HEAD, chunk.at, chunk.len);
	store->put_bytes += value.mv_size + 128;
	store->totals.chunks++;
	store->totals.readings += count;
	store->totals.bytes += value.mv_size;
	return GW_OK;
}

// What belongs to one time and sequence stays together, where it can.
static size_t
group_floor(const struct gw_point *points, size_t count, size_t taken)
{
	size_t at = taken;

	if (taken == count)
		return taken;
	while (at > 0 && points[at - 1].reading.time_us == points[taken].reading.time_us && points[at - 1].reading.sequence == points[taken].reading.sequence)
		at--;
	return at > 0 ? at : taken;
}

static bool
is_large(const struct gw_series *series)
{
	return series->waveform || series->bytes_each * FEW_READINGS > (float)gw_series_fit(1);
}

// How many to try: what surely does not fit costs time to find out.
static uint32_t
most_of(const struct gw_series *series, size_t count, uint32_t fit)
{
	size_t most = count < GW_CHUNK_POINTS_MAX ? count : GW_CHUNK_POINTS_MAX;
	float guess = series->bytes_each > 0 ? (float)fit / series->bytes_each * 1.2F + 8 : GW_CHUNK_POINTS_MAX;

	if (series->bytes_each <= 0 && series->waveform)
		guess = 256;
	return guess < (float)most ? (uint32_t)guess : (uint32_t)most;
}

// Encodes as many as fit.
static enum gw_error
encode(struct gw_series_store *store, struct gw_series *series, const struct gw_point *points, size_t count, size_t *taken, struct gw_span *chunk)
{
	struct gw_chunk_options options = { .received_places = GW_CHUNK_RECEIVED_PLACES };
	uint32_t fit = gw_series_fit(is_large(series) ? GW_CHUNK_PAGES_LARGE : 1), most = most_of(series, count, fit), n = 0;
	enum gw_error error;

	options.fit_bytes = fit + 1; // "before this many"
	error = gw_chunk_encode(store->encoder, points, most, &options, &n, chunk, NULL);
	if (error == GW_OK && !is_large(series) && n < FEW_READINGS && n < most) {
		options.fit_bytes = gw_series_fit(GW_CHUNK_PAGES_LARGE) + 1;
		error = gw_chunk_encode(store->encoder, points, most, &options, &n, chunk, NULL);
	} else if (error == GW_OK && n == most && most < count && most < GW_CHUNK_POINTS_MAX) {
		most = count < GW_CHUNK_POINTS_MAX ? (uint32_t)count : GW_CHUNK_POINTS_MAX;
		error = gw_chunk_encode(store->encoder, points, most, &options, &n, chunk, NULL);
	}
	*taken = n;
	if (error == GW_OK && n > 0)
		series->bytes_each = (float)chunk->len / (float)n;
	return error;
}

// An even share of what is too much for one chunk, so that what comes later still finds room.
static enum gw_error
encode_exactly(struct gw_series_store *store, const struct gw_point *points, size_t count, struct gw_span *chunk)
{
	struct gw_chunk_options options = { .received_places = GW_CHUNK_RECEIVED_PLACES };
	uint32_t n = 0;

	return gw_chunk_encode(store->encoder, points, (uint32_t)count, &options, &n, chunk, NULL);
}

static void
note_fill(struct gw_series *series, size_t taken)
{
	size_t due = taken + taken / 64 + 1;

	series->due = due < GW_CHUNK_POINTS_MAX ? (uint32_t)due : GW_CHUNK_POINTS_MAX;
}

enum gw_error
gw_series_put(struct gw_series_store *store, struct gw_series *series, const struct gw_point *points, size_t count, size_t *kept)
{
	enum gw_error error = GW_OK;
	struct gw_span chunk;
	size_t taken;

	if (kept != NULL)
		*kept = 0;
	for (size_t at = 0; at < count && error == GW_OK; at += taken) {
		if ((error = encode(store, series, points + at, count - at, &taken, &chunk)) != GW_OK)
			break;
		if (kept != NULL && at + taken == count && taken < GW_CHUNK_POINTS_MAX) {
			*kept = taken;
			if (at == 0) // too early
				note_fill(series, (size_t)((float)gw_series_fit(is_large(series) ? GW_CHUNK_PAGES_LARGE : 1) / series->bytes_each));
			break;
		}
		if (at + taken < count) {
			size_t whole = group_floor(points + at, count - at, taken);

			note_fill(series, taken);
			if (whole < taken)
				error = encode_exactly(store, points + at, taken = whole, &chunk);
		}
		if (error == GW_OK)
			error = put_one(store, series, points + at, taken, chunk);
	}
	return error;
}

enum gw_error
gw_series_put_shares(struct gw_series_store *store, struct gw_series *series, const struct gw_point *points, size_t count)
{
	struct gw_span chunk;
	size_t taken, share;
	enum gw_error error;

	if (count == 0)
		return GW_OK;
	if ((error = encode(store, series, points, count, &taken, &chunk)) != GW_OK)
		return error;
	if (taken == count)
		return put_one(store, series, points, count, chunk);
	share = (count + taken - 1) / taken;
	share = (count + share - 1) / share;
	for (size_t at = 0; at < count && error == GW_OK; at += taken) {
		taken = count - at < share ? count - at : group_floor(points + at, count - at, share);
		error = gw_series_put(store, series, points + at, taken, NULL);
	}
	return error;
}

// LMDB frees as many pages as the first of a long value says, also where that was damaged: then pages that are in use would be given away.
static bool
may_be_freed(const struct gw_series_store *store, MDB_cursor *cursor)
{
	size_t largest = (((store->page_size - 16) / 2) & ~(size_t)1) - 2; // entry of a leaf
	MDB_val key, value;
	const uint8_t *head;

	if (mdb_cursor_get(cursor, &key, &value, MDB_GET_CURRENT) != 0 || 8 + key.mv_size + value.mv_size <= largest)
		return true;
	head = (const uint8_t *)value.mv_data - 16;
	return (gw_get16(head + 10) & 0x0f) == 0x04 && gw_get32(head + 12) == (value.mv_size + 16 + store->page_size - 1) / store->page_size;
}

enum gw_error
gw_series_delete(struct gw_series_store *store, MDB_cursor *cursor, const struct gw_filed *filed)
{
	int rc = may_be_freed(store, cursor) ? mdb_cursor_del(cursor, 0) : MDB_CORRUPTED;

	if (rc == 0 && filed->count > 0) {
		store->totals.chunks--;
		store->totals.readings -= filed->count;
		store->totals.bytes -= filed->chunk.len + FILED_HEAD;
	}
	store->put_bytes += 256;
	return gw_series_error(rc);
}

enum gw_error
gw_series_load(struct gw_series_store *store, const struct gw_series *series, struct gw_span chunk, struct gw_points *points)
{
	if (chunk.len > store->copy_cap) {
		uint8_t *copy = realloc(store->copy, chunk.len + chunk.len / 2);

		if (copy == NULL)
			return GW_E_MEMORY;
		store->copy = copy;
		store->copy_cap = chunk.len + chunk.len / 2;
	}
	memcpy(store->copy, chunk.at, chunk.len);
	return gw_series_decode(store->reader, series, gw_span(store->copy, chunk.len), points);
}

enum gw_error
gw_series_look(struct gw_series_store *store, MDB_txn *txn, struct gw_series *series)
{
	static const struct gw_place end = { INT64_MAX, UINT32_MAX, UINT16_MAX };
	struct gw_filed filed = { 0 };
	MDB_cursor *cursor;
	MDB_val key, value;
	int rc = mdb_cursor_open(txn, store->tables[GW_S_CHUNKS], &cursor);

	if (rc != 0)
		return gw_series_error(rc);
	rc = gw_series_seek(cursor, series->id, end, &key, &value);
	series->disk_known = rc == 0;
	if (rc == 0) {
		(void)gw_filed_get(key, value, &filed); // of a damaged one, where it begins
		series->disk = filed.last;
	}
	mdb_cursor_close(cursor);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return gw_series_error(rc);
	series->looked = true;
	return GW_OK;
}
