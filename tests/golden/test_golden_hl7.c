// SPDX-License-Identifier: Apache-2.0
// ORU^R01 messages, byte for byte: records go through grouping and encoding with a fixed clock and incarnation, and come out as tests/golden/hl7/NAME.hl7,
// which were checked line by line against IHE PCD-01 and HL7 2.6 (segments end in LF there, in CR on the wire; in the character set of the message). Their
// structure, and what MSH-10 and OBR-3 are made of, is checked by another implementation in tests/scenario/test_hl7_golden.py.
#include "adapters/hl7/containment.h"
#include "adapters/hl7/group.h"
#include "adapters/hl7/oru_impl.h"

#include "gateway/bytes.h"
#include "gateway/nomenclature.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define T0 INT64_C(1795162500000000) // 2026-11-20T08:15:00Z
#define NOW (T0 + 60300000)
#define AT(s) (T0 + (int64_t)((s) * 1e6))
#define MMHG 266016
#define PERCENT 262688
#define BPM 264864
#define CEL 268192
#define ML 263762

struct golden {
	struct gw_hl7_settings settings;
	struct gw_hl7_oru oru;
	const struct gw_owner *owner;
	struct gw_hl7_grouper *grouper;
	const char *file;
	unsigned groups, skip; // skip: groups before the one that is looked at
	struct gw_hl7_ids ids;
	uint8_t bytes[16384]; // of the last record
	struct gw_record record;
};

// By themselves a cuff's pressures go at once (test_spot); here they go with the others.
static const struct gw_hl7_signal_rule cuff = { .signal = "nibp_*", .has_interval = true, .interval_us = 60000000 };
static const struct gw_hl7_settings usual = { .rules = &cuff, .rule_count = 1, .name = "pdms", .production = true, .processing_id = "P", .version = "2.6",
	.accept_ack = "AL", .application_ack = "NE", .sending_application = "Vitalgate", .sending_facility = "St. John|West", .receiving_application = "PDMS",
	.receiving_facility = "", .eui64 = 0x0011223344556677, .select = GW_HL7_LAST, .interval_us = 60000000, .decimals = -1 };

static struct gw_reading
decimal(uint32_t signal, double at, int64_t mantissa, int16_t exponent, uint32_t unit)
{
	return (struct gw_reading){ .signal = signal, .time_us = AT(at), .type = GW_VALUE_DECIMAL, .decimal = { mantissa, exponent }, .unit = unit };
}

static struct gw_reading
flagged(struct gw_reading reading, uint16_t flags)
{
	reading.flags |= flags;
	return reading;
}

// Segments end in LF in the files.
static void
check(const char *name, const struct gw_hl7_out *out)
{
	char path[512], expected[16384];
	FILE *file;
	size_t len;

	for (size_t i = 0; i < out->len; i++)
		if (out->at[i] == '\r')
			out->at[i] = '\n';
	snprintf(path, sizeof(path), "%s/tests/golden/hl7/%s.hl7", VITALGATE_SOURCE, name);
	if ((file = fopen(path, "rb")) == NULL)
		fail_msg("%s cannot be read; the message:\n%.*s", path, (int)out->len, (const char *)out->at);
	len = fread(expected, 1, sizeof(expected) - 1, file);
	fclose(file);
	assert_true(memchr(expected, '\r', len) == NULL);
	for (size_t i = 0; i < len && i < out->len; i++)
		if (expected[i] != (char)out->at[i])
			fail_msg("%s differs at byte %zu:\n%.*s", name, i, (int)out->len, (const char *)out->at);
	assert_int_equal(out->len, len);
}

static void
encode(struct golden *golden, const struct gw_hl7_group *group, const char *file)
{
	struct gw_hl7_out out = { 0 };

	golden->oru.group = group;
	assert_int_equal(gw_hl7_oru_encode(&golden->oru, &out, &golden->ids), GW_OK);
	assert_int_equal(strlen(golden->ids.control_id), GW_HL7_ID_LEN);
	check(file, &out);
	gw_hl7_out_fini(&out);
}

static void
closed(void *arg, const struct gw_hl7_group *group)
{
	struct golden *golden = arg;

	if (golden->groups++ >= golden->skip)
		encode(golden, group, golden->file);
}

static void
owner_of(void *arg, struct gw_span device, int64_t effective_us, int64_t uncertainty_us, struct gw_owner *owner)
{
	const struct golden *golden = arg;

	(void)device, (void)effective_us, (void)uncertainty_us;
	if (golden->owner != NULL)
		*owner = *golden->owner;
	owner->from_us = INT64_MIN;
	owner->to_us = GW_TIME_OPEN;
}

static void
begin_with(struct golden *golden, const char *file, const struct gw_device *device, const struct gw_hl7_settings *settings, gw_hl7_closed_fn *fn)
{
	assert_int_equal(gw_nomenclature_open(NULL), GW_OK);
	*golden = (struct golden){ .settings = *settings, .file = file };
	if (golden->settings.charset == NULL)
		golden->settings.charset = gw_hl7_charset_utf8();
	golden->oru = (struct gw_hl7_oru){ .settings = &golden->settings, .incarnation = 0x1122334455667788, .device = device, .mds = gw_hl7_mds(NULL), .now_us = NOW };
	golden->grouper = gw_hl7_grouper_new(&(struct gw_hl7_grouper_options){ .settings = &golden->settings, .closed = fn, .owner = owner_of, .arg = golden });
	assert_non_null(golden->grouper);
}

static void
begin(struct golden *golden, const char *file, const struct gw_device *device, bool all, bool production)
{
	struct gw_hl7_settings settings = usual;

	settings.select = all ? GW_HL7_EVERY : GW_HL7_LAST;
	settings.production = production;
	settings.processing_id = production ? "P" : "D";
	begin_with(golden, file, device, &settings, closed);
}

static void
give(struct golden *golden, uint64_t position, const char *device, double received, const struct gw_reading *readings, size_t count)
{
	const struct gw_batch_head head = { .received_us = AT(received), .door = GW_DOOR_MQTT, .device = gw_span_text(device) };
	struct gw_key keys[64];
	size_t len;

	assert_int_equal(gw_record_readings(&head, readings, count, golden->bytes, sizeof(golden->bytes), &len, keys), GW_OK);
	assert_int_equal(gw_record_open(position, gw_span(golden->bytes, len), &golden->record, NULL), GW_OK);
	assert_int_equal(gw_hl7_grouper_take(golden->grouper, &golden->record, NULL), GW_OK);
}

#define GIVE(golden, position, device, received, ...) do { \
	const struct gw_reading list[] = { __VA_ARGS__ }; \
	give(golden, position, device, received, list, sizeof(list) / sizeof(list[0])); \
} while (0)

static void
end(struct golden *golden)
{
	gw_hl7_grouper_tick(golden->grouper, AT(3600));
	assert_int_equal(golden->groups, golden->skip + 1);
	gw_hl7_grouper_free(golden->grouper);
}

static void
test_interval(void **state)
{
	static const struct gw_device device = { .id = "mon-1", .ward = "3a", .bed = "7", .eui64 = 0x0123456789ABCDEF, .serial = "77" };
	struct golden golden;
	struct gw_reading second = flagged(decimal(150364, 50, 471, -1, CEL), GW_FLAG_QUESTIONABLE);

	(void)state;
	second.instance = 1;
	begin(&golden, "interval", &device, false, true);
	GIVE(&golden, 1, "mon-1", 10.2, decimal(147842, 10, 71, 0, BPM), decimal(150456, 10, 965, -1, PERCENT));
	GIVE(&golden, 2, "mon-1", 30.1, decimal(150021, 30, 120, 0, MMHG), decimal(150022, 30, 80, 0, MMHG), decimal(150023, 30, 93, 0, MMHG));
	GIVE(&golden, 3, "mon-1", 50.25, decimal(147842, 50, 72, 0, BPM),
	    (struct gw_reading){ .signal = 150456, .time_us = AT(50), .flags = GW_FLAG_NOT_AVAILABLE }, decimal(150364, 50, 3660, -2, CEL), second,
	    (struct gw_reading){ .signal = 131328, .time_us = AT(50), .type = GW_VALUE_SAMPLES, .samples = { 4000000, 1, 0, (const uint8_t *)"\1\0\0\0" } });
	end(&golden);
}

static void
test_moments(void **state)
{
	static const struct gw_device device = { .id = "vent-1", .bed = "12", .manufacturer = "Acme", .model = "V^5", .serial = "S|77" };
	struct golden golden;
	char label[201];
	struct gw_reading pressure = decimal(150021, 5, 1200102, -4, MMHG), set = decimal(16929196, 5, 450, 0, ML);

	(void)state;
	pressure.received = gw_span_text("16.0");
	pressure.unit_received = gw_span_text("kPa");
	set.kind = GW_KIND_SETTING;
	memset(label, 'x', 200);
	begin(&golden, "moments", &device, true, true);
	GIVE(&golden, 1, "vent-1", 5.5, (struct gw_reading){ .signal = 184327, .time_us = AT(5), .type = GW_VALUE_CODE, .code = 147474 }, pressure, set);
	GIVE(&golden, 2, "vent-1", 7,
	    (struct gw_reading){ .signal = 184514, .time_us = AT(6.5), .type = GW_VALUE_TEXT,
		.text = gw_span_text("Noradrenalin 0,1 | 5%\n^ f\xc3\xbcr & ~ \\") },
	    (struct gw_reading){ .signal = 184514, .instance = 1, .time_us = AT(6.5), .type = GW_VALUE_TEXT, .text = gw_span(label, 200) },
	    (struct gw_reading){ .signal = 150456, .time_us = AT(6.5), .flags = GW_FLAG_NOT_AVAILABLE });
	end(&golden);
}

// A cuff measures now and then: its pressures are told at once, together, in an OBR with their moment.
static void
test_spot(void **state)
{
	static const struct gw_device device = { .id = "mon-1", .ward = "3a", .bed = "7", .eui64 = 0x0123456789ABCDEF, .serial = "77" };
	struct gw_hl7_settings settings = usual;
	struct golden golden;

	(void)state;
	settings.rule_count = 0;
	begin_with(&golden, "spot", &device, &settings, closed);
	GIVE(&golden, 1, "mon-1", 30.1, decimal(150021, 30, 120, 0, MMHG), decimal(150022, 30, 80, 0, MMHG), decimal(150023, 30, 93, 0, MMHG));
	assert_int_equal(golden.groups, 1);
	gw_hl7_grouper_free(golden.grouper);
}

static void
test_test_destination(void **state)
{
	struct golden golden;

	(void)state;
	begin(&golden, "test-destination", NULL, false, false);
	GIVE(&golden, 1, "sim&1", 2, flagged(decimal(147842, 2, 351, 0, BPM), GW_FLAG_QUESTIONABLE | GW_FLAG_TEST | GW_FLAG_NO_DEVICE_TIME),
	    flagged(decimal(150021, 2, 120, 0, MMHG), GW_FLAG_INVALID | GW_FLAG_TEST | GW_FLAG_NO_DEVICE_TIME));
	end(&golden);
}

// ---- Patients ----

static const struct gw_device bedside = { .id = "mon-1", .ward = "3a", .bed = "7", .eui64 = 0x0123456789ABCDEF };
static const struct gw_owner in_bed_12 = { .whose = GW_WHOSE_PATIENT, .patient = 7, .bed = "ICU^2^12^St. John", .visit = "V-4711", .patient_class = "I",
	.order = "ORD|88", .order_authority = "KIS" };
static const struct gw_owner in_bed_3 = { .whose = GW_WHOSE_PATIENT, .patient = 8, .bed = "ICU^^3", .visit = "V-4712", .patient_class = "I" };
static const struct gw_patient meyer = { .number = 7, .identifiers = { { "12345", "KIS", "PI" }, { "A 123^4", "GKV", "" } }, .identifier_count = 2,
	.family = "Meyer", .given = "Anna", .middle = "B.", .prefix = "Dr.", .birth = "19480203", .sex = "F", .account = "F-99" };
static const struct gw_patient huber = { .number = 8, .identifiers = { { "777", "", "" } }, .identifier_count = 1, .family = "", .birth = "1950", .sex = "M" };

static void
give_pressure(struct golden *golden)
{
	GIVE(golden, 1, "mon-1", 30.1, decimal(150021, 30, 120, 0, MMHG), decimal(150022, 30, 80, 0, MMHG), decimal(150023, 30, 93, 0, MMHG));
}

static void
test_patient_and_order(void **state)
{
	struct golden golden;

	(void)state;
	begin(&golden, "patient-order", &bedside, false, true);
	golden.owner = &in_bed_12;
	golden.oru.owner = &in_bed_12;
	golden.oru.patient = &meyer;
	give_pressure(&golden);
	end(&golden);
}

// The same readings to the patient whose they are, after they went to another: W to that one, R to this one, with OBR-3 as it was; and as a correction.
static void
make_again(struct golden *golden, const struct gw_hl7_group *group, struct gw_hl7_group *copy)
{
	*copy = *group;
	copy->items = NULL;
	copy->count = copy->cap = 0;
	for (size_t i = group->count; i-- > 0;) // in whatever order
		assert_int_equal(gw_hl7_group_add(copy, &golden->settings, &golden->record, group->items[i].index, group->items[i].effective.us), GW_OK);
	assert_int_equal(gw_hl7_group_add(copy, &golden->settings, &golden->record, 3, 0), GW_E_NOT_FOUND);
}

static void
again(void *arg, const struct gw_hl7_group *group)
{
	struct golden *golden = arg;
	struct gw_hl7_group copy, part;
	char ids[5][GW_HL7_ID_LEN + 1];

	golden->groups++;
	make_again(golden, group, &copy);
	golden->oru.owner = &in_bed_12;
	golden->oru.patient = &meyer;
	encode(golden, group, "patient-order");
	memcpy(ids[0], golden->ids.control_id, sizeof(ids[0]));
	memcpy(copy.origin, golden->ids.origin, sizeof(copy.origin));
	golden->oru.status = GW_HL7_WRONG_PATIENT;
	encode(golden, &copy, "wrong-patient");
	memcpy(ids[1], golden->ids.control_id, sizeof(ids[1]));
	golden->oru.status = GW_HL7_RESULT;
	golden->oru.owner = &in_bed_3;
	golden->oru.patient = &huber;
	encode(golden, &copy, "right-patient");
	memcpy(ids[2], golden->ids.control_id, sizeof(ids[2]));
	golden->oru.status = GW_HL7_CORRECTED;
	part = copy; // one value of three is another now
	part.items = &copy.items[2];
	part.count = 1;
	part.items->reading.decimal.mantissa = 121;
	part.items->reading.received = gw_span_text("121");
	part.items->reading.revision = 1;
	encode(golden, &part, "corrected");
	memcpy(ids[3], golden->ids.control_id, sizeof(ids[3]));
	part.again = 1;
	encode(golden, &part, "corrected-again");
	memcpy(ids[4], golden->ids.control_id, sizeof(ids[4]));
	gw_hl7_group_fini(&copy);
	for (size_t i = 0; i < 5; i++)
		for (size_t k = 0; k < i; k++)
			assert_string_not_equal(ids[i], ids[k]);
}

static void
test_corrections(void **state)
{
	struct golden golden;

	(void)state;
	begin_with(&golden, "", &bedside, &usual, again);
	golden.owner = &in_bed_12;
	give_pressure(&golden);
	end(&golden);
}

static void
names_in(const char *file, const char *charset)
{
	static const struct gw_patient patient = { .number = 9, .identifiers = { { "1", "KIS", "PI" } }, .identifier_count = 1,
		.family = "M\xc3\xbcller-\xc5\x81uk\xc5\xbe", .given = "No\xc3\xabl \\ \xc5\x92" };
	struct gw_hl7_settings settings = usual;
	struct golden golden;

	settings.charset = gw_hl7_charset_find(gw_span_text(charset));
	assert_non_null(settings.charset);
	begin_with(&golden, file, &bedside, &settings, closed);
	golden.oru.patient = &patient;
	GIVE(&golden, 1, "mon-1", 10, decimal(150364, 10, 366, -1, CEL));
	end(&golden);
}

static void
test_names(void **state)
{
	(void)state;
	names_in("names-utf-8", "UTF-8");
	names_in("names-8859-1", "8859/1");
	names_in("names-8859-15", "8859/15");
	names_in("names-ascii", "ASCII");
}

// ---- Kinds of readings ----

static void
test_waveform(void **state)
{
	static const uint8_t samples[] = { 0xf6, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0x80, 0xd2, 0x04, 0, 0 }; // -10 0 (missing) 1234
	struct gw_hl7_settings settings = usual;
	struct golden golden;

	(void)state;
	settings.waveforms = true;
	begin_with(&golden, "waveform", &bedside, &settings, closed);
	GIVE(&golden, 1, "mon-1", 11,
	    (struct gw_reading){ .signal = 131330, .time_us = AT(10.5), .type = GW_VALUE_SAMPLES, .unit = 266418, .samples = { 4000000, 4, -3, samples } },
	    (struct gw_reading){ .signal = 131330, .time_us = AT(10.516), .type = GW_VALUE_SAMPLES, .unit = 266418, .samples = { 4000000, 1, -3, samples + 8 } });
	end(&golden);
}

static void
test_event(void **state)
{
	struct golden golden;
	struct gw_reading event = { .signal = 184327, .time_us = AT(5), .kind = GW_KIND_EVENT, .type = GW_VALUE_CODE, .code = 147474 };

	(void)state;
	begin(&golden, "event", &bedside, false, true);
	GIVE(&golden, 1, "mon-1", 5.2, event);
	end(&golden);
}

// A device whose clock is three hours ahead: times are the hub's, and the device's clock is told.
static void
test_a_clock_that_is_off(void **state)
{
	struct golden golden;

	(void)state;
	begin(&golden, "clock-off", &bedside, false, true);
	golden.skip = 2;
	for (int i = 0; i < 10; i++)
		GIVE(&golden, (uint64_t)i + 1, "mon-1", 15 * i, decimal(150364, 15 * i + 10800, 366 + i, -1, CEL));
	end(&golden);
}

static void
give_conversions(struct golden *golden)
{
	static const struct { uint32_t signal; struct gw_decimal value; uint32_t unit; const char *received, *unit_received; } rows[] = {
		{ 150364, { 37, 0 }, CEL, "98.60", "degF" },             // the canonical value is what it means
		{ 150456, { 965, -1 }, PERCENT, "0.965", "" },           // a profile's factor: the canonical value, and what was said
		{ 150021, { 1200102, -4 }, MMHG, "16.0", "kPa" },        // converted without end and rounded
		{ 150022, { 80, 0 }, MMHG, "80", "mmHg" },
		{ 147842, { 725, -1 }, BPM, "72.5", "" },
		{ 149530, { 715, -1 }, BPM, "7.15e1", "" },
	};
	struct gw_reading list[6];

	for (size_t i = 0; i < 6; i++) {
		list[i] = decimal(rows[i].signal, 5, rows[i].value.mantissa, rows[i].value.exponent, rows[i].unit);
		list[i].received = gw_span_text(rows[i].received);
		list[i].unit_received = gw_span_text(rows[i].unit_received);
	}
	give(golden, 1, "mon-1", 5.5, list, 6);
}

static void
test_values(void **state)
{
	struct gw_hl7_settings settings = usual;
	struct golden golden;

	(void)state;
	begin_with(&golden, "as-received", &bedside, &settings, closed);
	give_conversions(&golden);
	end(&golden);
	settings.values = GW_HL7_CANONICAL;
	settings.decimals = 0;
	begin_with(&golden, "canonical", &bedside, &settings, closed);
	give_conversions(&golden);
	end(&golden);
}

// ---- What a receiver wants otherwise ----

static void
test_overrides(void **state)
{
	static const struct gw_hl7_override overrides[] = {
		{ "MSH", 5, 2, "1.2.3" }, { "MSH", 21, 0, "" }, { "PID", 3, 4, "HOSP&1.2.4&ISO" }, { "PV1", 3, 4, "West" }, { "OBR", 24, 0, "PAT" }, { "OBX", 11, 0, "F" },
		{ "OBX", 5, 0, "666" }, { "MSH", 10, 0, "1" },
	};
	struct gw_hl7_settings settings = usual;
	struct golden golden;

	(void)state;
	settings.overrides = overrides;
	settings.override_count = 8;
	settings.version = "2.3";
	settings.accept_ack = settings.application_ack = "";
	begin_with(&golden, "overrides", &bedside, &settings, closed);
	golden.owner = &in_bed_3;
	golden.oru.owner = &in_bed_3;
	golden.oru.patient = &meyer;
	GIVE(&golden, 1, "mon-1", 10, decimal(150364, 10, 366, -1, CEL), (struct gw_reading){ .signal = 150456, .time_us = AT(10), .flags = GW_FLAG_INVALID });
	end(&golden);
	for (size_t i = 0; i < 8; i++)
		assert_true((gw_hl7_override_refused(&overrides[i]) != NULL) == (i >= 6));
	assert_non_null(gw_hl7_override_refused(&(struct gw_hl7_override){ "PID", 3, 1, "x" }));
}

static void
refuse(void *arg, const struct gw_hl7_group *group)
{
	struct golden *golden = arg;
	struct gw_hl7_out out = { 0 };

	golden->groups++;
	golden->settings.production = true; // as a mistake would have it
	golden->oru.group = group;
	assert_int_equal(gw_hl7_oru_encode(&golden->oru, &out, &golden->ids), GW_E_FORBIDDEN);
	assert_int_equal(out.len, 0);
	gw_hl7_out_fini(&out);
}

static void
test_simulated_readings_are_never_encoded_for_production(void **state)
{
	struct gw_hl7_settings settings = usual;
	struct golden golden;

	(void)state;
	settings.production = false;
	begin_with(&golden, "", NULL, &settings, refuse);
	GIVE(&golden, 1, "sim", 2, decimal(150364, 2, 366, -1, CEL), flagged(decimal(147842, 2, 70, 0, BPM), GW_FLAG_TEST));
	end(&golden);
}

static void
test_rounding(void **state)
{
	static const struct { int64_t mantissa; int16_t exponent; int decimals; int64_t rounded; int16_t places; } rows[] = {
		{ 725, -1, 0, 72, 0 }, { 735, -1, 0, 74, 0 }, { -725, -1, 0, -72, 0 }, { -735, -1, 0, -74, 0 }, { 7251, -2, 0, 73, 0 }, { 7249, -2, 0, 72, 0 },
		{ 72, 0, 2, 72, 0 }, { 7250, -2, 2, 7250, -2 }, { 12345, -4, 3, 1234, -3 }, { 9999, -3, 1, 100, -1 }, { INT64_MAX, -18, 0, 9, 0 }, { INT64_MIN, -19, 0, 0, 0 },
		{ INT64_MAX, -40, 2, 0, -2 }, { 5, 3, 0, 5, 3 }, { 725, -1, -1, 725, -1 }, { 5, -1, 0, 0, 0 }, { 15, -1, 0, 2, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct gw_decimal rounded = gw_hl7_round((struct gw_decimal){ rows[i].mantissa, rows[i].exponent }, rows[i].decimals);

		if (rounded.mantissa != rows[i].rounded || rounded.exponent != rows[i].places)
			fail_msg("row %zu: %lld e%d", i, (long long)rounded.mantissa, rounded.exponent);
	}
}

// ---- Bounds ----

static void
small_enough(void *arg, const struct gw_hl7_group *group)
{
	static const struct gw_device device = { .id = "d", .ward = "ward", .bed = "bed", .eui64 = 0x0123456789ABCDEF };
	struct golden *golden = arg;
	struct gw_hl7_out out = { 0 };

	golden->groups += (unsigned)group->count;
	golden->oru.group = group;
	golden->oru.device = &device;
	golden->oru.owner = &in_bed_12;
	golden->oru.patient = &meyer;
	assert_int_equal(gw_hl7_oru_encode(&golden->oru, &out, &golden->ids), GW_OK);
	assert_true(out.len <= 65536);
	gw_hl7_out_fini(&out);
}

// Peers that take 64 KB at most get all of it, in several messages: many moments of one signal, and moments of many signals.
static void
test_messages_stay_below_64_kb(void **state)
{
	static const uint32_t many[] = { 147842, 150456, 149530, 150488, 150021, 150022, 150023, 149546, 151562, 150364, 150037, 150038, 150039, 150087,
		151708, 152196, 151980, 151976, 151973, 151975 };
	struct gw_hl7_settings settings = usual;

	(void)state;
	settings.select = GW_HL7_EVERY;
	settings.interval_us = INT64_C(3600000000);
	for (size_t signals = 1; signals <= 20; signals += 19) {
		struct golden golden;

		begin_with(&golden, "", NULL, &settings, small_enough);
		for (uint64_t i = 1; i <= 500; i++) {
			struct gw_reading list[20];

			for (size_t k = 0; k < signals; k++) {
				list[k] = decimal(many[k], (double)i + 0.1234, 123456, -3, BPM);
				list[k].kind = GW_KIND_SETTING;
			}
			give(&golden, i, "d", (double)i + 0.5, list, signals);
		}
		gw_hl7_grouper_tick(golden.grouper, AT(7200));
		assert_int_equal(golden.groups, 500 * signals);
		gw_hl7_grouper_free(golden.grouper);
	}
}

// An hour of a waveform, two seconds a block.
static void
test_waveforms_stay_below_64_kb(void **state)
{
	static uint8_t samples[4 * 500];
	struct gw_hl7_settings settings = usual;
	struct golden golden;

	(void)state;
	for (size_t i = 0; i < sizeof(samples); i += 4)
		gw_put32(samples + i, (uint32_t)(-100000 - (int32_t)i));
	settings.waveforms = true;
	begin_with(&golden, "", NULL, &settings, small_enough);
	for (uint64_t i = 1; i <= 1800; i++)
		GIVE(&golden, i, "d", 2 * (double)i + 2.5,
		    (struct gw_reading){ .signal = 131330, .time_us = AT(2 * (double)i), .type = GW_VALUE_SAMPLES, .unit = 266418, .samples = { 4000000, 500, -3, samples } });
	gw_hl7_grouper_tick(golden.grouper, AT(7200));
	assert_int_equal(golden.groups, 1800);
	gw_hl7_grouper_free(golden.grouper);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_interval),
		cmocka_unit_test(test_moments),
		cmocka_unit_test(test_spot),
		cmocka_unit_test(test_test_destination),
		cmocka_unit_test(test_patient_and_order),
		cmocka_unit_test(test_corrections),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_waveform),
		cmocka_unit_test(test_event),
		cmocka_unit_test(test_a_clock_that_is_off),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_overrides),
		cmocka_unit_test(test_simulated_readings_are_never_encoded_for_production),
		cmocka_unit_test(test_rounding),
		cmocka_unit_test(test_messages_stay_below_64_kb),
		cmocka_unit_test(test_waveforms_stay_below_64_kb),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
