// SPDX-License-Identifier: Apache-2.0
// The local authority's folder: opened under a lock, made where it is missing, and what is issued from it for this machine (adapters/pki/local.h).
#include "adapters/pki/local.h"

#include "gateway/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define DAY_US INT64_C(86400000000)
#define CA_DAYS 7305                        // twenty years: devices stay in the field for ten
#define EPOCH_US INT64_C(1767225600000000)  // 2026-01-01: a hub whose clock was never set believes in 1970
#define CRL_DAYS 30

struct gw_local {
	struct gw_local_paths paths;
	int lock_fd;
	bool foreign; // the authority is the site's
	struct gw_pki_ca *ca;
	struct gw_pki_text certificate; // of the authority
	struct gw_pki_info info;
};

// ---- Where it lies ----

void
gw_local_paths(const struct gw_config *config, struct gw_local_paths *paths)
{
	if (config->tls_local_dir[0] != '\0')
		snprintf(paths->dir, sizeof(paths->dir), "%s", config->tls_local_dir);
	else
		snprintf(paths->dir, sizeof(paths->dir), "%s/pki", config->store_dir);
	snprintf(paths->ca, sizeof(paths->ca), "%s/ca.pem", paths->dir);
	snprintf(paths->ca_key, sizeof(paths->ca_key), "%s/ca.key", paths->dir);
	if (config->tls_local_ca[0] != '\0') {
		snprintf(paths->ca, sizeof(paths->ca), "%s", config->tls_local_ca);
		snprintf(paths->ca_key, sizeof(paths->ca_key), "%s", config->tls_local_ca_key);
	}
	snprintf(paths->certificate, sizeof(paths->certificate), "%s/gateway.pem", paths->dir);
	snprintf(paths->key, sizeof(paths->key), "%s/gateway.key", paths->dir);
	snprintf(paths->crl, sizeof(paths->crl), "%s/crl.pem", paths->dir);
}

bool
gw_local_used(const struct gw_config *config)
{
	struct gw_local_paths paths;

	if (config->tls_certificate[0] == '\0')
		return true;
	gw_local_paths(config, &paths);
	return strcmp(config->tls_certificate, paths.certificate) == 0;
}

static bool
set_path(char **at, const char *path)
{
	char *copy = strdup(path);

	if (copy == NULL)
		return false;
	free(*at);
	*at = copy;
	return true;
}

enum gw_error
gw_local_apply(struct gw_config *config, struct gw_why *why)
{
	struct gw_local_paths paths;

	if (!gw_local_used(config))
		return GW_OK;
	gw_local_paths(config, &paths);
	if (!set_path(&config->tls_certificate, paths.certificate) || !set_path(&config->tls_key, paths.key) ||
	    (config->tls_ca[0] == '\0' && !set_path(&config->tls_ca, paths.ca)) ||
	    (config->tls_crl[0] == '\0' && strcmp(config->tls_ca, paths.ca) == 0 && !set_path(&config->tls_crl, paths.crl)))
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	return GW_OK;
}

// ---- The authority ----

static int64_t
now(void)
{
	int64_t now_us = gw_clock_wall_us();

	return now_us > EPOCH_US ? now_us : EPOCH_US;
}

// Devices' clocks may be behind.
static int64_t
begin_us(void)
{
	return now() - DAY_US > EPOCH_US ? now() - DAY_US : EPOCH_US;
}

static enum gw_error
make_authority(struct gw_local *local, struct gw_why *why)
{
	char host[65] = "", name[65];
	struct gw_pki_text key;
	uint16_t number = 0;
	int64_t from_us = begin_us();
	enum gw_error error;

	if (gethostname(host, sizeof(host) - 1) != 0 || host[0] == '\0')
		strcpy(host, "hub");
	(void)!getrandom(&number, sizeof(number), 0); // told apart from that of a machine that was set up before under the same name
	snprintf(name, sizeof(name), "Vitalgate CA %.40s %04x", host, number);
	error = gw_pki_ca_make(name, from_us, from_us + CA_DAYS * DAY_US, &local->certificate, &key, why);
	if (error == GW_OK) // the key first: a certificate without key would be a dead end
		error = gw_pki_write(local->paths.ca_key, gw_span(key.at, key.len), 0600, why);
	if (error == GW_OK)
		error = gw_pki_write(local->paths.ca, gw_span(local->certificate.at, local->certificate.len), 0644, why);
	gw_pki_free(&key);
	return error;
}

// A key that others can read is nobody's secret.
static enum gw_error
check_private(const char *path, struct gw_why *why)
{
	struct stat at;

	if (stat(path, &at) != 0)
		return gw_fail(why, GW_E_CONFIG, "cannot read %.120s: %s", path, strerror(errno));
	if ((at.st_mode & 077) != 0 || (at.st_uid != geteuid() && geteuid() != 0))
		return gw_fail(why, GW_E_CONFIG, "%.120s can be read by others than the gateway's user: chmod 600", path);
	return GW_OK;
}

static enum gw_error
load_authority(struct gw_local *local, struct gw_why *why)
{
	struct gw_pki_text key = { NULL, 0 };
	enum gw_error error = GW_OK;

	if (local->certificate.at == NULL)
		error = gw_pki_read(local->paths.ca, &local->certificate, why);
	if (error == GW_OK)
		error = check_private(local->paths.ca_key, why);
	if (error == GW_OK)
		error = gw_pki_read(local->paths.ca_key, &key, why);
	if (error == GW_OK)
		error = gw_pki_ca_open(gw_local_authority_pem(local), gw_span(key.at, key.len), &local->ca, why);
	if (error == GW_OK)
		error = gw_pki_info(gw_local_authority_pem(local), 0, &local->info, why);
	gw_pki_free(&key);
	return error;
}

// Only where neither of the two is there is it a first start.
static enum gw_error
open_authority(struct gw_local *local, struct gw_why *why)
{
	if (!local->foreign && access(local->paths.ca, F_OK) != 0 && errno == ENOENT) {
		enum gw_error error = make_authority(local, why);

		if (error != GW_OK)
			return error;
	}
	return load_authority(local, why);
}

static enum gw_error
lock_folder(struct gw_local *local, struct gw_why *why)
{
	char copy[PATH_MAX];

	snprintf(copy, sizeof(copy), "%s", local->paths.dir);
	if (mkdir(dirname(copy), 0700) != 0 && errno != EEXIST)
		return gw_fail(why, GW_E_SYSTEM, "cannot make the folder above %.120s: %s", local->paths.dir, strerror(errno));
	if (mkdir(local->paths.dir, 0700) != 0 && errno != EEXIST)
		return gw_fail(why, GW_E_SYSTEM, "cannot make the folder %.120s: %s", local->paths.dir, strerror(errno));
	local->lock_fd = open(local->paths.dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (local->lock_fd < 0 || flock(local->lock_fd, LOCK_EX) != 0)
		return gw_fail(why, GW_E_SYSTEM, "cannot open the folder %.120s: %s", local->paths.dir, strerror(errno));
	return GW_OK;
}

enum gw_error
gw_local_open(const struct gw_config *config, struct gw_local **out, struct gw_why *why)
{
	struct gw_local *local = calloc(1, sizeof(*local));
	enum gw_error error;

	*out = NULL;
	if (local == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	local->lock_fd = -1;
	local->foreign = config->tls_local_ca[0] != '\0';
	gw_local_paths(config, &local->paths);
	error = lock_folder(local, why);
	if (error == GW_OK)
		error = open_authority(local, why);
	if (error != GW_OK) {
		gw_local_close(local);
		return error;
	}
	*out = local;
	return GW_OK;
}

void
gw_local_close(struct gw_local *local)
{
	if (local == NULL)
		return;
	gw_pki_ca_close(local->ca);
	gw_pki_free(&local->certificate);
	if (local->lock_fd >= 0)
		close(local->lock_fd);
	free(local);
}

const struct gw_local_paths *
gw_local_files(const struct gw_local *local)
{
	return &local->paths;
}

const struct gw_pki_ca *
gw_local_authority(const struct gw_local *local)
{
	return local->ca;
}

const struct gw_pki_info *
gw_local_authority_info(const struct gw_local *local)
{
	return &local->info;
}

struct gw_span
gw_local_authority_pem(const struct gw_local *local)
{
	return gw_span(local->certificate.at, local->certificate.len);
}

// ---- The server's certificate ----

// "DNS:name" or "IP:address" among a certificate's names.
static bool
says(const struct gw_pki_info *info, const char *name)
{
	size_t len = strlen(name);

	for (const char *at = info->names; at != NULL && *at != '\0'; at = strchr(at, ',') != NULL ? strchr(at, ',') + 1 : NULL) {
		size_t one = strcspn(at, ","), head = strcspn(at, ":") + 1;

		if (one == head + len && memcmp(at + head, name, len) == 0)
			return true;
	}
	return false;
}

static const char *
why_renew(const struct gw_local *local, struct gw_span certificate, struct gw_span key, char *const *names, size_t count, struct gw_pki_info *info)
{
	int64_t now_us = now();

	if (certificate.len == 0 || gw_pki_info(certificate, 0, info, NULL) != GW_OK)
		return "there was none";
	if (!gw_pki_pair(certificate, key))
		return "its key was not there";
	if (!gw_pki_issued(local->ca, certificate))
		return "it was of another authority";
	if (now_us < info->from_us)
		return "it was not valid yet";
	if (now_us > info->until_us - (info->until_us - info->from_us) / 3)
		return "a third of its life was left";
	for (size_t i = 0; i < count; i++) {
		if (!says(info, names[i]))
			return "a name or address of this machine was missing in it";
	}
	return NULL;
}

// The certificate, and the authority behind it.
static enum gw_error
write_chain(struct gw_local *local, const struct gw_pki_text *certificate, struct gw_why *why)
{
	size_t len = certificate->len + local->certificate.len;
	char *chain = malloc(len + 1);
	enum gw_error error;

	if (chain == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	memcpy(chain, certificate->at, certificate->len);
	memcpy(chain + certificate->len, local->certificate.at, local->certificate.len);
	error = gw_pki_write(local->paths.certificate, gw_span(chain, len), 0644, why);
	free(chain);
	return error;
}

static enum gw_error
make_certificate(struct gw_local *local, const struct gw_config *config, struct gw_pki_text *key, char *const *names, size_t count,
    struct gw_pki_info *info, struct gw_why *why)
{
	struct gw_pki_wish wish = { .common_name = count > 0 && strlen(names[0]) <= 64 ? names[0] : "vitalgate", .names = (const char *const *)names,
		.name_count = count, .purpose = GW_PKI_SERVER, .from_us = begin_us() };
	struct gw_pki_text certificate;
	bool fresh = key->at == NULL || !gw_pki_is_key(gw_span(key->at, key->len));
	enum gw_error error = GW_OK;

	if (fresh) {
		gw_pki_free(key);
		error = gw_pki_key(GW_PKI_P256, key, why);
	}
	wish.until_us = now() + config->tls_local_d * DAY_US;
	if (error != GW_OK || (error = gw_pki_issue(local->ca, &wish, gw_span(key->at, key->len), &certificate, info, why)) != GW_OK)
		return error;
	if (fresh)
		error = gw_pki_write(local->paths.key, gw_span(key->at, key->len), 0600, why);
	if (error == GW_OK)
		error = write_chain(local, &certificate, why);
	gw_pki_free(&certificate);
	return error;
}

enum gw_error
gw_local_renew(struct gw_local *local, const struct gw_config *config, struct gw_pki_info *info, const char **reason, struct gw_why *why)
{
	struct gw_pki_text certificate = { NULL, 0 }, key = { NULL, 0 };
	char **names = NULL;
	size_t count;
	enum gw_error error = gw_local_names(config, &names, &count, why);

	if (error == GW_OK) {
		(void)gw_pki_read(local->paths.certificate, &certificate, NULL);
		(void)gw_pki_read(local->paths.key, &key, NULL);
		*reason = why_renew(local, gw_span(certificate.at, certificate.len), gw_span(key.at, key.len), names, count, info);
		if (*reason != NULL)
			error = make_certificate(local, config, &key, names, count, info, why);
	}
	free(names);
	gw_pki_free(&certificate);
	gw_pki_free(&key);
	return error;
}

// ---- The revocation list ----

// Entries of the present list that are not among those given: a store out of an older backup forgets nothing that was revoked.
static size_t
join(const struct gw_pki_revoked *revoked, size_t count, const struct gw_pki_crl *present, struct gw_pki_revoked *out)
{
	size_t joined = count;

	if (count > 0)
		memcpy(out, revoked, count * sizeof(*out));
	for (size_t i = 0; present != NULL && i < present->count; i++) {
		size_t at = 0;

		while (at < count && strcmp(out[at].serial, present->revoked[i].serial) != 0)
			at++;
		if (at == count)
			out[joined++] = present->revoked[i];
	}
	return joined;
}

enum gw_error
gw_local_revoke(struct gw_local *local, const struct gw_pki_revoked *revoked, size_t count, bool *written, struct gw_why *why)
{
	int64_t now_us = now(), begun_us = begin_us();
	struct gw_pki_crl *present = NULL, crl = { .from_us = begun_us, .until_us = begun_us + (CRL_DAYS + 1) * DAY_US };
	struct gw_pki_text pem = { NULL, 0 };
	struct gw_pki_revoked *all;
	enum gw_error error = GW_OK;

	if (written != NULL)
		*written = false;
	if (gw_pki_read(local->paths.crl, &pem, NULL) == GW_OK)
		(void)gw_pki_crl_read(local->ca, gw_span(pem.at, pem.len), &present, NULL);
	gw_pki_free(&pem);
	all = calloc(count + (present != NULL ? present->count : 0) + 1, sizeof(*all));
	if (all == NULL)
		error = gw_fail(why, GW_E_MEMORY, "out of memory");
	if (error == GW_OK)
		crl.count = join(revoked, count, present, all);
	crl.revoked = all;
	if (error == GW_OK && (present == NULL || crl.count != present->count || now_us > present->until_us - CRL_DAYS * DAY_US * 2 / 3 || now_us < present->from_us)) {
		crl.number = present != NULL && present->number >= now_us / 1000000 ? present->number + 1 : now_us / 1000000;
		error = gw_pki_crl(local->ca, &crl, &pem, why);
		if (error == GW_OK)
			error = gw_pki_write(local->paths.crl, gw_span(pem.at, pem.len), 0644, why);
		if (written != NULL)
			*written = error == GW_OK;
		gw_pki_free(&pem);
	}
	free(all);
	free(present);
	return error;
}
