// SPDX-License-Identifier: Apache-2.0
// What `device add` and `device import` say: secrets once, and lines to paste that send a first reading. Single-threaded.
#include "gateway/cli_handlers.h"
#include "gateway/cli_show.h"

#include "adapters/pki/qr.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool
has(yyjson_val *line, const char *key)
{
	return gw_show_string(line, key)[0] != '\0';
}

// In single quotes for a shell.
static void
quoted(const char *text, FILE *out)
{
	if (text[0] != '\0' && strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:-@%+=,") == strlen(text)) {
		fputs(text, out);
		return;
	}
	fputc('\'', out);
	for (; *text != '\0'; text++) {
		if (*text == '\'')
			fputs("'\\''", out);
		else
			fputc(*text, out);
	}
	fputc('\'', out);
}

static void
option(FILE *out, const char *name, const char *value)
{
	fprintf(out, " %s ", name);
	quoted(value, out);
}

static const char *
host(yyjson_val *line)
{
	return has(line, "host") ? gw_show_string(line, "host") : "localhost";
}

// The line up to the credential.
static void
mosquitto_head(FILE *out, yyjson_val *line)
{
	char port[16];

	fputs("  mosquitto_pub", out);
	option(out, "-h", host(line));
	option(out, "-p", gw_show_text(line, "mqtt_port", port, sizeof(port)));
}

static void
mosquitto_tail(FILE *out, yyjson_val *line)
{
	fputs(" -V 5 -q 1", out);
	option(out, "-i", gw_show_string(line, "device"));
	option(out, "-t", gw_show_string(line, "mqtt_topic"));
	option(out, "-m", gw_show_string(line, "payload"));
	fputc('\n', out);
}

static void
mosquitto_lines(FILE *out, yyjson_val *line)
{
	const char *ca = has(line, "ca") ? gw_show_string(line, "ca") : "CA.pem";

	if (!has(line, "mqtt_topic") || yyjson_obj_get(line, "mqtt_port") == NULL)
		return;
	if (has(line, "psk_hex")) {
		mosquitto_head(out, line);
		option(out, "--psk", gw_show_string(line, "psk_hex"));
		option(out, "--psk-identity", gw_show_string(line, "psk_identity"));
		mosquitto_tail(out, line);
	}
	if (has(line, "cert_subject")) {
		mosquitto_head(out, line);
		option(out, "--cafile", ca);
		option(out, "--cert", has(line, "pem_certificate") ? gw_show_string(line, "pem_certificate") : "CERTIFICATE.pem");
		option(out, "--key", has(line, "pem_key") ? gw_show_string(line, "pem_key") : "KEY.pem");
		mosquitto_tail(out, line);
	}
	if (has(line, "user")) {
		mosquitto_head(out, line);
		option(out, "--cafile", ca);
		option(out, "-u", gw_show_string(line, "user"));
		option(out, "-P", gw_show_string(line, "password"));
		mosquitto_tail(out, line);
	}
}

// A path in a URI (RFC 3986 section 3.3), safe in a shell too.
static void
put_path(FILE *out, const char *path)
{
	for (; *path != '\0'; path++) {
		unsigned char c = (unsigned char)*path;

		fprintf(out, c > 0x20 && c < 0x7f && strchr("!\"#$%&'()*;<>?[\\]^`{|}", c) == NULL ? "%c" : "%%%02X", c);
	}
}

static void
coap_tail(FILE *out, yyjson_val *line)
{
	char port[16], format[16];

	option(out, "-t", gw_show_text(line, "content_format", format, sizeof(format)));
	option(out, "-e", gw_show_string(line, "payload"));
	fprintf(out, strchr(host(line), ':') != NULL ? " coaps://[%s]:%s/" : " coaps://%s:%s/", host(line), gw_show_text(line, "coap_port", port, sizeof(port)));
	put_path(out, gw_show_string(line, "coap_path"));
	fputc('\n', out);
}

static void
coap_lines(FILE *out, yyjson_val *line)
{
	if (!has(line, "coap_path") || yyjson_obj_get(line, "coap_port") == NULL)
		return;
	if (has(line, "psk")) {
		fputs("  coap-client-openssl -m post", out);
		option(out, "-u", gw_show_string(line, "psk_identity"));
		option(out, "-k", gw_show_string(line, "psk"));
		coap_tail(out, line);
	}
	if (has(line, "cert_subject")) {
		fputs("  coap-client-openssl -m post", out);
		option(out, "-c", has(line, "pem_certificate") ? gw_show_string(line, "pem_certificate") : "CERTIFICATE.pem");
		option(out, "-j", has(line, "pem_key") ? gw_show_string(line, "pem_key") : "KEY.pem");
		option(out, "-C", has(line, "ca") ? gw_show_string(line, "ca") : "CA.pem");
		coap_tail(out, line);
	}
}

static void
secret(FILE *out, yyjson_val *line, const char *key, const char *words)
{
	if (has(line, key))
		fprintf(out, "  %-30s %s\n", words, gw_show_string(line, key));
}

static void
head(FILE *out, yyjson_val *line)
{
	const char *device = gw_show_string(line, "device");
	bool used = yyjson_get_bool(yyjson_obj_get(line, "old_until_used"));

	if (device[0] == '\0')
		fprintf(out, "A certificate for %s is issued. What is secret is shown this once:\n", gw_show_string(line, "name"));
	else if (strcmp(gw_show_string(line, "done"), "issued") == 0)
		fprintf(out, "Device %s has a new certificate; the one before stays good until it expires or is revoked. What is secret is shown this once:\n", device);
	else if (strcmp(gw_show_string(line, "done"), "rotated") == 0 && (used || has(line, "old_until")))
		fprintf(out, "Device %s has a new key; the old one is good until %s%s%s%s. The new one is shown this once:\n", device, used ? "the new one was used" : "",
		    used && has(line, "old_until") ? ", at the latest until " : "", has(line, "old_until") ? gw_show_string(line, "old_until") : "", "");
	else if (strcmp(gw_show_string(line, "done"), "rotated") == 0)
		fprintf(out, "Device %s has a new key, the old one is gone. It is shown this once:\n", device);
	else
		fprintf(out, "Device %s is added. Its secrets are shown this once:\n", device);
}

static void
files(FILE *out, yyjson_val *line)
{
	secret(out, line, "certificate_serial", "certificate's serial number");
	secret(out, line, "certificate_until", "certificate good until");
	secret(out, line, "p12", "PKCS#12 file");
	secret(out, line, "p12_passphrase", "passphrase of it");
	secret(out, line, "pem_certificate", "certificate in");
	secret(out, line, "pem_key", "key in");
	secret(out, line, "qr", "QR code in");
	secret(out, line, "sheet", "sheet in");
}

// What is in no file.
static void
put_pem(FILE *out, yyjson_val *line)
{
	if (has(line, "certificate") && !has(line, "pem_certificate") && !has(line, "p12"))
		fprintf(out, "%s", gw_show_string(line, "certificate"));
	if (has(line, "key"))
		fprintf(out, "%s", gw_show_string(line, "key"));
}

static void
put_qr(struct gw_show *show, yyjson_val *line)
{
	struct gw_pki_text block;
	struct gw_why why;

	if (!gw_cli_given(show->cli, "qr") || gw_cli_argument(show->cli, "qr") != NULL || !has(line, "uri"))
		return;
	if (gw_qr_terminal(gw_show_string(line, "uri"), isatty(STDOUT_FILENO) == 1, &block, &why) != GW_OK) {
		fprintf(stderr, "vitalgate: %s\n", why.text);
		return;
	}
	fwrite(block.at, 1, block.len, show->out);
	gw_pki_free(&block);
}

void
gw_show_device_added(struct gw_show *show, yyjson_val *line)
{
	FILE *out = show->out;

	if (line == NULL)
		return;
	head(out, line);
	secret(out, line, "psk_identity", "PSK identity");
	secret(out, line, "psk", "pre-shared key, as text");
	secret(out, line, "psk_hex", "pre-shared key, as hex");
	secret(out, line, "user", "user");
	secret(out, line, "password", "password");
	secret(out, line, "cert_subject", "certificate's subject");
	files(out, line);
	put_pem(out, line);
	put_qr(show, line);
	if (!has(line, "mqtt_topic") && !has(line, "coap_path"))
		return;
	fputs("To try it:\n", out);
	mosquitto_lines(out, line);
	coap_lines(out, line);
	fprintf(out, "What else it may send: vitalgate profile show %s\n", gw_show_string(line, "profile"));
}

// ---- import: generated secrets as CSV, to a file of its owner's only, or to standard output ----

static const struct gw_column secret_columns[] = {
	{ .key = "device" }, { .key = "psk_identity" }, { .key = "psk" }, { .key = "psk_hex" }, { .key = "user" }, { .key = "password" },
	{ .key = "certificate_serial" }, { .key = "p12" }, { .key = "p12_passphrase" }, { .key = "uri" },
};

static FILE *
open_secrets(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	if (fd < 0) {
		fprintf(stderr, "vitalgate: the secrets cannot be written to %s (%s): they follow here instead\n", path, strerror(errno));
		return stdout;
	}
	return fdopen(fd, "w");
}

void
gw_show_imported(struct gw_show *show, yyjson_val *line)
{
	const char *path = gw_cli_argument(show->cli, "secrets");
	char count[24];

	if (line == NULL)
		return;
	if (yyjson_obj_get(line, "imported") != NULL) {
		if (show->out != stdout && show->out != NULL)
			fclose(show->out);
		show->out = stdout;
		fprintf(stderr, "%s devices are added%s%s\n", gw_show_text(line, "imported", count, sizeof(count)),
		    path != NULL && show->lines > 0 ? "; their secrets are in " : "", path != NULL && show->lines > 0 ? path : "");
		return;
	}
	if (path != NULL && show->lines == 0)
		show->out = open_secrets(path);
	show->format = GW_SHOW_CSV;
	if (show->out != NULL)
		gw_show_row(show, secret_columns, sizeof(secret_columns) / sizeof(secret_columns[0]), line);
}
