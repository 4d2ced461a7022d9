// SPDX-License-Identifier: Apache-2.0
// What the inbound door puts on record and shows: refusals, status, messages out of quarantine once more.
#include "adapters/hl7/in.h"

#include "gateway/clock.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

// ---- Refusals: the door's thread ----

void
gw_hl7_door_refused(struct gw_hl7_door *door, const struct gw_hl7_conn *conn, enum gw_auth auth, enum gw_refused why, const char *name, const char *text)
{
	const struct gw_attempt attempt = { .door = GW_DOOR_HL7, .auth = auth, .protocol = conn->by_tls ? GW_PROTOCOL_MLLPS : GW_PROTOCOL_MLLP, .reason = why,
		.peer = conn->at, .claimed = gw_span_text(name), .text = text };

	gw_hl7_count(&door->refused, 1);
	gw_refusals_tell(door->core->refusals, &attempt);
}

// ---- Status: any thread ----

static void
add_refusal(struct gw_hl7_door *door, const struct gw_hl7_peer_state *state, yyjson_mut_doc *doc, yyjson_mut_val *row)
{
	char text[40];

	pthread_mutex_lock(&door->lock);
	if (state->refused_us != 0) {
		yyjson_mut_obj_add_strcpy(doc, row, "last_refusal", gw_time_format(state->refused_us, text));
		yyjson_mut_obj_add_strcpy(doc, row, "last_refusal_why", state->refused.text);
	}
	pthread_mutex_unlock(&door->lock);
}

static void
add_peer(struct gw_hl7_door *door, const struct gw_hl7_peer *peer, const struct gw_hl7_peer_state *state, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	static const char *const names[GW_HL7_KINDS] = { "taken", "unused", "again", "answers", "refused", "told_later" };
	int64_t last_us = atomic_load_explicit(&state->last_us, memory_order_relaxed);
	yyjson_mut_val *row = yyjson_mut_obj_add_obj(doc, object, peer->name);
	char text[40];

	yyjson_mut_obj_add_uint(doc, row, "connections", atomic_load(&state->connections));
	yyjson_mut_obj_add_uint(doc, row, "accepted", atomic_load(&state->accepted));
	yyjson_mut_obj_add_uint(doc, row, "messages", atomic_load(&state->messages));
	for (unsigned i = 0; i < GW_HL7_KINDS; i++)
		yyjson_mut_obj_add_uint(doc, row, names[i], atomic_load(&state->kinds[i]));
	yyjson_mut_obj_add_uint(doc, row, "too_large", atomic_load(&state->oversized));
	yyjson_mut_obj_add_uint(doc, row, "bytes_outside_of_frames", atomic_load(&state->junk_bytes));
	yyjson_mut_obj_add_uint(doc, row, "connections_beyond_limit_of_one", atomic_load(&state->beyond_limit));
	if (last_us != 0)
		yyjson_mut_obj_add_strcpy(doc, row, "last_message", gw_time_format(last_us, text));
	add_refusal(door, state, doc, row);
}

void
gw_hl7_door_status(void *part, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct gw_hl7_door *door = part;
	yyjson_mut_val *peers;

	yyjson_mut_obj_add_uint(doc, object, "connections", atomic_load(&door->connections));
	yyjson_mut_obj_add_uint(doc, object, "connections_beyond_limit", atomic_load(&door->full));
	yyjson_mut_obj_add_uint(doc, object, "refused_strangers", atomic_load(&door->refused));
	yyjson_mut_obj_add_uint(doc, object, "handshakes_failed", atomic_load(&door->handshakes_failed));
	yyjson_mut_obj_add_uint(doc, object, "under_way", atomic_load(&door->under_way_now));
	yyjson_mut_obj_add_uint(doc, object, "remembered", atomic_load(&door->seen_count));
	yyjson_mut_obj_add_uint(doc, object, "rounds", atomic_load(&door->rounds));
	peers = yyjson_mut_obj_add_obj(doc, object, "peers");
	for (size_t i = 0; i < door->settings.peer_count; i++)
		add_peer(door, &door->settings.peers[i], &door->states[i], doc, peers);
	gw_tls_server_status(door->tls, doc, object);
}

// ---- Out of quarantine: a command's thread ----

struct replay {
	struct gw_hl7_door *door;
	uint64_t id;
	bool found, head; // head: no more than the beginning was kept
	enum gw_auth auth;
	int64_t received_us;
	const struct gw_hl7_peer *peer;
	uint8_t *bytes;
	size_t len;
	struct gw_hl7_take *take;
	struct gw_source source;
	struct gw_hl7_request request;
};

static bool
keep_entry(void *arg, const struct gw_quarantined *entry)
{
	struct replay *replay = arg;

	if (entry->id != replay->id || entry->door != GW_DOOR_HL7)
		return false;
	replay->found = true;
	replay->head = entry->error == GW_E_TOO_LARGE && entry->payload.len <= GW_HL7_HEAD_BYTES;
	replay->auth = (enum gw_auth)entry->auth;
	replay->received_us = entry->received_us;
	replay->peer = gw_hl7_peer_named(&replay->door->settings, entry->principal);
	replay->len = entry->payload.len;
	if ((replay->bytes = malloc(entry->payload.len + 1)) != NULL && entry->payload.len > 0)
		memcpy(replay->bytes, entry->payload.at, entry->payload.len);
	return false;
}

static enum gw_error
find_entry(struct replay *replay, struct gw_why *why)
{
	enum gw_error error = gw_quarantine_each(replay->door->core->journal, replay->id, keep_entry, replay);

	if (error != GW_OK)
		return gw_fail(why, error, "quarantine cannot be read: %s", gw_error_text(error));
	if (!replay->found)
		return gw_fail(why, GW_E_NOT_FOUND, "quarantine has no HL7 message %llu", (unsigned long long)replay->id);
	if (replay->peer == NULL)
		return gw_fail(why, GW_E_NOT_FOUND, "the peer that sent it is not in hl7_in.peers any more");
	if (replay->head)
		return gw_fail(why, GW_E_TOO_LARGE, "only its beginning was kept: it has to be sent again, with a larger hl7_in.message_bytes_max");
	return replay->bytes != NULL ? GW_OK : gw_fail(why, GW_E_MEMORY, "out of memory");
}

static enum gw_error
wait_for(struct gw_source *source, unsigned count, enum gw_error *last)
{
	enum gw_error result = GW_OK;

	while (count > 0) {
		struct pollfd wait = { .fd = source->event_fd, .events = POLLIN };
		struct gw_ticket *ticket, *next;

		if (poll(&wait, 1, -1) < 0 && errno != EINTR)
			return GW_E_SYSTEM;
		for (ticket = gw_source_take(source); ticket != NULL; ticket = next) {
			next = ticket->next;
			*last = ticket->result;
			if (ticket->result != GW_OK)
				result = ticket->result;
			gw_ticket_release(ticket);
			count--;
		}
	}
	return result;
}

// Under the lock from applying to submitting; then waits.
static enum gw_error
apply_again(struct replay *replay, struct gw_ticket *ticket, struct gw_ticket *after)
{
	struct gw_patients *patients = replay->door->core->patients;
	enum gw_error error = GW_OK, last = GW_OK;
	bool both, reload;

	gw_patients_lock(patients);
	both = gw_hl7_take_apply(replay->take, &replay->request, ticket, after);
	if (replay->request.kind != GW_HL7_REFUSED && replay->request.kind != GW_HL7_LATER)
		error = gw_ticket_unquarantine(ticket, replay->id);
	gw_intake_submit(ticket);
	if (both)
		gw_intake_submit(after);
	gw_patients_unlock(patients);
	if (!both)
		gw_ticket_release(after);
	if (error == GW_OK)
		error = wait_for(&replay->source, both ? 2 : 1, &last);
	else
		(void)wait_for(&replay->source, both ? 2 : 1, &last);
	(void)gw_hl7_take_done(replay->take, &replay->request, last, &reload);
	if (reload || (error != GW_OK && replay->request.changed))
		(void)gw_patients_reload(patients);
	return error;
}

static enum gw_error
replay_message(struct replay *replay, struct gw_why *reply)
{
	struct gw_ticket *ticket = gw_ticket_get(&replay->source), *after = gw_ticket_get(&replay->source);
	enum gw_error error;

	if (ticket == NULL || after == NULL) {
		if (ticket != NULL)
			gw_ticket_release(ticket);
		return gw_fail(reply, GW_E_MEMORY, "out of memory");
	}
	gw_hl7_take_read(replay->take, replay->peer, replay->auth, gw_span(replay->bytes, replay->len), replay->received_us);
	if ((error = apply_again(replay, ticket, after)) != GW_OK)
		return gw_fail(reply, error, "%s", gw_error_text(error));
	if (replay->request.kind == GW_HL7_REFUSED || replay->request.kind == GW_HL7_LATER)
		return gw_fail(reply, GW_E_FIELD, "%s", replay->request.why.text);
	return gw_fail(reply, GW_OK, "%s", replay->request.kind == GW_HL7_AGAIN ? "it was taken since" : replay->request.why.text);
}

static enum gw_error
do_replay(struct gw_hl7_door *door, uint64_t id, struct gw_why *reply)
{
	struct gw_hl7_take_options options = { .registry = door->core->registry, .patients = door->core->patients, .seen = door->seen,
		.settings = &door->settings, .replay = true };
	struct replay replay = { .door = door, .id = id };
	enum gw_error error = find_entry(&replay, reply);

	if (error == GW_OK && (replay.take = gw_hl7_take_new(&options)) == NULL)
		error = gw_fail(reply, GW_E_MEMORY, "out of memory");
	if (error == GW_OK && (error = gw_source_init(&replay.source, door->core->intake, 2)) != GW_OK)
		(void)gw_fail(reply, error, "%s", gw_error_text(error));
	if (error == GW_OK) {
		error = replay_message(&replay, reply);
		gw_source_fini(&replay.source);
	}
	gw_hl7_request_fini(&replay.request);
	gw_hl7_take_free(replay.take);
	free(replay.bytes);
	return error;
}

enum gw_error
gw_hl7_door_command(void *part, yyjson_val *arguments, struct gw_why *reply)
{
	const char *action = yyjson_get_str(yyjson_obj_get(arguments, "action")), *id = yyjson_get_str(yyjson_obj_get(arguments, "id"));
	uint64_t number = id != NULL ? strtoull(id, NULL, 10) : 0;

	if (action == NULL || strcmp(action, "replay") != 0 || number == 0)
		return gw_fail(reply, GW_E_ARGUMENT, "the inbound door knows replay of a quarantined message, by its number");
	return do_replay(part, number, reply);
}
