// SPDX-License-Identifier: Apache-2.0
// Commands on certificates: those in use, those that were issued, the local authority. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/clock.h"
#include "gateway/command_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DAY_US INT64_C(86400000000)
#define NAMES_MAX GW_PKI_NAMES_MAX

// ---- In use ----

// "DNS:a,IP:b" as a list.
static void
add_names(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *names)
{
	yyjson_mut_val *list = yyjson_mut_obj_add_arr(doc, object, "names");

	while (*names != '\0') {
		size_t len = strcspn(names, ",");

		yyjson_mut_arr_add_strncpy(doc, list, names, len);
		names += len + (names[len] == ',');
	}
}

static void
add_info(yyjson_mut_doc *doc, yyjson_mut_val *object, const struct gw_pki_info *info)
{
	int64_t left_us = info->until_us - gw_clock_wall_us();

	yyjson_mut_obj_add_strcpy(doc, object, "subject", info->subject);
	yyjson_mut_obj_add_strcpy(doc, object, "issuer", info->issuer);
	yyjson_mut_obj_add_strcpy(doc, object, "serial", info->serial);
	add_names(doc, object, info->names);
	gw_json_time(doc, object, "from", info->from_us);
	gw_json_time(doc, object, "until", info->until_us);
	yyjson_mut_obj_add_sint(doc, object, "days_left", left_us >= 0 ? left_us / DAY_US : -1 + (left_us + 1) / DAY_US);
	yyjson_mut_obj_add_strcpy(doc, object, "key_kind", info->key);
	yyjson_mut_obj_add_bool(doc, object, "authority", info->authority);
	yyjson_mut_obj_add_strcpy(doc, object, "sha256", info->sha256);
	yyjson_mut_obj_add_strcpy(doc, object, "key_sha256", info->key_sha256);
	yyjson_mut_obj_add_strcpy(doc, object, "key_pin", info->key_pin);
}

static bool
emit_problem(struct gw_call *call, const char *use, const char *path, const char *words)
{
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = gw_call_object(&object);

	if (doc == NULL)
		return false;
	yyjson_mut_obj_add_strcpy(doc, object, "use", use);
	yyjson_mut_obj_add_strcpy(doc, object, "file", path);
	yyjson_mut_obj_add_strcpy(doc, object, "problem", words);
	return gw_call_emit(call, doc);
}

// A PKCS#12 file becomes its certificates as PEM.
static enum gw_error
open_p12(const struct gw_config *config, const char *path, struct gw_pki_text *file, struct gw_why *why)
{
	const char *dot = strrchr(path, '.');
	struct gw_pki_text line = { NULL, 0 }, pem;
	enum gw_error error = GW_OK;

	if (dot == NULL || (strcasecmp(dot, ".p12") != 0 && strcasecmp(dot, ".pfx") != 0))
		return GW_OK;
	if (config->tls_key_passphrase_file[0] != '\0')
		error = gw_pki_read(config->tls_key_passphrase_file, &line, why);
	if (line.at != NULL)
		line.at[strcspn(line.at, "\r\n")] = '\0';
	if (error == GW_OK)
		error = gw_pki_p12_read(gw_span(file->at, file->len), line.at != NULL ? line.at : "", &pem, why);
	gw_pki_free(&line);
	if (error != GW_OK)
		return error;
	gw_pki_free(file);
	*file = pem;
	return GW_OK;
}

// Every certificate of a file.
static bool
show_file(struct gw_call *call, const char *use, const char *path)
{
	struct gw_pki_text pem;
	struct gw_pki_info *info;
	struct gw_why why = { "" };
	bool wanted = true;

	if (path[0] == '\0')
		return true;
	if (gw_pki_read(path, &pem, &why) != GW_OK)
		return emit_problem(call, use, path, why.text);
	if (open_p12(call->core->config, path, &pem, &why) != GW_OK) {
		gw_pki_free(&pem);
		return emit_problem(call, use, path, why.text);
	}
	info = malloc(sizeof(*info));
	for (size_t i = 0; info != NULL && wanted; i++) {
		yyjson_mut_val *object;
		yyjson_mut_doc *doc;
		enum gw_error error = gw_pki_info(gw_span(pem.at, pem.len), i, info, &why);

		if (error != GW_OK) {
			wanted = error == GW_E_NOT_FOUND || emit_problem(call, use, path, why.text);
			break;
		}
		if ((doc = gw_call_object(&object)) == NULL)
			break;
		yyjson_mut_obj_add_strcpy(doc, object, "use", use);
		yyjson_mut_obj_add_strcpy(doc, object, "file", path);
		add_info(doc, object, info);
		wanted = gw_call_emit(call, doc);
	}
	free(info);
	gw_pki_free(&pem);
	return wanted;
}

static bool
show_destinations(struct gw_call *call)
{
	const struct gw_config *config = call->core->config;
	const struct gw_config_destination *destinations = config->hl7_destinations.at;
	bool wanted = true;
	char use[160];

	for (size_t i = 0; wanted && config->hl7_enabled && i < config->hl7_destinations.count; i++) {
		if (!destinations[i].tls)
			continue;
		snprintf(use, sizeof(use), "hl7 %.100s certificate", destinations[i].name);
		wanted = show_file(call, use, destinations[i].certificate);
		snprintf(use, sizeof(use), "hl7 %.100s ca", destinations[i].name);
		wanted = wanted && show_file(call, use, destinations[i].ca);
	}
	return wanted;
}

enum gw_error
gw_command_cert_show(struct gw_call *call)
{
	const struct gw_config *config = call->core->config;
	struct gw_local_paths *paths = malloc(sizeof(*paths));
	bool local = gw_local_used(config), wanted;

	if (paths == NULL)
		return gw_fail(call->why, GW_E_MEMORY, "out of memory");
	gw_local_paths(config, paths);
	wanted = show_file(call, "tls.certificate", local ? paths->certificate : config->tls_certificate) &&
	    show_file(call, "tls.ca", local && config->tls_ca[0] == '\0' ? paths->ca : config->tls_ca) && show_file(call, "hl7_in.ca", config->hl7_in_ca);
	if (wanted && config->bus_enabled)
		wanted = show_file(call, "bus.certificate", config->bus_certificate) && show_file(call, "bus.ca", config->bus_ca);
	if (wanted)
		(void)show_destinations(call);
	free(paths);
	return GW_OK;
}

enum gw_error
gw_command_cert_ca(struct gw_call *call)
{
	struct gw_local *local;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;
	enum gw_error error = gw_local_open(call->core->config, &local, call->why);

	if (error != GW_OK)
		return error;
	if ((doc = gw_call_object(&object)) != NULL) {
		add_info(doc, object, gw_local_authority_info(local));
		yyjson_mut_obj_add_strncpy(doc, object, "pem", (const char *)gw_local_authority_pem(local).at, gw_local_authority_pem(local).len);
		(void)gw_call_emit(call, doc);
	}
	gw_local_close(local);
	return GW_OK;
}

// ---- Issued ----

static bool
emit_row(void *arg, const struct gw_certificate *row)
{
	struct gw_call *call = arg;
	const char *device = gw_call_text(call, "device");
	int64_t now_us = gw_clock_wall_us();
	yyjson_mut_val *object;
	yyjson_mut_doc *doc;

	if (device != NULL && strcmp(device, row->device) != 0)
		return true;
	if ((doc = gw_call_object(&object)) == NULL)
		return false;
	yyjson_mut_obj_add_strcpy(doc, object, "serial", row->serial);
	yyjson_mut_obj_add_strcpy(doc, object, "subject", row->subject);
	yyjson_mut_obj_add_strcpy(doc, object, "device", row->device);
	yyjson_mut_obj_add_str(doc, object, "state", row->revoked_us != 0 ? "revoked" : row->until_us <= now_us ? "expired" : "good");
	yyjson_mut_obj_add_str(doc, object, "purpose", row->server ? "server" : "client");
	gw_json_time(doc, object, "from", row->from_us);
	gw_json_time(doc, object, "until", row->until_us);
	if (row->revoked_us != 0)
		gw_json_time(doc, object, "revoked", row->revoked_us);
	yyjson_mut_obj_add_strcpy(doc, object, "reason", row->reason);
	yyjson_mut_obj_add_strcpy(doc, object, "sha256", row->sha256);
	yyjson_mut_obj_add_strcpy(doc, object, "key_sha256", row->key_sha256);
	return gw_call_emit(call, doc);
}

enum gw_error
gw_command_cert_list(struct gw_call *call)
{
	enum gw_error error = gw_certificates_each(call->core->journal, emit_row, call);

	return error == GW_OK ? GW_OK : gw_fail(call->why, error, "%s", gw_error_text(error));
}

// One commit: the row, and who did it.
static enum gw_error
commit_row(struct gw_call *call, const struct gw_certificate *row, const char *verb)
{
	struct gw_source source;
	struct gw_ticket *ticket;
	enum gw_error error = gw_source_init(&source, call->core->intake, 1);

	if (error != GW_OK)
		return gw_fail(call->why, error, "%s", gw_error_text(error));
	ticket = gw_ticket_get(&source);
	error = ticket != NULL ? gw_certificate_put(ticket, row) : GW_E_MEMORY;
	if (error == GW_OK)
		error = gw_call_record(call, ticket, gw_span_text(row->device), "%s %s (%.64s)%s%.60s", verb, row->serial, row->subject, row->reason[0] != '\0' ? ": " : "",
		    row->reason);
	if (error == GW_OK) {
		ticket->essential = true;
		error = gw_intake_commit(ticket);
	}
	if (ticket != NULL)
		gw_ticket_release(ticket);
	gw_source_fini(&source);
	return error == GW_OK ? GW_OK : gw_fail(call->why, error, "%s could not be stored: %s", verb, gw_error_text(error));
}

// "a,b": pointers into text, which is cut.
static size_t
split(char *text, const char *names[NAMES_MAX])
{
	size_t count = 0;
	char *save = NULL;

	for (char *one = strtok_r(text, ", ", &save); one != NULL && count < NAMES_MAX; one = strtok_r(NULL, ", ", &save))
		names[count++] = one;
	return count;
}

static void
emit_issued(struct gw_call *call, const struct gw_issuer *issuer, const struct gw_certificate *row, const struct gw_pki_text *certificate,
    const struct gw_pki_text *key)
{
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = gw_call_object(&object);

	if (doc == NULL)
		return;
	yyjson_mut_obj_add_strcpy(doc, object, "name", row->subject);
	yyjson_mut_obj_add_strcpy(doc, object, "certificate_serial", row->serial);
	gw_json_time(doc, object, "certificate_until", row->until_us);
	yyjson_mut_obj_add_strncpy(doc, object, "certificate", certificate->at, certificate->len);
	if (key->len > 0)
		yyjson_mut_obj_add_strncpy(doc, object, "key", key->at, key->len);
	yyjson_mut_obj_add_strncpy(doc, object, "ca_pem", (const char *)gw_issuer_authority(issuer).at, gw_issuer_authority(issuer).len);
	(void)gw_call_emit(call, doc);
}

static enum gw_error
take_server(const struct gw_call *call, struct gw_issue *issue, char *names, const char *list[NAMES_MAX])
{
	issue->server = gw_call_flag(call, "server");
	if (names != NULL && !issue->server)
		return gw_fail(call->why, GW_E_ARGUMENT, "--names are a server's: say --server as well");
	issue->names = list;
	issue->name_count = names != NULL ? split(names, list) : 0;
	return GW_OK;
}

// For other programs of the site (the bus, dashboards), not for devices of the registry.
enum gw_error
gw_command_cert_issue(struct gw_call *call)
{
	struct gw_pki_text certificate = { NULL, 0 }, key = { NULL, 0 };
	const char *given = gw_call_text(call, "names"), *list[NAMES_MAX];
	char *names = given != NULL ? strdup(given) : NULL;
	struct gw_issuer *issuer = NULL;
	struct gw_certificate row;
	struct gw_issue issue;
	enum gw_error error = gw_call_issue(call, &issue);

	issue.common_name = gw_call_text(call, "name");
	if (error == GW_OK && (issue.common_name == NULL || strlen(issue.common_name) > 64 || issue.common_name[0] == '\0'))
		error = gw_fail(call->why, GW_E_ARGUMENT, "a certificate's name has 1 to 64 bytes");
	if (error == GW_OK)
		error = take_server(call, &issue, names, list);
	if (error == GW_OK)
		error = gw_issuer_open(call->core->config, &issuer, call->why);
	if (error == GW_OK)
		error = gw_issuer_issue(issuer, &issue, &certificate, &key, &row, call->why);
	if (error == GW_OK)
		error = commit_row(call, &row, "cert issue");
	if (error == GW_OK)
		emit_issued(call, issuer, &row, &certificate, &key);
	gw_issuer_close(issuer);
	gw_pki_free(&certificate);
	gw_pki_free(&key);
	free(names);
	return error;
}

static enum gw_error
put_row(void *arg, struct gw_ticket *ticket)
{
	return gw_certificate_put(ticket, arg);
}

// As a change of its device, so that doors ask again who is connected; or by itself where that is not there (any more).
static enum gw_error
commit_revoked(struct gw_call *call, struct gw_certificate *row)
{
	char words[200];
	struct gw_change change = { .kind = GW_CHANGE_CERTIFICATE, .id = gw_span_text(row->device), .who = call->who, .words = words, .with = put_row, .arg = row };
	enum gw_error error;

	snprintf(words, sizeof(words), "%s%s%.60s", row->serial, row->reason[0] != '\0' ? ", " : "", row->reason);
	error = row->device[0] != '\0' ? gw_registry_change(call->core->registry, &change, call->why) : GW_E_NOT_FOUND;
	return error == GW_E_NOT_FOUND ? commit_row(call, row, "cert revoke") : error;
}

enum gw_error
gw_command_cert_revoke(struct gw_call *call)
{
	const char *text = gw_call_text(call, "serial"), *reason = gw_call_text(call, "reason");
	char serial[GW_PKI_SERIAL_MAX + 1];
	struct gw_certificate row;
	enum gw_error error = gw_certificate_serial(text != NULL ? text : "", serial, call->why);

	if (error == GW_OK)
		error = gw_certificate_get(call->core->journal, serial, &row, call->why);
	if (error != GW_OK)
		return error;
	if (row.revoked_us == 0) { // else only the list is made to say so
		row.revoked_us = gw_clock_wall_us();
		snprintf(row.reason, sizeof(row.reason), "%s", reason != NULL ? reason : "");
		if ((error = commit_revoked(call, &row)) != GW_OK)
			return error;
	}
	if ((error = gw_certificates_publish(call->core, NULL, call->why)) != GW_OK) {
		struct gw_why words = *call->why;

		return gw_fail(call->why, error, "it is recorded, but the revocation list is as it was: %.120s", words.text);
	}
	(void)emit_row(call, &row);
	return GW_OK;
}
