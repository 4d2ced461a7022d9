// SPDX-License-Identifier: Apache-2.0
// Paho behind the window. Paho's threads enter at the functions on_*, and hold Paho's own locks when they do: nothing here calls Paho with
// `lock` held. A new connection is a new Paho client; an answer for an older one is told by its generation and ignored.
#include "adapters/mqtt/bus_link.h"

#include "gateway/clock.h"
#include "gateway/diag.h"

#include <MQTTAsync.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define GENERATIONS 4 // how many connections an answer may be late
#define CONNECT_S_MAX 10
#define KEEP_ALIVE_S 20
#define PUBACK_PACKET 4 // MQTT 5, section 2.1.2
// Messages that Paho holds and has not yet written. Paho 1.3.12 to 1.3.14 leak the topic and payload of those when a client is destroyed
// (MQTTAsync_NULLPublishCommands), so they are few: at most some KB are lost with a connection that ends under load.
#define UNWRITTEN_MAX 16
#if defined(__SANITIZE_ADDRESS__)
#define LEAKS_ARE_LOOKED_FOR 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LEAKS_ARE_LOOKED_FOR 1
#endif
#endif
#ifdef LEAKS_ARE_LOOKED_FOR
const char *__lsan_default_suppressions(void);
const char *
__lsan_default_suppressions(void)
{
	return "leak:libpaho-mqtt3as\n";
}
#endif

enum state { WAITING, ACKNOWLEDGED, REFUSED };

struct slot {
	struct gw_bus_ref ref;
	uint64_t covers; // journal position that is done with when this and all before are answered; 0: none
	uint8_t state, reason;
};

// What Paho gives back with an answer.
struct context {
	struct gw_bus_link *link;
	uint32_t generation, slot;
};

struct gw_bus_link {
	const struct gw_config *config;
	char uri[160], status_topic[320];
	char *password;
	size_t password_len;
	uint32_t window;
	struct context *contexts; // GENERATIONS * window

	MQTTAsync client;         // the outlet's thread only
	MQTTAsync nudge;          // never connected: see gw_bus_link_nudge()

	pthread_mutex_t lock;     // guards all below
	pthread_cond_t changed;
	uint32_t generation;
	bool up, connecting, waiting, woken;
	char tls_error[160];
	struct slot *slots;       // a ring: head is the oldest unsettled, tail the next free
	uint64_t head, tail;
	int64_t moved_us;         // when head moved last, or nothing was under way
	struct gw_bus_link_stats stats;
};

// ---- Paho's threads ----

static void
on_answer(const struct context *context, uint8_t reason)
{
	struct gw_bus_link *link = context->link;
	struct slot *slot = &link->slots[context->slot];

	pthread_mutex_lock(&link->lock);
	if (context->generation == link->generation && slot->state == WAITING) {
		slot->state = reason >= 0x80 ? REFUSED : ACKNOWLEDGED;
		slot->reason = reason;
		if (reason >= 0x80)
			link->stats.refused++;
		else
			link->stats.acknowledged++;
		// At once: the next message carries TCP's acknowledgement. Waiting for half the window instead costs 40 ms each time with a
		// broker that leaves Nagle's algorithm on, as Mosquitto does unless told.
		if (link->waiting)
			pthread_cond_broadcast(&link->changed);
	}
	pthread_mutex_unlock(&link->lock);
}

static void
on_acknowledged(void *context, MQTTAsync_successData5 *data)
{
	on_answer(context, data != NULL && data->reasonCode < MQTTREASONCODE_UNSPECIFIED_ERROR ? (uint8_t)data->reasonCode : 0);
}

// Also called for what is under way when a connection ends: that is no refusal.
static void
on_refused(void *context, MQTTAsync_failureData5 *data)
{
	if (data != NULL && data->reasonCode >= MQTTREASONCODE_UNSPECIFIED_ERROR && data->packet_type == PUBACK_PACKET)
		on_answer(context, (uint8_t)data->reasonCode);
}

static void
on_end(const struct context *context, const char *words)
{
	struct gw_bus_link *link = context->link;

	pthread_mutex_lock(&link->lock);
	if (context->generation == link->generation) {
		link->up = link->connecting = false;
		snprintf(link->stats.last_error, sizeof(link->stats.last_error), "%s", words);
		pthread_cond_broadcast(&link->changed);
	}
	pthread_mutex_unlock(&link->lock);
}

static void
on_lost(void *context, char *cause)
{
	on_end(context, cause != NULL ? cause : "connection lost");
}

static void
on_disconnect(void *context, MQTTProperties *properties, enum MQTTReasonCodes reason)
{
	const char *text = MQTTReasonCode_toString(reason);

	(void)properties;
	on_end(context, text != NULL ? text : "disconnected by the broker");
}

static void
on_connected(void *arg, MQTTAsync_successData5 *data)
{
	const struct context *context = arg;
	struct gw_bus_link *link = context->link;

	(void)data;
	pthread_mutex_lock(&link->lock);
	if (context->generation == link->generation) {
		link->up = true;
		link->connecting = false;
		link->stats.connects++;
		link->stats.last_error[0] = '\0';
		pthread_cond_broadcast(&link->changed);
	}
	pthread_mutex_unlock(&link->lock);
}

static void
on_not_connected(void *context, MQTTAsync_failureData5 *data)
{
	// CONNACK's reason code comes in `code`, where errors of Paho's own are negative.
	int reason = data == NULL ? 0 : data->code >= MQTTREASONCODE_UNSPECIFIED_ERROR ? data->code : (int)data->reasonCode;
	const char *text = MQTTReasonCode_toString((enum MQTTReasonCodes)reason);
	char words[160];

	if (reason >= MQTTREASONCODE_UNSPECIFIED_ERROR)
		snprintf(words, sizeof(words), "the broker refuses the connection: %s", text != NULL ? text : "no reason known");
	else
		snprintf(words, sizeof(words), "%s", data != NULL && data->message != NULL ? data->message : "the broker cannot be reached");
	on_end(context, words);
}

// OpenSSL's words for what on_not_connected() calls a failure of TLS: the last of them are the most exact. "...:error:...:reason:file:line:data".
static int
on_tls_error(const char *text, size_t len, void *arg)
{
	struct gw_bus_link *link = arg;

	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == ':'))
		len--;
	pthread_mutex_lock(&link->lock);
	snprintf(link->tls_error, sizeof(link->tls_error), "%.*s", len < sizeof(link->tls_error) ? (int)len : (int)sizeof(link->tls_error) - 1, text);
	pthread_mutex_unlock(&link->lock);
	return 1;
}

// Nothing is subscribed to; Paho wants the function.
static int
on_message(void *context, char *topic, int topic_len, MQTTAsync_message *message)
{
	(void)context, (void)topic_len;
	MQTTAsync_freeMessage(&message);
	MQTTAsync_free(topic);
	return 1;
}

// ---- The outlet's thread ----

static enum gw_error make_nudge(struct gw_bus_link *link, struct gw_why *why);

static void
forget_password(struct gw_bus_link *link)
{
	if (link->password != NULL)
		explicit_bzero(link->password, link->password_len);
	free(link->password);
	link->password = NULL;
	link->password_len = 0;
}

static enum gw_error
read_password(struct gw_bus_link *link, struct gw_why *why)
{
	char text[1024];
	FILE *file = fopen(link->config->bus_password_file, "re");
	size_t len;

	if (file == NULL)
		return gw_fail(why, GW_E_CONFIG, "bus.password_file %s cannot be read: %s", link->config->bus_password_file, strerror(errno));
	len = fread(text, 1, sizeof(text), file);
	fclose(file);
	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
		len--;
	if (len == 0 || len == sizeof(text))
		return gw_fail(why, GW_E_CONFIG, "bus.password_file %s holds no password on one line", link->config->bus_password_file);
	forget_password(link);
	if ((link->password = malloc(len + 1)) == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	memcpy(link->password, text, len);
	link->password[len] = '\0';
	link->password_len = len;
	explicit_bzero(text, sizeof(text));
	return GW_OK;
}

// Paho's names of the schemes are older than MQTT's registered ones.
static enum gw_error
set_uri(struct gw_bus_link *link, struct gw_why *why)
{
	const char *uri = link->config->bus_uri;
	bool tls = strncmp(uri, "mqtts://", 8) == 0;

	if (!tls && strncmp(uri, "mqtt://", 7) != 0)
		return gw_fail(why, GW_E_CONFIG, "bus.uri %s: must be mqtt://host:port or mqtts://host:port", uri);
	if (snprintf(link->uri, sizeof(link->uri), "%s%s", tls ? "ssl://" : "tcp://", uri + (tls ? 8 : 7)) >= (int)sizeof(link->uri))
		return gw_fail(why, GW_E_CONFIG, "bus.uri is too long");
	snprintf(link->stats.broker, sizeof(link->stats.broker), "%s", uri);
	snprintf(link->status_topic, sizeof(link->status_topic), "%s-gateway/%s/status", link->config->bus_prefix, link->config->bus_client_id);
	return GW_OK;
}

enum gw_error
gw_bus_link_new(const struct gw_config *config, struct gw_bus_link **out, struct gw_why *why)
{
	struct gw_bus_link *link = calloc(1, sizeof(*link));
	pthread_condattr_t attr;
	enum gw_error error;

	if (link == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	link->config = config;
	link->window = (uint32_t)config->bus_in_flight_max;
	link->slots = calloc(link->window, sizeof(*link->slots));
	link->contexts = calloc((size_t)GENERATIONS * link->window, sizeof(*link->contexts));
	pthread_mutex_init(&link->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&link->changed, &attr);
	pthread_condattr_destroy(&attr);
	error = link->slots == NULL || link->contexts == NULL ? gw_fail(why, GW_E_MEMORY, "out of memory") : set_uri(link, why);
	if (error == GW_OK && config->bus_password_file[0] != '\0')
		error = read_password(link, why);
	if (error == GW_OK)
		error = make_nudge(link, why);
	if (error != GW_OK) {
		gw_bus_link_free(link);
		return error;
	}
	*out = link;
	return GW_OK;
}

void
gw_bus_link_free(struct gw_bus_link *link)
{
	if (link == NULL)
		return;
	gw_bus_link_close(link, false);
	if (link->nudge != NULL)
		MQTTAsync_destroy(&link->nudge);
	forget_password(link);
	free(link->contexts);
	free(link->slots);
	pthread_cond_destroy(&link->changed);
	pthread_mutex_destroy(&link->lock);
	free(link);
}

// A new generation: an empty window, and contexts that say so.
static struct context *
begin(struct gw_bus_link *link)
{
	struct context *contexts;

	pthread_mutex_lock(&link->lock);
	link->generation++;
	link->head = link->tail = 0;
	link->moved_us = gw_clock_mono_us();
	link->up = false;
	link->connecting = true;
	link->tls_error[0] = '\0';
	contexts = &link->contexts[(size_t)(link->generation % GENERATIONS) * link->window];
	for (uint32_t i = 0; i < link->window; i++)
		contexts[i] = (struct context){ link, link->generation, i };
	pthread_mutex_unlock(&link->lock);
	return contexts;
}

static void
deadline(struct timespec *at, int timeout_ms)
{
	clock_gettime(CLOCK_MONOTONIC, at);
	at->tv_sec += timeout_ms / 1000;
	at->tv_nsec += (long)(timeout_ms % 1000) * 1000000;
	if (at->tv_nsec >= 1000000000) {
		at->tv_nsec -= 1000000000;
		at->tv_sec++;
	}
}

// Waits for the end of a connection attempt.
static bool
await_connection(struct gw_bus_link *link)
{
	struct timespec until;
	bool up;

	deadline(&until, (CONNECT_S_MAX + 2) * 1000);
	pthread_mutex_lock(&link->lock);
	while (link->connecting && pthread_cond_timedwait(&link->changed, &link->lock, &until) != ETIMEDOUT)
		;
	if (link->connecting)
		snprintf(link->stats.last_error, sizeof(link->stats.last_error), "no answer from the broker in time");
	up = link->up;
	pthread_mutex_unlock(&link->lock);
	return up;
}

static int
connect_client(struct gw_bus_link *link, struct context *context)
{
	const struct gw_config *config = link->config;
	MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer5;
	MQTTAsync_willOptions will = MQTTAsync_willOptions_initializer;
	MQTTAsync_SSLOptions tls = MQTTAsync_SSLOptions_initializer;

	will.topicName = link->status_topic;
	will.message = "offline";
	will.retained = 1;
	will.qos = 1;
	options.will = &will;
	options.keepAliveInterval = KEEP_ALIVE_S;
	options.connectTimeout = CONNECT_S_MAX;
	options.maxInflight = (int)link->window;
	options.username = config->bus_user[0] != '\0' ? config->bus_user : NULL;
	options.binarypwd.data = link->password;
	options.binarypwd.len = (int)link->password_len;
	if (strncmp(link->uri, "ssl://", 6) == 0) {
		tls.trustStore = config->bus_ca[0] != '\0' ? config->bus_ca : NULL;
		tls.keyStore = config->bus_certificate[0] != '\0' ? config->bus_certificate : NULL;
		tls.privateKey = config->bus_key[0] != '\0' ? config->bus_key : NULL;
		tls.enableServerCertAuth = 1;
		tls.ssl_error_cb = on_tls_error;
		tls.ssl_error_context = link;
		tls.verify = 1; // the certificate must be for this host
		options.ssl = &tls;
	}
	options.onSuccess5 = on_connected;
	options.onFailure5 = on_not_connected;
	options.context = context;
	return MQTTAsync_connect(link->client, &options);
}

// Retained, so that whoever comes later sees it too. The answer is of no interest.
static void
announce(struct gw_bus_link *link, const char *word)
{
	MQTTAsync_message message = MQTTAsync_message_initializer;
	MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;

	message.payload = (void *)(uintptr_t)word;
	message.payloadlen = (int)strlen(word);
	message.qos = 1;
	message.retained = 1;
	if (MQTTAsync_sendMessage(link->client, link->status_topic, &message, &options) == MQTTASYNC_SUCCESS)
		(void)MQTTAsync_waitForCompletion(link->client, options.token, 500);
}

static enum gw_error
failed(struct gw_bus_link *link, struct gw_why *why, int code)
{
	char words[192];

	pthread_mutex_lock(&link->lock);
	link->up = link->connecting = false;
	if (code != MQTTASYNC_SUCCESS)
		snprintf(link->stats.last_error, sizeof(link->stats.last_error), "%s", MQTTAsync_strerror(code) != NULL ? MQTTAsync_strerror(code) : "failed");
	if (link->tls_error[0] != '\0')
		snprintf(link->stats.last_error + strlen(link->stats.last_error), sizeof(link->stats.last_error) - strlen(link->stats.last_error), " (%s)",
		    link->tls_error);
	memcpy(words, link->stats.last_error, sizeof(words));
	pthread_mutex_unlock(&link->lock);
	gw_bus_link_close(link, false);
	return gw_fail(why, GW_E_CLOSED, "%.180s", words);
}

enum gw_error
gw_bus_link_connect(struct gw_bus_link *link, struct gw_why *why)
{
	MQTTAsync_createOptions create = MQTTAsync_createOptions_initializer5;
	struct context *context;
	int code;

	gw_bus_link_close(link, false);
	// A file that was changed counts from here on, as certificate and key do, which Paho reads for each new client; one that cannot be read now does not.
	if (link->config->bus_password_file[0] != '\0')
		(void)!read_password(link, NULL);
	context = begin(link);
	create.maxBufferedMessages = UNWRITTEN_MAX;
	code = MQTTAsync_createWithOptions(&link->client, link->uri, link->config->bus_client_id, MQTTCLIENT_PERSISTENCE_NONE, NULL, &create);
	if (code != MQTTASYNC_SUCCESS) {
		link->client = NULL;
		return failed(link, why, code);
	}
	if ((code = MQTTAsync_setCallbacks(link->client, context, on_lost, on_message, NULL)) != MQTTASYNC_SUCCESS ||
	    (code = MQTTAsync_setDisconnected(link->client, context, on_disconnect)) != MQTTASYNC_SUCCESS ||
	    (code = connect_client(link, context)) != MQTTASYNC_SUCCESS)
		return failed(link, why, code);
	if (!await_connection(link))
		return failed(link, why, MQTTASYNC_SUCCESS);
	announce(link, "online");
	return GW_OK;
}

void
gw_bus_link_close(struct gw_bus_link *link, bool politely)
{
	MQTTAsync_disconnectOptions options = MQTTAsync_disconnectOptions_initializer5;
	bool up = gw_bus_link_up(link);

	if (link->client == NULL)
		return;
	if (politely && up) {
		announce(link, "offline");
		options.timeout = 500;
		if (MQTTAsync_disconnect(link->client, &options) == MQTTASYNC_SUCCESS)
			for (int i = 0; i < 100 && MQTTAsync_isConnected(link->client); i++)
				nanosleep(&(struct timespec){ .tv_nsec = 5000000 }, NULL);
	}
	pthread_mutex_lock(&link->lock);
	link->generation++; // what still comes is of no interest
	link->up = link->connecting = false;
	link->head = link->tail = 0;
	pthread_mutex_unlock(&link->lock);
	MQTTAsync_destroy(&link->client);
	link->client = NULL;
}

bool
gw_bus_link_up(struct gw_bus_link *link)
{
	bool up;

	pthread_mutex_lock(&link->lock);
	up = link->up;
	pthread_mutex_unlock(&link->lock);
	return up;
}

uint32_t
gw_bus_link_pending(struct gw_bus_link *link)
{
	uint32_t pending;

	pthread_mutex_lock(&link->lock);
	pending = (uint32_t)(link->tail - link->head);
	pthread_mutex_unlock(&link->lock);
	return pending;
}

uint32_t
gw_bus_link_room(struct gw_bus_link *link)
{
	return link->window - gw_bus_link_pending(link);
}

void
gw_bus_link_wait(struct gw_bus_link *link, int timeout_ms)
{
	struct timespec until;
	uint32_t generation;
	bool was_up;

	deadline(&until, timeout_ms);
	pthread_mutex_lock(&link->lock);
	link->waiting = true;
	generation = link->generation;
	was_up = link->up;
	while (!link->woken && link->up == was_up && link->generation == generation &&
	    (!was_up || link->head == link->tail || link->slots[link->head % link->window].state == WAITING))
		if (pthread_cond_timedwait(&link->changed, &link->lock, &until) == ETIMEDOUT)
			break;
	link->waiting = link->woken = false;
	pthread_mutex_unlock(&link->lock);
}

void
gw_bus_link_wake(struct gw_bus_link *link)
{
	pthread_mutex_lock(&link->lock);
	link->woken = true;
	pthread_cond_broadcast(&link->changed);
	pthread_mutex_unlock(&link->lock);
}

// A message for a client that is never connected takes the place of the one before and is never sent; but Paho's thread wakes up for it.
void
gw_bus_link_nudge(struct gw_bus_link *link)
{
	if (link->nudge != NULL)
		(void)MQTTAsync_send(link->nudge, "nudge", 0, "", 0, 0, NULL);
}

static enum gw_error
make_nudge(struct gw_bus_link *link, struct gw_why *why)
{
	MQTTAsync_createOptions create = MQTTAsync_createOptions_initializer5;
	int code;

	create.sendWhileDisconnected = 1;
	create.allowDisconnectedSendAtAnyTime = 1;
	create.deleteOldestMessages = 1;
	create.maxBufferedMessages = 1;
	code = MQTTAsync_createWithOptions(&link->nudge, link->uri, "nudge", MQTTCLIENT_PERSISTENCE_NONE, NULL, &create);
	if (code == MQTTASYNC_SUCCESS)
		return GW_OK;
	link->nudge = NULL;
	return gw_fail(why, GW_E_CONFIG, "bus: %s", MQTTAsync_strerror(code) != NULL ? MQTTAsync_strerror(code) : link->uri);
}

enum gw_error
gw_bus_link_publish(struct gw_bus_link *link, const char *topic, struct gw_span payload, const struct gw_bus_ref *ref)
{
	MQTTAsync_responseOptions options = MQTTAsync_responseOptions_initializer;
	struct context *context;
	uint32_t slot;
	int code;

	pthread_mutex_lock(&link->lock);
	if (!link->up || link->tail - link->head >= link->window) {
		enum gw_error error = link->up ? GW_E_BUSY : GW_E_CLOSED;

		pthread_mutex_unlock(&link->lock);
		return error;
	}
	slot = (uint32_t)(link->tail++ % link->window);
	link->slots[slot] = (struct slot){ .ref = *ref, .state = WAITING };
	link->stats.published++;
	context = &link->contexts[(size_t)(link->generation % GENERATIONS) * link->window + slot];
	pthread_mutex_unlock(&link->lock);
	options.onSuccess5 = on_acknowledged;
	options.onFailure5 = on_refused;
	options.context = context;
	for (unsigned i = 1; (code = MQTTAsync_send(link->client, topic, (int)payload.len, payload.at, 1, 0, &options)) ==
	    MQTTASYNC_MAX_BUFFERED_MESSAGES; i++) {
		nanosleep(&(struct timespec){ .tv_nsec = 20000 }, NULL); // Paho's thread is writing
		if (i % 16 == 0)
			gw_bus_link_nudge(link);
	}
	if (code == MQTTASYNC_SUCCESS)
		return GW_OK;
	on_end(context, "the message could not be handed to the connection");
	return GW_E_CLOSED;
}

bool
gw_bus_link_covers(struct gw_bus_link *link, uint64_t position)
{
	bool under_way;

	pthread_mutex_lock(&link->lock);
	under_way = link->tail != link->head;
	if (under_way)
		link->slots[(link->tail - 1) % link->window].covers = position;
	pthread_mutex_unlock(&link->lock);
	return under_way;
}

// A broker that is there and acknowledges nothing would hold the cursor, and with it the journal, for ever. Under the lock.
static void
watch(struct gw_bus_link *link, bool moved)
{
	int64_t now = gw_clock_mono_us();

	if (moved || link->head == link->tail) {
		link->moved_us = now;
	} else if (link->up && link->config->bus_answer_s_max > 0 && now - link->moved_us > link->config->bus_answer_s_max * 1000000) {
		link->up = false;
		snprintf(link->stats.last_error, sizeof(link->stats.last_error), "the broker acknowledges nothing");
	}
}

size_t
gw_bus_link_settle(struct gw_bus_link *link, uint64_t *position, struct gw_bus_settled *settled, size_t cap)
{
	size_t count = 0;
	uint64_t before;

	pthread_mutex_lock(&link->lock);
	before = link->head;
	for (; link->head != link->tail; link->head++) {
		const struct slot *slot = &link->slots[link->head % link->window];
		bool more = slot->state == REFUSED || slot->ref.position == 0;

		if (slot->state == WAITING || (more && count == cap))
			break;
		if (more)
			settled[count++] = (struct gw_bus_settled){ slot->ref, slot->reason };
		if (slot->covers != 0)
			*position = slot->covers;
	}
	watch(link, link->head != before);
	pthread_mutex_unlock(&link->lock);
	return count;
}

void
gw_bus_link_stats(struct gw_bus_link *link, struct gw_bus_link_stats *stats)
{
	pthread_mutex_lock(&link->lock);
	*stats = link->stats;
	pthread_mutex_unlock(&link->lock);
}
