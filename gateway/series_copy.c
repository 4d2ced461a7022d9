// SPDX-License-Identifier: Apache-2.0
// A whole copy of the series store (gateway/series_copy.h): LMDB's compacting one, of one snapshot.
#include "gateway/series_copy.h"

#include "gateway/series_internal.h"

#include <errno.h>

enum gw_error
gw_series_copy(struct gw_series_store *store, int fd)
{
	switch (mdb_env_copyfd2(store->env, fd, MDB_CP_COMPACT)) {
	case 0:
		return GW_OK;
	case EPIPE:
	case ECONNRESET:
		return GW_E_CLOSED;
	case ENOMEM:
		return GW_E_MEMORY;
	case MDB_CORRUPTED:
	case MDB_PAGE_NOTFOUND:
	case MDB_INCOMPATIBLE: // pages that are neither in the tree nor free
		return GW_E_CORRUPT;
	default:
		return GW_E_SYSTEM;
	}
}

uint64_t
gw_series_extent(struct gw_series_store *store)
{
	MDB_envinfo info;

	if (mdb_env_info(store->env, &info) != 0)
		return 0;
	return ((uint64_t)info.me_last_pgno + 1) * store->page_size;
}

uint64_t
gw_series_copy_bytes(struct gw_series_store *store)
{
	struct gw_series_stats stats;

	gw_series_stats(store, &stats);
	return stats.file_bytes > stats.free_bytes ? stats.file_bytes - stats.free_bytes : gw_series_extent(store);
}

bool
gw_series_copy_strains(struct gw_series_store *store, uint64_t extent_before)
{
	uint64_t extent = gw_series_extent(store);

	return extent > extent_before && extent - extent_before > store->options.budget_bytes / 16;
}
