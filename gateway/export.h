// SPDX-License-Identifier: Apache-2.0
// Rows of a query as bytes of a file: CSV (RFC 4180), JSON lines, SenML JSON (RFC 8428). The formats are told in schemas/export-format.md. No I/O, no clock;
// one writer by one thread at a time.
//
//	struct gw_text_out out = { buffer, sizeof(buffer), 0 };
//	gw_export_begin(writer, &out);
//	while (there is a row)
//		if ((need = gw_export_row(writer, &row, &out)) > 0)
//			write out.at[0..out.len) away, out.len = 0; a buffer of `need` bytes takes the row
//	gw_export_end(writer, &out);
#ifndef GW_EXPORT_H
#define GW_EXPORT_H

#include "gateway/series_query.h"
#include "gateway/text_out.h"

#define GW_EXPORT_VERSION 1           // of the formats: rises when a column or member changes its meaning or leaves, not when one is added
#define GW_EXPORT_ROOM (64u * 1024)   // more than any row takes, but for blocks of samples and steps of a size of their own

enum gw_export_format { GW_EXPORT_CSV, GW_EXPORT_JSONL, GW_EXPORT_SENML };
// "csv", "jsonl", "senml"; false: none of these.
bool gw_export_format_parse(const char *name, enum gw_export_format *format);
const char *gw_export_format_name(enum gw_export_format format);
// What files of it end in: ".csv", ".jsonl", ".senml.json".
const char *gw_export_suffix(enum gw_export_format format);

// Columns of CSV in their order; none: all.
#define GW_EXPORT_COLUMNS_MAX 32
struct gw_export_columns {
	uint8_t count, at[GW_EXPORT_COLUMNS_MAX];
};

struct gw_export_options {
	enum gw_export_format format;
	struct gw_export_columns columns;
	bool steps;                 // rows are steps, not readings; not for SenML
	bool with_bed, with_patient, with_unsure; // further columns or members
	uint64_t incarnation;       // of the store, for identifiers
};

// Names of columns, comma between, into options->columns; the other options say which there are. GW_E_ARGUMENT with words.
enum gw_error gw_export_columns_parse(const char *names, struct gw_export_options *options, struct gw_why *why);

struct gw_export_row {
	const struct gw_series_info *series;
	const struct gw_point *point;      // as the options say: one of these
	const struct gw_series_step *step;
	struct gw_span bed, patient;       // where the options ask for them; empty: not known
	bool unsure;
};

struct gw_export_writer;
struct gw_export_writer *gw_export_writer_new(const struct gw_export_options *options); // NULL: out of memory
void gw_export_writer_free(struct gw_export_writer *writer);

// Each appends to out. 0: it was written. Otherwise nothing was, and so many bytes of room (out->cap - out->len) are enough. GW_EXPORT_ROOM is for begin and end.
size_t gw_export_begin(struct gw_export_writer *writer, struct gw_text_out *out);
size_t gw_export_row(struct gw_export_writer *writer, const struct gw_export_row *row, struct gw_text_out *out);
size_t gw_export_end(struct gw_export_writer *writer, struct gw_text_out *out);

// Many rows at once, of what gw_series_query_next_run() gives by columns (run->chunk): first what they have in common (its point is not used)...
void gw_export_stretch(struct gw_export_writer *writer, const struct gw_export_row *like);
// ...then, as often as it takes, those from run->at on, `most` at most, while there is room: *written of them, or where none was, *need as gw_export_row(). The caller moves run->at
// (gw_series_query_used()). GW_E_CORRUPT, GW_E_MEMORY: what follows cannot be decoded.
enum gw_error gw_export_rows(struct gw_export_writer *writer, const struct gw_series_run *run, uint32_t most, struct gw_text_out *out, uint32_t *written, size_t *need);

struct gw_export_counts {
	uint64_t rows;     // readings or steps written
	uint64_t left_out; // that the format cannot say: SenML has no absolute time before 1978-07-04
	int64_t first_us, last_us; // least and greatest device time written; where rows > 0
};
void gw_export_counts(const struct gw_export_writer *writer, struct gw_export_counts *counts);

#endif
