// SPDX-License-Identifier: Apache-2.0
// The HL7 outlet: its destinations, each an outlet of its own, from the configuration. Commands name a destination; each is asked by itself.
#include "adapters/hl7/destination.h"
#include "adapters/hl7/erase.h"
#include "adapters/hl7/trace.h"

#include "gateway/ledger.h"
#include "gateway/nearest.h"

#include <stdio.h>
#include <stdlib.h>

struct hl7 {
	struct gw_hl7_settings *settings; // count of them
	struct gw_hl7_destination **destinations;
	size_t count;
};

static bool
hl7_enabled(const struct gw_config *config)
{
	return config->hl7_enabled;
}

// Destinations are checked whether they are enabled or not: enabling them should bring no surprise.
static enum gw_error
hl7_check(const struct gw_config *config, struct gw_why *why)
{
	struct gw_hl7_settings *settings;
	size_t count;
	enum gw_error error = gw_hl7_settings_make(config, 0, &settings, &count, why);

	gw_hl7_settings_free(settings, count);
	return error;
}

// ---- Start, stop, close ----

static void
hl7_stop(void *part)
{
	struct hl7 *hl7 = part;

	for (size_t i = 0; i < hl7->count; i++)
		gw_hl7_destination_stop(hl7->destinations[i]);
}

static void
hl7_close(void *part)
{
	struct hl7 *hl7 = part;

	for (size_t i = 0; i < hl7->count; i++)
		gw_hl7_destination_close(hl7->destinations[i]);
	gw_hl7_settings_free(hl7->settings, hl7->count);
	free(hl7->destinations);
	free(hl7);
}

static enum gw_error
open_all(struct gw_core *core, struct hl7 *hl7, size_t count, struct gw_why *why)
{
	enum gw_error error;

	for (; hl7->count < count; hl7->count++) {
		const struct gw_hl7_destination_options options = { .core = core, .settings = &hl7->settings[hl7->count] };

		if ((error = gw_hl7_destination_open(&options, &hl7->destinations[hl7->count], why)) != GW_OK)
			return error;
	}
	return GW_OK;
}

static enum gw_error
hl7_start(struct gw_core *core, void **part, struct gw_why *why)
{
	struct hl7 *hl7 = calloc(1, sizeof(*hl7));
	enum gw_error error;
	size_t count = 0;

	if (hl7 == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	error = gw_hl7_settings_make(core->config, gw_journal_incarnation(core->journal), &hl7->settings, &count, why);
	if (error == GW_OK && (hl7->destinations = calloc(count + 1, sizeof(struct gw_hl7_destination *))) == NULL)
		error = gw_fail(why, GW_E_MEMORY, "out of memory");
	if (error == GW_OK)
		error = open_all(core, hl7, count, why);
	if (error != GW_OK) {
		hl7_stop(hl7);
		hl7_close(hl7);
		return error;
	}
	*part = hl7;
	return GW_OK;
}

static void
hl7_status(void *part, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct hl7 *hl7 = part;

	for (size_t i = 0; i < hl7->count; i++)
		gw_hl7_destination_status(hl7->destinations[i], doc, yyjson_mut_obj_add_obj(doc, object, hl7->settings[i].name));
}

// ---- Commands ----

// "pdms" or "hl7/pdms"; with one destination "hl7" will do.
static enum gw_error
find(struct hl7 *hl7, const char *name, struct gw_hl7_destination **out, struct gw_why *why)
{
	struct gw_nearest nearest;
	char hint[160];

	if (name != NULL && strncmp(name, "hl7/", 4) == 0)
		name += 4;
	if (hl7->count == 1 && (name == NULL || strcmp(name, "hl7") == 0)) {
		*out = hl7->destinations[0];
		return GW_OK;
	}
	if (name == NULL || strcmp(name, "hl7") == 0)
		return gw_fail(why, GW_E_ARGUMENT, "which destination? There are %zu: see `vitalgate outlet list`", hl7->count);
	gw_nearest_init(&nearest, gw_span_text(name));
	for (size_t i = 0; i < hl7->count; i++) {
		if (strcmp(hl7->settings[i].name, name) == 0) {
			*out = hl7->destinations[i];
			return GW_OK;
		}
		gw_nearest_try(&nearest, hl7->settings[i].name);
	}
	return gw_fail(why, GW_E_NOT_FOUND, "no destination is called \"%.40s\"%.80s", name, gw_nearest_words(&nearest, hint));
}

static const char *
text_of(yyjson_val *arguments, const char *key)
{
	return yyjson_get_str(yyjson_obj_get(arguments, key));
}

// The number of a parked message: digits and nothing else. 0 (for all) where none is given.
static enum gw_error
number_of(yyjson_val *arguments, uint64_t *number, struct gw_why *why)
{
	const char *text = text_of(arguments, "number");

	*number = 0;
	if (text == NULL || strcmp(text, "all") == 0)
		return GW_OK;
	if (text[0] == '\0' || strlen(text) > 18 || strspn(text, "0123456789") != strlen(text) || (*number = strtoull(text, NULL, 10)) == 0)
		return gw_fail(why, GW_E_ARGUMENT, "\"%.24s\" is no number of a message: see `vitalgate hl7 list`", text);
	return GW_OK;
}

// {"action": "retry" | "drop", "destination": "pdms", "number": "12"}; without a number all parked messages. `outlet retry hl7/pdms` says "name".
static enum gw_error
hl7_command(void *part, yyjson_val *arguments, struct gw_why *reply)
{
	const char *action = text_of(arguments, "action"), *name = text_of(arguments, "destination");
	struct gw_hl7_destination *destination;
	enum gw_error error;
	uint64_t number;

	if ((error = find(part, name != NULL ? name : text_of(arguments, "name"), &destination, reply)) != GW_OK ||
	    (error = number_of(arguments, &number, reply)) != GW_OK)
		return error;
	if (action != NULL && strcmp(action, "retry") == 0)
		return gw_hl7_destination_retry(destination, number, reply);
	if (action != NULL && strcmp(action, "drop") == 0)
		return gw_hl7_destination_drop(destination, number, reply);
	return gw_fail(reply, GW_E_ARGUMENT, "an HL7 destination knows retry and drop; what was acknowledged is not sent again");
}

// Of one destination, or of all.
static const struct {
	const char *action;
	enum gw_error (*list)(struct gw_hl7_destination *destination, gw_report_fn *line, void *arg, struct gw_why *why);
} lists[] = {
	{ "list", gw_hl7_destination_list }, { "held", gw_hl7_destination_held }, { "misfiled", gw_hl7_destination_misfiled },
};

// {"action": one of these or "show", "destination": ..., "number": ...}, or {"action": "of", "patients": [numbers]}
static enum gw_error
hl7_report(void *part, yyjson_val *arguments, gw_report_fn *line, void *arg, struct gw_why *why)
{
	const char *action = text_of(arguments, "action"), *name = text_of(arguments, "destination");
	struct gw_hl7_destination *destination;
	struct hl7 *hl7 = part;
	enum gw_error error;
	uint64_t number;

	if ((error = number_of(arguments, &number, why)) != GW_OK)
		return error;
	for (size_t k = 0; k < hl7->count && strcmp(action, "of") == 0; k++)
		if ((error = gw_hl7_destination_of(hl7->destinations[k], yyjson_obj_get(arguments, "patients"), line, arg, why)) != GW_OK)
			return error;
	if (strcmp(action, "of") == 0)
		return GW_OK;
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		if (strcmp(action, lists[i].action) != 0)
			continue;
		for (size_t k = 0; k < hl7->count && name == NULL && error == GW_OK; k++)
			error = lists[i].list(hl7->destinations[k], line, arg, why);
		if (name != NULL && (error = find(hl7, name, &destination, why)) == GW_OK)
			error = lists[i].list(destination, line, arg, why);
		return error;
	}
	if ((error = find(hl7, name, &destination, why)) != GW_OK)
		return error;
	return gw_hl7_destination_show(destination, number, line, arg, why);
}

// ---- Erasing ----

struct erasing {
	struct hl7 *hl7; // NULL: the part does not run
	struct gw_erasure *erasure;
	struct gw_why *why;
	enum gw_error error;
};

// gw_outlet_fn: every destination that ever had a cursor has its rows, whether it runs or is in the configuration.
static bool
erase_one(void *arg, const char *name, struct gw_span cursor)
{
	struct erasing *erasing = arg;
	struct gw_hl7_destination *running = NULL;

	(void)cursor;
	if (strncmp(name, "hl7/", 4) != 0 || strchr(name, '~') != NULL)
		return true;
	for (size_t i = 0; erasing->hl7 != NULL && i < erasing->hl7->count; i++)
		if (strcmp(erasing->hl7->settings[i].name, name + 4) == 0)
			running = erasing->hl7->destinations[i];
	if (running != NULL && !erasing->erasure->dry)
		erasing->error = gw_hl7_destination_erase(running, erasing->erasure, erasing->why);
	else if ((erasing->error = gw_hl7_erase_rows(name + 4, erasing->erasure, NULL)) != GW_OK)
		(void)gw_fail(erasing->why, erasing->error, "HL7 destination %s: %s", name + 4, gw_error_text(erasing->error));
	return erasing->error == GW_OK;
}

static enum gw_error
hl7_erase(struct gw_core *core, void *part, struct gw_erasure *erasure, struct gw_why *why)
{
	struct erasing erasing = { .hl7 = part, .erasure = erasure, .why = why };
	enum gw_error error = gw_outlets_each(core->journal, erase_one, &erasing);

	return error == GW_OK ? erasing.error : gw_fail(why, error, "HL7 destinations: %s", gw_error_text(error));
}

const struct gw_part gw_hl7_part = {
	.name = "hl7",
	.outlet = true,
	.enabled = hl7_enabled,
	.sections = (const char *const[]){ "hl7", NULL },
	.check = hl7_check,
	.start = hl7_start,
	.stop = hl7_stop,
	.close = hl7_close,
	.status = hl7_status,
	.command = hl7_command,
	.report = hl7_report,
	.trace = gw_hl7_trace,
	.erase = hl7_erase,
};
