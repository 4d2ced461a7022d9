// SPDX-License-Identifier: Apache-2.0
// One file of a backup: written once from front to back, hashed on the way, encrypted where there is a key; and read back the same way. The bytes are
// told in schemas/backup-format.md. One thread at a time.
//
// A file exists under its own name only when it is whole and synced: until then it is NAME.part, which whoever fails removes.
#ifndef GW_BACKUP_FILE_H
#define GW_BACKUP_FILE_H

#include "gateway/error.h"
#include "gateway/span.h"

#define GW_BACKUP_HASH 32      // BLAKE2b-256: what `b2sum -l 256` prints
#define GW_BACKUP_KEY 32
#define GW_BACKUP_FIELD 80
#define GW_BACKUP_ID 16
#define GW_BACKUP_CHUNK 65536  // bytes that are encrypted together
#define GW_BACKUP_SYNC_BYTES (16u << 20) // the disk may be the journal's: never more than this unsynced, so that a commit does not wait for a file

// How the key of a backup can be had again. On disk.
enum gw_backup_cipher { GW_BACKUP_PLAIN = 0, GW_BACKUP_PASSPHRASE = 1, GW_BACKUP_PUBLIC_KEY = 2 };

// field: what the file's header says of it: the passphrase's salt and costs, or the key sealed to a public key.
struct gw_backup_key {
	enum gw_backup_cipher cipher;
	uint8_t key[GW_BACKUP_KEY];
	uint8_t field[GW_BACKUP_FIELD];
};

struct gw_backup_file {
	char name[16];  // "journal", "series"
	char file[32];  // as it lies in the folder: "journal.mdb", "journal.mdb.enc"
	uint64_t bytes; // of the file
	uint8_t hash[GW_BACKUP_HASH];
};

struct gw_backup_writer;
// A new file for `name` in the folder; id is the backup's.
enum gw_error gw_backup_writer_open(int folder_fd, const char *name, const struct gw_backup_key *key, const uint8_t id[GW_BACKUP_ID],
    struct gw_backup_writer **writer, struct gw_why *why);
// After an error only gw_backup_writer_drop() is of use.
enum gw_error gw_backup_write(struct gw_backup_writer *writer, struct gw_span bytes, struct gw_why *why);
// Syncs, gives it its name, syncs the folder. Frees the writer, also on error: then nothing of it is left.
enum gw_error gw_backup_writer_finish(struct gw_backup_writer *writer, struct gw_backup_file *file, struct gw_why *why);
// Removes what was written. NULL does nothing.
void gw_backup_writer_drop(struct gw_backup_writer *writer);

// Reads a file of a backup. progress may be NULL; false: GW_E_STOPPING.
typedef bool gw_backup_progress_fn(void *arg, uint64_t bytes);
// Size and hash as told. GW_E_CORRUPT with words.
enum gw_error gw_backup_check(int folder_fd, const struct gw_backup_file *file, gw_backup_progress_fn *progress, void *arg, struct gw_why *why);
// The key field of an encrypted file: cipher and field.
enum gw_error gw_backup_field(int folder_fd, const struct gw_backup_file *file, struct gw_backup_key *key, struct gw_why *why);
// Its contents to fd, checked by the cipher as they come. out_fd -1: only checked. GW_E_UNAUTHENTICATED where the key is another.
enum gw_error gw_backup_extract(int folder_fd, const struct gw_backup_file *file, const struct gw_backup_key *key, const uint8_t id[GW_BACKUP_ID], int out_fd,
    gw_backup_progress_fn *progress, void *arg, struct gw_why *why);

// Writes all bytes; GW_E_FULL where the disk is full, with words.
enum gw_error gw_backup_write_all(int fd, const uint8_t *at, size_t len, const char *name, struct gw_why *why);

#endif
