// SPDX-License-Identifier: Apache-2.0
// A whole copy of the series store while it is written. Any thread. As gateway/journal_copy.h, whose copy has to come after this one.
#ifndef GW_SERIES_COPY_H
#define GW_SERIES_COPY_H

#include "gateway/series.h"

enum gw_error gw_series_copy(struct gw_series_store *store, int fd);
uint64_t gw_series_copy_bytes(struct gw_series_store *store);
uint64_t gw_series_extent(struct gw_series_store *store);
// Whether the file grew by more than a sixteenth of the budget meanwhile.
bool gw_series_copy_strains(struct gw_series_store *store, uint64_t extent_before);

#endif
