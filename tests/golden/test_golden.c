// SPDX-License-Identifier: Apache-2.0
// Every example under schemas/examples decodes to exactly what stands beside it, and what can be said in SenML comes back the same.
//   schemas/examples/<profile>/NAME.json|txt|cbor.hex   the payload (hex may hold blanks and # comments)
//   schemas/examples/<profile>/NAME.expected            header lines "route:", "received:", "format:", an empty line, then the readings as text
//   schemas/examples/<profile>/profile.yaml             a profile of the example's own; otherwise the built-in one of that name
// With VITALGATE_GOLDEN_WRITE=1 the expected files are written anew from their header lines: read the difference before keeping it.
#include "gateway/clock.h"
#include "gateway/decode.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <yyjson.h>

#define EXAMPLES VITALGATE_SOURCE "/schemas/examples"
#define TEXT_MAX (1 << 20)

struct example {
	char stem[1024]; // path without ending
	char route[512];
	enum gw_door door;
	int64_t received_us;
	uint32_t format;
	size_t header_len; // of the expected file
	uint8_t *payload;
	size_t payload_len;
};

static char expected[TEXT_MAX], actual[TEXT_MAX];
static size_t actual_len;

static void __attribute__((format(printf, 1, 2)))
say(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	actual_len += (size_t)vsnprintf(actual + actual_len, sizeof(actual) - actual_len, format, args);
	va_end(args);
	assert_true(actual_len < sizeof(actual));
}

static size_t
read_file(const char *path, void *into, size_t cap)
{
	FILE *file = fopen(path, "rb");
	size_t len;

	if (file == NULL)
		fail_msg("%s cannot be read", path);
	len = fread(into, 1, cap - 1, file);
	((char *)into)[len] = '\0';
	fclose(file);
	return len;
}

static void
header_line(struct example *e, char *line)
{
	char door[16];

	if (sscanf(line, "route: %15s %511s", door, e->route) == 2)
		e->door = strcmp(door, "coap") == 0 ? GW_DOOR_COAP : GW_DOOR_MQTT;
	else if (strncmp(line, "received: ", 10) == 0)
		assert_int_equal(gw_time_parse(line + 10, &e->received_us), 0);
	else if (sscanf(line, "format: %u", &e->format) != 1)
		fail_msg("%s.expected: header line \"%s\"", e->stem, line);
}

static void
read_header(struct example *e)
{
	char path[1100], head[2048], *line, *end;

	snprintf(path, sizeof(path), "%s.expected", e->stem);
	read_file(path, expected, sizeof(expected));
	end = strstr(expected, "\n\n");
	if (end == NULL || end - expected > 2000)
		fail_msg("%s: no empty line after the header", path);
	e->header_len = (size_t)(end - expected) + 2;
	snprintf(head, sizeof(head), "%.*s", (int)(end - expected), expected);
	for (line = strtok(head, "\n"); line != NULL; line = strtok(NULL, "\n"))
		header_line(e, line);
}

static size_t
from_hex(char *text, uint8_t *out)
{
	size_t digits = 0;

	for (char *at = text; *at != '\0'; at++) {
		const char *place = strchr("0123456789abcdef", *at);
		if (*at == '#')
			at += strcspn(at, "\n") - 1;
		else if (place != NULL) {
			uint8_t nibble = (uint8_t)(place - "0123456789abcdef");
			out[digits / 2] = (uint8_t)(digits % 2 == 0 ? nibble << 4 : out[digits / 2] | nibble);
			digits++;
		}
	}
	return digits / 2;
}

static void
read_payload(struct example *e, const char *path, bool hex)
{
	static char text[TEXT_MAX];
	size_t len = read_file(path, text, sizeof(text));

	if (!hex && len > 0 && text[len - 1] == '\n')
		len--; // editors end a file with a newline; payloads have none
	e->payload = malloc(len + 1);
	assert_non_null(e->payload);
	if (hex)
		len = from_hex(text, e->payload);
	else
		memcpy(e->payload, text, len);
	e->payload_len = len;
}

// ---- readings as text ----

static void
say_value(const struct gw_reading *r)
{
	const struct gw_unit *unit = gw_unit_by_code(r->unit);
	char digits[48];

	switch ((enum gw_value_type)r->type) {
	case GW_VALUE_DECIMAL:
		gw_decimal_text(r->decimal, digits);
		say(" %s %s", digits, unit->ucum);
		return;
	case GW_VALUE_CODE:
		say(" code %u %s", r->code, gw_code_refid(r->code) != NULL ? gw_code_refid(r->code) : "-");
		return;
	case GW_VALUE_TEXT:
		say(" text \"%.*s\"", GW_SPAN_FMT(r->text));
		return;
	default:
		say(" none");
		return;
	}
}

static void
say_reading(const struct gw_decoded *d, const struct gw_match *match)
{
	static const struct { uint16_t flag; const char *name; } flags[] = { { GW_FLAG_QUESTIONABLE, "questionable" },
		{ GW_FLAG_NOT_AVAILABLE, "not-available" }, { GW_FLAG_TEST, "test" }, { GW_FLAG_NO_DEVICE_TIME, "no-device-time" } };
	const struct gw_reading *r = &d->reading;
	struct gw_span device = d->device.len > 0 ? d->device : match->device;
	char time[40];

	say("%.*s %s", device.len > 0 ? (int)device.len : 1, device.len > 0 ? (const char *)device.at : "-", gw_signal_by_code(r->signal)->name);
	if (r->instance > 0)
		say("/%u", r->instance);
	say_value(r);
	say(" at %s", gw_time_format(r->time_us, time));
	if (r->sequence > 0)
		say(" #%u", r->sequence);
	if (r->kind == GW_KIND_SETTING)
		say(" setting");
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (r->flags & flags[i].flag)
			say(" %s", flags[i].name);
	say(" <- \"%.*s\"", GW_SPAN_FMT(r->received));
	if (r->unit_received.len > 0)
		say(" \"%.*s\"", GW_SPAN_FMT(r->unit_received));
	say("\n");
}

// ---- there and back ----

// What a table is given says the same by the same names.
static void
check_row(const struct gw_batch_head *head, const struct gw_reading *r, yyjson_val *whole)
{
	char row[8192] = "{\"first\":1";
	size_t len = gw_row_encode(head, r, row + 10, sizeof(row) - 11), i, max;
	yyjson_val *key, *value;
	yyjson_doc *doc;

	assert_true(len < sizeof(row) - 11);
	assert_int_equal(gw_row_encode(head, r, NULL, 0), len);
	row[10 + len] = '}';
	doc = yyjson_read(row, 11 + len, 0);
	assert_non_null(doc);
	assert_true(yyjson_obj_size(yyjson_doc_get_root(doc)) >= 7);
	yyjson_obj_foreach(yyjson_doc_get_root(doc), i, max, key, value)
		assert_true(i == 0 || yyjson_equals(value, yyjson_obj_get(whole, yyjson_get_str(key))));
	assert_true(yyjson_obj_get(yyjson_doc_get_root(doc), "flags") != NULL || r->flags == 0);
	yyjson_doc_free(doc);
}

static void
check_bus_document(const struct gw_reading *r, struct gw_span device)
{
	struct gw_batch_head head = { .received_us = 1763626500000000, .device = device };
	char document[8192];
	size_t len = gw_bus_encode(7, &head, r, document, sizeof(document));
	yyjson_doc *doc;

	assert_true(len <= sizeof(document));
	assert_int_equal(gw_bus_encode(7, &head, r, NULL, 0), len);
	doc = yyjson_read(document, len, 0);
	assert_non_null(doc);
	assert_string_equal(yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "signal")), gw_signal_by_code(r->signal)->name);
	assert_int_equal(yyjson_get_uint(yyjson_obj_get(yyjson_doc_get_root(doc), "mdc")), r->signal);
	check_row(&head, r, yyjson_doc_get_root(doc));
	yyjson_doc_free(doc);
}

static void
check_senml_back(const struct gw_profile *senml, const struct gw_reading *r)
{
	struct gw_match match = { .profile = senml, .device = gw_span_text("d") };
	struct gw_decode_scratch *scratch = gw_decode_scratch_new();
	struct gw_decode_input in = { .match = &match, .content_format = GW_CF_SENML_JSON, .received_us = r->time_us };
	struct gw_decode_output out;
	char pack[8192];
	struct gw_why why;
	size_t len = gw_senml_encode(match.device, r, 1, pack, sizeof(pack));

	in.payload = gw_span(pack, len);
	if (gw_decode(scratch, &in, &out, &why) != GW_OK)
		fail_msg("%.*s: %s", (int)len, pack, why.text);
	assert_int_equal(out.count, 1);
	assert_true(out.readings[0].reading.time_us == r->time_us);
	assert_int_equal(out.readings[0].reading.instance, r->instance);
	assert_true(gw_reading_same_value(&(struct gw_reading){ .type = r->type, .unit = r->unit, .decimal = r->decimal, .kind = out.readings[0].reading.kind,
	    .flags = r->flags }, &out.readings[0].reading) || r->type != GW_VALUE_DECIMAL);
	gw_decode_scratch_free(scratch);
}

// ---- one example ----

static void
run(struct example *e, const struct gw_profiles *own, const struct gw_profiles *builtin, const char *profile)
{
	struct gw_decode_scratch *scratch = gw_decode_scratch_new();
	struct gw_match matches[8];
	struct gw_decode_output out = { 0 };
	struct gw_why why = { "" };
	size_t count = gw_profiles_match(own != NULL ? own : builtin, e->door, gw_span_text(e->route), matches, 8), at = 0;
	struct gw_decode_input in = { &matches[0], gw_span(e->payload, e->payload_len), e->format, e->received_us, false };
	enum gw_error error;

	while (own == NULL && at < count && strcmp(gw_profile_name(matches[at].profile), profile) != 0)
		at++;
	if (at >= count)
		fail_msg("%s: route %s is none of profile %s", e->stem, e->route, profile);
	in.match = &matches[at];
	error = gw_decode(scratch, &in, &out, &why);
	say("%s%s%s\n", gw_error_name(error), error != GW_OK ? " " : "", error != GW_OK ? why.text : "");
	if (error == GW_OK && out.partial != GW_OK)
		say("partial %s %s\n", gw_error_name(out.partial), out.partial_why.text);
	for (size_t i = 0; error == GW_OK && i < out.count; i++) {
		const struct gw_reading *r = &out.readings[i].reading;
		say_reading(&out.readings[i], in.match);
		check_bus_document(r, gw_span_text("d"));
		if (r->type == GW_VALUE_DECIMAL && r->time_us > (1ll << 28) * 1000000)
			check_senml_back(gw_profile_by_name(builtin, gw_span_text("senml")), r);
	}
	gw_decode_scratch_free(scratch);
}

static void
keep_or_compare(const struct example *e)
{
	char path[1100];
	FILE *file;

	if (getenv("VITALGATE_GOLDEN_WRITE") == NULL) {
		if (strcmp(expected + e->header_len, actual) != 0)
			fail_msg("%s\nexpected:\n%s\nactual:\n%s", e->stem, expected + e->header_len, actual);
		return;
	}
	snprintf(path, sizeof(path), "%s.expected", e->stem);
	file = fopen(path, "wb");
	assert_non_null(file);
	fprintf(file, "%.*s%s", (int)e->header_len, expected, actual);
	fclose(file);
}

static bool
ending(const char *name, const char *end)
{
	size_t len = strlen(name), n = strlen(end);

	return len > n && strcmp(name + len - n, end) == 0;
}

static int
run_folder(const char *folder, const char *profile, const struct gw_profiles *builtin)
{
	static const char *const endings[] = { ".json", ".txt", ".cbor.hex" };
	char path[1300];
	static char yaml[TEXT_MAX];
	struct gw_profiles *own = NULL;
	struct dirent **names;
	struct gw_why why;
	int count = scandir(folder, &names, NULL, alphasort), run_count = 0;

	snprintf(path, sizeof(path), "%s/profile.yaml", folder);
	if (access(path, R_OK) == 0) {
		size_t len = read_file(path, yaml, sizeof(yaml));
		if (gw_profiles_load_text(path, gw_span(yaml, len), &own, &why) != GW_OK)
			fail_msg("%s", why.text);
	}
	for (int i = 0; i < count; i++) {
		for (size_t k = 0; k < sizeof(endings) / sizeof(endings[0]); k++) {
			struct example e = { .format = GW_CF_NONE, .received_us = 0 };
			if (!ending(names[i]->d_name, endings[k]))
				continue;
			snprintf(path, sizeof(path), "%s/%s", folder, names[i]->d_name);
			snprintf(e.stem, sizeof(e.stem), "%.*s", (int)(strlen(path) - strlen(endings[k])), path);
			actual_len = 0;
			read_header(&e);
			read_payload(&e, path, k == 2);
			run(&e, own, builtin, profile);
			keep_or_compare(&e);
			free(e.payload);
			run_count++;
		}
		free(names[i]);
	}
	free(names);
	gw_profiles_free(own);
	return run_count;
}

static void
test_examples(void **state)
{
	struct gw_profiles *builtin;
	struct dirent **names;
	struct gw_why why;
	int count = scandir(EXAMPLES, &names, NULL, alphasort), run_count = 0;

	(void)state;
	if (gw_profiles_load(NULL, &builtin, &why) != GW_OK)
		fail_msg("%s", why.text);
	for (int i = 0; i < count; i++) {
		char folder[1024];
		snprintf(folder, sizeof(folder), EXAMPLES "/%s", names[i]->d_name);
		if (names[i]->d_name[0] != '.')
			run_count += run_folder(folder, names[i]->d_name, builtin);
		free(names[i]);
	}
	free(names);
	gw_profiles_free(builtin);
	assert_in_range(run_count, 20, 10000);
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_examples) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
