// SPDX-License-Identifier: Apache-2.0
// The pipe that comes with a request (gw_call.data_fd), for output that is a file's bytes. The command's thread.
#ifndef GW_COMMAND_PIPE_H
#define GW_COMMAND_PIPE_H

#include "gateway/command.h"

// It has to be a pipe, whose other end the command line reads: nothing that could make a write wait.
enum gw_error gw_call_pipe(struct gw_call *call);
// Writes what it takes; wait: all of it. GW_E_STOPPING: nobody takes it, for a good while, or the gateway stops.
enum gw_error gw_call_pipe_write(struct gw_call *call, const char *at, size_t len, bool wait, size_t *taken);

#endif
