// SPDX-License-Identifier: Apache-2.0
// Reports of one association, known by its identifier: changed, ended, taken back; in whatever order they come, and after a restart.
#include "tests/unit/patients_help.h"

enum { MESSAGES = 8 };

// What is told of association f1, in the order of telling: minute i says ...
struct story {
	struct gw_patient_event events[MESSAGES];
	int count;
	const char *m1, *m2; // whose the devices' readings are from minute 0 on, six minutes apart: '1', '2', or nobody's
};

#define F(verb, minutes, telling, who, device, ...) EVENT(verb, minutes, WHO(who), DEVICE(device), TOLD(telling), .filler = gw_span_text("f1"), __VA_ARGS__)
#define SOURCE(text) .source = gw_span_text(text)

static void
assert_line(const char *device, const char *expected, const char *what)
{
	char found[32];
	size_t len = strlen(expected);

	for (size_t i = 0; i < len; i++)
		found[i] = whose(device, 3 + 6 * (int64_t)i)[0];
	found[len] = '\0';
	if (strcmp(found, expected) != 0)
		fail_msg("%s: %s is %s, not %s", what, device, found, expected);
}

static void
check(const struct story *story, const char *what)
{
	assert_line("m1", story->m1, what);
	assert_line("m2", story->m2, what);
}

static void
tell_in_order(const struct story *story, const int *order)
{
	char what[64] = "order";

	for (int i = 0; i < story->count; i++) {
		told(story->events[order[i]]);
		snprintf(what + strlen(what), sizeof(what) - strlen(what), " %d", order[i]);
		if (i % 2 == 1) // and again
			told(story->events[order[i]]);
	}
	check(story, what);
	assert_int_equal(gw_patients_reload(hub.patients), GW_OK); // as rows have it
	check(story, what);
}

static void
permute(const struct story *story, int *order, int n, void **state)
{
	if (n == story->count) {
		assert_int_equal(hub_open(state), 0);
		tell_in_order(story, order);
		assert_int_equal(hub_close(state), 0);
		return;
	}
	for (int i = n; i < story->count; i++) {
		int swap = order[n];

		order[n] = order[i];
		order[i] = swap;
		permute(story, order, n + 1, state);
		order[i] = order[n];
		order[n] = swap;
	}
}

static void
in_any_order(const struct story *story, void **state)
{
	int order[MESSAGES];

	for (int i = 0; i < story->count; i++)
		order[i] = i;
	permute(story, order, 0, state);
}

static void
another_device(void **state)
{
	in_any_order(&(struct story){ .count = 3, .m1 = "-------", .m2 = "-111---", .events = {
		F(ASSOCIATE, 6, 60, "1", "m1", SOURCE("a")), F(ASSOCIATE, 6, 70, "1", "m2", SOURCE("b")), F(DISSOCIATE, 24, 80, "1", "m2", SOURCE("c")) } }, state);
	// Its end was told under the device with which it was thought to be.
	in_any_order(&(struct story){ .count = 3, .m1 = "-------", .m2 = "-111---", .events = {
		F(ASSOCIATE, 6, 60, "1", "m1", SOURCE("a")), F(DISSOCIATE, 24, 70, "1", "m1", SOURCE("b")), F(ASSOCIATE, 6, 80, "1", "m2", SOURCE("c")) } }, state);
}

static void
another_begin(void **state)
{
	in_any_order(&(struct story){ .count = 4, .m1 = "---11--", .m2 = "-------", .events = {
		F(ASSOCIATE, 6, 60, "1", "m1", SOURCE("a")), F(ASSOCIATE, 0, 65, "1", "m1", .until_us = at(12), SOURCE("b")), F(ASSOCIATE, 18, 70, "1", "m1", SOURCE("c")),
		F(DISSOCIATE, 30, 80, "1", "m1", SOURCE("d")) } }, state);
}

static void
another_patient(void **state)
{
	in_any_order(&(struct story){ .count = 4, .m1 = "-222---", .m2 = "1111111", .events = {
		F(ASSOCIATE, 6, 60, "1", "m1", SOURCE("a")), F(DISSOCIATE, 24, 70, "1", "m1", SOURCE("b")), F(ASSOCIATE, 6, 80, "2", "m1", SOURCE("c")),
		EVENT(ASSOCIATE, 0, WHO("1"), DEVICE("m2"), TOLD(90), .filler = gw_span_text("f2"), SOURCE("d")) } }, state);
}

static void
taken_back(void **state)
{
	// It never was, though it was said to have begun at another time.
	in_any_order(&(struct story){ .count = 3, .m1 = "-------", .m2 = "-------", .events = {
		F(ASSOCIATE, 6, 60, "1", "m1", SOURCE("a")), F(ASSOCIATE, 12, 70, "1", "m2", SOURCE("b")), F(REVOKE, 18, 80, "1", "m2", SOURCE("c")) } }, state);
	// It was, after all.
	in_any_order(&(struct story){ .count = 3, .m1 = "--11111", .m2 = "-------", .events = {
		F(ASSOCIATE, 6, 60, "1", "m1", SOURCE("a")), F(REVOKE, 18, 70, "1", "m1", SOURCE("b")), F(ASSOCIATE, 12, 80, "1", "m1", SOURCE("c")) } }, state);
}

static void
the_end_was_wrong(void **state)
{
	in_any_order(&(struct story){ .count = 4, .m1 = "-11----", .m2 = "-------", .events = {
		F(ASSOCIATE, 6, 60, "1", "m1", SOURCE("a")), F(DISSOCIATE, 12, 70, "1", "m1", SOURCE("b")), F(RESUME, 12, 80, "1", "m1", SOURCE("c")),
		F(DISSOCIATE, 18, 90, "1", "m1", SOURCE("d")) } }, state);
	// And with another device in between.
	in_any_order(&(struct story){ .count = 4, .m1 = "-------", .m2 = "-222222", .events = {
		F(ASSOCIATE, 6, 60, "1", "m1", SOURCE("a")), F(DISSOCIATE, 12, 70, "1", "m1", SOURCE("b")), F(RESUME, 12, 80, "1", "m1", SOURCE("c")),
		F(ASSOCIATE, 6, 90, "2", "m2", SOURCE("d")) } }, state);
}

// Several devices of one message are one report, and the next one need not name them all; each ends by itself.
static void
several_devices(void **state)
{
	in_any_order(&(struct story){ .count = 4, .m1 = "-11----", .m2 = "-11----", .events = {
		F(ASSOCIATE, 6, 60, "1", "m1", SOURCE("a")), F(ASSOCIATE, 6, 60, "1", "m2", SOURCE("a")), F(DISSOCIATE, 18, 70, "1", "m1", SOURCE("b")),
		F(DISSOCIATE, 18, 70, "1", "m2", SOURCE("b")) } }, state);
	in_any_order(&(struct story){ .count = 3, .m1 = "-------", .m2 = "-111111", .events = {
		F(ASSOCIATE, 6, 60, "1", "m1", SOURCE("a")), F(ASSOCIATE, 6, 60, "1", "m2", SOURCE("a")), F(ASSOCIATE, 6, 70, "1", "m2", SOURCE("b")) } }, state);
}

static void
of_one_moment_what_comes_last_counts(void **state)
{
	assert_int_equal(hub_open(state), 0);
	told(F(ASSOCIATE, 6, 60, "1", "m1", SOURCE("a")));
	told(F(ASSOCIATE, 6, 60, "1", "m2", SOURCE("b")));
	assert_non_null(strstr(hub.why.text, "in place of"));
	assert_whose("m1", 9, "-");
	assert_whose("m2", 9, "1");
	told(F(ASSOCIATE, 6, 50, "1", "m1", SOURCE("c")));
	assert_non_null(strstr(hub.why.text, "later report"));
	assert_whose("m1", 9, "-");
	told(F(ASSOCIATE, 6, 60, "1", "m1", SOURCE("b"))); // of the same message
	told(F(DISSOCIATE, 12, 70, "1", "m1", SOURCE("d")));
	assert_whose("m1", 15, "-");
	assert_whose("m2", 15, "1");
	assert_int_equal(tell(EVENT(REVOKE, 5, WHO("1"), DEVICE("m1"))), GW_E_ARGUMENT);
	assert_int_equal(tell(EVENT(RESUME, 5, WHO("1"), DEVICE("m1"))), GW_E_ARGUMENT);
	// Not known by its identifier: what is told by device, patient and time counts.
	told(EVENT(ASSOCIATE, 20, WHO("2"), DEVICE("m1"), TOLD(60)));
	told(EVENT(REVOKE, 20, WHO("2"), DEVICE("m1"), TOLD(70), .filler = gw_span_text("f7")));
	assert_whose("m1", 21, "-");
	told(EVENT(RESUME, 30, WHO("2"), DEVICE("m1"), TOLD(80), .filler = gw_span_text("f8")));
	assert_whose("m1", 29, "-");
	assert_whose("m1", 30, "2");
	assert_int_equal(hub_close(state), 0);
}

// Told again and again, with ever another device: what is replaced is gone.
static void
nothing_grows(void **state)
{
	struct gw_patients_stats stats;
	char source[32];

	assert_int_equal(hub_open(state), 0);
	for (int i = 0; i < 2500; i++) {
		snprintf(source, sizeof(source), "message %d", i);
		told(F(ASSOCIATE, i % 50, 60 + i / 10, "1", i % 3 == 0 ? "m1" : "m2", .until_us = at(100), SOURCE(source)));
	}
	gw_patients_stats(hub.patients, &stats);
	assert_int_equal(stats.patients, 1);
	assert_whose("m1", 60, 2499 % 3 == 0 ? "1" : "-");
	assert_whose("m2", 60, 2499 % 3 == 0 ? "-" : "1");
	assert_int_equal(hub_close(state), 0);
}

// Two associations of the very same device, patient and moment: what is said of the one is not said of the other.
static void
two_that_began_at_once(void **state)
{
	told(EVENT(ASSOCIATE, 0, WHO("1"), DEVICE("m1"), TOLD(1), .filler = gw_span_text("f1")));
	told(EVENT(ASSOCIATE, 0, WHO("1"), DEVICE("m1"), TOLD(2), .filler = gw_span_text("f2")));
	hub_restart();
	told(EVENT(REVOKE, 0, WHO("1"), DEVICE("m1"), TOLD(3), .filler = gw_span_text("f2")));
	assert_whose("m1", 1, "1");
	told(EVENT(ASSOCIATE, 5, WHO("1"), DEVICE("m1"), TOLD(4), .filler = gw_span_text("f1")));
	for (int i = 0; i < 2; i++) {
		assert_whose("m1", 4, "-");
		assert_whose("m1", 5, "1");
		hub_restart();
	}
	(void)state;
}

// A program before kept such a beginning under a key without its identifier: it is replaced and taken back all the same.
static void
a_beginning_that_an_older_program_stored(void **state)
{
	static const uint8_t texts[] = "\0\0\0\0\2f1"; // and an empty source
	uint8_t row[29 + sizeof(texts)] = { 1, 11 }, what[8] = { 0 };
	struct gw_ticket *ticket = gw_ticket_get(&hub.source);
	struct gw_owner owner;
	char key[120];

	told(EVENT(ASSOCIATE, 0, WHO("1"), DEVICE("m2")));
	owner = owner_of("m2", at(0), 0);
	for (int i = 0; i < 8; i++) {
		row[2 + i] = row[10 + i] = (uint8_t)((uint64_t)at(3) >> 8 * i);
		row[18 + i] = what[i] = (uint8_t)(owner.patient >> 8 * i);
	}
	row[27] = sizeof(texts);
	memcpy(row + 29, texts, sizeof(texts));
	snprintf(key, sizeof(key), "patient-device/m1/%016llx0b%016llx", (unsigned long long)at(3), (unsigned long long)gw_name_hash(gw_span(what, 8)));
	assert_int_equal(gw_ticket_put(ticket, gw_span_text(key), gw_span(row, sizeof(row))), GW_OK);
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
	hub_restart();
	assert_whose("m1", 3, "1");
	told(EVENT(ASSOCIATE, 3, WHO("1"), DEVICE("m1"), TOLD(5), .filler = gw_span_text("f2"))); // another one
	hub_restart();
	assert_whose("m1", 3, "1");
	told(EVENT(ASSOCIATE, 3, WHO("1"), DEVICE("m1"), TOLD(6), .filler = gw_span_text("f1"))); // the same again
	told(EVENT(ASSOCIATE, 6, WHO("1"), DEVICE("m1"), TOLD(7), .filler = gw_span_text("f1"))); // later, both
	told(EVENT(ASSOCIATE, 7, WHO("1"), DEVICE("m1"), TOLD(7), .filler = gw_span_text("f2")));
	for (int i = 0; i < 2; i++) {
		assert_whose("m1", 5, "-");
		assert_whose("m1", 6, "1");
		hub_restart();
	}
	(void)state;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(another_device), cmocka_unit_test(another_begin), cmocka_unit_test(another_patient), cmocka_unit_test(taken_back),
		cmocka_unit_test(the_end_was_wrong), cmocka_unit_test(several_devices), cmocka_unit_test(of_one_moment_what_comes_last_counts), cmocka_unit_test(nothing_grows),
		cmocka_unit_test_setup_teardown(two_that_began_at_once, hub_open, hub_close),
		cmocka_unit_test_setup_teardown(a_beginning_that_an_older_program_stored, hub_open, hub_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
