// SPDX-License-Identifier: Apache-2.0
// Keys of backups, from files of the person who asks: on the command line's side only, so that the gateway never opens a file that a client names, and
// neither passphrase nor the memory that Argon2id takes gets into it.
#include "gateway/backup.h"

#include "gateway/bytes.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define PASSPHRASE_MIN 12
// What a file's header may ask for at most: it is no more trusted than the file.
#define OPS_MAX 16
#define MEMORY_MAX (1ull << 30)

enum { FIELD_OPS = 0, FIELD_MEMORY = 8, FIELD_SALT = 16 };
_Static_assert(FIELD_SALT + crypto_pwhash_SALTBYTES <= GW_BACKUP_FIELD, "the salt fits");

// The file's first line, without its end.
static enum gw_error
first_line(const char *path, char *line, size_t cap, struct gw_why *why)
{
	FILE *in = fopen(path, "re");
	bool got;

	if (in == NULL)
		return gw_fail(why, GW_E_ARGUMENT, "cannot open %.120s: %s", path, strerror(errno));
	got = fgets(line, (int)cap, in) != NULL;
	fclose(in);
	if (!got || strchr(line, '\n') == NULL)
		if (!got || strlen(line) + 1 == cap)
			return gw_fail(why, GW_E_ARGUMENT, "%.120s: its first line is empty or too long", path);
	line[strcspn(line, "\r\n")] = '\0';
	return GW_OK;
}

enum gw_error
gw_backup_key_passphrase(const char *path, bool fresh, struct gw_backup_key *key, struct gw_why *why)
{
	char line[1026];
	uint64_t ops, memory;
	enum gw_error error = first_line(path, line, sizeof(line), why);

	if (error != GW_OK)
		return error;
	if (fresh && strlen(line) < PASSPHRASE_MIN)
		return gw_fail(why, GW_E_ARGUMENT, "%.100s: a passphrase of at least %d bytes is needed", path, PASSPHRASE_MIN);
	if (fresh) {
		*key = (struct gw_backup_key){ .cipher = GW_BACKUP_PASSPHRASE };
		gw_put64(key->field + FIELD_OPS, crypto_pwhash_OPSLIMIT_MODERATE);
		gw_put64(key->field + FIELD_MEMORY, crypto_pwhash_MEMLIMIT_MODERATE);
		randombytes_buf(key->field + FIELD_SALT, crypto_pwhash_SALTBYTES);
	}
	ops = gw_get64(key->field + FIELD_OPS);
	memory = gw_get64(key->field + FIELD_MEMORY);
	if (ops < 1 || ops > OPS_MAX || memory < crypto_pwhash_MEMLIMIT_MIN || memory > MEMORY_MAX)
		error = gw_fail(why, GW_E_CORRUPT, "the head of the encrypted file asks for work that no backup of ours needs");
	else if (crypto_pwhash(key->key, sizeof(key->key), line, strlen(line), key->field + FIELD_SALT, ops, (size_t)memory,
		     crypto_pwhash_ALG_ARGON2ID13) != 0)
		error = gw_fail(why, GW_E_MEMORY, "%llu MB of memory are needed for the passphrase", (unsigned long long)(memory >> 20));
	sodium_memzero(line, sizeof(line));
	return error;
}

static enum gw_error
read_key(const char *path, uint8_t out[32], struct gw_why *why)
{
	char line[128];
	size_t len;
	enum gw_error error = first_line(path, line, sizeof(line), why);

	if (error == GW_OK && (sodium_hex2bin(out, 32, line, strlen(line), NULL, &len, NULL) != 0 || len != 32 || strlen(line) != 64))
		error = gw_fail(why, GW_E_ARGUMENT, "%.100s is no key: one line of 64 hexadecimal digits (see: vitalgate backup-key)", path);
	sodium_memzero(line, sizeof(line));
	return error;
}

enum gw_error
gw_backup_key_seal(const char *path, struct gw_backup_key *key, struct gw_why *why)
{
	uint8_t public[crypto_box_PUBLICKEYBYTES];
	enum gw_error error = read_key(path, public, why);

	if (error != GW_OK)
		return error;
	*key = (struct gw_backup_key){ .cipher = GW_BACKUP_PUBLIC_KEY };
	randombytes_buf(key->key, sizeof(key->key));
	if (crypto_box_seal(key->field, key->key, sizeof(key->key), public) != 0)
		return gw_fail(why, GW_E_ARGUMENT, "%.100s is no public key", path);
	return GW_OK;
}

enum gw_error
gw_backup_key_open(const char *path, struct gw_backup_key *key, struct gw_why *why)
{
	uint8_t secret[crypto_box_SECRETKEYBYTES], public[crypto_box_PUBLICKEYBYTES];
	enum gw_error error = read_key(path, secret, why);

	if (error != GW_OK)
		return error;
	if (crypto_scalarmult_base(public, secret) != 0 || crypto_box_seal_open(key->key, key->field, GW_BACKUP_FIELD, public, secret) != 0)
		error = gw_fail(why, GW_E_UNAUTHENTICATED, "%.100s is not the key that this backup was encrypted to", path);
	sodium_memzero(secret, sizeof(secret));
	return error;
}

static enum gw_error
write_key(const char *path, int mode, const uint8_t key[32], struct gw_why *why)
{
	char hex[66];
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
	enum gw_error error;

	if (fd < 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot make %.120s: %s", path, strerror(errno));
	sodium_bin2hex(hex, sizeof(hex), key, 32);
	memcpy(hex + 64, "\n", 2);
	error = gw_backup_write_all(fd, (const uint8_t *)hex, 65, path, why);
	if (error == GW_OK && (fchmod(fd, (mode_t)mode) != 0 || fsync(fd) != 0))
		error = gw_fail(why, GW_E_SYSTEM, "cannot write %.120s: %s", path, strerror(errno));
	close(fd);
	sodium_memzero(hex, sizeof(hex));
	if (error != GW_OK)
		unlink(path);
	return error;
}

enum gw_error
gw_backup_key_make(const char *path, struct gw_why *why)
{
	uint8_t public[crypto_box_PUBLICKEYBYTES], secret[crypto_box_SECRETKEYBYTES];
	char name[4096];
	enum gw_error error;

	if (snprintf(name, sizeof(name), "%s.pub", path) >= (int)sizeof(name))
		return gw_fail(why, GW_E_ARGUMENT, "the file's name is too long");
	crypto_box_keypair(public, secret);
	if ((error = write_key(path, 0600, secret, why)) == GW_OK && (error = write_key(name, 0644, public, why)) != GW_OK)
		unlink(path);
	sodium_memzero(secret, sizeof(secret));
	return error;
}
