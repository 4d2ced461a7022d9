// SPDX-License-Identifier: Apache-2.0
// A profile's YAML: whatever is compiled can be used.
#include "fuzz_decode.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char json[] = "{\"hr\":72,\"a\":{\"b\":[1]},\"t\":\"2026-11-20T08:15:00Z\"}", senml[] = "[{\"bn\":\"d/\",\"n\":\"heart_rate\",\"v\":72}]";
	struct gw_profiles *profiles;
	struct gw_why why = { "" };

	if (gw_profiles_load_text("f", gw_span(data, size), &profiles, &why) != GW_OK) {
		FUZZ_CHECK(why.text[0] != '\0');
		return 0;
	}
	fuzz_decode(gw_profile_at(profiles, 0), (const uint8_t *)json, sizeof(json) - 1, GW_CF_NONE);
	fuzz_decode(gw_profile_at(profiles, 0), (const uint8_t *)senml, sizeof(senml) - 1, GW_CF_NONE);
	gw_profiles_free(profiles);
	return 0;
}
