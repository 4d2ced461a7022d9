// SPDX-License-Identifier: Apache-2.0
// Chunks, opening: head, directory, the columns as they are asked for, dictionaries. Nothing is believed: a chunk whose checksum fits may still be wrong. Pure; one
// reader by one thread at a time.
#include "gateway/series_chunk_reader.h"

#include "gateway/record.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

struct gw_chunk_reader *
gw_chunk_reader_new(void)
{
	struct gw_chunk_reader *r = malloc(sizeof(*r));

	if (r != NULL)
		memset(r, 0, offsetof(struct gw_chunk_reader, values)); // what lies behind is written before it is read
	return r;
}

void
gw_chunk_reader_free(struct gw_chunk_reader *r)
{
	if (r == NULL)
		return;
	for (int c = 0; c < COLUMN_COUNT; c++)
		free(r->columns[c]);
	free(r->forms_list.words);
	free(r->origins_list.words);
	free(r->words.words);
	free(r->forms);
	free(r->origins);
	free(r->text);
	free(r->samples);
	free(r->plain);
	free(r->said);
	free(r->canonical);
	free(r);
}

const struct gw_chunk_head *
gw_chunk_head(const struct gw_chunk_reader *r)
{
	return &r->head;
}

enum gw_error
chunk_corrupt(struct gw_why *why, const char *what)
{
	return gw_fail(why, GW_E_CORRUPT, "chunk: %s", what);
}

bool
chunk_room(void *array, size_t *room, size_t count, size_t size)
{
	void **at = array, *grown;

	if (count <= *room)
		return true;
	if ((grown = realloc(*at, count * size)) == NULL)
		return false;
	*at = grown;
	*room = count;
	return true;
}

// ---- head ----

static enum gw_error
take_head(struct gw_span bytes, struct gw_chunk_head *head, struct chunk_in *in, struct gw_why *why)
{
	if (bytes.len < CHUNK_HEAD + CHUNK_PAD || bytes.len > GW_CHUNK_BYTES_MAX)
		return gw_fail(why, GW_E_CORRUPT, "chunk: an impossible length of %zu bytes", bytes.len);
	head->version = bytes.at[CHUNK_VERSION_AT];
	if (head->version != CHUNK_VERSION)
		return gw_fail(why, GW_E_VERSION, "chunk of version %u", head->version);
	head->received_places = bytes.at[CHUNK_PLACES];
	head->count = gw_get16(bytes.at + CHUNK_COUNT);
	head->first_us = (int64_t)gw_get64(bytes.at + CHUNK_FIRST);
	*in = (struct chunk_in){ bytes.at + CHUNK_HEAD, bytes.at + bytes.len - CHUNK_PAD, false };
	head->last_us = (int64_t)((uint64_t)head->first_us + chunk_take_varint(in));
	head->first_position = chunk_take_varint(in);
	head->last_position = head->first_position + chunk_take_varint(in);
	if (in->bad || head->count == 0 || head->count > GW_CHUNK_POINTS_MAX || head->received_places > 6 || head->last_us < head->first_us)
		return chunk_corrupt(why, "impossible head");
	return GW_OK;
}

enum gw_error
gw_chunk_peek(struct gw_span bytes, struct gw_chunk_head *head, struct gw_why *why)
{
	struct chunk_in in = { 0 };

	return take_head(bytes, head, &in, why);
}

static bool
take_directory(struct gw_chunk_reader *r, struct chunk_in *in)
{
	uint64_t columns = chunk_take_varint(in), lens[COLUMN_COUNT];

	if (in->bad || columns >> COLUMN_COUNT != 0)
		return false;
	for (int c = 0; c < COLUMN_COUNT; c++)
		lens[c] = (columns >> c & 1) != 0 ? chunk_take_varint(in) : 0;
	for (int c = 0; c < COLUMN_COUNT; c++)
		r->bytes[c] = chunk_take(in, lens[c]);
	return !in->bad && in->at == in->end && gw_get64(in->end) == 0;
}

enum gw_error
gw_chunk_open(struct gw_chunk_reader *r, struct gw_span bytes, struct gw_why *why)
{
	struct chunk_in in = { 0 };
	enum gw_error error;

	r->loaded = 0;
	r->forms_ready = r->whole = false;
	r->next = 0;
	r->head.count = 0;
	if (bytes.len < CHUNK_HEAD + CHUNK_PAD)
		return chunk_corrupt(why, "cut short");
	if (gw_get32(bytes.at + CHUNK_CRC) != gw_crc32c(0, bytes.at + CHUNK_VERSION_AT, bytes.len - CHUNK_VERSION_AT))
		return chunk_corrupt(why, "it does not match its checksum");
	if ((error = take_head(bytes, &r->head, &in, why)) == GW_OK && !take_directory(r, &in))
		error = chunk_corrupt(why, "impossible directory");
	if (error != GW_OK)
		r->head.count = 0;
	return error;
}

// ---- columns ----

// Decodes n values of a column, once. All zeros where it is not there.
static enum gw_error
load_bytes(struct gw_chunk_reader *r, enum chunk_column c, struct gw_span bytes, size_t n, struct gw_why *why)
{
	size_t room = (c == COLUMN_APART || c == COLUMN_APART_EXPONENT ? 2 : 1) * GW_CHUNK_POINTS_MAX + PACK_BLOCK;

	if ((r->loaded >> c & 1) != 0)
		return GW_OK;
	if (r->columns[c] == NULL && (r->columns[c] = malloc(room * sizeof(int64_t))) == NULL)
		return gw_fail(why, GW_E_MEMORY, "no memory for a chunk's column");
	if (bytes.len == 0 && n > r->zeros[c]) {
		memset(r->columns[c], 0, n * sizeof(int64_t));
		r->zeros[c] = n;
	} else if (bytes.len > 0) {
		r->zeros[c] = 0;
		if (!chunk_unpack_all(bytes, r->columns[c], n))
			return chunk_corrupt(why, "a column is damaged");
	}
	r->loaded |= (uint32_t)1 << c;
	return GW_OK;
}

enum gw_error
chunk_load(struct gw_chunk_reader *r, enum chunk_column c, size_t n, struct gw_why *why)
{
	return load_bytes(r, c, r->bytes[c], n, why);
}

// A column whose values are indexes below `limit`.
static enum gw_error
load_indexes(struct gw_chunk_reader *r, enum chunk_column c, size_t n, uint64_t limit, struct gw_why *why)
{
	enum gw_error error = chunk_load(r, c, n, why);
	uint64_t bad = 0;

	if (error != GW_OK)
		return error;
	if (r->zeros[c] >= n)
		bad = n > 0 && limit == 0;
	for (size_t i = 0; i < n && r->zeros[c] < n; i++)
		bad |= (uint64_t)r->columns[c][i] >= limit;
	return bad != 0 ? chunk_corrupt(why, "an index leads nowhere") : GW_OK;
}

enum gw_error
chunk_load_times(struct gw_chunk_reader *r, struct gw_why *why)
{
	bool loaded = (r->loaded >> COLUMN_TIME & 1) != 0;
	enum gw_error error = chunk_load(r, COLUMN_TIME, r->head.count, why);
	int64_t *times = r->columns[COLUMN_TIME], last = r->head.first_us;
	bool disorder = false;

	if (loaded || error != GW_OK)
		return error;
	r->zeros[COLUMN_TIME] = 0;
	for (uint32_t i = 0; i < r->head.count; i++) {
		times[i] = (int64_t)((uint64_t)times[i] + (uint64_t)r->head.first_us);
		disorder |= times[i] < last;
		last = times[i];
	}
	if (!disorder && times[0] == r->head.first_us && last == r->head.last_us)
		return GW_OK;
	r->loaded &= ~((uint32_t)1 << COLUMN_TIME);
	return chunk_corrupt(why, "its times are not in order, or not those of its head");
}

static enum gw_error
load_numbers(struct gw_chunk_reader *r, struct gw_why *why)
{
	struct gw_span bytes = r->bytes[COLUMN_NUMBER];

	r->exponent = 0;
	r->exponents = EXPONENTS_SAME;
	if (bytes.len > 0) {
		if (bytes.len < 4 || bytes.at[0] > EXPONENTS_COLUMN)
			return chunk_corrupt(why, "its numbers are damaged");
		r->exponents = (enum chunk_exponents)bytes.at[0];
		r->exponent = (int16_t)gw_get16(bytes.at + 1);
		bytes = gw_span(bytes.at + 3, bytes.len - 3);
	}
	if (abs(r->exponent) > CONVERT_EXPONENT_MAX)
		return chunk_corrupt(why, "an impossible exponent");
	return load_bytes(r, COLUMN_NUMBER, bytes, r->head.count, why);
}

// ---- forms ----

static enum gw_error
take_conversions(struct gw_chunk_reader *r, struct gw_why *why)
{
	struct gw_span bytes = r->bytes[COLUMN_CONVERSIONS];
	struct chunk_in in = { bytes.at, bytes.at + bytes.len, false };

	memset(r->converted, 0, sizeof(r->converted));
	for (r->conversions_count = 1; in.at < in.end; r->conversions_count++) {
		int64_t parts[6];
		for (int i = 0; i < 6; i++)
			parts[i] = chunk_unzigzag(chunk_take_varint(&in));
		if (in.bad || r->conversions_count == CONVERSIONS_MAX || parts[1] <= 0 || parts[3] <= 0 || parts[4] < -CONVERT_EXPONENT_MAX ||
		    parts[4] > CONVERT_EXPONENT_MAX || parts[5] < 0 || parts[5] > CONVERT_EXPONENT_MAX)
			return chunk_corrupt(why, "an impossible conversion");
		r->conversions[r->conversions_count] = (struct gw_conversion){ .num = parts[0], .den = parts[1], .offset_num = parts[2], .offset_den = parts[3],
			.shift = (int16_t)parts[4], .finer = (int8_t)parts[5] };
	}
	return GW_OK;
}

static bool
take_form(const struct gw_chunk_reader *r, struct gw_span bytes, struct chunk_form *form)
{
	struct chunk_in in = { bytes.at, bytes.at + bytes.len, false };
	uint64_t flags, unit, unit_word;

	form->bits = chunk_take8(&in);
	form->type = chunk_take8(&in);
	form->kind = chunk_take8(&in);
	form->conversion = chunk_take8(&in);
	form->flags = (uint16_t)(flags = chunk_take_varint(&in));
	form->unit = (uint32_t)(unit = chunk_take_varint(&in));
	form->unit_word = (uint32_t)(unit_word = chunk_take_varint(&in));
	return !in.bad && in.at == in.end && form->bits <= FORM_BITS && (form->bits & SAID_MASK) <= SAID_WORD && form->type <= GW_VALUE_SAMPLES &&
	    form->conversion < r->conversions_count && flags <= UINT16_MAX && unit <= UINT32_MAX && unit_word <= UINT32_MAX &&
	    (form->bits <= SAID_MASK || form->type == GW_VALUE_DECIMAL) &&
	    ((form->bits & SAID_MASK) != SAID_RENDERED || form->type == GW_VALUE_DECIMAL || form->type == GW_VALUE_TEXT);
}

static enum gw_error
take_list(struct gw_chunk_reader *r, enum chunk_column c, struct chunk_word_list *list, struct gw_why *why)
{
	struct chunk_in in = { r->bytes[c].at, r->bytes[c].at + r->bytes[c].len, false };
	bool memory = false;

	list->count = 0;
	if (r->bytes[c].len == 0 || chunk_word_list_take(list, &in, &memory))
		return GW_OK;
	return memory ? gw_fail(why, GW_E_MEMORY, "no memory for a chunk's words") : chunk_corrupt(why, "a dictionary is damaged");
}

static enum gw_error
take_forms(struct gw_chunk_reader *r, struct gw_why *why)
{
	enum gw_error error;

	if ((error = take_conversions(r, why)) != GW_OK || (error = take_list(r, COLUMN_FORMS, &r->forms_list, why)) != GW_OK)
		return error;
	if (!chunk_room(&r->forms, &r->forms_room, r->forms_list.count, sizeof(*r->forms)))
		return gw_fail(why, GW_E_MEMORY, "no memory for a chunk's forms");
	for (uint32_t i = 0; i < r->forms_list.count; i++)
		if (!take_form(r, r->forms_list.words[i], &r->forms[i]))
			return chunk_corrupt(why, "an impossible form");
	return GW_OK;
}

// Entries of the columns that only some readings have. Most chunks are of forms that need none.
static void
count_forms(struct gw_chunk_reader *r)
{
	struct chunk_counts *n = &r->counts, any = { 0 };

	*n = (struct chunk_counts){ 0 };
	for (uint32_t i = 0; i < r->forms_list.count; i++)
		chunk_count(&any, &r->forms[i]);
	for (uint32_t i = 0; i < r->head.count && (any.apart | any.values | any.said | any.samples) != 0; i++)
		chunk_count(n, &r->forms[r->columns[COLUMN_FORM][i]]);
}

enum gw_error
chunk_load_forms(struct gw_chunk_reader *r, struct gw_why *why)
{
	enum gw_error error;

	if (r->forms_ready)
		return GW_OK;
	if (r->head.count == 0)
		return chunk_corrupt(why, "none is open");
	if ((error = take_forms(r, why)) != GW_OK || (error = load_indexes(r, COLUMN_FORM, r->head.count, r->forms_list.count, why)) != GW_OK)
		return error;
	count_forms(r);
	r->forms_ready = true;
	return GW_OK;
}

enum gw_error
chunk_load_decimals(struct gw_chunk_reader *r, struct gw_why *why)
{
	enum gw_error error;

	if ((error = load_numbers(r, why)) != GW_OK || (error = chunk_load(r, COLUMN_APART, r->counts.apart, why)) != GW_OK ||
	    (error = chunk_load(r, COLUMN_APART_EXPONENT, r->counts.apart, why)) != GW_OK)
		return error;
	if (r->exponents == EXPONENTS_COLUMN && (error = load_indexes(r, COLUMN_EXPONENT, r->head.count, 19, why)) != GW_OK)
		return error;
	return GW_OK;
}

// ---- all of it ----

static bool
take_origin(struct gw_span bytes, struct gw_origin *origin)
{
	struct chunk_in in = { bytes.at, bytes.at + bytes.len, false };
	struct gw_span *texts[] = { &origin->principal, &origin->route, &origin->profile };

	origin->door = chunk_take8(&in);
	origin->auth = chunk_take8(&in);
	for (size_t i = 0; i < 3; i++)
		*texts[i] = chunk_take(&in, chunk_take_varint(&in));
	return !in.bad && in.at == in.end;
}

static enum gw_error
take_dictionaries(struct gw_chunk_reader *r, struct gw_why *why)
{
	enum gw_error error;

	if ((error = take_list(r, COLUMN_WORDS, &r->words, why)) != GW_OK || (error = take_list(r, COLUMN_ORIGINS, &r->origins_list, why)) != GW_OK)
		return error;
	if (!chunk_room(&r->origins, &r->origins_room, r->origins_list.count, sizeof(*r->origins)))
		return gw_fail(why, GW_E_MEMORY, "no memory for a chunk's origins");
	for (uint32_t i = 0; i < r->origins_list.count; i++)
		if (!take_origin(r->origins_list.words[i], &r->origins[i]))
			return chunk_corrupt(why, "an impossible origin");
	for (uint32_t i = 0; i < r->forms_list.count; i++)
		if (r->forms[i].unit_word > r->words.count)
			return chunk_corrupt(why, "a unit leads nowhere");
	return GW_OK;
}

// Where each block's samples begin, and how many there are in all.
static enum gw_error
sum_samples(struct gw_chunk_reader *r, uint64_t *total, struct gw_why *why)
{
	int64_t *counts = r->columns[COLUMN_SAMPLE_COUNT];

	*total = 0;
	for (uint32_t i = 0; i < r->counts.samples; i++) {
		uint64_t count = (uint64_t)counts[i];
		if (count > GW_CHUNK_SAMPLES_MAX || (*total += count) > GW_CHUNK_SAMPLES_MAX || r->columns[COLUMN_SAMPLE_EXPONENT][i] < INT16_MIN ||
		    r->columns[COLUMN_SAMPLE_EXPONENT][i] > INT16_MAX)
			return chunk_corrupt(why, "an impossible block of samples");
	}
	return GW_OK;
}

static bool
take_samples(struct gw_chunk_reader *r, size_t total)
{
	int64_t block[PACK_BLOCK + 8];
	struct chunk_unpack u;
	uint8_t *at = r->samples;
	size_t n;

	if (!chunk_unpack_open(&u, r->bytes[COLUMN_SAMPLES], total))
		return false;
	while ((n = chunk_unpack_block(&u, block)) > 0)
		for (size_t i = 0; i < n; i++, at += 4) {
			if (block[i] < INT32_MIN || block[i] > INT32_MAX)
				return false;
			gw_put32(at, (uint32_t)block[i]);
		}
	return !u.in.bad && u.left == 0;
}

static bool
take_holes(struct gw_chunk_reader *r, size_t total)
{
	struct gw_span bytes = r->bytes[COLUMN_HOLES];
	struct chunk_in in = { bytes.at, bytes.at + bytes.len, false };
	size_t done = 0;

	for (bool hole = false; in.at < in.end; hole = !hole) {
		uint64_t run = chunk_take_varint(&in);
		if (in.bad || run > total - done)
			return false;
		for (size_t i = 0; i < run && hole; i++)
			gw_put32(r->samples + (done + i) * 4, (uint32_t)GW_SAMPLE_MISSING);
		done += run;
	}
	return bytes.len == 0 || done == total;
}

static enum gw_error
load_samples(struct gw_chunk_reader *r, struct gw_why *why)
{
	uint64_t total;
	enum gw_error error;

	if ((error = chunk_load(r, COLUMN_PERIOD, r->counts.samples, why)) != GW_OK ||
	    (error = chunk_load(r, COLUMN_SAMPLE_EXPONENT, r->counts.samples, why)) != GW_OK ||
	    (error = chunk_load(r, COLUMN_SAMPLE_COUNT, r->counts.samples, why)) != GW_OK || (error = sum_samples(r, &total, why)) != GW_OK)
		return error;
	if (!chunk_room(&r->samples, &r->samples_room, (total + 1) * 4, 1)) // never nowhere: a block may be empty
		return gw_fail(why, GW_E_MEMORY, "no memory for a chunk's samples");
	return take_samples(r, total) && take_holes(r, total) ? GW_OK : chunk_corrupt(why, "its samples are damaged");
}

// Every column, for those who want whole readings.
enum gw_error
chunk_load_whole(struct gw_chunk_reader *r, struct gw_why *why)
{
	static const enum chunk_column plain[] = { COLUMN_RECEIVED, COLUMN_SEQUENCE, COLUMN_REVISION };
	enum gw_error error;

	if (r->whole)
		return GW_OK;
	if ((error = chunk_load_forms(r, why)) != GW_OK || (error = chunk_load_times(r, why)) != GW_OK || (error = take_dictionaries(r, why)) != GW_OK)
		return error;
	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		if ((error = chunk_load(r, plain[i], r->head.count, why)) != GW_OK)
			return error;
	if ((error = chunk_load_decimals(r, why)) != GW_OK || (error = load_samples(r, why)) != GW_OK ||
	    (error = load_indexes(r, COLUMN_ORIGIN, r->head.count, r->origins_list.count, why)) != GW_OK ||
	    (error = load_indexes(r, COLUMN_VALUE, r->counts.values, r->words.count, why)) != GW_OK ||
	    (error = load_indexes(r, COLUMN_SAID, r->counts.said, r->words.count, why)) != GW_OK)
		return error;
	if (!chunk_room(&r->text, &r->text_room, (size_t)r->head.count * CHUNK_TEXT, 1))
		return gw_fail(why, GW_E_MEMORY, "no memory for a chunk's texts");
	r->done = (struct chunk_counts){ 0 };
	r->samples_done = 0;
	r->next = 0;
	r->whole = true;
	return GW_OK;
}
