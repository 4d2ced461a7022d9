// SPDX-License-Identifier: Apache-2.0
// Files of credentials under watch: which folders matter, what happened there, and whose files are other ones now. main's thread.
#include "gateway/watch.h"

#include "gateway/clock.h"
#include "gateway/hash.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define QUIET_US 150000   // certificate and key are two files
#define RESTLESS_US 2000000 // it is looked at all the same
#define LOOK_US 30000000  // where no event comes
#define EVENTS (IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR)

enum { FOLDERS_MAX = 1024, NAMES_MAX = 1024, LINKS_MAX = 40, ENTRIES_MAX = 256 };

struct file {
	char *path;
	uint64_t owners, seen; // seen: what it was when it was taken last
	bool listed;
};

// What is of interest in a folder.
struct folder {
	int wd;
	bool any;      // whatever is in it
	bool wanted;   // this time
	char **names;
	size_t count;
};

struct gw_watch {
	int fd;
	struct file files[GW_WATCH_FILES_MAX];
	size_t file_count;
	struct folder folders[FOLDERS_MAX];
	size_t folder_count;
	int64_t first_us, last_us; // of events that were not yet acted on; 0: none
	int64_t looked_us;
};

// ---- Folders ----

static void
forget_names(struct folder *folder)
{
	for (size_t i = 0; i < folder->count; i++)
		free(folder->names[i]);
	free(folder->names);
	folder->names = NULL;
	folder->count = 0;
	folder->any = false;
}

static struct folder *
folder_of(struct gw_watch *watch, int wd)
{
	for (size_t i = 0; i < watch->folder_count; i++)
		if (watch->folders[i].wd == wd)
			return &watch->folders[i];
	return NULL;
}

static bool
has_name(const struct folder *folder, const char *name)
{
	for (size_t i = 0; i < folder->count; i++)
		if (strcmp(folder->names[i], name) == 0)
			return true;
	return folder->any;
}

static void
add_name(struct folder *folder, const char *name)
{
	char **grown;

	if (name == NULL)
		folder->any = true;
	if (name == NULL || has_name(folder, name) || folder->count == NAMES_MAX)
		return;
	if ((grown = realloc(folder->names, (folder->count + 1) * sizeof(*grown))) == NULL)
		return; // the look twice a minute finds what is missed so
	folder->names = grown;
	if ((folder->names[folder->count] = strdup(name)) != NULL)
		folder->count++;
}

// name NULL: whatever is in it. What cannot be watched is still looked at twice a minute.
static void
want(struct gw_watch *watch, const char *path, const char *name)
{
	int wd = inotify_add_watch(watch->fd, path[0] != '\0' ? path : "/", EVENTS);
	struct folder *folder = wd >= 0 ? folder_of(watch, wd) : NULL;

	if (wd >= 0 && folder == NULL && watch->folder_count < FOLDERS_MAX) {
		folder = &watch->folders[watch->folder_count++];
		*folder = (struct folder){ .wd = wd };
	}
	if (folder == NULL)
		return;
	folder->wanted = true;
	add_name(folder, name);
}

static void
sweep(struct gw_watch *watch)
{
	size_t kept = 0;

	for (size_t i = 0; i < watch->folder_count; i++) {
		if (watch->folders[i].wanted) {
			watch->folders[kept++] = watch->folders[i];
			continue;
		}
		(void)inotify_rm_watch(watch->fd, watch->folders[i].wd);
		forget_names(&watch->folders[i]);
	}
	watch->folder_count = kept;
}

// ---- The way to a file ----

// The next component of rest, which moves on; false at the end.
static bool
next_component(char *rest, char name[NAME_MAX + 1])
{
	size_t skip = strspn(rest, "/"), len = strcspn(rest + skip, "/");

	if (len == 0 || len > NAME_MAX)
		return false;
	memcpy(name, rest + skip, len);
	name[len] = '\0';
	memmove(rest, rest + skip + len, strlen(rest + skip + len) + 1);
	return true;
}

// rest becomes what the link says, then what came behind it.
static bool
follow_link(const char *path, char rest[PATH_MAX], bool *from_root)
{
	char target[PATH_MAX], behind[PATH_MAX];
	ssize_t len = readlink(path, target, sizeof(target) - 1);

	if (len <= 0)
		return false;
	target[len] = '\0';
	*from_root = target[0] == '/';
	memcpy(behind, rest, strlen(rest) + 1);
	return snprintf(rest, PATH_MAX, "%s%s%s", target, behind[0] != '\0' ? "/" : "", behind) < PATH_MAX;
}

static bool
descend(char at[PATH_MAX], const char *name)
{
	char *slash = strrchr(at, '/');
	size_t len = strlen(at);

	if (strcmp(name, "..") == 0) {
		if (slash != NULL)
			*slash = '\0';
		return true;
	}
	return strcmp(name, ".") == 0 || snprintf(at + len, PATH_MAX - len, "/%s", name) < (int)(PATH_MAX - len);
}

// Links and the last name are watched, each in its folder; folders themselves tell when they are moved away. at: where it ended.
static void
walk(struct gw_watch *watch, const char *path, char at[PATH_MAX])
{
	char rest[PATH_MAX], name[NAME_MAX + 1], whole[PATH_MAX];
	bool from_root = false;
	struct stat st;
	int links = 0;

	at[0] = '\0';
	if (snprintf(rest, sizeof(rest), "%s", path) >= (int)sizeof(rest))
		return;
	while (next_component(rest, name)) {
		memcpy(whole, at, strlen(at) + 1);
		if (!descend(whole, name))
			return;
		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0) {
			memcpy(at, whole, strlen(whole) + 1);
			continue;
		}
		if (lstat(whole, &st) != 0) {
			want(watch, at, name);
			return;
		}
		if (S_ISLNK(st.st_mode)) {
			want(watch, at, name);
			if (++links > LINKS_MAX || !follow_link(whole, rest, &from_root))
				return;
			if (from_root)
				at[0] = '\0';
			continue;
		}
		if (rest[strspn(rest, "/")] == '\0')
			want(watch, at, name);
		memcpy(at, whole, strlen(whole) + 1);
	}
}

// In a folder everything is of interest, and what its links lead to.
static void
walk_folder(struct gw_watch *watch, const char *path)
{
	struct dirent **entries;
	char file[PATH_MAX], at[PATH_MAX];
	int count;

	want(watch, path, NULL);
	if ((count = scandir(path, &entries, NULL, NULL)) < 0)
		return;
	for (int i = 0; i < count; i++) {
		if (i < ENTRIES_MAX && (entries[i]->d_type == DT_LNK || entries[i]->d_type == DT_UNKNOWN) && snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name) < (int)sizeof(file))
			walk(watch, file, at);
		free(entries[i]);
	}
	free(entries);
}

static void
watch_all(struct gw_watch *watch)
{
	char at[PATH_MAX];
	struct stat st;

	for (size_t i = 0; i < watch->folder_count; i++) {
		watch->folders[i].wanted = false;
		forget_names(&watch->folders[i]);
	}
	for (size_t i = 0; i < watch->file_count; i++) {
		walk(watch, watch->files[i].path, at);
		if (stat(watch->files[i].path, &st) == 0 && S_ISDIR(st.st_mode))
			walk_folder(watch, at);
	}
	sweep(watch);
}

// ---- What is there ----

static uint64_t
look_of(const struct stat *st)
{
	const uint64_t facts[] = { st->st_dev, st->st_ino, (uint64_t)st->st_size, (uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec,
		(uint64_t)st->st_ctim.tv_sec, (uint64_t)st->st_ctim.tv_nsec };

	return gw_hash_bytes(1, (struct gw_span){ (const uint8_t *)facts, sizeof(facts) });
}

// In no order, because the folder has none.
static uint64_t
look_at_folder(const char *path)
{
	DIR *dir = opendir(path);
	const struct dirent *entry;
	uint64_t sum = 2;
	struct stat st;

	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.' || fstatat(dirfd(dir), entry->d_name, &st, 0) != 0)
			continue;
		sum += gw_hash_bytes(look_of(&st), (struct gw_span){ (const uint8_t *)entry->d_name, strlen(entry->d_name) });
	}
	if (dir != NULL)
		closedir(dir);
	return sum;
}

static uint64_t
look_at(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return 1;
	return S_ISDIR(st.st_mode) ? look_at_folder(path) : look_of(&st);
}

static uint64_t
changed(struct gw_watch *watch)
{
	uint64_t owners = 0;

	for (size_t i = 0; i < watch->file_count; i++) {
		uint64_t look = look_at(watch->files[i].path);

		if (look != watch->files[i].seen)
			owners |= watch->files[i].owners;
		watch->files[i].seen = look;
	}
	return owners;
}

// ---- Events ----

static bool
concerns(struct gw_watch *watch, const struct inotify_event *event)
{
	const struct folder *folder;

	if ((event->mask & IN_Q_OVERFLOW) != 0)
		return true;
	if ((folder = folder_of(watch, event->wd)) == NULL)
		return false; // of a folder that was let go
	if ((event->mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)) != 0)
		return true;
	return event->len > 0 ? has_name(folder, event->name) : folder->any;
}

static bool
read_events(struct gw_watch *watch)
{
	char buf[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool any = false;
	ssize_t len;

	while ((len = read(watch->fd, buf, sizeof(buf))) > 0) {
		for (ssize_t at = 0; at < len;) {
			const struct inotify_event *event = (const struct inotify_event *)(const void *)(buf + at);

			any |= concerns(watch, event);
			at += (ssize_t)(sizeof(*event) + event->len);
		}
	}
	return any;
}

// When it is to be looked at.
static int64_t
due_us(const struct gw_watch *watch)
{
	int64_t due = watch->looked_us + LOOK_US, quiet = watch->last_us + QUIET_US, latest = watch->first_us + RESTLESS_US;

	if (watch->first_us == 0)
		return due;
	quiet = quiet < latest ? quiet : latest;
	return quiet < due ? quiet : due;
}

int
gw_watch_wait_ms(const struct gw_watch *watch)
{
	int64_t left_us = due_us(watch) - gw_clock_mono_us();

	return left_us > 0 ? (int)(left_us / 1000 + 1) : 0;
}

uint64_t
gw_watch_take(struct gw_watch *watch)
{
	bool any = read_events(watch);
	int64_t now_us = gw_clock_mono_us();

	if (any) {
		watch->last_us = now_us;
		if (watch->first_us == 0)
			watch->first_us = now_us;
	}
	if (now_us < due_us(watch))
		return 0;
	watch->first_us = watch->last_us = 0;
	watch->looked_us = now_us;
	watch_all(watch); // before looking: what changes from here on is told
	return changed(watch);
}

// ---- The list ----

void
gw_watch_clear(struct gw_watch *watch)
{
	for (size_t i = 0; i < watch->file_count; i++) {
		watch->files[i].owners = 0;
		watch->files[i].listed = false;
	}
}

static void
drop_unlisted(struct gw_watch *watch)
{
	size_t kept = 0;

	for (size_t i = 0; i < watch->file_count; i++) {
		if (watch->files[i].listed)
			watch->files[kept++] = watch->files[i];
		else
			free(watch->files[i].path);
	}
	watch->file_count = kept;
}

static struct file *
find_file(struct gw_watch *watch, const char *path)
{
	struct file *file = watch->files;

	while (file < watch->files + watch->file_count && strcmp(file->path, path) != 0)
		file++;
	return file;
}

enum gw_error
gw_watch_add(struct gw_watch *watch, unsigned owner, const char *path)
{
	struct file *file = find_file(watch, path);

	if (file == watch->files + GW_WATCH_FILES_MAX) {
		drop_unlisted(watch);
		file = find_file(watch, path);
	}
	if (file == watch->files + GW_WATCH_FILES_MAX || owner >= GW_WATCH_OWNERS_MAX)
		return GW_E_TOO_LARGE;
	if (file == watch->files + watch->file_count) {
		*file = (struct file){ .path = strdup(path) };
		if (file->path == NULL)
			return GW_E_MEMORY;
		watch->file_count++;
	}
	if (!file->listed && file->seen == 0)
		file->seen = look_at(path);
	file->listed = true;
	file->owners |= UINT64_C(1) << owner;
	return GW_OK;
}

void
gw_watch_begin(struct gw_watch *watch)
{
	drop_unlisted(watch);
	watch->looked_us = gw_clock_mono_us();
	watch_all(watch);
}

uint64_t
gw_watch_seen(struct gw_watch *watch)
{
	return changed(watch);
}

// ---- Open and close ----

enum gw_error
gw_watch_open(struct gw_watch **out, struct gw_why *why)
{
	struct gw_watch *watch = calloc(1, sizeof(*watch));

	*out = NULL;
	if (watch == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	if ((watch->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) < 0) {
		free(watch);
		return gw_fail(why, GW_E_SYSTEM, "cannot watch files: %s", strerror(errno));
	}
	watch->looked_us = gw_clock_mono_us();
	*out = watch;
	return GW_OK;
}

void
gw_watch_close(struct gw_watch *watch)
{
	if (watch == NULL)
		return;
	for (size_t i = 0; i < watch->folder_count; i++)
		forget_names(&watch->folders[i]);
	for (size_t i = 0; i < watch->file_count; i++)
		free(watch->files[i].path);
	close(watch->fd);
	free(watch);
}

int
gw_watch_fd(const struct gw_watch *watch)
{
	return watch->fd;
}
