// SPDX-License-Identifier: Apache-2.0
// What goes onto the bus: topic and document of one reading or one event. The outlet's thread.
#include "adapters/mqtt/bus.h"

#include "gateway/clock.h"
#include "gateway/event_id.h"

#include <stdio.h>
#include <stdlib.h>

void
gw_bus_message_fini(struct gw_bus_message *message)
{
	free(message->document);
	*message = (struct gw_bus_message){ 0 };
}

static bool
make_room(struct gw_bus_message *message, size_t need)
{
	char *larger;

	if (need <= message->cap)
		return true;
	if ((larger = realloc(message->document, need + 1024)) == NULL)
		return false;
	message->document = larger;
	message->cap = need + 1024;
	return true;
}

enum gw_error
gw_bus_message_reading(struct gw_bus_message *message, const char *prefix, uint64_t incarnation, const struct gw_batch_head *head,
    const struct gw_reading *reading)
{
	size_t need = gw_reading_is_erased(reading) ? 0 : gw_bus_topic(prefix, head->device, reading, message->topic, sizeof(message->topic) - 1);

	if (need == 0)
		return GW_E_NOT_FOUND;
	message->topic[need] = '\0';
	need = gw_bus_encode(incarnation, head, reading, message->document, message->cap);
	if (need > message->cap) {
		if (!make_room(message, need))
			return GW_E_MEMORY;
		need = gw_bus_encode(incarnation, head, reading, message->document, message->cap);
	}
	message->len = need;
	return need > 0 ? GW_OK : GW_E_NOT_FOUND;
}

static void
add_text(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *name, struct gw_span text)
{
	if (text.len > 0)
		yyjson_mut_obj_add_strn(doc, object, name, (const char *)text.at, text.len);
}

static char *
event_document(uint64_t incarnation, const struct gw_event *event, size_t *len)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *object = yyjson_mut_obj(doc);
	char id[33], received[40], from[GW_PEER_TEXT], *text;

	gw_event_id(incarnation, event, id);
	yyjson_mut_doc_set_root(doc, object);
	yyjson_mut_obj_add_str(doc, object, "id", id);
	yyjson_mut_obj_add_str(doc, object, "event", gw_event_name(event->code));
	add_text(doc, object, "device", event->device);
	add_text(doc, object, "principal", event->principal);
	if (event->reason != 0)
		yyjson_mut_obj_add_str(doc, object, "reason", gw_refused_name(event->reason));
	if (event->protocol != 0)
		yyjson_mut_obj_add_str(doc, object, "protocol", gw_protocol_name(event->protocol));
	if (event->peer.len != 0)
		yyjson_mut_obj_add_str(doc, object, "from", gw_peer_text(&event->peer, from));
	if (event->peer.port != 0)
		yyjson_mut_obj_add_uint(doc, object, "port", event->peer.port);
	add_text(doc, object, "claimed", event->claimed);
	if (event->more != 0)
		yyjson_mut_obj_add_uint(doc, object, "more", event->more);
	add_text(doc, object, "route", event->route);
	add_text(doc, object, "text", event->text);
	yyjson_mut_obj_add_str(doc, object, "door", gw_door_name(event->door));
	yyjson_mut_obj_add_str(doc, object, "received", gw_time_format(event->received_us, received));
	text = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, len);
	yyjson_mut_doc_free(doc);
	return text;
}

// The device's level is escaped as for readings; the signal's gives way to "event", which is no signal's name. What concerns no device is the gateway's.
static bool
event_topic(struct gw_bus_message *message, const struct gw_config *config, struct gw_span device)
{
	const struct gw_reading none = { 0 };
	size_t len;
	char *last;

	if (device.len == 0) {
		len = (size_t)snprintf(message->topic, sizeof(message->topic), "%s-gateway/%s/event", config->bus_prefix, config->bus_client_id);
		return len < sizeof(message->topic);
	}
	len = gw_bus_topic(config->bus_prefix, device, &none, message->topic, sizeof(message->topic) - 1);
	message->topic[len] = '\0';
	if (len == 0 || (last = strrchr(message->topic, '/')) == NULL || (size_t)(last - message->topic) + sizeof("/event") > sizeof(message->topic))
		return false;
	memcpy(last, "/event", sizeof("/event"));
	return true;
}

enum gw_error
gw_bus_message_event(struct gw_bus_message *message, const struct gw_config *config, uint64_t incarnation, const struct gw_event *event)
{
	size_t len;
	char *text;

	// What the bus itself left out would beget the next such event where a broker refuses everything.
	if ((event->code == GW_EVENT_GAP && gw_span_is(event->route, "outlet/bus")) || !event_topic(message, config, event->device))
		return GW_E_NOT_FOUND;
	if ((text = event_document(incarnation, event, &len)) == NULL)
		return GW_E_MEMORY;
	if (!make_room(message, len)) {
		free(text);
		return GW_E_MEMORY;
	}
	memcpy(message->document, text, len);
	message->len = len;
	free(text);
	return GW_OK;
}

static enum gw_error
of_record(struct gw_bus_message *message, const struct gw_config *config, uint64_t incarnation, const struct gw_record *record, uint32_t index)
{
	struct gw_batch batch;
	struct gw_reading reading;
	struct gw_event event;
	enum gw_error error;

	if (index == GW_BUS_EVENT)
		return (error = gw_event_open(record, &event, NULL)) != GW_OK ? error
		    : gw_bus_message_event(message, config, incarnation, &event);
	if ((error = gw_batch_open(record, &batch, NULL)) != GW_OK)
		return error;
	for (uint32_t i = 0; gw_batch_next(&batch, &reading); i++)
		if (i == index)
			return gw_bus_message_reading(message, config->bus_prefix, incarnation, &batch.head, &reading);
	return GW_E_NOT_FOUND;
}

enum gw_error
gw_bus_message_again(struct gw_bus_message *message, const struct gw_config *config, struct gw_journal *journal, const struct gw_bus_ref *ref)
{
	size_t cap = GW_RECORD_MAX + 16, used = 0;
	uint8_t *buf = malloc(cap);
	uint64_t next;
	struct gw_record record;
	struct gw_span span;
	enum gw_error error;

	if (buf == NULL)
		return GW_E_MEMORY;
	if ((error = gw_journal_read(journal, ref->position, buf, cap, &used, &next)) == GW_OK) {
		span = gw_span(buf, used);
		error = gw_journal_step(&span, &record) && record.position == ref->position && record.type != 0
		    ? of_record(message, config, gw_journal_incarnation(journal), &record, ref->index) : GW_E_NOT_FOUND;
	}
	free(buf);
	return error;
}
