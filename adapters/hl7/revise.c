// SPDX-License-Identifier: Apache-2.0
// Readings that revise earlier ones (same device, instance, signal and time, another value). Where the earlier value is in a message for the same patient the new
// one replaces it: OBX-11 C with the same OBR-3, OBX-3, OBX-4 and time, in a message of its own. Else it is a result as any other. The ledger is asked only for
// groups that have revisions. The destination's thread.
#include "adapters/hl7/destination_impl.h"

#include <stdio.h>
#include <stdlib.h>

#define NEAR_US INT64_C(60000000) // the earlier one's effective time may be by another offset

struct revise {
	struct gw_hl7_lane *lane;
	const struct gw_hl7_group *group;
	bool *sent;                 // items that are in a message by now
	struct gw_hl7_item *items;  // of the message under work
	size_t count;
	uint64_t position;          // what d->record holds; 0: nothing
	struct gw_record record;
	enum gw_error error;
};

bool
gw_hl7_revises(const struct gw_hl7_group *group)
{
	for (size_t i = 0; i < group->count; i++)
		if (group->items[i].reading.revision > 0)
			return true;
	return false;
}

static bool
read_earlier(struct revise *revise, const struct gw_hl7_filed_item *item, struct gw_reading *reading)
{
	struct gw_hl7_destination *d = revise->lane->d;
	struct gw_batch batch;

	if (revise->position != item->position) {
		revise->position = 0;
		if (gw_journal_one(d->options.core->journal, item->position, d->record, GW_RECORD_MAX, &revise->record) != GW_OK)
			return false;
		revise->position = item->position;
	}
	if (gw_batch_open(&revise->record, &batch, NULL) != GW_OK || !gw_span_is(batch.head.device, revise->group->device))
		return false;
	for (uint16_t place = 0; place <= item->place; place++)
		if (!gw_batch_next(&batch, reading))
			return false;
	return !gw_reading_is_erased(reading);
}

static bool
is_near(const struct gw_hl7_filed_item *earlier, const struct gw_hl7_item *item)
{
	return earlier->effective_us > item->effective.us - NEAR_US && earlier->effective_us < item->effective.us + NEAR_US;
}

static bool
replaces(const struct gw_reading *reading, const struct gw_reading *earlier)
{
	return reading->signal == earlier->signal && reading->instance == earlier->instance && reading->time_us == earlier->time_us &&
	    reading->sequence == earlier->sequence && reading->revision > earlier->revision;
}

// The group's item that replaces this one. The message says the time that the earlier one said.
static bool
take_back(struct revise *revise, const struct gw_hl7_filed_item *earlier)
{
	struct gw_reading reading;

	for (size_t i = 0; i < revise->group->count; i++) {
		const struct gw_hl7_item *item = &revise->group->items[i];

		if (item->reading.revision == 0 || !is_near(earlier, item) || !read_earlier(revise, earlier, &reading) || !replaces(&item->reading, &reading))
			continue;
		if (!revise->sent[i]) {
			revise->items[revise->count] = *item;
			revise->items[revise->count].corrected = true;
			revise->items[revise->count++].effective.us = earlier->effective_us;
		}
		return revise->sent[i] = true;
	}
	return false;
}

static bool
is_for(const struct gw_hl7_destination *d, const struct gw_hl7_filed *filed, const struct gw_owner *owner)
{
	struct gw_patients *patients = d->options.core->patients;

	return (filed->state == GW_HL7_FILED_MADE || filed->state == GW_HL7_FILED_SENT) && filed->status != GW_HL7_WRONG_PATIENT &&
	    filed->owner.whose == GW_WHOSE_PATIENT && gw_patients_resolve(patients, filed->owner.patient) == gw_patients_resolve(patients, owner->patient);
}

static enum gw_error
correct(struct revise *revise, const struct gw_hl7_filed *filed)
{
	struct gw_hl7_destination *d = revise->lane->d;
	const struct gw_hl7_message *message = gw_hl7_outbox_find(&d->outbox, filed->control_id);
	struct gw_hl7_group group = *revise->group;

	group.from_us = filed->from_us;
	group.to_us = filed->to_us;
	group.again = filed->again + 1;
	snprintf(group.origin, sizeof(group.origin), "%s", filed->origin);
	group.items = revise->items;
	group.count = revise->count;
	return gw_hl7_make_message(message != NULL && message->backlog ? &d->backlog : revise->lane, &group, GW_HL7_RESULT);
}

// gw_hl7_filed_fn: the values of this row that are replaced no longer count as sent.
static bool
look_at(void *arg, const struct gw_hl7_filed *filed)
{
	struct revise *revise = arg;
	struct gw_hl7_destination *d = revise->lane->d;
	bool any = false;

	if (!is_for(d, filed, &revise->group->owner))
		return true;
	revise->count = 0;
	for (size_t i = 0; i < filed->count; i++) {
		if (!filed->items[i].gone && take_back(revise, &filed->items[i]))
			any = filed->items[i].gone = true;
	}
	if (any)
		revise->error = gw_hl7_filed_put(d->outbox.prefix, d->making, filed);
	if (revise->error == GW_OK && revise->count > 0)
		revise->error = correct(revise, filed);
	return revise->error == GW_OK;
}

static enum gw_error
find_earlier(struct revise *revise)
{
	struct gw_hl7_destination *d = revise->lane->d;
	int64_t from_us = INT64_MAX, to_us = INT64_MIN;
	enum gw_error error;

	for (size_t i = 0; i < revise->group->count; i++) {
		const struct gw_hl7_item *item = &revise->group->items[i];

		if (item->reading.revision == 0)
			continue;
		from_us = item->effective.us < from_us ? item->effective.us : from_us;
		to_us = item->effective.us > to_us ? item->effective.us : to_us;
	}
	error = gw_hl7_filed_each(d->options.core->journal, d->outbox.prefix, gw_span_text(revise->group->device), from_us - NEAR_US, to_us + NEAR_US, look_at,
	    revise);
	return error != GW_OK ? error : revise->error;
}

static enum gw_error
send_rest(struct revise *revise)
{
	struct gw_hl7_group group = *revise->group;

	group.items = revise->items;
	group.count = 0;
	for (size_t i = 0; i < revise->group->count; i++)
		if (!revise->sent[i])
			group.items[group.count++] = revise->group->items[i];
	return group.count > 0 ? gw_hl7_make_message(revise->lane, &group, GW_HL7_RESULT) : GW_OK;
}

enum gw_error
gw_hl7_send(struct gw_hl7_lane *lane, const struct gw_hl7_group *group)
{
	struct revise revise = { .lane = lane, .group = group };
	enum gw_error error = GW_E_MEMORY;

	if (group->owner.whose != GW_WHOSE_PATIENT || !gw_hl7_revises(group))
		return gw_hl7_make_message(lane, group, GW_HL7_RESULT);
	if (gw_hl7_making(lane->d) == NULL)
		return GW_E_BUSY;
	revise.sent = calloc(group->count, sizeof(*revise.sent));
	revise.items = calloc(group->count, sizeof(*revise.items));
	if (revise.sent != NULL && revise.items != NULL && (error = find_earlier(&revise)) == GW_OK)
		error = send_rest(&revise);
	free(revise.sent);
	free(revise.items);
	return error;
}
