// SPDX-License-Identifier: Apache-2.0
// The serving thread's own: what serve.c and serve_ticket.c share.
#ifndef GW_MQTT_SERVE_H
#define GW_MQTT_SERVE_H

#include "adapters/mqtt/conn.h"

// A ticket of conn with pass in its tags; NULL (and worker->no_ticket) where all are under way.
struct gw_ticket *gw_mqtt_ticket_get(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn, const struct gw_mqtt_pass *pass);
struct gw_mqtt_pass gw_mqtt_pass_of(const struct gw_ticket *ticket);
// Into this round's batch, and all of the batch to intake.
void gw_mqtt_ticket_queue(struct gw_mqtt_worker *worker, struct gw_mqtt_conn *conn, struct gw_ticket *ticket);
void gw_mqtt_tickets_submit(struct gw_mqtt_worker *worker);

// The link's host; its argument is the connection.
extern const struct gw_mqtt_host gw_mqtt_serving_host;

#endif
