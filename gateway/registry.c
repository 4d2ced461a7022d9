// SPDX-License-Identifier: Apache-2.0
// The registry: loads the rows, swaps snapshots, commits changes. Changes wait for their commit under one lock that readers never take;
// readers take a lock only for the moment in which they count themselves in.
#include "gateway/registry.h"

#include "gateway/clock.h"
#include "gateway/diag.h"
#include "gateway/journal.h"
#include "gateway/registry_password.h"
#include "gateway/registry_row.h"

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define SMALL_CHANGE_BYTES 65536 // a device can be disabled, or added, also when the store is full; a long list cannot

struct gw_registry {
	pthread_mutex_t swapping;       // guards current: held for a pointer and a count
	struct gw_snapshot *current;
	_Atomic uint64_t generation;
	pthread_mutex_t changing;       // one change at a time; guards source
	struct gw_source source;
	struct gw_passwords *passwords;
	struct gw_device_clocks *clocks;
	int tend_fd;                    // readable: a snapshot is new, or a rotation's new key was used
};

struct gw_device_clocks *
gw_registry_clocks(struct gw_registry *registry)
{
	return registry->clocks;
}

const struct gw_snapshot *
gw_snapshot_get(struct gw_registry *registry)
{
	struct gw_snapshot *snapshot;

	pthread_mutex_lock(&registry->swapping);
	snapshot = registry->current;
	atomic_fetch_add(&snapshot->references, 1);
	pthread_mutex_unlock(&registry->swapping);
	return snapshot;
}

uint64_t
gw_registry_generation(const struct gw_registry *registry)
{
	return atomic_load_explicit(&registry->generation, memory_order_acquire);
}

int
gw_registry_tend_fd(const struct gw_registry *registry)
{
	return registry->tend_fd;
}

void
gw_registry_wake(struct gw_registry *registry)
{
	uint64_t one = 1;

	(void)!write(registry->tend_fd, &one, sizeof(one));
}

static void
publish(struct gw_registry *registry, struct gw_snapshot *snapshot)
{
	struct gw_snapshot *before;

	pthread_mutex_lock(&registry->swapping);
	before = registry->current;
	registry->current = snapshot;
	atomic_store_explicit(&registry->generation, snapshot->generation, memory_order_release);
	pthread_mutex_unlock(&registry->swapping);
	gw_snapshot_put(before);
	gw_registry_wake(registry);
}

// ---- Loading ----

struct loading {
	struct gw_owned **devices;
	size_t count, cap;
	enum gw_error error;
	struct gw_why *why;
};

static bool
list_add(struct loading *list, struct gw_owned *owned)
{
	struct gw_owned **more;

	if (list->count == list->cap) {
		list->cap = list->cap == 0 ? 64 : list->cap * 2;
		more = realloc(list->devices, list->cap * sizeof(struct gw_owned *));
		if (more == NULL)
			return false;
		list->devices = more;
	}
	list->devices[list->count++] = owned;
	return true;
}

static void
list_drop(struct loading *list)
{
	for (size_t i = 0; i < list->count; i++)
		gw_owned_put(list->devices[i]);
	free(list->devices);
}

// One damaged row must not keep a whole ward's devices out: it is left out and said. A newer version stops the start: what else would be misread?
static bool
load_row(void *arg, struct gw_span key, struct gw_span value)
{
	struct loading *loading = arg;
	struct gw_owned *owned = gw_owned_new();
	struct gw_why why = { "" };

	loading->error = owned != NULL ? gw_device_row_read(value, &owned->device, &why) : GW_E_MEMORY;
	if (loading->error == GW_E_CORRUPT) {
		gw_diag(GW_ERROR, "registry.row", "%.*s is left out: %s", (int)(key.len < 80 ? key.len : 80), (const char *)key.at, why.text);
		gw_owned_put(owned);
		loading->error = GW_OK;
		return true;
	}
	if (loading->error == GW_OK && list_add(loading, owned))
		return true;
	gw_owned_put(owned);
	if (loading->error == GW_OK)
		loading->error = GW_E_MEMORY;
	(void)gw_fail(loading->why, loading->error, "%s", why.text[0] != '\0' ? why.text : gw_error_text(loading->error));
	return false;
}

static enum gw_error
load(struct gw_registry *registry, struct gw_journal *journal, struct gw_why *why)
{
	struct loading loading = { .why = why };
	struct gw_snapshot *snapshot;
	enum gw_error error;

	error = gw_journal_each(journal, gw_span_text(GW_DEVICE_ROW_PREFIX), gw_span("", 0), load_row, &loading);
	if (error != GW_OK)
		(void)gw_fail(why, error, "the registry cannot be read: %s", gw_error_text(error));
	else
		error = loading.error;
	if (error != GW_OK) {
		list_drop(&loading);
		return error;
	}
	error = gw_snapshot_new(loading.devices, loading.count, 1, &snapshot, why);
	if (error != GW_OK)
		return error;
	registry->current = snapshot;
	atomic_store(&registry->generation, snapshot->generation);
	return GW_OK;
}

enum gw_error
gw_registry_open(struct gw_journal *journal, struct gw_intake *intake, struct gw_registry **out, struct gw_why *why)
{
	struct gw_registry *registry = NULL;
	enum gw_error error;

	*out = NULL;
	if (sodium_init() < 0)
		return gw_fail(why, GW_E_SYSTEM, "libsodium finds no source of random numbers");
	registry = calloc(1, sizeof(*registry));
	if (registry == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	pthread_mutex_init(&registry->swapping, NULL);
	pthread_mutex_init(&registry->changing, NULL);
	error = gw_source_init(&registry->source, intake, 1);
	if (error != GW_OK) {
		(void)gw_fail(why, error, "%s", gw_error_text(error));
		goto fail_source;
	}
	registry->passwords = gw_passwords_new();
	registry->clocks = gw_device_clocks_new();
	registry->tend_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (registry->passwords == NULL || registry->clocks == NULL || registry->tend_fd < 0) {
		error = gw_fail(why, GW_E_MEMORY, "out of memory");
		goto fail_tables;
	}
	error = load(registry, journal, why);
	if (error != GW_OK)
		goto fail_tables;
	*out = registry;
	return GW_OK;

fail_tables:
	if (registry->tend_fd >= 0)
		close(registry->tend_fd);
	gw_device_clocks_free(registry->clocks);
	gw_passwords_free(registry->passwords);
	gw_source_fini(&registry->source);
fail_source:
	pthread_mutex_destroy(&registry->changing);
	pthread_mutex_destroy(&registry->swapping);
	free(registry);
	return error;
}

void
gw_registry_close(struct gw_registry *registry)
{
	if (registry == NULL)
		return;
	gw_snapshot_put(registry->current);
	close(registry->tend_fd);
	gw_device_clocks_free(registry->clocks);
	gw_passwords_free(registry->passwords);
	gw_source_fini(&registry->source);
	pthread_mutex_destroy(&registry->changing);
	pthread_mutex_destroy(&registry->swapping);
	free(registry);
}

bool
gw_registry_password(struct gw_registry *registry, const struct gw_device *device, struct gw_span password)
{
	return gw_passwords_check(registry->passwords, device, password);
}

bool
gw_registry_password_known(struct gw_registry *registry, const struct gw_device *device, struct gw_span password)
{
	return gw_passwords_known(registry->passwords, device, password);
}

// ---- Changes: the list of the next snapshot, and the ticket that makes it durable ----

// All devices but the one at `without` (SIZE_MAX: all), each with a reference of its own.
static bool
list_copy(struct loading *list, const struct gw_snapshot *snapshot, size_t without)
{
	for (size_t i = 0; i < snapshot->count; i++) {
		if (i == without)
			continue;
		if (!list_add(list, snapshot->devices[i]))
			return false;
		atomic_fetch_add(&snapshot->devices[i]->references, 1);
	}
	return true;
}

static enum gw_error
row_key(const char *id, char *key, size_t cap, struct gw_span *span)
{
	int len = snprintf(key, cap, GW_DEVICE_ROW_PREFIX "%s", id);

	*span = gw_span(key, (size_t)len);
	return GW_OK;
}

static enum gw_error
put_row(struct gw_ticket *ticket, const struct gw_device *device)
{
	char key[GW_ID_MAX + 16], *row;
	struct gw_span key_span;
	enum gw_error error;
	size_t len;

	row = gw_device_row_write(device, &len);
	if (row == NULL)
		return GW_E_MEMORY;
	error = row_key(device->id, key, sizeof(key), &key_span);
	if (error == GW_OK)
		error = gw_ticket_put(ticket, key_span, gw_span(row, len));
	sodium_memzero(row, len);
	free(row);
	return error;
}

static enum gw_error
del_row(struct gw_ticket *ticket, const struct gw_device *device)
{
	char key[GW_ID_MAX + 16];
	struct gw_span key_span;
	enum gw_error error = row_key(device->id, key, sizeof(key), &key_span);

	return error != GW_OK ? error : gw_ticket_del(ticket, key_span);
}

// Who, what, which.
static enum gw_error
put_command(struct gw_ticket *ticket, const struct gw_change *change, const struct gw_device *first)
{
	static const char *const words[] = { "device add", "device enable", "device disable", "device remove", "device rotate", "device rotated", "device revoke",
		"device issue", "cert revoke" };
	struct gw_event event = { .received_us = gw_clock_wall_us(), .door = GW_DOOR_COMMAND, .device = gw_span_text(first->id) };
	char text[256];

	if (change->count > 1)
		snprintf(text, sizeof(text), "device import: %zu devices", change->count);
	else
		snprintf(text, sizeof(text), "%s %s%s%.120s", words[change->kind], first->id, change->words != NULL ? ": " : "", change->words != NULL ? change->words : "");
	event.text = gw_span_text(text);
	event.principal = gw_span_text(change->who != NULL ? change->who : "vitalgate");
	if (event.principal.len > GW_ID_MAX)
		event.principal.len = GW_ID_MAX;
	return gw_ticket_event(ticket, GW_RECORD_COMMAND, &event);
}

static enum gw_error
change_add(const struct gw_change *change, struct loading *list, struct gw_ticket *ticket)
{
	int64_t now = gw_clock_wall_us();
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < change->count && error == GW_OK; i++) {
		struct gw_owned *owned = gw_owned_copy(&change->devices[i]);

		if (owned == NULL || !list_add(list, owned)) {
			gw_owned_put(owned);
			return gw_fail(list->why, GW_E_MEMORY, "out of memory");
		}
		owned->device.created_us = owned->device.changed_us = now;
		error = gw_device_complete(&owned->device, list->why);
		if (error == GW_OK && (error = put_row(ticket, &owned->device)) == GW_E_TOO_LARGE)
			(void)gw_fail(list->why, error, "too many devices for one change (%zu): split the list", change->count);
	}
	return error;
}

// What a change of one device does to it.
static enum gw_error
apply(const struct gw_change *change, const struct gw_snapshot *now, struct gw_device *device, struct gw_why *why)
{
	switch (change->kind) {
	case GW_CHANGE_DISABLE:
	case GW_CHANGE_REVOKE:
		device->disabled = true;
		return GW_OK;
	case GW_CHANGE_CERTIFICATE:
		return GW_OK;
	case GW_CHANGE_ENABLE:
		device->disabled = false;
		return GW_OK;
	case GW_CHANGE_ROTATE:
		return gw_rotation_begin(device, now, change->rotation, why);
	case GW_CHANGE_ROTATED:
		if (strcmp(device->psk_identity, change->subject) != 0)
			return gw_fail(why, GW_E_NOT_FOUND, "that rotation is over");
		gw_rotation_end(device);
		return GW_OK;
	case GW_CHANGE_ISSUE:
		if (device->subject[0] == '\0')
			return gw_device_set(device, "cert_subject", gw_span_text(change->subject), why);
		return GW_OK;
	default:
		return GW_E_ARGUMENT;
	}
}

static enum gw_error
change_one(const struct gw_change *change, const struct gw_snapshot *now, const struct gw_device *device, struct loading *list, struct gw_ticket *ticket)
{
	struct gw_owned *owned;
	enum gw_error error;

	if (change->kind == GW_CHANGE_REMOVE)
		return del_row(ticket, device);
	owned = gw_owned_copy(device);
	if (owned == NULL || !list_add(list, owned)) {
		gw_owned_put(owned);
		return gw_fail(list->why, GW_E_MEMORY, "out of memory");
	}
	if ((error = apply(change, now, &owned->device, list->why)) != GW_OK || (error = gw_device_complete(&owned->device, list->why)) != GW_OK)
		return error;
	owned->device.changed_us = gw_clock_wall_us();
	return put_row(ticket, &owned->device);
}

// Everything but the commit: the list of the next snapshot and the ticket's operations.
static enum gw_error
prepare(const struct gw_snapshot *now, const struct gw_change *change, struct loading *list, struct gw_ticket *ticket)
{
	const struct gw_device *device = change->kind == GW_CHANGE_ADD ? change->devices : gw_snapshot_device(now, change->id);
	enum gw_error error;

	if (device == NULL)
		return gw_fail(list->why, GW_E_NOT_FOUND, "device \"%.*s\" is not in the registry",
		    (int)(change->id.len < 64 ? change->id.len : 64), (const char *)change->id.at);
	if (!list_copy(list, now, change->kind == GW_CHANGE_ADD ? SIZE_MAX : gw_snapshot_place(now, gw_span_text(device->id))))
		return gw_fail(list->why, GW_E_MEMORY, "out of memory");
	error = change->kind == GW_CHANGE_ADD ? change_add(change, list, ticket) : change_one(change, now, device, list, ticket);
	if (error == GW_OK && change->with != NULL && (error = change->with(change->arg, ticket)) == GW_E_TOO_LARGE)
		(void)gw_fail(list->why, error, "too many devices for one change (%zu): split the list", change->count);
	return error != GW_OK ? error : put_command(ticket, change, device);
}

static enum gw_error
commit(struct gw_registry *registry, struct gw_ticket *ticket, struct gw_snapshot *next, struct gw_why *why)
{
	enum gw_error error;

	ticket->essential = ticket->ops_len <= SMALL_CHANGE_BYTES;
	error = gw_intake_commit(ticket);
	if (error != GW_OK) {
		gw_snapshot_put(next);
		return gw_fail(why, error, "the change could not be stored: %s", gw_error_text(error));
	}
	publish(registry, next);
	return GW_OK;
}

enum gw_error
gw_registry_change(struct gw_registry *registry, const struct gw_change *change, struct gw_why *why)
{
	struct loading list = { .why = why };
	const struct gw_snapshot *now;
	struct gw_snapshot *next;
	struct gw_ticket *ticket;
	enum gw_error error;

	if (change->kind == GW_CHANGE_ADD && change->count == 0)
		return GW_OK;
	pthread_mutex_lock(&registry->changing);
	now = gw_snapshot_get(registry);
	ticket = gw_ticket_get(&registry->source);
	if (ticket == NULL) {
		error = gw_fail(why, GW_E_MEMORY, "out of memory");
		goto out;
	}
	error = prepare(now, change, &list, ticket);
	if (error != GW_OK)
		list_drop(&list);
	else if ((error = gw_snapshot_new(list.devices, list.count, now->generation + 1, &next, why)) == GW_OK)
		error = commit(registry, ticket, next, why);
	gw_ticket_release(ticket);
out:
	gw_snapshot_put(now);
	pthread_mutex_unlock(&registry->changing);
	return error;
}

enum gw_error
gw_registry_add_many(struct gw_registry *registry, const struct gw_device *devices, size_t count, struct gw_why *why)
{
	return gw_registry_change(registry, &(struct gw_change){ .kind = GW_CHANGE_ADD, .devices = devices, .count = count }, why);
}

enum gw_error
gw_registry_add(struct gw_registry *registry, const struct gw_device *device, struct gw_why *why)
{
	return gw_registry_add_many(registry, device, 1, why);
}

enum gw_error
gw_registry_set_disabled(struct gw_registry *registry, struct gw_span id, bool disabled, struct gw_why *why)
{
	struct gw_change change = { .kind = disabled ? GW_CHANGE_DISABLE : GW_CHANGE_ENABLE, .id = id };

	return gw_registry_change(registry, &change, why);
}

enum gw_error
gw_registry_remove(struct gw_registry *registry, struct gw_span id, struct gw_why *why)
{
	return gw_registry_change(registry, &(struct gw_change){ .kind = GW_CHANGE_REMOVE, .id = id }, why);
}
