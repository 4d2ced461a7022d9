// SPDX-License-Identifier: Apache-2.0
// What a configuration needs beyond each option by itself: options that belong together, values with a syntax, files that can be read.
// One small check per rule, in a table; the first that fails speaks. Any thread.
#include "gateway/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

static enum gw_error
check_store(const struct gw_config *config, struct gw_why *why)
{
	if (config->store_dir[0] == '\0')
		return gw_fail(why, GW_E_CONFIG, "store.dir is empty: name the folder for the data");
	if (config->store_reserve_mb * 2 > config->store_budget_mb)
		return gw_fail(why, GW_E_CONFIG, "store.reserve_mb (%lld) is more than half of store.budget_mb (%lld)",
		    (long long)config->store_reserve_mb, (long long)config->store_budget_mb);
	if (config->store_retention_full_h > config->store_retention_h)
		return gw_fail(why, GW_E_CONFIG, "store.retention_full_h is more than store.retention_h");
	if (config->control_socket[0] == '\0')
		return gw_fail(why, GW_E_CONFIG, "control.socket is empty: commands could not reach the gateway");
	return GW_OK;
}

static bool
is_address(const char *text)
{
	struct in6_addr at;

	return inet_pton(AF_INET6, text, &at) == 1 || inet_pton(AF_INET, text, &at) == 1;
}

static bool
is_dns_name(const char *text)
{
	size_t len = strlen(text);

	return len > 0 && len < 254 && strspn(text + (strncmp(text, "*.", 2) == 0 ? 2 : 0), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") ==
	    len - (strncmp(text, "*.", 2) == 0 ? 2 : 0);
}

// PKCS#12 holds the key as well.
static bool
is_p12(const char *path)
{
	const char *dot = strrchr(path, '.');

	return dot != NULL && (strcasecmp(dot, ".p12") == 0 || strcasecmp(dot, ".pfx") == 0);
}

static enum gw_error
check_tls(const struct gw_config *config, struct gw_why *why)
{
	bool certificate = config->tls_certificate[0] != '\0', key = config->tls_key[0] != '\0' || is_p12(config->tls_certificate);

	if (certificate != key)
		return gw_fail(why, GW_E_CONFIG, "tls.certificate and tls.key belong together: %s is missing", certificate ? "tls.key" : "tls.certificate");
	if ((config->tls_local_ca[0] != '\0') != (config->tls_local_ca_key[0] != '\0'))
		return gw_fail(why, GW_E_CONFIG, "tls.local_ca and tls.local_ca_key belong together");
	for (size_t i = 0; i < config->tls_names.count; i++) {
		if (!is_address(config->tls_names.at[i].text) && !is_dns_name(config->tls_names.at[i].text))
			return gw_fail(why, GW_E_CONFIG, "line %zu: tls.names has DNS names and addresses, not \"%.60s\"", config->tls_names.at[i].line,
			    config->tls_names.at[i].text);
	}
	return GW_OK;
}

static enum gw_error
check_limits(const struct gw_config *config, struct gw_why *why)
{
	if (config->mqtt_handshakes_of_one > config->mqtt_handshakes_max)
		return gw_fail(why, GW_E_CONFIG, "mqtt.handshakes_of_one (%lld) is more than mqtt.handshakes_max (%lld)",
		    (long long)config->mqtt_handshakes_of_one, (long long)config->mqtt_handshakes_max);
	if (config->coap_handshakes_of_one > config->coap_handshakes_max)
		return gw_fail(why, GW_E_CONFIG, "coap.handshakes_of_one (%lld) is more than coap.handshakes_max (%lld)",
		    (long long)config->coap_handshakes_of_one, (long long)config->coap_handshakes_max);
	if (config->mqtt_qos2_ids_max < config->mqtt_receive_maximum)
		return gw_fail(why, GW_E_CONFIG, "mqtt.qos2_ids_max (%lld) is less than mqtt.receive_maximum (%lld), which clients are told",
		    (long long)config->mqtt_qos2_ids_max, (long long)config->mqtt_receive_maximum);
	return GW_OK;
}

static enum gw_error
check_doors(const struct gw_config *config, struct gw_why *why)
{
	if (!is_address(config->mqtt_address))
		return gw_fail(why, GW_E_CONFIG, "mqtt.address is an IPv6 or IPv4 address, not \"%.60s\"", config->mqtt_address);
	if (!is_address(config->coap_address))
		return gw_fail(why, GW_E_CONFIG, "coap.address is an IPv6 or IPv4 address, not \"%.60s\"", config->coap_address);
	if (!config->coap_plain_enabled)
		return GW_OK;
	if (config->coap_plain_principal[0] == '\0')
		return gw_fail(why, GW_E_CONFIG, "coap.plain_enabled needs coap.plain_principal: who speaks for devices that prove nothing");
	if (config->coap_plain_port == config->coap_port && config->coap_port != 0)
		return gw_fail(why, GW_E_CONFIG, "coap.plain_port and coap.port are both %lld", (long long)config->coap_port);
	return GW_OK;
}

// mqtt://host or mqtts://host, and :port
static bool
is_bus_uri(const char *text)
{
	const char *host, *colon;
	char *end;
	long port;

	if (strncmp(text, "mqtt://", 7) == 0)
		host = text + 7;
	else if (strncmp(text, "mqtts://", 8) == 0)
		host = text + 8;
	else
		return false;
	colon = strrchr(host, ':');
	if (host[0] == '\0' || colon == host || strpbrk(host, "/ \t@") != NULL)
		return false;
	if (colon == NULL || strchr(colon, ']') != NULL)
		return true;
	port = strtol(colon + 1, &end, 10);
	return end != colon + 1 && *end == '\0' && port > 0 && port < 65536;
}

static enum gw_error
check_bus(const struct gw_config *config, struct gw_why *why)
{
	if (!config->bus_enabled)
		return GW_OK;
	if (!is_bus_uri(config->bus_uri))
		return gw_fail(why, GW_E_CONFIG, "bus.uri is mqtt://host:port or mqtts://host:port, not \"%.80s\"", config->bus_uri);
	if ((config->bus_certificate[0] != '\0') != (config->bus_key[0] != '\0'))
		return gw_fail(why, GW_E_CONFIG, "bus.certificate and bus.key belong together");
	if (config->bus_prefix[0] == '\0' || strpbrk(config->bus_prefix, "+#") != NULL || config->bus_prefix[0] == '$')
		return gw_fail(why, GW_E_CONFIG, "bus.prefix is a topic without + and #, not \"%.40s\"", config->bus_prefix);
	if (config->bus_client_id[0] == '\0')
		return gw_fail(why, GW_E_CONFIG, "bus.client_id is empty");
	return GW_OK;
}

// Each destination by itself: adapters/hl7.
static enum gw_error
check_hl7(const struct gw_config *config, struct gw_why *why)
{
	const char *eui = config->hl7_gateway_eui64;

	if (eui[0] != '\0' && (strlen(eui) != 16 || strspn(eui, "0123456789abcdefABCDEF") != 16))
		return gw_fail(why, GW_E_CONFIG, "hl7.gateway_eui64 is 16 hex digits, not \"%.40s\"", eui);
	if (config->hl7_enabled && config->hl7_destinations.count == 0)
		return gw_fail(why, GW_E_CONFIG, "hl7.enabled without a destination: name one below hl7.destinations (or set hl7.enabled to false)");
	return GW_OK;
}

static enum gw_error
readable(const char *option, const char *path, struct gw_why *why)
{
	if (path[0] == '\0' || access(path, R_OK) == 0)
		return GW_OK;
	return gw_fail(why, GW_E_CONFIG, "%s: cannot read %.120s: %s", option, path, strerror(errno));
}

// Those of the doors: adapters/tls/trust_file.c.
static enum gw_error
private_key(const char *option, const char *path, struct gw_why *why)
{
	struct stat st;

	if (path[0] == '\0' || stat(path, &st) != 0 || (st.st_mode & (S_IRWXG | S_IRWXO)) == 0)
		return GW_OK;
	return gw_fail(why, GW_E_CONFIG, "%s %.120s: others may read it (mode %03o): chmod 600", option, path, (unsigned)(st.st_mode & 0777));
}

static enum gw_error
check_files(const struct gw_config *config, struct gw_why *why)
{
	const struct {
		const char *option, *path;
		bool wanted;
	} files[] = {
		{ "tls.certificate", config->tls_certificate, true },
		{ "tls.key", config->tls_key, true },
		{ "tls.ca", config->tls_ca, true },
		{ "tls.local_ca", config->tls_local_ca, true },
		{ "tls.local_ca_key", config->tls_local_ca_key, true },
		{ "tls.crl", config->tls_crl, true },
		{ "profiles.dir", config->profiles_dir, true },
		{ "bus.password_file", config->bus_password_file, config->bus_enabled },
		{ "bus.ca", config->bus_ca, config->bus_enabled },
		{ "bus.certificate", config->bus_certificate, config->bus_enabled },
		{ "bus.key", config->bus_key, config->bus_enabled },
	};
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]) && error == GW_OK; i++) {
		if (files[i].wanted)
			error = readable(files[i].option, files[i].path, why);
	}
	return error == GW_OK && config->bus_enabled ? private_key("bus.key", config->bus_key, why) : error;
}

enum gw_error
gw_config_check(const struct gw_config *config, struct gw_why *why)
{
	static enum gw_error (*const checks[])(const struct gw_config *, struct gw_why *) = {
		check_store, check_tls, check_doors, check_limits, check_bus, check_hl7, check_files,
	};
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < sizeof(checks) / sizeof(checks[0]) && error == GW_OK; i++)
		error = checks[i](config, why);
	return error;
}
