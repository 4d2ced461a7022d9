// SPDX-License-Identifier: Apache-2.0
// What happens to one message: read, understood, applied to patients and associations, laid into a ticket with its row of what was seen, answered.
// No sockets. A struct gw_hl7_take belongs to one thread.
//
//   gw_hl7_take_read()    bytes to events: pure but for the registry's snapshot          any time
//   gw_hl7_take_apply()   events to tickets, and the answer that is due when they are stored   under gw_patients_lock(), until the tickets are submitted
//   gw_hl7_take_done()    what to do when they are back
#ifndef GW_HL7_IN_TAKE_H
#define GW_HL7_IN_TAKE_H

#include "adapters/hl7/answer.h"
#include "adapters/hl7/in_seen.h"
#include "adapters/hl7/in_settings.h"

#define GW_HL7_HEAD_BYTES 4096 // of a message that is larger than the limit: what is looked at, and kept where it is refused

// What became of a message.
enum gw_hl7_kind {
	GW_HL7_TOOK,      // its events were applied
	GW_HL7_UNUSED,    // nothing for us: recorded
	GW_HL7_AGAIN,     // taken before: answered as then, without effect
	GW_HL7_IS_ANSWER, // an answer of the peer's
	GW_HL7_REFUSED,   // its content: in quarantine, AE or AR
	GW_HL7_LATER,     // it could not be taken now: AE with 207, nothing is kept
	GW_HL7_KINDS
};

// One message under way: made by the caller, filled by gw_hl7_take_apply(), used again after gw_hl7_request_reset(). {0} is ready for use.
struct gw_hl7_request {
	struct gw_hl7_request *next; // the caller's
	void *owner;                 // the caller's
	const struct gw_hl7_peer *peer;
	enum gw_hl7_kind kind;
	bool changed;                // patients and associations, in memory: they must be read again where the ticket is not stored
	bool kept_back;              // the same message is under way or was taken before: this one stands and falls with row `seen`
	uint64_t seen;               // its row; 0: none
	struct gw_hl7_out answer;    // in MLLP frames; may be empty
	struct gw_hl7_out header;    // MSH as received, from which another answer can be made
	struct gw_why why;           // what it did, or what is wrong; no patient's data
};
void gw_hl7_request_reset(struct gw_hl7_request *request); // keeps its memory where that is small
void gw_hl7_request_fini(struct gw_hl7_request *request);

struct gw_hl7_take_options {
	struct gw_registry *registry;
	struct gw_patients *patients;
	struct gw_hl7_seen *seen;
	const struct gw_hl7_in_settings *settings;
	bool replay; // messages out of quarantine: what is refused again is not kept again
};

struct gw_hl7_take;
struct gw_hl7_take *gw_hl7_take_new(const struct gw_hl7_take_options *options); // NULL: out of memory
void gw_hl7_take_free(struct gw_hl7_take *take);

// Reads a message (without its frame), which must live until it was applied. proved: how the peer proved who it is.
void gw_hl7_take_read(struct gw_hl7_take *take, const struct gw_hl7_peer *peer, enum gw_auth proved, struct gw_span message, int64_t received_us);
// The beginning of one that is larger than the limit: what is not for us by its type needs no more than that.
void gw_hl7_take_read_head(struct gw_hl7_take *take, const struct gw_hl7_peer *peer, enum gw_auth proved, struct gw_span head, int64_t received_us);
// What was read (for tests): events, or what is wrong.
const struct gw_hl7_meaning *gw_hl7_take_meaning(const struct gw_hl7_take *take);

// Fills request and ticket, which must be submitted. True: `after` was filled, too, and must be submitted after it: of a message whose first events were
// applied (ticket) and whose later ones were refused (after); the request is done when that is back. Else `after` is untouched.
bool gw_hl7_take_apply(struct gw_hl7_take *take, struct gw_hl7_request *request, struct gw_ticket *ticket, struct gw_ticket *after);

// The outcome of the ticket: request->answer is then what to send. False: close without an answer. *reload: patients and associations must be read again
// (gw_patients_reload). Takes gw_patients_lock() itself where something failed.
bool gw_hl7_take_done(struct gw_hl7_take *take, struct gw_hl7_request *request, enum gw_error result, bool *reload);

#endif
