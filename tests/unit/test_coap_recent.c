// SPDX-License-Identifier: Apache-2.0
// What one session sent last: copies are known, other content under the same message ID is not a copy, memory stays bounded.
#include "adapters/coap/recent.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

enum { PENDING_MAX = 100 }; // no power of two

static void
test_a_copy_is_known_while_pending_and_after(void **state)
{
	struct gw_coap_recent recent = { 0 };
	uint32_t first, copy;

	(void)state;
	assert_int_equal(gw_coap_recent_look(&recent, 7, 100, 10, PENDING_MAX, &first), GW_COAP_SEEN_NEW);
	assert_int_equal(gw_coap_recent_look(&recent, 7, 100, 12, PENDING_MAX, &copy), GW_COAP_SEEN_PENDING);
	gw_coap_recent_answered(&recent, first, 0x44, 1234567, gw_span_text(""));
	assert_int_equal(gw_coap_recent_look(&recent, 7, 100, 13, PENDING_MAX, &copy), GW_COAP_SEEN_ANSWERED);
	assert_int_equal(gw_coap_recent_at(&recent, copy)->code, 0x44);
	assert_int_equal(gw_coap_recent_at(&recent, copy)->stamp_us, 1234567);
	assert_null(gw_coap_recent_at(&recent, copy)->text);
	gw_coap_recent_fini(&recent);
}

static void
test_the_diagnostic_text_comes_again(void **state)
{
	struct gw_coap_recent recent = { 0 };
	char text[] = "field hr: no number";
	uint32_t first, copy;

	(void)state;
	assert_int_equal(gw_coap_recent_look(&recent, 7, 100, 10, PENDING_MAX, &first), GW_COAP_SEEN_NEW);
	gw_coap_recent_answered(&recent, first, 0x80, 0, gw_span_text(text));
	memset(text, 'x', 5);
	assert_int_equal(gw_coap_recent_look(&recent, 7, 100, 11, PENDING_MAX, &copy), GW_COAP_SEEN_ANSWERED);
	assert_string_equal(gw_coap_recent_at(&recent, copy)->text, "field hr: no number");
	gw_coap_recent_fini(&recent);
}

static void
test_other_content_or_another_id_is_new(void **state)
{
	struct gw_coap_recent recent = { 0 };
	uint32_t handle;

	(void)state;
	assert_int_equal(gw_coap_recent_look(&recent, 7, 100, 10, PENDING_MAX, &handle), GW_COAP_SEEN_NEW);
	assert_int_equal(gw_coap_recent_look(&recent, 7, 101, 10, PENDING_MAX, &handle), GW_COAP_SEEN_NEW);
	assert_int_equal(gw_coap_recent_look(&recent, 8, 100, 10, PENDING_MAX, &handle), GW_COAP_SEEN_NEW);
	gw_coap_recent_fini(&recent);
}

static void
test_an_answer_is_forgotten_after_the_exchange_lifetime(void **state)
{
	struct gw_coap_recent recent = { 0 };
	uint32_t handle;

	(void)state;
	assert_int_equal(gw_coap_recent_look(&recent, 7, 100, 10, PENDING_MAX, &handle), GW_COAP_SEEN_NEW);
	gw_coap_recent_answered(&recent, handle, 0x44, 0, gw_span_text(""));
	assert_int_equal(gw_coap_recent_look(&recent, 7, 100, 10 + GW_COAP_EXCHANGE_S - 1, PENDING_MAX, &handle), GW_COAP_SEEN_ANSWERED);
	assert_int_equal(gw_coap_recent_look(&recent, 7, 100, 10 + GW_COAP_EXCHANGE_S, PENDING_MAX, &handle), GW_COAP_SEEN_NEW);
	gw_coap_recent_fini(&recent);
}

static void
test_what_was_not_stored_may_come_again(void **state)
{
	struct gw_coap_recent recent = { 0 };
	uint32_t handle;

	(void)state;
	assert_int_equal(gw_coap_recent_look(&recent, 7, 100, 10, PENDING_MAX, &handle), GW_COAP_SEEN_NEW);
	gw_coap_recent_forget(&recent, handle);
	assert_int_equal(gw_coap_recent_look(&recent, 7, 100, 11, PENDING_MAX, &handle), GW_COAP_SEEN_NEW);
	gw_coap_recent_fini(&recent);
}

static void
test_one_at_a_time_keeps_the_usual_number(void **state)
{
	struct gw_coap_recent recent = { 0 };
	uint32_t handle;

	(void)state;
	for (uint16_t mid = 0; mid < 1000; mid++) {
		assert_int_equal(gw_coap_recent_look(&recent, mid, mid, 10, PENDING_MAX, &handle), GW_COAP_SEEN_NEW);
		gw_coap_recent_answered(&recent, handle, 0x44, mid, gw_span_text(""));
	}
	assert_int_equal(recent.cap, GW_COAP_RECENT_USUAL);
	for (uint16_t mid = 1000 - GW_COAP_RECENT_USUAL; mid < 1000; mid++) {
		assert_int_equal(gw_coap_recent_look(&recent, mid, mid, 10, PENDING_MAX, &handle), GW_COAP_SEEN_ANSWERED);
		assert_int_equal(gw_coap_recent_at(&recent, handle)->stamp_us, mid);
	}
	gw_coap_recent_fini(&recent);
}

// Handles stay good while the ring grows around them, and no pending request is lost for a newer one.
static void
test_many_under_way_are_all_kept_and_then_refused(void **state)
{
	struct gw_coap_recent recent = { 0 };
	uint32_t handles[PENDING_MAX], handle;

	(void)state;
	for (uint16_t i = 0; i < PENDING_MAX; i++)
		assert_int_equal(gw_coap_recent_look(&recent, i, 5000 + i, 10, PENDING_MAX, &handles[i]), GW_COAP_SEEN_NEW);
	assert_int_equal(gw_coap_recent_look(&recent, 9999, 1, 10, PENDING_MAX, &handle), GW_COAP_SEEN_CROWDED);
	for (uint16_t i = 0; i < PENDING_MAX; i++)
		gw_coap_recent_answered(&recent, handles[i], 0x44, i, gw_span_text(""));
	for (uint16_t i = 0; i < PENDING_MAX; i++) {
		assert_int_equal(gw_coap_recent_look(&recent, i, 5000 + i, 10, PENDING_MAX, &handle), GW_COAP_SEEN_ANSWERED);
		assert_int_equal(gw_coap_recent_at(&recent, handle)->stamp_us, i);
	}
	assert_int_equal(gw_coap_recent_look(&recent, 9999, 1, 10, PENDING_MAX, &handle), GW_COAP_SEEN_NEW);
	assert_int_equal(recent.cap, 128);
	gw_coap_recent_fini(&recent);
}

static void
test_the_hash_sees_every_byte_and_the_length(void **state)
{
	uint8_t bytes[41] = { 0 };
	uint64_t zero = gw_coap_hash(1, bytes, sizeof(bytes));

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++) {
		bytes[i] = 1;
		assert_true(gw_coap_hash(1, bytes, sizeof(bytes)) != zero);
		bytes[i] = 0;
	}
	for (size_t len = 0; len < sizeof(bytes); len++)
		assert_true(gw_coap_hash(1, bytes, len) != zero);
	assert_true(gw_coap_hash(2, bytes, sizeof(bytes)) != zero);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_copy_is_known_while_pending_and_after),
		cmocka_unit_test(test_the_diagnostic_text_comes_again),
		cmocka_unit_test(test_other_content_or_another_id_is_new),
		cmocka_unit_test(test_an_answer_is_forgotten_after_the_exchange_lifetime),
		cmocka_unit_test(test_what_was_not_stored_may_come_again),
		cmocka_unit_test(test_one_at_a_time_keeps_the_usual_number),
		cmocka_unit_test(test_many_under_way_are_all_kept_and_then_refused),
		cmocka_unit_test(test_the_hash_sees_every_byte_and_the_length),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
