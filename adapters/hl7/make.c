// SPDX-License-Identifier: Apache-2.0
// From the journal to the outbox. The destination's thread.
//
// A message, and how far its device's readings are taken into messages, are one commit. The cursor may pass a record only when every reading of it is in
// such a message or was left out on purpose: it stays below the first record of any open group. What is read again after a restart is skipped by
// the devices' rows.
#include "adapters/hl7/containment.h"
#include "adapters/hl7/destination_impl.h"

#include "gateway/clock.h"
#include "gateway/hash.h"

#include <poll.h>
#include <stdlib.h>

#define MAKE_US 200000       // so long at a time, then messages are sent again
#define TICKET_BYTES 262144
#define LIMIT_US 60000000
#define END_OF_TIME (INT64_MAX / 4)

static void
drop_made(struct gw_hl7_destination *d)
{
	while (d->made != NULL) {
		struct gw_hl7_message *next = d->made->next;

		free(d->made);
		d->made = next;
	}
	d->made_last = &d->made;
	d->pending = 0;
	if (d->making != NULL)
		gw_ticket_release(d->making);
	d->making = NULL;
}

static void
broken(struct gw_hl7_destination *d, enum gw_error error)
{
	if (error != GW_E_STOPPING)
		gw_diag_limited(&d->broken_limit, 10, GW_ERROR, "hl7.make", "destination=%s: %s; read again from what is stored", d->settings->name,
		    gw_error_text(error));
	d->broken = true;
}

// Commits the messages made so far; then they are in the outbox.
static void
commit_made(struct gw_hl7_destination *d)
{
	enum gw_error error;

	if (d->making == NULL || d->broken)
		return;
	if ((error = gw_intake_commit(d->making)) != GW_OK) {
		broken(d, error);
		return;
	}
	for (struct gw_hl7_message *message = d->made, *next; message != NULL; message = next) {
		next = message->next;
		gw_hl7_outbox_append(&d->outbox, message);
		pthread_mutex_lock(&d->lock);
		d->made_count++;
		pthread_mutex_unlock(&d->lock);
	}
	d->made = NULL;
	drop_made(d);
}

static enum gw_error
encode(struct gw_hl7_destination *d, const struct gw_hl7_group *group, char control_id[GW_HL7_ID_LEN + 1], int64_t now_us)
{
	struct gw_core *core = d->options.core;
	const struct gw_snapshot *snapshot = gw_snapshot_get(core->registry);
	const struct gw_device *device = gw_snapshot_device(snapshot, gw_span_text(group->device));
	uint32_t mds = gw_hl7_mds(gw_profile_by_name(core->profiles, gw_span_text(group->profile)));
	const struct gw_hl7_oru oru = { .settings = d->settings, .incarnation = gw_journal_incarnation(core->journal), .group = group, .device = device,
		.mds = mds, .now_us = now_us };
	struct gw_hl7_ids ids;
	enum gw_error error = gw_hl7_oru_encode(&oru, &d->out, &ids);

	memcpy(control_id, ids.control_id, sizeof(ids.control_id));
	gw_snapshot_put(snapshot);
	return error;
}

static enum gw_error
make(struct gw_hl7_destination *d, const struct gw_hl7_group *group)
{
	int64_t now_us = gw_clock_wall_us();
	char control_id[GW_HL7_ID_LEN + 1];
	struct gw_hl7_message *message;
	enum gw_error error = encode(d, group, control_id, now_us);

	if (error != GW_OK)
		return error;
	if (d->making == NULL && (d->making = gw_ticket_get(&d->source)) == NULL)
		return GW_E_BUSY;
	d->making->essential = true;
	if ((message = gw_hl7_outbox_make(&d->outbox, control_id, gw_span(d->out.at, d->out.len), now_us)) == NULL)
		return GW_E_MEMORY;
	message->device = gw_hash_bytes(0, gw_span_text(group->device));
	message->received_us = group->opened_us;
	*d->made_last = message;
	d->made_last = &message->next;
	d->pending++;
	if ((error = gw_hl7_outbox_put(&d->outbox, d->making, message)) != GW_OK ||
	    (error = gw_hl7_outbox_taken(&d->outbox, d->making, group->device, group->state)) != GW_OK)
		return error;
	if (d->making->ops_len > TICKET_BYTES && !group->more)
		commit_made(d);
	return GW_OK;
}

void
gw_hl7_closed(void *arg, const struct gw_hl7_group *group)
{
	struct gw_hl7_destination *d = arg;
	enum gw_error error;

	if (!d->broken && (error = make(d, group)) != GW_OK)
		broken(d, error);
}

static void
take(struct gw_hl7_destination *d, const struct gw_record *record)
{
	struct gw_why why = { "" };
	enum gw_error error;

	gw_hl7_grouper_tick(d->grouper, record->received_us);
	if (record->type == GW_RECORD_READINGS) {
		error = gw_hl7_grouper_take(d->grouper, record, &why);
		if (error == GW_E_MEMORY)
			broken(d, error);
		else if (error != GW_OK)
			gw_diag_limited(&d->record_limit, 10, GW_ERROR, "hl7.record", "destination=%s position=%llu: %s", d->settings->name,
			    (unsigned long long)record->position, why.text);
	}
	d->read = record->position;
}

// The outbox is full: readings wait in the journal, up to the limits. Open groups are closed with what they have when there is a gap.
static void
wait_for_room(struct gw_hl7_destination *d, int wait_ms)
{
	int64_t now = gw_clock_mono_us();
	uint64_t left_out;

	if (now - d->limit_us >= LIMIT_US) {
		d->limit_us = now;
		if ((left_out = gw_follow_limit(d->follow)) != 0) {
			gw_hl7_grouper_tick(d->grouper, END_OF_TIME);
			d->read = left_out;
			pthread_mutex_lock(&d->lock);
			d->gaps++;
			d->gap_us = gw_clock_wall_us();
			pthread_mutex_unlock(&d->lock);
		}
	}
	gw_follow_tend(d->follow);
	if (wait_ms > 0)
		poll(&(struct pollfd){ .fd = d->stop_fd, .events = POLLIN }, 1, wait_ms);
}

static void
read_records(struct gw_hl7_destination *d, int wait_ms)
{
	int64_t until = gw_clock_mono_us() + MAKE_US + wait_ms * 1000LL;
	struct gw_record record;

	while (!d->broken && !d->stopping) {
		if (d->outbox.count + d->pending >= d->settings->outbox_max) {
			wait_for_room(d, wait_ms);
			return;
		}
		if (!gw_follow_next(d->follow, wait_ms, &record)) {
			gw_hl7_grouper_tick(d->grouper, gw_clock_wall_us()); // the journal's end
			return;
		}
		wait_ms = 0;
		take(d, &record);
		if (gw_clock_mono_us() >= until)
			return;
	}
}

void
gw_hl7_make(struct gw_hl7_destination *d, int wait_ms)
{
	uint64_t least;
	struct gw_why why;

	read_records(d, wait_ms);
	commit_made(d);
	if (d->broken) {
		poll(&(struct pollfd){ .fd = d->stop_fd, .events = POLLIN }, 1, 1000);
		if (!d->stopping && gw_hl7_reload(d, &why) != GW_OK)
			gw_diag_limited(&d->broken_limit, 10, GW_ERROR, "hl7.make", "%s", why.text);
		return;
	}
	least = gw_hl7_grouper_least(d->grouper);
	gw_follow_done(d->follow, least != 0 ? least - 1 : d->read);
	pthread_mutex_lock(&d->lock);
	d->grouped = *gw_hl7_grouper_stats(d->grouper);
	d->open = gw_hl7_grouper_open(d->grouper);
	pthread_mutex_unlock(&d->lock);
}

enum gw_error
gw_hl7_reload(struct gw_hl7_destination *d, struct gw_why *why)
{
	const struct gw_hl7_grouper_options options = {
		.settings = d->settings,
		.closed = gw_hl7_closed,
		.arg = d,
	};
	enum gw_error error;

	d->broken = true;
	drop_made(d);
	gw_hl7_grouper_free(d->grouper);
	gw_hl7_reap_removals(d, true);
	if ((d->grouper = gw_hl7_grouper_new(&options)) == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	if ((error = gw_hl7_outbox_load(&d->outbox, why)) != GW_OK)
		return error;
	if ((error = gw_hl7_outbox_restore(&d->outbox, d->grouper)) != GW_OK)
		return gw_fail(why, error, "HL7 destination %s: its devices' rows: %s", d->settings->name, gw_error_text(error));
	d->read = gw_follow_cursor(d->follow);
	gw_follow_seek(d->follow, d->read);
	d->broken = false;
	return GW_OK;
}
