// SPDX-License-Identifier: Apache-2.0
// Keys, PEM, times and serial numbers: what certificates, lists and bundles are made of. No state; any thread.
#include "adapters/pki/internal.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum gw_error
gw_pki_failed(struct gw_why *why, enum gw_error error, const char *words)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = code != 0 ? ERR_reason_error_string(code) : NULL;

	ERR_clear_error();
	return gw_fail(why, error, "%s%s%s", words, reason != NULL ? ": " : "", reason != NULL ? reason : "");
}

void
gw_pki_free(struct gw_pki_text *text)
{
	if (text->at != NULL)
		explicit_bzero(text->at, text->len);
	free(text->at);
	*text = (struct gw_pki_text){ NULL, 0 };
}

enum gw_error
gw_pki_take_bio(BIO *bio, struct gw_pki_text *text, struct gw_why *why)
{
	char *at;
	long len = bio != NULL ? BIO_get_mem_data(bio, &at) : 0;

	*text = (struct gw_pki_text){ NULL, 0 };
	if (len > 0 && (text->at = malloc((size_t)len + 1)) != NULL) {
		memcpy(text->at, at, (size_t)len);
		text->at[len] = '\0';
		text->len = (size_t)len;
		explicit_bzero(at, (size_t)len);
	}
	BIO_free(bio);
	return text->at != NULL ? GW_OK : gw_fail(why, GW_E_MEMORY, "out of memory");
}

// ---- Keys ----

static const struct {
	const char *name, *curve;
	int bits;
} kinds[GW_PKI_KIND_COUNT] = {
	[GW_PKI_P256] = { "p256", "P-256", 0 }, [GW_PKI_P384] = { "p384", "P-384", 0 }, [GW_PKI_RSA2048] = { "rsa2048", NULL, 2048 },
	[GW_PKI_RSA3072] = { "rsa3072", NULL, 3072 },
};

enum gw_error
gw_pki_kind_of(const char *name, enum gw_pki_kind *kind, struct gw_why *why)
{
	for (int i = 0; i < GW_PKI_KIND_COUNT; i++) {
		if (strcmp(kinds[i].name, name) != 0)
			continue;
		*kind = (enum gw_pki_kind)i;
		return GW_OK;
	}
	return gw_fail(why, GW_E_ARGUMENT, "a kind of key is p256, p384, rsa2048 or rsa3072, not \"%.40s\"", name);
}

enum gw_error
gw_pki_key(enum gw_pki_kind kind, struct gw_pki_text *key, struct gw_why *why)
{
	EVP_PKEY *made = kinds[kind].curve != NULL ? EVP_EC_gen(kinds[kind].curve) : EVP_RSA_gen((unsigned)kinds[kind].bits);
	BIO *bio = BIO_new(BIO_s_mem());
	bool written = made != NULL && bio != NULL && PEM_write_bio_PKCS8PrivateKey(bio, made, NULL, NULL, 0, NULL, NULL) == 1;

	*key = (struct gw_pki_text){ NULL, 0 };
	EVP_PKEY_free(made);
	if (written)
		return gw_pki_take_bio(bio, key, why);
	BIO_free(bio);
	return gw_pki_failed(why, GW_E_SYSTEM, "no key could be made");
}

// ---- PEM ----

static int
no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf, (void)size, (void)writing, (void)arg;
	return 0; // a daemon asks nobody
}

EVP_PKEY *
gw_pki_private(struct gw_span pem)
{
	BIO *bio = BIO_new_mem_buf(pem.at, (int)pem.len);
	EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;

	BIO_free(bio);
	return key;
}

X509 *
gw_pki_x509(struct gw_span pem, size_t n)
{
	BIO *bio = BIO_new_mem_buf(pem.at, (int)pem.len);
	X509 *certificate = NULL;

	for (size_t i = 0; bio != NULL && i <= n; i++) {
		X509_free(certificate);
		if ((certificate = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) == NULL)
			break;
	}
	BIO_free(bio);
	return certificate;
}

bool
gw_pki_pair(struct gw_span certificate, struct gw_span key)
{
	X509 *x509 = gw_pki_x509(certificate, 0);
	EVP_PKEY *private = gw_pki_private(key);
	bool pair = x509 != NULL && private != NULL && X509_check_private_key(x509, private) == 1;

	X509_free(x509);
	EVP_PKEY_free(private);
	ERR_clear_error();
	return pair;
}

bool
gw_pki_is_key(struct gw_span key)
{
	EVP_PKEY *private = gw_pki_private(key);
	bool is = private != NULL;

	EVP_PKEY_free(private);
	ERR_clear_error();
	return is;
}

bool
gw_pki_issued(const struct gw_pki_ca *ca, struct gw_span certificate)
{
	X509 *x509 = gw_pki_x509(certificate, 0);
	bool issued = x509 != NULL && X509_NAME_cmp(X509_get_issuer_name(x509), X509_get_subject_name(ca->certificate)) == 0 &&
	    X509_verify(x509, X509_get0_pubkey(ca->certificate)) == 1;

	X509_free(x509);
	ERR_clear_error();
	return issued;
}

// ---- Times and serial numbers ----

ASN1_TIME *
gw_pki_time(int64_t us)
{
	return ASN1_TIME_set(NULL, (time_t)(us / 1000000));
}

int64_t
gw_pki_us(const ASN1_TIME *time)
{
	struct tm tm;

	return time != NULL && ASN1_TIME_to_tm(time, &tm) == 1 ? (int64_t)timegm(&tm) * 1000000 : 0;
}

void
gw_pki_serial_text(const ASN1_INTEGER *serial, char out[GW_PKI_SERIAL_MAX + 1])
{
	const uint8_t *at = ASN1_STRING_get0_data(serial);
	int len = ASN1_STRING_length(serial);
	size_t used = 0;

	out[0] = '\0';
	for (int i = 0; i < len && used + 2 <= GW_PKI_SERIAL_MAX; i++)
		used += (size_t)snprintf(out + used, 3, "%02x", at[i]);
}

ASN1_INTEGER *
gw_pki_serial_of(const char *text)
{
	ASN1_INTEGER *serial = NULL;
	BIGNUM *number = NULL;

	if (BN_hex2bn(&number, text) == (int)strlen(text))
		serial = BN_to_ASN1_INTEGER(number, NULL);
	BN_free(number);
	return serial;
}
