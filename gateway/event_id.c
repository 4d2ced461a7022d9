// SPDX-License-Identifier: Apache-2.0
// Identifiers of events. Pure; any thread.
#include "gateway/event_id.h"

#include <sodium.h>
#include <string.h>

void
gw_event_id(uint64_t incarnation, const struct gw_event *event, char out[33])
{
	const struct gw_span parts[] = { event->device, event->principal, event->route, event->text, event->data, event->claimed,
		gw_span(event->peer.address, event->peer.len) };
	size_t count = event->reason != 0 ? 7 : 5; // what events had before reasons came keeps its identifier
	uint16_t numbers[] = { event->code, event->reason, event->peer.port };
	crypto_generichash_state state;
	uint8_t hash[16], number[8];

	crypto_generichash_init(&state, NULL, 0, sizeof(hash));
	crypto_generichash_update(&state, (const uint8_t *)&incarnation, sizeof(incarnation));
	crypto_generichash_update(&state, (const uint8_t *)&event->received_us, sizeof(event->received_us));
	if (event->reason != 0)
		crypto_generichash_update(&state, (const uint8_t *)numbers, sizeof(numbers));
	for (size_t i = 0; i < count; i++) {
		memcpy(number, &(uint64_t){ parts[i].len }, sizeof(number));
		crypto_generichash_update(&state, number, sizeof(number));
		crypto_generichash_update(&state, parts[i].at, parts[i].len);
	}
	crypto_generichash_final(&state, hash, sizeof(hash));
	sodium_bin2hex(out, 33, hash, sizeof(hash));
}
