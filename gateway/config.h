// SPDX-License-Identifier: Apache-2.0
// The configuration: parsed from YAML, checked, then constant. Options stand in gateway/options.def, one row each; those of the items of a list in
// gateway/options_<kind>.def.
#ifndef GW_CONFIG_H
#define GW_CONFIG_H

#include "gateway/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define GW_CONFIG_ITEMS_MAX 256 // of one list

struct gw_option;

// What stands in lists; `line` is where in the file.
struct gw_config_text {
	char *text;
	size_t line;
};
struct gw_config_texts {
	struct gw_config_text *at;
	size_t count;
};
struct gw_config_pair {
	char *key, *value;
	size_t line;
};
struct gw_config_pairs {
	struct gw_config_pair *at;
	size_t count;
};
struct gw_config_list {
	void *at; // items: struct gw_config_<kind>
	size_t count;
};

#define SECTION(section, help)
#define BOOL(section, name, fallback, help) bool GW_MEMBER(section, name);
#define INT(section, name, low, high, fallback, unit, help) int64_t GW_MEMBER(section, name);
#define TEXT(section, name, fallback, help) char *GW_MEMBER(section, name);
#define PATH(section, name, fallback, help) char *GW_MEMBER(section, name);
#define CHOICE(section, name, fallback, choices, help) char *GW_MEMBER(section, name);
#define TEXTS(section, name, help) struct gw_config_texts GW_MEMBER(section, name);
#define PAIRS(section, name, help) struct gw_config_pairs GW_MEMBER(section, name);
#define LIST(section, name, kind, help) struct gw_config_list GW_MEMBER(section, name);

// Items of lists. Texts are never NULL; paths are absolute, or empty.
#define GW_MEMBER(section, name) name
struct gw_config_rule {
	size_t line; // first in every item
#include "gateway/options_rule.def"
};
struct gw_config_destination {
	size_t line;
#include "gateway/options_destination.def" // rules: struct gw_config_rule
};
struct gw_config_peer {
	size_t line;
#include "gateway/options_peer.def"
};
struct gw_config_mapping {
	size_t line;
#include "gateway/options_mapping.def"
};
#undef GW_MEMBER

// One member per option: config->mqtt_port, config->store_dir...
#define GW_MEMBER(section, name) section##_##name
struct gw_config {
#include "gateway/options.def" // hl7_destinations: struct gw_config_destination; hl7_in_peers: struct gw_config_peer; tls_identities: struct gw_config_mapping
	char *file; // where it came from; NULL for defaults alone
};
#undef GW_MEMBER

#undef SECTION
#undef BOOL
#undef INT
#undef TEXT
#undef PATH
#undef CHOICE
#undef TEXTS
#undef PAIRS
#undef LIST

// Reads, and checks each option by itself (type, bounds, known name). path NULL: defaults alone. On error why names file, line, what is
// wrong and the nearest known name. The caller frees *config.
enum gw_error gw_config_load(const char *path, struct gw_config **config, struct gw_why *why);
// What `run` and `check` need beside that: options that belong together, and files that must be readable. Parts have more of it (gw_part's check).
enum gw_error gw_config_check(const struct gw_config *config, struct gw_why *why);
void gw_config_free(struct gw_config *config);
// As understood, with every default, as YAML that parses back to itself.
void gw_config_print(const struct gw_config *config, FILE *out);
// The table of options for people: name, default, bounds, unit, help.
void gw_config_help(FILE *out);
// The table as a commented configuration file in which every option stands at its default: what conf/vitalgate.yaml is made from.
void gw_config_sample(FILE *out);

// What differs between two configurations.
enum gw_config_how { GW_CONFIG_CHANGED, GW_CONFIG_ADDED, GW_CONFIG_REMOVED };
struct gw_config_change {
	const struct gw_option *option;
	const char *item;       // of a list whose items have names; NULL: the option as a whole
	enum gw_config_how how; // options are only ever changed
};
typedef void gw_config_change_fn(void *arg, const struct gw_config_change *change);
// Tells each difference in a section (NULL: in all) to take, which may be NULL; returns how many there are. Lines of the file do not count.
size_t gw_config_diff(const struct gw_config *from, const struct gw_config *to, const char *section, gw_config_change_fn *take, void *arg);
// Makes these sections (up to NULL) of a copied struct point to another's values. Owns nothing: free() it, while both that it was made of live.
void gw_config_take(struct gw_config *config, const struct gw_config *other, const char *const *sections);

// The table itself, for whoever lists or tests options.
enum gw_option_type {
	GW_OPTION_BOOL, GW_OPTION_INT, GW_OPTION_TEXT, GW_OPTION_PATH, GW_OPTION_CHOICE, // one value
	GW_OPTION_TEXTS, GW_OPTION_PAIRS, GW_OPTION_LIST,
};
struct gw_option {
	const char *section, *name; // of an item: the kind's name
	enum gw_option_type type;
	size_t offset;              // of its member in struct gw_config, or in the item's struct
	int64_t low, high, number;  // INT: bounds and default; BOOL: default
	const char *text;           // TEXT, PATH, CHOICE: default
	const char *choices;        // CHOICE: "a|b|c"
	const struct gw_option_kind *items; // LIST
	const char *unit, *help;
};
const struct gw_option *gw_option_at(size_t i); // NULL past the end
struct gw_option_section {
	const char *name, *help;
};
const struct gw_option_section *gw_option_section_at(size_t i); // NULL past the end
// What the items of a list are.
struct gw_option_kind {
	const char *name;
	const struct gw_option *options;
	size_t count, size; // options; bytes of an item
};

#endif
