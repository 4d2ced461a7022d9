// SPDX-License-Identifier: Apache-2.0
// One row of the ledger, when it may have turned out whose its readings are (design, promise 5): what is held goes out; what lies in the outbox or is parked is
// withdrawn and made anew, for nobody has it yet; what went out for another patient is told to people or corrected.
// The row says what was done with which readings; the readings themselves are read from the journal again, and their messages are made as the first ones were,
// so that OBR-3, OBX-3, OBX-4 and times are the same. All that follows of one row is in one commit. The destination's thread.
#include "adapters/hl7/destination_impl.h"

#include "gateway/clock.h"

#include <stdio.h>
#include <stdlib.h>

// One row under work.
struct work {
	struct gw_hl7_destination *d;
	struct gw_hl7_lane *lane;         // where what follows is sent: behind what it corrects
	const struct gw_hl7_filed *filed;
	struct gw_effective *effective;   // of each reading, as it is known now
	struct gw_owner *owners;          // and whose it is
	bool *changed;
	bool withdrawn;                   // its message will not be sent
	uint64_t record_position;         // what d->record holds; 0: nothing
	struct gw_record record;
	size_t lost;                      // readings that are no longer in the journal
};

// ---- Readings again ----

static bool
find_record(struct work *work, uint64_t position)
{
	if (work->record_position == position)
		return true;
	work->record_position = 0;
	if (gw_journal_one(work->d->options.core->journal, position, work->d->record, GW_RECORD_MAX, &work->record) != GW_OK)
		return false;
	work->record_position = position;
	return true;
}

// The row's i-th reading. False: it is no longer there.
static bool
find_reading(struct work *work, size_t i, struct gw_batch *batch, struct gw_reading *reading)
{
	const struct gw_hl7_filed_item *item = &work->filed->items[i];

	if (!find_record(work, item->position) || gw_batch_open(&work->record, batch, NULL) != GW_OK ||
	    !gw_span_is(batch->head.device, work->filed->device))
		return false;
	for (uint16_t place = 0; place <= item->place; place++)
		if (!gw_batch_next(batch, reading))
			return false;
	return !gw_reading_is_erased(reading);
}

static bool
is_held(const struct gw_hl7_filed *filed)
{
	return filed->state == GW_HL7_FILED_HELD;
}

// When it was: what was held because the device's clock was not known yet may be known by now.
static void
look_at_clock(struct work *work, size_t i, const struct gw_batch *batch, const struct gw_reading *reading)
{
	if (is_held(work->filed) && gw_hl7_filed_unsure(work->filed))
		(void)gw_hl7_grouper_resolve(work->d->live.grouper, gw_span_text(work->filed->device), batch->head.received_us, reading->time_us,
		    &work->effective[i]);
}

// Whose it is: waveforms are whose their whole span is, as the grouper has it.
static void
find_owner(struct work *work, size_t i)
{
	const struct gw_hl7_filed *filed = work->filed;
	int64_t half_us = 0;
	struct gw_batch batch;
	struct gw_reading reading;

	work->effective[i] = (struct gw_effective){ .us = filed->items[i].effective_us, .uncertainty_us = filed->items[i].uncertainty_ms * INT64_C(1000),
		.epoch = filed->epoch, .by_device = !filed->hub_time, .sure = filed->sure };
	if ((filed->waves || (is_held(filed) && gw_hl7_filed_unsure(filed))) && find_reading(work, i, &batch, &reading)) {
		look_at_clock(work, i, &batch, &reading);
		half_us = gw_hl7_span_us(&reading) / 2;
	}
	gw_patients_owner(work->d->options.core->patients, gw_span_text(filed->device), work->effective[i].us + half_us,
	    work->effective[i].uncertainty_us + half_us, &work->owners[i]);
}

static bool
same_patient(const struct gw_hl7_destination *d, const struct gw_owner *a, const struct gw_owner *b)
{
	struct gw_patients *patients = d->options.core->patients;

	return a->whose == GW_WHOSE_PATIENT && b->whose == GW_WHOSE_PATIENT &&
	    gw_patients_resolve(patients, a->patient) == gw_patients_resolve(patients, b->patient);
}

// Nobody has it yet: it can be withdrawn.
static bool
is_unsent(const struct work *work)
{
	const struct gw_hl7_message *message;

	if (work->filed->state != GW_HL7_FILED_MADE)
		return work->filed->state == GW_HL7_FILED_PARKED;
	message = gw_hl7_outbox_find(&work->d->outbox, work->filed->control_id);
	return message != NULL && !message->tried;
}

// What is held changes when it may go; what was made for a patient when it is no longer surely his. A contradiction that came up later holds what nobody has
// yet; of what went out it changes nothing until it is resolved.
static bool
has_changed(const struct work *work, const struct gw_owner *now)
{
	const struct gw_hl7_filed *filed = work->filed;

	if (is_held(filed))
		return !gw_hl7_is_held(work->d, now);
	if (now->whose == GW_WHOSE_CONFLICT)
		return is_unsent(work);
	if (filed->owner.whose != GW_WHOSE_PATIENT)
		return now->whose == GW_WHOSE_PATIENT;
	return !same_patient(work->d, &filed->owner, now);
}

// A device that was taken out of the registry stands nowhere any more: its readings are not nobody's by that.
static bool
is_registered(const struct work *work)
{
	const struct gw_snapshot *snapshot = gw_snapshot_get(work->d->options.core->registry);
	bool found = gw_snapshot_device(snapshot, gw_span_text(work->filed->device)) != NULL;

	gw_snapshot_put(snapshot);
	return found;
}

static size_t
find_changes(struct work *work)
{
	const struct gw_hl7_filed *filed = work->filed;
	bool registered = is_registered(work);
	size_t count = 0;

	for (size_t i = 0; i < filed->count; i++) {
		if (filed->items[i].gone)
			continue;
		find_owner(work, i);
		// Of what is as old as that associations are forgotten: nobody's only by that.
		if (!is_held(filed) && work->effective[i].us - work->effective[i].uncertainty_us < work->d->forgotten_us)
			continue;
		if (!is_held(filed) && !registered && work->owners[i].whose == GW_WHOSE_NOBODY)
			continue;
		work->changed[i] = has_changed(work, &work->owners[i]);
		count += work->changed[i];
	}
	return count;
}

// ---- Groups again ----

static bool
has_moved(const struct work *work, size_t i)
{
	return work->effective[i].us != work->filed->items[i].effective_us;
}

static enum gw_error
add_item(struct work *work, struct gw_hl7_group *group, size_t i)
{
	const struct gw_hl7_filed_item *from = &work->filed->items[i];
	struct gw_hl7_item *item;
	enum gw_error error = GW_E_NOT_FOUND;

	if (find_record(work, from->position))
		error = gw_hl7_group_add(group, work->d->settings, &work->record, from->place, work->effective[i].us);
	if (error == GW_E_NOT_FOUND || error == GW_E_CORRUPT) {
		work->lost++;
		return GW_OK;
	}
	if (error != GW_OK) // of a simulated device, from when the destination was a test system: it goes nowhere now
		return error == GW_E_FORBIDDEN ? GW_OK : error;
	item = &group->items[group->count - 1];
	item->effective = work->effective[i];
	item->effective.offset_us = item->effective.us - item->reading.time_us;
	item->moment = item->position;
	if (has_moved(work, i) && (!group->has_clock || group->device_us < item->reading.time_us)) {
		group->has_clock = item->effective.by_device;
		group->device_us = item->reading.time_us;
		group->hub_us = item->effective.us;
	}
	return GW_OK;
}

static void
begin_group(const struct gw_hl7_filed *filed, struct gw_hl7_group *group)
{
	*group = (struct gw_hl7_group){ .from_us = filed->from_us, .to_us = filed->to_us, .hub_time = filed->hub_time, .sure = filed->sure, .epoch = filed->epoch,
		.owner = filed->owner, .opened_us = filed->opened_us, .has_clock = filed->has_clock, .device_us = filed->device_us, .hub_us = filed->hub_us,
		.again = filed->again };
	snprintf(group->device, sizeof(group->device), "%s", filed->device);
	snprintf(group->profile, sizeof(group->profile), "%s", filed->profile);
	snprintf(group->origin, sizeof(group->origin), "%s", filed->origin);
}

// The interval of a reading whose time is another than was thought.
static void
move_group(const struct work *work, size_t i, struct gw_hl7_group *group)
{
	int64_t length_us = group->to_us - group->from_us, us = work->effective[i].us, rest;

	group->sure = work->effective[i].sure;
	group->epoch = work->effective[i].epoch;
	if (!has_moved(work, i))
		return;
	rest = length_us > 0 ? us % length_us : 0;
	group->from_us = us - rest - (rest < 0 ? length_us : 0);
	group->to_us = group->from_us + length_us;
	group->has_clock = false;
}

// Whether a reading goes with the first one: to the same owner, and where its time is another now, with those of the same interval.
static bool
goes_with(const struct work *work, size_t first, size_t i, const struct gw_hl7_group *group)
{
	int64_t us = work->effective[i].us;

	if (!work->changed[i] || !gw_hl7_same_owner(&work->owners[i], &group->owner) || work->effective[i].sure != group->sure ||
	    work->effective[i].epoch != group->epoch || has_moved(work, i) != has_moved(work, first))
		return false;
	return !has_moved(work, i) || group->to_us == group->from_us || (us >= group->from_us && us < group->to_us);
}

// ---- What follows ----

static void
count(struct gw_hl7_destination *d, uint64_t *what)
{
	pthread_mutex_lock(&d->lock);
	(*what)++;
	pthread_mutex_unlock(&d->lock);
}

// To the patient for whom they went out: they were not his.
static enum gw_error
take_back(struct work *work)
{
	struct gw_hl7_group group;
	enum gw_error error = GW_OK;

	begin_group(work->filed, &group);
	for (size_t i = 0; error == GW_OK && i < work->filed->count; i++)
		if (work->changed[i])
			error = add_item(work, &group, i);
	if (error == GW_OK && group.count > 0) {
		error = gw_hl7_make_message(work->lane, &group, GW_HL7_WRONG_PATIENT);
		count(work->d, &work->d->corrections);
	}
	gw_hl7_group_fini(&group);
	return error;
}

// The changed readings of one owner, the first of which is the i-th: out, or held.
static enum gw_error
give_to(struct work *work, size_t first, bool *given)
{
	struct gw_hl7_group group;
	struct gw_hl7_destination *d = work->d;
	enum gw_error error = GW_OK;

	begin_group(work->filed, &group);
	group.owner = work->owners[first];
	group.again += !is_held(work->filed) && !work->withdrawn;
	move_group(work, first, &group);
	for (size_t i = first; error == GW_OK && i < work->filed->count; i++) {
		if (given[i] || !goes_with(work, first, i, &group))
			continue;
		given[i] = true;
		error = add_item(work, &group, i);
	}
	if (error == GW_OK && group.count > 0 && gw_hl7_ward_wanted(d->settings, gw_span_text(group.device), group.owner.bed, gw_hl7_ward_of, work->lane))
		error = gw_hl7_is_held(d, &group.owner) ? gw_hl7_hold(d, &group) : gw_hl7_send(work->lane, &group);
	gw_hl7_group_fini(&group);
	return error;
}

static enum gw_error
give_all(struct work *work)
{
	bool *given = calloc(work->filed->count, sizeof(*given));
	enum gw_error error = given != NULL ? GW_OK : GW_E_MEMORY;

	for (size_t i = 0; error == GW_OK && i < work->filed->count; i++)
		if (work->changed[i] && !given[i])
			error = give_to(work, i, given);
	free(given);
	return error;
}

static enum gw_error
drop_row(struct work *work)
{
	const struct gw_hl7_filed *filed = work->filed;

	return gw_hl7_filed_del(work->d->outbox.prefix, work->d->making, filed->device, filed->least_us, filed->control_id);
}

// What is held stays held but for what goes. A held row is named by its first reading, which no other row has.
static enum gw_error
keep_held(struct work *work, struct gw_hl7_filed *rest)
{
	const struct gw_hl7_filed *filed = work->filed;
	enum gw_error error = drop_row(work);

	rest->count = 0;
	rest->least_us = INT64_MAX;
	for (size_t i = 0; i < filed->count; i++) {
		if (work->changed[i])
			continue;
		rest->least_us = filed->items[i].effective_us < rest->least_us ? filed->items[i].effective_us : rest->least_us;
		rest->items[rest->count++] = filed->items[i];
	}
	if (rest->count == 0)
		gw_hl7_holding_count(work->d, filed->device, gw_hl7_filed_unsure(filed), -1);
	if (error != GW_OK || rest->count == 0)
		return error;
	gw_hl7_held_id(&rest->items[0], rest->control_id);
	return gw_hl7_filed_put(work->d->outbox.prefix, work->d->making, rest);
}

// The row goes on saying what was sent; what is corrected is not looked at again.
static enum gw_error
keep_sent(struct work *work, struct gw_hl7_filed *rest)
{
	bool left = false;

	for (size_t i = 0; i < rest->count; i++) {
		rest->items[i] = work->filed->items[i];
		rest->items[i].gone |= work->changed[i];
		left |= !rest->items[i].gone;
	}
	if (!left)
		rest->state = GW_HL7_FILED_CORRECTED;
	return gw_hl7_filed_put(work->d->outbox.prefix, work->d->making, rest);
}

static enum gw_error
keep_rest(struct work *work)
{
	struct gw_hl7_filed rest = *work->filed;
	enum gw_error error;

	if (work->withdrawn)
		return drop_row(work);
	if ((rest.items = calloc(rest.count, sizeof(*rest.items))) == NULL)
		return GW_E_MEMORY;
	error = is_held(work->filed) ? keep_held(work, &rest) : keep_sent(work, &rest);
	free(rest.items);
	return error;
}

// ---- Nobody has it yet ----

struct wanted {
	const char *control_id;
	uint64_t number;
};

static bool
find_parked(void *arg, const struct gw_hl7_parked *parked)
{
	struct wanted *wanted = arg;

	if (gw_span_is(parked->control_id, wanted->control_id))
		wanted->number = parked->number;
	return wanted->number == 0;
}

static enum gw_error
withdraw_parked(struct work *work)
{
	struct wanted wanted = { .control_id = work->filed->control_id };
	struct gw_hl7_outbox *outbox = &work->d->outbox;
	enum gw_error error = gw_hl7_outbox_parked(outbox, find_parked, &wanted);

	if (error != GW_OK || wanted.number == 0)
		return error;
	if ((error = gw_hl7_outbox_drop(outbox, work->d->making, wanted.number)) == GW_OK) {
		outbox->parked--;
		work->withdrawn = true;
	}
	return error;
}

// What follows takes the number of what is withdrawn: it goes when that would have gone. One that may have been sent stays, and what follows comes behind it.
static enum gw_error
withdraw_made(struct work *work)
{
	struct gw_hl7_outbox *outbox = &work->d->outbox;
	struct gw_hl7_message *message = gw_hl7_outbox_find(outbox, work->filed->control_id);
	enum gw_error error;

	if (message == NULL)
		return GW_OK;
	if (message->backlog)
		work->lane = &work->d->backlog;
	if (message->tried)
		return GW_OK;
	if ((error = gw_hl7_outbox_del(outbox, work->d->making, message)) != GW_OK)
		return error;
	work->d->number_free = message->number;
	gw_hl7_outbox_unlist(outbox, message);
	work->withdrawn = true;
	return GW_OK;
}

static enum gw_error
withdraw(struct work *work)
{
	enum gw_error error = GW_OK;

	if (work->filed->state == GW_HL7_FILED_PARKED)
		error = withdraw_parked(work);
	else if (work->filed->state == GW_HL7_FILED_MADE)
		error = withdraw_made(work);
	for (size_t i = 0; work->withdrawn && i < work->filed->count; i++) {
		if (work->changed[i] || work->filed->items[i].gone)
			continue;
		work->owners[i] = work->filed->owner;
		work->changed[i] = true;
	}
	return error;
}

// ---- For people ----

static enum gw_error
record(struct gw_hl7_destination *d, const struct gw_hl7_filed *filed, enum gw_event_code code, const char *text)
{
	const struct gw_event event = {
		.received_us = gw_clock_wall_us(), .door = GW_DOOR_HL7, .code = code, .device = gw_span_text(filed->device),
		.route = gw_span_text(d->live.name), .text = gw_span_text(text),
	};

	return gw_ticket_event(d->making, GW_RECORD_DEVICE_EVENT, &event);
}

// Many receivers chart whatever comes, so nothing is sent unless the settings say that this one knows W.
static enum gw_error
tell(struct work *work)
{
	const struct gw_hl7_filed *filed = work->filed;
	struct gw_hl7_destination *d = work->d;
	struct gw_hl7_filed wrong = *filed;
	char text[200];
	enum gw_error error;

	snprintf(text, sizeof(text), "message %s went out for another patient than its readings turn out to be of", filed->control_id);
	gw_diag(GW_WARNING, "hl7.misfiled", "destination=%s device=%s message=%s: sent for another patient than its readings turn out to be of; see `vitalgate trace`",
	    d->settings->name, filed->device, filed->control_id);
	count(d, &d->misfiled);
	wrong.state = GW_HL7_FILED_WRONG;
	error = record(d, filed, GW_EVENT_OUTLET, text);
	return error == GW_OK ? gw_hl7_filed_put(d->outbox.prefix, d->making, &wrong) : error;
}

// What people were told of is right after all.
static enum gw_error
tell_right(struct work *work)
{
	const struct gw_hl7_filed *filed = work->filed;
	struct gw_hl7_destination *d = work->d;
	struct gw_hl7_filed right = *filed;
	char text[200];
	enum gw_error error;

	if (gw_hl7_making(d) == NULL)
		return GW_E_BUSY;
	snprintf(text, sizeof(text), "message %s went out for the right patient after all", filed->control_id);
	gw_diag(GW_NOTICE, "hl7.misfiled", "destination=%s device=%s message=%s: sent for the right patient after all", d->settings->name, filed->device,
	    filed->control_id);
	right.state = filed->answered_us != 0 ? GW_HL7_FILED_SENT : GW_HL7_FILED_MADE;
	error = record(d, filed, GW_EVENT_OUTLET, text);
	return error == GW_OK ? gw_hl7_filed_put(d->outbox.prefix, d->making, &right) : error;
}

static enum gw_error
tell_lost(struct work *work)
{
	char text[200];

	if (work->lost == 0)
		return GW_OK;
	snprintf(text, sizeof(text), "%zu readings of %s are no longer in the journal and cannot be sent again", work->lost,
	    is_held(work->filed) ? "a held group" : work->filed->control_id);
	gw_diag_limited(&work->d->record_limit, 10, GW_WARNING, "hl7.refile", "destination=%s device=%s: %s", work->d->settings->name, work->filed->device, text);
	return record(work->d, work->filed, GW_EVENT_GAP, text);
}

// ---- One row ----

// What could not be withdrawn after all stays where it is while it is contested. False: nothing is left to be done.
static bool
leave_contested(struct work *work)
{
	size_t left = 0;

	for (size_t i = 0; i < work->filed->count; i++) {
		work->changed[i] &= work->owners[i].whose != GW_WHOSE_CONFLICT;
		left += work->changed[i];
	}
	return left > 0;
}

static enum gw_error
apply(struct work *work)
{
	const struct gw_hl7_filed *filed = work->filed;
	struct gw_hl7_destination *d = work->d;
	bool told_patient = filed->owner.whose == GW_WHOSE_PATIENT;
	enum gw_error error;

	if (gw_hl7_making(d) == NULL)
		return GW_E_BUSY;
	if (!is_held(filed) && (error = withdraw(work)) != GW_OK)
		return error;
	if (!is_held(filed) && !work->withdrawn && !leave_contested(work))
		return GW_OK;
	if (!is_held(filed) && !work->withdrawn && d->settings->corrections == GW_HL7_REPORT)
		return told_patient ? tell(work) : GW_OK;
	error = keep_rest(work);
	if (error == GW_OK && !is_held(filed) && !work->withdrawn && told_patient)
		error = take_back(work);
	if (error == GW_OK) {
		work->lost = 0; // told once
		error = give_all(work);
	}
	d->number_free = 0;
	return error == GW_OK ? tell_lost(work) : error;
}

enum gw_error
gw_hl7_refile(struct gw_hl7_destination *d, const struct gw_hl7_filed *filed)
{
	struct work work = { .d = d, .lane = &d->live, .filed = filed };
	enum gw_error error = GW_E_MEMORY;
	size_t changes;

	work.effective = calloc(filed->count, sizeof(*work.effective));
	work.owners = calloc(filed->count, sizeof(*work.owners));
	work.changed = calloc(filed->count, sizeof(*work.changed));
	if (work.effective != NULL && work.owners != NULL && work.changed != NULL) {
		changes = find_changes(&work);
		if (filed->state == GW_HL7_FILED_WRONG)
			error = changes > 0 ? GW_OK : tell_right(&work);
		else
			error = changes > 0 ? apply(&work) : GW_OK;
	}
	free(work.effective);
	free(work.owners);
	free(work.changed);
	return error;
}
