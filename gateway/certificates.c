// SPDX-License-Identifier: Apache-2.0
// Rows of certificates that were issued, the revocation list made of them, and issuing (gateway/certificates.h). Any thread that may wait.
#include "gateway/certificates.h"

#include "gateway/clock.h"
#include "gateway/journal.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREFIX "certificate/"
#define ROW_VERSION 1
#define DAY_US INT64_C(86400000000)
#define REVOKED_MAX 100000

// ---- Rows ----

#define TEXT(name) { #name, offsetof(struct gw_certificate, name), sizeof(((struct gw_certificate *)0)->name) }
static const struct {
	const char *name;
	size_t offset, size;
} texts[] = { TEXT(serial), TEXT(device), TEXT(subject), TEXT(sha256), TEXT(key_sha256), TEXT(authority), TEXT(reason) };
#undef TEXT
#define TEXT_COUNT (sizeof(texts) / sizeof(texts[0]))

void
gw_certificate_of(struct gw_certificate *row, const struct gw_pki_info *info, const struct gw_pki_info *authority, const char *device, bool server)
{
	*row = (struct gw_certificate){ .server = server, .from_us = info->from_us, .until_us = info->until_us };
	memcpy(row->serial, info->serial, sizeof(row->serial));
	snprintf(row->device, sizeof(row->device), "%s", device);
	memcpy(row->subject, info->common_name, sizeof(row->subject));
	memcpy(row->sha256, info->sha256, sizeof(row->sha256));
	memcpy(row->key_sha256, info->key_sha256, sizeof(row->key_sha256));
	memcpy(row->authority, authority->key_sha256, sizeof(row->authority));
}

static char *
write_row(const struct gw_certificate *row, size_t *len)
{
	yyjson_mut_doc *doc = yyjson_mut_doc_new(NULL);
	yyjson_mut_val *object = yyjson_mut_obj(doc);
	char *text;

	yyjson_mut_doc_set_root(doc, object);
	yyjson_mut_obj_add_int(doc, object, "version", ROW_VERSION);
	for (size_t i = 0; i < TEXT_COUNT; i++) {
		const char *at = (const char *)row + texts[i].offset;

		if (at[0] != '\0')
			yyjson_mut_obj_add_str(doc, object, texts[i].name, at);
	}
	if (row->server)
		yyjson_mut_obj_add_bool(doc, object, "server", true);
	yyjson_mut_obj_add_sint(doc, object, "from_us", row->from_us);
	yyjson_mut_obj_add_sint(doc, object, "until_us", row->until_us);
	if (row->revoked_us != 0)
		yyjson_mut_obj_add_sint(doc, object, "revoked_us", row->revoked_us);
	text = yyjson_mut_write(doc, 0, len);
	yyjson_mut_doc_free(doc);
	return text;
}

static enum gw_error
read_row(struct gw_span value, struct gw_certificate *row, struct gw_why *why)
{
	yyjson_doc *doc = yyjson_read((const char *)value.at, value.len, 0);
	yyjson_val *object = yyjson_doc_get_root(doc);
	enum gw_error error = GW_OK;

	*row = (struct gw_certificate){ 0 };
	if (!yyjson_is_obj(object))
		error = gw_fail(why, GW_E_CORRUPT, "a certificate's row is no JSON object");
	else if (yyjson_get_int(yyjson_obj_get(object, "version")) != ROW_VERSION)
		error = gw_fail(why, GW_E_VERSION, "a certificate's row is of version %d", yyjson_get_int(yyjson_obj_get(object, "version")));
	for (size_t i = 0; error == GW_OK && i < TEXT_COUNT; i++) {
		yyjson_val *text = yyjson_obj_get(object, texts[i].name);

		if (yyjson_get_len(text) < texts[i].size && yyjson_is_str(text))
			memcpy((char *)row + texts[i].offset, yyjson_get_str(text), yyjson_get_len(text));
	}
	row->server = yyjson_get_bool(yyjson_obj_get(object, "server"));
	row->from_us = yyjson_get_sint(yyjson_obj_get(object, "from_us"));
	row->until_us = yyjson_get_sint(yyjson_obj_get(object, "until_us"));
	row->revoked_us = yyjson_get_sint(yyjson_obj_get(object, "revoked_us"));
	yyjson_doc_free(doc);
	return error == GW_OK && row->serial[0] == '\0' ? gw_fail(why, GW_E_CORRUPT, "a certificate's row has no serial number") : error;
}

bool
gw_certificate_row_good(struct gw_span value, struct gw_why *why)
{
	struct gw_certificate row;

	return read_row(value, &row, why) == GW_OK;
}

enum gw_error
gw_certificate_put(struct gw_ticket *ticket, const struct gw_certificate *row)
{
	char key[sizeof(PREFIX) + GW_PKI_SERIAL_MAX];
	enum gw_error error;
	size_t len;
	char *text = write_row(row, &len);

	if (text == NULL)
		return GW_E_MEMORY;
	snprintf(key, sizeof(key), PREFIX "%s", row->serial);
	error = gw_ticket_put(ticket, gw_span_text(key), gw_span(text, len));
	free(text);
	return error;
}

enum gw_error
gw_certificate_serial(const char *text, char out[GW_PKI_SERIAL_MAX + 1], struct gw_why *why)
{
	size_t len = 0;

	for (const char *at = text; *at != '\0'; at++) {
		if (*at == ':')
			continue;
		if (!isxdigit((unsigned char)*at) || len == GW_PKI_SERIAL_MAX)
			return gw_fail(why, GW_E_ARGUMENT, "\"%.50s\" is no serial number: up to %d hexadecimal digits (see: vitalgate cert list)", text, GW_PKI_SERIAL_MAX);
		out[len++] = (char)tolower((unsigned char)*at);
	}
	out[len] = '\0';
	return len > 0 ? GW_OK : gw_fail(why, GW_E_ARGUMENT, "which serial number?");
}

enum gw_error
gw_certificate_get(struct gw_journal *journal, const char *serial, struct gw_certificate *row, struct gw_why *why)
{
	char key[sizeof(PREFIX) + GW_PKI_SERIAL_MAX], value[2048];
	size_t len = 0;
	enum gw_error error;

	snprintf(key, sizeof(key), PREFIX "%s", serial);
	error = gw_journal_get(journal, gw_span_text(key), value, sizeof(value), &len);
	if (error == GW_E_NOT_FOUND)
		return gw_fail(why, error, "no certificate with the number %s was issued here (see: vitalgate cert list)", serial);
	if (error != GW_OK)
		return gw_fail(why, error, "%s", gw_error_text(error));
	return read_row(gw_span(value, len < sizeof(value) ? len : sizeof(value)), row, why);
}

bool
gw_certificate_is_revoked(struct gw_journal *journal, struct gw_span serial)
{
	char text[GW_PKI_SERIAL_MAX + 1];
	struct gw_certificate row;

	if (serial.len == 0 || serial.len * 2 >= sizeof(text))
		return false; // none of ours
	for (size_t i = 0; i < serial.len; i++)
		snprintf(text + i * 2, 3, "%02x", serial.at[i]);
	return gw_certificate_get(journal, text, &row, NULL) == GW_OK && row.revoked_us != 0;
}

struct each {
	gw_certificate_fn *fn;
	void *arg;
};

static bool
each_row(void *arg, struct gw_span key, struct gw_span value)
{
	const struct each *each = arg;
	struct gw_certificate row;

	(void)key;
	return read_row(value, &row, NULL) != GW_OK || each->fn(each->arg, &row);
}

enum gw_error
gw_certificates_each(struct gw_journal *journal, gw_certificate_fn *fn, void *arg)
{
	struct each each = { fn, arg };

	return gw_journal_each(journal, gw_span_text(PREFIX), gw_span("", 0), each_row, &each);
}

// ---- The revocation list ----

struct revoked {
	const char *authority;
	struct gw_pki_revoked *at;
	size_t count, cap;
	bool full;
};

// One that is over need not be on the list any more (RFC 5280 section 3.3); a month later, because clocks differ.
static bool
take_revoked(void *arg, const struct gw_certificate *row)
{
	struct revoked *list = arg;

	if (row->revoked_us == 0 || strcmp(row->authority, list->authority) != 0 || row->until_us < gw_clock_wall_us() - 30 * DAY_US)
		return true;
	if (list->count == list->cap) {
		size_t cap = list->cap == 0 ? 64 : list->cap * 2;
		struct gw_pki_revoked *more = cap <= REVOKED_MAX * 2 ? realloc(list->at, cap * sizeof(*more)) : NULL;

		if (more == NULL) {
			list->full = true;
			return false;
		}
		list->at = more;
		list->cap = cap;
	}
	memcpy(list->at[list->count].serial, row->serial, sizeof(row->serial));
	list->at[list->count++].at_us = row->revoked_us;
	return true;
}

enum gw_error
gw_certificates_publish(struct gw_core *core, bool *written, struct gw_why *why)
{
	struct gw_local *local;
	struct revoked list = { .count = 0 };
	enum gw_error error = gw_local_open(core->config, &local, why);

	if (error != GW_OK)
		return error;
	list.authority = gw_local_authority_info(local)->key_sha256;
	error = gw_certificates_each(core->journal, take_revoked, &list);
	if (error == GW_OK && list.full)
		error = GW_E_MEMORY;
	if (error != GW_OK)
		(void)gw_fail(why, error, "the revocation list: %s", gw_error_text(error));
	else
		error = gw_local_revoke(local, list.at, list.count, written, why);
	free(list.at);
	gw_local_close(local);
	return error;
}

// ---- Issuing ----

struct gw_issuer {
	struct gw_local *local;
	const struct gw_config *config;
};

// Whether the authority is among those of a bundle.
static bool
is_among(const struct gw_pki_info *authority, const char *path)
{
	struct gw_pki_text bundle;
	struct gw_pki_info *info = malloc(sizeof(*info));
	bool found = false;

	if (info == NULL || gw_pki_read(path, &bundle, NULL) != GW_OK) {
		free(info);
		return false;
	}
	for (size_t i = 0; !found && gw_pki_info(gw_span(bundle.at, bundle.len), i, info, NULL) == GW_OK; i++)
		found = strcmp(info->sha256, authority->sha256) == 0;
	free(info);
	gw_pki_free(&bundle);
	return found;
}

enum gw_error
gw_issuer_open(const struct gw_config *config, struct gw_issuer **out, struct gw_why *why)
{
	struct gw_issuer *issuer = calloc(1, sizeof(*issuer));
	enum gw_error error;

	*out = NULL;
	if (issuer == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	issuer->config = config;
	error = gw_local_open(config, &issuer->local, why);
	if (error == GW_OK && (config->tls_ca[0] != '\0' || !gw_local_used(config)) && !is_among(gw_local_authority_info(issuer->local), config->tls_ca))
		error = gw_fail(why, GW_E_CONFIG, "tls.ca does not hold the local authority, so its certificates would be refused: append what `vitalgate cert ca` prints");
	if (error == GW_OK)
		*out = issuer;
	else
		gw_issuer_close(issuer);
	return error;
}

void
gw_issuer_close(struct gw_issuer *issuer)
{
	if (issuer == NULL)
		return;
	gw_local_close(issuer->local);
	free(issuer);
}

struct gw_span
gw_issuer_authority(const struct gw_issuer *issuer)
{
	return gw_local_authority_pem(issuer->local);
}

const struct gw_pki_info *
gw_issuer_info(const struct gw_issuer *issuer)
{
	return gw_local_authority_info(issuer->local);
}

enum gw_error
gw_issuer_issue(struct gw_issuer *issuer, const struct gw_issue *issue, struct gw_pki_text *certificate, struct gw_pki_text *made,
    struct gw_certificate *row, struct gw_why *why)
{
	const struct gw_pki_info *authority = gw_local_authority_info(issuer->local);
	int64_t now_us = gw_clock_wall_us(), days = issue->days != 0 ? issue->days : issue->server ? issuer->config->tls_local_d : issuer->config->tls_device_d;
	struct gw_pki_wish wish = { .common_name = issue->common_name, .names = issue->names, .name_count = issue->name_count,
		.purpose = issue->server ? GW_PKI_SERVER : GW_PKI_CLIENT, .from_us = now_us - DAY_US, .until_us = now_us + days * DAY_US };
	struct gw_pki_info *info = malloc(sizeof(*info));
	enum gw_error error = info != NULL ? GW_OK : gw_fail(why, GW_E_MEMORY, "out of memory");

	*certificate = *made = (struct gw_pki_text){ NULL, 0 };
	if (wish.from_us < authority->from_us)
		wish.from_us = authority->from_us;
	if (error == GW_OK && issue->request.len == 0)
		error = gw_pki_key(issue->kind, made, why);
	if (error == GW_OK)
		error = gw_pki_issue(gw_local_authority(issuer->local), &wish, issue->request.len > 0 ? issue->request : gw_span(made->at, made->len), certificate, info, why);
	if (error == GW_OK)
		gw_certificate_of(row, info, authority, issue->device != NULL ? issue->device : "", issue->server);
	else
		gw_pki_free(made);
	free(info);
	return error;
}
