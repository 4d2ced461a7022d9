// SPDX-License-Identifier: Apache-2.0
// Bringing readings together: two runs in order become one, each reading once. The writer's thread, and readers with what is in tails.
//
// Of equal place (time, sequence, revision) and equal value: the same reading again, which changes nothing. Of equal place and other value: the journal
// had forgotten the first (trimmed) when the second came; unless it equals another revision it becomes the next revision itself.
#include "gateway/series_internal.h"

static bool
same_group(const struct gw_point *a, const struct gw_point *b)
{
	return a->reading.time_us == b->reading.time_us && a->reading.sequence == b->reading.sequence;
}

// Of what is in out from `from` on, which is one group: whether the value is there, and the greatest revision.
static bool
find_value(const struct gw_points *out, size_t from, const struct gw_point *point, uint16_t *most)
{
	*most = 0;
	for (size_t i = from; i < out->count; i++) {
		if (gw_reading_same_value(&out->at[i].reading, &point->reading))
			return true;
		if (out->at[i].reading.revision > *most)
			*most = out->at[i].reading.revision;
	}
	return false;
}

static bool
has_revision(const struct gw_points *out, size_t from, uint16_t revision)
{
	for (size_t i = out->count; i-- > from;)
		if (out->at[i].reading.revision == revision)
			return true;
	return false;
}

// Keeps the group in order of revision.
static void
insert(struct gw_points *out, size_t from, const struct gw_point *point)
{
	size_t at = out->count++;

	for (; at > from && out->at[at - 1].reading.revision > point->reading.revision; at--)
		out->at[at] = out->at[at - 1];
	out->at[at] = *point;
}

static void
count(struct gw_series_store *store, size_t counter)
{
	if (store == NULL)
		return;
	atomic_fetch_add_explicit((_Atomic uint64_t *)((uint8_t *)store + counter), 1, memory_order_relaxed);
}

// The group of out begins at `from`. False where it changes nothing.
static bool
add_one(struct gw_series_store *store, struct gw_points *out, size_t from, struct gw_point point)
{
	uint16_t most;

	if (out->count > from && has_revision(out, from, point.reading.revision)) {
		if (find_value(out, from, &point, &most)) {
			count(store, offsetof(struct gw_series_store, duplicates));
			return false;
		}
		if (most == UINT16_MAX) {
			count(store, offsetof(struct gw_series_store, refused));
			return false;
		}
		point.reading.revision = most + 1;
		point.reading.flags |= GW_FLAG_REVISION;
		count(store, offsetof(struct gw_series_store, renumbered));
	}
	insert(out, from, &point);
	return true;
}

enum gw_error
gw_series_merge(struct gw_series_store *store, const struct gw_points *old, const struct gw_point *add, size_t add_count, struct gw_points *out,
    bool *changed)
{
	size_t old_count = old != NULL ? old->count : 0, i = 0, group = 0;
	enum gw_error error;

	out->count = 0;
	*changed = false;
	if ((error = gw_points_reserve(out, old_count + add_count)) != GW_OK)
		return error;
	for (size_t k = 0; k < add_count || i < old_count;) {
		// Of one group the old ones come first, so that they keep their numbers.
		bool take_old = k == add_count || (i < old_count && (gw_place_compare(gw_place_of(&old->at[i]), gw_place_of(&add[k])) <= 0 ||
		    same_group(&old->at[i], &add[k])));
		const struct gw_point *next = take_old ? &old->at[i++] : &add[k++];

		if (out->count == 0 || !same_group(&out->at[out->count - 1], next))
			group = out->count;
		if (take_old)
			out->at[out->count++] = *next;
		else
			*changed |= add_one(store, out, group, *next);
	}
	return GW_OK;
}
