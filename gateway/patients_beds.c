// SPDX-License-Identifier: Apache-2.0
// One patient in two beds. What was told under a number counts for that number alone until a message merged it with another; what is told later counts for
// both. So two who are merged while they lie in different beds lie in both, until something that is told of the person they are, or of one of them before, says
// otherwise. In the same way a transfer's prior bed and an order's bed are beds of their own beside the one that is known. Here: which facts count for which
// number, and the line of stays with what contradicts itself marked. Pure; whoever holds the locks of gateway/patients_internal.h.
#include "gateway/patients_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define LINKS_MAX 64 // merges of one patient within the time that is kept; those beyond make one of nobody

struct link {
	uint32_t both; // two bits
	int64_t told_us;
};

void
gw_merge_text(uint64_t one, uint64_t other, char out[33])
{
	snprintf(out, 33, "%016" PRIx64 "%016" PRIx64, one, other);
}

static uint64_t
number_in(const struct fact *merge, size_t at)
{
	struct gw_span text = gw_note_text(merge->note, NOTE_ORDER);
	char digits[17] = "";

	if (text.len == 32)
		memcpy(digits, text.at + at, 16);
	return strtoull(digits, NULL, 16);
}

// The place of a number; with `add` of one that is new. One of which no merge is known has the patient's own, the first; those beyond the limit share the last.
static unsigned
place_of(uint64_t number, uint64_t *numbers, unsigned *count, bool add)
{
	for (unsigned i = 0; i < *count; i++) {
		if (numbers[i] == number)
			return i;
	}
	if (*count == GW_THREADS_MAX)
		return GW_THREADS_MAX - 1;
	if (!add)
		return 0;
	numbers[*count] = number;
	return (*count)++;
}

static uint32_t
reach(const struct link *links, unsigned count, uint32_t mask, int64_t told_us)
{
	for (uint32_t was = 0; was != mask;) {
		was = mask;
		for (unsigned i = 0; i < count; i++) {
			if (links[i].told_us < told_us && (mask & links[i].both) != 0)
				mask |= links[i].both;
		}
	}
	return mask;
}

unsigned
gw_moves_threads(const struct patient *patient, uint32_t *masks)
{
	const struct facts *facts = &patient->moves;
	struct link links[LINKS_MAX];
	uint64_t numbers[GW_THREADS_MAX] = { patient->number };
	unsigned count = 1, link_count = 0;

	for (uint32_t i = 0; i < facts->count && link_count < LINKS_MAX; i++) {
		const struct fact *fact = &facts->at[i];

		if (fact->kind != FACT_MERGE)
			continue;
		links[link_count++] = (struct link){ .told_us = fact->told_us, .both = UINT32_C(1) << place_of(number_in(fact, 0), numbers, &count, true) |
			UINT32_C(1) << place_of(number_in(fact, 16), numbers, &count, true) };
	}
	for (uint32_t i = 0; i < facts->count; i++) {
		const struct fact *fact = &facts->at[i];

		masks[i] = fact->kind == FACT_MERGE ? 0 : reach(links, link_count, UINT32_C(1) << place_of(fact->number, numbers, &count, false), fact->told_us);
	}
	return count;
}

// ---- What contradicts itself ----

struct raw {
	const struct line *lines[2]; // what was derived first, then what contradicts it
};

static const struct interval *
raw_at(const struct raw *raw, uint32_t at)
{
	return at < raw->lines[0]->count ? &raw->lines[0]->at[at] : &raw->lines[1]->at[at - raw->lines[0]->count];
}

// What is so from `from` on, and until when at most: whether another bed holds, too, and whether one that counts before says the same.
static int64_t
look_around(const struct raw *raw, uint32_t own, int64_t from_us, bool *disputed, bool *said)
{
	const struct interval *one = raw_at(raw, own), *other;
	int64_t to_us = one->to_us;

	*disputed = *said = false;
	for (uint32_t i = 0; i < raw->lines[0]->count + raw->lines[1]->count; i++) {
		other = raw_at(raw, i);
		if (i == own || other->to_us <= from_us || other->from_us >= to_us)
			continue;
		if (other->from_us > from_us) {
			to_us = other->from_us;
			continue;
		}
		to_us = other->to_us < to_us ? other->to_us : to_us;
		*disputed |= other->what != one->what;
		*said |= other->what == one->what && i < own;
	}
	return to_us;
}

static bool
add_pieces(const struct raw *raw, uint32_t own, struct line *out)
{
	struct interval piece = *raw_at(raw, own);
	int64_t end_us = piece.to_us, to_us;
	bool disputed, said, open = false, good = true;

	for (int64_t us = piece.from_us; us < end_us; us = to_us) {
		to_us = look_around(raw, own, us, &disputed, &said);
		if (open && (said || disputed != piece.disputed)) {
			good &= gw_line_add(out, &piece);
			open = false;
		}
		if (said)
			continue;
		if (!open)
			piece.from_us = us;
		piece.disputed = disputed;
		piece.to_us = to_us;
		open = true;
	}
	return open ? gw_line_add(out, &piece) && good : good;
}

// What counts first comes last, so that it is the last of those that begin at once.
bool
gw_line_dispute(const struct line *stays, const struct line *claims, struct line *out)
{
	const struct raw raw = { { stays, claims } };
	bool good = true;

	for (uint32_t i = stays->count + claims->count; i > 0; i--)
		good &= add_pieces(&raw, i - 1, out);
	return good;
}
