// SPDX-License-Identifier: Apache-2.0
// The series store as an outlet: one thread that follows the journal, takes readings, writes chunks and sweeps. The cursor in the series' own environment is
// the truth; the journal's row comes behind it, so that nothing is trimmed that is not in a chunk.
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
#define HURRIED_HOLD_US 60000000          // where the journal is short of room
#define WAIT_MS 500

struct outlet {
	struct gw_series_store *store;
	struct gw_journal *journal;
	struct gw_follow *follow;
	struct gw_series_retention retention;
	pthread_t thread;
	_Atomic bool stopping;
	_Atomic int error;      // enum gw_error of the last flush
	int64_t flushed_us, swept_us, piece_us;
	bool sweeping;
	struct gw_diag_limit write_failed;
};

static struct outlet *_Atomic running;

static bool
enabled(const struct gw_config *config)
{
	return config->series_enabled;
}

// ---- The thread ----

// A journal that is short of room gets it back sooner.
static int64_t
hold_us(struct outlet *outlet)
{
	struct gw_journal_stats stats;

	gw_journal_stats(outlet->journal, &stats);
	return stats.full || stats.used_bytes > stats.budget_bytes / 4 * 3 ? HURRIED_HOLD_US : -1;
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
		    error == GW_E_FULL ? "the journal keeps what comes until retention has made room" : "the journal keeps what comes; restart the gateway");
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
}

static void
take(struct outlet *outlet, const struct gw_record *record)
{
	while (gw_series_take(outlet->store, record) == GW_E_MEMORY && !outlet->stopping) {
		gw_diag_limited(&outlet->write_failed, 60, GW_ERROR, "series.take", "out of memory");
		usleep(WAIT_MS * 1000);
	}
}

static void *
run(void *arg)
{
	struct outlet *outlet = arg;
	struct gw_record record;

	while (!outlet->stopping) {
		tend(outlet);
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

enum gw_error
gw_series_open_config(const struct gw_config *config, bool read_only, struct gw_series_store **store, struct gw_why *why)
{
	char dir[4096];
	struct gw_series_options options = {
		.dir = dir, .budget_bytes = (uint64_t)config->store_series_budget_mb * MIB, .disk_reserve_bytes = (uint64_t)config->store_disk_reserve_mb * MIB,
		.hold_us = config->series_hold_min * 60000000, .tail_bytes_max = (uint64_t)config->series_tail_mb_max * MIB, .read_only = read_only,
	};

	if (snprintf(dir, sizeof(dir), "%s/series", config->store_dir) >= (int)sizeof(dir))
		return gw_fail(why, GW_E_CONFIG, "the store's path is too long");
	return gw_series_open(&options, store, why);
}

// The journal's row may be ahead: where this outlet is new it is at the journal's end, and after the series' folder was removed or restored.
static enum gw_error
place_cursor(struct gw_core *core, struct outlet *outlet)
{
	uint64_t cursor = gw_series_cursor(outlet->store);
	struct gw_source source;
	struct gw_ticket *ticket;
	enum gw_error error = GW_OK;

	if (gw_follow_cursor(outlet->follow) > cursor) {
		if ((error = gw_source_init(&source, core->intake, 1)) != GW_OK)
			return error;
		if ((ticket = gw_ticket_get(&source)) == NULL)
			error = GW_E_MEMORY;
		else if ((error = gw_follow_move(outlet->follow, ticket, cursor)) == GW_OK)
			error = gw_intake_commit(ticket);
		if (ticket != NULL)
			gw_ticket_release(ticket);
		gw_source_fini(&source);
	}
	gw_follow_seek(outlet->follow, cursor);
	gw_follow_done(outlet->follow, cursor);
	return error;
}

static void
free_outlet(struct outlet *outlet)
{
	gw_follow_close(outlet->follow);
	gw_series_close(outlet->store);
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

	outlet->journal = core->journal;
	outlet->retention = (struct gw_series_retention){ config->series_numerics_d * DAY_US, config->series_waveforms_d * DAY_US };
	if ((error = gw_series_open_config(config, false, &outlet->store, why)) != GW_OK)
		return error;
	if ((error = gw_series_follow(outlet->store, gw_journal_incarnation(core->journal))) != GW_OK)
		return gw_fail(why, error, "the series store in %s/series: %s", config->store_dir, gw_error_text(error));
	if ((error = gw_follow_open(&follow, &outlet->follow, why)) != GW_OK)
		return error;
	if ((error = place_cursor(core, outlet)) != GW_OK)
		return gw_fail(why, error, "the cursor of outlet %s: %s", GW_SERIES_OUTLET, gw_error_text(error));
	return GW_OK;
}

static enum gw_error
start(struct gw_core *core, void **part, struct gw_why *why)
{
	struct outlet *outlet = calloc(1, sizeof(*outlet));
	enum gw_error error;

	if (outlet == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	if ((error = open_outlet(core, outlet, why)) == GW_OK && pthread_create(&outlet->thread, NULL, run, outlet) != 0)
		error = gw_fail(why, GW_E_SYSTEM, "cannot start a thread");
	if (error != GW_OK) {
		free_outlet(outlet);
		return error;
	}
	atomic_store(&running, outlet);
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
	atomic_store(&running, NULL);
	free_outlet(outlet);
}

struct gw_series_store *
gw_series_running(void)
{
	struct outlet *outlet = atomic_load(&running);

	return outlet != NULL ? outlet->store : NULL;
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
status(void *part, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct outlet *outlet = part;
	struct gw_series_stats stats;
	enum gw_error error = (enum gw_error)atomic_load(&outlet->error);
	uint64_t last = gw_journal_last(outlet->journal);

	gw_series_stats(outlet->store, &stats);
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
