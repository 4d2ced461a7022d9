// SPDX-License-Identifier: Apache-2.0
// Refusals: counting, limits, and the thread that puts them on record. Whoever tells holds the lock for microseconds and leaves a copy in a ring; what finds no
// place there is left out like what is beyond a limit. The thread commits what is in the ring, and each minute what was left out.
#include "gateway/refusals.h"

#include "gateway/clock.h"
#include "gateway/diag.h"
#include "gateway/hash.h"
#include "gateway/utf8.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_US INT64_C(60000000)

enum {
	RING = 128,      // waiting to be written
	TOLD = 1024,     // on record in this minute, by hash: a collision leaves one out, never adds
	ADDRESSES = 256, // of which something was left out in this minute
	SPENT = 256,     // addresses that used some of a door's records, by hash
	ONE_BY_ONE = 16, // of them are told one by one
	DOORS = GW_DOOR_COMMAND + 1,
	BATCH = 16,
	PER_MIN = 60,
};

// What is kept of an attempt.
struct kept {
	int64_t us;
	uint8_t door, auth, protocol;
	uint16_t reason;
	struct gw_peer peer;
	uint8_t claimed_len, device_len, route_len, text_len;
	char claimed[GW_CLAIMED_MAX], device[GW_ID_MAX], route[GW_ROUTE_MAX], text[160];
};

struct left {
	uint64_t key; // door and address; 0: a free place
	uint32_t count;
	uint8_t door, auth, protocol;
	uint16_t reason;
	struct gw_peer peer;
	uint8_t claimed_len;
	char claimed[GW_CLAIMED_MAX];
};

struct gw_refusals {
	struct gw_intake *intake;
	struct gw_source source;     // the thread's
	pthread_t thread;
	pthread_mutex_t lock;        // guards all below
	pthread_cond_t wake;
	bool stopping;
	uint32_t limits[DOORS];      // records of a minute
	int64_t window_us;           // monotonic; when this minute began, 0: nothing yet
	uint32_t records[DOORS];
	uint64_t told[TOLD];
	struct { uint64_t key; uint32_t records; } spent[SPENT];
	struct left left[ADDRESSES];
	uint32_t others[DOORS], others_of[DOORS]; // left out beyond these, and of how many addresses
	struct kept ring[RING];
	uint32_t first, count;
	struct {
		uint64_t doors[DOORS], reasons[GW_REFUSED_COUNT], all, on_record, left_out;
		struct kept last;
	} counts;
};

// ---- Names ----

// Control characters, and those that turn the direction of what stands around them.
static bool
is_unfit(int32_t point)
{
	return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0xfeff || (point >= 0x200e && point <= 0x200f) || (point >= 0x2028 && point <= 0x202e) ||
	    (point >= 0x2066 && point <= 0x2069);
}

size_t
gw_claimed_clean(struct gw_span given, char *out, size_t cap)
{
	size_t at = 0, len = 0;

	while (at < given.len) {
		size_t from = at, bytes;
		int32_t point = gw_utf8_next(given, &at);

		if (is_unfit(point))
			at = point < 0 ? from + 1 : at;
		bytes = is_unfit(point) ? 1 : at - from;
		if (len + bytes > cap - 1)
			break;
		if (is_unfit(point))
			out[len] = '?';
		else
			memcpy(out + len, given.at + from, bytes);
		len += bytes;
	}
	out[len] = '\0';
	return len;
}

static uint8_t
copy(char *to, size_t cap, struct gw_span from)
{
	char clean[GW_ROUTE_MAX + 1];
	size_t len = gw_claimed_clean(from, clean, cap < sizeof(clean) - 1 ? cap + 1 : sizeof(clean));

	memcpy(to, clean, len);
	return (uint8_t)len;
}

static void
keep(struct kept *kept, const struct gw_attempt *a)
{
	kept->us = gw_clock_wall_us();
	kept->door = (uint8_t)a->door;
	kept->auth = (uint8_t)a->auth;
	kept->protocol = (uint8_t)a->protocol;
	kept->reason = (uint16_t)a->reason;
	kept->peer = a->peer;
	kept->claimed_len = copy(kept->claimed, sizeof(kept->claimed), a->claimed);
	kept->device_len = copy(kept->device, sizeof(kept->device), a->device);
	kept->route_len = copy(kept->route, sizeof(kept->route), a->route);
	kept->text_len = copy(kept->text, sizeof(kept->text), gw_span_text(a->text != NULL ? a->text : gw_refused_words(a->reason)));
}

static void
say(const struct kept *kept)
{
	static const char *const events[DOORS] = { [GW_DOOR_MQTT] = "mqtt.refused", [GW_DOOR_COAP] = "coap.refused", [GW_DOOR_HL7] = "hl7_in.refused",
		[GW_DOOR_COMMAND] = "control.refused" };
	static struct gw_diag_limit limits[DOORS];
	char peer[GW_PEER_TEXT];

	gw_diag_limited(&limits[kept->door], 1, GW_NOTICE, events[kept->door] != NULL ? events[kept->door] : "door.refused", "from=%s port=%u claimed=%.*s reason=%s: %.*s",
	    gw_peer_text(&kept->peer, peer), kept->peer.port, kept->claimed_len, kept->claimed, gw_refused_name(kept->reason), kept->text_len, kept->text);
}

// ---- Limits: under the lock ----

// All ports of an address, and all addresses of an IPv6 network of 64 bits, are one. Never 0.
static uint64_t
address_key(uint8_t door, const struct gw_peer *peer)
{
	return gw_hash_bytes(gw_hash_mix(door + 1u), gw_span(peer->address, peer->len == 16 ? 8 : peer->len)) | 1;
}

// Three quarters of a door's records, so that one who is loud does not hide the others.
static bool
may_spend(struct gw_refusals *r, uint8_t door, uint64_t key)
{
	size_t at = (size_t)(key >> 1) % SPENT;
	uint32_t limit = r->limits[door];

	if (r->records[door] >= limit)
		return false;
	if (r->spent[at].key != key) {
		r->spent[at].key = key;
		r->spent[at].records = 0;
	}
	if (r->spent[at].records >= limit - limit / 4)
		return false;
	r->spent[at].records++;
	r->records[door]++;
	return true;
}

static bool
may_record(struct gw_refusals *r, const struct kept *kept)
{
	uint64_t key = address_key(kept->door, &kept->peer);
	uint64_t hash = gw_hash_bytes(gw_hash_mix(key + kept->reason), gw_span(kept->claimed, kept->claimed_len)) | 1;

	if (r->told[hash % TOLD] == hash || r->count == RING || r->stopping || !may_spend(r, kept->door, key))
		return false;
	r->told[hash % TOLD] = hash;
	return true;
}

static void
leave_out(struct gw_refusals *r, const struct kept *kept, uint32_t count)
{
	uint64_t key = address_key(kept->door, &kept->peer);
	struct left *left = NULL;

	r->counts.left_out += count;
	for (size_t i = 0; i < ADDRESSES && left == NULL; i++) {
		struct left *at = &r->left[((size_t)(key >> 1) + i) % ADDRESSES];

		if (at->key == 0 || at->key == key)
			left = at;
	}
	if (left == NULL) {
		r->others[kept->door] += count;
		r->others_of[kept->door]++;
		return;
	}
	left->key = key;
	left->count += count;
	left->door = kept->door;
	left->auth = kept->auth;
	left->protocol = kept->protocol;
	left->reason = kept->reason;
	left->peer = kept->peer;
	left->peer.port = 0;
	left->claimed_len = kept->claimed_len;
	memcpy(left->claimed, kept->claimed, kept->claimed_len);
}

static void
count_it(struct gw_refusals *r, const struct kept *kept)
{
	r->counts.all++;
	r->counts.doors[kept->door]++;
	r->counts.reasons[kept->reason]++;
	r->counts.last = *kept;
	if (r->window_us == 0) {
		r->window_us = gw_clock_mono_us();
		pthread_cond_signal(&r->wake); // it waits for this minute's end from now on
	}
}

static bool
is_whole(const struct gw_attempt *a)
{
	return (unsigned)a->door < DOORS && (unsigned)a->reason < GW_REFUSED_COUNT;
}

void
gw_refusals_tell(struct gw_refusals *r, const struct gw_attempt *attempt)
{
	struct kept kept;

	if (!is_whole(attempt))
		return;
	keep(&kept, attempt);
	say(&kept);
	if (r == NULL)
		return;
	pthread_mutex_lock(&r->lock);
	count_it(r, &kept);
	if (may_record(r, &kept)) {
		r->ring[(r->first + r->count++) % RING] = kept;
		pthread_cond_signal(&r->wake);
	} else {
		leave_out(r, &kept, 1);
	}
	pthread_mutex_unlock(&r->lock);
}

void
gw_refusals_count(struct gw_refusals *r, const struct gw_attempt *attempt, bool on_record)
{
	struct kept kept;

	if (r == NULL || !is_whole(attempt))
		return;
	keep(&kept, attempt);
	pthread_mutex_lock(&r->lock);
	count_it(r, &kept);
	if (on_record)
		r->counts.on_record++;
	else
		leave_out(r, &kept, 1);
	pthread_mutex_unlock(&r->lock);
}

// ---- Writing: the thread ----

// The tickets are submitted; waits for them. A record that was not stored is left out after all.
static void
commit(struct gw_refusals *r, struct gw_ticket *first, uint32_t count, const struct kept *kept)
{
	struct pollfd back = { .fd = r->source.event_fd, .events = POLLIN };
	struct gw_ticket *ticket, *next;
	uint32_t at = 0;

	if (count == 0)
		return;
	gw_intake_submit_all(first);
	while (at < count) {
		(void)poll(&back, 1, 1000);
		for (ticket = gw_source_take(&r->source); ticket != NULL; ticket = next, at++) {
			next = ticket->next;
			pthread_mutex_lock(&r->lock);
			if (ticket->result == GW_OK)
				r->counts.on_record += kept != NULL;
			else if (kept != NULL)
				leave_out(r, &kept[ticket->tag[0]], 1);
			pthread_mutex_unlock(&r->lock);
			gw_ticket_release(ticket);
		}
	}
}

static bool
put(struct gw_refusals *r, const struct gw_event *event, uint64_t tag, struct gw_ticket ***end)
{
	struct gw_ticket *ticket = gw_ticket_get(&r->source);

	if (ticket == NULL)
		return false;
	ticket->tag[0] = tag;
	if (gw_ticket_event(ticket, GW_RECORD_DEVICE_EVENT, event) != GW_OK) {
		gw_ticket_release(ticket);
		return false;
	}
	ticket->next = NULL;
	**end = ticket;
	*end = &ticket->next;
	return true;
}

static void
write_some(struct gw_refusals *r, const struct kept *kept, uint32_t count)
{
	struct gw_ticket *first = NULL, **end = &first;
	uint32_t put_count = 0;

	for (uint32_t i = 0; i < count; i++) {
		const struct gw_span device = gw_span(kept[i].device, kept[i].device_len);
		const struct gw_event event = { .received_us = kept[i].us, .door = kept[i].door, .auth = kept[i].auth, .code = GW_EVENT_REFUSED_CREDENTIAL,
			.protocol = kept[i].protocol, .reason = kept[i].reason, .peer = kept[i].peer, .claimed = gw_span(kept[i].claimed, kept[i].claimed_len),
			.device = device, .principal = device, .route = gw_span(kept[i].route, kept[i].route_len), .text = gw_span(kept[i].text, kept[i].text_len) };

		put_count += put(r, &event, i, &end);
	}
	commit(r, first, put_count, kept);
}

static int
more_first(const void *a, const void *b)
{
	uint32_t x = ((const struct left *)a)->count, y = ((const struct left *)b)->count;

	return x < y ? 1 : x > y ? -1 : 0;
}

static bool
put_more(struct gw_refusals *r, const struct left *left, const char *of, struct gw_ticket ***end)
{
	char text[96];
	const struct gw_event event = { .received_us = gw_clock_wall_us(), .door = left->door, .auth = left->auth, .code = GW_EVENT_REFUSED_MORE,
		.protocol = left->protocol, .reason = left->reason, .more = left->count, .peer = left->peer, .claimed = gw_span(left->claimed, left->claimed_len),
		.text = { (const uint8_t *)text, (size_t)snprintf(text, sizeof(text), "and %u more of %s", left->count, of) } };

	return put(r, &event, 0, end);
}

// What this minute left out. left: sorted copies.
static void
write_more(struct gw_refusals *r, const struct left *left, size_t count, const uint32_t *others, const uint32_t *others_of)
{
	struct gw_ticket *first = NULL, **end = &first;
	uint32_t put_count = 0;
	char of[GW_PEER_TEXT];

	for (size_t i = 0; i < count && i < ONE_BY_ONE; i++)
		put_count += put_more(r, &left[i], left[i].peer.len > 0 ? gw_peer_text(&left[i].peer, of) : gw_door_name(left[i].door), &end);
	for (uint8_t door = 0; door < DOORS; door++) {
		struct left rest = { .door = door, .count = others[door] };
		uint32_t addresses = others_of[door];

		for (size_t i = ONE_BY_ONE; i < count; i++) {
			rest.count += left[i].door == door ? left[i].count : 0;
			addresses += left[i].door == door;
		}
		snprintf(of, sizeof(of), "%u other addresses", addresses);
		if (rest.count > 0)
			put_count += put_more(r, &rest, of, &end);
	}
	commit(r, first, put_count, NULL);
}

// The minute is over: takes what it left out, and begins anew. Under the lock, which is let go meanwhile.
static void
end_window(struct gw_refusals *r)
{
	struct left *left = malloc(sizeof(r->left));
	uint32_t others[DOORS], others_of[DOORS];
	size_t count = 0;

	if (left == NULL)
		return; // at the next look
	for (size_t i = 0; i < ADDRESSES; i++)
		if (r->left[i].key != 0)
			left[count++] = r->left[i];
	memcpy(others, r->others, sizeof(others));
	memcpy(others_of, r->others_of, sizeof(others_of));
	memset(r->left, 0, sizeof(r->left));
	memset(r->others, 0, sizeof(r->others));
	memset(r->others_of, 0, sizeof(r->others_of));
	memset(r->told, 0, sizeof(r->told));
	memset(r->spent, 0, sizeof(r->spent));
	memset(r->records, 0, sizeof(r->records));
	r->window_us = 0;
	pthread_mutex_unlock(&r->lock);
	qsort(left, count, sizeof(*left), more_first);
	write_more(r, left, count, others, others_of);
	free(left);
	pthread_mutex_lock(&r->lock);
}

static void
wait_for_some(struct gw_refusals *r)
{
	int64_t until_us = r->window_us + WINDOW_US;
	struct timespec until = { .tv_sec = until_us / 1000000, .tv_nsec = until_us % 1000000 * 1000 };

	if (r->window_us == 0)
		pthread_cond_wait(&r->wake, &r->lock);
	else
		(void)pthread_cond_timedwait(&r->wake, &r->lock, &until);
}

static void *
run(void *arg)
{
	struct gw_refusals *r = arg;
	struct kept batch[BATCH];
	uint32_t count;

	pthread_mutex_lock(&r->lock);
	while (!r->stopping || r->count > 0) {
		for (count = 0; count < BATCH && r->count > 0; count++, r->count--) {
			batch[count] = r->ring[r->first];
			r->first = (r->first + 1) % RING;
		}
		if (count > 0) {
			pthread_mutex_unlock(&r->lock);
			write_some(r, batch, count);
			pthread_mutex_lock(&r->lock);
		} else if (r->window_us != 0 && gw_clock_mono_us() - r->window_us >= WINDOW_US) {
			end_window(r);
		} else if (!r->stopping) {
			wait_for_some(r);
		}
	}
	end_window(r);
	pthread_mutex_unlock(&r->lock);
	return NULL;
}

// ---- Open, close, status ----

void
gw_refusals_limit(struct gw_refusals *r, enum gw_door door, uint32_t per_min)
{
	if (r == NULL || (unsigned)door >= DOORS)
		return;
	pthread_mutex_lock(&r->lock);
	r->limits[door] = per_min;
	pthread_mutex_unlock(&r->lock);
}

static void
fini(struct gw_refusals *r)
{
	if (r->source.intake != NULL)
		gw_source_fini(&r->source);
	pthread_cond_destroy(&r->wake);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

enum gw_error
gw_refusals_open(struct gw_intake *intake, struct gw_refusals **out, struct gw_why *why)
{
	struct gw_refusals *r = calloc(1, sizeof(*r));
	pthread_condattr_t attributes;
	enum gw_error error;

	*out = NULL;
	if (r == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	pthread_mutex_init(&r->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&r->wake, &attributes);
	pthread_condattr_destroy(&attributes);
	r->intake = intake;
	for (size_t i = 0; i < DOORS; i++)
		r->limits[i] = PER_MIN;
	if ((error = gw_source_init(&r->source, intake, ONE_BY_ONE + DOORS)) != GW_OK)
		error = gw_fail(why, error, "refusals: %s", gw_error_text(error));
	else if (pthread_create(&r->thread, NULL, run, r) != 0)
		error = gw_fail(why, GW_E_SYSTEM, "refusals: no thread");
	if (error != GW_OK) {
		fini(r);
		return error;
	}
	pthread_setname_np(r->thread, "vg-refusals");
	*out = r;
	return GW_OK;
}

void
gw_refusals_close(struct gw_refusals *r)
{
	if (r == NULL)
		return;
	pthread_mutex_lock(&r->lock);
	r->stopping = true;
	pthread_cond_signal(&r->wake);
	pthread_mutex_unlock(&r->lock);
	pthread_join(r->thread, NULL);
	fini(r);
}

static void
add_last(const struct kept *kept, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	yyjson_mut_val *last = yyjson_mut_obj_add_obj(doc, object, "last");
	char text[GW_PEER_TEXT];

	yyjson_mut_obj_add_strcpy(doc, last, "at", gw_time_format(kept->us, text));
	yyjson_mut_obj_add_str(doc, last, "protocol", gw_protocol_name(kept->protocol));
	yyjson_mut_obj_add_strcpy(doc, last, "from", gw_peer_text(&kept->peer, text));
	yyjson_mut_obj_add_strncpy(doc, last, "claimed", kept->claimed, kept->claimed_len);
	yyjson_mut_obj_add_str(doc, last, "reason", gw_refused_name(kept->reason));
}

void
gw_refusals_status(struct gw_refusals *r, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	yyjson_mut_val *doors, *reasons;

	if (r == NULL)
		return;
	pthread_mutex_lock(&r->lock);
	yyjson_mut_obj_add_uint(doc, object, "attempts", r->counts.all);
	yyjson_mut_obj_add_uint(doc, object, "on_record", r->counts.on_record);
	yyjson_mut_obj_add_uint(doc, object, "left_out", r->counts.left_out);
	doors = yyjson_mut_obj_add_obj(doc, object, "by_door");
	for (int door = 0; door < DOORS; door++)
		if (r->counts.doors[door] != 0)
			yyjson_mut_obj_add_uint(doc, doors, gw_door_name(door), r->counts.doors[door]);
	reasons = yyjson_mut_obj_add_obj(doc, object, "by_reason");
	for (int reason = 0; reason < GW_REFUSED_COUNT; reason++)
		if (r->counts.reasons[reason] != 0)
			yyjson_mut_obj_add_uint(doc, reasons, gw_refused_name(reason), r->counts.reasons[reason]);
	if (r->counts.all != 0)
		add_last(&r->counts.last, doc, object);
	pthread_mutex_unlock(&r->lock);
}
