// SPDX-License-Identifier: Apache-2.0
// From the journal to the outbox. The destination's thread.
//
// A message, its row in the ledger, and how far its device's readings are taken into messages, are one commit. The cursor may pass a record only when
// every reading of it is in such a message, is held, or was left out on purpose: it stays below the first record of any open group. What is read again
// after a restart is skipped by the devices' rows.
#include "adapters/hl7/containment.h"
#include "adapters/hl7/destination_impl.h"

#include "gateway/clock.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#define MAKE_US 200000       // so long at a time, then messages are sent again
#define TICKET_BYTES 262144
#define LIMIT_US 60000000
#define END_OF_TIME (INT64_MAX / 4)
#define BEHIND_US 60000000   // a destination is far behind when it reads what came in an interval and this ago...
#define BEHIND_RECORDS 200   // ...and so many records have come since

static void
drop_made(struct gw_hl7_destination *d)
{
	while (d->made != NULL) {
		struct gw_hl7_message *next = d->made->next;

		free(d->made);
		d->made = next;
	}
	d->made_last = &d->made;
	d->live.pending = d->backlog.pending = 0;
	if (d->making != NULL)
		gw_ticket_release(d->making);
	d->making = NULL;
}

void
gw_hl7_broken(struct gw_hl7_destination *d, enum gw_error error)
{
	if (error != GW_E_STOPPING)
		gw_diag_limited(&d->broken_limit, 10, GW_ERROR, "hl7.make", "destination=%s: %s; read again from what is stored", d->settings->name,
		    gw_error_text(error));
	d->broken = true;
}

void
gw_hl7_commit_made(struct gw_hl7_destination *d)
{
	enum gw_error error;

	if (d->making != NULL || gw_hl7_removals_left_us(d) <= 0)
		gw_hl7_submit_removals(d); // the writer finds both
	if (d->making == NULL || d->broken)
		return;
	if ((error = gw_intake_commit(d->making)) != GW_OK) {
		gw_hl7_broken(d, error);
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
	d->parted = false;
	drop_made(d);
}

struct gw_ticket *
gw_hl7_making(struct gw_hl7_destination *d)
{
	if (d->broken)
		return NULL;
	if (d->making == NULL) {
		if ((d->making = gw_ticket_get(&d->source)) == NULL)
			gw_hl7_broken(d, GW_E_BUSY);
		else
			d->making->essential = true;
	}
	return d->making;
}

// ---- A group becomes a message, or is held ----

bool
gw_hl7_is_held(const struct gw_hl7_destination *d, const struct gw_owner *owner)
{
	switch (owner->whose) {
	case GW_WHOSE_PATIENT:
		return false;
	case GW_WHOSE_NOBODY:
		return d->settings->unassociated == GW_HL7_HOLD;
	case GW_WHOSE_CONFLICT:
	case GW_WHOSE_UNSURE:
		return true;
	}
	return true;
}

static enum gw_error
encode(struct gw_hl7_destination *d, const struct gw_hl7_group *group, enum gw_hl7_status status, int64_t now_us, struct gw_hl7_ids *ids)
{
	struct gw_core *core = d->options.core;
	const struct gw_snapshot *snapshot = gw_snapshot_get(core->registry);
	uint64_t number = group->owner.whose == GW_WHOSE_PATIENT ? gw_patients_resolve(core->patients, group->owner.patient) : 0;
	struct gw_patient patient;
	const struct gw_hl7_oru oru = {
		.settings = d->settings, .incarnation = gw_journal_incarnation(core->journal), .group = group,
		.device = gw_snapshot_device(snapshot, gw_span_text(group->device)),
		.mds = gw_hl7_mds(gw_profile_by_name(core->profiles, gw_span_text(group->profile))),
		.patient = number != 0 && gw_patients_get(core->patients, number, &patient) ? &patient : NULL,
		.owner = number != 0 ? &group->owner : NULL, .status = status, .now_us = now_us,
	};
	enum gw_error error = gw_hl7_oru_encode(&oru, &d->out, ids);

	gw_snapshot_put(snapshot);
	return error;
}

_Static_assert(sizeof(((struct gw_hl7_filed *)0)->device) == sizeof(((struct gw_hl7_group *)0)->device) &&
    sizeof(((struct gw_hl7_filed *)0)->profile) == sizeof(((struct gw_hl7_group *)0)->profile) &&
    sizeof(((struct gw_hl7_filed *)0)->origin) == sizeof(((struct gw_hl7_group *)0)->origin) &&
    sizeof(((struct gw_hl7_filed *)0)->origin) == sizeof(((struct gw_hl7_ids *)0)->origin) &&
    sizeof(((struct gw_hl7_filed *)0)->control_id) == sizeof(((struct gw_hl7_ids *)0)->control_id) &&
    sizeof(((struct gw_hl7_message *)0)->device) == sizeof(((struct gw_hl7_group *)0)->device), "texts are copied whole");

static int64_t
least_of(const struct gw_hl7_group *group)
{
	int64_t least = INT64_MAX;

	for (size_t i = 0; i < group->count; i++)
		if (group->items[i].effective.us < least)
			least = group->items[i].effective.us;
	return least;
}

static uint32_t
ms_of(int64_t us)
{
	return us >= INT64_C(1000) * UINT32_MAX ? UINT32_MAX : (uint32_t)((us + 999) / 1000);
}

// The group's row. ids: NULL for what is held.
static enum gw_error
file(struct gw_hl7_destination *d, const struct gw_hl7_group *group, enum gw_hl7_status status, const struct gw_hl7_ids *ids, int64_t now_us)
{
	struct gw_hl7_filed filed = {
		.least_us = least_of(group), .state = ids != NULL ? GW_HL7_FILED_MADE : GW_HL7_FILED_HELD, .status = (uint8_t)status,
		.hub_time = group->hub_time, .has_clock = group->has_clock, .sure = group->sure, .owner = group->owner, .made_us = now_us,
		.from_us = group->from_us, .to_us = group->to_us, .opened_us = group->opened_us, .device_us = group->device_us, .hub_us = group->hub_us,
		.epoch = group->epoch, .again = group->again, .count = group->count,
	};
	enum gw_error error;

	if ((filed.items = calloc(group->count, sizeof(*filed.items))) == NULL)
		return GW_E_MEMORY;
	memcpy(filed.device, group->device, sizeof(filed.device));
	memcpy(filed.profile, group->profile, sizeof(filed.profile));
	for (size_t i = 0; i < group->count; i++) {
		const struct gw_hl7_item *item = &group->items[i];

		filed.items[i] = (struct gw_hl7_filed_item){ .position = item->position, .place = (uint16_t)item->index, .effective_us = item->effective.us,
			.uncertainty_ms = ms_of(item->effective.uncertainty_us) };
		filed.waves |= item->reading.type == GW_VALUE_SAMPLES;
		filed.revised |= item->reading.revision > 0;
	}
	if (ids != NULL) {
		memcpy(filed.control_id, ids->control_id, sizeof(filed.control_id));
		memcpy(filed.origin, ids->origin, sizeof(filed.origin));
	} else {
		gw_hl7_held_id(&filed.items[0], filed.control_id);
		memcpy(filed.origin, group->origin, sizeof(filed.origin));
	}
	error = gw_hl7_filed_put(d->outbox.prefix, d->making, &filed);
	free(filed.items);
	return error;
}

enum gw_error
gw_hl7_make_message(struct gw_hl7_lane *lane, const struct gw_hl7_group *group, enum gw_hl7_status status)
{
	struct gw_hl7_destination *d = lane->d;
	int64_t now_us = gw_clock_wall_us();
	struct gw_hl7_message *message;
	struct gw_hl7_ids ids;
	enum gw_error error = encode(d, group, status, now_us, &ids);

	if (error != GW_OK)
		return error;
	if (gw_hl7_making(d) == NULL)
		return GW_E_BUSY;
	if ((message = gw_hl7_outbox_make(&d->outbox, ids.control_id, gw_span(d->out.at, d->out.len), now_us)) == NULL)
		return GW_E_MEMORY;
	memcpy(message->device, group->device, sizeof(message->device));
	message->least_us = least_of(group);
	message->backlog = lane->backlog;
	if (d->number_free != 0) {
		message->number = d->number_free;
		d->number_free = 0;
	}
	*d->made_last = message;
	d->made_last = &message->next;
	lane->pending++;
	error = gw_hl7_outbox_put(&d->outbox, d->making, message);
	return error == GW_OK ? file(d, group, status, &ids, now_us) : error;
}

// A gap in what will be sent is recorded: too much is held.
static enum gw_error
leave_out(struct gw_hl7_destination *d, const struct gw_hl7_group *group)
{
	char text[200];
	const struct gw_event event = {
		.received_us = gw_clock_wall_us(), .door = GW_DOOR_HL7, .code = GW_EVENT_GAP, .device = gw_span_text(group->device),
		.route = gw_span_text(d->live.name), .text = gw_span_text(text),
	};

	snprintf(text, sizeof(text), "%zu readings left out: nobody is associated, and as much is held for this destination as may be (held_max)", group->count);
	gw_diag_limited(&d->record_limit, 10, GW_WARNING, "hl7.held", "destination=%s device=%s: %s", d->settings->name, group->device, text);
	return gw_ticket_event(d->making, GW_RECORD_DEVICE_EVENT, &event);
}

enum gw_error
gw_hl7_hold(struct gw_hl7_destination *d, const struct gw_hl7_group *group)
{
	enum gw_error error;

	if (gw_hl7_making(d) == NULL)
		return GW_E_BUSY;
	if (d->held >= d->settings->held_max)
		return leave_out(d, group);
	if ((error = file(d, group, GW_HL7_RESULT, NULL, gw_clock_wall_us())) == GW_OK)
		gw_hl7_holding_count(d, group->device, !group->sure || group->owner.whose == GW_WHOSE_UNSURE, 1);
	return error;
}

static enum gw_error
make(struct gw_hl7_lane *lane, const struct gw_hl7_group *group)
{
	struct gw_hl7_destination *d = lane->d;
	enum gw_error error;

	if (!d->parted && gw_hl7_revises(group)) { // what it revises must be stored
		gw_hl7_commit_made(d);
		gw_hl7_reap_removals(d, true);
		if (d->broken)
			return GW_OK;
	}
	d->parted = group->more;
	error = gw_hl7_is_held(d, &group->owner) ? gw_hl7_hold(d, group) : gw_hl7_send(lane, group);
	if (error == GW_OK)
		error = gw_hl7_outbox_taken(&d->outbox, d->making, lane->table, group->device, group->state);
	if (error == GW_OK && d->making->ops_len > TICKET_BYTES && !group->more)
		gw_hl7_commit_made(d);
	return error;
}

void
gw_hl7_closed(void *arg, const struct gw_hl7_group *group)
{
	struct gw_hl7_lane *lane = arg;
	enum gw_error error;

	if (!lane->d->broken && (error = make(lane, group)) != GW_OK)
		gw_hl7_broken(lane->d, error);
}

// ---- Reading ----

static void
damaged(struct gw_hl7_destination *d, const struct gw_record *record, const struct gw_why *why)
{
	gw_diag_limited(&d->record_limit, 10, GW_ERROR, "hl7.record", "destination=%s position=%llu: %s", d->settings->name,
	    (unsigned long long)record->position, why->text);
}

static void
take(struct gw_hl7_lane *lane, const struct gw_record *record)
{
	struct gw_hl7_destination *d = lane->d;
	struct gw_association_change change;
	struct gw_why why = { "" };
	enum gw_error error = GW_OK;

	gw_hl7_grouper_tick(lane->grouper, record->received_us);
	if (record->type == GW_RECORD_READINGS)
		error = gw_hl7_grouper_take(lane->grouper, record, &why);
	else if (record->type == GW_RECORD_ASSOCIATION && (error = gw_association_open(record, &change, &why)) == GW_OK)
		error = gw_hl7_changed(d, &change);
	if (error == GW_E_CORRUPT || error == GW_E_VERSION)
		damaged(d, record, &why);
	else if (error != GW_OK)
		gw_hl7_broken(d, error);
	lane->read = record->position;
}

// The outbox is full: readings wait in the journal, up to the limits. Open groups are closed with what they have when there is a gap.
static void
wait_for_room(struct gw_hl7_lane *lane, int wait_ms)
{
	struct gw_hl7_destination *d = lane->d;
	int64_t now = gw_clock_mono_us();
	uint64_t left_out;

	if (now - lane->limit_us >= LIMIT_US) {
		lane->limit_us = now;
		if ((left_out = gw_follow_limit(lane->follow)) != 0) {
			gw_hl7_grouper_tick(lane->grouper, END_OF_TIME);
			lane->read = left_out;
			d->look_at_all = true;
			pthread_mutex_lock(&d->lock);
			d->gaps++;
			d->gap_us = gw_clock_wall_us();
			pthread_mutex_unlock(&d->lock);
		}
	}
	gw_follow_tend(lane->follow);
	if (wait_ms > 0)
		poll(&(struct pollfd){ .fd = d->stop_fd, .events = POLLIN }, 1, wait_ms);
}

static bool
is_full(struct gw_hl7_lane *lane)
{
	const struct gw_hl7_destination *d = lane->d;
	uint64_t count = lane->backlog ? d->outbox.of_backlog : d->outbox.count - d->outbox.of_backlog;

	if (count + lane->pending >= d->settings->outbox_max)
		lane->full = true;
	else if (count + lane->pending <= d->settings->outbox_max / 2)
		lane->full = false;
	return lane->full;
}

// The live lane has come upon what is old.
static bool
is_behind(const struct gw_hl7_lane *lane, const struct gw_record *record)
{
	const struct gw_hl7_destination *d = lane->d;

	return !lane->backlog && d->backlog.follow == NULL && gw_clock_wall_us() - record->received_us > d->settings->interval_us + BEHIND_US &&
	    gw_journal_last(d->options.core->journal) - record->position > BEHIND_RECORDS;
}

static void
read_records(struct gw_hl7_lane *lane, int wait_ms)
{
	struct gw_hl7_destination *d = lane->d;
	int64_t until = gw_clock_mono_us() + MAKE_US + wait_ms * 1000LL;
	struct gw_record record;
	struct gw_why why = { "" };

	while (!d->broken && !d->stopping && lane->read < lane->until) {
		if (is_full(lane)) {
			wait_for_room(lane, wait_ms);
			return;
		}
		if (!gw_follow_next(lane->follow, wait_ms, &record)) {
			gw_hl7_grouper_tick(lane->grouper, gw_clock_wall_us()); // the journal's end
			return;
		}
		if (record.position > lane->until) {
			lane->read = lane->until;
			return;
		}
		if (is_behind(lane, &record)) {
			if (gw_hl7_split(d, &why) != GW_OK)
				gw_hl7_broken(d, GW_E_BUSY);
			return;
		}
		wait_ms = 0;
		take(lane, &record);
		if (gw_clock_mono_us() >= until)
			return;
	}
}

static void
move_cursor(struct gw_hl7_lane *lane)
{
	uint64_t least = gw_hl7_grouper_least(lane->grouper);

	gw_follow_done(lane->follow, least != 0 && least <= lane->read ? least - 1 : lane->read);
}

static void
count_groups(struct gw_hl7_destination *d)
{
	uint64_t unsure = 0;

	for (size_t i = 0; i < d->holding_count; i++)
		unsure += d->holding[i].unsure;
	pthread_mutex_lock(&d->lock);
	d->grouped = *gw_hl7_grouper_stats(d->live.grouper);
	d->open = gw_hl7_grouper_open(d->live.grouper) + (d->backlog.follow != NULL ? gw_hl7_grouper_open(d->backlog.grouper) : 0);
	d->held_now = d->held;
	d->held_unsure = unsure;
	d->backlog_records = d->backlog.follow != NULL && d->backlog.until > d->backlog.read ? d->backlog.until - d->backlog.read : 0;
	pthread_mutex_unlock(&d->lock);
}

void
gw_hl7_make(struct gw_hl7_destination *d, int wait_ms)
{
	bool backlog = d->backlog.follow != NULL;
	struct gw_why why;
	enum gw_error error;

	read_records(&d->live, backlog && !is_full(&d->backlog) ? 0 : wait_ms);
	if (d->backlog.follow != NULL)
		read_records(&d->backlog, 0);
	gw_hl7_commit_made(d);
	gw_hl7_tend(d);
	if (!d->broken && d->backlog.follow != NULL && d->backlog.read >= d->backlog.until && (error = gw_hl7_join(d)) != GW_OK)
		gw_hl7_broken(d, error);
	if (d->broken) {
		poll(&(struct pollfd){ .fd = d->stop_fd, .events = POLLIN }, 1, 1000);
		if (!d->stopping && gw_hl7_reload(d, &why) != GW_OK)
			gw_diag_limited(&d->broken_limit, 10, GW_ERROR, "hl7.make", "%s", why.text);
		return;
	}
	move_cursor(&d->live);
	if (d->backlog.follow != NULL)
		move_cursor(&d->backlog);
	count_groups(d);
}

enum gw_error
gw_hl7_reload(struct gw_hl7_destination *d, struct gw_why *why)
{
	enum gw_error error;
	bool backlog;

	d->broken = true;
	d->parted = false;
	d->number_free = 0;
	d->backlog.d = d;
	d->backlog.backlog = true;
	drop_made(d);
	gw_hl7_reap_removals(d, true);
	if ((error = gw_hl7_outbox_load(&d->outbox, why)) != GW_OK || (error = gw_hl7_lane_reload(&d->live, why)) != GW_OK)
		return error;
	backlog = gw_hl7_has_backlog(d, &error);
	if (error != GW_OK)
		return gw_fail(why, error, "HL7 destination %s: its backlog: %s", d->settings->name, gw_error_text(error));
	if (!backlog)
		gw_hl7_lane_close(&d->backlog);
	else if (d->backlog.follow == NULL && (error = gw_hl7_lane_open(d, &d->backlog, why)) != GW_OK)
		return error;
	if (backlog && (error = gw_hl7_lane_reload(&d->backlog, why)) != GW_OK)
		return error;
	if ((error = gw_hl7_holding_load(d)) != GW_OK)
		return gw_fail(why, error, "HL7 destination %s: its ledger: %s", d->settings->name, gw_error_text(error));
	d->broken = false;
	return GW_OK;
}
