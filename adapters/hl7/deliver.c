// SPDX-License-Identifier: Apache-2.0
// From the outbox to the peer: stop and wait. The destination's thread. What an answer leads to stands in one table, at settle().
#include "adapters/hl7/ack.h"
#include "adapters/hl7/destination_impl.h"

#include "gateway/clock.h"

#include <poll.h>
#include <stdio.h>
#include <sys/random.h>

#define CONNECT_MS_MAX 5000
#define DELIVER_US 200000
#define UNASKED_MAX 64 // messages of the peer's that nobody asked for

// What came of sending a message once.
enum outcome { DONE, AGAIN, PARK, NO_ANSWER, NOT_UNDERSTOOD, FOREIGN, LOST, STOPPED };

void
gw_hl7_set_state(struct gw_hl7_destination *d, enum gw_hl7_state state)
{
	pthread_mutex_lock(&d->lock);
	d->state = state;
	pthread_mutex_unlock(&d->lock);
}

static void
count(struct gw_hl7_destination *d, uint64_t *what)
{
	pthread_mutex_lock(&d->lock);
	(*what)++;
	pthread_mutex_unlock(&d->lock);
}

static void
remember_error(struct gw_hl7_destination *d, const char *words)
{
	pthread_mutex_lock(&d->lock);
	snprintf(d->last_error, sizeof(d->last_error), "%s", words);
	pthread_mutex_unlock(&d->lock);
}

// Twice as long each time, plus or minus a quarter.
static void
back_off(struct gw_hl7_destination *d)
{
	uint32_t random = 0;
	int ms = d->backoff_ms > 0 ? d->backoff_ms : d->options.backoff_ms_min;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		random = (uint32_t)gw_clock_mono_us();
	d->backoff_ms = ms * 2 < d->options.backoff_ms_max ? ms * 2 : d->options.backoff_ms_max;
	d->next_us = gw_clock_mono_us() + (ms - ms / 4 + (int)(random % (uint32_t)(ms / 2 + 1))) * 1000LL;
}

// ---- Durable consequences ----

void
gw_hl7_reap_removals(struct gw_hl7_destination *d, bool all)
{
	struct gw_ticket *ticket, *next;

	do {
		if (all && d->removing > 0)
			poll(&(struct pollfd){ .fd = d->removals.event_fd, .events = POLLIN }, 1, 1000);
		for (ticket = gw_source_take(&d->removals); ticket != NULL; ticket = next) {
			next = ticket->next;
			d->removing--;
			if (ticket->result != GW_OK && ticket->result != GW_E_STOPPING)
				gw_diag(GW_WARNING, "hl7.outbox", "destination=%s: an acknowledged message could not be deleted and is sent again after a restart: %s",
				    d->options.sender.destination, gw_error_text(ticket->result));
			gw_ticket_release(ticket);
		}
	} while (all && d->removing > 0);
}

// Acknowledged: it leaves the outbox. Nothing waits for that commit; a crash before it sends the message again under the same MSH-10.
static void
remove_first(struct gw_hl7_destination *d)
{
	struct gw_ticket *ticket;

	gw_hl7_reap_removals(d, false);
	if ((ticket = gw_ticket_get(&d->removals)) == NULL) {
		gw_hl7_reap_removals(d, true);
		ticket = gw_ticket_get(&d->removals);
	}
	if (ticket != NULL) {
		ticket->essential = true;
		if (gw_hl7_outbox_del(&d->outbox, ticket, d->outbox.first) == GW_OK) {
			d->removing++;
			gw_intake_submit(ticket);
		} else {
			gw_ticket_release(ticket);
		}
	}
	gw_hl7_outbox_shift(&d->outbox);
}

// Parked where there is room; else it stays where it is, and everything behind it waits: nothing is skipped silently.
static bool
park_first(struct gw_hl7_destination *d)
{
	struct gw_hl7_message *message = d->outbox.first;
	struct gw_ticket *ticket;
	char reason[176];
	enum gw_error error;

	if (d->outbox.parked >= d->options.parked_max) {
		gw_hl7_set_state(d, GW_HL7_HELD);
		remember_error(d, "as many messages are parked as may be: retry or drop them");
		return false;
	}
	snprintf(reason, sizeof(reason), "%s%s%s", d->answer_code, d->answer_text[0] != '\0' ? " " : "", d->answer_text);
	if ((ticket = gw_ticket_get(&d->source)) == NULL)
		return false;
	ticket->essential = true;
	error = gw_hl7_outbox_park(&d->outbox, ticket, message, gw_span_text(reason));
	if (error == GW_OK && (error = gw_intake_commit(ticket)) == GW_OK) {
		gw_diag(GW_WARNING, "hl7.parked", "destination=%s message=%s number=%llu answer=%s", d->options.sender.destination, message->control_id,
		    (unsigned long long)message->number, d->answer_code);
		d->outbox.parked++;
		gw_hl7_outbox_shift(&d->outbox);
	}
	gw_ticket_release(ticket);
	return error == GW_OK;
}

// The count of errors outlives a restart.
static void
store_errors(struct gw_hl7_destination *d)
{
	struct gw_ticket *ticket = gw_ticket_get(&d->source);

	if (ticket == NULL)
		return;
	ticket->essential = true;
	if (gw_hl7_outbox_put(&d->outbox, ticket, d->outbox.first) != GW_OK || gw_intake_commit(ticket) != GW_OK)
		gw_diag(GW_WARNING, "hl7.outbox", "destination=%s: the number of errors could not be stored", d->options.sender.destination);
	gw_ticket_release(ticket);
}

// ---- Answers ----

static void
remember_answer(struct gw_hl7_destination *d, const struct gw_hl7_ack *ack)
{
	pthread_mutex_lock(&d->lock);
	d->answer_us = gw_clock_wall_us();
	memcpy(d->answer_code, ack->code, sizeof(d->answer_code));
	snprintf(d->answer_text, sizeof(d->answer_text), "%.*s", GW_SPAN_FMT(ack->text));
	pthread_mutex_unlock(&d->lock);
}

static enum outcome
outcome_of(struct gw_hl7_destination *d, const struct gw_hl7_ack *ack)
{
	static const enum outcome outcomes[] = {
		[GW_HL7_MALFORMED] = NOT_UNDERSTOOD, [GW_HL7_ACCEPT] = DONE, [GW_HL7_ERROR] = AGAIN, [GW_HL7_REJECT] = PARK,
	};

	if (ack->answer != GW_HL7_MALFORMED && !gw_span_is(ack->control_id, d->outbox.first->control_id))
		return FOREIGN;
	remember_answer(d, ack);
	return outcomes[ack->answer];
}

// A commit frame of MLLP release 2 (0x06 alone), or a second answer to the message before (an application's after the accept one).
static bool
of_no_interest(const struct gw_hl7_destination *d, struct gw_span message, const struct gw_hl7_ack *ack)
{
	if (message.len == 1 && message.at[0] == 0x06)
		return true;
	return d->previous_id[0] != '\0' && ack->answer != GW_HL7_MALFORMED && gw_span_is(ack->control_id, d->previous_id) &&
	    strcmp(d->previous_id, d->outbox.first->control_id) != 0;
}

static enum outcome
of_error(enum gw_error error)
{
	switch (error) {
	case GW_E_TIMEOUT: return NO_ANSWER;
	case GW_E_STOPPING: return STOPPED;
	case GW_E_TOO_LARGE: return NOT_UNDERSTOOD;
	default: return LOST;
	}
}

static enum outcome
await_answer(struct gw_hl7_destination *d)
{
	int64_t until = gw_clock_mono_us() + d->options.answer_ms_max * 1000LL, left;
	struct gw_hl7_ack ack;
	struct gw_span message;
	enum gw_error error;

	for (;;) {
		if ((left = until - gw_clock_mono_us()) <= 0)
			return NO_ANSWER;
		error = gw_hl7_connection_receive(&d->connection, (int)((left + 999) / 1000), &message);
		if (error != GW_OK)
			return of_error(error);
		gw_hl7_ack_parse(message, &ack);
		if (!of_no_interest(d, message, &ack))
			return outcome_of(d, &ack);
	}
}

// ---- Sending ----

static bool
connected(struct gw_hl7_destination *d)
{
	struct gw_span message;
	struct gw_why why;
	enum gw_error error = GW_E_CLOSED;

	// What came meanwhile is nobody's answer; that the peer has closed is seen here as well. One that sends without end is left.
	for (int unasked = 0; d->connection.fd >= 0 && unasked < UNASKED_MAX; unasked++)
		if ((error = gw_hl7_connection_receive(&d->connection, 0, &message)) != GW_OK)
			break;
	if (d->connection.fd >= 0 && error == GW_E_TIMEOUT)
		return true;
	if (error == GW_E_STOPPING)
		return false;
	error = gw_hl7_connection_open(&d->connection, d->options.host, d->options.port, CONNECT_MS_MAX, &why);
	if (error == GW_OK) {
		gw_diag(GW_INFO, "hl7.connected", "destination=%s host=%s port=%d", d->options.sender.destination, d->options.host, d->options.port);
		gw_hl7_set_state(d, GW_HL7_CONNECTED);
		return true;
	}
	if (error != GW_E_STOPPING) {
		gw_diag(d->backoff_ms == 0 ? GW_WARNING : GW_DEBUG, "hl7.away", "destination=%s: %s", d->options.sender.destination, why.text);
		remember_error(d, why.text);
		gw_hl7_set_state(d, GW_HL7_AWAY);
		back_off(d);
	}
	return false;
}

static enum outcome
send_first(struct gw_hl7_destination *d)
{
	const struct gw_hl7_message *message = d->outbox.first;
	enum gw_error error;

	count(d, &d->sent);
	error = gw_hl7_connection_send(&d->connection, gw_span(message->bytes, message->len), d->options.answer_ms_max);
	return error == GW_OK ? await_answer(d) : of_error(error);
}

static void
done(struct gw_hl7_destination *d)
{
	count(d, &d->acknowledged);
	memcpy(d->previous_id, d->outbox.first->control_id, sizeof(d->previous_id));
	d->backoff_ms = 0;
	gw_hl7_set_state(d, GW_HL7_CONNECTED);
	remove_first(d);
}

static void
again(struct gw_hl7_destination *d)
{
	count(d, &d->errors);
	gw_hl7_set_state(d, GW_HL7_REFUSING);
	if (d->outbox.first->errors < UINT16_MAX)
		d->outbox.first->errors++;
	if (d->outbox.first->errors >= d->options.retries_max && park_first(d)) {
		d->backoff_ms = 0;
		return;
	}
	store_errors(d);
	back_off(d);
}

static void
rejected(struct gw_hl7_destination *d)
{
	count(d, &d->rejects);
	gw_hl7_set_state(d, GW_HL7_REFUSING);
	if (!park_first(d))
		back_off(d);
}

// No answer that could be believed: closed first, so that a late answer can never be taken for another's.
static void
close_and_wait(struct gw_hl7_destination *d, enum outcome outcome)
{
	static const char *const words[] = {
		[NO_ANSWER] = "no answer in time", [NOT_UNDERSTOOD] = "the answer is no acknowledgement",
		[FOREIGN] = "the answer is for another message", [LOST] = "the connection ended before the answer",
	};

	count(d, outcome == FOREIGN || outcome == NOT_UNDERSTOOD ? &d->foreign : &d->unanswered);
	gw_hl7_connection_close(&d->connection);
	gw_diag(d->backoff_ms == 0 ? GW_WARNING : GW_DEBUG, "hl7.again", "destination=%s message=%s: %s", d->options.sender.destination,
	    d->outbox.first->control_id, words[outcome]);
	remember_error(d, words[outcome]);
	gw_hl7_set_state(d, GW_HL7_AWAY);
	back_off(d);
}

static void
settle(struct gw_hl7_destination *d, enum outcome outcome)
{
	switch (outcome) {
	case DONE: done(d); break;
	case AGAIN: again(d); break;
	case PARK: rejected(d); break;
	case NO_ANSWER: case NOT_UNDERSTOOD: case FOREIGN: case LOST: close_and_wait(d, outcome); break;
	case STOPPED: break;
	}
}

void
gw_hl7_deliver(struct gw_hl7_destination *d)
{
	int64_t until = gw_clock_mono_us() + DELIVER_US, now;

	gw_hl7_reap_removals(d, false);
	while (!d->stopping && d->outbox.first != NULL && (now = gw_clock_mono_us()) >= d->next_us && now < until && connected(d))
		settle(d, send_first(d));
}
