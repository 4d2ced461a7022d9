// SPDX-License-Identifier: Apache-2.0
// Takes the configuration anew while the program runs. It is read and checked as at start; where anything is wrong nothing changes. Else parts whose sections
// differ (gw_part.sections) are ended and started with it, the others go on undisturbed; what only a start can change is told and stays as it was.
// main's thread does it; any thread asks for it.
#ifndef GW_RELOAD_H
#define GW_RELOAD_H

#include "gateway/daemon.h"
#include "gateway/renew.h"

struct gw_reload;

enum gw_reload_what {
	GW_RELOAD_ALL,         // the configuration, and files of credentials that have changed
	GW_RELOAD_CREDENTIALS, // these alone, changed or not
};

// What came of it: error and why as at start, and a line for each thing that changed, or that waits for a start.
struct gw_reload_outcome {
	enum gw_error error;
	struct gw_why why;
	char lines[4096]; // each with its newline
};

// core and parts are main's, and changed by gw_reload_run() under parts->lock.
enum gw_error gw_reload_open(struct gw_core *core, struct gw_parts *parts, struct gw_reload **reload, struct gw_why *why);
// No part may run any more: it frees the configurations that they were given. NULL does nothing.
void gw_reload_close(struct gw_reload *reload);

// Readable when somebody asks.
int gw_reload_fd(const struct gw_reload *reload);
// Does what has been asked for until then, logs what came of it and answers. main's thread, which goes on telling the watchdog.
void gw_reload_run(struct gw_reload *reload);                           // somebody has asked
void gw_reload_signalled(struct gw_reload *reload);                     // GW_RELOAD_ALL
// Credentials, when their files change (gateway/renew.h). Valid as long as reload.
struct gw_renew *gw_reload_renewal(struct gw_reload *reload);
// Whoever asks or waits is told that the gateway stops.
void gw_reload_stop(struct gw_reload *reload);

// Asks, and waits for the outcome. Any thread but main's; must not hold the parts.
void gw_reload_ask(struct gw_reload *reload, enum gw_reload_what what, struct gw_reload_outcome *outcome);

#endif
