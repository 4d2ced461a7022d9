// SPDX-License-Identifier: Apache-2.0
// From a datagram to a ticket: one handler for every path, because the profiles decide which paths there are. The adapter's thread; nothing is allocated
// for a request beyond what libcoap does.
#include "adapters/coap/coap.h"

#include "gateway/clock.h"

#include <stdlib.h>

// ---- answers that need no commit ----

static void
answer_now(struct gw_coap *coap, coap_pdu_t *response, enum gw_error error, const char *text)
{
	struct gw_coap_answer answer = gw_coap_answer_of(error);

	if (text != NULL)
		answer.text = gw_span_text(text);
	gw_coap_fill(coap, response, &answer);
}

static void
answer_code(struct gw_coap *coap, coap_pdu_t *response, coap_pdu_code_t code, const char *text)
{
	struct gw_coap_answer answer = { .code = (uint8_t)code, .text = gw_span_text(text) };

	gw_coap_fill(coap, response, &answer);
}

static void
answer_block(struct gw_coap *coap, const struct gw_coap_ask *ask, coap_pdu_t *response, coap_pdu_code_t code, const char *text)
{
	struct gw_coap_answer answer = { .code = (uint8_t)code, .text = gw_span_text(text), .has_block1 = true, .block1 = ask->block1 };

	if (code == COAP_RESPONSE_CODE(413))
		answer.size1 = (uint32_t)coap->config->coap_payload_bytes_max;
	gw_coap_fill(coap, response, &answer);
}

// A copy of a request: the first one's answer, or nothing as long as there is none (but another ACK if its own is out).
static void
answer_copy(struct gw_coap *coap, struct gw_coap_session *state, const struct gw_coap_ask *ask, enum gw_coap_seen seen, uint32_t handle, coap_pdu_t *response)
{
	const struct gw_coap_remembered *first = gw_coap_recent_at(&state->recent, handle);
	struct gw_coap_answer answer;

	gw_coap_add(&coap->counts.duplicates, 1);
	if (seen == GW_COAP_SEEN_PENDING) {
		// Acknowledged a second after the first copy came; until then the answer itself is about to.
		if ((uint32_t)(coap->now_us / 1000000) - first->came_s < 2)
			gw_coap_defer(response);
		return;
	}
	answer = (struct gw_coap_answer){ .code = first->code, .stamp_us = first->stamp_us, .text = gw_span_text(first->text),
		.has_block1 = ask->has_block1, .block1 = ask->block1 };
	gw_coap_fill(coap, response, &answer);
}

// ---- taking ----

static struct gw_coap_request *
request_new(struct gw_coap *coap)
{
	struct gw_coap_request *request = coap->spare;

	if (request == NULL)
		return calloc(1, sizeof(*request));
	coap->spare = request->next;
	return request;
}

static void
enqueue(struct gw_coap *coap, struct gw_coap_request *request)
{
	request->next = NULL;
	request->prev = coap->newest;
	*(coap->newest != NULL ? &coap->newest->next : &coap->oldest) = request;
	coap->newest = request;
	if (coap->unacked == NULL)
		coap->unacked = request;
	coap->under_way++;
	coap->tickets_out++;
}

static void
note(struct gw_coap *coap, struct gw_coap_request *note, struct gw_coap_session *state, const coap_pdu_t *request, const struct gw_coap_ask *ask,
    uint32_t handle)
{
	coap_bin_const_t token = coap_pdu_get_token(request);

	note->session = coap_session_reference(state->session);
	note->state = state;
	note->came_us = coap->now_us;
	note->handle = handle;
	note->mid = (uint16_t)coap_pdu_get_mid(request);
	note->type = (uint8_t)coap_pdu_get_type(request);
	note->no_response = ask->no_response;
	note->has_block1 = ask->has_block1;
	note->block1 = ask->block1;
	note->acked = false;
	note->token_len = (uint8_t)(token.length <= sizeof(note->token) ? token.length : 0);
	memcpy(note->token, token.s, note->token_len);
}

static bool
submit(struct gw_coap *coap, struct gw_coap_session *state, const coap_pdu_t *request, const struct gw_coap_ask *ask, struct gw_span payload, uint32_t handle)
{
	const struct gw_peer peer = gw_peer_of(&coap_session_get_addr_remote(state->session)->addr.sa);
	struct gw_frame frame = { .door = GW_DOOR_COAP, .auth = (enum gw_auth)state->auth, .principal = state->principal, .route = ask->route,
		.payload = payload, .content_format = ask->content_format, .received_us = gw_clock_wall_us(),
		.protocol = state->auth != GW_AUTH_NONE ? GW_PROTOCOL_COAPS : GW_PROTOCOL_COAP, .peer = &peer };
	struct gw_ticket *ticket = gw_ticket_get(&coap->source);
	struct gw_coap_request *noted;

	if (ticket == NULL)
		return false;
	noted = request_new(coap);
	if (noted == NULL) {
		gw_ticket_release(ticket);
		return false;
	}
	note(coap, noted, state, request, ask, handle);
	enqueue(coap, noted);
	ticket->owner = noted;
	gw_line_take(coap->line, &frame, ticket);
	gw_coap_queue(coap, ticket);
	return true;
}

static uint64_t
hash_of(const coap_pdu_t *request, const struct gw_coap_ask *ask, struct gw_span payload)
{
	coap_bin_const_t token = coap_pdu_get_token(request);
	uint64_t seed = (uint64_t)coap_pdu_get_code(request) << 56 ^ (uint64_t)ask->content_format << 24 ^ ask->block1;

	seed = gw_coap_hash(seed ^ ask->tag_hash, token.s, token.length);
	seed = gw_coap_hash(seed, ask->route.at, ask->route.len);
	return gw_coap_hash(seed, payload.at, payload.len);
}

// The body's next block. COMPLETE: *body is ours.
static enum gw_coap_block_result
take_block(struct gw_coap *coap, struct gw_coap_session *state, const coap_pdu_t *request, const struct gw_coap_ask *ask, struct gw_span payload,
    uint8_t **body, size_t *body_len)
{
	struct gw_coap_block block = { .num = ask->block1 >> 4, .more = (ask->block1 & 8) != 0, .szx = ask->block1 & 7, .size1 = ask->size1,
		.payload = payload };
	uint64_t key = gw_coap_hash(ask->tag_hash ^ coap_pdu_get_code(request), ask->route.at, ask->route.len);
	enum gw_coap_block_result result = gw_coap_upload_block(&coap->uploads, state, key, &block, coap->now_us, body, body_len);

	state->uploads = true;
	if (block.num == 0 && result == GW_COAP_BLOCK_CONTINUE)
		gw_coap_add(&coap->counts.uploads, 1);
	atomic_store_explicit(&coap->counts.uploads_now, coap->uploads.count, memory_order_relaxed);
	return result;
}

static void
refuse_block(struct gw_coap *coap, const struct gw_coap_ask *ask, enum gw_coap_block_result result, coap_pdu_t *response)
{
	static const struct { coap_pdu_code_t code; const char *text; } rows[] = {
		[GW_COAP_BLOCK_CONTINUE] = { COAP_RESPONSE_CODE(231), "" },
		[GW_COAP_BLOCK_INCOMPLETE] = { COAP_RESPONSE_CODE(408), "a block is missing: begin again with block 0" },
		[GW_COAP_BLOCK_TOO_LARGE] = { COAP_RESPONSE_CODE(413), "the body is larger than the limit in Size1" },
		[GW_COAP_BLOCK_BAD] = { COAP_RESPONSE_CODE(400), "the block's length does not fit its Block1 option" },
	};

	if (result == GW_COAP_BLOCK_BUSY)
		answer_now(coap, response, GW_E_BUSY, "too many uploads under way");
	else
		answer_block(coap, ask, response, rows[result].code, rows[result].text);
}

// A whole payload, or the last block of one: remembered, so that a copy of it is known.
static void
take_last(struct gw_coap *coap, struct gw_coap_session *state, const coap_pdu_t *request, const struct gw_coap_ask *ask, struct gw_span payload,
    coap_pdu_t *response)
{
	enum gw_coap_block_result result = GW_COAP_BLOCK_COMPLETE;
	uint8_t *body = NULL;
	uint32_t handle;
	enum gw_coap_seen seen = gw_coap_recent_look(&state->recent, (uint16_t)coap_pdu_get_mid(request), hash_of(request, ask, payload),
	    (uint32_t)(coap->now_us / 1000000), (uint32_t)coap->config->coap_requests_of_one, &handle);

	if (seen == GW_COAP_SEEN_CROWDED) {
		gw_coap_add(&coap->counts.crowded, 1);
		answer_now(coap, response, GW_E_BUSY, "too many requests of this session are under way");
		return;
	}
	if (seen != GW_COAP_SEEN_NEW) {
		answer_copy(coap, state, ask, seen, handle, response);
		return;
	}
	if (ask->has_block1 && ask->block1 >> 4 != 0)
		result = take_block(coap, state, request, ask, payload, &body, &payload.len);
	if (body != NULL)
		payload.at = body;
	if (result != GW_COAP_BLOCK_COMPLETE) {
		refuse_block(coap, ask, result, response);
		gw_coap_recent_forget(&state->recent, handle);
	} else if (submit(coap, state, request, ask, payload, handle)) {
		gw_coap_defer(response);
	} else {
		answer_now(coap, response, GW_E_BUSY, NULL);
		gw_coap_recent_forget(&state->recent, handle);
	}
	free(body);
}

static void
take(struct gw_coap *coap, struct gw_coap_session *state, const coap_pdu_t *request, const struct gw_coap_ask *ask, coap_pdu_t *response)
{
	struct gw_span payload = { 0 };
	uint8_t *unused = NULL;
	size_t unused_len = 0;

	coap_get_data(request, &payload.len, &payload.at);
	gw_coap_add(&coap->counts.requests, 1);
	if (ask->precondition)
		answer_code(coap, response, COAP_RESPONSE_CODE(412), "readings have no state that If-Match or If-None-Match could ask for");
	else if (ask->has_block1 && (ask->block1 & 8) != 0)
		refuse_block(coap, ask, take_block(coap, state, request, ask, payload, &unused, &unused_len), response);
	else
		take_last(coap, state, request, ask, payload, response);
}

// ---- the handler ----

static void
dispatch(struct gw_coap *coap, struct gw_coap_session *state, const coap_pdu_t *request, const struct gw_coap_ask *ask, coap_pdu_t *response)
{
	coap_pdu_code_t code = coap_pdu_get_code(request);

	if (ask->bad)
		answer_code(coap, response, COAP_RESPONSE_CODE(402), "an option's value is longer than it can be");
	else if (code == COAP_REQUEST_CODE_GET)
		gw_coap_get_resource(coap, state, ask, response);
	else if (code == COAP_REQUEST_CODE_POST || code == COAP_REQUEST_CODE_PUT)
		take(coap, state, request, ask, response);
	else
		answer_code(coap, response, COAP_RESPONSE_CODE(405), "only GET, POST and PUT");
}

void
gw_coap_handle(coap_resource_t *resource, coap_session_t *session, const coap_pdu_t *request, const coap_string_t *query, coap_pdu_t *response)
{
	struct gw_coap *coap = coap_resource_get_userdata(resource);
	struct gw_coap_session *state;
	struct gw_coap_route route;
	struct gw_coap_ask ask;

	(void)query;
	// Groups: nobody can be told of a commit there, and a plain door would answer to spoofed addresses.
	if (coap_session_get_proto(session) == COAP_PROTO_UDP && coap_is_mcast(coap_session_get_addr_local(session))) {
		gw_coap_defer(response);
		return;
	}
	if (coap->stopping) {
		answer_now(coap, response, GW_E_STOPPING, NULL);
		return;
	}
	state = gw_coap_principal(coap, session);
	if (state == NULL) {
		answer_now(coap, response, GW_E_UNAUTHENTICATED, NULL);
		return;
	}
	gw_coap_ask_read(request, &ask, &route);
	dispatch(coap, state, request, &ask, response);
}
