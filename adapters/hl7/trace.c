// SPDX-License-Identifier: Apache-2.0
// A reading's messages, found in the destinations' rows (filed.h). They are in the order of effective times, which lie near the time that the device told or
// near the receive time, unless the device's clock is off by days: only then all rows of the device are looked at.
#include "adapters/hl7/trace.h"

#include "adapters/hl7/filed.h"
#include "gateway/clock.h"
#include "gateway/ledger.h"

#include <stdio.h>

#define HOUR_US (INT64_C(3600) * 1000000)
#define NEAR_US (2 * HOUR_US) // an interval, and what a device's clock is usually off by

struct look {
	struct gw_core *core;
	const struct gw_traced *traced;
	yyjson_mut_doc *doc;
	yyjson_mut_val *array;
	const char *name;                // "hl7/pdms"
	char prefix[GW_ID_MAX + 16];
	size_t found;
	enum gw_error error;
};

static void
add_time(const struct look *look, yyjson_mut_val *object, const char *key, int64_t us)
{
	char text[40];

	if (us != 0)
		yyjson_mut_obj_add_strcpy(look->doc, object, key, gw_time_format(us, text));
}

static yyjson_mut_val *
add_step(const struct look *look, const char *state)
{
	yyjson_mut_val *object = yyjson_mut_arr_add_obj(look->doc, look->array);

	yyjson_mut_obj_add_strcpy(look->doc, object, "outlet", look->name);
	yyjson_mut_obj_add_str(look->doc, object, "state", state);
	return object;
}

const char *
gw_hl7_whose_words(enum gw_whose whose)
{
	switch (whose) {
	case GW_WHOSE_PATIENT: return "a patient";
	case GW_WHOSE_CONFLICT: return "associations contradict each other";
	case GW_WHOSE_UNSURE: return "the clock's uncertainty spans a change";
	case GW_WHOSE_NOBODY: break;
	}
	return "nobody was associated";
}

static void
add_held(const struct look *look, const struct gw_hl7_filed *filed)
{
	yyjson_mut_val *object = add_step(look, gw_hl7_filed_state_name(filed->state));

	add_time(look, object, "at", filed->made_us);
	yyjson_mut_obj_add_str(look->doc, object, "words", gw_hl7_whose_words(filed->owner.whose));
}

static void
add_message(const struct look *look, const struct gw_hl7_filed *filed)
{
	yyjson_mut_val *object = add_step(look, gw_hl7_filed_state_name(filed->state));

	yyjson_mut_obj_add_strcpy(look->doc, object, "message", filed->control_id);
	add_time(look, object, "made", filed->made_us);
	add_time(look, object, "answered", filed->answered_us);
	if (filed->answer[0] != '\0')
		yyjson_mut_obj_add_strcpy(look->doc, object, "answer", filed->answer);
	if (filed->owner.patient != 0)
		yyjson_mut_obj_add_uint(look->doc, object, "patient", filed->owner.patient);
	yyjson_mut_obj_add_str(look->doc, object, "whose", gw_hl7_whose_words(filed->owner.whose));
	if (filed->state == GW_HL7_FILED_WRONG)
		yyjson_mut_obj_add_str(look->doc, object, "words", "for a patient whose it was not");
	if (filed->state == GW_HL7_FILED_CORRECTED)
		yyjson_mut_obj_add_str(look->doc, object, "words", "for a patient whose it was not; corrected by messages of their own");
}

// gw_hl7_filed_fn
static bool
take_filed(void *arg, const struct gw_hl7_filed *filed)
{
	struct look *look = arg;

	for (size_t i = 0; i < filed->count; i++) {
		if (filed->items[i].position != look->traced->position || filed->items[i].place != look->traced->place)
			continue;
		if (filed->state == GW_HL7_FILED_HELD)
			add_held(look, filed);
		else
			add_message(look, filed);
		look->found++;
		break;
	}
	return true;
}

static enum gw_error
find_within(struct look *look, int64_t from_us, int64_t to_us)
{
	return gw_hl7_filed_each(look->core->journal, look->prefix, look->traced->device, from_us, to_us, take_filed, look);
}

static enum gw_error
find_messages(struct look *look)
{
	int64_t told_us = look->traced->reading->time_us, came_us = look->traced->received_us;
	int64_t first_us = told_us < came_us ? told_us : came_us, last_us = told_us < came_us ? came_us : told_us;
	enum gw_error error = GW_OK;

	if (first_us < INT64_MIN / 2 || last_us > INT64_MAX / 2)
		return find_within(look, INT64_MIN, INT64_MAX);
	if (last_us - first_us <= 2 * NEAR_US)
		error = find_within(look, first_us - NEAR_US, last_us + NEAR_US);
	else if ((error = find_within(look, told_us - NEAR_US, told_us + NEAR_US)) == GW_OK && look->found == 0)
		error = find_within(look, came_us - NEAR_US, came_us + NEAR_US);
	if (error == GW_OK && look->found == 0)
		error = find_within(look, INT64_MIN, INT64_MAX);
	return error;
}

// The backlog has a cursor of its own (adapters/hl7/lane.c), as long as there is one.
static bool
in_backlog(const struct look *look)
{
	char name[GW_ID_MAX + 16];
	struct gw_ledger_entry entry;

	snprintf(name, sizeof(name), "%s~backlog", look->name);
	return gw_ledger_find(look->core->journal, name, look->traced->position, &entry) == GW_OK && look->traced->position > entry.cursor;
}

// No message holds it.
static enum gw_error
explain(struct look *look)
{
	int64_t kept_us = gw_clock_wall_us() - gw_ledger_keep_us(look->core->config);
	struct gw_ledger_entry entry;
	yyjson_mut_val *object;
	enum gw_error error = gw_ledger_find(look->core->journal, look->name, look->traced->position, &entry);

	if (error != GW_OK)
		return error;
	if (entry.state == GW_LEDGER_LEFT_OUT) {
		object = add_step(look, "left out");
		add_time(look, object, "at", entry.at_us);
		yyjson_mut_obj_add_str(look->doc, object, "words", gw_gap_words(entry.reason));
	} else if (look->traced->position > entry.cursor || in_backlog(look)) {
		object = add_step(look, "waiting");
		yyjson_mut_obj_add_str(look->doc, object, "words", "in no message yet");
	} else if (look->traced->received_us < kept_us) {
		object = add_step(look, "not known");
		yyjson_mut_obj_add_str(look->doc, object, "words", "the destination is past it; what became of it then is not kept any more");
	} else {
		object = add_step(look, "not sent");
		yyjson_mut_obj_add_str(look->doc, object, "words", "not the one that was chosen of its interval, or not for this destination");
	}
	return GW_OK;
}

// gw_outlet_fn
static bool
look_at(void *arg, const char *name, struct gw_span cursor)
{
	struct look *look = arg;

	(void)cursor;
	if (strncmp(name, "hl7/", 4) != 0 || strchr(name, '~') != NULL)
		return true;
	look->name = name;
	look->found = 0;
	snprintf(look->prefix, sizeof(look->prefix), "outlet/%s/", name);
	if ((look->error = find_messages(look)) == GW_OK && look->found == 0)
		look->error = explain(look);
	return look->error == GW_OK;
}

enum gw_error
gw_hl7_trace(struct gw_core *core, const struct gw_traced *traced, yyjson_mut_doc *doc, yyjson_mut_val *array)
{
	struct look look = { .core = core, .traced = traced, .doc = doc, .array = array };
	enum gw_error error = gw_outlets_each(core->journal, look_at, &look);

	return error != GW_OK ? error : look.error;
}
