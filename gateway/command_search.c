// SPDX-License-Identifier: Apache-2.0
// The search behind `readings` and `trace`: what the journal holds of a device, one reading after the other, as it is found: nothing is gathered in
// memory. Threads: as command.h says.
#include "gateway/command_search.h"

#include "gateway/nearest.h"

static bool
is_wanted(const struct gw_search *search, const struct gw_reading *reading)
{
	char id[GW_READING_ID_MAX];
	size_t len;

	if (search->id.len == 0)
		return true;
	len = gw_reading_id(gw_journal_incarnation(search->call->core->journal), search->device, reading, id);
	if (len > search->id.len && id[search->id.len] == '.')
		len = search->id.len;
	return gw_span_equal(search->id, gw_span(id, len));
}

// gw_journal_fn: a record that holds readings of time_us.
static bool
take_record(void *arg, int64_t time_us, const struct gw_record *record)
{
	struct gw_search *search = arg;
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
		if (gw_reading_is_erased(&reading) || reading.time_us != time_us || (search->signal != NULL && reading.signal != search->signal->code) || !is_wanted(search, &reading))
			continue;
		if (search->found == search->limit || !search->fn(search->arg, record, &batch, &reading, (uint16_t)(batch.done - 1)))
			return false;
		search->found++;
	}
	search->damaged |= batch.bad;
	return true;
}

static enum gw_error
find_signal(struct gw_search *search, const char *name)
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
gw_search_init(struct gw_search *search, struct gw_call *call, int64_t from_us, int64_t limit)
{
	const char *device = gw_call_text(call, "device");
	enum gw_error error;

	*search = (struct gw_search){ .call = call };
	if (device == NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "--device says whose readings");
	search->device = gw_span_text(device);
	if (gw_call_text(call, "id") != NULL)
		search->id = gw_span_text(gw_call_text(call, "id"));
	if ((error = find_signal(search, gw_call_text(call, "signal"))) != GW_OK ||
	    (error = gw_call_time(call, "from", from_us, &search->from_us)) != GW_OK ||
	    (error = gw_call_time(call, "to", INT64_MAX, &search->to_us)) != GW_OK ||
	    (error = gw_call_number(call, "limit", 1, INT64_MAX, limit, &search->limit)) != GW_OK)
		return error;
	if (search->from_us >= search->to_us)
		return gw_fail(call->why, GW_E_ARGUMENT, "--from is not before --to");
	return GW_OK;
}

enum gw_error
gw_search_run(struct gw_search *search, gw_search_fn *fn, void *arg)
{
	struct gw_call *call = search->call;
	enum gw_error error;

	search->fn = fn;
	search->arg = arg;
	error = gw_journal_range(call->core->journal, search->device, search->from_us, search->to_us, take_record, search);
	if (error != GW_OK)
		return gw_fail(call->why, error, "the journal cannot be read: %s", gw_error_text(error));
	if (search->damaged)
		return gw_fail(call->why, GW_E_CORRUPT, "some records are damaged and were left out; the others are above");
	return search->found == 0 ? explain_nothing(call, gw_call_text(call, "device")) : GW_OK;
}
