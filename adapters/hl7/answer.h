// SPDX-License-Identifier: Apache-2.0
// Answers to what peers send (HL7 v2 section 2.9, original and enhanced mode; MSA, ERR; ORR^O02 of chapter 4). Pure: time and control id are given.
//
// An answer speaks with | ^ ~ \ & whatever the request used, in the request's character set where that can be written, else in ASCII with escapes, and in the
// request's version. MSH-3 to 6 are the request's, swapped, with all components. No patient's data in it.
#ifndef GW_HL7_ANSWER_H
#define GW_HL7_ANSWER_H

#include "adapters/hl7/message.h"

enum gw_hl7_outcome { GW_HL7_TAKEN, GW_HL7_FAILED, GW_HL7_REJECTED };

// Which acknowledgements MSH-15 and MSH-16 ask for, given how it went (table 0155). Both empty: original mode, one application answer. In enhanced mode
// there may be none, one, or both: the accept answer first. An answer that arrives (MSA) is answered only where it asks for it.
struct gw_hl7_wanted {
	bool enhanced, accept, application;
};
struct gw_hl7_wanted gw_hl7_wanted(const struct gw_hl7_in *in, enum gw_hl7_outcome outcome);

struct gw_hl7_answer_options {
	bool accept;            // CA, CE, CR instead of AA, AE, AR
	bool orr;               // to ORM^O01: ORR^O02 with an ORC for each order, instead of ACK
	const char *control_id; // MSH-10: unique, at most 20 bytes
	int64_t now_us;         // MSH-7
	const char *application, *facility; // MSH-3 and MSH-4 where the request's MSH-5 and MSH-6 are empty; may be NULL
};

// Appends a whole message. fault: NULL unless it failed or was rejected. A request without MSH (segment_count 0) gets AR with an empty MSA-2.
// Errors stick in out.
void gw_hl7_answer(struct gw_hl7_in *in, enum gw_hl7_outcome outcome, const struct gw_hl7_fault *fault, const struct gw_hl7_answer_options *options,
    struct gw_hl7_out *out);

// The fault for an error of the gateway (the patients' model, the store, the parser), with its words. *outcome: how to answer.
struct gw_hl7_fault gw_hl7_fault_of(enum gw_error error, const struct gw_why *why, enum gw_hl7_outcome *outcome);

#endif
