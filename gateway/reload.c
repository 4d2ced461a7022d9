// SPDX-License-Identifier: Apache-2.0
// Reload. Beside the configuration that runs a new one is read, and made effective: the sections of parts that can be started anew come from it, all
// others stay as they were at start. What parts were given lives until the end of the program. Files of credentials are renew.c's. main's thread, but for those
// who ask.
#include "gateway/reload.h"

#include "adapters/pki/local.h"

#include "gateway/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define HOLD_MS_MAX 15000 // how long commands may go on using parts until it is given up
#define HOLD_MS_STEP 2
#define WORDS_BYTES 400 // what one line tells of options

struct request {
	struct request *next;
	struct gw_reload_outcome *outcome;
	enum gw_reload_what what;
	bool done;
};

// What lives until the end: one that was read, whole, or an effective one, which owns nothing.
struct kept {
	struct kept *next;
	struct gw_config *config;
	bool whole;
};

struct gw_reload {
	struct gw_core *core;
	struct gw_parts *parts;
	struct kept *kept;
	struct gw_renew *renew;
	int fd;
	pthread_mutex_t lock; // of what follows
	pthread_cond_t answered;
	struct request *requests;
	bool stopped;
};

// One reload.
struct work {
	struct gw_reload *reload;
	struct gw_reload_outcome *outcome;
	struct gw_config *fresh, *effective; // as read; what will run
	const struct gw_config *old;
};

static const char *const log_sections[] = { "log", NULL };

// ---- Words ----

static void
add_line(struct work *work, const char *words)
{
	size_t used = strlen(work->outcome->lines), room = sizeof(work->outcome->lines) - used;

	if (strlen(words) + 2 <= room)
		snprintf(work->outcome->lines + used, room, "%s\n", words);
}

static void __attribute__((format(printf, 3, 4)))
say(struct work *work, enum gw_level level, const char *format, ...)
{
	char words[WORDS_BYTES + 300];
	va_list args;

	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	gw_diag(level, "gateway.reload", "%s", words);
	add_line(work, words);
}

// gw_config_change_fn: "destination pdms changed, backlog_h_max". Never values: there may be secrets among them.
static void
put_change(void *arg, const struct gw_config_change *change)
{
	static const char *const how[] = { [GW_CONFIG_CHANGED] = "changed", [GW_CONFIG_ADDED] = "added", [GW_CONFIG_REMOVED] = "removed" };
	char *words = arg;
	size_t used = strlen(words), room = WORDS_BYTES - used;
	int len;

	if (change->item != NULL)
		len = snprintf(words + used, room, "%s%s %s %s", used > 0 ? ", " : "", change->option->items->name, change->item, how[change->how]);
	else
		len = snprintf(words + used, room, "%s%s", used > 0 ? ", " : "", change->option->name);
	if (len < 0 || (size_t)len >= room)
		memcpy(words + WORDS_BYTES - 4, "...", 4);
}

static bool
differs(const struct gw_config *from, const struct gw_config *to, const char *const *sections)
{
	for (; *sections != NULL; sections++) {
		if (gw_config_diff(from, to, *sections, NULL, NULL) > 0)
			return true;
	}
	return false;
}

static void
say_changed(struct work *work, const char *name, const char *what, const char *const *sections)
{
	char words[WORDS_BYTES] = "";

	for (; *sections != NULL; sections++)
		gw_config_diff(work->old, work->effective, *sections, put_change, words);
	say(work, GW_NOTICE, "%s: %s%s%s%s", name, what, words[0] != '\0' ? " (" : "", words, words[0] != '\0' ? ")" : "");
}

// ---- Configurations ----

static bool
keep(struct gw_reload *reload, struct gw_config *config, bool whole)
{
	struct kept *kept = malloc(sizeof(*kept));

	if (kept == NULL)
		return false;
	*kept = (struct kept){ .next = reload->kept, .config = config, .whole = whole };
	reload->kept = kept;
	return true;
}

static struct gw_config *
copy_of(const struct gw_config *config)
{
	struct gw_config *copy = malloc(sizeof(*copy));

	if (copy != NULL)
		*copy = *config;
	return copy;
}

static enum gw_error
read_fresh(struct work *work, struct gw_why *why)
{
	const struct gw_core *core = work->reload->core;
	struct gw_profiles *profiles = NULL;
	enum gw_error error;

	if (core->config->file == NULL)
		return gw_fail(why, GW_E_CONFIG, "the gateway runs without a configuration file");
	if ((error = gw_parts_config(core->config->file, core->parts, core->part_count, &work->fresh, why)) != GW_OK ||
	    (error = gw_local_apply(work->fresh, why)) != GW_OK)
		return error;
	error = gw_profiles_load(work->fresh->profiles_dir[0] != '\0' ? work->fresh->profiles_dir : NULL, &profiles, why);
	gw_profiles_free(profiles);
	return error;
}

static enum gw_error
make_effective(struct work *work, struct gw_why *why)
{
	const struct gw_core *core = work->reload->core;
	struct gw_why words = { "" };
	enum gw_error error;

	if ((work->effective = copy_of(work->old)) == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	gw_config_take(work->effective, work->fresh, log_sections);
	for (size_t i = 0; i < core->part_count; i++)
		gw_config_take(work->effective, work->fresh, core->parts[i]->sections);
	if ((error = gw_parts_check(core->parts, core->part_count, work->effective, &words)) != GW_OK)
		return gw_fail(why, error, "stop and start the gateway for this: without what only a start changes, %.110s", words.text);
	return GW_OK;
}

// Sections that are read at start alone.
static void
say_pending(struct work *work)
{
	const struct gw_option_section *section;

	for (size_t i = 0; (section = gw_option_section_at(i)) != NULL; i++) {
		char words[WORDS_BYTES] = "";

		if (gw_config_diff(work->effective, work->fresh, section->name, put_change, words) > 0)
			say(work, GW_NOTICE, "%s: takes effect at the next start (%s)", section->name, words);
	}
}

// ---- Parts ----

static bool
runs(const struct gw_parts *parts, const struct gw_part *part)
{
	void *instance;

	return gw_parts_find(parts, gw_span_text(part->name), &instance) == part;
}

static bool
must_end(const struct work *work, const struct gw_part *part)
{
	return part->sections != NULL && (!part->enabled(work->effective) || differs(work->old, work->effective, part->sections));
}

static bool
must_begin(const struct work *work, const struct gw_part *part)
{
	return part->sections != NULL && part->enabled(work->effective) && !runs(work->reload->parts, part);
}

// All are told first, so that they end side by side.
static void
end_parts(struct work *work, bool ended[])
{
	struct gw_parts *parts = work->reload->parts;
	const struct gw_core *core = work->reload->core;

	for (size_t i = parts->count; i-- > 0;) {
		if (must_end(work, parts->slots[i].part))
			parts->slots[i].part->stop(parts->slots[i].instance);
	}
	for (size_t i = parts->count; i-- > 0;) {
		const struct gw_part *part = parts->slots[i].part;

		if (!must_end(work, part))
			continue;
		gw_parts_close(parts, i);
		gw_notify("WATCHDOG=1");
		for (size_t at = 0; at < core->part_count; at++)
			ended[at] |= core->parts[at] == part;
		if (!part->enabled(work->effective))
			say_changed(work, part->name, "stopped", part->sections);
	}
}

// It could not be started: as it was before, then, and its sections of the configuration as well.
static void
back_to_old(struct work *work, const struct gw_part *part, bool ran, const struct gw_why *why)
{
	struct gw_core core = *work->reload->core;
	struct gw_config *mended = copy_of(work->effective);
	struct gw_why again = { "" };

	if (mended != NULL && keep(work->reload, mended, false)) {
		gw_config_take(mended, work->old, part->sections);
		work->effective = mended;
	} else
		free(mended);
	core.config = work->old;
	if (!ran)
		(void)gw_fail(&work->outcome->why, GW_E_SYSTEM, "%.150s; it does not run", why->text);
	else if (gw_parts_start(work->reload->parts, part, &core, &again) == GW_OK)
		(void)gw_fail(&work->outcome->why, GW_E_SYSTEM, "%.140s; it goes on as it was before", why->text);
	else
		(void)gw_fail(&work->outcome->why, GW_E_SYSTEM, "%.90s; nor as it was before (%.40s): it does not run", why->text, again.text);
	work->outcome->error = GW_E_SYSTEM;
	gw_diag(GW_ERROR, "gateway.reload", "%s", work->outcome->why.text);
}

static void
begin_parts(struct work *work, const bool ended[])
{
	struct gw_reload *reload = work->reload;

	for (size_t i = 0; i < reload->core->part_count; i++) {
		const struct gw_part *part = reload->core->parts[i];
		struct gw_core core = *reload->core;
		struct gw_why why = { "" };

		if (!must_begin(work, part))
			continue;
		core.config = work->effective;
		if (gw_parts_start(reload->parts, part, &core, &why) == GW_OK)
			say_changed(work, part->name, ended[i] ? "started anew" : "started", part->sections);
		else
			back_to_old(work, part, ended[i], &why);
		gw_notify("WATCHDOG=1");
	}
}

// Commands use parts for moments only, but for one whose output somebody reads slowly: that one is not waited for without end.
static bool
hold_alone(struct gw_reload *reload)
{
	int64_t until_us = gw_clock_mono_us() + HOLD_MS_MAX * INT64_C(1000);

	while (pthread_rwlock_trywrlock(reload->parts->lock) != 0) {
		if (gw_clock_mono_us() > until_us)
			return false;
		gw_notify("WATCHDOG=1");
		(void)poll(NULL, 0, HOLD_MS_STEP);
	}
	return true;
}

// ---- All of it ----

static void
set_log(struct work *work)
{
	if (!differs(work->old, work->effective, log_sections))
		return;
	gw_diag_open(work->effective->log_json, gw_level_of(work->effective->log_level));
	say_changed(work, "log", "in effect", log_sections);
}

static enum gw_error
apply(struct work *work, struct gw_why *why)
{
	struct gw_reload *reload = work->reload;
	bool ended[GW_PARTS_MAX] = { false };

	if (!hold_alone(reload))
		return gw_fail(why, GW_E_BUSY, "a command has been busy with the parts for %d s: try again when it is done", HOLD_MS_MAX / 1000);
	if (!keep(reload, work->fresh, true)) {
		pthread_rwlock_unlock(reload->parts->lock);
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	}
	work->fresh = NULL;
	end_parts(work, ended);
	begin_parts(work, ended);
	reload->core->config = work->effective;
	pthread_rwlock_unlock(reload->parts->lock);
	set_log(work);
	return GW_OK;
}

static bool
has_work(const struct work *work)
{
	const struct gw_core *core = work->reload->core;
	bool wanted = gw_config_diff(work->old, work->effective, NULL, NULL, NULL) > 0;

	for (size_t i = 0; i < core->part_count && !wanted; i++)
		wanted = must_begin(work, core->parts[i]);
	return wanted;
}

static enum gw_error
do_reload(struct work *work, struct gw_why *why)
{
	enum gw_error error;

	if ((error = read_fresh(work, why)) != GW_OK || (error = make_effective(work, why)) != GW_OK)
		return error;
	say_pending(work);
	if (!has_work(work))
		return GW_OK;
	if (!keep(work->reload, work->effective, false))
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	error = apply(work, why);
	work->effective = NULL; // kept
	return error;
}

// gw_renew_fn
static void
say_renewed(void *arg, const struct gw_part *part, const struct gw_why *why)
{
	struct work *work = arg;
	char words[WORDS_BYTES];

	snprintf(words, sizeof(words), "%s: %s%s", part->name, why != NULL ? "what was in use stays in use: " : "credentials taken anew", why != NULL ? why->text : "");
	add_line(work, words);
}

// Whatever the configuration is worth, certificates expire.
static void
renew(struct work *work, bool all)
{
	struct gw_why why = { "" };

	if (gw_renew_do(work->reload->renew, all, say_renewed, work, &why) != GW_OK && work->outcome->error == GW_OK)
		work->outcome->error = gw_fail(&work->outcome->why, GW_E_CONFIG, "%s", why.text);
	if (all && work->outcome->lines[0] == '\0')
		add_line(work, "no part that runs has credentials of its own");
}

static void
run_all(struct work *work)
{
	struct gw_reload_outcome *outcome = work->outcome;
	struct gw_why why = { "" };
	enum gw_error error = do_reload(work, &why);

	gw_config_free(work->fresh);
	free(work->effective);
	if (error != GW_OK) {
		outcome->error = gw_fail(&outcome->why, error, "%s", why.text);
		gw_diag(GW_ERROR, "gateway.reload", "%s", why.text);
		outcome->lines[0] = '\0';
		say(work, GW_ERROR, "nothing has changed");
	} else if (outcome->lines[0] == '\0' && outcome->error == GW_OK)
		say(work, GW_NOTICE, "%s says what runs already: nothing has changed", work->reload->core->config->file);
	gw_renew_list(work->reload->renew);
	renew(work, false);
}

// Answers those who asked before it began; whoever asks meanwhile gets one of their own.
static void
run(struct gw_reload *reload, bool all)
{
	struct gw_reload_outcome outcome = { .error = GW_OK };
	struct work work = { .reload = reload, .outcome = &outcome, .old = reload->core->config };
	struct request *asked;
	uint64_t count;

	(void)!read(reload->fd, &count, sizeof(count));
	pthread_mutex_lock(&reload->lock);
	asked = reload->requests;
	reload->requests = NULL;
	pthread_mutex_unlock(&reload->lock);
	for (const struct request *request = asked; request != NULL; request = request->next)
		all |= request->what == GW_RELOAD_ALL;
	if (all)
		run_all(&work);
	else
		renew(&work, true);
	pthread_mutex_lock(&reload->lock);
	for (; asked != NULL; asked = asked->next) {
		*asked->outcome = outcome;
		asked->done = true;
	}
	pthread_cond_broadcast(&reload->answered);
	pthread_mutex_unlock(&reload->lock);
}

void
gw_reload_run(struct gw_reload *reload)
{
	run(reload, false);
}

void
gw_reload_signalled(struct gw_reload *reload)
{
	run(reload, true);
}

struct gw_renew *
gw_reload_renewal(struct gw_reload *reload)
{
	return reload->renew;
}

// ---- Asking ----

void
gw_reload_ask(struct gw_reload *reload, enum gw_reload_what what, struct gw_reload_outcome *outcome)
{
	struct request request = { .outcome = outcome, .what = what };
	uint64_t one = 1;

	*outcome = (struct gw_reload_outcome){ .error = GW_E_STOPPING };
	pthread_mutex_lock(&reload->lock);
	request.next = reload->requests;
	reload->requests = &request;
	(void)!write(reload->fd, &one, sizeof(one));
	while (!request.done && !reload->stopped)
		pthread_cond_wait(&reload->answered, &reload->lock);
	pthread_mutex_unlock(&reload->lock);
}

void
gw_reload_stop(struct gw_reload *reload)
{
	pthread_mutex_lock(&reload->lock);
	reload->stopped = true;
	reload->requests = NULL;
	pthread_cond_broadcast(&reload->answered);
	pthread_mutex_unlock(&reload->lock);
}

int
gw_reload_fd(const struct gw_reload *reload)
{
	return reload->fd;
}

enum gw_error
gw_reload_open(struct gw_core *core, struct gw_parts *parts, struct gw_reload **out, struct gw_why *why)
{
	struct gw_reload *reload = calloc(1, sizeof(*reload));
	enum gw_error error;

	*out = NULL;
	if (reload == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	reload->core = core;
	reload->parts = parts;
	if ((error = gw_renew_open(core, parts, &reload->renew, why)) != GW_OK) {
		free(reload);
		return error;
	}
	reload->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (reload->fd < 0) {
		gw_renew_close(reload->renew);
		free(reload);
		return gw_fail(why, GW_E_SYSTEM, "cannot make an eventfd: %s", strerror(errno));
	}
	pthread_mutex_init(&reload->lock, NULL);
	pthread_cond_init(&reload->answered, NULL);
	*out = reload;
	return GW_OK;
}

void
gw_reload_close(struct gw_reload *reload)
{
	struct kept *kept;

	if (reload == NULL)
		return;
	while ((kept = reload->kept) != NULL) {
		reload->kept = kept->next;
		if (kept->whole)
			gw_config_free(kept->config);
		else
			free(kept->config);
		free(kept);
	}
	gw_renew_close(reload->renew);
	close(reload->fd);
	pthread_mutex_destroy(&reload->lock);
	pthread_cond_destroy(&reload->answered);
	free(reload);
}
