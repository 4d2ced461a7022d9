// SPDX-License-Identifier: Apache-2.0
// The present figures of all devices' clocks, for people (design, promise 7): measured from frames as they are taken in, kept in memory only; what decides whose a
// reading is comes from the journal (gateway/device_clock.h), never from here.
// Sources' threads write, commands read. Nobody waits: a frame that finds its device's figures in use by another thread leaves them as they are.
#ifndef GW_DEVICE_CLOCKS_H
#define GW_DEVICE_CLOCKS_H

#include "gateway/device_clock.h"

#define GW_DEVICE_CLOCKS_MAX 8192 // devices that are measured: the first ones since the start

struct gw_device_clocks;
struct gw_device_clocks *gw_device_clocks_new(void); // NULL: out of memory
void gw_device_clocks_free(struct gw_device_clocks *clocks);

// A frame's readings of a device of the registry: any thread.
void gw_device_clocks_take(struct gw_device_clocks *clocks, struct gw_span device, int64_t received_us, const struct gw_reading *readings, size_t count);
// False where the device has sent nothing since the start, or is beyond the limit.
bool gw_device_clocks_shown(struct gw_device_clocks *clocks, struct gw_span device, struct gw_clock_shown *shown);

#endif
