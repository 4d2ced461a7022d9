// SPDX-License-Identifier: Apache-2.0
// One decode for fuzz targets: every span of what comes out is read, every reading is encoded, and what must always hold is checked.
#ifndef FUZZ_DECODE_H
#define FUZZ_DECODE_H

#include "gateway/decode.h"
#include "gateway/intake.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_CHECK(what) do { if (!(what)) { fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); abort(); } } while (0)

static inline void
fuzz_check(const struct gw_decoded *decoded)
{
	static char text[1 << 16];
	static uint8_t record[1 << 16];
	struct gw_batch_head head = { .device = gw_span_text("d"), .received_us = INT64_C(1795162500000000) };
	const struct gw_reading *r = &decoded->reading;
	struct gw_key key;
	size_t len;

	FUZZ_CHECK(gw_signal_by_code(r->signal) != NULL && (r->type != GW_VALUE_NONE) == ((r->flags & GW_FLAG_NOT_AVAILABLE) == 0));
	FUZZ_CHECK(decoded->device.len <= 255);
	FUZZ_CHECK(gw_bus_encode(1, &head, r, text, sizeof(text)) <= sizeof(text));
	FUZZ_CHECK(gw_bus_topic("vitals", gw_span_text("d"), r, text, sizeof(text)) > 0);
	FUZZ_CHECK(gw_senml_encode(gw_span_text("d"), r, 1, text, sizeof(text)) <= sizeof(text));
	FUZZ_CHECK(gw_record_readings(&head, r, 1, record, sizeof(record), &len, &key) == GW_OK);
}

static inline void
fuzz_decode(const struct gw_profile *profile, const uint8_t *data, size_t size, uint32_t content_format)
{
	static struct gw_decode_scratch *scratch;
	struct gw_match match = { .profile = profile, .device = gw_span_text("d"),
		.captures = { { gw_span_text("signal"), gw_span_text("temperature") } }, .count = 1 };
	struct gw_decode_input in = { &match, gw_span(data, size), content_format, INT64_C(1795162500000000), false };
	struct gw_decode_output out;
	struct gw_why why = { "" };

	if (scratch == NULL)
		scratch = gw_decode_scratch_new();
	FUZZ_CHECK(scratch != NULL);
	if (gw_decode(scratch, &in, &out, &why) != GW_OK) {
		FUZZ_CHECK(why.text[0] != '\0' && out.count == 0);
		return;
	}
	FUZZ_CHECK(out.count > 0 && out.count <= GW_RECORD_READINGS_MAX);
	for (size_t i = 0; i < out.count; i++)
		fuzz_check(&out.readings[i]);
}

static inline const struct gw_profile *
fuzz_profile(const char *name)
{
	static struct gw_profiles *profiles;

	if (profiles == NULL)
		FUZZ_CHECK(gw_profiles_load(NULL, &profiles, NULL) == GW_OK);
	return gw_profile_by_name(profiles, gw_span_text(name));
}

#endif
