// SPDX-License-Identifier: Apache-2.0
// Messages that were taken, so that the same one again gets the same answer and has no second effect. A message is the same where its peer, its sender
// (MSH-3, MSH-4), its control id (MSH-10) and its bytes are: a control id that comes again with other content is another message.
//
// Rows "hl7in/seen/<number>" are laid into the ticket that holds the message's effect. Numbers rise, so that new rows and the oldest, which go again, lie
// together. Bounded by age and by count: with each message that comes, a few of the oldest go.
// Under gw_patients_lock(), any thread; nothing here locks.
#ifndef GW_HL7_IN_SEEN_H
#define GW_HL7_IN_SEEN_H

#include "gateway/intake.h"
#include "gateway/journal.h"

#define GW_HL7_SEEN_PREFIX "hl7in/seen/"
#define GW_HL7_SEEN_OF_ONE 8 // contents that are kept for one control id

struct gw_hl7_seen;

struct gw_hl7_seen_key {
	uint64_t id;        // of peer, sender, control id
	uint64_t digest[2]; // of that and the bytes
};

enum gw_hl7_seen_result {
	GW_HL7_SEEN_NEW,
	GW_HL7_SEEN_TAKEN,   // before
	GW_HL7_SEEN_REFUSED, // before, for its content; it lies in quarantine
};

// Reads all rows. max: messages; age_us: how long.
enum gw_error gw_hl7_seen_open(struct gw_journal *journal, uint32_t max, int64_t age_us, struct gw_hl7_seen **seen, struct gw_why *why);
void gw_hl7_seen_close(struct gw_hl7_seen *seen);

// Pure: any thread.
void gw_hl7_seen_key(const char *peer, struct gw_span application, struct gw_span facility, struct gw_span control_id, struct gw_span message,
    struct gw_hl7_seen_key *key);

// *number: of its row, where it is not new. *reused (may be NULL): the control id came before with other content.
enum gw_hl7_seen_result gw_hl7_seen_look(const struct gw_hl7_seen *seen, const struct gw_hl7_seen_key *key, uint64_t *number, bool *reused);
// Remembers it, in memory at once and with the ticket on disk, instead of what was remembered of it before. GW_E_MEMORY, GW_E_TOO_LARGE: nothing is changed.
enum gw_error gw_hl7_seen_add(struct gw_hl7_seen *seen, const struct gw_hl7_seen_key *key, enum gw_hl7_seen_result result, int64_t now_us,
    struct gw_ticket *ticket, uint64_t *number);
// The ticket was not stored: it was not seen.
void gw_hl7_seen_forget(struct gw_hl7_seen *seen, uint64_t number);
bool gw_hl7_seen_has(const struct gw_hl7_seen *seen, uint64_t number);
uint32_t gw_hl7_seen_count(const struct gw_hl7_seen *seen);

#endif
