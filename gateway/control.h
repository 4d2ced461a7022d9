// SPDX-License-Identifier: Apache-2.0
// Commands for the running daemon, over a Unix stream socket. A request is one JSON line {"command": "device list", ...arguments}; the reply is
// JSON lines as they are made, ended by {"end": true, "error": "GW_OK", "why": ""}. Who asks is what the kernel says (SO_PEERCRED).
// A descriptor may come along with the request (SCM_RIGHTS): for output that is no lines, see gw_call.data_fd.
// One thread takes connections, one thread per connection serves it, a few at once; a client that does not read is dropped after a while.
#ifndef GW_CONTROL_H
#define GW_CONTROL_H

#include "gateway/daemon.h"

struct gw_control;
struct gw_reload;

struct gw_control_options {
	const char *path; // made anew (whoever has the store's lock owns it), mode 0660
	const struct gw_core *core;   // each command gets a copy, made while the parts are held
	const struct gw_parts *parts;
	struct gw_reload *reload;     // NULL: the command `reload` says that there is none
	uint32_t commands_max;        // at once; more are told to come again
};

enum gw_error gw_control_open(const struct gw_control_options *options, struct gw_control **control, struct gw_why *why);
// No new requests, those under way are told to end. Returns at once. NULL does nothing, here and below.
void gw_control_stop(struct gw_control *control);
void gw_control_close(struct gw_control *control);

// The client's end: a connected socket, or -1 with errno (ENOENT, ECONNREFUSED: no daemon).
int gw_control_connect(const char *path);

#endif
