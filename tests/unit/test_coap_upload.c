// SPDX-License-Identifier: Apache-2.0
// Bodies in blocks: put together in order, given up when a block is missing, never larger or more than the limits.
#include "adapters/coap/upload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define SIZE 64 // szx 2

static uint8_t content[SIZE * 40];
static int me, you; // owners

static enum gw_coap_block_result
send(struct gw_coap_uploads *uploads, const void *owner, uint64_t key, uint32_t num, bool more, size_t len, int64_t now_us)
{
	struct gw_coap_block block = { .num = num, .more = more, .szx = 2, .payload = gw_span(content + (size_t)num * SIZE, len) };
	uint8_t *body = NULL;
	size_t body_len = 0;
	enum gw_coap_block_result result = gw_coap_upload_block(uploads, owner, key, &block, now_us, &body, &body_len);

	if (result == GW_COAP_BLOCK_COMPLETE) {
		assert_int_equal(body_len, num * SIZE + len);
		assert_memory_equal(body, content, body_len);
	} else {
		assert_null(body);
	}
	free(body);
	return result;
}

static int
fill(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(content); i++)
		content[i] = (uint8_t)(i * 7 + i / 251);
	return 0;
}

enum { OF_ONE = 3 };
#define UPLOADS(most) { .max = (most), .of_one = OF_ONE, .bytes_max = SIZE * 10, .idle_us_max = 1000 }

static void
test_a_body_in_order_is_complete(void **state)
{
	struct gw_coap_uploads uploads = UPLOADS(2);

	(void)state;
	assert_int_equal(send(&uploads, &me, 1, 0, true, SIZE, 0), GW_COAP_BLOCK_CONTINUE);
	assert_int_equal(send(&uploads, &me, 1, 1, true, SIZE, 0), GW_COAP_BLOCK_CONTINUE);
	assert_int_equal(send(&uploads, &me, 1, 2, false, 5, 0), GW_COAP_BLOCK_COMPLETE);
	assert_int_equal(uploads.count, 0);
}

static void
test_an_empty_last_block_ends_it(void **state)
{
	struct gw_coap_uploads uploads = UPLOADS(2);

	(void)state;
	assert_int_equal(send(&uploads, &me, 1, 0, true, SIZE, 0), GW_COAP_BLOCK_CONTINUE);
	assert_int_equal(send(&uploads, &me, 1, 1, false, 0, 0), GW_COAP_BLOCK_COMPLETE);
}

static void
test_a_missing_block_gives_it_up(void **state)
{
	struct gw_coap_uploads uploads = UPLOADS(2);

	(void)state;
	assert_int_equal(send(&uploads, &me, 1, 1, true, SIZE, 0), GW_COAP_BLOCK_INCOMPLETE);
	assert_int_equal(send(&uploads, &me, 1, 0, true, SIZE, 0), GW_COAP_BLOCK_CONTINUE);
	assert_int_equal(send(&uploads, &me, 1, 2, false, 5, 0), GW_COAP_BLOCK_INCOMPLETE);
	assert_int_equal(uploads.count, 0);
	assert_int_equal(send(&uploads, &me, 1, 1, true, SIZE, 0), GW_COAP_BLOCK_INCOMPLETE);
}

static void
test_a_block_sent_again_changes_nothing(void **state)
{
	struct gw_coap_uploads uploads = UPLOADS(2);

	(void)state;
	assert_int_equal(send(&uploads, &me, 1, 0, true, SIZE, 0), GW_COAP_BLOCK_CONTINUE);
	assert_int_equal(send(&uploads, &me, 1, 1, true, SIZE, 0), GW_COAP_BLOCK_CONTINUE);
	assert_int_equal(send(&uploads, &me, 1, 1, true, SIZE, 0), GW_COAP_BLOCK_CONTINUE);
	assert_int_equal(send(&uploads, &me, 1, 2, false, 5, 0), GW_COAP_BLOCK_COMPLETE);
}

static void
test_block_0_begins_anew(void **state)
{
	struct gw_coap_uploads uploads = UPLOADS(1);

	(void)state;
	assert_int_equal(send(&uploads, &me, 1, 0, true, SIZE, 0), GW_COAP_BLOCK_CONTINUE);
	assert_int_equal(send(&uploads, &me, 1, 1, true, SIZE, 0), GW_COAP_BLOCK_CONTINUE);
	assert_int_equal(send(&uploads, &me, 1, 0, true, SIZE, 0), GW_COAP_BLOCK_CONTINUE);
	assert_int_equal(uploads.count, 1);
	assert_int_equal(send(&uploads, &me, 1, 1, false, 5, 0), GW_COAP_BLOCK_COMPLETE);
}

static void
test_owners_and_keys_are_apart(void **state)
{
	struct gw_coap_uploads uploads = UPLOADS(4);

	(void)state;
	assert_int_equal(send(&uploads, &me, 1, 0, true, SIZE, 0), GW_COAP_BLOCK_CONTINUE);
	assert_int_equal(send(&uploads, &me, 2, 0, true, SIZE, 0), GW_COAP_BLOCK_CONTINUE);
	assert_int_equal(send(&uploads, &you, 1, 0, true, SIZE, 0), GW_COAP_BLOCK_CONTINUE);
	assert_int_equal(uploads.count, 3);
	gw_coap_uploads_drop(&uploads, &me);
	assert_int_equal(uploads.count, 1);
	assert_int_equal(send(&uploads, &me, 1, 1, false, 5, 0), GW_COAP_BLOCK_INCOMPLETE);
	assert_int_equal(send(&uploads, &you, 1, 1, false, 5, 0), GW_COAP_BLOCK_COMPLETE);
}

static void
test_no_more_than_the_limit_at_once(void **state)
{
	struct gw_coap_uploads uploads = UPLOADS(2);

	(void)state;
	assert_int_equal(send(&uploads, &me, 1, 0, true, SIZE, 0), GW_COAP_BLOCK_CONTINUE);
	assert_int_equal(send(&uploads, &me, 2, 0, true, SIZE, 500), GW_COAP_BLOCK_CONTINUE);
	assert_int_equal(send(&uploads, &me, 3, 0, true, SIZE, 500), GW_COAP_BLOCK_BUSY);
	assert_int_equal(gw_coap_uploads_expire(&uploads, 1200), 1);
	assert_int_equal(send(&uploads, &me, 3, 0, true, SIZE, 1200), GW_COAP_BLOCK_CONTINUE);
	gw_coap_uploads_drop(&uploads, NULL);
	assert_int_equal(uploads.count, 0);
}

static void
test_one_owner_has_its_share(void **state)
{
	struct gw_coap_uploads uploads = UPLOADS(OF_ONE + 1);

	(void)state;
	for (uint64_t key = 1; key <= 20; key++)
		assert_int_equal(send(&uploads, &me, key, 0, true, SIZE, (int64_t)key), GW_COAP_BLOCK_CONTINUE);
	assert_int_equal(uploads.count, OF_ONE);
	assert_int_equal(send(&uploads, &you, 1, 0, true, SIZE, 21), GW_COAP_BLOCK_CONTINUE);
	// the ones that were silent longest made way
	assert_int_equal(send(&uploads, &me, 17, 1, true, SIZE, 22), GW_COAP_BLOCK_INCOMPLETE);
	for (uint64_t key = 18; key <= 20; key++)
		assert_int_equal(send(&uploads, &me, key, 1, true, SIZE, 22), GW_COAP_BLOCK_CONTINUE);
	gw_coap_uploads_drop(&uploads, NULL);
	assert_int_equal(uploads.count, 0);
}

static void
test_no_larger_than_the_limit(void **state)
{
	struct gw_coap_uploads uploads = UPLOADS(2);
	struct gw_coap_block told = { .more = true, .szx = 2, .size1 = SIZE * 10 + 1, .payload = gw_span(content, SIZE) };
	uint8_t *body = NULL;
	size_t body_len;

	(void)state;
	assert_int_equal(gw_coap_upload_block(&uploads, &me, 1, &told, 0, &body, &body_len), GW_COAP_BLOCK_TOO_LARGE);
	for (uint32_t num = 0; num < 10; num++)
		assert_int_equal(send(&uploads, &me, 1, num, true, SIZE, 0), GW_COAP_BLOCK_CONTINUE);
	assert_int_equal(send(&uploads, &me, 1, 10, false, 1, 0), GW_COAP_BLOCK_TOO_LARGE);
	assert_int_equal(uploads.count, 0);
	assert_int_equal(send(&uploads, &me, 1, 0xfffff, false, 0, 0), GW_COAP_BLOCK_TOO_LARGE);
}

static void
test_lengths_that_cannot_be(void **state)
{
	struct gw_coap_uploads uploads = UPLOADS(2);
	struct gw_coap_block reserved = { .more = true, .szx = 7, .payload = gw_span(content, 1024) };
	uint8_t *body = NULL;
	size_t body_len;

	(void)state;
	assert_int_equal(gw_coap_upload_block(&uploads, &me, 1, &reserved, 0, &body, &body_len), GW_COAP_BLOCK_BAD);
	assert_int_equal(send(&uploads, &me, 1, 0, true, SIZE - 1, 0), GW_COAP_BLOCK_BAD);
	assert_int_equal(send(&uploads, &me, 1, 0, true, SIZE + 1, 0), GW_COAP_BLOCK_BAD);
	assert_int_equal(send(&uploads, &me, 1, 0, true, 0, 0), GW_COAP_BLOCK_BAD);
	assert_int_equal(uploads.count, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_body_in_order_is_complete),
		cmocka_unit_test(test_an_empty_last_block_ends_it),
		cmocka_unit_test(test_a_missing_block_gives_it_up),
		cmocka_unit_test(test_a_block_sent_again_changes_nothing),
		cmocka_unit_test(test_block_0_begins_anew),
		cmocka_unit_test(test_owners_and_keys_are_apart),
		cmocka_unit_test(test_no_more_than_the_limit_at_once),
		cmocka_unit_test(test_one_owner_has_its_share),
		cmocka_unit_test(test_no_larger_than_the_limit),
		cmocka_unit_test(test_lengths_that_cannot_be),
	};

	return cmocka_run_group_tests(tests, fill, NULL);
}
