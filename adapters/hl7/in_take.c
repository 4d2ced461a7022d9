// SPDX-License-Identifier: Apache-2.0
// One message from bytes to tickets and answer. The thread that owns the take.
#include "adapters/hl7/in_take.h"

#include "adapters/hl7/mllp.h"

#include "gateway/clock.h"
#include "gateway/decode.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

enum { KEPT_BYTES = 4096, HEADER_MAX = 2048, PATIENT_FIELD = 3 };

struct gw_hl7_take {
	struct gw_hl7_take_options options;
	struct gw_hl7_in in;
	uint64_t next_id; // of answers, MSH-10

	// The message that was read.
	const struct gw_hl7_peer *peer;
	enum gw_auth proved;
	struct gw_span message;
	int64_t received_us;
	const struct gw_snapshot *snapshot; // while events point into it
	enum gw_error error;                // why it is refused, for the quarantine
	enum gw_hl7_outcome outcome;
	struct gw_hl7_fault fault;
	bool head_only;
	struct gw_hl7_meaning meaning;
};

// ---- Life ----

struct gw_hl7_take *
gw_hl7_take_new(const struct gw_hl7_take_options *options)
{
	struct gw_hl7_take *take = calloc(1, sizeof(*take));

	if (take == NULL)
		return NULL;
	take->options = *options;
	randombytes_buf(&take->next_id, sizeof(take->next_id));
	return take;
}

static void
put_snapshot(struct gw_hl7_take *take)
{
	if (take->snapshot != NULL)
		gw_snapshot_put(take->snapshot);
	take->snapshot = NULL;
}

void
gw_hl7_take_free(struct gw_hl7_take *take)
{
	if (take == NULL)
		return;
	put_snapshot(take);
	gw_hl7_in_fini(&take->in);
	free(take);
}

static void
reset_out(struct gw_hl7_out *out)
{
	if (out->cap > KEPT_BYTES || out->failed)
		gw_hl7_out_fini(out);
	out->len = 0;
}

void
gw_hl7_request_reset(struct gw_hl7_request *request)
{
	struct gw_hl7_out answer = request->answer, header = request->header;

	reset_out(&answer);
	reset_out(&header);
	*request = (struct gw_hl7_request){ .answer = answer, .header = header };
}

void
gw_hl7_request_fini(struct gw_hl7_request *request)
{
	gw_hl7_out_fini(&request->answer);
	gw_hl7_out_fini(&request->header);
}

const struct gw_hl7_meaning *
gw_hl7_take_meaning(const struct gw_hl7_take *take)
{
	return &take->meaning;
}

// ---- Header fields ----

static struct gw_span
header(const struct gw_hl7_in *in, unsigned field, unsigned component)
{
	struct gw_span value = gw_hl7_field(in, 0, field);

	return component > 0 ? gw_hl7_component(in, value, component) : value;
}

// "ADT^A01 4711": what a message is, for people and for the journal: printable UTF-8.
static struct gw_span
title(const struct gw_hl7_in *in, char out[GW_ROUTE_MAX + 1])
{
	struct gw_span type = header(in, 9, 1), trigger = header(in, 9, 2), id = header(in, 10, 0);
	size_t len;
	bool ascii, utf8;

	type.len = type.len < 16 ? type.len : 16;
	trigger.len = trigger.len < 16 ? trigger.len : 16;
	id.len = id.len < 199 ? id.len : 199;
	len = (size_t)snprintf(out, GW_ROUTE_MAX + 1, "%.*s%s%.*s%s%.*s", GW_SPAN_FMT(type), trigger.len > 0 ? "^" : "", GW_SPAN_FMT(trigger), id.len > 0 ? " " : "",
	    GW_SPAN_FMT(id));
	utf8 = gw_hl7_utf8_valid(gw_span(out, len), &ascii);
	for (size_t i = 0; i < len; i++)
		if ((uint8_t)out[i] < 0x20 || out[i] == 0x7f || ((uint8_t)out[i] >= 0x80 && !utf8))
			out[i] = '?';
	return gw_span(out, len);
}

// ---- Reading ----

static void
refuse(struct gw_hl7_take *take, enum gw_error error, const struct gw_hl7_fault *fault)
{
	take->error = error;
	take->fault = *fault;
	take->outcome = fault->reject ? GW_HL7_REJECTED : GW_HL7_FAILED;
	take->meaning.means = GW_HL7_MEANS_FAULT;
	take->meaning.count = 0;
}

// For lists of what is in quarantine, the kind of fault (table 0357).
static enum gw_error
error_of(const struct gw_hl7_fault *fault)
{
	static const struct { unsigned code; enum gw_error error; } table[] = {
		{ 100, GW_E_FORMAT }, { 200, GW_E_ROUTE }, { 201, GW_E_ROUTE }, { 202, GW_E_FORBIDDEN }, { 203, GW_E_CONTENT_FORMAT },
		{ 204, GW_E_NOT_FOUND }, { 205, GW_E_EXISTS }, { 207, GW_E_TOO_LARGE },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].code == fault->code)
			return table[i].error;
	return GW_E_FIELD;
}

static void
begin(struct gw_hl7_take *take, const struct gw_hl7_peer *peer, enum gw_auth proved, struct gw_span message, int64_t received_us)
{
	put_snapshot(take);
	take->peer = peer;
	take->proved = proved;
	take->message = message;
	take->received_us = received_us;
	take->error = GW_OK;
	take->outcome = GW_HL7_TAKEN;
	take->head_only = false;
	take->fault = (struct gw_hl7_fault){ 0 };
	take->meaning.count = 0;
}

static void
parse_failed(struct gw_hl7_take *take, enum gw_error error, const struct gw_why *why)
{
	enum gw_hl7_outcome outcome;
	struct gw_hl7_fault fault = gw_hl7_fault_of(error, why, &outcome);

	if (fault.segment[0] == '\0' && error == GW_E_FORMAT) {
		memcpy(fault.segment, "MSH", 4);
		fault.sequence = 1;
	}
	refuse(take, error, &fault);
}

void
gw_hl7_take_read(struct gw_hl7_take *take, const struct gw_hl7_peer *peer, enum gw_auth proved, struct gw_span message, int64_t received_us)
{
	struct gw_hl7_context context = { .mapping = &peer->mapping, .zone = peer->zone, .received_us = received_us, .find_device = gw_hl7_find_device };
	struct gw_why why = { "" };
	enum gw_error error;

	begin(take, peer, proved, message, received_us);
	if ((error = gw_hl7_parse(&take->in, message, peer->charset, &why)) != GW_OK) {
		parse_failed(take, error, &why);
		return;
	}
	take->snapshot = gw_snapshot_get(take->options.registry);
	context.arg = (void *)(uintptr_t)take->snapshot; // constant behind the callback again
	gw_hl7_interpret(&take->in, &context, &take->meaning);
	if (take->meaning.means == GW_HL7_MEANS_FAULT) {
		struct gw_hl7_fault fault = take->meaning.fault;

		refuse(take, error_of(&fault), &fault);
	}
}

static struct gw_span
first_segment(struct gw_span message)
{
	size_t i = 0;

	while (i < message.len && (message.at[i] == ' ' || message.at[i] == '\r' || message.at[i] == '\n'))
		i++;
	while (i < message.len && message.at[i] != '\r' && message.at[i] != '\n')
		i++;
	return gw_span(message.at, i);
}

void
gw_hl7_take_read_head(struct gw_hl7_take *take, const struct gw_hl7_peer *peer, enum gw_auth proved, struct gw_span head, int64_t received_us)
{
	struct gw_hl7_fault fault = { .code = 207, .reject = true };
	struct gw_why why = { "" };
	enum gw_error error;
	struct gw_span type;

	begin(take, peer, proved, head, received_us);
	take->head_only = true;
	if ((error = gw_hl7_parse(&take->in, first_segment(head), peer->charset, &why)) != GW_OK) {
		parse_failed(take, error, &why);
		return;
	}
	type = header(&take->in, 9, 1);
	if (gw_span_is(type, "ADT") || gw_span_is(type, "ORM") || gw_span_is(type, "ORU") || type.len == 0) {
		(void)gw_fail(&fault.why, GW_E_TOO_LARGE, "the message is larger than hl7_in.message_bytes_max");
		refuse(take, GW_E_TOO_LARGE, &fault);
		return;
	}
	take->meaning.means = gw_span_is(type, "ACK") ? GW_HL7_MEANS_ANSWER : GW_HL7_MEANS_NOTHING;
	take->meaning.reason = "a large message that says nothing about patients or associations here";
}

// ---- Answers ----

static void
put_frame(struct gw_hl7_take *take, enum gw_hl7_outcome outcome, const struct gw_hl7_fault *fault, bool accept, struct gw_hl7_out *out)
{
	const struct gw_hl7_in_settings *settings = take->options.settings;
	char id[17];
	struct gw_hl7_answer_options options = { .accept = accept, .orr = take->peer->orr, .control_id = id, .now_us = gw_clock_wall_us(),
		.application = settings->application, .facility = settings->facility };

	snprintf(id, sizeof(id), "%016llX", (unsigned long long)take->next_id++);
	gw_hl7_put(out, "\x0b");
	gw_hl7_answer(&take->in, outcome, fault, &options, out);
	gw_hl7_put(out, "\x1c\r");
}

// What is kept, be it in quarantine, is accepted in the sense of the enhanced mode where an application answer tells the rest.
static void
put_answer(struct gw_hl7_take *take, enum gw_hl7_outcome outcome, const struct gw_hl7_fault *fault, bool kept, struct gw_hl7_out *out)
{
	struct gw_hl7_wanted wanted = gw_hl7_wanted(&take->in, outcome), taken = gw_hl7_wanted(&take->in, GW_HL7_TAKEN);

	if (wanted.application && kept) {
		if (taken.accept)
			put_frame(take, GW_HL7_TAKEN, NULL, true, out);
		put_frame(take, outcome, fault, false, out);
	} else if (wanted.accept) {
		put_frame(take, outcome, fault, true, out);
	} else if (wanted.application) {
		put_frame(take, outcome, fault, false, out);
	}
}

static void
keep_header(struct gw_hl7_take *take, struct gw_hl7_request *request)
{
	struct gw_span segment = first_segment(take->message);

	if (segment.len <= HEADER_MAX)
		gw_hl7_put_bytes(&request->header, segment);
}

// ---- Tickets ----

static enum gw_error
put_event(struct gw_hl7_take *take, const char *words, struct gw_ticket *ticket)
{
	char route[GW_ROUTE_MAX + 1];
	struct gw_event event = { .received_us = take->received_us, .door = GW_DOOR_HL7, .auth = (uint8_t)take->proved, .code = GW_EVENT_UNUSED,
		.principal = gw_span_text(take->peer->name), .route = title(&take->in, route), .text = gw_span_text(words) };

	return gw_ticket_event(ticket, GW_RECORD_DEVICE_EVENT, &event);
}

static enum gw_error
put_quarantine(struct gw_hl7_take *take, struct gw_ticket *ticket)
{
	char route[GW_ROUTE_MAX + 1];
	struct gw_quarantined entry = { .received_us = take->received_us, .door = GW_DOOR_HL7, .auth = (uint8_t)take->proved, .error = (uint16_t)take->error,
		.content_format = GW_CF_NONE, .principal = gw_span_text(take->peer->name), .route = title(&take->in, route),
		.reason = gw_span_text(take->fault.why.text), .payload = take->message };
	enum gw_error error = gw_ticket_quarantine(ticket, &entry);

	ticket->quarantined = error == GW_OK;
	return error;
}

static enum gw_error
remember(struct gw_hl7_take *take, const struct gw_hl7_seen_key *key, enum gw_hl7_seen_result result, struct gw_ticket *ticket,
    struct gw_hl7_request *request)
{
	if (header(&take->in, 10, 0).len == 0) // there is nothing to know it by
		return GW_OK;
	return gw_hl7_seen_add(take->options.seen, key, result, gw_clock_wall_us(), ticket, &request->seen);
}

// ---- Applying ----

struct act {
	struct gw_hl7_take *take;
	struct gw_hl7_request *request;
	struct gw_ticket *ticket, *after;
	struct gw_hl7_seen_key key;
	enum gw_hl7_seen_result result; // of old
	bool used_after;
};

// Where an error of the model is to be looked for.
static void
locate(struct gw_hl7_fault *fault, const struct gw_patient_event *event, enum gw_error error)
{
	bool no_bed = event->verb == GW_PATIENT_SWAP && event->bed.len == 0;
	bool merge = event->verb == GW_PATIENT_MERGE || event->verb == GW_PATIENT_CHANGE_ID;

	if (error == GW_E_QUOTA || error == GW_E_MEMORY)
		return;
	if (error == GW_E_NOT_FOUND && event->device.len > 0) {
		memcpy(fault->segment, "OBR", 4);
		fault->field = 18;
	} else {
		memcpy(fault->segment, no_bed ? "PV1" : merge && event->other.identifier_count == 0 ? "MRG" : "PID", 4);
		fault->field = merge && event->other.identifier_count == 0 ? 1 : PATIENT_FIELD;
	}
	fault->sequence = 1;
}

static void
model_refused(struct act *act, enum gw_error error, const struct gw_patient_event *event, const struct gw_why *why)
{
	enum gw_hl7_outcome outcome;
	struct gw_hl7_fault fault = gw_hl7_fault_of(error, why, &outcome);

	locate(&fault, event, error);
	refuse(act->take, error, &fault);
}

// All events of the message; those before one that is refused stay applied: they hold by themselves, and again they do nothing.
static void
apply_events(struct act *act)
{
	struct gw_hl7_take *take = act->take;
	size_t count = take->meaning.count;
	struct gw_why why = { "" };
	enum gw_error error;

	for (size_t i = 0; i < count; i++) {
		error = gw_patients_apply(take->options.patients, &take->meaning.events[i], act->ticket, &why);
		act->request->changed = true;
		if (error != GW_OK) {
			model_refused(act, error, &take->meaning.events[i], &why);
			return;
		}
	}
	act->request->why = why;
}

// What is right, but cannot be done now: nothing of it is kept, the sender comes again.
static void
put_later(struct act *act, enum gw_error error)
{
	enum gw_hl7_outcome outcome;
	struct gw_hl7_fault fault = gw_hl7_fault_of(error, NULL, &outcome);

	fault.code = 207;
	act->request->kind = GW_HL7_LATER;
	act->request->why = fault.why;
	act->request->answer.len = 0;
	put_answer(act->take, GW_HL7_FAILED, &fault, false, &act->request->answer);
}

static bool
is_temporary(enum gw_error error)
{
	return gw_error_verdict(error) == GW_VERDICT_RETRY || gw_error_verdict(error) == GW_VERDICT_OPERATOR;
}

// Whatever was applied before goes with the ticket that was given; the refusal gets a ticket of its own then, since a quarantine that is full must not take
// the other with it.
static void
take_refused(struct act *act)
{
	struct gw_hl7_take *take = act->take;
	enum gw_error error = GW_OK;

	if (is_temporary(take->error)) {
		put_later(act, take->error);
		return;
	}
	act->request->kind = GW_HL7_REFUSED;
	act->request->why = take->fault.why;
	if (act->ticket->ops_len > 0) {
		act->ticket = act->after;
		act->used_after = true;
	}
	if (act->result != GW_HL7_SEEN_REFUSED && !take->options.replay) {
		error = put_quarantine(take, act->ticket);
		if (error == GW_OK)
			error = remember(take, &act->key, GW_HL7_SEEN_REFUSED, act->ticket, act->request);
	}
	if (error != GW_OK)
		put_later(act, error);
	else
		put_answer(take, take->outcome, &take->fault, true, &act->request->answer);
}

static void
take_unused(struct act *act)
{
	enum gw_error error = put_event(act->take, act->take->meaning.reason, act->ticket);

	act->request->kind = GW_HL7_UNUSED;
	(void)gw_fail(&act->request->why, GW_OK, "%s", act->take->meaning.reason);
	if (error == GW_OK)
		error = remember(act->take, &act->key, GW_HL7_SEEN_TAKEN, act->ticket, act->request);
	if (error != GW_OK)
		put_later(act, error);
	else
		put_answer(act->take, GW_HL7_TAKEN, NULL, true, &act->request->answer);
}

static void
take_events(struct act *act, bool reused)
{
	enum gw_error error;

	apply_events(act);
	if (act->take->meaning.means == GW_HL7_MEANS_FAULT) {
		take_refused(act);
		return;
	}
	act->request->kind = GW_HL7_TOOK;
	error = remember(act->take, &act->key, GW_HL7_SEEN_TAKEN, act->ticket, act->request);
	if (error == GW_OK && reused)
		error = put_event(act->take, "its control id came before with other content: taken as a new message", act->ticket);
	if (error != GW_OK)
		put_later(act, error); // what was applied is; when the message comes again it does nothing more
	else
		put_answer(act->take, GW_HL7_TAKEN, NULL, true, &act->request->answer);
}

static void
take_again(struct act *act)
{
	act->request->kind = GW_HL7_AGAIN;
	act->request->kept_back = true;
	put_answer(act->take, GW_HL7_TAKEN, NULL, true, &act->request->answer);
}

bool
gw_hl7_take_apply(struct gw_hl7_take *take, struct gw_hl7_request *request, struct gw_ticket *ticket, struct gw_ticket *after)
{
	struct act act = { .take = take, .request = request, .ticket = ticket, .after = after };
	uint64_t number = 0;
	bool reused = false;

	request->peer = take->peer;
	keep_header(take, request);
	if (take->meaning.means == GW_HL7_MEANS_ANSWER) {
		request->kind = GW_HL7_IS_ANSWER;
		put_answer(take, GW_HL7_TAKEN, NULL, true, &request->answer);
		return false;
	}
	gw_hl7_seen_key(take->peer->name, header(&take->in, 3, 0), header(&take->in, 4, 0), header(&take->in, 10, 0), take->message, &act.key);
	if (header(&take->in, 10, 0).len > 0)
		act.result = gw_hl7_seen_look(take->options.seen, &act.key, &number, &reused);
	request->seen = number;
	if (act.result == GW_HL7_SEEN_TAKEN)
		take_again(&act);
	else if (take->meaning.means == GW_HL7_MEANS_FAULT)
		take_refused(&act);
	else if (take->meaning.means == GW_HL7_MEANS_NOTHING)
		take_unused(&act);
	else
		take_events(&act, reused);
	put_snapshot(take);
	return act.used_after;
}

// ---- When the ticket is back ----

// Another answer than the one that was made: from the header, which says who asked and what for.
static void
answer_later(struct gw_hl7_take *take, struct gw_hl7_request *request, enum gw_error error)
{
	enum gw_hl7_outcome outcome;
	struct gw_hl7_fault fault = gw_hl7_fault_of(error, NULL, &outcome);
	struct gw_why why;

	fault.code = 207;
	fault.reject = false;
	request->kind = GW_HL7_LATER;
	request->why = fault.why;
	request->answer.len = 0;
	put_snapshot(take);
	take->peer = request->peer;
	if (gw_hl7_parse(&take->in, gw_span(request->header.at, request->header.len), request->peer->charset, &why) == GW_OK || take->in.segment_count > 0)
		put_answer(take, GW_HL7_FAILED, &fault, false, &request->answer);
}

static void
forget(struct gw_hl7_take *take, const struct gw_hl7_request *request)
{
	gw_patients_lock(take->options.patients);
	gw_hl7_seen_forget(take->options.seen, request->seen);
	gw_patients_unlock(take->options.patients);
}

// The same message under way before this one was not stored: then this one was not, either.
static bool
stands(struct gw_hl7_take *take, const struct gw_hl7_request *request)
{
	bool has;

	gw_patients_lock(take->options.patients);
	has = gw_hl7_seen_has(take->options.seen, request->seen);
	gw_patients_unlock(take->options.patients);
	return has;
}

bool
gw_hl7_take_done(struct gw_hl7_take *take, struct gw_hl7_request *request, enum gw_error result, bool *reload)
{
	*reload = request->changed && (result != GW_OK || request->kind == GW_HL7_LATER);
	if (result == GW_OK) {
		if (request->kept_back && !stands(take, request))
			answer_later(take, request, GW_E_BUSY);
		return !request->answer.failed;
	}
	if (request->seen != 0 && !request->kept_back)
		forget(take, request);
	if (result == GW_E_SYNC || result == GW_E_STOPPING)
		return false;
	if (request->kind == GW_HL7_TOOK || (request->kind == GW_HL7_REFUSED && result != GW_E_QUOTA) || request->kind == GW_HL7_AGAIN)
		answer_later(take, request, result);
	return !request->answer.failed; // what is not for us, and what is refused without room to keep it, is answered all the same: it blocks no feed
}
