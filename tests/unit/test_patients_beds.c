// SPDX-License-Identifier: Apache-2.0
// One patient in two beds: by a transfer's prior bed, by a merge, by an order. Readings of both beds are held for exactly that time, until a message or a person
// says otherwise, and by nothing else; in whatever order it is told, before and after a restart.
#include "tests/unit/patients_help.h"

#define PRIOR(text) .prior_bed = gw_span_text(text)

// How many pairs of beds are shown; the figure for status is the same.
static size_t
shown(int64_t from, int64_t to, const char *bed, const char *other)
{
	struct gw_patients_stats stats;
	struct gw_timeline *entries;
	size_t count, found = 0;

	assert_int_equal(gw_patients_conflicts(hub.patients, INT64_MIN, &entries, &count), GW_OK);
	for (size_t i = 0; i < count; i++) {
		if (entries[i].kind != GW_TIMELINE_BEDS)
			continue;
		found++;
		assert_true(entries[i].conflict && entries[i].patient != 0 && entries[i].source[0] != '\0');
		assert_true(entries[i].from_us == at(from) && entries[i].to_us == (to == 0 ? GW_TIME_OPEN : at(to)));
		assert_true((strcmp(entries[i].bed, bed) == 0 && strcmp(entries[i].other_bed, other) == 0) ||
		    (strcmp(entries[i].bed, other) == 0 && strcmp(entries[i].other_bed, bed) == 0));
	}
	free(entries);
	gw_patients_stats(hub.patients, &stats);
	assert_int_equal(stats.conflicts, found);
	return found;
}

static void
assert_told(bool contradiction)
{
	assert_true((strstr(hub.why.text, "CONTRADICTION") != NULL) == contradiction);
}

// Minute by minute, before and after a restart: "..AA!!" from minute 0 on; '.' nobody.
static void
assert_day(const char *device, const char *day)
{
	for (int i = 0; i < 2; i++) {
		for (int minute = 0; day[minute] != '\0'; minute++) {
			const char *who = whose(device, minute);

			if (who[0] != (day[minute] == '.' ? '-' : day[minute]))
				fail_msg("%s at minute %d: %s, not %c", device, minute, who, day[minute]);
		}
		hub_restart();
	}
}

static void
place_both(void)
{
	told(EVENT(PLACE, -9, DEVICE("m1"), BED("B1")));
	told(EVENT(PLACE, -9, DEVICE("m2"), BED("B2")));
}

// ---- Prior beds ----

// a in B1, confirmed at minute 2; from minute 6 on in B3, "from B2", where b lies from 1 on.
static void
make_prior(void)
{
	place_both();
	told(EVENT(ADMIT, 0, WHO("a"), BED("B1"), TOLD(0)));
	told(EVENT(ADMIT, 2, WHO("a"), BED("B1"), TOLD(2)));
	told(EVENT(ADMIT, 1, WHO("b"), BED("B2"), TOLD(1)));
	told(EVENT(TRANSFER, 6, WHO("a"), BED("ICU^^3"), PRIOR("B2"), TOLD(7)));
	assert_told(true);
}

static void
assert_prior_is_held(void)
{
	assert_day("m1", "aa!!!!..");
	assert_day("m2", ".b!!!!bb");
	assert_day("wall3", "......aa");
	assert_int_equal(shown(2, 6, "B1", "B2"), 1);
}

static void
assert_prior_is_over(const char *first, const char *second)
{
	assert_day("m1", first);
	assert_day("m2", second);
	assert_day("wall3", "......aa");
	assert_int_equal(shown(0, 0, "", ""), 0);
}

static void
a_transfer_from_another_bed(void **state)
{
	struct gw_timeline_query query = { .from_us = INT64_MIN, .to_us = GW_TIME_OPEN, .bed = gw_span_text("B2") };
	struct gw_timeline *entries;
	size_t count, other = 0;

	make_prior();
	assert_prior_is_held();
	assert_int_equal(gw_patients_timeline(hub.patients, &query, &entries, &count), GW_OK);
	for (size_t i = 0; i < count; i++)
		other += entries[i].conflict && strcmp(entries[i].other_bed, "B1") == 0;
	free(entries);
	assert_int_equal(other, 1);
	// Time, other patients and what happens later end nothing.
	told(EVENT(UPDATE, 8, WHO("a"), BED("ICU^^3"), TOLD(8)));
	told(EVENT(TRANSFER, 9, WHO("a"), BED("B9"), PRIOR("ICU^^3"), TOLD(9)));
	assert_told(false);
	told(EVENT(DISCHARGE, 10, WHO("a"), TOLD(10)));
	told(EVENT(TRANSFER, 6, WHO("a"), BED("ICU^^3"), TOLD(11))); // the same, without the bed before
	told(EVENT(TRANSFER, 6, WHO("a"), BED("ICU^^3"), PRIOR("B2"), TOLD(7)));
	assert_told(false);
	assert_prior_is_held();
	(void)state;
}

static void
a_corrected_transfer(void **state)
{
	make_prior();
	told(EVENT(TRANSFER, 6, WHO("a"), BED("ICU^^3"), PRIOR("B1"), TOLD(9)));
	assert_told(false);
	assert_prior_is_over("aaaaaa..", ".bbbbbbb");
	(void)state;
}

static void
a_cancelled_transfer(void **state)
{
	make_prior();
	told(EVENT(CANCEL_TRANSFER, 6, WHO("a"), BED("ICU^^3"), TOLD(9)));
	assert_day("m1", "aaaaaaaa");
	assert_day("m2", ".bbbbbbb");
	assert_int_equal(shown(0, 0, "", ""), 0);
	(void)state;
}

// The one that was missing: and where somebody lies already, it is two in a bed.
static void
a_transfer_in_between(void **state)
{
	make_prior();
	told(EVENT(TRANSFER, 4, WHO("a"), BED("B2"), PRIOR("B1"), TOLD(9)));
	assert_day("m1", "aaaa....");
	assert_day("m2", ".bbb!!bb");
	told(EVENT(DISCHARGE, 4, WHO("b"), TOLD(9)));
	assert_prior_is_over("aaaa....", ".bbbaa..");
	(void)state;
}

static void
people_settle_a_prior_bed(void **state)
{
	make_prior();
	told(EVENT(DISSOCIATE, 2, WHO("a"), BED("B2"), TOLD(9))); // a was not there
	assert_prior_is_over("aaaaaa..", ".bbbbbbb");
	told(EVENT(TRANSFER, 6, WHO("a"), BED("ICU^^3"), PRIOR("B2"), TOLD(12))); // whatever is told again
	assert_prior_is_over("aaaaaa..", ".bbbbbbb");
	(void)state;
}

static void
people_settle_it_the_other_way(void **state)
{
	make_prior();
	told(EVENT(ASSOCIATE, 3, WHO("a"), BED("B2"), TOLD(9)));
	assert_told(true); // b lies there, too
	told(EVENT(DISSOCIATE, 3, WHO("b"), BED("B2"), TOLD(10)));
	assert_prior_is_over("aaa.....", ".bbaaa..");
	(void)state;
}

// Some senders leave PV1-6 as it was, in whatever they say of the patient in the bed to which he came from there.
static void
a_prior_bed_that_is_known(void **state)
{
	place_both();
	told(EVENT(ADMIT, 0, WHO("a"), BED("B1"), TOLD(0)));
	told(EVENT(TRANSFER, 3, WHO("a"), BED("B2"), PRIOR("B1"), TOLD(3)));
	told(EVENT(TRANSFER, 5, WHO("a"), BED("B2"), PRIOR("B1"), TOLD(5)));
	assert_told(false);
	assert_day("m1", "aaa.....");
	assert_day("m2", "...aaaaa");
	told(EVENT(TRANSFER, 7, WHO("a"), BED("B2"), PRIOR("B7"), TOLD(7))); // but not another one
	assert_told(true);
	assert_day("m2", "...aa!!a");
	// Of whom nothing is known there is nothing to contradict.
	told(EVENT(TRANSFER, 5, WHO("c"), BED("ICU^^3"), PRIOR("B1"), TOLD(5)));
	assert_told(false);
	assert_day("m1", "aaa.....");
	(void)state;
}

// ---- Merges ----

static void
make_merge(bool late)
{
	place_both();
	told(EVENT(ADMIT, 0, WHO("a"), BED("B1"), TOLD(0)));
	if (!late)
		told(EVENT(ADMIT, 3, WHO("b"), BED("B2"), TOLD(3)));
	else
		told(EVENT(UPDATE, 3, WHO("b"), TOLD(3)));
	told(EVENT(MERGE, 9, WHO("a"), .other = person_of("b"), TOLD(9)));
	assert_told(!late);
	if (late)
		told(EVENT(ADMIT, 3, WHO("b"), BED("B2"), TOLD(3)));
	assert_told(true);
	told(EVENT(MERGE, 9, WHO("a"), .other = person_of("b"), TOLD(30))); // again
	assert_told(false);
}

static void
two_who_are_merged_in_two_beds(void **state)
{
	make_merge(false);
	assert_day("m1", "aaa!!!!!!!!!!!!!");
	assert_day("m2", "...!!!!!!!!!!!!!");
	assert_int_equal(shown(3, 0, "B1", "B2"), 1);
	told(EVENT(UPDATE, 10, WHO("b"), BED("B2"), TOLD(10))); // silence
	told(EVENT(TRANSFER, 12, WHO("b"), BED("B2"), TOLD(12)));
	assert_told(false);
	assert_day("m1", "aaa!!!!!!!!!....");
	assert_day("m2", "...!!!!!!!!!aaaa");
	assert_int_equal(shown(3, 12, "B1", "B2"), 1);
	told(EVENT(DISSOCIATE, 3, WHO("a"), BED("B1"), TOLD(20)));
	assert_day("m1", "aaa.............");
	assert_day("m2", "...aaaaaaaaaaaaa");
	assert_int_equal(shown(0, 0, "", ""), 0);
	(void)state;
}

static void
merged_before_the_second_is_told(void **state)
{
	make_merge(true);
	assert_day("m1", "aaa!!!!!!!!!!!!!");
	assert_int_equal(shown(3, 0, "B1", "B2"), 1);
	told(EVENT(CANCEL_ADMIT, 3, WHO("b"), BED("B2"), TOLD(20)));
	assert_day("m1", "aaaaaaaaaaaaaaaa");
	assert_day("m2", "................");
	assert_int_equal(shown(0, 0, "", ""), 0);
	(void)state;
}

// What was told of the one before they were merged ends where that one was, and nothing else.
static void
a_discharge_of_one_of_them(void **state)
{
	make_merge(false);
	told(EVENT(DISCHARGE, 6, WHO("b"), TOLD(7)));
	assert_day("m1", "aaa!!!aaaaa");
	assert_day("m2", "...!!!.....");
	told(EVENT(ASSOCIATE, 3, WHO("a"), BED("B1"), TOLD(21)));
	assert_day("m1", "aaaaaaaaaaa");
	assert_day("m2", "...........");
	assert_int_equal(shown(0, 0, "", ""), 0);
	told(EVENT(DISCHARGE, 8, WHO("a"), TOLD(22))); // of the person
	assert_day("m1", "aaaaaaaa...");
	(void)state;
}

static void
the_person_is_discharged(void **state)
{
	make_merge(false);
	told(EVENT(DISCHARGE, 6, WHO("b"), TOLD(10)));
	assert_day("m1", "aaa!!!.....");
	assert_day("m2", "...!!!.....");
	assert_int_equal(shown(3, 6, "B1", "B2"), 1);
	(void)state;
}

// Three, one after the other; more numbers than are told apart count as one and crash nothing.
static void
many_are_merged(void **state)
{
	char text[16];

	make_merge(false);
	told(EVENT(ADMIT, 5, WHO("c"), BED("ICU^^3"), TOLD(5)));
	told(EVENT(MERGE, 11, WHO("c"), .other = person_of("a"), TOLD(11)));
	assert_day("m1", "ccc!!!!!!!!!!!!!");
	assert_day("wall3", ".....!!!!!!!!!!!");
	told(EVENT(TRANSFER, 8, WHO("b"), BED("B2"), TOLD(10))); // of a and b
	assert_day("m1", "ccc!!!!!........");
	assert_day("m2", "...!!!!!!!!!!!!!");
	told(EVENT(TRANSFER, 8, WHO("b"), BED("B2"), TOLD(12))); // of all
	assert_day("wall3", ".....!!!........");
	assert_day("m2", "...!!!!!cccccccc");
	for (int i = 0; i < 60; i++) {
		snprintf(text, sizeof(text), "n%d", i);
		told(EVENT(ADMIT, 10, WHO(text), BED("B7"), TOLD(13)));
		told(EVENT(MERGE, 14, WHO("c"), .other = person_of(text), TOLD(14)));
	}
	assert_day("m2", "...!!!!!cc!!!!!!");
	(void)state;
}

// ---- Orders ----

static void
make_order(void)
{
	place_both();
	told(EVENT(ADMIT, 0, WHO("a"), BED("B1"), TOLD(0)));
	told(EVENT(ADMIT, 1, WHO("b"), BED("B2"), TOLD(1)));
	told(EVENT(ASSOCIATE, 4, WHO("a"), BED("B2"), ORDER("o1"), TOLD(4)));
	assert_told(true);
}

static void
an_order_for_another_bed(void **state)
{
	make_order();
	assert_day("m1", "aaaa!!!!!!!!");
	assert_day("m2", ".bbb!!!!!!!!");
	assert_int_equal(shown(4, 0, "B1", "B2"), 1);
	told(EVENT(ASSOCIATE, 6, WHO("a"), BED("B2"), ORDER("o1"), TOLD(6))); // the same again, and what says nothing of the bed
	assert_told(false);
	told(EVENT(ASSOCIATE, 7, WHO("a"), ORDER("o1"), TOLD(7)));
	told(EVENT(UPDATE, 8, WHO("a"), BED("B1"), TOLD(8)));
	assert_day("m1", "aaaa!!!!!!!!");
	assert_int_equal(shown(4, 0, "B1", "B2"), 1);
	told(EVENT(DISSOCIATE, 4, WHO("a"), BED("B2"), TOLD(9))); // a person: not there
	assert_day("m1", "aaaaaaaaaaaa");
	assert_day("m2", ".bbbbbbbbbbb");
	assert_int_equal(shown(0, 0, "", ""), 0);
	assert_string_equal(owner_of("m1", at(5), 0).order, "o1"); // it is carried out where the patient lies
	(void)state;
}

static void
an_order_that_ends_or_is_corrected(void **state)
{
	make_order();
	told(EVENT(DISSOCIATE, 8, WHO("a"), ORDER("o1"), TOLD(8)));
	assert_day("m1", "aaaa!!!!aaaa");
	assert_day("m2", ".bbb!!!!bbbb");
	told(EVENT(ASSOCIATE, 6, WHO("a"), BED("B1"), ORDER("o1"), TOLD(9)));
	assert_day("m1", "aaaa!!aaaaaa");
	told(EVENT(ASSOCIATE, 4, WHO("a"), BED("B1"), ORDER("o1"), TOLD(10)));
	assert_day("m1", "aaaaaaaaaaaa");
	assert_day("m2", ".bbbbbbbbbbb");
	assert_int_equal(shown(0, 0, "", ""), 0);
	(void)state;
}

// The order was right: the transfer is told later, and had happened before it, or happens after it.
static void
a_transfer_that_explains_an_order(void **state)
{
	make_order();
	told(EVENT(DISCHARGE, 3, WHO("b"), TOLD(5)));
	told(EVENT(TRANSFER, 7, WHO("a"), BED("B2"), PRIOR("B1"), TOLD(9)));
	assert_told(false);
	assert_day("m1", "aaaa!!!.....");
	assert_day("m2", ".bb.!!!aaaaa");
	told(EVENT(TRANSFER, 3, WHO("a"), BED("B2"), PRIOR("B1"), TOLD(10)));
	assert_day("m1", "aaa.........");
	assert_day("m2", ".bbaaaaaaaaa");
	assert_int_equal(shown(0, 0, "", ""), 0);
	(void)state;
}

// Of the second in which the patient is moved: for the bed that is left.
static void
an_order_of_the_same_moment(void **state)
{
	for (int first = 0; first < 2; first++) {
		place_both();
		told(EVENT(ADMIT, first == 0 ? 2 : 4, WHO("a"), BED("B1"), TOLD(4)));
		for (int i = 0; i < 2; i++) {
			if (i == first)
				told(EVENT(ASSOCIATE, 4, WHO("a"), BED("B1"), ORDER("o1"), TOLD(5 + i)));
			else
				told(EVENT(TRANSFER, 4, WHO("a"), BED("B2"), PRIOR("B1"), TOLD(5 + i)));
			assert_told(false);
		}
		assert_day("m1", first == 0 ? "..aa...." : "........");
		assert_day("m2", "....aaaa");
		assert_int_equal(shown(0, 0, "", ""), 0);
		told(EVENT(ASSOCIATE, 4, WHO("a"), BED("ICU^^3"), ORDER("o2"), TOLD(8)));
		assert_told(true);
		hub_close(state);
		assert_int_equal(hub_open(state), 0);
	}
}

// The order first, then where the patient lies.
static void
an_order_before_the_admission(void **state)
{
	place_both();
	told(EVENT(ASSOCIATE, 4, WHO("a"), BED("B2"), ORDER("o1"), TOLD(4)));
	assert_told(false);
	assert_day("m2", "....aaaa");
	told(EVENT(ADMIT, 2, WHO("a"), BED("B1"), TOLD(6)));
	assert_told(true);
	assert_day("m1", "..aa!!!!");
	assert_day("m2", "....!!!!");
	told(EVENT(CANCEL_ADMIT, 2, WHO("a"), BED("B1"), TOLD(8)));
	assert_day("m1", "........");
	assert_day("m2", "....aaaa");
	(void)state;
}

// ---- Directly, and forgetting ----

static void
what_the_patient_has_is_no_question_of_beds(void **state)
{
	struct gw_owner owner;

	make_order();
	told(EVENT(ASSOCIATE, 0, WHO("a"), DEVICE("wall3"), TOLD(9)));
	told(EVENT(UNPLACE, 0, DEVICE("wall3"), TOLD(9)));
	assert_day("wall3", "aaaaaaaaaaaa");
	owner = owner_of("wall3", at(2), 0);
	assert_string_equal(owner.bed, "B1");
	assert_true(owner.to_us == at(4));
	assert_string_equal(owner_of("wall3", at(6), 0).bed, "");
	assert_int_equal(owner_of("m1", at(4), MINUTE).whose, GW_WHOSE_UNSURE);
	(void)state;
}

// Who is erased may have lain in either bed all the same: nobody else gets what may be his.
static void
an_erased_patient_s_beds(void **state)
{
	struct gw_identifier identifier = { .id = gw_span_text("a") };
	struct gw_ticket *ticket = gw_ticket_get(&hub.source);
	uint64_t number;

	make_prior();
	assert_int_equal(gw_patients_find(hub.patients, &identifier, &number, &hub.why), GW_OK);
	gw_patients_lock(hub.patients);
	assert_int_equal(gw_patients_forget_person(hub.patients, number, ticket), GW_OK);
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_patients_unlock(hub.patients);
	gw_ticket_release(ticket);
	assert_day("m1", "..!!!!..");
	assert_day("m2", ".b!!!!bb");
	assert_day("wall3", "........");
	assert_int_equal(shown(0, 0, "", ""), 0); // nobody can say any more
	(void)state;
}

static void
neither_time_nor_forgetting_ends_it(void **state)
{
	told(EVENT(DISCHARGE, 5, WHO("y"), TOLD(5)));
	make_merge(false);
	told(EVENT(ASSOCIATE, 4, WHO("x"), DEVICE("wall3"), TOLD(4)));
	for (int day = 1; day < 90; day += 10) {
		gw_clock_fake_wall(NOW + day * 24 * 60 * MINUTE);
		for (int i = 0; i < 8; i++)
			told(EVENT(UPDATE, day * 1440 + i, WHO("z"), BED("B6")));
	}
	assert_whose("m1", 80 * 1440, "!");
	assert_whose("m2", 80 * 1440, "!");
	hub_restart();
	assert_whose("m1", 80 * 1440, "!");
	assert_int_equal(shown(3, 0, "B1", "B2"), 1);
	told(EVENT(TRANSFER, 80 * 1440 + 1, WHO("a"), BED("B2")));
	assert_whose("m1", 80 * 1440, "!");
	assert_whose("m1", 80 * 1440 + 2, "-");
	assert_whose("m2", 80 * 1440 + 2, "a");
	// When all of it is long over, it goes.
	for (int day = 91; day < 200; day += 10) {
		gw_clock_fake_wall(NOW + day * 24 * 60 * MINUTE);
		for (int i = 0; i < 8; i++)
			told(EVENT(DISCHARGE, day * 1440 + i, WHO("a")));
	}
	assert_int_equal(shown(0, 0, "", ""), 0);
	gw_clock_fake_wall(NOW);
	(void)state;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, hub_open, hub_close)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_transfer_from_another_bed),
		TEST(a_corrected_transfer),
		TEST(a_cancelled_transfer),
		TEST(a_transfer_in_between),
		TEST(people_settle_a_prior_bed),
		TEST(people_settle_it_the_other_way),
		TEST(a_prior_bed_that_is_known),
		TEST(two_who_are_merged_in_two_beds),
		TEST(merged_before_the_second_is_told),
		TEST(a_discharge_of_one_of_them),
		TEST(the_person_is_discharged),
		TEST(many_are_merged),
		TEST(an_order_for_another_bed),
		TEST(an_order_that_ends_or_is_corrected),
		TEST(a_transfer_that_explains_an_order),
		TEST(an_order_of_the_same_moment),
		TEST(an_order_before_the_admission),
		TEST(what_the_patient_has_is_no_question_of_beds),
		TEST(an_erased_patient_s_beds),
		TEST(neither_time_nor_forgetting_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
