// SPDX-License-Identifier: Apache-2.0
// Writes down every write and sync to the files below one directory, in the order in which they begin and return. Linked into
// the program under test: its definitions stand before the C library's, also for LMDB. lock.mdb, which LMDB maps, is left out: it is
// made anew after a restart.
#include "recorder.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define FDS 256

struct watched {
	bool on, dsync;
	uint64_t file;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct watched fds[FDS];
static char dir[PATH_MAX];
static int log_fd = -1;

#define REAL(type, name, ...) \
	static type (*real)(__VA_ARGS__); \
	if (real == NULL) \
		*(void **)&real = dlsym(RTLD_NEXT, name)

static ssize_t
real_write(int fd, const void *at, size_t len)
{
	REAL(ssize_t, "write", int, const void *, size_t);
	return real(fd, at, len);
}

static void
put(const struct entry *entry, const struct iovec *data, int count)
{
	struct iovec all[1026] = { { (void *)(uintptr_t)entry, sizeof(*entry) } };
	REAL(ssize_t, "writev", int, const struct iovec *, int);

	for (int i = 0; i < count; i++)
		all[i + 1] = data[i];
	pthread_mutex_lock(&lock);
	if (real(log_fd, all, count + 1) != (ssize_t)(sizeof(*entry) + entry->len))
		abort();
	pthread_mutex_unlock(&lock);
}

static void
put_text(enum entry_type type, uint64_t file, uint64_t value, const char *text, size_t len)
{
	struct iovec data = { (void *)(uintptr_t)text, len };
	put(&(struct entry){ .type = type, .len = (uint32_t)len, .file = file, .value = value }, &data, 1);
}

static void
put_plain(enum entry_type type, uint64_t file, uint64_t value)
{
	put(&(struct entry){ .type = type, .file = file, .value = value }, NULL, 0);
}

void
recorder_start(const char *root, const char *log)
{
	REAL(int, "open", const char *, int, ...);

	if (strlen(root) >= sizeof(dir) || (log_fd = real(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600)) < 0)
		abort();
	strcpy(dir, root);
}

void
recorder_mark(enum entry_type type, uint64_t source, uint64_t number)
{
	if (log_fd >= 0)
		put_plain(type, source, number);
}

static bool
is_watched(const char *path)
{
	return log_fd >= 0 && strncmp(path, dir, strlen(dir)) == 0 && strstr(path, "lock") == NULL;
}

static struct watched *
watched(int fd)
{
	return fd >= 0 && fd < FDS && fds[fd].on ? &fds[fd] : NULL;
}

// ---- Names ----

static int
opened(int fd, const char *path, int flags, bool was_there)
{
	struct stat stat;

	if (fd < 0 || fd >= FDS || !is_watched(path) || fstat(fd, &stat) != 0)
		return fd;
	fds[fd] = (struct watched){ true, (flags & O_DSYNC) != 0, stat.st_ino };
	put_text(ENTRY_OPEN, stat.st_ino, !was_there, path, strlen(path));
	if ((flags & O_TRUNC) != 0)
		put_plain(ENTRY_SIZE, stat.st_ino, 0);
	return fd;
}

#define OPEN(name) \
	int name(const char *path, int flags, ...); \
	int name(const char *path, int flags, ...) \
	{ \
		bool was_there = log_fd < 0 || access(path, F_OK) == 0; \
		va_list args; \
		va_start(args, flags); \
		mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0; \
		va_end(args); \
		REAL(int, #name, const char *, int, ...); \
		return opened(real(path, flags, mode), path, flags, was_there); \
	}
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
	int name(int at, const char *path, int flags, ...); \
	int name(int at, const char *path, int flags, ...) \
	{ \
		bool was_there = log_fd < 0 || faccessat(at, path, F_OK, 0) == 0; \
		va_list args; \
		va_start(args, flags); \
		mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0; \
		va_end(args); \
		REAL(int, #name, int, const char *, int, ...); \
		return opened(real(at, path, flags, mode), path, flags, was_there); \
	}
OPENAT(openat)
OPENAT(openat64)

int
close(int fd)
{
	REAL(int, "close", int);

	if (fd >= 0 && fd < FDS)
		fds[fd].on = false;
	return real(fd);
}

int
rename(const char *from, const char *to)
{
	char both[2 * PATH_MAX + 1];
	REAL(int, "rename", const char *, const char *);
	int rc = real(from, to);

	if (rc == 0 && is_watched(from)) {
		int len = snprintf(both, sizeof(both), "%s%c%s", from, '\0', to);
		put_text(ENTRY_RENAME, 0, 0, both, (size_t)len);
	}
	return rc;
}

int
unlink(const char *path)
{
	REAL(int, "unlink", const char *);
	int rc = real(path);

	if (rc == 0 && is_watched(path))
		put_text(ENTRY_UNLINK, 0, 0, path, strlen(path));
	return rc;
}

int
mkdir(const char *path, mode_t mode)
{
	REAL(int, "mkdir", const char *, mode_t);
	int rc = real(path, mode);

	if (rc == 0 && is_watched(path))
		put_text(ENTRY_MKDIR, 0, 0, path, strlen(path));
	return rc;
}

// ---- Writes ----

static void
begin_write(const struct watched *file, off_t offset, const struct iovec *data, int count)
{
	size_t len = 0;

	for (int i = 0; i < count; i++)
		len += data[i].iov_len;
	put(&(struct entry){ ENTRY_WRITE, (uint32_t)len, file->file, (uint64_t)offset, file->dsync }, data, count);
}

static void
end_write(const struct watched *file, ssize_t rc)
{
	if (rc < 0)
		abort(); // the load is made for a disk that works
	put_plain(ENTRY_WRITTEN, file->file, (uint64_t)rc);
}

#define PWRITE(name, off_type) \
	ssize_t name(int fd, const void *at, size_t len, off_type offset) \
	{ \
		struct watched *file = watched(fd); \
		REAL(ssize_t, #name, int, const void *, size_t, off_type); \
		if (file == NULL) \
			return real(fd, at, len, offset); \
		begin_write(file, offset, &(struct iovec){ (void *)(uintptr_t)at, len }, 1); \
		ssize_t rc = real(fd, at, len, offset); \
		end_write(file, rc); \
		return rc; \
	}
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define PWRITEV(name, off_type) \
	ssize_t name(int fd, const struct iovec *data, int count, off_type offset) \
	{ \
		struct watched *file = watched(fd); \
		REAL(ssize_t, #name, int, const struct iovec *, int, off_type); \
		if (file == NULL) \
			return real(fd, data, count, offset); \
		begin_write(file, offset, data, count); \
		ssize_t rc = real(fd, data, count, offset); \
		end_write(file, rc); \
		return rc; \
	}
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

ssize_t
writev(int fd, const struct iovec *data, int count)
{
	struct watched *file = watched(fd);
	REAL(ssize_t, "writev", int, const struct iovec *, int);

	if (file == NULL)
		return real(fd, data, count);
	begin_write(file, lseek(fd, 0, SEEK_CUR), data, count);
	ssize_t rc = real(fd, data, count);
	end_write(file, rc);
	return rc;
}

ssize_t
write(int fd, const void *at, size_t len)
{
	struct watched *file = watched(fd);

	if (file == NULL)
		return real_write(fd, at, len);
	begin_write(file, lseek(fd, 0, SEEK_CUR), &(struct iovec){ (void *)(uintptr_t)at, len }, 1);
	ssize_t rc = real_write(fd, at, len);
	end_write(file, rc);
	return rc;
}

// ---- Sizes and syncs ----

#define FALLOCATE(name, off_type) \
	int name(int fd, int mode, off_type offset, off_type len) \
	{ \
		struct watched *file = watched(fd); \
		REAL(int, #name, int, int, off_type, off_type); \
		int rc = real(fd, mode, offset, len); \
		struct stat stat; \
		if (file != NULL && rc == 0 && fstat(fd, &stat) == 0) \
			put_plain(ENTRY_SIZE, file->file, (uint64_t)stat.st_size); \
		return rc; \
	}
FALLOCATE(fallocate, off_t)
FALLOCATE(fallocate64, off64_t)

#define FTRUNCATE(name, off_type) \
	int name(int fd, off_type len) \
	{ \
		struct watched *file = watched(fd); \
		REAL(int, #name, int, off_type); \
		int rc = real(fd, len); \
		if (file != NULL && rc == 0) \
			put_plain(ENTRY_SIZE, file->file, (uint64_t)len); \
		return rc; \
	}
FTRUNCATE(ftruncate, off_t)
FTRUNCATE(ftruncate64, off64_t)

#define SYNC(name) \
	int name(int fd) \
	{ \
		struct watched *file = watched(fd); \
		REAL(int, #name, int); \
		if (file == NULL) \
			return real(fd); \
		put_plain(ENTRY_SYNC, file->file, 0); \
		int rc = real(fd); \
		if (rc != 0) \
			abort(); \
		put_plain(ENTRY_SYNCED, file->file, 0); \
		return rc; \
	}
SYNC(fdatasync)
SYNC(fsync)

// A store written through its map would pass by unseen: that must not go unnoticed.
int
msync(void *at, size_t len, int flags)
{
	(void)at, (void)len, (void)flags;
	fprintf(stderr, "recorder: msync is not recorded\n");
	abort();
}
