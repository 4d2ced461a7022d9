// SPDX-License-Identifier: Apache-2.0
// Writing answers. Any thread, each with its own buffer.
#include "adapters/hl7/answer.h"

#include <stdio.h>

#define MSA GW_HL7_NAME('M', 'S', 'A')
#define ORC GW_HL7_NAME('O', 'R', 'C')

// ---- Which are wanted ----

static bool
asks(struct gw_span condition, bool good)
{
	return gw_span_is(condition, "AL") || gw_span_is(condition, good ? "SU" : "ER");
}

struct gw_hl7_wanted
gw_hl7_wanted(const struct gw_hl7_in *in, enum gw_hl7_outcome outcome)
{
	struct gw_span accept = gw_hl7_field(in, 0, 15), application = gw_hl7_field(in, 0, 16);
	bool answer = gw_span_is(gw_hl7_component(in, gw_hl7_field(in, 0, 9), 1), "ACK") || gw_hl7_find(in, MSA, 1, in->segment_count) < in->segment_count;
	struct gw_hl7_wanted wanted = { .enhanced = accept.len > 0 || application.len > 0 };

	wanted.accept = asks(accept, outcome == GW_HL7_TAKEN);
	wanted.application = !answer && (!wanted.enhanced || asks(application, outcome == GW_HL7_TAKEN));
	return wanted;
}

// ---- Parts ----

// MSH-12 of the request where it is a version 2, else 2.5: the answer is in that version.
static struct gw_span
version_text(const struct gw_hl7_in *in)
{
	struct gw_span field = gw_hl7_field(in, 0, 12), version = gw_hl7_component(in, field, 1);

	return version.len >= 3 && version.at[0] == '2' && version.at[1] == '.' ? field : gw_span_text("2.5");
}

// 2.N[.M] as 10 * N + M: 2.5.1 is 51.
static int
version_of(const struct gw_hl7_in *in)
{
	struct gw_span version = version_text(in);
	bool minor = version.len >= 5 && version.at[3] == '.';

	return 10 * (version.at[2] - '0') + (minor ? version.at[4] - '0' : 0);
}

// A field of the request in our separators.
static void
put_field(struct gw_hl7_out *out, struct gw_hl7_in *in, struct gw_span field)
{
	if (in->component == '^' && in->repetition == '~' && in->escape == '\\' && in->subcomponent == '&') {
		gw_hl7_put_bytes(out, field);
		return;
	}
	for (size_t from = 0, i = 0; i <= field.len; i++) {
		uint8_t byte = i < field.len ? field.at[i] : 0;
		const char *separator = byte == 0 ? "" : byte == in->component ? "^" : byte == in->repetition ? "~" : byte == in->subcomponent ? "&" : NULL;

		if (separator == NULL)
			continue;
		gw_hl7_put_text(out, gw_hl7_text(in, gw_span(field.at + from, i - from)));
		gw_hl7_put(out, separator);
		from = i + 1;
	}
}

static void
put_separated(struct gw_hl7_out *out, struct gw_hl7_in *in, struct gw_span field, const char *otherwise)
{
	gw_hl7_put(out, "|");
	if (field.len > 0)
		put_field(out, in, field);
	else if (otherwise != NULL)
		gw_hl7_put_text(out, gw_span_text(otherwise));
}

// The third component came with 2.3.1.
static void
put_type(struct gw_hl7_out *out, struct gw_hl7_in *in, const struct gw_hl7_answer_options *options)
{
	struct gw_span trigger = gw_hl7_component(in, gw_hl7_field(in, 0, 9), 2);

	if (options->orr) {
		gw_hl7_put(out, version_of(in) > 30 ? "ORR^O02^ORR_O02" : "ORR^O02");
		return;
	}
	gw_hl7_put(out, "ACK");
	if (trigger.len == 0)
		return;
	gw_hl7_put(out, "^");
	put_field(out, in, trigger);
	if (version_of(in) > 30)
		gw_hl7_put(out, "^ACK");
}

static void
put_msh(struct gw_hl7_out *out, struct gw_hl7_in *in, const struct gw_hl7_answer_options *options)
{
	struct gw_hl7_wanted wanted = gw_hl7_wanted(in, GW_HL7_TAKEN);

	gw_hl7_put(out, "MSH|^~\\&");
	put_separated(out, in, gw_hl7_field(in, 0, 5), options->application);
	put_separated(out, in, gw_hl7_field(in, 0, 6), options->facility);
	put_separated(out, in, gw_hl7_field(in, 0, 3), NULL);
	put_separated(out, in, gw_hl7_field(in, 0, 4), NULL);
	gw_hl7_put(out, "|");
	gw_hl7_put_time(out, options->now_us);
	gw_hl7_put(out, "||");
	put_type(out, in, options);
	gw_hl7_putf(out, "|%s", options->control_id);
	put_separated(out, in, gw_hl7_field(in, 0, 11), "P");
	put_separated(out, in, version_text(in), NULL);
	if (wanted.enhanced)
		gw_hl7_put(out, "|||NE|NE");
}

// ---- MSA and ERR ----

static const char *
words_of(unsigned code)
{
	static const struct { unsigned code; const char *words; } table[] = {
		{ 100, "Segment sequence error" }, { 101, "Required field missing" }, { 102, "Data type error" }, { 103, "Table value not found" },
		{ 200, "Unsupported message type" }, { 201, "Unsupported event code" }, { 202, "Unsupported processing id" },
		{ 203, "Unsupported version id" }, { 204, "Unknown key identifier" }, { 205, "Duplicate key identifier" },
		{ 206, "Application record locked" }, { 207, "Application internal error" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].code == code)
			return table[i].words;
	return "Error";
}

// ERL, ELD: segment, which of them, field, and so on.
static void
put_location(struct gw_hl7_out *out, const struct gw_hl7_fault *fault, bool with_component)
{
	if (fault->segment[0] == '\0')
		return;
	gw_hl7_put(out, fault->segment);
	if (fault->sequence == 0)
		return;
	gw_hl7_putf(out, "^%u", fault->sequence);
	if (fault->field > 0)
		gw_hl7_putf(out, "^%u", fault->field);
	if (fault->field > 0 && fault->component > 0 && with_component)
		gw_hl7_putf(out, "^^%u", fault->component);
}

// Since 2.5 ERR-2 to ERR-8; before, ERR-1 with the code as its last component (ELD), and the words in MSA-3.
static void
put_err(struct gw_hl7_out *out, int version, const struct gw_hl7_fault *fault)
{
	const char *words = words_of(fault->code);
	struct gw_span text = gw_span_text(fault->why.text);

	gw_hl7_put(out, "ERR|");
	if (version >= 50) {
		gw_hl7_put(out, "|");
		put_location(out, fault, true);
		gw_hl7_putf(out, "|%u^%s^HL70357|E|||", fault->code, words);
		gw_hl7_put_text(out, text);
		gw_hl7_put(out, "|");
		gw_hl7_put_text(out, text);
	} else {
		size_t before = out->len;

		put_location(out, fault, false);
		for (size_t i = before, carets = 0; i <= out->len && carets < 3 && !out->failed; i++)
			if (i == out->len) {
				gw_hl7_put(out, "^");
				carets++;
			} else {
				carets += out->at[i] == '^';
			}
		gw_hl7_putf(out, "%u&%s&HL70357", fault->code, words);
	}
	gw_hl7_put(out, "\r");
}

static void
put_msa(struct gw_hl7_out *out, struct gw_hl7_in *in, enum gw_hl7_outcome outcome, const struct gw_hl7_fault *fault, bool accept)
{
	gw_hl7_putf(out, "\rMSA|%c%c", accept ? 'C' : 'A', "AER"[outcome]);
	put_separated(out, in, gw_hl7_field(in, 0, 10), NULL);
	if (fault != NULL && version_of(in) < 50) {
		gw_hl7_put(out, "|");
		gw_hl7_put_text(out, gw_span(fault->why.text, strnlen(fault->why.text, 80))); // MSA-3 had 80 characters
	}
	gw_hl7_put(out, "\r");
}

// ---- ORR^O02 ----

// Table 0119: what was done on a request, and what could not be.
static const char *
order_answer(struct gw_span control, bool taken)
{
	static const struct { char asked[3], done[3], unable[3]; } table[] = {
		{ "NW", "OK", "UA" }, { "CA", "CR", "UC" }, { "DC", "DR", "UD" }, { "HD", "HR", "UH" }, { "RL", "OR", "UR" }, { "XO", "XR", "UX" },
		{ "RP", "RQ", "UM" }, { "RO", "RQ", "UM" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (gw_span_is(control, table[i].asked))
			return taken ? table[i].done : table[i].unable;
	return taken ? "OK" : "UA";
}

static void
put_orders(struct gw_hl7_out *out, struct gw_hl7_in *in, bool taken)
{
	for (size_t i = gw_hl7_find(in, ORC, 0, in->segment_count); i < in->segment_count; i = gw_hl7_find(in, ORC, i + 1, in->segment_count)) {
		gw_hl7_putf(out, "ORC|%s", order_answer(gw_hl7_component(in, gw_hl7_field(in, i, 1), 1), taken));
		put_separated(out, in, gw_hl7_field(in, i, 2), NULL);
		put_separated(out, in, gw_hl7_field(in, i, 3), NULL);
		gw_hl7_put(out, "\r");
	}
}

// ---- The whole ----

// What is above 7F from `from` on, into the request's set, and MSH-18 for it.
static void
set_charset(struct gw_hl7_out *out, struct gw_hl7_in *in, size_t msh_end, size_t from, bool enhanced)
{
	const struct gw_hl7_charset *charset = in->charset;
	struct gw_hl7_out copy = { 0 };
	bool ascii;

	if (out->failed || (gw_hl7_utf8_valid(gw_span(out->at + from, out->len - from), &ascii) && ascii))
		return;
	if (charset == NULL || !gw_hl7_charset_writes(charset))
		charset = gw_hl7_charset_find(gw_span_text("ASCII"));
	gw_hl7_put_bytes(&copy, gw_span(out->at + from, out->len - from));
	out->len = from;
	if (!copy.failed) {
		gw_hl7_charset_put(out, charset, gw_span(copy.at, msh_end - from), '\\');
		gw_hl7_putf(out, "%s%s", enhanced ? "||" : "||||||", gw_hl7_charset_name(charset));
		gw_hl7_charset_put(out, charset, gw_span(copy.at + (msh_end - from), copy.len - (msh_end - from)), '\\');
	}
	out->failed = out->failed || copy.failed;
	gw_hl7_out_fini(&copy);
}

void
gw_hl7_answer(struct gw_hl7_in *in, enum gw_hl7_outcome outcome, const struct gw_hl7_fault *fault, const struct gw_hl7_answer_options *options,
    struct gw_hl7_out *out)
{
	struct gw_hl7_answer_options o = *options;
	size_t from = out->len, msh_end;

	o.orr = o.orr && !o.accept && gw_span_is(gw_hl7_component(in, gw_hl7_field(in, 0, 9), 1), "ORM");
	put_msh(out, in, &o);
	msh_end = out->len;
	put_msa(out, in, outcome, fault, o.accept);
	if (fault != NULL)
		put_err(out, version_of(in), fault);
	if (o.orr)
		put_orders(out, in, outcome == GW_HL7_TAKEN);
	set_charset(out, in, msh_end, from, gw_hl7_wanted(in, GW_HL7_TAKEN).enhanced);
}

struct gw_hl7_fault
gw_hl7_fault_of(enum gw_error error, const struct gw_why *why, enum gw_hl7_outcome *outcome)
{
	static const struct { enum gw_error error; unsigned code; enum gw_hl7_outcome outcome; } table[] = {
		{ GW_E_FORMAT, 100, GW_HL7_REJECTED },
		{ GW_E_TOO_LARGE, 207, GW_HL7_REJECTED },
		{ GW_E_FORBIDDEN, 207, GW_HL7_REJECTED },
		{ GW_E_NOT_FOUND, 204, GW_HL7_FAILED },
		{ GW_E_EXISTS, 205, GW_HL7_FAILED },
		{ GW_E_FIELD, 102, GW_HL7_FAILED },
		{ GW_E_ARGUMENT, 102, GW_HL7_FAILED },
	};
	struct gw_hl7_fault fault = { .code = 207 };

	*outcome = GW_HL7_FAILED; // what is only busy or full now: AE, and the sender comes back
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].error == error) {
			fault.code = table[i].code;
			*outcome = table[i].outcome;
		}
	snprintf(fault.why.text, sizeof(fault.why.text), "%s", why != NULL && why->text[0] != '\0' ? why->text : gw_error_text(error));
	fault.reject = *outcome == GW_HL7_REJECTED;
	return fault;
}
