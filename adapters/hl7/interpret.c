// SPDX-License-Identifier: Apache-2.0
// From a message to its meaning: the header's checks, then one function per kind of message. Any thread.
#include "adapters/hl7/interpret_impl.h"

#include "adapters/hl7/dtm.h"

#include <ctype.h>
#include <stdio.h>

#define MSH GW_HL7_NAME('M', 'S', 'H')
#define MSA GW_HL7_NAME('M', 'S', 'A')
#define EVN GW_HL7_NAME('E', 'V', 'N')
#define SOURCE_MAX 200
#define CONTROL_ID_MAX 199 // as IHE's profile has it; it is kept to know a message again

// ---- Faults ----

struct gw_patient_event *
gw_hl7_fault(struct gw_hl7_reading *r, unsigned code, uint32_t name, size_t segment, unsigned field, const char *words)
{
	struct gw_hl7_fault *fault = &r->meaning->fault;

	if (gw_hl7_failed(r))
		return NULL;
	r->meaning->means = GW_HL7_MEANS_FAULT;
	*fault = (struct gw_hl7_fault){ .code = code, .field = field, .sequence = 1, .reject = code >= 200 && code <= 203,
		.segment = { (char)(name >> 16), (char)(name >> 8), (char)name, '\0' } };
	for (size_t i = 0; i < segment && i < r->in->segment_count; i++)
		fault->sequence += r->in->segments[i].name == name;
	snprintf(fault->why.text, sizeof(fault->why.text), "%s%s%.0u: %s", fault->segment, field > 0 ? "-" : "", field, words);
	return NULL;
}

void
gw_hl7_fault_at(struct gw_hl7_reading *r, unsigned code, const struct gw_hl7_path *path, struct gw_hl7_scope scope, const char *words)
{
	size_t segment = gw_hl7_path_segment(r->in, path, scope);
	bool first = !gw_hl7_failed(r);

	gw_hl7_fault(r, code, path->segment, segment < r->in->segment_count ? segment : scope.to, path->field, words);
	if (first)
		r->meaning->fault.component = path->component;
}

struct gw_patient_event *
gw_hl7_event(struct gw_hl7_reading *r, enum gw_patient_verb verb)
{
	struct gw_patient_event *event;

	if (gw_hl7_failed(r))
		return NULL;
	if (r->meaning->count == GW_HL7_EVENTS_MAX)
		return gw_hl7_fault(r, 207, MSH, 0, 9, "more than 16 patients or orders in one message");
	event = &r->meaning->events[r->meaning->count++];
	*event = (struct gw_patient_event){ .verb = verb, .until_us = GW_TIME_OPEN, .told_us = r->told_us, .source = r->source };
	return event;
}

bool
gw_hl7_group(const struct gw_hl7_in *in, uint32_t name, struct gw_hl7_scope *scope)
{
	size_t from = gw_hl7_find(in, name, scope->to, in->segment_count);

	if (from == in->segment_count)
		return false;
	if (scope->to == 0)
		scope->head = from;
	scope->from = from;
	scope->to = gw_hl7_find(in, name, from + 1, in->segment_count);
	return true;
}

// ---- The header ----

static struct gw_span
header(const struct gw_hl7_reading *r, unsigned field, unsigned component)
{
	return gw_hl7_component(r->in, gw_hl7_field(r->in, 0, field), component);
}

static void
check_header(struct gw_hl7_reading *r)
{
	struct gw_span version = header(r, 12, 1), processing = header(r, 11, 1);

	if (header(r, 9, 1).len == 0)
		gw_hl7_fault(r, 101, MSH, 0, 9, "no message type");
	else if (gw_hl7_field(r->in, 0, 10).len == 0)
		gw_hl7_fault(r, 101, MSH, 0, 10, "no control id: it tells a message from its repetition");
	else if (gw_hl7_field(r->in, 0, 10).len > CONTROL_ID_MAX)
		gw_hl7_fault(r, 102, MSH, 0, 10, "a control id longer than 199 bytes");
	else if (version.len > 0 && (version.len < 3 || version.at[0] != '2' || version.at[1] != '.' || !isdigit(version.at[2])))
		gw_hl7_fault(r, 203, MSH, 0, 12, "only HL7 v2 is read");
	else if (processing.len > 0 && (processing.len > 1 || strchr(r->mapping->processing, processing.at[0]) == NULL))
		gw_hl7_fault(r, 202, MSH, 0, 11, "messages of this processing id are not taken here");
}

static struct gw_span
source_of(struct gw_hl7_reading *r, struct gw_span trigger)
{
	const unsigned fields[] = { 3, 4, 10 };
	struct gw_span part[3];
	uint8_t *text = gw_hl7_room(r->in, SOURCE_MAX);
	int len;

	for (size_t i = 0; i < 3; i++) {
		part[i] = gw_hl7_text(r->in, header(r, fields[i], 1));
		if (part[i].len > 48)
			part[i].len = 48;
	}
	if (text == NULL)
		return gw_span(NULL, 0);
	len = snprintf((char *)text, SOURCE_MAX, "hl7 %.*s^%.*s %.*s %.*s", GW_SPAN_FMT(part[0]), GW_SPAN_FMT(part[1]),
	    (int)(trigger.len < 8 ? trigger.len : 8), (const char *)trigger.at, GW_SPAN_FMT(part[2]));
	return gw_span(text, (size_t)(len < SOURCE_MAX ? len : SOURCE_MAX - 1));
}

// The moment near which local times are: when the message was made, where that is told with a zone.
static int64_t
near_of(const struct gw_hl7_reading *r)
{
	struct gw_hl7_dtm dtm;

	return gw_hl7_dtm_parse(header(r, 7, 1), NULL, 0, &dtm) && dtm.zoned ? dtm.us : r->context->received_us;
}

// When it was said. Minutes alone do not tell which of two messages was first, but when they came does; and a clock that is ahead must not win for ever.
static int64_t
told_of(const struct gw_hl7_reading *r)
{
	struct gw_hl7_dtm dtm;

	return gw_hl7_dtm_parse(header(r, 7, 1), r->context->zone, r->context->received_us, &dtm) && dtm.precision >= GW_HL7_SECOND &&
	    dtm.us < r->context->received_us ? dtm.us : r->context->received_us;
}

// ---- The whole ----

static void
dispatch(struct gw_hl7_reading *r)
{
	struct gw_span type = header(r, 9, 1), trigger = header(r, 9, 2);

	if (trigger.len == 0) // some put it into EVN alone
		trigger = gw_hl7_component(r->in, gw_hl7_field(r->in, gw_hl7_find(r->in, EVN, 1, r->in->segment_count), 1), 1);
	r->near_us = near_of(r);
	r->told_us = told_of(r);
	r->source = source_of(r, trigger);
	if (gw_span_is(type, "ADT"))
		gw_hl7_adt(r, trigger);
	else if (gw_span_is(type, "ORM"))
		gw_hl7_order(r);
	else if (gw_span_is(type, "ORU") && gw_hl7_is_association(r))
		gw_hl7_association(r);
}

void
gw_hl7_interpret(struct gw_hl7_in *in, const struct gw_hl7_context *context, struct gw_hl7_meaning *meaning)
{
	struct gw_hl7_reading r = { .in = in, .context = context, .mapping = context->mapping, .meaning = meaning };

	meaning->means = GW_HL7_MEANS_NOTHING;
	meaning->count = 0;
	meaning->reason = "a message that says nothing about patients or associations here";
	if (gw_span_is(header(&r, 9, 1), "ACK") || gw_hl7_find(in, MSA, 1, in->segment_count) < in->segment_count) {
		meaning->means = GW_HL7_MEANS_ANSWER;
		return;
	}
	check_header(&r);
	if (!gw_hl7_failed(&r))
		dispatch(&r);
	if (in->text_full)
		gw_hl7_fault(&r, 207, MSH, 0, 0, "more escaped text than is read");
	if (!gw_hl7_failed(&r) && meaning->count > 0)
		meaning->means = GW_HL7_MEANS_EVENTS;
	else
		meaning->count = 0;
}
