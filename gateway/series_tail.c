// SPDX-License-Identifier: Apache-2.0
// A tail: a series' readings that are in no chunk yet, in the order in which they came, as bytes: each told by what differs from the one before, about
// ten bytes for a vital sign. In memory only, so its form may change with every version. And the arena that decoded readings point into.
#include "gateway/series_internal.h"

#include <stdlib.h>

// First byte of a reading.
enum {
	TAIL_ORIGIN = 1 << 0,    // door, auth, principal, route, profile follow; else those of the one before
	TAIL_SHAPE = 1 << 1,     // type, kind, flags, unit, exponent, unit as received follow
	TAIL_RECEIVED = 1 << 2,  // the value as received follows; else it is canonical, or none (TAIL_BARE)
	TAIL_BARE = 1 << 3,
	TAIL_ORDER = 1 << 4,     // sequence and revision follow; else both 0
	TAIL_STEP = 1 << 5,      // the time's step follows; else as before
	TAIL_LAG = 1 << 6,       // the receive time's lag follows; else as before
};
#define TAIL_FIXED 128 // bytes that all numbers of a reading need at most

// ---- Arena ----

struct gw_arena_block {
	struct gw_arena_block *next;
	size_t len, cap;
	_Alignas(8) uint8_t bytes[];
};
#define ARENA_FIRST 240u // for one reading by itself
#define ARENA_BLOCK (64u << 10)

void *
gw_arena_get(struct gw_arena *arena, size_t len)
{
	struct gw_arena_block *block = arena->blocks;
	size_t need = (len + 7) & ~(size_t)7;

	if (block == NULL || block->cap - block->len < need) {
		size_t usual = block == NULL ? ARENA_FIRST : ARENA_BLOCK, cap = need > usual ? need : usual;

		if ((block = malloc(sizeof(*block) + cap)) == NULL)
			return NULL;
		*block = (struct gw_arena_block){ .next = arena->blocks, .cap = cap };
		arena->blocks = block;
	}
	block->len += need;
	return block->bytes + block->len - need;
}

void
gw_arena_free(struct gw_arena *arena)
{
	struct gw_arena_block *block = arena->blocks, *next;

	for (; block != NULL; block = next) {
		next = block->next;
		free(block);
	}
	arena->blocks = NULL;
}

void
gw_arena_reset(struct gw_arena *arena)
{
	struct gw_arena_block *block = arena->blocks;

	if (block == NULL)
		return;
	arena->blocks = block->next;
	gw_arena_free(arena);
	block->next = NULL;
	block->len = 0;
	arena->blocks = block;
}

// ---- Points ----

enum gw_error
gw_points_reserve(struct gw_points *points, size_t count)
{
	size_t cap = points->cap > 0 ? points->cap : 256;
	struct gw_point *at;

	if (count <= points->cap)
		return GW_OK;
	while (cap < count)
		cap *= 2;
	if ((at = realloc(points->at, cap * sizeof(*at))) == NULL)
		return GW_E_MEMORY;
	points->at = at;
	points->cap = cap;
	return GW_OK;
}

void
gw_points_free(struct gw_points *points)
{
	gw_arena_free(&points->arena);
	free(points->at);
	*points = (struct gw_points){ 0 };
}

static bool
in_order(const struct gw_points *points)
{
	for (size_t i = 1; i < points->count; i++)
		if (gw_place_compare(gw_place_of(&points->at[i - 1]), gw_place_of(&points->at[i])) > 0)
			return false;
	return true;
}

static int
compare_refs(const void *left, const void *right)
{
	const struct gw_point *a = *(const struct gw_point *const *)left, *b = *(const struct gw_point *const *)right;
	int order = gw_place_compare(gw_place_of(a), gw_place_of(b));

	return order != 0 ? order : (a > b) - (a < b);
}

enum gw_error
gw_points_sort(struct gw_points *points)
{
	const struct gw_point **refs;
	struct gw_point *sorted;

	if (in_order(points))
		return GW_OK;
	refs = malloc(points->count * sizeof(struct gw_point *));
	sorted = malloc(points->cap * sizeof(*sorted));
	if (refs == NULL || sorted == NULL) {
		free(refs);
		free(sorted);
		return GW_E_MEMORY;
	}
	for (size_t i = 0; i < points->count; i++)
		refs[i] = &points->at[i];
	qsort(refs, points->count, sizeof(struct gw_point *), compare_refs);
	for (size_t i = 0; i < points->count; i++)
		sorted[i] = *refs[i];
	free(refs);
	free(points->at);
	points->at = sorted;
	return GW_OK;
}

// ---- Numbers ----

static uint8_t *
put_varint(uint8_t *at, uint64_t value)
{
	for (; value >= 0x80; value >>= 7)
		*at++ = (uint8_t)(value | 0x80);
	*at++ = (uint8_t)value;
	return at;
}

// Differences wrap: any two times have one.
static uint8_t *
put_signed(uint8_t *at, uint64_t value)
{
	return put_varint(at, value << 1 ^ (uint64_t)-(int64_t)(value >> 63));
}

static uint64_t
get_varint(const uint8_t **at)
{
	uint64_t value = 0;
	unsigned shift = 0;

	for (; **at & 0x80; shift += 7)
		value |= (uint64_t)(*(*at)++ & 0x7F) << shift;
	return value | (uint64_t)*(*at)++ << shift;
}

static uint64_t
get_signed(const uint8_t **at)
{
	uint64_t value = get_varint(at);

	return value >> 1 ^ (uint64_t)-(int64_t)(value & 1);
}

static uint8_t *
put_span(uint8_t *at, struct gw_span span)
{
	return gw_put_bytes(put_varint(at, span.len), span.at, span.len);
}

static struct gw_span
get_span(const uint8_t **at)
{
	size_t len = (size_t)get_varint(at);
	struct gw_span span = gw_span(*at, len);

	*at += len;
	return span;
}

// ---- Adding ----

static bool
same_origin(const struct gw_tail *tail, const struct gw_origin *origin)
{
	const uint8_t *at = tail->bytes + tail->state.origin_at - 1;

	if (tail->state.origin_at == 0 || at[0] != origin->door || at[1] != origin->auth)
		return false;
	at += 2;
	return gw_span_equal(get_span(&at), origin->principal) && gw_span_equal(get_span(&at), origin->route) &&
	    gw_span_equal(get_span(&at), origin->profile);
}

static int16_t
exponent_of(const struct gw_reading *reading)
{
	if (reading->type == GW_VALUE_DECIMAL)
		return reading->decimal.exponent;
	return reading->type == GW_VALUE_SAMPLES ? reading->samples.exponent : 0;
}

static bool
same_shape(const struct gw_tail *tail, const struct gw_reading *reading)
{
	const struct gw_tail_state *state = &tail->state;

	return state->unit_at != 0 && state->type == reading->type && state->kind == reading->kind && state->flags == reading->flags &&
	    state->unit == reading->unit && state->exponent == exponent_of(reading) &&
	    gw_span_equal(gw_span(tail->bytes + state->unit_at - 1, state->unit_len), reading->unit_received);
}

static size_t
value_len(const struct gw_reading *reading)
{
	if (reading->type == GW_VALUE_TEXT)
		return reading->text.len;
	return reading->type == GW_VALUE_SAMPLES ? (size_t)reading->samples.count * 4 : 0;
}

static enum gw_error
reserve(struct gw_tail *tail, size_t more)
{
	size_t cap = tail->cap;
	uint8_t *bytes;

	if (tail->len + more <= cap)
		return GW_OK;
	cap = tail->len + more;
	cap += cap / 4 + 64;
	if (cap > UINT32_MAX || (bytes = realloc(tail->bytes, cap)) == NULL)
		return GW_E_MEMORY;
	tail->bytes = bytes;
	tail->cap = (uint32_t)cap;
	return GW_OK;
}

static uint8_t *
put_origin(struct gw_tail *tail, uint8_t *at, const struct gw_origin *origin)
{
	tail->state.origin_at = (uint32_t)(at - tail->bytes) + 1;
	*at++ = origin->door;
	*at++ = origin->auth;
	return put_span(put_span(put_span(at, origin->principal), origin->route), origin->profile);
}

static uint8_t *
put_shape(struct gw_tail *tail, uint8_t *at, const struct gw_reading *reading)
{
	struct gw_tail_state *state = &tail->state;

	*at++ = state->type = reading->type;
	*at++ = state->kind = reading->kind;
	at = put_varint(at, state->flags = reading->flags);
	at = put_varint(at, state->unit = reading->unit);
	state->exponent = exponent_of(reading);
	at = put_signed(at, (uint64_t)(int64_t)state->exponent);
	at = put_varint(at, reading->unit_received.len);
	state->unit_at = (uint32_t)(at - tail->bytes) + 1;
	state->unit_len = (uint8_t)reading->unit_received.len;
	return gw_put_bytes(at, reading->unit_received.at, reading->unit_received.len);
}

static uint8_t *
put_value(struct gw_tail *tail, uint8_t *at, const struct gw_reading *reading)
{
	struct gw_tail_state *state = &tail->state;

	switch (reading->type) {
	case GW_VALUE_DECIMAL:
		at = put_signed(at, (uint64_t)reading->decimal.mantissa - (uint64_t)state->mantissa);
		state->mantissa = reading->decimal.mantissa;
		return at;
	case GW_VALUE_CODE:
		state->code = reading->code;
		return put_varint(at, reading->code);
	case GW_VALUE_TEXT:
		return put_span(at, reading->text);
	case GW_VALUE_SAMPLES:
		at = put_signed(at, (uint64_t)reading->samples.period_ns);
		at = put_varint(at, reading->samples.count);
		return gw_put_bytes(at, reading->samples.at, (size_t)reading->samples.count * 4);
	default:
		return at;
	}
}

static uint8_t *
put_times(struct gw_tail_state *state, uint8_t *at, uint8_t head, const struct gw_point *point)
{
	int64_t time_us = point->reading.time_us;

	if (head & TAIL_STEP) {
		state->step_us = (int64_t)((uint64_t)time_us - (uint64_t)state->time_us);
		at = put_signed(at, (uint64_t)state->step_us);
	}
	if (head & TAIL_LAG) {
		int64_t lag_us = (int64_t)((uint64_t)point->received_us - (uint64_t)time_us);

		at = put_signed(at, (uint64_t)lag_us - (uint64_t)state->lag_us);
		state->lag_us = lag_us;
	}
	state->time_us = time_us;
	return at;
}

static uint8_t
head_of(const struct gw_tail *tail, const struct gw_point *point, bool canonical)
{
	const struct gw_reading *reading = &point->reading;
	const struct gw_tail_state *state = &tail->state;
	uint8_t head = 0;

	if (!same_origin(tail, &point->origin))
		head |= TAIL_ORIGIN;
	if (!same_shape(tail, reading))
		head |= TAIL_SHAPE;
	if (reading->received.len == 0)
		head |= TAIL_BARE;
	else if (!canonical)
		head |= TAIL_RECEIVED;
	if (reading->sequence != 0 || reading->revision != 0)
		head |= TAIL_ORDER;
	if ((uint64_t)reading->time_us - (uint64_t)state->time_us != (uint64_t)state->step_us)
		head |= TAIL_STEP;
	if ((uint64_t)point->received_us - (uint64_t)reading->time_us != (uint64_t)state->lag_us)
		head |= TAIL_LAG;
	return head;
}

// Where the readings begin that come next, every so often.
static enum gw_error
mark(struct gw_tail *tail, uint64_t position)
{
	size_t at = tail->count / GW_TAIL_MARK;
	uint64_t *marks;

	if (tail->count == 0)
		tail->first_position = position;
	if (tail->count % GW_TAIL_MARK != 0 || position == 0)
		return GW_OK;
	if ((at & (at - 1)) == 0) { // full: the next power of two
		if ((marks = realloc(tail->marks, (at > 0 ? at * 2 : 1) * sizeof(*marks))) == NULL)
			return GW_E_MEMORY;
		tail->marks = marks;
	}
	tail->marks[at] = position;
	return GW_OK;
}

static void
note_times(struct gw_tail *tail, const struct gw_point *point)
{
	struct gw_place place = gw_place_of(point);

	if (tail->count == 0)
		tail->least_us = tail->most_us = place.time_us;
	else if (gw_place_compare(place, tail->newest) <= 0)
		tail->shuffled = true;
	if (place.time_us < tail->least_us)
		tail->least_us = place.time_us;
	if (place.time_us > tail->most_us)
		tail->most_us = place.time_us;
	tail->newest = place;
}

enum gw_error
gw_tail_add(struct gw_tail *tail, const struct gw_point *point, bool canonical, uint64_t position)
{
	const struct gw_reading *reading = &point->reading;
	const struct gw_origin *origin = &point->origin;
	size_t most = TAIL_FIXED + origin->principal.len + origin->route.len + origin->profile.len + reading->unit_received.len +
	    reading->received.len + value_len(reading);
	uint8_t head, *at;

	if (reserve(tail, most) != GW_OK || mark(tail, position) != GW_OK)
		return GW_E_MEMORY;
	head = head_of(tail, point, canonical);
	at = tail->bytes + tail->len;
	*at++ = head;
	if (head & TAIL_ORIGIN)
		at = put_origin(tail, at, origin);
	if (head & TAIL_SHAPE)
		at = put_shape(tail, at, reading);
	if (head & TAIL_ORDER)
		at = put_varint(put_varint(at, reading->sequence), reading->revision);
	at = put_times(&tail->state, at, head, point);
	at = put_value(tail, at, reading);
	if (head & TAIL_RECEIVED)
		at = put_span(at, reading->received);
	note_times(tail, point);
	tail->count++;
	tail->len = (uint32_t)(at - tail->bytes);
	return GW_OK;
}

void
gw_tail_free(struct gw_tail *tail)
{
	free(tail->bytes);
	free(tail->marks);
	*tail = (struct gw_tail){ 0 };
}

// ---- Reading ----

static void
get_origin(const uint8_t **at, struct gw_origin *origin)
{
	origin->door = *(*at)++;
	origin->auth = *(*at)++;
	origin->principal = get_span(at);
	origin->route = get_span(at);
	origin->profile = get_span(at);
}

// The shape and the origin stay in the point from one reading to the next.
static void
get_shape(const uint8_t **at, struct gw_reading *reading, int16_t *exponent)
{
	reading->type = *(*at)++;
	reading->kind = *(*at)++;
	reading->flags = (uint16_t)get_varint(at);
	reading->unit = (uint32_t)get_varint(at);
	*exponent = (int16_t)get_signed(at);
	reading->unit_received = get_span(at);
}

static void
get_value(const uint8_t **at, struct gw_tail_state *state, struct gw_reading *reading)
{
	switch (reading->type) {
	case GW_VALUE_DECIMAL:
		state->mantissa = (int64_t)((uint64_t)state->mantissa + get_signed(at));
		reading->decimal = (struct gw_decimal){ state->mantissa, state->exponent };
		break;
	case GW_VALUE_CODE:
		reading->code = (uint32_t)get_varint(at);
		break;
	case GW_VALUE_TEXT:
		reading->text = get_span(at);
		break;
	case GW_VALUE_SAMPLES:
		reading->samples.period_ns = (int64_t)get_signed(at);
		reading->samples.count = (uint32_t)get_varint(at);
		reading->samples.exponent = state->exponent;
		reading->samples.at = *at;
		*at += (size_t)reading->samples.count * 4;
		break;
	default:
		break;
	}
}

// What the value renders to; see gw_batch_next.
static enum gw_error
get_canonical(struct gw_reading *reading, struct gw_arena *arena)
{
	char text[48], *copy;
	size_t len;

	if (reading->type == GW_VALUE_TEXT) {
		reading->received = reading->text;
		return GW_OK;
	}
	len = gw_decimal_text(reading->decimal, text);
	if ((copy = gw_arena_get(arena, len)) == NULL)
		return GW_E_MEMORY;
	memcpy(copy, text, len);
	reading->received = gw_span(copy, len);
	return GW_OK;
}

static enum gw_error
get_point(const uint8_t **at, struct gw_tail_state *state, struct gw_point *point, struct gw_arena *arena)
{
	struct gw_reading *reading = &point->reading;
	uint8_t head = *(*at)++;

	if (head & TAIL_ORIGIN)
		get_origin(at, &point->origin);
	if (head & TAIL_SHAPE)
		get_shape(at, reading, &state->exponent);
	reading->sequence = head & TAIL_ORDER ? (uint32_t)get_varint(at) : 0;
	reading->revision = head & TAIL_ORDER ? (uint16_t)get_varint(at) : 0;
	if (head & TAIL_STEP)
		state->step_us = (int64_t)get_signed(at);
	if (head & TAIL_LAG)
		state->lag_us = (int64_t)((uint64_t)state->lag_us + get_signed(at));
	state->time_us = (int64_t)((uint64_t)state->time_us + (uint64_t)state->step_us);
	reading->time_us = state->time_us;
	point->received_us = (int64_t)((uint64_t)state->time_us + (uint64_t)state->lag_us);
	get_value(at, state, reading);
	reading->received = gw_span(NULL, 0);
	if (head & TAIL_RECEIVED)
		reading->received = get_span(at);
	else if (!(head & TAIL_BARE))
		return get_canonical(reading, arena);
	return GW_OK;
}

enum gw_error
gw_tail_points(const struct gw_tail *tail, uint32_t signal, uint16_t instance, struct gw_points *points)
{
	struct gw_tail_state state = { 0 };
	struct gw_point point = { .reading = { .signal = signal, .instance = instance } };
	const uint8_t *at = tail->bytes;
	enum gw_error error = gw_points_reserve(points, points->count + tail->count);

	for (uint32_t i = 0; error == GW_OK && i < tail->count; i++) {
		error = get_point(&at, &state, &point, &points->arena);
		points->at[points->count++] = point;
	}
	return error;
}
