// SPDX-License-Identifier: Apache-2.0
// Exports on schedule: one thread, of low priority, that follows the journal for readings that came late, and writes a file for each hour or day that is over.
// What was exported as of when is durable with the cursor (gateway/export_periods.h): after a crash a period is written again, under the same name, or not at all.
//
// It looks at device times only: a period is over when the wall clock says so, was exported when its row says so, and is exported again when the journal has
// something for it behind the position that the row tells. So a clock that jumps makes no files: periods without readings have none.
#include "gateway/export_part.h"

#include "gateway/clock.h"
#include "gateway/export_folder.h"
#include "gateway/export_periods.h"
#include "gateway/export_write.h"
#include "gateway/follow.h"
#include "gateway/series_outlet.h"
#include "gateway/series_whose.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MIB (1024ull * 1024)
#define MINUTE_US INT64_C(60000000)
#define HOUR_US INT64_C(3600000000)
#define DAY_US INT64_C(86400000000)
#define LOOK_EVERY_US 1000000
#define SWEEP_EVERY_US HOUR_US
#define AGAIN_US 60000000       // after an error
#define BUSY_US 500000          // while the series follow
#define LOCK_EVERY_US 2000
#define NICE 10

struct status {
	const char *state;
	char error[200], file[160], period[40];
	uint64_t files, rows, bytes, again, late;  // since the start: files written, rows in them, their bytes; of them written again; too late readings
	uint64_t waiting;                         // periods that are due
	struct gw_export_usage usage;
	int64_t file_us;
	double part;
};

struct outlet {
	struct gw_core *core;
	struct gw_follow *follow;
	struct gw_source source;
	bool has_source;
	struct gw_export_periods periods;
	struct gw_export_periods others; // of the other length, by an earlier configuration: written again where something is erased, and not otherwise
	struct gw_export_plan plan;
	int64_t back_us, delay_us, keep_us;
	uint64_t bytes_max;
	uint64_t seen;      // the journal's position up to which records were looked at
	uint64_t target;    // and has to get to before what is due is exported; 0: nothing is
	uint64_t upto;      // what the series had when the present file was begun
	int64_t look_us, again_us, swept_us;
	bool held;
	pthread_t thread;
	_Atomic bool stopping;
	pthread_mutex_t lock; // of status
	struct status status;
	struct gw_diag_limit failed;
};

static bool
enabled(const struct gw_config *config)
{
	return config->export_enabled;
}

// ---- The store ----

static void
release(void *arg)
{
	struct outlet *outlet = arg;

	if (outlet->held && outlet->core->parts_lock != NULL)
		pthread_rwlock_unlock(outlet->core->parts_lock);
	outlet->held = false;
}

// Whoever ends this part has the parts for itself: never wait for them without a look.
static enum gw_error
hold(void *arg, struct gw_series_store **store)
{
	struct outlet *outlet = arg;
	pthread_rwlock_t *lock = outlet->core->parts_lock;

	while (lock != NULL && pthread_rwlock_tryrdlock(lock) != 0) {
		if (outlet->stopping)
			return GW_E_STOPPING;
		usleep(LOCK_EVERY_US);
	}
	outlet->held = true;
	// One that took another's place has to hold as much first: what it has not yet would be missing in the file, and in no other.
	if ((*store = gw_series_running()) != NULL && gw_series_taken(*store) >= outlet->upto && !gw_series_rebuilding(outlet->core->config))
		return GW_OK;
	release(outlet); // nobody releases what was not given
	return GW_E_BUSY;
}

static bool
tick(void *arg, const struct gw_export_progress *progress)
{
	struct outlet *outlet = arg;

	pthread_mutex_lock(&outlet->lock);
	outlet->status.part = progress->part;
	pthread_mutex_unlock(&outlet->lock);
	return !outlet->stopping;
}

// ---- Following: what came late ----

static void
look_at_readings(struct outlet *outlet, const struct gw_record *record, int64_t now_us)
{
	struct gw_batch batch;
	struct gw_reading reading;
	uint64_t late = 0;

	if (gw_batch_open(record, &batch, NULL) != GW_OK)
		return;
	while (gw_batch_next(&batch, &reading)) {
		if (reading.time_us < now_us - outlet->back_us && gw_export_periods_find(&outlet->periods, gw_export_period_of(&outlet->periods, reading.time_us)) == NULL)
			late++;
		else
			gw_export_periods_mark(&outlet->periods, reading.time_us, record->position, now_us);
	}
	if (late == 0)
		return;
	pthread_mutex_lock(&outlet->lock);
	outlet->status.late += late;
	pthread_mutex_unlock(&outlet->lock);
}

static void
look_at(struct outlet *outlet, const struct gw_record *record)
{
	struct gw_association_change change;
	int64_t now_us = gw_clock_wall_us();

	if (record->type == GW_RECORD_READINGS)
		look_at_readings(outlet, record, now_us);
	else if (record->type == GW_RECORD_ASSOCIATION && outlet->plan.patients && gw_association_open(record, &change, NULL) == GW_OK)
		gw_export_periods_mark_range(&outlet->periods, change.from_us, change.to_us, now_us);
	outlet->seen = record->position;
}

// What changed of periods, with the cursor: one commit. The cursor alone rides on somebody's.
static enum gw_error
save(struct outlet *outlet)
{
	struct gw_ticket *ticket;
	enum gw_error error;

	if (!gw_export_periods_changed(&outlet->periods) && !gw_export_periods_changed(&outlet->others)) {
		gw_follow_done(outlet->follow, outlet->seen);
		return GW_OK;
	}
	if ((ticket = gw_ticket_get(&outlet->source)) == NULL)
		return GW_E_MEMORY;
	ticket->essential = true;
	if ((error = gw_export_periods_save(&outlet->periods, ticket)) == GW_OK && (error = gw_export_periods_save(&outlet->others, ticket)) == GW_OK &&
	    (error = gw_follow_move(outlet->follow, ticket, outlet->seen)) == GW_OK && (error = gw_intake_commit(ticket)) == GW_OK) {
		gw_export_periods_saved(&outlet->periods);
		gw_export_periods_saved(&outlet->others);
	}
	gw_ticket_release(ticket);
	return error;
}

// ---- Exporting ----

static void
set_state(struct outlet *outlet, const char *state, const char *error)
{
	pthread_mutex_lock(&outlet->lock);
	outlet->status.state = state;
	snprintf(outlet->status.error, sizeof(outlet->status.error), "%s", error);
	pthread_mutex_unlock(&outlet->lock);
}

static void
set_period(struct outlet *outlet, int64_t from_us)
{
	pthread_mutex_lock(&outlet->lock);
	outlet->status.state = "exporting";
	outlet->status.part = 0;
	gw_time_format(from_us, outlet->status.period);
	pthread_mutex_unlock(&outlet->lock);
}

static void
fail(struct outlet *outlet, enum gw_error error, const char *words)
{
	if (error == GW_E_STOPPING)
		return;
	outlet->again_us = gw_clock_mono_us() + (error == GW_E_BUSY ? BUSY_US : AGAIN_US);
	set_state(outlet, error == GW_E_FULL ? "full" : error == GW_E_BUSY ? "waiting" : "failed", words);
	if (error != GW_E_BUSY)
		gw_diag_limited(&outlet->failed, 60, error == GW_E_FULL ? GW_WARNING : GW_ERROR, "export.failed", "%s; it is tried again", words);
}

// The ages of files are told by the series store's clock, which does not follow a jump of the wall clock forward.
static void
sweep(struct outlet *outlet)
{
	struct gw_series_store *store;
	struct gw_series_stats stats;
	struct gw_export_usage usage;
	int64_t before_us = INT64_MIN;
	enum gw_error error;

	if (outlet->keep_us > 0 && hold(outlet, &store) == GW_OK) {
		gw_series_stats(store, &stats);
		before_us = stats.clock_us - outlet->keep_us;
	}
	release(outlet);
	outlet->swept_us = gw_clock_mono_us();
	if ((error = gw_export_folder_sweep(outlet->plan.dir_fd, before_us, outlet->bytes_max, &usage)) != GW_OK) {
		gw_diag_limited(&outlet->failed, 60, GW_WARNING, "export.sweep", "%s", gw_error_text(error));
		return;
	}
	pthread_mutex_lock(&outlet->lock);
	usage.removed += outlet->status.usage.removed;
	outlet->status.usage = usage;
	pthread_mutex_unlock(&outlet->lock);
}

// GW_E_BUSY: the series are not as far as the journal was when this was due.
static enum gw_error
series_upto(struct outlet *outlet, uint64_t *upto)
{
	struct gw_series_store *store;
	enum gw_error error;

	outlet->upto = 0;
	error = hold(outlet, &store);
	*upto = outlet->upto = error == GW_OK ? gw_series_taken(store) : 0;
	release(outlet);
	return error == GW_OK && *upto < outlet->target ? GW_E_BUSY : error;
}

static void
note_exported(struct outlet *outlet, const struct gw_exported *exported)
{
	struct status *status = &outlet->status;

	pthread_mutex_lock(&outlet->lock);
	status->state = "running";
	status->error[0] = status->period[0] = '\0';
	status->part = 0;
	if (exported->path[0] != '\0') {
		status->files++;
		status->again += exported->revision > 1;
		status->rows += exported->counts.rows;
		status->bytes += exported->filed.bytes;
		status->file_us = gw_clock_wall_us();
		snprintf(status->file, sizeof(status->file), "%s", exported->path);
	}
	pthread_mutex_unlock(&outlet->lock);
}

static enum gw_error
export_period(struct outlet *outlet, struct gw_export_periods *periods, int64_t from_us, struct gw_why *why)
{
	struct gw_export_period *period = gw_export_periods_find(periods, from_us);
	struct gw_export_plan plan = outlet->plan;
	struct gw_exported exported;
	uint64_t upto;
	enum gw_error error = series_upto(outlet, &upto);

	if (error == GW_E_BUSY)
		return gw_fail(why, error, "the series store is not open, behind the journal, or being rebuilt (see series)");
	if (error != GW_OK)
		return error;
	set_period(outlet, from_us);
	plan.hours = periods->length_us == HOUR_US;
	error = gw_export_write(&plan, from_us, from_us + periods->length_us, period != NULL ? period->revision : 0, upto, &exported, why);
	if (error != GW_OK)
		return error;
	if ((period = gw_export_periods_add(periods, from_us)) == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	*period = (struct gw_export_period){ .from_us = from_us, .upto = upto, .revision = exported.revision, .changed = true };
	note_exported(outlet, &exported);
	if (exported.path[0] != '\0')
		sweep(outlet);
	return save(outlet);
}

static const struct gw_export_period *
other_due(const struct outlet *outlet)
{
	for (size_t i = 0; i < outlet->others.count; i++)
		if (outlet->others.at[i].dirty_us != 0)
			return &outlet->others.at[i];
	return NULL;
}

// One period, if one is due and the journal was looked at up to now: what comes behind is for the next time.
static void
export_due(struct outlet *outlet)
{
	struct gw_why why = { "" };
	int64_t from_us;
	size_t due;
	bool any = gw_export_periods_due(&outlet->periods, gw_clock_wall_us(), outlet->back_us, outlet->delay_us, &from_us, &due);
	const struct gw_export_period *other = other_due(outlet);
	enum gw_error error;

	pthread_mutex_lock(&outlet->lock);
	outlet->status.waiting = due += other != NULL;
	pthread_mutex_unlock(&outlet->lock);
	if ((!any && other == NULL) || gw_clock_mono_us() < outlet->again_us)
		return;
	if (outlet->target == 0)
		outlet->target = gw_journal_last(outlet->core->journal);
	if (outlet->seen < outlet->target)
		return;
	if (other != NULL)
		from_us = other->from_us;
	if ((error = export_period(outlet, other != NULL ? &outlet->others : &outlet->periods, from_us, &why)) != GW_OK)
		fail(outlet, error, why.text[0] != '\0' ? why.text : gw_error_text(error));
	outlet->target = 0;
	outlet->look_us = due > 1 && error == GW_OK ? 0 : outlet->look_us; // the next one at once
}

static void
tend(struct outlet *outlet)
{
	int64_t now_us = gw_clock_mono_us();
	enum gw_error error;

	if (now_us - outlet->look_us < LOOK_EVERY_US && outlet->look_us != 0)
		return;
	outlet->look_us = now_us;
	error = gw_export_periods_take_again(&outlet->periods, outlet->core->journal);
	for (size_t i = 0; i < outlet->periods.again_count && error == GW_OK; i++)
		gw_export_periods_mark_range(&outlet->others, outlet->periods.again[i].from_us, outlet->periods.again[i].to_us, 1);
	if (error == GW_OK)
		error = save(outlet);
	if (error != GW_OK && error != GW_E_STOPPING)
		gw_diag_limited(&outlet->failed, 60, GW_WARNING, "export.save", "%s", gw_error_text(error));
	else if (error == GW_OK)
		export_due(outlet);
	if (now_us - outlet->swept_us >= SWEEP_EVERY_US)
		sweep(outlet);
}

static void *
run(void *arg)
{
	struct outlet *outlet = arg;
	struct gw_record record;

	(void)setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
	sweep(outlet);
	while (!outlet->stopping) {
		if (gw_follow_next(outlet->follow, outlet->look_us == 0 ? 0 : LOOK_EVERY_US / 1000, &record))
			look_at(outlet, &record);
		tend(outlet);
	}
	(void)save(outlet);
	return NULL;
}

// ---- Start and stop ----

static enum gw_error
check(const struct gw_config *config, struct gw_why *why)
{
	struct gw_why words = { "" };

	if (!config->export_enabled)
		return GW_OK;
	if (config->export_dir[0] == '\0')
		return gw_fail(why, GW_E_CONFIG, "export.enabled needs export.dir: the folder for the files");
	if (!config->series_enabled)
		return gw_fail(why, GW_E_CONFIG, "export.enabled needs series.enabled: exports come out of the series store");
	if (gw_series_signals_check(gw_span_text(config->export_signals), &words) != GW_OK)
		return gw_fail(why, GW_E_CONFIG, "export.signals: %.150s", words.text);
	if (config->export_keep_d > 0 && config->export_back_h > config->export_keep_d * 24)
		return gw_fail(why, GW_E_CONFIG, "export.back_h (%lld) is more than export.keep_d", (long long)config->export_back_h);
	return GW_OK;
}

static enum gw_error
open_dir(const struct gw_config *config, int *fd, struct gw_why *why)
{
	if (mkdir(config->export_dir, 0700) != 0 && errno != EEXIST)
		return gw_fail(why, GW_E_CONFIG, "export.dir: cannot make %.120s: %s", config->export_dir, strerror(errno));
	if ((*fd = open(config->export_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return gw_fail(why, GW_E_CONFIG, "export.dir: %.120s: %s", config->export_dir, strerror(errno));
	return GW_OK;
}

static void
make_plan(struct outlet *outlet, const struct gw_config *config)
{
	struct gw_export_plan *plan = &outlet->plan;

	plan->core = outlet->core;
	plan->gzip = config->export_gzip;
	plan->hours = strcmp(config->export_every, "hour") == 0;
	plan->patients = config->export_patients;
	plan->signals = config->export_signals;
	plan->devices = config->export_devices;
	plan->reserve_bytes = (uint64_t)config->store_disk_reserve_mb * MIB;
	(void)gw_export_format_parse(config->export_format, &plan->format);
	plan->hold = hold;
	plan->release = release;
	plan->tick = tick;
	plan->arg = outlet;
	outlet->back_us = config->export_back_h * HOUR_US;
	outlet->delay_us = config->export_delay_min * MINUTE_US;
	outlet->keep_us = config->export_keep_d * DAY_US;
	outlet->bytes_max = (uint64_t)config->export_max_mb * MIB;
}

static enum gw_error
open_outlet(struct outlet *outlet, struct gw_why *why)
{
	struct gw_core *core = outlet->core;
	struct gw_follow_options follow = { .journal = core->journal, .intake = core->intake, .name = GW_EXPORT_OUTLET };
	enum gw_error error;

	make_plan(outlet, core->config);
	if ((error = open_dir(core->config, &outlet->plan.dir_fd, why)) != GW_OK)
		return error;
	if ((error = gw_export_periods_open(&outlet->periods, core->journal, outlet->plan.hours ? HOUR_US : DAY_US)) != GW_OK ||
	    (error = gw_export_periods_open(&outlet->others, core->journal, outlet->plan.hours ? DAY_US : HOUR_US)) != GW_OK)
		return gw_fail(why, error, "what was exported: %s", gw_error_text(error));
	if ((error = gw_follow_open(&follow, &outlet->follow, why)) != GW_OK)
		return error;
	outlet->seen = gw_follow_cursor(outlet->follow);
	if ((error = gw_source_init(&outlet->source, core->intake, 1)) != GW_OK)
		return gw_fail(why, error, "%s", gw_error_text(error));
	outlet->has_source = true;
	return GW_OK;
}

static void
free_outlet(struct outlet *outlet)
{
	gw_follow_close(outlet->follow);
	if (outlet->has_source)
		gw_source_fini(&outlet->source);
	gw_export_periods_close(&outlet->periods);
	gw_export_periods_close(&outlet->others);
	if (outlet->plan.dir_fd >= 0)
		close(outlet->plan.dir_fd);
	pthread_mutex_destroy(&outlet->lock);
	free(outlet);
}

static enum gw_error
start(struct gw_core *core, void **part, struct gw_why *why)
{
	struct outlet *outlet = calloc(1, sizeof(*outlet));
	enum gw_error error;

	if (outlet == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	outlet->core = core;
	outlet->plan.dir_fd = -1;
	outlet->status.state = "running";
	pthread_mutex_init(&outlet->lock, NULL);
	if ((error = open_outlet(outlet, why)) == GW_OK && pthread_create(&outlet->thread, NULL, run, outlet) != 0)
		error = gw_fail(why, GW_E_SYSTEM, "cannot start a thread");
	if (error != GW_OK) {
		free_outlet(outlet);
		return error;
	}
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
	free_outlet(outlet);
}

// ---- Status ----

static void
status(void *part, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct outlet *outlet = part;
	struct status now;
	int64_t lag_us = 0;
	char text[40];

	pthread_mutex_lock(&outlet->lock);
	now = outlet->status;
	pthread_mutex_unlock(&outlet->lock);
	yyjson_mut_obj_add_str(doc, object, "state", now.state);
	if (now.error[0] != '\0')
		yyjson_mut_obj_add_strcpy(doc, object, "error", now.error);
	if (now.period[0] != '\0') {
		yyjson_mut_obj_add_strcpy(doc, object, "period", now.period);
		yyjson_mut_obj_add_uint(doc, object, "percent", (uint64_t)(now.part * 100));
	}
	yyjson_mut_obj_add_str(doc, object, "every", outlet->plan.hours ? "hour" : "day");
	yyjson_mut_obj_add_uint(doc, object, "periods_due", now.waiting);
	if (now.file[0] != '\0') {
		yyjson_mut_obj_add_strcpy(doc, object, "last_file", now.file);
		yyjson_mut_obj_add_strcpy(doc, object, "last_file_at", gw_time_format(now.file_us, text));
	}
	yyjson_mut_obj_add_uint(doc, object, "files", now.files);
	yyjson_mut_obj_add_uint(doc, object, "rows", now.rows);
	yyjson_mut_obj_add_uint(doc, object, "bytes", now.bytes);
	yyjson_mut_obj_add_uint(doc, object, "files_again", now.again);
	yyjson_mut_obj_add_uint(doc, object, "readings_too_late", now.late);
	yyjson_mut_obj_add_uint(doc, object, "kept_files", now.usage.files);
	yyjson_mut_obj_add_uint(doc, object, "kept_bytes", now.usage.bytes);
	yyjson_mut_obj_add_uint(doc, object, "periods_removed", now.usage.removed);
	yyjson_mut_obj_add_uint(doc, object, "cursor", gw_follow_cursor(outlet->follow));
	yyjson_mut_obj_add_uint(doc, object, "lag_records", gw_follow_lag(outlet->follow, &lag_us));
}

// {"action": "rewind", "to": TIME}: everything since then once more.
static enum gw_error
command(void *part, yyjson_val *arguments, struct gw_why *reply)
{
	struct outlet *outlet = part;
	const char *action = yyjson_get_str(yyjson_obj_get(arguments, "action")), *to = yyjson_get_str(yyjson_obj_get(arguments, "to"));
	int64_t from_us;
	enum gw_error error;

	if (action == NULL || strcmp(action, "rewind") != 0)
		return gw_fail(reply, GW_E_ARGUMENT, "exports have nothing parked");
	if (to == NULL || gw_time_parse(to, &from_us) != 0)
		return gw_fail(reply, GW_E_ARGUMENT, "--to needs a time");
	if ((error = gw_export_again(outlet->core->intake, from_us, INT64_MAX)) == GW_OK)
		(void)gw_fail(reply, GW_OK, "files since then are written again");
	return error;
}

static const char *const sections[] = { "export", NULL };

const struct gw_part gw_export_part = {
	.name = GW_EXPORT_OUTLET, .outlet = true, .enabled = enabled, .sections = sections, .check = check, .start = start, .stop = stop, .close = close_part,
	.status = status, .command = command,
};
