// SPDX-License-Identifier: Apache-2.0
// MQTT 3.1.1 and 5 as a publishing client: CONNECT, PUBLISH with QoS 0, 1 and 2, and the answers.
// A packet identifier is the slot's number plus one, so that an answer finds its message at once.
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "load.h"

enum { CONNACK = 2, PUBACK = 4, PUBREC = 5, PUBCOMP = 7, DISCONNECT = 14 };
enum { STAGE_TYPE, STAGE_LENGTH, STAGE_BODY };

static uint8_t *
put_text(uint8_t *to, const char *text)
{
	size_t n = strlen(text);

	*to++ = (uint8_t)(n >> 8);
	*to++ = (uint8_t)n;
	memcpy(to, text, n);
	return to + n;
}

static size_t
put_length(uint8_t *to, size_t n)
{
	size_t used = 0;

	do {
		to[used] = (uint8_t)(n % 128 | (n >= 128 ? 128 : 0));
		n /= 128;
		used++;
	} while (n > 0);
	return used;
}

// Header, topic, packet identifier, no properties, payload.
static bool
prepare(struct load *l, struct load_conn *c)
{
	uint8_t body[LOAD_TEXT_MAX + 512];
	char topic[256];
	bool v5 = l->o.mqtt_version == 5;

	if (!load_text_render(topic, sizeof topic, l->o.topic, c->device))
		return false;
	uint8_t *at = put_text(body, topic);
	size_t pid = (size_t)(at - body);
	if (l->o.qos > 0)
		at += 2;
	if (v5)
		*at++ = 0;
	size_t size = load_template_render(&l->payload, c->device, body, (size_t)(at - body),
	                                   sizeof body, &c->frame);
	if (size == 0)
		return false;

	uint8_t head[8];
	head[0] = (uint8_t)(0x30 | l->o.qos << 1);
	size_t head_size = 1 + put_length(head + 1, size);
	c->frame.bytes = malloc(head_size + size);
	if (c->frame.bytes == NULL)
		return false;
	memcpy(c->frame.bytes, head, head_size);
	memcpy(c->frame.bytes + head_size, body, size);
	c->frame.size = head_size + size;
	c->pid_at = (uint32_t)(head_size + pid);
	for (unsigned i = 0; i < c->frame.patches; i++)
		c->frame.patch[i].at += (uint32_t)head_size;
	return true;
}

static bool
login(struct load *l, struct load_conn *c)
{
	uint8_t packet[1024], *at = packet + 4;
	char user[LOAD_NAME_MAX];
	bool v5 = l->o.mqtt_version == 5;
	unsigned keep_alive = (unsigned)l->o.keep_alive;

	at = put_text(at, "MQTT");
	*at++ = (uint8_t)l->o.mqtt_version;
	*at++ = (uint8_t)((l->o.user ? 0x80 : 0) | (l->o.password ? 0x40 : 0) |
	                  (l->o.persistent ? 0 : 2));
	*at++ = (uint8_t)(keep_alive >> 8);
	*at++ = (uint8_t)keep_alive;
	if (v5 && l->o.persistent) {
		*at++ = 5;
		*at++ = 0x11;                           // Session Expiry Interval: one hour
		memcpy(at, &(uint32_t){ htonl(3600) }, 4);
		at += 4;
	} else if (v5) {
		*at++ = 0;
	}
	at = put_text(at, c->device);
	if (l->o.user != NULL) {
		if (!load_pattern(user, sizeof user, l->o.user, c->number))
			return false;
		at = put_text(at, user);
	}
	if (l->o.password != NULL) {
		if (strlen(l->o.password) > 256)
			return false;
		at = put_text(at, l->o.password);
	}
	// The length takes one or two bytes; the packet begins so that it ends right before the body.
	uint8_t length[4];
	size_t n = put_length(length, (size_t)(at - packet - 4));
	uint8_t *start = packet + 4 - n - 1;
	start[0] = 0x10;
	memcpy(start + 1, length, n);
	return load_write(l, c, start, (size_t)(at - start));
}

// ---- answers ----------------------------------------------------------------------------------

// MQTT 5: the server's Receive Maximum bounds the window.
static void
receive_maximum(struct load_conn *c, const uint8_t *at, size_t left)
{
	static const uint8_t width[128] = {
		[0x11] = 4, [0x13] = 2, [0x21] = 2, [0x22] = 2, [0x24] = 1, [0x25] = 1, [0x27] = 4,
		[0x28] = 1, [0x29] = 1, [0x2A] = 1,
	};

	while (left >= 3 && at[0] < 128) {
		size_t n = width[at[0]];
		if (at[0] == 0x21) {
			unsigned most = (unsigned)(at[1] << 8 | at[2]);
			if (most > 0 && most < c->window)
				load_window(c, most, c->refill < most ? c->refill : (most + 1) / 2);
		}
		if (n == 0)
			n = 2 + (size_t)(at[1] << 8 | at[2]);  // a text
		if (n + 1 > left)
			return;
		at += n + 1;
		left -= n + 1;
	}
}

static bool
connack(struct load *l, struct load_conn *c)
{
	if (c->in_have < 2 || c->in_body[1] != 0) {
		load_first_error(l, "CONNACK refuses with %u", c->in_have < 2 ? 0 : c->in_body[1]);
		return false;
	}
	if (l->o.mqtt_version == 5 && c->in_have > 3)
		receive_maximum(c, c->in_body + 3, c->in_have - 3);
	load_ready(l, c);
	return true;
}

static struct load_slot *
slot_of(struct load_conn *c, unsigned pid)
{
	if (pid == 0 || pid > c->window || !c->slot[pid - 1].used)
		return NULL;
	return &c->slot[pid - 1];
}

static bool
pubrec(struct load *l, struct load_conn *c, struct load_slot *s, unsigned pid)
{
	uint8_t pubrel[4] = { 0x62, 2, (uint8_t)(pid >> 8), (uint8_t)pid };

	s->wait = LOAD_WAIT_COMPLETE;
	return load_write(l, c, pubrel, sizeof pubrel);
}

static bool
acknowledged(struct load *l, struct load_conn *c, unsigned type, unsigned pid, unsigned reason)
{
	struct load_slot *s = slot_of(c, pid);

	if (s == NULL)
		return true;
	if (reason >= 0x80) {
		load_first_error(l, "packet type %u answers reason 0x%02x", type, reason);
		load_slot_done(l, c, s, LOAD_REFUSED);
		return true;
	}
	if (type == PUBREC)
		return pubrec(l, c, s, pid);
	load_slot_done(l, c, s, LOAD_ACKED);
	return true;
}

static bool
packet(struct load *l, struct load_conn *c)
{
	unsigned type = c->in_type >> 4;
	unsigned pid = (unsigned)(c->in_body[0] << 8 | c->in_body[1]);

	switch (type) {
	case CONNACK:
		return connack(l, c);
	case PUBACK:
	case PUBREC:
	case PUBCOMP:
		if (c->in_have < 2)
			return false;
		return acknowledged(l, c, type, pid, c->in_have > 2 ? c->in_body[2] : 0);
	case DISCONNECT:
		load_first_error(l, "DISCONNECT with reason 0x%02x", c->in_have ? c->in_body[0] : 0);
		return false;
	default:
		return true;
	}
}

// One byte of a packet that did not come in one piece. Bodies longer than the buffer are cut.
static bool
feed(struct load *l, struct load_conn *c, uint8_t byte)
{
	switch (c->in_stage) {
	case STAGE_TYPE:
		c->in_type = byte;
		c->in_left = c->in_have = c->in_shift = 0;
		c->in_stage = STAGE_LENGTH;
		return true;
	case STAGE_LENGTH:
		c->in_left |= (uint32_t)(byte & 127) << c->in_shift;
		c->in_shift = (uint8_t)(c->in_shift + 7);
		if (byte >= 128)
			return c->in_shift < 28;
		c->in_stage = STAGE_BODY;
		break;
	default:
		if (c->in_have < sizeof c->in_body)
			c->in_body[c->in_have++] = byte;
		c->in_left--;
	}
	if (c->in_left > 0)
		return true;
	c->in_stage = STAGE_TYPE;
	return packet(l, c);
}

static bool
consume(struct load *l, struct load_conn *c, const uint8_t *at, size_t left)
{
	while (left > 0) {
		// The common case, whole and short: an answer of four bytes.
		if (c->in_stage == STAGE_TYPE && left >= 4 && at[1] == 2 &&
		    (at[0] == 0x40 || at[0] == 0x50 || at[0] == 0x70)) {
			if (!acknowledged(l, c, at[0] >> 4, (unsigned)(at[2] << 8 | at[3]), 0))
				return false;
			at += 4;
			left -= 4;
		} else {
			if (!feed(l, c, *at))
				return false;
			at++;
			left--;
		}
	}
	return true;
}

static bool
readable(struct load *l, struct load_conn *c)
{
	static uint8_t in[16384];
	int n;

	while ((n = load_link_read(&c->link, in, sizeof in)) > 0)
		if (!consume(l, c, in, (size_t)n))
			return false;
	return n == 0;
}

// ---- publishing -------------------------------------------------------------------------------

static bool
publish(struct load *l, struct load_conn *c, unsigned n)
{
	static uint8_t out[65536];
	size_t used = 0;

	while (n-- > 0) {
		if (used + c->frame.size > sizeof out) {
			if (!load_write(l, c, out, used))
				return false;
			used = 0;
		}
		struct load_slot *s = load_slot_take(l, c);
		unsigned pid = (unsigned)(s - c->slot) + 1;
		uint8_t *at = out + used;
		memcpy(at, c->frame.bytes, c->frame.size);
		load_frame_stamp(&c->frame, at, s->seq, load_message_ms(l, s->seq));
		if (l->o.qos > 0) {
			at[c->pid_at] = (uint8_t)(pid >> 8);
			at[c->pid_at + 1] = (uint8_t)pid;
		} else {
			load_slot_done(l, c, s, LOAD_ACKED);
		}
		used += c->frame.size;
	}
	return used == 0 || load_write(l, c, out, used);
}

static bool
tick(struct load *l, struct load_conn *c)
{
	static const uint8_t pingreq[2] = { 0xC0, 0 };

	if (l->o.keep_alive <= 0 || c->pending_size > 0 ||
	    l->now_ns - c->started_ns < (uint64_t)(l->o.keep_alive * 0.75e9))
		return true;
	c->started_ns = l->now_ns;
	return load_write(l, c, pingreq, sizeof pingreq);
}

static void
leave(struct load *l, struct load_conn *c)
{
	static const uint8_t disconnect[2] = { 0xE0, 0 };

	if (c->pending_size == 0)
		load_write(l, c, disconnect, sizeof disconnect);
}

const struct load_protocol load_mqtt = {
	"mqtt", prepare, login, readable, publish, tick, leave,
};
