// SPDX-License-Identifier: Apache-2.0
// Grouping: from journal records to the groups that become messages. One device, one patient, one interval by effective time (gateway/device_clock.h).
// No I/O and no clock: records and the time go in, closed groups come out by a callback. The destination's thread.
//
// What goes out is the settings' choice, signal by signal: all readings, or per interval the last valid one or the first (valid before invalid); events, and
// signals with interval 0, at once, which is with the record that brought them. Signals of one interval share a group, waveforms have groups of their own.
// Systolic, diastolic and mean of one pressure are one choice, so that they are never of different measurements: a rule for one of them is a rule for all
// three. Readings of one moment (one record, one time) are never parted, unless a message would not fit into a row of the store.
//
// A group closes when a reading belongs to another interval, patient (or bed, visit, order, or nobody instead), epoch of the device's clock, comes with or without
// device time where the others do not, or is sure where they are not; when an interval has passed by the hub's clock since its first reading; when it is full.
// What arrives late begins a group of its own for its interval. Waveforms belong to whom their whole span belongs; they are not cut.
// Associations may change while a group is open: then it is looked at again as it closes, and parted into groups of one patient each.
//
// Exactly once over crashes: a closed group comes with its device's state: how far its readings were looked at, interval by interval, and its clock as it was
// before the first record that will be needed again. Stored with the message(s) in one commit, it tells after a restart what to skip when the same records
// come again, and their effective times are the same again.
#ifndef GW_HL7_GROUP_H
#define GW_HL7_GROUP_H

#include "adapters/hl7/settings.h"
#include "gateway/device_clock.h"
#include "gateway/error.h"
#include "gateway/nomenclature.h"
#include "gateway/patients.h"
#include "gateway/record.h"

#include <stdbool.h>

// A group closes before a moment that would make more of it: messages stay below 64 KB, which many peers take at most.
#define GW_HL7_SPAN_US (INT64_C(86400) * 1000000) // from a group's first reading to its last: no interval is longer, and no frame's group
#define GW_HL7_ITEMS_MAX 256
#define GW_HL7_BYTES_USUAL 60000
#define GW_HL7_BYTES_MAX (512u << 10) // and inside a moment when its message could reach this: a message must fit into a row of the store
#define GW_HL7_READING_TEXT_MAX 4096  // a longer text is left out: it is no observation, and no receiver takes it
#define GW_HL7_ALL UINT32_MAX         // all readings of a record
#define GW_HL7_CLASSES_MAX 32         // different intervals of one destination, twice with waveforms
#define GW_HL7_STATE_MAX 1024         // bytes of a device's state

// How far a device's readings were looked at.
struct gw_hl7_taken {
	uint64_t position;
	uint32_t count; // readings of that record, in order of time; GW_HL7_ALL
};

struct gw_hl7_item {
	struct gw_reading reading; // its spans are in `store`
	struct gw_effective effective;
	uint64_t position;         // journal record, and which of its readings in the record's own order, from 0: what was sent is remembered by these
	uint32_t index;
	bool own_time;             // in an OBR of its own moment; else in the interval's
	bool corrected;            // replaces a value that was sent to the same patient: OBX-11 C. Set by whoever sends
	uint64_t moment, choice;   // the grouper's own
	uint8_t *store;
	size_t store_cap;
};

struct gw_hl7_group {
	char device[GW_ID_MAX + 1];
	char profile[GW_ID_MAX + 1];
	int64_t from_us, to_us; // the interval, by effective time; at once: both that of the first moment
	bool hub_time;          // without device time: effective times are receive times
	bool sure;              // by a measured offset, see struct gw_effective
	uint32_t epoch;         // of the device's clock
	struct gw_owner owner;  // of all items; owner.whose tells what is to be done with them
	int64_t opened_us;      // hub's clock at the first reading
	uint64_t first_position; // record of the first reading
	// What the device's clock showed, and the hub's then: by the measured offset; where that is not sure, as the newest record with a device time came.
	bool has_clock;
	int64_t device_us, hub_us;
	char origin[21];        // empty, or for a group made again: gw_hl7_ids.origin of the first message, so that OBR-3 stays the same
	uint32_t again;         // 0; for a group made again: rises, so that MSH-10 differs
	struct gw_hl7_item *items;
	size_t count, cap;
	size_t bytes;           // the message's at most, estimated
	bool more;              // another group with the same state may follow at once: both in one commit
	struct gw_span state;   // of the device: to be stored in the commit that stores the message
};

struct gw_hl7_grouper;

// A group is closed: take what is needed of it during the call.
typedef void gw_hl7_closed_fn(void *arg, const struct gw_hl7_group *group);
// Whose the device's readings are: gw_patients_owner().
typedef void gw_hl7_owner_fn(void *arg, struct gw_span device, int64_t effective_us, int64_t uncertainty_us, struct gw_owner *owner);
// Rises when an answer of gw_hl7_owner_fn may have changed: gw_patients_generation().
typedef uint64_t gw_hl7_generation_fn(void *arg);
// The ward of a device in the registry, for the filter where its bed's name says none (no ^ in it). ward is empty before.
typedef void gw_hl7_ward_fn(void *arg, struct gw_span device, char ward[GW_BED_MAX + 1]);
// A device's state without a message: to be stored before the cursor passes gw_hl7_grouper_least().
typedef void gw_hl7_save_fn(void *arg, const char *device, struct gw_span state);

struct gw_hl7_grouper_options {
	const struct gw_hl7_settings *settings; // must outlive the grouper
	gw_hl7_closed_fn *closed;
	// Each may be NULL: all readings are nobody's; nothing ever changes; no ward; not saved.
	gw_hl7_owner_fn *owner;
	gw_hl7_generation_fn *generation;
	gw_hl7_ward_fn *ward;
	gw_hl7_save_fn *save;
	void *arg;
};

// NULL: out of memory, or settings with more intervals than gw_hl7_group_settings() takes.
struct gw_hl7_grouper *gw_hl7_grouper_new(const struct gw_hl7_grouper_options *options);
void gw_hl7_grouper_free(struct gw_hl7_grouper *grouper); // open groups are dropped: they are in the journal
// For start-up and reload: GW_E_CONFIG with words.
enum gw_error gw_hl7_group_settings(const struct gw_hl7_settings *settings, struct gw_why *why);

// At the start: a device's state as it was stored (also its first form: u64 position, u32 count). GW_E_CORRUPT: nothing of it is used.
// An interval that the state does not know, because the settings changed, begins where the least advanced one was: at least once.
enum gw_error gw_hl7_grouper_restore(struct gw_hl7_grouper *grouper, struct gw_span device, struct gw_span state);
// A record of readings, in journal order.
enum gw_error gw_hl7_grouper_take(struct gw_hl7_grouper *grouper, const struct gw_record *record, struct gw_why *why);
// The hub's clock: closes groups whose time is over. The receive time of the last record while there are more to read, the wall clock at the journal's end.
void gw_hl7_grouper_tick(struct gw_hl7_grouper *grouper, int64_t now_us);
// The first record that would be needed again after a crash; 0: none.
uint64_t gw_hl7_grouper_least(const struct gw_hl7_grouper *grouper);
size_t gw_hl7_grouper_open(const struct gw_hl7_grouper *grouper); // open groups
// A held reading that was not sure, asked about again: gw_device_clock_resolve() with the device's clock.
bool gw_hl7_grouper_resolve(struct gw_hl7_grouper *grouper, struct gw_span device, int64_t received_us, int64_t time_us, struct gw_effective *effective);

struct gw_hl7_grouper_stats {
	uint64_t readings, test, samples, reduced, unknown, too_long, filtered; // looked at; and left out, why
};
const struct gw_hl7_grouper_stats *gw_hl7_grouper_stats(const struct gw_hl7_grouper *grouper);

// A group that is made again, for another patient or as a correction: the caller fills in what it kept of the group (interval, owner, clock, origin), and adds its
// readings from their records: `index` as in struct gw_hl7_item. {0} is empty. GW_E_NOT_FOUND: the record has no such reading; GW_E_FORBIDDEN: it is of a
// simulated device, and the destination one of production; GW_E_CORRUPT; GW_E_MEMORY.
enum gw_error gw_hl7_group_add(struct gw_hl7_group *group, const struct gw_hl7_settings *settings, const struct gw_record *record, uint32_t index,
    int64_t effective_us);
void gw_hl7_group_fini(struct gw_hl7_group *group);

// What the settings choose for a signal. The first rule that fits counts.
struct gw_hl7_selection {
	bool wanted;   // by the filter of signals
	enum gw_hl7_select select;
	int64_t interval_us;
	bool own_time; // each moment in an OBR of its own
};
void gw_hl7_select(const struct gw_hl7_settings *settings, const struct gw_signal *signal, uint8_t kind, uint8_t type, struct gw_hl7_selection *selection);
// Whether what is measured in a bed is for this destination, by its filter of wards; ward tells the registry's ward where the bed says none (may be NULL).
bool gw_hl7_ward_wanted(const struct gw_hl7_settings *settings, struct gw_span device, const char *bed, gw_hl7_ward_fn *ward, void *arg);
// A name, or its beginning and `*`.
bool gw_hl7_matches(const char *pattern, struct gw_span name);

// A value that means something: no sentinel, not declared invalid. Out of the plausible range is valid: patients are.
bool gw_hl7_valid(const struct gw_reading *reading);
// Of the same patient, in the same bed, under the same visit and order.
bool gw_hl7_same_owner(const struct gw_owner *a, const struct gw_owner *b);
// The time that a waveform covers; 0 for other readings.
int64_t gw_hl7_span_us(const struct gw_reading *reading);

#endif
