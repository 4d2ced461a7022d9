// SPDX-License-Identifier: Apache-2.0
// A reader's inside, for series_chunk_read.c (opening, loading) and series_chunk_points.c (what is in it). Pure; one reader by one thread at a time.
#ifndef GW_SERIES_CHUNK_READER_H
#define GW_SERIES_CHUNK_READER_H

#include "gateway/series_chunk_layout.h"

#define CHUNK_TEXT 48 // bytes of a rendered decimal
#define CHUNK_CONVERTED 64

// Entries of the columns that not every reading has.
struct chunk_counts {
	uint32_t apart, values, said, samples;
};

// What was converted lately: vital signs take few values.
struct chunk_converted {
	struct gw_decimal said, canonical;
	uint8_t conversion; // 0: none
};

struct gw_chunk_reader {
	struct gw_chunk_head head;
	struct gw_span bytes[COLUMN_COUNT];
	int64_t *columns[COLUMN_COUNT];
	uint32_t loaded; // columns decoded, by bit
	size_t zeros[COLUMN_COUNT]; // so many of it are zeros
	bool forms_ready, whole;

	enum chunk_exponents exponents;
	int16_t exponent;
	struct gw_conversion conversions[CONVERSIONS_MAX];
	uint8_t conversions_count;
	struct chunk_converted converted[CHUNK_CONVERTED];
	struct chunk_word_list forms_list, origins_list, words;
	struct chunk_form *forms;
	struct gw_origin *origins;
	size_t forms_room, origins_room;
	struct chunk_counts counts; // in all

	// The walk
	uint32_t next;
	struct chunk_counts done; // before next
	size_t samples_done;
	char *text;
	uint8_t *samples;
	size_t text_room, samples_room;

	// By columns
	bool *plain; // of forms
	size_t plain_room;
	struct gw_decimal *said, *canonical; // GW_CHUNK_POINTS_MAX each, made when they are wanted

	// Large: not cleared when the reader is made
	double values[GW_CHUNK_POINTS_MAX];
	uint16_t flags[GW_CHUNK_POINTS_MAX], revisions[GW_CHUNK_POINTS_MAX];
};

static inline void
chunk_count(struct chunk_counts *n, const struct chunk_form *form)
{
	n->apart += ((form->bits & FORM_NUMBER_APART) != 0) + ((form->bits & FORM_CANONICAL_APART) != 0);
	n->values += form->type == GW_VALUE_CODE || form->type == GW_VALUE_TEXT;
	n->said += (form->bits & SAID_MASK) == SAID_WORD;
	n->samples += form->type == GW_VALUE_SAMPLES;
}

enum gw_error chunk_corrupt(struct gw_why *why, const char *what);
bool chunk_room(void *array, size_t *room, size_t count, size_t size); // array: the address of a pointer
enum gw_error chunk_load(struct gw_chunk_reader *r, enum chunk_column c, size_t n, struct gw_why *why);
enum gw_error chunk_load_times(struct gw_chunk_reader *r, struct gw_why *why);
enum gw_error chunk_load_forms(struct gw_chunk_reader *r, struct gw_why *why);
enum gw_error chunk_load_decimals(struct gw_chunk_reader *r, struct gw_why *why); // after the forms
enum gw_error chunk_load_whole(struct gw_chunk_reader *r, struct gw_why *why);

#endif
