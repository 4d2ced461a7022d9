// SPDX-License-Identifier: Apache-2.0
// The daemon's life: open, start, wait, stop. main's thread alone, but for one guard thread that ends a stop which takes too long or which
// somebody does not want to wait for. Signals are blocked in every thread and read here.
#include "gateway/daemon.h"

#include "gateway/clock.h"
#include "gateway/control.h"
#include "gateway/erase.h"
#include "gateway/follow.h"
#include "gateway/reload.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#define STOP_MS_MAX 8000  // of an orderly stop
#define FAIL_MS_MAX 3000  // of the last answers after a failed sync
#define ABSENT_MS 3600000 // between looks at outlets that do not run

struct daemon {
	struct gw_core core;
	struct gw_parts parts;
	pthread_rwlock_t parts_lock;
	struct gw_control *control;
	struct gw_reload *reload;
	struct gw_erase_resume *erasures;
	int signal_fd, failed_fd;
	bool failed;
	// The guard's.
	pthread_t guard;
	int guard_ms, guard_code, ended_fd;
	_Atomic(const char *) stopping; // what is being closed
};

// ---- What the process is given ----

static void
raise_files_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		gw_diag(GW_WARNING, "gateway.limits", "the limit of open files stays low: %s", strerror(errno));
}

// Keys and readings are in memory: no core dump, no debugger, unless somebody wants them.
static void
keep_memory(bool core_dumps)
{
	struct rlimit none = { 0, 0 };

	if (core_dumps)
		return;
	if (setrlimit(RLIMIT_CORE, &none) != 0)
		gw_diag(GW_WARNING, "gateway.limits", "core dumps stay as they are: %s", strerror(errno));
#if !defined(__SANITIZE_ADDRESS__) // whose search for leaks is a debugger
	if (prctl(PR_SET_DUMPABLE, 0) != 0)
		gw_diag(GW_WARNING, "gateway.limits", "the memory stays open to debuggers: %s", strerror(errno));
#endif
}

static enum gw_error
open_signals(struct daemon *daemon, struct gw_why *why)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	daemon->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	daemon->failed_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	daemon->ended_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (daemon->signal_fd < 0 || daemon->failed_fd < 0 || daemon->ended_fd < 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot set up signals: %s", strerror(errno));
	return GW_OK;
}

static void
wake(int fd)
{
	uint64_t one = 1;

	(void)!write(fd, &one, sizeof(one));
}

// The writer's thread: the store could not be synced. Every ticket has been given back; main ends the process.
static void
store_failed(void *arg, enum gw_error error)
{
	struct daemon *daemon = arg;

	gw_diag(GW_ERROR, "store.failed", "%s: nothing more is taken, the gateway ends for a clean restart", gw_error_text(error));
	wake(daemon->failed_fd);
}

// ---- Stopping ----

// 0 for none, else the signal that came.
static int
next_signal(struct daemon *daemon)
{
	struct signalfd_siginfo info;

	return read(daemon->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info) ? (int)info.ssi_signo : 0;
}

static void *
guard_main(void *arg)
{
	struct daemon *daemon = arg;
	struct pollfd fds[2] = { { .fd = daemon->ended_fd, .events = POLLIN }, { .fd = daemon->signal_fd, .events = POLLIN } };
	int ready;

	for (;;) {
		ready = poll(fds, 2, daemon->guard_ms);
		if (ready < 0 && errno == EINTR)
			continue;
		if (fds[0].revents != 0)
			return NULL;
		if (ready > 0 && next_signal(daemon) == SIGHUP)
			continue;
		break;
	}
	gw_diag(GW_WARNING, "gateway.ended", "%s while stopping %s: ending at once, what was acknowledged is safe",
	    ready > 0 ? "a second signal came" : "too much time went by", atomic_load(&daemon->stopping));
	_exit(daemon->guard_code);
}

static bool
start_guard(struct daemon *daemon, int ms, int code)
{
	daemon->guard_ms = ms;
	daemon->guard_code = code;
	atomic_store(&daemon->stopping, "the parts");
	return pthread_create(&daemon->guard, NULL, guard_main, daemon) == 0;
}

static void
stop_parts(struct daemon *daemon)
{
	struct gw_parts *parts = &daemon->parts;

	for (size_t i = parts->count; i-- > 0;)
		parts->slots[i].part->stop(parts->slots[i].instance);
	atomic_store(&daemon->stopping, "commands");
	gw_reload_stop(daemon->reload);
	gw_control_close(daemon->control);
	daemon->control = NULL;
	gw_erase_resume_close(daemon->erasures);
	daemon->erasures = NULL;
	for (size_t i = parts->count; i-- > 0;) {
		atomic_store(&daemon->stopping, parts->slots[i].part->name);
		gw_parts_close(parts, i);
	}
}

// Ends everything in order. Returns the exit code; after a failed sync it does not return, for nothing may be written any more.
static int
stop_all(struct daemon *daemon, int code)
{
	bool guarded = start_guard(daemon, daemon->failed ? FAIL_MS_MAX : STOP_MS_MAX, daemon->failed ? GW_EXIT_SYNC : GW_EXIT_STUCK);

	gw_notify("STOPPING=1");
	if (daemon->control != NULL)
		gw_control_stop(daemon->control);
	gw_erase_resume_stop(daemon->erasures);
	stop_parts(daemon);
	if (daemon->failed)
		_exit(GW_EXIT_SYNC);
	atomic_store(&daemon->stopping, "the store");
	gw_refusals_close(daemon->core.refusals);
	daemon->core.refusals = NULL;
	gw_core_close(&daemon->core);
	gw_reload_close(daemon->reload);
	wake(daemon->ended_fd);
	if (guarded)
		pthread_join(daemon->guard, NULL);
	return code;
}

// ---- Starting ----

static enum gw_error
start_parts(struct daemon *daemon, struct gw_why *why)
{
	const struct gw_core *core = &daemon->core;
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < core->part_count && error == GW_OK; i++) {
		if (core->parts[i]->enabled(core->config))
			error = gw_parts_start(&daemon->parts, core->parts[i], core, why);
	}
	return error;
}

static void
say_ready(const struct daemon *daemon)
{
	const struct gw_config *config = daemon->core.config;
	char names[GW_PARTS_MAX * 16] = "";
	size_t len = 0;

	for (size_t i = 0; i < daemon->parts.count && len < sizeof(names); i++)
		len += (size_t)snprintf(names + len, sizeof(names) - len, "%s%s", i > 0 ? ", " : "", daemon->parts.slots[i].part->name);
	gw_diag(GW_NOTICE, "gateway.ready", "vitalgate %s runs: %s; store %s; commands at %s", VITALGATE_VERSION,
	    names[0] != '\0' ? names : "no part is enabled", config->store_dir, config->control_socket);
	gw_notify("READY=1");
}

static enum gw_error
start_all(struct daemon *daemon, struct gw_why *why)
{
	struct gw_control_options control = { .path = daemon->core.config->control_socket, .core = &daemon->core, .parts = &daemon->parts,
		.reload = daemon->reload, .commands_max = (uint32_t)daemon->core.config->control_commands_max };
	enum gw_error error;

	gw_erase_again(&daemon->core);
	gw_renew_list(gw_reload_renewal(daemon->reload)); // before parts read their files: what changes from here on is noticed
	error = start_parts(daemon, why);
	if (error == GW_OK)
		error = gw_control_open(&control, &daemon->control, why);
	if (error == GW_OK)
		error = gw_erase_resume_open(&daemon->core, &daemon->parts, &daemon->erasures, why);
	return error;
}

static enum gw_error
open_core(struct daemon *daemon, const struct gw_config *config, const struct gw_part *const *table, size_t count, struct gw_why *why)
{
	enum gw_error error = gw_reload_open(&daemon->core, &daemon->parts, &daemon->reload, why);

	if (error == GW_OK && (error = gw_core_open(config, store_failed, daemon, &daemon->core, why)) != GW_OK) {
		gw_reload_close(daemon->reload);
		daemon->reload = NULL;
	}
	if (error == GW_OK)
		error = gw_refusals_open(daemon->core.intake, &daemon->core.refusals, why);
	daemon->core.parts_lock = &daemon->parts_lock;
	daemon->core.parts = table;
	daemon->core.part_count = count;
	return error;
}

// What keeps the journal but is not in the configuration any more. The limit of age is the longest of those that are.
static void
tend_absent_outlets(const struct daemon *daemon)
{
	const struct gw_config *config = daemon->core.config;
	const struct gw_config_destination *destinations = config->hl7_destinations.at;
	int64_t hours = config->bus_backlog_h_max;
	static char names[GW_CONFIG_ITEMS_MAX][GW_ID_MAX + 1];
	const char *running[3 + GW_CONFIG_ITEMS_MAX];
	size_t count = 0;
	enum gw_error error;

	if (config->bus_enabled)
		running[count++] = "bus";
	if (config->series_enabled)
		running[count++] = "series";
	if (config->syslog_enabled)
		running[count++] = "syslog";
	for (size_t i = 0; config->hl7_enabled && i < config->hl7_destinations.count; i++) {
		snprintf(names[i], sizeof(names[i]), "hl7/%s", destinations[i].name);
		running[count++] = names[i];
		if (destinations[i].backlog_h_max > hours)
			hours = destinations[i].backlog_h_max;
	}
	error = gw_follow_absent(daemon->core.journal, daemon->core.intake, running, count, hours * 3600 * 1000000);
	if (error != GW_OK)
		gw_diag(GW_WARNING, "outlet.absent", "outlets that do not run keep their place: %s", gw_error_text(error));
}

// What a signal asks for. False: to stop.
static bool
take_signal(struct daemon *daemon, int number)
{
	if (number == SIGHUP) {
		gw_diag(GW_NOTICE, "gateway.signal", "SIGHUP: reading the configuration anew");
		gw_reload_signalled(daemon->reload);
	} else if (number != 0) {
		gw_diag(GW_NOTICE, "gateway.stopping", "%s: stopping in order; a second signal ends at once", strsignal(number));
		return false;
	}
	return true;
}

static int
wait_ms(int watchdog_ms, int renew_ms)
{
	int ms = watchdog_ms > 0 && watchdog_ms < ABSENT_MS ? watchdog_ms : ABSENT_MS;

	return renew_ms < ms ? renew_ms : ms;
}

// Until a signal to stop, or the store's failure.
static void
wait_for_end(struct daemon *daemon)
{
	struct gw_renew *renew = gw_reload_renewal(daemon->reload);
	struct pollfd fds[] = { { .fd = daemon->failed_fd, .events = POLLIN }, { .fd = daemon->signal_fd, .events = POLLIN },
		{ .fd = gw_reload_fd(daemon->reload), .events = POLLIN }, { .fd = gw_renew_fd(renew), .events = POLLIN } };
	const struct gw_config *looked_with = NULL;
	int watchdog_ms = gw_notify_watchdog_ms();
	int64_t looked_us = 0;

	for (;;) {
		if (looked_with != daemon->core.config || gw_clock_mono_us() - looked_us >= ABSENT_MS * INT64_C(1000)) {
			looked_us = gw_clock_mono_us();
			looked_with = daemon->core.config;
			tend_absent_outlets(daemon);
		}
		if (poll(fds, 4, wait_ms(watchdog_ms, gw_renew_wait_ms(renew))) < 0) {
			if (errno != EINTR)
				return;
			continue;
		}
		if (fds[0].revents != 0) {
			daemon->failed = true;
			return;
		}
		if (fds[1].revents != 0 && !take_signal(daemon, next_signal(daemon)))
			return;
		if (fds[2].revents != 0)
			gw_reload_run(daemon->reload);
		gw_renew_look(renew);
		gw_notify("WATCHDOG=1");
	}
}

int
gw_daemon_run(const struct gw_config *config, const struct gw_part *const *table, size_t count)
{
	struct daemon daemon = { .signal_fd = -1, .failed_fd = -1, .ended_fd = -1 };
	struct gw_why why = { "" };
	enum gw_error error;
	int code = 0;

	pthread_rwlock_init(&daemon.parts_lock, NULL);
	daemon.parts.lock = &daemon.parts_lock;
	gw_diag_open(config->log_json, gw_level_of(config->log_level));
	umask(077);
	raise_files_limit();
	keep_memory(config->process_core_dumps);
	if ((error = open_signals(&daemon, &why)) != GW_OK || (error = open_core(&daemon, config, table, count, &why)) != GW_OK) {
		gw_diag(GW_ERROR, "gateway.start", "%s", why.text);
		return error == GW_E_CORRUPT ? GW_EXIT_DAMAGED : GW_EXIT_START;
	}
	if (start_all(&daemon, &why) == GW_OK) {
		say_ready(&daemon);
		wait_for_end(&daemon);
	} else {
		gw_diag(GW_ERROR, "gateway.start", "%s", why.text);
		code = GW_EXIT_START;
	}
	code = stop_all(&daemon, code);
	if (code == 0)
		gw_diag(GW_NOTICE, "gateway.stopped", "stopped in order");
	close(daemon.signal_fd);
	close(daemon.failed_fd);
	close(daemon.ended_fd);
	pthread_rwlock_destroy(&daemon.parts_lock);
	return code;
}
