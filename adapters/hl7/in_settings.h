// SPDX-License-Identifier: Apache-2.0
// The inbound door's settings: who may send, and how what they send is read. Made from the configuration at start-up, then constant; any thread.
#ifndef GW_HL7_IN_SETTINGS_H
#define GW_HL7_IN_SETTINGS_H

#include "adapters/hl7/interpret.h"

#include "gateway/config.h"

struct sockaddr;

#define GW_HL7_PEERS_MAX 64
#define GW_HL7_PEER_NETWORKS_MAX 16

// A network: its first `bits` bits, IPv4 as ::ffff:a.b.c.d.
struct gw_hl7_network {
	uint8_t address[16];
	uint8_t bits;
};

struct gw_hl7_peer {
	char name[GW_ID_MAX + 1]; // in quarantine its principal, and in the rows of what was taken: not to be changed lightly
	struct gw_hl7_network networks[GW_HL7_PEER_NETWORKS_MAX];
	size_t network_count;
	const char *certificate; // name that its certificate must prove (common name, or a DNS name of its SAN); empty: by address alone, with or without TLS
	const struct gw_hl7_charset *charset; // where MSH-18 is empty; NULL: UTF-8 where it is valid, else 8859/1
	struct gw_zone *zone;    // of times without one
	bool orr;                // ORM^O01 is answered by ORR^O02
	struct gw_hl7_mapping mapping;
};

struct gw_hl7_in_settings {
	const char *address;
	uint16_t port, tls_port; // 0: none
	const char *application, *facility;
	uint32_t connections_max, connections_of_one, message_bytes_max, pending_max, pending_of_one, refusal_records_per_min, remember_max;
	uint64_t memory_bytes_max;
	int64_t idle_us, message_us, handshake_us, remember_us; // idle_us 0: no limit
	struct gw_hl7_peer *peers;
	size_t peer_count;
};

// GW_E_CONFIG with words, which name the option. The configuration must live as long as the settings.
enum gw_error gw_hl7_in_settings_make(const struct gw_config *config, struct gw_hl7_in_settings *settings, struct gw_why *why);
void gw_hl7_in_settings_fini(struct gw_hl7_in_settings *settings);

// "10.1.2.3", "10.1.0.0/16", "fd00::/8". False: it is none, or has bits beyond its mask.
bool gw_hl7_network_parse(const char *text, struct gw_hl7_network *network);
// Whose connection it is: by address and, where certificate is not empty, by that proved name; the first that fits. NULL: nobody's. A peer with a
// certificate is never known without it.
const struct gw_hl7_peer *gw_hl7_peer_find(const struct gw_hl7_in_settings *settings, const struct sockaddr *from, const char *certificate);
// Whether anybody there may connect at all (tls: certificates come later).
bool gw_hl7_peer_expected(const struct gw_hl7_in_settings *settings, const struct sockaddr *from, bool tls);
const struct gw_hl7_peer *gw_hl7_peer_named(const struct gw_hl7_in_settings *settings, struct gw_span name);

#endif
