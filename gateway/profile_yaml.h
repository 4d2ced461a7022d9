// SPDX-License-Identifier: Apache-2.0
// A profile as it stands in YAML, before it is compiled: texts and lists, as libcyaml fills them in. Start only.
#ifndef GW_PROFILE_YAML_H
#define GW_PROFILE_YAML_H

#include "gateway/error.h"
#include "gateway/span.h"

#include <stdint.h>

enum gw_format { GW_FORMAT_JSON, GW_FORMAT_SENML, GW_FORMAT_TEXT };
enum gw_percent { GW_PERCENT_DEFAULT, GW_PERCENT_PERCENT, GW_PERCENT_RATIO };
enum gw_unknown { GW_UNKNOWN_QUARANTINE, GW_UNKNOWN_IGNORE };
enum gw_time_format { GW_TIME_ISO8601, GW_TIME_LOCAL, GW_TIME_UNIX_S, GW_TIME_UNIX_MS, GW_TIME_UNIX_US };
enum gw_yaml_kind { GW_YAML_KIND_DEFAULT, GW_YAML_KIND_MEASUREMENT, GW_YAML_KIND_SETTING, GW_YAML_KIND_EVENT };

struct gw_yaml_texts {
	char **at;
	unsigned count;
};

struct gw_yaml_value {
	char *is;
	char *code, *text; // one of them
};

struct gw_yaml_field {
	char *field, *signal, *unit, *unit_field;
	uint16_t instance;
	enum gw_yaml_kind kind;
	enum gw_percent percent;
	char **sentinels;
	unsigned sentinels_count;
	struct gw_yaml_value *values;
	unsigned values_count;
};

struct gw_yaml_time {
	char *from, *zone;
	enum gw_time_format format;
};

struct gw_yaml_profile {
	char *profile, *description;
	struct {
		char **mqtt, **coap;
		unsigned mqtt_count, coap_count;
	} routes;
	enum gw_format format;
	enum gw_percent percent;
	enum gw_unknown unknown;
	struct gw_yaml_time *time; // NULL: not told
	char *sequence;
	char **names, **sentinels, **ignore;
	unsigned names_count, sentinels_count, ignore_count;
	struct gw_yaml_field *fields;
	unsigned fields_count;
};

// Parses; on error why names file, line, what is wrong and the nearest known key.
enum gw_error gw_yaml_profile_load(const char *file, struct gw_span yaml, struct gw_yaml_profile **out, struct gw_why *why);
void gw_yaml_profile_free(struct gw_yaml_profile *profile);
// The first line in which a text stands, for errors that are found later; 0: nowhere.
int gw_yaml_line_of(struct gw_span yaml, const char *text);

#endif
