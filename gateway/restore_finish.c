// SPDX-License-Identifier: Apache-2.0
// The last part of a restore: from STORE/restored to the places (gateway/restore.h). Every step can be done again: what has been moved is not there to be
// moved any more. Whoever holds the store's lock.
//
// Every place exists in STORE/restored at first (an empty folder where the backup had none), so that "not there" always means "moved already"; or that the one
// that is there stays, as the series do in a salvage.
#include "gateway/restore.h"

#include "gateway/restore_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

// In the store's folder. The journal last: without it there is no store to open.
static const char *const places[] = { "series", "data.mdb" };

static bool
exists(int fd, const char *name)
{
	return faccessat(fd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

// The folder for what was there before: the one name in it that begins so.
static enum gw_error
find_aside(int ready_fd, char *name, size_t cap, struct gw_why *why)
{
	int copy = openat(ready_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = copy >= 0 ? fdopendir(copy) : NULL;
	struct dirent *entry;

	name[0] = '\0';
	if (dir == NULL) {
		if (copy >= 0)
			close(copy);
		return gw_fail(why, GW_E_SYSTEM, "cannot read the restored store: %s", strerror(errno));
	}
	while ((entry = readdir(dir)) != NULL)
		if (strncmp(entry->d_name, GW_RESTORE_ASIDE, strlen(GW_RESTORE_ASIDE)) == 0)
			snprintf(name, cap, "%.*s", (int)cap - 1, entry->d_name);
	closedir(dir);
	return GW_OK;
}

static bool
move_place(int store_fd, int ready_fd, int aside_fd, const char *place)
{
	if (!exists(ready_fd, place))
		return true;
	if (exists(store_fd, place) && (aside_fd < 0 || renameat(store_fd, place, aside_fd, place) != 0))
		return false;
	if (aside_fd >= 0 && fsync(aside_fd) != 0) // the old one has its new name before the new one takes its place
		return false;
	return renameat(ready_fd, place, store_fd, place) == 0 && fsync(store_fd) == 0;
}

// Out of the ready folder; an empty one goes.
static bool
move_aside(int store_fd, int ready_fd, const char *aside)
{
	if (aside[0] == '\0' || unlinkat(ready_fd, aside, AT_REMOVEDIR) == 0)
		return true;
	return renameat(ready_fd, aside, store_fd, aside) == 0;
}

static enum gw_error
finish(int store_fd, int ready_fd, struct gw_why *why)
{
	char aside[64];
	int aside_fd = -1;
	enum gw_error error = find_aside(ready_fd, aside, sizeof(aside), why);
	bool moved = error == GW_OK;

	if (aside[0] != '\0')
		aside_fd = openat(ready_fd, aside, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	unlinkat(store_fd, "lock.mdb", 0); // LMDB's readers of the old file; nobody has it open
	unlinkat(store_fd, "open", 0);     // and how its last process ended
	for (size_t i = 0; moved && i < sizeof(places) / sizeof(places[0]); i++)
		moved = move_place(store_fd, ready_fd, aside_fd, places[i]);
	if (aside_fd >= 0)
		close(aside_fd);
	moved = moved && move_aside(store_fd, ready_fd, aside) && unlinkat(store_fd, GW_RESTORE_READY, AT_REMOVEDIR) == 0 && fsync(store_fd) == 0;
	if (error == GW_OK && !moved)
		return gw_fail(why, GW_E_SYSTEM, "the restored store cannot be moved to its place: %s", strerror(errno));
	unlinkat(store_fd, "series", AT_REMOVEDIR); // where the backup had none
	return error;
}

enum gw_error
gw_restore_finish(const char *store_dir, struct gw_why *why)
{
	int store_fd = open(store_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ready_fd;
	enum gw_error error = GW_OK;

	if (store_fd < 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot open %.120s: %s", store_dir, strerror(errno));
	ready_fd = openat(store_fd, GW_RESTORE_READY, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (ready_fd >= 0) {
		error = finish(store_fd, ready_fd, why);
		close(ready_fd);
	} else if (errno != ENOENT) {
		error = gw_fail(why, GW_E_SYSTEM, "cannot open %.100s/%s: %s", store_dir, GW_RESTORE_READY, strerror(errno));
	}
	close(store_fd);
	return error;
}
