// SPDX-License-Identifier: Apache-2.0
// From a profile's YAML to its tables: names looked up, patterns split, units converted once. Start only.
#include "gateway/profile_table.h"
#include "gateway/nearest.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRIES_MAX 65536
#define SIGNAL_CAPTURE "{signal}"

struct compiler {
	struct gw_profile *profile;
	const char *file;
	struct gw_span text;
	struct gw_why *why;
	enum gw_error error; // the first one
};

// Keeps the first error, with the line where `about` first stands.
static void __attribute__((format(printf, 3, 4)))
fail(struct compiler *c, const char *about, const char *format, ...)
{
	char words[150];
	va_list args;

	if (c->error != GW_OK)
		return;
	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	c->error = gw_fail(c->why, GW_E_CONFIG, "%s:%d: %s", c->file, gw_yaml_line_of(c->text, about), words);
}

static void *
room(struct compiler *c, size_t count, size_t size)
{
	void *at = calloc(count + 1, size);

	if (at == NULL && c->error == GW_OK)
		c->error = gw_fail(c->why, GW_E_MEMORY, "out of memory");
	return at;
}

// A text that the profile keeps; "" when memory is out.
static const char *
keep(struct compiler *c, char *text)
{
	struct gw_profile *profile = c->profile;
	char **owned = text != NULL ? realloc(profile->owned, (profile->owned_count + 1) * sizeof(*owned)) : NULL;

	if (owned == NULL) {
		free(text);
		if (c->error == GW_OK)
			c->error = gw_fail(c->why, GW_E_MEMORY, "out of memory");
		return "";
	}
	profile->owned = owned;
	owned[profile->owned_count++] = text;
	return text;
}

// ---- the table of fields ----

static struct gw_entry *
entry_slot(struct gw_profile *profile, uint32_t parent, struct gw_span name)
{
	uint32_t at = (uint32_t)gw_hash_bytes(parent, name) & profile->entries_mask;

	while (profile->entries[at].what != GW_WHAT_NOTHING &&
	    !(profile->entries[at].parent == parent && gw_span_equal(profile->entries[at].name, name)))
		at = (at + 1) & profile->entries_mask;
	return &profile->entries[at];
}

static bool
entries_grow(struct compiler *c)
{
	struct gw_profile *profile = c->profile;
	uint32_t size = profile->entries == NULL ? 64 : (profile->entries_mask + 1) * 2;
	struct gw_entry *old = profile->entries, *table = size <= ENTRIES_MAX ? room(c, size, sizeof(*table)) : NULL;
	uint32_t old_size = old != NULL ? profile->entries_mask + 1 : 0;

	if (table == NULL) {
		fail(c, "fields", "too many fields");
		return false;
	}
	profile->entries = table;
	profile->entries_mask = size - 1;
	for (uint32_t i = 0; i < old_size; i++)
		if (old[i].what != GW_WHAT_NOTHING)
			*entry_slot(profile, old[i].parent, old[i].name) = old[i];
	free(old);
	return true;
}

// NULL where no memory is left. A new entry has what == GW_WHAT_NOTHING for the caller to set.
static struct gw_entry *
entry_make(struct compiler *c, uint32_t parent, struct gw_span name)
{
	struct gw_profile *profile = c->profile;
	struct gw_entry *entry;

	if ((profile->entries_count + 1) * 2 > profile->entries_mask && !entries_grow(c))
		return NULL;
	entry = entry_slot(profile, parent, name);
	if (entry->what == GW_WHAT_NOTHING) {
		*entry = (struct gw_entry){ name, parent, 0, GW_WHAT_NOTHING };
		profile->entries_count++;
	}
	return entry;
}

// RFC 6901: ~1 is '/', ~0 is '~'. In place; false where the pointer is none.
static bool
unescape(char *token)
{
	char *to = token;

	for (const char *at = token; *at != '\0'; at++) {
		if (*at == '~') {
			at++;
			if (*at != '0' && *at != '1')
				return false;
			*to++ = *at == '0' ? '~' : '/';
		} else
			*to++ = *at;
	}
	*to = '\0';
	return true;
}

// The entry of a JSON Pointer, with its containers made on the way.
static struct gw_entry *
pointer_entry(struct compiler *c, const char *pointer)
{
	char *text = (char *)(uintptr_t)keep(c, strdup(pointer)), *at = text;
	uint32_t parent = GW_ROOT;

	if (c->error != GW_OK)
		return NULL;
	if (*at != '/') {
		fail(c, pointer, "\"%s\" is no JSON Pointer: it begins with / (RFC 6901)", pointer);
		return NULL;
	}
	for (at++;;) {
		char *slash = strchr(at, '/');
		struct gw_entry *entry;
		if (slash != NULL)
			*slash = '\0';
		if (!unescape(at)) {
			fail(c, pointer, "\"%s\" is no JSON Pointer: ~ stands only in ~0 and ~1 (RFC 6901)", pointer);
			return NULL;
		}
		entry = entry_make(c, parent, gw_span_text(at));
		if (entry == NULL || slash == NULL)
			return entry;
		if (entry->what == GW_WHAT_NOTHING) {
			entry->what = GW_WHAT_CONTAINER;
			entry->index = ++c->profile->containers;
		} else if (entry->what != GW_WHAT_CONTAINER) {
			fail(c, pointer, "\"%s\" lies inside another field", pointer);
			return NULL;
		}
		parent = entry->index;
		at = slash + 1;
	}
}

static struct gw_entry *
field_entry(struct compiler *c, const char *field)
{
	return c->profile->format == GW_FORMAT_JSON ? pointer_entry(c, field) : entry_make(c, GW_ROOT, gw_span_text(keep(c, strdup(field))));
}

static void
set_entry(struct compiler *c, const char *field, enum gw_what what, uint32_t index)
{
	struct gw_entry *entry = field_entry(c, field);

	if (entry == NULL)
		return;
	if (entry->what != GW_WHAT_NOTHING) {
		fail(c, field, "\"%s\" stands twice", field);
		return;
	}
	entry->what = (uint8_t)what;
	entry->index = index;
}

// ---- sentinels and values ----

static void
add_sentinels(struct compiler *c, char **texts, unsigned count)
{
	struct gw_profile *profile = c->profile;

	for (unsigned i = 0; i < count; i++) {
		struct gw_sentinel *s = &profile->sentinels[profile->sentinels_count++];
		s->text = gw_span_text(texts[i]);
		s->numeric = gw_decimal_parse(s->text, &s->number);
	}
}

static uint32_t
code_of(struct compiler *c, const char *text)
{
	uint32_t code = gw_code_by_refid(gw_span_text(text));
	char *end;
	unsigned long number;

	if (code != 0)
		return code;
	number = strtoul(text, &end, 10);
	if (*end != '\0' || number == 0 || number > UINT32_MAX)
		fail(c, text, "\"%s\" is no code: a number, or a REFID of the nomenclature", text);
	return (uint32_t)number;
}

static void
add_values(struct compiler *c, const struct gw_yaml_field *field)
{
	for (unsigned i = 0; i < field->values_count; i++) {
		const struct gw_yaml_value *from = &field->values[i];
		struct gw_value_map *to = &c->profile->values[c->profile->values_count++];
		to->is = gw_span_text(from->is);
		if ((from->code == NULL) == (from->text == NULL))
			fail(c, from->is, "value \"%s\" needs either code or text", from->is);
		else if (from->code != NULL)
			to->code = code_of(c, from->code);
		else
			to->text = gw_span_text(from->text);
	}
}

// ---- rules ----

static const struct gw_signal *
signal_named(struct compiler *c, const char *name)
{
	const struct gw_signal *signal = gw_signal_by_name(gw_span_text(name));
	struct gw_nearest nearest;
	char words[160];

	if (signal != NULL && signal->type != GW_VALUE_SAMPLES)
		return signal;
	gw_nearest_init(&nearest, gw_span_text(name));
	for (size_t i = 0; signal == NULL && gw_signal_at(i) != NULL; i++)
		gw_nearest_try(&nearest, gw_signal_at(i)->name);
	if (signal != NULL)
		fail(c, name, "signal \"%s\" is a waveform: one value does not make one", name);
	else
		fail(c, name, "no signal \"%s\" in the nomenclature%s", name, gw_nearest_words(&nearest, words));
	return NULL;
}

static void
rule_unit(struct compiler *c, const struct gw_yaml_field *field, struct gw_rule *rule)
{
	rule->unit = rule->signal->unit;
	rule->conversion.same = true;
	if (field->unit == NULL)
		return;
	rule->unit = gw_unit_by_ucum(rule->ratio && strcmp(field->unit, "%") == 0 ? gw_span_text("1") : gw_span_text(field->unit));
	if (rule->unit == NULL)
		fail(c, field->unit, "unit \"%s\" is not known", field->unit);
	else if (gw_conversion_for(rule->signal, rule->unit, &rule->conversion) != GW_OK)
		fail(c, field->unit, "unit \"%s\" does not fit signal %s (%s)", field->unit, rule->signal->name,
		    rule->signal->unit != NULL ? rule->signal->unit->ucum : "no unit");
}

static uint8_t
rule_kind(const struct gw_yaml_field *field, const struct gw_signal *signal)
{
	static const uint8_t kinds[] = { [GW_YAML_KIND_MEASUREMENT] = GW_KIND_MEASUREMENT, [GW_YAML_KIND_SETTING] = GW_KIND_SETTING,
		[GW_YAML_KIND_EVENT] = GW_KIND_EVENT };

	return field->kind == GW_YAML_KIND_DEFAULT ? signal->kind : kinds[field->kind];
}

// SenML says that % is a ratio (RFC 8428 section 12.1); everybody else means percent.
static bool
is_ratio(const struct gw_profile *profile, const struct gw_yaml_field *field)
{
	enum gw_percent percent = field->percent != GW_PERCENT_DEFAULT ? field->percent : profile->yaml->percent;

	return percent == GW_PERCENT_RATIO || (percent == GW_PERCENT_DEFAULT && profile->format == GW_FORMAT_SENML);
}

static struct gw_rule *
rule_add(struct compiler *c)
{
	struct gw_profile *profile = c->profile;
	struct gw_rule *rules;

	if (profile->rules_count == profile->rules_cap) {
		size_t cap = profile->rules_cap == 0 ? 64 : profile->rules_cap * 2;
		rules = realloc(profile->rules, cap * sizeof(*rules));
		if (rules == NULL) {
			c->error = gw_fail(c->why, GW_E_MEMORY, "out of memory");
			return NULL;
		}
		profile->rules = rules;
		profile->rules_cap = cap;
	}
	return &profile->rules[profile->rules_count++];
}

static bool
make_rule(struct compiler *c, const struct gw_yaml_field *field, const struct gw_signal *signal, const struct gw_rule *ranges)
{
	struct gw_rule *rule = signal != NULL ? rule_add(c) : NULL;

	if (rule == NULL)
		return false;
	*rule = *ranges;
	rule->signal = signal;
	rule->instance = field->instance;
	rule->kind = rule_kind(field, signal);
	rule->ratio = is_ratio(c->profile, field);
	if (field->unit_field != NULL)
		rule->unit_pointer = gw_span_text(field->unit_field);
	rule_unit(c, field, rule);
	return c->error == GW_OK;
}

// Sentinels of the profile and of the field, and the field's values, as ranges in the flat tables.
static struct gw_rule
rule_ranges(struct compiler *c, const struct gw_yaml_field *field)
{
	struct gw_profile *profile = c->profile;
	struct gw_rule ranges = { .sentinels = (uint32_t)profile->sentinels_count, .values = (uint32_t)profile->values_count };

	add_sentinels(c, profile->yaml->sentinels, profile->yaml->sentinels_count);
	add_sentinels(c, field->sentinels, field->sentinels_count);
	add_values(c, field);
	ranges.sentinels_count = (uint32_t)profile->sentinels_count - ranges.sentinels;
	ranges.values_count = (uint32_t)profile->values_count - ranges.values;
	return ranges;
}

// "/{signal}": every signal of the nomenclature under its own name, except where a field is already spelled out.
static void
expand_signals(struct compiler *c, const struct gw_yaml_field *field, const struct gw_rule *ranges)
{
	const char *capture = strstr(field->field, SIGNAL_CAPTURE);
	const struct gw_signal *signal;

	for (size_t i = 0; (signal = gw_signal_at(i)) != NULL && c->error == GW_OK; i++) {
		char name[1200];
		struct gw_entry *entry;
		if (signal->type == GW_VALUE_SAMPLES)
			continue;
		snprintf(name, sizeof(name), "%.*s%s%s", (int)(capture - field->field), field->field, signal->name, capture + strlen(SIGNAL_CAPTURE));
		entry = field_entry(c, name);
		if (entry == NULL || entry->what != GW_WHAT_NOTHING)
			continue;
		entry->what = GW_WHAT_FIELD;
		entry->index = (uint32_t)c->profile->rules_count;
		make_rule(c, field, signal, ranges);
	}
}

static void
compile_field(struct compiler *c, const struct gw_yaml_field *field, bool expanding)
{
	bool expands = strstr(field->field, SIGNAL_CAPTURE) != NULL;
	struct gw_rule ranges;

	if (expands != expanding || c->error != GW_OK)
		return;
	ranges = rule_ranges(c, field);
	if (expands && (field->signal != NULL || field->unit_field != NULL || field->unit != NULL))
		fail(c, field->field, "\"%s\" takes no signal, unit or unit-field of its own", field->field);
	else if (expands)
		expand_signals(c, field, &ranges);
	else if (field->signal == NULL)
		fail(c, field->field, "field \"%s\" needs a signal", field->field);
	else if (make_rule(c, field, signal_named(c, field->signal), &ranges))
		set_entry(c, field->field, GW_WHAT_FIELD, (uint32_t)c->profile->rules_count - 1);
}

static void
compile_unit_field(struct compiler *c, const struct gw_yaml_field *field)
{
	struct gw_entry *entry;

	if (field->unit_field == NULL || c->error != GW_OK)
		return;
	if (c->profile->format != GW_FORMAT_JSON) {
		fail(c, field->unit_field, "unit-field is for format json");
		return;
	}
	entry = pointer_entry(c, field->unit_field); // several values may share one unit
	if (entry != NULL && entry->what != GW_WHAT_NOTHING && entry->what != GW_WHAT_UNIT)
		fail(c, field->unit_field, "\"%s\" stands twice", field->unit_field);
	else if (entry != NULL)
		entry->what = GW_WHAT_UNIT;
}

static void
compile_fields(struct compiler *c)
{
	const struct gw_yaml_profile *yaml = c->profile->yaml;
	size_t sentinels = yaml->sentinels_count, values = 0;

	for (unsigned i = 0; i < yaml->fields_count; i++) {
		sentinels += yaml->sentinels_count + yaml->fields[i].sentinels_count;
		values += yaml->fields[i].values_count;
	}
	c->profile->sentinels = room(c, sentinels, sizeof(struct gw_sentinel));
	c->profile->values = room(c, values, sizeof(struct gw_value_map));
	if (c->error != GW_OK || !entries_grow(c))
		return;
	for (unsigned i = 0; i < yaml->ignore_count && c->error == GW_OK; i++)
		set_entry(c, yaml->ignore[i], GW_WHAT_IGNORE, 0);
	for (unsigned i = 0; i < yaml->fields_count; i++)
		compile_field(c, &yaml->fields[i], false);
	for (unsigned i = 0; i < yaml->fields_count; i++)
		compile_unit_field(c, &yaml->fields[i]);
}

static void
compile_expansions(struct compiler *c)
{
	for (unsigned i = 0; i < c->profile->yaml->fields_count; i++)
		compile_field(c, &c->profile->yaml->fields[i], true);
}

// ---- time, routes, names ----

static void
compile_time(struct compiler *c)
{
	struct gw_profile *profile = c->profile;
	const struct gw_yaml_time *time = profile->yaml->time;
	const char *from = time != NULL ? time->from : profile->format == GW_FORMAT_SENML ? "senml" : "none";

	profile->time_format = time != NULL ? time->format : GW_TIME_ISO8601;
	profile->has_time = strcmp(from, "none") != 0;
	if (profile->has_time && profile->format == GW_FORMAT_JSON)
		set_entry(c, from, GW_WHAT_TIME, 0);
	else if (profile->has_time && !(profile->format == GW_FORMAT_SENML && strcmp(from, "senml") == 0))
		fail(c, from, "time from \"%s\": format json takes a JSON Pointer, senml takes senml, all take none", from);
	if (profile->yaml->sequence != NULL && profile->format != GW_FORMAT_JSON)
		fail(c, "sequence", "sequence is for format json");
	else if (profile->yaml->sequence != NULL && c->error == GW_OK)
		set_entry(c, profile->yaml->sequence, GW_WHAT_SEQUENCE, 0);
	if (time != NULL && time->zone == NULL && time->format == GW_TIME_LOCAL)
		fail(c, "local", "time format local needs a zone");
	if (time != NULL && time->zone != NULL && c->error == GW_OK) {
		struct gw_why zone_why;
		if (gw_zone_open(time->zone, &profile->zone, &zone_why) != GW_OK)
			fail(c, time->zone, "%s", zone_why.text);
	}
}

static void
compile_routes(struct compiler *c)
{
	const struct gw_yaml_profile *yaml = c->profile->yaml;
	size_t count = yaml->routes.mqtt_count + yaml->routes.coap_count;

	c->profile->routes = room(c, count, sizeof(struct gw_route));
	if (c->profile->routes == NULL)
		return;
	for (size_t i = 0; i < count; i++) {
		bool mqtt = i < yaml->routes.mqtt_count;
		const char *text = mqtt ? yaml->routes.mqtt[i] : yaml->routes.coap[i - yaml->routes.mqtt_count];
		if (!gw_route_compile(text, mqtt ? GW_DOOR_MQTT : GW_DOOR_COAP, &c->profile->routes[c->profile->routes_count++]))
			fail(c, text, "route \"%s\": levels are literal or one {capture}, at most %d levels and %d captures", text, GW_LEVELS_MAX,
			    GW_CAPTURES_MAX);
	}
}

static void
compile_names(struct compiler *c)
{
	static char *standard[] = { (char *)(uintptr_t)"{field}" };
	const struct gw_yaml_profile *yaml = c->profile->yaml;
	char **names = yaml->names_count > 0 ? yaml->names : standard;
	unsigned count = yaml->names_count > 0 ? yaml->names_count : 1;

	if (c->profile->format != GW_FORMAT_SENML) {
		if (yaml->names_count > 0)
			fail(c, "names", "names is for format senml");
		return;
	}
	c->profile->names = room(c, count, sizeof(struct gw_name_pattern));
	if (c->profile->names == NULL)
		return;
	for (unsigned i = 0; i < count; i++)
		if (!gw_name_compile(names[i], &c->profile->names[c->profile->names_count++]))
			fail(c, names[i], "name \"%s\": one {field}, and literals between captures", names[i]);
}

enum gw_error
gw_profile_compile(const char *file, struct gw_span text, struct gw_yaml_profile *yaml, struct gw_profile **out, struct gw_why *why)
{
	struct compiler c = { NULL, file, text, why, GW_OK };

	c.profile = room(&c, 1, sizeof(*c.profile));
	if (c.profile == NULL) {
		gw_yaml_profile_free(yaml);
		return c.error;
	}
	c.profile->yaml = yaml;
	c.profile->name = yaml->profile;
	c.profile->description = yaml->description;
	c.profile->format = yaml->format;
	c.profile->unknown = yaml->unknown;
	compile_routes(&c);
	compile_names(&c);
	compile_fields(&c);
	if (c.error == GW_OK)
		compile_time(&c); // before the expansions, which leave what stands alone
	if (c.error == GW_OK)
		compile_expansions(&c);
	if (c.error != GW_OK)
		gw_profile_free(c.profile);
	else
		*out = c.profile;
	return c.error;
}

void
gw_profile_free(struct gw_profile *profile)
{
	if (profile == NULL)
		return;
	for (size_t i = 0; i < profile->owned_count; i++)
		free(profile->owned[i]);
	free(profile->owned);
	gw_zone_free(profile->zone);
	free(profile->routes);
	free(profile->names);
	free(profile->rules);
	free(profile->sentinels);
	free(profile->values);
	free(profile->entries);
	gw_yaml_profile_free(profile->yaml);
	free(profile);
}
