// SPDX-License-Identifier: Apache-2.0
// Laying down a ticket's operations. The source's thread. An operation is there whole or not at all.
#include "gateway/ticket.h"
#include "gateway/record_layout.h"

#include <stdlib.h>

_Static_assert(offsetof(struct gw_ticket, inline_ops) % 8 == 0, "operations lie on 8 bytes");
_Static_assert(sizeof(struct gw_op) % 8 == 0 && sizeof(struct gw_key) % 8 == 0, "operations lie on 8 bytes");

static enum gw_error
make_room(struct gw_ticket *ticket, size_t size)
{
	size_t need = ticket->ops_len + size, cap = ticket->ops_cap;
	uint8_t *ops;

	if (need <= cap)
		return GW_OK;
	if (need > GW_TICKET_MAX)
		return GW_E_TOO_LARGE;
	while (cap < need)
		cap *= 2;
	ops = realloc(ticket->ops == ticket->inline_ops ? NULL : ticket->ops, cap);
	if (ops == NULL)
		return GW_E_MEMORY;
	if (ticket->ops == ticket->inline_ops)
		memcpy(ops, ticket->inline_ops, ticket->ops_len);
	ticket->ops = ops;
	ticket->ops_cap = (uint32_t)cap;
	return GW_OK;
}

static size_t
rounded(size_t size)
{
	return (size + 7) & ~(size_t)7;
}

// The place of the next operation with room for `extra` bytes behind its head; counted in by finish().
static enum gw_error
start(struct gw_ticket *ticket, size_t extra, struct gw_op **op)
{
	enum gw_error error;

	if (extra > GW_TICKET_MAX)
		return GW_E_TOO_LARGE;
	if ((error = make_room(ticket, rounded(sizeof(**op) + extra))) != GW_OK)
		return error;
	*op = (struct gw_op *)(void *)(ticket->ops + ticket->ops_len);
	**op = (struct gw_op){ 0 };
	return GW_OK;
}

static void
finish(struct gw_ticket *ticket, struct gw_op *op, enum gw_op_kind kind, size_t extra)
{
	op->kind = (uint16_t)kind;
	op->size = (uint32_t)rounded(sizeof(*op) + extra);
	ticket->ops_len += op->size;
}

enum gw_error
gw_ticket_readings(struct gw_ticket *ticket, const struct gw_batch_head *head, const struct gw_reading *readings,
    size_t count)
{
	size_t keys = count * sizeof(struct gw_key), bound, len;
	struct gw_op *op;
	enum gw_error error;

	if (count == 0)
		return GW_E_EMPTY;
	if (count > GW_RECORD_READINGS_MAX)
		return GW_E_TOO_LARGE;
	bound = gw_record_readings_bound(head, readings, count);
	if ((error = start(ticket, keys + bound, &op)) != GW_OK)
		return error;
	error = gw_record_readings(head, readings, count, (uint8_t *)(op + 1) + keys, bound, &len, (struct gw_key *)(op + 1));
	if (error != GW_OK)
		return error;
	op->count = (uint16_t)count;
	op->body_len = (uint32_t)len;
	op->number = gw_name_hash(head->device);
	finish(ticket, op, GW_OP_READINGS, keys + len);
	return GW_OK;
}

enum gw_error
gw_ticket_event(struct gw_ticket *ticket, enum gw_record_type type, const struct gw_event *event)
{
	size_t bound = EVENT_PEER_TEXTS + event->device.len + event->principal.len + event->route.len + event->peer.len + event->claimed.len +
	    event->text.len + event->data.len, len;
	struct gw_op *op;
	enum gw_error error;

	if (bound > GW_RECORD_MAX)
		return GW_E_TOO_LARGE;
	if ((error = start(ticket, bound, &op)) != GW_OK ||
	    (error = gw_record_event(type, event, (uint8_t *)(op + 1), bound, &len)) != GW_OK)
		return error;
	op->body_len = (uint32_t)len;
	finish(ticket, op, GW_OP_RECORD, len);
	return GW_OK;
}

enum gw_error
gw_ticket_record(struct gw_ticket *ticket, struct gw_span record)
{
	struct gw_op *op;
	enum gw_error error;

	if (record.len > GW_RECORD_MAX)
		return GW_E_TOO_LARGE;
	if ((error = start(ticket, record.len, &op)) != GW_OK)
		return error;
	op->body_len = (uint32_t)record.len;
	gw_put_bytes((uint8_t *)(op + 1), record.at, record.len);
	finish(ticket, op, GW_OP_RECORD, record.len);
	return GW_OK;
}

enum gw_error
gw_ticket_erase(struct gw_ticket *ticket, uint64_t position, const uint16_t *places, size_t count)
{
	size_t size = sizeof(struct gw_op_erase) + count * sizeof(*places);
	struct gw_op_erase *erase;
	struct gw_op *op;
	enum gw_error error;

	if (count == 0 || count > GW_RECORD_READINGS_MAX)
		return GW_E_ARGUMENT;
	if ((error = start(ticket, size, &op)) != GW_OK)
		return error;
	erase = (struct gw_op_erase *)(void *)(op + 1);
	*erase = (struct gw_op_erase){ .position = position, .count = (uint32_t)count };
	memcpy(erase->places, places, count * sizeof(*places));
	op->body_len = (uint32_t)size;
	finish(ticket, op, GW_OP_ERASE, size);
	return GW_OK;
}

enum gw_error
gw_ticket_quarantine(struct gw_ticket *ticket, const struct gw_quarantined *entry)
{
	size_t size;
	struct gw_op *op;
	enum gw_error error;

	if (entry->principal.len > GW_ID_MAX || entry->route.len > UINT16_MAX || entry->reason.len > UINT16_MAX ||
	    entry->payload.len > GW_RECORD_MAX)
		return GW_E_TOO_LARGE;
	size = gw_quarantine_size(entry);
	if ((error = start(ticket, size, &op)) != GW_OK)
		return error;
	gw_quarantine_encode(entry, (uint8_t *)(op + 1));
	op->body_len = (uint32_t)size;
	op->number = gw_name_hash(entry->principal);
	finish(ticket, op, GW_OP_QUARANTINE, size);
	ticket->quarantined = true;
	return GW_OK;
}

enum gw_error
gw_ticket_unquarantine(struct gw_ticket *ticket, uint64_t id)
{
	struct gw_op *op;
	enum gw_error error = start(ticket, 0, &op);

	if (error != GW_OK)
		return error;
	op->number = id;
	finish(ticket, op, GW_OP_UNQUARANTINE, 0);
	return GW_OK;
}

static enum gw_error
row(struct gw_ticket *ticket, enum gw_op_kind kind, struct gw_span key, struct gw_span value)
{
	struct gw_op *op;
	enum gw_error error;

	if (key.len == 0)
		return GW_E_ARGUMENT;
	if (key.len > GW_ROW_KEY_MAX || value.len > GW_RECORD_MAX)
		return GW_E_TOO_LARGE;
	if ((error = start(ticket, key.len + value.len, &op)) != GW_OK)
		return error;
	op->key_len = (uint32_t)key.len;
	op->body_len = (uint32_t)value.len;
	gw_put_bytes(gw_put_bytes((uint8_t *)(op + 1), key.at, key.len), value.at, value.len);
	finish(ticket, op, kind, key.len + value.len);
	return GW_OK;
}

enum gw_error
gw_ticket_put(struct gw_ticket *ticket, struct gw_span key, struct gw_span value)
{
	return row(ticket, GW_OP_PUT, key, value);
}

enum gw_error
gw_ticket_del(struct gw_ticket *ticket, struct gw_span key)
{
	return row(ticket, GW_OP_DEL, key, gw_span(NULL, 0));
}

enum gw_error
gw_ticket_del_prefix(struct gw_ticket *ticket, struct gw_span prefix)
{
	return row(ticket, GW_OP_DEL_PREFIX, prefix, gw_span(NULL, 0));
}
