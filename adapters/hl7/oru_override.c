// SPDX-License-Identifier: Apache-2.0
// The settings' constants over what a message would say. Any thread.
#include "adapters/hl7/oru_impl.h"

#include <string.h>

static const struct { char segment[4]; unsigned field; const char *why; } refused[] = {
	{ "MSH", 1, "the separators are fixed" },
	{ "MSH", 2, "the separators are fixed" },
	{ "MSH", 7, "the time of the message" },
	{ "MSH", 9, "the message's type" },
	{ "MSH", 10, "it tells messages apart" },
	{ "MSH", 11, "see processing_id" },
	{ "MSH", 12, "see version" },
	{ "MSH", 15, "see acknowledgement" },
	{ "MSH", 16, "see acknowledgement" },
	{ "MSH", 18, "see charset" },
	{ "PID", 3, "it says whose readings these are" },
	{ "PID", 5, "it says whose readings these are" },
	{ "OBR", 1, "it counts" },
	{ "OBR", 3, "it tells reports apart" },
	{ "OBR", 7, "a measured time" },
	{ "OBR", 8, "a measured time" },
	{ "OBX", 1, "it counts" },
	{ "OBX", 2, "it is the reading itself" },
	{ "OBX", 3, "it is the reading itself" },
	{ "OBX", 4, "it is the reading itself" },
	{ "OBX", 5, "it is the reading itself" },
	{ "OBX", 6, "it is the reading itself" },
	{ "OBX", 8, "it says what is wrong with the reading" },
	{ "OBX", 14, "a measured time" },
	{ "NTE", 3, "it is what was received" },
};

const char *
gw_hl7_override_refused(const struct gw_hl7_override *override)
{
	if (strcmp(override->segment, "PID") == 0 && override->field == 3 && override->component > 1)
		return NULL; // the assigning authority and the like
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
		if (strcmp(override->segment, refused[i].segment) == 0 && override->field == refused[i].field)
			return refused[i].why;
	return override->field == 0 ? "fields are numbered from 1" : NULL;
}

// Up to the next separator, which is taken off.
static struct gw_span
cut(struct gw_span *rest, char separator, bool *more)
{
	const uint8_t *end = rest->len > 0 ? memchr(rest->at, separator, rest->len) : NULL;
	size_t len = end != NULL ? (size_t)(end - rest->at) : rest->len;
	struct gw_span part = gw_span(rest->at, len);

	*more = end != NULL;
	*rest = end != NULL ? gw_span(end + 1, rest->len - len - 1) : gw_span(rest->at + len, 0);
	return part;
}

// One repetition with its component replaced, or put where it would stand.
static void
put_repetition(struct gw_hl7_out *out, struct gw_span repetition, const struct gw_hl7_override *override)
{
	bool more = true;

	for (unsigned n = 1; more || n <= override->component; n++) {
		struct gw_span component = cut(&repetition, '^', &more);

		if (n > 1)
			gw_hl7_put(out, "^");
		gw_hl7_put_bytes(out, n == override->component ? gw_span_text(override->value) : component);
	}
}

static void
put_field(struct gw_hl7_out *out, struct gw_span field, const struct gw_hl7_override *override)
{
	bool more = true;

	if (override->component == 0) {
		gw_hl7_put(out, override->value);
		return;
	}
	for (bool first = true; more; first = false) {
		struct gw_span repetition = cut(&field, '~', &more);

		if (!first)
			gw_hl7_put(out, "~");
		put_repetition(out, repetition, override);
	}
}

// What stays as it is: statuses that say something, and identifiers that nobody has.
static bool
leaves(const struct gw_hl7_override *override, struct gw_span field)
{
	if (strcmp(override->segment, "PID") == 0 && override->field == 3 && field.len == 0)
		return true;
	return strcmp(override->segment, "OBX") == 0 && override->field == 11 && !gw_span_is(field, "R");
}

static void
apply(const struct gw_hl7_override *override, struct gw_span segment, struct gw_hl7_out *out)
{
	unsigned last = strcmp(override->segment, "MSH") == 0 ? override->field - 1 : override->field; // MSH-1 is the separator itself
	bool more = true;

	for (unsigned n = 0; more || n <= last; n++) {
		struct gw_span field = cut(&segment, '|', &more);

		if (n > 0)
			gw_hl7_put(out, "|");
		if (n == last && !leaves(override, field))
			put_field(out, field, override);
		else
			gw_hl7_put_bytes(out, field);
	}
}

void
gw_hl7_override_apply(const struct gw_hl7_settings *settings, struct gw_hl7_out *out, size_t start, struct gw_hl7_out *scratch)
{
	for (size_t i = 0; i < settings->override_count && !out->failed; i++) {
		const struct gw_hl7_override *override = &settings->overrides[i];

		if (out->len - start < 3 || memcmp(out->at + start, override->segment, 3) != 0 || gw_hl7_override_refused(override) != NULL)
			continue;
		scratch->len = 0;
		apply(override, gw_span(out->at + start, out->len - start), scratch);
		out->failed |= scratch->failed;
		out->len = start;
		gw_hl7_put_bytes(out, gw_span(scratch->at, scratch->len));
	}
}
