// SPDX-License-Identifier: Apache-2.0
// The bus's connection: Paho's MQTTAsync as an MQTT 5 client with a window of unacknowledged messages in order. Paho stays in bus_link.c.
//
// The outlet's thread calls all of it; Paho's threads only mark messages as answered. Paho keeps nothing over a connection: the journal is the queue,
// and what was not acknowledged when a connection ended is published again from the cursor.
#ifndef GW_BUS_LINK_H
#define GW_BUS_LINK_H

#include "gateway/config.h"
#include "gateway/span.h"

struct gw_bus_link;

// Where a message came from: a reading (or event) of a journal record, or a parked message that is tried again.
struct gw_bus_ref {
	uint64_t position; // 0: parked
	uint32_t index;    // of the reading in its record; GW_BUS_EVENT for the event
	uint64_t parked;   // number of the parked row, where position is 0
};
#define GW_BUS_EVENT UINT32_MAX

// A message that needs more than being passed: refused (reason >= 0x80), or a parked one that was taken.
struct gw_bus_settled {
	struct gw_bus_ref ref;
	uint8_t reason; // MQTT 5 reason code (section 2.4)
};

// Reads password and certificates' names from the configuration, which must outlive it.
enum gw_error gw_bus_link_new(const struct gw_config *config, struct gw_bus_link **link, struct gw_why *why);
void gw_bus_link_free(struct gw_bus_link *link);

// Connects, waits for CONNACK, announces "online" on the status topic (its will says "offline"). The window is empty.
enum gw_error gw_bus_link_connect(struct gw_bus_link *link, struct gw_why *why);
// politely: says "offline" and DISCONNECT, so that the will is not sent. What is unacknowledged is forgotten.
void gw_bus_link_close(struct gw_bus_link *link, bool politely);
bool gw_bus_link_up(struct gw_bus_link *link);

// Messages that may be published now without waiting, and those published and not yet settled.
uint32_t gw_bus_link_room(struct gw_bus_link *link);
uint32_t gw_bus_link_pending(struct gw_bus_link *link);
// Waits until the oldest message is answered, the connection ends, gw_bus_link_wake() is called or timeout_ms have passed.
void gw_bus_link_wait(struct gw_bus_link *link, int timeout_ms);
void gw_bus_link_wake(struct gw_bus_link *link); // any thread

// QoS 1. Needs room. Topic is terminated. GW_E_CLOSED: the connection has ended.
enum gw_error gw_bus_link_publish(struct gw_bus_link *link, const char *topic, struct gw_span payload, const struct gw_bus_ref *ref);
// Wakes Paho's sending thread, whose wake-ups can be lost (1.3.12 to 1.3.14 wait on a condition without looking again): a message would lie there
// for up to a second. To be called when messages are pending and none was answered for a while.
void gw_bus_link_nudge(struct gw_bus_link *link);
// Everything up to this journal position has been published: told by settle once it is answered. False where nothing is under way: it is already.
bool gw_bus_link_covers(struct gw_bus_link *link, uint64_t position);
// Takes answered messages from the window's beginning, in order. *position: what is covered now (unchanged if nothing new). Gives those
// that need more than being passed, at most cap of them; returns how many. Call again while it returns cap.
size_t gw_bus_link_settle(struct gw_bus_link *link, uint64_t *position, struct gw_bus_settled *settled, size_t cap);

struct gw_bus_link_stats {
	uint64_t published, acknowledged, refused, connects;
	char broker[128];
	char last_error[192];
};
void gw_bus_link_stats(struct gw_bus_link *link, struct gw_bus_link_stats *stats); // any thread

#endif
