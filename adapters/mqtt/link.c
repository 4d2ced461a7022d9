// SPDX-License-Identifier: Apache-2.0
// The protocol of an admitted connection: one function per packet type, one per outcome. Pure but for what session and aliases allocate.
#include "adapters/mqtt/link.h"

#include "adapters/mqtt/answer.h"
#include "gateway/decode.h"

#include <stdlib.h>

static const struct gw_span nothing = { NULL, 0 };

void
gw_mqtt_link_init(struct gw_mqtt_link *link, const struct gw_mqtt_host *host, void *arg, const struct gw_mqtt_limits *limits)
{
	memset(link, 0, sizeof(*link));
	link->host = host;
	link->arg = arg;
	link->limits = limits;
	link->packet_bytes_max = UINT32_MAX;
	link->problem_info = true;
}

void
gw_mqtt_link_fini(struct gw_mqtt_link *link)
{
	for (unsigned i = 0; link->aliases != NULL && i < link->limits->alias_max; i++)
		free(link->aliases[i].topic);
	free(link->aliases);
	free(link->codes);
	link->aliases = NULL;
	link->codes = NULL;
}

static void
send_bytes(struct gw_mqtt_link *link, const uint8_t *bytes, size_t len)
{
	if (len > 0 && !link->closed)
		link->host->write(link->arg, bytes, len);
}

enum gw_mqtt_step
gw_mqtt_link_end(struct gw_mqtt_link *link, uint8_t reason, const char *why)
{
	uint8_t packet[256];
	struct gw_span words = link->problem_info ? gw_span_text(why) : nothing;
	size_t len;

	if (link->closed)
		return GW_MQTT_CLOSE;
	if (link->version == 5) {
		len = gw_mqtt_write_disconnect(reason, words, packet, sizeof(packet));
		if (len > link->packet_bytes_max)
			len = gw_mqtt_write_disconnect(reason, nothing, packet, sizeof(packet));
		send_bytes(link, packet, len);
	}
	link->closed = true;
	link->reason = reason;
	return GW_MQTT_CLOSE;
}

// Words from a frame's verdict may quote the frame: what is not UTF-8 becomes '?'.
static struct gw_span
clean_words(const struct gw_why *why, struct gw_why *copy)
{
	struct gw_span text = gw_span_text(why->text);

	if (gw_mqtt_utf8(text))
		return text;
	*copy = *why;
	for (char *p = copy->text; *p != '\0'; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	return gw_span(copy->text, text.len);
}

static void
send_ack(struct gw_mqtt_link *link, enum gw_mqtt_type type, uint16_t id, uint8_t reason, const struct gw_why *why)
{
	uint8_t packet[256] = { (uint8_t)(type << 4), 2, (uint8_t)(id >> 8), (uint8_t)id };
	struct gw_span words = nothing;
	struct gw_why copy;
	size_t len = 4;

	if (reason != GW_MQTT_SUCCESS && link->version == 5) {
		if (why != NULL && link->problem_info)
			words = clean_words(why, &copy);
		len = gw_mqtt_write_ack(5, type, id, reason, words, packet, sizeof(packet));
		if (len > link->packet_bytes_max) // section 3.1.2.11.4: without the words then
			len = gw_mqtt_write_ack(5, type, id, reason, nothing, packet, sizeof(packet));
	}
	send_bytes(link, packet, len);
}

static enum gw_mqtt_step
submit(struct gw_mqtt_link *link, const struct gw_mqtt_pass *pass, const struct gw_mqtt_message *message)
{
	if (link->host->submit(link->arg, pass, message) != GW_OK)
		return GW_MQTT_AGAIN;
	link->under_way++;
	return GW_MQTT_NEXT;
}

// ---- PUBLISH ----

static const struct { const char *type; uint32_t format; } content_types[] = {
	{ "application/senml+json", GW_CF_SENML_JSON },
	{ "application/senml+cbor", GW_CF_SENML_CBOR },
	{ "application/json", GW_CF_JSON },
	{ "application/cbor", GW_CF_CBOR },
	{ "application/octet-stream", GW_CF_OCTETS },
	{ "text/plain", GW_CF_TEXT },
};

uint32_t
gw_mqtt_content_format(struct gw_span type)
{
	const uint8_t *semicolon = type.len > 0 ? memchr(type.at, ';', type.len) : NULL;

	if (semicolon != NULL) // parameters such as charset
		type.len = (size_t)(semicolon - type.at);
	while (type.len > 0 && type.at[type.len - 1] == ' ')
		type.len--;
	for (size_t i = 0; i < sizeof(content_types) / sizeof(content_types[0]); i++)
		if (gw_span_is(type, content_types[i].type))
			return content_types[i].format;
	return GW_CF_NONE;
}

// Keeps a topic behind an alias. 0 or the reason to end the connection.
static uint8_t
keep_alias(struct gw_mqtt_link *link, struct gw_mqtt_alias *alias, struct gw_span topic)
{
	uint8_t *kept;

	if (alias->len == topic.len && memcmp(alias->topic, topic.at, topic.len) == 0)
		return 0;
	if (topic.len > link->limits->alias_bytes_max)
		return GW_MQTT_TOPIC_NAME;
	kept = realloc(alias->topic, topic.len);
	if (kept == NULL)
		return GW_MQTT_QUOTA;
	memcpy(kept, topic.at, topic.len);
	alias->topic = kept;
	alias->len = topic.len;
	return 0;
}

// Section 3.3.2.3.4.
static uint8_t
resolve_alias(struct gw_mqtt_link *link, struct gw_mqtt_publish *p)
{
	uint16_t n = p->properties.alias;
	struct gw_mqtt_alias *alias;

	if (n == 0)
		return 0;
	if (n > link->limits->alias_max)
		return GW_MQTT_ALIAS_INVALID;
	if (link->aliases == NULL)
		link->aliases = calloc(link->limits->alias_max, sizeof(*link->aliases));
	if (link->aliases == NULL)
		return GW_MQTT_QUOTA;
	alias = &link->aliases[n - 1];
	if (p->topic.len > 0)
		return keep_alias(link, alias, p->topic);
	if (alias->len == 0)
		return GW_MQTT_PROTOCOL_ERROR;
	p->topic = gw_span(alias->topic, alias->len);
	return 0;
}

static enum gw_mqtt_step
take(struct gw_mqtt_link *link, const struct gw_mqtt_publish *p, uint64_t hash)
{
	struct gw_mqtt_pass pass = { GW_MQTT_PASS_MESSAGE, p->qos, p->id, hash };
	struct gw_mqtt_message message = { p->topic, p->payload, GW_CF_NONE };

	if (p->properties.content_type.len > 0)
		message.content_format = gw_mqtt_content_format(p->properties.content_type);
	return submit(link, &pass, &message);
}

static enum gw_mqtt_step
take_qos1(struct gw_mqtt_link *link, const struct gw_mqtt_publish *p)
{
	struct gw_mqtt_pass fence = { GW_MQTT_PASS_FENCE, 1, p->id, 0 };
	uint64_t hash = gw_mqtt_content_hash(p->topic, p->payload);
	enum gw_mqtt_step step;

	if (p->dup && gw_mqtt_session_knows(link->session, p->id, hash)) {
		if (link->under_way == 0) {
			send_ack(link, GW_MQTT_PUBACK, p->id, GW_MQTT_SUCCESS, NULL);
			return GW_MQTT_NEXT;
		}
		step = submit(link, &fence, NULL);
	} else {
		step = take(link, p, hash);
	}
	if (step == GW_MQTT_NEXT)
		link->quota_used++;
	return step;
}

// Takes a message under an identifier that was held as before says (NOT, or COMMITTED for something else).
static enum gw_mqtt_step
take_held(struct gw_mqtt_link *link, const struct gw_mqtt_publish *p, uint64_t hash, enum gw_mqtt_held before)
{
	uint64_t hash_before = gw_mqtt_session_held_hash(link->session, p->id);
	enum gw_mqtt_step step;

	if (gw_mqtt_session_hold(link->session, p->id, GW_MQTT_HELD_PENDING) != GW_OK)
		return gw_mqtt_link_end(link, GW_MQTT_QUOTA, NULL);
	gw_mqtt_session_set_hash(link->session, p->id, hash);
	step = take(link, p, 0);
	if (step == GW_MQTT_AGAIN) {
		(void)gw_mqtt_session_hold(link->session, p->id, before);
		gw_mqtt_session_set_hash(link->session, p->id, hash_before);
	}
	return step;
}

static enum gw_mqtt_step
take_qos2(struct gw_mqtt_link *link, const struct gw_mqtt_publish *p)
{
	enum gw_mqtt_held held = gw_mqtt_session_held(link->session, p->id);
	uint64_t hash = gw_mqtt_content_hash(p->topic, p->payload), of = gw_mqtt_session_held_hash(link->session, p->id);
	bool same = of == 0 || of == hash;

	switch (held) {
	case GW_MQTT_HELD_COMMITTED:
		if (!same)
			break; // section 4.3.3 lets no client do so; one that lost its state does
		send_ack(link, GW_MQTT_PUBREC, p->id, GW_MQTT_SUCCESS, NULL);
		return GW_MQTT_NEXT;
	case GW_MQTT_HELD_PENDING: // its PUBREC comes with the first one's commit
		return same ? GW_MQTT_NEXT : GW_MQTT_AGAIN;
	case GW_MQTT_HELD_RELEASING: // the identifier is free after PUBCOMP
		return GW_MQTT_AGAIN;
	case GW_MQTT_HELD_NOT:
		break;
	}
	return take_held(link, p, hash, held);
}

// Section 4.9. An identifier that is held already does not count twice.
static bool
over_quota(const struct gw_mqtt_link *link, const struct gw_mqtt_publish *p)
{
	unsigned used = (unsigned)link->quota_used + link->session->qos2_count - link->session->qos2_old;

	if (p->qos == 0 || (p->qos == 2 && gw_mqtt_session_held(link->session, p->id) != GW_MQTT_HELD_NOT))
		return false;
	if (link->version == 5 && used >= link->limits->receive_maximum)
		return true;
	return p->qos == 2 && link->session->qos2_count >= link->limits->qos2_max;
}

static enum gw_mqtt_step
on_publish(struct gw_mqtt_link *link, const struct gw_mqtt_frame *frame)
{
	struct gw_mqtt_publish p;
	uint8_t bad = gw_mqtt_read_publish(link->version, frame->flags, frame->body, &p);

	if (bad == 0)
		bad = resolve_alias(link, &p);
	if (bad != 0)
		return gw_mqtt_link_end(link, bad, NULL);
	if (over_quota(link, &p))
		return gw_mqtt_link_end(link, GW_MQTT_RECEIVE_MAXIMUM, NULL);
	if (link->under_way >= link->limits->receive_maximum)
		return GW_MQTT_AGAIN; // QoS 0 and 3.1.1 clients know no limit: their socket waits
	if (p.qos == 1)
		return take_qos1(link, &p);
	return p.qos == 2 ? take_qos2(link, &p) : take(link, &p, 0);
}

// ---- Acknowledgements from the client ----

// Nothing is delivered to devices that they could acknowledge: such packets are read and left.
static enum gw_mqtt_step
on_ack(struct gw_mqtt_link *link, const struct gw_mqtt_frame *frame)
{
	uint16_t id;
	uint8_t reason, bad = gw_mqtt_read_ack(link->version, frame->body, &id, &reason);

	if (bad != 0)
		return gw_mqtt_link_end(link, bad, NULL);
	if (frame->type == GW_MQTT_PUBREC && reason < 0x80 && link->version == 5) {
		uint8_t packet[16];

		send_bytes(link, packet, gw_mqtt_write_ack(5, GW_MQTT_PUBREL, id, GW_MQTT_ID_NOT_FOUND, nothing, packet, sizeof(packet)));
	}
	return GW_MQTT_NEXT;
}

static enum gw_mqtt_step
on_pubrel(struct gw_mqtt_link *link, const struct gw_mqtt_frame *frame)
{
	struct gw_mqtt_pass pass = { GW_MQTT_PASS_RELEASE, 2, 0, 0 };
	uint8_t reason, bad = gw_mqtt_read_ack(link->version, frame->body, &pass.id, &reason);
	enum gw_mqtt_step step;

	if (bad != 0)
		return gw_mqtt_link_end(link, bad, NULL);
	switch (gw_mqtt_session_held(link->session, pass.id)) {
	case GW_MQTT_HELD_NOT:
		send_ack(link, GW_MQTT_PUBCOMP, pass.id, GW_MQTT_ID_NOT_FOUND, NULL);
		return GW_MQTT_NEXT;
	case GW_MQTT_HELD_PENDING:
		return gw_mqtt_link_end(link, GW_MQTT_PROTOCOL_ERROR, "PUBREL before PUBREC");
	case GW_MQTT_HELD_RELEASING:
		return GW_MQTT_NEXT;
	case GW_MQTT_HELD_COMMITTED:
		break;
	}
	if (!link->session->durable) {
		(void)gw_mqtt_session_hold(link->session, pass.id, GW_MQTT_HELD_NOT);
		send_ack(link, GW_MQTT_PUBCOMP, pass.id, GW_MQTT_SUCCESS, NULL);
		return GW_MQTT_NEXT;
	}
	step = submit(link, &pass, NULL);
	if (step == GW_MQTT_NEXT)
		(void)gw_mqtt_session_hold(link->session, pass.id, GW_MQTT_HELD_RELEASING);
	return step;
}

// ---- SUBSCRIBE, UNSUBSCRIBE ----

bool
gw_mqtt_own_downlink(struct gw_span filter, struct gw_span device)
{
	static const char prefix[] = "downlink/";
	size_t at = sizeof(prefix) - 1;

	// A name with characters of the filter language would match more than itself.
	for (size_t i = 0; i < device.len; i++)
		if (strchr("+#/", device.at[i]) != NULL)
			return false;
	return device.len > 0 && filter.len > at + device.len + 1 && memcmp(filter.at, prefix, at) == 0 &&
	    memcmp(filter.at + at, device.at, device.len) == 0 && filter.at[at + device.len] == '/';
}

static uint8_t
subscribe_one(struct gw_mqtt_link *link, const struct gw_mqtt_filter *f)
{
	static const char shared[] = "$share/";
	enum gw_error error;

	if (f->topic.len >= sizeof(shared) - 1 && memcmp(f->topic.at, shared, sizeof(shared) - 1) == 0)
		return link->version == 5 ? GW_MQTT_SHARED : GW_MQTT_UNSPECIFIED;
	if (!gw_mqtt_own_downlink(f->topic, link->session->principal)) {
		if (link->host->foreign != NULL)
			link->host->foreign(link->arg, f->topic);
		return link->version == 5 ? GW_MQTT_NOT_AUTHORIZED : GW_MQTT_UNSPECIFIED;
	}
	if (f->topic.len > link->limits->alias_bytes_max)
		return link->version == 5 ? GW_MQTT_TOPIC_FILTER : GW_MQTT_UNSPECIFIED;
	error = gw_mqtt_session_subscribe(link->session, f->topic, f->options, link->limits->subscriptions_max);
	if (error != GW_OK)
		return link->version == 5 ? GW_MQTT_QUOTA : GW_MQTT_UNSPECIFIED;
	return f->options & 3; // granted as asked for
}

static uint8_t
unsubscribe_one(struct gw_mqtt_link *link, const struct gw_mqtt_filter *f)
{
	return gw_mqtt_session_unsubscribe(link->session, f->topic) ? GW_MQTT_SUCCESS : GW_MQTT_NO_SUBSCRIPTION;
}

// All filters are checked before the first takes effect. 0 or the reason to end.
static uint8_t
check_filters(struct gw_mqtt_link *link, bool subscribe, struct gw_mqtt_cursor filters, unsigned *count)
{
	struct gw_mqtt_filter f;

	for (*count = 0; gw_mqtt_next_filter(&filters, link->version, subscribe, &f); (*count)++)
		if (*count == link->limits->filters_max)
			return GW_MQTT_QUOTA;
	return filters.bad;
}

static void
send_codes(struct gw_mqtt_link *link, uint16_t id)
{
	size_t cap = link->codes_count + 8u;
	uint8_t *packet = malloc(cap);

	if (packet != NULL)
		send_bytes(link, packet, gw_mqtt_write_codes(link->version, link->codes_subscribe ? GW_MQTT_SUBACK : GW_MQTT_UNSUBACK, id,
		    link->codes, link->codes_count, packet, cap));
	free(packet);
	free(link->codes);
	link->codes = NULL;
}

static enum gw_mqtt_step
on_filters(struct gw_mqtt_link *link, const struct gw_mqtt_frame *frame)
{
	bool subscribe = frame->type == GW_MQTT_SUBSCRIBE;
	struct gw_mqtt_pass pass = { GW_MQTT_PASS_KEEP, 0, 0, 0 };
	struct gw_mqtt_properties properties;
	struct gw_mqtt_cursor filters;
	struct gw_mqtt_filter f;
	unsigned count = 0;
	uint8_t bad = gw_mqtt_read_filters(link->version, subscribe, frame->body, &pass.id, &properties, &filters);

	if (bad == 0)
		bad = check_filters(link, subscribe, filters, &count);
	if (bad == 0 && properties.subscription_id != 0)
		bad = GW_MQTT_SUBSCRIPTION_ID;
	if (bad != 0)
		return gw_mqtt_link_end(link, bad, NULL);
	if (link->codes != NULL || link->under_way > 0)
		return GW_MQTT_AGAIN; // rare enough to wait for what is under way
	link->codes = malloc(count);
	if (link->codes == NULL)
		return gw_mqtt_link_end(link, GW_MQTT_QUOTA, NULL);
	link->codes_count = 0;
	link->codes_subscribe = subscribe;
	while (gw_mqtt_next_filter(&filters, link->version, subscribe, &f))
		link->codes[link->codes_count++] = subscribe ? subscribe_one(link, &f) : unsubscribe_one(link, &f);
	if (link->session->durable && submit(link, &pass, NULL) == GW_MQTT_NEXT)
		return GW_MQTT_NEXT;
	if (link->session->durable) { // no room now: applied twice is applied once
		free(link->codes);
		link->codes = NULL;
		return GW_MQTT_AGAIN;
	}
	send_codes(link, pass.id);
	return GW_MQTT_NEXT;
}

// ---- The rest ----

static enum gw_mqtt_step
on_ping(struct gw_mqtt_link *link, const struct gw_mqtt_frame *frame)
{
	static const uint8_t pong[] = { GW_MQTT_PINGRESP << 4, 0 };

	if (frame->body.len != 0)
		return gw_mqtt_link_end(link, GW_MQTT_MALFORMED, NULL);
	send_bytes(link, pong, sizeof(pong));
	return GW_MQTT_NEXT;
}

// Section 3.14.2.2.2: a session that was to end with its connection cannot be prolonged now.
static bool
change_expiry(struct gw_mqtt_link *link, const struct gw_mqtt_properties *p)
{
	if ((p->seen >> 0x11 & 1) == 0)
		return true;
	if (link->connect_expiry_s == 0 && p->session_expiry_s != 0)
		return false;
	if (p->session_expiry_s < link->limits->session_expiry_s_max)
		link->session->expiry_s = p->session_expiry_s;
	else
		link->session->expiry_s = link->limits->session_expiry_s_max;
	return true;
}

static enum gw_mqtt_step
on_disconnect(struct gw_mqtt_link *link, const struct gw_mqtt_frame *frame)
{
	struct gw_mqtt_properties p;
	uint8_t reason, bad = gw_mqtt_read_disconnect(link->version, frame->body, &reason, &p);

	if (bad == 0 && !change_expiry(link, &p))
		bad = GW_MQTT_PROTOCOL_ERROR;
	if (bad != 0)
		return gw_mqtt_link_end(link, bad, NULL);
	link->graceful = reason == GW_MQTT_SUCCESS;
	link->closed = true;
	link->reason = GW_MQTT_SUCCESS;
	return GW_MQTT_CLOSE;
}

static enum gw_mqtt_step
on_unexpected(struct gw_mqtt_link *link, const struct gw_mqtt_frame *frame)
{
	(void)frame;
	return gw_mqtt_link_end(link, GW_MQTT_PROTOCOL_ERROR, NULL);
}

enum { ANY_FLAGS = 0xFF };
static const struct {
	enum gw_mqtt_step (*take)(struct gw_mqtt_link *link, const struct gw_mqtt_frame *frame);
	uint8_t flags; // required (section 2.1.3)
} handlers[16] = {
	[0] = { on_unexpected, ANY_FLAGS },
	[GW_MQTT_CONNECT] = { on_unexpected, ANY_FLAGS }, // a second one
	[GW_MQTT_CONNACK] = { on_unexpected, ANY_FLAGS },
	[GW_MQTT_PUBLISH] = { on_publish, ANY_FLAGS },
	[GW_MQTT_PUBACK] = { on_ack, 0 },
	[GW_MQTT_PUBREC] = { on_ack, 0 },
	[GW_MQTT_PUBREL] = { on_pubrel, 2 },
	[GW_MQTT_PUBCOMP] = { on_ack, 0 },
	[GW_MQTT_SUBSCRIBE] = { on_filters, 2 },
	[GW_MQTT_SUBACK] = { on_unexpected, ANY_FLAGS },
	[GW_MQTT_UNSUBSCRIBE] = { on_filters, 2 },
	[GW_MQTT_UNSUBACK] = { on_unexpected, ANY_FLAGS },
	[GW_MQTT_PINGREQ] = { on_ping, 0 },
	[GW_MQTT_PINGRESP] = { on_unexpected, ANY_FLAGS },
	[GW_MQTT_DISCONNECT] = { on_disconnect, 0 },
	[GW_MQTT_AUTH] = { on_unexpected, ANY_FLAGS }, // no enhanced authentication was agreed on
};

enum gw_mqtt_step
gw_mqtt_link_packet(struct gw_mqtt_link *link, const struct gw_mqtt_frame *frame)
{
	uint8_t type = frame->type & 0x0F;

	if (link->closed)
		return GW_MQTT_CLOSE;
	if (type == 0 || (handlers[type].flags != ANY_FLAGS && handlers[type].flags != frame->flags))
		return gw_mqtt_link_end(link, GW_MQTT_MALFORMED, NULL);
	return handlers[type].take(link, frame);
}

// ---- Outcomes ----

// QoS 2 keeps the identifier exactly where PUBREC says success (section 4.3.3).
static void
settle_qos2(struct gw_mqtt_link *link, uint16_t id, bool acknowledged, uint8_t reason)
{
	bool kept = acknowledged && (link->version != 5 || reason < 0x80);

	(void)gw_mqtt_session_hold(link->session, id, kept ? GW_MQTT_HELD_COMMITTED : GW_MQTT_HELD_NOT);
}

// As many as an MQTT 5 client can have under way; 3.1.1 clients, whom nobody tells a limit, have 64 at least.
static uint16_t
recent_slots(const struct gw_mqtt_limits *limits)
{
	enum { LEAST = 64 };

	return limits->receive_maximum > LEAST ? limits->receive_maximum : LEAST;
}

static enum gw_mqtt_step
message_done(struct gw_mqtt_link *link, const struct gw_mqtt_pass *pass, enum gw_error error, const struct gw_why *why)
{
	struct gw_mqtt_answer answer = gw_mqtt_answer(error);
	bool acknowledged = answer.disconnect == 0 && (link->version == 5 || !answer.v3_closes);

	if (pass->qos == 1)
		link->quota_used--;
	if (pass->qos == 2)
		settle_qos2(link, pass->id, acknowledged, answer.ack);
	if (!acknowledged)
		return gw_mqtt_link_end(link, answer.disconnect != 0 ? answer.disconnect : answer.ack, gw_error_text(error));
	if (pass->qos == 0)
		return GW_MQTT_NEXT;
	if (pass->qos == 1 && (link->version != 5 || answer.ack < 0x80))
		gw_mqtt_session_remember(link->session, pass->id, pass->hash, recent_slots(link->limits));
	send_ack(link, pass->qos == 1 ? GW_MQTT_PUBACK : GW_MQTT_PUBREC, pass->id, answer.ack, why);
	return GW_MQTT_NEXT;
}

static enum gw_mqtt_step
fence_done(struct gw_mqtt_link *link, const struct gw_mqtt_pass *pass, enum gw_error error, const struct gw_why *why)
{
	(void)error; // what is answered here was committed before
	(void)why;
	link->quota_used--;
	send_ack(link, GW_MQTT_PUBACK, pass->id, GW_MQTT_SUCCESS, NULL);
	return GW_MQTT_NEXT;
}

static enum gw_mqtt_step
release_done(struct gw_mqtt_link *link, const struct gw_mqtt_pass *pass, enum gw_error error, const struct gw_why *why)
{
	(void)why;
	if (error != GW_OK) {
		(void)gw_mqtt_session_hold(link->session, pass->id, GW_MQTT_HELD_COMMITTED);
		return gw_mqtt_link_end(link, gw_mqtt_answer(error).disconnect, gw_error_text(error));
	}
	(void)gw_mqtt_session_hold(link->session, pass->id, GW_MQTT_HELD_NOT);
	send_ack(link, GW_MQTT_PUBCOMP, pass->id, GW_MQTT_SUCCESS, NULL);
	return GW_MQTT_NEXT;
}

static enum gw_mqtt_step
keep_done(struct gw_mqtt_link *link, const struct gw_mqtt_pass *pass, enum gw_error error, const struct gw_why *why)
{
	(void)why;
	if (error != GW_OK)
		return gw_mqtt_link_end(link, gw_mqtt_answer(error).disconnect, gw_error_text(error));
	send_codes(link, pass->id);
	return GW_MQTT_NEXT;
}

typedef enum gw_mqtt_step done_fn(struct gw_mqtt_link *link, const struct gw_mqtt_pass *pass, enum gw_error error, const struct gw_why *why);
static done_fn *const outcomes[] = {
	[GW_MQTT_PASS_MESSAGE] = message_done,
	[GW_MQTT_PASS_FENCE] = fence_done,
	[GW_MQTT_PASS_RELEASE] = release_done,
	[GW_MQTT_PASS_KEEP] = keep_done,
};

enum gw_mqtt_step
gw_mqtt_link_done(struct gw_mqtt_link *link, const struct gw_mqtt_pass *pass, enum gw_error result, enum gw_error verdict, const struct gw_why *why)
{
	enum gw_error error = gw_mqtt_outcome(result, verdict);
	enum gw_mqtt_step step;

	// Content that is refused and for which quarantine has no room: MQTT 5 is told so, and its client drops the message. A 3.1.1 client knows only
	// PUBACK, or sends the same for ever and never what comes behind it: there it is acknowledged as refused content is. status() counts it.
	if (link->version != 5 && result == GW_E_QUOTA && verdict != GW_OK)
		error = verdict;
	link->under_way--;
	step = outcomes[pass->kind](link, pass, error, why);
	return link->closed ? GW_MQTT_CLOSE : step;
}
