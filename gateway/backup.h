// SPDX-License-Identifier: Apache-2.0
// A backup: a folder with one file for each LMDB environment and a manifest, which is written last: a folder without one holds no backup. The bytes are
// told in schemas/backup-format.md.
//
// Environments are copied one after the other, those that follow the journal before the journal itself, and nothing is trimmed meanwhile: so no copy's
// cursor is beyond the journal's copy, and the journal's copy begins no later than the least of them.
//
// Threads of one backup: the caller's watches (progress, an end, the live file's growth), one reads the snapshot, one hashes, encrypts and writes. The caller
// can cut the two apart at any moment, however slow the target is: then the snapshot goes, the daemon is as before, and the backup has failed.
#ifndef GW_BACKUP_H
#define GW_BACKUP_H

#include "gateway/backup_file.h"

#define GW_BACKUP_FORMAT 1
#define GW_BACKUP_FILES_MAX 4
#define GW_BACKUP_MANIFEST "manifest.json"

// An environment to copy. Every function may be called from another thread than the caller's.
struct gw_backup_source {
	const char *name; // "journal": in gateway/restore.c stands where it goes back to
	void *arg;
	enum gw_error (*copy)(void *arg, int fd); // writes all of it; GW_E_CLOSED where fd's far end was closed
	uint64_t (*bytes)(void *arg);             // about how many
	uint64_t (*extent)(void *arg);            // how far the live file is used; with strains: whether it grew too much. Both may be NULL
	bool (*strains)(void *arg, uint64_t extent_before);
};

struct gw_manifest {
	uint8_t id[GW_BACKUP_ID]; // random
	char program[32];         // version that made it
	int64_t begun_us, made_us;
	uint64_t incarnation;
	uint64_t last;            // every record up to here is in it, perhaps some more
	enum gw_backup_cipher cipher;
	struct gw_backup_file files[GW_BACKUP_FILES_MAX];
	size_t file_count;
};

// done bytes of about total; false: give up (GW_E_STOPPING). Every fifth of a second or so.
typedef bool gw_backup_watch_fn(void *arg, const char *name, uint64_t done, uint64_t total);

struct gw_backup_options {
	const char *dir; // made if missing, mode 0700; must hold no backup
	const struct gw_backup_source *sources; // in the order in which they are to be copied
	size_t source_count;
	const struct gw_backup_key *key;
	gw_backup_watch_fn *watch; // may be NULL
	void *arg;
};
// manifest comes with incarnation and last set. Whatever fails leaves no manifest and no .part.
enum gw_error gw_backup_make(const struct gw_backup_options *options, struct gw_manifest *manifest, struct gw_why *why);

// GW_E_NOT_FOUND: no backup there, or none that was finished.
enum gw_error gw_manifest_read(int folder_fd, struct gw_manifest *manifest, struct gw_why *why);
enum gw_error gw_manifest_write(int folder_fd, const struct gw_manifest *manifest, struct gw_why *why);
const char *gw_backup_cipher_name(enum gw_backup_cipher cipher); // "none", "passphrase", "public-key"

// ---- Keys: files of the person who asks; gateway/backup_key.c ----

// Argon2id (libsodium's "moderate": 256 MB, about a second) over a file's first line, with a new salt, or for an old field.
enum gw_error gw_backup_key_passphrase(const char *path, bool fresh, struct gw_backup_key *key, struct gw_why *why);
// A new random key, sealed to the public key of the file.
enum gw_error gw_backup_key_seal(const char *path, struct gw_backup_key *key, struct gw_why *why);
// The key out of the field, by the secret key's file.
enum gw_error gw_backup_key_open(const char *path, struct gw_backup_key *key, struct gw_why *why);
// Writes PATH (secret, mode 0600) and PATH.pub; neither may exist.
enum gw_error gw_backup_key_make(const char *path, struct gw_why *why);

#endif
