// SPDX-License-Identifier: Apache-2.0
// The series store as a part: it follows a real journal, its cursor comes behind, what the journal trimmed is here.
#include "intake_help.h"

#include "gateway/series_outlet.h"

#include <unistd.h>

#define HOUR INT64_C(3600000000)

static struct gw_config *config;
static struct gw_core core;
static void *part;

static int
begin_with(void **state, unsigned budget_mb)
{
	if (store_make(state) != 0)
		return -1;
	store_options.budget_bytes = (uint64_t)budget_mb * MB;
	if (intake_open() != 0 || gw_config_load(NULL, &config, NULL) != GW_OK)
		return -1;
	config->store_budget_mb = budget_mb;
	config->store_reserve_mb = 4;
	free(config->store_dir);
	config->store_dir = strdup(store_dir);
	config->store_series_budget_mb = 16;
	core = (struct gw_core){ .config = config, .journal = journal, .intake = intake };
	return 0;
}

static int
begin(void **state)
{
	return begin_with(state, 256);
}

static int
begin_small(void **state)
{
	return begin_with(state, 16);
}

static int
finish(void **state)
{
	gw_config_free(config);
	return intake_finish(state);
}

static void
part_start(void)
{
	struct gw_why why = { "" };

	if (gw_series_part.start(&core, &part, &why) != GW_OK)
		fail_msg("%s", why.text);
}

static void
part_stop(void)
{
	gw_series_part.stop(part);
	gw_series_part.close(part);
}

static void
submit(const char *device, int64_t from_us, int count)
{
	struct gw_reading readings[100];
	struct gw_ticket *ticket;

	for (int i = 0; i < count; i++)
		readings[i] = reading_of(100, from_us + i * INT64_C(1000000), i);
	ticket = gw_ticket_get(&source);
	assert_non_null(ticket);
	add_readings(ticket, device, from_us, readings, (size_t)count);
	ticket_commit(ticket);
}

static size_t
count_of(struct gw_series_store *store, const char *device)
{
	struct gw_series_cursor *cursor;
	const struct gw_point *point;
	struct gw_series_info info;
	size_t count = 0;

	if (!gw_series_find(store, gw_span_text(device), 100, 0, &info))
		return 0;
	assert_int_equal(gw_series_read(store, info.id, INT64_MIN, INT64_MAX, &cursor), GW_OK);
	while (gw_series_next(cursor, &point) == GW_OK)
		count++;
	gw_series_end(cursor);
	return count;
}

static void
wait_for(const char *device, size_t count)
{
	for (int ms = 0; count_of(gw_series_running(), device) != count; ms++) {
		assert_true(ms < 20000);
		usleep(1000);
	}
}

static uint64_t
journal_cursor(void)
{
	uint64_t value = UINT64_MAX;
	size_t len;

	if (gw_journal_get(journal, gw_span_text("outlet/series/cursor"), &value, sizeof(value), &len) != GW_OK)
		return UINT64_MAX;
	return value;
}

// What was in the journal before the store was is taken too, and again after restarts, without being there twice.
static void
follows_from_the_beginning(void **state)
{
	struct gw_series_store *store;
	struct gw_why why = { "" };

	(void)state;
	for (int i = 0; i < 30; i++)
		submit("a", T0 + i * INT64_C(100000000), 100);
	part_start();
	wait_for("a", 3000);
	submit("b", T0, 50);
	wait_for("b", 50);
	assert_true(journal_cursor() <= gw_series_cursor(gw_series_running()));
	part_stop();
	assert_null(gw_series_running());
	part_start();
	wait_for("a", 3000);
	wait_for("b", 50);
	part_stop();
	// And where no gateway runs.
	assert_int_equal(gw_series_open_config(config, true, &store, &why), GW_OK);
	assert_int_equal(gw_series_catch_up(store, journal, &why), GW_OK);
	assert_int_equal(count_of(store, "a"), 3000);
	assert_int_equal(count_of(store, "b"), 50);
	gw_series_close(store);
}

// The journal's cursor moves once a tail is in a chunk; a store that was removed is filled again from what the journal has.
static void
the_journals_cursor_comes_behind(void **state)
{
	char path[600];
	bool more;

	(void)state;
	part_start();
	submit("a", T0, 100);
	wait_for("a", 100);
	assert_int_equal(journal_cursor(), 0);
	assert_int_equal(gw_series_flush(gw_series_running(), 0, &more), GW_OK);
	for (int ms = 0; journal_cursor() != 1; ms++) {
		assert_true(ms < 20000);
		usleep(1000);
	}
	part_stop();
	snprintf(path, sizeof(path), "%s/series/data.mdb", store_dir);
	assert_int_equal(unlink(path), 0);
	part_start();
	wait_for("a", 100);
	part_stop();
}

static void
wait_for_cursor(uint64_t position)
{
	for (int ms = 0; journal_cursor() == UINT64_MAX || journal_cursor() < position; ms++) {
		assert_true(ms < 20000);
		usleep(1000);
	}
}

static uint64_t
in_memory(void)
{
	struct gw_series_stats stats;

	gw_series_stats(gw_series_running(), &stats);
	return stats.tail_readings;
}

static void
flush_due(void)
{
	bool more = true;

	while (more)
		assert_int_equal(gw_series_flush(gw_series_running(), INT64_MAX, &more), GW_OK);
}

// Readings that come slowly wait for each other, also over restarts; but not longer than series.hold_min by the time at which they came.
static void
slow_readings_are_held(void **state)
{
	(void)state;
	part_start();
	submit("a", T0, 10);
	submit("b", T0 + 47 * HOUR, 10);
	for (int starts = 0; starts < 2; starts++) {
		wait_for("a", 10);
		wait_for("b", 10);
		flush_due();
		assert_int_equal(in_memory(), 20);
		assert_int_equal(gw_series_cursor(gw_series_running()), 0);
		part_stop();
		part_start();
	}
	submit("a", T0 + 49 * HOUR, 10);
	wait_for_cursor(1);
	assert_int_equal(journal_cursor(), 1); // what "b" has is not due
	assert_int_equal(in_memory(), 10);
	part_stop();
	part_start();
	wait_for("a", 20);
	wait_for("b", 10);
	part_stop();
}

// Where the journal is not to be kept for so long, readings are held for less.
static void
held_no_longer_than_the_journal_keeps(void **state)
{
	struct gw_series_options options;
	char dir[600];

	(void)state;
	assert_int_equal(gw_series_options_of(config, dir, sizeof(dir), &options, NULL), GW_OK);
	assert_int_equal(options.hold_us, 48 * HOUR);
	config->store_retention_h = 3;
	assert_int_equal(gw_series_options_of(config, dir, sizeof(dir), &options, NULL), GW_OK);
	assert_int_equal(options.hold_us, 3 * HOUR);
}

// Until the journal has so many bytes more in use.
static void
fill(const char *device, int64_t from_us, uint64_t bytes)
{
	struct gw_journal_stats stats;
	static char text[2000];
	uint64_t until;

	memset(text, 'x', sizeof(text));
	gw_journal_stats(journal, &stats);
	until = stats.used_bytes + bytes;
	for (int64_t us = from_us; stats.used_bytes < until; us += 1000) {
		struct gw_reading readings[20];
		struct gw_ticket *ticket = gw_ticket_get(&source);

		for (int i = 0; i < 20; i++)
			readings[i] = (struct gw_reading){ .signal = 101, .time_us = us + i, .type = GW_VALUE_TEXT, .text = gw_span(text, sizeof(text)) };
		assert_non_null(ticket);
		add_readings(ticket, device, from_us, readings, 20);
		ticket_commit(ticket);
		gw_journal_stats(journal, &stats);
	}
}

// Where a restart would have much of the journal to take again, an hour is enough.
static void
much_of_the_journal_is_not_held(void **state)
{
	(void)state;
	config->store_retention_full_h = 24;
	part_start();
	submit("a", T0, 10);
	fill("b", T0 + HOUR - 1000000, 3 * MB / 2);
	wait_for("a", 10);
	flush_due();
	assert_true(in_memory() >= 10);
	assert_int_equal(gw_series_cursor(gw_series_running()), 0);
	submit("c", T0 + HOUR, 10);
	wait_for_cursor(1);
	part_stop();
	part_start();
	wait_for("a", 10);
	wait_for("c", 10);
	part_stop();
}

// A journal that is short of room gets it back within a minute, where it may give away what was delivered.
static void
a_short_journal_is_not_held_up(void **state)
{
	(void)state;
	config->store_retention_full_h = 0;
	part_start();
	submit("a", T0, 10);
	fill("b", T0 + 1000000, 10 * MB);
	wait_for("a", 10);
	submit("c", T0 + INT64_C(61000000), 10);
	wait_for_cursor(1);
	for (int ms = 0; gw_journal_first(journal) <= 1; ms++) {
		assert_true(ms < 20000);
		usleep(1000);
	}
	wait_for("a", 10); // in a chunk
	part_stop();
	part_start();
	wait_for("a", 10);
	wait_for("c", 10);
	part_stop();
}

static void
status_tells(void **state)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *object = yyjson_mut_obj(doc);

	(void)state;
	part_start();
	submit("a", T0, 100);
	wait_for("a", 100);
	gw_series_part.status(part, doc, object);
	assert_string_equal(yyjson_mut_get_str(yyjson_mut_obj_get(object, "state")), "running");
	assert_int_equal(yyjson_mut_get_uint(yyjson_mut_obj_get(object, "readings_in_memory")), 100);
	assert_int_equal(yyjson_mut_get_uint(yyjson_mut_obj_get(object, "series")), 1);
	yyjson_mut_doc_free(doc);
	part_stop();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, finish)
#define SMALL(name) cmocka_unit_test_setup_teardown(name, begin_small, finish)
		TEST(follows_from_the_beginning), TEST(the_journals_cursor_comes_behind), TEST(slow_readings_are_held), TEST(held_no_longer_than_the_journal_keeps),
		SMALL(much_of_the_journal_is_not_held), SMALL(a_short_journal_is_not_held_up), TEST(status_tells),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
