// SPDX-License-Identifier: Apache-2.0
// Messages that the broker refused, kept as rows beside the journal until somebody looks. The outlet's thread, except the commands', which bring a
// source of their own. A crash between parking and moving the cursor parks the same message twice: its document's id tells.
#include "adapters/mqtt/bus.h"

#include "gateway/bytes.h"
#include "gateway/clock.h"
#include "gateway/diag.h"

#include <stdio.h>
#include <stdlib.h>

#define PREFIX "outlet/bus/parked/"
#define GAP_US 60000000 // a gap is recorded at most so often, with the count

static void
row_key(uint64_t number, char out[64])
{
	snprintf(out, 64, PREFIX "%016llx", (unsigned long long)number);
}

static uint64_t
row_number(struct gw_span key)
{
	char digits[17] = "";

	if (key.len == sizeof(PREFIX) - 1 + 16)
		memcpy(digits, key.at + sizeof(PREFIX) - 1, 16);
	return strtoull(digits, NULL, 16);
}

static bool
count_row(void *arg, struct gw_span key, struct gw_span value)
{
	struct gw_bus_park *park = arg;

	(void)value;
	park->count++;
	park->last = row_number(key);
	return true;
}

enum gw_error
gw_bus_park_open(struct gw_bus_park *park, struct gw_journal *journal, uint64_t count_max, struct gw_why *why)
{
	enum gw_error error;

	*park = (struct gw_bus_park){ .journal = journal, .count_max = count_max };
	error = gw_journal_each(journal, gw_span_text(PREFIX), gw_span(NULL, 0), count_row, park);
	return error == GW_OK ? GW_OK : gw_fail(why, error, "parked messages of the bus: %s", gw_error_text(error));
}

// Deletes one row, or all below a prefix.
static enum gw_error
commit_del(struct gw_source *source, struct gw_span key, bool prefix)
{
	struct gw_ticket *ticket = gw_ticket_get(source);
	enum gw_error error;

	if (ticket == NULL)
		return GW_E_BUSY;
	ticket->essential = true;
	error = prefix ? gw_ticket_del_prefix(ticket, key) : gw_ticket_del(ticket, key);
	if (error == GW_OK)
		error = gw_intake_commit(ticket);
	gw_ticket_release(ticket);
	return error;
}

// The ledger: some messages between the first and the last that went nowhere.
static enum gw_error
put_left(const struct gw_bus_park *park, struct gw_ticket *ticket)
{
	char key[64];
	uint8_t value[20];

	snprintf(key, sizeof(key), "outlet/bus/left/%016llx", (unsigned long long)park->gap_to);
	gw_put64(value, (uint64_t)gw_clock_wall_us());
	gw_put64(value + 8, park->gap_from);
	gw_put32(value + 16, park->gap_count < UINT32_MAX ? (uint32_t)park->gap_count : UINT32_MAX);
	return gw_ticket_put(ticket, gw_span_text(key), gw_span(value, sizeof(value)));
}

// The ledger: a message that was refused and is parked.
static enum gw_error
put_refused(struct gw_ticket *ticket, const struct gw_bus_ref *ref, uint8_t reason, uint64_t number)
{
	char key[64];
	uint8_t value[17];

	if (ref->index == GW_BUS_EVENT)
		return GW_OK;
	snprintf(key, sizeof(key), "outlet/bus/refused/%016llx/%04x", (unsigned long long)ref->position, (unsigned)ref->index);
	gw_put64(value, (uint64_t)gw_clock_wall_us());
	value[8] = reason;
	gw_put64(value + 9, number);
	return gw_ticket_put(ticket, gw_span_text(key), gw_span(value, sizeof(value)));
}

enum gw_error
gw_bus_park_tend(struct gw_bus_park *park, struct gw_source *source, bool now)
{
	int64_t now_us = gw_clock_mono_us();
	struct gw_ticket *ticket;
	char text[128];
	enum gw_error error;

	if (park->gap_count == 0 || (!now && park->gap_us != 0 && now_us - park->gap_us < GAP_US))
		return GW_OK;
	if ((ticket = gw_ticket_get(source)) == NULL)
		return GW_E_BUSY;
	ticket->essential = true;
	snprintf(text, sizeof(text), "%llu messages left out: %s", (unsigned long long)park->gap_count, park->gap_why);
	gw_diag(GW_ERROR, "outlet.gap", "outlet=bus: %s", text);
	error = gw_ticket_event(ticket, GW_RECORD_DEVICE_EVENT, &(struct gw_event){ .received_us = gw_clock_wall_us(), .code = GW_EVENT_GAP,
	    .route = gw_span_text("outlet/bus"), .text = gw_span_text(text) });
	if (error == GW_OK)
		error = put_left(park, ticket);
	if (error == GW_OK && (error = gw_intake_commit(ticket)) == GW_OK) {
		park->gap_us = now_us;
		park->gap_count = 0;
	}
	gw_ticket_release(ticket);
	return error;
}

enum gw_error
gw_bus_park_leave_out(struct gw_bus_park *park, struct gw_source *source, const struct gw_bus_ref *ref, const char *why)
{
	park->left_out++;
	if (park->gap_count++ == 0)
		park->gap_from = park->gap_to = ref->position;
	if (ref->position > park->gap_to)
		park->gap_to = ref->position;
	if (ref->position < park->gap_from)
		park->gap_from = ref->position;
	park->gap_why = why;
	return gw_bus_park_tend(park, source, false);
}

static char *
row_text(const struct gw_bus_message *message, uint8_t reason, size_t *len)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *object = yyjson_mut_obj(doc);
	char at[40], *text;

	yyjson_mut_doc_set_root(doc, object);
	yyjson_mut_obj_add_str(doc, object, "at", gw_time_format(gw_clock_wall_us(), at));
	yyjson_mut_obj_add_uint(doc, object, "reason", reason);
	yyjson_mut_obj_add_str(doc, object, "topic", message->topic);
	yyjson_mut_obj_add_strn(doc, object, "document", message->document, message->len);
	text = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, len);
	yyjson_mut_doc_free(doc);
	return text;
}

enum gw_error
gw_bus_park_add(struct gw_bus_park *park, struct gw_source *source, const struct gw_bus_message *message, const struct gw_bus_ref *ref, uint8_t reason)
{
	struct gw_ticket *ticket;
	char key[64], *text;
	size_t len;
	enum gw_error error;

	if (park->count >= park->count_max)
		return gw_bus_park_leave_out(park, source, ref, "refused, and as many are parked as may be");
	if ((text = row_text(message, reason, &len)) == NULL)
		return GW_E_MEMORY;
	if ((ticket = gw_ticket_get(source)) == NULL) {
		free(text);
		return GW_E_BUSY;
	}
	ticket->essential = true;
	row_key(park->last + 1, key);
	if ((error = gw_ticket_put(ticket, gw_span_text(key), gw_span(text, len))) == GW_OK &&
	    (error = put_refused(ticket, ref, reason, park->last + 1)) == GW_OK && (error = gw_intake_commit(ticket)) == GW_OK) {
		park->last++;
		park->count++;
	}
	gw_ticket_release(ticket);
	free(text);
	return error;
}

enum gw_error
gw_bus_park_remove(struct gw_bus_park *park, struct gw_source *source, uint64_t number)
{
	char key[64];
	enum gw_error error;

	row_key(number, key);
	error = commit_del(source, gw_span_text(key), false);
	if (error == GW_OK && park->count > 0)
		park->count--;
	return error;
}

enum gw_error
gw_bus_park_clear(struct gw_bus_park *park, struct gw_source *source)
{
	enum gw_error error = commit_del(source, gw_span_text(PREFIX), true);

	if (error == GW_OK)
		park->count = 0;
	return error;
}

struct find {
	struct gw_bus_message *message;
	uint64_t number;
	enum gw_error error;
};

static bool
take_row(void *arg, struct gw_span key, struct gw_span value)
{
	struct find *find = arg;
	yyjson_doc *doc = yyjson_read((const char *)value.at, value.len, YYJSON_READ_ALLOW_INVALID_UNICODE);
	yyjson_val *document = yyjson_obj_get(yyjson_doc_get_root(doc), "document");
	const char *topic = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "topic"));
	char *copy = NULL;

	find->number = row_number(key);
	find->error = GW_E_CORRUPT;
	if (topic != NULL && yyjson_is_str(document) && strlen(topic) < sizeof(find->message->topic) &&
	    (copy = malloc(yyjson_get_len(document) + 1)) != NULL) {
		memcpy(copy, yyjson_get_str(document), yyjson_get_len(document));
		free(find->message->document);
		find->message->document = copy;
		find->message->len = find->message->cap = yyjson_get_len(document);
		snprintf(find->message->topic, sizeof(find->message->topic), "%s", topic);
		find->error = GW_OK;
	}
	yyjson_doc_free(doc);
	return false;
}

enum gw_error
gw_bus_park_next(struct gw_bus_park *park, uint64_t after, uint64_t *number, struct gw_bus_message *message)
{
	struct find find = { .message = message, .error = GW_E_NOT_FOUND };
	char key[64];
	enum gw_error error;

	row_key(after, key);
	error = gw_journal_each(park->journal, gw_span_text(PREFIX), after != 0 ? gw_span_text(key) : gw_span(NULL, 0), take_row, &find);
	*number = find.number;
	return error != GW_OK ? error : find.error;
}
