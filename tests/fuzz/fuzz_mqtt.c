// SPDX-License-Identifier: Apache-2.0
// A client's bytes as the listener takes them, without I/O: CONNECT, then packets on a link whose host commits sooner or later, or has no room.
// First byte: version (bit 0: 5.0), lasting session (1), how soon the host commits (2-3), what its verdicts are (4-5), room (6).
#include "adapters/mqtt/link.h"

#undef NDEBUG // the assertions are the test
#include <assert.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PENDING = 16, PACKET_MAX = 4096 };

struct scene {
	struct gw_mqtt_link link;
	struct gw_mqtt_pass pending[PENDING];
	unsigned count, room, turn;
	uint8_t mode;
	size_t written;
};

static const struct gw_mqtt_limits limits = {
	.packet_bytes_max = PACKET_MAX, .receive_maximum = 8, .alias_max = 4, .subscriptions_max = 4, .filters_max = 16, .alias_bytes_max = 64,
	.qos2_max = 12, .keep_alive_s_max = 600, .session_expiry_s_max = 3600,
};

static enum gw_error
on_submit(void *arg, const struct gw_mqtt_pass *pass, const struct gw_mqtt_message *message)
{
	struct scene *scene = arg;

	if (scene->count >= scene->room)
		return GW_E_BUSY;
	if (message != NULL) {
		assert(message->topic.len > 0 && gw_mqtt_utf8(message->topic));
		assert(memchr(message->topic.at, '#', message->topic.len) == NULL);
	}
	assert(pass->qos == 0 || pass->id != 0);
	scene->pending[scene->count++] = *pass;
	return GW_OK;
}

// What is written must be whole packets that this codec reads itself.
static void
on_write(void *arg, const uint8_t *bytes, size_t len)
{
	struct scene *scene = arg;
	struct gw_mqtt_frame frame;

	assert(gw_mqtt_frame(gw_span(bytes, len), 1 << 20, &frame) == GW_MQTT_WHOLE && frame.size == len);
	scene->written += len;
}

static const struct gw_mqtt_host host = { on_submit, on_write };

static void
commit_one(struct scene *scene)
{
	static const enum gw_error outcomes[4][2] = { { GW_OK, GW_OK }, { GW_OK, GW_E_FORMAT }, { GW_OK, GW_E_FORBIDDEN }, { GW_E_FULL, GW_OK } };
	const enum gw_error *outcome = outcomes[(scene->mode >> 4 & 3) != 0 ? scene->turn++ % 4 : 0];
	struct gw_mqtt_pass pass = scene->pending[0];
	struct gw_why why = { "because \xFF it is so" };

	memmove(scene->pending, scene->pending + 1, --scene->count * sizeof(pass));
	(void)gw_mqtt_link_done(&scene->link, &pass, outcome[0], outcome[1], &why);
}

static void
take_packets(struct scene *scene, const uint8_t *data, size_t size)
{
	unsigned soon = scene->mode >> 2 & 3, taken = 0;
	struct gw_mqtt_frame frame;

	while (gw_mqtt_frame(gw_span(data, size), PACKET_MAX, &frame) == GW_MQTT_WHOLE) {
		enum gw_mqtt_step step = gw_mqtt_link_packet(&scene->link, &frame);

		if (step == GW_MQTT_CLOSE)
			return;
		if (step == GW_MQTT_AGAIN) { // only what is under way can help, or room
			if (scene->count == 0)
				return;
			commit_one(scene);
			continue;
		}
		data += frame.size;
		size -= frame.size;
		if (soon == 0 || ++taken % (soon * 2) == 0)
			while (scene->count > 0)
				commit_one(scene);
	}
}

static void
check_session(const struct scene *scene)
{
	struct gw_mqtt_session *again;
	size_t len = gw_mqtt_session_encode(scene->link.session, NULL, 0);
	uint8_t *row = malloc(len);

	assert(scene->link.session->subscription_count <= limits.subscriptions_max && scene->link.session->qos2_count <= limits.qos2_max);
	assert(row != NULL);
	gw_mqtt_session_encode(scene->link.session, row, len);
	again = gw_mqtt_session_decode(gw_span(row, len));
	assert(again != NULL && again->subscription_count == scene->link.session->subscription_count);
	gw_mqtt_session_free(again);
	free(row);
}

static void
use_link(uint8_t mode, const uint8_t *data, size_t size)
{
	struct scene *scene = calloc(1, sizeof(*scene));

	assert(scene != NULL);
	scene->mode = mode;
	scene->room = (mode & 0x40) != 0 ? 2 : PENDING;
	gw_mqtt_link_init(&scene->link, &host, scene, &limits);
	scene->link.version = (mode & 1) != 0 ? 5 : 4;
	scene->link.session = gw_mqtt_session_new(gw_span_text("mon1"), gw_span_text("c1"));
	assert(scene->link.session != NULL);
	scene->link.session->durable = (mode & 2) != 0;
	take_packets(scene, data, size);
	while (scene->count > 0)
		commit_one(scene);
	check_session(scene);
	gw_mqtt_session_free(scene->link.session);
	gw_mqtt_link_fini(&scene->link);
	free(scene);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct gw_mqtt_connect connect;
	struct gw_mqtt_frame frame;

	if (size == 0)
		return 0;
	if (gw_mqtt_frame(gw_span(data + 1, size - 1), PACKET_MAX, &frame) == GW_MQTT_WHOLE && frame.type == GW_MQTT_CONNECT) {
		if (gw_mqtt_read_connect(frame.body, &connect) == 0)
			assert(gw_mqtt_utf8(connect.client_id) && connect.will_qos < 3);
		use_link(data[0], data + 1 + frame.size, size - 1 - frame.size);
	} else {
		use_link(data[0], data + 1, size - 1);
		gw_mqtt_session_free(gw_mqtt_session_decode(gw_span(data + 1, size - 1)));
	}
	return 0;
}
