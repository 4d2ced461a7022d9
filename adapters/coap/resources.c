// SPDX-License-Identifier: Apache-2.0
// What a device can GET: /, /time, its own latest readings, and the list of these. The adapter's thread; answered at once, read from the journal.
//
// Answers that do not fit into one datagram are cut into blocks (Block2, RFC 7959 section 2.4) without keeping anything: each block is cut from the body
// made anew, and the ETag tells a client whether two blocks belong together.
#include "adapters/coap/coap.h"

#include "gateway/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define BLOCK_SZX 6 // 1024 bytes
#define LATEST_MAX 64
#define ANY_INSTANCES 4 // of each signal, where the profile leaves it to the device
#define BODY_MAX 65536

// A growing text; an allocation that fails empties it and makes it stay so.
struct body {
	char *text;
	size_t len, cap;
	bool failed;
};

static void
append(struct body *body, const char *text, size_t len)
{
	if (body->failed || body->len + len > BODY_MAX) {
		body->failed = true;
		return;
	}
	if (body->len + len > body->cap) {
		size_t cap = (body->len + len) * 2;
		char *grown = realloc(body->text, cap);
		if (grown == NULL) {
			body->failed = true;
			return;
		}
		body->text = grown;
		body->cap = cap;
	}
	memcpy(body->text + body->len, text, len);
	body->len += len;
}

static void
append_text(struct body *body, const char *text)
{
	append(body, text, strlen(text));
}

// ---- the answer ----

static void
refuse(struct gw_coap *coap, coap_pdu_t *response, coap_pdu_code_t code, const char *text)
{
	struct gw_coap_answer answer = { .code = (uint8_t)code, .text = gw_span_text(text) };

	gw_coap_fill(coap, response, &answer);
}

static void
add_uint(coap_pdu_t *pdu, coap_option_num_t number, uint32_t value)
{
	uint8_t buf[4];

	coap_add_option(pdu, number, coap_encode_var_safe(buf, sizeof(buf), value), buf);
}

static void
answer_body(struct gw_coap *coap, const struct gw_coap_ask *ask, coap_pdu_t *response, uint32_t format, uint32_t max_age, const struct body *body)
{
	uint32_t szx = ask->has_block2 && (ask->block2 & 7) < BLOCK_SZX ? ask->block2 & 7 : BLOCK_SZX;
	size_t size = (size_t)16 << szx;
	// A larger block than ours: its number counts in the larger size (only 7 is larger, and is reserved).
	size_t at = ask->has_block2 ? (size_t)(ask->block2 >> 4) * size : 0;
	size_t len = body->len - (at < body->len ? at : body->len);
	uint64_t etag = gw_coap_hash(0, body->text, body->len);
	bool cut = len > size;

	if (at > 0 && at >= body->len) {
		refuse(coap, response, COAP_RESPONSE_CODE(400), "there is no such block");
		return;
	}
	coap_pdu_set_code(response, COAP_RESPONSE_CODE(205));
	if (cut || at > 0)
		coap_add_option(response, COAP_OPTION_ETAG, sizeof(etag), (const uint8_t *)&etag);
	add_uint(response, COAP_OPTION_CONTENT_FORMAT, format);
	add_uint(response, COAP_OPTION_MAXAGE, max_age);
	if (cut || ask->has_block2)
		add_uint(response, COAP_OPTION_BLOCK2, (uint32_t)(at / size) << 4 | (cut ? 8u : 0u) | szx);
	if (cut && at == 0)
		add_uint(response, COAP_OPTION_SIZE2, (uint32_t)body->len);
	coap_add_data(response, cut ? size : len, (const uint8_t *)body->text + at);
	gw_coap_add(&coap->counts.answers[COAP_RESPONSE_CODE(205)], 1);
}

// ---- / and /time and /.well-known/core ----

static void
get_root(struct gw_coap *coap, struct gw_coap_session *state, struct body *body)
{
	(void)coap;
	(void)state;
	append_text(body, "Vitalgate " VITALGATE_VERSION "\n"
	    "POST or PUT readings to /readings (SenML) or to a path of your profile\n"
	    "GET /readings: your latest readings; GET /time: seconds since 1970\n");
}

static void
get_time(struct gw_coap *coap, struct gw_coap_session *state, struct body *body)
{
	char text[32];

	(void)coap;
	(void)state;
	append(body, text, gw_coap_time_text(gw_clock_wall_us(), text));
}

// Routes that name no device or other capture: what is listed must be there as it is written.
static void
append_routes(struct body *body, const struct gw_profile *profile)
{
	const char *route;

	for (size_t i = 0; (route = gw_profile_route(profile, GW_DOOR_COAP, i)) != NULL; i++) {
		if (strpbrk(route, "{}<>\" ") != NULL || strcmp(route, "readings") == 0)
			continue;
		append_text(body, ",</");
		append_text(body, route);
		append_text(body, ">;rt=\"vitalgate.intake\"");
	}
}

static void
get_core(struct gw_coap *coap, struct gw_coap_session *state, struct body *body)
{
	const struct gw_profile *profile;

	(void)state;
	append_text(body, "</>;ct=0,</time>;rt=\"vitalgate.time\";ct=0,</readings>;rt=\"vitalgate.readings\";ct=\"110 112\"");
	for (size_t i = 0; (profile = gw_profile_at(coap->core->profiles, i)) != NULL; i++)
		append_routes(body, profile);
}

// ---- /readings ----

// One series' newest reading, found in the journal.
struct latest {
	uint32_t signal;
	uint16_t instance;
	uint64_t position;
	int64_t time_us;
};

// What is gathered: readings whose spans point into records, which are kept until the answer is made.
struct gathered {
	struct latest wanted[LATEST_MAX];
	size_t wanted_count;
	struct gw_reading readings[LATEST_MAX];
	size_t count;
	uint8_t *records[LATEST_MAX];
	size_t record_count;
};

static bool
is_wanted(const struct gathered *all, uint32_t signal, uint16_t instance)
{
	for (size_t i = 0; i < all->wanted_count; i++)
		if (all->wanted[i].signal == signal && all->wanted[i].instance == instance)
			return true;
	return false;
}

static void
want(struct gw_coap *coap, uint64_t device_hash, uint32_t signal, uint16_t instance, struct gathered *all)
{
	struct latest *next = &all->wanted[all->wanted_count];

	if (all->wanted_count == LATEST_MAX || is_wanted(all, signal, instance))
		return;
	*next = (struct latest){ .signal = signal, .instance = instance };
	next->position = gw_journal_newest(coap->core->journal, gw_series_hash(device_hash, signal, instance), &next->time_us);
	if (next->position != 0)
		all->wanted_count++;
}

// A profile whose fields are named like the signals can give any of them.
static void
want_any(struct gw_coap *coap, uint64_t device_hash, struct gathered *all)
{
	const struct gw_signal *signal;

	for (size_t i = 0; (signal = gw_signal_at(i)) != NULL; i++)
		for (uint16_t instance = 0; instance < ANY_INSTANCES; instance++)
			want(coap, device_hash, signal->code, instance, all);
}

static void
want_newest(struct gw_coap *coap, const struct gw_device *device, const struct gw_profile *profile, struct gathered *all)
{
	uint64_t device_hash = gw_name_hash(gw_span_text(device->id));
	const struct gw_signal *signal;
	uint16_t instance;

	for (size_t i = 0; gw_profile_signal(profile, i, &signal, &instance); i++)
		if (signal != NULL)
			want(coap, device_hash, signal->code, instance, all);
		else
			want_any(coap, device_hash, all);
}

// The record at a position, in memory of its own. NULL: gone meanwhile, or out of memory.
static uint8_t *
read_record(struct gw_coap *coap, uint64_t position, struct gw_record *record)
{
	size_t used;
	uint64_t next;

	for (size_t cap = 4096; cap <= 2 * (GW_RECORD_MAX + 16); cap = cap == 4096 ? GW_RECORD_MAX + 16 : SIZE_MAX) {
		uint8_t *buf = malloc(cap);
		enum gw_error error = buf != NULL ? gw_journal_read(coap->core->journal, position, buf, cap, &used, &next) : GW_E_MEMORY;
		struct gw_span rest = gw_span(buf, error == GW_OK ? used : 0);
		if (error == GW_OK && gw_journal_step(&rest, record) && record->position == position)
			return buf;
		free(buf);
		if (error != GW_E_TOO_LARGE)
			return NULL;
	}
	return NULL;
}

static void
pick(struct gathered *all, struct gw_batch *batch, uint64_t position)
{
	struct gw_reading reading;

	while (all->count < LATEST_MAX && gw_batch_next(batch, &reading))
		for (size_t i = 0; i < all->wanted_count && !gw_reading_is_erased(&reading); i++) {
			const struct latest *want = &all->wanted[i];
			if (want->position != position || want->signal != reading.signal || want->instance != reading.instance ||
			    want->time_us != reading.time_us)
				continue;
			reading.received = (struct gw_span){ 0 }; // lives only until the next one
			all->readings[all->count++] = reading;
			break;
		}
}

static bool
seen_before(const struct gathered *all, size_t i)
{
	for (size_t k = 0; k < i; k++)
		if (all->wanted[k].position == all->wanted[i].position)
			return true;
	return false;
}

static void
gather(struct gw_coap *coap, struct gathered *all)
{
	struct gw_record record;
	struct gw_batch batch;

	for (size_t i = 0; i < all->wanted_count; i++) {
		uint8_t *bytes = seen_before(all, i) ? NULL : read_record(coap, all->wanted[i].position, &record);
		if (bytes == NULL)
			continue;
		all->records[all->record_count++] = bytes;
		if (gw_batch_open(&record, &batch, NULL) == GW_OK)
			pick(all, &batch, record.position);
	}
}

static void
encode(struct body *body, const struct gw_device *device, const struct gathered *all)
{
	struct gw_span id = gw_span_text(device->id);
	size_t need = gw_senml_encode(id, all->readings, all->count, NULL, 0);

	if (need > BODY_MAX || (body->text = malloc(need + 1)) == NULL) {
		body->failed = true;
		return;
	}
	body->cap = need + 1;
	body->len = gw_senml_encode(id, all->readings, all->count, body->text, body->cap);
}

// Leaves the body empty where there is nothing.
static void
get_readings(struct gw_coap *coap, struct gw_coap_session *state, struct body *body)
{
	const struct gw_device *device = gw_snapshot_device(coap->snapshot, gw_span_text(state->principal));
	const struct gw_profile *profile = device != NULL ? gw_profile_by_name(coap->core->profiles, gw_span_text(device->profile)) : NULL;
	struct gathered *all = profile != NULL ? calloc(1, sizeof(*all)) : NULL;

	if (all == NULL)
		return;
	want_newest(coap, device, profile, all);
	gather(coap, all);
	if (all->count > 0)
		encode(body, device, all);
	for (size_t i = 0; i < all->record_count; i++)
		free(all->records[i]);
	free(all);
}

// ---- which is which ----

static const struct resource {
	const char *route;
	uint32_t format;
	uint32_t max_age_s; // a proxy or client may keep the answer for this time
	bool proved;        // only for who has proved who it is
	void (*get)(struct gw_coap *coap, struct gw_coap_session *state, struct body *body);
} resources[] = {
	{ "", COAP_MEDIATYPE_TEXT_PLAIN, 60, false, get_root },
	{ "time", COAP_MEDIATYPE_TEXT_PLAIN, 0, false, get_time },
	{ "readings", COAP_MEDIATYPE_APPLICATION_SENML_JSON, 0, true, get_readings },
	{ ".well-known/core", COAP_MEDIATYPE_APPLICATION_LINK_FORMAT, 60, false, get_core },
};

static void
get(struct gw_coap *coap, struct gw_coap_session *state, const struct resource *resource, const struct gw_coap_ask *ask, coap_pdu_t *response)
{
	struct body body = { 0 };

	if (ask->accept != UINT32_MAX && ask->accept != resource->format) {
		refuse(coap, response, COAP_RESPONSE_CODE(406), "only the usual content format is to be had");
		return;
	}
	if (resource->proved && state->auth == GW_AUTH_NONE) {
		refuse(coap, response, COAP_RESPONSE_CODE(401), "readings are shown over DTLS only");
		return;
	}
	resource->get(coap, state, &body);
	if (body.failed)
		refuse(coap, response, COAP_RESPONSE_CODE(500), gw_error_text(GW_E_MEMORY));
	else if (body.len == 0)
		refuse(coap, response, COAP_RESPONSE_CODE(404), "no reading of this device yet");
	else
		answer_body(coap, ask, response, resource->format, resource->max_age_s, &body);
	free(body.text);
}

void
gw_coap_get_resource(struct gw_coap *coap, struct gw_coap_session *state, const struct gw_coap_ask *ask, coap_pdu_t *response)
{
	struct gw_match match;

	for (size_t i = 0; i < sizeof(resources) / sizeof(resources[0]); i++)
		if (gw_span_is(ask->route, resources[i].route)) {
			get(coap, state, &resources[i], ask, response);
			return;
		}
	if (gw_profiles_match(coap->core->profiles, GW_DOOR_COAP, ask->route, &match, 1) > 0)
		refuse(coap, response, COAP_RESPONSE_CODE(405), "readings go in here; GET /readings gives the latest");
	else
		refuse(coap, response, COAP_RESPONSE_CODE(404), "no profile knows this path");
}
