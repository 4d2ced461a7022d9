// SPDX-License-Identifier: Apache-2.0
// Names in a store's folder while a backup is restored to it; restore*.c only.
#ifndef GW_RESTORE_INTERNAL_H
#define GW_RESTORE_INTERNAL_H

#define GW_RESTORE_STAGE "restoring.part" // being made; of no use to anybody, removed by the next restore
#define GW_RESTORE_READY "restored"       // whole: counts from now on
#define GW_RESTORE_ASIDE "replaced-"

#include "gateway/restore.h"

struct gw_journal;

// gateway/restore_erasures.c: whether the list can be understood; and what is to be erased again, as rows of the restored journal.
enum gw_error gw_restore_check_erasures(const struct gw_restore_options *options, struct gw_why *why);
enum gw_error gw_restore_erasures(const struct gw_restore_options *options, struct gw_journal *journal, struct gw_restored *restored, struct gw_why *why);

#endif
