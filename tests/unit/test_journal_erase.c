// SPDX-License-Identifier: Apache-2.0
// Readings that are erased in place: value and texts are gone, key and place stay; the block's other records are untouched, the same reading again is a duplicate, and
// all of it holds after the store was opened again.
#include "store_help.h"

#include "gateway/bytes.h"
#include "gateway/pages.h"
#include "gateway/record_layout.h"

static struct gw_source spare = { .tickets_max = 100000, .event_fd = -1 };

static struct gw_ticket *
commit_one(struct gw_journal *journal, struct gw_ticket *ticket)
{
	assert_int_equal(gw_journal_begin(journal), GW_OK);
	assert_int_equal(gw_journal_apply(journal, ticket), GW_OK);
	assert_int_equal(gw_journal_commit(journal), GW_OK);
	return ticket;
}

static struct gw_reading
text_of(int64_t time_us, const char *text)
{
	return (struct gw_reading){ .signal = 2, .time_us = time_us, .type = GW_VALUE_TEXT, .text = gw_span_text(text), .received = gw_span_text(text),
		.unit_received = gw_span_text("unit-77") };
}

// `count` records in one commit, each of a number and a text at T0 + i.
static void
add(struct gw_journal *journal, int count)
{
	struct gw_ticket *tickets[64];
	char text[64][24];

	assert_int_equal(gw_journal_begin(journal), GW_OK);
	for (int i = 0; i < count; i++) {
		struct gw_reading readings[2];

		snprintf(text[i], sizeof(text[i]), "secret-%d", i);
		readings[0] = reading_of(1, T0 + i, 7700 + i);
		readings[1] = text_of(T0 + i, text[i]);
		tickets[i] = gw_ticket_get(&spare);
		add_readings(tickets[i], "d", T0 + i, readings, 2);
		assert_int_equal(gw_journal_apply(journal, tickets[i]), GW_OK);
	}
	assert_int_equal(gw_journal_commit(journal), GW_OK);
	for (int i = 0; i < count; i++)
		gw_ticket_release(tickets[i]);
}

static enum gw_error
erase(struct gw_journal *journal, uint64_t position, const uint16_t *places, size_t count)
{
	struct gw_ticket *ticket = gw_ticket_get(&spare);
	enum gw_error error = gw_ticket_erase(ticket, position, places, count);

	if (error == GW_OK)
		(void)commit_one(journal, ticket);
	gw_ticket_release(ticket);
	return error;
}

// The readings of a record; how many, and whether each is erased. -1: it cannot be read.
static int
look(struct gw_journal *journal, uint64_t position, struct gw_reading *readings, uint8_t buf[4096])
{
	struct gw_record record;
	struct gw_batch batch;
	int count = 0;

	memset(buf, 0, 4096);
	if (gw_journal_one(journal, position, buf, 4096, &record) != GW_OK || gw_batch_open(&record, &batch, NULL) != GW_OK)
		return -1;
	while (gw_batch_next(&batch, &readings[count]))
		count++;
	return batch.bad ? -1 : count;
}

static void
assert_erased(const struct gw_reading *reading, uint32_t signal, int64_t time_us)
{
	assert_true(gw_reading_is_erased(reading));
	assert_int_equal(reading->type, GW_VALUE_NONE);
	assert_int_equal(reading->received.len, 0);
	assert_int_equal(reading->unit_received.len, 0);
	assert_int_equal(reading->signal, signal);
	assert_int_equal(reading->time_us, time_us);
}

static bool
holds(const uint8_t *at, size_t len, const char *text)
{
	return memmem(at, len, text, strlen(text)) != NULL;
}

static void
others_stay_and_all_of_it_lasts(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_reading readings[8];
	uint8_t buf[4096];

	(void)state;
	add(journal, 20);
	assert_int_equal(erase(journal, 7, (const uint16_t[]){ 1 }, 1), GW_OK);
	assert_int_equal(erase(journal, 8, (const uint16_t[]){ 0, 1 }, 2), GW_OK);
	for (int pass = 0; pass < 2; pass++) {
		assert_int_equal(gw_journal_first(journal), 1);
		assert_int_equal(gw_journal_last(journal), 20);
		for (uint64_t position = 1; position <= 20; position++) {
			assert_int_equal(look(journal, position, readings, buf), 2);
			if (position == 7 || position == 8)
				continue;
			assert_int_equal(readings[0].decimal.mantissa, 7700 + (int64_t)position - 1);
			assert_true(holds(readings[1].text.at, readings[1].text.len, "secret-"));
		}
		assert_int_equal(look(journal, 7, readings, buf), 2);
		assert_int_equal(readings[0].decimal.mantissa, 7706);
		assert_erased(&readings[1], 2, T0 + 6);
		assert_false(holds(buf, sizeof(buf), "secret-6"));
		assert_false(holds(buf, sizeof(buf), "unit-77"));
		assert_int_equal(look(journal, 8, readings, buf), 2);
		assert_erased(&readings[0], 1, T0 + 7);
		assert_erased(&readings[1], 2, T0 + 7);
		gw_journal_close(journal);
		journal = store_open();
	}
	gw_journal_close(journal);
}

static void
what_is_sent_again_is_a_duplicate(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_reading again[2] = { reading_of(1, T0 + 3, 7703), reading_of(1, T0 + 3, 9999) };
	struct gw_ticket *ticket;

	(void)state;
	add(journal, 6);
	assert_int_equal(erase(journal, 4, (const uint16_t[]){ 0 }, 1), GW_OK);
	for (int pass = 0; pass < 4; pass++) { // as it was, with another value, and both after a restart
		ticket = gw_ticket_get(&spare);
		add_readings(ticket, "d", T0 + 100, &again[pass % 2], 1);
		(void)commit_one(journal, ticket);
		assert_int_equal(ticket->duplicates, 1);
		assert_int_equal(ticket->stored, 0);
		assert_int_equal(ticket->revisions, 0);
		gw_ticket_release(ticket);
		assert_int_equal(gw_journal_last(journal), 6);
		if (pass == 1) {
			gw_journal_close(journal);
			journal = store_open();
		}
	}
	gw_journal_close(journal);
}

// Erasing again, what is not there, what is no record of readings: nothing is changed, nothing fails.
static void
erasing_again_changes_nothing(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_event event = { .received_us = T0, .text = gw_span_text("words") };
	struct gw_ticket *ticket = gw_ticket_get(&spare);
	struct gw_reading readings[8];
	uint8_t once[4096], twice[4096];

	(void)state;
	add(journal, 5);
	assert_int_equal(gw_ticket_event(ticket, GW_RECORD_COMMAND, &event), GW_OK);
	gw_ticket_release(commit_one(journal, ticket));
	memset(once, 0, sizeof(once));
	memset(twice, 0, sizeof(twice));
	assert_int_equal(erase(journal, 5, (const uint16_t[]){ 0 }, 1), GW_OK);
	assert_int_equal(look(journal, 5, readings, once), 2);
	assert_int_equal(erase(journal, 5, (const uint16_t[]){ 0 }, 1), GW_OK);
	assert_int_equal(look(journal, 5, readings, twice), 2);
	assert_memory_equal(once, twice, sizeof(once));
	assert_int_equal(erase(journal, 5, (const uint16_t[]){ 7, 9 }, 2), GW_OK);
	assert_int_equal(erase(journal, 6, (const uint16_t[]){ 0 }, 1), GW_OK);
	assert_int_equal(erase(journal, 4711, (const uint16_t[]){ 0 }, 1), GW_OK);
	assert_int_equal(erase(journal, 1, NULL, 0), GW_E_ARGUMENT);
	assert_int_equal(look(journal, 5, readings, twice), 2);
	assert_memory_equal(once, twice, sizeof(once));
	gw_journal_close(journal);
}

// A record that is longer than a block, with samples: the value gets fewer pages.
static void
long_records_shrink(void **state)
{
	struct gw_journal *journal = store_open();
	static uint8_t samples[200000], buf[300000];
	struct gw_reading readings[2] = { { .signal = 3, .time_us = T0, .type = GW_VALUE_SAMPLES,
		.samples = { .period_ns = 4000000, .count = sizeof(samples) / 4, .at = samples } }, reading_of(1, T0, 42) };
	struct gw_ticket *ticket = gw_ticket_get(&spare);
	struct gw_record record;
	struct gw_batch batch;

	(void)state;
	memset(samples, 0x5A, sizeof(samples));
	add_readings(ticket, "d", T0, readings, 2);
	gw_ticket_release(commit_one(journal, ticket));
	assert_int_equal(erase(journal, 1, (const uint16_t[]){ 0 }, 1), GW_OK);
	assert_int_equal(gw_journal_one(journal, 1, buf, sizeof(buf), &record), GW_OK);
	assert_true(record.bytes.len < 200);
	assert_int_equal(gw_batch_open(&record, &batch, NULL), GW_OK);
	assert_true(gw_batch_next(&batch, &readings[0]));
	assert_erased(&readings[0], 3, T0);
	assert_true(gw_batch_next(&batch, &readings[0]));
	assert_int_equal(readings[0].decimal.mantissa, 42);
	gw_journal_close(journal);
}

static void
assert_pages_fit(void)
{
	struct gw_why why = { "" };
	char path[4096];

	snprintf(path, sizeof(path), "%s/data.mdb", store_dir);
	if (gw_pages_check(path, &why) != GW_OK)
		fail_msg("%s", why.text);
}

// Many records of one block in one commit: each time it gets shorter, and the table still says what it holds.
static void
a_block_that_shrinks_often_fits(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_ticket *ticket = gw_ticket_get(&spare);
	struct gw_reading readings[8];
	uint8_t buf[4096];

	(void)state;
	add(journal, 64);
	for (uint64_t position = 1; position <= 60; position++)
		assert_int_equal(gw_ticket_erase(ticket, position, (const uint16_t[]){ 0, 1 }, 2), GW_OK);
	gw_ticket_release(commit_one(journal, ticket));
	for (uint64_t position = 1; position <= 64; position++) {
		assert_int_equal(look(journal, position, readings, buf), 2);
		assert_int_equal(gw_reading_is_erased(&readings[0]), position <= 60);
		assert_int_equal(gw_reading_is_erased(&readings[1]), position <= 60);
	}
	gw_journal_close(journal);
	assert_pages_fit();
}

// A long row that is written twice in one commit, shorter the second time: LMDB leaves it the pages that it had.
static void
a_row_that_is_replaced_by_a_shorter_one_fits(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_ticket *ticket = gw_ticket_get(&spare);
	static uint8_t text[20000];

	(void)state;
	memset(text, 'x', sizeof(text));
	assert_int_equal(gw_ticket_put(ticket, gw_span_text("a"), gw_span(text, sizeof(text))), GW_OK);
	assert_int_equal(gw_ticket_put(ticket, gw_span_text("a"), gw_span(text, 9000)), GW_OK);
	gw_ticket_release(commit_one(journal, ticket));
	gw_journal_close(journal);
	assert_pages_fit();
}

static void
the_note_tells_what_was_erased(void **state)
{
	struct gw_erased_range ranges[2] = { { gw_span_text("m1"), T0, T0 + 5 }, { gw_span_text("monitor-2"), INT64_MIN, T0 } }, read[2];
	struct gw_erasure_note note = { .received_us = T0, .erasure = 77, .readings = 12, .ranges = ranges, .count = 2 }, back = { .ranges = read, .count = 2 };
	uint8_t out[512];
	struct gw_record record;
	size_t len;

	(void)state;
	assert_int_equal(gw_erasure_note_encode(&note, out, sizeof(out), &len), GW_OK);
	assert_int_equal(gw_record_open(1, gw_span(out, len), &record, NULL), GW_OK);
	assert_int_equal(gw_erasure_note_open(&record, &back, NULL), GW_OK);
	assert_int_equal(back.erasure, 77);
	assert_int_equal(back.readings, 12);
	assert_int_equal(back.count, 2);
	assert_true(gw_span_is(read[1].device, "monitor-2"));
	assert_int_equal(read[0].to_us, T0 + 5);
	assert_int_equal(gw_erasure_note_encode(&note, out, len - 1, &len), GW_E_TOO_LARGE);
	for (size_t cut = RECORD_HEAD; cut < len; cut++) { // whatever its checksum says
		gw_put32(out + RECORD_LEN, (uint32_t)cut);
		gw_record_seal(out, cut);
		back = (struct gw_erasure_note){ .ranges = read, .count = 2 };
		if (gw_record_open(1, gw_span(out, cut), &record, NULL) == GW_OK)
			assert_int_equal(gw_erasure_note_open(&record, &back, NULL), GW_E_CORRUPT);
	}
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, store_make, store_remove)
	const struct CMUnitTest tests[] = { TEST(others_stay_and_all_of_it_lasts), TEST(what_is_sent_again_is_a_duplicate), TEST(erasing_again_changes_nothing),
		TEST(long_records_shrink), TEST(a_block_that_shrinks_often_fits), TEST(a_row_that_is_replaced_by_a_shorter_one_fits), cmocka_unit_test(the_note_tells_what_was_erased) };

	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	gw_source_fini(&spare);
	return failed;
}
