// SPDX-License-Identifier: Apache-2.0
// Where records belong that no tree leads to (gateway/journal_salvage.h). An entry of a leaf tells its block's position. A block without an entry is asked for
// its readings' times: the index has position and time of each. What is left has a place where exactly as many are missing.
#include "gateway/journal_salvage_internal.h"

#include "gateway/bytes.h"
#include "gateway/journal_internal.h"
#include "gateway/pages.h"
#include "gateway/record_layout.h"

#include <stdlib.h>
#include <unistd.h>

// A record of a stray, as the index would have it.
struct wanted { struct gw_index_entry entry; uint32_t stray, place; };

static bool
next_whole(struct gw_span *rest, struct gw_record *record)
{
	uint32_t len = rest->len >= RECORD_HEAD ? gw_get32(rest->at + RECORD_LEN) : 0;

	if (len < RECORD_HEAD || len > rest->len || len > GW_RECORD_MAX || gw_record_open(1, gw_span(rest->at, len), record, NULL) != GW_OK)
		return false;
	*rest = gw_span(rest->at + len, rest->len - len);
	return true;
}

enum gw_error
gw_strays_add(struct gw_strays *strays, struct gw_span value, uint64_t last, uint64_t offset)
{
	struct gw_stray stray = { .last = last, .offset = offset };
	struct gw_block block = gw_block_of(last, value);
	struct gw_span rest = value;
	struct gw_record record;

	while (next_whole(&rest, &record)) {
		if (stray.count++ == 0)
			stray.received_us = record.received_us;
		stray.len = (uint32_t)(value.len - rest.len);
	}
	if (stray.count == 0 || (last != 0 && (!block.sound || block.count > last))) // damaged, or no records at all
		return GW_OK;
	if (last != 0) {
		stray.keyed = true;
		stray.count = block.count;
		stray.len = (uint32_t)value.len;
		stray.first = block.first;
	} else if (rest.len >= GW_SEAL_BYTES) {
		stray.seal[0] = gw_get32(rest.at);
		stray.seal[1] = ~gw_get32(rest.at + 4);
		stray.sealed = stray.seal[0] == stray.seal[1]; // else none, or damaged
	}
	if (strays->count == strays->cap) {
		size_t cap = strays->cap > 0 ? strays->cap * 2 : 256;
		struct gw_stray *bigger = realloc(strays->at, cap * sizeof(*bigger));

		if (bigger == NULL)
			return GW_E_MEMORY;
		strays->at = bigger;
		strays->cap = cap;
	}
	strays->at[strays->count++] = stray;
	return GW_OK;
}

enum gw_error
gw_strays_have(struct gw_strays *strays, uint64_t first, uint64_t last, int64_t first_us, int64_t last_us)
{
	struct gw_stretch *end = strays->have_count > 0 ? &strays->have[strays->have_count - 1] : NULL;

	if (end != NULL && first <= end->last + 1) {
		end->last = last > end->last ? last : end->last;
		end->last_us = last_us;
		return GW_OK;
	}
	if (strays->have_count == strays->have_cap) {
		size_t cap = strays->have_cap > 0 ? strays->have_cap * 2 : 64;
		struct gw_stretch *bigger = realloc(strays->have, cap * sizeof(*bigger));

		if (bigger == NULL)
			return GW_E_MEMORY;
		strays->have = bigger;
		strays->have_cap = cap;
	}
	strays->have[strays->have_count++] = (struct gw_stretch){ first, last, first_us, last_us };
	return GW_OK;
}

void
gw_strays_free(struct gw_strays *strays)
{
	free(strays->at);
	free(strays->have);
	*strays = (struct gw_strays){ .known = false };
}

// ---- What the index says ----

static int
compare_wanted(const void *left, const void *right)
{
	const struct wanted *a = left, *b = right;

	if (a->entry.time != b->entry.time)
		return a->entry.time < b->entry.time ? -1 : 1;
	return (a->entry.device > b->entry.device) - (a->entry.device < b->entry.device);
}

struct vote {
	struct gw_strays *strays;
	struct wanted *wanted;
	size_t count, cap;
};

// A majority of those that say anything (Boyer and Moore); checked by whoever uses it: the place has to be free.
static void
cast(struct gw_stray *stray, uint64_t base)
{
	if (stray->votes == 0)
		stray->base = base;
	stray->votes += stray->base == base ? 1u : (uint32_t)-1;
}

// gw_pages_walk's `entry`
static bool
count_votes(void *arg, struct gw_span key, struct gw_span value)
{
	struct vote *vote = arg;
	struct wanted what = { .stray = 0 };
	size_t low = 0, high = vote->count;

	(void)value;
	if (key.len != GW_INDEX_KEY)
		return true;
	what.entry = gw_index_entry(key.at);
	while (low < high) {
		size_t middle = (low + high) / 2;

		if (compare_wanted(&vote->wanted[middle], &what) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	for (; low < vote->count && compare_wanted(&vote->wanted[low], &what) == 0; low++)
		if (what.entry.position > vote->wanted[low].place)
			cast(&vote->strays->at[vote->wanted[low].stray], what.entry.position - vote->wanted[low].place);
	return true;
}

static enum gw_error
want(struct vote *vote, uint32_t stray, uint32_t place, const struct gw_record *record)
{
	struct gw_batch batch;
	struct gw_reading reading;

	if (record->type != GW_RECORD_READINGS || gw_batch_open(record, &batch, NULL) != GW_OK || !gw_batch_next(&batch, &reading))
		return GW_OK;
	if (vote->count == vote->cap) {
		size_t cap = vote->cap > 0 ? vote->cap * 2 : 1024;
		struct wanted *bigger = realloc(vote->wanted, cap * sizeof(*bigger));

		if (bigger == NULL)
			return GW_E_MEMORY;
		vote->wanted = bigger;
		vote->cap = cap;
	}
	vote->wanted[vote->count++] = (struct wanted){ { gw_index_time(reading.time_us), gw_name_hash(batch.head.device), 0 }, stray, place };
	return GW_OK;
}

static enum gw_error
want_all(struct vote *vote, int fd, uint32_t i)
{
	const struct gw_stray *stray = &vote->strays->at[i];
	uint8_t *bytes = malloc(stray->len);
	struct gw_span rest = gw_span(bytes, stray->len);
	struct gw_record record;
	enum gw_error error = GW_OK;

	if (bytes == NULL)
		return GW_E_MEMORY;
	if (pread(fd, bytes, stray->len, (off_t)stray->offset) == (ssize_t)stray->len)
		for (uint32_t place = 0; error == GW_OK && next_whole(&rest, &record); place++)
			error = want(vote, i, place, &record);
	free(bytes);
	return error;
}

static enum gw_error
ask_index(struct gw_strays *strays, int fd)
{
	struct vote vote = { .strays = strays };
	const struct gw_pages_walk walk = { .table = "index", .entry = count_votes, .arg = &vote };
	struct gw_pages_seen seen;
	enum gw_error error = GW_OK;

	for (size_t i = 0; error == GW_OK && i < strays->count; i++)
		if (strays->at[i].last == 0)
			error = want_all(&vote, fd, (uint32_t)i);
	if (error == GW_OK && vote.count > 0) {
		qsort(vote.wanted, vote.count, sizeof(*vote.wanted), compare_wanted);
		error = gw_pages_walk(fd, &walk, &seen, NULL);
		error = error == GW_E_CORRUPT ? GW_OK : error; // no head: nobody votes
	}
	free(vote.wanted);
	return error;
}

// ---- Places ----

// The stretch of `have` after position; have_count: none.
static size_t
after(const struct gw_strays *strays, uint64_t position)
{
	size_t low = 0, high = strays->have_count;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (strays->have[middle].first <= position)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

// How many positions from `first` on are nobody's.
static uint64_t
room_at(const struct gw_strays *strays, uint64_t first)
{
	size_t next = after(strays, first);

	if (first == 0 || (next > 0 && strays->have[next - 1].last >= first))
		return 0;
	return next < strays->have_count ? strays->have[next].first - first : UINT64_MAX - first;
}

static int
compare_places(const void *left, const void *right)
{
	const struct gw_stray *a = left, *b = right;

	if ((a->last == 0) != (b->last == 0))
		return a->last == 0 ? 1 : -1; // those without a place come last, by time
	if (a->last == 0)
		return a->received_us != b->received_us ? (a->received_us > b->received_us) - (a->received_us < b->received_us) : (a->offset > b->offset) - (a->offset < b->offset);
	if (a->first != b->first)
		return a->first < b->first ? -1 : 1;
	return (a->len > b->len) - (a->len < b->len); // of two states the one in which readings were erased
}

#define TAIL_MAX 200000 // positions after all that are known, or before, that a seal may tell

// A checksum is linear in each bit of what it is over: of positions of 32 bits exactly one has this seal, and that follows from those of 0 and of each bit alone.
static uint64_t
position_of_seal(uint32_t seal, struct gw_span records)
{
	uint32_t seals[32] = { 0 }, zero = gw_block_seal_of(0, records), rest = seal ^ zero;
	uint64_t positions[32] = { 0 }, position = 0;

	for (unsigned bit = 0; bit < 32; bit++) {
		uint32_t one = gw_block_seal_of(UINT64_C(1) << bit, records) ^ zero;
		uint64_t of_one = UINT64_C(1) << bit;
		int i;

		for (i = 31; i >= 0 && ((one >> i & 1) == 0 || seals[i] != 0); i--)
			if ((one >> i & 1) != 0) {
				one ^= seals[i];
				of_one ^= positions[i];
			}
		if (i >= 0) {
			seals[i] = one;
			positions[i] = of_one;
		}
	}
	for (int i = 31; i >= 0; i--)
		if ((rest >> i & 1) != 0) {
			rest ^= seals[i];
			position ^= positions[i];
		}
	return rest == 0 ? position : 0;
}

// Also where another state of it is there: then this is the one from before readings were erased.
static enum gw_error
ask_seal(const struct gw_strays *strays, int fd, struct gw_stray *stray)
{
	const struct gw_stretch *have = strays->have;
	uint64_t least = strays->have_count > 0 && have[0].first > TAIL_MAX ? have[0].first - TAIL_MAX : 1;
	uint64_t most = strays->have_count > 0 ? have[strays->have_count - 1].last + TAIL_MAX : UINT32_MAX, last = 0;
	uint8_t *bytes = malloc(stray->len);

	if (bytes == NULL)
		return GW_E_MEMORY;
	if (pread(fd, bytes, stray->len, (off_t)stray->offset) == (ssize_t)stray->len)
		last = position_of_seal(stray->seal[0], gw_span(bytes, stray->len));
	if (last >= stray->count && last >= least && last <= most) {
		stray->first = last - stray->count + 1;
		stray->last = last;
	}
	free(bytes);
	return GW_OK;
}

static enum gw_error
ask_seals(struct gw_strays *strays, int fd)
{
	enum gw_error error = GW_OK;

	for (size_t i = 0; error == GW_OK && i < strays->count; i++)
		if (strays->at[i].last == 0 && strays->at[i].sealed)
			error = ask_seal(strays, fd, &strays->at[i]);
	return error;
}

// Those whose place is known by an entry, or by the index: it has to be free, and what lies behind a block's end is none of it.
static void
place_known(struct gw_strays *strays)
{
	uint64_t first = strays->have_count > 0 ? strays->have[0].first : 0;

	for (size_t i = 0; i < strays->count; i++) {
		struct gw_stray *stray = &strays->at[i];
		uint64_t room;

		if (stray->last == 0 && stray->base != 0 && stray->votes > 0) {
			stray->first = stray->base;
			stray->last = stray->base + stray->count - 1;
		}
		if (stray->last == 0)
			continue;
		room = room_at(strays, stray->first);
		if (room == 0 || ((!strays->known || !strays->head_lost) && stray->first < first)) // there already; or trimmed
			stray->count = 0;
		else if (room < stray->count && stray->keyed)
			stray->count = 0; // of another state
		else if (room < stray->count) {
			stray->count = (uint32_t)room;
			stray->last = stray->first + room - 1;
		}
	}
}

// Drops what is nothing, and where strays overlap what cannot be.
static void
tidy(struct gw_strays *strays)
{
	uint64_t end = 0;
	size_t kept = 0;

	if (strays->count > 0)
		qsort(strays->at, strays->count, sizeof(*strays->at), compare_places);
	for (size_t i = 0; i < strays->count; i++) {
		struct gw_stray stray = strays->at[i];

		if (stray.count == 0)
			continue;
		if (stray.last != 0 && stray.first <= end) {
			struct gw_stray *before = &strays->at[kept - 1];

			if (stray.first == before->first || stray.last <= end) // another state of the same
				continue;
			before->last = stray.first - 1; // what lay behind the end of its block
			before->count = (uint32_t)(stray.first - before->first);
		}
		end = stray.last != 0 ? stray.last : end;
		strays->at[kept++] = stray;
	}
	strays->count = kept;
}

// The gap after position `from`, in what trees lead to and in what has a place: how many are missing, and until when they were received.
static uint64_t
gap_after(const struct gw_strays *strays, size_t placed, uint64_t from, int64_t *until_us)
{
	size_t next = after(strays, from);
	uint64_t end = next < strays->have_count ? strays->have[next].first : 0;

	*until_us = next < strays->have_count ? strays->have[next].first_us : 0;
	for (size_t i = 0; i < placed; i++)
		if (strays->at[i].first > from && (end == 0 || strays->at[i].first < end)) {
			end = strays->at[i].first;
			*until_us = strays->at[i].received_us;
			break;
		}
	return end > from + 1 ? end - from - 1 : 0;
}

// Of those without a place: where a gap misses exactly as many as came in its time, they are it.
static void
fill_gap(struct gw_strays *strays, size_t placed, uint64_t from, int64_t from_us)
{
	int64_t until_us;
	uint64_t missing = gap_after(strays, placed, from, &until_us), found = 0;
	size_t begin = placed, end;

	while (begin < strays->count && (strays->at[begin].last != 0 || strays->at[begin].received_us < from_us))
		begin++;
	for (end = begin; end < strays->count && strays->at[end].last == 0 && strays->at[end].received_us <= until_us && found < missing; end++)
		found += strays->at[end].count;
	if (missing == 0 || found != missing)
		return;
	for (uint64_t position = from + 1; begin < end; begin++) {
		strays->at[begin].first = position;
		position += strays->at[begin].count;
		strays->at[begin].last = position - 1;
	}
}

enum gw_error
gw_strays_settle(struct gw_strays *strays, int fd, uint64_t *next, uint64_t *moved)
{
	size_t placed = 0;
	enum gw_error error;

	*moved = 0;
	if ((error = ask_seals(strays, fd)) != GW_OK || (error = ask_index(strays, fd)) != GW_OK)
		return error;
	place_known(strays);
	tidy(strays);
	while (placed < strays->count && strays->at[placed].last != 0)
		placed++;
	for (size_t i = 0; placed < strays->count && i < strays->have_count; i++)
		fill_gap(strays, placed, strays->have[i].last, strays->have[i].last_us);
	for (size_t i = 0; placed < strays->count && i < placed; i++)
		fill_gap(strays, placed, strays->at[i].last, strays->at[i].received_us);
	for (size_t i = 0; i < strays->count; i++)
		if (strays->at[i].last > 0 && strays->at[i].last >= *next)
			*next = strays->at[i].last + 1;
	for (size_t i = placed; i < strays->count; i++) {
		struct gw_stray *stray = &strays->at[i];

		// Where nobody knows what is free it may be what was trimmed long ago.
		if (stray->last == 0 && !strays->known && strays->have_count > 0 && stray->received_us < strays->have[0].first_us)
			stray->count = 0;
		if (stray->last != 0 || stray->count == 0)
			continue;
		stray->first = *next;
		stray->last = *next + stray->count - 1;
		*next = stray->last + 1;
		*moved += stray->count;
	}
	tidy(strays);
	return GW_OK;
}
