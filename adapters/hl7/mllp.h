// SPDX-License-Identifier: Apache-2.0
// MLLP release 1 framing (HL7 v2 Implementation Guide, appendix C; IHE ITI TF-2 C.2.1): 0x0B message 0x1C 0x0D. Pure, incremental, bounded: any
// bytes in any pieces.
//
// Tolerant where peers differ: bytes before 0x0B are skipped, a frame is taken at 0x1C whatever follows it (some peers leave the 0x0D out), and a 0x0B
// inside a frame begins a new one (the peer gave up the old).
#ifndef GW_HL7_MLLP_H
#define GW_HL7_MLLP_H

#include "gateway/span.h"

enum { GW_HL7_MLLP_START = 0x0b, GW_HL7_MLLP_END = 0x1c, GW_HL7_MLLP_CR = 0x0d };

struct gw_hl7_mllp {
	uint8_t *buf; // the caller's, cap bytes: the longest message that is taken
	size_t cap, len;
	bool inside;
	uint64_t skipped; // bytes outside of frames, but for the 0x0D after 0x1C and line ends
};

enum gw_hl7_mllp_result { GW_HL7_MLLP_MORE, GW_HL7_MLLP_FRAME, GW_HL7_MLLP_TOO_LARGE };

void gw_hl7_mllp_init(struct gw_hl7_mllp *mllp, uint8_t *buf, size_t cap);
// Forgets what is half there: a new connection.
void gw_hl7_mllp_reset(struct gw_hl7_mllp *mllp);
// Takes bytes from the front of *in up to the end of one frame. FRAME: *message is its content, valid until the next call. TOO_LARGE: the message does
// not fit in cap; the connection should be closed. MORE: *in is used up.
enum gw_hl7_mllp_result gw_hl7_mllp_feed(struct gw_hl7_mllp *mllp, struct gw_span *in, struct gw_span *message);

#endif
