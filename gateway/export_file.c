// SPDX-License-Identifier: Apache-2.0
// Files of exports (gateway/export_file.h). One thread at a time.
//
// What a power cut leaves: .NAME.PID.part with anything in it, or NAME whole: it is renamed after fsync, and the folder is synced before anybody is told.
#include "gateway/export_file.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#define GZIP_LEVEL 4 // a third of the time of 6, for a tenth more bytes on readings
#define OUT_BYTES 65536

struct gw_export_file {
	struct gw_export_file_options options;
	int folder_fd, fd;
	bool own;
	char name[256], part[288];
	uint64_t bytes, unsynced;
	crypto_hash_sha256_state hash;
	z_stream stream;
	bool streaming;
	uint8_t out[OUT_BYTES];
};

static enum gw_error
error_of(int number)
{
	return number == ENOSPC || number == EDQUOT ? GW_E_FULL : GW_E_SYSTEM;
}

static enum gw_error
put(struct gw_export_file *file, const uint8_t *at, size_t len, struct gw_why *why)
{
	if (file->options.hash)
		crypto_hash_sha256_update(&file->hash, at, len);
	file->bytes += len;
	file->unsynced += len;
	while (len > 0) {
		ssize_t done = write(file->fd, at, len);

		if (done < 0 && errno == EINTR)
			continue;
		if (done < 0 && errno == EAGAIN) { // somebody's pipe, which he made so
			(void)poll(&(struct pollfd){ .fd = file->fd, .events = POLLOUT }, 1, -1);
			continue;
		}
		if (done < 0)
			return gw_fail(why, error_of(errno), "cannot write %.80s: %s", file->name, strerror(errno));
		at += done;
		len -= (size_t)done;
	}
	if (file->options.sync_bytes == 0 || file->unsynced < file->options.sync_bytes)
		return GW_OK;
	file->unsynced = 0;
	if (fdatasync(file->fd) != 0)
		return gw_fail(why, error_of(errno), "cannot sync %.80s: %s", file->name, strerror(errno));
	(void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED); // the memory is for the journal
	return GW_OK;
}

static enum gw_error
make(int folder_fd, const char *name, const struct gw_export_file_options *options, struct gw_export_file **out, struct gw_why *why)
{
	struct gw_export_file *file = calloc(1, sizeof(*file));

	*out = file;
	if (file == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	file->options = *options;
	file->folder_fd = folder_fd;
	file->fd = -1;
	if (snprintf(file->name, sizeof(file->name), "%s", name) >= (int)sizeof(file->name) - 16)
		return gw_fail(why, GW_E_ARGUMENT, "a file's name is too long: %.60s...", name);
	snprintf(file->part, sizeof(file->part), ".%s.%d.part", file->name, (int)getpid());
	crypto_hash_sha256_init(&file->hash);
	// 15 bits of window; 16 more: a gzip header
	if (options->gzip && deflateInit2(&file->stream, GZIP_LEVEL, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return gw_fail(why, GW_E_MEMORY, "no memory to compress");
	file->streaming = options->gzip;
	return GW_OK;
}

enum gw_error
gw_export_file_open(int folder_fd, const char *name, const struct gw_export_file_options *options, struct gw_export_file **out, struct gw_why *why)
{
	struct gw_export_file *file;
	enum gw_error error = make(folder_fd, name, options, &file, why);

	*out = NULL;
	if (error == GW_OK) {
		file->own = true;
		(void)unlinkat(folder_fd, file->part, 0);
		file->fd = openat(folder_fd, file->part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, options->mode);
		if (file->fd < 0)
			error = gw_fail(why, error_of(errno), "cannot make %.80s: %s", file->part, strerror(errno));
	}
	if (error != GW_OK)
		gw_export_file_drop(file);
	else
		*out = file;
	return error;
}

enum gw_error
gw_export_file_onto(int fd, const struct gw_export_file_options *options, struct gw_export_file **out, struct gw_why *why)
{
	struct gw_export_file *file;
	enum gw_error error = make(-1, "the output", options, &file, why);

	*out = NULL;
	if (error != GW_OK) {
		gw_export_file_drop(file);
		return error;
	}
	file->fd = fd;
	*out = file;
	return GW_OK;
}

// Compresses what stream.next_in has, or all that is left.
static enum gw_error
compress_some(struct gw_export_file *file, int flush, struct gw_why *why)
{
	enum gw_error error = GW_OK;

	do {
		file->stream.next_out = file->out;
		file->stream.avail_out = sizeof(file->out);
		if (deflate(&file->stream, flush) == Z_STREAM_ERROR)
			return gw_fail(why, GW_E_SYSTEM, "compression failed");
		error = put(file, file->out, sizeof(file->out) - file->stream.avail_out, why);
	} while (error == GW_OK && file->stream.avail_out == 0);
	return error;
}

enum gw_error
gw_export_file_write(struct gw_export_file *file, const char *at, size_t len, struct gw_why *why)
{
	enum gw_error error = GW_OK;

	if (!file->streaming)
		return put(file, (const uint8_t *)at, len, why);
	while (len > 0 && error == GW_OK) {
		size_t take = len < 1u << 30 ? len : 1u << 30;

		file->stream.next_in = (Bytef *)(uintptr_t)at;
		file->stream.avail_in = (uInt)take;
		error = compress_some(file, Z_NO_FLUSH, why);
		at += take;
		len -= take;
	}
	return error;
}

uint64_t
gw_export_file_bytes(const struct gw_export_file *file)
{
	return file->bytes;
}

int
gw_export_file_fd(const struct gw_export_file *file)
{
	return file->streaming || file->options.hash ? -1 : file->fd;
}

static void
free_file(struct gw_export_file *file)
{
	if (file->streaming)
		(void)deflateEnd(&file->stream);
	if (file->own && file->fd >= 0)
		close(file->fd);
	free(file);
}

static enum gw_error
settle(struct gw_export_file *file, struct gw_why *why)
{
	if (fsync(file->fd) != 0)
		return gw_fail(why, error_of(errno), "cannot sync %.80s: %s", file->name, strerror(errno));
	if (renameat(file->folder_fd, file->part, file->folder_fd, file->name) != 0 || fsync(file->folder_fd) != 0)
		return gw_fail(why, error_of(errno), "cannot rename %.80s: %s", file->name, strerror(errno));
	if (file->options.sync_bytes > 0)
		(void)posix_fadvise(file->fd, 0, 0, POSIX_FADV_DONTNEED);
	return GW_OK;
}

enum gw_error
gw_export_file_finish(struct gw_export_file *file, struct gw_export_filed *filed, struct gw_why *why)
{
	enum gw_error error = GW_OK;

	if (file->streaming)
		error = compress_some(file, Z_FINISH, why);
	if (error == GW_OK && file->own)
		error = settle(file, why);
	if (error != GW_OK) {
		gw_export_file_drop(file);
		return error;
	}
	*filed = (struct gw_export_filed){ .bytes = file->bytes };
	crypto_hash_sha256_final(&file->hash, filed->sha256);
	free_file(file);
	return GW_OK;
}

void
gw_export_file_drop(struct gw_export_file *file)
{
	if (file == NULL)
		return;
	if (file->own && file->fd >= 0)
		(void)unlinkat(file->folder_fd, file->part, 0);
	free_file(file);
}
