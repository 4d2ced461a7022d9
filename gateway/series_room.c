// SPDX-License-Identifier: Apache-2.0
// Room in the map and on the file system, and the store's own clock. With `write` held. Blocks are allocated ahead of LMDB's writes, so that a full disk shows
// itself here and not within a commit.
#include "gateway/clock.h"
#include "gateway/series_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>

#define LOOK_EVERY_US 1000000
#define COUNT_EVERY_US 200000
#define TXN_PAGES 256 // copies of the tables' own pages that one transaction may need
#define STEP (16u << 20)
#define SMALL_STEP (1u << 20)
#define CLOCK_EXTRA 16 // the clock gains at most a sixteenth

static uint64_t
file_pages(struct gw_series_store *store)
{
	MDB_envinfo info;

	mdb_env_info(store->env, &info);
	return info.me_last_pgno + 1;
}

// Pages on LMDB's free list, whose records begin with their number.
static void
count_free(struct gw_series_store *store)
{
	MDB_txn *txn;
	MDB_cursor *cursor;
	MDB_val key, data;
	size_t pages;

	store->counted_us = gw_clock_mono_us();
	store->free_pages = 0;
	if (gw_series_reader(store, &txn) != GW_OK)
		return;
	if (mdb_cursor_open(txn, 0, &cursor) == 0) {
		while (mdb_cursor_get(cursor, &key, &data, MDB_NEXT) == 0)
			if (data.mv_size >= sizeof(pages)) {
				memcpy(&pages, data.mv_data, sizeof(pages));
				store->free_pages += pages;
			}
		mdb_cursor_close(cursor);
	}
	gw_series_reader_end(store, txn);
	atomic_store_explicit(&store->free_bytes, store->free_pages * store->page_size, memory_order_relaxed);
}

// Gives the file blocks up to `end`, a step ahead where the disk has them. False: it has none.
static bool
allocate(struct gw_series_store *store, uint64_t end)
{
	uint64_t budget = store->options.budget_bytes & ~UINT64_C(4095), target;
	mdb_filehandle_t fd;

	if (end > budget)
		end = budget; // LMDB itself refuses beyond it
	if (store->fallocate_missing || end <= store->allocated || mdb_env_get_fd(store->env, &fd) != 0)
		return true;
	for (uint64_t step = store->options.budget_bytes / 16 > STEP ? STEP : SMALL_STEP;; step = step > SMALL_STEP ? SMALL_STEP : 4096) {
		target = (end + step - 1) / step * step;
		target = target < budget ? target : budget;
		if (fallocate(fd, 0, (off_t)store->allocated, (off_t)(target - store->allocated)) == 0) {
			store->allocated = target;
			return true;
		}
		if (errno == EOPNOTSUPP || errno == ENOSYS) {
			store->fallocate_missing = true; // what statvfs says has to do
			return true;
		}
		if (errno != EINTR && step == 4096)
			return false;
	}
}

// Pages of a reader that was killed are not used again before its slot is free.
static void
free_dead_readers(struct gw_series_store *store)
{
	int dead;

	if (!store->options.read_only)
		(void)mdb_reader_check(store->env, &dead);
}

static void
look(struct gw_series_store *store)
{
	int64_t now = gw_clock_mono_us();
	uint64_t pages = file_pages(store);
	struct statvfs vfs;

	atomic_store_explicit(&store->file_bytes, pages * store->page_size, memory_order_relaxed);
	if (store->counted_us == 0 || now - store->counted_us >= (pages > store->pressure_pages || store->disk_short ? COUNT_EVERY_US : 60 * LOOK_EVERY_US)) {
		free_dead_readers(store);
		count_free(store);
	}
	if (store->looked_us != 0 && now - store->looked_us < LOOK_EVERY_US)
		return;
	store->looked_us = now;
	if (statvfs(store->dir, &vfs) == 0)
		store->disk_short = (uint64_t)vfs.f_bavail * vfs.f_frsize < store->options.disk_reserve_bytes;
}

static uint64_t
used_pages(struct gw_series_store *store)
{
	uint64_t pages = file_pages(store);

	return pages > store->free_pages ? pages - store->free_pages : 0;
}

enum gw_error
gw_series_room(struct gw_series_store *store, size_t bytes)
{
	uint64_t need = bytes / store->page_size + TXN_PAGES;
	bool full;

	look(store);
	full = used_pages(store) + need > store->limit_pages || (store->disk_short && store->free_pages < need * 2);
	// A file that cannot grow has to have room in itself.
	store->starved = !full && !store->disk_short && !allocate(store, (file_pages(store) + need) * store->page_size);
	full = full || (store->starved && store->free_pages < need * 2);
	atomic_store(&store->full_now, full);
	return full ? GW_E_FULL : GW_OK;
}

bool
gw_series_pressure(struct gw_series_store *store)
{
	look(store);
	return used_pages(store) > store->pressure_pages || store->disk_short || store->starved || store->full_now;
}

enum gw_error
gw_series_room_open(struct gw_series_store *store, struct gw_why *why)
{
	uint64_t budget = store->options.budget_bytes / store->page_size;

	if (!store->options.read_only && store->options.budget_bytes < (8u << 20))
		return gw_fail(why, GW_E_CONFIG, "the series store's budget has to be at least 8 MB");
	store->limit_pages = budget - budget / 16;
	store->pressure_pages = budget - budget / 8;
	look(store);
	return GW_OK;
}

// As far as the wall clock is ahead, but no faster than true time and a sixteenth.
int64_t
gw_series_tick(struct gw_series_store *store)
{
	int64_t mono = gw_clock_mono_us(), gone = mono - store->clock_mono_us, ahead = gw_clock_wall_us() - store->clock_us;
	int64_t most = gone + gone / CLOCK_EXTRA;

	if (gone < CLOCK_EXTRA)
		return store->clock_us;
	store->clock_mono_us = mono;
	if (ahead > 0)
		store->clock_us += ahead < most ? ahead : most;
	atomic_store_explicit(&store->clock_now_us, store->clock_us, memory_order_relaxed);
	return store->clock_us;
}
