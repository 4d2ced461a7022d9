// SPDX-License-Identifier: Apache-2.0
// The folder of exports on schedule: date=2026-11-20/hour=14/readings.csv.gz (for days without the hour) with _manifest.json beside it. What is not named so is
// nobody's business here, and stays. One thread.
#ifndef GW_EXPORT_FOLDER_H
#define GW_EXPORT_FOLDER_H

#include "gateway/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GW_EXPORT_MANIFEST "_manifest.json"
#define GW_EXPORT_NAME_MAX 64
#define GW_EXPORT_FILES_MAX 16 // of one period: what is superseded is removed, so there are two at most but for interrupted attempts

// "date=2026-11-20/hour=14" of the period that begins at from_us.
void gw_export_path(int64_t from_us, bool hours, char out[GW_EXPORT_NAME_MAX]);
// "readings-r2.csv.gz"; revision 1 has no number.
void gw_export_name(uint32_t revision, const char *suffix, bool gzip, char out[GW_EXPORT_NAME_MAX]);

// The period's folder, made if it was missing. *fd is the caller's to close.
enum gw_error gw_export_folder_open(int dir_fd, int64_t from_us, bool hours, int *fd, struct gw_why *why);
// The readings' files of a period: names and the greatest revision. None where the folder is not there.
struct gw_export_files {
	char names[GW_EXPORT_FILES_MAX][GW_EXPORT_NAME_MAX];
	size_t count;
	uint32_t revision;
};
void gw_export_folder_list(int dir_fd, int64_t from_us, bool hours, struct gw_export_files *files);

struct gw_export_usage {
	uint64_t files, bytes, removed; // of readings' files; removed: periods
};
// Looks at all periods: removes what attempts have left, then the oldest periods that end before before_us, and the oldest beyond bytes_max (0: no limit) but for
// the newest one.
enum gw_error gw_export_folder_sweep(int dir_fd, int64_t before_us, uint64_t bytes_max, struct gw_export_usage *usage);

#endif
