// SPDX-License-Identifier: Apache-2.0
// CoAP from devices as a part of the program: start, stop, close, status. main's thread, while the adapter's thread runs the loop.
#include "adapters/coap/coap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define GROUPS_MAX (1u << 20) // more sessions share lists; they are found all the same
#define UPLOAD_IDLE_US ((int64_t)GW_COAP_EXCHANGE_S * 1000000)

static bool
enabled(const struct gw_config *config)
{
	return config->coap_enabled;
}

static enum gw_error
check_plain(const struct gw_config *config, struct gw_why *why)
{
	if (config->coap_plain_enabled && config->coap_plain_principal[0] == '\0')
		return gw_fail(why, GW_E_CONFIG, "coap.plain_enabled needs coap.plain_principal: the registry's entry that speaks for such devices");
	return GW_OK;
}

static enum gw_error
check(const struct gw_config *config, struct gw_why *why)
{
	enum gw_error error = GW_OK;

	if (config->coap_enabled && (error = check_plain(config, why)) == GW_OK)
		error = gw_coap_credentials_check(config, why);
	return error;
}

static enum gw_error
renew(void *part, struct gw_why *why)
{
	return gw_coap_credentials_renew(part, why);
}

static enum gw_error
watch(struct gw_coap *coap, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(coap->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0 ? GW_OK : GW_E_SYSTEM;
}

static enum gw_error
open_loop(struct gw_coap *coap, struct gw_why *why)
{
	coap->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	coap->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (coap->epoll_fd < 0 || coap->stop_fd < 0 || watch(coap, coap->stop_fd) != GW_OK || watch(coap, coap->source.event_fd) != GW_OK ||
	    watch(coap, coap_context_get_coap_fd(coap->context)) != GW_OK)
		return gw_fail(why, GW_E_SYSTEM, "coap: %s", strerror(errno));
	return GW_OK;
}

static enum gw_error
open_line(struct gw_coap *coap, struct gw_why *why)
{
	struct gw_line_options options = { .registry = coap->core->registry, .profiles = coap->core->profiles, .refusals = coap->core->refusals,
		.refused_claims_per_min = (uint32_t)coap->core->config->store_refused_claims_per_min,
		.payload_bytes_max = (size_t)coap->config->coap_payload_bytes_max };

	coap->line = gw_line_new(&options);
	if (coap->line == NULL)
		return gw_fail(why, GW_E_MEMORY, "coap: out of memory");
	return GW_OK;
}

// Sessions find the others of their principal or address in a list that is short where there are as many lists as sessions.
static bool
open_groups(struct gw_coap *coap)
{
	size_t count = 256;

	while (count < (size_t)coap->config->coap_sessions_max && count < GROUPS_MAX)
		count *= 2;
	coap->group_mask = count - 1;
	coap->principals = calloc(count, sizeof(*coap->principals));
	coap->addresses = calloc(count, sizeof(*coap->addresses));
	coap->handshakes_of_one = (size_t)coap->config->coap_handshakes_of_one;
	if (coap->handshakes_of_one == 0)
		coap->handshakes_of_one = ((size_t)coap->config->coap_handshakes_max + 1) / 2;
	return coap->principals != NULL && coap->addresses != NULL;
}

static void
free_spare(struct gw_coap *coap)
{
	while (coap->spare != NULL) {
		struct gw_coap_request *next = coap->spare->next;
		free(coap->spare);
		coap->spare = next;
	}
}

static void
release(struct gw_coap *coap)
{
	gw_coap_context_close(coap);
	gw_coap_uploads_drop(&coap->uploads, NULL);
	gw_line_free(coap->line);
	free_spare(coap);
	free(coap->principals);
	free(coap->addresses);
	if (coap->snapshot != NULL)
		gw_snapshot_put(coap->snapshot);
	if (coap->source.intake != NULL)
		gw_source_fini(&coap->source);
	if (coap->epoll_fd >= 0)
		close(coap->epoll_fd);
	if (coap->stop_fd >= 0)
		close(coap->stop_fd);
	pthread_mutex_destroy(&coap->credentials.lock);
	free(coap);
}

static enum gw_error
start(struct gw_core *core, void **part, struct gw_why *why)
{
	enum gw_error error = check_plain(core->config, why);
	struct gw_coap *coap;

	if (error != GW_OK)
		return error;
	coap = calloc(1, sizeof(*coap));
	if (coap == NULL)
		return gw_fail(why, GW_E_MEMORY, "coap: out of memory");
	coap->core = core;
	coap->config = core->config;
	coap->epoll_fd = coap->stop_fd = -1;
	pthread_mutex_init(&coap->credentials.lock, NULL);
	coap->uploads.max = (size_t)core->config->coap_uploads_max;
	coap->uploads.of_one = (size_t)core->config->coap_uploads_of_one;
	coap->uploads.bytes_max = (size_t)core->config->coap_payload_bytes_max;
	coap->uploads.idle_us_max = UPLOAD_IDLE_US;
	coap->batch_end = &coap->batch;
	gw_refusals_limit(core->refusals, GW_DOOR_COAP, (uint32_t)core->config->coap_refusal_records_per_min);
	if (!open_groups(coap)) {
		error = gw_fail(why, GW_E_MEMORY, "coap: out of memory");
		goto fail;
	}
	if ((error = gw_source_init(&coap->source, core->intake, (uint32_t)core->config->coap_tickets_max)) != GW_OK) {
		error = gw_fail(why, error, "coap: %s", gw_error_text(error));
		goto fail;
	}
	if ((error = open_line(coap, why)) != GW_OK || (error = gw_coap_context_open(coap, why)) != GW_OK || (error = open_loop(coap, why)) != GW_OK)
		goto fail;
	if ((errno = pthread_create(&coap->thread, NULL, gw_coap_loop, coap)) != 0) {
		error = gw_fail(why, GW_E_SYSTEM, "coap: no thread: %s", strerror(errno));
		goto fail;
	}
	*part = coap;
	return GW_OK;
fail:
	release(coap);
	return error;
}

static void
stop(void *part)
{
	struct gw_coap *coap = part;
	uint64_t one = 1;

	if (write(coap->stop_fd, &one, sizeof(one)) < 0)
		gw_diag(GW_ERROR, "coap.stop", "%s", strerror(errno));
}

static void
close_part(void *part)
{
	struct gw_coap *coap = part;

	pthread_join(coap->thread, NULL);
	release(coap);
}

// ---- status ----

static void
add(yyjson_mut_doc *doc, yyjson_mut_val *object, const char *name, uint64_t value)
{
	yyjson_mut_obj_add_uint(doc, object, name, value);
}

// "answers_204" for 2.04 and so on, of the codes that were sent (a point in a name would be taken for a path).
static void
add_answers(struct gw_coap *coap, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	for (unsigned code = 0; code < 256; code++) {
		uint64_t count = gw_coap_get(&coap->counts.answers[code]);
		char name[16];
		if (count == 0)
			continue;
		snprintf(name, sizeof(name), "answers_%u%02u", code >> 5, code & 31);
		yyjson_mut_obj_add(object, yyjson_mut_strcpy(doc, name), yyjson_mut_uint(doc, count));
	}
}

static void
status(void *part, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct gw_coap *coap = part;
	uint64_t states = gw_coap_get(&coap->counts.states), shaking = gw_coap_get(&coap->counts.shaking);

	add(doc, object, "sessions", states > shaking ? states - shaking : 0);
	add(doc, object, "handshakes", shaking);
	add(doc, object, "handshakes_beyond_limit_of_one", gw_coap_get(&coap->counts.shakes_dropped));
	add(doc, object, "sessions_opened", gw_coap_get(&coap->counts.opened));
	add(doc, object, "sessions_beyond_limit_of_one", gw_coap_get(&coap->counts.of_one_dropped));
	add(doc, object, "sessions_proved", gw_coap_get(&coap->counts.proved));
	add(doc, object, "sessions_resumed", gw_coap_get(&coap->counts.resumed));
	add(doc, object, "credentials_refused", gw_coap_get(&coap->counts.refused));
	add(doc, object, "requests", gw_coap_get(&coap->counts.requests));
	add(doc, object, "under_way", gw_coap_get(&coap->counts.under_way));
	add(doc, object, "duplicates", gw_coap_get(&coap->counts.duplicates));
	add(doc, object, "answered_late", gw_coap_get(&coap->counts.late));
	add(doc, object, "answers_unsent", gw_coap_get(&coap->counts.unsent));
	add(doc, object, "crowded", gw_coap_get(&coap->counts.crowded));
	add(doc, object, "pauses", gw_coap_get(&coap->counts.pauses));
	add(doc, object, "bad_packets", gw_coap_get(&coap->counts.bad_packets));
	add(doc, object, "uploads", gw_coap_get(&coap->counts.uploads));
	add(doc, object, "uploads_under_way", gw_coap_get(&coap->counts.uploads_now));
	add(doc, object, "uploads_given_up", gw_coap_get(&coap->counts.uploads_lost));
	add_answers(coap, doc, object);
	gw_coap_credentials_status(coap, doc, object);
}

const struct gw_part gw_coap_part = {
	.name = "coap",
	.outlet = false,
	.enabled = enabled,
	.check = check,
	.start = start,
	.stop = stop,
	.close = close_part,
	.status = status,
	.files = gw_coap_credentials_files,
	.renew = renew,
};
