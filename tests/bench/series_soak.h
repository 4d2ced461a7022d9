// SPDX-License-Identifier: Apache-2.0
// Constant load on a series store whose retention is short, through many periods of it, by clocks of its own: what the file comes to, and whether it stays there.
// One thread. Signals walk at random like vital signs; waveforms are noise, the worst there is to compress.
#ifndef SERIES_SOAK_H
#define SERIES_SOAK_H

#include "gateway/clock.h"
#include "gateway/hash.h"
#include "gateway/series.h"

#include <stdio.h>
#include <stdlib.h>

#define SOAK_SIGNALS 6
#define SOAK_SAMPLES 125
#define SOAK_STEP_S 60
#define SOAK_PERIODS_MAX 1000
#define SOAK_T0 INT64_C(1795162500000000)

struct soak {
	const char *dir;
	uint64_t budget_bytes;
	int beds, periods;
	int64_t numerics_s, waveforms_s; // retention; a period is the numerics'. 0: by the budget alone, a period is an hour
	FILE *csv;                       // may be NULL
};

struct soak_result {
	uint64_t file_bytes[SOAK_PERIODS_MAX]; // the most in each period
	uint64_t used_bytes[SOAK_PERIODS_MAX];
	uint64_t readings, deleted, full;
	struct gw_series_stats stats;
};

struct soak_run {
	const struct soak *soak;
	struct gw_series_store *store;
	struct soak_result *result;
	int64_t values[512][SOAK_SIGNALS];
	uint64_t position;
	int64_t now_us;
	uint8_t record[GW_RECORD_MAX];
	struct gw_key keys[GW_RECORD_READINGS_MAX];
};

static void
soak_check(enum gw_error error, const char *what)
{
	if (error == GW_OK)
		return;
	fprintf(stderr, "soak: %s: %s\n", what, gw_error_text(error));
	abort();
}

static void
soak_take(struct soak_run *run, int bed, const struct gw_reading *readings, size_t count)
{
	char device[16];
	struct gw_batch_head head = { .received_us = run->now_us, .door = GW_DOOR_MQTT, .auth = GW_AUTH_CERTIFICATE, .route = gw_span_text("w"),
		.profile = gw_span_text("p") };
	struct gw_record record;
	size_t len;

	snprintf(device, sizeof(device), "bed-%d", bed);
	head.device = head.principal = gw_span_text(device);
	soak_check(gw_record_readings(&head, readings, count, run->record, sizeof(run->record), &len, run->keys), "record");
	soak_check(gw_record_open(++run->position, gw_span(run->record, len), &record, NULL), "record");
	soak_check(gw_series_take(run->store, &record), "take");
	run->result->readings += count;
}

// A minute of one bed.
static void
soak_bed(struct soak_run *run, int bed)
{
	struct gw_reading readings[SOAK_STEP_S * (SOAK_SIGNALS + 1)];
	static int32_t samples[SOAK_STEP_S][SOAK_SAMPLES];
	size_t count = 0;

	for (int s = 0; s < SOAK_STEP_S; s++) {
		int64_t time_us = run->now_us - (SOAK_STEP_S - s) * INT64_C(1000000);

		for (int k = 0; k < SOAK_SIGNALS; k++) {
			run->values[bed][k] += (int64_t)(gw_hash_mix((uint64_t)(time_us + bed * 31 + k)) % 3) - 1;
			readings[count++] = (struct gw_reading){ .signal = 100 + (uint32_t)k, .time_us = time_us, .type = GW_VALUE_DECIMAL,
				.decimal = { run->values[bed][k], k < 3 ? 0 : -1 } };
		}
		for (int i = 0; i < SOAK_SAMPLES; i++)
			samples[s][i] = (int32_t)(gw_hash_mix((uint64_t)(time_us + bed + i * 977)) % 256);
		readings[count++] = (struct gw_reading){ .signal = 200, .time_us = time_us, .type = GW_VALUE_SAMPLES,
			.samples = { 1000000000 / SOAK_SAMPLES, SOAK_SAMPLES, 0, (const uint8_t *)samples[s] } };
	}
	soak_take(run, bed, readings, count);
}

static void
soak_sweep(struct soak_run *run)
{
	struct gw_series_retention retention = { run->soak->numerics_s * 1000000, run->soak->waveforms_s * 1000000 };
	enum gw_error error = GW_OK;
	bool more = true;

	while (more && error == GW_OK)
		error = gw_series_retain(run->store, &retention, &more);
	if (error != GW_E_FULL)
		soak_check(error, "retention");
}

static void
soak_flush(struct soak_run *run)
{
	enum gw_error error;
	bool more = true;

	for (int tries = 0; more; tries++) {
		if ((error = gw_series_flush(run->store, -1, &more)) == GW_OK)
			continue;
		if (error != GW_E_FULL || tries > 1000)
			soak_check(error, "flush");
		run->result->full++;
		soak_sweep(run);
		gw_clock_fake_mono(run->now_us += 1000000);
		more = true;
	}
}

static void
soak_note(struct soak_run *run, int period)
{
	struct gw_series_stats *stats = &run->result->stats;
	uint64_t used;

	gw_series_stats(run->store, stats);
	used = stats->file_bytes > stats->free_bytes ? stats->file_bytes - stats->free_bytes : 0;
	if (stats->file_bytes > run->result->file_bytes[period])
		run->result->file_bytes[period] = stats->file_bytes;
	if (used > run->result->used_bytes[period])
		run->result->used_bytes[period] = used;
	if (run->soak->csv != NULL)
		fprintf(run->soak->csv, "%.2f,%llu,%llu,%llu,%llu,%llu\n", (double)(run->now_us - SOAK_T0) / 3600e6, (unsigned long long)stats->file_bytes,
		    (unsigned long long)used, (unsigned long long)stats->bytes, (unsigned long long)stats->readings, (unsigned long long)stats->deleted);
}

static inline void
soak_all(const struct soak *soak, struct soak_result *result)
{
	struct gw_series_options options = { .dir = soak->dir, .budget_bytes = soak->budget_bytes, .hold_us = INT64_C(600000000) };
	int64_t period_us = (soak->numerics_s > 0 ? soak->numerics_s : 3600) * 1000000, minute = 0;
	struct soak_run *run = calloc(1, sizeof(*run));
	struct gw_why why = { "" };

	if (run == NULL)
		abort();
	*result = (struct soak_result){ 0 };
	*run = (struct soak_run){ .soak = soak, .result = result, .now_us = SOAK_T0 };
	gw_clock_fake_wall(run->now_us);
	gw_clock_fake_mono(run->now_us);
	soak_check(gw_series_open(&options, &run->store, &why), why.text);
	if (soak->csv != NULL)
		fputs("hours,file_bytes,used_bytes,chunk_bytes,readings,deleted_chunks\n", soak->csv);
	while (run->now_us - SOAK_T0 < soak->periods * period_us) {
		run->now_us += SOAK_STEP_S * INT64_C(1000000);
		gw_clock_fake_wall(run->now_us);
		gw_clock_fake_mono(run->now_us);
		for (int bed = 0; bed < soak->beds; bed++)
			soak_bed(run, bed);
		soak_flush(run);
		if (++minute % 5 == 0)
			soak_sweep(run);
		if (minute % 10 == 0 && run->now_us - SOAK_T0 < soak->periods * period_us)
			soak_note(run, (int)((run->now_us - SOAK_T0) / period_us));
	}
	result->deleted = result->stats.deleted;
	gw_series_close(run->store);
	free(run);
	gw_clock_fake_wall(INT64_MIN);
	gw_clock_fake_mono(INT64_MIN);
}

#endif
