// SPDX-License-Identifier: Apache-2.0
// SenML JSON (RFC 8428 section 5) as a device may send it.
#include "fuzz_decode.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_decode(fuzz_profile("senml"), data, size, GW_CF_SENML_JSON);
	return 0;
}
