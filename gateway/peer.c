// SPDX-License-Identifier: Apache-2.0
// Addresses, from sockets and as text. Pure; any thread.
#include "gateway/peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

struct gw_peer
gw_peer_of(const struct sockaddr *address)
{
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)address;
	const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)address;
	struct gw_peer peer = { 0 };

	if (address->sa_family == AF_INET) {
		peer.len = 4;
		peer.port = ntohs(four->sin_port);
		memcpy(peer.address, &four->sin_addr, 4);
	} else if (address->sa_family == AF_INET6) {
		peer.len = IN6_IS_ADDR_V4MAPPED(&six->sin6_addr) ? 4 : 16;
		peer.port = ntohs(six->sin6_port);
		memcpy(peer.address, six->sin6_addr.s6_addr + 16 - peer.len, peer.len);
	}
	return peer;
}

char *
gw_peer_text(const struct gw_peer *peer, char out[GW_PEER_TEXT])
{
	out[0] = '\0';
	if (peer->len == 4 || peer->len == 16)
		(void)inet_ntop(peer->len == 4 ? AF_INET : AF_INET6, peer->address, out, GW_PEER_TEXT);
	return out;
}
