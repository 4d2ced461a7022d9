// SPDX-License-Identifier: Apache-2.0
// Makes writes and syncs of data.mdb fail. Linked into a test, or loaded before a whole program with LD_PRELOAD and
// STORE_FAULT=write|short|meta|sync|allocate:N:EIO|ENOSPC[:stays]; with STORE_FAULT_FILE only of files whose path ends so. Any thread.
#include "faults.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static _Atomic int armed_op, left, failed;
static int armed_error;
static bool armed_stays;

#define REAL(type, name, ...) \
	static type (*real)(__VA_ARGS__); \
	if (real == NULL) \
		*(void **)&real = dlsym(RTLD_NEXT, name)

void
fault_arm(enum fault_op op, int nth, int error, bool stays)
{
	armed_error = error;
	armed_stays = stays;
	atomic_store(&failed, 0);
	atomic_store(&left, nth);
	atomic_store(&armed_op, op);
}

void
fault_disarm(void)
{
	atomic_store(&armed_op, FAULT_NONE);
}

int
fault_count(void)
{
	return atomic_load(&failed);
}

__attribute__((constructor)) static void
arm_from_environment(void)
{
	static const char *const ops[] = { "none", "write", "short", "meta", "sync", "allocate" };
	char op[16], error[16], stays[16] = "";
	const char *text = getenv("STORE_FAULT");
	int nth;

	if (text == NULL || sscanf(text, "%15[^:]:%d:%15[^:]:%15s", op, &nth, error, stays) < 3)
		return;
	for (int i = 1; i < 6; i++)
		if (strcmp(op, ops[i]) == 0)
			fault_arm((enum fault_op)i, nth, strcmp(error, "ENOSPC") == 0 ? ENOSPC : EIO, stays[0] != '\0');
}

static bool
is_store(int fd)
{
	char link[64], path[4096];
	const char *wanted;
	ssize_t len;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	len = readlink(link, path, sizeof(path) - 1);
	if (len < 0)
		return false;
	path[len] = '\0';
	wanted = getenv("STORE_FAULT_FILE") != NULL ? getenv("STORE_FAULT_FILE") : "/data.mdb";
	return (size_t)len >= strlen(wanted) && strcmp(path + (size_t)len - strlen(wanted), wanted) == 0;
}

static bool
is_meta(int fd)
{
	return (fcntl(fd, F_GETFL) & O_DSYNC) != 0;
}

static bool
fails(int fd, enum fault_op op)
{
	int now;

	if (atomic_load(&armed_op) != (int)op || !is_store(fd))
		return false;
	now = atomic_fetch_sub(&left, 1);
	if (now != 1 && !(armed_stays && now < 1))
		return false;
	atomic_fetch_add(&failed, 1);
	errno = armed_error;
	return true;
}

// The fault of a write: that of the page which commits, or of the others.
static bool
write_fails(int fd)
{
	return is_meta(fd) ? fails(fd, FAULT_META) : fails(fd, FAULT_WRITE);
}

#define PWRITE(name, off_type) \
	ssize_t name(int fd, const void *at, size_t len, off_type offset) \
	{ \
		REAL(ssize_t, #name, int, const void *, size_t, off_type); \
		if (write_fails(fd)) \
			return -1; \
		if (!is_meta(fd) && fails(fd, FAULT_SHORT)) { \
			int error = errno; \
			ssize_t done = real(fd, at, len / 2, offset); \
			errno = error; \
			return done < 0 ? done : -1; \
		} \
		return real(fd, at, len, offset); \
	}
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t
writev(int fd, const struct iovec *data, int count)
{
	REAL(ssize_t, "writev", int, const struct iovec *, int);

	if (write_fails(fd))
		return -1;
	if (fails(fd, FAULT_SHORT)) {
		int error = errno;
		ssize_t done = real(fd, data, (count + 1) / 2);
		errno = error;
		return done < 0 ? done : -1;
	}
	return real(fd, data, count);
}

#define PWRITEV(name, off_type) \
	ssize_t name(int fd, const struct iovec *data, int count, off_type offset) \
	{ \
		REAL(ssize_t, #name, int, const struct iovec *, int, off_type); \
		return write_fails(fd) ? -1 : real(fd, data, count, offset); \
	}
PWRITEV(pwritev, off_t)
PWRITEV(pwritev64, off64_t)

#define SYNC(name) \
	int name(int fd) \
	{ \
		REAL(int, #name, int); \
		return fails(fd, FAULT_SYNC) ? -1 : real(fd); \
	}
SYNC(fdatasync)
SYNC(fsync)

#define FALLOCATE(name, off_type) \
	int name(int fd, int mode, off_type offset, off_type len) \
	{ \
		REAL(int, #name, int, int, off_type, off_type); \
		return fails(fd, FAULT_ALLOCATE) ? -1 : real(fd, mode, offset, len); \
	}
FALLOCATE(fallocate, off_t)
FALLOCATE(fallocate64, off64_t)
