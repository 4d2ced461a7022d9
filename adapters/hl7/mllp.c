// SPDX-License-Identifier: Apache-2.0
// MLLP framing: one state, one loop. The thread of whoever owns the connection.
#include "adapters/hl7/mllp.h"

void
gw_hl7_mllp_init(struct gw_hl7_mllp *mllp, uint8_t *buf, size_t cap)
{
	*mllp = (struct gw_hl7_mllp){ .buf = buf, .cap = cap };
}

void
gw_hl7_mllp_reset(struct gw_hl7_mllp *mllp)
{
	mllp->inside = false;
	mllp->len = 0;
}

// Outside of a frame: up to and with the next 0x0B.
static void
skip(struct gw_hl7_mllp *mllp, struct gw_span *in)
{
	while (in->len > 0 && !mllp->inside) {
		uint8_t byte = *in->at;

		mllp->inside = byte == GW_HL7_MLLP_START;
		if (!mllp->inside && byte != '\r' && byte != '\n')
			mllp->skipped++;
		in->at++;
		in->len--;
	}
}

// Bytes before the next control byte of MLLP, or all.
static size_t
plain(struct gw_span in)
{
	size_t i = 0;

	while (i < in.len && in.at[i] != GW_HL7_MLLP_START && in.at[i] != GW_HL7_MLLP_END)
		i++;
	return i;
}

enum gw_hl7_mllp_result
gw_hl7_mllp_feed(struct gw_hl7_mllp *mllp, struct gw_span *in, struct gw_span *message)
{
	for (;;) {
		size_t n;
		uint8_t byte;

		skip(mllp, in);
		if (in->len == 0)
			return GW_HL7_MLLP_MORE;
		n = plain(*in);
		if (n > mllp->cap - mllp->len) {
			gw_hl7_mllp_reset(mllp);
			return GW_HL7_MLLP_TOO_LARGE;
		}
		if (n > 0)
			memcpy(mllp->buf + mllp->len, in->at, n);
		mllp->len += n;
		*in = gw_span(in->at + n, in->len - n);
		if (in->len == 0)
			return GW_HL7_MLLP_MORE;
		byte = *in->at;
		*in = gw_span(in->at + 1, in->len - 1);
		if (byte == GW_HL7_MLLP_END)
			break;
		mllp->len = 0;
	}
	*message = gw_span(mllp->buf, mllp->len);
	gw_hl7_mllp_reset(mllp);
	return GW_HL7_MLLP_FRAME;
}
