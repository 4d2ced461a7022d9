// SPDX-License-Identifier: Apache-2.0
// MLLP framing: whole, byte by byte, in every split; junk around frames, peers that leave bytes out, messages that are too large.
#include "adapters/hl7/mllp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#define SPAN(literal) gw_span(literal, sizeof(literal) - 1)

struct taken {
	char text[256];
	size_t messages;
	bool too_large;
};

static void
feed(struct gw_hl7_mllp *mllp, struct gw_span in, struct taken *taken)
{
	struct gw_span message;

	for (;;) {
		switch (gw_hl7_mllp_feed(mllp, &in, &message)) {
		case GW_HL7_MLLP_MORE:
			assert_int_equal(in.len, 0);
			return;
		case GW_HL7_MLLP_TOO_LARGE:
			taken->too_large = true;
			break;
		case GW_HL7_MLLP_FRAME:
			assert_true(strlen(taken->text) + message.len + 2 < sizeof(taken->text));
			strncat(taken->text, (const char *)message.at, message.len);
			strcat(taken->text, ";");
			taken->messages++;
		}
	}
}

// The same messages, however the bytes are cut.
static void
check(struct gw_span in, const char *expected)
{
	uint8_t buf[32];
	struct gw_hl7_mllp mllp;
	struct taken whole = { "" }, bytes = { "" };

	gw_hl7_mllp_init(&mllp, buf, sizeof(buf));
	feed(&mllp, in, &whole);
	assert_string_equal(whole.text, expected);
	gw_hl7_mllp_init(&mllp, buf, sizeof(buf));
	for (size_t i = 0; i < in.len; i++)
		feed(&mllp, gw_span(in.at + i, 1), &bytes);
	assert_string_equal(bytes.text, expected);
	for (size_t cut = 0; cut <= in.len; cut++) {
		struct taken halves = { "" };

		gw_hl7_mllp_init(&mllp, buf, sizeof(buf));
		feed(&mllp, gw_span(in.at, cut), &halves);
		feed(&mllp, gw_span(in.at + cut, in.len - cut), &halves);
		assert_string_equal(halves.text, expected);
	}
}

static void
test_frames(void **state)
{
	(void)state;
	check(SPAN("\x0b" "MSH|a\r" "\x1c\r"), "MSH|a\r;");
	check(SPAN("\x0b" "one" "\x1c\r" "\x0b" "two" "\x1c\r"), "one;two;");
	check(SPAN("\x0b" "\x1c\r"), ";");
	check(SPAN("\x0b" "half"), "");
	check(SPAN("no frame at all\r\n"), "");
}

static void
test_peers_that_differ(void **state)
{
	(void)state;
	check(SPAN("\x0b" "one" "\x1c" "\x0b" "two" "\x1c"), "one;two;");           // no 0x0D
	check(SPAN("\r\n" "\x0b" "one" "\x1c\r\n" "\x0b" "two" "\x1c\r"), "one;two;"); // line ends between
	check(SPAN("junk" "\x0b" "one" "\x1c\r"), "one;");
	check(SPAN("\x0b" "given up" "\x0b" "one" "\x1c\r"), "one;");
	check(SPAN("\x0b" "\x06" "\x1c\r" "\x0b" "one" "\x1c\r"), "\x06;one;");      // MLLP release 2
}

static void
test_skipped_bytes_are_counted(void **state)
{
	uint8_t buf[32];
	struct gw_hl7_mllp mllp;
	struct taken taken = { "" };

	(void)state;
	gw_hl7_mllp_init(&mllp, buf, sizeof(buf));
	feed(&mllp, SPAN("HTTP/1.1\r\n" "\x0b" "one" "\x1c\r" "xy"), &taken);
	assert_int_equal(mllp.skipped, 10);
}

static void
test_a_message_fits_exactly_or_is_too_large(void **state)
{
	uint8_t buf[4];
	struct gw_hl7_mllp mllp;
	struct taken taken = { "" };

	(void)state;
	gw_hl7_mllp_init(&mllp, buf, sizeof(buf));
	feed(&mllp, SPAN("\x0b" "four" "\x1c\r"), &taken);
	assert_string_equal(taken.text, "four;");
	assert_false(taken.too_large);
	for (const char *at = "\x0b" "five5"; *at != '\0'; at++)
		feed(&mllp, gw_span(at, 1), &taken);
	assert_true(taken.too_large);
	// What follows is read as if nothing had been there.
	feed(&mllp, SPAN("\x1c\r" "\x0b" "ok" "\x1c\r"), &taken);
	assert_string_equal(taken.text, "four;ok;");
}

static void
test_a_new_connection_begins_afresh(void **state)
{
	uint8_t buf[32];
	struct gw_hl7_mllp mllp;
	struct taken taken = { "" };

	(void)state;
	gw_hl7_mllp_init(&mllp, buf, sizeof(buf));
	feed(&mllp, SPAN("\x0b" "half of"), &taken);
	gw_hl7_mllp_reset(&mllp);
	feed(&mllp, SPAN(" the old one" "\x1c\r" "\x0b" "new" "\x1c\r"), &taken);
	assert_string_equal(taken.text, "new;");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_frames),
		cmocka_unit_test(test_peers_that_differ),
		cmocka_unit_test(test_skipped_bytes_are_counted),
		cmocka_unit_test(test_a_message_fits_exactly_or_is_too_large),
		cmocka_unit_test(test_a_new_connection_begins_afresh),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
