// SPDX-License-Identifier: Apache-2.0
// A store with registry and patients, and events in one line each. Times are minutes of a made-up day.
#ifndef PATIENTS_HELP_H
#define PATIENTS_HELP_H

#include "gateway/clock.h"
#include "gateway/patients.h"
#include "tests/unit/store_help.h"

#define MINUTE INT64_C(60000000)
#define NOW (T0 + 2 * 24 * 60 * MINUTE)

struct hub {
	struct gw_journal *journal;
	struct gw_intake *intake;
	struct gw_registry *registry;
	struct gw_patients *patients;
	struct gw_source source;
	struct gw_why why;
};
static struct hub hub;

static inline int64_t
at(int64_t minutes)
{
	return T0 + minutes * MINUTE;
}

static inline void
hub_start(void)
{
	struct gw_intake_options options = { 0 };

	hub.journal = options.journal = store_open();
	assert_int_equal(gw_intake_open(&options, &hub.intake, &hub.why), GW_OK);
	assert_int_equal(gw_registry_open(hub.journal, hub.intake, &hub.registry, &hub.why), GW_OK);
	if (gw_patients_open(hub.journal, hub.intake, hub.registry, &hub.patients, &hub.why) != GW_OK)
		fail_msg("%s", hub.why.text);
	assert_int_equal(gw_source_init(&hub.source, hub.intake, 256), GW_OK);
}

static inline void
hub_stop(void)
{
	gw_patients_close(hub.patients);
	gw_registry_close(hub.registry);
	gw_source_fini(&hub.source);
	gw_intake_stop(hub.intake);
	gw_intake_close(hub.intake);
	gw_journal_close(hub.journal);
}

// What was not committed is gone; the rest is read again.
static inline void
hub_restart(void)
{
	hub_stop();
	hub_start();
}

static inline void
add_device(const char *id, const char *bed)
{
	struct gw_device device = { .speaks_for_count = 0 };

	strcpy(device.id, id);
	strcpy(device.profile, "p");
	strcpy(device.bed, bed);
	strcpy(device.user, id);
	strcpy(device.password_hash, "x");
	assert_int_equal(gw_registry_add(hub.registry, &device, &hub.why), GW_OK);
}

static inline int
hub_open(void **state)
{
	if (store_make(state) != 0)
		return -1;
	gw_clock_fake_wall(T0 - 10000 * MINUTE);
	hub_start();
	add_device("m1", "");
	add_device("m2", "");
	add_device("wall3", "ICU^^3");
	gw_clock_fake_wall(NOW);
	return 0;
}

static inline int
hub_close(void **state)
{
	hub_stop();
	gw_clock_fake_wall(INT64_MIN);
	return store_remove(state);
}

// "12" or "12^^^KLINIK", several with '~' between. Into spans of the text.
static inline struct gw_person
person_of(const char *text)
{
	struct gw_person person = { 0 };

	while (text != NULL && *text != '\0') {
		size_t len = strcspn(text, "~"), id = strcspn(text, "^~");
		struct gw_identifier *one = &person.identifiers[person.identifier_count++];

		one->id = gw_span(text, id);
		if (id < len)
			one->authority = gw_span(text + id + 3, len - id - 3);
		text += len + (text[len] == '~');
	}
	return person;
}

static inline enum gw_error
tell(struct gw_patient_event event)
{
	struct gw_ticket *ticket = gw_ticket_get(&hub.source);
	enum gw_error error;

	if (event.source.len == 0)
		event.source = gw_span_text("test");
	gw_patients_lock(hub.patients);
	error = gw_patients_apply(hub.patients, &event, ticket, &hub.why);
	if (error == GW_OK) {
		assert_true(ticket->essential);
		assert_int_equal(gw_intake_commit(ticket), GW_OK);
	}
	gw_patients_unlock(hub.patients);
	gw_ticket_release(ticket);
	return error;
}

static inline void
told(struct gw_patient_event event)
{
	if (tell(event) != GW_OK)
		fail_msg("%s", hub.why.text);
}

#define EVENT(verb_, minutes, ...) ((struct gw_patient_event){ .verb = GW_PATIENT_##verb_, .time_us = at(minutes), __VA_ARGS__ })
#define WHO(text) .person = person_of(text)
#define BED(text) .bed = gw_span_text(text)
#define DEVICE(text) .device = gw_span_text(text)
#define ORDER(text) .order = gw_span_text(text)
#define TOLD(minutes) .told_us = at(minutes)

static inline struct gw_owner
owner_of(const char *device, int64_t us, int64_t uncertainty_us)
{
	struct gw_owner owner;

	gw_patients_owner(hub.patients, gw_span_text(device), us, uncertainty_us, &owner);
	assert_true(owner.from_us <= us && us < owner.to_us);
	return owner;
}

// The first identifier of the patient to whom a device's reading belongs; "-" nobody, "!" conflict, "?" unsure.
static inline const char *
whose(const char *device, int64_t minutes)
{
	static struct gw_patient patient;
	struct gw_owner owner = owner_of(device, at(minutes), 0);

	if (owner.whose != GW_WHOSE_PATIENT)
		return owner.whose == GW_WHOSE_NOBODY ? "-" : owner.whose == GW_WHOSE_CONFLICT ? "!" : "?";
	assert_true(gw_patients_get(hub.patients, owner.patient, &patient));
	return patient.identifiers[0].id;
}

#define assert_whose(device, minutes, id) assert_string_equal(whose(device, minutes), id)

#endif
