// SPDX-License-Identifier: Apache-2.0
// What recorder.c writes down; powercut.py reads it. Native endian: struct entry, then `len` bytes where has_data says so.
#ifndef POWERCUT_RECORDER_H
#define POWERCUT_RECORDER_H

#include <stdint.h>

enum entry_type {
	ENTRY_OPEN = 1,       // data: path. value: 1 where the file was made now
	ENTRY_WRITE = 2,      // begins. data: the bytes. value: 1 where O_DSYNC
	ENTRY_WRITTEN = 3,    // has returned
	ENTRY_SYNC = 4,       // begins
	ENTRY_SYNCED = 5,     // has returned
	ENTRY_SIZE = 6,       // file grown or cut to value
	ENTRY_RENAME = 7,     // data: old path, NUL, new path
	ENTRY_UNLINK = 8,     // data: path
	ENTRY_MKDIR = 9,      // data: path
	ENTRY_SUBMITTED = 10, // file: source, value: number; all up to it have been submitted
	ENTRY_ACKNOWLEDGED = 11, // file: source, value: number; all up to it have been acknowledged
};

struct entry {
	uint32_t type, len;
	uint64_t file;   // inode
	uint64_t offset, value;
};

// Files below dir are recorded to log from now on.
void recorder_start(const char *dir, const char *log);
void recorder_mark(enum entry_type type, uint64_t source, uint64_t number);

#endif
