// SPDX-License-Identifier: Apache-2.0
// `patient erase` and `patient erasures`: one patient's data taken out for good, and the list of what was. Threads: as command.h says. Once begun an erasure goes on
// without whoever asked for it.
#include "gateway/command_handlers.h"

#include "gateway/command_patient.h"
#include "gateway/erase.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static enum gw_error
take_patient(struct gw_call *call, struct gw_erasure *erasure)
{
	struct gw_identifier identifier;
	const char *text = gw_call_text(call, "patient");

	if (text == NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "which patient?");
	gw_identifier_parse(text, &identifier);
	return gw_patients_find(call->core->patients, &identifier, &erasure->patient, call->why);
}

static enum gw_error
take_reason(struct gw_call *call, struct gw_erasure *erasure)
{
	const char *reason = gw_call_text(call, "reason");

	if (reason == NULL && !erasure->dry)
		return gw_fail(call->why, GW_E_ARGUMENT, "--reason: who asked for it, and in which case (it is kept: no name of the patient)");
	if (reason != NULL && (strlen(reason) > GW_ERASURE_REASON_MAX || !gw_span_is_text(gw_span_text(reason))))
		return gw_fail(call->why, GW_E_ARGUMENT, "--reason is a text of at most %d bytes", GW_ERASURE_REASON_MAX);
	snprintf(erasure->reason, sizeof(erasure->reason), "%s", reason != NULL ? reason : "");
	snprintf(erasure->who, sizeof(erasure->who), "%s", call->who);
	return GW_OK;
}

// What comes in while it is erased would be his again.
static enum gw_error
check_present(struct gw_call *call, struct gw_erasure *erasure)
{
	struct gw_why present;
	enum gw_error error = gw_erasure_look(erasure, erasure->patient, &present, call->why);

	if (error == GW_OK && present.text[0] != '\0' && !erasure->dry && !gw_call_flag(call, "present"))
		error = gw_fail(call->why, GW_E_ARGUMENT, "the patient is %.100s: that has to end first (discharge, dissociate, merge, distinct, where he was; or --present)", present.text);
	return error;
}

// What a restore or a rebuild moved aside still has what was there then.
static void
add_aside(const struct gw_call *call, yyjson_mut_doc *doc)
{
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, yyjson_mut_doc_get_root(doc), "aside");
	DIR *folder = opendir(call->core->config->store_dir);
	const struct dirent *entry;

	while (folder != NULL && (entry = readdir(folder)) != NULL)
		if (strncmp(entry->d_name, "replaced-", 9) == 0 || strncmp(entry->d_name, "series-replaced-", 16) == 0)
			yyjson_mut_arr_add_strcpy(doc, list, entry->d_name);
	if (folder != NULL)
		closedir(folder);
}

static enum gw_error
emit(struct gw_call *call, const struct gw_erasure *erasure)
{
	yyjson_mut_doc *doc = gw_erasure_document(erasure);

	if (doc == NULL)
		return gw_fail(call->why, GW_E_MEMORY, "out of memory");
	add_aside(call, doc);
	(void)gw_call_emit(call, doc);
	return GW_OK;
}

// It is kept for good, and the list of erasures leaves the hub.
static enum gw_error
check_reason(const struct gw_call *call, const struct gw_erasure *erasure)
{
	if (gw_erasure_names(erasure, gw_span_text(erasure->reason)) < GW_ERASURE_TOLD)
		return GW_OK;
	return gw_fail(call->why, GW_E_ARGUMENT, "--reason names the patient, and it is kept: name the case instead");
}

static enum gw_error
run(struct gw_call *call, struct gw_erasure *erasure)
{
	struct gw_why why = { "" };
	char what[120];
	enum gw_error error;

	snprintf(what, sizeof(what), "patient erase%s: patient number %" PRIu64 "%s", erasure->dry ? " (dry run)" : "", erasure->patient,
	    erasure->unsure ? ", unsure ones too" : "");
	error = erasure->dry ? gw_call_record_reading(call, gw_span("", 0), what) : gw_call_record_act(call, gw_span("", 0), what);
	if (error != GW_OK)
		return error;
	error = gw_erase_run(erasure, &why);
	if (error == GW_OK)
		return emit(call, erasure);
	if (erasure->number != 0 && !erasure->dry)
		return gw_fail(call->why, error, "%.120s. The erasure %016" PRIx64 " goes on by itself", why.text, erasure->number);
	return gw_fail(call->why, error, "%s", why.text);
}

enum gw_error
gw_command_patient_erase(struct gw_call *call)
{
	bool dry = gw_call_flag(call, "dry-run") || !gw_call_flag(call, "yes");
	struct gw_erasure erasure = { .core = call->core, .parts = call->parts, .stopping = call->stopping, .unsure = gw_call_flag(call, "unsure"), .dry = dry };
	enum gw_error error = take_patient(call, &erasure);

	if (error == GW_OK)
		error = take_reason(call, &erasure);
	if (error == GW_OK)
		error = check_present(call, &erasure);
	if (error == GW_OK)
		error = check_reason(call, &erasure);
	if (error == GW_OK)
		error = run(call, &erasure);
	gw_erasure_fini(&erasure);
	return error;
}

static bool
show_one(void *arg, struct gw_span key, struct gw_span value)
{
	struct gw_call *call = arg;
	struct gw_erasure erasure;
	bool wanted = gw_erasure_read(key, value, &erasure) != GW_OK || emit(call, &erasure) == GW_OK;

	gw_erasure_fini(&erasure);
	return wanted && !gw_call_ending(call);
}

enum gw_error
gw_command_patient_erasures(struct gw_call *call)
{
	enum gw_error error = gw_journal_each(call->core->journal, gw_span_text(GW_ERASURE_PREFIX), gw_span(NULL, 0), show_one, call);

	return error == GW_OK ? GW_OK : gw_fail(call->why, error, "erasures cannot be read: %s", gw_error_text(error));
}
