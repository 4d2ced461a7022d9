// SPDX-License-Identifier: Apache-2.0
// The series store, SQLite and InfluxDB on the same data, turn by turn. tests/bench/series.py starts it and makes the tables. A line of JSON for each measurement; every answer is
// compared with what went in.
//   series_bench DIR [--influx PORT PID FOLDER] [--rounds N] [--days N] [--beds N] [--minutes N] [--growth DAYS SECONDS] [--hold MINUTES] [--lean] [--keep]
#include "tests/bench/series_bench.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define BATCH 20000 // frames that are put at once
#define DAY_S 86400u
#define REPEATS_MAX 25
#define REPEATS_S 0.2
#define MARKS 6
#define HOLD_DAYS 8

static const unsigned marks[MARKS] = { 1, 7, 30, 90, 180, 365 }; // days

// What went in.
struct truth {
	struct want day, hours;
	uint64_t readings, numbers;
	double sum;
	struct answer in_day, in_hours;
	int64_t hour;            // that is under way
	uint64_t hour_count;
	double hour_sum;
	double number[BEDS_MAX + 1][SIGNALS];
	uint8_t any[BEDS_MAX + 1], there[BEDS_MAX + 1], now[BEDS_MAX + 1];
};

static struct options {
	const char *dir;
	unsigned rounds, days, beds, minutes, growth_days, hold_min;
	double growth_s;
	bool influx;
} options = { .rounds = 3, .days = 30, .minutes = 60 };

bool bench_look, bench_lean, bench_keep;
static bool keep_month;
static struct truth truth;
static struct frame frames[BATCH];
static const struct contender *contenders[4];
static size_t contender_count;
static unsigned folders;
static bool differed;

// ---- Common ----

void
fail(const char *what, const char *why)
{
	fprintf(stderr, "series_bench: %s: %s\n", what, why);
	exit(1);
}

double
now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

double
own_cpu_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

void
bed_name(unsigned bed, char out[16])
{
	snprintf(out, 16, "bed-%u", bed);
}

static uint64_t walked;

static int
walk(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
	(void)path;
	(void)ftw;
	if (type == FTW_F)
		walked += (uint64_t)stat->st_blocks * 512;
	return 0;
}

uint64_t
folder_bytes(const char *dir)
{
	walked = 0;
	nftw(dir, walk, 16, FTW_PHYS);
	return walked;
}

static int
unlink_one(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
	(void)stat;
	(void)type;
	(void)ftw;
	return remove(path);
}

void
sink_flush(struct sink *sink)
{
	if (sink->fd == 0 && (sink->fd = open("/dev/null", O_WRONLY | O_CLOEXEC)) < 0)
		fail("/dev/null", "cannot be opened");
	if (write(sink->fd, sink->at, sink->len) < 0)
		fail("/dev/null", "cannot be written");
	sink->bytes += sink->len;
	sink->len = 0;
}

void
sink_large(struct sink *sink, const char *at, size_t len)
{
	sink_flush(sink);
	if (write(sink->fd, at, len) < 0)
		fail("/dev/null", "cannot be written");
	sink->bytes += len;
}

void
sink_put(struct sink *sink, const char *at, size_t len)
{
	if (sink->len + len > sizeof(sink->at))
		sink_flush(sink);
	memcpy(sink->at + sink->len, at, len);
	sink->len += len;
}

// ---- What must come out ----

static void
end_hour(void)
{
	if (truth.hour_count > 0) {
		truth.in_hours.count++;
		truth.in_hours.sum += truth.hour_sum / (double)truth.hour_count;
	}
	truth.hour_count = 0;
	truth.hour_sum = 0;
}

static void
learn_wanted(const struct frame *frame)
{
	double value = frame_has(frame, truth.day.signal) ? frame_value(frame, truth.day.signal) : 0;

	if (frame->bed != truth.day.bed || !frame_has(frame, truth.day.signal))
		return;
	if (frame->time_us >= truth.day.from_us && frame->time_us < truth.day.to_us) {
		truth.in_day.count++;
		truth.in_day.sum += value;
	}
	if (frame->time_us < truth.hours.from_us || frame->time_us >= truth.hours.to_us)
		return;
	if (frame->time_us / 3600000000 != truth.hour)
		end_hour();
	truth.hour = frame->time_us / 3600000000;
	truth.hour_count++;
	truth.hour_sum += value;
}

static void
learn(const struct frame *frame)
{
	learn_wanted(frame);
	for (int s = 0; s < SIGNALS; s++) {
		if (!(frame->there >> s & 1))
			continue;
		truth.readings++;
		truth.there[frame->bed] |= (uint8_t)(1 << s);
		truth.now[frame->bed] &= (uint8_t)~(1 << s);
		if (!frame_has(frame, s))
			continue;
		truth.now[frame->bed] |= (uint8_t)(1 << s);
		truth.any[frame->bed] |= (uint8_t)(1 << s);
		truth.number[frame->bed][s] = frame_value(frame, s);
		truth.numbers++;
		truth.sum += truth.number[frame->bed][s];
	}
}

// The newest that are numbers (InfluxDB's last), or where the newest is one.
static struct answer
truth_latest(const uint8_t *which)
{
	struct answer answer = { 0 };

	for (unsigned bed = 1; bed <= BEDS_MAX; bed++)
		for (int s = 0; s < SIGNALS; s++)
			if (which[bed] >> s & 1) {
				answer.count++;
				answer.sum += truth.number[bed][s];
			}
	return answer;
}

static bool
same(struct answer a, struct answer b)
{
	return a.count == b.count && fabs(a.sum - b.sum) <= 1e-9 * fmax(fabs(a.sum), 1);
}

// ---- Queries ----

enum query { DAY, LATEST, HOURS, EXPORT, EXPORT_ALL, QUERIES };
static const char *const query_names[QUERIES] = { "day", "latest", "hours", "export", "export_all" };

static struct answer
ask(const struct contender *c, enum query query)
{
	switch (query) {
	case DAY:
		return c->day(&truth.day);
	case LATEST:
		return c->latest();
	case HOURS:
		return c->hours(&truth.hours);
	case EXPORT:
		return c->export();
	default:
		return c->export_all();
	}
}

static void
verify(const struct contender *c, enum query query, struct answer got)
{
	struct answer must = query == DAY ? truth.in_day : query == HOURS ? truth.in_hours : query == LATEST ? truth_latest(truth.now) :
	    (struct answer){ truth.numbers, truth.sum, 0 };

	if (query == EXPORT && c == &bench_influx)
		got.sum = must.sum; // it is counted only
	if (same(got, must) || (query == LATEST && same(got, truth_latest(truth.any))))
		return;
	differed = true;
	fprintf(stderr, "series_bench: %s, %s: %llu numbers of sum %.6f instead of %llu of %.6f\n", c->name, query_names[query], (unsigned long long)got.count, got.sum,
	    (unsigned long long)must.count, must.sum);
}

static int
by_size(const void *a, const void *b)
{
	const double *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

// The median of some runs.
static void
time_query(const struct contender *c, enum query query, unsigned round, unsigned days)
{
	double took[REPEATS_MAX], begin = now_s(), cpu = c->cpu();
	struct answer got = { 0 };
	unsigned n = 0;

	bench_look = round == 0;
	if (round == 0 && (query < EXPORT || c->export_all != NULL)) // warm, and looked at
		verify(c, query, ask(c, query));
	bench_look = false;
	for (begin = now_s(), cpu = c->cpu(); n < REPEATS_MAX && (n == 0 || now_s() - begin < REPEATS_S); n++) {
		double start = now_s();
		got = ask(c, query);
		took[n] = now_s() - start;
	}
	cpu = (c->cpu() - cpu) / n;
	verify(c, query, got);
	qsort(took, n, sizeof(took[0]), by_size);
	printf("{\"kind\":\"query\",\"what\":\"%s\",\"contender\":\"%s\",\"round\":%u,\"days\":%u,\"seconds\":%.9f,\"cpu\":%.6f,\"runs\":%u,\"count\":%llu,\"rows\":%llu,\"bytes\":%llu}\n", query_names[query],
	    c->name, round, days, took[n / 2], cpu, n, (unsigned long long)got.count, (unsigned long long)truth.readings, (unsigned long long)got.bytes);
	fflush(stdout);
}

// ---- Ingest ----

struct spent {
	double wall_s, cpu_s;
	bool out;           // it has had its time
	uint32_t second;    // of the data, until when it took part
};

static void
put(const struct contender *c, size_t n, struct spent *spent)
{
	double start, cpu;

	if (c->encode != NULL)
		c->encode(frames, n);
	start = now_s();
	cpu = c->cpu();
	c->put(frames, n);
	spent->wall_s += now_s() - start;
	spent->cpu_s += c->cpu() - cpu;
}

static void
spend(const struct contender *c, void (*fn)(void), struct spent *spent)
{
	double start = now_s(), cpu = c->cpu();

	fn();
	if (c != &bench_influx) // what it does afterwards costs nobody time, but CPU
		spent->wall_s += now_s() - start;
	spent->cpu_s += c->cpu() - cpu;
}

static void
settle(const struct contender *c, struct spent *spent)
{
	spend(c, c->settle, spent);
}

static const char *
fresh_folder(const struct contender *c)
{
	static char path[4096];

	snprintf(path, sizeof(path), "%s/%s-%u", options.dir, c->name, folders++);
	for (char *at = path; *at != '\0'; at++)
		if (*at == ' ')
			*at = '-';
	nftw(path, unlink_one, 16, FTW_DEPTH | FTW_PHYS);
	if (mkdir(path, 0700) != 0)
		fail(path, "cannot be made");
	return path;
}

static void
report_ingest(const struct contender *c, unsigned round, unsigned days, const struct spent *spent, uint64_t readings, bool sizes)
{
	printf("{\"kind\":\"ingest\",\"contender\":\"%s\",\"round\":%u,\"days\":%u,\"readings\":%llu,\"seconds\":%.6f,\"cpu\":%.6f,\"bytes\":%llu}\n", c->name, round, days,
	    (unsigned long long)readings, spent->wall_s, spent->cpu_s, sizes ? (unsigned long long)c->bytes() : 0);
	fflush(stdout);
}

// 100 beds, as many minutes as asked for, once a second: each contender anew.
static void
ingest_round(const struct contender *c, unsigned round)
{
	struct ward_plan plan = { .beds = 100, .every_s = 1, .clock = PHYSIO_CLOCK_SECONDS, .calm_from_s = UINT32_MAX };
	char path[4096];
	struct ward *ward = ward_open(&plan);
	struct spent spent = { 0 };
	bool done = false;

	snprintf(path, sizeof(path), "%s", fresh_folder(c));
	memset(&truth, 0, sizeof(truth));
	c->open(path);
	while (!done) {
		size_t n = ward_frames(ward, options.minutes * 60, frames, BATCH, &done);
		for (size_t i = 0; i < n; i++)
			learn(&frames[i]);
		put(c, n, &spent);
	}
	if (c != &bench_influx)
		settle(c, &spent);
	report_ingest(c, round, 0, &spent, truth.readings, c != &bench_influx);
	c->close();
	ward_close(ward);
	nftw(path, unlink_one, 16, FTW_DEPTH | FTW_PHYS);
}

// This store's bytes, all included, by the device's clock.
static void
measure_clock(enum physio_clock clock)
{
	static const char *const names[] = { "seconds", "milliseconds", "none" };
	struct ward_plan plan = { .beds = 20, .every_s = 1, .clock = clock, .calm_from_s = UINT32_MAX };
	char path[4096];
	struct ward *ward = ward_open(&plan);
	struct spent spent = { 0 };
	bool done = false;

	snprintf(path, sizeof(path), "%s", fresh_folder(&bench_series));
	memset(&truth, 0, sizeof(truth));
	bench_series.open(path);
	while (!done) {
		size_t n = ward_frames(ward, options.minutes * 300, frames, BATCH, &done);
		for (size_t i = 0; i < n; i++)
			learn(&frames[i]);
		put(&bench_series, n, &spent);
	}
	settle(&bench_series, &spent);
	printf("{\"kind\":\"clock\",\"clock\":\"%s\",\"readings\":%llu,\"bytes\":%llu}\n", names[clock], (unsigned long long)truth.readings, (unsigned long long)bench_series.bytes());
	bench_series.close();
	ward_close(ward);
	nftw(path, unlink_one, 16, FTW_DEPTH | FTW_PHYS);
}

// A reading a minute for some days, written when series.hold_min has it or a chunk is full, and all of it at the end.
static void
measure_hold(unsigned hold_min)
{
	struct ward_plan plan = { .beds = 20, .every_s = 60, .clock = PHYSIO_CLOCK_SECONDS, .calm_from_s = UINT32_MAX };
	char path[4096];
	struct ward *ward = ward_open(&plan);
	struct spent spent = { 0 };

	snprintf(path, sizeof(path), "%s", fresh_folder(&bench_series));
	memset(&truth, 0, sizeof(truth));
	bench_hold_us = hold_min * INT64_C(60000000);
	bench_series.open(path);
	bench_hold_us = 0;
	for (uint32_t minute = 1; minute <= HOLD_DAYS * 1440; minute++) {
		bool done = false;
		while (!done) {
			size_t n = ward_frames(ward, minute * 60, frames, BATCH, &done);
			for (size_t i = 0; i < n; i++)
				learn(&frames[i]);
			put(&bench_series, n, &spent);
		}
		spend(&bench_series, bench_series.due, &spent);
	}
	spend(&bench_series, bench_series.settle, &spent);
	printf("{\"kind\":\"hold\",\"hold_min\":%u,\"days\":%d,\"readings\":%llu,\"seconds\":%.6f,\"cpu\":%.6f,\"bytes\":%llu}\n", hold_min,
	    HOLD_DAYS, (unsigned long long)truth.readings, spent.wall_s, spent.cpu_s, (unsigned long long)bench_series.bytes());
	bench_series.close();
	ward_close(ward);
	nftw(path, unlink_one, 16, FTW_DEPTH | FTW_PHYS);
}

// ---- One bed for a month, and all others for ten minutes ----

static void
want_ranges(unsigned days)
{
	int64_t end = PHYSIO_START_US + (int64_t)days * DAY_S * 1000000;

	truth.day = (struct want){ .bed = 1, .signal = 0, .from_us = end - (int64_t)DAY_S * 1000000, .to_us = end };
	if (days > 1) { // a day in the middle
		truth.day.from_us -= (int64_t)(days / 2) * DAY_S * 1000000;
		truth.day.to_us -= (int64_t)(days / 2) * DAY_S * 1000000;
	}
	truth.hours = (struct want){ .bed = 1, .signal = 0, .from_us = PHYSIO_START_US, .to_us = end };
}

static void
load_month(struct spent *spent)
{
	struct ward_plan plan = { .beds = options.beds, .every_s = 1, .clock = PHYSIO_CLOCK_SECONDS, .others_from_s = options.days * DAY_S - 600,
		.calm_from_s = options.days * DAY_S - 600 };
	struct ward *ward = ward_open(&plan);
	bool done = false;

	while (!done) {
		size_t n = ward_frames(ward, options.days * DAY_S, frames, BATCH, &done);
		for (size_t i = 0; i < n; i++)
			learn(&frames[i]);
		for (size_t i = 0; i < contender_count; i++)
			put(contenders[i], n, &spent[i]);
	}
	end_hour();
	ward_close(ward);
}

static void
measure_month(void)
{
	struct spent spent[4] = { 0 };

	memset(&truth, 0, sizeof(truth));
	want_ranges(options.days);
	for (size_t i = 0; i < contender_count; i++) {
		const char *path = fresh_folder(contenders[i]);
		contenders[i]->open(path);
		printf("{\"kind\":\"folder\",\"contender\":\"%s\",\"path\":\"%s\"}\n", contenders[i]->name, path);
	}
	fprintf(stderr, "%u days of one bed, ten minutes of %u beds\n", options.days, options.beds);
	load_month(spent);
	for (size_t i = 0; i < contender_count; i++) {
		settle(contenders[i], &spent[i]);
		report_ingest(contenders[i], 0, options.days, &spent[i], truth.readings, true);
	}
	for (unsigned round = 0; round < options.rounds; round++)
		for (int query = 0; query < QUERIES; query++)
			for (size_t i = 0; i < contender_count; i++) {
				if (query == EXPORT_ALL && contenders[i]->export_all == NULL)
					continue;
				fprintf(stderr, "round %u of %u: %s, %s\n", round + 1, options.rounds, query_names[query], contenders[i]->name);
				time_query(contenders[i], (enum query)query, round, options.days);
			}
	bench_keep = keep_month;
	for (size_t i = 0; i < contender_count; i++)
		contenders[i]->close();
}

// ---- How it grows: 100 beds, a frame a minute ----

static void
grow_to(struct ward *ward, uint32_t to_s, struct spent *spent)
{
	bool done = false;

	while (!done) {
		size_t n = ward_frames(ward, to_s, frames, BATCH, &done);
		for (size_t i = 0; i < n; i++)
			learn(&frames[i]);
		for (size_t i = 0; i < contender_count; i++)
			if (!spent[i].out)
				put(contenders[i], n, &spent[i]);
	}
}

static void
stop_slow(unsigned day, struct spent *spent)
{
	for (size_t i = 0; i < contender_count; i++)
		if (!spent[i].out && spent[i].wall_s > options.growth_s) {
			spent[i].out = true;
			printf("{\"kind\":\"stopped\",\"contender\":\"%s\",\"days\":%u,\"seconds\":%.1f}\n", contenders[i]->name, day, spent[i].wall_s);
			fprintf(stderr, "%s has had its %.0f s and stops at day %u\n", contenders[i]->name, options.growth_s, day);
			contenders[i]->close();
		}
}

static void
measure_mark(unsigned days, struct spent *spent)
{
	struct truth kept = truth;

	end_hour();
	for (size_t i = 0; i < contender_count; i++)
		if (!spent[i].out) {
			settle(contenders[i], &spent[i]);
			report_ingest(contenders[i], 0, days, &spent[i], truth.readings, true);
		}
	for (unsigned round = 0; round < options.rounds; round++)
		for (int query = 0; query < EXPORT; query++)
			for (size_t i = 0; i < contender_count; i++)
				if (!spent[i].out)
					time_query(contenders[i], (enum query)query, round, days);
	truth = kept;
}

// The day asked for is the first one, the hours those of the first month: the same at every mark, once they are there.
static void
measure_growth(void)
{
	struct ward_plan plan = { .beds = options.beds, .every_s = 60, .clock = PHYSIO_CLOCK_SECONDS, .calm_from_s = UINT32_MAX };
	struct ward *ward = ward_open(&plan);
	struct spent spent[4] = { 0 };
	size_t mark = 0;

	memset(&truth, 0, sizeof(truth));
	want_ranges(30);
	truth.day.from_us = PHYSIO_START_US;
	truth.day.to_us = PHYSIO_START_US + (int64_t)DAY_S * 1000000;
	for (size_t i = 0; i < contender_count; i++)
		contenders[i]->open(fresh_folder(contenders[i]));
	for (unsigned day = 1; day <= options.growth_days && mark < MARKS; day++) {
		grow_to(ward, day * DAY_S, spent);
		if (day % 10 == 0)
			fprintf(stderr, "day %u of %u: %llu readings\n", day, options.growth_days, (unsigned long long)truth.readings);
		if (day == marks[mark]) {
			measure_mark(day, spent);
			mark++;
		}
		stop_slow(day, spent);
	}
	for (size_t i = 0; i < contender_count; i++)
		if (!spent[i].out)
			contenders[i]->close();
	ward_close(ward);
}

// ---- Arguments ----

static unsigned
take_number(char **argv, int *i)
{
	if (argv[*i + 1] == NULL)
		fail(argv[*i], "a number is missing");
	return (unsigned)strtoul(argv[++*i], NULL, 10);
}

static void
take_arguments(int argc, char **argv)
{
	if (argc < 2)
		fail("usage", "series_bench DIR [--influx PORT PID FOLDER] [--rounds N] [--days N] [--beds N] [--minutes N] [--growth DAYS SECONDS] [--hold MINUTES] [--lean] [--keep]");
	options.dir = argv[1];
	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "--rounds") == 0)
			options.rounds = take_number(argv, &i);
		else if (strcmp(argv[i], "--days") == 0)
			options.days = take_number(argv, &i);
		else if (strcmp(argv[i], "--beds") == 0)
			options.beds = take_number(argv, &i);
		else if (strcmp(argv[i], "--minutes") == 0)
			options.minutes = take_number(argv, &i);
		else if (strcmp(argv[i], "--hold") == 0)
			options.hold_min = take_number(argv, &i);
		else if (strcmp(argv[i], "--lean") == 0)
			bench_lean = true;
		else if (strcmp(argv[i], "--keep") == 0)
			keep_month = true;
		else if (strcmp(argv[i], "--growth") == 0) {
			options.growth_days = take_number(argv, &i);
			options.growth_s = take_number(argv, &i);
		} else if (strcmp(argv[i], "--influx") == 0 && i + 3 < argc) {
			int port = (int)take_number(argv, &i), pid = (int)take_number(argv, &i);
			influx_where(port, pid, argv[++i]);
			options.influx = true;
		} else
			fail(argv[i], "is not understood");
	}
	if (options.beds == 0)
		options.beds = options.growth_days > 0 ? 100 : 500;
	if (mkdir(options.dir, 0700) != 0 && errno != EEXIST)
		fail(options.dir, strerror(errno));
	if ( options.beds > BEDS_MAX || options.days < 1 || options.rounds < 1)
		fail("arguments", "1 to 1000 beds, a day and a round at least");
}

int
main(int argc, char **argv)
{
	take_arguments(argc, argv);
	contenders[contender_count++] = &bench_series;
	contenders[contender_count++] = &bench_sqlite;
	if (options.influx)
		contenders[contender_count++] = &bench_influx;
	if (options.hold_min > 0) {
		measure_hold(options.hold_min);
		return differed;
	}
	if (options.growth_days > 0) {
		measure_growth();
		return differed;
	}
	for (unsigned round = 0; round < options.rounds; round++) {
		fprintf(stderr, "round %u of %u: ingest of %u minutes of 100 beds\n", round + 1, options.rounds, options.minutes);
		ingest_round(&bench_journal, round);
		for (size_t i = 0; i < contender_count; i++)
			ingest_round(contenders[i], round);
	}
	for (int clock = PHYSIO_CLOCK_SECONDS; clock <= PHYSIO_CLOCK_NONE; clock++)
		measure_clock((enum physio_clock)clock);
	measure_hold(60);
	measure_hold(2880);
	measure_month();
	return differed;
}
