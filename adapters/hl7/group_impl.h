// SPDX-License-Identifier: Apache-2.0
// The grouper's inside, shared by group.c (records, opening and closing), group_items.c (what a group holds), group_select.c (what the settings choose)
// and group_state.c (what is stored of a device). The destination's thread.
#ifndef GW_HL7_GROUP_IMPL_H
#define GW_HL7_GROUP_IMPL_H

#include "adapters/hl7/group.h"

// Bytes of one item in a message, about; an escaped character has five at most. An OBR of its own comes with the device's rows.
#define ITEM_BYTES 260
#define OBR_BYTES 600
#define HEAD_BYTES 800

// Why a signal is left out, instead of a class.
enum { LEFT_UNKNOWN = 0xF0, LEFT_SAMPLES, LEFT_FILTERED };

// Signals of one interval.
struct class {
	int64_t interval_us;
	bool waves;
	struct slot *first, *last; // open groups, in the order in which they opened: the first to close by the clock comes first
};

struct choice {
	uint64_t key;     // 0: free
	uint8_t class;    // or why it is left out
	uint8_t select;   // enum gw_hl7_select
	bool own_time;
};

// A device's group of one class.
struct slot {
	struct gw_hl7_group group;
	struct device *device;
	struct slot *before, *after;
	bool open;
	uint8_t class;
	struct gw_hl7_taken taken;       // in messages, or left out; while open as it was before
	struct gw_device_clock clock;    // before the record that opened the group
	struct gw_effective effective;   // of the first reading
	uint64_t moment;                 // looked at last
	uint64_t answer, generation;     // of the owner
};

struct device {
	char id[GW_ID_MAX + 1];
	bool wanted;
	struct gw_device_clock clock, clock_before; // now; before the record under work
	uint64_t clock_next;             // records before it were given to the clock when the state was stored
	struct gw_hl7_taken progress;    // looked at so far
	// What the store does not know yet of this device begins with this record; 0: it knows all.
	uint64_t unsaved;
	int64_t unsaved_us;
	struct device *before, *after;   // devices with such, in order of `unsaved`
	// Whose it was, asked last.
	struct gw_owner owner;
	int64_t owner_uncertainty_us;
	uint64_t owner_generation, answer; // answer 0: not asked yet
	bool ward_wanted;
	struct slot slots[];             // one for each class
};

// A reading of the record under work: its own copy of what would not last.
struct entry {
	struct gw_reading reading;
	uint32_t order;
	char received[64];
};

#define CHOICES 4096 // twice the signals of the nomenclature and more

struct gw_hl7_grouper {
	struct gw_hl7_grouper_options options;
	struct class classes[GW_HL7_CLASSES_MAX];
	size_t class_count;
	struct choice *choices; // CHOICES, open addressing
	struct device **table;  // open addressing by the id's hash
	size_t slots, devices;
	struct device *first, *last; // devices with something unsaved
	size_t open;
	struct entry *entries;
	size_t entries_cap;
	uint64_t moment, answers;
	struct gw_hl7_grouper_stats stats;
	uint8_t state[GW_HL7_STATE_MAX];
};

// ---- group_select.c ----
// GW_E_CONFIG where there are too many.
enum gw_error gw_hl7_classes_of(const struct gw_hl7_settings *settings, struct class *classes, size_t *count, struct gw_why *why);
const struct choice *gw_hl7_choose(struct gw_hl7_grouper *grouper, const struct gw_reading *reading);
bool gw_hl7_any_matches(const char *const *patterns, size_t count, struct gw_span name);
// What a reading competes with in an interval: equal numbers; 0 for events, which compete with nothing.
uint64_t gw_hl7_choice_of(const struct gw_reading *reading);

// ---- group_items.c ----
size_t gw_hl7_cost(const struct gw_reading *reading, bool own_time);
// GW_E_MEMORY.
enum gw_error gw_hl7_items_append(struct gw_hl7_group *group, const struct gw_hl7_item *item);
void gw_hl7_items_clear(struct gw_hl7_group *group);
// A moment's reading of one choice takes the place of what the group has of it, where it beats that. valid: one of the choice in its moment is. GW_E_EXISTS: it did
// not; GW_E_MEMORY.
enum gw_error gw_hl7_items_compete(struct gw_hl7_group *group, const struct gw_hl7_item *item, bool valid, enum gw_hl7_select select);

// ---- group_state.c ----
// What is to be stored of a device now; *needed is the first record that will be needed again.
struct gw_span gw_hl7_state_of(struct gw_hl7_grouper *grouper, const struct device *device, uint64_t *needed);
enum gw_error gw_hl7_state_load(const struct gw_hl7_grouper *grouper, struct device *device, struct gw_span state);

#endif
