// SPDX-License-Identifier: Apache-2.0
// Rows of messages and devices: encode, load, count. The header tells the format and who calls.
#include "adapters/hl7/outbox.h"

#include "gateway/bytes.h"

#include <stdio.h>
#include <stdlib.h>

#define VERSION 1
#define HEAD 14
#define KEY_MAX (GW_ID_MAX + 16 + 8 + GW_ID_MAX + 1)
#define REASON_MAX 200

// ---- Rows ----

static struct gw_span
number_key(const struct gw_hl7_outbox *outbox, const char *table, uint64_t number, char out[KEY_MAX])
{
	snprintf(out, KEY_MAX, "%s%s/%016llx", outbox->prefix, table, (unsigned long long)number);
	return gw_span_text(out);
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
	size_t id_len = strlen(message->control_id), len;
	uint8_t *row;
	enum gw_error error;

	if (reason.len > REASON_MAX)
		reason.len = REASON_MAX;
	len = HEAD + id_len + reason.len + message->len;
	if ((row = malloc(len)) == NULL)
		return GW_E_MEMORY;
	row[0] = VERSION;
	row[1] = (uint8_t)id_len;
	gw_put16(row + 2, message->errors);
	gw_put64(row + 4, (uint64_t)message->made_us);
	gw_put16(row + 12, (uint16_t)reason.len);
	memcpy(row + HEAD, message->control_id, id_len);
	if (reason.len > 0)
		memcpy(row + HEAD + id_len, reason.at, reason.len);
	memcpy(row + HEAD + id_len + reason.len, message->bytes, message->len);
	error = gw_ticket_put(ticket, key, gw_span(row, len));
	free(row);
	return error;
}

static bool
read_row(struct gw_span key, struct gw_span value, struct gw_hl7_parked *row)
{
	size_t id_len, reason_len;

	if (value.len < HEAD || value.at[0] != VERSION)
		return false;
	id_len = value.at[1];
	reason_len = gw_get16(value.at + 12);
	if (id_len == 0 || id_len > GW_HL7_ID_LEN || HEAD + id_len + reason_len > value.len)
		return false;
	*row = (struct gw_hl7_parked){
		.number = number_of(key),
		.errors = gw_get16(value.at + 2),
		.made_us = (int64_t)gw_get64(value.at + 4),
		.control_id = gw_span(value.at + HEAD, id_len),
		.reason = gw_span(value.at + HEAD + id_len, reason_len),
		.message = gw_span(value.at + HEAD + id_len + reason_len, value.len - HEAD - id_len - reason_len),
	};
	return true;
}

// ---- Messages in memory ----

static struct gw_hl7_message *
new_message(uint64_t number, struct gw_span control_id, struct gw_span bytes, int64_t made_us, uint16_t errors)
{
	struct gw_hl7_message *message = calloc(1, sizeof(*message) + bytes.len);

	if (message == NULL)
		return NULL;
	message->number = number;
	message->made_us = made_us;
	message->errors = errors;
	message->len = bytes.len;
	memcpy(message->control_id, control_id.at, control_id.len);
	memcpy(message->bytes, bytes.at, bytes.len);
	return message;
}

struct gw_hl7_message *
gw_hl7_outbox_make(struct gw_hl7_outbox *outbox, const char *control_id, struct gw_span bytes, int64_t now_us)
{
	return new_message(++outbox->number, gw_span_text(control_id), bytes, now_us, 0);
}

void
gw_hl7_outbox_append(struct gw_hl7_outbox *outbox, struct gw_hl7_message *message)
{
	message->next = NULL;
	*outbox->last = message;
	outbox->last = &message->next;
	outbox->count++;
}

void
gw_hl7_outbox_shift(struct gw_hl7_outbox *outbox)
{
	struct gw_hl7_message *message = outbox->first;

	outbox->first = message->next;
	if (outbox->first == NULL)
		outbox->last = &outbox->first;
	outbox->count--;
	free(message);
}

// ---- Open ----

struct load {
	struct gw_hl7_outbox *outbox;
	struct gw_hl7_grouper *grouper;
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
	if ((message = new_message(row.number, row.control_id, row.message, row.made_us, row.errors)) == NULL) {
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

enum gw_error
gw_hl7_outbox_load(struct gw_hl7_outbox *outbox, struct gw_why *why)
{
	struct load load = { .outbox = outbox };
	char key[KEY_MAX];
	enum gw_error error;

	gw_hl7_outbox_fini(outbox);
	error = gw_journal_each(outbox->journal, table_key(outbox, "outbox", key), gw_span(NULL, 0), load_message, &load);
	if (error == GW_OK && (error = load.error) == GW_OK && (error = gw_hl7_outbox_recount(outbox)) == GW_OK)
		return GW_OK;
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
	size_t before = strlen(load->outbox->prefix) + sizeof("device/") - 1;

	if (key.len <= before)
		load->error = GW_E_CORRUPT;
	else
		load->error = gw_hl7_grouper_restore(load->grouper, gw_span(key.at + before, key.len - before), value);
	return load->error == GW_OK;
}

enum gw_error
gw_hl7_outbox_restore(struct gw_hl7_outbox *outbox, struct gw_hl7_grouper *grouper)
{
	struct load load = { .outbox = outbox, .grouper = grouper };
	char key[KEY_MAX];
	enum gw_error error = gw_journal_each(outbox->journal, table_key(outbox, "device", key), gw_span(NULL, 0), load_device, &load);

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
gw_hl7_outbox_taken(struct gw_hl7_outbox *outbox, struct gw_ticket *ticket, const char *device, struct gw_span state)
{
	char key[KEY_MAX];

	snprintf(key, sizeof(key), "%sdevice/%s", outbox->prefix, device);
	return gw_ticket_put(ticket, gw_span_text(key), state);
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
	find->message = new_message(++find->outbox->number, row.control_id, row.message, row.made_us, 0);
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
gw_hl7_outbox_parked(const struct gw_hl7_outbox *outbox, gw_hl7_parked_fn *fn, void *arg)
{
	char key[KEY_MAX];

	return gw_journal_each(outbox->journal, table_key(outbox, "parked", key), gw_span(NULL, 0), give_parked, &(struct each){ fn, arg });
}
