// SPDX-License-Identifier: Apache-2.0
// The straight line of one frame on its source's thread: route -> device and profile -> decode -> ticket. One gw_line a thread; nothing is shared
// but the registry's snapshot. A repeated route of a principal costs one comparison.
#include "gateway/line.h"
#include "gateway/diag.h"
#include "gateway/hash.h"
#include "gateway/journal.h"
#include "gateway/line_limit.h"
#include "gateway/refusals.h"

#include <stdio.h>
#include <stdlib.h>

#define CACHE_SIZE 32768   // entries, direct-mapped: several for each device of a large house; only those in use are touched
#define CANDIDATES_MAX 64  // routes of all profiles that fit one topic
#define KEPT_TOO_LARGE 4096 // bytes that are kept of a frame beyond the limit
#define RISING_US 1000

// Where a route of a principal leads. Spans of match point into route.
struct target {
	uint64_t hash, generation;
	enum gw_error error;
	uint16_t route_len;
	uint8_t door;
	char principal_id[GW_ID_MAX + 1];
	const struct gw_device *principal, *device; // device NULL: only the payload can name one
	struct gw_match match;
	uint8_t route[GW_ROUTE_MAX];
	struct gw_why why; // of an error
};

struct gw_line {
	struct gw_line_options options;
	struct gw_decode_scratch *scratch;
	const struct gw_snapshot *snapshot;
	uint64_t generation;
	struct target *cache;
	struct target once;           // for routes too long to keep
	struct gw_reading *readings;  // one device's, side by side
	const struct gw_device **of;  // device of each decoded reading
	int64_t last_us;
	struct gw_line_limit limit;
};

struct gw_line *
gw_line_new(const struct gw_line_options *options)
{
	struct gw_line *line = calloc(1, sizeof(*line));

	if (line == NULL)
		return NULL;
	line->options = *options;
	if (line->options.refused_claims_per_min == 0)
		line->options.refused_claims_per_min = 10;
	line->scratch = gw_decode_scratch_new();
	line->cache = calloc(CACHE_SIZE, sizeof(*line->cache));
	line->readings = calloc(GW_RECORD_READINGS_MAX, sizeof(*line->readings));
	line->of = calloc(GW_RECORD_READINGS_MAX, sizeof(*line->of));
	if (line->scratch != NULL && line->cache != NULL && line->readings != NULL && line->of != NULL)
		return line;
	gw_line_free(line);
	return NULL;
}

void
gw_line_free(struct gw_line *line)
{
	if (line == NULL)
		return;
	if (line->snapshot != NULL)
		gw_snapshot_put(line->snapshot);
	gw_decode_scratch_free(line->scratch);
	free(line->cache);
	free(line->readings);
	free(line->of);
	free(line);
}

// ---- route to device and profile ----

static void
refresh_snapshot(struct gw_line *line)
{
	if (line->snapshot != NULL && gw_registry_generation(line->options.registry) == line->generation)
		return;
	if (line->snapshot != NULL)
		gw_snapshot_put(line->snapshot);
	line->snapshot = gw_snapshot_get(line->options.registry);
	line->generation = gw_snapshot_generation(line->snapshot);
}

// Whether the principal may speak for a device of this id: GW_OK, GW_E_FORBIDDEN or GW_E_DISABLED.
static enum gw_error
check_device(const struct gw_device *principal, const struct gw_device *device, struct gw_span id, struct gw_why *why)
{
	char claimed[64];

	if (device == NULL)
		return gw_fail(why, GW_E_FORBIDDEN, "%s may not speak for %s: no such device is registered", principal->id, gw_printable(id, claimed));
	if (device->disabled)
		return gw_fail(why, GW_E_DISABLED, "device %s is disabled", device->id);
	if (!gw_snapshot_may_speak(principal, device))
		return gw_fail(why, GW_E_FORBIDDEN, "%s may not speak for %s", principal->id, device->id);
	return GW_OK;
}

// A concentrator has no profile of its own: one of those of the devices that it speaks for.
static bool
speaks_profile(const struct gw_line *line, const struct gw_device *principal, const char *profile)
{
	for (size_t i = 0; i < principal->speaks_for_count; i++) {
		const struct gw_device *device = gw_snapshot_device(line->snapshot, gw_span_text(principal->speaks_for[i]));
		if (device != NULL && strcmp(device->profile, profile) == 0)
			return true;
	}
	return false;
}

static enum gw_error
try_candidate(const struct gw_line *line, struct target *t, const struct gw_match *match)
{
	const char *profile = gw_profile_name(match->profile);
	enum gw_error error;

	t->device = t->principal;
	if (match->device.len > 0) {
		t->device = gw_snapshot_device(line->snapshot, match->device);
		error = check_device(t->principal, t->device, match->device, &t->why);
		if (error != GW_OK)
			return error;
	}
	if (strcmp(t->device->profile, profile) == 0)
		return GW_OK;
	if (t->device->profile[0] == '\0' && gw_profile_names_device(match->profile) && speaks_profile(line, t->device, profile)) {
		t->device = NULL;
		return GW_OK;
	}
	return gw_fail(&t->why, GW_E_ROUTE, "device %s has profile %s; this topic or path is of profile %s", t->device->id,
	    t->device->profile[0] != '\0' ? t->device->profile : "(none)", profile);
}

static enum gw_error
no_route(const struct gw_line *line, struct target *t, enum gw_door door)
{
	const struct gw_profile *profile = gw_profile_by_name(line->options.profiles, gw_span_text(t->principal->profile));
	const char *route = profile != NULL ? gw_profile_route(profile, door, 0) : NULL;

	if (route == NULL)
		return gw_fail(&t->why, GW_E_ROUTE, "no profile knows this topic or path");
	return gw_fail(&t->why, GW_E_ROUTE, "no profile knows this topic or path; profile %s takes %s", t->principal->profile, route);
}

// Tries candidates in their order. Of several refusals the mildest tells the sender most: a device that is right but for its profile, then the others.
static enum gw_error
try_candidates(const struct gw_line *line, struct target *t, const struct gw_match *matches, size_t count)
{
	enum gw_error kept = GW_E_ROUTE;
	struct gw_why why = { "" };

	for (size_t i = 0; i < count; i++) {
		enum gw_error error = try_candidate(line, t, &matches[i]);
		if (error == GW_OK) {
			t->match = matches[i];
			return GW_OK;
		}
		if (i == 0 || (error == GW_E_ROUTE && kept != GW_E_ROUTE)) {
			kept = error;
			why = t->why;
		}
	}
	t->why = why;
	return kept;
}

// The principal's own profile first: most devices speak for themselves, and however many profiles share a route, it is among those that are looked at.
static enum gw_error
resolve(const struct gw_line *line, struct target *t, enum gw_door door, struct gw_span route)
{
	struct gw_match matches[CANDIDATES_MAX];
	const struct gw_profile *own;
	size_t count;

	t->principal = gw_snapshot_device(line->snapshot, gw_span_text(t->principal_id));
	if (t->principal == NULL)
		return gw_fail(&t->why, GW_E_FORBIDDEN, "%s is not registered", t->principal_id);
	if (t->principal->disabled)
		return gw_fail(&t->why, GW_E_DISABLED, "%s is disabled", t->principal_id);
	own = gw_profile_by_name(line->options.profiles, gw_span_text(t->principal->profile));
	count = own != NULL ? gw_profile_match(own, door, route, matches, CANDIDATES_MAX) : 0;
	if (count > 0 && try_candidates(line, t, matches, count) == GW_OK)
		return GW_OK;
	count = gw_profiles_match(line->options.profiles, door, route, matches, CANDIDATES_MAX);
	return count > 0 ? try_candidates(line, t, matches, count) : no_route(line, t, door);
}

static enum gw_door
route_door(enum gw_door door)
{
	return door == GW_DOOR_COAP ? GW_DOOR_COAP : GW_DOOR_MQTT; // an upstream broker's topics are MQTT's
}

static bool
is_target_of(const struct target *t, const struct gw_line *line, const struct gw_frame *frame, uint64_t hash)
{
	return t->hash == hash && t->generation == line->generation && t->door == frame->door && t->route_len == frame->route.len &&
	    memcmp(t->route, frame->route.at, frame->route.len) == 0 && strcmp(t->principal_id, frame->principal) == 0;
}

static const struct target *
find_target(struct gw_line *line, const struct gw_frame *frame)
{
	struct gw_span route = frame->route;
	uint64_t hash = gw_hash_bytes(gw_hash_bytes((uint64_t)frame->door, gw_span_text(frame->principal)), route) | 1;
	struct target *t = route.len <= GW_ROUTE_MAX ? &line->cache[(hash >> 1) % CACHE_SIZE] : &line->once;

	if (route.len <= GW_ROUTE_MAX) {
		if (is_target_of(t, line, frame, hash))
			return t;
		if (route.len > 0)
			memcpy(t->route, route.at, route.len);
		t->route_len = (uint16_t)route.len;
		route = gw_span(t->route, route.len);
	}
	t->hash = hash;
	t->generation = line->generation;
	t->door = (uint8_t)frame->door;
	snprintf(t->principal_id, sizeof(t->principal_id), "%s", frame->principal);
	t->error = resolve(line, t, route_door(frame->door), route);
	return t;
}

// ---- refusals ----

static struct gw_span
clipped(struct gw_span span, size_t max)
{
	return gw_span(span.at, span.len < max ? span.len : max);
}

// A claim that is not the principal's: an event, at most one a minute for each claim.
static void
refuse_claim(struct gw_line *line, const struct gw_frame *frame, struct gw_ticket *ticket)
{
	struct gw_span principal = clipped(gw_span_text(frame->principal), GW_ID_MAX);
	const struct gw_peer nowhere = { 0 }, *peer = frame->peer != NULL ? frame->peer : &nowhere;
	const struct gw_attempt attempt = { .door = frame->door, .auth = frame->auth, .protocol = frame->protocol, .peer = *peer, .device = principal,
		.reason = ticket->verdict == GW_E_DISABLED ? GW_REFUSED_DEVICE_DISABLED : GW_REFUSED_DEVICE_FOREIGN, .claimed = principal };
	struct gw_event event = {
		.received_us = frame->received_us,
		.door = (uint8_t)frame->door,
		.auth = (uint8_t)frame->auth,
		.code = GW_EVENT_REFUSED_CLAIM,
		.principal = principal,
		.device = principal, // the event is the principal's: the device that it claimed had no part in it
		.route = clipped(frame->route, GW_ROUTE_MAX),
		.text = gw_span_text(ticket->why.text),
		.protocol = (uint8_t)frame->protocol,
		.reason = (uint16_t)attempt.reason,
		.peer = *peer,
	};
	bool on_record = gw_line_limit_pass(&line->limit, frame->received_us, principal, event.text, line->options.refused_claims_per_min);
	static struct gw_diag_limit limit;

	gw_refusals_count(line->options.refusals, &attempt, on_record);
	if (!on_record)
		return;
	gw_diag_limited(&limit, 10, GW_WARNING, "claim.refused", "principal=%s %s", frame->principal, ticket->why.text);
	if (gw_ticket_event(ticket, GW_RECORD_DEVICE_EVENT, &event) != GW_OK)
		gw_diag_limited(&limit, 10, GW_WARNING, "claim.unrecorded", "principal=%s", frame->principal);
}

static void
quarantine(const struct gw_frame *frame, struct gw_ticket *ticket, enum gw_error error, size_t payload_max)
{
	struct gw_quarantined entry = {
		.received_us = frame->received_us,
		.door = (uint8_t)frame->door,
		.auth = (uint8_t)frame->auth,
		.error = (uint16_t)error,
		.content_format = frame->content_format,
		.principal = clipped(gw_span_text(frame->principal), GW_ID_MAX),
		.route = clipped(frame->route, GW_ROUTE_MAX),
		.reason = gw_span_text(ticket->why.text),
		.payload = clipped(frame->payload, payload_max),
	};
	enum gw_error failed = gw_ticket_quarantine(ticket, &entry);

	if (failed != GW_OK)
		ticket->verdict = failed;
}

// A frame of which nothing is taken.
static void
refuse(struct gw_line *line, const struct gw_frame *frame, struct gw_ticket *ticket, enum gw_error error)
{
	ticket->verdict = error;
	if (error == GW_E_FORBIDDEN || error == GW_E_DISABLED)
		refuse_claim(line, frame, ticket);
	else if (error == GW_E_TOO_LARGE)
		quarantine(frame, ticket, error, frame->payload.len > line->options.payload_bytes_max ? KEPT_TOO_LARGE : frame->payload.len);
	else if (gw_error_verdict(error) == GW_VERDICT_REJECT)
		quarantine(frame, ticket, error, frame->payload.len);
}

// ---- readings ----

// The device of each reading, each checked; GW_OK or the first refusal.
static enum gw_error
assign_devices(struct gw_line *line, const struct target *t, const struct gw_decode_output *decoded, struct gw_why *why)
{
	for (size_t i = 0; i < decoded->count; i++) {
		struct gw_span id = decoded->readings[i].device;
		const struct gw_device *device = t->device;
		enum gw_error error;
		if (i > 0 && gw_span_equal(id, decoded->readings[i - 1].device)) {
			line->of[i] = line->of[i - 1];
			continue;
		}
		if (id.len > 0 && (device == NULL || !gw_span_is(id, device->id))) {
			device = gw_snapshot_device(line->snapshot, id);
			error = check_device(t->principal, device, id, why);
			if (error != GW_OK)
				return error;
			if (strcmp(device->profile, gw_profile_name(t->match.profile)) != 0)
				return gw_fail(why, GW_E_ROUTE, "device %s has profile %s, not %s", device->id, device->profile, gw_profile_name(t->match.profile));
		}
		if (device == NULL)
			return gw_fail(why, GW_E_FORMAT, "neither route nor payload names the device");
		line->of[i] = device;
	}
	return GW_OK;
}

// Gathers the readings of the first device that is left, and marks them as done.
static size_t
gather(struct gw_line *line, const struct gw_decode_output *decoded, size_t *from, const struct gw_device **device)
{
	size_t count = 0;

	while (*from < decoded->count && line->of[*from] == NULL)
		(*from)++;
	*device = *from < decoded->count ? line->of[*from] : NULL;
	for (size_t i = *from; i < decoded->count && *device != NULL; i++) {
		if (line->of[i] != *device)
			continue;
		line->readings[count] = decoded->readings[i].reading;
		line->readings[count++].flags |= (*device)->test ? GW_FLAG_TEST : 0;
		line->of[i] = NULL;
	}
	return count;
}

static enum gw_error
put_readings(struct gw_line *line, const struct gw_frame *frame, const struct target *t, const struct gw_decode_output *decoded,
    struct gw_ticket *ticket)
{
	struct gw_batch_head head = {
		.received_us = frame->received_us,
		.door = (uint8_t)frame->door,
		.auth = (uint8_t)frame->auth,
		.principal = clipped(gw_span_text(frame->principal), GW_ID_MAX),
		.route = clipped(frame->route, GW_ROUTE_MAX),
		.profile = clipped(gw_span_text(gw_profile_name(t->match.profile)), GW_ID_MAX),
	};
	uint32_t ops_len = ticket->ops_len;
	const struct gw_device *device;
	size_t from = 0, count;

	while ((count = gather(line, decoded, &from, &device)) > 0) {
		enum gw_error error;
		head.device = gw_span_text(device->id);
		error = gw_ticket_readings(ticket, &head, line->readings, count);
		if (error != GW_OK) {
			ticket->ops_len = ops_len; // all or nothing of a frame
			return gw_fail(&ticket->why, error, "the frame's readings are larger than a record may be");
		}
		if (!line->options.again)
			gw_device_clocks_take(gw_registry_clocks(line->options.registry), head.device, head.received_us, line->readings, count);
	}
	return GW_OK;
}

// Identifiers of readings without a device time come from the receive time: no two frames of one thread share it. A clock that was set back is followed.
static int64_t
rising(struct gw_line *line, int64_t received_us)
{
	if (line->options.again)
		return received_us;
	if (received_us <= line->last_us && received_us > line->last_us - RISING_US)
		received_us = line->last_us + 1;
	line->last_us = received_us;
	return received_us;
}

static enum gw_error
take(struct gw_line *line, const struct gw_frame *frame, struct gw_ticket *ticket)
{
	const struct target *t;
	struct gw_decode_input in;
	struct gw_decode_output decoded;
	enum gw_error error;

	if (frame->payload.len > line->options.payload_bytes_max)
		return gw_fail(&ticket->why, GW_E_TOO_LARGE, "%zu bytes, more than the limit of %zu", frame->payload.len, line->options.payload_bytes_max);
	t = find_target(line, frame);
	if (t->error != GW_OK) {
		ticket->why = t->why;
		return t->error;
	}
	in = (struct gw_decode_input){ &t->match, frame->payload, frame->content_format, frame->received_us, false };
	error = gw_decode(line->scratch, &in, &decoded, &ticket->why);
	if (error == GW_OK)
		error = assign_devices(line, t, &decoded, &ticket->why);
	if (error == GW_OK)
		error = put_readings(line, frame, t, &decoded, ticket);
	if (error == GW_OK && decoded.partial != GW_OK) {
		ticket->why = decoded.partial_why;
		quarantine(frame, ticket, decoded.partial, frame->payload.len);
	}
	return error;
}

void
gw_line_take(struct gw_line *line, const struct gw_frame *frame, struct gw_ticket *ticket)
{
	struct gw_frame own = *frame;
	enum gw_error error;

	own.received_us = rising(line, frame->received_us);
	ticket->verdict = GW_OK;
	ticket->why.text[0] = '\0';
	ticket->quarantined = false;
	refresh_snapshot(line);
	error = take(line, &own, ticket);
	if (error != GW_OK)
		refuse(line, &own, ticket, error);
}
