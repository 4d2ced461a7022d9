// SPDX-License-Identifier: Apache-2.0
// From the configuration to peers and limits; who a connection belongs to. main's thread makes them; any thread reads.
#include "adapters/hl7/in_settings.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#define SECOND_US INT64_C(1000000)
#define NAME_CHARACTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

// ---- Addresses ----

static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };

static bool
inside(const uint8_t address[16], const struct gw_hl7_network *network)
{
	size_t whole = network->bits / 8, rest = network->bits % 8;

	if (memcmp(address, network->address, whole) != 0)
		return false;
	return rest == 0 || ((address[whole] ^ network->address[whole]) >> (8 - rest)) == 0;
}

static bool
parse_address(const char *text, struct gw_hl7_network *network, uint8_t *bits_before)
{
	*bits_before = 96;
	memcpy(network->address, mapped, sizeof(mapped));
	if (inet_pton(AF_INET, text, network->address + 12) == 1)
		return true;
	*bits_before = 0;
	return inet_pton(AF_INET6, text, network->address) == 1;
}

static bool
only_network_bits(const struct gw_hl7_network *network)
{
	for (unsigned bit = network->bits; bit < 128; bit++)
		if ((network->address[bit / 8] >> (7 - bit % 8) & 1) != 0)
			return false;
	return true;
}

bool
gw_hl7_network_parse(const char *text, struct gw_hl7_network *network)
{
	const char *slash = strchr(text, '/');
	char address[INET6_ADDRSTRLEN], *end;
	size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
	uint8_t before;
	long bits;

	if (len >= sizeof(address))
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	if (!parse_address(address, network, &before))
		return false;
	network->bits = 128;
	if (slash == NULL)
		return true;
	bits = strtol(slash + 1, &end, 10);
	if (end == slash + 1 || *end != '\0' || slash[1] == '-' || slash[1] == '+' || slash[1] == ' ' || bits < 0 || bits > 128 - before)
		return false;
	network->bits = (uint8_t)(before + bits);
	return only_network_bits(network);
}

static bool
address_of(const struct sockaddr *from, uint8_t address[16])
{
	const struct sockaddr_in *four = (const struct sockaddr_in *)(const void *)from;
	const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)(const void *)from;

	if (from->sa_family == AF_INET6) {
		memcpy(address, &six->sin6_addr, 16);
		return true;
	}
	memcpy(address, mapped, sizeof(mapped));
	memcpy(address + 12, &four->sin_addr, 4);
	return from->sa_family == AF_INET;
}

static bool
is_at(const struct gw_hl7_peer *peer, const uint8_t address[16])
{
	for (size_t i = 0; i < peer->network_count; i++)
		if (inside(address, &peer->networks[i]))
			return true;
	return false;
}

const struct gw_hl7_peer *
gw_hl7_peer_find(const struct gw_hl7_in_settings *settings, const struct sockaddr *from, const char *certificate)
{
	const struct gw_hl7_peer *by_address = NULL;
	uint8_t address[16];

	if (!address_of(from, address))
		return NULL;
	for (size_t i = 0; i < settings->peer_count; i++) {
		const struct gw_hl7_peer *peer = &settings->peers[i];

		if (!is_at(peer, address))
			continue;
		if (peer->certificate[0] != '\0' && strcmp(peer->certificate, certificate) == 0)
			return peer;
		if (peer->certificate[0] == '\0' && by_address == NULL)
			by_address = peer;
	}
	return by_address;
}

bool
gw_hl7_peer_expected(const struct gw_hl7_in_settings *settings, const struct sockaddr *from, bool tls)
{
	uint8_t address[16];

	if (!address_of(from, address))
		return false;
	for (size_t i = 0; i < settings->peer_count; i++)
		if ((tls || settings->peers[i].certificate[0] == '\0') && is_at(&settings->peers[i], address))
			return true;
	return false;
}

const struct gw_hl7_peer *
gw_hl7_peer_named(const struct gw_hl7_in_settings *settings, struct gw_span name)
{
	for (size_t i = 0; i < settings->peer_count; i++)
		if (gw_span_is(name, settings->peers[i].name))
			return &settings->peers[i];
	return NULL;
}

// ---- From the configuration ----

static enum gw_error
set_fields(struct gw_hl7_mapping *mapping, const struct gw_config_pairs *fields, const char *where, struct gw_why *why)
{
	struct gw_why detail = { "" };
	enum gw_error error;

	for (size_t i = 0; i < fields->count; i++) {
		error = gw_hl7_mapping_set(mapping, fields->at[i].key, gw_span_text(fields->at[i].value), &detail);
		if (error == GW_E_NOT_FOUND)
			return gw_fail(why, GW_E_CONFIG, "%s.fields: there is no \"%.40s\" to be mapped", where, fields->at[i].key);
		if (error != GW_OK)
			return gw_fail(why, GW_E_CONFIG, "%s.fields: %.20s: %.110s", where, fields->at[i].key, detail.text);
	}
	return GW_OK;
}

static enum gw_error
set_networks(struct gw_hl7_peer *peer, const struct gw_config_texts *addresses, const char *where, struct gw_why *why)
{
	if (addresses->count == 0)
		return gw_fail(why, GW_E_CONFIG, "%s.addresses: from where? Give addresses or networks, as 10.1.2.3 or 10.1.0.0/16", where);
	if (addresses->count > GW_HL7_PEER_NETWORKS_MAX)
		return gw_fail(why, GW_E_CONFIG, "%s.addresses: more than %d", where, GW_HL7_PEER_NETWORKS_MAX);
	for (size_t i = 0; i < addresses->count; i++)
		if (!gw_hl7_network_parse(addresses->at[i].text, &peer->networks[peer->network_count++]))
			return gw_fail(why, GW_E_CONFIG, "%s.addresses: \"%.50s\" is no address such as 10.1.2.3 and no network such as 10.1.0.0/16", where,
			    addresses->at[i].text);
	return GW_OK;
}

static enum gw_error
set_peer(const struct gw_config *config, const struct gw_config_peer *given, struct gw_hl7_in_settings *settings, struct gw_why *why)
{
	struct gw_hl7_peer *peer = &settings->peers[settings->peer_count];
	struct gw_why detail = { "" };
	size_t len = strlen(given->name);
	char where[64];
	enum gw_error error;

	snprintf(where, sizeof(where), "hl7_in.peers: %.32s", given->name);
	if (len == 0 || len > 32 || strspn(given->name, NAME_CHARACTERS) != len)
		return gw_fail(why, GW_E_CONFIG, "hl7_in.peers: a peer's name is 1 to 32 letters, digits, '-', '_' or '.', not \"%.40s\"", given->name);
	if (gw_hl7_peer_named(settings, gw_span_text(given->name)) != NULL)
		return gw_fail(why, GW_E_CONFIG, "hl7_in.peers: two peers are called %s", given->name);
	snprintf(peer->name, sizeof(peer->name), "%s", given->name);
	peer->certificate = given->certificate;
	peer->orr = given->orr;
	peer->charset = given->charset[0] != '\0' ? gw_hl7_charset_find(gw_span_text(given->charset)) : NULL;
	if (given->charset[0] != '\0' && peer->charset == NULL)
		return gw_fail(why, GW_E_CONFIG, "%s.charset: \"%.40s\" is not known; it is one of MSH-18, as 8859/15", where, given->charset);
	if (given->zone[0] == '\0')
		return gw_fail(why, GW_E_CONFIG, "%s.zone: in which zone are its times that say none? Give it, as Europe/Berlin or UTC", where);
	if ((error = gw_zone_open(given->zone, &peer->zone, &detail)) != GW_OK)
		return gw_fail(why, GW_E_CONFIG, "%s.zone: %.120s", where, detail.text);
	settings->peer_count++; // from here on it has something to be freed
	if ((error = set_networks(peer, &given->addresses, where, why)) != GW_OK)
		return error;
	gw_hl7_mapping_init(&peer->mapping);
	if ((error = set_fields(&peer->mapping, &config->hl7_in_fields, "hl7_in", why)) != GW_OK)
		return error;
	return set_fields(&peer->mapping, &given->fields, where, why);
}

static enum gw_error
set_peers(const struct gw_config *config, struct gw_hl7_in_settings *settings, struct gw_why *why)
{
	const struct gw_config_peer *given = config->hl7_in_peers.at;
	size_t count = config->hl7_in_peers.count;
	enum gw_error error = GW_OK;

	if (count == 0)
		return gw_fail(why, GW_E_CONFIG, "hl7_in.peers: nobody may send anything; name the systems that do, and their addresses");
	if (count > GW_HL7_PEERS_MAX)
		return gw_fail(why, GW_E_CONFIG, "hl7_in.peers: more than %d", GW_HL7_PEERS_MAX);
	if ((settings->peers = calloc(count, sizeof(*settings->peers))) == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	for (size_t i = 0; i < count && error == GW_OK; i++)
		error = set_peer(config, &given[i], settings, why);
	return error;
}

static bool
proves(const struct gw_hl7_in_settings *settings)
{
	for (size_t i = 0; i < settings->peer_count; i++)
		if (settings->peers[i].certificate[0] != '\0')
			return true;
	return false;
}

static enum gw_error
check_ports(const struct gw_config *config, const struct gw_hl7_in_settings *settings, struct gw_why *why)
{
	struct in6_addr at;
	bool ca = config->hl7_in_ca[0] != '\0' || config->tls_ca[0] != '\0' || config->tls_certificate[0] == '\0'; // then its own authority

	if (inet_pton(AF_INET6, settings->address, &at) != 1 && inet_pton(AF_INET, settings->address, &at) != 1)
		return gw_fail(why, GW_E_CONFIG, "hl7_in.address is an IPv6 or IPv4 address, not \"%.60s\"", settings->address);
	if (settings->port == 0 && settings->tls_port == 0)
		return gw_fail(why, GW_E_CONFIG, "hl7_in.port and hl7_in.tls_port are both 0: there is nothing to listen on");
	if (settings->port == settings->tls_port)
		return gw_fail(why, GW_E_CONFIG, "hl7_in.port and hl7_in.tls_port are both %u", settings->port);
	if (proves(settings) && settings->tls_port == 0)
		return gw_fail(why, GW_E_CONFIG, "a peer of hl7_in has a certificate: it needs hl7_in.tls_port");
	if (proves(settings) && !ca)
		return gw_fail(why, GW_E_CONFIG, "a peer of hl7_in has a certificate: hl7_in.ca or tls.ca tells whose certificates are believed");
	return GW_OK;
}

enum gw_error
gw_hl7_in_settings_make(const struct gw_config *config, struct gw_hl7_in_settings *settings, struct gw_why *why)
{
	enum gw_error error;

	*settings = (struct gw_hl7_in_settings){
		.address = config->hl7_in_address,
		.port = (uint16_t)config->hl7_in_port,
		.tls_port = (uint16_t)config->hl7_in_tls_port,
		.application = config->hl7_in_application,
		.facility = config->hl7_in_facility,
		.connections_max = (uint32_t)config->hl7_in_connections_max,
		.connections_of_one = (uint32_t)config->hl7_in_connections_of_one,
		.message_bytes_max = (uint32_t)config->hl7_in_message_bytes_max,
		.pending_max = (uint32_t)config->hl7_in_pending_max,
		.pending_of_one = (uint32_t)config->hl7_in_pending_of_one,
		.refusal_records_per_min = (uint32_t)config->hl7_in_refusal_records_per_min,
		.remember_max = (uint32_t)config->hl7_in_remember_max,
		.memory_bytes_max = (uint64_t)config->hl7_in_memory_mb_max << 20,
		.idle_us = config->hl7_in_idle_s_max * SECOND_US,
		.message_us = config->hl7_in_message_s_max * SECOND_US,
		.handshake_us = config->hl7_in_handshake_s_max * SECOND_US,
		.remember_us = config->hl7_in_remember_h * 3600 * SECOND_US,
	};
	error = set_peers(config, settings, why);
	if (error == GW_OK)
		error = check_ports(config, settings, why);
	if (error != GW_OK)
		gw_hl7_in_settings_fini(settings);
	return error;
}

void
gw_hl7_in_settings_fini(struct gw_hl7_in_settings *settings)
{
	for (size_t i = 0; i < settings->peer_count; i++)
		gw_zone_free(settings->peers[i].zone);
	free(settings->peers);
	settings->peers = NULL;
	settings->peer_count = 0;
}
