// SPDX-License-Identifier: Apache-2.0
// The serving thread's tickets: the link's requests become tickets of the round, which are submitted together. Nothing here allocates for a message.
#include "adapters/mqtt/serve.h"

#include "adapters/mqtt/answer.h"

struct gw_ticket *
gw_mqtt_ticket_get(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn, const struct gw_mqtt_pass *pass)
{
	struct gw_ticket *ticket = gw_ticket_get(&worker->source);

	if (ticket == NULL) {
		worker->no_ticket = true;
		return NULL;
	}
	ticket->owner = conn;
	ticket->tag[0] = (uint64_t)pass->kind | (uint64_t)pass->qos << 8 | (uint64_t)pass->id << 16;
	ticket->tag[1] = pass->hash;
	return ticket;
}

struct gw_mqtt_pass
gw_mqtt_pass_of(const struct gw_ticket *ticket)
{
	return (struct gw_mqtt_pass){ (uint8_t)ticket->tag[0], (uint8_t)(ticket->tag[0] >> 8), (uint16_t)(ticket->tag[0] >> 16), ticket->tag[1] };
}

void
gw_mqtt_ticket_queue(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn, struct gw_ticket *ticket)
{
	conn->tickets++;
	ticket->next = NULL;
	*worker->batch_end = ticket;
	worker->batch_end = &ticket->next;
}

void
gw_mqtt_tickets_submit(struct gw_mqtt_worker *worker)
{
	struct gw_ticket *first = worker->batch;

	worker->batch = NULL;
	worker->batch_end = &worker->batch;
	if (first != NULL)
		gw_intake_submit_all(first); // together: one wake-up, one group
}

// PUBREC will say success, so the identifier commits with the frame.
static bool
keeps_id(const struct gw_mqtt_conn *conn, enum gw_error verdict)
{
	struct gw_mqtt_answer answer = gw_mqtt_answer(verdict);

	if (!conn->link.session->durable || answer.disconnect != 0)
		return false;
	return conn->link.version == 5 ? answer.ack < 0x80 : !answer.v3_closes;
}

static void
fill_message(struct gw_mqtt_conn *conn, const struct gw_mqtt_pass *pass, const struct gw_mqtt_message *message, struct gw_ticket *ticket)
{
	struct gw_mqtt_counts *counts = &conn->worker->counts;
	struct gw_frame frame = {
		.door = GW_DOOR_MQTT,
		.auth = conn->auth,
		.principal = conn->principal,
		.route = message->topic,
		.payload = message->payload,
		.content_format = message->content_format,
		.received_us = conn->worker->wall_us,
		.protocol = GW_PROTOCOL_MQTTS,
		.peer = &conn->at,
	};

	gw_line_take(conn->worker->line, &frame, ticket);
	gw_mqtt_add(&counts->messages, 1);
	gw_mqtt_add(&counts->bytes, message->payload.len);
	if (pass->qos == 2 && keeps_id(conn, ticket->verdict) && gw_mqtt_session_put_id(ticket, conn->link.session, pass->id) != GW_OK)
		ticket->verdict = GW_E_MEMORY; // it is stored, but not acknowledged: it comes again and is known then
}

static enum gw_error
fill_rows(struct gw_mqtt_conn *conn, const struct gw_mqtt_pass *pass, struct gw_ticket *ticket)
{
	ticket->essential = true;
	switch (pass->kind) {
	case GW_MQTT_PASS_RELEASE: return gw_mqtt_session_drop_id(ticket, conn->link.session, pass->id);
	case GW_MQTT_PASS_KEEP: return gw_mqtt_session_put(ticket, conn->link.session);
	default: return GW_OK;
	}
}

static enum gw_error
on_submit(void *arg, const struct gw_mqtt_pass *pass, const struct gw_mqtt_message *message)
{
	struct gw_mqtt_conn *conn = arg;
	struct gw_ticket *ticket = gw_mqtt_ticket_get(conn->worker, conn, pass);

	if (ticket == NULL)
		return GW_E_BUSY;
	if (message != NULL)
		fill_message(conn, pass, message, ticket);
	else
		ticket->verdict = fill_rows(conn, pass, ticket);
	gw_mqtt_ticket_queue(conn->worker, conn, ticket);
	return GW_OK;
}

static void
on_write(void *arg, const uint8_t *bytes, size_t len)
{
	gw_mqtt_conn_write(arg, bytes, len);
}

static void
on_foreign(void *arg, struct gw_span filter)
{
	struct gw_mqtt_conn *conn = arg;
	struct gw_span principal = gw_span_text(conn->principal);
	const struct gw_attempt attempt = { .door = GW_DOOR_MQTT, .auth = conn->auth, .protocol = GW_PROTOCOL_MQTTS, .reason = GW_REFUSED_DEVICE_FOREIGN,
		.peer = conn->at, .claimed = principal, .device = principal, .route = filter, .text = "may not subscribe to this topic" };

	gw_refusals_tell(conn->mqtt->core->refusals, &attempt);
}

const struct gw_mqtt_host gw_mqtt_serving_host = { on_submit, on_write, on_foreign };
