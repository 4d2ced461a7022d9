// SPDX-License-Identifier: Apache-2.0
// Passwords: Argon2id once, then a keyed BLAKE2b of (id, stored hash, password) under a key of this process. The memory is of fixed size, holds
// no password, and forgets a device's entry by itself when its stored hash changes. Any thread; the lock is never held while Argon2id runs.
#include "gateway/registry_password.h"

#include "gateway/diag.h"

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS 16384u // of WAYS entries: 10,000 devices with passwords find room
#define WAYS 4u
#define MAC_BYTES 16u
#define PASSWORD_BYTES_MAX 1024u
// OWASP's least for Argon2id (2 passes over 19 MiB). Hashes that were made with other costs keep theirs: they stand in the hash.
#define ARGON2_OPS 2
#define ARGON2_BYTES (19u << 20)
// A hash that was made elsewhere says itself what it costs: more than this is not spent on one.
#define ARGON2_OPS_MAX 16
#define ARGON2_KIB_MAX (256u << 10)

struct gw_passwords {
	pthread_mutex_t lock;
	uint8_t key[crypto_generichash_KEYBYTES];
	uint8_t next[BUCKETS]; // the way that is overwritten next
	uint8_t macs[BUCKETS][WAYS][MAC_BYTES];
};

struct gw_passwords *
gw_passwords_new(void)
{
	struct gw_passwords *passwords = calloc(1, sizeof(*passwords));

	if (passwords == NULL)
		return NULL;
	pthread_mutex_init(&passwords->lock, NULL);
	randombytes_buf(passwords->key, sizeof(passwords->key));
	return passwords;
}

void
gw_passwords_free(struct gw_passwords *passwords)
{
	if (passwords == NULL)
		return;
	pthread_mutex_destroy(&passwords->lock);
	sodium_memzero(passwords, sizeof(*passwords));
	free(passwords);
}

static void
mac_of(const struct gw_passwords *passwords, const struct gw_device *device, struct gw_span password, uint8_t mac[MAC_BYTES])
{
	crypto_generichash_state state;

	// Terminators keep the three parts apart.
	crypto_generichash_init(&state, passwords->key, sizeof(passwords->key), MAC_BYTES);
	crypto_generichash_update(&state, (const uint8_t *)device->id, strlen(device->id) + 1);
	crypto_generichash_update(&state, (const uint8_t *)device->password_hash, strlen(device->password_hash) + 1);
	crypto_generichash_update(&state, password.at, password.len);
	crypto_generichash_final(&state, mac, MAC_BYTES);
}

static uint32_t
bucket_of(const struct gw_device *device)
{
	return (uint32_t)gw_name_hash(gw_span_text(device->id)) % BUCKETS;
}

static bool
known(struct gw_passwords *passwords, const struct gw_device *device, const uint8_t mac[MAC_BYTES])
{
	uint32_t bucket = bucket_of(device);
	bool found = false;

	pthread_mutex_lock(&passwords->lock);
	for (uint32_t way = 0; way < WAYS; way++)
		found |= sodium_memcmp(passwords->macs[bucket][way], mac, MAC_BYTES) == 0;
	pthread_mutex_unlock(&passwords->lock);
	return found;
}

static void
remember(struct gw_passwords *passwords, const struct gw_device *device, const uint8_t mac[MAC_BYTES])
{
	uint32_t bucket = bucket_of(device);

	pthread_mutex_lock(&passwords->lock);
	memcpy(passwords->macs[bucket][passwords->next[bucket]], mac, MAC_BYTES);
	passwords->next[bucket] = (uint8_t)((passwords->next[bucket] + 1u) % WAYS);
	pthread_mutex_unlock(&passwords->lock);
}

bool
gw_passwords_known(struct gw_passwords *passwords, const struct gw_device *device, struct gw_span password)
{
	uint8_t mac[MAC_BYTES];

	if (device->password_hash[0] == '\0' || password.len == 0 || password.len > PASSWORD_BYTES_MAX)
		return false;
	mac_of(passwords, device, password, mac);
	return known(passwords, device, mac);
}

void
gw_password_waste(struct gw_span password)
{
	static const uint8_t salt[crypto_pwhash_SALTBYTES];
	uint8_t out[32];

	if (password.len > 0 && password.len <= PASSWORD_BYTES_MAX)
		(void)!crypto_pwhash(out, sizeof(out), (const char *)password.at, password.len, salt, ARGON2_OPS, ARGON2_BYTES, crypto_pwhash_ALG_ARGON2ID13);
	sodium_memzero(out, sizeof(out));
}

// "$argon2id$v=19$m=19456,t=2,p=1$..."
static bool
is_affordable(const struct gw_device *device)
{
	static struct gw_diag_limit limit;
	unsigned kib = 0, passes = 0;

	if (sscanf(device->password_hash, "$argon2%*[id]$v=%*u$m=%u,t=%u", &kib, &passes) == 2 && kib <= ARGON2_KIB_MAX && passes <= ARGON2_OPS_MAX)
		return true;
	gw_diag_limited(&limit, 60, GW_WARNING, "registry.password", "device=%s: its password's hash is no Argon2, or costs more than %u MiB and %u passes: give it a new password",
	    device->id, ARGON2_KIB_MAX >> 10, ARGON2_OPS_MAX);
	return false;
}

bool
gw_passwords_check(struct gw_passwords *passwords, const struct gw_device *device, struct gw_span password)
{
	uint8_t mac[MAC_BYTES];

	if (device->password_hash[0] == '\0' || password.len == 0 || password.len > PASSWORD_BYTES_MAX)
		return false;
	mac_of(passwords, device, password, mac);
	if (known(passwords, device, mac))
		return true;
	if (!is_affordable(device) || crypto_pwhash_str_verify(device->password_hash, (const char *)password.at, password.len) != 0)
		return false;
	remember(passwords, device, mac);
	return true;
}

enum gw_error
gw_registry_hash_password(struct gw_span password, char out[128])
{
	_Static_assert(crypto_pwhash_STRBYTES <= 128, "a hash fits");

	if (sodium_init() < 0)
		return GW_E_SYSTEM;
	if (password.len == 0 || password.len > PASSWORD_BYTES_MAX)
		return GW_E_ARGUMENT;
	memset(out, 0, 128);
	return crypto_pwhash_str(out, (const char *)password.at, password.len, ARGON2_OPS, ARGON2_BYTES) == 0 ? GW_OK : GW_E_MEMORY;
}
