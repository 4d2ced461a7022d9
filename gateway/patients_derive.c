// SPDX-License-Identifier: Apache-2.0
// From facts to intervals. A patient's stays follow from all that was told of where the patient went, in order of the times at which it happened; a device's
// associations from what was told of the device and from when its patients were discharged or moved. The same facts give the same intervals, in whatever
// order they came. Whoever holds both locks of gateway/patients_internal.h.
#include "gateway/patients_internal.h"

#include <assert.h>
#include <stdlib.h>

void
gw_range_add(struct gw_patients *patients, struct bed *bed, struct device *device, int64_t from_us, int64_t to_us)
{
	struct range *range;

	if (from_us >= to_us || to_us <= patients->horizon_us)
		return;
	for (uint32_t i = 0; i < patients->range_count; i++) {
		range = &patients->ranges[i];
		if (range->bed != bed || range->device != device)
			continue;
		range->from_us = from_us < range->from_us ? from_us : range->from_us;
		range->to_us = to_us > range->to_us ? to_us : range->to_us;
		return;
	}
	// The last one stands for all beds and devices that have no place of their own.
	if (patients->range_count >= RANGES_MAX - 1 && (bed != NULL || device != NULL)) {
		gw_range_add(patients, NULL, NULL, from_us, to_us);
		return;
	}
	if (bed != NULL)
		bed->references++;
	patients->ranges[patients->range_count++] = (struct range){ bed, device, from_us, to_us };
}

// ---- Cancels ----

static bool
is_cancel(const struct fact *fact)
{
	return fact->kind >= FACT_CANCEL_ADMIT && fact->kind <= FACT_CANCEL_DISCHARGE;
}

static bool
may_cancel(const struct fact *cancel, const struct fact *fact)
{
	static const uint8_t targets[FACT_KINDS] = {
		[FACT_CANCEL_ADMIT] = FACT_ADMIT, [FACT_CANCEL_TRANSFER] = FACT_TRANSFER, [FACT_CANCEL_DISCHARGE] = FACT_DISCHARGE,
	};

	// One of the very time is meant even where it was cancelled before: the cancel was only told again.
	return fact->kind == targets[cancel->kind] && (!fact->cancelled || fact->time_us == cancel->time_us) && fact->told_us <= cancel->told_us &&
	    fact->time_us <= cancel->time_us && (cancel->bed == NULL || fact->kind == FACT_DISCHARGE || cancel->bed == fact->bed);
}

// The fact that a cancel means: the one of its very time, else the latest before it that had been told by then. UINT32_MAX: none.
static uint32_t
target_of(const struct facts *facts, const struct fact *cancel)
{
	for (uint32_t i = facts->count; i > 0; i--) {
		if (may_cancel(cancel, &facts->at[i - 1]))
			return i - 1; // by time: one of the very time comes first
	}
	return UINT32_MAX;
}

// Marks what is cancelled, in the order in which the cancels were told. targets, where given, gets each cancel's fact.
static void
bind(const struct facts *facts, uint32_t *targets)
{
	int64_t done_us = INT64_MIN, next_us;

	for (uint32_t i = 0; i < facts->count; i++)
		facts->at[i].cancelled = false;
	for (;; done_us = next_us) {
		next_us = INT64_MAX;
		for (uint32_t i = 0; i < facts->count; i++) {
			if (is_cancel(&facts->at[i]) && facts->at[i].told_us > done_us && facts->at[i].told_us < next_us)
				next_us = facts->at[i].told_us;
		}
		if (next_us == INT64_MAX)
			return;
		for (uint32_t i = 0; i < facts->count; i++) {
			const struct fact *cancel = &facts->at[i];
			uint32_t target;

			if (!is_cancel(cancel) || cancel->told_us != next_us)
				continue;
			target = target_of(facts, cancel);
			for (uint32_t j = 0; target < facts->count && j < facts->count; j++) {
				const struct fact *meant = &facts->at[target]; // told under two numbers it is two facts

				if (facts->at[j].time_us == meant->time_us && facts->at[j].kind == meant->kind && facts->at[j].bed == meant->bed &&
				    facts->at[j].told_us <= cancel->told_us)
					facts->at[j].cancelled = true;
			}
			if (targets != NULL)
				targets[i] = target;
			for (uint32_t j = 0; cancel->kind == FACT_CANCEL_ADMIT && j < facts->count; j++) {
				struct fact *seen = &facts->at[j];

				if (seen->kind == FACT_SEEN && seen->time_us <= cancel->time_us && (cancel->bed == NULL || cancel->bed == seen->bed))
					seen->cancelled = true;
			}
		}
	}
}

// ---- A patient's stays ----

struct walk {
	struct gw_patients *patients;
	struct patient *patient;
	struct line *stays, *claims; // where the patient was; what contradicts that
	const uint32_t *masks; // of the patient's facts...
	uint32_t thread;       // ...those that count
	struct bed *bed;       // NULL: in none
	struct bed *came_from; // into that one; NULL: not known
	int64_t confirmed_us;  // when the bed was told last
	int64_t prior_us;      // a transfer of this time was looked at
	int64_t from_us;
	const struct note *note, *order;
	bool known;      // something was told of where the patient is
	bool ordered;    // only an order says that the patient is in this bed
	bool nowhere;    // a transfer says that the patient is where beds have no names
	bool turns;      // they are taken
};

static void
add_turn(struct walk *walk, const struct fact *fact, bool discharge, bool other_visit)
{
	struct patient *patient = walk->patient;

	if (!walk->turns)
		return;
	if (patient->turn_count == patient->turn_cap) {
		uint32_t cap = patient->turn_cap == 0 ? 2 : patient->turn_cap * 2;
		struct turn *more = realloc(patient->turns, cap * sizeof(*more));

		if (more == NULL) {
			walk->patients->failed = true;
			return;
		}
		patient->turns = more;
		patient->turn_cap = cap;
	}
	patient->turns[patient->turn_count++] = (struct turn){ fact->time_us, discharge, other_visit, fact->note };
}

static void
close_stay(struct walk *walk, int64_t to_us)
{
	struct interval stay = { .from_us = walk->from_us, .to_us = to_us, .what = walk->bed, .note = walk->note, .order = walk->order };

	if (walk->bed != NULL && stay.from_us < stay.to_us && !gw_line_add(walk->stays, &stay))
		walk->patients->failed = true;
	walk->bed = NULL;
}

static bool
same_text(const struct note *a, const struct note *b, enum note_text which)
{
	return gw_span_equal(gw_note_text(a, which), gw_note_text(b, which));
}

// A transfer is one wherever the patient came from: where no bed was known, and where none is told.
static void
enter(struct walk *walk, const struct fact *fact)
{
	bool moved = fact->kind == FACT_TRANSFER ? fact->bed == NULL || walk->bed != fact->bed : walk->bed != NULL && walk->bed != fact->bed;

	walk->ordered = fact->kind == FACT_ORDER;
	walk->nowhere = fact->bed == NULL;
	walk->confirmed_us = fact->time_us;
	if (walk->bed != NULL && walk->bed == fact->bed && same_text(walk->note, fact->note, NOTE_VISIT) && same_text(walk->note, fact->note, NOTE_CLASS))
		return;
	if (moved)
		add_turn(walk, fact, false, false);
	if (walk->bed != fact->bed)
		walk->came_from = walk->bed;
	close_stay(walk, fact->time_us);
	walk->bed = fact->bed;
	walk->from_us = fact->time_us;
	walk->note = fact->note;
}

static bool
other_visit(const struct note *a, const struct note *b)
{
	struct gw_span x = gw_note_text(a, NOTE_VISIT), y = gw_note_text(b, NOTE_VISIT);

	return x.len > 0 && y.len > 0 && !gw_span_equal(x, y);
}

// An order is carried out wherever the patient lies. It says where that is only as long as nobody else does.
static void
set_order(struct walk *walk, const struct fact *fact, const struct note *order)
{
	struct bed *bed = walk->bed;

	close_stay(walk, fact->time_us);
	walk->order = order;
	walk->bed = bed;
	if (bed != NULL && walk->from_us < fact->time_us)
		walk->from_us = fact->time_us;
}

static void
begin_order(struct walk *walk, const struct fact *fact)
{
	bool moves = fact->bed != NULL && fact->bed != walk->bed && (walk->bed == NULL ? !walk->nowhere : walk->ordered);

	if (!moves && walk->order != NULL && same_text(walk->order, fact->note, NOTE_ORDER))
		return;
	if (!moves) {
		set_order(walk, fact, fact->note);
		return;
	}
	enter(walk, fact);
	walk->order = fact->note;
}

static void
end_order(struct walk *walk, const struct fact *fact)
{
	if (walk->order == NULL || !same_text(walk->order, fact->note, NOTE_ORDER))
		return;
	if (walk->ordered)
		close_stay(walk, fact->time_us);
	set_order(walk, fact, NULL);
}

// ---- What contradicts where the patient is known to be ----

static bool
counts(const struct walk *walk, uint32_t at)
{
	return (walk->masks[at] & walk->thread) != 0 && !walk->patient->moves.at[at].cancelled;
}

// That the patient was in this bed, too, until somebody says that it was left.
static void
add_claim(struct walk *walk, const struct fact *said, int64_t from_us, int64_t to_us, const struct note *order)
{
	const struct facts *facts = &walk->patient->moves;
	struct interval claim = { .from_us = from_us, .to_us = to_us, .what = said->bed, .note = said->note, .order = order };

	for (uint32_t i = 0; i < facts->count; i++) {
		const struct fact *fact = &facts->at[i];

		if (fact->kind == FACT_LEAVE && fact->bed == said->bed && counts(walk, i) && fact->time_us >= from_us && fact->time_us < claim.to_us)
			claim.to_us = fact->time_us;
	}
	if (claim.from_us < claim.to_us && !gw_line_add(walk->claims, &claim))
		walk->patients->failed = true;
}

// A transfer tells the bed that was left; what was told of it last counts. One that tells again how the patient came to the present bed contradicts nothing.
static const struct fact *
claim_prior(struct walk *walk, int64_t us)
{
	const struct facts *facts = &walk->patient->moves;
	const struct fact *from = NULL, *to = NULL;

	if (walk->prior_us == us)
		return NULL;
	walk->prior_us = us;
	for (uint32_t i = 0; i < facts->count; i++) {
		if (facts->at[i].time_us != us || !counts(walk, i))
			continue;
		from = facts->at[i].kind == FACT_FROM ? &facts->at[i] : from;
		to = facts->at[i].kind == FACT_TRANSFER ? &facts->at[i] : to;
	}
	if (from != NULL && walk->bed != NULL && walk->bed != from->bed && (to->bed != walk->bed || from->bed != walk->came_from))
		add_claim(walk, from, walk->confirmed_us, us, walk->order);
	return from;
}

static void
transfer(struct walk *walk, const struct fact *fact)
{
	const struct bed *was = walk->bed;
	const struct fact *from = claim_prior(walk, fact->time_us);

	enter(walk, fact);
	if (from != NULL && walk->bed != was)
		walk->came_from = from->bed;
}

static bool
moves_away(const struct walk *walk, const struct fact *fact)
{
	return fact->kind == FACT_ADMIT || fact->kind == FACT_TRANSFER || (fact->kind == FACT_DISCHARGE && !other_visit(walk->note, fact->note));
}

static bool
is_of_order(const struct fact *fact, const struct fact *order)
{
	return (fact->kind == FACT_ORDER_END || (fact->kind == FACT_ORDER && fact->bed != NULL)) && same_text(fact->note, order->note, NOTE_ORDER);
}

// Whether the order had said the same before, and nothing else since.
static bool
was_ordered(const struct walk *walk, uint32_t at)
{
	const struct fact *facts = walk->patient->moves.at;

	for (uint32_t i = at; i-- > 0;) {
		if (!counts(walk, i))
			continue;
		if (moves_away(walk, &facts[i]))
			return false;
		if (is_of_order(&facts[i], &facts[at]))
			return facts[i].kind == FACT_ORDER && facts[i].bed == facts[at].bed;
	}
	return false;
}

// An order for another bed than the one in which the patient lies, as long as neither it nor where the patient is changes. One for the bed that the patient
// leaves at that very moment contradicts nothing: times are whole seconds, or minutes.
static void
claim_order(struct walk *walk, uint32_t at)
{
	const struct facts *facts = &walk->patient->moves;
	const struct fact *order = &facts->at[at];
	int64_t to_us = GW_TIME_OPEN;

	if (order->bed == NULL || walk->bed == NULL || order->bed == walk->bed || walk->ordered || was_ordered(walk, at))
		return;
	if (walk->from_us == order->time_us && walk->came_from == order->bed)
		return;
	for (uint32_t i = at + 1; i < facts->count && to_us == GW_TIME_OPEN; i++) {
		const struct fact *fact = &facts->at[i];
		bool again = fact->kind == FACT_ORDER && fact->bed == order->bed;

		if (counts(walk, i) && (moves_away(walk, fact) || (is_of_order(fact, order) && !again)))
			to_us = fact->time_us;
	}
	add_claim(walk, order, order->time_us, to_us, order->note);
}

static void
step(struct walk *walk, uint32_t at)
{
	const struct fact *fact = &walk->patient->moves.at[at];
	bool other = (walk->bed != NULL || walk->nowhere) && other_visit(walk->note, fact->note);

	switch ((enum fact_kind)fact->kind) {
	case FACT_SEEN:
		if (walk->known)
			return;
		enter(walk, fact);
		break;
	case FACT_ADMIT:
		enter(walk, fact);
		break;
	case FACT_TRANSFER:
		transfer(walk, fact);
		break;
	case FACT_DISCHARGE:
		add_turn(walk, fact, true, other);
		if (other)
			return;
		close_stay(walk, fact->time_us);
		walk->nowhere = false;
		walk->order = NULL;
		break;
	case FACT_LEAVE:
		if (walk->bed == fact->bed)
			close_stay(walk, fact->time_us);
		break;
	case FACT_ORDER:
		claim_order(walk, at);
		if (fact->bed != NULL && fact->bed == walk->bed)
			walk->confirmed_us = fact->time_us;
		begin_order(walk, fact);
		return;
	case FACT_ORDER_END:
		end_order(walk, fact);
		return;
	default:
		return;
	}
	walk->known = true;
}

static bool
contains(const struct line *line, const struct interval *interval)
{
	for (uint32_t i = 0; i < line->count; i++) {
		if (gw_interval_same(&line->at[i], interval))
			return true;
	}
	return false;
}

// The times for which one stay is not among others: where another only ends at another time, between the two ends.
static void
add_stay_range(struct gw_patients *patients, const struct interval *stay, const struct line *others)
{
	for (uint32_t i = 0; i < others->count; i++) {
		const struct interval *other = &others->at[i];

		if (other->what == stay->what && other->from_us == stay->from_us && other->note == stay->note && other->order == stay->order &&
		    other->disputed == stay->disputed) {
			gw_range_add(patients, stay->what, NULL, stay->to_us < other->to_us ? stay->to_us : other->to_us,
			    stay->to_us < other->to_us ? other->to_us : stay->to_us);
			return;
		}
	}
	gw_range_add(patients, stay->what, NULL, stay->from_us, stay->to_us);
}

static bool
was_disputed(const struct line *before, const struct interval *stay)
{
	for (uint32_t i = 0; i < before->count; i++) {
		const struct interval *one = &before->at[i];

		if (one->disputed && one->what == stay->what && one->from_us <= stay->from_us && one->to_us >= stay->to_us)
			return true;
	}
	return false;
}

// Takes the stays of `from` that are not in `other` out of their beds, or puts them in.
static void
move_stays(struct gw_patients *patients, struct patient *patient, const struct line *from, const struct line *other, bool in)
{
	for (uint32_t i = 0; i < from->count; i++) {
		struct interval stay = from->at[i];
		struct bed *bed = stay.what;

		if (contains(other, &stay))
			continue;
		patients->disputed |= in && stay.disputed && !was_disputed(other, &stay);
		add_stay_range(patients, &stay, other);
		stay.what = patient;
		if (!in)
			gw_line_remove(&bed->stays, &stay);
		else if (!gw_line_add(&bed->stays, &stay))
			patients->failed = true;
	}
}

static void
go(struct walk walk)
{
	for (uint32_t i = 0; i < walk.patient->moves.count; i++) {
		if (counts(&walk, i))
			step(&walk, i);
	}
	close_stay(&walk, GW_TIME_OPEN);
}

// What was told of several numbers: where each of them was. When devices are to be looked at follows from all that was told, as of one.
static void
derive_stays(struct gw_patients *patients, struct patient *patient, const uint32_t *masks, unsigned threads, struct line *stays, struct line *claims)
{
	struct walk walk = { .patients = patients, .patient = patient, .stays = stays, .claims = claims, .masks = masks, .thread = UINT32_MAX, .prior_us = INT64_MIN,
		.turns = true };
	struct line aside[2] = { 0 };

	if (threads == 1) {
		go(walk);
		return;
	}
	walk.stays = &aside[0];
	walk.claims = &aside[1];
	go(walk);
	free(aside[0].at);
	free(aside[1].at);
	walk.stays = stays;
	walk.claims = claims;
	walk.turns = false;
	for (unsigned i = 0; i < threads; i++) {
		walk.thread = UINT32_C(1) << i;
		go(walk);
	}
}

void
gw_derive_patient(struct gw_patients *patients, struct patient *patient)
{
	struct line before = patient->stays, stays = { 0 }, claims = { 0 }, after = { 0 };
	uint32_t masks[MOVES_MAX];
	unsigned threads;

	assert(patient->moves.count <= MOVES_MAX);
	threads = gw_moves_threads(patient, masks);
	patient->turn_count = 0;
	bind(&patient->moves, NULL);
	derive_stays(patients, patient, masks, threads, &stays, &claims);
	if (threads == 1 && claims.count == 0) {
		after = stays;
	} else {
		if (!gw_line_dispute(&stays, &claims, &after))
			patients->failed = true;
		free(stays.at);
		free(claims.at);
	}
	move_stays(patients, patient, &before, &after, false);
	move_stays(patients, patient, &after, &before, true);
	patient->stays = after;
	free(before.at);
}

// ---- A device's placements and direct associations ----

static bool
derive_places(const struct device *device, struct line *places)
{
	struct interval open = { .to_us = GW_TIME_OPEN };
	bool good = true;

	for (uint32_t i = 0; i < device->facts.count; i++) {
		const struct fact *fact = &device->facts.at[i];

		if ((fact->kind != FACT_PLACE && fact->kind != FACT_UNPLACE) || (fact->kind == FACT_PLACE && open.what == fact->bed))
			continue;
		open.to_us = fact->time_us;
		if (open.what != NULL && open.from_us < open.to_us)
			good &= gw_line_add(places, &open);
		open = (struct interval){ .from_us = fact->time_us, .to_us = GW_TIME_OPEN, .what = fact->kind == FACT_PLACE ? fact->bed : NULL, .note = fact->note };
	}
	return open.what != NULL ? gw_line_add(places, &open) && good : good;
}

// Whether an end concerns a begin before it. One that names an order ends only what that order began.
static bool
ends(const struct fact *end, const struct fact *begin)
{
	struct gw_span order = gw_note_text(end->note, NOTE_ORDER), filler = gw_note_text(end->note, NOTE_FILLER);

	if (end->kind == FACT_END && filler.len > 0 && gw_span_equal(filler, gw_note_text(begin->note, NOTE_FILLER)))
		return true; // of this association, whoever it was thought to be with
	return end->kind == FACT_END && (end->patient == NULL || gw_patient_root(end->patient) == gw_patient_root(begin->patient)) &&
	    (order.len == 0 || gw_span_equal(order, gw_note_text(begin->note, NOTE_ORDER)));
}

// Whether another report takes back what one said: an association, that it never was; its end, that it goes on.
static bool
taken_back(const struct device *device, const struct fact *begin, const struct fact *end)
{
	struct gw_span filler = gw_note_text(begin->note, NOTE_FILLER);

	for (uint32_t i = 0; filler.len > 0 && i < device->facts.count; i++) {
		const struct fact *back = &device->facts.at[i];

		if (back->kind != (end != NULL ? FACT_RESUME : FACT_VOID) || back->told_us < (end != NULL ? end : begin)->told_us ||
		    !gw_span_equal(gw_note_text(back->note, NOTE_FILLER), filler))
			continue;
		if (end == NULL || back->time_us == end->time_us || gw_span_equal(gw_note_text(end->note, NOTE_FILLER), filler))
			return true;
	}
	return false;
}

// That it goes on is a begin of what began nowhere.
static bool
is_begin(const struct device *device, const struct fact *fact)
{
	if (fact->kind != FACT_RESUME)
		return fact->kind == FACT_BEGIN;
	for (uint32_t i = 0; i < device->facts.count; i++) {
		const struct fact *other = &device->facts.at[i];

		if (other->kind == FACT_BEGIN && gw_span_equal(gw_note_text(other->note, NOTE_FILLER), gw_note_text(fact->note, NOTE_FILLER)))
			return false;
	}
	return true;
}

static bool
turn_ends(const struct turn *turn, const struct fact *begin)
{
	if (!turn->discharge || turn->us <= begin->time_us || other_visit(turn->note, begin->note))
		return false;
	return !turn->other_visit || gw_note_text(begin->note, NOTE_VISIT).len > 0;
}

// resumed: some report says that an association goes on.
static bool
derive_direct(const struct device *device, uint32_t at, bool resumed, struct line *directs)
{
	const struct fact *begin = &device->facts.at[at];
	struct patient *patient = gw_patient_root(begin->patient);
	struct interval one = { .from_us = begin->time_us, .to_us = GW_TIME_OPEN, .what = patient, .note = begin->note, .order = begin->note }, rest = { 0 };

	for (uint32_t i = at + 1; i < device->facts.count; i++) {
		if (ends(&device->facts.at[i], begin) && (!resumed || !taken_back(device, begin, &device->facts.at[i]))) {
			one.to_us = device->facts.at[i].time_us;
			break;
		}
	}
	for (uint32_t i = 0; i < patient->turn_count; i++) {
		if (turn_ends(&patient->turns[i], begin) && patient->turns[i].us < one.to_us)
			one.to_us = patient->turns[i].us;
	}
	// From the first change of bed on somebody should look whether the device moved along.
	for (uint32_t i = 0; i < patient->turn_count; i++) {
		const struct turn *turn = &patient->turns[i];

		if (turn->discharge || turn->us <= one.from_us || turn->us >= one.to_us)
			continue;
		rest = one;
		rest.flagged = true;
		rest.from_us = one.to_us = turn->us;
		break;
	}
	if (one.from_us < one.to_us && !gw_line_add(directs, &one))
		return false;
	return rest.what == NULL || gw_line_add(directs, &rest);
}

// An end of a placement that was never known counts as well: since then the device is said to stand nowhere.
static int64_t
first_placement(const struct device *device)
{
	for (uint32_t i = 0; i < device->facts.count; i++) {
		if (device->facts.at[i].kind == FACT_PLACE || device->facts.at[i].kind == FACT_UNPLACE)
			return device->facts.at[i].time_us;
	}
	return GW_TIME_OPEN;
}

static bool
has_kind(const struct device *device, enum fact_kind kind)
{
	for (uint32_t i = 0; i < device->facts.count; i++) {
		if (device->facts.at[i].kind == kind)
			return true;
	}
	return false;
}

void
gw_derive_device(struct gw_patients *patients, struct device *device)
{
	struct line places = { 0 }, directs = { 0 };
	bool voids = has_kind(device, FACT_VOID), resumed = has_kind(device, FACT_RESUME);
	int64_t from_us, to_us, first_us = first_placement(device), was_us = device->first_us;
	bool good = derive_places(device, &places);

	for (uint32_t i = 0; i < device->facts.count; i++) {
		if (is_begin(device, &device->facts.at[i]) && (!voids || !taken_back(device, &device->facts.at[i], NULL)))
			good &= derive_direct(device, i, resumed, &directs);
	}
	if (!good)
		patients->failed = true;
	gw_range_add(patients, NULL, device, first_us < was_us ? first_us : was_us, first_us < was_us ? was_us : first_us);
	if (gw_line_differ(&device->places, &places, &from_us, &to_us))
		gw_range_add(patients, NULL, device, from_us, to_us);
	if (gw_line_differ(&device->directs, &directs, &from_us, &to_us))
		gw_range_add(patients, NULL, device, from_us, to_us);
	free(device->places.at);
	free(device->directs.at);
	device->first_us = first_us;
	device->places = places;
	device->directs = directs;
}

// ---- Forgetting ----

static bool
is_strong(const struct fact *fact)
{
	return !fact->cancelled && (fact->kind == FACT_ADMIT || fact->kind == FACT_TRANSFER || fact->kind == FACT_DISCHARGE);
}

// Carried out from bed to bed, until the patient leaves.
static bool
is_order(const struct fact *fact)
{
	return fact->kind == FACT_ORDER || fact->kind == FACT_ORDER_END;
}

// Whether a later one, still before the horizon, says all anew for each number for which it counts.
static bool
is_covered(const struct gw_patients *patients, const struct facts *facts, const uint32_t *masks, uint32_t at)
{
	for (uint32_t i = at + 1; i < facts->count && facts->at[i].time_us < patients->horizon_us; i++) {
		if (is_strong(&facts->at[i]) && (!is_order(&facts->at[at]) || facts->at[i].kind == FACT_DISCHARGE) && (masks[at] & ~masks[i]) == 0)
			return true;
	}
	return false;
}

// A merge is needed as long as something is known that was told before it.
static bool
is_needed(const struct gw_patients *patients, const struct facts *facts, const struct fact *merge)
{
	if (merge->told_us >= patients->horizon_us || merge->time_us >= patients->horizon_us)
		return true;
	for (uint32_t i = 0; i < facts->count; i++) {
		if (facts->at[i].kind != FACT_MERGE && facts->at[i].told_us <= merge->told_us)
			return true;
	}
	return false;
}

bool
gw_moves_prune(struct gw_patients *patients, struct patient *patient)
{
	struct facts *facts = &patient->moves;
	uint32_t targets[FACTS_MAX + 1], masks[MOVES_MAX], i, count = facts->count;
	bool drop[FACTS_MAX + 1] = { false };

	if (count == 0 || count > FACTS_MAX || facts->at[0].time_us >= patients->horizon_us)
		return false;
	(void)gw_moves_threads(patient, masks);
	bind(facts, targets);
	for (i = 0; i < count; i++)
		drop[i] = facts->at[i].kind == FACT_MERGE ? !is_needed(patients, facts, &facts->at[i]) : !is_cancel(&facts->at[i]) && is_covered(patients, facts, masks, i);
	// A cancel goes with what it cancelled, lest it be taken for another's; and where it found nothing, when it is old.
	for (i = 0; i < count; i++) {
		if (is_cancel(&facts->at[i]))
			drop[i] = targets[i] < count ? drop[targets[i]] : facts->at[i].time_us < patients->horizon_us;
	}
	for (i = count; i > 0; i--) {
		if (drop[i - 1])
			gw_fact_drop(patients, facts, i - 1);
	}
	return facts->count < count;
}

static bool
still_holds(const struct device *device, const struct fact *begin, int64_t horizon_us)
{
	for (uint32_t i = 0; i < device->directs.count; i++) {
		if (device->directs.at[i].note == begin->note && device->directs.at[i].to_us > horizon_us)
			return true;
	}
	return false;
}

bool
gw_tracked_prune(struct gw_patients *patients, struct device *device, struct gw_ticket *ticket)
{
	struct facts *facts = &device->facts;
	uint32_t count = facts->count, base = 0, old, i;

	for (old = 0; old < count && facts->at[old].time_us < patients->horizon_us; old++)
		;
	for (i = 0; i < old; i++) {
		if ((facts->at[i].kind == FACT_PLACE || facts->at[i].kind == FACT_UNPLACE))
			base = i;
	}
	for (i = old; i > 0; i--) {
		const struct fact *fact = &facts->at[i - 1];

		if (fact->kind == FACT_PLACE || fact->kind == FACT_UNPLACE) {
			if (i - 1 == base)
				continue;
			device->pruned = true;
		} else if ((fact->kind == FACT_BEGIN || fact->kind == FACT_RESUME) && still_holds(device, fact, patients->horizon_us))
			continue;
		else if (fact->kind >= FACT_VOID && fact->told_us >= patients->horizon_us)
			continue; // what it takes back may be younger
		if (gw_tracked_del_fact(device, fact, ticket) != GW_OK)
			patients->failed = true;
		gw_fact_drop(patients, facts, i - 1);
	}
	return facts->count < count;
}
