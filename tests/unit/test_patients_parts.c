// SPDX-License-Identifier: Apache-2.0
// The parts below patients and associations: the hash table and lines of intervals, against naive ones.
#include "gateway/patients_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define ITEMS 200
#define INTERVALS 40

static uint64_t seed = 1;

static unsigned
dice(unsigned sides)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % sides;
}

static bool
is_item(const void *item, const void *key)
{
	return item == key;
}

// Few hashes for many items: everything collides, and what is taken out leaves no gap that hides another.
static void
test_table(void **state)
{
	static int items[ITEMS];
	static uint64_t hashes[ITEMS];
	static bool in[ITEMS];
	struct table table = { 0 };
	unsigned count = 0;

	(void)state;
	for (int i = 0; i < ITEMS; i++)
		hashes[i] = dice(4) == 0 ? UINT64_MAX - dice(3) : dice(40);
	for (int round = 0; round < 20000; round++) {
		unsigned one = dice(ITEMS), other = dice(ITEMS);

		if (!in[one])
			assert_true(gw_table_add(&table, hashes[one], &items[one]));
		else
			gw_table_remove(&table, hashes[one], &items[one]);
		in[one] = !in[one];
		count += in[one] ? 1 : -1u;
		assert_int_equal(table.count, count);
		assert_ptr_equal(gw_table_find(&table, hashes[other], is_item, &items[other]), in[other] ? &items[other] : NULL);
	}
	for (int i = 0; i < ITEMS; i++)
		assert_ptr_equal(gw_table_find(&table, hashes[i], is_item, &items[i]), in[i] ? &items[i] : NULL);
	free(table.slots);
}

static struct interval
random_interval(int *things)
{
	int64_t from = dice(60);

	return (struct interval){ .from_us = from, .to_us = dice(6) == 0 ? GW_TIME_OPEN : from + 1 + dice(20), .what = &things[dice(3)] };
}

static void
look_naive(const struct interval *all, const bool *in, int64_t us, struct look *look)
{
	*look = (struct look){ .from_us = INT64_MIN, .to_us = GW_TIME_OPEN };
	for (int i = 0; i < INTERVALS; i++) {
		const int64_t ends[2] = { all[i].from_us, all[i].to_us };

		for (int e = 0; in[i] && e < 2; e++) {
			if (ends[e] <= us && ends[e] > look->from_us)
				look->from_us = ends[e];
			if (ends[e] > us && ends[e] < look->to_us)
				look->to_us = ends[e];
		}
		if (!in[i] || us < all[i].from_us || us >= all[i].to_us)
			continue;
		look->clash |= look->last != NULL && look->last->what != all[i].what;
		if (look->last == NULL || all[i].from_us > look->last->from_us)
			look->last = &all[i];
	}
}

static void
test_line(void **state)
{
	struct interval all[INTERVALS];
	bool in[INTERVALS] = { false };
	struct line line = { 0 };
	int things[3];

	(void)state;
	for (int i = 0; i < INTERVALS; i++) {
		all[i] = random_interval(things);
		for (int j = 0; j < i; j++) {
			if (gw_interval_same(&all[i], &all[j]))
				all[i].note = (const struct note *)(const void *)&all[i]; // no two alike
		}
	}
	for (int round = 0; round < 5000; round++) {
		unsigned one = dice(INTERVALS);
		int64_t us = (int64_t)dice(90) - 5;
		struct look got, wanted;

		if (!in[one])
			assert_true(gw_line_add(&line, &all[one]));
		else
			gw_line_remove(&line, &all[one]);
		in[one] = !in[one];
		gw_line_look(&line, us, &got);
		look_naive(all, in, us, &wanted);
		assert_true(got.from_us == wanted.from_us && got.to_us == wanted.to_us && got.clash == wanted.clash);
		assert_int_equal(got.last != NULL, wanted.last != NULL);
		if (got.last != NULL)
			assert_true(got.last->from_us == wanted.last->from_us);
	}
	free(line.at);
}

// Wherever two lines answer differently lies within the range that is told.
static void
test_differ(void **state)
{
	int things[3];

	(void)state;
	for (int round = 0; round < 2000; round++) {
		struct line a = { 0 }, b = { 0 };
		int64_t from, to;
		bool differ;

		for (unsigned i = 0, count = dice(6); i < count; i++) {
			struct interval one = random_interval(things);

			assert_true(dice(5) == 0 || gw_line_add(&a, &one));
			if (dice(5) == 0 && one.to_us != GW_TIME_OPEN)
				one.to_us += dice(4);
			assert_true(dice(5) == 0 || gw_line_add(&b, &one));
		}
		differ = gw_line_differ(&a, &b, &from, &to);
		for (int64_t us = 0; us < 90; us++) {
			struct look x, y;

			gw_line_look(&a, us, &x);
			gw_line_look(&b, us, &y);
			if (x.clash != y.clash || (x.last != NULL) != (y.last != NULL) || (x.last != NULL && x.last->what != y.last->what && !x.clash))
				assert_true(differ && us >= from && us < to);
		}
		free(a.at);
		free(b.at);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_table), cmocka_unit_test(test_line), cmocka_unit_test(test_differ) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
