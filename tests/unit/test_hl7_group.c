// SPDX-License-Identifier: Apache-2.0
// Grouping: what a device sent, and the groups that come of it, as one line of text each:
//   <device> <interval's start, s> [c<device clock>@<hub clock>] : <signal>=<value>@<time> ...
// Times are seconds after T0, which begins an interval of 60 s. Signals: h heart rate, s d m pressure (systolic, diastolic, mean), t temperature, e event.
#include "adapters/hl7/group.h"

#include "gateway/nomenclature.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define T0 INT64_C(1795162500000000)
#define S INT64_C(1000000)

static const struct { char name; uint32_t code; uint8_t kind; } signals[] = {
	{ 'h', 147842, GW_KIND_MEASUREMENT }, { 's', 150021, GW_KIND_MEASUREMENT }, { 'd', 150022, GW_KIND_MEASUREMENT },
	{ 'm', 150023, GW_KIND_MEASUREMENT }, { 't', 150364, GW_KIND_MEASUREMENT }, { 'e', 184352, GW_KIND_EVENT },
};

struct bench {
	struct gw_hl7_grouper *grouper;
	uint64_t position;
	char text[32768];
	struct gw_hl7_taken taken; // of the last group
};

static char
name_of(uint32_t code)
{
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		if (signals[i].code == code)
			return signals[i].name;
	return '?';
}

static void
closed(void *arg, const struct gw_hl7_group *group)
{
	struct bench *bench = arg;
	size_t len = strlen(bench->text);
	char *at = bench->text;

#define SAY(...) (len += (size_t)snprintf(at + len, sizeof(bench->text) - len, __VA_ARGS__))
	SAY("%s %lld", group->device, (long long)((group->from_us - T0) / S));
	if (group->has_clock)
		SAY(" c%g@%g", (double)(group->device_us - T0) / 1e6, (double)(group->hub_us - T0) / 1e6);
	SAY(" :");
	for (size_t i = 0; i < group->count; i++) {
		const struct gw_reading *reading = &group->items[i].reading;

		SAY(" %c", name_of(reading->signal));
		if (gw_hl7_valid(reading))
			SAY("=%lld", (long long)reading->decimal.mantissa);
		SAY("@%g", (double)(reading->time_us - T0) / 1e6);
	}
	SAY("\n");
	assert_true(len < sizeof(bench->text));
	bench->taken = group->taken;
}

static void
begin(struct bench *bench, bool all, bool production)
{
	const struct gw_hl7_grouper_options options = { .interval_us = 60 * S, .all = all, .production = production, .closed = closed, .arg = bench };

	assert_int_equal(gw_nomenclature_open(NULL), GW_OK);
	*bench = (struct bench){ .grouper = gw_hl7_grouper_new(&options) };
	assert_non_null(bench->grouper);
}

static void
end(struct bench *bench, const char *expected)
{
	assert_string_equal(bench->text, expected);
	gw_hl7_grouper_free(bench->grouper);
}

struct one {
	char name;
	double at; // device time, s after T0
	int value;
	uint16_t flags;
};

// One record of one device.
static void
give_at(struct bench *bench, uint64_t position, const char *device, double received, const struct one *ones, size_t count)
{
	struct gw_reading readings[600];
	struct gw_key keys[600];
	struct gw_batch_head head = { .received_us = T0 + (int64_t)(received * 1e6), .door = GW_DOOR_MQTT, .device = gw_span_text(device),
		.principal = gw_span_text(device), .route = gw_span_text("r"), .profile = gw_span_text("p") };
	static uint8_t bytes[GW_RECORD_MAX];
	struct gw_record record;
	size_t len;

	assert_true(count <= 600);
	for (size_t i = 0; i < count; i++) {
		size_t k = 0;

		while (signals[k].name != ones[i].name)
			k++;
		readings[i] = (struct gw_reading){ .signal = signals[k].code, .kind = signals[k].kind, .time_us = T0 + (int64_t)(ones[i].at * 1e6),
			.flags = ones[i].flags, .type = ones[i].flags & GW_FLAG_NOT_AVAILABLE ? GW_VALUE_NONE : GW_VALUE_DECIMAL,
			.decimal = { ones[i].value, 0 } };
	}
	assert_int_equal(gw_record_readings(&head, readings, count, bytes, sizeof(bytes), &len, keys), GW_OK);
	assert_int_equal(gw_record_open(position, gw_span(bytes, len), &record, NULL), GW_OK);
	bench->position = position;
	assert_int_equal(gw_hl7_grouper_take(bench->grouper, &record, NULL), GW_OK);
}

#define GIVE(bench, device, received, ...) do { \
	const struct one list[] = { __VA_ARGS__ }; \
	give_at(bench, (bench)->position + 1, device, received, list, sizeof(list) / sizeof(list[0])); \
} while (0)

static void
tick(struct bench *bench, double now)
{
	gw_hl7_grouper_tick(bench->grouper, T0 + (int64_t)(now * 1e6));
}

static void
test_the_last_of_an_interval(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	GIVE(&bench, "a", 1, { 'h', 1, 70 });
	GIVE(&bench, "a", 2, { 'h', 2, 71 }, { 't', 2, 37 });
	GIVE(&bench, "a", 59, { 'h', 59, 72 });
	assert_string_equal(bench.text, "");
	GIVE(&bench, "a", 60, { 'h', 60, 73 });
	assert_string_equal(bench.text, "a 0 c59@59 : t=37@2 h=72@59\n");
	tick(&bench, 119);
	GIVE(&bench, "a", 119, { 'h', 119, 74 });
	tick(&bench, 120);
	end(&bench, "a 0 c59@59 : t=37@2 h=72@59\na 60 c119@119 : h=74@119\n");
}

static void
test_all_of_them(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, true, false);
	GIVE(&bench, "a", 1, { 'h', 1, 70 });
	GIVE(&bench, "a", 2, { 'h', 2, 71 }, { 'h', 2, 71, GW_FLAG_NOT_AVAILABLE });
	tick(&bench, 61);
	end(&bench, "a 0 c2@2 : h=70@1 h=71@2 h@2\n");
}

static void
test_devices_do_not_mix(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	GIVE(&bench, "a", 1, { 'h', 1, 70 });
	GIVE(&bench, "b", 2, { 'h', 2, 80 });
	assert_int_equal(gw_hl7_grouper_open(bench.grouper), 2);
	assert_int_equal(gw_hl7_grouper_least(bench.grouper), 1);
	GIVE(&bench, "a", 61, { 'h', 61, 71 });
	assert_int_equal(gw_hl7_grouper_least(bench.grouper), 2);
	tick(&bench, 62);
	assert_int_equal(gw_hl7_grouper_least(bench.grouper), 3);
	tick(&bench, 122);
	assert_int_equal(gw_hl7_grouper_least(bench.grouper), 0);
	assert_int_equal(gw_hl7_grouper_open(bench.grouper), 0);
	end(&bench, "a 0 c1@1 : h=70@1\nb 0 c2@2 : h=80@2\na 60 c61@61 : h=71@61\n");
}

static void
test_many_devices(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 500; i++) {
			char device[16];

			snprintf(device, sizeof(device), "d%d", i);
			GIVE(&bench, device, 1 + round, { 'h', 1 + round, 70 });
		}
		assert_int_equal(gw_hl7_grouper_open(bench.grouper), 500);
	}
	gw_hl7_grouper_free(bench.grouper);
}

// The systolic of one measurement and the diastolic of another would be a pressure that nobody had.
static void
test_a_pressure_is_of_one_measurement(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	GIVE(&bench, "a", 1, { 's', 1, 120 }, { 'd', 1, 80 }, { 'm', 1, 93 }, { 'h', 1, 70 });
	GIVE(&bench, "a", 2, { 's', 2, 130 }, { 'd', 2, 0, GW_FLAG_NOT_AVAILABLE });
	tick(&bench, 61);
	assert_string_equal(bench.text, "a 0 c2@2 : h=70@1 s=130@2 d@2\n");
	bench.text[0] = '\0';
	// A measurement that failed as a whole does not replace one that did not.
	GIVE(&bench, "a", 61, { 's', 61, 120 }, { 'd', 61, 80 });
	GIVE(&bench, "a", 62, { 's', 62, 0, GW_FLAG_NOT_AVAILABLE }, { 'd', 62, 0, GW_FLAG_INVALID });
	tick(&bench, 130);
	end(&bench, "a 60 c62@62 : s=120@61 d=80@61\n");
}

static void
test_the_last_valid_one(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	GIVE(&bench, "a", 1, { 'h', 1, 0, GW_FLAG_NOT_AVAILABLE }, { 't', 1, 0, GW_FLAG_NOT_AVAILABLE });
	GIVE(&bench, "a", 2, { 'h', 2, 300, GW_FLAG_QUESTIONABLE });
	GIVE(&bench, "a", 3, { 'h', 3, 0, GW_FLAG_INVALID }, { 't', 3, 0, GW_FLAG_NOT_AVAILABLE });
	tick(&bench, 61);
	end(&bench, "a 0 c3@3 : h=300@2 t@3\n");
}

static void
test_events_are_all_kept(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	GIVE(&bench, "a", 1, { 'e', 1, 1 }, { 'h', 1, 70 });
	GIVE(&bench, "a", 2, { 'e', 2, 2 }, { 'h', 2, 71 });
	tick(&bench, 61);
	end(&bench, "a 0 c2@2 : e=1@1 e=2@2 h=71@2\n");
}

static void
test_what_comes_late(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	GIVE(&bench, "a", 1, { 'h', 1, 70 });
	GIVE(&bench, "a", 61, { 'h', 61, 71 });
	GIVE(&bench, "a", 62, { 'h', 59, 72 }); // less than a step, of the interval before
	GIVE(&bench, "a", 63, { 'h', 63, 73 });
	tick(&bench, 200);
	end(&bench, "a 0 c1@1 : h=70@1\na 60 c61@61 : h=71@61\na 0 c59@62 : h=72@59\na 60 c63@63 : h=73@63\n");
}

static void
test_a_pack_over_intervals(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	GIVE(&bench, "a", 130, { 'h', 125, 5 }, { 'h', 1, 1 }, { 't', 1, 37 }, { 'h', 61, 2 }, { 'h', 62, 3 }, { 'h', 121, 4 });
	assert_string_equal(bench.text, "a 0 c1@130 : h=1@1 t=37@1\na 60 c62@130 : h=3@62\n");
	// After a crash here the record comes again, and four of its readings are in messages.
	assert_int_equal(bench.taken.position, 1);
	assert_int_equal(bench.taken.count, 4);
	tick(&bench, 190);
	assert_int_equal(bench.taken.count, GW_HL7_ALL);
	end(&bench, "a 0 c1@130 : h=1@1 t=37@1\na 60 c62@130 : h=3@62\na 120 c125@130 : h=5@125\n");
}

static void
test_steps_of_the_clock(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	GIVE(&bench, "a", 1, { 'h', 1, 70 });
	GIVE(&bench, "a", 2, { 'h', 40, 71 }); // 39 s ahead in one second
	assert_string_equal(bench.text, "a 0 c1@1 : h=70@1\n");
	GIVE(&bench, "a", 3, { 'h', 41, 72 });
	GIVE(&bench, "a", 4, { 'h', 4, 73 });  // and back
	assert_string_equal(bench.text, "a 0 c1@1 : h=70@1\na 0 c41@3 : h=72@41\n");
	GIVE(&bench, "a", 30, { 'h', 30, 74 }); // no step: as much device time as hub time
	tick(&bench, 70);
	end(&bench, "a 0 c1@1 : h=70@1\na 0 c41@3 : h=72@41\na 0 c30@30 : h=74@30\n");
}

// What was buffered comes faster than it was measured: no step.
static void
test_a_backfill_is_no_step(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	for (int i = 0; i < 6; i++)
		GIVE(&bench, "a", 3600 + i * 0.01, { 'h', i * 10, 70 + i });
	tick(&bench, 3661);
	end(&bench, "a 0 c50@3600.05 : h=75@50\n");
}

static void
test_a_device_that_loses_its_clock(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	GIVE(&bench, "a", 1, { 'h', 1, 70 });
	GIVE(&bench, "a", 2, { 'h', 2, 71, GW_FLAG_NO_DEVICE_TIME });
	GIVE(&bench, "a", 3, { 'h', 3, 72 });
	tick(&bench, 70);
	end(&bench, "a 0 c1@1 : h=70@1\na 0 : h=71@2\na 0 c3@3 : h=72@3\n");
}

static void
test_simulated_devices(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, true);
	GIVE(&bench, "a", 1, { 'h', 1, 70, GW_FLAG_TEST });
	assert_int_equal(gw_hl7_grouper_open(bench.grouper), 0);
	GIVE(&bench, "b", 2, { 'h', 2, 71 }, { 't', 2, 37, GW_FLAG_TEST });
	tick(&bench, 70);
	assert_int_equal(gw_hl7_grouper_stats(bench.grouper)->test, 2);
	end(&bench, "b 0 c2@2 : h=71@2\n");
	begin(&bench, false, false);
	GIVE(&bench, "a", 1, { 'h', 1, 70, GW_FLAG_TEST });
	tick(&bench, 70);
	end(&bench, "a 0 c1@1 : h=70@1\n");
}

static void
test_a_full_group(void **state)
{
	struct bench bench;
	struct one list[300];

	(void)state;
	begin(&bench, true, false);
	for (size_t i = 0; i < 300; i++)
		list[i] = (struct one){ 'h', (double)i / 10, (int)i };
	give_at(&bench, 1, "a", 30, list, 300);
	assert_true(bench.taken.count > 50 && bench.taken.count < 300);
	// Readings of one moment are never parted, however many.
	for (size_t i = 0; i < 300; i++)
		list[i].at = 31;
	give_at(&bench, 2, "a", 31, list, 300);
	assert_int_equal(bench.taken.position, 1);
	tick(&bench, 100);
	assert_int_equal(bench.taken.position, 2);
	gw_hl7_grouper_free(bench.grouper);
}

static void
count_large(void *arg, const struct gw_hl7_group *group)
{
	struct bench *bench = arg;

	assert_true(group->bytes <= GW_HL7_BYTES_MAX);
	bench->position += group->count;
	bench->taken = group->taken;
}

// Texts that a device may make as long as it likes: a message stays storable, nothing but what is too long is left out.
static void
test_large_readings(void **state)
{
	static char text[GW_HL7_TEXT_MAX + 1];
	static uint8_t bytes[GW_RECORD_MAX];
	struct gw_reading readings[200];
	struct gw_key keys[200];
	struct gw_batch_head head = { .received_us = T0, .device = gw_span_text("a") };
	struct gw_record record;
	struct bench bench;
	size_t len;

	(void)state;
	begin(&bench, true, false);
	gw_hl7_grouper_free(bench.grouper);
	bench.grouper = gw_hl7_grouper_new(&(struct gw_hl7_grouper_options){ .interval_us = 60 * S, .all = true, .closed = count_large, .arg = &bench });
	memset(text, '|', sizeof(text));
	for (size_t i = 0; i < 200; i++)
		readings[i] = (struct gw_reading){ .signal = 184514, .instance = (uint16_t)i, .time_us = T0, .type = GW_VALUE_TEXT,
			.text = gw_span(text, i == 100 ? GW_HL7_TEXT_MAX + 1 : GW_HL7_TEXT_MAX) };
	assert_int_equal(gw_record_readings(&head, readings, 200, bytes, sizeof(bytes), &len, keys), GW_OK);
	assert_int_equal(gw_record_open(1, gw_span(bytes, len), &record, NULL), GW_OK);
	assert_int_equal(gw_hl7_grouper_take(bench.grouper, &record, NULL), GW_OK);
	assert_true(bench.position > 0 && bench.position < 199); // parted inside the moment...
	assert_int_equal(bench.taken.position, 1);
	assert_true(bench.taken.count == bench.position || bench.taken.count == bench.position + 1); // ...and told where
	tick(&bench, 100);
	assert_int_equal(bench.position, 199);
	assert_int_equal(gw_hl7_grouper_stats(bench.grouper)->too_long, 1);
	gw_hl7_grouper_free(bench.grouper);
}

static void
test_a_hub_clock_set_back(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	GIVE(&bench, "a", 10000, { 'h', 1, 70 });
	tick(&bench, 5000);
	end(&bench, "a 0 c1@10000 : h=70@1\n");
}

// A crash at any moment: every reading is in exactly one message, whatever was open is grouped again.
static void
test_crashes_at_every_record(void **state)
{
	struct one list[3][2] = { { { 'h', 50, 1 }, { 'h', 61, 2 } }, { { 'h', 62, 3 }, { 'h', 119, 4 } }, { { 'h', 121, 5 }, { 'h', 181, 6 } } };
	static const char whole[] = "a 0 c50@200 : h=1@50\na 60 c119@200 : h=2@61 h=3@62 h=4@119\na 120 c121@200 : h=5@121\na 180 c181@200 : h=6@181\n";

	(void)state;
	for (uint64_t crash = 1; crash <= 3; crash++) {
		struct bench first, second;

		begin(&first, true, false);
		for (uint64_t i = 1; i <= crash; i++)
			give_at(&first, i, "a", 200, list[i - 1], 2);
		begin(&second, true, false);
		strcpy(second.text, first.text);
		if (first.taken.position != 0)
			assert_int_equal(gw_hl7_grouper_restore(second.grouper, gw_span_text("a"), &first.taken), GW_OK);
		for (uint64_t i = 1; i <= 3; i++)
			give_at(&second, i, "a", 200, list[i - 1], 2);
		tick(&second, 300);
		end(&second, whole);
		gw_hl7_grouper_free(first.grouper);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_the_last_of_an_interval),
		cmocka_unit_test(test_all_of_them),
		cmocka_unit_test(test_devices_do_not_mix),
		cmocka_unit_test(test_many_devices),
		cmocka_unit_test(test_a_pressure_is_of_one_measurement),
		cmocka_unit_test(test_the_last_valid_one),
		cmocka_unit_test(test_events_are_all_kept),
		cmocka_unit_test(test_what_comes_late),
		cmocka_unit_test(test_a_pack_over_intervals),
		cmocka_unit_test(test_steps_of_the_clock),
		cmocka_unit_test(test_a_backfill_is_no_step),
		cmocka_unit_test(test_a_device_that_loses_its_clock),
		cmocka_unit_test(test_simulated_devices),
		cmocka_unit_test(test_a_full_group),
		cmocka_unit_test(test_large_readings),
		cmocka_unit_test(test_a_hub_clock_set_back),
		cmocka_unit_test(test_crashes_at_every_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
