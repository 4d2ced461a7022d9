// SPDX-License-Identifier: Apache-2.0
// JSON and plain text through profiles: the first byte chooses the profile.
#include "fuzz_decode.h"

// Everything that a profile may ask for in one.
static const char yaml[] =
    "profile: all\n"
    "routes: { mqtt: [ a ] }\n"
    "format: json\n"
    "time: { from: /t, format: local, zone: \"CET-1CEST,M3.5.0,M10.5.0/3\" }\n"
    "sequence: /n\n"
    "sentinels: [ \"-1\", x ]\n"
    "fields:\n"
    "  - { field: /a/0, signal: temperature, unit: K, unit-field: /u/v }\n"
    "  - { field: /a/b, signal: spo2, unit: \"%\", percent: ratio, sentinels: [ \"0\" ] }\n"
    "  - { field: /g, signal: glucose_unspecified, unit: mmol/L }\n"
    "  - { field: /r, signal: ecg_rhythm_status, values: [ { is: \"1\", code: 147474 }, { is: b, text: c } ] }\n"
    "  - { field: /p~1~0, signal: nibp_systolic, unit: kPa }\n";

static const struct gw_profile *
everything(void)
{
	static struct gw_profiles *profiles;

	if (profiles == NULL)
		FUZZ_CHECK(gw_profiles_load_text("all", gw_span_text(yaml), &profiles, NULL) == GW_OK);
	return gw_profile_at(profiles, 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	fuzz_decode(data[0] == 'B' ? fuzz_profile("bedside-json") : data[0] == 'T' ? fuzz_profile("plain-text") : everything(), data + 1, size - 1, GW_CF_NONE);
	return 0;
}
