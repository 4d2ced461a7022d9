// SPDX-License-Identifier: Apache-2.0
// Commands and the series store (gateway/command_series.h). The command's thread.
#include "gateway/command_series.h"

#include "gateway/command_patient.h"
#include "gateway/nearest.h"
#include "gateway/series_outlet.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FOLLOW_US 2000         // between looks whether the store has followed
#define FOLLOW_US_MAX 10000000

// ---- The store ----

void
gw_held_series_init(struct gw_held_series *held, struct gw_call *call)
{
	*held = (struct gw_held_series){ .call = call, .upto = gw_journal_last(call->core->journal) };
}

static enum gw_error
open_own(struct gw_held_series *held)
{
	struct gw_core *core = held->call->core;
	enum gw_error error = gw_series_open_config(core->config, true, &held->store, held->call->why);

	if (error == GW_E_NOT_FOUND)
		return gw_fail(held->call->why, error, "there is no series store yet: it is made when the gateway runs with series.enabled");
	if (error != GW_OK)
		return error;
	held->own = true;
	held->rebuilding = gw_series_rebuilding(core->config);
	return gw_series_catch_up(held->store, core->journal, held->call->why);
}

void
gw_held_series_release(struct gw_held_series *held)
{
	if (!held->held)
		return;
	gw_parts_release(held->call->parts);
	held->held = false;
	held->store = NULL;
}

static enum gw_error
hold_running(struct gw_held_series *held)
{
	const struct gw_config *config = held->call->core->config;
	bool rebuilding;

	gw_parts_hold(held->call->parts);
	held->held = true;
	rebuilding = gw_series_rebuilding(config);
	if ((held->store = gw_series_running()) != NULL) {
		held->had = true;
		held->rebuilding |= rebuilding;
		return GW_OK;
	}
	if (held->had || rebuilding)
		return gw_fail(held->call->why, GW_E_BUSY, "the series store was closed meanwhile, and is not open again (see `vitalgate status`): the answer is not whole");
	return gw_fail(held->call->why, GW_E_NOT_FOUND, "the series store does not run: series.enabled is false, or it could not be opened (see `vitalgate status`); "
	    "`vitalgate readings` has what the journal holds");
}

static bool
is_following(const struct gw_held_series *held)
{
	return gw_series_taken(held->store) < held->upto && !held->behind;
}

// One that cannot follow does not hold up the answer for long; there is a note then.
enum gw_error
gw_held_series_hold(struct gw_held_series *held)
{
	enum gw_error error;

	if (held->own)
		return GW_OK;
	if (held->call->parts == NULL)
		return open_own(held);
	while (((error = hold_running(held)) == GW_OK ? is_following(held) : error == GW_E_BUSY && held->waited_us < FOLLOW_US_MAX) && !gw_call_ending(held->call)) {
		held->behind = error == GW_OK && held->waited_us >= FOLLOW_US_MAX;
		gw_held_series_release(held);
		usleep(FOLLOW_US);
		held->waited_us += FOLLOW_US;
	}
	return error;
}

void
gw_held_series_fini(struct gw_held_series *held, bool good)
{
	gw_held_series_release(held);
	if (held->behind && good)
		gw_call_note_aside(held->call, 0, "the newest readings may be missing: the series store is behind the journal (see `vitalgate status`)");
	if (held->rebuilding && good)
		gw_call_note_aside(held->call, 0, "older readings may be missing: the series store is being rebuilt (where that was cut off, `vitalgate rebuild` goes on)");
	if (held->own)
		gw_series_close(held->store);
}

// ---- What is said ----

void
gw_call_note_aside(struct gw_call *call, uint64_t left_out, const char *words)
{
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = gw_call_object(&object);
	char text[200];

	if (doc == NULL)
		return;
	if (left_out > 0)
		snprintf(text, sizeof(text), "%llu %s", (unsigned long long)left_out, words);
	yyjson_mut_obj_add_strcpy(doc, object, "note", left_out > 0 ? text : words);
	if (left_out > 0)
		yyjson_mut_obj_add_uint(doc, object, "left_out", left_out);
	(void)gw_call_emit(call, doc);
}

void
gw_call_note_unsure(struct gw_call *call, uint64_t left_out, uint64_t doubted)
{
	char words[180];

	if (left_out == 0)
		return;
	if (doubted == 0)
		snprintf(words, sizeof(words), "readings were left out: measured so near to a change that before and after cannot be told apart (--unsure shows them)");
	else if (doubted == left_out)
		snprintf(words, sizeof(words), "readings were left out: the device's clock was not sure then, and a change lies between (--unsure shows them)");
	else
		snprintf(words, sizeof(words), "readings were left out: of %llu the device's clock was not sure, %llu were measured too near to a change (--unsure shows them)",
		    (unsigned long long)doubted, (unsigned long long)(left_out - doubted));
	gw_call_note_aside(call, left_out, words);
}

// Whether the registry has it, with words where it does not.
static bool
is_registered(struct gw_call *call, const char *id, char words[200])
{
	const struct gw_snapshot *snapshot = gw_snapshot_get(call->core->registry);
	bool known = gw_snapshot_device(snapshot, gw_span_text(id)) != NULL;
	const struct gw_device *device;
	struct gw_nearest nearest;
	char hint[160];

	gw_nearest_init(&nearest, gw_span_text(id));
	for (size_t i = 0; !known && (device = gw_snapshot_at(snapshot, i)) != NULL; i++)
		gw_nearest_try(&nearest, device->id);
	gw_snapshot_put(snapshot);
	if (!known)
		snprintf(words, 200, "nothing is stored of a device \"%.64s\", and the registry has none%s", id, gw_nearest_words(&nearest, hint));
	return known;
}

void
gw_call_note_nothing(struct gw_call *call)
{
	const char *device = gw_call_text(call, "device");
	char words[200];

	gw_call_note_aside(call, 0, device != NULL && !is_registered(call, device, words) ? words : "no reading fits");
}

// ---- What is asked for ----

// "90s", "15m", "1h", "1d": whole ones. 0: none.
static enum gw_error
take_step(struct gw_call *call, int64_t *step_us)
{
	static const struct { char unit; int64_t us; } units[] = { { 's', 1000000 }, { 'm', 60000000 }, { 'h', INT64_C(3600000000) }, { 'd', INT64_C(86400000000) } };
	const char *text = gw_call_text(call, "step");
	char *after;
	long long number;

	*step_us = 0;
	if (text == NULL)
		return GW_OK;
	number = strtoll(text, &after, 10);
	for (size_t i = 0; i < 4; i++)
		if (number > 0 && number <= 100000 && after[0] == units[i].unit && after[1] == '\0')
			*step_us = number * units[i].us;
	if (*step_us > 0)
		return GW_OK;
	return gw_fail(call->why, GW_E_ARGUMENT, "--step is a length of time such as 10s, 1m, 15m, 1h or 1d, not \"%.40s\"", text);
}

// A script's empty variable is no question about everything.
enum gw_error
gw_call_named(struct gw_call *call)
{
	static const char *const names[] = { "device", "bed", "ward", "patient" };
	const char *text;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if ((text = gw_call_text(call, names[i])) != NULL && text[0] == '\0')
			return gw_fail(call->why, GW_E_ARGUMENT, "--%s is empty", names[i]);
	return GW_OK;
}

enum gw_error
gw_call_want(struct gw_call *call, bool one, struct gw_series_want *want)
{
	const char *device = gw_call_text(call, "device"), *bed = gw_call_text(call, "bed"), *patient = gw_call_text(call, "patient");
	struct gw_identifier identifier;
	int64_t limit = 0;
	enum gw_error error = gw_call_named(call);

	if (error != GW_OK)
		return error;
	if ((device != NULL) + (bed != NULL) + (patient != NULL) > 1 || (one && device == NULL && bed == NULL && patient == NULL))
		return gw_fail(call->why, GW_E_ARGUMENT, "one of --device, --bed and --patient");
	*want = (struct gw_series_want){ .device = gw_span_text(device), .bed = gw_span_text(bed), .signals = gw_span_text(gw_call_text(call, "signal")),
		.unsure = gw_call_flag(call, "unsure") };
	if ((error = gw_call_time(call, "from", INT64_MIN, &want->from_us)) != GW_OK ||
	    (error = gw_call_time(call, "to", INT64_MAX, &want->to_us)) != GW_OK ||
	    (error = gw_call_number(call, "limit", 1, INT64_MAX, 0, &limit)) != GW_OK || (error = take_step(call, &want->step_us)) != GW_OK)
		return error;
	want->limit = (uint64_t)limit;
	if (patient == NULL)
		return GW_OK;
	gw_identifier_parse(patient, &identifier);
	return gw_patients_find(call->core->patients, &identifier, &want->patient, call->why);
}
