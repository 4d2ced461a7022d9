// SPDX-License-Identifier: Apache-2.0
// Records of commands (who looked, who changed something) outlive the readings beside which they lie: before a block is trimmed they become rows "audit/<position>",
// which have an age and a size of their own. The writer's thread, within the transaction of the trimming.
#include "gateway/clock.h"
#include "gateway/journal_internal.h"

#include <inttypes.h>
#include <stdio.h>

#define EXPIRE_MAX 256  // rows of one piece
#define KEY (sizeof(GW_AUDIT_PREFIX) + 15)

static enum gw_error
bytes_kept(struct gw_journal *journal, uint64_t *bytes)
{
	enum gw_error error = gw_meta_get(journal, journal->txn, "audit_bytes", bytes);

	if (error == GW_E_NOT_FOUND || error == GW_E_CORRUPT)
		*bytes = error == GW_E_CORRUPT; // damaged: it counts from there on, and rows go by their age
	return error == GW_E_NOT_FOUND || error == GW_E_CORRUPT ? GW_OK : error;
}

static enum gw_error
keep_one(struct gw_journal *journal, uint64_t position, struct gw_span record, uint64_t *bytes)
{
	char text[KEY + 1];
	int rc;

	snprintf(text, sizeof(text), GW_AUDIT_PREFIX "%016" PRIx64, position);
	rc = gw_sum_put(journal->txn, journal->tables[GW_T_ROWS], gw_span(text, KEY), record, MDB_NOOVERWRITE);
	if (rc == MDB_KEYEXIST)
		return GW_OK;
	journal->bytes += KEY + 32 + record.len;
	journal->copies++;
	*bytes += record.len + GW_SUM_BYTES + GW_AUDIT_OVERHEAD;
	return gw_store_error(rc);
}

enum gw_error
gw_audit_keep(struct gw_journal *journal, struct gw_block block)
{
	struct gw_record record;
	struct gw_span at;
	uint64_t position, bytes, before;
	enum gw_error error;

	if (journal->options.audit_us == 0)
		return GW_OK;
	if ((error = bytes_kept(journal, &bytes)) != GW_OK)
		return error;
	before = bytes;
	while (error == GW_OK && gw_block_next(&block, &position, &at))
		if (gw_record_open(position, at, &record, NULL) == GW_OK && record.type == GW_RECORD_COMMAND)
			error = keep_one(journal, position, at, &bytes);
	return error == GW_OK && bytes != before ? gw_meta_put(journal, journal->txn, "audit_bytes", bytes) : error;
}

// Whether the oldest row is to go: one that cannot be read tells no time, and goes with the others by its place.
static bool
is_over(struct gw_journal *journal, MDB_val key, MDB_val data, int64_t now_us, uint64_t bytes)
{
	struct gw_record record;
	struct gw_span row;

	if (bytes > journal->options.audit_bytes)
		return true;
	return !gw_row_open(journal, key, data, &row) || gw_record_open(1, row, &record, NULL) != GW_OK || (record.received_us < now_us && now_us - record.received_us > journal->options.audit_us);
}

enum gw_error
gw_audit_expire(struct gw_journal *journal, int64_t now_us, bool *more)
{
	uint64_t bytes, before;
	MDB_cursor *cursor;
	MDB_val key, data;
	enum gw_error error;
	int rc, gone = 0;

	*more = false;
	if (journal->options.audit_us == 0)
		return GW_OK;
	if ((error = bytes_kept(journal, &bytes)) != GW_OK || bytes == 0)
		return error;
	before = bytes;
	if ((rc = mdb_cursor_open(journal->txn, journal->tables[GW_T_ROWS], &cursor)) != 0)
		return gw_store_error(rc);
	for (; gone < EXPIRE_MAX && rc == 0; gone++) {
		uint64_t size;

		key = gw_val(GW_AUDIT_PREFIX, sizeof(GW_AUDIT_PREFIX) - 1);
		if ((rc = mdb_cursor_get(cursor, &key, &data, MDB_SET_RANGE)) != 0)
			break;
		if (key.mv_size != KEY || memcmp(key.mv_data, GW_AUDIT_PREFIX, sizeof(GW_AUDIT_PREFIX) - 1) != 0) {
			bytes = 0; // none is left
			break;
		}
		if (!is_over(journal, key, data, now_us, bytes))
			break;
		size = data.mv_size + GW_AUDIT_OVERHEAD;
		bytes -= size < bytes ? size : bytes;
		journal->copies++;
		rc = mdb_cursor_del(cursor, 0);
	}
	mdb_cursor_close(cursor);
	if (rc != 0 && rc != MDB_NOTFOUND)
		return gw_store_error(rc);
	if (bytes == before)
		return GW_OK;
	*more = gone == EXPIRE_MAX;
	journal->touched = true;
	return gw_meta_put(journal, journal->txn, "audit_bytes", bytes);
}
