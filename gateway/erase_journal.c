// SPDX-License-Identifier: Apache-2.0
// The patient's readings in the journal: every record is read once, and what is his is erased in place (gateway/journal_erase.c), a few records a commit. The thread
// of the erasure.
#include "gateway/erase.h"

#include "gateway/clock.h"

#include <stdlib.h>

#define PIECE_US 500000 // of one call: meanwhile the parts are held
#define TICKET_BYTES 65536
#define TICKET_RECORDS 64 // each of which may be a block of 16 KB to write, or a record of 1 MB
#define TICKET_READ (4u << 20)

struct scan {
	struct gw_erasure *erasure;
	struct gw_source source;
	struct gw_ticket *ticket;
	size_t records, bytes;
	uint16_t places[GW_RECORD_READINGS_MAX];
};

enum gw_error
gw_erasure_commit(struct gw_source *source, struct gw_ticket **ticket)
{
	enum gw_error error = GW_OK;

	if (*ticket != NULL && (*ticket)->ops_len > 0) {
		(*ticket)->essential = true;
		error = gw_intake_commit(*ticket);
	}
	if (*ticket != NULL)
		gw_ticket_release(*ticket);
	*ticket = error == GW_OK ? gw_ticket_get(source) : NULL;
	return error == GW_OK && *ticket == NULL ? GW_E_MEMORY : error;
}

static enum gw_error
commit(struct scan *scan)
{
	scan->records = scan->bytes = 0;
	return gw_erasure_commit(&scan->source, &scan->ticket);
}

// The places of what goes; how many.
static size_t
choose(struct scan *scan, const char *device, struct gw_batch *batch)
{
	struct gw_erasure *erasure = scan->erasure;
	struct gw_point point = { .received_us = batch->head.received_us };
	size_t count = 0;

	while (gw_batch_next(batch, &point.reading)) {
		enum gw_belongs belongs;

		if (gw_reading_is_erased(&point.reading))
			continue;
		belongs = gw_erasure_belongs(erasure, device, &point);
		erasure->counts.journal_unsure += belongs == GW_BELONGS_UNSURE && !erasure->unsure;
		if (gw_erasure_takes(erasure, belongs))
			scan->places[count++] = (uint16_t)(batch->done - 1);
	}
	return count;
}

static enum gw_error
take_record(struct scan *scan, const struct gw_record *record)
{
	struct gw_erasure *erasure = scan->erasure;
	char device[GW_ID_MAX + 1];
	struct gw_batch batch;
	size_t count, at;
	enum gw_error error;

	if (record->type == 0)
		erasure->counts.journal_damaged++;
	if (record->type != GW_RECORD_READINGS || gw_batch_open(record, &batch, NULL) != GW_OK || gw_erasure_device(erasure, batch.head.device, &at) == 0)
		return GW_OK;
	memcpy(device, batch.head.device.at, batch.head.device.len);
	device[batch.head.device.len] = '\0';
	count = choose(scan, device, &batch);
	erasure->counts.journal += count;
	if (count == 0 || erasure->dry)
		return GW_OK;
	if ((error = gw_ticket_erase(scan->ticket, record->position, scan->places, count)) != GW_OK)
		return error;
	scan->bytes += record->bytes.len;
	if (++scan->records < TICKET_RECORDS && scan->ticket->ops_len < TICKET_BYTES && scan->bytes < TICKET_READ)
		return GW_OK;
	return commit(scan);
}

static enum gw_error
run(struct scan *scan, uint8_t *buf, size_t cap)
{
	struct gw_erasure *erasure = scan->erasure;
	struct gw_journal *journal = erasure->core->journal;
	uint64_t next = erasure->scanned + 1, last = gw_journal_last(journal), position = erasure->scanned;
	int64_t until_us = gw_clock_mono_us() + PIECE_US;
	enum gw_error error = GW_OK;
	size_t used = 1;

	while (error == GW_OK && position < last && used > 0 && (position == erasure->scanned || gw_clock_mono_us() < until_us)) {
		struct gw_record record;
		struct gw_span rest;

		if (gw_erasure_ending(erasure))
			return GW_E_STOPPING;
		if ((error = gw_journal_read(journal, next, buf, cap, &used, &next)) != GW_OK)
			break;
		for (rest = gw_span(buf, used); error == GW_OK && gw_journal_step(&rest, &record); position = record.position)
			error = take_record(scan, &record);
	}
	if (error == GW_OK)
		error = commit(scan);
	if (error == GW_OK && position > erasure->scanned)
		erasure->scanned = position;
	return error;
}

enum gw_error
gw_erasure_journal(struct gw_erasure *erasure)
{
	size_t cap = GW_RECORD_MAX + 16;
	struct scan *scan = calloc(1, sizeof(*scan));
	uint8_t *buf = malloc(cap);
	enum gw_error error = scan != NULL && buf != NULL ? GW_OK : GW_E_MEMORY;

	if (error == GW_OK && (error = gw_source_init(&scan->source, erasure->core->intake, 1)) == GW_OK) {
		scan->erasure = erasure;
		if ((error = commit(scan)) == GW_OK)
			error = run(scan, buf, cap);
		if (scan->ticket != NULL)
			gw_ticket_release(scan->ticket);
		gw_source_fini(&scan->source);
	}
	free(scan);
	free(buf);
	return error;
}
