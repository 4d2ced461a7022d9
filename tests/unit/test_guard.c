// SPDX-License-Identifier: Apache-2.0
// Failures by address slow down that address's next handshakes, by a bounded time, and nobody else's.
#include "gateway/guard.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct gw_guard guard;

static int
begin(void **state)
{
	(void)state;
	memset(&guard, 0, sizeof(guard));
	guard.free = 20;
	guard.slowed_per_s = 100;
	return 0;
}

static void
test_some_failures_cost_nothing(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++)
		gw_guard_failed(&guard, 7, 1000000);
	for (int i = 0; i < 100; i++)
		assert_int_equal(gw_guard_wait_us(&guard, 7, 1000000), 0);
}

static void
test_more_of_them_slow_down_by_a_bounded_time(void **state)
{
	int64_t now = 1000000, wait, before = 0;

	(void)state;
	for (int i = 0; i < 10000; i++)
		gw_guard_failed(&guard, 7, now);
	assert_int_equal(gw_guard_wait_us(&guard, 7, now), 0); // one may begin,
	wait = gw_guard_wait_us(&guard, 7, now);               // the next a hundredth of a second later
	assert_in_range(wait, 9000, 10000);
	assert_int_equal(gw_guard_wait_us(&guard, 8, now), 0); // others at once
	assert_int_equal(gw_guard_wait_us(&guard, 8, now), 0);
	assert_int_equal(gw_guard_wait_us(&guard, 7, now + wait), 0);
	// In proportion: few failures beyond what is free cost little.
	for (int failures = 25; failures <= 100; failures += 25) {
		begin(NULL);
		for (int i = 0; i < failures; i++)
			gw_guard_failed(&guard, 9, now);
		assert_int_equal(gw_guard_wait_us(&guard, 9, now), 0);
		wait = gw_guard_wait_us(&guard, 9, now);
		assert_true(wait > before && wait <= 10000);
		before = wait;
	}
}

static void
test_it_is_forgotten(void **state)
{
	int64_t now = 1000000;

	(void)state;
	for (int i = 0; i < 80; i++)
		gw_guard_failed(&guard, 7, now);
	assert_int_equal(gw_guard_wait_us(&guard, 7, now), 0);
	assert_true(gw_guard_wait_us(&guard, 7, now) > 0);
	now += 2 * GW_GUARD_HALF_S * INT64_C(1000000) + 1;
	assert_int_equal(gw_guard_wait_us(&guard, 7, now), 0);
	assert_int_equal(gw_guard_wait_us(&guard, 7, now), 0);
}

// Two hundred devices and one that fails as fast as it is let: all are in within a few seconds.
static void
test_a_ward_behind_one_address(void **state)
{
	int64_t now = 1000000, began = now;
	int in = 0, hammers = 0;

	(void)state;
	for (int i = 0; i < 1000; i++)
		gw_guard_failed(&guard, 7, now);
	while (in < 200) {
		for (int64_t wait; (wait = gw_guard_wait_us(&guard, 7, now)) > 0;)
			now += wait;
		if (++hammers % 2 == 0)
			in++;
		else
			gw_guard_failed(&guard, 7, now);
	}
	assert_true(now - began < 5000000);
}

static void
test_many_addresses_need_no_more_memory(void **state)
{
	(void)state;
	for (uint64_t address = 1; address < 100000; address++)
		gw_guard_failed(&guard, address, 1000000);
	for (int i = 0; i < 100; i++)
		gw_guard_failed(&guard, 123456789, 1000000);
	for (uint64_t address = 200000; address < 300000; address++)
		gw_guard_failed(&guard, address, 1000000);
	assert_int_equal(gw_guard_wait_us(&guard, 123456789, 1000000), 0);
	assert_true(gw_guard_wait_us(&guard, 123456789, 1000000) > 0); // who fails most is not the one that is forgotten
	guard.slowed_per_s = 0;
	assert_int_equal(gw_guard_wait_us(&guard, 123456789, 1000000), 0);
	assert_int_equal(gw_guard_wait_us(&guard, 0, 1000000), 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_some_failures_cost_nothing, begin),
		cmocka_unit_test_setup(test_more_of_them_slow_down_by_a_bounded_time, begin),
		cmocka_unit_test_setup(test_it_is_forgotten, begin),
		cmocka_unit_test_setup(test_a_ward_behind_one_address, begin),
		cmocka_unit_test_setup(test_many_addresses_need_no_more_memory, begin),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
