// SPDX-License-Identifier: Apache-2.0
// Quarantine: frames refused for their content, whole, with the reason; limited in all and for each principal.
// The writer's thread puts and deletes; any thread reads.
#include "gateway/bytes.h"
#include "gateway/journal_internal.h"

#include <stdlib.h>

// An entry's bytes (schemas/journal-format.md). Little-endian.
enum {
	Q_CRC = 0,       // u32 of all after it
	Q_VERSION = 4,   // u8
	Q_DOOR = 5,
	Q_AUTH = 6,
	Q_ERROR_LEN = 7, // u8: bytes of the error's name
	Q_RECEIVED = 8,  // i64
	Q_FORMAT = 16,   // u32
	Q_PRINCIPAL = 20, // u16 each: bytes of principal, route, reason
	Q_ROUTE = 22,
	Q_REASON = 24,
	Q_ERROR = 26,    // u16
	Q_TEXTS = 28,    // error's name, principal, route, reason, payload (the rest)
};
#define Q_VERSION_1 1

size_t
gw_quarantine_size(const struct gw_quarantined *entry)
{
	return Q_TEXTS + strlen(gw_error_name((enum gw_error)entry->error)) + entry->principal.len + entry->route.len +
	    entry->reason.len + entry->payload.len;
}

void
gw_quarantine_encode(const struct gw_quarantined *entry, uint8_t *out)
{
	struct gw_span name = gw_span_text(gw_error_name((enum gw_error)entry->error));
	const struct gw_span texts[] = { name, entry->principal, entry->route, entry->reason, entry->payload };
	uint8_t *at = out + Q_TEXTS;

	out[Q_VERSION] = Q_VERSION_1;
	out[Q_DOOR] = entry->door;
	out[Q_AUTH] = entry->auth;
	out[Q_ERROR_LEN] = (uint8_t)name.len;
	gw_put64(out + Q_RECEIVED, (uint64_t)entry->received_us);
	gw_put32(out + Q_FORMAT, entry->content_format);
	gw_put16(out + Q_PRINCIPAL, (uint16_t)entry->principal.len);
	gw_put16(out + Q_ROUTE, (uint16_t)entry->route.len);
	gw_put16(out + Q_REASON, (uint16_t)entry->reason.len);
	gw_put16(out + Q_ERROR, entry->error);
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		at = gw_put_bytes(at, texts[i].at, texts[i].len);
	gw_put32(out, gw_crc32c(0, out + 4, (size_t)(at - out) - 4));
}

bool
gw_quarantine_decode(struct gw_span bytes, uint64_t id, struct gw_quarantined *entry)
{
	struct gw_span *const texts[] = { &entry->principal, &entry->route, &entry->reason };
	static const size_t lens[] = { Q_PRINCIPAL, Q_ROUTE, Q_REASON };
	size_t at;

	if (bytes.len < Q_TEXTS || gw_get32(bytes.at) != gw_crc32c(0, bytes.at + 4, bytes.len - 4) ||
	    bytes.at[Q_VERSION] != Q_VERSION_1 || (at = Q_TEXTS + (size_t)bytes.at[Q_ERROR_LEN]) > bytes.len)
		return false;
	*entry = (struct gw_quarantined){
		.id = id,
		.received_us = (int64_t)gw_get64(bytes.at + Q_RECEIVED),
		.door = bytes.at[Q_DOOR],
		.auth = bytes.at[Q_AUTH],
		.error = gw_get16(bytes.at + Q_ERROR),
		.content_format = gw_get32(bytes.at + Q_FORMAT),
	};
	for (size_t i = 0; i < 3; i++) {
		size_t len = gw_get16(bytes.at + lens[i]);
		if (len > bytes.len - at)
			return false;
		*texts[i] = gw_span(bytes.at + at, len);
		at += len;
	}
	entry->payload = gw_span(bytes.at + at, bytes.len - at);
	return true;
}

// ---- Limits ----

static void
add_total(struct gw_journal *journal, uint64_t principal, int64_t bytes)
{
	struct gw_newest *share = gw_newest_find(&journal->shares, principal);

	gw_newest_set(&journal->shares, share, principal, (share != NULL ? share->time_us : 0) + bytes, 0);
	atomic_fetch_add(&journal->quarantine_bytes, bytes);
	atomic_fetch_add(&journal->quarantine_count, bytes > 0 ? 1 : -1);
}

enum gw_error
gw_quarantine_check(struct gw_journal *journal, const struct gw_ticket *ticket)
{
	uint64_t limit = journal->options.quarantine_bytes, bytes = 0;
	uint64_t share_limit = limit / 100 * journal->options.quarantine_share_percent;

	for (const struct gw_op *op = NULL; (op = gw_op_next(ticket, op)) != NULL;) {
		const struct gw_newest *share;
		if (op->kind != GW_OP_QUARANTINE)
			continue;
		bytes += op->body_len;
		share = gw_newest_find(&journal->shares, op->number);
		if ((uint64_t)atomic_load(&journal->quarantine_bytes) + bytes > limit ||
		    (share != NULL ? (uint64_t)share->time_us : 0) + bytes > share_limit)
			return GW_E_QUOTA;
	}
	return GW_OK;
}

// ---- Writing ----

enum gw_error
gw_quarantine_put(struct gw_journal *journal, const struct gw_op *op)
{
	uint64_t id = journal->quarantine_id + 1;
	MDB_val key = gw_val(&id, sizeof(id)), data = gw_val(gw_op_body(op), op->body_len);
	enum gw_error error = gw_newest_reserve(&journal->shares, 1);
	int rc;

	if (error != GW_OK)
		return error;
	rc = mdb_put(journal->txn, journal->tables[GW_T_QUARANTINE], &key, &data, MDB_APPEND);
	if (rc != 0)
		return gw_store_error(rc);
	journal->quarantine_id = id;
	gw_room_run(journal, op->body_len);
	add_total(journal, op->number, op->body_len);
	return GW_OK;
}

// Whose share an entry counts in. A damaged one counts as nobody's.
static uint64_t
owner_of(struct gw_span bytes)
{
	struct gw_quarantined entry;

	return gw_name_hash(gw_quarantine_decode(bytes, 0, &entry) ? entry.principal : gw_span("", 0));
}

enum gw_error
gw_quarantine_del(struct gw_journal *journal, const struct gw_op *op)
{
	uint64_t id = op->number, owner;
	MDB_val key = gw_val(&id, sizeof(id)), data;
	enum gw_error error = gw_newest_reserve(&journal->shares, 1);
	size_t len;
	int rc;

	if (error != GW_OK)
		return error;
	rc = mdb_get(journal->txn, journal->tables[GW_T_QUARANTINE], &key, &data);
	if (rc != 0)
		return rc == MDB_NOTFOUND ? GW_OK : gw_store_error(rc);
	len = data.mv_size;
	owner = owner_of(gw_val_span(data));
	if ((rc = mdb_del(journal->txn, journal->tables[GW_T_QUARANTINE], &key, NULL)) != 0)
		return gw_store_error(rc);
	journal->copies++;
	add_total(journal, owner, -(int64_t)len);
	return GW_OK;
}

enum gw_error
gw_quarantine_open(struct gw_journal *journal, struct gw_why *why)
{
	MDB_txn *txn;
	MDB_cursor *cursor;
	MDB_val key, data;
	enum gw_error error = gw_reader_begin(journal, &txn);
	int rc;

	if (error == GW_OK && (error = gw_store_error(mdb_cursor_open(txn, journal->tables[GW_T_QUARANTINE], &cursor))) == GW_OK) {
		while ((rc = mdb_cursor_get(cursor, &key, &data, MDB_NEXT)) == 0 &&
		    (error = gw_newest_reserve(&journal->shares, 1)) == GW_OK)
			add_total(journal, owner_of(gw_val_span(data)), (int64_t)data.mv_size);
		gw_newest_settle(&journal->shares);
		mdb_cursor_close(cursor);
		if (error == GW_OK && rc != MDB_NOTFOUND)
			error = gw_store_error(rc);
		gw_reader_end(journal, txn);
	}
	return error == GW_OK ? GW_OK : gw_fail(why, error, "cannot read the quarantine in %s", journal->dir);
}

// ---- Reading ----

// Copies the first entry at or after *id; *id becomes its id.
static enum gw_error
copy_entry(struct gw_journal *journal, uint64_t *id, uint8_t **buf, size_t *len)
{
	MDB_val key = gw_val(id, sizeof(*id)), data;
	MDB_cursor *cursor;
	MDB_txn *txn;
	enum gw_error error = gw_reader_begin(journal, &txn);

	if (error != GW_OK)
		return error;
	if ((error = gw_store_error(mdb_cursor_open(txn, journal->tables[GW_T_QUARANTINE], &cursor))) == GW_OK) {
		if ((error = gw_store_error(mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE))) == GW_OK) {
			uint8_t *bigger = realloc(*buf, data.mv_size);
			if (bigger != NULL) {
				*buf = memcpy(bigger, data.mv_data, data.mv_size);
				*len = data.mv_size;
				*id = gw_val_u64(key);
			} else {
				error = GW_E_MEMORY;
			}
		}
		mdb_cursor_close(cursor);
	}
	gw_reader_end(journal, txn);
	return error;
}

enum gw_error
gw_quarantine_each(struct gw_journal *journal, uint64_t from_id, gw_quarantine_fn *fn, void *arg)
{
	struct gw_quarantined entry;
	uint8_t *buf = NULL;
	uint64_t id = from_id;
	enum gw_error error;
	size_t len = 0;

	for (; (error = copy_entry(journal, &id, &buf, &len)) == GW_OK; id++)
		if (gw_quarantine_decode(gw_span(buf, len), id, &entry) && !fn(arg, &entry))
			break;
	free(buf);
	return error == GW_E_NOT_FOUND ? GW_OK : error;
}
