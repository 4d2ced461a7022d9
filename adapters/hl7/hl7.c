// SPDX-License-Identifier: Apache-2.0
// The HL7 outlet: its destinations, each an outlet of its own, from the configuration.
#include "adapters/hl7/destination.h"
#include "adapters/hl7/trace.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#define DESTINATIONS_MAX 1 // the configuration has one section
#define BACKOFF_MS_MIN 1000
#define BACKOFF_MS_MAX 60000

struct hl7 {
	struct gw_hl7_destination *destinations[DESTINATIONS_MAX];
	const char *names[DESTINATIONS_MAX];
	size_t count;
};

static bool
hl7_enabled(const struct gw_config *config)
{
	return config->hl7_enabled;
}

// ---- From the configuration ----

// IEEE: without one that was assigned, an identifier of our own has the "local" bit set and the "group" bit not.
static enum gw_error
set_eui64(struct gw_hl7_sender *sender, const char *text, struct gw_why *why)
{
	uint64_t own = (sender->incarnation | 0x0200000000000000u) & ~0x0100000000000000u;

	if (text[0] == '\0') {
		snprintf(sender->eui64, sizeof(sender->eui64), "%016llX", (unsigned long long)own);
		return GW_OK;
	}
	if (strlen(text) != 16 || strspn(text, "0123456789abcdefABCDEF") != 16)
		return gw_fail(why, GW_E_CONFIG, "hl7.gateway_eui64 must be 16 hex digits");
	for (size_t i = 0; i < 17; i++)
		sender->eui64[i] = (char)toupper((unsigned char)text[i]);
	return GW_OK;
}

// It becomes part of the store's keys.
static bool
good_name(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len <= 32 && strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == len;
}

static enum gw_error
options_of(struct gw_core *core, struct gw_hl7_destination_options *options, struct gw_why *why)
{
	const struct gw_config *config = core->config;

	if (!good_name(config->hl7_name))
		return gw_fail(why, GW_E_CONFIG, "hl7.name must be 1 to 32 letters, digits, '-', '_' or '.'");
	if (strcmp(config->hl7_select, "last") != 0 && strcmp(config->hl7_select, "all") != 0)
		return gw_fail(why, GW_E_CONFIG, "hl7.select must be last or all, not \"%s\"", config->hl7_select);
	*options = (struct gw_hl7_destination_options){
		.core = core,
		.sender = {
			.incarnation = gw_journal_incarnation(core->journal),
			.destination = config->hl7_name,
			.application = config->hl7_sending_application,
			.facility = config->hl7_sending_facility,
			.receiving_application = config->hl7_receiving_application,
			.receiving_facility = config->hl7_receiving_facility,
			.production = config->hl7_production,
			.all = strcmp(config->hl7_select, "all") == 0,
		},
		.host = config->hl7_host,
		.port = (int)config->hl7_port,
		.interval_us = config->hl7_interval_s * 1000000,
		.answer_ms_max = (int)config->hl7_answer_s_max * 1000,
		.backoff_ms_min = BACKOFF_MS_MIN,
		.backoff_ms_max = BACKOFF_MS_MAX,
		.retries_max = (unsigned)config->hl7_retries_max,
		.outbox_max = (uint64_t)config->hl7_outbox_max,
		.parked_max = (uint64_t)config->hl7_parked_max,
		.backlog_us_max = config->hl7_backlog_h_max * 3600 * 1000000,
		.backlog_bytes_max = (uint64_t)config->store_budget_mb * (1 << 20) / 100 * (uint64_t)config->hl7_backlog_percent_max,
	};
	return set_eui64(&options->sender, config->hl7_gateway_eui64, why);
}

// ---- The part ----

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
	free(hl7);
}

static enum gw_error
hl7_start(struct gw_core *core, void **part, struct gw_why *why)
{
	struct hl7 *hl7 = calloc(1, sizeof(*hl7));
	struct gw_hl7_destination_options options;
	enum gw_error error;

	if (hl7 == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	if ((error = options_of(core, &options, why)) != GW_OK ||
	    (error = gw_hl7_destination_open(&options, &hl7->destinations[0], why)) != GW_OK) {
		free(hl7);
		return error;
	}
	hl7->names[0] = options.sender.destination;
	hl7->count = 1;
	*part = hl7;
	return GW_OK;
}

static void
hl7_status(void *part, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct hl7 *hl7 = part;

	for (size_t i = 0; i < hl7->count; i++)
		gw_hl7_destination_status(hl7->destinations[i], doc, yyjson_mut_obj_add_obj(doc, object, hl7->names[i]));
}

// {"action": "parked" | "retry" | "drop", "name": "hl7/pdms", "id": "12"}: without a destination all of them, without an id all messages.
static enum gw_error
hl7_command(void *part, yyjson_val *arguments, struct gw_why *reply)
{
	struct hl7 *hl7 = part;
	const char *action = yyjson_get_str(yyjson_obj_get(arguments, "action"));
	const char *id = yyjson_get_str(yyjson_obj_get(arguments, "id"));
	uint64_t number = id != NULL ? strtoull(id, NULL, 10) : 0;

	if (action == NULL || (id != NULL && number == 0))
		return gw_fail(reply, GW_E_ARGUMENT, "which message? See the numbers of `vitalgate status`");
	for (size_t i = 0; i < hl7->count; i++) {
		if (strcmp(action, "parked") == 0)
			return gw_hl7_destination_parked(hl7->destinations[i], reply);
		if (strcmp(action, "retry") == 0)
			return gw_hl7_destination_retry(hl7->destinations[i], number, reply);
		if (strcmp(action, "drop") == 0)
			return gw_hl7_destination_drop(hl7->destinations[i], number, reply);
	}
	return gw_fail(reply, GW_E_ARGUMENT, "an HL7 destination knows parked, retry and drop; what was acknowledged is not sent again");
}

const struct gw_part gw_hl7_part = {
	.name = "hl7",
	.outlet = true,
	.enabled = hl7_enabled,
	.start = hl7_start,
	.stop = hl7_stop,
	.close = hl7_close,
	.status = hl7_status,
	.command = hl7_command,
	.trace = gw_hl7_trace,
};
