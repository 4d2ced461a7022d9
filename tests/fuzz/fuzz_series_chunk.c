// SPDX-License-Identifier: Apache-2.0
// Chunks of series. First byte 0: the rest is a chunk (its checksum and end are mended, so that damage gets past them): it is read in every way, and what can be read whole
// and is in order encodes and comes back the same. Otherwise: the rest makes readings, which must come back.
#include "gateway/bytes.h"
#include "gateway/nomenclature.h"
#include "gateway/record.h"
#include "gateway/series_chunk.h"

#undef NDEBUG // the assertions are the test
#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct gw_chunk_encoder *encoder;
static struct gw_chunk_reader *reader, *again;
static struct gw_point points[GW_CHUNK_POINTS_MAX];

static void
close_all(void)
{
	gw_chunk_encoder_free(encoder);
	gw_chunk_reader_free(reader);
	gw_chunk_reader_free(again);
}

static void
open_all(void)
{
	assert(gw_nomenclature_open(NULL) == GW_OK);
	encoder = gw_chunk_encoder_new();
	reader = gw_chunk_reader_new();
	again = gw_chunk_reader_new();
	assert(encoder != NULL && reader != NULL && again != NULL);
	atexit(close_all);
}

static void
check_same(const struct gw_point *a, const struct gw_point *b, uint8_t places)
{
	assert(gw_reading_same_value(&a->reading, &b->reading) && a->reading.flags == b->reading.flags && a->reading.time_us == b->reading.time_us);
	assert(a->reading.sequence == b->reading.sequence && a->reading.revision == b->reading.revision);
	assert(gw_chunk_received(a->reading.time_us, a->received_us, places) == b->received_us);
	assert(gw_span_equal(a->reading.received, b->reading.received) && gw_span_equal(a->reading.unit_received, b->reading.unit_received));
	assert(a->origin.door == b->origin.door && gw_span_equal(a->origin.route, b->origin.route));
}

// Encodes and reads again. What is not in order, or too much, is refused.
static void
check_round(uint32_t count, uint8_t places)
{
	struct gw_chunk_options options = { .received_places = places };
	struct gw_point point;
	struct gw_span out;
	uint32_t n = 0;

	if (count == 0 || gw_chunk_encode(encoder, points, count, &options, NULL, &out, NULL) != GW_OK)
		return;
	assert(gw_chunk_open(again, out, NULL) == GW_OK);
	places = gw_chunk_head(again)->received_places;
	for (; gw_chunk_next(again, &point, NULL); n++)
		check_same(&points[n], &point, places);
	assert(n == count);
}

static void
read_chunk(struct gw_span bytes)
{
	static struct gw_decimal decimals[GW_CHUNK_POINTS_MAX];
	struct gw_chunk_columns columns;
	struct gw_chunk_whole whole;
	enum gw_error error, plot, exact;
	uint32_t n = 0, at;

	if (gw_chunk_open(reader, bytes, NULL) != GW_OK)
		return;
	plot = gw_chunk_columns(reader, &columns, NULL);
	exact = gw_chunk_decimals(reader, decimals, NULL);
	(void)!gw_chunk_whole(reader, &whole, NULL);
	(void)!gw_chunk_find(reader, 0, &at, NULL);
	while (gw_chunk_next(reader, &points[n], &error))
		n++;
	if (error != GW_OK)
		return;
	assert(n == gw_chunk_head(reader)->count && plot == GW_OK && exact == GW_OK);
	assert(gw_chunk_seek(reader, n / 2, NULL) == GW_OK);
	check_round(n, gw_chunk_head(reader)->received_places);
}

static void
mend(const uint8_t *data, size_t size)
{
	uint8_t *bytes = malloc(size + 8); // exactly as long as the chunk

	assert(bytes != NULL);
	memcpy(bytes, data, size);
	memset(bytes + size, 0, 8);
	if (size >= 4)
		gw_put32(bytes, gw_crc32c(0, bytes + 4, size + 4));
	read_chunk(gw_span(bytes, size + 8));
	free(bytes);
}

// A reading of 16 bytes or more.
static size_t
make_point(const uint8_t *at, size_t left, int64_t *time_us, struct gw_point *point)
{
	size_t len = at[1] & 15, rest = left - 16 < len ? left - 16 : len;
	struct gw_reading *reading = &point->reading;

	*time_us += (int16_t)gw_get16(at + 2) == 0 ? 1 : gw_get16(at + 2) * (at[0] < 128 ? INT64_C(1) : INT64_C(1000000));
	*point = (struct gw_point){ .reading = { .time_us = *time_us, .type = (uint8_t)(at[0] % 5), .flags = at[4], .kind = at[5] & 3, .unit = at[6],
		.received = gw_span(at + 16, at[7] % 2 == 0 ? rest : 0), .unit_received = gw_span(at + 16, at[7] % 3 == 0 ? rest : 0) },
		.received_us = *time_us + (int32_t)gw_get32(at + 8), .origin = { .door = at[5] >> 4, .route = gw_span(at + 16, at[7] % 5 == 0 ? rest : 0) } };
	if (reading->type == GW_VALUE_DECIMAL && !gw_decimal_parse(reading->received, &reading->decimal))
		reading->decimal = (struct gw_decimal){ (int64_t)gw_get64(at + 8), (int8_t)at[7] };
	else if (reading->type == GW_VALUE_CODE)
		reading->code = gw_get32(at + 12);
	else if (reading->type == GW_VALUE_TEXT)
		reading->text = gw_span(at + 16, rest);
	else if (reading->type == GW_VALUE_SAMPLES)
		reading->samples = (struct gw_samples){ gw_get32(at + 12), (uint32_t)rest / 4, (int8_t)at[4], at + 16 };
	return 16 + rest;
}

static void
make_points(const uint8_t *data, size_t size, uint8_t places)
{
	int64_t time_us = 0;
	uint32_t n = 0;

	while (size >= 16 && n < GW_CHUNK_POINTS_MAX) {
		size_t took = make_point(data, size, &time_us, &points[n++]);
		data += took;
		size -= took;
	}
	check_round(n, places);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (encoder == NULL)
		open_all();
	if (size == 0)
		return 0;
	if (data[0] == 0)
		mend(data + 1, size - 1);
	else
		make_points(data + 1, size - 1, data[0] % 7);
	return 0;
}
