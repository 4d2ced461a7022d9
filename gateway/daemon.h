// SPDX-License-Identifier: Apache-2.0
// The daemon: opens what every part shares, starts the parts, waits for a signal, stops them in reverse. main's thread.
#ifndef GW_DAEMON_H
#define GW_DAEMON_H

#include "gateway/core.h"

#include <pthread.h>

// Exit codes beside 0: a supervisor starts the program again after each of them but GW_EXIT_DAMAGED.
enum {
	GW_EXIT_USAGE = 2,
	GW_EXIT_START = 1,
	GW_EXIT_DAMAGED = 65, // the journal is damaged where it cannot be opened: a person has to look, starting again changes nothing
	GW_EXIT_SYNC = 74, // the store could not be written or synced: everything unanswered was told "later"
	GW_EXIT_STUCK = 75, // an orderly stop took too long; the store is safe, it needs no orderly end
};

#define GW_PARTS_MAX 16

// The parts that run, in the order of the program's table. A reload changes them: whoever is not main's thread holds them while it uses one.
struct gw_parts {
	struct {
		const struct gw_part *part;
		void *instance;
		struct gw_core *core; // its own, with the configuration that it was started with
	} slots[GW_PARTS_MAX];
	size_t count;
	pthread_rwlock_t *lock; // also of the core that commands are given; NULL: nothing ever changes
};
// Between these, no part begins or ends. Not to be held while waiting for a person, or twice. parts may be NULL.
void gw_parts_hold(const struct gw_parts *parts);
void gw_parts_release(const struct gw_parts *parts);
// NULL where no such part runs.
const struct gw_part *gw_parts_find(const struct gw_parts *parts, struct gw_span name, void **instance);

// Starts a part with a copy of core. why begins with its name.
enum gw_error gw_parts_start(struct gw_parts *parts, const struct gw_part *part, const struct gw_core *core, struct gw_why *why);
// Closes the part in slot i, which was told to stop; later slots move up.
void gw_parts_close(struct gw_parts *parts, size_t i);

// What a configuration needs: gw_config_check(), and each part's own check.
enum gw_error gw_parts_check(const struct gw_part *const *table, size_t count, const struct gw_config *config, struct gw_why *why);
// Reads and checks what running needs, at start and at a reload; why names the file, also where a path had to be cut to fit.
enum gw_error gw_parts_config(const char *file, const struct gw_part *const *table, size_t count, struct gw_config **config, struct gw_why *why);

// Store, intake, registry, profiles: what commands need, with or without running parts. failed as in gw_intake_options, may be NULL.
enum gw_error gw_core_open(const struct gw_config *config, void (*failed)(void *arg, enum gw_error error), void *arg,
    struct gw_core *core, struct gw_why *why);
void gw_core_close(struct gw_core *core);

// Runs until SIGTERM or SIGINT, or until the store fails. Returns the exit code. table: count parts in the order in which they start.
int gw_daemon_run(const struct gw_config *config, const struct gw_part *const *table, size_t count);

// The supervisor's protocol (sd_notify): a datagram such as "READY=1" to $NOTIFY_SOCKET; nothing where that is not set.
void gw_notify(const char *state);
// How often it wants to hear "WATCHDOG=1", in ms; -1 for never.
int gw_notify_watchdog_ms(void);

#endif
