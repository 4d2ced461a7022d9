// SPDX-License-Identifier: Apache-2.0
// Output for people and programs: tables that align, CSV that spreadsheets read, SenML that is one array, whatever the lines hold.
#include "gateway/cli_show.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct gw_column columns[] = {
	{ .key = "id", .title = "DEVICE" }, { .key = "value", .title = "VALUE", .right = true },
	{ .key = "received.value", .title = "AS RECEIVED", .name = "value_received" }, { .key = "more", .csv_only = true },
};

static void
show_row(struct gw_show *show, yyjson_val *line)
{
	gw_show_row(show, columns, sizeof(columns) / sizeof(columns[0]), line);
}

// All lines (separated by newlines) in a format. The caller frees it.
static char *
shown(enum gw_show_format format, const char *lines, bool good)
{
	struct gw_cli_command command = { .name = "test", .arguments = "", .show = show_row };
	struct gw_cli cli = { .command = &command };
	struct gw_show show = { .cli = &cli, .format = format };
	char *text = NULL;
	size_t len;

	show.out = open_memstream(&text, &len);
	while (*lines != '\0') {
		size_t one = strcspn(lines, "\n");

		assert_true(gw_show_line(&show, lines, one));
		lines += one + (lines[one] == '\n');
	}
	gw_show_end(&show, good);
	gw_show_fini(&show);
	fclose(show.out);
	return text;
}

static void
expect(enum gw_show_format format, const char *lines, bool good, const char *wanted)
{
	char *text = shown(format, lines, good);

	assert_string_equal(text, wanted);
	free(text);
}

static void
test_table(void **state)
{
	(void)state;
	expect(GW_SHOW_TABLE, "{\"id\":\"a\",\"value\":7.50,\"received\":{\"value\":\"7.50\"},\"more\":1}\n{\"id\":\"\xC3\xA4rztin\",\"value\":120}", true,
	    "DEVICE  VALUE  AS RECEIVED\n"
	    "a        7.50  7.50\n"
	    "\xC3\xA4rztin    120  \n");
	expect(GW_SHOW_TABLE, "{\"id\":[\"x\",\"y\"],\"value\":{\"code\":5,\"refid\":\"MDC_X\"}}\n{\"id\":true,\"value\":{\"samples\":[1,2,3]}}", true,
	    "DEVICE      VALUE  AS RECEIVED\n"
	    "x y         MDC_X  \n"
	    "yes     3 samples  \n");
	expect(GW_SHOW_TABLE, "", true, "DEVICE  VALUE  AS RECEIVED\n");
	expect(GW_SHOW_TABLE, "", false, ""); // the error says it all
}

// A column in which there may be nothing is shown where there is something, also where that comes late.
static void
test_columns_that_may_be_empty(void **state)
{
	static const struct gw_column some[] = { { .key = "id", .title = "ID" }, { .key = "flags", .title = "FLAGS", .maybe = true }, { .key = "at", .title = "AT" },
		{ .key = "unsure", .title = "UNSURE", .maybe = true } };
	struct gw_show show = { .format = GW_SHOW_TABLE };
	char *text = NULL, line[80], *late;
	size_t len;

	(void)state;
	show.out = open_memstream(&text, &len);
	for (int i = 0; i < 300; i++) {
		int n = snprintf(line, sizeof(line), i < 250 ? "{\"id\":\"%03d\",\"at\":1}" : "{\"id\":\"%03d\",\"at\":1,\"unsure\":true}", i);
		yyjson_doc *doc = yyjson_read(line, (size_t)n, 0);

		gw_show_row(&show, some, 4, yyjson_doc_get_root(doc));
		yyjson_doc_free(doc);
	}
	gw_show_row(&show, some, 4, NULL);
	gw_show_fini(&show);
	fclose(show.out);
	assert_memory_equal(text, "ID   AT\n000  1\n", 14);
	assert_non_null(late = strstr(text, "UNSURE"));
	assert_non_null(strstr(late, "250  1   yes\n"));
	assert_null(strstr(late + 1, "UNSURE"));
	assert_null(strstr(text, "FLAGS"));
	free(text);
}

// Rows beyond those that are held back to measure go out with the same widths.
static void
test_long_table(void **state)
{
	char *lines = malloc(64 * 1000), *text, *to = lines, *save = NULL;
	size_t count = 0;

	(void)state;
	for (int i = 0; i < 1000; i++)
		to += sprintf(to, "{\"id\":\"device-%04d\",\"value\":%d}\n", i, i);
	text = shown(GW_SHOW_TABLE, lines, true);
	for (char *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save), count++)
		assert_int_equal(strlen(line), count == 0 ? strlen("DEVICE       VALUE  AS RECEIVED") : strlen("device-0000    999  "));
	assert_int_equal(count, 1001);
	free(text);
	free(lines);
}

static void
test_csv(void **state)
{
	(void)state;
	expect(GW_SHOW_CSV, "{\"id\":\"a,\\\"b\\\"\",\"value\":-3,\"received\":{\"value\":\"x\\ny\"},\"more\":\"=1+1\"}", true,
	    "id,value,value_received,more\n\"a,\"\"b\"\"\",-3,\"x\ny\",\"'=1+1\"\n");
	expect(GW_SHOW_CSV, "", true, "id,value,value_received,more\n");
	expect(GW_SHOW_CSV, "{\"id\":\"+1+cmd|' /C calc'!A0\",\"value\":\"-1.5e-3\",\"received\":{\"value\":\"-x\"},\"more\":\"-\"}", true,
	    "id,value,value_received,more\n\"'+1+cmd|' /C calc'!A0\",-1.5e-3,\"'-x\",-\n");
	expect(GW_SHOW_CSV, "{\"id\":\"-7.50\",\"value\":-1.5e3,\"received\":{\"value\":\"+3\"},\"more\":\"-.5\"}", true,
	    "id,value,value_received,more\n-7.50,-1.5e3,+3,-.5\n");
}

// A long text is there in whole.
static void
test_long_cell(void **state)
{
	static char line[20000], wanted[20000];
	int len;

	(void)state;
	len = sprintf(line, "{\"id\":\"");
	memset(line + len, 'x', 15000);
	strcpy(line + len + 15000, "\",\"value\":1}");
	len = sprintf(wanted, "id,value,value_received,more\n");
	memset(wanted + len, 'x', 15000);
	strcpy(wanted + len + 15000, ",1,,\n");
	expect(GW_SHOW_CSV, line, true, wanted);
}

// What a device sends must not command the terminal of whoever looks at it.
static void
test_control_characters(void **state)
{
	(void)state;
	expect(GW_SHOW_TABLE, "{\"id\":\"\\u001b[2Ja\",\"value\":\"\\u009bx\",\"received\":{\"value\":\"a\\nb\\u007f\"}}", true,
	    "DEVICE    VALUE  AS RECEIVED\n\\x1b[2Ja  \\x9bx  a b\\x7f\n");
	expect(GW_SHOW_CSV, "{\"id\":\"\\u001b[2J\",\"value\":1}", true, "id,value,value_received,more\n\\x1b[2J,1,,\n");
}

static void
test_json_and_senml(void **state)
{
	(void)state;
	expect(GW_SHOW_JSON, "{\"id\":1}\n{\"id\":2}", true, "{\"id\":1}\n{\"id\":2}\n");
	expect(GW_SHOW_SENML, "[{\"v\":1}]\n[]\n[{\"v\":2},{\"v\":3}]", true, "[{\"v\":1},\n {\"v\":2},{\"v\":3}]\n");
	expect(GW_SHOW_SENML, "[]", true, "[]\n");
}

// A dot leads into a member, where it is not part of a name.
static void
test_names_with_dots(void **state)
{
	const char *json = "{\"answers_2.04\":7,\"received\":{\"value\":\"7.50\"}}";
	yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
	char text[32];

	(void)state;
	assert_string_equal(gw_show_text(yyjson_doc_get_root(doc), "answers_2.04", text, sizeof(text)), "7");
	assert_string_equal(gw_show_text(yyjson_doc_get_root(doc), "received.value", text, sizeof(text)), "7.50");
	assert_string_equal(gw_show_text(yyjson_doc_get_root(doc), "received.other", text, sizeof(text)), "");
	yyjson_doc_free(doc);
}

// `status`: what is nothing is not said, what is of one is of one, and a part without words of its own is told all the same.
static void
test_status(void **state)
{
	static const char parts[] = "{\"series\":{\"state\":\"running\",\"readings\":1200,\"chunks\":1,\"readings_in_memory\":7,\"oldest\":\"2026-11-20T15:23:29.431296Z\","
	    "\"series\":3,\"devices\":2,\"used_bytes\":28672,\"budget_bytes\":68719476736,\"behind_records\":0,\"chunks_damaged\":2},"
	    "\"hl7\":{\"pdms\":{\"host\":\"h\",\"port\":2575,\"tls\":true,\"production\":true,\"outbox\":0,\"parked\":1,\"state\":\"connected\",\"acknowledged\":1,"
	    "\"errors\":0,\"rejects\":2,\"lag_records\":0,\"lag_s\":0.0,\"backlog_records\":9,\"last_answer\":{\"code\":\"AA\",\"text\":\"\",\"at\":\"2026-11-20T15:23:34Z\"},"
	    "\"first_parked\":[{\"number\":2}]},\"lab\":{\"host\":\"l\",\"port\":1,\"production\":false,\"outbox\":1,\"state\":\"waiting for the peer\",\"acknowledged\":0,"
	    "\"unanswered\":3,\"lag_records\":200,\"lag_s\":7300.5,\"gaps\":1,\"last_gap\":\"2026-11-20T15:23:34.5Z\",\"last_error\":\"no\\u001bway\","
	    "\"last_answer\":{\"code\":\"AE\",\"text\":\"no bed\",\"at\":\"2026-11-20T15:23:34Z\"}}},"
	    "\"hl7_in\":{\"connections\":1,\"remembered\":2,\"peers\":{\"adt\":{\"connections\":1,\"messages\":3,\"taken\":2,\"refused\":1}}},"
	    "\"mqtt\":{\"connections\":2,\"sessions\":1,\"connects_ok\":9,\"taken\":7,\"refused\":2,\"payload_bytes\":183,\"refused_by_reason\":{\"GW_E_FORMAT\":1,\"GW_E_ROUTE\":1},"
	    "\"threads\":[{\"connections\":0}]},\"coap\":{\"sessions\":0,\"sessions_opened\":1,\"requests\":3,\"answers_204\":2,\"answers_400\":1},"
	    "\"other\":{\"state\":\"well\",\"count\":5,\"more\":{\"of\":1},\"list\":[1]}}";
	yyjson_doc *doc = yyjson_read(parts, strlen(parts), YYJSON_READ_NUMBER_AS_RAW);
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	(void)state;
	gw_show_parts(out, yyjson_doc_get_root(doc));
	fclose(out);
	assert_string_equal(text,
	    "series     running; 1200 readings in 1 chunk, 7 in memory, the oldest filed 2026-11-20T15:23:29Z\n"
	    "           3 series of 2 devices; 28.0 KiB of 64.0 GiB used\n"
	    "           2 chunks DAMAGED (vitalgate verify)\n"
	    "hl7/pdms   connected; h port 2575 with TLS\n"
	    "           1 message acknowledged, 2 rejects (AR); last answer AA at 2026-11-20T15:23:34Z\n"
	    "           backlog: 9 records to go\n"
	    "           1 message PARKED: the receiver does not take them (vitalgate hl7 list)\n"
	    "hl7/lab    waiting for the peer; l port 1, a test system\n"
	    "           0 messages acknowledged, 3 times no answer; last answer AE \"no bed\" at 2026-11-20T15:23:34Z\n"
	    "           1 message to be sent; behind by 200 records, the oldest 2 h old\n"
	    "           readings LEFT OUT at 2026-11-20T15:23:34Z: beyond the limit of age or bytes (vitalgate trace); 1 gap since the start\n"
	    "           last error: no\\x1bway\n"
	    "hl7_in     1 connection; 2 messages remembered\n"
	    "hl7_in/adt 1 connection; 3 messages: 2 taken, 1 REFUSED\n"
	    "mqtt       2 connections, 1 session kept; 9 connects so far\n"
	    "           7 messages taken, 2 refused: payload cannot be decoded (1), no profile knows this topic or path (1); 183 B\n"
	    "coap       0 sessions; 1 opened so far\n"
	    "           3 requests; answered 2.04 (2), 4.00 (1)\n"
	    "other      state well, count 5\n"
	    "other/more of 1\n");
	free(text);
	yyjson_doc_free(doc);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table),
		cmocka_unit_test(test_columns_that_may_be_empty), cmocka_unit_test(test_long_table),
		cmocka_unit_test(test_csv),
		cmocka_unit_test(test_long_cell),
		cmocka_unit_test(test_control_characters),
		cmocka_unit_test(test_json_and_senml),
		cmocka_unit_test(test_names_with_dots),
		cmocka_unit_test(test_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
