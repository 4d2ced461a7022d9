// SPDX-License-Identifier: Apache-2.0
// Whether series and journal agree (gateway/series_mend.h). Both are read once from front to end, whatever their size, and give a sum and a count for each
// series, over the readings received in a time that the journal holds whole. Sums that differ may be readings that moved meanwhile, from a tail to a chunk
// say: only where both sides differ reading by reading, each looked up, there is a difference.
#include "gateway/bytes.h"
#include "gateway/clock.h"
#include "gateway/hash.h"
#include "gateway/journal_copy.h"
#include "gateway/series_internal.h"
#include "gateway/series_mend.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define EDGE_US INT64_C(60000000) // of receive times around the journal's first record: threads stamp them, clocks are set
#define GAPS_MAX 256
#define KEPT_SLACK_US INT64_C(86400000000) // by which the store's clock may be ahead of what retention was told

struct sum {
	uint64_t count, total;
};

struct gap {
	uint64_t from, to;
};

struct agree {
	struct gw_series_store *store, *table; // the second: series by name, without a file
	struct gw_journal *journal;
	const struct gw_series_retention *retention;
	const struct gw_series_watch *watch;
	struct gw_series_agreed *agreed;
	struct sum *journal_sums, *series_sums; // by id - 1 in the table
	size_t cap;
	int64_t from_us, to_us;                 // receive times that are compared
	uint64_t upto;
	struct gap gaps[GAPS_MAX];
	size_t gap_count;
	bool pressed;
	uint8_t *buf;
	uint64_t chunks_total, chunks, rollups;
	enum gw_error error;
};

// ---- Readings as numbers ----

static uint64_t
digest_of(const struct gw_reading *reading)
{
	uint64_t hash = gw_hash_mix((uint64_t)reading->time_us + 1) ^ gw_hash_mix(((uint64_t)reading->sequence << 32 | reading->unit) + 2);

	hash = gw_hash_mix(hash ^ ((uint64_t)(reading->flags & ~GW_FLAG_REVISION) << 32 | (uint32_t)reading->kind << 8 | reading->type));
	switch (reading->type) {
	case GW_VALUE_DECIMAL:
		hash = gw_hash_mix(hash ^ (uint64_t)reading->decimal.mantissa) + (uint64_t)(uint16_t)reading->decimal.exponent;
		break;
	case GW_VALUE_CODE:
		hash = gw_hash_mix(hash ^ reading->code);
		break;
	case GW_VALUE_TEXT:
		hash = gw_hash_bytes(hash, reading->text);
		break;
	case GW_VALUE_SAMPLES:
		hash = gw_hash_mix(hash ^ (uint64_t)reading->samples.period_ns) + (uint64_t)(uint16_t)reading->samples.exponent;
		hash = gw_hash_bytes(hash, gw_span(reading->samples.at, (size_t)reading->samples.count * 4));
		break;
	default:
		break;
	}
	return gw_hash_bytes(gw_hash_bytes(hash, reading->received), reading->unit_received);
}

static bool
counts(const struct agree *agree, int64_t received_us)
{
	return received_us >= agree->from_us && received_us < agree->to_us;
}

static int64_t
as_kept(const struct gw_reading *reading, int64_t received_us)
{
	return gw_chunk_received(reading->time_us, received_us, GW_CHUNK_RECEIVED_PLACES);
}

// The place of a series in the sums; SIZE_MAX: out of memory.
static size_t
place_of(struct agree *agree, struct gw_series_device *device, const struct gw_reading *reading)
{
	struct gw_series *series = device != NULL ? gw_series_lookup(agree->table, device, reading->signal, reading->instance) : NULL;
	struct sum *journal_sums, *series_sums;
	size_t cap;

	if (series == NULL && device != NULL && (series = gw_series_make(agree->table, device, reading->signal, reading->instance, 0)) != NULL)
		series->waveform = reading->type == GW_VALUE_SAMPLES;
	if (series != NULL && series->id <= agree->cap)
		return series->id - 1;
	cap = agree->cap > 0 ? agree->cap * 2 : 1024;
	if (series == NULL || (journal_sums = realloc(agree->journal_sums, cap * sizeof(*journal_sums))) == NULL)
		goto fail;
	agree->journal_sums = journal_sums;
	if ((series_sums = realloc(agree->series_sums, cap * sizeof(*series_sums))) == NULL)
		goto fail;
	agree->series_sums = series_sums;
	memset(journal_sums + agree->cap, 0, (cap - agree->cap) * sizeof(struct sum));
	memset(series_sums + agree->cap, 0, (cap - agree->cap) * sizeof(struct sum));
	agree->cap = cap;
	return series->id - 1;
fail:
	agree->error = GW_E_MEMORY;
	return SIZE_MAX;
}

static void
add(struct sum *sum, const struct gw_reading *reading)
{
	sum->count++;
	sum->total += digest_of(reading);
}

// ---- The journal's side ----

static void
add_record(struct agree *agree, const struct gw_record *record)
{
	struct gw_series_device *device;
	struct gw_reading reading;
	struct gw_batch batch;

	if (record->type != GW_RECORD_READINGS || gw_batch_open(record, &batch, NULL) != GW_OK)
		return;
	if ((device = gw_series_device_make(agree->table, batch.head.device)) == NULL)
		agree->error = GW_E_MEMORY;
	while (agree->error == GW_OK && gw_batch_next(&batch, &reading)) {
		size_t place;

		if (gw_reading_is_erased(&reading) || !counts(agree, as_kept(&reading, batch.head.received_us)) || (place = place_of(agree, device, &reading)) == SIZE_MAX)
			continue;
		add(&agree->journal_sums[place], &reading);
		agree->agreed->journal++;
	}
}

// Receive time of a record; 0 where there is none.
static int64_t
received_at(struct agree *agree, uint64_t position)
{
	struct gw_record record;

	return gw_journal_one(agree->journal, position, agree->buf, GW_RECORD_MAX + 16, &record) == GW_OK ? record.received_us : 0;
}

static enum gw_error
sum_journal(struct agree *agree)
{
	const struct gw_series_watch *watch = agree->watch;
	uint64_t first = gw_journal_first(agree->journal), at = first;
	struct gw_record record;
	size_t used = 1;
	enum gw_error error = GW_OK;

	while (error == GW_OK && used > 0 && at <= agree->upto && (error = gw_journal_read(agree->journal, at, agree->buf, GW_RECORD_MAX + 16, &used, &at)) == GW_OK) {
		struct gw_span rest = gw_span(agree->buf, used);

		while (gw_journal_step(&rest, &record) && record.position <= agree->upto)
			add_record(agree, &record);
		error = agree->error;
		if (error == GW_OK && watch->progress != NULL && !watch->progress(watch->arg, "journal against series", at - first, agree->upto - first + 1))
			error = GW_E_STOPPING;
	}
	return error;
}

// ---- The store's side ----

static void
add_points(struct agree *agree, const struct gw_series *series, const struct gw_points *points)
{
	struct gw_series_device *device = NULL;

	for (size_t i = 0; i < points->count; i++) {
		const struct gw_point *point = &points->at[i];
		size_t place;

		if (!counts(agree, as_kept(&point->reading, point->received_us)))
			continue;
		if (device == NULL && (device = gw_series_device_make(agree->table, gw_span(series->device->name, series->device->len))) == NULL)
			agree->error = GW_E_MEMORY;
		if ((place = place_of(agree, device, &point->reading)) == SIZE_MAX)
			return;
		add(&agree->series_sums[place], &point->reading);
		agree->agreed->series++;
	}
}

static bool
take_points(void *arg, const struct gw_series *series, const struct gw_points *points)
{
	struct agree *agree = arg;
	const struct gw_series_watch *watch = agree->watch;

	if (series == NULL) // a roll-up
		return watch->progress == NULL || watch->progress(watch->arg, "roll-ups", ++agree->rollups, 0);
	add_points(agree, series, points);
	agree->chunks++;
	return agree->error == GW_OK &&
	    (watch->progress == NULL || agree->chunks % 256 != 0 || watch->progress(watch->arg, "series, chunks", agree->chunks, agree->chunks_total));
}

// What is in no chunk yet. A tail is looked at with the store's lock held: it moves otherwise.
static enum gw_error
sum_tails(struct agree *agree)
{
	struct gw_series_store *store = agree->store;
	struct gw_points points = { 0 };
	enum gw_error error = GW_OK;
	bool more = true;

	for (size_t i = 0; more && error == GW_OK; i++) {
		pthread_mutex_lock(&store->lock);
		if ((more = i < store->ids) && store->series[i] != NULL && store->series[i]->tail.count > 0) {
			const struct gw_series *series = store->series[i];

			points.count = 0;
			gw_arena_reset(&points.arena);
			if ((error = gw_tail_points(&series->tail, series->signal, series->instance, &points)) == GW_OK)
				add_points(agree, series, &points);
		}
		pthread_mutex_unlock(&store->lock);
		error = error == GW_OK ? agree->error : error;
	}
	gw_points_free(&points);
	return error;
}

// Which receive times the journal holds whole: all since its first record; where something was trimmed before it, since somewhat later.
static void
set_begin(struct agree *agree)
{
	uint64_t first = gw_journal_first(agree->journal);
	int64_t first_us = received_at(agree, first);

	agree->from_us = first > 1 ? first_us + EDGE_US : first_us - EDGE_US;
}

// ---- Reading by reading ----

struct member {
	uint64_t digest;
	int64_t received_us;
	bool matched;
};

struct compare {
	struct agree *agree;
	const struct gw_series *series;
	struct gw_series_cursor *cursor;
	struct gw_point ahead;          // the store's next; its words are not used
	uint64_t ahead_digest;
	bool has_ahead, any;
	int64_t time_us, first_us;      // of the members; of the store's first reading
	struct member *members;         // the store's of that time
	size_t count, cap;
	enum gw_error error;
};

static void __attribute__((format(printf, 3, 4)))
name_reading(struct compare *compare, int64_t time_us, const char *format, ...)
{
	const struct gw_series_watch *watch = compare->agree->watch;
	char text[256], words[120], time[40];
	va_list args;

	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	snprintf(text, sizeof(text), "series %s %u/%u, %s: %s", compare->series->device->name, compare->series->signal, compare->series->instance,
	    gw_time_format(time_us, time), words);
	if (watch->place != NULL)
		watch->place(watch->arg, text);
}

static void
step(struct compare *compare)
{
	const struct gw_point *point;

	compare->error = gw_series_next(compare->cursor, &point);
	compare->has_ahead = compare->error == GW_OK;
	if (compare->error == GW_E_NOT_FOUND)
		compare->error = GW_OK;
	if (!compare->has_ahead)
		return;
	compare->ahead = *point;
	compare->ahead_digest = digest_of(&point->reading);
	if (!compare->any)
		compare->first_us = point->reading.time_us;
	compare->any = true;
}

// The store has it, the journal does not, though it should. What was received around the journal's beginning may be trimmed by now.
static void
end_members(struct compare *compare)
{
	struct agree *agree = compare->agree;

	for (size_t i = 0; i < compare->count; i++) {
		const struct member *member = &compare->members[i];

		if (member->matched || !counts(agree, member->received_us))
			continue;
		agree->agreed->extra++;
		name_reading(compare, compare->time_us, "the journal does not have it");
	}
	compare->count = 0;
}

static bool
add_member(struct compare *compare)
{
	if (compare->count == compare->cap) {
		size_t cap = compare->cap > 0 ? compare->cap * 2 : 16;
		struct member *members = realloc(compare->members, cap * sizeof(*members));

		if (members == NULL) {
			compare->error = GW_E_MEMORY;
			return false;
		}
		compare->members = members;
		compare->cap = cap;
	}
	compare->members[compare->count++] = (struct member){ compare->ahead_digest, as_kept(&compare->ahead.reading, compare->ahead.received_us), false };
	return true;
}

// The store's readings of this time are the members; what comes before it has no partner.
static void
move_to(struct compare *compare, int64_t time_us, bool end)
{
	if (!end && compare->count > 0 && compare->time_us == time_us)
		return;
	end_members(compare);
	while (compare->error == GW_OK && compare->has_ahead && (end || compare->ahead.reading.time_us <= time_us)) {
		if (compare->count > 0 && compare->ahead.reading.time_us != compare->time_us)
			end_members(compare);
		compare->time_us = compare->ahead.reading.time_us;
		if (!add_member(compare))
			return;
		step(compare);
	}
	if (compare->count > 0 && (end || compare->time_us != time_us))
		end_members(compare);
	compare->time_us = time_us;
}

static bool
in_gap(const struct agree *agree, uint64_t position)
{
	for (size_t i = 0; i < agree->gap_count; i++)
		if (position >= agree->gaps[i].from && position <= agree->gaps[i].to)
			return true;
	return false;
}

// Why it may well be missing.
static bool
is_retired(const struct compare *compare, const struct gw_reading *reading, int64_t received_us)
{
	const struct agree *agree = compare->agree;
	int64_t keep_us = compare->series->waveform ? agree->retention->waveforms_us : agree->retention->numerics_us;

	if (keep_us > 0 && received_us < gw_clock_wall_us() - keep_us + (keep_us > 4 * KEPT_SLACK_US ? KEPT_SLACK_US : keep_us / 4))
		return true;
	return agree->pressed && (!compare->any || reading->time_us < compare->first_us);
}

static void
look_for(struct compare *compare, const struct gw_reading *reading, int64_t received_us, uint64_t position)
{
	struct agree *agree = compare->agree;
	uint64_t digest = digest_of(reading);

	move_to(compare, reading->time_us, false);
	for (size_t i = 0; i < compare->count; i++)
		if (compare->members[i].digest == digest) {
			compare->members[i].matched = true;
			return;
		}
	if (position > agree->upto || compare->error != GW_OK)
		return;
	if (in_gap(agree, position))
		agree->agreed->left_out++;
	else if (is_retired(compare, reading, received_us))
		agree->agreed->retired++;
	else {
		agree->agreed->missing++;
		name_reading(compare, reading->time_us, "record %llu of the journal has it, the series store does not", (unsigned long long)position);
	}
}

static bool
take_record(void *arg, int64_t time_us, const struct gw_record *record)
{
	struct compare *compare = arg;
	struct gw_reading reading;
	struct gw_batch batch;

	if (gw_batch_open(record, &batch, NULL) != GW_OK)
		return true;
	while (compare->error == GW_OK && gw_batch_next(&batch, &reading))
		if (!gw_reading_is_erased(&reading) && reading.time_us == time_us && reading.signal == compare->series->signal && reading.instance == compare->series->instance)
			look_for(compare, &reading, record->received_us, record->position);
	return compare->error == GW_OK;
}

// A series that the store does not have has no readings there.
static enum gw_error
compare_series(struct agree *agree, const struct gw_series *series)
{
	struct gw_span device = gw_span(series->device->name, series->device->len);
	struct compare compare = { .agree = agree, .series = series };
	struct gw_series_info info;
	enum gw_error error = GW_OK;

	if (gw_series_find(agree->store, device, series->signal, series->instance, &info) &&
	    (error = gw_series_read(agree->store, info.id, INT64_MIN, INT64_MAX, &compare.cursor)) != GW_OK)
		return error;
	if (compare.cursor != NULL)
		step(&compare);
	if (compare.error == GW_OK)
		error = gw_journal_range(agree->journal, device, INT64_MIN, INT64_MAX, take_record, &compare);
	if (error == GW_OK && compare.error == GW_OK)
		move_to(&compare, INT64_MAX, true);
	gw_series_end(compare.cursor);
	free(compare.members);
	return error != GW_OK ? error : compare.error;
}

static enum gw_error
compare_differing(struct agree *agree)
{
	const struct gw_series_watch *watch = agree->watch;
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < agree->table->ids && i < agree->cap && error == GW_OK; i++) {
		const struct sum *a = &agree->journal_sums[i], *b = &agree->series_sums[i];

		if (a->count == b->count && a->total == b->total)
			continue;
		if (watch->progress != NULL && !watch->progress(watch->arg, "series that differ", i, agree->table->ids))
			return GW_E_STOPPING;
		gw_journal_hold(agree->journal);
		set_begin(agree); // what was trimmed meanwhile
		error = compare_series(agree, agree->table->series[i]);
		gw_journal_release(agree->journal);
	}
	return error;
}

// ---- All of it ----

static bool
take_gap(void *arg, struct gw_span key, struct gw_span value)
{
	struct agree *agree = arg;
	char digits[17] = "";

	if (key.len < 16 || value.len < 16 || agree->gap_count == GAPS_MAX)
		return agree->gap_count < GAPS_MAX;
	memcpy(digits, key.at + key.len - 16, 16);
	agree->gaps[agree->gap_count++] = (struct gap){ gw_get64(value.at + 8), strtoull(digits, NULL, 16) };
	return true;
}

enum gw_error
gw_series_agree(struct gw_series_store *store, struct gw_journal *journal, const struct gw_series_retention *retention, const struct gw_series_watch *watch,
    gw_series_damage_fn *damage, void *arg, struct gw_series_verified *chunks, struct gw_series_agreed *agreed)
{
	struct agree agree = { .store = store, .table = gw_series_memory(), .journal = journal, .retention = retention, .watch = watch, .agreed = agreed };
	struct gw_series_stats stats;
	enum gw_error error = (agree.buf = malloc(GW_RECORD_MAX + 16)) != NULL && agree.table != NULL ? GW_OK : GW_E_MEMORY;

	*agreed = (struct gw_series_agreed){ 0 };
	*chunks = (struct gw_series_verified){ 0 };
	gw_series_stats(store, &stats);
	agree.chunks_total = stats.chunks;
	agree.pressed = stats.file_bytes - stats.free_bytes > stats.budget_bytes / 4 * 3 || stats.full;
	agree.upto = gw_series_taken(store);
	if (error == GW_OK && agree.upto > 0) {
		set_begin(&agree);
		agree.to_us = gw_journal_last(journal) > agree.upto ? received_at(&agree, agree.upto) : INT64_MAX;
		if ((error = gw_journal_each(journal, gw_span_text("outlet/series/gap/"), gw_span("", 0), take_gap, &agree)) == GW_OK)
			error = sum_journal(&agree);
	}
	if (error == GW_OK && (error = sum_tails(&agree)) == GW_OK)
		error = gw_series_walk(store, damage, arg, take_points, &agree, chunks);
	if (error == GW_OK && (error = agree.error) == GW_OK && agree.upto > 0)
		error = compare_differing(&agree);
	gw_series_close(agree.table);
	free(agree.journal_sums);
	free(agree.series_sums);
	free(agree.buf);
	return error;
}
