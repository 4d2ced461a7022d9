// SPDX-License-Identifier: Apache-2.0
// Another day, by LD_PRELOAD: the wall clock is later by as many microseconds as the file LATER_FILE says (8 bytes, native), which may change while the program
// runs. Clocks that only measure go on as they are.
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static const volatile int64_t *
later(void)
{
	static const volatile int64_t *us;
	static const int64_t none;
	const char *path = getenv("LATER_FILE");
	int fd;
	void *at;

	if (us != NULL)
		return us;
	if (path == NULL || (fd = open(path, O_RDONLY | O_CLOEXEC)) < 0)
		return &none;
	at = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (at == MAP_FAILED)
		abort();
	return us = at;
}

static int
real(clockid_t id, struct timespec *out)
{
	static int (*next)(clockid_t, struct timespec *);

	if (next == NULL)
		*(void **)&next = dlsym(RTLD_NEXT, "clock_gettime");
	return next(id, out);
}

int
clock_gettime(clockid_t id, struct timespec *out)
{
	int result = real(id, out);
	int64_t ns;

	if (result != 0 || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE))
		return result;
	ns = out->tv_nsec + *later() % 1000000 * 1000;
	out->tv_sec += (time_t)(*later() / 1000000 + ns / 1000000000);
	out->tv_nsec = (long)(ns % 1000000000);
	return 0;
}

int
gettimeofday(struct timeval *restrict out, void *restrict zone)
{
	struct timespec now;

	(void)zone;
	clock_gettime(CLOCK_REALTIME, &now);
	*out = (struct timeval){ .tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000 };
	return 0;
}

time_t
time(time_t *out)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (out != NULL)
		*out = now.tv_sec;
	return now.tv_sec;
}
