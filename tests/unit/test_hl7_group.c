// SPDX-License-Identifier: Apache-2.0
// Grouping: what a device sent, and the groups that come of it, as one line of text each:
//   <device> <interval's start, s> [c<device clock>@<hub clock>] [?: not sure] [P<patient>, or -: nobody's, or !: nobody can tell] [+: more to come] :
//   <signal>[=<value>]@<effective time> ...
// Times are seconds after T0, which begins an interval of 60 s. Signals: h heart rate, s d m pressure (systolic, diastolic, mean), t temperature, e event, w waveform
// (value: seconds that it covers). An owner is only written where the test has associations.
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
	{ 'w', 131328, GW_KIND_MEASUREMENT },
};

// Patient `patient` from `from` on, s after T0.
struct stay {
	double from;
	uint64_t patient;
	const char *bed;
};

struct bench {
	struct gw_hl7_settings settings;
	struct gw_hl7_grouper *grouper;
	uint64_t position;
	char text[32768];
	struct { uint8_t bytes[GW_HL7_STATE_MAX]; size_t len; } states[26]; // with the last group, by the device's first letter
	unsigned groups, items, saved;
	struct stay stays[8]; // ends with the first from 0 patient 0 after the first
	size_t stay_count;
	uint64_t generation;
	unsigned asked;
};

static void
owner_of(void *arg, struct gw_span device, int64_t effective_us, int64_t uncertainty_us, struct gw_owner *owner)
{
	struct bench *bench = arg;

	(void)device;
	bench->asked++;
	*owner = (struct gw_owner){ .from_us = INT64_MIN, .to_us = GW_TIME_OPEN };
	for (size_t i = 0; i < bench->stay_count; i++) {
		int64_t from_us = T0 + (int64_t)(bench->stays[i].from * 1e6);

		if (from_us > effective_us - uncertainty_us && from_us <= effective_us + uncertainty_us) {
			*owner = (struct gw_owner){ .whose = GW_WHOSE_UNSURE, .from_us = effective_us, .to_us = effective_us };
			return;
		}
		if (from_us <= effective_us) {
			owner->patient = bench->stays[i].patient;
			owner->whose = owner->patient != 0 ? GW_WHOSE_PATIENT : GW_WHOSE_NOBODY;
			owner->from_us = from_us + uncertainty_us;
			snprintf(owner->bed, sizeof(owner->bed), "%s", bench->stays[i].bed != NULL ? bench->stays[i].bed : "");
		} else {
			owner->to_us = from_us - uncertainty_us;
			return;
		}
	}
}

static uint64_t
generation_of(void *arg)
{
	return ((struct bench *)arg)->generation;
}

static void
keep_state(struct bench *bench, const char *device, struct gw_span state)
{
	size_t at = (size_t)(device[0] - 'a');

	assert_true(at < 26 && state.len > 0 && state.len <= sizeof(bench->states[at].bytes));
	memcpy(bench->states[at].bytes, state.at, state.len);
	bench->states[at].len = state.len;
}

static void
save(void *arg, const char *device, struct gw_span state)
{
	struct bench *bench = arg;

	bench->saved++;
	keep_state(bench, device, state);
}

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
	if (!group->sure)
		SAY(" ?");
	if (bench->stay_count > 0 && group->owner.whose == GW_WHOSE_PATIENT)
		SAY(" P%d", (int)group->owner.patient);
	else if (bench->stay_count > 0)
		SAY(group->owner.whose == GW_WHOSE_NOBODY ? " -" : " !");
	SAY("%s :", group->more ? " +" : "");
	for (size_t i = 0; i < group->count; i++) {
		const struct gw_reading *reading = &group->items[i].reading;

		SAY(" %c", name_of(reading->signal));
		if (reading->type == GW_VALUE_SAMPLES)
			SAY("=%g", (double)gw_hl7_span_us(reading) / 1e6);
		else if (gw_hl7_valid(reading))
			SAY("=%lld", (long long)reading->decimal.mantissa);
		SAY("@%g", (double)(group->items[i].effective.us - T0) / 1e6);
	}
	SAY("\n");
	assert_true(len < sizeof(bench->text));
	keep_state(bench, group->device, group->state);
	bench->groups++;
	bench->items += (unsigned)group->count;
}

// By themselves a cuff's pressures go at once (test_spot_measurements); here they go with the others.
static const struct gw_hl7_signal_rule cuff = { .signal = "nibp_*", .has_interval = true, .interval_us = 60 * S };
static const struct gw_hl7_settings usual = { .name = "pdms", .interval_us = 60 * S, .select = GW_HL7_LAST, .rules = &cuff, .rule_count = 1 };

static void
begin_with(struct bench *bench, const struct gw_hl7_settings *settings)
{
	struct gw_hl7_grouper_options options = { .closed = closed, .owner = owner_of, .generation = generation_of, .save = save, .arg = bench };

	assert_int_equal(gw_nomenclature_open(NULL), GW_OK);
	*bench = (struct bench){ .settings = *settings };
	options.settings = &bench->settings;
	bench->grouper = gw_hl7_grouper_new(&options);
	assert_non_null(bench->grouper);
}

static void
begin(struct bench *bench, bool all, bool production)
{
	struct gw_hl7_settings settings = usual;

	settings.select = all ? GW_HL7_EVERY : GW_HL7_LAST;
	settings.production = production;
	begin_with(bench, &settings);
}

static void
restore(struct bench *bench, const struct bench *from, const char *device)
{
	size_t at = (size_t)(device[0] - 'a');

	if (from->states[at].len > 0)
		assert_int_equal(gw_hl7_grouper_restore(bench->grouper, gw_span_text(device), gw_span(from->states[at].bytes, from->states[at].len)), GW_OK);
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
	static uint8_t bytes[GW_RECORD_MAX], samples[4 * 250 * 200];
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
		if (ones[i].name == 'w') { // value: its seconds
			readings[i].type = GW_VALUE_SAMPLES;
			readings[i].samples = (struct gw_samples){ 4000000, (uint32_t)ones[i].value * 250, -3, samples };
		}
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
	assert_string_equal(bench.text, "a 0 c59@59 : h=72@59 t=37@2\n");
	tick(&bench, 119);
	GIVE(&bench, "a", 119, { 'h', 119, 74 });
	tick(&bench, 120);
	end(&bench, "a 0 c59@59 : h=72@59 t=37@2\na 60 c119@119 : h=74@119\n");
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

// Events go with the record that brought them.
static void
test_events_go_at_once(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	GIVE(&bench, "a", 1, { 'e', 1, 1 }, { 'h', 1, 70 });
	assert_string_equal(bench.text, "a 1 c1@1 : e=1@1\n");
	GIVE(&bench, "a", 2, { 'e', 2, 2 }, { 'h', 2, 71 });
	tick(&bench, 61);
	end(&bench, "a 1 c1@1 : e=1@1\na 2 c2@2 : e=2@2\na 0 c2@2 : h=71@2\n");
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
	end(&bench, "a 0 c1@1 : h=70@1\na 60 c61@61 : h=71@61\na 0 c59@59 : h=72@59\na 60 c63@63 : h=73@63\n");
}

static void
test_a_pack_over_intervals(void **state)
{
	struct bench bench, second;

	(void)state;
	begin(&bench, false, false);
	GIVE(&bench, "a", 130, { 'h', 125, 5 }, { 'h', 1, 1 }, { 't', 1, 37 }, { 'h', 61, 2 }, { 'h', 62, 3 }, { 'h', 121, 4 });
	assert_string_equal(bench.text, "a 0 c1@1 : h=1@1 t=37@1\na 60 c62@62 : h=3@62\n");
	// After a crash here the record comes again, and four of its readings are in messages.
	begin(&second, false, false);
	restore(&second, &bench, "a");
	GIVE(&second, "a", 130, { 'h', 125, 5 }, { 'h', 1, 1 }, { 't', 1, 37 }, { 'h', 61, 2 }, { 'h', 62, 3 }, { 'h', 121, 4 });
	tick(&second, 190);
	end(&second, "a 120 c125@125 : h=5@125\n");
	tick(&bench, 190);
	end(&bench, "a 0 c1@1 : h=1@1 t=37@1\na 60 c62@62 : h=3@62\na 120 c125@125 : h=5@125\n");
}

static void
test_a_step_of_the_clock(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	for (int i = 0; i < 4; i++)
		GIVE(&bench, "a", i * 30 + 1, { 'h', i * 30 + 1, 70 + i });
	for (int i = 4; i < 10; i++)
		GIVE(&bench, "a", i * 30 + 1, { 'h', i * 30 + 1 + 10800, 70 + i });
	tick(&bench, 400);
	// Not sure from 121 s on, by the receive time, until the step is known.
	assert_non_null(strstr(bench.text, "a 0 c31@31 : h=71@31\na 60 c91@91 : h=73@91\na 120 c10951@151 ? : h=75@151\n"));
	assert_non_null(strstr(bench.text, "c11071@271 : h=79@271\n"));
	gw_hl7_grouper_free(bench.grouper);
}

// A frame whose time is nonsense stands alone, though the receive time says that it is of the same interval.
static void
test_what_is_not_sure_stands_alone(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, true, false);
	for (int i = 0; i < 4; i++)
		GIVE(&bench, "a", i * 30 + 1, { 'h', i * 30 + 1, 70 + i });
	GIVE(&bench, "a", 100, { 'h', 400, 80 });
	GIVE(&bench, "a", 110, { 'h', 110, 81 });
	tick(&bench, 200);
	end(&bench, "a 0 c31@31 : h=70@1 h=71@31\na 60 c91@91 : h=72@61 h=73@91\na 60 c400@100 ? : h=80@100\na 60 c110@110 : h=81@110\n");
}

// Values of one moment do not compete: the device said both.
static void
test_two_values_of_one_moment(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	GIVE(&bench, "a", 1, { 'h', 1, 70 });
	GIVE(&bench, "a", 2, { 'h', 2, 71 }, { 'h', 2, 72 });
	tick(&bench, 70);
	end(&bench, "a 0 c2@2 : h=71@2 h=72@2\n");
}

// What was buffered comes faster than it was measured.
static void
test_a_backfill(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	GIVE(&bench, "a", 1, { 'h', 1, 70 });
	GIVE(&bench, "a", 61, { 'h', 61, 71 });
	for (int i = 0; i < 10; i++)
		GIVE(&bench, "a", 3600 + i * 0.01, { 'h', 120 + i * 120, 72 + i });
	tick(&bench, 3661);
	// The first frames may also be of a clock that was set back: they are not sure.
	assert_non_null(strstr(bench.text, "a 120 c120@3600 ? : h=72@120\na 240 c240@3600.01 ? : h=73@240\n"));
	assert_non_null(strstr(bench.text, "a 1080 c1080@1080 : h=80@1080\na 1200 c1200@1200 : h=81@1200\n"));
	gw_hl7_grouper_free(bench.grouper);
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
count_only(void *arg, const struct gw_hl7_group *group)
{
	struct bench *bench = arg;

	assert_true(group->bytes <= GW_HL7_BYTES_MAX);
	bench->items += (unsigned)group->count;
	bench->groups++;
	keep_state(bench, group->device, group->state);
}

static void
count_groups(struct bench *bench)
{
	gw_hl7_grouper_free(bench->grouper);
	bench->grouper = gw_hl7_grouper_new(&(struct gw_hl7_grouper_options){ .settings = &bench->settings, .closed = count_only, .arg = bench });
	assert_non_null(bench->grouper);
}

static void
test_a_full_group(void **state)
{
	struct bench bench;
	struct one list[300];

	(void)state;
	begin(&bench, true, false);
	count_groups(&bench);
	for (size_t i = 0; i < 300; i++)
		list[i] = (struct one){ 'h', (double)i / 10, (int)i };
	give_at(&bench, 1, "a", 30, list, 300);
	assert_true(bench.items > 50 && bench.items < 300);
	// Readings of one moment are never parted, however many.
	for (size_t i = 0; i < 300; i++)
		list[i].at = 31;
	give_at(&bench, 2, "a", 31, list, 300);
	assert_int_equal(bench.items, 300);
	tick(&bench, 100);
	assert_int_equal(bench.items, 600);
	gw_hl7_grouper_free(bench.grouper);
}

// Texts that a device may make as long as it likes: a message stays storable, nothing but what is too long is left out.
static void
test_large_readings(void **state)
{
	static char text[GW_HL7_READING_TEXT_MAX + 1];
	static uint8_t bytes[GW_RECORD_MAX];
	struct gw_reading readings[200];
	struct gw_key keys[200];
	struct gw_batch_head head = { .received_us = T0, .device = gw_span_text("a") };
	struct gw_record record;
	struct bench bench, second;
	size_t len;

	(void)state;
	begin(&bench, true, false);
	count_groups(&bench);
	memset(text, '|', sizeof(text));
	for (size_t i = 0; i < 200; i++)
		readings[i] = (struct gw_reading){ .signal = 184514, .instance = (uint16_t)i, .time_us = T0, .type = GW_VALUE_TEXT,
			.text = gw_span(text, i == 100 ? GW_HL7_READING_TEXT_MAX + 1 : GW_HL7_READING_TEXT_MAX) };
	assert_int_equal(gw_record_readings(&head, readings, 200, bytes, sizeof(bytes), &len, keys), GW_OK);
	assert_int_equal(gw_record_open(1, gw_span(bytes, len), &record, NULL), GW_OK);
	assert_int_equal(gw_hl7_grouper_take(bench.grouper, &record, NULL), GW_OK);
	assert_true(bench.items > 0 && bench.items < 199); // parted inside the moment...
	begin(&second, true, false);
	count_groups(&second);
	restore(&second, &bench, "a"); // ...and told where
	second.items = bench.items;
	assert_int_equal(gw_hl7_grouper_take(second.grouper, &record, NULL), GW_OK);
	tick(&second, 100);
	assert_int_equal(second.items, 199);
	gw_hl7_grouper_free(second.grouper);
	tick(&bench, 100);
	assert_int_equal(bench.items, 199);
	assert_int_equal(gw_hl7_grouper_stats(bench.grouper)->too_long, 1);
	gw_hl7_grouper_free(bench.grouper);
}

static void
test_a_hub_clock_set_back(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	GIVE(&bench, "a", 10000, { 'h', 10000, 70 });
	tick(&bench, 5000);
	end(&bench, "a 9960 c10000@10000 : h=70@10000\n");
}

static void
test_the_first_of_an_interval(void **state)
{
	struct gw_hl7_settings settings = usual;
	struct bench bench;

	(void)state;
	settings.select = GW_HL7_FIRST;
	begin_with(&bench, &settings);
	GIVE(&bench, "a", 1, { 'h', 1, 0, GW_FLAG_NOT_AVAILABLE }, { 't', 1, 36 });
	GIVE(&bench, "a", 2, { 'h', 2, 71 }, { 't', 2, 37 });
	GIVE(&bench, "a", 3, { 'h', 3, 72 }, { 't', 0.5, 35 });
	tick(&bench, 61);
	end(&bench, "a 0 c3@3 : h=71@2 t=35@0.5\n");
}

// A topic for each signal: the parts of one measurement come in frames of their own.
static void
test_a_pressure_in_three_frames(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	for (int i = 0; i < 2; i++) {
		GIVE(&bench, "a", 1 + 10 * i, { 's', 1 + 10 * i, 120 + i });
		GIVE(&bench, "a", 1.1 + 10 * i, { 'd', 1 + 10 * i, 80 + i });
		GIVE(&bench, "a", 1.2 + 10 * i, { 'm', 1 + 10 * i, 93 + i });
	}
	tick(&bench, 62);
	assert_string_equal(bench.text, "a 0 c11@11 : s=121@11 d=81@11 m=94@11\n");
	bench.text[0] = '\0';
	for (int i = 0; i < 2; i++) {
		GIVE(&bench, "b", 61 + i, { 's', 61 + i, 120 + i, GW_FLAG_NO_DEVICE_TIME });
		GIVE(&bench, "b", 61.1 + i, { 'd', 61.1 + i, 80 + i, GW_FLAG_NO_DEVICE_TIME });
	}
	tick(&bench, 130);
	end(&bench, "b 60 : s=121@62 d=81@62.1\n");
}

static const struct gw_hl7_signal_rule rules[] = {
	{ .signal = "nibp_systolic", .has_select = true, .select = GW_HL7_EVERY, .has_interval = true, .interval_us = 0 },
	{ .signal = "temperature_*", .has_select = true, .select = GW_HL7_FIRST, .has_interval = true, .interval_us = 120 * S },
};

// Pressures at once (a rule for one is a rule for all three), temperatures every two minutes.
static void
test_rules(void **state)
{
	struct gw_hl7_settings settings = usual;
	struct bench bench;

	(void)state;
	settings.rules = rules;
	settings.rule_count = 2;
	begin_with(&bench, &settings);
	GIVE(&bench, "a", 1, { 'h', 1, 70 }, { 's', 1, 120 }, { 'd', 1, 80 }, { 't', 1, 36 });
	assert_string_equal(bench.text, "a 1 c1@1 : s=120@1 d=80@1\n");
	GIVE(&bench, "a", 61, { 'h', 61, 71 }, { 'm', 61, 93 }, { 't', 61, 37 });
	tick(&bench, 190);
	end(&bench, "a 1 c1@1 : s=120@1 d=80@1\na 0 c1@1 : h=70@1\na -60 c1@1 : t=36@1\n"
	    "a 61 c61@61 : m=93@61\na 60 c61@61 : h=71@61\na 60 c61@61 : t=37@61\n");
}

// What is measured now and then goes at once, all of it; a rule may say otherwise.
static void
test_spot_measurements(void **state)
{
	struct gw_hl7_settings settings = usual;
	struct bench bench;

	(void)state;
	settings.rule_count = 0;
	begin_with(&bench, &settings);
	GIVE(&bench, "a", 1, { 'h', 1, 70 }, { 's', 1, 120 }, { 'd', 1, 80 });
	assert_string_equal(bench.text, "a 1 c1@1 : s=120@1 d=80@1\n");
	GIVE(&bench, "a", 2, { 'h', 2, 71 }, { 's', 2, 121 });
	tick(&bench, 70);
	end(&bench, "a 1 c1@1 : s=120@1 d=80@1\na 2 c2@2 : s=121@2\na 0 c2@2 : h=71@2\n");
}

static void
test_filters(void **state)
{
	static const char *const devices[] = { "icu-*", "b" }, *const names[] = { "heart_rate", "nibp_*" }, *const wards[] = { "ICU" };
	struct gw_hl7_settings settings = usual;
	struct bench bench;

	(void)state;
	settings.devices = devices;
	settings.device_count = 2;
	settings.signals = names;
	settings.signal_count = 2;
	begin_with(&bench, &settings);
	GIVE(&bench, "icu-7", 1, { 'h', 1, 70 }, { 't', 1, 37 }, { 'd', 1, 80 });
	GIVE(&bench, "ic", 2, { 'h', 2, 70 });
	GIVE(&bench, "b", 3, { 'h', 3, 70 });
	tick(&bench, 70);
	assert_int_equal(gw_hl7_grouper_stats(bench.grouper)->filtered, 1);
	end(&bench, "icu-7 0 c1@1 : h=70@1 d=80@1\nb 0 c3@3 : h=70@3\n");
	settings = usual;
	settings.wards = wards;
	settings.ward_count = 1;
	begin_with(&bench, &settings);
	bench.stay_count = 2;
	bench.stays[0] = (struct stay){ -1000, 1, "ICU^^3" };
	bench.stays[1] = (struct stay){ 30, 1, "ICUX^^3" };
	GIVE(&bench, "a", 1, { 'h', 1, 70 });
	GIVE(&bench, "a", 121, { 'h', 121, 71 });
	tick(&bench, 190);
	assert_string_equal(bench.text, ""); // the clock's uncertainty spans the change of ward: see below
	gw_hl7_grouper_free(bench.grouper);
	begin_with(&bench, &settings);
	bench.stay_count = 2;
	bench.stays[0] = (struct stay){ -1000, 1, "ICU^^3" };
	bench.stays[1] = (struct stay){ 300, 1, "ICUX^^3" };
	GIVE(&bench, "a", 1, { 'h', 1, 70 });
	GIVE(&bench, "a", 421, { 'h', 421, 71 });
	tick(&bench, 500);
	end(&bench, "a 0 c1@1 P1 : h=70@1\n");
	begin_with(&bench, &settings);
	bench.stay_count = 1;
	bench.stays[0] = (struct stay){ -1000, 1, "ICU^^3" };
	GIVE(&bench, "a", 1, { 'h', 1, 70 });
	bench.stays[0].bed = "3a^^3"; // told while the group is open
	bench.generation++;
	tick(&bench, 70);
	assert_int_equal(gw_hl7_grouper_stats(bench.grouper)->filtered, 1);
	assert_int_equal(gw_hl7_grouper_least(bench.grouper), 0);
	assert_int_equal(bench.saved, 1);
	end(&bench, "");
}

// A group never spans a change of patient; near one, within the clock's uncertainty, nobody can tell.
static void
test_a_change_of_patient(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	bench.stay_count = 2;
	bench.stays[0] = (struct stay){ 0, 1, NULL };
	bench.stays[1] = (struct stay){ 330, 2, NULL };
	for (int i = 5; i < 80; i++)
		GIVE(&bench, "a", i * 5 + 0.5, { 'h', i * 5, i });
	tick(&bench, 500);
	assert_non_null(strstr(bench.text, "a 300 c325@325 P1 : h=65@325\n"));
	assert_non_null(strstr(bench.text, "a 300 c330@330 ! : h=66@330\n"));
	assert_non_null(strstr(bench.text, "a 300 c355@355 P2 : h=71@355\n"));
	assert_true(bench.asked < 30); // not for every reading
	gw_hl7_grouper_free(bench.grouper);
}

// The transfer at 90 s is told at 119 s: the group that is open is parted.
static void
test_a_change_that_is_told_late(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, true, false);
	bench.stay_count = 1;
	bench.stays[0] = (struct stay){ -1000, 1, NULL };
	GIVE(&bench, "b", 1, { 'h', 1, 1 });
	for (int i = 0; i < 16; i++)
		GIVE(&bench, "a", 10 * i + 1, { 'h', 10 * i + 1, i });
	bench.text[0] = '\0';
	bench.stays[bench.stay_count++] = (struct stay){ 134, 2, NULL };
	bench.generation++;
	tick(&bench, 181);
	end(&bench, "b 0 c1@1 P1 : h=1@1\na 120 c151@151 P1 + : h=12@121\na 120 c151@151 ! + : h=13@131\na 120 c151@151 P2 : h=14@141 h=15@151\n");
}

// The reading that closes a group whose associations have changed is asked about for itself: closing asks about the others.
static void
test_what_closes_a_changed_group_has_its_own_patient(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, true, false);
	bench.stay_count = 1;
	bench.stays[0] = (struct stay){ -1000, 1, NULL };
	for (int i = 0; i < 16; i++)
		GIVE(&bench, "a", 10 * i + 1, { 'h', 10 * i + 1, i });
	bench.text[0] = '\0';
	bench.stays[bench.stay_count++] = (struct stay){ 110, 2, NULL };
	bench.stays[bench.stay_count++] = (struct stay){ 195, 3, NULL };
	bench.generation++;
	GIVE(&bench, "a", 211, { 'h', 211, 70 });
	tick(&bench, 281);
	end(&bench, "a 120 c151@151 P2 : h=12@121 h=13@131 h=14@141 h=15@151\na 180 c211@211 P3 : h=70@211\n");
}

// Waveforms: off by default; in groups of their own; whose they are depends on their whole span.
static void
test_waveforms(void **state)
{
	struct gw_hl7_settings settings = usual;
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	GIVE(&bench, "a", 11, { 'w', 1, 10 });
	tick(&bench, 100);
	assert_int_equal(gw_hl7_grouper_stats(bench.grouper)->samples, 1);
	end(&bench, "");
	settings.waveforms = true;
	begin_with(&bench, &settings);
	bench.stay_count = 2;
	bench.stays[0] = (struct stay){ -1000, 1, NULL };
	bench.stays[1] = (struct stay){ 400, 2, NULL };
	GIVE(&bench, "a", 244, { 'w', 240, 4 }, { 'h', 240, 70 });
	GIVE(&bench, "a", 248, { 'w', 244, 4 });
	GIVE(&bench, "a", 430, { 'h', 310, 71 }, { 'w', 310, 120 }, { 'h', 430, 72 });
	tick(&bench, 700);
	assert_non_null(strstr(bench.text, " P1 : w=4@240 w=4@244\n"));
	assert_non_null(strstr(bench.text, " ! : w=120@310\n"));
	assert_non_null(strstr(bench.text, " P1 : h=71@310\n"));
	assert_non_null(strstr(bench.text, " P2 : h=72@430\n"));
	gw_hl7_grouper_free(bench.grouper);
}

// The store hears of a device also when nothing of it becomes a message, so that the cursor can go on.
static void
test_a_device_without_messages(void **state)
{
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	GIVE(&bench, "a", 1, { 'w', 1, 1 });
	GIVE(&bench, "a", 31, { 'w', 31, 1 });
	tick(&bench, 32);
	assert_int_equal(gw_hl7_grouper_least(bench.grouper), 1);
	assert_int_equal(bench.saved, 0);
	tick(&bench, 62);
	assert_int_equal(bench.saved, 1);
	assert_int_equal(gw_hl7_grouper_least(bench.grouper), 0);
	gw_hl7_grouper_free(bench.grouper);
}

static void
test_states(void **state)
{
	static const uint8_t first_form[12] = { 2, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff };
	struct bench bench;

	(void)state;
	begin(&bench, false, false);
	assert_int_equal(gw_hl7_grouper_restore(bench.grouper, gw_span_text("a"), gw_span(first_form, 12)), GW_OK);
	assert_int_equal(gw_hl7_grouper_restore(bench.grouper, gw_span_text("b"), gw_span(first_form, 11)), GW_E_CORRUPT);
	assert_int_equal(gw_hl7_grouper_restore(bench.grouper, gw_span_text("b"), gw_span(NULL, 0)), GW_E_CORRUPT);
	GIVE(&bench, "a", 1, { 'h', 1, 70 });
	GIVE(&bench, "a", 2, { 'h', 2, 71 });
	GIVE(&bench, "a", 3, { 't', 3, 37 });
	tick(&bench, 70);
	for (size_t len = 0; len < bench.states[0].len; len++)
		assert_int_equal(gw_hl7_grouper_restore(bench.grouper, gw_span_text("b"), gw_span(bench.states[0].bytes, len)),
		    len == 12 ? GW_OK : GW_E_CORRUPT);
	end(&bench, "a 0 c3@3 : t=37@3\n");
}

// Other rules after a restart: what the old ones had not sent is sent by the new ones.
static void
test_other_rules_after_a_restart(void **state)
{
	struct gw_hl7_settings settings = usual;
	struct bench first, second;

	(void)state;
	begin(&first, false, false);
	GIVE(&first, "a", 59, { 'h', 59, 1 });
	GIVE(&first, "a", 61, { 'h', 61, 2 }, { 't', 61, 36 });
	settings.rules = rules;
	settings.rule_count = 2;
	begin_with(&second, &settings);
	restore(&second, &first, "a");
	GIVE(&second, "a", 59, { 'h', 59, 1 });
	GIVE(&second, "a", 61, { 'h', 61, 2 }, { 't', 61, 36 });
	tick(&second, 200);
	end(&second, "a 60 c61@61 : h=2@61\na 60 c61@61 : t=36@61\n");
	gw_hl7_grouper_free(first.grouper);
}

// ---- A crash at any moment: every reading is in exactly one message, at the same effective time; whatever was open is grouped again ----

struct traffic {
	char device[2];
	double received;
	struct one ones[4];
	size_t count;
};

static unsigned
chance(uint64_t *seed, unsigned of)
{
	*seed = *seed * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(*seed >> 33) % of;
}

// Hours of a device: steps of its clock, frames that come late, signals of all intervals, readings without time.
static void
make_traffic(uint64_t seed, struct traffic *traffic, size_t count)
{
	static const char names[] = "hsdmtehw";
	double now = 1, steps[3] = { 0 };

	for (size_t i = 0; i < count; i++) {
		unsigned device = chance(&seed, 4) / 2 + (chance(&seed, 30) == 0); // the third is seldom heard of
		double late = chance(&seed, 10) == 0 ? chance(&seed, 400) : 0, *step = &steps[device];

		now += chance(&seed, 30) + 0.25;
		if (chance(&seed, 40) == 0)
			*step = (double)chance(&seed, 20000) - 10000;
		traffic[i] = (struct traffic){ .device = { (char)('a' + device) }, .received = now, .count = 1 + chance(&seed, 4) };
		for (size_t k = 0; k < traffic[i].count; k++) {
			double back = chance(&seed, 3) == 0 ? chance(&seed, 100) : 0;

			traffic[i].ones[k] = (struct one){ names[chance(&seed, 8)], now + *step - late - back, (int)i, chance(&seed, 15) == 0 ? GW_FLAG_NOT_AVAILABLE : 0 };
			if (traffic[i].ones[k].name == 'w')
				traffic[i].ones[k] = (struct one){ 'w', now + *step - late - 10, 1 + (int)chance(&seed, 10) };
			else if (chance(&seed, 12) == 0) {
				traffic[i].ones[k].at = now;
				traffic[i].ones[k].flags |= GW_FLAG_NO_DEVICE_TIME;
			}
		}
	}
}

static void
begin_crash(struct bench *bench, const struct gw_hl7_settings *settings)
{
	begin_with(bench, settings);
	bench->stay_count = 3;
	bench->stays[0] = (struct stay){ -50000, 1, "A" };
	bench->stays[1] = (struct stay){ 600, 2, "A" };
	bench->stays[2] = (struct stay){ 1500, 0, NULL };
}

static void
play(struct bench *bench, const struct traffic *traffic, uint64_t from, uint64_t to)
{
	for (uint64_t i = from; i <= to; i++) {
		tick(bench, traffic[i - 1].received);
		give_at(bench, i, traffic[i - 1].device, traffic[i - 1].received, traffic[i - 1].ones, traffic[i - 1].count);
	}
}

#define RECORDS 150
static void
crash_with(const struct gw_hl7_settings *settings, uint64_t seed)
{
	static struct traffic traffic[RECORDS];
	static struct bench whole, first, second;

	make_traffic(seed, traffic, RECORDS);
	begin_crash(&whole, settings);
	play(&whole, traffic, 1, RECORDS);
	tick(&whole, 100000);
	gw_hl7_grouper_free(whole.grouper);
	for (uint64_t crash = 1; crash <= RECORDS; crash += 1 + seed % 7) {
		uint64_t least;

		begin_crash(&first, settings);
		play(&first, traffic, 1, crash);
		least = gw_hl7_grouper_least(first.grouper);
		begin_crash(&second, settings);
		strcpy(second.text, first.text);
		for (char device[2] = "a"; device[0] <= 'c'; device[0]++)
			restore(&second, &first, device);
		play(&second, traffic, least != 0 ? least : crash + 1, RECORDS);
		tick(&second, 100000);
		if (strcmp(whole.text, second.text) != 0)
			fail_msg("seed %llu, crash after record %llu:\n%s\nwithout it:\n%s", (unsigned long long)seed, (unsigned long long)crash, second.text, whole.text);
		gw_hl7_grouper_free(first.grouper);
		gw_hl7_grouper_free(second.grouper);
	}
}

static void
test_crashes(void **state)
{
	struct gw_hl7_settings settings = usual;

	(void)state;
	for (uint64_t seed = 1; seed <= 30; seed++) {
		settings.select = seed % 3 == 0 ? GW_HL7_EVERY : seed % 3 == 1 ? GW_HL7_LAST : GW_HL7_FIRST;
		settings.rules = rules;
		settings.rule_count = seed % 2 == 0 ? 2 : 0;
		settings.waveforms = seed % 5 != 0;
		crash_with(&settings, seed);
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
		cmocka_unit_test(test_events_go_at_once),
		cmocka_unit_test(test_what_comes_late),
		cmocka_unit_test(test_a_pack_over_intervals),
		cmocka_unit_test(test_a_step_of_the_clock),
		cmocka_unit_test(test_what_is_not_sure_stands_alone),
		cmocka_unit_test(test_two_values_of_one_moment),
		cmocka_unit_test(test_a_backfill),
		cmocka_unit_test(test_a_device_that_loses_its_clock),
		cmocka_unit_test(test_simulated_devices),
		cmocka_unit_test(test_a_full_group),
		cmocka_unit_test(test_large_readings),
		cmocka_unit_test(test_a_hub_clock_set_back),
		cmocka_unit_test(test_the_first_of_an_interval),
		cmocka_unit_test(test_a_pressure_in_three_frames),
		cmocka_unit_test(test_rules),
		cmocka_unit_test(test_spot_measurements),
		cmocka_unit_test(test_filters),
		cmocka_unit_test(test_a_change_of_patient),
		cmocka_unit_test(test_a_change_that_is_told_late),
		cmocka_unit_test(test_what_closes_a_changed_group_has_its_own_patient),
		cmocka_unit_test(test_waveforms),
		cmocka_unit_test(test_a_device_without_messages),
		cmocka_unit_test(test_states),
		cmocka_unit_test(test_other_rules_after_a_restart),
		cmocka_unit_test(test_crashes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
