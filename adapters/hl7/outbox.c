// SPDX-License-Identifier: Apache-2.0
// Rows of messages and devices: encode, load, count. The header tells the format and who calls.
#include "adapters/hl7/outbox.h"

#include "adapters/hl7/row_key.h"
#include "gateway/bytes.h"

#include <stdio.h>
#include <stdlib.h>

#define VERSION 2
#define HEAD 24
#define HEAD_1 14 // of version 1
#define KEY_MAX (GW_ID_MAX + 16 + 8 + GW_ID_MAX + 1)
#define REASON_MAX 200

// ---- Rows ----

static struct gw_span
number_key(const struct gw_hl7_outbox *outbox, const char *table, uint64_t number, char out[KEY_MAX])
{
	uint8_t *at = (uint8_t *)out;
	const uint8_t *end = at + KEY_MAX;

	at = gw_hl7_key_text(gw_hl7_key_text(gw_hl7_key_text(at, end, outbox->prefix), end, table), end, "/");
	return gw_span(out, (size_t)(gw_hl7_key_number(at, end, number) - (uint8_t *)out));
}

static struct gw_span
table_key(const struct gw_hl7_outbox *outbox, const char *table, char out[KEY_MAX])
{
	snprintf(out, KEY_MAX, "%s%s/", outbox->prefix, table);
	return gw_span_text(out);
}

static uint64_t
number_of(struct gw_span key)
{
	char digits[17] = "";

	if (key.len >= 16)
		memcpy(digits, key.at + key.len - 16, 16);
	return strtoull(digits, NULL, 16);
}

static enum gw_error
put_row(struct gw_ticket *ticket, struct gw_span key, const struct gw_hl7_message *message, struct gw_span reason)
{
	size_t id_len = strlen(message->control_id), device_len = strlen(message->device), len;
	uint8_t *row, *at;
	enum gw_error error;

	if (reason.len > REASON_MAX)
		reason.len = REASON_MAX;
	len = HEAD + id_len + device_len + reason.len + message->len;
	if ((row = malloc(len)) == NULL)
		return GW_E_MEMORY;
	row[0] = VERSION;
	row[1] = (uint8_t)id_len;
	gw_put16(row + 2, message->errors);
	gw_put64(row + 4, (uint64_t)message->made_us);
	gw_put16(row + 12, (uint16_t)reason.len);
	row[14] = (uint8_t)device_len;
	row[15] = message->backlog;
	gw_put64(row + 16, (uint64_t)message->least_us);
	at = gw_put_bytes(row + HEAD, message->control_id, id_len);
	at = gw_put_bytes(at, message->device, device_len);
	at = gw_put_bytes(at, reason.at, reason.len);
	gw_put_bytes(at, message->bytes, message->len);
	error = gw_ticket_put(ticket, key, gw_span(row, len));
	free(row);
	return error;
}

static bool
read_row(struct gw_span key, struct gw_span value, struct gw_hl7_parked *row)
{
	bool first = value.len >= HEAD_1 && value.at[0] == 1;
	size_t head = first ? HEAD_1 : HEAD, id_len, reason_len, device_len;
	const uint8_t *at;

	if (value.len < head || (!first && value.at[0] != VERSION))
		return false;
	id_len = value.at[1];
	reason_len = gw_get16(value.at + 12);
	device_len = first ? 0 : value.at[14];
	if (id_len == 0 || id_len > GW_HL7_ID_LEN || device_len > GW_ID_MAX || head + id_len + device_len + reason_len > value.len)
		return false;
	at = value.at + head;
	*row = (struct gw_hl7_parked){
		.number = number_of(key),
		.errors = gw_get16(value.at + 2),
		.made_us = (int64_t)gw_get64(value.at + 4),
		.control_id = gw_span(at, id_len),
		.device = gw_span(at + id_len, device_len),
		.reason = gw_span(at + id_len + device_len, reason_len),
		.message = gw_span(at + id_len + device_len + reason_len, value.len - head - id_len - device_len - reason_len),
		.least_us = first ? 0 : (int64_t)gw_get64(value.at + 16),
		.backlog = !first && value.at[15] == 1,
	};
	return true;
}

// ---- Messages in memory ----

static struct gw_hl7_message *
new_message(uint64_t number, struct gw_span control_id, struct gw_span bytes, int64_t made_us)
{
	struct gw_hl7_message *message = malloc(sizeof(*message) + bytes.len);

	if (message == NULL)
		return NULL;
	*message = (struct gw_hl7_message){ .number = number, .made_us = made_us, .len = bytes.len };
	memcpy(message->control_id, control_id.at, control_id.len);
	memcpy(message->bytes, bytes.at, bytes.len);
	return message;
}

static struct gw_hl7_message *
message_of(uint64_t number, const struct gw_hl7_parked *row)
{
	struct gw_hl7_message *message = new_message(number, row->control_id, row->message, row->made_us);

	if (message == NULL)
		return NULL;
	message->errors = row->errors;
	message->least_us = row->least_us;
	message->backlog = row->backlog;
	if (row->device.len > 0)
		memcpy(message->device, row->device.at, row->device.len);
	return message;
}

struct gw_hl7_message *
gw_hl7_outbox_make(struct gw_hl7_outbox *outbox, const char *control_id, struct gw_span bytes, int64_t now_us)
{
	return new_message(++outbox->number, gw_span_text(control_id), bytes, now_us);
}

void
gw_hl7_outbox_append(struct gw_hl7_outbox *outbox, struct gw_hl7_message *message)
{
	struct gw_hl7_message **link = outbox->last;

	if (message->number < outbox->listed)
		for (link = &outbox->first; *link != NULL && ((*link)->number < message->number || (*link)->tried);)
			link = &(*link)->next;
	else
		outbox->listed = message->number;
	message->next = *link;
	*link = message;
	if (message->next == NULL)
		outbox->last = &message->next;
	outbox->count++;
	outbox->of_backlog += message->backlog;
}

struct gw_hl7_message *
gw_hl7_outbox_find(const struct gw_hl7_outbox *outbox, const char *control_id)
{
	struct gw_hl7_message *message = outbox->first;

	while (message != NULL && strcmp(message->control_id, control_id) != 0)
		message = message->next;
	return message;
}

void
gw_hl7_outbox_unlist(struct gw_hl7_outbox *outbox, struct gw_hl7_message *message)
{
	struct gw_hl7_message **link = &outbox->first;

	while (*link != message)
		link = &(*link)->next;
	*link = message->next;
	if (message->next == NULL)
		outbox->last = link;
	outbox->count--;
	outbox->of_backlog -= message->backlog;
	free(message);
}

void
gw_hl7_outbox_shift(struct gw_hl7_outbox *outbox)
{
	struct gw_hl7_message *message = outbox->first;

	outbox->first = message->next;
	if (outbox->first == NULL)
		outbox->last = &outbox->first;
	outbox->count--;
	outbox->of_backlog -= message->backlog;
	free(message);
}

// ---- Open ----

struct load {
	struct gw_hl7_outbox *outbox;
	struct gw_hl7_grouper *grouper;
	const char *table;
	enum gw_error error;
	uint64_t count;
};

static bool
load_message(void *arg, struct gw_span key, struct gw_span value)
{
	struct load *load = arg;
	struct gw_hl7_parked row;
	struct gw_hl7_message *message;

	if (!read_row(key, value, &row)) {
		load->error = GW_E_CORRUPT;
		return false;
	}
	if ((message = message_of(row.number, &row)) == NULL) {
		load->error = GW_E_MEMORY;
		return false;
	}
	gw_hl7_outbox_append(load->outbox, message);
	load->outbox->number = row.number;
	return true;
}

static bool
count_row(void *arg, struct gw_span key, struct gw_span value)
{
	struct load *load = arg;

	(void)value;
	load->count++;
	if (number_of(key) > load->outbox->number)
		load->outbox->number = number_of(key);
	return true;
}

enum gw_error
gw_hl7_outbox_recount(struct gw_hl7_outbox *outbox)
{
	struct load load = { .outbox = outbox };
	char key[KEY_MAX];
	enum gw_error error = gw_journal_each(outbox->journal, table_key(outbox, "parked", key), gw_span(NULL, 0), count_row, &load);

	if (error == GW_OK)
		outbox->parked = load.count;
	return error;
}

void
gw_hl7_outbox_init(struct gw_hl7_outbox *outbox, struct gw_journal *journal, const char *destination)
{
	*outbox = (struct gw_hl7_outbox){ .journal = journal };
	outbox->last = &outbox->first;
	snprintf(outbox->prefix, sizeof(outbox->prefix), "outlet/hl7/%s/", destination);
}

// Of an earlier run, or before an error: which of them were sent is known only as far as this.
static void
mark_tried(struct gw_hl7_outbox *outbox)
{
	unsigned marked[2] = { 0 };

	for (struct gw_hl7_message *message = outbox->first; message != NULL; message = message->next)
		message->tried = message->number <= outbox->tried &&
		    (marked[message->backlog]++ <= GW_HL7_REMOVALS_MAX * GW_HL7_REMOVALS_AT_ONCE || message->errors > 0);
}

static enum gw_error
load_away(struct gw_hl7_outbox *outbox)
{
	char key[KEY_MAX];
	uint8_t value[8];
	size_t len;
	enum gw_error error;

	snprintf(key, sizeof(key), "%saway", outbox->prefix);
	error = gw_journal_get(outbox->journal, gw_span_text(key), value, sizeof(value), &len);
	outbox->is_away = error == GW_OK && len == sizeof(value);
	outbox->tried = outbox->is_away ? gw_get64(value) : UINT64_MAX;
	return error == GW_E_NOT_FOUND ? GW_OK : error;
}

enum gw_error
gw_hl7_outbox_load(struct gw_hl7_outbox *outbox, struct gw_why *why)
{
	struct load load = { .outbox = outbox };
	char key[KEY_MAX];
	enum gw_error error;

	gw_hl7_outbox_fini(outbox);
	outbox->listed = 0;
	error = gw_journal_each(outbox->journal, table_key(outbox, "outbox", key), gw_span(NULL, 0), load_message, &load);
	if (error == GW_OK && (error = load_away(outbox)) == GW_OK)
		mark_tried(outbox);
	if (error == GW_OK && (error = load.error) == GW_OK && (error = gw_hl7_outbox_recount(outbox)) == GW_OK) {
		if (!outbox->is_away)
			outbox->tried = outbox->number;
		return GW_OK;
	}
	gw_hl7_outbox_fini(outbox);
	return gw_fail(why, error, "stored messages below %s: %s", outbox->prefix, gw_error_text(error));
}

void
gw_hl7_outbox_fini(struct gw_hl7_outbox *outbox)
{
	while (outbox->first != NULL)
		gw_hl7_outbox_shift(outbox);
}

static bool
load_device(void *arg, struct gw_span key, struct gw_span value)
{
	struct load *load = arg;
	size_t before = strlen(load->outbox->prefix) + strlen(load->table) + 1;

	if (key.len <= before)
		load->error = GW_E_CORRUPT;
	else
		load->error = gw_hl7_grouper_restore(load->grouper, gw_span(key.at + before, key.len - before), value);
	return load->error == GW_OK;
}

enum gw_error
gw_hl7_outbox_restore(struct gw_hl7_outbox *outbox, const char *table, struct gw_hl7_grouper *grouper)
{
	struct load load = { .outbox = outbox, .grouper = grouper, .table = table };
	char key[KEY_MAX];
	enum gw_error error = gw_journal_each(outbox->journal, table_key(outbox, table, key), gw_span(NULL, 0), load_device, &load);

	return error != GW_OK ? error : load.error;
}

// ---- Operations for a ticket ----

enum gw_error
gw_hl7_outbox_put(struct gw_hl7_outbox *outbox, struct gw_ticket *ticket, const struct gw_hl7_message *message)
{
	char key[KEY_MAX];

	return put_row(ticket, number_key(outbox, "outbox", message->number, key), message, gw_span(NULL, 0));
}

enum gw_error
gw_hl7_outbox_del(struct gw_hl7_outbox *outbox, struct gw_ticket *ticket, const struct gw_hl7_message *message)
{
	char key[KEY_MAX];

	return gw_ticket_del(ticket, number_key(outbox, "outbox", message->number, key));
}

enum gw_error
gw_hl7_outbox_park(struct gw_hl7_outbox *outbox, struct gw_ticket *ticket, const struct gw_hl7_message *message, struct gw_span reason)
{
	char key[KEY_MAX];
	enum gw_error error = gw_hl7_outbox_del(outbox, ticket, message);

	return error != GW_OK ? error : put_row(ticket, number_key(outbox, "parked", message->number, key), message, reason);
}

enum gw_error
gw_hl7_outbox_taken(struct gw_hl7_outbox *outbox, struct gw_ticket *ticket, const char *table, const char *device, struct gw_span state)
{
	uint8_t key[KEY_MAX], *at;
	const uint8_t *end = key + sizeof(key);

	at = gw_hl7_key_text(gw_hl7_key_text(gw_hl7_key_text(key, end, outbox->prefix), end, table), end, "/");
	at = gw_hl7_key_text(at, end, device);
	return gw_ticket_put(ticket, gw_span(key, (size_t)(at - key)), state);
}

struct find {
	struct gw_hl7_outbox *outbox;
	struct gw_hl7_message *message;
	uint64_t from, parked;
	bool exact;
	enum gw_error error;
};

static bool
find_parked(void *arg, struct gw_span key, struct gw_span value)
{
	struct find *find = arg;
	struct gw_hl7_parked row;

	if (number_of(key) < find->from)
		return true;
	if (find->exact && number_of(key) != find->from)
		return false;
	find->parked = number_of(key);
	if (!read_row(key, value, &row)) {
		find->error = GW_E_CORRUPT;
		return false;
	}
	row.errors = 0;
	row.backlog = false;
	find->message = message_of(++find->outbox->number, &row);
	find->error = find->message != NULL ? GW_OK : GW_E_MEMORY;
	return false;
}

enum gw_error
gw_hl7_outbox_unpark(struct gw_hl7_outbox *outbox, struct gw_ticket *ticket, uint64_t from, bool exact, struct gw_hl7_message **message,
    uint64_t *parked)
{
	struct find find = { .outbox = outbox, .from = from, .exact = exact, .error = GW_E_NOT_FOUND };
	char key[KEY_MAX];
	enum gw_error error = gw_journal_each(outbox->journal, table_key(outbox, "parked", key), gw_span(NULL, 0), find_parked, &find);

	if (error != GW_OK || (error = find.error) != GW_OK)
		return error;
	if ((error = gw_ticket_del(ticket, number_key(outbox, "parked", find.parked, key))) != GW_OK ||
	    (error = gw_hl7_outbox_put(outbox, ticket, find.message)) != GW_OK) {
		free(find.message);
		return error;
	}
	*message = find.message;
	*parked = find.parked;
	return GW_OK;
}

enum gw_error
gw_hl7_outbox_away(struct gw_hl7_outbox *outbox, struct gw_ticket *ticket, bool away)
{
	char key[KEY_MAX];
	uint8_t value[8];

	snprintf(key, sizeof(key), "%saway", outbox->prefix);
	if (!away)
		return gw_ticket_del(ticket, gw_span_text(key));
	gw_put64(value, outbox->tried);
	return gw_ticket_put(ticket, gw_span_text(key), gw_span(value, sizeof(value)));
}

enum gw_error
gw_hl7_outbox_drop(struct gw_hl7_outbox *outbox, struct gw_ticket *ticket, uint64_t number)
{
	char key[KEY_MAX];

	return number != 0 ? gw_ticket_del(ticket, number_key(outbox, "parked", number, key))
	    : gw_ticket_del_prefix(ticket, table_key(outbox, "parked", key));
}

// ---- Looking at what is parked ----

struct each {
	gw_hl7_parked_fn *fn;
	void *arg;
};

static bool
give_parked(void *arg, struct gw_span key, struct gw_span value)
{
	struct each *each = arg;
	struct gw_hl7_parked row;

	return !read_row(key, value, &row) || each->fn(each->arg, &row);
}

enum gw_error
gw_hl7_outbox_each(const struct gw_hl7_outbox *outbox, const char *table, gw_hl7_parked_fn *fn, void *arg)
{
	char key[KEY_MAX];

	return gw_journal_each(outbox->journal, table_key(outbox, table, key), gw_span(NULL, 0), give_parked, &(struct each){ fn, arg });
}

enum gw_error
gw_hl7_outbox_parked(const struct gw_hl7_outbox *outbox, gw_hl7_parked_fn *fn, void *arg)
{
	return gw_hl7_outbox_each(outbox, "parked", fn, arg);
}
