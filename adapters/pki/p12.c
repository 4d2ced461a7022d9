// SPDX-License-Identifier: Apache-2.0
// PKCS#12 (RFC 7292): certificate, key and chain in one file behind a passphrase. No state; any thread.
#include "adapters/pki/internal.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>

#define ITERATIONS PKCS12_DEFAULT_ITER // old importers are slow; a passphrase that we make has 100 bits

static STACK_OF(X509) *
chain_of(struct gw_span pem)
{
	STACK_OF(X509) *chain = sk_X509_new_null();
	X509 *one;

	for (size_t i = 0; chain != NULL && pem.len > 0 && (one = gw_pki_x509(pem, i)) != NULL; i++) {
		if (sk_X509_push(chain, one) <= 0)
			X509_free(one);
	}
	ERR_clear_error();
	return chain;
}

static PKCS12 *
bundle(const struct gw_pki_p12 *parts, EVP_PKEY *key, X509 *certificate, STACK_OF(X509) *chain)
{
	int cipher = parts->legacy ? NID_pbe_WithSHA1And3_Key_TripleDES_CBC : NID_aes_256_cbc;
	PKCS12 *p12 = PKCS12_create(parts->passphrase, parts->name, key, certificate, chain, cipher, cipher, ITERATIONS, -1, 0); // -1: its sum follows

	if (p12 != NULL && PKCS12_set_mac(p12, parts->passphrase, -1, NULL, 0, ITERATIONS, parts->legacy ? EVP_sha1() : EVP_sha256()) != 1) {
		PKCS12_free(p12);
		return NULL;
	}
	return p12;
}

enum gw_error
gw_pki_p12(const struct gw_pki_p12 *parts, struct gw_pki_text *der, struct gw_why *why)
{
	EVP_PKEY *key = gw_pki_private(parts->key);
	X509 *certificate = gw_pki_x509(parts->certificate, 0);
	STACK_OF(X509) *chain = chain_of(parts->chain);
	PKCS12 *p12 = key != NULL && certificate != NULL && chain != NULL ? bundle(parts, key, certificate, chain) : NULL;
	BIO *bio = BIO_new(BIO_s_mem());
	bool made = p12 != NULL && bio != NULL && i2d_PKCS12_bio(bio, p12) == 1;

	*der = (struct gw_pki_text){ NULL, 0 };
	PKCS12_free(p12);
	sk_X509_pop_free(chain, X509_free);
	X509_free(certificate);
	EVP_PKEY_free(key);
	if (made)
		return gw_pki_take_bio(bio, der, why);
	BIO_free(bio);
	return gw_pki_failed(why, GW_E_SYSTEM, "no PKCS#12 file could be made");
}

enum gw_error
gw_pki_p12_read(struct gw_span der, const char *passphrase, struct gw_pki_text *pem, struct gw_why *why)
{
	BIO *in = BIO_new_mem_buf(der.at, (int)der.len), *out = BIO_new(BIO_s_mem());
	PKCS12 *p12 = in != NULL ? d2i_PKCS12_bio(in, NULL) : NULL;
	STACK_OF(X509) *chain = NULL;
	EVP_PKEY *key = NULL;
	X509 *first = NULL;
	bool good = p12 != NULL && out != NULL && PKCS12_parse(p12, passphrase, &key, &first, &chain) == 1 && first != NULL && PEM_write_bio_X509(out, first) == 1;

	*pem = (struct gw_pki_text){ NULL, 0 };
	for (int i = 0; good && chain != NULL && i < sk_X509_num(chain); i++)
		good = PEM_write_bio_X509(out, sk_X509_value(chain, i)) == 1;
	EVP_PKEY_free(key);
	X509_free(first);
	sk_X509_pop_free(chain, X509_free);
	PKCS12_free(p12);
	BIO_free(in);
	if (good)
		return gw_pki_take_bio(out, pem, why);
	BIO_free(out);
	return gw_pki_failed(why, GW_E_FORMAT, "no PKCS#12 file, or another passphrase");
}
