// SPDX-License-Identifier: Apache-2.0
// Exports by themselves: a store with hours of vital signs of some devices, then all of it in each format, as rows a second: into nothing, and into a pipe
// that another process reads. Usage: export_bench [--devices N] [--hours N] [--format F] [--columns NAMES] [--nothing] [--keep FOLDER]
#include "tests/bench/physio.h"

#include "gateway/export_run.h"
#include "gateway/nomenclature.h"

#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static const enum physio_signal signals[] = { PHYSIO_HEART_RATE, PHYSIO_SPO2, PHYSIO_RESPIRATION, PHYSIO_PERFUSION, PHYSIO_ABP_SYSTOLIC, PHYSIO_TEMPERATURE };
static const char *const names[] = { "heart_rate", "spo2", "respiration_rate", "perfusion_index", "abp_systolic", "temperature" };

struct target {
	struct gw_series_store *store;
	int fd; // -1: nothing
	uint64_t bytes;
	const char *columns; // of CSV; NULL: all
};

static double
now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void
check(enum gw_error error, const struct gw_why *why)
{
	if (error == GW_OK)
		return;
	fprintf(stderr, "%s: %s\n", gw_error_text(error), why != NULL ? why->text : "");
	exit(1);
}

// ---- The store ----

static void
take(struct gw_series_store *store, const char *device, const struct gw_point *points, size_t count, uint32_t signal)
{
	static uint8_t out[GW_RECORD_MAX];
	static struct gw_key keys[GW_RECORD_READINGS_MAX];
	static struct gw_reading readings[GW_RECORD_READINGS_MAX];
	static uint64_t position;
	struct gw_batch_head head = { .received_us = points[count - 1].received_us, .door = GW_DOOR_MQTT, .auth = GW_AUTH_CERTIFICATE,
		.device = gw_span_text(device), .principal = gw_span_text(device), .route = gw_span_text("bedside/readings"), .profile = gw_span_text("bedside-json") };
	struct gw_record record;
	size_t len;

	for (size_t i = 0; i < count; i++) {
		readings[i] = points[i].reading;
		readings[i].signal = signal;
	}
	check(gw_record_readings(&head, readings, count, out, sizeof(out), &len, keys), NULL);
	check(gw_record_open(++position, gw_span(out, len), &record, NULL), NULL);
	check(gw_series_take(store, &record), NULL);
}

static void
fill(struct gw_series_store *store, int devices, uint32_t seconds)
{
	for (int d = 0; d < devices; d++) {
		char device[32];

		snprintf(device, sizeof(device), "monitor-%03d", d);
		for (size_t s = 0; s < sizeof(signals) / sizeof(signals[0]); s++) {
			struct physio_series *series = physio_make(signals[s], PHYSIO_CLOCK_MILLIS, (uint64_t)d * 100 + s + 1, seconds);
			const struct gw_signal *signal = gw_signal_by_name(gw_span_text(names[s]));
			bool more = true;

			if (signal == NULL || series == NULL)
				exit(1);
			for (uint32_t at = 0; at < series->count; at += 60)
				take(store, device, series->points + at, series->count - at < 60 ? series->count - at : 60, signal->code);
			physio_free(series);
			while (more)
				check(gw_series_flush(store, 0, &more), NULL);
		}
	}
}

// ---- The export ----

static enum gw_error
hold(void *arg, struct gw_series_store **store)
{
	*store = ((struct target *)arg)->store;
	return GW_OK;
}

static void
release(void *arg)
{
}

static enum gw_error
put(void *arg, const char *at, size_t len, bool wait, size_t *taken)
{
	struct target *target = arg;

	*taken = 0;
	while (target->fd >= 0 && *taken < len) {
		ssize_t done = write(target->fd, at + *taken, len - *taken);

		if (done <= 0)
			return GW_E_SYSTEM;
		*taken += (size_t)done;
	}
	*taken = len;
	target->bytes += len;
	return GW_OK;
}

static bool
tick(void *arg, const struct gw_export_progress *progress)
{
	return true;
}

static __attribute__((noinline)) uint64_t
run_export(struct target *target, enum gw_export_format format)
{
	const struct gw_export_io io = { .arg = target, .hold = hold, .release = release, .write = put, .tick = tick };
	struct gw_export_options options = { .format = format, .incarnation = 1 };
	struct gw_export_writer *writer;
	struct gw_series_want *wants;
	struct gw_export_done done;
	struct gw_why why = { "" };
	char (*ids)[GW_ID_MAX + 1];
	size_t count;

	if (format == GW_EXPORT_CSV && target->columns != NULL)
		check(gw_export_columns_parse(target->columns, &options, &why), &why);
	writer = gw_export_writer_new(&options);
	check(gw_export_devices(target->store, NULL, NULL, gw_span("", 0), &ids, &count), &why);
	wants = calloc(count, sizeof(*wants));
	for (size_t i = 0; i < count; i++)
		wants[i] = (struct gw_series_want){ .device = gw_span_text(ids[i]), .from_us = INT64_MIN, .to_us = INT64_MAX };
	target->bytes = 0;
	check(gw_export_run(&io, &(struct gw_export_ask){ .wants = wants, .count = count }, writer, &done, &why), &why);
	gw_export_writer_free(writer);
	free(wants);
	free(ids);
	return done.counts.rows;
}

static void
say(const char *what, enum gw_export_format format, uint64_t rows, uint64_t bytes, double seconds)
{
	printf("%-8s %-8s %9llu rows %7.1f MiB %8.3f s %12.0f rows/s %7.1f ns/row\n", gw_export_format_name(format), what, (unsigned long long)rows,
	    (double)bytes / 1048576, seconds, (double)rows / seconds, seconds * 1e9 / (double)rows);
}

static void
into_nothing(struct target *target, enum gw_export_format format)
{
	double began = now_s();
	uint64_t rows;

	target->fd = -1;
	rows = run_export(target, format);
	say("nothing", format, rows, target->bytes, now_s() - began);
}

static void
into_pipe(struct target *target, enum gw_export_format format)
{
	double began = now_s();
	uint64_t rows;
	int fds[2];
	pid_t reader;

	if (pipe(fds) != 0)
		exit(1);
	(void)fcntl(fds[1], F_SETPIPE_SZ, 1 << 20);
	if ((reader = fork()) == 0) {
		static char buf[1 << 20];

		close(fds[1]);
		while (read(fds[0], buf, sizeof(buf)) > 0)
			;
		_exit(0);
	}
	close(fds[0]);
	target->fd = fds[1];
	rows = run_export(target, format);
	close(fds[1]);
	waitpid(reader, NULL, 0);
	say("pipe", format, rows, target->bytes, now_s() - began);
}

// For comparing the bytes of two versions.
static void
into_file(struct target *target, enum gw_export_format format, const char *folder)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/export%s", folder, gw_export_suffix(format));
	if ((target->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)) < 0)
		exit(1);
	(void)run_export(target, format);
	close(target->fd);
}

int
main(int argc, char **argv)
{
	struct gw_series_options options = { .budget_bytes = UINT64_C(8) << 30 };
	struct target target = { 0 };
	enum gw_export_format only = GW_EXPORT_SENML;
	const char *folder = NULL;
	bool one = false, nothing = false;
	int devices = 20, hours = 24;
	char dir[] = "/tmp/export-bench-XXXXXX", command[64];
	struct gw_why why = { "" };

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--devices") == 0 && i + 1 < argc)
			devices = atoi(argv[++i]);
		else if (strcmp(argv[i], "--hours") == 0 && i + 1 < argc)
			hours = atoi(argv[++i]);
		else if (strcmp(argv[i], "--format") == 0 && i + 1 < argc)
			one = gw_export_format_parse(argv[++i], &only);
		else if (strcmp(argv[i], "--nothing") == 0)
			nothing = true;
		else if (strcmp(argv[i], "--columns") == 0 && i + 1 < argc)
			target.columns = argv[++i];
		else if (strcmp(argv[i], "--keep") == 0 && i + 1 < argc)
			folder = argv[++i];
	}
	if (sodium_init() < 0) // as the gateway does: the fastest way for this processor
		return 1;
	check(gw_nomenclature_open(&why), &why);
	options.dir = mkdtemp(dir);
	check(gw_series_open(&options, &target.store, &why), &why);
	check(gw_series_follow(target.store, 1), &why);
	fill(target.store, devices, (uint32_t)hours * 3600);
	for (int format = one ? (int)only : GW_EXPORT_CSV; format <= (int)only; format++) {
		into_nothing(&target, (enum gw_export_format)format);
		if (!nothing)
			into_pipe(&target, (enum gw_export_format)format);
		if (folder != NULL)
			into_file(&target, (enum gw_export_format)format, folder);
	}
	gw_series_close(target.store);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	return system(command);
}
