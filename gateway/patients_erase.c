// SPDX-License-Identifier: Apache-2.0
// Erasing a person (GDPR Article 17): identifiers, names and everything that was told besides where somebody lay go. Who that was is not known any more, but that
// a bed or a device was somebody's stays for as long as associations are kept: otherwise a reading that may be of the erased patient would become surely another's.
// Such a patient has no person; what is his is nobody's (gateway/patients_owner.c). Under gw_patients_lock(), any thread.
#include "gateway/patients_internal.h"

#include "gateway/bytes.h"
#include "gateway/clock.h"

#include <stdlib.h>

struct erasing {
	struct gw_patients *patients;
	struct patient *root;
	int64_t now_us, until_us; // nothing goes on for longer than that
	struct gw_ticket *ticket;
	enum gw_error error;
};

static bool
is_his(const struct erasing *erasing, struct patient *patient)
{
	return patient != NULL && gw_patient_root(patient) == erasing->root;
}

// ---- Whose number, and where now ----

enum gw_error
gw_patients_numbers(struct gw_patients *patients, uint64_t number, uint64_t **numbers, size_t *count)
{
	struct patient *root;
	enum gw_error error = GW_E_MEMORY;

	*count = 0;
	pthread_rwlock_rdlock(&patients->lines);
	root = gw_patient_root(gw_patient_find(patients, number));
	if (root == NULL)
		error = GW_E_NOT_FOUND;
	else if ((*numbers = malloc(patients->count * sizeof(**numbers))) != NULL)
		error = GW_OK;
	for (uint32_t i = 0; i < patients->count && error == GW_OK; i++)
		if (gw_patient_root(patients->all[i]) == root)
			(*numbers)[(*count)++] = patients->all[i]->number;
	pthread_rwlock_unlock(&patients->lines);
	return error;
}

// ---- The person ----

static void
forget_person(struct erasing *erasing, struct patient *patient)
{
	(void)gw_person_index(erasing->patients, patient, false);
	free(patient->person);
	patient->person = NULL;
	patient->person_len = 0;
	patient->person_told_us = 0;
}

// Of an identifier that led to two, only that it did is kept.
static bool
forget_clashes(struct erasing *erasing, struct patient *patient)
{
	bool stored = false, his = is_his(erasing, patient);

	for (uint32_t i = 0; i < patient->clash_count; i++) {
		struct clash *clash = &patient->clashes[i];

		if (!his && !is_his(erasing, gw_patient_find(erasing->patients, clash->other)))
			continue;
		memset(clash->text, 0, sizeof(clash->text));
		clash->id_len = clash->authority_len = 0;
		stored |= !clash->mirror;
	}
	return stored;
}

// ---- Facts: as few as give the same intervals, without words ----

static struct note *
no_words(struct erasing *erasing)
{
	struct note *note = gw_note_new((const struct gw_span[NOTE_COUNT]){ { 0 } });

	if (note == NULL)
		erasing->patients->failed = true;
	return note;
}

static void
add(struct erasing *erasing, struct facts *facts, enum fact_kind kind, uint64_t number, int64_t us, struct bed *bed)
{
	struct fact fact = { .kind = (uint8_t)kind, .time_us = us, .told_us = us, .bed = bed, .number = number, .note = no_words(erasing) };

	if (fact.note == NULL)
		return;
	if (kind == FACT_BEGIN || kind == FACT_END)
		fact.patient = erasing->root;
	if (bed != NULL)
		bed->references++;
	(void)gw_fact_add(erasing->patients, facts, &fact);
}

static int64_t
ended(const struct erasing *erasing, int64_t to_us)
{
	to_us = to_us == GW_TIME_OPEN ? erasing->now_us : to_us;
	return to_us < erasing->until_us ? to_us : erasing->until_us;
}

#define LANES GW_ERASED_BEDS_MAX // beds at once that are told apart
#define ERASED_STAYS_MAX (FACTS_MAX / 2 - LANES)

static uint64_t
number_of(const struct erasing *erasing, unsigned lane)
{
	return erasing->root->number | (uint64_t)lane << 56; // no patient's
}

// In two beds at once is told of two numbers that nothing ever made one.
static void
add_lane(struct erasing *erasing, unsigned lane)
{
	struct fact fact = { .kind = FACT_MERGE, .time_us = erasing->now_us, .told_us = INT64_MAX, .number = erasing->root->number };
	struct gw_span texts[NOTE_COUNT] = { 0 };
	char text[33];

	gw_merge_text(erasing->root->number, number_of(erasing, lane), text);
	texts[NOTE_ORDER] = gw_span_text(text);
	if ((fact.note = gw_note_new(texts)) == NULL)
		erasing->patients->failed = true;
	else
		(void)gw_fact_add(erasing->patients, &erasing->root->moves, &fact);
}

static unsigned
lane_of(int64_t ends[LANES], const struct interval *stay)
{
	unsigned lane = 0;

	while (lane < LANES - 1 && ends[lane] > stay->from_us)
		lane++;
	ends[lane] = stay->to_us;
	return lane;
}

// Whether the patient is in a bed again, as one of that lane, when a stay ends.
static bool
goes_on(const struct erasing *erasing, const struct line *stays, const uint8_t *lanes, uint32_t from, uint32_t at)
{
	for (uint32_t i = at + 1; i < stays->count; i++) {
		if (lanes[i - from] == lanes[at - from])
			return stays->at[i].from_us <= stays->at[at].to_us && stays->at[i].from_us < ended(erasing, stays->at[i].to_us);
	}
	return false;
}

static void
rewrite_moves(struct erasing *erasing)
{
	struct patient *root = erasing->root;
	struct facts *moves = &root->moves;
	const struct line *stays = &root->stays;
	uint32_t from = stays->count > ERASED_STAYS_MAX ? stays->count - ERASED_STAYS_MAX : 0;
	int64_t ends[LANES] = { INT64_MIN, INT64_MIN, INT64_MIN, INT64_MIN };
	uint8_t lanes[ERASED_STAYS_MAX];

	while (moves->count > 0)
		gw_fact_drop(erasing->patients, moves, moves->count - 1);
	for (uint32_t i = from; i < stays->count; i++)
		lanes[i - from] = (uint8_t)lane_of(ends, &stays->at[i]);
	for (unsigned lane = 1; lane < LANES && ends[lane] != INT64_MIN; lane++)
		add_lane(erasing, lane);
	for (uint32_t i = from; i < stays->count; i++) {
		struct bed *bed = stays->at[i].what;
		int64_t to_us = ended(erasing, stays->at[i].to_us);

		if (stays->at[i].from_us >= to_us)
			continue;
		add(erasing, moves, FACT_ADMIT, number_of(erasing, lanes[i - from]), stays->at[i].from_us, bed);
		if (!goes_on(erasing, stays, lanes, from, i))
			add(erasing, moves, FACT_LEAVE, number_of(erasing, lanes[i - from]), to_us, bed);
	}
	gw_derive_patient(erasing->patients, root);
}

// What names an order or an association of his concerns it, also where it names nobody.
static bool
concerns_his(const struct erasing *erasing, const struct device *device, const struct fact *fact)
{
	enum note_text which = fact->kind == FACT_VOID ? NOTE_FILLER : NOTE_ORDER;
	struct gw_span text = gw_note_text(fact->note, which);

	if ((fact->kind != FACT_END && fact->kind != FACT_VOID) || fact->patient != NULL || text.len == 0)
		return false;
	for (uint32_t i = 0; i < device->facts.count; i++)
		if (is_his(erasing, device->facts.at[i].patient) && gw_span_equal(gw_note_text(device->facts.at[i].note, which), text))
			return true;
	return false;
}

static void
drop_facts(struct erasing *erasing, struct device *device)
{
	for (uint32_t pass = 0; pass < 2; pass++) // what names nobody first, while what it ends is there
		for (uint32_t i = device->facts.count; i-- > 0 && erasing->error == GW_OK;) {
			struct fact *fact = &device->facts.at[i];

			if (pass == 0 ? !concerns_his(erasing, device, fact) : !is_his(erasing, fact->patient))
				continue;
			erasing->error = gw_tracked_del_fact(device, fact, erasing->ticket);
			gw_fact_drop(erasing->patients, &device->facts, i);
		}
}

// His times with the device, joined where they touch.
static void
rewrite_directs(struct erasing *erasing, struct device *device)
{
	struct line *directs = &device->directs, before = *directs;
	int64_t from_us = 0, to_us = INT64_MIN;
	bool open = false;

	*directs = (struct line){ 0 }; // what is made of the facts below replaces it
	drop_facts(erasing, device);
	for (uint32_t i = 0; i <= before.count; i++) {
		const struct interval *one = i < before.count ? &before.at[i] : NULL;

		if (one != NULL && one->what != erasing->root)
			continue;
		if (open && (one == NULL || one->from_us > to_us)) {
			add(erasing, &device->facts, FACT_BEGIN, 0, from_us, NULL);
			add(erasing, &device->facts, FACT_END, 0, to_us, NULL);
			open = false;
		}
		if (one == NULL || one->from_us >= ended(erasing, one->to_us))
			continue;
		from_us = open ? from_us : one->from_us;
		to_us = open && to_us > ended(erasing, one->to_us) ? to_us : ended(erasing, one->to_us);
		open = true;
	}
	free(before.at);
	gw_derive_device(erasing->patients, device);
	if (erasing->error == GW_OK)
		erasing->error = gw_tracked_put(device, erasing->ticket);
}

// ---- All of it ----

static void
erase(struct erasing *erasing)
{
	struct gw_patients *patients = erasing->patients;

	for (uint32_t i = 0; i < patients->device_count && erasing->error == GW_OK && !patients->failed; i++) {
		struct device *device = patients->devices[i];
		bool his = false;

		for (uint32_t j = 0; j < device->facts.count && !his; j++)
			his = is_his(erasing, device->facts.at[j].patient);
		if (his)
			rewrite_directs(erasing, device);
	}
	if (erasing->error == GW_OK && !patients->failed)
		rewrite_moves(erasing);
	for (uint32_t i = 0; i < patients->count && erasing->error == GW_OK && !patients->failed; i++) {
		bool his = is_his(erasing, patients->all[i]);

		if (!forget_clashes(erasing, patients->all[i]) && !his)
			continue;
		if (his)
			forget_person(erasing, patients->all[i]);
		erasing->error = gw_patient_put(patients->all[i], erasing->ticket);
	}
}

enum gw_error
gw_patients_forget_until(struct gw_patients *patients, uint64_t number, int64_t until_us, struct gw_ticket *ticket)
{
	struct erasing erasing = { .patients = patients, .now_us = gw_clock_wall_us(), .until_us = until_us, .ticket = ticket };

	if (patients->failed)
		return GW_E_MEMORY;
	pthread_rwlock_wrlock(&patients->lines);
	patients->now_us = erasing.now_us;
	patients->horizon_us = INT64_MAX; // nobody is told of a change: what went out for him is erased elsewhere
	if ((erasing.root = gw_patient_root(gw_patient_find(patients, number))) != NULL)
		erase(&erasing);
	while (patients->range_count > 0)
		gw_bed_put(patients, patients->ranges[--patients->range_count].bed);
	if (patients->grave_count > 0)
		gw_graves_empty(patients);
	patients->horizon_us = patients->now_us - patients->options.keep_us;
	atomic_fetch_add_explicit(&patients->generation, 1, memory_order_release);
	if (erasing.error == GW_OK && patients->failed)
		erasing.error = GW_E_MEMORY;
	if (erasing.error != GW_OK)
		patients->failed = true;
	pthread_rwlock_unlock(&patients->lines);
	ticket->essential = true;
	return erasing.root == NULL ? GW_E_NOT_FOUND : erasing.error;
}

enum gw_error
gw_patients_forget_person(struct gw_patients *patients, uint64_t number, struct gw_ticket *ticket)
{
	return gw_patients_forget_until(patients, number, INT64_MAX, ticket);
}

// Seconds: no hub has known more patients than that, and a later restore begins above.
enum gw_error
gw_patients_begin_anew(struct gw_journal *journal, struct gw_ticket *ticket)
{
	uint64_t next = (uint64_t)(gw_clock_wall_us() / 1000000);
	uint8_t number[8];
	size_t len = 0;
	enum gw_error error = gw_journal_get(journal, gw_span_text(PATIENT_NEXT_ROW), number, sizeof(number), &len);

	if (error != GW_OK && error != GW_E_NOT_FOUND)
		return error;
	if (error == GW_OK && len == 8 && gw_get64(number) > next)
		next = gw_get64(number);
	gw_put64(number, next);
	return gw_ticket_put(ticket, gw_span_text(PATIENT_NEXT_ROW), gw_span(number, sizeof(number)));
}
