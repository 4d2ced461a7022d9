// SPDX-License-Identifier: Apache-2.0
// The stage of a store that is to take another's place (gateway/restore_stage.h).
#include "gateway/restore_stage.h"

#include "gateway/clock.h"
#include "gateway/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define MIB (1u << 20)

void
gw_stage_init(struct gw_stage *stage)
{
	*stage = (struct gw_stage){ .store_fd = -1, .lock_fd = -1, .fd = -1 };
}

void
gw_stage_fini(struct gw_stage *stage)
{
	int *const fds[] = { &stage->fd, &stage->lock_fd, &stage->store_fd };

	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (*fds[i] >= 0)
			close(*fds[i]);
	gw_stage_init(stage);
}

static enum gw_error
sync_path(const char *path, struct gw_why *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool synced = fd >= 0 && fsync(fd) == 0;

	if (fd >= 0)
		close(fd);
	return synced ? GW_OK : gw_fail(why, GW_E_SYNC, "cannot sync %.120s: %s", path, strerror(errno));
}

enum gw_error
gw_stage_open(struct gw_stage *stage, const char *to, struct gw_why *why)
{
	char up[sizeof(stage->path) + 4];
	enum gw_error error;

	stage->to = to;
	if (strlen(to) > sizeof(stage->path) - 64)
		return gw_fail(why, GW_E_ARGUMENT, "the store's path is too long");
	snprintf(up, sizeof(up), "%s/..", to);
	if (mkdir(to, 0700) == 0) {
		if ((error = sync_path(up, why)) != GW_OK)
			return error;
	} else if (errno != EEXIST) {
		return gw_fail(why, GW_E_SYSTEM, "cannot make %.120s: %s", to, strerror(errno));
	}
	stage->store_fd = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (stage->store_fd < 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot open %.120s: %s", to, strerror(errno));
	stage->lock_fd = openat(stage->store_fd, "vitalgate.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (stage->lock_fd < 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot open %.100s/vitalgate.lock: %s", to, strerror(errno));
	if (flock(stage->lock_fd, LOCK_EX | LOCK_NB) != 0)
		return gw_fail(why, GW_E_BUSY, "a gateway runs on the store in %.120s: stop it first", to);
	return gw_restore_finish(to, why);
}

static int
remove_one(const char *path, const struct stat *at, int type, struct FTW *walk)
{
	(void)at, (void)type, (void)walk;
	return remove(path);
}

void
gw_stage_drop(const struct gw_stage *stage)
{
	if (stage->path[0] != '\0')
		nftw(stage->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

enum gw_error
gw_stage_room(const struct gw_stage *stage, uint64_t need_bytes, struct gw_why *why)
{
	struct statvfs at;
	uint64_t free_bytes;

	if (fstatvfs(stage->store_fd, &at) != 0)
		return GW_OK; // writing will tell
	free_bytes = (uint64_t)at.f_bavail * at.f_frsize;
	if (need_bytes <= free_bytes)
		return GW_OK;
	return gw_fail(why, GW_E_FULL, "%llu MB are needed in %.100s, %llu MB are free", (unsigned long long)((need_bytes + MIB - 1) / MIB), stage->to,
	    (unsigned long long)(free_bytes / MIB));
}

// No name that is taken, also where clocks go back and restores follow each other within a second.
static void
name_aside(const struct gw_stage *stage, char *out, size_t cap)
{
	time_t now = (time_t)(gw_clock_wall_us() / 1000000);
	char stamp[20];
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
	do
		snprintf(out, cap, GW_RESTORE_ASIDE "%s-%04x", stamp, (unsigned)randombytes_uniform(65536));
	while (faccessat(stage->store_fd, out, F_OK, AT_SYMLINK_NOFOLLOW) == 0);
}

// A folder for each place, one for what will be replaced.
enum gw_error
gw_stage_make(struct gw_stage *stage, bool series, struct gw_why *why)
{
	char aside[sizeof(stage->aside)];

	snprintf(stage->path, sizeof(stage->path), "%s/" GW_RESTORE_STAGE, stage->to);
	gw_stage_drop(stage); // of one that was cut off
	name_aside(stage, aside, sizeof(aside));
	if (mkdirat(stage->store_fd, GW_RESTORE_STAGE, 0700) != 0 ||
	    (stage->fd = openat(stage->store_fd, GW_RESTORE_STAGE, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0 ||
	    (series && mkdirat(stage->fd, "series", 0700) != 0) || mkdirat(stage->fd, aside, 0700) != 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot make %.120s: %s", stage->path, strerror(errno));
	if (faccessat(stage->store_fd, "data.mdb", F_OK, 0) == 0 || (series && faccessat(stage->store_fd, "series", F_OK, 0) == 0))
		snprintf(stage->aside, sizeof(stage->aside), "%s", aside);
	return GW_OK;
}

enum gw_error
gw_stage_journal(const struct gw_stage *stage, uint64_t map_bytes, struct gw_journal **journal, struct gw_why *why)
{
	const struct gw_journal_options options = {
		.dir = stage->path, .budget_bytes = map_bytes, .reserve_bytes = 2u << 20, .disk_reserve_bytes = 0, .retention_us = INT64_MAX,
		.retention_full_us = INT64_MAX, .quarantine_bytes = UINT64_MAX / 4, .quarantine_share_percent = 100, .series_max = UINT32_MAX,
		.series_share_percent = 100, .audit_us = INT64_MAX, .audit_bytes = UINT64_MAX,
	};

	return gw_journal_open(&options, journal, why);
}

// ---- It counts ----

static struct stat owner; // nftw() passes nothing along; one stage in a process

static int
own_one(const char *path, const struct stat *at, int type, struct FTW *walk)
{
	(void)at, (void)type, (void)walk;
	return lchown(path, owner.st_uid, owner.st_gid);
}

// root does it for the store's owner, so that no file becomes root's and locks the gateway out.
static enum gw_error
give_to_owner(const struct gw_stage *stage, struct gw_why *why)
{
	if (geteuid() != 0 || fstat(stage->store_fd, &owner) != 0 || owner.st_uid == 0)
		return GW_OK;
	if (nftw(stage->path, own_one, 8, FTW_PHYS) == 0 && fchown(stage->lock_fd, owner.st_uid, owner.st_gid) == 0)
		return GW_OK;
	return gw_fail(why, GW_E_SYSTEM, "cannot give %.120s to the store's owner: %s", stage->path, strerror(errno));
}

enum gw_error
gw_stage_count(const struct gw_stage *stage, struct gw_why *why)
{
	char series[sizeof(stage->path) + 16];
	enum gw_error error;

	// The stage's own; the store has another of each.
	unlinkat(stage->fd, "lock.mdb", 0);
	unlinkat(stage->fd, "vitalgate.lock", 0);
	unlinkat(stage->fd, "open", 0);
	snprintf(series, sizeof(series), "%s/series", stage->path);
	if ((error = give_to_owner(stage, why)) != GW_OK || (access(series, F_OK) == 0 && (error = sync_path(series, why)) != GW_OK) ||
	    (error = sync_path(stage->path, why)) != GW_OK)
		return error;
	if (renameat(stage->store_fd, GW_RESTORE_STAGE, stage->store_fd, GW_RESTORE_READY) != 0 || fsync(stage->store_fd) != 0)
		return gw_fail(why, GW_E_SYNC, "cannot rename %.120s: %s", stage->path, strerror(errno));
	return gw_restore_finish(stage->to, why);
}
