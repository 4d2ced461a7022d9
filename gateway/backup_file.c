// SPDX-License-Identifier: Apache-2.0
// Writing one file of a backup (gateway/backup_file.h). The command's thread.
//
// What a power cut leaves: NAME.part with anything in it, or NAME whole: it is renamed after fsync, and the folder is synced before anybody is told.
#include "gateway/backup_file.h"

#include "gateway/backup_format.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct gw_backup_writer {
	int folder_fd, fd;
	bool encrypted;
	char name[16], file[32], part[40];
	crypto_generichash_state hash;
	crypto_secretstream_xchacha20poly1305_state stream;
	uint64_t bytes, unsynced;
	size_t used; // of chunk
	uint8_t chunk[GW_BACKUP_CHUNK];
	uint8_t sealed[GW_BACKUP_CHUNK + crypto_secretstream_xchacha20poly1305_ABYTES];
};

enum gw_error
gw_backup_write_all(int fd, const uint8_t *at, size_t len, const char *name, struct gw_why *why)
{
	while (len > 0) {
		ssize_t put = write(fd, at, len);

		if (put < 0 && errno == EINTR)
			continue;
		if (put < 0)
			return gw_fail(why, errno == ENOSPC || errno == EDQUOT ? GW_E_FULL : GW_E_SYSTEM, "cannot write %s: %s", name, strerror(errno));
		at += put;
		len -= (size_t)put;
	}
	return GW_OK;
}

static enum gw_error
put(struct gw_backup_writer *writer, const uint8_t *at, size_t len, struct gw_why *why)
{
	enum gw_error error = gw_backup_write_all(writer->fd, at, len, writer->part, why);

	if (error != GW_OK)
		return error;
	crypto_generichash_update(&writer->hash, at, len);
	writer->bytes += len;
	writer->unsynced += len;
	if (writer->unsynced < GW_BACKUP_SYNC_BYTES)
		return GW_OK;
	writer->unsynced = 0;
	if (fdatasync(writer->fd) != 0)
		return gw_fail(why, errno == ENOSPC || errno == EDQUOT ? GW_E_FULL : GW_E_SYNC, "cannot sync %s: %s", writer->part, strerror(errno));
	(void)posix_fadvise(writer->fd, 0, 0, POSIX_FADV_DONTNEED); // the memory is for the journal
	return GW_OK;
}

static enum gw_error
begin_cipher(struct gw_backup_writer *writer, const struct gw_backup_key *key, const uint8_t *id, struct gw_why *why)
{
	uint8_t head[GW_BACKUP_HEAD];

	gw_backup_head_put(head, key, writer->name, id);
	if (crypto_secretstream_xchacha20poly1305_init_push(&writer->stream, head + GW_BACKUP_HEAD_STREAM, key->key) != 0)
		return gw_fail(why, GW_E_SYSTEM, "encryption cannot be started");
	// The first chunk vouches for the header: nobody can give a file another name or put it into another backup.
	crypto_generichash(writer->chunk, GW_BACKUP_HASH, head, sizeof(head), NULL, 0);
	if (crypto_secretstream_xchacha20poly1305_push(&writer->stream, writer->sealed, NULL, writer->chunk, GW_BACKUP_HASH, NULL, 0, 0) != 0)
		return gw_fail(why, GW_E_SYSTEM, "encryption failed");
	enum gw_error error = put(writer, head, sizeof(head), why);
	return error == GW_OK ? put(writer, writer->sealed, GW_BACKUP_HASH + crypto_secretstream_xchacha20poly1305_ABYTES, why) : error;
}

enum gw_error
gw_backup_writer_open(int folder_fd, const char *name, const struct gw_backup_key *key, const uint8_t id[GW_BACKUP_ID], struct gw_backup_writer **out,
    struct gw_why *why)
{
	struct gw_backup_writer *writer = calloc(1, sizeof(*writer));
	enum gw_error error = GW_OK;

	*out = NULL;
	if (writer == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	writer->folder_fd = folder_fd;
	writer->encrypted = key->cipher != GW_BACKUP_PLAIN;
	snprintf(writer->name, sizeof(writer->name), "%s", name);
	snprintf(writer->file, sizeof(writer->file), "%s.mdb%s", writer->name, writer->encrypted ? ".enc" : "");
	snprintf(writer->part, sizeof(writer->part), "%s.part", writer->file);
	crypto_generichash_init(&writer->hash, NULL, 0, GW_BACKUP_HASH);
	writer->fd = openat(folder_fd, writer->part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (writer->fd < 0)
		error = gw_fail(why, GW_E_SYSTEM, "cannot make %s: %s", writer->part, strerror(errno));
	else if (writer->encrypted)
		error = begin_cipher(writer, key, id, why);
	if (error == GW_OK)
		*out = writer;
	else
		gw_backup_writer_drop(writer);
	return error;
}

static enum gw_error
flush(struct gw_backup_writer *writer, bool last, struct gw_why *why)
{
	unsigned char tag = last ? crypto_secretstream_xchacha20poly1305_TAG_FINAL : 0;
	unsigned long long len;

	if (!writer->encrypted) {
		enum gw_error error = put(writer, writer->chunk, writer->used, why);
		writer->used = 0;
		return error;
	}
	if (crypto_secretstream_xchacha20poly1305_push(&writer->stream, writer->sealed, &len, writer->chunk, writer->used, NULL, 0, tag) != 0)
		return gw_fail(why, GW_E_SYSTEM, "encryption failed");
	writer->used = 0;
	return put(writer, writer->sealed, (size_t)len, why);
}

enum gw_error
gw_backup_write(struct gw_backup_writer *writer, struct gw_span bytes, struct gw_why *why)
{
	enum gw_error error;

	while (bytes.len > 0) {
		size_t take = sizeof(writer->chunk) - writer->used;

		// A full chunk waits until something follows: the last one is marked.
		if (take == 0) {
			if ((error = flush(writer, false, why)) != GW_OK)
				return error;
			continue;
		}
		take = take < bytes.len ? take : bytes.len;
		memcpy(writer->chunk + writer->used, bytes.at, take);
		writer->used += take;
		bytes = gw_span(bytes.at + take, bytes.len - take);
	}
	return GW_OK;
}

enum gw_error
gw_backup_writer_finish(struct gw_backup_writer *writer, struct gw_backup_file *file, struct gw_why *why)
{
	enum gw_error error = flush(writer, true, why);

	if (error == GW_OK && fsync(writer->fd) != 0)
		error = gw_fail(why, errno == ENOSPC || errno == EDQUOT ? GW_E_FULL : GW_E_SYNC, "cannot sync %s: %s", writer->part, strerror(errno));
	if (error == GW_OK && (renameat(writer->folder_fd, writer->part, writer->folder_fd, writer->file) != 0 || fsync(writer->folder_fd) != 0))
		error = gw_fail(why, GW_E_SYSTEM, "cannot rename %s: %s", writer->part, strerror(errno));
	if (error != GW_OK) {
		gw_backup_writer_drop(writer);
		return error;
	}
	*file = (struct gw_backup_file){ .bytes = writer->bytes };
	memcpy(file->name, writer->name, sizeof(file->name));
	memcpy(file->file, writer->file, sizeof(file->file));
	crypto_generichash_final(&writer->hash, file->hash, GW_BACKUP_HASH);
	(void)posix_fadvise(writer->fd, 0, 0, POSIX_FADV_DONTNEED);
	close(writer->fd);
	sodium_memzero(writer, sizeof(*writer));
	free(writer);
	return GW_OK;
}

void
gw_backup_writer_drop(struct gw_backup_writer *writer)
{
	if (writer == NULL)
		return;
	if (writer->fd >= 0) {
		close(writer->fd);
		unlinkat(writer->folder_fd, writer->part, 0);
	}
	sodium_memzero(writer, sizeof(*writer));
	free(writer);
}
