// SPDX-License-Identifier: Apache-2.0
// Where a connection comes from: an IP address and a port, flat and copyable. Pure; any thread.
#ifndef GW_PEER_H
#define GW_PEER_H

#include <stdint.h>

struct sockaddr;

#define GW_PEER_TEXT 48 // bytes of an address as text, with terminator

struct gw_peer {
	uint8_t len;         // 4 or 16 bytes of address; 0: none
	uint16_t port;
	uint8_t address[16]; // network order
};

// An IPv4 address that is written as IPv6 becomes IPv4. Other families: none.
struct gw_peer gw_peer_of(const struct sockaddr *address);
// "10.0.0.7", "2001:db8::1", "" for none; without the port. Returns out.
char *gw_peer_text(const struct gw_peer *peer, char out[GW_PEER_TEXT]);

#endif
