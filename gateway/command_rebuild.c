// SPDX-License-Identifier: Apache-2.0
// `rebuild`: the series store out of the journal and whatever can be read of the old one. Threads: as command.h says.
//
// As it is: all that the journal holds is taken once more, and roll-ups are made anew. --fresh: the folder is moved aside and a new store takes its place, which follows the journal from
// its first record; then what can be read of the old one is put in. Until that is through, a file beside the store names the folder: the next `rebuild` goes on.
#include "gateway/command_handlers.h"

#include "gateway/clock.h"
#include "gateway/erase.h"
#include "gateway/series_lease.h"
#include "gateway/series_mend.h"
#include "gateway/series_outlet.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PROGRESS_US 500000
#define PLACES_NAMED 100
#define DAY_US INT64_C(86400000000)
#define PENDING GW_SERIES_REBUILDING
#define ASIDE "series-replaced-"
#define FOLLOW_US 100000

struct rebuild {
	struct gw_call *call;
	bool fresh, tell;
	int64_t told_us;
	uint64_t named;
	const char *dir;           // the store's
	struct gw_series_store *store, *opened;
	struct gw_series_lease lease; // of a running store
	struct gw_series_retaken retaken;
	struct gw_series_salvaged salvaged;
	uint64_t retaken_added, salvaged_added; // of all tries
	struct gw_series_verified verified;
	char kept[256];            // a folder that stays, for it could not be read whole
};

// ---- Words ----

static bool
progress(void *arg, const char *what, uint64_t done, uint64_t total)
{
	struct rebuild *rebuild = arg;
	yyjson_mut_val *object, *member;
	yyjson_mut_doc *doc;
	int64_t now = gw_clock_mono_us();

	if (gw_call_ending(rebuild->call) || !gw_series_lease_breathe(&rebuild->lease))
		return false;
	if (!rebuild->tell || now - rebuild->told_us < PROGRESS_US || (doc = gw_call_object(&object)) == NULL)
		return true;
	rebuild->told_us = now;
	member = yyjson_mut_obj_add_obj(doc, object, "progress");
	yyjson_mut_obj_add_strcpy(doc, member, "name", what);
	yyjson_mut_obj_add_uint(doc, member, "done", done);
	if (total > 0)
		yyjson_mut_obj_add_uint(doc, member, "of", total > done ? total : done);
	return gw_call_emit(rebuild->call, doc);
}

static void
name_place(void *arg, const char *words)
{
	struct rebuild *rebuild = arg;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;

	if (rebuild->named++ >= PLACES_NAMED || (doc = gw_call_object(&object)) == NULL)
		return;
	gw_json_span(doc, object, "damaged", gw_span_text(words));
	(void)gw_call_emit(rebuild->call, doc);
}

static void
chunk_damaged(void *arg, const struct gw_series_info *info, int64_t first_us, const char *words)
{
	char text[256], first[40];

	snprintf(text, sizeof(text), "series %s %u/%u, chunk from %s: %.80s", info->device, (unsigned)info->signal, (unsigned)info->instance,
	    gw_time_format(first_us, first), words);
	name_place(arg, text);
}

// ---- Folders ----

static enum gw_error
sync_dir(const char *dir, struct gw_why *why)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool synced = fd >= 0 && fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	return synced ? GW_OK : gw_fail(why, GW_E_SYNC, "cannot sync %.120s: %s", dir, strerror(errno));
}

static enum gw_error
note_pending(const struct rebuild *rebuild, const char *aside, struct gw_why *why)
{
	char path[4200], line[128];
	int fd, len = snprintf(line, sizeof(line), "%s\n", aside);
	bool written;

	snprintf(path, sizeof(path), "%s/" PENDING, rebuild->dir);
	if ((fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)) < 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot make %.120s: %s", path, strerror(errno));
	written = write(fd, line, (size_t)len) == len && fsync(fd) == 0;
	close(fd);
	return written ? GW_OK : gw_fail(why, GW_E_SYSTEM, "cannot write %.120s: %s", path, strerror(errno));
}

// What devices' clocks were worth cannot be measured again beyond the journal: the new store begins with it.
static enum gw_error
begin_fresh(const struct rebuild *rebuild, const char *aside, struct gw_why *why)
{
	struct gw_series_options options;
	struct gw_series_store *store;
	char dir[4096], path[4400];
	uint64_t taken;
	enum gw_error error;

	snprintf(path, sizeof(path), "%s/data.mdb", aside);
	if ((error = gw_series_options_of(rebuild->call->core->config, dir, sizeof(dir), &options, why)) != GW_OK ||
	    (error = gw_series_open(&options, &store, why)) != GW_OK)
		return error;
	error = gw_series_take_clocks(store, path, &taken);
	gw_series_close(store);
	return error == GW_OK ? GW_OK : gw_fail(why, error, "the histories of clocks: %s", gw_error_text(error));
}

// gw_series_outside_fn: nobody has the store open.
static enum gw_error
move_aside(void *arg, struct gw_why *why)
{
	struct rebuild *rebuild = arg;
	char from[4200], to[4300], aside[64], stamp[20];
	time_t now = (time_t)(gw_clock_wall_us() / 1000000);
	struct tm tm;
	enum gw_error error;

	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
	snprintf(aside, sizeof(aside), ASIDE "%s-%04x", stamp, (unsigned)randombytes_uniform(65536));
	snprintf(from, sizeof(from), "%s/series", rebuild->dir);
	snprintf(to, sizeof(to), "%s/%s", rebuild->dir, aside);
	if (access(from, F_OK) != 0)
		return GW_OK;
	if ((error = note_pending(rebuild, aside, why)) != GW_OK)
		return error;
	if (rename(from, to) != 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot move %.120s aside: %s", from, strerror(errno));
	if ((error = sync_dir(rebuild->dir, why)) != GW_OK)
		return error;
	return begin_fresh(rebuild, to, why);
}

static void
remove_folder(const char *path)
{
	static const char *const files[] = { "data.mdb", "lock.mdb", "open" };
	char file[4400];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(file, sizeof(file), "%s/%s", path, files[i]);
		unlink(file);
	}
	rmdir(path);
}

// ---- The store ----

static enum gw_error
open_own(struct rebuild *rebuild)
{
	const struct gw_call *call = rebuild->call;
	struct gw_series_options options;
	char dir[4096];
	enum gw_error error;

	if (rebuild->fresh && (error = move_aside(rebuild, call->why)) != GW_OK)
		return error;
	if ((error = gw_series_options_of(call->core->config, dir, sizeof(dir), &options, call->why)) != GW_OK ||
	    (error = gw_series_open(&options, &rebuild->opened, call->why)) != GW_OK)
		return error;
	rebuild->store = rebuild->opened;
	error = gw_series_follow(rebuild->store, gw_journal_incarnation(call->core->journal));
	return error == GW_OK ? GW_OK : gw_fail(call->why, error, "%s", gw_error_text(error));
}

static enum gw_error
open_running(struct rebuild *rebuild)
{
	const struct gw_call *call = rebuild->call;
	enum gw_error error;

	if (rebuild->fresh && (error = gw_series_outside(move_aside, rebuild, call->why)) != GW_OK)
		return error;
	gw_series_lease_hold(&rebuild->lease, rebuild->call);
	if ((rebuild->store = rebuild->lease.store) != NULL)
		return GW_OK;
	return gw_fail(call->why, GW_E_NOT_FOUND, "the series store is not open (see `vitalgate status`); where it is damaged: `vitalgate rebuild --fresh`");
}

static void
close_all(struct rebuild *rebuild)
{
	gw_series_close(rebuild->opened);
	gw_series_lease_release(&rebuild->lease);
}

// ---- What it does ----

static const struct gw_series_watch *
watch_of(struct rebuild *rebuild, struct gw_series_watch *watch)
{
	*watch = (struct gw_series_watch){ progress, name_place, rebuild };
	return watch;
}

static enum gw_error
salvage_one(struct rebuild *rebuild, const char *aside)
{
	struct gw_series_watch watch;
	struct gw_series_salvaged one, *all = &rebuild->salvaged;
	char path[4400], folder[4200];
	enum gw_error error;

	snprintf(folder, sizeof(folder), "%s/%s", rebuild->dir, aside);
	snprintf(path, sizeof(path), "%s/data.mdb", folder);
	error = gw_series_salvage(rebuild->store, path, watch_of(rebuild, &watch), &one, rebuild->call->why);
	if (error == GW_E_NOT_FOUND) {
		remove_folder(folder); // it held nothing, or was never moved
		return GW_OK;
	}
	all->series += one.series;
	all->chunks += one.chunks;
	all->readings += one.readings;
	rebuild->salvaged_added += one.added;
	all->damaged += one.damaged;
	if (error == GW_E_CORRUPT) { // not even its head: there is nothing to be had
		all->damaged++;
		name_place(rebuild, rebuild->call->why->text);
		error = GW_OK;
	}
	if (error != GW_OK)
		return gw_fail(rebuild->call->why, error, "what is in %.100s could not be taken over: %s; `vitalgate rebuild` goes on", aside, gw_error_text(error));
	if (one.damaged == 0 && all->damaged == 0)
		remove_folder(folder); // all of it is in the new store
	else
		snprintf(rebuild->kept, sizeof(rebuild->kept), "%.200s", aside);
	return GW_OK;
}

static enum gw_error
salvage(struct rebuild *rebuild)
{
	char path[4200], line[128];
	enum gw_error error = GW_OK;
	FILE *file;

	snprintf(path, sizeof(path), "%s/" PENDING, rebuild->dir);
	if ((file = fopen(path, "re")) == NULL)
		return GW_OK;
	while (error == GW_OK && fgets(line, sizeof(line), file) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, ASIDE, strlen(ASIDE)) == 0 && strchr(line, '/') == NULL)
			error = salvage_one(rebuild, line);
	}
	fclose(file);
	if (error == GW_OK)
		unlink(path);
	return error;
}

// A new store of a running gateway follows the journal by itself.
static enum gw_error
wait_followed(struct rebuild *rebuild, uint64_t upto)
{
	while (gw_series_taken(rebuild->store) < upto) {
		if (!progress(rebuild, "journal", gw_series_taken(rebuild->store), upto))
			return gw_fail(rebuild->call->why, GW_E_STOPPING, "it was told to end; the store goes on following the journal");
		if (gw_series_broken(rebuild->store))
			return gw_fail(rebuild->call->why, GW_E_SYNC, "the new store failed (see `vitalgate status`)");
		usleep(FOLLOW_US);
	}
	return GW_OK;
}

static enum gw_error
retake(struct rebuild *rebuild, uint64_t upto)
{
	const struct gw_config *config = rebuild->call->core->config;
	const struct gw_series_retention retention = { config->series_numerics_d * DAY_US, config->series_waveforms_d * DAY_US };
	struct gw_series_watch watch;
	enum gw_error error;

	if (rebuild->lease.held && rebuild->fresh)
		return wait_followed(rebuild, upto);
	// What is taken already: the rest comes by itself.
	if (rebuild->lease.held && gw_series_taken(rebuild->store) < upto)
		upto = gw_series_taken(rebuild->store);
	error = gw_series_retake(rebuild->store, rebuild->call->core->journal, upto, &retention, watch_of(rebuild, &watch), &rebuild->retaken);
	rebuild->retaken_added += rebuild->retaken.added;
	return error == GW_OK ? GW_OK : gw_fail(rebuild->call->why, error, "the journal could not be taken again to its end: %s", gw_error_text(error));
}

// All of them from the chunks: what is damaged goes with the rest. A fresh store has made its own on the way. Where there is no room for them the store makes them later.
static enum gw_error
roll_up(struct rebuild *rebuild)
{
	enum gw_error error = GW_OK;
	bool more = true;

	for (bool anew = !rebuild->fresh; more && error == GW_OK; anew = false) {
		if (!progress(rebuild, "roll-ups", 0, 0))
			return gw_fail(rebuild->call->why, GW_E_STOPPING, "it was told to end; the store goes on making roll-ups");
		error = gw_series_rollup(rebuild->store, anew, &more);
	}
	return error == GW_OK || error == GW_E_FULL ? GW_OK : gw_fail(rebuild->call->why, error, "roll-ups could not be made: %s", gw_error_text(error));
}

static enum gw_error
do_all(struct rebuild *rebuild)
{
	uint64_t upto = gw_journal_last(rebuild->call->core->journal);
	struct gw_series_watch watch;
	enum gw_error error;

	if ((error = salvage(rebuild)) != GW_OK || (error = retake(rebuild, upto)) != GW_OK || (error = roll_up(rebuild)) != GW_OK)
		return error;
	error = gw_series_verify_watched(rebuild->store, chunk_damaged, rebuild, watch_of(rebuild, &watch), &rebuild->verified);
	return error == GW_OK ? GW_OK : gw_fail(rebuild->call->why, error, "it was rebuilt, but could not be checked to its end: %s", gw_error_text(error));
}

// Another store runs since (a reload, a failure): once more on that one. What is in it already changes nothing.
static enum gw_error
do_until_done(struct rebuild *rebuild)
{
	enum gw_error error = do_all(rebuild);

	for (int tries = 1; error != GW_OK && rebuild->lease.lost && !gw_call_ending(rebuild->call) && tries < GW_SERIES_LEASE_TRIES; tries++) {
		if ((error = gw_series_lease_again(&rebuild->lease)) != GW_OK)
			break;
		rebuild->store = rebuild->lease.store;
		rebuild->salvaged = (struct gw_series_salvaged){ 0 };
		error = do_all(rebuild);
	}
	if (error != GW_OK && rebuild->lease.lost)
		return gw_fail(rebuild->call->why, GW_E_BUSY, "the series store was closed and opened again and again meanwhile: rebuild once more");
	return error;
}

static enum gw_error
report(struct rebuild *rebuild)
{
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = gw_call_object(&object);

	if (doc == NULL)
		return gw_fail(rebuild->call->why, GW_E_MEMORY, "out of memory");
	yyjson_mut_obj_add_uint(doc, object, "rebuilt_chunks", rebuild->verified.chunks);
	yyjson_mut_obj_add_uint(doc, object, "rebuilt_readings", rebuild->verified.readings);
	yyjson_mut_obj_add_uint(doc, object, "rollups", rebuild->verified.rollups);
	yyjson_mut_obj_add_uint(doc, object, "journal_readings", rebuild->retaken.readings);
	yyjson_mut_obj_add_uint(doc, object, "journal_added", rebuild->retaken_added);
	yyjson_mut_obj_add_uint(doc, object, "salvaged_chunks", rebuild->salvaged.chunks);
	yyjson_mut_obj_add_uint(doc, object, "salvaged_readings", rebuild->salvaged.readings);
	yyjson_mut_obj_add_uint(doc, object, "salvaged_damaged", rebuild->salvaged.damaged);
	yyjson_mut_obj_add_uint(doc, object, "damaged_places", rebuild->verified.damaged);
	if (rebuild->kept[0] != '\0')
		gw_json_span(doc, object, "kept", gw_span_text(rebuild->kept));
	(void)gw_call_emit(rebuild->call, doc);
	if (rebuild->verified.damaged > 0)
		return gw_fail(rebuild->call->why, GW_E_CORRUPT, "%" PRIu64 " damaged chunks are older than the journal and left out of every answer; a backup may hold "
		    "them, `vitalgate rebuild --fresh` drops them", rebuild->verified.damaged);
	return GW_OK;
}

enum gw_error
gw_command_rebuild(struct gw_call *call)
{
	struct rebuild rebuild = { .call = call, .fresh = gw_call_flag(call, "fresh"), .tell = gw_call_flag(call, "progress"), .dir = call->core->config->store_dir };
	enum gw_error error = gw_call_note(call, rebuild.fresh ? "rebuild --fresh" : "rebuild"); // before it begins

	if (error != GW_OK)
		return gw_fail(call->why, error, "nothing was done: that it was asked for could not be recorded: %s", gw_error_text(error));
	if (strlen(rebuild.dir) > 3900)
		return gw_fail(call->why, GW_E_CONFIG, "the store's path is too long");
	// What is erased meanwhile would be put back.
	if ((error = gw_erase_lock(call->stopping)) != GW_OK)
		return gw_fail(call->why, error, "the gateway stops");
	error = call->parts != NULL ? open_running(&rebuild) : open_own(&rebuild);
	if (error == GW_OK && (error = do_until_done(&rebuild)) == GW_OK)
		error = report(&rebuild);
	close_all(&rebuild);
	gw_erase_unlock();
	gw_diag(error == GW_OK ? GW_NOTICE : GW_WARNING, "series.rebuilt", "%s", error == GW_OK ? "all whole" : call->why->text);
	return error;
}
