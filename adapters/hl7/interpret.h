// SPDX-License-Identifier: Apache-2.0
// What a message means for patients and associations: ADT (HL7 v2 chapter 3), ORM^O01 (chapter 4) and IHE PCIM DEV-51, to events of gateway/patients.h.
// Pure: the time of receipt and the registry are given. What an event does to beds and associations is decided there; here, what was said and when it
// took effect. Any thread, each with its own gw_hl7_in and gw_hl7_meaning; a mapping is constant after start-up.
//
//   A01 A04        ADMIT (without a bed: UPDATE)          A17            SWAP of two PID/PV1 groups: bed and other_bed are their new beds
//   A02            TRANSFER PV1-6 to PV1-3                A18 A30 A34    MERGE of MRG-1 into PID-3, for each PID/MRG group
//   A03            DISCHARGE                              A36 A39 A40
//   A06 A07        TRANSFER where PV1-3 is told, else     A46 A47        CHANGE_ID from MRG-1 to PID-3
//                  UPDATE                                 A49            UPDATE (account number)
//   A05 A08 A28    UPDATE; only A08 tells a bed           others         nothing: accepted and recorded
//   A31
//   A11 A12 A13    CANCEL_ADMIT, CANCEL_TRANSFER (PV1-3 is where the patient is back, PV1-6 what was cancelled), CANCEL_DISCHARGE
//   ORM^O01        of a configured service: ASSOCIATE or DISSOCIATE of the order's device, else of the bed; a stop without OBR, which does not say
//                  of which service, is a DISSOCIATE of what has its placer number
//   DEV-51         ASSOCIATE or DISSOCIATE of each participating device, known by OBR-29.2, else OBR-3, with its assigner: told again it replaces what was told
//                  before. W and D (wrong, deleted) take it back: REVOKE or RESUME; without an identifier DISSOCIATE at the time at which it was said to
//                  have begun, or ASSOCIATE from the wrong end on, and C is a DISSOCIATE of everybody at that time, then ASSOCIATE
//
// A location without PL-3 (mapping: bed_needs) is a ward in which many lie, and no bed: a transfer there is a TRANSFER without a bed.
#ifndef GW_HL7_INTERPRET_H
#define GW_HL7_INTERPRET_H

#include "adapters/hl7/message.h"

#include "gateway/patients.h"
#include "gateway/timezone.h"

#define GW_HL7_EVENTS_MAX 16   // of one message
#define GW_HL7_SERVICES_MAX 32 // codes that mean monitoring
#define GW_HL7_TYPES_MAX 32    // of identifiers that do not identify a person

// Which fields say what. Parsed and checked at start-up, then constant.
struct gw_hl7_mapping {
	// Identifiers: a path without component is read as CX, all repetitions that it takes; with a component that text alone is the identifier.
	struct gw_hl7_paths patient;       // "PID-3, PID-2"
	struct gw_hl7_paths prior_patient; // of a merge: "MRG-1, MRG-4"
	char patient_not[GW_HL7_TYPES_MAX][17]; // CX-5 of identifiers that are nobody's own, where a path does not ask for them: "AN, ANC, AND, ANT, VN, GI, GN, SN":
	size_t patient_not_count;               // accounts and visits are numbered anew, a guarantor or a subscriber stands for a family
	struct gw_hl7_paths visit, class_, account; // "PV1-19.1", "PV1-2.1", "PID-18.1"
	// A path without component is read as PL, with bed_components and bed_needs; with a component that text alone is the bed.
	struct gw_hl7_paths bed, prior_bed; // "PV1-3", "PV1-6"
	// A path without component is read as EI.
	struct gw_hl7_paths order_device;       // "PRT(EQUIP)-10, OBR-18.1"
	struct gw_hl7_paths association_device; // "PRT(EQUIP)-10": each segment that it takes is a device
	// When it took effect: the first that has a time with minutes; where none has, the time of receipt.
	struct gw_hl7_paths times;              // "ZBE-2, EVN-6, EVN-2, MSH-7"
	struct gw_hl7_paths admission_times;    // "ZBE-2, EVN-6, PV1-44, EVN-2, MSH-7": the event's own times before when somebody recorded it
	struct gw_hl7_paths update_times;       // "MSH-7": since when an unknown patient has been in a bed is not said by an A08
	struct gw_hl7_paths order_times;        // "ORC-15, ORC-9, MSH-7"
	struct gw_hl7_paths association_times;  // "OBR-7, MSH-7"
	struct gw_hl7_paths dissociation_times; // "OBR-8, OBR-7, MSH-7"
	char services[GW_HL7_SERVICES_MAX][33]; // OBR-4.1 or OBR-4.4, optionally with its coding system: "69965", "182777000^SCT"
	size_t service_count;                   // none: every order is somebody else's, because only the site knows which of its codes mean monitoring
	uint8_t bed_components;                 // bits 0 to 3: PL-1 to PL-4 that name a bed; 15
	uint8_t bed_needs;                      // the component without which a location is no bed; 3. 0: none
	char processing[8];                     // MSH-11.1 that are taken: "P"
};

// The defaults above.
void gw_hl7_mapping_init(struct gw_hl7_mapping *mapping);
// Sets one by name, as configuration spells it: the members' names ("class" for class_). services, patient_not: codes with commas between; bed_components: "1,3";
// bed_needs: "3" or "0"; processing: "P", "PTD". GW_E_NOT_FOUND for another name, GW_E_CONFIG with words for a bad value.
enum gw_error gw_hl7_mapping_set(struct gw_hl7_mapping *mapping, const char *name, struct gw_span value, struct gw_why *why);

struct gw_hl7_context {
	const struct gw_hl7_mapping *mapping;
	const struct gw_zone *zone; // of times without one; NULL: UTC
	int64_t received_us;
	// A device of the registry by EUI-64 (0: not told) or by any of its names (id, serial, asset); *id is valid as long as the events are. False: none, or
	// the two lead to different ones.
	bool (*find_device)(void *arg, uint64_t eui64, struct gw_span name, struct gw_span *id);
	void *arg;
};

// For find_device: arg is a const struct gw_snapshot *, which the caller holds while it uses the events.
bool gw_hl7_find_device(void *snapshot, uint64_t eui64, struct gw_span name, struct gw_span *id);

enum gw_hl7_means {
	GW_HL7_MEANS_EVENTS,
	GW_HL7_MEANS_NOTHING, // nothing for us: accept and record, `reason`
	GW_HL7_MEANS_ANSWER,  // an acknowledgement or response to something: nothing to do; never answered but as MSH-15 asks
	GW_HL7_MEANS_FAULT,
};

struct gw_hl7_meaning {
	enum gw_hl7_means means;
	struct gw_patient_event events[GW_HL7_EVENTS_MAX]; // spans into the message, its text memory and the registry's snapshot
	size_t count;
	const char *reason;
	struct gw_hl7_fault fault;
};

void gw_hl7_interpret(struct gw_hl7_in *in, const struct gw_hl7_context *context, struct gw_hl7_meaning *meaning);

#endif
