// SPDX-License-Identifier: Apache-2.0
// The ward of the series benchmark: the streams of physio.c as frames, bed by bed and second by second.
#include "tests/bench/series_bench.h"

#include <math.h>
#include <stdlib.h>

struct bed {
	struct physio_stream *streams[SIGNALS];
	struct gw_point next[SIGNALS];
	uint32_t second[SIGNALS]; // of it, by the ward's time
	uint32_t from_s;          // its own time begins then
};

struct ward {
	struct ward_plan plan;
	uint32_t second;
	unsigned bed;             // the next one of that second
	struct bed beds[];
};

struct bench_signal bench_signals[SIGNALS] = {
	{ "heart_rate", PHYSIO_HEART_RATE, 0, 0 }, { "spo2", PHYSIO_SPO2, 0, 0 }, { "respiration_rate", PHYSIO_RESPIRATION, 0, 0 },
	{ "abp_systolic", PHYSIO_ABP_SYSTOLIC, 0, 0 }, { "temperature", PHYSIO_TEMPERATURE, 0, 0 },
};

double
frame_value(const struct frame *frame, int signal)
{
	static const double tenths[] = { 1, 10, 100, 1000 };

	return frame->mantissa[signal] / tenths[-frame->exponent[signal]];
}

static void
advance(struct bed *bed, int signal)
{
	struct gw_point *next = &bed->next[signal];

	bed->second[signal] = bed->from_s + physio_next(bed->streams[signal], next);
	next->reading.time_us += bed->from_s * INT64_C(1000000);
	next->received_us += bed->from_s * INT64_C(1000000);
}

static bool
open_bed(struct bed *bed, const struct ward_plan *plan, unsigned number)
{
	bed->from_s = number > 1 ? plan->others_from_s : 0;
	for (int s = 0; s < SIGNALS; s++) {
		if ((bed->streams[s] = physio_open(bench_signals[s].made, plan->clock, number, plan->every_s)) == NULL)
			return false;
		advance(bed, s);
		bench_signals[s].code = bed->next[s].reading.signal;
		bench_signals[s].unit = bed->next[s].reading.unit;
	}
	return true;
}

struct ward *
ward_open(const struct ward_plan *plan)
{
	struct ward *ward = calloc(1, sizeof(*ward) + plan->beds * sizeof(struct bed));

	if (ward == NULL)
		fail("data", "out of memory");
	ward->plan = *plan;
	for (unsigned i = 0; i < plan->beds; i++)
		if (!open_bed(&ward->beds[i], plan, i + 1))
			fail("data", "out of memory");
	return ward;
}

// The device's clock is one for all its signals, and so is the way.
static void
add(struct frame *frame, const struct gw_point *point, int signal)
{
	const struct gw_reading *reading = &point->reading;

	if (frame->there == 0) {
		frame->time_us = reading->time_us;
		frame->lag_us = (int32_t)(point->received_us - reading->time_us);
	}
	frame->there |= (uint8_t)(1 << signal);
	frame->flags[signal] = (uint8_t)reading->flags;
	if (reading->type == GW_VALUE_DECIMAL) {
		frame->mantissa[signal] = (int32_t)reading->decimal.mantissa;
		frame->exponent[signal] = (int8_t)reading->decimal.exponent;
	}
}

static bool
make_frame(struct ward *ward, unsigned number, struct frame *frame)
{
	struct bed *bed = &ward->beds[number];
	uint32_t second = ward->second;

	*frame = (struct frame){ .bed = (uint16_t)(number + 1) };
	for (int s = 0; s < SIGNALS; s++) {
		if (bed->second[s] != second)
			continue;
		if (second < ward->plan.calm_from_s || !(bed->next[s].reading.flags & GW_FLAG_NOT_AVAILABLE))
			add(frame, &bed->next[s], s);
		advance(bed, s);
	}
	return frame->there != 0;
}

size_t
ward_frames(struct ward *ward, uint32_t to_s, struct frame *frames, size_t max, bool *done)
{
	size_t n = 0;

	for (; ward->second < to_s; ward->second += ward->plan.every_s, ward->bed = 0)
		for (; ward->bed < ward->plan.beds; ward->bed++) {
			if (ward->bed > 0 && ward->second < ward->plan.others_from_s)
				break;
			if (n == max) {
				*done = false;
				return n;
			}
			n += make_frame(ward, ward->bed, &frames[n]);
		}
	*done = true;
	return n;
}

void
ward_close(struct ward *ward)
{
	for (unsigned i = 0; i < ward->plan.beds; i++)
		for (int s = 0; s < SIGNALS; s++)
			physio_close(ward->beds[i].streams[s]);
	free(ward);
}
