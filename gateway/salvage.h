// SPDX-License-Identifier: Apache-2.0
// A store whose journal is damaged gets a new one, out of all that can be read of the old (gateway/journal_salvage.h). It is made beside it and counts by one
// rename, as a restored store does (gateway/restore.h); the damaged file goes to STORE/replaced-<time>-<any>. The series store stays, and checks itself.
// No gateway runs on the store meanwhile. The caller's thread.
#ifndef GW_SALVAGE_H
#define GW_SALVAGE_H

#include "gateway/journal_salvage.h"

// GW_E_NOT_FOUND: there is no journal. GW_E_BUSY, GW_E_FULL, GW_E_STOPPING: nothing has changed.
enum gw_error gw_salvage(const char *store_dir, const char *who, const struct gw_salvage_options *options, struct gw_salvaged *salvaged, struct gw_why *why);

#endif
