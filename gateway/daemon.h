// SPDX-License-Identifier: Apache-2.0
// The daemon: opens what every part shares, starts the parts, waits for a signal, stops them in reverse. main's thread.
#ifndef GW_DAEMON_H
#define GW_DAEMON_H

#include "gateway/core.h"

// Exit codes beside 0: a supervisor starts the program again after each of them.
enum {
	GW_EXIT_USAGE = 2,
	GW_EXIT_START = 1,
	GW_EXIT_SYNC = 74, // the store could not be written or synced: everything unanswered was told "later"
	GW_EXIT_STUCK = 75, // an orderly stop took too long; the store is safe, it needs no orderly end
};

#define GW_PARTS_MAX 8

// The parts that run.
struct gw_parts {
	struct {
		const struct gw_part *part;
		void *instance;
	} slots[GW_PARTS_MAX];
	size_t count;
};
// NULL where no such part runs.
const struct gw_part *gw_parts_find(const struct gw_parts *parts, struct gw_span name, void **instance);

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
