// SPDX-License-Identifier: Apache-2.0
// The destination's inside, shared by destination.c (open, thread, status, commands), lane.c (which part of the journal is read when), make.c (journal to outbox),
// changed.c and refile.c (what changes when it turns out whose a reading is), revise.c (values that replace others) and deliver.c (outbox to peer).
#ifndef GW_HL7_DESTINATION_IMPL_H
#define GW_HL7_DESTINATION_IMPL_H

#include "adapters/hl7/connection.h"
#include "adapters/hl7/destination.h"
#include "adapters/hl7/filed.h"
#include "adapters/hl7/outbox.h"
#include "adapters/hl7/pick.h"
#include "gateway/diag.h"
#include "gateway/follow.h"

#include <pthread.h>

enum gw_hl7_state { GW_HL7_IDLE, GW_HL7_CONNECTED, GW_HL7_AWAY, GW_HL7_REFUSING, GW_HL7_HELD };

// One way from the journal to the outbox. Where a destination finds itself far behind, what has come so far becomes the backlog, read by a lane of its own at a
// limited rate, and what comes from now on goes between it: nobody at the bedside waits for yesterday. Within a lane the order of each device is kept.
struct gw_hl7_lane {
	struct gw_hl7_destination *d;
	bool backlog;
	const char *table;        // where its devices' states lie
	char name[GW_ID_MAX + 24]; // of the cursor
	struct gw_follow *follow; // NULL: there is no backlog
	struct gw_hl7_grouper *grouper;
	uint64_t read;            // last record read (or left out)
	uint64_t until;           // the last record that is this lane's; UINT64_MAX: all that come
	uint64_t pending;         // messages made and not committed yet
	bool full;                // has as many messages as may be: more are made when half of them are gone, so that many share a commit
	int64_t limit_us;         // when the limits of the backlog were looked at
};

struct gw_hl7_destination {
	struct gw_hl7_destination_options options;
	const struct gw_hl7_settings *settings; // options.settings
	pthread_t thread;
	int stop_fd;              // readable: stop
	_Atomic bool stopping;

	// The thread's own.
	struct gw_hl7_lane live, backlog;
	struct gw_hl7_outbox outbox;
	struct gw_source source;   // tickets that are waited for
	struct gw_source removals; // deletions of acknowledged messages...
	unsigned removing;         // ...that are under way
	struct gw_ticket *removal; // the next of them, and how many messages it takes
	unsigned removal_count;
	int64_t removal_us;        // when it began (monotonic)
	struct gw_hl7_out out;
	struct gw_ticket *making;  // messages made since the last commit...
	struct gw_hl7_message *made, **made_last; // ...and their list
	uint8_t *record;           // GW_RECORD_MAX bytes: readings that are looked at again
	struct gw_hl7_holding *holding; // devices of which something is held
	size_t holding_count, holding_cap;
	uint64_t held;             // rows
	bool look_at_all;          // changes of associations were left out
	int64_t forgotten_us;      // associations before it may be forgotten
	uint64_t number_free;      // of a message that was withdrawn: the next one made takes it; 0: none
	bool parted;               // the message made last has a state that covers the next one as well
	struct gw_hl7_filed_at swept; // where the sweep of the ledger goes on
	int64_t tended_us;         // when the ledger was swept and what is held was looked at
	bool broken;               // memory or a commit failed: all is read again from what is durable
	struct gw_hl7_connection connection;
	atomic_bool hurry; // somebody waits for the thread: an erasure
	struct gw_hl7_peer peer;
	uint64_t under_way;        // number of the message that is sent until it is settled
	struct gw_hl7_pick pick;   // which message goes next
	char previous_id[GW_HL7_ID_LEN + 1]; // acknowledged last: a second answer for it is nobody's
	int64_t next_us;           // not sent before (monotonic)
	int backoff_ms;
	uint64_t retry_from, retry_until; // numbers of parked messages that are sent again; until 0: none
	struct gw_diag_limit broken_limit, record_limit;

	pthread_mutex_t lock; // guards all below
	enum gw_hl7_state state;
	int64_t connected_us;      // wall clock; 0: not connected
	uint64_t gaps;             // times since the start that undelivered readings were left out...
	int64_t gap_us;            // ...and the last time, also before the start; 0: never
	uint64_t backlog_records;  // not yet in messages
	uint64_t held_now, held_unsure, misfiled, corrections; // held rows; messages that went out for the wrong patient; messages that told so
	uint64_t sent, acknowledged, errors, rejects, unanswered, foreign, made_count, open;
	struct gw_hl7_grouper_stats grouped;
	int64_t answer_us, error_us; // wall clock, of the last
	char answer_code[3], answer_text[160], last_error[192];
	struct { bool retry, drop; uint64_t number; struct gw_erasure *erase; enum gw_error erased; } wanted;
	pthread_cond_t fulfilled;  // wanted.erase is, or the thread has ended
	bool erasing, ended;       // the thread is at it; it does nothing any more
};

struct gw_hl7_holding {
	char device[GW_ID_MAX + 1];
	uint64_t rows, unsure;    // of these that were held for the clock's sake...
	int64_t next_us, wait_us; // ...and when they are looked at again (monotonic)
};

// make.c: reads what there is, at most for a while, and commits what was made. wait_ms: how long to wait where there is nothing.
void gw_hl7_make(struct gw_hl7_destination *d, int wait_ms);
// Throws away what is not durable and begins again from what is.
enum gw_error gw_hl7_reload(struct gw_hl7_destination *d, struct gw_why *why);
void gw_hl7_closed(void *arg, const struct gw_hl7_group *group);
void gw_hl7_broken(struct gw_hl7_destination *d, enum gw_error error);
// Commits the messages made so far; then they are in the outbox.
void gw_hl7_commit_made(struct gw_hl7_destination *d);
// The ticket for what is made. NULL: all is broken.
struct gw_ticket *gw_hl7_making(struct gw_hl7_destination *d);
// Makes the message of a group for its owner (patient 0: of nobody known) and files it, or holds the group: into the ticket.
enum gw_error gw_hl7_make_message(struct gw_hl7_lane *lane, const struct gw_hl7_group *group, enum gw_hl7_status status);
enum gw_error gw_hl7_hold(struct gw_hl7_destination *d, const struct gw_hl7_group *group);
// The messages of a group's results: one, and one for each message whose values some of them replace (revise.c).
enum gw_error gw_hl7_send(struct gw_hl7_lane *lane, const struct gw_hl7_group *group);
bool gw_hl7_revises(const struct gw_hl7_group *group); // it has revisions of earlier readings
// Whether the owner's readings wait for somebody to be associated.
bool gw_hl7_is_held(const struct gw_hl7_destination *d, const struct gw_owner *owner);

// lane.c
enum gw_error gw_hl7_lane_open(struct gw_hl7_destination *d, struct gw_hl7_lane *lane, struct gw_why *why);
void gw_hl7_lane_close(struct gw_hl7_lane *lane);
void gw_hl7_ward_of(void *lane, struct gw_span device, char ward[GW_BED_MAX + 1]); // gw_hl7_ward_fn
// Begins again from what is durable.
enum gw_error gw_hl7_lane_reload(struct gw_hl7_lane *lane, struct gw_why *why);
bool gw_hl7_has_backlog(const struct gw_hl7_destination *d, enum gw_error *error); // stored
// All that has come so far becomes the backlog; the backlog is through.
enum gw_error gw_hl7_split(struct gw_hl7_destination *d, struct gw_why *why);
enum gw_error gw_hl7_join(struct gw_hl7_destination *d);

// refile.c: a row whose readings may be somebody else's than it says; into the ticket. Rows of messages in the outbox are as they are stored.
enum gw_error gw_hl7_refile(struct gw_hl7_destination *d, const struct gw_hl7_filed *filed);

// changed.c: whose a device's readings are may have changed for effective times in [from, to).
enum gw_error gw_hl7_changed(struct gw_hl7_destination *d, const struct gw_association_change *change);
// Counts what is held; once, when opened. Looks again at what is held for the clock's sake, and sweeps the ledger, now and then.
enum gw_error gw_hl7_holding_load(struct gw_hl7_destination *d);
void gw_hl7_holding_count(struct gw_hl7_destination *d, const char *device, bool unsure, int by);
void gw_hl7_tend(struct gw_hl7_destination *d);
// Whether it was not sure when its readings were taken, or whose they are by that.
bool gw_hl7_filed_unsure(const struct gw_hl7_filed *filed);

// deliver.c: sends messages while they are acknowledged at once, at most for a while.
void gw_hl7_deliver(struct gw_hl7_destination *d);
// Deletions that wait for others to share their commit: now, or when they have waited long enough. gw_hl7_commit_made() does so as well.
void gw_hl7_submit_removals(struct gw_hl7_destination *d);
int64_t gw_hl7_removals_left_us(const struct gw_hl7_destination *d); // until then; INT64_MAX: there are none
// Takes back deletions that are committed; all: waits for every one.
void gw_hl7_reap_removals(struct gw_hl7_destination *d, bool all);
void gw_hl7_set_state(struct gw_hl7_destination *d, enum gw_hl7_state state);

#endif
