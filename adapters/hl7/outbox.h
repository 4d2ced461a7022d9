// SPDX-License-Identifier: Apache-2.0
// One destination's durable tables beside the journal: messages made and not yet acknowledged, messages parked, and how far each device's
// readings have been taken into messages. Rows, all below outlet/hl7/<destination>/ :
//
//   outbox/<16 hex digits>   a message to be sent, in order of the digits
//   parked/<16 hex digits>   one that was refused, or that erred too often
//   away                     u64: the peer cannot be reached, and no message with a greater number was ever sent
//   device/<id>              what the grouper stores of it (adapters/hl7/group_state.c)
//   backlog/<id>             the same of the grouper of a backlog (adapters/hl7/lane.c)
//
// A message's row: u8 version (2), u8 length of MSH-10, u16 errors, i64 made (us), u16 length of the reason, u8 length of the device, u8 lane (1: of a
// backlog), i64 the least effective time of its readings (with the device and MSH-10 the key of its row in the ledger, adapters/hl7/filed.h), MSH-10, device,
// reason (parked ones), message. Version 1 had no device and what follows it in the head. Numbers little-endian.
//
// The destination's thread calls all of it, except gw_hl7_outbox_parked(), which any thread may call.
#ifndef GW_HL7_OUTBOX_H
#define GW_HL7_OUTBOX_H

#include "adapters/hl7/group.h"
#include "adapters/hl7/oru.h"
#include "gateway/intake.h"
#include "gateway/journal.h"

#include <stdatomic.h>

// Acknowledged messages whose deletion may be under way: after a crash that many at the front of each lane may have been sent, and the one behind them.
#define GW_HL7_REMOVALS_MAX 2      // tickets
#define GW_HL7_REMOVALS_AT_ONCE 64 // of one ticket: messages that a crash may send again

struct gw_hl7_message {
	struct gw_hl7_message *next;
	uint64_t number;
	int64_t made_us;
	uint16_t errors; // AE and CE answers so far
	char control_id[GW_HL7_ID_LEN + 1];
	char device[GW_ID_MAX + 1]; // whose readings it has; empty: made by an older version
	int64_t least_us;           // the least effective time of its readings
	bool backlog;               // see adapters/hl7/lane.c
	bool tried;                 // may have been sent: what it says can no longer be changed
	size_t len;
	uint8_t bytes[]; // without framing
};

struct gw_hl7_outbox {
	struct gw_journal *journal;
	char prefix[GW_ID_MAX + 16]; // "outlet/hl7/<destination>/"
	struct gw_hl7_message *first, **last; // durable ones, to be sent in this order
	_Atomic uint64_t count, parked;
	uint64_t of_backlog; // of count
	uint64_t number; // given last
	uint64_t tried;  // the greatest number that may have been sent
	bool is_away;    // and that is stored: the row `away`
	uint64_t listed; // the greatest number listed since all were loaded
};

void gw_hl7_outbox_init(struct gw_hl7_outbox *outbox, struct gw_journal *journal, const char *destination);
void gw_hl7_outbox_fini(struct gw_hl7_outbox *outbox);
// Lists what is stored, and nothing else: at the start, and again where memory and store may differ.
enum gw_error gw_hl7_outbox_load(struct gw_hl7_outbox *outbox, struct gw_why *why);
// Tells the grouper what is in messages already: the rows of a table, "device" or "backlog".
enum gw_error gw_hl7_outbox_restore(struct gw_hl7_outbox *outbox, const char *table, struct gw_hl7_grouper *grouper);

// A message with its number; not listed yet. NULL: out of memory.
struct gw_hl7_message *gw_hl7_outbox_make(struct gw_hl7_outbox *outbox, const char *control_id, struct gw_span bytes, int64_t now_us);
// Operations for a ticket.
enum gw_error gw_hl7_outbox_put(struct gw_hl7_outbox *outbox, struct gw_ticket *ticket, const struct gw_hl7_message *message);
enum gw_error gw_hl7_outbox_del(struct gw_hl7_outbox *outbox, struct gw_ticket *ticket, const struct gw_hl7_message *message);
enum gw_error gw_hl7_outbox_park(struct gw_hl7_outbox *outbox, struct gw_ticket *ticket, const struct gw_hl7_message *message, struct gw_span reason);
enum gw_error gw_hl7_outbox_taken(struct gw_hl7_outbox *outbox, struct gw_ticket *ticket, const char *table, const char *device, struct gw_span state);
// The first parked message from number `from` on (exact: that one) as one that is sent again: its parked row goes and its outbox row comes with
// the ticket. GW_E_NOT_FOUND for none.
enum gw_error gw_hl7_outbox_unpark(struct gw_hl7_outbox *outbox, struct gw_ticket *ticket, uint64_t from, bool exact, struct gw_hl7_message **message,
    uint64_t *parked);
// The row `away`, or none.
enum gw_error gw_hl7_outbox_away(struct gw_hl7_outbox *outbox, struct gw_ticket *ticket, bool away);
// Drops one parked message, or all (number 0).
enum gw_error gw_hl7_outbox_drop(struct gw_hl7_outbox *outbox, struct gw_ticket *ticket, uint64_t number);

// After the commit: at the list's end, or by its number where it takes the place of one that was withdrawn; off its beginning (and freed).
void gw_hl7_outbox_append(struct gw_hl7_outbox *outbox, struct gw_hl7_message *message);
void gw_hl7_outbox_shift(struct gw_hl7_outbox *outbox);
// The listed message with this MSH-10, or NULL. Taken off the list and freed: its row is the caller's to delete.
struct gw_hl7_message *gw_hl7_outbox_find(const struct gw_hl7_outbox *outbox, const char *control_id);
void gw_hl7_outbox_unlist(struct gw_hl7_outbox *outbox, struct gw_hl7_message *message);
// Counts the rows of parked again.
enum gw_error gw_hl7_outbox_recount(struct gw_hl7_outbox *outbox);

struct gw_hl7_parked {
	uint64_t number;
	int64_t made_us;
	uint16_t errors;
	struct gw_span control_id, device, reason, message;
	int64_t least_us;
	bool backlog;
};
typedef bool gw_hl7_parked_fn(void *arg, const struct gw_hl7_parked *parked);
enum gw_error gw_hl7_outbox_parked(const struct gw_hl7_outbox *outbox, gw_hl7_parked_fn *fn, void *arg);
// The same of a table, "parked" or "outbox".
enum gw_error gw_hl7_outbox_each(const struct gw_hl7_outbox *outbox, const char *table, gw_hl7_parked_fn *fn, void *arg);

#endif
