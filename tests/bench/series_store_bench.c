// SPDX-License-Identifier: Apache-2.0
// The series store by itself: what taking and writing readings costs, bytes on disk, and how long questions with steps take. Beds with some signals at 1 Hz.
// Usage: series_store_bench DIRECTORY [beds] [days] [signals a bed] [runs of each question]
// The directory is made and not removed. Questions by device, and by the bed where that stands and the patient who lies there all of the time.
#include "tests/bench/physio.h"

#include "gateway/clock.h"
#include "gateway/journal.h"
#include "gateway/nomenclature.h"
#include "gateway/patients.h"
#include "gateway/record.h"
#include "gateway/series_query.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define SECOND INT64_C(1000000)
#define T0 INT64_C(1795132800000000)
#define BEDS_MAX 512
#define SIGNALS_MAX 4
#define SECONDS_A_DAY 86400

static const enum physio_signal kinds[SIGNALS_MAX] = { PHYSIO_HEART_RATE, PHYSIO_SPO2, PHYSIO_PERFUSION, PHYSIO_RESPIRATION };
static const char *const names[SIGNALS_MAX] = { "heart_rate", "spo2", "perfusion_index", "respiration_rate" };

static struct gw_series_store *store;
static struct physio_series days[SIGNALS_MAX];
static uint32_t codes[SIGNALS_MAX];
static uint64_t position;
static int runs = 50;

static double
now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void
check(enum gw_error error, const char *what)
{
	if (error == GW_OK)
		return;
	fprintf(stderr, "%s: %s\n", what, gw_error_text(error));
	exit(1);
}

// A second of one bed: a record, as a monitor sends it.
static void
take_second(int bed, int64_t day, uint32_t second, int signals)
{
	static uint8_t out[GW_RECORD_MAX];
	struct gw_reading readings[SIGNALS_MAX];
	struct gw_key keys[SIGNALS_MAX];
	struct gw_record record;
	char device[16];
	size_t len, count = 0;

	snprintf(device, sizeof(device), "bed%d", bed);
	for (int s = 0; s < signals; s++) {
		if (second >= days[s].count)
			continue;
		readings[count] = days[s].points[second].reading;
		readings[count].signal = codes[s];
		readings[count++].time_us = T0 + (day * SECONDS_A_DAY + second) * SECOND;
	}
	if (count == 0)
		return;
	struct gw_batch_head head = { .received_us = readings[0].time_us + 23000, .door = GW_DOOR_MQTT, .auth = GW_AUTH_PASSWORD, .device = gw_span_text(device),
		.principal = gw_span_text(device), .route = gw_span_text("bedside/readings"), .profile = gw_span_text("bedside-json") };

	check(gw_record_readings(&head, readings, count, out, sizeof(out), &len, keys), "record");
	check(gw_record_open(++position, gw_span(out, len), &record, NULL), "record");
	check(gw_series_take(store, &record), "take");
}

static void
flush(int64_t hold_us)
{
	bool more = true;

	while (more)
		check(gw_series_flush(store, hold_us, &more), "flush");
}

// ---- Who lies where ----

static struct gw_journal *journal;
static struct gw_intake *intake;
static struct gw_registry *registry;
static struct gw_patients *patients;
static uint64_t patient;

static void
tell(struct gw_patient_event event)
{
	struct gw_why why = { "" };

	event.source = gw_span_text("bench");
	check(gw_patients_change(patients, &event, &why), why.text);
}

static void
open_patients(const char *dir, int64_t end_us)
{
	static char path[4096];
	struct gw_journal_options options = { .dir = path, .budget_bytes = UINT64_C(64) << 20, .reserve_bytes = UINT64_C(4) << 20,
		.retention_us = 3600 * SECOND, .retention_full_us = 60 * SECOND, .quarantine_bytes = UINT64_C(1) << 20, .quarantine_share_percent = 50, .series_max = 1000 };
	struct gw_intake_options intake_options = { 0 };
	struct gw_device device = { .id = "bed0", .profile = "bedside-json", .user = "bed0", .password_hash = "x" };
	struct gw_person person = { .identifiers = { { .id = gw_span_text("1") } }, .identifier_count = 1 };
	struct gw_why why = { "" };

	snprintf(path, sizeof(path), "%s/journal", dir);
	(void)mkdir(path, 0700);
	gw_clock_fake_wall(end_us);
	check(gw_journal_open(&options, &journal, &why), why.text);
	intake_options.journal = journal;
	check(gw_intake_open(&intake_options, &intake, &why), why.text);
	check(gw_registry_open(journal, intake, &registry, &why), why.text);
	check(gw_registry_add(registry, &device, &why), why.text);
	check(gw_patients_open(journal, intake, registry, &patients, &why), why.text);
	tell((struct gw_patient_event){ .verb = GW_PATIENT_PLACE, .time_us = T0 - 60 * SECOND, .device = gw_span_text("bed0"), .bed = gw_span_text("B1") });
	tell((struct gw_patient_event){ .verb = GW_PATIENT_ADMIT, .time_us = T0 - 60 * SECOND, .person = person, .bed = gw_span_text("B1") });
	check(gw_patients_find(patients, &person.identifiers[0], &patient, &why), why.text);
}

static void
close_patients(void)
{
	gw_patients_close(patients);
	gw_registry_close(registry);
	gw_intake_stop(intake);
	gw_intake_close(intake);
	gw_journal_close(journal);
}

// ---- Questions ----

static void
ask_one(const char *what, struct gw_series_want want)
{
	struct gw_series_query_stats stats = { 0 };
	double best = 1e18;

	for (int run = 0; run < runs; run++) {
		struct gw_series_query *query;
		struct gw_series_row row;
		struct gw_why why = { "" };
		double start = now_us();

		check(gw_series_query_open(store, patients, &want, &query, &why), why.text);
		while (gw_series_query_next(query, &row) == GW_OK) {}
		gw_series_query_stats(query, &stats);
		gw_series_query_close(query);
		best = now_us() - start < best ? now_us() - start : best;
	}
	if (runs > 0)
		printf("%-40s %8.1f us, %llu rows, %llu readings looked at\n", what, best, (unsigned long long)stats.rows, (unsigned long long)stats.readings);
}

// By the device, the bed, the patient.
static void
ask(const char *what, int64_t from_us, int64_t to_us, int64_t step_us)
{
	struct gw_series_want want = { .signals = gw_span_text(names[0]), .from_us = from_us, .to_us = to_us, .step_us = step_us };
	char words[80];

	want.device = gw_span_text("bed0");
	ask_one(what, want);
	want.device = (struct gw_span){ 0 };
	want.bed = gw_span_text("B1");
	snprintf(words, sizeof(words), "%s, by bed", what);
	ask_one(words, want);
	want.bed = (struct gw_span){ 0 };
	want.patient = patient;
	snprintf(words, sizeof(words), "%s, by patient", what);
	ask_one(words, want);
}

int
main(int argc, char **argv)
{
	int beds = argc > 2 ? atoi(argv[2]) : 4, length = argc > 3 ? atoi(argv[3]) : 2, signals = argc > 4 ? atoi(argv[4]) : 1;
	struct gw_series_options options = { .dir = argv[1], .budget_bytes = UINT64_C(16) << 30 };
	struct gw_series_verified verified = { 0 };
	struct gw_series_stats stats;
	struct gw_why why = { "" };
	double start, taken;
	int64_t end_us = T0 + (int64_t)length * SECONDS_A_DAY * SECOND;

	if (argc < 2 || beds < 1 || beds > BEDS_MAX || signals < 1 || signals > SIGNALS_MAX)
		return 2;
	runs = argc > 5 ? atoi(argv[5]) : runs;
	check(gw_nomenclature_open(&why), why.text);
	for (int s = 0; s < signals; s++) {
		const struct gw_signal *signal = gw_signal_by_name(gw_span_text(names[s]));

		codes[s] = signal != NULL ? signal->code : 1000 + (uint32_t)s;
		struct physio_series *made = physio_make(kinds[s], PHYSIO_CLOCK_SECONDS, 7 + (uint64_t)s, SECONDS_A_DAY);

		if (made == NULL)
			return 1;
		days[s] = *made;
	}
	check(gw_series_open(&options, &store, &why), why.text);
	check(gw_series_follow(store, 1), "follow");
	start = now_us();
	for (int64_t day = 0; day < length; day++)
		for (uint32_t second = 0; second < SECONDS_A_DAY; second++) {
			for (int bed = 0; bed < beds; bed++)
				take_second(bed, day, second, signals);
			if (second % 600 == 0)
				flush(-1);
		}
	flush(0);
	taken = now_us() - start;
	gw_series_stats(store, &stats);
	printf("%llu readings: %.0f ns each; chunks %.3f bytes a reading; file %.3f, used %.3f\n", (unsigned long long)stats.readings,
	    taken * 1e3 / (double)stats.readings, (double)stats.bytes / (double)stats.readings, (double)stats.file_bytes / (double)stats.readings,
	    (double)(stats.file_bytes - stats.free_bytes) / (double)stats.readings);
	check(gw_series_verify(store, NULL, NULL, &verified), "verify");
	printf("%llu blocks of roll-ups: %.3f bytes a reading; damaged: %llu\n", (unsigned long long)verified.rollups,
	    (double)verified.rollup_bytes / (double)stats.readings, (unsigned long long)verified.damaged);
	open_patients(argv[1], end_us);
	if (runs > 0)
		printf("best of %d:\n", runs);
	ask("a day by the minute", end_us - SECONDS_A_DAY * SECOND, end_us, 60 * SECOND);
	ask("a month by the hour", end_us - 30 * SECONDS_A_DAY * SECOND, end_us, 3600 * SECOND);
	ask("all of it by the hour", INT64_MIN, INT64_MAX, 3600 * SECOND);
	ask("all of it by the day", INT64_MIN, INT64_MAX, SECONDS_A_DAY * SECOND);
	gw_series_close(store);
	close_patients();
	return 0;
}
