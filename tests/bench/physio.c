// SPDX-License-Identifier: Apache-2.0
// See physio.h. One thread.
#include "tests/bench/physio.h"

#include "gateway/bytes.h"
#include "gateway/nomenclature.h"
#include "gateway/record.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define START_US (INT64_C(1795132800) * 1000000) // 2026-11-20T00:00:00Z
#define ECG_RATE 500
#define ECG_BLOCK 250
#define TEXT_BYTES 16

struct patient {
	uint64_t random;
	double wander[4];    // slow processes, of mean 0 and deviation 1
	double desaturation; // percent below
	double average;      // of the respiration
	uint32_t off_until, gap_until, artefact_until; // seconds
	double skew_us, phase;
};

struct rate {
	const char *name, *signal, *unit;
	uint32_t every_s;
	int places;
};

static const struct rate rates[PHYSIO_SIGNALS] = {
	[PHYSIO_HEART_RATE] = { "heart rate", "heart_rate", "", 1, 0 },
	[PHYSIO_SPO2] = { "SpO2", "spo2", "%", 1, 0 },
	[PHYSIO_RESPIRATION] = { "respiration rate", "respiration_rate", "", 1, 0 },
	[PHYSIO_PERFUSION] = { "perfusion index", "perfusion_index", "%", 1, 2 },
	[PHYSIO_ABP_SYSTOLIC] = { "ABP systolic", "abp_systolic", "mm[Hg]", 1, 0 },
	[PHYSIO_TEMPERATURE] = { "temperature", "temperature", "Cel", 1, 1 },
	[PHYSIO_FAHRENHEIT] = { "temperature [degF]", "temperature", "[degF]", 60, 1 },
	[PHYSIO_NIBP] = { "NIBP systolic", "nibp_systolic", "mm[Hg]", 900, 0 },
	[PHYSIO_RHYTHM] = { "ECG rhythm", "ecg_rhythm_status", "", 60, 0 },
	[PHYSIO_ECG] = { "ECG 500 Hz", "ecg_lead_ii", "", 1, 0 },
};

const char *
physio_name(enum physio_signal signal)
{
	return rates[signal].name;
}

// splitmix64
uint64_t
physio_random(uint64_t *state)
{
	uint64_t x = *state += 0x9E3779B97F4A7C15u;

	x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
	x = (x ^ x >> 27) * 0x94D049BB133111EBu;
	return x ^ x >> 31;
}

double
physio_even(uint64_t *state)
{
	return (double)(physio_random(state) >> 11) / 9007199254740992.0;
}

double
physio_normal(uint64_t *state)
{
	double radius = sqrt(-2 * log(1 - physio_even(state)));

	return radius * cos(6.283185307179586 * physio_even(state));
}

// Ornstein-Uhlenbeck: wanders about 0 with deviation 1 and forgets in `memory_s` seconds.
static double
wander(struct patient *p, int which, double memory_s, double step_s)
{
	double keep = exp(-step_s / memory_s);

	return p->wander[which] = p->wander[which] * keep + sqrt(1 - keep * keep) * physio_normal(&p->random);
}

// Some times a day: a sensor is off for minutes, the network is away for minutes, the patient moves for half a minute, the airway closes.
static void
events(struct patient *p, uint32_t second, uint32_t step_s)
{
	double day = step_s / 86400.0;

	if (physio_even(&p->random) < 4 * day)
		p->off_until = second + 60 + (uint32_t)(physio_even(&p->random) * 600);
	if (physio_even(&p->random) < 3 * day)
		p->gap_until = second + 10 + (uint32_t)(physio_even(&p->random) * 400);
	if (physio_even(&p->random) < 40 * day)
		p->artefact_until = second + 5 + (uint32_t)(physio_even(&p->random) * 30);
	if (physio_even(&p->random) < 12 * day)
		p->desaturation = 4 + physio_even(&p->random) * 10;
	p->desaturation *= exp(-(double)step_s / 40);
}

static double
value_of(struct patient *p, enum physio_signal signal, uint32_t second, double step_s)
{
	double circadian = -cos(second / 86400.0 * 6.283185307179586), noise = physio_normal(&p->random);
	bool moves = second < p->artefact_until;

	switch (signal) {
	case PHYSIO_HEART_RATE: // sympathetic tone over minutes, vagal tone over seconds, respiratory arrhythmia
		return 74 + 9 * circadian + 4 * wander(p, 0, 120, step_s) + 1.6 * wander(p, 1, 8, step_s) + 1.2 * sin(second * 1.6) + (moves ? 15 * noise : 0);
	case PHYSIO_SPO2:
		return fmin(100, 97.2 + 0.9 * wander(p, 0, 300, step_s) + 0.25 * noise - p->desaturation - (moves ? fabs(4 * noise) : 0));
	case PHYSIO_RESPIRATION:
		return p->average += ((16 + 2 * circadian + 3 * wander(p, 0, 20, step_s)) - p->average) / 12;
	case PHYSIO_PERFUSION:
		return exp(0.9 + 0.5 * wander(p, 0, 400, step_s) + 0.03 * noise) * (moves ? 1 + fabs(noise) : 1);
	case PHYSIO_ABP_SYSTOLIC:
		return 122 + 8 * circadian + 6 * wander(p, 0, 180, step_s) + 2.5 * wander(p, 1, 5, step_s) + noise + (second % 14400 < 20 ? 120 : 0);
	case PHYSIO_TEMPERATURE:
		return 36.9 + 0.4 * circadian + 0.15 * wander(p, 0, 3600, step_s) + 0.015 * noise;
	case PHYSIO_FAHRENHEIT:
		return (36.9 + 0.4 * circadian + 0.15 * wander(p, 0, 3600, step_s)) * 1.8 + 32 + 0.03 * noise;
	case PHYSIO_NIBP:
		return 124 + 9 * circadian + 8 * wander(p, 0, 2400, step_s) + 4 * noise;
	default:
		return 0;
	}
}

// About 20 ms of way, some tens of jitter, now and then sent again; the device's clock is off by some 100 ms and drifts by 15 ppm.
static int64_t
delay_us(struct patient *p, uint32_t second)
{
	double way = 20000 - 12000 * log(1 - physio_even(&p->random));

	if (physio_even(&p->random) < 0.003)
		way += 200000 + 800000 * physio_even(&p->random);
	return (int64_t)(way + p->skew_us + second * 15.0);
}

static void
set_times(struct patient *p, enum physio_clock clock, uint32_t second, int64_t offset_us, struct gw_point *point)
{
	int64_t exact = START_US + (int64_t)second * 1000000 + offset_us, jitter = (int64_t)(4 * physio_normal(&p->random));

	point->received_us = exact + delay_us(p, second);
	point->reading.time_us = clock == PHYSIO_CLOCK_SECONDS ? exact : exact + jitter * 1000;
	if (clock != PHYSIO_CLOCK_NONE)
		return;
	point->reading.time_us = point->received_us;
	point->reading.flags |= GW_FLAG_NO_DEVICE_TIME;
}

static void
set_number(const struct rate *rate, enum physio_signal signal, double value, uint8_t *text, struct gw_reading *reading)
{
	struct gw_conversion conversion;
	struct gw_decimal said;
	size_t len = (size_t)snprintf((char *)text, TEXT_BYTES, "%.*f", rate->places, value);

	while (signal == PHYSIO_TEMPERATURE && len > 2 && (text[len - 1] == '0' || text[len - 1] == '.'))
		if (text[--len] == '.')
			break;
	reading->type = GW_VALUE_DECIMAL;
	reading->received = gw_span(text, len);
	if (gw_decimal_parse(reading->received, &said))
		reading->decimal = said;
	if (signal == PHYSIO_FAHRENHEIT &&
	    gw_conversion_for(gw_signal_by_code(reading->signal), gw_unit_by_ucum(reading->unit_received), &conversion) == GW_OK)
		(void)gw_conversion_apply(&conversion, said, &reading->decimal);
	if (value < 30 && (signal == PHYSIO_HEART_RATE || signal == PHYSIO_SPO2))
		reading->flags |= GW_FLAG_QUESTIONABLE;
}

// Waves as bells on the cycle of a beat: P, Q, R, S, T; a baseline that breathes; two steps of noise of the converter.
static int32_t
ecg_sample(struct patient *p, double second, double beats_per_s)
{
	static const struct { double at, width, height; } waves[] = { { -0.2, 0.025, 30 }, { -0.04, 0.010, -25 }, { 0, 0.011, 240 }, { 0.04, 0.010, -50 }, { 0.3, 0.05, 70 } };
	double value = 20 * sin(second * 1.6) + 2 * physio_normal(&p->random);

	p->phase += beats_per_s / ECG_RATE;
	p->phase -= p->phase > 0.5 ? 1 : 0;
	for (size_t i = 0; i < sizeof(waves) / sizeof(waves[0]); i++) {
		double x = (p->phase - waves[i].at) / waves[i].width;
		value += waves[i].height * exp(-x * x / 2);
	}
	return (int32_t)lround(value);
}

static void
set_ecg(struct patient *p, double second, uint8_t *at, struct gw_reading *reading)
{
	double rate = (74 + 4 * wander(p, 0, 120, 0.5)) / 60;

	reading->type = GW_VALUE_SAMPLES;
	reading->samples = (struct gw_samples){ 1000000000 / ECG_RATE, ECG_BLOCK, 0, at };
	for (int i = 0; i < ECG_BLOCK; i++)
		gw_put32(at + i * 4, (uint32_t)ecg_sample(p, second + (double)i / ECG_RATE, rate));
}

static struct gw_point
blank(const struct rate *rate)
{
	const struct gw_signal *signal = gw_signal_by_name(gw_span_text(rate->signal));

	return (struct gw_point){
		.reading = { .signal = signal != NULL ? signal->code : 0, .unit = signal != NULL && signal->unit != NULL ? signal->unit->code : 0,
			.unit_received = gw_span_text(rate->unit) },
		.origin = { GW_DOOR_MQTT, GW_AUTH_CERTIFICATE, gw_span_text("monitor-0017"), gw_span_text("ward/icu2/monitor-0017/vitals"), gw_span_text("bedside-json") },
	};
}

static void
set_value(struct patient *p, enum physio_signal signal, uint32_t second, uint8_t *text, struct gw_reading *reading)
{
	const struct rate *rate = &rates[signal];
	double value = value_of(p, signal, second, rate->every_s);

	if (second < p->off_until && signal != PHYSIO_NIBP && signal != PHYSIO_ECG) {
		reading->flags |= GW_FLAG_NOT_AVAILABLE;
		reading->received = gw_span_text("-999");
	} else if (signal == PHYSIO_RHYTHM) {
		reading->type = GW_VALUE_CODE;
		reading->code = second < p->artefact_until ? 8390000 : 8389632;
		reading->received = gw_span_text(second < p->artefact_until ? "afib" : "sinus");
	} else
		set_number(rate, signal, value, text, reading);
}

static void
fill(struct physio_series *series, enum physio_signal signal, enum physio_clock clock, struct patient *p, uint32_t seconds)
{
	const struct rate *rate = &rates[signal];
	uint8_t *at = series->arena;

	for (uint32_t second = 0; second < seconds; second += rate->every_s) {
		events(p, second, rate->every_s);
		for (int half = 0; half < (signal == PHYSIO_ECG ? 2 : 1); half++) {
			struct gw_point point = blank(rate);
			if (signal == PHYSIO_ECG) {
				set_ecg(p, second + half * 0.5, at, &point.reading);
				at += ECG_BLOCK * 4;
			} else {
				set_value(p, signal, second, at, &point.reading);
				at += TEXT_BYTES;
			}
			set_times(p, clock, second, half * 500000, &point);
			if (second >= p->gap_until && (series->count == 0 || point.reading.time_us > series->points[series->count - 1].reading.time_us))
				series->points[series->count++] = point;
		}
	}
}

struct physio_series *
physio_make(enum physio_signal signal, enum physio_clock clock, uint64_t seed, uint32_t seconds)
{
	size_t most = (seconds / rates[signal].every_s + 1) * (signal == PHYSIO_ECG ? 2u : 1u);
	struct physio_series *series = calloc(1, sizeof(*series));
	struct patient patient = { .random = seed * 1000 + signal, .average = 16 };

	if (series == NULL || gw_nomenclature_open(NULL) != GW_OK)
		goto fail;
	patient.skew_us = 100000 * physio_normal(&patient.random);
	series->points = malloc(most * sizeof(*series->points));
	series->arena = malloc(most * (signal == PHYSIO_ECG ? ECG_BLOCK * 4 : TEXT_BYTES));
	if (series->points == NULL || series->arena == NULL)
		goto fail;
	fill(series, signal, clock, &patient, seconds);
	return series;

fail:
	physio_free(series);
	return NULL;
}

void
physio_free(struct physio_series *series)
{
	if (series == NULL)
		return;
	free(series->points);
	free(series->arena);
	free(series);
}
