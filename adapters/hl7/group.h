// SPDX-License-Identifier: Apache-2.0
// Grouping: from journal records to the groups that become messages. One device, one interval by effective time (the device's time, or the receive
// time where it gave none). No I/O and no clock: records and the time go in, closed groups come out by a callback. The destination's thread.
//
// A group closes when a later interval begins, when an interval has passed by the hub's clock since its first reading, when the device's clock steps (backwards,
// or ahead of the hub's), when the device begins or ceases to tell times, or when it is full. What arrives late begins a group of its own for its interval.
//
// select=all takes every reading. select=last keeps, per interval, the last moment (readings of one record with one time) at which a signal had a valid
// value; systolic, diastolic and mean of one pressure are one choice, so that they are never of different measurements. Events are all kept.
//
// Exactly once over crashes: a group says up to where its device's readings were looked at (a record, and how many of its readings in order of time). Stored with
// the message, it tells after a restart what to skip when the same records come again.
#ifndef GW_HL7_GROUP_H
#define GW_HL7_GROUP_H

#include "gateway/error.h"
#include "gateway/record.h"

#include <stdbool.h>

// A group closes before a moment that would make more of it: messages stay below 64 KB, which many peers take at most.
#define GW_HL7_ITEMS_MAX 256
#define GW_HL7_BYTES_USUAL 60000
#define GW_HL7_BYTES_MAX (512u << 10) // and inside a moment when its message could reach this: a message must fit into a row of the store
#define GW_HL7_TEXT_MAX 4096   // a longer text is left out: it is no observation, and no receiver takes it
#define GW_HL7_STEP_US 5000000 // less than this is not a step of a clock: single signals of one device come slightly out of order
#define GW_HL7_ALL UINT32_MAX  // all readings of a record

// How far a device's readings were looked at.
struct gw_hl7_taken {
	uint64_t position;
	uint32_t count; // readings of that record, in order of time; GW_HL7_ALL
};

struct gw_hl7_item {
	struct gw_reading reading; // its spans are in `store`
	uint64_t moment;           // record and time
	uint8_t *store;
};

struct gw_hl7_group {
	char device[GW_ID_MAX + 1];
	char profile[GW_ID_MAX + 1];
	int64_t from_us, to_us; // the interval, by effective time
	bool hub_time;          // effective times are receive times
	int64_t opened_us;      // hub's clock at the first reading
	uint64_t first_position; // record of the first reading
	struct gw_hl7_taken taken;
	// What the device's clock showed, and the hub's then: of the last record with a device time.
	bool has_clock;
	int64_t device_us, hub_us;
	struct gw_hl7_item *items;
	size_t count, cap;
	size_t bytes; // the message's at most, estimated
};

struct gw_hl7_grouper;

// A group is closed: take what is needed of it during the call.
typedef void gw_hl7_closed_fn(void *arg, const struct gw_hl7_group *group);

struct gw_hl7_grouper_options {
	int64_t interval_us;
	bool all;        // else the last valid one
	bool production; // readings marked as test are left out
	gw_hl7_closed_fn *closed;
	void *arg;
};

struct gw_hl7_grouper *gw_hl7_grouper_new(const struct gw_hl7_grouper_options *options); // NULL: out of memory
void gw_hl7_grouper_free(struct gw_hl7_grouper *grouper); // open groups are dropped: they are in the journal

// At the start: what is in messages already.
enum gw_error gw_hl7_grouper_restore(struct gw_hl7_grouper *grouper, struct gw_span device, const struct gw_hl7_taken *taken);
// A record of readings, in journal order.
enum gw_error gw_hl7_grouper_take(struct gw_hl7_grouper *grouper, const struct gw_record *record, struct gw_why *why);
// The hub's clock: closes groups whose time is over. The receive time of the last record while there are more to read, the wall clock at the journal's end.
void gw_hl7_grouper_tick(struct gw_hl7_grouper *grouper, int64_t now_us);
// The first record that an open group needs; 0: no group is open.
uint64_t gw_hl7_grouper_least(const struct gw_hl7_grouper *grouper);
size_t gw_hl7_grouper_open(const struct gw_hl7_grouper *grouper); // open groups

struct gw_hl7_grouper_stats {
	uint64_t readings, test, samples, reduced, unknown, too_long; // looked at; and left out, why
};
const struct gw_hl7_grouper_stats *gw_hl7_grouper_stats(const struct gw_hl7_grouper *grouper);

// A value that means something: no sentinel, not declared invalid. Out of the plausible range is valid: patients are.
bool gw_hl7_valid(const struct gw_reading *reading);

#endif
