// SPDX-License-Identifier: Apache-2.0
// What a destination's settings choose: signals, intervals, which readings. Pure but for the grouper's table of choices, which is filled as signals come.
#include "adapters/hl7/group_impl.h"

#include "gateway/hash.h"

#include <string.h>

bool
gw_hl7_matches(const char *pattern, struct gw_span name)
{
	size_t len = strlen(pattern);

	if (len > 0 && pattern[len - 1] == '*')
		return name.len >= len - 1 && memcmp(name.at, pattern, len - 1) == 0;
	return name.len == len && memcmp(name.at, pattern, len) == 0;
}

bool
gw_hl7_any_matches(const char *const *patterns, size_t count, struct gw_span name)
{
	for (size_t i = 0; i < count; i++)
		if (gw_hl7_matches(patterns[i], name))
			return true;
	return false;
}

// Pressures: systolic, diastolic and mean follow their unspecified form in steps of one (IEEE 11073-10101, terms 0x4A00 to 0x4BFF of partition 2).
static uint32_t
choice_of(uint32_t signal)
{
	return signal >> 16 == 2 && (signal & 0xffff) >= 0x4a00 && (signal & 0xffff) < 0x4c00 ? signal & ~3u : signal;
}

uint64_t
gw_hl7_choice_of(const struct gw_reading *reading)
{
	return reading->kind != GW_KIND_EVENT ? (uint64_t)choice_of(reading->signal) << 16 | reading->instance : 0;
}

// A rule for one pressure of a measurement is a rule for all of them.
static bool
rule_fits(const struct gw_hl7_signal_rule *rule, const struct gw_signal *signal)
{
	uint32_t base = choice_of(signal->code), last = choice_of(base + 1) == base ? base + 3 : base;

	if (gw_hl7_matches(rule->signal, gw_span_text(signal->name)))
		return true;
	for (uint32_t code = base; code <= last; code++) {
		const struct gw_signal *other = gw_signal_by_code(code);

		// A waveform has the code of the unspecified form, and is no part of a measurement.
		if (other != NULL && other != signal && (other->type == GW_VALUE_SAMPLES) == (signal->type == GW_VALUE_SAMPLES) &&
		    gw_hl7_matches(rule->signal, gw_span_text(other->name)))
			return true;
	}
	return false;
}

void
gw_hl7_select(const struct gw_hl7_settings *settings, const struct gw_signal *signal, uint8_t kind, uint8_t type, struct gw_hl7_selection *selection)
{
	bool event = kind == GW_KIND_EVENT, episodic = event || signal->spot;

	*selection = (struct gw_hl7_selection){ .wanted = true, .select = episodic ? GW_HL7_EVERY : settings->select,
		.interval_us = episodic ? 0 : settings->interval_us };
	if (settings->signals != NULL)
		selection->wanted = gw_hl7_any_matches(settings->signals, settings->signal_count, gw_span_text(signal->name));
	for (size_t i = 0; i < settings->rule_count; i++) {
		const struct gw_hl7_signal_rule *rule = &settings->rules[i];

		if (!rule_fits(rule, signal))
			continue;
		// A spot measurement that a rule gives an interval is one of the others.
		selection->select = rule->has_select ? rule->select : signal->spot && rule->has_interval ? settings->select : selection->select;
		selection->interval_us = rule->has_interval ? rule->interval_us : selection->interval_us;
		break;
	}
	if (type == GW_VALUE_SAMPLES || event)
		selection->select = GW_HL7_EVERY; // blocks of a waveform follow each other, and each event happened
	selection->own_time = selection->select == GW_HL7_EVERY || selection->interval_us == 0;
}

static size_t
class_of(const struct class *classes, size_t count, int64_t interval_us, bool waves)
{
	size_t i = 0;

	while (i < count && (classes[i].interval_us != interval_us || classes[i].waves != waves))
		i++;
	return i;
}

enum gw_error
gw_hl7_classes_of(const struct gw_hl7_settings *settings, struct class *classes, size_t *count, struct gw_why *why)
{
	*count = 0;
	for (size_t i = 0; i < 2 * (settings->rule_count + 2); i++) {
		const struct gw_hl7_signal_rule *rule = i / 2 >= 2 ? &settings->rules[i / 2 - 2] : NULL;
		int64_t interval_us = rule != NULL ? rule->interval_us : i / 2 == 0 ? settings->interval_us : 0;
		bool waves = i % 2 == 1;

		if ((rule != NULL && !rule->has_interval) || (waves && !settings->waveforms) || class_of(classes, *count, interval_us, waves) < *count)
			continue;
		if (*count == GW_HL7_CLASSES_MAX)
			return gw_fail(why, GW_E_CONFIG, "HL7 destination %s: more than %d different intervals", settings->name,
			    GW_HL7_CLASSES_MAX / (settings->waveforms ? 2 : 1) - 1);
		classes[(*count)++] = (struct class){ .interval_us = interval_us, .waves = waves };
	}
	return GW_OK;
}

enum gw_error
gw_hl7_group_settings(const struct gw_hl7_settings *settings, struct gw_why *why)
{
	struct class classes[GW_HL7_CLASSES_MAX];
	size_t count;

	return gw_hl7_classes_of(settings, classes, &count, why);
}

static void
fill(const struct gw_hl7_grouper *grouper, const struct gw_reading *reading, struct choice *choice)
{
	const struct gw_hl7_settings *settings = grouper->options.settings;
	const struct gw_signal *signal = gw_signal_by_code(reading->signal);
	struct gw_hl7_selection selection;

	if (signal == NULL) {
		choice->class = LEFT_UNKNOWN;
		return;
	}
	gw_hl7_select(settings, signal, reading->kind, reading->type, &selection);
	choice->select = (uint8_t)selection.select;
	choice->own_time = selection.own_time;
	if (reading->type == GW_VALUE_SAMPLES && !settings->waveforms)
		choice->class = LEFT_SAMPLES;
	else if (!selection.wanted)
		choice->class = LEFT_FILTERED;
	else
		choice->class = (uint8_t)class_of(grouper->classes, grouper->class_count, selection.interval_us, reading->type == GW_VALUE_SAMPLES);
}

// Signals that are not in the nomenclature have one place together, so that nobody can fill the table.
const struct choice *
gw_hl7_choose(struct gw_hl7_grouper *grouper, const struct gw_reading *reading)
{
	static const struct choice unknown = { .class = LEFT_UNKNOWN };
	uint64_t key = ((uint64_t)reading->signal << 8 | reading->kind << 1 | (reading->type == GW_VALUE_SAMPLES)) + 1;
	size_t at = (size_t)gw_hash_mix(key) & (CHOICES - 1), tried = 0;
	struct choice made = { .key = key };

	for (; grouper->choices[at].key != 0; at = (at + 1) & (CHOICES - 1), tried++)
		if (grouper->choices[at].key == key)
			return &grouper->choices[at];
	fill(grouper, reading, &made);
	if (made.class == LEFT_UNKNOWN || tried > CHOICES / 2)
		return &unknown;
	grouper->choices[at] = made;
	return &grouper->choices[at];
}

bool
gw_hl7_ward_wanted(const struct gw_hl7_settings *settings, struct gw_span device, const char *bed, gw_hl7_ward_fn *registered, void *arg)
{
	size_t len = strcspn(bed, "^");
	char ward[GW_BED_MAX + 1] = "";

	if (settings->wards == NULL || (len > 0 && gw_hl7_any_matches(settings->wards, settings->ward_count, gw_span(bed, len))))
		return true;
	if (bed[len] == '^' || registered == NULL)
		return false;
	registered(arg, device, ward);
	return gw_hl7_any_matches(settings->wards, settings->ward_count, gw_span_text(ward));
}
