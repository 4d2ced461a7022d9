// SPDX-License-Identifier: Apache-2.0
// Days of one patient's signals as a bedside monitor would send them: circadian baselines, slow wandering, noise, movement artefacts, a sensor that falls off (sentinels),
// gaps of the network, alarms' worth of desaturation. Deterministic by seed; for tests and benches. The model of each signal is said at its function in physio.c, all of it
// in tests/bench/README.md.
#ifndef BENCH_PHYSIO_H
#define BENCH_PHYSIO_H

#include "gateway/series_chunk.h"

enum physio_signal {
	PHYSIO_HEART_RATE,   // 1 Hz, whole beats
	PHYSIO_SPO2,         // 1 Hz, whole percent
	PHYSIO_RESPIRATION,  // 1 Hz, whole breaths, a moving average as monitors show it
	PHYSIO_PERFUSION,    // 1 Hz, percent with two places: the noisiest numeric
	PHYSIO_ABP_SYSTOLIC, // 1 Hz, whole mmHg, beat to beat
	PHYSIO_TEMPERATURE,  // 1 Hz, degrees Celsius with one place, as JavaScript writes it ("37", "37.1")
	PHYSIO_FAHRENHEIT,   // the same, once a minute in [degF]
	PHYSIO_NIBP,         // systolic, every quarter of an hour
	PHYSIO_RHYTHM,       // once a minute, a code
	PHYSIO_ECG,          // 500 Hz, blocks of half a second, 12 bits of 5 uV
	PHYSIO_SIGNALS,
};

// How the device tells the time.
enum physio_clock {
	PHYSIO_CLOCK_SECONDS, // whole seconds
	PHYSIO_CLOCK_MILLIS,  // milliseconds, that jitter by a few
	PHYSIO_CLOCK_NONE,    // not at all: the receive time, to the microsecond
};

struct physio_series {
	struct gw_point *points; // in order
	uint32_t count;
	uint8_t *arena; // what they point into
};

#define PHYSIO_START_US (INT64_C(1795132800) * 1000000) // of every stream: 2026-11-20T00:00:00Z

const char *physio_name(enum physio_signal signal);

// One reading after the other, without end. every_s: a reading so often; 0: as the signal is. Gaps are passed over; device times rise.
struct physio_stream;
struct physio_stream *physio_open(enum physio_signal signal, enum physio_clock clock, uint64_t seed, uint32_t every_s); // NULL: out of memory
// Spans live until the next call. Returns the second since the start that it is of.
uint32_t physio_next(struct physio_stream *stream, struct gw_point *point);
void physio_close(struct physio_stream *stream); // NULL does nothing

// All of them up to so many seconds. NULL: out of memory.
struct physio_series *physio_make(enum physio_signal signal, enum physio_clock clock, uint64_t seed, uint32_t seconds);
void physio_free(struct physio_series *series);

// Numbers of the same seed: 64 bits; even in [0, 1); normal.
uint64_t physio_random(uint64_t *state);
double physio_even(uint64_t *state);
double physio_normal(uint64_t *state);

#endif
