// SPDX-License-Identifier: Apache-2.0
// Which format, and the tables. JSON goes out as it came; SenML packs are joined to one array. Single-threaded.
#include "gateway/cli_show.h"

#include "gateway/cli_export.h"
#include "gateway/cli_handout.h"
#include "gateway/cli_handlers.h"
#include "gateway/nearest.h"

#include <stdlib.h>
#include <string.h>

static const char *const format_names[] = { "table", "csv", "json", "senml" };

// Whether the command's grammar offers the format: "--format table|csv".
static bool
offered(const struct gw_cli *cli, const char *name)
{
	const char *at = strstr(cli->command->arguments, "--format ");
	size_t len = strlen(name);

	for (at = at != NULL ? at + 9 : NULL; at != NULL; at = *at == '|' ? at + 1 : NULL) {
		size_t one = strcspn(at, "|]");

		if (one == len && memcmp(at, name, len) == 0)
			return true;
		at += one;
	}
	return false;
}

bool
gw_show_init(struct gw_show *show, const struct gw_cli *cli)
{
	const char *format = gw_cli_argument(cli, "format");

	*show = (struct gw_show){ .cli = cli, .out = stdout, .format = gw_cli_given(cli, "json") && !gw_cli_export_is(cli) ? GW_SHOW_JSON : GW_SHOW_TABLE };
	if (format == NULL || gw_cli_export_is(cli)) // whose rows do not come this way
		return true;
	for (size_t i = 0; i < 4; i++) {
		if (strcmp(format, format_names[i]) == 0 && offered(cli, format)) {
			show->format = (enum gw_show_format)i;
			return true;
		}
	}
	fprintf(stderr, "vitalgate %s: --format has no \"%s\"\n", cli->command->name, format);
	gw_cli_usage(cli->command, stderr);
	return false;
}

// A pack is an array of records: what is between its brackets.
static void
senml_pack(struct gw_show *show, const char *text, size_t len)
{
	if (len <= 2 || text[0] != '[' || text[len - 1] != ']')
		return;
	fputs(show->lines++ == 0 ? "[" : ",\n ", show->out);
	fwrite(text + 1, 1, len - 2, show->out);
}

// What is said beside the output, and does not belong into it.
static bool
is_aside(const char *text, size_t len)
{
	return len > 15 && (memcmp(text, "{\"note\":", 8) == 0 || memcmp(text, "{\"series_done\":", 15) == 0);
}

static void
put_aside(struct gw_show *show, const char *text, size_t len)
{
	yyjson_doc *doc = yyjson_read(text, len, 0);
	yyjson_val *line = yyjson_doc_get_root(doc);

	if (yyjson_obj_get(line, "note") != NULL)
		fprintf(stderr, "vitalgate %s: %s\n", show->cli->command->name, gw_show_string(line, "note"));
	else
		fprintf(stderr, "%llu of %llu series, %llu rows\n", (unsigned long long)yyjson_get_uint(yyjson_obj_get(line, "series_done")),
		    (unsigned long long)yyjson_get_uint(yyjson_obj_get(line, "series")), (unsigned long long)yyjson_get_uint(yyjson_obj_get(line, "rows")));
	yyjson_doc_free(doc);
}

static void
put_line(struct gw_show *show, const char *text, size_t len)
{
	yyjson_doc *doc;

	if (is_aside(text, len))
		put_aside(show, text, len);
	else if (show->format == GW_SHOW_SENML)
		senml_pack(show, text, len);
	else if (show->format == GW_SHOW_JSON) {
		fwrite(text, 1, len, show->out);
		fputc('\n', show->out);
	} else if ((doc = yyjson_read(text, len, YYJSON_READ_NUMBER_AS_RAW | YYJSON_READ_ALLOW_INVALID_UNICODE)) != NULL) {
		show->cli->command->show(show, yyjson_doc_get_root(doc));
		yyjson_doc_free(doc);
	}
}

// Credentials are written to files on the way.
static bool
hand_out(struct gw_show *show, const char *text, size_t len)
{
	yyjson_doc *doc = yyjson_read(text, len, YYJSON_READ_ALLOW_INVALID_UNICODE);
	yyjson_mut_doc *line = yyjson_doc_mut_copy(doc, NULL);
	char *more = NULL;
	size_t more_len = 0;

	yyjson_doc_free(doc);
	if (line != NULL) {
		gw_cli_handout(show->cli, line, yyjson_mut_doc_get_root(line));
		more = yyjson_mut_write(line, YYJSON_WRITE_ALLOW_INVALID_UNICODE, &more_len);
	}
	yyjson_mut_doc_free(line);
	put_line(show, more != NULL ? more : text, more != NULL ? more_len : len);
	free(more);
	return !ferror(show->out);
}

bool
gw_show_line(struct gw_show *show, const char *text, size_t len)
{
	if (gw_cli_hands_out(show->cli) && !is_aside(text, len))
		return hand_out(show, text, len);
	put_line(show, text, len);
	return !ferror(show->out);
}

void
gw_show_end(struct gw_show *show, bool good)
{
	gw_cli_handout_end();
	if (!good && show->lines == 0)
		return; // the error says it all
	if (show->format == GW_SHOW_SENML)
		fputs(show->lines == 0 ? "[]\n" : "]\n", show->out);
	else if (show->format != GW_SHOW_JSON)
		show->cli->command->show(show, NULL);
	fflush(show->out);
}

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

void
gw_show_devices(struct gw_show *show, yyjson_val *line)
{
	static const struct gw_column columns[] = {
		{ .key = "id", .title = "DEVICE" }, { .key = "profile", .title = "PROFILE" }, { .key = "ward", .title = "WARD" },
		{ .key = "bed", .title = "BED" }, { .key = "state", .title = "STATE" }, { .key = "test", .title = "TEST" },
		{ .key = "last_reading", .title = "LAST READING" }, { .key = "clock_ahead", .title = "CLOCK AHEAD", .right = true }, { .key = "manufacturer", .title = "MANUFACTURER" },
		{ .key = "model", .title = "MODEL" }, { .key = "serial", .title = "SERIAL" }, { .key = "mac", .title = "MAC" },
		{ .key = "eui64", .title = "EUI-64", .csv_only = true }, { .key = "asset", .csv_only = true },
		{ .key = "cert_subject", .csv_only = true }, { .key = "speaks_for", .csv_only = true }, { .key = "created", .csv_only = true },
	};

	gw_show_row(show, columns, COUNT(columns), line);
}

void
gw_show_readings(struct gw_show *show, yyjson_val *line)
{
	static const struct gw_column columns[] = {
		{ .key = "time", .title = "DEVICE TIME" }, { .key = "signal", .title = "SIGNAL" }, { .key = "instance", .title = "#", .right = true },
		{ .key = "value", .title = "VALUE", .right = true }, { .key = "unit", .title = "UNIT" },
		{ .key = "received.value", .title = "AS RECEIVED", .name = "value_received", .right = true },
		{ .key = "received.unit", .title = "UNIT", .name = "unit_received" }, { .key = "flags", .title = "FLAGS" },
		{ .key = "revision", .title = "REV", .right = true }, { .key = "received_time", .title = "RECEIVED" },
		{ .key = "principal", .title = "FROM" }, { .key = "door", .csv_only = true }, { .key = "auth", .csv_only = true },
		{ .key = "profile", .csv_only = true }, { .key = "kind", .csv_only = true }, { .key = "mdc", .csv_only = true },
		{ .key = "refid", .csv_only = true }, { .key = "device", .csv_only = true }, { .key = "id", .csv_only = true },
		{ .key = "sequence", .csv_only = true }, { .key = "position", .csv_only = true },
	};

	gw_show_row(show, columns, COUNT(columns), line);
}

void
gw_show_quarantine(struct gw_show *show, yyjson_val *line)
{
	static const struct gw_column columns[] = {
		{ .key = "id", .title = "ID", .right = true }, { .key = "received", .title = "RECEIVED" }, { .key = "door", .title = "DOOR" },
		{ .key = "principal", .title = "PRINCIPAL" }, { .key = "route", .title = "ROUTE" }, { .key = "bytes", .title = "BYTES", .right = true },
		{ .key = "reason", .title = "REASON" },
	};

	gw_show_row(show, columns, COUNT(columns), line);
}

void
gw_show_profiles(struct gw_show *show, yyjson_val *line)
{
	static const struct gw_column columns[] = {
		{ .key = "profile", .title = "PROFILE" }, { .key = "mqtt", .title = "MQTT TOPICS" }, { .key = "coap", .title = "COAP PATHS" },
		{ .key = "description", .title = "DESCRIPTION" },
	};

	gw_show_row(show, columns, COUNT(columns), line);
}

void
gw_show_outlets(struct gw_show *show, yyjson_val *line)
{
	static const struct gw_column columns[] = {
		{ .key = "outlet", .title = "OUTLET" }, { .key = "running", .title = "RUNNING" }, { .key = "cursor", .title = "CURSOR", .right = true },
		{ .key = "behind_records", .title = "BEHIND", .right = true },
	};

	gw_show_row(show, columns, COUNT(columns), line);
}

void
gw_show_parked(struct gw_show *show, yyjson_val *line)
{
	static const struct gw_column columns[] = {
		{ .key = "destination", .title = "DESTINATION" }, { .key = "number", .title = "NUMBER", .right = true },
		{ .key = "message", .title = "MSH-10" }, { .key = "device", .title = "DEVICE" }, { .key = "made", .title = "MADE" },
		{ .key = "errors", .title = "ERRORS", .right = true }, { .key = "reason", .title = "REASON" },
	};

	gw_show_row_or(show, columns, COUNT(columns), line, "nothing is parked");
}

void
gw_show_filed(struct gw_show *show, yyjson_val *line)
{
	static const struct gw_column columns[] = {
		{ .key = "destination", .title = "DESTINATION" }, { .key = "device", .title = "DEVICE" }, { .key = "from", .title = "FROM" }, { .key = "to", .title = "TO" },
		{ .key = "readings", .title = "READINGS", .right = true }, { .key = "patient", .title = "PATIENT", .right = true },
		{ .key = "message", .title = "MSH-10" }, { .key = "why", .title = "WHY" },
	};

	gw_show_row_or(show, columns, COUNT(columns), line,
	    strcmp(show->cli->command->name, "hl7 held") == 0 ? "nothing is held" : "nothing went out for another patient");
}

// ---- One thing, member by member ----

static void
members(struct gw_show *show, yyjson_val *object, int indent)
{
	yyjson_val *key, *value;
	char text[4096];
	size_t i, max;

	yyjson_obj_foreach(object, i, max, key, value) {
		const char *name = yyjson_get_str(key);

		if (yyjson_is_obj(value)) {
			fprintf(show->out, "%*s%s\n", indent, "", name);
			members(show, value, indent + 2);
			continue;
		}
		gw_show_text(object, name, text, sizeof(text));
		if (text[0] != '\0')
			fprintf(show->out, "%*s%-*s %s\n", indent, "", 24 - indent, name, text);
	}
}

void
gw_show_device(struct gw_show *show, yyjson_val *line)
{
	if (line != NULL)
		members(show, line, 0);
}

// A message that is parked: why, and its segments.
void
gw_show_message(struct gw_show *show, yyjson_val *line)
{
	static const char *const keys[] = { "destination", "number", "message", "device", "made", "errors", "reason" };
	yyjson_val *segment;
	char text[1024];
	size_t i, max;

	if (line == NULL)
		return;
	for (i = 0; i < COUNT(keys); i++)
		fprintf(show->out, "%-15s %s\n", keys[i], gw_show_text(line, keys[i], text, sizeof(text)));
	yyjson_arr_foreach(yyjson_obj_get(line, "segments"), i, max, segment)
		fprintf(show->out, "%s\n", yyjson_get_str(segment));
}

// Whatever a command says of what it has done: one line of words each.
void
gw_show_lines(struct gw_show *show, yyjson_val *line)
{
	const char *separator = "";
	yyjson_val *key, *value;
	char text[2048];
	size_t i, max;

	if (line == NULL)
		return;
	if (yyjson_get_str(yyjson_obj_get(line, "done")) != NULL) {
		fprintf(show->out, "%s\n", gw_show_string(line, "done"));
		return;
	}
	yyjson_obj_foreach(line, i, max, key, value) {
		gw_show_text(line, yyjson_get_str(key), text, sizeof(text));
		if (strcmp(yyjson_get_str(key), "result") == 0 || strcmp(yyjson_get_str(key), "state") == 0)
			fprintf(show->out, "%s%s", separator, text);
		else
			fprintf(show->out, "%s%s %s", separator, yyjson_get_str(key), text);
		separator = ": ";
		if (i > 0)
			separator = ", ";
		(void)value;
	}
	fputc('\n', show->out);
}

void
gw_show_profile(struct gw_show *show, yyjson_val *line)
{
	yyjson_val *item;
	char text[2048];
	size_t i, max;

	if (line == NULL)
		return;
	fprintf(show->out, "%s: %s\n", gw_show_string(line, "profile"), gw_show_string(line, "description"));
	fprintf(show->out, "  MQTT topics  %s\n", gw_show_text(line, "mqtt", text, sizeof(text)));
	fprintf(show->out, "  CoAP paths   %s\n", gw_show_text(line, "coap", text, sizeof(text)));
	yyjson_arr_foreach(yyjson_obj_get(line, "signals"), i, max, item)
		fprintf(show->out, "  %-32s %-14s %s\n", gw_show_string(item, "signal"), gw_show_string(item, "unit"), gw_show_string(item, "mdc"));
}

// ---- One entry of quarantine ----

// 16 bytes a line, as text at its end.
static void
dump(struct gw_show *show, const char *hex)
{
	size_t len = strlen(hex) / 2;
	char pair[3] = "";

	for (size_t at = 0; at < len; at += 16) {
		fprintf(show->out, "  %06zx ", at);
		for (size_t i = at; i < at + 16; i++)
			fprintf(show->out, i < len ? " %.2s" : "   ", hex + (i < len ? i * 2 : 0));
		fputs("  ", show->out);
		for (size_t i = at; i < at + 16 && i < len; i++) {
			memcpy(pair, hex + i * 2, 2);
			long c = strtol(pair, NULL, 16);
			fputc(c >= 0x20 && c < 0x7f ? (int)c : '.', show->out);
		}
		fputc('\n', show->out);
	}
}

void
gw_show_quarantined(struct gw_show *show, yyjson_val *line)
{
	static const char *const keys[] = { "id", "received", "door", "auth", "principal", "route", "content_format", "error", "reason", "bytes" };
	char text[1024];

	if (line == NULL)
		return;
	for (size_t i = 0; i < COUNT(keys); i++) {
		if (yyjson_obj_get(line, keys[i]) != NULL)
			fprintf(show->out, "%-15s %s\n", keys[i], gw_show_text(line, keys[i], text, sizeof(text)));
	}
	if (yyjson_obj_get(line, "payload") != NULL)
		fprintf(show->out, "payload\n%s\n", gw_show_string(line, "payload"));
	else {
		fputs("payload\n", show->out);
		dump(show, gw_show_string(line, "payload_hex"));
	}
}
