// SPDX-License-Identifier: Apache-2.0
// Who is at the other end: the principal is what the handshake proved, looked up once per handshake and again when the registry changed.
// The adapter's thread. A session is never closed inside of libcoap's calls: it is marked, and closed at the end of the turn.
#include "adapters/coap/coap.h"

#include "gateway/crowd.h"

#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>

#include <sodium.h>
#include <stdlib.h>

static struct gw_coap *
coap_of(const coap_session_t *session)
{
	return coap_context_get_app_data(coap_session_get_context(session));
}

const struct gw_snapshot *
gw_coap_snapshot(struct gw_coap *coap)
{
	uint64_t generation = gw_registry_generation(coap->core->registry);

	if (coap->snapshot == NULL || coap->generation != generation) {
		if (coap->snapshot != NULL)
			gw_snapshot_put(coap->snapshot);
		coap->snapshot = gw_snapshot_get(coap->core->registry);
		coap->generation = gw_snapshot_generation(coap->snapshot);
	}
	return coap->snapshot;
}

// ---- refusals ----

static void
record_refusal(struct gw_coap *coap, const coap_session_t *session, enum gw_auth auth, enum gw_refused why, struct gw_span name, const char *device)
{
	const struct gw_attempt attempt = { .door = GW_DOOR_COAP, .auth = auth, .reason = why, .claimed = name, .device = gw_span_text(device),
		.protocol = coap_session_get_proto(session) == COAP_PROTO_UDP ? GW_PROTOCOL_COAP : GW_PROTOCOL_COAPS,
		.peer = gw_peer_of(&coap_session_get_addr_remote(session)->addr.sa) };

	gw_coap_add(&coap->counts.refused, 1);
	gw_refusals_tell(coap->core->refusals, &attempt);
}

// The principal becomes what was proved only when the handshake ends.
void
gw_coap_claim(coap_session_t *session, enum gw_auth auth, struct gw_span name, enum gw_refused doubt)
{
	struct gw_coap_session *state = coap_session_get_app_data(session);

	if (state == NULL || state->known)
		return;
	state->auth = (uint8_t)auth;
	state->doubt = (uint8_t)doubt;
	if (state->held != NULL)
		state->held->resumed = false; // a whole handshake, or resume.c says so next
	(void)gw_claimed_clean(name, state->principal, sizeof(state->principal));
}

// ---- credentials ----

const coap_bin_const_t *
gw_coap_psk(coap_bin_const_t *identity, coap_session_t *session, void *arg)
{
	static coap_bin_const_t key; // copied by libcoap before it goes on
	struct gw_coap *coap = arg;
	struct gw_span name = gw_span(identity->s, identity->length);
	const struct gw_device *device = gw_snapshot_by_psk(gw_coap_snapshot(coap), name);
	struct gw_span psk = device != NULL ? gw_device_psk(device, name) : gw_span(NULL, 0);

	if (psk.len == 0 || device->disabled) {
		record_refusal(coap, session, GW_AUTH_PSK, psk.len == 0 ? GW_REFUSED_PSK_UNKNOWN : GW_REFUSED_DEVICE_DISABLED, name, "");
		return NULL;
	}
	gw_coap_claim(session, GW_AUTH_PSK, name, GW_REFUSED_PSK_WRONG); // until the handshake ends
	key = (coap_bin_const_t){ psk.len, psk.at };
	return &key;
}

// In constant time.
static bool
same_key(struct gw_span known, const coap_bin_const_t *key)
{
	return known.len == key->length && known.len > 0 && sodium_memcmp(known.at, key->s, known.len) == 0;
}

// The key is compared as well: a device that was removed and added again has another one.
static const struct gw_device *
by_psk(struct gw_coap *coap, const coap_session_t *session, struct gw_span *name)
{
	const coap_bin_const_t *identity = coap_session_get_psk_identity(session);
	const coap_bin_const_t *key = coap_session_get_psk_key(session);
	const struct gw_device *device;

	if (identity == NULL || key == NULL)
		return NULL;
	*name = gw_span(identity->s, identity->length);
	device = gw_snapshot_by_psk(gw_coap_snapshot(coap), *name);
	if (device == NULL || !same_key(gw_device_psk(device, *name), key))
		return NULL;
	gw_registry_used(coap->core->registry, device, *name);
	return device;
}

static const struct gw_device *
by_door(struct gw_coap *coap, struct gw_span *name)
{
	*name = gw_span_text(coap->config->coap_plain_principal);
	return gw_snapshot_device(gw_coap_snapshot(coap), *name);
}

// ---- states ----

static struct gw_coap_session *
state_of(struct gw_coap *coap, coap_session_t *session)
{
	struct gw_coap_session *state = coap_session_get_app_data(session);

	if (state != NULL)
		return state;
	state = aligned_alloc(64, (sizeof(*state) + 63) / 64 * 64);
	if (state == NULL)
		return NULL;
	memset(state, 0, sizeof(*state));
	state->session = session;
	state->next = coap->sessions;
	state->link = &coap->sessions;
	if (state->next != NULL)
		state->next->link = &state->next;
	coap->sessions = state;
	coap_session_set_app_data(session, state);
	gw_coap_add(&coap->counts.states, 1);
	return state;
}

// Of its principal or address.
static void
leave_group(struct gw_coap *coap, struct gw_coap_session *state)
{
	if (state->shaking)
		gw_coap_add(&coap->counts.shaking, UINT64_MAX); // one less
	state->shaking = false;
	if (state->same_link == NULL)
		return;
	*state->same_link = state->same_next;
	if (state->same_next != NULL)
		state->same_next->same_link = state->same_link;
	state->same_link = NULL;
}

static void
join_group(struct gw_coap_session **first, struct gw_coap_session *state)
{
	state->same_next = *first;
	state->same_link = first;
	if (*first != NULL)
		(*first)->same_link = &state->same_next;
	*first = state;
}

static void
state_free(struct gw_coap *coap, coap_session_t *session)
{
	struct gw_coap_session *state = coap_session_get_app_data(session);

	if (state == NULL)
		return;
	coap_session_set_app_data(session, NULL);
	if (state->uploads)
		gw_coap_uploads_drop(&coap->uploads, state);
	leave_group(coap, state);
	*state->link = state->next;
	if (state->next != NULL)
		state->next->link = state->link;
	gw_coap_recent_fini(&state->recent);
	free(state);
	gw_coap_add(&coap->counts.states, UINT64_MAX); // one less
}

static void
doom(struct gw_coap *coap, struct gw_coap_session *state)
{
	state->known = false;
	state->doomed = true;
	coap->any_doomed = true;
}

static void
join_principal(struct gw_coap *coap, struct gw_coap_session *state)
{
	uint64_t hash = gw_coap_hash(0, state->principal, strlen(state->principal));
	struct gw_coap_session *oldest = NULL;
	int64_t count = 0;

	leave_group(coap, state);
	join_group(&coap->principals[hash & coap->group_mask], state);
	for (struct gw_coap_session *other = state; other != NULL; other = other->same_next)
		if (!other->doomed && strcmp(other->principal, state->principal) == 0) {
			oldest = other;
			count++;
		}
	if (count <= coap->config->coap_sessions_of_one)
		return;
	gw_coap_add(&coap->counts.of_one_dropped, 1);
	doom(coap, oldest);
}

// A handshake begins. Who came from that address first makes room, where that is one too many.
static void
begin_shaking(struct gw_coap *coap, coap_session_t *session)
{
	struct gw_coap_session *state, *oldest = NULL;
	size_t count = 0;

	if (coap_session_get_proto(session) != COAP_PROTO_DTLS || (state = state_of(coap, session)) == NULL)
		return;
	state->from = gw_crowd_address(&coap_session_get_addr_remote(session)->addr.sa);
	state->shaking = true;
	gw_coap_add(&coap->counts.shaking, 1);
	join_group(&coap->addresses[gw_coap_hash(0, &state->from, sizeof(state->from)) & coap->group_mask], state);
	for (struct gw_coap_session *other = state; other != NULL; other = other->same_next)
		if (!other->doomed && other->from == state->from) {
			oldest = other;
			count++;
		}
	if (count <= coap->handshakes_of_one)
		return;
	gw_coap_add(&coap->counts.shakes_dropped, 1);
	doom(coap, oldest);
}

static mbedtls_ssl_context *
ssl_of(const coap_session_t *session)
{
	coap_tls_library_t library;

	return coap_session_get_tls(session, &library);
}

// What was looked up of a session.
struct found {
	enum gw_auth auth;
	enum gw_refused fault;           // of the credential itself
	struct gw_span name;             // who it says it is
	struct gw_tls_identity identity; // holds the name of a certificate
};

static const struct gw_device *
look_up(struct gw_coap *coap, struct gw_coap_session *state, struct found *found)
{
	const mbedtls_x509_crt *certificate;
	const mbedtls_ssl_context *ssl;
	const struct gw_device *device;

	*found = (struct found){ .name = gw_span_text(""), .fault = GW_REFUSED_NONE };
	if (coap_session_get_proto(state->session) == COAP_PROTO_UDP)
		return by_door(coap, &found->name);
	if ((ssl = ssl_of(state->session)) == NULL)
		return NULL;
	found->auth = GW_AUTH_PSK;
	certificate = mbedtls_ssl_get_peer_cert(ssl);
	if (certificate == NULL && (state->held == NULL || !state->held->resumed))
		return by_psk(coap, state->session, &found->name);
	found->auth = GW_AUTH_CERTIFICATE;
	device = gw_coap_by_certificate(coap, state, certificate, &found->identity, &found->fault);
	found->name = gw_span_text(found->identity.name);
	return device;
}

static enum gw_refused
why_not(const struct gw_coap_session *state, const struct gw_device *device, const struct found *found)
{
	if (device != NULL)
		return GW_REFUSED_DEVICE_DISABLED;
	if (found->fault != GW_REFUSED_NONE)
		return found->fault;
	if (state->known)
		return GW_REFUSED_DEVICE_GONE;
	if (found->auth == GW_AUTH_NONE)
		return GW_REFUSED_NO_CREDENTIAL;
	return found->auth == GW_AUTH_CERTIFICATE ? GW_REFUSED_CERTIFICATE_UNKNOWN : GW_REFUSED_PSK_UNKNOWN;
}

static bool
prove(struct gw_coap *coap, struct gw_coap_session *state)
{
	struct found found;
	const struct gw_device *device = look_up(coap, state, &found);
	bool another;

	state->generation = coap->generation;
	state->auth = (uint8_t)found.auth;
	if (device == NULL || device->disabled) {
		if (!state->doomed)
			record_refusal(coap, state->session, found.auth, why_not(state, device, &found),
			    found.name.len > 0 ? found.name : gw_span_text(state->principal), device != NULL ? device->id : state->known ? state->principal : "");
		doom(coap, state);
		return false;
	}
	if (!state->known)
		gw_coap_add(&coap->counts.proved, 1);
	another = strcmp(state->principal, device->id) != 0;
	memcpy(state->principal, device->id, sizeof(state->principal));
	state->known = true;
	if (found.auth != GW_AUTH_NONE && (state->same_link == NULL || another))
		join_principal(coap, state);
	return true;
}

// A handshake failed: told where it is known which credential was at fault.
static void
shaking_failed(struct gw_coap *coap, coap_session_t *session)
{
	struct gw_coap_session *state = coap_session_get_app_data(session);

	if (state == NULL || state->known || state->doubt == GW_REFUSED_NONE)
		return;
	record_refusal(coap, session, (enum gw_auth)state->auth, (enum gw_refused)state->doubt, gw_span_text(state->principal), "");
	state->doubt = GW_REFUSED_NONE;
}

struct gw_coap_session *
gw_coap_principal(struct gw_coap *coap, coap_session_t *session)
{
	struct gw_coap_session *state = state_of(coap, session);

	if (state == NULL)
		return NULL;
	if (state->shaking)
		leave_group(coap, state);
	// A libcoap session is one handshake's: a peer that starts anew gets another one (adapters/deps/patches/libcoap).
	if (state->known && state->generation == gw_registry_generation(coap->core->registry))
		return state;
	return prove(coap, state) ? state : NULL;
}

// ---- libcoap's events, and the end of sessions ----

int
gw_coap_event(coap_session_t *session, coap_event_t event)
{
	struct gw_coap *coap = coap_of(session);

	switch (event) {
	case COAP_EVENT_SERVER_SESSION_NEW:
		gw_coap_add(&coap->counts.opened, 1);
		begin_shaking(coap, session);
		break;
	case COAP_EVENT_SERVER_SESSION_DEL:
		gw_coap_add(&coap->counts.closed, 1);
		state_free(coap, session);
		break;
	case COAP_EVENT_DTLS_ERROR:
		shaking_failed(coap, session);
		break;
	case COAP_EVENT_DTLS_CONNECTED:
		gw_coap_principal(coap, session);
		break;
	case COAP_EVENT_BAD_PACKET:
		gw_coap_add(&coap->counts.bad_packets, 1);
		break;
	default:
		break;
	}
	return 0;
}

void
gw_coap_sessions_check(struct gw_coap *coap)
{
	bool all = coap->generation != gw_registry_generation(coap->core->registry), certificates = gw_coap_credentials_look(coap);

	if (!all && !certificates)
		return;
	gw_coap_snapshot(coap);
	for (struct gw_coap_session *state = coap->sessions; state != NULL; state = state->next)
		if (state->known && (all || state->auth == GW_AUTH_CERTIFICATE))
			prove(coap, state);
}

void
gw_coap_sessions_reap(struct gw_coap *coap)
{
	if (!coap->any_doomed)
		return;
	coap->any_doomed = false;
	for (struct gw_coap_session *state = coap->sessions; state != NULL; state = state->next) {
		if (!state->doomed)
			continue;
		state->doomed = false;
		leave_group(coap, state);
		// Sends the close_notify; libcoap frees the session when nothing holds it any more.
		coap_session_disconnected(state->session, COAP_NACK_NOT_DELIVERABLE);
	}
	coap_io_process(coap->context, COAP_IO_NO_WAIT);
}
