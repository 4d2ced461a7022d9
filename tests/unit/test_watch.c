// SPDX-License-Identifier: Apache-2.0
// Every way in which files of credentials change is noticed, by those alone who asked for them; what lies beside them is nobody's business.
#include "gateway/watch.h"

#include "gateway/clock.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAIR = 3, LISTS = 5 };
#define BIT(owner) (UINT64_C(1) << (owner))

static char folder[] = "/tmp/vitalgate-watch-XXXXXX", name[8][256];

static const char *
in_folder(size_t i, const char *file)
{
	snprintf(name[i], sizeof(name[i]), "%s/%s", folder, file);
	return name[i];
}

static void
put(const char *file, const char *text)
{
	FILE *out = fopen(in_folder(7, file), "w");

	assert_non_null(out);
	assert_true(fputs(text, out) >= 0);
	assert_int_equal(fclose(out), 0);
}

static void
link_to(const char *target, const char *file)
{
	assert_int_equal(symlink(target, in_folder(7, file)), 0);
}

static void
move(const char *from, const char *to)
{
	in_folder(6, from);
	assert_int_equal(rename(name[6], in_folder(7, to)), 0);
}

static void
make(const char *dir)
{
	assert_int_equal(mkdir(in_folder(7, dir), 0700), 0);
}

static int
set_up(void **state)
{
	(void)state;
	strcpy(folder + strlen(folder) - 6, "XXXXXX");
	assert_non_null(mkdtemp(folder));
	return 0;
}

static int
tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -r '%s'", folder);
	return system(command);
}

static struct gw_watch *
watch(const char *file, unsigned owner)
{
	struct gw_watch *made;
	struct gw_why why = { "" };

	assert_int_equal(gw_watch_open(&made, &why), GW_OK);
	gw_watch_clear(made);
	assert_int_equal(gw_watch_add(made, owner, in_folder(0, file)), GW_OK);
	gw_watch_begin(made);
	return made;
}

// What is told until that long after nothing more was: as main's thread waits.
static uint64_t
told(struct gw_watch *watched, int quiet_ms)
{
	int64_t until_us = gw_clock_mono_us() + quiet_ms * INT64_C(1000);
	struct pollfd fd = { .fd = gw_watch_fd(watched), .events = POLLIN };
	uint64_t owners = 0;

	while (owners == 0 && gw_clock_mono_us() < until_us) {
		int left_ms = (int)((until_us - gw_clock_mono_us()) / 1000) + 1, wait_ms = gw_watch_wait_ms(watched);

		(void)poll(&fd, 1, wait_ms < left_ms ? wait_ms : left_ms);
		owners = gw_watch_take(watched);
	}
	return owners;
}

static void
assert_told(struct gw_watch *watched, uint64_t owners)
{
	assert_int_equal(told(watched, 5000), owners);
}

static void
test_in_place(void **state)
{
	struct gw_watch *watched;

	(void)state;
	put("key.pem", "one");
	watched = watch("key.pem", PAIR);
	put("key.pem", "two");
	assert_told(watched, BIT(PAIR));
	put("key.pem", "two"); // the same bytes: there is no way to know without reading them
	assert_told(watched, BIT(PAIR));
	assert_int_equal(chmod(in_folder(7, "key.pem"), 0600), 0);
	assert_told(watched, BIT(PAIR));
	gw_watch_close(watched);
}

static void
test_renamed_over(void **state)
{
	struct gw_watch *watched;

	(void)state;
	put("key.pem", "one");
	watched = watch("key.pem", PAIR);
	for (int i = 0; i < 3; i++) {
		put("key.pem.new", "another");
		move("key.pem.new", "key.pem");
		assert_told(watched, BIT(PAIR));
	}
	gw_watch_close(watched);
}

static void
test_gone_and_back(void **state)
{
	struct gw_watch *watched;

	(void)state;
	put("key.pem", "one");
	watched = watch("key.pem", PAIR);
	assert_int_equal(unlink(in_folder(7, "key.pem")), 0);
	assert_told(watched, BIT(PAIR));
	put("key.pem", "two");
	assert_told(watched, BIT(PAIR));
	gw_watch_close(watched);
}

// certbot: live/x/key.pem -> ../../archive/x/key1.pem; the link is replaced, or the archive's file written.
static void
test_certbot(void **state)
{
	struct gw_watch *watched;

	(void)state;
	make("archive");
	make("archive/x");
	make("live");
	make("live/x");
	put("archive/x/key1.pem", "one");
	link_to("../../archive/x/key1.pem", "live/x/key.pem");
	watched = watch("live/x/key.pem", PAIR);
	put("archive/x/key2.pem", "two");
	link_to("../../archive/x/key2.pem", "live/x/new");
	move("live/x/new", "live/x/key.pem");
	assert_told(watched, BIT(PAIR));
	put("archive/x/key2.pem", "three");
	assert_told(watched, BIT(PAIR));
	gw_watch_close(watched);
}

// Kubernetes: certs/key.pem -> ..data/key.pem, certs/..data -> ..1/, which is swapped by a rename.
static void
test_kubernetes(void **state)
{
	struct gw_watch *watched;

	(void)state;
	make("certs");
	make("certs/..1");
	put("certs/..1/key.pem", "one");
	link_to("..1", "certs/..data");
	link_to("..data/key.pem", "certs/key.pem");
	watched = watch("certs/key.pem", PAIR);
	for (char n = '2'; n < '5'; n++) {
		char dir[] = "certs/..2", file[] = "certs/..2/key.pem", target[] = "..2";

		dir[8] = file[8] = target[2] = n;
		make(dir);
		put(file, "next");
		link_to(target, "certs/..tmp");
		move("certs/..tmp", "certs/..data");
		assert_told(watched, BIT(PAIR));
	}
	gw_watch_close(watched);
}

static void
test_folder_swapped(void **state)
{
	struct gw_watch *watched;

	(void)state;
	make("certs");
	put("certs/key.pem", "one");
	make("next");
	put("next/key.pem", "two");
	watched = watch("certs/key.pem", PAIR);
	move("certs", "before");
	move("next", "certs");
	assert_told(watched, BIT(PAIR));
	put("certs/key.pem", "three");
	assert_told(watched, BIT(PAIR));
	gw_watch_close(watched);
}

static void
test_folder_of_files(void **state)
{
	struct gw_watch *watched;

	(void)state;
	make("lists");
	put("lists/a.crl", "a");
	put("elsewhere.crl", "b");
	link_to("../elsewhere.crl", "lists/b.crl");
	watched = watch("lists", LISTS);
	put("lists/c.crl", "c");
	assert_told(watched, BIT(LISTS));
	put("lists/a.crl", "another");
	assert_told(watched, BIT(LISTS));
	put("elsewhere.crl", "another");
	assert_told(watched, BIT(LISTS));
	assert_int_equal(unlink(in_folder(7, "lists/a.crl")), 0);
	assert_told(watched, BIT(LISTS));
	gw_watch_close(watched);
}

static void
test_owners(void **state)
{
	struct gw_watch *watched;

	(void)state;
	put("key.pem", "one");
	put("ca.pem", "one");
	put("other", "one");
	watched = watch("key.pem", PAIR);
	assert_int_equal(gw_watch_add(watched, PAIR, in_folder(1, "ca.pem")), GW_OK);
	assert_int_equal(gw_watch_add(watched, LISTS, in_folder(1, "ca.pem")), GW_OK);
	gw_watch_begin(watched);
	put("other", "two");
	assert_int_equal(told(watched, 400), 0);
	put("key.pem", "two");
	assert_told(watched, BIT(PAIR));
	put("ca.pem", "two");
	assert_told(watched, BIT(PAIR) | BIT(LISTS));
	// Left out of the list, it is nobody's any more; what stays keeps what was seen of it.
	put("ca.pem", "three");
	gw_watch_clear(watched);
	assert_int_equal(gw_watch_add(watched, LISTS, in_folder(1, "ca.pem")), GW_OK);
	gw_watch_begin(watched);
	put("key.pem", "three");
	assert_told(watched, BIT(LISTS));
	assert_int_equal(gw_watch_seen(watched), 0);
	gw_watch_close(watched);
}

// Certificate and key come one after the other: one answer for both.
static void
test_together(void **state)
{
	struct gw_watch *watched;

	(void)state;
	put("key.pem", "one");
	put("cert.pem", "one");
	watched = watch("key.pem", PAIR);
	assert_int_equal(gw_watch_add(watched, LISTS, in_folder(1, "cert.pem")), GW_OK);
	gw_watch_begin(watched);
	put("cert.pem", "two");
	assert_int_equal(gw_watch_take(watched), 0);
	assert_in_range(gw_watch_wait_ms(watched), 1, 1000);
	put("key.pem", "two");
	assert_told(watched, BIT(PAIR) | BIT(LISTS));
	gw_watch_close(watched);
}

// A folder that is not there yet; and twice a minute it is looked at all the same.
static void
test_not_there_yet(void **state)
{
	struct gw_watch *watched;

	(void)state;
	watched = watch("later/key.pem", PAIR);
	assert_in_range(gw_watch_wait_ms(watched), 20000, 40000);
	make("later");
	put("later/key.pem", "one");
	assert_told(watched, BIT(PAIR));
	gw_watch_close(watched);
}

static void
test_limits(void **state)
{
	struct gw_watch *watched;
	char file[64];

	(void)state;
	watched = watch("0", 0);
	for (int i = 1; i < GW_WATCH_FILES_MAX; i++) {
		snprintf(file, sizeof(file), "%d", i);
		assert_int_equal(gw_watch_add(watched, 0, in_folder(1, file)), GW_OK);
	}
	assert_int_equal(gw_watch_add(watched, 0, in_folder(1, "more")), GW_E_TOO_LARGE);
	assert_int_equal(gw_watch_add(watched, GW_WATCH_OWNERS_MAX, in_folder(1, "1")), GW_E_TOO_LARGE);
	link_to("b", "a");
	link_to("a", "b");
	gw_watch_clear(watched);
	assert_int_equal(gw_watch_add(watched, 0, in_folder(1, "a")), GW_OK);
	gw_watch_begin(watched); // links in a circle end
	gw_watch_close(watched);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_in_place, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_renamed_over, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_gone_and_back, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_certbot, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_kubernetes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_folder_swapped, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_folder_of_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_owners, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_together, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_not_there_yet, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_limits, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
