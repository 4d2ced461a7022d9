// SPDX-License-Identifier: Apache-2.0
// Names in a store's folder while a backup is restored to it; restore*.c only.
#ifndef GW_RESTORE_INTERNAL_H
#define GW_RESTORE_INTERNAL_H

#define GW_RESTORE_STAGE "restoring.part" // being made; of no use to anybody, removed by the next restore
#define GW_RESTORE_READY "restored"       // whole: counts from now on
#define GW_RESTORE_ASIDE "replaced-"

#endif
