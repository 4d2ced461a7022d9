// SPDX-License-Identifier: Apache-2.0
// Diagnostics: one line and one write an event, whatever is in it; a flood is counted, not written.
#include "gateway/clock.h"
#include "gateway/diag.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <yyjson.h>

#include <cmocka.h>

static int ends[2], saved;

// What was written to standard error since the last call; a packet of the pipe is one write.
static const char *
written(void)
{
	static char text[8192];
	ssize_t len = read(ends[0], text, sizeof(text) - 1);

	text[len > 0 ? len : 0] = '\0';
	return text;
}

static int
set_up(void **state)
{
	(void)state;
	saved = dup(STDERR_FILENO);
	return pipe2(ends, O_DIRECT | O_NONBLOCK) == 0 && dup2(ends[1], STDERR_FILENO) >= 0 ? 0 : -1;
}

static int
tear_down(void **state)
{
	(void)state;
	dup2(saved, STDERR_FILENO);
	gw_clock_fake_wall(INT64_MIN);
	close(ends[0]);
	close(ends[1]);
	return close(saved);
}

static void
test_text(void **state)
{
	(void)state;
	gw_clock_fake_wall(INT64_C(1700000000250000));
	gw_diag_open(false, GW_INFO);
	gw_diag(GW_NOTICE, "test.event", "client=%s n=%d", "a\"\\b\nc\x7f", 7);
	assert_string_equal(written(), "2023-11-14T22:13:20.250Z notice test.event: client=a\"\\b\\u000ac\\u007f n=7\n");
	gw_diag(GW_DEBUG, "test.event", "not wanted");
	assert_string_equal(written(), "");
}

static void
test_json(void **state)
{
	char words[1000];
	yyjson_doc *doc;
	const char *line;

	(void)state;
	gw_clock_fake_wall(INT64_C(1700000000000000));
	gw_diag_open(true, GW_DEBUG);
	gw_diag(GW_ERROR, "test.event", "%s", "a\"\\\n\xFFz\xC3\xA4");
	assert_string_equal(written(),
	    "{\"time\":\"2023-11-14T22:13:20Z\",\"level\":\"error\",\"event\":\"test.event\",\"text\":\"a\\\"\\\\\\u000a\xEF\xBF\xBDz\xC3\xA4\"}\n");
	// More than is kept, of what grows most, and cut inside a character: one line of JSON all the same.
	for (int shift = 0; shift < 3; shift++) {
		for (int kind = 0; kind < 2; kind++) {
			memset(words, 'x', sizeof(words));
			for (size_t i = (size_t)shift; i + 2 < sizeof(words); i += 2)
				memcpy(words + i, kind == 0 ? "\xC3\xA4" : "\x01\xFF", 2);
			words[sizeof(words) - 1] = '\0';
			gw_diag(GW_DEBUG, "test.event", "%s", words);
			line = written();
			assert_int_equal(strcspn(line, "\n") + 1, strlen(line));
			doc = yyjson_read(line, strlen(line), 0);
			assert_non_null(doc);
			yyjson_doc_free(doc);
		}
	}
}

static void
test_flood(void **state)
{
	struct gw_diag_limit limit = { 0 };

	(void)state;
	gw_diag_open(false, GW_INFO);
	for (int i = 0; i < 100; i++)
		gw_diag_limited(&limit, 3600, GW_WARNING, "test.flood", "number %d", i);
	assert_non_null(strstr(written(), "number 0\n"));
	assert_string_equal(written(), "");
	limit.last_us = 0; // an hour later
	gw_diag_limited(&limit, 3600, GW_WARNING, "test.flood", "number %d", 100);
	assert_non_null(strstr(written(), "number 100 (and 99 more like it)\n"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_text, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_json, set_up, tear_down),
		cmocka_unit_test_setup_teardown(test_flood, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
