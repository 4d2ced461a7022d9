// SPDX-License-Identifier: Apache-2.0
// What one destination did with which readings: the ledger behind `vitalgate trace`, what is held because nobody is associated yet, and what has to be
// corrected when it turns out whose a reading was. A row for each message and each held group:
//
//   outlet/hl7/<destination>/filed/<device>/<16 hex digits>/<MSH-10>
//   outlet/hl7/<destination>/held/<device>/<16 hex digits>/held<the first reading's position and place>
//
// The digits are the least effective time of its readings with the sign flipped, so that rows sort by device and time. Readings are named by journal
// position and place in their record: their contents stay in the journal. Value, little-endian:
//   u8 version (1), u8 state, u8 status, u8 whose, u8 flags (1 hub_time, 2 has_clock, 4 sure, 8 waveforms, 16 revisions), u8 lengths of: profile, MSH-10, bed, visit, class, order,
//   order's authority, origin; u8 0, u16 readings; u64 patient; i64 made, answered, from, to, opened, device's clock, hub's clock; u32 epoch, again; char answer[2]; the texts;
//   then for each reading: u64 position, u16 place (0x8000: gone), i64 effective time, u32 uncertainty (ms)
//
// The destination's thread writes; any thread reads.
#ifndef GW_HL7_FILED_H
#define GW_HL7_FILED_H

#include "adapters/hl7/oru.h"
#include "gateway/intake.h"
#include "gateway/journal.h"
#include "gateway/patients.h"

// On disk.
enum gw_hl7_filed_state {
	GW_HL7_FILED_MADE = 1,  // in the outbox
	GW_HL7_FILED_SENT,      // acknowledged
	GW_HL7_FILED_PARKED,
	GW_HL7_FILED_DROPPED,   // parked, and dropped by a person
	GW_HL7_FILED_HELD,      // no message yet
	GW_HL7_FILED_WRONG,     // made or sent for a patient whose it was not; told to people
	GW_HL7_FILED_CORRECTED, // and corrected by messages of their own
};
const char *gw_hl7_filed_state_name(enum gw_hl7_filed_state state);
const char *gw_hl7_whose_words(enum gw_whose whose); // "nobody was associated"

#define GW_HL7_FILED_ITEMS_MAX 4096

struct gw_hl7_filed_item {
	uint64_t position;
	uint16_t place;        // of the record's readings, from 0
	bool gone;             // a later message took its place: told to the receiver, or replaced by a revision
	int64_t effective_us;
	uint32_t uncertainty_ms;
};

struct gw_hl7_filed {
	char device[GW_ID_MAX + 1], profile[GW_ID_MAX + 1];
	char control_id[GW_HL7_ID_LEN + 1]; // MSH-10; for what is held gw_hl7_held_id()
	char origin[GW_HL7_ID_LEN + 1];     // see struct gw_hl7_ids; empty for what is held and was never sent
	uint32_t again;
	int64_t least_us;       // least effective time; part of the key
	uint8_t state, status;  // enum gw_hl7_filed_state, enum gw_hl7_status
	bool hub_time, has_clock, sure;
	bool waves;             // readings that cover more than a moment
	bool revised;           // one of them is a revision of an earlier reading
	struct gw_owner owner;  // whose, patient, bed, visit, class, order: as it was sent
	int64_t made_us, answered_us;
	char answer[3];         // MSA-1
	int64_t from_us, to_us, opened_us, device_us, hub_us; // of the group
	uint32_t epoch;
	struct gw_hl7_filed_item *items; // borrowed
	size_t count;
};

void gw_hl7_held_id(const struct gw_hl7_filed_item *first, char out[GW_HL7_ID_LEN + 1]);

// prefix: "outlet/hl7/<destination>/".
enum gw_error gw_hl7_filed_put(const char *prefix, struct gw_ticket *ticket, const struct gw_hl7_filed *filed);
enum gw_error gw_hl7_filed_del(const char *prefix, struct gw_ticket *ticket, const char *device, int64_t least_us, const char *control_id);
// A message's fate: state, answer and its time into the row that is there. GW_OK where there is none: rows are kept for a while only.
enum gw_error gw_hl7_filed_settle(struct gw_journal *journal, const char *prefix, struct gw_ticket *ticket, const char *device, int64_t least_us,
    const char *control_id, enum gw_hl7_filed_state state, const char *answer, int64_t answered_us);

// Deletes rows of messages that were made before before_us and are settled (not MADE, not HELD): at most `limit` in one call, with as many operations in the
// ticket. Looks at rows whose readings are as old only, device by device, and at a bounded number of them in one call. `at` says where to go on, all zero at
// first; *more: the round is not at its end yet. Rows that cannot be read go, too; those of a version that is not known stay.
struct gw_hl7_filed_at {
	size_t len;
	uint8_t key[500];
};
enum gw_error gw_hl7_filed_sweep(struct gw_journal *journal, const char *prefix, struct gw_ticket *ticket, int64_t before_us, size_t limit,
    struct gw_hl7_filed_at *at, bool *more);

// The state of a message. GW_E_NOT_FOUND where there is no row any more.
enum gw_error gw_hl7_filed_state(struct gw_journal *journal, const char *prefix, const char *device, int64_t least_us, const char *control_id,
    enum gw_hl7_filed_state *state);

// Rows of a device (empty: of all) whose readings may lie in [from, to) by effective time: messages in order, then what is held. A row is valid during the call.
typedef bool gw_hl7_filed_fn(void *arg, const struct gw_hl7_filed *filed);
enum gw_error gw_hl7_filed_each(struct gw_journal *journal, const char *prefix, struct gw_span device, int64_t from_us, int64_t to_us, gw_hl7_filed_fn *fn,
    void *arg);
// The same of what is held alone.
enum gw_error gw_hl7_held_each(struct gw_journal *journal, const char *prefix, struct gw_span device, int64_t from_us, int64_t to_us, gw_hl7_filed_fn *fn,
    void *arg);

#endif
