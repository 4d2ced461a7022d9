// SPDX-License-Identifier: Apache-2.0
// Refusals from many doors and addresses at once: whatever is not on record one by one is told by number, so that nothing is lost and nothing fills the journal.
#include "gateway/refusals.h"

#include "intake_help.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <unistd.h>
#include <yyjson.h>

static struct gw_refusals *refusals;

static int
begin(void **state)
{
	return intake_begin(state) == 0 && gw_refusals_open(intake, &refusals, NULL) == GW_OK ? 0 : -1;
}

static void
end_refusals(void)
{
	gw_refusals_close(refusals);
	refusals = NULL;
}

static int
finish(void **state)
{
	end_refusals();
	return intake_finish(state);
}

static struct gw_peer
peer_of(uint32_t address)
{
	const struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(4711), .sin_addr.s_addr = htonl(address) };

	return gw_peer_of((const struct sockaddr *)&at);
}

static void
tell(enum gw_door door, uint32_t address, const char *claimed, enum gw_refused reason)
{
	const struct gw_attempt attempt = { .door = door, .auth = GW_AUTH_PSK, .protocol = GW_PROTOCOL_MQTTS, .reason = reason, .peer = peer_of(address),
		.claimed = gw_span_text(claimed) };

	gw_refusals_tell(refusals, &attempt);
}

// ---- What the journal has ----

struct kept {
	unsigned ones, mores, more, others;
	unsigned by_door[8];
	char last[GW_CLAIMED_MAX + 1], text[128];
	struct gw_event event;
};

static void
keep(void *arg, const struct gw_record *record)
{
	struct kept *kept = arg;
	struct gw_event event;

	assert_int_equal(gw_event_open(record, &event, NULL), GW_OK);
	kept->event = event;
	kept->ones += event.code == GW_EVENT_REFUSED_CREDENTIAL;
	kept->mores += event.code == GW_EVENT_REFUSED_MORE;
	kept->more += event.more;
	kept->others += event.code == GW_EVENT_REFUSED_MORE && event.peer.len == 0;
	kept->by_door[event.door] += event.code == GW_EVENT_REFUSED_CREDENTIAL;
	snprintf(kept->last, sizeof(kept->last), "%.*s", GW_SPAN_FMT(event.claimed));
	snprintf(kept->text, sizeof(kept->text), "%.*s", GW_SPAN_FMT(event.text));
}

static struct kept
look(void)
{
	static uint8_t buf[GW_RECORD_MAX + 16];
	struct kept kept = { 0 };
	uint64_t next = 1;
	size_t used;

	while (gw_journal_read(journal, next, buf, sizeof(buf), &used, &next) == GW_OK && used > 0) {
		struct gw_span rest = gw_span(buf, used);
		struct gw_record record;

		while (gw_journal_step(&rest, &record))
			keep(&kept, &record);
	}
	return kept;
}

// ---- Tests ----

static void
test_the_same_is_on_record_once(void **state)
{
	struct kept kept;

	(void)state;
	for (int i = 0; i < 313; i++)
		tell(GW_DOOR_MQTT, 0x0a000007, "pump", GW_REFUSED_PSK_WRONG);
	end_refusals();
	kept = look();
	assert_int_equal(kept.ones, 1);
	assert_int_equal(kept.mores, 1);
	assert_int_equal(kept.more, 312);
	assert_string_equal(kept.text, "and 312 more of 10.0.0.7");
	assert_string_equal(kept.last, "pump");
	assert_int_equal(kept.event.reason, GW_REFUSED_PSK_WRONG);
}

// Short names and numbers that lie side by side are told apart.
static void
test_what_differs_is_told_apart(void **state)
{
	char name[8];

	(void)state;
	gw_refusals_limit(refusals, GW_DOOR_MQTT, 100000);
	for (unsigned i = 0; i < 100; i++)
		for (int reason = 1; reason <= 4; reason++) {
			snprintf(name, sizeof(name), "%c%u", 'a' + (int)(i % 7), i);
			tell(GW_DOOR_MQTT, 0x0a000000 + i % 3, name, (enum gw_refused)reason);
			for (int wait = 0; look().ones + 64 < i * 4 && wait < 1000; wait++)
				usleep(1000); // no more at once than the ring holds
		}
	end_refusals();
	// A collision of slots leaves one out, never adds.
	assert_in_range(look().ones, 300, 400);
	assert_int_equal(look().ones + look().more, 400);
}

static void
test_one_who_is_loud_does_not_hide_another(void **state)
{
	char name[24];
	struct kept kept;

	(void)state;
	gw_refusals_limit(refusals, GW_DOOR_COAP, 8);
	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "loud%d", i);
		tell(GW_DOOR_COAP, 0x0a000001, name, GW_REFUSED_PSK_UNKNOWN);
	}
	tell(GW_DOOR_COAP, 0x0a000002, "quiet", GW_REFUSED_PSK_UNKNOWN);
	tell(GW_DOOR_MQTT, 0x0a000001, "elsewhere", GW_REFUSED_PSK_UNKNOWN);
	end_refusals();
	kept = look();
	assert_int_equal(kept.by_door[GW_DOOR_COAP], 6 + 1);
	assert_int_equal(kept.by_door[GW_DOOR_MQTT], 1);
	assert_int_equal(kept.more, 994);
}

static void
test_a_flood_from_many_addresses(void **state)
{
	struct kept kept;

	(void)state;
	for (uint32_t address = 0; address < 2000; address++)
		for (uint32_t i = 0; i <= address % 5; i++)
			tell(GW_DOOR_MQTT, 0x0a000000 + address, "x", GW_REFUSED_PSK_UNKNOWN);
	end_refusals();
	kept = look();
	assert_true(kept.ones >= 1 && kept.ones <= 60);
	assert_int_equal(kept.mores, 16 + 1);
	assert_int_equal(kept.others, 1);
	assert_int_equal(kept.ones + kept.more, 2000 * 3);
}

static void *
tell_many(void *arg)
{
	for (int i = 0; i < 2000; i++)
		tell((enum gw_door)(1 + i % 2), (uint32_t)(uintptr_t)arg, i % 3 == 0 ? "a" : "b", GW_REFUSED_PASSWORD_WRONG);
	return NULL;
}

static void
test_several_doors_at_once(void **state)
{
	pthread_t threads[4];
	struct kept kept;

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, tell_many, (void *)(i + 1)), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	end_refusals();
	kept = look();
	assert_true(kept.ones > 0);
	assert_int_equal(kept.ones + kept.more, 8000);
}

static void
test_what_is_counted(void **state)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *object = yyjson_mut_obj(doc), *last;
	const struct gw_attempt claim = { .door = GW_DOOR_COAP, .reason = GW_REFUSED_DEVICE_FOREIGN, .peer = peer_of(0x0a000009) };

	(void)state;
	yyjson_mut_doc_set_root(doc, object);
	tell(GW_DOOR_MQTT, 1, "\x1b[31mred\xff", GW_REFUSED_USER_UNKNOWN);
	gw_refusals_count(refusals, &claim, true);
	gw_refusals_count(refusals, &claim, false);
	tell((enum gw_door)77, 1, "x", GW_REFUSED_USER_UNKNOWN); // nobody's
	tell(GW_DOOR_MQTT, 1, "x", (enum gw_refused)999);
	gw_refusals_status(refusals, doc, object);
	assert_int_equal(yyjson_mut_get_uint(yyjson_mut_obj_get(object, "attempts")), 3);
	assert_int_equal(yyjson_mut_get_uint(yyjson_mut_obj_get(object, "left_out")), 1);
	last = yyjson_mut_obj_get(object, "last");
	assert_string_equal(yyjson_mut_get_str(yyjson_mut_obj_get(last, "from")), "10.0.0.9");
	yyjson_mut_doc_free(doc);
	end_refusals();
	assert_int_equal(look().ones, 1);
	assert_int_equal(look().more, 1);
}

static void
test_names_of_strangers(void **state)
{
	char out[16];

	(void)state;
	assert_int_equal(gw_claimed_clean(gw_span_text("pump-7 \xc3\xbc"), out, sizeof(out)), 9);
	assert_string_equal(out, "pump-7 \xc3\xbc");
	(void)gw_claimed_clean(gw_span("a\0\n\x7f\x9b", 5), out, sizeof(out));
	assert_string_equal(out, "a????");
	(void)gw_claimed_clean(gw_span_text("\xc2\x9b\xe2\x80\xae."), out, sizeof(out)); // CSI, right-to-left override
	assert_string_equal(out, "??.");
	(void)gw_claimed_clean(gw_span_text("0123456789abc\xc3\xbc\xc3\xbc"), out, sizeof(out)); // whole characters
	assert_string_equal(out, "0123456789abc\xc3\xbc");
	(void)gw_claimed_clean(gw_span(NULL, 0), out, sizeof(out));
	assert_string_equal(out, "");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_the_same_is_on_record_once, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_differs_is_told_apart, begin, finish),
		cmocka_unit_test_setup_teardown(test_one_who_is_loud_does_not_hide_another, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_flood_from_many_addresses, begin, finish),
		cmocka_unit_test_setup_teardown(test_several_doors_at_once, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_is_counted, begin, finish),
		cmocka_unit_test(test_names_of_strangers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
