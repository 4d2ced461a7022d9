// SPDX-License-Identifier: Apache-2.0
// A sheet to type from: what somebody enters at a device, in large groups of characters that nobody mistakes, as a page to print or as text. Single-threaded.
#include "gateway/cli_handout.h"

#include "adapters/pki/qr.h"

#include "gateway/clock.h"

#include <string.h>

#define GROUP 4
#define LONG 30 // nothing of this length is typed if it can be helped: smaller

static const char *
text_of(yyjson_mut_val *line, const char *key)
{
	const char *text = yyjson_mut_get_str(yyjson_mut_obj_get(line, key));

	return text != NULL ? text : "";
}

// What stands on it, in this order. Secrets of random characters are shown in groups.
static const struct entry {
	const char *key, *title, *note;
	bool groups;
} entries[] = {
	{ "psk_identity", "PSK identity", "", false },
	{ "psk", "Pre-shared key, as text", "capital letters and digits, typed without the gaps", true },
	{ "psk_hex", "Pre-shared key, as hex", "the same key, for devices that want hexadecimal digits", true },
	{ "user", "User", "", false },
	{ "password", "Password", "typed without the gaps", true },
	{ "certificate_serial", "Certificate, serial number", "", true },
	{ "certificate_until", "Certificate, good until", "", false },
	{ "p12_passphrase", "Passphrase of the PKCS#12 file", "typed without the gaps", true },
	{ "ca_sha256", "Fingerprint of the authority", "SHA-256 of its certificate: compare, where the device shows it", true },
};

// Only what we made ourselves has no character that could be mistaken for another.
static bool
is_plain(const char *text)
{
	return strspn(text, "ABCDEFGHJKLMNPQRSTUVWXYZ23456789") == strlen(text) || strspn(text, "0123456789abcdef") == strlen(text);
}

// ---- Text ----

static void
text_row(FILE *out, const char *title, const char *value, bool groups)
{
	size_t len = strlen(value), column = 0;

	fprintf(out, "  %-30s  ", title);
	for (size_t i = 0; i < len; i++) {
		if (groups && i > 0 && i % GROUP == 0)
			fputs(++column % 8 == 0 ? "\n                                  " : "  ", out);
		fputc(value[i], out);
	}
	fputc('\n', out);
}

static void
put_number(yyjson_mut_val *line, const char *key, char out[24])
{
	yyjson_mut_val *value = yyjson_mut_obj_get(line, key);

	if (value != NULL)
		snprintf(out, 24, "%lld", (long long)yyjson_mut_get_sint(value));
	else
		out[0] = '\0';
}

static void
text_sheet(FILE *out, yyjson_mut_val *line)
{
	char port[24], now[40];

	fprintf(out, "Device %s                                        %.10s\n\n", text_of(line, "device"), gw_time_format(gw_clock_wall_us(), now));
	text_row(out, "Gateway", text_of(line, "host"), false);
	if (text_of(line, "address")[0] != '\0' && strcmp(text_of(line, "address"), text_of(line, "host")) != 0)
		text_row(out, "  or by address", text_of(line, "address"), false);
	put_number(line, "mqtt_port", port);
	if (port[0] != '\0')
		text_row(out, "MQTT over TLS, port", port, false);
	text_row(out, "  topic", text_of(line, "mqtt_topic"), false);
	put_number(line, "coap_port", port);
	if (port[0] != '\0')
		text_row(out, "CoAP over DTLS, port", port, false);
	text_row(out, "  path", text_of(line, "coap_path"), false);
	fputc('\n', out);
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		const char *value = text_of(line, entries[i].key);

		if (value[0] != '\0')
			text_row(out, entries[i].title, value, entries[i].groups && is_plain(value));
	}
	fputs("\n  Groups are typed without the gaps. O and I, 0 and 1 do not occur in keys as text and in passwords.\n"
	    "  This sheet is a key: destroy it when the device is set up.\n\f", out);
}

// ---- A page ----

static void
put_html(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '&' || *text == '<' || *text == '>' || *text == '"')
			fprintf(out, "&#%d;", *text);
		else
			fputc(*text, out);
	}
}

static void
page_value(FILE *out, const char *value, bool groups)
{
	size_t len = strlen(value);

	for (size_t i = 0, count = 0; groups && i < len; i += GROUP)
		fprintf(out, "%s<b>%.*s</b>", count++ % (len > LONG ? 8 : 4) == 0 && i > 0 ? "<br>" : "", GROUP, value + i);
	if (!groups)
		put_html(out, value);
}

static void
page_row(FILE *out, const char *title, const char *value, const char *note, bool groups)
{
	if (value[0] == '\0')
		return;
	fprintf(out, "<tr><th>%s%s%s%s</th><td class=\"%s\">", title, note[0] != '\0' ? "<small>" : "", note, note[0] != '\0' ? "</small>" : "",
	    !groups ? "" : strlen(value) > LONG ? "groups long" : "groups");
	page_value(out, value, groups);
	fputs("</td></tr>\n", out);
}

static void
page_reach(FILE *out, yyjson_mut_val *line)
{
	bool other = strcmp(text_of(line, "address"), text_of(line, "host")) != 0;
	char port[24];

	page_row(out, "Gateway", text_of(line, "host"), "", false);
	page_row(out, "or by address", other ? text_of(line, "address") : "", "", false);
	put_number(line, "mqtt_port", port);
	page_row(out, "MQTT over TLS, port", port, "", false);
	page_row(out, "topic", text_of(line, "mqtt_topic"), "", false);
	put_number(line, "coap_port", port);
	page_row(out, "CoAP over DTLS, port", port, "", false);
	page_row(out, "path", text_of(line, "coap_path"), "", false);
}

static void
page_sheet(FILE *out, yyjson_mut_val *line)
{
	struct gw_pki_text picture = { NULL, 0 };
	char now[40];

	fputs("<section><header><div><h1>", out);
	put_html(out, text_of(line, "device"));
	fprintf(out, "</h1><p>What this device needs to reach the gateway.</p><p>%.10s</p></div>", gw_time_format(gw_clock_wall_us(), now));
	if (gw_qr_svg(text_of(line, "uri"), &picture, NULL) == GW_OK)
		fwrite(picture.at, 1, picture.len, out);
	gw_pki_free(&picture);
	fputs("</header>\n<table>\n", out);
	page_reach(out, line);
	fputs("</table>\n<table>\n", out);
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++) {
		const char *value = text_of(line, entries[i].key);

		page_row(out, entries[i].title, value, entries[i].note, entries[i].groups && is_plain(value));
	}
	fputs("</table>\n<footer>The letters O and I and the digits 0 and 1 do not occur in what stands in large groups: what looks like a circle is a Q or a D. "
	    "The code holds the same. <strong>This sheet is a key: destroy it when the device is set up.</strong></footer></section>\n", out);
}

void
gw_sheet_head(FILE *out, bool page)
{
	if (!page)
		return;
	fputs("<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Devices</title>\n<style>\n"
	    "@page { size: A4; margin: 15mm }\n"
	    "body { font: 11pt/1.35 'DejaVu Sans', Verdana, sans-serif; margin: 0; color: #000; background: #fff }\n"
	    "section { break-after: page; max-width: 180mm; margin: 0 auto; padding: 8mm 0 }\n"
	    "section:last-child { break-after: auto }\n"
	    "header { display: flex; justify-content: space-between; align-items: flex-start; border-bottom: 2pt solid #000; margin-bottom: 5mm; padding-bottom: 4mm }\n"
	    "header svg { width: 42mm; height: 42mm; flex: none }\n"
	    "h1 { font-size: 24pt; margin: 0; overflow-wrap: anywhere } p { margin: 1mm 0 }\n"
	    "table { border-collapse: collapse; width: 100%; margin-bottom: 5mm }\n"
	    "th { text-align: left; vertical-align: top; font-weight: normal; width: 48mm; padding: 1.6mm 4mm 1.6mm 0 }\n"
	    "small { display: block; color: #444; font-size: 8pt; line-height: 1.2 }\n"
	    "td { font: 13pt/1.4 'DejaVu Sans Mono', Consolas, Menlo, monospace; vertical-align: top; padding: 1mm 0; overflow-wrap: anywhere }\n"
	    "tr + tr th, tr + tr td { border-top: .4pt solid #bbb }\n"
	    "td b { display: inline-block; font-weight: bold; font-size: 19pt; letter-spacing: .06em; margin: 0 5mm 1.5mm 0 }\n"
	    "td.long b { font-size: 12pt; margin: 0 3.2mm .8mm 0; font-weight: normal }\n"
	    "footer { font-size: 9pt }\n"
	    "</style></head><body>\n", out);
}

void
gw_sheet_put(FILE *out, bool page, yyjson_mut_val *line)
{
	(page ? page_sheet : text_sheet)(out, line);
}

void
gw_sheet_end(FILE *out, bool page)
{
	if (page)
		fputs("</body></html>\n", out);
}
