// SPDX-License-Identifier: Apache-2.0
// The model against a naive one: a random day of admissions, transfers, discharges, cancels, merges, prior beds and identifiers that contradict each other, placements and direct associations, told in any order and
// some of it twice. Whoever asks minute by minute gets the answer that brute force gives, before and after a restart; and every answer that an event changed
// lies within a range that its records name.
#include "tests/unit/patients_help.h"

#include "gateway/ticket.h"

#define MINUTES 120
#define EVENTS 70
#define PATIENTS 6
#define DEVICES 3
#define BEDS 4
#define NOBODY (-1)
#define CONFLICT (-2)
#define UNSURE (-3)

static const char *const patients[PATIENTS] = { "p0", "p1", "p2", "p3", "p4", "p5" };
static const char *const devices[DEVICES] = { "m1", "m2", "wall3" };
static const char *const beds[BEDS] = { "ICU^^3", "B1", "B2", "B3" };

// ---- A random day ----

enum kind { ENTER, MOVE, DISCHARGE, LEAVE, CANCEL, PLACE, UNPLACE, BEGIN, END, MERGE, CLASH };
struct event {
	enum kind kind;
	int minute, told, patient, other, device, bed, target, prior; // prior: bed of a MOVE, or -1; other: merged, or to whom another identifier leads; target: of a cancel; patient -1: everybody
};
struct day {
	struct event events[EVENTS];
	int count;
	uint64_t random;
};

static int
dice(struct day *day, int sides)
{
	day->random = day->random * 6364136223846793005u + 1442695040888963407u;
	return (int)((day->random >> 33) % (uint64_t)sides);
}

static bool
is_move(const struct event *event)
{
	return event->kind == ENTER || event->kind == MOVE || event->kind == DISCHARGE;
}

static void
make_day(struct day *day)
{
	static const enum kind kinds[] = { ENTER, ENTER, MOVE, MOVE, MOVE, DISCHARGE, DISCHARGE, LEAVE, CANCEL, CANCEL, PLACE, PLACE, UNPLACE, BEGIN, BEGIN, BEGIN, END, END, MERGE, CLASH, CLASH };
	int minutes[MINUTES];

	for (int i = 0; i < MINUTES; i++)
		minutes[i] = i;
	for (int i = MINUTES - 1; i > 0; i--) {
		int j = dice(day, i + 1), swap = minutes[i];

		minutes[i] = minutes[j];
		minutes[j] = swap;
	}
	for (day->count = 0; day->count < EVENTS; day->count++) {
		struct event *event = &day->events[day->count];

		*event = (struct event){ .kind = kinds[dice(day, sizeof(kinds) / sizeof(kinds[0]))], .minute = minutes[day->count], .told = 200 + day->count, .patient = dice(day, PATIENTS),
			.other = dice(day, PATIENTS), .device = dice(day, DEVICES), .bed = dice(day, BEDS), .target = -1, .prior = dice(day, 2 * BEDS) };
		event->prior = event->prior < BEDS ? event->prior : -1;
		if (event->kind == END && dice(day, 3) == 0)
			event->patient = -1;
		if (event->kind == MERGE && dice(day, 2) == 0)
			event->kind = MOVE;
		if (event->kind != CANCEL)
			continue;
		event->target = day->count > 0 ? dice(day, day->count) : -1;
		if (event->target < 0 || !is_move(&day->events[event->target])) {
			event->kind = PLACE;
			event->target = -1;
		}
	}
}

static struct gw_patient_event
event_of(const struct day *day, const struct event *event)
{
	static const enum gw_patient_verb verbs[] = { GW_PATIENT_ADMIT, GW_PATIENT_TRANSFER, GW_PATIENT_DISCHARGE, GW_PATIENT_DISSOCIATE, GW_PATIENT_CANCEL_ADMIT,
		GW_PATIENT_PLACE, GW_PATIENT_UNPLACE, GW_PATIENT_ASSOCIATE, GW_PATIENT_DISSOCIATE, GW_PATIENT_MERGE, GW_PATIENT_UPDATE };
	const struct event *what = event->target >= 0 ? &day->events[event->target] : event;
	struct gw_patient_event out = { .verb = verbs[event->kind], .time_us = at(what->minute), .told_us = at(event->told), .source = gw_span_text("test") };

	if (what->patient >= 0)
		out.person = person_of(patients[what->patient]);
	if (event->kind == CANCEL) {
		out.verb = what->kind == ENTER ? GW_PATIENT_CANCEL_ADMIT : what->kind == MOVE ? GW_PATIENT_CANCEL_TRANSFER : GW_PATIENT_CANCEL_DISCHARGE;
		if (what->kind != DISCHARGE)
			out.bed = gw_span_text(beds[what->bed]);
	}
	if (event->kind == ENTER || event->kind == MOVE || event->kind == LEAVE || event->kind == PLACE)
		out.bed = gw_span_text(beds[event->bed]);
	if (event->kind == MOVE && event->prior >= 0)
		out.prior_bed = gw_span_text(beds[event->prior]);
	if (event->kind == PLACE || event->kind == UNPLACE || event->kind == BEGIN || event->kind == END)
		out.device = gw_span_text(devices[event->device]);
	if (event->kind == PLACE || event->kind == UNPLACE)
		out.person = (struct gw_person){ 0 };
	if (event->kind == MERGE)
		out.other = person_of(patients[event->other]);
	if (event->kind == CLASH && event->other != event->patient)
		out.person.identifiers[out.person.identifier_count++] = person_of(patients[event->other]).identifiers[0];
	return out;
}

// ---- Brute force: of all that was told, what was true in a minute? ----

struct naive {
	const struct day *day;
	int group[PATIENTS]; // after merges
	bool cancelled[EVENTS];
};

static void
naive_make(struct naive *naive, const struct day *day)
{
	memset(naive, 0, sizeof(*naive));
	naive->day = day;
	for (int i = 0; i < PATIENTS; i++)
		naive->group[i] = i;
	for (int i = 0; i < day->count; i++) {
		const struct event *event = &day->events[i];

		if (event->kind == CANCEL)
			naive->cancelled[event->target] = true;
		for (int p = 0, from = event->kind == MERGE ? naive->group[event->other] : -1; event->kind == MERGE && p < PATIENTS; p++)
			naive->group[p] = naive->group[p] == from ? naive->group[event->patient] : naive->group[p];
	}
}

// Whether what was told as event i counts for a number: its own, or one that had been merged with it by then.
static bool
naive_counts(const struct naive *naive, int i, int number)
{
	int group[PATIENTS];

	for (int p = 0; p < PATIENTS; p++)
		group[p] = p;
	for (int m = 0; m < i; m++) {
		const struct event *merge = &naive->day->events[m];

		for (int p = 0, from = merge->kind == MERGE ? group[merge->other] : -1; merge->kind == MERGE && p < PATIENTS; p++)
			group[p] = group[p] == from ? group[merge->patient] : group[p];
	}
	return !naive->cancelled[i] && group[naive->day->events[i].patient] == group[number];
}

// The last time that somebody came into a bed, as an event; -1: never.
static int
naive_entry(const struct naive *naive, int number, int minute)
{
	int last = -1;

	for (int i = 0; i < naive->day->count; i++) {
		const struct event *event = &naive->day->events[i];

		if ((event->kind == ENTER || event->kind == MOVE) && event->minute <= minute && (last < 0 || event->minute > naive->day->events[last].minute) &&
		    naive_counts(naive, i, number))
			last = i;
	}
	return last;
}

static int
naive_bed(const struct naive *naive, int number, int minute)
{
	int entry = naive_entry(naive, number, minute), bed = entry >= 0 ? naive->day->events[entry].bed : -1;

	for (int i = 0; i < naive->day->count && entry >= 0; i++) {
		const struct event *event = &naive->day->events[i];

		if ((event->kind == DISCHARGE || (event->kind == LEAVE && event->bed == bed)) && event->minute <= minute &&
		    event->minute > naive->day->events[entry].minute && naive_counts(naive, i, number))
			return -1;
	}
	return bed;
}

// Whence a patient came to the bed in which he lies.
static int
naive_came(const struct naive *naive, int number, int minute)
{
	int entry = naive_entry(naive, number, minute);
	const struct event *event = &naive->day->events[entry];
	int was = naive_bed(naive, number, event->minute - 1);

	if (was == event->bed)
		return naive_came(naive, number, event->minute - 1);
	return event->kind == MOVE && event->prior >= 0 ? event->prior : was;
}

// Whether a later transfer says that a number was in a bed at that minute, though it was known in another.
static bool
naive_claimed(const struct naive *naive, int number, int bed, int minute)
{
	for (int i = 0; i < naive->day->count; i++) {
		const struct event *event = &naive->day->events[i];
		int before, was, left = MINUTES;

		if (event->kind != MOVE || event->prior != bed || event->minute <= minute || !naive_counts(naive, i, number))
			continue;
		before = event->minute - 1;
		was = naive_bed(naive, number, before);
		if (was < 0 || was == bed || (was == event->bed && naive_came(naive, number, before) == bed))
			continue;
		for (int j = 0; j < naive->day->count; j++) {
			const struct event *leave = &naive->day->events[j];

			if (leave->kind == LEAVE && leave->bed == bed && leave->minute < left && naive_counts(naive, j, number) &&
			    leave->minute >= naive->day->events[naive_entry(naive, number, before)].minute && leave->minute < event->minute)
				left = leave->minute;
		}
		if (minute >= naive->day->events[naive_entry(naive, number, before)].minute && minute < left)
			return true;
	}
	return false;
}

// All beds in which any number of a group is said to be, as bits.
static unsigned
naive_beds(const struct naive *naive, int group, int minute)
{
	unsigned all = 0;

	for (int p = 0; p < PATIENTS; p++) {
		if (naive->group[p] != group)
			continue;
		all |= naive_bed(naive, p, minute) >= 0 ? 1u << naive_bed(naive, p, minute) : 0;
		for (int bed = 0; bed < BEDS; bed++)
			all |= naive_claimed(naive, p, bed, minute) ? 1u << bed : 0;
	}
	return all;
}

static bool
naive_direct(const struct naive *naive, int device, int group, int minute)
{
	for (int i = 0; i < naive->day->count; i++) {
		const struct event *begin = &naive->day->events[i];
		bool over = false;

		if (begin->kind != BEGIN || begin->device != device || naive->group[begin->patient] != group || begin->minute > minute)
			continue;
		for (int j = 0; j < naive->day->count; j++) {
			const struct event *end = &naive->day->events[j];

			if (end->minute <= begin->minute || end->minute > minute)
				continue;
			over |= end->kind == END && end->device == device && (end->patient < 0 || naive->group[end->patient] == group);
			over |= end->kind == DISCHARGE && !naive->cancelled[j] && naive->group[end->patient] == group;
		}
		if (!over)
			return true;
	}
	return false;
}

static int
naive_place(const struct naive *naive, int device, int minute)
{
	int last = -1, bed = device == 2 ? 0 : -1; // wall3 stands at ICU^^3 by the registry until somebody says otherwise

	for (int i = 0; i < naive->day->count; i++) {
		const struct event *event = &naive->day->events[i];

		if ((event->kind == PLACE || event->kind == UNPLACE) && event->device == device && event->minute <= minute && event->minute > last) {
			last = event->minute;
			bed = event->kind == PLACE ? event->bed : -1;
		}
	}
	return bed;
}

// Once a message has said that two are one, both are in question from then on, until they are.
static bool
naive_contested(const struct naive *naive, int group, int minute)
{
	for (int i = 0; i < naive->day->count; i++) {
		const struct event *event = &naive->day->events[i];
		int one, other;

		if (event->kind != CLASH || event->minute > minute)
			continue;
		one = naive->group[event->patient];
		other = naive->group[event->other];
		if (one != other && (one == group || other == group))
			return true;
	}
	return false;
}

static int
naive_whose(const struct naive *naive, int device, int minute)
{
	int answer = NOBODY, bed = naive_place(naive, device, minute);

	for (int g = 0; g < PATIENTS; g++) {
		if (naive_direct(naive, device, g, minute))
			answer = answer == NOBODY ? g : CONFLICT;
	}
	for (int g = 0, first = answer; first == NOBODY && bed >= 0 && g < PATIENTS; g++) {
		unsigned all = naive->group[g] == g ? naive_beds(naive, g, minute) : 0;

		if ((all & 1u << bed) != 0)
			answer = answer == NOBODY && all == 1u << bed ? g : CONFLICT;
	}
	return answer >= 0 && naive_contested(naive, answer, minute) ? CONFLICT : answer;
}

// ---- The model's ----

static int
group_of(const struct naive *naive, uint64_t number)
{
	struct gw_patient patient;

	assert_true(gw_patients_get(hub.patients, number, &patient));
	assert_false(patient.merged);
	for (int p = 0; p < PATIENTS; p++) {
		if (strcmp(patient.identifiers[0].id, patients[p]) == 0)
			return naive->group[p];
	}
	fail();
	return -1;
}

static int
model_whose(const struct naive *naive, int device, int minute, int by, struct gw_owner *owner)
{
	*owner = owner_of(devices[device], at(minute) + MINUTE / 2, by * MINUTE);
	switch (owner->whose) {
	case GW_WHOSE_NOBODY:
		return NOBODY;
	case GW_WHOSE_CONFLICT:
		return CONFLICT;
	case GW_WHOSE_UNSURE:
		return UNSURE;
	case GW_WHOSE_PATIENT:
		break;
	}
	return group_of(naive, owner->patient);
}

static void
compare(const struct naive *naive, uint64_t seed)
{
	int truth[MINUTES];

	for (int d = 0; d < DEVICES; d++) {
		for (int m = 0; m < MINUTES; m++)
			truth[m] = naive_whose(naive, d, m);
		for (int m = 0; m < MINUTES; m++) {
			int by = (m * 7 + d) % 5, expected = truth[m];
			struct gw_owner owner;

			if (model_whose(naive, d, m, 0, &owner) != truth[m])
				fail_msg("seed %llu: %s at minute %d: %d, not %d", (unsigned long long)seed, devices[d], m, truth[m], (int)owner.whose);
			// The window: the same all through it.
			for (int i = 0; i < MINUTES; i++) {
				if (at(i) + MINUTE / 2 >= owner.from_us && at(i) + MINUTE / 2 < owner.to_us)
					assert_int_equal(truth[i], truth[m]);
			}
			for (int i = m - by; i <= m + by; i++)
				expected = i >= 0 && i < MINUTES && truth[i] != expected ? UNSURE : expected;
			if (m - by < 0 && naive_whose(naive, d, -1) != truth[m])
				expected = UNSURE;
			if (model_whose(naive, d, m, by, &owner) != expected)
				fail_msg("seed %llu: %s at minute %d -+ %d: not %d", (unsigned long long)seed, devices[d], m, by, expected);
		}
	}
}

// ---- Telling it, and what the records say ----

struct answers {
	uint64_t patient[DEVICES][MINUTES];
	enum gw_whose whose[DEVICES][MINUTES];
	char bed[DEVICES][MINUTES][GW_BED_MAX + 1];
};

static void
ask_all(struct answers *answers)
{
	for (int d = 0; d < DEVICES; d++) {
		for (int m = 0; m < MINUTES; m++) {
			struct gw_owner owner = owner_of(devices[d], at(m) + MINUTE / 2, 0);

			answers->patient[d][m] = owner.patient;
			answers->whose[d][m] = owner.whose;
			strcpy(answers->bed[d][m], owner.bed);
		}
	}
}

static bool
covered(const struct gw_ticket *ticket, const struct answers *before, const struct answers *after, int device, int minute)
{
	const struct gw_op *op = NULL;

	while ((op = gw_op_next(ticket, op)) != NULL) {
		struct gw_association_change change;
		struct gw_record record;

		if (op->kind != GW_OP_RECORD)
			continue;
		assert_int_equal(gw_record_open(1, gw_span(gw_op_body(op), op->body_len), &record, NULL), GW_OK);
		assert_int_equal(gw_association_open(&record, &change, NULL), GW_OK);
		if (at(minute) + MINUTE / 2 < change.from_us || at(minute) + MINUTE / 2 >= change.to_us)
			continue;
		if (gw_span_is(change.device, devices[device]) || (change.bed.len > 0 && (gw_span_is(change.bed, before->bed[device][minute]) ||
		    gw_span_is(change.bed, after->bed[device][minute]))))
			return true;
	}
	return false;
}

static struct answers after;
static int under_way;

static void
take_back(void)
{
	for (struct gw_ticket *back = gw_source_take(&hub.source), *next; back != NULL; back = next) {
		next = back->next;
		assert_int_equal(back->result, GW_OK);
		gw_ticket_release(back);
		under_way--;
	}
}

static void
tell_one(const struct day *day, const struct event *event, uint64_t seed)
{
	static struct answers before;
	struct gw_patient_event told_event = event_of(day, event);
	struct gw_ticket *ticket = gw_ticket_get(&hub.source);

	assert_non_null(ticket);
	before = after;
	gw_patients_lock(hub.patients);
	if (gw_patients_apply(hub.patients, &told_event, ticket, &hub.why) != GW_OK)
		fail_msg("%s", hub.why.text);
	gw_patients_unlock(hub.patients);
	ask_all(&after);
	for (int d = 0; d < DEVICES; d++) {
		for (int m = 0; m < MINUTES; m++) {
			if ((before.whose[d][m] != after.whose[d][m] || before.patient[d][m] != after.patient[d][m]) && !covered(ticket, &before, &after, d, m))
				fail_msg("seed %llu: no record tells that %s has changed at minute %d", (unsigned long long)seed, devices[d], m);
		}
	}
	gw_intake_submit(ticket);
	under_way++;
	take_back();
}

static void
one_day(uint64_t seed)
{
	struct day day = { .random = seed * 7919 };
	int order[EVENTS * 2], count = 0;
	struct naive naive;

	make_day(&day);
	naive_make(&naive, &day);
	for (int i = 0; i < day.count; i++) {
		order[count++] = i;
		if (dice(&day, 4) == 0)
			order[count++] = i;
	}
	for (int i = count - 1; i > 0; i--) {
		int j = dice(&day, i + 1), swap = order[i];

		order[i] = order[j];
		order[j] = swap;
	}
	for (int p = 0; p < PATIENTS; p++) // all are known: identifiers of nobody contradict nothing
		told((struct gw_patient_event){ .verb = GW_PATIENT_DISCHARGE, .time_us = at(-50), .told_us = at(-50), .person = person_of(patients[p]) });
	ask_all(&after);
	for (int i = 0; i < count; i++)
		tell_one(&day, &day.events[order[i]], seed);
	compare(&naive, seed);
	assert_int_equal(gw_patients_reload(hub.patients), GW_OK);
	while (under_way > 0)
		take_back();
	compare(&naive, seed);
	hub_restart();
	compare(&naive, seed);
}

static void
any_order_gives_the_same(void **state)
{
	const char *rounds = getenv("ROUNDS");
	uint64_t from = rounds != NULL && strchr(rounds, ':') != NULL ? strtoull(rounds, NULL, 10) : 1;
	uint64_t count = rounds != NULL ? strtoull(strchr(rounds, ':') != NULL ? strchr(rounds, ':') + 1 : rounds, NULL, 10) : 25;

	for (uint64_t seed = from; seed < from + count; seed++) {
		assert_int_equal(hub_open(state), 0);
		one_day(seed);
		assert_int_equal(hub_close(state), 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(any_order_gives_the_same) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
