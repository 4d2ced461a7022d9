// SPDX-License-Identifier: Apache-2.0
// The series store within the program: the part that fills it, and how commands come to it.
#ifndef GW_SERIES_OUTLET_H
#define GW_SERIES_OUTLET_H

#include "gateway/core.h"
#include "gateway/series.h"

#define GW_SERIES_OUTLET "series" // its cursor's row in the journal is outlet/series/cursor

// The running part's store; NULL where it does not run. Commands ask while parts run: it is closed after them.
struct gw_series_store *gw_series_running(void);

// As the configuration says. Where no gateway runs: read_only, then gw_series_catch_up() for what is in no chunk yet.
enum gw_error gw_series_open_config(const struct gw_config *config, bool read_only, struct gw_series_store **store, struct gw_why *why);
// Takes what the journal has after the store's cursor.
enum gw_error gw_series_catch_up(struct gw_series_store *store, struct gw_journal *journal, struct gw_why *why);

#endif
