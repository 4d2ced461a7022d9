// SPDX-License-Identifier: Apache-2.0
// libcoap's context: keys, limits, endpoints and the one resource. main's thread opens it, the adapter's thread uses and closes it.
#include "adapters/coap/coap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

// ---- keys ----

static enum gw_error
set_psk(struct gw_coap *coap, struct gw_why *why)
{
	// libcoap wants a key to begin with; every identity goes through the callback, so this one, all zero bytes of length 0, is nobody's.
	coap_dtls_spsk_t psk = { .version = COAP_DTLS_SPSK_SETUP_VERSION, .validate_id_call_back = gw_coap_psk, .id_call_back_arg = coap };

	psk.psk_info.hint = (coap_bin_const_t){ 0, (const uint8_t *)"" };
	psk.psk_info.key = (coap_bin_const_t){ 0, (const uint8_t *)"" };
	if (!coap_context_set_psk2(coap->context, &psk))
		return gw_fail(why, GW_E_SYSTEM, "libcoap does not take the set-up for pre-shared keys");
	return GW_OK;
}

// ---- endpoints ----

static bool
address_of(const char *text, int64_t port, coap_address_t *out)
{
	coap_address_init(out);
	if (inet_pton(AF_INET6, text, &out->addr.sin6.sin6_addr) == 1) {
		out->size = sizeof(out->addr.sin6);
		out->addr.sin6.sin6_family = AF_INET6;
		out->addr.sin6.sin6_port = htons((uint16_t)port);
		return true;
	}
	if (inet_pton(AF_INET, text, &out->addr.sin.sin_addr) != 1)
		return false;
	out->size = sizeof(out->addr.sin);
	out->addr.sin.sin_family = AF_INET;
	out->addr.sin.sin_port = htons((uint16_t)port);
	return true;
}

static coap_endpoint_t *
endpoint_at(struct gw_coap *coap, const char *text, int64_t port, coap_proto_t proto)
{
	coap_address_t address;

	return address_of(text, port, &address) ? coap_new_endpoint(coap->context, &address, proto) : NULL;
}

static enum gw_error
listen_on(struct gw_coap *coap, int64_t port, coap_proto_t proto, struct gw_why *why)
{
	const char *text = coap->config->coap_address;
	coap_endpoint_t *endpoint;
	coap_address_t address;

	if (!address_of(text, port, &address))
		return gw_fail(why, GW_E_CONFIG, "coap.address: \"%s\" is no IPv4 or IPv6 address", text);
	endpoint = endpoint_at(coap, text, port, proto);
	if (endpoint == NULL && strcmp(text, "::") == 0) // a machine without IPv6
		endpoint = endpoint_at(coap, "0.0.0.0", port, proto);
	if (endpoint == NULL)
		return gw_fail(why, GW_E_SYSTEM, "coap: cannot listen on %s port %d: somebody else has it, or the address is not this machine's", text, (int)port);
	gw_diag(GW_NOTICE, "coap.listening", "%s", coap_endpoint_str(endpoint));
	return GW_OK;
}

// ---- libcoap's own diagnostics ----

static void
log_line(coap_log_t level, const char *text)
{
	static struct gw_diag_limit limit;

	// "Alert" is what it calls a device's reset.
	if (level <= COAP_LOG_ERR && level != COAP_LOG_ALERT)
		gw_diag_limited(&limit, 10, GW_WARNING, "coap.libcoap", "%.*s", (int)strcspn(text, "\n"), text);
	else
		gw_diag_limited(&limit, 10, GW_DEBUG, "coap.libcoap", "%.*s", (int)strcspn(text, "\n"), text);
}

// ---- open, close ----

static enum gw_error
add_resource(struct gw_coap *coap)
{
	static const coap_request_t methods[] = { COAP_REQUEST_GET, COAP_REQUEST_POST, COAP_REQUEST_DELETE, COAP_REQUEST_FETCH, COAP_REQUEST_PATCH,
		COAP_REQUEST_IPATCH };
	coap_resource_t *resource = coap_resource_unknown_init2(gw_coap_handle, COAP_RESOURCE_HANDLE_WELLKNOWN_CORE);

	if (resource == NULL)
		return GW_E_MEMORY;
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		coap_register_request_handler(resource, methods[i], gw_coap_handle);
	coap_resource_set_userdata(resource, coap);
	coap_add_resource(coap->context, resource);
	return GW_OK;
}

static void
set_limits(struct gw_coap *coap)
{
	coap_context_t *context = coap->context;

	coap_context_set_max_idle_sessions(context, (unsigned)coap->config->coap_sessions_max);
	coap_context_set_max_handshake_sessions(context, (unsigned)coap->config->coap_handshakes_max);
	coap_context_set_session_timeout(context, (unsigned)coap->config->coap_session_idle_s_max);
	// Blocks reach the handler one by one: libcoap 4.3.5 puts bodies together without a limit.
	coap_context_set_block_mode(context, 0);
}

enum gw_error
gw_coap_context_open(struct gw_coap *coap, struct gw_why *why)
{
	enum gw_error error;

	coap_startup();
	coap_set_log_handler(log_line);
	coap_set_log_level(COAP_LOG_WARN);
	coap_dtls_set_log_level(COAP_LOG_WARN);
	coap->context = coap_new_context(NULL);
	if (coap->context == NULL)
		return gw_fail(why, GW_E_MEMORY, "coap: no context");
	coap_context_set_app_data(coap->context, coap);
	coap_register_event_handler(coap->context, gw_coap_event);
	set_limits(coap);
	if ((error = add_resource(coap)) != GW_OK)
		return gw_fail(why, error, "coap: %s", gw_error_text(error));
	if ((error = set_psk(coap, why)) != GW_OK || (error = gw_coap_credentials_open(coap, why)) != GW_OK)
		return error;
	if ((error = listen_on(coap, coap->config->coap_port, COAP_PROTO_DTLS, why)) != GW_OK || !coap->config->coap_plain_enabled)
		return error;
	return listen_on(coap, coap->config->coap_plain_port, COAP_PROTO_UDP, why);
}

void
gw_coap_context_close(struct gw_coap *coap)
{
	// Every session gets its close_notify here.
	if (coap->context != NULL)
		coap_free_context(coap->context);
	coap->context = NULL;
	gw_coap_credentials_close(coap);
}
