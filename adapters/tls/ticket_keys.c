// SPDX-License-Identifier: Apache-2.0
// Keys of session tickets: two generations, kept in a file, and what is sealed with them. The door's thread.
#include "adapters/tls/ticket_keys.h"
#include "adapters/tls/trust_internal.h"

#include "gateway/clock.h"
#include "gateway/diag.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <mbedtls/gcm.h>
#include <mbedtls/platform_util.h>

#define SECOND_US INT64_C(1000000)
#define DRIFT_US (60 * SECOND_US) // a ticket from the future by so much: the clock was set back

_Static_assert(sizeof(struct gw_ticket_claim) == 312, "a claim that is laid out anew needs another FORMAT");

enum { NAME = 8, NONCE = 12, TAG = 16, KEY = 32, DOOR = 16, HEAD = 5 + NAME + NONCE, FORMAT = 1 };
static const uint8_t magic[5] = { 0, 'V', 'G', 'T', FORMAT };

struct key {
	uint8_t name[NAME];
	int64_t made_s;
	uint8_t bytes[KEY];
};

// As it lies in the file.
struct file {
	char magic[8];
	struct key keys[2]; // the newer one first
	uint32_t crc, zero;
};
_Static_assert(sizeof(struct file) == 112, "schemas/journal-format.md");
static const char file_magic[8] = "VGTKEYS1";

struct gw_ticket_keys {
	struct key keys[2];
	char path[4096], door[DOOR];
	uint32_t life_s;
	uint8_t boot[8];
};

// ---- The file ----

static uint32_t
crc_of(const struct file *file)
{
	return gw_crc32c(0, file, offsetof(struct file, crc));
}

static bool
load(struct gw_ticket_keys *keys)
{
	struct gw_trust_bytes bytes;
	struct file file;
	bool whole;

	if (gw_trust_read_secret("", keys->path, &bytes, NULL) != GW_OK)
		return false;
	whole = bytes.len == sizeof(file);
	if (whole)
		memcpy(&file, bytes.at, sizeof(file));
	whole = whole && memcmp(file.magic, file_magic, sizeof(file_magic)) == 0 && file.crc == crc_of(&file);
	if (whole)
		memcpy(keys->keys, file.keys, sizeof(keys->keys));
	mbedtls_platform_zeroize(&file, sizeof(file));
	gw_trust_bytes_fini(&bytes);
	return whole;
}

static bool
write_file(const char *path, const struct file *file)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	bool done;

	if (fd < 0)
		return false;
	done = write(fd, file, sizeof(*file)) == (ssize_t)sizeof(*file) && fsync(fd) == 0;
	return close(fd) == 0 && done;
}

static void
sync_folder(const char *path)
{
	char copy[sizeof(((struct gw_ticket_keys *)NULL)->path)];
	int fd;

	snprintf(copy, sizeof(copy), "%s", path);
	fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return;
	(void)fsync(fd);
	close(fd);
}

static bool
save(const struct gw_ticket_keys *keys)
{
	struct file file = { .crc = 0 };
	char part[sizeof(keys->path) + 8];
	bool done;

	memcpy(file.magic, file_magic, sizeof(file_magic));
	memcpy(file.keys, keys->keys, sizeof(file.keys));
	file.crc = crc_of(&file);
	snprintf(part, sizeof(part), "%s.part", keys->path);
	(void)unlink(part);
	done = write_file(part, &file) && rename(part, keys->path) == 0;
	mbedtls_platform_zeroize(&file, sizeof(file));
	if (done)
		sync_folder(keys->path);
	return done;
}

// ---- Generations ----

static int64_t
now_s(void)
{
	return gw_clock_wall_us() / SECOND_US;
}

static bool
make_key(struct key *key)
{
	key->made_s = now_s();
	return gw_trust_random(NULL, key->name, sizeof(key->name)) == 0 && gw_trust_random(NULL, key->bytes, sizeof(key->bytes)) == 0;
}

// A key that was made in the future, when the clock was wrong, is not kept until then.
static bool
is_due(const struct gw_ticket_keys *keys)
{
	int64_t made_s = keys->keys[0].made_s, now = now_s();

	return made_s == 0 || now - made_s >= keys->life_s || made_s - now >= keys->life_s;
}

static bool
rotate(struct gw_ticket_keys *keys)
{
	keys->keys[1] = keys->keys[0];
	return make_key(&keys->keys[0]) && save(keys);
}

static void
read_boot(uint8_t boot[8])
{
	struct gw_trust_bytes bytes;
	char text[17] = "";

	if (gw_trust_read("", "/proc/sys/kernel/random/boot_id", 64, &bytes, NULL) != GW_OK)
		return;
	snprintf(text, sizeof(text), "%.8s%.4s%.4s", (char *)bytes.at, bytes.len > 13 ? (char *)bytes.at + 9 : "", bytes.len > 18 ? (char *)bytes.at + 14 : "");
	for (size_t i = 0; i < 8; i++) // any 8 bytes that tell runs apart
		boot[i] = (uint8_t)(text[2 * i] * 16 + text[2 * i + 1]);
	gw_trust_bytes_fini(&bytes);
}

enum gw_error
gw_ticket_keys_open(const char *path, const char *door, uint32_t life_s, struct gw_ticket_keys **out, struct gw_why *why)
{
	struct gw_ticket_keys *keys = calloc(1, sizeof(*keys));

	*out = keys;
	if (keys == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	snprintf(keys->path, sizeof(keys->path), "%s", path);
	snprintf(keys->door, sizeof(keys->door), "%s", door);
	keys->life_s = life_s;
	read_boot(keys->boot);
	if (!load(keys))
		memset(keys->keys, 0, sizeof(keys->keys));
	if (is_due(keys) && !rotate(keys))
		(void)!gw_fail(why, GW_OK, "%s: %s: no session is resumed after the next start", gw_trust_tail(path), strerror(errno));
	return GW_OK;
}

void
gw_ticket_keys_close(struct gw_ticket_keys *keys)
{
	if (keys == NULL)
		return;
	mbedtls_platform_zeroize(keys, sizeof(*keys));
	free(keys);
}

uint32_t
gw_ticket_keys_life_s(const struct gw_ticket_keys *keys)
{
	return keys->life_s;
}

// ---- Tickets ----

bool
gw_ticket_is_one(struct gw_span bytes)
{
	return bytes.len >= HEAD && memcmp(bytes.at, magic, sizeof(magic) - 1) == 0;
}

static size_t
authenticated(const struct gw_ticket_keys *keys, const uint8_t *head, uint8_t out[HEAD + DOOR])
{
	memcpy(out, head, HEAD);
	memcpy(out + HEAD, keys->door, DOOR);
	return HEAD + DOOR;
}

enum gw_error
gw_ticket_seal(struct gw_ticket_keys *keys, struct gw_ticket_claim *claim, struct gw_span session, uint8_t *out, size_t cap, size_t *len)
{
	size_t body = sizeof(*claim) + session.len;
	uint8_t more[HEAD + DOOR];
	mbedtls_gcm_context gcm;
	int rc;

	if (cap < HEAD + body + TAG)
		return GW_E_TOO_LARGE;
	if (is_due(keys) && !rotate(keys))
		gw_diag(GW_WARNING, "tls.tickets", "%s: %s: no session is resumed after the next start", keys->path, strerror(errno));
	claim->issued_us = gw_clock_wall_us();
	memcpy(claim->boot, keys->boot, sizeof(claim->boot));
	memcpy(out, magic, sizeof(magic));
	memcpy(out + sizeof(magic), keys->keys[0].name, NAME);
	if (gw_trust_random(NULL, out + sizeof(magic) + NAME, NONCE) != 0)
		return GW_E_SYSTEM;
	memcpy(out + HEAD, claim, sizeof(*claim));
	memcpy(out + HEAD + sizeof(*claim), session.at, session.len);
	mbedtls_gcm_init(&gcm);
	rc = mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, keys->keys[0].bytes, KEY * 8);
	if (rc == 0)
		rc = mbedtls_gcm_crypt_and_tag(&gcm, MBEDTLS_GCM_ENCRYPT, body, out + sizeof(magic) + NAME, NONCE, more, authenticated(keys, out, more), out + HEAD,
		    out + HEAD, TAG, out + HEAD + body);
	mbedtls_gcm_free(&gcm);
	*len = HEAD + body + TAG;
	return rc == 0 ? GW_OK : GW_E_SYSTEM;
}

static const struct key *
key_named(const struct gw_ticket_keys *keys, const uint8_t *name)
{
	for (size_t i = 0; i < 2; i++)
		if (keys->keys[i].made_s != 0 && memcmp(keys->keys[i].name, name, NAME) == 0)
			return &keys->keys[i];
	return NULL;
}

static bool
lives(const struct gw_ticket_keys *keys, const struct gw_ticket_claim *claim)
{
	int64_t age_us = gw_clock_wall_us() - claim->issued_us;

	return age_us > -DRIFT_US && age_us < keys->life_s * SECOND_US;
}

bool
gw_ticket_unseal(struct gw_ticket_keys *keys, uint8_t *ticket, size_t len, struct gw_ticket_claim *claim, struct gw_span *session)
{
	const struct key *key;
	uint8_t more[HEAD + DOOR];
	mbedtls_gcm_context gcm;
	size_t body;
	int rc;

	if (len < HEAD + sizeof(*claim) + TAG || memcmp(ticket, magic, sizeof(magic)) != 0 || (key = key_named(keys, ticket + sizeof(magic))) == NULL)
		return false;
	body = len - HEAD - TAG;
	mbedtls_gcm_init(&gcm);
	rc = mbedtls_gcm_setkey(&gcm, MBEDTLS_CIPHER_ID_AES, key->bytes, KEY * 8);
	if (rc == 0)
		rc = mbedtls_gcm_auth_decrypt(&gcm, body, ticket + sizeof(magic) + NAME, NONCE, more, authenticated(keys, ticket, more), ticket + HEAD + body, TAG,
		    ticket + HEAD, ticket + HEAD);
	mbedtls_gcm_free(&gcm);
	if (rc != 0)
		return false;
	memcpy(claim, ticket + HEAD, sizeof(*claim));
	*session = gw_span(ticket + HEAD + sizeof(*claim), body - sizeof(*claim));
	return lives(keys, claim);
}

bool
gw_ticket_of_this_boot(const struct gw_ticket_keys *keys, const struct gw_ticket_claim *claim)
{
	return memcmp(keys->boot, claim->boot, sizeof(keys->boot)) == 0;
}
