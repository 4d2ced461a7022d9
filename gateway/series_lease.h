// SPDX-License-Identifier: Apache-2.0
// The running series store for whoever works on it for long: between pieces of the work the parts are let go for a moment, so that a reload waits for a piece and not
// for all of it. Where another store runs afterwards (it was restarted, opened anew, replaced) the work is to be begun again on that one. The command's thread.
#ifndef GW_SERIES_LEASE_H
#define GW_SERIES_LEASE_H

#include "gateway/command.h"
#include "gateway/series.h"

#define GW_SERIES_LEASE_TRIES 5 // so often it is begun again before it is given up

struct gw_series_lease {
	struct gw_call *call;
	struct gw_series_store *store; // while it is held
	uint64_t opened;               // which it was
	int64_t since_us;
	bool held;
	bool lost;                     // there is another one, or none: nothing of `store` may be touched any more
};

// NULL as store and GW_OK: none runs. Nothing where no gateway runs. Release it in any case.
void gw_series_lease_hold(struct gw_series_lease *lease, struct gw_call *call);
void gw_series_lease_release(struct gw_series_lease *lease);
// Between pieces, with no transaction of the store's open and no lock held. False: it is lost.
bool gw_series_lease_breathe(struct gw_series_lease *lease);
// After a loss: waits for a store to run, for a while. GW_E_BUSY with words.
enum gw_error gw_series_lease_again(struct gw_series_lease *lease);

#endif
