// SPDX-License-Identifier: Apache-2.0
// A compiled profile: flat tables that decoding looks things up in. For profile*.c and decode*.c only. Constant; any thread.
#ifndef GW_PROFILE_TABLE_H
#define GW_PROFILE_TABLE_H

#include "gateway/hash.h"
#include "gateway/profile.h"
#include "gateway/profile_yaml.h"
#include "gateway/timezone.h"

#define GW_LEVELS_MAX 16      // levels of a route
#define GW_NAME_PARTS_MAX 4   // captures of a name pattern
#define GW_RESOLVED_MAX 255   // bytes of a SenML name or of a text field's name
#define GW_ROOT 0             // the container that a payload itself is

// One level of a route: a literal, or a capture.
struct gw_level {
	struct gw_span text; // the literal, or the capture's name
	bool capture;
};

struct gw_route {
	const char *text;
	struct gw_level levels[GW_LEVELS_MAX];
	uint8_t count;
	uint8_t door; // enum gw_door
};

// A pattern of SenML names: prefix, then captures each with the literal that follows it. Read from the right: a capture takes as little as
// it can, the leftmost one the rest.
enum gw_part_kind { GW_PART_OTHER, GW_PART_DEVICE, GW_PART_FIELD, GW_PART_INSTANCE };
struct gw_name_pattern {
	struct gw_span prefix;
	struct { enum gw_part_kind kind; struct gw_span after; } parts[GW_NAME_PARTS_MAX];
	uint8_t count;
};

struct gw_sentinel {
	struct gw_span text;
	struct gw_decimal number;
	bool numeric;
};

struct gw_value_map {
	struct gw_span is;
	struct gw_span text; // when code is 0
	uint32_t code;
};

// What becomes of one field.
struct gw_rule {
	const struct gw_signal *signal;
	const struct gw_unit *unit;       // of values that come without one; NULL for signals without unit
	struct gw_conversion conversion;  // from that unit
	struct gw_span unit_pointer;      // JSON Pointer of the field that holds the unit; empty: none
	uint16_t instance;
	uint8_t kind;
	bool ratio;                       // "%" means a ratio of 1
	uint32_t sentinels, sentinels_count; // in profile->sentinels
	uint32_t values, values_count;       // in profile->values
};

enum gw_what { GW_WHAT_NOTHING, GW_WHAT_CONTAINER, GW_WHAT_FIELD, GW_WHAT_TIME, GW_WHAT_SEQUENCE, GW_WHAT_UNIT, GW_WHAT_IGNORE };
struct gw_entry {
	struct gw_span name;
	uint32_t parent;
	uint32_t index; // of the rule, or the container's number
	uint8_t what;   // enum gw_what; GW_WHAT_NOTHING: free slot
};

struct gw_profile {
	char *name, *description;
	enum gw_format format;
	enum gw_unknown unknown;
	enum gw_time_format time_format;
	bool has_time;      // JSON: a field; SenML: its times are used
	struct gw_zone *zone;
	struct gw_route *routes;
	size_t routes_count;
	struct gw_name_pattern *names;
	size_t names_count;
	struct gw_rule *rules;
	size_t rules_count, rules_cap;
	struct gw_sentinel *sentinels;
	size_t sentinels_count;
	struct gw_value_map *values;
	size_t values_count;
	struct gw_entry *entries; // open addressing
	uint32_t entries_mask, entries_count;
	uint32_t containers; // numbers given so far; 0 is the root
	struct gw_yaml_profile *yaml; // owns the texts that spans point to
	char **owned; // further texts
	size_t owned_count;
};

struct gw_profiles {
	struct gw_profile **at;
	size_t count;
	// All routes of all profiles, most specific first.
	struct { const struct gw_route *route; const struct gw_profile *profile; } *routes;
	size_t routes_count;
};

static inline const struct gw_entry *
gw_entry_find(const struct gw_profile *profile, uint32_t parent, struct gw_span name)
{
	uint32_t at = (uint32_t)gw_hash_bytes(parent, name) & profile->entries_mask;

	for (;; at = (at + 1) & profile->entries_mask) {
		const struct gw_entry *entry = &profile->entries[at];
		if (entry->what == GW_WHAT_NOTHING)
			return NULL;
		if (entry->parent == parent && gw_span_equal(entry->name, name))
			return entry;
	}
}

// profile_compile.c: takes yaml over, also when it fails.
enum gw_error gw_profile_compile(const char *file, struct gw_span text, struct gw_yaml_profile *yaml, struct gw_profile **out, struct gw_why *why);
void gw_profile_free(struct gw_profile *profile);

// profile_route.c
bool gw_route_compile(const char *text, enum gw_door door, struct gw_route *route);
int gw_route_specific(const struct gw_route *a, const struct gw_route *b); // < 0: a is more specific
bool gw_name_compile(const char *text, struct gw_name_pattern *pattern);
// What a name pattern caught; at most GW_RESOLVED_MAX steps.
struct gw_name_match {
	struct gw_span device, field;
	uint16_t instance;
	bool has_instance;
};
bool gw_name_match(const struct gw_name_pattern *pattern, struct gw_span name, struct gw_name_match *match);
// "0".."65535" without leading zeros.
bool gw_instance_parse(struct gw_span text, uint16_t *instance);

#endif
