// SPDX-License-Identifier: Apache-2.0
// What an erasure takes for the patient's: what names him and what only has the same digits, and what was told after he was forgotten.
#include "tests/unit/patients_help.h"

#include "gateway/erase.h"

static struct gw_core core;
static struct gw_erasure erasure;

static void
look(const char *text)
{
	struct gw_person person = person_of(text);
	struct gw_why why = { "" };
	uint64_t number = 0;

	core = (struct gw_core){ .journal = hub.journal, .intake = hub.intake, .registry = hub.registry, .patients = hub.patients };
	erasure = (struct gw_erasure){ .core = &core };
	if (gw_patients_find(hub.patients, &person.identifiers[0], &number, &why) != GW_OK || gw_erasure_look(&erasure, number, NULL, &why) != GW_OK)
		fail_msg("%s", why.text);
}

static int
names(const char *message)
{
	return (int)gw_erasure_names(&erasure, gw_span_text(message));
}

static enum gw_belongs
quarantined(enum gw_door door, const char *principal, int64_t received_us, const char *payload)
{
	struct gw_quarantined entry = { .id = 1, .received_us = received_us, .door = door, .principal = gw_span_text(principal), .payload = gw_span_text(payload) };

	return gw_erasure_quarantined(&erasure, &entry);
}

static void
an_identifier_is_one_only_where_it_stands_for_a_patient(void **state)
{
	told(EVENT(ADMIT, 0, WHO("12^^^K"), BED("ICU^^3")));
	look("12^^^K");
	assert_int_equal(names("MSH|^~\\&|A\rPID|1||12^^^K^PI||N\r"), GW_ERASURE_NAMED);
	assert_int_equal(names("MSH|^~\\&|A\rPID|1||7^^^V~12^^^K&1.2&ISO||N\r"), GW_ERASURE_NAMED);
	assert_int_equal(names("MSH|$%\\!|A\rPID|1||7$$$V%12$$$K||N\r"), GW_ERASURE_NAMED);
	assert_int_equal(names("PID|1|12\r"), GW_ERASURE_NAMED);
	assert_int_equal(names("PID|1||7^^^K\rMRG|12^^^K\r"), GW_ERASURE_NAMED);
	// Another's: the same digits as a check digit, an authority, an account, an authority's other patient, a name, a value.
	assert_int_equal(names("PID|1||8824466^12^M10^H||N\r"), GW_ERASURE_UNNAMED);
	assert_int_equal(names("PID|1||8824466^^^12&1.2&ISO||N\r"), GW_ERASURE_UNNAMED);
	assert_int_equal(names("PID|1||12^^^OTHER||N\r"), GW_ERASURE_UNNAMED);
	assert_int_equal(names("PID|12||8824466^^^H||12\rOBX|12|NM|x||12\r"), GW_ERASURE_UNNAMED);
	assert_int_equal(names("PID|1||8824466^^^H\rMRG|9^^^H||12\r"), GW_ERASURE_UNNAMED);
	assert_int_equal(names("[{\"v\":12}]"), GW_ERASURE_MENTIONED);
	assert_int_equal(names("D|1||12^^^K||N"), GW_ERASURE_TOLD);
	gw_erasure_fini(&erasure);
	(void)state;
}

// What cannot be read and has his number as a value may be anybody's.
static void
a_frame_with_the_same_digits_is_not_surely_his(void **state)
{
	told(EVENT(ADMIT, 0, WHO("12^^^K"), BED("ICU^^3")));
	told(EVENT(ASSOCIATE, 0, WHO("13^^^K"), DEVICE("m1")));
	look("12^^^K");
	assert_int_equal(quarantined(GW_DOOR_MQTT, "m1", at(5), "[{\"v\":12"), GW_BELONGS_UNSURE);
	assert_int_equal(quarantined(GW_DOOR_MQTT, "m1", at(5), "[{\"v\":121"), GW_BELONGS_NOT);
	assert_int_equal(quarantined(GW_DOOR_HL7, "", at(5), "OBX|12|"), GW_BELONGS_UNSURE);
	assert_int_equal(quarantined(GW_DOOR_HL7, "", at(5), "||12^^^K^PI|"), GW_BELONGS);
	gw_erasure_fini(&erasure);
	(void)state;
}

static void
forget(void)
{
	struct gw_ticket *ticket = gw_ticket_get(&hub.source);

	gw_patients_lock(hub.patients);
	assert_int_equal(gw_patients_forget_person(hub.patients, erasure.patient, ticket), GW_OK);
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_patients_unlock(hub.patients);
	gw_ticket_release(ticket);
	erasure.whose.patients = NULL;
	erasure.whose.kept = false;
	erasure.forgotten_us = gw_clock_wall_us();
}

static enum gw_belongs
belongs(const char *device, int64_t minutes)
{
	struct gw_point point = { .received_us = at(minutes) };

	point.reading.time_us = at(minutes);
	point.reading.flags = GW_FLAG_NO_DEVICE_TIME;
	return gw_erasure_belongs(&erasure, device, &point);
}

// It was another who lay there from minute 30 on, and that is told only when the patient is forgotten already.
static void
what_turns_out_to_be_anothers_stays(void **state)
{
	told(EVENT(ADMIT, 0, WHO("4711001^^^K"), BED("ICU^^3")));
	told(EVENT(DISCHARGE, 60, WHO("4711001^^^K")));
	look("4711001^^^K");
	assert_int_equal(belongs("wall3", 10), GW_BELONGS);
	assert_int_equal(belongs("wall3", 40), GW_BELONGS);
	forget();
	assert_int_equal(belongs("wall3", 40), GW_BELONGS);
	told(EVENT(ADMIT, 30, WHO("4711002^^^K"), BED("ICU^^3"), TOLD(100)));
	assert_int_equal(belongs("wall3", 10), GW_BELONGS);
	assert_int_equal(belongs("wall3", 40), GW_BELONGS_UNSURE);
	assert_false(gw_erasure_takes(&erasure, belongs("wall3", 40)));
	assert_int_equal(belongs("wall3", 70), GW_BELONGS_NOT);
	gw_erasure_fini(&erasure);
	(void)state;
}

// A refused message that came while the rest was taken out.
static void
what_came_until_he_was_forgotten_names_him(void **state)
{
	told(EVENT(ADMIT, 0, WHO("4711001^^^K"), BED("ICU^^3")));
	told(EVENT(DISCHARGE, 60, WHO("4711001^^^K")));
	look("4711001^^^K");
	forget();
	assert_int_equal(quarantined(GW_DOOR_HL7, "", NOW - 1, "PID|1||4711001^^^K||N\r"), GW_BELONGS);
	assert_int_equal(quarantined(GW_DOOR_HL7, "", NOW + 1, "PID|1||4711001^^^K||N\r"), GW_BELONGS_NOT);
	gw_erasure_fini(&erasure);
	(void)state;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, hub_open, hub_close)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(an_identifier_is_one_only_where_it_stands_for_a_patient),
		TEST(a_frame_with_the_same_digits_is_not_surely_his),
		TEST(what_turns_out_to_be_anothers_stays),
		TEST(what_came_until_he_was_forgotten_names_him),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
