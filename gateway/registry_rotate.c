// SPDX-License-Identifier: Apache-2.0
// Rotation of a device's PSK: a new key under a new identity beside the old one, until a date or until the new one was used; then the old one is gone, durably, and its
// connections with it. Doors ask for keys and proofs on their own threads; rotations are ended by whoever tends the registry.
#include "gateway/registry.h"

#include "gateway/clock.h"
#include "gateway/hash.h"
#include "gateway/registry_row.h"

#include <ctype.h>
#include <sodium.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_MAX 1000000

// ---- What doors ask ----

struct gw_span
gw_device_psk(const struct gw_device *device, struct gw_span identity)
{
	bool ended = device->next_psk_len > 0 && device->psk_until_us != 0 && gw_clock_wall_us() >= device->psk_until_us;

	if (device->next_psk_len > 0 && gw_span_is(identity, device->next_identity))
		return gw_span(device->next_psk, device->next_psk_len);
	if (device->psk_len > 0 && !ended && gw_span_is(identity, device->psk_identity))
		return gw_span(device->psk, device->psk_len);
	return gw_span(NULL, 0);
}

static uint64_t
proof_of(enum gw_auth auth, struct gw_span name, struct gw_span secret)
{
	uint64_t hash = gw_hash_bytes(gw_hash_bytes((uint64_t)auth + 1, name), secret);

	return hash != 0 ? hash : 1;
}

uint64_t
gw_device_proof(const struct gw_device *device, enum gw_auth auth, struct gw_span name)
{
	struct gw_span key;

	switch (auth) {
	case GW_AUTH_PSK:
		key = gw_device_psk(device, name);
		return key.len > 0 ? proof_of(auth, name, key) : 0;
	case GW_AUTH_CERTIFICATE:
		return gw_span_is(name, device->subject) ? proof_of(auth, name, gw_span(NULL, 0)) : 0;
	case GW_AUTH_PASSWORD:
		return device->password_hash[0] != '\0' ? proof_of(auth, gw_span_text(device->user), gw_span_text(device->password_hash)) : 0;
	default:
		return proof_of(auth, gw_span(NULL, 0), gw_span(NULL, 0));
	}
}

bool
gw_device_proves(const struct gw_device *device, enum gw_auth auth, uint64_t proof)
{
	const char *name = auth == GW_AUTH_PSK ? device->psk_identity : auth == GW_AUTH_CERTIFICATE ? device->subject : device->user;

	if (gw_device_proof(device, auth, gw_span_text(name)) == proof)
		return true;
	return auth == GW_AUTH_PSK && device->next_psk_len > 0 && gw_device_proof(device, auth, gw_span_text(device->next_identity)) == proof;
}

// Devices of a snapshot are each inside a gw_owned.
static struct gw_owned *
owned_of(const struct gw_device *device)
{
	return (struct gw_owned *)(uintptr_t)((const char *)device - offsetof(struct gw_owned, device));
}

void
gw_registry_used(struct gw_registry *registry, const struct gw_device *device, struct gw_span identity)
{
	if (device->next_psk_len == 0 || !device->psk_until_used || !gw_span_is(identity, device->next_identity))
		return;
	if (!atomic_exchange(&owned_of(device)->next_used, true))
		gw_registry_wake(registry);
}

// ---- Beginning and end ----

// "bed-12" -> "bed-12", 1; "bed-12.3" -> "bed-12", 3. A number of the device's own name is none of ours.
static size_t
stem_of(const struct gw_device *device, unsigned long *number)
{
	const char *identity = device->psk_identity, *dot = strrchr(identity, '.');
	size_t len = strlen(identity), stem = dot != NULL ? (size_t)(dot - identity) : len;
	char *end;

	*number = 1;
	if (dot == NULL || strcmp(identity, device->id) == 0 || !isdigit((unsigned char)dot[1]))
		return len;
	*number = strtoul(dot + 1, &end, 10);
	if (*end == '\0' && *number >= 2 && *number < NUMBER_MAX)
		return stem;
	*number = 1;
	return len;
}

static enum gw_error
name_next(const struct gw_device *device, const struct gw_snapshot *now, struct gw_rotation *rotation, struct gw_why *why)
{
	unsigned long number;
	size_t stem = stem_of(device, &number);
	int len;

	do
		len = snprintf(rotation->identity, sizeof(rotation->identity), "%.*s.%lu", (int)stem, device->psk_identity, ++number);
	while (len <= GW_NAME_MAX && gw_snapshot_by_psk(now, gw_span_text(rotation->identity)) != NULL);
	return len <= GW_NAME_MAX ? GW_OK : gw_fail(why, GW_E_ARGUMENT, "the identity of %s is too long for another number: give one with --psk-identity", device->id);
}

enum gw_error
gw_rotation_begin(struct gw_device *device, const struct gw_snapshot *now, struct gw_rotation *rotation, struct gw_why *why)
{
	enum gw_error error = GW_OK;

	if (device->psk_len == 0)
		return gw_fail(why, GW_E_ARGUMENT, "%s has no pre-shared key (of a certificate: vitalgate device issue)", device->id);
	if (device->next_psk_len > 0 && !rotation->at_once)
		return gw_fail(why, GW_E_EXISTS, "%s is in a rotation already, to the identity %s; --at-once ends that and makes a new key", device->id, device->next_identity);
	if (rotation->identity[0] == '\0')
		error = name_next(device, now, rotation, why);
	if (error == GW_OK)
		error = gw_device_set(device, "next_psk_identity", gw_span_text(rotation->identity), why);
	if (error != GW_OK)
		return error;
	memcpy(device->next_psk, rotation->psk, sizeof(device->next_psk));
	device->next_psk_len = rotation->psk_len;
	device->psk_until_us = rotation->until_us;
	device->psk_until_used = rotation->until_used;
	if (rotation->at_once)
		gw_rotation_end(device);
	return GW_OK;
}

void
gw_rotation_end(struct gw_device *device)
{
	if (device->next_psk_len == 0)
		return;
	memcpy(device->psk, device->next_psk, sizeof(device->psk));
	device->psk_len = device->next_psk_len;
	memcpy(device->psk_identity, device->next_identity, sizeof(device->psk_identity));
	sodium_memzero(device->next_psk, sizeof(device->next_psk));
	memset(device->next_identity, 0, sizeof(device->next_identity));
	device->next_psk_len = 0;
	device->psk_until_us = 0;
	device->psk_until_used = false;
}

// ---- Tending ----

static const char *
due(const struct gw_device *device, int64_t now_us)
{
	if (device->next_psk_len == 0)
		return NULL;
	if (device->psk_until_us != 0 && now_us >= device->psk_until_us)
		return "its date came";
	return device->psk_until_used && atomic_load(&owned_of(device)->next_used) ? "the new one was used" : NULL;
}

static enum gw_error
end_one(struct gw_registry *registry, const struct gw_device *device, const char *because, struct gw_why *why)
{
	char words[160];
	struct gw_change change = { .kind = GW_CHANGE_ROTATED, .id = gw_span_text(device->id), .subject = device->psk_identity, .words = words };

	snprintf(words, sizeof(words), "the key of %.64s is gone, %s", device->psk_identity, because);
	return gw_registry_change(registry, &change, why);
}

enum gw_error
gw_registry_tend(struct gw_registry *registry, int64_t *next_us, struct gw_why *why)
{
	const struct gw_snapshot *snapshot = gw_snapshot_get(registry);
	int64_t now_us = gw_clock_wall_us();
	enum gw_error error = GW_OK;
	const struct gw_device *device;

	*next_us = INT64_MAX;
	for (size_t i = 0; error == GW_OK && (device = gw_snapshot_at(snapshot, i)) != NULL; i++) {
		const char *because = due(device, now_us);

		if (because != NULL)
			error = end_one(registry, device, because, why);
		else if (device->next_psk_len > 0 && device->psk_until_us != 0 && device->psk_until_us < *next_us)
			*next_us = device->psk_until_us;
	}
	gw_snapshot_put(snapshot);
	return error == GW_E_NOT_FOUND ? GW_OK : error; // somebody removed it meanwhile
}
