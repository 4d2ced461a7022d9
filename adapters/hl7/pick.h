// SPDX-License-Identifier: Apache-2.0
// Which message of an outbox goes next. Pure; time is an argument. The destination's thread.
//
// Messages of one device go in the order of the list, always. Among the devices' first messages two lanes are told apart: new ones, and old ones, whose
// readings came in longer ago than messages usually take: a backlog. New ones go at once, in the list's order. Old ones go, in the list's order, as fast
// as the limit says and never two in a row while a new one waits, so that a slow peer's time is shared as well. A device that has old messages is of the
// old lane until they are gone.
#ifndef GW_HL7_PICK_H
#define GW_HL7_PICK_H

#include "adapters/hl7/outbox.h"

struct gw_hl7_pick {
	// Constant.
	unsigned old_per_s; // 0: no limit
	int64_t old_us;     // age from which on a message is old
	// Its own.
	double allowance;   // old messages that may go now: one at most
	int64_t filled_us;  // when that was (monotonic); 0: never
	bool old_last;      // the message picked last was an old one
};

// Takes the message that goes next to the list's front. False: there is none, or only old ones: then *wait_us says when one may go (INT64_MAX: none).
// wall_us: as received_us of messages; mono_us: a clock that does not step.
bool gw_hl7_pick(struct gw_hl7_pick *pick, struct gw_hl7_outbox *outbox, int64_t wall_us, int64_t mono_us, int64_t *wait_us);

#endif
