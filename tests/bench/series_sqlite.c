// SPDX-License-Identifier: Apache-2.0
// A contender of the series benchmark: SQLite in this process. One table without row ids, its key (series, time); WAL, synchronous FULL (a commit is on disk), prepared statements,
// one transaction for what is put at once, 256 MB of cache. Kept are time, value, flags and when it was received.
#include "tests/bench/series_bench.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

static sqlite3 *db;
static char db_path[4096], db_dir[4096];
static sqlite3_stmt *insert, *day, *hours, *last;
static bool known[BEDS_MAX + 1];

static void
run(const char *sql)
{
	char *why = NULL;

	if (sqlite3_exec(db, sql, NULL, NULL, &why) != SQLITE_OK)
		fail(sql, why != NULL ? why : "");
}

static sqlite3_stmt *
prepare(const char *sql)
{
	sqlite3_stmt *statement;

	if (sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) != SQLITE_OK)
		fail(sql, sqlite3_errmsg(db));
	return statement;
}

static void
sqlite_open(const char *dir)
{
	snprintf(db_dir, sizeof(db_dir), "%s", dir);
	if (snprintf(db_path, sizeof(db_path), "%s/readings.db", dir) >= (int)sizeof(db_path) || sqlite3_open_v2(db_path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK)
		fail(dir, "SQLite cannot open it");
	run("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA cache_size=-262144; PRAGMA wal_autocheckpoint=16384;"
	    "CREATE TABLE series(id INTEGER PRIMARY KEY, device TEXT, signal TEXT, UNIQUE(device, signal));"
	    "CREATE TABLE readings(series INTEGER, time INTEGER, value REAL, flags INTEGER, lag INTEGER, PRIMARY KEY(series, time)) WITHOUT ROWID;");
	insert = prepare("INSERT OR IGNORE INTO readings VALUES(?, ?, ?, ?, ?)");
	day = prepare("SELECT time, value, flags FROM readings WHERE series = ? AND time >= ? AND time < ? ORDER BY time");
	hours = prepare("SELECT time / 3600000 AS hour, avg(value), count(value) FROM readings WHERE series = ? AND time >= ? AND time < ? GROUP BY hour ORDER BY hour");
	last = prepare("SELECT time, value, flags FROM readings WHERE series = ? ORDER BY time DESC LIMIT 1");
	memset(known, 0, sizeof(known));
}

static int
series_id(unsigned bed, int signal)
{
	return (int)bed * SIGNALS + signal;
}

static void
know(unsigned bed)
{
	char sql[200], name[16];

	if (known[bed])
		return;
	known[bed] = true;
	bed_name(bed, name);
	for (int s = 0; s < SIGNALS; s++) {
		snprintf(sql, sizeof(sql), "INSERT INTO series VALUES(%d, '%s', '%s')", series_id(bed, s), name, bench_signals[s].name);
		run(sql);
	}
}

static void
put_one(const struct frame *frame, int signal)
{
	sqlite3_bind_int(insert, 1, series_id(frame->bed, signal));
	sqlite3_bind_int64(insert, 2, frame->time_us / 1000);
	if (frame_has(frame, signal))
		sqlite3_bind_double(insert, 3, frame_value(frame, signal));
	else
		sqlite3_bind_null(insert, 3);
	sqlite3_bind_int(insert, 4, frame->flags[signal]);
	if (!bench_lean) // milliseconds from the device's time: a small number takes less room than a time
		sqlite3_bind_int(insert, 5, (frame->lag_us + 500) / 1000);
	if (sqlite3_step(insert) != SQLITE_DONE)
		fail("insert", sqlite3_errmsg(db));
	sqlite3_reset(insert);
}

static void
sqlite_put(const struct frame *frames, size_t n)
{
	run("BEGIN");
	for (size_t i = 0; i < n; i++) {
		know(frames[i].bed);
		for (int s = 0; s < SIGNALS; s++)
			if (frames[i].there >> s & 1)
				put_one(&frames[i], s);
	}
	run("COMMIT");
}

static void
sqlite_settle(void)
{
	if (sqlite3_wal_checkpoint_v2(db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) != SQLITE_OK)
		fail("checkpoint", sqlite3_errmsg(db));
}

static uint64_t
sqlite_bytes(void)
{
	return folder_bytes(db_dir);
}

static void
ask(sqlite3_stmt *statement, const struct want *want)
{
	sqlite3_reset(statement);
	sqlite3_bind_int(statement, 1, series_id(want->bed, want->signal));
	sqlite3_bind_int64(statement, 2, want->from_us / 1000);
	sqlite3_bind_int64(statement, 3, want->to_us / 1000);
}

static void
add(struct answer *answer, sqlite3_stmt *statement, int column)
{
	if (sqlite3_column_type(statement, column) == SQLITE_NULL)
		return;
	answer->count++;
	answer->sum += sqlite3_column_double(statement, column);
}

static struct answer
sqlite_day(const struct want *want)
{
	static struct { int64_t time; double value; int flags; } got[1u << 20];
	struct answer answer = { 0 };
	size_t n = 0;

	ask(day, want);
	while (sqlite3_step(day) == SQLITE_ROW) {
		got[n].time = sqlite3_column_int64(day, 0);
		got[n].value = sqlite3_column_double(day, 1);
		got[n].flags = sqlite3_column_int(day, 2);
		add(&answer, day, 1);
		n = (n + 1) % (sizeof(got) / sizeof(got[0]));
	}
	return answer;
}

static struct answer
sqlite_hours(const struct want *want)
{
	struct answer answer = { 0 };

	ask(hours, want);
	while (sqlite3_step(hours) == SQLITE_ROW)
		add(&answer, hours, 1);
	return answer;
}

// One look-up a series: faster than any one statement for all of them.
static struct answer
sqlite_latest(void)
{
	struct answer answer = { 0 };

	run("BEGIN");
	for (unsigned bed = 1; bed <= BEDS_MAX; bed++)
		for (int s = 0; s < SIGNALS && known[bed]; s++) {
			sqlite3_reset(last);
			sqlite3_bind_int(last, 1, series_id(bed, s));
			if (sqlite3_step(last) == SQLITE_ROW)
				add(&answer, last, 1);
		}
	sqlite3_reset(last);
	run("COMMIT");
	return answer;
}

static struct answer
sqlite_export(void)
{
	static struct sink sink;
	sqlite3_stmt *all = prepare("SELECT s.device, s.signal, r.time, r.value, r.flags FROM series s JOIN readings r ON r.series = s.id ORDER BY s.id, r.time");
	struct answer answer = { 0 };

	sink.bytes = 0;
	while (sqlite3_step(all) == SQLITE_ROW) {
		for (int i = 0; i < 5; i++) {
			if (i == 3)
				add(&answer, all, i); // before it becomes text
			if (sqlite3_column_type(all, i) != SQLITE_NULL)
				sink_put(&sink, (const char *)sqlite3_column_text(all, i), (size_t)sqlite3_column_bytes(all, i));
			sink_put(&sink, i < 4 ? "," : "\n", 1);
		}
	}
	sqlite3_finalize(all);
	sink_flush(&sink);
	answer.bytes = sink.bytes;
	return answer;
}

static void
sqlite_close(void)
{
	sqlite3_finalize(insert);
	sqlite3_finalize(day);
	sqlite3_finalize(hours);
	sqlite3_finalize(last);
	sqlite3_close(db);
}

const struct contender bench_sqlite = {
	.name = "sqlite", .open = sqlite_open, .put = sqlite_put, .settle = sqlite_settle, .bytes = sqlite_bytes, .cpu = own_cpu_s, .day = sqlite_day, .latest = sqlite_latest,
	.hours = sqlite_hours, .export = sqlite_export, .close = sqlite_close,
};
