// SPDX-License-Identifier: Apache-2.0
// The bus outlet's inside: what bus.c (the outlet's thread, commands) and bus_park.c (refused messages) share.
//
// Topics: <prefix>/<device>/<signal> for readings, <prefix>/<device>/event for what a device or the gateway says of the device (a will, a refused
// claim), <prefix>-gateway/<client id>/event for what concerns no device that is known (somebody was refused, an outlet left something out),
// <prefix>-gateway/<client id>/status for the gateway itself ("online", retained; its will says "offline").
#ifndef GW_BUS_H
#define GW_BUS_H

#include "adapters/mqtt/bus_link.h"
#include "gateway/core.h"
#include "gateway/follow.h"

#include <pthread.h>

#define GW_BUS_DOCUMENT_MAX (256u << 10) // larger ones are left out, which is recorded

// One message, ready to publish. The buffer grows and is reused.
struct gw_bus_message {
	char topic[GW_NAME_MAX + 3 * (GW_ID_MAX + GW_NAME_MAX) + 8];
	char *document;
	size_t len, cap;
};
void gw_bus_message_fini(struct gw_bus_message *message);
// GW_E_NOT_FOUND: this record or reading has nothing for the bus.
enum gw_error gw_bus_message_reading(struct gw_bus_message *message, const char *prefix, uint64_t incarnation,
    const struct gw_batch_head *head, const struct gw_reading *reading);
enum gw_error gw_bus_message_event(struct gw_bus_message *message, const struct gw_config *config, uint64_t incarnation, const struct gw_event *event);
// The same from the journal, for one that was refused.
enum gw_error gw_bus_message_again(struct gw_bus_message *message, const struct gw_config *config, struct gw_journal *journal, const struct gw_bus_ref *ref);

// Refused messages: rows outlet/bus/parked/<16 hex digits>, JSON {"at", "reason", "topic", "document"}; bounded.
// And for the ledger (gateway/ledger.h, which deletes old ones), with <p>: 16 hex digits of the journal position, <i>: 4 of the place in the record:
//   outlet/bus/refused/<p>/<i>  i64 time, u8 reason, u64 number of the parked row
//   outlet/bus/left/<p>         i64 time, u64 first position, u32 how many messages between the first and p went nowhere
struct gw_bus_park {
	struct gw_journal *journal;
	uint64_t count_max;
	_Atomic uint64_t count, last; // rows there are, number of the newest
	_Atomic uint64_t left_out;
	int64_t gap_us;               // when a gap was recorded last
	uint64_t gap_count;           // and what has come to it since,
	uint64_t gap_from, gap_to;    // between these positions,
	const char *gap_why;          // lastly because of this
};
enum gw_error gw_bus_park_open(struct gw_bus_park *park, struct gw_journal *journal, uint64_t count_max, struct gw_why *why);
// Parks a refused message: durable when this returns GW_OK. The outlet's thread.
enum gw_error gw_bus_park_add(struct gw_bus_park *park, struct gw_source *source, const struct gw_bus_message *message, const struct gw_bus_ref *ref,
    uint8_t reason);
// There is a message that goes nowhere: counted, and recorded as a gap, at most once a minute: tend records what is due, or at once.
enum gw_error gw_bus_park_leave_out(struct gw_bus_park *park, struct gw_source *source, const struct gw_bus_ref *ref, const char *why);
enum gw_error gw_bus_park_tend(struct gw_bus_park *park, struct gw_source *source, bool now);
enum gw_error gw_bus_park_remove(struct gw_bus_park *park, struct gw_source *source, uint64_t number);
enum gw_error gw_bus_park_clear(struct gw_bus_park *park, struct gw_source *source);
// The first parked message after number `after`: topic and document into message. GW_E_NOT_FOUND at the end.
enum gw_error gw_bus_park_next(struct gw_bus_park *park, uint64_t after, uint64_t *number, struct gw_bus_message *message);

// Deletes parked messages whose reading an erasure takes; dry: counts them. Any thread, with a source of its own.
enum gw_error gw_bus_park_erase(struct gw_bus_park *park, struct gw_source *source, struct gw_erasure *erasure);

// What the ledger knows of a reading: gw_part.trace.
enum gw_error gw_bus_trace(struct gw_core *core, const struct gw_traced *reading, yyjson_mut_doc *doc, yyjson_mut_val *array);

#endif
