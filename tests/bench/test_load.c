// SPDX-License-Identifier: Apache-2.0
// The generator's own arithmetic: a benchmark that mis-measures or sends one message twice under two
// names would be worse than none.
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "load.h"

static void
percentiles(void **state)
{
	(void)state;
	struct load_latency *h = calloc(1, sizeof *h);

	for (uint64_t ms = 1; ms <= 1000; ms++)
		load_latency_add(h, ms * 1000000);
	assert_int_equal(h->count, 1000);
	assert_true(load_latency_ms(h, 0.5) > 480 && load_latency_ms(h, 0.5) < 520);
	assert_true(load_latency_ms(h, 0.99) > 960 && load_latency_ms(h, 0.99) <= 1000);
	assert_true(load_latency_ms(h, 1.0) <= 1000.0);
	free(h);
}

static void
extremes(void **state)
{
	(void)state;
	struct load_latency *h = calloc(1, sizeof *h);

	assert_true(load_latency_ms(h, 0.5) == 0);
	load_latency_add(h, 0);
	load_latency_add(h, 31);
	load_latency_add(h, 32);
	load_latency_add(h, UINT64_MAX);
	assert_int_equal(h->count, 4);
	assert_int_equal(h->max_ns, UINT64_MAX);
	free(h);
}

static struct load_template
template(const char *name, const char *text)
{
	struct load_template t = { 0 };
	char path[64];
	snprintf(path, sizeof path, "bench-template-%d-%s", (int)getpid(), name);
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
	assert_true(load_template_read(&t, path));
	unlink(path);
	return t;
}

static void
text_fields(void **state)
{
	(void)state;
	uint8_t bytes[1024];
	struct load_frame f = { 0 };
	struct load_template t = template("a.json", "{device} {seq} {ms} {s}.{mmm} {value}!\n");
	size_t size = load_template_render(&t, "bench-00007", bytes, 0, sizeof bytes, &f);

	assert_int_equal(f.patches, 5);
	load_frame_stamp(&f, bytes, 42, 1763629200123);
	static const char want[] = "bench-00007 10000042 1763629200123 1763629200.123 94.2!";
	assert_int_equal(size, sizeof want - 1);
	assert_memory_equal(bytes, want, size);
	load_frame_stamp(&f, bytes, 43, 1763629200124);
	assert_memory_equal(bytes + 12, "10000043 1763629200124 1763629200.124 94.3", 42);
	free(t.text);
}

static void
binary_fields(void **state)
{
	(void)state;
	uint8_t bytes[1024];
	struct load_frame f = { 0 };
	struct load_template t = template("b.hex", "a1 {device} # a comment\nfb {f64} 19 {u16}\n");
	size_t size = load_template_render(&t, "ab", bytes, 0, sizeof bytes, &f);
	static const uint8_t want[] = { 0xa1, 0x62, 'a', 'b', 0xfb, 0x3f, 0xf8, 0, 0, 0, 0, 0, 0,
	                                0x19, 0x03, 0x85 };

	load_frame_stamp(&f, bytes, 1, 1500);
	assert_int_equal(size, sizeof want);
	assert_memory_equal(bytes, want, size);
	free(t.text);
}

static void
too_much(void **state)
{
	(void)state;
	uint8_t bytes[256];
	struct load_frame f = { 0 };
	struct load_template many = template("c.json", "{s}{s}{s}{s}{s}{s}{s}{s}{s}");
	struct load_template wrong = template("d.hex", "a1 zz");

	assert_int_equal(load_template_render(&many, "x", bytes, 0, sizeof bytes, &f), 0);
	f.patches = 0;
	assert_int_equal(load_template_render(&wrong, "x", bytes, 0, sizeof bytes, &f), 0);
	assert_int_equal(load_template_render(&many, "x", bytes, 200, sizeof bytes, &f), 0);
	free(many.text);
	free(wrong.text);
}

static void
patterns(void **state)
{
	(void)state;
	char name[16];

	assert_true(load_pattern(name, sizeof name, "bench-%05d", 7));
	assert_string_equal(name, "bench-00007");
	assert_true(load_pattern(name, sizeof name, "a%db", 123));
	assert_string_equal(name, "a123b");
	assert_true(load_pattern(name, sizeof name, "same", 1));
	assert_string_equal(name, "same");
	assert_false(load_pattern(name, sizeof name, "bench-%s", 7));
	assert_false(load_pattern(name, sizeof name, "much-too-long-%05d", 7));
	assert_true(load_text_render(name, sizeof name, "a/{device}/b", "dev"));
	assert_string_equal(name, "a/dev/b");
	assert_false(load_text_render(name, sizeof name, "a/{device}/b", "a-long-device"));
}

static void
own_process(void **state)
{
	(void)state;
	struct load_server s = load_server_sample(getpid());

	assert_true(s.rss_kb > 0);
	for (volatile unsigned long i = 0; load_server_sample(getpid()).cpu_s <= s.cpu_s; i++)
		;
	assert_int_equal(load_server_sample(0).rss_kb, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(percentiles), cmocka_unit_test(extremes), cmocka_unit_test(text_fields),
		cmocka_unit_test(binary_fields), cmocka_unit_test(too_much), cmocka_unit_test(patterns),
		cmocka_unit_test(own_process),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
