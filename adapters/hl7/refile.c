// SPDX-License-Identifier: Apache-2.0
// When it turns out whose a reading is: what is held goes out, what went out for another patient is told to people or corrected (design, promise 5).
// Rows of the ledger say what was done with which readings; the readings themselves are read from the journal again, and their messages are made as the first
// ones were, so that OBR-3, OBX-3, OBX-4 and times are the same. The destination's thread.
#include "adapters/hl7/destination_impl.h"
#include "adapters/hl7/group_impl.h"

#include "gateway/clock.h"
#include "gateway/ledger.h"

#include <stdio.h>
#include <stdlib.h>

#define TEND_US 60000000
#define TICKET_BYTES 262144
#define SWEEP_ROWS 2000 // a minute: more than a ward makes

// ---- Devices of which something is held ----

void
gw_hl7_holding_count(struct gw_hl7_destination *d, const char *device, bool unsure, int by)
{
	struct gw_hl7_holding *holding = NULL;

	for (size_t i = 0; i < d->holding_count && holding == NULL; i++)
		if (strcmp(d->holding[i].device, device) == 0)
			holding = &d->holding[i];
	if (holding == NULL) {
		if (d->holding_count == d->holding_cap) {
			size_t cap = d->holding_cap > 0 ? d->holding_cap * 2 : 16;
			struct gw_hl7_holding *larger = realloc(d->holding, cap * sizeof(*larger));
			if (larger == NULL) {
				gw_hl7_broken(d, GW_E_MEMORY);
				return;
			}
			d->holding = larger;
			d->holding_cap = cap;
		}
		holding = &d->holding[d->holding_count++];
		*holding = (struct gw_hl7_holding){ .rows = 0 };
		snprintf(holding->device, sizeof(holding->device), "%s", device);
	}
	d->held += (uint64_t)(int64_t)by;
	holding->rows += (uint64_t)(int64_t)by;
	if (unsure)
		holding->unsure += (uint64_t)(int64_t)by;
	if (holding->rows == 0)
		*holding = d->holding[--d->holding_count];
}

static bool
is_unsure(const struct gw_hl7_filed *filed)
{
	return !filed->sure || filed->owner.whose == GW_WHOSE_UNSURE;
}

static bool
count_held(void *arg, const struct gw_hl7_filed *filed)
{
	struct gw_hl7_destination *d = arg;

	gw_hl7_holding_count(d, filed->device, is_unsure(filed), 1);
	return true;
}

enum gw_error
gw_hl7_holding_load(struct gw_hl7_destination *d)
{
	d->holding_count = 0;
	d->held = 0;
	return gw_hl7_held_each(d->options.core->journal, d->outbox.prefix, gw_span(NULL, 0), INT64_MIN, INT64_MAX, count_held, d);
}

// ---- Readings again ----

// One row under work.
struct work {
	struct gw_hl7_destination *d;
	const struct gw_hl7_filed *filed;
	struct gw_effective *effective;   // of each reading, as it is known now
	struct gw_owner *owners;          // and whose it is
	bool *changed;
	uint64_t record_position;         // what d->record holds; 0: nothing
	struct gw_record record;
	size_t lost;                      // readings that are no longer in the journal
};

// The row's i-th reading. False: it is no longer there.
static bool
find_reading(struct work *work, size_t i, struct gw_batch *batch, struct gw_reading *reading)
{
	const struct gw_hl7_filed_item *item = &work->filed->items[i];
	struct gw_hl7_destination *d = work->d;

	if (work->record_position != item->position) {
		work->record_position = 0;
		if (gw_journal_one(d->options.core->journal, item->position, d->record, GW_RECORD_MAX, &work->record) != GW_OK)
			return false;
		work->record_position = item->position;
	}
	if (gw_batch_open(&work->record, batch, NULL) != GW_OK || !gw_span_is(batch->head.device, work->filed->device))
		return false;
	for (uint16_t place = 0; place <= item->place; place++)
		if (!gw_batch_next(batch, reading))
			return false;
	return true;
}

// What was held because the device's clock was not known yet may be known by now.
static void
look_at_clock(struct work *work, size_t i)
{
	struct gw_batch batch;
	struct gw_reading reading;

	if (work->filed->state != GW_HL7_FILED_HELD || !is_unsure(work->filed) || !find_reading(work, i, &batch, &reading))
		return;
	(void)gw_hl7_grouper_resolve(work->d->live.grouper, gw_span_text(work->filed->device), batch.head.received_us, reading.time_us, &work->effective[i]);
}

static bool
same_patient(const struct gw_hl7_destination *d, const struct gw_owner *a, const struct gw_owner *b)
{
	struct gw_patients *patients = d->options.core->patients;

	return a->whose == GW_WHOSE_PATIENT && b->whose == GW_WHOSE_PATIENT &&
	    gw_patients_resolve(patients, a->patient) == gw_patients_resolve(patients, b->patient);
}

// What is held changes when it may go; what went out when it is surely somebody else's, or nobody's. A contradiction that came up later changes nothing until
// it is resolved.
static bool
has_changed(const struct gw_hl7_destination *d, const struct gw_hl7_filed *filed, const struct gw_owner *now)
{
	if (filed->state == GW_HL7_FILED_HELD)
		return !gw_hl7_is_held(d, now);
	if (now->whose != GW_WHOSE_PATIENT && now->whose != GW_WHOSE_NOBODY)
		return false;
	return filed->owner.whose == GW_WHOSE_PATIENT ? !same_patient(d, &filed->owner, now) : now->whose == GW_WHOSE_PATIENT;
}

static size_t
find_changes(struct work *work)
{
	const struct gw_hl7_filed *filed = work->filed;
	size_t count = 0;

	for (size_t i = 0; i < filed->count; i++) {
		work->effective[i] = (struct gw_effective){ .us = filed->items[i].effective_us, .uncertainty_us = filed->items[i].uncertainty_ms * INT64_C(1000),
			.epoch = filed->epoch, .by_device = !filed->hub_time, .sure = filed->sure };
		look_at_clock(work, i);
		gw_patients_owner(work->d->options.core->patients, gw_span_text(filed->device), work->effective[i].us, work->effective[i].uncertainty_us,
		    &work->owners[i]);
		work->changed[i] = has_changed(work->d, filed, &work->owners[i]);
		count += work->changed[i];
	}
	return count;
}

static bool
add_item(struct work *work, struct gw_hl7_group *group, size_t i)
{
	struct gw_hl7_item item = { .effective = work->effective[i], .position = work->filed->items[i].position, .index = work->filed->items[i].place };
	struct gw_hl7_selection selection;
	const struct gw_signal *signal;
	struct gw_batch batch;

	if (!find_reading(work, i, &batch, &item.reading) || (signal = gw_signal_by_code(item.reading.signal)) == NULL) {
		work->lost++;
		return true;
	}
	gw_hl7_select(work->d->settings, signal, item.reading.kind, item.reading.type, &selection);
	item.own_time = selection.own_time;
	item.effective.offset_us = item.effective.us - item.reading.time_us;
	item.moment = item.position;
	return gw_hl7_items_append(group, &item) == GW_OK;
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

static void
end_group(struct gw_hl7_group *group)
{
	gw_hl7_items_clear(group);
	free(group->items);
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
		if (work->changed[i] && !add_item(work, &group, i))
			error = GW_E_MEMORY;
	if (error == GW_OK && group.count > 0) {
		error = gw_hl7_make_message(&work->d->live, &group, GW_HL7_WRONG_PATIENT);
		count(work->d, &work->d->corrections);
	}
	end_group(&group);
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
	group.again += work->filed->state != GW_HL7_FILED_HELD;
	group.sure = work->effective[first].sure;
	for (size_t i = first; error == GW_OK && i < work->filed->count; i++) {
		if (!work->changed[i] || given[i] || !gw_hl7_same_owner(&work->owners[i], &group.owner))
			continue;
		given[i] = true;
		if (!add_item(work, &group, i))
			error = GW_E_MEMORY;
	}
	if (error == GW_OK && group.count > 0)
		error = gw_hl7_is_held(d, &group.owner) ? gw_hl7_hold(d, &group) : gw_hl7_make_message(&d->live, &group, GW_HL7_RESULT);
	end_group(&group);
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

// The row keeps what did not change; where nothing is left it says what became of it (a held one goes).
static enum gw_error
keep_rest(struct work *work, enum gw_hl7_filed_state state)
{
	const struct gw_hl7_filed *filed = work->filed;
	struct gw_hl7_destination *d = work->d;
	struct gw_hl7_filed rest = *filed;
	enum gw_error error;

	if ((rest.items = calloc(filed->count, sizeof(*rest.items))) == NULL)
		return GW_E_MEMORY;
	rest.count = 0;
	for (size_t i = 0; i < filed->count; i++)
		if (!work->changed[i])
			rest.items[rest.count++] = filed->items[i];
	if (rest.count == 0 && filed->state != GW_HL7_FILED_HELD) {
		rest.count = filed->count;
		memcpy(rest.items, filed->items, filed->count * sizeof(*rest.items));
		rest.state = (uint8_t)state;
	}
	if (rest.count > 0) {
		error = gw_hl7_filed_put(d->outbox.prefix, d->making, &rest);
	} else {
		error = gw_hl7_filed_del(d->outbox.prefix, d->making, filed->device, filed->least_us, filed->control_id);
		gw_hl7_holding_count(d, filed->device, is_unsure(filed), -1);
	}
	free(rest.items);
	return error;
}

// For people: many receivers chart whatever comes, so nothing is sent unless the settings say that this one knows W.
static enum gw_error
tell(struct work *work)
{
	const struct gw_hl7_filed *filed = work->filed;
	struct gw_hl7_destination *d = work->d;
	struct gw_hl7_filed wrong = *filed;
	char text[200];
	const struct gw_event event = {
		.received_us = gw_clock_wall_us(), .door = GW_DOOR_HL7, .code = GW_EVENT_OUTLET, .device = gw_span_text(filed->device),
		.route = gw_span_text(d->live.name), .text = gw_span_text(text),
	};
	enum gw_error error;

	snprintf(text, sizeof(text), "message %s went out for another patient than its readings turn out to be of", filed->control_id);
	gw_diag(GW_WARNING, "hl7.misfiled", "destination=%s device=%s message=%s: sent for another patient than its readings turn out to be of; see `vitalgate trace`",
	    d->settings->name, filed->device, filed->control_id);
	count(d, &d->misfiled);
	wrong.state = GW_HL7_FILED_WRONG;
	if ((error = gw_ticket_event(d->making, GW_RECORD_DEVICE_EVENT, &event)) != GW_OK)
		return error;
	return gw_hl7_filed_put(d->outbox.prefix, d->making, &wrong);
}

static enum gw_error
apply(struct work *work)
{
	const struct gw_hl7_filed *filed = work->filed;
	struct gw_hl7_destination *d = work->d;
	bool held = filed->state == GW_HL7_FILED_HELD, told_patient = filed->owner.whose == GW_WHOSE_PATIENT;
	enum gw_error error;

	if (gw_hl7_making(d) == NULL)
		return GW_E_BUSY;
	if (!held && d->settings->corrections == GW_HL7_REPORT)
		return told_patient ? tell(work) : GW_OK;
	error = keep_rest(work, GW_HL7_FILED_CORRECTED);
	if (error == GW_OK && !held && told_patient && filed->state != GW_HL7_FILED_PARKED)
		error = take_back(work);
	if (error == GW_OK)
		error = give_all(work);
	if (work->lost > 0)
		gw_diag_limited(&d->record_limit, 10, GW_WARNING, "hl7.refile", "destination=%s device=%s: %zu readings are no longer in the journal and cannot be sent",
		    d->settings->name, filed->device, work->lost);
	return error;
}

static enum gw_error
refile(struct gw_hl7_destination *d, const struct gw_hl7_filed *filed)
{
	struct work work = { .d = d, .filed = filed };
	enum gw_error error = GW_E_MEMORY;

	work.effective = calloc(filed->count, sizeof(*work.effective));
	work.owners = calloc(filed->count, sizeof(*work.owners));
	work.changed = calloc(filed->count, sizeof(*work.changed));
	if (work.effective != NULL && work.owners != NULL && work.changed != NULL)
		error = find_changes(&work) > 0 ? apply(&work) : GW_OK;
	free(work.effective);
	free(work.owners);
	free(work.changed);
	return error;
}

// ---- Which rows ----

struct look {
	struct gw_hl7_destination *d;
	int64_t expired_us; // what was held before is given up
	enum gw_error error;
};

static enum gw_error
give_up(struct gw_hl7_destination *d, const struct gw_hl7_filed *filed)
{
	char text[200];
	const struct gw_event event = {
		.received_us = gw_clock_wall_us(), .door = GW_DOOR_HL7, .code = GW_EVENT_GAP, .device = gw_span_text(filed->device),
		.route = gw_span_text(d->live.name), .text = gw_span_text(text),
	};
	enum gw_error error;

	if (gw_hl7_making(d) == NULL)
		return GW_E_BUSY;
	snprintf(text, sizeof(text), "%zu held readings left out: nobody was associated in time (backlog_h_max)", filed->count);
	if ((error = gw_ticket_event(d->making, GW_RECORD_DEVICE_EVENT, &event)) == GW_OK)
		error = gw_hl7_filed_del(d->outbox.prefix, d->making, filed->device, filed->least_us, filed->control_id);
	gw_hl7_holding_count(d, filed->device, is_unsure(filed), -1);
	return error;
}

static bool
look_at(void *arg, const struct gw_hl7_filed *filed)
{
	struct look *look = arg;

	if (filed->state == GW_HL7_FILED_WRONG || filed->state == GW_HL7_FILED_CORRECTED || filed->state == GW_HL7_FILED_DROPPED ||
	    filed->status == GW_HL7_WRONG_PATIENT || filed->count == 0)
		return true;
	if (filed->state == GW_HL7_FILED_HELD && filed->made_us < look->expired_us)
		look->error = give_up(look->d, filed);
	else
		look->error = refile(look->d, filed);
	if (look->error == GW_OK && look->d->making != NULL && look->d->making->ops_len > TICKET_BYTES)
		gw_hl7_commit_made(look->d);
	return look->error == GW_OK && !look->d->broken;
}

static enum gw_error
look_at_device(struct gw_hl7_destination *d, struct gw_span device, int64_t from_us, int64_t to_us)
{
	struct look look = { .d = d, .expired_us = INT64_MIN };
	enum gw_error error = gw_hl7_filed_each(d->options.core->journal, d->outbox.prefix, device, from_us, to_us, look_at, &look);

	return error == GW_OK ? look.error : error;
}

static enum gw_error
look_at_bed(struct gw_hl7_destination *d, const struct gw_association_change *change)
{
	char (*ids)[GW_ID_MAX + 1];
	size_t id_count = 0;
	enum gw_error error = gw_patients_devices(d->options.core->patients, change->bed, change->from_us, change->to_us, &ids, &id_count);

	for (size_t i = 0; error == GW_OK && i < id_count; i++)
		error = look_at_device(d, gw_span_text(ids[i]), change->from_us, change->to_us);
	if (id_count > 0)
		free(ids);
	return error;
}

enum gw_error
gw_hl7_changed(struct gw_hl7_destination *d, const struct gw_association_change *change)
{
	enum gw_error error;

	gw_hl7_commit_made(d); // rows that are not stored yet could not be found
	if (d->broken)
		return GW_OK;
	if (change->device.len > 0)
		error = look_at_device(d, change->device, change->from_us, change->to_us);
	else if (change->bed.len > 0)
		error = look_at_bed(d, change);
	else
		error = look_at_device(d, gw_span(NULL, 0), change->from_us, change->to_us);
	if (error != GW_OK)
		gw_hl7_broken(d, error); // the ticket may hold half of a row's change: it must not be committed
	gw_hl7_commit_made(d);
	return GW_OK;
}

// A piece of the old rows.
static enum gw_error
sweep(struct gw_hl7_destination *d, int64_t now_us)
{
	bool more;

	if (gw_hl7_making(d) == NULL)
		return GW_E_BUSY;
	return gw_hl7_filed_sweep(d->options.core->journal, d->outbox.prefix, d->making, now_us - gw_ledger_keep_us(d->options.core->config), SWEEP_ROWS, &d->swept,
	    &more);
}

void
gw_hl7_tend(struct gw_hl7_destination *d)
{
	int64_t backlog_us = d->settings->backlog_us_max, now = gw_clock_mono_us();
	struct look look = { .d = d, .expired_us = backlog_us > 0 ? gw_clock_wall_us() - backlog_us : INT64_MIN };
	enum gw_error error = GW_OK;

	if (d->broken || now - d->tended_us < TEND_US)
		return;
	d->tended_us = now;
	if (d->held > 0)
		error = gw_hl7_held_each(d->options.core->journal, d->outbox.prefix, gw_span(NULL, 0), INT64_MIN, INT64_MAX, look_at, &look);
	if (error == GW_OK && (error = look.error) == GW_OK)
		error = sweep(d, gw_clock_wall_us());
	if (error != GW_OK)
		gw_hl7_broken(d, error);
	gw_hl7_commit_made(d);
}
