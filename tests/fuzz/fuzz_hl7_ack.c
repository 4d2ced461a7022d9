// SPDX-License-Identifier: Apache-2.0
// What an HL7 peer may answer: MLLP framing in pieces, then the acknowledgement. The first byte is the size of the pieces.
#include "adapters/hl7/ack.h"
#include "adapters/hl7/mllp.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
look_at(struct gw_span message)
{
	struct gw_hl7_ack ack;

	gw_hl7_ack_parse(message, &ack);
	assert(ack.code[2] == '\0');
	assert(ack.answer == GW_HL7_MALFORMED || (ack.control_id.len > 0 && ack.control_id.at >= message.at &&
	    ack.control_id.at + ack.control_id.len <= message.at + message.len));
	assert(ack.text.len == 0 || (ack.text.at >= message.at && ack.text.at + ack.text.len <= message.at + message.len));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t buf[512];
	struct gw_hl7_mllp mllp;
	size_t piece = size > 0 && data[0] > 0 ? data[0] : 1;

	gw_hl7_mllp_init(&mllp, buf, sizeof(buf));
	for (size_t at = 1; at < size; at += piece) {
		struct gw_span in = gw_span(data + at, size - at < piece ? size - at : piece), message;
		enum gw_hl7_mllp_result result;

		while ((result = gw_hl7_mllp_feed(&mllp, &in, &message)) != GW_HL7_MLLP_MORE)
			if (result == GW_HL7_MLLP_FRAME)
				look_at(message);
		assert(in.len == 0);
	}
	return 0;
}
