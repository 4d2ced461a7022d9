// SPDX-License-Identifier: Apache-2.0
// `trace`: the ledger of a reading, one line each: when and how it came, its place in the journal, and what every outlet did with it, as the parts
// tell from their rows. It holds no value, no name and no patient's identifier: it may be shown to anybody who looks for a fault, and asking for
// it is not recorded. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/clock.h"
#include "gateway/command_search.h"

#define LIMIT 100
#define LATELY_US (INT64_C(15) * 60 * 1000000)

struct trace {
	struct gw_call *call;
	enum gw_error error; // of a part
};

static void
add_head(struct gw_call *call, const struct gw_traced *traced, const struct gw_batch *batch, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	const struct gw_reading *reading = traced->reading;
	const struct gw_signal *signal = gw_signal_by_code(reading->signal);
	char id[GW_READING_ID_MAX];

	gw_reading_id(gw_journal_incarnation(call->core->journal), traced->device, reading, id);
	yyjson_mut_obj_add_strcpy(doc, object, "id", id);
	gw_json_span(doc, object, "device", traced->device);
	if (signal != NULL)
		yyjson_mut_obj_add_strcpy(doc, object, "signal", signal->name);
	yyjson_mut_obj_add_uint(doc, object, "mdc", reading->signal);
	yyjson_mut_obj_add_uint(doc, object, "instance", reading->instance);
	gw_json_time(doc, object, "time", reading->time_us);
	yyjson_mut_obj_add_bool(doc, object, "device_time", !(reading->flags & GW_FLAG_NO_DEVICE_TIME));
	if (reading->revision > 0)
		yyjson_mut_obj_add_uint(doc, object, "revision", reading->revision);
	gw_json_time(doc, object, "received", traced->received_us);
	yyjson_mut_obj_add_str(doc, object, "door", gw_door_name(batch->head.door));
	gw_json_span(doc, object, "principal", batch->head.principal);
	yyjson_mut_obj_add_str(doc, object, "auth", gw_auth_name(batch->head.auth));
	gw_json_span(doc, object, "route", batch->head.route);
	gw_json_span(doc, object, "profile", batch->head.profile);
	yyjson_mut_obj_add_uint(doc, object, "position", traced->position);
	yyjson_mut_obj_add_uint(doc, object, "place", traced->place + 1u);
	yyjson_mut_obj_add_uint(doc, object, "readings", batch->count);
}

// Outlets see committed records only: by the earliest time of any step it was durable.
static void
add_committed(const struct gw_traced *traced, yyjson_mut_doc *doc, yyjson_mut_val *object, yyjson_mut_val *outlets)
{
	static const char *const keys[] = { "at", "made" };
	int64_t by_us = INT64_MAX, us;
	yyjson_mut_val *one;
	size_t i, max;

	yyjson_mut_arr_foreach(outlets, i, max, one) {
		for (size_t k = 0; k < 2; k++) {
			const char *text = yyjson_mut_get_str(yyjson_mut_obj_get(one, keys[k]));

			if (text != NULL && gw_time_parse(text, &us) == 0 && us < by_us)
				by_us = us;
		}
	}
	if (by_us != INT64_MAX && by_us >= traced->received_us) // else the clock was set meanwhile
		gw_json_time(doc, object, "committed_by", by_us);
}

static enum gw_error
ask_parts(struct gw_core *core, const struct gw_traced *traced, yyjson_mut_doc *doc, yyjson_mut_val *outlets)
{
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < core->part_count && error == GW_OK; i++)
		if (core->parts[i]->trace != NULL)
			error = core->parts[i]->trace(core, traced, doc, outlets);
	return error;
}

// gw_search_fn
static bool
trace_reading(void *arg, const struct gw_record *record, const struct gw_batch *batch, const struct gw_reading *reading, uint16_t place)
{
	struct trace *trace = arg;
	const struct gw_traced traced = { batch->head.device, record->position, place, batch->head.received_us, reading };
	yyjson_mut_val *object, *outlets;
	yyjson_mut_doc *doc = gw_call_object(&object);

	if (doc == NULL) {
		trace->error = GW_E_MEMORY;
		return false;
	}
	add_head(trace->call, &traced, batch, doc, object);
	outlets = yyjson_mut_arr(doc);
	if ((trace->error = ask_parts(trace->call->core, &traced, doc, outlets)) != GW_OK) {
		yyjson_mut_doc_free(doc);
		return false;
	}
	add_committed(&traced, doc, object, outlets);
	yyjson_mut_obj_add_val(doc, object, "outlets", outlets);
	return gw_call_emit(trace->call, doc) && !gw_call_ending(trace->call);
}

enum gw_error
gw_command_trace(struct gw_call *call)
{
	struct trace trace = { .call = call };
	struct gw_search search;
	int64_t until_us;
	enum gw_error error = gw_call_time(call, "to", gw_clock_wall_us(), &until_us);

	if (error == GW_OK)
		error = gw_search_init(&search, call, gw_call_text(call, "id") != NULL ? INT64_MIN : until_us - LATELY_US, LIMIT);
	if (error != GW_OK)
		return error;
	error = gw_search_run(&search, trace_reading, &trace);
	if (trace.error != GW_OK)
		return gw_fail(call->why, trace.error, "what became of it cannot be read: %s", gw_error_text(trace.error));
	return error;
}
