// SPDX-License-Identifier: Apache-2.0
// The chunk codec by itself: bytes per reading and nanoseconds per reading for each signal of physio.h, by the clock of the device and the resolution of receive times, and what other
// codings need for the same days: Gorilla (bit by bit: delta of delta, XOR of doubles) and the entropy of the differences.
// Usage: series_chunk_bench [ECG file of little-endian int32 samples at 360 Hz]
#include "tests/bench/physio.h"

#include "gateway/bytes.h"
#include "gateway/record.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define CHUNK_READINGS 3600
#define CHUNKS_MAX 64

struct day {
	struct gw_span chunks[CHUNKS_MAX]; // owned
	uint32_t count;
	uint64_t bytes, readings;
	double encode_ns;
};

static double
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

static void
check(enum gw_error error, const struct gw_why *why)
{
	if (error == GW_OK)
		return;
	fprintf(stderr, "%s: %s\n", gw_error_text(error), why->text);
	exit(1);
}

static void
encode_day(struct gw_chunk_encoder *encoder, const struct physio_series *series, uint32_t size, uint8_t places, struct day *day)
{
	struct gw_chunk_options options = { .first_position = 1000000, .last_position = 2000000, .received_places = places };
	struct gw_span out;
	struct gw_why why;
	double start = now_ns();

	*day = (struct day){ 0 };
	for (uint32_t at = 0; at < series->count && day->count < CHUNKS_MAX; at += size) {
		uint32_t n = series->count - at < size ? series->count - at : size;
		uint8_t *copy;
		check(gw_chunk_encode(encoder, series->points + at, n, &options, NULL, &out, &why), &why);
		copy = malloc(out.len);
		gw_put_bytes(copy, out.at, out.len);
		day->chunks[day->count++] = gw_span(copy, out.len);
		day->bytes += out.len;
		day->readings += n;
	}
	day->encode_ns = now_ns() - start;
}

static void
free_day(struct day *day)
{
	for (uint32_t i = 0; i < day->count; i++)
		free((void *)day->chunks[i].at);
}

// The best of some runs, of the whole day.
static double
decode_ns(struct gw_chunk_reader *reader, const struct day *day, bool whole)
{
	double best = 1e18;

	for (int run = 0; run < 20; run++) {
		double start = now_ns(), sum = 0;
		for (uint32_t i = 0; i < day->count; i++) {
			struct gw_chunk_columns columns;
			struct gw_point point;
			struct gw_why why = { "" };
			check(gw_chunk_open(reader, day->chunks[i], &why), &why);
			if (!whole) {
				check(gw_chunk_columns(reader, &columns, &why), &why);
				sum += columns.values[columns.count - 1];
			} else
				while (gw_chunk_next(reader, &point, NULL))
					sum += (double)point.reading.received.len;
		}
		best = fmin(best, now_ns() - start + (sum == 0.12345 ? 1 : 0));
	}
	return best;
}

// ---- other codings ----

static int
width(uint64_t value)
{
	return value == 0 ? 0 : 64 - __builtin_clzll(value);
}

// Pelkonen et al., Gorilla (VLDB 2015), section 4.1: bits of the times (here in milliseconds) and of the values as doubles.
static double
gorilla_bytes(const struct physio_series *series)
{
	int64_t before = 0, delta = 0;
	uint64_t last = 0, bits = 0;
	int lead = 64, trail = 0;

	for (uint32_t i = 0; i < series->count; i++) {
		const struct gw_reading *reading = &series->points[i].reading;
		int64_t time = reading->time_us / 1000, now = time - before, change = now - delta;
		double value = (double)reading->decimal.mantissa * pow(10, reading->decimal.exponent);
		uint64_t raw, differs;
		bits += change == 0 ? 1 : llabs(change) <= 63 ? 9 : llabs(change) <= 255 ? 12 : llabs(change) <= 2047 ? 16 : 36;
		before = time;
		delta = now;
		memcpy(&raw, &value, 8);
		differs = raw ^ last;
		last = raw;
		if (differs == 0)
			bits += 1;
		else if (64 - width(differs) >= lead && __builtin_ctzll(differs) >= trail)
			bits += 2 + (uint64_t)(64 - lead - trail);
		else {
			lead = 64 - width(differs) > 31 ? 31 : 64 - width(differs);
			trail = __builtin_ctzll(differs);
			bits += 2 + 5 + 6 + (uint64_t)(64 - lead - trail);
		}
	}
	return (double)bits / 8;
}

// Bytes of an ideal coder of the values' differences alone.
static double
entropy_bytes(const struct physio_series *series)
{
	static uint32_t seen[4096];
	int64_t last = 0;
	double bits = 0;

	memset(seen, 0, sizeof(seen));
	for (uint32_t i = 0; i < series->count; i++) {
		int64_t number = series->points[i].reading.decimal.mantissa;
		seen[(uint64_t)(number - last + 2048) & 4095]++;
		last = number;
	}
	for (size_t i = 0; i < 4096; i++)
		if (seen[i] > 0)
			bits -= seen[i] * log2((double)seen[i] / series->count);
	return bits / 8;
}

// ---- tables ----

static void
signals_table(struct gw_chunk_encoder *encoder, struct gw_chunk_reader *reader)
{
	printf("A day of each signal, the device's clock in whole seconds; receive times to the millisecond; chunks of %d readings\n", CHUNK_READINGS);
	printf("%-20s %9s %9s %8s %8s %9s %9s %9s %9s\n", "signal", "readings", "B/reading", "Gorilla", "entropy", "encode ns", "plot ns", "whole ns", "day us");
	for (int s = 0; s < PHYSIO_SIGNALS; s++) {
		bool ecg = s == PHYSIO_ECG;
		struct physio_series *series = physio_make((enum physio_signal)s, PHYSIO_CLOCK_SECONDS, 1, ecg ? 3600 : 86400);
		double n = ecg ? series->count * 250.0 : series->count, plot;
		struct day day;
		encode_day(encoder, series, ecg ? 1200 : CHUNK_READINGS, 3, &day); // its pages are touched
		free_day(&day);
		encode_day(encoder, series, ecg ? 1200 : CHUNK_READINGS, 3, &day);
		plot = decode_ns(reader, &day, ecg);
		printf("%-20s %9.0f %9.3f %8.3f %8.3f %9.1f %9.2f %9.2f %9.1f\n", physio_name((enum physio_signal)s), n, (double)day.bytes / n,
		    ecg ? NAN : gorilla_bytes(series) / n, ecg ? NAN : entropy_bytes(series) / n, day.encode_ns / n, plot / n, decode_ns(reader, &day, true) / n, plot / 1e3);
		free_day(&day);
		physio_free(series);
	}
}

static void
clocks_table(struct gw_chunk_encoder *encoder)
{
	static const char *const clocks[] = { "whole seconds", "milliseconds", "none" };
	static const uint8_t places[] = { 0, 1, 2, 3, 4, 5, 6 };

	printf("\nHeart rate, bytes per reading, by the device's clock and the resolution of receive times\n%-16s", "clock");
	for (size_t i = 0; i < sizeof(places); i++)
		printf(" %8.0f us", pow(10, places[i]));
	for (int c = 0; c < 3; c++) {
		struct physio_series *series = physio_make(PHYSIO_HEART_RATE, (enum physio_clock)c, 1, 86400);
		printf("\n%-16s", clocks[c]);
		for (size_t i = 0; i < sizeof(places); i++) {
			struct day day;
			encode_day(encoder, series, CHUNK_READINGS, places[i], &day);
			printf(" %11.3f", (double)day.bytes / series->count);
			free_day(&day);
		}
		physio_free(series);
	}
	printf("\n");
}

static void
chunks_table(struct gw_chunk_encoder *encoder)
{
	static const uint32_t sizes[] = { 60, 300, 900, 1800, 3600 };

	printf("\nBytes per reading by readings in a chunk, receive times in milliseconds\n%-20s", "signal");
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		printf(" %9u", sizes[i]);
	for (int s = PHYSIO_HEART_RATE; s <= PHYSIO_TEMPERATURE; s++) {
		struct physio_series *series = physio_make((enum physio_signal)s, PHYSIO_CLOCK_SECONDS, 1, 86400);
		printf("\n%-20s", physio_name((enum physio_signal)s));
		for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
			struct day day;
			encode_day(encoder, series, sizes[i], GW_CHUNK_RECEIVED_PLACES, &day);
			printf(" %9.3f", (double)day.bytes / day.readings);
			free_day(&day);
		}
		physio_free(series);
	}
	printf("\n");
}

static void
pages_table(struct gw_chunk_encoder *encoder)
{
	printf("\nChunks that just fill LMDB's pages (4096 n - 16 bytes), heart rate: readings and bytes per reading, pages included\n");
	for (uint32_t pages = 1; pages <= 4; pages++) {
		struct physio_series *series = physio_make(PHYSIO_HEART_RATE, PHYSIO_CLOCK_SECONDS, 1, 86400);
		struct gw_chunk_options options = { .received_places = 3, .fit_bytes = pages * 4096 - 16 };
		uint32_t at = 0, chunks = 0, taken;
		struct gw_span out;
		struct gw_why why;
		double start = now_ns();
		for (; at < series->count; at += taken, chunks++)
			check(gw_chunk_encode(encoder, series->points + at, series->count - at < GW_CHUNK_POINTS_MAX ? series->count - at : GW_CHUNK_POINTS_MAX, &options, &taken, &out,
			    &why), &why);
		printf("%u pages: %6.0f readings, %.3f bytes, %.0f ns\n", pages, (double)series->count / chunks, chunks * pages * 4096.0 / series->count,
		    (now_ns() - start) / series->count);
		physio_free(series);
	}
}

static void
recorded_ecg(struct gw_chunk_encoder *encoder, const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *bytes = malloc(GW_CHUNK_SAMPLES_MAX * 4);
	uint32_t n = file != NULL && bytes != NULL ? (uint32_t)fread(bytes, 4, GW_CHUNK_SAMPLES_MAX, file) : 0, count = 0;
	struct gw_point *points = calloc(GW_CHUNK_POINTS_MAX, sizeof(*points));
	struct gw_chunk_options options = { .received_places = 3 };
	struct gw_span out;
	struct gw_why why;

	for (; n > 0 && count < GW_CHUNK_POINTS_MAX && (count + 1) * 180 <= n; count++)
		points[count].reading = (struct gw_reading){ .type = GW_VALUE_SAMPLES, .time_us = count * INT64_C(500000),
			.samples = { 2777778, 180, 0, bytes + (size_t)count * 720 } };
	if (count > 0) {
		check(gw_chunk_encode(encoder, points, count, &options, NULL, &out, &why), &why);
		printf("\nRecorded ECG: %u samples, %.3f bytes a sample\n", count * 180, (double)out.len / (count * 180));
	}
	if (file != NULL)
		fclose(file);
	free(points);
	free(bytes);
}

int
main(int argc, char **argv)
{
	struct gw_chunk_encoder *encoder = gw_chunk_encoder_new();
	struct gw_chunk_reader *reader = gw_chunk_reader_new();

	signals_table(encoder, reader);
	clocks_table(encoder);
	chunks_table(encoder);
	pages_table(encoder);
	if (argc > 1)
		recorded_ecg(encoder, argv[1]);
	gw_chunk_reader_free(reader);
	gw_chunk_encoder_free(encoder);
	return 0;
}
