// SPDX-License-Identifier: Apache-2.0
// ADT events (HL7 v2 chapter 3). Any thread.
#include "adapters/hl7/interpret_impl.h"

#define PID GW_HL7_NAME('P', 'I', 'D')
#define MRG GW_HL7_NAME('M', 'R', 'G')
#define PV1 GW_HL7_NAME('P', 'V', '1')

enum times { EVENT, ADMISSION, UPDATE };

struct row {
	char trigger[4];
	enum gw_patient_verb verb;
	void (*read)(struct gw_hl7_reading *r, const struct row *row);
	enum times times;
	bool bed; // PV1-3 says something about a bed
};

static int64_t
when(struct gw_hl7_reading *r, const struct row *row, struct gw_hl7_scope scope)
{
	const struct gw_hl7_mapping *m = r->mapping;

	return gw_hl7_when(r, row->times == ADMISSION ? &m->admission_times : row->times == UPDATE ? &m->update_times : &m->times, scope);
}

// A patient, and where.
static struct gw_patient_event *
read_patient(struct gw_hl7_reading *r, const struct row *row, bool *told)
{
	struct gw_patient_event *event = gw_hl7_event(r, row->verb);
	struct gw_hl7_scope scope = gw_hl7_whole(r->in);

	*told = false;
	if (event == NULL)
		return NULL;
	gw_hl7_person(r, scope, &event->person);
	gw_hl7_visit(r, scope, event);
	if (row->bed)
		event->bed = gw_hl7_bed(r, &r->mapping->bed, scope, told);
	event->time_us = when(r, row, scope);
	return gw_hl7_failed(r) ? NULL : event;
}

static void
read_stay(struct gw_hl7_reading *r, const struct row *row)
{
	bool told;

	read_patient(r, row, &told);
}

static void
read_admission(struct gw_hl7_reading *r, const struct row *row)
{
	bool told;
	struct gw_patient_event *event = read_patient(r, row, &told);

	if (event != NULL && event->bed.len == 0) // an outpatient, or a ward without beds' names
		event->verb = GW_PATIENT_UPDATE;
}

static void
read_transfer(struct gw_hl7_reading *r, const struct row *row)
{
	bool told, prior_told;
	struct gw_patient_event *event = read_patient(r, row, &told);

	if (event == NULL)
		return;
	event->prior_bed = gw_hl7_bed(r, &r->mapping->prior_bed, gw_hl7_whole(r->in), &prior_told);
	if (!told && row->trigger[2] == '2') // A02 is nothing but its new location; A06 and A07 may keep the old one
		gw_hl7_fault_at(r, 101, &r->mapping->bed.path[0], gw_hl7_whole(r->in), "a transfer without the new location");
	else if (!told)
		event->verb = GW_PATIENT_UPDATE;
}

// PV1-3 "must show the location of the patient prior to the original transfer" (section 3.3.12); PV1-6, where sent, the cancelled one.
static void
read_cancelled_transfer(struct gw_hl7_reading *r, const struct row *row)
{
	bool told;
	struct gw_patient_event *event = read_patient(r, row, &told);

	if (event == NULL)
		return;
	event->prior_bed = event->bed;
	event->bed = gw_hl7_bed(r, &r->mapping->prior_bed, gw_hl7_whole(r->in), &told);
	if (gw_span_equal(event->bed, event->prior_bed)) // some leave PV1-6 as it was before the transfer
		event->bed = gw_span(NULL, 0);
}

static void
read_swap(struct gw_hl7_reading *r, const struct row *row)
{
	struct gw_hl7_scope first = { 0 }, second, third;
	struct gw_patient_event *event = gw_hl7_event(r, row->verb);
	bool told;

	if (event == NULL)
		return;
	if (!gw_hl7_group(r->in, PID, &first) || (second = first, !gw_hl7_group(r->in, PID, &second)) || (third = second, gw_hl7_group(r->in, PID, &third))) {
		gw_hl7_fault(r, 100, PID, r->in->segment_count, 0, "patients are swapped with two PID and two PV1");
		return;
	}
	gw_hl7_person(r, first, &event->person);
	gw_hl7_person(r, second, &event->other);
	gw_hl7_visit(r, first, event);
	event->bed = gw_hl7_bed(r, &r->mapping->bed, first, &told);
	event->other_bed = gw_hl7_bed(r, &r->mapping->bed, second, &told);
	event->time_us = when(r, row, first);
}

static void
read_merges(struct gw_hl7_reading *r, const struct row *row)
{
	struct gw_hl7_scope scope = { 0 };
	struct gw_patient_event *event;

	while (gw_hl7_group(r->in, PID, &scope) && (event = gw_hl7_event(r, row->verb)) != NULL) {
		gw_hl7_person(r, scope, &event->person);
		gw_hl7_identifiers(r, &r->mapping->prior_patient, scope, &event->other);
		event->time_us = when(r, row, scope);
	}
	if (r->meaning->count == 0)
		gw_hl7_fault(r, 101, PID, r->in->segment_count, 3, "no PID");
}

static const struct row rows[] = {
	{ "A01", GW_PATIENT_ADMIT, read_admission, ADMISSION, true },
	{ "A02", GW_PATIENT_TRANSFER, read_transfer, EVENT, true },
	{ "A03", GW_PATIENT_DISCHARGE, read_stay, EVENT, true },
	{ "A04", GW_PATIENT_ADMIT, read_admission, ADMISSION, true },
	{ "A05", GW_PATIENT_UPDATE, read_stay, UPDATE, false }, // pre-admission: nobody is in the bed yet
	{ "A06", GW_PATIENT_TRANSFER, read_transfer, EVENT, true },
	{ "A07", GW_PATIENT_TRANSFER, read_transfer, EVENT, true },
	{ "A08", GW_PATIENT_UPDATE, read_stay, UPDATE, true },
	{ "A11", GW_PATIENT_CANCEL_ADMIT, read_stay, EVENT, true },
	{ "A12", GW_PATIENT_CANCEL_TRANSFER, read_cancelled_transfer, EVENT, true },
	{ "A13", GW_PATIENT_CANCEL_DISCHARGE, read_stay, EVENT, true },
	{ "A17", GW_PATIENT_SWAP, read_swap, EVENT, true },
	{ "A18", GW_PATIENT_MERGE, read_merges, EVENT, false },
	{ "A28", GW_PATIENT_UPDATE, read_stay, UPDATE, false },
	{ "A30", GW_PATIENT_MERGE, read_merges, EVENT, false },
	{ "A31", GW_PATIENT_UPDATE, read_stay, UPDATE, false },
	{ "A34", GW_PATIENT_MERGE, read_merges, EVENT, false },
	{ "A36", GW_PATIENT_MERGE, read_merges, EVENT, false },
	{ "A39", GW_PATIENT_MERGE, read_merges, EVENT, false },
	{ "A40", GW_PATIENT_MERGE, read_merges, EVENT, false },
	{ "A46", GW_PATIENT_CHANGE_ID, read_merges, EVENT, false },
	{ "A47", GW_PATIENT_CHANGE_ID, read_merges, EVENT, false },
	{ "A49", GW_PATIENT_UPDATE, read_stay, UPDATE, false },
};

void
gw_hl7_adt(struct gw_hl7_reading *r, struct gw_span trigger)
{
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (gw_span_is(trigger, rows[i].trigger)) {
			rows[i].read(r, &rows[i]);
			return;
		}
	r->meaning->reason = "an event that changes no bed and no identity here";
}
