// SPDX-License-Identifier: Apache-2.0
// Room: in the map (the budget) and on the file system. The writer's thread. Blocks are allocated ahead of LMDB's writes, so
// that a full disk shows itself here, where it is an answer, and not within a commit, where it would be the end.
#include "gateway/clock.h"
#include "gateway/journal_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define STEP (16u << 20)
#define SMALL_STEP (1u << 20)
#define ZERO_STEP (256u << 10)
#define ESSENTIAL_BYTES (1u << 20) // of what is allocated only essential tickets use the last of it
#define ROW_BYTES 64 // of newest times, with what half-full pages waste
#define LOOK_EVERY_US 200000
#define COUNT_EVERY_US 20000
#define REUSE_MIN (4u << 20)       // room in the file itself that is worth taking new data for

static uint64_t
map_pages(struct gw_journal *journal)
{
	MDB_envinfo info;

	mdb_env_info(journal->env, &info);
	return info.me_last_pgno + 1;
}

// Counts the pages on LMDB's free list, whose records begin with their count and are filed under the transaction that freed them.
// Those of transactions before the last look are settled: no reader can still be in them, they are taken before the file grows.
static void
count_free(struct gw_journal *journal)
{
	struct gw_room *room = &journal->room;
	int64_t now = gw_clock_mono_us();
	MDB_txn *txn;
	MDB_cursor *cursor;
	MDB_val key, data;
	MDB_stat stat;

	room->free_pages = room->settled_pages = room->taken_pages = room->since_pages = 0;
	room->counted_us = now;
	if (gw_reader_begin(journal, &txn) != GW_OK)
		return;
	if (now - room->mark_us >= LOOK_EVERY_US) {
		room->settled_txn = room->mark_txn;
		room->mark_txn = mdb_txn_id(txn);
		room->mark_us = now;
	}
	if (mdb_stat(txn, journal->tables[GW_T_NEWEST], &stat) == 0)
		room->newest_rows = stat.ms_entries;
	if (mdb_cursor_open(txn, 0, &cursor) == 0) {
		while (mdb_cursor_get(cursor, &key, &data, MDB_NEXT) == 0) {
			room->free_pages += gw_val_u64(data);
			if (gw_val_u64(key) <= room->settled_txn)
				room->settled_pages += gw_val_u64(data);
		}
		mdb_cursor_close(cursor);
	}
	gw_reader_end(journal, txn);
}

// Counts what is free, where it matters and not too often.
static void
count_if_due(struct gw_journal *journal)
{
	struct gw_room *room = &journal->room;
	int64_t now = gw_clock_mono_us(), since = now - room->counted_us;

	if (room->counted_us != 0 && since <= LOOK_EVERY_US &&
	    (room->since_pages <= room->limit_pages / 256 || since <= COUNT_EVERY_US))
		return;
	count_free(journal);
}

// Pages in use, and those promised: newest times that are not yet in the store will want room there before anything can be trimmed.
// Free pages are only counted where the file has grown so far that it matters; in between at least what is used is said.
static uint64_t
used_pages(struct gw_journal *journal)
{
	struct gw_room *room = &journal->room;
	uint64_t pages = map_pages(journal), used = pages, promised = 0;

	if (journal->newest.count > room->newest_rows)
		promised = (journal->newest.count - room->newest_rows) * ROW_BYTES / journal->page_size;
	if (pages + promised > room->pressure_pages) {
		count_if_due(journal);
		used = pages - room->free_pages + room->since_pages;
		used = used < pages ? used : pages;
	}
	atomic_store_explicit(&journal->used_bytes, used * journal->page_size, memory_order_relaxed);
	return used + promised;
}

bool
gw_room_pressure(struct gw_journal *journal)
{
	return used_pages(journal) > journal->room.pressure_pages || journal->room.starved;
}

static void
look_at_disk(struct gw_journal *journal)
{
	struct statvfs vfs;
	uint64_t free_bytes;

	if (statvfs(journal->dir, &vfs) != 0)
		return;
	free_bytes = (uint64_t)vfs.f_bavail * vfs.f_frsize;
	atomic_store_explicit(&journal->disk_free_bytes, free_bytes, memory_order_relaxed);
	journal->room.disk_short = free_bytes < journal->options.disk_reserve_bytes;
}

// Between two looks at the disk a fast intake could take all of the reserve, and leave the series none of it.
static void
took_blocks(struct gw_journal *journal, uint64_t bytes)
{
	uint64_t spare = atomic_load_explicit(&journal->disk_free_bytes, memory_order_relaxed);

	spare = spare > bytes ? spare - bytes : 0;
	atomic_store_explicit(&journal->disk_free_bytes, spare, memory_order_relaxed);
	journal->room.disk_short = spare < journal->options.disk_reserve_bytes;
}

// Gives the file blocks up to `end`, a step ahead where the disk is not short.
static bool
allocate(struct gw_journal *journal, uint64_t end)
{
	struct gw_room *room = &journal->room;
	uint64_t budget = journal->options.budget_bytes & ~UINT64_C(4095);
	uint64_t spare = atomic_load_explicit(&journal->disk_free_bytes, memory_order_relaxed);
	uint64_t step = spare > journal->options.disk_reserve_bytes + 4 * (uint64_t)STEP ? STEP : SMALL_STEP;
	int fd;

	if (room->fallocate_missing || end <= room->allocated)
		return true;
	mdb_env_get_fd(journal->env, &fd);
	for (;; step = step > SMALL_STEP ? SMALL_STEP : 4096) {
		uint64_t target = (end + step - 1) / step * step;
		if (target > budget)
			target = end > budget ? end : budget;
		if (fallocate(fd, 0, (off_t)room->allocated, (off_t)(target - room->allocated)) == 0) {
			took_blocks(journal, target - room->allocated);
			room->allocated = target;
			room->starved = room->disk_short;
			return true;
		}
		if (errno == EOPNOTSUPP || errno == ENOSYS) {
			room->fallocate_missing = true; // statvfs alone has to tell
			return true;
		}
		if (errno != EINTR && step == 4096)
			return false;
	}
}

// Writes zeros over allocated blocks ahead of LMDB's pages, a little at a time. A block that was allocated but never written makes the sync that
// first covers it write the file system's own records as well; over written blocks a sync is just the data. From the end of what is
// committed on nothing is in use: LMDB writes new pages only in a commit, after this. What fails here fails again where it counts.
static void
zero_ahead(struct gw_journal *journal, uint64_t committed, uint64_t end)
{
	static const uint8_t zeros[ZERO_STEP];
	struct gw_room *room = &journal->room;
	mdb_filehandle_t fd;

	if (room->zeroed < committed)
		room->zeroed = committed;
	if (room->zeroed >= end)
		return;
	mdb_env_get_fd(journal->env, &fd);
	end = (end + journal->page_size - 1) / journal->page_size * journal->page_size;
	for (end += ZERO_STEP; room->zeroed < end && room->zeroed < room->allocated;) {
		uint64_t left = (end < room->allocated ? end : room->allocated) - room->zeroed;
		ssize_t n = pwrite(fd, zeros, left < sizeof(zeros) ? left : sizeof(zeros), (off_t)room->zeroed);
		if (n <= 0)
			return;
		room->zeroed += (uint64_t)n;
	}
}

// Bytes within the file that a transaction can surely have: half of what is settled.
static uint64_t
reusable(const struct gw_journal *journal)
{
	const struct gw_room *room = &journal->room;

	return room->settled_pages > room->taken_pages ? (room->settled_pages - room->taken_pages) / 2 * journal->page_size : 0;
}

enum gw_error
gw_room_prepare(struct gw_journal *journal)
{
	struct gw_room *room = &journal->room;
	uint64_t budget = journal->options.budget_bytes & ~UINT64_C(4095);
	// New pages for the data, half as much again for the tables' own, copies of old pages, and a path of each table.
	uint64_t fresh = journal->bytes + journal->bytes / 2 + (journal->copies + 64) * journal->page_size;
	uint64_t end = map_pages(journal) * journal->page_size + (journal->plain ? ESSENTIAL_BYTES : 0);
	uint64_t runs = journal->runs + journal->runs / 2, reuse = reusable(journal), committed;

	// LMDB itself refuses beyond the budget. Below its reserve the file system is left alone, but for the essential.
	if (end + fresh <= room->allocated || !(room->disk_short && journal->plain))
		if (allocate(journal, end + fresh < budget ? end + fresh : budget)) {
			committed = map_pages(journal) * journal->page_size;
			zero_ahead(journal, committed, committed + fresh);
			return GW_OK;
		}
	// The file cannot grow: what has been trimmed may be enough.
	if (gw_clock_mono_us() - room->counted_us >= LOOK_EVERY_US) {
		count_free(journal);
		reuse = reusable(journal);
	}
	if (reuse > fresh - runs)
		reuse = fresh - runs;
	if (end + fresh - reuse <= room->allocated)
		return GW_OK;
	if (!room->starved || journal->plain) { // look again in a while
		room->disk_full = true;
		room->looked_us = gw_clock_mono_us();
		atomic_store(&journal->full, GW_FULL_DISK);
	}
	room->starved = true;
	return GW_E_FULL;
}

void
gw_room_committed(struct gw_journal *journal)
{
	journal->room.since_pages += journal->bytes / 3000 + 4;
	journal->room.taken_pages += journal->bytes / 3000 + journal->copies + 16;
}

// A disk that had no blocks for a transaction has to have some for the next one, or the file has to have room in itself.
static void
look(struct gw_journal *journal)
{
	struct gw_room *room = &journal->room;

	look_at_disk(journal);
	if (room->disk_short)
		room->starved = true;
	else if (room->starved && allocate(journal, map_pages(journal) * journal->page_size + 2 * ESSENTIAL_BYTES))
		room->starved = false;
	if (room->starved)
		count_free(journal);
	room->disk_full = room->starved && reusable(journal) < REUSE_MIN;
	room->looked_us = gw_clock_mono_us();
}

enum gw_error
gw_journal_room(struct gw_journal *journal)
{
	struct gw_room *room = &journal->room;
	uint64_t used, mark;

	if (gw_clock_mono_us() - room->looked_us >= LOOK_EVERY_US)
		look(journal);
	// Once full, some room has to come free before new data is taken again.
	used = used_pages(journal);
	mark = room->map_full ? room->limit_pages - room->limit_pages / 64 : room->limit_pages;
	room->map_full = used > mark;
	atomic_store(&journal->full, room->disk_full ? GW_FULL_DISK : room->map_full ? GW_FULL_MAP : GW_FULL_NOT);
	return room->disk_full || room->map_full ? GW_E_FULL : GW_OK;
}

enum gw_error
gw_room_open(struct gw_journal *journal, struct gw_why *why)
{
	const struct gw_journal_options *options = &journal->options;
	struct gw_room *room = &journal->room;

	if (options->budget_bytes < options->reserve_bytes + (1u << 20))
		return gw_fail(why, GW_E_CONFIG, "the store's budget has to be at least 1 MB above its reserve");
	room->limit_pages = (options->budget_bytes - options->reserve_bytes) / journal->page_size;
	room->pressure_pages = options->budget_bytes / 5 * 4 / journal->page_size;
	if (room->pressure_pages > room->limit_pages)
		room->pressure_pages = room->limit_pages / 5 * 4;
	look(journal);
	used_pages(journal);
	return GW_OK;
}
