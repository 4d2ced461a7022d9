// SPDX-License-Identifier: Apache-2.0
// Whole copies of a journal (gateway/journal_copy.h). A copy is LMDB's own compacting one: it reads one snapshot, so it is consistent whatever is
// committed meanwhile, and it holds pages in use only, in an order in which they are read fast.
#include "gateway/journal_copy.h"

#include "gateway/journal_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>

enum gw_error
gw_journal_copy(struct gw_journal *journal, int fd)
{
	int rc = mdb_env_copyfd2(journal->env, fd, MDB_CP_COMPACT);

	if (rc == EPIPE || rc == ECONNRESET)
		return GW_E_CLOSED;
	if (rc == MDB_INCOMPATIBLE) // pages that are neither in the tree nor free
		return GW_E_CORRUPT;
	return rc > 0 && rc != ENOMEM ? GW_E_SYSTEM : gw_store_error(rc);
}

uint64_t
gw_journal_copy_bytes(struct gw_journal *journal)
{
	uint64_t used = atomic_load(&journal->used_bytes);

	return used > 0 ? used : gw_journal_extent(journal);
}

uint64_t
gw_journal_extent(struct gw_journal *journal)
{
	MDB_envinfo info;

	if (mdb_env_info(journal->env, &info) != 0)
		return 0;
	return ((uint64_t)info.me_last_pgno + 1) * journal->page_size;
}

bool
gw_journal_copy_strains(struct gw_journal *journal, uint64_t extent_before)
{
	uint64_t extent = gw_journal_extent(journal), grown = extent > extent_before ? extent - extent_before : 0;
	bool full = atomic_load(&journal->full) != GW_FULL_NOT;

	return grown > (full ? journal->options.reserve_bytes / 4 : journal->options.budget_bytes / 8);
}

void
gw_journal_hold(struct gw_journal *journal)
{
	atomic_fetch_add(&journal->holds, 1);
}

void
gw_journal_release(struct gw_journal *journal)
{
	atomic_fetch_sub(&journal->holds, 1);
}

// ---- A copy, to read ----

static enum gw_error
open_file(struct gw_journal *journal, const char *path, struct gw_why *why)
{
	int rc = mdb_env_create(&journal->env);

	if (rc == 0 && (rc = mdb_env_set_maxdbs(journal->env, GW_T_COUNT)) == 0)
		rc = mdb_env_open(journal->env, path, MDB_NOSUBDIR | MDB_RDONLY | MDB_NOLOCK | MDB_NOTLS, 0600);
	if (rc == 0)
		return gw_store_open_tables(journal, why);
	return gw_fail(why, rc > 0 ? GW_E_SYSTEM : GW_E_CORRUPT, "cannot open %s: %s", path, mdb_strerror(rc));
}

enum gw_error
gw_journal_open_copy(const char *path, struct gw_journal **out, struct gw_why *why)
{
	struct gw_journal *journal = calloc(1, sizeof(*journal));
	enum gw_error error;

	*out = NULL;
	if (journal == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	journal->lock_fd = -1;
	journal->broken = true; // nothing is written, also not at closing
	pthread_mutex_init(&journal->lock, NULL);
	pthread_mutex_init(&journal->pool_lock, NULL);
	if ((journal->dir = strdup(path)) == NULL)
		error = gw_fail(why, GW_E_MEMORY, "out of memory");
	else
		error = open_file(journal, path, why);
	if (error == GW_OK)
		*out = journal;
	else
		gw_journal_close(journal);
	return error;
}

// ---- A new incarnation ----

enum gw_error
gw_journal_begin_anew(struct gw_journal *journal, struct gw_ticket *ticket)
{
	uint64_t fresh;
	enum gw_error error;

	do
		randombytes_buf(&fresh, sizeof(fresh));
	while (fresh == 0 || fresh == journal->incarnation);
	if ((error = gw_journal_begin(journal)) != GW_OK)
		return error;
	if ((error = gw_journal_apply(journal, ticket)) == GW_OK && (error = ticket->result) == GW_OK)
		error = gw_meta_put(journal, journal->txn, "incarnation", fresh);
	if (error != GW_OK) {
		gw_journal_abort(journal);
		return error;
	}
	journal->touched = true;
	if ((error = gw_journal_commit(journal)) == GW_OK)
		journal->incarnation = fresh;
	return error;
}

enum gw_error
gw_journal_go_on(struct gw_journal *journal, struct gw_ticket *ticket, uint64_t position)
{
	enum gw_error error;

	if ((error = gw_journal_begin(journal)) != GW_OK)
		return error;
	if (position > journal->next)
		journal->next = position;
	if ((error = gw_journal_apply(journal, ticket)) == GW_OK && (error = ticket->result) == GW_OK)
		return gw_journal_commit(journal);
	gw_journal_abort(journal);
	return error;
}

struct gw_span
gw_journal_row_value(struct gw_span key, struct gw_span stored)
{
	struct gw_span value;

	return gw_sum_open(false, key, stored, &value) ? value : stored;
}
