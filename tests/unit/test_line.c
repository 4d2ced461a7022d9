// SPDX-License-Identifier: Apache-2.0
// The line of a frame on real registry, intake and journal: who may speak for whom, what lands where, and that nothing is lost or invented.
#include "store_help.h"

#include "gateway/line.h"

#include <string.h>

#define ROUTE "devices/m1/senml"

static struct gw_journal *journal;
static struct gw_intake *intake;
static struct gw_registry *registry;
static struct gw_profiles *profiles;
static struct gw_source source;
static struct gw_line *line;
static struct gw_why why;
static int64_t now_us;

static void
must(enum gw_error error)
{
	if (error != GW_OK)
		fail_msg("%s: %s", gw_error_name(error), why.text);
}

// "id=m1 profile=senml speaks_for=a,b"
static void
add(const char *text)
{
	struct gw_device device = { 0 };
	char copy[512], *save = NULL;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *pair = strtok_r(copy, " ", &save); pair != NULL; pair = strtok_r(NULL, " ", &save)) {
		char *equals = strchr(pair, '=');
		*equals = '\0';
		must(gw_device_set(&device, pair, gw_span_text(equals + 1), &why));
	}
	must(gw_registry_add(registry, &device, &why));
	gw_device_fini(&device);
}

static int
start(void **state)
{
	struct gw_intake_options options = { .group_bytes_max = 4 * MB, .group_tickets_max = 64 };
	struct gw_line_options line_options = { .payload_bytes_max = 65536, .refused_claims_per_min = 7 };

	if (store_make(state) != 0)
		return -1;
	options.journal = journal = store_open();
	must(gw_intake_open(&options, &intake, &why));
	must(gw_registry_open(journal, intake, &registry, &why));
	must(gw_profiles_load(NULL, &profiles, &why));
	must(gw_source_init(&source, intake, 4));
	line_options.registry = registry;
	line_options.profiles = profiles;
	line = gw_line_new(&line_options);
	now_us = T0;
	add("id=m1 profile=senml");
	add("id=m2 profile=senml");
	add("id=b1 profile=bedside-json");
	add("id=sim profile=senml test=true");
	add("id=off profile=senml disabled=true");
	add("id=hub profile= speaks_for=m1,m2,sim,off,b1");
	return line != NULL ? 0 : -1;
}

static int
end(void **state)
{
	gw_line_free(line);
	gw_source_fini(&source);
	gw_profiles_free(profiles);
	gw_registry_close(registry);
	gw_intake_stop(intake);
	gw_intake_close(intake);
	gw_journal_close(journal);
	return store_remove(state);
}

// What became of a frame, after its commit.
struct outcome {
	enum gw_error verdict;
	bool quarantined;
	uint32_t stored, duplicates;
	char why[192];
};

static struct outcome
take_frame(struct gw_frame frame)
{
	struct gw_ticket *ticket = gw_ticket_get(&source);
	struct outcome outcome;

	assert_non_null(ticket);
	gw_line_take(line, &frame, ticket);
	must(gw_intake_commit(ticket));
	outcome = (struct outcome){ ticket->verdict, ticket->quarantined, ticket->stored, ticket->duplicates, "" };
	strcpy(outcome.why, ticket->why.text);
	gw_ticket_release(ticket);
	return outcome;
}

static struct outcome
take(const char *principal, enum gw_door door, const char *route, const char *payload)
{
	now_us += 1000000;
	return take_frame((struct gw_frame){ .door = door, .auth = GW_AUTH_PSK, .principal = principal, .route = gw_span_text(route), .payload = gw_span_text(payload),
	    .content_format = GW_CF_NONE, .received_us = now_us });
}

static struct outcome
mqtt(const char *principal, const char *route, const char *payload)
{
	return take(principal, GW_DOOR_MQTT, route, payload);
}

// ---- what is in the journal ----

struct tally {
	const char *device;
	int readings, records, test;
	uint64_t last_position;
	char ids[8][GW_READING_ID_MAX];
};

static void
count_reading(void *arg, const struct gw_record *record, const struct gw_batch_head *head, const struct gw_reading *reading)
{
	struct tally *tally = arg;

	if (!gw_span_is(head->device, tally->device))
		return;
	gw_reading_id(1, head->device, reading, tally->ids[tally->readings % 8]);
	tally->readings++;
	tally->records += record->position != tally->last_position;
	tally->last_position = record->position;
	tally->test += (reading->flags & GW_FLAG_TEST) != 0;
}

static struct tally
tally_of(const char *device)
{
	struct tally tally = { .device = device };

	store_each(journal, count_reading, &tally);
	return tally;
}

static int
events(void)
{
	static uint8_t buf[GW_RECORD_MAX + 16];
	uint64_t from = gw_journal_first(journal);
	int count = 0;
	size_t used;

	do {
		struct gw_record record;
		struct gw_event event;
		assert_int_equal(gw_journal_read(journal, from, buf, sizeof(buf), &used, &from), GW_OK);
		struct gw_span rest = gw_span(buf, used);
		while (gw_journal_step(&rest, &record))
			count += record.type == GW_RECORD_DEVICE_EVENT && gw_event_open(&record, &event, NULL) == GW_OK && event.code == GW_EVENT_REFUSED_CLAIM;
	} while (used > 0);
	return count;
}

struct kept {
	int count;
	enum gw_error error;
	char payload[256], reason[192], route[256], principal[65];
};

static bool
keep(void *arg, const struct gw_quarantined *entry)
{
	struct kept *kept = arg;

	kept->count++;
	kept->error = entry->error;
	snprintf(kept->payload, sizeof(kept->payload), "%.*s", GW_SPAN_FMT(entry->payload));
	snprintf(kept->reason, sizeof(kept->reason), "%.*s", GW_SPAN_FMT(entry->reason));
	snprintf(kept->route, sizeof(kept->route), "%.*s", GW_SPAN_FMT(entry->route));
	snprintf(kept->principal, sizeof(kept->principal), "%.*s", GW_SPAN_FMT(entry->principal));
	return true;
}

static struct kept
quarantine(void)
{
	struct kept kept = { 0 };

	assert_int_equal(gw_quarantine_each(journal, 0, keep, &kept), GW_OK);
	return kept;
}

// ---- tests ----

static void
test_taken(void **state)
{
	struct outcome o = mqtt("m1", ROUTE, "[{\"bt\":1795162500,\"n\":\"heart_rate\",\"v\":72},{\"n\":\"spo2\",\"v\":97}]");

	assert_int_equal(o.verdict, GW_OK);
	assert_false(o.quarantined);
	assert_int_equal(o.stored, 2);
	assert_int_equal(tally_of("m1").readings, 2);
	assert_int_equal(tally_of("m1").records, 1);
	o = take("m1", GW_DOOR_COAP, "readings", "[{\"bt\":1795162500,\"n\":\"heart_rate\",\"v\":72}]"); // again, by another door
	assert_int_equal(o.duplicates, 1);
	assert_int_equal(tally_of("m1").readings, 2);
	assert_int_equal(take("b1", GW_DOOR_COAP, "ward/3/b1/vitals", "{\"hr\":72}").stored, 1);
	assert_int_equal(events(), 0);
	assert_int_equal(quarantine().count, 0);
}

static void
test_claims(void **state)
{
	static const struct { const char *principal, *route; enum gw_error verdict; const char *words; } claims[] = {
		{ "m1", "devices/m2/senml", GW_E_FORBIDDEN, "m1 may not speak for m2" },
		{ "m1", "devices/ghost/senml", GW_E_FORBIDDEN, "m1 may not speak for ghost" },
		{ "nobody", ROUTE, GW_E_FORBIDDEN, "nobody is not registered" },
		{ "off", "devices/off/senml", GW_E_DISABLED, "off is disabled" },
		{ "hub", "devices/off/senml", GW_E_DISABLED, "off is disabled" },
		{ "m2", "devices/hub/senml", GW_E_FORBIDDEN, "m2 may not speak for hub" },
	};
	const int count = sizeof(claims) / sizeof(claims[0]);

	for (int i = 0; i < 3 * count; i++) { // each one three times within a minute: one event
		struct outcome o = mqtt(claims[i % count].principal, claims[i % count].route, "[{\"n\":\"heart_rate\",\"v\":72}]");
		assert_int_equal(o.verdict, claims[i % count].verdict);
		assert_non_null(strstr(o.why, claims[i % count].words));
		assert_int_equal(o.stored, 0);
		assert_false(o.quarantined);
	}
	assert_int_equal(events(), count);
	now_us += 61000000;
	mqtt("m1", "devices/m2/senml", "[{\"n\":\"heart_rate\",\"v\":72}]");
	assert_int_equal(events(), count + 1);
	assert_int_equal(quarantine().count, 0);
	assert_int_equal(tally_of("m2").readings, 0);
}

static void
test_many_claims_of_one(void **state)
{
	for (int i = 0; i < 500; i++) {
		char route[64];
		snprintf(route, sizeof(route), "devices/x%d/senml", i);
		now_us -= 1000000; // all within the same minute
		assert_int_equal(mqtt("m1", route, "[{\"n\":\"heart_rate\",\"v\":72}]").verdict, GW_E_FORBIDDEN);
	}
	assert_int_equal(events(), 7); // the option
}

static void
test_payload_names_device(void **state)
{
	struct outcome o = take("hub", GW_DOOR_COAP, "readings", "[{\"bn\":\"m1/\",\"bt\":1795162500,\"n\":\"heart_rate\",\"v\":1},{\"bn\":\"m2/\",\"n\":\"heart_rate\",\"v\":2},"
	    "{\"n\":\"spo2\",\"v\":3},{\"bn\":\"sim/\",\"n\":\"spo2\",\"v\":4},{\"bn\":\"m1/\",\"n\":\"spo2\",\"v\":5}]");

	assert_int_equal(o.verdict, GW_OK);
	assert_int_equal(o.stored, 5);
	assert_int_equal(tally_of("m1").readings, 2);
	assert_int_equal(tally_of("m1").records, 1); // one record for each device, in one commit
	assert_int_equal(tally_of("m2").readings, 2);
	assert_int_equal(tally_of("sim").test, 1);
	assert_int_equal(tally_of("m2").test, 0);
	// One device that is not the principal's: nothing of the frame is taken.
	o = take("hub", GW_DOOR_COAP, "readings", "[{\"bn\":\"m1/\",\"n\":\"heart_rate\",\"v\":6},{\"bn\":\"m9/\",\"n\":\"heart_rate\",\"v\":7}]");
	assert_int_equal(o.verdict, GW_E_FORBIDDEN);
	assert_int_equal(tally_of("m1").readings, 2);
	o = mqtt("m1", ROUTE, "[{\"bn\":\"m2/\",\"n\":\"heart_rate\",\"v\":8}]"); // the topic is its own, the payload's name is not
	assert_int_equal(o.verdict, GW_E_FORBIDDEN);
	assert_int_equal(tally_of("m2").readings, 2);
	assert_int_equal(events(), 2);
	// The concentrator itself is no device, and a device of another profile does not come in SenML.
	o = take("hub", GW_DOOR_COAP, "readings", "[{\"n\":\"heart_rate\",\"v\":9}]");
	assert_int_equal(o.verdict, GW_E_FORMAT);
	o = take("hub", GW_DOOR_COAP, "readings", "[{\"bn\":\"b1/\",\"n\":\"heart_rate\",\"v\":9}]");
	assert_int_equal(o.verdict, GW_E_ROUTE);
	assert_int_equal(quarantine().count, 2);
	assert_int_equal(mqtt("hub", "devices/m1/senml", "[{\"n\":\"heart_rate\",\"v\":10}]").stored, 1);
	assert_int_equal(mqtt("hub", "ward/3/b1/vitals", "{\"hr\":11}").stored, 1);
}

static void
test_refused_content(void **state)
{
	static const struct { const char *route, *payload; enum gw_error verdict; const char *words; } frames[] = {
		{ "devices/m1/senmk", "x", GW_E_ROUTE, "profile senml takes devices/{device}/senml" },
		{ "ward/3/m1/vitals", "{\"hr\":72}", GW_E_ROUTE, "device m1 has profile senml" },
		{ ROUTE, "[{\"n\":\"heart_rate\",", GW_E_FORMAT, "no JSON at byte" },
		{ ROUTE, "[]", GW_E_EMPTY, "no reading" },
		{ ROUTE, "", GW_E_EMPTY, "payload is empty" },
		{ ROUTE, "[{\"n\":\"hart\",\"v\":1}]", GW_E_FIELD, "field \"hart\"" },
	};

	for (size_t i = 0; i < sizeof(frames) / sizeof(frames[0]); i++) {
		struct outcome o = mqtt("m1", frames[i].route, frames[i].payload);
		struct kept kept = quarantine();
		assert_int_equal(o.verdict, frames[i].verdict);
		assert_true(o.quarantined);
		assert_non_null(strstr(o.why, frames[i].words));
		assert_int_equal(kept.count, i + 1);
		assert_int_equal(kept.error, frames[i].verdict);
		assert_string_equal(kept.payload, frames[i].payload); // whole
		assert_string_equal(kept.route, frames[i].route);
		assert_string_equal(kept.reason, o.why);
		assert_string_equal(kept.principal, "m1");
	}
	assert_int_equal(tally_of("m1").readings, 0);
}

static void
test_partly(void **state)
{
	const char *payload = "[{\"n\":\"heart_rate\",\"v\":72},{\"n\":\"hart\",\"v\":1}]";
	struct outcome o = mqtt("m1", ROUTE, payload);

	assert_int_equal(o.verdict, GW_OK);
	assert_int_equal(o.stored, 1);
	assert_true(o.quarantined);
	assert_int_equal(quarantine().count, 1);
	assert_int_equal(quarantine().error, GW_E_FIELD);
	assert_string_equal(quarantine().payload, payload);
}

static void
test_too_large(void **state)
{
	static char payload[65537 + 1];
	struct outcome o;

	memset(payload, ' ', 65537);
	memcpy(payload, "[]", 2);
	o = mqtt("m1", ROUTE, payload);
	assert_int_equal(o.verdict, GW_E_TOO_LARGE);
	assert_int_equal(quarantine().count, 1);
	payload[65536] = '\0';
	assert_int_equal(mqtt("m1", ROUTE, payload).verdict, GW_E_EMPTY);
}

static void
test_changes_apply(void **state)
{
	assert_int_equal(mqtt("m1", ROUTE, "[{\"n\":\"heart_rate\",\"v\":72}]").stored, 1);
	must(gw_registry_set_disabled(registry, gw_span_text("m1"), true, &why));
	assert_int_equal(mqtt("m1", ROUTE, "[{\"n\":\"heart_rate\",\"v\":72}]").verdict, GW_E_DISABLED);
	must(gw_registry_set_disabled(registry, gw_span_text("m1"), false, &why));
	assert_int_equal(mqtt("m1", ROUTE, "[{\"n\":\"heart_rate\",\"v\":72}]").stored, 1);
	assert_int_equal(mqtt("m1", "devices/m3/senml", "[]").verdict, GW_E_FORBIDDEN);
	add("id=m3 profile=senml");
	assert_int_equal(mqtt("m3", "devices/m3/senml", "[{\"n\":\"heart_rate\",\"v\":72}]").stored, 1);
	must(gw_registry_remove(registry, gw_span_text("m1"), &why));
	assert_int_equal(mqtt("m1", ROUTE, "[{\"n\":\"heart_rate\",\"v\":72}]").verdict, GW_E_FORBIDDEN);
}

// Two frames that came in the same microsecond, without device times: two readings with two identifiers.
static void
test_same_microsecond(void **state)
{
	struct gw_frame frame = { .door = GW_DOOR_MQTT, .auth = GW_AUTH_PSK, .principal = "m1", .route = gw_span_text(ROUTE),
		.payload = gw_span_text("[{\"n\":\"heart_rate\",\"v\":72},{\"n\":\"heart_rate\",\"v\":73}]"), .content_format = GW_CF_NONE, .received_us = T0 };
	struct tally tally;

	assert_int_equal(take_frame(frame).stored, 2);
	assert_int_equal(take_frame(frame).stored, 2);
	frame.received_us = T0 - 3600000000; // a clock that was set back is followed
	assert_int_equal(take_frame(frame).stored, 2);
	tally = tally_of("m1");
	assert_int_equal(tally.readings, 6);
	for (int i = 0; i < 6; i++)
		for (int k = 0; k < i; k++)
			assert_string_not_equal(tally.ids[i], tally.ids[k]);
}

// Many routes and principals share the cache; long routes do not enter it. Each frame must still land with its own device.
static void
test_cache(void **state)
{
	char route[600], id[64], payload[64];

	for (int i = 0; i < 300; i++) {
		snprintf(id, sizeof(id), "id=c%d profile=bedside-json", i);
		add(id);
	}
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < 300; i++) {
			snprintf(id, sizeof(id), "c%d", i);
			snprintf(payload, sizeof(payload), "{\"hr\":%d}", i);
			snprintf(route, sizeof(route), round == 2 ? "ward/%0500d/c%d/vitals" : "ward/%d/c%d/vitals", 3, i);
			assert_int_equal(mqtt(id, route, payload).stored, 1);
			snprintf(route, sizeof(route), round == 2 ? "ward/%0500d/c%d/vitals" : "ward/%d/c%d/vitals", 3, (i + 1) % 300);
			assert_int_equal(mqtt(id, route, payload).verdict, GW_E_FORBIDDEN);
		}
	for (int i = 0; i < 300; i += 37) {
		snprintf(id, sizeof(id), "c%d", i);
		assert_int_equal(tally_of(id).readings, 3);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)

int
main(void)
{
	const struct CMUnitTest tests[] = { TEST(test_taken), TEST(test_claims), TEST(test_many_claims_of_one), TEST(test_payload_names_device), TEST(test_refused_content),
		TEST(test_partly), TEST(test_too_large), TEST(test_changes_apply), TEST(test_same_microsecond), TEST(test_cache) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
