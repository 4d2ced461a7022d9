// SPDX-License-Identifier: Apache-2.0
// Commands on quarantine: frames that were refused for their content. Replay puts a frame through the very line that it came by; its readings and
// its leaving quarantine are one commit. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/bytes.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void
add_head(const struct gw_quarantined *entry, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	yyjson_mut_obj_add_uint(doc, object, "id", entry->id);
	gw_json_time(doc, object, "received", entry->received_us);
	yyjson_mut_obj_add_str(doc, object, "door", gw_door_name(entry->door));
	yyjson_mut_obj_add_str(doc, object, "auth", gw_auth_name(entry->auth));
	gw_json_span(doc, object, "principal", entry->principal);
	gw_json_span(doc, object, "route", entry->route);
	yyjson_mut_obj_add_str(doc, object, "error", gw_error_name(entry->error));
	gw_json_span(doc, object, "reason", entry->reason);
	if (entry->content_format != GW_CF_NONE)
		yyjson_mut_obj_add_uint(doc, object, "content_format", entry->content_format);
	yyjson_mut_obj_add_uint(doc, object, "bytes", entry->payload.len);
}

static bool
list_entry(void *arg, const struct gw_quarantined *entry)
{
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = gw_call_object(&object);

	if (doc == NULL)
		return false;
	add_head(entry, doc, object);
	return gw_call_emit(arg, doc);
}

static enum gw_error
read_failed(const struct gw_call *call, enum gw_error error)
{
	return error == GW_OK ? GW_OK : gw_fail(call->why, error, "quarantine cannot be read: %s", gw_error_text(error));
}

enum gw_error
gw_command_quarantine_list(struct gw_call *call)
{
	return read_failed(call, gw_quarantine_each(call->core->journal, 0, list_entry, call));
}

// ---- One entry, copied out ----

struct kept {
	uint64_t wanted;
	bool found;
	struct gw_quarantined entry; // spans into bytes
	char principal[GW_ID_MAX + 1];
	uint8_t *bytes;
};

static bool
keep_entry(void *arg, const struct gw_quarantined *entry)
{
	struct kept *kept = arg;
	uint8_t *at;

	if (entry->id != kept->wanted)
		return false;
	kept->bytes = malloc(entry->route.len + entry->reason.len + entry->payload.len + 1);
	if (kept->bytes == NULL)
		return false;
	kept->found = true;
	kept->entry = *entry;
	snprintf(kept->principal, sizeof(kept->principal), "%.*s", GW_SPAN_FMT(entry->principal));
	kept->entry.principal = gw_span_text(kept->principal);
	at = kept->bytes;
	kept->entry.route.at = at;
	kept->entry.reason.at = at = gw_put_bytes(at, entry->route.at, entry->route.len);
	kept->entry.payload.at = at = gw_put_bytes(at, entry->reason.at, entry->reason.len);
	gw_put_bytes(at, entry->payload.at, entry->payload.len);
	return false;
}

static enum gw_error
keep(const struct gw_call *call, uint64_t id, struct kept *kept)
{
	enum gw_error error;

	*kept = (struct kept){ .wanted = id };
	error = read_failed(call, gw_quarantine_each(call->core->journal, id, keep_entry, kept));
	if (error != GW_OK || kept->found)
		return error;
	return gw_fail(call->why, GW_E_NOT_FOUND, "quarantine has no entry %llu", (unsigned long long)id);
}

static enum gw_error
id_of(const struct gw_call *call, uint64_t *id)
{
	const char *text = gw_call_text(call, "id");
	char *end;

	if (text == NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "which entry? (see: vitalgate quarantine list)");
	errno = 0;
	*id = strtoull(text, &end, 10);
	if (end == text || *end != '\0' || errno != 0 || text[0] == '-')
		return gw_fail(call->why, GW_E_ARGUMENT, "an entry is a number, not \"%.40s\"", text);
	return GW_OK;
}

static void
add_payload(const struct gw_quarantined *entry, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	char *hex;

	if (gw_span_is_text(entry->payload)) {
		yyjson_mut_obj_add_strncpy(doc, object, "payload", (const char *)entry->payload.at, entry->payload.len);
		return;
	}
	hex = malloc(entry->payload.len * 2 + 1);
	if (hex == NULL)
		return;
	sodium_bin2hex(hex, entry->payload.len * 2 + 1, entry->payload.at, entry->payload.len);
	yyjson_mut_obj_add_strcpy(doc, object, "payload_hex", hex);
	free(hex);
}

enum gw_error
gw_command_quarantine_show(struct gw_call *call)
{
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;
	enum gw_error error;
	struct kept kept;
	uint64_t id;

	if ((error = id_of(call, &id)) != GW_OK || (error = keep(call, id, &kept)) != GW_OK)
		return error;
	if ((doc = gw_call_object(&object)) != NULL) {
		add_head(&kept.entry, doc, object);
		add_payload(&kept.entry, doc, object);
		(void)gw_call_emit(call, doc);
	}
	free(kept.bytes);
	return GW_OK;
}

// ---- replay and drop: one entry, or all that are there when the command comes ----

struct work {
	struct gw_call *call;
	struct gw_source source;
	struct gw_line *line; // replay only
	uint64_t *ids;
	size_t count, cap;
};

static bool
gather(void *arg, const struct gw_quarantined *entry)
{
	struct work *work = arg;
	uint64_t *more;

	if (work->count == work->cap) {
		work->cap = work->cap == 0 ? 256 : work->cap * 2;
		more = realloc(work->ids, work->cap * sizeof(*more));
		if (more == NULL)
			return false;
		work->ids = more;
	}
	work->ids[work->count++] = entry->id;
	return true;
}

static enum gw_error
choose(struct work *work)
{
	const char *text = gw_call_text(work->call, "id");

	if (text != NULL && strcmp(text, "all") == 0)
		return read_failed(work->call, gw_quarantine_each(work->call->core->journal, 0, gather, work));
	work->ids = malloc(sizeof(*work->ids));
	if (work->ids == NULL)
		return gw_fail(work->call->why, GW_E_MEMORY, "out of memory");
	work->count = 1;
	return id_of(work->call, work->ids);
}

static void
say(struct gw_call *call, uint64_t id, const char *result, const struct gw_ticket *ticket, const char *words)
{
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = gw_call_object(&object);

	if (doc == NULL)
		return;
	yyjson_mut_obj_add_uint(doc, object, "quarantined", id);
	yyjson_mut_obj_add_str(doc, object, "result", result);
	if (ticket != NULL) {
		yyjson_mut_obj_add_uint(doc, object, "readings", ticket->stored);
		yyjson_mut_obj_add_uint(doc, object, "duplicates", ticket->duplicates);
	}
	if (words != NULL)
		gw_json_span(doc, object, "why", gw_span_text(words));
	(void)gw_call_emit(call, doc);
}

// What the line made of the frame is in the ticket. A frame of which a part is still not understood comes to lie in quarantine anew, with today's reason.
static enum gw_error
replay_ticket(struct work *work, const struct kept *kept, struct gw_ticket *ticket)
{
	struct gw_frame frame = {
		.door = kept->entry.door, .auth = kept->entry.auth, .principal = kept->principal, .route = kept->entry.route,
		.payload = kept->entry.payload, .content_format = kept->entry.content_format, .received_us = kept->entry.received_us,
	};
	enum gw_error error;

	gw_line_take(work->line, &frame, ticket);
	ticket->again = true;
	if (ticket->verdict != GW_OK) {
		say(work->call, kept->entry.id, "refused again", NULL, ticket->why.text[0] != '\0' ? ticket->why.text : gw_error_text(ticket->verdict));
		return GW_OK;
	}
	error = gw_ticket_unquarantine(ticket, kept->entry.id);
	if (error == GW_OK)
		error = gw_call_record(work->call, ticket, gw_span("", 0), "quarantine replay %llu", (unsigned long long)kept->entry.id);
	if (error == GW_OK)
		error = gw_intake_commit(ticket);
	if (error != GW_OK)
		return gw_fail(work->call->why, error, "entry %llu: %s", (unsigned long long)kept->entry.id, gw_error_text(error));
	say(work->call, kept->entry.id, ticket->quarantined ? "taken in part" : "taken", ticket, ticket->quarantined ? ticket->why.text : NULL);
	return GW_OK;
}

static enum gw_error
ask_held_door(struct work *work, uint64_t id, struct gw_why *reply)
{
	void *instance = NULL;
	const struct gw_part *part = gw_parts_find(work->call->parts, gw_span_text("hl7_in"), &instance);
	yyjson_mut_val *object;
	yyjson_mut_doc *question;
	yyjson_doc *arguments;
	char text[24];
	enum gw_error error;

	if (part == NULL)
		return gw_fail(reply, GW_E_NOT_FOUND, "an HL7 message is replayed by the running gateway, with hl7_in.enabled");
	if ((question = gw_call_object(&object)) == NULL)
		return gw_fail(reply, GW_E_MEMORY, "out of memory");
	snprintf(text, sizeof(text), "%llu", (unsigned long long)id);
	yyjson_mut_obj_add_str(question, object, "action", "replay");
	yyjson_mut_obj_add_str(question, object, "id", text);
	arguments = yyjson_mut_doc_imut_copy(question, NULL);
	error = arguments != NULL ? part->command(instance, yyjson_doc_get_root(arguments), reply) : gw_fail(reply, GW_E_MEMORY, "out of memory");
	yyjson_doc_free(arguments);
	yyjson_mut_doc_free(question);
	return error;
}

// Messages of hospital systems are no frames of devices: the door that refused one takes it again, or not.
static enum gw_error
ask_door(struct work *work, uint64_t id, struct gw_why *reply)
{
	enum gw_error error;

	gw_parts_hold(work->call->parts);
	error = ask_held_door(work, id, reply);
	gw_parts_release(work->call->parts);
	return error;
}

// Recorded after the fact, which is durable by then.
static enum gw_error
replay_message(struct work *work, uint64_t id, struct gw_ticket *ticket)
{
	struct gw_why reply = { "" };
	enum gw_error error = ask_door(work, id, &reply);

	if (error != GW_OK) {
		say(work->call, id, "refused again", NULL, reply.text);
		return GW_OK;
	}
	error = gw_call_record(work->call, ticket, gw_span("", 0), "quarantine replay %llu", (unsigned long long)id);
	if (error == GW_OK)
		error = gw_intake_commit(ticket);
	if (error != GW_OK)
		return gw_fail(work->call->why, error, "entry %llu was taken, which is not on record: %s", (unsigned long long)id, gw_error_text(error));
	say(work->call, id, "taken", NULL, reply.text);
	return GW_OK;
}

static enum gw_error
replay_one(struct work *work, uint64_t id, struct gw_ticket *ticket)
{
	enum gw_error error;
	struct kept kept;

	if ((error = keep(work->call, id, &kept)) != GW_OK)
		return error;
	error = kept.entry.door == GW_DOOR_HL7 ? replay_message(work, id, ticket) : replay_ticket(work, &kept, ticket);
	free(kept.bytes);
	return error;
}

static enum gw_error
drop_one(struct work *work, uint64_t id, struct gw_ticket *ticket)
{
	enum gw_error error;
	struct kept kept;

	if ((error = keep(work->call, id, &kept)) != GW_OK)
		return error;
	ticket->essential = true;
	error = gw_ticket_unquarantine(ticket, id);
	if (error == GW_OK)
		error = gw_call_record(work->call, ticket, gw_span("", 0), "quarantine drop %llu (%zu bytes of %s)", (unsigned long long)id,
		    kept.entry.payload.len, kept.principal);
	free(kept.bytes);
	if (error == GW_OK)
		error = gw_intake_commit(ticket);
	if (error != GW_OK)
		return gw_fail(work->call->why, error, "entry %llu: %s", (unsigned long long)id, gw_error_text(error));
	say(work->call, id, "dropped", NULL, NULL);
	return GW_OK;
}

static enum gw_error
do_each(struct gw_call *call, enum gw_error (*one)(struct work *work, uint64_t id, struct gw_ticket *ticket), struct gw_line *line)
{
	struct work work = { .call = call, .line = line };
	bool all = gw_call_text(call, "id") != NULL && strcmp(gw_call_text(call, "id"), "all") == 0;
	struct gw_ticket *ticket;
	enum gw_error error;

	error = gw_source_init(&work.source, call->core->intake, 1);
	if (error != GW_OK)
		return gw_fail(call->why, error, "%s", gw_error_text(error));
	error = choose(&work);
	for (size_t i = 0; i < work.count && error == GW_OK && !gw_call_ending(call); i++) {
		ticket = gw_ticket_get(&work.source);
		error = ticket != NULL ? one(&work, work.ids[i], ticket) : GW_E_MEMORY;
		if (ticket != NULL)
			gw_ticket_release(ticket);
		if (all && error == GW_E_NOT_FOUND)
			error = GW_OK; // another command was faster
	}
	free(work.ids);
	gw_source_fini(&work.source);
	return error;
}

enum gw_error
gw_command_quarantine_drop(struct gw_call *call)
{
	return do_each(call, drop_one, NULL);
}

enum gw_error
gw_command_quarantine_replay(struct gw_call *call)
{
	struct gw_line_options options = { .registry = call->core->registry, .profiles = call->core->profiles, .payload_bytes_max = GW_RECORD_MAX,
		.again = true };
	struct gw_line *line = gw_line_new(&options);
	enum gw_error error;

	if (line == NULL)
		return gw_fail(call->why, GW_E_MEMORY, "out of memory");
	error = do_each(call, replay_one, line);
	gw_line_free(line);
	return error;
}
