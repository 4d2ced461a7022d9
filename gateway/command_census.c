// SPDX-License-Identifier: Apache-2.0
// `census import`: who lies where, from a list, on day one: all of it in one commit, or nothing. The command line turns the CSV file into objects, one per line;
// every line is checked before the first one is taken, and every wrong one is told. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/clock.h"
#include "gateway/command_patient.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LINES_MAX 5000  // fit into one ticket
#define ERRORS_MAX 50   // told

struct census {
	struct gw_call *call;
	struct gw_patient_event *events;
	char (*beds)[GW_BED_MAX + 1];
	long long *lines;
	size_t count, errors;
};

static struct gw_span
cell(yyjson_val *row, const char *key)
{
	yyjson_val *value = yyjson_obj_get(row, key);

	return gw_span(yyjson_get_str(value), yyjson_get_len(value));
}

static void
wrong(struct census *census, long long line, const char *words)
{
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;

	if (census->errors++ >= ERRORS_MAX || (doc = gw_call_object(&object)) == NULL)
		return;
	yyjson_mut_obj_add_sint(doc, object, "line", line);
	gw_json_span(doc, object, "error", gw_span_text(words));
	(void)gw_call_emit(census->call, doc);
}

static bool
take_identifier(yyjson_val *row, struct gw_person *person)
{
	struct gw_identifier *identifier = &person->identifiers[0];

	if (cell(row, "patient").len == 0)
		return false;
	gw_identifier_parse((const char *)cell(row, "patient").at, identifier);
	if (cell(row, "authority").len > 0)
		identifier->authority = cell(row, "authority");
	person->identifier_count = 1;
	return identifier->id.len > 0 && identifier->id.len <= 64 && identifier->authority.len <= 64;
}

static const char *
take_row(struct census *census, yyjson_val *row, size_t at)
{
	struct gw_patient_event *event = &census->events[at];
	struct gw_person *person = &event->person;
	struct gw_span from = cell(row, "from");
	size_t bed;

	*event = (struct gw_patient_event){ .verb = GW_PATIENT_ASSOCIATE, .time_us = gw_clock_wall_us(), .until_us = GW_TIME_OPEN,
		.source = gw_span_text(census->call->who), .visit = cell(row, "visit"), .patient_class = cell(row, "class") };
	bed = gw_bed_name(cell(row, "bed"), census->beds[at]);
	if (bed == 0 || bed > GW_BED_MAX)
		return "the column \"bed\" is empty or too long";
	event->bed = gw_span(census->beds[at], bed);
	if (!take_identifier(row, person))
		return "the column \"patient\" is empty, or the identifier or its authority is longer than 64 bytes";
	if (from.len > 0 && gw_time_parse((const char *)from.at, &event->time_us) != 0)
		return "the column \"from\" is no time such as 2026-11-20T08:15:00Z";
	if (event->time_us <= 0 || event->time_us > gw_clock_wall_us())
		return "the column \"from\" is not in the past";
	if (event->visit.len > 64)
		return "the column \"visit\" has more than 64 bytes";
	person->family = cell(row, "family");
	person->given = cell(row, "given");
	person->middle = cell(row, "middle");
	person->prefix = cell(row, "prefix");
	person->suffix = cell(row, "suffix");
	person->birth = cell(row, "birth");
	person->sex = cell(row, "sex");
	person->account = cell(row, "account");
	return NULL;
}

static bool
same_patient(const struct gw_patient_event *a, const struct gw_patient_event *b)
{
	return gw_span_equal(a->person.identifiers[0].id, b->person.identifiers[0].id) &&
	    gw_span_equal(a->person.identifiers[0].authority, b->person.identifiers[0].authority);
}

// Two lines that cannot both be true.
static const char *
against_list(const struct census *census, size_t at, char *words, size_t cap)
{
	for (size_t i = 0; i < at; i++) {
		bool patient = same_patient(&census->events[i], &census->events[at]);

		if (!patient && !gw_span_equal(census->events[i].bed, census->events[at].bed))
			continue;
		snprintf(words, cap, "the %s stands in line %lld, too", patient ? "patient" : "bed", census->lines[i]);
		return words;
	}
	return NULL;
}

// Somebody else lies in the bed then or later, as far as is known.
static const char *
against_store(const struct census *census, size_t at)
{
	const struct gw_patient_event *event = &census->events[at];
	struct gw_timeline_query query = { .bed = event->bed, .from_us = event->time_us, .to_us = GW_TIME_OPEN };
	struct gw_timeline *entries;
	uint64_t number;
	bool taken = false;
	size_t count;

	if (gw_patients_timeline(census->call->core->patients, &query, &entries, &count) != GW_OK)
		return gw_error_text(GW_E_MEMORY);
	if (gw_patients_find(census->call->core->patients, &event->person.identifiers[0], &number, NULL) != GW_OK)
		number = 0;
	for (size_t i = 0; i < count; i++)
		taken |= entries[i].kind == GW_TIMELINE_STAY && entries[i].patient != number;
	free(entries);
	return taken ? "another patient is known to be in the bed: vitalgate patient show --bed tells who, vitalgate dissociate ends it" : NULL;
}

static enum gw_error
take_rows(struct census *census, yyjson_val *rows)
{
	yyjson_val *row;
	char words[160];
	size_t i, max;

	yyjson_arr_foreach(rows, i, max, row) {
		const char *error;

		if (gw_call_ending(census->call))
			return GW_E_STOPPING;
		census->lines[census->count] = (long long)yyjson_get_sint(yyjson_obj_get(row, "line"));
		error = take_row(census, row, census->count);
		if (error == NULL)
			error = against_list(census, census->count, words, sizeof(words));
		if (error == NULL)
			error = against_store(census, census->count);
		if (error != NULL)
			wrong(census, census->lines[census->count], error);
		else
			census->count++;
	}
	if (census->errors > 0)
		return gw_fail(census->call->why, GW_E_ARGUMENT, "%zu of %zu lines are wrong: nothing is imported", census->errors, yyjson_arr_size(rows));
	return GW_OK;
}

static enum gw_error
commit(struct census *census)
{
	bool dry = gw_call_flag(census->call, "dry-run");
	struct gw_why why = { "" };
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;
	size_t failed = 0;
	char words[80];
	enum gw_error error = GW_OK;

	snprintf(words, sizeof(words), "census import: %zu lines", census->count);
	if (!dry)
		error = gw_patients_change_many(census->call->core->patients, census->events, census->count, words, &failed, &why);
	if (error != GW_OK)
		return gw_fail(census->call->why, error, "line %lld: %.160s; nothing is imported", census->lines[failed], why.text);
	snprintf(words, sizeof(words), "%zu patient%s", census->count,
	    census->count == 1 ? dry ? " would be put into a bed" : " is in a bed" : dry ? "s would be put into their beds" : "s are in their beds");
	if ((doc = gw_call_object(&object)) == NULL)
		return GW_OK;
	yyjson_mut_obj_add_strcpy(doc, object, "done", words);
	(void)gw_call_emit(census->call, doc);
	return GW_OK;
}

enum gw_error
gw_command_census_import(struct gw_call *call)
{
	yyjson_val *rows = yyjson_obj_get(call->arguments, "rows");
	size_t count = yyjson_arr_size(rows);
	struct census census = { .call = call };
	enum gw_error error = GW_E_MEMORY;

	if (count == 0)
		return gw_fail(call->why, GW_E_ARGUMENT, "the list has no patients");
	if (count > LINES_MAX)
		return gw_fail(call->why, GW_E_TOO_LARGE, "at most %d patients at once: split the list", LINES_MAX);
	census.events = calloc(count, sizeof(*census.events));
	census.beds = calloc(count, sizeof(*census.beds));
	census.lines = calloc(count, sizeof(*census.lines));
	if (census.events == NULL || census.beds == NULL || census.lines == NULL)
		(void)gw_fail(call->why, error, "out of memory");
	else if ((error = take_rows(&census, rows)) == GW_OK)
		error = commit(&census);
	free(census.events);
	free(census.beds);
	free(census.lines);
	return error;
}
