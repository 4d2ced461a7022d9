// SPDX-License-Identifier: Apache-2.0
// Acknowledgements (HL7 v2 chapter 2, MSA and ERR; table 0008), read as peers in the field write them. Pure.
//
// Only MSA-1 and MSA-2 are believed: MSH-9, MSH-10, MSH-12 and MSH-5 of acknowledgements are wrong too often. CR, LF and CR LF end a segment; unknown
// segments are skipped; separators are those of the message's own MSH.
#ifndef GW_HL7_ACK_H
#define GW_HL7_ACK_H

#include "gateway/span.h"

enum gw_hl7_answer {
	GW_HL7_MALFORMED, // no MSH, no MSA, no code that is known, or no MSA-2: never a success
	GW_HL7_ACCEPT,    // AA, CA
	GW_HL7_ERROR,     // AE, CE
	GW_HL7_REJECT,    // AR, CR
};

struct gw_hl7_ack {
	enum gw_hl7_answer answer;
	char code[3];              // "AA"... as written; empty where there is none
	struct gw_span control_id; // MSA-2: into the message
	struct gw_span text;       // why, for people: MSA-3, else of ERR the user's text, the application's or HL7's error text; may be empty
};

void gw_hl7_ack_parse(struct gw_span message, struct gw_hl7_ack *ack);

#endif
