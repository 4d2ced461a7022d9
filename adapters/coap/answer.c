// SPDX-License-Identifier: Apache-2.0
// From results to datagrams. The usual answer is the request's own ACK, sent when its commit is durable: one datagram each way. Where that takes more than
// a second (ACK_TIMEOUT is two, RFC 7252 section 4.8), an empty ACK stops the client's retransmissions and the answer comes as a message of its own.
#include "adapters/coap/coap.h"

#include "gateway/clock.h"

#include <mbedtls/ssl.h>

#define BATCH 16
#define LATE_US INT64_C(1000000)
#define LATE_WINDOW_US INT64_C(60000000) // libcoap gives a confirmable message up after 45 s

struct row {
	uint8_t code;
	uint8_t max_age_s; // of "later": when to come again
};

static const struct row rows[GW_ERROR_COUNT] = {
	[GW_OK] = { COAP_RESPONSE_CODE(204), 0 },
	[GW_E_FORMAT] = { COAP_RESPONSE_CODE(400), 0 },
	[GW_E_ROUTE] = { COAP_RESPONSE_CODE(404), 0 },
	[GW_E_CONTENT_FORMAT] = { COAP_RESPONSE_CODE(415), 0 },
	[GW_E_FIELD] = { COAP_RESPONSE_CODE(400), 0 },
	[GW_E_EMPTY] = { COAP_RESPONSE_CODE(400), 0 },
	[GW_E_TOO_LARGE] = { COAP_RESPONSE_CODE(413), 0 },
	[GW_E_FORBIDDEN] = { COAP_RESPONSE_CODE(403), 0 },
	[GW_E_DISABLED] = { COAP_RESPONSE_CODE(403), 0 },
	[GW_E_UNAUTHENTICATED] = { COAP_RESPONSE_CODE(401), 0 },
	[GW_E_PROTOCOL] = { COAP_RESPONSE_CODE(400), 0 },
	[GW_E_QUOTA] = { COAP_RESPONSE_CODE(429), 240 }, // RFC 8516
	[GW_E_ARGUMENT] = { COAP_RESPONSE_CODE(400), 0 },
	[GW_E_EXISTS] = { COAP_RESPONSE_CODE(409), 0 },
	[GW_E_NOT_FOUND] = { COAP_RESPONSE_CODE(404), 0 },
	[GW_E_BUSY] = { COAP_RESPONSE_CODE(503), 1 },
	[GW_E_FULL] = { COAP_RESPONSE_CODE(503), 60 },
	[GW_E_STOPPING] = { COAP_RESPONSE_CODE(503), 5 },
	[GW_E_TIMEOUT] = { COAP_RESPONSE_CODE(503), 5 },
	[GW_E_CLOSED] = { COAP_RESPONSE_CODE(503), 5 },
	[GW_E_SYNC] = { COAP_RESPONSE_CODE(503), 10 },
	[GW_E_CORRUPT] = { COAP_RESPONSE_CODE(500), 0 },
	[GW_E_VERSION] = { COAP_RESPONSE_CODE(500), 0 },
	[GW_E_CONFIG] = { COAP_RESPONSE_CODE(500), 0 },
	[GW_E_SYSTEM] = { COAP_RESPONSE_CODE(500), 0 },
	[GW_E_MEMORY] = { COAP_RESPONSE_CODE(503), 5 },
};

struct gw_coap_answer
gw_coap_answer_of(enum gw_error error)
{
	const struct row *row = &rows[(unsigned)error < GW_ERROR_COUNT ? error : GW_E_SYSTEM];

	return (struct gw_coap_answer){ .code = row->code, .max_age = row->max_age_s, .text = gw_span_text(gw_error_text(error)) };
}

static void
add_uint(coap_pdu_t *pdu, coap_option_num_t number, uint32_t value)
{
	uint8_t buf[4];

	coap_add_option(pdu, number, coap_encode_var_safe(buf, sizeof(buf), value), buf);
}

static struct gw_span
stamp(struct gw_coap *coap, int64_t us)
{
	if (coap->stamp_len == 0 || coap->stamp_ms != us / 1000) {
		coap->stamp_ms = us / 1000;
		coap->stamp_len = gw_coap_time_text(us, coap->stamp_text);
	}
	return gw_span(coap->stamp_text, coap->stamp_len);
}

void
gw_coap_fill(struct gw_coap *coap, coap_pdu_t *pdu, const struct gw_coap_answer *answer)
{
	bool stamped = answer->code == COAP_RESPONSE_CODE(204);
	struct gw_span payload = answer->text;

	coap_pdu_set_code(pdu, answer->code);
	if (stamped) {
		payload = stamp(coap, answer->stamp_us);
		add_uint(pdu, COAP_OPTION_CONTENT_FORMAT, COAP_MEDIATYPE_TEXT_PLAIN);
	}
	if (answer->max_age != 0)
		add_uint(pdu, COAP_OPTION_MAXAGE, answer->max_age);
	if (answer->has_block1)
		add_uint(pdu, COAP_OPTION_BLOCK1, answer->block1);
	if (answer->size1 != 0)
		add_uint(pdu, COAP_OPTION_SIZE1, answer->size1);
	if (payload.len > 0)
		coap_add_data(pdu, payload.len, payload.at);
	gw_coap_add(&coap->counts.answers[answer->code], 1);
}

void
gw_coap_defer(coap_pdu_t *response)
{
	// An empty NON is what libcoap does not send.
	coap_pdu_set_type(response, COAP_MESSAGE_NON);
	coap_pdu_set_code(response, COAP_EMPTY_CODE);
}

static void
send_empty_ack(coap_session_t *session, uint16_t mid)
{
	coap_pdu_t *pdu = coap_pdu_init(COAP_MESSAGE_ACK, COAP_EMPTY_CODE, mid, 0);

	if (pdu != NULL)
		coap_send(session, pdu);
}

static bool
is_unwanted(const struct gw_coap_request *request, uint8_t code)
{
	return (request->no_response >> ((code >> 5) - 1) & 1) != 0;
}

// An answer after its own ACK is confirmable; libcoap sends one of them at a time and keeps the others, so a device that acknowledges
// none gets the rest of them unconfirmed.
static coap_pdu_type_t
late_type(struct gw_coap *coap, const struct gw_coap_request *request)
{
	struct gw_coap_session *state = request->state;

	if (request->type != COAP_MESSAGE_CON)
		return COAP_MESSAGE_NON;
	if (coap->now_us - state->late_since_us > LATE_WINDOW_US) {
		state->late_since_us = coap->now_us;
		state->late_answers = 0;
	}
	if (state->late_answers >= coap->config->coap_late_answers_per_min)
		return COAP_MESSAGE_NON;
	state->late_answers++;
	return COAP_MESSAGE_CON;
}

static void
send_answer(struct gw_coap *coap, const struct gw_coap_request *request, const struct gw_coap_answer *answer)
{
	bool own = request->type == COAP_MESSAGE_CON && !request->acked;
	coap_pdu_t *pdu;

	if (is_unwanted(request, answer->code)) {
		if (own)
			send_empty_ack(request->session, request->mid);
		return;
	}
	pdu = coap_pdu_init(own ? COAP_MESSAGE_ACK : late_type(coap, request), answer->code, own ? request->mid : coap_new_message_id(request->session),
	    coap_session_max_pdu_size(request->session));
	if (pdu == NULL)
		return;
	coap_add_token(pdu, request->token_len, request->token);
	gw_coap_fill(coap, pdu, answer);
	if (coap_send(request->session, pdu) == COAP_INVALID_MID)
		gw_coap_add(&coap->counts.unsent, 1);
}

static struct gw_coap_answer
answer_of_ticket(const struct gw_ticket *ticket, int64_t stamp_us)
{
	enum gw_error error = ticket->result != GW_OK ? ticket->result : ticket->verdict;
	struct gw_coap_answer answer = gw_coap_answer_of(error);

	answer.stamp_us = stamp_us;
	if (ticket->result == GW_OK && ticket->verdict != GW_OK && ticket->why.text[0] != '\0')
		answer.text = gw_span_text(ticket->why.text);
	return answer;
}

static void
remember(struct gw_coap_request *request, const struct gw_ticket *ticket, const struct gw_coap_answer *answer)
{
	enum gw_error error = ticket->result != GW_OK ? ticket->result : ticket->verdict;
	bool stored = error == GW_OK;

	if (gw_error_verdict(error) == GW_VERDICT_RETRY || ticket->result == GW_E_SYNC)
		gw_coap_recent_forget(&request->state->recent, request->handle);
	else
		gw_coap_recent_answered(&request->state->recent, request->handle, answer->code, answer->stamp_us,
		    stored ? gw_span_text("") : answer->text);
}

static void
finish(struct gw_coap *coap, struct gw_coap_request *request)
{
	if (coap->unacked == request)
		coap->unacked = request->next;
	*(request->prev != NULL ? &request->prev->next : &coap->oldest) = request->next;
	*(request->next != NULL ? &request->next->prev : &coap->newest) = request->prev;
	if (request->session != NULL)
		coap_session_release(request->session);
	request->next = coap->spare;
	coap->spare = request;
	coap->under_way--;
}

static void
answer(struct gw_coap *coap, struct gw_coap_request *request, const struct gw_ticket *ticket, int64_t stamp_us)
{
	struct gw_coap_answer answer = answer_of_ticket(ticket, stamp_us);

	answer.has_block1 = request->has_block1;
	answer.block1 = request->block1;
	send_answer(coap, request, &answer);
	remember(request, ticket, &answer);
}

// ---- many answers at once ----

static void
prefetch(const void *at, size_t lines)
{
	for (size_t i = 0; i < lines; i++)
		__builtin_prefetch((const uint8_t *)at + i * 64);
}

static mbedtls_ssl_context *
ssl_of(const struct gw_coap_request *request)
{
	coap_tls_library_t library;

	return request != NULL && request->session != NULL ? coap_session_get_tls(request->session, &library) : NULL;
}

// With thousands of sessions nothing of these is in the processor's cache any more: asked for together, the waiting is done once for all
// of them instead of once for each (measured with 10,000 sessions).
static void
warm(struct gw_ticket *const *batch, size_t count)
{
	mbedtls_ssl_context *ssl;

	for (size_t i = 0; i < count; i++)
		prefetch(batch[i]->owner, 1);
	for (size_t i = 0; i < count; i++) {
		const struct gw_coap_request *request = batch[i]->owner;
		if (request == NULL || request->session == NULL)
			continue;
		prefetch(request->session, 14);
		prefetch(request->state, 1);
	}
	for (size_t i = 0; i < count; i++)
		if ((ssl = ssl_of(batch[i]->owner)) != NULL)
			prefetch(ssl, 10);
	for (size_t i = 0; i < count; i++) {
		if ((ssl = ssl_of(batch[i]->owner)) == NULL)
			continue;
		prefetch(ssl->MBEDTLS_PRIVATE(transform_out), 6);
		prefetch(ssl->MBEDTLS_PRIVATE(out_buf), 3);
	}
}

static void
answer_batch(struct gw_coap *coap, struct gw_ticket *const *batch, size_t count, int64_t stamp_us)
{
	warm(batch, count);
	for (size_t i = 0; i < count; i++) {
		struct gw_coap_request *request = batch[i]->owner;
		if (request != NULL) {
			if (request->session != NULL)
				answer(coap, request, batch[i], stamp_us);
			finish(coap, request);
		}
		gw_ticket_release(batch[i]);
		coap->tickets_out--;
	}
}

void
gw_coap_answer_done(struct gw_coap *coap)
{
	struct gw_ticket *ticket = gw_source_take(&coap->source), *batch[BATCH];
	int64_t stamp_us = ticket != NULL ? gw_clock_wall_us() : 0;

	while (ticket != NULL) {
		size_t count = 0;
		for (; ticket != NULL && count < BATCH; ticket = ticket->next)
			batch[count++] = ticket;
		answer_batch(coap, batch, count, stamp_us);
	}
}

void
gw_coap_answer_none(struct gw_coap *coap)
{
	for (struct gw_coap_request *request = coap->oldest; request != NULL; request = request->next) {
		coap_session_release(request->session);
		request->session = NULL;
		request->state = NULL;
	}
	coap->unacked = NULL;
}

int
gw_coap_answer_late(struct gw_coap *coap)
{
	for (; coap->unacked != NULL; coap->unacked = coap->unacked->next) {
		struct gw_coap_request *request = coap->unacked;
		int64_t left_us = request->came_us + LATE_US - coap->now_us;
		if (left_us > 0)
			return (int)(left_us / 1000) + 1;
		if (request->type == COAP_MESSAGE_CON)
			send_empty_ack(request->session, request->mid);
		request->acked = true;
		gw_coap_add(&coap->counts.late, 1);
	}
	return -1;
}
