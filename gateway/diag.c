// SPDX-License-Identifier: Apache-2.0
// Diagnostics: formats one event into one buffer and gives it to write(2) once, so that lines of several threads never mix and nothing is
// left in a buffer when the process dies. Any thread. What a client sends never starts a line of its own: control characters are escaped.
#include "gateway/diag.h"

#include "gateway/clock.h"
#include "gateway/utf8.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define WORDS_MAX_BYTES 768
#define LINE_MAX_BYTES (WORDS_MAX_BYTES * 6 + 256)

static atomic_bool as_json;
static atomic_int least_level = GW_INFO;

static const char *const level_names[] = { "debug", "info", "notice", "warning", "error" };

void
gw_diag_open(bool json, enum gw_level least)
{
	atomic_store(&as_json, json);
	atomic_store(&least_level, (int)least);
}

enum gw_level
gw_level_of(const char *name)
{
	int level = GW_ERROR;

	while (level > GW_DEBUG && strcmp(level_names[level], name) != 0)
		level--;
	return (enum gw_level)level;
}

// A line under construction. WORDS_MAX_BYTES of words, each byte at most six, and what stands around them always fit.
struct line {
	char text[LINE_MAX_BYTES];
	size_t len;
};

static void
put(struct line *line, const char *text, size_t len)
{
	size_t room = sizeof(line->text) - 2 - line->len;

	if (len > room)
		len = room;
	memcpy(line->text + line->len, text, len);
	line->len += len;
}

static void
put_text(struct line *line, const char *text)
{
	put(line, text, strlen(text));
}

// Control characters as \u00XX; quotes and backslashes too where the line is JSON; bytes that are no UTF-8 as U+FFFD. What a cut left of a
// sequence goes the same way.
static void
put_escaped(struct line *line, const char *words, bool json)
{
	struct gw_span text = gw_span_text(words);
	char escape[12];

	for (size_t at = 0, from = 0; from < text.len; from = at) {
		int32_t point = gw_utf8_next(text, &at);

		if (point < 0)
			put_text(line, "\xEF\xBF\xBD");
		else if (point < 0x20 || point == 0x7f) {
			snprintf(escape, sizeof(escape), "\\u%04x", (unsigned)point);
			put_text(line, escape);
		} else {
			if (json && (point == '"' || point == '\\'))
				put_text(line, "\\");
			put(line, words + from, at - from);
		}
	}
}

static void
compose_text(struct line *line, const char *when, const char *level, const char *event, const char *words)
{
	put_text(line, when);
	put_text(line, " ");
	put_text(line, level);
	put_text(line, " ");
	put_text(line, event);
	put_text(line, ": ");
	put_escaped(line, words, false);
}

static void
compose_json(struct line *line, const char *when, const char *level, const char *event, const char *words)
{
	put_text(line, "{\"time\":\"");
	put_text(line, when);
	put_text(line, "\",\"level\":\"");
	put_text(line, level);
	put_text(line, "\",\"event\":\"");
	put_text(line, event);
	put_text(line, "\",\"text\":\"");
	put_escaped(line, words, true);
	put_text(line, "\"}");
}

static void
emit(enum gw_level level, const char *event, const char *words)
{
	struct line line;
	char when[40];
	ssize_t sent;

	line.len = 0;
	gw_time_format(gw_clock_wall_us(), when);
	if (atomic_load(&as_json))
		compose_json(&line, when, level_names[level], event, words);
	else
		compose_text(&line, when, level_names[level], event, words);
	line.text[line.len++] = '\n';
	sent = write(STDERR_FILENO, line.text, line.len);
	(void)sent; // there is nowhere left to say it
}

static bool
wanted(enum gw_level level)
{
	return (int)level >= atomic_load_explicit(&least_level, memory_order_relaxed);
}

void
gw_diag(enum gw_level level, const char *event, const char *format, ...)
{
	char words[WORDS_MAX_BYTES];
	va_list args;

	if (!wanted(level))
		return;
	va_start(args, format);
	vsnprintf(words, sizeof(words), format, args);
	va_end(args);
	emit(level, event, words);
}

// True for whoever may speak now; the others are counted.
static bool
limit_pass(struct gw_diag_limit *limit, int seconds)
{
	long long now = gw_clock_mono_us(), last = atomic_load(&limit->last_us);

	if (last != 0 && now - last < seconds * 1000000LL) {
		atomic_fetch_add(&limit->left_out, 1);
		return false;
	}
	if (atomic_compare_exchange_strong(&limit->last_us, &last, now))
		return true;
	atomic_fetch_add(&limit->left_out, 1);
	return false;
}

void
gw_diag_limited(struct gw_diag_limit *limit, int seconds, enum gw_level level, const char *event, const char *format, ...)
{
	char words[WORDS_MAX_BYTES];
	unsigned left_out;
	va_list args;
	size_t len;

	if (!wanted(level) || !limit_pass(limit, seconds))
		return;
	va_start(args, format);
	vsnprintf(words, sizeof(words) - 32, format, args);
	va_end(args);
	left_out = atomic_exchange(&limit->left_out, 0);
	len = strlen(words);
	if (left_out > 0)
		snprintf(words + len, sizeof(words) - len, " (and %u more like it)", left_out);
	emit(level, event, words);
}
