// SPDX-License-Identifier: Apache-2.0
// Long work on the series store lets whoever changes the parts have its turn between two pieces, and tells that the store is another one then.
#include "gateway/clock.h"
#include "gateway/daemon.h"
#include "gateway/series_lease.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static atomic_bool had_it;

static void *
reload(void *arg)
{
	(void)arg;
	pthread_rwlock_wrlock(&lock);
	atomic_store(&had_it, true);
	pthread_rwlock_unlock(&lock);
	return NULL;
}

static void
who_changes_the_parts_has_its_turn(void **state)
{
	struct gw_parts parts = { .lock = &lock };
	struct gw_why why = { "" };
	struct gw_call call = { .parts = &parts, .why = &why };
	struct gw_series_lease lease;
	int64_t until_us = gw_clock_mono_us() + 60000000;
	pthread_t other;

	gw_series_lease_hold(&lease, &call);
	assert_true(lease.held);
	assert_true(gw_series_lease_breathe(&lease)); // a piece is not over yet
	assert_int_equal(pthread_create(&other, NULL, reload, NULL), 0);
	while (!atomic_load(&had_it) && gw_clock_mono_us() < until_us)
		(void)gw_series_lease_breathe(&lease);
	assert_true(atomic_load(&had_it));
	assert_true(lease.lost); // no store runs here
	gw_series_lease_release(&lease);
	pthread_join(other, NULL);
	assert_int_equal(pthread_rwlock_trywrlock(&lock), 0);
	pthread_rwlock_unlock(&lock);
	(void)state;
}

static void
without_a_gateway_nothing_is_held(void **state)
{
	struct gw_why why = { "" };
	struct gw_call call = { .why = &why };
	struct gw_series_lease lease;

	gw_series_lease_hold(&lease, &call);
	assert_false(lease.held);
	assert_true(gw_series_lease_breathe(&lease));
	gw_series_lease_release(&lease);
	(void)state;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_changes_the_parts_has_its_turn),
		cmocka_unit_test(without_a_gateway_nothing_is_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
