// SPDX-License-Identifier: Apache-2.0
// Commands on associations and patients: `associate`, `dissociate`, `place`, `unplace`, `patient show`, `patient conflicts`, `patient merge`, `patient distinct`. Whoever reads or changes a
// patient's data is recorded. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/clock.h"
#include "gateway/command_patient.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN_US (7 * INT64_C(86400000000)) // of the past, where --from is not given

void
gw_identifier_parse(const char *text, struct gw_identifier *identifier)
{
	size_t id = strcspn(text, "^");
	const char *rest = text + id;

	*identifier = (struct gw_identifier){ .id = gw_span(text, id) };
	if (strncmp(rest, "^^^", 3) != 0)
		return;
	rest += 3;
	identifier->authority = gw_span(rest, strcspn(rest, "^"));
	rest += identifier->authority.len;
	if (*rest == '^')
		identifier->type = gw_span(rest + 1, strcspn(rest + 1, "^"));
}

// "12^^^KLINIK", or the hub's own number where somebody is kept without identifier.
static void
add_identifier(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, const struct gw_patient *patient)
{
	char text[160];

	if (patient->identifier_count == 0)
		snprintf(text, sizeof(text), "(%llu)", (unsigned long long)patient->number);
	else
		snprintf(text, sizeof(text), "%s%s%s", patient->identifiers[0].id, patient->identifiers[0].authority[0] != '\0' ? "^^^" : "",
		    patient->identifiers[0].authority);
	gw_json_span(doc, object, key, gw_span_text(text));
}

void
gw_patient_words(const struct gw_patient *patient, char *out, size_t cap)
{
	snprintf(out, cap, "%s%s%s", patient->family, patient->family[0] != '\0' && patient->given[0] != '\0' ? ", " : "", patient->given);
}

static void
add_who(struct gw_call *call, yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, const char *name_key, uint64_t number)
{
	struct gw_patient patient;
	char words[160];

	if (number == 0 || !gw_patients_get(call->core->patients, number, &patient))
		return;
	add_identifier(doc, object, key, &patient);
	gw_patient_words(&patient, words, sizeof(words));
	if (words[0] != '\0')
		gw_json_span(doc, object, name_key, gw_span_text(words));
}

// ---- Changing ----

static void
say(struct gw_call *call, const char *done)
{
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = gw_call_object(&object);

	if (doc == NULL)
		return;
	yyjson_mut_obj_add_strcpy(doc, object, "done", done);
	(void)gw_call_emit(call, doc);
}

// The patient as the hub knows it already, so that an id without authority means the one who has it. *is_new: nobody has it.
static enum gw_error
find_patient(struct gw_call *call, const char *text, struct gw_identifier *identifier, struct gw_patient *patient, bool *is_new)
{
	uint64_t number;
	enum gw_error error;

	gw_identifier_parse(text, identifier);
	error = gw_patients_find(call->core->patients, identifier, &number, call->why);
	*is_new = error == GW_E_NOT_FOUND;
	if (error != GW_OK)
		return error == GW_E_NOT_FOUND ? GW_OK : error;
	if (identifier->authority.len > 0 || !gw_patients_get(call->core->patients, number, patient))
		return GW_OK;
	for (size_t i = 0; i < patient->identifier_count; i++) {
		if (gw_span_is(identifier->id, patient->identifiers[i].id))
			identifier->authority = gw_span_text(patient->identifiers[i].authority);
	}
	return GW_OK;
}

static enum gw_error
take_times(struct gw_call *call, struct gw_patient_event *event)
{
	enum gw_error error = gw_call_time(call, "from", gw_clock_wall_us(), &event->time_us);

	return error != GW_OK ? error : gw_call_time(call, "until", GW_TIME_OPEN, &event->until_us);
}

static enum gw_error
change(struct gw_call *call, enum gw_patient_verb verb)
{
	struct gw_patient_event event = { .verb = verb, .source = gw_span_text(call->who), .device = gw_span_text(gw_call_text(call, "device")),
		.bed = gw_span_text(gw_call_text(call, "bed")) };
	const char *patient_text = gw_call_text(call, "patient");
	struct gw_patient patient;
	char words[320];
	bool is_new = false;
	enum gw_error error = take_times(call, &event);

	if (error == GW_OK && event.device.len > 0 && event.bed.len > 0 && (verb == GW_PATIENT_ASSOCIATE || verb == GW_PATIENT_DISSOCIATE))
		error = gw_fail(call->why, GW_E_ARGUMENT, "--device or --bed, not both (to put a device at a bed: vitalgate place)");
	if (error == GW_OK && patient_text != NULL) {
		error = find_patient(call, patient_text, &event.person.identifiers[0], &patient, &is_new);
		event.person.identifier_count = 1;
	}
	if (error == GW_OK && is_new && verb == GW_PATIENT_DISSOCIATE)
		error = gw_fail(call->why, GW_E_NOT_FOUND, "no patient with this identifier is known");
	if (error == GW_OK)
		error = gw_patients_change(call->core->patients, &event, call->why);
	if (error != GW_OK)
		return error;
	snprintf(words, sizeof(words), "%s%s", call->why->text, is_new ? "; the patient was not known before: check the identifier" : "");
	say(call, words);
	return GW_OK;
}

enum gw_error
gw_command_associate(struct gw_call *call)
{
	return change(call, GW_PATIENT_ASSOCIATE);
}

enum gw_error
gw_command_dissociate(struct gw_call *call)
{
	return change(call, GW_PATIENT_DISSOCIATE);
}

enum gw_error
gw_command_place(struct gw_call *call)
{
	return change(call, GW_PATIENT_PLACE);
}

enum gw_error
gw_command_unplace(struct gw_call *call)
{
	return change(call, GW_PATIENT_UNPLACE);
}

// Two that are known: `other` is --patient.
static enum gw_error
change_two(struct gw_call *call, enum gw_patient_verb verb, const char *other, const char *person)
{
	struct gw_patient_event event = { .verb = verb, .source = gw_span_text(call->who), .time_us = gw_clock_wall_us() };
	struct gw_patient patients[2];
	bool is_new = false;
	enum gw_error error = find_patient(call, other, &event.other.identifiers[0], &patients[0], &is_new);

	if (error == GW_OK && !is_new)
		error = find_patient(call, person, &event.person.identifiers[0], &patients[1], &is_new);
	if (error == GW_OK && is_new)
		error = gw_fail(call->why, GW_E_NOT_FOUND, "no patient with this identifier is known");
	event.person.identifier_count = event.other.identifier_count = 1;
	if (error == GW_OK)
		error = gw_patients_change(call->core->patients, &event, call->why);
	if (error == GW_OK)
		say(call, call->why->text);
	return error;
}

enum gw_error
gw_command_patient_merge(struct gw_call *call)
{
	const char *gone = gw_call_text(call, "patient"), *stays = gw_call_text(call, "into");

	if (gone == NULL || stays == NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "which patient, and --into whom?");
	return change_two(call, GW_PATIENT_MERGE, gone, stays);
}

enum gw_error
gw_command_patient_distinct(struct gw_call *call)
{
	const char *one = gw_call_text(call, "patient"), *other = gw_call_text(call, "other");

	if (one == NULL || other == NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "which patient, and which --other?");
	return change_two(call, GW_PATIENT_DISTINCT, one, other);
}

// ---- Reading ----

enum gw_error
gw_call_record_act(struct gw_call *call, struct gw_span device, const char *what)
{
	struct gw_recording recording;

	gw_recording_begin(&recording, call, device, what);
	return gw_recording_end(&recording);
}

static const char *
kind_name(const struct gw_timeline *entry)
{
	static const char *const names[] = { [GW_TIMELINE_STAY] = "stay", [GW_TIMELINE_PLACE] = "place", [GW_TIMELINE_DIRECT] = "direct",
		[GW_TIMELINE_OWNER] = "readings", [GW_TIMELINE_CLASH] = "identifiers", [GW_TIMELINE_BEDS] = "beds" };

	return names[entry->kind];
}

static void
add_text(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, const char *text)
{
	if (text[0] != '\0')
		gw_json_span(doc, object, key, gw_span_text(text));
}

static bool
emit_entry(struct gw_call *call, const struct gw_timeline *entry)
{
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = gw_call_object(&object);

	if (doc == NULL)
		return false;
	yyjson_mut_obj_add_str(doc, object, "kind", kind_name(entry));
	if (entry->from_us > INT64_MIN)
		gw_json_time(doc, object, "from", entry->from_us);
	if (entry->to_us != GW_TIME_OPEN)
		gw_json_time(doc, object, "to", entry->to_us);
	add_text(doc, object, "device", entry->device);
	add_text(doc, object, "bed", entry->bed);
	add_text(doc, object, "other_bed", entry->other_bed);
	add_who(call, doc, object, "patient", "name", entry->patient);
	add_who(call, doc, object, "other", "other_name", entry->other);
	add_text(doc, object, "visit", entry->visit);
	add_text(doc, object, "order", entry->order);
	add_text(doc, object, "filler", entry->filler);
	add_text(doc, object, "source", entry->source);
	if (entry->flagged)
		yyjson_mut_obj_add_bool(doc, object, "flagged", true);
	if (entry->conflict)
		yyjson_mut_obj_add_bool(doc, object, "conflict", true);
	return gw_call_emit(call, doc);
}

static void
emit_entries(struct gw_call *call, struct gw_timeline *entries, size_t count)
{
	for (size_t i = 0; i < count && emit_entry(call, &entries[i]); i++)
		;
	free(entries);
}

static bool
emit_person(struct gw_call *call, uint64_t number)
{
	yyjson_mut_val *object, *list;
	struct gw_patient patient;
	yyjson_mut_doc *doc;
	char text[160];

	if (!gw_patients_get(call->core->patients, number, &patient) || (doc = gw_call_object(&object)) == NULL)
		return false;
	yyjson_mut_obj_add_str(doc, object, "kind", "person");
	yyjson_mut_obj_add_uint(doc, object, "number", number);
	list = yyjson_mut_obj_add_arr(doc, object, "identifiers");
	for (size_t i = 0; i < patient.identifier_count; i++) {
		snprintf(text, sizeof(text), "%s^^^%s%s%s", patient.identifiers[i].id, patient.identifiers[i].authority,
		    patient.identifiers[i].type[0] != '\0' ? "^" : "", patient.identifiers[i].type);
		yyjson_mut_arr_add_strcpy(doc, list, text);
	}
	gw_patient_words(&patient, text, sizeof(text));
	add_text(doc, object, "name", text);
	add_text(doc, object, "birth", patient.birth);
	add_text(doc, object, "sex", patient.sex);
	add_text(doc, object, "account", patient.account);
	return gw_call_emit(call, doc);
}

static enum gw_error
take_query(struct gw_call *call, struct gw_timeline_query *query)
{
	const char *patient = gw_call_text(call, "patient"), *bed = gw_call_text(call, "bed"), *device = gw_call_text(call, "device");
	struct gw_identifier identifier;
	enum gw_error error;

	if ((patient != NULL) + (bed != NULL) + (device != NULL) != 1)
		return gw_fail(call->why, GW_E_ARGUMENT, "one of --patient, --bed and --device");
	error = gw_call_time(call, "from", gw_clock_wall_us() - SHOWN_US, &query->from_us);
	if (error == GW_OK)
		error = gw_call_time(call, "to", GW_TIME_OPEN, &query->to_us);
	if (error == GW_OK && patient != NULL) {
		gw_identifier_parse(patient, &identifier);
		error = gw_patients_find(call->core->patients, &identifier, &query->patient, call->why);
	}
	query->bed = gw_span_text(bed);
	query->device = gw_span_text(device);
	return error;
}

enum gw_error
gw_command_patient_show(struct gw_call *call)
{
	struct gw_timeline_query query = { 0 };
	struct gw_timeline *entries;
	char what[160];
	size_t count;
	enum gw_error error = take_query(call, &query);

	if (error != GW_OK)
		return error;
	if (query.patient != 0)
		snprintf(what, sizeof(what), "patient show: number %llu", (unsigned long long)query.patient);
	else
		snprintf(what, sizeof(what), "patient show: %s %.120s", query.bed.len > 0 ? "bed" : "device", gw_call_text(call, query.bed.len > 0 ? "bed" : "device"));
	error = gw_call_record_reading(call, query.device.len <= GW_ID_MAX ? query.device : gw_span("", 0), what);
	if (error == GW_OK)
		error = gw_patients_timeline(call->core->patients, &query, &entries, &count);
	if (error != GW_OK)
		return error;
	if (query.patient != 0)
		(void)emit_person(call, query.patient);
	emit_entries(call, entries, count);
	return GW_OK;
}

enum gw_error
gw_command_patient_conflicts(struct gw_call *call)
{
	struct gw_timeline *entries;
	size_t count;
	enum gw_error error = gw_call_record_reading(call, gw_span("", 0), "patient conflicts");

	if (error == GW_OK)
		error = gw_patients_conflicts(call->core->patients, gw_clock_wall_us() - GW_CONFLICTS_US, &entries, &count);
	if (error == GW_OK)
		emit_entries(call, entries, count);
	return error;
}
