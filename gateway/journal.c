// SPDX-License-Identifier: Apache-2.0
// The journal's writer: begin, apply, commit. One thread; what readers see changes only after the sync.
// Everything that a transaction changes in memory can be taken back: positions, newest times, the quarantine's totals.
#include "gateway/journal.h"
#include "gateway/clock.h"
#include "gateway/journal_internal.h"
#include "gateway/record_layout.h"

#include <stdio.h>
#include <stdlib.h>

#define SERIES_SHARE_MIN 1024

enum gw_error
gw_journal_open(const struct gw_journal_options *options, struct gw_journal **out, struct gw_why *why)
{
	struct gw_journal *journal = calloc(1, sizeof(*journal));
	enum gw_error error = GW_E_MEMORY;

	*out = NULL;
	if (journal == NULL)
		return gw_fail(why, error, "out of memory");
	journal->options = *options;
	journal->lock_fd = -1;
	pthread_mutex_init(&journal->lock, NULL);
	pthread_mutex_init(&journal->pool_lock, NULL);
	if ((journal->dir = strdup(options->dir)) == NULL ||
	    (error = gw_newest_init(&journal->newest, options->series_max)) != GW_OK ||
	    (error = gw_newest_init(&journal->shares, SIZE_MAX)) != GW_OK ||
	    (error = gw_newest_init(&journal->makers, SIZE_MAX)) != GW_OK) {
		error = gw_fail(why, error, "out of memory");
		goto fail;
	}
	journal->options.dir = journal->dir;
	if ((error = gw_store_open(journal, why)) != GW_OK || (error = gw_newest_open(journal, why)) != GW_OK ||
	    (error = gw_quarantine_open(journal, why)) != GW_OK || (error = gw_room_open(journal, why)) != GW_OK)
		goto fail;
	journal->opened = true;
	*out = journal;
	return GW_OK;

fail:
	journal->last = journal->checkpoint; // nothing to write at closing
	gw_journal_close(journal);
	return error;
}

void
gw_journal_close(struct gw_journal *journal)
{
	if (journal == NULL)
		return;
	// Where this fails, the next opening reads the newest times from the journal's end.
	if (journal->env != NULL && !journal->broken && gw_sweep_all(journal) != GW_OK)
		journal->broken = true;
	gw_store_close(journal);
	gw_newest_fini(&journal->newest);
	gw_newest_fini(&journal->shares);
	gw_newest_fini(&journal->makers);
	gw_once_free(journal->once);
	free(journal->pending);
	free(journal->block);
	pthread_mutex_destroy(&journal->lock);
	pthread_mutex_destroy(&journal->pool_lock);
	free(journal->dir);
	free(journal);
}

uint64_t
gw_journal_incarnation(const struct gw_journal *journal)
{
	return journal->incarnation;
}

// ---- One transaction ----

enum gw_error
gw_journal_begin(struct gw_journal *journal)
{
	int rc;

	if (journal->broken)
		return journal->error = GW_E_SYNC;
	rc = mdb_txn_begin(journal->env, NULL, 0, &journal->txn);
	journal->index = NULL;
	journal->block_len = 0;
	journal->behind_before = journal->behind;
	journal->touched = journal->plain = journal->trimming = journal->index_last_known = false;
	if (journal->copies > 0)
		memset(journal->touched_pages, 0, sizeof(journal->touched_pages));
	journal->bytes = journal->runs = journal->copies = 0;
	journal->records = journal->readings = journal->duplicates = journal->revisions = 0;
	journal->next = atomic_load_explicit(&journal->last, memory_order_relaxed) + 1;
	journal->quarantine_id_before = journal->quarantine_id;
	journal->quarantine_bytes_before = atomic_load(&journal->quarantine_bytes);
	journal->quarantine_count_before = atomic_load(&journal->quarantine_count);
	if (rc != 0)
		journal->txn = NULL;
	return journal->error = gw_store_error(rc);
}

enum gw_error
gw_series_made(struct gw_journal *journal, uint64_t device, size_t made)
{
	enum gw_error error = made > 0 ? gw_newest_reserve(&journal->makers, 1) : GW_OK;
	struct gw_newest *maker;

	if (error != GW_OK || made == 0)
		return error;
	maker = gw_newest_find(&journal->makers, device);
	gw_newest_set(&journal->makers, maker, device, (maker != NULL ? maker->time_us : 0) + (int64_t)made, 0);
	return GW_OK;
}

static enum gw_error
apply_readings(struct gw_journal *journal, struct gw_ticket *ticket, const struct gw_op *op)
{
	const struct gw_key *keys = gw_op_keys(op);
	struct gw_newest_map *map = &journal->newest;
	uint64_t position = journal->next;
	size_t mark = map->undo_count, before = map->count;
	enum gw_error error = gw_newest_reserve(map, op->count);

	for (size_t i = 0; error == GW_OK && i < op->count; i++) {
		struct gw_newest *entry = gw_newest_find(map, keys[i].series);
		if (entry != NULL && keys[i].time_us <= entry->time_us) {
			gw_newest_rollback(map, mark);
			return gw_once_apply(journal, ticket, op);
		}
		gw_newest_set(map, entry, keys[i].series, keys[i].time_us, position);
	}
	if (error == GW_OK)
		error = gw_series_made(journal, op->number, map->count - before);
	if (error == GW_OK)
		error = gw_journal_append(journal, gw_span(gw_op_body(op), op->body_len));
	for (size_t i = 0; error == GW_OK && i < op->count; i++)
		if (i == 0 || keys[i].time_us != keys[i - 1].time_us)
			error = gw_index_add(journal, op->number, keys[i].time_us, position);
	ticket->stored += op->count;
	return error;
}

// Whether the ticket holds readings: then what else its frame held must not cost them.
static bool
has_readings(const struct gw_ticket *ticket)
{
	for (const struct gw_op *op = NULL; (op = gw_op_next(ticket, op)) != NULL;)
		if (op->kind == GW_OP_READINGS)
			return true;
	return false;
}

static enum gw_error
apply_op(struct gw_journal *journal, struct gw_ticket *ticket, const struct gw_op *op)
{
	switch ((enum gw_op_kind)op->kind) {
	case GW_OP_READINGS:
		return apply_readings(journal, ticket, op);
	case GW_OP_RECORD:
		return gw_journal_append(journal, gw_span(gw_op_body(op), op->body_len));
	case GW_OP_QUARANTINE:
		return ticket->quarantined ? gw_quarantine_put(journal, op) : GW_OK;
	case GW_OP_UNQUARANTINE:
		return gw_quarantine_del(journal, op);
	case GW_OP_PUT:
		return gw_rows_put(journal, op);
	case GW_OP_DEL:
		return gw_rows_del(journal, op);
	case GW_OP_DEL_PREFIX:
		return gw_rows_del_prefix(journal, op);
	case GW_OP_ERASE:
		return gw_erase_readings(journal, op);
	}
	return GW_E_ARGUMENT;
}

// A device that numbers its probes anew each time must not use up the series of all others: a part of them is for one device, of those that
// it makes in one run.
static bool
share_used_up(const struct gw_journal *journal, uint64_t device)
{
	const struct gw_newest *maker = gw_newest_find(&journal->makers, device);
	uint32_t percent = journal->options.series_share_percent != 0 ? journal->options.series_share_percent : 25;
	size_t share = (size_t)((uint64_t)journal->newest.max * percent / 100);

	if (share < SERIES_SHARE_MIN)
		share = SERIES_SHARE_MIN;
	return maker != NULL && maker->time_us >= (int64_t)share;
}

// Whether new series of the ticket could pass a limit. Counted one by one only where it is near.
static enum gw_error
check_series(struct gw_journal *journal, const struct gw_ticket *ticket)
{
	const struct gw_newest_map *map = &journal->newest;
	size_t keys = 0, made = 0;
	bool share = true;

	for (const struct gw_op *op = NULL; (op = gw_op_next(ticket, op)) != NULL;) {
		if (op->kind != GW_OP_READINGS)
			continue;
		keys += op->count;
		share = share && !share_used_up(journal, op->number);
	}
	if (map->count + keys <= map->max && share)
		return GW_OK;
	for (const struct gw_op *op = NULL; (op = gw_op_next(ticket, op)) != NULL;)
		for (size_t i = 0; op->kind == GW_OP_READINGS && i < op->count; i++)
			made += gw_newest_find(map, gw_op_keys(op)[i].series) == NULL;
	return made == 0 || (share && map->count + made <= map->max) ? GW_OK : GW_E_QUOTA;
}

enum gw_error
gw_journal_apply(struct gw_journal *journal, struct gw_ticket *ticket)
{
	const struct gw_op *op = NULL;

	if (journal->error != GW_OK)
		return journal->error;
	ticket->stored = ticket->duplicates = ticket->revisions = 0;
	pthread_mutex_lock(&journal->lock);
	ticket->result = check_series(journal, ticket);
	// A frame out of quarantine that goes back in part takes its own place.
	if (ticket->result == GW_OK && !ticket->again && gw_quarantine_check(journal, ticket) != GW_OK) {
		if (has_readings(ticket)) {
			ticket->quarantined = false;
			journal->quarantine_left_out++;
		} else {
			ticket->result = GW_E_QUOTA;
		}
	}
	if (ticket->result == GW_OK) {
		journal->touched |= ticket->ops_len > 0;
		journal->plain |= !ticket->essential;
		while (journal->error == GW_OK && (op = gw_op_next(ticket, op)) != NULL)
			journal->error = apply_op(journal, ticket, op);
	}
	pthread_mutex_unlock(&journal->lock);
	journal->readings += ticket->stored;
	journal->duplicates += ticket->duplicates;
	journal->revisions += ticket->revisions;
	return journal->error;
}

static void
forget(struct gw_journal *journal)
{
	journal->txn = NULL;
	journal->index = NULL;
	journal->block_len = 0;
	gw_index_aborted(journal);
	journal->quarantine_id = journal->quarantine_id_before;
	atomic_store(&journal->quarantine_bytes, journal->quarantine_bytes_before);
	atomic_store(&journal->quarantine_count, journal->quarantine_count_before);
	pthread_mutex_lock(&journal->lock);
	gw_newest_rollback(&journal->newest, 0);
	gw_newest_rollback(&journal->shares, 0);
	gw_newest_rollback(&journal->makers, 0);
	pthread_mutex_unlock(&journal->lock);
	gw_sweep_aborted(journal);
}

void
gw_journal_abort(struct gw_journal *journal)
{
	if (journal->txn != NULL)
		mdb_txn_abort(journal->txn);
	forget(journal);
}

static void
publish(struct gw_journal *journal)
{
	uint64_t last = journal->next - 1;

	pthread_mutex_lock(&journal->lock);
	gw_newest_settle(&journal->newest);
	gw_newest_settle(&journal->shares);
	gw_newest_settle(&journal->makers);
	atomic_store(&journal->series, journal->newest.count);
	if (atomic_load(&journal->first) == 0 && last > 0)
		atomic_store(&journal->first, 1);
	atomic_store(&journal->last, last);
	pthread_mutex_unlock(&journal->lock);
	atomic_fetch_add(&journal->records_total, journal->records);
	atomic_fetch_add(&journal->readings_total, journal->readings);
	atomic_fetch_add(&journal->duplicates_total, journal->duplicates);
	atomic_fetch_add(&journal->revisions_total, journal->revisions);
	journal->appended_since_trim += journal->records;
	gw_index_committed(journal);
	gw_sweep_committed(journal);
	gw_room_committed(journal);
}

static void
count_commit(struct gw_journal *journal, int64_t took_us)
{
	atomic_fetch_add(&journal->commits, 1);
	atomic_fetch_add(&journal->commit_us_total, (uint64_t)took_us);
	if ((uint64_t)took_us > atomic_load(&journal->commit_us_max))
		atomic_store(&journal->commit_us_max, (uint64_t)took_us);
}

static enum gw_error
finish_tables(struct gw_journal *journal)
{
	enum gw_error error = journal->error;

	if (error == GW_OK)
		error = gw_block_flush(journal);
	if (error == GW_OK)
		error = gw_index_tend(journal);
	if (error == GW_OK && journal->quarantine_id != journal->quarantine_id_before)
		error = gw_meta_put(journal, journal->txn, "quarantine", journal->quarantine_id);
	if (error == GW_OK)
		error = gw_sweep_piece(journal);
	if (error == GW_OK)
		error = gw_room_prepare(journal);
	return error;
}

enum gw_error
gw_journal_commit(struct gw_journal *journal)
{
	enum gw_error error;
	int64_t start;
	int rc;

	if (journal->error == GW_OK && !journal->touched) { // nothing to make durable
		gw_journal_abort(journal);
		return GW_OK;
	}
	if ((error = finish_tables(journal)) != GW_OK) {
		gw_journal_abort(journal);
		return error;
	}
	start = gw_clock_mono_us();
	rc = mdb_txn_commit(journal->txn);
	journal->txn = NULL;
	if (rc != 0) {
		forget(journal);
		// Only a full map is known to have failed before anything was written. After a failed sync the kernel may have dropped
		// pages and call the next one good: this process must not build on them.
		journal->broken = rc != MDB_MAP_FULL;
		return journal->broken ? GW_E_SYNC : GW_E_FULL;
	}
	count_commit(journal, gw_clock_mono_us() - start);
	publish(journal);
	return GW_OK;
}

// ---- What it holds ----

uint64_t
gw_journal_first(const struct gw_journal *journal)
{
	return atomic_load_explicit(&journal->first, memory_order_acquire);
}

uint64_t
gw_journal_last(const struct gw_journal *journal)
{
	return atomic_load_explicit(&journal->last, memory_order_acquire);
}

uint64_t
gw_journal_newest(struct gw_journal *journal, uint64_t series, int64_t *time_us)
{
	const struct gw_newest_map *map = &journal->newest;
	const struct gw_newest *entry;
	struct gw_newest_undo found = { 0 };

	pthread_mutex_lock(&journal->lock);
	if ((entry = gw_newest_find(map, series)) != NULL) {
		found = (struct gw_newest_undo){ entry->series, entry->time_us, entry->position, false };
		// Changed by the transaction under way: what was committed is the first thing that it would take back.
		for (size_t i = 0; entry->position > atomic_load(&journal->last) && i < map->undo_count; i++)
			if (map->undo[i].series == entry->series) {
				found = map->undo[i];
				break;
			}
	}
	pthread_mutex_unlock(&journal->lock);
	if (found.series == 0 || found.made)
		return 0;
	*time_us = found.time_us;
	return found.position;
}

void
gw_journal_stats(struct gw_journal *journal, struct gw_journal_stats *stats)
{
	int full = atomic_load(&journal->full);

	*stats = (struct gw_journal_stats){
		.first = gw_journal_first(journal),
		.last = gw_journal_last(journal),
		.incarnation = journal->incarnation,
		.records = atomic_load(&journal->records_total),
		.readings = atomic_load(&journal->readings_total),
		.duplicates = atomic_load(&journal->duplicates_total),
		.revisions = atomic_load(&journal->revisions_total),
		.commits = atomic_load(&journal->commits),
		.commit_us_total = atomic_load(&journal->commit_us_total),
		.commit_us_max = atomic_load(&journal->commit_us_max),
		.budget_bytes = journal->options.budget_bytes,
		.used_bytes = atomic_load(&journal->used_bytes),
		.disk_free_bytes = atomic_load(&journal->disk_free_bytes),
		.quarantine_count = (uint64_t)atomic_load(&journal->quarantine_count),
		.quarantine_bytes = (uint64_t)atomic_load(&journal->quarantine_bytes),
		.quarantine_left_out = journal->quarantine_left_out,
		.series = atomic_load(&journal->series),
		.rows_damaged = atomic_load(&journal->rows_damaged),
		.full = full != GW_FULL_NOT,
	};
	if (full == GW_FULL_MAP)
		snprintf(stats->full_why, sizeof(stats->full_why), "the store is at its budget less reserve");
	else if (full == GW_FULL_DISK)
		snprintf(stats->full_why, sizeof(stats->full_why), "the file system is at its reserve");
}
