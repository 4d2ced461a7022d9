// SPDX-License-Identifier: Apache-2.0
// Command handlers on a real store: what they change, what they say, what they never say.
#include "command_store.h"

#include "gateway/line.h"

#include <yyjson.h>

// ---- One command: its lines one after the other ----

struct answer {
	char *text;
	size_t len, lines, lines_max;
	enum gw_error error;
	struct gw_why why;
};

static bool
take_line(void *arg, const char *text, size_t len)
{
	struct answer *answer = arg;

	answer->text = realloc(answer->text, answer->len + len + 2);
	memcpy(answer->text + answer->len, text, len);
	answer->len += len;
	answer->text[answer->len++] = '\n';
	answer->text[answer->len] = '\0';
	return ++answer->lines < answer->lines_max;
}

static const struct gw_parts *running; // NULL: no daemon

static struct answer
ask_some(struct store *store, const char *request, size_t lines_max)
{
	struct answer answer = { .text = strdup(""), .lines_max = lines_max };
	struct gw_call call = { .core = &store->core, .parts = running, .who = "uid 7 (anna)", .line = take_line, .arg = &answer, .why = &answer.why };
	yyjson_doc *doc = yyjson_read(request, strlen(request), 0);

	call.arguments = yyjson_doc_get_root(doc);
	answer.error = gw_command_do(&call);
	yyjson_doc_free(doc);
	return answer;
}

static struct answer
ask(struct store *store, const char *request)
{
	return ask_some(store, request, SIZE_MAX);
}

// Does it, checks the error and that the answer (or the words) has a text; returns the number of lines.
static size_t
expect(struct store *store, const char *request, enum gw_error error, const char *part)
{
	struct answer answer = ask(store, request);

	if (answer.error != error || (strstr(answer.text, part) == NULL && strstr(answer.why.text, part) == NULL))
		fail_msg("%s\n%s %s\n%s", request, gw_error_name(answer.error), answer.why.text, answer.text);
	free(answer.text);
	return answer.lines;
}

static void
expect_without(struct store *store, const char *request, const char *part)
{
	struct answer answer = ask(store, request);

	assert_int_equal(answer.error, GW_OK);
	if (strstr(answer.text, part) != NULL)
		fail_msg("%s\n%s", request, answer.text);
	free(answer.text);
}

// ---- Frames, through the very line that adapters use ----

static enum gw_error
send_frame(struct store *store, const char *device, const char *route, const char *payload)
{
	struct gw_line_options options = { .registry = store->core.registry, .profiles = store->core.profiles, .payload_bytes_max = 65536 };
	struct gw_frame frame = {
		.door = GW_DOOR_MQTT, .auth = GW_AUTH_PSK, .principal = device, .route = gw_span_text(route), .payload = gw_span_text(payload),
		.content_format = GW_CF_NONE, .received_us = INT64_C(1800000000000000),
	};
	struct gw_line *line = gw_line_new(&options);
	struct gw_source source;
	struct gw_ticket *ticket;
	enum gw_error verdict;

	assert_int_equal(gw_source_init(&source, store->core.intake, 1), GW_OK);
	ticket = gw_ticket_get(&source);
	gw_line_take(line, &frame, ticket);
	verdict = ticket->verdict;
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
	gw_source_fini(&source);
	gw_line_free(line);
	return verdict;
}

static void
add_monitor(struct store *store)
{
	expect(store, "{\"command\":\"device add\",\"id\":\"m1\",\"profile\":\"senml\",\"psk\":true}", GW_OK, "\"psk_hex\":\"");
}

#define ROUTE "devices/m1/senml"
#define PACK(v) "[{\"n\":\"heart_rate\",\"u\":\"beat/min\",\"v\":" v ",\"t\":1700000000}]"

// ---- Devices ----

static void
test_device_clock(void **state)
{
	struct store *store = *state;

	add_monitor(store);
	expect_without(store, "{\"command\":\"device show\",\"id\":\"m1\"}", "\"clock");
	// Its time is three years behind: that may be a backfill.
	assert_int_equal(send_frame(store, "m1", ROUTE, PACK("72")), GW_OK);
	expect(store, "{\"command\":\"device show\",\"id\":\"m1\"}", GW_OK, "\"clock\":\"measuring\",\"clock_steps\":0");
	expect(store, "{\"command\":\"device remove\",\"id\":\"m1\"}", GW_OK, "removed");
	expect(store, "{\"command\":\"device add\",\"id\":\"m2\",\"profile\":\"senml\",\"psk\":true}", GW_OK, "\"psk_hex\":\"");
	assert_int_equal(send_frame(store, "m2", "devices/m2/senml", "[{\"n\":\"heart_rate\",\"v\":70,\"t\":1800000007}]"), GW_OK);
	expect(store, "{\"command\":\"device list\"}", GW_OK, "\"clock\":\"measured\",\"clock_ahead\":\"+7.0 s\",\"clock_uncertainty\":\"60.0 s\"");
}

static void
test_device_life(void **state)
{
	struct store *store = *state;
	struct answer added = ask(store, "{\"command\":\"device add\",\"id\":\"m1\",\"profile\":\"bedside-json\",\"psk\":true,\"password\":true,"
	    "\"ward\":\"3a\",\"mac\":\"001122334455\"}");
	yyjson_doc *doc = yyjson_read(added.text, added.len, 0);
	yyjson_val *line = yyjson_doc_get_root(doc);
	const char *secrets[] = { "psk", "psk_hex", "password" };

	assert_int_equal(added.error, GW_OK);
	assert_string_equal(yyjson_get_str(yyjson_obj_get(line, "mqtt_topic")), "ward/3a/m1/vitals");
	assert_string_equal(yyjson_get_str(yyjson_obj_get(line, "user")), "m1");
	assert_int_equal(yyjson_get_len(yyjson_obj_get(line, "psk_hex")), 2 * yyjson_get_len(yyjson_obj_get(line, "psk")));
	for (size_t i = 0; i < 3; i++) { // shown once
		expect_without(store, "{\"command\":\"device show\",\"id\":\"m1\"}", yyjson_get_str(yyjson_obj_get(line, secrets[i])));
		expect_without(store, "{\"command\":\"device list\"}", yyjson_get_str(yyjson_obj_get(line, secrets[i])));
	}
	expect_without(store, "{\"command\":\"device show\",\"id\":\"m1\"}", "$argon2");
	yyjson_doc_free(doc);
	free(added.text);
	expect(store, "{\"command\":\"device show\",\"id\":\"m1\"}", GW_OK, "\"00:11:22:33:44:55\"");
	expect(store, "{\"command\":\"device add\",\"id\":\"m1\",\"profile\":\"bedside-json\"}", GW_E_EXISTS, "exists already");
	expect(store, "{\"command\":\"device disable\",\"id\":\"m1\"}", GW_OK, "disabled");
	expect(store, "{\"command\":\"device list\"}", GW_OK, "\"state\":\"disabled\"");
	expect(store, "{\"command\":\"device enable\",\"id\":\"m1\"}", GW_OK, "enabled");
	expect(store, "{\"command\":\"device remove\",\"id\":\"m2\"}", GW_E_NOT_FOUND, "did you mean \"m1\"");
	expect(store, "{\"command\":\"device remove\",\"id\":\"m1\"}", GW_OK, "removed");
	assert_int_equal(expect(store, "{\"command\":\"device list\"}", GW_OK, ""), 0);
}

// Of every profile: the payload that is offered for pasting is taken whole, on the route that is offered with it.
static void
test_examples_are_taken(void **state)
{
	struct store *store = *state;
	const struct gw_profile *profile;

	for (size_t i = 0; (profile = gw_profile_at(store->core.profiles, i)) != NULL; i++) {
		char request[160];
		struct answer added;
		yyjson_doc *doc;
		yyjson_val *line;
		const char *topic;

		snprintf(request, sizeof(request), "{\"command\":\"device add\",\"id\":\"m%zu\",\"profile\":\"%s\"}", i, gw_profile_name(profile));
		added = ask(store, request);
		assert_int_equal(added.error, GW_OK);
		doc = yyjson_read(added.text, added.len, 0);
		line = yyjson_doc_get_root(doc);
		topic = yyjson_get_str(yyjson_obj_get(line, "mqtt_topic"));
		snprintf(request, sizeof(request), "m%zu", i);
		if (topic != NULL)
			assert_int_equal(send_frame(store, request, topic, yyjson_get_str(yyjson_obj_get(line, "payload"))), GW_OK);
		yyjson_doc_free(doc);
		free(added.text);
	}
	assert_true(gw_journal_last(store->core.journal) >= 4); // a command and a reading of two profiles at least
	assert_int_equal(expect(store, "{\"command\":\"quarantine list\"}", GW_OK, ""), 0);
}

static void
test_device_mistakes(void **state)
{
	struct store *store = *state;

	expect(store, "{\"command\":\"device add\",\"id\":\"a/b\",\"profile\":\"senml\"}", GW_E_ARGUMENT, "no '/'");
	expect(store, "{\"command\":\"device add\",\"id\":\"a\",\"profile\":\"sneml\"}", GW_E_NOT_FOUND, "did you mean \"senml\"");
	expect(store, "{\"command\":\"device add\",\"id\":\"a\"}", GW_E_ARGUMENT, "--profile");
	expect(store, "{\"command\":\"device add\",\"id\":\"a\",\"profile\":\"senml\",\"psk-key\":\"12\"}", GW_E_ARGUMENT, "hex digits");
	expect(store, "{\"command\":\"device add\"}", GW_E_ARGUMENT, "which id");
	expect(store, "{\"command\":\"device show\",\"id\":7}", GW_E_ARGUMENT, "which device");
	expect(store, "{\"command\":\"devise add\"}", GW_E_NOT_FOUND, "no command");
	expect(store, "{}", GW_E_ARGUMENT, "one line of JSON");
	expect(store, "[1]", GW_E_ARGUMENT, "one line of JSON");
	assert_int_equal(expect(store, "{\"command\":\"device list\"}", GW_OK, ""), 0);
}

static void
test_import_is_all_or_nothing(void **state)
{
	struct store *store = *state;

	expect(store, "{\"command\":\"device import\",\"rows\":[{\"line\":2,\"id\":\"a\",\"profile\":\"senml\"},{\"line\":3,\"id\":\"b\",\"profile\":\"x\"}]}",
	    GW_E_NOT_FOUND, "line 3: there is no profile");
	expect(store, "{\"command\":\"device import\",\"rows\":[{\"line\":2,\"id\":\"a\",\"profile\":\"senml\"},{\"line\":3,\"id\":\"b\",\"profile\":\"senml\","
	    "\"mac\":\"1\"}]}", GW_E_ARGUMENT, "line 3: mac");
	expect(store, "{\"command\":\"device import\",\"rows\":[{\"line\":2,\"id\":\"a\",\"profile\":\"senml\"},{\"line\":3,\"id\":\"a\",\"profile\":\"senml\"}]}",
	    GW_E_EXISTS, "line 3: device \"a\" is in line 2");
	expect(store, "{\"command\":\"device import\",\"rows\":[]}", GW_E_ARGUMENT, "no devices");
	assert_int_equal(expect(store, "{\"command\":\"device list\"}", GW_OK, ""), 0);
	// A key that was generated is told, one that was given is not; state survives a list that is read again.
	assert_int_equal(expect(store, "{\"command\":\"device import\",\"rows\":[{\"line\":2,\"id\":\"a\",\"profile\":\"senml\"},"
	    "{\"line\":3,\"id\":\"b\",\"profile\":\"senml\",\"psk\":\"00112233445566778899aabbccddeeff\",\"state\":\"disabled\"},"
	    "{\"line\":4,\"id\":\"c\",\"profile\":\"senml\",\"user\":\"cc\"}]}", GW_OK, "\"imported\":3"), 3);
	expect(store, "{\"command\":\"device show\",\"id\":\"b\"}", GW_OK, "\"state\":\"disabled\"");
	expect(store, "{\"command\":\"device show\",\"id\":\"c\"}", GW_OK, "\"user\":\"cc\"");
}

// ---- Readings ----

static void
test_readings(void **state)
{
	struct store *store = *state;
	struct answer some;

	add_monitor(store);
	for (int i = 0; i < 20; i++) {
		char payload[160];

		snprintf(payload, sizeof(payload), "[{\"bt\":%d,\"n\":\"heart_rate\",\"u\":\"beat/min\",\"v\":%d},"
		    "{\"n\":\"temperature_body\",\"u\":\"Cel\",\"v\":36.60}]", 1700000000 + i, 60 + i);
		assert_int_equal(send_frame(store, "m1", ROUTE, payload), GW_OK);
	}
	assert_int_equal(expect(store, "{\"command\":\"readings\",\"device\":\"m1\"}", GW_OK, "\"signal\":\"temperature_body\""), 40);
	assert_int_equal(expect(store, "{\"command\":\"readings\",\"device\":\"m1\",\"signal\":\"temperature_body\"}", GW_OK, "\"received\":{\"value\":\"36.60\""), 20);
	assert_int_equal(expect(store, "{\"command\":\"readings\",\"device\":\"m1\",\"signal\":\"heart_rate\",\"from\":\"1700000005\",\"to\":\"1700000008\"}",
	    GW_OK, "\"value\":65"), 3);
	assert_int_equal(expect(store, "{\"command\":\"readings\",\"device\":\"m1\",\"limit\":\"7\"}", GW_OK, "\"principal\":\"m1\",\"door\":\"mqtt\""), 7);
	assert_int_equal(expect(store, "{\"command\":\"readings\",\"device\":\"m1\",\"signal\":\"temperature_body\",\"format\":\"senml\"}", GW_OK, "\"v\":36.60"), 20);
	expect(store, "{\"command\":\"readings\",\"device\":\"m1\",\"signal\":\"hart_rate\"}", GW_E_NOT_FOUND, "did you mean \"heart_rate\"");
	expect(store, "{\"command\":\"readings\",\"device\":\"m2\"}", GW_E_NOT_FOUND, "did you mean \"m1\"");
	expect(store, "{\"command\":\"readings\",\"device\":\"m1\",\"from\":\"yesterday\"}", GW_E_ARGUMENT, "--from is a time");
	expect(store, "{\"command\":\"readings\",\"device\":\"m1\",\"from\":\"now\",\"to\":\"-1h\"}", GW_E_ARGUMENT, "not before");
	expect(store, "{\"command\":\"readings\",\"device\":\"m1\",\"limit\":\"0\"}", GW_E_ARGUMENT, "whole number");
	// Of a device that is no longer registered.
	expect(store, "{\"command\":\"device remove\",\"id\":\"m1\"}", GW_OK, "removed");
	assert_int_equal(expect(store, "{\"command\":\"readings\",\"device\":\"m1\"}", GW_OK, "heart_rate"), 40);
	// Whoever stops reading ends the search.
	some = ask_some(store, "{\"command\":\"readings\",\"device\":\"m1\"}", 3);
	assert_int_equal(some.lines, 3);
	free(some.text);
}

static void
test_readings_show_revisions(void **state)
{
	struct store *store = *state;

	add_monitor(store);
	assert_int_equal(send_frame(store, "m1", ROUTE, PACK("60")), GW_OK);
	assert_int_equal(send_frame(store, "m1", ROUTE, PACK("60")), GW_OK);
	assert_int_equal(send_frame(store, "m1", ROUTE, PACK("61")), GW_OK);
	assert_int_equal(expect(store, "{\"command\":\"readings\",\"device\":\"m1\"}", GW_OK, "\"revision\":1"), 2);
}

// ---- Quarantine ----

static void
test_quarantine(void **state)
{
	struct store *store = *state;

	expect(store, "{\"command\":\"device add\",\"id\":\"m1\",\"profile\":\"plain-text\",\"psk\":true}", GW_OK, "m1");
	assert_int_not_equal(send_frame(store, "m1", ROUTE, PACK("66")), GW_OK);
	assert_int_not_equal(send_frame(store, "m1", ROUTE, "\x01\x02"), GW_OK);
	assert_int_equal(expect(store, "{\"command\":\"quarantine list\"}", GW_OK, "\"principal\":\"m1\""), 2);
	expect(store, "{\"command\":\"quarantine show\",\"id\":\"1\"}", GW_OK, "\"payload\":\"[{\\\"n\\\"");
	expect(store, "{\"command\":\"quarantine show\",\"id\":\"2\"}", GW_OK, "\"payload_hex\":\"0102\"");
	expect(store, "{\"command\":\"quarantine show\",\"id\":\"3\"}", GW_E_NOT_FOUND, "no entry 3");
	expect(store, "{\"command\":\"quarantine show\",\"id\":\"x\"}", GW_E_ARGUMENT, "a number");
	expect(store, "{\"command\":\"quarantine replay\",\"id\":\"all\"}", GW_OK, "refused again");
	assert_int_equal(expect(store, "{\"command\":\"quarantine list\"}", GW_OK, ""), 2);
	// The device gets the profile that it should have had.
	expect(store, "{\"command\":\"device remove\",\"id\":\"m1\"}", GW_OK, "");
	add_monitor(store);
	assert_int_equal(expect(store, "{\"command\":\"quarantine replay\",\"id\":\"all\"}", GW_OK, "\"result\":\"taken\",\"readings\":1"), 2);
	assert_int_equal(expect(store, "{\"command\":\"quarantine list\"}", GW_OK, "\"id\":2"), 1);
	assert_int_equal(expect(store, "{\"command\":\"readings\",\"device\":\"m1\"}", GW_OK, "\"value\":66"), 1);
	expect(store, "{\"command\":\"quarantine drop\",\"id\":\"2\"}", GW_OK, "dropped");
	expect(store, "{\"command\":\"quarantine drop\",\"id\":\"2\"}", GW_E_NOT_FOUND, "no entry 2");
	assert_int_equal(expect(store, "{\"command\":\"quarantine list\"}", GW_OK, ""), 0);
}

// What was taken of a frame that was understood in part is not taken again, though it has no time of its own.
static void
test_replay_takes_once(void **state)
{
	struct store *store = *state;
	static const char payload[] = "[{\"n\":\"heart_rate\",\"u\":\"beat/min\",\"v\":66},{\"n\":\"heart_rate\",\"u\":\"beat/min\",\"v\":66},{\"n\":\"heart_rate\",\"u\":\"beat/min\",\"v\":67},"
	    "{\"n\":\"no_such_signal\",\"v\":1}]";

	add_monitor(store);
	for (int i = 0; i < 2; i++) // two frames of one moment: other threads', say
		assert_int_equal(send_frame(store, "m1", ROUTE, payload), GW_OK);
	assert_int_equal(expect(store, "{\"command\":\"readings\",\"device\":\"m1\"}", GW_OK, ""), 6);
	for (int i = 0; i < 2; i++)
		assert_int_equal(expect(store, "{\"command\":\"quarantine replay\",\"id\":\"all\"}", GW_OK, "\"readings\":0,\"duplicates\":3"), 2);
	assert_int_equal(expect(store, "{\"command\":\"readings\",\"device\":\"m1\"}", GW_OK, ""), 6);
	assert_int_equal(expect(store, "{\"command\":\"quarantine list\"}", GW_OK, ""), 2);
}

// ---- The rest ----

// A part of the test's own that keeps what it was asked.
static char asked[256];

static enum gw_error
part_command(void *part, yyjson_val *arguments, struct gw_why *reply)
{
	char *text = yyjson_val_write(arguments, 0, NULL);

	(void)part;
	snprintf(asked, sizeof(asked), "%s", text);
	free(text);
	return gw_fail(reply, GW_OK, "three messages");
}

static void
part_status(void *part, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	(void)part;
	yyjson_mut_obj_add_int(doc, object, "parked", 1);
}

// Tells what it was asked.
static enum gw_error
part_report(void *part, yyjson_val *arguments, gw_report_fn *line, void *arg, struct gw_why *why)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);

	(void)part;
	(void)why;
	yyjson_mut_doc_set_root(doc, yyjson_val_mut_copy(doc, arguments));
	return line(arg, doc) ? GW_OK : GW_E_CLOSED;
}

static void
put_cursor(struct store *store, const char *key, uint8_t position)
{
	uint8_t cursor[8] = { position };
	struct gw_source source;
	struct gw_ticket *ticket;

	assert_int_equal(gw_source_init(&source, store->core.intake, 1), GW_OK);
	ticket = gw_ticket_get(&source);
	assert_int_equal(gw_ticket_put(ticket, gw_span_text(key), gw_span(cursor, 8)), GW_OK);
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
	gw_source_fini(&source);
}

static void
test_outlets(void **state)
{
	static const struct gw_part bus = { .name = "bus", .outlet = true, .command = part_command, .status = part_status };
	static const struct gw_part hl7 = { .name = "hl7", .outlet = true, .command = part_command, .status = part_status, .report = part_report };
	struct gw_parts parts = { .slots = { { &bus, NULL }, { &hl7, NULL } }, .count = 2 };
	struct store *store = *state;

	expect(store, "{\"command\":\"outlet rewind\",\"name\":\"bus\",\"to\":\"-1h\"}", GW_E_NOT_FOUND, "does not run");
	expect(store, "{\"command\":\"hl7 retry\",\"destination\":\"pdms\",\"number\":\"1\"}", GW_E_NOT_FOUND, "does not run");
	put_cursor(store, "outlet/bus/cursor", 5);
	put_cursor(store, "outlet/hl7/pdms/cursor", 7);
	assert_int_equal(expect(store, "{\"command\":\"outlet list\"}", GW_OK, "\"outlet\":\"hl7/pdms\",\"cursor\":7"), 2);
	running = &parts;
	expect(store, "{\"command\":\"outlet list\"}", GW_OK, "\"running\":true");
	expect(store, "{\"command\":\"outlet rewind\",\"name\":\"bsu\",\"to\":\"-1h\"}", GW_E_NOT_FOUND, "did you mean \"bus\"");
	expect(store, "{\"command\":\"outlet rewind\",\"name\":\"bus\",\"to\":\"soon\"}", GW_E_ARGUMENT, "--to is a time");
	expect(store, "{\"command\":\"outlet rewind\",\"name\":\"bus\",\"to\":\"2000-01-01\"}", GW_OK, "three messages");
	assert_non_null(strstr(asked, "\"to\":\"2000-01-01\",\"action\":\"rewind\""));
	expect(store, "{\"command\":\"outlet retry\",\"name\":\"hl7/pdms\"}", GW_OK, "three messages");
	assert_non_null(strstr(asked, "\"name\":\"hl7/pdms\",\"action\":\"retry\""));
	expect(store, "{\"command\":\"hl7 drop\",\"destination\":\"pdms\",\"number\":\"12\"}", GW_OK, "three messages");
	assert_non_null(strstr(asked, "\"destination\":\"pdms\",\"number\":\"12\",\"action\":\"drop\""));
	expect(store, "{\"command\":\"hl7 drop\",\"destination\":\"pdms\"}", GW_E_ARGUMENT, "which message?");
	expect(store, "{\"command\":\"hl7 retry\",\"destination\":\"hl7/pdms\",\"number\":\"all\"}", GW_OK, "three messages");
	expect(store, "{\"command\":\"hl7 list\"}", GW_OK, "\"action\":\"list\"");
	expect(store, "{\"command\":\"hl7 show\",\"destination\":\"pdms\",\"number\":\"12\"}", GW_OK, "\"number\":\"12\",\"action\":\"show\"");
	running = NULL;
}

static void
test_status_and_profiles(void **state)
{
	struct store *store = *state;

	add_monitor(store);
	expect(store, "{\"command\":\"status\"}", GW_OK, "\"registry\":{\"devices\":1,");
	expect(store, "{\"command\":\"profile list\"}", GW_OK, "\"profile\":\"senml\"");
	expect(store, "{\"command\":\"profile show\",\"name\":\"bedside-json\"}", GW_OK, "\"signal\":\"heart_rate\"");
	expect(store, "{\"command\":\"profile show\",\"name\":\"bedside\"}", GW_E_NOT_FOUND, "bedside");
}

static void
test_bytes_that_are_no_text(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *json;
	} cases[] = {
		{ "a\xC3\xA4", 3, "{\"t\":\"a\xC3\xA4\"}" }, { "a\xFF", 2, "{\"t\":\"a\\\\xff\"}" }, { "\0b", 2, "{\"t\":\"\\\\x00b\"}" },
		{ "\xED\xA0\x80", 3, "{\"t\":\"\\\\xed\\\\xa0\\\\x80\"}" }, { "", 0, "{\"t\":\"\"}" }, { "\xE2\x82", 2, "{\"t\":\"\\\\xe2\\\\x82\"}" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		yyjson_mut_val *object;
		yyjson_mut_doc *doc = gw_call_object(&object);
		char *text;

		gw_json_span(doc, object, "t", gw_span(cases[i].bytes, cases[i].len));
		text = yyjson_mut_write(doc, 0, NULL);
		assert_string_equal(text, cases[i].json);
		free(text);
		yyjson_mut_doc_free(doc);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_device_clock, store_open, store_close),
		cmocka_unit_test_setup_teardown(test_device_life, store_open, store_close),
		cmocka_unit_test_setup_teardown(test_examples_are_taken, store_open, store_close),
		cmocka_unit_test_setup_teardown(test_device_mistakes, store_open, store_close),
		cmocka_unit_test_setup_teardown(test_import_is_all_or_nothing, store_open, store_close),
		cmocka_unit_test_setup_teardown(test_readings, store_open, store_close),
		cmocka_unit_test_setup_teardown(test_readings_show_revisions, store_open, store_close),
		cmocka_unit_test_setup_teardown(test_quarantine, store_open, store_close),
		cmocka_unit_test_setup_teardown(test_replay_takes_once, store_open, store_close),
		cmocka_unit_test_setup_teardown(test_outlets, store_open, store_close),
		cmocka_unit_test_setup_teardown(test_status_and_profiles, store_open, store_close),
		cmocka_unit_test(test_bytes_that_are_no_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
