// SPDX-License-Identifier: Apache-2.0
// What the door puts on record: refused credentials and wills, as device events. The door's thread.
#include "adapters/mqtt/door.h"

#include "gateway/clock.h"

#include <stdio.h>
#include <stdlib.h>

enum { RECORD_EVERY_S = 60 };

// At most one a minute for a name (by its hash: a collision leaves one out, never adds), and mqtt.refusal_records_per_min in all.
static bool
may_record(struct gw_mqtt_door *door, const char *name)
{
	uint64_t hash = gw_name_hash(gw_span_text(name));
	int64_t *us = &door->recorded[hash % GW_MQTT_NAMES].us;

	if (door->recorded[hash % GW_MQTT_NAMES].hash == hash && *us != 0 && door->now_us - *us < RECORD_EVERY_S * INT64_C(1000000))
		return false;
	// A flood of names that do not exist must not fill the journal: a slot changes hands at most once a second.
	if (*us != 0 && door->now_us - *us < INT64_C(1000000))
		return false;
	if (door->now_us - door->records_since_us >= RECORD_EVERY_S * INT64_C(1000000)) {
		door->records_since_us = door->now_us;
		door->records = 0;
	}
	if (door->records >= door->mqtt->refusal_records_per_min)
		return false;
	door->records++;
	door->recorded[hash % GW_MQTT_NAMES].hash = hash;
	*us = door->now_us;
	return true;
}

static void
record_event(struct gw_mqtt_door *door, const struct gw_event *event)
{
	struct gw_ticket *ticket = gw_ticket_get(&door->source);

	if (ticket == NULL)
		return;
	if (gw_ticket_event(ticket, GW_RECORD_DEVICE_EVENT, event) == GW_OK)
		gw_intake_submit(ticket);
	else
		gw_ticket_release(ticket);
}

// A stranger chose the name: no control characters and nothing but UTF-8 goes into a line of diagnostics or into the journal.
static void
clean_name(const char *name, char out[GW_TLS_NAME_MAX + 1])
{
	bool utf8 = gw_mqtt_utf8(gw_span_text(name));
	size_t i;

	for (i = 0; name[i] != '\0' && i < GW_TLS_NAME_MAX; i++) {
		unsigned char c = (unsigned char)name[i];

		out[i] = c < 0x20 || c == 0x7F || (c >= 0x80 && !utf8) ? '?' : name[i];
	}
	out[i] = '\0';
}

void
gw_mqtt_record_refusal(struct gw_mqtt_door *door, const struct gw_mqtt_conn *conn, uint8_t auth, const char *given, const char *text)
{
	char words[GW_TLS_NAME_MAX + 128], name[GW_TLS_NAME_MAX + 1];
	struct gw_event event = {
		.received_us = gw_clock_wall_us(), .door = GW_DOOR_MQTT, .auth = auth, .code = GW_EVENT_REFUSED_CREDENTIAL,
	};

	clean_name(given, name);
	gw_diag_limited(&door->said_refused, 1, GW_NOTICE, "mqtt.refused", "peer=%s name=%s: %s", conn->peer, name, text);
	if (!may_record(door, name))
		return;
	snprintf(words, sizeof(words), "%.100s: %s", text, name);
	event.text = gw_span_text(words);
	if (strlen(name) <= GW_ID_MAX)
		event.principal = gw_span_text(name);
	record_event(door, &event);
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
