// SPDX-License-Identifier: Apache-2.0
// Identifiers of one message that lead to two patients: readings of both are held from then on, until it is resolved, and by nothing else.
#include "tests/unit/patients_help.h"

// How many identifiers lead to two; the figure for status is the same.
static size_t
clashes(void)
{
	struct gw_patients_stats stats;
	struct gw_timeline *entries;
	size_t count, found = 0;

	assert_int_equal(gw_patients_conflicts(hub.patients, INT64_MIN, &entries, &count), GW_OK);
	for (size_t i = 0; i < count; i++)
		found += entries[i].kind == GW_TIMELINE_CLASH;
	free(entries);
	gw_patients_stats(hub.patients, &stats);
	assert_true(stats.conflicts >= found && (count > found || stats.conflicts == found));
	return found;
}

// 1 in ICU^^3, 2 in B2, where m1 stands; from minute 10 on a message says of 2 what leads to 1. m2 is 2's directly.
static void
make_clash(void)
{
	told(EVENT(PLACE, 0, DEVICE("m1"), BED("B2")));
	told(EVENT(ADMIT, 0, WHO("1^^^K~a1^^^A"), BED("ICU^^3")));
	told(EVENT(ADMIT, 1, WHO("2^^^K"), BED("B2")));
	told(EVENT(ASSOCIATE, 5, WHO("2^^^K"), DEVICE("m2")));
	assert_int_equal(clashes(), 0);
	told(EVENT(UPDATE, 10, WHO("2^^^K~a1^^^A")));
	assert_non_null(strstr(hub.why.text, "CONTRADICTION"));
}

// Both of them, from the message's time on, however one gets to them; before and after a restart.
static void
assert_clash_holds(int64_t since)
{
	for (int i = 0; i < 2; i++) {
		assert_whose("wall3", since - 1, "1");
		assert_whose("m1", since - 1, "2");
		assert_whose("m2", since - 1, since > 6 ? "2" : "-");
		for (int64_t minute = since; minute < 100; minute += 30) {
			assert_whose("wall3", minute, "!");
			assert_whose("m1", minute, "!");
			assert_whose("m2", minute < 5 ? 5 : minute, "!");
		}
		assert_true(owner_of("m1", at(since - 1), 0).to_us == at(since));
		assert_true(owner_of("m1", at(since), 0).from_us == at(since));
		assert_int_equal(owner_of("m1", at(since), MINUTE).whose, GW_WHOSE_UNSURE);
		assert_int_equal(clashes(), 1);
		hub_restart();
	}
}

static void
assert_nothing_held(void)
{
	for (int i = 0; i < 2; i++) {
		assert_whose("wall3", 20, "1");
		assert_whose("m1", 20, "2");
		assert_whose("m2", 20, "2");
		assert_int_equal(clashes(), 0);
		hub_restart();
	}
}

static void
identifiers_that_contradict(void **state)
{
	make_clash();
	assert_clash_holds(10);
	told(EVENT(UPDATE, 30, WHO("2^^^K~a1^^^A"))); // nothing new
	assert_null(strstr(hub.why.text, "CONTRADICTION"));
	assert_clash_holds(10);
	told(EVENT(UPDATE, 4, WHO("2^^^K~a1^^^A"))); // a message that came late: it was so from then on
	assert_clash_holds(4);
	told(EVENT(UPDATE, 40, WHO("2^^^K"))); // silence ends nothing
	told(EVENT(UPDATE, 40, WHO("1^^^K")));
	assert_clash_holds(4);
	told(EVENT(MERGE, 50, WHO("2^^^K"), .other = person_of("1^^^K")));
	assert_int_equal(clashes(), 0);
	assert_whose("wall3", 20, "!"); // one person, who is said to lie in two beds
	assert_whose("m1", 20, "!");
	told(EVENT(DISSOCIATE, 1, WHO("2^^^K"), BED("ICU^^3"), .told_us = NOW + 1));
	hub_restart();
	assert_int_equal(clashes(), 0);
	assert_whose("wall3", 20, "-");
	assert_whose("m1", 20, "2");
	(void)state;
}

static void
an_identifier_that_is_taken_away_ends_a_contradiction(void **state)
{
	make_clash();
	told(EVENT(CHANGE_ID, 20, WHO("a9^^^A"), .other = person_of("a1^^^A")));
	assert_nothing_held();
	told(EVENT(UPDATE, 30, WHO("2^^^K~a1^^^A"))); // it is 2's now
	assert_null(strstr(hub.why.text, "CONTRADICTION"));
	assert_nothing_held();
	(void)state;
}

static void
people_say_that_they_are_two(void **state)
{
	make_clash();
	assert_int_equal(tell(EVENT(DISTINCT, 20, WHO("1^^^K"), .other = person_of("3^^^K"))), GW_E_NOT_FOUND);
	assert_clash_holds(10);
	told(EVENT(DISTINCT, 20, WHO("1^^^K"), .other = person_of("2^^^K")));
	assert_nothing_held();
	told(EVENT(UPDATE, 30, WHO("2^^^K~a1^^^A"))); // whatever is told
	told(EVENT(UPDATE, 30, WHO("1^^^K~2^^^K")));
	assert_nothing_held();
	told(EVENT(MERGE, 50, WHO("2^^^K"), .other = person_of("1^^^K"))); // but they may find out
	assert_whose("wall3", 20, "!"); // in two beds
	assert_whose("m2", 20, "2");
	assert_int_equal(tell(EVENT(DISTINCT, 20, WHO("1^^^K"), .other = person_of("2^^^K"))), GW_E_NOT_FOUND);
	told(EVENT(ADMIT, 0, WHO("4^^^K"), BED("B4")));
	assert_int_equal(tell(EVENT(DISTINCT, 20, WHO("1^^^K"), .other = person_of("4^^^K"))), GW_E_NOT_FOUND); // nobody said anything else
	(void)state;
}

// Three of one person: it is over when the last of them is merged; what lay with the one that is gone lies with the one that stays.
static void
contradictions_move_with_merges(void **state)
{
	make_clash();
	told(EVENT(DISCHARGE, 0, WHO("1^^^K")));
	told(EVENT(ADMIT, 0, WHO("3^^^K"), BED("B3")));
	told(EVENT(DISCHARGE, 0, WHO("3^^^K")));
	told(EVENT(UPDATE, 15, WHO("3^^^K~2^^^K")));
	assert_int_equal(clashes(), 2);
	told(EVENT(MERGE, 20, WHO("1^^^K"), .other = person_of("2^^^K")));
	assert_int_equal(clashes(), 1);
	assert_whose("wall3", 14, "-");
	assert_whose("m1", 14, "1");
	assert_whose("m1", 15, "!");
	hub_restart();
	assert_whose("m1", 15, "!");
	told(EVENT(MERGE, 20, WHO("3^^^K"), .other = person_of("1^^^K")));
	assert_int_equal(clashes(), 0);
	assert_int_equal(owner_of("m2", at(16), 0).whose, GW_WHOSE_PATIENT);
	// A merge that names both at once leaves none behind.
	told(EVENT(ADMIT, 0, WHO("6^^^K"), BED("B6")));
	told(EVENT(ADMIT, 0, WHO("7^^^K"), BED("B7")));
	told(EVENT(DISCHARGE, 0, WHO("7^^^K")));
	told(EVENT(MERGE, 20, WHO("6^^^K~7^^^K"), .other = person_of("7^^^K")));
	assert_null(strstr(hub.why.text, "CONTRADICTION"));
	assert_int_equal(clashes(), 0);
	(void)state;
}

// It does not end by one of them being forgotten: not before the other is.
static void
a_contradiction_is_not_forgotten(void **state)
{
	make_clash();
	told(EVENT(DISCHARGE, 20, WHO("1^^^K")));
	for (int day = 1; day < 60; day += 10) {
		gw_clock_fake_wall(NOW + day * 24 * 60 * MINUTE);
		for (int i = 0; i < 8; i++)
			told(EVENT(UPDATE, day * 1440 + i, WHO("2^^^K")));
	}
	assert_int_equal(clashes(), 1);
	assert_int_equal(owner_of("m1", at(51 * 1440), 0).whose, GW_WHOSE_CONFLICT);
	told(EVENT(DISCHARGE, 51 * 1440, WHO("2^^^K")));
	for (int day = 60; day < 120; day += 10) {
		gw_clock_fake_wall(NOW + day * 24 * 60 * MINUTE);
		for (int i = 0; i < 8; i++)
			told(EVENT(UPDATE, day * 1440 + i, WHO("9^^^K"), BED("B9")));
	}
	assert_int_equal(clashes(), 0);
	gw_clock_fake_wall(NOW);
	(void)state;
}

// More than are kept of one patient: held all the same, and nothing grows.
static void
very_many_contradictions(void **state)
{
	char text[200];

	told(EVENT(ADMIT, 0, WHO("0^^^K"), BED("ICU^^3")));
	for (int i = 1; i < 60; i++) {
		snprintf(text, sizeof(text), "%d^^^K", i);
		told(EVENT(ADMIT, 0, WHO(text), BED("B2")));
		snprintf(text, sizeof(text), "0^^^K~%d^^^K", i);
		told(EVENT(UPDATE, 10, WHO(text)));
		assert_non_null(strstr(hub.why.text, "CONTRADICTION"));
	}
	assert_whose("wall3", 9, "0");
	assert_whose("wall3", 10, "!");
	assert_in_range(clashes(), 32, 40);
	hub_restart();
	assert_in_range(clashes(), 32, 40);
	for (int i = 1; i < 60; i++) {
		snprintf(text, sizeof(text), "%d^^^K", i);
		told(EVENT(MERGE, 10, WHO("0^^^K"), .other = person_of(text)));
	}
	assert_int_equal(clashes(), 0);
	(void)state;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, hub_open, hub_close)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(identifiers_that_contradict),
		TEST(an_identifier_that_is_taken_away_ends_a_contradiction),
		TEST(people_say_that_they_are_two),
		TEST(contradictions_move_with_merges),
		TEST(a_contradiction_is_not_forgotten),
		TEST(very_many_contradictions),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
