// SPDX-License-Identifier: Apache-2.0
// ORU^R01^ORU_R01, HL7 2.6, after IHE PCD-01 (IHE Devices Technical Framework 2, revision 10.0, 3.1 and appendix B): a group to a message's bytes.
// Pure: the time of the message is an argument. Any thread.
//
// No patient is known here: PID-5 says "unspecified" (name type U) and PID-31 that the identity is unknown; PV1-3 gives ward and bed of the registry.
// One OBR holds the interval's last values, each with its own time in OBX-14, for they are samples and no averages over the interval; every other
// reading (select=all, events) stands in an OBR of its own moment.
#ifndef GW_HL7_ORU_H
#define GW_HL7_ORU_H

#include "adapters/hl7/group.h"
#include "adapters/hl7/out.h"
#include "gateway/registry.h"

#define GW_HL7_ID_LEN 20 // MSH-10: what HL7 2.6 and the oldest conformance profile of PCD-01 allow

// Who sends to whom: constant for a destination. Texts are as in the configuration.
struct gw_hl7_sender {
	uint64_t incarnation;
	char eui64[17]; // 16 hex digits
	const char *destination;
	const char *application, *facility;                     // MSH-3.1, MSH-4
	const char *receiving_application, *receiving_facility; // MSH-5, MSH-6
	bool production;
	bool all;
};

// MSH-10 from incarnation, destination and the keys of the group's readings: 100 bits of BLAKE2b in Crockford base32. The same group has the same one.
void gw_hl7_control_id(const struct gw_hl7_sender *sender, const struct gw_hl7_group *group, char out[GW_HL7_ID_LEN + 1]);

// device: of the registry, or NULL where it was removed meanwhile. mds: gw_hl7_mds(). out is emptied first.
// GW_E_MEMORY; GW_E_EMPTY for a group without items.
enum gw_error gw_hl7_oru_encode(const struct gw_hl7_sender *sender, const struct gw_hl7_group *group, const struct gw_device *device, uint32_t mds,
    int64_t now_us, struct gw_hl7_out *out, char control_id[GW_HL7_ID_LEN + 1]);

#endif
