// SPDX-License-Identifier: Apache-2.0
// MQTT from devices as a part of the gateway: opens and closes it all, tells its state. main's thread, and status on any.
#include "adapters/mqtt/conn.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SPARE_FILES = 512 };

static bool
enabled(const struct gw_config *config)
{
	return config->mqtt_enabled;
}

// ---- What TLS asks ----

static size_t
find_psk(void *arg, struct gw_span identity, uint8_t key[GW_TLS_PSK_MAX])
{
	struct gw_mqtt *mqtt = arg;
	const struct gw_snapshot *snapshot = gw_snapshot_get(mqtt->core->registry);
	const struct gw_device *device = gw_snapshot_by_psk(snapshot, identity);
	struct gw_span psk = device != NULL ? gw_device_psk(device, identity) : gw_span(NULL, 0);

	if (psk.len > 0)
		memcpy(key, psk.at, psk.len);
	gw_snapshot_put(snapshot);
	return psk.len;
}

static bool
find_subject(void *arg, struct gw_span name)
{
	struct gw_mqtt *mqtt = arg;
	const struct gw_snapshot *snapshot = gw_snapshot_get(mqtt->core->registry);
	bool known = gw_snapshot_by_subject(snapshot, name) != NULL;

	gw_snapshot_put(snapshot);
	return known;
}

// ---- Start ----

static void
set_limits(struct gw_mqtt *mqtt, const struct gw_config *config)
{
	mqtt->limits = (struct gw_mqtt_limits){
		.packet_bytes_max = (uint32_t)config->mqtt_packet_bytes_max,
		.receive_maximum = (uint16_t)config->mqtt_receive_maximum,
		.alias_max = (uint16_t)config->mqtt_topic_aliases_max,
		.subscriptions_max = (uint16_t)config->mqtt_subscriptions_max,
		.filters_max = (uint16_t)config->mqtt_filters_max,
		.alias_bytes_max = (uint16_t)config->mqtt_kept_topic_bytes_max,
		.qos2_max = (uint16_t)config->mqtt_qos2_ids_max,
		.keep_alive_s_max = (uint16_t)config->mqtt_keep_alive_s_max,
		.session_expiry_s_max = (uint32_t)config->mqtt_session_expiry_s_max,
	};
	mqtt->connections_max = (uint32_t)config->mqtt_connections_max;
	mqtt->handshakes_max = (uint32_t)config->mqtt_handshakes_max;
	mqtt->handshakes_of_one = (uint32_t)config->mqtt_handshakes_of_one;
	if (mqtt->handshakes_of_one == 0)
		mqtt->handshakes_of_one = (mqtt->handshakes_max + 1) / 2;
	mqtt->admit_s_max = (uint32_t)config->mqtt_admit_s_max;
	mqtt->tickets_max = (uint32_t)config->mqtt_tickets_max;
	mqtt->connect_bytes_max = (uint32_t)config->mqtt_connect_bytes_max;
	if (mqtt->connect_bytes_max > mqtt->limits.packet_bytes_max)
		mqtt->connect_bytes_max = mqtt->limits.packet_bytes_max;
	mqtt->unsent_bytes_max = (uint32_t)config->mqtt_unsent_bytes_max;
	mqtt->password_checks_of_one = (uint32_t)config->mqtt_password_checks_of_one;
	mqtt->password_checks_of_address = (uint32_t)config->mqtt_password_checks_of_address;
	mqtt->refusal_records_per_min = (uint32_t)config->mqtt_refusal_records_per_min;
}

// As many open files as connections, if the hard limit lets us.
static void
raise_files(uint32_t connections_max)
{
	struct rlimit limit;
	rlim_t need = (rlim_t)connections_max + SPARE_FILES;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= need)
		return;
	limit.rlim_cur = limit.rlim_max < need ? limit.rlim_max : need;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < need)
		gw_diag(GW_WARNING, "mqtt.files", "%llu open files allowed, %llu needed for mqtt.connections_max: raise LimitNOFILE or ulimit -n",
		    (unsigned long long)limit.rlim_cur, (unsigned long long)need);
}

// A certificate that has expired is better than none: devices with a pre-shared key do not look at it.
static enum gw_error
open_tls(struct gw_mqtt *mqtt, struct gw_why *why)
{
	const struct gw_config *config = mqtt->core->config;
	struct gw_tls_options options = { .only_1_3 = strcmp(config->tls_version_min, "1.3") == 0, .ticket_s = (uint32_t)config->tls_ticket_s, .door = "mqtt",
		.psk = find_psk, .subject = find_subject, .arg = mqtt };
	struct gw_why words = { "" };
	enum gw_error error;
	char *file;

	if (asprintf(&file, "%s/mqtt-ticket-keys", config->store_dir) < 0)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	options.ticket_file = file;
	gw_trust_configured(config, &options.trust);
	options.trust.expired_accepted = true;
	error = gw_tls_server_open(&options, &mqtt->tls, &words);
	free(file);
	if (error != GW_OK)
		return gw_fail(why, error, "%s", words.text);
	if (words.text[0] != '\0')
		gw_diag(GW_WARNING, "mqtt.credentials", "%s", words.text);
	return GW_OK;
}

static enum gw_error
open_shared(struct gw_mqtt *mqtt, struct gw_why *why)
{
	const struct gw_config *config = mqtt->core->config;
	struct gw_mqtt_sessions_options sessions = {
		.sessions_max = (uint32_t)config->mqtt_sessions_max,
		.sessions_of_one = (uint32_t)config->mqtt_sessions_of_one,
		.connections_of_one = (uint32_t)config->mqtt_connections_of_one,
		.session_expiry_s_max = (uint32_t)config->mqtt_session_expiry_s_max,
	};
	enum gw_error error;

	mqtt->door_fd = sessions.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (mqtt->door_fd < 0)
		return gw_fail(why, GW_E_SYSTEM, "%s", strerror(errno));
	error = open_tls(mqtt, why);
	if (error != GW_OK)
		return error;
	return gw_mqtt_sessions_open(&sessions, mqtt->core->journal, &mqtt->sessions, why);
}

static enum gw_error
start_workers(struct gw_mqtt *mqtt, unsigned count, struct gw_why *why)
{
	enum gw_error error = GW_OK;

	mqtt->workers = calloc(count, sizeof(*mqtt->workers));
	if (mqtt->workers == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	for (unsigned i = 0; i < count && error == GW_OK; i++) {
		error = gw_mqtt_worker_start(&mqtt->workers[i], mqtt, i, why);
		if (error == GW_OK)
			mqtt->worker_count++;
	}
	return error;
}

static void stop_part(void *part);
static void close_part(void *part);

static enum gw_error
start(struct gw_core *core, void **part, struct gw_why *why)
{
	struct gw_mqtt *mqtt = calloc(1, sizeof(*mqtt));
	enum gw_error error;

	*part = NULL;
	if (mqtt == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	mqtt->core = core;
	mqtt->door_fd = -1;
	set_limits(mqtt, core->config);
	raise_files(mqtt->connections_max);
	error = open_shared(mqtt, why);
	if (error == GW_OK)
		error = start_workers(mqtt, (unsigned)core->config->mqtt_threads, why);
	if (error == GW_OK)
		error = gw_mqtt_door_start(mqtt, why);
	if (error != GW_OK) {
		atomic_store(&mqtt->door_closed, true);
		stop_part(mqtt);
		close_part(mqtt);
		return error;
	}
	*part = mqtt;
	return GW_OK;
}

// ---- End ----

// The door closes first; then the serving threads end, each after what is under way with it was committed and answered.
static void
stop_part(void *part)
{
	struct gw_mqtt *mqtt = part;

	atomic_store(&mqtt->stopping, true);
	if (mqtt->door_fd >= 0)
		gw_mqtt_wake(mqtt->door_fd);
	for (unsigned i = 0; i < mqtt->worker_count; i++)
		gw_mqtt_worker_wake(&mqtt->workers[i]);
}

static void
close_part(void *part)
{
	struct gw_mqtt *mqtt = part;

	gw_mqtt_door_join(mqtt);
	for (unsigned i = 0; i < mqtt->worker_count; i++)
		gw_mqtt_worker_join(&mqtt->workers[i]);
	free(mqtt->workers);
	gw_mqtt_sessions_close(mqtt->sessions);
	gw_tls_server_close(mqtt->tls);
	if (mqtt->door_fd >= 0)
		close(mqtt->door_fd);
	free(mqtt);
}

// ---- Credentials ----

static enum gw_error
check(const struct gw_config *config, struct gw_why *why)
{
	struct gw_trust_options options;
	struct gw_trust *trust;
	enum gw_error error;

	if (!config->mqtt_enabled)
		return GW_OK;
	if (config->tls_certificate[0] == '\0') // its own are made when it starts
		return gw_trust_check_rules(&config->tls_identities, why);
	gw_trust_configured(config, &options);
	options.expired_accepted = true;
	error = gw_trust_load(&options, &trust, why);
	gw_trust_drop(trust);
	return error;
}

static void
files(const struct gw_config *config, gw_file_fn *fn, void *arg)
{
	struct gw_trust_options options;

	gw_trust_configured(config, &options);
	gw_trust_files(&options, fn, arg);
}

// Serving threads find out by themselves whom it concerns.
static enum gw_error
renew(void *part, struct gw_why *why)
{
	struct gw_mqtt *mqtt = part;
	struct gw_trust_options options;

	gw_trust_configured(mqtt->core->config, &options);
	return gw_tls_server_renew(mqtt->tls, &options, why);
}

// ---- Status ----

static void
add_door(struct gw_mqtt *mqtt, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct gw_mqtt_door_counts *c = &mqtt->door_counts;

	yyjson_mut_obj_add_uint(doc, object, "connections", atomic_load(&mqtt->connections));
	yyjson_mut_obj_add_uint(doc, object, "sessions", gw_mqtt_sessions_count(mqtt->sessions));
	yyjson_mut_obj_add_uint(doc, object, "accepted", gw_mqtt_read(&c->accepted));
	yyjson_mut_obj_add_uint(doc, object, "handshakes_under_way", gw_mqtt_read(&c->pending));
	yyjson_mut_obj_add_uint(doc, object, "handshakes_ok", gw_mqtt_read(&c->handshakes));
	yyjson_mut_obj_add_uint(doc, object, "handshakes_failed", gw_mqtt_read(&c->handshakes_failed));
	yyjson_mut_obj_add_uint(doc, object, "handshakes_slowed", gw_mqtt_read(&c->slowed));
	yyjson_mut_obj_add_uint(doc, object, "handshakes_dropped", gw_mqtt_read(&c->dropped));
	yyjson_mut_obj_add_uint(doc, object, "handshakes_beyond_limit_of_one", gw_mqtt_read(&c->crowd_dropped));
	yyjson_mut_obj_add_uint(doc, object, "connections_beyond_limit", gw_mqtt_read(&c->full));
	yyjson_mut_obj_add_uint(doc, object, "connections_beyond_limit_of_one", gw_mqtt_read(&c->crowded));
	yyjson_mut_obj_add_uint(doc, object, "connects_ok", gw_mqtt_read(&c->admitted));
	yyjson_mut_obj_add_uint(doc, object, "credentials_refused", gw_mqtt_read(&c->refused));
	yyjson_mut_obj_add_uint(doc, object, "wills", gw_mqtt_read(&c->wills));
}

static void
add_refused(struct gw_mqtt *mqtt, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	yyjson_mut_val *by_reason = yyjson_mut_obj(doc);

	for (unsigned e = 1; e < GW_ERROR_COUNT; e++) {
		uint64_t count = 0;

		for (unsigned i = 0; i < mqtt->worker_count; i++)
			count += gw_mqtt_read(&mqtt->workers[i].counts.by_error[e]);
		if (count > 0)
			yyjson_mut_obj_add_uint(doc, by_reason, gw_error_name((enum gw_error)e), count);
	}
	yyjson_mut_obj_add_val(doc, object, "refused_by_reason", by_reason);
}

static void
add_worker(struct gw_mqtt_worker *worker, yyjson_mut_doc *doc, yyjson_mut_val *list, uint64_t sums[4])
{
	struct gw_mqtt_counts *c = &worker->counts;
	yyjson_mut_val *row = yyjson_mut_arr_add_obj(doc, list);

	yyjson_mut_obj_add_uint(doc, row, "connections", atomic_load(&worker->load));
	yyjson_mut_obj_add_uint(doc, row, "messages", gw_mqtt_read(&c->messages));
	yyjson_mut_obj_add_uint(doc, row, "rounds", gw_mqtt_read(&c->rounds));
	sums[0] += gw_mqtt_read(&c->messages);
	sums[1] += gw_mqtt_read(&c->acked);
	sums[2] += gw_mqtt_read(&c->refused);
	sums[3] += gw_mqtt_read(&c->bytes);
}

static void
status(void *part, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct gw_mqtt *mqtt = part;
	yyjson_mut_val *threads = yyjson_mut_arr(doc);
	uint64_t sums[4] = { 0 };

	for (unsigned i = 0; i < mqtt->worker_count; i++)
		add_worker(&mqtt->workers[i], doc, threads, sums);
	add_door(mqtt, doc, object);
	yyjson_mut_obj_add_uint(doc, object, "messages", sums[0]);
	yyjson_mut_obj_add_uint(doc, object, "taken", sums[1]);
	yyjson_mut_obj_add_uint(doc, object, "refused", sums[2]);
	yyjson_mut_obj_add_uint(doc, object, "payload_bytes", sums[3]);
	add_refused(mqtt, doc, object);
	yyjson_mut_obj_add_val(doc, object, "threads", threads);
	gw_tls_server_status(mqtt->tls, doc, object);
}

const struct gw_part gw_mqtt_part = {
	.name = "mqtt",
	.outlet = false,
	.enabled = enabled,
	.check = check,
	.start = start,
	.stop = stop_part,
	.close = close_part,
	.status = status,
	.command = NULL,
	.files = files,
	.renew = renew,
};
