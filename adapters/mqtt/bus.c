// SPDX-License-Identifier: Apache-2.0
// The bus outlet: one thread follows the journal and publishes each reading, QoS 1, at most bus.in_flight_max of them unacknowledged. The cursor
// moves when every message of a record and of all records before it is acknowledged. What a broker refuses for itself (PUBACK with 0x80 or more) is
// parked and passed; a broker that is away is waited for.
#include "adapters/mqtt/bus.h"

#include "gateway/clock.h"
#include "gateway/diag.h"
#include "gateway/erase.h"
#include "gateway/ledger.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>

#define BACKOFF_MS_MIN 500
#define BACKOFF_MS_MAX 30000
#define SETTLED 16
#define LIMIT_US 5000000

struct bus {
	struct gw_core *core;
	const struct gw_config *config;
	struct gw_bus_link *link;
	struct gw_follow *follow;
	struct gw_bus_park park;
	struct gw_source source; // parking, rewinding
	struct gw_bus_message message; // about to be published
	struct gw_bus_message refused; // made again, to be parked
	pthread_t thread;
	bool running;
	uint64_t done;           // the outlet's thread's own: cursor or further
	int backoff_ms;
	int64_t limit_us;        // when the limits of the backlog were looked at
	_Atomic bool stopping, connected;
	uint64_t retry_next;     // parked messages that are being tried again: after this number...
	_Atomic uint64_t retry_until; // ...up to this one; 0: none
	struct gw_diag_limit park_failed, encode_failed;

	pthread_mutex_t lock; // guards rewind
	pthread_cond_t rewound;
	struct { bool wanted; uint64_t position; enum gw_error result; } rewind;
};

// ---- What is answered ----

// A refused message must be parked before the cursor may pass it.
static enum gw_error
settle_one(struct bus *bus, const struct gw_bus_settled *settled)
{
	enum gw_error error;

	if (settled->ref.position == 0) {
		if (settled->reason < 0x80 && (error = gw_bus_park_remove(&bus->park, &bus->source, settled->ref.parked)) != GW_OK)
			gw_diag(GW_WARNING, "bus.parked", "number=%llu: %s", (unsigned long long)settled->ref.parked, gw_error_text(error));
		return GW_OK;
	}
	error = gw_bus_message_again(&bus->refused, bus->config, bus->core->journal, &settled->ref);
	if (error == GW_E_NOT_FOUND)
		return GW_OK; // it was erased meanwhile
	if (error == GW_OK)
		error = gw_bus_park_add(&bus->park, &bus->source, &bus->refused, &settled->ref, settled->reason);
	if (error != GW_OK)
		gw_diag_limited(&bus->park_failed, 10, GW_ERROR, "bus.park", "position=%llu: %s", (unsigned long long)settled->ref.position, gw_error_text(error));
	else
		gw_diag_limited(&bus->park_failed, 10, GW_WARNING, "bus.refused", "topic=%s reason=0x%02x: parked", bus->refused.topic, settled->reason);
	return error;
}

static void
settle(struct bus *bus)
{
	struct gw_bus_settled settled[SETTLED];
	uint64_t position = bus->done;
	size_t count;

	do {
		count = gw_bus_link_settle(bus->link, &position, settled, SETTLED);
		for (size_t i = 0; i < count; i++)
			if (settle_one(bus, &settled[i]) != GW_OK) {
				gw_bus_link_close(bus->link, false); // from the cursor again
				return;
			}
	} while (count == SETTLED);
	if (position > bus->done) {
		gw_follow_done(bus->follow, bus->done = position);
		bus->backoff_ms = BACKOFF_MS_MIN; // not for a connection alone: a broker may drop it at the same message each time
	}
}

// Waits for a place in the window. False: the connection ended, or we stop.
static bool
make_room(struct bus *bus)
{
	while (gw_bus_link_room(bus->link) == 0) {
		settle(bus);
		if (gw_bus_link_room(bus->link) > 0)
			break;
		if (bus->stopping || !gw_bus_link_up(bus->link))
			return false;
		gw_bus_link_wait(bus->link, 1000);
		gw_follow_tend(bus->follow);
	}
	return true;
}

// ---- What is published ----

// False: the connection ended.
static bool
publish(struct bus *bus, const struct gw_bus_ref *ref)
{
	if (bus->message.len > GW_BUS_DOCUMENT_MAX) // a broker would end the connection, each time again
		return gw_bus_park_leave_out(&bus->park, &bus->source, ref, "too large for the bus") == GW_OK;
	return make_room(bus) &&
	    gw_bus_link_publish(bus->link, bus->message.topic, gw_span(bus->message.document, bus->message.len), ref) == GW_OK;
}

static void
not_encoded(struct bus *bus, const struct gw_record *record, enum gw_error error)
{
	if (error != GW_E_NOT_FOUND)
		gw_diag_limited(&bus->encode_failed, 10, GW_ERROR, "bus.encode", "position=%llu: %s", (unsigned long long)record->position, gw_error_text(error));
}

static bool
publish_readings(struct bus *bus, const struct gw_record *record)
{
	uint64_t incarnation = gw_journal_incarnation(bus->core->journal);
	struct gw_bus_ref ref = { .position = record->position };
	struct gw_batch batch;
	struct gw_reading reading;
	enum gw_error error;

	if ((error = gw_batch_open(record, &batch, NULL)) != GW_OK) {
		not_encoded(bus, record, error);
		return true;
	}
	for (; gw_batch_next(&batch, &reading); ref.index++) {
		error = gw_bus_message_reading(&bus->message, bus->config->bus_prefix, incarnation, &batch.head, &reading);
		if (error != GW_OK)
			not_encoded(bus, record, error);
		else if (!publish(bus, &ref))
			return false;
	}
	if (batch.bad)
		not_encoded(bus, record, GW_E_CORRUPT);
	return true;
}

static bool
publish_event(struct bus *bus, const struct gw_record *record)
{
	struct gw_event event;
	enum gw_error error;

	if ((error = gw_event_open(record, &event, NULL)) == GW_OK)
		error = gw_bus_message_event(&bus->message, bus->config, gw_journal_incarnation(bus->core->journal), &event);
	if (error == GW_OK)
		return publish(bus, &(struct gw_bus_ref){ .position = record->position, .index = GW_BUS_EVENT });
	not_encoded(bus, record, error);
	return true;
}

// False: the connection ended before all of it was published. Types that are not known are passed.
static bool
take(struct bus *bus, const struct gw_record *record)
{
	if (record->type == GW_RECORD_READINGS && !publish_readings(bus, record))
		return false;
	if (record->type == GW_RECORD_DEVICE_EVENT && !publish_event(bus, record))
		return false;
	if (!gw_bus_link_covers(bus->link, record->position))
		gw_follow_done(bus->follow, bus->done = record->position);
	return true;
}

// Parked messages again, one window after the other, beside what the journal gives.
static void
retry_parked(struct bus *bus)
{
	uint64_t until = bus->retry_until, number;
	enum gw_error error;

	while (until != 0 && gw_bus_link_room(bus->link) > 0) {
		error = gw_bus_park_next(&bus->park, bus->retry_next, &number, &bus->message);
		if ((error != GW_OK && error != GW_E_CORRUPT) || number > until) {
			bus->retry_until = bus->retry_next = 0;
			return;
		}
		bus->retry_next = number;
		if (error == GW_OK && !publish(bus, &(struct gw_bus_ref){ .parked = number }))
			return;
	}
}

// ---- Rewinding ----

// Only ever backwards: what is not acknowledged yet lies after bus->done, and is left out by nobody's choice of a time.
static enum gw_error
rewind_to(struct bus *bus, uint64_t position)
{
	struct gw_ticket *ticket;
	int64_t until = gw_clock_mono_us() + 2000000;
	enum gw_error error;

	while (gw_bus_link_up(bus->link) && gw_bus_link_pending(bus->link) > 0 && gw_clock_mono_us() < until) {
		gw_bus_link_wait(bus->link, 100);
		settle(bus);
	}
	if (gw_bus_link_pending(bus->link) > 0)
		gw_bus_link_close(bus->link, false); // what is under way must not move the cursor later
	if (position > bus->done)
		position = bus->done;
	if ((ticket = gw_ticket_get(&bus->source)) == NULL)
		return GW_E_BUSY;
	ticket->essential = true;
	if ((error = gw_follow_move(bus->follow, ticket, position)) == GW_OK) {
		error = gw_intake_commit(ticket);
		bus->done = position;
		gw_follow_seek(bus->follow, position);
	}
	gw_ticket_release(ticket);
	return error;
}

static void
rewind_if_wanted(struct bus *bus)
{
	uint64_t position;
	enum gw_error error;

	pthread_mutex_lock(&bus->lock);
	position = bus->rewind.position;
	if (!bus->rewind.wanted) {
		pthread_mutex_unlock(&bus->lock);
		return;
	}
	pthread_mutex_unlock(&bus->lock);
	error = rewind_to(bus, position);
	gw_diag(error == GW_OK ? GW_NOTICE : GW_ERROR, "bus.rewind", "position=%llu: %s", (unsigned long long)position, gw_error_text(error));
	pthread_mutex_lock(&bus->lock);
	bus->rewind.wanted = false;
	bus->rewind.result = error;
	pthread_cond_broadcast(&bus->rewound);
	pthread_mutex_unlock(&bus->lock);
}

// ---- The thread ----

// Twice as long each time, plus or minus a quarter, so that many gateways do not come at once.
static int
next_backoff_ms(struct bus *bus)
{
	uint32_t random = 0;
	int ms = bus->backoff_ms;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		random = (uint32_t)gw_clock_mono_us();
	bus->backoff_ms = ms * 2 < BACKOFF_MS_MAX ? ms * 2 : BACKOFF_MS_MAX;
	return ms - ms / 4 + (int)(random % (uint32_t)(ms / 2 + 1));
}

static void
wait_for_broker(struct bus *bus)
{
	int64_t until = gw_clock_mono_us() + next_backoff_ms(bus) * 1000LL, left;

	while (!bus->stopping && (left = until - gw_clock_mono_us()) > 0) {
		gw_bus_link_wait(bus->link, left < 1000000 ? (int)(left / 1000) + 1 : 1000);
		rewind_if_wanted(bus);
		gw_follow_tend(bus->follow);
	}
}

static bool
connect_broker(struct bus *bus)
{
	struct gw_why why;
	uint64_t left_out;

	gw_follow_seek(bus->follow, bus->done);
	if ((left_out = gw_follow_limit(bus->follow)) != 0)
		gw_follow_done(bus->follow, bus->done = left_out);
	bus->connected = false;
	if (gw_bus_link_connect(bus->link, &why) != GW_OK) {
		gw_diag(bus->backoff_ms == BACKOFF_MS_MIN ? GW_WARNING : GW_DEBUG, "bus.away", "broker=%s: %s", bus->config->bus_uri, why.text);
		wait_for_broker(bus);
		return false;
	}
	gw_diag(GW_NOTICE, "bus.connected", "broker=%s from=%llu", bus->config->bus_uri, (unsigned long long)bus->done + 1);
	bus->connected = true;
	return true;
}

// A broker may be there and take less than comes in: the limits are the same as for one that is away. Between records only.
static void
limit_backlog(struct bus *bus)
{
	int64_t now = gw_clock_mono_us();
	uint64_t left_out;

	if (now - bus->limit_us < LIMIT_US)
		return;
	bus->limit_us = now;
	left_out = gw_follow_limit(bus->follow);
	if (left_out != 0 && !gw_bus_link_covers(bus->link, left_out))
		gw_follow_done(bus->follow, bus->done = left_out);
}

static void
ended(struct bus *bus)
{
	struct gw_bus_link_stats stats;

	settle(bus); // what was answered before it ended
	gw_bus_link_stats(bus->link, &stats);
	gw_diag(GW_WARNING, "bus.lost", "broker=%s: %s", bus->config->bus_uri, stats.last_error);
	gw_bus_link_close(bus->link, false);
	bus->connected = false;
	wait_for_broker(bus);
}

static void
drain(struct bus *bus)
{
	int64_t until = gw_clock_mono_us() + 2000000;

	while (gw_bus_link_up(bus->link) && gw_bus_link_pending(bus->link) > 0 && gw_clock_mono_us() < until) {
		gw_bus_link_wait(bus->link, 100);
		settle(bus);
	}
	gw_bus_link_close(bus->link, true);
}

static void
tend_park(struct bus *bus, bool now)
{
	enum gw_error error = gw_bus_park_tend(&bus->park, &bus->source, now);

	if (error != GW_OK)
		gw_diag_limited(&bus->park_failed, 10, GW_ERROR, "bus.park", "what was left out could not be recorded: %s", gw_error_text(error));
}

static void *
run(void *arg)
{
	struct bus *bus = arg;
	struct gw_record record;
	bool pending;

	pthread_setname_np(pthread_self(), "bus");
	while (!bus->stopping) {
		rewind_if_wanted(bus);
		if (!gw_bus_link_up(bus->link) && !connect_broker(bus))
			continue;
		settle(bus);
		retry_parked(bus);
		limit_backlog(bus);
		tend_park(bus, false);
		pending = gw_bus_link_pending(bus->link) > 0;
		if (gw_follow_next(bus->follow, pending ? 20 : 500, &record)) {
			if (!take(bus, &record) && gw_bus_link_up(bus->link) && !bus->stopping) {
				settle(bus); // the rest of the record must come before what follows it
				gw_bus_link_close(bus->link, false);
			}
		} else if (pending)
			gw_bus_link_nudge(bus->link);
		if (!gw_bus_link_up(bus->link))
			ended(bus);
	}
	drain(bus);
	tend_park(bus, true);
	return NULL;
}

// ---- The part ----

static bool
bus_enabled(const struct gw_config *config)
{
	return config->bus_enabled;
}

static void
bus_free(struct bus *bus)
{
	gw_bus_link_free(bus->link);
	gw_follow_close(bus->follow);
	gw_bus_message_fini(&bus->message);
	gw_bus_message_fini(&bus->refused);
	pthread_cond_destroy(&bus->rewound);
	pthread_mutex_destroy(&bus->lock);
	free(bus);
}

static enum gw_error
open_follow(struct bus *bus, struct gw_why *why)
{
	const struct gw_config *config = bus->config;
	const struct gw_follow_options options = {
		.journal = bus->core->journal,
		.intake = bus->core->intake,
		.name = "bus",
		.backlog_us_max = config->bus_backlog_h_max * 3600 * 1000000,
		.passed_keep_us = gw_ledger_keep_us(config),
		.backlog_bytes_max = (uint64_t)config->store_budget_mb * (1 << 20) / 100 * (uint64_t)config->bus_backlog_percent_max,
	};

	return gw_follow_open(&options, &bus->follow, why);
}

static enum gw_error
bus_start(struct gw_core *core, void **part, struct gw_why *why)
{
	struct bus *bus = calloc(1, sizeof(*bus));
	enum gw_error error;

	if (bus == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	bus->core = core;
	bus->config = core->config;
	bus->backoff_ms = BACKOFF_MS_MIN;
	pthread_mutex_init(&bus->lock, NULL);
	pthread_cond_init(&bus->rewound, NULL);
	if ((error = gw_bus_link_new(core->config, &bus->link, why)) != GW_OK ||
	    (error = gw_bus_park_open(&bus->park, core->journal, (uint64_t)core->config->bus_parked_max, why)) != GW_OK ||
	    (error = open_follow(bus, why)) != GW_OK)
		goto err;
	bus->done = gw_follow_cursor(bus->follow);
	if ((error = gw_source_init(&bus->source, core->intake, 2)) != GW_OK) {
		error = gw_fail(why, error, "bus: %s", gw_error_text(error));
		goto err;
	}
	if (pthread_create(&bus->thread, NULL, run, bus) != 0) {
		gw_source_fini(&bus->source);
		error = gw_fail(why, GW_E_SYSTEM, "bus: no thread");
		goto err;
	}
	*part = bus;
	return GW_OK;
err:
	bus_free(bus);
	return error;
}

static void
bus_stop(void *part)
{
	struct bus *bus = part;

	pthread_mutex_lock(&bus->lock);
	bus->stopping = true;
	pthread_cond_broadcast(&bus->rewound);
	pthread_mutex_unlock(&bus->lock);
	gw_follow_stop(bus->follow);
	gw_bus_link_wake(bus->link);
}

static void
bus_close(void *part)
{
	struct bus *bus = part;

	pthread_join(bus->thread, NULL);
	gw_source_fini(&bus->source);
	bus_free(bus);
}

static void
bus_status(void *part, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct bus *bus = part;
	struct gw_bus_link_stats stats;
	int64_t lag_us;
	uint64_t lag = gw_follow_lag(bus->follow, &lag_us);

	gw_bus_link_stats(bus->link, &stats);
	yyjson_mut_obj_add_str(doc, object, "state", bus->connected ? "connected" : "waiting for the broker");
	yyjson_mut_obj_add_strcpy(doc, object, "broker", stats.broker);
	yyjson_mut_obj_add_uint(doc, object, "cursor", gw_follow_cursor(bus->follow));
	yyjson_mut_obj_add_uint(doc, object, "lag_records", lag);
	yyjson_mut_obj_add_real(doc, object, "lag_s", (double)lag_us / 1e6);
	yyjson_mut_obj_add_uint(doc, object, "published", stats.published);
	yyjson_mut_obj_add_uint(doc, object, "acknowledged", stats.acknowledged);
	yyjson_mut_obj_add_uint(doc, object, "unacknowledged", gw_bus_link_pending(bus->link));
	yyjson_mut_obj_add_uint(doc, object, "refused", stats.refused);
	yyjson_mut_obj_add_uint(doc, object, "parked", bus->park.count);
	yyjson_mut_obj_add_uint(doc, object, "refused_left_out", bus->park.left_out);
	yyjson_mut_obj_add_uint(doc, object, "connects", stats.connects);
	if (stats.last_error[0] != '\0')
		yyjson_mut_obj_add_strcpy(doc, object, "last_error", stats.last_error);
}

// ---- Commands ----

static enum gw_error
ask_rewind(struct bus *bus, uint64_t position)
{
	struct timespec until;
	enum gw_error result = GW_E_TIMEOUT;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 10;
	pthread_mutex_lock(&bus->lock);
	bus->rewind.wanted = true;
	bus->rewind.position = position;
	gw_bus_link_wake(bus->link);
	gw_intake_wake(bus->core->intake);
	while (bus->rewind.wanted && !bus->stopping && pthread_cond_timedwait(&bus->rewound, &bus->lock, &until) == 0)
		;
	if (!bus->rewind.wanted)
		result = bus->rewind.result;
	else if (bus->stopping)
		result = GW_E_STOPPING;
	pthread_mutex_unlock(&bus->lock);
	return result;
}

static enum gw_error
command_rewind(struct bus *bus, yyjson_val *arguments, struct gw_why *reply)
{
	const char *to = yyjson_get_str(yyjson_obj_get(arguments, "to"));
	uint64_t position, behind;
	char when[40];
	int64_t us;
	enum gw_error error;

	if (to == NULL || gw_time_parse(to, &us) != 0)
		return gw_fail(reply, GW_E_ARGUMENT, "--to needs a time: 2026-11-20T08:00:00Z, or -15m");
	if ((error = gw_journal_seek(bus->core->journal, us, &position)) != GW_OK)
		return gw_fail(reply, error, "%s", gw_error_text(error));
	if ((error = ask_rewind(bus, position > 0 ? position - 1 : 0)) != GW_OK)
		return gw_fail(reply, error, "the bus could not be rewound: %s", gw_error_text(error));
	behind = gw_journal_last(bus->core->journal);
	(void)gw_fail(reply, GW_OK, "bus rewound to %s: %llu records of the journal are published again under the same identifiers", gw_time_format(us, when),
	    (unsigned long long)(behind >= position ? behind - position + 1 : 0));
	return GW_OK;
}

static enum gw_error
command_retry(struct bus *bus, yyjson_val *arguments, struct gw_why *reply)
{
	(void)arguments;
	bus->retry_until = bus->park.last;
	(void)gw_fail(reply, GW_OK, "%llu parked messages are tried again", (unsigned long long)bus->park.count);
	return GW_OK;
}

static enum gw_error
command_drop(struct bus *bus, yyjson_val *arguments, struct gw_why *reply)
{
	struct gw_source source;
	uint64_t count = bus->park.count;
	enum gw_error error = gw_source_init(&source, bus->core->intake, 1);

	(void)arguments;
	if (error == GW_OK) {
		error = gw_bus_park_clear(&bus->park, &source);
		gw_source_fini(&source);
	}
	if (error != GW_OK)
		return gw_fail(reply, error, "%s", gw_error_text(error));
	(void)gw_fail(reply, GW_OK, "%llu parked messages dropped; the journal still has their readings", (unsigned long long)count);
	return GW_OK;
}

static enum gw_error
bus_command(void *part, yyjson_val *arguments, struct gw_why *reply)
{
	static const struct { const char *name; enum gw_error (*fn)(struct bus *, yyjson_val *, struct gw_why *); } commands[] = {
		{ "rewind", command_rewind },
		{ "retry", command_retry },
		{ "drop", command_drop },
	};
	const char *name = yyjson_get_str(yyjson_obj_get(arguments, "action"));

	for (size_t i = 0; name != NULL && i < sizeof(commands) / sizeof(commands[0]); i++)
		if (strcmp(name, commands[i].name) == 0)
			return commands[i].fn(part, arguments, reply);
	return gw_fail(reply, GW_E_ARGUMENT, "the bus knows rewind --to TIME, retry and drop");
}

// ---- Erasing ----

// What was read ahead is read again, so that nothing is published of which the journal has no more than the key.
static enum gw_error
bus_erase(struct gw_core *core, void *part, struct gw_erasure *erasure, struct gw_why *why)
{
	struct gw_bus_park rows;
	struct bus *bus = part;
	struct gw_source source;
	enum gw_error error;

	if (bus == NULL && (error = gw_bus_park_open(&rows, core->journal, 0, why)) != GW_OK)
		return error;
	if (bus != NULL && !erasure->dry && (error = ask_rewind(bus, UINT64_MAX)) != GW_OK)
		return gw_fail(why, error == GW_E_TIMEOUT ? GW_E_BUSY : error, "the bus does not get to it");
	if ((error = gw_source_init(&source, core->intake, 1)) == GW_OK) {
		error = gw_bus_park_erase(bus != NULL ? &bus->park : &rows, &source, erasure);
		gw_source_fini(&source);
	}
	return error == GW_OK ? GW_OK : gw_fail(why, error, "parked messages of the bus: %s", gw_error_text(error));
}

const struct gw_part gw_bus_part = {
	.name = "bus",
	.outlet = true,
	.enabled = bus_enabled,
	.sections = (const char *const[]){ "bus", NULL },
	.start = bus_start,
	.stop = bus_stop,
	.close = bus_close,
	.status = bus_status,
	.command = bus_command,
	.trace = gw_bus_trace,
	.erase = bus_erase,
};
