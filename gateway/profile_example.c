// SPDX-License-Identifier: Apache-2.0
// A payload that a profile takes, made from its own tables: for lines to paste when a device is added. Pure; any thread.
#include "gateway/profile_table.h"

#include "gateway/decode.h"
#include "gateway/text_out.h"

#include <string.h>

// What a person would type for this signal.
static const char *
example_value(const struct gw_signal *signal)
{
	static const char *const usual[][2] = {
		{ "heart_rate", "72" }, { "pulse_rate", "72" }, { "pulse_rate_spo2", "72" }, { "spo2", "98" }, { "respiration_rate", "14" },
		{ "temperature", "36.6" }, { "temperature_body", "36.6" }, { "nibp_systolic", "120" }, { "nibp_diastolic", "80" },
	};

	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++) {
		if (strcmp(usual[i][0], signal->name) == 0)
			return usual[i][1];
	}
	return "1";
}

// The first rule whose signal is one that everybody knows, else the first with a number, else the first.
static const struct gw_rule *
example_rule(const struct gw_profile *profile)
{
	const struct gw_rule *number = NULL;

	for (size_t i = 0; i < profile->rules_count; i++) {
		const struct gw_signal *signal = profile->rules[i].signal;

		if (profile->format == GW_FORMAT_SENML ? strcmp(signal->name, "temperature_body") == 0 : strcmp(example_value(signal), "1") != 0)
			return &profile->rules[i];
		if (number == NULL && signal->type == GW_VALUE_DECIMAL)
			number = &profile->rules[i];
	}
	return number != NULL ? number : profile->rules_count > 0 ? &profile->rules[0] : NULL;
}

static const struct gw_entry *
entry_of(const struct gw_profile *profile, enum gw_what what, uint32_t index)
{
	for (uint32_t i = 0; i <= profile->entries_mask; i++) {
		if (profile->entries[i].what == what && profile->entries[i].index == index)
			return &profile->entries[i];
	}
	return NULL;
}

// {"a":{"b":36.6}} for a field /a/b
static void
put_json_field(const struct gw_profile *profile, const struct gw_entry *field, const char *value, struct gw_text_out *out)
{
	const struct gw_entry *chain[8] = { field };
	size_t depth = 1;

	while (depth < 8 && chain[depth - 1] != NULL && chain[depth - 1]->parent != GW_ROOT) {
		chain[depth] = entry_of(profile, GW_WHAT_CONTAINER, chain[depth - 1]->parent);
		depth++;
	}
	for (size_t i = depth; i-- > 0;) {
		gw_put_text(out, "{");
		gw_put_json(out, chain[i] != NULL ? chain[i]->name : gw_span("", 0));
		gw_put_text(out, ":");
	}
	gw_put_text(out, value);
	for (size_t i = 0; i < depth; i++)
		gw_put_text(out, "}");
}

size_t
gw_profile_example(const struct gw_profile *profile, char *out, size_t cap, uint32_t *content_format, const struct gw_signal **signal)
{
	static const uint32_t formats[] = { [GW_FORMAT_JSON] = GW_CF_JSON, [GW_FORMAT_SENML] = GW_CF_SENML_JSON, [GW_FORMAT_TEXT] = GW_CF_TEXT };
	const struct gw_rule *rule = example_rule(profile);
	struct gw_text_out to = { out, cap > 0 ? cap - 1 : 0, 0 };
	const struct gw_entry *field;

	if (rule == NULL || cap == 0)
		return 0;
	*content_format = formats[profile->format];
	*signal = rule->signal;
	field = entry_of(profile, GW_WHAT_FIELD, (uint32_t)(rule - profile->rules));
	if (profile->format == GW_FORMAT_TEXT)
		gw_put_text(&to, example_value(rule->signal));
	else if (profile->format == GW_FORMAT_JSON && field != NULL)
		put_json_field(profile, field, example_value(rule->signal), &to);
	else if (profile->format == GW_FORMAT_SENML) {
		gw_put_text(&to, "[{\"n\":");
		gw_put_json(&to, field != NULL ? field->name : gw_span_text(rule->signal->name));
		if (strcmp(rule->signal->name, "temperature_body") == 0)
			gw_put_text(&to, ",\"u\":\"Cel\"");
		gw_put_text(&to, ",\"v\":");
		gw_put_text(&to, example_value(rule->signal));
		gw_put_text(&to, "}]");
	}
	if (to.len > to.cap)
		return 0;
	out[to.len] = '\0';
	return to.len;
}
