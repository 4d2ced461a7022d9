// SPDX-License-Identifier: Apache-2.0
// `patient export` (GDPR Article 15): all that is kept of one patient as JSON lines, each with "about": who and where when, readings, messages, frames and messages in
// quarantine, orders with the timeline; the last line counts them, and is missing where it was cut off. They are the reply, or go into the pipe that came with the
// request (a file, with the rights of who asks), and the reply tells how far it is. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/clock.h"
#include "gateway/command_patient.h"
#include "gateway/command_pipe.h"
#include "gateway/erase.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE_BYTES (64u * 1024)
#define TELL_EVERY_US 500000

struct exporting {
	struct gw_call *call;
	char *piece;       // NULL: lines are the reply
	size_t piece_len;
	uint64_t put_lines, put_bytes;
	int64_t began_us, told_us;
	struct gw_erasure whose; // only to tell what is his
	const char *about;
	uint64_t *counted;
	uint64_t associations, readings, messages, quarantine, notes;
	char **lines;      // gathered while a part is held
	size_t line_count, line_cap;
	enum gw_error error;
};

// ---- Lines ----

static bool
tell(struct exporting *exporting, const char *key)
{
	int64_t now_us = gw_clock_mono_us();
	yyjson_mut_val *root, *object;
	yyjson_mut_doc *doc = gw_call_object(&root);

	exporting->told_us = now_us;
	if (doc == NULL)
		return true;
	object = yyjson_mut_obj_add_obj(doc, root, key);
	yyjson_mut_obj_add_uint(doc, object, "lines", exporting->put_lines);
	yyjson_mut_obj_add_uint(doc, object, "bytes", exporting->put_bytes);
	yyjson_mut_obj_add_uint(doc, object, "took_ms", (uint64_t)(now_us - exporting->began_us) / 1000);
	return gw_call_emit(exporting->call, doc);
}

static bool
flush(struct exporting *exporting)
{
	size_t taken = 0;

	if (exporting->error == GW_OK)
		exporting->error = gw_call_pipe_write(exporting->call, exporting->piece, exporting->piece_len, true, &taken);
	exporting->put_bytes += taken;
	exporting->piece_len = 0;
	if (exporting->error == GW_OK && gw_call_flag(exporting->call, "progress") && gw_clock_mono_us() - exporting->told_us > TELL_EVERY_US &&
	    !tell(exporting, "progress"))
		exporting->error = GW_E_STOPPING;
	return exporting->error == GW_OK;
}

static bool
put_bytes(struct exporting *exporting, const char *at, size_t len)
{
	while (len > 0) {
		size_t part = PIECE_BYTES - exporting->piece_len < len ? PIECE_BYTES - exporting->piece_len : len;

		memcpy(exporting->piece + exporting->piece_len, at, part);
		exporting->piece_len += part;
		at += part;
		len -= part;
		if (exporting->piece_len == PIECE_BYTES && !flush(exporting))
			return false;
	}
	return true;
}

static bool
write_line(struct exporting *exporting, const char *line, size_t len)
{
	exporting->put_lines++;
	if (exporting->piece == NULL)
		return exporting->call->line(exporting->call->arg, line, len);
	return put_bytes(exporting, line, len) && put_bytes(exporting, "\n", 1);
}

// {"about":"reading",...the line's own members}
static bool
put(struct exporting *exporting, const char *text, size_t len)
{
	bool note = len > 8 && memcmp(text, "{\"note\":", 8) == 0, wanted = false;
	const char *about = note ? "note" : exporting->about;
	char *line = len > 2 && text[0] == '{' ? malloc(len + 64) : NULL;

	if (line == NULL)
		return len <= 2;
	wanted = write_line(exporting, line, (size_t)sprintf(line, "{\"about\":\"%s\",%.*s", about, (int)len - 1, text + 1));
	free(line);
	*(note ? &exporting->notes : exporting->counted) += 1;
	return wanted && !gw_call_ending(exporting->call);
}

static bool
put_line(void *arg, const char *text, size_t len)
{
	return put(arg, text, len);
}

static bool
put_document(void *arg, yyjson_mut_doc *doc)
{
	size_t len = 0;
	char *text = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, &len);
	bool wanted = text != NULL && put(arg, text, len);

	free(text);
	yyjson_mut_doc_free(doc);
	return wanted;
}

// Another command with the patient as its argument, its lines among ours.
static enum gw_error
ask(struct exporting *exporting, gw_command_fn *command, const char *about, uint64_t *counted)
{
	struct gw_call sub = *exporting->call;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = gw_call_object(&object);
	yyjson_doc *arguments;
	enum gw_error error = GW_E_MEMORY;

	if (doc == NULL)
		return error;
	yyjson_mut_obj_add_strcpy(doc, object, "patient", gw_call_text(exporting->call, "patient"));
	yyjson_mut_obj_add_str(doc, object, "from", "1970-01-01T00:00:00Z");
	if (gw_call_flag(exporting->call, "unsure"))
		yyjson_mut_obj_add_bool(doc, object, "unsure", true);
	arguments = yyjson_mut_doc_imut_copy(doc, NULL);
	sub.arguments = yyjson_doc_get_root(arguments);
	sub.line = put_line;
	sub.arg = exporting;
	exporting->about = about;
	exporting->counted = counted;
	if (arguments != NULL)
		error = command(&sub);
	yyjson_doc_free(arguments);
	yyjson_mut_doc_free(doc);
	return error;
}

// ---- Messages ----

static bool
gather(void *arg, yyjson_mut_doc *doc)
{
	struct exporting *exporting = arg;
	char *text = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, NULL);

	yyjson_mut_doc_free(doc);
	if (exporting->line_count == exporting->line_cap) {
		size_t cap = exporting->line_cap == 0 ? 256 : exporting->line_cap * 2;
		char **more = realloc(exporting->lines, cap * sizeof(*more));

		if (more == NULL) {
			free(text);
			text = NULL;
		} else {
			exporting->lines = more;
			exporting->line_cap = cap;
		}
	}
	if (text == NULL) {
		exporting->error = GW_E_MEMORY;
		return false;
	}
	exporting->lines[exporting->line_count++] = text;
	return true;
}

static void
put_gathered(struct exporting *exporting)
{
	bool wanted = true;

	for (size_t i = 0; i < exporting->line_count; i++) {
		wanted = wanted && put(exporting, exporting->lines[i], strlen(exporting->lines[i]));
		free(exporting->lines[i]);
	}
	free(exporting->lines);
}

static enum gw_error
ask_outlets(struct exporting *exporting)
{
	const struct gw_parts *parts = exporting->call->parts;
	void *instance = NULL;
	yyjson_mut_val *object, *list;
	yyjson_mut_doc *doc = gw_call_object(&object);
	const struct gw_part *part;
	yyjson_doc *arguments = NULL;
	enum gw_error error = GW_OK;

	if (doc == NULL)
		return GW_E_MEMORY;
	yyjson_mut_obj_add_str(doc, object, "action", "of");
	list = yyjson_mut_obj_add_arr(doc, object, "patients");
	for (size_t i = 0; i < exporting->whose.patient_count; i++)
		yyjson_mut_arr_add_uint(doc, list, exporting->whose.patients[i]);
	exporting->about = "message";
	exporting->counted = &exporting->messages;
	gw_parts_hold(parts);
	if ((part = gw_parts_find(parts, gw_span_text("hl7"), &instance)) != NULL && (arguments = yyjson_mut_doc_imut_copy(doc, NULL)) != NULL)
		error = part->report(instance, yyjson_doc_get_root(arguments), gather, exporting, exporting->call->why);
	gw_parts_release(parts);
	put_gathered(exporting);
	yyjson_doc_free(arguments);
	yyjson_mut_doc_free(doc);
	return error == GW_OK ? exporting->error : error;
}

// ---- Quarantine ----

static bool
take_entry(void *arg, const struct gw_quarantined *entry)
{
	struct exporting *exporting = arg;
	enum gw_belongs belongs = gw_erasure_quarantined(&exporting->whose, entry);
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;

	if (belongs == GW_BELONGS_NOT || (belongs == GW_BELONGS_UNSURE && !gw_call_flag(exporting->call, "unsure")))
		return true;
	if ((doc = gw_call_object(&object)) == NULL)
		return false;
	yyjson_mut_obj_add_uint(doc, object, "quarantined", entry->id);
	gw_json_time(doc, object, "received", entry->received_us);
	yyjson_mut_obj_add_str(doc, object, "door", gw_door_name(entry->door));
	gw_json_span(doc, object, "principal", entry->principal);
	gw_json_span(doc, object, "route", entry->route);
	gw_json_span(doc, object, "reason", entry->reason);
	gw_json_span(doc, object, "payload", entry->payload);
	if (belongs == GW_BELONGS_UNSURE)
		yyjson_mut_obj_add_bool(doc, object, "unsure", true);
	return put_document(exporting, doc);
}

// ---- All of it ----

static enum gw_error
emit_counts(struct exporting *exporting)
{
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = gw_call_object(&object);
	size_t len = 0;
	char *text;

	if (doc == NULL)
		return GW_E_MEMORY;
	yyjson_mut_obj_add_str(doc, object, "about", "end");
	yyjson_mut_obj_add_uint(doc, object, "associations", exporting->associations);
	yyjson_mut_obj_add_uint(doc, object, "readings", exporting->readings);
	yyjson_mut_obj_add_uint(doc, object, "messages", exporting->messages);
	yyjson_mut_obj_add_uint(doc, object, "quarantine", exporting->quarantine);
	text = yyjson_mut_write(doc, 0, &len);
	yyjson_mut_doc_free(doc);
	if (text == NULL)
		return GW_E_MEMORY;
	(void)write_line(exporting, text, len);
	free(text);
	if (exporting->piece != NULL && flush(exporting))
		(void)tell(exporting, "exported");
	return exporting->error;
}

static enum gw_error
run(struct exporting *exporting)
{
	struct gw_call *call = exporting->call;
	enum gw_error error = ask(exporting, gw_command_patient_show, "association", &exporting->associations);

	if (error == GW_OK)
		error = ask(exporting, gw_command_query, "reading", &exporting->readings);
	if (error == GW_E_NOT_FOUND) // no series store
		error = GW_OK;
	if (error == GW_OK)
		error = ask_outlets(exporting);
	exporting->about = "quarantine";
	exporting->counted = &exporting->quarantine;
	if (error == GW_OK)
		error = gw_quarantine_each(call->core->journal, 0, take_entry, exporting);
	if (error == GW_OK)
		error = exporting->error;
	return error == GW_OK ? emit_counts(exporting) : error;
}

static enum gw_error
open_pipe(struct exporting *exporting)
{
	enum gw_error error;

	if (!exporting->call->has_data_fd)
		return GW_OK;
	if ((error = gw_call_pipe(exporting->call)) != GW_OK)
		return error;
	return (exporting->piece = malloc(PIECE_BYTES)) != NULL ? GW_OK : GW_E_MEMORY;
}

enum gw_error
gw_command_patient_export(struct gw_call *call)
{
	struct exporting exporting = { .call = call, .began_us = gw_clock_mono_us(), .whose = { .core = call->core, .parts = call->parts } };
	const char *text = gw_call_text(call, "patient");
	struct gw_identifier identifier;
	char what[80];
	uint64_t number;
	enum gw_error error;

	if (text == NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "which patient?");
	gw_identifier_parse(text, &identifier);
	if ((error = gw_patients_find(call->core->patients, &identifier, &number, call->why)) != GW_OK)
		return error;
	snprintf(what, sizeof(what), "patient export: patient number %" PRIu64, number);
	if ((error = open_pipe(&exporting)) == GW_OK)
		error = gw_call_record_reading(call, gw_span("", 0), what);
	if (error == GW_OK && (error = gw_erasure_look(&exporting.whose, number, NULL, call->why)) == GW_OK)
		error = run(&exporting);
	gw_erasure_fini(&exporting.whose);
	free(exporting.piece);
	return error == GW_OK || call->why->text[0] != '\0' ? error : gw_fail(call->why, error, "%s", gw_error_text(error));
}
