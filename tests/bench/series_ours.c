// SPDX-License-Identifier: Apache-2.0
// Contenders of the series benchmark: this store. bench_series is the store's own API, as the outlet's thread drives it; what it is given are the journal's records. bench_journal
// is what a reading costs in all: ticket, journal with its syncs, and from there into the store.
#include "tests/bench/series_bench.h"

#include "gateway/export_run.h"
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
add_latest(void *arg, const struct gw_series_info *series, const struct gw_point *point, int64_t taken_us, const char *bed, bool unsure)
{
	(void)series;
	(void)taken_us;
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

// ---- All of it ----

// Whoever takes the export's bytes: throws them away as the others do, or (bench_look) reads them first, as somebody else would.
struct taking {
	struct sink sink;
	int cells;      // before the value
	char line[256]; // one that is not whole yet
	size_t len;
	uint64_t lines;
	struct answer answer;
};

static enum gw_error
export_hold(void *arg, struct gw_series_store **held)
{
	(void)arg;
	*held = store;
	return GW_OK;
}

static void
export_release(void *arg)
{
	(void)arg;
}

static bool
export_tick(void *arg, const struct gw_export_progress *progress)
{
	(void)arg;
	(void)progress;
	return true;
}

// 2026-11-20T12:00:00.123Z,bed-1,heart_rate,72,
static void
read_line(struct taking *taking, const char *line, size_t len)
{
	const char *value = line, *end = line + len;

	for (int i = 0; i < taking->cells && value != NULL; i++)
		value = (value = memchr(value, ',', (size_t)(end - value))) != NULL ? value + 1 : NULL;
	if (value == NULL)
		fail("export", "a line with too few cells");
	if (taking->lines++ > 0 && *value != ',') // behind the header
		add(&taking->answer, strtod(value, NULL));
}

static void
read_lines(struct taking *taking, const char *at, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (taking->len == sizeof(taking->line))
			fail("export", "a line without an end");
		if ((taking->line[taking->len++] = at[i]) != '\n')
			continue;
		read_line(taking, taking->line, taking->len);
		taking->len = 0;
	}
}

static enum gw_error
export_write(void *arg, const char *at, size_t len, bool wait, size_t *taken)
{
	struct taking *taking = arg;

	(void)wait;
	if (bench_look)
		read_lines(taking, at, len);
	sink_large(&taking->sink, at, len);
	*taken = len;
	return GW_OK;
}

// What `export` runs, with the columns that the others have.
static struct gw_export_writer *
export_writer(bool all)
{
	struct gw_export_options options = { .format = GW_EXPORT_CSV };
	struct gw_export_writer *writer;
	struct gw_why why = { "" };

	if (!all && gw_export_columns_parse("time,device,signal,value,flags", &options, &why) != GW_OK)
		fail("export", why.text);
	if ((writer = gw_export_writer_new(&options)) == NULL)
		fail("export", "out of memory");
	return writer;
}

static uint64_t
export_all(struct taking *taking, bool all)
{
	const struct gw_export_io io = { .arg = taking, .hold = export_hold, .release = export_release, .write = export_write, .tick = export_tick };
	struct gw_export_writer *writer = export_writer(all);
	struct gw_series_want *wants;
	struct gw_export_done done;
	struct gw_why why = { "" };
	char (*ids)[GW_ID_MAX + 1];
	size_t count;

	check(gw_export_devices(store, NULL, NULL, gw_span("", 0), &ids, &count), "devices");
	if ((wants = calloc(count + 1, sizeof(*wants))) == NULL)
		fail("export", "out of memory");
	for (size_t i = 0; i < count; i++)
		wants[i] = (struct gw_series_want){ .device = gw_span_text(ids[i]), .from_us = INT64_MIN, .to_us = INT64_MAX };
	if (gw_export_run(&io, &(struct gw_export_ask){ .wants = wants, .count = count }, writer, &done, &why) != GW_OK)
		fail("export", why.text);
	gw_export_writer_free(writer);
	free(wants);
	free(ids);
	return done.counts.rows;
}

// What was read in the bytes when they were looked at is the answer as long as rows and bytes are as many.
static struct answer
export_once(bool all)
{
	static struct taking taking;
	static struct kept {
		struct answer answer;
		uint64_t rows;
	} kept[2];
	struct kept *known = &kept[all];
	uint64_t rows;

	taking.cells = all ? 6 : 3;
	taking.lines = taking.len = taking.sink.bytes = 0;
	taking.answer = (struct answer){ 0 };
	rows = export_all(&taking, all);
	if (bench_look)
		*known = (struct kept){ { taking.answer.count, taking.answer.sum, taking.sink.bytes }, rows };
	return rows == known->rows && taking.sink.bytes == known->answer.bytes ? known->answer : (struct answer){ 0 };
}

static struct answer
series_export(void)
{
	return export_once(false);
}

static struct answer
series_export_all(void)
{
	return export_once(true);
}

const struct contender bench_series = {
	.name = "vitalgate", .open = store_open, .encode = series_encode, .put = series_put, .due = series_flush_due, .settle = series_flush_all,
	.bytes = series_bytes,
	.cpu = own_cpu_s, .day = series_day, .latest = series_latest, .hours = series_hours, .export = series_export, .export_all = series_export_all, .close = store_close,
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
