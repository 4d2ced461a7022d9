// SPDX-License-Identifier: Apache-2.0
// Lanes: see struct gw_hl7_lane. The live one is always there. Rows of a backlog, beside its own cursor outlet/hl7/<destination>~backlog/cursor:
//
//   outlet/hl7/<destination>/until   u64: the last record that is the backlog's
//   outlet/hl7/<destination>/backlog/<device>   as device/<device> is for the live lane
//
// The destination's thread.
#include "adapters/hl7/destination_impl.h"

#include "gateway/bytes.h"

#include <stdio.h>
#include <stdlib.h>

#define END_OF_TIME (INT64_MAX / 4)

// ---- What the grouper asks ----

static void
owner_of(void *arg, struct gw_span device, int64_t effective_us, int64_t uncertainty_us, struct gw_owner *owner)
{
	const struct gw_hl7_lane *lane = arg;

	gw_patients_owner(lane->d->options.core->patients, device, effective_us, uncertainty_us, owner);
}

static uint64_t
generation_of(void *arg)
{
	const struct gw_hl7_lane *lane = arg;

	return gw_patients_generation(lane->d->options.core->patients);
}

void
gw_hl7_ward_of(void *arg, struct gw_span device, char ward[GW_BED_MAX + 1])
{
	const struct gw_hl7_lane *lane = arg;
	const struct gw_snapshot *snapshot = gw_snapshot_get(lane->d->options.core->registry);
	const struct gw_device *found = gw_snapshot_device(snapshot, device);

	snprintf(ward, GW_BED_MAX + 1, "%s", found != NULL ? found->ward : "");
	gw_snapshot_put(snapshot);
}

static void
save_state(void *arg, const char *device, struct gw_span state)
{
	struct gw_hl7_lane *lane = arg;
	struct gw_ticket *ticket = gw_hl7_making(lane->d);
	enum gw_error error;

	if (ticket != NULL && (error = gw_hl7_outbox_taken(&lane->d->outbox, ticket, lane->table, device, state)) != GW_OK)
		gw_hl7_broken(lane->d, error);
}

// ---- Open, close, begin again ----

enum gw_error
gw_hl7_lane_reload(struct gw_hl7_lane *lane, struct gw_why *why)
{
	struct gw_hl7_destination *d = lane->d;
	const struct gw_hl7_grouper_options options = {
		.settings = d->settings, .closed = gw_hl7_closed, .owner = owner_of, .generation = generation_of, .ward = gw_hl7_ward_of, .save = save_state,
		.arg = lane,
	};
	enum gw_error error;

	gw_hl7_grouper_free(lane->grouper);
	lane->pending = 0;
	if ((lane->grouper = gw_hl7_grouper_new(&options)) == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	if ((error = gw_hl7_outbox_restore(&d->outbox, lane->table, lane->grouper)) != GW_OK)
		return gw_fail(why, error, "HL7 destination %s: its devices' rows: %s", d->settings->name, gw_error_text(error));
	lane->read = gw_follow_cursor(lane->follow);
	gw_follow_seek(lane->follow, lane->read);
	return GW_OK;
}

static enum gw_error
until_of(const struct gw_hl7_destination *d, uint64_t *until)
{
	char key[GW_ID_MAX + 32];
	uint8_t value[8];
	size_t len;
	enum gw_error error;

	snprintf(key, sizeof(key), "%suntil", d->outbox.prefix);
	error = gw_journal_get(d->options.core->journal, gw_span_text(key), value, sizeof(value), &len);
	if (error == GW_OK && len != sizeof(value))
		error = GW_E_CORRUPT;
	if (error == GW_OK)
		*until = gw_get64(value);
	return error;
}

bool
gw_hl7_has_backlog(const struct gw_hl7_destination *d, enum gw_error *error)
{
	uint64_t until;

	*error = until_of(d, &until);
	if (*error == GW_E_NOT_FOUND) {
		*error = GW_OK;
		return false;
	}
	return *error == GW_OK;
}

enum gw_error
gw_hl7_lane_open(struct gw_hl7_destination *d, struct gw_hl7_lane *lane, struct gw_why *why)
{
	const struct gw_follow_options options = {
		.journal = d->options.core->journal,
		.intake = d->options.core->intake,
		.name = lane->name,
		.gap_name = d->live.name,
		.backlog_us_max = d->settings->backlog_us_max,
		.backlog_bytes_max = d->settings->backlog_bytes_max,
	};
	enum gw_error error;

	lane->d = d;
	lane->backlog = lane == &d->backlog;
	lane->table = lane->backlog ? "backlog" : "device";
	lane->until = UINT64_MAX;
	snprintf(lane->name, sizeof(lane->name), "hl7/%s%s", d->settings->name, lane->backlog ? "~backlog" : "");
	if (lane->backlog && (error = until_of(d, &lane->until)) != GW_OK)
		return gw_fail(why, error, "HL7 destination %s: its backlog: %s", d->settings->name, gw_error_text(error));
	return gw_follow_open(&options, &lane->follow, why);
}

void
gw_hl7_lane_close(struct gw_hl7_lane *lane)
{
	gw_hl7_grouper_free(lane->grouper);
	gw_follow_close(lane->follow);
	lane->grouper = NULL;
	lane->follow = NULL;
}

// ---- Splitting and joining ----

struct copy {
	struct gw_hl7_destination *d;
	struct gw_ticket *ticket;
	size_t skip;
	enum gw_error error;
};

static bool
copy_state(void *arg, struct gw_span key, struct gw_span value)
{
	struct copy *copy = arg;
	char device[GW_ID_MAX + 1];
	size_t len = key.len - copy->skip;

	if (key.len <= copy->skip || len > GW_ID_MAX)
		return true;
	memcpy(device, key.at + copy->skip, len);
	device[len] = '\0';
	copy->error = gw_hl7_outbox_taken(&copy->d->outbox, copy->ticket, "backlog", device, value);
	return copy->error == GW_OK;
}

// The live lane's state as it is stored becomes the backlog's; the live cursor goes to the journal's end.
static enum gw_error
put_split(struct gw_hl7_destination *d, struct gw_ticket *ticket, uint64_t until)
{
	struct copy copy = { .d = d, .ticket = ticket };
	char key[GW_ID_MAX + 64];
	uint8_t number[8];
	enum gw_error error;

	copy.skip = (size_t)snprintf(key, sizeof(key), "%sdevice/", d->outbox.prefix);
	if ((error = gw_journal_each(d->options.core->journal, gw_span_text(key), gw_span(NULL, 0), copy_state, &copy)) != GW_OK ||
	    (error = copy.error) != GW_OK)
		return error;
	gw_put64(number, until);
	snprintf(key, sizeof(key), "%suntil", d->outbox.prefix);
	if ((error = gw_ticket_put(ticket, gw_span_text(key), gw_span(number, sizeof(number)))) != GW_OK)
		return error;
	gw_put64(number, d->live.read);
	snprintf(key, sizeof(key), "outlet/hl7/%s~backlog/cursor", d->settings->name);
	if ((error = gw_ticket_put(ticket, gw_span_text(key), gw_span(number, sizeof(number)))) != GW_OK)
		return error;
	return gw_follow_move(d->live.follow, ticket, until);
}

// The cursor counts as moved, and the move was not stored: what lies between would be nobody's.
static void
put_back(struct gw_hl7_destination *d)
{
	struct gw_ticket *ticket = gw_ticket_get(&d->source);

	if (ticket == NULL)
		return;
	ticket->essential = true;
	if (gw_follow_move(d->live.follow, ticket, d->live.read) == GW_OK)
		(void)gw_intake_commit(ticket);
	gw_ticket_release(ticket);
}

enum gw_error
gw_hl7_split(struct gw_hl7_destination *d, struct gw_why *why)
{
	uint64_t until = gw_journal_last(d->options.core->journal);
	struct gw_ticket *ticket;
	enum gw_error error;

	gw_hl7_grouper_tick(d->live.grouper, END_OF_TIME); // nothing that was read is left open
	gw_hl7_commit_made(d);
	if (d->broken)
		return GW_E_BUSY;
	if ((ticket = gw_ticket_get(&d->source)) == NULL)
		return GW_E_BUSY;
	ticket->essential = true;
	if ((error = put_split(d, ticket, until)) == GW_OK && (error = gw_intake_commit(ticket)) != GW_OK)
		put_back(d);
	gw_ticket_release(ticket);
	if (error != GW_OK)
		return gw_fail(why, error, "HL7 destination %s: its backlog: %s", d->settings->name, gw_error_text(error));
	gw_diag(GW_NOTICE, "hl7.backlog", "destination=%s records=%llu: sent beside what comes from now on", d->settings->name,
	    (unsigned long long)(until - d->live.read));
	gw_follow_seek(d->live.follow, until);
	d->live.read = until;
	if ((error = gw_hl7_lane_open(d, &d->backlog, why)) == GW_OK)
		error = gw_hl7_lane_reload(&d->backlog, why);
	return error;
}

enum gw_error
gw_hl7_join(struct gw_hl7_destination *d)
{
	struct gw_ticket *ticket;
	char key[GW_ID_MAX + 64];
	enum gw_error error;

	gw_hl7_grouper_tick(d->backlog.grouper, END_OF_TIME);
	gw_hl7_commit_made(d);
	if (d->broken || (ticket = gw_ticket_get(&d->source)) == NULL)
		return GW_E_BUSY;
	gw_hl7_lane_close(&d->backlog); // it writes its cursor a last time
	ticket->essential = true;
	snprintf(key, sizeof(key), "%suntil", d->outbox.prefix);
	if ((error = gw_ticket_del(ticket, gw_span_text(key))) == GW_OK) {
		snprintf(key, sizeof(key), "%sbacklog/", d->outbox.prefix);
		error = gw_ticket_del_prefix(ticket, gw_span_text(key));
	}
	if (error == GW_OK) {
		snprintf(key, sizeof(key), "outlet/hl7/%s~backlog/", d->settings->name);
		error = gw_ticket_del_prefix(ticket, gw_span_text(key));
	}
	if (error == GW_OK)
		error = gw_intake_commit(ticket);
	gw_ticket_release(ticket);
	if (error == GW_OK)
		gw_diag(GW_NOTICE, "hl7.backlog", "destination=%s: all of it is in messages", d->settings->name);
	return error;
}
