// SPDX-License-Identifier: Apache-2.0
// Commands on outlets: the list with each durable cursor, rewinding, and what one outlet does itself. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/clock.h"
#include "gateway/nearest.h"

#include <stdio.h>
#include <string.h>

// ---- outlet list ----

// "outlet/<name>/cursor" -> name; false for another row.
static bool
outlet_name(struct gw_span key, char *name, size_t cap)
{
	static const char head[] = "outlet/", tail[] = "/cursor";
	size_t ends = sizeof(head) - 1 + sizeof(tail) - 1;

	if (key.len <= ends || memcmp(key.at + key.len - (sizeof(tail) - 1), tail, sizeof(tail) - 1) != 0)
		return false;
	snprintf(name, cap, "%.*s", (int)(key.len - ends), (const char *)key.at + sizeof(head) - 1);
	return true;
}

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
list_row(void *arg, struct gw_span key, struct gw_span value)
{
	struct gw_call *call = arg;
	uint64_t last = gw_journal_last(call->core->journal), position = cursor_of(value);
	const struct gw_part *part;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;
	char name[128];
	void *instance;

	if (!outlet_name(key, name, sizeof(name)))
		return true;
	if ((doc = gw_call_object(&object)) == NULL)
		return false;
	yyjson_mut_obj_add_strcpy(doc, object, "outlet", name);
	yyjson_mut_obj_add_uint(doc, object, "cursor", position);
	yyjson_mut_obj_add_uint(doc, object, "behind_records", last > position ? last - position : 0);
	part = part_of(call->parts, name, &instance);
	yyjson_mut_obj_add_bool(doc, object, "running", part != NULL);
	if (part != NULL)
		part->status(instance, doc, yyjson_mut_obj_add_obj(doc, object, "state"));
	return gw_call_emit(call, doc);
}

enum gw_error
gw_command_outlet_list(struct gw_call *call)
{
	enum gw_error error = gw_journal_each(call->core->journal, gw_span_text("outlet/"), gw_span("", 0), list_row, call);

	return error == GW_OK ? GW_OK : gw_fail(call->why, error, "outlets cannot be listed: %s", gw_error_text(error));
}

// ---- rewind ----

struct names {
	struct gw_nearest nearest;
	const char *wanted;
	bool found;
	char only[128]; // "hl7/pdms" for a wanted "hl7"
};

static bool
look_at_name(void *arg, struct gw_span key, struct gw_span value)
{
	struct names *names = arg;
	char name[128];

	(void)value;
	if (!outlet_name(key, name, sizeof(name)))
		return true;
	gw_nearest_try(&names->nearest, name);
	names->found |= strcmp(name, names->wanted) == 0;
	if (strncmp(name, names->wanted, strlen(names->wanted)) == 0 && name[strlen(names->wanted)] == '/')
		memcpy(names->only, name, sizeof(name));
	return true;
}

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

// A ticket of this call's own: one row (or none) and the record of who did it.
static enum gw_error
commit_record(struct gw_call *call, struct gw_span key, struct gw_span value, const char *words)
{
	struct gw_source source;
	struct gw_ticket *ticket;
	enum gw_error error;

	if ((error = gw_source_init(&source, call->core->intake, 1)) != GW_OK)
		return gw_fail(call->why, error, "%s", gw_error_text(error));
	ticket = gw_ticket_get(&source);
	error = ticket == NULL ? GW_E_MEMORY : key.len > 0 ? gw_ticket_put(ticket, key, value) : GW_OK;
	if (error == GW_OK)
		error = gw_call_record(call, ticket, gw_span("", 0), "%s", words);
	if (error == GW_OK) {
		ticket->essential = true;
		error = gw_intake_commit(ticket);
	}
	if (ticket != NULL)
		gw_ticket_release(ticket);
	gw_source_fini(&source);
	return error == GW_OK ? GW_OK : gw_fail(call->why, error, "%s could not be stored: %s", words, gw_error_text(error));
}

// Nobody follows: the row alone decides where the outlet goes on.
static enum gw_error
rewind_row(struct gw_call *call, const char *name, int64_t to_us, const char *words)
{
	char key[160], text[64];
	uint8_t value[8];
	uint64_t position;
	enum gw_error error;

	if ((error = gw_journal_seek(call->core->journal, to_us, &position)) != GW_OK)
		return gw_fail(call->why, error, "the journal cannot be read: %s", gw_error_text(error));
	position = position > 0 ? position - 1 : 0;
	for (size_t i = 0; i < 8; i++)
		value[i] = (uint8_t)(position >> (8 * i));
	snprintf(key, sizeof(key), GW_CURSOR_KEY_FMT, name);
	if ((error = commit_record(call, gw_span_text(key), gw_span(value, sizeof(value)), words)) != GW_OK)
		return error;
	snprintf(text, sizeof(text), "%.30s goes on after position %llu", name, (unsigned long long)position);
	return say_done(call, text);
}

enum gw_error
gw_command_outlet_rewind(struct gw_call *call)
{
	const char *name = gw_call_text(call, "name");
	struct names names = { .wanted = name };
	char hint[160], words[160], when[40];
	struct gw_why reply = { "" };
	const struct gw_part *part;
	enum gw_error error;
	void *instance;
	int64_t to_us;

	if (name == NULL || gw_call_text(call, "to") == NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "which outlet, and --to when?");
	if ((error = gw_call_time(call, "to", 0, &to_us)) != GW_OK)
		return error;
	snprintf(words, sizeof(words), "outlet rewind %.64s to %s", name, gw_time_format(to_us, when));
	part = part_of(call->parts, name, &instance);
	if (part != NULL && part->command != NULL) {
		error = ask_part(call, part, instance, "rewind", &reply);
		if (error == GW_OK)
			error = commit_record(call, gw_span("", 0), gw_span("", 0), words);
		return error == GW_OK ? say_done(call, reply.text[0] != '\0' ? reply.text : words) : error;
	}
	gw_nearest_init(&names.nearest, gw_span_text(name));
	error = gw_journal_each(call->core->journal, gw_span_text("outlet/"), gw_span("", 0), look_at_name, &names);
	if (error != GW_OK || (!names.found && names.only[0] == '\0'))
		return gw_fail(call->why, GW_E_NOT_FOUND, "there is no outlet \"%.64s\"%s", name, gw_nearest_words(&names.nearest, hint));
	return rewind_row(call, names.found ? name : names.only, to_us, words);
}

// ---- What one outlet does itself ----

static enum gw_error
outlet_command(struct gw_call *call, const char *name, const char *action, bool changes)
{
	const char *id = gw_call_text(call, "id");
	struct gw_why reply = { "" };
	const struct gw_part *part;
	enum gw_error error;
	char words[128];
	void *instance;

	if (name == NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "which outlet?");
	part = part_of(call->parts, name, &instance);
	if (call->parts == NULL)
		return gw_fail(call->why, GW_E_NOT_FOUND, "the gateway does not run: start it first");
	if (part == NULL || part->command == NULL)
		return gw_fail(call->why, GW_E_NOT_FOUND, "no outlet \"%.60s\" is enabled in the configuration", name);
	error = ask_part(call, part, instance, action, &reply);
	snprintf(words, sizeof(words), "outlet %.40s: %s parked %.40s", name, action, id != NULL ? id : "messages");
	if (error == GW_OK && changes)
		error = commit_record(call, gw_span("", 0), gw_span("", 0), words);
	return error == GW_OK ? say_done(call, reply.text[0] != '\0' ? reply.text : "done") : error;
}

enum gw_error
gw_command_outlet_retry(struct gw_call *call)
{
	return outlet_command(call, gw_call_text(call, "name"), "retry", true);
}

enum gw_error
gw_command_outlet_drop(struct gw_call *call)
{
	return outlet_command(call, gw_call_text(call, "name"), "drop", true);
}

enum gw_error
gw_command_hl7_parked(struct gw_call *call)
{
	return outlet_command(call, "hl7", "parked", false);
}

enum gw_error
gw_command_hl7_retry(struct gw_call *call)
{
	return outlet_command(call, "hl7", "retry", true);
}

enum gw_error
gw_command_hl7_drop(struct gw_call *call)
{
	return outlet_command(call, "hl7", "drop", true);
}
