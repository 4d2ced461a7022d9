// SPDX-License-Identifier: Apache-2.0
// Intake: tickets go from sources to the one writer, which commits many at once and gives them back to their sources.
//
// A ticket is one request of one source and its own queue node. A source fills it on its own thread (gateway/line.h), submits it, and gets it
// back with `result` set, in the order in which it was submitted, after the commit that holds it is durable (or has failed).
// After submission nothing allocates. A source has a fixed number of tickets: none left means stop reading that socket.
// An answer waits for at most two commits: the one under way when the ticket came, and its own.
#ifndef GW_INTAKE_H
#define GW_INTAKE_H

#include "gateway/error.h"
#include "gateway/record.h"

#include <stdatomic.h>
#include <stdbool.h>

struct gw_intake;
struct gw_journal;
struct gw_source;

struct gw_ticket {
	struct gw_ticket *next; // list node: the queue's, then the source's
	struct gw_source *source;

	// The source's own, untouched by intake.
	void *owner;
	uint64_t tag[2];

	// What the frame itself deserves: GW_OK, or why it was refused (then quarantined where its content was at fault).
	enum gw_error verdict;
	struct gw_why why;
	bool quarantined;  // all or part of the frame lies in quarantine
	bool essential;    // cursors, deletions, session state: goes on when the store refuses new data
	bool again;        // a frame out of quarantine: readings without a device time that were taken of it then are known by its receive time

	// What the commit said: GW_OK; GW_E_FULL, GW_E_STOPPING, GW_E_SYNC: nothing is stored, tell the device "later"; GW_E_QUOTA: refused.
	enum gw_error result;
	uint32_t stored, duplicates, revisions; // readings

	// Operations, one after the other, as gw_ticket_* laid them down; read by the journal.
	uint8_t *ops;
	uint32_t ops_len, ops_cap;
	uint8_t inline_ops[1024]; // ops points here until it does not fit
};

// A place to which tickets come back. One per source thread, or per waiting thread.
struct gw_source {
	struct gw_intake *intake;
	int event_fd;            // readable when tickets are back (eventfd, non-blocking)
	_Atomic(struct gw_ticket *) done; // newest first; gw_source_take() puts them in order
	struct gw_ticket *free;  // this thread's spare tickets
	uint32_t tickets, tickets_max;

	// The writer's: tickets that go back with this commit.
	struct gw_ticket *back, *back_last;
	struct gw_source *back_next;
	_Atomic uint32_t notifying;
};

struct gw_intake_options {
	struct gw_journal *journal;
	uint32_t group_bytes_max;   // a commit takes at most this much (bounds dirty pages); 0: 8 MB
	uint32_t group_tickets_max; // 0: 16384
	// Called on the writer's thread when a sync failed: every waiting ticket has been returned with GW_E_SYNC; must make the process end soon.
	void (*failed)(void *arg, enum gw_error error);
	void *arg;
};

enum gw_error gw_intake_open(const struct gw_intake_options *options, struct gw_intake **intake, struct gw_why *why);
// No new data: submits from now on come back with GW_E_STOPPING; essential tickets (last cursors, sessions) go on until
// gw_intake_close(). Returns at once.
void gw_intake_stop(struct gw_intake *intake);
// Commits what was submitted, then ends the thread.
void gw_intake_close(struct gw_intake *intake);

enum gw_error gw_source_init(struct gw_source *source, struct gw_intake *intake, uint32_t tickets_max);
// All tickets must be back and released.
void gw_source_fini(struct gw_source *source);

// A ticket to fill, or NULL where this source has tickets_max under way. The source's thread only.
struct gw_ticket *gw_ticket_get(struct gw_source *source);
void gw_ticket_release(struct gw_ticket *ticket);

// Hands the ticket over: the source must not touch it until it is back. Any one thread at a time per source.
void gw_intake_submit(struct gw_ticket *ticket);
// The same for a list of one source's tickets, oldest first, linked by next (at least one): the writer is woken once and finds them together.
void gw_intake_submit_all(struct gw_ticket *first);
// The tickets that are back, oldest first, linked by next; NULL for none. Resets event_fd.
struct gw_ticket *gw_source_take(struct gw_source *source);

// For commands and outlets that wait: submits and waits until it is back; returns its result. The source must have nothing else under way.
enum gw_error gw_intake_commit(struct gw_ticket *ticket);
// Its second half: waits for what was submitted, while something else was done meanwhile.
enum gw_error gw_intake_await(struct gw_ticket *ticket);

// ---- Operations: appended to the ticket; GW_E_TOO_LARGE, GW_E_MEMORY. ----

// Readings of one device, as encoded by gw_record_readings.
enum gw_error gw_ticket_readings(struct gw_ticket *ticket, const struct gw_batch_head *head, const struct gw_reading *readings, size_t count);
enum gw_error gw_ticket_event(struct gw_ticket *ticket, enum gw_record_type type, const struct gw_event *event);

// A whole record of another type, sealed.
enum gw_error gw_ticket_record(struct gw_ticket *ticket, struct gw_span record);

// Takes value and texts out of readings of a record that is in the journal already (places from 0, rising); their keys stay, so that the same readings sent again
// are duplicates. What was trimmed meanwhile, or is damaged, is passed; erasing again changes nothing.
enum gw_error gw_ticket_erase(struct gw_ticket *ticket, uint64_t position, const uint16_t *places, size_t count);

struct gw_quarantined;
// The id is given at commit.
enum gw_error gw_ticket_quarantine(struct gw_ticket *ticket, const struct gw_quarantined *entry);
enum gw_error gw_ticket_unquarantine(struct gw_ticket *ticket, uint64_t id);

enum gw_error gw_ticket_put(struct gw_ticket *ticket, struct gw_span key, struct gw_span value);
enum gw_error gw_ticket_del(struct gw_ticket *ticket, struct gw_span key);
// Deletes every row whose key begins with prefix.
enum gw_error gw_ticket_del_prefix(struct gw_ticket *ticket, struct gw_span prefix);

// ---- For those who follow the journal ----

// Waits until the journal's last position is above `position`, at most timeout_ms (-1: no limit), or until
// gw_intake_wake() or stop. Returns the last committed position.
uint64_t gw_intake_wait(struct gw_intake *intake, uint64_t position, int timeout_ms);
void gw_intake_wake(struct gw_intake *intake);

struct gw_intake_stats {
	uint64_t submitted, committed, refused; // tickets
	uint64_t groups, waiting;
	bool full, stopping;
};
void gw_intake_stats(struct gw_intake *intake, struct gw_intake_stats *stats);

#endif
