// SPDX-License-Identifier: Apache-2.0
// What the ledger knows of a reading on its way to HL7 destinations: gw_part.trace. Reads rows only; any thread, also where no destination runs.
#ifndef GW_HL7_TRACE_H
#define GW_HL7_TRACE_H

#include "gateway/core.h"

// For every destination that ever ran: each message that holds the reading, or why there is none.
enum gw_error gw_hl7_trace(struct gw_core *core, const struct gw_traced *traced, yyjson_mut_doc *doc, yyjson_mut_val *array);

#endif
