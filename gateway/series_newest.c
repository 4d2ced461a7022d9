// SPDX-License-Identifier: Apache-2.0
// The newest reading of each series: the one with the latest moment (gateway/series_clocks.h), not the one with the latest device time. A device whose clock was set back, or
// never was, or one reading that is dated into the future, hides nothing that was measured later.
//
// In memory, flat, side by side by id: what the last answers were, for as long as nothing can have changed them. The writer's thread keeps them up with what it takes; where more
// became known of a device's clock, or readings were taken away, they are looked for again when somebody asks: first in the tail, then in the chunks from the last
// on, as far back as one of them could hold a later moment. That is mostly one look at one head; beyond it only chunks that lie ahead of the hub's clock, or before 2000, are
// decoded. Nothing is stored: after a restart the same is found.
#include "gateway/series_internal.h"

#include "gateway/clock.h"

#include <stdlib.h>

#define BATCH 64              // readings that are copied under one lock
#define BATCH_BYTES 16384u
#define WALK_CHUNKS 32        // that are decoded in one transaction
#define BACK_US INT64_C(1000000)  // frames may be committed slightly out of order
#define FILED_SLACK_US INT64_C(86400000000)

// ---- What is kept ----

// Who sent it: devices' series share one, mostly.
struct gw_latest_origin {
	uint32_t refs, len[3]; // principal, route, profile
	uint8_t door, auth;
	uint8_t bytes[];
};

static void
drop_origin(struct gw_latest *newest)
{
	if (newest->origin != NULL && --newest->origin->refs == 0)
		free(newest->origin);
	newest->origin = NULL;
}

static size_t
origin_bytes(const struct gw_latest_origin *origin)
{
	return (size_t)origin->len[0] + origin->len[1] + origin->len[2];
}

static void
origin_at(const struct gw_latest_origin *kept, const uint8_t *bytes, struct gw_origin *origin)
{
	origin->door = kept->door;
	origin->auth = kept->auth;
	origin->principal = gw_span(bytes, kept->len[0]);
	origin->route = gw_span(bytes + kept->len[0], kept->len[1]);
	origin->profile = gw_span(bytes + kept->len[0] + kept->len[1], kept->len[2]);
}

static bool
is_origin(const struct gw_latest_origin *kept, const struct gw_origin *origin)
{
	struct gw_origin mine;

	if (kept == NULL)
		return false;
	origin_at(kept, kept->bytes, &mine);
	return mine.door == origin->door && mine.auth == origin->auth && gw_span_equal(mine.principal, origin->principal) && gw_span_equal(mine.route, origin->route) &&
	    gw_span_equal(mine.profile, origin->profile);
}

static struct gw_latest_origin *
make_origin(const struct gw_origin *origin)
{
	struct gw_latest_origin *kept = malloc(sizeof(*kept) + origin->principal.len + origin->route.len + origin->profile.len);
	uint8_t *at;

	if (kept == NULL)
		return NULL;
	*kept = (struct gw_latest_origin){ .door = origin->door, .auth = origin->auth,
		.len = { (uint32_t)origin->principal.len, (uint32_t)origin->route.len, (uint32_t)origin->profile.len } };
	at = gw_put_bytes(kept->bytes, origin->principal.at, origin->principal.len);
	at = gw_put_bytes(at, origin->route.at, origin->route.len);
	gw_put_bytes(at, origin->profile.at, origin->profile.len);
	return kept;
}

// shared: that of the record, once one of its readings has it.
static bool
put_origin(struct gw_latest *newest, const struct gw_origin *origin, struct gw_latest_origin **shared)
{
	if (*shared == NULL && is_origin(newest->origin, origin))
		*shared = newest->origin;
	if (*shared != NULL && *shared == newest->origin)
		return true;
	if (*shared == NULL && (*shared = make_origin(origin)) == NULL)
		return false;
	drop_origin(newest);
	newest->origin = *shared;
	newest->origin->refs++;
	return true;
}

static struct gw_span
value_span(const struct gw_reading *reading)
{
	if (reading->type == GW_VALUE_TEXT)
		return reading->text;
	return reading->type == GW_VALUE_SAMPLES ? gw_span(reading->samples.at, (size_t)reading->samples.count * 4) : gw_span(NULL, 0);
}

static int64_t
number_of(const struct gw_reading *reading, int16_t *exponent)
{
	*exponent = 0;
	switch (reading->type) {
	case GW_VALUE_DECIMAL:
		*exponent = reading->decimal.exponent;
		return reading->decimal.mantissa;
	case GW_VALUE_SAMPLES:
		*exponent = reading->samples.exponent;
		return reading->samples.period_ns;
	default:
		return reading->type == GW_VALUE_CODE ? reading->code : 0;
	}
}

// Unit as received, value as received where it is not what the value renders to, text or samples: one behind the other.
static const uint8_t *
words_of(const struct gw_latest *newest)
{
	return newest->len <= sizeof(newest->brief) ? newest->brief : newest->words;
}

static uint8_t *
words_room(struct gw_latest *newest, size_t len)
{
	uint8_t *words;

	if (len <= sizeof(newest->brief))
		return newest->brief;
	if (len > newest->cap) {
		if ((words = realloc(newest->words, len)) == NULL)
			return NULL;
		newest->words = words;
		newest->cap = (uint32_t)len;
	}
	return newest->words;
}

static enum gw_error
put(struct gw_latest *newest, const struct gw_point *point, bool canonical, struct gw_latest_origin **shared)
{
	const struct gw_reading *reading = &point->reading;
	struct gw_span value = value_span(reading), said = canonical ? gw_span(NULL, 0) : reading->received;
	size_t len = reading->unit_received.len + said.len + value.len;
	uint8_t *at = words_room(newest, len);

	if (at == NULL || !put_origin(newest, &point->origin, shared))
		return GW_E_MEMORY;
	newest->time_us = reading->time_us;
	newest->received_us = point->received_us;
	newest->number = number_of(reading, &newest->exponent);
	newest->sequence = reading->sequence;
	newest->revision = reading->revision;
	newest->unit = reading->unit;
	newest->flags = reading->flags;
	newest->kind = reading->kind;
	newest->type = reading->type;
	newest->canonical = canonical && reading->received.len > 0;
	newest->unit_len = (uint8_t)reading->unit_received.len;
	newest->said_len = (uint32_t)said.len;
	newest->len = (uint32_t)len;
	at = gw_put_bytes(at, reading->unit_received.at, reading->unit_received.len);
	at = gw_put_bytes(at, said.at, said.len);
	gw_put_bytes(at, value.at, value.len);
	newest->state = GW_LATEST_KNOWN;
	return GW_OK;
}

// What a copy of it needs beside the point.
#define RENDERED 48
static size_t
copy_bytes(const struct gw_latest *newest)
{
	return newest->len + RENDERED;
}

// words: where the bytes and what is rendered go; origin: where its texts lie.
static void
get(const struct gw_latest *newest, const struct gw_series *series, uint8_t *words, const uint8_t *origin, struct gw_point *point)
{
	struct gw_reading *reading = &point->reading;
	const uint8_t *said = words + newest->unit_len, *value = said + newest->said_len;

	memcpy(words, words_of(newest), newest->len);
	*reading = (struct gw_reading){ .signal = series->signal, .instance = series->instance, .time_us = newest->time_us, .sequence = newest->sequence,
		.revision = newest->revision, .flags = newest->flags, .kind = newest->kind, .type = newest->type, .unit = newest->unit,
		.received = gw_span(said, newest->said_len), .unit_received = gw_span(words, newest->unit_len) };
	if (newest->type == GW_VALUE_DECIMAL)
		reading->decimal = (struct gw_decimal){ newest->number, newest->exponent };
	else if (newest->type == GW_VALUE_CODE)
		reading->code = (uint32_t)newest->number;
	else if (newest->type == GW_VALUE_TEXT)
		reading->text = gw_span(value, (size_t)(words + newest->len - value));
	else if (newest->type == GW_VALUE_SAMPLES)
		reading->samples = (struct gw_samples){ newest->number, (uint32_t)(words + newest->len - value) / 4, newest->exponent, value };
	if (newest->canonical && newest->type == GW_VALUE_TEXT)
		reading->received = reading->text;
	else if (newest->canonical)
		reading->received = gw_span(words + newest->len, gw_decimal_text(reading->decimal, (char *)words + newest->len));
	point->received_us = newest->received_us;
	origin_at(newest->origin, origin, &point->origin);
}

void
gw_latest_fini(struct gw_latest *newest)
{
	drop_origin(newest);
	free(newest->words);
	*newest = (struct gw_latest){ 0 };
}

// ---- The writer's side ----

static struct gw_place
place_of(const struct gw_latest *newest)
{
	return (struct gw_place){ newest->time_us, newest->sequence, newest->revision };
}

// Revisions of one another.
static bool
is_same(const struct gw_latest *newest, const struct gw_reading *reading)
{
	return newest->state == GW_LATEST_KNOWN && reading->time_us == newest->time_us && reading->sequence == newest->sequence;
}

// A revision follows what it revises, whatever the clock says.
static bool
is_newer(const struct gw_latest *newest, const struct gw_point *point, int64_t moment_us)
{
	const struct gw_reading *reading = &point->reading;

	if (is_same(newest, reading))
		return reading->revision > newest->revision;
	return moment_us != newest->moment_us ? moment_us > newest->moment_us : gw_place_compare(gw_place_of(point), place_of(newest)) > 0;
}

enum gw_error
gw_latest_take(struct gw_series_store *store, const struct gw_series *series, const struct gw_point *point, bool canonical, const struct gw_clock_guess *guess,
    struct gw_latest_origin **shared)
{
	struct gw_latest *newest = &store->newest[series->id - 1];
	int64_t moment_us;
	enum gw_error error;

	newest->changes++;
	if (newest->state == GW_LATEST_UNKNOWN)
		return GW_OK;
	moment_us = gw_clock_moment(guess, &point->reading, point->received_us);
	if (newest->state == GW_LATEST_KNOWN && !is_newer(newest, point, moment_us))
		return GW_OK;
	if (is_same(newest, &point->reading) && moment_us < newest->moment_us)
		moment_us = newest->moment_us;
	if ((error = put(newest, point, canonical, shared)) != GW_OK)
		newest->state = GW_LATEST_UNKNOWN;
	newest->moment_us = moment_us;
	return error;
}

void
gw_latest_forget(struct gw_series_store *store, const struct gw_series *series)
{
	store->newest[series->id - 1].state = GW_LATEST_UNKNOWN;
	store->newest[series->id - 1].changes++;
}

void
gw_latest_forget_old(struct gw_series_store *store, const struct gw_series *series)
{
	const struct gw_latest *newest = &store->newest[series->id - 1];
	const struct gw_tail *tail = &series->tail;

	if (newest->state != GW_LATEST_KNOWN || tail->count == 0 || newest->time_us < tail->least_us || newest->time_us > tail->most_us)
		gw_latest_forget(store, series);
}

struct gw_latest_clock
gw_latest_clock(const struct gw_series_device *device)
{
	const struct gw_clock_history *history = device->clock;
	bool any = history != NULL && history->count > 0;

	return (struct gw_latest_clock){ .open = history != NULL && history->open, .any = any, .changes = history != NULL ? history->changes : 0,
		.offset_us = any ? history->pieces[history->count - 1].offset_us[1] : 0, .behind = history != NULL && history->now_us < history->most_us - BACK_US };
}

// A clock that turns out to be right right away changes nothing. Until the hub's own clock is again where it was, each frame does: gw_clock_moment() tells by it.
static bool
has_changed(const struct gw_latest_clock *before, const struct gw_latest_clock *now)
{
	if (!before->any && now->any && now->offset_us > -GW_DEVICE_CLOCK_STEP_US && now->offset_us < GW_DEVICE_CLOCK_STEP_US)
		return false;
	return before->open != now->open || before->changes != now->changes || before->behind || now->behind;
}

void
gw_latest_clock_taken(struct gw_series_store *store, const struct gw_series_device *device, const struct gw_latest_clock *before)
{
	struct gw_latest_clock now = gw_latest_clock(device);

	if (has_changed(before, &now))
		for (const struct gw_series *series = device->series; series != NULL; series = series->next)
			gw_latest_forget(store, series);
}

// ---- Looking for it ----

struct search {
	struct gw_series_store *store;
	const struct gw_series *series;
	struct gw_clock_pieces pieces;
	struct gw_latest best;
	struct gw_tail tail;      // a copy
	uint32_t changes;         // when that was made
	struct gw_points points;
	struct gw_chunk_reader *reader;
	int64_t clock_us;         // the store's
	struct gw_place at;       // the chunk that was looked at last
	bool any, end, failed;    // failed: out of memory
};

static void
offer(struct search *search, const struct gw_point *points, size_t count)
{
	const struct gw_point *best = NULL;
	struct gw_latest_origin *shared = NULL;

	for (size_t i = 0; i < count; i++) {
		struct gw_clock_guess guess;
		int64_t us;

		gw_clock_pieces_guess(&search->pieces, points[i].received_us, &guess);
		us = gw_clock_moment(&guess, &points[i].reading, points[i].received_us);
		if (search->best.state == GW_LATEST_KNOWN && !is_newer(&search->best, &points[i], us))
			continue;
		best = &points[i];
		search->best.moment_us = is_same(&search->best, &best->reading) && us < search->best.moment_us ? search->best.moment_us : us;
		search->best.state = GW_LATEST_KNOWN;
		search->best.time_us = best->reading.time_us;
		search->best.sequence = best->reading.sequence;
		search->best.revision = best->reading.revision;
	}
	if (best != NULL && put(&search->best, best, false, &shared) != GW_OK)
		search->failed = true;
}

static enum gw_error
copy_tail(struct search *search)
{
	struct gw_series_store *store = search->store;
	const struct gw_series *series = search->series;
	enum gw_error error = GW_OK;

	search->pieces.count = 0;
	search->pieces.now_us = INT64_MAX;
	pthread_mutex_lock(&store->lock);
	if (series->device->clock != NULL)
		gw_clock_history_copy(series->device->clock, &search->pieces);
	search->changes = store->newest[series->id - 1].changes;
	search->tail = series->tail;
	search->tail.marks = NULL;
	search->tail.bytes = NULL;
	if (series->tail.count > 0 && (search->tail.bytes = malloc(series->tail.len)) == NULL)
		error = GW_E_MEMORY;
	else if (series->tail.count > 0)
		memcpy(search->tail.bytes, series->tail.bytes, series->tail.len);
	pthread_mutex_unlock(&store->lock);
	return error;
}

static enum gw_error
look_at_tail(struct search *search)
{
	enum gw_error error = copy_tail(search);

	if (error != GW_OK || search->tail.count == 0)
		return error;
	if ((error = gw_tail_points(&search->tail, search->series->signal, search->series->instance, &search->points)) == GW_OK)
		offer(search, search->points.at, search->points.count);
	return error;
}

// The latest moment that one of a chunk's readings can have. Of device times before 2000 nothing follows; but what is in a chunk came before that was filed, by the
// store's clock, which may have been behind the hub's by a sixteenth of the time since, where it is not now.
static int64_t
bound_of(const struct search *search, const struct gw_filed *filed)
{
	int64_t us = filed->last.time_us, now_us = search->pieces.now_us;

	if (filed->first.time_us >= GW_DEVICE_CLOCK_UNSET_US)
		return gw_clock_pieces_bound(&search->pieces, us);
	if (now_us > search->clock_us + FILED_SLACK_US)
		return now_us;
	us = filed->filed_us + (search->clock_us - filed->filed_us) / 16 + FILED_SLACK_US;
	return us < now_us ? us : now_us;
}

// The chunk before the one that was looked at last; MDB_NOTFOUND.
static int
step_back(const struct search *search, MDB_cursor *cursor, MDB_val *key, MDB_val *value)
{
	static const struct gw_place end = { INT64_MAX, UINT32_MAX, UINT16_MAX };
	uint32_t id = search->series->id;
	int rc = gw_series_seek(cursor, id, search->any ? search->at : end, key, value);

	if (rc != 0 || !search->any)
		return rc;
	if (gw_place_compare(gw_chunk_key_place(key->mv_data), search->at) >= 0)
		rc = mdb_cursor_get(cursor, key, value, MDB_PREV);
	return rc != 0 || (key->mv_size == GW_CHUNK_KEY && gw_chunk_key_id(key->mv_data) == id) ? rc : MDB_NOTFOUND;
}

static enum gw_error
look_at_chunk(struct search *search, MDB_val key, MDB_val value, bool *decoded)
{
	struct gw_filed filed = { 0 };
	bool sound = gw_filed_get(key, value, &filed);
	enum gw_error error = GW_OK;

	search->at = gw_chunk_key_place(key.mv_data);
	search->any = true;
	if (sound && search->best.state == GW_LATEST_KNOWN && bound_of(search, &filed) < search->best.moment_us) {
		// What lies before begins earlier still; but for times that say nothing.
		if (filed.first.time_us >= GW_DEVICE_CLOCK_UNSET_US)
			search->at = (struct gw_place){ GW_DEVICE_CLOCK_UNSET_US, 0, 0 };
		return GW_OK;
	}
	*decoded = true;
	if (sound && (error = gw_series_decode(search->reader, search->series, filed.chunk, &search->points)) == GW_OK)
		offer(search, search->points.at, search->points.count);
	else if (error != GW_E_MEMORY)
		gw_series_damaged(search->store, search->series, search->at, sound ? gw_error_text(error) : "checksum of its head");
	return error == GW_E_MEMORY ? error : GW_OK;
}

// Some chunks in a transaction.
static enum gw_error
look_at_chunks(struct search *search)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	MDB_txn *txn;
	enum gw_error error = gw_series_reader(search->store, &txn);
	int rc;

	if (error != GW_OK)
		return error;
	if ((error = gw_series_error(rc = mdb_cursor_open(txn, search->store->tables[GW_S_CHUNKS], &cursor))) == GW_OK) {
		for (size_t decoded = 0; decoded < WALK_CHUNKS && error == GW_OK && (rc = step_back(search, cursor, &key, &value)) == 0;) {
			bool one = false;

			error = look_at_chunk(search, key, value, &one);
			decoded += one;
		}
		mdb_cursor_close(cursor);
	}
	gw_series_reader_end(search->store, txn);
	search->end = rc == MDB_NOTFOUND;
	if (error != GW_OK || rc == 0 || rc == MDB_NOTFOUND)
		return error;
	if (gw_series_error(rc) == GW_E_CORRUPT)
		atomic_store(&search->store->broken, true); // the tree, not a chunk: it is opened again, and looked at
	return gw_series_error(rc);
}

// Kept, unless something has changed meanwhile: then it is looked for again the next time.
static void
keep(struct search *search)
{
	struct gw_latest *newest, old;

	pthread_mutex_lock(&search->store->lock);
	newest = &search->store->newest[search->series->id - 1];
	if (newest->state == GW_LATEST_UNKNOWN && newest->changes == search->changes) {
		old = *newest;
		*newest = search->best;
		newest->changes = old.changes;
		search->best = old;
	}
	pthread_mutex_unlock(&search->store->lock);
}

static enum gw_error
room(struct gw_series_value *value, size_t len)
{
	uint8_t *buf;

	if (len <= value->cap)
		return GW_OK;
	if ((buf = realloc(value->buf, len)) == NULL)
		return GW_E_MEMORY;
	value->buf = buf;
	value->cap = len;
	return GW_OK;
}

// Into the value's own storage.
static enum gw_error
give(const struct gw_latest *newest, const struct gw_series *series, struct gw_series_value *value)
{
	size_t texts = origin_bytes(newest->origin);
	enum gw_error error = room(value, texts + copy_bytes(newest));

	if (error != GW_OK)
		return error;
	memcpy(value->buf, newest->origin->bytes, texts);
	get(newest, series, value->buf + texts, value->buf, &value->point);
	value->taken_us = newest->moment_us;
	return GW_OK;
}

static enum gw_error
find(struct gw_series_store *store, const struct gw_series *series, struct gw_series_value *value)
{
	struct search search = { .store = store, .series = series, .clock_us = atomic_load_explicit(&store->clock_now_us, memory_order_relaxed) };
	enum gw_error error = GW_OK;

	if ((search.reader = gw_chunk_reader_new()) == NULL)
		return GW_E_MEMORY;
	error = look_at_tail(&search);
	while (error == GW_OK && !search.end)
		error = look_at_chunks(&search);
	if (error == GW_OK && search.failed)
		error = GW_E_MEMORY;
	if (error == GW_OK)
		error = search.best.state == GW_LATEST_KNOWN ? give(&search.best, series, value) : GW_E_NOT_FOUND;
	if (error == GW_OK || error == GW_E_NOT_FOUND)
		keep(&search);
	gw_latest_fini(&search.best);
	gw_tail_free(&search.tail);
	gw_points_free(&search.points);
	gw_chunk_reader_free(search.reader);
	return error;
}

// ---- The readers' side ----

void
gw_series_value_free(struct gw_series_value *value)
{
	free(value->buf);
	*value = (struct gw_series_value){ 0 };
}

enum gw_error
gw_series_last(struct gw_series_store *store, uint32_t id, struct gw_series_value *value)
{
	const struct gw_series *series = NULL;
	const struct gw_latest *newest;
	enum gw_error error = GW_E_NOT_FOUND;
	bool known = true;

	pthread_mutex_lock(&store->lock);
	if (id > 0 && id <= store->ids && (series = store->series[id - 1]) != NULL) {
		newest = &store->newest[id - 1];
		known = newest->state != GW_LATEST_UNKNOWN;
		if (newest->state == GW_LATEST_KNOWN)
			error = give(newest, series, value);
	}
	pthread_mutex_unlock(&store->lock);
	return known ? error : find(store, series, value);
}

// What was copied under one lock.
struct batch {
	const struct gw_series *series[BATCH];
	struct gw_point points[BATCH];
	int64_t moments[BATCH];
	bool known[BATCH];
	size_t count, used;
	uint8_t bytes[BATCH_BYTES];
};

// Where its texts lie among what was copied; NULL: no room.
static const uint8_t *
copy_origin(struct batch *batch, const struct gw_latest_origin *origin, const struct gw_latest_origin **last, const uint8_t **at)
{
	size_t len = origin_bytes(origin);

	if (*last == origin)
		return *at;
	if (sizeof(batch->bytes) - batch->used < len)
		return NULL;
	*last = origin;
	*at = memcpy(batch->bytes + batch->used, origin->bytes, len);
	batch->used += len;
	return *at;
}

// False: the batch is full. A reading that is too large for any is given as one that is not known: by itself.
static bool
copy_one(struct batch *batch, const struct gw_series *series, const struct gw_latest *newest, const struct gw_latest_origin **last, const uint8_t **texts)
{
	size_t i = batch->count, need;
	const uint8_t *at;

	if (newest->state == GW_LATEST_NONE)
		return true;
	if (i == BATCH)
		return false;
	batch->series[i] = series;
	batch->known[i] = newest->state == GW_LATEST_KNOWN;
	if (batch->known[i]) {
		need = copy_bytes(newest);
		if (need + origin_bytes(newest->origin) > BATCH_BYTES)
			batch->known[i] = false;
		else if ((at = copy_origin(batch, newest->origin, last, texts)) == NULL || sizeof(batch->bytes) - batch->used < need)
			return false;
		else {
			get(newest, series, batch->bytes + batch->used, at, &batch->points[i]);
			batch->moments[i] = newest->moment_us;
			batch->used += need;
		}
	}
	batch->count++;
	return true;
}

// Those that come next, nearer to the processor: what is walked through is mostly in none of its caches.
static void
expect(struct gw_series_device **devices, size_t count, size_t at)
{
	if (at + 4 < count)
		__builtin_prefetch(devices[at + 4]);
	if (at + 2 < count)
		__builtin_prefetch(devices[at + 2]->series);
}

// Goes on at *device and *series (NULL: the device's first).
static void
fill(struct gw_series_store *store, struct batch *batch, struct gw_series_device **devices, size_t count, size_t *device, const struct gw_series **series)
{
	const struct gw_latest_origin *last = NULL;
	const uint8_t *texts = NULL;
	bool room_left = true;

	batch->count = batch->used = 0;
	pthread_mutex_lock(&store->lock);
	for (; *device < count && room_left; ) {
		if (*series == NULL) {
			*series = gw_series_of_device(devices[*device]);
			expect(devices, count, *device);
		}
		for (; *series != NULL && (room_left = copy_one(batch, *series, &store->newest[(*series)->id - 1], &last, &texts)); *series = (*series)->next)
			__builtin_prefetch(&store->newest[(*series)->id]); // most probably the next one's
		*device += room_left;
	}
	pthread_mutex_unlock(&store->lock);
}

static enum gw_error
pass_on(struct gw_series_store *store, const struct batch *batch, struct gw_series_info *info, gw_series_newest_fn *fn, void *arg, bool *more)
{
	struct gw_series_value value = { 0 };
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < batch->count && *more && error == GW_OK; i++) {
		const struct gw_series *series = batch->series[i];

		if (i == 0 || series->device != batch->series[i - 1]->device)
			memcpy(info->device, series->device->name, sizeof(info->device));
		info->id = series->id;
		info->signal = series->signal;
		info->instance = series->instance;
		info->waveform = series->waveform;
		if (batch->known[i])
			*more = fn(arg, info, &batch->points[i], batch->moments[i]);
		else if ((error = gw_series_last(store, series->id, &value)) == GW_OK)
			*more = fn(arg, info, &value.point, value.taken_us);
		else if (error == GW_E_NOT_FOUND)
			error = GW_OK;
	}
	gw_series_value_free(&value);
	return error;
}

// Devices are there until the store is closed.
static struct gw_series_device **
list(struct gw_series_store *store, const char (*names)[GW_ID_MAX + 1], size_t *count)
{
	struct gw_series_device **devices, *device;
	size_t wanted = *count;

	pthread_mutex_lock(&store->lock);
	if (names == NULL)
		devices = gw_series_devices_sorted(store, count);
	else if ((devices = malloc((wanted + 1) * sizeof(struct gw_series_device *))) != NULL) {
		*count = 0;
		for (size_t i = 0; i < wanted; i++)
			if ((device = gw_series_device(store, gw_span_text(names[i]))) != NULL)
				devices[(*count)++] = device;
	}
	pthread_mutex_unlock(&store->lock);
	return devices;
}

enum gw_error
gw_series_newest(struct gw_series_store *store, const char (*names)[GW_ID_MAX + 1], size_t count, gw_series_newest_fn *fn, void *arg)
{
	struct gw_series_device **devices = list(store, names, &count);
	struct batch *batch = malloc(sizeof(*batch));
	const struct gw_series *series = NULL;
	struct gw_series_info info = { 0 };
	size_t device = 0;
	bool more = true;
	enum gw_error error = devices != NULL && batch != NULL ? GW_OK : GW_E_MEMORY;

	while (device < count && more && error == GW_OK) {
		fill(store, batch, devices, count, &device, &series);
		error = pass_on(store, batch, &info, fn, arg, &more);
	}
	free(batch);
	free(devices);
	return error;
}
