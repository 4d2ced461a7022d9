// SPDX-License-Identifier: Apache-2.0
// What the ledger tells of a reading on its way to HL7 destinations, from rows as destinations write them.
#include "adapters/hl7/trace.h"

#include "adapters/hl7/filed.h"
#include "gateway/clock.h"
#include "gateway/ledger.h"
#include "intake_help.h"

#define SECOND INT64_C(1000000)
#define HOUR (3600 * SECOND)
#define PREFIX "outlet/hl7/pdms/"

static struct gw_config config = { .store_ledger_h = 168, .store_budget_mb = 16384 };

static int
begin(void **state)
{
	gw_clock_fake_wall(T0 + HOUR);
	return intake_begin(state);
}

static int
finish(void **state)
{
	gw_clock_fake_wall(INT64_MIN);
	return intake_finish(state);
}

static void
set_cursor(const char *name, uint64_t position)
{
	struct gw_ticket *ticket = ticket_get();

	add_cursor(ticket, name, position);
	ticket_commit(ticket);
}

// A message that holds readings 0 and 2 of the record at `position`.
static struct gw_hl7_filed
message(const char *control_id, uint64_t position, int64_t effective_us, enum gw_hl7_filed_state state)
{
	static struct gw_hl7_filed_item items[2];
	struct gw_hl7_filed filed = { .least_us = effective_us, .made_us = T0 + 60 * SECOND, .state = (uint8_t)state, .items = items, .count = 2 };

	strcpy(filed.device, "m");
	strcpy(filed.control_id, control_id);
	filed.owner = (struct gw_owner){ .whose = GW_WHOSE_PATIENT, .patient = 12 };
	strcpy(filed.owner.visit, "VISIT-77");
	strcpy(filed.owner.bed, "ICU^^3");
	items[0] = (struct gw_hl7_filed_item){ position, 0, effective_us, 0 };
	items[1] = (struct gw_hl7_filed_item){ position, 2, effective_us + SECOND, 0 };
	return filed;
}

static void
put(const char *prefix, const struct gw_hl7_filed *filed)
{
	struct gw_ticket *ticket = ticket_get();

	assert_int_equal(gw_hl7_filed_put(prefix, ticket, filed), GW_OK);
	ticket_commit(ticket);
}

// What is told of a reading, as JSON; valid until the next call.
static const char *
trace(uint64_t position, uint16_t place, int64_t time_us, int64_t received_us)
{
	static char text[4096];
	struct gw_core core = { .journal = journal, .config = &config };
	struct gw_reading reading = reading_of(150456, time_us, 71);
	const struct gw_traced traced = { gw_span_text("m"), position, place, received_us, &reading };
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *array = yyjson_mut_arr(doc);
	char *json;

	yyjson_mut_doc_set_root(doc, array);
	assert_int_equal(gw_hl7_trace(&core, &traced, doc, array), GW_OK);
	json = yyjson_mut_write(doc, 0, NULL);
	snprintf(text, sizeof(text), "%s", json);
	free(json);
	yyjson_mut_doc_free(doc);
	return text;
}

static void
expect(const char *got, const char *part)
{
	if (strstr(got, part) == NULL)
		fail_msg("%s\nhas no %s", got, part);
}

static void
test_no_destination_no_word(void **state)
{
	(void)state;
	set_cursor("bus", 100);
	assert_string_equal(trace(5, 0, T0, T0), "[]");
}

static void
test_a_message_and_its_answer(void **state)
{
	struct gw_hl7_filed filed = message("ABCDEFGHJKLMNPQRSTUV", 5, T0, GW_HL7_FILED_SENT);
	const char *got;

	(void)state;
	set_cursor("hl7/pdms", 10);
	filed.answered_us = T0 + 61 * SECOND;
	strcpy(filed.answer, "AA");
	put(PREFIX, &filed);
	got = trace(5, 2, T0 + SECOND, T0 + 2 * SECOND);
	assert_string_equal(got, "[{\"outlet\":\"hl7/pdms\",\"state\":\"sent\",\"message\":\"ABCDEFGHJKLMNPQRSTUV\",\"made\":\"2026-11-20T08:16:00Z\","
	    "\"answered\":\"2026-11-20T08:16:01Z\",\"answer\":\"AA\",\"patient\":12,\"whose\":\"a patient\"}]");
	expect(trace(5, 1, T0, T0), "\"state\":\"not sent\""); // another reading of the same record
	expect(trace(6, 0, T0, T0), "\"state\":\"not sent\"");
	expect(trace(11, 0, T0, T0), "\"state\":\"waiting\"");
	// No word of the patient but the hub's own number.
	assert_null(strstr(got, "VISIT"));
	assert_null(strstr(got, "ICU"));
}

static void
test_whatever_the_clock_says(void **state)
{
	static const int64_t off_us[] = { 0, -3 * HOUR, 3 * HOUR, -72 * HOUR, -20000 * HOUR, 20000 * HOUR };
	char id[32];

	(void)state;
	set_cursor("hl7/pdms", 1000);
	for (size_t i = 0; i < sizeof(off_us) / sizeof(off_us[0]); i++) {
		struct gw_hl7_filed filed;

		// The device's time is off, and the message is filed by the receive time,
		snprintf(id, sizeof(id), "CORRECTED%zu", i);
		filed = message(id, 10 + i, T0, GW_HL7_FILED_MADE);
		put(PREFIX, &filed);
		expect(trace(10 + i, 0, T0 + off_us[i], T0), id);
		// or it is right and came late,
		snprintf(id, sizeof(id), "LATE%zu", i);
		filed = message(id, 20 + i, T0 + off_us[i], GW_HL7_FILED_MADE);
		put(PREFIX, &filed);
		expect(trace(20 + i, 0, T0 + off_us[i], T0), id);
		// or something between.
		snprintf(id, sizeof(id), "BETWEEN%zu", i);
		filed = message(id, 30 + i, T0 + off_us[i] / 2, GW_HL7_FILED_MADE);
		put(PREFIX, &filed);
		expect(trace(30 + i, 0, T0 + off_us[i], T0), id);
	}
	expect(trace(99, 0, INT64_MIN, T0), "not sent");
	expect(trace(99, 0, INT64_MAX, T0), "not sent");
}

static void
test_every_message_of_every_destination(void **state)
{
	struct gw_hl7_filed wrong = message("WRONGONE", 5, T0, GW_HL7_FILED_CORRECTED), right = message("RIGHTONE", 5, T0, GW_HL7_FILED_SENT),
	    held = message("held", 5, T0, GW_HL7_FILED_HELD), parked = message("PARKEDONE", 5, T0, GW_HL7_FILED_PARKED);
	const char *got;

	(void)state;
	set_cursor("hl7/pdms", 10);
	set_cursor("hl7/icu", 10);
	set_cursor("hl7/lab", 10);
	set_cursor("hl7/new", 4);
	wrong.owner.patient = 11;
	put(PREFIX, &wrong);
	put(PREFIX, &right);
	held.owner = (struct gw_owner){ .whose = GW_WHOSE_UNSURE };
	put("outlet/hl7/icu/", &held);
	strcpy(parked.answer, "AR");
	parked.answered_us = T0 + 62 * SECOND;
	parked.owner = (struct gw_owner){ .whose = GW_WHOSE_NOBODY };
	put("outlet/hl7/lab/", &parked);
	got = trace(5, 0, T0, T0);
	expect(got, "\"outlet\":\"hl7/icu\",\"state\":\"held\",\"at\":\"2026-11-20T08:16:00Z\",\"words\":\"the clock's uncertainty spans a change\"");
	expect(got, "\"outlet\":\"hl7/lab\",\"state\":\"parked\",\"message\":\"PARKEDONE\"");
	expect(got, "\"answer\":\"AR\",\"whose\":\"nobody was associated\"");
	expect(got, "\"outlet\":\"hl7/pdms\",\"state\":\"corrected\",\"message\":\"WRONGONE\"");
	expect(got, "\"patient\":11");
	expect(got, "\"outlet\":\"hl7/pdms\",\"state\":\"sent\",\"message\":\"RIGHTONE\"");
	expect(got, "\"outlet\":\"hl7/new\",\"state\":\"waiting\"");
}

static void
test_why_there_is_none(void **state)
{
	struct gw_ticket *ticket;

	(void)state;
	set_cursor("hl7/pdms", 100);
	ticket = ticket_get();
	assert_int_equal(gw_ledger_gap(journal, ticket, "hl7/pdms", 20, 30, GW_GAP_BYTES, T0 + 5 * SECOND), GW_OK);
	ticket_commit(ticket);
	assert_string_equal(trace(25, 0, T0, T0),
	    "[{\"outlet\":\"hl7/pdms\",\"state\":\"left out\",\"at\":\"2026-11-20T08:15:05Z\",\"words\":\"more than the outlet's limit of bytes\"}]");
	expect(trace(31, 0, T0, T0), "\"not sent\"");
	// Older than the ledger: nobody knows any more.
	gw_clock_fake_wall(T0 + 169 * HOUR);
	expect(trace(31, 0, T0, T0), "\"not known\"");
	expect(trace(101, 0, T0, T0), "\"waiting\"");
	// A small store keeps it for less.
	gw_clock_fake_wall(T0 + 2 * HOUR);
	expect(trace(31, 0, T0, T0), "\"not sent\"");
	config.store_budget_mb = 16;
	expect(trace(31, 0, T0, T0), "\"not known\"");
	config.store_budget_mb = 16384;
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_no_destination_no_word, begin, finish),
		cmocka_unit_test_setup_teardown(test_a_message_and_its_answer, begin, finish),
		cmocka_unit_test_setup_teardown(test_whatever_the_clock_says, begin, finish),
		cmocka_unit_test_setup_teardown(test_every_message_of_every_destination, begin, finish),
		cmocka_unit_test_setup_teardown(test_why_there_is_none, begin, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
