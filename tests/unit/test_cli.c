// SPDX-License-Identifier: Apache-2.0
// The command line's parser: arguments by the grammar of their row, and CSV files.
#include "gateway/cli.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

// Parses words behind a made-up command; the arguments as JSON, or the mistake's words. The caller frees it.
static char *
parsed(const char *grammar, const char *words)
{
	struct gw_cli_command command = { .name = "test", .arguments = grammar, .help = "" };
	struct gw_cli cli = { .command = &command };
	char copy[256], *argv[32], *save = NULL, *out;
	struct gw_why why = { "" };
	int argc = 0;

	snprintf(copy, sizeof(copy), "%s", words);
	for (char *word = strtok_r(copy, " ", &save); word != NULL; word = strtok_r(NULL, " ", &save))
		argv[argc++] = word;
	cli.request = yyjson_mut_doc_new(NULL);
	cli.arguments = yyjson_mut_obj(cli.request);
	yyjson_mut_doc_set_root(cli.request, cli.arguments);
	out = gw_cli_parse(&cli, argc, argv, &why) ? yyjson_mut_write(cli.request, 0, NULL) : strdup(why.text);
	yyjson_mut_doc_free(cli.request);
	return out;
}

static void
test_grammar(void **state)
{
	static const char device[] = "ID [--profile NAME] [--psk] [--password [TEXT|-]] [--cert-subject [NAME]] [--test] [--format table|csv]";
	static const struct {
		const char *grammar, *words, *wanted;
	} cases[] = {
		{ device, "m1", "{\"id\":\"m1\"}" },
		{ device, "m1 --profile p --psk", "{\"id\":\"m1\",\"profile\":\"p\",\"psk\":true}" },
		{ device, "--psk m1", "{\"psk\":true,\"id\":\"m1\"}" },
		{ device, "m1 --password --test", "{\"id\":\"m1\",\"password\":true,\"test\":true}" },
		{ device, "m1 --password -", "{\"id\":\"m1\",\"password\":\"-\"}" },
		{ device, "m1 --password=--x --test", "{\"id\":\"m1\",\"password\":\"--x\",\"test\":true}" },
		{ device, "m1 --cert-subject", "{\"id\":\"m1\",\"cert-subject\":true}" },
		{ device, "m1 --format csv", "{\"id\":\"m1\",\"format\":\"csv\"}" },
		{ device, "-- --m1", "{\"id\":\"--m1\"}" },
		{ device, "m1 --profile a --profile b", "{\"id\":\"m1\",\"profile\":\"b\"}" },
		{ device, "", "id is missing" },
		{ device, "m1 m2", "\"m2\" is one word too many" },
		{ device, "m1 --profile", "--profile needs a value" },
		{ device, "m1 --profile --psk", "--profile needs a value" },
		{ device, "m1 --psk=1", "--psk takes no value" },
		{ device, "m1 --pks", "unknown option \"--pks\"; did you mean \"--psk\"?" },
		{ "--device ID [--from TIME]", "--device d --from -15m", "{\"device\":\"d\",\"from\":\"-15m\"}" },
		{ "--device ID [--from TIME]", "--from now", "--device is missing" },
		{ "NAME --to TIME", "bus --to -1h", "{\"name\":\"bus\",\"to\":\"-1h\"}" },
		{ "NAME --to TIME", "bus", "--to is missing" },
		{ "ID|all", "all", "{\"id\":\"all\"}" },
		{ "[ID|all]", "", "{}" },
		{ "FILE.csv [--secrets FILE]", "a.csv --secrets b", "{\"file\":\"a.csv\",\"secrets\":\"b\"}" },
		{ "", "", "{}" },
		{ "", "x", "\"x\" is one word too many" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *got = parsed(cases[i].grammar, cases[i].words);

		assert_string_equal(got, cases[i].wanted);
		free(got);
	}
}

// Every row of the table is one that the parser understands: what it does not bracket is wanted, and nothing else.
static void
test_every_command_has_a_grammar(void **state)
{
	const struct gw_cli_command *command;

	(void)state;
	for (size_t i = 0; (command = gw_cli_command_at(i)) != NULL; i++) {
		char *got = parsed(command->arguments, "");
		bool wants = command->arguments[0] != '\0' && command->arguments[0] != '[';

		assert_int_equal(strcmp(got, "{}") != 0, wants);
		assert_int_not_equal(command->help[0], '\0');
		assert_true((command->local != NULL) != (command->show != NULL));
		free(got);
	}
}

// The rows as JSON, or the mistake's words.
static char *
rows(const char *csv)
{
	char path[] = "/tmp/vitalgate-csv-XXXXXX", *out;
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *arguments = yyjson_mut_obj(doc);
	struct gw_why why = { "" };
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, csv, strlen(csv)), (ssize_t)strlen(csv));
	close(fd);
	yyjson_mut_doc_set_root(doc, arguments);
	out = gw_cli_read_csv(path, doc, arguments, &why) == GW_OK ?
	    yyjson_mut_val_write(yyjson_mut_obj_get(arguments, "rows"), 0, NULL) : strdup(why.text);
	unlink(path);
	yyjson_mut_doc_free(doc);
	return out;
}

static void
test_csv(void **state)
{
	static const struct {
		const char *csv, *wanted;
	} cases[] = {
		{ "id,bed\na,1\nb,2\n", "[{\"line\":2,\"id\":\"a\",\"bed\":\"1\"},{\"line\":3,\"id\":\"b\",\"bed\":\"2\"}]" },
		{ "\xEF\xBB\xBFid;bed\r\na;1\r\n\r\nb;\r\n", "[{\"line\":2,\"id\":\"a\",\"bed\":\"1\"},{\"line\":4,\"id\":\"b\"}]" },
		{ "id,bed\na,\"x, \"\"y\"\"\nz\"\nb,2", "[{\"line\":2,\"id\":\"a\",\"bed\":\"x, \\\"y\\\"\\nz\"},{\"line\":4,\"id\":\"b\",\"bed\":\"2\"}]" },
		{ "id,bed\n\"'=a\",'-7\n", "[{\"line\":2,\"id\":\"=a\",\"bed\":\"'-7\"}]" },
		{ "id,password,bed\na,'=b,''+c\n", "[{\"line\":2,\"id\":\"a\",\"password\":\"'=b\",\"bed\":\"'+c\"}]" },
		{ "id,bed\n", "[]" },
		{ "id,bde\na,1\n", "line 1: unknown column \"bde\"; did you mean \"bed\"?" },
		{ "bed\n1\n", "line 1: the first line names the columns, one of them \"id\"" },
		{ "id,bed\na,1,2\n", "line 2: more cells than columns" },
		{ "id,bed\na,1\nb,\"2\n", "line 3: a quote is not closed" },
		{ "", "line 1: unknown column \"\"" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *got = rows(cases[i].csv);

		assert_string_equal(got, cases[i].wanted);
		free(got);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_grammar),
		cmocka_unit_test(test_every_command_has_a_grammar),
		cmocka_unit_test(test_csv),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
