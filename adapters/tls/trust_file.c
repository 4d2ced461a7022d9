// SPDX-License-Identifier: Apache-2.0
// Files of credentials: read whole, and secrets only where nobody else can read them. main's thread.
#include "adapters/tls/trust_internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <mbedtls/entropy.h>
#include <mbedtls/error.h>

const char *
gw_trust_tail(const char *path)
{
	size_t len = strlen(path);

	return len > 80 ? path + len - 80 : path;
}

enum gw_error
gw_trust_failed(struct gw_why *why, int code, const char *option, const char *path)
{
	char text[96];

	mbedtls_strerror(code, text, sizeof(text));
	return gw_fail(why, GW_E_CONFIG, "%s %s: %s", option, gw_trust_tail(path), code > 0 ? "some of its certificates cannot be read" : text);
}

int
gw_trust_random(void *arg, unsigned char *out, size_t len)
{
	(void)arg;
	while (len > 0) {
		ssize_t n = getrandom(out, len, 0);

		if (n < 0 && errno != EINTR)
			return MBEDTLS_ERR_ENTROPY_SOURCE_FAILED;
		if (n > 0) {
			out += n;
			len -= (size_t)n;
		}
	}
	return 0;
}

void
gw_trust_bytes_fini(struct gw_trust_bytes *bytes)
{
	if (bytes->at != NULL)
		explicit_bzero(bytes->at, bytes->len);
	free(bytes->at);
	*bytes = (struct gw_trust_bytes){ 0 };
}

// ---- One file ----

// Root can read everything anyway, and may look at a configuration for somebody else.
static enum gw_error
check_owner(const char *option, const char *path, const struct stat *st, struct gw_why *why)
{
	const char *end = gw_trust_tail(path);

	if ((st->st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return gw_fail(why, GW_E_CONFIG, "%s %s: others may read it (mode %03o): chmod 600", option, end, (unsigned)(st->st_mode & 0777));
	if (st->st_uid != geteuid() && st->st_uid != 0 && geteuid() != 0)
		return gw_fail(why, GW_E_CONFIG, "%s %s: it is another user's (uid %u): chown it to the gateway's", option, end, (unsigned)st->st_uid);
	return GW_OK;
}

static enum gw_error
read_all(int fd, size_t most, struct gw_trust_bytes *bytes)
{
	size_t cap = 0;
	ssize_t n;

	for (;;) {
		if (bytes->len + 1 >= cap) {
			uint8_t *grown = malloc(cap = cap == 0 ? 8192 : 2 * cap); // not realloc(): what it leaves behind is not wiped

			if (grown == NULL)
				return GW_E_MEMORY;
			if (bytes->at != NULL) {
				memcpy(grown, bytes->at, bytes->len);
				explicit_bzero(bytes->at, bytes->len);
				free(bytes->at);
			}
			bytes->at = grown;
		}
		n = read(fd, bytes->at + bytes->len, cap - bytes->len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		bytes->len += (size_t)n;
		if (bytes->len > most)
			return GW_E_TOO_LARGE;
	}
	bytes->at[bytes->len] = '\0';
	return n == 0 ? GW_OK : GW_E_SYSTEM;
}

static enum gw_error
read_file(const char *option, const char *path, size_t most, bool secret, struct gw_trust_bytes *bytes, struct gw_why *why)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	enum gw_error error = GW_OK;
	struct stat st;

	*bytes = (struct gw_trust_bytes){ 0 };
	if (fd < 0 || fstat(fd, &st) != 0)
		error = gw_fail(why, GW_E_CONFIG, "%s %s: %s", option, gw_trust_tail(path), strerror(errno));
	else if (!S_ISREG(st.st_mode))
		error = gw_fail(why, GW_E_CONFIG, "%s %s: not a file", option, gw_trust_tail(path));
	else if (secret)
		error = check_owner(option, path, &st, why);
	if (error == GW_OK && (error = read_all(fd, most, bytes)) != GW_OK)
		error = gw_fail(why, error == GW_E_MEMORY ? error : GW_E_CONFIG, "%s %s: %s", option, gw_trust_tail(path),
		    error == GW_E_SYSTEM ? strerror(errno) : gw_error_text(error));
	else if (error == GW_OK && bytes->len == 0)
		error = gw_fail(why, GW_E_CONFIG, "%s %s: it is empty", option, gw_trust_tail(path));
	if (fd >= 0)
		close(fd);
	if (error != GW_OK)
		gw_trust_bytes_fini(bytes);
	return error;
}

enum gw_error
gw_trust_read(const char *option, const char *path, size_t most, struct gw_trust_bytes *bytes, struct gw_why *why)
{
	return read_file(option, path, most, false, bytes, why);
}

enum gw_error
gw_trust_read_secret(const char *option, const char *path, struct gw_trust_bytes *bytes, struct gw_why *why)
{
	return read_file(option, path, GW_TRUST_FILE_BYTES_MAX, true, bytes, why);
}

// ---- A folder ----

static bool
ends_with(const char *name, const char *end)
{
	size_t len = strlen(name), n = strlen(end);

	return len >= n && strcasecmp(name + len - n, end) == 0;
}

static int
is_ready(const struct dirent *entry)
{
	static const char *const unready[] = { "~", ".part", ".tmp", ".new", ".swp" };

	if (entry->d_name[0] == '.')
		return 0;
	for (size_t i = 0; i < sizeof(unready) / sizeof(unready[0]); i++)
		if (ends_with(entry->d_name, unready[i]))
			return 0;
	return 1;
}

static bool
is_folder(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

enum gw_error
gw_trust_each_file(const char *option, const char *path, gw_trust_file_fn *take, void *arg, struct gw_why *why)
{
	enum gw_error error = GW_OK;
	struct dirent **entries;
	int count;

	if (!is_folder(path))
		return take(arg, path, why);
	count = scandir(path, &entries, is_ready, alphasort);
	if (count < 0)
		return gw_fail(why, GW_E_CONFIG, "%s %s: %s", option, gw_trust_tail(path), strerror(errno));
	for (int i = 0; i < count; i++) {
		char *file = NULL;

		if (error == GW_OK && asprintf(&file, "%s/%s", path, entries[i]->d_name) < 0)
			error = gw_fail(why, GW_E_MEMORY, "out of memory");
		if (error == GW_OK && !is_folder(file))
			error = take(arg, file, why);
		free(file);
		free(entries[i]);
	}
	free(entries);
	return error;
}
