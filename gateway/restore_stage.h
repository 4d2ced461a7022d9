// SPDX-License-Identifier: Apache-2.0
// A store that is made whole beside the one that is there, and then takes its place: what a restore and a salvage have in common (gateway/restore.h tells
// how it counts). One in a process; the caller's thread.
#ifndef GW_RESTORE_STAGE_H
#define GW_RESTORE_STAGE_H

#include "gateway/journal.h"
#include "gateway/restore_internal.h"

struct gw_stage {
	const char *to;      // the store's folder; the caller's
	int store_fd, lock_fd, fd;
	char path[4096];     // of the stage
	char aside[40];      // "replaced-20261120T081500Z-3fa2" in the store's folder: where what is there goes; empty: nothing is there
};
void gw_stage_init(struct gw_stage *stage);
// The store's folder is made if missing, its lock is held until gw_stage_fini(): GW_E_BUSY where a gateway runs on it.
enum gw_error gw_stage_open(struct gw_stage *stage, const char *to, struct gw_why *why);
enum gw_error gw_stage_room(const struct gw_stage *stage, uint64_t need_bytes, struct gw_why *why);
// An empty stage. series: the series store takes part; else the one that is there stays.
enum gw_error gw_stage_make(struct gw_stage *stage, bool series, struct gw_why *why);
// The stage's journal, to be written without limits: the gateway's own hold when it opens the store.
enum gw_error gw_stage_journal(const struct gw_stage *stage, uint64_t map_bytes, struct gw_journal **journal, struct gw_why *why);
// Whole and synced, it takes its place.
enum gw_error gw_stage_count(const struct gw_stage *stage, struct gw_why *why);
void gw_stage_drop(const struct gw_stage *stage);
void gw_stage_fini(struct gw_stage *stage);

#endif
