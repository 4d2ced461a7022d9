// SPDX-License-Identifier: Apache-2.0
// The bus's connection against a broker of a hundred lines that answers as told: what is acknowledged, refused, answered out of order or not at all.
#include "adapters/mqtt/bus_link.h"

#include "fake_broker.h"
#include "gateway/clock.h"

#include <stdlib.h>

// ---- The link ----

static char uri[64];
static char client_id[] = "test", prefix[] = "vitals", empty[] = "";
static struct gw_config config;

static struct gw_bus_link *
link_new(const struct broker *broker, int window)
{
	struct gw_bus_link *link;
	struct gw_why why = { "" };

	snprintf(uri, sizeof(uri), "mqtt://127.0.0.1:%d", broker->port);
	config = (struct gw_config){ .bus_uri = uri, .bus_client_id = client_id, .bus_prefix = prefix, .bus_user = empty, .bus_password_file = empty,
		.bus_ca = empty, .bus_certificate = empty, .bus_key = empty, .bus_in_flight_max = window };
	if (gw_bus_link_new(&config, &link, &why) != GW_OK)
		fail_msg("%s", why.text);
	return link;
}

static void
connect_link(struct gw_bus_link *link)
{
	struct gw_why why = { "" };

	if (gw_bus_link_connect(link, &why) != GW_OK)
		fail_msg("%s", why.text);
	assert_true(gw_bus_link_up(link));
	assert_int_equal(gw_bus_link_pending(link), 0);
}

static void
publish(struct gw_bus_link *link, uint64_t position)
{
	assert_int_equal(gw_bus_link_publish(link, "vitals/d/s", gw_span_text("{}"), &(struct gw_bus_ref){ .position = position }), GW_OK);
	assert_true(gw_bus_link_covers(link, position));
}

struct seen {
	uint64_t position;
	struct gw_bus_settled settled[32];
	size_t count;
};

static void
settle(struct gw_bus_link *link, struct seen *seen)
{
	seen->count += gw_bus_link_settle(link, &seen->position, seen->settled + seen->count, 32 - seen->count);
}

// Until everything up to `position` is answered.
static void
settle_until(struct gw_bus_link *link, struct seen *seen, uint64_t position)
{
	int64_t until = gw_clock_mono_us() + 20000000;

	while (seen->position < position && gw_clock_mono_us() < until) {
		gw_bus_link_wait(link, 20);
		settle(link, seen);
	}
	assert_int_equal(seen->position, position);
}

static void
test_acknowledged_in_order(void **state)
{
	struct broker broker;
	struct gw_bus_link *link;
	struct seen seen = { 0 };
	struct gw_bus_link_stats stats;

	(void)state;
	broker_start(&broker, accept_all);
	link = link_new(&broker, 4);
	connect_link(link);
	assert_false(gw_bus_link_covers(link, 1)); // nothing under way: done already
	for (uint64_t i = 1; i <= 100; i++) {
		while (gw_bus_link_room(link) == 0) {
			gw_bus_link_wait(link, 1000);
			settle(link, &seen);
		}
		assert_true(gw_bus_link_pending(link) < 4);
		publish(link, i);
	}
	settle_until(link, &seen, 100);
	assert_int_equal(seen.count, 0);
	gw_bus_link_stats(link, &stats);
	assert_int_equal(stats.published, 100);
	assert_int_equal(stats.acknowledged, 100);
	gw_bus_link_close(link, true);
	gw_bus_link_free(link);
	broker_stop(&broker);
}

static int
refuse_some(unsigned index)
{
	return index == 2 ? 0x87 : index == 3 ? 0x10 : index == 5 ? 0x97 : 0;
}

static void
test_a_refusal_is_told_and_passed(void **state)
{
	struct broker broker;
	struct gw_bus_link *link;
	struct seen seen = { 0 };

	(void)state;
	broker_start(&broker, refuse_some);
	link = link_new(&broker, 10);
	connect_link(link);
	for (uint64_t i = 1; i <= 6; i++)
		publish(link, i);
	settle_until(link, &seen, 6);
	assert_int_equal(seen.count, 2); // 0x10, no subscribers, is success
	assert_int_equal(seen.settled[0].ref.position, 2);
	assert_int_equal(seen.settled[0].reason, 0x87);
	assert_int_equal(seen.settled[1].ref.position, 5);
	assert_int_equal(seen.settled[1].reason, 0x97);
	assert_true(gw_bus_link_up(link));
	gw_bus_link_free(link);
	broker_stop(&broker);
}

static int
hold_three(unsigned index)
{
	return index <= 3 ? SILENT : 0;
}

static void
test_nothing_passes_an_unanswered_one(void **state)
{
	struct broker broker;
	struct gw_bus_link *link;
	struct seen seen = { 0 };
	struct gw_bus_link_stats stats;

	(void)state;
	broker_start(&broker, hold_three);
	link = link_new(&broker, 5);
	connect_link(link);
	for (uint64_t i = 1; i <= 5; i++)
		publish(link, i);
	do {
		gw_bus_link_stats(link, &stats);
	} while (stats.acknowledged < 2); // those behind the three
	settle(link, &seen);
	assert_int_equal(seen.position, 0);
	assert_int_equal(gw_bus_link_room(link), 0);
	assert_int_equal(gw_bus_link_publish(link, "vitals/d/s", gw_span_text("{}"), &(struct gw_bus_ref){ .position = 6 }), GW_E_BUSY);
	broker.release = 1;
	settle_until(link, &seen, 5);
	assert_int_equal(gw_bus_link_room(link), 5);
	gw_bus_link_free(link);
	broker_stop(&broker);
}

static int
close_at_three(unsigned index)
{
	return index == 3 ? CLOSE : index < 3 ? 0 : SILENT;
}

static void
test_an_ended_connection_is_no_refusal(void **state)
{
	struct broker broker;
	struct gw_bus_link *link;
	struct seen seen = { 0 };
	int64_t until = gw_clock_mono_us() + 20000000;

	(void)state;
	broker_start(&broker, close_at_three);
	link = link_new(&broker, 10);
	connect_link(link);
	for (uint64_t i = 1; i <= 3; i++)
		publish(link, i);
	while (gw_bus_link_up(link) && gw_clock_mono_us() < until)
		gw_bus_link_wait(link, 20);
	assert_false(gw_bus_link_up(link));
	settle(link, &seen);
	assert_int_equal(seen.position, 2);
	assert_int_equal(seen.count, 0);
	assert_int_equal(gw_bus_link_publish(link, "vitals/d/s", gw_span_text("{}"), &(struct gw_bus_ref){ .position = 4 }), GW_E_CLOSED);
	// The next connection begins with an empty window.
	broker.answer = accept_all;
	connect_link(link);
	publish(link, 3);
	settle_until(link, &seen, 3);
	assert_int_equal(broker.connections, 2);
	gw_bus_link_free(link);
	broker_stop(&broker);
}

static void
test_a_broker_that_refuses_us(void **state)
{
	struct broker broker;
	struct gw_bus_link *link;
	struct gw_why why = { "" };

	(void)state;
	broker_start(&broker, accept_all);
	broker.connack = 0x87; // not authorized
	link = link_new(&broker, 10);
	assert_int_equal(gw_bus_link_connect(link, &why), GW_E_CLOSED);
	assert_non_null(strstr(why.text, "Not authorized"));
	assert_false(gw_bus_link_up(link));
	gw_bus_link_free(link);
	broker_stop(&broker);
}

static void
test_nobody_listens(void **state)
{
	struct broker broker;
	struct gw_bus_link *link;
	struct gw_why why = { "" };

	(void)state;
	broker_start(&broker, accept_all);
	broker_stop(&broker);
	link = link_new(&broker, 10);
	assert_int_equal(gw_bus_link_connect(link, &why), GW_E_CLOSED);
	assert_true(why.text[0] != '\0');
	gw_bus_link_free(link);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_acknowledged_in_order),
		cmocka_unit_test(test_a_refusal_is_told_and_passed),
		cmocka_unit_test(test_nothing_passes_an_unanswered_one),
		cmocka_unit_test(test_an_ended_connection_is_no_refusal),
		cmocka_unit_test(test_a_broker_that_refuses_us),
		cmocka_unit_test(test_nobody_listens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
