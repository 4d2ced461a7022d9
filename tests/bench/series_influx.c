// SPDX-License-Identifier: Apache-2.0
// A contender of the series benchmark: InfluxDB 1.x over HTTP on loopback, one connection that is kept. A line a frame: measurement "vitals", tag "bed", a field for each signal and one for its
// flags where there are any, and one for when it was received. Lines are made before the clock starts. A write is answered when InfluxDB's log is synced.
#include "tests/bench/series_bench.h"

#include "gateway/record.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define BUFFER (1u << 20)

static int port, pid, conn = -1;
static char data_dir[4096];
static unsigned databases;
static struct { char *at; size_t len, cap; } lines, body;

void
influx_where(int at_port, int of_pid, const char *dir)
{
	port = at_port;
	pid = of_pid;
	snprintf(data_dir, sizeof(data_dir), "%s", dir);
}

// ---- HTTP ----

static struct {
	char at[BUFFER];
	size_t from, to;
} in;

static void
dial(void)
{
	struct sockaddr_in where = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int on = 1;

	if (conn >= 0)
		return;
	if ((conn = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0 || connect(conn, (struct sockaddr *)&where, sizeof(where)) != 0)
		fail("InfluxDB", "it does not listen");
	setsockopt(conn, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	in.from = in.to = 0;
}

static void
send_all(const char *at, size_t len)
{
	while (len > 0) {
		ssize_t n = write(conn, at, len);
		if (n <= 0)
			fail("InfluxDB", "the connection broke");
		at += n;
		len -= (size_t)n;
	}
}

// What is there of the answer, at least a byte.
static size_t
more(void)
{
	ssize_t n;

	if (in.from < in.to)
		return in.to - in.from;
	if ((n = read(conn, in.at, sizeof(in.at))) <= 0)
		fail("InfluxDB", "the connection broke");
	in.from = 0;
	in.to = (size_t)n;
	return (size_t)n;
}

static void
line_in(char *out, size_t cap)
{
	size_t len = 0;
	char c;

	do {
		(void)more();
		c = in.at[in.from++];
		if (len + 1 < cap && c != '\r' && c != '\n')
			out[len++] = c;
	} while (c != '\n');
	out[len] = '\0';
}

typedef void piece_fn(void *arg, const char *at, size_t len);

static void
pass_on(size_t len, piece_fn *fn, void *arg)
{
	while (len > 0) {
		size_t n = more();
		n = n < len ? n : len;
		fn(arg, in.at + in.from, n);
		in.from += n;
		len -= n;
	}
}

// The answer's status; its body by pieces.
static int
answer_in(piece_fn *fn, void *arg)
{
	char line[512];
	bool chunked = false;
	size_t len = 0;
	int status;

	line_in(line, sizeof(line));
	status = strlen(line) > 9 ? atoi(line + 9) : 0;
	for (line_in(line, sizeof(line)); line[0] != '\0'; line_in(line, sizeof(line))) {
		if (strncasecmp(line, "content-length:", 15) == 0)
			len = strtoul(line + 15, NULL, 10);
		else if (strcasecmp(line, "transfer-encoding: chunked") == 0)
			chunked = true;
	}
	if (!chunked)
		pass_on(len, fn, arg);
	while (chunked) {
		line_in(line, sizeof(line));
		len = strtoul(line, NULL, 16);
		pass_on(len, fn, arg);
		line_in(line, sizeof(line));
		chunked = len > 0;
	}
	return status;
}

static void
to_body(void *arg, const char *at, size_t len)
{
	(void)arg;
	if (body.len + len + 1 > body.cap && (body.at = realloc(body.at, body.cap = (body.len + len + 1) * 2)) == NULL)
		fail("InfluxDB", "out of memory");
	memcpy(body.at + body.len, at, len);
	body.at[body.len += len] = '\0';
}

static void
request(const char *method, const char *path, const char *data, size_t len, piece_fn *fn, void *arg)
{
	char head[4096];
	int n = snprintf(head, sizeof(head), "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/csv\r\nContent-Length: %zu\r\n\r\n", method, path, len), status;

	dial();
	body.len = 0;
	send_all(head, (size_t)n);
	send_all(data, len);
	status = answer_in(fn, arg);
	if (status < 200 || status > 299)
		fail(path, body.len > 0 ? body.at : "refused");
}

// InfluxQL; its answer to fn.
static void
query(const char *method, const char *ql, piece_fn *fn, void *arg)
{
	char path[4096];
	size_t len = (size_t)snprintf(path, sizeof(path), "/query?db=bench%u&epoch=ms&chunked=true&chunk_size=10000&q=", databases);

	for (; *ql != '\0' && len + 4 < sizeof(path); ql++)
		len += strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.*()", *ql) != NULL ? (size_t)snprintf(path + len, 4, "%c", *ql) :
		    (size_t)snprintf(path + len, 4, "%%%02X", (unsigned char)*ql);
	request(method, path, "", 0, fn, arg);
}

// ---- Into it ----

static void
influx_open(const char *dir)
{
	char ql[64];

	(void)dir;
	databases++;
	snprintf(ql, sizeof(ql), "CREATE DATABASE bench%u", databases);
	query("POST", ql, to_body, NULL);
}

static void
line_text(const char *text)
{
	size_t len = strlen(text);

	memcpy(lines.at + lines.len, text, len);
	lines.len += len;
}

static void
line_number(int64_t mantissa, int exponent)
{
	lines.len += gw_decimal_text((struct gw_decimal){ mantissa, (int16_t)exponent }, lines.at + lines.len);
}

static void
line_field(bool *any, const char *name, const char *more_name)
{
	line_text(*any ? "," : " ");
	line_text(name);
	line_text(more_name);
	*any = true;
}

static void
encode_one(const struct frame *frame)
{
	char name[16];
	bool any = false;

	bed_name(frame->bed, name);
	line_text("vitals,bed=");
	line_text(name);
	for (int s = 0; s < SIGNALS; s++) {
		if (frame_has(frame, s)) {
			line_field(&any, bench_signals[s].name, "=");
			line_number(frame->mantissa[s], frame->exponent[s]);
		}
		if ((frame->there >> s & 1) && frame->flags[s] != 0) {
			line_field(&any, bench_signals[s].name, "_flags=");
			line_number(frame->flags[s], 0);
			line_text("i");
		}
	}
	if (!bench_lean) {
		line_field(&any, "lag", "=");
		line_number((frame->lag_us + 500) / 1000, 0);
		line_text("i");
	}
	line_text(" ");
	line_number(frame->time_us / 1000, 0);
	line_text("\n");
}

static void
influx_encode(const struct frame *frames, size_t n)
{
	if (lines.cap < n * 320 && (lines.at = realloc(lines.at, lines.cap = n * 320)) == NULL)
		fail("InfluxDB", "out of memory");
	lines.len = 0;
	for (size_t i = 0; i < n; i++)
		encode_one(&frames[i]);
}

static void
influx_put(const struct frame *frames, size_t n)
{
	char path[64];

	(void)frames;
	(void)n;
	snprintf(path, sizeof(path), "/write?db=bench%u&precision=ms", databases);
	request("POST", path, lines.at, lines.len, to_body, NULL);
}

static double
influx_cpu(void)
{
	char path[64], text[1024];
	unsigned long user = 0, system = 0;
	FILE *file;
	char *at;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if ((file = fopen(path, "r")) == NULL)
		fail("InfluxDB", "it is gone");
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	if ((at = strrchr(text, ')')) == NULL || sscanf(at + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
		fail("InfluxDB", "its CPU time");
	return (double)(user + system) / (double)sysconf(_SC_CLK_TCK);
}

// Its log is written into files, and these are compacted, while nothing comes: until five seconds have changed nothing.
static void
influx_settle(void)
{
	uint64_t before = 0, now;
	double cpu = 0;

	for (int still = 0; still < 5; sleep(1)) {
		now = folder_bytes(data_dir);
		still = now == before && influx_cpu() - cpu < 0.15 ? still + 1 : 0;
		before = now;
		cpu = influx_cpu();
	}
}

static uint64_t
influx_bytes(void)
{
	return folder_bytes(data_dir);
}

// ---- Out of it ----

// The field of a line of CSV; NULL: there is none.
static const char *
field(const char *line, int number)
{
	for (; number > 0; number--) {
		while (*line != ',' && *line != '\n' && *line != '\0')
			line++;
		if (*line++ != ',')
			return NULL;
	}
	return line;
}

// name,tags,time,value...: numbers of the columns from `first` on.
static struct answer
decode(int first, int count)
{
	static struct { int64_t time; double value; } got[1u << 20];
	struct answer answer = { 0 };
	size_t n = 0;

	for (const char *line = body.at; line != NULL && *line != '\0'; line = (line = strchr(line, '\n')) != NULL ? line + 1 : NULL) {
		const char *at = field(line, 2);
		if (at == NULL || strncmp(line, "name,", 5) == 0)
			continue;
		got[n].time = strtoll(at, NULL, 10);
		for (int i = 0; i < count; i++) {
			if ((at = field(line, first + i)) == NULL || *at == ',' || *at == '\n' || *at == '\0')
				continue;
			got[n].value = strtod(at, NULL);
			answer.sum += got[n].value;
			answer.count++;
			n = (n + 1) % (sizeof(got) / sizeof(got[0]));
		}
	}
	return answer;
}

static void
where(const struct want *want, char *out, size_t cap)
{
	char name[16];

	bed_name(want->bed, name);
	snprintf(out, cap, "FROM vitals WHERE bed='%s' AND time >= %lld AND time < %lld", name, (long long)want->from_us * 1000, (long long)want->to_us * 1000);
}

static struct answer
influx_day(const struct want *want)
{
	char ql[512], range[300];

	where(want, range, sizeof(range));
	snprintf(ql, sizeof(ql), "SELECT %s %s", bench_signals[want->signal].name, range);
	query("GET", ql, to_body, NULL);
	return decode(3, 1);
}

static struct answer
influx_hours(const struct want *want)
{
	char ql[512], range[300];

	where(want, range, sizeof(range));
	snprintf(ql, sizeof(ql), "SELECT mean(%s) %s GROUP BY time(1h) fill(none)", bench_signals[want->signal].name, range);
	query("GET", ql, to_body, NULL);
	return decode(3, 1);
}

static struct answer
influx_latest(void)
{
	char ql[512];
	size_t len = (size_t)snprintf(ql, sizeof(ql), "SELECT ");

	for (int s = 0; s < SIGNALS; s++)
		len += (size_t)snprintf(ql + len, sizeof(ql) - len, "%slast(%s)", s > 0 ? "," : "", bench_signals[s].name);
	snprintf(ql + len, sizeof(ql) - len, " FROM vitals GROUP BY bed");
	query("GET", ql, to_body, NULL);
	return decode(3, SIGNALS);
}

// Counts numbers without keeping the text: where each line's field begins, and whether anything is in it.
struct counting {
	struct answer answer;
	int field;
	bool any, heading, first;
};

static void
count_piece(void *arg, const char *at, size_t len)
{
	struct counting *count = arg;

	count->answer.bytes += len;
	for (size_t i = 0; i < len; i++) {
		if (at[i] != ',' && at[i] != '\n') {
			count->heading |= count->field == 0 && !count->any && at[i] == 'n';
			count->any = true;
			continue;
		}
		count->answer.count += count->any && !count->heading && count->field >= 3;
		count->any = false;
		count->field = at[i] == '\n' ? 0 : count->field + 1;
		count->heading &= at[i] != '\n';
	}
}

static struct answer
influx_export(void)
{
	struct counting count = { 0 };
	char ql[512];
	size_t len = (size_t)snprintf(ql, sizeof(ql), "SELECT ");

	for (int s = 0; s < SIGNALS; s++)
		len += (size_t)snprintf(ql + len, sizeof(ql) - len, "%s%s", s > 0 ? "," : "", bench_signals[s].name);
	snprintf(ql + len, sizeof(ql) - len, " FROM vitals GROUP BY bed");
	query("GET", ql, count_piece, &count);
	return count.answer;
}

static void
influx_close(void)
{
	char ql[64];

	if (bench_keep)
		return;
	snprintf(ql, sizeof(ql), "DROP DATABASE bench%u", databases);
	query("POST", ql, to_body, NULL);
}

const struct contender bench_influx = {
	.name = "influxdb", .open = influx_open, .encode = influx_encode, .put = influx_put, .settle = influx_settle, .bytes = influx_bytes, .cpu = influx_cpu, .day = influx_day,
	.latest = influx_latest, .hours = influx_hours, .export = influx_export, .close = influx_close,
};
