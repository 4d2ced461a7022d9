// SPDX-License-Identifier: Apache-2.0
// For commands that look into the series store: the running one, for as long as the parts are held, or one that is opened for reading where no gateway
// runs; and what all of them ask for. The command's thread.
#ifndef GW_COMMAND_SERIES_H
#define GW_COMMAND_SERIES_H

#include "gateway/command.h"
#include "gateway/series_query.h"

struct gw_held_series {
	struct gw_call *call;
	struct gw_series_store *store; // while it is held
	bool own;                      // opened for this command
	bool held;
	bool had;                      // a store was there before
	bool rebuilding;               // while it was held, a rebuild had not yet put all of the old store into this one
	bool behind;                   // the store has not followed the journal to where it was when the command began
	uint64_t upto;                 // that position
	int64_t waited_us;
};

// Before the first hold: what is acknowledged by now will be in the answer.
void gw_held_series_init(struct gw_held_series *held, struct gw_call *call);
// The store may be used until release. It waits, by a moment, for what was acknowledged before the question; not for long: see behind. So it does where the store is being
// replaced, or was there before and is not: GW_E_BUSY, the answer is not whole.
enum gw_error gw_held_series_hold(struct gw_held_series *held);
// Lets the parts go: before writing to whoever reads slowly. A store opened for the command stays.
void gw_held_series_release(struct gw_held_series *held);
// At the end: says it where readings may be missing, if good.
void gw_held_series_fini(struct gw_held_series *held, bool good);

// A line {"note": "<number> <words>", "left_out": number} for whoever looks on; 0: no number belongs to it.
void gw_call_note_aside(struct gw_call *call, uint64_t left_out, const char *words);
// How many readings were left out because it is not sure whose they are, and why: of `doubted` of them the device's clock was not sure; the others lie too near to a
// change. 0: says nothing.
void gw_call_note_unsure(struct gw_call *call, uint64_t left_out, uint64_t doubted);
// Nothing was found; where that may be a slip of the fingers, it is said.
void gw_call_note_nothing(struct gw_call *call);

// None of --device, --bed, --ward and --patient was given without a name.
enum gw_error gw_call_named(struct gw_call *call);
// --device, --bed, --patient, --signal, --from, --to, --limit, --step, --unsure. `one`: one of the first three must be there.
enum gw_error gw_call_want(struct gw_call *call, bool one, struct gw_series_want *want);

#endif
