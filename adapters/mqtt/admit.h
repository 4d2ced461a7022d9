// SPDX-License-Identifier: Apache-2.0
// Who may come in, and as whom: CONNECT against what the handshake proved and what the registry knows. The door's thread.
#ifndef GW_MQTT_ADMIT_H
#define GW_MQTT_ADMIT_H

#include "adapters/mqtt/conn.h"

enum gw_mqtt_admission {
	GW_MQTT_ADMITTED,       // it has a session; serve it
	GW_MQTT_INCOMPLETE,     // CONNECT is not all there
	GW_MQTT_CHECK_PASSWORD, // costs milliseconds: on the password's thread; then again with conn->checked
	GW_MQTT_SESSION_BUSY,   // its session's connection ends first; again when woken
	GW_MQTT_REFUSED,        // refusal->reason is to be told to a client of refusal->version (0: say nothing)
};

struct gw_mqtt_refusal {
	uint8_t version, reason;
	enum gw_error error;    // GW_OK where no credential was at fault: nothing to record; GW_E_QUOTA: it was right, but has too many connections
	enum gw_refused why;    // and for the record:
	char name[GW_TLS_NAME_MAX + 1]; // who it said it was
	char device[GW_ID_MAX + 1];     // whose it proved to be; empty: nobody's
};

// conn->in holds what came; bytes behind CONNECT stay there.
enum gw_mqtt_admission gw_mqtt_admit(struct gw_mqtt_conn *conn, struct gw_mqtt_refusal *refusal);

// The password in conn->in's CONNECT. The password's thread: conn is CHECKING and touched by nobody else meanwhile.
bool gw_mqtt_check_password(struct gw_mqtt_conn *conn);

#endif
