// SPDX-License-Identifier: Apache-2.0
// Tables and CSV. A table holds its first rows back until it knows how wide columns are, then every row goes out as it comes; so a list of any length
// takes little memory. Single-threaded.
#include "gateway/cli_show.h"

#include <stdlib.h>
#include <string.h>

#define ROWS_HELD 200
#define COLUMNS_MAX 24
#define CELL_BYTES 1024        // of a table; more is cut
#define CSV_CELL_BYTES (4u << 20) // a text of any record

struct gw_table {
	const struct gw_column *columns;
	size_t count;
	size_t width[COLUMNS_MAX];
	bool hidden[COLUMNS_MAX]; // nothing was in it when the head was written
	char **held; // ROWS_HELD * count cells
	size_t rows, last; // last: column that is shown
	bool flowing; // widths are fixed, the head is written
};

const char *
gw_show_string(yyjson_val *line, const char *key)
{
	const char *text = yyjson_get_str(yyjson_obj_get(line, key));

	return text != NULL ? text : "";
}

// What a terminal would take for a command (a device's text may hold anything) becomes visible; line ends and tabs stay.
static size_t
visible(const char *text, char *out, size_t cap)
{
	size_t len = 0;

	for (; *text != '\0' && len + 5 < cap; text++) {
		unsigned char c = (unsigned char)*text, next = (unsigned char)text[1];

		if (c == 0xC2 && next >= 0x80 && next < 0xA0) // C1: one byte more, and a control character all the same
			len += (size_t)snprintf(out + len, cap - len, "\\x%02x", (unsigned char)*++text);
		else if ((c < 0x20 && c != '\n' && c != '\r' && c != '\t') || c == 0x7F)
			len += (size_t)snprintf(out + len, cap - len, "\\x%02x", c);
		else
			out[len++] = (char)c;
	}
	out[len] = '\0';
	return len;
}

static size_t
value_text(yyjson_val *value, char *out, size_t cap)
{
	char *json;
	size_t len = 0, i, max;
	yyjson_val *item;

	out[0] = '\0';
	if (value == NULL || yyjson_is_null(value))
		return 0;
	if (yyjson_is_str(value))
		return visible(yyjson_get_str(value), out, cap);
	if (yyjson_is_arr(value)) {
		yyjson_arr_foreach(value, i, max, item) {
			if (len + 2 < cap && i > 0)
				out[len++] = ' ';
			len += value_text(item, out + len, cap - len);
			if (len >= cap)
				return cap - 1;
		}
		return len;
	}
	if (yyjson_is_obj(value) && yyjson_get_str(yyjson_obj_get(value, "refid")) != NULL) // a coded value
		return (size_t)snprintf(out, cap, "%s", yyjson_get_str(yyjson_obj_get(value, "refid")));
	if (yyjson_is_obj(value) && yyjson_is_arr(yyjson_obj_get(value, "samples"))) // a block of them
		return (size_t)snprintf(out, cap, "%zu samples", yyjson_arr_size(yyjson_obj_get(value, "samples")));
	if (yyjson_is_bool(value))
		return (size_t)snprintf(out, cap, "%s", yyjson_get_bool(value) ? "yes" : "no");
	json = yyjson_val_write(value, 0, NULL);
	len = (size_t)snprintf(out, cap, "%s", json != NULL ? json : "");
	free(json);
	return len;
}

// A member of a member.
static yyjson_val *
inner(yyjson_val *line, const char *key)
{
	size_t len = strcspn(key, ".");

	return key[len] == '.' ? yyjson_obj_get(yyjson_obj_getn(line, key, len), key + len + 1) : NULL;
}

const char *
gw_show_text(yyjson_val *line, const char *key, char *out, size_t cap)
{
	yyjson_val *value = yyjson_obj_get(line, key);

	value_text(value != NULL ? value : inner(line, key), out, cap); // "answers_2.04" is a name of its own
	return out;
}

// The same of a row's cells, one after the other: members mostly come in the columns' order.
static const char *
cell_text(yyjson_obj_iter *members, yyjson_val *line, const char *key, char *out, size_t cap)
{
	yyjson_val *value = yyjson_obj_iter_get(members, key);

	value_text(value != NULL ? value : inner(line, key), out, cap);
	return out;
}

const char *
gw_show_count(uint64_t count, const char *what, char out[64])
{
	snprintf(out, 64, "%llu %s%s", (unsigned long long)count, what, count == 1 ? "" : "s");
	return out;
}

const char *
gw_show_bytes(uint64_t bytes, char out[32])
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
	double value = (double)bytes;
	size_t unit = 0;

	for (; value >= 1024 && unit < 5; unit++)
		value /= 1024;
	snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
	return out;
}

// ---- CSV (RFC 4180) ----

bool
gw_csv_formula(const char *text)
{
	char *end;

	text += strspn(text, "'"); // one that is quoted already is quoted once more: reading takes one off
	if (text[0] == '\0' || strchr("=@\t\r+-", text[0]) == NULL)
		return false;
	if (text[0] != '+' && text[0] != '-')
		return true;
	(void)strtod(text, &end); // a number in whole, or the sign by itself
	return *end != '\0' && text[1] != '\0';
}

// Bytes of a text that needs neither quotes nor an apostrophe, as nearly all do; SIZE_MAX: it has to be looked at.
static size_t
plain_len(const char *text)
{
	size_t len = 0;

	if (text[0] != '\0' && strchr("=@\t\r+-'", text[0]) != NULL)
		return SIZE_MAX;
	for (; text[len] != '\0'; len++)
		if (text[len] == ',' || text[len] == '"' || text[len] == '\r' || text[len] == '\n')
			return SIZE_MAX;
	return len;
}

static void
csv_cell(const char *text, FILE *out)
{
	size_t len = plain_len(text);
	bool formula;

	if (len != SIZE_MAX) {
		fwrite_unlocked(text, 1, len, out);
		return;
	}
	// A formula is one that a device's name or value brought in: it is quoted by an apostrophe.
	formula = gw_csv_formula(text);
	if (!formula && strpbrk(text, ",\"\r\n") == NULL) {
		fputs(text, out);
		return;
	}
	fputc('"', out);
	if (formula)
		fputc('\'', out);
	for (; *text != '\0'; text++) {
		if (*text == '"')
			fputc('"', out);
		fputc(*text, out);
	}
	fputc('"', out);
}

static void
csv_row(struct gw_show *show, const struct gw_column *columns, size_t count, yyjson_val *line)
{
	static char cell[CSV_CELL_BYTES];
	yyjson_obj_iter members = yyjson_obj_iter_with(line);

	for (size_t i = 0; show->lines == 0 && i < count; i++)
		fprintf(show->out, "%s%s", columns[i].name != NULL ? columns[i].name : columns[i].key, i + 1 < count ? "," : "\n");
	show->lines++;
	for (size_t i = 0; line != NULL && i < count; i++) {
		csv_cell(cell_text(&members, line, columns[i].key, cell, sizeof(cell)), show->out);
		putc_unlocked(i + 1 < count ? ',' : '\n', show->out);
	}
}

// ---- Tables ----

static size_t
width_of(const char *text)
{
	size_t width = 0;

	for (; *text != '\0'; text++)
		width += ((unsigned char)*text & 0xC0) != 0x80;
	return width;
}

static void
put_cell(struct gw_show *show, size_t column, const char *text)
{
	const struct gw_table *table = show->table;
	size_t width = width_of(text), pad = table->width[column] > width ? table->width[column] - width : 0;
	bool last = column == table->last, right = table->columns[column].right;

	if (table->hidden[column])
		return;
	fprintf(show->out, "%*s%s%*s%s", right ? (int)pad : 0, "", text, !right && !last ? (int)pad : 0, "", last ? "\n" : "  ");
}

static void
put_head(struct gw_show *show)
{
	struct gw_table *table = show->table;

	for (size_t i = 0; i < table->count; i++)
		table->last = table->hidden[i] ? table->last : i;
	for (size_t i = 0; i < table->count; i++)
		put_cell(show, i, table->columns[i].title);
}

// What was in no row so far may be in this one: then the head is written once more.
static void
reveal(struct gw_show *show, yyjson_val *line)
{
	struct gw_table *table = show->table;
	bool revealed = false;
	char cell[8];

	for (size_t i = 0; i < table->count; i++) {
		if (!table->hidden[i] || gw_show_text(line, table->columns[i].key, cell, sizeof(cell))[0] == '\0')
			continue;
		table->hidden[i] = false;
		revealed = true;
	}
	if (revealed)
		put_head(show);
}

static void
flow(struct gw_show *show)
{
	struct gw_table *table = show->table;

	for (size_t i = 0; i < table->count; i++) {
		table->hidden[i] = table->columns[i].maybe;
		for (size_t k = 0; k < table->rows && table->hidden[i]; k++)
			table->hidden[i] = table->held[k * table->count + i][0] == '\0';
	}
	put_head(show);
	for (size_t i = 0; i < table->rows * table->count; i++) {
		put_cell(show, i % table->count, table->held[i]);
		free(table->held[i]);
	}
	table->rows = 0;
	table->flowing = true;
}

static bool
table_new(struct gw_show *show, const struct gw_column *columns, size_t count)
{
	struct gw_table *table = calloc(1, sizeof(*table));

	if (table == NULL)
		return false;
	table->columns = columns;
	while (table->count < count && table->count < COLUMNS_MAX && !columns[table->count].csv_only)
		table->count++;
	table->held = calloc(ROWS_HELD * table->count, sizeof(char *));
	for (size_t i = 0; i < table->count; i++)
		table->width[i] = width_of(columns[i].title);
	show->table = table;
	return table->held != NULL;
}

static void
table_row(struct gw_show *show, yyjson_val *line)
{
	struct gw_table *table = show->table;
	yyjson_obj_iter members = yyjson_obj_iter_with(line);
	char cell[CELL_BYTES];

	if (table->flowing)
		reveal(show, line);
	for (size_t i = 0; i < table->count; i++) {
		cell_text(&members, line, table->columns[i].key, cell, sizeof(cell));
		for (char *at = cell; (at = strpbrk(at, "\n\r\t")) != NULL;) // a row is one line
			*at = ' ';
		if (table->flowing) {
			put_cell(show, i, cell);
			continue;
		}
		if (width_of(cell) > table->width[i])
			table->width[i] = width_of(cell);
		table->held[table->rows * table->count + i] = strdup(cell);
		if (table->held[table->rows * table->count + i] == NULL)
			abort(); // out of memory with a few kilobytes of text: nothing sensible is left to do
	}
	if (!table->flowing && ++table->rows == ROWS_HELD)
		flow(show);
}

void
gw_show_row(struct gw_show *show, const struct gw_column *columns, size_t count, yyjson_val *line)
{
	if (show->format == GW_SHOW_CSV) {
		if (line != NULL || show->lines == 0)
			csv_row(show, columns, count, line);
		return;
	}
	if (show->table == NULL && !table_new(show, columns, count))
		return;
	if (line != NULL)
		table_row(show, line);
	else if (!show->table->flowing)
		flow(show);
	show->lines += line != NULL;
}

void
gw_show_row_or(struct gw_show *show, const struct gw_column *columns, size_t count, yyjson_val *line, const char *words)
{
	if (line != NULL || show->lines > 0 || show->format == GW_SHOW_CSV)
		gw_show_row(show, columns, count, line);
	else
		fprintf(show->out, "%s\n", words);
}

void
gw_show_fini(struct gw_show *show)
{
	if (show->table == NULL)
		return;
	for (size_t i = 0; show->table->held != NULL && i < show->table->rows * show->table->count; i++)
		free(show->table->held[i]);
	free(show->table->held);
	free(show->table);
	show->table = NULL;
}
