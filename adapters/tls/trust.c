// SPDX-License-Identifier: Apache-2.0
// Trust from files: read, checked whole, then constant until the last who holds it lets go. main's thread loads; any thread holds and drops.
#include "adapters/tls/trust_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <mbedtls/base64.h>
#include <mbedtls/pem.h>
#include <mbedtls/platform_util.h>
#include <psa/crypto.h>

static bool
given(const char *path)
{
	return path != NULL && path[0] != '\0';
}

static bool
is_pem(const struct gw_trust_bytes *bytes)
{
	return memmem(bytes->at, bytes->len, "-----BEGIN ", 11) != NULL;
}

void
gw_trust_configured(const struct gw_config *config, struct gw_trust_options *options)
{
	*options = (struct gw_trust_options){
		.certificate = config->tls_certificate,
		.key = config->tls_key,
		.passphrase_file = config->tls_key_passphrase_file,
		.ca = config->tls_ca,
		.crl = config->tls_crl,
		.crl_expired_refused = strcmp(config->tls_crl_expired, "refuse") == 0,
		.identities = &config->tls_identities,
	};
}

void
gw_trust_files(const struct gw_trust_options *options, gw_file_fn *fn, void *arg)
{
	const char *const files[] = { options->certificate, options->key, options->passphrase_file, options->ca, options->crl };

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (given(files[i]))
			fn(arg, files[i]);
}

static void
warn(struct gw_trust *trust, const char *option, const char *path, const char *words)
{
	(void)!gw_fail(&trust->warning, GW_OK, "%s %s: %s", option, gw_trust_tail(path), words);
}

// ---- Certificate and key ----

// The first line of the file; an empty text where there is none.
static enum gw_error
read_passphrase(const struct gw_trust_options *o, struct gw_trust_bytes *passphrase, struct gw_why *why)
{
	enum gw_error error;

	if (!given(o->passphrase_file)) {
		passphrase->at = calloc(1, 1);
		return passphrase->at != NULL ? GW_OK : gw_fail(why, GW_E_MEMORY, "out of memory");
	}
	if ((error = gw_trust_read_secret("tls.key_passphrase_file", o->passphrase_file, passphrase, why)) == GW_OK)
		passphrase->at[strcspn((char *)passphrase->at, "\r\n")] = '\0';
	return error;
}

// *chain and *key become PEM, or DER of a key.
static enum gw_error
read_pair(const struct gw_trust_options *o, const char *passphrase, struct gw_trust_bytes *chain, struct gw_trust_bytes *key, struct gw_why *why)
{
	struct gw_trust_bytes p12;
	enum gw_error error;

	if ((error = gw_trust_read("tls.certificate", o->certificate, GW_TRUST_FILE_BYTES_MAX, chain, why)) != GW_OK)
		return error;
	if (is_pem(chain) && !given(o->key))
		return gw_fail(why, GW_E_CONFIG, "tls.key: the certificate is PEM, so its key is wanted");
	if (is_pem(chain))
		return gw_trust_read_secret("tls.key", o->key, key, why);
	gw_trust_bytes_fini(chain);
	// Once more, as what it is: a secret.
	if ((error = gw_trust_read_secret("tls.certificate", o->certificate, &p12, why)) != GW_OK)
		return error;
	error = gw_trust_open_p12(o->certificate, &p12, passphrase, chain, key, why);
	gw_trust_bytes_fini(&p12);
	return error;
}

static enum gw_error
parse_key(struct gw_trust *trust, const struct gw_trust_options *o, const struct gw_trust_bytes *key, const char *passphrase, struct gw_why *why)
{
	size_t len = key->len + (is_pem(key) ? 1 : 0); // of PEM the terminator counts
	int rc = mbedtls_pk_parse_key(&trust->key, key->at, len, (const unsigned char *)passphrase, strlen(passphrase), gw_trust_random, NULL);

	if (rc == MBEDTLS_ERR_PK_PASSWORD_REQUIRED)
		return gw_fail(why, GW_E_CONFIG, "tls.key %s: it is encrypted: tls.key_passphrase_file opens it", gw_trust_tail(o->key));
	if (rc == MBEDTLS_ERR_PK_PASSWORD_MISMATCH)
		return gw_fail(why, GW_E_CONFIG, "tls.key %s: its passphrase is another one (tls.key_passphrase_file)", gw_trust_tail(o->key));
	return rc == 0 ? GW_OK : gw_trust_failed(why, rc, "tls.key", gw_trust_tail(o->key));
}

static enum gw_error
check_time(struct gw_trust *trust, const struct gw_trust_options *o, struct gw_why *why)
{
	if (mbedtls_x509_time_is_future(&trust->chain.valid_from))
		warn(trust, "tls.certificate", o->certificate, "it is not valid yet: is this host's clock right?");
	if (!mbedtls_x509_time_is_past(&trust->chain.valid_to))
		return GW_OK;
	if (!o->expired_accepted)
		return gw_fail(why, GW_E_CONFIG, "tls.certificate %s: it has expired: renew it", gw_trust_tail(o->certificate));
	warn(trust, "tls.certificate", o->certificate, "it has expired: devices that check it will not connect; renew it");
	return GW_OK;
}

// As PEM, without a passphrase: for those who take bytes.
static enum gw_error
keep_key(struct gw_trust *trust, struct gw_why *why)
{
	struct gw_trust_bytes *pem = &trust->pem[GW_TRUST_KEY];
	enum { ROOM = 16384 };

	if ((pem->at = calloc(1, ROOM)) == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	pem->len = ROOM - 1; // to be wiped whole
	if (mbedtls_pk_write_key_pem(&trust->key, pem->at, ROOM) != 0)
		return gw_fail(why, GW_E_CONFIG, "tls.key: its kind cannot be used (ECDSA and RSA can)");
	pem->len = strlen((char *)pem->at);
	return GW_OK;
}

static enum gw_error
take_pair(struct gw_trust *trust, const struct gw_trust_options *o, const struct gw_trust_bytes *key, const char *passphrase, struct gw_why *why)
{
	struct gw_trust_bytes *chain = &trust->pem[GW_TRUST_CHAIN];
	const char *file = given(o->key) ? o->key : o->certificate;
	enum gw_error error;
	int rc;

	if ((rc = mbedtls_x509_crt_parse(&trust->chain, chain->at, chain->len + 1)) != 0)
		return gw_trust_failed(why, rc, "tls.certificate", o->certificate);
	if ((error = parse_key(trust, &(struct gw_trust_options){ .key = file }, key, passphrase, why)) != GW_OK)
		return error;
	if (mbedtls_pk_check_pair(&trust->chain.pk, &trust->key, gw_trust_random, NULL) != 0)
		return gw_fail(why, GW_E_CONFIG, "tls.key %s: it does not belong to tls.certificate", gw_trust_tail(file));
	if ((error = check_time(trust, o, why)) != GW_OK)
		return error;
	return keep_key(trust, why);
}

static enum gw_error
load_pair(struct gw_trust *trust, const struct gw_trust_options *o, struct gw_why *why)
{
	struct gw_trust_bytes key = { 0 }, passphrase = { 0 };
	enum gw_error error;

	if (!given(o->certificate))
		return GW_OK;
	if ((error = read_passphrase(o, &passphrase, why)) == GW_OK &&
	    (error = read_pair(o, (char *)passphrase.at, &trust->pem[GW_TRUST_CHAIN], &key, why)) == GW_OK)
		error = take_pair(trust, o, &key, (char *)passphrase.at, why);
	gw_trust_bytes_fini(&key);
	gw_trust_bytes_fini(&passphrase);
	return error;
}

// ---- Authorities ----

// DER of certificates becomes PEM, for those who take bytes.
static enum gw_error
keep_authorities(struct gw_trust *trust, struct gw_why *why)
{
	struct gw_trust_bytes *pem = &trust->pem[GW_TRUST_AUTHORITIES];
	const mbedtls_x509_buf *der = &trust->authorities.raw;
	size_t cap = der->len * 2 + 128, len = 0;
	uint8_t *text;

	if (is_pem(pem))
		return GW_OK;
	if ((text = malloc(cap)) == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	if (mbedtls_pem_write_buffer("-----BEGIN CERTIFICATE-----\n", "-----END CERTIFICATE-----\n", der->p, der->len, text, cap, &len) != 0) {
		free(text);
		return gw_fail(why, GW_E_CONFIG, "tls.ca: it cannot be read");
	}
	gw_trust_bytes_fini(pem);
	*pem = (struct gw_trust_bytes){ text, len - 1 };
	return GW_OK;
}

static enum gw_error
load_authorities(struct gw_trust *trust, const struct gw_trust_options *o, struct gw_why *why)
{
	struct gw_trust_bytes *bytes = &trust->pem[GW_TRUST_AUTHORITIES];
	enum gw_error error;
	size_t i = 0;
	int rc;

	if (!given(o->ca))
		return GW_OK;
	if ((error = gw_trust_read("tls.ca", o->ca, GW_TRUST_FILE_BYTES_MAX, bytes, why)) != GW_OK)
		return error;
	if ((rc = mbedtls_x509_crt_parse(&trust->authorities, bytes->at, bytes->len + (is_pem(bytes) ? 1 : 0))) != 0)
		return gw_trust_failed(why, rc, "tls.ca", o->ca);
	for (const mbedtls_x509_crt *crt = &trust->authorities; crt != NULL; crt = crt->next)
		trust->anchor_count++;
	if ((trust->anchors = calloc(trust->anchor_count, GW_TRUST_HASH_BYTES)) == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	for (const mbedtls_x509_crt *crt = &trust->authorities; crt != NULL; crt = crt->next)
		gw_trust_hash_anchor(crt, trust->anchors[i++]);
	qsort(trust->anchors, trust->anchor_count, GW_TRUST_HASH_BYTES, gw_trust_compare);
	return keep_authorities(trust, why);
}

// ---- Revocation lists ----

struct loading {
	struct gw_trust *trust;
	mbedtls_x509_crl *last; // of the chain, NULL: it is empty
};

static bool
signed_by(mbedtls_x509_crl *list, mbedtls_x509_crt *authority)
{
	const mbedtls_md_info_t *md = mbedtls_md_info_from_type(list->MBEDTLS_PRIVATE(sig_md));
	unsigned char hash[MBEDTLS_MD_MAX_SIZE];

	return md != NULL && mbedtls_md(md, list->tbs.p, list->tbs.len, hash) == 0 &&
	    mbedtls_pk_verify_ext(list->MBEDTLS_PRIVATE(sig_pk), list->MBEDTLS_PRIVATE(sig_opts), &authority->pk, list->MBEDTLS_PRIVATE(sig_md), hash,
	        mbedtls_md_get_size(md), list->MBEDTLS_PRIVATE(sig).p, list->MBEDTLS_PRIVATE(sig).len) == 0;
}

static bool
same(const mbedtls_x509_buf *a, const mbedtls_x509_buf *b)
{
	return a->len == b->len && memcmp(a->p, b->p, a->len) == 0;
}

// Of an authority that stands in the file it must be; of another it may be (an intermediate one's: a handshake checks it with the peer's chain).
static enum gw_error
check_issuer(struct gw_trust *trust, mbedtls_x509_crl *list, const char *path, struct gw_why *why)
{
	bool named = false;

	for (mbedtls_x509_crt *crt = &trust->authorities; crt != NULL && crt->version != 0; crt = crt->next) {
		if (!same(&crt->subject_raw, &list->issuer_raw))
			continue;
		if (signed_by(list, crt))
			return GW_OK;
		named = true;
	}
	if (named)
		return gw_fail(why, GW_E_CONFIG, "tls.crl %s: it is not signed by the authority that it names", gw_trust_tail(path));
	warn(trust, "tls.crl", path, "its authority is not in tls.ca: it does not end connections that are there");
	return GW_OK;
}

static enum gw_error
take_list(struct gw_trust *trust, mbedtls_x509_crl *list, const char *path, struct gw_why *why)
{
	int64_t until_s = list->next_update.year != 0 ? gw_trust_seconds(&list->next_update) : INT64_MAX;

	if (until_s < trust->lists_until_s)
		trust->lists_until_s = until_s;
	if (until_s < time(NULL))
		warn(trust, "tls.crl", path, trust->crl_expired_refused ? "it is past its time: its authority's certificates are refused" : "it is past its time");
	for (const mbedtls_x509_crl_entry *entry = &list->entry; entry != NULL && entry->serial.len > 0; entry = entry->next)
		trust->revoked_count++;
	trust->list_count++;
	return check_issuer(trust, list, path, why);
}

// gw_trust_file_fn
static enum gw_error
load_list(void *arg, const char *path, struct gw_why *why)
{
	struct loading *loading = arg;
	struct gw_trust *trust = loading->trust;
	mbedtls_x509_crl *at = loading->last != NULL ? loading->last : &trust->lists;
	struct gw_trust_bytes bytes;
	enum gw_error error = gw_trust_read("tls.crl", path, GW_TRUST_LIST_BYTES_MAX, &bytes, why);
	int rc;

	if (error != GW_OK)
		return error;
	rc = mbedtls_x509_crl_parse(&trust->lists, bytes.at, bytes.len + (is_pem(&bytes) ? 1 : 0));
	gw_trust_bytes_fini(&bytes);
	if (rc != 0)
		return gw_trust_failed(why, rc, "tls.crl", path);
	for (at = loading->last != NULL ? at->next : at; at != NULL && error == GW_OK; at = at->next) {
		loading->last = at;
		error = trust->list_count < GW_TRUST_LISTS_MAX ? take_list(trust, at, path, why) :
		    gw_fail(why, GW_E_CONFIG, "tls.crl: more than %d lists", GW_TRUST_LISTS_MAX);
	}
	return error;
}

static enum gw_error
load_lists(struct gw_trust *trust, const struct gw_trust_options *o, struct gw_why *why)
{
	struct loading loading = { .trust = trust };
	enum gw_error error;
	size_t i = 0;

	if (!given(o->crl))
		return GW_OK;
	if ((error = gw_trust_each_file("tls.crl", o->crl, load_list, &loading, why)) != GW_OK || trust->revoked_count == 0)
		return error;
	if ((trust->revoked = calloc(trust->revoked_count, GW_TRUST_HASH_BYTES)) == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	for (const mbedtls_x509_crl *list = &trust->lists; list != NULL; list = list->next)
		for (const mbedtls_x509_crl_entry *entry = &list->entry; entry != NULL && entry->serial.len > 0; entry = entry->next)
			gw_trust_hash_serial(&list->issuer_raw, &entry->serial, trust->revoked[i++]);
	qsort(trust->revoked, trust->revoked_count, GW_TRUST_HASH_BYTES, gw_trust_compare);
	return GW_OK;
}

// ---- All of it ----

enum gw_error
gw_trust_load(const struct gw_trust_options *options, struct gw_trust **out, struct gw_why *why)
{
	struct gw_trust *trust = calloc(1, sizeof(*trust));
	enum gw_error error;

	*out = NULL;
	if (trust == NULL)
		return gw_fail(why, GW_E_MEMORY, "out of memory");
	atomic_store(&trust->references, 1);
	mbedtls_x509_crt_init(&trust->chain);
	mbedtls_x509_crt_init(&trust->authorities);
	mbedtls_x509_crl_init(&trust->lists);
	mbedtls_pk_init(&trust->key);
	trust->crl_expired_refused = options->crl_expired_refused;
	trust->lists_until_s = INT64_MAX;
	if (psa_crypto_init() != PSA_SUCCESS)
		error = gw_fail(why, GW_E_SYSTEM, "psa_crypto_init failed: no source of randomness?");
	else if ((error = gw_trust_make_rules(trust, options->identities, why)) == GW_OK && (error = load_pair(trust, options, why)) == GW_OK &&
	    (error = load_authorities(trust, options, why)) == GW_OK)
		error = load_lists(trust, options, why);
	if (error == GW_OK)
		*out = trust;
	else
		gw_trust_drop(trust);
	return error;
}

struct gw_trust *
gw_trust_hold(struct gw_trust *trust)
{
	atomic_fetch_add_explicit(&trust->references, 1, memory_order_relaxed);
	return trust;
}

void
gw_trust_drop(struct gw_trust *trust)
{
	if (trust == NULL || atomic_fetch_sub_explicit(&trust->references, 1, memory_order_acq_rel) > 1)
		return;
	mbedtls_pk_free(&trust->key);
	mbedtls_x509_crl_free(&trust->lists);
	mbedtls_x509_crt_free(&trust->authorities);
	mbedtls_x509_crt_free(&trust->chain);
	for (size_t i = 0; i < sizeof(trust->pem) / sizeof(trust->pem[0]); i++)
		gw_trust_bytes_fini(&trust->pem[i]);
	gw_trust_free_rules(trust);
	free(trust->anchors);
	free(trust->revoked);
	free(trust);
}

const char *
gw_trust_warning(const struct gw_trust *trust)
{
	return trust->warning.text;
}

void
gw_trust_words(const struct gw_trust *trust, char *out, size_t cap)
{
	const mbedtls_x509_time *to = &trust->chain.valid_to;
	char name[80] = "", until[128] = "";

	if (trust->chain.version != 0 && mbedtls_x509_dn_gets(name, sizeof(name), &trust->chain.subject) < 0)
		snprintf(name, sizeof(name), "...");
	if (trust->chain.version != 0)
		snprintf(until, sizeof(until), "certificate %s until %04d-%02d-%02d; ", name, to->year, to->mon, to->day);
	snprintf(out, cap, "%sauthorities: %zu, revocation lists: %zu (%zu certificates)", until, trust->anchor_count, trust->list_count, trust->revoked_count);
}

// ---- For those who configure TLS ----

// Mbed TLS wants pointers to what it does not change.
bool
gw_trust_shows(const struct gw_trust *trust, struct gw_trust_shown *shown)
{
	struct gw_trust *mine = (struct gw_trust *)(uintptr_t)trust;

	*shown = (struct gw_trust_shown){ &mine->chain, &mine->key };
	return trust->chain.version != 0;
}

mbedtls_x509_crt *
gw_trust_authorities(const struct gw_trust *trust)
{
	return trust->anchor_count > 0 ? &((struct gw_trust *)(uintptr_t)trust)->authorities : NULL;
}

mbedtls_x509_crl *
gw_trust_lists(const struct gw_trust *trust)
{
	return trust->list_count > 0 ? &((struct gw_trust *)(uintptr_t)trust)->lists : NULL;
}

struct gw_span
gw_trust_pem(const struct gw_trust *trust, enum gw_trust_pem which)
{
	const struct gw_trust_bytes *pem = &trust->pem[which];

	return pem->at != NULL ? gw_span(pem->at, pem->len + 1) : gw_span(NULL, 0);
}
