// SPDX-License-Identifier: Apache-2.0
// Runs the tests of the patched libraries: all of them, or the one named; --list prints their names.
#include <stdio.h>

#include "fixture.h"

enum { TESTS_MAX = 64 };

static struct CMUnitTest all[TESTS_MAX];
static size_t count;

static void collect(const struct CMUnitTest *table, const char *only)
{
	for (; table->name; table++)
		if (!only || strcmp(table->name, only) == 0)
			all[count++] = *table;
}

int main(int argc, char **argv)
{
	bool list = argc > 1 && strcmp(argv[1], "--list") == 0;
	const char *only = argc > 1 && !list ? argv[1] : NULL;
	collect(session_tests, only);
	collect(handshake_tests, only);
	collect(message_tests, only);
	collect(attack_tests, only);
	if (list) {
		for (size_t i = 0; i < count; i++)
			puts(all[i].name);
		return 0;
	}
	if (count == 0) {
		fprintf(stderr, "no test is called %s (--list prints them)\n", only);
		return 2;
	}
	certs_make();
	return _cmocka_run_group_tests("libraries", all, count, NULL, NULL);
}
