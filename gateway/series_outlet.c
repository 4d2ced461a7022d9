// SPDX-License-Identifier: Apache-2.0
// The series store as an outlet: one thread that follows the journal, takes readings, writes chunks and sweeps. The cursor in the series' own environment is
// the truth; the journal's row comes behind it, so that nothing is trimmed that is not in a chunk.
//
// A store that fails (a sync that failed, damage) is closed and opened again after a while, and looked at whole before. While there is none, the rest of the
// gateway goes on, and the journal keeps what comes up to the outlet's limits. Commands use the store while they hold the parts: it is closed alone.
#include "gateway/series_outlet.h"

#include "gateway/clock.h"
#include "gateway/follow.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MIB (1024ull * 1024)
#define DAY_US INT64_C(86400000000)
#define HOUR_US INT64_C(3600000000)
#define FLUSH_EVERY_US 2000000
#define SWEEP_EVERY_US INT64_C(600000000) // between sweeps of retention
#define PIECE_EVERY_US 1000000            // between the pieces of one
#define HURRIED_HOLD_US 60000000          // at least so long, also where the journal is short of room
#define HELD_BYTES_MAX (256 * MIB)        // of the journal, that a restart takes again: beyond, readings are held for an hour at most
#define HELD_SHARE 16                     // and no more than this part of its budget
#define WAIT_MS 500
#define LOCK_EVERY_US 2000
#define AGAIN_US_MIN 1000000              // until a store that failed is opened again; twice as long each time
#define AGAIN_US_MAX 60000000
#define AGAIN_DAMAGED_US INT64_C(600000000)
#define SOUND_US 60000000                 // one that has run for so long is not one that fails at once

struct outlet {
	struct gw_series_store *_Atomic store; // NULL: it could not be opened, or is closed for a moment
	struct gw_core *core;
	struct gw_journal *journal;
	struct gw_follow *follow;
	struct gw_series_retention retention;
	pthread_t thread;
	_Atomic bool stopping;
	_Atomic int error;      // enum gw_error of the last flush
	int64_t flushed_us, swept_us, piece_us, rolled_us;
	bool sweeping;
	struct gw_diag_limit write_failed;
	int64_t opened_us, again_us, wait_us; // monotonic: when it was opened; when to try again, and how long that is
	pthread_mutex_t lock;   // of why
	struct gw_why why;      // there is no store
	bool suspect;           // the next one is looked at whole
};

static struct outlet *_Atomic running;
static _Atomic uint64_t opened_count;

// What somebody wants done with the store's files while nobody has them open.
struct outside {
	gw_series_outside_fn *fn;
	void *arg;
	struct gw_why *why;
	enum gw_error error;
	bool done;
};
static pthread_mutex_t outside_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t outside_done = PTHREAD_COND_INITIALIZER;
static struct outside *outside; // guarded by the lock

static bool
enabled(const struct gw_config *config)
{
	return config->series_enabled;
}

// ---- The thread ----

// A chunk of readings that come once a minute is worth waiting for, as long as neither a restart nor the journal has to pay for it: what came since is
// taken again, and a journal that is short of room trims what is older than store.retention_full_h and was delivered.
static int64_t
hold_us(struct outlet *outlet)
{
	const struct gw_config *config = outlet->core->config;
	uint64_t usual = (uint64_t)(config->store_budget_mb - config->store_reserve_mb) * MIB, behind, each;
	int64_t keep_us = config->store_retention_full_h * HOUR_US, hold = INT64_MAX;
	struct gw_journal_stats stats;

	gw_journal_stats(outlet->journal, &stats);
	behind = gw_series_taken(outlet->store) - gw_series_cursor(outlet->store);
	each = stats.last >= stats.first ? stats.used_bytes / (stats.last - stats.first + 1) + 1 : 0; // as if records were equally large
	if (behind > HELD_BYTES_MAX / (each + 1) || behind > stats.budget_bytes / HELD_SHARE / (each + 1))
		hold = HOUR_US;
	if (stats.full || stats.used_bytes > usual / 4 * 3)
		hold = keep_us < HURRIED_HOLD_US ? HURRIED_HOLD_US : keep_us < hold ? keep_us : hold;
	return hold;
}

static void
flush(struct outlet *outlet, int64_t now)
{
	bool more = true;
	enum gw_error error = GW_OK;

	while (more && error == GW_OK && !outlet->stopping)
		error = gw_series_flush(outlet->store, hold_us(outlet), &more);
	outlet->flushed_us = now;
	if (error != GW_OK)
		gw_diag_limited(&outlet->write_failed, 60, error == GW_E_FULL ? GW_WARNING : GW_ERROR, "series.write", "%s: %s", gw_error_text(error),
		    error == GW_E_FULL ? "the journal keeps what comes until retention has made room" : "the journal keeps what comes; the store is opened anew");
	atomic_store(&outlet->error, (int)error);
	gw_follow_done(outlet->follow, gw_series_cursor(outlet->store));
}

static void
sweep(struct outlet *outlet, int64_t now)
{
	bool full = outlet->error == GW_E_FULL, more;
	enum gw_error error;

	if (!outlet->sweeping && !full && outlet->swept_us != 0 && now - outlet->swept_us < SWEEP_EVERY_US)
		return;
	if (!full && now - outlet->piece_us < PIECE_EVERY_US)
		return;
	outlet->sweeping = true;
	outlet->piece_us = now;
	error = gw_series_retain(outlet->store, &outlet->retention, &more);
	if (error != GW_OK && error != GW_E_FULL)
		gw_diag_limited(&outlet->write_failed, 60, GW_ERROR, "series.retention", "%s", gw_error_text(error));
	if (!more || error != GW_OK) {
		outlet->sweeping = false;
		outlet->swept_us = now;
	}
}

// A store of before roll-ups gets them piece by piece, beside what comes.
static void
roll_up(struct outlet *outlet, int64_t now)
{
	enum gw_error error;
	bool more;

	if (gw_series_rolled_up(outlet->store) || now - outlet->rolled_us < PIECE_EVERY_US)
		return;
	outlet->rolled_us = now;
	error = gw_series_rollup(outlet->store, false, &more);
	if (error != GW_OK && error != GW_E_FULL)
		gw_diag_limited(&outlet->write_failed, 60, GW_ERROR, "series.rollups", "%s", gw_error_text(error));
}

// What the far side of another outlet is to it, the disk is here: beyond its limit the journal does not wait.
static void
wait_for_room(struct outlet *outlet)
{
	struct gw_series_stats stats;
	uint64_t left_out;

	gw_follow_tend(outlet->follow);
	gw_series_stats(outlet->store, &stats);
	// What is in tails has to be written before the cursor can pass it.
	if (stats.tail_readings == 0 && (left_out = gw_follow_limit(outlet->follow)) > 0)
		gw_follow_done(outlet->follow, left_out);
	usleep(WAIT_MS * 1000);
}

static void
tend(struct outlet *outlet)
{
	int64_t now = gw_clock_mono_us();

	if (now - outlet->flushed_us >= FLUSH_EVERY_US || gw_series_full_tails(outlet->store))
		flush(outlet, now);
	sweep(outlet, now);
	roll_up(outlet, now);
}

static void
take(struct outlet *outlet, const struct gw_record *record)
{
	while (gw_series_take(outlet->store, record) == GW_E_MEMORY && !outlet->stopping) {
		gw_diag_limited(&outlet->write_failed, 60, GW_ERROR, "series.take", "out of memory");
		usleep(WAIT_MS * 1000);
	}
}

// ---- Opening, and opening again ----

enum gw_error
gw_series_options_of(const struct gw_config *config, char *dir, size_t cap, struct gw_series_options *options, struct gw_why *why)
{
	int64_t hold_us = config->series_hold_min * 60000000, retention_us = config->store_retention_h * HOUR_US;

	// Half of the journal's reserve: where the journal has taken all of the disk that it may, it can only be trimmed as the series follow.
	*options = (struct gw_series_options){
		.dir = dir, .budget_bytes = (uint64_t)config->store_series_budget_mb * MIB, .disk_reserve_bytes = (uint64_t)config->store_disk_reserve_mb * MIB / 2,
		.hold_us = hold_us < retention_us ? hold_us : retention_us, .tail_bytes_max = (uint64_t)config->series_tail_mb_max * MIB,
	};
	if (snprintf(dir, cap, "%s/series", config->store_dir) >= (int)cap)
		return gw_fail(why, GW_E_CONFIG, "the store's path is too long");
	return GW_OK;
}

enum gw_error
gw_series_open_config(const struct gw_config *config, bool read_only, struct gw_series_store **store, struct gw_why *why)
{
	struct gw_series_options options;
	char dir[4096];
	enum gw_error error = gw_series_options_of(config, dir, sizeof(dir), &options, why);

	options.read_only = read_only;
	return error == GW_OK ? gw_series_open(&options, store, why) : error;
}

static bool
has_store(struct outlet *outlet)
{
	return atomic_load(&outlet->store) != NULL;
}

static void
note_closed(struct outlet *outlet, enum gw_error error, const struct gw_why *why)
{
	int64_t now = gw_clock_mono_us();

	outlet->wait_us = outlet->wait_us == 0 ? AGAIN_US_MIN : outlet->wait_us * 2 < AGAIN_US_MAX ? outlet->wait_us * 2 : AGAIN_US_MAX;
	if (error == GW_E_CORRUPT || error == GW_E_VERSION)
		outlet->wait_us = AGAIN_DAMAGED_US;
	outlet->again_us = now + outlet->wait_us;
	atomic_store(&outlet->error, (int)error);
	pthread_mutex_lock(&outlet->lock);
	outlet->why = *why;
	pthread_mutex_unlock(&outlet->lock);
	gw_diag(GW_ERROR, "series.closed", "%s; the journal keeps what comes, it is tried again in %d s", why->text, (int)(outlet->wait_us / 1000000));
}

// The journal's row may be ahead: where this outlet is new it is at the journal's end, and after the series' folder was removed or restored.
static enum gw_error
place_cursor(struct gw_core *core, struct gw_follow *follow, uint64_t cursor)
{
	struct gw_source source;
	struct gw_ticket *ticket;
	enum gw_error error = GW_OK;

	if (gw_follow_cursor(follow) > cursor) {
		if ((error = gw_source_init(&source, core->intake, 1)) != GW_OK)
			return error;
		if ((ticket = gw_ticket_get(&source)) == NULL)
			error = GW_E_MEMORY;
		else if ((error = gw_follow_move(follow, ticket, cursor)) == GW_OK)
			error = gw_intake_commit(ticket);
		if (ticket != NULL)
			gw_ticket_release(ticket);
		gw_source_fini(&source);
	}
	gw_follow_seek(follow, cursor);
	gw_follow_done(follow, cursor);
	return error;
}


static enum gw_error
open_store(struct outlet *outlet, struct gw_why *why)
{
	struct gw_core *core = outlet->core;
	struct gw_series_store *store = NULL;
	struct gw_series_options options;
	char dir[4096];
	enum gw_error error = gw_series_options_of(core->config, dir, sizeof(dir), &options, why);

	options.check = outlet->suspect;
	if (error != GW_OK || (error = gw_series_open(&options, &store, why)) != GW_OK)
		return error;
	if ((error = gw_series_follow(store, gw_journal_incarnation(core->journal))) != GW_OK)
		error = gw_fail(why, error, "the series store in %s: %s", dir, gw_error_text(error));
	else if ((error = place_cursor(core, outlet->follow, gw_series_cursor(store))) != GW_OK)
		error = gw_fail(why, error, "the cursor of outlet %s: %s", GW_SERIES_OUTLET, gw_error_text(error));
	if (error != GW_OK) {
		gw_series_close(store);
		return error;
	}
	outlet->opened_us = gw_clock_mono_us();
	outlet->flushed_us = outlet->swept_us = outlet->piece_us = 0;
	outlet->sweeping = outlet->suspect = false;
	atomic_store(&outlet->error, (int)GW_OK);
	atomic_fetch_add(&opened_count, 1);
	atomic_store(&outlet->store, store);
	return GW_OK;
}

static void
try_open(struct outlet *outlet)
{
	struct gw_why why = { "" };
	enum gw_error error = open_store(outlet, &why);

	if (error != GW_OK)
		note_closed(outlet, error, &why);
	else
		gw_diag(GW_NOTICE, "series.opened", "the series store is open; it goes on behind position %llu",
		    (unsigned long long)gw_follow_cursor(outlet->follow));
}

// Nobody else uses it from here on. False: the part is to end, and its store with it.
static bool
close_store(struct outlet *outlet)
{
	pthread_rwlock_t *lock = outlet->core->parts_lock;
	struct gw_series_store *store;

	while (lock != NULL && pthread_rwlock_trywrlock(lock) != 0) {
		if (outlet->stopping)
			return false;
		usleep(LOCK_EVERY_US);
	}
	store = atomic_exchange(&outlet->store, NULL);
	if (lock != NULL)
		pthread_rwlock_unlock(lock);
	gw_series_close(store);
	return true;
}

// With outside_lock held.
static void
answer_outside(enum gw_error error)
{
	if (outside == NULL)
		return;
	outside->error = error == GW_E_STOPPING ? gw_fail(outside->why, error, "%s", gw_error_text(error)) : error;
	outside->done = true;
	outside = NULL;
	pthread_cond_broadcast(&outside_done);
}

static void
do_outside(struct outlet *outlet)
{
	struct outside *asked;
	enum gw_error error;

	pthread_mutex_lock(&outside_lock);
	asked = outside;
	pthread_mutex_unlock(&outside_lock);
	if (asked == NULL || (has_store(outlet) && !close_store(outlet)))
		return;
	error = asked->fn(asked->arg, asked->why);
	outlet->wait_us = 0;
	try_open(outlet);
	pthread_mutex_lock(&outside_lock);
	answer_outside(error);
	pthread_mutex_unlock(&outside_lock);
}

// A store that failed is closed. What its tails held comes again from the journal.
static void
give_up(struct outlet *outlet)
{
	struct gw_why why = { "" };
	int64_t opened_us = outlet->opened_us;

	if (!close_store(outlet))
		return;
	outlet->suspect = true;
	if (gw_clock_mono_us() - opened_us > SOUND_US)
		outlet->wait_us = 0;
	(void)gw_fail(&why, GW_E_SYNC, "the series store failed and was closed");
	note_closed(outlet, GW_E_SYNC, &why);
}

// What the far side of another outlet is to it, the disk is here: beyond its limit the journal does not wait.
static void
wait_for_store(struct outlet *outlet)
{
	uint64_t left_out;

	if (gw_clock_mono_us() >= outlet->again_us) {
		try_open(outlet);
		return;
	}
	gw_follow_tend(outlet->follow);
	if ((left_out = gw_follow_limit(outlet->follow)) > 0)
		gw_follow_done(outlet->follow, left_out);
	usleep(WAIT_MS * 1000);
}


// ---- The thread's loop ----

static void *
run(void *arg)
{
	struct outlet *outlet = arg;
	struct gw_record record;

	while (!outlet->stopping) {
		do_outside(outlet);
		if (!has_store(outlet)) {
			wait_for_store(outlet);
			continue;
		}
		tend(outlet);
		if (gw_series_broken(outlet->store)) {
			give_up(outlet);
			continue;
		}
		if (outlet->error != GW_OK) {
			wait_for_room(outlet);
			continue;
		}
		if (!gw_follow_next(outlet->follow, WAIT_MS, &record))
			continue;
		do
			take(outlet, &record);
		while (!outlet->stopping && !gw_series_full_tails(outlet->store) && gw_clock_mono_us() - outlet->flushed_us < FLUSH_EVERY_US &&
		    gw_follow_next(outlet->follow, 0, &record));
	}
	return NULL;
}

// ---- Start and stop ----


static void
free_outlet(struct outlet *outlet)
{
	gw_follow_close(outlet->follow);
	gw_series_close(outlet->store);
	pthread_mutex_destroy(&outlet->lock);
	free(outlet);
}

static enum gw_error
open_outlet(struct gw_core *core, struct outlet *outlet, struct gw_why *why)
{
	const struct gw_config *config = core->config;
	struct gw_follow_options follow = { .journal = core->journal, .intake = core->intake, .name = GW_SERIES_OUTLET,
		.backlog_us_max = config->series_backlog_h_max * HOUR_US,
		.backlog_bytes_max = (uint64_t)config->store_budget_mb * MIB / 100 * (uint64_t)config->series_backlog_percent_max };
	enum gw_error error;

	outlet->core = core;
	outlet->journal = core->journal;
	outlet->retention = (struct gw_series_retention){ config->series_numerics_d * DAY_US, config->series_waveforms_d * DAY_US };
	if ((error = gw_follow_open(&follow, &outlet->follow, why)) != GW_OK)
		return error;
	// What only another configuration mends ends the start; without the store devices are served all the same.
	if ((error = open_store(outlet, why)) == GW_E_CONFIG || error == GW_E_MEMORY)
		return error;
	if (error != GW_OK)
		note_closed(outlet, error, why);
	return GW_OK;
}

static enum gw_error
start(struct gw_core *core, void **part, struct gw_why *why)
{
	struct outlet *outlet = calloc(1, sizeof(*outlet));
	enum gw_error error;

	if (outlet == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	pthread_mutex_init(&outlet->lock, NULL);
	if ((error = open_outlet(core, outlet, why)) == GW_OK && pthread_create(&outlet->thread, NULL, run, outlet) != 0)
		error = gw_fail(why, GW_E_SYSTEM, "cannot start a thread");
	if (error != GW_OK) {
		free_outlet(outlet);
		return error;
	}
	pthread_mutex_lock(&outside_lock);
	atomic_store(&running, outlet);
	pthread_mutex_unlock(&outside_lock);
	*part = outlet;
	return GW_OK;
}

static void
stop(void *part)
{
	struct outlet *outlet = part;

	outlet->stopping = true;
	gw_follow_stop(outlet->follow);
}

static void
close_part(void *part)
{
	struct outlet *outlet = part;

	pthread_join(outlet->thread, NULL);
	pthread_mutex_lock(&outside_lock);
	atomic_store(&running, NULL);
	answer_outside(GW_E_STOPPING);
	pthread_mutex_unlock(&outside_lock);
	free_outlet(outlet);
}

struct gw_series_store *
gw_series_running(void)
{
	struct outlet *outlet = atomic_load(&running);

	return outlet != NULL ? outlet->store : NULL;
}

uint64_t
gw_series_running_count(void)
{
	return atomic_load(&opened_count);
}

bool
gw_series_rebuilding(const struct gw_config *config)
{
	char path[4200];
	int len = snprintf(path, sizeof(path), "%s/" GW_SERIES_REBUILDING, config->store_dir);

	return len > 0 && (size_t)len < sizeof(path) && access(path, F_OK) == 0;
}

enum gw_error
gw_series_outside(gw_series_outside_fn *fn, void *arg, struct gw_why *why)
{
	struct outside mine = { .fn = fn, .arg = arg, .why = why };

	pthread_mutex_lock(&outside_lock);
	while (outside != NULL) // somebody else's
		pthread_cond_wait(&outside_done, &outside_lock);
	if (atomic_load(&running) == NULL)
		mine = (struct outside){ .done = true, .error = gw_fail(why, GW_E_NOT_FOUND, "the series store does not run: series.enabled is false") };
	else
		outside = &mine;
	while (!mine.done)
		pthread_cond_wait(&outside_done, &outside_lock);
	pthread_mutex_unlock(&outside_lock);
	return mine.error;
}

// ---- Where no gateway runs ----

enum gw_error
gw_series_catch_up(struct gw_series_store *store, struct gw_journal *journal, struct gw_why *why)
{
	uint8_t *buf = malloc(GW_RECORD_MAX + 16);
	struct gw_record record;
	uint64_t at;
	size_t used = 1;
	enum gw_error error;

	if (buf == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	error = gw_series_follow(store, gw_journal_incarnation(journal));
	at = gw_series_cursor(store) + 1;
	while (error == GW_OK && used > 0 && (error = gw_journal_read(journal, at, buf, GW_RECORD_MAX + 16, &used, &at)) == GW_OK) {
		struct gw_span rest = gw_span(buf, used);

		while (error == GW_OK && gw_journal_step(&rest, &record))
			error = record.type != 0 ? gw_series_take(store, &record) : GW_OK;
	}
	free(buf);
	return error == GW_OK ? GW_OK : gw_fail(why, error, "the series' newest readings: %s", gw_error_text(error));
}

// ---- Status ----

static void
add_times(yyjson_mut_doc *doc, yyjson_mut_val *object, const struct gw_series_stats *stats)
{
	char text[40];

	if (stats->oldest_us != 0)
		yyjson_mut_obj_add_strcpy(doc, object, "oldest", gw_time_format(stats->oldest_us, text));
	yyjson_mut_obj_add_uint(doc, object, "lag_records", stats->taken >= stats->cursor ? stats->taken - stats->cursor : 0);
}

static void
status_closed(struct outlet *outlet, enum gw_error error, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	uint64_t last = gw_journal_last(outlet->journal), cursor = gw_follow_cursor(outlet->follow);

	yyjson_mut_obj_add_str(doc, object, "state", error == GW_E_CORRUPT ? "damaged" : error == GW_OK ? "opening" : "closed");
	pthread_mutex_lock(&outlet->lock);
	yyjson_mut_obj_add_strcpy(doc, object, "error", outlet->why.text);
	pthread_mutex_unlock(&outlet->lock);
	yyjson_mut_obj_add_uint(doc, object, "behind_records", last > cursor ? last - cursor : 0);
	yyjson_mut_obj_add_uint(doc, object, "lag_records", last > cursor ? last - cursor : 0);
	yyjson_mut_obj_add_uint(doc, object, "cursor", cursor);
}

static void
status(void *part, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct outlet *outlet = part;
	struct gw_series_store *store = atomic_load(&outlet->store); // closed alone: whoever asks holds the parts
	struct gw_series_stats stats;
	enum gw_error error = (enum gw_error)atomic_load(&outlet->error);
	uint64_t last = gw_journal_last(outlet->journal);

	if (store == NULL) {
		status_closed(outlet, error, doc, object);
		return;
	}
	gw_series_stats(store, &stats);
	yyjson_mut_obj_add_str(doc, object, "state", stats.broken ? "failed" : stats.full ? "full" : error != GW_OK ? "waiting" : "running");
	if (error != GW_OK)
		yyjson_mut_obj_add_str(doc, object, "error", gw_error_text(error));
	yyjson_mut_obj_add_uint(doc, object, "behind_records", last > stats.taken ? last - stats.taken : 0);
	add_times(doc, object, &stats);
	yyjson_mut_obj_add_uint(doc, object, "cursor", stats.cursor);
	yyjson_mut_obj_add_uint(doc, object, "devices", stats.devices);
	yyjson_mut_obj_add_uint(doc, object, "series", stats.series);
	yyjson_mut_obj_add_uint(doc, object, "readings", stats.readings);
	yyjson_mut_obj_add_uint(doc, object, "readings_in_memory", stats.tail_readings);
	yyjson_mut_obj_add_uint(doc, object, "memory_bytes", stats.tail_bytes);
	yyjson_mut_obj_add_uint(doc, object, "chunks", stats.chunks);
	yyjson_mut_obj_add_uint(doc, object, "chunk_bytes", stats.bytes);
	yyjson_mut_obj_add_uint(doc, object, "budget_bytes", stats.budget_bytes);
	yyjson_mut_obj_add_uint(doc, object, "used_bytes", stats.file_bytes > stats.free_bytes ? stats.file_bytes - stats.free_bytes : 0);
	yyjson_mut_obj_add_uint(doc, object, "file_bytes", stats.file_bytes);
	yyjson_mut_obj_add_uint(doc, object, "duplicates", stats.duplicates);
	yyjson_mut_obj_add_uint(doc, object, "revised_again", stats.renumbered);
	yyjson_mut_obj_add_uint(doc, object, "chunks_merged", stats.merged);
	yyjson_mut_obj_add_uint(doc, object, "chunks_deleted", stats.deleted);
	yyjson_mut_obj_add_uint(doc, object, "chunks_damaged", stats.damaged);
	yyjson_mut_obj_add_uint(doc, object, "commits", stats.commits);
	yyjson_mut_obj_add_uint(doc, object, "commit_us_max", stats.commit_us_max);
}

static const char *const sections[] = { "series", NULL };

const struct gw_part gw_series_part = {
	.name = "series", .outlet = true, .enabled = enabled, .sections = sections, .start = start, .stop = stop, .close = close_part, .status = status,
};
