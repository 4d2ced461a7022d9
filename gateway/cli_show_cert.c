// SPDX-License-Identifier: Apache-2.0
// Certificates for people: those in use one below the other, those that were issued as a table, the authority as the file that it is. Single-threaded.
#include "gateway/cli_handlers.h"
#include "gateway/cli_show.h"

#include "adapters/pki/pki.h"

#include <errno.h>
#include <string.h>

static void
member(FILE *out, const char *title, yyjson_val *line, const char *key)
{
	char text[4200];

	if (gw_show_text(line, key, text, sizeof(text))[0] != '\0')
		fprintf(out, "  %-22s %s\n", title, text);
}

void
gw_show_certificates(struct gw_show *show, yyjson_val *line)
{
	FILE *out = show->out;
	char days[24];

	if (line == NULL) {
		if (show->lines == 0)
			fputs("no certificate is in use\n", out);
		return;
	}
	fprintf(out, "%s%s: %s\n", show->lines++ > 0 ? "\n" : "", gw_show_string(line, "use"), gw_show_string(line, "file"));
	member(out, "PROBLEM", line, "problem");
	if (yyjson_obj_get(line, "subject") == NULL)
		return;
	member(out, "subject", line, "subject");
	member(out, "issuer", line, "issuer");
	member(out, "serial number", line, "serial");
	member(out, "names", line, "names");
	member(out, "from", line, "from");
	fprintf(out, "  %-22s %s (%s days)\n", "until", gw_show_string(line, "until"), gw_show_text(line, "days_left", days, sizeof(days)));
	member(out, "key", line, "key_kind");
	member(out, "SHA-256 of it", line, "sha256");
	member(out, "SHA-256 of its key", line, "key_sha256");
	member(out, "  in base64", line, "key_pin");
}

void
gw_show_issued(struct gw_show *show, yyjson_val *line)
{
	static const struct gw_column columns[] = {
		{ .key = "serial", .title = "SERIAL NUMBER" }, { .key = "subject", .title = "SUBJECT" }, { .key = "device", .title = "DEVICE" }, { .key = "state", .title = "STATE" },
		{ .key = "purpose", .title = "FOR" }, { .key = "from", .title = "FROM" }, { .key = "until", .title = "UNTIL" }, { .key = "revoked", .title = "REVOKED" },
		{ .key = "reason", .title = "REASON" },
	};

	gw_show_row_or(show, columns, sizeof(columns) / sizeof(columns[0]), line, "no certificate was issued");
}

void
gw_show_authority(struct gw_show *show, yyjson_val *line)
{
	const char *path = gw_cli_argument(show->cli, "file"), *pem = gw_show_string(line, "pem");
	struct gw_why why;

	if (line == NULL)
		return;
	show->lines++;
	if (path == NULL)
		fputs(pem, show->out);
	else if (gw_pki_write(path, gw_span_text(pem), 0644, &why) != GW_OK)
		fprintf(stderr, "vitalgate cert ca: %s\n", why.text);
	else
		fprintf(show->out, "%s, %s, until %s\n  SHA-256 of it          %s\n  SHA-256 of its key     %s\n    in base64            %s\n", path, gw_show_string(line, "subject"),
		    gw_show_string(line, "until"), gw_show_string(line, "sha256"), gw_show_string(line, "key_sha256"), gw_show_string(line, "key_pin"));
}
