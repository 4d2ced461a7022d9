// SPDX-License-Identifier: Apache-2.0
// Latency histogram with buckets of constant relative width: adding is a few instructions, and a
// percentile is within 3 % of the true one.
#include "load.h"

// 32 buckets per power of two; values below 32 ns have one bucket each.
static unsigned
bucket_of(uint64_t ns)
{
	if (ns < 32)
		return (unsigned)ns;
	unsigned power = 63 - (unsigned)__builtin_clzll(ns);
	unsigned fine = (unsigned)(ns >> (power - 5)) & 31;
	return (power - 4) * 32 + fine;
}

static double
middle_ns(unsigned bucket)
{
	if (bucket < 32)
		return bucket;
	unsigned power = bucket / 32 + 4;
	double width = (double)(1ULL << (power - 5));
	return (double)(1ULL << power) + (bucket % 32 + 0.5) * width;
}

void
load_latency_add(struct load_latency *h, uint64_t ns)
{
	h->bucket[bucket_of(ns)]++;
	h->count++;
	if (ns > h->max_ns)
		h->max_ns = ns;
}

double
load_latency_ms(const struct load_latency *h, double share)
{
	uint64_t want = (uint64_t)((double)h->count * share), seen = 0;

	if (h->count == 0)
		return 0;
	for (unsigned i = 0; i < LOAD_BUCKETS; i++) {
		seen += h->bucket[i];
		if (seen > want || seen == h->count) {
			double ns = middle_ns(i);
			return (ns < (double)h->max_ns ? ns : (double)h->max_ns) / 1e6;
		}
	}
	return (double)h->max_ns / 1e6;
}
