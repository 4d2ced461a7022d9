// SPDX-License-Identifier: Apache-2.0
// What a device, or whoever installs it, needs to come here: where to, which credential, whom to believe; as members of an answer, and all of it as one URI for a QR
// code (schemas/credential-format.md). Threads: as command.h says.
#include "gateway/command_device.h"

#include "gateway/text_out.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DAYS_MAX 7305

static bool
is_plain(const uint8_t *at, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (at[i] <= 0x20 || at[i] >= 0x7f)
			return false;
	}
	return true;
}

void
gw_new_device_secrets(const struct gw_new_device *new, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	const struct gw_device *device = &new->device;
	char text[GW_PSK_MAX * 2 + 1];

	if (device->subject[0] != '\0')
		yyjson_mut_obj_add_strcpy(doc, object, "cert_subject", device->subject);
	if (device->psk_len > 0) {
		yyjson_mut_obj_add_strcpy(doc, object, "psk_identity", device->psk_identity);
		if (is_plain(device->psk, device->psk_len))
			yyjson_mut_obj_add_strncpy(doc, object, "psk", (const char *)device->psk, device->psk_len);
		yyjson_mut_obj_add_strcpy(doc, object, "psk_hex", gw_device_get(device, "psk", text, sizeof(text)));
		sodium_memzero(text, sizeof(text));
	}
	if (device->user[0] != '\0')
		yyjson_mut_obj_add_strcpy(doc, object, "user", device->user);
	if (new->password[0] != '\0')
		yyjson_mut_obj_add_strcpy(doc, object, "password", new->password);
}

// ---- Certificates ----

enum gw_error
gw_call_issue(const struct gw_call *call, struct gw_issue *issue)
{
	const char *kind = gw_call_text(call, "key-kind"), *request = gw_call_text(call, "csr");
	enum gw_error error;

	*issue = (struct gw_issue){ .kind = GW_PKI_P256, .request = gw_span_text(request) };
	if ((error = gw_call_number(call, "days", 1, DAYS_MAX, 0, &issue->days)) != GW_OK)
		return error;
	if (kind != NULL && request != NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "--csr brings its own key: --key-kind has no meaning beside it");
	return kind != NULL ? gw_pki_kind_of(kind, &issue->kind, call->why) : GW_OK;
}

enum gw_error
gw_new_device_issue(struct gw_issuer *issuer, const struct gw_issue *how, struct gw_new_device *new, struct gw_why *why)
{
	struct gw_issue issue = *how;
	enum gw_error error;

	if (new->device.subject[0] == '\0')
		memcpy(new->device.subject, new->device.id, sizeof(new->device.id));
	issue.common_name = new->device.subject;
	issue.device = new->device.id;
	error = gw_issuer_issue(issuer, &issue, &new->certificate, &new->key, &new->row, why);
	new->issued = error == GW_OK;
	return error;
}

enum gw_error
gw_new_devices_rows(void *arg, struct gw_ticket *ticket)
{
	const struct gw_new_devices *made = arg;
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < made->count && error == GW_OK; i++) {
		if (made->at[i].issued)
			error = gw_certificate_put(ticket, &made->at[i].row);
	}
	return error;
}

// ---- Where to ----

// Of the machine's names and addresses the first that is an address and not loopback.
static void
find_address(const struct gw_config *config, char address[64])
{
	char **names;
	size_t count;

	address[0] = '\0';
	if (gw_local_names(config, &names, &count, NULL) != GW_OK)
		return;
	for (size_t i = 0; i < count && address[0] == '\0'; i++) {
		bool number = names[i][strspn(names[i], "0123456789.")] == '\0' || strchr(names[i], ':') != NULL;

		if (number && strncmp(names[i], "127.", 4) != 0 && strcmp(names[i], "::1") != 0)
			snprintf(address, 64, "%.63s", names[i]);
	}
	free(names);
}

void
gw_reach_of(const struct gw_config *config, const char *given, struct gw_reach *reach)
{
	find_address(config, reach->address);
	if (given != NULL)
		snprintf(reach->host, sizeof(reach->host), "%s", given);
	else if (config->tls_names.count > 0)
		snprintf(reach->host, sizeof(reach->host), "%s", config->tls_names.at[0].text);
	else if (gethostname(reach->host, sizeof(reach->host) - 1) != 0 || reach->host[0] == '\0')
		snprintf(reach->host, sizeof(reach->host), "localhost");
	if (given != NULL || config->tls_names.count > 0)
		snprintf(reach->address, sizeof(reach->address), "%.63s", reach->host); // the site knows better
}

// ---- The URI ----

// RFC 3986: everything but unreserved characters as %XX.
static void
put_escaped(struct gw_text_out *out, const char *text)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
	char escaped[4];

	for (; *text != '\0'; text++) {
		snprintf(escaped, sizeof(escaped), strchr(plain, *text) != NULL ? "%c" : "%%%02X", (unsigned char)*text);
		gw_put_span(out, gw_span_text(escaped));
	}
}

static void
put_part(struct gw_text_out *out, const char *name, const char *value)
{
	if (value == NULL || value[0] == '\0')
		return;
	gw_put_span(out, gw_span_text(out->len > 0 && out->len < out->cap && memchr(out->at, '?', out->len) != NULL ? "&" : "?"));
	gw_put_span(out, gw_span_text(name));
	gw_put_span(out, gw_span_text("="));
	put_escaped(out, value);
}

static void
put_port(struct gw_text_out *out, const char *name, bool enabled, int64_t port)
{
	char text[16];

	snprintf(text, sizeof(text), "%lld", (long long)port);
	put_part(out, name, enabled ? text : NULL);
}

// Base64 for URIs (RFC 4648 section 5), without padding.
static const char *
url64(char pin[45])
{
	for (char *at = pin; *at != '\0'; at++)
		*at = *at == '+' ? '-' : *at == '/' ? '_' : *at == '=' ? '\0' : *at;
	return pin;
}

struct pins {
	char authority[45], gateway[45], authority_sha256[65];
};

static void
add_uri(const struct gw_config *config, const struct gw_reach *reach, const struct gw_new_device *new, const char *password, struct pins *pins,
    yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	const struct gw_device *device = &new->device;
	const char *host = reach->address[0] != '\0' ? reach->address : reach->host;
	char text[1024], hex[GW_PSK_MAX * 2 + 1];
	struct gw_text_out out = { text, sizeof(text) - 1, 0 };

	gw_put_span(&out, gw_span_text("vitalgate://"));
	gw_put_span(&out, gw_span_text(strchr(host, ':') != NULL ? "[" : ""));
	gw_put_span(&out, gw_span_text(host));
	gw_put_span(&out, gw_span_text(strchr(host, ':') != NULL ? "]" : ""));
	put_part(&out, "id", device->id);
	put_port(&out, "mqtt", config->mqtt_enabled, config->mqtt_port);
	put_port(&out, "coap", config->coap_enabled, config->coap_port);
	if (device->psk_len > 0) {
		put_part(&out, "identity", device->psk_identity);
		put_part(&out, "key", gw_device_get(device, "psk", hex, sizeof(hex)));
	}
	put_part(&out, "user", device->user);
	put_part(&out, "password", password != NULL ? password : new->password);
	put_part(&out, "ca", url64(pins->authority));
	put_part(&out, "pin", pins->authority[0] == '\0' ? url64(pins->gateway) : NULL);
	text[out.len < out.cap ? out.len : out.cap] = '\0';
	if (out.len <= out.cap)
		yyjson_mut_obj_add_strcpy(doc, object, "uri", text);
	sodium_memzero(text, sizeof(text));
	sodium_memzero(hex, sizeof(hex));
}

// ---- Whom to believe ----

static bool
info_of(const char *path, struct gw_pki_info *info, struct gw_pki_text *pem)
{
	if (path[0] == '\0' || gw_pki_read(path, pem, NULL) != GW_OK)
		return false;
	if (gw_pki_info(gw_span(pem->at, pem->len), 0, info, NULL) == GW_OK)
		return true;
	gw_pki_free(pem);
	return false;
}

static void
add_trust(const struct gw_config *config, const struct gw_new_device *new, struct pins *pins, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct gw_pki_info *info = malloc(sizeof(*info));
	struct gw_pki_text pem = { NULL, 0 };
	struct gw_local_paths *paths = malloc(sizeof(*paths));
	bool local = gw_local_used(config);

	*pins = (struct pins){ "" };
	if (info == NULL || paths == NULL)
		goto out;
	gw_local_paths(config, paths);
	if (info_of(local ? paths->certificate : config->tls_certificate, info, &pem)) {
		memcpy(pins->gateway, info->key_pin, sizeof(pins->gateway));
		yyjson_mut_obj_add_strcpy(doc, object, "gateway_key_pin", info->key_pin);
		gw_pki_free(&pem);
	}
	yyjson_mut_obj_add_strcpy(doc, object, "ca", local ? paths->ca : config->tls_ca);
	if ((local || new->issued) && info_of(paths->ca, info, &pem)) {
		if (local) {
			memcpy(pins->authority, info->key_pin, sizeof(pins->authority));
			yyjson_mut_obj_add_strcpy(doc, object, "ca_key_pin", info->key_pin);
			yyjson_mut_obj_add_strcpy(doc, object, "ca_sha256", info->sha256);
		}
		yyjson_mut_obj_add_strncpy(doc, object, "ca_pem", pem.at, pem.len);
		gw_pki_free(&pem);
	}

out:
	free(info);
	free(paths);
}

void
gw_handout(const struct gw_core *core, const struct gw_reach *reach, const struct gw_new_device *new, const char *password, yyjson_mut_doc *doc,
    yyjson_mut_val *object)
{
	struct pins pins;

	yyjson_mut_obj_add_strcpy(doc, object, "host", reach->host);
	if (reach->address[0] != '\0')
		yyjson_mut_obj_add_strcpy(doc, object, "address", reach->address);
	add_trust(core->config, new, &pins, doc, object);
	if (new->issued) {
		yyjson_mut_obj_add_strcpy(doc, object, "certificate_serial", new->row.serial);
		gw_json_time(doc, object, "certificate_until", new->row.until_us);
		yyjson_mut_obj_add_strncpy(doc, object, "certificate", new->certificate.at, new->certificate.len);
		if (new->key.len > 0)
			yyjson_mut_obj_add_strncpy(doc, object, "key", new->key.at, new->key.len);
	}
	add_uri(core->config, reach, new, password, &pins, doc, object);
}
