// SPDX-License-Identifier: Apache-2.0
// Patients and associations: opening, the locks, changes by command, and reading a patient. Threads: as gateway/patients.h says.
#include "gateway/patients_internal.h"

#include "gateway/clock.h"
#include "gateway/diag.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define KEEP_DAYS 35
#define PATIENTS_MAX 100000
#define COMMAND_BYTES_MAX 65536 // beyond, a list is new data: it waits while the store is full

void
gw_patients_configure(struct gw_patients *patients, const struct gw_patients_options *options)
{
	pthread_mutex_lock(&patients->changing);
	pthread_rwlock_wrlock(&patients->lines);
	patients->options = *options;
	if (options->keep_us == 0)
		patients->options.keep_us = KEEP_DAYS * 24 * HOUR_US;
	if (options->patients_max == 0)
		patients->options.patients_max = PATIENTS_MAX;
	pthread_rwlock_unlock(&patients->lines);
	pthread_mutex_unlock(&patients->changing);
}

static void
init_locks(struct gw_patients *patients)
{
	pthread_rwlockattr_t attributes;

	pthread_mutex_init(&patients->changing, NULL);
	pthread_rwlockattr_init(&attributes);
	// Exporters ask all the time: a change must get its turn.
	pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&patients->lines, &attributes);
	pthread_rwlockattr_destroy(&attributes);
}

static void
patients_free(struct gw_patients *patients)
{
	gw_patients_empty(patients);
	free(patients->registered.slots);
	free(patients->all);
	free(patients->devices);
	pthread_rwlock_destroy(&patients->lines);
	pthread_mutex_destroy(&patients->changing);
	free(patients);
}

enum gw_error
gw_patients_open(struct gw_journal *journal, struct gw_intake *intake, struct gw_registry *registry, struct gw_patients **out, struct gw_why *why)
{
	struct gw_patients *patients = calloc(1, sizeof(*patients));
	enum gw_error error;

	*out = NULL;
	if (patients == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	patients->journal = journal;
	patients->registry = registry;
	patients->generation = 1;
	init_locks(patients);
	gw_patients_configure(patients, &(struct gw_patients_options){ 0 });
	randombytes_buf(patients->hash_key, sizeof(patients->hash_key));
	error = gw_source_init(&patients->source, intake, 1);
	if (error != GW_OK) {
		patients_free(patients);
		return gw_fail(why, error, "%s", gw_error_text(error));
	}
	error = gw_patients_load(patients, why);
	if (error != GW_OK) {
		gw_patients_close(patients);
		return error;
	}
	*out = patients;
	return GW_OK;
}

void
gw_patients_close(struct gw_patients *patients)
{
	if (patients == NULL)
		return;
	gw_source_fini(&patients->source);
	patients_free(patients);
}

void
gw_patients_lock(struct gw_patients *patients)
{
	pthread_mutex_lock(&patients->changing);
}

void
gw_patients_unlock(struct gw_patients *patients)
{
	pthread_mutex_unlock(&patients->changing);
}

uint64_t
gw_patients_generation(const struct gw_patients *patients)
{
	return atomic_load_explicit(&patients->generation, memory_order_acquire) + gw_registry_generation(patients->registry);
}

size_t
gw_bed_name(struct gw_span text, char out[GW_BED_MAX + 1])
{
	out[0] = '\0';
	while (text.len > 0 && strchr(" \t\r\n", text.at[0]) != NULL && text.at[0] != '\0')
		text = gw_span(text.at + 1, text.len - 1);
	while (text.len > 0 && strchr(" \t\r\n^", text.at[text.len - 1]) != NULL && text.at[text.len - 1] != '\0')
		text.len--;
	if (text.len > GW_BED_MAX)
		return GW_BED_MAX + 1;
	if (text.len > 0)
		memcpy(out, text.at, text.len);
	out[text.len] = '\0';
	return text.len;
}

// ---- Changes ----

// Tickets come back in order: when one that was submitted now is back, all before it are stored or refused.
static enum gw_error
reload(struct gw_patients *patients)
{
	struct gw_ticket *ticket = gw_ticket_get(&patients->source);
	struct gw_why why = { "" };
	enum gw_error error;

	if (ticket != NULL) {
		ticket->essential = true;
		(void)gw_intake_commit(ticket);
		gw_ticket_release(ticket);
	}
	pthread_rwlock_wrlock(&patients->lines);
	gw_patients_empty(patients);
	error = gw_patients_load(patients, &why);
	atomic_fetch_add_explicit(&patients->generation, 1, memory_order_release);
	pthread_rwlock_unlock(&patients->lines);
	patients->failed = error != GW_OK; // half of it is not to be built on
	if (error != GW_OK)
		gw_diag(GW_ERROR, "patients.reload", "%s", why.text);
	return error;
}

enum gw_error
gw_patients_reload(struct gw_patients *patients)
{
	enum gw_error error;

	pthread_mutex_lock(&patients->changing);
	error = reload(patients);
	pthread_mutex_unlock(&patients->changing);
	return error;
}

// Nothing is read again here: tickets that are not submitted yet may hold what memory has.
enum gw_error
gw_patients_apply(struct gw_patients *patients, const struct gw_patient_event *event, struct gw_ticket *ticket, struct gw_why *why)
{
	enum gw_error error = gw_patients_do(patients, event, ticket, why);

	return patients->failed ? GW_E_MEMORY : error;
}

static enum gw_error
put_command(struct gw_ticket *ticket, const struct gw_patient_event *event, const char *command)
{
	struct gw_event record = { .received_us = gw_clock_wall_us(), .door = GW_DOOR_COMMAND, .device = event->device, .principal = event->source,
		.text = gw_span_text(command) };

	if (record.principal.len > GW_ID_MAX)
		record.principal.len = GW_ID_MAX;
	return gw_ticket_event(ticket, GW_RECORD_COMMAND, &record);
}

// All of them and the record of the command in one ticket. *changed: memory is ahead of the store until it is committed.
static enum gw_error
fill(struct gw_patients *patients, const struct gw_patient_event *events, size_t count, struct gw_ticket *ticket, size_t *failed, bool *changed,
    struct gw_why *why)
{
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < count && error == GW_OK; i++) {
		*failed = i;
		error = gw_patients_do(patients, &events[i], ticket, why);
		*changed |= ticket->ops_len > 0 || patients->failed;
	}
	return error;
}

// The lock is held until the commit is there: a command is rare, and what comes meanwhile waits for it no longer than for the commit of its own.
enum gw_error
gw_patients_change_many(struct gw_patients *patients, const struct gw_patient_event *events, size_t count, const char *command, size_t *failed,
    struct gw_why *why)
{
	struct gw_ticket *ticket;
	enum gw_error error;
	bool changed = false;

	if (count == 0)
		return GW_OK;
	pthread_mutex_lock(&patients->changing);
	if (patients->failed)
		(void)reload(patients);
	ticket = gw_ticket_get(&patients->source);
	error = ticket == NULL ? gw_fail(why, GW_E_MEMORY, "out of memory") : fill(patients, events, count, ticket, failed, &changed, why);
	if (error == GW_OK && (error = put_command(ticket, &events[0], command)) == GW_OK) {
		ticket->essential = ticket->ops_len <= COMMAND_BYTES_MAX;
		error = gw_intake_commit(ticket);
		if (error != GW_OK)
			(void)gw_fail(why, error, "the change could not be stored: %s", gw_error_text(error));
	}
	if (ticket != NULL)
		gw_ticket_release(ticket);
	if (error != GW_OK && changed)
		(void)reload(patients);
	pthread_mutex_unlock(&patients->changing);
	return error;
}

enum gw_error
gw_patients_change(struct gw_patients *patients, const struct gw_patient_event *event, struct gw_why *why)
{
	static const char *const names[] = {
		[GW_PATIENT_ADMIT] = "admit", [GW_PATIENT_TRANSFER] = "transfer", [GW_PATIENT_DISCHARGE] = "discharge", [GW_PATIENT_UPDATE] = "update",
		[GW_PATIENT_CANCEL_ADMIT] = "cancel admit", [GW_PATIENT_CANCEL_TRANSFER] = "cancel transfer",
		[GW_PATIENT_CANCEL_DISCHARGE] = "cancel discharge", [GW_PATIENT_SWAP] = "swap", [GW_PATIENT_MERGE] = "merge",
		[GW_PATIENT_CHANGE_ID] = "change identifier", [GW_PATIENT_ASSOCIATE] = "associate", [GW_PATIENT_DISSOCIATE] = "dissociate",
		[GW_PATIENT_PLACE] = "place", [GW_PATIENT_UNPLACE] = "unplace",
		[GW_PATIENT_DISTINCT] = "distinct", [GW_PATIENT_REVOKE] = "revoke",
		[GW_PATIENT_RESUME] = "resume",
	};
	const char *name = event->verb >= GW_PATIENT_ADMIT && event->verb <= GW_PATIENT_RESUME ? names[event->verb] : "";
	char command[320];
	size_t failed;

	snprintf(command, sizeof(command), "patient %s%s%.*s%s%.*s", name, event->device.len > 0 ? ", device " : "", GW_SPAN_FMT(event->device),
	    event->bed.len > 0 ? ", bed " : "", (int)(event->bed.len < GW_BED_MAX ? event->bed.len : GW_BED_MAX), (const char *)event->bed.at);
	return gw_patients_change_many(patients, event, 1, command, &failed, why);
}

// ---- Reading a patient ----

static void
copy(struct gw_span text, char *out, size_t cap)
{
	size_t len = text.len < cap ? text.len : cap - 1;

	if (len > 0)
		memcpy(out, text.at, len);
	out[len] = '\0';
}

static void
copy_person(const struct person *person, struct gw_patient *out)
{
	const struct { char *at; size_t cap; } texts[8] = {
		{ out->family, sizeof(out->family) }, { out->given, sizeof(out->given) }, { out->middle, sizeof(out->middle) },
		{ out->suffix, sizeof(out->suffix) }, { out->prefix, sizeof(out->prefix) }, { out->birth, sizeof(out->birth) },
		{ out->sex, sizeof(out->sex) }, { out->account, sizeof(out->account) },
	};

	out->identifier_count = person->identifier_count;
	for (size_t i = 0; i < person->identifier_count; i++) {
		copy(person->identifiers[i].id, out->identifiers[i].id, sizeof(out->identifiers[i].id));
		copy(person->identifiers[i].authority, out->identifiers[i].authority, sizeof(out->identifiers[i].authority));
		copy(person->identifiers[i].type, out->identifiers[i].type, sizeof(out->identifiers[i].type));
	}
	for (size_t i = 0; i < 8; i++)
		copy(person->texts[i], texts[i].at, texts[i].cap);
}

bool
gw_patients_get(struct gw_patients *patients, uint64_t number, struct gw_patient *out)
{
	struct patient *patient;
	struct person person;

	memset(out, 0, sizeof(*out));
	pthread_rwlock_rdlock(&patients->lines);
	patient = gw_patient_find(patients, number);
	if (patient != NULL) {
		out->number = number;
		out->merged = patient->into != NULL;
		out->into = patient->into != NULL ? gw_patient_root(patient)->number : 0;
		gw_person_unpack(gw_span(patient->person, patient->person_len), &person);
		copy_person(&person, out);
	}
	pthread_rwlock_unlock(&patients->lines);
	return patient != NULL;
}

uint64_t
gw_patients_resolve(struct gw_patients *patients, uint64_t number)
{
	const struct patient *patient;

	pthread_rwlock_rdlock(&patients->lines);
	patient = gw_patient_root(gw_patient_find(patients, number));
	number = patient != NULL ? patient->number : 0;
	pthread_rwlock_unlock(&patients->lines);
	return number;
}

// How many patients have this id, whoever gave it; *found is the last of them.
static unsigned
count_ids(const struct gw_patients *patients, struct gw_span id, struct patient **found)
{
	struct person person;
	unsigned count = 0;

	for (uint32_t i = 0; i < patients->count; i++) {
		struct patient *root = gw_patient_root(patients->all[i]);

		gw_person_unpack(gw_span(patients->all[i]->person, patients->all[i]->person_len), &person);
		for (size_t j = 0; j < person.identifier_count; j++) {
			if (!gw_span_equal(person.identifiers[j].id, id) || (count > 0 && *found == root))
				continue;
			*found = root;
			count++;
		}
	}
	return count;
}

enum gw_error
gw_patients_find(struct gw_patients *patients, const struct gw_identifier *identifier, uint64_t *number, struct gw_why *why)
{
	struct patient *patient;
	unsigned count;

	pthread_rwlock_rdlock(&patients->lines);
	patient = gw_patient_root(gw_patient_by_identifier(patients, identifier));
	count = patient != NULL ? 1 : 0;
	if (patient == NULL && identifier->authority.len == 0)
		count = count_ids(patients, identifier->id, &patient);
	*number = count == 1 ? patient->number : 0;
	pthread_rwlock_unlock(&patients->lines);
	if (count > 1)
		return gw_fail(why, GW_E_ARGUMENT, "%u patients have this id: name the authority, as in ID^^^AUTHORITY", count);
	return count == 1 ? GW_OK : gw_fail(why, GW_E_NOT_FOUND, "no patient with this identifier is known");
}
