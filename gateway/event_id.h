// SPDX-License-Identifier: Apache-2.0
// An event's identifier outside of the gateway: the same on the bus and in syslog. Pure; any thread.
#ifndef GW_EVENT_ID_H
#define GW_EVENT_ID_H

#include "gateway/record.h"

// An event has no key as a reading has one: its identifier is a hash of the store's incarnation and of all that it says.
void gw_event_id(uint64_t incarnation, const struct gw_event *event, char out[33]);

#endif
