// SPDX-License-Identifier: Apache-2.0
// ORU^R01^ORU_R01, HL7 2.6, after IHE PCD-01 (IHE Devices Technical Framework 2, revision 10.0, 3.1 and appendix B): a group to a message's bytes.
// Pure: the time of the message is an argument. Any thread.
//
// Times are effective times. One OBR holds an interval's last (or first) values, each with its own time in OBX-14, for they are samples and no averages over the
// interval (episodic in the sense of B.8, where OBX-14 overrides OBR-7). Every other reading (events, select every, interval 0) stands with its frame's others of the
// same moment in an OBR of that moment, a block of a waveform in one of its own with start and end: their OBX-14 is empty.
//
// Settings are told from measurements by OBX-17 (ASET). OBX-3 stays the code under which the reading is kept: the codes of partition 258 (base + 0x1000000) are
// sent where the nomenclature has them, and never calculated, since their reference identifiers could only be guessed.
// A value as received goes out with the unit that came with it, where that unit is known (its code, else its UCUM form) and its value, converted, is the canonical
// one; else, for example where a profile supplied unit or factor, the canonical value. What was said and is not in OBX-5 and OBX-6 is in an NTE below.
// Settings' decimals apply to canonical values only: rounded half to even. Other HL7 versions change MSH-12 and nothing else.
#ifndef GW_HL7_ORU_H
#define GW_HL7_ORU_H

#include "adapters/hl7/group.h"
#include "adapters/hl7/out.h"
#include "adapters/hl7/settings.h"
#include "gateway/patients.h"
#include "gateway/registry.h"

#define GW_HL7_ID_LEN 20 // MSH-10: what HL7 2.6 and the oldest conformance profile of PCD-01 allow

enum gw_hl7_status {
	GW_HL7_RESULT,        // OBX-11 R (X without value)
	GW_HL7_WRONG_PATIENT, // W: to the patient for whom it was sent wrongly; OBR-25 stays empty, table 0123 has no such status
	GW_HL7_CORRECTED,     // C: replaces values of the same patient; single items: gw_hl7_item.corrected
};

struct gw_hl7_oru {
	const struct gw_hl7_settings *settings;
	uint64_t incarnation;
	const struct gw_hl7_group *group;
	const struct gw_device *device;   // of the registry, or NULL where it was removed meanwhile
	uint32_t mds;                     // gw_hl7_mds()
	const struct gw_patient *patient; // NULL: unknown (PID-5 "unspecified", PID-31 Y)
	const struct gw_owner *owner;     // class, bed, visit, order; NULL: as the registry says where the device stands
	enum gw_hl7_status status;
	int64_t now_us;                   // MSH-7
};

// control_id (MSH-10): 100 bits of BLAKE2b in Crockford base32 over incarnation, destination, device, the keys of the group's readings (in the message's order), status, patient's number and
// group->again. The same made again has the same one.
// origin: the same over incarnation, destination, device and keys only; group->origin where that is set. OBR-3 is EUI-64, origin and the OBR's moment, so that readings
// that go again for another patient, or as corrections, keep theirs, also when fewer go, as long as group->origin is what it was.
struct gw_hl7_ids {
	char control_id[GW_HL7_ID_LEN + 1], origin[GW_HL7_ID_LEN + 1];
};

// out is emptied first. GW_E_MEMORY; GW_E_EMPTY for a group without items; GW_E_FORBIDDEN for readings marked as test to a production destination.
enum gw_error gw_hl7_oru_encode(const struct gw_hl7_oru *oru, struct gw_hl7_out *out, struct gw_hl7_ids *ids);

// Why a field cannot be overridden, for start-up: what identifies the message, the patient or the reading, or is the measurement. NULL: it can. An override of OBX-11
// replaces R only. A field with repetitions: all of them.
const char *gw_hl7_override_refused(const struct gw_hl7_override *override);

#endif
