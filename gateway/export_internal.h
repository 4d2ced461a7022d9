// SPDX-License-Identifier: Apache-2.0
// What the formats of exports share. For gateway/export*.c only.
#ifndef GW_EXPORT_INTERNAL_H
#define GW_EXPORT_INTERNAL_H

#include "gateway/export.h"
#include "gateway/export_text.h"

#define EXPORT_WORDS 1024 // two names of GW_ID_MAX bytes in JSON, six bytes each at worst, and what stands around them

// Parts of rows that neighbours share, made once.
struct export_words {
	size_t len;
	char at[EXPORT_WORDS];
};

// What belongs to a value's form, and what it was last made for.
struct export_form {
	bool made;
	uint16_t flags;
	uint8_t kind, type;
	uint32_t unit;
	size_t unit_said_len;
	char unit_said[32]; // longer ones are not kept
};

// What varies between readings that are alike otherwise: marked in a row as it is written, so that those that follow can be written from it (gateway/export_rows.c).
enum export_vary { EXPORT_VARY_TIME, EXPORT_VARY_RECEIVED, EXPORT_VARY_SECONDS, EXPORT_VARY_VALUE, EXPORT_VARY_SAID, EXPORT_VARY_ID };
#define EXPORT_MARKS 6
#define EXPORT_VARY_BYTES 48 // most of each
struct export_trace {
	unsigned count; // more than EXPORT_MARKS: some were not kept
	struct {
		uint8_t vary;
		const char *from, *to;
	} marks[EXPORT_MARKS];
};

#define EXPORT_SHAPES 8
#define EXPORT_SHAPE_BYTES 2048
struct export_shape {
	bool made;
	int64_t form, origin; // of the chunk
	unsigned count;
	struct {
		uint16_t at, len; // of text, and behind it what varies; nothing behind the last
		uint8_t vary;
	} parts[EXPORT_MARKS + 1];
	size_t room;          // more than any row of it takes
	char text[EXPORT_SHAPE_BYTES + 32];
};

// A number's text, as it was made last.
#define EXPORT_NUMBERS 256
struct export_number {
	struct gw_decimal value;
	uint8_t len; // 0: none
	char text[15];
};

struct gw_export_writer {
	struct gw_export_options options;
	const struct export_format *format;
	struct gw_export_counts counts;
	struct export_minute minute, received_minute;

	struct gw_series_info series; // whose `prefix` is
	bool any_series;
	struct export_words prefix;   // of the series
	struct export_form form;      // of `unit`, `middle`, `tail`
	struct export_words unit, tail;
	struct gw_origin origin;      // of `from`, by its texts' places and lengths
	char origin_texts[3 * (GW_ID_MAX + 1)];
	struct export_words from;
	struct gw_span cells[GW_EXPORT_COLUMNS_MAX]; // CSV: of prefix and tail

	struct export_trace *trace; // NULL: nobody asks for marks
	struct gw_export_row like;  // of the stretch: all but the reading
	struct export_shape shapes[EXPORT_SHAPES];
	struct export_number numbers[EXPORT_NUMBERS];
};

static inline char *
export_mark(struct gw_export_writer *writer, enum export_vary vary, const char *from, char *to)
{
	struct export_trace *trace = writer->trace;

	if (trace == NULL)
		return to;
	if (trace->count < EXPORT_MARKS) {
		trace->marks[trace->count].vary = (uint8_t)vary;
		trace->marks[trace->count].from = from;
		trace->marks[trace->count].to = to;
	}
	trace->count++;
	return to;
}

// A format: how its rows are written. Room is there.
struct export_format {
	const char *name, *suffix;
	void (*series)(struct gw_export_writer *writer, const struct gw_series_info *series); // makes prefix
	char *(*begin)(struct gw_export_writer *writer, char *to);
	char *(*row)(struct gw_export_writer *writer, const struct gw_export_row *row, char *to);
	char *(*step)(struct gw_export_writer *writer, const struct gw_export_row *row, char *to);
	char *(*end)(struct gw_export_writer *writer, char *to);
	size_t (*sample_room)(struct gw_export_writer *writer, const struct gw_reading *reading); // most bytes of one sample
	void (*choose_all)(struct gw_export_options *options); // columns, where none were chosen; NULL: it has none
	bool same_numbers; // rows of numbers are alike only where these were said in the canonical unit
};
extern const struct export_format gw_export_csv, gw_export_jsonl, gw_export_senml;

// So many rows were written, of readings from first_us to last_us.
void export_count(struct gw_export_writer *writer, uint64_t rows, int64_t first_us, int64_t last_us);
// Whether `form` was made for a reading like this; if not, it is from now on, and the caller makes what belongs to it.
bool export_form_is(struct export_form *form, const struct gw_reading *reading);
const char *export_signal_name(uint32_t signal, char spare[16]);
const char *export_unit(uint32_t unit);
const char *export_kind(uint8_t kind);
// Names of flags with `between` between them, each between two `quote`s (0: none).
char *export_flags(char *to, uint16_t flags, const char *between, char quote);
// A step's figures: shortest decimal that reads back equal; the mean with nine digits. At most 40 bytes.
char *export_float(char *to, double value);
char *export_mean(char *to, double value);

static inline int32_t
export_sample(const struct gw_samples *samples, uint32_t i)
{
	const uint8_t *at = samples->at + (size_t)i * 4;

	return (int32_t)((uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24);
}

#endif
