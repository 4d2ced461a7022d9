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
#define REMOVAL_US 100000 // a deletion waits so long for those of the messages that stand behind it
#define UNASKED_MAX 64 // messages of the peer's that nobody asked for

// What came of sending a message once.
enum outcome { DONE, AGAIN, PARK, NO_ANSWER, NOT_UNDERSTOOD, FOREIGN, LOST, STOPPED, PENDING, UNFINISHED };

void
gw_hl7_set_state(struct gw_hl7_destination *d, enum gw_hl7_state state)
{
	pthread_mutex_lock(&d->lock);
	d->state = state;
	if (d->connection.fd < 0)
		d->connected_us = 0;
	else if (d->connected_us == 0)
		d->connected_us = gw_clock_wall_us();
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
	d->error_us = gw_clock_wall_us();
	pthread_mutex_unlock(&d->lock);
}

// Twice as long each time, plus or minus a quarter.
static void
back_off(struct gw_hl7_destination *d)
{
	uint32_t random = 0;
	int ms = d->backoff_ms > 0 ? d->backoff_ms : d->settings->backoff_ms_min;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		random = (uint32_t)gw_clock_mono_us();
	d->backoff_ms = ms * 2 < d->settings->backoff_ms_max ? ms * 2 : d->settings->backoff_ms_max;
	d->next_us = gw_clock_mono_us() + (ms - ms / 4 + (int)(random % (uint32_t)(ms / 2 + 1))) * 1000LL;
}

// ---- Durable consequences ----

void
gw_hl7_submit_removals(struct gw_hl7_destination *d)
{
	if (d->removal == NULL)
		return;
	d->removing++;
	gw_intake_submit(d->removal);
	d->removal = NULL;
	d->removal_count = 0;
}

int64_t
gw_hl7_removals_left_us(const struct gw_hl7_destination *d)
{
	if (d->removal == NULL)
		return INT64_MAX;
	return d->outbox.first == NULL ? 0 : d->removal_us + REMOVAL_US - gw_clock_mono_us();
}

void
gw_hl7_reap_removals(struct gw_hl7_destination *d, bool all)
{
	struct gw_ticket *ticket, *next;

	if (all)
		gw_hl7_submit_removals(d);
	do {
		if (all && d->removing > 0)
			poll(&(struct pollfd){ .fd = d->removals.event_fd, .events = POLLIN }, 1, 1000);
		for (ticket = gw_source_take(&d->removals); ticket != NULL; ticket = next) {
			next = ticket->next;
			d->removing--;
			if (ticket->result != GW_OK && ticket->result != GW_E_STOPPING)
				gw_diag(GW_WARNING, "hl7.outbox", "destination=%s: an acknowledged message could not be deleted and is sent again after a restart: %s",
				    d->settings->name, gw_error_text(ticket->result));
			gw_ticket_release(ticket);
		}
	} while (all && d->removing > 0);
}

// What became of the first message, into its row of the ledger.
static enum gw_error
settle_row(struct gw_hl7_destination *d, struct gw_ticket *ticket, enum gw_hl7_filed_state state, const char *code)
{
	const struct gw_hl7_message *message = d->outbox.first;

	return message->device[0] == '\0' ? GW_OK : gw_hl7_filed_settle(d->options.core->journal, d->outbox.prefix, ticket, message->device, message->least_us,
	    message->control_id, state, code, gw_clock_wall_us());
}

// Acknowledged: it leaves the outbox. Nothing waits for that commit, which takes some at once where messages go in quick succession, together with the messages
// that are made next; a crash before it sends them again under the same MSH-10.
static void
remove_first(struct gw_hl7_destination *d)
{
	if (d->removal == NULL && (d->removal = gw_ticket_get(&d->removals)) == NULL) {
		gw_hl7_reap_removals(d, true);
		d->removal = gw_ticket_get(&d->removals);
	}
	if (d->removal != NULL) {
		if (d->removal_count == 0)
			d->removal_us = gw_clock_mono_us();
		d->removal->essential = true;
		if (gw_hl7_outbox_del(&d->outbox, d->removal, d->outbox.first) != GW_OK || settle_row(d, d->removal, GW_HL7_FILED_SENT, d->answer_code) != GW_OK)
			gw_diag(GW_WARNING, "hl7.outbox", "destination=%s: out of memory; an acknowledged message may be sent again", d->settings->name);
		if (++d->removal_count >= GW_HL7_REMOVALS_AT_ONCE)
			gw_hl7_submit_removals(d);
	}
	gw_hl7_outbox_shift(&d->outbox);
}

// Parked where there is room; else it stays where it is, and everything behind it waits: nothing is skipped silently.
static bool
park_first(struct gw_hl7_destination *d, const char *code, const char *text)
{
	struct gw_hl7_message *message = d->outbox.first;
	struct gw_ticket *ticket;
	char reason[176];
	enum gw_error error;

	if (d->outbox.parked >= d->settings->parked_max) {
		gw_hl7_set_state(d, GW_HL7_HELD);
		remember_error(d, "as many messages are parked as may be: retry or drop them");
		return false;
	}
	snprintf(reason, sizeof(reason), "%s%s%s", code, code[0] != '\0' && text[0] != '\0' ? " " : "", text);
	if ((ticket = gw_ticket_get(&d->source)) == NULL)
		return false;
	ticket->essential = true;
	if ((error = gw_hl7_outbox_park(&d->outbox, ticket, message, gw_span_text(reason))) == GW_OK)
		error = settle_row(d, ticket, GW_HL7_FILED_PARKED, code);
	if (error == GW_OK && (error = gw_intake_commit(ticket)) == GW_OK) {
		gw_diag(GW_WARNING, "hl7.parked", "destination=%s message=%s number=%llu answer=%s", d->settings->name, message->control_id,
		    (unsigned long long)message->number, code[0] != '\0' ? code : "none");
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
		gw_diag(GW_WARNING, "hl7.outbox", "destination=%s: the number of errors could not be stored", d->settings->name);
	gw_ticket_release(ticket);
}

// ---- Answers ----

// The peer's words go to people and into JSON: no control characters, and UTF-8 or plain ASCII.
static void
clean(char *text)
{
	bool utf8 = gw_hl7_utf8_valid(gw_span_text(text), NULL);

	for (unsigned char *at = (unsigned char *)text; *at != '\0'; at++)
		if (*at < 0x20 || *at == 0x7F || (*at >= 0x80 && !utf8))
			*at = '?';
}

static void
remember_answer(struct gw_hl7_destination *d, const struct gw_hl7_ack *ack)
{
	pthread_mutex_lock(&d->lock);
	d->answer_us = gw_clock_wall_us();
	memcpy(d->answer_code, ack->code, sizeof(d->answer_code));
	snprintf(d->answer_text, sizeof(d->answer_text), "%.*s", GW_SPAN_FMT(ack->text));
	clean(d->answer_text);
	pthread_mutex_unlock(&d->lock);
}

// What the peer has still to say about the message under way (HL7 v2 section 2.9.3): nothing, either acknowledgement, the application's.
enum awaited { NOTHING, EITHER, APPLICATION };

static enum awaited
awaited_first(const struct gw_hl7_settings *settings)
{
	bool accept = strcmp(settings->accept_ack, "AL") == 0, application = strcmp(settings->application_ack, "AL") == 0;

	if (application)
		return APPLICATION;
	return accept || settings->accept_ack[0] == '\0' ? EITHER : NOTHING;
}

static bool
is_accept_code(const struct gw_hl7_ack *ack)
{
	return ack->code[0] == 'C';
}

// An answer that names the message. Where an application acknowledgement is wanted an accept one (CA) only says that it will come: PENDING.
static enum outcome
outcome_of(struct gw_hl7_destination *d, const struct gw_hl7_ack *ack, enum awaited awaited)
{
	static const enum outcome outcomes[] = {
		[GW_HL7_MALFORMED] = NOT_UNDERSTOOD, [GW_HL7_ACCEPT] = DONE, [GW_HL7_ERROR] = AGAIN, [GW_HL7_REJECT] = PARK,
	};

	if (ack->answer != GW_HL7_MALFORMED && !gw_span_is(ack->control_id, d->outbox.first->control_id))
		return FOREIGN;
	remember_answer(d, ack);
	if (ack->answer == GW_HL7_ACCEPT && awaited == APPLICATION && is_accept_code(ack))
		return PENDING;
	return outcomes[ack->answer];
}

// Field n of MSH (from 3 on), as it stands.
static struct gw_span
header_field(struct gw_span message, int n)
{
	const uint8_t *at = message.at, *end = at + message.len, *stop = at, *next;
	uint8_t separator;

	if (message.len < 5 || memcmp(at, "MSH", 3) != 0)
		return gw_span(NULL, 0);
	separator = at[3];
	while (stop < end && *stop != '\r' && *stop != '\n')
		stop++;
	for (at += 4; n > 2 && at < stop; n--, at = next + 1)
		if ((next = memchr(at, separator, (size_t)(stop - at))) == NULL)
			return gw_span(NULL, 0);
	if (at >= stop)
		return gw_span(NULL, 0);
	next = memchr(at, separator, (size_t)(stop - at));
	return gw_span(at, (size_t)((next != NULL ? next : stop) - at));
}

// The application's acknowledgement is a message of its own: where its MSH-15 asks for it, it is accepted in turn (CA, on the same connection).
static bool
accept_in_turn(struct gw_hl7_destination *d, struct gw_span message)
{
	struct gw_span id = header_field(message, 10), when = header_field(message, 15);
	char text[512], now[32];
	struct gw_hl7_out time = { NULL, 0, 0, false };
	int len;

	if (!gw_span_is(when, "AL") && !gw_span_is(when, "SU"))
		return true;
	if (id.len == 0 || id.len > 199 || memchr(id.at, message.at[3], id.len) != NULL)
		return true; // nothing that could be named
	gw_hl7_put_time(&time, gw_clock_wall_us());
	snprintf(now, sizeof(now), "%.*s", time.failed ? 0 : (int)time.len, time.at != NULL ? (const char *)time.at : "");
	gw_hl7_out_fini(&time);
	len = snprintf(text, sizeof(text), "MSH|^~\\&|^%016llX^EUI-64||||%s||ACK^R01^ACK|C%s|%s|%s|||NE|NE\rMSA|CA|%.*s\r",
	    (unsigned long long)d->settings->eui64, now, d->outbox.first->control_id + 1, d->settings->processing_id, d->settings->version, GW_SPAN_FMT(id));
	return gw_hl7_connection_send(&d->connection, gw_span(text, (size_t)len), d->settings->answer_ms_max) == GW_OK;
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

// Until the peer has said what it has to say; the application gets its own time after the accept acknowledgement.
static enum outcome
await_answer(struct gw_hl7_destination *d, enum awaited awaited)
{
	int64_t until = gw_clock_mono_us() + d->settings->answer_ms_max * 1000LL, left;
	bool accepted = false;
	struct gw_hl7_ack ack;
	struct gw_span message;
	enum outcome outcome;
	enum gw_error error;

	for (;;) {
		left = until - gw_clock_mono_us();
		error = left <= 0 ? GW_E_TIMEOUT : gw_hl7_connection_receive(&d->connection, (int)((left + 999) / 1000), &message);
		if (error != GW_OK)
			return error == GW_E_TIMEOUT && accepted ? UNFINISHED : of_error(error);
		gw_hl7_ack_parse(message, &ack);
		if (of_no_interest(d, message, &ack))
			continue;
		outcome = outcome_of(d, &ack, awaited);
		if (outcome == PENDING) {
			until = accepted ? until : gw_clock_mono_us() + d->settings->answer_ms_max * 1000LL;
			accepted = true;
			continue;
		}
		if (awaited == APPLICATION && outcome != FOREIGN && outcome != NOT_UNDERSTOOD && !is_accept_code(&ack) && !accept_in_turn(d, message))
			return LOST;
		return outcome;
	}
}

// ---- Sending ----

// While the peer is away nothing is sent: stored, so that after a restart what was made meanwhile can still be changed. Before anything is sent again, it is no
// longer so.
static bool
store_away(struct gw_hl7_destination *d, bool away)
{
	struct gw_ticket *ticket;
	enum gw_error error;

	if (d->outbox.is_away == away)
		return true;
	if ((ticket = gw_ticket_get(&d->source)) == NULL)
		return false;
	ticket->essential = true;
	if ((error = gw_hl7_outbox_away(&d->outbox, ticket, away)) == GW_OK && (error = gw_intake_commit(ticket)) == GW_OK)
		d->outbox.is_away = away;
	gw_ticket_release(ticket);
	return error == GW_OK;
}

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
	error = gw_hl7_connection_open(&d->connection, &d->peer, CONNECT_MS_MAX, &why);
	if (error == GW_OK && !store_away(d, false)) {
		gw_hl7_connection_close(&d->connection);
		back_off(d);
		return false;
	}
	if (error == GW_OK) {
		gw_diag(GW_INFO, "hl7.connected", "destination=%s host=%s port=%d %s", d->settings->name, d->peer.host, d->peer.port,
		    d->connection.tls != NULL ? gw_tls_link_version(d->connection.tls) : "plain");
		gw_hl7_set_state(d, GW_HL7_CONNECTED);
		return true;
	}
	if (error != GW_E_STOPPING) {
		gw_diag(d->backoff_ms == 0 ? GW_WARNING : GW_DEBUG, "hl7.away", "destination=%s: %s", d->settings->name, why.text);
		remember_error(d, why.text);
		gw_hl7_set_state(d, GW_HL7_AWAY);
		(void)store_away(d, true);
		back_off(d);
	}
	return false;
}

static enum outcome
send_first(struct gw_hl7_destination *d)
{
	struct gw_hl7_message *message = d->outbox.first;
	enum awaited awaited = awaited_first(d->settings);
	enum gw_error error;

	message->tried = true;
	if (message->number > d->outbox.tried)
		d->outbox.tried = message->number;
	count(d, &d->sent);
	error = gw_hl7_connection_send(&d->connection, gw_span(message->bytes, message->len), d->settings->answer_ms_max);
	if (error != GW_OK)
		return of_error(error);
	return awaited == NOTHING ? DONE : await_answer(d, awaited);
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
	if (d->outbox.first->errors >= d->settings->errors_max && park_first(d, d->answer_code, d->answer_text)) {
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
	if (d->settings->rejected == GW_HL7_RETRY || !park_first(d, d->answer_code, d->answer_text))
		back_off(d);
}

// No answer that could be believed: closed first, so that a late answer can never be taken for another's.
static void
close_and_wait(struct gw_hl7_destination *d, enum outcome outcome)
{
	static const char *const words[] = {
		[NO_ANSWER] = "no answer in time", [NOT_UNDERSTOOD] = "the answer is no acknowledgement",
		[FOREIGN] = "the answer is for another message", [LOST] = "the connection ended before the answer",
		[UNFINISHED] = "accepted (CA), but no application acknowledgement came on this connection in time: should acknowledgement be AL/NE?",
	};

	const char *why = outcome == LOST && d->connection.reason[0] != '\0' ? d->connection.reason : words[outcome];

	count(d, outcome == FOREIGN || outcome == NOT_UNDERSTOOD ? &d->foreign : &d->unanswered);
	gw_diag(d->backoff_ms == 0 ? GW_WARNING : GW_DEBUG, "hl7.again", "destination=%s message=%s: %s", d->settings->name,
	    d->outbox.first->control_id, why);
	remember_error(d, why);
	gw_hl7_connection_close(&d->connection);
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
	case NO_ANSWER: case NOT_UNDERSTOOD: case FOREIGN: case LOST: case UNFINISHED: close_and_wait(d, outcome); break;
	case STOPPED: case PENDING: break;
	}
}

// The message that goes next stands first then. One that was sent and is not settled yet stays it: what was sent goes again, and nothing before it.
static bool
choose(struct gw_hl7_destination *d)
{
	int64_t now = gw_clock_mono_us(), wait_us;

	if (d->outbox.first == NULL || now < d->next_us)
		return false;
	if (d->under_way == d->outbox.first->number)
		return true;
	if (!gw_hl7_pick(&d->pick, &d->outbox, now, &wait_us)) {
		d->next_us = now + wait_us;
		return false;
	}
	d->under_way = d->outbox.first->number;
	return true;
}

// Made when the destination was a test system, maybe of a simulated device; now it is one of production. It never goes there.
static bool
keep_back(struct gw_hl7_destination *d)
{
	const struct gw_hl7_message *message = d->outbox.first;

	if (!d->settings->production || gw_span_is(header_field(gw_span(message->bytes, message->len), 11), "P"))
		return false;
	if (!park_first(d, "", "a test message, made before the destination became one of production: drop it"))
		back_off(d);
	return true;
}

void
gw_hl7_deliver(struct gw_hl7_destination *d)
{
	int64_t until = gw_clock_mono_us() + DELIVER_US;

	gw_hl7_reap_removals(d, false);
	while (!d->stopping && gw_clock_mono_us() < until && choose(d)) {
		if (keep_back(d))
			continue;
		if (!connected(d))
			break;
		settle(d, send_first(d));
	}
}
