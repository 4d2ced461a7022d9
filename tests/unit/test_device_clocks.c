// SPDX-License-Identifier: Apache-2.0
// Figures of all devices' clocks: found by name, bounded, and fed and read by several threads at once.
#include "gateway/device_clocks.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#define T0 INT64_C(1795162500000000)
#define S INT64_C(1000000)

static void
give(struct gw_device_clocks *clocks, const char *device, int64_t received_us, int64_t time_us, uint16_t flags)
{
	struct gw_reading readings[2] = { { .time_us = time_us - S, .flags = flags }, { .time_us = time_us, .flags = flags } };

	gw_device_clocks_take(clocks, gw_span_text(device), received_us, readings, 2);
}

static void
test_by_name(void **state)
{
	struct gw_device_clocks *clocks = gw_device_clocks_new();
	struct gw_clock_shown shown;

	(void)state;
	assert_false(gw_device_clocks_shown(clocks, gw_span_text("a"), &shown));
	give(clocks, "a", T0, T0, GW_FLAG_NO_DEVICE_TIME);
	assert_false(gw_device_clocks_shown(clocks, gw_span_text("a"), &shown));
	for (int64_t t = 0; t < 120 * S; t += S) {
		give(clocks, "a", T0 + t, T0 + t, 0);
		give(clocks, "b", T0 + t, T0 + t + 3600 * S, 0);
	}
	assert_true(gw_device_clocks_shown(clocks, gw_span_text("a"), &shown));
	assert_true(shown.known && shown.offset_us == 0);
	assert_true(gw_device_clocks_shown(clocks, gw_span_text("b"), &shown));
	assert_true(shown.known && shown.offset_us == -3600 * S && shown.received_us == T0 + 119 * S);
	gw_device_clocks_free(clocks);
	gw_device_clocks_free(NULL);
}

static void
test_no_more_than_the_limit(void **state)
{
	struct gw_device_clocks *clocks = gw_device_clocks_new();
	struct gw_clock_shown shown;
	char name[16];

	(void)state;
	for (unsigned i = 0; i < GW_DEVICE_CLOCKS_MAX + 100; i++) {
		snprintf(name, sizeof(name), "d%u", i);
		give(clocks, name, T0 + i, T0, 0);
		assert_int_equal(gw_device_clocks_shown(clocks, gw_span_text(name), &shown), i < GW_DEVICE_CLOCKS_MAX);
	}
	assert_true(gw_device_clocks_shown(clocks, gw_span_text("d77"), &shown));
	assert_int_equal(shown.received_us, T0 + 77);
	gw_device_clocks_free(clocks);
}

static void *
feed(void *arg)
{
	char name[16];

	for (int64_t i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "d%d", (int)(i % 500));
		give(arg, name, T0 + i * S, T0 + i * S, 0);
	}
	return NULL;
}

static void
test_many_threads(void **state)
{
	struct gw_device_clocks *clocks = gw_device_clocks_new();
	struct gw_clock_shown shown;
	pthread_t threads[4];
	char name[16];

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, feed, clocks), 0);
	for (int i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "d%d", i % 500);
		if (gw_device_clocks_shown(clocks, gw_span_text(name), &shown))
			assert_true(shown.received_us >= T0);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "d%d", i);
		assert_true(gw_device_clocks_shown(clocks, gw_span_text(name), &shown));
	}
	gw_device_clocks_free(clocks);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_by_name),
		cmocka_unit_test(test_no_more_than_the_limit),
		cmocka_unit_test(test_many_threads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
