// SPDX-License-Identifier: Apache-2.0
// A ring of entries in the order of their numbers, and a table of chains over it. Under gw_patients_lock().
#include "adapters/hl7/in_seen.h"

#include "gateway/bytes.h"
#include "gateway/hash.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

enum { TRIM_MOST = 3, CAP_LEAST = 256, SPAN_MAX = 1 << 22, KEY_LEN = sizeof(GW_HL7_SEEN_PREFIX) - 1 + 16 };

// A row's value (schemas/journal-format.md). Little-endian.
enum { V_VERSION = 0, V_RESULT = 1, V_TIME = 8, V_ID = 16, V_DIGEST = 24, V_SIZE = 40 };
#define V_VERSION_1 1

struct entry {
	uint64_t number; // 0: gone
	struct gw_hl7_seen_key key;
	int64_t time_us;
	uint32_t next;   // in its chain: place in the ring + 1; 0: the end
	uint8_t result;
};

struct gw_hl7_seen {
	struct entry *ring;
	uint32_t *heads;       // as `next`
	uint32_t cap;          // of both: a power of two
	uint64_t first, next;  // numbers in the ring: [first, next); a number's place is number % cap
	uint32_t count, max;
	int64_t age_us;
	uint64_t seed;         // chains are not to be foreseen
	enum gw_error error;   // while loading
};

// ---- Ring and chains ----

static struct entry *
entry_at(const struct gw_hl7_seen *seen, uint64_t number)
{
	return &seen->ring[number & (seen->cap - 1)];
}

static uint32_t *
head_of(const struct gw_hl7_seen *seen, uint64_t id)
{
	return &seen->heads[gw_hash_mix(id ^ seen->seed) & (seen->cap - 1)];
}

static void
chain(struct gw_hl7_seen *seen, struct entry *entry)
{
	uint32_t *head = head_of(seen, entry->key.id);

	entry->next = *head;
	*head = (uint32_t)(entry - seen->ring) + 1;
}

static void
unchain(struct gw_hl7_seen *seen, struct entry *entry)
{
	uint32_t *at = head_of(seen, entry->key.id), place = (uint32_t)(entry - seen->ring) + 1;

	while (*at != place)
		at = &seen->ring[*at - 1].next;
	*at = entry->next;
}

static bool
grow(struct gw_hl7_seen *seen)
{
	uint32_t cap = seen->cap == 0 ? CAP_LEAST : seen->cap * 2;
	struct entry *ring = calloc(cap, sizeof(*ring)), *old = seen->ring;
	uint32_t *heads = calloc(cap, sizeof(*heads)), old_cap = seen->cap;

	if (ring == NULL || heads == NULL) {
		free(ring);
		free(heads);
		return false;
	}
	free(seen->heads);
	seen->ring = ring;
	seen->heads = heads;
	seen->cap = cap;
	for (uint64_t n = seen->first; n < seen->next; n++) {
		struct entry *entry = entry_at(seen, n);

		*entry = old[n & (old_cap - 1)];
		if (entry->number != 0)
			chain(seen, entry);
	}
	free(old);
	return true;
}

static void
drop(struct gw_hl7_seen *seen, struct entry *entry)
{
	unchain(seen, entry);
	entry->number = 0;
	seen->count--;
}

static void
skip_gone(struct gw_hl7_seen *seen)
{
	while (seen->first < seen->next && entry_at(seen, seen->first)->number == 0)
		seen->first++;
}

// Room for number seen->next, which a gap of numbers in the store may have moved far.
static bool
make_room(struct gw_hl7_seen *seen)
{
	skip_gone(seen);
	if (seen->first == seen->next)
		return seen->cap > 0 || grow(seen);
	while (seen->next - seen->first >= seen->cap)
		if (!grow(seen))
			return false;
	return true;
}

static void
insert(struct gw_hl7_seen *seen, const struct entry *entry)
{
	struct entry *place = entry_at(seen, entry->number);

	*place = *entry;
	chain(seen, place);
	seen->next = entry->number + 1;
	seen->count++;
}

// ---- Rows ----

static struct gw_span
row_key(uint64_t number, char out[KEY_LEN + 1])
{
	snprintf(out, KEY_LEN + 1, GW_HL7_SEEN_PREFIX "%016llx", (unsigned long long)number);
	return gw_span(out, KEY_LEN);
}

static enum gw_error
put_row(struct gw_ticket *ticket, const struct entry *entry)
{
	uint8_t value[V_SIZE] = { [V_VERSION] = V_VERSION_1, [V_RESULT] = entry->result };
	char key[KEY_LEN + 1];

	gw_put64(value + V_TIME, (uint64_t)entry->time_us);
	gw_put64(value + V_ID, entry->key.id);
	gw_put64(value + V_DIGEST, entry->key.digest[0]);
	gw_put64(value + V_DIGEST + 8, entry->key.digest[1]);
	return gw_ticket_put(ticket, row_key(entry->number, key), gw_span(value, sizeof(value)));
}

static bool
read_row(struct gw_span key, struct gw_span value, struct entry *entry)
{
	char text[17];

	if (key.len != KEY_LEN || value.len != V_SIZE || value.at[V_VERSION] != V_VERSION_1)
		return false;
	memcpy(text, key.at + KEY_LEN - 16, 16);
	text[16] = '\0';
	*entry = (struct entry){ .number = strtoull(text, NULL, 16), .result = value.at[V_RESULT], .time_us = (int64_t)gw_get64(value.at + V_TIME),
		.key = { gw_get64(value.at + V_ID), { gw_get64(value.at + V_DIGEST), gw_get64(value.at + V_DIGEST + 8) } } };
	return entry->number != 0 && (entry->result == GW_HL7_SEEN_TAKEN || entry->result == GW_HL7_SEEN_REFUSED);
}

static void
begin_at(struct gw_hl7_seen *seen, uint64_t number)
{
	for (uint64_t n = seen->first; n < seen->next; n++)
		if (entry_at(seen, n)->number != 0)
			drop(seen, entry_at(seen, n));
	seen->first = seen->next = number;
}

// Rows come in the order of their numbers; where that leaves gaps, what is in them is gone.
static bool
load_row(void *arg, struct gw_span key, struct gw_span value)
{
	struct gw_hl7_seen *seen = arg;
	struct entry entry;

	if (!read_row(key, value, &entry) || entry.number < seen->next)
		return true;
	if (seen->count == 0 || entry.number - seen->first >= SPAN_MAX)
		begin_at(seen, entry.number);
	while (seen->next < entry.number) {
		if (!make_room(seen)) {
			seen->error = GW_E_MEMORY;
			return false;
		}
		entry_at(seen, seen->next++)->number = 0;
	}
	if (!make_room(seen)) {
		seen->error = GW_E_MEMORY;
		return false;
	}
	insert(seen, &entry);
	return true;
}

// ---- The interface ----

enum gw_error
gw_hl7_seen_open(struct gw_journal *journal, uint32_t max, int64_t age_us, struct gw_hl7_seen **out, struct gw_why *why)
{
	struct gw_hl7_seen *seen = calloc(1, sizeof(*seen));
	enum gw_error error;

	*out = NULL;
	if (seen == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	seen->first = seen->next = 1;
	seen->max = max;
	seen->age_us = age_us;
	randombytes_buf(&seen->seed, sizeof(seen->seed));
	error = gw_journal_each(journal, gw_span_text(GW_HL7_SEEN_PREFIX), gw_span("", 0), load_row, seen);
	if (error == GW_OK)
		error = seen->error;
	if (error != GW_OK) {
		gw_hl7_seen_close(seen);
		return gw_fail(why, error, "messages that were taken cannot be read: %s", gw_error_text(error));
	}
	*out = seen;
	return GW_OK;
}

void
gw_hl7_seen_close(struct gw_hl7_seen *seen)
{
	if (seen == NULL)
		return;
	free(seen->ring);
	free(seen->heads);
	free(seen);
}

static void
hash_text(crypto_generichash_state *state, struct gw_span text)
{
	uint8_t len[4];

	gw_put32(len, (uint32_t)text.len);
	crypto_generichash_update(state, len, sizeof(len));
	if (text.len > 0)
		crypto_generichash_update(state, text.at, text.len);
}

void
gw_hl7_seen_key(const char *peer, struct gw_span application, struct gw_span facility, struct gw_span control_id, struct gw_span message,
    struct gw_hl7_seen_key *key)
{
	const struct gw_span texts[] = { gw_span_text(peer), application, facility, control_id };
	crypto_generichash_state state, whole;
	uint8_t hash[16];

	crypto_generichash_init(&state, NULL, 0, sizeof(hash));
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		hash_text(&state, texts[i]);
	whole = state;
	crypto_generichash_final(&state, hash, sizeof(hash));
	key->id = gw_get64(hash);
	hash_text(&whole, message);
	crypto_generichash_final(&whole, hash, sizeof(hash));
	key->digest[0] = gw_get64(hash);
	key->digest[1] = gw_get64(hash + 8);
}

static bool
same(const struct gw_hl7_seen_key *a, const struct gw_hl7_seen_key *b)
{
	return a->id == b->id && a->digest[0] == b->digest[0] && a->digest[1] == b->digest[1];
}

// The entry of that key. *oldest: of its control id, *others: how many there are of it with other content.
static struct entry *
find(const struct gw_hl7_seen *seen, const struct gw_hl7_seen_key *key, struct entry **oldest, uint32_t *others)
{
	struct entry *found = NULL;

	*oldest = NULL;
	*others = 0;
	for (uint32_t at = seen->cap > 0 ? *head_of(seen, key->id) : 0; at != 0; at = seen->ring[at - 1].next) {
		struct entry *entry = &seen->ring[at - 1];

		if (entry->key.id != key->id)
			continue;
		if (same(&entry->key, key)) {
			found = entry;
			continue;
		}
		++*others;
		if (*oldest == NULL || entry->number < (*oldest)->number)
			*oldest = entry;
	}
	return found;
}

enum gw_hl7_seen_result
gw_hl7_seen_look(const struct gw_hl7_seen *seen, const struct gw_hl7_seen_key *key, uint64_t *number, bool *reused)
{
	struct entry *oldest, *entry;
	uint32_t others;

	entry = find(seen, key, &oldest, &others);
	if (reused != NULL)
		*reused = others > 0;
	*number = entry != NULL ? entry->number : 0;
	return entry != NULL ? (enum gw_hl7_seen_result)entry->result : GW_HL7_SEEN_NEW;
}

static enum gw_error
drop_stored(struct gw_hl7_seen *seen, struct entry *entry, struct gw_ticket *ticket)
{
	char key[KEY_LEN + 1];
	enum gw_error error = gw_ticket_del(ticket, row_key(entry->number, key));

	if (error == GW_OK)
		drop(seen, entry);
	return error;
}

// The ring holds numbers that are gone, too: what keeps it long goes as well.
static bool
is_due(const struct gw_hl7_seen *seen, const struct entry *oldest, int64_t now_us)
{
	return seen->count > seen->max || seen->next - seen->first > 2 * (uint64_t)seen->max || now_us - oldest->time_us > seen->age_us;
}

static void
trim(struct gw_hl7_seen *seen, int64_t now_us, struct gw_ticket *ticket)
{
	for (int i = 0; i < TRIM_MOST; i++) {
		struct entry *oldest;

		skip_gone(seen);
		if (seen->first == seen->next)
			return;
		oldest = entry_at(seen, seen->first);
		if (!is_due(seen, oldest, now_us) || drop_stored(seen, oldest, ticket) != GW_OK)
			return;
	}
}

enum gw_error
gw_hl7_seen_add(struct gw_hl7_seen *seen, const struct gw_hl7_seen_key *key, enum gw_hl7_seen_result result, int64_t now_us, struct gw_ticket *ticket,
    uint64_t *number)
{
	struct entry entry = { .key = *key, .result = (uint8_t)result, .time_us = now_us }, *before, *oldest;
	enum gw_error error;
	uint32_t others;

	if (!make_room(seen))
		return GW_E_MEMORY;
	entry.number = seen->next;
	if ((error = put_row(ticket, &entry)) != GW_OK)
		return error;
	before = find(seen, key, &oldest, &others);
	if (before != NULL)
		(void)drop_stored(seen, before, ticket);
	if (others >= GW_HL7_SEEN_OF_ONE)
		(void)drop_stored(seen, oldest, ticket);
	insert(seen, &entry);
	trim(seen, now_us, ticket);
	*number = entry.number;
	return GW_OK;
}

static struct entry *
numbered(const struct gw_hl7_seen *seen, uint64_t number)
{
	struct entry *entry = number >= seen->first && number < seen->next && number != 0 ? entry_at(seen, number) : NULL;

	return entry != NULL && entry->number == number ? entry : NULL;
}

void
gw_hl7_seen_forget(struct gw_hl7_seen *seen, uint64_t number)
{
	struct entry *entry = numbered(seen, number);

	if (entry != NULL)
		drop(seen, entry);
}

bool
gw_hl7_seen_has(const struct gw_hl7_seen *seen, uint64_t number)
{
	return numbered(seen, number) != NULL;
}

uint32_t
gw_hl7_seen_count(const struct gw_hl7_seen *seen)
{
	return seen->count;
}
