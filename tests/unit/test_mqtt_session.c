// SPDX-License-Identifier: Apache-2.0
// The protocol of a connection and the state of a session, without I/O: packets and outcomes go in, a trace of effects comes out as text.
#include "adapters/mqtt/link.h"

#include "gateway/decode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define BYTES(text) gw_span(text, sizeof(text) - 1)

static const struct gw_mqtt_limits limits = {
	.packet_bytes_max = 65536, .receive_maximum = 4, .alias_max = 2, .subscriptions_max = 2, .filters_max = 8, .alias_bytes_max = 64, .qos2_max = 6,
	.keep_alive_s_max = 600, .session_expiry_s_max = 3600,
};

// A connection whose host writes down what it is told, and holds requests until the test commits them.
struct scene {
	struct gw_mqtt_link link;
	char trace[2048];
	size_t used;
	struct gw_mqtt_pass pending[64];
	unsigned count, room;
};

static void __attribute__((format(printf, 2, 3)))
note(struct scene *scene, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	scene->used += (size_t)vsnprintf(scene->trace + scene->used, sizeof(scene->trace) - scene->used, format, args);
	va_end(args);
	assert_true(scene->used < sizeof(scene->trace));
}

static enum gw_error
on_submit(void *arg, const struct gw_mqtt_pass *pass, const struct gw_mqtt_message *message)
{
	static const char *const kinds[] = { "message", "fence", "release", "keep" };
	struct scene *scene = arg;

	if (scene->count == scene->room)
		return GW_E_BUSY;
	note(scene, "%s", kinds[pass->kind]);
	if (message != NULL)
		note(scene, " %.*s %.*s", GW_SPAN_FMT(message->topic), GW_SPAN_FMT(message->payload));
	note(scene, "; ");
	scene->pending[scene->count++] = *pass;
	return GW_OK;
}

static void
on_write(void *arg, const uint8_t *bytes, size_t len)
{
	struct scene *scene = arg;

	note(scene, "<");
	for (size_t i = 0; i < len; i++)
		note(scene, i == 0 ? "%02x" : " %02x", bytes[i]);
	note(scene, ">; ");
}

static const struct gw_mqtt_host host = { on_submit, on_write };

static struct scene *
scene_new(uint8_t version, bool durable)
{
	struct scene *scene = calloc(1, sizeof(*scene));

	assert_non_null(scene);
	scene->room = 64;
	gw_mqtt_link_init(&scene->link, &host, scene, &limits);
	scene->link.version = version;
	scene->link.session = gw_mqtt_session_new(gw_span_text("mon1"), gw_span_text("c1"));
	assert_non_null(scene->link.session);
	scene->link.session->durable = durable;
	scene->link.session->expiry_s = durable ? 60 : 0;
	scene->link.connect_expiry_s = scene->link.session->expiry_s;
	return scene;
}

static void
scene_free(struct scene *scene)
{
	gw_mqtt_session_free(scene->link.session);
	gw_mqtt_link_fini(&scene->link);
	free(scene);
}

static enum gw_mqtt_step
feed(struct scene *scene, struct gw_span packet)
{
	struct gw_mqtt_frame frame;

	assert_int_equal(gw_mqtt_frame(packet, 65536, &frame), GW_MQTT_WHOLE);
	assert_int_equal(frame.size, packet.len);
	return gw_mqtt_link_packet(&scene->link, &frame);
}

// The oldest request's outcome.
static enum gw_mqtt_step
commit(struct scene *scene, enum gw_error result, enum gw_error verdict, const char *words)
{
	struct gw_mqtt_pass pass = scene->pending[0];
	struct gw_why why = { "" };

	assert_true(scene->count > 0);
	snprintf(why.text, sizeof(why.text), "%s", words);
	memmove(scene->pending, scene->pending + 1, --scene->count * sizeof(pass));
	return gw_mqtt_link_done(&scene->link, &pass, result, verdict, &why);
}

static void
expect(struct scene *scene, const char *trace)
{
	assert_string_equal(scene->trace, trace);
	scene->used = 0;
	scene->trace[0] = '\0';
}

// ---- Acknowledged means committed ----

static void
test_qos1(void **state)
{
	struct scene *s = scene_new(4, false);

	(void)state;
	assert_int_equal(feed(s, BYTES("\x32\x06\0\1a\0\1x")), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES("\x32\x06\0\1a\0\2y")), GW_MQTT_NEXT);
	expect(s, "message a x; message a y; "); // nothing is answered yet
	assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	expect(s, "<40 02 00 01>; <40 02 00 02>; ");
	scene_free(s);
}

static void
test_qos0(void **state)
{
	struct scene *s = scene_new(5, false);

	(void)state;
	assert_int_equal(feed(s, BYTES("\x30\x05\0\1a\0x")), GW_MQTT_NEXT);
	assert_int_equal(commit(s, GW_OK, GW_E_FORMAT, "no"), GW_MQTT_NEXT);
	expect(s, "message a x; ");
	assert_int_equal(feed(s, BYTES("\x30\x05\0\1a\0x")), GW_MQTT_NEXT);
	assert_int_equal(commit(s, GW_E_FULL, GW_OK, ""), GW_MQTT_CLOSE);
	assert_int_equal(s->link.reason, GW_MQTT_QUOTA);
	scene_free(s);
}

static void
test_refused_content(void **state)
{
	struct scene *five = scene_new(5, false), *three = scene_new(4, false);

	(void)state;
	assert_int_equal(feed(five, BYTES("\x32\x07\0\1a\0\1\0x")), GW_MQTT_NEXT);
	assert_int_equal(commit(five, GW_OK, GW_E_FORMAT, "hm"), GW_MQTT_NEXT);
	expect(five, "message a x; <40 09 00 01 99 05 1f 00 02 68 6d>; ");
	five->link.problem_info = false;
	assert_int_equal(feed(five, BYTES("\x32\x07\0\1a\0\2\0x")), GW_MQTT_NEXT);
	assert_int_equal(commit(five, GW_OK, GW_E_ROUTE, "hm"), GW_MQTT_NEXT);
	expect(five, "message a x; <40 03 00 02 90>; ");
	five->link.problem_info = true;
	five->link.packet_bytes_max = 10; // the words do not fit
	assert_int_equal(feed(five, BYTES("\x32\x07\0\1a\0\3\0x")), GW_MQTT_NEXT);
	assert_int_equal(commit(five, GW_OK, GW_E_QUOTA, "hm"), GW_MQTT_NEXT);
	expect(five, "message a x; <40 03 00 03 97>; ");
	assert_int_equal(feed(three, BYTES("\x32\x06\0\1a\0\1x")), GW_MQTT_NEXT);
	assert_int_equal(commit(three, GW_OK, GW_E_FORMAT, "hm"), GW_MQTT_NEXT);
	expect(three, "message a x; <40 02 00 01>; ");
	scene_free(five);
	scene_free(three);
}

static void
test_words_are_utf8(void **state)
{
	struct scene *s = scene_new(5, false);

	(void)state;
	assert_int_equal(feed(s, BYTES("\x32\x07\0\1a\0\1\0x")), GW_MQTT_NEXT);
	assert_int_equal(commit(s, GW_OK, GW_E_FORMAT, "a\xFFz"), GW_MQTT_NEXT);
	expect(s, "message a x; <40 0a 00 01 99 06 1f 00 03 61 3f 7a>; ");
	scene_free(s);
}

static void
test_claims(void **state)
{
	struct scene *five = scene_new(5, false), *three = scene_new(4, false);

	(void)state;
	assert_int_equal(feed(five, BYTES("\x32\x07\0\1a\0\1\0x")), GW_MQTT_NEXT);
	assert_int_equal(commit(five, GW_OK, GW_E_FORBIDDEN, ""), GW_MQTT_NEXT);
	expect(five, "message a x; <40 03 00 01 87>; ");
	assert_int_equal(feed(three, BYTES("\x32\x06\0\1a\0\1x")), GW_MQTT_NEXT);
	assert_int_equal(commit(three, GW_OK, GW_E_FORBIDDEN, ""), GW_MQTT_CLOSE);
	expect(three, "message a x; ");
	scene_free(five);
	scene_free(three);
}

static void
test_later(void **state)
{
	static const struct { enum gw_error error; uint8_t reason; } cases[] = {
		{ GW_E_FULL, GW_MQTT_QUOTA }, { GW_E_STOPPING, GW_MQTT_SHUTTING_DOWN }, { GW_E_SYNC, GW_MQTT_SHUTTING_DOWN },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct scene *five = scene_new(5, false), *three = scene_new(4, false);

		assert_int_equal(feed(five, BYTES("\x32\x07\0\1a\0\1\0x")), GW_MQTT_NEXT);
		assert_int_equal(feed(five, BYTES("\x32\x07\0\1a\0\2\0y")), GW_MQTT_NEXT);
		five->used = 0;
		assert_int_equal(commit(five, cases[i].error, GW_OK, ""), GW_MQTT_CLOSE);
		assert_int_equal(five->link.reason, cases[i].reason);
		assert_memory_equal(five->trace, "<e0 ", 4);
		five->used = 0;
		assert_int_equal(commit(five, GW_OK, GW_OK, ""), GW_MQTT_CLOSE);
		assert_int_equal(five->used, 0); // after DISCONNECT nothing is written
		assert_int_equal(feed(three, BYTES("\x32\x06\0\1a\0\1x")), GW_MQTT_NEXT);
		three->used = 0;
		assert_int_equal(commit(three, cases[i].error, GW_OK, ""), GW_MQTT_CLOSE);
		assert_int_equal(three->used, 0);
		scene_free(five);
		scene_free(three);
	}
}

// ---- Once ----

static void
test_redelivered_qos1(void **state)
{
	struct scene *s = scene_new(4, true);

	(void)state;
	assert_int_equal(feed(s, BYTES("\x32\x06\0\1a\0\1x")), GW_MQTT_NEXT);
	assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	expect(s, "message a x; <40 02 00 01>; ");
	assert_int_equal(feed(s, BYTES("\x3A\x06\0\1a\0\1x")), GW_MQTT_NEXT); // the same, DUP
	expect(s, "<40 02 00 01>; ");
	assert_int_equal(feed(s, BYTES("\x3A\x06\0\1a\0\1y")), GW_MQTT_NEXT); // the identifier for something else
	assert_int_equal(feed(s, BYTES("\x3A\x06\0\1a\0\1x")), GW_MQTT_NEXT); // answered in its turn
	assert_int_equal(feed(s, BYTES("\x32\x06\0\1a\0\1x")), GW_MQTT_NEXT); // no DUP: a new message
	expect(s, "message a y; fence; message a x; ");
	assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	expect(s, "<40 02 00 01>; <40 02 00 01>; <40 02 00 01>; ");
	assert_int_equal(feed(s, BYTES("\x32\x06\0\1a\0\7z")), GW_MQTT_NEXT);
	(void)commit(s, GW_E_FULL, GW_OK, "");
	assert_false(gw_mqtt_session_knows(s->link.session, 7, gw_mqtt_content_hash(gw_span_text("a"), gw_span_text("z")))); // was not stored
	scene_free(s);
}

// An identifier tells what it was used for last: one message that comes again is not the one before the last.
static void
test_reused_qos1(void **state)
{
	struct scene *s = scene_new(4, true);

	(void)state;
	assert_int_equal(feed(s, BYTES("\x32\x06\0\1a\0\1x")), GW_MQTT_NEXT);
	assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES("\x32\x06\0\1a\0\1y")), GW_MQTT_NEXT);
	assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES("\x3A\x06\0\1a\0\1x")), GW_MQTT_NEXT); // its first sending was lost on the way
	assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	expect(s, "message a x; <40 02 00 01>; message a y; <40 02 00 01>; message a x; <40 02 00 01>; ");
	scene_free(s);
}

// A device that lost its state counts anew while its old identifiers are held: nothing of what it sends is acknowledged and dropped.
static void
test_reused_qos2(void **state)
{
	struct scene *s = scene_new(4, true);

	(void)state;
	assert_int_equal(feed(s, BYTES("\x34\x06\0\1a\0\1x")), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES("\x34\x06\0\1a\0\1y")), GW_MQTT_AGAIN); // not known yet whether the first is stored
	assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	expect(s, "message a x; <50 02 00 01>; ");
	s->room = 0;
	assert_int_equal(feed(s, BYTES("\x34\x06\0\1a\0\1y")), GW_MQTT_AGAIN);
	s->room = 64;
	assert_int_equal(feed(s, BYTES("\x3C\x06\0\1a\0\1x")), GW_MQTT_NEXT); // still held for x
	assert_int_equal(feed(s, BYTES("\x34\x06\0\1a\0\1y")), GW_MQTT_NEXT);
	assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES("\x3C\x06\0\1a\0\1y")), GW_MQTT_NEXT);
	expect(s, "<50 02 00 01>; message a y; <50 02 00 01>; <50 02 00 01>; ");
	assert_int_equal(s->link.session->qos2_count, 1);
	scene_free(s);
}

static void
test_qos2(void **state)
{
	struct scene *s = scene_new(5, true);

	(void)state;
	assert_int_equal(feed(s, BYTES("\x34\x07\0\1a\0\1\0x")), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES("\x3C\x07\0\1a\0\1\0x")), GW_MQTT_NEXT); // again before PUBREC
	expect(s, "message a x; ");
	assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES("\x3C\x07\0\1a\0\1\0x")), GW_MQTT_NEXT); // and after it
	expect(s, "<50 02 00 01>; <50 02 00 01>; ");
	assert_int_equal(feed(s, BYTES("\x62\2\0\1")), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES("\x62\2\0\1")), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES("\x34\x07\0\1a\0\1\0z")), GW_MQTT_AGAIN); // free only after PUBCOMP
	expect(s, "release; ");
	assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	expect(s, "<70 02 00 01>; ");
	assert_int_equal(feed(s, BYTES("\x62\2\0\1")), GW_MQTT_NEXT);
	expect(s, "<70 03 00 01 92>; ");
	assert_int_equal(feed(s, BYTES("\x34\x07\0\1a\0\1\0z")), GW_MQTT_NEXT);
	assert_int_equal(commit(s, GW_OK, GW_E_FORMAT, ""), GW_MQTT_NEXT);
	expect(s, "message a z; <50 03 00 01 99>; ");
	assert_int_equal(s->link.session->qos2_count, 0); // PUBREC with an error ends it
	scene_free(s);
}

static void
test_qos2_311(void **state)
{
	struct scene *s = scene_new(4, false);

	(void)state;
	assert_int_equal(feed(s, BYTES("\x34\x06\0\1a\0\1x")), GW_MQTT_NEXT);
	assert_int_equal(commit(s, GW_OK, GW_E_FORMAT, ""), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES("\x62\2\0\1")), GW_MQTT_NEXT); // a session that ends with its connection: nothing to delete
	assert_int_equal(feed(s, BYTES("\x62\2\0\1")), GW_MQTT_NEXT);
	expect(s, "message a x; <50 02 00 01>; <70 02 00 01>; <70 02 00 01>; ");
	assert_int_equal(feed(s, BYTES("\x34\x06\0\1a\0\2x")), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES("\x62\2\0\2")), GW_MQTT_CLOSE); // PUBREL before PUBREC
	scene_free(s);
}

static void
test_qos2_not_stored(void **state)
{
	struct scene *s = scene_new(4, true);

	(void)state;
	assert_int_equal(feed(s, BYTES("\x34\x06\0\1a\0\1x")), GW_MQTT_NEXT);
	assert_int_equal(commit(s, GW_E_FULL, GW_OK, ""), GW_MQTT_CLOSE);
	assert_int_equal(gw_mqtt_session_held(s->link.session, 1), GW_MQTT_HELD_NOT); // it will be new when it comes again
	scene_free(s);
}

// ---- Limits ----

static void
test_receive_maximum(void **state)
{
	struct scene *five = scene_new(5, false), *three = scene_new(4, false);
	char packet[] = "\x32\x07\0\1a\0\0\0x", old[] = "\x32\x06\0\1a\0\0x";

	(void)state;
	for (packet[6] = 1; packet[6] <= 4; packet[6]++)
		assert_int_equal(feed(five, BYTES(packet)), GW_MQTT_NEXT);
	assert_int_equal(feed(five, BYTES(packet)), GW_MQTT_CLOSE);
	assert_int_equal(five->link.reason, GW_MQTT_RECEIVE_MAXIMUM);
	for (old[6] = 1; old[6] <= 4; old[6]++)
		assert_int_equal(feed(three, BYTES(old)), GW_MQTT_NEXT);
	assert_int_equal(feed(three, BYTES(old)), GW_MQTT_AGAIN); // 3.1.1 knows no limit: its socket waits
	assert_int_equal(commit(three, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	assert_int_equal(feed(three, BYTES(old)), GW_MQTT_NEXT);
	scene_free(five);
	scene_free(three);
}

static void
test_qos2_counts_until_pubcomp(void **state)
{
	struct scene *s = scene_new(5, false);
	char packet[] = "\x34\x07\0\1a\0\0\0x";

	(void)state;
	for (packet[6] = 1; packet[6] <= 4; packet[6]++) {
		assert_int_equal(feed(s, BYTES(packet)), GW_MQTT_NEXT);
		assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	}
	assert_int_equal(feed(s, BYTES("\x62\2\0\1")), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES(packet)), GW_MQTT_NEXT);
	packet[6]++;
	assert_int_equal(feed(s, BYTES(packet)), GW_MQTT_CLOSE);
	assert_int_equal(s->link.reason, GW_MQTT_RECEIVE_MAXIMUM);
	scene_free(s);
}

// Section 4.9: a client's send quota begins anew with each connection; identifiers that wait for PUBREL are still held.
static void
test_receive_maximum_begins_anew(void **state)
{
	struct scene *s = scene_new(5, true);
	char packet[] = "\x34\x07\0\1a\0\0\0x";

	(void)state;
	for (packet[6] = 1; packet[6] <= 4; packet[6]++) {
		assert_int_equal(feed(s, BYTES(packet)), GW_MQTT_NEXT);
		assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	}
	gw_mqtt_session_begin(s->link.session);
	assert_int_equal(feed(s, BYTES("\x62\2\0\1")), GW_MQTT_NEXT); // under way when the new ones come
	for (packet[6] = 5; packet[6] <= 6; packet[6]++)
		assert_int_equal(feed(s, BYTES(packet)), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES(packet)), GW_MQTT_CLOSE); // held in all: qos2_max
	assert_int_equal(s->link.reason, GW_MQTT_RECEIVE_MAXIMUM);
	scene_free(s);
}

static void
test_no_ticket(void **state)
{
	struct scene *s = scene_new(5, true);

	(void)state;
	s->room = 0;
	assert_int_equal(feed(s, BYTES("\x32\x07\0\1a\0\1\0x")), GW_MQTT_AGAIN);
	assert_int_equal(feed(s, BYTES("\x34\x07\0\1a\0\1\0x")), GW_MQTT_AGAIN);
	assert_int_equal(feed(s, BYTES("\x82\x15\0\1\0\0\x0F" "downlink/mon1/#\0")), GW_MQTT_AGAIN);
	assert_int_equal(s->link.session->qos2_count, 0);
	s->room = 64;
	assert_int_equal(feed(s, BYTES("\x34\x07\0\1a\0\1\0x")), GW_MQTT_NEXT);
	assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES("\x82\x15\0\1\0\0\x0F" "downlink/mon1/#\0")), GW_MQTT_NEXT);
	expect(s, "message a x; <50 02 00 01>; keep; ");
	scene_free(s);
}

static void
test_alias(void **state)
{
	struct scene *s = scene_new(5, false);

	(void)state;
	assert_int_equal(feed(s, BYTES("\x30\x08\0\1a\3\x23\0\1x")), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES("\x30\x07\0\0\3\x23\0\1y")), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES("\x30\x09\0\2bb\3\x23\0\1x")), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES("\x30\x07\0\0\3\x23\0\1y")), GW_MQTT_NEXT);
	expect(s, "message a x; message a y; message bb x; message bb y; ");
	assert_int_equal(feed(s, BYTES("\x30\x07\0\0\3\x23\0\2y")), GW_MQTT_CLOSE);
	assert_int_equal(s->link.reason, GW_MQTT_PROTOCOL_ERROR);
	scene_free(s);
	s = scene_new(5, false);
	assert_int_equal(feed(s, BYTES("\x30\x08\0\1a\3\x23\0\3x")), GW_MQTT_CLOSE);
	assert_int_equal(s->link.reason, GW_MQTT_ALIAS_INVALID);
	scene_free(s);
}

// ---- Subscriptions ----

static void
test_downlink(void **state)
{
	struct gw_span device = gw_span_text("mon1");

	(void)state;
	assert_true(gw_mqtt_own_downlink(gw_span_text("downlink/mon1/#"), device));
	assert_true(gw_mqtt_own_downlink(gw_span_text("downlink/mon1/command/+"), device));
	assert_false(gw_mqtt_own_downlink(gw_span_text("downlink/mon1"), device));
	assert_false(gw_mqtt_own_downlink(gw_span_text("downlink/mon1/"), device));
	assert_false(gw_mqtt_own_downlink(gw_span_text("downlink/mon10/#"), device));
	assert_false(gw_mqtt_own_downlink(gw_span_text("downlink/+/#"), device));
	assert_false(gw_mqtt_own_downlink(gw_span_text("#"), device));
	assert_false(gw_mqtt_own_downlink(gw_span_text("downlink/+/x"), gw_span_text("+"))); // a device of that name
	assert_false(gw_mqtt_own_downlink(gw_span_text("downlink//x"), gw_span_text("")));
}

static void
test_subscribe(void **state)
{
	struct scene *s = scene_new(5, true);

	(void)state;
	assert_int_equal(feed(s, BYTES("\x82\x1B\0\1\0\0\x0F" "downlink/mon1/#\1\0\3b/#\0")), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES("\x82\x15\0\2\0\0\x0F" "downlink/mon1/a\2")), GW_MQTT_AGAIN); // one after the other
	expect(s, "keep; ");
	assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	expect(s, "<90 05 00 01 00 01 87>; ");
	assert_int_equal(feed(s, BYTES("\xA2\x14\0\2\0\0\x0F" "downlink/mon1/#")), GW_MQTT_NEXT);
	assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
	expect(s, "keep; <b0 04 00 02 00 00>; ");
	assert_int_equal(s->link.session->subscription_count, 0);
	scene_free(s);
}

static void
test_subscribe_311(void **state)
{
	struct scene *s = scene_new(4, false);

	(void)state;
	assert_int_equal(feed(s, BYTES("\x82\x38\0\1\0\x0F" "downlink/mon1/a\0\0\x0F" "downlink/mon1/b\1\0\x0F" "downlink/mon1/c\1")), GW_MQTT_NEXT);
	expect(s, "<90 05 00 01 00 01 80>; "); // the third is one too many
	assert_int_equal(feed(s, BYTES("\xA2\x05\0\2\0\1x")), GW_MQTT_NEXT);
	expect(s, "<b0 02 00 02>; ");
	scene_free(s);
}

// ---- Violations and ends ----

static void
test_violations(void **state)
{
	static const struct { struct gw_span packet; uint8_t reason; } cases[] = {
#define CASE(text, reason) { { (const uint8_t *)text, sizeof(text) - 1 }, reason }
		CASE("\x00\x00", GW_MQTT_MALFORMED),
		CASE("\x10\x00", GW_MQTT_PROTOCOL_ERROR),
		CASE("\x20\x02\0\0", GW_MQTT_PROTOCOL_ERROR),
		CASE("\x36\x07\0\1a\0\1\0x", GW_MQTT_MALFORMED),
		CASE("\x41\x02\0\1", GW_MQTT_MALFORMED),
		CASE("\x60\x02\0\1", GW_MQTT_MALFORMED),
		CASE("\x80\x06\0\1\0\0\1a", GW_MQTT_MALFORMED),
		CASE("\xC1\x00", GW_MQTT_MALFORMED),
		CASE("\xC0\x01x", GW_MQTT_MALFORMED),
		CASE("\xD0\x00", GW_MQTT_PROTOCOL_ERROR),
		CASE("\xE1\x00", GW_MQTT_MALFORMED),
		CASE("\xF0\x00", GW_MQTT_PROTOCOL_ERROR),
		CASE("\xE0\x07\0\5\x11\0\0\0\x09", GW_MQTT_PROTOCOL_ERROR), // prolongs a session that ends with its connection
#undef CASE
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct scene *five = scene_new(5, false), *three = scene_new(4, false);
		char bye[32];

		snprintf(bye, sizeof(bye), "<e0 01 %02x>; ", cases[i].reason);
		assert_int_equal(feed(five, cases[i].packet), GW_MQTT_CLOSE);
		assert_int_equal(five->link.reason, cases[i].reason);
		expect(five, bye);
		if (cases[i].packet.at[0] >> 4 != GW_MQTT_PUBLISH)
			assert_int_equal(feed(three, cases[i].packet), GW_MQTT_CLOSE);
		expect(three, ""); // 3.1.1 has no word for it
		scene_free(five);
		scene_free(three);
	}
}

static void
test_disconnect(void **state)
{
	struct scene *s = scene_new(5, true);

	(void)state;
	assert_int_equal(feed(s, BYTES("\xC0\x00")), GW_MQTT_NEXT);
	assert_int_equal(feed(s, BYTES("\xE0\x07\0\5\x11\0\0\0\0")), GW_MQTT_CLOSE);
	expect(s, "<d0 00>; ");
	assert_true(s->link.graceful);
	assert_int_equal(s->link.session->expiry_s, 0);
	assert_int_equal(feed(s, BYTES("\xC0\x00")), GW_MQTT_CLOSE);
	scene_free(s);
	s = scene_new(5, true);
	assert_int_equal(feed(s, BYTES("\xE0\x01\4")), GW_MQTT_CLOSE);
	assert_false(s->link.graceful); // "with will"
	scene_free(s);
	s = scene_new(4, true);
	assert_int_equal(feed(s, BYTES("\xE0\x00")), GW_MQTT_CLOSE);
	assert_true(s->link.graceful);
	scene_free(s);
}

// ---- The session's row ----

static void
test_row(void **state)
{
	struct gw_mqtt_session *a = gw_mqtt_session_new(gw_span_text("mon1"), gw_span_text("c1")), *b;
	uint8_t row[256];
	size_t len;

	(void)state;
	a->expiry_s = 3600;
	a->ended_us = INT64_C(1763630100000000);
	assert_int_equal(gw_mqtt_session_subscribe(a, gw_span_text("downlink/mon1/#"), 0x2D, 4), GW_OK);
	assert_int_equal(gw_mqtt_session_subscribe(a, gw_span_text("downlink/mon1/a"), 1, 4), GW_OK);
	len = gw_mqtt_session_encode(a, row, sizeof(row));
	assert_true(len > 0 && len <= sizeof(row));
	assert_int_equal(gw_mqtt_session_encode(a, NULL, 0), len);
	b = gw_mqtt_session_decode(gw_span(row, len));
	assert_non_null(b);
	assert_true(gw_span_equal(a->principal, b->principal) && gw_span_equal(a->client_id, b->client_id));
	assert_int_equal(b->expiry_s, 3600);
	assert_int_equal(b->ended_us, a->ended_us);
	assert_int_equal(b->subscription_count, 2);
	assert_int_equal(b->subscriptions[0].options, 0x2D);
	assert_true(gw_span_is(b->subscriptions[1].filter, "downlink/mon1/a"));
	for (size_t cut = 0; cut < len; cut++)
		assert_null(gw_mqtt_session_decode(gw_span(row, cut)));
	row[0] = 2;
	assert_null(gw_mqtt_session_decode(gw_span(row, len)));
	gw_mqtt_session_free(a);
	gw_mqtt_session_free(b);
}

// Whatever a client can have under way may come again after a reconnect: all of it is known.
static void
test_ring_follows_receive_maximum(void **state)
{
	enum { MANY = 200 };
	struct gw_mqtt_limits many = limits;
	struct scene *s = scene_new(5, false);
	uint8_t packet[] = { 0x32, 7, 0, 1, 'a', 0, 0, 0, 'x' };

	(void)state;
	many.receive_maximum = MANY;
	s->link.limits = &many;
	for (int round = 0; round < 2; round++, packet[0] |= 8) // the second time with DUP
		for (uint8_t id = 1; id <= MANY; id++) {
			packet[6] = id;
			assert_int_equal(feed(s, gw_span(packet, sizeof(packet))), GW_MQTT_NEXT);
			assert_int_equal(s->count, round == 0 ? 1 : 0); // known: nothing to be stored
			if (s->count > 0)
				assert_int_equal(commit(s, GW_OK, GW_OK, ""), GW_MQTT_NEXT);
			s->used = 0;
		}
	scene_free(s);
}

static void
test_ring(void **state)
{
	struct gw_mqtt_session *s = gw_mqtt_session_new(gw_span_text("p"), gw_span_text("c"));

	(void)state;
	for (uint16_t id = 1; id <= 65; id++)
		gw_mqtt_session_remember(s, id, id * 10, 64);
	assert_false(gw_mqtt_session_knows(s, 1, 10)); // the oldest made room
	assert_true(gw_mqtt_session_knows(s, 2, 20));
	assert_true(gw_mqtt_session_knows(s, 65, 650));
	assert_false(gw_mqtt_session_knows(s, 2, 21));
	assert_int_not_equal(gw_mqtt_content_hash(gw_span_text("ab"), gw_span_text("c")), gw_mqtt_content_hash(gw_span_text("a"), gw_span_text("bc")));
	gw_mqtt_session_free(s);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_qos1),
		cmocka_unit_test(test_qos0),
		cmocka_unit_test(test_refused_content),
		cmocka_unit_test(test_words_are_utf8),
		cmocka_unit_test(test_claims),
		cmocka_unit_test(test_later),
		cmocka_unit_test(test_redelivered_qos1),
		cmocka_unit_test(test_reused_qos1),
		cmocka_unit_test(test_reused_qos2),
		cmocka_unit_test(test_qos2),
		cmocka_unit_test(test_qos2_311),
		cmocka_unit_test(test_qos2_not_stored),
		cmocka_unit_test(test_receive_maximum),
		cmocka_unit_test(test_qos2_counts_until_pubcomp),
		cmocka_unit_test(test_receive_maximum_begins_anew),
		cmocka_unit_test(test_no_ticket),
		cmocka_unit_test(test_alias),
		cmocka_unit_test(test_downlink),
		cmocka_unit_test(test_subscribe),
		cmocka_unit_test(test_subscribe_311),
		cmocka_unit_test(test_violations),
		cmocka_unit_test(test_disconnect),
		cmocka_unit_test(test_row),
		cmocka_unit_test(test_ring),
		cmocka_unit_test(test_ring_follows_receive_maximum),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
