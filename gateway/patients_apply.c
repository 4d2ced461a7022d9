// SPDX-License-Identifier: Apache-2.0
// One event: becomes facts of a patient or a device, from which intervals are derived again; then rows and records go into the ticket, and a few entries that
// nothing needs any more are forgotten with it. Under gw_patients_lock(), any thread.
#include "gateway/patients_act.h"

#include "gateway/bytes.h"
#include "gateway/clock.h"

#include <stdio.h>

static const struct {
	const char *name;
	void (*run)(struct act *act);
} verbs[] = {
	[GW_PATIENT_ADMIT] = { "admit", gw_do_admit },
	[GW_PATIENT_TRANSFER] = { "transfer", gw_do_transfer },
	[GW_PATIENT_DISCHARGE] = { "discharge", gw_do_discharge },
	[GW_PATIENT_UPDATE] = { "update", gw_do_update },
	[GW_PATIENT_CANCEL_ADMIT] = { "cancel admit", gw_do_cancel_admit },
	[GW_PATIENT_CANCEL_TRANSFER] = { "cancel transfer", gw_do_cancel_transfer },
	[GW_PATIENT_CANCEL_DISCHARGE] = { "cancel discharge", gw_do_cancel_discharge },
	[GW_PATIENT_SWAP] = { "swap", gw_do_swap },
	[GW_PATIENT_MERGE] = { "merge", gw_do_merge },
	[GW_PATIENT_CHANGE_ID] = { "change identifier", gw_do_change_id },
	[GW_PATIENT_ASSOCIATE] = { "associate", gw_do_associate },
	[GW_PATIENT_DISSOCIATE] = { "dissociate", gw_do_dissociate },
	[GW_PATIENT_PLACE] = { "place", gw_do_place },
	[GW_PATIENT_UNPLACE] = { "unplace", gw_do_place },
	[GW_PATIENT_DISTINCT] = { "distinct", gw_do_distinct },
	[GW_PATIENT_REVOKE] = { "revoke", gw_do_revoke },
	[GW_PATIENT_RESUME] = { "resume", gw_do_resume },
};

// ---- Rows and records ----

static enum gw_error
put_rows(struct gw_patients *patients, struct gw_ticket *ticket)
{
	enum gw_error error = GW_OK;
	uint8_t end[8];

	for (uint32_t i = 0; i < patients->dirty_patient_count && error == GW_OK; i++)
		error = gw_patient_put(patients->dirty_patients[i], ticket);
	for (uint32_t i = 0; i < patients->dirty_device_count && error == GW_OK; i++)
		error = gw_tracked_put(patients->dirty_devices[i], ticket);
	gw_put64(end, patients->numbers_end);
	if (patients->numbers && error == GW_OK)
		error = gw_ticket_put(ticket, gw_span_text(PATIENT_NEXT_ROW), gw_span(end, sizeof(end)));
	return error;
}

static enum gw_error
put_records(struct act *act, struct gw_ticket *ticket)
{
	uint8_t record[512];
	char text[224];
	enum gw_error error = GW_OK;
	size_t len;
	int words = snprintf(text, sizeof(text), "%s: %s%s; %.*s", verbs[act->event->verb].name, act->done, act->contradiction ? " (contradiction)" : "",
	    GW_SPAN_FMT(act->note[NOTE_SOURCE]));

	for (uint32_t i = 0; i < act->patients->range_count && error == GW_OK; i++) {
		const struct range *range = &act->patients->ranges[i];
		struct gw_association_change change = { .received_us = act->patients->now_us, .from_us = range->from_us, .to_us = range->to_us,
			.text = gw_span(text, (size_t)words) };

		if (range->bed != NULL)
			change.bed = gw_span(range->bed->name, range->bed->len);
		if (range->device != NULL)
			change.device = gw_span(range->device->id, range->device->len);
		error = gw_association_encode(&change, record, sizeof(record), &len);
		if (error == GW_OK)
			error = gw_ticket_record(ticket, gw_span(record, len));
	}
	return error;
}

static void
event_end(struct gw_patients *patients)
{
	while (patients->dirty_patient_count > 0)
		patients->dirty_patients[--patients->dirty_patient_count]->dirty = false;
	while (patients->dirty_device_count > 0)
		patients->dirty_devices[--patients->dirty_device_count]->dirty = false;
	while (patients->range_count > 0)
		gw_bed_put(patients, patients->ranges[--patients->range_count].bed);
	if (patients->grave_count > 0)
		gw_graves_empty(patients);
	patients->numbers = false;
}

static enum gw_error
do_event(struct act *act, struct gw_ticket *ticket)
{
	struct gw_patients *patients = act->patients;
	enum gw_error error;

	verbs[act->event->verb].run(act);
	if (patients->failed)
		return gw_fail(act->why, GW_E_MEMORY, "out of memory");
	if (act->error != GW_OK) {
		patients->failed = patients->dirty_patient_count > 0 || patients->dirty_device_count > 0; // refusals come before changes
		return act->error;
	}
	act->contradiction |= gw_act_clashes(act) || patients->disputed;
	error = put_rows(patients, ticket);
	if (error == GW_OK)
		error = put_records(act, ticket);
	if (error == GW_OK)
		error = gw_patients_sweep(patients, ticket);
	if (error != GW_OK)
		patients->failed = true; // what memory has and the ticket has not must not stay
	return error != GW_OK ? gw_fail(act->why, error, "%s", gw_error_text(error)) : GW_OK;
}

enum gw_error
gw_patients_do(struct gw_patients *patients, const struct gw_patient_event *event, struct gw_ticket *ticket, struct gw_why *why)
{
	struct act act = { .patients = patients, .event = event, .ticket = ticket, .why = why };
	uint32_t ops_len = ticket->ops_len;
	enum gw_error error;

	if (event->verb < GW_PATIENT_ADMIT || event->verb > GW_PATIENT_RESUME)
		return gw_fail(why, GW_E_ARGUMENT, "there is no such event");
	if (patients->failed)
		return gw_fail(why, GW_E_MEMORY, "patients have to be read again from the store first");
	patients->disputed = false;
	patients->now_us = gw_clock_wall_us();
	patients->horizon_us = patients->now_us - patients->options.keep_us;
	error = gw_act_prepare(&act);
	if (error != GW_OK)
		return error;
	pthread_rwlock_wrlock(&patients->lines);
	error = do_event(&act, ticket);
	if (patients->dirty_patient_count > 0 || patients->dirty_device_count > 0 || patients->range_count > 0)
		atomic_fetch_add_explicit(&patients->generation, 1, memory_order_release);
	event_end(patients);
	patients->events++;
	patients->contradictions += act.contradiction;
	pthread_rwlock_unlock(&patients->lines);
	if (patients->failed)
		ticket->ops_len = ops_len;
	ticket->essential = true;
	if (error == GW_OK)
		(void)gw_fail(why, GW_OK, "%s%s", act.done, act.contradiction ? "; CONTRADICTION: see vitalgate patient conflicts" : "");
	return error;
}
