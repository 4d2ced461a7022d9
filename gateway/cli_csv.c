// SPDX-License-Identifier: Apache-2.0
// Reads a CSV file (RFC 4180, comma or semicolon as spreadsheets write it, UTF-8 with or without BOM) into JSON objects: the header row names the
// members. Single-threaded.
#include "gateway/cli.h"

#include "gateway/nearest.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BYTES_MAX (16u << 20)
#define COLUMNS_MAX 32

static const char *const census[] = {
	"bed", "patient", "authority", "family", "given", "middle", "prefix", "suffix", "birth", "sex", "account", "visit", "class", "from",
};
static const char *const devices[] = {
	"id", "profile", "bed", "ward", "manufacturer", "model", "serial", "asset", "psk_identity", "psk", "cert_subject", "user", "password", "eui64",
	"mac", "speaks_for", "test", "disabled", "state", "last_reading", "created", "changed",
};

struct csv {
	const char *const *known; // columns of this list
	size_t known_count;
	const char *required;     // the one that must be there
	char *text, *at, *end;
	char separator;
	long line; // of at
	yyjson_mut_doc *doc;
	const char *columns[COLUMNS_MAX];
	size_t count;
	struct gw_why *why;
};

// The next cell, unquoted in place; *last says that its row ends with it. NULL where a quote is never closed.
static char *
next_cell(struct csv *csv, bool *last)
{
	char *cell = csv->at, *to = csv->at;
	bool quoted = csv->at < csv->end && *csv->at == '"';

	csv->at += quoted;
	for (; csv->at < csv->end; csv->at++) {
		if (quoted && *csv->at == '"' && csv->at + 1 < csv->end && csv->at[1] == '"')
			csv->at++;
		else if (quoted && *csv->at == '"') {
			quoted = false;
			continue;
		} else if (!quoted && (*csv->at == csv->separator || *csv->at == '\n'))
			break;
		csv->line += *csv->at == '\n';
		*to++ = *csv->at;
	}
	*last = csv->at == csv->end || *csv->at == '\n';
	csv->line += csv->at < csv->end && *csv->at == '\n';
	csv->at += csv->at < csv->end;
	if (*last && to > cell && to[-1] == '\r')
		to--;
	*to = '\0'; // over the separator at the latest
	return quoted ? NULL : cell;
}

static enum gw_error
take_column(struct csv *csv, const char *name)
{
	struct gw_nearest nearest;
	char hint[160];

	for (size_t i = 0; i < csv->known_count; i++) {
		if (strcmp(csv->known[i], name) != 0)
			continue;
		if (csv->count == COLUMNS_MAX)
			return gw_fail(csv->why, GW_E_ARGUMENT, "too many columns");
		csv->columns[csv->count++] = csv->known[i];
		return GW_OK;
	}
	gw_nearest_init(&nearest, gw_span_text(name));
	for (size_t i = 0; i < csv->known_count; i++)
		gw_nearest_try(&nearest, csv->known[i]);
	return gw_fail(csv->why, GW_E_ARGUMENT, "line 1: unknown column \"%.60s\"%s", name, gw_nearest_words(&nearest, hint));
}

static enum gw_error
take_header(struct csv *csv)
{
	size_t first = strcspn(csv->at, "\n");
	enum gw_error error = GW_OK;
	bool last = false;
	char *cell;

	csv->separator = memchr(csv->at, ';', first) != NULL && memchr(csv->at, ',', first) == NULL ? ';' : ',';
	while (!last && error == GW_OK) {
		if ((cell = next_cell(csv, &last)) == NULL)
			return gw_fail(csv->why, GW_E_ARGUMENT, "line 1: a quote is not closed");
		error = take_column(csv, cell);
	}
	for (size_t i = 0; error == GW_OK && i < csv->count; i++) {
		if (strcmp(csv->columns[i], csv->required) == 0)
			return GW_OK;
	}
	return error != GW_OK ? error : gw_fail(csv->why, GW_E_ARGUMENT, "line 1: the first line names the columns, one of them \"%s\"", csv->required);
}

// What `device list --format csv` put before a cell goes again; a password is what it is.
static const char *
without_quote(const char *column, const char *cell)
{
	return cell[0] == '\'' && strcmp(column, "password") != 0 && gw_csv_formula(cell) ? cell + 1 : cell;
}

static enum gw_error
take_row(struct csv *csv, yyjson_mut_val *rows)
{
	yyjson_mut_val *row = yyjson_mut_obj(csv->doc);
	long line = csv->line;
	bool last = false, empty = true;
	char *cell;

	yyjson_mut_obj_add_int(csv->doc, row, "line", line);
	for (size_t i = 0; !last; i++) {
		if ((cell = next_cell(csv, &last)) == NULL)
			return gw_fail(csv->why, GW_E_ARGUMENT, "line %ld: a quote is not closed", line);
		if (i >= csv->count && cell[0] != '\0')
			return gw_fail(csv->why, GW_E_ARGUMENT, "line %ld: more cells than columns", line);
		empty &= cell[0] == '\0';
		if (i < csv->count && cell[0] != '\0')
			yyjson_mut_obj_add_strcpy(csv->doc, row, csv->columns[i], without_quote(csv->columns[i], cell));
	}
	if (!empty)
		yyjson_mut_arr_append(rows, row);
	return GW_OK;
}

static enum gw_error
read_whole(struct csv *csv, const char *path)
{
	FILE *stream = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
	size_t len;

	if (stream == NULL)
		return gw_fail(csv->why, GW_E_ARGUMENT, "%.120s: %s", path, strerror(errno));
	csv->text = malloc(FILE_BYTES_MAX + 2);
	len = csv->text != NULL ? fread(csv->text, 1, FILE_BYTES_MAX + 1, stream) : 0;
	if (stream != stdin)
		fclose(stream);
	if (csv->text == NULL)
		return gw_fail(csv->why, GW_E_MEMORY, "out of memory");
	if (len > FILE_BYTES_MAX)
		return gw_fail(csv->why, GW_E_TOO_LARGE, "%.120s is larger than %u MB: split it", path, FILE_BYTES_MAX >> 20);
	csv->text[len] = '\0';
	csv->end = csv->text + len;
	csv->at = csv->text + (len >= 3 && memcmp(csv->text, "\xEF\xBB\xBF", 3) == 0 ? 3 : 0);
	if (strlen(csv->text) != len)
		return gw_fail(csv->why, GW_E_ARGUMENT, "%.120s is no text", path);
	return GW_OK;
}

enum gw_error
gw_cli_read_csv(const char *path, yyjson_mut_doc *doc, yyjson_mut_val *arguments, struct gw_why *why)
{
	const char *command = yyjson_mut_get_str(yyjson_mut_obj_get(arguments, "command"));
	bool patients = command != NULL && strcmp(command, "census import") == 0;
	struct csv csv = { .known = patients ? census : devices, .known_count = patients ? sizeof(census) / sizeof(census[0]) : sizeof(devices) / sizeof(devices[0]),
		.required = patients ? "patient" : "id", .line = 1, .doc = doc, .why = why };
	yyjson_mut_val *rows = yyjson_mut_obj_add_arr(doc, arguments, "rows");
	enum gw_error error;

	error = read_whole(&csv, path);
	if (error == GW_OK)
		error = take_header(&csv);
	while (error == GW_OK && csv.at < csv.end)
		error = take_row(&csv, rows);
	free(csv.text);
	return error;
}
