// SPDX-License-Identifier: Apache-2.0
// `readings`: what the journal holds of a device, in order of device time, one line per reading, as it is found: nothing is gathered in memory.
// A line is the document of the bus (schemas/bus-reading.schema.json), so that both speak the same words, with what only the store knows behind it:
// who sent it, by which door, and its place in the journal. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/nearest.h"
#include "gateway/text_out.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DOCUMENT_BYTES (256u * 1024) // more than the bounds of a record's texts need; a block of samples is cut to its head beyond

struct search {
	struct gw_call *call;
	struct gw_span device;
	const struct gw_signal *signal; // NULL: all
	bool senml;
	int64_t limit, found;
	bool damaged;
	char *buf;
	size_t cap;
};

static bool
grow(struct search *search, size_t need)
{
	char *more;

	if (need <= search->cap)
		return true;
	more = realloc(search->buf, need);
	if (more == NULL)
		return false;
	search->buf = more;
	search->cap = need;
	return true;
}

static size_t
encode(const struct search *search, uint64_t position, const struct gw_batch *batch, const struct gw_reading *reading)
{
	uint64_t incarnation = gw_journal_incarnation(search->call->core->journal);
	struct gw_text_out out = { search->buf, search->cap, 0 };

	if (search->senml)
		return gw_senml_encode(batch->head.device, reading, 1, search->buf, search->cap);
	out.len = gw_bus_encode(incarnation, &batch->head, reading, search->buf, search->cap) - 1; // the closing brace comes later
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

static bool
put_reading(struct search *search, uint64_t position, const struct gw_batch *batch, const struct gw_reading *reading)
{
	size_t len;

	for (;;) {
		len = encode(search, position, batch, reading);
		if (len <= search->cap)
			break;
		if (!grow(search, len))
			return false;
	}
	return search->call->line(search->call->arg, search->buf, len) && !gw_call_ending(search->call);
}

// gw_journal_fn: a record that holds readings of time_us.
static bool
take_record(void *arg, int64_t time_us, const struct gw_record *record)
{
	struct search *search = arg;
	struct gw_reading reading;
	struct gw_batch batch;

	if (gw_call_ending(search->call))
		return false;
	if (gw_batch_open(record, &batch, NULL) != GW_OK) {
		search->damaged = true;
		return true;
	}
	if (!gw_span_equal(batch.head.device, search->device))
		return true;
	while (gw_batch_next(&batch, &reading)) {
		if (reading.time_us != time_us || (search->signal != NULL && reading.signal != search->signal->code))
			continue;
		if (search->found == search->limit || !put_reading(search, record->position, &batch, &reading))
			return false;
		search->found++;
	}
	search->damaged |= batch.bad;
	return true;
}

static enum gw_error
find_signal(struct search *search, const char *name)
{
	const struct gw_signal *signal;
	struct gw_nearest nearest;
	char hint[160];

	if (name == NULL)
		return GW_OK;
	search->signal = gw_signal_by_name(gw_span_text(name));
	if (search->signal != NULL)
		return GW_OK;
	gw_nearest_init(&nearest, gw_span_text(name));
	for (size_t i = 0; (signal = gw_signal_at(i)) != NULL; i++)
		gw_nearest_try(&nearest, signal->name);
	return gw_fail(search->call->why, GW_E_NOT_FOUND, "there is no signal \"%.60s\"%s", name, gw_nearest_words(&nearest, hint));
}

// Nothing was found: whether there is such a device at all. One that was removed may still have readings.
static enum gw_error
explain_nothing(const struct gw_call *call, const char *id)
{
	const struct gw_snapshot *snapshot = gw_snapshot_get(call->core->registry);
	const struct gw_device *device;
	enum gw_error error = GW_OK;
	struct gw_nearest nearest;
	char hint[160];

	if (gw_snapshot_device(snapshot, gw_span_text(id)) == NULL) {
		gw_nearest_init(&nearest, gw_span_text(id));
		for (size_t i = 0; (device = gw_snapshot_at(snapshot, i)) != NULL; i++)
			gw_nearest_try(&nearest, device->id);
		error = gw_fail(call->why, GW_E_NOT_FOUND, "device \"%.64s\" is not in the registry and has no readings%s", id,
		    gw_nearest_words(&nearest, hint));
	}
	gw_snapshot_put(snapshot);
	return error;
}

enum gw_error
gw_command_readings(struct gw_call *call)
{
	const char *device = gw_call_text(call, "device"), *format = gw_call_text(call, "format");
	struct search search = { .call = call, .senml = format != NULL && strcmp(format, "senml") == 0 };
	enum gw_error error;
	int64_t from, to;

	if (device == NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "--device says whose readings");
	search.device = gw_span_text(device);
	if ((error = find_signal(&search, gw_call_text(call, "signal"))) != GW_OK ||
	    (error = gw_call_time(call, "from", INT64_MIN, &from)) != GW_OK || (error = gw_call_time(call, "to", INT64_MAX, &to)) != GW_OK ||
	    (error = gw_call_number(call, "limit", 1, INT64_MAX, INT64_MAX, &search.limit)) != GW_OK)
		return error;
	if (from >= to)
		return gw_fail(call->why, GW_E_ARGUMENT, "--from is not before --to");
	if (!grow(&search, DOCUMENT_BYTES))
		return gw_fail(call->why, GW_E_MEMORY, "out of memory");
	error = gw_journal_range(call->core->journal, search.device, from, to, take_record, &search);
	free(search.buf);
	if (error != GW_OK)
		return gw_fail(call->why, error, "the journal cannot be read: %s", gw_error_text(error));
	if (search.damaged)
		return gw_fail(call->why, GW_E_CORRUPT, "some records are damaged and were left out; the others are above");
	return search.found == 0 ? explain_nothing(call, device) : GW_OK;
}
