// SPDX-License-Identifier: Apache-2.0
// Session state: identifiers, the ring of recent messages, subscriptions. Small arrays, searched in order: their limits are small.
#include "adapters/mqtt/session.h"

#include <stdlib.h>

static struct gw_span
copy(struct gw_span text)
{
	char *at = malloc(text.len + 1);

	if (at == NULL)
		return gw_span(NULL, 0);
	if (text.len > 0)
		memcpy(at, text.at, text.len);
	at[text.len] = '\0';
	return gw_span(at, text.len);
}

struct gw_mqtt_session *
gw_mqtt_session_new(struct gw_span principal, struct gw_span client_id)
{
	struct gw_mqtt_session *session = calloc(1, sizeof(*session));

	if (session == NULL)
		return NULL;
	session->principal = copy(principal);
	session->client_id = copy(client_id);
	if (session->principal.at == NULL || session->client_id.at == NULL) {
		gw_mqtt_session_free(session);
		return NULL;
	}
	return session;
}

void
gw_mqtt_session_clear(struct gw_mqtt_session *session)
{
	for (unsigned i = 0; i < session->subscription_count; i++)
		free((void *)session->subscriptions[i].filter.at);
	free(session->subscriptions);
	free(session->qos2);
	free(session->recent);
	session->subscriptions = NULL;
	session->qos2 = NULL;
	session->recent = NULL;
	session->subscription_count = session->qos2_count = session->qos2_cap = session->qos2_old = 0;
}

void
gw_mqtt_session_free(struct gw_mqtt_session *session)
{
	if (session == NULL)
		return;
	gw_mqtt_session_clear(session);
	free((void *)session->principal.at);
	free((void *)session->client_id.at);
	free(session);
}

// ---- QoS 2 identifiers ----

static struct gw_mqtt_qos2 *
find_held(const struct gw_mqtt_session *session, uint16_t id)
{
	for (unsigned i = 0; i < session->qos2_count; i++)
		if (session->qos2[i].id == id)
			return &session->qos2[i];
	return NULL;
}

enum gw_mqtt_held
gw_mqtt_session_held(const struct gw_mqtt_session *session, uint16_t id)
{
	const struct gw_mqtt_qos2 *held = find_held(session, id);

	return held != NULL ? (enum gw_mqtt_held)held->state : GW_MQTT_HELD_NOT;
}

static bool
grow_held(struct gw_mqtt_session *session)
{
	unsigned cap = session->qos2_cap == 0 ? 8 : 2u * session->qos2_cap;
	struct gw_mqtt_qos2 *grown = cap > UINT16_MAX ? NULL : realloc(session->qos2, cap * sizeof(*grown));

	if (grown == NULL)
		return false;
	session->qos2 = grown;
	session->qos2_cap = (uint16_t)cap;
	return true;
}

enum gw_error
gw_mqtt_session_hold(struct gw_mqtt_session *session, uint16_t id, enum gw_mqtt_held state)
{
	struct gw_mqtt_qos2 *held = find_held(session, id);

	if (state == GW_MQTT_HELD_NOT) {
		if (held == NULL)
			return GW_OK;
		session->qos2_old -= held->old;
		*held = session->qos2[--session->qos2_count];
		return GW_OK;
	}
	if (held == NULL) {
		if (session->qos2_count == session->qos2_cap && !grow_held(session))
			return GW_E_MEMORY;
		held = &session->qos2[session->qos2_count++];
		*held = (struct gw_mqtt_qos2){ .id = id };
	}
	held->state = (uint8_t)state;
	return GW_OK;
}

void
gw_mqtt_session_begin(struct gw_mqtt_session *session)
{
	for (unsigned i = 0; i < session->qos2_count; i++)
		session->qos2[i].old = true;
	session->qos2_old = session->qos2_count;
}

uint64_t
gw_mqtt_session_held_hash(const struct gw_mqtt_session *session, uint16_t id)
{
	const struct gw_mqtt_qos2 *held = find_held(session, id);

	return held != NULL ? held->hash : 0;
}

void
gw_mqtt_session_set_hash(struct gw_mqtt_session *session, uint16_t id, uint64_t hash)
{
	struct gw_mqtt_qos2 *held = find_held(session, id);

	if (held != NULL)
		held->hash = hash;
}

// ---- Recent QoS 1 messages ----

bool
gw_mqtt_session_knows(const struct gw_mqtt_session *session, uint16_t id, uint64_t hash)
{
	const struct gw_mqtt_recent *recent = session->recent != NULL ? &session->recent[id % session->recent_slots] : NULL;

	return recent != NULL && recent->id == id && recent->hash == hash;
}

void
gw_mqtt_session_remember(struct gw_mqtt_session *session, uint16_t id, uint64_t hash, uint16_t slots)
{
	if (session->recent == NULL) {
		session->recent = calloc(slots, sizeof(*session->recent));
		session->recent_slots = slots;
	}
	if (session->recent == NULL)
		return; // only a redelivery within this session would have needed it
	session->recent[id % session->recent_slots] = (struct gw_mqtt_recent){ hash, id };
}

static uint64_t
mix(uint64_t h, struct gw_span bytes)
{
	const uint8_t *at = bytes.at;
	size_t left = bytes.len;
	uint64_t word;

	for (; left >= 8; at += 8, left -= 8) {
		memcpy(&word, at, 8);
		h = (h ^ word) * UINT64_C(0x9FB21C651E98DF25);
		h ^= h >> 32;
	}
	word = bytes.len;
	for (; left > 0; left--)
		word = word << 8 | *at++;
	h = (h ^ word) * UINT64_C(0x9FB21C651E98DF25);
	return h ^ h >> 29;
}

uint64_t
gw_mqtt_content_hash(struct gw_span topic, struct gw_span payload)
{
	uint64_t hash = mix(mix(UINT64_C(0x243F6A8885A308D3), topic), payload);

	return hash != 0 ? hash : 1;
}

// ---- Subscriptions ----

static struct gw_mqtt_subscription *
find_subscription(const struct gw_mqtt_session *session, struct gw_span filter)
{
	for (unsigned i = 0; i < session->subscription_count; i++)
		if (gw_span_equal(session->subscriptions[i].filter, filter))
			return &session->subscriptions[i];
	return NULL;
}

enum gw_error
gw_mqtt_session_subscribe(struct gw_mqtt_session *session, struct gw_span filter, uint8_t options, unsigned max)
{
	struct gw_mqtt_subscription *subscription = find_subscription(session, filter), *grown;
	struct gw_span kept;

	if (subscription != NULL) {
		subscription->options = options;
		return GW_OK;
	}
	if (session->subscription_count >= max)
		return GW_E_QUOTA;
	grown = realloc(session->subscriptions, (session->subscription_count + 1u) * sizeof(*grown));
	if (grown == NULL)
		return GW_E_MEMORY;
	session->subscriptions = grown;
	kept = copy(filter);
	if (kept.at == NULL)
		return GW_E_MEMORY;
	grown[session->subscription_count++] = (struct gw_mqtt_subscription){ options, kept };
	return GW_OK;
}

bool
gw_mqtt_session_unsubscribe(struct gw_mqtt_session *session, struct gw_span filter)
{
	struct gw_mqtt_subscription *subscription = find_subscription(session, filter);

	if (subscription == NULL)
		return false;
	free((void *)subscription->filter.at);
	*subscription = session->subscriptions[--session->subscription_count];
	return true;
}

// ---- The row ----

enum { ROW_VERSION = 1 };

struct out {
	uint8_t *at;
	size_t cap, len;
};

static void
put_number(struct out *o, uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++, o->len++)
		if (o->len < o->cap)
			o->at[o->len] = (uint8_t)(value >> (8 * i));
}

static void
put_text(struct out *o, struct gw_span text)
{
	put_number(o, text.len, 2);
	if (o->len + text.len <= o->cap && text.len > 0)
		memcpy(o->at + o->len, text.at, text.len);
	o->len += text.len;
}

size_t
gw_mqtt_session_encode(const struct gw_mqtt_session *session, uint8_t *out, size_t cap)
{
	struct out o = { out, cap, 0 };

	put_number(&o, ROW_VERSION, 1);
	put_number(&o, session->expiry_s, 4);
	put_number(&o, (uint64_t)session->ended_us, 8);
	put_text(&o, session->principal);
	put_text(&o, session->client_id);
	put_number(&o, session->subscription_count, 2);
	for (unsigned i = 0; i < session->subscription_count; i++) {
		put_number(&o, session->subscriptions[i].options, 1);
		put_text(&o, session->subscriptions[i].filter);
	}
	return o.len;
}

static uint64_t
get_number(struct gw_span *in, unsigned bytes, bool *bad)
{
	uint64_t value = 0;

	if (in->len < bytes) {
		*bad = true;
		return 0;
	}
	for (unsigned i = 0; i < bytes; i++)
		value |= (uint64_t)in->at[i] << (8 * i);
	*in = gw_span(in->at + bytes, in->len - bytes);
	return value;
}

static struct gw_span
get_text(struct gw_span *in, bool *bad)
{
	size_t len = (size_t)get_number(in, 2, bad);
	struct gw_span text = { in->at, len };

	if (in->len < len) {
		*bad = true;
		return gw_span(in->at, 0);
	}
	*in = gw_span(in->at + len, in->len - len);
	return text;
}

static bool
decode_subscriptions(struct gw_mqtt_session *session, struct gw_span *in)
{
	bool bad = false;
	uint64_t count = get_number(in, 2, &bad);

	for (uint64_t i = 0; i < count && !bad; i++) {
		uint8_t options = (uint8_t)get_number(in, 1, &bad);
		struct gw_span filter = get_text(in, &bad);

		if (!bad && gw_mqtt_session_subscribe(session, filter, options, UINT16_MAX) != GW_OK)
			return false;
	}
	return !bad && in->len == 0;
}

struct gw_mqtt_session *
gw_mqtt_session_decode(struct gw_span row)
{
	struct gw_mqtt_session *session;
	bool bad = false;
	uint64_t version = get_number(&row, 1, &bad);
	uint32_t expiry_s = (uint32_t)get_number(&row, 4, &bad);
	int64_t ended_us = (int64_t)get_number(&row, 8, &bad);
	struct gw_span principal = get_text(&row, &bad), client_id = get_text(&row, &bad);

	if (bad || version != ROW_VERSION || principal.len == 0)
		return NULL;
	session = gw_mqtt_session_new(principal, client_id);
	if (session == NULL)
		return NULL;
	session->expiry_s = expiry_s;
	session->ended_us = ended_us;
	session->durable = session->stored = true;
	if (!decode_subscriptions(session, &row)) {
		gw_mqtt_session_free(session);
		return NULL;
	}
	return session;
}
