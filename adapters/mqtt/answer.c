// SPDX-License-Identifier: Apache-2.0
// The tables of answers. Content that was refused lies in quarantine by then, so 3.1.1, whose PUBACK has no reasons, acknowledges it: sent again
// for ever it would block what comes behind it. "Later" never acknowledges.
#include "adapters/mqtt/answer.h"

#include "adapters/mqtt/packet.h"

#define CONTENT(reason) { reason, 0, false }
#define REFUSED(reason) { reason, 0, true }
#define LATER(reason) { 0, reason, true }

static const struct gw_mqtt_answer answers[GW_ERROR_COUNT] = {
	[GW_OK] = { GW_MQTT_SUCCESS, 0, false },
	[GW_E_FORMAT] = CONTENT(GW_MQTT_PAYLOAD_FORMAT),
	[GW_E_ROUTE] = CONTENT(GW_MQTT_TOPIC_NAME),
	[GW_E_CONTENT_FORMAT] = CONTENT(GW_MQTT_PAYLOAD_FORMAT),
	[GW_E_FIELD] = CONTENT(GW_MQTT_PAYLOAD_FORMAT),
	[GW_E_EMPTY] = CONTENT(GW_MQTT_PAYLOAD_FORMAT),
	[GW_E_TOO_LARGE] = CONTENT(GW_MQTT_PAYLOAD_FORMAT),
	[GW_E_ARGUMENT] = CONTENT(GW_MQTT_PAYLOAD_FORMAT),
	[GW_E_PROTOCOL] = CONTENT(GW_MQTT_PAYLOAD_FORMAT),
	[GW_E_FORBIDDEN] = REFUSED(GW_MQTT_NOT_AUTHORIZED),
	[GW_E_DISABLED] = REFUSED(GW_MQTT_NOT_AUTHORIZED),
	[GW_E_UNAUTHENTICATED] = REFUSED(GW_MQTT_NOT_AUTHORIZED),
	[GW_E_QUOTA] = REFUSED(GW_MQTT_QUOTA),
	[GW_E_EXISTS] = REFUSED(GW_MQTT_UNSPECIFIED),
	[GW_E_NOT_FOUND] = REFUSED(GW_MQTT_UNSPECIFIED),
	[GW_E_BUSY] = LATER(GW_MQTT_QUOTA),
	[GW_E_FULL] = LATER(GW_MQTT_QUOTA),
	[GW_E_STOPPING] = LATER(GW_MQTT_SHUTTING_DOWN),
	[GW_E_TIMEOUT] = LATER(GW_MQTT_UNSPECIFIED),
	[GW_E_CLOSED] = LATER(GW_MQTT_UNSPECIFIED),
	[GW_E_SYNC] = LATER(GW_MQTT_SHUTTING_DOWN),
	[GW_E_CORRUPT] = LATER(GW_MQTT_UNSPECIFIED),
	[GW_E_VERSION] = LATER(GW_MQTT_UNSPECIFIED),
	[GW_E_CONFIG] = LATER(GW_MQTT_UNSPECIFIED),
	[GW_E_SYSTEM] = LATER(GW_MQTT_UNSPECIFIED),
	[GW_E_MEMORY] = LATER(GW_MQTT_UNSPECIFIED),
};

struct gw_mqtt_answer
gw_mqtt_answer(enum gw_error error)
{
	static const struct gw_mqtt_answer unknown = LATER(GW_MQTT_UNSPECIFIED);

	return (unsigned)error < GW_ERROR_COUNT ? answers[error] : unknown;
}

static const struct { enum gw_error error; uint8_t reason; } connects[] = {
	{ GW_OK, GW_MQTT_SUCCESS },
	{ GW_E_UNAUTHENTICATED, GW_MQTT_NOT_AUTHORIZED },
	{ GW_E_FORBIDDEN, GW_MQTT_BAD_CREDENTIALS }, // a user or password that is wrong
	{ GW_E_DISABLED, GW_MQTT_NOT_AUTHORIZED },
	{ GW_E_FULL, GW_MQTT_QUOTA },
	{ GW_E_QUOTA, GW_MQTT_QUOTA },
};

uint8_t
gw_mqtt_connect_reason(enum gw_error error)
{
	for (size_t i = 0; i < sizeof(connects) / sizeof(connects[0]); i++)
		if (connects[i].error == error)
			return connects[i].reason;
	return GW_MQTT_UNAVAILABLE;
}
