// SPDX-License-Identifier: Apache-2.0
// Seals session tickets (RFC 5077, RFC 8446 section 4.6.1), with keys that outlive the process: devices resume after a restart of the gateway. A key
// seals for as long as a ticket lives and opens for as long again; there are never more than two. What is sealed beside the session is who was proved
// and by what, so that a ticket is worth no more than the credential that it stands for.
//
// A ticket: 4 bytes 00 "VGT", version, 8 of the key's name, 12 of nonce; then sealed with AES-256-GCM, the door's name and all before it authenticated:
// the claim and the session; 16 of tag.
//
// Threads: one (the door's), which also writes the file of keys, once in a ticket's life.
#ifndef GW_TLS_TICKET_KEYS_H
#define GW_TLS_TICKET_KEYS_H

#include "adapters/tls/trust.h"

struct gw_ticket_keys;

// What a ticket says. All integers are sealed in the machine's own order: a file of keys does not move to another machine.
struct gw_ticket_claim {
	struct gw_tls_identity identity;
	struct gw_trust_proof proof;                  // of a certificate
	uint8_t psk_check[GW_TRUST_HASH_BYTES];       // of a PSK: which key it was
	uint8_t rules[GW_TRUST_HASH_BYTES];           // gw_trust_rules_hash()
	uint16_t version;                             // of TLS: 0x0303, 0x0304
	int64_t issued_us;                            // wall clock
	int64_t proved_us;                            // the last handshake that proved it: older than the ticket where sessions were resumed since
	uint8_t boot[8];                              // which run of the machine issued it: its monotonic clock means nothing in another
};

// path: the file of keys, made if missing, 0600. One that others may read, or that is damaged, is replaced: tickets sealed before are then no good.
// door: its name; another door's tickets cannot be opened. why has words where the keys cannot be kept (GW_OK all the same: they live in memory).
enum gw_error gw_ticket_keys_open(const char *path, const char *door, uint32_t life_s, struct gw_ticket_keys **keys, struct gw_why *why);
void gw_ticket_keys_close(struct gw_ticket_keys *keys); // wipes; NULL does nothing
uint32_t gw_ticket_keys_life_s(const struct gw_ticket_keys *keys);

// Whether bytes look like a ticket of any gateway's: no PSK identity begins so.
bool gw_ticket_is_one(struct gw_span bytes);
// Sets issued_us and boot. GW_E_TOO_LARGE where it does not fit.
enum gw_error gw_ticket_seal(struct gw_ticket_keys *keys, struct gw_ticket_claim *claim, struct gw_span session, uint8_t *out, size_t cap, size_t *len);
// Opens in place: session points into ticket. False: not ours, changed, another door's, of a key that is gone, or past its life.
bool gw_ticket_unseal(struct gw_ticket_keys *keys, uint8_t *ticket, size_t len, struct gw_ticket_claim *claim, struct gw_span *session);
// Whether it was issued since the machine started.
bool gw_ticket_of_this_boot(const struct gw_ticket_keys *keys, const struct gw_ticket_claim *claim);

#endif
