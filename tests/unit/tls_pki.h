// SPDX-License-Identifier: Apache-2.0
// A small PKI in a folder, made with OpenSSL, for tests: certificates and keys of every kind that devices have, revocation lists, PKCS#12.
#ifndef TLS_PKI_H
#define TLS_PKI_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

struct pki_wish {
	const char *kind; // "P-256" (NULL), "P-384", "RSA"
	const char *cn;   // NULL: the file's name
	const char *san;  // as "DNS:a,IP:10.0.0.1"; NULL: none
	bool ca;
	long from_s, until_s; // from now on; both 0: for a year
};

struct pki_made {
	EVP_PKEY *key;
	X509 *crt;
	char file[128], key_file[128];
};

static char pki_folder[] = "/tmp/vitalgate-pki-XXXXXX";
static long pki_serial = 1000;

static inline void
pki_check(bool right, const char *what)
{
	if (!right)
		fail_msg("%s", what);
}
#define PKI(call) pki_check((call), #call)

static inline FILE *
pki_create(const char *path)
{
	FILE *out;

	unlink(path);
	out = fopen(path, "w");
	pki_check(out != NULL && fchmod(fileno(out), 0600) == 0, path);
	return out;
}

static inline EVP_PKEY *
pki_key(const char *kind)
{
	if (kind != NULL && strcmp(kind, "RSA") == 0)
		return EVP_RSA_gen(2048);
	return EVP_EC_gen(kind != NULL ? kind : "P-256");
}

static inline void
pki_extend(X509 *crt, X509 *by, int nid, const char *text)
{
	X509_EXTENSION *extension;
	X509V3_CTX ctx;

	X509V3_set_ctx(&ctx, by, crt, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, text);
	PKI(extension != NULL && X509_add_ext(crt, extension, -1) == 1);
	X509_EXTENSION_free(extension);
}

// by NULL: signed by itself.
static inline void
pki_make(struct pki_made *who, const char *name, struct pki_made *by, struct pki_wish wish)
{
	X509_NAME *subject;
	FILE *out;

	if (by == NULL)
		by = who;
	snprintf(who->file, sizeof(who->file), "%s/%s.pem", pki_folder, name);
	snprintf(who->key_file, sizeof(who->key_file), "%s/%s.key", pki_folder, name);
	who->key = pki_key(wish.kind);
	who->crt = X509_new();
	PKI(who->key != NULL && who->crt != NULL && X509_set_version(who->crt, 2) == 1);
	PKI(ASN1_INTEGER_set(X509_get_serialNumber(who->crt), pki_serial++) == 1);
	subject = X509_get_subject_name(who->crt);
	PKI(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)(wish.cn != NULL ? wish.cn : name), -1, -1, 0) == 1);
	PKI(X509_set_issuer_name(who->crt, X509_get_subject_name(by->crt)) == 1 && X509_set_pubkey(who->crt, who->key) == 1);
	X509_gmtime_adj(X509_getm_notBefore(who->crt), wish.from_s != 0 ? wish.from_s : -86400);
	X509_gmtime_adj(X509_getm_notAfter(who->crt), wish.until_s != 0 ? wish.until_s : 365 * 86400);
	pki_extend(who->crt, by->crt, NID_basic_constraints, wish.ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
	if (wish.san != NULL)
		pki_extend(who->crt, by->crt, NID_subject_alt_name, wish.san);
	PKI(X509_sign(who->crt, by->key, EVP_sha256()) > 0);
	out = pki_create(who->file);
	PKI(PEM_write_X509(out, who->crt) == 1);
	fclose(out);
	out = pki_create(who->key_file);
	PKI(PEM_write_PrivateKey(out, who->key, NULL, NULL, 0, NULL, NULL) == 1);
	fclose(out);
}

static inline void
pki_free(struct pki_made *who)
{
	X509_free(who->crt);
	EVP_PKEY_free(who->key);
	memset(who, 0, sizeof(*who));
}

// The certificates of several, one behind the other.
static inline void
pki_bundle(const char *path, struct pki_made *const *who, size_t count)
{
	FILE *out = pki_create(path);

	for (size_t i = 0; i < count; i++)
		PKI(PEM_write_X509(out, who[i]->crt) == 1);
	fclose(out);
}

static inline void
pki_crl(const char *path, struct pki_made *by, struct pki_made *revoked, long until_s)
{
	X509_CRL *crl = X509_CRL_new();
	ASN1_TIME *now = X509_gmtime_adj(NULL, -3600), *next = X509_gmtime_adj(NULL, until_s);
	FILE *out = pki_create(path);

	PKI(X509_CRL_set_version(crl, 1) == 1 && X509_CRL_set_issuer_name(crl, X509_get_subject_name(by->crt)) == 1);
	PKI(X509_CRL_set1_lastUpdate(crl, now) == 1 && X509_CRL_set1_nextUpdate(crl, next) == 1);
	if (revoked != NULL) {
		X509_REVOKED *entry = X509_REVOKED_new();

		PKI(X509_REVOKED_set_serialNumber(entry, X509_get_serialNumber(revoked->crt)) == 1 && X509_REVOKED_set_revocationDate(entry, now) == 1);
		PKI(X509_CRL_add0_revoked(crl, entry) == 1);
	}
	PKI(X509_CRL_sign(crl, by->key, EVP_sha256()) > 0 && PEM_write_X509_CRL(out, crl) == 1);
	fclose(out);
	ASN1_TIME_free(now);
	ASN1_TIME_free(next);
	X509_CRL_free(crl);
}

static inline void
pki_p12(const char *path, struct pki_made *who, bool with_key, struct pki_made *const *chain, size_t count, const char *passphrase)
{
	STACK_OF(X509) *others = sk_X509_new_null();
	FILE *out = pki_create(path);
	PKCS12 *p12;

	for (size_t i = 0; i < count; i++)
		sk_X509_push(others, chain[i]->crt);
	p12 = PKCS12_create(passphrase, "gateway", with_key ? who->key : NULL, who->crt, others, 0, 0, 0, 0, 0);
	PKI(p12 != NULL && i2d_PKCS12_fp(out, p12) == 1);
	fclose(out);
	PKCS12_free(p12);
	sk_X509_free(others);
}

static inline void
pki_text(const char *path, const char *text)
{
	FILE *out = pki_create(path);

	fputs(text, out);
	fclose(out);
}

static inline void
pki_remove(void)
{
	char command[256];

	snprintf(command, sizeof(command), "rm -r '%s'", pki_folder);
	PKI(system(command) == 0);
}

#endif
