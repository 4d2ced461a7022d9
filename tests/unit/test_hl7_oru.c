// SPDX-License-Identifier: Apache-2.0
// Messages of readings, read back by our own parser: whatever devices, patients and configuration call themselves, nothing gets out of its field, and texts come
// back as they were, in every character set. (What messages look like is told by the golden files.)
#include "adapters/hl7/message.h"
#include "adapters/hl7/oru_impl.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define T0 INT64_C(1795162500000000)
#define ROUNDS 400

static uint64_t seed = 1;

static unsigned
chance(unsigned of)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(seed >> 33) % of;
}

// Separators, escapes that are none, framing, line ends, letters of other sets; terminated.
static void
hostile(char *out, size_t cap)
{
	static const char *const pieces[] = { "|", "^", "~", "\\", "&", "\r", "\n", "\x0b", "\x1c\r", "\\F\\", "\\X0D\\", "\\.br\\", "\"\"", "MSH|^~\\&|", "\rOBX|1|NM|", "#",
		"\xc3\xbc", "\xc5\x81", "\xe2\x82\xac", "\xf0\x9f\x92\x89", "\x7f", "\x01", " ", "abc", "0" };
	size_t len = 0;

	out[0] = '\0';
	for (unsigned left = chance(8); left > 0; left--) {
		const char *piece = pieces[chance(sizeof(pieces) / sizeof(pieces[0]))];

		if (len + strlen(piece) >= cap)
			return;
		strcpy(out + len, piece);
		len += strlen(piece);
	}
}

struct texts {
	char device[GW_ID_MAX + 1], serial[33], ward[33], bed[33], family[33], given[33], id[33], authority[33], visit[33], order[33], drug[65], unit[17], application[33];
};

static void
make_texts(struct texts *texts)
{
	char *const all[] = { texts->device, texts->serial, texts->ward, texts->bed, texts->family, texts->given, texts->id, texts->authority, texts->visit,
		texts->order, texts->drug, texts->unit, texts->application };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		hostile(all[i], 17);
}

static bool
is_text(struct gw_hl7_in *in, struct gw_span raw, const char *expected)
{
	return gw_span_is(gw_hl7_text(in, raw), expected);
}

static struct gw_span
get(struct gw_hl7_in *in, const char *path, struct gw_hl7_scope scope)
{
	struct gw_hl7_path parsed;

	assert_int_equal(gw_hl7_path_parse(gw_span_text(path), &parsed, NULL), GW_OK);
	return gw_hl7_get(in, &parsed, scope);
}

static void
check(struct gw_hl7_in *in, const struct gw_hl7_out *out, const struct texts *texts)
{
	static const char names[][4] = { "MSH", "PID", "PV1", "OBR", "OBX", "OBX", "OBX", "OBX", "NTE", "OBX", "OBX", "OBX" };
	const struct { const char *path, *text; } rows[] = {
		{ "MSH-3.1", texts->application }, { "PID-3.1", texts->id }, { "PID-3.4", texts->authority }, { "PID-5.1", texts->family }, { "PID-5.2", texts->given },
		{ "PV1-19.1", texts->visit }, { "OBR-2.1", texts->order }, { "OBX(184514)-5", texts->drug },
	};
	struct gw_hl7_scope whole;
	struct gw_why why = { "" };

	if (gw_hl7_parse(in, gw_span(out->at, out->len), NULL, &why) != GW_OK)
		fail_msg("seed %llu: %s:\n%.*s", (unsigned long long)seed, why.text, (int)out->len, (const char *)out->at);
	if (in->segment_count != sizeof(names) / sizeof(names[0]))
		fail_msg("seed %llu: %u segments:\n%.*s", (unsigned long long)seed, in->segment_count, (int)out->len, (const char *)out->at);
	for (size_t i = 0; i < in->segment_count; i++)
		assert_int_equal(in->segments[i].name, GW_HL7_SEGMENT(names[i]));
	whole = gw_hl7_whole(in);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (!is_text(in, get(in, rows[i].path, whole), rows[i].text))
			fail_msg("seed %llu: %s is \"%s\":\n%.*s", (unsigned long long)seed, rows[i].path, rows[i].text, (int)out->len, (const char *)out->at);
	assert_int_equal(in->invalid, 0);
	assert_false(in->charset_unknown);
}

static void
round_trip(struct gw_hl7_in *in, struct gw_hl7_out *out, const char *charset)
{
	struct texts t;
	struct gw_hl7_item items[2] = {
		{ .reading = { .signal = 184514, .time_us = T0, .type = GW_VALUE_TEXT }, .effective.us = T0, .index = 0 },
		{ .reading = { .signal = 150456, .time_us = T0, .type = GW_VALUE_DECIMAL, .decimal = { 98, 0 }, .unit = 262688, .received = gw_span_text("0.98") },
			.effective.us = T0, .index = 1 },
	};
	struct gw_hl7_group group = { .from_us = T0, .to_us = T0 + 60000000, .items = items, .count = 2 };
	struct gw_hl7_settings settings = { .name = "pdms", .processing_id = "T", .version = "2.6", .accept_ack = "AL", .application_ack = "NE",
		.sending_application = t.application, .sending_facility = t.ward, .receiving_application = t.bed, .receiving_facility = t.unit,
		.charset = gw_hl7_charset_find(gw_span_text(charset)) };
	struct gw_device device = { .id = "d" };
	struct gw_patient patient = { .number = 1, .identifier_count = 1 };
	struct gw_owner owner = { .whose = GW_WHOSE_PATIENT, .patient = 1 };
	struct gw_hl7_oru oru = { &settings, 1, &group, &device, 69965, &patient, &owner, GW_HL7_RESULT, T0 };
	struct gw_hl7_ids ids;

	make_texts(&t);
	if (t.family[0] == '\0' && t.given[0] == '\0')
		strcpy(t.family, "x");
	if (t.drug[0] == '\0')
		strcpy(t.drug, "x");
	snprintf(group.device, sizeof(group.device), "%s", t.device);
	snprintf(device.serial, sizeof(device.serial), "%s", t.serial);
	snprintf(device.manufacturer, sizeof(device.manufacturer), "%s", t.unit);
	snprintf(owner.bed, sizeof(owner.bed), "%s", t.bed);
	snprintf(owner.visit, sizeof(owner.visit), "%s", t.visit);
	snprintf(owner.order, sizeof(owner.order), "%s", t.order);
	snprintf(patient.family, sizeof(patient.family), "%s", t.family);
	snprintf(patient.given, sizeof(patient.given), "%s", t.given);
	snprintf(patient.identifiers[0].id, sizeof(patient.identifiers[0].id), "%s", t.id);
	snprintf(patient.identifiers[0].authority, sizeof(patient.identifiers[0].authority), "%s", t.authority);
	items[0].reading.text = gw_span_text(t.drug);
	items[1].reading.unit_received = gw_span_text(t.unit);
	assert_int_equal(gw_hl7_oru_encode(&oru, out, &ids), GW_OK);
	check(in, out, &t);
}

static void
test_texts_come_back(void **state)
{
	static const char *const charsets[] = { "UNICODE UTF-8", "8859/1", "8859/15", "ASCII" };
	struct gw_hl7_in in = { 0 };
	struct gw_hl7_out out = { 0 };

	(void)state;
	assert_int_equal(gw_nomenclature_open(NULL), GW_OK);
	for (int i = 0; i < ROUNDS; i++)
		round_trip(&in, &out, charsets[i % 4]);
	gw_hl7_in_fini(&in);
	gw_hl7_out_fini(&out);
}

// Constants go where they belong, whatever stood there.
static void
check_override(const char *segment, const struct gw_hl7_override *override, const char *expected)
{
	const struct gw_hl7_settings settings = { .overrides = override, .override_count = 1 };
	struct gw_hl7_out out = { 0 }, scratch = { 0 };

	gw_hl7_put(&out, segment);
	gw_hl7_override_apply(&settings, &out, 0, &scratch);
	assert_int_equal(out.len, strlen(expected));
	assert_memory_equal(out.at, expected, out.len);
	gw_hl7_out_fini(&out);
	gw_hl7_out_fini(&scratch);
}

static void
test_overrides(void **state)
{
	(void)state;
	check_override("MSH|^~\\&|a|b|c", &(struct gw_hl7_override){ "MSH", 3, 0, "x" }, "MSH|^~\\&|x|b|c");
	check_override("MSH|^~\\&|a|b|c", &(struct gw_hl7_override){ "MSH", 5, 3, "x" }, "MSH|^~\\&|a|b|c^^x");
	check_override("MSH|^~\\&|a|b|c", &(struct gw_hl7_override){ "MSH", 8, 0, "x" }, "MSH|^~\\&|a|b|c|||x");
	check_override("OBR|1||3", &(struct gw_hl7_override){ "OBR", 5, 2, "x" }, "OBR|1||3||^x");
	check_override("OBR|1||3", &(struct gw_hl7_override){ "PV1", 2, 0, "x" }, "OBR|1||3");
	check_override("PV1||U|a^b^c", &(struct gw_hl7_override){ "PV1", 3, 2, "x" }, "PV1||U|a^x^c");
	check_override("PV1||U|a^b^c", &(struct gw_hl7_override){ "PV1", 3, 2, "" }, "PV1||U|a^^c");
	check_override("PID|||1^^^A~2^^^B", &(struct gw_hl7_override){ "PID", 3, 4, "x" }, "PID|||1^^^x~2^^^x");
	check_override("PID|||||^^^^^^U", &(struct gw_hl7_override){ "PID", 3, 4, "x" }, "PID|||||^^^^^^U"); // nobody gets no identifier
	check_override("OBX|1|NM|a|1.0|5||||||W", &(struct gw_hl7_override){ "OBX", 11, 0, "F" }, "OBX|1|NM|a|1.0|5||||||W");
	check_override("OBX|1|NM|a|1.0|5||||||R", &(struct gw_hl7_override){ "OBX", 11, 0, "F" }, "OBX|1|NM|a|1.0|5||||||F");
	check_override("OBX|1|NM|a|1.0|5", &(struct gw_hl7_override){ "OBX", 5, 0, "6" }, "OBX|1|NM|a|1.0|5"); // refused
}

int
main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_texts_come_back), cmocka_unit_test(test_overrides) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
