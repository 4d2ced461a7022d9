// SPDX-License-Identifier: Apache-2.0
// Inside patients_a*.c only: one event while it is applied. Under both locks of gateway/patients_internal.h.
#ifndef GW_PATIENTS_ACT_H
#define GW_PATIENTS_ACT_H

#include "gateway/patients_internal.h"

#define TIME_MAX_US INT64_C(7258118400000000) // the year 2200

struct act {
	struct gw_patients *patients;
	const struct gw_patient_event *event;
	struct gw_ticket *ticket;
	struct gw_why *why;
	enum gw_error error;
	int64_t told_us, until_us;
	struct gw_span bed, prior, other_bed; // trimmed
	char bed_text[3][GW_BED_MAX + 1];
	struct gw_span note[NOTE_COUNT];
	const char *done; // what happened, in words
	bool contradiction;
	struct patient *clash_of, *clash_other; // to whom identifiers led, where that was not known
};

// ---- patients_act.c ----

// Checks and takes apart what is asked.
enum gw_error gw_act_prepare(struct act *act);
// Refuses: before anything was changed. Always false.
bool gw_act_fails(struct act *act, enum gw_error error, const char *words);
// Rows that go into the ticket.
void gw_act_dirty_patient(struct act *act, struct patient *patient);
void gw_act_dirty_device(struct act *act, struct device *device);
// Derives anew after facts were added, and forgets what is too old.
void gw_act_derive(struct act *act, struct patient *patient);
void gw_act_derive_device(struct act *act, struct device *device);
// Whether more may be told of a patient or device that has `count` facts of at most `max`.
bool gw_act_room_for(struct act *act, uint32_t count, uint32_t max);
// The number under which the event tells of the patient, before merges.
uint64_t gw_act_number(const struct act *act, const struct patient *patient);
// Add a fact with the event's texts; true: it was new.
bool gw_act_add_move(struct act *act, struct patient *patient, enum fact_kind kind, int64_t time_us, struct gw_span bed);
bool gw_act_add_device_fact(struct act *act, struct device *device, enum fact_kind kind, int64_t time_us, struct patient *patient, struct gw_span bed);
// The patient whom a message means, by the first of its identifiers that is known; NULL: nobody.
struct patient *gw_act_known(const struct act *act, const struct gw_person *person);
// Whether gw_act_get() will succeed, memory permitting: asked before anything is changed.
bool gw_act_ready(struct act *act, const struct gw_person *person);
// The patient, made where it is new; what the message says of the person is taken in. NULL: act->error, or out of memory.
struct patient *gw_act_get(struct act *act, const struct gw_person *person);
struct bed *gw_act_bed_at(const struct patient *patient, int64_t us);
bool gw_act_is_in(const struct patient *patient, int64_t us, struct gw_span bed);
// Marks a contradiction where somebody else lies in the bed, too.
void gw_act_look_for_clash(struct act *act, struct gw_span name);

// ---- patients_clash.c ----

// An identifier of a message that means `patient` leads to `other`.
void gw_act_clash(struct act *act, struct patient *patient, struct patient *other, const struct gw_identifier *identifier);
// Whether what gw_act_clash() was told still holds, after all that the event did.
bool gw_act_clashes(const struct act *act);
// After identifiers moved: what contradicted itself may be over.
void gw_act_settle(struct act *act, struct patient *patient);
// After a merge, when intervals are derived.
void gw_act_merge_clashes(struct act *act, struct patient *gone, struct patient *stays);

// ---- patients_report.c: associations by their own identifier, event->filler ----

// Whether no report of the association was told later.
bool gw_act_is_latest(const struct act *act);
// What earlier reports said goes, what was told of the association under other devices comes to this one, before its begin is added. True: something went.
bool gw_act_replace(struct act *act, struct device *device);
// Adds an end, a resumption or that it never was: to the device that is told, where it began with it; else to those with which it began. An end is true of the
// device that is told, too, whatever is known of it.
bool gw_act_add_report(struct act *act, struct device *device, enum fact_kind kind, struct patient *patient);
bool gw_act_began(const struct act *act);

// ---- patients_adt.c, patients_associate.c, patients_clash.c: one function a verb ----

void gw_do_admit(struct act *act);
void gw_do_transfer(struct act *act);
void gw_do_discharge(struct act *act);
void gw_do_cancel_admit(struct act *act);
void gw_do_cancel_transfer(struct act *act);
void gw_do_cancel_discharge(struct act *act);
void gw_do_update(struct act *act);
void gw_do_swap(struct act *act);
void gw_do_merge(struct act *act);
void gw_do_change_id(struct act *act);
void gw_do_distinct(struct act *act);
void gw_do_associate(struct act *act);
void gw_do_dissociate(struct act *act);
void gw_do_revoke(struct act *act);
void gw_do_resume(struct act *act);
void gw_do_place(struct act *act);

#endif
