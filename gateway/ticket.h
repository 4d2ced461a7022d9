// SPDX-License-Identifier: Apache-2.0
// Operations as they lie in a ticket: what ticket.c lays down and the journal reads. Native endian, each on 8 bytes.
#ifndef GW_TICKET_H
#define GW_TICKET_H

#include "gateway/intake.h"
#include "gateway/journal.h"

enum gw_op_kind { GW_OP_READINGS = 1, GW_OP_RECORD, GW_OP_QUARANTINE, GW_OP_UNQUARANTINE, GW_OP_PUT, GW_OP_DEL, GW_OP_DEL_PREFIX, GW_OP_ERASE };

struct gw_op {
	uint32_t size;     // with this head, rounded up to 8
	uint16_t kind;     // enum gw_op_kind
	uint16_t count;    // readings
	uint32_t key_len;  // rows: bytes of the key
	uint32_t body_len; // record, quarantine entry, or a row's value
	uint64_t number;   // readings: hash of the device. unquarantine: id. quarantine: hash of the principal
};

// The body of GW_OP_ERASE: readings of one record, by their places.
struct gw_op_erase {
	uint64_t position;
	uint32_t count;
	uint16_t places[]; // from 0, rising
};

// Readings: count keys, then the record. Rows: the key, then the value. Others: the body.
static inline const struct gw_key *
gw_op_keys(const struct gw_op *op)
{
	return (const struct gw_key *)(op + 1);
}

static inline const uint8_t *
gw_op_body(const struct gw_op *op)
{
	if (op->kind == GW_OP_READINGS)
		return (const uint8_t *)(gw_op_keys(op) + op->count);
	return (const uint8_t *)(op + 1) + op->key_len;
}

// The ticket's next operation after op (NULL: the first); NULL at the end.
static inline const struct gw_op *
gw_op_next(const struct gw_ticket *ticket, const struct gw_op *op)
{
	const uint8_t *at = op == NULL ? ticket->ops : (const uint8_t *)op + op->size;

	return at < ticket->ops + ticket->ops_len ? (const struct gw_op *)(const void *)at : NULL;
}

#define GW_TICKET_MAX (4u << 20) // bytes of one ticket's operations
#define GW_ROW_KEY_MAX 500

// An entry of the quarantine as it is stored (schemas/journal-format.md), without its id.
size_t gw_quarantine_size(const struct gw_quarantined *entry);
void gw_quarantine_encode(const struct gw_quarantined *entry, uint8_t *out);
bool gw_quarantine_decode(struct gw_span bytes, uint64_t id, struct gw_quarantined *entry);

#endif
