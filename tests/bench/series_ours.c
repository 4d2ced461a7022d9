// SPDX-License-Identifier: Apache-2.0
// Contenders of the series benchmark: this store. bench_series is the store's own API, as the outlet's thread drives it; what it is given are the journal's records. bench_journal
// is what a reading costs in all: ticket, journal with its syncs, and from there into the store.
#include "tests/bench/series_bench.h"

#include "gateway/bytes.h"
#include "gateway/intake.h"
#include "gateway/journal.h"
#include "gateway/nomenclature.h"
#include "gateway/series_copy.h"
#include "gateway/series_query.h"

#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNDER_WAY 4096

static struct gw_series_store *store;
static char store_dir[4096];
int64_t bench_hold_us;
static uint64_t position;
static struct gw_span *records; // those of the batch, one after the other in record_bytes
static uint8_t *record_bytes;
static size_t records_cap;

static void
check(enum gw_error error, const char *what)
{
	if (error != GW_OK)
		fail(what, gw_error_text(error));
}

// ---- Into it ----

static void
store_open(const char *dir)
{
	struct gw_series_options options = { .dir = store_dir, .budget_bytes = UINT64_C(32) << 30, .hold_us = bench_hold_us };
	struct gw_why why = { "" };

	snprintf(store_dir, sizeof(store_dir), "%s", dir);
	if (gw_series_open(&options, &store, &why) != GW_OK)
		fail("the series store", why.text);
	check(gw_series_follow(store, 1), "follow");
	position = 0;
}

struct texts {
	char device[16], route[48], values[SIGNALS][48];
};

// The readings of a frame and what they have in common.
static size_t
readings_of(const struct frame *frame, struct gw_batch_head *head, struct gw_reading readings[SIGNALS], struct texts *texts)
{
	size_t n = 0;

	bed_name(frame->bed, texts->device);
	snprintf(texts->route, sizeof(texts->route), "ward/icu/%s/vitals", texts->device);
	*head = (struct gw_batch_head){ .received_us = frame->time_us + frame->lag_us, .door = GW_DOOR_MQTT, .auth = GW_AUTH_CERTIFICATE, .device = gw_span_text(texts->device),
		.principal = gw_span_text(texts->device), .route = gw_span_text(texts->route), .profile = gw_span_text("bedside-json") };
	for (int s = 0; s < SIGNALS; s++) {
		struct gw_reading *reading = &readings[n];
		if (!(frame->there >> s & 1))
			continue;
		*reading = (struct gw_reading){ .signal = bench_signals[s].code, .unit = bench_signals[s].unit, .time_us = frame->time_us, .flags = frame->flags[s] };
		n++;
		if (!frame_has(frame, s)) {
			reading->received = gw_span_text("-999");
			continue;
		}
		reading->type = GW_VALUE_DECIMAL;
		reading->decimal = (struct gw_decimal){ frame->mantissa[s], frame->exponent[s] };
		reading->received = gw_span(texts->values[s], gw_decimal_text(reading->decimal, texts->values[s]));
	}
	return n;
}

static void
series_encode(const struct frame *frames, size_t n)
{
	struct gw_reading readings[SIGNALS];
	struct gw_key keys[SIGNALS];
	struct gw_batch_head head;
	struct texts texts;
	size_t used = 0;

	if (n > records_cap) {
		free(records);
		free(record_bytes);
		records = malloc(n * sizeof(*records));
		record_bytes = malloc(n * 512);
		records_cap = n;
	}
	for (size_t i = 0; i < n; i++) {
		size_t len, count = readings_of(&frames[i], &head, readings, &texts);
		check(gw_record_readings(&head, readings, count, record_bytes + used, 512, &len, keys), "record");
		records[i] = gw_span(record_bytes + used, len);
		used += len;
	}
}

static void
flush(int64_t hold_us)
{
	bool more = true;

	while (more)
		check(gw_series_flush(store, hold_us, &more), "flush");
}

static void
series_put(const struct frame *frames, size_t n)
{
	struct gw_record record;

	(void)frames;
	for (size_t i = 0; i < n; i++) {
		check(gw_record_open(++position, records[i], &record, NULL), "record");
		check(gw_series_take(store, &record), "take");
		if (gw_series_full_tails(store))
			flush(-1);
	}
}

static void
series_flush_due(void)
{
	flush(-1);
}

static void
series_flush_all(void)
{
	flush(0);
}

// All pages of the file, also those that are free again. Not the blocks that are allocated ahead, 16 MiB at most: no readings made them.
static uint64_t
series_bytes(void)
{
	return gw_series_extent(store);
}

static void
store_close(void)
{
	gw_series_close(store);
	store = NULL;
}

// ---- Out of it ----

static uint32_t
series_id(const struct want *want)
{
	struct gw_series_info info;
	char name[16];

	bed_name(want->bed, name);
	if (!gw_series_find(store, gw_span_text(name), bench_signals[want->signal].code, 0, &info))
		fail("series", "there is no such series");
	return info.id;
}

static void
add(struct answer *answer, double value)
{
	if (isnan(value))
		return;
	answer->count++;
	answer->sum += value;
}

static double
number_of(const struct gw_reading *reading)
{
	static const double powers[] = { 1, 10, 100, 1000 };

	return reading->type == GW_VALUE_DECIMAL ? (double)reading->decimal.mantissa / powers[-reading->decimal.exponent] : NAN;
}

static struct answer
series_day(const struct want *want)
{
	static struct gw_chunk_reader *reader;
	struct gw_series_cursor *cursor;
	struct gw_series_block block;
	struct gw_chunk_columns columns;
	struct answer answer = { 0 };
	enum gw_error error;

	if (reader == NULL && (reader = gw_chunk_reader_new()) == NULL)
		fail("day", "out of memory");
	check(gw_series_read(store, series_id(want), want->from_us, want->to_us, &cursor), "read");
	while ((error = gw_series_next_block(cursor, &block)) == GW_OK) {
		for (size_t i = 0; block.chunk.len == 0 && i < block.count; i++)
			add(&answer, number_of(&block.points[i].reading));
		if (block.chunk.len == 0)
			continue;
		check(gw_chunk_open(reader, block.chunk, NULL), "chunk");
		check(gw_chunk_columns(reader, &columns, NULL), "columns");
		for (uint32_t i = 0; i < columns.count; i++)
			add(&answer, columns.values[i]);
	}
	gw_series_end(cursor);
	if (error != GW_E_NOT_FOUND)
		check(error, "read");
	return answer;
}

static bool
add_latest(void *arg, const struct gw_series_info *series, const struct gw_point *point, const char *bed, bool unsure)
{
	(void)series;
	(void)bed;
	(void)unsure;
	add(arg, number_of(&point->reading));
	return true;
}

static struct answer
series_latest(void)
{
	struct gw_series_latest want = { 0 };
	struct answer answer = { 0 };
	struct gw_why why = { "" };
	uint64_t left_out;

	check(gw_series_latest(store, NULL, NULL, &want, add_latest, &answer, &left_out, &why), "latest");
	return answer;
}

static struct answer
series_hours(const struct want *want)
{
	char name[16];
	struct gw_series_want asked = { .signals = gw_span_text(bench_signals[want->signal].name), .from_us = want->from_us, .to_us = want->to_us, .step_us = INT64_C(3600000000) };
	struct gw_series_query *query;
	struct gw_series_row row;
	struct answer answer = { 0 };
	struct gw_why why = { "" };
	enum gw_error error;

	bed_name(want->bed, name);
	asked.device = gw_span_text(name);
	check(gw_series_query_open(store, NULL, &asked, &query, &why), "query");
	while ((error = gw_series_query_next(query, &row)) == GW_OK)
		if (row.step != NULL)
			add(&answer, row.step->mean);
	if (error != GW_E_NOT_FOUND)
		check(error, "query");
	gw_series_query_close(query);
	return answer;
}

static size_t
put_number(char *at, int64_t value)
{
	char digits[24];
	size_t n = 0, len = 0;

	do
		digits[n++] = (char)('0' + value % 10);
	while ((value /= 10) > 0);
	while (n > 0)
		at[len++] = digits[--n];
	return len;
}

struct exporting {
	struct sink sink;
	struct answer answer;
};

// bed-1,heart_rate,1795132800000,72,0
static bool
export_one(void *arg, const struct gw_series_info *info)
{
	struct exporting *out = arg;
	const struct gw_signal *signal = gw_signal_by_code(info->signal);
	struct gw_series_cursor *cursor;
	const struct gw_point *point;
	char line[200];
	size_t head = (size_t)snprintf(line, sizeof(line), "%s,%s,", info->device, signal != NULL ? signal->name : "");

	check(gw_series_read(store, info->id, INT64_MIN, INT64_MAX, &cursor), "read");
	while (gw_series_next(cursor, &point) == GW_OK) {
		size_t len = head + put_number(line + head, point->reading.time_us / 1000);
		line[len++] = ',';
		if (point->reading.type == GW_VALUE_DECIMAL) {
			gw_put_bytes((uint8_t *)line + len, point->reading.received.at, point->reading.received.len);
			len += point->reading.received.len;
			add(&out->answer, number_of(&point->reading));
		}
		line[len++] = ',';
		len += put_number(line + len, point->reading.flags);
		line[len++] = '\n';
		sink_put(&out->sink, line, len);
	}
	gw_series_end(cursor);
	return true;
}

static struct answer
series_export(void)
{
	static struct exporting out;

	out.answer = (struct answer){ 0 };
	out.sink.bytes = 0;
	check(gw_series_each(store, (struct gw_span){ 0 }, export_one, &out), "export");
	sink_flush(&out.sink);
	out.answer.bytes = out.sink.bytes;
	return out.answer;
}

const struct contender bench_series = {
	.name = "vitalgate", .open = store_open, .encode = series_encode, .put = series_put, .due = series_flush_due, .settle = series_flush_all,
	.bytes = series_bytes,
	.cpu = own_cpu_s, .day = series_day, .latest = series_latest, .hours = series_hours, .export = series_export, .close = store_close,
};

// ---- With the journal before it ----

static struct gw_journal *journal;
static struct gw_intake *intake;
static struct gw_source source;
static uint8_t *copied;
static unsigned under_way;

static void
journal_open(const char *dir)
{
	char at[4096];
	const struct gw_journal_options options = {
		.dir = at, .budget_bytes = UINT64_C(8) << 30, .reserve_bytes = UINT64_C(64) << 20, .retention_us = INT64_C(720) * 3600000000, .retention_full_us = INT64_C(720) * 3600000000,
		.quarantine_bytes = 16u << 20, .quarantine_share_percent = 10, .series_max = 1000000,
	};
	struct gw_intake_options intake_options = { 0 };
	struct gw_why why = { "" };

	snprintf(at, sizeof(at), "%s/series", dir);
	store_open(at);
	snprintf(at, sizeof(at), "%s/journal", dir);
	if (gw_journal_open(&options, &journal, &why) != GW_OK)
		fail("journal", why.text);
	intake_options.journal = journal;
	check(gw_intake_open(&intake_options, &intake, &why), "intake");
	check(gw_source_init(&source, intake, UNDER_WAY), "source");
	check(gw_series_follow(store, gw_journal_incarnation(journal)), "follow");
	if (copied == NULL && (copied = malloc(GW_RECORD_MAX + 16)) == NULL)
		fail("journal", "out of memory");
}

static void
take_back(unsigned until)
{
	struct pollfd wait = { .fd = source.event_fd, .events = POLLIN };

	while (under_way > until) {
		poll(&wait, 1, 1000);
		for (struct gw_ticket *ticket = gw_source_take(&source), *next; ticket != NULL; ticket = next) {
			next = ticket->next;
			check(ticket->result, "commit");
			under_way--;
			gw_ticket_release(ticket);
		}
	}
}

static void
follow(void)
{
	size_t used = 1;
	uint64_t at = gw_series_taken(store) + 1;

	while (used > 0) {
		struct gw_record record;
		struct gw_span rest;
		check(gw_journal_read(journal, at, copied, GW_RECORD_MAX + 16, &used, &at), "journal");
		rest = gw_span(copied, used);
		while (gw_journal_step(&rest, &record)) {
			check(gw_series_take(store, &record), "take");
			if (gw_series_full_tails(store))
				flush(-1);
		}
	}
}

static void
journal_put(const struct frame *frames, size_t n)
{
	struct gw_reading readings[SIGNALS];
	struct gw_batch_head head;
	struct texts texts;

	for (size_t i = 0; i < n; i++) {
		struct gw_ticket *ticket;
		size_t count = readings_of(&frames[i], &head, readings, &texts);
		while ((ticket = gw_ticket_get(&source)) == NULL)
			take_back(UNDER_WAY / 2);
		check(gw_ticket_readings(ticket, &head, readings, count), "ticket");
		under_way++;
		gw_intake_submit(ticket);
	}
	take_back(0);
	follow();
}

static void
journal_close(void)
{
	gw_intake_close(intake);
	gw_source_fini(&source);
	gw_journal_close(journal);
	store_close();
}

const struct contender bench_journal = {
	.name = "vitalgate with journal", .open = journal_open, .put = journal_put, .settle = series_flush_all, .bytes = series_bytes, .cpu = own_cpu_s,
	.close = journal_close,
};
