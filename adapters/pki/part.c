// SPDX-License-Identifier: Apache-2.0
// Credentials as a part of the program: before any door opens it makes what is missing of the gateway's own trust; then its thread keeps that up to date (expiry, names and
// addresses of the machine, revocation list) and ends rotations of devices' keys that are due. What it writes are files, which doors take up as they would a site's.
#include "adapters/pki/local.h"

#include "gateway/certificates.h"
#include "gateway/clock.h"
#include "gateway/core.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOOK_MS 60000          // between looks at certificate and list
#define SETTLE_MS 1000         // an address that came seldom comes alone
#define RETRY_US INT64_C(5000000)

struct pki {
	struct gw_core *core;
	pthread_t thread;
	int stop_fd, net_fd;       // net_fd: the kernel tells of addresses; -1: looks alone
	bool local;                // doors use our own certificate
	int64_t look_us;           // monotonic: when to look at the certificate next
	int64_t tend_us;           // wall: when to tend the registry next
	pthread_mutex_t lock;      // of what follows: status
	char authority[256];
	int64_t authority_until_us, certificate_until_us;
	uint64_t renewed;
};

static bool
enabled(const struct gw_config *config)
{
	(void)config;
	return true;
}

// ---- Certificate and list ----

static enum gw_error
look_at_certificate(struct pki *pki, struct gw_why *why)
{
	struct gw_pki_info *info = calloc(1, sizeof(*info));
	const char *reason = NULL;
	struct gw_local *local;
	enum gw_error error;

	if (info == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	if ((error = gw_local_open(pki->core->config, &local, why)) != GW_OK) {
		free(info);
		return error;
	}
	error = gw_local_renew(local, pki->core->config, info, &reason, why);
	if (error == GW_OK) {
		pthread_mutex_lock(&pki->lock);
		memcpy(pki->authority, gw_local_authority_info(local)->subject, sizeof(pki->authority));
		pki->authority_until_us = gw_local_authority_info(local)->until_us;
		pki->certificate_until_us = info->until_us;
		pki->renewed += reason != NULL;
		pthread_mutex_unlock(&pki->lock);
	}
	if (error == GW_OK && reason != NULL)
		gw_diag(GW_NOTICE, "pki.certificate", "%s is new, because %s; for %.400s", gw_local_files(local)->certificate, reason, info->names);
	gw_local_close(local);
	free(info);
	return error;
}

static enum gw_error
look(struct pki *pki, struct gw_why *why)
{
	enum gw_error error = look_at_certificate(pki, why);
	bool written = false;

	if (error == GW_OK)
		error = gw_certificates_publish(pki->core, &written, why);
	if (written)
		gw_diag(GW_INFO, "pki.crl", "the revocation list is new");
	return error;
}

// ---- The thread ----

static void
tend(struct pki *pki)
{
	static struct gw_diag_limit limit;
	struct gw_why why = { "" };
	enum gw_error error = gw_registry_tend(pki->core->registry, &pki->tend_us, &why);

	if (error == GW_OK)
		return;
	pki->tend_us = gw_clock_wall_us() + RETRY_US;
	gw_diag_limited(&limit, 60, GW_WARNING, "pki.rotation", "a rotation cannot be ended yet: %s", why.text);
}

static void
look_now(struct pki *pki)
{
	static struct gw_diag_limit limit;
	struct gw_why why = { "" };

	pki->look_us = gw_clock_mono_us() + LOOK_MS * INT64_C(1000);
	if (pki->local && look(pki, &why) != GW_OK)
		gw_diag_limited(&limit, 60, GW_ERROR, "pki.certificate", "the gateway's own certificate stays as it is: %s", why.text);
}

// Empties it; whether an address came or went.
static bool
addresses_changed(struct pki *pki)
{
	char buf[8192];
	bool any = false;

	while (recv(pki->net_fd, buf, sizeof(buf), MSG_DONTWAIT) > 0)
		any = true;
	return any || errno == ENOBUFS; // more than it could hold
}

static int
wait_ms(const struct pki *pki)
{
	int64_t look_ms = (pki->look_us - gw_clock_mono_us()) / 1000, tend_ms = pki->tend_us == INT64_MAX ? LOOK_MS : (pki->tend_us - gw_clock_wall_us()) / 1000;
	int64_t ms = look_ms < tend_ms ? look_ms : tend_ms;

	return ms < 0 ? 0 : ms < LOOK_MS ? (int)ms + 1 : LOOK_MS;
}

static void *
thread_main(void *arg)
{
	struct pki *pki = arg;
	struct pollfd fds[] = { { .fd = pki->stop_fd, .events = POLLIN }, { .fd = gw_registry_tend_fd(pki->core->registry), .events = POLLIN },
		{ .fd = pki->net_fd, .events = POLLIN } };
	uint64_t count;

	for (;;) {
		if (poll(fds, 3, wait_ms(pki)) < 0 && errno != EINTR)
			return NULL;
		if (fds[0].revents != 0)
			return NULL;
		if (fds[1].revents != 0)
			(void)!read(fds[1].fd, &count, sizeof(count));
		if (fds[1].revents != 0 || gw_clock_wall_us() >= pki->tend_us)
			tend(pki);
		if (fds[2].revents != 0 && addresses_changed(pki) && pki->look_us > gw_clock_mono_us() + SETTLE_MS * 1000)
			pki->look_us = gw_clock_mono_us() + SETTLE_MS * 1000;
		if (gw_clock_mono_us() >= pki->look_us)
			look_now(pki);
	}
}

// ---- Start and end ----

static int
open_net(void)
{
	struct sockaddr_nl at = { .nl_family = AF_NETLINK, .nl_groups = RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);

	if (fd >= 0 && bind(fd, (const struct sockaddr *)(const void *)&at, sizeof(at)) != 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void
release(struct pki *pki)
{
	if (pki->stop_fd >= 0)
		close(pki->stop_fd);
	if (pki->net_fd >= 0)
		close(pki->net_fd);
	pthread_mutex_destroy(&pki->lock);
	free(pki);
}

static bool
has_doors(const struct gw_config *config)
{
	return config->mqtt_enabled || config->coap_enabled || (config->hl7_in_enabled && config->hl7_in_tls_port != 0);
}

static enum gw_error
start(struct gw_core *core, void **part, struct gw_why *why)
{
	struct pki *pki = calloc(1, sizeof(*pki));
	enum gw_error error = GW_OK;

	if (pki == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	pthread_mutex_init(&pki->lock, NULL);
	pki->core = core;
	pki->local = gw_local_used(core->config) && has_doors(core->config);
	pki->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pki->net_fd = pki->local ? open_net() : -1;
	pki->look_us = gw_clock_mono_us() + LOOK_MS * INT64_C(1000);
	if (pki->stop_fd < 0)
		error = gw_fail(why, GW_E_SYSTEM, "%s", strerror(errno));
	if (error == GW_OK && pki->local)
		error = look(pki, why);
	if (error == GW_OK && pthread_create(&pki->thread, NULL, thread_main, pki) != 0)
		error = gw_fail(why, GW_E_SYSTEM, "no thread: %s", strerror(errno));
	if (error != GW_OK) {
		release(pki);
		return error;
	}
	*part = pki;
	return GW_OK;
}

static void
stop(void *part)
{
	struct pki *pki = part;
	uint64_t one = 1;

	(void)!write(pki->stop_fd, &one, sizeof(one));
}

static void
close_part(void *part)
{
	struct pki *pki = part;

	pthread_join(pki->thread, NULL);
	release(pki);
}

static uint64_t
rotations(const struct gw_core *core)
{
	const struct gw_snapshot *snapshot = gw_snapshot_get(core->registry);
	const struct gw_device *device;
	uint64_t count = 0;

	for (size_t i = 0; (device = gw_snapshot_at(snapshot, i)) != NULL; i++)
		count += device->next_psk_len > 0;
	gw_snapshot_put(snapshot);
	return count;
}

static void
status(void *part, yyjson_mut_doc *doc, yyjson_mut_val *object)
{
	struct pki *pki = part;
	char text[40];

	yyjson_mut_obj_add_uint(doc, object, "rotations", rotations(pki->core));
	yyjson_mut_obj_add_bool(doc, object, "local", pki->local);
	if (!pki->local)
		return;
	pthread_mutex_lock(&pki->lock);
	yyjson_mut_obj_add_strcpy(doc, object, "authority", pki->authority);
	yyjson_mut_obj_add_strcpy(doc, object, "authority_until", gw_time_format(pki->authority_until_us, text));
	yyjson_mut_obj_add_strcpy(doc, object, "certificate_until", gw_time_format(pki->certificate_until_us, text));
	yyjson_mut_obj_add_uint(doc, object, "certificates_made", pki->renewed);
	pthread_mutex_unlock(&pki->lock);
}

const struct gw_part gw_pki_part = {
	.name = "pki",
	.enabled = enabled,
	.start = start,
	.stop = stop,
	.close = close_part,
	.status = status,
};
