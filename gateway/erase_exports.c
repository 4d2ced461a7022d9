// SPDX-License-Identifier: Apache-2.0
// Files of exports on schedule have what is erased as well: which times of theirs are to be written again. Whoever runs the erasure.
//
// Files go by device time, windows by the hub's. So what is found in the series is noted before it goes, in the erasure's row: whoever goes on after a crash does not
// find it any more. In the end windows and notes are asked for together, before the erasure counts as done.
#include "gateway/erase.h"

#include "gateway/export_part.h"
#include "gateway/export_periods.h"

#define HOUR_US INT64_C(3600000000)

// The two ranges that are nearest to each other become one: what lies between is written again for nothing.
static void
make_room(struct gw_erasure *erasure)
{
	struct gw_erasure_range *at = erasure->exports;
	size_t best = 0;

	for (size_t i = 1; i + 1 < erasure->export_count; i++)
		if ((uint64_t)at[i + 1].from_us - (uint64_t)at[i].to_us < (uint64_t)at[best + 1].from_us - (uint64_t)at[best].to_us)
			best = i;
	at[best].to_us = at[best + 1].to_us;
	erasure->export_count--;
	memmove(&at[best + 1], &at[best + 2], (erasure->export_count - best - 1) * sizeof(*at));
}

// Ranges are in order and do not touch.
static void
note_range(struct gw_erasure *erasure, int64_t from_us, int64_t to_us)
{
	struct gw_erasure_range *at = erasure->exports;
	size_t first = 0, end;

	while (first < erasure->export_count && at[first].to_us < from_us)
		first++;
	for (end = first; end < erasure->export_count && at[end].from_us <= to_us; end++) {
		from_us = at[end].from_us < from_us ? at[end].from_us : from_us;
		to_us = at[end].to_us > to_us ? at[end].to_us : to_us;
	}
	if (end == first + 1 && at[first].from_us == from_us && at[first].to_us == to_us)
		return;
	memmove(&at[first + 1], &at[end], (erasure->export_count - end) * sizeof(*at));
	erasure->export_count -= end - first;
	erasure->export_count++;
	at[first] = (struct gw_erasure_range){ from_us, to_us };
	erasure->exports_changed = true;
	if (erasure->export_count > GW_ERASURE_EXPORTS_MAX)
		make_room(erasure);
}

void
gw_erasure_export_note(struct gw_erasure *erasure, int64_t time_us)
{
	int64_t rest = time_us % HOUR_US, from_us;

	if (rest < 0)
		rest += HOUR_US;
	if (time_us < INT64_MIN + rest || time_us > INT64_MAX - HOUR_US)
		return; // no file has such times
	from_us = time_us - rest;
	for (size_t i = 0; i < erasure->export_count; i++)
		if (from_us >= erasure->exports[i].from_us && from_us + HOUR_US <= erasure->exports[i].to_us)
			return;
	note_range(erasure, from_us, from_us + HOUR_US);
}

static bool
found(void *arg, struct gw_span key, struct gw_span value)
{
	(void)key;
	(void)value;
	*(bool *)arg = true;
	return false;
}

bool
gw_erasure_exports(const struct gw_erasure *erasure)
{
	bool any = erasure->core->config->export_enabled;

	// Where that cannot be read there may be some.
	return any || gw_journal_each(erasure->core->journal, gw_span_text(GW_EXPORT_ROWS), gw_span("", 0), found, &any) != GW_OK || any;
}

enum gw_error
gw_erasure_export_again(struct gw_erasure *erasure)
{
	enum gw_error error = GW_OK;

	if (!gw_erasure_exports(erasure))
		return GW_OK;
	for (size_t i = 0; i < erasure->window_count; i++)
		if (!erasure->windows[i].unsure || erasure->unsure)
			note_range(erasure, erasure->windows[i].from_us, erasure->windows[i].to_us);
	for (size_t i = 0; i < erasure->export_count && error == GW_OK; i++)
		error = gw_erasure_ending(erasure) ? GW_E_STOPPING : gw_export_again(erasure->core->intake, erasure->exports[i].from_us, erasure->exports[i].to_us);
	return error;
}
