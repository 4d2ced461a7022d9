// SPDX-License-Identifier: Apache-2.0
// The table of sessions: a hash table under one lock. Called when connections begin and end, by any of the adapter's threads.
#include "adapters/mqtt/sessions.h"

#include "gateway/bytes.h"
#include "gateway/clock.h"
#include "gateway/crowd.h"
#include "gateway/diag.h"

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define SECOND_US INT64_C(1000000)

struct gw_mqtt_sessions {
	struct gw_mqtt_sessions_options options;
	pthread_mutex_t lock;
	struct gw_mqtt_session **slots, **principals;
	size_t mask;
	uint32_t lasting, all;
	struct gw_crowd connected; // principals, as often as they own a session
	size_t sweep; // slot where the next search for expired ones begins
	struct gw_mqtt_will *wills;
};

// ---- Rows ----

enum { ROW_KEY_MAX = 80, ID_ROW = 9 };

// One table's key: with an identifier, with none, or the prefix of all identifiers.
static struct gw_span
session_key(char buf[ROW_KEY_MAX], const struct gw_mqtt_session *session)
{
	return gw_span(buf, (size_t)snprintf(buf, ROW_KEY_MAX, "mqtt/session/%s", session->key));
}

static struct gw_span
ids_key(char buf[ROW_KEY_MAX], const struct gw_mqtt_session *session)
{
	return gw_span(buf, (size_t)snprintf(buf, ROW_KEY_MAX, "mqtt/qos2/%s/", session->key));
}

static struct gw_span
id_key(char buf[ROW_KEY_MAX], const struct gw_mqtt_session *session, uint16_t id)
{
	return gw_span(buf, (size_t)snprintf(buf, ROW_KEY_MAX, "mqtt/qos2/%s/%05u", session->key, id));
}

enum gw_error
gw_mqtt_session_put(struct gw_ticket *ticket, const struct gw_mqtt_session *session)
{
	char key[ROW_KEY_MAX];
	size_t len = gw_mqtt_session_encode(session, NULL, 0);
	uint8_t *row = malloc(len);
	enum gw_error error;

	if (row == NULL)
		return GW_E_MEMORY;
	gw_mqtt_session_encode(session, row, len);
	error = gw_ticket_put(ticket, session_key(key, session), gw_span(row, len));
	free(row);
	return error;
}

enum gw_error
gw_mqtt_session_drop_ids(struct gw_ticket *ticket, const struct gw_mqtt_session *session)
{
	char key[ROW_KEY_MAX];

	return gw_ticket_del_prefix(ticket, ids_key(key, session));
}

enum gw_error
gw_mqtt_session_drop(struct gw_ticket *ticket, const struct gw_mqtt_session *session)
{
	char key[ROW_KEY_MAX];
	enum gw_error error = gw_ticket_del(ticket, session_key(key, session));

	return error != GW_OK ? error : gw_mqtt_session_drop_ids(ticket, session);
}

enum gw_error
gw_mqtt_session_put_id(struct gw_ticket *ticket, const struct gw_mqtt_session *session, uint16_t id)
{
	char key[ROW_KEY_MAX];
	uint8_t row[ID_ROW] = { 2 };
	uint64_t hash = gw_mqtt_session_held_hash(session, id);

	gw_put64(row + 1, hash);
	return gw_ticket_put(ticket, id_key(key, session, id), hash != 0 ? gw_span(row, sizeof(row)) : gw_span("\1", 1));
}

enum gw_error
gw_mqtt_session_drop_id(struct gw_ticket *ticket, const struct gw_mqtt_session *session, uint16_t id)
{
	char key[ROW_KEY_MAX];

	return gw_ticket_del(ticket, id_key(key, session, id));
}

// ---- The table ----

static void
name_session(struct gw_mqtt_session *session)
{
	crypto_generichash_state state;
	uint8_t digest[GW_MQTT_SESSION_KEY / 2];

	crypto_generichash_init(&state, NULL, 0, sizeof(digest));
	crypto_generichash_update(&state, session->principal.at, session->principal.len + 1); // with its terminator
	crypto_generichash_update(&state, session->client_id.at, session->client_id.len);
	crypto_generichash_final(&state, digest, sizeof(digest));
	sodium_bin2hex(session->key, sizeof(session->key), digest, sizeof(digest));
	memcpy(&session->hash, digest, sizeof(session->hash));
}

static struct gw_mqtt_session **
principal_slot(struct gw_mqtt_sessions *table, struct gw_span principal)
{
	return &table->principals[gw_name_hash(principal) & table->mask];
}

// Lasting sessions are counted, and found by their principal.
static void
set_durable(struct gw_mqtt_sessions *table, struct gw_mqtt_session *session, bool durable)
{
	struct gw_mqtt_session **at = principal_slot(table, session->principal);

	if (durable == session->durable)
		return;
	session->durable = durable;
	if (durable) {
		session->same_next = *at;
		*at = session;
		table->lasting++;
		return;
	}
	while (*at != session)
		at = &(*at)->same_next;
	*at = session->same_next;
	table->lasting--;
}

static void
insert(struct gw_mqtt_sessions *table, struct gw_mqtt_session *session, bool durable)
{
	struct gw_mqtt_session **slot = &table->slots[session->hash & table->mask];

	session->next = *slot;
	*slot = session;
	table->all++;
	session->durable = false;
	set_durable(table, session, durable);
}

static void
take_out(struct gw_mqtt_sessions *table, struct gw_mqtt_session *session)
{
	struct gw_mqtt_session **slot = &table->slots[session->hash & table->mask];

	while (*slot != session)
		slot = &(*slot)->next;
	*slot = session->next;
	table->all--;
	set_durable(table, session, false);
}

static struct gw_mqtt_session *
find(struct gw_mqtt_sessions *table, const char key[GW_MQTT_SESSION_KEY + 1], uint64_t hash)
{
	struct gw_mqtt_session *session = table->slots[hash & table->mask];

	while (session != NULL && memcmp(session->key, key, GW_MQTT_SESSION_KEY) != 0)
		session = session->next;
	return session;
}

static bool
load_session(void *arg, struct gw_span key, struct gw_span value)
{
	struct gw_mqtt_sessions *table = arg;
	struct gw_mqtt_session *session = gw_mqtt_session_decode(value);

	if (session == NULL) {
		gw_diag(GW_WARNING, "mqtt.session_row", "row %.*s is left out: damaged or of a newer version", GW_SPAN_FMT(key));
		return true;
	}
	if (session->ended_us == 0) // it was connected when the gateway ended
		session->ended_us = gw_clock_wall_us();
	name_session(session);
	insert(table, session, true);
	return true;
}

static bool
load_id(void *arg, struct gw_span key, struct gw_span value)
{
	static const size_t prefix = sizeof("mqtt/qos2/") - 1;
	struct gw_mqtt_sessions *table = arg;
	struct gw_mqtt_session *session;
	char name[GW_MQTT_SESSION_KEY + 1], id[6];
	uint64_t hash;

	if (key.len != prefix + GW_MQTT_SESSION_KEY + 6)
		return true;
	memcpy(name, key.at + prefix, GW_MQTT_SESSION_KEY);
	name[GW_MQTT_SESSION_KEY] = '\0';
	memcpy(id, key.at + prefix + GW_MQTT_SESSION_KEY + 1, 5);
	id[5] = '\0';
	if (sodium_hex2bin((uint8_t *)&hash, sizeof(hash), name, 16, NULL, NULL, NULL) != 0)
		return true;
	session = find(table, name, hash);
	if (session != NULL && gw_mqtt_session_hold(session, (uint16_t)atoi(id), GW_MQTT_HELD_COMMITTED) == GW_OK &&
	    value.len == ID_ROW && value.at[0] == 2)
		gw_mqtt_session_set_hash(session, (uint16_t)atoi(id), gw_get64(value.at + 1));
	return true;
}

enum gw_error
gw_mqtt_sessions_open(const struct gw_mqtt_sessions_options *options, struct gw_journal *journal, struct gw_mqtt_sessions **out, struct gw_why *why)
{
	struct gw_mqtt_sessions *table = calloc(1, sizeof(*table));
	size_t slots = 1024;
	enum gw_error error = GW_OK;

	*out = NULL;
	if (table == NULL || sodium_init() < 0)
		goto fail;
	while (slots < options->sessions_max)
		slots *= 2;
	table->options = *options;
	table->mask = slots - 1;
	table->slots = calloc(slots, sizeof(*table->slots));
	table->principals = calloc(slots, sizeof(*table->principals));
	if (table->slots == NULL || table->principals == NULL || !gw_crowd_init(&table->connected, slots))
		goto fail;
	pthread_mutex_init(&table->lock, NULL);
	error = gw_journal_each(journal, gw_span_text("mqtt/session/"), gw_span(NULL, 0), load_session, table);
	if (error == GW_OK)
		error = gw_journal_each(journal, gw_span_text("mqtt/qos2/"), gw_span(NULL, 0), load_id, table);
	if (error != GW_OK) {
		gw_mqtt_sessions_close(table);
		return gw_fail(why, error, "cannot read the MQTT sessions: %s", gw_error_text(error));
	}
	*out = table;
	return GW_OK;
fail:
	if (table != NULL) {
		gw_crowd_fini(&table->connected);
		free(table->slots);
		free(table->principals);
	}
	free(table);
	return gw_fail(why, GW_E_MEMORY, "out of memory");
}

void
gw_mqtt_sessions_close(struct gw_mqtt_sessions *table)
{
	struct gw_mqtt_will *will;

	if (table == NULL)
		return;
	for (size_t i = 0; i <= table->mask; i++) {
		while (table->slots[i] != NULL) {
			struct gw_mqtt_session *session = table->slots[i];

			table->slots[i] = session->next;
			gw_mqtt_session_free(session);
		}
	}
	while ((will = table->wills) != NULL) {
		table->wills = will->next;
		free(will);
	}
	pthread_mutex_destroy(&table->lock);
	gw_crowd_fini(&table->connected);
	free(table->slots);
	free(table->principals);
	free(table);
}

uint32_t
gw_mqtt_sessions_count(struct gw_mqtt_sessions *table)
{
	uint32_t count;

	pthread_mutex_lock(&table->lock);
	count = table->all;
	pthread_mutex_unlock(&table->lock);
	return count;
}

// ---- Beginning ----

// A will that waits for its session to end is not due any more when the session goes on (section 3.1.3.2.2).
static void
cancel_wills(struct gw_mqtt_sessions *table, const struct gw_mqtt_session *session, bool goes_on)
{
	struct gw_mqtt_will **at = &table->wills;

	while (*at != NULL) {
		struct gw_mqtt_will *will = *at;

		if (will->session != session) {
			at = &will->next;
		} else if (goes_on) {
			*at = will->next;
			free(will);
		} else {
			will->session = NULL;
			will->due_us = 0;
			at = &will->next;
		}
	}
}

static bool
has_expired(const struct gw_mqtt_session *session, int64_t wall_us)
{
	return session->owner == NULL && session->expiry_s != UINT32_MAX && session->ended_us != 0 &&
	    wall_us >= session->ended_us + (int64_t)session->expiry_s * SECOND_US;
}

// Makes room for one more of this principal: its oldest one expires now, and goes at the next sweep.
static void
limit_principal(struct gw_mqtt_sessions *table, struct gw_span principal)
{
	struct gw_mqtt_session *oldest = NULL, *session = *principal_slot(table, principal);
	unsigned count = 0;

	for (; session != NULL; session = session->same_next) {
		if (!gw_span_equal(session->principal, principal) || session->expiry_s == 0)
			continue;
		count++;
		if (session->owner == NULL && (oldest == NULL || session->ended_us < oldest->ended_us))
			oldest = session;
	}
	if (count >= table->options.sessions_of_one && oldest != NULL)
		oldest->expiry_s = 0;
}

// An existing session, free to be had.
static void
take_existing(struct gw_mqtt_sessions *table, struct gw_mqtt_session *session, struct gw_mqtt_claim *claim)
{
	claim->present = !claim->clean && !has_expired(session, gw_clock_wall_us());
	cancel_wills(table, session, claim->present);
	if (!claim->present) {
		session->purge = session->purge || session->stored;
		gw_mqtt_session_clear(session);
	}
	gw_mqtt_session_begin(session);
	set_durable(table, session, claim->expiry_s != 0);
}

static enum gw_error
claim_locked(struct gw_mqtt_sessions *table, struct gw_mqtt_claim *claim, void (*take_over)(void *owner), struct gw_mqtt_session *fresh,
    struct gw_mqtt_session **out)
{
	struct gw_mqtt_session *session = find(table, fresh->key, fresh->hash);

	*out = NULL;
	if (session != NULL && session->owner != NULL) {
		take_over(session->owner);
		session->wanted = true;
		return GW_E_BUSY;
	}
	claim->crowded = gw_crowd_count(&table->connected, claim->principal) >= table->options.connections_of_one;
	if (claim->crowded)
		return GW_E_QUOTA;
	if (claim->expiry_s != 0 && (session == NULL || !session->durable) && table->lasting >= table->options.sessions_max)
		return GW_E_QUOTA;
	if (claim->expiry_s != 0 && (session == NULL || !session->durable))
		limit_principal(table, claim->principal);
	if (gw_crowd_join(&table->connected, claim->principal) != GW_OK)
		return GW_E_MEMORY;
	if (session != NULL) {
		take_existing(table, session, claim);
	} else {
		session = fresh;
		insert(table, session, claim->expiry_s != 0);
	}
	session->owner = claim->owner;
	session->wanted = false;
	session->ended_us = 0;
	session->expiry_s = claim->expiry_s;
	*out = session;
	return GW_OK;
}

enum gw_error
gw_mqtt_sessions_claim(struct gw_mqtt_sessions *table, struct gw_mqtt_claim *claim, void (*take_over)(void *owner), struct gw_mqtt_session **out)
{
	struct gw_mqtt_session *fresh = gw_mqtt_session_new(claim->principal, claim->client_id);
	enum gw_error error;

	*out = NULL;
	claim->present = false;
	if (fresh == NULL)
		return GW_E_MEMORY;
	name_session(fresh);
	pthread_mutex_lock(&table->lock);
	error = claim_locked(table, claim, take_over, fresh, out);
	pthread_mutex_unlock(&table->lock);
	if (*out != fresh)
		gw_mqtt_session_free(fresh);
	return error;
}

// ---- Ending ----

static void
wake(struct gw_mqtt_sessions *table)
{
	uint64_t one = 1;

	(void)!write(table->options.wake_fd, &one, sizeof(one));
}

// Section 3.1.3.2.2: after the delay, or when the session ends if that is sooner.
static void
keep_will(struct gw_mqtt_sessions *table, struct gw_mqtt_session *session, struct gw_mqtt_will *will)
{
	uint32_t delay_s = will->delay_s;

	if (session == NULL || !session->durable)
		delay_s = 0;
	else if (session->expiry_s < delay_s)
		delay_s = session->expiry_s;
	will->session = delay_s > 0 ? session : NULL; // one without a delay is sent even if the session goes on
	will->due_us = gw_clock_mono_us() + delay_s * SECOND_US;
	will->next = table->wills;
	table->wills = will;
}

void
gw_mqtt_sessions_release(struct gw_mqtt_sessions *table, struct gw_mqtt_session *session, struct gw_mqtt_will *will)
{
	bool waits, gone;

	pthread_mutex_lock(&table->lock);
	if (session->durable && session->expiry_s == 0)
		set_durable(table, session, false); // so said in DISCONNECT
	if (will != NULL)
		keep_will(table, session, will);
	waits = session->wanted || will != NULL;
	gw_crowd_leave(&table->connected, session->principal);
	session->owner = NULL;
	session->wanted = false;
	// One that has rows stays until they are deleted (gw_mqtt_sessions_expire).
	gone = !session->durable && !session->stored;
	if (session->ended_us == 0)
		session->ended_us = gw_clock_wall_us();
	if (gone) {
		cancel_wills(table, session, false);
		take_out(table, session);
	}
	pthread_mutex_unlock(&table->lock);
	if (gone)
		gw_mqtt_session_free(session);
	if (waits)
		wake(table);
}

void
gw_mqtt_sessions_leave_will(struct gw_mqtt_sessions *table, struct gw_mqtt_will *will)
{
	pthread_mutex_lock(&table->lock);
	will->next = table->wills;
	table->wills = will;
	pthread_mutex_unlock(&table->lock);
}

// ---- Housekeeping ----

struct gw_mqtt_will *
gw_mqtt_sessions_wills(struct gw_mqtt_sessions *table, int64_t now_us)
{
	struct gw_mqtt_will *due = NULL, **at;

	pthread_mutex_lock(&table->lock);
	for (at = &table->wills; *at != NULL;) {
		struct gw_mqtt_will *will = *at;

		if (will->due_us > now_us) {
			at = &will->next;
			continue;
		}
		*at = will->next;
		will->next = due;
		due = will;
	}
	pthread_mutex_unlock(&table->lock);
	return due;
}

// Deletes the expired ones of one slot; their rows go with the ticket.
static unsigned
expire_slot(struct gw_mqtt_sessions *table, size_t slot, int64_t wall_us, struct gw_ticket *ticket)
{
	struct gw_mqtt_session *session = table->slots[slot], *next;
	unsigned count = 0;

	for (; session != NULL; session = next) {
		next = session->next;
		if (!has_expired(session, wall_us))
			continue;
		if (session->stored && gw_mqtt_session_drop(ticket, session) != GW_OK)
			continue; // no room on this ticket: at the next sweep
		cancel_wills(table, session, false);
		take_out(table, session);
		gw_mqtt_session_free(session);
		count++;
	}
	return count;
}

unsigned
gw_mqtt_sessions_expire(struct gw_mqtt_sessions *table, int64_t wall_us, struct gw_ticket *ticket, unsigned most)
{
	size_t slots = table->mask + 1, piece = slots / 16 + 1; // all of it in 16 calls
	unsigned count = 0;

	pthread_mutex_lock(&table->lock);
	for (size_t i = 0; i < piece && count < most; i++) {
		count += expire_slot(table, table->sweep, wall_us, ticket);
		table->sweep = (table->sweep + 1) & table->mask;
	}
	pthread_mutex_unlock(&table->lock);
	return count;
}
