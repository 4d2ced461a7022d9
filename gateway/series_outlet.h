// SPDX-License-Identifier: Apache-2.0
// The series store within the program: the part that fills it, and how commands come to it.
#ifndef GW_SERIES_OUTLET_H
#define GW_SERIES_OUTLET_H

#include "gateway/core.h"
#include "gateway/series.h"

#define GW_SERIES_OUTLET "series" // its cursor's row in the journal is outlet/series/cursor
#define GW_SERIES_REBUILDING "series-rebuilding" // in the store's folder: names of folders that were moved aside and are not yet in the new store, a line each

// The running part's store; NULL where it does not run, or where it could not be opened (the part tries again). To be asked and used while the parts are held:
// it is closed by whoever has them alone.
struct gw_series_store *gw_series_running(void);
// How many stores were opened so far: another one may lie where one was.
uint64_t gw_series_running_count(void);

// Closes the running store, has fn do something with its folder while nobody has it open, and opens it again. fn runs on the part's thread; its error
// is given. Waits for it; must not hold the parts. GW_E_NOT_FOUND: the part does not run.
typedef enum gw_error gw_series_outside_fn(void *arg, struct gw_why *why);
enum gw_error gw_series_outside(gw_series_outside_fn *fn, void *arg, struct gw_why *why);

// A rebuild that began anew has not yet put all of the old store into the one that runs: what is older may be missing there. To be asked while the parts are held.
bool gw_series_rebuilding(const struct gw_config *config);

// dir gets the folder, to which the options point.
enum gw_error gw_series_options_of(const struct gw_config *config, char *dir, size_t cap, struct gw_series_options *options, struct gw_why *why);
// As the configuration says. Where no gateway runs: read_only, then gw_series_catch_up() for what is in no chunk yet.
enum gw_error gw_series_open_config(const struct gw_config *config, bool read_only, struct gw_series_store **store, struct gw_why *why);
// Takes what the journal has after the store's cursor.
enum gw_error gw_series_catch_up(struct gw_series_store *store, struct gw_journal *journal, struct gw_why *why);

#endif
