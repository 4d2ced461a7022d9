// SPDX-License-Identifier: Apache-2.0
// An erasure from its begin to its end, step after step: gateway/erase.h says which. It reads top to bottom as: take it all out, forget the person, take out what
// came meanwhile, say that it is done.
#include "gateway/erase.h"

#include "gateway/clock.h"
#include "gateway/series_outlet.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <poll.h>
#include <unistd.h>

#define FOLLOW_MS 5
#define FOLLOW_MS_MAX 30000 // for the series store to take what the journal has
#define LOOKS_MAX 8         // what is known of the patient changes while it is erased: so often
#define RESUME_MS 60000
#define LOCK_NS 100000000

static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;

// Not without a look at whether the gateway ends: who has it may be at it for long.
enum gw_error
gw_erase_lock(const atomic_bool *stopping)
{
	struct timespec until;

	while (stopping == NULL || !atomic_load(stopping)) {
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_nsec += LOCK_NS;
		until.tv_sec += until.tv_nsec / 1000000000;
		until.tv_nsec %= 1000000000;
		if (pthread_mutex_timedlock(&one_at_a_time, &until) == 0)
			return GW_OK;
	}
	return GW_E_STOPPING;
}

void
gw_erase_unlock(void)
{
	pthread_mutex_unlock(&one_at_a_time);
}

// ---- The row ----

static enum gw_error
store(const struct gw_erasure *erasure)
{
	struct gw_source source;
	struct gw_ticket *ticket;
	enum gw_error error = gw_source_init(&source, erasure->core->intake, 1);

	if (error != GW_OK)
		return error;
	ticket = gw_ticket_get(&source);
	error = ticket != NULL ? gw_erasure_put(erasure, ticket) : GW_E_MEMORY;
	if (error == GW_OK)
		error = gw_intake_commit(ticket);
	if (ticket != NULL)
		gw_ticket_release(ticket);
	gw_source_fini(&source);
	return error;
}

static bool
last_number(void *arg, struct gw_span key, struct gw_span value)
{
	const size_t prefix = sizeof(GW_ERASURE_PREFIX) - 1;
	char digits[17] = "";

	(void)value;
	if (key.len == prefix + 16)
		memcpy(digits, key.at + prefix, 16);
	*(uint64_t *)arg = strtoull(digits, NULL, 16);
	return true;
}

static enum gw_error
begin(struct gw_erasure *erasure, struct gw_why *why)
{
	uint64_t last = 0;
	enum gw_error error;

	if ((error = gw_erasure_look(erasure, erasure->patient, NULL, why)) != GW_OK)
		return error;
	error = gw_journal_each(erasure->core->journal, gw_span_text(GW_ERASURE_PREFIX), gw_span(NULL, 0), last_number, &last);

	if (error != GW_OK)
		return gw_fail(why, error, "earlier erasures cannot be read: %s", gw_error_text(error));
	erasure->begun_us = gw_clock_wall_us();
	erasure->number = (uint64_t)erasure->begun_us > last ? (uint64_t)erasure->begun_us : last + 1;
	erasure->state = GW_ERASURE_BEGUN;
	if (!erasure->dry && (error = store(erasure)) != GW_OK)
		return gw_fail(why, error, "the erasure could not be begun: %s", gw_error_text(error));
	return GW_OK;
}

// ---- The series store ----

struct series {
	struct gw_series_store *store;
	bool own, held;
};

static void
release(struct gw_erasure *erasure, struct series *series)
{
	erasure->whose.store = NULL;
	if (series->own)
		gw_series_close(series->store);
	if (series->held)
		gw_parts_release(erasure->parts);
	*series = (struct series){ 0 };
}

// NULL and GW_OK: there is none.
static enum gw_error
hold(struct gw_erasure *erasure, struct series *series, struct gw_why *why)
{
	void *instance = NULL;
	enum gw_error error;

	*series = (struct series){ 0 };
	gw_parts_hold(erasure->parts);
	series->held = true;
	erasure->whose.clock_device[0] = '\0'; // histories of clocks are of a store
	if ((series->store = erasure->whose.store = gw_series_running()) != NULL)
		return GW_OK;
	if (gw_parts_find(erasure->parts, gw_span_text("series"), &instance) != NULL) {
		release(erasure, series);
		return gw_fail(why, GW_E_BUSY, "the series store cannot be opened");
	}
	// Where it is switched off, and where no daemon runs, it may be there all the same.
	error = gw_series_open_config(erasure->core->config, true, &series->store, why);
	if (error == GW_OK) {
		gw_series_close(series->store);
		error = gw_series_open_config(erasure->core->config, false, &series->store, why);
	}
	if (error == GW_OK) {
		series->own = true;
		erasure->whose.store = series->store;
		error = gw_series_follow(series->store, gw_journal_incarnation(erasure->core->journal));
	}
	if (error != GW_OK)
		release(erasure, series);
	return error == GW_E_NOT_FOUND ? GW_OK : error;
}

// The outlet has read records ahead: those that it read before they were erased must be in the store, where they are found.
static enum gw_error
wait_for_series(struct gw_erasure *erasure, struct series *series, struct gw_why *why)
{
	enum gw_error error = GW_OK;

	for (int waited = 0; series->store != NULL && !series->own && gw_series_taken(series->store) < erasure->scanned; waited += FOLLOW_MS) {
		release(erasure, series);
		if (gw_erasure_ending(erasure))
			return GW_E_STOPPING;
		if (waited >= FOLLOW_MS_MAX)
			return gw_fail(why, GW_E_BUSY, "the series store is behind the journal");
		usleep(FOLLOW_MS * 1000);
		if ((error = hold(erasure, series, why)) != GW_OK)
			return error;
	}
	return GW_OK;
}

static bool
goes(void *arg, const struct gw_series_info *info, const struct gw_point *point)
{
	struct gw_erasure *erasure = arg;
	enum gw_belongs belongs = gw_erasure_belongs(erasure, info->device, point);

	erasure->counts.series_unsure += belongs == GW_BELONGS_UNSURE && !erasure->unsure;
	if (!gw_erasure_takes(erasure, belongs))
		return false;
	if (!erasure->dry)
		gw_erasure_export_note(erasure, point->reading.time_us);
	return true;
}

static bool
notes(void *arg, const struct gw_series_info *info, const struct gw_point *point)
{
	struct gw_erasure *erasure = arg;

	if (gw_erasure_takes(erasure, gw_erasure_belongs(erasure, info->device, point)))
		gw_erasure_export_note(erasure, point->reading.time_us);
	return false;
}

// Durable before anything goes: afterwards nobody finds it any more.
static enum gw_error
note_exports(struct gw_erasure *erasure, struct series *series, const char *device)
{
	uint64_t none;
	enum gw_error error;

	if (!gw_erasure_exports(erasure))
		return GW_OK;
	error = gw_series_erase_where(series->store, gw_span_text(device), notes, erasure, true, &none, NULL);
	if (error != GW_OK || !erasure->exports_changed)
		return error;
	if ((error = store(erasure)) == GW_OK)
		erasure->exports_changed = false;
	return error;
}

static enum gw_error
erase_device(struct gw_erasure *erasure, const char *device, struct gw_why *why)
{
	uint64_t erased = 0, damaged = 0;
	struct series series;
	enum gw_error error = hold(erasure, &series, why);

	if (error == GW_OK && !erasure->dry)
		error = wait_for_series(erasure, &series, why);
	if (error == GW_OK && !erasure->dry && series.store != NULL)
		error = note_exports(erasure, &series, device);
	if (error == GW_OK && series.store != NULL)
		error = gw_series_erase_where(series.store, gw_span_text(device), goes, erasure, erasure->dry, &erased, &damaged);
	release(erasure, &series);
	erasure->counts.series += erased;
	erasure->counts.series_damaged += damaged;
	return error == GW_E_NOT_FOUND ? GW_OK : error;
}

static enum gw_error
erase_series(struct gw_erasure *erasure, struct gw_why *why)
{
	enum gw_error error = GW_OK;

	erasure->counts.series_unsure = erasure->counts.series_damaged = 0;
	for (size_t i = 0; i < erasure->window_count && error == GW_OK; i++) {
		if (gw_erasure_ending(erasure))
			return GW_E_STOPPING;
		if (i == 0 || strcmp(erasure->windows[i].device, erasure->windows[i - 1].device) != 0)
			error = erase_device(erasure, erasure->windows[i].device, why);
	}
	return error;
}

// ---- Each part's own ----

static enum gw_error
ask_part(struct gw_erasure *erasure, const struct gw_part *part, struct gw_why *why)
{
	struct series series;
	void *instance = NULL;
	enum gw_error error = hold(erasure, &series, why); // the parts, and the histories of clocks

	if (error != GW_OK)
		return error;
	(void)gw_parts_find(erasure->parts, gw_span_text(part->name), &instance);
	error = gw_erasure_ending(erasure) ? GW_E_STOPPING : part->erase(erasure->core, instance, erasure, why);
	release(erasure, &series);
	return error;
}

static enum gw_error
ask_parts(struct gw_erasure *erasure, struct gw_why *why)
{
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < erasure->core->part_count && error == GW_OK; i++)
		if (erasure->core->parts[i]->erase != NULL)
			error = ask_part(erasure, erasure->core->parts[i], why);
	return error;
}

// ---- Steps ----

static enum gw_error
fail_at(struct gw_why *why, enum gw_error error, const char *where)
{
	struct gw_why words = *why;

	return gw_fail(why, error, "%s: %.150s", where, words.text[0] != '\0' ? words.text : gw_error_text(error));
}

// With the histories of clocks at hand: what they say decides whose a reading is. In pieces, so that a reload finds a moment.
static enum gw_error
erase_journal(struct gw_erasure *erasure, struct gw_why *why)
{
	const uint64_t last = gw_journal_last(erasure->core->journal);
	struct series series;
	uint64_t before;
	enum gw_error error;

	do {
		before = erasure->scanned;
		if ((error = hold(erasure, &series, why)) == GW_OK)
			error = gw_erasure_journal(erasure);
		release(erasure, &series);
	} while (error == GW_OK && erasure->scanned < last && erasure->scanned != before);
	return error;
}

// Takes out all there is. The journal first: what is read from it again does not come back.
static enum gw_error
take_out(struct gw_erasure *erasure, struct gw_why *why)
{
	enum gw_error error;

	why->text[0] = '\0';
	if ((error = erase_journal(erasure, why)) != GW_OK)
		return fail_at(why, error, "the journal");
	if ((error = erase_series(erasure, why)) != GW_OK)
		return fail_at(why, error, "the series");
	if ((error = ask_parts(erasure, why)) != GW_OK)
		return fail_at(why, error, "what is on its way out");
	erasure->counts.quarantine_unsure = 0;
	if ((error = gw_erasure_quarantine(erasure)) != GW_OK)
		return fail_at(why, error, "the quarantine");
	return erasure->dry || (error = store(erasure)) == GW_OK ? GW_OK : fail_at(why, error, "its row");
}

enum gw_error
gw_erasure_put_notes(const struct gw_erasure *erasure, struct gw_ticket *ticket)
{
	struct gw_erased_range ranges[64];
	struct gw_erasure_note note = { .received_us = gw_clock_wall_us(), .erasure = erasure->number,
		.readings = erasure->counts.journal > erasure->counts.series ? erasure->counts.journal : erasure->counts.series, .ranges = ranges };
	uint8_t record[64 * (17 + GW_ID_MAX) + 64];
	enum gw_error error = GW_OK;
	size_t len;

	for (size_t i = 0; i < erasure->window_count && error == GW_OK; i++) {
		const struct gw_erasure_window *window = &erasure->windows[i];

		if (!window->unsure || erasure->unsure)
			ranges[note.count++] = (struct gw_erased_range){ gw_span_text(window->device), window->from_us, window->to_us };
		if (note.count < 64 && i + 1 < erasure->window_count)
			continue;
		if ((error = gw_erasure_note_encode(&note, record, sizeof(record), &len)) == GW_OK)
			error = gw_ticket_record(ticket, gw_span(record, len));
		note.count = 0;
	}
	return error;
}

// One commit: the person, the record, the row.
static enum gw_error
put_forgotten(struct gw_erasure *erasure, struct gw_ticket *ticket)
{
	struct gw_patients *patients = erasure->core->patients;
	enum gw_error error;

	gw_patients_lock(patients);
	error = gw_patients_forget_person(patients, erasure->patient, ticket);
	if (error == GW_E_NOT_FOUND)
		error = GW_OK; // nothing was heard of him for longer than is kept
	if (error == GW_OK)
		error = gw_erasure_put_notes(erasure, ticket);
	erasure->state = GW_ERASURE_FORGOTTEN;
	if (error == GW_OK)
		error = gw_erasure_put(erasure, ticket);
	if (error == GW_OK)
		error = gw_intake_commit(ticket);
	gw_patients_unlock(patients);
	if (error == GW_OK)
		return GW_OK;
	erasure->state = GW_ERASURE_BEGUN;
	(void)gw_patients_reload(patients);
	return error;
}

static enum gw_error
forget(struct gw_erasure *erasure, struct gw_why *why)
{
	struct gw_source source;
	struct gw_ticket *ticket;
	enum gw_error error = gw_source_init(&source, erasure->core->intake, 1);

	if (error != GW_OK)
		return fail_at(why, error, "the person");
	ticket = gw_ticket_get(&source);
	error = ticket != NULL ? put_forgotten(erasure, ticket) : GW_E_MEMORY;
	if (ticket != NULL)
		gw_ticket_release(ticket);
	gw_source_fini(&source);
	if (error != GW_OK)
		return fail_at(why, error, "the person");
	erasure->whose.patients = NULL; // associations do not know him any more: the windows decide
	erasure->whose.kept = false;
	erasure->forgotten_us = gw_clock_wall_us();
	return GW_OK;
}

// Or less: a begin that is older than associations are kept moves on with the clock, and so does an end that is not known yet.
static bool
same_windows(const struct gw_erasure_window *a, size_t a_count, const struct gw_erasure *b)
{
	for (size_t i = 0; i < a_count && i < b->window_count; i++)
		if (strcmp(a[i].device, b->windows[i].device) != 0 || a[i].from_us > b->windows[i].from_us || a[i].unsure != b->windows[i].unsure ||
		    a[i].to_us > b->windows[i].to_us)
			return false;
	return a_count == b->window_count;
}

// Until what is known of the patient stays the same while it is taken out.
static enum gw_error
take_out_all(struct gw_erasure *erasure, struct gw_why *why)
{
	enum gw_error error = gw_erasure_look(erasure, erasure->patient, NULL, why);

	if (error == GW_E_NOT_FOUND) // forgotten by age
		return take_out(erasure, why);
	for (int i = 0; i < LOOKS_MAX && error == GW_OK; i++) {
		struct gw_erasure_window *before;
		size_t count = erasure->window_count;
		bool same;

		if ((error = take_out(erasure, why)) != GW_OK || erasure->dry)
			return error;
		if ((before = malloc((count + 1) * sizeof(*before))) == NULL)
			return GW_E_MEMORY;
		if (count > 0)
			memcpy(before, erasure->windows, count * sizeof(*before));
		error = gw_erasure_look(erasure, erasure->patient, NULL, why);
		same = error == GW_OK && same_windows(before, count, erasure);
		free(before);
		if (same)
			return GW_OK;
		erasure->scanned = 0;
	}
	return error != GW_OK ? error : gw_fail(why, GW_E_BUSY, "what is known of the patient changes all the time");
}

// What a rebuild that was cut off has still to take over may hold what is to go.
static enum gw_error
check_rebuild(const struct gw_erasure *erasure, struct gw_why *why)
{
	char path[4200];

	snprintf(path, sizeof(path), "%s/" GW_SERIES_REBUILDING, erasure->core->config->store_dir);
	if (erasure->dry || access(path, F_OK) != 0)
		return GW_OK;
	return gw_fail(why, GW_E_BUSY, "a rebuild of the series was cut off, and would bring back what is erased: `vitalgate rebuild` goes on with it; then erase");
}

static enum gw_error
run(struct gw_erasure *erasure, struct gw_why *why)
{
	enum gw_error error = check_rebuild(erasure, why);

	if (error != GW_OK)
		return error;
	if (erasure->state == GW_ERASURE_AGAIN && (error = gw_erasure_again(erasure, why)) != GW_OK)
		return error;
	if (erasure->state == GW_ERASURE_BEGUN) {
		erasure->scanned = 0;
		erasure->counts.journal_unsure = 0;
		if ((error = take_out_all(erasure, why)) != GW_OK || erasure->dry)
			return error;
		if ((error = forget(erasure, why)) != GW_OK)
			return error;
	}
	if (erasure->state == GW_ERASURE_DONE || (error = take_out(erasure, why)) != GW_OK)
		return error;
	if ((error = gw_erasure_export_again(erasure)) != GW_OK)
		return fail_at(why, error, "files of exports");
	erasure->state = GW_ERASURE_DONE;
	erasure->done_us = gw_clock_wall_us();
	return (error = store(erasure)) == GW_OK ? GW_OK : fail_at(why, error, "its row");
}

static void
tell(const struct gw_erasure *erasure, enum gw_error error, const struct gw_why *why)
{
	if (error == GW_OK)
		gw_diag(GW_NOTICE, "erasure.done", "erasure=%016" PRIx64 " journal=%llu series=%llu messages=%llu", erasure->number,
		    (unsigned long long)erasure->counts.journal, (unsigned long long)erasure->counts.series, (unsigned long long)erasure->counts.messages);
	else
		gw_diag(error == GW_E_STOPPING ? GW_NOTICE : GW_WARNING, "erasure.waits", "erasure=%016" PRIx64 ": %s; it goes on by itself", erasure->number, why->text);
}

enum gw_error
gw_erase_run(struct gw_erasure *erasure, struct gw_why *why)
{
	enum gw_error error = gw_erase_lock(erasure->stopping);

	if (error != GW_OK)
		return gw_fail(why, error, "the gateway stops");
	if ((error = check_rebuild(erasure, why)) == GW_OK && erasure->number == 0)
		error = begin(erasure, why);
	if (error == GW_OK)
		error = run(erasure, why);
	gw_erase_unlock();
	if (!erasure->dry && erasure->number != 0)
		tell(erasure, error, why);
	return error;
}

// ---- Those that were interrupted ----

struct pending {
	uint64_t after;
	struct gw_erasure erasure;
	bool found;
};

static bool
find_pending(void *arg, struct gw_span key, struct gw_span value)
{
	struct pending *pending = arg;

	if (gw_erasure_read(key, value, &pending->erasure) == GW_OK && pending->erasure.state != GW_ERASURE_DONE && pending->erasure.number > pending->after) {
		pending->found = true;
		return false;
	}
	gw_erasure_fini(&pending->erasure);
	return true;
}

enum gw_error
gw_erase_pending(struct gw_core *core, const struct gw_parts *parts, const atomic_bool *stopping)
{
	struct pending pending = { 0 };
	struct gw_why why;
	enum gw_error error = gw_erase_lock(stopping);

	if (error != GW_OK)
		return error;
	do {
		pending.found = false;
		error = gw_journal_each(core->journal, gw_span_text(GW_ERASURE_PREFIX), gw_span(NULL, 0), find_pending, &pending);
		if (error != GW_OK || !pending.found)
			break;
		pending.after = pending.erasure.number;
		pending.erasure.core = core;
		pending.erasure.parts = parts;
		pending.erasure.stopping = stopping;
		why.text[0] = '\0';
		error = run(&pending.erasure, &why);
		tell(&pending.erasure, error, &why);
		gw_erasure_fini(&pending.erasure);
	} while (error != GW_E_STOPPING && (stopping == NULL || !atomic_load(stopping)));
	gw_erase_unlock();
	return error;
}

struct gw_erase_resume {
	const struct gw_core *core;
	const struct gw_parts *parts;
	pthread_t thread;
	int stop_fd;
	atomic_bool stopping;
};

static void *
resume_main(void *arg)
{
	struct gw_erase_resume *resume = arg;
	struct gw_core core;

	pthread_setname_np(pthread_self(), "erase");
	while (!atomic_load(&resume->stopping)) {
		gw_parts_hold(resume->parts);
		core = *resume->core;
		gw_parts_release(resume->parts);
		(void)gw_erase_pending(&core, resume->parts, &resume->stopping);
		while (poll(&(struct pollfd){ .fd = resume->stop_fd, .events = POLLIN }, 1, RESUME_MS) < 0 && errno == EINTR) {}
	}
	return NULL;
}

enum gw_error
gw_erase_resume_open(const struct gw_core *core, const struct gw_parts *parts, struct gw_erase_resume **out, struct gw_why *why)
{
	struct gw_erase_resume *resume = calloc(1, sizeof(*resume));

	if (resume == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	resume->core = core;
	resume->parts = parts;
	if ((resume->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0 || pthread_create(&resume->thread, NULL, resume_main, resume) != 0) {
		if (resume->stop_fd >= 0)
			close(resume->stop_fd);
		free(resume);
		return gw_fail(why, GW_E_SYSTEM, "cannot start a thread for erasures");
	}
	*out = resume;
	return GW_OK;
}

void
gw_erase_resume_stop(struct gw_erase_resume *resume)
{
	uint64_t one = 1;

	if (resume == NULL)
		return;
	atomic_store(&resume->stopping, true);
	(void)!write(resume->stop_fd, &one, sizeof(one));
}

void
gw_erase_resume_close(struct gw_erase_resume *resume)
{
	if (resume == NULL)
		return;
	pthread_join(resume->thread, NULL);
	close(resume->stop_fd);
	free(resume);
}
