// SPDX-License-Identifier: Apache-2.0
// Failing writes and syncs of the store's data file, for tests. See faults.c.
#ifndef POWERCUT_FAULTS_H
#define POWERCUT_FAULTS_H

#include <stdbool.h>

enum fault_op {
	FAULT_NONE,
	FAULT_WRITE,    // pages, buffered
	FAULT_SHORT,    // the same, but half of it is written first
	FAULT_META,     // the page that commits, through the O_DSYNC descriptor
	FAULT_SYNC,     // fdatasync, fsync
	FAULT_ALLOCATE, // fallocate
};

// From now on the nth call of that kind (from 1) fails with this errno; and all after it where it stays.
void fault_arm(enum fault_op op, int nth, int error, bool stays);
void fault_disarm(void);
// How many calls have failed since it was armed.
int fault_count(void);

#endif
