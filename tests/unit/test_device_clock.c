// SPDX-License-Identifier: Apache-2.0
// Effective time against simulated devices whose true times are known. What holds for every reading of every device here: the true moment lies within the stated
// uncertainty. A device is an offset, a drift and a latency; its frames are sent live, or stored and sent later. Seeds are fixed.
#include "gateway/device_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define T0 INT64_C(1795162500000000)
#define S INT64_C(1000000)
#define MINUTE (60 * S)
#define HOUR (3600 * S)
#define DAY (24 * HOUR)

// What was not sure when it came, to be asked about later.
struct held {
	int64_t received_us, time_us, true_us;
};

struct device {
	uint64_t seed;
	struct gw_device_clock clock;
	int64_t now_us;      // hub's clock
	int64_t offset_us, drift_ppm, jitter_us;
	int64_t received_us; // last
	struct gw_effective last;
	uint64_t digest;     // of all that was said
	unsigned frames, unsure;
	bool stored_form;    // saves and loads the state between any two frames
	struct held *held;
	size_t held_count, held_cap;
	bool out_of_reach;   // more was wrong than the header says can be told: truth is not compared
};

static uint64_t
random_of(struct device *device)
{
	uint64_t x = (device->seed += UINT64_C(0x9e3779b97f4a7c15));

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static int64_t
between(struct device *device, int64_t low, int64_t high)
{
	return low + (int64_t)(random_of(device) % (uint64_t)(high - low + 1));
}

// VITALGATE_SEEDS=20 runs twenty times as many devices.
static uint64_t
seeds(uint64_t usual)
{
	const char *times = getenv("VITALGATE_SEEDS");

	return usual * (times != NULL ? strtoull(times, NULL, 10) : 1);
}

static int64_t
most(int64_t a, int64_t b)
{
	return a > b ? a : b;
}

// A new device; its offset and drift are drawn.
static struct device
new_device(uint64_t seed)
{
	static const int64_t scales[] = { 0, S / 10, S, 30 * S, HOUR, 12 * HOUR, 30 * DAY, 8 * 365 * DAY };
	struct device device = { .seed = seed * 7919, .now_us = T0 };
	int64_t scale = scales[random_of(&device) % 8];

	device.offset_us = between(&device, -scale, scale);
	device.drift_ppm = between(&device, -200, 200);
	device.jitter_us = between(&device, 0, 5 * S);
	return device;
}

static int64_t
device_time(const struct device *device, int64_t true_us)
{
	return true_us - device->offset_us - (true_us - T0) / 1000000 * device->drift_ppm;
}

static void
hold(struct device *device, struct held held)
{
	if (device->held_count == device->held_cap) {
		device->held_cap = device->held_cap > 0 ? device->held_cap * 2 : 64;
		device->held = realloc(device->held, device->held_cap * sizeof(*device->held));
		assert_non_null(device->held);
	}
	device->held[device->held_count++] = held;
}

static bool
covers(const struct gw_effective *effective, int64_t true_us)
{
	return true_us >= effective->us - effective->uncertainty_us && true_us <= effective->us + effective->uncertainty_us;
}

static void
wrong(const struct device *device, const char *what, const struct gw_effective *effective, int64_t true_us, int64_t received_us)
{
	fail_msg("%s: seed %llu frame %u offset %.3f drift %lld jitter %.3f: true %+.3f s from us, uncertainty %.3f, offset used %.3f, received %.3f later, %s, epoch %u", what,
	    (unsigned long long)device->seed, device->frames, (double)device->offset_us / 1e6, (long long)device->drift_ppm, (double)device->jitter_us / 1e6,
	    (double)(true_us - effective->us) / 1e6, (double)effective->uncertainty_us / 1e6, (double)effective->offset_us / 1e6,
	    (double)(received_us - true_us) / 1e6, effective->sure ? "sure" : "unsure", effective->epoch);
}

// A frame of `count` readings, `period_us` apart, the newest taken at true_us; received at received_us.
static void
frame_at(struct device *device, int64_t true_us, unsigned count, int64_t period_us, int64_t received_us)
{
	struct gw_clock_view view;

	if (device->stored_form) {
		uint8_t bytes[GW_DEVICE_CLOCK_BYTES];

		gw_device_clock_save(&device->clock, bytes);
		memset(&device->clock, 0x55, sizeof(device->clock));
		assert_int_equal(gw_device_clock_load(gw_span(bytes, sizeof(bytes)), &device->clock), GW_OK);
	}
	device->received_us = received_us;
	device->frames++;
	gw_device_clock_take(&device->clock, received_us, device_time(device, true_us), &view);
	for (unsigned i = 0; i < count; i++) {
		int64_t taken_us = true_us - i * period_us, time_us = device_time(device, taken_us);
		struct gw_effective effective;

		gw_clock_view_effective(&view, time_us, 0, &effective);
		if (i == 0)
			device->last = effective;
		assert_true(effective.us == time_us + effective.offset_us);
		if (!device->out_of_reach && !covers(&effective, taken_us))
			wrong(device, "a reading", &effective, taken_us, received_us);
		device->digest = (device->digest ^ (uint64_t)effective.us ^ (uint64_t)effective.uncertainty_us << 20 ^ effective.epoch ^ (uint64_t)effective.sure << 63) *
		    UINT64_C(0x100000001b3);
		if (!effective.sure)
			hold(device, (struct held){ received_us, time_us, taken_us });
	}
	device->unsure += !view.sure;
}

// A live frame of what is measured now.
static void
live(struct device *device, unsigned count)
{
	int64_t received_us = device->now_us + between(device, 0, device->jitter_us);

	if (received_us <= device->received_us && device->received_us - received_us < HOUR)
		received_us = device->received_us + 1;
	frame_at(device, device->now_us, count, S, received_us);
}

static void
live_for(struct device *device, int64_t length_us, int64_t period_us)
{
	for (int64_t end_us = device->now_us + length_us; device->now_us < end_us; device->now_us += period_us)
		live(device, 1);
}

enum order { OLDEST_FIRST, BLOCKS, NEWEST_FIRST, MIXED, ORDERS };

// Without connection for a time; then what was stored comes, `pace` times as fast as it was measured.
static void
outage(struct device *device, int64_t length_us, int64_t period_us, enum order order, int64_t pace)
{
	int64_t from_us = device->now_us, received_us = device->now_us += length_us;
	unsigned per_frame = order == BLOCKS ? 60 : 1, at = 0;
	int64_t first_us = order == NEWEST_FIRST ? from_us + length_us - period_us : from_us + period_us;

	// Ahead by as much as its very first frame is late: nothing tells it from a right clock.
	device->out_of_reach |= device->frames == 0 && order != MIXED && llabs(received_us - device_time(device, first_us)) < 3 * GW_DEVICE_CLOCK_STEP_US &&
	    received_us - first_us > 50 * S;

	for (int64_t stored_us = period_us; stored_us < length_us; stored_us += period_us * per_frame, at++) {
		received_us += period_us * per_frame / pace + between(device, 1, 1000);
		if (order == MIXED && at % 3 == 0)
			frame_at(device, received_us, 1, S, received_us + between(device, 0, S / 10));
		received_us = received_us > device->received_us ? received_us : device->received_us + 1;
		frame_at(device, order == NEWEST_FIRST ? from_us + length_us - stored_us : from_us + stored_us, at > 0 ? per_frame : 1, period_us, received_us);
	}
	device->now_us = received_us + 1;
}

// All that is held can be told by now, and rightly; returns how many could not.
static unsigned
resolve_held(struct device *device)
{
	unsigned left = 0;

	for (size_t i = 0; i < device->held_count; i++) {
		const struct held *held = &device->held[i];
		struct gw_effective effective;

		if (!gw_device_clock_resolve(&device->clock, held->received_us, held->time_us, &effective)) {
			left++;
			continue;
		}
		assert_true(effective.sure && effective.us == held->time_us + effective.offset_us);
		if (!device->out_of_reach && !covers(&effective, held->true_us))
			wrong(device, "resolved", &effective, held->true_us, held->received_us);
	}
	device->held_count = 0;
	return left;
}

static void
done(struct device *device)
{
	free(device->held);
	device->held = NULL;
	device->held_count = device->held_cap = 0;
}

// ---- Properties ----

static void
test_live_devices(void **state)
{
	static const int64_t periods[] = { S, 5 * S, 30 * S, 15 * MINUTE, HOUR };

	(void)state;
	for (uint64_t seed = 1; seed <= seeds(300); seed++) {
		struct device device = new_device(seed);
		int64_t period_us = periods[seed % 5];
		bool right = device.offset_us == 0;

		for (unsigned i = 0; i < 1500; i++) {
			live(&device, 1 + i % 4);
			device.now_us += period_us;
			if (right && seed % 5 < 3 && !device.last.sure)
				wrong(&device, "a right clock is known at once", &device.last, 0, 0);
			if ((i == 3 && period_us > MINUTE) || (i > 3 && i * period_us > 2 * MINUTE))
				assert_true(device.last.sure && device.last.uncertainty_us < 20 * S);
		}
		assert_int_equal(device.last.epoch, 0);
		// Once much of the latency was seen, it is what is uncertain.
		if (period_us <= 30 * S)
			assert_true(device.last.uncertainty_us < device.jitter_us + 4 * S);
		assert_int_equal(resolve_held(&device), 0);
		done(&device);
	}
}

static void
test_backfills_of_known_devices(void **state)
{
	static const int64_t lengths[] = { 5 * MINUTE, 40 * MINUTE, 3 * HOUR, 26 * HOUR, 72 * HOUR - 5 * MINUTE };
	static const int64_t paces[] = { 100000, 1000, 60, 6, 2 };

	(void)state;
	for (uint64_t seed = 1; seed <= seeds(400); seed++) {
		struct device device = new_device(seed);
		int64_t length_us = lengths[seed % 5], pace = paces[seed / 5 % 5];
		enum order order = (enum order)(seed / 25 % ORDERS);
		unsigned frames, unsure;

		if (length_us * (pace == 2 ? 2 : 1) > 30 * HOUR && pace < 60)
			pace = 60;
		live_for(&device, 20 * MINUTE, 10 * S);
		frames = device.frames;
		unsure = device.unsure;
		outage(&device, length_us, 20 * S, order, pace);
		if (order == OLDEST_FIRST || order == BLOCKS) {
			frames = device.frames - frames;
			unsure = device.unsure - unsure;
			if (unsure > 5 + frames / (pace == 2 ? 3 : 6)) // an eighth of the way has to be seen
				fail_msg("seed %llu: %u of %u stored frames are unsure", (unsigned long long)seed, unsure, frames);
		}
		live_for(&device, 5 * MINUTE, 10 * S);
		assert_int_equal(device.last.epoch, 0);
		assert_true(device.last.sure && device.last.uncertainty_us < 20 * S);
		assert_int_equal(resolve_held(&device), 0);
		done(&device);
	}
}

static void
test_backfills_of_devices_never_seen(void **state)
{
	static const int64_t lengths[] = { 20 * MINUTE, 2 * HOUR, 26 * HOUR, 64 * HOUR };
	static const int64_t paces[] = { 100000, 1000, 60, 10 };

	(void)state;
	for (uint64_t seed = 1; seed <= seeds(400); seed++) {
		struct device device = new_device(seed);

		outage(&device, lengths[seed % 4], 20 * S, (enum order)(seed / 16 % ORDERS), paces[seed / 4 % 4]);
		live_for(&device, 5 * MINUTE, 10 * S);
		assert_true(device.last.sure && device.last.uncertainty_us < 20 * S);
		assert_true(device.last.epoch == 0 || device.out_of_reach);
		(void)resolve_held(&device);
		done(&device);
	}
}

static void
test_steps(void **state)
{
	static const int64_t periods[] = { S, 10 * S, MINUTE, 15 * MINUTE };

	(void)state;
	for (uint64_t seed = 1; seed <= seeds(400); seed++) {
		struct device device = new_device(seed);
		static const int64_t sizes[] = { 20 * S, HOUR, 3 * HOUR, 40 * DAY, 9 * 365 * DAY };
		int64_t period_us = periods[seed % 4], size_us = sizes[seed / 4 % 5];
		unsigned frames = 0, bound;
		bool back = seed & 1, unseen = back && size_us < period_us + 3 * GW_DEVICE_CLOCK_STEP_US; // its times never go back by more than is usual

		bound = (unsigned)most(4, ((unseen ? 10 * MINUTE : MINUTE) + 6 * S) / period_us + 2);
		live_for(&device, 200 * period_us, period_us);
		assert_int_equal(device.last.epoch, 0);
		assert_true(device.last.sure);
		device.offset_us += back ? size_us : -size_us;
		for (; device.last.epoch == 0 && frames <= bound; frames++, device.now_us += period_us) {
			live(&device, 1);
			assert_true(device.last.epoch == 1 || !device.last.sure);
		}
		if (frames > bound)
			fail_msg("seed %llu: step of %g s not found within %u frames", (unsigned long long)seed, (double)size_us / 1e6, frames);
		assert_true(device.last.sure);
		live_for(&device, 50 * period_us, period_us);
		assert_int_equal(device.last.epoch, 1);
		assert_int_equal(resolve_held(&device), 0);
		done(&device);
	}
}

// Backfills at any moment and one step somewhere: no more than the one is found.
static void
test_steps_among_backfills(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= seeds(200); seed++) {
		struct device device = new_device(seed);

		for (unsigned i = 0; i < 6; i++) {
			live_for(&device, between(&device, 10, 40) * MINUTE, 10 * S);
			outage(&device, between(&device, 1, 300) * MINUTE, 20 * S, (enum order)(random_of(&device) % ORDERS), 1000);
			live_for(&device, 3 * MINUTE, 10 * S);
			assert_int_equal(device.last.epoch, i > 3);
			if (i == 3) {
				device.offset_us += seed & 1 ? HOUR : -HOUR;
				live_for(&device, 3 * MINUTE, 10 * S);
				assert_int_equal(device.last.epoch, 1);
			}
			(void)resolve_held(&device);
		}
		done(&device);
	}
}

static uint64_t
story(uint64_t seed, bool stored_form)
{
	struct device device = new_device(seed);

	device.stored_form = stored_form;
	live_for(&device, 10 * MINUTE, 10 * S);
	outage(&device, 4 * HOUR, 30 * S, (enum order)(seed % ORDERS), 500);
	live_for(&device, 10 * MINUTE, 10 * S);
	device.offset_us += HOUR;
	live_for(&device, 10 * MINUTE, 10 * S);
	done(&device);
	return device.digest;
}

static void
test_the_same_again(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		uint64_t digest = story(seed, false);

		assert_true(digest == story(seed, false));
		assert_true(digest == story(seed, true));
		assert_true(digest != story(seed + 100, false));
	}
}

// ---- Single cases ----

static struct device
plain(int64_t offset_us)
{
	return (struct device){ .now_us = T0, .offset_us = offset_us, .jitter_us = S / 5 };
}

static void
test_three_hours_off(void **state)
{
	struct device device = plain(3 * HOUR), ahead = plain(-3 * HOUR);

	(void)state;
	live(&device, 1); // it may as well have been stored for three hours
	assert_true(!device.last.sure && device.last.offset_us == 0 && device.last.uncertainty_us >= 3 * HOUR);
	live_for(&device, 2 * MINUTE, S);
	assert_true(device.last.sure && llabs(device.last.offset_us - 3 * HOUR) < S);
	assert_int_equal(resolve_held(&device), 0);
	done(&device);
	live(&ahead, 1); // the future is not believed
	assert_true(!ahead.last.sure && ahead.last.us <= ahead.received_us);
	live_for(&ahead, 2 * MINUTE, S);
	assert_true(ahead.last.sure && llabs(ahead.last.offset_us + 3 * HOUR) < S);
	done(&ahead);
}

// A clock that stopped while the device was off: its first frames look like the first of a backfill, and must not be filed by the old time.
static void
test_a_clock_that_stopped(void **state)
{
	struct device device = plain(0);

	(void)state;
	live_for(&device, 10 * MINUTE, S);
	device.now_us += HOUR;
	device.offset_us += HOUR;
	live_for(&device, 9 * MINUTE, 10 * S);
	assert_true(!device.last.sure);
	live_for(&device, 2 * MINUTE, 10 * S);
	assert_true(device.last.sure);
	assert_int_equal(device.last.epoch, 1);
	assert_int_equal(resolve_held(&device), 0);
	done(&device);
}

// The clock is set back while the link stalls: the difference falls as the queue empties, and yet nothing was stored.
static void
test_a_step_behind_a_stalled_link(void **state)
{
	static const int64_t sizes[] = { MINUTE, 10 * MINUTE, HOUR, 3 * HOUR };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		struct device device = plain(0);
		int64_t received_us;

		live_for(&device, 10 * MINUTE, S);
		device.offset_us += sizes[i];
		received_us = device.now_us + 28 * S;
		for (unsigned n = 0; n < 28; n++, device.now_us += S)
			frame_at(&device, device.now_us, 1, S, received_us + n);
		live_for(&device, MINUTE, S);
		assert_int_equal(device.last.epoch, 0);
		live_for(&device, MINUTE, S);
		assert_int_equal(device.last.epoch, 1);
		done(&device);
	}
}

// By hand, first the hours and half a minute later the minutes: on the way back it is no backfill either.
static void
test_a_clock_set_in_two_moves(void **state)
{
	static const int64_t moves[][2] = { { 3 * HOUR, -2 * HOUR }, { HOUR, 20 * MINUTE }, { -3 * HOUR, HOUR }, { 3 * HOUR, -4 * HOUR } };

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		for (int known = 0; known < 2; known++) {
			struct device device = plain(known ? 0 : 5 * HOUR);

			live_for(&device, known ? 10 * MINUTE : 30 * S, S);
			device.offset_us += moves[i][0];
			live_for(&device, 30 * S, S);
			device.offset_us += moves[i][1];
			live_for(&device, 2 * MINUTE, S);
			assert_true(device.last.sure);
			assert_int_equal(device.last.epoch, known);
			(void)resolve_held(&device);
			done(&device);
		}
	}
}

// Everything twice, live and again ten minutes later: what is late stays late at the pace of life, and is no step, because the live ones fit.
static void
test_everything_again_later(void **state)
{
	struct device device = plain(HOUR);

	(void)state;
	live_for(&device, 12 * MINUTE, S);
	for (unsigned i = 0; i < 1800; i++, device.now_us += S) {
		live(&device, 1);
		assert_true(device.last.sure);
		frame_at(&device, device.now_us - 10 * MINUTE, 1, S, device.received_us + 1000);
		assert_int_equal(device.last.epoch, 0);
	}
	live(&device, 1);
	assert_int_equal(resolve_held(&device), 0);
	done(&device);
}

static void
test_single_outliers(void **state)
{
	static const int64_t errors[] = { -20 * 365 * DAY, -2 * HOUR, -30 * S, 30 * S, 2 * HOUR, 20 * 365 * DAY };

	(void)state;
	for (size_t i = 0; i < 6; i++) {
		struct device device = plain(MINUTE);

		live_for(&device, 10 * MINUTE, S);
		for (unsigned round = 0; round < 50; round++) {
			for (unsigned run = 0; run < 2; run++) { // once, and twice in a row
				device.offset_us -= errors[i];
				device.out_of_reach = errors[i] < 0 && errors[i] > -GW_DEVICE_CLOCK_STORED_US; // as if it had been stored
				live(&device, 1);
				assert_false(device.last.sure);
				device.offset_us += errors[i];
				device.now_us += S;
			}
			device.held_count = 0;
			device.out_of_reach = false;
			live_for(&device, 10 * S, S);
			assert_true(device.last.sure && device.last.epoch == 0);
		}
		done(&device);
	}
}

static void
test_no_device_time(void **state)
{
	struct gw_device_clock clock = { 0 };
	struct gw_clock_view view;
	struct gw_effective effective;

	(void)state;
	gw_device_clock_take(&clock, T0, GW_CLOCK_NO_TIME, &view);
	gw_clock_view_effective(&view, T0, GW_FLAG_NO_DEVICE_TIME, &effective);
	assert_true(effective.us == T0 && effective.sure && !effective.by_device && effective.offset_us == 0 && effective.epoch == 0);
	// Beside readings with a time in one frame.
	gw_device_clock_take(&clock, T0 + 100 * S, T0 + 99 * S, &view);
	gw_clock_view_effective(&view, T0 + 100 * S, GW_FLAG_NO_DEVICE_TIME, &effective);
	assert_true(effective.us == T0 + 100 * S && !effective.by_device);
	gw_clock_view_effective(&view, T0 + 99 * S, 0, &effective);
	assert_true(effective.us == T0 + 99 * S && effective.by_device && effective.sure);
}

// A block of readings with a clock that was never set: the newest is of now, the others keep their distance.
static void
test_a_clock_never_set(void **state)
{
	struct device device = plain(T0 - INT64_C(473385600) * S); // 1985

	(void)state;
	frame_at(&device, T0, 60, MINUTE, T0 + S);
	assert_true(!device.last.sure && !device.last.by_device && device.last.us == T0 + S);
	for (device.now_us += MINUTE; device.frames < 5; device.now_us += MINUTE)
		live(&device, 1);
	assert_true(device.last.sure && device.last.by_device);
	assert_int_equal(resolve_held(&device), 0);
	// It loses its time again: from the last live frame to now.
	device.offset_us += 10 * MINUTE;
	live(&device, 1);
	assert_false(device.last.sure);
	device.now_us += S;
	live_for(&device, 2 * MINUTE, S);
	assert_true(device.last.sure && device.last.epoch == 1);
	done(&device);
}

static void
test_the_hub_goes_back(void **state)
{
	struct device device = plain(0);
	int64_t before_us;

	(void)state;
	live_for(&device, 10 * MINUTE, S);
	before_us = device.last.offset_us;
	device.out_of_reach = true; // two times are true
	device.now_us -= 2 * HOUR;
	device.offset_us -= 2 * HOUR;
	live(&device, 1);
	assert_false(device.last.sure);
	assert_true(device.last.uncertainty_us >= 2 * HOUR && device.clock.offset_us == before_us);
	device.now_us += S;
	live_for(&device, MINUTE - S, S);
	device.out_of_reach = false;
	live_for(&device, MINUTE, S);
	assert_true(device.last.sure && device.last.epoch == 1 && llabs(device.last.offset_us + 2 * HOUR) < S);
	done(&device);
	// Two frames the other way round in the journal are nothing.
	device = plain(0);
	live_for(&device, MINUTE, S);
	frame_at(&device, device.now_us - 2 * S, 1, S, device.received_us - S / 2);
	assert_true(device.last.sure);
	live_for(&device, MINUTE, S);
	assert_true(device.last.sure && device.last.epoch == 0);
	done(&device);
}

// A right clock's times are left alone: offset zero, however the latency shakes.
static void
test_a_right_clock_is_left_alone(void **state)
{
	struct device device = plain(0);

	(void)state;
	device.jitter_us = 15 * S / 10;
	for (unsigned i = 0; i < 5000; i++, device.now_us += S) {
		live(&device, 1);
		assert_true(device.last.offset_us == 0 && device.last.sure);
	}
	assert_true(device.last.uncertainty_us <= 2500000);
	done(&device);
}

static void
test_shown(void **state)
{
	struct device device = plain(HOUR);
	struct gw_clock_shown shown;

	(void)state;
	gw_device_clock_shown(&device.clock, &shown);
	assert_true(!shown.known && shown.received_us == 0 && !shown.doubted);
	live(&device, 1);
	gw_device_clock_shown(&device.clock, &shown);
	assert_true(!shown.known && shown.doubted);
	device.now_us += S;
	live_for(&device, 5 * MINUTE, S);
	gw_device_clock_shown(&device.clock, &shown);
	assert_true(shown.known && !shown.doubted && llabs(shown.offset_us - HOUR) < S && shown.uncertainty_us <= 3 * S && shown.received_us == device.received_us);
	device.offset_us -= HOUR;
	live(&device, 1);
	gw_device_clock_shown(&device.clock, &shown);
	assert_true(shown.known && shown.doubted);
	done(&device);
}

// ---- What strangers may send, and damaged rows ----

static int64_t
any_time(struct device *device)
{
	static const int64_t odd[] = { INT64_MIN, INT64_MIN + 1, INT64_MAX, INT64_MAX - 1, 0, -1, 1, T0, INT64_C(1) << 59, INT64_C(1) << 60, -(INT64_C(1) << 60) };

	switch (random_of(device) % 4) {
	case 0:
		return odd[random_of(device) % 11];
	case 1:
		return (int64_t)random_of(device);
	case 2:
		return T0 + between(device, -DAY, DAY);
	default:
		return device->now_us += between(device, 0, 100 * S);
	}
}

static void
test_anything(void **state)
{
	struct device device = { .seed = 4711, .now_us = T0 };
	struct gw_effective effective;
	struct gw_clock_view view;
	uint8_t bytes[GW_DEVICE_CLOCK_BYTES];

	(void)state;
	for (unsigned i = 0; i < 300000; i++) {
		gw_device_clock_take(&device.clock, any_time(&device), any_time(&device), &view);
		gw_clock_view_effective(&view, any_time(&device), (uint16_t)(random_of(&device) & GW_FLAG_NO_DEVICE_TIME), &effective);
		assert_true(effective.uncertainty_us >= 0);
		if (gw_device_clock_resolve(&device.clock, any_time(&device), any_time(&device), &effective))
			assert_true(effective.uncertainty_us >= 0);
		if (i % 50 == 0) { // a damaged row
			gw_device_clock_save(&device.clock, bytes);
			for (unsigned n = 0; n < i % 7; n++)
				bytes[1 + random_of(&device) % (sizeof(bytes) - 1)] = (uint8_t)random_of(&device);
			(void)gw_device_clock_load(gw_span(bytes, sizeof(bytes)), &device.clock);
		}
		if (i % 1000 == 0)
			device.clock = (struct gw_device_clock){ 0 };
	}
}

static void
test_newest_of_a_frame(void **state)
{
	struct gw_reading readings[] = {
		{ .time_us = T0 - S, .type = GW_VALUE_DECIMAL },
		{ .time_us = T0 + HOUR, .type = GW_VALUE_DECIMAL, .flags = GW_FLAG_NO_DEVICE_TIME },
		{ .time_us = T0, .type = GW_VALUE_SAMPLES, .samples = { .period_ns = 4000000, .count = 1250 } }, // five seconds
		{ .time_us = T0 + S, .type = GW_VALUE_DECIMAL },
	};

	(void)state;
	assert_true(gw_device_clock_newest(readings, 0) == GW_CLOCK_NO_TIME);
	assert_true(gw_device_clock_newest(readings + 1, 1) == GW_CLOCK_NO_TIME);
	assert_true(gw_device_clock_newest(readings, 2) == T0 - S);
	assert_true(gw_device_clock_newest(readings, 4) == T0 + 5 * S);
	readings[2].samples.period_ns = INT64_MAX;
	assert_true(gw_device_clock_newest(readings, 4) == T0 + S);
	readings[2].time_us = INT64_MAX - 1;
	readings[2].samples.period_ns = 4000000;
	assert_true(gw_device_clock_newest(readings, 4) == INT64_MAX - 1);
}

static void
test_together(void **state)
{
	const struct gw_effective one = { .us = T0, .offset_us = 5 * S, .epoch = 3, .by_device = true, .sure = true };
	struct gw_effective other = one;

	(void)state;
	other.us += HOUR;
	other.offset_us += 9 * S;
	assert_true(gw_effective_together(&one, &other));
	other.offset_us += S;
	assert_false(gw_effective_together(&one, &other));
	assert_false(gw_effective_together(&other, &one));
	other = one;
	other.epoch++;
	assert_false(gw_effective_together(&one, &other));
	other = one;
	other.sure = false;
	assert_false(gw_effective_together(&one, &other));
	other = one;
	other.by_device = false;
	assert_false(gw_effective_together(&one, &other));
}

static void
test_stored_form(void **state)
{
	struct gw_device_clock clock, zero = { 0 };
	uint8_t bytes[GW_DEVICE_CLOCK_BYTES + 1] = { 0 };
	struct device device = plain(HOUR);

	(void)state;
	assert_true(sizeof(struct gw_device_clock) <= 128);
	gw_device_clock_save(&zero, bytes);
	assert_int_equal(gw_device_clock_load(gw_span(bytes, GW_DEVICE_CLOCK_BYTES), &clock), GW_OK);
	live_for(&device, 5 * MINUTE, S);
	gw_device_clock_save(&device.clock, bytes);
	assert_int_equal(gw_device_clock_load(gw_span(bytes, GW_DEVICE_CLOCK_BYTES - 1), &clock), GW_E_CORRUPT);
	assert_int_equal(gw_device_clock_load(gw_span(bytes, GW_DEVICE_CLOCK_BYTES + 1), &clock), GW_E_CORRUPT);
	assert_int_equal(gw_device_clock_load(gw_span(NULL, 0), &clock), GW_E_CORRUPT);
	assert_int_equal(gw_device_clock_load(gw_span(bytes, GW_DEVICE_CLOCK_BYTES), &clock), GW_OK);
	assert_true(clock.offset_us == device.clock.offset_us && clock.state == device.clock.state);
	bytes[0] = 2;
	assert_int_equal(gw_device_clock_load(gw_span(bytes, GW_DEVICE_CLOCK_BYTES), &clock), GW_E_CORRUPT);
	assert_int_equal(clock.state, 0);
	done(&device);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_live_devices),
		cmocka_unit_test(test_backfills_of_known_devices),
		cmocka_unit_test(test_backfills_of_devices_never_seen),
		cmocka_unit_test(test_steps),
		cmocka_unit_test(test_steps_among_backfills),
		cmocka_unit_test(test_the_same_again),
		cmocka_unit_test(test_three_hours_off),
		cmocka_unit_test(test_a_clock_that_stopped),
		cmocka_unit_test(test_a_step_behind_a_stalled_link),
		cmocka_unit_test(test_a_clock_set_in_two_moves),
		cmocka_unit_test(test_everything_again_later),
		cmocka_unit_test(test_single_outliers),
		cmocka_unit_test(test_no_device_time),
		cmocka_unit_test(test_a_clock_never_set),
		cmocka_unit_test(test_the_hub_goes_back),
		cmocka_unit_test(test_a_right_clock_is_left_alone),
		cmocka_unit_test(test_shown),
		cmocka_unit_test(test_anything),
		cmocka_unit_test(test_newest_of_a_frame),
		cmocka_unit_test(test_together),
		cmocka_unit_test(test_stored_form),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
