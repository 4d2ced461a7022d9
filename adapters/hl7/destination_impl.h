// SPDX-License-Identifier: Apache-2.0
// The destination's inside, shared by destination.c (open, thread, status, commands), make.c (journal to outbox) and deliver.c (outbox to peer).
#ifndef GW_HL7_DESTINATION_IMPL_H
#define GW_HL7_DESTINATION_IMPL_H

#include "adapters/hl7/connection.h"
#include "adapters/hl7/destination.h"
#include "adapters/hl7/outbox.h"
#include "adapters/hl7/pick.h"
#include "gateway/diag.h"
#include "gateway/follow.h"

#include <pthread.h>

enum gw_hl7_state { GW_HL7_IDLE, GW_HL7_CONNECTED, GW_HL7_AWAY, GW_HL7_REFUSING, GW_HL7_HELD };

struct gw_hl7_destination {
	struct gw_hl7_destination_options options;
	const struct gw_hl7_settings *settings; // options.settings
	char follow_name[GW_ID_MAX + 8];
	pthread_t thread;
	int stop_fd;              // readable: stop
	_Atomic bool stopping;

	// The thread's own.
	struct gw_follow *follow;
	struct gw_hl7_grouper *grouper;
	struct gw_hl7_outbox outbox;
	struct gw_source source;   // tickets that are waited for
	struct gw_source removals; // deletions of acknowledged messages...
	unsigned removing;         // ...that are under way
	struct gw_hl7_out out;
	uint64_t read;             // last record read (or left out)
	struct gw_ticket *making;  // messages made since the last commit...
	struct gw_hl7_message *made, **made_last; // ...and their list
	uint64_t pending;          // its length
	bool broken;               // memory or a commit failed: all is read again from what is durable
	struct gw_hl7_connection connection;
	struct gw_hl7_peer peer;
	uint64_t under_way;        // number of the message that is sent until it is settled
	struct gw_hl7_pick pick;   // which message goes next
	char previous_id[GW_HL7_ID_LEN + 1]; // acknowledged last: a second answer for it is nobody's
	int64_t next_us;           // not sent before (monotonic)
	int backoff_ms;
	uint64_t retry_from, retry_until; // numbers of parked messages that are sent again; until 0: none
	int64_t limit_us;          // when the limits of the backlog were looked at
	struct gw_diag_limit broken_limit, record_limit;

	pthread_mutex_t lock; // guards all below
	enum gw_hl7_state state;
	int64_t connected_us;      // wall clock; 0: not connected
	uint64_t gaps;             // times that undelivered readings were left out...
	int64_t gap_us;            // ...the last one
	uint64_t sent, acknowledged, errors, rejects, unanswered, foreign, made_count, open;
	struct gw_hl7_grouper_stats grouped;
	int64_t answer_us;
	char answer_code[3], answer_text[160], last_error[192];
	struct { bool retry, drop; uint64_t number; } wanted;
};

// make.c: reads what there is, at most for a while, and commits what was made. wait_ms: how long to wait where there is nothing.
void gw_hl7_make(struct gw_hl7_destination *d, int wait_ms);
// Throws away what is not durable and begins again from what is.
enum gw_error gw_hl7_reload(struct gw_hl7_destination *d, struct gw_why *why);
void gw_hl7_closed(void *arg, const struct gw_hl7_group *group);

// deliver.c: sends messages while they are acknowledged at once, at most for a while.
void gw_hl7_deliver(struct gw_hl7_destination *d);
// Takes back deletions that are committed; all: waits for every one.
void gw_hl7_reap_removals(struct gw_hl7_destination *d, bool all);
void gw_hl7_set_state(struct gw_hl7_destination *d, enum gw_hl7_state state);

#endif
