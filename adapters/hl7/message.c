// SPDX-License-Identifier: Apache-2.0
// HL7 v2 messages: separators, character set, index of segments and fields; the parts of a field. Any thread, each with its own gw_hl7_in.
#include "adapters/hl7/message.h"

#include <ctype.h>
#include <stdlib.h>

void
gw_hl7_in_fini(struct gw_hl7_in *in)
{
	gw_hl7_decoder_fini(&in->decoder);
	free(in->segments);
	free(in->starts);
	free(in->converted);
	free(in->text);
	*in = (struct gw_hl7_in){ 0 };
}

static void
reset(struct gw_hl7_in *in)
{
	in->message = gw_span(NULL, 0);
	in->segment_count = in->start_count = 0;
	in->field = in->component = in->repetition = in->escape = in->subcomponent = in->truncation = 0;
	in->charset = NULL;
	in->charset_unknown = in->text_full = false;
	in->invalid = 0;
	in->text_len = 0;
}

// ---- Separators ----

static bool
is_separator(uint8_t byte)
{
	return byte > 0x20 && byte < 0x7F && !isalnum(byte);
}

// MSH-1 and MSH-2: field separator, then component, repetition, escape, subcomponent and (2.7) truncation character, as many as there are.
static enum gw_error
take_separators(struct gw_hl7_in *in, struct gw_span message, struct gw_why *why)
{
	uint8_t *const names[] = { &in->component, &in->repetition, &in->escape, &in->subcomponent, &in->truncation };
	size_t n = 0;

	if (message.len < 4 || memcmp(message.at, "MSH", 3) != 0)
		return gw_fail(why, GW_E_FORMAT, "not HL7 v2: the message does not begin with MSH");
	if (!is_separator(message.at[3]))
		return gw_fail(why, GW_E_FORMAT, "MSH-1 is no separator");
	in->field = message.at[3];
	for (size_t i = 4; i < message.len && message.at[i] != in->field && message.at[i] != '\r' && message.at[i] != '\n'; i++) {
		if (n == sizeof(names) / sizeof(names[0]))
			return gw_fail(why, GW_E_FORMAT, "MSH-2 has more than five characters");
		if (!is_separator(message.at[i]) || memchr(message.at + 4, message.at[i], i - 4) != NULL)
			return gw_fail(why, GW_E_FORMAT, "MSH-2 has a character twice, or one that cannot separate");
		*names[n++] = message.at[i];
	}
	return GW_OK;
}

// ---- Character set ----

// MSH-18 before there is an index: 17 separators after the name, up to the segment's end. MSH itself is ASCII up to there.
static struct gw_span
find_charset(const struct gw_hl7_in *in, struct gw_span message)
{
	size_t from, i = 3;

	for (unsigned left = 17; left > 0; i++) {
		if (i >= message.len || message.at[i] == '\r' || message.at[i] == '\n')
			return gw_span(NULL, 0);
		left -= message.at[i] == in->field;
	}
	for (from = i; i < message.len && message.at[i] != in->field && message.at[i] != '\r' && message.at[i] != '\n';)
		i++;
	return gw_span(message.at + from, i - from);
}

// The first repetition is the set of the message; a later one is switched to by escape sequences of ISO 2022, which only the ISO IR sets know:
// "~ISO IR87" is ASCII with such sequences, and read as that set.
static const struct gw_hl7_charset *
named_charset(struct gw_hl7_in *in, struct gw_span names)
{
	const struct gw_hl7_charset *first = NULL;
	struct gw_span name;

	while (gw_hl7_next(in, &names, &name)) {
		const struct gw_hl7_charset *charset = name.len > 0 ? gw_hl7_charset_find(name) : NULL;

		if (name.len > 0 && charset == NULL)
			in->charset_unknown = true;
		else if (first == NULL || (charset != NULL && strncmp(gw_hl7_charset_name(charset), "ISO IR", 6) == 0))
			first = charset != NULL ? charset : first;
	}
	return first;
}

static bool
convert(struct gw_hl7_in *in, const struct gw_hl7_charset *charset, struct gw_span message)
{
	size_t cap = GW_HL7_DECODE_MAX(message.len);

	if (cap > in->converted_cap) {
		free(in->converted);
		in->converted_cap = 0;
		if ((in->converted = malloc(cap)) == NULL)
			return false;
		in->converted_cap = cap;
	}
	in->message = gw_span(in->converted, gw_hl7_decode(&in->decoder, charset, message, in->converted, &in->invalid));
	return true;
}

static enum gw_error
read_charset(struct gw_hl7_in *in, struct gw_span message, const struct gw_hl7_charset *fallback, struct gw_why *why)
{
	bool ascii = false, utf8 = gw_hl7_utf8_valid(message, &ascii);

	in->message = message;
	in->charset = named_charset(in, find_charset(in, message));
	if (in->charset == NULL)
		in->charset = fallback != NULL ? fallback : utf8 ? gw_hl7_charset_utf8() : gw_hl7_charset_latin1();
	// ESC begins ISO 2022's switches, which are ASCII themselves.
	if ((utf8 && gw_hl7_charset_is_utf8(in->charset)) || (ascii && memchr(message.at, 0x1B, message.len) == NULL))
		return GW_OK;
	return convert(in, in->charset, message) ? GW_OK : gw_fail(why, GW_E_MEMORY, "out of memory");
}

// ---- Index ----

static bool
more_starts(struct gw_hl7_in *in)
{
	uint32_t cap = in->start_cap > 0 ? 2 * in->start_cap : 1024;
	uint32_t *larger = realloc(in->starts, cap * sizeof(*larger));

	if (larger == NULL)
		return false;
	in->starts = larger;
	in->start_cap = cap;
	return true;
}

static inline bool
add_start(struct gw_hl7_in *in, size_t at)
{
	if (in->start_count == in->start_cap && !more_starts(in))
		return false;
	in->starts[in->start_count++] = (uint32_t)at;
	return true;
}

static struct gw_hl7_segment *
add_segment(struct gw_hl7_in *in)
{
	if (in->segment_count == in->segment_cap) {
		uint32_t cap = in->segment_cap > 0 ? 2 * in->segment_cap : 64;
		struct gw_hl7_segment *larger = realloc(in->segments, cap * sizeof(*larger));

		if (larger == NULL)
			return NULL;
		in->segments = larger;
		in->segment_cap = cap;
	}
	return &in->segments[in->segment_count++];
}

static uint32_t
segment_name(const uint8_t *at, size_t len, uint8_t separator)
{
	if (len < 3 || (len > 3 && at[3] != separator))
		return 0;
	for (size_t i = 0; i < 3; i++)
		if (!isupper(at[i]) && !(i > 0 && isdigit(at[i])))
			return 0;
	return GW_HL7_SEGMENT(at);
}

// One segment, [from, end).
static enum gw_error
index_segment(struct gw_hl7_in *in, size_t from, size_t end, struct gw_why *why)
{
	const uint8_t *bytes = in->message.at, *at = bytes + from, *const stop = bytes + end;
	const uint8_t separator = in->field;
	uint32_t name = segment_name(at, end - from, separator);
	struct gw_hl7_segment *segment;

	if (in->segment_count > 0 && name == GW_HL7_SEGMENT("MSH"))
		return gw_fail(why, GW_E_FORMAT, "a second MSH, as segment %u: one message per frame", in->segment_count + 1);
	if (in->segment_count == GW_HL7_SEGMENTS_MAX)
		return gw_fail(why, GW_E_TOO_LARGE, "more than %d segments", GW_HL7_SEGMENTS_MAX);
	if ((segment = add_segment(in)) == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	*segment = (struct gw_hl7_segment){ .name = name, .first = in->start_count };
	if (!add_start(in, from))
		goto memory;
	while (at < stop)
		if (*at++ == separator && !add_start(in, (size_t)(at - bytes)))
			goto memory;
	segment->count = in->start_count - segment->first;
	if (!add_start(in, end + 1))
		goto memory;
	return in->start_count <= GW_HL7_FIELDS_MAX ? GW_OK : gw_fail(why, GW_E_TOO_LARGE, "more than %d fields", GW_HL7_FIELDS_MAX);
memory:
	in->segment_count--;
	return gw_fail(why, GW_E_MEMORY, "out of memory");
}

// How MSH ends, all segments end: an LF in text must not begin a segment where segments end in CR.
static enum gw_error
index_all(struct gw_hl7_in *in, struct gw_why *why)
{
	const uint8_t *bytes = in->message.at;
	size_t len = in->message.len, from = 0, first = 0;
	enum gw_error error = GW_OK;
	uint8_t end;

	while (first < len && bytes[first] != '\r' && bytes[first] != '\n')
		first++;
	end = first < len ? bytes[first] : '\r';
	while (from < len && error == GW_OK) {
		const uint8_t *stop = memchr(bytes + from, end, len - from);
		size_t to = stop != NULL ? (size_t)(stop - bytes) : len, last = to;

		while (from < to && bytes[from] == '\n')
			from++;
		while (last > from && (bytes[last - 1] == '\r' || bytes[last - 1] == '\n'))
			last--;
		if (last > from)
			error = index_segment(in, from, last, why);
		from = to + 1;
	}
	return error;
}

// ---- Parse ----

static struct gw_span
skip_blank(struct gw_span message)
{
	if (message.len >= 3 && memcmp(message.at, "\xEF\xBB\xBF", 3) == 0)
		message = gw_span(message.at + 3, message.len - 3);
	while (message.len > 0 && memchr(" \t\r\n", message.at[0], 4) != NULL)
		message = gw_span(message.at + 1, message.len - 1);
	return message;
}

enum gw_error
gw_hl7_parse(struct gw_hl7_in *in, struct gw_span message, const struct gw_hl7_charset *fallback, struct gw_why *why)
{
	enum gw_error error;

	reset(in);
	message = skip_blank(message);
	if ((error = take_separators(in, message, why)) != GW_OK)
		return error;
	if (message.len > GW_HL7_IN_MAX)
		return gw_fail(why, GW_E_TOO_LARGE, "longer than %u bytes", GW_HL7_IN_MAX);
	if (memchr(message.at, 0, message.len) != NULL)
		return gw_fail(why, GW_E_FORMAT, "a NUL byte in the message");
	if ((error = read_charset(in, message, fallback, why)) != GW_OK)
		return error;
	return index_all(in, why);
}

// ---- Raw parts ----

struct gw_span
gw_hl7_field(const struct gw_hl7_in *in, size_t i, unsigned n)
{
	const struct gw_hl7_segment *segment = i < in->segment_count ? &in->segments[i] : NULL;
	const uint32_t *start;

	if (segment == NULL)
		return gw_span(NULL, 0);
	if (segment->name == GW_HL7_SEGMENT("MSH") && n > 0) {
		if (n == 1)
			return gw_span(in->message.at + 3, 1);
		n--;
	}
	if (n >= segment->count)
		return gw_span(NULL, 0);
	start = &in->starts[segment->first + n];
	return gw_span(in->message.at + start[0], start[1] - start[0] - 1);
}

bool
gw_hl7_next(const struct gw_hl7_in *in, struct gw_span *rest, struct gw_span *repetition)
{
	const uint8_t *end;

	if (rest->at == NULL)
		return false;
	end = in->repetition != 0 && rest->len > 0 ? memchr(rest->at, in->repetition, rest->len) : NULL;
	*repetition = gw_span(rest->at, end != NULL ? (size_t)(end - rest->at) : rest->len);
	*rest = end != NULL ? gw_span(end + 1, rest->len - repetition->len - 1) : gw_span(NULL, 0);
	return true;
}

static struct gw_span
part(struct gw_span whole, uint8_t separator, unsigned n)
{
	if (separator == 0)
		return n == 1 ? whole : gw_span(NULL, 0);
	for (;;) {
		const uint8_t *end = whole.len > 0 ? memchr(whole.at, separator, whole.len) : NULL;
		size_t len = end != NULL ? (size_t)(end - whole.at) : whole.len;

		if (n-- <= 1)
			return gw_span(whole.at, len);
		if (end == NULL)
			return gw_span(NULL, 0);
		whole = gw_span(end + 1, whole.len - len - 1);
	}
}

struct gw_span
gw_hl7_component(const struct gw_hl7_in *in, struct gw_span repetition, unsigned n)
{
	return part(repetition, in->component, n);
}

struct gw_span
gw_hl7_subcomponent(const struct gw_hl7_in *in, struct gw_span component, unsigned n)
{
	return part(component, in->subcomponent, n);
}

size_t
gw_hl7_find(const struct gw_hl7_in *in, uint32_t name, size_t from, size_t to)
{
	for (; from < to && from < in->segment_count; from++)
		if (in->segments[from].name == name)
			return from;
	return to;
}

// ---- Text ----

uint8_t *
gw_hl7_room(struct gw_hl7_in *in, size_t len)
{
	uint8_t *room;

	if ((in->text == NULL && (in->text = malloc(GW_HL7_TEXT_MAX)) == NULL) || len > GW_HL7_TEXT_MAX - in->text_len) {
		in->text_full = true;
		return NULL;
	}
	room = in->text + in->text_len;
	in->text_len += len;
	return room;
}

static int
hex(uint8_t c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// Bytes of "\Xhh..\"; 0 where the digits are none or odd. NUL is left out: it is no text, and \X000D\ is how some write a carriage return.
static size_t
hex_bytes(struct gw_span digits, uint8_t *bytes)
{
	size_t len = 0;

	if (digits.len == 0 || digits.len % 2 != 0)
		return 0;
	for (size_t i = 0; i < digits.len; i += 2) {
		int high = hex(digits.at[i]), low = hex(digits.at[i + 1]);

		if (high < 0 || low < 0)
			return 0;
		if ((high | low) != 0)
			bytes[len++] = (uint8_t)(high << 4 | low);
	}
	return len;
}

struct unescape {
	struct gw_hl7_in *in;
	uint8_t *out, *bytes; // bytes: room for hexadecimal ones
	size_t len;
};

static bool
put_hex(struct unescape *u, struct gw_span digits)
{
	struct gw_span bytes = gw_span(u->bytes, hex_bytes(digits, u->bytes));
	bool ascii;

	if (bytes.len == 0)
		return false;
	if (bytes.len > 1 && gw_hl7_utf8_valid(bytes, &ascii) && !ascii) {
		memcpy(u->out + u->len, bytes.at, bytes.len);
		u->len += bytes.len;
	} else {
		u->len += gw_hl7_decode(&u->in->decoder, u->in->charset, bytes, u->out + u->len, &u->in->invalid);
	}
	return true;
}

// The sequence between two escape characters; false where it is none that is resolved.
static bool
put_sequence(struct unescape *u, struct gw_span sequence)
{
	const struct gw_hl7_in *in = u->in;
	uint8_t byte = 0;

	if (sequence.len == 0)
		return false;
	if (sequence.at[0] == 'X')
		return put_hex(u, gw_span(sequence.at + 1, sequence.len - 1));
	if (sequence.at[0] == '.') {
		if (!gw_span_is(sequence, ".br") && !(sequence.len >= 3 && memcmp(sequence.at, ".sp", 3) == 0))
			return false;
		byte = '\n';
	} else if (sequence.len > 1) {
		return false;
	} else {
		switch (sequence.at[0]) {
		case 'F': byte = in->field; break;
		case 'S': byte = in->component; break;
		case 'T': byte = in->subcomponent; break;
		case 'R': byte = in->repetition; break;
		case 'E': byte = in->escape; break;
		case 'P': byte = in->truncation != 0 ? in->truncation : '#'; break;
		case 'H':
		case 'N': return true;
		}
		if (byte == 0)
			return false;
	}
	u->out[u->len++] = byte;
	return true;
}

// Whether it looks like a sequence that is left as it stands, both its escape characters included.
static bool
is_foreign(struct gw_span sequence)
{
	return sequence.len > 1 && memchr("CMZ.X", sequence.at[0], 5) != NULL && memchr(sequence.at, ' ', sequence.len) == NULL;
}

static void
unescape(struct unescape *u, struct gw_span raw)
{
	uint8_t escape = u->in->escape;

	while (raw.len > 0) {
		const uint8_t *open = memchr(raw.at, escape, raw.len), *close;
		size_t before = open != NULL ? (size_t)(open - raw.at) : raw.len;
		struct gw_span sequence;

		memcpy(u->out + u->len, raw.at, before);
		u->len += before;
		if (open == NULL)
			return;
		raw = gw_span(open + 1, raw.len - before - 1);
		close = raw.len > 0 ? memchr(raw.at, escape, raw.len) : NULL;
		sequence = gw_span(raw.at, close != NULL ? (size_t)(close - raw.at) : 0);
		if (close != NULL && put_sequence(u, sequence)) {
			raw = gw_span(close + 1, raw.len - sequence.len - 1);
		} else if (close != NULL && is_foreign(sequence)) {
			memcpy(u->out + u->len, open, sequence.len + 2);
			u->len += sequence.len + 2;
			raw = gw_span(close + 1, raw.len - sequence.len - 1);
		} else {
			u->out[u->len++] = escape;
		}
	}
}

struct gw_span
gw_hl7_text(struct gw_hl7_in *in, struct gw_span raw)
{
	struct unescape u = { .in = in };
	size_t mark = in->text_len;

	if (in->escape == 0 || raw.len == 0 || memchr(raw.at, in->escape, raw.len) == NULL)
		return raw;
	// Hexadecimal digits: two become at most three bytes of UTF-8. The bytes themselves go behind.
	if ((u.out = gw_hl7_room(in, GW_HL7_DECODE_MAX(raw.len))) == NULL || (u.bytes = gw_hl7_room(in, raw.len)) == NULL) {
		in->text_len = mark;
		return raw;
	}
	unescape(&u, raw);
	in->text_len = mark + u.len;
	return gw_span(u.out, u.len);
}
