// SPDX-License-Identifier: Apache-2.0
// Which message goes next: two lanes, order within each, a limited rate for the backlog. Time is the test's own.
#include "adapters/hl7/pick.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define S 1000000ll

static struct gw_hl7_outbox outbox;
static struct gw_hl7_pick pick;

static int
begin(void **state)
{
	(void)state;
	gw_hl7_outbox_init(&outbox, NULL, "x");
	pick = (struct gw_hl7_pick){ .backlog_per_s = 10 };
	return 0;
}

static int
finish(void **state)
{
	(void)state;
	gw_hl7_outbox_fini(&outbox);
	return 0;
}

enum lane { LIVE, BACKLOG };

static void
add(enum lane lane)
{
	struct gw_hl7_message *message = gw_hl7_outbox_make(&outbox, "ID", gw_span("", 0), S);

	assert_non_null(message);
	message->backlog = lane == BACKLOG;
	gw_hl7_outbox_append(&outbox, message);
}

// The number of what goes next, which is then gone; 0: none may.
static uint64_t
next_at(int64_t mono_us, int64_t *wait_us)
{
	uint64_t number;

	if (!gw_hl7_pick(&pick, &outbox, mono_us, wait_us))
		return 0;
	number = outbox.first->number;
	gw_hl7_outbox_shift(&outbox);
	return number;
}

static void
withdraw(uint64_t number)
{
	struct gw_hl7_message *message = outbox.first;

	while (message->number != number)
		message = message->next;
	gw_hl7_outbox_unlist(&outbox, message);
}

static void
add_as(uint64_t number)
{
	struct gw_hl7_message *message = gw_hl7_outbox_make(&outbox, "NEW", gw_span("", 0), S);

	assert_non_null(message);
	message->number = number;
	gw_hl7_outbox_append(&outbox, message);
}

// What takes a withdrawn message's number goes in its place, but before nothing that may have been sent.
static void
test_the_place_of_one_that_was_withdrawn(void **state)
{
	static const uint64_t order[] = { 2, 1, 3, 4, 7, 0 };
	int64_t wait_us;

	(void)state;
	for (int i = 0; i < 4; i++)
		add(LIVE);
	withdraw(2);
	add_as(2);
	assert_int_equal(outbox.first->next->number, 2);
	outbox.first->next->tried = true;
	assert_ptr_equal(gw_hl7_outbox_find(&outbox, "NEW"), outbox.first->next);
	withdraw(1);
	add_as(1);
	assert_int_equal(outbox.count, 4);
	assert_null(gw_hl7_outbox_find(&outbox, "ABSENT"));
	withdraw(4);
	add_as(4); // at the list's end
	add(LIVE);
	for (size_t i = 0; i < sizeof(order) / sizeof(*order); i++)
		assert_int_equal(next_at(0, &wait_us), order[i] == 7 ? outbox.number : order[i]);
}

static void
test_live_ones_go_at_once_in_order(void **state)
{
	int64_t wait_us;

	(void)state;
	for (int i = 0; i < 100; i++)
		add(LIVE);
	for (uint64_t i = 1; i <= 100; i++)
		assert_int_equal(next_at(S, &wait_us), i);
	assert_int_equal(next_at(S, &wait_us), 0);
	assert_true(wait_us == INT64_MAX);
}

static void
test_the_backlog_goes_as_fast_as_the_limit_says(void **state)
{
	int64_t wait_us, at = S;
	uint64_t sent = 0;

	(void)state;
	for (int i = 0; i < 50; i++)
		add(BACKLOG);
	assert_int_equal(next_at(at, &wait_us), ++sent);
	while (sent < 50) {
		assert_int_equal(next_at(at, &wait_us), 0);
		assert_in_range(wait_us, 1, 100001);
		at += wait_us;
		assert_int_equal(next_at(at, &wait_us), ++sent);
	}
	assert_in_range(at - S, 49 * S / 10, 49 * S / 10 + 100); // ten a second
}

// A pause is not saved up for a burst.
static void
test_an_idle_time_gives_no_burst(void **state)
{
	int64_t wait_us;

	(void)state;
	add(BACKLOG);
	add(BACKLOG);
	assert_int_equal(next_at(S, &wait_us), 1);
	assert_int_equal(next_at(1000 * S, &wait_us), 2);
	add(BACKLOG);
	assert_int_equal(next_at(1000 * S, &wait_us), 0);
}

static void
test_live_ones_go_between(void **state)
{
	int64_t wait_us;

	(void)state;
	pick.backlog_per_s = 0; // even without a limit: a slow peer's time is shared
	for (int i = 0; i < 3; i++)
		add(BACKLOG); // 1 2 3
	for (int i = 0; i < 3; i++)
		add(LIVE);    // 4 5 6
	assert_int_equal(next_at(S, &wait_us), 1);
	assert_int_equal(next_at(S, &wait_us), 4);
	assert_int_equal(next_at(S, &wait_us), 2);
	assert_int_equal(next_at(S, &wait_us), 5);
	assert_int_equal(next_at(S, &wait_us), 3);
	assert_int_equal(next_at(S, &wait_us), 6);
}

// Whatever comes in whatever order: each lane's order is kept, and the list holds together.
static void
test_order_within_a_lane(void **state)
{
	uint64_t last[2] = { 0 };
	bool backlog_of[401];
	unsigned random = 7, picked = 0;
	int64_t wait_us, at = S;

	(void)state;
	for (uint64_t i = 1; i <= 400; i++) {
		random = random * 1103515245 + 12345;
		backlog_of[i] = (random >> 20) % 3 == 0;
		add(backlog_of[i] ? BACKLOG : LIVE);
	}
	while (picked < 400) {
		uint64_t number = next_at(at, &wait_us);

		if (number == 0) {
			at += wait_us;
			continue;
		}
		assert_true(number > last[backlog_of[number]]);
		last[backlog_of[number]] = number;
		picked++;
	}
	assert_null(outbox.first);
	assert_int_equal(outbox.of_backlog, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_place_of_one_that_was_withdrawn, begin, finish),
		cmocka_unit_test_setup_teardown(test_live_ones_go_at_once_in_order, begin, finish),
		cmocka_unit_test_setup_teardown(test_the_backlog_goes_as_fast_as_the_limit_says, begin, finish),
		cmocka_unit_test_setup_teardown(test_an_idle_time_gives_no_burst, begin, finish),
		cmocka_unit_test_setup_teardown(test_live_ones_go_between, begin, finish),
		cmocka_unit_test_setup_teardown(test_order_within_a_lane, begin, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
