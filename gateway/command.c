// SPDX-License-Identifier: Apache-2.0
// Finds a command's handler; what handlers have in common. Threads: the socket's, one per command, or the command line's.
#include "gateway/command_handlers.h"

#include "gateway/clock.h"
#include "gateway/command_audit.h"
#include "gateway/utf8.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	gw_command_fn *run;
} handlers[] = {
#define LOCAL(name, arguments, help, run)
#define COMMAND(name, arguments, help, handler, show) { name, handler },
#include "gateway/commands.def"
#undef LOCAL
#undef COMMAND
};

enum gw_error
gw_command_do(struct gw_call *call)
{
	const char *name = yyjson_get_str(yyjson_obj_get(call->arguments, "command"));
	enum gw_error error;

	if (name == NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "a request is one line of JSON: {\"command\": \"status\"}");
	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
		if (strcmp(handlers[i].name, name) != 0)
			continue;
		error = gw_audit_reading(call, name);
		return error == GW_OK ? handlers[i].run(call) : error;
	}
	return gw_fail(call->why, GW_E_NOT_FOUND, "there is no command \"%.60s\"", name);
}

// ---- Arguments ----

const char *
gw_call_text(const struct gw_call *call, const char *name)
{
	return yyjson_get_str(yyjson_obj_get(call->arguments, name));
}

bool
gw_call_flag(const struct gw_call *call, const char *name)
{
	yyjson_val *value = yyjson_obj_get(call->arguments, name);

	return yyjson_is_true(value) || yyjson_is_str(value);
}

enum gw_error
gw_call_number(const struct gw_call *call, const char *name, int64_t low, int64_t high, int64_t fallback, int64_t *out)
{
	const char *text = gw_call_text(call, name);
	char *end;

	*out = fallback;
	if (text == NULL)
		return GW_OK;
	errno = 0;
	*out = strtoll(text, &end, 10);
	if (end == text || *end != '\0' || errno != 0 || *out < low || *out > high)
		return gw_fail(call->why, GW_E_ARGUMENT, "--%s is a whole number from %lld to %lld, not \"%.40s\"", name, (long long)low,
		    (long long)high, text);
	return GW_OK;
}

enum gw_error
gw_call_time(const struct gw_call *call, const char *name, int64_t fallback, int64_t *out)
{
	const char *text = gw_call_text(call, name);

	*out = fallback;
	if (text == NULL || gw_time_parse(text, out) == 0)
		return GW_OK;
	return gw_fail(call->why, GW_E_ARGUMENT, "--%s is a time such as 2026-11-20T08:15:00Z, 2026-11-20, now or -15m, not \"%.40s\"", name, text);
}

bool
gw_call_ending(const struct gw_call *call)
{
	return call->stopping != NULL && atomic_load_explicit(call->stopping, memory_order_relaxed);
}

// ---- Output ----

yyjson_mut_doc *
gw_call_object(yyjson_mut_val **object)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);

	if (doc == NULL)
		return NULL;
	*object = yyjson_mut_obj(doc);
	yyjson_mut_doc_set_root(doc, *object);
	return doc;
}

bool
gw_call_emit(struct gw_call *call, yyjson_mut_doc *doc)
{
	bool wanted = false;
	size_t len;
	char *text;

	text = yyjson_mut_write(doc, YYJSON_WRITE_ALLOW_INVALID_UNICODE, &len);
	if (text != NULL)
		wanted = call->line(call->arg, text, len);
	if (text != NULL)
		explicit_bzero(text, len); // new credentials, maybe
	free(text);
	yyjson_mut_doc_free(doc);
	return wanted && !gw_call_ending(call);
}

void
gw_json_time(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, int64_t us)
{
	char text[40];

	yyjson_mut_obj_add_strcpy(doc, object, key, gw_time_format(us, text));
}

// Whether a code point is one that text has: no control character but the usual three.
static bool
is_text(int32_t point)
{
	return point >= 0x20 ? point != 0x7f : point == '\n' || point == '\r' || point == '\t';
}

bool
gw_span_is_text(struct gw_span bytes)
{
	for (size_t at = 0; at < bytes.len;) {
		if (!is_text(gw_utf8_next(bytes, &at)))
			return false;
	}
	return true;
}

void
gw_json_span(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *key, struct gw_span text)
{
	char *escaped, *to;

	if (gw_span_is_text(text)) {
		yyjson_mut_obj_add_strncpy(doc, object, key, text.at != NULL ? (const char *)text.at : "", text.len);
		return;
	}
	escaped = malloc(text.len * 4 + 1);
	if (escaped == NULL)
		return;
	to = escaped;
	for (size_t at = 0, from = 0; from < text.len; from = at) {
		if (is_text(gw_utf8_next(text, &at))) {
			memcpy(to, text.at + from, at - from);
			to += at - from;
			continue;
		}
		for (; from < at; from++)
			to += sprintf(to, "\\x%02x", text.at[from]);
	}
	yyjson_mut_obj_add_strncpy(doc, object, key, escaped, (size_t)(to - escaped));
	free(escaped);
}

enum gw_error
gw_call_record(const struct gw_call *call, struct gw_ticket *ticket, struct gw_span device, const char *format, ...)
{
	struct gw_event event = { .received_us = gw_clock_wall_us(), .door = GW_DOOR_COMMAND, .device = device };
	char text[160];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	event.text = gw_span_text(text);
	event.principal = gw_span_text(call->who);
	if (event.principal.len > GW_ID_MAX)
		event.principal.len = GW_ID_MAX;
	return gw_ticket_event(ticket, GW_RECORD_COMMAND, &event);
}

enum gw_error
gw_call_note(struct gw_call *call, const char *words)
{
	struct gw_source source;
	struct gw_ticket *ticket;
	enum gw_error error;

	if ((error = gw_source_init(&source, call->core->intake, 1)) != GW_OK)
		return gw_fail(call->why, error, "%s", gw_error_text(error));
	ticket = gw_ticket_get(&source);
	error = ticket != NULL ? gw_call_record(call, ticket, gw_span("", 0), "%s", words) : GW_E_MEMORY;
	if (error == GW_OK) {
		ticket->essential = true;
		error = gw_intake_commit(ticket);
	}
	if (ticket != NULL)
		gw_ticket_release(ticket);
	gw_source_fini(&source);
	return error == GW_OK ? GW_OK : gw_fail(call->why, error, "it is done, but \"%s\" could not be recorded: %s", words, gw_error_text(error));
}
