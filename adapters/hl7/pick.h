// SPDX-License-Identifier: Apache-2.0
// Which message of an outbox goes next. Pure; time is an argument. The destination's thread.
//
// Two lanes (adapters/hl7/lane.c): what comes from now on, and a backlog. Within a lane messages go in the list's order, so that of each device as well. Live ones
// go at once. Those of the backlog go as fast as the limit says and never two in a row while a live one waits, so that a slow peer's time is shared as well.
#ifndef GW_HL7_PICK_H
#define GW_HL7_PICK_H

#include "adapters/hl7/outbox.h"

struct gw_hl7_pick {
	// Constant.
	unsigned backlog_per_s; // 0: no limit
	// Its own.
	double allowance;       // messages of the backlog that may go now
	int64_t filled_us;      // when that was (monotonic); 0: never
	bool backlog_last;      // the message picked last was one of it
};

// Takes the message that goes next to the list's front. False: there is none, or only of the backlog: then *wait_us says when one may go (INT64_MAX: none).
// mono_us: a clock that does not step.
bool gw_hl7_pick(struct gw_hl7_pick *pick, struct gw_hl7_outbox *outbox, int64_t mono_us, int64_t *wait_us);

#endif
