// SPDX-License-Identifier: Apache-2.0
// Periods that were exported (gateway/export_periods.h). One thread.
//
// A row's value, version 1: u8 version, 3 bytes 0, u32 revision, u64 upto, i64 dirty_us. Its key ends in the period's first second, 16 hexadecimal digits.
#include "gateway/export_periods.h"

#include "gateway/export_part.h"

#include "gateway/bytes.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VERSION 1
#define VALUE_BYTES 24
#define SECOND_US 1000000

static size_t
prefix_of(const struct gw_export_periods *periods, char out[64])
{
	return (size_t)snprintf(out, 64, GW_EXPORT_ROWS "%s/", periods->length_us == INT64_C(3600000000) ? "hour" : "day");
}

static size_t
key_of(const struct gw_export_periods *periods, int64_t from_us, char out[96])
{
	size_t len = prefix_of(periods, out);

	return len + (size_t)snprintf(out + len, 32, "%016" PRIx64, (uint64_t)(from_us / SECOND_US));
}

static size_t
again_key(int64_t from_us, int64_t to_us, char out[96])
{
	return (size_t)snprintf(out, 96, GW_EXPORT_AGAIN "%016" PRIx64 "%016" PRIx64, (uint64_t)from_us, (uint64_t)to_us);
}

// Where it is, or would be.
static size_t
place_of(const struct gw_export_periods *periods, int64_t from_us)
{
	size_t low = 0, high = periods->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (periods->at[middle].from_us < from_us)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct gw_export_period *
gw_export_periods_find(struct gw_export_periods *periods, int64_t from_us)
{
	if (periods->found >= periods->count || periods->at[periods->found].from_us != from_us)
		periods->found = place_of(periods, from_us);
	return periods->found < periods->count && periods->at[periods->found].from_us == from_us ? &periods->at[periods->found] : NULL;
}

struct gw_export_period *
gw_export_periods_add(struct gw_export_periods *periods, int64_t from_us)
{
	struct gw_export_period *period = gw_export_periods_find(periods, from_us), *more;
	size_t place;

	if (period != NULL)
		return period;
	if (periods->count == periods->cap) {
		size_t cap = periods->cap == 0 ? 256 : periods->cap * 2;

		if ((more = realloc(periods->at, cap * sizeof(*more))) == NULL)
			return NULL;
		periods->at = more;
		periods->cap = cap;
	}
	place = place_of(periods, from_us);
	memmove(&periods->at[place + 1], &periods->at[place], (periods->count++ - place) * sizeof(*periods->at));
	periods->at[place] = (struct gw_export_period){ .from_us = from_us, .changed = true };
	return &periods->at[place];
}

// ---- Rows ----

static bool
take_row(void *arg, struct gw_span key, struct gw_span value)
{
	struct gw_export_periods *periods = arg;
	struct gw_export_period *period;
	char digits[17] = "";

	if (key.len < 16 || value.len < VALUE_BYTES || value.at[0] != VERSION)
		return true;
	memcpy(digits, key.at + key.len - 16, 16);
	if ((period = gw_export_periods_add(periods, (int64_t)strtoull(digits, NULL, 16) * SECOND_US)) == NULL)
		return false;
	*period = (struct gw_export_period){ .from_us = period->from_us, .revision = gw_get32(value.at + 4), .upto = gw_get64(value.at + 8),
		.dirty_us = (int64_t)gw_get64(value.at + 16) };
	return true;
}

enum gw_error
gw_export_periods_open(struct gw_export_periods *periods, struct gw_journal *journal, int64_t length_us)
{
	char prefix[64];

	*periods = (struct gw_export_periods){ .length_us = length_us };
	return gw_journal_each(journal, gw_span(prefix, prefix_of(periods, prefix)), gw_span("", 0), take_row, periods);
}

void
gw_export_periods_close(struct gw_export_periods *periods)
{
	free(periods->at);
	*periods = (struct gw_export_periods){ 0 };
}

bool
gw_export_periods_changed(const struct gw_export_periods *periods)
{
	for (size_t i = 0; i < periods->count; i++)
		if (periods->at[i].changed)
			return true;
	return periods->count > GW_EXPORT_PERIODS_MAX || periods->again_count > 0;
}

static enum gw_error
save_row(const struct gw_export_periods *periods, const struct gw_export_period *period, struct gw_ticket *ticket)
{
	uint8_t value[VALUE_BYTES] = { VERSION };
	char key[96];

	gw_put32(value + 4, period->revision);
	gw_put64(value + 8, period->upto);
	gw_put64(value + 16, (uint64_t)period->dirty_us);
	return gw_ticket_put(ticket, gw_span(key, key_of(periods, period->from_us, key)), gw_span(value, sizeof(value)));
}

// The oldest that are too many.
static enum gw_error
forget(struct gw_export_periods *periods, struct gw_ticket *ticket)
{
	size_t surplus = periods->count > GW_EXPORT_PERIODS_MAX ? periods->count - GW_EXPORT_PERIODS_MAX : 0;
	enum gw_error error = GW_OK;
	char key[96];

	for (size_t i = 0; i < surplus && error == GW_OK; i++)
		error = gw_ticket_del(ticket, gw_span(key, key_of(periods, periods->at[i].from_us, key)));
	if (surplus > 0 && error == GW_OK) {
		periods->count -= surplus;
		memmove(periods->at, periods->at + surplus, periods->count * sizeof(*periods->at));
	}
	return error;
}

enum gw_error
gw_export_periods_save(struct gw_export_periods *periods, struct gw_ticket *ticket)
{
	enum gw_error error = forget(periods, ticket);
	char key[96];

	for (size_t i = 0; i < periods->count && error == GW_OK; i++) {
		if (periods->at[i].changed)
			error = save_row(periods, &periods->at[i], ticket);
	}
	for (size_t i = 0; i < periods->again_count && error == GW_OK; i++)
		error = gw_ticket_del(ticket, gw_span(key, again_key(periods->again[i].from_us, periods->again[i].to_us, key)));
	return error;
}

void
gw_export_periods_saved(struct gw_export_periods *periods)
{
	for (size_t i = 0; i < periods->count; i++)
		periods->at[i].changed = false;
	periods->again_count = 0;
}

// ---- Once more, as somebody asked ----

enum gw_error
gw_export_again(struct gw_intake *intake, int64_t from_us, int64_t to_us)
{
	struct gw_source source;
	struct gw_ticket *ticket;
	char key[96];
	enum gw_error error = gw_source_init(&source, intake, 1);

	if (error != GW_OK)
		return error;
	if ((ticket = gw_ticket_get(&source)) == NULL)
		error = GW_E_MEMORY;
	else {
		ticket->essential = true;
		if ((error = gw_ticket_put(ticket, gw_span(key, again_key(from_us, to_us, key)), gw_span("\1", 1))) == GW_OK)
			error = gw_intake_commit(ticket);
		gw_ticket_release(ticket);
	}
	gw_source_fini(&source);
	return error;
}

static bool
take_again(void *arg, struct gw_span key, struct gw_span value)
{
	struct gw_export_periods *periods = arg;
	char digits[17] = "";
	size_t at = periods->again_count;

	if (key.len != sizeof(GW_EXPORT_AGAIN) - 1 + 32 || at == GW_EXPORT_AGAIN_MAX)
		return at < GW_EXPORT_AGAIN_MAX;
	memcpy(digits, key.at + key.len - 32, 16);
	periods->again[at].from_us = (int64_t)strtoull(digits, NULL, 16);
	memcpy(digits, key.at + key.len - 16, 16);
	periods->again[at].to_us = (int64_t)strtoull(digits, NULL, 16);
	periods->again_count++;
	return true;
}

enum gw_error
gw_export_periods_take_again(struct gw_export_periods *periods, struct gw_journal *journal)
{
	enum gw_error error = GW_OK;

	if (periods->again_count == 0)
		error = gw_journal_each(journal, gw_span_text(GW_EXPORT_AGAIN), gw_span("", 0), take_again, periods);
	for (size_t i = 0; i < periods->again_count; i++)
		gw_export_periods_mark_range(periods, periods->again[i].from_us, periods->again[i].to_us, 1); // long ago: at once
	return error;
}

// ---- What has to be done ----

int64_t
gw_export_period_of(const struct gw_export_periods *periods, int64_t us)
{
	int64_t rest = us % periods->length_us;

	if (rest < 0)
		rest += periods->length_us;
	return us < INT64_MIN + rest ? INT64_MIN : us - rest;
}

static void
mark(struct gw_export_period *period, int64_t now_us)
{
	if (period->dirty_us != 0 && period->dirty_us <= now_us)
		return;
	period->dirty_us = now_us;
	period->changed = true;
}

void
gw_export_periods_mark(struct gw_export_periods *periods, int64_t us, uint64_t position, int64_t now_us)
{
	struct gw_export_period *period = gw_export_periods_find(periods, gw_export_period_of(periods, us));

	if (period != NULL && position > period->upto)
		mark(period, now_us);
}

void
gw_export_periods_mark_range(struct gw_export_periods *periods, int64_t from_us, int64_t to_us, int64_t now_us)
{
	for (size_t i = place_of(periods, gw_export_period_of(periods, from_us)); i < periods->count && periods->at[i].from_us < to_us; i++)
		mark(&periods->at[i], now_us);
}

bool
gw_export_periods_due(const struct gw_export_periods *periods, int64_t now_us, int64_t back_us, int64_t delay_us, int64_t *from_us, size_t *due)
{
	int64_t first = gw_export_period_of(periods, now_us - back_us), last = gw_export_period_of(periods, now_us - delay_us); // exclusive
	size_t place = place_of(periods, first);
	bool any = false;

	*due = 0;
	for (int64_t at = first; at < last; at += periods->length_us) {
		bool known = place < periods->count && periods->at[place].from_us == at;

		place += known;
		if (known)
			continue;
		*from_us = any ? *from_us : at;
		any = true;
		++*due;
	}
	for (size_t i = 0; i < periods->count; i++) {
		const struct gw_export_period *period = &periods->at[i];

		// Also the other way round: a clock that went back does not hold it up for ever.
		if (period->dirty_us == 0 || (now_us - period->dirty_us < delay_us && now_us >= period->dirty_us) ||
		    period->from_us + periods->length_us + delay_us > now_us)
			continue;
		*from_us = any ? *from_us : period->from_us;
		any = true;
		++*due;
	}
	return any;
}
