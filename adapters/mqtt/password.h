// SPDX-License-Identifier: Apache-2.0
// The password's thread and its queue. The door's thread calls all of this; a connection that was handed in is CHECKING and touched by nobody
// but the password's thread until it is taken back (its socket may be watched meanwhile).
#ifndef GW_MQTT_PASSWORD_H
#define GW_MQTT_PASSWORD_H

#include "adapters/mqtt/conn.h"

struct gw_mqtt_passwords;

// wake_fd: eventfd, written when one is done. NULL: no thread or no memory.
// of_one: how many of one user from one address may wait; of_address: of one address.
struct gw_mqtt_passwords *gw_mqtt_passwords_open(int wake_fd, unsigned of_one, unsigned of_address);
// false: too many of this user or address wait already.
bool gw_mqtt_passwords_ask(struct gw_mqtt_passwords *passwords, struct gw_mqtt_conn *conn);
// It need not be checked any more; it comes back all the same.
void gw_mqtt_passwords_abandon(struct gw_mqtt_passwords *passwords, struct gw_mqtt_conn *conn);
// Those that are done, a list by inbox_next: checked and password_right are set.
struct gw_mqtt_conn *gw_mqtt_passwords_take(struct gw_mqtt_passwords *passwords);
// Ends the thread; everyone who waited is there to be taken, checked or not.
void gw_mqtt_passwords_stop(struct gw_mqtt_passwords *passwords);
void gw_mqtt_passwords_close(struct gw_mqtt_passwords *passwords);

#endif
