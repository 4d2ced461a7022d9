// SPDX-License-Identifier: Apache-2.0
// Which rows of the ledger are looked at again, and when: as associations change, as a device's clock becomes known, and now and then. What becomes of one:
// adapters/hl7/refile.c. The destination's thread.
#include "adapters/hl7/destination_impl.h"

#include "gateway/clock.h"
#include "gateway/ledger.h"

#include <stdio.h>
#include <stdlib.h>

#define HOUR_US INT64_C(3600000000)
#define TEND_US 60000000
#define TICKET_BYTES 262144
#define SWEEP_ROWS 2000 // a minute: more than a ward makes
#define CLOCK_US INT64_C(1000000) // what is held for a clock's sake is looked at after so long, then twice as long each time, TEND_US at most
#define ROW_US 5000

// ---- Devices of which something is held ----

// The sooner the fewer they are: a look reads them all.
static void
plan_look(struct gw_hl7_holding *holding, int64_t wait_us)
{
	int64_t least_us = (int64_t)holding->unsure * ROW_US;

	holding->wait_us = wait_us > least_us ? wait_us : least_us;
	holding->wait_us = holding->wait_us < TEND_US ? holding->wait_us : TEND_US;
	holding->next_us = gw_clock_mono_us() + holding->wait_us;
}

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
	if (unsure) {
		holding->unsure += (uint64_t)(int64_t)by;
		plan_look(holding, CLOCK_US);
	}
	if (holding->rows == 0)
		*holding = d->holding[--d->holding_count];
}

bool
gw_hl7_filed_unsure(const struct gw_hl7_filed *filed)
{
	return !filed->sure || filed->owner.whose == GW_WHOSE_UNSURE;
}

static bool
count_held(void *arg, const struct gw_hl7_filed *filed)
{
	struct gw_hl7_destination *d = arg;

	gw_hl7_holding_count(d, filed->device, gw_hl7_filed_unsure(filed), 1);
	return true;
}

enum gw_error
gw_hl7_holding_load(struct gw_hl7_destination *d)
{
	d->holding_count = 0;
	d->held = 0;
	return gw_hl7_held_each(d->options.core->journal, d->outbox.prefix, gw_span(NULL, 0), INT64_MIN, INT64_MAX, count_held, d);
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
	gw_hl7_holding_count(d, filed->device, gw_hl7_filed_unsure(filed), -1);
	return error;
}

static bool
look_at(void *arg, const struct gw_hl7_filed *filed)
{
	struct look *look = arg;

	if (filed->state == GW_HL7_FILED_CORRECTED || filed->state == GW_HL7_FILED_DROPPED || filed->status == GW_HL7_WRONG_PATIENT || filed->count == 0)
		return true;
	if (filed->revised)
		gw_hl7_commit_made(look->d); // what it revises may be of a row before
	if (filed->state == GW_HL7_FILED_HELD && filed->made_us < look->expired_us)
		look->error = give_up(look->d, filed);
	else
		look->error = gw_hl7_refile(look->d, filed);
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
	size_t id_count;
	enum gw_error error = gw_patients_devices(d->options.core->patients, change->bed, change->from_us, change->to_us, &ids, &id_count);

	if (error != GW_OK)
		return error;
	for (size_t i = 0; error == GW_OK && i < id_count; i++)
		error = look_at_device(d, gw_span_text(ids[i]), change->from_us, change->to_us);
	free(ids);
	return error;
}

// Rows as they are stored, with all that is under way.
static void
settle_rows(struct gw_hl7_destination *d)
{
	int64_t hours = d->options.core->config->patients_keep_h > d->options.core->config->store_retention_h ? d->options.core->config->patients_keep_h
	    : d->options.core->config->store_retention_h;

	gw_hl7_commit_made(d);
	gw_hl7_reap_removals(d, true);
	d->forgotten_us = gw_clock_wall_us() - hours * HOUR_US;
}

enum gw_error
gw_hl7_changed(struct gw_hl7_destination *d, const struct gw_association_change *change)
{
	enum gw_error error;

	settle_rows(d);
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

// What is held for the sake of a device's clock, which may be known by now.
static enum gw_error
look_at_unsure(struct gw_hl7_destination *d, int64_t now)
{
	enum gw_error error = GW_OK;
	char device[GW_ID_MAX + 1];

	for (size_t i = 0; error == GW_OK && i < d->holding_count; i++) {
		struct gw_hl7_holding *holding = &d->holding[i];
		struct look look = { .d = d, .expired_us = INT64_MIN };

		if (holding->unsure == 0 || now < holding->next_us)
			continue;
		plan_look(holding, holding->wait_us * 2);
		snprintf(device, sizeof(device), "%s", holding->device); // the list changes with what goes
		settle_rows(d);
		error = gw_hl7_held_each(d->options.core->journal, d->outbox.prefix, gw_span_text(device), INT64_MIN, INT64_MAX, look_at, &look);
		error = error == GW_OK ? look.error : error;
	}
	return error;
}

// Changes of associations were among what was left out.
static enum gw_error
look_at_all(struct gw_hl7_destination *d)
{
	settle_rows(d);
	d->look_at_all = false;
	return look_at_device(d, gw_span(NULL, 0), INT64_MIN, INT64_MAX);
}

static enum gw_error
tend(struct gw_hl7_destination *d)
{
	int64_t backlog_us = d->settings->backlog_us_max;
	struct look look = { .d = d, .expired_us = backlog_us > 0 ? gw_clock_wall_us() - backlog_us : INT64_MIN };
	enum gw_error error = GW_OK;

	settle_rows(d);
	if (d->held > 0)
		error = gw_hl7_held_each(d->options.core->journal, d->outbox.prefix, gw_span(NULL, 0), INT64_MIN, INT64_MAX, look_at, &look);
	if (error == GW_OK && (error = look.error) == GW_OK)
		error = sweep(d, gw_clock_wall_us());
	return error;
}

void
gw_hl7_tend(struct gw_hl7_destination *d)
{
	int64_t now = gw_clock_mono_us();
	enum gw_error error = GW_OK;

	if (!d->broken && d->look_at_all)
		error = look_at_all(d);
	if (!d->broken && error == GW_OK)
		error = look_at_unsure(d, now);
	if (!d->broken && error == GW_OK && now - d->tended_us >= TEND_US) {
		d->tended_us = now;
		error = tend(d);
	}
	if (error != GW_OK)
		gw_hl7_broken(d, error);
	gw_hl7_commit_made(d);
}
