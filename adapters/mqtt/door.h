// SPDX-License-Identifier: Apache-2.0
// The door's own: what door.c, door_record.c and listen.c share. The door's thread.
#ifndef GW_MQTT_DOOR_H
#define GW_MQTT_DOOR_H

#include "adapters/mqtt/admit.h"
#include "adapters/mqtt/password.h"
#include "gateway/crowd.h"
#include "gateway/guard.h"

struct gw_mqtt_list {
	struct gw_mqtt_conn *first, *last;
	unsigned count;
};

struct gw_mqtt_door {
	struct gw_mqtt *mqtt;
	pthread_t thread;
	struct gw_mqtt_passwords *passwords;
	int epoll, listener;
	bool listening; // the listener is watched
	struct gw_source source;
	struct gw_mqtt_io io;
	struct gw_mqtt_list slowed, silent, talking; // by age; slowed: of addresses that fail a lot, not begun
	struct gw_crowd addresses; // of all three lists
	struct gw_guard guard;
	struct gw_mqtt_conn *dead;
	int64_t now_us, tick_us;
	struct gw_diag_limit said_refused, said_failed, said_files, said_full;
};

// Tells who was refused and why. name: who it said it was; device: whose the credential is, "" for nobody's.
void gw_mqtt_record_refusal(struct gw_mqtt_door *door, const struct gw_mqtt_conn *conn, uint8_t auth, enum gw_refused why, const char *name, const char *device);
// Makes events of the wills that are due.
void gw_mqtt_record_wills(struct gw_mqtt_door *door);

// A listening socket; why names the options to look at. Port 0 takes a free one; which is logged.
enum gw_error gw_mqtt_listen(const char *address, int64_t port, int *fd, struct gw_why *why);

#endif
