// SPDX-License-Identifier: Apache-2.0
// The bus outlet with a real journal and a broker that answers as told: parking, trying again, rewinding, events, restarts.
#include "fake_broker.h"
#include "store_help.h"

#include "gateway/clock.h"
#include "gateway/core.h"
#include "gateway/nomenclature.h"

#include <yyjson.h>

#define WAIT_US 30000000
#define TAKEN_MAX 4096

static struct broker broker;
static struct gw_core core;
static struct gw_config config;
static char uri[64], client_id[] = "test", prefix[] = "vitals", empty[] = "";
static void *part;

// What the broker took: heart rates in order, and the last event.
static pthread_mutex_t taken_lock = PTHREAD_MUTEX_INITIALIZER;
static struct { int value; char id[48]; char topic[128]; } taken[TAKEN_MAX];
static size_t taken_count;
static char event_topic[128], event_text[128];

static void
take(const char *topic, size_t topic_len, const char *payload, size_t payload_len)
{
	yyjson_doc *doc = yyjson_read(payload, payload_len, 0);
	yyjson_val *root = yyjson_doc_get_root(doc);
	const char *id = yyjson_get_str(yyjson_obj_get(root, "id")), *text = yyjson_get_str(yyjson_obj_get(root, "text"));

	assert_non_null(id);
	pthread_mutex_lock(&taken_lock);
	if (yyjson_obj_get(root, "event") != NULL) {
		snprintf(event_topic, sizeof(event_topic), "%.*s", (int)topic_len, topic);
		snprintf(event_text, sizeof(event_text), "%s", text != NULL ? text : "");
	} else if (taken_count < TAKEN_MAX) {
		taken[taken_count].value = yyjson_get_int(yyjson_obj_get(root, "value"));
		snprintf(taken[taken_count].id, sizeof(taken[0].id), "%s", id);
		snprintf(taken[taken_count++].topic, sizeof(taken[0].topic), "%.*s", (int)topic_len, topic);
	}
	pthread_mutex_unlock(&taken_lock);
	yyjson_doc_free(doc);
}

static size_t
count_taken(void)
{
	size_t count;

	pthread_mutex_lock(&taken_lock);
	count = taken_count;
	pthread_mutex_unlock(&taken_lock);
	return count;
}

static void
sync_failed(void *arg, enum gw_error error)
{
	(void)arg;
	fail_msg("%s", gw_error_text(error));
}

static void
start_bus(void)
{
	struct gw_why why = { "" };

	if (gw_bus_part.start(&core, &part, &why) != GW_OK)
		fail_msg("%s", why.text);
}

static void
stop_bus(void)
{
	gw_bus_part.stop(part);
	gw_bus_part.close(part);
}

static int
begin(void **state)
{
	struct gw_intake_options intake = { .group_bytes_max = MB, .group_tickets_max = 1000, .failed = sync_failed };

	if (store_make(state) != 0 || gw_nomenclature_open(NULL) != GW_OK)
		return -1;
	taken_count = 0;
	event_topic[0] = event_text[0] = '\0';
	broker_start(&broker, accept_all);
	broker.taken = take;
	snprintf(uri, sizeof(uri), "mqtt://127.0.0.1:%d", broker.port);
	config = (struct gw_config){ .bus_uri = uri, .bus_client_id = client_id, .bus_prefix = prefix, .bus_user = empty, .bus_password_file = empty,
		.bus_ca = empty, .bus_certificate = empty, .bus_key = empty, .bus_in_flight_max = 20, .bus_parked_max = 3, .bus_backlog_h_max = 1000000,
		.bus_backlog_percent_max = 50, .store_budget_mb = 256, .store_ledger_h = 24 };
	core = (struct gw_core){ .config = &config, .journal = store_open() };
	intake.journal = core.journal;
	return gw_intake_open(&intake, &core.intake, NULL) == GW_OK ? 0 : -1;
}

static int
finish(void **state)
{
	broker_stop(&broker);
	gw_intake_stop(core.intake);
	gw_intake_close(core.intake);
	gw_journal_close(core.journal);
	return store_remove(state);
}

static uint64_t
status(const char *name)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *object = yyjson_mut_obj(doc);
	uint64_t value;

	gw_bus_part.status(part, doc, object);
	assert_non_null(yyjson_mut_obj_get(object, name));
	value = yyjson_mut_get_uint(yyjson_mut_obj_get(object, name));
	yyjson_mut_doc_free(doc);
	return value;
}

static enum gw_error
command(const char *arguments, struct gw_why *reply)
{
	yyjson_doc *doc = yyjson_read(arguments, strlen(arguments), 0);
	enum gw_error error = gw_bus_part.command(part, yyjson_doc_get_root(doc), reply);

	yyjson_doc_free(doc);
	return error;
}

// Whether the ledger says something of a reading that was given as the number `place` of its record, from 0.
static bool
traced(uint64_t position, uint16_t place, const char *part_of_it)
{
	struct gw_reading reading = { .signal = 147842 };
	const struct gw_traced what = { gw_span_text("bed/1+2"), position, place, T0, &reading };
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *array = yyjson_mut_arr(doc);
	char *json;
	bool said;

	yyjson_mut_doc_set_root(doc, array);
	assert_int_equal(gw_bus_part.trace(&core, &what, doc, array), GW_OK);
	json = yyjson_mut_write(doc, 0, NULL);
	said = strstr(json, part_of_it) != NULL;
	if (!said)
		print_message("%s\n", json);
	free(json);
	yyjson_mut_doc_free(doc);
	return said;
}

#define WAIT_FOR(condition) do { \
	int64_t until_us = gw_clock_mono_us() + WAIT_US; \
	while (!(condition)) { \
		if (gw_clock_mono_us() > until_us) \
			fail_msg("waited for %s", #condition); \
		poll(NULL, 0, 2); \
	} \
} while (0)

// One record with heart rates from..to.
static void
give(int from, int to)
{
	static int64_t device_us = T0;
	struct gw_reading readings[100];
	struct gw_source source;
	struct gw_ticket *ticket;

	for (int i = from; i <= to; i++)
		readings[i - from] = (struct gw_reading){ .signal = 147842, .time_us = device_us += 1000, .type = GW_VALUE_DECIMAL, .unit = 264864,
			.decimal = { i, 0 } };
	assert_int_equal(gw_source_init(&source, core.intake, 1), GW_OK);
	ticket = gw_ticket_get(&source);
	add_readings(ticket, "bed/1+2", gw_clock_wall_us(), readings, (size_t)(to - from + 1));
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
	gw_source_fini(&source);
}

static void
give_event(enum gw_record_type type, const char *device, const char *text)
{
	struct gw_source source;
	struct gw_ticket *ticket;

	assert_int_equal(gw_source_init(&source, core.intake, 1), GW_OK);
	ticket = gw_ticket_get(&source);
	assert_int_equal(gw_ticket_event(ticket, type, &(struct gw_event){ .received_us = T0, .code = GW_EVENT_WILL,
	    .device = gw_span_text(device), .text = gw_span_text(text) }), GW_OK);
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
	gw_source_fini(&source);
}

static void
check_order(size_t at, int from, int to)
{
	for (int i = from; i <= to; i++)
		assert_int_equal(taken[at + (size_t)(i - from)].value, i);
}

static void
test_readings_in_order_once(void **state)
{
	(void)state;
	start_bus();
	for (int i = 0; i < 10; i++)
		give(1 + 50 * i, 50 + 50 * i); // more readings in a record than the window has room for
	WAIT_FOR(status("acknowledged") == 500 && status("lag_records") == 0);
	stop_bus();
	assert_int_equal(taken_count, 500);
	check_order(0, 1, 500);
	assert_string_equal(taken[0].topic, "vitals/bed%2F1%2B2/heart_rate");
	// Nothing again after a restart.
	start_bus();
	give(501, 501);
	WAIT_FOR(status("acknowledged") == 1);
	stop_bus();
	assert_int_equal(taken_count, 501);
}

static void
test_events_go_out_and_other_types_are_passed(void **state)
{
	(void)state;
	start_bus();
	give_event(GW_RECORD_COMMAND, "", "somebody did something");
	give_event(GW_RECORD_DEVICE_EVENT, "", "a gap, of no device: the gateway's own event");
	give_event(GW_RECORD_DEVICE_EVENT, "m1", "gone \"away\"");
	WAIT_FOR(status("acknowledged") == 2 && status("lag_records") == 0);
	assert_int_equal(status("published"), 2);
	stop_bus();
	assert_string_equal(event_topic, "vitals/m1/event");
	assert_string_equal(event_text, "gone \"away\"");
}

static int
mute(unsigned index)
{
	(void)index;
	return MUTE;
}

static int
refuse_two(unsigned index)
{
	return index == 2 || index == 4 ? 0x87 : 0;
}

static void
test_refused_ones_are_parked_and_tried_again(void **state)
{
	struct gw_why reply = { "" };

	(void)state;
	broker.answer = refuse_two;
	start_bus();
	give(1, 5);
	WAIT_FOR(status("acknowledged") == 3 && status("parked") == 2 && status("lag_records") == 0);
	assert_int_equal(count_taken(), 3);
	stop_bus();
	assert_true(traced(1, 0, "[{\"outlet\":\"bus\",\"state\":\"acknowledged\",\"at\":\"20"));
	assert_true(traced(1, 1, "\"state\":\"parked\",\"at\":\"20") && traced(1, 1, "\"reason_code\":135,\"words\":\"the broker refused it with 0x87\""));
	assert_true(traced(1, 2, "\"acknowledged\"") && traced(1, 3, "\"parked\"") && traced(1, 4, "\"acknowledged\""));
	start_bus();
	assert_int_equal(status("parked"), 2);
	broker.answer = accept_all;
	assert_int_equal(command("{\"action\":\"retry\"}", &reply), GW_OK);
	WAIT_FOR(status("parked") == 0);
	stop_bus();
	assert_int_equal(taken_count, 5);
	assert_int_equal(taken[3].value, 2);
	assert_int_equal(taken[4].value, 4);
	assert_string_equal(taken[3].topic, taken[0].topic);
	assert_true(traced(1, 1, "\"state\":\"refused\"") && traced(1, 1, "sent again or dropped"));
}

static void
test_the_ledger_of_the_bus(void **state)
{
	struct gw_why reply = { "" };

	(void)state;
	assert_true(traced(1, 0, "[]")); // there is no bus yet
	give(1, 1);
	start_bus();
	assert_true(traced(1, 0, "\"state\":\"left out\"") && traced(1, 0, "the outlet began after them"));
	assert_true(traced(2, 0, "\"state\":\"waiting\""));
	give(2, 3);
	WAIT_FOR(status("acknowledged") == 2 && status("lag_records") == 0);
	stop_bus();
	assert_true(traced(2, 1, "\"state\":\"acknowledged\",\"at\":\"20") && !traced(2, 1, "again"));
	broker.answer = mute;
	start_bus();
	assert_int_equal(command("{\"action\":\"rewind\",\"to\":\"2020-01-01T00:00:00Z\"}", &reply), GW_OK);
	assert_true(traced(2, 1, "\"state\":\"acknowledged\"") && traced(2, 1, "it is sent once more"));
	stop_bus();
}

static int
refuse_each_fifth(unsigned index)
{
	return index % 5 == 0 ? 0x87 : 0;
}

// Refusals that come while the window is full must not mix with what waits to be published.
static void
test_many_refusals_under_load(void **state)
{
	size_t at = 0;

	(void)state;
	config.bus_parked_max = 1000;
	config.bus_in_flight_max = 3;
	broker.answer = refuse_each_fifth;
	start_bus();
	for (int i = 0; i < 4; i++)
		give(1 + 50 * i, 50 + 50 * i);
	WAIT_FOR(status("acknowledged") == 160 && status("parked") == 40 && status("lag_records") == 0);
	stop_bus();
	assert_int_equal(taken_count, 160);
	for (int i = 1; i <= 200; i++)
		if (i % 5 != 0)
			assert_int_equal(taken[at++].value, i);
	// And those that were refused are the ones that are parked.
	broker.answer = accept_all;
	start_bus();
	struct gw_why reply = { "" };
	assert_int_equal(command("{\"action\":\"retry\"}", &reply), GW_OK);
	WAIT_FOR(status("parked") == 0);
	stop_bus();
	assert_int_equal(taken_count, 200);
	for (int i = 5; i <= 200; i += 5)
		assert_int_equal(taken[at++].value, i);
}

static int
refuse_all(unsigned index)
{
	(void)index;
	return 0x87;
}

static void
test_parked_ones_are_bounded_and_the_rest_is_recorded(void **state)
{
	struct gw_why reply = { "" };
	static uint8_t buf[GW_RECORD_MAX + 16];
	uint64_t next;
	size_t used;
	bool gap = false;
	struct gw_record record;
	struct gw_event event;

	(void)state;
	broker.answer = refuse_all;
	start_bus();
	give(1, 10);
	WAIT_FOR(status("refused") == 10 && status("lag_records") == 0);
	assert_int_equal(status("parked"), 3);
	assert_int_equal(status("refused_left_out"), 7);
	assert_int_equal(command("{\"action\":\"drop\"}", &reply), GW_OK);
	assert_int_equal(status("parked"), 0);
	assert_true(traced(1, 0, "\"refused\""));
	stop_bus();
	// Ten were refused, three of them were parked: the first of the others is recorded at once, the rest at the end.
	assert_true(traced(1, 9, "\"acknowledged\"") && traced(1, 9, "unless it is one of the 6 messages"));
	assert_int_equal(gw_journal_read(core.journal, 1, buf, sizeof(buf), &used, &next), GW_OK);
	for (struct gw_span rest = gw_span(buf, used); gw_journal_step(&rest, &record);)
		gap |= record.type == GW_RECORD_DEVICE_EVENT && gw_event_open(&record, &event, NULL) == GW_OK && event.code == GW_EVENT_GAP;
	assert_true(gap);
}

// A broker that is there and acknowledges nothing is left and tried again, as one that is away: only then do the limits of the backlog hold.
static void
test_a_broker_that_acknowledges_nothing(void **state)
{
	(void)state;
	config.bus_answer_s_max = 1;
	broker.answer = mute;
	broker.taken = NULL;
	start_bus();
	give(1, 5);
	WAIT_FOR(broker.connections >= 2);
	broker.taken = take;
	broker.answer = accept_all;
	WAIT_FOR(count_taken() >= 5 && status("lag_records") == 0);
	stop_bus();
}

static int
slow(unsigned index)
{
	(void)index;
	poll(NULL, 0, 50);
	return 0;
}

static bool
find_gap(void)
{
	static uint8_t buf[GW_RECORD_MAX + 16];
	struct gw_record record;
	uint64_t next = 1;
	size_t used;

	while (gw_journal_read(core.journal, next, buf, sizeof(buf), &used, &next) == GW_OK && used > 0) {
		struct gw_span rest = gw_span(buf, used);
		struct gw_event event;

		while (gw_journal_step(&rest, &record))
			if (record.type == GW_RECORD_DEVICE_EVENT && gw_event_open(&record, &event, NULL) == GW_OK && event.code == GW_EVENT_GAP)
				return true;
	}
	return false;
}

// A broker that takes less than comes in is held to the same limits as one that is away.
static void
test_a_broker_that_is_too_slow(void **state)
{
	struct gw_source source;

	(void)state;
	config.bus_backlog_h_max = 1;
	broker.answer = slow;
	start_bus();
	WAIT_FOR(broker.connections >= 1);
	assert_int_equal(gw_source_init(&source, core.intake, 1), GW_OK);
	for (int i = 0; i < 300; i++) {
		struct gw_reading reading = { .signal = 147842, .time_us = T0 + i, .type = GW_VALUE_DECIMAL, .unit = 264864, .decimal = { i, 0 } };
		struct gw_ticket *ticket = gw_ticket_get(&source);

		add_readings(ticket, "d", gw_clock_wall_us() - INT64_C(7200000000), &reading, 1);
		assert_int_equal(gw_intake_commit(ticket), GW_OK);
		gw_ticket_release(ticket);
	}
	gw_source_fini(&source);
	WAIT_FOR(status("lag_records") == 0 && status("unacknowledged") == 0);
	assert_true(count_taken() < 300);
	assert_true(find_gap());
	stop_bus();
}

// What no broker would take must not end the connection each time anew.
static void
test_a_document_that_is_too_large(void **state)
{
	static char text[300 << 10];
	struct gw_reading reading = { .signal = 184514, .time_us = T0, .type = GW_VALUE_TEXT, .text = gw_span(text, sizeof(text)) };
	struct gw_source source;
	struct gw_ticket *ticket;

	(void)state;
	memset(text, 'x', sizeof(text));
	start_bus();
	give(1, 1);
	assert_int_equal(gw_source_init(&source, core.intake, 1), GW_OK);
	ticket = gw_ticket_get(&source);
	add_readings(ticket, "d", gw_clock_wall_us(), &reading, 1);
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
	gw_source_fini(&source);
	give(2, 2);
	WAIT_FOR(status("acknowledged") == 2 && status("lag_records") == 0);
	assert_int_equal(status("refused_left_out"), 1);
	assert_int_equal(status("connects"), 1);
	stop_bus();
	check_order(0, 1, 2);
}

static void
test_rewind_gives_the_same_identifiers(void **state)
{
	struct gw_why reply = { "" };
	size_t again;

	(void)state;
	start_bus();
	give(1, 30);
	give(31, 60);
	WAIT_FOR(status("acknowledged") == 60);
	assert_int_equal(command("{\"action\":\"rewind\",\"to\":\"nonsense\"}", &reply), GW_E_ARGUMENT);
	assert_int_equal(command("{\"action\":\"rewind\",\"to\":\"-1h\"}", &reply), GW_OK);
	WAIT_FOR(status("acknowledged") == 120);
	stop_bus();
	again = taken_count;
	assert_int_equal(again, 120);
	check_order(60, 1, 60);
	for (size_t i = 0; i < 60; i++)
		assert_string_equal(taken[i].id, taken[60 + i].id);
}

// Back to a time after what the broker has taken: nothing of what it has not taken is left out.
static void
test_rewind_never_skips(void **state)
{
	struct gw_why reply = { "" };

	(void)state;
	broker.answer = mute;
	start_bus();
	give(1, 10);
	WAIT_FOR(status("unacknowledged") > 0);
	assert_int_equal(command("{\"action\":\"rewind\",\"to\":\"2099-01-01T00:00:00Z\"}", &reply), GW_OK);
	stop_bus();
	taken_count = 0;
	broker.answer = accept_all;
	start_bus();
	WAIT_FOR(status("acknowledged") == 10);
	stop_bus();
	check_order(0, 1, 10);
}

static int
close_often(unsigned index)
{
	return index % 37 == 0 ? CLOSE : 0;
}

static void
test_a_connection_that_ends_often(void **state)
{
	bool seen[101] = { false };
	int highest = 0;

	(void)state;
	broker.answer = close_often;
	start_bus();
	for (int i = 0; i < 20; i++)
		give(1 + 5 * i, 5 + 5 * i);
	WAIT_FOR(status("lag_records") == 0 && status("unacknowledged") == 0);
	assert_true(status("connects") > 1);
	stop_bus();
	// All are there; what comes for the first time comes in order.
	for (size_t i = 0; i < taken_count; i++) {
		assert_true(taken[i].value <= highest + 1);
		highest = taken[i].value > highest ? taken[i].value : highest;
		seen[taken[i].value] = true;
	}
	for (int i = 1; i <= 100; i++)
		assert_true(seen[i]);
}

static void
test_restarts_of_the_gateway(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++) {
		start_bus();
		give(1 + 5 * i, 5 + 5 * i);
		poll(NULL, 0, i * 3);
		stop_bus();
	}
	start_bus();
	WAIT_FOR(status("lag_records") == 0);
	stop_bus();
	int highest = 0;
	for (size_t i = 0; i < taken_count; i++) {
		assert_true(taken[i].value <= highest + 1);
		highest = taken[i].value > highest ? taken[i].value : highest;
	}
	assert_int_equal(highest, 40);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_readings_in_order_once, begin, finish),
		cmocka_unit_test_setup_teardown(test_events_go_out_and_other_types_are_passed, begin, finish),
		cmocka_unit_test_setup_teardown(test_refused_ones_are_parked_and_tried_again, begin, finish),
		cmocka_unit_test_setup_teardown(test_the_ledger_of_the_bus, begin, finish),
		cmocka_unit_test_setup_teardown(test_many_refusals_under_load, begin, finish),
		cmocka_unit_test_setup_teardown(test_parked_ones_are_bounded_and_the_rest_is_recorded, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_document_that_is_too_large, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_broker_that_acknowledges_nothing, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_broker_that_is_too_slow, begin, finish),
		cmocka_unit_test_setup_teardown(test_rewind_gives_the_same_identifiers, begin, finish),
		cmocka_unit_test_setup_teardown(test_rewind_never_skips, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_connection_that_ends_often, begin, finish),
		cmocka_unit_test_setup_teardown(test_restarts_of_the_gateway, begin, finish),
	};

	gw_diag_open(false, GW_ERROR + 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
