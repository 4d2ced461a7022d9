// SPDX-License-Identifier: Apache-2.0
// What commands that show patients' data have in common: that somebody looks is on record before anything is shown.
#ifndef GW_COMMAND_AUDIT_H
#define GW_COMMAND_AUDIT_H

#include "gateway/command.h"

// Records the command, where it shows patients' data and does not do so itself. Anything but GW_OK: it must not be done.
enum gw_error gw_audit_reading(struct gw_call *call, const char *command);

#endif
