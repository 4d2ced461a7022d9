// SPDX-License-Identifier: Apache-2.0
// What a message means, as text that a person can read: for golden files. One program includes it once.
#ifndef HL7_MEANING_H
#define HL7_MEANING_H

#include "adapters/hl7/interpret.h"

#include <stdio.h>
#include <time.h>

static bool
find_device(void *arg, uint64_t eui64, struct gw_span name, struct gw_span *id)
{
	(void)arg;
	if (eui64 == 0x231A8456B1CB2366 || gw_span_is(name, "mon-1"))
		*id = gw_span_text("mon-1");
	else if (gw_span_is(name, "pump-2"))
		*id = gw_span_text("pump-2");
	else
		return false;
	return true;
}

// ---- What it means, as text ----

static void
line(struct gw_hl7_out *out, const char *name, struct gw_span value)
{
	if (value.len == 0)
		return;
	gw_hl7_putf(out, "  %s ", name);
	gw_hl7_put_bytes(out, value);
	gw_hl7_put(out, "\n");
}

static void
person(struct gw_hl7_out *out, const char *who, const struct gw_person *person)
{
	for (size_t i = 0; i < person->identifier_count; i++) {
		const struct gw_identifier *one = &person->identifiers[i];

		gw_hl7_putf(out, "  %s %.*s @%.*s :%.*s\n", who, GW_SPAN_FMT(one->id), GW_SPAN_FMT(one->authority), GW_SPAN_FMT(one->type));
	}
	line(out, "family", person->family);
	line(out, "given", person->given);
	line(out, "middle", person->middle);
	line(out, "suffix", person->suffix);
	line(out, "prefix", person->prefix);
	line(out, "birth", person->birth);
	line(out, "sex", person->sex);
	line(out, "account", person->account);
}

static const char *
moment(int64_t us, char text[40])
{
	time_t seconds = (time_t)(us / 1000000);
	struct tm tm;
	size_t len = strftime(text, 40, "%Y-%m-%dT%H:%M:%S", gmtime_r(&seconds, &tm));

	if (us % 1000000 != 0)
		len += (size_t)snprintf(text + len, 40 - len, ".%06d", (int)(us % 1000000));
	snprintf(text + len, 40 - len, "Z");
	return text;
}

static void
event_text(struct gw_hl7_out *out, const struct gw_patient_event *event)
{
	static const char *const verbs[] = { "", "ADMIT", "TRANSFER", "DISCHARGE", "UPDATE", "CANCEL_ADMIT", "CANCEL_TRANSFER", "CANCEL_DISCHARGE", "SWAP", "MERGE",
		"CHANGE_ID", "ASSOCIATE", "DISSOCIATE", "PLACE", "UNPLACE", "DISTINCT", "REVOKE", "RESUME" };
	char text[40];

	gw_hl7_putf(out, "%s %s\n", verbs[event->verb], moment(event->time_us, text));
	if (event->until_us != GW_TIME_OPEN)
		gw_hl7_putf(out, "  until %s\n", moment(event->until_us, text));
	person(out, "patient", &event->person);
	person(out, "other", &event->other);
	line(out, "bed", event->bed);
	line(out, "prior_bed", event->prior_bed);
	line(out, "other_bed", event->other_bed);
	line(out, "device", event->device);
	line(out, "visit", event->visit);
	line(out, "class", event->patient_class);
	line(out, "order", event->order);
	line(out, "order_authority", event->order_authority);
	line(out, "filler", event->filler);
	line(out, "source", event->source);
}

static void
meaning_text(const struct gw_hl7_meaning *meaning, struct gw_hl7_out *out)
{
	static const char *const means[] = { "", "NOTHING\n", "ANSWER\n", "FAULT " };

	gw_hl7_put(out, means[meaning->means]);
	if (meaning->means == GW_HL7_MEANS_FAULT)
		gw_hl7_putf(out, "%u %s^%u^%u %s\n", meaning->fault.code, meaning->fault.segment, meaning->fault.sequence, meaning->fault.field,
		    meaning->fault.reject ? "reject" : "error");
	for (size_t i = 0; i < meaning->count; i++)
		event_text(out, &meaning->events[i]);
}

#endif
