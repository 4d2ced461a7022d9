// SPDX-License-Identifier: Apache-2.0
// The series store as a part: it follows a real journal, its cursor comes behind, what the journal trimmed is here.
#include "intake_help.h"

#include "gateway/series_outlet.h"

#include <unistd.h>

static struct gw_config *config;
static struct gw_core core;
static void *part;

static int
begin(void **state)
{
	if (intake_begin(state) != 0 || gw_config_load(NULL, &config, NULL) != GW_OK)
		return -1;
	free(config->store_dir);
	config->store_dir = strdup(store_dir);
	config->store_series_budget_mb = 16;
	core = (struct gw_core){ .config = config, .journal = journal, .intake = intake };
	return 0;
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
		TEST(follows_from_the_beginning), TEST(the_journals_cursor_comes_behind), TEST(status_tells),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
