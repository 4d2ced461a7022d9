// SPDX-License-Identifier: Apache-2.0
// What the door puts on record: refused credentials (gateway/refusals.h) and wills, as device events. The door's thread.
#include "adapters/mqtt/door.h"

#include "gateway/clock.h"

#include <stdlib.h>

void
gw_mqtt_record_refusal(struct gw_mqtt_door *door, const struct gw_mqtt_conn *conn, uint8_t auth, enum gw_refused why, const char *name, const char *device)
{
	const struct gw_attempt attempt = { .door = GW_DOOR_MQTT, .auth = auth, .protocol = GW_PROTOCOL_MQTTS, .reason = why, .peer = conn->at,
		.claimed = gw_span_text(name), .device = gw_span_text(device) };

	gw_refusals_tell(door->mqtt->core->refusals, &attempt);
}

// At most GW_ROUTE_MAX bytes of it, whole characters.
static struct gw_span
will_route(const struct gw_mqtt_will *will)
{
	size_t len = will->topic_len;

	if (len > GW_ROUTE_MAX)
		for (len = GW_ROUTE_MAX; len > 0 && (will->bytes[len] & 0xC0) == 0x80; len--)
			;
	return gw_span(will->bytes, len);
}

static bool
record_will(struct gw_mqtt_door *door, const struct gw_mqtt_will *will)
{
	struct gw_event event = {
		.received_us = gw_clock_wall_us(), .door = GW_DOOR_MQTT, .auth = will->auth, .code = GW_EVENT_WILL,
		.device = gw_span_text(will->principal), .principal = gw_span_text(will->principal),
		.route = will_route(will),
		.text = gw_span_text("connection ended without DISCONNECT"),
		.data = gw_span(will->bytes + will->topic_len, will->payload_len),
	};
	struct gw_ticket *ticket = gw_ticket_get(&door->source);

	if (ticket == NULL)
		return false;
	if (gw_ticket_event(ticket, GW_RECORD_DEVICE_EVENT, &event) != GW_OK) {
		gw_ticket_release(ticket);
		return true;
	}
	gw_intake_submit(ticket);
	gw_mqtt_add(&door->mqtt->door_counts.wills, 1);
	return true;
}

void
gw_mqtt_record_wills(struct gw_mqtt_door *door)
{
	struct gw_mqtt_will *will = gw_mqtt_sessions_wills(door->mqtt->sessions, door->now_us), *next;

	for (; will != NULL; will = next) {
		next = will->next;
		if (record_will(door, will)) {
			free(will);
		} else {
			will->session = NULL; // no ticket: at the next tick
			gw_mqtt_sessions_leave_will(door->mqtt->sessions, will);
		}
	}
}
