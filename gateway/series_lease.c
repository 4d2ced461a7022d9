// SPDX-License-Identifier: Apache-2.0
// Holding the running series store in pieces: the header says what for. The command's thread.
#include "gateway/series_lease.h"

#include "gateway/clock.h"
#include "gateway/daemon.h"
#include "gateway/series_outlet.h"

#include <unistd.h>

#define PIECE_US 200000
#define PAUSE_US 5000
#define AGAIN_US 50000
#define AGAIN_US_MAX 15000000

void
gw_series_lease_hold(struct gw_series_lease *lease, struct gw_call *call)
{
	*lease = (struct gw_series_lease){ .call = call, .held = call->parts != NULL };
	if (!lease->held)
		return;
	gw_parts_hold(call->parts);
	lease->store = gw_series_running();
	lease->opened = gw_series_running_count();
	lease->since_us = gw_clock_mono_us();
}

void
gw_series_lease_release(struct gw_series_lease *lease)
{
	if (lease->held)
		gw_parts_release(lease->call->parts);
	lease->held = false;
}

bool
gw_series_lease_breathe(struct gw_series_lease *lease)
{
	if (!lease->held || gw_clock_mono_us() - lease->since_us < PIECE_US)
		return !lease->lost;
	// Whoever waits for them alone has its turn before they are held again; the part itself looks now and then whether it can have them.
	gw_parts_release(lease->call->parts);
	usleep(PAUSE_US);
	gw_parts_hold(lease->call->parts);
	lease->since_us = gw_clock_mono_us();
	lease->lost = gw_series_running() == NULL || gw_series_running_count() != lease->opened || gw_series_broken(lease->store);
	return !lease->lost;
}

enum gw_error
gw_series_lease_again(struct gw_series_lease *lease)
{
	struct gw_call *call = lease->call;

	for (int64_t waited = 0; waited < AGAIN_US_MAX && !gw_call_ending(call); waited += AGAIN_US) {
		gw_series_lease_release(lease);
		gw_series_lease_hold(lease, call);
		if (lease->store != NULL)
			return GW_OK;
		gw_series_lease_release(lease);
		usleep(AGAIN_US);
	}
	return gw_fail(call->why, GW_E_BUSY, "the series store was closed meanwhile, and is not open again (see `vitalgate status`)");
}
