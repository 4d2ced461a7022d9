// SPDX-License-Identifier: Apache-2.0
// A file that an export writes: from front to back, compressed where that is asked for, hashed on the way. It has its own name only when it is whole and
// synced: until then it is .NAME.PID.part beside it, which whoever fails removes. One thread at a time.
#ifndef GW_EXPORT_FILE_H
#define GW_EXPORT_FILE_H

#include "gateway/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GW_EXPORT_SHA256 32

struct gw_export_file_options {
	bool gzip;           // RFC 1952
	bool hash;           // SHA-256 of what lies in the file
	uint64_t sync_bytes; // never more than this unsynced, so that a commit on the same disk does not wait for it; 0: synced at the end
	uint32_t mode;       // permissions, 0600...
};

struct gw_export_filed {
	uint64_t bytes; // as it lies there
	uint8_t sha256[GW_EXPORT_SHA256];
};

struct gw_export_file;
// A new file in the folder; one of that name is replaced at the end, and what is left of an attempt now.
enum gw_error gw_export_file_open(int folder_fd, const char *name, const struct gw_export_file_options *options, struct gw_export_file **file, struct gw_why *why);
// To a descriptor that somebody else owns: standard output. Nothing is synced or renamed.
enum gw_error gw_export_file_onto(int fd, const struct gw_export_file_options *options, struct gw_export_file **file, struct gw_why *why);
// GW_E_FULL where the disk is full. After an error only gw_export_file_drop() is of use.
enum gw_error gw_export_file_write(struct gw_export_file *file, const char *at, size_t len, struct gw_why *why);
uint64_t gw_export_file_bytes(const struct gw_export_file *file); // so far
// Where bytes may be written by other means: neither compressed nor hashed. -1: not so.
int gw_export_file_fd(const struct gw_export_file *file);
// Frees the file, also on error: then nothing of it is left.
enum gw_error gw_export_file_finish(struct gw_export_file *file, struct gw_export_filed *filed, struct gw_why *why);
void gw_export_file_drop(struct gw_export_file *file); // NULL does nothing, here and below

#endif
