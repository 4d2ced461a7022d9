// SPDX-License-Identifier: Apache-2.0
// SenML's CBOR representation (RFC 8428 section 6) by libcbor's streaming decoder, one item at a time: no tree, no allocation, depth and count
// bounded. Numbers become the shortest decimal text that reads back equal. Pure; any thread.
#include "gateway/decode_impl.h"

#include <cbor.h>
#include <stdio.h>

#define SKIP_DEPTH_MAX 16

enum item_type { ITEM_NONE, ITEM_UINT, ITEM_NEGINT, ITEM_BYTES, ITEM_TEXT, ITEM_ARRAY, ITEM_MAP, ITEM_TAG, ITEM_FLOAT, ITEM_BOOL, ITEM_NULL, ITEM_BREAK,
	ITEM_OTHER };
#define OPEN_ENDED UINT64_MAX // count of an array or map that a break ends

// The head of one data item.
struct item {
	enum item_type type;
	uint64_t number; // integer (as encoded), count, tag, boolean
	struct gw_span text;
	double value;
	int bits;
};

struct reader {
	struct gw_span left;
	size_t at;
	struct item item;
	bool bad; // sticky: not well-formed
};

// ---- libcbor's callbacks: each puts down one item ----

#define PUT(...) (((struct reader *)context)->item = (struct item){ __VA_ARGS__ })

static void on_uint8(void *context, uint8_t v) { PUT(.type = ITEM_UINT, .number = v); }
static void on_uint16(void *context, uint16_t v) { PUT(.type = ITEM_UINT, .number = v); }
static void on_uint32(void *context, uint32_t v) { PUT(.type = ITEM_UINT, .number = v); }
static void on_uint64(void *context, uint64_t v) { PUT(.type = ITEM_UINT, .number = v); }
static void on_negint8(void *context, uint8_t v) { PUT(.type = ITEM_NEGINT, .number = v); }
static void on_negint16(void *context, uint16_t v) { PUT(.type = ITEM_NEGINT, .number = v); }
static void on_negint32(void *context, uint32_t v) { PUT(.type = ITEM_NEGINT, .number = v); }
static void on_negint64(void *context, uint64_t v) { PUT(.type = ITEM_NEGINT, .number = v); }
static void on_bytes(void *context, cbor_data at, size_t len) { PUT(.type = ITEM_BYTES, .text = { at, len }); }
static void on_text(void *context, cbor_data at, size_t len) { PUT(.type = ITEM_TEXT, .text = { at, len }); }
static void on_other(void *context) { PUT(.type = ITEM_OTHER); }
static void on_array(void *context, size_t count) { PUT(.type = ITEM_ARRAY, .number = count); }
static void on_open_array(void *context) { PUT(.type = ITEM_ARRAY, .number = OPEN_ENDED); }
static void on_map(void *context, size_t count) { PUT(.type = ITEM_MAP, .number = count); }
static void on_open_map(void *context) { PUT(.type = ITEM_MAP, .number = OPEN_ENDED); }
static void on_tag(void *context, uint64_t tag) { PUT(.type = ITEM_TAG, .number = tag); }
static void on_half(void *context, float v) { PUT(.type = ITEM_FLOAT, .value = (double)v, .bits = 16); }
static void on_single(void *context, float v) { PUT(.type = ITEM_FLOAT, .value = (double)v, .bits = 32); }
static void on_double(void *context, double v) { PUT(.type = ITEM_FLOAT, .value = v, .bits = 64); }
static void on_bool(void *context, bool v) { PUT(.type = ITEM_BOOL, .number = v); }
static void on_null(void *context) { PUT(.type = ITEM_NULL); }
static void on_break(void *context) { PUT(.type = ITEM_BREAK); }

static const struct cbor_callbacks callbacks = {
	.uint8 = on_uint8, .uint16 = on_uint16, .uint32 = on_uint32, .uint64 = on_uint64,
	.negint8 = on_negint8, .negint16 = on_negint16, .negint32 = on_negint32, .negint64 = on_negint64,
	.byte_string = on_bytes, .byte_string_start = on_other, .string = on_text, .string_start = on_other,
	.array_start = on_array, .indef_array_start = on_open_array, .map_start = on_map, .indef_map_start = on_open_map,
	.tag = on_tag, .float2 = on_half, .float4 = on_single, .float8 = on_double,
	.boolean = on_bool, .null = on_null, .undefined = on_null, .indef_break = on_break,
};

static const struct item *
next(struct reader *r)
{
	struct cbor_decoder_result result;

	r->item = (struct item){ .type = ITEM_NONE };
	if (r->bad || r->left.len == 0) {
		r->bad = true;
		return &r->item;
	}
	result = cbor_stream_decode(r->left.at, r->left.len, &callbacks, r);
	if (result.status != CBOR_DECODER_FINISHED || result.read == 0 || result.read > r->left.len) {
		r->item = (struct item){ .type = ITEM_NONE };
		r->bad = true;
		return &r->item;
	}
	r->left = gw_span(r->left.at + result.read, r->left.len - result.read);
	r->at += result.read;
	return &r->item;
}

// Steps over what an item, whose head was just read, holds.
static void
skip(struct reader *r, struct item head, int depth)
{
	uint64_t count = head.type == ITEM_ARRAY ? head.number : head.type == ITEM_TAG ? 1 : 0;

	if (head.type == ITEM_MAP)
		count = head.number == OPEN_ENDED ? OPEN_ENDED : head.number > UINT32_MAX ? UINT32_MAX : head.number * 2;
	if (head.type == ITEM_OTHER || head.type == ITEM_BREAK || (count > 0 && depth == SKIP_DEPTH_MAX))
		r->bad = true; // strings in pieces are not needed by RFC 8428
	for (; count > 0 && !r->bad; count -= count != OPEN_ENDED) {
		struct item item = *next(r);
		if (count == OPEN_ENDED && item.type == ITEM_BREAK)
			return;
		skip(r, item, depth + 1);
	}
}

// ---- numbers ----

static struct gw_raw
digits(struct gw_decoding *d, const char *text, size_t len)
{
	uint8_t *at = gw_arena(d, len);

	if (at == NULL)
		return (struct gw_raw){ GW_RAW_OTHER, { NULL, 0 } };
	memcpy(at, text, len);
	return (struct gw_raw){ GW_RAW_NUMBER, gw_span(at, len) };
}

static size_t
integer_text(const struct item *item, char out[32])
{
	if (item->type == ITEM_UINT)
		return (size_t)snprintf(out, 32, "%llu", (unsigned long long)item->number);
	if (item->number == UINT64_MAX)
		return (size_t)snprintf(out, 32, "-18446744073709551616");
	return (size_t)snprintf(out, 32, "-%llu", (unsigned long long)item->number + 1);
}

static bool
small_integer(const struct item *item, int64_t *out)
{
	if ((item->type != ITEM_UINT && item->type != ITEM_NEGINT) || item->number > INT64_MAX - 1)
		return false;
	*out = item->type == ITEM_UINT ? (int64_t)item->number : -1 - (int64_t)item->number;
	return true;
}

// Tag 4, RFC 8949 section 3.4.4: [exponent, mantissa].
static struct gw_raw
decimal_fraction(struct gw_decoding *d, struct reader *r)
{
	struct item pair = *next(r);
	int64_t exponent = 0, mantissa = 0;
	struct gw_decimal value;
	char text[48];
	bool fits;

	if (pair.type != ITEM_ARRAY || pair.number != 2) {
		skip(r, pair, 0);
		return (struct gw_raw){ GW_RAW_OTHER, { NULL, 0 } };
	}
	fits = small_integer(next(r), &exponent);
	if (!fits)
		skip(r, r->item, 0);
	if (!small_integer(next(r), &mantissa)) {
		skip(r, r->item, 0);
		fits = false;
	}
	if (!fits || exponent < GW_EXPONENT_MIN || exponent > GW_EXPONENT_MAX)
		return (struct gw_raw){ GW_RAW_OTHER, { NULL, 0 } };
	value = (struct gw_decimal){ mantissa, (int16_t)exponent };
	return digits(d, text, gw_decimal_text(value, text));
}

static struct gw_raw
floating(struct gw_decoding *d, const struct item *item)
{
	char text[32];
	size_t len = gw_decimal_from_float(item->value, item->bits, text);

	// NaN and infinities have no digits and are refused as numbers.
	return len > 0 ? digits(d, text, len) : (struct gw_raw){ GW_RAW_NUMBER, gw_span_text("NaN") };
}

static struct gw_raw
raw_of(struct gw_decoding *d, struct reader *r)
{
	struct item item = *next(r);
	char text[32];

	switch (item.type) {
	case ITEM_UINT:
	case ITEM_NEGINT:
		return digits(d, text, integer_text(&item, text));
	case ITEM_FLOAT:
		return floating(d, &item);
	case ITEM_TEXT:
		return (struct gw_raw){ gw_utf8_valid(item.text) ? GW_RAW_TEXT : GW_RAW_OTHER, item.text };
	case ITEM_BYTES:
		return (struct gw_raw){ GW_RAW_TEXT, item.text }; // of vd only, which is not taken
	case ITEM_BOOL:
		return (struct gw_raw){ GW_RAW_BOOL, gw_span_text(item.number ? "true" : "false") };
	case ITEM_NULL:
		return (struct gw_raw){ GW_RAW_NULL, gw_span_text("null") };
	case ITEM_TAG:
		if (item.number == 4)
			return decimal_fraction(d, r);
		break;
	default:
		break;
	}
	skip(r, item, 0);
	return (struct gw_raw){ GW_RAW_OTHER, { NULL, 0 } };
}

// ---- records ----

// Table 4 of RFC 8428: labels from -6 to 8.
static enum gw_senml_label
label_of(const struct item *key)
{
	static const enum gw_senml_label labels[] = { GW_SENML_BS, GW_SENML_BV, GW_SENML_BU, GW_SENML_BT, GW_SENML_BN, GW_SENML_BVER, GW_SENML_N,
		GW_SENML_U, GW_SENML_V, GW_SENML_VS, GW_SENML_VB, GW_SENML_S, GW_SENML_T, GW_SENML_UT, GW_SENML_VD };
	int64_t number;

	if (key->type == ITEM_TEXT)
		return gw_senml_label(key->text);
	return small_integer(key, &number) && number >= -6 && number <= 8 ? labels[number + 6] : GW_SENML_OTHER;
}

static enum gw_error
malformed(const struct reader *r, struct gw_why *why)
{
	return gw_fail(why, GW_E_FORMAT, "no well-formed SenML CBOR at byte %zu", r->at);
}

static bool
more(struct reader *r, uint64_t count, uint64_t done)
{
	if (count != OPEN_ENDED)
		return done < count && !r->bad;
	if (r->left.len > 0 && r->left.at[0] == 0xFF) { // the break
		next(r);
		return false;
	}
	return !r->bad;
}

static void
read_record(struct gw_decoding *d, struct reader *r, struct gw_senml_record *record)
{
	struct item map = *next(r);

	if (map.type != ITEM_MAP)
		r->bad = true;
	for (uint64_t i = 0; !r->bad && more(r, map.number, i); i++) {
		struct item key = *next(r);
		enum gw_senml_label label = label_of(&key);
		bool bytes = r->left.len > 0 && (r->left.at[0] & 0xE0) == 0x40;
		struct gw_raw raw;
		if (key.type != ITEM_TEXT && key.type != ITEM_UINT && key.type != ITEM_NEGINT)
			r->bad = true;
		raw = raw_of(d, r);
		if (bytes && label != GW_SENML_VD)
			raw.type = GW_RAW_OTHER;
		if (!r->bad)
			gw_senml_field(record, label, key.type == ITEM_TEXT ? key.text : (struct gw_span){ NULL, 0 }, raw);
	}
}

enum gw_error
gw_decode_senml_cbor(struct gw_decoding *d, struct gw_why *why)
{
	struct reader r = { .left = d->in->payload };
	struct gw_senml_base base = { 0 };
	struct item array = *next(&r);

	if (array.type == ITEM_TAG && array.number == 55799) // "this is CBOR"
		array = *next(&r);
	if (array.type != ITEM_ARRAY)
		return malformed(&r, why);
	for (uint64_t i = 0; more(&r, array.number, i); i++) {
		struct gw_senml_record record = { 0 };
		size_t arena = d->scratch->arena_used, count = d->count;
		enum gw_error error;
		read_record(d, &r, &record);
		if (r.bad)
			break;
		error = gw_senml_record(d, &base, &record, why);
		if (error != GW_OK)
			return error;
		if (d->count == count)
			d->scratch->arena_used = arena;
	}
	return r.bad || r.left.len > 0 ? malformed(&r, why) : GW_OK;
}
