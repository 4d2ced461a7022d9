// SPDX-License-Identifier: Apache-2.0
// Making a backup (gateway/backup.h): source after source, then the manifest.
//
// What a kill or a power cut leaves: some *.part, or some whole files without a manifest, or the backup. The manifest is the only word for "whole": it is
// renamed when every file is synced under its own name.
#include "gateway/backup.h"

#include "gateway/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PIECE (256u << 10)
#define WATCH_MS 100

// One source on its way to one file. A pair of sockets, not a pipe: shutdown() cuts it from any thread.
struct run {
	const struct gw_backup_source *source;
	struct gw_backup_writer *writer;
	int ends[2]; // the sink reads 0, the copy writes 1
	_Atomic uint64_t done;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	int ended; // threads that are through
	enum gw_error copy_error, sink_error;
	struct gw_why sink_why;
};

static void
end_thread(struct run *run)
{
	pthread_mutex_lock(&run->lock);
	run->ended++;
	pthread_cond_signal(&run->changed);
	pthread_mutex_unlock(&run->lock);
}

static void *
copy_main(void *arg)
{
	struct run *run = arg;

	run->copy_error = run->source->copy(run->source->arg, run->ends[1]);
	shutdown(run->ends[1], SHUT_WR);
	end_thread(run);
	return NULL;
}

static void *
sink_main(void *arg)
{
	struct run *run = arg;
	uint8_t *buf = malloc(PIECE);
	ssize_t got = 0;

	if (buf == NULL)
		run->sink_error = gw_fail(&run->sink_why, GW_E_MEMORY, "out of memory");
	while (run->sink_error == GW_OK && ((got = read(run->ends[0], buf, PIECE)) > 0 || (got < 0 && errno == EINTR))) {
		if (got < 0)
			continue;
		run->sink_error = gw_backup_write(run->writer, gw_span(buf, (size_t)got), &run->sink_why);
		atomic_fetch_add_explicit(&run->done, (uint64_t)got, memory_order_relaxed);
	}
	shutdown(run->ends[0], SHUT_RDWR);
	free(buf);
	end_thread(run);
	return NULL;
}

// True once both threads are through; false after a while.
static bool
wait_ended(struct run *run)
{
	struct timespec until;
	bool ended;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += WATCH_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	pthread_mutex_lock(&run->lock);
	if (run->ended < 2)
		(void)pthread_cond_timedwait(&run->changed, &run->lock, &until);
	ended = run->ended == 2;
	pthread_mutex_unlock(&run->lock);
	return ended;
}

static enum gw_error
watch(struct run *run, const struct gw_backup_options *options, struct gw_why *why)
{
	const struct gw_backup_source *source = run->source;
	uint64_t extent = source->extent != NULL ? source->extent(source->arg) : 0, total = source->bytes(source->arg);
	enum gw_error error = GW_OK;

	while (!wait_ended(run)) {
		if (error != GW_OK)
			continue;
		if (source->strains != NULL && source->strains(source->arg, extent))
			error = gw_fail(why, GW_E_TIMEOUT, "given up: the target takes the copy too slowly, and the store grew too much meanwhile; "
			    "take a faster one and copy on from there");
		else if (options->watch != NULL && !options->watch(options->arg, source->name, atomic_load(&run->done), total))
			error = gw_fail(why, GW_E_STOPPING, "it was told to end");
		if (error != GW_OK)
			shutdown(run->ends[0], SHUT_RDWR);
	}
	if (error == GW_OK && options->watch != NULL && !options->watch(options->arg, source->name, atomic_load(&run->done), atomic_load(&run->done)))
		error = gw_fail(why, GW_E_STOPPING, "it was told to end");
	return error;
}

// Which of the failures was the first: a sink that failed makes the copy fail as well.
static enum gw_error
outcome(const struct run *run, struct gw_why *why)
{
	if (run->sink_error != GW_OK)
		return gw_fail(why, run->sink_error, "%s", run->sink_why.text);
	if (run->copy_error == GW_E_CORRUPT)
		return gw_fail(why, GW_E_CORRUPT, "the %s cannot be copied: pages of it are damaged (see: vitalgate verify)", run->source->name);
	if (run->copy_error != GW_OK)
		return gw_fail(why, run->copy_error, "the %s cannot be copied: %s", run->source->name, gw_error_text(run->copy_error));
	return GW_OK;
}

static enum gw_error
run_threads(struct run *run, const struct gw_backup_options *options, struct gw_why *why)
{
	pthread_t copy, sink;
	enum gw_error watched;

	if (pthread_create(&sink, NULL, sink_main, run) != 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot start a thread");
	if (pthread_create(&copy, NULL, copy_main, run) != 0) {
		shutdown(run->ends[1], SHUT_WR);
		pthread_join(sink, NULL);
		return gw_fail(why, GW_E_SYSTEM, "cannot start a thread");
	}
	watched = watch(run, options, why);
	pthread_join(copy, NULL);
	pthread_join(sink, NULL);
	return watched != GW_OK ? watched : outcome(run, why);
}

static enum gw_error
copy_source(const struct gw_backup_source *source, const struct gw_backup_options *options, int folder_fd, struct gw_manifest *manifest,
    struct gw_why *why)
{
	struct run run = { .source = source, .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };
	int size = 1 << 20;
	enum gw_error error = gw_backup_writer_open(folder_fd, source->name, options->key, manifest->id, &run.writer, why);

	if (error != GW_OK)
		return error;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, run.ends) != 0) {
		gw_backup_writer_drop(run.writer);
		return gw_fail(why, GW_E_SYSTEM, "no descriptors left");
	}
	(void)setsockopt(run.ends[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	error = run_threads(&run, options, why);
	close(run.ends[0]);
	close(run.ends[1]);
	if (error == GW_OK)
		return gw_backup_writer_finish(run.writer, &manifest->files[manifest->file_count++], why);
	gw_backup_writer_drop(run.writer);
	return error;
}

static enum gw_error
open_folder(const char *dir, int *fd, struct gw_why *why)
{
	char parent[4096];
	bool synced;
	int up;

	if (snprintf(parent, sizeof(parent), "%s/..", dir) >= (int)sizeof(parent))
		return gw_fail(why, GW_E_ARGUMENT, "the folder's path is too long");
	if (mkdir(dir, 0700) == 0) {
		// Syncing the folder itself tells nothing of its name.
		up = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		synced = up >= 0 && fsync(up) == 0;
		if (up >= 0)
			close(up);
		if (!synced)
			return gw_fail(why, GW_E_SYNC, "cannot sync the folder above %.120s: %s", dir, strerror(errno));
	} else if (errno != EEXIST) {
		return gw_fail(why, GW_E_SYSTEM, "cannot make the folder %.100s: %s (the gateway's user has to write there)", dir, strerror(errno));
	}
	*fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (*fd < 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot open the folder %.120s: %s", dir, strerror(errno));
	return GW_OK;
}

static enum gw_error
check_folder(int fd, const char *dir, struct gw_why *why)
{
	if (flock(fd, LOCK_EX | LOCK_NB) != 0)
		return gw_fail(why, GW_E_BUSY, "another backup is being written to %.120s", dir);
	if (faccessat(fd, GW_BACKUP_MANIFEST, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return gw_fail(why, GW_E_EXISTS, "%.120s holds a backup already: give each one a folder of its own", dir);
	if (faccessat(fd, "vitalgate.lock", F_OK, AT_SYMLINK_NOFOLLOW) == 0)
		return gw_fail(why, GW_E_ARGUMENT, "%.120s is a store: give the backup a folder of its own", dir);
	return GW_OK;
}

// Files without a manifest are of no use to anybody, and may be large.
static void
remove_files(int folder_fd, const struct gw_manifest *manifest)
{
	for (size_t i = 0; i < manifest->file_count; i++)
		unlinkat(folder_fd, manifest->files[i].file, 0);
}

enum gw_error
gw_backup_make(const struct gw_backup_options *options, struct gw_manifest *manifest, struct gw_why *why)
{
	enum gw_error error;
	int fd = -1;

	if ((error = open_folder(options->dir, &fd, why)) != GW_OK)
		return error;
	if ((error = check_folder(fd, options->dir, why)) != GW_OK)
		goto out;
	randombytes_buf(manifest->id, sizeof(manifest->id));
	snprintf(manifest->program, sizeof(manifest->program), "%s", VITALGATE_VERSION);
	manifest->begun_us = gw_clock_wall_us();
	manifest->cipher = options->key->cipher;
	manifest->file_count = 0;
	for (size_t i = 0; error == GW_OK && i < options->source_count; i++)
		error = copy_source(&options->sources[i], options, fd, manifest, why);
	manifest->made_us = gw_clock_wall_us();
	if (error == GW_OK)
		error = gw_manifest_write(fd, manifest, why);
	if (error != GW_OK)
		remove_files(fd, manifest);
out:
	close(fd);
	return error;
}
