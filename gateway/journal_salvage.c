// SPDX-License-Identifier: Apache-2.0
// Salvaging a journal (gateway/journal_salvage.h): one walk over all pages takes small values over and finds out where records are; a second one takes the
// records in order, with those that no tree leads to in between. What is written goes through the new journal's own transactions.
#include "gateway/journal_salvage_internal.h"

#include "gateway/bytes.h"
#include "gateway/clock.h"
#include "gateway/journal_internal.h"
#include "gateway/ledger.h"
#include "gateway/pages.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define BATCH_BYTES (4u << 20)
#define LOST_MAX 128
#define BEHIND 1000000      // positions that nobody saw may have been given: the newest pages are lost

struct lost { uint8_t low[GW_ROW_KEY_MAX], high[GW_ROW_KEY_MAX]; size_t low_len, high_len; bool open; };

struct salvage {
	struct gw_journal *into;
	const struct gw_salvage_options *options;
	struct gw_salvaged *out;
	int fd;
	bool open;               // a transaction
	size_t bytes;            // of it
	enum gw_error error;
	bool taking;             // the second walk
	bool records_lost, summed, gap_before; // gap_before: pages of records were lost since the last block
	uint64_t audit_bytes;
	uint64_t oldest;         // the least position in the index
	uint64_t seen, tree_last; // the greatest position that anything names; of a block that a tree leads to
	struct gw_strays strays;
	size_t stray_at;
	int64_t first_us, last_us; // of the first record taken, and of the last
	uint64_t twice[GW_PAGES_TWICE]; // pages that two places lead to
	size_t twice_count;
	struct lost lost[LOST_MAX];
	size_t lost_count;
	bool lost_all;           // more than that
};

static void __attribute__((format(printf, 2, 3)))
name_place(struct salvage *salvage, const char *format, ...)
{
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (salvage->options->place != NULL)
		salvage->options->place(salvage->options->arg, text);
}

// ---- Writing ----

static bool
open_batch(struct salvage *salvage)
{
	if (salvage->error == GW_OK && !salvage->open && (salvage->error = gw_journal_begin(salvage->into)) == GW_OK) {
		salvage->open = salvage->into->touched = salvage->into->plain = true;
		salvage->bytes = 0;
	}
	return salvage->error == GW_OK;
}

static bool
end_batch(struct salvage *salvage, size_t bytes_min)
{
	if (!salvage->open || (salvage->error == GW_OK && salvage->bytes < bytes_min))
		return salvage->error == GW_OK;
	salvage->open = false;
	if (salvage->error == GW_OK)
		salvage->error = gw_journal_commit(salvage->into);
	else
		gw_journal_abort(salvage->into);
	return salvage->error == GW_OK;
}

static bool
put_row(struct salvage *salvage, struct gw_span key, struct gw_span value)
{
	if (!open_batch(salvage))
		return false;
	salvage->error = gw_store_error(gw_sum_put(salvage->into->txn, salvage->into->tables[GW_T_ROWS], key, value, 0));
	salvage->into->bytes += key.len + value.len + 64;
	salvage->bytes += key.len + value.len + 64;
	return end_batch(salvage, BATCH_BYTES);
}

static bool
has_row(struct salvage *salvage, struct gw_span key)
{
	MDB_val k = gw_val(key.at, key.len), data;

	return open_batch(salvage) && mdb_get(salvage->into->txn, salvage->into->tables[GW_T_ROWS], &k, &data) == 0;
}

// ---- Rows ----

static bool
begins(struct gw_span key, const char *prefix)
{
	return key.len >= strlen(prefix) && memcmp(key.at, prefix, strlen(prefix)) == 0;
}

// "outlet/bus/...", "outlet/hl7/pdms~backlog/...": "bus", "hl7/pdms". False where the key is no outlet's.
static bool
outlet_of(struct gw_span key, char name[GW_ID_MAX + 8])
{
	size_t at = sizeof("outlet/") - 1, len = 0;
	int slashes = begins(key, "outlet/hl7/") ? 1 : 0;

	if (!begins(key, "outlet/"))
		return false;
	for (; at < key.len && len < GW_ID_MAX + 7; at++) {
		if ((key.at[at] == '/' && slashes-- == 0) || key.at[at] == '~')
			break;
		name[len++] = (char)key.at[at];
	}
	name[len] = '\0';
	return at < key.len && len > 0;
}

static void
note_outlet(struct salvage *salvage, const char *name)
{
	struct gw_salvaged *out = salvage->out;

	for (size_t i = 0; i < out->outlet_count; i++)
		if (strcmp(out->outlets[i], name) == 0)
			return;
	if (out->outlet_count < GW_SALVAGE_OUTLETS)
		snprintf(out->outlets[out->outlet_count++], sizeof(out->outlets[0]), "%s", name);
}

static void
note_lost(struct salvage *salvage, struct gw_span low, struct gw_span high)
{
	struct lost *lost = &salvage->lost[salvage->lost_count];

	if (salvage->lost_count == LOST_MAX || low.len > GW_ROW_KEY_MAX || high.len > GW_ROW_KEY_MAX) {
		salvage->lost_all = true;
		return;
	}
	*lost = (struct lost){ .low_len = low.len, .high_len = high.len, .open = high.at == NULL };
	gw_put_bytes(lost->low, low.at, low.len);
	gw_put_bytes(lost->high, high.at, high.len);
	salvage->lost_count++;
}

// Whether rows that begin so may be gone.
static bool
may_be_lost(const struct salvage *salvage, const char *prefix)
{
	size_t len = strlen(prefix), least;

	for (size_t i = 0; i < salvage->lost_count; i++) {
		const struct lost *lost = &salvage->lost[i];
		int low, high;

		least = lost->low_len < len ? lost->low_len : len;
		low = memcmp(lost->low, prefix, least); // what begins so is not before what is lost
		least = lost->high_len < len ? lost->high_len : len;
		high = memcmp(prefix, lost->high, least);
		if (low <= 0 && (lost->open || high < 0 || (high == 0 && lost->high_len >= len)))
			return true;
	}
	return salvage->lost_all;
}

static void
note_numbers(struct salvage *salvage, struct gw_span key, struct gw_span value)
{
	if (gw_cursor_name(key).len > 0 && value.len == 8 && gw_get64(value.at) < UINT64_MAX / 2 && gw_get64(value.at) > salvage->seen)
		salvage->seen = gw_get64(value.at);
}

// What was passed, left out and refused is told in rows that nothing is sent by.
static bool
is_told(struct gw_span key)
{
	static const char *const tables[] = { "/passed/", "/gap/", "/left/", "/refused/" };
	bool told = false;

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++)
		told |= memmem(key.at, key.len, tables[i], strlen(tables[i])) != NULL;
	return told && begins(key, "outlet/");
}

static bool
take_row(struct salvage *salvage, struct gw_span key, struct gw_span stored, bool stray)
{
	struct gw_span value;

	if (key.len == 0 || key.len > GW_ROW_KEY_MAX)
		return true;
	if (!gw_sum_open(stray || salvage->summed, key, stored, &value)) {
		if (stray) // it is something else
			return true;
		salvage->out->rows_damaged++;
		name_place(salvage, "row %.*s: it does not match its checksum", GW_SPAN_FMT(key));
		if (!is_told(key))
			note_lost(salvage, key, key);
		return true;
	}
	if (stray && has_row(salvage, key))
		return salvage->error == GW_OK;
	note_numbers(salvage, key, value);
	if (begins(key, GW_AUDIT_PREFIX))
		salvage->audit_bytes += value.len + GW_SUM_BYTES + GW_AUDIT_OVERHEAD;
	salvage->out->rows++;
	return put_row(salvage, key, value);
}

// ---- Other small values ----

static bool
take_newest(struct salvage *salvage, struct gw_span key, struct gw_span stored)
{
	struct gw_span row = stored;

	if (key.len != 8 || (stored.len != 16 && (!gw_sum_open(true, key, stored, &row) || row.len != 16)))
		return true; // records tell it again
	if (gw_get64(row.at + 8) < UINT64_MAX / 2 && gw_get64(row.at + 8) > salvage->seen)
		salvage->seen = gw_get64(row.at + 8);
	salvage->error = gw_newest_load(&salvage->into->newest, gw_val_u64(gw_val(key.at, key.len)), (int64_t)gw_get64(row.at), gw_get64(row.at + 8), true);
	return salvage->error == GW_OK;
}

static bool
take_quarantine(struct salvage *salvage, struct gw_span key, struct gw_span value, bool stray)
{
	uint64_t id = key.len == 8 ? gw_val_u64(gw_val(key.at, key.len)) : 0;
	MDB_val k = gw_val(&id, sizeof(id)), data = gw_val(value.at, value.len);
	struct gw_quarantined entry;
	int rc;

	if (id == 0 || !gw_quarantine_decode(value, id, &entry)) {
		if (!stray)
			name_place(salvage, "quarantine %" PRIu64 ": the entry cannot be read", id);
		return true;
	}
	if (!open_batch(salvage))
		return false;
	if (id > salvage->into->quarantine_id)
		salvage->into->quarantine_id = id;
	rc = mdb_put(salvage->into->txn, salvage->into->tables[GW_T_QUARANTINE], &k, &data, MDB_NOOVERWRITE);
	if (rc != MDB_KEYEXIST)
		salvage->error = gw_store_error(rc);
	salvage->out->quarantined += rc == 0;
	gw_room_run(salvage->into, value.len);
	salvage->bytes += value.len;
	return end_batch(salvage, BATCH_BYTES);
}

static bool
is_name(struct gw_span key, const char *name)
{
	return key.len == strlen(name) && memcmp(key.at, name, key.len) == 0;
}

static void
take_number(struct salvage *salvage, struct gw_span key, struct gw_span stored)
{
	struct gw_span number = stored;

	if (stored.len != 8 && (!gw_sum_open(true, key, stored, &number) || number.len != 8)) {
		name_place(salvage, "number %.*s: it does not match its checksum", GW_SPAN_FMT(key));
		return;
	}
	if (is_name(key, "incarnation"))
		salvage->out->before = gw_get64(number.at);
	else if (is_name(key, "summed"))
		salvage->summed = gw_get64(number.at) != 0;
	else if (is_name(key, "quarantine") && gw_get64(number.at) > salvage->into->quarantine_id && gw_get64(number.at) < UINT64_MAX / 2)
		salvage->into->quarantine_id = gw_get64(number.at);
}

// ---- Records ----

static void
add_gap(struct salvage *salvage, uint64_t first, uint64_t last, int64_t before_us)
{
	struct gw_salvaged *out = salvage->out;
	uint64_t known = last < salvage->seen ? last : salvage->seen;

	if (out->gap_count < GW_SALVAGE_GAPS)
		out->gaps[out->gap_count++] = (struct gw_salvage_gap){ first, last, salvage->last_us, before_us, last > salvage->seen };
	out->missing += known >= first ? known - first + 1 : 0;
}

static bool
take_record(struct salvage *salvage, uint64_t position, struct gw_span bytes)
{
	struct gw_journal *into = salvage->into;
	struct gw_salvaged *out = salvage->out;
	struct gw_record record;

	if (gw_record_open(position, bytes, &record, NULL) != GW_OK) {
		out->records_damaged++;
		name_place(salvage, "record %" PRIu64 ": it does not match its checksum", position);
		return true;
	}
	if (!open_batch(salvage) || (out->records > 0 && position < into->next)) // there already
		return salvage->error == GW_OK;
	if (position != into->next) {
		if ((salvage->error = gw_block_flush(into)) != GW_OK)
			return false;
		if (out->records > 0)
			add_gap(salvage, into->next, position - 1, record.received_us);
		into->next = position;
	}
	out->first = out->records++ == 0 ? position : out->first;
	out->last = position;
	salvage->first_us = out->records == 1 ? record.received_us : salvage->first_us;
	salvage->last_us = record.received_us;
	if ((salvage->error = gw_journal_append(into, bytes)) == GW_OK && (salvage->error = gw_index_record(into, position, bytes)) == GW_OK) {
		pthread_mutex_lock(&into->lock);
		salvage->error = gw_newest_record(into, position, bytes);
		pthread_mutex_unlock(&into->lock);
	}
	salvage->bytes += bytes.len;
	return end_batch(salvage, BATCH_BYTES);
}

static bool
take_strays(struct salvage *salvage, uint64_t before)
{
	for (; salvage->error == GW_OK && salvage->stray_at < salvage->strays.count && salvage->strays.at[salvage->stray_at].first < before; salvage->stray_at++) {
		const struct gw_stray *stray = &salvage->strays.at[salvage->stray_at];
		uint8_t *bytes = malloc(stray->len);
		struct gw_block block;
		struct gw_span record;
		uint64_t position;

		if (bytes == NULL) {
			salvage->error = GW_E_MEMORY;
		} else if (pread(salvage->fd, bytes, stray->len, (off_t)stray->offset) == (ssize_t)stray->len) {
			block = stray->keyed ? gw_block_of(stray->last, gw_span(bytes, stray->len)) : (struct gw_block){ .sound = true, .rest = gw_span(bytes, stray->len) };
			block.first = stray->first;
			while (salvage->error == GW_OK && gw_block_next(&block, &position, &record) && position <= stray->last && take_record(salvage, position, record))
				salvage->out->strays++;
		}
		free(bytes);
	}
	return salvage->error == GW_OK;
}

// A block that a tree leads to. Where its lengths do not add up its records are counted from the one before, if that is there.
static bool
take_block(struct salvage *salvage, struct gw_span key, struct gw_span value)
{
	uint64_t last = key.len == 8 ? gw_val_u64(gw_val(key.at, key.len)) : 0, position;
	struct gw_block block = gw_block_of(last, value);
	bool counted = block.sound || (!salvage->gap_before && salvage->tree_last > 0 && salvage->tree_last < last);
	struct gw_record head = { 0 };
	struct gw_span record;

	salvage->gap_before = false;
	if (last == 0 || value.len == 0 || !counted) {
		if (salvage->taking)
			name_place(salvage, "the block of records up to %" PRIu64 " cannot be read", last);
		salvage->tree_last = last;
		return true;
	}
	if (!block.sound)
		block.first = salvage->tree_last + 1;
	salvage->tree_last = last;
	if (!salvage->taking) {
		struct gw_block first = block;

		if (gw_block_next(&first, &position, &record))
			(void)gw_record_open(position, record, &head, NULL);
		salvage->seen = last > salvage->seen ? last : salvage->seen;
		salvage->error = gw_strays_have(&salvage->strays, block.first, last, head.received_us, head.received_us);
		return salvage->error == GW_OK;
	}
	if (!take_strays(salvage, block.first))
		return false;
	while (gw_block_next(&block, &position, &record) && take_record(salvage, position, record))
		;
	return salvage->error == GW_OK;
}

// ---- The walks ----

// gw_pages_walk's
static void
page_damaged(void *arg, uint64_t page, const char *table, const char *words)
{
	struct salvage *salvage = arg;

	if (salvage->taking)
		return;
	salvage->out->pages_damaged++;
	name_place(salvage, "page %" PRIu64 "%s%s: %s", page, table[0] != '\0' ? " of " : "", table, words);
}

static bool
walk_progress(void *arg, uint64_t pages, uint64_t total)
{
	struct salvage *salvage = arg;

	return salvage->options->progress == NULL || salvage->options->progress(salvage->options->arg, salvage->taking ? "records" : "pages", pages, total);
}

static void
take_loss(void *arg, const char *table, struct gw_span low, struct gw_span high)
{
	struct salvage *salvage = arg;
	bool all = strcmp(table, "tables") == 0;

	if (all || strcmp(table, "journal") == 0) {
		salvage->gap_before = salvage->records_lost = true;
		salvage->strays.head_lost |= low.at == NULL;
		salvage->out->tail_lost |= high.at == NULL;
	}
	if (salvage->taking || (!all && strcmp(table, "rows") != 0))
		return;
	salvage->out->rows_lost = true;
	note_lost(salvage, low, high);
	name_place(salvage, "rows from \"%.*s\" to \"%.*s\" may be gone", GW_SPAN_FMT(low), GW_SPAN_FMT(high));
}

static bool
take_entry(void *arg, const char *table, struct gw_span key, struct gw_span value)
{
	struct salvage *salvage = arg;

	if (strcmp(table, "journal") == 0)
		return take_block(salvage, key, value);
	if (strcmp(table, "rows") == 0)
		return take_row(salvage, key, value, false);
	if (strcmp(table, "newest") == 0)
		return take_newest(salvage, key, value);
	if (strcmp(table, "quarantine") == 0)
		return take_quarantine(salvage, key, value, false);
	if (strcmp(table, "meta") == 0)
		take_number(salvage, key, value);
	else if (strcmp(table, "index") == 0 && key.len == GW_INDEX_KEY) {
		uint64_t position = gw_index_entry(key.at).position;

		salvage->oldest = salvage->oldest == 0 || position < salvage->oldest ? position : salvage->oldest;
	}
	return true;
}

static bool
take_only_blocks(void *arg, struct gw_span key, struct gw_span value)
{
	return take_block(arg, key, value);
}

// Of which table it was its checksums say. Small values may be old states where nobody knows what is free: those are left alone, so that nobody is let in who
// was removed.
static bool
take_stray(void *arg, struct gw_span key, struct gw_span value, uint64_t offset)
{
	struct salvage *salvage = arg;
	size_t before = salvage->strays.count;
	struct gw_span number;

	if (key.len == 0 || key.len == 8) {
		uint64_t last = key.len == 8 ? gw_val_u64(gw_val(key.at, key.len)) : 0;

		if (last < UINT64_MAX / 2 && (salvage->records_lost || !salvage->strays.known))
			salvage->error = gw_strays_add(&salvage->strays, value, last, offset);
		if (key.len == 0 || salvage->error != GW_OK || salvage->strays.count > before)
			return salvage->error == GW_OK;
	}
	if (is_name(key, "incarnation") && value.len == 12 && gw_sum_open(true, key, value, &number)) { // the same in all states
		salvage->out->before = salvage->out->before == 0 ? gw_get64(number.at) : salvage->out->before;
		return true;
	}
	if (!salvage->strays.known)
		return true;
	if (key.len == 8 && value.len == 20)
		return take_newest(salvage, key, value);
	if (key.len == 8 && take_quarantine(salvage, key, value, true) && salvage->error != GW_OK)
		return false;
	if (value.len == 12 && (is_name(key, "quarantine") || is_name(key, "summed"))) {
		take_number(salvage, key, value);
		return true;
	}
	if (value.len == 12 && (is_name(key, "format") || is_name(key, "indexed") || is_name(key, "checkpoint") || is_name(key, "audit_bytes")))
		return true;
	return !salvage->out->rows_lost || take_row(salvage, key, value, true);
}

// The walk's argument, with the salvage first. `seen` is filled in by the time strays are given.
struct survey { struct salvage salvage; struct gw_pages_seen seen; };

static bool
survey_stray(void *arg, struct gw_span key, struct gw_span value, uint64_t offset)
{
	struct survey *survey = arg;

	survey->salvage.strays.known = survey->seen.free_known && !survey->seen.older;
	return take_stray(&survey->salvage, key, value, offset);
}

// "meta" comes before "rows", which have to know whether all of them have checksums. Where it cannot be read they are taken as having.
static enum gw_error
survey(struct survey *survey, struct gw_why *why)
{
	struct salvage *salvage = &survey->salvage;
	struct gw_pages_walk walk = { .damage = page_damaged, .each = take_entry, .lost = take_loss, .stray = survey_stray, .progress = walk_progress, .arg = survey,
		.deep = true };
	const struct gw_pages_walk first = { .progress = walk_progress, .arg = survey, .deep = true };
	enum gw_error error = gw_pages_walk(salvage->fd, &first, &survey->seen, why);

	if (error != GW_OK && error != GW_E_CORRUPT)
		return error;
	salvage->twice_count = survey->seen.twice_count;
	memcpy(salvage->twice, survey->seen.twice, sizeof(salvage->twice));
	walk.shunned = salvage->twice;
	walk.shunned_count = salvage->twice_count;
	error = gw_pages_walk(salvage->fd, &walk, &survey->seen, why);
	salvage->out->tail_lost |= survey->seen.older;
	(void)end_batch(salvage, 0);
	if (salvage->error != GW_OK)
		return gw_fail(why, salvage->error, "cannot write the new store: %s", gw_error_text(salvage->error));
	return error == GW_E_CORRUPT && salvage->out->pages_damaged > 0 ? GW_OK : error;
}

// Before the oldest record that is left there may have been others, of which the index may know.
static void
note_head(struct salvage *salvage)
{
	struct gw_salvaged *out = salvage->out;

	out->head_lost = salvage->strays.head_lost && out->first != 1;
	if (!out->head_lost || salvage->oldest == 0 || salvage->oldest >= out->first)
		return;
	if (out->gap_count < GW_SALVAGE_GAPS) {
		memmove(out->gaps + 1, out->gaps, out->gap_count * sizeof(out->gaps[0]));
		out->gaps[0] = (struct gw_salvage_gap){ salvage->oldest, out->first - 1, 0, salvage->first_us, false };
		out->gap_count++;
	}
	out->missing += out->first - salvage->oldest;
}

static enum gw_error
take_records(struct salvage *salvage, struct gw_why *why)
{
	const struct gw_pages_walk walk = { .table = "journal", .entry = take_only_blocks, .lost = take_loss, .damage = page_damaged, .progress = walk_progress,
		.shunned = salvage->twice, .shunned_count = salvage->twice_count, .arg = salvage };
	struct gw_pages_seen seen;
	enum gw_error error;

	salvage->taking = true;
	salvage->tree_last = 0;
	salvage->gap_before = false;
	error = gw_pages_walk(salvage->fd, &walk, &seen, why);
	if ((error == GW_OK || error == GW_E_CORRUPT) && salvage->error == GW_OK) { // without a head all are strays
		error = GW_OK;
		(void)take_strays(salvage, UINT64_MAX);
	}
	(void)end_batch(salvage, 0);
	note_head(salvage);
	return salvage->error == GW_OK ? error : gw_fail(why, salvage->error, "cannot write the new store: %s", gw_error_text(salvage->error));
}

// ---- What follows from what is lost ----

static bool
put_number_row(struct salvage *salvage, const char *key, uint64_t number)
{
	uint8_t value[8];

	gw_put64(value, number);
	return put_row(salvage, gw_span_text(key), gw_span(value, sizeof(value)));
}

static void
drop_rows(struct salvage *salvage, const char *name, const char *table)
{
	struct { struct gw_op op; char key[GW_ROW_KEY_MAX]; } what = { .op = { .kind = GW_OP_DEL_PREFIX } };

	what.op.key_len = (uint32_t)snprintf(what.key, sizeof(what.key), "outlet/%s%s", name, table);
	if (open_batch(salvage))
		salvage->error = gw_rows_del_prefix(salvage->into, &what.op);
}

// What it may have taken is not known: it begins with the oldest record. What an HL7 destination noted of devices and of a backlog would keep it from that.
static void
begin_again(struct salvage *salvage, const char *name)
{
	char key[GW_ID_MAX + 40];

	note_outlet(salvage, name);
	snprintf(key, sizeof(key), GW_CURSOR_KEY_FMT, name);
	(void)put_number_row(salvage, key, salvage->out->first > 0 ? salvage->out->first - 1 : 0);
	if (strncmp(name, "hl7/", 4) != 0)
		return;
	drop_rows(salvage, name, "/device/");
	drop_rows(salvage, name, "/backlog/");
	drop_rows(salvage, name, "/until");
	drop_rows(salvage, name, "~");
}

struct names { char at[GW_SALVAGE_OUTLETS][GW_ID_MAX + 8]; size_t count; char last[GW_ID_MAX + 8]; };

static bool
collect_name(void *arg, struct gw_span key, struct gw_span value)
{
	struct names *names = arg;
	char name[GW_ID_MAX + 8];

	(void)value;
	if (outlet_of(key, name) && strcmp(name, names->last) != 0 && names->count < GW_SALVAGE_OUTLETS) {
		memcpy(names->last, name, sizeof(name));
		memcpy(names->at[names->count++], name, sizeof(name));
	}
	return true;
}

static enum gw_error
set_back(struct salvage *salvage)
{
	struct names *names = calloc(1, sizeof(*names));
	char prefix[GW_ID_MAX + 20];
	enum gw_error error;

	if (names == NULL)
		return GW_E_MEMORY;
	error = gw_journal_each(salvage->into, gw_span_text("outlet/"), gw_span(NULL, 0), collect_name, names);
	for (size_t i = 0; i < salvage->options->outlet_count && names->count < GW_SALVAGE_OUTLETS; i++)
		snprintf(names->at[names->count++], sizeof(names->at[0]), "%s", salvage->options->outlets[i]);
	for (size_t i = 0; error == GW_OK && i < names->count; i++) {
		snprintf(prefix, sizeof(prefix), "outlet/%s", names->at[i]);
		if (may_be_lost(salvage, prefix))
			begin_again(salvage, names->at[i]);
	}
	(void)end_batch(salvage, 0);
	free(names);
	return error == GW_OK ? salvage->error : error;
}

// So that it is known which positions are missing, and why: for `verify`, and of every outlet that had them before it.
static enum gw_error
note_gaps(struct salvage *salvage)
{
	const struct gw_salvaged *out = salvage->out;
	char key[64];
	uint8_t value[16];

	gw_put64(value, (uint64_t)gw_clock_wall_us());
	for (size_t i = 0; i < out->gap_count && salvage->error == GW_OK; i++) {
		snprintf(key, sizeof(key), GW_SALVAGE_ROW "%016" PRIx64, out->gaps[i].last);
		gw_put64(value + 8, out->gaps[i].first);
		(void)put_row(salvage, gw_span_text(key), gw_span(value, sizeof(value)));
	}
	(void)end_batch(salvage, 0);
	return salvage->error;
}

// Nothing may be given a second time: neither an identifier (where the readings that had it, or what was sent of them, is not known any more), nor a position.
static enum gw_error
settle_numbers(struct salvage *salvage)
{
	struct gw_salvaged *out = salvage->out;
	bool whole = out->missing == 0 && !out->tail_lost && !out->head_lost && out->records_damaged == 0 && salvage->lost_count == 0 && !salvage->lost_all && out->before != 0;

	if (salvage->audit_bytes > 0 && open_batch(salvage))
		salvage->error = gw_meta_put(salvage->into, salvage->into->txn, "audit_bytes", salvage->audit_bytes);
	(void)end_batch(salvage, 0);
	if (whole && open_batch(salvage) && (salvage->error = gw_meta_put(salvage->into, salvage->into->txn, "incarnation", out->before)) == GW_OK &&
	    end_batch(salvage, 0))
		salvage->into->incarnation = out->before;
	out->incarnation = salvage->into->incarnation;
	out->next = (out->last > salvage->seen ? out->last : salvage->seen) + 1 + (out->tail_lost ? BEHIND : 0);
	if (out->next > out->last + 1 && out->records > 0)
		add_gap(salvage, out->last + 1, out->next - 1, 0);
	return salvage->error;
}

enum gw_error
gw_journal_salvage(struct gw_journal *into, int fd, const struct gw_salvage_options *options, struct gw_salvaged *salvaged, struct gw_why *why)
{
	struct survey *all = calloc(1, sizeof(*all));
	struct salvage *salvage = &all->salvage;
	uint64_t next;
	enum gw_error error;

	*salvaged = (struct gw_salvaged){ 0 };
	if (all == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	*salvage = (struct salvage){ .into = into, .options = options, .out = salvaged, .fd = fd };
	if ((error = survey(all, why)) != GW_OK)
		goto done;
	next = salvage->seen + 1 + (salvaged->tail_lost ? BEHIND : 0);
	if ((error = gw_strays_settle(&salvage->strays, fd, &next, &salvaged->moved)) != GW_OK || (error = take_records(salvage, why)) != GW_OK ||
	    (error = set_back(salvage)) != GW_OK || (error = settle_numbers(salvage)) != GW_OK || (error = note_gaps(salvage)) != GW_OK)
		goto done;
done:
	gw_strays_free(&salvage->strays);
	free(all);
	return error == GW_OK || (why != NULL && why->text[0] != '\0') ? error : gw_fail(why, error, "%s", gw_error_text(error));
}
