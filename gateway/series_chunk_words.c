// SPDX-License-Identifier: Apache-2.0
// Dictionaries of a chunk: byte strings, each once. A table of at most some ten thousand entries: a stranger who could find collisions would win
// milliseconds. Pure; any thread.
#include "gateway/hash.h"
#include "gateway/series_chunk_layout.h"

#include <stdlib.h>

#define SLOTS_FIRST 64

void
chunk_words_clear(struct chunk_words *words)
{
	words->len = 0;
	words->count = 0;
	words->failed = false;
	if (words->slots != NULL)
		memset(words->slots, 0, ((size_t)words->slots_mask + 1) * sizeof(*words->slots));
}

void
chunk_words_fini(struct chunk_words *words)
{
	free(words->at);
	free(words->ends);
	free(words->slots);
	*words = (struct chunk_words){ 0 };
}

static struct gw_span
word_at(const struct chunk_words *words, uint32_t i)
{
	uint32_t from = i > 0 ? words->ends[i - 1] : 0;

	return gw_span(words->at + from, words->ends[i] - from);
}

static uint32_t *
slot_of(const struct chunk_words *words, struct gw_span word)
{
	uint64_t slot = gw_hash_bytes((uint64_t)(uintptr_t)words, word) & words->slots_mask;

	while (words->slots[slot] != 0 && !gw_span_equal(word_at(words, words->slots[slot] - 1), word))
		slot = (slot + 1) & words->slots_mask;
	return &words->slots[slot];
}

static bool
grow_slots(struct chunk_words *words)
{
	uint32_t size = words->slots == NULL ? SLOTS_FIRST : (words->slots_mask + 1) * 2, *slots = calloc(size, sizeof(*slots));
	uint32_t *ends = slots == NULL ? NULL : realloc(words->ends, size / 2 * sizeof(*ends));

	if (ends == NULL) {
		free(slots);
		return false;
	}
	free(words->slots);
	words->slots = slots;
	words->slots_mask = size - 1;
	words->ends = ends;
	words->room = size / 2;
	for (uint32_t i = 0; i < words->count; i++)
		*slot_of(words, word_at(words, i)) = i + 1;
	return true;
}

static bool
grow_bytes(struct chunk_words *words, size_t len)
{
	size_t cap = words->cap > 0 ? words->cap : 1024;
	uint8_t *at;

	if (len > GW_CHUNK_BYTES_MAX - words->len)
		return false;
	while (cap - words->len < len)
		cap *= 2;
	if (cap == words->cap)
		return true;
	if ((at = realloc(words->at, cap)) == NULL)
		return false;
	words->at = at;
	words->cap = cap;
	return true;
}

uint32_t
chunk_words_add(struct chunk_words *words, struct gw_span word)
{
	uint32_t *slot;

	if (words->failed || (words->count == words->room && !grow_slots(words)))
		goto fail;
	slot = slot_of(words, word);
	if (*slot != 0)
		return *slot - 1;
	if (!grow_bytes(words, word.len))
		goto fail;
	gw_put_bytes(words->at + words->len, word.at, word.len);
	words->len += word.len;
	words->ends[words->count++] = (uint32_t)words->len;
	*slot = words->count;
	return words->count - 1;

fail:
	words->failed = true;
	return 0;
}

void
chunk_words_put(const struct chunk_words *words, struct chunk_out *out)
{
	chunk_put_varint(out, words->count);
	for (uint32_t i = 0; i < words->count; i++)
		chunk_put_varint(out, word_at(words, i).len);
	chunk_put(out, words->at, words->len);
}

static bool
grow_list(struct chunk_word_list *list, uint32_t count)
{
	struct gw_span *words;

	if (count <= list->room)
		return true;
	if ((words = realloc(list->words, count * sizeof(*words))) == NULL)
		return false;
	list->words = words;
	list->room = count;
	return true;
}

bool
chunk_word_list_take(struct chunk_word_list *list, struct chunk_in *in, bool *memory)
{
	uint64_t count = chunk_take_varint(in);

	list->count = 0;
	if (in->bad || count > (uint64_t)(in->end - in->at)) // each has a length of a byte at least
		return false;
	if (!grow_list(list, (uint32_t)count)) {
		*memory = true;
		return false;
	}
	for (uint32_t i = 0; i < count; i++)
		list->words[i].len = chunk_take_varint(in);
	for (uint32_t i = 0; i < count; i++)
		list->words[i] = chunk_take(in, list->words[i].len);
	list->count = (uint32_t)count;
	return !in->bad && in->at == in->end;
}
