// SPDX-License-Identifier: Apache-2.0
// Numbers and JSON strings into a sticky cursor. Pure; any thread.
#include "gateway/text_out.h"

void
gw_put_number(struct gw_text_out *out, int64_t value)
{
	char digits[24], *at = digits + sizeof(digits);
	uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

	do
		*--at = (char)('0' + rest % 10);
	while ((rest /= 10) > 0);
	if (value < 0)
		*--at = '-';
	gw_put_span(out, gw_span(at, (size_t)(digits + sizeof(digits) - at)));
}

// Length of the UTF-8 sequence at text, 0 where there is none.
static size_t
sequence(struct gw_span text)
{
	uint8_t lead = text.at[0];
	size_t len = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;

	if (len > text.len)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((text.at[i] & 0xC0) != 0x80)
			return 0;
	if ((lead == 0xE0 && text.at[1] < 0xA0) || (lead == 0xED && text.at[1] > 0x9F) || (lead == 0xF0 && text.at[1] < 0x90) ||
	    (lead == 0xF4 && text.at[1] > 0x8F))
		return 0;
	return len;
}

static void
put_escaped(struct gw_text_out *out, uint8_t byte)
{
	static const char hex[] = "0123456789abcdef";
	char escape[6] = { '\\', 'u', '0', '0', hex[byte >> 4], hex[byte & 15] };

	if (byte == '"' || byte == '\\') {
		escape[1] = (char)byte;
		gw_put_span(out, gw_span(escape, 2));
	} else
		gw_put_span(out, gw_span(escape, 6));
}

void
gw_put_json(struct gw_text_out *out, struct gw_span text)
{
	size_t clean = 0; // bytes before text.at that go out as they are

	gw_put_text(out, "\"");
	for (size_t at = 0; at < text.len;) {
		uint8_t byte = text.at[at];
		size_t len = byte >= 0x20 && byte < 0x7F ? 1 : sequence(gw_span(text.at + at, text.len - at));
		if (len > 0 && byte >= 0x20 && byte != '"' && byte != '\\' && byte != 0x7F) {
			at += len;
			continue;
		}
		gw_put_span(out, gw_span(text.at + clean, at - clean));
		if (len == 0)
			gw_put_text(out, "\\ufffd");
		else
			put_escaped(out, byte);
		clean = ++at;
	}
	gw_put_span(out, gw_span(text.at + clean, text.len - clean));
	gw_put_text(out, "\"");
}
