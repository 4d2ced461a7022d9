// SPDX-License-Identifier: Apache-2.0
// A patient's messages among those that the broker refused: a parked one is his where its reading is. Any thread.
#include "adapters/mqtt/bus.h"

#include "gateway/clock.h"
#include "gateway/erase.h"

#include <stdio.h>
#include <stdlib.h>

// As much of the reading as tells when it was taken. False: it is no reading's document.
static bool
read_document(const struct gw_bus_message *message, char device[GW_ID_MAX + 1], struct gw_point *point)
{
	yyjson_doc *doc = yyjson_read(message->document, message->len, YYJSON_READ_ALLOW_INVALID_UNICODE);
	yyjson_val *root = yyjson_doc_get_root(doc);
	const char *id = yyjson_get_str(yyjson_obj_get(root, "device")), *time = yyjson_get_str(yyjson_obj_get(root, "time"));
	const char *received = yyjson_get_str(yyjson_obj_get(root, "received_time"));
	bool good = id != NULL && strlen(id) <= GW_ID_MAX && received != NULL && gw_time_parse(received, &point->received_us) == 0 &&
	    yyjson_obj_get(root, "event") == NULL;

	if (good && (time == NULL || gw_time_parse(time, &point->reading.time_us) != 0)) {
		point->reading.time_us = point->received_us;
		point->reading.flags |= GW_FLAG_NO_DEVICE_TIME;
	}
	if (good)
		snprintf(device, GW_ID_MAX + 1, "%s", id);
	yyjson_doc_free(doc);
	return good;
}

static bool
goes(struct gw_erasure *erasure, const struct gw_bus_message *message)
{
	struct gw_point point = { 0 };
	char device[GW_ID_MAX + 1];

	return read_document(message, device, &point) && gw_erasure_takes(erasure, gw_erasure_belongs(erasure, device, &point));
}

enum gw_error
gw_bus_park_erase(struct gw_bus_park *park, struct gw_source *source, struct gw_erasure *erasure)
{
	struct gw_bus_message message = { 0 };
	uint64_t number = 0;
	enum gw_error error;

	for (;;) {
		error = gw_bus_park_next(park, number, &number, &message);
		if (error == GW_E_CORRUPT)
			continue;
		if (error != GW_OK)
			break;
		if (!goes(erasure, &message))
			continue;
		erasure->counts.bus++;
		if (!erasure->dry && (error = gw_bus_park_remove(park, source, number)) != GW_OK)
			break;
	}
	gw_bus_message_fini(&message);
	return error == GW_E_NOT_FOUND ? GW_OK : error;
}
