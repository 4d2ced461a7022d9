// SPDX-License-Identifier: Apache-2.0
// What may be trimmed, and what must not hold it back: names, clocks that were wrong, readers that died.
#include "store_help.h"

#include <lmdb.h>
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

static void
add_one(struct gw_journal *journal, int64_t received_us, int64_t time_us)
{
	struct gw_ticket *t = ticket();
	struct gw_reading reading = reading_of(1, time_us, 1);

	add_readings(t, "a", received_us, &reading, 1);
	assert_int_equal(commit(journal, t), GW_OK);
	gw_ticket_release(t);
}

// Until nothing more goes. Closing writes the checkpoint, without which nothing does.
static struct gw_journal *
trim_all(struct gw_journal *journal, int64_t now_us)
{
	bool more = true;

	gw_journal_close(journal);
	journal = store_open();
	while (more)
		assert_int_equal(gw_journal_trim(journal, now_us, &more), GW_OK);
	return journal;
}

// What an outlet files under a device's id is no cursor, whatever the device is called.
static void
a_device_named_cursor(void **state)
{
	struct gw_journal *journal = store_open();
	struct gw_ticket *t = ticket();
	uint8_t taken[12] = { 0 };

	(void)state;
	for (int i = 0; i < 10; i++)
		add_one(journal, T0, T0 + i);
	add_cursor(t, "hl7/pdms", 8);
	assert_int_equal(gw_ticket_put(t, gw_span_text("outlet/hl7/pdms/device/cursor"), gw_span(taken, sizeof(taken))), GW_OK);
	assert_int_equal(commit(journal, t), GW_OK);
	gw_ticket_release(t);
	journal = trim_all(journal, T0 * 2);
	assert_int_equal(gw_journal_first(journal), 9);
	gw_journal_close(journal);
}

// Records of an hour in which the hub's clock stood years ahead must not hold back all that came after, once room is short.
static void
a_clock_that_was_ahead(void **state)
{
	struct gw_journal *journal;
	static uint8_t value[60000];
	struct gw_ticket *t;
	char key[16];

	(void)state;
	store_options.budget_bytes = 8 * MB;
	journal = store_open();
	for (int i = 0; i < 10; i++)
		add_one(journal, T0 + INT64_C(315360000000000), T0 + i);
	add_one(journal, T0, T0 + 10);
	add_one(journal, T0, T0 + 11);
	journal = trim_all(journal, T0 + INT64_C(7200000000));
	assert_int_equal(gw_journal_first(journal), 1); // there is room: they may be as young as they say
	for (int i = 0; i < 70; i++) {
		t = ticket();
		snprintf(key, sizeof(key), "row/%d", i);
		assert_int_equal(gw_ticket_put(t, gw_span_text(key), gw_span(value, sizeof(value))), GW_OK);
		assert_int_equal(commit(journal, t), GW_OK);
		gw_ticket_release(t);
	}
	journal = trim_all(journal, T0 + INT64_C(7200000000));
	assert_int_equal(gw_journal_first(journal), 12);
	gw_journal_close(journal);
}

struct found {
	int count;
	char pid[16];
};

static int
count_reader(const char *line, void *arg)
{
	struct found *found = arg;

	found->count += strstr(line, found->pid) != NULL;
	return 0;
}

// In a process of its own, as LMDB wants it: begins to read and ends (pid 0), or tells how many slots the process `pid` has.
static int
other_process(pid_t *pid)
{
	struct found found = { 0 };
	pid_t child = fork();
	MDB_env *env;
	MDB_txn *txn;
	int status;

	if (child == 0) {
		snprintf(found.pid, sizeof(found.pid), "%d ", (int)*pid);
		if (mdb_env_create(&env) != 0 || mdb_env_set_mapsize(env, 256 * MB) != 0 || mdb_env_open(env, store_dir, MDB_RDONLY, 0600) != 0)
			_exit(100);
		if (*pid == 0)
			_exit(mdb_txn_begin(env, NULL, MDB_RDONLY, &txn) != 0);
		_exit(mdb_reader_list(env, count_reader, &found) < 0 ? 101 : found.count);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	*pid = *pid == 0 ? child : *pid;
	return WEXITSTATUS(status);
}

// A program that was killed while it read must not keep pages from being used again for ever.
static void
a_reader_that_died(void **state)
{
	struct gw_journal *journal = store_open();
	bool more;
	pid_t pid = 0;

	(void)state;
	add_one(journal, T0, T0);
	assert_int_equal(other_process(&pid), 0);
	assert_int_equal(other_process(&pid), 1);
	assert_int_equal(gw_journal_trim(journal, T0, &more), GW_OK);
	assert_int_equal(other_process(&pid), 0);
	gw_journal_close(journal);
}

// A store at its budget, where the entries that wait for the index would each change another page of it: more than the reserve. Trimming makes
// room, so it must not need it first.
static void
a_full_store_whose_index_waits(void **state)
{
	struct gw_journal *journal;
	bool more = true;
	int64_t n = 0;

	(void)state;
	store_options.budget_bytes = 8 * MB;
	store_options.reserve_bytes = MB;
	journal = store_open();
	while (gw_journal_room(journal) == GW_OK || n % 2048 < 1900) {
		enum gw_error error = gw_journal_begin(journal);
		for (int i = 0; i < 16 && error == GW_OK; i++, n++) {
			struct gw_ticket *t = ticket();
			struct gw_reading reading = reading_of(1, T0 + n % 1500 * 600000000 + n, 1);
			char device[16];
			snprintf(device, sizeof(device), "d%d", (int)(n % 1500));
			add_readings(t, device, T0, &reading, 1);
			error = gw_journal_apply(journal, t);
			gw_ticket_release(t);
		}
		assert_int_equal(error, GW_OK);
		if (gw_journal_commit(journal) != GW_OK)
			break;
	}
	gw_journal_close(journal);
	journal = store_open();
	while (more)
		assert_int_equal(gw_journal_trim(journal, T0 * 2, &more), GW_OK);
	assert_true(gw_journal_first(journal) > (uint64_t)n / 2);
	assert_int_equal(gw_journal_room(journal), GW_OK);
	gw_journal_close(journal);
}

// As many readings beside as many commands.
static void
add_commands(struct gw_journal *journal, int64_t received_us, int count)
{
	struct gw_event event = { .received_us = received_us, .door = GW_DOOR_COMMAND, .principal = gw_span_text("uid 7"), .text = gw_span_text("readings: m1") };
	struct gw_ticket *t = ticket();

	for (int i = 0; i < count; i++) {
		struct gw_reading reading = reading_of(1, received_us + i, 1);

		assert_int_equal(gw_ticket_event(t, GW_RECORD_COMMAND, &event), GW_OK);
		add_readings(t, "a", received_us, &reading, 1);
	}
	assert_int_equal(commit(journal, t), GW_OK);
	gw_ticket_release(t);
}

struct audit {
	size_t count;
	uint64_t first, last; // positions
	bool wrong;
};

static bool
count_audit(void *arg, struct gw_span key, struct gw_span value)
{
	struct audit *audit = arg;
	struct gw_record record;
	char digits[17] = "";
	uint64_t position;

	memcpy(digits, key.at + key.len - 16, 16);
	position = strtoull(digits, NULL, 16);
	audit->first = audit->count == 0 ? position : audit->first;
	audit->last = position;
	audit->count++;
	audit->wrong |= gw_record_open(position, value, &record, NULL) != GW_OK || record.type != GW_RECORD_COMMAND;
	return true;
}

static struct audit
audit_of(struct gw_journal *journal)
{
	struct audit audit = { 0 };

	assert_int_equal(gw_journal_each(journal, gw_span_text(GW_AUDIT_PREFIX), gw_span(NULL, 0), count_audit, &audit), GW_OK);
	assert_false(audit.wrong);
	return audit;
}

// What somebody did is known for longer than the readings beside it, and not for ever.
static void
records_of_commands_outlive_the_journal(void **state)
{
	const int64_t hour = INT64_C(3600000000);
	struct gw_journal *journal;
	struct audit audit;

	(void)state;
	store_options.audit_us = 100 * hour;
	store_options.audit_bytes = 1000000;
	journal = store_open();
	for (int i = 0; i < 12; i++)
		add_commands(journal, T0 + i * 1000, 100);
	journal = trim_all(journal, T0 + 3 * hour);
	assert_true(gw_journal_first(journal) > 1000);
	audit = audit_of(journal);
	assert_true(audit.count >= 400 && audit.first == 1 && audit.last < gw_journal_first(journal));
	// As many bytes as there may be: the oldest go.
	store_options.audit_bytes = 20000;
	journal = trim_all(journal, T0 + 4 * hour);
	audit = audit_of(journal);
	assert_in_range(audit.count, 50, 230);
	assert_true(audit.first > 400);
	// Age: all of them.
	journal = trim_all(journal, T0 + 200 * hour);
	assert_int_equal(audit_of(journal).count, 0);
	gw_journal_close(journal);
	store_options.audit_us = 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, store_make, store_remove)

int
main(void)
{
	const struct CMUnitTest tests[] = { TEST(a_device_named_cursor), TEST(a_clock_that_was_ahead), TEST(a_reader_that_died),
		TEST(a_full_store_whose_index_waits), TEST(records_of_commands_outlive_the_journal) };
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	gw_source_fini(&spare);
	return failed;
}
