// SPDX-License-Identifier: Apache-2.0
// `events`: what the journal has of who was refused, what devices said of themselves and what outlets left out. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/clock.h"

#include <stdlib.h>
#include <string.h>

#define SHOWN_US INT64_C(86400000000)

struct listing {
	struct gw_call *call;
	const char *kinds, *device; // NULL: all
	int64_t left;
};

static bool
is_kind(struct gw_span kind, const struct gw_event *event)
{
	if (gw_span_is(kind, "refused"))
		return event->code == GW_EVENT_REFUSED_CLAIM || event->code == GW_EVENT_REFUSED_CREDENTIAL || event->code == GW_EVENT_REFUSED_MORE;
	return gw_span_is(kind, gw_event_name(event->code)) || (event->reason != 0 && gw_span_is(kind, gw_refused_name(event->reason)));
}

static bool
is_wanted(const struct listing *listing, const struct gw_event *event)
{
	const char *at = listing->kinds;

	if (listing->device != NULL && !gw_span_is(event->device, listing->device) && !gw_span_is(event->claimed, listing->device))
		return false;
	while (at != NULL) {
		size_t len = strcspn(at, ",");

		if (is_kind(gw_span(at, len), event))
			return true;
		at = at[len] == ',' ? at + len + 1 : NULL;
	}
	return listing->kinds == NULL;
}

static bool
is_known(struct gw_span kind)
{
	if (gw_span_is(kind, "refused"))
		return true;
	for (unsigned code = GW_EVENT_WILL; code <= GW_EVENT_REFUSED_MORE; code++)
		if (gw_span_is(kind, gw_event_name(code)))
			return true;
	for (unsigned reason = 1; reason < GW_REFUSED_COUNT; reason++)
		if (gw_span_is(kind, gw_refused_name(reason)))
			return true;
	return false;
}

static enum gw_error
check_kinds(struct gw_call *call, const char *kinds)
{
	for (const char *at = kinds; at != NULL;) {
		size_t len = strcspn(at, ",");

		if (!is_known(gw_span(at, len)))
			return gw_fail(call->why, GW_E_ARGUMENT, "no such kind: \"%.*s\"; say refused, will, gap, outlet, store, device, or a reason such as wrong-psk",
			    (int)(len < 40 ? len : 40), at);
		at = at[len] == ',' ? at + len + 1 : NULL;
	}
	return GW_OK;
}

static void
add_text(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, struct gw_span text)
{
	if (text.len > 0)
		gw_json_span(doc, object, key, text);
}

static void
add_who(yyjson_mut_doc *doc, yyjson_mut_val *object, const struct gw_event *event)
{
	char text[GW_PEER_TEXT];

	if (event->reason != 0)
		yyjson_mut_obj_add_str(doc, object, "reason", gw_refused_name(event->reason));
	if (event->protocol != 0)
		yyjson_mut_obj_add_str(doc, object, "protocol", gw_protocol_name(event->protocol));
	if (event->peer.len != 0)
		yyjson_mut_obj_add_strcpy(doc, object, "from", gw_peer_text(&event->peer, text));
	if (event->peer.port != 0)
		yyjson_mut_obj_add_uint(doc, object, "port", event->peer.port);
	add_text(doc, object, "claimed", event->claimed);
	if (event->more != 0)
		yyjson_mut_obj_add_uint(doc, object, "more", event->more);
}

static bool
show(struct listing *listing, const struct gw_record *record)
{
	struct gw_event event;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;

	if (record->type != GW_RECORD_DEVICE_EVENT || gw_event_open(record, &event, NULL) != GW_OK || !is_wanted(listing, &event))
		return true;
	if ((doc = gw_call_object(&object)) == NULL)
		return false;
	gw_json_time(doc, object, "at", event.received_us);
	yyjson_mut_obj_add_str(doc, object, "event", gw_event_name(event.code));
	yyjson_mut_obj_add_str(doc, object, "door", gw_door_name(event.door));
	add_who(doc, object, &event);
	add_text(doc, object, "device", event.device);
	add_text(doc, object, "principal", event.principal);
	add_text(doc, object, "route", event.route);
	add_text(doc, object, "text", event.text);
	yyjson_mut_obj_add_uint(doc, object, "position", record->position);
	return gw_call_emit(listing->call, doc) && --listing->left > 0;
}

static enum gw_error
list(struct listing *listing, uint64_t from)
{
	struct gw_journal *journal = listing->call->core->journal;
	size_t cap = GW_RECORD_MAX + 16, used = 1;
	uint8_t *buf = malloc(cap);
	struct gw_record record;
	enum gw_error error = buf != NULL ? GW_OK : GW_E_MEMORY;
	bool wanted = true;

	while (error == GW_OK && used > 0 && wanted && !gw_call_ending(listing->call) && (error = gw_journal_read(journal, from, buf, cap, &used, &from)) == GW_OK)
		for (struct gw_span rest = gw_span(buf, used); wanted && gw_journal_step(&rest, &record);)
			wanted = show(listing, &record);
	free(buf);
	return error;
}

enum gw_error
gw_command_events(struct gw_call *call)
{
	struct listing listing = { .call = call, .kinds = gw_call_text(call, "kind"), .device = gw_call_text(call, "device") };
	uint64_t position = 0;
	int64_t since_us = 0;
	enum gw_error error = gw_call_time(call, "since", gw_clock_wall_us() - SHOWN_US, &since_us);

	if (error == GW_OK)
		error = gw_call_number(call, "limit", 1, INT64_MAX, INT64_MAX, &listing.left);
	if (error == GW_OK)
		error = check_kinds(call, listing.kinds);
	if (error == GW_OK && (error = gw_journal_seek(call->core->journal, since_us, &position)) == GW_OK)
		error = list(&listing, position);
	return error == GW_OK || call->why->text[0] != '\0' ? error : gw_fail(call->why, error, "%s", gw_error_text(error));
}
