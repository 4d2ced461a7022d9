// SPDX-License-Identifier: Apache-2.0
// A ring that grows only as far as a session's own requests under way ask for. The adapter's thread; a pending entry is never overwritten.
#include "adapters/coap/recent.h"

#include <stdlib.h>

#define FIRST_CAP 4
#define LINE 64 // of the processor's cache

static uint64_t
mix(uint64_t a, uint64_t b)
{
	__extension__ typedef unsigned __int128 wide;
	wide product = (wide)a * b;

	return (uint64_t)product ^ (uint64_t)(product >> 64);
}

uint64_t
gw_coap_hash(uint64_t seed, const void *at, size_t len)
{
	const uint8_t *p = at;
	uint64_t hash = seed ^ (len * UINT64_C(0x9e3779b97f4a7c15));
	uint64_t word;

	for (; len >= 8; p += 8, len -= 8) {
		memcpy(&word, p, 8);
		hash = mix(hash ^ word, UINT64_C(0xd6e8feb86659fd93));
	}
	word = 0;
	if (len > 0)
		memcpy(&word, p, len);
	return mix(hash ^ word ^ UINT64_C(0xa0761d6478bd642f), UINT64_C(0xe7037ed1a0b428db));
}

static struct gw_coap_remembered *
place(const struct gw_coap_recent *recent, uint32_t handle)
{
	return &recent->entries[handle & (recent->cap - 1)];
}

static void
clear(struct gw_coap_remembered *entry)
{
	free(entry->text);
	entry->text = NULL;
	entry->state = 0;
}

// Every remembered request moves to its place in a ring twice as large.
static bool
grow(struct gw_coap_recent *recent)
{
	uint32_t cap = recent->cap != 0 ? recent->cap * 2 : FIRST_CAP;
	size_t mids_size = (cap * sizeof(uint16_t) + 31) / 32 * 32;
	size_t size = mids_size + cap * sizeof(struct gw_coap_remembered);
	uint8_t *block = aligned_alloc(LINE, (size + LINE - 1) / LINE * LINE);
	uint16_t *mids = (uint16_t *)(void *)block;
	struct gw_coap_remembered *entries;

	if (block == NULL)
		return false;
	memset(block, 0, size);
	entries = (struct gw_coap_remembered *)(void *)(block + mids_size);
	for (uint32_t back = 1; back <= recent->cap; back++) {
		uint32_t handle = recent->next - back;
		entries[handle & (cap - 1)] = *place(recent, handle);
		mids[handle & (cap - 1)] = recent->mids[handle & (recent->cap - 1)];
	}
	free(recent->mids);
	recent->mids = mids;
	recent->entries = entries;
	recent->cap = cap;
	return true;
}

// Whether the ring should rather grow than lose its oldest request.
static bool
worth_keeping(const struct gw_coap_recent *recent, uint32_t now_s)
{
	const struct gw_coap_remembered *oldest = place(recent, recent->next);

	if (oldest->state == GW_COAP_SEEN_PENDING)
		return true;
	return oldest->state != 0 && recent->cap < GW_COAP_RECENT_USUAL && now_s - oldest->came_s < GW_COAP_EXCHANGE_S;
}

static bool
make_room(struct gw_coap_recent *recent, uint32_t now_s, uint32_t pending_max)
{
	if (recent->cap != 0 && !worth_keeping(recent, now_s))
		return true;
	if ((recent->cap < pending_max || recent->cap < GW_COAP_RECENT_USUAL) && grow(recent))
		return true;
	return recent->cap != 0 && place(recent, recent->next)->state != GW_COAP_SEEN_PENDING;
}

static bool
find(const struct gw_coap_recent *recent, uint16_t mid, uint64_t hash, uint32_t now_s, uint32_t *handle)
{
	for (uint32_t i = 0; i < recent->cap; i++) {
		const struct gw_coap_remembered *entry = &recent->entries[i];
		if (recent->mids[i] != mid || entry->hash != hash || entry->state == 0)
			continue;
		if (entry->state == GW_COAP_SEEN_ANSWERED && now_s - entry->came_s >= GW_COAP_EXCHANGE_S)
			continue;
		*handle = i;
		return true;
	}
	return false;
}

enum gw_coap_seen
gw_coap_recent_look(struct gw_coap_recent *recent, uint16_t mid, uint64_t hash, uint32_t now_s, uint32_t pending_max,
    uint32_t *handle)
{
	struct gw_coap_remembered *entry;

	if (find(recent, mid, hash, now_s, handle))
		return place(recent, *handle)->state;
	if (recent->pending >= pending_max || !make_room(recent, now_s, pending_max))
		return GW_COAP_SEEN_CROWDED;
	*handle = recent->next++;
	entry = place(recent, *handle);
	clear(entry);
	entry->hash = hash;
	entry->came_s = now_s;
	entry->state = GW_COAP_SEEN_PENDING;
	recent->pending++;
	recent->mids[*handle & (recent->cap - 1)] = mid;
	return GW_COAP_SEEN_NEW;
}

const struct gw_coap_remembered *
gw_coap_recent_at(const struct gw_coap_recent *recent, uint32_t handle)
{
	return place(recent, handle);
}

void
gw_coap_recent_answered(struct gw_coap_recent *recent, uint32_t handle, uint8_t code, int64_t stamp_us, struct gw_span text)
{
	struct gw_coap_remembered *entry = place(recent, handle);

	recent->pending -= entry->state == GW_COAP_SEEN_PENDING;
	entry->state = GW_COAP_SEEN_ANSWERED;
	entry->code = code;
	entry->stamp_us = stamp_us;
	entry->text = text.len > 0 ? strndup((const char *)text.at, text.len) : NULL;
}

void
gw_coap_recent_forget(struct gw_coap_recent *recent, uint32_t handle)
{
	struct gw_coap_remembered *entry = place(recent, handle);

	recent->pending -= entry->state == GW_COAP_SEEN_PENDING;
	clear(entry);
}

void
gw_coap_recent_fini(struct gw_coap_recent *recent)
{
	for (uint32_t i = 0; i < recent->cap; i++)
		clear(&recent->entries[i]);
	free(recent->mids);
	*recent = (struct gw_coap_recent){ 0 };
}
