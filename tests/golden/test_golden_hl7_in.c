// SPDX-License-Identifier: Apache-2.0
// Messages from the hospital and what they mean: every file of tests/golden/hl7-in, written by hand from HL7 v2 chapters 2 to 4 and IHE PCIM, has a message,
// a line "--", its meaning, a line "--", and the answer. Segments end in LF there, in CR here. Lines before MSH set options: "#set services 69965",
// "#orr", "#accept". Files are UTF-8; a message whose MSH-18 names 8859/1 or 8859/15 is put into that set first, and its answer back.
#include "adapters/hl7/answer.h"
#include "adapters/hl7/interpret.h"
#include "hl7_meaning.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#define NOW INT64_C(1795162500000000) // 2026-11-20T08:15:00Z
#define FOLDER VITALGATE_SOURCE "/tests/golden/hl7-in"
#define TEXT_MAX 16384

static struct gw_hl7_mapping mapping;
static struct gw_hl7_meaning meaning;
static bool orr, accept_only;
static unsigned differences; // all files are looked at before the test fails

// ---- One file ----

static char *
option(char *text)
{
	char name[40], value[80];
	struct gw_why why;
	int used = 0;

	while (*text == '#') {
		orr = orr || strncmp(text, "#orr\n", 5) == 0;
		accept_only = accept_only || strncmp(text, "#accept\n", 8) == 0;
		if (sscanf(text, "#set %39s %79[^\n]%n", name, value, &used) == 2)
			assert_int_equal(gw_hl7_mapping_set(&mapping, name, gw_span_text(value), &why), GW_OK);
		text = strchr(text, '\n') + 1;
	}
	return text;
}

static void
encode(const char *text, const struct gw_hl7_charset *charset, struct gw_hl7_out *out)
{
	gw_hl7_charset_put(out, charset, gw_span_text(text), '\\');
	for (size_t i = 0; i < out->len; i++)
		if (out->at[i] == '\n')
			out->at[i] = '\r';
}

static const struct gw_hl7_charset *
declared(const char *message)
{
	const struct gw_hl7_charset *utf8 = gw_hl7_charset_utf8(), *found;
	const char *end = strchr(message, '\n'), *at = message;
	size_t len;

	for (int i = 0; i < 17; i++)
		if ((at = memchr(at, message[3], (size_t)(end - at))) == NULL)
			return utf8;
		else
			at++;
	len = strcspn(at, "|~\n");
	found = len > 0 ? gw_hl7_charset_find(gw_span(at, len)) : NULL;
	return found != NULL && gw_hl7_charset_writes(found) ? found : utf8;
}

static void
answer(struct gw_hl7_in *in, struct gw_hl7_out *out)
{
	const struct gw_hl7_answer_options options = { .accept = accept_only, .orr = orr, .control_id = "VG1", .now_us = NOW, .application = "VITALGATE" };
	bool fault = meaning.means == GW_HL7_MEANS_FAULT;
	enum gw_hl7_outcome outcome = !fault ? GW_HL7_TAKEN : meaning.fault.reject ? GW_HL7_REJECTED : GW_HL7_FAILED;
	struct gw_hl7_wanted wanted = gw_hl7_wanted(in, outcome);
	size_t from = out->len, len = 0;
	uint8_t utf8[3 * TEXT_MAX];
	uint32_t invalid = 0;

	if (!(accept_only ? wanted.accept : wanted.application))
		return;
	gw_hl7_answer(in, outcome, fault ? &meaning.fault : NULL, &options, out);
	len = gw_hl7_decode(&in->decoder, in->charset, gw_span(out->at + from, out->len - from), utf8, &invalid);
	assert_int_equal(invalid, 0);
	out->len = from;
	for (size_t i = 0; i < len; i++)
		if (utf8[i] == '\r')
			utf8[i] = '\n';
	gw_hl7_put_bytes(out, gw_span(utf8, len));
}

static void
check(const char *name, char *text, struct gw_zone *zone)
{
	const struct gw_hl7_context context = { .mapping = &mapping, .zone = zone, .received_us = NOW, .find_device = find_device };
	struct gw_hl7_out message = { 0 }, found = { 0 };
	struct gw_hl7_in in = { 0 };
	struct gw_why why = { "" };
	char *expected;

	gw_hl7_mapping_init(&mapping);
	assert_int_equal(gw_hl7_mapping_set(&mapping, "services", gw_span_text("69965, 182777000^SCT"), &why), GW_OK);
	orr = accept_only = false;
	text = option(text);
	if ((expected = strstr(text, "\n--\n")) == NULL)
		fail_msg("%s has no line --", name);
	expected[1] = '\0';
	encode(text, declared(text), &message);
	if (gw_hl7_parse(&in, gw_span(message.at, message.len), NULL, &why) != GW_OK)
		fail_msg("%s: %s", name, why.text);
	gw_hl7_interpret(&in, &context, &meaning);
	meaning_text(&meaning, &found);
	gw_hl7_put(&found, "--\n");
	answer(&in, &found);
	gw_hl7_put_bytes(&found, gw_span("", 1));
	if (strcmp((const char *)found.at, expected + 4) != 0) {
		print_error("%s\nfound:\n%s\nexpected:\n%s", name, (const char *)found.at, expected + 4);
		differences++;
	}
	gw_hl7_out_fini(&message);
	gw_hl7_out_fini(&found);
	gw_hl7_in_fini(&in);
}

static void
test_files(void **state)
{
	DIR *folder = opendir(FOLDER);
	struct dirent *entry;
	struct gw_zone *zone;
	unsigned files = 0;

	(void)state;
	assert_non_null(folder);
	assert_int_equal(gw_zone_open("CET-1CEST,M3.5.0,M10.5.0/3", &zone, NULL), GW_OK);
	while ((entry = readdir(folder)) != NULL) {
		char path[4096], text[TEXT_MAX];
		FILE *file;

		if (strstr(entry->d_name, ".txt") == NULL)
			continue;
		snprintf(path, sizeof(path), "%s/%s", FOLDER, entry->d_name);
		file = fopen(path, "rb");
		assert_non_null(file);
		text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
		fclose(file);
		check(entry->d_name, text, zone);
		files++;
	}
	closedir(folder);
	gw_zone_free(zone);
	assert_int_equal(differences, 0);
	assert_true(files >= 50);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
