// SPDX-License-Identifier: Apache-2.0
// Lines of intervals [from, to), sorted by their begin. Looking costs a binary search and as many steps as intervals hold at that moment; an interval that
// nobody ended costs more steps, never an answer. Pure; whoever holds the lock.
#include "gateway/patients_internal.h"

#include <stdlib.h>

// The number of intervals that begin at or before us.
static uint32_t
begun(const struct line *line, int64_t us)
{
	uint32_t low = 0, high = line->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (line->at[middle].from_us <= us)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void
set_ends(struct line *line, uint32_t at)
{
	for (; at < line->count; at++) {
		int64_t before = at > 0 ? line->at[at - 1].max_to_us : INT64_MIN, own = line->at[at].to_us;

		line->at[at].max_to_us = own > before ? own : before;
	}
}

bool
gw_line_add(struct line *line, const struct interval *interval)
{
	uint32_t at = begun(line, interval->from_us);

	if (line->count == line->cap) {
		uint32_t cap = line->cap == 0 ? 2 : line->cap * 2;
		struct interval *more = realloc(line->at, cap * sizeof(*more));

		if (more == NULL)
			return false;
		line->at = more;
		line->cap = cap;
	}
	memmove(line->at + at + 1, line->at + at, (line->count - at) * sizeof(*line->at));
	line->at[at] = *interval;
	line->count++;
	set_ends(line, at);
	return true;
}

bool
gw_interval_same(const struct interval *a, const struct interval *b)
{
	return a->from_us == b->from_us && a->to_us == b->to_us && a->what == b->what && a->note == b->note && a->order == b->order && a->flagged == b->flagged &&
	    a->disputed == b->disputed;
}

void
gw_line_remove(struct line *line, const struct interval *interval)
{
	uint32_t at = begun(line, interval->from_us);

	while (at > 0 && line->at[at - 1].from_us == interval->from_us && !gw_interval_same(&line->at[at - 1], interval))
		at--;
	if (at == 0 || line->at[at - 1].from_us != interval->from_us)
		return;
	at--;
	memmove(line->at + at, line->at + at + 1, (line->count - at - 1) * sizeof(*line->at));
	line->count--;
	set_ends(line, at);
}

void
gw_line_look(const struct line *line, int64_t us, struct look *look)
{
	uint32_t at = begun(line, us);

	*look = (struct look){ .from_us = INT64_MIN, .to_us = GW_TIME_OPEN };
	if (at < line->count)
		look->to_us = line->at[at].from_us;
	if (at > 0)
		look->from_us = line->at[at - 1].from_us;
	for (; at > 0 && line->at[at - 1].max_to_us > us; at--) {
		const struct interval *one = &line->at[at - 1];

		if (one->to_us <= us) {
			if (one->to_us > look->from_us)
				look->from_us = one->to_us;
			continue;
		}
		if (one->to_us < look->to_us)
			look->to_us = one->to_us;
		look->disputed |= one->disputed;
		if (look->last == NULL)
			look->last = one;
		else if (look->last->what != one->what && !look->last->disputed && !one->disputed)
			look->clash = true;
	}
	if (at > 0 && line->at[at - 1].max_to_us > look->from_us)
		look->from_us = line->at[at - 1].max_to_us;
}

bool
gw_line_differ(const struct line *before, const struct line *after, int64_t *from_us, int64_t *to_us)
{
	uint32_t first = 0, a = before->count, b = after->count;

	while (first < a && first < b && gw_interval_same(&before->at[first], &after->at[first]))
		first++;
	while (a > first && b > first && gw_interval_same(&before->at[a - 1], &after->at[b - 1]))
		a--, b--;
	*from_us = INT64_MAX;
	*to_us = INT64_MIN;
	// One that only ends earlier or later differs between the two ends.
	if (a == first + 1 && b == first + 1) {
		struct interval x = before->at[first], y = after->at[first];
		int64_t x_to = x.to_us;

		x.to_us = y.to_us;
		if (gw_interval_same(&x, &y)) {
			*from_us = x_to < y.to_us ? x_to : y.to_us;
			*to_us = x_to < y.to_us ? y.to_us : x_to;
			return true;
		}
	}
	for (uint32_t i = first; i < a || i < b; i++) {
		const struct interval *sides[] = { i < a ? &before->at[i] : NULL, i < b ? &after->at[i] : NULL };

		for (int s = 0; s < 2; s++) {
			if (sides[s] == NULL)
				continue;
			if (sides[s]->from_us < *from_us)
				*from_us = sides[s]->from_us;
			if (sides[s]->to_us > *to_us)
				*to_us = sides[s]->to_us;
		}
	}
	return *from_us < *to_us;
}
