// SPDX-License-Identifier: Apache-2.0
// ORU^R01 messages, byte for byte: records go through grouping and encoding with a fixed clock and incarnation, and come out as tests/golden/hl7/NAME.hl7,
// which were written by hand from IHE PCD-01 (segments end in LF there, in CR on the wire). MSH-10 is BLAKE2b over the readings' keys, computed
// by another implementation.
#include "adapters/hl7/containment.h"
#include "adapters/hl7/group.h"
#include "adapters/hl7/oru.h"

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
	struct gw_hl7_sender sender;
	const struct gw_device *device;
	struct gw_hl7_grouper *grouper;
	const char *file;
	unsigned groups;
};

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

static void
check(const struct golden *golden, const struct gw_hl7_out *out)
{
	char path[512], expected[16384];
	FILE *file;
	size_t len;

	snprintf(path, sizeof(path), "%s/tests/golden/hl7/%s.hl7", VITALGATE_SOURCE, golden->file);
	if ((file = fopen(path, "rb")) == NULL)
		fail_msg("%s cannot be read", path);
	len = fread(expected, 1, sizeof(expected) - 1, file);
	fclose(file);
	expected[len] = '\0';
	for (size_t i = 0; i < out->len; i++)
		if (out->at[i] == '\r')
			out->at[i] = '\n';
	assert_int_equal(memchr(expected, '\r', len) == NULL, true);
	for (size_t i = 0; i < len && i < out->len; i++)
		if (expected[i] != (char)out->at[i])
			fail_msg("%s differs at byte %zu:\n%.*s", golden->file, i, (int)out->len, (const char *)out->at);
	assert_int_equal(out->len, len);
}

static void
closed(void *arg, const struct gw_hl7_group *group)
{
	struct golden *golden = arg;
	struct gw_hl7_out out = { 0 };
	char control_id[GW_HL7_ID_LEN + 1];

	golden->groups++;
	assert_int_equal(gw_hl7_oru_encode(&golden->sender, group, golden->device, gw_hl7_mds(NULL), NOW, &out, control_id), GW_OK);
	assert_int_equal(strlen(control_id), GW_HL7_ID_LEN);
	check(golden, &out);
	gw_hl7_out_fini(&out);
}

static void
begin(struct golden *golden, const char *file, const struct gw_device *device, bool all, bool production)
{
	const struct gw_hl7_grouper_options options = { .interval_us = 60000000, .all = all, .production = production, .closed = closed, .arg = golden };

	assert_int_equal(gw_nomenclature_open(NULL), GW_OK);
	*golden = (struct golden){
		.sender = { .incarnation = 0x1122334455667788, .eui64 = "0011223344556677", .destination = "pdms", .application = "Vitalgate",
			.facility = "St. John|West", .receiving_application = "PDMS", .receiving_facility = "", .production = production, .all = all },
		.device = device,
		.file = file,
		.grouper = gw_hl7_grouper_new(&options),
	};
	assert_non_null(golden->grouper);
}

static void
give(struct golden *golden, uint64_t position, const char *device, double received, const struct gw_reading *readings, size_t count)
{
	const struct gw_batch_head head = { .received_us = AT(received), .door = GW_DOOR_MQTT, .device = gw_span_text(device) };
	uint8_t bytes[8192];
	struct gw_key keys[32];
	struct gw_record record;
	size_t len;

	assert_int_equal(gw_record_readings(&head, readings, count, bytes, sizeof(bytes), &len, keys), GW_OK);
	assert_int_equal(gw_record_open(position, gw_span(bytes, len), &record, NULL), GW_OK);
	assert_int_equal(gw_hl7_grouper_take(golden->grouper, &record, NULL), GW_OK);
}

#define GIVE(golden, position, device, received, ...) do { \
	const struct gw_reading list[] = { __VA_ARGS__ }; \
	give(golden, position, device, received, list, sizeof(list) / sizeof(list[0])); \
} while (0)

static void
end(struct golden *golden)
{
	gw_hl7_grouper_tick(golden->grouper, AT(3600));
	assert_int_equal(golden->groups, 1);
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
	struct gw_reading pressure = decimal(150021, 5, 12001, -2, MMHG), set = decimal(16929196, 5, 450, 0, ML);

	(void)state;
	pressure.received = gw_span_text("16.0");
	pressure.unit_received = gw_span_text("kPa");
	set.kind = GW_KIND_SETTING;
	begin(&golden, "moments", &device, true, true);
	GIVE(&golden, 1, "vent-1", 5.5, (struct gw_reading){ .signal = 184327, .time_us = AT(5), .type = GW_VALUE_CODE, .code = 147474 }, pressure, set);
	GIVE(&golden, 2, "vent-1", 7,
	    (struct gw_reading){ .signal = 184514, .time_us = AT(6.5), .type = GW_VALUE_TEXT, .kind = GW_KIND_EVENT,
		.text = gw_span_text("Noradrenalin 0,1 | 5%\n^ f\xc3\xbcr & ~ \\") },
	    (struct gw_reading){ .signal = 150456, .time_us = AT(6.5), .flags = GW_FLAG_NOT_AVAILABLE });
	end(&golden);
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

static void
small_enough(void *arg, const struct gw_hl7_group *group)
{
	static const struct gw_device device = { .id = "d", .ward = "ward", .bed = "bed", .eui64 = 0x0123456789ABCDEF };
	struct golden *golden = arg;
	struct gw_hl7_out out = { 0 };
	char control_id[GW_HL7_ID_LEN + 1];

	golden->groups += (unsigned)group->count;
	assert_int_equal(gw_hl7_oru_encode(&golden->sender, group, &device, gw_hl7_mds(NULL), NOW, &out, control_id), GW_OK);
	assert_true(out.len <= 65536);
	gw_hl7_out_fini(&out);
}

// Peers that take 64 KB at most get all of it, in several messages: many moments of one signal, and moments of many signals.
static void
test_messages_stay_below_64_kb(void **state)
{
	static const uint32_t many[] = { 147842, 150456, 149530, 150488, 150021, 150022, 150023, 149546, 151562, 150364, 150037, 150038, 150039, 150087,
		151708, 152196, 151980, 151976, 151973, 151975 };
	struct gw_reading reading;

	(void)state;
	for (size_t signals = 1; signals <= 20; signals += 19) {
		struct golden golden;

		begin(&golden, "", NULL, true, true);
		gw_hl7_grouper_free(golden.grouper);
		golden.grouper = gw_hl7_grouper_new(&(struct gw_hl7_grouper_options){ .interval_us = INT64_C(3600000000), .all = true,
		    .closed = small_enough, .arg = &golden });
		for (uint64_t i = 1; i <= 500; i++) {
			struct gw_reading list[20];

			for (size_t k = 0; k < signals; k++) {
				reading = decimal(many[k], (double)i + 0.1234, 123456, -3, BPM);
				reading.kind = GW_KIND_SETTING;
				list[k] = reading;
			}
			give(&golden, i, "d", (double)i + 0.5, list, signals);
		}
		gw_hl7_grouper_tick(golden.grouper, AT(7200));
		assert_int_equal(golden.groups, 500 * signals);
		gw_hl7_grouper_free(golden.grouper);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_interval),
		cmocka_unit_test(test_moments),
		cmocka_unit_test(test_test_destination),
		cmocka_unit_test(test_messages_stay_below_64_kb),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
