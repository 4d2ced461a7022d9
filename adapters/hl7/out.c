// SPDX-License-Identifier: Apache-2.0
// Writing HL7 v2. Any thread, each with its own buffer.
#include "adapters/hl7/out.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void
gw_hl7_out_fini(struct gw_hl7_out *out)
{
	free(out->at);
	*out = (struct gw_hl7_out){ 0 };
}

static bool
make_room(struct gw_hl7_out *out, size_t more)
{
	size_t cap = out->cap > 0 ? out->cap : 4096;
	uint8_t *larger;

	if (out->failed || out->len + more <= out->cap)
		return !out->failed;
	while (cap < out->len + more)
		cap *= 2;
	if ((larger = realloc(out->at, cap)) == NULL) {
		out->failed = true;
		return false;
	}
	out->at = larger;
	out->cap = cap;
	return true;
}

static void
put_bytes(struct gw_hl7_out *out, const void *bytes, size_t len)
{
	if (len == 0 || !make_room(out, len))
		return;
	memcpy(out->at + out->len, bytes, len);
	out->len += len;
}

void
gw_hl7_put(struct gw_hl7_out *out, const char *text)
{
	put_bytes(out, text, strlen(text));
}

void
gw_hl7_put_bytes(struct gw_hl7_out *out, struct gw_span bytes)
{
	put_bytes(out, bytes.at, bytes.len);
}

void
gw_hl7_putf(struct gw_hl7_out *out, const char *format, ...)
{
	char text[256];
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (len < 0 || len >= (int)sizeof(text))
		out->failed = true;
	else
		put_bytes(out, text, (size_t)len);
}

static const char *
escape_of(uint8_t byte)
{
	switch (byte) {
	case '|': return "\\F\\";
	case '^': return "\\S\\";
	case '&': return "\\T\\";
	case '~': return "\\R\\";
	case '\\': return "\\E\\";
	default: return NULL;
	}
}

void
gw_hl7_put_text(struct gw_hl7_out *out, struct gw_span text)
{
	size_t from = 0;

	for (size_t i = 0; i < text.len; i++) {
		uint8_t byte = text.at[i];
		const char *escape = escape_of(byte);

		if (escape == NULL && byte >= 0x20 && byte != 0x7f)
			continue;
		put_bytes(out, text.at + from, i - from);
		if (escape != NULL)
			gw_hl7_put(out, escape);
		else
			gw_hl7_putf(out, "\\X%02X\\", byte);
		from = i + 1;
	}
	if (from < text.len)
		put_bytes(out, text.at + from, text.len - from);
}

void
gw_hl7_put_time(struct gw_hl7_out *out, int64_t us)
{
	int64_t rest = us % 1000000;
	time_t seconds;
	struct tm tm;
	char text[32], fraction[8];
	size_t len;

	if (rest < 0)
		rest += 1000000;
	seconds = (time_t)((us - rest) / 1000000);
	gmtime_r(&seconds, &tm);
	len = strftime(text, sizeof(text), "%Y%m%d%H%M%S", &tm);
	put_bytes(out, text, len);
	if (rest >= 100) {
		snprintf(fraction, sizeof(fraction), "%04d", (int)(rest / 100));
		len = 4;
		while (fraction[len - 1] == '0')
			len--;
		gw_hl7_putf(out, ".%.*s", (int)len, fraction);
	}
	gw_hl7_put(out, "+0000");
}
