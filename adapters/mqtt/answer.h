// SPDX-License-Identifier: Apache-2.0
// From gateway errors to MQTT's words: the one table, for both versions. Pure.
#ifndef GW_MQTT_ANSWER_H
#define GW_MQTT_ANSWER_H

#include "gateway/error.h"

#include <stdbool.h>
#include <stdint.h>

struct gw_mqtt_answer {
	uint8_t ack;        // reason of PUBACK or PUBREC in MQTT 5
	uint8_t disconnect; // not 0: no acknowledgement but this DISCONNECT and close (the client keeps the message and sends it again)
	bool v3_closes;     // 3.1.1, which has no reasons: close instead of acknowledging
};
struct gw_mqtt_answer gw_mqtt_answer(enum gw_error error);

// What the commit said goes before what the frame deserves.
static inline enum gw_error
gw_mqtt_outcome(enum gw_error result, enum gw_error verdict)
{
	return result != GW_OK ? result : verdict;
}

// CONNACK's reason for a CONNECT that cannot be served (MQTT 5; gw_mqtt_return_code gives 3.1.1's).
uint8_t gw_mqtt_connect_reason(enum gw_error error);

#endif
