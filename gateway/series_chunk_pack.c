// SPDX-License-Identifier: Apache-2.0
// Columns of numbers, writing: blocks of 128 values; what a predictor leaves over is stored as bits of one width from a base up, and the few that do not
// fit as exceptions. Each block takes the predictor, width and base that cost least. Arithmetic is modulo 2^64, so that every int64 comes back. Pure; any thread.
#include "gateway/series_chunk_layout.h"

const int64_t chunk_pow10[19] = { 1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000, 10000000000, 100000000000, 1000000000000,
	10000000000000, 100000000000000, 1000000000000000, 10000000000000000, 100000000000000000, 1000000000000000000 };

#define NEAR 512 // values that lie within so many of each other are sorted by counting

// One way to store a block.
struct plan {
	int64_t rest[PACK_BLOCK]; // what the predictor leaves over, by 10^scale
	uint8_t predictor, scale, width, exceptions;
	int64_t base;
	size_t cost; // bytes
};

struct writer {
	struct chunk_out *out;
	uint64_t value, delta; // before the block
};

static size_t
varint_size(uint64_t value)
{
	return value == 0 ? 1 : (size_t)(70 - __builtin_clzll(value)) / 7;
}

static int
bits(uint64_t value)
{
	return value == 0 ? 0 : 64 - __builtin_clzll(value);
}

static uint64_t
distance(int64_t from, int64_t to)
{
	return (uint64_t)to - (uint64_t)from;
}

static void
predict(struct plan *plan, enum pack_predictor predictor, const struct writer *w, const int64_t *values, size_t n)
{
	uint64_t value = w->value, delta = w->delta;

	plan->predictor = (uint8_t)predictor;
	for (size_t i = 0; i < n; i++) {
		uint64_t next = (uint64_t)values[i] - value;
		plan->rest[i] = predictor == PACK_VALUE ? values[i] : (int64_t)(predictor == PACK_DELTA ? next : next - delta);
		delta = next;
		value = (uint64_t)values[i];
	}
}

static bool
all_divide(const int64_t *rest, size_t n)
{
	bool any = false;

	for (size_t i = 0; i < n; i++) {
		if (rest[i] % 10 != 0)
			return false;
		any |= rest[i] != 0;
	}
	return any;
}

// Times come in whole milliseconds or seconds: their zeros cost nothing.
static void
scale_down(struct plan *plan, size_t n)
{
	for (plan->scale = 0; plan->scale < PACK_SCALE_MAX && all_divide(plan->rest, n); plan->scale++)
		for (size_t i = 0; i < n; i++)
			plan->rest[i] /= 10;
}

// Few distinct values, as most blocks have: by counting them.
static void
sort_near(int64_t *values, size_t n, int64_t least, size_t range)
{
	uint8_t seen[NEAR] = { 0 };

	for (size_t i = 0; i < n; i++)
		seen[distance(least, values[i])]++;
	for (size_t step = 0; step <= range; step++)
		for (uint8_t left = seen[step]; left > 0; left--)
			*values++ = (int64_t)((uint64_t)least + step);
}

// Shell's.
static void
sort_far(int64_t *values, size_t n)
{
	static const size_t gaps[] = { 23, 10, 4, 1 };

	for (size_t g = 0; g < sizeof(gaps) / sizeof(gaps[0]); g++)
		for (size_t i = gaps[g]; i < n; i++) {
			int64_t value = values[i];
			size_t j = i;
			for (; j >= gaps[g] && values[j - gaps[g]] > value; j -= gaps[g])
				values[j] = values[j - gaps[g]];
			values[j] = value;
		}
}

static void
sort(int64_t *values, size_t n)
{
	int64_t least = values[0], most = values[0];

	for (size_t i = 1; i < n; i++) {
		least = values[i] < least ? values[i] : least;
		most = values[i] > most ? values[i] : most;
	}
	if (distance(least, most) < NEAR)
		sort_near(values, n, least, distance(least, most));
	else
		sort_far(values, n);
}

// Where the most values fit into `width` bits: the first of them in sorted order, and how many.
static size_t
best_window(const int64_t *sorted, size_t n, int width, size_t *first)
{
	size_t best = 0;

	if (width == 64) {
		*first = 0;
		return n;
	}
	for (size_t from = 0, to = 0; from < n && n - from > best; from++) {
		while (to < n && distance(sorted[from], sorted[to]) >> width == 0)
			to++;
		if (to - from > best) {
			best = to - from;
			*first = from;
		}
	}
	return best;
}

static size_t
exceptions_cost(const int64_t *sorted, size_t n, size_t first, size_t count)
{
	size_t cost = 1;

	if (count == n)
		return 0;
	for (size_t i = 0; i < n; i++)
		if (i < first || i >= first + count)
			cost += 1 + varint_size(chunk_zigzag((int64_t)distance(sorted[first], sorted[i])));
	return cost;
}

// The width and base that cost least. From the widest down: once a quarter of the values are exceptions it only gets worse.
static void
choose_width(struct plan *plan, size_t n)
{
	int64_t sorted[PACK_BLOCK];
	size_t first = 0;

	memcpy(sorted, plan->rest, n * sizeof(*sorted));
	sort(sorted, n);
	plan->cost = SIZE_MAX;
	for (int width = bits(distance(sorted[0], sorted[n - 1])); width >= 0; width--) {
		size_t count = best_window(sorted, n, width, &first), cost;
		if (n - count > n / 4)
			break;
		cost = 2 + varint_size(chunk_zigzag(sorted[first])) + (n * (size_t)width + 7) / 8 + exceptions_cost(sorted, n, first, count);
		if (cost <= plan->cost) {
			plan->cost = cost;
			plan->width = (uint8_t)width;
			plan->base = sorted[first];
			plan->exceptions = (uint8_t)(n - count);
		}
	}
}

static bool
is_exception(const struct plan *plan, int64_t rest)
{
	return plan->width < 64 && distance(plan->base, rest) >> plan->width != 0;
}

static void
put_exceptions(struct chunk_out *out, const struct plan *plan, size_t n)
{
	chunk_put8(out, plan->exceptions);
	for (size_t i = 0; i < n; i++)
		if (is_exception(plan, plan->rest[i]))
			chunk_put8(out, (uint8_t)i);
	for (size_t i = 0; i < n; i++)
		if (is_exception(plan, plan->rest[i]))
			chunk_put_varint(out, chunk_zigzag((int64_t)distance(plan->base, plan->rest[i])));
}

static void
put_bits(struct chunk_out *out, const struct plan *plan, size_t n)
{
	uint8_t bytes[PACK_BLOCK * 8];
	size_t at = 0;
	uint64_t held = 0;
	int have = 0;

	for (size_t i = 0; i < n && plan->width > 0; i++) {
		uint64_t value = is_exception(plan, plan->rest[i]) ? 0 : distance(plan->base, plan->rest[i]);
		int room = 64 - have;
		held |= value << have;
		if (plan->width < room) {
			have += plan->width;
			continue;
		}
		gw_put64(bytes + at, held);
		at += 8;
		held = room < 64 ? value >> room : 0;
		have = plan->width - room;
	}
	for (; have > 0; have -= 8, held >>= 8)
		bytes[at++] = (uint8_t)held;
	chunk_put(out, bytes, at);
}

static void
put_block(struct writer *w, const int64_t *values, size_t n)
{
	struct plan plans[PACK_PREDICTORS], *best = NULL;

	for (int p = 0; p < PACK_PREDICTORS; p++) {
		predict(&plans[p], (enum pack_predictor)p, w, values, n);
		scale_down(&plans[p], n);
		choose_width(&plans[p], n);
		if (best == NULL || plans[p].cost < best->cost)
			best = &plans[p];
	}
	chunk_put8(w->out, (uint8_t)(best->width | (best->exceptions > 0 ? 0x80 : 0)));
	chunk_put8(w->out, (uint8_t)(best->predictor | best->scale << 2));
	chunk_put_varint(w->out, chunk_zigzag(best->base));
	if (best->exceptions > 0)
		put_exceptions(w->out, best, n);
	put_bits(w->out, best, n);
	w->delta = (uint64_t)values[n - 1] - (n > 1 ? (uint64_t)values[n - 2] : w->value);
	w->value = (uint64_t)values[n - 1];
}

static bool
is_constant(const int64_t *values, size_t n)
{
	for (size_t i = 1; i < n; i++)
		if (values[i] != values[0])
			return false;
	return true;
}

void
chunk_pack(struct chunk_out *out, const int64_t *values, size_t n)
{
	struct writer w = { out, 0, 0 };

	if (n == 0)
		return;
	if (is_constant(values, n)) {
		chunk_put8(out, PACK_CONSTANT);
		chunk_put_varint(out, chunk_zigzag(values[0]));
		return;
	}
	chunk_put8(out, PACK_BLOCKS);
	for (size_t at = 0; at < n && !out->full; at += PACK_BLOCK)
		put_block(&w, values + at, n - at < PACK_BLOCK ? n - at : PACK_BLOCK);
}
