// SPDX-License-Identifier: Apache-2.0
// Rows of patients and of devices' associations (schemas/journal-format.md), and reading all of them. Whoever holds gw_patients_lock(), and `lines` for reading
// rows into memory.
#include "gateway/patients_internal.h"

#include "gateway/bytes.h"
#include "gateway/clock.h"
#include "gateway/diag.h"
#include "gateway/journal_rows.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ROW_VERSION 1
#define ROW_VERSION_MORE 2 // of what programs before would misread: a patient with contradictions, a fact of a kind that they do not know
#define ROW_VERSION_BEDS 3 // a patient with prior beds of transfers, or merges: as facts
#define PATIENT_HEAD 43
#define FACT_HEAD 28 // without the texts
#define CLASH_HEAD 19

// ---- Writing ----

static size_t
facts_size(const struct facts *facts)
{
	size_t size = 2;

	for (uint32_t i = 0; i < facts->count; i++)
		size += FACT_HEAD + (facts->at[i].bed != NULL ? facts->at[i].bed->len : 0) + facts->at[i].note->len;
	return size;
}

static uint64_t
patient_of(const struct fact *fact)
{
	return fact->patient != NULL ? fact->patient->number : fact->number;
}

static uint8_t *
put_fact(uint8_t *at, const struct fact *fact)
{
	at[0] = fact->kind;
	gw_put64(at + 1, (uint64_t)fact->time_us);
	gw_put64(at + 9, (uint64_t)fact->told_us);
	gw_put64(at + 17, patient_of(fact));
	at[25] = fact->bed != NULL ? fact->bed->len : 0;
	gw_put16(at + 26, fact->note->len);
	at += FACT_HEAD;
	if (fact->bed != NULL)
		at = gw_put_bytes(at, fact->bed->name, fact->bed->len);
	return gw_put_bytes(at, fact->note->bytes, fact->note->len);
}

static uint8_t *
put_facts(uint8_t *at, const struct facts *facts)
{
	gw_put16(at, (uint16_t)facts->count);
	at += 2;
	for (uint32_t i = 0; i < facts->count; i++)
		at = put_fact(at, &facts->at[i]);
	return at;
}

static struct gw_span
patient_key(uint64_t number, char key[48])
{
	return gw_span(key, (size_t)snprintf(key, 48, PATIENT_ROW_PREFIX "%016" PRIx64, number));
}

static struct gw_span
device_key(const struct device *device, char key[96])
{
	return gw_span(key, (size_t)snprintf(key, 96, PATIENT_DEVICE_PREFIX "%.*s", (int)device->len, device->id));
}

// What makes two facts the same is in the key: one that is told again replaces its row.
static struct gw_span
fact_key(const struct device *device, const struct fact *fact, char key[160])
{
	bool by_filler = fact->kind == FACT_VOID || fact->kind == FACT_RESUME;
	struct gw_span order = gw_note_text(fact->note, by_filler ? NOTE_FILLER : NOTE_ORDER);
	struct gw_span filler = fact->kind == FACT_BEGIN && !fact->by_order ? gw_note_text(fact->note, NOTE_FILLER) : gw_span(NULL, 0);
	uint8_t what[8 + GW_BED_MAX + 256 + 256];
	size_t len = fact->bed != NULL ? fact->bed->len : 0;

	gw_put64(what, patient_of(fact));
	if (fact->bed != NULL)
		memcpy(what + 8, fact->bed->name, len);
	if (order.len > 0)
		memcpy(what + 8 + len, order.at, order.len);
	len += order.len;
	if (filler.len > 0)
		memcpy(what + 8 + len, filler.at, filler.len);
	len += filler.len;
	return gw_span(key, (size_t)snprintf(key, 160, PATIENT_DEVICE_PREFIX "%.*s/%016" PRIx64 "%02x%016" PRIx64, (int)device->len, device->id,
	    (uint64_t)fact->time_us, fact->kind, gw_name_hash(gw_span(what, 8 + len))));
}

// Those that its messages said: the others' rows have theirs.
static size_t
clashes_size(const struct patient *patient, uint8_t *count)
{
	size_t size = 1;

	*count = 0;
	for (uint32_t i = 0; i < patient->clash_count; i++) {
		if (patient->clashes[i].mirror)
			continue;
		size += CLASH_HEAD + (size_t)patient->clashes[i].id_len + patient->clashes[i].authority_len;
		(*count)++;
	}
	return *count > 0 ? size : 0;
}

static uint8_t *
put_clashes(uint8_t *at, const struct patient *patient, uint8_t count)
{
	*at++ = count;
	for (uint32_t i = 0; i < patient->clash_count; i++) {
		const struct clash *clash = &patient->clashes[i];

		if (clash->mirror)
			continue;
		gw_put64(at, clash->other);
		gw_put64(at + 8, (uint64_t)clash->from_us);
		at[16] = clash->apart;
		at[17] = clash->id_len;
		at[18] = clash->authority_len;
		at = gw_put_bytes(at + CLASH_HEAD, clash->text, (size_t)clash->id_len + clash->authority_len);
	}
	return at;
}

static bool
has_beds(const struct facts *facts)
{
	for (uint32_t i = 0; i < facts->count; i++) {
		if (facts->at[i].kind >= FACT_FROM)
			return true;
	}
	return false;
}

enum gw_error
gw_patient_put(const struct patient *patient, struct gw_ticket *ticket)
{
	uint8_t clashes;
	size_t size = PATIENT_HEAD + patient->person_len + facts_size(&patient->moves) + clashes_size(patient, &clashes);
	uint8_t small[2048], *row = size <= sizeof(small) ? small : malloc(size), *at;
	enum gw_error error;
	char key[48];

	if (row == NULL)
		return GW_E_MEMORY;
	row[0] = has_beds(&patient->moves) ? ROW_VERSION_BEDS : clashes > 0 ? ROW_VERSION_MORE : ROW_VERSION;
	gw_put64(row + 1, patient->into != NULL ? patient->into->number : 0);
	gw_put64(row + 9, 0);
	gw_put64(row + 17, 0);
	gw_put64(row + 25, (uint64_t)patient->touched_us);
	gw_put64(row + 33, (uint64_t)patient->person_told_us);
	gw_put16(row + 41, patient->person_len);
	at = gw_put_bytes(row + PATIENT_HEAD, patient->person, patient->person_len);
	at = put_facts(at, &patient->moves);
	if (clashes > 0)
		at = put_clashes(at, patient, clashes);
	error = gw_ticket_put(ticket, patient_key(patient->number, key), gw_span(row, (size_t)(at - row)));
	if (row != small)
		free(row);
	return error;
}

enum gw_error
gw_patient_del(uint64_t number, struct gw_ticket *ticket)
{
	char key[48];

	return gw_ticket_del(ticket, patient_key(number, key));
}

static enum gw_error
put_one(const struct device *device, const struct fact *fact, struct gw_ticket *ticket)
{
	uint8_t row[1 + FACT_HEAD + GW_BED_MAX + NOTE_COUNT * 256];
	char key[160];

	row[0] = fact->kind >= FACT_VOID ? ROW_VERSION_MORE : ROW_VERSION;
	return gw_ticket_put(ticket, fact_key(device, fact, key), gw_span(row, (size_t)(put_fact(row + 1, fact) - row)));
}

// A beginning that takes the place of one that a program before stored: nothing else of the device has that row.
static enum gw_error
del_by_order(const struct device *device, const struct fact *fact, struct gw_ticket *ticket)
{
	struct fact old = *fact;
	char key[160], other[160];
	struct gw_span row;

	if (fact->kind != FACT_BEGIN || gw_note_text(fact->note, NOTE_FILLER).len == 0)
		return GW_OK;
	old.by_order = true;
	row = fact_key(device, &old, key);
	for (uint32_t i = 0; i < device->facts.count; i++) {
		const struct fact *one = &device->facts.at[i];

		if (one->stored && one->time_us == fact->time_us && one->kind == fact->kind && gw_span_equal(fact_key(device, one, other), row))
			return GW_OK;
	}
	return gw_ticket_del(ticket, row);
}

enum gw_error
gw_tracked_put(struct device *device, struct gw_ticket *ticket)
{
	const uint8_t pruned[2] = { ROW_VERSION, 1 };
	enum gw_error error = GW_OK;
	char key[96];

	for (uint32_t i = 0; i < device->facts.count && error == GW_OK; i++) {
		if (device->facts.at[i].stored)
			continue;
		error = del_by_order(device, &device->facts.at[i], ticket);
		if (error == GW_OK)
			error = put_one(device, &device->facts.at[i], ticket);
		device->facts.at[i].stored = true;
	}
	if (error == GW_OK && device->pruned && !device->pruned_stored)
		error = gw_ticket_put(ticket, device_key(device, key), gw_span(pruned, sizeof(pruned)));
	device->pruned_stored = device->pruned;
	return error;
}

enum gw_error
gw_tracked_del_fact(const struct device *device, const struct fact *fact, struct gw_ticket *ticket)
{
	char key[160];

	return fact->stored ? gw_ticket_del(ticket, fact_key(device, fact, key)) : GW_OK;
}

enum gw_error
gw_tracked_del(const struct device *device, struct gw_ticket *ticket)
{
	enum gw_error error = GW_OK;
	char key[96];

	for (uint32_t i = 0; i < device->facts.count && error == GW_OK; i++)
		error = gw_tracked_del_fact(device, &device->facts.at[i], ticket);
	return error == GW_OK ? gw_ticket_del(ticket, device_key(device, key)) : error;
}

// ---- Reading ----

struct loading {
	struct gw_patients *patients;
	struct gw_why *why;
	enum gw_error error;
};

static bool
note_is_whole(struct gw_span bytes)
{
	size_t at = 0;

	for (int i = 0; i < NOTE_COUNT; i++) {
		if (at >= bytes.len)
			return false;
		at += 1u + bytes.at[at];
	}
	return at == bytes.len;
}

// One fact from *at on; false where it is damaged.
static bool
read_fact(struct gw_patients *patients, const uint8_t **at, const uint8_t *end, struct fact *fact)
{
	size_t bed_len, note_len;
	uint64_t number;

	if (end - *at < FACT_HEAD)
		return false;
	*fact = (struct fact){ .kind = (*at)[0], .time_us = (int64_t)gw_get64(*at + 1), .told_us = (int64_t)gw_get64(*at + 9) };
	number = gw_get64(*at + 17);
	bed_len = (*at)[25];
	note_len = gw_get16(*at + 26);
	*at += FACT_HEAD;
	if ((size_t)(end - *at) < bed_len + note_len || bed_len > GW_BED_MAX || fact->kind == 0 || fact->kind >= FACT_KINDS ||
	    !note_is_whole(gw_span(*at + bed_len, note_len)))
		return false;
	fact->note = malloc(sizeof(*fact->note) + note_len);
	if (fact->note == NULL) {
		patients->failed = true;
		return false;
	}
	fact->note->len = (uint16_t)note_len;
	memcpy(fact->note->bytes, *at + bed_len, note_len);
	if (bed_len > 0)
		fact->bed = gw_bed_get(patients, gw_span(*at, bed_len));
	fact->number = number;
	*at += bed_len + note_len;
	return true;
}

// A device's fact leads to its patient, who may be forgotten.
static bool
link_fact(struct gw_patients *patients, struct device *device, struct fact *fact)
{
	if ((fact->kind != FACT_BEGIN && fact->kind != FACT_END && fact->kind != FACT_RESUME) || (fact->kind == FACT_END && fact->number == 0))
		return true;
	fact->patient = gw_patient_find(patients, fact->number);
	if (fact->patient == NULL)
		return false;
	if (fact->kind != FACT_END && !gw_patient_add_device(gw_patient_root(fact->patient), device))
		patients->failed = true;
	return true;
}

static void
drop_fact(struct gw_patients *patients, struct fact *fact)
{
	free(fact->note);
	gw_bed_put(patients, fact->bed);
}

static bool
read_moves(struct gw_patients *patients, struct facts *facts, const uint8_t **at, const uint8_t *end)
{
	struct fact fact;
	unsigned count;

	if (end - *at < 2)
		return false;
	count = gw_get16(*at);
	*at += 2;
	for (unsigned i = 0; i < count && i < FACTS_MAX; i++) {
		if (!read_fact(patients, at, end, &fact))
			return false;
		if (!gw_fact_insert(patients, facts, &fact)) {
			drop_fact(patients, &fact);
			patients->failed = true;
		}
	}
	return true;
}

static bool
read_clashes(struct gw_patients *patients, struct patient *patient, const uint8_t *at, const uint8_t *end)
{
	unsigned count = at < end ? *at++ : 0;

	for (unsigned i = 0; i < count; i++) {
		struct clash clash = { 0 };
		size_t len;

		if (end - at < CLASH_HEAD)
			return false;
		clash.other = gw_get64(at);
		clash.from_us = (int64_t)gw_get64(at + 8);
		clash.apart = (at[16] & 1) != 0;
		clash.id_len = at[17];
		clash.authority_len = at[18];
		len = (size_t)clash.id_len + clash.authority_len;
		at += CLASH_HEAD;
		if (clash.id_len > 64 || clash.authority_len > 64 || (size_t)(end - at) < len)
			return false;
		memcpy(clash.text, at, len);
		at += len;
		gw_clash_load(patients, patient, &clash);
	}
	return at == end;
}

// A damaged row must not keep all others out: it is left out and said; its patient's readings are held as nobody's.
static bool
damaged(struct loading *loading, const char *what)
{
	static struct gw_diag_limit limit;

	if (loading->patients->failed) {
		loading->error = gw_fail(loading->why, GW_E_MEMORY, "out of memory");
		return false;
	}
	gw_diag_limited(&limit, 10, GW_ERROR, "patients.row", "%s is damaged and left out", what);
	return true;
}

// What is missing could have ended what is there, or begun something else: nobody is given what may be another's.
static bool
patient_holed(void *arg, struct gw_span key, struct gw_span value)
{
	struct loading *loading = arg;

	(void)key, (void)value;
	if (!loading->patients->holed)
		gw_diag(GW_ERROR, "patients.row", "a patient's row is damaged: until it is salvaged and told again, what is measured at a bed is held");
	loading->patients->holed = true;
	return true;
}

static bool
device_holed(void *arg, struct gw_span key, struct gw_span value)
{
	const size_t prefix = sizeof(PATIENT_DEVICE_PREFIX) - 1;
	struct gw_span id = gw_span(key.at + prefix, key.len - prefix);
	const uint8_t *slash = memchr(id.at, '/', id.len);
	struct loading *loading = arg;
	struct device *device;

	(void)value;
	id.len = slash != NULL ? (size_t)(slash - id.at) : id.len;
	if (id.len > GW_ID_MAX || (device = gw_tracked_get(loading->patients, id)) == NULL)
		return !loading->patients->failed || damaged(loading, "");
	device->holed = true;
	gw_diag(GW_ERROR, "patients.row", "an association of device %.*s is damaged: what it measures is held until that is salvaged", GW_SPAN_FMT(id));
	return true;
}

static bool
known_version(struct loading *loading, struct gw_span value)
{
	if (value.len == 0 || value.at[0] <= ROW_VERSION_BEDS)
		return true;
	loading->error = gw_fail(loading->why, GW_E_VERSION, "patients were stored by a newer program (row version %d)", value.at[0]);
	return false;
}

static bool
load_patient(void *arg, struct gw_span key, struct gw_span value)
{
	const size_t prefix = sizeof(PATIENT_ROW_PREFIX) - 1;
	const uint8_t *at, *end = value.at + value.len;
	struct loading *loading = arg;
	struct patient *patient;
	char text[20] = "";
	uint64_t number;
	size_t len;

	if (!known_version(loading, value))
		return false;
	memcpy(text, key.at + prefix, key.len - prefix < sizeof(text) ? key.len - prefix : sizeof(text) - 1);
	number = strtoull(text, NULL, 16);
	len = value.len >= PATIENT_HEAD ? gw_get16(value.at + 41) : SIZE_MAX;
	if (number == 0 || value.len < PATIENT_HEAD || value.len - PATIENT_HEAD < len || !gw_person_check(gw_span(value.at + PATIENT_HEAD, len)))
		return patient_holed(loading, key, value);
	patient = gw_patient_add(loading->patients, number);
	if (patient == NULL)
		return damaged(loading, "");
	patient->into_number = gw_get64(value.at + 1);
	if (gw_get64(value.at + 9) != 0) // of a program that kept one of them, without the identifier
		gw_clash_load(loading->patients, patient, &(struct clash){ .other = gw_get64(value.at + 9), .from_us = (int64_t)gw_get64(value.at + 17) });
	patient->touched_us = (int64_t)gw_get64(value.at + 25);
	patient->person_told_us = (int64_t)gw_get64(value.at + 33);
	patient->person = len > 0 ? malloc(len) : NULL;
	if (len > 0 && patient->person == NULL) {
		loading->patients->failed = true;
		return damaged(loading, "");
	}
	if (len > 0)
		memcpy(patient->person, value.at + PATIENT_HEAD, len);
	patient->person_len = (uint16_t)len;
	if (!gw_person_index(loading->patients, patient, true))
		loading->patients->failed = true;
	at = value.at + PATIENT_HEAD + len;
	if (!read_moves(loading->patients, &patient->moves, &at, end) || !read_clashes(loading->patients, patient, at, end))
		return patient_holed(loading, key, value);
	return !loading->patients->failed || damaged(loading, "");
}

// "<id>": what is known of the device itself; "<id>/...": one fact.
static bool
load_device(void *arg, struct gw_span key, struct gw_span value)
{
	const size_t prefix = sizeof(PATIENT_DEVICE_PREFIX) - 1;
	struct gw_span id = gw_span(key.at + prefix, key.len - prefix);
	const uint8_t *slash = memchr(id.at, '/', id.len), *at = value.at + 1;
	struct loading *loading = arg;
	struct gw_patients *patients = loading->patients;
	struct device *device;
	struct fact fact;
	char own[160];

	if (!known_version(loading, value))
		return false;
	id.len = slash != NULL ? (size_t)(slash - id.at) : id.len;
	if (value.len < 2 || id.len > GW_ID_MAX)
		return damaged(loading, "a device's association");
	device = gw_tracked_get(patients, id);
	if (device == NULL)
		return damaged(loading, "");
	if (slash == NULL) {
		device->pruned = device->pruned_stored = value.at[1] != 0;
		return true;
	}
	if (device->facts.count == DEVICE_FACTS_MAX)
		return damaged(loading, "a device's association");
	if (!read_fact(patients, &at, value.at + value.len, &fact))
		return device_holed(loading, key, value);
	fact.stored = true;
	fact.by_order = fact.kind == FACT_BEGIN && gw_note_text(fact.note, NOTE_FILLER).len > 0 && !gw_span_equal(fact_key(device, &fact, own), key);
	if (at != value.at + value.len || !link_fact(patients, device, &fact) || !gw_fact_insert(patients, &device->facts, &fact)) {
		drop_fact(patients, &fact); // its patient is forgotten; or cannot be read
		device->holed |= patients->holed;
	} else if (fact.patient != NULL)
		fact.patient->direct++;
	return !patients->failed || damaged(loading, "");
}

// Merges lead somewhere, and nowhere in a circle.
static void
link_patients(struct gw_patients *patients)
{
	for (uint32_t i = 0; i < patients->count; i++) {
		struct patient *patient = patients->all[i], *into = gw_patient_find(patients, patient->into_number);

		if (patient->into_number == 0 || into == NULL || gw_patient_root(into) == patient)
			continue;
		patient->into = into;
		into->members++;
	}
}

static enum gw_error
load_numbers(struct gw_patients *patients)
{
	uint8_t number[8];
	size_t len = 0;
	enum gw_error error = gw_journal_get(patients->journal, gw_span_text(PATIENT_NEXT_ROW), number, sizeof(number), &len);

	if (error == GW_E_CORRUPT) { // as after a restore: no hub has known more patients than seconds
		gw_put64(number, (uint64_t)(gw_clock_wall_us() / 1000000));
		len = sizeof(number);
		error = GW_OK;
	}
	patients->next_number = error == GW_OK && len == 8 ? gw_get64(number) : 1;
	for (uint32_t i = 0; i < patients->count; i++) {
		if (patients->all[i]->number >= patients->next_number)
			patients->next_number = patients->all[i]->number + 1;
	}
	patients->numbers_end = patients->next_number;
	return error == GW_E_NOT_FOUND ? GW_OK : error;
}

enum gw_error
gw_patients_load(struct gw_patients *patients, struct gw_why *why)
{
	struct loading loading = { .patients = patients, .why = why };
	enum gw_error error;

	patients->horizon_us = INT64_MAX; // nothing of this is a change
	patients->holed = false;
	error = gw_rows_each(patients->journal, gw_span_text(PATIENT_ROW_PREFIX), gw_span("", 0), load_patient, patient_holed, &loading);
	if (error == GW_OK && loading.error == GW_OK) {
		link_patients(patients);
		error = gw_rows_each(patients->journal, gw_span_text(PATIENT_DEVICE_PREFIX), gw_span("", 0), load_device, device_holed, &loading);
	}
	if (error == GW_OK && loading.error == GW_OK)
		error = load_numbers(patients);
	if (loading.error != GW_OK)
		return loading.error;
	if (error != GW_OK)
		return gw_fail(why, error, "patients cannot be read: %s", gw_error_text(error));
	for (uint32_t i = 0; i < patients->count; i++)
		gw_derive_patient(patients, patients->all[i]);
	for (uint32_t i = 0; i < patients->device_count; i++)
		gw_derive_device(patients, patients->devices[i]);
	gw_clashes_link(patients);
	return patients->failed ? gw_fail(why, GW_E_MEMORY, "out of memory") : GW_OK;
}
