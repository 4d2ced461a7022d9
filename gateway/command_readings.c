// SPDX-License-Identifier: Apache-2.0
// `readings`: what the journal holds of a device, in order of device time, one line per reading, as it is found: nothing is gathered in memory.
// A line is the document of the bus (schemas/bus-reading.schema.json), so that both speak the same words, with what only the store knows behind it:
// who sent it, by which door, and its place in the journal. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/command_search.h"
#include "gateway/text_out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOCUMENT_BYTES (256u * 1024) // more than the bounds of a record's texts need; a block of samples is cut to its head beyond

struct print {
	struct gw_call *call;
	bool senml;
	char *buf;
	size_t cap;
};

static bool
grow(struct print *print, size_t need)
{
	char *more;

	if (need <= print->cap)
		return true;
	more = realloc(print->buf, need);
	if (more == NULL)
		return false;
	print->buf = more;
	print->cap = need;
	return true;
}

static size_t
encode(const struct print *print, uint64_t position, const struct gw_batch *batch, const struct gw_reading *reading)
{
	uint64_t incarnation = gw_journal_incarnation(print->call->core->journal);
	struct gw_text_out out = { print->buf, print->cap, 0 };

	if (print->senml)
		return gw_senml_encode(batch->head.device, reading, 1, print->buf, print->cap);
	out.len = gw_bus_encode(incarnation, &batch->head, reading, print->buf, print->cap) - 1; // the closing brace comes later
	gw_put_text(&out, ",\"principal\":");
	gw_put_json(&out, batch->head.principal);
	gw_put_text(&out, ",\"door\":");
	gw_put_json(&out, gw_span_text(gw_door_name(batch->head.door)));
	gw_put_text(&out, ",\"auth\":");
	gw_put_json(&out, gw_span_text(gw_auth_name(batch->head.auth)));
	gw_put_text(&out, ",\"profile\":");
	gw_put_json(&out, batch->head.profile);
	gw_put_text(&out, ",\"position\":");
	gw_put_number(&out, (int64_t)position);
	gw_put_text(&out, "}");
	return out.len;
}

// gw_search_fn
static bool
put_reading(void *arg, const struct gw_record *record, const struct gw_batch *batch, const struct gw_reading *reading, uint16_t place)
{
	struct print *print = arg;
	size_t len;

	(void)place;
	for (;;) {
		len = encode(print, record->position, batch, reading);
		if (len <= print->cap)
			break;
		if (!grow(print, len))
			return false;
	}
	return print->call->line(print->call->arg, print->buf, len) && !gw_call_ending(print->call);
}

enum gw_error
gw_command_readings(struct gw_call *call)
{
	const char *format = gw_call_text(call, "format");
	struct print print = { .call = call, .senml = format != NULL && strcmp(format, "senml") == 0 };
	struct gw_search search;
	enum gw_error error;

	if ((error = gw_search_init(&search, call, INT64_MIN, INT64_MAX)) != GW_OK)
		return error;
	if (!grow(&print, DOCUMENT_BYTES))
		return gw_fail(call->why, GW_E_MEMORY, "out of memory");
	error = gw_search_run(&search, put_reading, &print);
	free(print.buf);
	return error;
}
