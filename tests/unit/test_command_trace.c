// SPDX-License-Identifier: Apache-2.0
// `trace` on a real store: which readings it takes, what it asks the parts, what it says and what it never says; and the words for people.
#include "command_store.h"

#include "gateway/cli_handlers.h"
#include "gateway/cli_show.h"
#include "gateway/clock.h"

#include <yyjson.h>

#define NOW INT64_C(1800000000000000)
#define MINUTE INT64_C(60000000)

static char output[65536];
static size_t lines;

static bool
take_line(void *arg, const char *text, size_t len)
{
	size_t used = strlen(output);

	(void)arg;
	assert_true(used + len + 2 < sizeof(output));
	snprintf(output + used, sizeof(output) - used, "%.*s\n", (int)len, text);
	lines++;
	return true;
}

static enum gw_error
ask(struct store *store, const char *arguments, struct gw_why *why)
{
	struct gw_call call = { .core = &store->core, .who = "uid 7 (anna)", .line = take_line, .why = why };
	char request[512];
	yyjson_doc *doc;
	enum gw_error error;

	snprintf(request, sizeof(request), "{\"command\":\"trace\"%s%s}", arguments[0] != '\0' ? "," : "", arguments);
	assert_non_null(doc = yyjson_read(request, strlen(request), 0));
	call.arguments = yyjson_doc_get_root(doc);
	output[0] = '\0';
	lines = 0;
	error = gw_command_do(&call);
	yyjson_doc_free(doc);
	return error;
}

// Asks; expects as many lines, and a part of what they or the words say.
static void
expect(struct store *store, const char *arguments, size_t count, const char *part)
{
	struct gw_why why = { "" };
	enum gw_error error = ask(store, arguments, &why);

	if (lines != count || (strstr(output, part) == NULL && strstr(why.text, part) == NULL))
		fail_msg("%s: %s %s, %zu lines\n%s", arguments, gw_error_name(error), why.text, lines, output);
}

// Three readings of heart rate and one of oxygen: the first record has two.
static void
give(struct store *store, int64_t time_us, uint32_t signal, uint32_t other)
{
	struct gw_batch_head head = { .received_us = NOW - MINUTE, .door = GW_DOOR_COAP, .auth = GW_AUTH_PSK, .device = gw_span_text("m1"),
		.principal = gw_span_text("gate-1"), .route = gw_span_text("a/\x1b[2J"), .profile = gw_span_text("senml") };
	struct gw_reading readings[2] = {
		{ .signal = signal, .time_us = time_us, .type = GW_VALUE_DECIMAL, .decimal = { 7777, 0 } },
		{ .signal = other, .time_us = time_us, .type = GW_VALUE_DECIMAL, .decimal = { 7777, 0 } },
	};
	struct gw_source source;
	struct gw_ticket *ticket;

	assert_int_equal(gw_source_init(&source, store->core.intake, 1), GW_OK);
	ticket = gw_ticket_get(&source);
	assert_int_equal(gw_ticket_readings(ticket, &head, readings, other != 0 ? 2 : 1), GW_OK);
	assert_int_equal(gw_intake_commit(ticket), GW_OK);
	gw_ticket_release(ticket);
	gw_source_fini(&source);
}

static enum gw_error answer;

static enum gw_error
tell(struct gw_core *core, const struct gw_traced *traced, yyjson_mut_doc *doc, yyjson_mut_val *array)
{
	yyjson_mut_val *object = yyjson_mut_arr_add_obj(doc, array);

	assert_non_null(core->journal);
	assert_true(gw_span_is(traced->device, "m1") && traced->received_us == NOW - MINUTE && traced->reading->decimal.mantissa == 7777);
	yyjson_mut_obj_add_str(doc, object, "outlet", "one");
	yyjson_mut_obj_add_uint(doc, object, "asked_position", traced->position);
	yyjson_mut_obj_add_uint(doc, object, "asked_place", traced->place);
	yyjson_mut_obj_add_str(doc, object, "made", "2027-01-15T07:59:30Z");
	yyjson_mut_obj_add_str(doc, object, "at", "2027-01-15T07:59:40Z");
	return answer;
}

static const struct gw_part telling = { .name = "one", .trace = tell }, silent = { .name = "two" };
static const struct gw_part *const parts[] = { &silent, &telling, &telling };

static int
begin(void **state)
{
	struct store *store;

	if (store_open(state) != 0)
		return -1;
	store = *state;
	store->core.parts = parts;
	store->core.part_count = 3;
	answer = GW_OK;
	gw_clock_fake_wall(NOW);
	give(store, NOW - MINUTE, 147842, 150456);
	give(store, NOW - 2 * MINUTE, 147842, 0);
	give(store, NOW - 60 * MINUTE, 147842, 0);
	return 0;
}

static int
finish(void **state)
{
	gw_clock_fake_wall(INT64_MIN);
	return store_close(state);
}

static void
test_which_readings(void **state)
{
	struct store *store = *state;

	expect(store, "", 0, "--device");
	expect(store, "\"device\":\"m1\"", 3, ""); // of the last quarter of an hour
	expect(store, "\"device\":\"m1\",\"from\":\"-2h\"", 4, "");
	expect(store, "\"device\":\"m1\",\"to\":\"-50m\"", 1, "\"position\":3"); // of the quarter of an hour before
	expect(store, "\"device\":\"m1\",\"to\":\"nonsense\"", 0, "nonsense");
	expect(store, "\"device\":\"m1\",\"from\":\"-2h\",\"signal\":\"heart_rate\",\"limit\":\"2\"", 2, "\"position\":3");
	expect(store, "\"device\":\"m1\",\"signal\":\"hart_rate\"", 0, "heart_rate");
	expect(store, "\"device\":\"m2\"", 0, "not in the registry");
	expect(store, "\"device\":\"m1\",\"id\":\"00000000000000000000000000\"", 0, "");
}

static void
test_one_by_its_identifier(void **state)
{
	struct store *store = *state;
	char arguments[128], id[27];

	expect(store, "\"device\":\"m1\",\"from\":\"-2h\",\"to\":\"-30m\"", 1, "\"position\":3");
	snprintf(id, sizeof(id), "%s", strstr(output, "\"id\":\"") + 6);
	snprintf(arguments, sizeof(arguments), "\"device\":\"m1\",\"id\":\"%s\"", id); // however old
	expect(store, arguments, 1, "\"position\":3");
	snprintf(arguments, sizeof(arguments), "\"device\":\"m1\",\"id\":\"%s.1\"", id); // a revision that there is none of
	expect(store, arguments, 0, "");
	snprintf(arguments, sizeof(arguments), "\"device\":\"m1\",\"id\":\"%.25s\"", id);
	expect(store, arguments, 0, "");
}

static void
test_what_it_says(void **state)
{
	struct store *store = *state;

	expect(store, "\"device\":\"m1\",\"signal\":\"heart_rate\",\"from\":\"-90s\"", 1, "\"device\":\"m1\",\"signal\":\"heart_rate\",\"mdc\":147842");
	assert_non_null(strstr(output, "\"time\":\"2027-01-15T07:59:00Z\",\"device_time\":true,\"received\":\"2027-01-15T07:59:00Z\",\"door\":\"coap\","
	                               "\"principal\":\"gate-1\",\"auth\":\"psk\""));
	assert_non_null(strstr(output, "\"position\":1,\"place\":1,\"readings\":2"));
	assert_non_null(strstr(output, "\"committed_by\":\"2027-01-15T07:59:30Z\"")); // the earliest step that is known
	assert_non_null(strstr(output, "\"asked_position\":1,\"asked_place\":0"));
	assert_null(strstr(output, "7777"));
	expect(store, "\"device\":\"m1\",\"from\":\"-90s\"", 2, "\"place\":2,\"readings\":2");
	assert_non_null(strstr(output, "\"asked_position\":1,\"asked_place\":1"));
	answer = GW_E_CORRUPT;
	expect(store, "\"device\":\"m1\"", 0, "what became of it cannot be read: stored data is damaged");
}

// ---- For people ----

static char *
shown(const char *line)
{
	struct gw_cli_command command = { .name = "trace", .arguments = "", .show = gw_show_trace };
	struct gw_cli cli = { .command = &command };
	struct gw_show show = { .cli = &cli };
	char *text = NULL;
	size_t len;

	show.out = open_memstream(&text, &len);
	if (line[0] != '\0')
		assert_true(gw_show_line(&show, line, strlen(line)));
	gw_show_end(&show, true);
	gw_show_fini(&show);
	fclose(show.out);
	return text;
}

static void
test_words(void **state)
{
	static const char line[] = "{\"id\":\"X\",\"device\":\"m1\",\"signal\":\"heart_rate\",\"time\":\"T1\",\"device_time\":true,\"received\":\"T2\",\"door\":\"mqtt\","
	                           "\"principal\":\"m1\",\"auth\":\"psk\",\"route\":\"a\\u001b[2J\",\"profile\":\"p\",\"position\":5,\"place\":1,\"readings\":3,\"committed_by\":\"T3\","
	                           "\"outlets\":[{\"outlet\":\"bus\",\"state\":\"parked\",\"at\":\"T4\",\"words\":\"refused\"},"
	                           "{\"outlet\":\"hl7/pdms\",\"state\":\"sent\",\"message\":\"M1\",\"made\":\"T5\",\"answered\":\"T6\",\"answer\":\"AA\",\"patient\":12},"
	                           "{\"outlet\":\"hl7/icu\",\"state\":\"made\",\"message\":\"M2\",\"made\":\"T7\",\"whose\":\"nobody was associated\"},"
	                           "{\"outlet\":\"hl7/lab\",\"state\":\"waiting\"}]}";
	char *text = shown(line);

	(void)state;
	assert_string_equal(text,
	    "X heart_rate of m1, T1 by the device's clock\n"
	    "  T2                           received       by mqtt from m1 (psk), a\\x1b[2J, profile p\n"
	    "  T3                           committed      journal position 5, reading 1 of 3; by then\n"
	    "  T4                           bus            parked; refused\n"
	    "  T5                           hl7/pdms       message M1 made, for patient 12\n"
	    "  T6                           hl7/pdms       answered AA: sent\n"
	    "  T7                           hl7/icu        message M2 made, for nobody: nobody was associated\n"
	    "                               hl7/icu        not acknowledged yet\n"
	    "                               hl7/lab        waiting\n");
	free(text);
	text = shown("");
	assert_non_null(strstr(text, "no such readings"));
	free(text);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_which_readings, begin, finish),
		cmocka_unit_test_setup_teardown(test_one_by_its_identifier, begin, finish),
		cmocka_unit_test_setup_teardown(test_what_it_says, begin, finish),
		cmocka_unit_test(test_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
