// SPDX-License-Identifier: Apache-2.0
// The row of an erasure: JSON, which is also what people are shown of it. Any thread.
#include "gateway/erase.h"

#include "gateway/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static const char *const states[] = { [GW_ERASURE_BEGUN] = "begun", [GW_ERASURE_FORGOTTEN] = "forgotten", [GW_ERASURE_DONE] = "done", [GW_ERASURE_AGAIN] = "again" };

// One row yields both ways.
static const struct {
	const char *name;
	size_t at;
} counts[] = {
#define COUNT(member) { #member, offsetof(struct gw_erasure_counts, member) }
	COUNT(journal), COUNT(journal_unsure), COUNT(journal_damaged), COUNT(series), COUNT(series_unsure), COUNT(series_damaged), COUNT(messages), COUNT(held),
	COUNT(ledger), COUNT(bus), COUNT(quarantine), COUNT(quarantine_unsure),
#undef COUNT
};

// ---- Writing ----

static void
add_windows(yyjson_mut_doc *doc, yyjson_mut_val *object, const struct gw_erasure *erasure)
{
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, object, "windows");
	char text[40];

	for (size_t i = 0; i < erasure->window_count; i++) {
		const struct gw_erasure_window *window = &erasure->windows[i];
		yyjson_mut_val *row = yyjson_mut_arr_add_obj(doc, list);

		yyjson_mut_obj_add_str(doc, row, "device", window->device);
		yyjson_mut_obj_add_strcpy(doc, row, "from", gw_time_format(window->from_us, text));
		yyjson_mut_obj_add_strcpy(doc, row, "to", gw_time_format(window->to_us, text));
		yyjson_mut_obj_add_sint(doc, row, "from_us", window->from_us);
		yyjson_mut_obj_add_sint(doc, row, "to_us", window->to_us);
		if (window->unsure)
			yyjson_mut_obj_add_bool(doc, row, "unsure", true);
	}
}

static void
add_exports(yyjson_mut_doc *doc, yyjson_mut_val *object, const struct gw_erasure *erasure)
{
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, object, "exports");

	for (size_t i = 0; i < erasure->export_count; i++) {
		yyjson_mut_val *range = yyjson_mut_arr_add_arr(doc, list);

		yyjson_mut_arr_add_sint(doc, range, erasure->exports[i].from_us);
		yyjson_mut_arr_add_sint(doc, range, erasure->exports[i].to_us);
	}
}

yyjson_mut_doc *
gw_erasure_document(const struct gw_erasure *erasure)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *object, *list;
	char text[40];

	if (doc == NULL)
		return NULL;
	object = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, object);
	snprintf(text, sizeof(text), "%016" PRIx64, erasure->number);
	yyjson_mut_obj_add_strcpy(doc, object, "erasure", text);
	yyjson_mut_obj_add_str(doc, object, "state", erasure->dry ? "dry run" : states[erasure->state]);
	if (erasure->begun_us != 0) {
		yyjson_mut_obj_add_strcpy(doc, object, "begun", gw_time_format(erasure->begun_us, text));
		yyjson_mut_obj_add_sint(doc, object, "begun_us", erasure->begun_us);
	}
	if (erasure->done_us != 0) {
		yyjson_mut_obj_add_strcpy(doc, object, "done", gw_time_format(erasure->done_us, text));
		yyjson_mut_obj_add_sint(doc, object, "done_us", erasure->done_us);
	}
	if (erasure->again_us != 0) {
		yyjson_mut_obj_add_strcpy(doc, object, "again", gw_time_format(erasure->again_us, text));
		yyjson_mut_obj_add_sint(doc, object, "again_us", erasure->again_us);
	}
	yyjson_mut_obj_add_strcpy(doc, object, "who", erasure->who);
	yyjson_mut_obj_add_strcpy(doc, object, "reason", erasure->reason);
	yyjson_mut_obj_add_bool(doc, object, "unsure_too", erasure->unsure);
	list = yyjson_mut_obj_add_arr(doc, object, "patients");
	for (size_t i = 0; i < erasure->patient_count; i++)
		yyjson_mut_arr_add_uint(doc, list, erasure->patients[i]);
	yyjson_mut_obj_add_uint(doc, object, "scanned", erasure->scanned);
	list = yyjson_mut_obj_add_obj(doc, object, "counts");
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		yyjson_mut_obj_add_uint(doc, list, counts[i].name, *(const uint64_t *)(const void *)((const uint8_t *)&erasure->counts + counts[i].at));
	add_windows(doc, object, erasure);
	if (erasure->export_count > 0)
		add_exports(doc, object, erasure);
	return doc;
}

enum gw_error
gw_erasure_put(const struct gw_erasure *erasure, struct gw_ticket *ticket)
{
	yyjson_mut_doc *doc = gw_erasure_document(erasure);
	char key[48], *text;
	size_t len = 0;
	enum gw_error error;

	text = doc != NULL ? yyjson_mut_write(doc, 0, &len) : NULL;
	yyjson_mut_doc_free(doc);
	if (text == NULL)
		return GW_E_MEMORY;
	snprintf(key, sizeof(key), GW_ERASURE_PREFIX "%016" PRIx64, erasure->number);
	ticket->essential = true;
	error = gw_ticket_put(ticket, gw_span_text(key), gw_span(text, len));
	free(text);
	return error;
}

// ---- Reading ----

static void
copy(yyjson_val *object, const char *key, char *out, size_t cap)
{
	const char *text = yyjson_get_str(yyjson_obj_get(object, key));

	snprintf(out, cap, "%s", text != NULL ? text : "");
}

static enum gw_error
read_windows(yyjson_val *list, struct gw_erasure *erasure)
{
	size_t i, max;
	yyjson_val *row;

	if ((erasure->windows = calloc(yyjson_arr_size(list) + 1, sizeof(*erasure->windows))) == NULL)
		return GW_E_MEMORY;
	yyjson_arr_foreach(list, i, max, row) {
		struct gw_erasure_window *window = &erasure->windows[erasure->window_count++];

		copy(row, "device", window->device, sizeof(window->device));
		window->from_us = yyjson_get_sint(yyjson_obj_get(row, "from_us"));
		window->to_us = yyjson_get_sint(yyjson_obj_get(row, "to_us"));
		window->unsure = yyjson_is_true(yyjson_obj_get(row, "unsure"));
	}
	return GW_OK;
}

static void
read_exports(yyjson_val *list, struct gw_erasure *erasure)
{
	size_t i, max;
	yyjson_val *range;

	yyjson_arr_foreach(list, i, max, range)
		if (erasure->export_count < GW_ERASURE_EXPORTS_MAX)
			erasure->exports[erasure->export_count++] =
			    (struct gw_erasure_range){ yyjson_get_sint(yyjson_arr_get(range, 0)), yyjson_get_sint(yyjson_arr_get(range, 1)) };
}

static enum gw_error
read_patients(yyjson_val *list, struct gw_erasure *erasure)
{
	size_t i, max;
	yyjson_val *number;

	if ((erasure->patients = calloc(yyjson_arr_size(list) + 1, sizeof(*erasure->patients))) == NULL)
		return GW_E_MEMORY;
	yyjson_arr_foreach(list, i, max, number)
		erasure->patients[erasure->patient_count++] = yyjson_get_uint(number);
	return GW_OK;
}

static enum gw_error
read_object(yyjson_val *object, struct gw_erasure *erasure)
{
	const char *state = yyjson_get_str(yyjson_obj_get(object, "state"));
	enum gw_error error;

	for (size_t i = GW_ERASURE_BEGUN; state != NULL && i <= GW_ERASURE_AGAIN; i++)
		if (strcmp(state, states[i]) == 0)
			erasure->state = (enum gw_erasure_state)i;
	if (erasure->state == 0)
		return GW_E_CORRUPT;
	erasure->begun_us = yyjson_get_sint(yyjson_obj_get(object, "begun_us"));
	erasure->done_us = yyjson_get_sint(yyjson_obj_get(object, "done_us"));
	erasure->again_us = yyjson_get_sint(yyjson_obj_get(object, "again_us"));
	copy(object, "who", erasure->who, sizeof(erasure->who));
	copy(object, "reason", erasure->reason, sizeof(erasure->reason));
	erasure->unsure = yyjson_is_true(yyjson_obj_get(object, "unsure_too"));
	erasure->scanned = yyjson_get_uint(yyjson_obj_get(object, "scanned"));
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		*(uint64_t *)(void *)((uint8_t *)&erasure->counts + counts[i].at) = yyjson_get_uint(yyjson_obj_get(yyjson_obj_get(object, "counts"), counts[i].name));
	read_exports(yyjson_obj_get(object, "exports"), erasure);
	if ((error = read_patients(yyjson_obj_get(object, "patients"), erasure)) != GW_OK)
		return error;
	erasure->patient = erasure->patient_count > 0 ? erasure->patients[0] : 0;
	return read_windows(yyjson_obj_get(object, "windows"), erasure);
}

enum gw_error
gw_erasure_read(struct gw_span key, struct gw_span value, struct gw_erasure *erasure)
{
	const size_t prefix = sizeof(GW_ERASURE_PREFIX) - 1;
	yyjson_doc *doc = yyjson_read((const char *)value.at, value.len, 0);
	char digits[17] = "";
	enum gw_error error;

	*erasure = (struct gw_erasure){ 0 };
	if (key.len == prefix + 16)
		memcpy(digits, key.at + prefix, 16);
	erasure->number = strtoull(digits, NULL, 16);
	error = erasure->number != 0 && yyjson_is_obj(yyjson_doc_get_root(doc)) ? read_object(yyjson_doc_get_root(doc), erasure) : GW_E_CORRUPT;
	yyjson_doc_free(doc);
	return error;
}
