// SPDX-License-Identifier: Apache-2.0
// Containment numbers of OBX-4 (IHE DEV TF-2 B.8: MDS.VMD.CHANNEL.METRIC) and kinds of devices. Pure tables; any thread.
//
// The numbers are not normative but must stay the same from message to message: they come from a table that is only ever added to. A metric's number
// is its MDC code, as some makers of monitors have it, so that it needs no table. Instance n of a signal has channel number + 100 * n.
#ifndef GW_HL7_CONTAINMENT_H
#define GW_HL7_CONTAINMENT_H

#include "gateway/profile.h"

struct gw_hl7_place {
	uint32_t vmd, channel, metric; // numbers for OBX-4
	uint32_t vmd_code, channel_code; // 0: the level is anonymous and has no row
	const char *vmd_refid, *channel_refid;
};

void gw_hl7_place(uint32_t signal, uint16_t instance, struct gw_hl7_place *place);

// The kind of medical device system that a profile's signals make: ventilator, pump, oximeter; else the multi-parameter monitor. The same for every
// message of a device, whatever is in it.
uint32_t gw_hl7_mds(const struct gw_profile *profile); // NULL: not known

#endif
