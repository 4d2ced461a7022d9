// SPDX-License-Identifier: Apache-2.0
// See physio.h. One thread.
#include "tests/bench/physio.h"

#include "gateway/bytes.h"
#include "gateway/nomenclature.h"
#include "gateway/record.h"

#include <math.h>
#include <stdlib.h>

#define ECG_RATE 500
#define ECG_BLOCK 250
#define TEXT_BYTES 48

struct patient {
	uint64_t random;
	double wander[2];    // slow processes, of mean 0 and deviation 1
	double keep[2], stir[2];
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

struct physio_stream {
	enum physio_signal signal;
	enum physio_clock clock;
	struct patient patient;
	struct gw_point blank;  // what all its readings have
	struct gw_conversion conversion;
	double scale;           // 10^places
	uint32_t every_s, second;
	int half;               // of a second of the ECG
	int64_t last_us;
	uint8_t bytes[ECG_BLOCK * 4]; // what a reading points into
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
	if (p->keep[which] == 0) {
		p->keep[which] = exp(-step_s / memory_s);
		p->stir[which] = sqrt(1 - p->keep[which] * p->keep[which]);
	}
	return p->wander[which] = p->wander[which] * p->keep[which] + p->stir[which] * physio_normal(&p->random);
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
	int64_t exact = PHYSIO_START_US + (int64_t)second * 1000000 + offset_us, jitter = (int64_t)(4 * physio_normal(&p->random));

	point->received_us = exact + delay_us(p, second);
	point->reading.time_us = clock == PHYSIO_CLOCK_SECONDS ? exact : exact + jitter * 1000;
	if (clock != PHYSIO_CLOCK_NONE)
		return;
	point->reading.time_us = point->received_us;
	point->reading.flags |= GW_FLAG_NO_DEVICE_TIME;
}

static void
set_number(struct physio_stream *stream, double value, struct gw_reading *reading)
{
	struct gw_decimal said = { llround(value * stream->scale), (int16_t)-rates[stream->signal].places };

	while (stream->signal == PHYSIO_TEMPERATURE && said.exponent < 0 && said.mantissa % 10 == 0)
		said = (struct gw_decimal){ said.mantissa / 10, (int16_t)(said.exponent + 1) };
	reading->type = GW_VALUE_DECIMAL;
	reading->received = gw_span(stream->bytes, gw_decimal_text(said, (char *)stream->bytes));
	reading->decimal = said;
	if (stream->signal == PHYSIO_FAHRENHEIT)
		(void)gw_conversion_apply(&stream->conversion, said, &reading->decimal);
	if (value < 30 && (stream->signal == PHYSIO_HEART_RATE || stream->signal == PHYSIO_SPO2))
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
set_value(struct physio_stream *stream, uint32_t second, struct gw_reading *reading)
{
	struct patient *p = &stream->patient;
	double value = value_of(p, stream->signal, second, stream->every_s);

	if (second < p->off_until && stream->signal != PHYSIO_NIBP) {
		reading->flags |= GW_FLAG_NOT_AVAILABLE;
		reading->received = gw_span_text("-999");
	} else if (stream->signal == PHYSIO_RHYTHM) {
		reading->type = GW_VALUE_CODE;
		reading->code = second < p->artefact_until ? 8390000 : 8389632;
		reading->received = gw_span_text(second < p->artefact_until ? "afib" : "sinus");
	} else
		set_number(stream, value, reading);
}

struct physio_stream *
physio_open(enum physio_signal signal, enum physio_clock clock, uint64_t seed, uint32_t every_s)
{
	const struct rate *rate = &rates[signal];
	struct physio_stream *stream = calloc(1, sizeof(*stream));

	if (stream == NULL || gw_nomenclature_open(NULL) != GW_OK) {
		free(stream);
		return NULL;
	}
	stream->signal = signal;
	stream->clock = clock;
	stream->patient = (struct patient){ .random = seed * 1000 + signal, .average = 16 };
	stream->patient.skew_us = 100000 * physio_normal(&stream->patient.random);
	stream->blank = blank(rate);
	stream->scale = pow(10, rate->places);
	stream->every_s = every_s != 0 ? every_s : rate->every_s;
	stream->last_us = INT64_MIN;
	if (signal == PHYSIO_FAHRENHEIT &&
	    gw_conversion_for(gw_signal_by_code(stream->blank.reading.signal), gw_unit_by_ucum(stream->blank.reading.unit_received), &stream->conversion) != GW_OK) {
		free(stream);
		return NULL;
	}
	return stream;
}

void
physio_close(struct physio_stream *stream)
{
	free(stream);
}

// The next one, whether it arrives or not.
static uint32_t
make(struct physio_stream *stream, struct gw_point *point)
{
	struct patient *p = &stream->patient;
	uint32_t second = stream->second;
	int half = stream->half;

	if (half == 0)
		events(p, second, stream->every_s);
	*point = stream->blank;
	if (stream->signal == PHYSIO_ECG)
		set_ecg(p, second + half * 0.5, stream->bytes, &point->reading);
	else
		set_value(stream, second, &point->reading);
	set_times(p, stream->clock, second, half * 500000, point);
	stream->half = stream->signal == PHYSIO_ECG && half == 0;
	if (stream->half == 0)
		stream->second += stream->every_s;
	return second;
}

uint32_t
physio_next(struct physio_stream *stream, struct gw_point *point)
{
	uint32_t second;

	do
		second = make(stream, point);
	while (second < stream->patient.gap_until || point->reading.time_us <= stream->last_us);
	stream->last_us = point->reading.time_us;
	return second;
}

// What it points into comes along.
static size_t
keep(struct gw_point *point, uint8_t *at)
{
	const uint8_t **from = point->reading.type == GW_VALUE_SAMPLES ? &point->reading.samples.at : &point->reading.received.at;
	size_t len = point->reading.type == GW_VALUE_SAMPLES ? ECG_BLOCK * 4 : point->reading.received.len;

	gw_put_bytes(at, *from, len);
	*from = at;
	return len;
}

struct physio_series *
physio_make(enum physio_signal signal, enum physio_clock clock, uint64_t seed, uint32_t seconds)
{
	size_t most = (seconds / rates[signal].every_s + 1) * (signal == PHYSIO_ECG ? 2u : 1u), used = 0;
	struct physio_series *series = calloc(1, sizeof(*series));
	struct physio_stream *stream = physio_open(signal, clock, seed, 0);
	struct gw_point point;

	if (series == NULL || stream == NULL)
		goto fail;
	series->points = malloc(most * sizeof(*series->points));
	series->arena = malloc(most * (signal == PHYSIO_ECG ? ECG_BLOCK * 4 : TEXT_BYTES));
	if (series->points == NULL || series->arena == NULL)
		goto fail;
	while (physio_next(stream, &point) < seconds) {
		used += keep(&point, series->arena + used);
		series->points[series->count++] = point;
	}
	physio_close(stream);
	return series;

fail:
	physio_close(stream);
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
