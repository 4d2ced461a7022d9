// SPDX-License-Identifier: Apache-2.0
// Reading one file of a backup back: its hash, its head, its contents. Nothing in it is trusted. The command's thread.
#include "gateway/backup_file.h"

#include "gateway/backup_format.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALED (GW_BACKUP_CHUNK + crypto_secretstream_xchacha20poly1305_ABYTES)

struct input {
	int fd;
	const struct gw_backup_file *file;
	uint64_t done;
	gw_backup_progress_fn *progress;
	void *arg;
	struct gw_why *why;
};

static enum gw_error
open_input(struct input *in, int folder_fd)
{
	struct stat at;

	in->fd = openat(folder_fd, in->file->file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (in->fd < 0)
		return gw_fail(in->why, errno == ENOENT ? GW_E_CORRUPT : GW_E_SYSTEM, "cannot open %s: %s", in->file->file, strerror(errno));
	(void)posix_fadvise(in->fd, 0, 0, POSIX_FADV_SEQUENTIAL);
	if (fstat(in->fd, &at) == 0 && S_ISREG(at.st_mode) && (uint64_t)at.st_size == in->file->bytes)
		return GW_OK;
	close(in->fd);
	return gw_fail(in->why, GW_E_CORRUPT, "%s has %lld bytes; when the backup was made it had %llu", in->file->file, (long long)at.st_size,
	    (unsigned long long)in->file->bytes);
}

// Up to cap bytes; less at the end only.
static enum gw_error
take(struct input *in, uint8_t *at, size_t cap, size_t *len)
{
	*len = 0;
	while (*len < cap) {
		ssize_t got = read(in->fd, at + *len, cap - *len);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return gw_fail(in->why, GW_E_SYSTEM, "cannot read %s: %s", in->file->file, strerror(errno));
		if (got == 0)
			break;
		*len += (size_t)got;
	}
	in->done += *len;
	if (in->progress != NULL && !in->progress(in->arg, *len))
		return gw_fail(in->why, GW_E_STOPPING, "it was told to end");
	return GW_OK;
}

enum gw_error
gw_backup_check(int folder_fd, const struct gw_backup_file *file, gw_backup_progress_fn *progress, void *arg, struct gw_why *why)
{
	struct input in = { .file = file, .progress = progress, .arg = arg, .why = why };
	enum gw_error error = open_input(&in, folder_fd);
	crypto_generichash_state state;
	uint8_t hash[GW_BACKUP_HASH], *buf;
	size_t len = 1;

	if (error != GW_OK)
		return error;
	crypto_generichash_init(&state, NULL, 0, sizeof(hash));
	if ((buf = malloc(GW_BACKUP_CHUNK)) == NULL)
		error = gw_fail(why, GW_E_MEMORY, "out of memory");
	while (error == GW_OK && len > 0 && (error = take(&in, buf, GW_BACKUP_CHUNK, &len)) == GW_OK)
		crypto_generichash_update(&state, buf, len);
	free(buf);
	close(in.fd);
	crypto_generichash_final(&state, hash, sizeof(hash));
	if (error == GW_OK && memcmp(hash, file->hash, sizeof(hash)) != 0)
		return gw_fail(why, GW_E_CORRUPT, "%s is damaged: its hash is not the one in the manifest", file->file);
	return error;
}

// ---- Encrypted ----

static enum gw_error
take_head(struct input *in, uint8_t head[GW_BACKUP_HEAD], struct gw_backup_key *key)
{
	size_t len;
	enum gw_error error = take(in, head, GW_BACKUP_HEAD, &len);

	if (error != GW_OK)
		return error;
	if (len < GW_BACKUP_HEAD || memcmp(head, GW_BACKUP_MAGIC, 8) != 0)
		return gw_fail(in->why, GW_E_CORRUPT, "%s is no encrypted file of a backup", in->file->file);
	if (head[GW_BACKUP_HEAD_VERSION] != GW_BACKUP_FILE_VERSION || gw_get32(head + GW_BACKUP_HEAD_CHUNK) != GW_BACKUP_CHUNK)
		return gw_fail(in->why, GW_E_VERSION, "%s is of a version that this program does not know: use a newer one", in->file->file);
	key->cipher = head[GW_BACKUP_HEAD_CIPHER];
	memcpy(key->field, head + GW_BACKUP_HEAD_FIELD, GW_BACKUP_FIELD);
	return GW_OK;
}

enum gw_error
gw_backup_field(int folder_fd, const struct gw_backup_file *file, struct gw_backup_key *key, struct gw_why *why)
{
	struct input in = { .file = file, .why = why };
	uint8_t head[GW_BACKUP_HEAD];
	enum gw_error error = open_input(&in, folder_fd);

	if (error != GW_OK)
		return error;
	error = take_head(&in, head, key);
	close(in.fd);
	return error;
}

struct cipher {
	crypto_secretstream_xchacha20poly1305_state stream;
	uint8_t sealed[SEALED], plain[GW_BACKUP_CHUNK];
};

static enum gw_error
begin_cipher(struct input *in, struct cipher *cipher, const struct gw_backup_key *key, const uint8_t *id)
{
	uint8_t head[GW_BACKUP_HEAD], hash[GW_BACKUP_HASH], name[16] = { 0 };
	struct gw_backup_key told;
	unsigned long long plain;
	size_t len;
	enum gw_error error = take_head(in, head, &told);

	if (error != GW_OK)
		return error;
	memcpy(name, in->file->name, strnlen(in->file->name, 15));
	if (memcmp(name, head + GW_BACKUP_HEAD_NAME, sizeof(name)) != 0 || memcmp(id, head + GW_BACKUP_HEAD_ID, GW_BACKUP_ID) != 0)
		return gw_fail(in->why, GW_E_CORRUPT, "%s belongs to another backup than the manifest beside it", in->file->file);
	if ((error = take(in, cipher->sealed, sizeof(hash) + crypto_secretstream_xchacha20poly1305_ABYTES, &len)) != GW_OK)
		return error;
	if (crypto_secretstream_xchacha20poly1305_init_pull(&cipher->stream, head + GW_BACKUP_HEAD_STREAM, key->key) != 0 ||
	    crypto_secretstream_xchacha20poly1305_pull(&cipher->stream, cipher->plain, &plain, NULL, cipher->sealed, len, NULL, 0) != 0)
		return gw_fail(in->why, GW_E_UNAUTHENTICATED, "the %s is not the one that this backup was encrypted with",
		    key->cipher == GW_BACKUP_PASSPHRASE ? "passphrase" : "key");
	crypto_generichash(hash, sizeof(hash), head, sizeof(head), NULL, 0);
	if (plain != sizeof(hash) || memcmp(hash, cipher->plain, sizeof(hash)) != 0)
		return gw_fail(in->why, GW_E_CORRUPT, "the head of %s was changed", in->file->file);
	return GW_OK;
}

static enum gw_error
extract_sealed(struct input *in, struct cipher *cipher, int out_fd)
{
	unsigned char tag = 0;
	unsigned long long plain;
	size_t len;
	enum gw_error error;

	for (;;) {
		if ((error = take(in, cipher->sealed, SEALED, &len)) != GW_OK)
			return error;
		if (len == 0)
			return tag == crypto_secretstream_xchacha20poly1305_TAG_FINAL ? GW_OK :
			    gw_fail(in->why, GW_E_CORRUPT, "%s is cut off", in->file->file);
		if (tag == crypto_secretstream_xchacha20poly1305_TAG_FINAL ||
		    crypto_secretstream_xchacha20poly1305_pull(&cipher->stream, cipher->plain, &plain, &tag, cipher->sealed, len, NULL, 0) != 0)
			return gw_fail(in->why, GW_E_CORRUPT, "%s is damaged or cut off before byte %llu", in->file->file, (unsigned long long)in->done);
		if (out_fd >= 0 && (error = gw_backup_write_all(out_fd, cipher->plain, (size_t)plain, "the store", in->why)) != GW_OK)
			return error;
	}
}

static enum gw_error
extract_plain(struct input *in, uint8_t *buf, int out_fd)
{
	enum gw_error error;
	size_t len;

	do {
		if ((error = take(in, buf, GW_BACKUP_CHUNK, &len)) == GW_OK && out_fd >= 0)
			error = gw_backup_write_all(out_fd, buf, len, "the store", in->why);
	} while (error == GW_OK && len > 0);
	return error;
}

enum gw_error
gw_backup_extract(int folder_fd, const struct gw_backup_file *file, const struct gw_backup_key *key, const uint8_t id[GW_BACKUP_ID], int out_fd,
    gw_backup_progress_fn *progress, void *arg, struct gw_why *why)
{
	struct input in = { .file = file, .progress = progress, .arg = arg, .why = why };
	struct cipher *cipher = malloc(sizeof(*cipher));
	enum gw_error error;

	if (cipher == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	if ((error = open_input(&in, folder_fd)) != GW_OK)
		goto out;
	if (key->cipher == GW_BACKUP_PLAIN)
		error = extract_plain(&in, cipher->plain, out_fd);
	else if ((error = begin_cipher(&in, cipher, key, id)) == GW_OK)
		error = extract_sealed(&in, cipher, out_fd);
	close(in.fd);
out:
	sodium_memzero(cipher, sizeof(*cipher));
	free(cipher);
	return error;
}
