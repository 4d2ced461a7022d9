// SPDX-License-Identifier: Apache-2.0
// Taking again what the journal holds, and whatever can be read of a damaged file (gateway/series_mend.h). Readings are gathered by series in tails of their
// own, in a store without a file, until they are many: so each chunk is looked at once for all that may belong to it.
#include "gateway/clock.h"
#include "gateway/diag.h"
#include "gateway/pages.h"
#include "gateway/series_internal.h"
#include "gateway/series_mend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define GATHER_BYTES (64u << 20)
#define ONE_POINTS (1u << 18) // of one series: they are decoded all at once
#define ADOPT_POINTS (4u * GW_CHUNK_POINTS_MAX)

static bool
tell(const struct gw_series_watch *watch, const char *what, uint64_t done, uint64_t total)
{
	return watch == NULL || watch->progress == NULL || watch->progress(watch->arg, what, done, total);
}

static void __attribute__((format(printf, 2, 3)))
name_place(const struct gw_series_watch *watch, const char *format, ...)
{
	char text[256];
	va_list args;

	if (watch == NULL || watch->place == NULL)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	watch->place(watch->arg, text);
}

static struct gw_series_info
info_of(const struct gw_series *series)
{
	struct gw_series_info info = { .id = series->id, .signal = series->signal, .instance = series->instance, .waveform = series->waveform };

	memcpy(info.device, series->device->name, sizeof(info.device));
	return info;
}

// ---- The journal ----

struct retake {
	struct gw_series_store *store, *gathered;
	const struct gw_series_retention *retention;
	struct gw_series_retaken *retaken;
	struct gw_points points;
	int64_t now_us;
};

// Those that retention has let go already do not come back.
static void
pass_old(struct retake *retake, bool waveform)
{
	int64_t keep_us = waveform ? retake->retention->waveforms_us : retake->retention->numerics_us;
	struct gw_points *points = &retake->points;
	size_t kept = 0;

	for (size_t i = 0; i < points->count; i++)
		if (keep_us == 0 || points->at[i].received_us > retake->now_us - keep_us)
			points->at[kept++] = points->at[i];
	retake->retaken->passed += points->count - kept;
	points->count = kept;
}

static enum gw_error
adopt_one(struct retake *retake, struct gw_adopt *adopt, struct gw_series *series)
{
	struct gw_series_info info = info_of(series);
	struct gw_points *points = &retake->points;
	enum gw_error error;

	points->count = 0;
	gw_arena_reset(&points->arena);
	if ((error = gw_tail_points(&series->tail, series->signal, series->instance, points)) != GW_OK || (error = gw_points_sort(points)) != GW_OK)
		return error;
	retake->retaken->readings += points->count;
	pass_old(retake, series->waveform);
	for (size_t at = 0; at < points->count && error == GW_OK; at += ADOPT_POINTS)
		error = gw_adopt_put(adopt, &info, points->at + at, points->count - at < ADOPT_POINTS ? points->count - at : ADOPT_POINTS, 0);
	return error;
}

static enum gw_error
adopt_gathered(struct retake *retake)
{
	struct gw_series_store *gathered = retake->gathered;
	struct gw_adopt *adopt = NULL;
	enum gw_error error = gw_adopt_begin(retake->store, &adopt), ended;

	for (size_t i = 0; i < gathered->ids && error == GW_OK; i++) {
		struct gw_series *series = gathered->series[i];

		if (series == NULL || series->tail.count == 0)
			continue;
		error = adopt_one(retake, adopt, series);
		gw_tail_free(&series->tail);
	}
	atomic_store(&gathered->tail_bytes, 0);
	ended = gw_adopt_end(adopt, &retake->retaken->added);
	return error != GW_OK ? error : ended;
}

// Whether what was gathered is to go into the store before more is read.
static bool
is_enough(struct gw_series_store *gathered)
{
	if (atomic_load(&gathered->tail_bytes) > GATHER_BYTES)
		return true;
	for (size_t i = 0; i < gathered->ids; i++)
		if (gathered->series[i] != NULL && gathered->series[i]->tail.count > ONE_POINTS)
			return true;
	return false;
}

static enum gw_error
retake_all(struct retake *retake, struct gw_journal *journal, uint64_t upto, const struct gw_series_watch *watch, uint8_t *buf)
{
	uint64_t first = gw_journal_first(journal), at = first;
	struct gw_record record;
	size_t used = 1;
	enum gw_error error = GW_OK;

	while (error == GW_OK && used > 0 && at <= upto && (error = gw_journal_read(journal, at, buf, GW_RECORD_MAX + 16, &used, &at)) == GW_OK) {
		struct gw_span rest = gw_span(buf, used);

		while (error == GW_OK && gw_journal_step(&rest, &record) && record.position <= upto) {
			retake->retaken->records++;
			if (record.type != 0)
				error = gw_series_take(retake->gathered, &record);
			else
				name_place(watch, "record %llu of the journal is damaged: left out", (unsigned long long)record.position);
		}
		if (error == GW_OK && is_enough(retake->gathered))
			error = adopt_gathered(retake);
		if (error == GW_OK && !tell(watch, "journal", at - first, upto - first + 1))
			error = GW_E_STOPPING;
	}
	return error == GW_OK ? adopt_gathered(retake) : error;
}

// What is in tails would be found missing in chunks.
static enum gw_error
write_tails(struct gw_series_store *store)
{
	enum gw_error error = GW_OK;
	bool more = true;

	while (more && error == GW_OK)
		error = gw_series_flush(store, 0, &more);
	return error;
}

enum gw_error
gw_series_retake(struct gw_series_store *store, struct gw_journal *journal, uint64_t upto, const struct gw_series_retention *retention,
    const struct gw_series_watch *watch, struct gw_series_retaken *retaken)
{
	struct retake retake = { .store = store, .gathered = gw_series_memory(), .retention = retention, .retaken = retaken, .now_us = gw_clock_wall_us() };
	uint8_t *buf = malloc(GW_RECORD_MAX + 16);
	enum gw_error error = GW_E_MEMORY;

	*retaken = (struct gw_series_retaken){ 0 };
	if (buf != NULL && retake.gathered != NULL && (error = write_tails(store)) == GW_OK)
		error = upto > 0 ? retake_all(&retake, journal, upto, watch, buf) : GW_OK;
	gw_points_free(&retake.points);
	gw_series_close(retake.gathered);
	free(buf);
	return error;
}

// ---- A file ----

struct salvage {
	struct gw_series_store *known;   // its table of series; without a file
	struct gw_adopt *adopt;          // NULL: only looked at
	uint64_t added;
	const struct gw_series_watch *watch;
	struct gw_series_verified *verified;
	uint64_t series;
	struct gw_chunk_reader *reader;
	struct gw_points points;
	uint32_t id;                     // of the chunk before
	struct gw_place last;
	enum gw_error error;
};

static void
page_damaged(void *arg, uint64_t page, const char *table, const char *words)
{
	struct salvage *salvage = arg;

	salvage->verified->damaged++;
	name_place(salvage->watch, "series: page %llu%s%s: %s", (unsigned long long)page, table[0] != '\0' ? " of " : "", table, words);
}

static bool
page_progress(void *arg, uint64_t pages, uint64_t total)
{
	struct salvage *salvage = arg;

	(void)total;
	// Whoever is told may let go of the store for a moment.
	if (salvage->adopt != NULL && (salvage->error = gw_adopt_pause(salvage->adopt)) != GW_OK)
		return false;
	if (tell(salvage->watch, "series", pages, 0))
		return true;
	gw_adopt_drop(salvage->adopt, &salvage->added);
	salvage->adopt = NULL;
	return false;
}

static bool
take_row(void *arg, struct gw_span key, struct gw_span value)
{
	struct salvage *salvage = arg;
	enum gw_error error = gw_series_row_load(salvage->known, gw_series_val(key.at, key.len), gw_series_val(value.at, value.len));

	if (error == GW_E_MEMORY)
		salvage->error = error;
	salvage->series++;
	return error != GW_E_MEMORY;
}

// What is wrong with it; NULL: nothing.
static const char *
look(struct salvage *salvage, const struct gw_series *series, const struct gw_filed *filed)
{
	struct gw_points *points = &salvage->points;

	if (series == NULL)
		return "it belongs to no series";
	if (gw_series_decode(salvage->reader, series, filed->chunk, points) != GW_OK)
		return "it does not match its checksum, or cannot be decoded";
	if (points->count != filed->count || points->count == 0 || gw_place_compare(gw_place_of(&points->at[0]), filed->first) != 0 ||
	    gw_place_compare(gw_place_of(&points->at[points->count - 1]), filed->last) != 0)
		return "it is not the chunk that its key says";
	// What is taken over is merged: a reading in both is one, and of none is any lost.
	if (salvage->adopt == NULL && salvage->id == filed->id && gw_place_compare(salvage->last, filed->first) >= 0)
		return "it overlaps the one before";
	return NULL;
}

static void
name_chunk(struct salvage *salvage, const struct gw_series *series, int64_t first_us, const char *words)
{
	char time[40];

	salvage->verified->damaged++;
	name_place(salvage->watch, "series %s %u/%u, chunk from %s: %s", series != NULL ? series->device->name : "(unknown)",
	    series != NULL ? series->signal : 0, series != NULL ? series->instance : 0, gw_time_format(first_us, time), words);
}

static bool
take_chunk(void *arg, struct gw_span key, struct gw_span value)
{
	struct salvage *salvage = arg;
	const struct gw_series *series = NULL;
	struct gw_filed filed = { 0 };
	struct gw_series_info info;
	const char *words = "its head does not match its checksum";
	uint32_t id = key.len == GW_CHUNK_KEY ? gw_chunk_key_id(key.at) : 0;

	if (id > 0 && id <= salvage->known->ids)
		series = salvage->known->series[id - 1];
	if (!gw_filed_get(gw_series_val(key.at, key.len), gw_series_val(value.at, value.len), &filed) || (words = look(salvage, series, &filed)) != NULL) {
		name_chunk(salvage, series, key.len == GW_CHUNK_KEY ? gw_chunk_key_place(key.at).time_us : 0, words);
		return true;
	}
	salvage->id = filed.id;
	salvage->last = filed.last;
	salvage->verified->chunks++;
	salvage->verified->readings += filed.count;
	salvage->verified->bytes += value.len;
	if (salvage->adopt == NULL)
		return true;
	info = info_of(series);
	salvage->error = gw_adopt_put(salvage->adopt, &info, salvage->points.at, salvage->points.count, filed.filed_us);
	return salvage->error == GW_OK;
}

static enum gw_error
walk_file(struct salvage *salvage, int fd, struct gw_why *why)
{
	struct gw_pages_walk rows = { .table = "series", .entry = take_row, .arg = salvage };
	struct gw_pages_walk chunks = { .table = "chunks", .entry = take_chunk, .damage = page_damaged, .progress = page_progress, .arg = salvage, .deep = true };
	struct gw_pages_seen seen;
	enum gw_error error;

	salvage->known = gw_series_memory();
	salvage->reader = gw_chunk_reader_new();
	if (salvage->known == NULL || salvage->reader == NULL)
		error = gw_fail(why, GW_E_MEMORY, "out of memory");
	else if ((error = gw_pages_walk(fd, &rows, &seen, why)) == GW_OK)
		error = gw_pages_walk(fd, &chunks, &seen, why);
	// A damaged row was named in the log; here it counts.
	if (salvage->known != NULL) {
		uint64_t bad = atomic_load(&salvage->known->damaged);

		salvage->verified->damaged += bad;
		if (bad > 0)
			name_place(salvage->watch, "series: %llu rows do not match their checksums", (unsigned long long)bad);
	}
	gw_series_close(salvage->known);
	gw_chunk_reader_free(salvage->reader);
	gw_points_free(&salvage->points);
	return salvage->error != GW_OK ? gw_fail(why, salvage->error, "%s", gw_error_text(salvage->error)) : error;
}

enum gw_error
gw_series_verify_file(int fd, const struct gw_series_watch *watch, struct gw_series_verified *verified, struct gw_why *why)
{
	struct salvage salvage = { .watch = watch, .verified = verified };

	*verified = (struct gw_series_verified){ 0 };
	return walk_file(&salvage, fd, why);
}

enum gw_error
gw_series_salvage(struct gw_series_store *store, const char *path, const struct gw_series_watch *watch, struct gw_series_salvaged *salvaged,
    struct gw_why *why)
{
	struct gw_series_verified verified = { 0 };
	struct salvage salvage = { .watch = watch, .verified = &verified };
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	enum gw_error error, ended;

	*salvaged = (struct gw_series_salvaged){ 0 };
	if (fd < 0)
		return gw_fail(why, errno == ENOENT ? GW_E_NOT_FOUND : GW_E_SYSTEM, "cannot open %.120s: %s", path, strerror(errno));
	if ((error = gw_adopt_begin(store, &salvage.adopt)) == GW_OK)
		error = walk_file(&salvage, fd, why);
	ended = salvage.adopt != NULL ? gw_adopt_end(salvage.adopt, &salvage.added) : error;
	salvaged->added = salvage.added;
	close(fd);
	salvaged->series = salvage.series;
	salvaged->chunks = verified.chunks;
	salvaged->readings = verified.readings;
	salvaged->damaged = verified.damaged;
	return error != GW_OK ? error : ended;
}

// ---- Clocks ----

struct clocks {
	struct gw_series_store *store;
	uint64_t taken;
	enum gw_error error;
};

static bool
take_clock(void *arg, struct gw_span key, struct gw_span value)
{
	struct clocks *clocks = arg;
	MDB_val name = gw_series_val(key.at, key.len), row = gw_series_val(value.at, value.len);
	struct gw_clock_history history;
	uint64_t incarnation;

	if (gw_series_clock_row(name, row, &history, &incarnation) != GW_OK)
		return true;
	clocks->error = gw_series_error(mdb_put(clocks->store->txn, clocks->store->tables[GW_S_CLOCKS], &name, &row, 0));
	clocks->taken += clocks->error == GW_OK;
	return clocks->error == GW_OK;
}

enum gw_error
gw_series_take_clocks(struct gw_series_store *store, const char *path, uint64_t *taken)
{
	struct clocks clocks = { .store = store };
	const struct gw_pages_walk walk = { .table = "clocks", .entry = take_clock, .arg = &clocks };
	struct gw_pages_seen seen;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	enum gw_error error;

	*taken = 0;
	if (fd < 0)
		return GW_OK;
	pthread_mutex_lock(&store->write);
	if ((error = gw_series_begin(store)) == GW_OK) {
		if (gw_pages_walk(fd, &walk, &seen, NULL) == GW_E_MEMORY)
			clocks.error = GW_E_MEMORY;
		store->error = clocks.error;
		error = gw_series_commit(store, 0);
	}
	pthread_mutex_unlock(&store->write);
	close(fd);
	*taken = error == GW_OK ? clocks.taken : 0;
	return error;
}

// ---- The store itself ----

struct watched {
	const struct gw_series_watch *watch;
	uint64_t chunks, rollups;
};

static bool
go_on(void *arg, const struct gw_series *series, const struct gw_points *points)
{
	struct watched *watched = arg;

	(void)points;
	return series != NULL ? tell(watched->watch, "chunks", ++watched->chunks, 0) : tell(watched->watch, "roll-ups", ++watched->rollups, 0);
}

enum gw_error
gw_series_verify_watched(struct gw_series_store *store, gw_series_damage_fn *damage, void *arg, const struct gw_series_watch *watch,
    struct gw_series_verified *verified)
{
	struct watched watched = { .watch = watch };

	return gw_series_walk(store, damage, arg, go_on, &watched, verified);
}

// ---- The store's own file ----

static void
own_page_damaged(void *arg, uint64_t page, const char *table, const char *words)
{
	name_place(arg, "series: page %llu%s%s: %s", (unsigned long long)page, table[0] != '\0' ? " of " : "", table, words);
}

static bool
own_page_progress(void *arg, uint64_t pages, uint64_t total)
{
	(void)total;
	return tell(arg, "pages of series", pages, 0);
}

enum gw_error
gw_series_pages(struct gw_series_store *store, const struct gw_series_watch *watch, uint64_t *damaged, struct gw_why *why)
{
	struct gw_pages_walk walk = { .damage = own_page_damaged, .progress = own_page_progress, .arg = (void *)(uintptr_t)watch };
	struct gw_pages_seen seen = { 0 };
	char path[4096];
	MDB_txn *txn;
	enum gw_error error;
	int fd;

	*damaged = 0;
	snprintf(path, sizeof(path), "%s/data.mdb", store->dir);
	if ((fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot open %.120s: %s", path, strerror(errno));
	if ((error = gw_series_reader(store, &txn)) == GW_OK) { // so that the newest state stays where it is
		error = gw_pages_walk(fd, &walk, &seen, why);
		gw_series_reader_end(store, txn);
	}
	close(fd);
	*damaged = seen.damaged;
	return error;
}
