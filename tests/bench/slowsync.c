// SPDX-License-Identifier: Apache-2.0
// A slow disk, by LD_PRELOAD: every fdatasync, fsync and every write through an O_DSYNC or O_SYNC
// descriptor takes SLOWSYNC_MS milliseconds longer (10 if not set). LMDB commits with one of each.
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>


static void
slow(void)
{
	static long ms = -1;

	if (ms < 0) {
		const char *text = getenv("SLOWSYNC_MS");
		ms = text != NULL ? strtol(text, NULL, 10) : 10;
	}
	struct timespec t = { ms / 1000, ms % 1000 * 1000000 };
	nanosleep(&t, NULL);
}

static void *
next(const char *name)
{
	void *f = dlsym(RTLD_NEXT, name);

	if (f == NULL)
		abort();
	return f;
}

static int
synchronous(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	return flags >= 0 && (flags & (O_DSYNC | O_SYNC)) != 0;
}

int
fdatasync(int fd)
{
	static int (*real)(int);

	if (real == NULL)
		*(void **)&real = next("fdatasync");
	slow();
	return real(fd);
}

int
fsync(int fd)
{
	static int (*real)(int);

	if (real == NULL)
		*(void **)&real = next("fsync");
	slow();
	return real(fd);
}

ssize_t
pwrite(int fd, const void *from, size_t size, off_t at)
{
	static ssize_t (*real)(int, const void *, size_t, off_t);

	if (real == NULL)
		*(void **)&real = next("pwrite");
	if (synchronous(fd))
		slow();
	return real(fd, from, size, at);
}

ssize_t
pwrite64(int fd, const void *from, size_t size, off64_t at)
{
	static ssize_t (*real)(int, const void *, size_t, off64_t);

	if (real == NULL)
		*(void **)&real = next("pwrite64");
	if (synchronous(fd))
		slow();
	return real(fd, from, size, at);
}
