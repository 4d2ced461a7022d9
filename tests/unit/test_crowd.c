// SPDX-License-Identifier: Apache-2.0
// Counting by name: joins and leaves of many names in few slots, and which addresses are one.
#include "gateway/crowd.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void
test_counts(void **state)
{
	struct gw_crowd crowd;
	char name[16];

	(void)state;
	assert_true(gw_crowd_init(&crowd, 0));
	for (int round = 1; round <= 3; round++)
		for (int i = 0; i < 1000; i++) {
			snprintf(name, sizeof(name), "n%d", i);
			assert_int_equal(gw_crowd_join(&crowd, gw_span_text(name)), GW_OK);
			assert_int_equal(gw_crowd_count(&crowd, gw_span_text(name)), round);
		}
	for (int i = 0; i < 1000; i += 2) {
		snprintf(name, sizeof(name), "n%d", i);
		for (uint32_t left = 3; left-- > 0;) {
			gw_crowd_leave(&crowd, gw_span_text(name));
			assert_int_equal(gw_crowd_count(&crowd, gw_span_text(name)), left);
		}
	}
	assert_int_equal(gw_crowd_count(&crowd, gw_span_text("n999")), 3);
	assert_int_equal(gw_crowd_count(&crowd, gw_span_text("n")), 0);
	gw_crowd_fini(&crowd);
}

static uint64_t
of(const char *text, uint16_t port)
{
	struct sockaddr_in four = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 six = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	if (inet_pton(AF_INET, text, &four.sin_addr) == 1)
		return gw_crowd_address((const struct sockaddr *)(const void *)&four);
	assert_int_equal(inet_pton(AF_INET6, text, &six.sin6_addr), 1);
	return gw_crowd_address((const struct sockaddr *)(const void *)&six);
}

static void
test_addresses(void **state)
{
	(void)state;
	assert_int_equal(of("127.0.0.1", 1), of("127.0.0.1", 2));
	assert_int_equal(of("127.0.0.1", 1), of("::ffff:127.0.0.1", 2));
	assert_int_not_equal(of("127.0.0.1", 1), of("127.0.0.2", 1));
	assert_int_equal(of("2001:db8:0:1::1", 1), of("2001:db8:0:1:ffff::9", 2));
	assert_int_not_equal(of("2001:db8:0:1::1", 1), of("2001:db8:0:2::1", 1));
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_counts), cmocka_unit_test(test_addresses) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
