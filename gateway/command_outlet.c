// SPDX-License-Identifier: Apache-2.0
// Commands on outlets: the list with each durable cursor, and what a running outlet does itself: rewinding, parked messages. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/clock.h"
#include "gateway/ledger.h"
#include "gateway/nearest.h"

#include <stdio.h>
#include <string.h>

// ---- outlet list ----

// The running part that serves an outlet: "bus", or "hl7" for "hl7/pdms".
static const struct gw_part *
part_of(const struct gw_parts *parts, const char *outlet, void **instance)
{
	const struct gw_part *part = gw_parts_find(parts, gw_span(outlet, strcspn(outlet, "/")), instance);

	return part != NULL && part->outlet ? part : NULL;
}

static uint64_t
cursor_of(struct gw_span value)
{
	uint64_t position = 0;

	for (size_t i = 0; i < 8 && i < value.len; i++)
		position |= (uint64_t)value.at[i] << (8 * i);
	return position;
}

static bool
list_outlet(void *arg, const char *name, struct gw_span value)
{
	struct gw_call *call = arg;
	uint64_t last = gw_journal_last(call->core->journal), position = cursor_of(value);
	const struct gw_part *part;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;
	void *instance;

	if ((doc = gw_call_object(&object)) == NULL)
		return false;
	yyjson_mut_obj_add_strcpy(doc, object, "outlet", name);
	yyjson_mut_obj_add_uint(doc, object, "cursor", position);
	yyjson_mut_obj_add_uint(doc, object, "behind_records", last > position ? last - position : 0);
	gw_parts_hold(call->parts);
	part = part_of(call->parts, name, &instance);
	yyjson_mut_obj_add_bool(doc, object, "running", part != NULL);
	if (part != NULL)
		part->status(instance, doc, yyjson_mut_obj_add_obj(doc, object, "state"));
	gw_parts_release(call->parts);
	return gw_call_emit(call, doc);
}

enum gw_error
gw_command_outlet_list(struct gw_call *call)
{
	enum gw_error error = gw_outlets_each(call->core->journal, list_outlet, call);

	return error == GW_OK ? GW_OK : gw_fail(call->why, error, "outlets cannot be listed: %s", gw_error_text(error));
}

// ---- rewind ----

// Hands the call to the part, with {"action": "rewind"} beside the arguments.
static enum gw_error
ask_part(struct gw_call *call, const struct gw_part *part, void *instance, const char *action, struct gw_why *reply)
{
	yyjson_mut_doc *copy = yyjson_mut_doc_new(NULL);
	yyjson_doc *arguments = NULL;
	enum gw_error error;

	if (copy != NULL) {
		yyjson_mut_doc_set_root(copy, yyjson_val_mut_copy(copy, call->arguments));
		yyjson_mut_obj_add_str(copy, yyjson_mut_doc_get_root(copy), "action", action);
		arguments = yyjson_mut_doc_imut_copy(copy, NULL);
	}
	error = arguments == NULL ? GW_E_MEMORY : part->command(instance, yyjson_doc_get_root(arguments), reply);
	yyjson_doc_free(arguments);
	yyjson_mut_doc_free(copy);
	if (error == GW_OK)
		return GW_OK;
	return gw_fail(call->why, error, "%s", reply->text[0] != '\0' ? reply->text : gw_error_text(error));
}

static enum gw_error
say_done(struct gw_call *call, const char *words)
{
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = gw_call_object(&object);

	if (doc == NULL)
		return gw_fail(call->why, GW_E_MEMORY, "out of memory");
	gw_json_span(doc, object, "done", gw_span_text(words));
	(void)gw_call_emit(call, doc);
	return GW_OK;
}

// ---- What one outlet does itself ----

// The running outlet of that name, or why there is none: what an outlet has under way is known to its own thread only. The parts are held.
static enum gw_error
running(const struct gw_call *call, const char *name, const struct gw_part **part, void **instance)
{
	const struct gw_part *other;
	struct gw_nearest nearest;
	char hint[160];

	if (name == NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "which outlet?");
	if (call->parts == NULL)
		return gw_fail(call->why, GW_E_NOT_FOUND, "the gateway does not run: start it first");
	*part = part_of(call->parts, name, instance);
	if (*part != NULL && (*part)->command != NULL)
		return GW_OK;
	gw_nearest_init(&nearest, gw_span_text(name));
	for (size_t i = 0; i < call->parts->count; i++) {
		other = call->parts->slots[i].part;
		if (other->outlet)
			gw_nearest_try(&nearest, other->name);
	}
	return gw_fail(call->why, GW_E_NOT_FOUND, "no outlet \"%.60s\" is enabled%s", name, gw_nearest_words(&nearest, hint));
}

static enum gw_error
outlet_command(struct gw_call *call, const char *name, const char *action, const char *words)
{
	struct gw_why reply = { "" };
	const struct gw_part *part;
	enum gw_error error;
	void *instance;

	gw_parts_hold(call->parts);
	error = running(call, name, &part, &instance);
	if (error == GW_OK)
		error = ask_part(call, part, instance, action, &reply);
	gw_parts_release(call->parts);
	if (error == GW_OK)
		error = gw_call_note(call, words);
	return error == GW_OK ? say_done(call, reply.text[0] != '\0' ? reply.text : words) : error;
}

enum gw_error
gw_command_outlet_rewind(struct gw_call *call)
{
	const char *name = gw_call_text(call, "name");
	char words[160], when[40];
	enum gw_error error;
	int64_t to_us;

	if (name == NULL || gw_call_text(call, "to") == NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "which outlet, and --to when?");
	if ((error = gw_call_time(call, "to", 0, &to_us)) != GW_OK)
		return error;
	snprintf(words, sizeof(words), "outlet rewind %.64s to %s", name, gw_time_format(to_us, when));
	return outlet_command(call, name, "rewind", words);
}

static enum gw_error
parked_command(struct gw_call *call, const char *name, const char *action)
{
	const char *number = gw_call_text(call, "number");
	char words[160];

	snprintf(words, sizeof(words), "outlet %s %.64s: parked %.40s", action, name != NULL ? name : "", number != NULL ? number : "all");
	return outlet_command(call, name, action, words);
}

enum gw_error
gw_command_outlet_retry(struct gw_call *call)
{
	return parked_command(call, gw_call_text(call, "name"), "retry");
}

enum gw_error
gw_command_outlet_drop(struct gw_call *call)
{
	return parked_command(call, gw_call_text(call, "name"), "drop");
}

// ---- HL7's own ----

static enum gw_error
hl7_command(struct gw_call *call, const char *action)
{
	const char *destination = gw_call_text(call, "destination");
	char name[96];

	if (destination == NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "which destination?");
	snprintf(name, sizeof(name), "%s%.64s", strncmp(destination, "hl7/", 4) == 0 ? "" : "hl7/", destination);
	return parked_command(call, name, action);
}

enum gw_error
gw_command_hl7_retry(struct gw_call *call)
{
	return hl7_command(call, "retry");
}

enum gw_error
gw_command_hl7_drop(struct gw_call *call)
{
	if (gw_call_text(call, "number") == NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "which message? Say its number, or all");
	return hl7_command(call, "drop");
}

static bool
emit(void *arg, yyjson_mut_doc *doc)
{
	return gw_call_emit(arg, doc);
}

// What the part has to tell, line by line. The parts are held.
static enum gw_error
held_report(struct gw_call *call, const char *action)
{
	yyjson_mut_doc *copy;
	yyjson_doc *arguments = NULL;
	const struct gw_part *part;
	enum gw_error error;
	void *instance;

	if ((error = running(call, "hl7", &part, &instance)) != GW_OK)
		return error;
	if ((copy = yyjson_mut_doc_new(NULL)) != NULL) {
		yyjson_mut_doc_set_root(copy, yyjson_val_mut_copy(copy, call->arguments));
		yyjson_mut_obj_add_str(copy, yyjson_mut_doc_get_root(copy), "action", action);
		arguments = yyjson_mut_doc_imut_copy(copy, NULL);
	}
	error = arguments == NULL || part->report == NULL ? gw_fail(call->why, GW_E_MEMORY, "out of memory")
	    : part->report(instance, yyjson_doc_get_root(arguments), emit, call, call->why);
	yyjson_doc_free(arguments);
	yyjson_mut_doc_free(copy);
	return error;
}

static enum gw_error
hl7_report(struct gw_call *call, const char *action)
{
	enum gw_error error;

	gw_parts_hold(call->parts);
	error = held_report(call, action);
	gw_parts_release(call->parts);
	return error;
}

enum gw_error
gw_command_hl7_list(struct gw_call *call)
{
	return hl7_report(call, "list");
}

enum gw_error
gw_command_hl7_held(struct gw_call *call)
{
	return hl7_report(call, "held");
}

enum gw_error
gw_command_hl7_misfiled(struct gw_call *call)
{
	return hl7_report(call, "misfiled");
}

enum gw_error
gw_command_hl7_show(struct gw_call *call)
{
	return hl7_report(call, "show");
}
