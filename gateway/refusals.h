// SPDX-License-Identifier: Apache-2.0
// Who was refused: every door tells it here, in one shape, by one function. It is counted, said in diagnostics, and put on record as a device event (of version 2,
// schemas/journal-format.md), from where the bus, syslog and `vitalgate events` take it.
//
// A flood must not fill the journal. On record goes each (door, address, claimed identity, reason) once a minute, and each door's refusal_records_per_min in all, of
// which one address may use three quarters. What is left out is counted by address and told at the minute's end as GW_EVENT_REFUSED_MORE: the sixteen addresses with
// most, one by one, the others together. Memory is fixed.
//
// Threads: telling is any thread's and waits for nobody but others who tell; a thread of its own writes. Claims of proved principals (gateway/line.c) go with their
// frame's own ticket: they are only counted here.
#ifndef GW_REFUSALS_H
#define GW_REFUSALS_H

#include "gateway/intake.h"
#include "gateway/record.h"

#include <yyjson.h>

struct gw_refusals;

// One attempt. All spans and texts are borrowed for the call.
struct gw_attempt {
	enum gw_door door;
	enum gw_auth auth;           // what was tried
	enum gw_protocol protocol;
	enum gw_refused reason;
	struct gw_peer peer;
	struct gw_span claimed;      // as the stranger gave it: any bytes
	struct gw_span device;       // where it was proved whose it is: 0..GW_ID_MAX
	struct gw_span route;        // topic or path; 0..GW_ROUTE_MAX are kept
	const char *text;            // words for people; NULL: the reason's own
};

enum gw_error gw_refusals_open(struct gw_intake *intake, struct gw_refusals **refusals, struct gw_why *why);
// Writes what is left to tell; nobody tells any more. NULL does nothing.
void gw_refusals_close(struct gw_refusals *refusals);

// A door's records of a minute: its refusal_records_per_min. 60 until it is told. refusals may be NULL.
void gw_refusals_limit(struct gw_refusals *refusals, enum gw_door door, uint32_t per_min);

// refusals NULL: only diagnostics.
void gw_refusals_tell(struct gw_refusals *refusals, const struct gw_attempt *attempt);
// Of an attempt that the caller puts on record itself, or leaves out by a limit of its own.
void gw_refusals_count(struct gw_refusals *refusals, const struct gw_attempt *attempt, bool on_record);

// "refused": in all, by door, by reason, on record, left out; and who was refused last. Any thread.
void gw_refusals_status(struct gw_refusals *refusals, yyjson_mut_doc *doc, yyjson_mut_val *object);

// A stranger's bytes as they may be kept and shown: printable UTF-8 stays, all else becomes '?'; at most cap - 1 bytes, terminated. Returns the length.
size_t gw_claimed_clean(struct gw_span given, char *out, size_t cap);

#endif
