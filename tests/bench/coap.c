// SPDX-License-Identifier: Apache-2.0
// CoAP (RFC 7252) as a client that sends confirmable requests: retransmission with exponential
// back-off (section 4.2), piggy-backed answers, empty acknowledgements with a separate response
// (section 5.2.2), Max-Age of a 5.03. A token is the slot's number and the message's sequence.
#include <stdlib.h>
#include <string.h>

#include "load.h"

enum { CON = 0, NON = 1, ACK = 2, RST = 3 };
enum { TOKEN_BYTES = 4, MAX_RETRANSMIT = 4 };
static const uint64_t ACK_TIMEOUT_NS = 2000000000;
static const uint64_t EXCHANGE_NS = 60000000000;      // wait for a separate response

static uint8_t *
put_option(uint8_t *to, unsigned *last, unsigned number, const void *value, size_t size)
{
	unsigned delta = number - *last;
	unsigned low = size < 13 ? (unsigned)size : 13;

	*to++ = (uint8_t)((delta < 13 ? delta : 13) << 4 | low);
	if (delta >= 13)
		*to++ = (uint8_t)(delta - 13);
	if (low == 13)
		*to++ = (uint8_t)(size - 13);
	memcpy(to, value, size);
	*last = number;
	return to + size;
}

static uint8_t *
put_path(uint8_t *to, unsigned *last, const char *path)
{
	while (*path != 0) {
		size_t n = strcspn(path, "/");
		if (n > 0)
			to = put_option(to, last, 11, path, n);
		path += n;
		if (*path == '/')
			path++;
	}
	return to;
}

static bool
prepare(struct load *l, struct load_conn *c)
{
	uint8_t packet[LOAD_TEXT_MAX + 512], *at = packet + 4 + TOKEN_BYTES;
	char path[200];
	unsigned last = 0;

	if (!load_text_render(path, sizeof path, l->o.topic, c->device))
		return false;
	memset(packet, 0, 4 + TOKEN_BYTES);
	packet[0] = 0x40 | CON << 4 | TOKEN_BYTES;
	packet[1] = strcmp(l->o.method, "PUT") == 0 ? 3 : 2;
	at = put_path(at, &last, path);
	if (l->o.content_format >= 0) {
		uint8_t format[2] = { (uint8_t)(l->o.content_format >> 8),
		                      (uint8_t)l->o.content_format };
		size_t skip = l->o.content_format == 0 ? 2 : format[0] == 0 ? 1 : 0;
		at = put_option(at, &last, 12, format + skip, 2 - skip);
	}
	*at++ = 0xFF;
	size_t size = load_template_render(&l->payload, c->device, packet, (size_t)(at - packet),
	                                   sizeof packet, &c->frame);
	c->frame.bytes = size ? malloc(size) : NULL;
	if (c->frame.bytes == NULL)
		return false;
	memcpy(c->frame.bytes, packet, size);
	c->frame.size = size;
	c->mid = (uint16_t)(c->number * 7919);
	return true;
}

static bool
login(struct load *l, struct load_conn *c)
{
	load_ready(l, c);
	return true;
}

// The same slot gives the same bytes every time: a retransmission is rendered again.
static bool
transmit(struct load *l, struct load_conn *c, struct load_slot *s)
{
	uint8_t *at = c->frame.bytes;
	unsigned number = (unsigned)(s - c->slot);

	at[2] = (uint8_t)(s->mid >> 8);
	at[3] = (uint8_t)s->mid;
	at[4] = (uint8_t)number;
	at[5] = (uint8_t)(s->seq >> 16);
	at[6] = (uint8_t)(s->seq >> 8);
	at[7] = (uint8_t)s->seq;
	load_frame_stamp(&c->frame, at, s->seq, load_message_ms(l, s->seq));
	// A datagram that the socket does not take is lost, like one that the network loses.
	return load_link_write(&c->link, at, c->frame.size) >= 0;
}

static bool
request(struct load *l, struct load_conn *c, unsigned n)
{
	while (n-- > 0) {
		struct load_slot *s = load_slot_take(l, c);
		s->mid = ++c->mid;
		s->wait = LOAD_WAIT_ACK;
		s->tries = 0;
		// ACK_TIMEOUT times a factor of 1 to 1.5
		s->due_ns = l->now_ns + ACK_TIMEOUT_NS + (uint64_t)(rand() % 1000) * 1000000;
		if (!transmit(l, c, s))
			return false;
	}
	return true;
}

// ---- answers ----------------------------------------------------------------------------------

static struct load_slot *
by_mid(struct load_conn *c, unsigned mid)
{
	for (unsigned i = 0; i < c->window; i++)
		if (c->slot[i].used && c->slot[i].mid == mid)
			return &c->slot[i];
	return NULL;
}

static struct load_slot *
by_token(struct load_conn *c, const uint8_t *token)
{
	if (token[0] >= c->window)
		return NULL;
	struct load_slot *s = &c->slot[token[0]];
	uint32_t seq = (uint32_t)token[1] << 16 | (uint32_t)token[2] << 8 | token[3];
	return s->used && (s->seq & 0xFFFFFF) == seq ? s : NULL;
}

// Seconds of Max-Age (option 14) of an answer; 60 is the default (section 5.10.5).
static unsigned
max_age_s(const uint8_t *at, const uint8_t *end)
{
	unsigned number = 0;

	while (at < end && *at != 0xFF) {
		unsigned delta = *at >> 4, size = *at & 15;
		at++;
		if (delta > 13 || size > 12)
			return 60;
		if (delta == 13) {
			if (at == end)
				return 60;
			delta = 13u + *at++;
		}
		if (size > (size_t)(end - at))
			return 60;
		number += delta;
		if (number == 14) {
			unsigned value = 0;
			for (unsigned i = 0; i < size && i < 4; i++)
				value = value << 8 | at[i];
			return value;
		}
		at += size;
	}
	return 60;
}

static void
answered(struct load *l, struct load_conn *c, struct load_slot *s, const uint8_t *at, size_t size)
{
	unsigned code = at[1];

	if (code >> 5 == 2) {
		load_slot_done(l, c, s, LOAD_ACKED);
		return;
	}
	load_first_error(l, "answer %u.%02u", code >> 5, code & 31);
	if (code == 0xA3)
		c->hold_ns = l->now_ns + max_age_s(at + 4 + (at[0] & 15), at + size) * 1000000000ULL;
	load_slot_done(l, c, s, LOAD_REFUSED);
}

static bool
acknowledge(struct load_conn *c, const uint8_t *at)
{
	uint8_t ack[4] = { 0x40 | ACK << 4, 0, at[2], at[3] };

	return load_link_write(&c->link, ack, sizeof ack) >= 0;
}

static void
empty(struct load *l, struct load_conn *c, unsigned type, unsigned mid)
{
	struct load_slot *s = by_mid(c, mid);

	if (s == NULL)
		return;
	if (type == RST) {
		load_first_error(l, "reset");
		load_slot_done(l, c, s, LOAD_REFUSED);
	} else if (s->wait == LOAD_WAIT_ACK) {
		l->total.separate++;
		s->wait = LOAD_WAIT_RESPONSE;
		s->due_ns = l->now_ns + EXCHANGE_NS;
	}
}

static bool
datagram(struct load *l, struct load_conn *c, const uint8_t *at, size_t size)
{
	if (size < 4 || at[0] >> 6 != 1)
		return true;
	unsigned type = at[0] >> 4 & 3, token = at[0] & 15;
	unsigned mid = (unsigned)(at[2] << 8 | at[3]);

	if (at[1] == 0) {
		if (type == ACK || type == RST)
			empty(l, c, type, mid);
		return true;
	}
	if (type == CON && !acknowledge(c, at))
		return false;
	if (token != TOKEN_BYTES || size < 4 + TOKEN_BYTES)
		return true;
	struct load_slot *s = by_token(c, at + 4);
	if (s != NULL && (type != ACK || s->mid == mid))
		answered(l, c, s, at, size);
	return true;
}

static bool
readable(struct load *l, struct load_conn *c)
{
	uint8_t in[2048];
	int n;

	while ((n = load_link_read(&c->link, in, sizeof in)) > 0) {
		if (!datagram(l, c, in, (size_t)n))
			return false;
		if (c->free_count == c->window)
			return true;          // nothing is owed: save the read that would find nothing
	}
	return n == 0;
}

static bool
tick(struct load *l, struct load_conn *c)
{
	if (c->free_count == c->window)
		return true;
	for (unsigned i = 0; i < c->window; i++) {
		struct load_slot *s = &c->slot[i];
		if (!s->used || l->now_ns < s->due_ns)
			continue;
		if (s->wait == LOAD_WAIT_RESPONSE || s->tries == MAX_RETRANSMIT) {
			load_first_error(l, "a request was never answered");
			load_slot_done(l, c, s, LOAD_LOST);
			continue;
		}
		s->tries++;
		s->due_ns = l->now_ns + (ACK_TIMEOUT_NS << s->tries);
		l->total.retransmissions++;
		if (!transmit(l, c, s))
			return false;
	}
	return true;
}

static void
leave(struct load *l, struct load_conn *c)
{
	(void)l;
	(void)c;
}

const struct load_protocol load_coap = {
	"coap", prepare, login, readable, request, tick, leave,
};
