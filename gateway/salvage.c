// SPDX-License-Identifier: Apache-2.0
// Salvaging a store (gateway/salvage.h): the stage, the walk, what the new journal tells of it.
#include "gateway/salvage.h"

#include "gateway/clock.h"
#include "gateway/intake.h"
#include "gateway/journal_copy.h"
#include "gateway/ledger.h"
#include "gateway/patients.h"
#include "gateway/restore_stage.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAP_MORE (256u << 20)

struct salvage {
	const char *who;
	const struct gw_salvage_options *options;
	struct gw_salvaged *out;
	struct gw_why *why;
	struct gw_stage stage;
	struct gw_journal *journal; // the new one
	struct gw_ticket *ticket;
	enum gw_error error;
	int fd;                     // of the damaged file
	uint64_t map_bytes;
};

// Blocks that were allocated ahead hold nothing.
static enum gw_error
open_damaged(struct salvage *salvage)
{
	struct stat at;

	salvage->fd = openat(salvage->stage.store_fd, "data.mdb", O_RDONLY | O_CLOEXEC);
	if (salvage->fd < 0 || fstat(salvage->fd, &at) != 0)
		return gw_fail(salvage->why, errno == ENOENT ? GW_E_NOT_FOUND : GW_E_SYSTEM, "cannot open %.120s/data.mdb: %s", salvage->stage.to, strerror(errno));
	salvage->map_bytes = (uint64_t)at.st_size + (uint64_t)at.st_size / 2 + MAP_MORE;
	return gw_stage_room(&salvage->stage, (uint64_t)at.st_blocks * 512, salvage->why);
}

// ---- What it tells ----

// gw_outlet_fn
static bool
note_gaps(void *arg, const char *name, struct gw_span cursor)
{
	struct salvage *salvage = arg;
	uint64_t at = 0;

	for (size_t i = 0; i < 8 && i < cursor.len; i++)
		at |= (uint64_t)cursor.at[i] << (8 * i);
	for (size_t i = 0; i < salvage->out->gap_count && salvage->error == GW_OK; i++) {
		const struct gw_salvage_gap *gap = &salvage->out->gaps[i];

		if (gap->last > at)
			salvage->error = gw_ledger_gap(salvage->journal, salvage->ticket, name, gap->first > at ? gap->first : at + 1, gap->last, GW_GAP_DAMAGED,
			    gw_clock_wall_us());
	}
	return salvage->error == GW_OK;
}

static enum gw_error
describe(struct salvage *salvage)
{
	const struct gw_salvaged *out = salvage->out;
	struct gw_event event = { .received_us = gw_clock_wall_us(), .door = GW_DOOR_COMMAND, .principal = gw_span_text(salvage->who) };
	char text[400];

	snprintf(text, sizeof(text), "salvaged from a damaged journal: %" PRIu64 " records of positions %" PRIu64 " to %" PRIu64 "; %" PRIu64 " positions missing, %" PRIu64
	    " damaged pages; incarnation %s: %016" PRIx64, out->records, out->first, out->last, out->missing, out->pages_damaged,
	    out->before == out->incarnation ? "as before" : "before", out->before);
	event.text = gw_span_text(text);
	if (event.principal.len > GW_ID_MAX)
		event.principal.len = GW_ID_MAX;
	return gw_ticket_event(salvage->ticket, GW_RECORD_COMMAND, &event);
}

// The record of it stands where the journal goes on.
static enum gw_error
put_note(struct salvage *salvage)
{
	enum gw_error error = describe(salvage);

	if (error == GW_OK && salvage->out->incarnation != salvage->out->before)
		error = gw_patients_begin_anew(salvage->journal, salvage->ticket);
	if (error == GW_OK && (error = gw_outlets_each(salvage->journal, note_gaps, salvage)) == GW_OK)
		error = salvage->error;
	return error == GW_OK ? gw_journal_go_on(salvage->journal, salvage->ticket, salvage->out->next) : error;
}

// Opened again: what it counts comes from what it holds.
static enum gw_error
note(struct salvage *salvage)
{
	struct gw_source source;
	enum gw_error error = gw_stage_journal(&salvage->stage, salvage->map_bytes, &salvage->journal, salvage->why);

	if (error != GW_OK)
		return error;
	if ((error = gw_source_init(&source, NULL, 1)) == GW_OK) {
		error = (salvage->ticket = gw_ticket_get(&source)) == NULL ? GW_E_MEMORY : put_note(salvage);
		if (salvage->ticket != NULL)
			gw_ticket_release(salvage->ticket);
		gw_source_fini(&source);
	}
	gw_journal_close(salvage->journal);
	return error == GW_OK ? GW_OK : gw_fail(salvage->why, error, "what was salvaged cannot be noted: %s", gw_error_text(error));
}

static enum gw_error
take_over(struct salvage *salvage)
{
	struct gw_journal *journal;
	enum gw_error error = gw_stage_journal(&salvage->stage, salvage->map_bytes, &journal, salvage->why);

	if (error != GW_OK)
		return error;
	error = gw_journal_salvage(journal, salvage->fd, salvage->options, salvage->out, salvage->why);
	gw_journal_close(journal);
	return error;
}

static enum gw_error
salvage_all(struct salvage *salvage, const char *store_dir)
{
	enum gw_error error = gw_stage_open(&salvage->stage, store_dir, salvage->why);

	if (error != GW_OK || (error = open_damaged(salvage)) != GW_OK || (error = gw_stage_make(&salvage->stage, false, salvage->why)) != GW_OK)
		return error;
	if ((error = take_over(salvage)) == GW_OK && (error = note(salvage)) == GW_OK)
		error = gw_stage_count(&salvage->stage, salvage->why);
	if (error != GW_OK)
		gw_stage_drop(&salvage->stage);
	else
		snprintf(salvage->out->aside, sizeof(salvage->out->aside), "%s", salvage->stage.aside);
	return error;
}

enum gw_error
gw_salvage(const char *store_dir, const char *who, const struct gw_salvage_options *options, struct gw_salvaged *salvaged, struct gw_why *why)
{
	struct salvage salvage = { .who = who, .options = options, .out = salvaged, .why = why, .fd = -1 };
	enum gw_error error;

	*salvaged = (struct gw_salvaged){ 0 };
	gw_stage_init(&salvage.stage);
	error = salvage_all(&salvage, store_dir);
	gw_stage_fini(&salvage.stage);
	if (salvage.fd >= 0)
		close(salvage.fd);
	return error;
}
