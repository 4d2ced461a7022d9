// SPDX-License-Identifier: Apache-2.0
// A patient's data in the rows of a destination: messages that wait or are parked, what is held, and the ledger, from which messages are made again. A row goes
// where it names the patient, or all of its readings are erased in the journal; where only some are, the others stay: held, so that a message is made of them.
// Counts in the erasure; where it is dry nothing else.
//
// Of a destination that runs, its own thread calls this, with nothing under way; of others any thread.
#ifndef GW_HL7_ERASE_H
#define GW_HL7_ERASE_H

#include "adapters/hl7/destination.h"
#include "gateway/erase.h"

// destination: its name. *gone (may be NULL): messages that were to be sent went.
enum gw_error gw_hl7_erase_rows(const char *destination, struct gw_erasure *erasure, bool *gone);
// By the destination's thread; it begins again from what is left. GW_E_BUSY: it does not get to it, for it waits for its peer.
enum gw_error gw_hl7_destination_erase(struct gw_hl7_destination *destination, struct gw_erasure *erasure, struct gw_why *why);
// gw_part.erase of the HL7 outlet is in adapters/hl7/hl7.c.

#endif
