// SPDX-License-Identifier: Apache-2.0
// Exports on schedule, without the schedule: which periods are due and when, what a restart knows of them, and what goes from the folder.
#include "command_store.h"

#include "gateway/export_folder.h"
#include "gateway/export_part.h"
#include "gateway/export_periods.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#define HOUR INT64_C(3600000000)
#define MINUTE INT64_C(60000000)
#define NOW (INT64_C(1795176000000000) + 30 * MINUTE) // 2026-11-20T12:30:00Z
#define THIS (INT64_C(1795176000000000))

static struct gw_export_periods periods;

static size_t
due(int64_t now_us, int64_t *from_us)
{
	size_t count;
	bool any;

	*from_us = 0;
	any = gw_export_periods_due(&periods, now_us, 4 * HOUR, 15 * MINUTE, from_us, &count);
	assert_int_equal(any, count > 0);
	return count;
}

static void
exported(int64_t from_us, uint64_t upto, uint32_t revision)
{
	struct gw_export_period *period = gw_export_periods_add(&periods, from_us);

	assert_non_null(period);
	*period = (struct gw_export_period){ .from_us = from_us, .upto = upto, .revision = revision, .changed = true };
}

static void
test_due(void **state)
{
	int64_t from;

	periods = (struct gw_export_periods){ .length_us = HOUR };
	// 08, 09, 10, 11: as far back as four hours reach, and over for a quarter of an hour.
	assert_int_equal(due(NOW, &from), 4);
	assert_int_equal(from, THIS - 4 * HOUR);
	assert_int_equal(due(THIS + 14 * MINUTE, &from), 3);
	for (int i = 1; i <= 4; i++)
		exported(THIS - i * HOUR, 100, 1);
	assert_int_equal(due(NOW, &from), 0);
	// What the series had already changes nothing; what came behind does, after a quarter of an hour.
	gw_export_periods_mark(&periods, THIS - 2 * HOUR + 5, 100, NOW);
	assert_int_equal(due(NOW + 16 * MINUTE, &from), 0);
	gw_export_periods_mark(&periods, THIS - 2 * HOUR + 5, 101, NOW);
	gw_export_periods_mark(&periods, THIS - 2 * HOUR + 6, 102, NOW + 10 * MINUTE); // more of it does not put it off
	gw_export_periods_mark(&periods, THIS + 1, 103, NOW);                          // not exported: nothing to do again
	assert_int_equal(due(NOW + 14 * MINUTE, &from), 0);
	assert_int_equal(due(NOW + 15 * MINUTE, &from), 1);
	assert_int_equal(from, THIS - 2 * HOUR);
	// A clock that went back does not hold it up.
	exported(THIS - 5 * HOUR, 100, 0);
	assert_int_equal(due(NOW - HOUR, &from), 1);
	exported(from, 102, 2);
	assert_int_equal(due(NOW + 15 * MINUTE, &from), 0);
	// A clock a year ahead: a handful of empty periods, and what was known is known when it is back.
	assert_int_equal(due(NOW + 8760 * HOUR, &from), 4);
	for (int i = 0; i < 4; i++, (void)due(NOW + 8760 * HOUR, &from))
		exported(from, 200, 0);
	assert_int_equal(due(NOW + 8760 * HOUR, &from), 0);
	assert_int_equal(due(NOW, &from), 0);
	assert_int_equal(gw_export_period_of(&periods, -1), -HOUR);
	gw_export_periods_close(&periods);
}

static void
save(struct gw_core *core)
{
	struct gw_source source;
	struct gw_ticket *ticket;

	assert_int_equal(gw_source_init(&source, core->intake, 1), GW_OK);
	assert_non_null(ticket = gw_ticket_get(&source));
	assert_int_equal(gw_export_periods_save(&periods, ticket), GW_OK);
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
	gw_source_fini(&source);
	gw_export_periods_saved(&periods);
	assert_false(gw_export_periods_changed(&periods));
}

static void
test_rows(void **state)
{
	struct gw_core *core = &((struct store *)*state)->core;
	struct gw_export_period *period;
	int64_t from;

	assert_int_equal(gw_export_periods_open(&periods, core->journal, HOUR), GW_OK);
	assert_int_equal(periods.count, 0);
	exported(THIS - HOUR, 77, 3);
	exported(THIS - 3 * HOUR, 78, 0);
	gw_export_periods_mark(&periods, THIS - HOUR, 79, NOW);
	save(core);
	gw_export_periods_close(&periods);
	assert_int_equal(gw_export_periods_open(&periods, core->journal, HOUR), GW_OK);
	assert_int_equal(periods.count, 2);
	assert_non_null(period = gw_export_periods_find(&periods, THIS - HOUR));
	assert_true(period->upto == 77 && period->revision == 3 && period->dirty_us == NOW);
	assert_null(gw_export_periods_find(&periods, THIS - 2 * HOUR));
	// Asked for by somebody: at once, and once.
	assert_int_equal(gw_export_again(core->intake, THIS - 3 * HOUR + 5, THIS - 3 * HOUR + 6), GW_OK);
	assert_int_equal(gw_export_periods_take_again(&periods, core->journal), GW_OK);
	assert_true(gw_export_periods_changed(&periods));
	save(core);
	assert_int_equal(due(NOW, &from), 3); // and two that were never exported
	exported(THIS - 3 * HOUR, 80, 0);
	save(core);
	assert_int_equal(gw_export_periods_take_again(&periods, core->journal), GW_OK);
	assert_int_equal(gw_export_periods_find(&periods, THIS - 3 * HOUR)->dirty_us, 0);
	gw_export_periods_close(&periods);
	// Days are another matter.
	assert_int_equal(gw_export_periods_open(&periods, core->journal, 24 * HOUR), GW_OK);
	assert_int_equal(periods.count, 0);
	gw_export_periods_close(&periods);
}

static void
test_too_many(void **state)
{
	struct gw_core *core = &((struct store *)*state)->core;

	assert_int_equal(gw_export_periods_open(&periods, core->journal, HOUR), GW_OK);
	for (int i = 0; i < GW_EXPORT_PERIODS_MAX + 10; i++)
		exported(THIS - i * HOUR, 1, 1);
	save(core);
	assert_int_equal(periods.count, GW_EXPORT_PERIODS_MAX);
	gw_export_periods_close(&periods);
	assert_int_equal(gw_export_periods_open(&periods, core->journal, HOUR), GW_OK);
	assert_int_equal(periods.count, GW_EXPORT_PERIODS_MAX);
	assert_non_null(gw_export_periods_find(&periods, THIS));
	gw_export_periods_close(&periods);
}

// ---- The folder ----

static void
put(int dir_fd, int64_t from_us, bool hours, const char *name, size_t bytes)
{
	static char zeros[100000];
	struct gw_why why = { "" };
	int folder, fd;

	must(gw_export_folder_open(dir_fd, from_us, hours, &folder, &why), &why);
	fd = openat(folder, name, O_WRONLY | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, zeros, bytes), bytes);
	close(fd);
	close(folder);
}

static bool
is_there(int dir_fd, const char *path)
{
	return faccessat(dir_fd, path, F_OK, 0) == 0;
}

static void
test_folder(void **state)
{
	char dir[] = "/tmp/vitalgate-export-XXXXXX", name[GW_EXPORT_NAME_MAX], command[64];
	struct gw_export_usage usage;
	struct gw_export_files files;
	int fd;

	assert_non_null(mkdtemp(dir));
	fd = open(dir, O_RDONLY | O_DIRECTORY);
	gw_export_path(THIS, true, name);
	assert_string_equal(name, "date=2026-11-20/hour=12");
	gw_export_name(12, ".csv", true, name);
	assert_string_equal(name, "readings-r12.csv.gz");
	put(fd, THIS, true, "readings.csv", 1000);
	put(fd, THIS, true, "readings-r2.csv", 2000);
	put(fd, THIS, true, "readings-rx.csv", 10);
	put(fd, THIS, true, "readings.parquet", 10); // somebody else's, here and below
	put(fd, THIS, true, "readings-r2.csv.sha256", 10);
	put(fd, THIS, true, "readings-r02.csv", 10);
	put(fd, THIS - 49 * HOUR, true, GW_EXPORT_MANIFEST, 100); // all of its readings were erased
	put(fd, THIS, true, ".readings.csv.7.part", 10);
	put(fd, THIS, true, "notes.txt", 10);
	put(fd, THIS - 24 * HOUR, false, "readings.jsonl.gz", 50000);
	put(fd, THIS - 24 * HOUR, false, GW_EXPORT_MANIFEST, 100);
	put(fd, THIS - 48 * HOUR, true, "readings.csv", 50000);
	gw_export_folder_list(fd, THIS, true, &files);
	assert_true(files.count == 2 && files.revision == 2);
	gw_export_folder_list(fd, THIS - HOUR, true, &files);
	assert_int_equal(files.count, 0);
	// Leftovers go in any case.
	assert_int_equal(gw_export_folder_sweep(fd, INT64_MIN, 0, &usage), GW_OK);
	assert_true(usage.files == 4 && usage.bytes == 103000 && usage.removed == 0);
	assert_false(is_there(fd, "date=2026-11-20/hour=12/.readings.csv.7.part"));
	// By age, then by room; the newest stays, and whatever is not ours.
	assert_int_equal(gw_export_folder_sweep(fd, THIS - 47 * HOUR + 1, 0, &usage), GW_OK);
	assert_true(usage.files == 3 && usage.removed == 2);
	assert_false(is_there(fd, "date=2026-11-18"));
	assert_int_equal(gw_export_folder_sweep(fd, INT64_MIN, 10, &usage), GW_OK);
	assert_true(usage.files == 2 && usage.bytes == 3000 && usage.removed == 1);
	assert_false(is_there(fd, "date=2026-11-19"));
	assert_true(is_there(fd, "date=2026-11-20/hour=12/notes.txt") && is_there(fd, "date=2026-11-20/hour=12/readings.parquet"));
	close(fd);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	assert_int_equal(system(command), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_due), cmocka_unit_test_setup_teardown(test_rows, store_open, store_close),
		cmocka_unit_test_setup_teardown(test_too_many, store_open, store_close), cmocka_unit_test(test_folder),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
