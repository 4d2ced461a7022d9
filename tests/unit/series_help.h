// SPDX-License-Identifier: Apache-2.0
// A series store in a fresh directory, a journal in memory to take from, and a naive model of what must come back.
#ifndef SERIES_HELP_H
#define SERIES_HELP_H

#include "store_help.h"

#include "gateway/series.h"

#include "gateway/bytes.h"

#include <string.h>

#define RECORDS_MAX 400000

// The journal: sealed records by position.
static struct gw_span records[RECORDS_MAX + 1];
static uint64_t records_last;
static uint64_t records_incarnation = 77;

static struct gw_series_options series_options;

static inline int
series_make(void **state)
{
	if (store_make(state) != 0)
		return -1;
	series_options = (struct gw_series_options){ .dir = store_dir, .budget_bytes = 256 * MB };
	records_last = 0;
	return 0;
}

static inline int
series_finish(void **state)
{
	for (uint64_t i = 1; i <= records_last; i++)
		free((void *)(uintptr_t)records[i].at);
	records_last = 0;
	return store_remove(state);
}

static inline struct gw_series_store *
series_open(void)
{
	struct gw_series_store *store;
	struct gw_why why = { "" };

	if (gw_series_open(&series_options, &store, &why) != GW_OK)
		fail_msg("%s", why.text);
	assert_int_equal(gw_series_follow(store, records_incarnation), GW_OK);
	return store;
}

// A record of readings at the journal's end.
static inline void
record_add(const char *device, int64_t received_us, const struct gw_reading *readings, size_t count)
{
	static uint8_t out[GW_RECORD_MAX];
	static struct gw_key keys[GW_RECORD_READINGS_MAX];
	struct gw_batch_head head = { .received_us = received_us, .door = GW_DOOR_MQTT, .auth = GW_AUTH_PASSWORD, .device = gw_span_text(device),
		.principal = gw_span_text(device), .route = gw_span_text("bedside/readings"), .profile = gw_span_text("bedside-json") };
	uint8_t *copy;
	size_t len;

	assert_int_equal(gw_record_readings(&head, readings, count, out, sizeof(out), &len, keys), GW_OK);
	assert_true(records_last < RECORDS_MAX);
	assert_non_null(copy = malloc(len));
	memcpy(copy, out, len);
	records[++records_last] = gw_span(copy, len);
}

static inline void
series_take_upto(struct gw_series_store *store, uint64_t from, uint64_t upto)
{
	struct gw_record record;

	for (uint64_t at = from; at <= upto; at++) {
		assert_int_equal(gw_record_open(at, records[at], &record, NULL), GW_OK);
		assert_int_equal(gw_series_take(store, &record), GW_OK);
	}
}

// What is not taken yet.
static inline void
series_take_rest(struct gw_series_store *store)
{
	uint64_t from = gw_series_taken(store) > gw_series_cursor(store) ? gw_series_taken(store) : gw_series_cursor(store);

	series_take_upto(store, from + 1, records_last);
}

static inline void
series_flush(struct gw_series_store *store, int64_t hold_us)
{
	bool more = true;

	while (more)
		assert_int_equal(gw_series_flush(store, hold_us, &more), GW_OK);
}

static inline uint32_t
series_id(struct gw_series_store *store, const char *device, uint32_t signal)
{
	struct gw_series_info info;

	assert_true(gw_series_find(store, gw_span_text(device), signal, 0, &info));
	return info.id;
}

static inline size_t
series_count(struct gw_series_store *store, uint32_t id, int64_t from_us, int64_t to_us)
{
	struct gw_series_cursor *cursor;
	const struct gw_point *point;
	size_t count = 0;
	enum gw_error error;

	assert_int_equal(gw_series_read(store, id, from_us, to_us, &cursor), GW_OK);
	while ((error = gw_series_next(cursor, &point)) == GW_OK)
		count++;
	assert_int_equal(error, GW_E_NOT_FOUND);
	gw_series_end(cursor);
	return count;
}

#endif
