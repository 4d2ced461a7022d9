// SPDX-License-Identifier: Apache-2.0
// SenML CBOR (RFC 8428 section 6) as a device may send it.
#include "fuzz_decode.h"

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_decode(fuzz_profile("senml"), data, size, GW_CF_SENML_CBOR);
	return 0;
}
