// SPDX-License-Identifier: Apache-2.0
// Anything as a message from the hospital: parsed, interpreted, answered; then the answer is parsed. The first byte chooses the answer's kind and the
// default character set.
#include "adapters/hl7/ack.h"
#include "adapters/hl7/answer.h"
#include "adapters/hl7/interpret.h"

#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct gw_hl7_in in, again;
static struct gw_hl7_mapping mapping;
static struct gw_hl7_meaning meaning;

static bool
find_device(void *arg, uint64_t eui64, struct gw_span name, struct gw_span *id)
{
	(void)arg;
	*id = gw_span_text("device");
	return eui64 != 0 || (name.len > 0 && name.at[0] != 'x');
}

static void
within(struct gw_span span)
{
	assert(span.len <= 3 * GW_HL7_IN_MAX);
	for (size_t i = 0; i < span.len; i++)
		assert(span.at[i] != '\0');
}

static void
look_at_event(const struct gw_patient_event *event)
{
	assert(event->verb >= GW_PATIENT_ADMIT && event->verb <= GW_PATIENT_RESUME);
	assert(event->person.identifier_count <= GW_IDENTIFIERS_MAX && event->other.identifier_count <= GW_IDENTIFIERS_MAX);
	assert(event->bed.len <= GW_BED_MAX && event->prior_bed.len <= GW_BED_MAX && event->other_bed.len <= GW_BED_MAX);
	assert(event->order.len <= 64 && event->visit.len <= 64 && event->patient_class.len <= 8);
	for (size_t i = 0; i < event->person.identifier_count; i++)
		assert(event->person.identifiers[i].id.len >= 1 && event->person.identifiers[i].id.len <= 64);
	within(event->person.family);
	within(event->person.given);
	within(event->person.birth);
	within(event->bed);
	within(event->source);
	within(event->filler);
}

static void
answer(uint8_t kind, enum gw_hl7_outcome outcome)
{
	const struct gw_hl7_answer_options options = { .accept = kind & 1, .orr = kind & 2, .control_id = "VG1", .now_us = INT64_C(1795162500000000) };
	struct gw_hl7_out out = { 0 };
	struct gw_hl7_ack ack;

	gw_hl7_answer(&in, outcome, outcome == GW_HL7_TAKEN ? NULL : &meaning.fault, &options, &out);
	assert(!out.failed && gw_hl7_parse(&again, gw_span(out.at, out.len), NULL, NULL) == GW_OK);
	assert(gw_hl7_find(&again, GW_HL7_NAME('M', 'S', 'A'), 0, again.segment_count) == 1);
	gw_hl7_ack_parse(gw_span(out.at, out.len), &ack);
	assert(ack.code[0] == (kind & 1 ? 'C' : 'A') && ack.code[1] == "AER"[outcome]);
	gw_hl7_out_fini(&out);
}

static void
read_message(uint8_t kind, struct gw_span message)
{
	const struct gw_hl7_context context = { .mapping = &mapping, .received_us = INT64_C(1795162500000000), .find_device = find_device };
	const struct gw_hl7_charset *fallback = kind & 4 ? gw_hl7_charset_find(gw_span_text(kind & 8 ? "BIG-5" : "8859/15")) : NULL;
	enum gw_hl7_outcome outcome = GW_HL7_TAKEN;
	struct gw_why why;
	enum gw_error error = gw_hl7_parse(&in, message, fallback, &why);

	if (error == GW_OK)
		gw_hl7_interpret(&in, &context, &meaning);
	else
		meaning = (struct gw_hl7_meaning){ .means = GW_HL7_MEANS_FAULT, .fault = gw_hl7_fault_of(error, &why, &outcome) };
	if (meaning.means == GW_HL7_MEANS_FAULT)
		outcome = meaning.fault.reject ? GW_HL7_REJECTED : GW_HL7_FAILED;
	assert((meaning.means == GW_HL7_MEANS_EVENTS) == (meaning.count > 0));
	for (size_t i = 0; i < meaning.count; i++)
		look_at_event(&meaning.events[i]);
	answer(kind, outcome);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (mapping.processing[0] == '\0') {
		gw_hl7_mapping_init(&mapping);
		if (gw_hl7_mapping_set(&mapping, "services", gw_span_text("69965, 1^SCT"), NULL) != GW_OK)
			abort();
	}
	if (size > 0)
		read_message(data[0], gw_span(data + 1, size - 1));
	return 0;
}
