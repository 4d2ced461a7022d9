// SPDX-License-Identifier: Apache-2.0
// Reading acknowledgements: segments, then fields, without a copy. Any thread.
#include "adapters/hl7/ack.h"

// The part of *rest before the next separator; *rest goes behind it.
static struct gw_span
cut(struct gw_span *rest, uint8_t separator)
{
	const uint8_t *end = rest->len > 0 ? memchr(rest->at, separator, rest->len) : NULL;
	size_t len = end != NULL ? (size_t)(end - rest->at) : rest->len;
	struct gw_span part = gw_span(rest->at, len);

	*rest = end != NULL ? gw_span(end + 1, rest->len - len - 1) : gw_span(NULL, 0);
	return part;
}

// The next segment that is not empty.
static bool
next_segment(struct gw_span *rest, struct gw_span *segment)
{
	while (rest->len > 0) {
		size_t i = 0;

		while (i < rest->len && rest->at[i] != '\r' && rest->at[i] != '\n')
			i++;
		*segment = gw_span(rest->at, i);
		*rest = i < rest->len ? gw_span(rest->at + i + 1, rest->len - i - 1) : gw_span(NULL, 0);
		if (segment->len > 0)
			return true;
	}
	return false;
}

static struct gw_span
field(struct gw_span segment, uint8_t separator, int n)
{
	struct gw_span part = cut(&segment, separator);

	for (; n > 0; n--)
		part = cut(&segment, separator);
	return part;
}

static struct gw_span
trim(struct gw_span text)
{
	while (text.len > 0 && (text.at[0] == ' ' || text.at[0] == '\t'))
		text = gw_span(text.at + 1, text.len - 1);
	while (text.len > 0 && (text.at[text.len - 1] == ' ' || text.at[text.len - 1] == '\t'))
		text.len--;
	return text;
}

static bool
is_segment(struct gw_span segment, const char *name, uint8_t separator)
{
	return segment.len >= 3 && memcmp(segment.at, name, 3) == 0 && (segment.len == 3 || segment.at[3] == separator);
}

static enum gw_hl7_answer
answer_of(struct gw_span code)
{
	static const struct { char code[3]; enum gw_hl7_answer answer; } table[] = {
		{ "AA", GW_HL7_ACCEPT }, { "CA", GW_HL7_ACCEPT },
		{ "AE", GW_HL7_ERROR }, { "CE", GW_HL7_ERROR },
		{ "AR", GW_HL7_REJECT }, { "CR", GW_HL7_REJECT },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (gw_span_is(code, table[i].code))
			return table[i].answer;
	return GW_HL7_MALFORMED;
}

static void
take_msa(struct gw_hl7_ack *ack, struct gw_span segment, uint8_t separator)
{
	struct gw_span code = trim(field(segment, separator, 1));

	if (code.len == 2)
		memcpy(ack->code, code.at, 2);
	ack->control_id = trim(field(segment, separator, 2));
	ack->text = trim(field(segment, separator, 3));
	ack->answer = ack->control_id.len > 0 ? answer_of(code) : GW_HL7_MALFORMED;
}

// ERR-8 is written for users, ERR-7 for whoever looks into it, ERR-5 is the application's code, ERR-3 HL7's (second component: the text).
static void
take_err(struct gw_hl7_ack *ack, struct gw_span segment, uint8_t separator, uint8_t component)
{
	static const struct { int field, component; } where[] = { { 8, 0 }, { 7, 0 }, { 5, 1 }, { 3, 1 }, { 3, 0 } };

	for (size_t i = 0; ack->text.len == 0 && i < sizeof(where) / sizeof(where[0]); i++)
		ack->text = trim(field(field(segment, separator, where[i].field), component, where[i].component));
}

void
gw_hl7_ack_parse(struct gw_span message, struct gw_hl7_ack *ack)
{
	struct gw_span segment;
	uint8_t separator, component;
	bool seen = false;

	*ack = (struct gw_hl7_ack){ .answer = GW_HL7_MALFORMED };
	if (!next_segment(&message, &segment) || segment.len < 5 || memcmp(segment.at, "MSH", 3) != 0)
		return;
	separator = segment.at[3];
	component = segment.at[4];
	while (next_segment(&message, &segment)) {
		if (is_segment(segment, "MSA", separator) && !seen) {
			take_msa(ack, segment, separator);
			seen = true;
		} else if (is_segment(segment, "ERR", separator)) {
			take_err(ack, segment, separator, component);
		}
	}
}
