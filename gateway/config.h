// SPDX-License-Identifier: Apache-2.0
// The configuration: parsed from YAML, checked, then constant. Options stand in gateway/options.def, one row each.
#ifndef GW_CONFIG_H
#define GW_CONFIG_H

#include "gateway/error.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

// One member per option: config->mqtt_port, config->store_dir...
struct gw_config {
#define SECTION(name, help)
#define BOOL(section, name, fallback, help) bool section##_##name;
#define INT(section, name, low, high, fallback, unit, help) int64_t section##_##name;
#define TEXT(section, name, fallback, help) char *section##_##name;
#include "gateway/options.def"
#undef SECTION
#undef BOOL
#undef INT
#undef TEXT
	char *file; // where it came from
};

// Reads and checks. path NULL: defaults alone. On error why names file, line, what is wrong and the nearest known name.
enum gw_error gw_config_load(const char *path, struct gw_config **config, struct gw_why *why);
void gw_config_free(struct gw_config *config);
// As understood, with every default, as YAML that parses back to itself.
void gw_config_print(const struct gw_config *config, FILE *out);
// The table of options for people: name, default, bounds, unit, help.
void gw_config_help(FILE *out);

#endif
