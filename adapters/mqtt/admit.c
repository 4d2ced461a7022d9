// SPDX-License-Identifier: Apache-2.0
// Admission, step by step: CONNECT, principal, client identifier, room, session, what is told in CONNACK.
#include "adapters/mqtt/admit.h"

#include "adapters/mqtt/answer.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define COMMIT_US_MAX INT64_C(60000000) // between a device's created_us and its being visible

static enum gw_mqtt_admission
refuse(struct gw_mqtt_refusal *refusal, uint8_t reason)
{
	refusal->reason = reason;
	return GW_MQTT_REFUSED;
}

// A refusal that is recorded. device: whose the credential is, where it is anybody's.
static enum gw_mqtt_admission
refuse_credential(struct gw_mqtt_refusal *refusal, enum gw_error error, enum gw_refused why, struct gw_span name, const char *device)
{
	refusal->error = error;
	refusal->why = why;
	snprintf(refusal->name, sizeof(refusal->name), "%.*s", GW_SPAN_FMT(name));
	snprintf(refusal->device, sizeof(refusal->device), "%s", device);
	return refuse(refusal, gw_mqtt_connect_reason(error));
}

static enum gw_mqtt_admission
read_connect(struct gw_mqtt_conn *conn, struct gw_mqtt_connect *connect, size_t *used, struct gw_mqtt_refusal *refusal)
{
	struct gw_mqtt_frame frame;
	enum gw_mqtt_framing framing = gw_mqtt_frame(gw_span(conn->in, conn->in_len), conn->mqtt->connect_bytes_max, &frame);
	uint8_t bad;

	if (conn->in_len > 0 && conn->in[0] != GW_MQTT_CONNECT << 4) // flags are reserved and 0
		return refuse(refusal, GW_MQTT_PROTOCOL_ERROR);
	if (framing == GW_MQTT_MORE)
		return GW_MQTT_INCOMPLETE;
	if (framing != GW_MQTT_WHOLE)
		return refuse(refusal, GW_MQTT_MALFORMED);
	*used = frame.size;
	bad = gw_mqtt_read_connect(frame.body, connect);
	// MQTT 3.1 and unknown versions get the answer that every client understands: CONNACK 1 in the form of 3.1 and 3.1.1.
	refusal->version = connect->version == 5 ? 5 : connect->version == 4 ? 4 : bad == GW_MQTT_VERSION ? 3 : 0;
	if (bad != 0 && connect->version == 4)
		refusal->version = 0; // 3.1.1 closes on malformed packets without a word
	return bad == 0 ? GW_MQTT_ADMITTED : refuse(refusal, bad);
}

// ---- The principal ----

// A key or password was proved some time ago. A device that was made since may have that name and another secret: removing a device and adding
// it anew is how a stolen secret is revoked, and whoever has it may keep a connection ready.
static bool
made_meanwhile(const struct gw_mqtt_conn *conn, const struct gw_snapshot *snapshot, const struct gw_device *device)
{
	return gw_snapshot_generation(snapshot) != conn->began_generation && device->created_us >= conn->began_wall_us - COMMIT_US_MAX;
}

static enum gw_mqtt_admission
as_device(struct gw_mqtt_conn *conn, const struct gw_snapshot *snapshot, const struct gw_device *device, struct gw_span name, struct gw_mqtt_refusal *refusal)
{
	uint64_t proof = gw_device_proof(device, conn->auth, name);

	if (proof == 0 || made_meanwhile(conn, snapshot, device))
		return refuse(refusal, GW_MQTT_BUSY); // a new connection proves it anew
	if (device->disabled)
		return refuse_credential(refusal, GW_E_DISABLED, GW_REFUSED_DEVICE_DISABLED, gw_span_text(device->id), device->id);
	snprintf(conn->principal, sizeof(conn->principal), "%s", device->id);
	conn->principal_created_us = device->created_us;
	conn->principal_changed_us = device->changed_us;
	conn->proof = proof;
	if (conn->auth == GW_AUTH_PSK)
		gw_registry_used(conn->mqtt->core->registry, device, name);
	conn->generation = gw_snapshot_generation(snapshot);
	return GW_MQTT_ADMITTED;
}

static enum gw_mqtt_admission
by_password(struct gw_mqtt_conn *conn, const struct gw_snapshot *snapshot, const struct gw_mqtt_connect *connect, struct gw_span psk,
    struct gw_mqtt_refusal *refusal)
{
	const struct gw_device *device;

	if (!connect->has_user && psk.len > 0)
		return refuse_credential(refusal, GW_E_UNAUTHENTICATED, GW_REFUSED_PSK_UNKNOWN, psk, "");
	if (!connect->has_user)
		return refuse_credential(refusal, GW_E_UNAUTHENTICATED, GW_REFUSED_NO_CREDENTIAL, connect->client_id, "");
	device = gw_snapshot_by_user(snapshot, connect->user);
	conn->user_hash = gw_name_hash(connect->user);
	if (device != NULL && !conn->checked && gw_registry_password_known(conn->mqtt->core->registry, device, connect->password))
		conn->checked = conn->password_right = true;
	if (connect->has_password && !conn->checked) // also for a user who does not exist: how long it takes tells nobody who does
		return GW_MQTT_CHECK_PASSWORD;
	if (device == NULL || !connect->has_password)
		return refuse_credential(refusal, GW_E_FORBIDDEN, device == NULL ? GW_REFUSED_USER_UNKNOWN : GW_REFUSED_PASSWORD_WRONG, connect->user, "");
	if (!conn->password_right)
		return refuse_credential(refusal, GW_E_FORBIDDEN, GW_REFUSED_PASSWORD_WRONG, connect->user, "");
	conn->auth = GW_AUTH_PASSWORD;
	return as_device(conn, snapshot, device, connect->user, refusal);
}

// What the handshake proved goes before what CONNECT says: user and password count only where there was no certificate and no PSK.
static enum gw_mqtt_admission
find_principal(struct gw_mqtt_conn *conn, const struct gw_snapshot *snapshot, const struct gw_mqtt_connect *connect, struct gw_mqtt_refusal *refusal)
{
	const struct gw_device *device = NULL;
	struct gw_tls_identity identity;
	struct gw_span name;

	gw_tls_identity(conn->tls, &identity);
	name = gw_span_text(identity.name);
	conn->auth = identity.auth;
	switch (identity.auth) {
	case GW_AUTH_CERTIFICATE: device = gw_snapshot_by_subject(snapshot, name); break;
	case GW_AUTH_PSK: device = gw_snapshot_by_psk(snapshot, name); break;
	default: return by_password(conn, snapshot, connect, name, refusal);
	}
	if (device == NULL)
		return refuse_credential(refusal, GW_E_UNAUTHENTICATED,
		    identity.auth == GW_AUTH_CERTIFICATE ? GW_REFUSED_CERTIFICATE_UNKNOWN : GW_REFUSED_PSK_UNKNOWN, name, "");
	return as_device(conn, snapshot, device, name, refusal);
}

bool
gw_mqtt_check_password(struct gw_mqtt_conn *conn)
{
	struct gw_mqtt_refusal refusal = { 0 };
	struct gw_mqtt_connect connect;
	const struct gw_snapshot *snapshot;
	const struct gw_device *device;
	size_t used;
	bool right = false;

	if (read_connect(conn, &connect, &used, &refusal) != GW_MQTT_ADMITTED)
		return false;
	snapshot = gw_snapshot_get(conn->mqtt->core->registry);
	device = gw_snapshot_by_user(snapshot, connect.user);
	if (device != NULL)
		right = gw_registry_password(conn->mqtt->core->registry, device, connect.password);
	else
		gw_password_waste(connect.password);
	gw_snapshot_put(snapshot);
	return right;
}

// ---- Client identifier and session ----

static struct gw_span
assign_id(struct gw_mqtt_conn *conn)
{
	uint8_t random[12];

	if (conn->assigned_id == NULL)
		conn->assigned_id = malloc(sizeof(*conn->assigned_id));
	if (conn->assigned_id == NULL)
		return gw_span(NULL, 0);
	randombytes_buf(random, sizeof(random));
	memcpy(*conn->assigned_id, "vg-", 3);
	sodium_bin2hex(*conn->assigned_id + 3, sizeof(*conn->assigned_id) - 3, random, sizeof(random));
	return gw_span_text(*conn->assigned_id);
}

static uint32_t
session_expiry(const struct gw_mqtt_conn *conn, const struct gw_mqtt_connect *connect)
{
	uint32_t most = conn->mqtt->limits.session_expiry_s_max, asked = connect->properties.session_expiry_s;

	if (connect->version == 4)
		return connect->clean ? 0 : most;
	return asked < most ? asked : most;
}

static void
take_over(void *owner)
{
	struct gw_mqtt_conn *other = owner;

	other->kicked = GW_MQTT_TAKEN_OVER;
	for (unsigned i = 0; i < other->mqtt->worker_count; i++)
		gw_mqtt_worker_wake(&other->mqtt->workers[i]);
}

static enum gw_mqtt_admission
claim_session(struct gw_mqtt_conn *conn, const struct gw_mqtt_connect *connect, struct gw_span client_id, struct gw_mqtt_refusal *refusal)
{
	struct gw_mqtt_claim claim = {
		.principal = gw_span_text(conn->principal),
		.client_id = client_id,
		.clean = connect->clean,
		.expiry_s = session_expiry(conn, connect),
		.owner = conn,
	};
	enum gw_error error = gw_mqtt_sessions_claim(conn->mqtt->sessions, &claim, take_over, &conn->link.session);

	if (error == GW_E_QUOTA && !claim.crowded && connect->version == 5) { // told so in CONNACK
		claim.expiry_s = 0;
		error = gw_mqtt_sessions_claim(conn->mqtt->sessions, &claim, take_over, &conn->link.session);
	}
	if (error == GW_E_BUSY)
		return GW_MQTT_SESSION_BUSY;
	if (claim.crowded)
		return refuse_credential(refusal, GW_E_QUOTA, GW_REFUSED_TOO_MANY, claim.principal, conn->principal);
	if (error != GW_OK)
		return refuse(refusal, gw_mqtt_connect_reason(error));
	conn->connack->session_present = claim.present;
	conn->connack->session_expiry_s = claim.expiry_s;
	conn->connack->tell_session_expiry = connect->version == 5 && claim.expiry_s != connect->properties.session_expiry_s;
	return GW_MQTT_ADMITTED;
}

// ---- What the connection is like from now on ----

static bool
keep_will(struct gw_mqtt_conn *conn, const struct gw_mqtt_connect *connect)
{
	struct gw_mqtt_will *will;

	if (!connect->has_will)
		return true;
	will = calloc(1, sizeof(*will) + connect->will_topic.len + connect->will_payload.len);
	if (will == NULL)
		return false;
	will->delay_s = connect->will.will_delay_s;
	will->auth = conn->auth;
	memcpy(will->principal, conn->principal, sizeof(will->principal));
	will->topic_len = (uint16_t)connect->will_topic.len;
	will->payload_len = (uint32_t)connect->will_payload.len;
	memcpy(will->bytes, connect->will_topic.at, connect->will_topic.len);
	if (connect->will_payload.len > 0)
		memcpy(will->bytes + connect->will_topic.len, connect->will_payload.at, connect->will_payload.len);
	free(conn->will);
	conn->will = will;
	return true;
}

static void
settle_keep_alive(struct gw_mqtt_conn *conn, const struct gw_mqtt_connect *connect)
{
	uint16_t most = conn->mqtt->limits.keep_alive_s_max;

	conn->keep_alive_s = connect->keep_alive_s;
	if (conn->keep_alive_s == 0 || conn->keep_alive_s > most)
		conn->keep_alive_s = most;
	conn->connack->tell_keep_alive = conn->keep_alive_s != connect->keep_alive_s;
	conn->connack->keep_alive_s = conn->keep_alive_s;
}

static bool
prepare(struct gw_mqtt_conn *conn, const struct gw_mqtt_connect *connect, struct gw_span assigned)
{
	const struct gw_mqtt_limits *limits = &conn->mqtt->limits;
	struct gw_mqtt_connack *a = conn->connack;

	if (a == NULL)
		a = conn->connack = calloc(1, sizeof(*a));
	if (a == NULL || !keep_will(conn, connect))
		return false;
	*a = (struct gw_mqtt_connack){
		.reason = GW_MQTT_SUCCESS,
		.receive_maximum = limits->receive_maximum,
		.alias_max = limits->alias_max,
		.packet_bytes_max = limits->packet_bytes_max,
		.assigned_id = assigned,
	};
	settle_keep_alive(conn, connect);
	gw_mqtt_link_init(&conn->link, NULL, conn, limits);
	conn->link.version = connect->version;
	conn->link.problem_info = connect->properties.problem_info != 0;
	conn->link.packet_bytes_max = connect->properties.packet_bytes_max;
	conn->link.connect_expiry_s = connect->properties.session_expiry_s;
	return true;
}

static enum gw_mqtt_admission
choose_session(struct gw_mqtt_conn *conn, const struct gw_mqtt_connect *connect, struct gw_mqtt_refusal *refusal)
{
	struct gw_span client_id = connect->client_id, assigned = { NULL, 0 };

	if (client_id.len == 0 && connect->version == 4 && !connect->clean) // [MQTT-3.1.3-8]
		return refuse(refusal, GW_MQTT_CLIENT_ID);
	if (client_id.len > GW_MQTT_CLIENT_ID_MAX)
		return refuse(refusal, GW_MQTT_CLIENT_ID);
	if (client_id.len == 0) {
		assigned = client_id = assign_id(conn);
		if (assigned.len == 0)
			return refuse(refusal, GW_MQTT_UNAVAILABLE);
	}
	if (!prepare(conn, connect, assigned))
		return refuse(refusal, GW_MQTT_UNAVAILABLE);
	return claim_session(conn, connect, client_id, refusal);
}

static enum gw_error
room(struct gw_mqtt *mqtt)
{
	struct gw_intake_stats stats;

	gw_intake_stats(mqtt->core->intake, &stats);
	if (stats.stopping || atomic_load(&mqtt->stopping))
		return GW_E_STOPPING;
	return stats.full ? GW_E_FULL : GW_OK;
}

enum gw_mqtt_admission
gw_mqtt_admit(struct gw_mqtt_conn *conn, struct gw_mqtt_refusal *refusal)
{
	const struct gw_snapshot *snapshot;
	enum gw_mqtt_admission admission;
	struct gw_mqtt_connect connect;
	enum gw_error error;
	size_t used = 0;

	memset(refusal, 0, sizeof(*refusal));
	admission = read_connect(conn, &connect, &used, refusal);
	if (admission != GW_MQTT_ADMITTED)
		return admission;
	if (connect.properties.method.at != NULL)
		return refuse(refusal, GW_MQTT_BAD_METHOD);
	snapshot = gw_snapshot_get(conn->mqtt->core->registry);
	admission = find_principal(conn, snapshot, &connect, refusal);
	gw_snapshot_put(snapshot);
	if (admission != GW_MQTT_ADMITTED)
		return admission;
	error = room(conn->mqtt);
	if (error != GW_OK)
		return refuse(refusal, gw_mqtt_connect_reason(error));
	admission = choose_session(conn, &connect, refusal);
	if (admission != GW_MQTT_ADMITTED)
		return admission;
	if (!gw_mqtt_conn_keep(conn, conn->in + used, conn->in_len - used))
		conn->in_len = 0; // without memory nothing behind CONNECT is taken; the client repeats it
	return GW_MQTT_ADMITTED;
}
