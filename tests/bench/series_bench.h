// SPDX-License-Identifier: Apache-2.0
// The series benchmark: what its parts share. One thread, one program: series_bench.c takes its contenders' measurements turn by turn on the same data.
#ifndef SERIES_BENCH_H
#define SERIES_BENCH_H

#include "tests/bench/physio.h"

#include <stdbool.h>
#include <stddef.h>

#define SIGNALS 5
#define BEDS_MAX 1000

// What one device says at one moment: up to five signals, with one device time and one receive time.
struct frame {
	int64_t time_us;
	int32_t lag_us;            // received so much later
	uint16_t bed;              // from 1
	uint8_t there;             // bit n: signal n is in it
	uint8_t flags[SIGNALS];    // enum gw_flag; not available: there is no number
	int8_t exponent[SIGNALS];
	int32_t mantissa[SIGNALS];
};

struct bench_signal {
	const char *name;          // the nomenclature's
	enum physio_signal made;
	uint32_t code, unit;
};
extern struct bench_signal bench_signals[SIGNALS];

static inline bool
frame_has(const struct frame *frame, int signal)
{
	return (frame->there >> signal & 1) && !(frame->flags[signal] & GW_FLAG_NOT_AVAILABLE);
}
double frame_value(const struct frame *frame, int signal);

// ---- Data: series_data.c ----

struct ward_plan {
	unsigned beds;
	uint32_t every_s;      // a frame so often
	enum physio_clock clock;
	uint32_t others_from_s; // beds but the first are there from then on
	uint32_t calm_from_s;  // from then on every sensor is on
};
struct ward;
struct ward *ward_open(const struct ward_plan *plan);
// Frames of seconds [where it ended before, to_s), in order of time; at most max, then *done is false. They are the caller's until the next call.
size_t ward_frames(struct ward *ward, uint32_t to_s, struct frame *frames, size_t max, bool *done);
void ward_close(struct ward *ward);

// ---- Contenders ----

struct answer {
	uint64_t count; // numbers found
	double sum;     // of them; of means for hours
	uint64_t bytes; // of an export
};

struct want {
	unsigned bed;
	int signal;
	int64_t from_us, to_us;
};

struct contender {
	const char *name;
	void (*open)(const char *dir);                         // anew, empty
	void (*encode)(const struct frame *frames, size_t n);  // what somebody else would have done: not measured. May be NULL
	void (*put)(const struct frame *frames, size_t n);
	void (*due)(void);                                     // what it does by itself every now and then. May be NULL
	void (*settle)(void);                                  // until it is durable and where it stays
	uint64_t (*bytes)(void);                               // on disk, all of it
	double (*cpu)(void);                                   // seconds so far
	struct answer (*day)(const struct want *want);         // one signal's readings, decoded into memory
	struct answer (*latest)(void);                         // of everything
	struct answer (*hours)(const struct want *want);       // means by hour
	struct answer (*export)(void);                         // all of it as CSV (time, series, value, flags), thrown away
	struct answer (*export_all)(void);                     // the same with all columns that it has. May be NULL
	void (*close)(void);
};
extern const struct contender bench_series, bench_journal, bench_sqlite, bench_influx;

extern int64_t bench_hold_us; // this store's, from the next open on; 0: the usual
extern bool bench_look; // this store's exports are read again by somebody else's eyes: not measured
extern bool bench_lean; // the others do not keep when a reading was received
extern bool bench_keep; // the last data stay
void influx_where(int port, int pid, const char *dir);

// ---- Common ----

void fail(const char *what, const char *why);
double now_s(void);
double own_cpu_s(void);
uint64_t folder_bytes(const char *dir);
void bed_name(unsigned bed, char out[16]); // "bed-17"

// Text that goes nowhere: to /dev/null by the 64 kB.
struct sink {
	char at[65536];
	size_t len;
	uint64_t bytes;
	int fd;
};
void sink_put(struct sink *sink, const char *at, size_t len);
void sink_large(struct sink *sink, const char *at, size_t len); // without a copy
void sink_flush(struct sink *sink);

#endif
