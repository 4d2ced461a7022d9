// SPDX-License-Identifier: Apache-2.0
// One period's export on schedule: its file, its manifest, and the removal of what they supersede. The caller's thread.
#ifndef GW_EXPORT_WRITE_H
#define GW_EXPORT_WRITE_H

#include "gateway/core.h"
#include "gateway/export_file.h"
#include "gateway/export_run.h"

struct gw_export_plan {
	struct gw_core *core;
	int dir_fd;
	enum gw_export_format format;
	bool gzip, hours, patients;
	const char *signals;      // as gw_series_want
	const char *devices;      // names and patterns, comma between; empty: all
	uint64_t reserve_bytes;   // of the file system that stay free
	// As gw_export_io; release may be called more than once.
	enum gw_error (*hold)(void *arg, struct gw_series_store **store);
	void (*release)(void *arg);
	bool (*tick)(void *arg, const struct gw_export_progress *progress);
	void *arg;
};

struct gw_exported {
	uint32_t revision;  // 0: there was nothing, and no file was there before
	char path[160];     // of the file within the folder; empty: none, everything that was there is gone
	struct gw_export_filed filed;
	struct gw_export_counts counts;
};

// Exports [from_us, to_us). revision: of the file that the hub knows of, 0 for none. upto: for the manifest. GW_E_FULL: the disk. Whatever the error, nothing is
// left of it, and what was there is there still.
enum gw_error gw_export_write(const struct gw_export_plan *plan, int64_t from_us, int64_t to_us, uint32_t revision, uint64_t upto, struct gw_exported *exported,
    struct gw_why *why);

#endif
