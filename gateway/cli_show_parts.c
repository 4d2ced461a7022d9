// SPDX-License-Identifier: Apache-2.0
// The parts in `status` for people: lines of words, one table. What no line names is in --json. Single-threaded.
//
// In a line {key} is a member as it is ({key.member}: a member's member), {key:noun} a number with its noun ("2 messages"), {key:bytes}, {key:date},
// {key:age} (of seconds), {key:ms} (of microseconds) and {key:rate} what people write, {key:if} and {key:unless} nothing at all; {prefix:codes} are the CoAP
// codes that members with this beginning count, {key:reasons} counts by error. What stands in [] is left out where its first member is nothing, 0 or no (with
// unless: where it is something); a line of which nothing is left is not shown.
#include "gateway/cli_show.h"

#include "gateway/error.h"
#include "gateway/text_out.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

static const struct line {
	const char *part, *words;
} lines[] = {
	{ "pki", "[certificate of its own until {certificate_until:date}, by {authority}, until {authority_until:date}][; {rotations:key} in rotation]" },

	{ "series", "{state}[: {error}]; {readings:reading} in {chunks:chunk}, {readings_in_memory} in memory[, the oldest filed {oldest:date}]" },
	{ "series", "{series} series of {devices:device}; {used_bytes:bytes} of {budget_bytes:bytes} used" },
	{ "series", "[behind by {behind_records:record}][, {chunks_damaged:chunk} DAMAGED (vitalgate verify)]" },

	{ "export", "{state}[: {error}][, {period:date} at {percent} %]; {files:file} since the start[, {files_again} of them again][, the last one {last_file}]" },
	{ "export", "{kept_files:file} kept, {kept_bytes:bytes}[; {periods_due} to be written][; {readings_too_late:reading} too late for any file]" },

	{ "bus", "{state} ({broker}); {acknowledged:message} acknowledged[, {unacknowledged} under way][, {refused} refused]" },
	{ "bus", "[behind by {lag_records:record}, the oldest {lag_s:age} old]" },
	{ "bus", "[{parked:message} PARKED: the broker does not take them (vitalgate outlet retry bus)][, {refused_left_out} LEFT OUT: no room to park them]" },
	{ "bus", "[last error: {last_error}]" },
	{ "syslog", "{state} ({collector}); {sent:event} sent" },
	{ "syslog", "[behind by {lag_records:record}, the oldest {lag_s:age} old]" },
	{ "syslog", "[last error: {last_error}]" },

	{ "hl7/*", "{state}[ since {connected_since:date}]; {host} port {port}[{tls:if} with TLS][{production:unless}, a test system]" },
	{ "hl7/*", "{acknowledged:message} acknowledged[, {errors:error} (AE)][, {rejects:reject} (AR)][, {unanswered:time} no answer][, {not_understood:time} an answer to "
	    "something else][; last answer {last_answer.code}[ \"{last_answer.text}\"] at {last_answer.at:date}]" },
	{ "hl7/*", "[{outbox:message} to be sent][; behind by {lag_records:record}, the oldest {lag_s:age} old][; backlog: {backlog_records:record} to go]" },
	{ "hl7/*", "[not sent: {left_out_reduced:reading} by the choice of each interval][, {left_out_test} of test devices]" },
	{ "hl7/*", "[not sent: {left_out_unknown:reading} of unknown signals][, {left_out_too_long} too long]" },
	{ "hl7/*", "[{parked:message} PARKED: the receiver does not take them (vitalgate hl7 list)]" },
	{ "hl7/*", "[{held:message} HELD: not sure for whom (vitalgate hl7 held)][, {held_unsure} of them for the device's clock]" },
	{ "hl7/*", "[{misfiled:message} went out for ANOTHER PATIENT (vitalgate hl7 misfiled)][, {corrections:correction} sent]" },
	{ "hl7/*", "[readings LEFT OUT at {last_gap:date}: beyond the limit of age or bytes (vitalgate trace)[; {gaps:gap} since the start]]" },
	{ "hl7/*", "[last error[ at {last_error_at:date}]: {last_error}]" },

	{ "hl7_in", "{connections:connection}[, {under_way:message} under way]; {remembered:message} remembered" },
	{ "hl7_in", "[{refused_strangers:stranger} refused][, {handshakes_failed:handshake} failed][, {connections_beyond_limit:connection} beyond the limit]" },
	{ "hl7_in", "[{credentials.in_use}; taken {credentials.since:date}][; {credentials.warning}]" },
	{ "hl7_in", "[NEWER FILES REFUSED at {credentials.refused_at:date}: {credentials.refused}]" },
	{ "hl7_in/peers/*", "{connections:connection}; {messages:message}: {taken} taken[, {again} repeated][, {unused} not used][, {answers} answers][, {refused} REFUSED][, "
	    "{told_later} told to come later][; last at {last_message:date}]" },
	{ "hl7_in/peers/*", "[{too_large:message} too large][, {bytes_outside_of_frames:byte} outside of frames][, {connections_beyond_limit_of_one:connection} beyond its limit]" },
	{ "hl7_in/peers/*", "[last refusal {last_refusal:date}: {last_refusal_why}]" },

	{ "mqtt", "{connections:connection}, {sessions:session} kept[, {handshakes_under_way:handshake} under way]; {connects_ok:connect} so far[, {wills:will}]" },
	{ "mqtt", "{taken:message} taken, {refused} refused[: {refused_by_reason:reasons}]; {payload_bytes:bytes}" },
	{ "mqtt", "[{credentials_refused:credential} refused][, {handshakes_failed:handshake} failed][, {handshakes_dropped} given up]" },
	{ "mqtt", "[{connections_beyond_limit:connection} beyond the limit][, {connections_beyond_limit_of_one} beyond that of one principal][, "
	    "{handshakes_beyond_limit_of_one:handshake} beyond that of one address]" },

	{ "mqtt", "[{credentials.in_use}; taken {credentials.since:date}][; {credentials.warning}]" },
	{ "mqtt", "[NEWER FILES REFUSED at {credentials.refused_at:date}: {credentials.refused}]" },

	{ "coap", "{sessions:session}[, {handshakes:handshake} under way]; {sessions_opened} opened so far[, {sessions_resumed} of them resumed]" },
	{ "coap", "{requests:request}[, {duplicates:duplicate}][, {under_way} under way][; answered {answers_:codes}][; {uploads:upload}[, {uploads_under_way} under way][, "
	    "{uploads_given_up} given up]]" },
	{ "coap", "[{credentials_refused:credential} refused][, {bad_packets:packet} not understood][, {answers_unsent:answer} not sent][, {crowded:request} beyond the limit of one]" },
	{ "coap", "[{sessions_beyond_limit_of_one:session} beyond the limit of one principal][, {handshakes_beyond_limit_of_one:handshake} beyond that of one address]" },
	{ "coap", "[{credentials.in_use}; taken {credentials.since:date}][; {credentials.warning}]" },
	{ "coap", "[NEWER FILES REFUSED at {credentials.refused_at:date}: {credentials.refused}]" },
};

// ---- One member ----

static void
put_age(struct gw_text_out *out, const char *seconds)
{
	static const struct { double s; const char *unit; } units[] = { { 86400, "days" }, { 3600, "h" }, { 60, "min" }, { 1, "s" } };
	double age = strtod(seconds, NULL);
	char text[40];
	size_t i = 0;

	while (i < 3 && age < 2 * units[i].s)
		i++;
	snprintf(text, sizeof(text), "%.*f %s", i == 3 ? 1 : 0, age / units[i].s, units[i].unit);
	gw_put_text(out, text);
}

static void
put_separated(struct gw_text_out *out, size_t start, const char *text)
{
	if (out->len > start)
		gw_put_text(out, ", ");
	gw_put_text(out, text);
}

// "2.04 (17), 4.00 (1)"
static void
put_codes(struct gw_text_out *out, yyjson_val *state, const char *prefix)
{
	size_t start = out->len, skip = strlen(prefix), i, max;
	yyjson_val *key, *value;
	char count[32], text[80];

	yyjson_obj_foreach(state, i, max, key, value) {
		const char *name = yyjson_get_str(key);

		if (strncmp(name, prefix, skip) != 0 || strlen(name) != skip + 3)
			continue;
		snprintf(text, sizeof(text), "%c.%s (%s)", name[skip], name + skip + 1, gw_show_text(state, name, count, sizeof(count)));
		put_separated(out, start, text);
	}
}

// "payload cannot be decoded (3)"
static void
put_reasons(struct gw_text_out *out, yyjson_val *counts)
{
	size_t start = out->len, i, max;
	yyjson_val *key, *value;
	char count[32], text[200];

	yyjson_obj_foreach(counts, i, max, key, value) {
		const char *name = yyjson_get_str(key), *words = name;

		for (unsigned error = 0; error < GW_ERROR_COUNT; error++)
			if (strcmp(gw_error_name((enum gw_error)error), name) == 0)
				words = gw_error_text((enum gw_error)error);
		snprintf(text, sizeof(text), "%.150s (%s)", words, gw_show_text(counts, name, count, sizeof(count)));
		put_separated(out, start, text);
	}
}

static void
put_bytes(struct gw_text_out *out, const char *count)
{
	char text[32];

	gw_put_text(out, gw_show_bytes(strtoull(count, NULL, 10), text));
}

static void
put_ms(struct gw_text_out *out, const char *us)
{
	char text[32];

	snprintf(text, sizeof(text), "%.1f ms", strtod(us, NULL) / 1000);
	gw_put_text(out, text);
}

static void
put_rate(struct gw_text_out *out, const char *per_s)
{
	char text[32];

	snprintf(text, sizeof(text), "%.1f/s", strtod(per_s, NULL));
	gw_put_text(out, text);
}

// To the second.
static void
put_date(struct gw_text_out *out, const char *time)
{
	gw_put_span(out, gw_span(time, strcspn(time, ".")));
	gw_put_text(out, strchr(time, '.') != NULL ? "Z" : "");
}

static void
put_nothing(struct gw_text_out *out, const char *text)
{
	(void)out;
	(void)text;
}

static void
put_counted(struct gw_text_out *out, const char *count, const char *noun)
{
	gw_put_text(out, count);
	if (noun[0] == '\0')
		return;
	gw_put_text(out, " ");
	gw_put_text(out, noun);
	gw_put_text(out, strcmp(count, "1") == 0 ? "" : "s");
}

// Whether the member is something.
static bool
put_member(struct gw_text_out *out, yyjson_val *state, const char *key, const char *format)
{
	static const struct { const char *name; void (*put)(struct gw_text_out *, const char *); } formats[] = {
		{ "if", put_nothing }, { "unless", put_nothing }, { "bytes", put_bytes }, { "date", put_date }, { "age", put_age }, { "ms", put_ms },
		{ "rate", put_rate },
	};
	char text[1024];
	size_t before = out->len, i = 0;
	bool some;

	if (strcmp(format, "codes") == 0 || strcmp(format, "reasons") == 0) {
		if (format[0] == 'c')
			put_codes(out, state, key);
		else
			put_reasons(out, yyjson_obj_get(state, key));
		return out->len > before;
	}
	gw_show_text(state, key, text, sizeof(text));
	some = text[strspn(text, "0.")] != '\0' && strcmp(text, "no") != 0;
	while (i < sizeof(formats) / sizeof(formats[0]) && strcmp(formats[i].name, format) != 0)
		i++;
	if (i < sizeof(formats) / sizeof(formats[0]))
		formats[i].put(out, text);
	else
		put_counted(out, text, format);
	return some != (strcmp(format, "unless") == 0);
}

// ---- One line ----

static const char *
put_placeholder(struct gw_text_out *out, const char *at, yyjson_val *state, bool *some)
{
	size_t len = strcspn(at, "}"), name = strcspn(at, ":}");
	char key[64], format[32] = "";

	snprintf(key, sizeof(key), "%.*s", (int)name, at);
	if (name < len)
		snprintf(format, sizeof(format), "%.*s", (int)(len - name - 1), at + name + 1);
	*some = put_member(out, state, key, format);
	return at + len + 1;
}

// Up to the end, or the bracket that closes what is optional; false: it is left out.
static bool
put_words(struct gw_text_out *out, const char **words, yyjson_val *state)
{
	const char *at = *words;
	bool first = true, keep = true, some;

	while (*at != '\0' && *at != ']') {
		size_t before = out->len;

		if (*at == '[') {
			at++;
			if (!put_words(out, &at, state))
				out->len = before;
			at++;
		} else if (*at == '{') {
			at = put_placeholder(out, at + 1, state, &some);
			keep = first ? some : keep;
			first = false;
		} else
			gw_put_span(out, gw_span(at++, 1));
	}
	*words = at;
	return keep;
}

bool
gw_show_words(FILE *out, const char *label, const char *words, yyjson_val *state)
{
	char text[2048];
	struct gw_text_out line = { text, sizeof(text) - 1, 0 };
	const char *from = text;

	(void)put_words(&line, &words, state);
	text[line.len < sizeof(text) ? line.len : sizeof(text) - 1] = '\0';
	from += strncmp(from, ", ", 2) == 0 || strncmp(from, "; ", 2) == 0 ? 2 : 0; // what stood before it was left out
	if (from[0] != '\0')
		fprintf(out, "%-10s %s\n", label, from);
	return from[0] != '\0';
}

// Whether there are words for such a part.
static bool
show_lines(FILE *out, const char *path, const char *label, yyjson_val *state)
{
	bool named = false;

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		if (fnmatch(lines[i].part, path, FNM_PATHNAME) != 0)
			continue;
		named = true;
		if (gw_show_words(out, label, lines[i].words, state))
			label = "";
	}
	return named;
}

// ---- Parts that have no words: members side by side, wrapped ----

static void
show_members(FILE *out, const char *label, yyjson_val *state)
{
	yyjson_val *key, *value;
	char text[512], item[640];
	size_t i, max, column = 0;

	yyjson_obj_foreach(state, i, max, key, value) {
		size_t len;

		if (yyjson_is_obj(value) || yyjson_is_arr(value))
			continue;
		len = (size_t)snprintf(item, sizeof(item), "%s %s", yyjson_get_str(key), gw_show_text(state, yyjson_get_str(key), text, sizeof(text)));
		if (column > 0 && column + len > 100) {
			fputs(",\n", out);
			column = 0;
			label = "";
		}
		if (column > 0)
			fprintf(out, ", %s", item);
		else
			fprintf(out, "%-10s %s", label, item);
		column += len + 2;
	}
	if (column > 0)
		fputc('\n', out);
}

// path: "hl7_in/peers/adt", told as "hl7_in/adt".
static void
show_part(FILE *out, const char *path, yyjson_val *state, bool in_words)
{
	yyjson_val *key, *value;
	const char *last = strrchr(path, '/');
	char name[160];
	size_t i, max;

	snprintf(name, sizeof(name), "%.*s%s", (int)strcspn(path, "/"), path, last != NULL ? last : "");
	if (show_lines(out, path, name, state))
		in_words = true;
	else if (!in_words)
		show_members(out, name, state);
	yyjson_obj_foreach(state, i, max, key, value) {
		if (!yyjson_is_obj(value))
			continue;
		snprintf(name, sizeof(name), "%.90s/%.64s", path, yyjson_get_str(key));
		show_part(out, name, value, in_words);
	}
}

void
gw_show_parts(FILE *out, yyjson_val *parts)
{
	yyjson_val *key, *value;
	size_t i, max;

	yyjson_obj_foreach(parts, i, max, key, value)
		if (yyjson_is_obj(value))
			show_part(out, yyjson_get_str(key), value, false);
}
