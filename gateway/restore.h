// SPDX-License-Identifier: Apache-2.0
// A store out of a backup. The caller's thread; no gateway runs on that store meanwhile (its lock is held).
//
// The new store is made whole and synced in STORE/restoring.part: files, a new incarnation, the record of it. Renaming that to STORE/restored is the moment
// from which the restored store counts; what is left is moving its files to their places and the old ones to STORE/replaced-<time>-<any>, which
// whoever has the store's lock next goes on with where it was cut off. Before that moment the old store is as it was. Renaming inside the one folder
// works wherever the store itself does: on a mount point, and without rights above it.
#ifndef GW_RESTORE_H
#define GW_RESTORE_H

#include "gateway/backup.h"

struct gw_erasure;

struct gw_restore_options {
	const char *from, *to;        // the backup's folder; the store's
	bool replace;                 // an existing store is moved aside
	const char *passphrase_file, *key_file; // NULL where none was given
	const char *who;              // as gw_call.who
	gw_backup_watch_fn *progress; // may be NULL
	bool (*outlet)(void *arg, const char *name, struct gw_span cursor); // every outlet of the restored store; may be NULL
	const char *erasures;    // a file: what `patient erasures --json` printed; NULL: none
	void (*erasure)(void *arg, const struct gw_erasure *erasure); // each one that is to be done again; may be NULL
	void *arg;
};

struct gw_restored {
	struct gw_manifest manifest;
	uint64_t first, last;    // positions of the copy
	uint64_t incarnation;    // the new one
	uint64_t before;         // the copy's own
	// Erasures that the backup has not as done: taken over as such that are to be done again.
	uint64_t erasures, erasures_damaged; // damaged: rows, or places where there may be some
	bool erasures_read;           // all of the store that was there
	struct gw_why erasures_why;   // where not
	char aside[40];          // "replaced-20261120T081500Z-3fa2" in the store's folder; empty: nothing was there
};
enum gw_error gw_restore(const struct gw_restore_options *options, struct gw_restored *restored, struct gw_why *why);

// Goes on with a restore that was cut off after it counted; nothing to do otherwise. Whoever holds the store's lock, before opening it.
enum gw_error gw_restore_finish(const char *store_dir, struct gw_why *why);

// The key of an encrypted backup, by whichever file was given. GW_E_ARGUMENT with words where that is the wrong kind, or none.
enum gw_error gw_restore_key(int folder_fd, const struct gw_manifest *manifest, const char *passphrase_file, const char *key_file, struct gw_backup_key *key,
    struct gw_why *why);

#endif
