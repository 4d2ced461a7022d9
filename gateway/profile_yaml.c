// SPDX-License-Identifier: Apache-2.0
// Profiles' YAML by libcyaml: one schema, and libcyaml's words turned into one line with the file, the line and a suggestion. Start only.
#include "gateway/profile_yaml.h"
#include "gateway/nearest.h"

#include <cyaml/cyaml.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_MAX 1024
#define LIST_MAX 512
#define FIELDS_MAX 2048
#define OPTIONAL (CYAML_FLAG_OPTIONAL | CYAML_FLAG_POINTER)

static const cyaml_strval_t formats[] = { { "json", GW_FORMAT_JSON }, { "senml", GW_FORMAT_SENML }, { "text", GW_FORMAT_TEXT } };
static const cyaml_strval_t percents[] = { { "percent", GW_PERCENT_PERCENT }, { "ratio", GW_PERCENT_RATIO } };
static const cyaml_strval_t unknowns[] = { { "quarantine", GW_UNKNOWN_QUARANTINE }, { "ignore", GW_UNKNOWN_IGNORE } };
static const cyaml_strval_t times[] = { { "iso8601", GW_TIME_ISO8601 }, { "local", GW_TIME_LOCAL }, { "unix-s", GW_TIME_UNIX_S },
	{ "unix-ms", GW_TIME_UNIX_MS }, { "unix-us", GW_TIME_UNIX_US } };
static const cyaml_strval_t kinds[] = { { "measurement", GW_YAML_KIND_MEASUREMENT }, { "setting", GW_YAML_KIND_SETTING },
	{ "event", GW_YAML_KIND_EVENT } };

static const cyaml_schema_value_t text_value = { CYAML_VALUE_STRING(CYAML_FLAG_POINTER, char, 0, TEXT_MAX) };

static const cyaml_schema_field_t value_fields[] = {
	CYAML_FIELD_STRING_PTR("is", CYAML_FLAG_POINTER, struct gw_yaml_value, is, 0, TEXT_MAX),
	CYAML_FIELD_STRING_PTR("code", OPTIONAL, struct gw_yaml_value, code, 1, TEXT_MAX),
	CYAML_FIELD_STRING_PTR("text", OPTIONAL, struct gw_yaml_value, text, 0, TEXT_MAX),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t value_value = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct gw_yaml_value, value_fields) };

static const cyaml_schema_field_t field_fields[] = {
	CYAML_FIELD_STRING_PTR("field", CYAML_FLAG_POINTER, struct gw_yaml_field, field, 1, TEXT_MAX),
	CYAML_FIELD_STRING_PTR("signal", OPTIONAL, struct gw_yaml_field, signal, 1, TEXT_MAX),
	CYAML_FIELD_UINT("instance", CYAML_FLAG_OPTIONAL, struct gw_yaml_field, instance),
	CYAML_FIELD_STRING_PTR("unit", OPTIONAL, struct gw_yaml_field, unit, 1, TEXT_MAX),
	CYAML_FIELD_STRING_PTR("unit-field", OPTIONAL, struct gw_yaml_field, unit_field, 1, TEXT_MAX),
	CYAML_FIELD_ENUM("kind", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, struct gw_yaml_field, kind, kinds, CYAML_ARRAY_LEN(kinds)),
	CYAML_FIELD_ENUM("percent", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, struct gw_yaml_field, percent, percents, CYAML_ARRAY_LEN(percents)),
	CYAML_FIELD_SEQUENCE("sentinels", OPTIONAL, struct gw_yaml_field, sentinels, &text_value, 0, LIST_MAX),
	CYAML_FIELD_SEQUENCE("values", OPTIONAL, struct gw_yaml_field, values, &value_value, 0, LIST_MAX),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t field_value = { CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct gw_yaml_field, field_fields) };

static const cyaml_schema_field_t time_fields[] = {
	CYAML_FIELD_STRING_PTR("from", CYAML_FLAG_POINTER, struct gw_yaml_time, from, 1, TEXT_MAX),
	CYAML_FIELD_ENUM("format", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, struct gw_yaml_time, format, times, CYAML_ARRAY_LEN(times)),
	CYAML_FIELD_STRING_PTR("zone", OPTIONAL, struct gw_yaml_time, zone, 1, TEXT_MAX),
	CYAML_FIELD_END,
};

typedef __typeof__(((struct gw_yaml_profile *)NULL)->routes) routes_struct;
static const cyaml_schema_field_t routes_fields[] = {
	CYAML_FIELD_SEQUENCE("mqtt", OPTIONAL, routes_struct, mqtt, &text_value, 0, LIST_MAX),
	CYAML_FIELD_SEQUENCE("coap", OPTIONAL, routes_struct, coap, &text_value, 0, LIST_MAX),
	CYAML_FIELD_END,
};

static const cyaml_schema_field_t profile_fields[] = {
	CYAML_FIELD_STRING_PTR("profile", CYAML_FLAG_POINTER, struct gw_yaml_profile, profile, 1, 64),
	CYAML_FIELD_STRING_PTR("description", OPTIONAL, struct gw_yaml_profile, description, 0, TEXT_MAX),
	CYAML_FIELD_MAPPING("routes", CYAML_FLAG_DEFAULT, struct gw_yaml_profile, routes, routes_fields),
	CYAML_FIELD_ENUM("format", CYAML_FLAG_STRICT, struct gw_yaml_profile, format, formats, CYAML_ARRAY_LEN(formats)),
	CYAML_FIELD_ENUM("percent", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, struct gw_yaml_profile, percent, percents, CYAML_ARRAY_LEN(percents)),
	CYAML_FIELD_ENUM("unknown", CYAML_FLAG_OPTIONAL | CYAML_FLAG_STRICT, struct gw_yaml_profile, unknown, unknowns, CYAML_ARRAY_LEN(unknowns)),
	CYAML_FIELD_MAPPING_PTR("time", OPTIONAL, struct gw_yaml_profile, time, time_fields),
	CYAML_FIELD_STRING_PTR("sequence", OPTIONAL, struct gw_yaml_profile, sequence, 1, TEXT_MAX),
	CYAML_FIELD_SEQUENCE("names", OPTIONAL, struct gw_yaml_profile, names, &text_value, 0, 16),
	CYAML_FIELD_SEQUENCE("sentinels", OPTIONAL, struct gw_yaml_profile, sentinels, &text_value, 0, LIST_MAX),
	CYAML_FIELD_SEQUENCE("ignore", OPTIONAL, struct gw_yaml_profile, ignore, &text_value, 0, LIST_MAX),
	CYAML_FIELD_SEQUENCE("fields", CYAML_FLAG_POINTER, struct gw_yaml_profile, fields, &field_value, 1, FIELDS_MAX),
	CYAML_FIELD_END,
};
static const cyaml_schema_value_t profile_value = { CYAML_VALUE_MAPPING(CYAML_FLAG_POINTER, struct gw_yaml_profile, profile_fields) };

// What libcyaml said: its first complaint, and the innermost line of its backtrace.
struct said {
	char first[160];
	int line;
};

static void __attribute__((format(printf, 3, 0)))
listen(cyaml_log_t level, void *context, const char *format, va_list args)
{
	struct said *said = context;
	char text[512], *line;

	if (level < CYAML_LOG_ERROR)
		return;
	vsnprintf(text, sizeof(text), format, args);
	text[strcspn(text, "\n")] = '\0';
	line = strstr(text, "line: ");
	if (line != NULL && said->line == 0)
		said->line = atoi(line + 6);
	if (said->first[0] == '\0')
		snprintf(said->first, sizeof(said->first), "%.150s", strncmp(text, "Load: ", 6) == 0 ? text + 6 : text);
}

static const cyaml_config_t *
config_for(cyaml_config_t *config, struct said *said)
{
	*config = (cyaml_config_t){ .log_fn = listen, .log_ctx = said, .log_level = CYAML_LOG_ERROR, .mem_fn = cyaml_mem, .flags = CYAML_CFG_NO_ALIAS };
	return config;
}

// The nearest known key of any level to the one that was not expected.
static const char *
suggestion(const char *complaint, char out[160])
{
	static const cyaml_schema_field_t *const levels[] = { profile_fields, field_fields, time_fields, value_fields, routes_fields };
	const char *key = strstr(complaint, "key: ");
	struct gw_nearest nearest;

	out[0] = '\0';
	if (key == NULL)
		return out;
	gw_nearest_init(&nearest, gw_span_text(key + 5));
	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		for (const cyaml_schema_field_t *field = levels[i]; field->key != NULL; field++)
			gw_nearest_try(&nearest, field->key);
	return gw_nearest_words(&nearest, out);
}

enum gw_error
gw_yaml_profile_load(const char *file, struct gw_span yaml, struct gw_yaml_profile **out, struct gw_why *why)
{
	struct said said = { "", 0 };
	cyaml_config_t config;
	char words[160];
	cyaml_err_t error;

	*out = NULL;
	error = cyaml_load_data(yaml.at, yaml.len, config_for(&config, &said), &profile_value, (cyaml_data_t **)out, NULL);
	if (error == CYAML_OK && *out != NULL)
		return GW_OK;
	if (error == CYAML_ERR_OOM)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	return gw_fail(why, GW_E_CONFIG, "%s:%d: %s%s", file, said.line, said.first[0] != '\0' ? said.first : cyaml_strerror(error),
	    suggestion(said.first, words));
}

void
gw_yaml_profile_free(struct gw_yaml_profile *profile)
{
	struct said said;
	cyaml_config_t config;

	cyaml_free(config_for(&config, &said), &profile_value, profile, 0);
}

int
gw_yaml_line_of(struct gw_span yaml, const char *text)
{
	const uint8_t *at = memmem(yaml.at, yaml.len, text, strlen(text));
	int line = 1;

	if (at == NULL)
		return 0;
	for (const uint8_t *c = yaml.at; c < at; c++)
		line += *c == '\n';
	return line;
}
