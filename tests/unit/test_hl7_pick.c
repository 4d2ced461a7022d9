// SPDX-License-Identifier: Apache-2.0
// Which message goes next: order per device, two lanes, a limited rate for old ones. Time is the test's own.
#include "adapters/hl7/pick.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define S 1000000ll
#define NOW (1000000 * S)
#define DAY (86400 * S)

static struct gw_hl7_outbox outbox;
static struct gw_hl7_pick pick;

static int
begin(void **state)
{
	(void)state;
	gw_hl7_outbox_init(&outbox, NULL, "x");
	pick = (struct gw_hl7_pick){ .old_per_s = 10, .old_us = 120 * S };
	return 0;
}

static int
finish(void **state)
{
	(void)state;
	gw_hl7_outbox_fini(&outbox);
	return 0;
}

static void
add(uint64_t device, int64_t age_us)
{
	struct gw_hl7_message *message = gw_hl7_outbox_make(&outbox, "ID", gw_span("", 0), NOW);

	assert_non_null(message);
	message->device = device;
	message->received_us = device != 0 ? NOW - age_us : 0;
	gw_hl7_outbox_append(&outbox, message);
}

// The number of what goes next, which is then gone; 0: none may.
static uint64_t
next_at(int64_t mono_us, int64_t *wait_us)
{
	uint64_t number;

	if (!gw_hl7_pick(&pick, &outbox, NOW, mono_us, wait_us))
		return 0;
	number = outbox.first->number;
	gw_hl7_outbox_shift(&outbox);
	return number;
}

static void
test_new_ones_go_at_once_in_order(void **state)
{
	int64_t wait_us;

	(void)state;
	for (int i = 0; i < 100; i++)
		add(1 + (uint64_t)i % 7, 60 * S);
	for (uint64_t i = 1; i <= 100; i++)
		assert_int_equal(next_at(S, &wait_us), i);
	assert_int_equal(next_at(S, &wait_us), 0);
	assert_true(wait_us == INT64_MAX);
}

static void
test_old_ones_go_as_fast_as_the_limit_says(void **state)
{
	int64_t wait_us, at = S;
	uint64_t sent = 0;

	(void)state;
	for (int i = 0; i < 50; i++)
		add(1 + (uint64_t)i % 7, DAY);
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
	add(1, DAY);
	add(1, DAY);
	assert_int_equal(next_at(S, &wait_us), 1);
	assert_int_equal(next_at(1000 * S, &wait_us), 2);
	add(1, DAY);
	assert_int_equal(next_at(1000 * S, &wait_us), 0);
}

static void
test_new_ones_go_between(void **state)
{
	int64_t wait_us;

	(void)state;
	pick.old_per_s = 0; // even without a limit: a slow peer's time is shared
	for (int i = 0; i < 3; i++)
		add(1, DAY); // 1 2 3
	for (int i = 0; i < 3; i++)
		add(2, 0);   // 4 5 6
	assert_int_equal(next_at(S, &wait_us), 1);
	assert_int_equal(next_at(S, &wait_us), 4);
	assert_int_equal(next_at(S, &wait_us), 2);
	assert_int_equal(next_at(S, &wait_us), 5);
	assert_int_equal(next_at(S, &wait_us), 3);
	assert_int_equal(next_at(S, &wait_us), 6);
}

// A device with old messages is of the old lane: its new ones never overtake them.
static void
test_order_of_a_device_is_kept(void **state)
{
	uint64_t last[8] = { 0 }, device_of[401];
	unsigned random = 7, picked = 0;
	int64_t wait_us, at = S;

	(void)state;
	for (uint64_t i = 1; i <= 400; i++) {
		random = random * 1103515245 + 12345;
		device_of[i] = 1 + (random >> 16) % 7;
		add(device_of[i], (random >> 20) % 3 == 0 ? DAY : 0);
	}
	while (picked < 400) {
		uint64_t number = next_at(at, &wait_us);

		if (number == 0) {
			at += wait_us;
			continue;
		}
		assert_true(number > last[device_of[number]]);
		last[device_of[number]] = number;
		picked++;
	}
	assert_null(outbox.first);
}

// What a restart found is not known by device: nothing overtakes it, and it is as old as the message.
static void
test_after_a_restart_the_list_s_order_holds(void **state)
{
	int64_t wait_us;

	(void)state;
	add(0, 0);
	add(2, 0);
	add(0, 0);
	add(3, 0);
	for (uint64_t i = 1; i <= 4; i++)
		assert_int_equal(next_at(S, &wait_us), i);
	add(1, DAY); // 5
	add(0, 0);   // 6
	add(2, 0);   // 7
	assert_int_equal(next_at(1001 * S, &wait_us), 5);
	assert_int_equal(next_at(1001 * S, &wait_us), 6);
	assert_int_equal(next_at(1001 * S, &wait_us), 7);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_new_ones_go_at_once_in_order, begin, finish),
		cmocka_unit_test_setup_teardown(test_old_ones_go_as_fast_as_the_limit_says, begin, finish),
		cmocka_unit_test_setup_teardown(test_an_idle_time_gives_no_burst, begin, finish),
		cmocka_unit_test_setup_teardown(test_new_ones_go_between, begin, finish),
		cmocka_unit_test_setup_teardown(test_order_of_a_device_is_kept, begin, finish),
		cmocka_unit_test_setup_teardown(test_after_a_restart_the_list_s_order_holds, begin, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
