// SPDX-License-Identifier: Apache-2.0
// The configuration: parsed from YAML, checked, then constant. Options stand in gateway/options.def, one row each.
#ifndef GW_CONFIG_H
#define GW_CONFIG_H

#include "gateway/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

// One member per option: config->mqtt_port, config->store_dir... Texts are never NULL; paths are absolute, or empty.
struct gw_config {
#define SECTION(name, help)
#define BOOL(section, name, fallback, help) bool section##_##name;
#define INT(section, name, low, high, fallback, unit, help) int64_t section##_##name;
#define TEXT(section, name, fallback, help) char *section##_##name;
#define PATH(section, name, fallback, help) char *section##_##name;
#define CHOICE(section, name, fallback, choices, help) char *section##_##name;
#include "gateway/options.def"
#undef SECTION
#undef BOOL
#undef INT
#undef TEXT
#undef PATH
#undef CHOICE
	char *file; // where it came from; NULL for defaults alone
};

// Reads, and checks each option by itself (type, bounds, known name). path NULL: defaults alone. On error why names file, line, what is
// wrong and the nearest known name. The caller frees *config.
enum gw_error gw_config_load(const char *path, struct gw_config **config, struct gw_why *why);
// What `run` and `check` need beside that: options that belong together, and files that must be readable.
enum gw_error gw_config_check(const struct gw_config *config, struct gw_why *why);
void gw_config_free(struct gw_config *config);
// As understood, with every default, as YAML that parses back to itself.
void gw_config_print(const struct gw_config *config, FILE *out);
// The table of options for people: name, default, bounds, unit, help.
void gw_config_help(FILE *out);
// The table as a commented configuration file in which every option stands at its default: what conf/vitalgate.yaml is made from.
void gw_config_sample(FILE *out);

// The table itself, for whoever lists or tests options.
enum gw_option_type { GW_OPTION_BOOL, GW_OPTION_INT, GW_OPTION_TEXT, GW_OPTION_PATH, GW_OPTION_CHOICE };
struct gw_option {
	const char *section, *name;
	enum gw_option_type type;
	size_t offset;              // of its member in struct gw_config
	int64_t low, high, number;  // INT: bounds and default; BOOL: default
	const char *text;           // TEXT, PATH, CHOICE: default
	const char *choices;        // CHOICE: "a|b|c"
	const char *unit, *help;
};
const struct gw_option *gw_option_at(size_t i); // NULL past the end
struct gw_option_section {
	const char *name, *help;
};
const struct gw_option_section *gw_option_section_at(size_t i); // NULL past the end

#endif
