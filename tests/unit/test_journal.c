// SPDX-License-Identifier: Apache-2.0
// The journal by itself: "once" against a model that remembers everything, what a killed process leaves behind, rows, ranges.
#include "gateway/journal_map.h"
#include "store_help.h"

#include <lmdb.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static struct gw_source spare = { .tickets_max = 100000, .event_fd = -1 };

static struct gw_ticket *
ticket(void)
{
	struct gw_ticket *t = gw_ticket_get(&spare);
	assert_non_null(t);
	return t;
}

static enum gw_error
commit(struct gw_journal *journal, struct gw_ticket *t)
{
	enum gw_error error = gw_journal_begin(journal);

	if (error == GW_OK)
		error = gw_journal_apply(journal, t);
	if (error != GW_OK) {
		gw_journal_abort(journal);
		return error;
	}
	return gw_journal_commit(journal);
}

// Commits one record of readings; gives the ticket's counts.
static struct gw_ticket
store(struct gw_journal *journal, const char *device, const struct gw_reading *readings, size_t count)
{
	struct gw_ticket *t = ticket(), result;

	add_readings(t, device, T0, readings, count);
	assert_int_equal(commit(journal, t), GW_OK);
	result = *t;
	gw_ticket_release(t);
	return result;
}

// ---- "Once", against a model ----

struct row {
	int device;
	struct gw_reading reading;
};

static struct row model[60000], seen[60000];
static size_t model_count, seen_count;
static const char *const devices[] = { "a", "b", "monitor-0001" };

static void
model_take(int device, struct gw_reading reading, uint32_t *stored, uint32_t *duplicates, uint32_t *revisions)
{
	int64_t sequence = -1, revision = -1;

	for (size_t i = 0; i < model_count; i++) {
		const struct gw_reading *old = &model[i].reading;
		if (model[i].device != device || old->signal != reading.signal || old->instance != reading.instance ||
		    old->time_us != reading.time_us)
			continue;
		if (old->sequence > sequence)
			sequence = old->sequence;
		if (old->sequence != reading.sequence || (reading.flags & GW_FLAG_NO_DEVICE_TIME) != 0)
			continue;
		if (gw_reading_same_value(old, &reading)) {
			(*duplicates)++;
			return;
		}
		if (old->revision > revision)
			revision = old->revision;
	}
	if ((reading.flags & GW_FLAG_NO_DEVICE_TIME) != 0) {
		if (sequence >= 0)
			reading.sequence = (uint32_t)sequence + 1;
	} else if (revision >= 0) {
		reading.revision = (uint16_t)(revision + 1);
		reading.flags |= GW_FLAG_REVISION;
		(*revisions)++;
	}
	(*stored)++;
	model[model_count++] = (struct row){ device, reading };
}

static void
see(void *arg, const struct gw_record *record, const struct gw_batch_head *head, const struct gw_reading *reading)
{
	int device = 0;

	(void)arg, (void)record;
	while (!gw_span_is(head->device, devices[device]))
		device++;
	seen[seen_count++] = (struct row){ device, *reading };
}

static void
assert_model(struct gw_journal *journal)
{
	seen_count = 0;
	store_each(journal, see, NULL);
	assert_int_equal(seen_count, model_count);
	for (size_t i = 0; i < model_count; i++) {
		const struct gw_reading *a = &model[i].reading, *b = &seen[i].reading;
		assert_int_equal(model[i].device, seen[i].device);
		assert_int_equal(a->signal, b->signal);
		assert_int_equal(a->instance, b->instance);
		assert_int_equal(a->time_us, b->time_us);
		assert_int_equal(a->sequence, b->sequence);
		assert_int_equal(a->revision, b->revision);
		assert_int_equal(a->flags, b->flags);
		assert_true(gw_reading_same_value(a, b));
	}
}

static struct gw_reading
any_reading(int64_t clock)
{
	struct gw_reading reading = reading_of(1 + (uint32_t)rand() % 2, T0 + clock, rand() % 3);

	reading.instance = (uint16_t)(rand() % 2);
	if (rand() % 2 == 0) // late, or again
		reading.time_us -= rand() % 12;
	if (rand() % 8 == 0)
		reading.sequence = (uint32_t)rand() % 2;
	else if (rand() % 10 == 0)
		reading.flags = GW_FLAG_NO_DEVICE_TIME;
	return reading;
}

static void
once_as_the_model(void **state)
{
	struct gw_journal *journal = store_open();
	static struct gw_ticket *group[20];
	int64_t clock = 0;

	(void)state;
	srand(11);
	for (int round = 0; round < 400; round++) {
		int tickets = 1 + rand() % 20;
		bool aborted = rand() % 8 == 0;
		size_t before = model_count;
		uint32_t stored[20] = { 0 }, duplicates[20] = { 0 }, revisions[20] = { 0 };
		assert_int_equal(gw_journal_begin(journal), GW_OK);
		for (int i = 0; i < tickets; i++) {
			struct gw_reading readings[6];
			int device = rand() % 3, count = 1 + rand() % 6;
			group[i] = ticket();
			clock += rand() % 3;
			for (int n = 0; n < count; n++) {
				readings[n] = any_reading(clock);
				model_take(device, readings[n], &stored[i], &duplicates[i], &revisions[i]);
			}
			add_readings(group[i], devices[device], T0, readings, (size_t)count);
			assert_int_equal(gw_journal_apply(journal, group[i]), GW_OK);
			assert_int_equal(group[i]->stored, stored[i]);
			assert_int_equal(group[i]->duplicates, duplicates[i]);
			assert_int_equal(group[i]->revisions, revisions[i]);
			gw_ticket_release(group[i]);
		}
		if (aborted) {
			gw_journal_abort(journal);
			model_count = before;
		} else {
			assert_int_equal(gw_journal_commit(journal), GW_OK);
		}
		if (rand() % 20 == 0) {
			gw_journal_close(journal);
			journal = store_open();
		}
	}
	assert_model(journal);
	assert_true(model_count > 2000);
	gw_journal_close(journal);
}

static void
same_key_in_one_record(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_reading readings[] = { reading_of(1, T0, 5), reading_of(1, T0, 5), reading_of(1, T0, 6), reading_of(1, T0, 5),
		reading_of(2, T0, 5) };
	struct gw_ticket t = store(journal, "a", readings, 5);

	(void)state;
	assert_int_equal(t.stored, 3);
	assert_int_equal(t.duplicates, 2);
	assert_int_equal(t.revisions, 1);
	t = store(journal, "a", readings, 5);
	assert_int_equal(t.stored, 0);
	assert_int_equal(t.duplicates, 5);
	assert_int_equal(gw_journal_last(journal), 1);
	gw_journal_close(journal);
}

// A frame of the largest size again and again, and one time for ever: the work stays bounded, the numbers right.
static void
hostile_repetition(void **state)
{
	static struct gw_reading readings[GW_RECORD_READINGS_MAX];
	struct gw_journal *journal = store_open();
	struct gw_ticket t;

	(void)state;
	for (int i = 0; i < GW_RECORD_READINGS_MAX; i++)
		readings[i] = reading_of(1, T0 - i, i); // falling times
	t = store(journal, "a", readings, GW_RECORD_READINGS_MAX);
	assert_int_equal(t.stored, GW_RECORD_READINGS_MAX);
	t = store(journal, "a", readings, GW_RECORD_READINGS_MAX);
	assert_int_equal(t.duplicates, GW_RECORD_READINGS_MAX);
	for (int i = 0; i < 600; i++) { // a clock that stands still
		struct gw_reading stuck = reading_of(7, T0, i);
		t = store(journal, "a", &stuck, 1);
		assert_int_equal(t.stored, 1);
		assert_int_equal(t.revisions, i > 0);
	}
	for (int i = 0; i < GW_RECORD_READINGS_MAX; i++)
		readings[i] = reading_of(9, T0, i);
	t = store(journal, "a", readings, GW_RECORD_READINGS_MAX);
	assert_int_equal(t.stored, GW_RECORD_READINGS_MAX);
	assert_int_equal(t.revisions, GW_RECORD_READINGS_MAX - 1);
	gw_journal_close(journal);
}

static void
newest_and_seek(void **state)
{
	struct gw_journal *journal = store_open();
	uint64_t series = gw_series_hash(gw_name_hash(gw_span_text("a")), 1, 0), position;
	int64_t time_us = 0;

	(void)state;
	assert_int_equal(gw_journal_newest(journal, series, &time_us), 0);
	assert_int_equal(gw_journal_seek(journal, T0, &position), GW_OK);
	assert_int_equal(position, 1);
	for (int i = 0; i < 100; i++) {
		struct gw_ticket *t = ticket();
		struct gw_reading reading = reading_of(1, T0 + (i ^ 1), i);
		add_readings(t, "a", T0 + i * 10, &reading, 1);
		assert_int_equal(commit(journal, t), GW_OK);
		gw_ticket_release(t);
	}
	assert_int_equal(gw_journal_newest(journal, series, &time_us), 99);
	assert_int_equal(time_us, T0 + 99);
	for (int round = 0; round < 2; round++) {
		static const struct { int64_t us; uint64_t position; } rows[] = { { INT64_MIN, 1 }, { T0, 1 }, { T0 + 1, 2 }, { T0 + 10, 2 },
			{ T0 + 985, 100 }, { T0 + 990, 100 }, { T0 + 991, 101 }, { INT64_MAX, 101 } };
		for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
			assert_int_equal(gw_journal_seek(journal, rows[i].us, &position), GW_OK);
			assert_int_equal(position, rows[i].position);
		}
	}
	// What is not committed is not seen.
	struct gw_ticket *t = ticket();
	struct gw_reading later = reading_of(1, T0 + 1000, 1);
	add_readings(t, "a", T0, &later, 1);
	assert_int_equal(gw_journal_begin(journal), GW_OK);
	assert_int_equal(gw_journal_apply(journal, t), GW_OK);
	assert_int_equal(gw_journal_newest(journal, series, &time_us), 99);
	assert_int_equal(time_us, T0 + 99);
	gw_journal_abort(journal);
	gw_ticket_release(t);
	assert_int_equal(gw_journal_newest(journal, series, &time_us), 99);
	gw_journal_close(journal);
}

struct range {
	int64_t last_time;
	int count, stop;
};

static bool
in_range(void *arg, int64_t time_us, const struct gw_record *record)
{
	struct range *range = arg;

	assert_true(time_us >= range->last_time);
	assert_int_equal(record->type, GW_RECORD_READINGS);
	range->last_time = time_us;
	return ++range->count != range->stop;
}

static void
ranges(void **state)
{
	struct gw_journal *journal = store_open();
	struct range range = { .last_time = INT64_MIN };

	(void)state;
	assert_int_equal(gw_journal_begin(journal), GW_OK);
	for (int i = 0; i < 20000; i++) {
		struct gw_ticket *t = ticket();
		struct gw_reading readings[] = { reading_of(1, T0 + i, i), reading_of(2, T0 + i, i), reading_of(1, T0 - i, i) };
		add_readings(t, i % 2 == 0 ? "a" : "b", T0, readings, i % 100 == 0 ? 3 : 2);
		assert_int_equal(gw_journal_apply(journal, t), GW_OK);
		gw_ticket_release(t);
	}
	assert_int_equal(gw_journal_commit(journal), GW_OK);
	assert_int_equal(gw_journal_range(journal, gw_span_text("a"), INT64_MIN, INT64_MAX, in_range, &range), GW_OK);
	assert_int_equal(range.count, 10000 + 199); // at i = 0 both times are one
	range = (struct range){ .last_time = INT64_MIN };
	assert_int_equal(gw_journal_range(journal, gw_span_text("b"), T0 + 100, T0 + 200, in_range, &range), GW_OK);
	assert_int_equal(range.count, 50);
	range = (struct range){ .last_time = INT64_MIN, .stop = 7 };
	assert_int_equal(gw_journal_range(journal, gw_span_text("b"), T0, INT64_MAX, in_range, &range), GW_OK);
	assert_int_equal(range.count, 7);
	range = (struct range){ .last_time = INT64_MIN };
	assert_int_equal(gw_journal_range(journal, gw_span_text("c"), INT64_MIN, INT64_MAX, in_range, &range), GW_OK);
	assert_int_equal(gw_journal_range(journal, gw_span_text("a"), T0 + 5, T0 + 5, in_range, &range), GW_OK);
	assert_int_equal(range.count, 0);
	gw_journal_close(journal);
}

static void
reading_a_little_at_a_time(void **state)
{
	struct gw_journal *journal = store_open();
	uint8_t buf[400];
	uint64_t next = 1;
	size_t used, records = 0;

	(void)state;
	for (int i = 0; i < 10; i++) {
		struct gw_reading reading = reading_of(1, T0 + i, i);
		store(journal, "a", &reading, 1);
	}
	assert_int_equal(gw_journal_read(journal, 1, buf, 20, &used, &next), GW_E_TOO_LARGE);
	assert_int_equal(next, 1);
	for (;;) {
		struct gw_record record;
		assert_int_equal(gw_journal_read(journal, next, buf, sizeof(buf), &used, &next), GW_OK);
		struct gw_span rest = gw_span(buf, used);
		if (used == 0)
			break;
		while (gw_journal_step(&rest, &record))
			assert_int_equal(record.position, ++records);
	}
	assert_int_equal(records, 10);
	assert_int_equal(next, 11);
	gw_journal_close(journal);
}

// ---- Rows and quarantine ----

struct rows {
	char text[400];
};

static bool
add_row(void *arg, struct gw_span key, struct gw_span value)
{
	struct rows *rows = arg;
	size_t len = strlen(rows->text);

	snprintf(rows->text + len, sizeof(rows->text) - len, "%.*s=%.*s ", GW_SPAN_FMT(key), GW_SPAN_FMT(value));
	return true;
}

static const char *
rows_of(struct gw_journal *journal, const char *prefix, const char *after)
{
	static struct rows rows;

	rows.text[0] = '\0';
	assert_int_equal(gw_journal_each(journal, gw_span_text(prefix), gw_span_text(after), add_row, &rows), GW_OK);
	return rows.text;
}

static void
small_rows(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_ticket *t = ticket();
	static char big[200000];
	char buf[8];
	size_t len;

	(void)state;
	assert_int_equal(gw_ticket_put(t, gw_span_text("b/2"), gw_span_text("two")), GW_OK);
	assert_int_equal(gw_ticket_put(t, gw_span_text("a"), gw_span_text("")), GW_OK);
	assert_int_equal(gw_ticket_put(t, gw_span_text("b/1"), gw_span_text("one")), GW_OK);
	assert_int_equal(gw_ticket_put(t, gw_span_text("b/3"), gw_span_text("three")), GW_OK);
	assert_int_equal(gw_ticket_put(t, gw_span_text("c"), gw_span_text("c")), GW_OK);
	assert_int_equal(gw_ticket_del(t, gw_span_text("b/3")), GW_OK);
	assert_int_equal(gw_ticket_put(t, gw_span_text(""), gw_span_text("c")), GW_E_ARGUMENT);
	assert_int_equal(gw_ticket_put(t, gw_span(big, 501), gw_span_text("c")), GW_E_TOO_LARGE);
	assert_int_equal(commit(journal, t), GW_OK);
	assert_string_equal(rows_of(journal, "", ""), "a= b/1=one b/2=two c=c ");
	assert_string_equal(rows_of(journal, "b/", ""), "b/1=one b/2=two ");
	assert_string_equal(rows_of(journal, "b/", "b/1"), "b/2=two ");
	assert_string_equal(rows_of(journal, "b/", "b/15"), "b/2=two ");
	assert_string_equal(rows_of(journal, "b/", "a"), "b/1=one b/2=two ");
	assert_string_equal(rows_of(journal, "b/", "c"), "");
	assert_string_equal(rows_of(journal, "d", ""), "");
	assert_int_equal(gw_journal_get(journal, gw_span_text("b/1"), buf, sizeof(buf), &len), GW_OK);
	assert_int_equal(len, 3);
	assert_memory_equal(buf, "one", 3);
	assert_int_equal(gw_journal_get(journal, gw_span_text("b/1"), buf, 2, &len), GW_E_TOO_LARGE);
	assert_int_equal(len, 3);
	assert_int_equal(gw_journal_get(journal, gw_span_text("b/3"), buf, sizeof(buf), &len), GW_E_NOT_FOUND);
	t->ops_len = 0;
	assert_int_equal(gw_ticket_del_prefix(t, gw_span_text("b/")), GW_OK);
	assert_int_equal(gw_ticket_del(t, gw_span_text("never there")), GW_OK);
	assert_int_equal(gw_ticket_put(t, gw_span_text("big"), gw_span(big, sizeof(big))), GW_OK);
	assert_int_equal(commit(journal, t), GW_OK);
	assert_int_equal(gw_journal_last(journal), 0);
	gw_journal_close(journal);
	journal = store_open();
	assert_string_equal(rows_of(journal, "", "big"), "c=c ");
	assert_true(strncmp(rows_of(journal, "", ""), "a= big=", 7) == 0);
	gw_ticket_release(t);
	gw_journal_close(journal);
}

static enum gw_error
quarantine(struct gw_journal *journal, const char *principal, size_t size)
{
	static uint8_t payload[MB];
	struct gw_quarantined entry = { .received_us = T0, .door = GW_DOOR_COAP, .auth = GW_AUTH_PSK, .error = GW_E_FORMAT,
		.content_format = 112, .principal = gw_span_text(principal), .route = gw_span_text("/readings"),
		.reason = gw_span_text("no JSON"), .payload = gw_span(payload, size) };
	struct gw_event event = { .received_us = T0, .door = GW_DOOR_COAP, .code = GW_EVENT_DEVICE, .device = gw_span_text(principal) };
	struct gw_ticket *t = ticket();
	enum gw_error result;

	memset(payload, 'q', sizeof(payload));
	assert_int_equal(gw_ticket_event(t, GW_RECORD_DEVICE_EVENT, &event), GW_OK);
	assert_int_equal(gw_ticket_quarantine(t, &entry), GW_OK);
	assert_int_equal(commit(journal, t), GW_OK);
	result = t->result;
	gw_ticket_release(t);
	return result;
}

// A frame that was understood in part: its readings are never the price of a full quarantine.
static void
quarantine_full_takes_readings(void **state)
{
	static uint8_t payload[MB];
	struct gw_journal *journal = store_open();
	struct gw_reading reading = reading_of(1, T0, 1);
	struct gw_quarantined entry = { .received_us = T0, .error = GW_E_FIELD, .principal = gw_span_text("a"), .payload = gw_span(payload, MB - 1000) };
	struct gw_journal_stats stats;
	struct gw_ticket *t = ticket();

	(void)state;
	add_readings(t, "a", T0, &reading, 1);
	assert_int_equal(gw_ticket_quarantine(t, &entry), GW_OK);
	assert_int_equal(commit(journal, t), GW_OK);
	assert_int_equal(t->result, GW_OK);
	assert_int_equal(t->stored, 1);
	assert_false(t->quarantined);
	gw_ticket_release(t);
	gw_journal_stats(journal, &stats);
	assert_int_equal(stats.quarantine_count, 0);
	assert_int_equal(stats.quarantine_left_out, 1);
	gw_journal_close(journal);
}

// A frame out of quarantine that goes back in part takes its own place, however full quarantine is.
static void
quarantine_again(void **state)
{
	static uint8_t payload[MB / 2 - 2000];
	struct gw_journal *journal = store_open();
	struct gw_reading reading = reading_of(1, T0, 1);
	struct gw_quarantined entry = { .received_us = T0, .error = GW_E_FIELD, .principal = gw_span_text("a"), .payload = gw_span(payload, sizeof(payload)) };
	struct gw_journal_stats stats;
	struct gw_ticket *t = ticket();

	(void)state;
	assert_int_equal(gw_ticket_quarantine(t, &entry), GW_OK);
	assert_int_equal(commit(journal, t), GW_OK);
	gw_ticket_release(t);
	t = ticket();
	t->again = true;
	add_readings(t, "a", T0, &reading, 1);
	assert_int_equal(gw_ticket_quarantine(t, &entry), GW_OK);
	assert_int_equal(gw_ticket_unquarantine(t, 1), GW_OK);
	assert_int_equal(commit(journal, t), GW_OK);
	assert_true(t->quarantined);
	gw_ticket_release(t);
	gw_journal_stats(journal, &stats);
	assert_int_equal(stats.quarantine_count, 1);
	assert_int_equal(stats.quarantine_left_out, 0);
	gw_journal_close(journal);
}

static bool
check_entry(void *arg, const struct gw_quarantined *entry)
{
	uint64_t *last = arg;

	assert_true(entry->id > *last);
	*last = entry->id;
	assert_int_equal(entry->error, GW_E_FORMAT);
	assert_int_equal(entry->content_format, 112);
	assert_true(gw_span_is(entry->route, "/readings"));
	assert_true(gw_span_is(entry->reason, "no JSON"));
	assert_true(entry->payload.len == 0 || (entry->payload.at[0] == 'q' && entry->payload.at[entry->payload.len - 1] == 'q'));
	return true;
}

static void
quarantine_limits(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_journal_stats stats;
	struct gw_ticket *t = ticket();
	uint64_t last = 0;

	(void)state;
	assert_int_equal(quarantine(journal, "a", 100000), GW_OK);
	assert_int_equal(quarantine(journal, "a", 500000), GW_E_QUOTA); // more than its half
	gw_journal_stats(journal, &stats);
	assert_int_equal(stats.quarantine_count, 1);
	assert_int_equal(gw_journal_last(journal), 1);                 // nothing of a refused ticket is stored
	assert_int_equal(quarantine(journal, "b", 500000), GW_OK);
	assert_int_equal(quarantine(journal, "c", 500000), GW_E_QUOTA); // more than all
	assert_int_equal(gw_journal_last(journal), 2);
	gw_journal_close(journal);
	journal = store_open();
	assert_int_equal(quarantine(journal, "b", 100000), GW_E_QUOTA);
	assert_int_equal(gw_quarantine_each(journal, 0, check_entry, &last), GW_OK);
	assert_int_equal(last, 2);
	assert_int_equal(gw_ticket_unquarantine(t, 2), GW_OK);
	assert_int_equal(gw_ticket_unquarantine(t, 77), GW_OK);
	assert_int_equal(commit(journal, t), GW_OK);
	assert_int_equal(quarantine(journal, "b", 0), GW_OK);
	last = 0;
	assert_int_equal(gw_quarantine_each(journal, 2, check_entry, &last), GW_OK);
	assert_int_equal(last, 3); // numbers are not given twice
	gw_ticket_release(t);
	gw_journal_close(journal);
}

static void
series_limit(void **state)
{
	struct gw_journal *journal;
	struct gw_reading readings[6];
	struct gw_ticket *t = ticket();

	(void)state;
	store_options.series_max = 5;
	journal = store_open();
	for (uint32_t i = 0; i < 6; i++)
		readings[i] = reading_of(i, T0, 1);
	add_readings(t, "a", T0, readings, 6);
	assert_int_equal(commit(journal, t), GW_OK);
	assert_int_equal(t->result, GW_E_QUOTA);
	assert_int_equal(gw_journal_last(journal), 0);
	gw_ticket_release(t);
	assert_int_equal(store(journal, "a", readings, 5).stored, 5);
	readings[0].time_us++;
	assert_int_equal(store(journal, "a", readings, 5).stored, 1); // known series go on
	assert_int_equal(store(journal, "a", readings + 5, 1).result, GW_E_QUOTA);
	gw_journal_close(journal);
}

// A device that counts its instances up leaves series for the others.
static void
series_of_one_device_up_to(uint32_t percent, uint32_t share)
{
	static struct gw_reading readings[100];
	struct gw_journal *journal;
	uint32_t stored = 0;

	store_options.series_max = 8192;
	store_options.series_share_percent = percent;
	journal = store_open();
	for (uint32_t round = 0; round < 100; round++) {
		for (uint32_t i = 0; i < 100; i++) {
			readings[i] = reading_of(1, T0 + round, 1);
			readings[i].instance = (uint16_t)(round * 100 + i);
		}
		struct gw_ticket t = store(journal, "bad", readings, 100);
		assert_int_equal(t.result, stored < share ? GW_OK : GW_E_QUOTA);
		stored += t.stored;
	}
	assert_in_range(stored, share, share + 99);
	readings[0] = reading_of(1, T0 + 1000, 1);
	assert_int_equal(store(journal, "bad", readings, 1).stored, 1); // what it has goes on
	assert_int_equal(store(journal, "good", readings, 1).stored, 1);
	gw_journal_close(journal);
}

static void
series_of_one_device(void **state)
{
	(void)state;
	series_of_one_device_up_to(0, 2048);
}

static void
series_of_one_device_by_option(void **state)
{
	(void)state;
	series_of_one_device_up_to(50, 4096);
}

// ---- Opening ----

static void
one_process_only(void **state)
{
	struct gw_journal *journal = store_open(), *second;
	struct gw_why why;
	char pid[24];

	(void)state;
	snprintf(pid, sizeof(pid), "process %ld:", (long)getpid());
	assert_int_equal(gw_journal_open(&store_options, &second, &why), GW_E_BUSY);
	assert_null(second);
	assert_non_null(strstr(why.text, pid));
	gw_journal_close(journal);
	gw_journal_close(store_open());
}

static void
newer_format_is_refused(void **state)
{
	struct gw_journal *journal = store_open();
	uint64_t incarnation = gw_journal_incarnation(journal), format = 4;
	MDB_val key = { 6, (void *)(uintptr_t)"format" }, data = { 8, &format }, old;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi meta;
	struct gw_why why;

	(void)state;
	assert_true(incarnation != 0);
	gw_journal_close(journal);
	journal = store_open();
	assert_true(gw_journal_incarnation(journal) == incarnation);
	gw_journal_close(journal);
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_set_maxdbs(env, 8), 0);
	assert_int_equal(mdb_env_open(env, store_dir, 0, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, "meta", 0, &meta), 0);
	assert_int_equal(mdb_get(txn, meta, &key, &old), 0);
	assert_int_equal(old.mv_size, 8); // nothing else is read by older programs
	assert_int_equal(mdb_put(txn, meta, &key, &data, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	assert_int_equal(gw_journal_open(&store_options, &journal, &why), GW_E_VERSION);
	assert_non_null(strstr(why.text, "format 4"));
}

// A child commits and tells, and is killed; everything that it told is there, once, and is known when it comes again.
static void
child_commits(int fd)
{
	struct gw_journal *journal;
	uint64_t from;

	if (gw_journal_open(&store_options, &journal, NULL) != GW_OK)
		_exit(1);
	from = gw_journal_last(journal); // a record for each number from 0
	for (uint64_t n = from;; n++) {
		struct gw_reading reading = reading_of(1 + n % 50, T0 + (int64_t)n, (int64_t)n);
		struct gw_ticket *t = gw_ticket_get(&spare);
		struct gw_batch_head head = { .received_us = T0, .device = gw_span_text("a") };
		if (gw_ticket_readings(t, &head, &reading, 1) != GW_OK || commit(journal, t) != GW_OK)
			_exit(1);
		gw_ticket_release(t);
		if (write(fd, &n, sizeof(n)) != sizeof(n))
			_exit(0);
	}
}

static void
count_value(void *arg, const struct gw_record *record, const struct gw_batch_head *head, const struct gw_reading *reading)
{
	uint64_t *next = arg;

	(void)record, (void)head;
	assert_int_equal(reading->decimal.mantissa, (*next)++); // each once, in order
}

static void
killed_processes_lose_nothing(void **state)
{
	uint64_t next = 0;

	(void)state;
	for (int round = 0; round < 12; round++) {
		uint64_t told = 0, stop = next + 5 + (uint64_t)(round * 37) % 60;
		struct gw_journal *journal;
		int pipes[2], status;
		pid_t pid;
		assert_int_equal(pipe(pipes), 0);
		if ((pid = fork()) == 0) {
			close(pipes[0]);
			child_commits(pipes[1]);
		}
		close(pipes[1]);
		while (told < stop)
			assert_int_equal(read(pipes[0], &told, sizeof(told)), sizeof(told));
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		while (read(pipes[0], &told, sizeof(told)) == sizeof(told))
			;
		close(pipes[0]);
		if (round % 3 == 1) // the next one finds what two have left, and an older checkpoint
			continue;
		journal = store_open();
		next = 0;
		store_each(journal, count_value, &next);
		assert_true(next > told);
		for (uint64_t n = next > 100 ? next - 100 : 0; n < next; n++) {
			struct gw_reading reading = reading_of(1 + n % 50, T0 + (int64_t)n, (int64_t)n);
			assert_int_equal(store(journal, "a", &reading, 1).duplicates, 1);
		}
		gw_journal_close(journal);
	}
}

// ---- The checkpoint of newest times, written with ordinary commits ----

#define SERIES 20000
#define GROUP 1000

static int64_t newest_of[SERIES];
static uint64_t committed_to;

// The same numbers in the child, which writes, and in the parent, which only remembers.
static void
many_groups(struct gw_journal *journal)
{
	static uint64_t n;
	static struct { uint32_t series; int64_t time_us; } group[GROUP];

	for (int round = 0; round < 450; round++) {
		bool aborted = rand() % 40 == 0;
		if (journal != NULL && gw_journal_begin(journal) != GW_OK)
			_exit(1);
		for (int i = 0; i < GROUP; i++) {
			uint32_t series = (uint32_t)rand() % (500 + (uint32_t)round * 40); // more and more of them
			group[i].series = series;
			group[i].time_us = T0 + (int64_t)n++;
			if (journal == NULL)
				continue;
			struct gw_reading reading = reading_of(series, group[i].time_us, 1);
			struct gw_batch_head head = { .received_us = T0, .device = gw_span_text("a") };
			struct gw_ticket *t = gw_ticket_get(&spare);
			if (gw_ticket_readings(t, &head, &reading, 1) != GW_OK || gw_journal_apply(journal, t) != GW_OK)
				_exit(1);
			gw_ticket_release(t);
		}
		if (journal != NULL && aborted)
			gw_journal_abort(journal);
		else if (journal != NULL && gw_journal_commit(journal) != GW_OK)
			_exit(1);
		for (int i = 0; !aborted && i < GROUP; i++)
			newest_of[group[i].series] = group[i].time_us;
		committed_to += aborted ? 0 : GROUP;
	}
}

static void
checkpoint_rides_along(void **state)
{
	struct gw_journal *journal;
	uint64_t device = gw_name_hash(gw_span_text("a"));
	int64_t time_us;
	bool more = true;
	int status;
	pid_t pid;

	(void)state;
	srand(3);
	if ((pid = fork()) == 0) {
		if (gw_journal_open(&store_options, &journal, NULL) != GW_OK)
			_exit(1);
		many_groups(journal);
		_exit(0); // without closing
	}
	many_groups(NULL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	journal = store_open();
	assert_int_equal(gw_journal_last(journal), committed_to);
	while (more)
		assert_int_equal(gw_journal_trim(journal, INT64_MAX / 2, &more), GW_OK);
	// Trimming goes as far as the checkpoint: it was written although nobody closed the store.
	assert_true(gw_journal_first(journal) > 100000);
	gw_journal_close(journal);
	journal = store_open();
	for (uint32_t i = 0; i < SERIES; i++) {
		bool there = gw_journal_newest(journal, gw_series_hash(device, i, 0), &time_us) != 0;
		assert_int_equal(there, newest_of[i] != 0);
		if (there)
			assert_int_equal(time_us, newest_of[i]);
	}
	gw_journal_close(journal);
}

// ---- The map by itself, against plain arrays ----

enum { KEYS = 2000 };

// Few home slots, so that clusters form and wrap round the end.
static uint64_t
series_of(size_t key)
{
	return key % 61 << 58 | (key + 1);
}

static void
assert_map(const struct gw_newest_map *map, const int64_t *times)
{
	size_t count = 0, dirty = 0;

	for (size_t key = 0; key < KEYS; key++) {
		const struct gw_newest *entry = gw_newest_find(map, series_of(key));
		assert_int_equal(entry != NULL, times[key] != 0);
		if (entry == NULL)
			continue;
		assert_int_equal(entry->time_us, times[key]);
		count++;
		dirty += entry->dirty;
	}
	assert_int_equal(map->count, count);
	assert_int_equal(map->dirty, dirty);
}

static void
map_as_the_arrays(void **state)
{
	(void)state;
	for (int life = 0; life < 20; life++) {
		static int64_t kept[KEYS], now[KEYS];
		struct gw_newest_map map;
		srand((unsigned)life);
		memset(kept, 0, sizeof(kept));
		memset(now, 0, sizeof(now));
		assert_int_equal(gw_newest_init(&map, KEYS), GW_OK);
		for (int round = 1; round < 30; round++) {
			for (int i = rand() % 400; i > 0; i--) {
				size_t key = (size_t)rand() % KEYS;
				assert_int_equal(gw_newest_reserve(&map, 1), GW_OK); // grows within a transaction, too
				gw_newest_set(&map, gw_newest_find(&map, series_of(key)), series_of(key), round, 1);
				now[key] = round;
			}
			assert_map(&map, now);
			if (rand() % 3 == 0) {
				gw_newest_settle(&map);
				memcpy(kept, now, sizeof(kept));
			} else {
				gw_newest_rollback(&map, 0);
				memcpy(now, kept, sizeof(now));
			}
			assert_map(&map, now);
		}
		gw_newest_fini(&map);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, store_make, store_remove)

int
main(void)
{
	const struct CMUnitTest tests[] = { TEST(once_as_the_model), TEST(same_key_in_one_record), TEST(hostile_repetition),
		TEST(newest_and_seek), TEST(ranges), TEST(reading_a_little_at_a_time), TEST(small_rows), TEST(quarantine_limits), TEST(quarantine_full_takes_readings), TEST(quarantine_again),
		TEST(series_limit), TEST(series_of_one_device), TEST(one_process_only), TEST(newer_format_is_refused), TEST(killed_processes_lose_nothing),
		TEST(series_limit), TEST(series_of_one_device_by_option), TEST(one_process_only), TEST(newer_format_is_refused), TEST(killed_processes_lose_nothing),
		TEST(checkpoint_rides_along), cmocka_unit_test(map_as_the_arrays) };
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	gw_source_fini(&spare);
	return failed;
}
